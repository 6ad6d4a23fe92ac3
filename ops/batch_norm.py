"""Batch normalisation over all axes but one. (Ioffe & Szegedy 2015; Ng, course 2, week 3)"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tensorgraph.engine.aval import Aval, canonical_axis
from tensorgraph.engine.batching import BatchCall, moved, reshaped
from tensorgraph.engine.declare import fused_op
from tensorgraph.engine.recognition import Recognition, every_axis, small_numbers
from tensorgraph.ops.arithmetic import sqrt
from tensorgraph.ops.creation import number
from tensorgraph.ops.exponential import relu
from tensorgraph.ops.kernels import batch_norm as kernels
from tensorgraph.ops.kernels.rows import aside, work_dtype
from tensorgraph.ops.logic import equal, isfinite, where
from tensorgraph.ops.reduction import sum
from tensorgraph.ops.shape import astype, reshape
from tensorgraph.ops.structure import stop_gradient


def _infer(x: Aval, gamma: Aval, beta: Aval, *, axis: int, eps: float) -> tuple[Aval, ...]:
    if x.dtype.kind != "f":
        raise TypeError(f"batch norm needs float input, got {x}; convert it with .astype('float32')")
    if x.ndim < 2:
        raise ValueError(f"batch norm needs a batch axis and a channel axis, got {x}")
    if not number(eps, "eps") >= 0:
        raise ValueError(f"eps is added to a variance and must not be negative, got {eps}")
    channels = x.shape[canonical_axis(axis, x.ndim)]
    for name, a in (("gamma", gamma), ("beta", beta)):
        if a.shape != (channels,) or a.dtype.kind != "f":
            raise ValueError(f"{name} must be float of shape ({channels},), one a channel of axis {axis}, got {a}")
    wide = np.float32 if x.dtype == np.float16 else x.dtype
    return x, Aval((channels,), wide), Aval((channels,), wide)


def _residual_types(x: Aval, gamma: Aval, beta: Aval, *, axis: int, eps: float) -> tuple[Aval, ...]:
    channels = x.shape[canonical_axis(axis, x.ndim)]
    return Aval((channels,), work_dtype(x.dtype)), Aval((channels,), np.float64)


def _fits(x: Any, gamma: Any, beta: Any, axis: int, eps: float) -> None:
    """Refuse what the kernels would read past the end of: eager calls do not ask the shape rule."""
    fits = x.dtype.kind == gamma.dtype.kind == beta.dtype.kind == "f" and x.ndim >= 2 and type(axis) is int
    if not (fits and -x.ndim <= axis < x.ndim and gamma.shape == beta.shape == (x.shape[axis],) and eps >= 0):
        _infer(*(Aval(a.shape, a.dtype) for a in (x, gamma, beta)), axis=axis, eps=eps)


def _forward(x: Any, gamma: Any, beta: Any, *, axis: int = 1, eps: float = 1e-5) -> Any:
    _fits(x, gamma, beta, axis, eps)
    return kernels.batch_norm_forward(x, gamma, beta, axis, eps)


def _relu_forward(x: Any, gamma: Any, beta: Any, *, axis: int = 1, eps: float = 1e-5) -> Any:
    _fits(x, gamma, beta, axis, eps)
    return kernels.batch_norm_relu_forward(x, gamma, beta, axis, eps)


def batch_norm_reference(x: Any, gamma: Any, beta: Any, *, axis: int = 1, eps: float = 1e-5) -> tuple[Any, Any, Any]:
    """The meaning, composed: shifted moments, so that a large mean costs no accuracy."""
    k = canonical_axis(axis, x.ndim)
    kind = x.dtype
    wide = np.dtype(np.float32) if kind == np.float16 else kind
    x = x if kind == wide else astype.public(x, dtype=wide.name)
    channels = x.shape[k]
    if math.prod(x.shape) == 0:
        nothing = np.full(channels, np.nan, wide)
        y = reshape.public(x, shape=x.shape)
        return (y if kind == wide else astype.public(y, dtype=kind.name)), _constant(nothing), _constant(nothing)
    others = tuple(i for i in range(x.ndim) if i != k)
    per_channel = tuple(channels if i == k else 1 for i in range(x.ndim))
    m = math.prod(x.shape[i] for i in others)
    first = x[tuple(slice(None) if i == k else slice(0, 1) for i in range(x.ndim))]
    shift = stop_gradient.public(first)  # moments around any fixed point are the same; the first row is near the mean
    from_shift = x - shift
    offset = astype.public(sum.public(from_shift, axis=others, keepdims=True, dtype="float64") / m, dtype=wide.name)
    offset = where.public(isfinite.public(offset), offset, math.nan)
    h = from_shift - offset
    var = astype.public(sum.public(h * h, axis=others, keepdims=True, dtype="float64") / m, dtype=wide.name)
    # what the offset lost by being rounded is in each h, which has no digits for it: it is taken from the sum of them
    rest = astype.public(sum.public(stop_gradient.public(h), axis=others, keepdims=True, dtype="float64") / m,
                         dtype=wide.name)  # fmt: skip
    slope = inverse_deviation(var, eps) * reshape.public(_wide(gamma, wide), shape=per_channel)
    y = h * slope + (reshape.public(_wide(beta, wide), shape=per_channel) - rest * slope)
    mu = reshape.public(shift + offset, shape=(channels,))
    return (
        y if kind == wide else astype.public(y, dtype=kind.name),
        mu,
        reshape.public(var, shape=(channels,)),
    )


def inverse_deviation(var: Any, eps: float) -> Any:
    """1 / sqrt(var + eps); 0 where that is infinite, so that a constant channel gives beta without eps too."""
    s = var + eps
    if np.asarray(eps, var.dtype) > 0:
        return 1.0 / sqrt.public(s)
    still = equal.public(stop_gradient.public(s), 0.0)
    # within the root as well: its slope is infinite at 0, and 0 times that is NaN
    return where.public(still, 0.0, 1.0 / sqrt.public(where.public(still, 1.0, s)))


def _wide(a: Any, kind: np.dtype[Any]) -> Any:
    return a if a.dtype == kind else astype.public(a, dtype=kind.name)


def _constant(array: Any) -> Any:
    from tensorgraph.engine.tensor import tensor

    return tensor(array)


def batch_norm_relu_reference(
    x: Any, gamma: Any, beta: Any, *, axis: int = 1, eps: float = 1e-5
) -> tuple[Any, Any, Any]:
    """Batch norm, then ReLU."""
    y, mu, var = batch_norm_reference(x, gamma, beta, axis=axis, eps=eps)
    return relu.public(y), mu, var


def _backward(
    want: Any, g_y: Any, g_mu: Any, g_var: Any, x: Any, gamma: Any, beta: Any, y: Any, mu: Any, var: Any, center: Any,
    rest: Any, *, axis: int = 1, eps: float = 1e-5,
) -> Any:  # fmt: skip
    return kernels.batch_norm_backward(g_y, g_mu, g_var, x, gamma, center, rest, var, axis, eps)


def _relu_backward(
    want: Any, g_y: Any, g_mu: Any, g_var: Any, x: Any, gamma: Any, beta: Any, y: Any, mu: Any, var: Any, center: Any,
    rest: Any, *, axis: int = 1, eps: float = 1e-5,
) -> Any:  # fmt: skip
    return kernels.batch_norm_relu_backward(g_y, g_mu, g_var, x, gamma, beta, center, rest, var, axis, eps)


def _flops(x: Aval, gamma: Aval, beta: Aval, *, axis: int, eps: float) -> int:
    """The mean (1), centring (1), the variance (2), times 1/std, times gamma, plus beta (3); five a channel."""
    return 7 * x.size + 5 * gamma.size


def _backward_flops(x: Aval, gamma: Aval, *rest: Any, **attrs: Any) -> int:
    """x normalised again (2), the sums of g and of g times that (3), dx (4); four a channel."""
    return 9 * x.size + 4 * gamma.size


def _relu_flops(x: Aval, *rest: Any, **attrs: Any) -> int:
    return _flops(x, *rest, **attrs) + x.size


def _relu_backward_flops(x: Aval, *rest: Any, **attrs: Any) -> int:
    return _backward_flops(x, *rest, **attrs) + 3 * x.size  # y again, its sign, the choice


def _forward_scratch(x: Aval, *rest: Any, axis: int, **attrs: Any) -> int:
    return 0 if kernels.in_planes(x.shape, axis) else aside(x, axis, 2)


def _backward_scratch(x: Aval, *rest: Any, axis: int, **attrs: Any) -> int:
    return 0 if kernels.in_planes(x.shape, axis) else aside(x, axis, 3)


def _batch(call: BatchCall) -> Any:
    """The channels of all examples side by side, as if they were one example's."""
    k, channels = canonical_axis(call.attrs["axis"], len(call.shape(0))), call.shape(1)[0]
    x, gamma, beta = (call.whole(i) for i in range(3))
    x = moved(x, 0, k)
    beside = x.shape
    x = reshaped(x, *beside[:k], call.size * channels, *beside[k + 2 :])
    y, mu, var = call.run(x, *[reshaped(a, call.size * channels) for a in (gamma, beta)], axis=k)
    mu, var = (reshaped(a, call.size, channels) for a in (mu, var))
    return moved(reshaped(y, *beside), k, 0), mu, var


