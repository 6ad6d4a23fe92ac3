"""The vocabulary of traits: what an op's declaration may say of it, so that nobody else keeps a list of ops.

A trait is true of every call of the op. What a pass, an analysis, a picture or an exporter wants to know of ops in
general is a word of this table; a family gives to all its ops what its name says (`Kind.traits`). What is not said is
not known: no reader may conclude anything from the absence of a trait but that it has to be careful.
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["IMPLIED", "TRAITS", "with_implied"]

TRAITS: dict[str, str] = {
    # what becomes of elements
    "identity": "gives the values of its first input, in their shape",
    "moves": "computes and compares nothing: each element is one of an input, chosen by its place or an index, or a "
    "constant",
    "view": "the result may lie in its first input's memory",
    "reshapes": "the same elements in the same order, in another shape",
    "unit axes": "puts in or takes out axes of size 1 and nothing else",
    "gathers": "reads as many elements as it gives, not all of its first input",
    "keeps order": "the result is laid out in C order where the inputs are",
    # what is computed
    "checks": "looks at its input's values, of which it refuses some or warns",
    "refuses": "may raise because of the numbers of its inputs, so that it is run even if nobody reads what it gives",
    "refuses integers": "may raise so because of inputs that are integers, and of no others",
    "idempotent": "applied again with the same attributes, it leaves what it gave and the gradient as they are",
    "exact": "correctly rounded on every machine: the same bits whoever computes it, in whatever shape",
    "linear": "f(s x) is s f(x), of all its float inputs together",
    "analytic": "an analytic function of its float inputs, and of complex numbers where the forward takes them",
    "commutative": "its two inputs may change places: the same values, and the same bits where it is exact",
    "comparison": "compares two inputs, giving booleans",
    "extremum": "the larger or the smaller of its inputs, of its elements or of these and a bound",
    "reduces": "each result is made of all elements along some axes",
    "bounded above": "no number that comes makes its first result exceed a fixed one",
    "bounded below": "the like for falling under one",
    "increasing": "no result falls where a float input grows, and none is infinite but by overflow or for an infinite "
    "input",
    "gates": "may hold elements of an input back, by their size or by another input",
    "flat": "floats whose derivative is zero wherever there is one, so that none is recorded",
    "exponential": "made of exponentials, waves or their inverses",
    "wave": "a wave or a smooth step, or what has one for its slope: sine, logistic function, softplus",
    "root": "made of roots, of powers that are no polynomials, or of the logarithms that stand for them",
    "positions": "gives the places of elements along an axis, counted from 0",
    "bits": "of booleans and integers, whose bits it reads, not of floats",
    # what it is for
    "labels": "makes something of class labels or their weights without arithmetic",
    "update": "an optimiser's update of one parameter",
    "normalises": "subtracts a mean and divides by a deviation over some axes",
    "higher order": "runs a graph or a function that an attribute holds, or the tape: not called with arrays alone",
    "internal": "recorded by the library's layers, functions and derivatives rather than called by name",
}
"""Every trait with its meaning."""

IMPLIED: dict[str, tuple[str, ...]] = {
    "checks": ("refuses",),
    "identity": ("moves", "keeps order", "idempotent"),
    "moves": ("increasing",),
    "extremum": ("increasing",),
    "unit axes": ("reshapes",),
    "reshapes": ("moves", "keeps order", "linear"),
    "gathers": ("moves",),
    "linear": ("analytic",),
    "wave": ("exponential", "analytic"),
    "comparison": ("exact", "bounded above", "bounded below"),
}
"""What follows from a trait and need not be said."""


_closed: dict[tuple[str, ...], frozenset[str]] = {}  # what was asked for; ops of a kind say the same


def with_implied(traits: Iterable[str], where: str) -> frozenset[str]:
    """The traits and all that follow from them.

    Raises
    ------
    ValueError
        Naming one that is not in the table.

    Examples
    --------
    >>> sorted(with_implied(["comparison"], "less"))
    ['bounded above', 'bounded below', 'comparison', 'exact']
    """
    if isinstance(traits, str):
        raise ValueError(f"{where}: traits are given as a tuple, ({traits!r},), not as the string {traits!r}")
    given = tuple(traits)
    if given in _closed:
        return _closed[given]
    known: set[str] = set()
    new = list(given)
    while new:
        trait = new.pop()
        if trait not in TRAITS:
            raise ValueError(
                f"{where}: there is no trait {trait!r}; tensorgraph.engine.traits.TRAITS has {', '.join(TRAITS)}"
            )
        if trait not in known:
            known.add(trait)
            new.extend(IMPLIED.get(trait, ()))
    _closed[given] = frozenset(known)
    return _closed[given]
