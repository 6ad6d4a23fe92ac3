"""Rewriting inside the graphs that equations hold: bodies of loops, and functions with rules of their own."""

import numpy as np
import pytest

import tensorgraph as tg
from tensorgraph import nn


def loop(x):
    def step(h, row):
        h = tg.tanh(h * 2.0 + row)
        return h, tg.exp(h)

    return tg.scan(step, tg.zeros(3), x)


GRAPH = tg.f32[5, 3]


def bodies(graph):
    return [[inner.op.name for inner in body.equations] for eq in graph.equations for body in eq.bodies().values()]


def same(a, b):
    for one, other in zip(a, b, strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=1e-5)


def test_the_body_of_a_loop_is_searched():
    graph = tg.trace(loop, GRAPH)
    after = graph.rewrite(lambda x: x * 2.0, lambda x: x + x).check()
    assert bodies(graph) == [["multiply", "add", "tanh", "exp"]]
    assert bodies(after) == [["add", "add", "tanh", "exp"]]
    told = str(after.explain())
    assert "in the body of v1 = scan(...)" in told and "test_rewriting_inside.py:" in told
    assert tg.parse(str(after)) == after
    x = tg.tensor(np.random.default_rng(0).normal(size=(5, 3)), "float32")
    same(after(x), graph(x))
    wanted = tg.grad(lambda x: sum(t.sum() for t in loop(x)))(x)
    gradient = tg.grad(lambda x: sum(t.sum() for t in after(x)))(x)
    np.testing.assert_allclose(gradient.numpy(), wanted.numpy(), rtol=1e-5)


def test_loops_in_loops_and_what_stands_beside_them():
    def f(x):
        outer = tg.scan(lambda h, row: (loop(row.reshape(1, 3))[0] + h * 2.0, h), tg.zeros(3), x * 2.0)
        return outer[0] * 2.0

    graph = tg.trace(f, GRAPH)
    after = graph.rewrite(lambda x: x * 2.0, lambda x: x + x)
    assert after.explain().counts() == {("rewrite", "x * 2.0 → x + x"): 4}
    assert "multiply" not in str([[eq.op.name for eq in after.equations], bodies(after)])


def test_other_spellings_and_other_functions():
    graph = tg.trace(lambda x: tg.scan(lambda h, r: (h + 1.0 / (1.0 + tg.exp(-r)), h), tg.zeros(3), x), GRAPH)
    after = graph.rewrite(tg.sigmoid, lambda x: tg.sigmoid(x) * 1.0)
    assert bodies(after) == [["sigmoid", "multiply", "add"]] and "by behaviour" in str(after.explain())
    graph = tg.trace(loop, GRAPH)
    with pytest.raises(ValueError, match=r"after differs from before: .*gives|traced at"):
        graph.rewrite(tg.tanh, tg.sin)
    assert bodies(graph.rewrite(tg.tanh, tg.sin, equal=False)) == [["multiply", "add", "sin", "exp"]]


def test_a_cell_in_a_loop_stands_for_itself():
    cell = nn.Linear(3, 3, seed=0)
    other = tg.Parameter(np.ones(3, np.float32), name="other")
    graph = tg.trace(lambda x: tg.scan(lambda h, row: (tg.tanh(cell(h) + row), h), tg.zeros(3), x), GRAPH)
    before = lambda x: x @ cell.weight
    after = graph.rewrite(before, lambda x: (x * 2.0) @ (cell.weight * 0.5))
    assert bodies(after)[0][:3] == ["multiply", "multiply", "matmul"] and len(after.cells) == len(graph.cells)
    x = np.random.default_rng(0).normal(size=(5, 3)).astype("float32")
    same(after.bind()(x), graph.bind()(x))
    assert graph.rewrite(lambda x: x @ other, lambda x: (x * other).sum(), equal=False) == graph
    with pytest.raises(ValueError, match="other', and the loop that it stands in reads no such cell"):
        graph.rewrite(before, lambda x: (x * other) @ cell.weight, equal=False)


def test_a_function_with_a_rule_of_its_own():
    double = tg.custom_vjp(lambda x: x * 2.0)
    double.defvjp(lambda x: (x * 2.0, None), lambda kept, g: (g * 2.0,))
    graph = tg.trace(lambda x: double(x) + 1.0, tg.f32[3])
    after = graph.rewrite(lambda x: x * 2.0, lambda x: x + x)
    assert bodies(after) == [["add"], ["add"]]
    with pytest.raises(ValueError, match="its gradient is a rule of its own"):
        graph.rewrite(lambda x: x * 2.0, lambda x: x * 3.0, equal=False)


def test_what_cannot_be_looked_into_is_told():
    double = tg.custom_vjp(lambda x: x * 2.0)
    double.defvjp(lambda x: (x * 2.0, None), lambda kept, g: (g * 2.0,))
    graph = tg.graph(double(tg.tensor([1.0, 2.0], requires_grad=True)).sum())
    after = graph.rewrite(lambda x: x * 2.0, lambda x: x + x)
    assert after == graph
    assert "not looked into" in str(after.explain()) and "it holds a Python function" in str(after.explain())


def test_a_checkpoint_is_searched():
    x = tg.tensor([1.0, 2.0, 3.0], requires_grad=True)
    for graph in (tg.graph(tg.checkpoint(loop)(x.reshape(1, 3))[0]), tg.trace(tg.checkpoint(loop), GRAPH)):
        after = graph.rewrite(lambda x: x * 2.0, lambda x: x + x)
        assert ["add", "add", "tanh", "exp"] in bodies(after)


def test_a_name_in_a_loop_says_where_it_is():
    graph = tg.trace(loop, GRAPH)
    with pytest.raises(KeyError, match="'h' is no part of loop itself: it stands in the body of scan, which gives v1"):
        graph["h"]


def test_a_pattern_of_types_that_only_the_body_has():
    graph = tg.trace(lambda x: tg.scan(lambda h, m: (h + m @ h, h), tg.zeros(3), x), tg.f32[5, 3, 3])
    after = graph.rewrite(lambda m, v: m @ v, lambda m, v: (m * v).sum(axis=1), exact=True)
    assert bodies(after) == [["multiply", "sum", "add"]]
