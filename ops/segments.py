"""Reductions of the rows that belong together, as numbers beside them say: what graph networks pool and send."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tensorgraph.engine.aval import Aval
from tensorgraph.engine.batching import BatchCall, moved, reshaped
from tensorgraph.engine.declare import op
from tensorgraph.engine.functions import function, static
from tensorgraph.engine.op import index as indexing
from tensorgraph.engine.tensor import Tensor
from tensorgraph.ops import index, logic, shape
from tensorgraph.ops.arithmetic import maximum
from tensorgraph.ops.creation import arange, beside, canonical_size
from tensorgraph.ops.kernels.scatter import extreme_rows, scatter_rows
from tensorgraph.ops.moving import of
from tensorgraph.ops.statistics import float_of

__all__: list[str] = []

TensorLike = Any


def _infer(data: Aval, segment_ids: Aval, *, num_segments: int) -> Aval:
    n = canonical_size(num_segments, "num_segments")
    if segment_ids.dtype.kind not in "iu":
        raise TypeError(f"segment_ids are integers, got {segment_ids}")
    if segment_ids.ndim != 1 or not data.ndim or segment_ids.shape[0] != data.shape[0]:
        rows = data.shape[0] if data.ndim else 1
        raise ValueError(
            f"segment_ids say of each row of data to which segment it belongs: expected shape ({rows},), got "
            f"{segment_ids.shape} for data of shape {data.shape}"
        )
    return Aval((n, *data.shape[1:]), data.dtype)


def _rows(data: Any, ids: Any, n: int) -> tuple[Any, Any]:
    """The rows, and to which segments they go, checked."""
    _infer(Aval(data.shape, data.dtype), Aval(ids.shape, ids.dtype), num_segments=n)
    given, ids = ids, np.ascontiguousarray(ids, np.int64)
    if ids.size and int(ids.view(np.uint64).max()) >= n:  # which a negative one is, too
        at = int(np.flatnonzero((given < 0) | (given >= n))[0])
        raise IndexError(
            f"segment_ids[{at}] is {given[at]}, expected from 0 to below num_segments={n}; leave rows of no segment "
            "out, or give them one more"
        )
    return data.reshape(len(ids), math.prod(data.shape[1:])), ids


def _batch(call: BatchCall) -> Any:
    """Shared segments: examples are further columns. Segments of their own: all examples' in a row."""
    (data, ids), (_, on_ids) = call.args, call.on
    n = call.attrs["num_segments"]
    if not on_ids:
        return moved(call.run(moved(data, 0, 1), ids), 1, 0)
    data = call.whole(0)
    rows, size = ids.shape[1], call.size
    first = reshaped(beside(ids, arange, start=size), size, 1) * n
    flat = reshaped(shape.astype(ids, dtype="int64") + first, size * rows)
    out = call.run(reshaped(data, size * rows, *data.shape[2:]), flat, num_segments=size * n)
    return reshaped(out, size, n, *data.shape[2:])


def _picked(x: Any, ids: Any) -> Any:
    """Of each row its segment's."""
    return index.getitem(x, [ids], key=(("index", 0),))


def _sum(data: Any, segment_ids: Any, *, num_segments: int) -> Any:
    rows, ids = _rows(data, segment_ids, num_segments)
    if data.dtype.kind == "b":
        rows = rows.astype(np.int64)
    return scatter_rows(rows, ids, num_segments).reshape(num_segments, *data.shape[1:])


def _sum_infer(data: Aval, segment_ids: Aval, *, num_segments: int) -> Aval:
    out = _infer(data, segment_ids, num_segments=num_segments)
    return Aval(out.shape, np.int64) if data.dtype.kind == "b" else out


