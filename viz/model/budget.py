"""Will a layout finish? Estimated before a layout engine is called, and mended where not.

Long edges break layered layout, not many boxes. With N boxes and D the sum over lines of (rank span - 1), drawings
with N at most 2,000 and D at most 1,500 finish in about two seconds. Above that, in this order: inputs named at each
use instead of lines, no labels on edges, the longest edges cut into named stubs; folding boxes is the caller's next
step. Each step is noted on the drawing.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from itertools import pairwise

from tensorgraph.viz.model.drawing import Drawing, Edge, LegendEntry, Node, Row
from tensorgraph.viz.model.labels import clean, count, listed

__all__ = ["MOST_BOXES", "MOST_SPAN", "fits", "held", "in_order", "mend", "oriented", "ranks", "span"]

MOST_BOXES = 2_000
MOST_SPAN = 1_500
MOST_LABELLED = 1_000  # edges
FORWARD = ("op", "ops", "module", "entry")
MOST_ROWS = 300  # of a mirrored drawing that has a row for each of its boxes
MOST_STUBS = 3  # named on one box
BEGINS = "in the first"  # what leads into a frame from right above it


def oriented(drawing: Drawing) -> list[tuple[str, str, int]]:
    """The lines that hold one box above another, as upper, lower, position; twins share a row and count as one.

    Gradients flow up, so these are laid out reversed; what is kept and what is carried holds nothing.
    """
    row = {node.id: node.twin or node.id for node in drawing.nodes}
    place = {node.id: n for n, node in enumerate(drawing.nodes)}
    gradients = {node.id for node in drawing.nodes if node.role == "gradient" and node.twin}
    found = []
    for i, edge in enumerate(drawing.edges):
        if edge.cut or edge.role in ("saved", "carried"):
            continue
        upper, lower = row[edge.tail], row[edge.head]
        if edge.role == "gradient" and edge.tail in gradients and edge.head in gradients:
            upper, lower = lower, upper
        if place[upper] < place[lower]:
            found.append((upper, lower, i))
    return found


def held(drawing: Drawing) -> list[tuple[str, str]]:
    """Boxes that a drawing holds above others although no line does: all that are drawn in their order.

    In a mirrored one every box of the forward part has a row of its own, so that both columns are straight, as long as
    these are few.
    """
    if drawing.in_order:
        return list(pairwise(node.id for node in drawing.nodes))
    if not any(node.role == "gradient" and node.twin for node in drawing.nodes):
        return []
    rows = [node.id for node in drawing.nodes if node.twin is None and node.role in FORWARD]
    return list(pairwise(rows)) if 1 < len(rows) <= MOST_ROWS else []


def ranks(drawing: Drawing) -> dict[str, int]:
    """The longest way to each box from one without incoming lines; boxes are in topological order, twins in a row."""
    before = defaultdict(list)
    after = defaultdict(list)
    for upper, lower in (*[(upper, lower) for upper, lower, _ in oriented(drawing)], *held(drawing)):
        before[lower].append(upper)
        after[upper].append(lower)
    rank: dict[str, int] = {}
    for node in drawing.nodes:
        if node.twin is None:
            rank[node.id] = max((rank[upper] + 1 for upper in before[node.id] if upper in rank), default=0)
    # a box that nothing constrains from above is laid right over its nearest reader
    for node in reversed(drawing.nodes):
        if node.twin is None and not before[node.id] and after[node.id]:
            rank[node.id] = min(rank[lower] for lower in after[node.id]) - 1
    first: dict[str | None, int] = {None: 0}  # of each frame
    loose = [node for node in drawing.nodes if not before[node.id] and not after[node.id]]
    alone = {node.id for node in loose}
    for node in drawing.nodes:
        if node.twin is None and node.id not in alone:
            first[node.group] = min(rank[node.id], first.get(node.group, rank[node.id]))
    for node in loose:  # what nothing leads to stands beside the others of its frame
        if node.twin is None:
            rank[node.id] = first.get(node.group, 0)
    for node in drawing.nodes:
        if node.twin is not None:
            rank[node.id] = rank.get(node.twin, 0)
    return rank


def _lengths(drawing: Drawing) -> list[tuple[int, int]]:
    rank = ranks(drawing)
    return [(rank[lower] - rank[upper] - 1, i) for upper, lower, i in oriented(drawing)]


def span(drawing: Drawing) -> int:
    """D: the sum over lines of (rank span - 1)."""
    return sum(max(length, 0) for length, _ in _lengths(drawing))


def fits(drawing: Drawing) -> bool:
    """Whether the drawing is within the budget of a layout."""
    return len(drawing.nodes) <= MOST_BOXES and span(drawing) <= MOST_SPAN


def mend(drawing: Drawing, far: int | None = None) -> Drawing:
    """Within the budget of lines, by the steps above, and without lines that pass `far` ranks and more. Boxes stay as
    they are."""
    notes = list(drawing.notes)
    if far is not None:
        cut = {i for length, i in _lengths(drawing) if length >= far}
        if cut:
            drawing = cut_edges(drawing, cut)
            notes.append(f"{count(len(cut), 'long edge')} drawn as named stubs (<-)")
    if span(drawing) > MOST_SPAN:
        inputs = {node.id: node.title for node in drawing.nodes if node.role == "input"}
        lengths = _lengths(drawing)
        cut = {i for length, i in lengths if length > 0 and drawing.edges[i].tail in inputs}
        if cut:
            named = {inputs[drawing.edges[i].tail]: None for i in cut}
            drawing = cut_edges(drawing, cut)
            notes.append(f"{listed(list(named))} named at each use (<-) instead of {count(len(cut), 'long edge')}")
    lines = sum(not edge.cut for edge in drawing.edges)
    if lines > MOST_LABELLED and any(edge.rows for edge in drawing.edges):
        drawing = replace(drawing, edges=tuple(replace(edge, rows=()) for edge in drawing.edges))
        notes.append(f"edges carry no labels: there are {lines:,} of them, more than {MOST_LABELLED:,}")
    long = sorted(_lengths(drawing), reverse=True)
    over = sum(max(length, 0) for length, _ in long) - MOST_SPAN
    cut = set()
    for length, i in long:
        if over <= 0 or length <= 0:
            break
        cut.add(i)
        over -= length
    if cut:
        drawing = cut_edges(drawing, cut)
        notes.append(f"{count(len(cut), 'long edge')} drawn as named stubs (<-) to keep the layout fast")
    return replace(drawing, notes=tuple(notes))


def in_order(drawing: Drawing) -> Drawing | None:
    """The boxes one below another in their order, what is in a frame together, and between others than neighbours named
    stubs instead of lines; None where a frame's boxes would stand below what reads them."""
    inside: dict[str | None, list[Node]] = defaultdict(list)
    for node in drawing.nodes:
        inside[node.group].append(node)
    nodes: dict[str, Node] = {}
    for node in _inputs_near(drawing):
        nodes.update((each.id, each) for each in (inside[node.group] if node.group else (node,)))
    place = {id: n for n, id in enumerate(nodes)}
    down = {i: place[edge.head] - place[edge.tail] for i, edge in enumerate(drawing.edges) if edge.role != "carried"}
    if any(step < 0 for step in down.values()):
        return None
    cut = {i for i, step in down.items() if step > 1}
    edges = []
    for i, edge in enumerate(drawing.edges):
        if i in down and i not in cut and edge.rows:  # words on lines would set all rows further apart
            path, head = nodes[edge.tail].path, nodes[edge.head]
            turns = [row.text for row in edge.rows if row.style == "repeats"]
            why = [row.text for row in edge.rows if row.style != "repeats"]
            rows = [Row("detail", clean(f"not one with {path}: {', '.join(why)}"))] if why else []
            rows += [Row("stub", clean(", ".join([f"<- {path}", *turns])))] if turns and turns != [BEGINS] else []
            nodes[edge.head] = replace(head, rows=(*head.rows, *rows))
            edge = replace(edge, rows=_turns(edge))
        edges.append(edge)
    found = cut_edges(replace(drawing, nodes=tuple(nodes.values()), edges=tuple(edges), in_order=True), cut)
    note = "in the order in which they run"
    if cut:
        note += f"; {count(len(cut), 'edge')} drawn as named stubs (<-)"
    return replace(found, notes=(*drawing.notes, note))


