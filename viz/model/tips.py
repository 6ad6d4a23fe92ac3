"""Hover text: what there is to know of a box beyond its label."""

from __future__ import annotations

from collections.abc import Sequence

from tensorgraph.graph.graph import CellDecl, Literal, Var
from tensorgraph.viz.model.facts import Facts, relative
from tensorgraph.viz.model.joins import heaviest
from tensorgraph.viz.model.labels import clean, count, type_text, value_text
from tensorgraph.viz.model.view import Box

__all__ = ["box_tip", "value_tip"]

MOST = 8


def value_tip(name: str, var: Var | Literal) -> str:
    return f"{name}: {var.aval}" if isinstance(var, Var) else f"{name} = {clean(value_text(var.value))}"


def box_tip(facts: Facts, box: Box, writes: Sequence[CellDecl]) -> str:
    """Operands and results with types, parameters, writes, the user's line."""
    eq = facts.graph.equations[box.equations[0]]
    lines = []
    if box.kind == "op":
        inside = ", ".join(clean(a.name or a.aval) if isinstance(a, Var) else value_text(a.value) for a in eq.atoms())
        given = ", ".join(f"{clean(k)}={clean(value_text(v))}" for k, v in eq.attrs.items())
        lines.append(clean(f"{eq.op.name}({inside}{'; ' if given else ''}{given})", 120))
        lines += [f"-> {clean(v.name or 'value')}: {v.aval}" for v in eq.outputs[:MOST]]
    else:
        lines.append(f"{count(len(box.equations), 'op')}: {clean(heaviest(facts.graph, box.equations, MOST), 120)}")
    for cell in facts.cell_rows_of(box)[:MOST]:
        lines.append(f"{cell.kind} {clean(relative(cell.path, box.scope))}: {type_text(cell.aval)}")
    lines += [f"writes {clean(cell.path)}" for cell in writes[:MOST]]
    if eq.source is not None:
        lines.append(clean(f"{eq.source} in {eq.source.function}"))
    return "\n".join(lines)
