"""Along an axis: sums, products, extrema of all that came before, and linear recurrences, of which their gradients are
made.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tensorgraph.engine.aval import Aval, canonical_axis
from tensorgraph.engine.batching import BatchCall, reshaped, shifted
from tensorgraph.engine.declare import op
from tensorgraph.engine.op import Op, float_dtype, scan
from tensorgraph.ops.exponential import as_float
from tensorgraph.ops.index import getitem
from tensorgraph.ops.kernels.running import running_sums
from tensorgraph.ops.logic import equal, isnan, logical_and, logical_or, where
from tensorgraph.ops.shape import astype, flip, pad, reshape


def _along(x: Any, axis: Any) -> tuple[Any, int]:
    """The array and its axis: all elements in a row where that is None."""
    return (np.reshape(x, -1), 0) if axis is None else (x, canonical_axis(axis, x.ndim))


def _line(x: Aval, axis: Any, include_initial: bool) -> tuple[int, ...]:
    sizes = [x.size] if axis is None else list(x.shape)
    sizes[0 if axis is None else canonical_axis(axis, x.ndim)] += include_initial
    return tuple(sizes)


def _batch(call: BatchCall) -> Any:
    """Along the examples' own axis, each example in a row where it is None."""
    if call.attrs["axis"] is not None:
        return shifted()(call)
    return call.run(reshaped(call.whole(0), call.size, math.prod(call.shape(0))), axis=1)


def _part(x: Any, axis: int, start: int | None, stop: int | None) -> Any:
    return getitem(x, [], key=(*(("slice", None, None, None),) * axis, ("slice", start, stop, None)))


def later(x: Any, axis: int, first: float) -> Any:
    """Each element one place on, `first` in the first place."""
    widths = tuple((1, 0) if i == axis else (0, 0) for i in range(len(x.shape)))
    return pad(_part(x, axis, None, -1), widths=widths, value=first) if x.shape[axis] else x


def earlier(x: Any, axis: int, last: float) -> Any:
    """Each element one place back, `last` in the last place."""
    widths = tuple((0, 1) if i == axis else (0, 0) for i in range(len(x.shape)))
    return pad(_part(x, axis, 1, None), widths=widths, value=last) if x.shape[axis] else x


def _flat(g: Any, aval: Any, axis: Any) -> tuple[Any, int]:
    return g, 0 if axis is None else canonical_axis(axis, len(aval.shape))


def _shaped(g: Any, aval: Any, axis: Any) -> Any:
    return reshape(g, shape=aval.shape) if axis is None else g


def _lined(x: Any, axis: Any) -> Any:
    return reshape(x, shape=(math.prod(x.shape),)) if axis is None else x


