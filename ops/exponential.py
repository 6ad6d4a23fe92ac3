"""Exponentials, logarithms, trigonometry and the activations made of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgraph.engine.aval import Aval, default_dtype
from tensorgraph.engine.declare import op
from tensorgraph.engine.op import Op, elementwise, float_dtype, promote
from tensorgraph.ops.creation import number
from tensorgraph.ops.kernels import scalar as scalars
from tensorgraph.ops.logic import equal, where

exp = op(
    "exp(x)", np.exp, elementwise, methods=("exp",), dtype="float", scalar=scalars.exp,
    vjp=dict(x=lambda g, out: g * out),
    traits=("analytic", "exponential", "bounded below", "increasing"),
    doc="e to the power x.",
)  # fmt: skip
expm1 = op(
    "expm1(x)", np.expm1, elementwise, methods=("expm1",), dtype="float", scalar=scalars.expm1,
    vjp=dict(x=lambda g, x: g * exp(x)),
    traits=("analytic", "exponential", "bounded below", "increasing"),
    doc="exp(x) - 1, accurate near 0.",
)  # fmt: skip
log = op(
    "log(x)", np.log, elementwise, methods=("log",), dtype="float", scalar=scalars.log, domain=(0.3, 3.0),
    vjp=dict(x=lambda g, x: g / x),
    traits=("analytic", "exponential", "root"),
    doc="Natural logarithm; -inf at 0 and NaN below.",
)  # fmt: skip
log1p = op(
    "log1p(x)", np.log1p, elementwise, methods=("log1p",), dtype="float", scalar=scalars.log1p, domain=(-0.5, 2.0),
    vjp=dict(x=lambda g, x: g / (1 + x)), traits=("analytic", "exponential"),
    doc="log(1 + x), accurate near 0.",
)  # fmt: skip
sin = op(
    "sin(x)", np.sin, elementwise, methods=("sin",), dtype="float", scalar=scalars.sin,
    vjp=dict(x=lambda g, x: g * cos(x)),
    traits=("wave", "bounded above", "bounded below"),
    doc="Sine of x radians.",
)  # fmt: skip
cos: Op = op(
    "cos(x)", np.cos, elementwise, methods=("cos",), dtype="float", scalar=scalars.cos,
    vjp=dict(x=lambda g, x: -(g * sin(x))),
    traits=("wave", "bounded above", "bounded below"),
    doc="Cosine of x radians.",
)  # fmt: skip
tanh = op(
    "tanh(x)", np.tanh, elementwise, direct=True, dtype="float", methods=("tanh",), scalar=scalars.tanh,
    vjp=dict(x=lambda g, x: _tanh_x(g, x)),
    teaches={"x": ("g * (1 - out * out)", r"g \left(1 - \mathrm{out}^{2}\right)")},
    traits=("wave", "bounded above", "bounded below", "increasing"),
    doc="Hyperbolic tangent.",
)  # fmt: skip


def _flat(dtype: np.dtype[Any]) -> Any:
    """A number beyond which 1/cosh(x)² is below all floats, and soon cosh(x) above them."""
    return np.array(np.floor(np.log(np.finfo(dtype).max)) - 1, dtype)


_FLAT = {np.dtype(name): _flat(np.dtype(name)) for name in ("float16", "float32", "float64")}


F32 = np.dtype(np.float32)
FLAT32 = _FLAT[F32]
LOW32 = np.array(-FLAT32)
ndarray, cosh, divide = np.ndarray, np.cosh, np.divide
# the ufunc itself: `np.clip` goes through more Python than a few numbers take
clip: Any = (np._core if hasattr(np, "_core") else np.core).umath.clip


def _over_cosh(a: Any, x: Any) -> Any:
    # few numbers cost what calls cost, so there are few calls, and none with a Python number
    size = np.asarray(np.absolute(x))
    if size.dtype.kind != "f" or type(x) is float:
        kind = getattr(a, "dtype", size.dtype)
        size = size.astype(kind if kind.kind == "f" else default_dtype())
    np.cosh(np.minimum(size, _FLAT[size.dtype], out=size), size)
    out = np.asarray(np.divide(a, size))
    return np.divide(out, size, out)


def _tanh_x(g: Any, x: Any) -> Any:
    """The rule of `tanh`; of arrays at once, since the call of an op takes longer than a few numbers."""
    if type(x) is not ndarray or type(g) is not ndarray or x.dtype is not F32 or not x.ndim:
        return over_cosh(g, x)
    size = clip(x, LOW32, FLAT32)  # cosh is even
    cosh(size, size)
    out = divide(g, size)
    return divide(out, size, out)


over_cosh: Op = op(
    "over_cosh(a, x)", _over_cosh, elementwise, direct=True, dtype="float", scalar=scalars.over_cosh, flops=4,
    scratch=1,
    vjp=dict(a=lambda g, x: over_cosh(g, x), x=lambda g, out, x: g * (-2.0 * out * tanh(x))),
    oracle=lambda a, x: a / np.cosh(x) ** 2, traits=("internal",),
    doc="""a/cosh(x)²: the gradient of `tanh`, and of `sigmoid` at twice x.

    Far out it is 4a·exp(-2|x|), where the value has no digits left of which to make it: tanh(10) is 1 in float32.
    """,
)  # fmt: skip


def as_float(x: Any) -> Any:
    """The array, integers and booleans in the default dtype."""
    return x if x.dtype.kind == "f" else x.astype(default_dtype())


def _sigmoid(x: Any) -> Any:
    # exp of -|x| only, so that nothing overflows
    x = as_float(x)
    # 1 above 0 and e below without a choice, which would wait for the processor to guess it
    return np.exp(np.minimum(x, 0)) / (1 + np.exp(-np.abs(x)))


sigmoid: Op = op(
    "sigmoid(x)", _sigmoid, elementwise, direct=True, also=("expit",), dtype="float", methods=("sigmoid",),
    scalar=scalars.sigmoid, flops=4, scratch=2,
    vjp=dict(x=lambda g, x: _tanh_x(0.25 * g, 0.5 * x)),
    teaches={"x": ("g * out * (1 - out)", r"g \, \mathrm{out} \left(1 - \mathrm{out}\right)")},
    traits=("wave", "bounded above", "bounded below", "increasing"),
    doc="1/(1 + exp(-x)), without overflow.",
)  # fmt: skip


def _softplus(x: Any) -> Any:
    x = as_float(x)
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


softplus = op(
    "softplus(x)", _softplus, elementwise, direct=True, dtype="float", scalar=scalars.softplus, flops=6, scratch=2,
    vjp=dict(x=lambda g, x: g * sigmoid(x)), traits=("wave", "bounded below", "increasing"),
    doc="log(1 + exp(x)), without overflow.",
)  # fmt: skip


def _relu(x: Any) -> Any:
    return np.maximum(x, 0)


relu = op(
    "relu(x)", _relu, elementwise, direct=True, infer_rule=lambda x: Aval(x.shape, promote(x, 0)), methods=("relu",),
    scalar=scalars.relu, kinks=(0.0,),
    vjp=dict(x=lambda g, out: where(equal(out, 0), 0.0, g)),
    traits=("extremum", "bounded below", "gates", "idempotent"),
    doc="""max(x, 0); its derivative at 0 is 0; NaN passes through, and its gradient too.

    >>> import tensorgraph as tg
    >>> tg.relu([-1.0, 2.0])
    tensor([0., 2.], f32)
    """,
)  # fmt: skip


def _leaky_relu(x: Any, *, slope: float = 0.01) -> Any:
    return np.where(x > 0, x, number(slope, "slope") * x)


def _leaky_infer(x: Aval, *, slope: float) -> Aval:
    number(slope, "slope")
    return Aval(x.shape, float_dtype(x.dtype))


leaky_relu = op(
    "leaky_relu(x, *, slope=0.01)", _leaky_relu, elementwise, direct=True, dtype="float", infer_rule=_leaky_infer,
    scalar=scalars.leaky_relu, kinks=(0.0,),
    flops=3, scratch=1.25,
    vjp=dict(x=lambda g, x, slope: where(x > 0, g, slope * g)),
    doc="x where positive, slope·x elsewhere; the derivative at 0 is `slope`.",
)  # fmt: skip
