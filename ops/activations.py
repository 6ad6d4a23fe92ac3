"""Activations, each in one op: as networks name them."""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgraph.engine.aval import Aval, broadcast_shapes
from tensorgraph.engine.declare import op
from tensorgraph.engine.op import Op, elementwise, float_dtype, promote
from tensorgraph.ops.arithmetic import absolute, clip, square
from tensorgraph.ops.creation import number
from tensorgraph.ops.exponential import as_float, exp, over_cosh, sigmoid, softplus, tanh
from tensorgraph.ops.kernels import scalar as scalars
from tensorgraph.ops.kernels.gelu import FLAT, TANH_CUBE, TANH_SCALE, gelu_of, gelu_pulled
from tensorgraph.ops.kernels.pointwise import FAR_BELOW
from tensorgraph.ops.logic import logical_or, where
from tensorgraph.ops.special import normal_density


def _silu(x: Any) -> Any:
    x = as_float(x)
    return np.maximum(x, FAR_BELOW) * sigmoid.forward(x)


def _near(x: Any) -> Any:
    """x where it counts beside what vanishes far out, and a number where 0 times infinity would be NaN."""
    return clip(x, a_min=FAR_BELOW, a_max=-FAR_BELOW)


silu = op(
    "silu(x)", _silu, elementwise, direct=True, also=("swish",), dtype="float", scalar=scalars.silu, flops=5,
    scratch=3.25, vjp=dict(x=lambda g, x: g * (sigmoid(x) * (1 + _near(x) * sigmoid(-x)))), traits=("bounded below",),
    oracle=lambda x: x / (1 + np.exp(-x)),
    doc="x·sigmoid(x) (Elfwing, Uchibe and Doya, 2017).",
)  # fmt: skip


log_sigmoid = op(
    "log_sigmoid(x)", lambda x: -softplus.forward(-as_float(x)), elementwise, direct=True, also=("logsigmoid",),
    dtype="float", flops=6, scratch=2,
    scalar=scalars.log_sigmoid, vjp=dict(x=lambda g, x: g * sigmoid(-x)),
    traits=("wave", "bounded above", "increasing"),
    oracle=lambda x: -np.log1p(np.exp(-x)),
    doc="log(sigmoid(x)), which is -softplus(-x), without overflow.",
)  # fmt: skip


def _mish(x: Any) -> Any:
    x = as_float(x)
    return np.maximum(x, FAR_BELOW) * np.tanh(softplus.forward(x))


def _mish_x(g: Any, x: Any) -> Any:
    s = softplus(x)
    return g * (tanh(s) + _near(x) * over_cosh(sigmoid(x), s))


mish = op(
    "mish(x)", _mish, elementwise, direct=True, dtype="float", scalar=scalars.mish, flops=9,
    scratch=3, vjp=dict(x=_mish_x), traits=("bounded below",),
    oracle=lambda x: x * (1 - 2 / (1 + (1 + np.exp(x)) ** 2)),
    doc="x·tanh(softplus(x)) (Misra, 2019).",
)  # fmt: skip


def _softsign(x: Any) -> Any:
    x = as_float(x)
    far = np.isinf(x)
    return np.where(far, np.copysign(np.ones_like(x), x), x / np.where(far, 1, 1 + np.abs(x)).astype(x.dtype))


softsign = op(
    "softsign(x)", _softsign, elementwise, direct=True, dtype="float", flops=3, scratch=1,
    scalar=scalars.softsign, vjp=dict(x=lambda g, x: g / (1 + absolute(x)) / (1 + absolute(x))),
    traits=("bounded above", "bounded below"),
    oracle=lambda x: np.sign(x) * (1 - 1 / (1 + abs(x))),
    doc="x/(1 + |x|).",
)  # fmt: skip


def _tanhshrink(x: Any) -> Any:
    """Near 0, where the difference cancels, by the continued fraction of tanh, which is x / (1 + u)."""
    x = as_float(x)
    squares = np.minimum(x * x, 1).astype(x.dtype)
    u = squares / 19
    for odd in range(17, 1, -2):
        u = squares / (odd + u)
    return np.where(np.abs(x) < 1, x * (u / (1 + u)), x - np.tanh(x))


