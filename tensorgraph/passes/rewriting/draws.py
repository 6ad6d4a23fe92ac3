"""Numbers on which the two sides of a rewriting are compared: ordinary ones, and those at which functions part.

All arguments are ordinary, small, whole (so that there are ties and kinks) or wide at once. Then each in its turn is
extreme while the others are ordinary: 0, one number everywhere, far from 0, tiny, huge, -0, infinite, NaN. Elementwise
functions also meet every pair of such values, and integers the ends of their range.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tensorgraph.engine.aval import Aval, Number
from tensorgraph.engine.cells import Cell
from tensorgraph.graph.graph import Graph, Var
from tensorgraph.passes.rewriting.sides import Pattern

__all__ = ["Draw", "Draws"]

SAMPLES = 48  # elements that a kind is tried on, over and over where arrays are smaller
MOST = 12  # times that it is repeated for that
BUDGET = 1 << 23  # elements drawn altogether; the first kinds come in any case
EDGES = (0.0, -0.0, math.inf, -math.inf, math.nan, 1.0, -1.0, 0.5, 2.5)
FAR, POWER = {2: 1e2, 4: 1e4, 8: 1e8}, {2: 4, 4: 25, 8: 200}  # by bytes: an offset, and how huge a number is

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Draw:
    """One kind of numbers.

    Attributes
    ----------
    kind : str
    extreme : Var or None
        The argument that it is about; None for all.
    seed : int
    """

    kind: str
    extreme: Any = None
    seed: int = 0

    @property
    def is_exact(self) -> bool:
        """Whether numbers stand on ties and edges, so that they may not be moved by a rounding."""
        return self.kind in ("whole", "one", "edge")

    @property
    def has_gradient(self) -> bool:
        """Whether gradients are compared: numbers are finite, and no product of theirs overflows."""
        return self.kind in ("ordinary", "positive", "small", "whole", "wide", "zero", "one")


class Draws:
    """Numbers for the variables of a graph at one place, by kind."""

    def __init__(self, graph: Graph, arguments: Sequence[Var | Any], sides: Sequence[Pattern]) -> None:
        self.graph = graph
        self.arguments = arguments
        self.sides = sides
        live = zip(graph.cells, graph.provenance.cells(len(graph.cells)), strict=True)
        self.live = {decl.var: cell._value for decl, cell in live if cell is not None}
        self.free = [a for a in dict.fromkeys(arguments) if type(a) is Var and a not in graph.consts]
        floats = [a for a in self.free if a.aval.dtype.kind == "f"]
        self.floats = floats
        sizes = (d for a in floats if type(a.aval) is not Number for d in a.aval.shape)
        self.labels = max(1, min(sizes, default=2))

    def kinds(self, strict: bool, elementwise: bool) -> Iterator[Draw]:
        """What to draw, the likeliest to differ first."""
        count = sum(math.prod(v.aval.shape) for v in self.sides[0].graph.variables())
        largest = max((math.prod(a.aval.shape) for a in self.free), default=1)
        again = 1 if not self.free else min(MOST, max(1, SAMPLES // max(1, largest)))
        yield Draw("ordinary")
        if not strict:
            return
        yield Draw("positive")
        further = [Draw(kind) for kind in ("small", "wide")] + [Draw("whole", seed=n) for n in range(again)]
        if any(a.aval.dtype.kind in "iu" for a in self.free):
            further += [Draw("edge", seed=n) for n in range(again)]
        own = ["nan", "inf", "-inf", "huge", "tiny", "zero", "-0", "far", "one", *["every size"] * elementwise]
        further += [Draw(kind, a) for kind in own for a in self.floats]
        if elementwise and self.floats:
            ways = len(EDGES) ** min(len(self.floats), 2)
            further += [Draw("edge", seed=n) for n in range(min(-(-ways // max(1, largest)), 4 * MOST))]
        yield from dict.fromkeys(further[: max(4, BUDGET // max(1, count))])

    def at(self, draw: Draw, as_labels: bool) -> dict[Any, Any]:
        """A number or an array for each argument and each cell, by what it is in the graph."""
        rng = np.random.default_rng([len(draw.kind), draw.seed])
        drawn: dict[Any, Any] = {}
        ordinary = draw.kind == "ordinary"
        for n, atom in enumerate(self.free):
            held = self.live.get(atom) if ordinary else None
            drawn[atom] = self._drawn(rng, atom, n, draw, as_labels) if held is None else held
        for atom in self.arguments:
            if type(atom) is Var and atom not in drawn:
                drawn[atom] = self.graph.consts[atom]
        usual = draw if draw.extreme is None and draw.kind != "edge" else Draw("ordinary", seed=draw.seed)
        for side in self.sides:
            for decl in side.graph.cells:
                key = side.cells[decl.var]
                if key not in drawn:
                    live = key._value if isinstance(key, Cell) and ordinary else None
                    drawn[key] = array(rng, decl.aval, usual.kind, as_labels, self.labels) if live is None else live
        return drawn

    def _drawn(self, rng: np.random.Generator, atom: Var, n: int, draw: Draw, as_labels: bool) -> Any:
        aval = atom.aval
        kind = draw.kind if draw.extreme in (None, atom) else "ordinary"
        if type(aval) is not Number:
            if kind == "edge" and aval.dtype.kind == "f":
                return edges(aval, n, draw.seed)
            return array(rng, aval, kind, as_labels, self.labels)
        if aval.kind is int:
            return int(array(rng, Aval((), np.int64), "whole" if kind == "edge" else kind, as_labels, self.labels))
        wide = Aval((), np.float64)
        value = edges(wide, n, draw.seed) if kind == "edge" else array(rng, wide, kind, as_labels, self.labels)
        return aval.kind(float(value) > 0 if aval.kind is bool else float(value))


def edges(aval: Aval, n: int, seed: int) -> Array:
    """The values at which functions part, so that the first two arguments come to meet in every pair of them."""
    size = math.prod(aval.shape)
    count = np.arange(size) + seed * size
    which = count // len(EDGES) ** (n % 2) + n // 2
    return np.asarray(np.array(EDGES)[which % len(EDGES)].reshape(aval.shape), aval.dtype)


def array(rng: np.random.Generator, aval: Any, kind: str, as_labels: bool, labels: int) -> Array:
    """An array of one kind of numbers."""
    shape, dtype = aval.shape, aval.dtype
    if dtype.kind == "b":
        return np.asarray(rng.uniform(size=shape) < 0.5)
    if dtype.kind in "iu":
        return _integers(rng, shape, dtype, kind, as_labels, labels)
    x = np.asarray(rng.normal(size=shape))
    far, power = FAR[dtype.itemsize], POWER[dtype.itemsize]
    if kind == "positive":
        x = rng.uniform(0.5, 2.0, shape)
    elif kind == "small":
        x = x * 1e-3
    elif kind == "whole":
        x = np.round(x * 1.5)
    elif kind == "wide":
        x = x * 30.0
    elif kind == "far":
        x = x + far
    elif kind in ("huge", "tiny"):
        x = x * 10.0 ** (power if kind == "huge" else -power)
    elif kind == "every size":
        x = np.sign(x) * 10.0 ** rng.uniform(-power, power, shape)
    elif kind == "one":
        x = np.full(shape, 0.75)
    elif kind in ("zero", "-0", "inf", "-inf", "nan") and x.size:
        some = rng.uniform(size=shape) < (0.7 if kind == "zero" else 0.2)
        some.reshape(-1)[rng.integers(x.size)] = True
        x = np.where(some, float("0" if kind == "zero" else kind), x)
    return np.asarray(x, dtype)


def _integers(
    rng: np.random.Generator, shape: tuple[int, ...], dtype: Any, kind: str, as_labels: bool, labels: int
) -> Array:
    if as_labels:
        return rng.integers(0, labels, shape).astype(dtype)
    if kind != "edge":
        return rng.integers(0 if dtype.kind == "u" or kind == "positive" else -3, 4, shape).astype(dtype)
    info = np.iinfo(dtype)
    ends = [info.min, info.min + 1, info.max // 2 + 1, info.max - 1, info.max, 2**24 + 1, 2**53 + 1, 100, -100]
    known = sorted({n for n in itertools.chain(ends, range(-2, 3)) if info.min <= n <= info.max})
    return np.array(known, dtype)[rng.integers(0, len(known), shape)]
