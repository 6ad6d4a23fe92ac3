"""The compiled level of a picture: what to plan, and how long each kernel takes."""

from __future__ import annotations

import difflib
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tensorgraph.engine.op import Op
from tensorgraph.engine.tensor import Tensor
from tensorgraph.graph.graph import Graph
from tensorgraph.native import machine
from tensorgraph.viz.model.budget import MOST_BOXES, in_order, mend
from tensorgraph.viz.model.build import legend_of
from tensorgraph.viz.model.drawing import Drawing, Node
from tensorgraph.viz.model.focus import focus_on
from tensorgraph.viz.model.functions import with_functions
from tensorgraph.viz.model.kernel_joins import NUMBER, STEPS, Joins, brief
from tensorgraph.viz.model.kernel_repeats import drawn_once, with_turns
from tensorgraph.viz.model.kernels import OPAQUE, kernels_drawn
from tensorgraph.viz.model.labels import clean, count
from tensorgraph.viz.render.columns import SMALL
from tensorgraph.viz.render.parts import TEN, pixels, scales

if TYPE_CHECKING:
    from tensorgraph.compile import Compiled
    from tensorgraph.compile.plan import Plan as StepPlan
    from tensorgraph.viz.model.levels import Plan

__all__ = ["compiled_drawing"]

SPAN = re.compile(r"k(\d+)(?:\.\.k(\d+))?")
LEGIBLE = 300  # boxes above which no screen has room for words
FEW, FAR = 12, 4  # boxes up to which every line is drawn; of more, ranks that no line passes


def compiled_drawing(target: Graph | Compiled, args: Sequence[Any], asked: Plan, overlay: Any) -> Drawing:
    """The kernels of a graph, or of a compiled function as it was called last."""
    # The plan:
    # 1. a box a kernel; but for a part or the whole in full, what repeats drawn once;
    # 2. kernels joined as far as is asked, or until their words can be read;
    # 3. figures, numbers, lines.
    steps, cells = _planned(target)
    drawing = replace(kernels_drawn(steps), size=asked.size)
    box_of = {node.path: node.id for node in drawing.nodes}
    every = len(drawing.nodes)
    if not asked.whole:
        apart = _opened(drawing, steps.graph, asked.opened)
        whole = drawing
        drawing, box_of, turn_of = drawn_once(whole, steps.graph, apart)

        def told(other: Drawing, stands: Mapping[str, str]) -> Drawing:
            return with_turns(other, whole, {path: stands.get(id, id) for path, id in box_of.items()}, turn_of)

        drawing, stands = _legible(drawing, steps.graph, box_of, asked, apart, told)
        box_of = {path: stands.get(id, id) for path, id in box_of.items()}
    if len(drawing.nodes) < every:
        boxes = sum(node.role in STEPS for node in drawing.nodes)
        legend = legend_of(drawing.nodes, drawing.edges)
        drawing = replace(drawing, title=f"{drawing.title}, drawn as {count(boxes, 'box')}", legend=legend)
    if overlay == "time":
        drawing = _timed(drawing, steps, cells, tuple(args), box_of)
    elif overlay is not None:
        from tensorgraph.viz.model.overlay import apply

        drawing = apply(drawing, steps.graph, overlay, args)
    if asked.focus is not None:
        drawing = focus_on(drawing, steps.graph, asked.focus, asked.hops)
    elif len(drawing.nodes) > MOST_BOXES:
        drawing = _begun(drawing)
    if machine.reason() is not None:
        note = f"no machine code is made here ({machine.reason()}): NumPy runs the graph"
        drawing = replace(drawing, notes=(*drawing.notes, note))
    drawing = _arranged(drawing)
    texts = [row.text for node in drawing.nodes for row in node.rows]
    texts += [row.text for edge in drawing.edges for row in edge.rows]
    said = [note for note in drawing.notes if note != OPAQUE or any("opaque" in text for text in texts)]
    return replace(drawing, notes=tuple(said))


