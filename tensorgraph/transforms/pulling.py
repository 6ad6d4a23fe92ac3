"""Gradients of what was computed outside: on the tape, or in a trace around the one that goes on.

A pullback may be called in another trace than its function, as where `vmap` calls it for many cotangents at once. What
the function computed is the same for all of them then, and only the backward pass becomes equations there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tensorgraph.engine import modes
from tensorgraph.engine.backward import pull_back
from tensorgraph.engine.exits import TraceError
from tensorgraph.engine.tensor import Tensor
from tensorgraph.engine.tree import flatten
from tensorgraph.graph.building import Trace
from tensorgraph.graph.graph import Equation, Graph, Var
from tensorgraph.graph.inline import inline
from tensorgraph.graph.losses import refuse_losses

__all__ = ["pull"]


def pull(
    made_in: Trace | None, ys: Sequence[Tensor], xs: Sequence[Tensor], gs: Sequence[Any], retain: bool = False
) -> list[Tensor]:
    """The gradients of `ys`, which were computed from the names `xs` in this trace, or on the tape."""
    now = modes.current().trace
    if now is made_in:
        if now is None:
            return pull_back(ys, xs, gs, None, retain)
        refuse_losses(now.equations, map(now.var, ys), map(now.var, xs))
        return now.gradients(ys, xs, gs, True)
    if now is None:
        raise TraceError("a pullback that was made in a trace is called outside it; call it in the traced function")
    if made_in is None:  # the rules of the tape's nodes run on traced cotangents
        return pull_back(ys, xs, gs, True, True)
    refuse_losses(made_in.equations, map(made_in.var, ys), map(made_in.var, xs))
    graph, read = _section(made_in, ys, xs)
    lifted = [now.lift(x) for x in xs]
    again, _ = inline(graph, [*lifted, *map(made_in.tensor, read)], [])
    # what was computed under no_grad says so where it is used, which is here
    dropped = [type(y._value) is Var and y._value in made_in.cut for y in ys]
    again = [t.detach() if cut else t for t, cut in zip(again, dropped, strict=True)]
    return now.gradients(again, lifted, gs, True)


def _section(trace: Trace, ys: Sequence[Tensor], xs: Sequence[Tensor]) -> tuple[Graph, list[Var]]:
    """The part of a trace in which `ys` are computed from `xs`, and what it reads besides.

    A deferred gradient means the way between what it is taken of and by, so that is a part too.
    """
    names = [x._value for x in xs]
    outputs = [trace.var(y) for y in ys]
    kept: set[Equation] = set()
    ways: list[tuple[Sequence[Any], Sequence[Any]]] = [(names, outputs)]
    while ways:
        fresh = _between(trace, *ways.pop()) - kept
        kept |= fresh
        ways += [(eq.group(1), eq.group(0)) for eq in fresh if eq.is_gradient]
    equations = tuple(eq for eq in trace.equations if eq in kept)
    made = {out for eq in equations for out in eq.outputs}.union(names)
    used = [var for eq in equations for var in eq.variables()] + [out for out in outputs if type(out) is Var]
    read = [var for var in dict.fromkeys(used) if var not in made]
    tree = flatten([0] * (len(names) + len(read)))[1]
    returned = flatten(tuple(outputs))[1]
    graph = Graph((*names, *read), (), {}, equations, (), tuple(outputs), tree, returned, (), "section", ())
    return graph, read


def _between(trace: Trace, starts: Sequence[Any], ends: Sequence[Any]) -> set[Equation]:
    """The equations that use what `starts` lead to, and lead to `ends`."""
    behind, way = set(starts), []
    for eq in trace.equations:
        if not behind.isdisjoint(eq.variables()):
            behind.update(eq.outputs)
            way.append(eq)
    needed = {end for end in ends if type(end) is Var}
    found = set()
    for eq in reversed(way):
        if not needed.isdisjoint(eq.outputs):
            needed.update(eq.variables())
            found.add(eq)
    return found
