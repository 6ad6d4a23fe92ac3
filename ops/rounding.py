"""Rounding, signs and neighbours of numbers. What is rounded has no derivative, or that of what is left of it."""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgraph.engine.aval import Aval
from tensorgraph.engine.declare import op
from tensorgraph.engine.op import Op, elementwise
from tensorgraph.ops.arithmetic import sign
from tensorgraph.ops.creation import number
from tensorgraph.ops.kernels import scalar as scalars
from tensorgraph.ops.logic import isfinite, where


def _whole(function: np.ufunc) -> Any:
    """A rounding ufunc; integers and booleans are whole."""
    return lambda x: function(x) if x.dtype.kind == "f" else np.array(x)


def _same(x: Aval) -> Aval:
    return Aval(x.shape, x.dtype)


_ROUNDED = ("exact", "flat", "increasing", "idempotent")

floor = op(
    "floor(x)", _whole(np.floor), elementwise, methods=("floor",), numpy=(np.floor,), infer_rule=_same,
    scalar=scalars.floor,
    vjp=dict(x=None), traits=_ROUNDED,
    doc="The largest whole number that is not above x; its derivative is zero almost everywhere, so none is recorded.",
)  # fmt: skip
ceil = op(
    "ceil(x)", _whole(np.ceil), elementwise, scalar=scalars.ceil, methods=("ceil",), numpy=(np.ceil,),
    infer_rule=_same, vjp=dict(x=None),
    traits=_ROUNDED,
    doc="The smallest whole number that is not below x; no derivative, as of `floor`.",
)  # fmt: skip
trunc: Op = op(
    "trunc(x)", _whole(np.trunc), elementwise, scalar=scalars.trunc, methods=("trunc",), also=("fix",),
    numpy=(np.trunc, np.fix),
    infer_rule=_same,
    vjp=dict(x=None), traits=_ROUNDED,
    doc="The whole number next to x towards 0; no derivative, as of `floor`.",
)  # fmt: skip


def _decimals(decimals: Any) -> int:
    if type(decimals) is not int:
        raise TypeError(f"decimals must be an integer, got {decimals!r}")
    return decimals


def _round(x: Any, *, decimals: int = 0) -> Any:
    return np.array(np.round(x, _decimals(decimals))) if x.dtype.kind != "b" else np.array(x)


def _round_infer(x: Aval, *, decimals: Any) -> Aval:
    _decimals(decimals)
    return _same(x)


round = op(
    "round(x, *, decimals: int = 0)", _round, elementwise, methods=("round",), numpy=(np.round, np.around, np.rint),
    also=("rint",), native="forms:ROUND", infer_rule=_round_infer, vjp=dict(x=None), traits=("flat", "idempotent"),
    examples=((((3, 4),), {}), (((5,),), dict(decimals=1))),
    doc="""The nearest number with so many decimals, the even one of two; no derivative, as of `floor`.

    >>> import tensorgraph as tg
    >>> tg.round([0.5, 1.5, 2.25])
    tensor([0., 2., 2.], f32)
    """,
)  # fmt: skip


copysign: Op = op(
    "copysign(a, b)", np.copysign, elementwise, scalar=scalars.copysign, dtype="float",
    vjp=dict(a=lambda g, a, b: g * (sign(a) * copysign(1.0, b)), b=0), kinks=(0.0,), traits=("exact",),
    doc="|a| with the sign of b, which a zero has too; the derivative at a = 0 is 0.",
)  # fmt: skip
signbit = op(
    "signbit(x)", np.signbit, elementwise, scalar=scalars.signbit, dtype="bool", traits=("exact",),
    doc="Whether the sign is minus; -0.0 has it too.",
)  # fmt: skip
nextafter = op(
    "nextafter(a, b)", np.nextafter, elementwise, scalar=scalars.nextafter, dtype="float",
    vjp=dict(a=lambda g: g, b=0),
    doc="The number next to a in the direction of b; it moves with a.",
)  # fmt: skip
fmod = op(
    "fmod(a, b)", np.fmod, elementwise, scalar=scalars.fmod, domain={"b": (0.5, 2.5)},
    vjp=dict(a=lambda g: g, b=lambda g, a, b: -(g * trunc(a / b))), traits=("exact",),
    doc="What is left of a when whole b are taken away, with the sign of a, as in C; `remainder` has that of b.",
)  # fmt: skip


def _nan_to_num(x: Any, *, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None) -> Any:
    return np.nan_to_num(x, True, nan, posinf, neginf)


def _nan_to_num_infer(x: Any, **values: Any) -> Any:
    for name, value in values.items():
        if value is not None or name == "nan":
            number(value, name)
    return _same(x)


nan_to_num = op(
    "nan_to_num(x, *, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None)", _nan_to_num,
    elementwise, scalar=scalars.finite, numpy=(np.nan_to_num,), infer_rule=_nan_to_num_infer,
    methods=("nan_to_num",),
    vjp=dict(x=lambda g, x: where(isfinite(x), g, 0.0)), flops=3, traits=("gates", "idempotent"),
    examples=((((3, 4),), {}), (((5,),), dict(nan=1.0, posinf=2.0, neginf=-2.0))),
    doc="NaN as `nan`, infinities as `posinf` and `neginf` (by default the largest numbers); derivative 0 there.",
)  # fmt: skip
