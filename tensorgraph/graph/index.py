"""`Index`: who makes a value of a graph, who uses it, and where: the one index, made once a graph in linear time."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tensorgraph.graph.graph import Equation, Graph, Literal, Var

__all__ = ["Index"]


class Index:
    """What follows from the order of a graph's equations.

    Attributes
    ----------
    position : dict of Var to int
        The number of the equation that makes a value; inputs, cells and captured arrays are not in it.
    users : dict of Var to tuple of int
        The numbers of the equations that read a value, each once, in order; no entry where nobody does.
    results : frozenset of Var
        What the graph gives or writes.
    depths : dict of Var to int
        How many equations lie one before the other up to a value, its own included; inputs, cells and captured arrays
        are not in it.
    """

    __slots__ = ("_depths", "equations", "position", "results", "users")

    def __init__(self, graph: Graph) -> None:
        self.equations = graph.equations
        self.position: dict[Var, int] = {}
        users: dict[Var, list[int]] = {}
        for number, eq in enumerate(graph.equations):
            for out in eq.outputs:
                self.position[out] = number
            for var in eq.variables():
                numbers = users.setdefault(var, [])
                if not numbers or numbers[-1] != number:
                    numbers.append(number)
        self.users: dict[Var, tuple[int, ...]] = {var: tuple(numbers) for var, numbers in users.items()}
        self.results: frozenset[Var] = frozenset(graph.results())
        self._depths: dict[Var, int] | None = None

    @property
    def depths(self) -> dict[Var, int]:
        if self._depths is None:
            found: dict[Var, int] = {}
            for eq in self.equations:
                depth = 1 + max((found.get(var, 0) for var in eq.variables()), default=0)
                found.update((out, depth) for out in eq.outputs)
            self._depths = found
        return self._depths

    def maker(self, atom: Var | Literal) -> Equation | None:
        """The equation that makes a value; None for inputs, cells, captured arrays and literals."""
        number = self.position.get(atom)  # type: ignore[arg-type]
        return None if number is None else self.equations[number]

    def readers(self, var: Var) -> tuple[Equation, ...]:
        """The equations that read a value, in order."""
        return tuple(self.equations[number] for number in self.users.get(var, ()))