tanhshrink = op(
    "tanhshrink(x)", _tanhshrink, elementwise, dtype="float", flops=25, scratch=4, scalar=scalars.tanhshrink,
    vjp=dict(x=lambda g, x: g * square(tanh(x))), traits=("increasing",),
    oracle=lambda x: x - np.tanh(x),
    doc="""x - tanh(x), near 0 with all digits, which the difference has not.

    >>> import tensorgraph as tg
    >>> tg.tanhshrink([0.0, 20.0])
    tensor([ 0., 19.], f32)
    """,
)  # fmt: skip


# what is not linear below 0 ---------------------------------------------------------------------------------------


def _below(x: Any) -> Any:
    """x below 0, and 0 elsewhere, where an exponential of x might overflow."""
    return where(x > 0, 0.0, x)


def _not_zero(alpha: Any) -> Any:
    if number(alpha, "alpha") == 0:
        raise ValueError("alpha must not be 0")
    return alpha


def _elu_infer(x: Aval, *, alpha: Any) -> Aval:
    number(alpha, "alpha")
    return Aval(x.shape, float_dtype(x.dtype))


def _celu_infer(x: Aval, *, alpha: Any) -> Aval:
    return _elu_infer(x, alpha=_not_zero(alpha))


def _elu(x: Any, *, alpha: float = 1.0) -> Any:
    x = as_float(x)
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


elu = op(
    "elu(x, *, alpha: float = 1.0)", _elu, elementwise, direct=True, dtype="float", infer_rule=_elu_infer,
    kinks=(0.0,), flops=4, scratch=2, scalar=scalars.elu,
    vjp=dict(x=lambda g, x, alpha: where(x > 0, g, g * (alpha * exp(_below(x))))),
    oracle=lambda x, *, alpha=1.0: np.maximum(x, 0) + alpha * np.expm1(np.minimum(x, 0)),
    doc="x above 0, alpha·(exp(x) - 1) elsewhere (Clevert, Unterthiner and Hochreiter, 2015).",
)  # fmt: skip


def _celu(x: Any, *, alpha: float = 1.0) -> Any:
    x = as_float(x)
    return np.where(x > 0, x, _not_zero(alpha) * np.expm1(np.minimum(x, 0) / alpha))


celu = op(
    "celu(x, *, alpha: float = 1.0)", _celu, elementwise, direct=True, dtype="float", infer_rule=_celu_infer,
    kinks=(0.0,), flops=5, scratch=3, scalar=scalars.celu,
    vjp=dict(x=lambda g, x, alpha: where(x > 0, g, g * exp(_below(x) / alpha))),
    oracle=lambda x, *, alpha=1.0: np.maximum(x, 0) + alpha * np.expm1(np.minimum(x, 0) / alpha),
    doc="x above 0, alpha·(exp(x/alpha) - 1) elsewhere, whose derivative does not jump (Barron, 2017).",
)  # fmt: skip

# the fixed point at mean 0 and variance 1 of Klambauer and others, 2017
_SELU_SCALE, _SELU_ALPHA = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717


def _selu(x: Any) -> Any:
    x = as_float(x)
    return np.where(x > 0, _SELU_SCALE * x, _SELU_SCALE * _SELU_ALPHA * np.expm1(np.minimum(x, 0)))


selu = op(
    "selu(x)", _selu, elementwise, direct=True, dtype="float", kinks=(0.0,), flops=4, scratch=3,
    scalar=scalars.selu,
    vjp=dict(x=lambda g, x: g * where(x > 0, _SELU_SCALE, _SELU_SCALE * _SELU_ALPHA * exp(_below(x)))),
    oracle=lambda x: _SELU_SCALE * (np.maximum(x, 0) + _SELU_ALPHA * np.expm1(np.minimum(x, 0))),
    doc="Scaled `elu` that keeps mean 0 and variance 1 (Klambauer, Unterthiner, Mayr and Hochreiter, 2017).",
)  # fmt: skip


def _prelu(x: Any, slope: Any) -> Any:
    return np.where(x > 0, x, slope * x)


