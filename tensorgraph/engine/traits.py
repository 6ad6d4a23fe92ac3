"""The vocabulary of traits: what an op's declaration may say of it, so that nobody else keeps a list of ops.

A trait says something of every call of the op. What a pass, an analysis, a picture or an exporter wants to know of ops
in general is a word of this table; a family gives some to all its ops (`Kind.traits`).
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["TRAITS", "require_known"]

TRAITS: dict[str, str] = {
    # what becomes of numbers
    "identity": "gives the values of its first input, in their shape",
    "moves": "only moves, repeats or selects elements of its inputs, or makes new ones without arithmetic",
    "view": "the result may lie in its first input's memory",
    "reshapes": "the same elements in the same order, in another shape",
    "unit axes": "puts in or takes out axes of size 1 and nothing else",
    "gathers": "reads as many elements as it gives, not all of its first input",
    "keeps order": "the result is laid out in C order where the inputs are",
    # what is computed
    "exact": "correctly rounded on every machine: the same bits whoever computes it",
    "linear": "linear in each input",
    "commutative": "its two inputs may change places, to the last bit",
    "comparison": "compares two inputs, giving booleans",
    "extremum": "chooses among its inputs or elements by size",
    "analytic": "an analytic function of its float inputs, of complex numbers too",
    "bounded": "the result lies between two fixed numbers, whatever comes",
    "flat": "the derivative is zero wherever there is one, so none is recorded",
    "exponential": "grows or falls as an exponential somewhere, or is the inverse of such a function",
    "root": "a root, a power or a division by one",
    # what it is for
    "labels": "makes something of class labels without arithmetic",
    "update": "an optimiser's update of one parameter",
    "normalises": "subtracts a mean and divides by a deviation over some axes",
    "internal": "written by the library's own layers and derivatives, not called by users by name",
}


def require_known(traits: Iterable[str], where: str) -> frozenset[str]:
    """The traits as a set.

    Raises
    ------
    ValueError
        Naming one that is not in the table.
    """
    given = frozenset(traits)
    for trait in sorted(given - TRAITS.keys()):
        raise ValueError(
            f"{where}: there is no trait {trait!r}; tensorgraph.engine.traits.TRAITS has {', '.join(TRAITS)}"
        )
    return given
