"""A graph as recognition looks at it: who makes a value, who uses it, and what has been found in it."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from tensorgraph.engine.aval import Aval
from tensorgraph.engine.op import Op
from tensorgraph.graph.graph import Equation, Graph, Var

__all__ = ["Match", "Place", "View", "elements", "variables"]


@dataclass(frozen=True, slots=True)
class Place:
    """What stands at one input of a fused op: a variable in a shape of the op's, or a constant, or nothing.

    `var` is brought to `shape` (by a reshape, or by broadcasting a number). Without a variable, `fill` is the number
    that fills `shape`; None leaves an optional input out.
    """

    var: Var | None
    shape: tuple[int, ...] = ()
    fill: float | None = None


@dataclass(frozen=True)
class Match:
    """A region that is a fused op: what replaces it.

    `made` pairs each variable that the region gives with the number of the op's output that it is; `numbers` are the
    region's equations. `rule` says how it was found.
    """

    op: Op
    attrs: dict[str, Any]
    places: tuple[Place, ...]
    made: tuple[tuple[Var, int], ...]
    numbers: frozenset[int]
    rule: str


class View:
    """Indices of a graph's equations. Equations that nothing needs are not counted as users."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.equations = graph.equations
        self.made_by: dict[Var, int] = {}
        self.written: set[Var] = {w.value for w in graph.writes if type(w.value) is Var}
        self.returned: set[Var] = {a for a in graph.outputs if type(a) is Var}
        # a gradient with respect to one of these counts every path that leads through it
        self.asked: set[Var] = set()
        for number, eq in enumerate(self.equations):
            for out in eq.outputs:
                self.made_by[out] = number
            if eq.is_gradient:
                xs = eq.inputs[1]
                self.asked.update(x for x in (xs if isinstance(xs, tuple) else (xs,)) if type(x) is Var)
        self.read = [tuple(variables(eq)) for eq in self.equations]
        self.live = [False] * len(self.equations)
        needed = self.written | self.returned
        for number in range(len(self.equations) - 1, -1, -1):
            eq = self.equations[number]
            if any(out in needed for out in eq.outputs):
                self.live[number] = True
                needed.update(self.read[number])
        self.users: dict[Var, list[int]] = {}
        for number in range(len(self.equations)):
            if self.live[number]:
                for var in self.read[number]:
                    self.users.setdefault(var, []).append(number)
        self.names = {eq.op.name for eq in self.equations}

    def maker(self, var: Var) -> Equation | None:
        """The equation that makes a variable; None for inputs, cells and constants."""
        number = self.made_by.get(var)
        return None if number is None else self.equations[number]

    def leaves(self, var: Var, numbers: Collection[int]) -> bool:
        """Whether a value of a region is used outside it, by something that counts. `numbers` is a set."""
        if var in self.written or var in self.returned:
            return True
        return any(n not in numbers for n in self.users.get(var, ()))

    def is_closed(self, numbers: Collection[int], made: Iterable[Var]) -> bool:
        """Whether nothing outside needs another value of a region than those that it gives.

        A gradient with respect to a value inside would lose the paths that the region hides.
        """
        given = set(made)
        for n in numbers:
            for var in self.equations[n].outputs:
                if var not in given and self.leaves(var, numbers):
                    return False
                if var in self.asked and any(u in numbers for u in self.users.get(var, ())):
                    return False
        return True


def variables(eq: Equation) -> Iterable[Var]:
    """The variables that an equation reads, each once."""
    return dict.fromkeys(a for a in eq.atoms() if type(a) is Var)


def elements(aval: Aval) -> int:
    """How many numbers a value has."""
    n = 1
    for d in aval.shape:
        n *= d
    return n
