"""The subscripts of `einsum`: NumPy's syntax, read into one letter an axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from tensorgraph.engine.aval import broadcast_shapes

__all__ = ["Shapes", "joined_sizes", "listed", "said", "sizes_of", "spelled"]

LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
PLACES = LETTERS[26:] + LETTERS[:26]  # what integers stand for: 0 for A, 26 for a

Shapes = tuple[tuple[int, ...], ...]


def listed(given: Sequence[Any]) -> tuple[str, list[Any]]:
    """The subscripts and operands of ``einsum(a, [0, 1], b, [1, 2], [0, 2])``."""
    operands, lists = list(given[:-1:2]), list(given[1::2])
    output = given[-1] if len(given) % 2 else None
    text = ",".join([_letters(one, f"operand {i}") for i, one in enumerate(lists)])
    return (text if output is None else f"{text}->{_letters(output, 'the output')}"), operands


def _letters(places: Any, where: str) -> str:
    if not isinstance(places, (list, tuple)):
        raise TypeError(
            f"the axes of {where} are a list of integers, got {type(places).__name__}; write "
            'einsum("ij,jk->ik", a, b) or einsum(a, [0, 1], b, [1, 2], [0, 2])'
        )
    letters = []
    for place in places:
        if place is Ellipsis:
            letters.append("...")
            continue
        try:
            number = place.__index__()
        except (AttributeError, TypeError):
            raise TypeError(f"an axis of {where} is an integer or Ellipsis, got {place!r}") from None
        if not 0 <= number < len(PLACES):
            raise ValueError(f"an axis of {where} is {number}, which is not between 0 and {len(PLACES) - 1}")
        letters.append(PLACES[number])
    return "".join(letters)


def said(subscripts: str, shapes: Shapes) -> str:
    """Subscripts with what was given for them, for messages."""
    return f"einsum({subscripts!r}) of shapes {', '.join(map(str, shapes)) or 'none'}"


@lru_cache(maxsize=1024)
def spelled(subscripts: str, shapes: Shapes) -> tuple[tuple[str, ...], str]:
    """One letter for every axis of every operand, and for those of the output.

    The axes of an ellipsis, which stand side by side from the last one, get letters that are not used otherwise.

    Raises
    ------
    ValueError
        Quoting the subscripts, the shapes and the axis that does not fit.

    Examples
    --------
    >>> spelled("ij, jk", ((2, 3), (3, 4)))
    (('ij', 'jk'), 'ik')
    >>> spelled("...i->...", ((2, 3),))
    (('Zi',), 'Z')
    """
    what = said(subscripts, shapes)
    text = "".join(subscripts.split())
    left, arrow, right = text.partition("->")
    terms = left.split(",")
    if len(terms) != len(shapes):
        raise ValueError(f"{what}: the subscripts are for {len(terms)} operands, {len(shapes)} came")
    for place, term in [*((f"operand {i}", t) for i, t in enumerate(terms)), ("the output", right)]:
        _require_letters(term, place, what)
    free = [c for c in reversed(LETTERS) if c not in text]
    widths = [_width(term, shape, i, what) for i, (term, shape) in enumerate(zip(terms, shapes, strict=True))]
    widest = max(widths, default=0)
    if widest > len(free):
        raise ValueError(f"{what}: there are no letters left for the {widest} axes of '...'")
    dots = "".join(free[:widest])[::-1]
    operands = tuple(t.replace("...", dots[widest - n :]) for t, n in zip(terms, widths, strict=True))
    if not arrow:
        plain = left.replace("...", "").replace(",", "")
        right = "..." + "".join(sorted(c for c in set(plain) if plain.count(c) == 1))
    elif widest and "..." not in right:
        raise ValueError(
            f"{what}: the output says nothing of the axes that '...' stands for; write '->...{right}', or give them "
            "letters and leave these out to sum over them"
        )
    output = right.replace("...", dots)
    for letter in output:
        if not any(letter in term for term in operands):
            raise ValueError(f"{what}: the output has {letter!r}, which no operand has")
        if output.count(letter) > 1:
            raise ValueError(f"{what}: the output has {letter!r} twice")
    sizes_of(operands, shapes, what)
    return operands, output


def _require_letters(term: str, place: str, what: str) -> None:
    rest = term.replace("...", "", 1)
    for c in rest:
        if c == ".":
            raise ValueError(f"{what}: {place}, {term!r}, has a '.' that is no part of one ellipsis '...'")
        if c not in LETTERS:
            raise ValueError(f"{what}: {place}, {term!r}, has {c!r}; an axis is a letter, a to z or A to Z")


def _width(term: str, shape: tuple[int, ...], i: int, what: str) -> int:
    """How many axes the ellipsis of a term stands for."""
    named = len(term.replace("...", ""))
    if named > len(shape) or ("..." not in term and named < len(shape)):
        hint = "; '...' stands for axes without letters" if named < len(shape) else ""
        raise ValueError(
            f"{what}: operand {i}, {term!r}, has letters for {named} axes, and its shape {shape} has {len(shape)}{hint}"
        )
    return len(shape) - named if "..." in term else 0


def sizes_of(operands: Sequence[str], shapes: Shapes, what: str) -> dict[str, int]:
    """The size of every letter; 1 goes with any other between operands, not inside one.

    Raises
    ------
    ValueError
        Where two do not go together.
    """
    sizes: dict[str, int] = {}
    where: dict[str, str] = {}
    for i, (term, shape) in enumerate(zip(operands, shapes, strict=True)):
        own: dict[str, int] = {}
        for letter, n in zip(term, shape, strict=True):
            if own.setdefault(letter, n) != n:
                raise ValueError(
                    f"{what}: {letter!r} names two axes of operand {i}, of sizes {own[letter]} and {n}; a diagonal "
                    "needs equal ones"
                )
        for letter, n in own.items():
            if sizes.get(letter, 1) == 1:
                sizes[letter] = n
                where[letter] = f"operand {i}"
            elif n not in (1, sizes[letter]):
                raise ValueError(
                    f"{what}: {letter!r} has size {sizes[letter]} in {where[letter]} and {n} in operand {i}; axes of "
                    "one letter have one size, or 1"
                )
    return sizes


def joined_sizes(sizes: Sequence[Mapping[str, int]]) -> dict[str, int]:
    """The sizes of letters in several operands together."""
    every = {letter for one in sizes for letter in one}
    return {c: broadcast_shapes(*[(one[c],) for one in sizes if c in one])[0] for c in every}
