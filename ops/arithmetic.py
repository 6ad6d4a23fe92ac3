"""Arithmetic: sums, products, powers, roots, absolute values, extrema of two."""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgraph.engine.aval import Aval, broadcast_shapes
from tensorgraph.engine.declare import op
from tensorgraph.engine.numbers import TracedNumber
from tensorgraph.engine.op import Op, elementwise, promote
from tensorgraph.engine.operands import array_beside
from tensorgraph.engine.tensor import Tensor, tensor
from tensorgraph.ops.creation import number
from tensorgraph.ops.kernels import scalar as scalars
from tensorgraph.ops.kernels.powers import is_short, product_power
from tensorgraph.ops.logic import logical_and, logical_or, where

add = op(
    "add(a, b)", np.add, elementwise, infix="+", scalar=lambda a, b: a + b,
    vjp=dict(a=lambda g: g, b=lambda g: g), traits=("exact", "linear", "commutative", "increasing"),
    doc="""Sum, elementwise, broadcasting as NumPy.

    >>> import tensorgraph as tg
    >>> tg.add([1, 2], 3)
    tensor([4, 5], i64)
    """,
)  # fmt: skip
subtract = op(
    "subtract(a, b)", np.subtract, elementwise, also=("sub",), infix="-", scalar=lambda a, b: a - b,
    vjp=dict(a=lambda g: g, b=lambda g: -g), traits=("exact", "linear"),
    doc="Difference, elementwise.",
)  # fmt: skip
multiply = op(
    "multiply(a, b)", np.multiply, elementwise, also=("mul",), infix="*", scalar=lambda a, b: a * b,
    vjp=dict(a=lambda g, b: g * b, b=lambda g, a: g * a), traits=("exact", "analytic", "commutative", "gates"),
    doc="Product, elementwise.",
)  # fmt: skip
divide = op(
    "divide(a, b)", np.divide, elementwise, also=("div", "true_divide"), infix="/", dtype="float",
    domain={"b": (0.5, 2.5)},
    scalar=lambda a, b: a / b,
    vjp=dict(a=lambda g, b: g / b, b=lambda g, b, out: -(g * out / b)), traits=("exact", "analytic"),
    doc="Quotient, elementwise; integers give the default float dtype.",
)  # fmt: skip
floor_divide = op(
    "floor_divide(a, b)", np.floor_divide, elementwise, infix="//", domain={"b": (0.5, 2.5)},
    scalar=lambda a, b: a // b,
    traits=("flat",),
    doc="Quotient rounded down, elementwise; its derivative is zero almost everywhere, so none is recorded.",
)  # fmt: skip
remainder = op(
    "remainder(a, b)", np.remainder, elementwise, also=("mod",), infix="%", scalar=lambda a, b: a % b,
    domain={"b": (0.5, 2.5)},
    vjp=dict(a=lambda g: g, b=lambda g, a, b: -(g * floor_divide(a, b))),
    doc="Remainder of `floor_divide`, with the sign of `b`.",
)  # fmt: skip
negative = op(
    "negative(x)", np.negative, elementwise, also=("neg",), infix="u-", scalar=lambda x: -x, vjp=dict(x=lambda g: -g),
    traits=("exact", "linear"),
    doc="Minus x.",
)  # fmt: skip
square = op(
    "square(x)", np.square, elementwise, methods=("square",), scalar=lambda x: x * x,
    traits=("exact", "analytic", "bounded below"),
    vjp=dict(x=lambda g, x: g * (2 * x)),
    doc="x times x.",
)  # fmt: skip
reciprocal = op(
    "reciprocal(x)", lambda x: 1.0 / x, elementwise, methods=("reciprocal",), numpy=(np.reciprocal,), dtype="float",
    scalar=lambda x: 1.0 / x,
    domain=(0.5, 2.5),
    vjp=dict(x=lambda g, out: -(g * out * out)), traits=("exact", "analytic"),
    doc="1/x; integers give the default float dtype, where NumPy divides integers.",
)  # fmt: skip
sqrt = op(
    "sqrt(x)", np.sqrt, elementwise, methods=("sqrt",), dtype="float", scalar=scalars.sqrt, domain=(0.3, 3.0),
    vjp=dict(x=lambda g, out: g / (2 * out)), traits=("exact", "analytic", "root", "bounded below", "increasing"),
    doc="Square root; NaN for negative numbers; the derivative at 0 is infinite.",
)  # fmt: skip
absolute = op(
    "absolute(x)", np.absolute, elementwise, also=("abs",), methods=("__abs__", "abs"), scalar=scalars.absolute,
    kinks=(0.0,),
    vjp=dict(x=lambda g, x: g * sign(x)), traits=("exact", "bounded below", "idempotent"),
    doc="Absolute value; its derivative at 0 is 0.",
)  # fmt: skip
sign: Op = op(
    "sign(x)", np.sign, elementwise, methods=("sign",), scalar=scalars.sign, vjp=dict(x=None),
    traits=("exact", "flat", "bounded above", "bounded below", "increasing", "idempotent"),
    doc="-1, 0 or 1 by the sign of x.",
)  # fmt: skip


