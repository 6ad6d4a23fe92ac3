"""An animation: every box at its turn, forward, then backward, then updates, with the numbers of one run."""

import json
import re

import numpy as np
import pytest
from effort import examples
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from large_programs import PROGRAMS
from viz_pages import needs_engine

import tensorgraph as tg
from tensorgraph import nn, optim
from tensorgraph.viz import draw, drawing_from_json
from tensorgraph.viz.animation.figures import figures_of
from tensorgraph.viz.animation.steps import record, steps_of

NAMES = ("demo step", "residual step", "two inputs step", "attention step", "gan step", "u-net forward", "maml step")


def arguments(graph):
    rng = np.random.default_rng(0)
    return [
        rng.standard_normal(v.aval.shape).astype(v.aval.dtype)
        if v.aval.dtype.kind == "f"
        else rng.integers(0, 3, v.aval.shape)
        for v in graph.inputs
    ]


def data_of(page):
    return json.loads(re.search(r'id="data">(.*?)</script>', page, re.S)[1])


@pytest.mark.parametrize("level", ["auto", "op", "module", "training"])
@pytest.mark.parametrize("name", NAMES)
def test_every_box_has_one_turn_after_those_it_reads(name, level):
    graph = PROGRAMS[name]()
    drawing = draw(graph, level=level)
    steps = steps_of(drawing, graph, None)
    turn = {step.box: n for n, step in enumerate(steps)}
    assert sorted(turn) == sorted(node.id for node in drawing.nodes if node.id not in drawing.points)
    assert len(turn) == len(steps) and all(step.figures is None for step in steps)
    repeats = {group.id for group in drawing.groups if group.count > 1}
    framed = {node.id for node in drawing.nodes if node.group in repeats}
    for edge in drawing.edges:
        ends = {edge.tail, edge.head}
        if edge.role == "carried" or not ends <= turn.keys() or ends & framed or drawing.level == "module":
            continue
        assert turn[edge.tail] < turn[edge.head], (edge, name)


def test_figures_are_those_of_the_run():
    model = nn.Sequential(nn.Linear(3, 4, seed=0), nn.Tanh(), nn.Linear(4, 1, seed=1))
    optimizer = optim.SGD(model, lr=0.5)

    def step(x, y):
        loss = ((model(x) - y) ** 2).mean()
        optimizer.minimize(loss)
        return loss

    x, y = np.ones((2, 3), np.float32), np.array([[0.0], [2.0]], np.float32)
    graph = tg.trace(step, x, y)
    before = [p.numpy().copy() for p in model.parameters()]
    drawing = draw(graph)
    steps = {step.title: step for step in steps_of(drawing, graph, record(graph, (x, y)))}
    assert all(np.array_equal(p.numpy(), old) for p, old in zip(model.parameters(), before, strict=True))
    hidden = x @ before[0] + before[1]
    made = steps["Linear 0"].figures
    np.testing.assert_allclose([made.mean, made.deviation, made.low, made.high],
                               [hidden.mean(), hidden.std(), hidden.min(), hidden.max()], rtol=1e-5)  # fmt: skip
    with tg.no_grad():
        out = model(x).numpy()
    loss = ((out - y) ** 2).mean()
    assert steps["loss"].figures.mean == pytest.approx(loss, rel=1e-5)
    np.testing.assert_allclose(steps["grad Linear 2"].figures.norm, np.linalg.norm(2 * (out - y) / 2), rtol=1e-5)
    changed = next(word for word in steps["sgd_update x2"].words if word.startswith("changes"))
    assert re.search(r"weight by [\d.e-]+%", changed) and "bias from zero by" in changed


DTYPES = st.sampled_from([np.float64, np.float32, np.int64, np.bool_])


@given(hnp.arrays(DTYPES, hnp.array_shapes(max_dims=3, min_side=0), fill=st.nothing()))
@examples(60)
def test_figures_of_any_numbers(array):
    found = figures_of(array)
    if array.size == 0:
        assert found is None
        return
    finite = array[np.isfinite(array)].astype(np.float64)
    assert sum(found.bars) == finite.size
    assert found.broken == pytest.approx(1 - finite.size / array.size)
    if finite.size:
        assert found.low == finite.min() and found.high == finite.max() and found.low <= found.mean <= found.high * (
            1 + 1e-12 * np.sign(found.high)) + 1e-300  # fmt: skip
        assert found.deviation >= 0


@needs_engine
@pytest.mark.parametrize("values", [[np.nan, np.inf], [3e38, -3e38], [0.0, 0.0]])
def test_a_page_holds_whatever_numbers_there_are(values):
    drawing = draw(tg.trace(lambda x: tg.exp(x) * x, tg.f32[2]))
    data = data_of(drawing.animate(np.array(values, np.float32)))
    assert len(data["steps"]) == len(drawing.nodes)


