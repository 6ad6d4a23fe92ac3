"""Reductions over axes. Extrema share their gradient equally among ties."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tensorgraph.engine.aval import Aval, canonical_axes, canonical_dtype
from tensorgraph.engine.declare import op
from tensorgraph.engine.op import elementwise, float_dtype, reduced_shape, reduction
from tensorgraph.engine.sums import ALONE, DEEP, LARGE, total
from tensorgraph.engine.tensor import Tensor
from tensorgraph.jit import compiled
from tensorgraph.ops import masked
from tensorgraph.ops.arithmetic import maximum
from tensorgraph.ops.creation import number
from tensorgraph.ops.exponential import as_float
from tensorgraph.ops.logic import equal, isnan, logical_or, where
from tensorgraph.ops.shape import astype, broadcast_to, flip, pad, reshape, transpose
from tensorgraph.ops.structure import stop_gradient


def spread(g: Any, aval: Any, axis: Any, keepdims: bool) -> Any:
    """A reduction's cotangent over the reduced axes again."""
    shape = aval.shape
    if type(g) is not Tensor:
        g = np.asarray(g)
        if g.ndim == 0:
            full = np.empty(shape, g.dtype)
            full.fill(g)
            return full
        return np.broadcast_to(g if keepdims else g.reshape(reduced_shape(shape, axis, True)), shape)
    if not keepdims:
        g = reshape(g, shape=reduced_shape(shape, axis, True))
    return broadcast_to(g, shape=shape)


def count(aval: Any, axis: Any) -> int:
    """How many elements one result of a reduction covers."""
    if axis is None:
        return math.prod(aval.shape)
    return math.prod([aval.shape[a] for a in canonical_axes(axis, len(aval.shape))])


def results(x: Aval, axis: Any) -> int:
    """How many results a reduction has."""
    return math.prod(reduced_shape(x.shape, axis, False))


def partial_sums(x: Aval, *, axis: Any, **attrs: Any) -> int:
    """Scratch memory of a sum: what a first round leaves of leading axes, and float16 in float32.

    A kernel sums one axis, or several in a row, and what it leaves of others is float64.
    """
    axes = canonical_axes(axis, x.ndim)
    if x.dtype == np.float32 and x.size >= LARGE and axes and compiled():
        last = max(axes)
        run = [i for i in range(last + 1) if all(k in axes for k in range(i, last + 1))]
        return 0 if len(run) == len(axes) else 8 * x.size // math.prod([x.shape[i] for i in run])
    if x.dtype.kind != "f" or axes == tuple(range(x.ndim - len(axes), x.ndim)) or count(x, axis) <= ALONE:
        return 0
    return x.size * 8 // DEEP if x.dtype != np.float16 else 2 * x.nbytes * (1 + DEEP) // DEEP


def refuse_axis_of_number(x: Any, axis: Any) -> None:
    """NumPy reduces a 0-d array over axis 0 or -1; here, as in the shape rules, it has no axes."""
    if axis is not None and not x.ndim:
        canonical_axes(axis, 0)


def _sum(x: Any, *, axis: Any = None, keepdims: Any = False, dtype: Any = None) -> Any:
    if dtype is not None:
        dtype = canonical_dtype(dtype)
    refuse_axis_of_number(x, axis)
    return total(x, axis, keepdims, dtype)


def _sum_infer(x: Aval, *, axis: Any, keepdims: bool, dtype: Any) -> Aval:
    kind = np.add.reduce(np.zeros(0, x.dtype)).dtype if dtype is None else canonical_dtype(dtype)
    return Aval(reduced_shape(x.shape, axis, keepdims), kind)


sum = op(
    "sum(x, *, axis=None, keepdims=False, dtype=None)", _sum, reduction, methods=("sum",), native="reductions:SUM",
    further=masked.folded("sum", 0, lambda out, first: out + first),
    numpy=(np.sum, np.add.reduce),
    infer_rule=_sum_infer, scratch=partial_sums,
    vjp=dict(x=lambda g, x_aval, axis, keepdims: spread(g, x_aval, axis, keepdims)), traits=("linear", "increasing"),
    doc="""Sum over `axis` (an integer, a tuple, or None for all), accumulated in `dtype`.

    Of a reduction `where` picks elements by booleans, as NumPy's, and `initial` is the number that it begins with.

    >>> import tensorgraph as tg
    >>> tg.sum([[1.0, 2.0], [3.0, 4.0]], axis=0)
    tensor([4., 6.], f32)
    >>> tg.sum([1.0, 2.0, 4.0], where=[True, False, True], initial=10.0)
    tensor(15., f32)
    """,
)  # fmt: skip


