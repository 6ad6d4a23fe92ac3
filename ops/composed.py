"""Elementwise functions that are used rarely, or are one line of others: composed of ops."""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgraph.engine.aval import DType, default_dtype
from tensorgraph.engine.functions import function
from tensorgraph.engine.numbers import is_number
from tensorgraph.engine.tensor import Tensor
from tensorgraph.ops import arithmetic, creation, logarithm, logic, rounding, shape, trigonometry
from tensorgraph.ops.moving import number, of, together
from tensorgraph.ops.statistics import float_of

__all__: list[str] = []

TensorLike = Any
_ONE: tuple[Any, ...] = (((2, 3),), {})
_TWO: tuple[Any, ...] = (((2, 3), (2, 3)), {})
_ABOVE = np.array([[0.5, 2.0, 3.0], [1.0, 4.0, 2.5]])

# tensors like another -----------------------------------------------------------------------------------------------


def _like(x: Any, name: str, dtype: Any) -> tuple[Tensor, Any]:
    x = of(x, f"{name}: x")
    return x, x.dtype if dtype is None else dtype


@function(numpy=(np.zeros_like, np.empty_like), also=("empty_like",), examples=(_ONE, (((2,),), {"dtype": "int64"})))
def zeros_like(x: TensorLike, dtype: DType | None = None) -> Tensor:
    """Zeros of the shape and dtype of x, or of another dtype. `empty_like` is the same.

    >>> import tensorgraph as tg
    >>> tg.zeros_like(tg.tensor([1, 2]))
    tensor([0, 0], i64)
    """
    x, kind = _like(x, "zeros_like", dtype)
    return creation.zeros.public(x.shape, kind)  # type: ignore[no-any-return]


@function(numpy=(np.ones_like,), examples=(_ONE, (((2,),), {"dtype": "int64"})))
def ones_like(x: TensorLike, dtype: DType | None = None) -> Tensor:
    """Ones of the shape and dtype of x, or of another dtype."""
    x, kind = _like(x, "ones_like", dtype)
    return creation.ones.public(x.shape, kind)  # type: ignore[no-any-return]


@function(numpy=(np.full_like,), examples=((((2, 3), 1), {}),))
def full_like(x: TensorLike, fill_value: Any, dtype: DType | None = None) -> Tensor:
    """One value in the shape and dtype of x, or in another dtype; a value that is a tensor is broadcast."""
    x, kind = _like(x, "full_like", dtype)
    if isinstance(fill_value, (Tensor, np.ndarray)):
        value = shape.astype.public(of(fill_value, "full_like: fill_value"), kind)
        return shape.broadcast_to.public(value, x.shape)  # type: ignore[no-any-return]
    return creation.full.public(x.shape, fill_value, kind)  # type: ignore[no-any-return]


@function(numpy=(np.polyval,), examples=((((3,), (2, 3)), {}), (((0,), (3,)), {})), computed=True)
def polyval(p: TensorLike, x: TensorLike) -> Tensor:
    """The polynomial with coefficients p, of the highest power first, at x.

    >>> import tensorgraph as tg
    >>> tg.polyval([1.0, 0.0, 2.0], 3.0)
    tensor(11., f32)
    """
    if isinstance(p, (list, tuple)):  # numbers in it take the dtype of x
        x, coefficients = of(x, "polyval: x"), list(p)
    else:
        p, x = together("polyval", p=p, x=x)
        if p.ndim != 1:
            raise ValueError(f"polyval: expected p of one axis, got {p.aval}")
        coefficients = [p[i] for i in range(p.shape[0])]
    value = zeros_like(x)
    for coefficient in coefficients:
        value = value * x + coefficient
    return value  # type: ignore[no-any-return]


# numbers that are real ----------------------------------------------------------------------------------------------


@function(numpy=(np.positive,), methods=("positive",), examples=(_ONE,), computed=True)
def positive(x: TensorLike) -> Tensor:
    """x itself, as by ``+x``."""
    return +of(x, "positive: x")


@function(numpy=(np.real, np.conjugate), methods=("conj", "conjugate"), also=("conj", "conjugate"), examples=(_ONE,))
def real(x: TensorLike) -> Tensor:
    """x itself: every tensor is real, and its own conjugate."""
    return of(x, "real: x")


