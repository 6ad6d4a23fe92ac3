"""Powers and logarithms of the bases 2 and 10, sums of exponentials of two, roots of the third degree."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tensorgraph.engine.aval import default_dtype
from tensorgraph.engine.declare import op
from tensorgraph.engine.op import elementwise
from tensorgraph.ops.exponential import as_float, log, log1p, sigmoid
from tensorgraph.ops.kernels import scalar as scalars
from tensorgraph.ops.logic import equal, isinf, logical_and, where

_LN2, _LN10 = math.log(2), math.log(10)

exp2 = op(
    "exp2(x)", np.exp2, elementwise, scalar=scalars.exp2, methods=("exp2",), dtype="float",
    vjp=dict(x=lambda g, out: g * (out * _LN2)),
    traits=("exponential", "bounded below", "increasing"),
    doc="2 to the power x.",
)  # fmt: skip
log2 = op(
    "log2(x)", np.log2, elementwise, scalar=scalars.log2, methods=("log2",), dtype="float", domain=(0.3, 3.0),
    vjp=dict(x=lambda g, x: g / (x * _LN2)),
    traits=("exponential", "root"),
    doc="Logarithm of base 2; -inf at 0 and NaN below.",
)  # fmt: skip
log10 = op(
    "log10(x)", np.log10, elementwise, scalar=scalars.log10, methods=("log10",), dtype="float", domain=(0.3, 3.0),
    vjp=dict(x=lambda g, x: g / (x * _LN10)),
    traits=("exponential", "root"),
    doc="Logarithm of base 10; -inf at 0 and NaN below.",
)  # fmt: skip
cbrt = op(
    "cbrt(x)", np.cbrt, elementwise, scalar=scalars.cbrt, dtype="float", domain=(0.3, 3.0),
    vjp=dict(x=lambda g, out: g / (3 * out * out)),
    traits=("root",),
    doc="Cubic root, of negative numbers too; the derivative at 0 is infinite.",
)  # fmt: skip


def _share(a: Any, b: Any, base: float = 1.0) -> Any:
    """The part of logaddexp that a has: a logistic function; half where both are the same infinity."""
    same = logical_and(equal(a, b), isinf(a))
    return sigmoid((where(same, 0.0, a) - where(same, 0.0, b)) * base)


logaddexp = op(
    "logaddexp(a, b)", np.logaddexp, elementwise, scalar=scalars.logaddexp, domain=(0.3, 3.0), dtype="float",
    vjp=dict(a=lambda g, a, b: g * _share(a, b), b=lambda g, a, b: g * _share(b, a)),
    traits=("exponential", "commutative", "increasing"),
    doc="log(exp(a) + exp(b)) without overflow.",
)  # fmt: skip
logaddexp2 = op(
    "logaddexp2(a, b)", np.logaddexp2, elementwise, scalar=scalars.logaddexp2, domain=(0.3, 3.0), dtype="float",
    vjp=dict(a=lambda g, a, b: g * _share(a, b, _LN2), b=lambda g, a, b: g * _share(b, a, _LN2)),
    traits=("exponential", "commutative", "increasing"),
    doc="log2(2**a + 2**b) without overflow.",
)  # fmt: skip


def _logit(x: Any) -> Any:
    x = as_float(x)
    # near a half by what is exact there: log(x / (1 - x)) would cancel
    near = np.abs(x - 0.5) < 0.25
    centred = np.log1p((2 * x - 1) / np.where(near, 1 - x, 1))
    return np.where(near, centred, np.log(x) - np.log1p(-x))


logit = op(
    "logit(x)", _logit, elementwise, scalar=scalars.logit, dtype="float", domain=(0.1, 0.9), flops=8, scratch=6,
    vjp=dict(x=lambda g, x: g / (x * (1 - x))), traits=("exponential", "root"),
    oracle=lambda x: -np.log(1 / x - 1),
    doc="log(x / (1 - x)), the inverse of `sigmoid`; infinite at 0 and 1, NaN beyond.",
)  # fmt: skip


def _floats(a: Any, b: Any) -> tuple[Any, Any]:
    """Both as arrays, numbers and integers in the float dtype of the other."""
    kinds = [v.dtype for v in (a, b) if isinstance(v, (np.ndarray, np.generic)) and v.dtype.kind == "f"]
    kind = np.result_type(*kinds) if kinds else default_dtype()
    return np.asarray(a, kind), np.asarray(b, kind)


def _xlogy(a: Any, b: Any) -> Any:
    a, b = _floats(a, b)
    nothing = (a == 0) & ~np.isnan(b)
    return np.where(nothing, np.zeros((), np.result_type(a, b)), a * np.log(np.where(nothing, 1, b)))


def _xlog1py(a: Any, b: Any) -> Any:
    a, b = _floats(a, b)
    nothing = (a == 0) & ~np.isnan(b)
    return np.where(nothing, np.zeros((), np.result_type(a, b)), a * np.log1p(np.where(nothing, 0, b)))


def _no_log(a: Any, b: Any) -> Any:
    """Where a is 0 and b has no logarithm: the product counts as 0 there."""
    return logical_and(equal(a, 0), b <= 0)


xlogy = op(
    "xlogy(a, b)", _xlogy, elementwise, scalar=scalars.xlogy, dtype="float", domain={"b": (0.3, 3.0)}, flops=2,
    scratch=2,
    vjp=dict(
        a=lambda g, a, b: g * log(where(_no_log(a, b), 1.0, b)), b=lambda g, a,
    b: g * (a / where(_no_log(a, b), 1.0, b))
    ),
    traits=("exponential",),
    oracle=lambda a, b: a * np.log(b),
    doc="a·log(b), and 0 where a is 0, whatever b but NaN; the derivatives where a is 0 and b not positive are 0.",
)  # fmt: skip


def _no_log1p(a: Any, b: Any) -> Any:
    return logical_and(equal(a, 0), b <= -1)


xlog1py = op(
    "xlog1py(a, b)", _xlog1py, elementwise, scalar=scalars.xlog1py, dtype="float", domain={"b": (-0.5, 2.0)}, flops=2,
    scratch=2,
    vjp=dict(
        a=lambda g, a, b: g * log1p(where(_no_log1p(a, b), 0.0, b)),
        b=lambda g, a, b: g * (a / (1 + where(_no_log1p(a, b), 0.0, b))),
    ),
    traits=("exponential",),
    oracle=lambda a, b: a * np.log1p(b),
    doc="a·log1p(b), and 0 where a is 0, whatever b but NaN.",
)  # fmt: skip
