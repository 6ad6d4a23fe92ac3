"""Shapes: reshaping, axes, broadcasting, joining, splitting, padding, casting. Views share memory where they can."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tensorgraph.engine.aval import Aval, broadcast_shapes, canonical_axes, canonical_axis, canonical_dtype
from tensorgraph.engine.batching import BatchCall, example_shape, reshaped, shifted, widened
from tensorgraph.engine.declare import op
from tensorgraph.engine.keys import ALL
from tensorgraph.engine.op import Op, elementwise, listing, promote, settle
from tensorgraph.engine.op import shape as shaping
from tensorgraph.engine.tensor import Tensor, weak_cast
from tensorgraph.ops.creation import canonical_shape, integers, number


def _cast(x: Any, *, dtype: Any) -> Any:
    return x.astype(canonical_dtype(dtype))


def _cast_infer(x: Aval, *, dtype: Any) -> Aval:
    return Aval(getattr(x, "shape", ()), canonical_dtype(dtype))  # a Python number has none


astype = op(
    "astype(x, *, dtype)", _cast, elementwise, methods=("astype",), dtype="cast", infer_rule=_cast_infer,
    vjp=dict(x=lambda g: g), flops=0, traits=("linear", "increasing", "idempotent"),
    examples=((((3, 4),), dict(dtype="float64")), (((3,),), dict(dtype="float32"))),
    doc="""The same numbers in another dtype; a gradient passes between float dtypes.

    >>> import tensorgraph as tg
    >>> tg.astype([1, 2], "float64")
    tensor([1., 2.], f64)
    """,
)  # fmt: skip


def target_shape(shape: Any, size: int, what: str = "reshape") -> tuple[int, ...]:
    """A shape with its -1 filled in."""
    sizes = integers(shape, "a shape")
    unknown = [i for i, n in enumerate(sizes) if n == -1]
    if len(unknown) > 1 or any(n < -1 for n in sizes):
        raise ValueError(f"{what}: sizes must not be negative, except one -1, got {sizes}")
    if unknown:
        rest = math.prod(n for n in sizes if n != -1)
        if rest == 0 or size % rest:
            raise ValueError(f"{what}: {size} elements do not fill shape {sizes}")
        sizes = tuple(size // rest if n == -1 else n for n in sizes)
    if math.prod(sizes) != size:
        raise ValueError(f"{what}: {size} elements do not fill shape {sizes}")
    return sizes


def _reshape(x: Any, *, shape: Any) -> Any:
    if type(shape) is tuple and {*map(type, shape)} <= {int} and min(shape, default=0) >= -1:
        return x.reshape(shape)  # NumPy checks it itself
    return x.reshape(target_shape(shape, x.size))


def _reshape_infer(x: Aval, *, shape: Any) -> Aval:
    return Aval(target_shape(shape, x.size), x.dtype)


def _reshape_batch(call: BatchCall) -> Any:
    sizes = target_shape(call.attrs["shape"], math.prod(call.shape(0)))
    return reshaped(call.args[0], call.size, *sizes)


reshape: Op = op(
    "reshape(x, *, shape)", _reshape, shaping, batch=_reshape_batch, infer_rule=_reshape_infer, numpy=(np.reshape,),
    native="moving:reshaped",
    vjp=dict(x=lambda g, x_aval: reshape(g, shape=x_aval.shape)), traits=("reshapes", "view", "idempotent"),
    examples=((((3, 4),), dict(shape=(2, -1))), (((0, 4),), dict(shape=(4, 0))), (((),), dict(shape=(1, 1)))),
    doc="The same elements in another shape; one size may be -1.",
)  # fmt: skip


def _reshape_method(self: Tensor, *shape: Any) -> Tensor:
    """The same elements in another shape: ``x.reshape(2, -1)`` or ``x.reshape((2, -1))``."""
    return reshape.public(self, shape=shape[0] if len(shape) == 1 else shape)  # type: ignore[no-any-return]


_reshape_method.__name__, _reshape_method.__qualname__ = "reshape", "Tensor.reshape"


def _permutation(axes: Any, ndim: int) -> tuple[int, ...]:
    if axes is None:
        return tuple(range(ndim))[::-1]
    axes = integers(axes, "axes")
    order = tuple(canonical_axis(a, ndim) for a in axes)
    if sorted(order) != list(range(ndim)):
        raise ValueError(f"transpose: axes must name each of the {ndim} axes once, got {tuple(axes)}")
    return order


def _transpose(x: Any, *, axes: Any = None) -> Any:
    if axes is None:
        return x.T
    plain = type(axes) is tuple and {*map(type, axes)} <= {int}  # which NumPy checks itself
    return x.transpose(axes if plain else _permutation(axes, x.ndim))


def _transpose_infer(x: Aval, *, axes: Any) -> Aval:
    return Aval(tuple(x.shape[a] for a in _permutation(axes, x.ndim)), x.dtype)


def _transpose_x(g: Any, x_aval: Any, axes: Any) -> Any:
    order = _permutation(axes, len(x_aval.shape))
    return transpose(g, axes=tuple(order.index(i) for i in range(len(order))))


def _transpose_batch(call: BatchCall) -> Any:
    order = _permutation(call.attrs["axes"], len(call.shape(0)))
    return call.run(call.args[0], axes=(0, *[a + 1 for a in order]))


transpose: Op = op(
    "transpose(x, *, axes=None)", _transpose, shaping, batch=_transpose_batch, also=("permute_dims", "permute"),
    infer_rule=_transpose_infer, numpy=(np.transpose,),
    vjp=dict(x=_transpose_x), traits=("view", "linear"),
    examples=((((3, 4),), {}), (((2, 3, 4),), dict(axes=(1, 2, 0))), (((2, 3, 4),), dict(axes=(-1, 0, 1)))),
    doc="Axes in another order, reversed unless `axes` says.",
)  # fmt: skip


def _transpose_method(self: Tensor, *axes: Any) -> Tensor:
    """Axes in another order: ``x.transpose(1, 0)``, ``x.transpose((1, 0))``, or reversed."""
    chosen = axes[0] if len(axes) == 1 and isinstance(axes[0], (tuple, list)) else (axes or None)
    return transpose.public(self, axes=chosen)  # type: ignore[no-any-return]


_transpose_method.__name__, _transpose_method.__qualname__ = "transpose", "Tensor.transpose"


def swap_last(x: Any) -> Any:
    """The last two axes exchanged."""
    if not isinstance(x, Tensor):
        return np.swapaxes(x, -1, -2)
    n = len(x.shape)
    if n < 2:
        raise ValueError(f"the last two axes are exchanged where there are two, got shape {x.shape}")
    return transpose.public(x, axes=(*range(n - 2), n - 1, n - 2))


def _broadcast(x: Any, *, shape: Any) -> Any:
    return np.broadcast_to(x, canonical_shape(shape))


def _broadcast_infer(x: Aval, *, shape: Any) -> Aval:
    wanted = canonical_shape(shape)
    if broadcast_shapes(x.shape, wanted) != wanted:
        raise ValueError(f"shape {x.shape} does not broadcast to {wanted}")
    return Aval(wanted, x.dtype)


def _broadcast_batch(call: BatchCall) -> Any:
    wanted = canonical_shape(call.attrs["shape"])
    return call.run(widened(call.args[0], len(wanted), True), shape=(call.size, *wanted))


broadcast_to = op(
    "broadcast_to(x, *, shape)", _broadcast, shaping, batch=_broadcast_batch,
    infer_rule=_broadcast_infer, numpy=(np.broadcast_to,),
    vjp=dict(x=lambda g: g), traits=("view", "linear", "idempotent"),
    examples=((((3, 1),), dict(shape=(2, 3, 4))), (((),), dict(shape=(2,))), (((1,),), dict(shape=(0,)))),
    doc="Repeated along new axes and axes of size 1, without copying.",
)  # fmt: skip


def _expanded(shape: tuple[int, ...], axis: Any) -> tuple[int, ...]:
    axes = axis if isinstance(axis, (tuple, list)) else (axis,)
    ndim = len(shape) + len(axes)
    places = canonical_axes(tuple(axes), ndim)
    rest = iter(shape)
    return tuple(1 if i in places else next(rest) for i in range(ndim))


expand_dims = op(
    "expand_dims(x, *, axis)", lambda x, *, axis: x.reshape(_expanded(x.shape, axis)), shaping, also=("unsqueeze",),
    batch=lambda call: reshaped(call.args[0], call.size, *_expanded(call.shape(0), call.attrs["axis"])),
    infer_rule=lambda x, *, axis: Aval(_expanded(x.shape, axis), x.dtype), numpy=(np.expand_dims,),
    vjp=dict(x=lambda g, x_aval: reshape(g, shape=x_aval.shape)), traits=("unit axes", "view"),
    examples=((((3, 4),), dict(axis=1)), (((3,),), dict(axis=(0, -1)))),
    doc="New axes of size 1.",
)  # fmt: skip


def _squeezed(shape: tuple[int, ...], axis: Any) -> tuple[int, ...]:
    if axis is None:
        return tuple(n for n in shape if n != 1)
    axes = canonical_axes(axis, len(shape))
    wrong = [a for a in axes if shape[a] != 1]
    if wrong:
        raise ValueError(f"squeeze: axis {wrong[0]} has size {shape[wrong[0]]}, expected 1")
    return tuple(n for i, n in enumerate(shape) if i not in axes)


squeeze = op(
    "squeeze(x, *, axis=None)", lambda x, *, axis=None: x.reshape(_squeezed(x.shape, axis)), shaping,
    batch=lambda call: reshaped(call.args[0], call.size, *_squeezed(call.shape(0), call.attrs["axis"])),
    infer_rule=lambda x, *, axis: Aval(_squeezed(x.shape, axis), x.dtype), numpy=(np.squeeze,), methods=("squeeze",),
    vjp=dict(x=lambda g, x_aval: reshape(g, shape=x_aval.shape)), traits=("unit axes", "view"),
    examples=((((3, 1, 4, 1),), {}), (((3, 1),), dict(axis=1))),
    doc="Axes of size 1 removed: all of them, or those named.",
)  # fmt: skip


def _flip(x: Any, *, axis: Any = None) -> Any:
    return np.flip(x, canonical_axes(axis, x.ndim))


flip: Op = op(
    "flip(x, *, axis=None)", _flip, shaping, batch=shifted(), numpy=(np.flip,),
    infer_rule=lambda x, *, axis: Aval(x.shape, (canonical_axes(axis, x.ndim), x.dtype)[1]),
    vjp=dict(x=lambda g, axis: flip(g, axis=axis)), traits=("view", "linear"),
    examples=((((3, 4),), {}), (((3, 4),), dict(axis=1)), (((3, 4),), dict(axis=(0, 1)))),
    doc="Elements in reverse order along `axis`.",
)  # fmt: skip


def _joined(avals: Sequence[Aval], axis: int) -> Aval:
    if not avals:
        raise ValueError("concatenate needs at least one tensor")
    if axis is None:
        raise TypeError("tensors are joined along one axis, got axis=None; reshape each to (-1,) first")
    first = avals[0]
    k = canonical_axis(axis, first.ndim)
    for i, a in enumerate(avals):
        same = a.ndim == first.ndim and all(m == n or j == k for j, (m, n) in enumerate(zip(a.shape, first.shape)))
        if not same:
            raise ValueError(
                f"all shapes must agree outside axis {axis}: tensor 0 has {first.shape}, tensor {i} has {a.shape}"
            )
    size = sum(a.shape[k] for a in avals)
    return Aval((*first.shape[:k], size, *first.shape[k + 1 :]), promote(*avals))


def _concatenate(arrays: Any, *, axis: int = 0) -> Any:
    out = np.concatenate(arrays, axis if type(axis) is int else canonical_axis(axis, arrays[0].ndim))
    kind = out.dtype
    return out if kind is arrays[0].dtype else out.astype(settle(kind, [a.dtype for a in arrays]), copy=False)


def _concatenate_arrays(g: Any, arrays_aval: Any, axis: int) -> Any:
    k = canonical_axis(axis, len(arrays_aval[0].shape))
    sizes = tuple(a.shape[k] for a in arrays_aval)
    return split(g, sizes=sizes, axis=k)


concatenate = op(
    "concatenate([arrays], *, axis=0)", _concatenate, listing, also=("concat", "cat",), batch=shifted(),
    infer_rule=lambda arrays, *, axis: _joined(arrays, axis), numpy=(np.concatenate, np.concat),
    native="joining:native_concatenate",
    vjp=dict(arrays=_concatenate_arrays), traits=("moves", "linear", "keeps order"),
    examples=((([(2, 3), (1, 3)],), {}), (([(2, 3), (2, 1), (2, 0)],), dict(axis=-1))),
    doc="""Tensors joined along an axis they have.

    >>> import tensorgraph as tg
    >>> tg.concatenate([tg.tensor([1.0]), tg.tensor([2.0, 3.0])])
    tensor([1., 2., 3.], f32)
    """,
)  # fmt: skip


def _stacked(avals: Sequence[Aval], axis: int) -> Aval:
    if not avals:
        raise ValueError("stack needs at least one tensor")
    shape = avals[0].shape
    for i, a in enumerate(avals):
        if a.shape != shape:
            raise ValueError(f"all shapes must agree: tensor 0 has {shape}, tensor {i} has {a.shape}")
    k = canonical_axis(axis, len(shape) + 1)
    return Aval((*shape[:k], len(avals), *shape[k:]), promote(*avals))


def _stack(arrays: Any, *, axis: int = 0) -> Any:
    shape = arrays[0].shape
    for a in arrays:
        if a.shape != shape:
            raise ValueError("the shapes differ")
    if axis == 0 and shape:
        return _concatenate(arrays).reshape(len(arrays), *shape)
    k = canonical_axis(axis, len(shape) + 1)
    here = (*(slice(None),) * k, None)
    return _concatenate([a[here] for a in arrays], axis=k)


def _stack_arrays(g: Any, axis: int) -> Any:
    k = canonical_axis(axis, len(g.shape))
    before = (slice(None),) * k
    return [g[(*before, i)] for i in range(g.shape[k])]


def _stack_batch(call: BatchCall) -> Any:
    shape = example_shape(call.args[0][0], call.on[0][0])
    return call.run(call.whole(0), axis=canonical_axis(call.attrs["axis"], len(shape) + 1) + 1)


stack = op(
    "stack([arrays], *, axis=0)", _stack, listing, batch=_stack_batch,
    infer_rule=lambda arrays, *, axis: _stacked(arrays, axis), numpy=(np.stack,), native="joining:native_stack",
    vjp=dict(arrays=_stack_arrays), traits=("moves", "linear", "keeps order"),
    examples=((([(2, 3), (2, 3)],), {}), (([(2, 3), (2, 3), (2, 3)],), dict(axis=-1)), (([(), ()],), dict(axis=0))),
    doc="""Tensors of one shape joined along a new axis.

    >>> import tensorgraph as tg
    >>> tg.stack([tg.tensor([1.0, 2.0]), tg.tensor([3.0, 4.0])]).shape
    (2, 2)
    """,
)  # fmt: skip


def _part_sizes(sizes: Any, total: int) -> tuple[int, ...]:
    plain = type(sizes) is tuple and {*map(type, sizes)} == {int}
    parts = sizes if plain else integers(sizes, "sizes")
    if not parts or sum(parts) != total or min(parts) < 0:
        raise ValueError(
            f"split: sizes {parts} must sum to the axis' size {total}, one a part; a number of parts is given to "
            "tensorgraph.chunk and tensorgraph.array_split"
        )
    return parts


def _split(x: Any, *, sizes: Any, axis: int = 0) -> Any:
    k = canonical_axis(axis, x.ndim)
    before = (slice(None),) * k
    parts, start = [], 0
    for n in _part_sizes(sizes, x.shape[k]):
        parts.append(x[(*before, slice(start, start + n))])
        start += n
    return tuple(parts)


def _split_infer(x: Aval, *, sizes: Any, axis: int) -> tuple[Aval, ...]:
    k = canonical_axis(axis, x.ndim)
    return tuple(Aval((*x.shape[:k], n, *x.shape[k + 1 :]), x.dtype) for n in _part_sizes(sizes, x.shape[k]))


def _split_x(want: Any, g_parts: Any, x_aval: Aval, sizes: Any, axis: int) -> Any:
    k = canonical_axis(axis, x_aval.ndim)
    full = []
    for g, n in zip(g_parts, integers(sizes, "sizes"), strict=True):
        missing = type(g) is float
        full.append(np.zeros((*x_aval.shape[:k], n, *x_aval.shape[k + 1 :]), x_aval.dtype) if missing else g)
    return (concatenate(full, axis=k),)


split: Op = op(
    "split(x, *, sizes, axis=0) -> *parts", _split, listing, batch=shifted(), infer_rule=_split_infer,
    vjp=_split_x, traits=("moves", "view", "linear"),
    examples=((((5, 2),), dict(sizes=(2, 3))), (((2, 4),), dict(sizes=(1, 0, 3), axis=1))),
    doc="""Parts of the given sizes along an axis, as a tuple.

    >>> import tensorgraph as tg
    >>> tg.split(tg.arange(3), sizes=(1, 2))
    (tensor([0], i64), tensor([1, 2], i64))
    """,
)  # fmt: skip


def border(widths: Any, ndim: int) -> tuple[tuple[int, int], ...]:
    """One (before, after) pair an axis, of these, of one for all axes or of one number."""
    pairs = widths if isinstance(widths, (tuple, list)) else (widths,)
    if ndim and len(pairs) in (1, 2) and not any(isinstance(w, (tuple, list)) for w in pairs):
        pairs = ((pairs[0], pairs[-1]),) * ndim
    elif len(pairs) == 1 < ndim:
        pairs = (*pairs,) * ndim
    sizes = [integers(w, "a width of the border") for w in pairs]
    if any(n < 0 for w in sizes for n in w):
        raise ValueError(f"pad: widths must not be negative, got {widths}; elements are cut off by a slice, x[1:-1]")
    if len(sizes) != ndim or any(len(w) != 2 for w in sizes):
        raise ValueError(f"pad: widths must be one (before, after) pair for each of {ndim} axes, got {widths}")
    return tuple((before, after) for before, after in sizes)


def _border(shape: tuple[int, ...], dtype: np.dtype[Any], widths: Any, value: Any, mode: str) -> Any:
    """The pairs; refuse what NumPy would cast into other numbers."""
    sizes = border(widths, len(shape))
    if mode != "constant":
        empty = [i for i, (n, w) in enumerate(zip(shape, sizes, strict=True)) if not n and any(w)]
        if empty:
            raise ValueError(f"pad: axis {empty[0]} of {shape} has no elements to take a border of mode {mode!r} from")
        return sizes
    number(value, "the value of the border")
    if dtype.kind == "b" and value not in (0, 1):
        raise TypeError(f"the value of the border: {value!r} cannot be stored as bool without loss")
    if dtype.kind in "iu":  # 0.0 will do, 0.5 not
        weak_cast(int(value) if value == value // 1 else value, dtype, "the value of the border")
    return sizes


def _pad(x: Any, *, widths: Any, mode: Any = "constant", value: float = 0.0) -> Any:
    pairs = _border(x.shape, x.dtype, widths, value, mode)
    if not x.ndim:
        return x.copy()
    return np.pad(x, pairs, constant_values=value) if mode == "constant" else np.pad(x, pairs, mode)


def _pad_infer(x: Aval, *, widths: Any, mode: str, value: float) -> Aval:
    pairs = _border(x.shape, x.dtype, widths, value, mode)
    return Aval(tuple(n + a + b for n, (a, b) in zip(x.shape, pairs, strict=True)), x.dtype)


def _pad_x(g: Any, x_aval: Any, widths: Any, mode: Any) -> Any:
    widths = border(widths, len(x_aval.shape))
    if mode == "constant":
        return g[tuple(slice(a, a + n) for (a, _), n in zip(widths, x_aval.shape, strict=True))]
    from tensorgraph.ops.creation import arange, beside
    from tensorgraph.ops.index import scatter_add

    for axis, (n, pair) in enumerate(zip(x_aval.shape, widths, strict=True)):
        if any(pair):  # each element of the border comes back to where it was taken from
            taken = pad(beside(g, arange, start=n), widths=pair, mode=mode)
            into = (*g.shape[:axis], n, *g.shape[axis + 1 :])
            g = scatter_add(g, [taken], key=(*(ALL,) * axis, ("index", 0)), shape=into)
    return g


pad: Op = op(
    "pad(x, *, widths: int | Sequence[int] | Sequence[Sequence[int]], mode: Literal['constant', 'reflect', 'symmetric',"
    " 'edge', 'wrap'] = 'constant', value=0.0)",
    _pad, shaping, numpy=(np.pad,), native="joining:native_pad",
    synonyms={"pad_width": "widths", "constant_values": "value"},
    batch=lambda call: call.run(call.args[0], widths=((0, 0), *border(call.attrs["widths"], len(call.shape(0))))),
    infer_rule=_pad_infer, vjp=dict(x=_pad_x), traits=("keeps order",),
    examples=(
        (((3, 4),), dict(widths=((1, 0), (0, 2)))), (((2,),), dict(widths=((1, 1),), value=1.0)),
        (((3, 2),), dict(widths=((1, 2), (0, 1)), mode="reflect")), (((3, 2),), dict(widths=(4, 0), mode="wrap")),
        (((2, 3),), dict(widths=((0, 0), (2, 1)), mode="edge")), (((3,),), dict(widths=5, mode="symmetric")),
    ),
    doc="""A border: one (before, after) pair an axis, or one pair or width for all.

    Its elements are `value`, or taken from inside: "reflect" around the last element, "symmetric" around the edge,
    "edge" the last one, "wrap" from the other end. A gradient comes back to where they were taken from.

    >>> import tensorgraph as tg
    >>> tg.pad([1.0, 2.0, 3.0], 2, mode="reflect")
    tensor([3., 2., 1., 2., 3., 2., 1.], f32)
    """,
)  # fmt: skip

for _name, _value in {
    "reshape": _reshape_method,
    "transpose": _transpose_method,
    "T": property(lambda self: transpose.public(self), doc="Axes reversed."),
    "mT": property(lambda self: swap_last(self), doc="The last two axes exchanged."),
}.items():
    setattr(Tensor, _name, _value)