@needs_engine
def test_names_stay_words():
    hostile = "</script><script>alert(1)</script>"
    graph = tg.trace(lambda x: tg.tanh(x).sum(), tg.f32[2])
    object.__setattr__(graph, "name", hostile)
    page = draw(graph).animate(np.ones(2, np.float32))
    assert "<script>alert" not in page and page.count("<script") == 2


def test_what_cannot_be_animated_says_why():
    drawing = draw(lambda x: tg.tanh(x), tg.f32[3])
    with pytest.raises(ValueError, match="does not know its graph: draw it anew"):
        drawing_from_json(drawing.json()).animate()
    with pytest.raises((TypeError, ValueError), match="argument"):
        drawing.animate(np.ones(3, np.float32), np.ones(1, np.float32))
    with pytest.raises((TypeError, ValueError), match=r"f32\[3\]"):
        drawing.animate(np.ones(2, np.float32))


@pytest.fixture
def page(browser, tmp_path):
    graph = PROGRAMS["demo step"]()
    drawing = draw(graph)
    path = tmp_path / "steps.html"
    path.write_text(drawing.animate(*arguments(graph)), "utf-8")
    browser.window(1280, 800)
    browser.open(path)
    yield browser
    browser.settle()
    assert browser.complaints() == []
    assert browser.requests() == [path.as_uri()]


WAITING = "document.querySelectorAll('#stage .node.waiting').length"
TITLE = "document.querySelector('#now h2').textContent"


def test_the_page_steps_by_keys_and_clicks(page):
    count = page.run("document.querySelectorAll('#stage .node').length")
    assert page.run(TITLE) == "x" and page.run(WAITING) >= count - 5
    seen = [page.run(TITLE)]
    for _ in range(30):
        page.key("ArrowRight")
        seen.append(page.run(TITLE))
    assert page.run(WAITING) == 0 and seen[-1] == seen[-2]  # the last step stays
    assert seen.index("Linear 0") < seen.index("loss") < seen.index("grad Linear_2 6") < seen.index("grad Linear 0")
    page.key("Home")
    assert page.run(TITLE) == "x"
    page.run("[...document.querySelectorAll('#stage .node')].find(e => e.textContent.includes('grad Linear 3'))"
             ".dispatchEvent(new MouseEvent('click', {bubbles: true}))")  # fmt: skip
    assert page.run(TITLE) == "grad Linear 3"
    assert page.run("document.querySelectorAll('#stage .ring').length") == 1
    assert page.run("document.querySelectorAll('#now svg rect').length") == 24
    assert page.run("document.querySelectorAll('#stage .edge.flowing').length") >= 1


def test_what_is_kept_is_held_until_its_gradient(page):
    held = "document.querySelectorAll('#stage .edge.held').length"
    words = "document.querySelectorAll('#stage .words{}').length"
    assert page.run(held) == 0
    assert page.run(words.format("")) == page.run(words.format(".waiting")) == 8  # of what is kept, which waits too
    for _ in range(9):
        page.key("ArrowRight")
    most = page.run(held)
    assert most >= 6
    page.key("End")
    assert page.run(held) == page.run(words.format(".waiting")) == 0


def test_it_plays_by_itself(page):
    page.run("document.getElementById('speed').value = '4'")
    page.key(" ")
    page.until(f"{WAITING} === 0")
    page.until("document.getElementById('play').textContent === 'Play'")
    assert page.run("document.getElementById('count').textContent").startswith("25 of 25")


@pytest.mark.parametrize("width", [1280, 900, 390])
def test_the_box_at_its_turn_is_in_sight_and_nothing_sticks_out(page, width):
    page.window(width, 800)
    page.key("Home")
    for _ in range(24):
        page.key("ArrowRight")
        assert page.run("""(() => {
          const ring = document.querySelector('#stage .ring').getBoundingClientRect();
          const seen = document.getElementById('stage').getBoundingClientRect();
          return ring.left >= seen.left - 4 && ring.right <= seen.right + 4 && ring.top >= seen.top - 4 &&
            ring.bottom <= seen.bottom + 4 && document.documentElement.scrollWidth <= window.innerWidth;
        })()""")


def test_on_a_narrow_page_the_drawing_stays_and_buttons_hold_their_words(page):
    page.window(390, 844)
    page.key("Home")
    heights, within = set(), "[...document.querySelectorAll('button')].every(b => b.scrollWidth <= b.clientWidth)"
    for _ in range(24):
        page.key("ArrowRight")
        heights.add(page.run("document.getElementById('stage').clientHeight"))
        assert page.run(within)
    assert len(heights) == 1
    page.key("Home")
    page.key(" ")
    assert page.run("document.getElementById('play').textContent") == "Pause" and page.run(within)
    page.key(" ")
