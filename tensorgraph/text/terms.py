"""What a number is in terms of dimensions, from its values in several instances: ``N + 1``, ``6*(N//2)``, ``N / 7``."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations, combinations_with_replacement, product
from math import gcd, prod
from typing import Any

from tensorgraph.text.arithmetic import value_of

__all__ = ["Names"]

FACTORS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 24, 32, 64)
LARGEST = 1e15
NEAR = range(2, 25)


class Names:
    """What numbers are in terms of dimensions, from their values in several instances."""

    def __init__(self, sizes: Sequence[Mapping[str, int]]) -> None:
        self.sizes = sizes
        self.dims = list(sizes[0])
        self.column = {dim: [given[dim] for given in sizes] for dim in self.dims}
        self.known: dict[Any, str | None] = {}
        self.doubts: dict[tuple[int, ...], dict[str, int]] = {}  # sizes at which floats that are alike here differ

    def of(self, values: tuple[int, ...]) -> str | None:
        """The plainest term in the dimensions with these values; None where there is none."""
        if values not in self.known:
            self.known[values] = next((name for name, given in self.terms(values) if given == list(values)), None)
        return self.known[values]

    def of_floats(self, values: tuple[float, ...]) -> str | None:
        """As `of`, of floats: a number beside or over a size, or a power of one."""
        key = ("float", *values)
        if key not in self.known:
            found = list(dict.fromkeys(name for name, given in self.ratios(values) if given == list(values)))
            found = found or [name for name, _ in self.shares(values)]
            self.known[key] = found[0] if found else None
            for other in found[1:]:
                self._doubt(found[0], other)
        return self.known[key]

    def _doubt(self, one: str, other: str) -> None:
        """Note the first sizes at which two expressions round to other floats, such as ``N / 10`` and ``N * 0.1``."""
        a, b = (ast.parse(text, mode="eval").body for text in (one, other))
        for dim, size in product(self.dims, NEAR):
            sizes = {**self.sizes[0], dim: size}
            if value_of(a, sizes) != value_of(b, sizes):
                self.doubts[tuple(sizes.values())] = sizes
                return

    def terms(self, values: tuple[int, ...]) -> Iterator[tuple[str, list[int]]]:
        """Terms in the dimensions that may be meant, the plainest first, and their values."""
        dims, column = self.dims, self.column
        for dim in dims:
            yield dim, column[dim]
        yield from self.linear(values)
        for dim in dims:
            for k in FACTORS[1:]:
                if all(size % k == 0 for size in column[dim]):
                    yield f"{dim}//{k}", [size // k for size in column[dim]]
            for k in range(2, 9):
                yield f"{dim}//{k}", [size // k for size in column[dim]]
                yield f"({dim}+{k - 1})//{k}", [(size + k - 1) // k for size in column[dim]]
                for more in (-1, 1, -2, 2, -3, 3, -4, 4):
                    yield f"({dim}{more:+d})//{k}", [(size + more) // k for size in column[dim]]
                for more in (-4, -3, -2, -1, 1, 2, 3, 4):
                    yield f"({dim}{more:+d})//{k}+1", [(size + more) // k + 1 for size in column[dim]]
        for count in (2, 3):
            for several in combinations_with_replacement(dims, count):
                products = [prod(given[dim] for dim in several) for given in self.sizes]
                text = "*".join(several)
                slope = self.slope(products, values)
                if slope is not None:
                    k, more = slope
                    head = text if k == 1 else f"-{text}" if k == -1 else f"{k}*{text}"
                    yield head + (f"{more:+d}" if more else ""), [k * n + more for n in products]
                for k in range(2, 9):
                    yield f"{text}//{k}", [n // k for n in products]
        for dim in dims:
            for k in FACTORS[1:]:
                yield f"{dim}%{k}", [size % k for size in column[dim]]
                yield f"-{dim}%{k}", [-size % k for size in column[dim]]
                for more in (0, k - 1):  # padded to, or cut to, a multiple of k
                    whole = f"({dim}+{more})//{k}*{k}" if more else f"{dim}//{k}*{k}"
                    yield whole, [(size + more) // k * k for size in column[dim]]
            for more in (-1, 1):
                yield f"{dim}*({dim}{more:+d})//2", [size * (size + more) // 2 for size in column[dim]]
        yield from self.of_parts(values)
        yield from self.of_planes(values)

    def of_planes(self, values: tuple[int, ...]) -> Iterator[tuple[str, list[int]]]:
        """What stands on two dimensions, each cut, padded or halved: ``(H-2)*(W-2)``, ``8*N*((H+1)//2)*((W+1)//2)``."""
        parts: dict[str, list[tuple[str, list[int]]]] = {dim: [] for dim in self.dims}
        for dim, k, more in product(self.dims, range(1, 5), range(-4, 5)):
            text = f"{dim}{more:+d}" if more else dim
            if k > 1:
                text = f"({text})//{k}" if more else f"{text}//{k}"
            part = [(n + more) // k for n in self.column[dim]]
            parts[dim].append((text if text == dim else f"({text})", part))
        for other in (None, *self.dims):
            beside = [1] * len(values) if other is None else self.column[other]
            if any(n == 0 or v % n or v == 0 for v, n in zip(values, beside, strict=True)):
                continue
            rest = [v // n for v, n in zip(values, beside, strict=True)]
            for one, two in combinations(self.dims, 2):
                for (a, columns), (b, rows) in product(parts[one], parts[two]):
                    count = columns[0] * rows[0]
                    c = rest[0] // count if count > 0 else 0
                    if c and all(c * n * m == v for n, m, v in zip(columns, rows, rest, strict=True)):
                        factors = [*([] if c == 1 else [str(c)]), *([other] if other else []), a, b]
                        yield "*".join(factors), list(values)

    def of_parts(self, values: tuple[int, ...]) -> Iterator[tuple[str, list[int]]]:
        """What stands beside a part of a dimension: ``6*(N//2)``, ``N-N//3``, ``B*((N+1)//2)``."""
        for dim, k, up in product(self.dims, range(2, 9), (False, True)):
            text = f"({dim}+{k - 1})//{k}" if up else f"{dim}//{k}"
            part = [(size + up * (k - 1)) // k for size in self.column[dim]]
            for other in (None, *self.dims):  # so many times
                many = part if other is None else [n * m for n, m in zip(part, self.column[other], strict=True)]
                slope = self.slope(many, values)
                if slope is not None:
                    c, more = slope
                    factors = [*([] if abs(c) == 1 else [str(abs(c))]), *([other] if other else []), f"({text})"]
                    name = ("-" if c < 0 else "") + "*".join(factors) + (f"{more:+d}" if more else "")
                    yield name, [c * n + more for n in many]
            for (other, column), c in product(self.column.items(), (1, -1, 2, -2)):  # beside so much
                slope = self.slope(column, [v - c * n for v, n in zip(values, part, strict=True)])
                if slope is not None:
                    times, more = slope
                    head = f"{'-' if times == -1 else '' if times == 1 else f'{times}*'}{other}"
                    tail = f"{'-' if c < 0 else '+'}{text if abs(c) == 1 else f'{abs(c)}*({text})'}"
                    given = [c * n + times * size + more for n, size in zip(part, column, strict=True)]
                    yield head + tail + (f"{more:+d}" if more else ""), given

    def slope(self, column: Sequence[int], values: Sequence[int]) -> tuple[int, int] | None:
        """``k`` and ``c`` of ``values == k * column + c``, as far as two of them tell."""
        at = next((n for n, size in enumerate(column) if size != column[0]), 0)
        step, rise = column[at] - column[0], values[at] - values[0]
        if not step or not rise or rise % step:
            return None
        k = rise // step
        return k, values[0] - k * column[0]

    def linear(self, values: tuple[int, ...]) -> Iterator[tuple[str, list[int]]]:
        """A whole multiple of each dimension, and a number: told by the instances in which one dimension is another."""
        base = self.sizes[0]
        slopes: dict[str, int] = {}
        for dim in self.dims:
            alone = [
                n for n, given in enumerate(self.sizes)
                if given[dim] != base[dim] and all(given[d] == base[d] for d in self.dims if d != dim)
            ]  # fmt: skip
            if not alone:
                return
            step, rise = self.column[dim][alone[0]] - base[dim], values[alone[0]] - values[0]
            if rise % step:
                return
            slopes[dim] = rise // step
        more = values[0] - sum(k * base[dim] for dim, k in slopes.items())
        parts = [f"{'+' if k > 0 else '-'}{'' if abs(k) == 1 else f'{abs(k)}*'}{dim}" for dim, k in slopes.items() if k]
        text = "".join(parts).removeprefix("+") + (f"{more:+d}" if more else "")
        given = [sum(k * sizes[dim] for dim, k in slopes.items()) + more for sizes in self.sizes]
        yield text or "0", given

    def ratios(self, values: tuple[float, ...]) -> Iterator[tuple[str, list[float]]]:
        """Expressions that give floats, and their values as Python computes them."""
        whole: list[tuple[str, list[int]]] = [(dim, self.column[dim]) for dim in self.dims]
        whole += [(f"({dim}{n:+d})", [s + n for s in self.column[dim]]) for dim in self.dims for n in (-1, 1, -2, 2)]
        for count in (2, 3):
            for several in combinations_with_replacement(self.dims, count):
                products = [prod(given[dim] for dim in several) for given in self.sizes]
                whole.append((f"({'*'.join(several)})", products))
        for text, column in whole:
            if min(column) == 0 < max(column):  # turns of a loop begin with 0
                c = next(v / n for v, n in zip(values, column, strict=True) if n)
                yield f"{text} * {c!r}", [size * c for size in column]
            if min(column) <= 0:
                continue
            for c, more in product((1.0, 2.0, 3.0, 4.0), (0, -1)) if values[0] else ():  # over how many elements
                many = (c / values[0] - more) / column[0]
                if 1.5 < abs(many) < 1e9 and (more or gcd(int(c), round(many)) == 1):
                    shift = f" - {-more}" if more else ""
                    yield (
                        f"{c!r} / ({round(many)} * {text}{shift})", [c / (round(many) * n + more) for n in column],
                    )  # fmt: skip
            numbers = dict.fromkeys([1.0, *_nearby(values[0] * column[0]), *map(float, FACTORS)])
            for c in numbers:
                yield f"{c!r} / {text}", [c / size for size in column]
            if values[0] and (c := column[0] / values[0]) > 2.5 and abs(c - round(c)) < 1e-9 * c:
                yield f"{text} / {round(c)}", [size / round(c) for size in column]
            for c in dict.fromkeys([1.0, *_nearby(values[0] / column[0])]):
                yield f"{text} * {c!r}", [size * c for size in column]
            for k in FACTORS:  # a weight times one over how many elements
                for c in _nearby(values[0] * column[0] * k):
                    yield f"{c!r} * (1.0 / ({k} * {text}))", [c * (1.0 / (k * size)) for size in column]
            for c in (*_nearby(column[0] / values[0] if values[0] else 0.0),):
                if c:
                    yield f"{text} / {c!r}", [size / c for size in column]
            yield f"{text} ** 0.5", [size**0.5 for size in column]
            yield f"{text} ** -0.5", [size**-0.5 for size in column]
            yield f"1.0 / {text} ** 0.5", [1.0 / size**0.5 for size in column]
            yield f"1.0 - 1.0 / {text}", [1.0 - 1.0 / size for size in column]
        for (text, column), (other, below) in product(whole, whole):
            if min(below) > 0:
                yield f"{text} / {other}", [n / m for n, m in zip(column, below, strict=True)]
        yield from self.of_whole(values)

    def shares(self, values: tuple[float, ...]) -> Iterator[tuple[str, list[float]]]:
        """Terms over a number or a dimension: ``(N//2) / 4``, ``(N//2) / M``."""
        if not all(abs(v) < LARGEST for v in values):
            return
        below = [(str(k), [k] * len(values)) for k in FACTORS[1:]] + [*self.column.items()]
        for text, column in below:
            counts = tuple(round(v * n) for v, n in zip(values, column, strict=True))
            if 0 not in column and all(c / n == v for c, n, v in zip(counts, column, values, strict=True)):
                name = self.of(counts)
                if name is not None:
                    yield f"({name}) / {text}", list(values)

    def of_whole(self, values: tuple[float, ...]) -> Iterator[tuple[str, list[float]]]:
        """What is made of one whole number that a term gives, as of how many elements there are: ``1.0 / (M*(N//2))``,
        ``(N//2) * 1.0``, ``(N//2) ** -0.5``."""
        made: list[tuple[str, Callable[[float], float], Callable[[int], float]]] = [
            ("({}) * 1.0", lambda v: v, lambda n: n * 1.0),
            ("({}) ** 0.5", lambda v: v * v, lambda n: n**0.5),
            ("({}) ** -0.5", lambda v: 1.0 / (v * v), lambda n: n**-0.5),
            *[(f"{c!r} / ({{}})", lambda v, c=c: c / v, lambda n, c=c: c / n) for c in (1.0, 2.0, 3.0, 4.0)],
            *[(f"{c!r} / ({{}}) ** 0.5", lambda v, c=c: (c / v) ** 2, lambda n, c=c: c / n**0.5) for c in (1.0, 2.0)],
        ]
        if not all(0.0 < abs(v) < LARGEST and abs(v) > 1.0 / LARGEST for v in values):
            return
        for form, back, there in made:
            counts = tuple(round(back(v)) for v in values)
            if 0 not in counts and all(there(n) == v for n, v in zip(counts, values, strict=True)):
                name = self.of(counts)
                if name is not None:
                    yield form.format(name), list(values)


def _nearby(value: float) -> list[float]:
    """A number as it may have been written: itself, and with fewer digits."""
    return list(dict.fromkeys([float(f"{value:.{digits}g}") for digits in (6, 12, 15, 17)]))
