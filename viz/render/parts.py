"""A long drawing in parts side by side, read down and then to the right: where it is broken, and how large it is then.

`columns` breaks a chain where one line goes on and no frame does. What has frames from end to end, or lines that pass
many boxes, has no such place: here frames go on in the next part, and as many lines as there are.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Sequence
from dataclasses import replace

from tensorgraph.viz.model.budget import ranks
from tensorgraph.viz.model.drawing import Drawing
from tensorgraph.viz.render.columns import BELOW, BETWEEN, PAGE, POINTS, SMALL, broken, height, width
from tensorgraph.viz.render.extent import FRAME, LABELLED, LINE, SCREEN, SHORT, WORDS, extent, header
from tensorgraph.viz.render.metrics import room

__all__ = ["BESIDE", "CONTINUED", "LANE", "TEN", "TRACK", "gains", "parts_of", "pixels", "scales", "within"]

CONTINUED = ", continued"  # of the title of a frame
TITLES = 0.8  # of the width of a bar's title, that is beside the boxes
FEWEST, MOST_BOXES = 8, 400  # boxes that are worth several parts, and that several parts have room for
TEN = 10.0  # pixels that words are high where a drawing shrinks to `SMALL`
MOST, MOST_IN_ORDER = 6, 16
# lines and frames that may go on where a part ends: as few as lead to words that can be read
PLACES = ((1, 0), (3, 0), (3, 1), (4, 2), (6, 3), (12, 9))
GAIN, MORE = 1.15, 1.1  # by which words must be larger for a drawing to be broken, and for more to go on
BESIDE, LANE, TRACK = 18.0, 8.0, 7.0  # points between parts, and between the lines beside and above them


def scales(drawing: Drawing) -> tuple[float, float]:
    """How far a drawing shrinks where it fills a screen, and where it fills the width of a notebook; one of a size how
    far where it fills that. Only what is in order is thought of in parts: others are drawn with fewer boxes first."""
    wide, high = _size(drawing, drawing.in_order)
    scale = _scale(drawing, wide, high)
    return scale, scale if drawing.size is not None else PAGE / wide


def pixels(drawing: Drawing) -> float:
    """How high words are where the drawing fills a screen, or its size."""
    return TEN / SMALL * _scale(drawing, *_size(drawing, True))


def _size(drawing: Drawing, in_parts: bool) -> tuple[float, float]:
    if not in_parts or not drawing.nodes:
        return extent(drawing)
    sizes = _Sizes(drawing)
    ends = _ends(drawing, sizes)
    return sizes.of([*ends, sizes.last]) if ends or drawing.in_order else extent(drawing)


def _scale(drawing: Drawing, wide: float, high: float) -> float:
    across, down = _screen(drawing)
    return min(across / wide, down / high)


def gains(drawing: Drawing, wide: float, high: float) -> bool:
    """Whether a drawing of which the parts take up so much is easier to read so."""
    return _scale(drawing, wide, high) > _scale(drawing, *extent(drawing)) or drawing.in_order


def within(drawing: Drawing, inside: Container[str]) -> Drawing:
    """A part of a drawing by itself: these boxes, their frames and the lines between them; all edges keep their
    positions."""
    nodes = tuple(node for node in drawing.nodes if node.id in inside)
    parent = {group.id: group.parent for group in drawing.groups}
    here: set[str | None] = {None}
    for node in nodes:
        frame = node.group
        while frame not in here:
            here.add(frame)
            frame = parent[frame]  # type: ignore[index]
    edges = tuple(e if e.tail in inside and e.head in inside else replace(e, cut=True) for e in drawing.edges)
    groups = tuple(group for group in drawing.groups if group.id in here)
    return replace(
        drawing, title="", legend=(), notes=(), direction="down", nodes=nodes, edges=edges, groups=groups
    )  # fmt: skip


def parts_of(drawing: Drawing) -> dict[str, int]:
    """The part of each box, from 0; empty where the drawing is laid out as a whole."""
    if drawing.direction != "auto" or len(drawing.nodes) < FEWEST:
        return {}
    sizes = _Sizes(drawing)
    ends = _ends(drawing, sizes)
    if not ends:
        return {}
    return {box: sum(end < at for end in ends) for box, at in sizes.rank.items()}


def _screen(drawing: Drawing) -> tuple[float, float]:
    """The points of the place in which a drawing is to be read."""
    if drawing.size is None:
        return SCREEN
    return drawing.size[0] * POINTS * SHORT, drawing.size[1] * POINTS * SHORT


def _ends(drawing: Drawing, sizes: _Sizes) -> list[int]:
    """The ranks after which a part ends, but for the last one: as few as let the words be read."""
    if len(drawing.nodes) > MOST_BOXES and not drawing.in_order:
        return []
    largest = _scale(drawing, *(sizes.of([sizes.last]) if drawing.in_order else extent(drawing)))
    if largest >= SMALL:
        return []
    best: list[int] = []
    needed = GAIN
    for lines, frames in PLACES:
        for found in broken(sizes.heights, sizes.ends(lines, frames), MOST_IN_ORDER if drawing.in_order else MOST):
            size = _scale(drawing, *sizes.of([*found, sizes.last]))
            if size > needed * largest:
                best, largest, needed = found, size, 1.0
            if largest >= SMALL:
                return best
        needed = MORE if best else GAIN
    return best


class _Sizes:
    """What the ranks of a drawing take up, and what passes between them."""

    def __init__(self, drawing: Drawing) -> None:
        self.drawing = drawing
        self.mirrored = any(node.role == "gradient" and node.twin for node in drawing.nodes)
        self.known: dict[tuple[int, int], tuple[float, float]] = {}  # sizes of parts
        self.rank = ranks(drawing)
        least = min(self.rank.values())
        self.rank = {box: at - least for box, at in self.rank.items()}
        self.last = max(self.rank.values())
        self.heights, self.widths = [0.0] * (self.last + 1), [0.0] * (self.last + 1)
        words = [0.0] * (self.last + 1)
        self.passing: list[set[tuple[str, str]]] = [set() for _ in self.heights]
        for node in drawing.nodes:
            at = self.rank[node.id]
            self.heights[at] = max(self.heights[at], height(node) + BELOW)
            self.widths[at] += width(node)
        for edge in drawing.edges:
            if edge.cut:
                continue
            top, bottom = sorted((self.rank[edge.tail], self.rank[edge.head]))
            if edge.rows and edge.role != "carried" and not drawing.in_order:
                words[top] = max(words[top], len(edge.rows) * LINE)
            key = edge.tail, edge.head
            for at in range(top, bottom):
                self.passing[at].add(key)
        if any(words):
            self.heights = [high + more + LABELLED for high, more in zip(self.heights, words, strict=True)]
        parent = {group.id: group.parent for group in drawing.groups}
        self.spans: dict[str, list[int]] = defaultdict(list)
        self.depth: dict[str, int] = {}
        for group in drawing.groups:
            self.depth[group.id] = self.depth.get(group.parent or "", 0) + 1
        for node in drawing.nodes:
            inside = node.group
            while inside is not None:
                self.spans[inside].append(self.rank[node.id])
                inside = parent[inside]

    def ends(self, lines: int, frames: int) -> list[int]:
        """The ranks below which no more than so many lines and frames go on."""
        open_frames = [0] * self.last
        for span in self.spans.values():
            for at in range(min(span), max(span)):
                open_frames[at] += 1
        return [
            at for at in range(self.last) if len(self.passing[at]) <= lines and open_frames[at] <= frames
        ]  # fmt: skip

    def alone(self, begin: int, end: int) -> tuple[float, float]:
        """Of these ranks of a mirrored drawing."""
        if (begin, end) not in self.known:
            some = within(self.drawing, {box for box, at in self.rank.items() if begin <= at <= end})
            wide, high = extent(some)
            titles = [group.rows[0].text for group in some.groups if len(self.spans[group.id]) > 1]
            wide += sum(room(f"{title}{CONTINUED}", WORDS, True) for title in titles) * TITLES
            self.known[begin, end] = wide, high - header(some)
        return self.known[begin, end]

    def of(self, ends: Sequence[int]) -> tuple[float, float]:
        """Width and height of the drawing whose parts end there."""
        across, down, begin = 0.0, 0.0, 0
        if self.mirrored:
            for end in ends:
                wide, high = self.alone(begin, end)
                lines = len(self.passing[end]) if end < self.last else 0
                beside = min((len(self.passing[at]) for at in range(begin, end)), default=1) - 1
                across += wide + BESIDE + LANE * 2 * lines + BETWEEN * beside
                down = max(down, high + 2 * TRACK * (lines + 2))
                begin = end + 1
            return across, down + header(self.drawing)
        for end in ends:
            frames = [group for group, span in self.spans.items() if any(begin <= at <= end for at in span)]
            deepest = max((self.depth[group] for group in frames), default=0)
            lines = len(self.passing[end]) if end < self.last else 0
            beside = max((len(self.passing[at]) for at in range(begin, end)), default=1) - 1
            across += max(self.widths[begin : end + 1]) + deepest * FRAME[0] + BESIDE + LANE * (2 * lines + beside)
            tracks = TRACK * (lines + 2)
            down = max(down, sum(self.heights[begin : end + 1]) + len(frames) * FRAME[1] + 2 * tracks)
            begin = end + 1
        return across, down + header(self.drawing)