def _power(a: Any, b: Any) -> Any:
    if is_short(b) and type(a) is np.ndarray and a.dtype.kind == "f":
        return product_power(a, int(b))
    return np.power(a, b)


def _power_x(g: Any, a: Any, b: Any) -> Any:
    if type(b) in (int, float):
        if b == 2:
            return g * (2 * a)
        return g * float(b) if b in (0, 1) else g * (b * power(a, b - 1))
    # b a^(b-1) is 0 at b = 0 for every a, but 0 times infinity at a = 0. The base is what is guarded: a guard of the
    # product, or of the exponent, would lose its derivative by b
    still = logical_and(b == 0, logical_or(a == 0, a != a))
    return g * (b * power(where(still, 1, a), b - 1))


def _power_y(g: Any, a: Any, b: Any, out: Any) -> Any:
    from tensorgraph.ops.exponential import log

    if type(a) in (int, float):
        return g * 0.0 if a == 0 else g * out * (float(np.log(a)) if a > 0 else float("nan"))
    if type(a) is TracedNumber:  # as above, only that the number is not known yet
        wide = tensor(a, "float64")
        slope = log(where(wide == 0, 1.0, wide)).astype(out.dtype)
        return g * where(wide == 0, 0.0, out) * slope
    # the base once more, not `out`: at a = 0 either factor is infinite for some exponents, or its derivative by a
    base = where(a == 0, 1, a)
    return where(a == 0, 0.0, g * (power(base, b) * log(base)))


power: Op = op(
    "power(a, b)", _power, elementwise, also=("pow",), infix="**", numpy=(np.power,), scalar=scalars.power,
    domain=(0.3, 2.5), native="forms:POWER",
    vjp=dict(a=_power_x, b=_power_y), traits=("analytic", "root", "refuses integers"),
    doc="""a to the power b. The derivative with respect to b at a = 0 is 0.

    Whole powers from -8 to 16, given as Python numbers, are computed by products, within 8 units in the last place.

    >>> import tensorgraph as tg
    >>> tg.tensor([1.0, 2.0, 3.0]) ** 2
    tensor([1., 4., 9.], f32)
    """,
)  # fmt: skip


def _larger(g: Any, a: Any, b: Any) -> Any:
    """The part of `g` that goes to `a` in maximum(a, b): all, half at a tie, none. A NaN is larger than any number."""
    return _share(g, logical_or(a >= b, a != a), logical_or(b >= a, b != b))


def _smaller(g: Any, a: Any, b: Any) -> Any:
    """Likewise in minimum(a, b), where a NaN is smaller than any number."""
    return _share(g, logical_or(a <= b, a != a), logical_or(b <= a, b != b))


def _share(g: Any, here: Any, there: Any) -> Any:
    # ties are rare, which `numpy.where` guesses, and a choice of 0 does not branch
    return where(here, where(logical_and(here, there), 0.5 * g, g), 0.0)


maximum = op(
    "maximum(a, b)", np.maximum, elementwise, scalar=scalars.maximum,
    vjp=dict(a=lambda g, a, b: _larger(g, a, b), b=lambda g, a, b: _larger(g, b, a)),
    traits=("extremum", "commutative", "gates"),
    doc="The larger of two, elementwise; NaN wins and takes the gradient, which ties, of two NaN too, share equally.",
)  # fmt: skip
minimum = op(
    "minimum(a, b)", np.minimum, elementwise, scalar=scalars.minimum,
    vjp=dict(a=lambda g, a, b: _smaller(g, a, b), b=lambda g, a, b: _smaller(g, b, a)),
    traits=("extremum", "commutative", "gates"),
    doc="The smaller of two, elementwise; NaN wins and takes the gradient, which ties, of two NaN too, share equally.",
)  # fmt: skip


def _number_wins(g: Any, a: Any, b: Any, a_first: Any, b_first: Any) -> Any:
    """The part of `g` that goes to `a` where a number wins over a NaN and, between two, the one that is `first`."""
    a_wins, b_wins = logical_or(a_first, b != b), logical_or(b_first, a != a)
    return where(a_wins, where(b_wins, 0.5 * g, g), where(b_wins, 0.0, 0.5 * g))