IDS = np.array([2, 0, 2, 0, 0])
# no segment is empty, whose extremum is infinite
FULL: tuple[Any, ...] = ((((5,), IDS // 2), dict(num_segments=2)), (((5, 2), IDS // 2), dict(num_segments=2)))
EXAMPLES: tuple[Any, ...] = (
    (((5,), IDS), dict(num_segments=4)), (((5, 2), IDS), dict(num_segments=3)),
    (((0, 2), np.zeros(0, np.int64)), dict(num_segments=2)),
)  # fmt: skip


def _loop(function: Callable[..., Any], empty: float) -> Callable[..., Any]:
    """The meaning, for tests: one segment after the other."""

    def oracle(data: Any, segment_ids: Any, *, num_segments: int) -> Any:
        parts = [data[segment_ids == i] for i in range(num_segments)]
        rest = data.shape[1:]
        return np.array([function(p, axis=0) if len(p) else np.full(rest, empty) for p in parts], data.dtype)

    return oracle


segment_sum = op(
    "segment_sum(data, segment_ids, *, num_segments: int)", _sum, indexing, infer_rule=_sum_infer, batch=_batch,
    native="gather:native_segment_sum",
    vjp=dict(data=lambda g, segment_ids: _picked(g, segment_ids), segment_ids=None), traits=("linear", "keeps order"),
    flops=lambda data, segment_ids, *, num_segments: data.size, examples=EXAMPLES, oracle=_loop(np.sum, 0),
    doc="""The sum of the rows of each segment: row i of `data` belongs to segment ``segment_ids[i]``, in any order.

    Each sum is as exact as `sum`'s. A segment without rows is 0; an id that is negative, or `num_segments` or more, is
    refused. Ids in ascending order are seen to be so, and take a third less time.

    >>> import tensorgraph as tg
    >>> tg.segment_sum([1.0, 2.0, 4.0], [0, 2, 0], num_segments=3)
    tensor([5., 0., 2.], f32)
    """,
)  # fmt: skip


def _extreme(data: Any, ids: Any, n: int, largest: bool) -> Any:
    rows, ids = _rows(data, ids, n)
    kind = data.dtype
    if kind.kind == "f":
        nothing: Any = -np.inf if largest else np.inf
    elif kind.kind == "b":
        nothing = not largest
    else:
        nothing = np.iinfo(kind).min if largest else np.iinfo(kind).max
    return extreme_rows(rows, ids, n, nothing, largest).reshape(n, *data.shape[1:])


def _extreme_data(g: Any, data: Any, out: Any, segment_ids: Any, data_aval: Any, num_segments: int) -> Any:
    hit = logic.logical_or(logic.equal(data, _picked(out, segment_ids)), logic.isnan(data))
    kind = np.result_type(data_aval.dtype, np.float32).name
    ties = segment_sum(shape.astype(hit, dtype=kind), segment_ids, num_segments=num_segments)
    return logic.where(hit, _picked(g / maximum(ties, 1.0), segment_ids), 0.0)


segment_max = op(
    "segment_max(data, segment_ids, *, num_segments: int)",
    lambda data, segment_ids, *, num_segments: _extreme(data, segment_ids, num_segments, True), indexing,
    native="segments:segment_max",
    infer_rule=_infer, batch=_batch, vjp=dict(data=_extreme_data, segment_ids=None), traits=("keeps order",),
    flops=lambda data, segment_ids, *, num_segments: data.size, examples=FULL, oracle=_loop(np.max, -np.inf),
    doc="""The largest of the rows of each segment, element by element; see `segment_sum`.

    A segment without rows is -inf, of integers the smallest there is. NaN wins and takes the gradient, which ties share
    equally.

    >>> import tensorgraph as tg
    >>> tg.segment_max([1.0, 2.0, 4.0], [0, 2, 0], num_segments=3)
    tensor([  4., -inf,   2.], f32)
    """,
)  # fmt: skip
segment_min = op(
    "segment_min(data, segment_ids, *, num_segments: int)",
    lambda data, segment_ids, *, num_segments: _extreme(data, segment_ids, num_segments, False), indexing,
    native="segments:segment_min",
    infer_rule=_infer, batch=_batch, vjp=dict(data=_extreme_data, segment_ids=None), traits=("keeps order",),
    flops=lambda data, segment_ids, *, num_segments: data.size, examples=FULL, oracle=_loop(np.min, np.inf),
    doc="The smallest of the rows of each segment, as `segment_max`; a segment without rows is inf.",
)  # fmt: skip


def _counts(ids: Tensor, num_segments: int, dtype: np.dtype[Any]) -> Any:
    one = shape.astype.public(ids * 0 + 1, dtype=dtype.name)
    return segment_sum.public(one, ids, num_segments=num_segments)


@function(examples=((((5,), static(IDS)), dict(num_segments=4)), (((5, 2), static(IDS)), dict(num_segments=3))),
          computed=True)  # fmt: skip
def segment_mean(data: TensorLike, segment_ids: TensorLike, num_segments: int) -> Tensor:
    """The mean of the rows of each segment; 0 where there is none. See `segment_sum`.

    >>> import tensorgraph as tg
    >>> tg.segment_mean([1.0, 2.0, 4.0], [0, 2, 0], num_segments=3)
    tensor([2.5, 0. , 2. ], f32)
    """
    data, ids = float_of(data, "segment_mean: data"), of(segment_ids, "segment_mean: segment_ids")
    kind = data.dtype
    wide = shape.astype.public(data, dtype="float32") if kind == np.float16 else data
    sums = segment_sum.public(wide, ids, num_segments=num_segments)
    n = maximum.public(_counts(ids, num_segments, wide.dtype), 1.0)
    out = sums / shape.reshape.public(n, shape=(num_segments, *(1,) * (data.ndim - 1)))
    return shape.astype.public(out, dtype=kind.name) if out.dtype != kind else out  # type: ignore[no-any-return]


def _prod(data: Any, segment_ids: Any, *, num_segments: int) -> Any:
    rows, ids = _rows(data, segment_ids, num_segments)
    kind = np.dtype(np.int64) if data.dtype.kind == "b" else data.dtype
    wide = np.result_type(kind, np.float64 if kind.itemsize < 8 else np.longdouble) if kind.kind == "f" else kind
    out = np.ones((num_segments, rows.shape[1]), wide)
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        np.multiply.at(out, ids, rows.astype(wide))
        return out.astype(kind).reshape(num_segments, *data.shape[1:])


def _prod_data(g: Any, data: Any, out: Any, segment_ids: Any, data_aval: Any, num_segments: int) -> Any:
    # The product of all others. Of a number that is not 0 it is the product by it. Of a 0 it is the product of all that
    # are not 0, times the other 0 where there is one more, which is left in for the sake of its own derivative.
    zero = logic.equal(data, 0.0)
    known = logic.where(zero, 1.0, data)
    without = segment_prod(known, segment_ids, num_segments=num_segments)
    kind = np.result_type(data_aval.dtype, np.float32).name
    zeros = segment_sum(shape.astype(zero, dtype=kind), segment_ids, num_segments=num_segments)
    tiny = logic.where(zero, data, 0.0)
    other = _picked(segment_sum(tiny, segment_ids, num_segments=num_segments), segment_ids) - tiny
    n = _picked(zeros, segment_ids)
    of_zero = logic.where(logic.equal(n, 1.0), 1.0, logic.where(logic.equal(n, 2.0), other, 0.0))
    part = logic.where(zero, _picked(without, segment_ids) * of_zero, _picked(out, segment_ids) / known)
    return _picked(g, segment_ids) * part


segment_prod: Any = op(
    "segment_prod(data, segment_ids, *, num_segments: int)", _prod, indexing, infer_rule=_sum_infer, batch=_batch,
    vjp=dict(data=_prod_data, segment_ids=None), traits=("keeps order",), domain={"data": (0.5, 1.5)},
    flops=lambda data, segment_ids, *, num_segments: data.size, examples=EXAMPLES, oracle=_loop(np.prod, 1),
    on_numpy="equal places wait for each other, and NumPy's ufunc.at goes through them",
    doc="""The product of the rows of each segment; 1 where there is none. See `segment_sum`.

    The gradient is right at zeros too.
    """,
)  # fmt: skip