def wide(kind: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype that sums are made in: float16 has too few digits and too little range."""
    return np.dtype(np.float32) if kind == np.float16 else kind


def _wider(x: Any, aval: Any) -> Any:
    """float16 in float32, as sums and products are made, in a rule as well; anything else as it is."""
    return astype(x, dtype="float32") if aval.dtype == np.float16 else x


def _mean(x: Any, *, axis: Any = None, keepdims: Any = False) -> Any:
    n = count(x, axis)
    kind = float_dtype(x.dtype)
    whole = total(x, axis, keepdims, wide(kind))
    if n:
        return np.asarray(whole / n, kind)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.true_divide(whole, n), kind)


def _mean_x(g: Any, x_aval: Any, axis: Any, keepdims: bool) -> Any:
    return spread(g * (1.0 / (count(x_aval, axis) or 1)), x_aval, axis, keepdims)


mean = op(
    "mean(x, *, axis=None, keepdims=False)", _mean, reduction, native="reductions:MEAN",
    further=masked.mean, methods=("mean",), numpy=(np.mean,), dtype="float",
    vjp=dict(x=_mean_x), scratch=partial_sums, flops=lambda x, *, axis, keepdims: x.size + results(x, axis),
    traits=("linear", "increasing"),
    doc="Mean over `axis`; integers give the default float dtype; NaN over nothing.",
)  # fmt: skip


def centred(x: Any, axis: Any) -> Any:
    """x minus its mean over `axis`; exactly 0 where all are equal.

    The mean itself would be rounded to its own last place, which is much where the numbers differ by little. Taken from
    one of them first, they are as small as their differences, and so is the mean of these.
    """
    if 0 in x.shape:
        return x
    from_first = x - stop_gradient(x[_first(x, axis)])
    return from_first - mean(from_first, axis=axis, keepdims=True)


def _first(x: Any, axis: Any) -> Any:
    """The key of one of the elements that are reduced to each result."""
    if axis is None:
        return (slice(0, 1),) * len(x.shape)
    axes = canonical_axes(axis, len(x.shape))
    return tuple([slice(0, 1) if i in axes else slice(None) for i in range(len(x.shape))])


def _variance(x: Any, axis: Any, keepdims: Any, correction: float) -> Any:
    """At least in float32."""
    refuse_axis_of_number(x, axis)
    x = x.astype(wide(float_dtype(x.dtype)), copy=False)
    terms = count(x, axis)
    n = terms - number(correction, "correction")
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        if not x.size:
            return np.asarray(total(x, axis, keepdims) * np.nan, x.dtype)
        off = np.asarray(x - x[_first(x, axis)])
        np.subtract(off, total(off, axis, True) / terms, out=off)
        out = np.asarray(total(np.square(off, out=off), axis, keepdims) / (n if n > 0 else 0), x.dtype)
        if n > 0 and (out != out).any():  # differences of finite numbers that are themselves too large
            out = np.where(np.isnan(out) & np.isfinite(x).all(axis, keepdims=keepdims), np.inf, out).astype(x.dtype)
    return out


def _var(x: Any, *, axis: Any = None, keepdims: Any = False, correction: float = 0) -> Any:
    with np.errstate(over="ignore"):
        return _variance(x, axis, keepdims, correction).astype(float_dtype(x.dtype), copy=False)


def _var_x(g: Any, x: Any, x_aval: Any, axis: Any, keepdims: bool, correction: float) -> Any:
    n = count(x_aval, axis) - correction
    scale = 2.0 / n if n > 0 else float("nan")
    return spread(_wider(g, x_aval) * scale, x_aval, axis, keepdims) * centred(_wider(x, x_aval), axis)


def _var_infer(x: Aval, *, axis: Any, keepdims: bool, correction: float) -> Aval:
    number(correction, "correction")
    return Aval(reduced_shape(x.shape, axis, keepdims), float_dtype(x.dtype))


var = op(
    "var(x, *, axis=None, keepdims=False, correction: float = 0)", _var, reduction, methods=("var",),
    native="row_numbers:var", synonyms={"ddof": "correction"},
    further=masked.spread_of(root=False),
    infer_rule=_var_infer,
    vjp=dict(x=_var_x), scratch=lambda x, **attrs: x.nbytes,
    flops=lambda x, *, axis, keepdims, correction: 5 * x.size + 2 * results(x, axis),
    traits=("analytic", "bounded below"),
    doc="Variance over `axis`, computed around the mean; divided by n - correction (0: biased, 1: unbiased).",
)  # fmt: skip


def _powers(x: Any) -> Any:
    """The power of two within a factor of two of each magnitude; 1 for 0, NaN and the infinities."""
    _, exponent = np.frexp(x)
    return np.ldexp(np.ones_like(x), np.where(np.isfinite(x) & (x != 0), exponent - 1, 0))


binade = op(
    "binade(x)", _powers, elementwise, dtype="float", native="forms:BINADE", vjp=dict(x=None),
    traits=("flat", "idempotent", "internal"),
    oracle=lambda x: 2.0 ** np.floor(np.log2(np.abs(x))), domain=(0.3, 3.0),
    doc="The largest power of two not above the magnitude of x, by which division is exact; it has no slope.",
)  # fmt: skip


def _std(x: Any, *, axis: Any = None, keepdims: Any = False, correction: float = 0) -> Any:
    kind = float_dtype(x.dtype)
    with np.errstate(over="ignore"):
        root = np.asarray(_root_variance(x.astype(wide(kind), copy=False), axis, keepdims, correction))
        return root.astype(kind, copy=False)


def _root_variance(x: Any, axis: Any, keepdims: Any, correction: float) -> Any:
    """The root of the variance, of scaled numbers where the squares are too small or too large for their dtype."""
    squares = _variance(x, axis, keepdims, correction)
    limits = np.finfo(x.dtype)
    if not x.size or ((squares >= limits.tiny / limits.eps) & (squares < np.inf) | (squares != squares)).all():
        return np.sqrt(squares)
    largest = np.abs(x).max(axis, keepdims=True)
    exponent = np.where(np.isfinite(largest), np.frexp(largest)[1], 0)
    root = np.sqrt(_variance(np.ldexp(x, -exponent), axis, keepdims, correction))
    return np.ldexp(root, exponent if keepdims else exponent.reshape(root.shape))


def _std_x(g: Any, x: Any, out: Any, x_aval: Any, axis: Any, keepdims: bool, correction: float) -> Any:
    n = count(x_aval, axis) - correction
    scale = 1.0 / n if n > 0 else float("nan")
    # where all are equal the root has no slope; 0 is taken, and what is divided by is 1 there
    still = equal(out, 0.0)
    root = _wider(where(still, 1.0, out), x_aval)
    # both are divided by a power of two, so that neither their quotient nor g by the root leaves the dtype's range
    power = binade(stop_gradient(root))
    off = centred(_wider(x, x_aval) / spread(power, x_aval, axis, keepdims), axis)
    slope = where(still, 0.0, _wider(g, x_aval) * scale / (root / power))
    return spread(slope, x_aval, axis, keepdims) * off


std = op(
    "std(x, *, axis=None, keepdims=False, correction: float = 0)", _std, reduction, methods=("std",),
    native="row_numbers:std", synonyms={"ddof": "correction"},
    further=masked.spread_of(root=True),
    infer_rule=_var_infer,
    vjp=dict(x=_std_x), scratch=lambda x, **attrs: x.nbytes,
    flops=lambda x, *, axis, keepdims, correction: 5 * x.size + 3 * results(x, axis),
    traits=("root", "bounded below"),
    doc="""Standard deviation over `axis`, the root of `var`; where all are equal its gradient is 0.

    Right also where the squares of which `var` is made are too small or too large for the dtype.

    >>> import tensorgraph as tg
    >>> tg.std([1.0, 3.0]), tg.grad(tg.std)(tg.tensor([2.0, 2.0]))
    (tensor(1., f32), tensor([0., 0.], f32))
    """,
)  # fmt: skip


def _extremum(g: Any, x: Any, out: Any, x_aval: Any, axis: Any, keepdims: bool) -> Any:
    # a NaN equals nothing, and where there is one the result is NaN too
    hit = logical_or(equal(x, spread(out, x_aval, axis, keepdims)), isnan(x))
    ties = astype(sum(hit, axis=axis, keepdims=keepdims), dtype=np.result_type(x_aval.dtype, np.float32).name)
    return where(hit, spread(g / maximum(ties, 1), x_aval, axis, keepdims), 0.0)


def _max(x: Any, *, axis: Any = None, keepdims: Any = False) -> Any:
    refuse_axis_of_number(x, axis)
    return np.maximum.reduce(x, axis=axis, keepdims=keepdims)


def _min(x: Any, *, axis: Any = None, keepdims: Any = False) -> Any:
    refuse_axis_of_number(x, axis)
    return np.minimum.reduce(x, axis=axis, keepdims=keepdims)


def _some(x: Aval, *, axis: Any, keepdims: bool) -> Aval:
    out = reduced_shape(x.shape, axis, keepdims)
    if count(x, axis) == 0:
        raise ValueError(f"no elements to compare in {x} over axis {axis}; the largest of nothing is not defined")
    return Aval(out, x.dtype)


def _argument(x: Aval, *, axis: Any, keepdims: bool) -> Aval:
    if isinstance(axis, tuple):
        raise TypeError(f"axis must be one integer, or None for all elements, got {axis}")
    return Aval(_some(x, axis=axis, keepdims=keepdims).shape, np.int64)


max = op(
    "max(x, *, axis=None, keepdims=False)", _max, reduction, methods=("max",), native="reductions:MAX",
    further=masked.extremum("max", largest=True),
    numpy=(np.max, np.amax, np.maximum.reduce),
    infer_rule=_some, vjp=dict(x=_extremum), traits=("extremum",),
    doc="Largest element over `axis`; NaN wins and takes the gradient, which ties, of NaN too, share equally.",
)  # fmt: skip
min = op(
    "min(x, *, axis=None, keepdims=False)", _min, reduction, methods=("min",), native="reductions:MIN",
    further=masked.extremum("min", largest=False),
    numpy=(np.min, np.amin, np.minimum.reduce),
    infer_rule=_some, vjp=dict(x=_extremum), traits=("extremum",),
    doc="Smallest element over `axis`; NaN wins and takes the gradient, which ties, of NaN too, share equally.",
)  # fmt: skip


def _prod_x(g: Any, x: Any, x_aval: Any, axis: Any, keepdims: bool) -> Any:
    # the product of all others, as exclusive products from the left and from the right: right at zeros too
    flat, order = side_by_side(_wider(x, x_aval), x_aval.shape, canonical_axes(axis, len(x_aval.shape)))
    left = exclusive_product(flat)
    right = flip(exclusive_product(flip(flat, axis=-1)), axis=-1)
    return spread(g, x_aval, axis, keepdims) * apart(left * right, x_aval.shape, order)


def side_by_side(x: Any, shape: tuple[int, ...], axes: tuple[int, ...]) -> tuple[Any, tuple[int, ...]]:
    """What is reduced together in one last axis, and the order of axes that led there: `apart` undoes it."""
    rest = tuple(i for i in range(len(shape)) if i not in axes)
    order = rest + axes
    n = math.prod([shape[i] for i in axes])
    return reshape(transpose(x, axes=order), shape=(*(shape[i] for i in rest), n)), order


def apart(x: Any, shape: tuple[int, ...], order: tuple[int, ...]) -> Any:
    """Undo `side_by_side`."""
    back = tuple(order.index(i) for i in range(len(order)))
    return transpose(reshape(x, shape=tuple(shape[i] for i in order)), axes=back)


def exclusive_product(x: Any) -> Any:
    """Along the last axis, the product of the elements before each one, by doubling."""
    n = x.shape[-1]
    if n == 0:
        return x
    widths = [(0, 0)] * (len(x.shape) - 1)
    out = pad(x[..., : n - 1], widths=(*widths, (1, 0)), value=1.0)
    step = 1
    while step < n:
        shifted = pad(out[..., : n - step], widths=(*widths, (step, 0)), value=1.0)
        out = out * shifted
        step *= 2
    return out


# how many factors of a dtype are multiplied in which wider one: every product rounds, in whatever order
_PRODUCTS: dict[Any, tuple[int, Any]] = {
    np.dtype(np.float16): (0, np.float32), np.dtype(np.float32): (16, np.float64),
    np.dtype(np.float64): (256, np.longdouble),
}  # fmt: skip


def _prod(x: Any, *, axis: Any = None, keepdims: Any = False) -> Any:
    refuse_axis_of_number(x, axis)
    few, wide = _PRODUCTS.get(x.dtype, (x.size, None))
    if x.size > few and count(x, axis) > few:
        with np.errstate(over="ignore"):
            return np.asarray(np.multiply.reduce(x, axis=axis, dtype=wide, keepdims=keepdims), x.dtype)
    return np.multiply.reduce(x, axis=axis, keepdims=keepdims)


prod = op(
    "prod(x, *, axis=None, keepdims=False)", _prod, reduction, methods=("prod",), native="reductions:PRODUCT",
    further=masked.folded("prod", 1, lambda out, first: out * first), numpy=(np.prod, np.multiply.reduce),
    dtype="sum",
    vjp=dict(x=_prod_x), traits=("analytic",),
    doc="Product over `axis`; its gradient is right at zeros too.",
)  # fmt: skip


def _all(x: Any, *, axis: Any = None, keepdims: Any = False) -> Any:
    refuse_axis_of_number(x, axis)
    return np.logical_and.reduce(x, axis=axis, keepdims=keepdims)


def _any(x: Any, *, axis: Any = None, keepdims: Any = False) -> Any:
    refuse_axis_of_number(x, axis)
    return np.logical_or.reduce(x, axis=axis, keepdims=keepdims)


all = op(
    "all(x, *, axis=None, keepdims=False)", _all, reduction, methods=("all",), native="reductions:ALL",
    further=masked.truth("all", True), numpy=(np.all, np.logical_and.reduce),
    dtype="bool",
    doc="Whether all elements are true over `axis`.",
)  # fmt: skip
any = op(
    "any(x, *, axis=None, keepdims=False)", _any, reduction, methods=("any",), native="reductions:ANY",
    further=masked.truth("any", False), numpy=(np.any, np.logical_or.reduce),
    dtype="bool",
    doc="Whether an element is true over `axis`.",
)  # fmt: skip


def _argmax(x: Any, *, axis: Any = None, keepdims: Any = False) -> Any:
    refuse_axis_of_number(x, axis)
    return np.argmax(x, axis, keepdims=keepdims)


def _argmin(x: Any, *, axis: Any = None, keepdims: Any = False) -> Any:
    refuse_axis_of_number(x, axis)
    return np.argmin(x, axis, keepdims=keepdims)


def _other_order(x: Aval, *, axis: Any, keepdims: bool) -> int:
    """Scratch memory: NumPy copies to bring another axis than the last one there."""
    return 0 if axis is None or axis % x.ndim == x.ndim - 1 else x.nbytes


argmax = op(
    "argmax(x, *, axis: int | None = None, keepdims=False)", _argmax, reduction, methods=("argmax",),
    native="reductions:ARGMAX",
    numpy=(np.argmax,),
    dtype="int", infer_rule=_argument, scratch=_other_order, traits=("positions",),
    doc="Index of the largest element, the first at ties; over all elements (flattened) or one axis.",
)  # fmt: skip
argmin = op(
    "argmin(x, *, axis: int | None = None, keepdims=False)", _argmin, reduction, methods=("argmin",),
    native="reductions:ARGMIN",
    numpy=(np.argmin,),
    dtype="int", infer_rule=_argument, scratch=_other_order, traits=("positions",),
    doc="Index of the smallest element, the first at ties.",
)  # fmt: skip


def _logsumexp(x: Any, *, axis: Any = None, keepdims: Any = False) -> Any:
    x = as_float(x)
    refuse_axis_of_number(x, axis)
    if x.size == 0:
        with np.errstate(divide="ignore"):
            return np.log(total(x, axis, keepdims))
    kind = x.dtype
    top = np.maximum.reduce(x, axis=axis, keepdims=True)
    top = np.where(np.isfinite(top), top, 0).astype(wide(kind), copy=False)
    with np.errstate(divide="ignore", over="ignore"):
        terms = np.asarray(np.subtract(x, top, dtype=top.dtype))
        out = np.log(total(np.exp(terms, out=terms), axis, True)) + top
    return np.asarray(out if keepdims else out.reshape(reduced_shape(x.shape, axis, False)), kind)


def _logsumexp_x(g: Any, x: Any, out: Any, x_aval: Any, axis: Any, keepdims: bool) -> Any:
    # softmax of x, not exp(x - out): out is rounded to its own last place, which is far more than that of a share
    from tensorgraph.ops.softmax import softmax

    shape = x_aval.shape
    axes = canonical_axes(axis, len(shape))
    # where the sum is 0 (all -inf) nothing flows to elements of weight exp(-inf) = 0
    empty = equal(out, float("-inf"))
    some = type(empty) is not np.ndarray or empty.any()  # of arrays it is seen
    nothing = spread(empty, x_aval, axis, keepdims)
    known = where(nothing, 0.0, x) if some else x
    if len(axes) == 1:
        shares = softmax(known, axis=axes[0])
    else:
        flat, order = side_by_side(known, shape, axes)
        shares = apart(softmax(flat, axis=-1), shape, order)
    return spread(g, x_aval, axis, keepdims) * (where(nothing, 0.0, shares) if some else shares)


logsumexp = op(
    "logsumexp(x, *, axis=None, keepdims=False)", _logsumexp, reduction, methods=("logsumexp",), dtype="float",
    native="row_numbers:logsumexp", direct=True,
    vjp=dict(x=_logsumexp_x),
    flops=lambda x, *, axis, keepdims: 4 * x.size + 2 * results(x, axis),
    traits=("analytic", "exponential", "increasing"),
    doc="log(sum(exp(x))) over `axis` by max subtraction; -inf over nothing.",
)  # fmt: skip