@function(numpy=(np.imag,), examples=(_ONE,))
def imag(x: TensorLike) -> Tensor:
    """Zeros: every tensor is real."""
    x, kind = _like(x, "imag", None)
    return creation.zeros.public(x.shape, kind)  # type: ignore[no-any-return]


# arithmetic ---------------------------------------------------------------------------------------------------------


@function(numpy=(np.angle,), examples=(_ONE,), computed=True)
def angle(x: TensorLike, deg: bool = False) -> Tensor:
    """0 where x is positive and π, or 180 degrees, where it is negative: the angle of a real number.

    >>> import tensorgraph as tg
    >>> tg.angle([2.0, -3.0], deg=True)
    tensor([  0., 180.], f32)
    """
    x = float_of(x, "angle: x")
    turned = trigonometry.atan2.public(zeros_like(x), x)
    return trigonometry.rad2deg.public(turned) if deg else turned  # type: ignore[no-any-return]


@function(numpy=(np.fabs,), examples=(_ONE,), computed=True)
def fabs(x: TensorLike) -> Tensor:
    """The absolute value as a float, of integers too."""
    x = of(x, "fabs: x")
    return arithmetic.absolute.public(x if x.dtype.kind == "f" else shape.astype.public(x, default_dtype()))  # type: ignore[no-any-return]


@function(numpy=(np.divmod,), examples=((((2, 3), _ABOVE), {}),), computed=True)
def divmod_(x: TensorLike, y: TensorLike) -> tuple[Tensor, Tensor]:
    """Floor division and its remainder: ``(x // y, x % y)``."""
    return arithmetic.floor_divide.public(x, y), arithmetic.remainder.public(x, y)


@function(numpy=(np.modf,), examples=(_ONE,), computed=True)
def modf(x: TensorLike) -> tuple[Tensor, Tensor]:
    """The part behind the point, with the sign of x, and the whole number before it."""
    x = of(x, "modf: x")
    x = x if x.dtype.kind == "f" else shape.astype.public(x, default_dtype())
    whole = rounding.trunc.public(x)
    rest = logic.where.public(logic.isinf.public(x), 0.0, x - whole)
    return rounding.copysign.public(rest, x), whole


@function(examples=(_ONE,), methods=("frac",), computed=True)
def frac(x: TensorLike) -> Tensor:
    """The part behind the point, with the sign of x: ``x - trunc(x)``."""
    x = of(x, "frac: x")
    return x - rounding.trunc.public(x)  # type: ignore[no-any-return]


@function(numpy=(np.ldexp,), examples=((((2, 3), 3), {}),), computed=True)
def ldexp(x: TensorLike, exponent: TensorLike) -> Tensor:
    """x times 2 to a whole power."""
    n = of(exponent, "ldexp: exponent")
    if n.dtype.kind not in "iub":
        raise TypeError(f"ldexp: exponent must be whole numbers, got {n.dtype}; x * tensorgraph.exp2(y) takes others")
    x = of(x, "ldexp: x")
    kind = x.dtype if x.dtype.kind == "f" else default_dtype()
    # in two steps: the power alone may be out of range where the product is not
    half = arithmetic.floor_divide.public(shape.astype.public(n, "int64"), 2)
    first, second = (logarithm.exp2.public(shape.astype.public(part, kind)) for part in (half, n - half))
    return shape.astype.public(x, kind) * first * second  # type: ignore[no-any-return]


@function(numpy=(np.heaviside,), examples=(_TWO,), computed=True)
def heaviside(x: TensorLike, value: TensorLike) -> Tensor:
    """0 below 0, 1 above it, `value` at 0, NaN of NaN. The derivative in x is 0."""
    x = of(x, "heaviside: x")
    x = x if x.dtype.kind == "f" else shape.astype.public(x, default_dtype())
    sign = arithmetic.sign.public(x)
    return logic.where.public(logic.equal.public(x, 0), value, arithmetic.maximum.public(sign, 0.0))  # type: ignore[no-any-return]


@function(numpy=(np.float_power,), examples=((((2, 3), 2.0), {}),), computed=True)
def float_power(x: TensorLike, y: TensorLike) -> Tensor:
    """x to the power of y in float64."""
    double = np.dtype(np.float64)
    base, exponent = (number(v, double, "") if is_number(v) else of(v, "float_power: x") for v in (x, y))
    wide = shape.astype.public(base, "float64"), shape.astype.public(exponent, "float64")
    return arithmetic.power.public(*wide)  # type: ignore[no-any-return]


