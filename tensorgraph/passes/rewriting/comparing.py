"""Whether the two sides of a rewriting are one function, on drawn numbers, in the types of the place where they stand.

Values agree to rounding: to 16 units in the last place of the result's scale, what a rounding of the arguments moves
the first side, and what that side loses itself beside float64. What is not finite stands in the same places, except far
out, where one spelling overflows before another. Gradients are compared where both have them.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tensorgraph.engine import modes
from tensorgraph.engine.aval import Aval, Number
from tensorgraph.engine.cells import Cell
from tensorgraph.engine.tensor import Tensor, wrap
from tensorgraph.graph.evaluate import evaluate
from tensorgraph.graph.graph import Graph, Var
from tensorgraph.passes.recognise.numbers import leaf, pulled
from tensorgraph.passes.rewriting.sides import UNFIT, Pattern, replayed
from tensorgraph.text.names import names

__all__ = ["Gap", "gap"]

KINDS = ("ordinary", "positive", "small", "whole", "wide", "missing")
FAR_OUT = frozenset({"wide"})  # where a spelling may overflow that is right
SMOOTH = ("ordinary", "positive")  # where no kink is met, and gradients are compared
ULPS, GRADIENT_ULPS, NOISE, LOST = 16.0, 1024.0, 50.0, 4.0
FEW = 1 << 20  # elements up to which all draws are made

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Gap:
    """How far two sides of a rewriting are apart: by how much, of what size, in words, and whether it is rounding."""

    amount: float
    scale: float
    words: str
    is_rounding: bool

    @property
    def said(self) -> str:
        """The difference and where it is."""
        if not math.isfinite(self.amount):
            return self.words
        share = f" ({100 * self.amount / self.scale:.2g} % of the largest value)" if self.scale else ""
        return f"{self.amount:.3g}{share}: {self.words}"


class Draws:
    """Numbers for the variables of a graph at one place, by kind."""

    def __init__(self, graph: Graph, arguments: Sequence[Var | Any], sides: Sequence[Pattern]) -> None:
        self.graph = graph
        self.arguments = arguments
        self.sides = sides
        live = zip(graph.cells, graph.provenance.cells(len(graph.cells)), strict=True)
        self.live = {decl.var: cell._value for decl, cell in live if cell is not None}
        floats = [
            a.aval for a in arguments if type(a) is Var and type(a.aval) is not Number and a.aval.dtype.kind == "f"
        ]
        self.labels = max(1, min((d for aval in floats for d in aval.shape), default=2))

    def at(self, kind: str, as_labels: bool) -> dict[Any, Any]:
        """A number or an array for each argument and each cell, by what it is in the graph."""
        rng = np.random.default_rng(KINDS.index(kind))
        drawn: dict[Any, Any] = {}
        for atom in self.arguments:
            if type(atom) is Var and atom not in drawn:
                held = self.graph.consts.get(atom, self.live.get(atom) if kind == "ordinary" else None)
                drawn[atom] = self.draw(rng, atom.aval, kind, as_labels) if held is None else held
        for side in self.sides:
            for decl in side.graph.cells:
                key = side.cells[decl.var]
                if key not in drawn:
                    live = key._value if isinstance(key, Cell) and kind == "ordinary" else None
                    drawn[key] = self.draw(rng, decl.aval, kind, as_labels) if live is None else live
        return drawn

    def draw(self, rng: np.random.Generator, aval: Any, kind: str, as_labels: bool) -> Any:
        if type(aval) is Number:
            value = self.draw(rng, Aval((), np.float64), "ordinary" if kind == "missing" else kind, False)
            return aval.kind(round(float(value)) if aval.kind is int else float(value))
        shape, dtype = aval.shape, aval.dtype
        if dtype.kind == "b":
            return rng.uniform(size=shape) < 0.5
        if dtype.kind in "iu":
            low, high = (0, self.labels) if as_labels else (0 if dtype.kind == "u" or kind == "positive" else -3, 4)
            return rng.integers(low, high, shape).astype(dtype)
        x = np.asarray(rng.normal(size=shape))
        if kind == "positive":
            x = rng.uniform(0.5, 2.0, shape)
        elif kind == "small":
            x = x * 1e-3
        elif kind == "whole":
            x = np.round(x * 1.5)
        elif kind == "wide":
            x = x * 30.0
        x = np.asarray(x, dtype)
        if kind == "missing" and x.size:
            x.reshape(-1)[rng.integers(x.size)] = np.nan
        return x


def gap(graph: Graph, arguments: Sequence[Any], before: Pattern, after: Pattern, strict: bool) -> Gap | None:
    """The first difference that is no rounding (`strict`), else the largest; None where nothing could be compared.

    `arguments` are values of the graph: captured arrays and cells that are known come as they are.
    """
    # The plan: for each kind of draw, both sides run in their own types. Labels are tried where ordinary integers are
    # refused. Values are compared, then gradients on the smooth draws. What the first side refuses is no evidence.
    draws = Draws(graph, arguments, (before, after))
    size = sum(math.prod(v.aval.shape) for v in before.graph.variables() if type(v.aval) is not Number)
    kinds = KINDS if strict and size <= FEW else (*SMOOTH, "missing")[: 3 if strict else 1]
    largest: Gap | None = None
    for kind in kinds:
        for as_labels in (False, True):
            drawn = draws.at(kind, as_labels)
            try:
                expected = _run(before, arguments, drawn)
            except UNFIT:
                continue
            try:
                got = _run(after, arguments, drawn)
            except UNFIT as error:
                return Gap(math.inf, 0.0, f"it raises {type(error).__name__}: {error}", False)
            moved = _moved(before, arguments, drawn, expected) if strict else [0.0] * len(expected)
            where = _Where(names(graph), arguments, drawn, kind)
            found = [*_gaps(expected, got, moved, where, kind in FAR_OUT)]
            if strict and kind in SMOOTH and all(each.is_rounding for each in found):
                found += _gradient_gaps(before, after, where, expected)
            largest = max(
                [*found, *([largest] if largest else [])], key=lambda g: (not g.is_rounding, g.amount), default=None
            )
            if strict and largest is not None and not largest.is_rounding:
                return largest
            break
    return largest


def _quietly() -> Any:
    return modes.use(trace=None, cells=None, grad=False, quiet=True, debug_nans=False, call=None)


def _inputs(side: Pattern, arguments: Sequence[Any], drawn: dict[Any, Any]) -> tuple[list[Any], list[Any]]:
    own = [drawn[a] for a, place in zip(arguments, side.places, strict=True) if place is not None]
    return own, [drawn[side.cells[decl.var]] for decl in side.graph.cells]


def _run(side: Pattern, arguments: Sequence[Any], drawn: dict[Any, Any]) -> list[Array]:
    inputs, cells = _inputs(side, arguments, drawn)
    with _quietly(), np.errstate(all="ignore"):
        outputs, _ = evaluate(side.graph, _tensors(inputs), _tensors(cells))
    return [np.asarray(t._value if isinstance(t, Tensor) else t) for t in outputs]  # a number stands for all


def _tensors(values: list[Any]) -> list[Any]:
    return [wrap(value) if isinstance(value, np.ndarray) else value for value in values]


def _moved(side: Pattern, arguments: Sequence[Any], drawn: dict[Any, Any], values: list[Array]) -> list[float]:
    """How far each result is off by rounding: where the arguments are rounded once more, and beside float64."""
    result = [0.0] * len(values)
    with _quietly(), np.errstate(all="ignore"), contextlib.suppress(*UNFIT):
        wide = {
            key: v.astype(np.float64) if isinstance(v, np.ndarray) and v.dtype.kind == "f" else v
            for key, v in drawn.items()
        }
        inputs, cells = _inputs(side, arguments, wide)
        exact = replayed(side.graph, _tensors(inputs), _tensors(cells))
        for i, (a, b) in enumerate(zip(exact, values, strict=True)):
            if b.dtype.kind == "f":
                off = np.abs(np.asarray(getattr(a, "_value", a), np.float64) - b)
                result[i] = LOST / NOISE * np.max(off, where=np.isfinite(off), initial=0.0)
    for seed in range(3):
        rng = np.random.default_rng(50 + seed)
        near = {
            key: np.asarray(v * (1 + np.finfo(v.dtype).eps * rng.choice([-1.0, 0.0, 1.0], v.shape)), v.dtype)
            if isinstance(v, np.ndarray) and v.dtype.kind == "f" else v
            for key, v in drawn.items()
        }  # fmt: skip
        with np.errstate(all="ignore"), contextlib.suppress(*UNFIT):
            for i, (a, b) in enumerate(zip(_run(side, arguments, near), values, strict=True)):
                if b.dtype.kind == "f":
                    off = np.abs(a.astype(np.float64) - b)
                    result[i] = max(result[i], np.max(off, where=np.isfinite(off), initial=0.0))
    return result


class _Where:
    """Words for a place of a result."""

    def __init__(self, called: Mapping[Var, str], arguments: Sequence[Any], drawn: dict[Any, Any], kind: str) -> None:
        self.names = called
        self.arguments, self.drawn, self.kind = arguments, drawn, kind

    def words(self, i: int, count: int, at: tuple[int, ...], expected: Array, got: Array) -> str:
        """What a result is before and after, and its arguments there."""
        place = _place(at)
        result = "the result" if count == 1 else f"result {i}"
        there = []
        arguments = {a: np.asarray(self.drawn[a]) for a in self.arguments if type(a) is Var}
        if all(
            value.shape in ((), expected.shape) for value in arguments.values()
        ):  # else it is no matter of one place
            for atom, value in arguments.items():
                there.append(
                    f"{self.names[atom]}{place if value.shape else ''} = {value[at if value.shape else ()]:.6g}"
                )
        where = f" where {', '.join(there)}" if there else f" for {self.kind} numbers"
        return f"{result}{place} is {expected[at]:.6g} before and {got[at]:.6g} after{where}"


def _largest(off: Array) -> tuple[int, ...]:
    """Where the largest number of an array is."""
    return tuple(int(i) for i in np.unravel_index(int(off.argmax()), off.shape))


def _place(at: tuple[int, ...]) -> str:
    return f"[{', '.join(map(str, at))}]" if at else ""


def _gaps(expected: list[Array], got: list[Array], moved: list[float], where: _Where, far_out: bool) -> Iterator[Gap]:
    """How far each result of one side is from the other's."""
    for i, (a, b) in enumerate(zip(expected, got, strict=True)):
        if not a.size:
            continue
        b = np.broadcast_to(b, a.shape)
        if a.dtype.kind != "f":
            off = (a != b).astype(np.float64)
            at = _largest(off)
            amount = float(np.abs(a[at].astype(np.float64) - b[at].astype(np.float64)))
            words = where.words(i, len(expected), at, a, b)
            yield Gap(amount, float(np.abs(a.astype(np.float64)).max()), words, not off.any())
            continue
        wide, other = a.astype(np.float64), b.astype(np.float64)
        finite = np.isfinite(wide)
        scale = float(np.max(np.abs(wide), where=finite, initial=0.0))
        with np.errstate(all="ignore"):
            off = np.where(finite & np.isfinite(other), np.abs(wide - other), np.inf)
            off = np.where((wide == other) | (np.isnan(wide) & np.isnan(other)), 0.0, off)
            if far_out:
                off = np.where(finite, off, 0.0)
        at = _largest(off)
        allowed = ULPS * float(np.finfo(a.dtype).eps) * scale + NOISE * moved[i]
        amount = float(off[at])
        yield Gap(amount, scale, where.words(i, len(expected), at, a, b), amount <= allowed)


