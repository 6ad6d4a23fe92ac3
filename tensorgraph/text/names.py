"""Printed names: every variable of a graph gets one, stable, short, and unique."""

from __future__ import annotations

import keyword
import re
from itertools import count

from tensorgraph.graph.graph import Graph, Var
from tensorgraph.op import CATALOGUE

__all__ = ["names"]


def names(graph: Graph) -> dict[Var, str]:
    """A Python identifier for each variable: the user's name where known, else the op's initial with a number."""
    taken: set[str] = {*CATALOGUE, *keyword.kwlist, *keyword.softkwlist}
    result: dict[Var, str] = {}

    def give(var: Var, wanted: str) -> None:
        base = re.sub(r"\W", "_", wanted)
        base = base if base.isidentifier() else f"v_{base}"
        name = base
        numbers = count(2)
        while name in taken:
            name = f"{base}_{next(numbers)}"
        taken.add(name)
        result[var] = name

    for i, var in enumerate(graph.inputs):
        give(var, var.name or f"x{i}")
    for decl in graph.cells:
        give(decl.var, decl.path)
    for i, var in enumerate(graph.consts):
        give(var, var.name or f"const{i}")
    number = count()
    for eq in graph.equations:
        for out in eq.outputs:
            give(out, out.name or f"v{next(number)}")
    return result
