"""A graph as another one with other names and sizes: what was found out of one of them holds of the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tensorgraph.engine.op import reduction
from tensorgraph.graph.graph import Equation, Graph, Var

__all__ = ["Renaming", "renaming"]


class Renaming:
    """What each variable and equation of a graph is in another one, in which the same shapes are equal.

    Attributes
    ----------
    variables : dict of Var to Var
    equations : dict of Equation to Equation
        Those that are the same in both are what they are.
    """

    def __init__(self, variables: dict[Var, Var], equations: dict[Equation, Equation]) -> None:
        self.variables, self.equations = variables, equations

    def all(self, some: Sequence[Var]) -> tuple[Var, ...]:
        """What some variables are."""
        return tuple([self.variables[var] for var in some])


def renaming(before: Graph, graph: Graph) -> Renaming | None:
    """How one graph becomes another of the same ops, read and written alike; None where it is another computation, or
    where shapes are equal in only one of them."""
    sizes = [(len(g.inputs), len(g.cells), len(g.consts), len(g.equations)) for g in (before, graph)]
    if sizes[0] != sizes[1]:
        return None
    given = [(*g.inputs, *[decl.var for decl in g.cells], *g.consts) for g in (before, graph)]
    variables = dict(zip(*given, strict=True))
    results = [[*g.outputs, *[write.value for write in g.writes]] for g in (before, graph)]
    if _have_one_pattern(before, graph):
        for old, new in zip(before.equations, graph.equations, strict=True):
            variables.update(zip(old.outputs, new.outputs, strict=True))
        if len(results[0]) != len(results[1]):
            return None
    else:
        for old, new in zip(before.equations, graph.equations, strict=True):
            if old is not new and not _is_like(old, new):
                return None
            if [variables.get(var) for var in old.variables()] != [*new.variables()]:
                return None
            variables.update(zip(old.outputs, new.outputs, strict=True))
        if [variables.get(a, a) if type(a) is Var else None for a in results[0]] != [
            a if type(a) is Var else None for a in results[1]
        ]:
            return None
    shapes: dict[tuple[int, ...], tuple[int, ...]] = {}
    for var, other in variables.items():
        here, there = var.aval, other.aval
        if here is not there and (type(here) is not type(there) or here.dtype != there.dtype):
            return None
        if shapes.setdefault(here.shape, there.shape) != there.shape:
            return None
    if len(set(shapes.values())) != len(shapes):
        return None
    return Renaming(variables, dict(zip(before.equations, graph.equations, strict=True)))


def _have_one_pattern(before: Graph, graph: Graph) -> bool:
    """Whether both are one graph at two sizes, equation by equation."""
    one, other = before.provenance.pattern, graph.provenance.pattern
    return (
        one is not None
        and other is not None
        and one[0] is other[0]
        and one[1] is before.equations
        and other[1] is graph.equations
    )


def _is_like(old: Equation, new: Equation) -> bool:
    """Whether equations differ in variables and in sizes alone."""
    return (
        old.op is new.op
        and len(old.outputs) == len(new.outputs)
        and [*map(type, old.inputs)] == [*map(type, new.inputs)]
        and (not any(type(atom) is tuple for atom in old.inputs) or _kind(old.inputs) == _kind(new.inputs))
        and (old.attrs is new.attrs or old.op.kind is not reduction)
    )


def _kind(atom: Any) -> Any:
    return [*map(_kind, atom)] if type(atom) is tuple else type(atom)
