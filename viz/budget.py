"""Will a layout finish? Estimated before a layout engine is called, and mended where not.

Long edges break layered layout, not many boxes. With N boxes and D the sum over lines of (rank span - 1), drawings
with N at most 2,000 and D at most 1,500 finish in about two seconds. Above that, in this order: inputs named at each
use instead of lines, no labels on edges, the longest edges cut into named stubs; folding boxes is the caller's next
step. Each step is noted on the drawing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace

from tensorgraph.viz.drawing import Drawing, Edge, LegendEntry, Row
from tensorgraph.viz.labels import clean, count, listed

__all__ = ["MOST_BOXES", "MOST_SPAN", "fits", "mend", "ranks", "span"]

MOST_BOXES = 2_000
MOST_SPAN = 1_500
MOST_LABELLED = 1_000  # edges
MOST_STUBS = 3  # named on one box


def ranks(drawing: Drawing) -> dict[str, int]:
    """The longest way to each box from a box without incoming lines; nodes are in topological order."""
    before = defaultdict(list)
    for edge in drawing.edges:
        if not edge.cut:
            before[edge.head].append(edge.tail)
    rank: dict[str, int] = {}
    for node in drawing.nodes:
        rank[node.id] = max((rank[tail] + 1 for tail in before[node.id] if tail in rank), default=0)
    # a box that nothing constrains from above is laid right over its nearest reader
    after = defaultdict(list)
    for edge in drawing.edges:
        if not edge.cut:
            after[edge.tail].append(edge.head)
    for node in reversed(drawing.nodes):
        if not before[node.id] and after[node.id]:
            rank[node.id] = min(rank[head] for head in after[node.id]) - 1
    return rank


def _lengths(edges: Iterable[Edge], rank: dict[str, int]) -> list[tuple[int, int]]:
    return [(rank[e.head] - rank[e.tail] - 1, i) for i, e in enumerate(edges) if not e.cut]


def span(drawing: Drawing) -> int:
    """D: the sum over lines of (rank span - 1)."""
    return sum(max(length, 0) for length, _ in _lengths(drawing.edges, ranks(drawing)))


def fits(drawing: Drawing) -> bool:
    """Whether the drawing is within the budget of a layout."""
    return len(drawing.nodes) <= MOST_BOXES and span(drawing) <= MOST_SPAN


def mend(drawing: Drawing) -> Drawing:
    """Within the budget of lines, by the steps above. Boxes stay as they are."""
    notes = list(drawing.notes)
    if span(drawing) > MOST_SPAN:
        inputs = {node.id: node.title for node in drawing.nodes if node.role == "input"}
        lengths = _lengths(drawing.edges, ranks(drawing))
        cut = {i for length, i in lengths if length > 0 and drawing.edges[i].tail in inputs}
        if cut:
            named = {inputs[drawing.edges[i].tail]: None for i in cut}
            drawing = cut_edges(drawing, cut)
            notes.append(f"{listed(list(named))} named at each use (<-) instead of {count(len(cut), 'long edge')}")
    lines = sum(not edge.cut for edge in drawing.edges)
    if lines > MOST_LABELLED and any(edge.rows for edge in drawing.edges):
        drawing = replace(drawing, edges=tuple(replace(edge, rows=()) for edge in drawing.edges))
        notes.append(f"edges carry no labels: there are {lines:,} of them, more than {MOST_LABELLED:,}")
    long = sorted(_lengths(drawing.edges, ranks(drawing)), reverse=True)
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


def cut_edges(drawing: Drawing, positions: set[int]) -> Drawing:
    """Draw these edges as rows at both ends instead of lines."""
    at = {node.id: node for node in drawing.nodes}
    coming: dict[str, list[str]] = defaultdict(list)
    going: dict[str, int] = defaultdict(int)
    edges = []
    for i, edge in enumerate(drawing.edges):
        if i in positions:
            coming[edge.head].append(clean(at[edge.tail].path))
            going[edge.tail] += 1
            edge = replace(edge, cut=True, rows=())
        edges.append(edge)
    nodes = tuple(
        replace(node, rows=node.rows + stubs(coming.get(node.id, []), going.get(node.id, 0))) for node in drawing.nodes
    )
    legend = drawing.legend
    if not any(entry.role == "stub" for entry in legend):
        legend += (LegendEntry("stub", "<- edge not drawn"),)
    return replace(drawing, nodes=nodes, edges=tuple(edges), legend=legend)


def stubs(coming: list[str], going: int) -> tuple[Row, ...]:
    """Rows at the ends of edges that are not drawn."""
    names = list(dict.fromkeys(coming))
    rows = [Row("stub", f"<- {name}") for name in names[:MOST_STUBS]]
    if len(names) > MOST_STUBS:
        rows.append(Row("stub", f"<- {len(names) - MOST_STUBS:,} more"))
    if going:
        rows.append(Row("stub", f"-> {count(going, 'other box')}" if going == 1 else f"-> {going:,} other boxes"))
    return tuple(rows)
