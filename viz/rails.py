"""Lines that pass rows of a mirrored drawing: led by unseen points beside each row, forward ones to the left of their
column, gradients to the right, so that they cross nothing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from tensorgraph.viz.drawing import Drawing

__all__ = ["rails"]

MOST = 400  # points in all

Rails = dict[int, list[str]]
Beside = dict[str, list[tuple[str, bool, bool]]]


def rails(drawing: Drawing, rank: Mapping[str, int], row: Mapping[str, str]) -> tuple[Rails, Beside]:
    """The points that lead each such edge, from above, by its position; and those beside the box that begins a row,
    each with whether it is to the left, and whether its line is thick."""
    first: dict[int, list[str]] = defaultdict(list)
    for node in drawing.nodes:
        if node.twin is None:
            first[rank[node.id]].append(node.id)
    upward = {node.id for node in drawing.nodes if node.role == "gradient"}
    thick = {(row[e.tail], row[e.head]) for e in drawing.edges if e.role == "residual"}
    found: Rails = {}
    beside: Beside = defaultdict(list)
    total = 0
    for i, edge in enumerate(drawing.edges):
        back = edge.role == "gradient" and (row[edge.head], row[edge.tail]) in thick
        if edge.cut or not (back or edge.role in ("data", "residual", "carried")):
            continue
        top, bottom = sorted((rank[edge.tail], rank[edge.head]))
        between = range(top + 1, bottom)
        if not between or any(len(first[r]) != 1 for r in between) or total + len(between) > MOST:
            continue
        left = edge.tail not in upward
        points = []
        for r in between:
            points.append(f"r{total}")
            beside[first[r][0]].append((f"r{total}", left, back or edge.role == "residual"))
            total += 1
        found[i] = points
    return found, dict(beside)
