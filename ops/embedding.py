"""Rows of a table by number."""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgraph.engine.aval import Aval
from tensorgraph.engine.batching import BatchCall, one_by_one
from tensorgraph.engine.declare import op
from tensorgraph.engine.op import index as indexing
from tensorgraph.ops.index import scatter_add
from tensorgraph.ops.kernels.taking import take_whole
from tensorgraph.ops.logic import not_equal, where
from tensorgraph.ops.shape import expand_dims

ROWS = (("index", 0),)


def _infer(weight: Aval, ids: Aval, *, padding_index: int | None) -> Aval:
    if weight.ndim != 2:
        raise ValueError(f"weight needs the shape (rows, features), got {weight}")
    if ids.dtype.kind not in "iu":
        raise TypeError(f"ids must be integers, the numbers of rows, got {ids}; convert them with .astype('int64')")
    if padding_index is not None and (type(padding_index) is not int or not 0 <= padding_index < weight.shape[0]):
        raise ValueError(f"padding_index must be a row from 0 to {weight.shape[0] - 1} or None, got {padding_index!r}")
    return Aval((*ids.shape, weight.shape[1]), weight.dtype)


def _check(weight: Any, ids: Any, *, padding_index: int | None = None) -> None:
    if weight.ndim != 2 or ids.dtype.kind not in "iu" or not ids.size:
        return
    rows = len(weight)
    if ids.min() < 0 or ids.max() >= rows:
        at = np.argwhere((ids < 0) | (ids >= rows))[0].tolist()
        place = f"[{', '.join(map(str, at))}]" if at else ""
        raise IndexError(f"ids{place} is {ids[tuple(at)]}: there are rows 0 to {rows - 1}")


def _embedding(weight: Any, ids: Any, *, padding_index: int | None = None) -> Any:
    _infer(Aval(weight.shape, weight.dtype), Aval(ids.shape, ids.dtype), padding_index=padding_index)
    if ids.dtype == np.uint64:
        ids = ids.astype(np.int64)
    return take_whole(weight, ids, 0) if weight.flags.c_contiguous else weight.take(ids, 0)


def _pulled(g: Any, weight_aval: Any, ids: Any, padding_index: Any) -> Any:
    if padding_index is not None:
        g = where(expand_dims(not_equal(ids, padding_index), axis=-1), g, 0.0)
    return scatter_add(g, [ids], key=ROWS, shape=tuple(weight_aval.shape))


def _batch(call: BatchCall) -> Any:
    return one_by_one(call) if call.on[0] else call.run(*call.args)


embedding = op(
    "embedding(weight, ids, *, padding_index: int | None = None)", _embedding, indexing,
    native="gather:native_embedding",
    infer_rule=_infer, check=_check, batch=_batch, vjp=dict(weight=_pulled, ids=None),
    traits=("gathers", "moves", "linear"),
    oracle=lambda weight, ids, *, padding_index=None: weight[ids],
    examples=(
        (((5, 3), np.array([0, 4, 4])), {}),
        (((5, 3), np.array([[0, 4], [1, 0]])), dict(padding_index=2)),
    ),
    doc="""The rows of a table that `ids` number: shape ids.shape + (features,).

    A number that is no row raises, with its place; negative ones do not count from the end. The row `padding_index`
    gets no gradient.

    >>> import tensorgraph as tg
    >>> tg.embedding([[1.0, 2.0], [3.0, 4.0]], [1, 1, 0])
    tensor([[3., 4.],
            [3., 4.],
            [1., 2.]], f32)
    """,
)  # fmt: skip
