"""Rules of ops that give what they get, once they have looked at it."""

from __future__ import annotations

from typing import Any

from tensorgraph.native.kernel import kernel
from tensorgraph.native.places import Call, Place
from tensorgraph.native.words import any_lane, first, ldm, select, store_int, word_at
from tensorgraph.ops.native.edges import SINGLE_OR_DOUBLE
from tensorgraph.ops.native.joining import place_in

__all__ = ["native_in_range"]

LANES = SIZE = 0  # constants of every kernel
KINDS = {"probability": 0, "sign": 1, "not negative": 2}
KIND = 0  # of `look`


def look(w: Any, block: Any, blocks: Any) -> None:
    """Whether all numbers, side by side, are of a kind. The words: numbers, how many."""
    p, n, wrong = word_at(w, 0), word_at(w, 1), 0
    for j in range(0, n, LANES):
        x = ldm(p + j * SIZE, n - j, 0.0)
        if KIND == 0:
            right = (x >= 0.0) & (x <= 1.0)
        elif KIND == 1:
            right = (x == 1.0) | (x == -1.0)
        else:
            right = x >= 0.0
        wrong = select(any_lane(~right & first(n - j)), 1, wrong)
    store_int(word_at(w, 2), wrong)


def native_in_range(call: Call) -> bool:
    """Numbers that are probabilities, signs, or not negative."""
    (x,), (out,) = call.inputs, call.outputs
    if not isinstance(x, Place) or x.dtype not in SINGLE_OR_DOUBLE or not x.is_contiguous:
        return False
    if x.size:
        kind = call.attrs["kind"]
        call.check(kernel(look, x.dtype, KIND=KINDS[kind]), [x.address(), x.size], f"a number is no {kind}")
    if out is not None:
        place_in(call, x, out)
        call.may_replace(0, 0)
    return True
