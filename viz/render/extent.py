"""The room that a drawing takes where values flow down, by an estimate that asks no layout engine."""

from __future__ import annotations

import textwrap
from collections import defaultdict

from tensorgraph.viz.model.budget import FORWARD, ranks
from tensorgraph.viz.model.drawing import Drawing
from tensorgraph.viz.model.labels import clean
from tensorgraph.viz.model.rails import RIGHT, Rows
from tensorgraph.viz.render.columns import BELOW, BETWEEN, columns, height, width
from tensorgraph.viz.render.metrics import room

__all__ = ["FRAME", "LABELLED", "LINE", "SCREEN", "SHORT", "WORDS", "extent", "header", "note_lines"]

SCREEN = (1440.0, 797.0)  # points: 1920 by 1080 pixels, for estimates fall short a little
SHORT = 0.98  # the same of any size
HEADER, LINE = 20.0, 14.0  # points: the title, and a line of the legend or a note
SIGNS = 6  # of the legend in a line
FRAME = 26.0, 40.0  # what a frame adds to the width and the height
LABELLED = 5.0  # between ranks, where any edge has a label
BESIDE = 20.0  # a bar or a line beside a column
TITLE, WORDS = 12.0, 9.0
LONGEST_LINE, MOST_SAID = 110, 440  # characters of a line of a note, and of the whole note


def extent(drawing: Drawing) -> tuple[float, float]:
    """Width and height in points."""
    rows = Rows.of(drawing)
    wide, high = _plain(drawing) if rows is None else _mirrored(drawing, rows)
    wide = max(wide, room(drawing.title, TITLE, True))
    return wide, high + header(drawing)


def header(drawing: Drawing) -> float:
    """The height of the title, the legend and the notes."""
    return HEADER + LINE * (-(-len(drawing.legend) // SIGNS) + len(note_lines(drawing)))


def note_lines(drawing: Drawing) -> list[str]:
    """The notes, long ones in several lines."""
    return [line for note in drawing.notes for line in textwrap.wrap(clean(note, MOST_SAID), LONGEST_LINE)]


def _plain(drawing: Drawing) -> tuple[float, float]:
    """Boxes of a rank beside one another, columns too, and a frame around what is in it."""
    rank, column = ranks(drawing), columns(drawing)
    heights: dict[tuple[int, int], float] = defaultdict(float)
    widths: dict[tuple[int, int], float] = defaultdict(float)
    for node in drawing.nodes:
        at = column[node.id], rank[node.id]
        heights[at] = max(heights[at], height(node) + BELOW)
        widths[at] += width(node)
    words: dict[int, float] = defaultdict(float)  # of edges: a line more for each rank that one leaves
    for edge in drawing.edges:
        if edge.rows and not edge.cut and edge.role != "carried" and not drawing.in_order:
            words[rank[edge.tail]] = max(words[rank[edge.tail]], len(edge.rows) * LINE)
    wide: dict[int, float] = defaultdict(float)
    high: dict[int, float] = defaultdict(float)  # by the row, which is of one height in all columns
    begins = {k: min(r for other, r in heights if other == k) for k in set(column.values())}
    for (k, r), value in heights.items():
        row = r - begins[k]
        high[row] = max(high[row], value + (words.get(r, 0.0) + LABELLED if words else 0.0))
        wide[k] = max(wide[k], widths[k, r])
    across, down = (each * len(drawing.groups) for each in FRAME)
    return sum(wide.values()) + BETWEEN * len(wide) + across, sum(high.values()) + down


def _mirrored(drawing: Drawing, rows: Rows) -> tuple[float, float]:
    """The forward part and the gradients in lanes, what stands beside them, and what is kept between."""
    heights: dict[int, float] = defaultdict(float)
    lanes: dict[tuple[bool, int], float] = defaultdict(float)
    spans: dict[tuple[bool, int], list[int]] = defaultdict(list)
    beside: dict[tuple[bool, str], float] = defaultdict(float)
    row_of: dict[tuple[bool, int], float] = defaultdict(float)
    results = {node.id for node in drawing.nodes if node.role == "output"}
    for node in drawing.nodes:
        row, rank, back = rows.row[node.id], rows.rank[node.id], node.role == "gradient"
        heights[rank] = max(heights[rank], height(node) + BELOW)
        if back or (node.twin is None and node.role in FORWARD):
            lane = back, rows.lane.get(row, 0)
            lanes[lane] = max(lanes[lane], width(node))
            spans[lane].append(rank)
            row_of[back, rank] += width(node)
        elif node.role == "update" and node.twin in results:
            row_of[True, rank] += width(node)
        elif node.twin is not None:
            beside[node.role in RIGHT, row] += width(node)
    for lane, span in spans.items():  # where a lane has no box, its line passes
        for rank in {*range(min(span), max(span) + 1)}.difference(span):
            row_of[lane[0], rank] += lanes[lane] / 2
    parts = (  # forward and back, and what stands to either side of both
        max((w for (b, _), w in widths.items() if b is back), default=0.0)
        for widths in ({**lanes, **{(b, -1 - rank): w for (b, rank), w in row_of.items()}}, beside)
        for back in (False, True)
    )
    saved: dict[int, float] = defaultdict(float)  # words of what is kept, beside one another where a row has several
    for edge in drawing.edges:
        if edge.role == "saved" and edge.rows and not edge.cut:
            saved[rows.rank[rows.row[edge.head]]] += max(room(row.text, WORDS) for row in edge.rows)
    passing = [len(points) for side in (rows.outside, rows.left, rows.right) for points in side.values()]
    wide = sum(parts) + max(saved.values(), default=0.0) + 2 * BETWEEN + BESIDE * max(passing, default=0)
    return wide, sum(heights.values())
