"""What is drawn where nothing else is asked can be read on a screen, and hides no more than that takes."""

import re

import pytest
from effort import examples
from hypothesis import given
from hypothesis import strategies as st
from large_programs import PROGRAMS
from test_viz_joins import exact
from test_viz_training import check_complete, nets
from viz_pages import needs_engine

import tensorgraph as tg
from tensorgraph.native import machine
from tensorgraph.viz import draw, mimebundle
from tensorgraph.viz.model.fold import loops_of
from tensorgraph.viz.model.functions import with_functions
from tensorgraph.viz.model.joins import MOST_JOINS
from tensorgraph.viz.model.levels import Plan, coarser, coarser_steps, packed
from tensorgraph.viz.render.extent import extent

LONG = ("transformer step", "flat", "maml step")  # to compile
COMPILED = ("demo step", "residual step", "u-net step", "attention step", "two inputs step", "gan step", "lstm step",
            "lstm forward", *LONG)  # fmt: skip


def size(drawing):
    """Width and height in points, as an engine has it."""
    return tuple(map(float, re.search(r'viewBox="[-\d.]+ [-\d.]+ ([\d.]+) ([\d.]+)"', drawing.svg()).groups()))


def plan(graph):
    return Plan("auto", None, False, None, 2, loops_of(graph))


@needs_engine
@pytest.mark.parametrize("name", [name for name in PROGRAMS if name not in ("transformer loss", "u-net forward")])
def test_words_are_ten_pixels_high_on_a_screen(name):
    wide, high = size(draw(PROGRAMS[name]()))
    assert 9 * min(1920 / wide, 1080 / high) >= 10, (wide, high)


@needs_engine
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in LONG[:2] else name
             for name in PROGRAMS if name != "transformer loss"]
)  # fmt: skip
def test_words_are_nine_pixels_high_on_a_small_canvas(name):
    wide, high = size(draw(PROGRAMS[name](), size=(1280, 640)))
    assert 9 * min(1280 / wide, 640 / high) >= 9, (wide, high)


@needs_engine
def test_a_size_is_of_all_of_a_drawing_and_of_what_nothing_is_said():
    graph = PROGRAMS["u-net step"]()
    boxes = [len(draw(graph, size=asked).nodes) for asked in ((800, 500), (1280, 640), None, (4000, 4000))]
    assert boxes == sorted(boxes) and boxes[1] < boxes[2]
    assert len(draw(graph, size=(800, 500), level="op").nodes) == len(draw(graph, level="op").nodes)
    svg = mimebundle(graph)["image/svg+xml"]  # a notebook has no room for a screen
    assert boxes[0] <= svg.count('class="node') <= boxes[1]
    with pytest.raises(ValueError, match=r"size\[0\] must be an integer at least 100"):
        draw(graph, size=(20, 30))


@needs_engine
@pytest.mark.skipif(not machine.available(), reason="no machine code here")
@pytest.mark.parametrize(
    "name", [name if name not in LONG else pytest.param(name, marks=pytest.mark.slow) for name in COMPILED]
)
def test_words_on_kernels_are_eight_pixels_high_on_a_screen(name):
    wide, high = size(draw(PROGRAMS[name](), level="compiled"))
    assert 9 * min(1920 / wide, 1080 / high) >= 8, (wide, high)


@needs_engine
@pytest.mark.parametrize("name", ["demo step", "transformer forward", "attention step", "residual forward"])
def test_the_room_that_a_drawing_takes_is_known_before_it_is_laid_out(name):
    drawing = draw(PROGRAMS[name]())
    (wide, high), (estimate, height) = size(drawing), extent(drawing)
    assert height == pytest.approx(high, rel=0.1) and 0.6 * wide < estimate < 1.4 * wide


def titles(drawing, *roles):
    return [node.title for node in drawing.nodes if node.role in roles]


