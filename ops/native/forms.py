"""Formulas of elementwise ops for generated kernels, where what is known of a call makes a better one than `scalar`.

A declaration names one by `native`: ``native="forms:POWER"``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tensorgraph.native.kernel import from_text
from tensorgraph.ops.kernels import gelu
from tensorgraph.ops.kernels.powers import is_short

__all__ = ["GELU", "GELU_PULL", "POWER", "Form"]

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


def _power(known: Sequence[Any], attrs: Mapping[str, Any]) -> Choice | None:
    exponent = known[1]
    if known[0] is None and exponent is not None and is_short(exponent) and exponent:
        return whole_power(int(exponent)), (0,)
    return None


def _gelu(known: Sequence[Any], attrs: Mapping[str, Any]) -> Choice | None:
    return (gelu.tanh_value if attrs["approximate"] == "tanh" else gelu.value), (0,)


def _gelu_pull(known: Sequence[Any], attrs: Mapping[str, Any]) -> Choice | None:
    return (gelu.tanh_pull if attrs["approximate"] == "tanh" else gelu.pull), (0, 1)


POWER, GELU, GELU_PULL = Form(_power), Form(_gelu), Form(_gelu_pull)
