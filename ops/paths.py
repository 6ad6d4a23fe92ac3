"""In which order `einsum` multiplies several operands: by twos, the order found by counting."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from tensorgraph.engine.modes import current
from tensorgraph.engine.open_sizes import has_open

__all__ = ["Path", "chain_of", "path_of", "planned", "require_path"]

Path = tuple[tuple[int, int], ...]

EXHAUSTIVE = 8  # operands, up to which every order is tried


def planned(plan: Any, *args: Any) -> Any:
    """What a function says that remembers what it said; where sizes are open it is asked anew."""
    if current().trace is None or not has_open(args):
        return plan(*args)
    return plan.__wrapped__(*args)


def _kept(left: frozenset[str], rest: Sequence[frozenset[str]], output: frozenset[str]) -> frozenset[str]:
    """The letters of a product that something still needs."""
    return left & frozenset().union(output, *rest)


@lru_cache(maxsize=1024)
def path_of(operands: tuple[str, ...], output: str, sizes: tuple[tuple[str, int], ...], how: str) -> Path:
    """The pairs to be multiplied one after the other.

    Each is the places of two operands in the list of those that are left; their product is appended to it.

    Parameters
    ----------
    operands, output : str
        One letter an axis.
    sizes : tuple of (letter, size)
    how : {"auto", "optimal", "greedy", "given"}
        Every order is tried, or the best pair is taken each time, or the operands are taken as they came. "auto" tries
        every order of up to eight.

    Examples
    --------
    >>> path_of(("ij", "jk", "k"), "i", (("i", 100), ("j", 100), ("k", 100)), "auto")
    ((1, 2), (0, 1))
    """
    terms = [frozenset(t) for t in operands]
    if how == "given":
        return tuple([(0, 1) if left == len(terms) else (0, left - 1) for left in range(len(terms), 1, -1)])
    search = _greedy if how == "greedy" or (how == "auto" and len(terms) > EXHAUSTIVE) else _optimal
    return search(terms, frozenset(output), dict(sizes))


def _greedy(terms: list[frozenset[str]], output: frozenset[str], sizes: Mapping[str, int]) -> Path:
    """The pair each time whose product takes the least room more than its factors; of equal ones the cheapest."""

    def room(letters: frozenset[str]) -> int:
        return math.prod([sizes[c] for c in letters])

    left, path = list(terms), []
    while len(left) > 1:
        best: Any = None
        for j in range(1, len(left)):
            for i in range(j):
                both = left[i] | left[j]
                made = _kept(both, [t for k, t in enumerate(left) if k not in (i, j)], output)
                rank = (room(made) - room(left[i]) - room(left[j]), room(both), i, j)
                if best is None or rank < best[0]:
                    best = (rank, i, j, made)
        _, i, j, made = best
        path.append((i, j))
        left = [t for k, t in enumerate(left) if k not in (i, j)] + [made]
    return tuple(path)


def _optimal(terms: list[frozenset[str]], output: frozenset[str], sizes: Mapping[str, int]) -> Path:
    """The cheapest of all orders: of every set of operands the cheapest way to its product, from small sets to large.

    A set is the bits of a number. Its ways are a split into two sets, whose products are known by then.
    """
    n = len(terms)
    everything = (1 << n) - 1
    letters: dict[int, frozenset[str]] = {}
    for chosen in range(1, everything + 1):
        inside = frozenset().union(*[t for k, t in enumerate(terms) if chosen >> k & 1])
        letters[chosen] = _kept(inside, [t for k, t in enumerate(terms) if not chosen >> k & 1], output)
    for k, term in enumerate(terms):  # an operand comes as it is
        letters[1 << k] = term
    costs: dict[int, tuple[int, int]] = {1 << k: (0, 0) for k in range(n)}
    for chosen in range(1, everything + 1):
        if chosen in costs:
            continue
        part = (chosen - 1) & chosen
        best: tuple[int, int] | None = None
        while part:
            other = chosen ^ part
            if part > other:
                both = letters[part] | letters[other]
                cost = costs[part][0] + costs[other][0] + math.prod([sizes[c] for c in both])
                if best is None or cost < best[0]:
                    best = (cost, part)
            part = (part - 1) & chosen
        assert best is not None
        costs[chosen] = best
    order: list[tuple[int, int]] = []

    def visit(chosen: int) -> None:
        part = costs[chosen][1]
        if part:
            visit(part)
            visit(chosen ^ part)
            order.append((part, chosen ^ part))

    visit(everything)
    left, path = [1 << k for k in range(n)], []
    for a, b in order:
        i, j = sorted((left.index(a), left.index(b)))
        path.append((i, j))
        left = [s for s in left if s not in (a, b)] + [a | b]
    return tuple(path)


def require_path(optimize: Sequence[Any], n: int) -> tuple[tuple[int, ...], ...]:
    """A path as `numpy.einsum_path` gives it, whose steps may have any number of operands.

    Raises
    ------
    ValueError, TypeError
        Where it does not leave one operand.
    """
    steps = list(optimize[1:] if len(optimize) and isinstance(optimize[0], str) else optimize)
    left, path = n, []
    for step in steps:
        try:
            places = tuple([place.__index__() for place in step])
        except (TypeError, AttributeError):
            raise TypeError(f"optimize: a step of a path is the places of operands, as (0, 1), got {step!r}") from None
        if not places or len(set(places)) < len(places) or not all(0 <= p < left for p in places):
            raise ValueError(
                f"optimize: step {step!r} does not name different ones of the {left} operands that are left"
            )
        path.append(places)
        left -= len(places) - 1
    if left != 1:
        raise ValueError(f"optimize: the path {steps} of {n} operands leaves {left}, expected 1")
    return tuple(path)


@lru_cache(maxsize=1024)
def chain_of(sizes: tuple[int, ...]) -> dict[tuple[int, int], int]:
    """Where to cut the product of a chain of matrices, the i-th of shape (sizes[i], sizes[i + 1]), to make it cheapest.

    Returns
    -------
    dict
        For the matrices i to j, the last one of the left product.

    References
    ----------
    S. S. Godbole, On efficient computation of matrix chain products, IEEE Trans. Comput. C-22 (1973).
    """
    n = len(sizes) - 1
    costs = {(i, i): 0 for i in range(n)}
    cuts: dict[tuple[int, int], int] = {}
    for length in range(1, n):
        for i in range(n - length):
            j = i + length
            ways = [(costs[i, k] + costs[k + 1, j] + sizes[i] * sizes[k + 1] * sizes[j + 1], k) for k in range(i, j)]
            costs[i, j], cuts[i, j] = min(ways)
    return cuts
