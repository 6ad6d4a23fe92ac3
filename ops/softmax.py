"""Softmax and its logarithm, by max subtraction; and hardmax."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tensorgraph.engine.aval import Aval, canonical_axes, canonical_axis
from tensorgraph.engine.batching import shifted
from tensorgraph.engine.declare import fused_op, op
from tensorgraph.engine.op import CATALOGUE, float_dtype, reduction
from tensorgraph.engine.recognition import Recognition, every_axis
from tensorgraph.engine.tensor import Tensor, tensor
from tensorgraph.ops.creation import arange
from tensorgraph.ops.exponential import as_float, exp, log1p
from tensorgraph.ops.kernels import softmax as kernels
from tensorgraph.ops.kernels.rows import aside
from tensorgraph.ops.logic import equal, less, logical_and, where
from tensorgraph.ops.reduction import apart, argmax, side_by_side, sum
from tensorgraph.ops.shape import astype, reshape
from tensorgraph.ops.structure import stop_gradient


def _infer(x: Aval, *, axis: int) -> Aval:
    canonical_axis(axis, x.ndim)
    return Aval(x.shape, float_dtype(x.dtype))


def _softmax(x: Any, *, axis: int = -1) -> Any:
    if type(axis) is not int or not x.size:  # what the kernel takes for an axis, or does not look at
        axis = canonical_axis(axis, x.ndim)
    return kernels.softmax_forward(as_float(x), axis)


def _log_softmax(x: Any, *, axis: int = -1) -> Any:
    if type(axis) is not int or not x.size:
        axis = canonical_axis(axis, x.ndim)
    return kernels.log_softmax_forward(as_float(x), axis)


def _widened(x: Any) -> tuple[Any, Any]:
    """x, at least in float32, and the dtype of the result."""
    kind = float_dtype(x.dtype)
    wide = np.dtype(np.float32) if kind == np.float16 else kind
    if x.dtype != wide:
        x = astype.public(x, dtype=wide.name)
    return x, kind


def from_likeliest(x: Any, axis: int) -> tuple[Any, Any, Any]:
    """x relative to its largest element, the exponentials of that, and by how much their sum exceeds 1.

    Where one class has more than half of the probability its own difference is 0 and so is the derivative of that:
    everything is said by the others, and neither a value nor a derivative is the difference of nearly equal numbers.
    Elsewhere a sum over many others would be the less accurate, and none of the gradient passes through the maximum.
    """
    k = canonical_axis(axis, x.ndim)
    classes = reshape.public(arange.public(x.shape[k]), shape=tuple(-1 if i == k else 1 for i in range(x.ndim)))
    first = equal.public(argmax.public(x, axis=k, keepdims=True), classes)
    top = sum.public(where.public(first, x, 0.0), axis=k, keepdims=True)
    fixed = stop_gradient.public(x - top)
    likely = less.public(sum.public(where.public(first, fixed, exp.public(fixed)), axis=k, keepdims=True), 1.0)
    known = logical_and.public(first, likely)
    d = where.public(known, 0.0, x - where.public(likely, top, stop_gradient.public(top)))
    e = where.public(known, 1.0, exp.public(d))
    excess = sum.public(where.public(known, 0.0, e), axis=k, keepdims=True) - where.public(likely, 0.0, 1.0)
    return d, e, excess


def _narrow(y: Any, kind: np.dtype[Any]) -> Any:
    return y if y.dtype == kind else astype.public(y, dtype=kind.name)


def softmax_reference(x: Any, *, axis: int = -1) -> Any:
    """exp(x - max) over its sum."""
    x, kind = _widened(x)
    if x.shape[axis] == 0:
        return _narrow(reshape.public(x, shape=x.shape), kind)
    _, e, excess = from_likeliest(x, axis)
    return _narrow(e / (1.0 + excess), kind)


def log_softmax_reference(x: Any, *, axis: int = -1) -> Any:
    """(x - max) - log(sum(exp(x - max)))."""
    x, kind = _widened(x)
    if x.shape[axis] == 0:
        return _narrow(reshape.public(x, shape=x.shape), kind)
    d, _, excess = from_likeliest(x, axis)
    return _narrow(d - log1p.public(excess), kind)


def _over_several(call: str) -> Callable[..., Any]:
    """Over several axes, None being all: over one in which they lie side by side."""

    def otherwise(x: Any, axis: Any = -1) -> Any:
        if axis is not None and not isinstance(axis, (tuple, list)):
            return NotImplemented
        x = x if isinstance(x, Tensor) else tensor(x)
        axes = canonical_axes(axis, x.ndim)
        flat, order = side_by_side(x, x.shape, axes)
        return apart(CATALOGUE[call].public(flat, axis=-1), x.shape, order)

    return otherwise


def _normalised_flops(x: Aval, *, axis: int) -> int:
    """Maximum, difference, exponential, sum, and the division or another difference."""
    return 5 * x.size


def _forward_scratch(x: Aval, *, axis: int) -> int:
    return aside(x, axis, 2)


def _backward_scratch(x: Aval, *rest: Any, axis: int, want: Any) -> int:
    return aside(x, axis, 3)


COST: dict[str, Any] = dict(
    flops=_normalised_flops, scratch=_forward_scratch, backward_flops=4, backward_scratch=_backward_scratch
)
EXAMPLES: tuple[Any, ...] = (
    (((3, 5),), {}),
    (((3, 5),), dict(axis=0)),
    (((2, 3, 4),), dict(axis=1)),
    (((0, 4),), {}),
)
SPELLINGS = Recognition(
    needs=("exponential", "reduces"), without=("wave", "normalises"), main="x", invariant=True,
    values={"axis": every_axis},
)  # fmt: skip

softmax = fused_op(
    "softmax(x, *, axis=-1)",
    reference=softmax_reference,
    forward=_softmax,
    backward=lambda want, g, x, y, *, axis=-1: (kernels.softmax_backward(g, y, axis),),
    infer_rule=_infer,
    batch=shifted(),
    methods=("softmax",),
    otherwise=_over_several("softmax"),
    traits=("analytic", "exponential", "reduces", "bounded above", "bounded below"),
    recognise=SPELLINGS,
    examples=EXAMPLES,
    teaches={"x": ("out * (g - sum(g * out))", r"\mathrm{out} \left(g - \sum g \, \mathrm{out}\right)")},
    native="softmax:softmax",
    native_vjp="softmax:softmax_vjp",
    **COST,
    doc="""Exponentials that sum to one along `axis`: along several together, or all of them where it is None.

    >>> import tensorgraph as tg
    >>> tg.softmax([5, 2, -1, 3]).numpy().round(3).tolist()  # Ng, course 2, week 3
    [0.8420000076293945, 0.041999999433755875, 0.0020000000949949026, 0.11400000005960464]
    """,
)
log_softmax = fused_op(
    "log_softmax(x, *, axis=-1)",
    reference=log_softmax_reference,
    forward=_log_softmax,
    backward=lambda want, g, x, y, *, axis=-1: (kernels.log_softmax_backward(g, y, axis),),
    infer_rule=_infer,
    batch=shifted(),
    methods=("log_softmax",),
    otherwise=_over_several("log_softmax"),
    traits=("analytic", "exponential", "reduces", "bounded above"),
    recognise=SPELLINGS,
    examples=EXAMPLES,
    teaches={"x": ("g - exp(out) * sum(g)", r"g - e^{\mathrm{out}} \sum g")},
    native="softmax:log_softmax",
    native_vjp="softmax:log_softmax_vjp",
    **COST,
    doc="The logarithm of `softmax`, accurate where a probability is too small for a float; axes as there.",
)


def _hardmax(x: Any, *, axis: int = -1) -> Any:
    k = canonical_axis(axis, x.ndim)
    out = np.zeros(x.shape, float_dtype(x.dtype))
    if x.size:
        np.put_along_axis(out, np.expand_dims(np.argmax(x, k), k), 1, k)
    return out


hardmax = op(
    "hardmax(x, *, axis=-1)", _hardmax, reduction, infer_rule=_infer, vjp=dict(x=None),
    traits=("flat", "bounded above", "bounded below", "idempotent"), examples=EXAMPLES,
    on_numpy="NumPy finds the place of the largest and puts a 1 there",
    doc="""1 at the largest element along `axis` (the first at ties), 0 elsewhere.

    >>> import tensorgraph as tg
    >>> tg.hardmax(tg.softmax([5, 2, -1, 3])).tolist()
    [1.0, 0.0, 0.0, 0.0]
    """,
)  # fmt: skip