def test_what_an_optimiser_does_is_one_box_before_layers_are_closed():
    drawing = draw(PROGRAMS["residual step"]())
    assert titles(drawing, "update") == ["Adam optimizer"]
    (update,) = (node for node in drawing.nodes if node.role == "update")
    assert [row.text for row in update.rows[1:]] == [
        "adam_update x28, add", "writes 28 parameters + 85 buffers", "<- 5 gradients",
    ]  # fmt: skip
    assert titles(drawing, "module")[1:4] == ["Linear first", "BatchNorm norm", "Linear second"]
    assert len(titles(draw(PROGRAMS["residual step"](), level="training"), "update")) == 6


def test_two_optimisers_are_two_boxes():
    drawing = draw(PROGRAMS["gan step"]())
    assert titles(drawing, "update") == ["Adam optimizer", "Adam optimizer_2"]


def test_an_op_is_joined_with_what_alone_it_is_for():
    drawing = draw(PROGRAMS["lstm step"]())
    gates = [title for title in titles(drawing, "ops") if title.startswith("[")]
    assert gates == ["[:, 8:16], sigmoid", "[:, 0:8], sigmoid", "[:, 24:32], tanh", "[:, 16:24], sigmoid"]
    assert titles(drawing, "op").count("multiply") == 3  # two values come together


def test_in_a_loop_the_same_is_joined_in_every_turn():
    def f(x, w):
        h = x
        for _ in range(6):
            h = tg.tanh(tg.sin(h @ w)) + h
        return tg.exp(h)

    graph = with_functions(tg.trace(f, tg.f32[3, 3], tg.f32[3, 3]))
    for drawing, _ in coarser(graph, plan(graph), range(MOST_JOINS + 1)):
        exact(graph, drawing)
    (group,) = draw(graph, level="module").groups
    assert group.count == 6


@pytest.mark.parametrize("name", ["vae step", "lstm forward", "attention forward", "u-net forward", "maml step"])
def test_nothing_is_lost_in_a_coarser_drawing(name):
    graph = with_functions(PROGRAMS[name]())
    found = 0
    for drawing, _ in coarser(graph, plan(graph), range(MOST_JOINS + 1)):
        assert sorted(i for node in drawing.nodes for i in node.members) == list(range(len(graph.equations)))
        found += 1
    assert found >= 2


@pytest.mark.parametrize("name", ["vae step", "gan step", "u-net forward", "demo step", "maml step"])
def test_nothing_is_lost_where_neighbours_are_joined(name):
    graph = with_functions(PROGRAMS[name]())
    found = []
    for drawing, notes in packed(graph, plan(graph), name.endswith("step")):
        assert {i for node in drawing.nodes for i in node.members} == set(range(len(graph.equations)))
        assert any("joined to stay readable" in note for note in notes)
        found.append(len(drawing.nodes))
    assert found and found == sorted(found, reverse=True)


def test_a_module_that_is_joined_with_ops_names_these():
    drawing = draw(PROGRAMS["two inputs step"](), size=(1280, 640))
    assert "Linear image, tanh" in titles(drawing, "module")
    assert "grad Linear score, softmax_cross_entropy, ..." in titles(drawing, "gradient")


@given(nets(), st.integers(0, MOST_JOINS))
@examples(20)
def test_nothing_is_lost_in_a_coarser_step(graph, joins):
    for drawing, _ in coarser_steps(graph, plan(graph), [joins]):
        check_complete(graph, drawing)


def test_values_that_enter_and_leave_together_have_one_point():
    def f(x, w):
        p = {"a": x, "b": x * 2.0}
        for _ in range(4):
            p = {name: tg.tanh(value @ w) for name, value in p.items()}
        return p["a"] + p["b"]

    drawing = draw(f, tg.f32[3, 3], tg.f32[3, 3], level="module")
    assert titles(drawing, "entry") == ["value", "value"]  # each goes its own way
    maml = draw(PROGRAMS["maml step"](), level="module")
    (point,) = (node for node in maml.nodes if node.role == "entry" and "values" in node.title)
    back = [edge for edge in maml.edges if edge.head == point.id and edge.role == "carried"]
    assert len(back) == 1 and len(back[0].values) == 4
