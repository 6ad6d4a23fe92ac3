"""Formulas of elementwise ops for generated kernels, where what is known of a call makes a better one than `scalar`.

A declaration names one by `native`: ``native="forms:POWER"``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tensorgraph.native.kernel import from_text
from tensorgraph.native.words import absolute, bits, from_bits, most, select
from tensorgraph.ops.kernels import gelu, scalar
from tensorgraph.ops.kernels.libm import rint
from tensorgraph.ops.kernels.powers import is_short

__all__ = ["BINADE", "GELU", "GELU_PULL", "POWER", "ROUND", "Form"]

INFINITY = float("inf")

Choice = tuple[Callable[..., Any], Sequence[int]]


class Form:
    """What an op's `native` says where its formula hangs on what is known.

    Parameters
    ----------
    choose : function
        ``choose(known, attrs)``: of each input the number that it is, or None, and the attributes. It gives a formula
        and the inputs that this takes; None: the op's `scalar` is it.
    """

    def __init__(self, choose: Callable[[Sequence[Any], Mapping[str, Any]], Choice | None]) -> None:
        self.choose = choose

    def __call__(self, call: Any) -> bool:
        """No kernel by itself: `tensorgraph.compile.regions` makes it, with what is around it."""
        return False


@functools.cache
def whole_power(n: int) -> Callable[..., Any]:
    """A power of a whole exponent, which is not 0, by the products of `tensorgraph.ops.kernels.powers`."""
    lines = ["def whole_power(x):", "    f0 = x" if n > 0 else "    f0 = 1.0 / x"]
    left, result, k = abs(n), "", 0
    while True:
        if left & 1:
            if result:
                lines.append(f"    r{k} = {result} * f{k}")
            result = f"r{k}" if result else f"f{k}"
        left >>= 1
        if not left:
            return from_text("\n".join([*lines, f"    return {result}", ""]), {}, "power")
        lines.append(f"    f{k + 1} = f{k} * f{k}")
        k += 1


@functools.cache
def takes_the_root() -> bool:
    """Whether NumPy takes the root for a power of 1/2, which of -inf is NaN: not all of its versions do."""
    with np.errstate(invalid="ignore"):
        return bool(np.isnan(np.power(np.array([-np.inf]), 0.5))[0])


@functools.cache
def half_power(halves: int) -> Callable[..., Any]:
    """A power of so many halves, an odd number of them, by a root and products: of numbers below 0 NaN, but of -inf as
    of inf, which is what NumPy gives."""
    if halves == 1 and takes_the_root():
        return scalar.sqrt.body  # type: ignore[no-any-return]
    whole = whole_power((abs(halves) - 1) // 2) if abs(halves) > 1 else None
    scope = {"absolute": scalar.absolute, "select": select, "sqrt": scalar.sqrt, "whole": whole}
    text = "def half_power(x):\n    a = absolute(x)\n    y = sqrt(a)" + (" * whole(a)" if whole else "")
    y = "y" if halves > 0 else "1.0 / y"
    return from_text(f"{text}\n    return select((x < 0.0) & (a < 1e999), 1e999 - 1e999, {y})\n", scope, "power")


def _power(known: Sequence[Any], attrs: Mapping[str, Any]) -> Choice | None:
    exponent = known[1]
    if known[0] is not None or exponent is None:
        return None
    if is_short(exponent) and exponent:
        return whole_power(int(exponent)), (0,)
    if abs(exponent) < 8 and exponent % 1.0 == 0.5:
        return half_power(int(2 * exponent)), (0,)
    return None


def _gelu(known: Sequence[Any], attrs: Mapping[str, Any]) -> Choice | None:
    return (gelu.tanh_value if attrs["approximate"] == "tanh" else gelu.value), (0,)


def _gelu_pull(known: Sequence[Any], attrs: Mapping[str, Any]) -> Choice | None:
    return (gelu.tanh_pull if attrs["approximate"] == "tanh" else gelu.pull), (0, 1)


def binade(x: Any) -> Any:
    """The power of two that the bits of a number's exponent say; 1 of 0, NaN and infinity."""
    exponent = bits(most(absolute(x), INFINITY))
    near, far = from_bits(bits(x) & exponent), from_bits(bits(x * 2.0**64) & exponent) * 2.0**-64
    power = select(near == 0.0, far, near)
    return select((absolute(x) < INFINITY) & (x != 0.0), power, 1.0)


def _binade(known: Sequence[Any], attrs: Mapping[str, Any]) -> Choice | None:
    return binade, (0,)


@functools.cache
def rounded(decimals: int) -> Callable[..., Any]:
    """The nearest number with so many decimals, as NumPy computes it."""
    if not decimals:
        return rint.body  # type: ignore[no-any-return]
    power = float(10 ** abs(decimals))
    value = f"rint(x * {power!r}) / {power!r}" if decimals > 0 else f"rint(x / {power!r}) * {power!r}"
    return from_text(f"def rounded(x):\n    return {value}\n", {"rint": rint}, "round")


def _round(known: Sequence[Any], attrs: Mapping[str, Any]) -> Choice | None:
    decimals = attrs["decimals"]
    return (rounded(decimals), (0,)) if abs(decimals) <= 22 else None  # whose power of 10 is exact


POWER, GELU, GELU_PULL, BINADE = Form(_power), Form(_gelu), Form(_gelu_pull), Form(_binade)
ROUND = Form(_round)
