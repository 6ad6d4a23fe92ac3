"""Comparisons, logic and selection. Comparisons give booleans and have no gradient."""

from __future__ import annotations

from collections.abc import Callable
from math import copysign
from typing import Any

import numpy as np

from tensorgraph.engine.aval import Aval, broadcast_shapes
from tensorgraph.engine.declare import op
from tensorgraph.engine.op import Op, elementwise, promote, require_fit
from tensorgraph.engine.tensor import Tensor, wrap
from tensorgraph.ops.kernels import scalar as scalars

ndarray = np.ndarray
BOOL = np.dtype(bool)


def _beside_none(answer: bool) -> Callable[..., Any]:
    """What a tensor is compared with something that is no number, such as None: as NumPy says, element by element."""

    def compared(a: Any, b: Any) -> Any:
        for t, other in ((a, b), (b, a)):
            if isinstance(t, Tensor) and _is_no_number(other):
                return wrap(np.full(t.shape, answer))
        return NotImplemented

    return compared


def _is_no_number(value: Any) -> bool:
    kinds = (Tensor, ndarray, np.generic, int, float, complex, list, tuple)
    known = isinstance(value, kinds) or hasattr(value, "__array__") or hasattr(value, "__float__")
    return not known or isinstance(value, (str, bytes))


equal = op(
    "equal(a, b)", np.equal, elementwise, also=("eq",), infix="==", dtype="bool", traits=("comparison", "commutative"),
    otherwise=_beside_none(False), scalar=lambda a, b: a == b, doc="a == b, elementwise.",
)  # fmt: skip
not_equal = op(
    "not_equal(a, b)", np.not_equal, elementwise, also=("ne",), infix="!=", dtype="bool",
    traits=("comparison", "commutative"),
    otherwise=_beside_none(True), scalar=lambda a, b: a != b, doc="a != b, elementwise.",
)  # fmt: skip
less = op(
    "less(a, b)", np.less, elementwise, also=("lt",), infix="<", dtype="bool", traits=("comparison",),
    scalar=lambda a, b: a < b, doc="a < b, elementwise.",
)  # fmt: skip
less_equal = op(
    "less_equal(a, b)", np.less_equal, elementwise, also=("le",), infix="<=", dtype="bool", traits=("comparison",),
    scalar=lambda a, b: a <= b, doc="a <= b, elementwise.",
)  # fmt: skip
greater = op(
    "greater(a, b)", np.greater, elementwise, also=("gt",), infix=">", dtype="bool", traits=("comparison",),
    scalar=lambda a, b: a > b, doc="a > b, elementwise.",
)  # fmt: skip
greater_equal = op(
    "greater_equal(a, b)", np.greater_equal, elementwise, also=("ge",), infix=">=", dtype="bool",
    traits=("comparison",),
    scalar=lambda a, b: a >= b, doc="a >= b, elementwise.",
)  # fmt: skip
logical_and = op(
    "logical_and(a, b)", np.logical_and, elementwise, dtype="bool", traits=("exact", "commutative"),
    scalar=lambda a, b: (a != 0) & (b != 0), doc="Both true, elementwise.",
)  # fmt: skip
logical_or = op(
    "logical_or(a, b)", np.logical_or, elementwise, dtype="bool", traits=("exact", "commutative"),
    scalar=lambda a, b: (a != 0) | (b != 0), doc="Either true, elementwise.",
)  # fmt: skip
logical_not = op(
    "logical_not(x)", np.logical_not, elementwise, dtype="bool", traits=("exact",),
    scalar=lambda x: x == 0, doc="Not x, elementwise.",
)  # fmt: skip


def _bits(*values: Any) -> Aval:
    kind = promote(*values)
    if kind.kind == "f":
        raise TypeError(
            "bits are those of booleans and of integers with a common integer dtype; compare (x > 0), or convert with "
            ".astype('int64')"
        )
    require_fit(kind, values)
    return Aval(broadcast_shapes(*[v.shape for v in values if isinstance(v, Aval)]), kind)


bitwise_and = op(
    "bitwise_and(a, b)", np.bitwise_and, elementwise, infix="&", infer_rule=_bits,
    traits=("bits", "exact", "commutative"), scalar=lambda a, b: a & b, doc="a & b: booleans or integers.",
)  # fmt: skip
bitwise_or = op(
    "bitwise_or(a, b)", np.bitwise_or, elementwise, infix="|", infer_rule=_bits,
    traits=("bits", "exact", "commutative"), scalar=lambda a, b: a | b, doc="a | b: booleans or integers.",
)  # fmt: skip
bitwise_xor = op(
    "bitwise_xor(a, b)", np.bitwise_xor, elementwise, infix="^", infer_rule=_bits,
    traits=("bits", "exact", "commutative"), scalar=lambda a, b: a ^ b, doc="a ^ b: booleans or integers.",
)  # fmt: skip


def _shift_check(a: Any, b: Any) -> None:
    if np.any(np.asarray(b) < 0):
        raise ValueError("bits are shifted by numbers that are not negative; shift the other way")


def _shift_infer(a: Any, b: Any) -> Aval:
    out = _bits(a, b)
    if out.dtype.kind == "b":
        raise TypeError("the bits of integers are shifted, got booleans; convert with .astype('int64')")
    return out


_SHIFTS: tuple[Any, ...] = (
    ((np.array([[1, -2, 3], [40, 5, 6]]), np.array([0, 1, 2])), {}),
    ((np.array(7), np.array(1)), {}),
)

