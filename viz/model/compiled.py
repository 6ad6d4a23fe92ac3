"""The compiled level of a picture: what to plan, and how long each kernel takes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tensorgraph.engine.op import Op
from tensorgraph.engine.tensor import Tensor
from tensorgraph.graph.graph import Graph
from tensorgraph.native import machine
from tensorgraph.viz.model.budget import MOST_BOXES, in_order, mend
from tensorgraph.viz.model.drawing import Drawing, Node
from tensorgraph.viz.model.focus import focus_on
from tensorgraph.viz.model.kernel_repeats import drawn_once
from tensorgraph.viz.model.kernels import kernels_drawn
from tensorgraph.viz.model.labels import count
from tensorgraph.viz.render.columns import SMALL
from tensorgraph.viz.render.extent import scales

if TYPE_CHECKING:
    from tensorgraph.compile import Compiled
    from tensorgraph.compile.plan import Plan

__all__ = ["compiled_drawing"]

NUMBER = re.compile(r"k\d+")
FEW, FAR = 12, 4  # boxes up to which every line is drawn; of more, ranks that no line passes


def compiled_drawing(target: Graph | Compiled, args: Sequence[Any], focus: Any, hops: int, overlay: Any) -> Drawing:
    """The kernels of a graph, or of a compiled function as it was called last."""
    plan, cells = _planned(target)
    drawing = kernels_drawn(plan)
    box_of = {node.path: node.id for node in drawing.nodes}
    if focus is None:
        drawing, box_of = drawn_once(drawing, plan.graph)
    if overlay == "time":
        drawing = _timed(drawing, plan, cells, tuple(args), box_of)
    elif overlay is not None:
        from tensorgraph.viz.model.overlay import apply

        drawing = apply(drawing, plan.graph, overlay, args)
    if focus is not None:
        drawing = focus_on(drawing, plan.graph, focus, hops)
    elif len(drawing.nodes) > MOST_BOXES:
        drawing = _begun(drawing)
    if machine.reason() is not None:
        note = f"no machine code is made here ({machine.reason()}): NumPy runs the graph"
        drawing = replace(drawing, notes=(*drawing.notes, note))
    drawing = replace(drawing, nodes=tuple(map(_numbered, drawing.nodes)))
    if len(drawing.nodes) <= FEW:
        return mend(drawing)
    found, ordered = mend(drawing, FAR), in_order(drawing)
    largest, _ = scales(found)
    return ordered if ordered is not None and largest < SMALL and largest < scales(ordered)[0] else found


def _numbered(node: Node) -> Node:
    """A step with its number, by which `focus` and the ends of lines name it."""
    if not NUMBER.fullmatch(node.path) or not node.rows:
        return node
    title, *rows = node.rows
    return replace(node, rows=(replace(title, text=f"{node.path} {title.text}"), *rows))


def _planned(target: Graph | Compiled) -> tuple[Plan, Sequence[Any] | None]:
    """A plan, and the cells that it runs on, where these are known."""
    from tensorgraph.compile.plan import plan
    from tensorgraph.compile.selection import no_rule

    if not isinstance(target, Graph):
        runner: Any = target._latest().runner
        runner = getattr(runner, "runner", runner)  # of a function that did not wait for its kernels
        if hasattr(runner, "plan"):
            return runner.plan, runner.cells
        target = target.graph
    unknown = next((eq.op.name for eq in target.equations if not isinstance(eq.op, Op)), None)
    if unknown is not None:
        raise ValueError(f"of the op {unknown} only the name is known, so that it is not compiled: draw another level")
    graph = target.transform()
    if machine.reason() is not None:
        return plan(graph, no_rule, grouped=False), None
    return plan(graph), None


def _timed(
    drawing: Drawing, plan: Plan, cells: Sequence[Any] | None, args: tuple[Any, ...], box_of: Mapping[str, str]
) -> Drawing:
    """The time of each kernel on its box; of what NumPy runs none is known."""
    from tensorgraph.analysis.run import given
    from tensorgraph.compile.timing import step_seconds
    from tensorgraph.viz.model.overlay import RANDOM, by_box

    values = given(plan.graph, args)
    arrays = [t._value if isinstance(t, Tensor) else t for t in values.inputs]
    numbers = [np.asarray(cell._value) for cell in (values.cells if cells is None else cells)]
    if machine.reason() is not None:
        seconds = [float("nan")] * len(plan.steps)
    else:
        seconds = step_seconds(plan, numbers, arrays)
    figures: dict[str, float] = {}
    for n, time in enumerate(seconds, 1):
        box = box_of[f"k{n:02}"]
        figures[box] = figures.get(box, 0.0) + time
    note = "time: each kernel by itself, median of several rounds"
    return by_box(drawing, "time", figures, f"{note}; {RANDOM}" if values.made else note)


def _begun(drawing: Drawing) -> Drawing:
    """As many boxes as a layout takes, from the first on."""
    nodes = drawing.nodes[:MOST_BOXES]
    there = {node.id for node in nodes}
    edges = tuple(edge for edge in drawing.edges if edge.tail in there and edge.head in there)
    left = len(drawing.nodes) - len(nodes)
    note = f"{count(left, 'box')} of {len(drawing.nodes)} left out at the end: focus='k42' draws what is around one"
    return replace(drawing, nodes=nodes, edges=edges, notes=(*drawing.notes, note))
