"""Whether the two sides of a rewriting are one function, on drawn numbers, in the types of the place where they stand.

They are where each value of the second is that of the first to rounding: to 16 units in the last place, to what a
rounding of the arguments moves the first side, and to what that side loses itself beside float64; of each element by
itself where both are elementwise, else of the result's scale. NaN and infinities stand in the same places, so that an
overflow in one alone is a difference, and gradients are compared likewise, at ties and kinks too. 0 and -0 are equal,
as ``==`` says, and where the sign of a zero is another, that is told.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tensorgraph.engine import modes
from tensorgraph.engine.aval import Number
from tensorgraph.engine.tensor import Tensor, wrap
from tensorgraph.graph.evaluate import evaluate
from tensorgraph.graph.graph import Graph, Var
from tensorgraph.passes.recognise.numbers import leaf, pulled
from tensorgraph.passes.rewriting.draws import Draw, Draws
from tensorgraph.passes.rewriting.sides import UNFIT, Pattern, replayed
from tensorgraph.text.names import names

__all__ = ["Gap", "gap"]

ULPS, GRADIENT_ULPS, NOISE, LOST = 16.0, 1024.0, 50.0, 4.0
SHARE = 0.01  # of a value that a side may lose of its digits and still have told it

Array = np.ndarray[Any, Any]
Runner = Callable[[Pattern, dict[Any, Any], bool], list[Array]]


@dataclass(frozen=True)
class Gap:
    """How far two sides of a rewriting are apart: by how much, of what size, in words, and whether it is rounding.

    `signs` are words for a zero whose sign is another, where there is one.
    """

    amount: float
    scale: float
    words: str
    is_rounding: bool
    signs: str = ""

    @property
    def said(self) -> str:
        """The difference and where it is."""
        if not math.isfinite(self.amount):
            return self.words
        share = f" ({100 * self.amount / self.scale:.2g} % of the largest value)" if self.scale else ""
        return f"{self.amount:.3g}{share}: {self.words}"


def gap(graph: Graph, arguments: Sequence[Any], before: Pattern, after: Pattern, strict: bool) -> Gap | None:
    """The first difference that is no rounding (`strict`), else the largest; None where nothing could be compared.

    `arguments` are values of the graph: captured arrays and cells that are known come as they are.
    """
    # The plan: for each kind of draw, both sides run in their own types. Labels are tried where integers are refused.
    # Values are compared, then gradients where the numbers are such. What the first side refuses is no evidence.
    draws = Draws(graph, arguments, (before, after))
    elementwise = all(eq.op.kind.name == "elementwise" for p in (before, after) for eq in p.graph.equations)
    largest: Gap | None = None
    signs = ""
    for draw in draws.kinds(strict, elementwise):
        for as_labels in (False, True):
            drawn = draws.at(draw, as_labels)
            comparison = Comparison(graph, arguments, drawn, draw, elementwise)
            try:
                expected = comparison.run(before, drawn, False)
            except UNFIT:
                continue
            found = [*comparison.gaps(before, after, expected)]
            if strict and draw.has_gradient and all(each.is_rounding for each in found):
                found += comparison.gradient_gaps(before, after, expected)
            signs = signs or next((each.signs for each in found if each.signs), "")
            known = [] if largest is None else [largest]
            largest = max([*found, *known], key=lambda g: (not g.is_rounding, g.amount), default=None)
            if strict and largest is not None and not largest.is_rounding:
                return largest
            break
    return None if largest is None else replace(largest, signs=signs)


def _quietly() -> Any:
    return modes.use(trace=None, cells=None, grad=False, quiet=True, debug_nans=False, call=None)


def _tensors(values: list[Any]) -> list[Any]:
    return [wrap(value) if isinstance(value, np.ndarray) else value for value in values]


class Comparison:
    """Two sides on one draw."""

    def __init__(
        self, graph: Graph, arguments: Sequence[Any], drawn: dict[Any, Any], draw: Draw, elementwise: bool
    ) -> None:
        self.graph, self.arguments = graph, arguments
        self.drawn, self.draw, self.elementwise = drawn, draw, elementwise
        own = dict.fromkeys(a for a in arguments if type(a) is Var)
        self.leaves = [a for a in own if type(a.aval) is not Number and a.aval.dtype.kind == "f"]
        self.peak: Any = 0.0  # the largest number on the way, in wide floats: of each element, or of all
        self.cotangents: list[Array | None] = []

    # running ------------------------------------------------------------------------------------------------------

    def _inputs(self, side: Pattern, drawn: Mapping[Any, Any]) -> tuple[list[Any], list[Any]]:
        own = [drawn[a] for a, place in zip(self.arguments, side.places, strict=True) if place is not None]
        return _tensors(own), _tensors([drawn[side.cells[decl.var]] for decl in side.graph.cells])

    def run(self, side: Pattern, drawn: Mapping[Any, Any], wide: bool) -> list[Array]:
        """The results of a side; `wide` ones are computed op by op, in the types of what is given."""
        inputs, cells = self._inputs(side, drawn)
        with _quietly(), np.errstate(all="ignore"):
            if wide:
                outputs = replayed(side.graph, inputs, cells, self._seen)
            else:
                outputs, _ = evaluate(side.graph, inputs, cells)
        return [np.asarray(t._value if isinstance(t, Tensor) else t) for t in outputs]  # a number stands for all

    def pull(self, side: Pattern, drawn: Mapping[Any, Any], wide: bool) -> list[Array]:
        """The gradients of a side with respect to its arguments."""
        leaves = {key: leaf(drawn[key]) for key in self.leaves}
        inputs, cells = self._inputs(side, {**drawn, **leaves})
        with _quietly(), modes.use(grad=True), np.errstate(all="ignore"):
            if wide:
                outputs = replayed(side.graph, inputs, cells, self._seen)
            else:
                outputs, _ = evaluate(side.graph, inputs, cells, history=True)
            pairs = [
                (t, g) for t, g in zip(outputs, self.cotangents, strict=True)
                if g is not None and isinstance(t, Tensor) and t._node is not None
            ]  # fmt: skip
            ys, gs = [t for t, _ in pairs], [np.broadcast_to(g, t.shape).astype(t.dtype) for t, g in pairs]
            return pulled(ys, [leaves[key] for key in self.leaves], gs)

    def _seen(self, value: Any) -> None:
        if isinstance(value, Tensor) and value.dtype.kind == "f" and value.size:
            size = np.abs(value._value)
            size = np.where(np.isfinite(size), size, 0.0)
            self.peak = np.maximum(self.peak, size if self.elementwise else size.max())

    # how far apart ------------------------------------------------------------------------------------------------

    def gaps(self, before: Pattern, after: Pattern, expected: list[Array]) -> Iterator[Gap]:
        """How far each result of one side is from the other's."""
        try:
            got = self.run(after, self.drawn, False)
        except UNFIT as error:
            yield Gap(math.inf, 0.0, f"it raises {type(error).__name__}: {error}", False)
            return
        noise = Noise(self, before, self.run, expected)
        for i, (a, b) in enumerate(zip(expected, got, strict=True)):
            what = "the result" if len(expected) == 1 else f"result {i}"
            if not a.size:
                yield Gap(0.0, 0.0, f"{what} has no numbers", True)
            else:
                yield self._gap(what, a, np.broadcast_to(b, a.shape), ULPS, noise, i, self.elementwise)

    def gradient_gaps(self, before: Pattern, after: Pattern, values: list[Array]) -> Iterator[Gap]:
        """How far the gradients of the two sides differ, where the first has them."""
        rng = np.random.default_rng(9)
        self.cotangents = [
            np.asarray(rng.normal(size=v.shape), v.dtype) if v.dtype.kind == "f" else None for v in values
        ]
        if not self.leaves or all(g is None for g in self.cotangents):
            return
        try:
            expected = self.pull(before, self.drawn, False)
        except UNFIT:
            return
        try:
            got = self.pull(after, self.drawn, False)
        except UNFIT as error:
            yield Gap(math.inf, 0.0, f"its gradient raises {type(error).__name__}: {error}", False)
            return
        noise = Noise(self, before, self.pull, expected)
        shapes = {v.shape for v in values}
        called = names(self.graph)
        for i, (key, a, b) in enumerate(zip(self.leaves, expected, got, strict=True)):
            if a.size:
                what = f"the gradient with respect to {called[key]}"
                yield self._gap(what, a, b, GRADIENT_ULPS, noise, i, self.elementwise and shapes == {a.shape})

    def _gap(self, what: str, a: Array, b: Array, ulps: float, noise: Noise, i: int, elementwise: bool) -> Gap:
        """How far one array is from another that should be it."""
        if a.dtype.kind != "f":
            off = (a != b).astype(np.float64)
            at = _largest(off)
            amount, scale = abs(int(a[at]) - int(b[at])), float(np.abs(a.astype(np.float64)).max())
            return Gap(float(amount), scale, self._words(what, at, a, b), not off.any())
        wide, other = a.astype(np.float64), b.astype(np.float64)
        finite = np.isfinite(wide)
        with np.errstate(all="ignore"):
            off = np.where(finite & np.isfinite(other), np.abs(wide - other), np.inf)
            off = np.where((wide == other) | (np.isnan(wide) & np.isnan(other)), 0.0, off)
        size = np.where(finite, np.abs(wide), 0.0)
        scale = float(size.max())
        info = np.finfo(a.dtype)
        allowed = float(info.tiny) * ulps + ulps * float(info.eps) * (size if elementwise else scale)
        if (off > allowed).any() and np.isfinite(off).all():
            allowed = allowed + noise.of(i, elementwise)
        beyond = off > allowed
        at = _largest(np.where(beyond, off, -1.0) if beyond.any() else off)
        signs = (wide == 0.0) & (other == 0.0) & (np.signbit(wide) != np.signbit(other))
        told = self._words(what, _largest(signs), a, b) if signs.any() and ulps == ULPS else ""
        return Gap(float(off[at]), scale, self._words(what, at, a, b), not beyond.any(), told)

    @property
    def _for(self) -> str:
        kind = self.draw.kind
        return " for integers at the ends of their range" if kind == "edge" else f" for {kind} numbers"

    def _words(self, what: str, at: tuple[int, ...], a: Array, b: Array) -> str:
        """What something is before and after, and the arguments there."""
        called = names(self.graph)
        place = _place(at)
        arguments = {v: np.asarray(self.drawn[v]) for v in self.arguments if type(v) is Var}
        where = self._for
        if self.draw.extreme is not None:
            where = f" where {called[self.draw.extreme]} has {KINDS[self.draw.kind]}"
        if self.elementwise and all(v.shape in ((), a.shape) for v in arguments.values()):
            there = []
            for var, value in arguments.items():
                own = place if value.shape else ""
                there.append(f"{called[var]}{own} = {_number(value[at if value.shape else ()])}")
            where = f" where {', '.join(there)}" if there else ""
        return f"{what}{place} is {_number(a[at])} before and {_number(b[at])} after{where}"


