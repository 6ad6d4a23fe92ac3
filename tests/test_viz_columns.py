"""A long chain stands in columns, and values flow to the right where asked."""

import math
import re
from collections import Counter
from itertools import combinations, pairwise

import pytest
from effort import examples
from hypothesis import given
from hypothesis import strategies as st
from large_programs import PROGRAMS
from test_viz_lanes import laid_out, struck
from viz_pages import needs_engine

import tensorgraph as tg
from tensorgraph import nn
from tensorgraph.viz import draw
from tensorgraph.viz.model.drawing import Row
from tensorgraph.viz.render.columns import broken, columns
from tensorgraph.viz.render.dot import folded


def chain(length):
    return tg.trace(lambda x: [x := tg.tanh(x) if i % 2 else tg.exp(x) for i in range(length)][-1], tg.f32[3])


def net(layers):
    made = [part for i in range(layers) for part in (nn.Linear(6 + i, 7 + i, seed=i), nn.BatchNorm(7 + i), nn.ReLU())]
    return tg.trace(nn.Sequential(*made), tg.f32[4, 6])


def test_a_long_chain_is_read_down_and_then_to_the_right(engine):
    drawing = draw(net(5), level="module")
    column = columns(drawing)
    assert set(column.values()) == set(range(max(column.values()) + 1)) and max(column.values()) >= 1
    boxes, lines = laid_out(drawing.dot())
    sides = [[boxes[box][0] for box, at in column.items() if at == n] for n in sorted(set(column.values()))]
    assert all(max(a) < min(b) for a, b in pairwise(sides))
    heads = [min(boxes[box][1] for box, at in column.items() if at == n) for n in sorted(set(column.values()))]
    assert max(heads) - min(heads) < 40
    assert struck(boxes, lines) == []
    tall = laid_out(draw(net(5), level="module", direction="down").dot())[0]
    assert len({round(left + right) for left, _, right, _ in tall.values()}) == 1  # one column
    assert max(b for *_, b in tall.values()) - min(t for _, t, *_ in tall.values()) > 1.5 * (
        max(b for *_, b in boxes.values()) - min(t for _, t, *_ in boxes.values())
    )


@pytest.mark.parametrize("name", ["u-net forward", "attention forward", "flat", "two inputs", "residual forward"])
def test_what_is_in_columns_is_drawn_whole(name, engine):
    drawing = draw(PROGRAMS[name]())
    boxes, lines = laid_out(drawing.dot())
    assert boxes.keys() == {node.id for node in drawing.nodes}
    assert struck(boxes, lines, 6.0) == []


@given(st.integers(1, 60))
@examples(20)
def test_every_box_has_a_column_and_lines_lead_on(length):
    drawing = draw(chain(length), level="op", expand=True)
    column = columns(drawing)
    assert column.keys() == {node.id for node in drawing.nodes}
    assert all(0 <= column[edge.head] - column[edge.tail] <= 1 for edge in drawing.edges)
    sizes = [list(column.values()).count(n) for n in set(column.values())]
    assert max(sizes) - min(sizes) <= max(3, math.ceil(length / 8))  # about equally high


def test_values_flow_to_the_right(engine):
    drawing = draw(net(2), level="module", direction="right")
    boxes, lines = laid_out(drawing.dot())
    assert all(boxes[edge.tail][2] < boxes[edge.head][0] for edge in drawing.edges)
    assert "flowchart LR" in drawing.mermaid()
    assert struck(boxes, lines) == []
    assert drawing == draw(net(2), level="module")  # the way it is laid out is no part of what is drawn


@needs_engine
def test_the_words_of_a_step_are_ten_pixels_high_on_a_slide_and_on_a_page():
    def size(direction, width, height):
        """Of words of nine points, in pixels, where the drawing fills a place of so many."""
        svg = draw(PROGRAMS["demo step"](), direction=direction).svg()
        wide, high = map(float, re.search(r'viewBox="0.00 0.00 ([\d.]+) ([\d.]+)"', svg).groups())
        return 9 * min(width / wide, height / high)

    assert size("right", 1280, 640) >= 10
    assert size("auto", 900, math.inf) >= 10


def test_lines_of_boxes_are_folded_where_values_flow_to_the_right():
    assert [row.text for row in folded(Row("write", "writes gamma, beta + 6 buffers"))] == [
        "writes gamma, beta", "+ 6 buffers",
    ]  # fmt: skip
    assert [(row.style, row.text) for row in folded(Row("title", "grad softmax_cross_entropy"))] == [
        ("title", "grad"), ("title", "softmax_cross_entropy"),
    ]  # fmt: skip
    short = Row("parameter", "weight", "2x3 f32")
    assert folded(short) == [short]
    long = folded(Row("parameter", "running_mean of all", "2x3 f32"))
    assert [(row.style, row.text, row.value) for row in long] == [
        ("parameter", "running_mean of", ""), ("continued", "all 2x3 f32", ""),
    ]  # fmt: skip
    drawing = draw(PROGRAMS["demo step"](), direction="right")
    assert "writes gamma, beta<" in drawing.dot() and "writes gamma, beta + 6 buffers" in drawing.text()


def test_a_direction_is_one_of_three():
    with pytest.raises(ValueError, match="direction"):
        draw(net(1), direction="left")


@given(st.lists(st.sampled_from([20.0, 35.0, 47.5]), min_size=1, max_size=11), st.sets(st.integers(0, 9)))
@examples(60)
def test_columns_end_where_the_highest_is_least_high(heights, places):
    ends = sorted(place for place in places if place < len(heights) - 1)

    def highest(way):
        parts = zip((0, *(end + 1 for end in way)), (*(end + 1 for end in way), len(heights)), strict=True)
        return max(sum(heights[a:b]) for a, b in parts)

    found = [*broken(heights, ends)]
    assert len(found) == min(5, len(ends))
    for k, way in enumerate(found, 1):
        assert tuple(way) == min(combinations(ends, k), key=lambda one: (highest(one), one))


@pytest.mark.parametrize("name", ["residual step", "lstm step"])
def test_a_line_from_one_column_to_the_next_ends_beside_the_box_that_it_leads_to(name):
    """Also where another box begins the column with it."""
    dot = draw(PROGRAMS[name](), level="module").dot()
    heads = re.search(r"\{rank=same; ([^}]*)\}", dot)[1].split()
    ends = re.findall(r"^(w\d+b) -> (n\d+)", dot, re.M)
    assert ends and all(heads.index(head) == heads.index(point) + 1 for point, head in ends)


def test_no_column_holds_a_box_or_two_beside_ten():
    assert set(columns(draw(PROGRAMS["two inputs step"](), level="module")).values()) == {0}
    unet = Counter(columns(draw(PROGRAMS["u-net step"](), level="module")).values())
    assert len(unet) == 2 and min(unet.values()) > 5
