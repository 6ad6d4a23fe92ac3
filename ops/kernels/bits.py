"""What the scalar functions stand on, in compiled code and in plain Python: a number's bits, and a choice."""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgraph.jit import Helper, helper, native, variants

__all__ = [
    "any_of", "bits", "from_bits", "ordered", "select", "signed32", "signed64", "size32", "size64", "unordered",
]  # fmt: skip

_INTEGER = {np.dtype(np.float32): np.int32, np.dtype(np.float64): np.int64}
_FLOAT = {np.dtype(np.int32): np.float32, np.dtype(np.int64): np.float64}


def _bits(x: Any) -> Any:
    """Signed integer with the bits of `x`, float32 or float64 numbers."""
    return x.view(_INTEGER[x.dtype])


def _from_bits(i: Any) -> Any:
    """Floating-point number with the bits of `i`, int32 or int64 numbers."""
    return i.view(_FLOAT[i.dtype])


def _bit_cast(numba: Any, pairs: dict[str, str]) -> Any:
    """An intrinsic of one LLVM bitcast, from the types named by the keys to those named by the values."""
    types = numba.types
    target = {getattr(types, a): getattr(types, b) for a, b in pairs.items()}

    def bit_cast(typing_context: Any, x: Any) -> Any:
        if x not in target:
            return None

        def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.bitcast(args[0], context.get_value_type(signature.return_type))

        return target[x](x), code

    return numba.extending.intrinsic(bit_cast)


bits: Helper = native(_bits, lambda numba: _bit_cast(numba, {"float32": "int32", "float64": "int64"}), "1", "bits")
from_bits: Helper = native(
    _from_bits, lambda numba: _bit_cast(numba, {"int32": "float32", "int64": "float64"}), "1", "from_bits"
)


def _select(c: Any, a: Any, b: Any) -> Any:
    """`a` where the condition holds, else `b`; both are there already."""
    if type(c) is np.ndarray or type(a) is np.ndarray or type(b) is np.ndarray:
        return np.where(c, a, b)
    return a if c else b


def _choice(numba: Any) -> Any:
    """An intrinsic of one LLVM select: a branch would have to be found superfluous before a loop vectorises."""
    types = numba.types

    def select(typing_context: Any, c: Any, a: Any, b: Any) -> Any:
        plain = [types.unliteral(t) for t in (a, b)]
        # a number written in the code takes the type of the other
        written = [isinstance(t, types.Literal) for t in (a, b)]
        kind = plain[written[0]] if written[0] != written[1] else typing_context.unify_types(*plain)
        if kind is None or types.unliteral(c) != types.boolean:
            return None

        def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            values = [context.cast(builder, v, t, kind) for v, t in zip(args[1:], signature.args[1:], strict=True)]
            condition = context.cast(builder, args[0], signature.args[0], types.boolean)
            return builder.select(condition, *values)

        return kind(c, a, b), code

    return numba.extending.intrinsic(select)


select: Helper = native(_select, _choice, "1", "select")


def _always(numba: Any) -> Any:
    """In Numba's loops what may be needed is computed, as a branch would keep them from vectorising."""

    def any_of(typing_context: Any, c: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return context.get_constant(numba.types.boolean, True)

        return numba.types.boolean(c), code

    return numba.extending.intrinsic(any_of)


any_of: Helper = native(np.any, _always, "1", "any_lane")


@helper
def size32(x: Any) -> Any:
    """|x| in float32."""
    return from_bits(np.int32(bits(x) & np.int32(0x7FFFFFFF)))


@helper
def size64(x: Any) -> Any:
    """|x| in float64."""
    return from_bits(np.int64(bits(x) & np.int64(0x7FFFFFFFFFFFFFFF)))


@helper
def signed32(y: Any, x: Any) -> Any:
    """y, which has no sign, with that of x, in float32."""
    return from_bits(np.int32(bits(y) | np.int32(bits(x) & np.int32(-0x80000000))))


@helper
def signed64(y: Any, x: Any) -> Any:
    """y, which has no sign, with that of x, in float64."""
    return from_bits(np.int64(bits(y) | np.int64(bits(x) & np.int64(-0x8000000000000000))))


# Integers in the order of the numbers: the bits, with all but the sign of a negative number inverted. A maximum of
# integers vectorises under strict rules, one of floating-point numbers does not. A NaN comes out above infinity or
# below minus infinity, by its sign.


@helper
def ordered32(x: Any) -> Any:
    """Integer in the order of float32 numbers."""
    i = bits(x)
    return np.int32(i ^ np.int32(np.int32(i >> 31) & np.int32(0x7FFFFFFF)))


@helper
def ordered64(x: Any) -> Any:
    """Integer in the order of float64 numbers."""
    i = bits(x)
    return np.int64(i ^ np.int64(np.int64(i >> 63) & np.int64(0x7FFFFFFFFFFFFFFF)))


@helper
def unordered32(x: Any) -> Any:
    """Inverse of `ordered32`."""
    return from_bits(np.int32(x ^ np.int32(np.int32(x >> 31) & np.int32(0x7FFFFFFF))))


@helper
def unordered64(x: Any) -> Any:
    """Inverse of `ordered64`."""
    return from_bits(np.int64(x ^ np.int64(np.int64(x >> 63) & np.int64(0x7FFFFFFFFFFFFFFF))))


ordered: Helper = variants("ordered", ordered32, ordered64)
unordered: Helper = variants("unordered", unordered32, unordered64, kind="int")
