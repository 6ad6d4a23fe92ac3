"""What stands in the rows of a mirrored drawing besides its boxes.

Frames would break the rows (a layout engine keeps no order across them), so a module is a bar to the left of its rows.
Lines that pass rows are led by unseen points beside each: forward ones to the left of their column, gradients to the
right, so that they cross nothing.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from tensorgraph.viz.model.budget import FORWARD, held, ranks
from tensorgraph.viz.model.drawing import Drawing, Edge

__all__ = ["Rows", "straight"]

MOST = 1_000  # points in all
PASSING = ("data", "residual", "carried")
RIGHT = ("gradient", "update")  # roles of boxes that stand to the right of their twin, others to the left


@dataclass(frozen=True, slots=True)
class Point:
    """A point beside a row; `kind` is ``"bar"``, ``"rail"`` or ``"gradient"``, with ``"thick "`` in front if it is."""

    id: str
    kind: str


def straight(drawing: Drawing) -> bool:
    """Whether every box has a row of its own, beside which bars and rails can stand."""
    return bool(held(drawing)) or len(drawing.nodes) < 12


def lanes(drawing: Drawing) -> dict[str, int]:
    """The lane of each forward box: that of the first box before it which no other box continues, else a new one.

    So branches that run beside one another (two inputs; queries, keys and values) have a lane each, and where they
    come together the lowest goes on; a skip stays within its lane.
    """
    own = [node.id for node in drawing.nodes if node.twin is None and node.role in FORWARD]
    inside = set(own)
    before: dict[str, list[str]] = defaultdict(list)
    for edge in drawing.edges:
        if edge.tail in inside and edge.head in inside and edge.role in ("data", "residual"):
            before[edge.head].append(edge.tail)
    lane: dict[str, int] = {}
    ends: set[str] = set()  # boxes that nothing continues yet
    for box in own:
        going = [b for b in before[box] if b in ends]
        first = min(going, key=lambda b: lane[b], default=None)
        lane[box] = lane[first] if first is not None else max(lane.values(), default=-1) + 1
        ends -= {first}
        ends.add(box)
    return lane


@dataclass(slots=True)
class Rows:
    """The rows of a mirrored drawing.

    Attributes
    ----------
    rank : dict of str to int
        Of every box.
    row : dict of str to str
        The box that begins the row in which a box stands.
    thick : set of (str, str)
        The ends of residual connections.
    lane : dict of str to int
        Of the boxes of the forward part, see `lanes`.
    below : dict of str to str
        The next box of the same lane.
    bars : dict of str to list of str
        By group, the points of its bar from above.
    rails : dict of int to list of str
        By position of an edge, the points that lead it from above.
    outside, left, right : dict of str to list of Point
        By the box that begins a row: bars, and the points of rails to either side.
    """

    rank: dict[str, int]
    row: dict[str, str]
    thick: set[tuple[str, str]]
    lane: dict[str, int]
    below: dict[str, str] = field(default_factory=dict)
    bars: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    rails: dict[int, list[str]] = field(default_factory=dict)
    outside: dict[str, list[Point]] = field(default_factory=lambda: defaultdict(list))
    left: dict[str, list[Point]] = field(default_factory=lambda: defaultdict(list))
    right: dict[str, list[Point]] = field(default_factory=lambda: defaultdict(list))
    total: int = 0

    @classmethod
    def of(cls, drawing: Drawing) -> Rows | None:
        """None for a drawing that is not mirrored."""
        if not any(node.role == "gradient" and node.twin for node in drawing.nodes):
            return None
        row = {node.id: node.twin or node.id for node in drawing.nodes}
        thick = {(row[e.tail], row[e.head]) for e in drawing.edges if e.role == "residual" and not e.cut}
        rows = cls(ranks(drawing), row, thick, lanes(drawing))
        last: dict[int, str] = {}
        for box, lane in rows.lane.items():
            if lane in last:
                rows.below[last[lane]] = box
            last[lane] = box
        if straight(drawing):
            first: dict[int, list[str]] = defaultdict(list)
            forward = {rows.rank[box] for box in rows.lane}  # an input may stand beside a box that does not read it
            for node in drawing.nodes:
                if node.twin is None and (node.role in FORWARD or rows.rank[node.id] not in forward):
                    first[rows.rank[node.id]].append(node.id)
            rows.add_bars(drawing, first)
            rows.add_rails(drawing, first)
        return rows

    def back(self, tail: str, head: str) -> bool:
        """Whether a gradient flows back along a residual connection."""
        return (self.row[head], self.row[tail]) in self.thick

    def follows_lanes(self, edge: Edge) -> bool:
        """Whether an edge leads along a lane, or from one to another: what it passes stands beside its way."""
        upper, lower = self.row[edge.tail], self.row[edge.head]
        if edge.role == "gradient":  # which leads back
            upper, lower = lower, upper
        if edge.role == "carried" or upper not in self.lane or lower not in self.lane:
            return False
        return self.lane[upper] != self.lane[lower] or self.below.get(upper) == lower

    def add_bars(self, drawing: Drawing, first: dict[int, list[str]]) -> None:
        parent = {group.id: group.parent for group in drawing.groups}
        span: dict[str, list[int]] = defaultdict(list)
        for node in drawing.nodes:
            inside = node.group
            while inside is not None:
                span[inside].append(self.rank[node.id])
                inside = parent[inside]
        for group in drawing.groups:  # outer ones come first
            spanned = range(min(span[group.id]), max(span[group.id]) + 1)
            if (len(spanned) < 2 and group.count == 1) or any(len(first[r]) != 1 for r in spanned):
                continue
            for r in spanned:
                name = f"t{group.id}" if r == spanned[0] else f"b{group.id}r{r}"  # the first is its title
                self.bars[group.id].append(name)
                self.outside[first[r][0]].append(Point(name, "bar"))

    def add_rails(self, drawing: Drawing, first: dict[int, list[str]]) -> None:
        upward = {node.id for node in drawing.nodes if node.role == "gradient"}
        long = []
        for i, edge in enumerate(drawing.edges):
            back = edge.role == "gradient" and edge.tail in upward and edge.head in upward
            thick = edge.role == "residual" or (back and self.back(edge.tail, edge.head))
            if edge.cut or not (back or edge.role in PASSING) or self.follows_lanes(edge):
                continue
            top, bottom = sorted((self.rank[edge.tail], self.rank[edge.head]))
            if bottom - top > 1 and all(len(first[r]) == 1 for r in range(top + 1, bottom)):
                long.append((top - bottom, edge.role != "carried", i, top, bottom, thick))
        for _, _, i, top, bottom, thick in sorted(long):  # the longest outside, what leads back beyond a skip
            if self.total + bottom - top > MOST:
                continue
            left = drawing.edges[i].tail not in upward
            kind = ("thick " if thick else "") + ("gradient" if drawing.edges[i].role == "gradient" else "rail")
            self.rails[i] = []
            for r in range(top + 1, bottom):
                point = Point(f"r{self.total}", kind)
                self.total += 1
                self.rails[i].append(point.id)
                if left:
                    self.left[first[r][0]].append(point)
                else:
                    self.right[first[r][0]].insert(0, point)
