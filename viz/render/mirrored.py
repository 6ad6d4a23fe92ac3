"""`Drawing` to DOT for the mirrored step: a row a box, columns kept straight.

Measured: gradient lines laid out upwards take a layout engine minutes where reversed ones take milliseconds. So they
are written from the upper box to the lower with the arrow at the beginning, and each gradient is in its op's row.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

from tensorgraph.pages.palette import Palette
from tensorgraph.viz.model.budget import FORWARD, held
from tensorgraph.viz.model.drawing import Drawing, Edge, Group, Node
from tensorgraph.viz.model.rails import RIGHT, Point, Rows
from tensorgraph.viz.render.dot import Writer

__all__ = ["Mirrored"]

THICK, BAR = 2.6, 4.0  # points
STRAIGHT, CHAIN = 100, 12  # weights of a bar, of a column


def stacked(drawing: Drawing) -> tuple[Node, ...]:
    """The boxes with each input over the one that reads it: a column of its own would make the drawing wider."""
    at = {node.id: node for node in drawing.nodes}
    readers: dict[str, set[str]] = defaultdict(set)
    for edge in drawing.edges:
        readers[edge.tail].add(at[edge.head].twin or edge.head)
    rows = {node.twin for node in drawing.nodes}  # an input with a gradient of its own has a row
    found = []
    for node in drawing.nodes:
        one = next(iter(readers[node.id])) if len(readers[node.id]) == 1 else None
        over = one is not None and node.role == "input" and node.twin is None and node.id not in rows
        found.append(replace(node, twin=one) if over and at[one].role in FORWARD else node)  # type: ignore[index]
    return tuple(found)


class Mirrored(Writer):
    breaks = False

    def __init__(self, drawing: Drawing, colours: Palette) -> None:
        if drawing.direction == "right":
            drawing = replace(drawing, nodes=stacked(drawing))
        super().__init__(drawing, colours)
        rows = Rows.of(drawing)
        assert rows is not None
        self.rows = rows
        self.exits = {}
        self.edge_of_point = {point: i for i, points in rows.rails.items() for point in points}
        self.skipping |= {node.id for node in drawing.nodes if node.role == "gradient" and node.twin in self.skipping}
        self.upward = {node.id for node in drawing.nodes if node.role == "gradient" and node.twin}
        self.forward = {node.twin for node in drawing.nodes if node.id in self.upward}
        self.left = {node.id for node in drawing.nodes if node.twin and node.role not in RIGHT}
        # what is kept is named by words in the row itself: an edge's label would stand in a row of its own
        self.kept = {e.head: i for i, e in enumerate(drawing.edges) if e.role == "saved" and e.rows and not e.cut}

    def column(self, node: Node) -> str:
        lane = self.rows.lane.get(node.twin or node.id, 0)
        if node.twin:
            return f" group=gradient{lane}" if node.role == "gradient" else ""
        return f" group=forward{lane}" if node.id in self.forward else ""

    # ---- rows

    def body(
        self,
        top: str | None,
        inside: Mapping[str | None, Sequence[Node]],
        children: Mapping[str | None, Sequence[Group]],
    ) -> None:
        self.lines += [self.node(node) for node in self.drawing.nodes]
        left: dict[str, list[str]] = defaultdict(list)
        right: dict[str, list[str]] = defaultdict(list)
        for node in self.drawing.nodes:
            if not node.twin:
                continue
            if node.role not in RIGHT:
                left[node.twin].append(node.id)
                continue
            if node.id in self.kept:
                name = f"k{self.kept[node.id]}"
                label = self.words_of(self.drawing.edges[self.kept[node.id]])
                self.lines.append(f"{name} [id={name} shape=plain style=solid width=0 height=0 label={label}]")
                right[node.twin].append(name)
            right[node.twin].append(node.id)
        linked = {(edge.tail, edge.head) for edge in self.drawing.edges if not edge.cut}
        for twin, i in self.kept.items():
            linked |= {(self.drawing.edges[i].tail, f"k{i}"), (f"k{i}", twin)}
        titles = {points[0]: group for group in self.drawing.groups if (points := self.rows.bars.get(group.id))}
        for node in self.drawing.nodes:
            row: list[str] = []
            for point in self.rows.outside.get(node.id, ()):
                group = titles.get(point.id)
                row.append(self.point(point.id, self.c.frame, BAR) if group is None else self.title(point.id, group))
            row += [self.rail(point) for point in self.rows.left.get(node.id, ())]
            row += [*left[node.id], node.id, *right[node.id]]
            row += [self.rail(point) for point in self.rows.right.get(node.id, ())]
            if len(row) > 1:
                self.lines.append(f"{{rank=same; {' '.join(row)}}}")
                pairs = pairwise(row)
                self.lines += [f"{a} -> {b} [style=invis weight=1]" for a, b in pairs if (a, b) not in linked]
        self.columns()

    def title(self, name: str, group: Group) -> str:
        """A module's name, from which its bar hangs."""
        self.lines.append(f"{name} [id={name} shape=plain style=solid width=0 height=0 label={self.tab(group)}]")
        return name

    def rail(self, point: Point) -> str:
        colour = self.c.grad if point.kind.endswith("gradient") else self.c.op
        return self.point(point.id, colour, THICK if point.kind.startswith("thick") else 1.0)

    def point(self, name: str, colour: str, width: float = 1.0) -> str:
        position = self.edge_of_point.get(name)
        self.lines.append(self.bit(name, colour, width, "" if position is None else f"rail{position}"))
        return name

    def columns(self) -> None:
        """Bars, and unseen lines that hold one row above the next where no line does."""
        for points in self.rows.bars.values():
            self.lines += [
                f'{a}:s -> {b}:n [dir=none color="{self.c.frame}" penwidth={BAR} weight={STRAIGHT}]'
                for a, b in pairwise(points)
            ]
        pairs = held(self.drawing)
        row = self.rows.row
        drawn = {(row[e.tail], row[e.head]) for e in self.drawing.edges if e.role == "data" and not e.cut}
        flows = {(e.head, e.tail) for e in self.drawing.edges if e.role == "gradient" and not e.cut}
        gradient = {n.twin: n.id for n in reversed(self.drawing.nodes) if n.id in self.upward}
        beside = [(gradient[a], gradient[b]) for a, b in pairs if a in gradient and b in gradient]
        pairs = [pair for pair in pairs if pair not in drawn] + [pair for pair in beside if pair not in flows]
        lane = self.rows.lane
        results = {node.id for node in self.drawing.nodes if node.role == "output"}
        under = [node.id for node in self.drawing.nodes if node.role == "update" and node.twin in results]
        if under and self.upward:  # below the last gradient of the first column
            last = next(node.id for node in self.drawing.nodes if node.id in self.upward)
            self.lines.append(f"{last} -> {under[0]} [style=invis weight={CHAIN}]")
        self.lines += [
            f"{a} -> {b} [style=invis weight={CHAIN if lane.get(row[a]) == lane.get(row[b]) else 0}]" for a, b in pairs
        ]

    # ---- edges

    def sides(self, edge: Edge) -> tuple[str, str]:
        return edge.tail, f"{edge.head}:{edge.port}:n" if edge.port else edge.head

    def lines_of(self, position: int, edge: Edge, head: str, look: str, label: str) -> list[str]:
        if position in self.rows.rails:
            return self.along(edge, self.rows.rails[position], look)
        if edge.role == "saved":
            if edge.head not in self.kept:
                return [f"{edge.tail} -> {edge.head} [{look}]"]
            word = f"k{position}"
            # no ports: between neighbours of a row, some engines lose the line and draw an arrow all the same
            return [f"{edge.tail} -> {word} [dir=none {look}]", f"{word} -> {edge.head} [{look}]"]
        upper, lower = self.rows.row[edge.tail], self.rows.row[edge.head]
        if upper == lower:
            if edge.head in self.left and edge.tail not in self.left:
                return [f"{edge.head} -> {edge.tail} [dir=back {look}]"]
            return [f"{edge.tail} -> {edge.head} [{look}]"]
        if edge.tail in self.upward and edge.head in self.upward:
            return [f"{edge.head} -> {edge.tail} [dir=back {self.weighed(edge, look)}]"]
        if edge.role == "gradient":
            look += " constraint=false"
        return [f"{edge.tail} -> {head} [{look}]"]

    def weighed(self, edge: Edge, look: str) -> str:
        if edge.role == "gradient" and self.rows.back(edge.tail, edge.head):
            return look.replace("weight=1", f"weight=1 penwidth={THICK}")
        return look.replace("weight=1", f"weight={CHAIN}")

    def along(self, edge: Edge, points: Sequence[str], look: str) -> list[str]:
        """A line beside a column, down from its upper end; the arrow is where the edge ends."""
        if edge.role == "gradient":
            look = self.weighed(edge, look)
        look = look.replace("constraint=false ", "")  # each piece leads from a row to the next
        down = self.rows.rank[edge.tail] < self.rows.rank[edge.head]
        top, bottom = (edge.tail, edge.head) if down else (edge.head, edge.tail)
        if top in self.skipping:  # a skip and the line back, or their gradients, side by side
            side = "e" if top in self.upward else "w"
            ends = (side, side) if edge.role == "carried" else ("s", f"n{side}")
            top, bottom = f"{top}:{ends[0]}", f"{bottom}:{ends[1]}"
        way = [top, *points, bottom]
        lines = []
        for n, (upper, lower) in enumerate(pairwise(way)):
            first, last = n == 0, n == len(way) - 2
            arrow = "forward" if down and last else "back" if not down and first else "none"
            here, there = upper if first else f"{upper}:s", lower if last else f"{lower}:n"
            clips = f"tailclip={str(first).lower()} headclip={str(last).lower()}"
            lines.append(f"{here} -> {there} [dir={arrow} {clips} {look}]")
        return lines
