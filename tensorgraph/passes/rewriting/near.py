"""Where a pattern that stands nowhere in a graph comes nearest to it, and what is another one there: for reports."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from tensorgraph.graph.graph import Graph, Literal, Source, Var, typed_key
from tensorgraph.passes.rewrite import Log
from tensorgraph.passes.rewriting.regions import region_of
from tensorgraph.passes.rewriting.sides import UNFIT, Pattern, Side
from tensorgraph.passes.rewriting.structure import Search, Values
from tensorgraph.text.names import names
from tensorgraph.text.printing import equation_text

__all__ = ["Near", "near", "within_fused"]

MOST_PLACES = 200  # at which a pattern is tried


@dataclass(frozen=True)
class Near:
    """The nearest miss: how much of the pattern is there, in words where it is and what is not, and the user's line."""

    share: float
    words: str
    source: Source | None = None


def near(values: Values, side: Side, patterns: Collection[Pattern], log: Log) -> Near:
    """What comes nearest to a side of a rewriting that has no occurrence."""
    if not patterns:
        refusal = side.refusal
        why = "" if refusal is None else f": {type(refusal).__name__}: {refusal}"
        return Near(0.0, f"{side.what} takes no values of the types that the graph has{why}")
    found = [miss for pattern in patterns for miss in [_missed(values, side, pattern, log)] if miss is not None]
    if found:
        return max(found, key=lambda miss: miss.share)
    roots = dict.fromkeys(_root(pattern) for pattern in patterns)
    if roots.keys() & {eq.op.name for eq in values.view.equations}:
        return Near(0.0, f"nothing depends on what the graph has of {' and '.join(filter(None, roots))}")
    return Near(0.0, f"the graph has no {' and no '.join(filter(None, roots)) or 'op of it'}")


def _root(pattern: Pattern) -> str:
    made = pattern.graph.index.maker(pattern.graph.outputs[0])
    return "" if made is None else made.op.name


def _missed(values: Values, side: Side, pattern: Pattern, log: Log) -> Near | None:
    """The place of the graph that comes nearest to one pattern."""
    made = pattern.graph.index.maker(pattern.graph.outputs[0])
    best: Near | None = None
    size = sum(1 for _ in pattern.graph.variables()) + 1
    for number in () if made is None else values.by_op.get(made.op, ())[:MOST_PLACES]:
        search = Search(values, pattern, exact=False)
        way = next(search.at(number), None)
        share = search.missed[0] / size
        eq = values.view.equations[number]
        if way is not None:  # ops and wiring are the same: it is a type, an attribute or a number
            arguments = [None if var is None else way.get(var) for var in pattern.places]
            types: list[Any] = [a.aval if type(a) is Var else a for a in arguments]
            if None in arguments:
                continue
            try:
                search = Search(values, side.pattern(types, pattern.composed), exact=True)
            except UNFIT as error:
                given = ", ".join(map(str, types))
                words = f"{log.text(eq)}: {side.what} refuses ({given}): {type(error).__name__}: {error}"
                best = best or Near(1.0, words, eq.source)
                continue
            next(search.at(number), None)
            share = 1.0 + search.missed[0] / size
        if search.missed[1] is not None and (best is None or share > best.share):
            words, source = _apart(search, log, side.what)
            best = Near(share, f"nearest is {log.text(eq)}, where {words}", source or eq.source)
    return best


def _apart(search: Search, log: Log, what: str) -> tuple[str, Source | None]:
    """What is another one in the pattern and in the graph, and the line."""
    _, theirs, ours = search.missed
    view = search.values.view
    e, f = search.index.maker(theirs) if type(theirs) is Var else None, view.maker(ours) if type(ours) is Var else None
    source = None if f is None else f.source
    there = log.text(ours) if f is None else log.text(f)
    if isinstance(theirs, Literal):
        reader = next((eq for eq in view.equations if any(a is ours for a in eq.atoms())), None)
        if reader is None:
            return f"{what} has {theirs!r} and the graph {there}", source
        return f"{what} has {theirs!r} and the graph {log.text(ours)} in {log.text(reader)}", reader.source
    if e is None:
        cell = search.pattern.cells.get(theirs)
        if cell is not None:
            return f"{what} reads the cell {getattr(cell, 'path', cell)} and the graph {log.text(ours)}", source
        if theirs in search.pattern.graph.consts:
            return f"{what} has a captured array that is not {log.text(ours)}", source
        if type(ours) is Var and theirs.aval != ours.aval:
            return f"{what} has {theirs.aval} and the graph {log.text(ours)}: {ours.aval}", source
        return f"{what} has one value in several places, and {log.text(ours)} is another", source
    mine = equation_text(e, names(search.pattern.graph))
    if f is None or e.op is not f.op:
        return f"{what} has {mine} and the graph {there}", source
    differing = [
        f"{name}={e.attrs[name]!r} and the graph {name}={value!r}"
        for name, value in f.attrs.items() if typed_key(e.attrs[name]) != typed_key(value)
    ]  # fmt: skip
    if differing:
        return f"{what} has {', '.join(differing)} in {there}", source
    deep, there_deep = search.index.depths[theirs], view.graph.index.depths[ours]
    if there_deep < deep:
        return f"{what} has {deep} ops one behind the other and the graph {there_deep}", source
    return f"{what} has {mine} ({theirs.aval}) and the graph {there} ({ours.aval})", source


def within_fused(values: Values, stands: Callable[[Graph], bool]) -> Near | None:
    """The fused op of the graph inside of which something stands, if there is one."""
    for op, numbers in values.by_op.items():
        eq = values.view.equations[numbers[0]]
        if op.reference is None or eq.is_gradient:
            continue
        if stands(region_of(values.view.graph, numbers[0]).graph.expand()):
            words = f"it stands inside {op.name}, a fused op: graph.expand({op.name!r}) writes that out"
            return Near(2.0, words, eq.source)
    return None
