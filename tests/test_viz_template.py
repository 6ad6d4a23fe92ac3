"""A template is drawn with its dimensions by name."""

import re
from typing import Any

import pytest

import tensorgraph as tg
from tensorgraph.text.sizes import Size
from tensorgraph.viz import draw, drawing_from_json

NET = tg.parse("""
def net(x: f32[N, 64], w: f32[64, M], b: f32[M]):
    h = relu(x @ w + b)
    y = concatenate([h, h], axis=1)
    return y.sum(axis=0), h[1:], h.T.reshape(-1), h[:, None], h.mean()
""")


def types(drawing: Any) -> dict[str, str]:
    return {node.path: node.types[0] for node in drawing.nodes if node.types}


def test_sizes_that_follow_a_dimension_are_told_by_it():
    found = types(draw(NET))
    assert found["inputs/x"] == "Nx64 f32" and found["inputs/w"] == "64xM f32" and found["inputs/b"] == "M f32"
    assert found["matmul"] == "NxM f32" and found["concatenate"] == "Nx(2*M) f32" and found["sum"] == "2*M f32"
    assert found["getitem"] == "(N-1)xM f32" and found["transpose"] == "MxN f32" and found["reshape"] == "N*M f32"
    assert found["getitem#1"] == "Nx1xM f32" and found["mean"] == "scalar f32"


@pytest.mark.parametrize("level", ["auto", "op", "module", "training", "summary"])
def test_in_every_format_and_at_every_level(level):
    drawing = draw(NET, level=level)
    for text in (
        drawing.text(),
        drawing.dot(),
        drawing.mermaid().replace("#120;", "x"),
        drawing.json(),
        drawing.html(),
    ):
        assert "Nx64" in text and "64xM" in text
        assert not re.search(r"\b2x64\b|\b64x3\b|\b2x3\b|f32\[2, ", text)
    assert drawing_from_json(drawing.json()) == drawing
    assert drawing.notes[-1] == "a template: counts, bytes and figures are those of N = 2, M = 3"


def test_with_examples_it_is_the_instance_of_these():
    given = (tg.spec((5, 64)), tg.spec((64, 7)), tg.spec((7,)))
    found = types(draw(NET, *given))
    assert found["matmul"] == "5x7 f32" and found["sum"] == "14 f32"
    assert draw(NET, *given) == draw(NET.at(N=5, M=7)) and not draw(NET, *given).notes


def test_the_template_is_as_it_was():
    before = str(NET.at(N=2, M=3))
    draw(NET)
    assert str(NET.at(N=2, M=3)) == before and "[2, 64]" in before
    assert type(NET.at(N=2, M=3).inputs[0].aval.shape[0]) is int
    assert draw(NET) == draw(NET)


def test_attributes_and_keys_and_numbers_follow_too():
    grid = tg.parse("def grid(x: f32[N, 4]): return x[:N] * 2.0 + zeros((N, 4))")
    texts = [f"{row.text} {row.value}" for node in draw(grid).nodes for row in node.rows]
    assert "shape (N, 4)" in texts and "x[:N, :] " not in texts
    assert not any(re.search(r"\b2, 4\b|:2\b", text) for text in texts)


def test_dimensions_that_go_together_only():
    pairs = tg.parse("def pairs(x: f32[N, K], y: f32[K, N]): return (x * y.T).sum() + x.reshape(-1)[0]")
    assert types(draw(pairs))["inputs/x"] == "NxK f32" and types(draw(pairs))["reshape"] == "N*K f32"
    halves = tg.parse("def halves(x: f32[N]): return x.reshape(2, -1)")  # even sizes alone
    assert types(draw(halves))["inputs/x"] == "N f32" and types(draw(halves))["reshape"] == "2x(N//2) f32"
    square = tg.parse("def square(x: f32[N, N]): return (x @ x).reshape(-1)")
    assert types(draw(square))["reshape"] == "N*N f32" and types(draw(square))["matmul"] == "NxN f32"


def test_figures_are_those_of_an_instance():
    loss = tg.parse("def loss(x: f32[N, 4]): return (x * x).mean()")
    for overlay in ("flops", "bytes", "max", "grad_norm", "time"):
        drawing = draw(loss, overlay=overlay)
        assert types(drawing)["multiply"] == "Nx4 f32" and any(node.metric for node in drawing.nodes)
        assert "N = 2" in drawing.notes[-1]


def test_a_size_is_an_integer_that_prints_as_it_is_called():
    graph, sizes = NET.symbolic()
    rows = graph.inputs[0].aval.shape[0]
    assert isinstance(rows, Size) and rows == 2 == sizes["N"] and f"{rows}" == str(rows) == repr(rows) == "N"
    assert str(graph.inputs[0].aval) == "f32[N, 64]" and graph.cost().flops == NET.at(**sizes).cost().flops
