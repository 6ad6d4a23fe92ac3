"""How sums, extrema and truths over axes are folded in kernels, vector by vector.

float32 is added in float64 and rounded once. float64 is added with what each addition loses kept beside the sum, so
that its error does not grow with the number of terms. All are functions of the kernels' language, on lanes and on
numbers alike; which elements are folded, and in which order, is written by `tensorgraph.compile.loops`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tensorgraph.native.words import (
    any_lane,
    double,
    first,
    hleast,
    hmost,
    hproduct,
    hsum,
    iota,
    least,
    most,
    select,
    vset,
)

__all__ = ["ALL", "ANY", "ARGMAX", "ARGMIN", "MAX", "MEAN", "MIN", "PRODUCT", "SUM", "Fold", "Reduction"]

LANES = 0  # a constant of kernels


@dataclass(frozen=True)
class Fold:
    """One way to fold numbers of one type.

    Attributes
    ----------
    start : function
        ``start()``: the state that nothing has been added to, as lanes: one value, or a pair.
    take : function
        ``take(*state, v)``: the state with lanes of numbers.
    join : function
        ``join(*state, *other)``: the state with another, whose numbers come after it, lane by lane.
    close : function
        ``close(*state)``: the state of all lanes together, as numbers.
    finish : function
        ``finish(*state, count)``: the result of a state, of lanes or numbers.
    neutral : str
        The number that changes no state.
    kind : str
        The type of the state, as NumPy writes it.
    result : str
        The type of what `finish` gives.
    pair : bool
        Whether the state is a pair.
    placed : bool
        Whether `take` is given a place on the axis besides, as float64: of the first lane where lanes lie along it, or
        of all of them.
    merged : Fold or None
        What folds states of `kind`; None: this one.
    """

    start: Callable[..., Any]
    take: Callable[..., Any]
    join: Callable[..., Any]
    close: Callable[..., Any]
    finish: Callable[..., Any]
    neutral: str
    kind: str
    result: str
    pair: bool = False
    placed: bool = False
    merged: Fold | None = None


class Reduction:
    """What an op's `native` says where its kernel is generated: its folds by the type of its input.

    Parameters
    ----------
    folds : mapping of str to Fold
    truth : bool
        Whether numbers are compared with 0 first.
    """

    def __init__(self, folds: Mapping[str, Fold], truth: bool = False) -> None:
        self.folds, self.truth = folds, truth

    def __call__(self, call: Any) -> bool:
        """No kernel by itself: `tensorgraph.compile.regions` makes it, with what comes before it."""
        return False


# sums ----------------------------------------------------------------------------------------------------------------


def zeros() -> Any:
    return double(vset(0.0))


def wider(acc: Any, v: Any) -> Any:
    return acc + double(v)


def across(acc: Any) -> Any:
    return hsum(acc)


def as_is(acc: Any, count: Any) -> Any:
    return acc


def divided(acc: Any, count: Any) -> Any:
    return acc / double(count)


def added(acc: Any, other: Any) -> Any:
    return acc + other


def two_zeros() -> Any:
    return double(vset(0.0)), double(vset(0.0))


def with_loss(total: Any, lost: Any, v: Any) -> Any:
    """Knuth's sum of two numbers, and what it loses."""
    x = double(v)
    now = total + x
    own = now - total
    return now, lost + ((total - (now - own)) + (x - own))


def both_added(total: Any, lost: Any, other: Any, less: Any) -> Any:
    now, own = with_loss(total, lost, other)
    return now, own + less


def both_across(total: Any, lost: Any) -> Any:
    return hsum(total), hsum(lost)


def whole(total: Any, lost: Any, count: Any) -> Any:
    """What was lost of infinity, or of NaN, is NaN: it is the sum that tells."""
    return select(lost == lost, total + lost, total)


def whole_mean(total: Any, lost: Any, count: Any) -> Any:
    return select(lost == lost, total + lost, total) / double(count)


def no_counts() -> Any:
    return iota() * 0


def counted(acc: Any, v: Any) -> Any:
    return acc + np.int64(v)


def share(acc: Any, count: Any) -> Any:
    return double(acc) / double(count)


_F8 = Fold(two_zeros, with_loss, both_added, both_across, whole, "0.0", "f8", "f8", pair=True)
_F8_MEAN = Fold(two_zeros, with_loss, both_added, both_across, whole_mean, "0.0", "f8", "f8", pair=True)
_F4 = Fold(zeros, wider, added, across, as_is, "0.0", "f8", "f8")
_F4_MEAN = Fold(zeros, wider, added, across, divided, "0.0", "f8", "f8")
_I8 = Fold(no_counts, counted, added, across, as_is, "0", "i8", "i8")
_B1 = Fold(no_counts, counted, added, across, as_is, "False", "i8", "i8", merged=_I8)

SUM = Reduction({"f4": _F4, "f8": _F8, "i8": _I8, "b1": _B1})
_I8_MEAN = Fold(no_counts, counted, added, across, share, "0", "i8", "f8")
_B1_MEAN = Fold(no_counts, counted, added, across, share, "False", "i8", "f8", merged=_I8_MEAN)

MEAN = Reduction({"f4": _F4_MEAN, "f8": _F8_MEAN, "i8": _I8_MEAN, "b1": _B1_MEAN})