KINDS = {
    "zero": "a zero", "-0": "-0", "inf": "infinities", "-inf": "infinities", "nan": "NaN",
    "one": "one number everywhere", "far": "numbers far from 0", "huge": "huge numbers", "tiny": "tiny numbers",
    "every size": "numbers of every size",
}  # fmt: skip


class Noise:
    """What rounding may do to what a side gives: where its arguments are rounded once more, and beside float64."""

    def __init__(self, comparison: Comparison, side: Pattern, run: Runner, values: list[Array]) -> None:
        self.comparison, self.side, self.run, self.values = comparison, side, run, values
        self.known: tuple[list[Array], list[Array]] | None = None

    def of(self, i: int, elementwise: bool) -> Any:
        """How far one of the values may be off, each element or the largest of them."""
        if self.known is None:
            self.known = self._moved(), self._lost()
        moved, lost = (each[i] if elementwise else each[i].max(initial=0.0) for each in self.known)
        return NOISE * moved + LOST * lost

    def _moved(self) -> list[Array]:
        result = [np.zeros(v.shape) for v in self.values]
        if self.comparison.draw.is_exact:  # off the tie or the edge everything may be another
            return result
        for seed in range(4):
            rng = np.random.default_rng(50 + seed)
            choice = [1.0] if seed == 0 else [-1.0] if seed == 1 else [-1.0, 1.0]
            near = {
                key: np.asarray(v * (1 + np.finfo(v.dtype).eps * rng.choice(choice, v.shape)), v.dtype)
                if isinstance(v, np.ndarray) and v.dtype.kind == "f" else v
                for key, v in self.comparison.drawn.items()
            }  # fmt: skip
            with np.errstate(all="ignore"), contextlib.suppress(*UNFIT):
                for i, a in enumerate(self.run(self.side, near, False)):
                    result[i] = np.maximum(result[i], _off(a, self.values[i]))
        return result

    def _lost(self) -> list[Array]:
        """What the side's own rounding took: digits that cancel, not a number that vanished by its size."""
        result = [np.zeros(v.shape) for v in self.values]
        comparison = self.comparison
        wide = {
            key: v.astype(np.float64) if isinstance(v, np.ndarray) and v.dtype.kind == "f" else v
            for key, v in comparison.drawn.items()
        }
        with np.errstate(all="ignore"), contextlib.suppress(*UNFIT):
            comparison.peak = 0.0
            for i, exact in enumerate(self.run(self.side, wide, True)):
                value = self.values[i]
                if value.dtype.kind == "f":
                    off = _off(exact, value)
                    peak = comparison.peak if np.shape(comparison.peak) in ((), value.shape) else 0.0
                    told = np.maximum(SHARE * np.abs(exact), ULPS * float(np.finfo(value.dtype).eps) * peak)
                    if not comparison.elementwise:
                        told = np.max(told, where=np.isfinite(told), initial=0.0)
                    result[i] = np.where(off <= told, off, 0.0)
        return result


def _off(a: Array, b: Array) -> Array:
    """How far two arrays are apart, 0 where one is not finite or they are no floats."""
    if b.dtype.kind != "f":
        return np.zeros(b.shape)
    off = np.abs(np.asarray(a, np.float64) - b.astype(np.float64))
    return np.where(np.isfinite(off), off, 0.0)


def _largest(off: Array) -> tuple[int, ...]:
    """Where the largest number of an array is."""
    return tuple(int(i) for i in np.unravel_index(int(off.argmax()), off.shape))


def _place(at: tuple[int, ...]) -> str:
    return f"[{', '.join(map(str, at))}]" if at else ""


def _number(value: Any) -> str:
    return f"{value:.6g}" if value.dtype.kind == "f" else str(value)
