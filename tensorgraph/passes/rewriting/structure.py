"""Where a pattern stands in a graph equation by equation: operands of commutative ops in either order.

A pattern's inputs are its variables. They stand for any value, a captured array or a number of the graph; one that
comes twice stands for one value. First the types do not count, then the pattern is traced for those that were met, and
has to be there to the last attribute.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tensorgraph.graph.graph import Literal, Var, typed_key
from tensorgraph.graph.index import Index
from tensorgraph.passes.recognise.view import View
from tensorgraph.passes.rewriting.sides import UNFIT, Pattern, Side

__all__ = ["Occurrence", "Search", "Values", "occurrences", "same_number", "stands_at"]

MOST_STEPS = 20_000  # pairs of values that are compared at one place
MOST_WAYS = 64  # ways of one pattern at one place that are tried with their types

Bound = dict[Var, Var | Literal]


@dataclass(frozen=True, eq=False)
class Occurrence:
    """Where the first side of a rewriting stands.

    Attributes
    ----------
    arguments : tuple of Var or Literal
        What stands for each of its arguments.
    outputs : tuple of Var
        The values that it gives.
    numbers : frozenset of int
        The equations between them.
    how : str
        How it was found.
    free : tuple of (str, object)
        The values of attributes that the side takes by name.
    """

    arguments: tuple[Var | Literal, ...]
    outputs: tuple[Var, ...]
    numbers: frozenset[int]
    how: str
    free: tuple[tuple[str, Any], ...] = ()


class Values:
    """A graph's values, equal ones as one: what two equations alike give is the same.

    `cells`: its inputs that are cells of another graph, which holds it.
    """

    def __init__(self, view: View, cells: Mapping[Any, Var] | None = None) -> None:
        self.view = view
        self.first: dict[Var, Var] = {}
        known: dict[Any, tuple[Var, ...]] = {}
        for eq in view.equations:
            if eq.is_gradient or eq.bodies() or not view.asked.isdisjoint(eq.outputs):
                continue
            key = eq.op, tuple(map(self._use, eq.inputs)), typed_key(dict(eq.attrs)), len(eq.outputs)
            self.first.update(zip(eq.outputs, known.setdefault(key, eq.outputs), strict=True))
        self.by_op: dict[Any, list[int]] = {}
        for number, eq in enumerate(view.equations):
            if view.live[number]:
                self.by_op.setdefault(eq.op, []).append(number)
        live = view.graph.provenance.cells(len(view.graph.cells))
        decls = view.graph.cells
        self.cells: dict[Any, Var] = {decl.path: decl.var for decl in decls}
        self.cells |= {cell: decl.var for cell, decl in zip(live, decls, strict=True) if cell is not None}
        self.cells |= cells or {}

    def _use(self, atom: Any) -> Any:
        if isinstance(atom, tuple):
            return tuple(map(self._use, atom))
        return self.first.get(atom, atom) if type(atom) is Var else ("literal", typed_key(atom.value))

    def same(self, a: Var | Literal, b: Var | Literal) -> bool:
        """Whether two atoms of the graph are one value."""
        if type(a) is Var and type(b) is Var:
            return self.first.get(a, a) is self.first.get(b, b)
        return isinstance(a, Literal) and isinstance(b, Literal) and typed_key(a.value) == typed_key(b.value)


def same_number(a: Any, b: Any) -> bool:
    """Whether two literals are one number; 2 and 2.0 are, as types are compared where they are used."""
    numbers = type(a) in (int, float) and type(b) in (int, float)
    return bool(typed_key(float(a) if numbers else a) == typed_key(float(b) if numbers else b))


@dataclass
class Search:
    """One pattern sought in one graph. `exact`: with types, attributes and numbers.

    `missed` is where it came furthest and failed: how many values were the same, and the pair that was not.
    """

    values: Values
    pattern: Pattern
    exact: bool
    inputs: frozenset[Var] = field(init=False)
    index: Index = field(init=False)
    steps: int = 0
    missed: tuple[int, Any, Any] = (0, None, None)

    def __post_init__(self) -> None:
        self.inputs, self.index = frozenset(self.pattern.graph.inputs), self.pattern.graph.index

    @property
    def roots(self) -> list[Var]:
        return [out for out in self.pattern.graph.outputs if type(out) is Var]

    def at(self, number: int, bound: Mapping[Var, Var | Literal] = {}) -> Iterator[Bound]:
        """What stands for each of the pattern's variables, where its first result is one of this equation's."""
        first, *rest = self.roots
        eq, made = self.values.view.equations[number], self.index.maker(first)
        if made is None or made.op is not eq.op or len(made.outputs) > len(eq.outputs):
            return
        self.steps = 0
        yield from self._others(rest, [(first, eq.outputs[made.outputs.index(first)])], dict(bound))

    def _others(self, rest: list[Var], goals: list[tuple[Any, Any]], bound: Bound) -> Iterator[Bound]:
        """The ways in which these goals hold, and the other results are found near them."""
        for way in self.ways(goals, bound):
            if not rest:
                yield way
                continue
            root, *later = rest
            made = self.index.maker(root)
            if made is None or root in way:
                yield from self._others(later, [], way)
                continue
            position = made.outputs.index(root)
            for number in self.values.by_op.get(made.op, ()):
                outputs = self.values.view.equations[number].outputs
                if position < len(outputs):
                    yield from self._others(later, [(root, outputs[position])], way)
                if self.steps > MOST_STEPS:
                    return

    def ways(self, goals: list[tuple[Any, Any]], bound: Bound) -> Iterator[Bound]:
        """Every way to make these pairs, of something of the pattern and something of the graph, the same."""
        # The plan: a stack of states, each the pairs that are left and what is known. One state is followed until it
        # fails or is complete; where operands may be exchanged, the exchange is another state, for later. What the
        # pattern binds is the first of equal values, so a value that was computed twice is met by either.
        states = [(list(goals), dict(bound))]
        while states and self.steps <= MOST_STEPS:
            left, known = states.pop()
            while left:
                self.steps += 1
                theirs, ours = left.pop()
                if isinstance(theirs, Literal):
                    if not isinstance(ours, Literal) or not self._same_literal(theirs.value, ours.value):
                        break
                    continue
                if theirs in known:
                    if not self.values.same(known[theirs], ours):
                        break
                    continue
                known[theirs] = ours
                if theirs in self.inputs:
                    if not self._may_stand(theirs, ours):
                        break
                    continue
                further = self._beyond(theirs, ours)
                if further is None:
                    break
                if len(further) == 2 and self._commutes(theirs):
                    (a, x), (b, y) = further
                    states.append(([*left, (a, y), (b, x)], dict(known)))
                left += reversed(further)
            else:
                yield known
                continue
            if len(known) > self.missed[0]:
                self.missed = len(known), theirs, ours

    def _same_literal(self, theirs: Any, ours: Any) -> bool:
        if type(theirs) in (int, float) and type(ours) in (int, float) and not self.exact:
            return True  # it may come from a size
        return same_number(theirs, ours)

    def _may_stand(self, theirs: Var, ours: Var | Literal) -> bool:
        if isinstance(ours, Literal):
            return type(ours.value) in (int, float, bool) and not self.exact
        return not self.exact or theirs.aval == ours.aval

    def _commutes(self, theirs: Var) -> bool:
        eq = self.index.maker(theirs)
        return eq is not None and "commutative" in eq.op.traits

    def _beyond(self, theirs: Var, ours: Var | Literal) -> list[tuple[Any, Any]] | None:
        """What has to be the same for a value of the pattern to be one of the graph; None where it cannot be."""
        graph, view = self.pattern.graph, self.values.view
        if theirs in graph.consts:
            held = view.graph.consts.get(ours) if type(ours) is Var else None
            if held is None or (self.exact and not _same_array(held, graph.consts[theirs])):
                return None
            return []
        if theirs in self.pattern.cells:
            return [] if self.values.cells.get(self.pattern.cells[theirs]) is ours else None
        e, f = self.index.maker(theirs), view.maker(ours)
        if e is None or f is None or e.op is not f.op:
            return None
        if self.exact and typed_key(dict(e.attrs)) != typed_key(dict(f.attrs)):
            return None
        if type(ours) is not Var or len(e.outputs) > len(f.outputs):
            return None
        if view.graph.index.depths[ours] < self.index.depths[theirs]:  # a long pattern is sought where it can end
            return None
        if f.outputs.index(ours) != e.outputs.index(theirs) or (self.exact and theirs.aval != ours.aval):
            return None
        pairs: list[tuple[Any, Any]] = []
        for a, b in zip(e.inputs, f.inputs, strict=True):
            several, others = (x if isinstance(x, tuple) else (x,) for x in (a, b))
            if isinstance(a, tuple) != isinstance(b, tuple) or len(several) != len(others):
                return None
            pairs += zip(several, others, strict=True)
        return pairs


def _same_array(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def occurrences(values: Values, side: Side, patterns: Iterable[Pattern]) -> list[Occurrence]:
    """Every place where a side of a rewriting stands equation by equation, in the graph's order."""
    view, patterns = values.view, [pattern for pattern in patterns if pattern.graph.equations]
    result = []
    for number, eq in enumerate(view.equations):
        if not view.live[number]:
            continue
        for pattern in patterns:
            made = pattern.graph.index.maker(pattern.graph.outputs[0])
            occurrence = _occurrence(values, side, pattern, number) if made and made.op is eq.op else None
            if occurrence is not None:
                result.append(occurrence)
                break
    return result