prelu = op(
    "prelu(x, slope)", _prelu, elementwise, direct=True, dtype="float", kinks=(0.0,), flops=3, scratch=1.25,
    scalar=scalars.leaky_relu,
    vjp=dict(x=lambda g, x, slope: where(x > 0, g, g * slope), slope=lambda g, x: g * _below(x)),
    oracle=lambda x, slope: np.maximum(x, 0) + slope * np.minimum(x, 0),
    doc="x above 0, slope·x elsewhere, with slopes that are learnt (He and others, 2015).",
)  # fmt: skip


# straight pieces --------------------------------------------------------------------------------------------------


def _relu6(x: Any) -> Any:
    return np.minimum(np.maximum(x, 0), 6)


relu6 = op(
    "relu6(x)", _relu6, elementwise, direct=True, infer_rule=lambda x: Aval(x.shape, promote(x, 0)),
    kinks=(0.0, 6.0), flops=2, scratch=1, scalar=scalars.relu6,
    vjp=dict(x=lambda g, x: where(logical_or(x <= 0, x > 6), 0.0, g)),
    traits=("bounded above", "bounded below", "increasing", "gates", "idempotent"),
    oracle=lambda x: np.clip(x, 0, 6),
    doc="min(max(x, 0), 6); the derivative is 0 at 0 and 1 at 6.",
)  # fmt: skip


def _limits(min_val: Any, max_val: Any) -> None:
    if number(min_val, "min_val") > number(max_val, "max_val"):
        raise ValueError(f"min_val must not exceed max_val, got {min_val} and {max_val}")


def _hardtanh(x: Any, *, min_val: float = -1.0, max_val: float = 1.0) -> Any:
    _limits(min_val, max_val)
    return np.minimum(np.maximum(as_float(x), min_val), max_val)


def _hardtanh_infer(x: Aval, *, min_val: Any, max_val: Any) -> Aval:
    _limits(min_val, max_val)
    return Aval(x.shape, float_dtype(x.dtype))


hardtanh = op(
    "hardtanh(x, *, min_val: float = -1.0, max_val: float = 1.0)", _hardtanh, elementwise, direct=True, dtype="float",
    infer_rule=_hardtanh_infer, kinks=(-1.0, 1.0), flops=2, scratch=1,
    scalar=scalars.clamped,
    vjp=dict(x=lambda g, x, min_val, max_val: where(logical_or(x < min_val, x > max_val), 0.0, g)),
    traits=("extremum", "gates", "idempotent"),
    oracle=lambda x, *, min_val=-1.0, max_val=1.0: np.clip(x, min_val, max_val),
    doc="x within [min_val, max_val]; the derivative at the bounds is 1.",
)  # fmt: skip
hardsigmoid = op(
    "hardsigmoid(x)", lambda x: np.minimum(np.maximum(as_float(x) / 6 + 0.5, 0), 1), elementwise, direct=True,
    dtype="float",
    kinks=(-3.0, 3.0), flops=4, scratch=2,
    scalar=scalars.hardsigmoid,
    vjp=dict(x=lambda g, x: where(logical_or(x < -3, x > 3), 0.0, g / 6)),
    traits=("bounded above", "bounded below", "gates"),
    oracle=lambda x: np.clip((x + 3) / 6, 0, 1),
    doc="x/6 + 1/2 within [0, 1]; the derivative at the bounds is 1/6.",
)  # fmt: skip
hardswish = op(
    "hardswish(x)", lambda x: np.maximum(x, FAR_BELOW) * np.minimum(np.maximum(as_float(x) / 6 + 0.5, 0), 1),
    elementwise, also=("hard_swish",), direct=True,
    dtype="float", kinks=(-3.0, 3.0), flops=5, scratch=2,
    scalar=scalars.hardswish,
    vjp=dict(x=lambda g, x: where(x < -3, 0.0, where(x > 3, g, g * (x / 3 + 0.5)))), traits=("gates",),
    oracle=lambda x: x * np.clip(x + 3, 0, 6) / 6,
    doc="x·hardsigmoid(x) (Howard and others, 2019).",
)  # fmt: skip