left_shift = op(
    "left_shift(a, b)", np.left_shift, elementwise, also=("bitwise_left_shift",), infix="<<",
    infer_rule=_shift_infer, check=_shift_check, traits=("bits", "exact", "refuses integers"), domain={"b": (0, 8)},
    examples=_SHIFTS,
    on_numpy="kernels shift by no more places than an integer has, and NumPy by any number",
    doc="The bits of a moved up by b places: a times 2**b, without what has no place.",
)  # fmt: skip
right_shift = op(
    "right_shift(a, b)", np.right_shift, elementwise, also=("bitwise_right_shift",), infix=">>",
    infer_rule=_shift_infer, check=_shift_check, traits=("bits", "exact", "refuses integers"), domain={"b": (0, 8)},
    examples=_SHIFTS,
    on_numpy="kernels shift by no more places than an integer has, and NumPy by any number",
    doc="The bits of a moved down by b places: a // 2**b.",
)  # fmt: skip
logical_xor = op(
    "logical_xor(a, b)", np.logical_xor, elementwise, dtype="bool", traits=("exact", "commutative"),
    scalar=lambda a, b: (a != 0) != (b != 0), doc="One of them true and not the other, elementwise.",
)  # fmt: skip
invert = op(
    "invert(x)", np.invert, elementwise, also=("bitwise_invert", "bitwise_not"), infix="u~", infer_rule=_bits,
    traits=("bits", "exact"),
    scalar=lambda x: ~x, doc="~x: booleans or integers.",
)  # fmt: skip
isnan = op(
    "isnan(x)", np.isnan, elementwise, methods=("isnan",), dtype="bool", traits=("exact",),
    scalar=lambda x: x != x, doc="Whether x is NaN, elementwise.",
)  # fmt: skip
isinf = op(
    "isinf(x)", np.isinf, elementwise, methods=("isinf",), dtype="bool", traits=("exact",),
    scalar=scalars.isinf, doc="Whether x is infinite, elementwise.",
)  # fmt: skip
isfinite = op(
    "isfinite(x)", np.isfinite, elementwise, methods=("isfinite",), dtype="bool", traits=("exact",),
    scalar=scalars.isfinite, doc="Neither NaN nor infinite, elementwise.",
)  # fmt: skip


def _where_check(c: Any, a: Any, b: Any) -> None:
    dtype = c.dtype if hasattr(c, "dtype") else np.dtype(type(c))
    if dtype is not BOOL:
        raise TypeError(f"the condition must be boolean, got {dtype}; compare, as in x > 0")
    if type(a) is int or type(b) is int:  # numpy.where wraps one that does not fit
        values = tuple(v if isinstance(v, (int, float)) else Aval(v.shape, v.dtype) for v in (a, b))
        require_fit(promote(*values), values)


def _where_infer(c: Any, a: Any, b: Any) -> Aval:
    _where_check(c, a, b)
    return Aval(broadcast_shapes(*[v.shape for v in (c, a, b) if isinstance(v, Aval)]), promote(c, a, b))


WORTH_IT = 64  # elements; numpy.where is at its best with few of them
_BITS = {np.dtype(np.float32): np.dtype(np.int32), np.dtype(np.float64): np.dtype(np.int64)}


def _kept(c: Any, a: Any) -> Any:
    """a where c holds and +0.0 elsewhere, NaN and infinity included: as integers, the bits of a times 0 or 1.

    `numpy.where` branches at each element, 15 times slower where the processor cannot guess the condition.
    """
    kind = _BITS[a.dtype]
    chosen = c.astype(kind)
    return np.multiply(chosen, a.view(kind), chosen).view(a.dtype)


def _is_chosen(c: Any, a: Any, zero: Any) -> Any:
    """Whether a choice is between an array of floats and +0.0, as the rules of gradients ask for."""
    return (
        type(zero) is float and zero == 0.0 and copysign(1.0, zero) > 0.0 and type(a) is ndarray and a.dtype in _BITS
        and a.size >= WORTH_IT and type(c) is ndarray and c.shape == a.shape and c.dtype == BOOL
    )  # fmt: skip


def _where(c: Any, a: Any, b: Any) -> Any:
    if _is_chosen(c, a, b):
        return _kept(c, a)
    if _is_chosen(c, b, a):
        return _kept(~c, b)
    return np.where(c, a, b)


where: Op = op(
    "where(c, a, b)", _where, elementwise, numpy=(np.where,), scalar=scalars.select, check=_where_check,
    infer_rule=_where_infer,
    vjp=dict(c=0, a=lambda g, c: where(c, g, 0.0), b=lambda g, c: where(c, 0.0, g)),
    traits=("exact", "analytic", "increasing", "gates"),
    examples=(((np.array([True, False, True]), (2, 3), (3,)), {}), ((np.array(True), (2,), ()), {})),
    doc="""a where the condition holds, b elsewhere. The side that is not taken gets a cotangent of 0; a side whose
    derivative is not finite there leaks NaN all the same, since 0 times infinity is NaN. The double ``where`` mends it:
    ``where(x > 0, sqrt(where(x > 0, x, 1.0)), b)`` for ``where(x > 0, sqrt(x), b)``.

    Both sides are computed everywhere. `tensorgraph.lint` finds such sides and writes the double ``where`` (TG024).

    >>> import numpy as np
    >>> import tensorgraph as tg
    >>> x = tg.tensor([0.0, 4.0])
    >>> with np.errstate(invalid="ignore"):
    ...     tg.grad(lambda x: tg.where(x > 0, tg.sqrt(x), x).sum())(x)
    tensor([ nan, 0.25], f32)
    >>> tg.grad(lambda x: tg.where(x > 0, tg.sqrt(tg.where(x > 0, x, 1.0)), x).sum())(x)
    tensor([1.  , 0.25], f32)
    """,
)  # fmt: skip
