"""Layer normalisation: each example by its own moments. (Ba, Kiros & Hinton 2016, arXiv 1607.06450)"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tensorgraph.engine.aval import Aval, canonical_axis
from tensorgraph.engine.batching import BatchCall, repeated, widened
from tensorgraph.engine.declare import fused_op
from tensorgraph.engine.sums import total
from tensorgraph.ops.batch_norm import SPELLINGS, inverse_deviation
from tensorgraph.ops.creation import number
from tensorgraph.ops.kernels import batch_norm as kernels
from tensorgraph.ops.kernels.rows import work_dtype
from tensorgraph.ops.logic import isfinite, where
from tensorgraph.ops.reduction import sum
from tensorgraph.ops.shape import astype, reshape
from tensorgraph.ops.structure import stop_gradient


def _infer(x: Aval, gamma: Aval, beta: Aval, *, axis: int, eps: float) -> tuple[Aval, ...]:
    if x.dtype.kind != "f":
        raise TypeError(f"layer norm needs float input, got {x}; convert it with .astype('float32')")
    k = canonical_axis(axis, x.ndim)
    if not number(eps, "eps") >= 0:
        raise ValueError(f"eps is added to a variance and must not be negative, got {eps}")
    for name, a in (("gamma", gamma), ("beta", beta)):
        if a.shape != x.shape[k:] or a.dtype.kind != "f":
            raise ValueError(f"{name} must be float of shape {x.shape[k:]}, that of x from axis {axis} on, got {a}")
    moments = Aval(x.shape[:k], work_dtype(x.dtype))
    return x, moments, moments


def layer_norm_reference(x: Any, gamma: Any, beta: Any, *, axis: int = -1, eps: float = 1e-5) -> tuple[Any, Any, Any]:
    """The meaning, composed: shifted moments, so that a large mean costs no accuracy."""
    k = canonical_axis(axis, x.ndim)
    kind = x.dtype
    wide = work_dtype(kind)
    x, gamma, beta = (a if a.dtype == wide else astype.public(a, dtype=wide.name) for a in (x, gamma, beta))
    outer, inner = x.shape[:k], tuple(range(k, x.ndim))
    if math.prod(x.shape) == 0:
        from tensorgraph.engine.tensor import tensor

        nothing = tensor(np.full(outer, np.nan, wide))
        return _narrow(reshape.public(x, shape=x.shape), kind), nothing, nothing
    m = math.prod(x.shape[k:])
    first = x[(..., *[slice(0, 1)] * len(inner))]
    shift = stop_gradient.public(first)  # moments around any fixed point are the same; the first number is near
    from_shift = x - shift
    offset = astype.public(sum.public(from_shift, axis=inner, keepdims=True, dtype="float64") / m, dtype=wide.name)
    offset = where.public(isfinite.public(offset), offset, math.nan)
    h = from_shift - offset
    var = astype.public(sum.public(h * h, axis=inner, keepdims=True, dtype="float64") / m, dtype=wide.name)
    y = h * inverse_deviation(var, eps) * gamma + beta
    return _narrow(y, kind), reshape.public(shift + offset, shape=outer), reshape.public(var, shape=outer)


def _narrow(y: Any, kind: np.dtype[Any]) -> Any:
    return y if y.dtype == kind else astype.public(y, dtype=kind.name)


def _residual_types(x: Aval, gamma: Aval, beta: Aval, *, axis: int, eps: float) -> tuple[Aval, ...]:
    rows = math.prod(x.shape[: canonical_axis(axis, x.ndim)])
    return Aval((rows,), work_dtype(x.dtype)), Aval((rows,), np.float64)


def _forward(x: Any, gamma: Any, beta: Any, *, axis: int = -1, eps: float = 1e-5) -> Any:
    """A row is a channel of batch norm whose scale is 1; gamma and beta come after."""
    _infer(*(Aval(a.shape, a.dtype) for a in (x, gamma, beta)), axis=axis, eps=eps)
    outer, wide = x.shape[: canonical_axis(axis, x.ndim)], work_dtype(x.dtype)
    rows = math.prod(outer)
    if not x.size:
        nothing = np.full(outer, np.nan, wide)
        return x.copy(), nothing, nothing.copy(), np.zeros(rows, wide), np.zeros(rows)
    flat = x.reshape(rows, -1).astype(wide, copy=False)
    y, mu, var, center, rest = kernels.batch_norm_forward(flat, np.ones(rows, wide), np.zeros(rows, wide), 0, eps)
    y = y.reshape(x.shape)
    y = y * gamma.astype(wide, copy=False) + beta.astype(wide, copy=False)
    return y.astype(x.dtype, copy=False), mu.reshape(outer), var.reshape(outer), center, rest


def _backward(
    want: Any, g_y: Any, g_mu: Any, g_var: Any, x: Any, gamma: Any, beta: Any, y: Any, mu: Any, var: Any, center: Any,
    rest: Any, *, axis: int = -1, eps: float = 1e-5,
) -> Any:  # fmt: skip
    k, wide = canonical_axis(axis, x.ndim), work_dtype(x.dtype)
    rows = math.prod(x.shape[:k])
    if not x.size:
        return np.zeros(x.shape, x.dtype), np.zeros(gamma.shape, gamma.dtype), np.zeros(beta.shape, beta.dtype)
    flat = x.reshape(rows, -1).astype(wide, copy=False)
    g = np.zeros(flat.shape, wide) if g_y is None else g_y.reshape(rows, -1).astype(wide, copy=False)
    dx = dgamma = dbeta = None
    if want[0]:
        scaled = g * gamma.reshape(-1).astype(wide, copy=False)
        g_mu, g_var = (None if m is None else m.reshape(rows) for m in (g_mu, g_var))
        ones = np.ones(rows, wide)
        dx = kernels.batch_norm_backward(scaled, g_mu, g_var, flat, ones, center, rest, var.reshape(rows), 0, eps)[0]
        dx = dx.reshape(x.shape).astype(x.dtype, copy=False)
    if want[1]:
        h = (flat - center[:, None]) - rest[:, None]
        s = var.reshape(rows, 1).astype(np.float64) + eps
        r = np.where(s == 0.0, 0.0, 1.0 / np.sqrt(np.where(s == 0.0, 1.0, s)))  # as the kernel: no slope, not infinite
        dgamma = total(g * (h * r), 0).astype(gamma.dtype).reshape(gamma.shape)
    if want[2]:
        dbeta = total(g, 0, dtype=np.dtype(np.float64)).astype(beta.dtype).reshape(beta.shape)
    return dx, dgamma, dbeta


def _flops(x: Aval, *rest: Any, **attrs: Any) -> int:
    """The mean (1), centring (1), the variance (2), times 1/std, times gamma, plus beta (3)."""
    return 7 * x.size


def _backward_flops(x: Aval, *rest: Any, **attrs: Any) -> int:
    """g times gamma (1), x normalised (2), the sums of g and of g times that (3), dx (4), dgamma and dbeta (3)."""
    return 13 * x.size


# h is g_y * gamma, z the normalised x, s its deviation, sqrt(var + eps)
TEACHES = {
    "x": (
        "(h - mean(h) - z * mean(h * z)) / s, h = g_y * gamma, z = (x - mu) / s, s = sqrt(var + eps)",
        r"\left(h - \overline{h} - z \, \overline{h z}\right) / s, \quad h = g_{y} \gamma, "
        r"\quad z = \frac{x - \mu}{s}, \quad s = \sqrt{\mathrm{var} + \mathrm{eps}}",
    ),
    "gamma": ("sum(g_y * z), z = (x - mu) / s", r"\sum g_{y} z, \quad z = \frac{x - \mu}{s}"),
    "beta": ("sum(g_y)", r"\sum g_{y}"),
}


def _batch(call: BatchCall) -> Any:
    """Each example's axes are still the last; gamma and beta of its own come after."""
    (x, gamma, beta), (on_x, on_gamma, on_beta) = call.args, call.on
    shape, own = call.shape(0), call.shape(1)
    axis = canonical_axis(call.attrs["axis"], len(shape))
    if not (on_gamma or on_beta):
        return call.run(x, gamma, beta, axis=axis + 1)
    kind, wide = x.dtype, work_dtype(x.dtype)
    x, gamma, beta = (a if a.dtype == wide else astype(a, dtype=wide.name) for a in (x, gamma, beta))
    one = call.ones(own, wide)
    y, mu, var = call.run(x, one, one * 0.0, axis=axis + on_x)
    y = y * widened(gamma, len(shape), on_gamma) + widened(beta, len(shape), on_beta)
    mu, var = (m if on_x else repeated(m, call.size) for m in (mu, var))
    return y if kind == wide else astype(y, dtype=kind.name), mu, var


