"""A long chain in columns, read down and then to the right, where that lets its words stay larger on a slide or a page.

A column ends only where a single line goes on; what has frames stays in one, since no layout engine keeps a frame
together of which a box stands beside one outside.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Any

import numpy as np

from tensorgraph.viz.model.budget import ranks
from tensorgraph.viz.model.drawing import Drawing, Node
from tensorgraph.viz.render.metrics import room

__all__ = ["BELOW", "BETWEEN", "PAGE", "POINTS", "SMALL", "broken", "columns", "height", "width"]

POINTS = 0.75  # a pixel
SLIDE = 1280, 640  # pixels
PAGE = 675.0  # points: the 900 pixels of a notebook's width
MOST = 6
ROW, PORTS, AROUND, DOUBLE, POINT = 14.0, 12.0, 7.0, 8.0, 11.0  # of a box's parts
BELOW, BETWEEN, BESIDE = 11.7, 20.0, 45.0  # between ranks, boxes of a rank, columns
SMALL = 0.83  # of their size, at which words of nine points are ten pixels high
SHORT = 0.35  # of the highest column: what any is at least
GAIN = 1.15  # by which words must be larger for a chain to be broken


def columns(drawing: Drawing) -> dict[str, int]:
    """The column of each box, from 0; all in one where breaking the drawing gains nothing."""
    # The plan:
    # 1. the height and the width that each rank takes, by an estimate;
    # 2. the ranks after which a column may end;
    # 3. for every number of columns, the ends that make the highest one least high;
    # 4. the number at which the words are largest, fewer where it hardly matters.
    rank = ranks(drawing)
    last = max(rank.values(), default=0)
    heights, widths = [0.0] * (last + 1), [0.0] * (last + 1)
    for node in drawing.nodes:
        at = rank[node.id]
        heights[at] = max(heights[at], height(node) + BELOW)
        widths[at] += width(node)
    ends = _ends(drawing, rank, last)
    page = math.inf if drawing.size is not None else PAGE
    slide = drawing.size or SLIDE
    one = _scale([(heights, widths)], slide, page)
    best, size = [last], one
    if one < SMALL and drawing.level != "compiled":  # kernels would have lines across columns
        for found in broken(heights, ends):
            parts = list(zip([0, *(r + 1 for r in found)], [*(r + 1 for r in found), last + 1], strict=True))
            high = [sum(heights[a:b]) for a, b in parts]
            if min(high) < SHORT * max(high):
                continue  # two boxes beside ten
            scale = _scale([(heights[a:b], widths[a:b]) for a, b in parts], slide, page)
            if scale > GAIN * size:
                best, size = [*found, last], scale
    return {box: next(n for n, end in enumerate(best) if at <= end) for box, at in rank.items()}


def height(node: Node) -> float:
    if node.role == "entry":
        return POINT
    double = node.role in ("module", "ops", "kernels", "summary")
    return (len(node.rows) + bool(node.metric)) * ROW + bool(node.ports) * PORTS + AROUND + double * DOUBLE


def width(node: Node) -> float:
    longest = (room(f"{row.text} {row.value}", 11 if row.style == "title" else 9) for row in node.rows)
    return max(longest, default=0) + 1.5 * AROUND + BETWEEN


def _scale(parts: Sequence[tuple[Sequence[float], Sequence[float]]], slide: tuple[int, int], page: float) -> float:
    """How far the columns shrink on a slide of so many pixels, or on a page of this width."""
    wide = sum(max(widths) + BESIDE for _, widths in parts)
    rows = zip_longest(*[heights for heights, _ in parts], fillvalue=0.0)  # as layout engines have them: of one height
    high = sum(map(max, rows)) + 4 * ROW  # the title and the legend
    return min(slide[0] * POINTS / wide, slide[1] * POINTS / high, page / wide)


def _ends(drawing: Drawing, rank: dict[str, int], last: int) -> list[int]:
    """The ranks below which one line goes on."""
    crossing: dict[int, set[tuple[str, str]]] = defaultdict(set)
    for edge in drawing.edges:
        if not edge.cut:
            top, bottom = sorted((rank[edge.tail], rank[edge.head]))
            for at in range(top, bottom):
                crossing[at].add((edge.tail, edge.head))
    parent = {group.id: group.parent for group in drawing.groups}
    spans: dict[str, list[int]] = defaultdict(list)
    for node in drawing.nodes:
        group = node.group
        while group is not None:
            spans[group].append(rank[node.id])
            group = parent[group]
    # not within a frame, nor above one: what begins a column stands in no frame
    taken = {at for span in spans.values() for at in range(min(span) - 1, max(span))}
    return [at for at in range(last) if len(crossing[at]) == 1 and at not in taken]


def broken(heights: Sequence[float], ends: Sequence[int], most: int = MOST) -> Iterator[list[int]]:
    """The ends of all columns but the last for two columns, for three, and so on while there are places."""
    total = np.cumsum([0.0, *heights])
    at = total[np.array(ends, np.intp) + 1]
    # by the number of the end of the last column so far: how high the highest is at least, and all ends
    highest, ways = at, [[end] for end in ends]
    for first in range(min(most - 1, len(ends))):  # this many ends lie before that one
        if first:
            before, made = highest, ways
            highest, ways = before.copy(), [*made]
            for n in range(first, len(ends)):
                columns = np.maximum(before[first - 1 : n], at[n] - at[first - 1 : n])
                found = _least(columns, made, first - 1)
                highest[n], ways[n] = columns[found], [*made[first - 1 + found], ends[n]]
        yield ways[first + _least(np.maximum(highest[first:], total[-1] - at[first:]), ways, first)]


def _least(columns: np.ndarray[Any, Any], ways: Sequence[list[int]], first: int) -> int:
    """The number of the least column; of several that which ends first."""
    tied: list[int] = np.flatnonzero(columns == columns.min()).tolist()
    return min(tied, key=lambda n: ways[first + n])
