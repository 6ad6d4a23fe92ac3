"""Elements along an axis, by an index tensor of as many axes: taken, added, written."""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgraph.engine.aval import Aval, canonical_axis
from tensorgraph.engine.batching import BatchCall, shifted
from tensorgraph.engine.declare import op
from tensorgraph.engine.functions import function, static
from tensorgraph.engine.op import Op
from tensorgraph.engine.op import index as indexing
from tensorgraph.engine.tensor import Tensor
from tensorgraph.ops.creation import canonical_shape
from tensorgraph.ops.kernels.along import add_along, take_along
from tensorgraph.ops.kernels.scatter import scatter_rows
from tensorgraph.ops.moving import of


def _taken(x: Aval, indices: Aval, axis: int) -> tuple[int, ...]:
    k = canonical_axis(axis, x.ndim)
    if indices.dtype.kind not in "iu":
        raise IndexError(f"an index tensor holds integers, got {indices}")
    if indices.ndim != x.ndim:
        raise ValueError(f"indices need as many axes as x, got {indices.ndim} and {x.ndim}")
    shapes = [tuple(1 if i == k else n for i, n in enumerate(a.shape)) for a in (x, indices)]
    try:
        rest = np.broadcast_shapes(*shapes)
    except ValueError:
        raise ValueError(
            f"indices of shape {indices.shape} do not fit {x} along axis {axis}: the other axes must be equal, or 1"
        ) from None
    return tuple(indices.shape[k] if i == k else n for i, n in enumerate(rest))


def _add_batch(call: BatchCall) -> Any:
    shape = canonical_shape(call.attrs["shape"])
    axis = canonical_axis(call.attrs["axis"], len(shape)) + 1
    return call.run(call.whole(0), call.whole(1), axis=axis, shape=(call.size, *shape))


take_along_axis: Op = op(
    "take_along_axis(x, indices, *, axis=-1)",
    lambda x, indices, *, axis=-1: take_along(x, indices, canonical_axis(axis, x.ndim)), indexing,
    native="along:take_along_axis", direct=True,
    infer_rule=lambda x, indices, *, axis: Aval(_taken(x, indices, axis), x.dtype), batch=shifted(),
    numpy=(np.take_along_axis,), also=("take_along_dim",), methods=("take_along_axis", "take_along_dim"),
    vjp=dict(
        x=lambda g, indices, x_aval, axis: add_along_axis(g, indices, axis=axis, shape=tuple(x_aval.shape)),
        indices=None,
    ), traits=("gathers", "moves", "linear"),
    examples=((((3, 4), np.array([[0], [3], [1]])), dict(axis=1)), (((3, 4), np.array([[0, 1, 1, 2]])), dict(axis=0))),
    doc="""Elements picked along an axis by an index tensor of as many axes; the other axes broadcast.

    An index outside raises an IndexError with its position.

    >>> import tensorgraph as tg
    >>> tg.take_along_axis([[1.0, 2.0], [3.0, 4.0]], [[1], [0]], axis=1)
    tensor([[2.],
            [3.]], f32)
    """,
)  # fmt: skip


def _add_along_axis(g: Any, indices: Any, *, axis: int, shape: Any) -> Any:
    aval = _add_infer(Aval(g.shape, g.dtype), Aval(indices.shape, indices.dtype), axis=axis, shape=shape)
    shape = aval.shape
    k = canonical_axis(axis, len(shape))
    if (out := add_along(g, indices, k, shape)) is not None:
        return out
    places: Any = np.zeros((), np.int64)
    for i, n in enumerate(shape):
        if i == k:
            at = np.where(indices < 0, indices + n, indices) if indices.dtype.kind == "i" else indices
            if at.size and (at.min() < 0 or at.max() >= n):
                raise IndexError(
                    f"an index of {indices.min()} to {indices.max()} is out of bounds for an axis of size {n}"
                )
            at = at.astype(np.int64, copy=False)  # 64 bits without a sign would make the places floats
        else:
            # an axis of size 1 was repeated: all of it comes back to the one place
            at = np.arange(g.shape[i] if n > 1 else 1).reshape(-1, *(1,) * (len(shape) - 1 - i))
        places = places * n + at
    places = np.broadcast_to(places, g.shape).reshape(-1)
    return scatter_rows(g.reshape(-1, 1), places, aval.size).reshape(shape)


def _add_infer(g: Aval, indices: Aval, *, axis: Any, shape: Any) -> Aval:
    out = Aval(canonical_shape(shape), g.dtype)
    taken = _taken(out, indices, axis)
    if taken != g.shape:
        raise ValueError(f"indices of shape {indices.shape} take {taken} from {out.shape}, so g cannot be {g}")
    return out


add_along_axis: Op = op(
    "add_along_axis(g, indices, *, axis: int, shape)", _add_along_axis, indexing, infer_rule=_add_infer,
    native="along:add_along_axis", direct=True,
    batch=_add_batch,
    flops=lambda g, indices, *, axis, shape: g.size,
    vjp=dict(g=lambda g, indices, axis: take_along_axis(g, indices, axis=axis), indices=None),
    traits=("linear", "keeps order", "increasing"),
    examples=((((3, 1), np.array([[0], [3], [1]])), dict(axis=1, shape=(3, 4))),),
    doc="Zeros of a shape with `g` added along an axis: what `take_along_axis` undoes.",
)  # fmt: skip


@function(examples=((((2, 3), static([[0], [2]]), (2, 1), 1), {}),))
def put_along_axis(x: Any, indices: Any, values: Any, axis: int = -1) -> Tensor:
    """A copy of x with `values` written along an axis at `indices`, which has as many axes.

    What NumPy's function of the name does to x itself. The last write to an element stands, and gradients know it.

    >>> import tensorgraph as tg
    >>> tg.put_along_axis(tg.zeros((2, 3)), [[0], [2]], 1.0, axis=1)
    tensor([[1., 0., 0.],
            [0., 0., 1.]], f32)
    """
    x, indices = of(x, "put_along_axis: x"), of(indices, "put_along_axis: indices")
    k = canonical_axis(axis, x.ndim)
    shape = _taken(x.aval, indices.aval, k)
    if any(n not in (1, m) for i, (m, n) in enumerate(zip(x.shape, shape, strict=True)) if i != k) or any(
        m != n for i, (m, n) in enumerate(zip(x.shape, shape, strict=True)) if i != k
    ):
        raise ValueError(f"indices of shape {indices.shape} name more places than {x.aval} has beside axis {axis}")
    key = tuple(
        indices if i == k else np.arange(n).reshape(-1, *(1,) * (x.ndim - 1 - i)) for i, n in enumerate(x.shape)
    )
    return x.at[key].set(values)  # type: ignore[no-any-return]