layer_norm = fused_op(
    "layer_norm(x, gamma, beta, *, axis=-1, eps=1e-5) -> y, mu, var",
    reference=layer_norm_reference,
    forward=_forward,
    backward=_backward,
    residuals=("center", "rest"),
    residual_types=_residual_types,
    infer_rule=_infer,
    batch=_batch,
    flops=_flops,
    scratch=2.0,
    backward_flops=_backward_flops,
    backward_scratch=5.0,
    traits=("analytic", "root", "reduces", "normalises"),
    recognise=SPELLINGS,
    examples=(
        (((4, 6), (6,), (6,)), {}),
        (((3, 5), (5,), (5,)), dict(eps=0.0)),
        (((2, 3, 5), (5,), (5,)), dict(eps=1e-3)),
        (((3, 2, 4), (2, 4), (2, 4)), dict(axis=1)),
    ),
    teaches=TEACHES,
    doc="""Each example normalised by its own mean and biased variance over the axes from `axis` to the last.

    ``(x - mu) / sqrt(var + eps) * gamma + beta``, where gamma and beta have the shape of those axes. Gives y, mu and
    var, all differentiable. (Ba, Kiros & Hinton 2016)

    >>> import tensorgraph as tg
    >>> y, mu, var = tg.layer_norm(tg.tensor([[1.0, 3.0]]), tg.ones((2,)), tg.zeros((2,)), eps=0.0)
    >>> y.tolist(), mu.tolist(), var.tolist()
    ([[-1.0, 1.0]], [2.0], [1.0])
    """,
)