fmax = op(
    "fmax(a, b)", np.fmax, elementwise, scalar=scalars.fmax,
    vjp=dict(a=lambda g, a, b: _number_wins(g, a, b, a > b, b > a),
             b=lambda g, a, b: _number_wins(g, b, a, b > a, a > b)),
    traits=("commutative", "gates"),
    doc="The larger of two, elementwise; a number wins over a NaN; the gradient is shared equally at ties.",
)  # fmt: skip
fmin = op(
    "fmin(a, b)", np.fmin, elementwise, scalar=scalars.fmin,
    vjp=dict(a=lambda g, a, b: _number_wins(g, a, b, a < b, b < a),
             b=lambda g, a, b: _number_wins(g, b, a, b < a, a < b)),
    traits=("commutative", "gates"),
    doc="The smaller of two, elementwise; a number wins over a NaN; the gradient is shared equally at ties.",
)  # fmt: skip


def _bounds(dtype: np.dtype[Any], a_min: Any, a_max: Any) -> None:
    for name, bound in (("a_min", a_min), ("a_max", a_max)):
        if bound is not None:
            number(bound, name)
            if dtype.kind in "iu" and type(bound) is int and not np.iinfo(dtype).min <= bound <= np.iinfo(dtype).max:
                raise ValueError(f"{name}={bound} does not fit {dtype}; convert x to a wider dtype first")
    if a_min is not None and a_max is not None and a_min > a_max:
        raise ValueError(f"a_min must not exceed a_max, got {a_min} and {a_max}")


def _clip(x: Any, *, a_min: Any = None, a_max: Any = None) -> Any:
    _bounds(x.dtype, a_min, a_max)
    out = x if a_min is None else np.maximum(x, a_min)
    out = out if a_max is None else np.minimum(out, a_max)
    return np.array(out) if out is x else out


def _clip_x(g: Any, x: Any, a_min: Any, a_max: Any) -> Any:
    # a NaN is beyond no bound: it passes, and so does the gradient
    if a_min is not None:
        g = where(x < a_min, 0.0, g)
    return g if a_max is None else where(x > a_max, 0.0, g)


def _clip_infer(x: Aval, *, a_min: Any, a_max: Any) -> Aval:
    _bounds(x.dtype, a_min, a_max)
    return Aval(x.shape, promote(x, a_min, a_max))


def _clip_to_tensors(x: Any, a_min: Any = None, a_max: Any = None) -> Any:
    """Bounds that are tensors: differentiable in them too, where they are reached."""
    if not any(isinstance(bound, (Tensor, np.ndarray, list)) for bound in (a_min, a_max)):
        return NotImplemented
    x, low, high = (
        tensor(array_beside(v, (x, a_min, a_max))) if isinstance(v, (np.ndarray, list)) else v
        for v in (x, a_min, a_max)
    )
    for name, bound in (("a_min", low), ("a_max", high)):
        try:
            broadcast_shapes(*(v.shape for v in (x, bound) if isinstance(v, Tensor)))
        except ValueError as error:
            raise ValueError(f"x and {name}: {error}") from None
    if low is not None:
        x = where.public((x < low) | (low != low), low, x)
    if high is not None:
        x = where.public((x > high) | (high != high), high, x)
    return x


def _clip_flops(x: Aval, *, a_min: Any, a_max: Any) -> int:
    return x.size * ((a_min is not None) + (a_max is not None))


def _clip_scratch(x: Aval, *, a_min: Any, a_max: Any) -> int:
    return 0 if a_min is None or a_max is None else x.nbytes


clip = op(
    "clip(x, *, a_min: float | None = None, a_max: float | None = None)", _clip, elementwise, also=("clamp",),
    methods=("clip", "clamp"), numpy=(np.clip,), scalar=scalars.clip,
    otherwise=_clip_to_tensors, synonyms={"min": "a_min", "max": "a_max"},
    infer_rule=_clip_infer, kinks=(-0.5, 0.75, 0.1), flops=_clip_flops, scratch=_clip_scratch,
    vjp=dict(x=_clip_x), traits=("extremum", "gates", "idempotent"),
    examples=((((3, 4),), dict(a_min=-0.5, a_max=0.75)), (((5,),), dict(a_min=0.1))),
    doc="""Numbers limited to [a_min, a_max]; the derivative is 1 at a bound and at NaN, which passes through.

    Bounds may be tensors, which get the gradient where they are reached. ``min=`` and ``max=`` are other names of them.
    """,
)  # fmt: skip
