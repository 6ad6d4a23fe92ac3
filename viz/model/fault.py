"""The picture of a fault: the value that went wrong, some of what it comes from, and its way to the loss."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from tensorgraph.analysis.fault_report import Faults, causes
from tensorgraph.analysis.match import output_paths
from tensorgraph.engine.tree import flatten
from tensorgraph.graph.graph import Graph, Var
from tensorgraph.pages.palette import THEMES
from tensorgraph.viz.model.budget import mend
from tensorgraph.viz.model.build import build, legend_of
from tensorgraph.viz.model.drawing import Drawing, LegendEntry, Row
from tensorgraph.viz.model.focus import within
from tensorgraph.viz.model.labels import clean
from tensorgraph.viz.model.view import by_op

__all__ = ["draw_fault"]

MOST = 60  # equations of the path that are drawn; of more, those near its ends


def draw_fault(faults: Faults, number: int = 0, hops: int = 2, theme: str = "auto", timeout: float = 20.0) -> Drawing:
    """Draw one fault: only the slice from its causes to the loss, with what was seen of each value.

    Parameters
    ----------
    faults : Faults
        Made by `tensorgraph.find_faults`.
    number : int
        Which of them.
    hops : int
        How far back causes are drawn.
    theme : {"auto", "light", "dark"}
    timeout : float
        Seconds that a layout may take.

    Raises
    ------
    IndexError
        Where there is no such fault.
    """
    # The plan:
    # 1. the equations shown are the causes within some hops and the way to the loss, its middle left out where it is
    #    long;
    # 2. they are built as a graph of their own;
    # 3. the boxes kept are theirs, with the inputs they read and the outputs they end in;
    # 4. each box tells what was seen of its value, the fault its whole story;
    # 5. edges of the way are marked.
    if theme not in THEMES:
        raise ValueError(f"theme must be one of {', '.join(map(repr, THEMES))}, got {theme!r}")
    if not -len(faults) <= number < len(faults):
        raise IndexError(f"there is no fault {number}: {len(faults)} found")
    graph, fault = faults.graph, faults[number]
    path = fault.path
    cut = len(path) > MOST
    if cut:
        path = (*path[: MOST // 2], *path[-MOST // 2 :])
    shown = causes(graph, fault.position, hops) | set(path)
    part, numbers = _slice(graph, shown, fault.var, fault.phase == "forward")
    drawing = build(part, by_op(part), "op")
    box = {numbers[i]: node.id for node in drawing.nodes for i in node.members}
    kept = {box[i] for i in shown}
    roots = dict(zip(part.inputs, (n.id for n in drawing.nodes if n.role == "input"), strict=False))
    read = {a for i in shown for a in graph.equations[i].atoms() if isinstance(a, Var)}
    kept |= {node for var, node in roots.items() if var in read or var is fault.var}
    last = path[-1] if path else fault.position
    ends = graph.equations[last].outputs if last is not None else (fault.var,)
    outs = zip(part.outputs, (n.id for n in drawing.nodes if n.role == "output"), strict=False)
    kept |= {node for var, node in outs if var in ends}
    at = box[fault.position] if fault.position is not None else roots.get(fault.var)
    if at is None:  # a cell or a captured array: told where it is read first
        at = next((box[i] for i in path), None)
    route = [at, *(box[i] for i in path)]
    on_route = set(pairwise(route))
    members = {node.id: tuple(numbers[i] for i in node.members) for node in drawing.nodes}
    drawing = within(drawing, kept, 0, "the way of the fault")
    nodes = []
    for node in drawing.nodes:
        seen = faults.stats[members[node.id][0]] if len(members[node.id]) == 1 else ()
        worst = next((s for s in seen if not s.finite), seen[0] if seen else None)
        if node.id == at:
            node = replace(node, status="fault", rows=(*node.rows, *_told(faults, number)))
        else:
            node = replace(node, metric=str(worst) if worst is not None else "")
        nodes.append(node)
    edges = tuple(replace(e, status="fault") if (e.tail, e.head) in on_route else e for e in drawing.edges)
    legend = (LegendEntry("fault", f"! {fault.kind}"), *legend_of(drawing.nodes, drawing.edges))
    notes = tuple(note for note in drawing.notes if "within" not in note)
    if cut:
        notes = (*notes, f"{len(fault.path) - len(path):,} ops in the middle of the way are left out")
    title = f"{clean(graph.name)}: {fault.kind}, {fault.phase}: {fault.told}"
    drawing = replace(
        drawing, title=title, level="fault", nodes=tuple(nodes), edges=edges, legend=legend,
        notes=(*notes, *faults.notes),
    )  # fmt: skip
    return replace(mend(drawing), theme=theme, timeout=float(timeout))


def _slice(graph: Graph, shown: set[int], var: Var, forward: bool) -> tuple[Graph, list[int]]:
    """A graph of these equations and those beside them, and their numbers: of a large graph all is not looked at.

    What was added to look for faults of gradients, the `forward` part does not know.
    """
    index = graph.index
    values = {v for i in shown for v in graph.equations[i].outputs} | {var}
    beside = {index.position[a] for i in shown for a in graph.equations[i].variables() if a in index.position}
    beside |= {i for v in values for i in index.users.get(v, ()) if not forward or graph.equations[i].origin is None}
    numbers = sorted(shown | beside)
    known = {*graph.inputs, *(v for i in numbers for v in graph.equations[i].outputs)}
    paths = output_paths(graph.out_tree, len(graph.outputs))
    results = [(path, out) for path, out in zip(paths, graph.outputs, strict=True) if out in known]
    part = graph.replace(
        equations=tuple(graph.equations[i] for i in numbers),
        writes=tuple(w for w in graph.writes if w.value in known),
        outputs=tuple(out for _, out in results),
        out_tree=flatten({path: 0 for path, _ in results})[1],
    )
    return part, numbers


def _told(faults: Faults, number: int) -> tuple[Row, ...]:
    fault = faults[number]
    rows = [Row("warning", clean(f"{fault.kind}: {fault.told}"))]
    if fault.position is not None:
        eq = faults.graph.equations[fault.position]
        if eq.origin is not None:
            rows.append(Row("detail", clean(faults.origin(fault.position))))
        elif eq.source is not None:
            rows.append(Row("detail", clean(eq.source)))
    else:
        rows.append(Row("detail", clean(faults.root(fault.var))))
    return tuple(rows)