# products: float32 in float64; of float64 they are made in longer floats still, which kernels have not


def ones() -> Any:
    return double(vset(1.0))


def times(acc: Any, v: Any) -> Any:
    return acc * double(v)


def multiplied(acc: Any, other: Any) -> Any:
    return acc * other


def times_across(acc: Any) -> Any:
    return hproduct(acc)


def whole_ones() -> Any:
    return iota() * 0 + 1


def whole_times(acc: Any, v: Any) -> Any:
    return acc * np.int64(v)


_I8_PRODUCT = Fold(whole_ones, whole_times, multiplied, times_across, as_is, "1", "i8", "i8")
PRODUCT = Reduction(
    {
        "f4": Fold(ones, times, multiplied, times_across, as_is, "1.0", "f8", "f8"),
        "i8": _I8_PRODUCT,
        "b1": Fold(whole_ones, whole_times, multiplied, times_across, as_is, "True", "i8", "i8", merged=_I8_PRODUCT),
    }
)

# extrema -------------------------------------------------------------------------------------------------------------


def lowest() -> Any:
    return vset(-1e999)


def highest() -> Any:
    return vset(1e999)


def larger(acc: Any, v: Any) -> Any:
    return most(acc, v)


def smaller(acc: Any, v: Any) -> Any:
    return least(acc, v)


def largest(acc: Any) -> Any:
    return hmost(acc)


def smallest(acc: Any) -> Any:
    return hleast(acc)


MAX = Reduction(
    {
        "f4": Fold(lowest, larger, larger, largest, as_is, "-1e999", "f4", "f4"),
        "f8": Fold(lowest, larger, larger, largest, as_is, "-1e999", "f8", "f8"),
    }
)
MIN = Reduction(
    {
        "f4": Fold(highest, smaller, smaller, smallest, as_is, "1e999", "f4", "f4"),
        "f8": Fold(highest, smaller, smaller, smallest, as_is, "1e999", "f8", "f8"),
    }
)

# places: the first of those that are equal, of NaN too


def lowest_nowhere() -> Any:
    return vset(-1e999), double(vset(0.0))


def highest_nowhere() -> Any:
    return vset(1e999), double(vset(0.0))


def place_of_larger(best: Any, at: Any, v: Any, place: Any) -> Any:
    beyond = ~(v <= best) & (best == best)  # a NaN is not below anything
    return select(beyond, v, best), select(beyond, place, at)


def place_of_smaller(best: Any, at: Any, v: Any, place: Any) -> Any:
    beyond = ~(v >= best) & (best == best)
    return select(beyond, v, best), select(beyond, place, at)


def joined_larger(best: Any, at: Any, other: Any, place: Any) -> Any:
    """Of equals the one that comes first, wherever they were found."""
    beyond = (other > best) | ((other != other) & (best == best))
    same = (other == best) | ((other != other) & (best != best))
    return select(beyond, other, best), select(beyond | (same & (place < at)), place, at)


def joined_smaller(best: Any, at: Any, other: Any, place: Any) -> Any:
    beyond = (other < best) | ((other != other) & (best == best))
    same = (other == best) | ((other != other) & (best != best))
    return select(beyond, other, best), select(beyond | (same & (place < at)), place, at)


def place_of(end: Any, best: Any, at: Any) -> Any:
    """The first place where lanes, which lie side by side, have the extremum."""
    return hleast(select((best == end) | ((best != best) & (end != end)), at + double(iota()), 1e999))


def place_of_largest(best: Any, at: Any) -> Any:
    end = hmost(best)
    return end, place_of(end, best, at)


def place_of_smallest(best: Any, at: Any) -> Any:
    end = hleast(best)
    return end, place_of(end, best, at)


def place_alone(best: Any, at: Any, count: Any) -> Any:
    return np.int64(at)


_FIRST_MAX = Fold(
    lowest_nowhere,
    place_of_larger,
    joined_larger,
    place_of_largest,
    place_alone,
    "-1e999",
    "f8",
    "i8",
    pair=True,
    placed=True,
)
_FIRST_MIN = Fold(
    highest_nowhere,
    place_of_smaller,
    joined_smaller,
    place_of_smallest,
    place_alone,
    "1e999",
    "f8",
    "i8",
    pair=True,
    placed=True,
)
ARGMAX = Reduction({"f4": _FIRST_MAX, "f8": _FIRST_MAX})
ARGMIN = Reduction({"f4": _FIRST_MIN, "f8": _FIRST_MIN})

# truths --------------------------------------------------------------------------------------------------------------


def none_yet() -> Any:
    return first(0)


def either(acc: Any, v: Any) -> Any:
    return acc | v


def any_of(acc: Any) -> Any:
    return any_lane(acc)


def all_yet() -> Any:
    return first(LANES)


def both(acc: Any, v: Any) -> Any:
    return acc & v


def all_of(acc: Any) -> Any:
    return not any_lane(~acc)


ANY = Reduction({"b1": Fold(none_yet, either, either, any_of, as_is, "False", "b1", "b1")}, truth=True)
ALL = Reduction({"b1": Fold(all_yet, both, both, all_of, as_is, "True", "b1", "b1")}, truth=True)
