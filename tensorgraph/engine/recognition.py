"""`Recognition`: what a fused op's declaration says so that it is found in other people's graphs, however written.

Recognition compares numbers: a region of a graph whose values and gradients are those of the op's reference on random
inputs is the op. What it cannot learn from numbers, and what makes the search short, stands here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tensorgraph.engine.traits import with_implied

__all__ = ["MOST_INPUTS", "Recognition", "every_axis", "rates", "small_numbers"]

MOST_INPUTS = 4  # the ways to seat a region's inputs grow as the factorial of it
SMALL = 0.5

Traits = str | tuple[str, ...]  # of one op: a trait, or several that it has together
Values = tuple[Any, ...] | Callable[[Sequence[float], tuple[int, ...]], Iterable[Any]]


@dataclass(frozen=True, slots=True)
class Recognition:
    """How a fused op is recognised; the field `recognise` of its declaration.

    Parameters
    ----------
    needs : tuple of traits
        What every spelling has: for each item at least one op with that trait (with all of them, where the item is a
        tuple). The search begins before ops of the first item, so name the rarest first. Empty: before every op that is
        not linear.
    without : tuple of traits
        What no spelling has: regions end before an op of one of these.
    main : str, optional
        The input that a spelling is followed from, through which the gradient mostly flows; None tries each.
    invariant : bool
        Whether a constant added to all of `main` changes nothing of the first output: most regions are refused by it
        at once.
    neutral : mapping of input to float
        Inputs that a spelling may leave out, with the number that then stands for each: a scale 1, a shift 0.
    values : mapping of attribute to values
        What is tried for an attribute, besides its default: a tuple, or a function of the numbers that the region
        contains and of the shape of `main`. An empty tuple says that numbers cannot show it, as a label that does not
        count. Not named: both ways for a bool, for a number all numbers of the region, and for anything else what the
        region's equations have under the same name.
    degenerate : callable, optional
        ``(attrs, inputs) -> attrs``: the attributes that speak of cases which no draw shows (a mean over nothing), as
        plain arithmetic has them. `inputs` are the names of those that the spelling has.

    Notes
    -----
    Only an analytic function can be told by numbers. An op is tried if it has the trait ``"analytic"``, or if its
    reference consists of ops that have it; it needs gradients, and four inputs at most. Any other fused op, and one
    without a `Recognition`, is found where it is its reference equation by equation.

    Examples
    --------
    >>> import numpy as np, tensorgraph as tg
    >>> swoosh = tg.fused_op(
    ...     "swoosh(x) -> y",
    ...     reference=lambda x: x * tg.sigmoid(x),
    ...     forward=lambda x: np.asarray(x / (1 + np.exp(-x)), x.dtype),
    ...     backward=lambda want, g, x, y: (g * (y + (1 - y) / (1 + np.exp(-x))),),
    ...     recognise=tg.Recognition(needs=("exponential",)),
    ... )
    >>> [eq.op.name for eq in tg.trace(lambda x: x / (1 + tg.exp(-x)), tg.f32[3]).recognise().equations]
    ['swoosh']
    >>> tg.remove_op("swoosh")
    """

    needs: tuple[Traits, ...] = ()
    without: tuple[Traits, ...] = ()
    main: str | None = None
    invariant: bool = False
    neutral: Mapping[str, float] = field(default_factory=dict)
    values: Mapping[str, Values] = field(default_factory=dict)
    degenerate: Callable[[dict[str, Any], frozenset[str]], dict[str, Any]] | None = None

    def check(self, name: str, inputs: tuple[str, ...], lists: frozenset[str], attrs: Mapping[str, Any]) -> None:
        """Refuse what does not go with an op's signature.

        Raises
        ------
        ValueError
            Naming the field, what came and what there is.
        """
        where = f"{name}: recognise"
        if len(inputs) > MOST_INPUTS or lists:
            came = "a list" if lists else f"{len(inputs)} inputs"
            raise ValueError(
                f"{where} goes with up to {MOST_INPUTS} inputs, none of them a list, not {came}: leave it out, "
                "and the reference alone is found"
            )
        for what, given, known in (
            ("main", () if self.main is None else (self.main,), inputs),
            ("neutral", self.neutral, inputs),
            ("values", self.values, attrs),
        ):
            for key in given:
                if key not in known:
                    kind = "attribute" if what == "values" else "input"
                    raise ValueError(f"{where}: {what} names {key!r}; the {kind}s are {', '.join(known) or 'none'}")
        for what, items in (("needs", self.needs), ("without", self.without)):
            if isinstance(items, str):
                raise ValueError(f"{where}: {what} is a tuple of traits, ({items!r},), not the string {items!r}")
            for item in items:
                with_implied((item,) if isinstance(item, str) else item, f"{where}: {what}")


def every_axis(numbers: Sequence[float], shape: tuple[int, ...]) -> Iterable[int]:
    """For an attribute that is an axis of the main input."""
    return range(len(shape))


def small_numbers(numbers: Sequence[float], shape: tuple[int, ...]) -> Iterable[float]:
    """For a small number that is added, such as an eps: the region's numbers in [0, 0.5)."""
    return [v for v in numbers if 0.0 <= v < SMALL]


def rates(numbers: Sequence[float], shape: tuple[int, ...]) -> Iterable[float]:
    """For a small share, such as a label smoothing: numbers in [0, 0.5), what is left of 1, and a size's part of it."""
    left = [float(f"{w:.12g}") for v in numbers for w in (1.0 - v, *(v * n for n in dict.fromkeys(shape)))]
    return small_numbers([*numbers, *left], shape)
