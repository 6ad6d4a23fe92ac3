"""The graph's text beside its picture in the page: a line shows its boxes, a box its lines."""

import numpy as np
import pytest
from large_programs import PROGRAMS
from viz_pages import centre_of, chosen, needs_engine

import tensorgraph as tg
from tensorgraph.viz import draw
from tensorgraph.viz.html.lines import text_beside


@pytest.mark.parametrize("name", ["demo step", "transformer forward", "lstm forward", "maml step", "attention step"])
def test_every_equation_has_a_line_with_its_op(name):
    graph = PROGRAMS[name]()
    found = text_beside(graph)
    assert "\n".join(found.lines) == graph.text()
    for eq, line in zip(graph.equations, found.of, strict=True):
        said = found.lines[line]
        infix = eq.op.infix
        assert eq.op.name in said or (infix or "").removeprefix("u") in said or eq.op.name in (
            "getitem", "put", "tensor", "custom_vjp"), (eq.op.name, said)  # fmt: skip


def test_where_there_is_no_text_the_picture_stands_alone():
    graph = tg.trace(lambda x: tg.tanh(x), tg.f32[3])
    equations = graph.equations * 5000
    object.__setattr__(graph, "equations", equations)
    assert text_beside(graph) is None


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "net.html"
    draw(PROGRAMS["transformer forward"]()).save(path)
    return path


@pytest.fixture
def page(browser, file):
    browser.window(1280, 800)
    browser.open(file)
    yield browser
    browser.settle()
    assert browser.complaints() == []
    assert browser.requests() == [file.as_uri()]


OPEN = "!document.getElementById('text').hidden"
LIT = "[...document.querySelectorAll('.code .lit')].map(row => row.textContent.trim())"
BOXES = "[...document.querySelectorAll('#stage .lit')].map(box => box.textContent.replace(/\\s+/g, ' '))"


def press(browser, line):
    browser.run(f"[...document.querySelectorAll('.code button')].find(b => b.textContent.includes({line!r})).click()")


@needs_engine
def test_the_text_opens_by_button_and_key(page):
    assert not page.run(OPEN)
    page.key("x")
    assert page.run(OPEN) and "def Attention(" in page.run("document.querySelector('.code').textContent")
    page.run("document.getElementById('code').click()")
    assert not page.run(OPEN)


@needs_engine
def test_a_line_shows_its_boxes_and_a_box_its_lines(page):
    page.key("x")
    press(page, "relu(up(norm2(x)))")
    assert any("relu" in box for box in page.run(BOXES)) and len(page.run(LIT)) == 1
    assert chosen(page) is not None
    page.run("document.getElementById('zoom-fit').click()")
    page.click(*centre_of(page, "Embedding tokens"))
    assert page.run(LIT) == ["return embedding(weight, ids)"]


@needs_engine
def test_a_line_within_a_closed_box_shows_the_box(page):
    page.key("x")
    press(page, "parts = transpose")
    assert chosen(page).startswith("blocks.0.attention") and len(page.run(BOXES)) == 1
    page.run("document.querySelector('#details .open').click()")  # inside, the same line is its ops
    page.until("document.querySelectorAll('#crumbs > :not(.step)').length > 1")
    press(page, "parts = transpose")
    assert any("transpose" in box for box in page.run(BOXES))
    press(page, "relu(up(norm2(x)))")  # a line of another part leads out again
    page.until("document.querySelectorAll('#crumbs > :not(.step)').length === 1")


@needs_engine
@pytest.mark.parametrize("width", [1500, 1280, 900, 390])
def test_nothing_sticks_out(browser, file, width):
    browser.window(width, 800)
    browser.open(file)
    if not browser.run(OPEN):
        browser.run("document.getElementById('code').click()")
    assert browser.run("document.documentElement.scrollWidth <= window.innerWidth")
    sizes = browser.run("['text', 'stage', 'details'].map(id => document.getElementById(id).getBoundingClientRect())"
                        ".map(box => [box.width, box.height])")  # fmt: skip
    assert all(np.array(sizes).ravel() > 100)