def _wide(kind: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype that scans of floats are made in: every step rounds, and there may be a hundred thousand."""
    return np.dtype(np.float64 if kind.itemsize < 8 else np.longdouble) if kind.kind == "f" else kind


def _in_wider(function: Callable[..., Any], x: Any, axis: int) -> Any:
    """A scan, of floats in wider ones."""
    if x.dtype.kind != "f":
        return function(x, axis)
    with np.errstate(over="ignore"):
        return function(x.astype(_wide(x.dtype)), axis).astype(x.dtype)


# a linear recurrence --------------------------------------------------------------------------------------------------


def _recurrence(a: Any, b: Any, *, axis: int = 0, reverse: bool = False) -> Any:
    k = canonical_axis(axis, b.ndim)
    _fit_each_other(a, b)
    kind = np.result_type(a.dtype, b.dtype)
    wide = _wide(kind)
    out = np.empty(b.shape, wide)
    a, b, moved = (np.moveaxis(v.astype(wide, copy=False), k, 0) for v in (a, b, out))
    places = range(len(b))[::-1] if reverse else range(len(b))
    previous: Any = None
    for i in places:
        np.add(b[i], 0 if previous is None else a[i] * previous, out=moved[i, ...])
        previous = moved[i]
    with np.errstate(over="ignore"):
        return out.astype(kind, copy=False)


def _recurrence_infer(a: Aval, b: Aval, *, axis: Any, reverse: Any) -> Aval:
    canonical_axis(axis, b.ndim)
    _fit_each_other(a, b)
    return Aval(b.shape, np.result_type(a.dtype, b.dtype))


def _fit_each_other(a: Any, b: Any) -> None:
    if a.shape != b.shape:
        raise ValueError(f"a and b must have one shape, got {a.shape} and {b.shape}")
    if a.dtype.kind != "f" or b.dtype.kind != "f":
        raise TypeError(f"a and b must be floats, got {a.dtype} and {b.dtype}; convert with .astype('float32')")


def _adjoint(g: Any, a: Any, axis: int, reverse: bool) -> Any:
    k = canonical_axis(axis, len(a.shape))
    moved = later(a, k, 0.0) if reverse else earlier(a, k, 0.0)
    return linear_recurrence(moved, g, axis=k, reverse=not reverse)


def _recurrence_a(g: Any, a: Any, out: Any, axis: int, reverse: bool) -> Any:
    k = canonical_axis(axis, len(a.shape))
    before = earlier(out, k, 0.0) if reverse else later(out, k, 0.0)
    return _adjoint(g, a, axis, reverse) * before


linear_recurrence: Op = op(
    "linear_recurrence(a, b, *, axis: int = 0, reverse: bool = False)", _recurrence, scan, batch=shifted(),
    native="scans:linear_recurrence",
    infer_rule=_recurrence_infer, vjp=dict(a=_recurrence_a, b=_adjoint), flops=2,
    oracle=lambda a, b, *, axis=0, reverse=False: _recurrence(a, b, axis=axis, reverse=reverse),
    examples=((((4, 3), (4, 3)), {}), (((2, 5), (2, 5)), dict(axis=-1, reverse=True)), (((0, 2), (0, 2)), {})),
    doc="""y[k] = b[k] + a[k]·y[k - 1] along an axis, beginning with b[0]; from its end, with y[k + 1], if `reverse`.

    Computed in wider floats: float64 in the machine's long double, and where that is none, errors of all steps add up.

    >>> import tensorgraph as tg
    >>> tg.linear_recurrence([0.5, 0.5, 0.5], [1.0, 1.0, 1.0])
    tensor([1.  , 1.5 , 1.75], f32)
    """,
)  # fmt: skip


# sums and products ----------------------------------------------------------------------------------------------------


def _with_initial(out: Any, axis: int, first: float) -> Any:
    shape = list(out.shape)
    shape[axis] = 1
    return np.concatenate([np.full(shape, first, out.dtype), out], axis)


def _sum_dtype(x: Aval) -> np.dtype[Any]:
    kind: np.dtype[Any] = np.add.reduce(np.zeros(0, x.dtype)).dtype
    return kind


def _cumulative_sum(x: Any, *, axis: int | None = None, include_initial: bool = False) -> Any:
    x, k = _along(x, axis)
    out = running_sums(x, k)
    return _with_initial(out, k, 0) if include_initial else out


def _sum_back(g: Any, x_aval: Any, axis: Any, include_initial: bool) -> Any:
    g, k = _flat(g, x_aval, axis)
    g = _part(g, k, 1, None) if include_initial else g
    back = flip(cumulative_sum(flip(g, axis=k), axis=k), axis=k)
    return _shaped(back, x_aval, axis)


cumulative_sum: Op = op(
    "cumulative_sum(x, *, axis: int | None = None, include_initial: bool = False)", _cumulative_sum, scan,
    native="scans:cumulative_sum",
    also=("cumsum",), methods=("cumsum",), numpy=(np.cumsum, np.add.accumulate), batch=_batch, flops=1,
    infer_rule=lambda x, *, axis, include_initial: Aval(_line(x, axis, include_initial), _sum_dtype(x)),
    vjp=dict(x=_sum_back), traits=("linear",),
    oracle=lambda x, *, axis=None, include_initial=False: _plainly(np.cumsum, x, axis, include_initial, 0),
    examples=(
        (((3, 4),), {}), (((3, 4),), dict(axis=0)), (((4, 2),), dict(axis=0, include_initial=True)), (((0,),), {}),
        (((2, 40),), dict(axis=-1)),
    ),
    doc="""Sums of the first elements along an axis, of all in a row where it is None; 0 in front if `include_initial`.

    Each is within the bounds of `sum`, however many elements there are.

    >>> import tensorgraph as tg
    >>> tg.cumsum([1.0, 2.0, 3.0])
    tensor([1., 3., 6.], f32)
    """,
)  # fmt: skip


def _plainly(function: Callable[..., Any], x: Any, axis: Any, include_initial: bool, first: float) -> Any:
    out = function(x, axis=axis)
    return _with_initial(out, 0 if axis is None else axis, first) if include_initial else out


def _cumulative_prod(x: Any, *, axis: int | None = None, include_initial: bool = False) -> Any:
    x, k = _along(x, axis)
    out = _in_wider(np.cumprod, x, k)
    return _with_initial(out, k, 1) if include_initial else out


def _prod_back(g: Any, x: Any, out: Any, axis: Any, include_initial: bool) -> Any:
    # what follows an element is a recurrence, so that a 0 among the factors is as good as any
    g, k = _flat(g, x, axis)
    factors = _lined(x, axis)
    before = _part(out, k, None, -1) if include_initial else later(out, k, 1.0)
    g = _part(g, k, 1, None) if include_initial else g
    after = linear_recurrence(earlier(factors, k, 0.0), g, axis=k, reverse=True)
    return _shaped(before * after, x, axis)


cumulative_prod = op(
    "cumulative_prod(x, *, axis: int | None = None, include_initial: bool = False)", _cumulative_prod, scan,
    native="scans:cumulative_prod",
    also=("cumprod",), methods=("cumprod",), numpy=(np.cumprod, np.multiply.accumulate), batch=_batch, flops=1,
    infer_rule=lambda x, *, axis, include_initial: Aval(_line(x, axis, include_initial), _sum_dtype(x)),
    vjp=dict(x=_prod_back), domain=(0.5, 1.5),
    oracle=lambda x, *, axis=None, include_initial=False: _plainly(np.cumprod, x, axis, include_initial, 1),
    examples=(
        (((3, 4),), {}), (((3, 4),), dict(axis=0)), (((4, 2),), dict(axis=0, include_initial=True)), (((0,),), {}),
    ),
    doc="""Products of the first elements along an axis, of all in a row where it is None; 1 in front if
    `include_initial`.

    The gradient is right at zeros too. Both are computed in wider floats, as `linear_recurrence`.
    """,
)  # fmt: skip


# exponentials and extrema ---------------------------------------------------------------------------------------------


def _logcumsumexp(x: Any, *, axis: int | None = None) -> Any:
    x, k = _along(as_float(x), axis)
    return _in_wider(lambda x, axis: np.logaddexp.accumulate(x, axis), x, k) if x.size else np.array(x)


def _share(x: Any, *, axis: int = 0, rest: bool = False) -> Any:
    k = canonical_axis(axis, x.ndim)
    if not x.size:
        return np.array(x)
    wide = x.astype(_wide(x.dtype))
    before = np.full_like(wide, -np.inf)
    every = (slice(None),) * k
    last, first = (*every, slice(None, -1)), (*every, slice(1, None))
    with np.errstate(invalid="ignore", under="ignore"):
        before[first] = np.logaddexp.accumulate(wide[last], k)
        # beside all that came before; of nothing to nothing nothing is added
        odds = np.where((wide == -np.inf) & (before == -np.inf), -np.inf, wide - before)
        odds = -odds if rest else odds
        e = np.exp(-np.abs(odds))
        return (np.where(odds >= 0, 1, e) / (1 + e)).astype(x.dtype)


def _share_back(g: Any, x: Any, out: Any, axis: int, rest: bool) -> Any:
    other = scan_share(x, axis=axis, rest=not rest)
    h = g * out * other
    k = canonical_axis(axis, len(x.shape))
    back = h - _along_back(earlier(h, k, 0.0), x, k)
    return -back if rest else back


def _along_back(g: Any, x: Any, k: int) -> Any:
    """The gradient of the logarithms of sums of exponentials along an axis."""
    stays = earlier(scan_share(x, axis=k, rest=True), k, 0.0)
    return scan_share(x, axis=k, rest=False) * linear_recurrence(stays, g, axis=k, reverse=True)


def _exp_back(g: Any, x: Any, axis: Any) -> Any:
    g, k = _flat(g, x, axis)
    return _shaped(_along_back(g, _lined(x, axis), k), x, axis)


def _shares(x: Any, *, axis: int = 0, rest: bool = False) -> Any:
    sums = np.cumsum(np.exp(x), axis=axis)
    return (sums - np.exp(x) if rest else np.exp(x)) / sums


scan_share: Op = op(
    "scan_share(x, *, axis: int = 0, rest: bool = False)", _share, scan, batch=shifted(), flops=8,
    infer_rule=lambda x, *, axis, rest: Aval(_line(x, axis, False), float_dtype(x.dtype)), dtype="float",
    vjp=dict(x=_share_back), traits=("internal", "bounded above", "bounded below"), oracle=_shares,
    examples=((((3, 4),), {}), (((3, 4),), dict(axis=-1)), (((4, 3),), dict(rest=True)), (((0,),), {})),
    on_numpy="each number waits for an exponential and a logarithm of the one before",
    doc="""The share of each exponential in the sum of the first ones along an axis, or what is left of 1, if `rest`.

    Made in wider floats of what came before, not of `logcumsumexp`, in which much less than a last place is lost.
    """,
)  # fmt: skip
logcumsumexp = op(
    "logcumsumexp(x, *, axis: int | None = None)", _logcumsumexp, scan, methods=("logcumsumexp",), batch=_batch,
    infer_rule=lambda x, *, axis: Aval(_line(x, axis, False), float_dtype(x.dtype)), vjp=dict(x=_exp_back), flops=5,
    oracle=lambda x, *, axis=None: np.log(np.cumsum(np.exp(x), axis=axis)),
    examples=((((3, 4),), {}), (((3, 4),), dict(axis=0)), (((0,),), {})),
    on_numpy="each number waits for an exponential and a logarithm of the one before",
    doc="log of the sums of the exponentials of the first elements along an axis, without overflow, in wider floats.",
)  # fmt: skip


def _alike(a: Any, b: Any) -> Any:
    return logical_or(equal(a, b), logical_and(isnan(a), isnan(b)))


def _extremum_back(g: Any, x: Any, out: Any, axis: Any) -> Any:
    # Between two records the extremum stays. Its gradient there is shared by those that had reached it by then.
    g, k = _flat(g, x, axis)
    line = _lined(x, axis)
    kind = str(out.dtype)
    stays = astype(_alike(out, later(out, k, math.inf)), dtype=kind)
    reached = _alike(line, out)
    count = linear_recurrence(stays, astype(reached, dtype=kind), axis=k)
    share = linear_recurrence(earlier(stays, k, 0.0), g / count, axis=k, reverse=True)
    return _shaped(where(reached, share, 0.0), x, axis)


def _extremum(function: np.ufunc) -> Callable[..., Any]:
    def forward(x: Any, *, axis: int | None = None) -> Any:
        x, k = _along(x, axis)
        return function.accumulate(x, k) if x.size else np.array(x)

    return forward


def _extremum_infer(x: Aval, *, axis: Any) -> Aval:
    return Aval(_line(x, axis, False), x.dtype)


cummax = op(
    "cummax(x, *, axis: int | None = None)", _extremum(np.maximum), scan, methods=("cummax",), batch=_batch, flops=1,
    native="scans:cummax",
    infer_rule=_extremum_infer, vjp=dict(x=_extremum_back),
    oracle=lambda x, *, axis=None: np.maximum.accumulate(*_along(x, axis)) if x.size else x,
    examples=((((3, 4),), {}), (((3, 4),), dict(axis=0)), (((0,),), {})),
    doc="The largest of the first elements along an axis; NaN wins; the gradient is shared equally among ties.",
)  # fmt: skip
cummin = op(
    "cummin(x, *, axis: int | None = None)", _extremum(np.minimum), scan, methods=("cummin",), batch=_batch, flops=1,
    native="scans:cummin",
    infer_rule=_extremum_infer, vjp=dict(x=_extremum_back),
    oracle=lambda x, *, axis=None: np.minimum.accumulate(*_along(x, axis)) if x.size else x,
    examples=((((3, 4),), {}), (((3, 4),), dict(axis=0)), (((0,),), {})),
    doc="The smallest of the first elements along an axis; NaN wins; the gradient is shared equally among ties.",
)  # fmt: skip
