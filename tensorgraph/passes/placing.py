"""In which call an equation stands that concerns several.

1. The tape adds up a gradient as soon as a contribution is there, inside the derivative of the call that made it. A
   function that a person writes gives the gradients of what it was handed, and who calls it adds them up: `outside`.
2. Of what two calls compute alike one is left, in the first of them. A person computes it before, and hands it to both:
   `before`.

So all calls do the same, the first as well, and are one function. What is computed from what stays as it was, and so do
all numbers, to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any

from tensorgraph.graph.call_tree import chain_of
from tensorgraph.graph.equation import SUM, Equation
from tensorgraph.graph.graph import Graph, Var
from tensorgraph.graph.outline import NUMBERED

__all__ = ["before", "outside"]

Place = tuple[int, int]  # before which equation, and in how many calls


def outside(graph: Graph) -> Graph:
    """The graph, each sum of gradients behind the outermost derivative of a call that neither made what was there
    before nor reads what comes of it.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> def wave(x, w):
    ...     return tg.sin(x * w)
    >>> graph = tg.trace(tg.grad(lambda w, x: wave(wave(x, w), w).sum()), tg.f32[3], tg.f32[3])
    >>> graph.differentiate().equations[-1].call.name
    'f'
    """
    spans, index = _Spans(graph), graph.index
    moved: dict[int, Place] = {}

    def leaves(number: int, start: int, stop: int, depth: int) -> bool:
        """Whether a sum may stand behind a call."""
        eq = graph.equations[number]
        if eq.origin is None or eq.origin.rule != SUM or len(eq.inputs) != 2:
            return False
        earlier = eq.inputs[0]
        maker = index.position.get(earlier, -1) if type(earlier) is Var else -1  # of what was there before
        behind, calls = moved.get(maker, (maker + 1, 0))
        inside = start < behind < stop or (behind == stop and (maker not in moved or calls > depth))
        users = [user for user in index.users.get(eq.outputs[0], ()) if user < stop]
        return (
            not inside
            and all(  # a sum of runs is one of sums
                graph.equations[user].inputs[-1:] == eq.outputs and leaves(user, start, stop, depth) for user in users
            )
        )

    for number, around in enumerate(spans.of):
        for depth, (start, stop) in enumerate(around):
            if spans.chains[number][depth][1] and leaves(number, start, stop, depth):
                moved[number] = stop, depth
                break
    return spans.moved(moved, last=True)


def before(graph: Graph, shared: Collection[Var]) -> Graph:
    """The graph, what makes these values before the calls in which they are read: as soon as it can be.

    That is where several calls of one function compute the same. What a call gives, or keeps for its derivative, stays.
    """
    spans = _Spans(graph)
    moved: dict[int, Place] = {}
    for number in sorted(graph.index.position[var] for var in shared if var in graph.index.position):
        eq, chain = graph.equations[number], spans.chains[number]
        readers = [spans.chains[user] for out in eq.outputs for user in graph.index.users.get(out, ())]
        depth = min((_common(chain, reader) for reader in readers), default=len(chain))
        if depth < len(chain) and any(_are_alike(chain, reader, depth) for reader in readers):
            place = max(map(spans.behind(number, depth, moved), eq.variables()), default=spans.begin(number, depth))
            if place <= (spans.of[number][depth][0], depth):
                moved[number] = place
    return spans.moved(moved, last=False)


class _Spans:
    """The calls around each equation of a graph: a derivative of a call is one of its own."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        known: dict[Any, list[Any]] = {}
        self.chains: list[list[Any]] = []
        for eq in graph.equations:
            key = eq.call, None if eq.origin is None else eq.origin.passes
            if key not in known:
                # what has no name stands in the text of who called it
                known[key] = [item for item in chain_of(eq) if item[0].name.isidentifier()]
            self.chains.append(known[key])
        self.of: list[list[list[int]]] = []  # where they begin and end, the outermost first
        around: list[list[int]] = []
        before: list[Any] = []
        for number, chain in enumerate(self.chains):
            same = _common(before, chain)
            around = [*around[:same], *[[number, number] for _ in chain[same:]]]
            for span in around:
                span[1] = number + 1
            self.of.append(around)
            before = chain

    def begin(self, number: int, depth: int) -> Place:
        """Where the call begins that is so many calls around an equation."""
        return (self.of[number][depth - 1][0] if depth else 0), depth

    def behind(self, number: int, depth: int, moved: dict[int, Place]) -> Callable[[Var], Place]:
        """Where in that call a value is there: behind the equation or the call that makes it."""
        first = self.begin(number, depth)

        def place(var: Var) -> Place:
            maker = self.graph.index.position.get(var, -1)
            if maker < first[0]:
                return first
            if maker in moved and moved[maker][1] <= depth:
                return max(moved[maker][0], first[0]), depth
            around = self.of[maker]
            return (around[depth][1] if len(around) > depth else maker + 1), depth

        return place

    def moved(self, places: dict[int, Place], last: bool) -> Graph:
        """The graph with some equations elsewhere, in the call that is left in so many: there behind or before the
        calls that they come from."""
        if not places:
            return self.graph

        def rank(number: int) -> tuple[int, int, int]:
            at, depth = places.get(number, (number, 0))
            return at, 0 if number not in places else -depth - 1 if last else depth - len(self.graph.equations), number

        equations = []
        for number in sorted(range(len(self.graph.equations)), key=rank):
            eq: Equation = self.graph.equations[number]
            if number in places:
                call, _ = self.chains[number][places[number][1]]
                eq = replace(eq, call=call.parent)
            equations.append(eq)
        return self.graph.replace(equations=tuple(equations))


def _common(mine: list[Any], yours: list[Any]) -> int:
    """How many calls around two equations are the same."""
    same = 0
    while same < len(mine) and same < len(yours) and mine[same] == yours[same]:
        same += 1
    return same


def _are_alike(mine: list[Any], yours: list[Any], depth: int) -> bool:
    """Whether the calls in which two equations part are two of one function, or derivatives of two."""
    if depth >= len(yours) or mine[depth] == yours[depth]:
        return False
    (call, passes), (other, others) = mine[depth], yours[depth]
    said, name = (NUMBERED.sub("", one.name) for one in (call, other))
    return bool((call.kind, said, len(passes)) == (other.kind, name, len(others)))