@function(examples=(((_ABOVE,), {}),), methods=("rsqrt",), computed=True)
def rsqrt(x: TensorLike) -> Tensor:
    """One over the square root."""
    return 1.0 / arithmetic.sqrt.public(x)  # type: ignore[no-any-return]


@function(examples=((((2, 3), (2, 3), 0.25), {}),), methods=("lerp",), computed=True)
def lerp(start: TensorLike, end: TensorLike, weight: TensorLike) -> Tensor:
    """From `start` to `end` by a weight: ``start + weight * (end - start)``."""
    start, end = together("lerp", start=start, end=end)
    return start + weight * (end - start)  # type: ignore[no-any-return]


@function(examples=((((2, 3), (2, 3), (2, 3)), {}),), methods=("addcmul",), computed=True)
def addcmul(x: TensorLike, a: TensorLike, b: TensorLike, value: Any = 1) -> Tensor:
    """x plus `value` times the product of a and b."""
    x, product = together("addcmul", x=x, product=arithmetic.multiply.public(a, b))
    return x + value * product  # type: ignore[no-any-return]


@function(examples=((((2, 3), (2, 3), _ABOVE), {}),), methods=("addcdiv",), computed=True)
def addcdiv(x: TensorLike, a: TensorLike, b: TensorLike, value: Any = 1) -> Tensor:
    """x plus `value` times the quotient of a and b."""
    x, quotient = together("addcdiv", x=x, quotient=arithmetic.divide.public(a, b))
    return x + value * quotient  # type: ignore[no-any-return]


# comparisons --------------------------------------------------------------------------------------------------------


@function(numpy=(np.isposinf,), methods=("isposinf",), examples=(_ONE,), computed=True)
def isposinf(x: TensorLike) -> Tensor:
    """Whether an element is +inf."""
    return logic.equal.public(x, np.inf)  # type: ignore[no-any-return]


@function(numpy=(np.isneginf,), methods=("isneginf",), examples=(_ONE,), computed=True)
def isneginf(x: TensorLike) -> Tensor:
    """Whether an element is -inf."""
    return logic.equal.public(x, -np.inf)  # type: ignore[no-any-return]


@function(numpy=(np.isclose,), methods=("isclose",), examples=(_TWO,), computed=True)
def isclose(x: TensorLike, y: TensorLike, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Tensor:
    """Whether elements differ by at most ``atol + rtol * |y|``; infinities are close to themselves alone.

    >>> import tensorgraph as tg
    >>> tg.isclose([1.0, 2.0], [1.000001, 2.1])
    tensor([ True, False], bool)
    """
    x, y = of(x, "isclose: x"), of(y, "isclose: y")
    x, y = (v if v.dtype.kind == "f" else shape.astype.public(v, "float64") for v in (x, y))
    near = logic.less_equal.public(arithmetic.absolute.public(x - y), atol + rtol * arithmetic.absolute.public(y))
    near = logic.logical_and.public(near, logic.isfinite.public(y))
    near = logic.logical_or.public(near, logic.equal.public(x, y))
    if equal_nan:
        both = logic.logical_and.public(logic.isnan.public(x), logic.isnan.public(y))
        near = logic.logical_or.public(near, both)
    return near  # type: ignore[no-any-return]


@function(numpy=(np.allclose,), methods=("allclose",), examples=(_TWO,), computed=True)
def allclose(x: TensorLike, y: TensorLike, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Tensor:
    """Whether all elements are close, as `isclose` says: a tensor of one boolean, which ``if`` takes."""
    return isclose(x, y, rtol, atol, equal_nan).all()  # type: ignore[no-any-return]


@function(numpy=(np.array_equal,), examples=(_TWO,), computed=True)
def array_equal(x: TensorLike, y: TensorLike, equal_nan: bool = False) -> Tensor:
    """Whether two tensors have the same shape and the same elements; NaN equals itself where ``equal_nan`` says so."""
    x, y = of(x, "array_equal: x"), of(y, "array_equal: y")
    if x.shape != y.shape:
        return creation.full.public((), False)  # type: ignore[no-any-return]
    same = logic.equal.public(x, y)
    if equal_nan:
        same = logic.logical_or.public(same, logic.logical_and.public(logic.isnan.public(x), logic.isnan.public(y)))
    return same.all()  # type: ignore[no-any-return]