def _opened(drawing: Drawing, graph: Graph, paths: Sequence[str]) -> frozenset[str]:
    """The kernels to be drawn by themselves, by id: those with these numbers, and those of these modules.

    Raises
    ------
    ValueError
        Where nothing is at a path; what is near is named.
    """
    found: set[str] = set()
    for path in paths:
        numbers = SPAN.fullmatch(path)
        if numbers is not None:
            first, last = int(numbers[1]), int(numbers[2] or numbers[1])
            some = {node.id for node in drawing.nodes if NUMBER.fullmatch(node.path)
                    and first <= int(node.path[1:]) <= last}  # fmt: skip
        else:
            within = [f"{eq.scope}.".startswith(f"{path}.") for eq in graph.equations]
            some = {node.id for node in drawing.nodes if any(within[i] for i in node.members)}
        if not some:
            known = [*graph.modules, *(node.path for node in drawing.nodes if node.members)]
            near = difflib.get_close_matches(path, known, n=3, cutoff=0.4)
            hint = f"; near it are {', '.join(map(repr, near))}" if near else ""
            raise ValueError(f"expand={clean(path)!r} is no module and no kernel of this drawing{hint}")
        found |= some
    return frozenset(found)


def _legible(
    drawing: Drawing, graph: Graph, box_of: dict[str, str], asked: Plan, apart: frozenset[str],
    told: Callable[[Drawing, Mapping[str, str]], Drawing],
) -> tuple[Drawing, dict[str, str]]:  # fmt: skip
    """The drawing with as many kernels joined as is asked for; or, where nothing is, until its words can be read. Its
    lines are `told`; and the box that stands for each of those that were."""
    if asked.depth == "op":
        return told(drawing, {}), {}
    if isinstance(asked.depth, int):
        joins = Joins(drawing, with_functions(graph, compiled=True), box_of, apart)
        found, stands = joins.joined(joins.by_module(asked.depth))
        return told(found, stands), stands
    largest = 0.0
    best: tuple[Drawing, dict[str, str]] = drawing, {}
    for other, stands in _coarser(drawing, graph, box_of, apart):
        other = told(other, stands)
        high = pixels(_arranged(other))
        if high > largest:
            largest, best = high, (other, stands)
        if high >= TEN:
            break
    return best


def _coarser(
    drawing: Drawing, graph: Graph, box_of: dict[str, str], apart: frozenset[str]
) -> Iterator[tuple[Drawing, dict[str, str]]]:
    """The drawing and coarser ones, each in full and in brief, with the box that stands for each of those that were."""
    few = len(drawing.nodes) <= LEGIBLE
    if few:
        yield drawing, {}
        yield brief(drawing), {}
    for other, stands in Joins(drawing, with_functions(graph, compiled=True), box_of, apart).coarser():
        if few or len(other.nodes) <= LEGIBLE:
            yield other, stands
            yield brief(other), stands


def _arranged(drawing: Drawing) -> Drawing:
    """The drawing with numbers and lines: few boxes where these lead, many in the order in which they run."""
    drawing = replace(drawing, nodes=tuple(map(_numbered, drawing.nodes)))
    if len(drawing.nodes) <= FEW:
        return mend(drawing)
    found, ordered = mend(drawing, FAR), in_order(drawing)
    largest, _ = scales(found)
    return ordered if ordered is not None and largest < SMALL and largest < scales(ordered)[0] else found


def _numbered(node: Node) -> Node:
    """A step with its number, by which `focus` and the ends of lines name it."""
    if node.role not in STEPS or not node.rows:
        return node
    title, *rows = node.rows
    return replace(node, rows=(replace(title, text=f"{node.path} {title.text}"), *rows))


def _planned(target: Graph | Compiled) -> tuple[StepPlan, Sequence[Any] | None]:
    """A plan, and the cells that it runs on, where these are known. That of a graph is made once: passes take long."""
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
    key = f"kernels {machine.reason()}"
    made: StepPlan | None = target._cache.get(key)
    if made is None:
        graph = target.transform()
        made = plan(graph) if machine.reason() is None else plan(graph, no_rule, grouped=False)
        target._cache[key] = made
    return made, None


def _timed(
    drawing: Drawing, plan: StepPlan, cells: Sequence[Any] | None, args: tuple[Any, ...], box_of: Mapping[str, str]
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
    figures: dict[str, list[float]] = defaultdict(list)
    for n, time in enumerate(seconds, 1):
        figures[box_of[f"k{n:02}"]].append(time)
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
