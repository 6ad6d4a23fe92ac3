"""Where edges leave a frame: a layout engine routes them around what is still to come inside, and a stack of modules
drifts sideways. An exit, an unseen point at the lower border of the frame, lets them pass straight down."""

from __future__ import annotations

from dataclasses import dataclass

from tensorgraph.viz.model.budget import ranks
from tensorgraph.viz.model.drawing import Drawing

__all__ = ["Exit", "exits"]

PASSING = ("residual", "saved", "carried")  # roles of edges that leave a frame by themselves


@dataclass(frozen=True, slots=True)
class Exit:
    """A point in the frame `group`, `length` ranks below the box `tail`; edges of one look share it."""

    id: str
    tail: str
    group: str
    length: int
    role: str


def exits(drawing: Drawing) -> dict[int, Exit]:
    """The exits of edges, by their position in ``drawing.edges``; only for those that leave a frame early."""
    if not drawing.groups:
        return {}
    parent = {group.id: group.parent for group in drawing.groups}
    inside: dict[str | None, tuple[str, ...]] = {None: ()}  # frames around a frame and itself, outermost first
    for group in drawing.groups:  # outer ones come first
        inside[group.id] = (*inside[parent[group.id]], group.id)
    frames = {node.id: inside[node.group] for node in drawing.nodes}
    rank = ranks(drawing)
    lowest: dict[str, int] = {}
    for node in drawing.nodes:
        for frame in frames[node.id]:
            lowest[frame] = max(lowest.get(frame, 0), rank[node.id])
    upward = {node.id for node in drawing.nodes if node.role == "gradient" and node.twin}
    found: dict[int, Exit] = {}
    shared: dict[tuple[object, ...], Exit] = {}
    for i, edge in enumerate(drawing.edges):
        if edge.cut or edge.tail in upward or edge.role in PASSING:
            continue
        left = [frame for frame in frames[edge.tail] if frame not in frames[edge.head]]
        if not left:
            continue
        length = lowest[left[0]] - rank[edge.tail]
        if length > 0:
            key = (edge.tail, left[0], edge.role, edge.rows, edge.status)
            if key not in shared:
                shared[key] = Exit(f"w{len(shared)}", edge.tail, left[0], length, edge.role)
            found[i] = shared[key]
    return found