def _gradient_gaps(before: Pattern, after: Pattern, where: _Where, values: list[Array]) -> Iterator[Gap]:
    """How far the gradients of the two sides differ by more than rounding, where the first has them."""
    rng = np.random.default_rng(9)
    arguments, drawn = where.arguments, where.drawn
    cotangents = [np.asarray(rng.normal(size=v.shape), v.dtype) if v.dtype.kind == "f" else None for v in values]
    own = [a for a in dict.fromkeys(a for a in arguments if type(a) is Var) if type(a.aval) is not Number]
    keys = [a for a in own if a.aval.dtype.kind == "f"]
    if not keys or not any(g is not None for g in cotangents):
        return
    try:
        expected = _pulled(before, arguments, drawn, keys, cotangents)
    except UNFIT:
        return
    try:
        got = _pulled(after, arguments, drawn, keys, cotangents)
    except UNFIT as error:
        yield Gap(math.inf, 0.0, f"its gradient raises {type(error).__name__}: {error}", False)
        return
    scale = max((float(np.abs(g).max(initial=0.0)) for g in expected), default=0.0)
    for key, a, b in zip(keys, expected, got, strict=True):
        if not a.size or not np.isfinite(a).all():
            continue
        off = np.abs(a.astype(np.float64) - b.astype(np.float64))
        off = np.where(np.isfinite(off), off, np.inf)
        at = _largest(off)
        if off[at] > GRADIENT_ULPS * float(np.finfo(a.dtype).eps) * max(scale, 1.0):
            name = f"{where.names[key]}{_place(at)}"
            words = f"the gradient with respect to {name} is {a[at]:.6g} before and {b[at]:.6g} after"
            yield Gap(float(off[at]), scale, words, False)


def _pulled(
    side: Pattern,
    arguments: Sequence[Any],
    drawn: dict[Any, Any],
    keys: list[Var],
    cotangents: Sequence[Array | None],
) -> list[Array]:
    leaves = {key: leaf(drawn[key]) for key in keys}
    inputs = [leaves.get(a, drawn[a]) for a, place in zip(arguments, side.places, strict=True) if place is not None]
    _, cells = _inputs(side, arguments, drawn)
    with _quietly(), modes.use(grad=True), np.errstate(all="ignore"):
        outputs, _ = evaluate(side.graph, _tensors(inputs), _tensors(cells), history=True)
        pairs = [
            (t, g) for t, g in zip(outputs, cotangents, strict=True)
            if g is not None and isinstance(t, Tensor) and t._node is not None
        ]  # fmt: skip
        ys, gs = [t for t, _ in pairs], [np.broadcast_to(g, t.shape) for t, g in pairs]
        return pulled(ys, [leaves[key] for key in keys], gs)
