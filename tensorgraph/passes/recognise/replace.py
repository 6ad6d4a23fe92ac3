"""Putting a fused op in a region's place: its inputs brought into shape, its outputs under the region's names."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import Any

from tensorgraph.engine.aval import Aval
from tensorgraph.engine.op import Op
from tensorgraph.graph.graph import Equation, Graph, Literal, Var
from tensorgraph.ops.creation import full, ones, zeros
from tensorgraph.ops.shape import broadcast_to, reshape
from tensorgraph.passes.recognise.roles import elements
from tensorgraph.passes.recognise.view import Match, Place, View
from tensorgraph.passes.rewrite import Log, infer

__all__ = ["ordered", "replace_regions"]


def replace_regions(graph: Graph, view: View, matches: Sequence[Match]) -> tuple[Graph, int]:
    """The graph with each region replaced, and how many were.

    A replacement whose inputs would depend on its outputs is left out: regions may be each convex and together not.
    """
    log = Log(graph, "recognise")
    gone: set[int] = set()
    added: dict[int, list[Equation]] = {}
    count = 0

    def built() -> list[Equation] | None:
        others = [eq for n, eq in enumerate(view.equations) if n not in gone]
        return ordered([*others, *(eq for n in sorted(added) for eq in added[n])], view)

    orders: list[Equation] | None = list(view.equations)
    pairs = [(match, _replacement(view, match)) for match in matches]
    for match, equations in pairs:
        gone |= match.numbers
        added[max(match.numbers)] = equations
    orders = built()
    if orders is None:  # one at a time, as long as they can be ordered
        gone.clear()
        added.clear()
        orders = list(view.equations)
        others = []
        for match, equations in pairs:
            gone |= match.numbers
            added[max(match.numbers)] = equations
            order = built()
            if order is None:
                gone -= match.numbers
                del added[max(match.numbers)]
            else:
                orders = order
                others.append((match, equations))
        pairs = others
    for match, equations in pairs:
        count += 1
        last = view.equations[max(match.numbers)]
        before = "; ".join(log.text(view.equations[n]) for n in sorted(match.numbers))
        fused = next(eq for eq in equations if eq.op is match.op)
        scopes = [view.equations[n].scope for n in sorted(match.numbers)]
        log.note(f"{match.op.name}: {match.rule}", before, fused, last.source, scopes=scopes)
    return graph.replace(
        equations=tuple(_needed(graph, view, orders, gone)), changes=(*graph.changes, *log.changes)
    ), count


def _replacement(view: View, match: Match) -> list[Equation]:
    """The equations that stand for a region."""
    last = view.equations[max(match.numbers)]
    equations: list[Equation] = []

    def emit(op: Op, inputs: tuple[Any, ...], attrs: dict[str, Any], outputs: Sequence[Var | None]) -> Equation:
        avals = infer(op, inputs, attrs)
        variables = tuple(Var(aval) if out is None else out for out, aval in zip(outputs, avals, strict=True))
        eq = Equation(op, inputs, attrs, variables, last.call, last.source, last.origin, last.part)
        equations.append(eq)
        return eq

    def seat(place: Place, dtype: Any) -> Var | Literal:
        if place.var is not None:
            if place.var.aval.shape == place.shape:
                return place.var
            if elements(place.var.aval) == elements(Aval(place.shape, place.var.aval.dtype)):
                origin = _same_elements(view, place.var, place.shape)
                return origin or emit(reshape, (place.var,), {"shape": place.shape}, (None,)).outputs[0]
            return emit(broadcast_to, (place.var,), {"shape": place.shape}, (None,)).outputs[0]
        if place.fill is None:
            return Literal(None)
        if place.fill in (0.0, 1.0):
            return emit(
                ones if place.fill else zeros, (), {"shape": place.shape, "dtype": dtype.name}, (None,)
            ).outputs[0]
        attrs = {"shape": place.shape, "value": place.fill, "dtype": dtype.name}
        return emit(full, (), attrs, (None,)).outputs[0]

    main = next(p.var for p in match.places if p.var is not None)
    inputs = tuple(seat(place, main.aval.dtype) for place in match.places)
    avals = infer(match.op, inputs, match.attrs)
    direct: list[Var | None] = [None] * len(avals)
    for var, i in match.outputs:
        if var.aval == avals[i]:
            direct[i] = var
    fused = emit(match.op, inputs, dict(match.attrs), direct)
    for var, i in match.outputs:
        if direct[i] is not var:
            emit(reshape, (fused.outputs[i],), {"shape": var.aval.shape}, (var,))
    return equations


def _same_elements(view: View, var: Var, shape: tuple[int, ...]) -> Var | None:
    """What a variable was reshaped from, if that has the shape that is wanted."""
    while True:
        eq = view.maker(var)
        if eq is None or var in view.asked or "reshapes" not in eq.op.traits or type(eq.inputs[0]) is not Var:
            return None
        var = eq.inputs[0]
        if var.aval.shape == shape:
            return var


def ordered(equations: list[Equation], view: View | None = None) -> list[Equation] | None:
    """The equations in an order in which each follows what it reads, as near the given one as can be; None: a cycle.

    With a view those of its graph keep their places, and each other one stands behind what it reads.
    """
    maker = {out: i for i, eq in enumerate(equations) for out in eq.outputs}
    place = [(i, 0) for i in range(len(equations))] if view is None else _places(equations, view)
    waits = [0] * len(equations)
    users: list[list[int]] = [[] for _ in equations]
    for i, eq in enumerate(equations):
        for var in eq.variables():
            if var in maker:
                waits[i] += 1
                users[maker[var]].append(i)
    heap = [(place[i], i) for i, n in enumerate(waits) if not n]
    heapq.heapify(heap)
    order = []
    while heap:
        _, i = heapq.heappop(heap)
        order.append(equations[i])
        for user in users[i]:
            waits[user] -= 1
            if not waits[user]:
                heapq.heappush(heap, (place[user], user))
    return order if len(order) == len(equations) else None


def _places(equations: list[Equation], view: View) -> list[tuple[int, int]]:
    """Where each equation would stand in the graph of the view."""
    rank = {id(eq): (n, 0) for n, eq in enumerate(view.equations)}
    tail = 0
    place = []
    for eq in equations:
        if id(eq) in rank:
            place.append(rank[id(eq)])
            tail = 0
            continue
        tail += 1
        old = [view.position[out] for out in eq.outputs if out in view.position]
        read = [view.position[v] for v in eq.variables() if v in view.position]
        place.append((max([*old, *read], default=-1), tail))
    return place


def _needed(graph: Graph, view: View, equations: list[Equation], gone: set[int]) -> list[Equation]:
    """Without what served only the regions: their side inputs, and equations that nothing needed already.

    Other equations that nothing needs stay: removing them is another pass's work.
    """
    lost = {out for n in gone for out in view.equations[n].outputs}
    lost -= {out for eq in equations for out in eq.outputs}
    wanted = set(view.results)
    live = set()
    for eq in reversed(equations):
        if any(out in wanted for out in eq.outputs):
            live.add(id(eq))
            wanted.update(eq.variables())
    was_live = {id(eq) for n, eq in enumerate(view.equations) if view.live[n]}
    known = {id(eq) for eq in view.equations}
    result = []
    for eq in equations:
        idle = id(eq) in known and id(eq) not in was_live
        if id(eq) in live or (idle and not any(v in lost for v in eq.variables())):
            result.append(eq)
        else:
            lost.update(eq.outputs)
    return result
