"""Each example by its own moments: layer normalisation (Ba, Kiros & Hinton 2016, arXiv 1607.06450), and by its root
mean square alone (Zhang & Sennrich 2019, arXiv 1910.07467)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tensorgraph.engine.aval import Aval, canonical_axis
from tensorgraph.engine.batching import BatchCall, repeated, widened
from tensorgraph.engine.declare import fused_op
from tensorgraph.ops.batch_norm import SPELLINGS, inverse_deviation
from tensorgraph.ops.creation import number
from tensorgraph.ops.kernels import row_norm as kernels
from tensorgraph.ops.kernels.rows import work_dtype
from tensorgraph.ops.logic import isfinite, where
from tensorgraph.ops.reduction import sum
from tensorgraph.ops.shape import astype, reshape
from tensorgraph.ops.structure import stop_gradient


def _check_rows(name: str, x: Aval, gamma: Aval | None, beta: Aval | None, axis: int, eps: float) -> int:
    """The first of the axes that are normalised."""
    if x.dtype.kind != "f":
        raise TypeError(f"{name} needs float input, got {x}; convert it with .astype('float32')")
    k = canonical_axis(axis, x.ndim)
    if not number(eps, "eps") >= 0:
        raise ValueError(f"eps is added to a variance and must not be negative, got {eps}")
    for what, a in (("gamma", gamma), ("beta", beta)):
        if a is not None and (a.shape != x.shape[k:] or a.dtype.kind != "f"):
            raise ValueError(f"{what} must be float of shape {x.shape[k:]}, that of x from axis {axis} on, got {a}")
    return k


def _infer(x: Aval, gamma: Aval | None, beta: Aval | None, *, axis: int, eps: float) -> tuple[Aval, ...]:
    k = _check_rows("layer norm", x, gamma, beta, axis, eps)
    moments = Aval(x.shape[:k], work_dtype(x.dtype))
    return x, moments, moments


def _widened(a: Any, kind: np.dtype[Any]) -> Any:
    return a if a is None or a.dtype == kind else astype.public(a, dtype=kind.name)


def layer_norm_reference(
    x: Any, gamma: Any = None, beta: Any = None, *, axis: int = -1, eps: float = 1e-5
) -> tuple[Any, Any, Any]:
    """The meaning, composed: shifted moments, so that a large mean costs no accuracy."""
    k = canonical_axis(axis, x.ndim)
    kind = x.dtype
    wide = work_dtype(kind)
    x, gamma, beta = (_widened(a, wide) for a in (x, gamma, beta))
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
    y = h * inverse_deviation(var, eps)
    y = y if gamma is None else y * gamma
    y = y if beta is None else y + beta
    return _narrow(y, kind), reshape.public(shift + offset, shape=outer), reshape.public(var, shape=outer)


def _narrow(y: Any, kind: np.dtype[Any]) -> Any:
    return y if y.dtype == kind else astype.public(y, dtype=kind.name)


def _residual_types(x: Aval, *rest: Any, axis: int, eps: float) -> tuple[Aval, ...]:
    rows = math.prod(x.shape[: canonical_axis(axis, x.ndim)])
    return Aval((rows,), work_dtype(x.dtype)), Aval((rows,), np.float64)


def _aval(a: Any) -> Aval | None:
    return None if a is None else Aval(a.shape, a.dtype)


def _line(a: Any, width: int, wide: np.dtype[Any], value: float) -> Any:
    """Weights or shifts as the kernel takes them; one value in the place of none."""
    return np.full(width, value, wide) if a is None else a.reshape(width).astype(wide, copy=False)


def _forward(x: Any, gamma: Any = None, beta: Any = None, *, axis: int = -1, eps: float = 1e-5) -> Any:
    k = _check_rows("layer norm", Aval(x.shape, x.dtype), _aval(gamma), _aval(beta), axis, eps)
    outer, wide = x.shape[:k], work_dtype(x.dtype)
    rows = math.prod(outer)
    if not x.size:
        nothing = np.full(outer, np.nan, wide)
        return x.copy(), nothing, nothing.copy(), np.zeros(rows, wide), np.zeros(rows)
    width = x.size // rows
    flat = x.reshape(rows, width).astype(wide, copy=False)
    lines = _line(gamma, width, wide, 1.0), _line(beta, width, wide, 0.0)
    y, mu, var, center, rest = kernels.row_norm_forward(flat, *lines, eps, True)
    y = y.reshape(x.shape).astype(x.dtype, copy=False)
    return y, mu.reshape(outer), var.reshape(outer), center, rest


def _backward(
    want: Any, g_y: Any, g_mu: Any, g_var: Any, x: Any, gamma: Any, beta: Any, y: Any, mu: Any, var: Any, center: Any,
    rest: Any, *, axis: int = -1, eps: float = 1e-5,
) -> Any:  # fmt: skip
    wide = work_dtype(x.dtype)
    if not x.size:
        return tuple(None if a is None else np.zeros(a.shape, a.dtype) for a in (x, gamma, beta))
    rows = math.prod(x.shape[: canonical_axis(axis, x.ndim)])
    width = x.size // rows
    flat = x.reshape(rows, width).astype(wide, copy=False)
    g = np.zeros(flat.shape, wide) if g_y is None else g_y.reshape(rows, width).astype(wide, copy=False)
    g_mu, g_var, var = (None if m is None else m.reshape(rows) for m in (g_mu, g_var, var))
    dx, dgamma, dbeta = kernels.row_norm_backward(
        g, g_mu, g_var, flat, _line(gamma, width, wide, 1.0), center, rest, var, eps, True
    )
    return (
        dx.reshape(x.shape).astype(x.dtype, copy=False),
        None if gamma is None else dgamma.reshape(gamma.shape),
        None if beta is None else dbeta.reshape(beta.shape),
    )


def _flops(x: Aval, *rest: Any, **attrs: Any) -> int:
    """The mean (1), centring (1), the variance (2), times 1/std, times gamma, plus beta (3)."""
    return 7 * x.size


def _backward_flops(x: Aval, *rest: Any, **attrs: Any) -> int:
    """g times gamma (1), x normalised (2), the sums of g and of g times that (3), dx (4), dgamma and dbeta (3)."""
    return 13 * x.size


def _backward_scratch(x: Aval, *rest: Any, axis: int, **attrs: Any) -> int:
    """Sums by columns of each block of rows."""
    rows = math.prod(x.shape[: canonical_axis(axis, x.ndim)])
    return 16 * -(-rows // kernels.BLOCK) * (x.size // (rows or 1))


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
    shape = call.shape(0)
    axis = canonical_axis(call.attrs["axis"], len(shape))
    if not (on_gamma or on_beta):
        return call.run(x, gamma, beta, axis=axis + 1)
    kind, wide = x.dtype, work_dtype(x.dtype)
    x, gamma, beta = (a if a is None or a.dtype == wide else astype(a, dtype=wide.name) for a in (x, gamma, beta))
    y, mu, var = call.run(x, None, None, axis=axis + on_x)
    y = y if gamma is None else y * widened(gamma, len(shape), on_gamma)
    y = y if beta is None else y + widened(beta, len(shape), on_beta)
    mu, var = (m if on_x else repeated(m, call.size) for m in (mu, var))
    return y if kind == wide else astype(y, dtype=kind.name), mu, var


layer_norm = fused_op(
    "layer_norm(x, gamma=None, beta=None, *, axis=-1, eps=1e-5) -> y, mu, var",
    reference=layer_norm_reference,
    forward=_forward,
    backward=_backward,
    residuals=("center", "rest"),
    residual_types=_residual_types,
    infer_rule=_infer,
    batch=_batch,
    flops=_flops,
    backward_flops=_backward_flops,
    backward_scratch=_backward_scratch,
    native="row_norm:layer_norm",
    direct=True,
    native_vjp="row_norm:layer_norm_vjp",
    traits=("analytic", "root", "reduces", "normalises"),
    recognise=SPELLINGS,
    examples=(
        (((4, 6), (6,), (6,)), {}),
        (((3, 5), (5,), (5,)), dict(eps=0.0)),
        (((2, 3, 5), (5,), (5,)), dict(eps=1e-3)),
        (((3, 2, 4), (2, 4), (2, 4)), dict(axis=1)),
        (((5, 7),), {}),
        (((5, 7), (7,)), {}),
    ),
    teaches=TEACHES,
    doc="""Each example normalised by its own mean and biased variance over the axes from `axis` to the last.

    ``(x - mu) / sqrt(var + eps) * gamma + beta``, where gamma and beta have the shape of those axes, or are left out.
    Gives y, mu and var, all differentiable. (Ba, Kiros & Hinton 2016)

    >>> import tensorgraph as tg
    >>> y, mu, var = tg.layer_norm(tg.tensor([[1.0, 3.0]]), tg.ones((2,)), tg.zeros((2,)), eps=0.0)
    >>> y.tolist(), mu.tolist(), var.tolist()
    ([[-1.0, 1.0]], [2.0], [1.0])
    """,
)


# by the root mean square alone ------------------------------------------------------------------------------------


def _rms_infer(x: Aval, gamma: Aval | None, *, axis: int, eps: float) -> Aval:
    _check_rows("rms norm", x, gamma, None, axis, eps)
    return x


def rms_norm_reference(x: Any, gamma: Any = None, *, axis: int = -1, eps: float = 1e-6) -> Any:
    """The meaning, composed."""
    k, kind, wide = canonical_axis(axis, x.ndim), x.dtype, work_dtype(x.dtype)
    x, gamma = _widened(x, wide), _widened(gamma, wide)
    if math.prod(x.shape) == 0:
        return _narrow(reshape.public(x, shape=x.shape), kind)
    inner = tuple(range(k, x.ndim))
    squares = sum.public(x * x, axis=inner, keepdims=True, dtype="float64") / math.prod(x.shape[k:])
    y = x * inverse_deviation(astype.public(squares, dtype=wide.name), eps)
    return _narrow(y if gamma is None else y * gamma, kind)


def _rms_residual_types(x: Aval, *rest: Any, axis: int, **attrs: Any) -> Aval:
    return Aval((math.prod(x.shape[: canonical_axis(axis, x.ndim)]),), work_dtype(x.dtype))


def _rms_forward(x: Any, gamma: Any = None, *, axis: int = -1, eps: float = 1e-6) -> Any:
    k = _check_rows("rms norm", Aval(x.shape, x.dtype), _aval(gamma), None, axis, eps)
    wide, rows = work_dtype(x.dtype), math.prod(x.shape[:k])
    if not x.size:
        return x.copy(), np.zeros(rows, wide)
    width = x.size // rows
    flat = x.reshape(rows, width).astype(wide, copy=False)
    lines = _line(gamma, width, wide, 1.0), np.zeros(width, wide)
    y, _, squares, _, _ = kernels.row_norm_forward(flat, *lines, eps, False)
    return y.reshape(x.shape).astype(x.dtype, copy=False), squares


def _rms_backward(
    want: Any, g: Any, x: Any, gamma: Any, y: Any, squares: Any, *, axis: int = -1, eps: float = 1e-6
) -> Any:
    wide, rows = work_dtype(x.dtype), len(squares)
    if not x.size:
        return tuple(None if a is None else np.zeros(a.shape, a.dtype) for a in (x, gamma))
    flat, pulled = (a.reshape(rows, -1).astype(wide, copy=False) for a in (x, g))
    dx, dgamma, _ = kernels.row_norm_backward(
        pulled, None, None, flat, _line(gamma, flat.shape[1], wide, 1.0), np.zeros(rows, wide), np.zeros(rows), squares,
        eps, False,
    )  # fmt: skip
    return dx.reshape(x.shape).astype(x.dtype, copy=False), None if gamma is None else dgamma.reshape(gamma.shape)


def _rms_batch(call: BatchCall) -> Any:
    (x, gamma), (on_x, on_gamma) = call.args, call.on
    ndim = len(call.shape(0))
    axis = canonical_axis(call.attrs["axis"], ndim)
    if not on_gamma:
        return call.run(x, gamma, axis=axis + 1)
    kind, wide = x.dtype, work_dtype(x.dtype)
    x, gamma = (a if a.dtype == wide else astype(a, dtype=wide.name) for a in (x, gamma))
    y = call.run(x, None, axis=axis + on_x) * widened(gamma, ndim, True)
    return y if kind == wide else astype(y, dtype=kind.name)


rms_norm = fused_op(
    "rms_norm(x, gamma=None, *, axis=-1, eps=1e-6)",
    reference=rms_norm_reference,
    forward=_rms_forward,
    backward=_rms_backward,
    residuals=("squares",),
    residual_types=_rms_residual_types,
    infer_rule=_rms_infer,
    batch=_rms_batch,
    flops=lambda x, gamma, *, axis, eps: (3 if gamma is None else 4) * x.size,
    backward_flops=lambda x, *rest, **attrs: 9 * x.size,
    backward_scratch=_backward_scratch,
    native="row_norm:rms_norm",
    direct=True,
    native_vjp="row_norm:rms_norm_vjp",
    traits=("analytic", "root", "reduces"),
    examples=(
        (((4, 6), (6,)), {}),
        (((3, 5),), dict(eps=0.0)),
        (((2, 3, 5), (5,)), dict(eps=1e-3)),
        (((3, 2, 4), (2, 4)), dict(axis=1)),
    ),
    teaches={
        "x": (
            "(h - z * mean(h * z)) / s, h = g * gamma, z = x / s, s = sqrt(mean(x * x) + eps)",
            r"\left(h - z \, \overline{h z}\right) / s, \quad h = g \gamma, \quad z = x / s, "
            r"\quad s = \sqrt{\overline{x^{2}} + \mathrm{eps}}",
        ),
        "gamma": ("sum(g * z), z = x / s", r"\sum g z, \quad z = x / s"),
    },
    doc="""Each example over the root of its mean square, taken over the axes from `axis` to the last.

    ``x / sqrt(mean(x * x) + eps) * gamma``, where gamma has the shape of those axes, or is left out. PyTorch's
    default eps is the distance of 1 from the next number in x's dtype. (Zhang & Sennrich 2019)

    >>> import tensorgraph as tg
    >>> tg.rms_norm(tg.tensor([[3.0, 4.0]]), eps=0.0)
    tensor([[0.84852815, 1.1313709 ]], f32)
    """,
)