EXAMPLES: tuple[Any, ...] = (
    (((6, 3), (3,), (3,)), {}),
    (((5, 3), (3,), (3,)), dict(eps=0.0)),
    (((4, 3, 2), (3,), (3,)), dict(eps=1e-3)),
    (((2, 3, 2, 2), (3,), (3,)), {}),
    (((5, 2, 3), (3,), (3,)), dict(axis=-1)),
)

# z is the normalised x, s its deviation, sqrt(var + eps)
TEACHES = {
    "x": (
        "gamma / s * (g_y - mean(g_y) - z * mean(g_y * z)), z = (x - mu) / s, s = sqrt(var + eps)",
        r"\frac{\gamma}{s} \left(g_{y} - \overline{g_{y}} - z \, \overline{g_{y} z}\right), "
        r"\quad z = \frac{x - \mu}{s}, \quad s = \sqrt{\mathrm{var} + \mathrm{eps}}",
    ),
    "gamma": ("sum(g_y * z), z = (x - mu) / s", r"\sum g_{y} z, \quad z = \frac{x - \mu}{s}"),
    "beta": ("sum(g_y)", r"\sum g_{y}"),
}
# also of layer norm, which differs in which axes
SPELLINGS = Recognition(
    needs=("root", "reduces"), without=("wave", ("exponential", "reduces")), main="x", invariant=True,
    neutral={"gamma": 1.0, "beta": 0.0}, values={"axis": every_axis, "eps": small_numbers},
)  # fmt: skip
batch_norm = fused_op(
    "batch_norm(x, gamma, beta, *, axis=1, eps=1e-5) -> y, mu, var",
    reference=batch_norm_reference,
    forward=_forward,
    backward=_backward,
    residuals=("center", "rest"),
    residual_types=_residual_types,
    infer_rule=_infer,
    batch=_batch,
    traits=("analytic", "root", "reduces", "normalises"),
    recognise=SPELLINGS,
    examples=EXAMPLES,
    flops=_flops,
    scratch=_forward_scratch,
    backward_flops=_backward_flops,
    backward_scratch=_backward_scratch,
    native="batch_norm:batch_norm",
    native_vjp="batch_norm:batch_norm_vjp",
    teaches=TEACHES,
    doc="""Each channel normalised by its own mean and biased variance: ``(x - mu) / sqrt(var + eps) * gamma + beta``.

    Gives y, mu and var, all differentiable. The layer with running averages is `tensorgraph.nn.BatchNorm`.

    >>> import tensorgraph as tg
    >>> y, mu, var = tg.batch_norm(tg.tensor([[1.0], [3.0]]), tg.ones((1,)), tg.zeros((1,)), eps=0.0)
    >>> y.tolist(), mu.tolist(), var.tolist()
    ([[-1.0], [1.0]], [2.0], [1.0])
    """,
)
batch_norm_relu = fused_op(
    "batch_norm_relu(x, gamma, beta, *, axis=1, eps=1e-5) -> y, mu, var",
    reference=batch_norm_relu_reference,
    forward=_relu_forward,
    backward=_relu_backward,
    residuals=("center", "rest"),
    residual_types=_residual_types,
    infer_rule=_infer,
    batch=_batch,
    traits=("root", "reduces", "normalises"),
    examples=EXAMPLES,
    flops=_relu_flops,
    scratch=_forward_scratch,
    backward_flops=_relu_backward_flops,
    backward_scratch=_backward_scratch,
    native="batch_norm:batch_norm_relu",
    native_vjp="batch_norm:batch_norm_relu_vjp",
    doc="`batch_norm`, then ReLU, in one pass.",
)