def _inputs_near(drawing: Drawing) -> list[Node]:
    """The boxes, of the inputs one that the first of the others reads right above it."""
    first = next((node.id for node in drawing.nodes if node.role != "input"), None)
    read = {edge.tail for edge in drawing.edges if edge.head == first}
    return sorted(drawing.nodes, key=lambda node: (node.role != "input", node.role == "input" and node.id in read))


def cut_edges(drawing: Drawing, positions: set[int]) -> Drawing:
    """Draw these edges as rows at both ends instead of lines; where boxes stand in order, at the lower end."""
    at = {node.id: node for node in drawing.nodes}
    coming: dict[str, list[str]] = defaultdict(list)
    going: dict[str, int] = defaultdict(int)
    edges = []
    for i, edge in enumerate(drawing.edges):
        if i in positions:
            why = [row.text for row in edge.rows if drawing.level == "compiled"]
            tail = at[edge.tail]
            name = tail.title if tail.role == "input" else clean(tail.path)
            coming[edge.head].append(", ".join([name, *why]))
            going[edge.tail] += not drawing.in_order
            edge = replace(edge, cut=True, rows=_turns(edge))
        edges.append(edge)
    nodes = tuple(
        replace(node, rows=node.rows + stubs(coming.get(node.id, []), going.get(node.id, 0))) for node in drawing.nodes
    )
    legend = drawing.legend
    if not any(entry.role == "stub" for entry in legend):
        legend += (LegendEntry("stub", "<- edge not drawn"),)
    return replace(drawing, nodes=nodes, edges=tuple(edges), legend=legend)


def _turns(edge: Edge) -> tuple[Row, ...]:
    """What remains of the words of an edge where these are no label."""
    return tuple(row for row in edge.rows if row.style == "repeats")


def stubs(coming: list[str], going: int) -> tuple[Row, ...]:
    """Rows at the ends of edges that are not drawn."""
    names = list(dict.fromkeys(coming))
    rows = [Row("stub", f"<- {name}") for name in names[:MOST_STUBS]]
    if len(names) > MOST_STUBS:
        rows.append(Row("stub", f"<- {len(names) - MOST_STUBS:,} more"))
    if going:
        rows.append(Row("stub", f"-> {count(going, 'other box')}" if going == 1 else f"-> {going:,} other boxes"))
    return tuple(rows)
