"""Numbers that depend on sizes as polynomials of them: ``842635*N + 2143511``, found by exact interpolation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from itertools import product
from math import prod
from typing import Any

__all__ = ["FAR", "Polynomial", "interpolated"]

MOST_DEGREE = 4
FAR = 20_000  # a peak of memory is another one far out

Powers = tuple[int, ...]


class Polynomial:
    """A polynomial of sizes with exact coefficients: printed, compared, and called with sizes.

    Attributes
    ----------
    dims : tuple of str
    terms : dict of powers to Fraction
        The coefficient of each product of powers of the dimensions, none of them 0.

    Examples
    --------
    >>> from tensorgraph.text.polynomials import Polynomial
    >>> p = Polynomial(("N",), {(2,): 3, (0,): 5})
    >>> p, p(N=10), p == Polynomial(("N",), {(0,): 5, (2,): 3})
    (3*N**2 + 5, 305, True)
    """

    def __init__(self, dims: Sequence[str], terms: Mapping[Powers, Any]) -> None:
        self.dims = tuple(dims)
        self.terms = {powers: Fraction(c) for powers, c in terms.items() if c}

    def __call__(self, **sizes: int) -> Any:
        """The number at these sizes."""
        if sizes.keys() != {*self.dims}:
            said = ", ".join(f"{dim}=..." for dim in self.dims)
            raise TypeError(f"{self} is a number for sizes ({said}), got {', '.join(sizes) or 'none'}")
        values = [sizes[dim] for dim in self.dims]
        total = sum(
            (c * prod(v**p for v, p in zip(values, powers, strict=True)) for powers, c in self.terms.items()),
            Fraction(0),
        )
        return int(total) if total.denominator == 1 else float(total)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Polynomial) and (self.dims, self.terms) == (other.dims, other.terms)

    def __hash__(self) -> int:
        return hash((self.dims, frozenset(self.terms.items())))

    def __repr__(self) -> str:
        said = ""
        for powers, c in sorted(self.terms.items(), key=lambda term: (-sum(term[0]), [-p for p in term[0]])):
            factors = [dim if p == 1 else f"{dim}**{p}" for dim, p in zip(self.dims, powers, strict=True) if p]
            size = abs(c)
            number = [] if size == 1 and factors else [str(size) if size.denominator == 1 else f"({size})"]
            sign = (" - " if c < 0 else " + ") if said else "-" if c < 0 else ""
            said += sign + "*".join([*number, *factors])
        return said or "0"


def interpolated(
    value: Callable[[Mapping[str, int]], int | None], dims: Sequence[str], base: Mapping[str, int], far: int = FAR
) -> Polynomial | None:
    """The polynomial that a number is at multiples of these sizes, and at their neighbours; None where it is none.

    `value` gives the number at some sizes, None where there is none; `far` says how many times as much is tried.
    """
    for degree in range(1, MOST_DEGREE + 1):
        lattice = [e for e in product(range(degree + 1), repeat=len(dims)) if sum(e) <= degree]
        checks = [(degree + 1,) * len(dims), (far, *[1] * (len(dims) - 1))]
        rows = []
        for steps in lattice:
            number = _at(value, dims, base, steps)
            if number is None:
                return None
            point = [base[dim] * (1 + e) for dim, e in zip(dims, steps, strict=True)]
            rows.append(
                [
                    *[Fraction(prod(v**p for v, p in zip(point, powers, strict=True))) for powers in lattice],
                    Fraction(number),
                ]
            )
        solved = Polynomial(dims, dict(zip(lattice, _solved(rows), strict=True)))
        found = [(_at(value, dims, base, steps), _sizes(dims, base, steps)) for steps in checks]
        if all(number is not None and number == solved(**sizes) for number, sizes in found):
            neighbours = [{**base, dim: base[dim] + 1} for dim in dims]  # of N // 2 multiples of two know nothing
            beside = [(value(sizes), sizes) for sizes in neighbours]
            return solved if all(number in (None, solved(**sizes)) for number, sizes in beside) else None
    return None


def _sizes(dims: Sequence[str], base: Mapping[str, int], steps: Powers) -> dict[str, int]:
    return {dim: base[dim] * (1 + e) for dim, e in zip(dims, steps, strict=True)}


def _at(
    value: Callable[[Mapping[str, int]], int | None], dims: Sequence[str], base: Mapping[str, int], steps: Powers
) -> int | None:
    return value(_sizes(dims, base, steps))


def _solved(rows: list[list[Fraction]]) -> list[Fraction]:
    """The solution of linear equations, each with its right side at the end."""
    n = len(rows)
    for i in range(n):
        pivot = next(k for k in range(i, n) if rows[k][i])
        rows[i], rows[pivot] = rows[pivot], rows[i]
        rows[i] = [x / rows[i][i] for x in rows[i]]
        for k in range(n):
            if k != i and rows[k][i]:
                rows[k] = [x - rows[k][i] * y for x, y in zip(rows[k], rows[i], strict=True)]
    return [row[-1] for row in rows]
