"""Quantiles and medians: of a sorted line, the number at a place or between two."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tensorgraph.engine.aval import Aval, canonical_axes, canonical_axis
from tensorgraph.engine.batching import shifted
from tensorgraph.engine.declare import op
from tensorgraph.engine.functions import function, static
from tensorgraph.engine.keys import ALL
from tensorgraph.engine.modes import current
from tensorgraph.engine.op import index as indexing
from tensorgraph.engine.op import reduced_shape
from tensorgraph.engine.tensor import Tensor
from tensorgraph.ops import along, arithmetic, index, logic, reduction, rounding, shape, sorting
from tensorgraph.ops.creation import integers
from tensorgraph.ops.reduction import side_by_side
from tensorgraph.ops.statistics import float_of

__all__: list[str] = []

TensorLike = Any
Axes = int | Sequence[int]

# elements at places in order ------------------------------------------------------------------------------------------


def _ranked(x: Any, *, places: Any, axis: int = -1) -> Any:
    k = canonical_axis(axis, x.ndim)
    wanted = integers(places, "places")
    if not wanted or 0 in x.shape:
        return np.empty((*x.shape[:k], len(wanted), *x.shape[k + 1 :]), x.dtype)
    n = x.shape[k]
    last = {n - 1} if x.dtype.kind == "f" else set()  # where NaN goes
    out = np.partition(x, sorted({*wanted, *last}), k)
    picked = out.take(wanted, k)
    if x.dtype.kind == "f":
        worst = out.take([n - 1], k)
        picked = np.where(np.isnan(worst), worst, picked)
    return picked


def _ranked_infer(x: Aval, *, places: Any, axis: int) -> Aval:
    k, wanted = canonical_axis(axis, x.ndim), integers(places, "places")
    if any(not 0 <= p < x.shape[k] for p in wanted):
        raise ValueError(f"places {wanted} are not all from 0 to below {x.shape[k]}, the size of axis {axis} of {x}")
    return Aval((*x.shape[:k], len(wanted), *x.shape[k + 1 :]), x.dtype)


def _ranked_x(g: Any, x: Any, out: Any, x_aval: Any, places: Any, axis: int) -> Any:
    k = canonical_axis(axis, len(x_aval.shape))
    every = (ALL,) * k
    kind = np.result_type(x_aval.dtype, np.float32).name
    whole: Any = None
    for i in range(len(places)):
        at = (*every, ("slice", i, i + 1, None))
        found = index.getitem(out, [], key=at)
        hit = logic.logical_or(logic.equal(x, found), logic.isnan(x))
        # where NaN has won it alone is hit: no number equals it
        ties = shape.astype(reduction.sum(hit, axis=k, keepdims=True), dtype=kind)
        part = index.getitem(g, [], key=at) / arithmetic.maximum(ties, 1)
        part = logic.where(hit, shape.broadcast_to(part, shape=x_aval.shape), 0.0)
        whole = part if whole is None else whole + part
    return whole if whole is not None else x * 0.0


ranked = op(
    "ranked(x, *, places: Sequence[int], axis: int = -1)", _ranked, indexing, infer_rule=_ranked_infer, batch=shifted(),
    vjp=dict(x=_ranked_x), traits=("increasing", "internal"), flops=lambda x, *, places, axis: 4 * x.size,
    scratch=lambda x, **attrs: 2 * x.nbytes,
    examples=(
        (((3, 4),), dict(places=(1,))), (((5, 2),), dict(places=(0, 4, 2), axis=0)), (((0, 2),), dict(places=(0,))),
        (((2, 3),), dict(places=())),
    ),
    oracle=lambda x, *, places, axis=-1: np.sort(x, axis).take(np.array(places, int), axis),
    on_numpy="NumPy sorts, with vectors where the processor has them",
    doc="Of each line along an axis the elements at places in ascending order; NaN wins; ties share the gradient.",
)  # fmt: skip


# between them ---------------------------------------------------------------------------------------------------------

# how far the first and the last number are from the ends, in the words of Hyndman and Fan (1996)
_ENDS = {
    "linear": (1.0, 1.0), "interpolated_inverted_cdf": (0.0, 1.0), "hazen": (0.5, 0.5), "weibull": (0.0, 0.0),
    "median_unbiased": (1 / 3, 1 / 3), "normal_unbiased": (3 / 8, 3 / 8),
}  # fmt: skip
METHODS = (
    *_ENDS, "lower", "higher", "midpoint", "nearest", "inverted_cdf", "averaged_inverted_cdf", "closest_observation",
)  # fmt: skip


def _place(n: Any, q: Any, method: str) -> tuple[Any, Any]:
    """The place below the quantile and how far it is from there to the next one; of arrays or tensors n alike."""
    if method in _ENDS:
        alpha, beta = _ENDS[method]
        at = (n - 1) * q if method == "linear" else n * q + (alpha + q * (1 - alpha - beta)) - 1
        below = np.floor(at)
        return below, at - below
    at = (n - 1) * q
    if method in ("lower", "higher", "nearest"):
        chosen = np.floor(at) if method == "lower" else np.ceil(at) if method == "higher" else np.round(at)
        return chosen, chosen * 0.0
    if method == "midpoint":
        below = np.floor(at)
        return below, (np.ceil(at) - below) * 0.5
    at = n * q - 1
    if method == "closest_observation":
        at = at - 0.5
        below = np.floor(at)
        odd = below - 2 * np.floor(below / 2)
        return below, np.where((at == below) & (odd == 1), 0.0, 1.0)
    below = np.floor(at)
    return below, np.where(at == below, 0.5 if method == "averaged_inverted_cdf" else 0.0, 1.0)


def _asked(q: Any, scale: float, method: str, name: str) -> tuple[np.ndarray[Any, Any], tuple[int, ...], Any]:
    """The parts from 0 to 1 in one row, the shape they have, and the row as what a gradient can flow into."""
    if method not in METHODS:
        raise ValueError(f"{name}: method must be one of {', '.join(METHODS)}, got {method!r}")
    numbers = np.asarray(q.detach().numpy() if isinstance(q, Tensor) else q, np.float64) / scale
    if not ((numbers >= 0) & (numbers <= 1)).all():
        raise ValueError(f"{name}: q must be from 0 to {scale:g}, got {q}")
    row = numbers.reshape(-1)
    if not isinstance(q, Tensor) or not q.requires_grad:
        return row, numbers.shape, row
    return row, numbers.shape, shape.reshape.public(shape.astype.public(q, dtype="float64") / scale, shape=(-1,))


def _lined(x: Tensor, axis: Any) -> tuple[Tensor, tuple[int, ...]]:
    """What is reduced together along the last axis, and the axes."""
    axes = canonical_axes(axis if axis is None or isinstance(axis, (int, np.integer)) else tuple(axis), x.ndim)
    return side_by_side(x, x.shape, axes)[0], axes


def _between(low: Tensor, high: Tensor, weight: Any) -> Tensor:
    """Where both are the same it is that, infinities and zeros with a sign too."""
    same = low == high
    gap = logic.where.public(same, 0.0, high) - logic.where.public(same, 0.0, low)
    part = logic.where.public(same, 0.0, gap * weight)
    return logic.where.public(same, low, low + logic.where.public(weight == 0.0, 0.0, part))  # type: ignore[no-any-return]


def _finished(out: Tensor, shape_of: tuple[int, ...], wanted: tuple[int, ...], axes: Any, keepdims: bool) -> Tensor:
    """One axis of quantiles, the last, becomes those of q, which are the first."""
    reduced = reduced_shape(shape_of, axes, keepdims)
    if not wanted:
        return shape.reshape.public(out, shape=reduced)  # type: ignore[no-any-return]
    last = out.ndim - 1
    first = shape.transpose.public(out, axes=(last, *range(last)))
    return shape.reshape.public(first, shape=(*wanted, *reduced))  # type: ignore[no-any-return]


def _quantiles(x: Tensor, q: Any, axis: Any, method: str, keepdims: bool, scale: float, name: str) -> Tensor:
    kind = x.dtype
    numbers, wanted, parts = _asked(q, scale, method, name)
    lines, axes = _lined(x, axis)
    n = lines.shape[-1]
    if n == 0:
        nothing = reduction.mean.public(x, axis=axes, keepdims=keepdims)  # NaN
        return shape.broadcast_to.public(nothing, shape=(*wanted, *nothing.shape))  # type: ignore[no-any-return]
    below, weight = _place(np.float64(n), numbers, method)
    weight = np.where(below < 0, 0.0, weight)
    low = np.clip(below, 0, n - 1).astype(int)
    high = np.where(weight == 0, low, np.minimum(low + 1, n - 1))
    middle = current().trace is not None and method == "linear" and numbers.tolist() == [0.5] and parts is numbers
    if middle:  # a graph does the same for even and for odd sizes
        low, high, weight = np.array([(n - 1) // 2]), np.array([n // 2]), np.array([0.5])
    places = [*low.tolist(), *high.tolist()] if middle else sorted({*low.tolist(), *high.tolist()})
    values = ranked.public(lines, places=tuple(places), axis=-1)
    if kind == np.float16:
        values = shape.astype.public(values, dtype="float32")
    rank = {p: i for i, p in enumerate(places)}

    def pick(which: Any) -> Tensor:
        chosen = [int(which is high)] if middle else [rank[p] for p in which.tolist()]
        return values if chosen == [*range(len(places))] else values[..., np.array(chosen, int)]  # type: ignore[no-any-return]

    out = pick(low)
    if (weight != 0).any():
        if parts is not numbers:  # a tensor that needs a gradient
            weight = logic.where.public(below < 0, 0.0, _place(np.float64(n), parts, method)[1])
            weight = shape.astype.public(weight, dtype=values.dtype.name)
        out = _between(out, pick(high), weight if parts is not numbers else np.asarray(weight, values.dtype))
    if out.dtype != kind:
        out = shape.astype.public(out, dtype=kind.name)
    return _finished(out, x.shape, wanted, axes, keepdims)


@function(numpy=(np.quantile,), methods=("quantile",), computed=True, examples=(
    (((3, 4), 0.3), {}), (((3, 4), 0.5, 0), {}), (((3, 5), static([0.1, 0.9]), -1), dict(keepdims=True)),
    (((2, 3, 4), 0.25, static((0, 2))), dict(method="midpoint")),
))  # fmt: skip
def quantile(
    x: TensorLike,
    q: Tensor | float | Sequence[float] | np.ndarray[Any, Any],
    axis: Axes | None = None,
    method: str = "linear",
    keepdims: bool = False,
) -> Tensor:  # fmt: skip
    """The number below which a part `q` of the elements lies.

    Parameters
    ----------
    x : tensor
    q : number or sequence of numbers
        From 0 to 1; their axes come first in the result.
    axis : int or sequence of int, optional
        All axes by default.
    method : str
        Between which neighbours, as NumPy's: "linear", "lower", "higher", "midpoint", "nearest", and the other
        definitions of Hyndman and Fan (1996, The American Statistician 50).
    keepdims : bool

    Returns
    -------
    tensor
        NaN where there is one among the elements, and over nothing. The gradient goes to the elements it is made of,
        equal ones sharing it, and to `q`, where that is a tensor that needs one.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> tg.quantile([1.0, 2.0, 4.0], [0.0, 0.25])
    tensor([1. , 1.5], f32)
    """
    return _quantiles(float_of(x, "quantile: x"), q, axis, method, keepdims, 1.0, "quantile")


@function(numpy=(np.percentile,), computed=True,
          examples=((((3, 4), 30), {}), (((3, 4), static([25.0, 50.0]), 1), {})))  # fmt: skip
def percentile(
    x: TensorLike,
    q: Tensor | float | Sequence[float] | np.ndarray[Any, Any],
    axis: Axes | None = None,
    method: str = "linear",
    keepdims: bool = False,
) -> Tensor:  # fmt: skip
    """As `quantile`, with `q` from 0 to 100.

    >>> import tensorgraph as tg
    >>> tg.percentile([1.0, 2.0, 4.0], 25)
    tensor(1.5, f32)
    """
    return _quantiles(float_of(x, "percentile: x"), q, axis, method, keepdims, 100.0, "percentile")


@function(numpy=(np.median,), methods=("median",), computed=True, examples=(
    (((3, 4),), {}), (((3, 4), 0), {}), (((2, 3, 5), static((0, 2))), dict(keepdims=True)),
))  # fmt: skip
def median(x: TensorLike, axis: Axes | None = None, keepdims: bool = False) -> Tensor:
    """The middle element over `axis`, or the mean of the middle two; NaN wins.

    As `quantile`, not PyTorch's ``median``, which gives the lower of the two: that is quantile(x, 0.5, method="lower").

    >>> import tensorgraph as tg
    >>> tg.median([1.0, 2.0, 4.0, 3.0])
    tensor(2.5, f32)
    """
    return _quantiles(float_of(x, "median: x"), 0.5, axis, "linear", keepdims, 1.0, "median")


# without NaN ----------------------------------------------------------------------------------------------------------


def _without_nans(x: Tensor, q: Any, axis: Any, method: str, keepdims: bool, scale: float, name: str) -> Tensor:
    # lines have as many numbers as they are no NaN, so that places are numbers too: sorted, with NaN last
    kind = x.dtype
    _, wanted, parts = _asked(q, scale, method, name)
    lines, axes = _lined(x, axis)
    if lines.shape[-1] == 0:
        return _quantiles(x, q, axis, method, keepdims, scale, name)
    there = reduction.sum.public(logic.logical_not.public(logic.isnan.public(lines)), axis=-1, keepdims=True)
    n = shape.astype.public(there, dtype="float64")
    below, weight = _place(n, parts, method)
    weight = logic.where.public(below < 0, 0.0, weight)
    most = arithmetic.maximum.public(n - 1, 0.0)
    low = arithmetic.maximum.public(arithmetic.minimum.public(below, most), 0.0)
    high = arithmetic.minimum.public(rounding.ceil.public(low + weight), most)
    line = sorting.sort.public(lines, axis=-1)
    if kind == np.float16:
        line = shape.astype.public(line, dtype="float32")
    low, high = (
        along.take_along_axis.public(line, shape.astype.public(place, dtype="int64"), axis=-1) for place in (low, high)
    )
    out = _between(low, high, shape.astype.public(weight, dtype=line.dtype.name))
    if out.dtype != kind:
        out = shape.astype.public(out, dtype=kind.name)
    return _finished(out, x.shape, wanted, axes, keepdims)


@function(numpy=(np.nanquantile,), computed=True, examples=(
    (((3, 4), 0.3), {}), (((3, 5), static([0.1, 0.9]), -1), {}), (((2, 5), 0.25, 0), dict(method="hazen"))
))  # fmt: skip
def nanquantile(
    x: TensorLike,
    q: Tensor | float | Sequence[float] | np.ndarray[Any, Any],
    axis: Axes | None = None,
    method: str = "linear",
    keepdims: bool = False,
) -> Tensor:  # fmt: skip
    """`quantile` of what is no NaN; NaN where there is nothing else. Of equal elements the first get the gradient.

    >>> import tensorgraph as tg
    >>> tg.nanquantile([1.0, float("nan"), 2.0], 0.5)
    tensor(1.5, f32)
    """
    return _without_nans(float_of(x, "nanquantile: x"), q, axis, method, keepdims, 1.0, "nanquantile")


@function(numpy=(np.nanpercentile,), computed=True, examples=((((3, 4), 30), {}),))
def nanpercentile(
    x: TensorLike,
    q: Tensor | float | Sequence[float] | np.ndarray[Any, Any],
    axis: Axes | None = None,
    method: str = "linear",
    keepdims: bool = False,
) -> Tensor:  # fmt: skip
    """As `nanquantile`, with `q` from 0 to 100."""
    return _without_nans(float_of(x, "nanpercentile: x"), q, axis, method, keepdims, 100.0, "nanpercentile")


@function(numpy=(np.nanmedian,), methods=("nanmedian",), computed=True, examples=((((3, 4),), {}), (((3, 4), 0), {})))
def nanmedian(x: TensorLike, axis: Axes | None = None, keepdims: bool = False) -> Tensor:
    """`median` of what is no NaN; NaN where there is nothing else.

    >>> import tensorgraph as tg
    >>> tg.nanmedian([1.0, float("nan"), 5.0])
    tensor(3., f32)
    """
    return _without_nans(float_of(x, "nanmedian: x"), 0.5, axis, "linear", keepdims, 1.0, "nanmedian")
