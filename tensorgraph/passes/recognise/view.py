"""A graph as recognition looks at it: who makes a value, who uses it, and what has been found in it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tensorgraph.engine.op import Op
from tensorgraph.engine.recognition import Traits
from tensorgraph.graph.graph import Equation, Graph, Var
from tensorgraph.passes.recognise.roles import allowed, carries, creates, has, is_polynomial

__all__ = ["Match", "Place", "View", "is_arange"]


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

    `outputs` pairs each variable that the region gives with the number of the op's output that it is; `numbers` are the
    region's equations. `rule` says how it was found.
    """

    op: Op
    attrs: dict[str, Any]
    places: tuple[Place, ...]
    outputs: tuple[tuple[Var, int], ...]
    numbers: frozenset[int]
    rule: str


class View:
    """A graph whose equations that nothing needs do not count as users.

    Attributes
    ----------
    position, maker
        Those of `Graph.index`.
    users : mapping of Var to the numbers of the equations that read it and that something needs
    read : list of the variables that each equation reads, each once
    live : list of whether something needs each equation
    asked : set of the variables that a deferred gradient is taken with respect to
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.equations = graph.equations
        self.position, self.maker, self.results = graph.index.position, graph.index.maker, graph.index.results
        self.read = [tuple(dict.fromkeys(eq.variables())) for eq in self.equations]
        self.live = [False] * len(self.equations)
        # a gradient with respect to one of these counts every path that leads through it
        self.asked: set[Var] = set()
        needed = set(self.results)
        for number in range(len(self.equations) - 1, -1, -1):
            eq = self.equations[number]
            if eq.is_gradient:
                self.asked.update(x for x in eq.group(1) if type(x) is Var)
            if not needed.isdisjoint(eq.outputs):
                self.live[number] = True
                needed.update(self.read[number])
        self.users: Mapping[Var, Sequence[int]] = graph.index.users
        if not all(self.live):
            self.users = {var: [n for n in numbers if self.live[n]] for var, numbers in self.users.items()}
        self.ops = {eq.op for eq in self.equations}
        self.retypings: dict[frozenset[tuple[int, int]], Any] = {}  # by the sizes that are exchanged
        self.statics: dict[frozenset[tuple[int, int]], dict[int, Any]] = {}  # likewise, what equations are, by number
        self._numbers: dict[Callable[[Equation], bool] | Traits, frozenset[int]] = {}

    def numbers(self, role: Callable[[Equation], bool]) -> frozenset[int]:
        """The numbers of the equations of a role, one of `roles.py`."""
        if role not in self._numbers:
            self._numbers[role] = frozenset(n for n, eq in enumerate(self.equations) if role(eq))
        return self._numbers[role]

    def having(self, traits: Traits) -> frozenset[int]:
        """The numbers of the equations that may stand in a region and whose op has these traits; no polynomials."""
        if traits not in self._numbers:
            some = [n for n in self.numbers(allowed) if has(self.equations[n].op, traits)]
            self._numbers[traits] = frozenset(n for n in some if not is_polynomial(self.equations[n]))
        return self._numbers[traits]

    def is_constant(self, var: Var) -> bool:
        """Whether a variable is a captured number, or counts 0, 1, 2, ..., which is as good as a literal."""
        array = self.graph.consts.get(var)
        return array is not None and (array.size == 1 or is_arange(array))

    def is_plain(self, var: Var) -> bool:
        """Whether labels come as they are: an index that arithmetic made may wrap where a fused op would raise."""
        eq = self.maker(var)
        if eq is None or creates(eq) or "positions" in eq.op.traits:
            return True
        read = [v for v in eq.group(0) if type(v) is Var]
        if eq.op.dtype == "cast" and all(v.aval.dtype.kind == "b" for v in read):
            return True
        return carries(eq) and all(self.is_plain(v) for v in read)

    def leaves(self, var: Var, numbers: Collection[int]) -> bool:
        """Whether a value of a region is used outside it, by something that counts. `numbers` is a set."""
        return var in self.results or any(n not in numbers for n in self.users.get(var, ()))

    def is_closed(self, numbers: Collection[int], outputs: Iterable[Var]) -> bool:
        """Whether nothing outside needs another value of a region than those that it gives.

        A gradient with respect to a value inside would lose the paths that the region hides.
        """
        given = set(outputs)
        for n in numbers:
            for var in self.equations[n].outputs:
                if var not in given and self.leaves(var, numbers):
                    return False
                if var in self.asked and any(u in numbers for u in self.users.get(var, ())):
                    return False
        return True


def is_arange(array: np.ndarray[Any, Any]) -> bool:
    """Whether an array counts 0, 1, 2, ..."""
    return array.dtype.kind in "iu" and array.ndim == 1 and array.size > 1 and np.array_equal(array, range(array.size))
