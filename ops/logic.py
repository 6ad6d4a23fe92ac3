"""Comparisons, logic and selection. Comparisons give booleans and have no gradient."""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgraph.declare import op
from tensorgraph.op import Op, elementwise

equal = op("equal(a, b)", np.equal, elementwise, infix="==", dtype="bool", doc="a == b, elementwise.")
not_equal = op("not_equal(a, b)", np.not_equal, elementwise, infix="!=", dtype="bool", doc="a != b, elementwise.")
less = op("less(a, b)", np.less, elementwise, infix="<", dtype="bool", doc="a < b, elementwise.")
less_equal = op("less_equal(a, b)", np.less_equal, elementwise, infix="<=", dtype="bool", doc="a <= b, elementwise.")
greater = op("greater(a, b)", np.greater, elementwise, infix=">", dtype="bool", doc="a > b, elementwise.")
greater_equal = op(
    "greater_equal(a, b)", np.greater_equal, elementwise, infix=">=", dtype="bool", doc="a >= b, elementwise."
)
logical_and = op("logical_and(a, b)", np.logical_and, elementwise, dtype="bool", doc="Both true, elementwise.")
logical_or = op("logical_or(a, b)", np.logical_or, elementwise, dtype="bool", doc="Either true, elementwise.")
logical_not = op("logical_not(x)", np.logical_not, elementwise, dtype="bool", doc="Not x, elementwise.")
bitwise_and = op("bitwise_and(a, b)", np.bitwise_and, elementwise, infix="&", doc="a & b: booleans or integers.")
bitwise_or = op("bitwise_or(a, b)", np.bitwise_or, elementwise, infix="|", doc="a | b: booleans or integers.")
bitwise_xor = op("bitwise_xor(a, b)", np.bitwise_xor, elementwise, infix="^", doc="a ^ b: booleans or integers.")
invert = op("invert(x)", np.invert, elementwise, infix="u~", doc="~x: booleans or integers.")
isnan = op("isnan(x)", np.isnan, elementwise, dtype="bool", doc="Whether x is NaN, elementwise.")
isinf = op("isinf(x)", np.isinf, elementwise, dtype="bool", doc="Whether x is infinite, elementwise.")
isfinite = op("isfinite(x)", np.isfinite, elementwise, dtype="bool", doc="Neither NaN nor infinite, elementwise.")


def _where_check(c: Any, a: Any, b: Any) -> None:
    dtype = getattr(c, "dtype", np.dtype(type(c)))
    if dtype != np.bool_:
        raise TypeError(f"the condition must be boolean, got {dtype}; compare, as in x > 0")


where: Op = op(
    "where(c, a, b)", np.where, elementwise, numpy=(np.where,), scalar="({a} if {c} else {b})", check=_where_check,
    vjp=dict(c=None, a=lambda g, c: where(c, g, 0.0), b=lambda g, c: where(c, 0.0, g)),
    examples=(((np.array([True, False, True]), (2, 3), (3,)), {}), ((np.array(True), (2,), ()), {})),
    doc="""a where the condition holds, b elsewhere; no gradient leaks from the side not taken.

    >>> import tensorgraph as tg
    >>> tg.where(tg.tensor([1.0, -1.0]) > 0, 1.0, 0.0)
    tensor([1., 0.], f32)
    """,
)  # fmt: skip