def _occurrence(values: Values, side: Side, pattern: Pattern, number: int) -> Occurrence | None:
    """The side at this equation, if it is there with its types."""
    tried = set()
    for ways, loose in enumerate(Search(values, pattern, exact=False).at(number)):
        if ways >= MOST_WAYS:
            break
        arguments = [None if var is None else loose.get(var) for var in pattern.places]
        types = tuple(a.aval if type(a) is Var else a for a in arguments)
        key = tuple(typed_key(a.value) if isinstance(a, Literal) else a for a in types)
        if None in arguments or key in tried:
            continue
        tried.add(key)
        try:
            exact = side.pattern(types, pattern.composed)  # type: ignore[arg-type]
        except UNFIT:
            continue
        literals = [a for a in arguments if isinstance(a, Literal)]
        search = Search(values, exact, exact=True)
        if exact.graph.outputs and exact.graph.outputs[0] in search.index.position:
            for bound in search.at(number):
                found = _finished(values, exact, arguments, literals, bound)
                if found is not None:
                    return found
    return None


def _finished(
    values: Values, pattern: Pattern, arguments: list[Any], literals: list[Literal], bound: Bound
) -> Occurrence | None:
    """The occurrence that these variables are."""
    given = iter(literals)
    seats = [next(given) if var is None else bound.get(var) for var in pattern.places]
    outputs = [bound.get(out) if type(out) is Var else None for out in pattern.graph.outputs]
    if any(seat is None for seat in seats) or not all(type(out) is Var for out in outputs):
        return None
    if len(set(outputs)) < len(outputs):  # what the side gives twice, it computes twice
        return None
    numbers = set()
    for eq in pattern.graph.equations:
        for out in eq.outputs:
            ours = bound.get(out)
            if type(ours) is Var and ours in values.view.position:
                numbers.add(values.view.position[ours])
    return Occurrence(tuple(seats), tuple(outputs), frozenset(numbers), "by structure")  # type: ignore[arg-type]


def stands_at(values: Values, pattern: Pattern, occurrence: Occurrence) -> bool:
    """Whether a side stands where another was found already, with the same arguments and results."""
    search = Search(values, pattern, exact=True)
    if len(search.roots) != len(pattern.graph.outputs) or len(search.roots) != len(occurrence.outputs):
        return False
    bound = {var: a for var, a in zip(pattern.places, occurrence.arguments, strict=True) if var is not None}
    goals = list(zip(search.roots, occurrence.outputs, strict=True))
    return next(search.ways(goals, dict(bound)), None) is not None
