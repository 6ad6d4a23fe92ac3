"""The steps of an animation: the boxes of a drawing in the order in which they are computed, each with what is told."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tensorgraph.analysis.profile import passing_values
from tensorgraph.analysis.run import as_numbers, execute, given
from tensorgraph.graph.graph import Graph, Var
from tensorgraph.viz.animation.figures import Figures, figures_of
from tensorgraph.viz.model.drawing import Drawing, Node
from tensorgraph.viz.model.mirror import passes

__all__ = ["Recording", "Step", "record", "steps_of", "with_figures"]

PASS = re.compile(r"~grad#(\d+)$")


@dataclass(frozen=True, slots=True)
class Step:
    """One box at its turn.

    `kind` is ``"input"``, ``"forward"``, ``"result"``, ``"backward"`` or ``"update"``; `words` are lines of text, and
    `figures` are those of what leaves the box, or of the gradient of it.
    """

    box: str
    kind: str
    title: str
    words: tuple[str, ...] = ()
    figures: Figures | None = None


@dataclass(frozen=True, slots=True)
class Recording:
    """The numbers of one run: values and gradients by variable, cells before, and the names of what was made up."""

    values: Mapping[Var, Any]
    gradients: Mapping[Var, Any]
    before: Mapping[Var, Any]
    made: tuple[str, ...]


def record(graph: Graph, args: Sequence[Any]) -> Recording:
    """Run the graph once and keep its numbers; nothing that it writes is kept."""
    start = given(graph, tuple(args))
    env = dict(start.of(graph))
    before = {cell.var: as_numbers(env[cell.var]) for cell in graph.cells}

    def watch(i: int, eq: Any, operands: Any, results: Any, seconds: float) -> None:
        env.update(zip(eq.outputs, results, strict=True))

    execute(graph, start, watch)
    try:
        _, gradients, _ = passing_values(graph, start.inputs)
    except ValueError:  # no loss: there is no way back
        gradients = {}
    return Recording(env, gradients, before, start.made)


def steps_of(drawing: Drawing, graph: Graph, recording: Recording | None) -> list[Step]:
    """The boxes at their turns.

    A box comes when the last of its equations is computed; a gradient's when the deferred equation is, the last box's
    first.
    """
    order = {node.id: n for n, node in enumerate(drawing.nodes)}
    at = [one.at for one in passes(graph)]
    turns: dict[str, tuple[float, int]] = {}
    for node in drawing.nodes:
        if node.role == "gradient" and node.twin:
            n = int(found[1]) if (found := PASS.search(node.path)) else 0
            when = at[n] if n < len(at) else None
            turns[node.id] = (math.inf if when is None else when, -order[node.twin])
        elif node.role == "output":
            turns[node.id] = (max((turns[e.tail][0] for e in drawing.edges if e.head == node.id and e.tail in turns),
                                  default=math.inf), len(order))  # fmt: skip
        else:
            turns[node.id] = (max(node.members, default=-1), order[node.id])
    told = _Told(drawing, graph, recording)
    return [told.step(node) for node in sorted(drawing.nodes, key=lambda node: turns[node.id])
            if node.id not in drawing.points]  # fmt: skip


def with_figures(drawing: Drawing, steps: Sequence[Step]) -> Drawing:
    """The drawing with a line of figures on each box that has any."""
    figures = {step.box: step for step in steps if step.figures is not None}
    nodes = tuple(
        replace(node, metric=_short(figures[node.id])) if node.id in figures else node for node in drawing.nodes
    )
    return replace(drawing, nodes=nodes)


def _short(step: Step) -> str:
    figures = step.figures
    assert figures is not None
    if figures.broken:
        return f"{_percent(figures.broken)} not finite"
    if step.kind in ("backward", "update"):
        return f"norm {figures.norm:.2g}"
    return (
        f"{figures.mean:.2g}" if figures.low == figures.high else f"{figures.mean:.2g} \u00b1 {figures.deviation:.2g}"
    )


def _percent(share: float) -> str:
    return f"{100 * share:.0f}%" if share >= 0.01 else "under 1%"


class _Told:
    """What is told of each box."""

    def __init__(self, drawing: Drawing, graph: Graph, recording: Recording | None) -> None:
        self.drawing, self.graph, self.recording = drawing, graph, recording
        self.node = {node.id: node for node in drawing.nodes}
        box = {i: node.id for node in drawing.nodes for i in node.members}
        maker = {v: box[i] for i, eq in enumerate(graph.equations) for v in eq.outputs if i in box}
        inputs = [node.id for node in drawing.nodes if node.role == "input"]
        maker.update(zip(graph.inputs, inputs, strict=False))
        self.leaving: dict[str, dict[Var, None]] = defaultdict(dict)  # what others read of a box
        for i, eq in enumerate(graph.equations):
            for atom in eq.atoms():
                if isinstance(atom, Var) and atom in maker and maker[atom] != box.get(i):
                    self.leaving[maker[atom]][atom] = None
        ends = [node.id for node in drawing.nodes if node.role == "output"]
        self.results = dict(zip(ends, graph.outputs, strict=False))
        for out in graph.outputs:
            if isinstance(out, Var) and out in maker:
                self.leaving[maker[out]][out] = None
        self.written: dict[str, list[Any]] = defaultdict(list)
        for write in graph.writes:
            if isinstance(write.value, Var) and write.value in maker:
                self.written[maker[write.value]].append(write)
        self.saved = {e.tail: e for e in drawing.edges if e.role == "saved"}
        self.used = {e.head: e for e in drawing.edges if e.role == "saved"}

    def step(self, node: Node) -> Step:
        role = node.role
        kind = {"input": "input", "output": "result", "gradient": "backward", "update": "update", "write": "update"}
        words = [", ".join(node.types)] if node.types else []
        words += [row.text + (f" {row.value}" if row.value else "") for row in node.rows[1:]
                  if row.style in ("detail", "parameter", "write", "stop", "attribute")]  # fmt: skip
        for edges, said in ((self.saved, "keeps for its gradient: "), (self.used, "reads what was kept: ")):
            if node.id in edges:
                kept = ", ".join(f"{row.text} {row.value}".strip() for row in edges[node.id].rows)
                words.append(said + kept)
        figures = self.figures(node)
        if node.id in self.written and (changed := self.changes(node)):
            words.append(changed)
        return Step(node.id, kind.get(role, "forward"), node.title, tuple(words), figures)

    def figures(self, node: Node) -> Figures | None:
        if self.recording is None:
            return None
        if node.role == "output":
            out = self.results.get(node.id)
            value = self.recording.values.get(out) if isinstance(out, Var) else None
            return None if value is None else figures_of(as_numbers(value))
        backward = node.role == "gradient"
        known = self.recording.gradients if backward else self.recording.values
        names = self.leaving[node.twin if backward and node.twin else node.id]
        arrays = [as_numbers(known[v]) for v in names if v in known and v.aval.dtype.kind in "fiub"]
        floats = [array for array in arrays if array.dtype.kind == "f"] or arrays
        return figures_of(np.concatenate([array.ravel() for array in floats])) if floats else None

    def changes(self, node: Node) -> str:
        """How much the parameters that a box writes change by it."""
        if self.recording is None:
            return ""
        cells = {cell.var: cell for cell in self.graph.cells}
        parts = []
        for write in self.written[node.id]:
            cell, new = cells[write.cell], self.recording.values.get(write.value)
            if cell.kind != "parameter" or new is None:
                continue
            old = self.recording.before[write.cell].astype(np.float64)
            size = float(np.linalg.norm(old.ravel()))
            moved = float(np.linalg.norm((as_numbers(new).astype(np.float64) - old).ravel()))
            name = cell.path.rpartition(".")[2]
            share = 100 * moved / size if size > 0 else 0.0
            said = f"{share:.0f}" if share >= 10 else f"{share:.2g}"
            parts.append(f"{name} by {said}%" if size > 0 else f"{name} from zero by {moved:.2g}")
        return f"changes {', '.join(parts[:4])}" if parts else ""
