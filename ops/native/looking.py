"""Rules of ops that give what they get, once they have looked at it."""

from __future__ import annotations

from typing import Any

from tensorgraph.native.kernel import kernel
from tensorgraph.native.places import Call, Place
from tensorgraph.native.words import any_lane, first, ldm, select, store_int, word_at
from tensorgraph.ops.cross_entropy import warn_empty
from tensorgraph.ops.native.edges import SINGLE_OR_DOUBLE
from tensorgraph.ops.native.joining import place_in
from tensorgraph.ops.native.labels import require_within

__all__ = ["native_class_targets", "native_class_weights", "native_in_range", "native_mean_divisor"]

LANES = SIZE = 0  # constants of every kernel
KINDS = {"probability": 0, "sign": 1, "not negative": 2, "number": 3, "finite number": 4}
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
        elif KIND == 2:
            right = x >= 0.0
        elif KIND == 3:
            right = x == x
        else:
            right = x - x == 0.0
        wrong = select(any_lane(~right & first(n - j)), 1, wrong)
    store_int(word_at(w, 2), wrong)


def look_for_zero(w: Any, block: Any, blocks: Any) -> None:
    """Whether any number is 0. The words: numbers, how many, where that is told."""
    p, n, found = word_at(w, 0), word_at(w, 1), 0
    for j in range(0, n, LANES):
        found = select(any_lane(ldm(p + j * SIZE, n - j, 1.0) == 0.0), 1, found)
    store_int(word_at(w, 2), found)


def _looked_at(call: Call, kind: str) -> bool:
    """Floats of a kind; see `KINDS`."""
    (x,), (out,) = call.inputs, call.outputs
    if not isinstance(x, Place) or x.dtype not in SINGLE_OR_DOUBLE or not x.is_contiguous:
        return False
    if x.size:
        call.check(kernel(look, x.dtype, KIND=KINDS[kind]), [x.address(), x.size], f"a number is no {kind}")
    _given(call, x, out)
    return True


def _given(call: Call, x: Place, out: Place | None) -> None:
    """What was looked at is what is given."""
    if out is not None:
        place_in(call, x, out)
        call.may_replace(0, 0)


def native_in_range(call: Call) -> bool:
    """Numbers that are probabilities, signs, or not negative."""
    return _looked_at(call, call.attrs["kind"])


def native_class_targets(call: Call) -> bool:
    """Labels of classes, or probabilities."""
    (x,), (out,) = call.inputs, call.outputs
    if isinstance(x, Place) and x.dtype.kind == "f":
        return _looked_at(call, "number")
    if not isinstance(x, Place) or x.dtype.itemsize not in (4, 8):
        return False
    passed = call.attrs["ignore_index"]
    if x.size and not require_within(call, x, 0, call.attrs["classes"], "a label is no class", passed):
        return False
    _given(call, x, out)
    return True


def native_class_weights(call: Call) -> bool:
    """Weights that are finite."""
    return _looked_at(call, "finite number")


def native_mean_divisor(call: Call) -> bool:
    """What a mean is divided by, of which a 0 is warned of."""
    (x,), (out,) = call.inputs, call.outputs
    if not isinstance(x, Place) or x.dtype not in SINGLE_OR_DOUBLE or not x.is_contiguous or not x.size:
        return False
    empty, of = call.attrs["empty"], call.attrs["of"]
    call.run(kernel(look_for_zero, x.dtype), [x.address(), x.size, call.warn(lambda: warn_empty(empty, of))])
    _given(call, x, out)
    return True
