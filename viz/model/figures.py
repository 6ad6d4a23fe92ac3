"""Figures of a graph's equations, gathered on the boxes of a drawing.

A deferred gradient is measured and counted written out. What its equations come to stands on the gradient box beside
the op that they belong to, or on the one box of the whole gradient; of several gradients, each has its own.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

from tensorgraph.graph.graph import Atom, Graph, Origin, Var
from tensorgraph.viz.model.drawing import Drawing, Node

__all__ = ["Join", "computing", "gathered", "leaving", "origins"]

Join = Callable[[Iterable[float]], float]
Backward = Mapping[int, Mapping[int, float]]  # by deferred gradient, by equation whose derivative it is; -1: of none
_PASS = re.compile(r"~grad#(\d+)$")


def computing(drawing: Drawing) -> list[Node]:
    """The boxes that can have a figure: where values only come in, go out or enter a template, nothing is computed."""
    idle = {node.id for node in drawing.nodes if node.role in ("input", "output")}
    idle |= {node.id for node in drawing.nodes if node.role == "write" and not node.members}
    return [node for node in drawing.nodes if node.id not in idle | drawing.points]


def gathered(
    drawing: Drawing, at: Sequence[int] | None, forward: Mapping[int, float], backward: Backward, join: Join
) -> dict[str, float]:
    """The figures of each box's members, joined; NaN where none has any.

    `at` says which equations of the graph the members of the drawing are, where they are not their positions.
    """
    members = {node.id: tuple(i if at is None else at[i] for i in node.members) for node in drawing.nodes}
    twins = [node for node in drawing.nodes if node.role == "gradient" and node.twin]
    which = {node.id: int(part[1]) if (part := _PASS.search(node.path)) else 0 for node in twins}
    deferred = {which[node.id]: i for node in twins for i in members[node.id] if i in backward}
    shown: dict[int, set[int]] = defaultdict(set)
    for node in twins:
        shown[which[node.id]].update(members[node.twin or ""])
    found: dict[str, float] = {}
    for node in computing(drawing):
        own = members[node.id]
        parts = [forward[i] for i in own if i in forward]
        if node.id in which:
            one = deferred.get(which[node.id], -1)
            given = backward.get(one, {})
            parts += [given[i] for i in members[node.twin or ""] if i in given]
            if one in own:  # what belongs to no box stands where the gradient begins
                parts += [figure for i, figure in given.items() if i not in shown[which[node.id]]]
        else:
            parts += [figure for i in own for figure in backward.get(i, {}).values()]
        found[node.id] = join(parts) if parts else math.nan
    return found


def origins(
    graph: Graph, whole: Graph, figures: Sequence[float], join: Join
) -> tuple[dict[int, float], dict[int, dict[int, float]]]:
    """The figures of the equations of `graph` by position, and those of its gradients, written out in `whole`."""
    # The plan:
    # 1. both graphs are walked side by side: an equation of the same origin, or of none, is the next one of `graph`;
    # 2. by what they read, the values that deferred gradients have become are found;
    # 3. from those backwards, every equation with an origin belongs to the first gradient that needs it;
    # 4. its figure goes to the forward equation that its origin names.
    own = [i for i, eq in enumerate(graph.equations) if not eq.is_gradient]
    given = {out: i for i, eq in enumerate(graph.equations) if eq.is_gradient for out in eq.outputs}
    maker = whole.index.position
    place: dict[Var, int] = {}  # of a value of `whole` in `graph`
    ends: dict[int, list[Var]] = defaultdict(list)  # what a deferred gradient has become
    forward: dict[int, float] = {}

    def same(old: Iterable[Atom], new: Iterable[Atom]) -> None:
        for a, b in zip(old, new, strict=False):
            if isinstance(a, Var) and a in given and isinstance(b, Var):
                ends[given[a]].append(b)

    def alike(new: Origin | None, old: Origin | None) -> bool:
        """Whether neither is of a gradient, or both are, written out before: by one rule, of one value."""
        if new is None or old is None:
            return new is old
        return new.rule == old.rule and place.get(new.of, -1) == graph.index.position.get(old.of, -1)

    waiting = iter(own)
    following = next(waiting, None)
    for eq, figure in zip(whole.equations, figures, strict=True):
        current = None if following is None else graph.equations[following]
        if following is None or current is None or eq.op is not current.op:
            continue
        if alike(eq.origin, current.origin):
            forward[following] = figure
            place.update(dict.fromkeys(eq.outputs, following))
            same(current.atoms(), eq.atoms())
            following = next(waiting, None)
    same(graph.outputs, whole.outputs)
    same([write.value for write in graph.writes], [write.value for write in whole.writes])
    owner: dict[int, int] = {}  # an earlier gradient may be what a later one is taken of
    for i in sorted(ends):
        pending = ends[i]
        while pending:
            n = maker.get(pending.pop(), -1)
            if n >= 0 and n not in owner and whole.equations[n].origin is not None:
                owner[n] = i
                pending.extend(a for a in whole.equations[n].atoms() if isinstance(a, Var))
    parts: dict[tuple[int, int], list[float]] = defaultdict(list)
    for n, (eq, figure) in enumerate(zip(whole.equations, figures, strict=True)):
        if eq.origin is not None and n in owner:
            of = eq.origin.of
            parts[owner[n], place.get(of, owner.get(maker.get(of, -1), -1))].append(figure)
    backward: dict[int, dict[int, float]] = defaultdict(dict)
    for (i, of_what), several in parts.items():
        backward[i][of_what] = join(several)
    return forward, backward


def leaving(drawing: Drawing, graph: Graph, values: Mapping[Var, float], join: Join) -> dict[str, float]:
    """For each box, the figures of the values that leave it (of all, where none does), joined."""
    inside = {i: node.id for node in drawing.nodes for i in node.members}
    maker = {v: inside[i] for i, eq in enumerate(graph.equations) for v in eq.outputs if i in inside}
    going: dict[str, dict[Var, None]] = {}
    for i, eq in enumerate(graph.equations):
        for atom in eq.atoms():
            if isinstance(atom, Var) and atom in maker and maker[atom] != inside.get(i):
                going.setdefault(maker[atom], {})[atom] = None
    for out in (*graph.outputs, *(write.value for write in graph.writes)):
        if isinstance(out, Var) and out in maker:
            going.setdefault(maker[out], {})[out] = None
    found: dict[str, float] = {}
    entries, able = iter(graph.inputs), {node.id for node in computing(drawing)}
    for node in drawing.nodes:
        if node.role == "input":
            var = next(entries, None)
            if var is not None and var in values:
                found[node.id] = values[var]
        elif node.id in able:
            own = going.get(node.id) or dict.fromkeys(v for i in node.members for v in graph.equations[i].outputs)
            figures = [values[v] for v in own if v in values]
            found[node.id] = join(figures) if figures else math.nan
    return found