# gelu -------------------------------------------------------------------------------------------------------------


def _approximate(approximate: Any) -> bool:
    if approximate not in ("none", "tanh"):
        raise ValueError(f"approximate must be 'none' or 'tanh', got {approximate!r}")
    return bool(approximate == "tanh")


def _gelu(x: Any, *, approximate: str = "none") -> Any:
    return gelu_of(as_float(x), _approximate(approximate))


def _gelu_pull(a: Any, x: Any, *, approximate: str = "none") -> Any:
    tanh = _approximate(approximate)
    kind = float_dtype(np.result_type(a, x))
    a, x = np.asarray(a), np.asarray(x)
    if a.shape != x.shape:
        shape = np.broadcast_shapes(a.shape, x.shape)
        a, x = np.broadcast_to(a, shape), np.broadcast_to(x, shape)
    return gelu_pulled(a.astype(kind, copy=False), x.astype(kind, copy=False), tanh)


def _gelu_bend(g: Any, a: Any, x: Any, approximate: str) -> Any:
    """The second derivative, which is even in x and vanishes far out."""
    if approximate == "none":
        t = clip(x, a_min=-100.0, a_max=100.0)
        return g * (a * ((2 - t * t) * normal_density(t)))
    t = clip(x, a_min=-FLAT, a_max=FLAT)
    u = TANH_SCALE * (t + TANH_CUBE * (t * t * t))
    slope, bend = TANH_SCALE * (1 + (3 * TANH_CUBE) * (t * t)), (6 * TANH_SCALE * TANH_CUBE) * t
    weight = over_cosh(0.25, 0.5 * u)
    return g * (a * (2 * (slope * weight) + t * (bend * weight) - t * (slope * (slope * weight)) * tanh(0.5 * u)))


def _gelu_infer(x: Aval, *, approximate: Any) -> Aval:
    _approximate(approximate)
    return Aval(x.shape, float_dtype(x.dtype))


# Further out the rounding of what the tanh form puts into its exponential counts for more than 32 units; the exact form
# is tried there by tests of its own.
gelu: Op = op(
    "gelu(x, *, approximate: str = 'none')", _gelu, elementwise, direct=True, dtype="float", domain=(-3.0, 3.0),
    native="forms:GELU", infer_rule=_gelu_infer, flops=45, scratch=2,
    vjp=dict(x=lambda g, x, approximate: gelu_pull(g, x, approximate=approximate)),
    examples=((((3, 4),), {}), (((5,),), dict(approximate="tanh"))),
    doc="""x·Φ(x), Φ the distribution function of the normal distribution (Hendrycks and Gimpel, 2016).

    With ``approximate="tanh"`` x/2·(1 + tanh(√(2/π)·(x + 0.044715·x³))), as they give it.

    >>> import tensorgraph as tg
    >>> tg.gelu([-1.0, 0.0, 1.0])
    tensor([-0.15865526,  0.        ,  0.8413447 ], f32)
    """,
)  # fmt: skip


def _gelu_pull_infer(a: Any, x: Any, *, approximate: Any) -> Aval:
    _approximate(approximate)
    shape = broadcast_shapes(*[v.shape for v in (a, x) if isinstance(v, Aval)])
    return Aval(shape, float_dtype(promote(a, x)))


# At -0.7518 the slope is 0, and near it the digits of its two terms cancel: tests keep away from there.
gelu_pull: Op = op(
    "gelu_pull(a, x, *, approximate: str = 'none')", _gelu_pull, elementwise, direct=True, dtype="float",
    native="forms:GELU_PULL",
    domain={"a": (-3.0, 3.0), "x": (-0.5, 3.0)},
    infer_rule=_gelu_pull_infer, flops=50, scratch=2, traits=("internal",),
    vjp=dict(a=lambda g, x, approximate: gelu_pull(g, x, approximate=approximate), x=_gelu_bend),
    examples=((((3, 4), (3, 4)), {}), (((5,), (5,)), dict(approximate="tanh"))),
    doc="The gradient of `gelu`: a times its slope at x, in one pass.",
)  # fmt: skip
