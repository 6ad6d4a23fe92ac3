"""Parts of graphs by name: what they are, that they mean the same after passes, and functions put in their place."""

import numpy as np
import pytest

import tensorgraph as tg
from tensorgraph import nn, optim

X = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)


@pytest.fixture
def net():
    return nn.Sequential(nn.Linear(4, 8, seed=0), nn.BatchNorm(8), nn.ReLU(), nn.Linear(8, 2, seed=2))


ALIVE = []  # optimisers, whose cells a graph does not hold


def step_of(net):
    adam = optim.Adam(net.parameters(), lr=0.01)

    def step(x, y):
        loss = tg.softmax_cross_entropy(net(x), y)
        adam.minimize(loss)
        return loss

    graph = tg.trace(step, tg.f32[5, 4], tg.i64[5])
    ALIVE.append(adam)
    return graph


def ops(graph):
    return [eq.op.name for eq in graph.equations]


def test_a_module_by_its_path(net):
    graph = tg.trace(net, tg.f32[5, 4])
    part = graph["1"]
    assert ops(part) == ["batch_norm", "running_average"]
    assert [v.aval for v in part.inputs] == [tg.f32[5, 8]] == [v.aval for v in part.outputs]
    assert {decl.path for decl in part.cells} >= {"1.gamma", "1.beta", "1.running_mean"}
    assert len(part.writes) == 4 and part.scope == "1"
    h = np.random.default_rng(1).normal(size=(5, 8)).astype(np.float32)
    assert np.allclose(part(h), (h - h.mean(0)) / np.sqrt(h.var(0) + 1e-5), atol=1e-5)
    assert np.array_equal(
        part(h, state={c.path: tg.zeros(c.aval.shape, dtype=c.aval.dtype) for c in part.cells}), 0 * h
    )
    assert part.cost().flops > 0 and "BatchNorm" in str(part) and "batch_norm" in part.draw().text()
    assert tg.parse(str(part)) == part.graph


def test_a_value_by_its_name():
    def f(x):
        h = tg.exp(x)
        return tg.log(h + 1.0)

    graph = tg.trace(f, tg.f32[3])
    assert ops(graph["h"]) == ["exp"] and repr(graph["h"]) == "<Region h of f: 1 equation>"
    assert graph["h"](tg.zeros(3)).tolist() == [1.0, 1.0, 1.0]
    assert graph["x"].numbers == () and ops(graph["v0"]) == ["add"]
    assert graph["h"] == tg.parse(str(graph))["h"] and len({graph["h"], tg.parse(str(graph))["h"]}) == 1
    assert graph["h"] != graph["v0"]


def test_a_value_that_was_replaced_is_all_that_stands_for_it():
    def f(x):
        h = tg.softmax(x * 2.0)
        y = h + 1.0
        return (y * y).sum()

    graph = tg.trace(tg.grad(f), tg.f32[3, 4])
    replaced = graph.replace_at("h", lambda v: tg.relu(tg.exp(v)) / tg.exp(v).sum(axis=-1, keepdims=True))
    again = replaced.replace_at("h", lambda v: replaced["h"](v) * 1.0).rewrite(
        tg.exp, lambda v: 1.0 / tg.exp(-v), equal=False
    )
    for after in (replaced, replaced.differentiate(), replaced.batched(2), replaced.expand()):
        assert ops(after["h"]) == ["exp", "relu", "exp", "sum", "divide"] and ops(after["y"]) == ["add"]
    assert ops(replaced.differentiate().simplify()["h"]) == ["exp", "relu", "sum", "divide"]
    assert ops(again["h"]) == [*["negative", "exp", "divide", "relu", "negative", "exp", "divide"], "sum", "divide",
                               "multiply"]  # fmt: skip
    expanded = graph.expand()
    values = tg.tensor([[0.5, -1.0, 2.0, 0.0]] * 3)
    assert len(expanded["h"].equations) > 5 and ops(expanded.recognise()["h"]) == ["softmax"]
    np.testing.assert_allclose(expanded["h"](values).numpy(), tg.softmax(values).numpy(), rtol=1e-6)


def test_containers_and_functions_have_names():
    class Model(nn.Module):
        def __init__(self):
            self.blocks = [nn.Linear(4, 4, seed=i) for i in range(3)]

        def forward(self, x):
            def squashed(v):
                return tg.tanh(v) * 2.0

            for block in self.blocks:
                x = squashed(block(x))
            return x

    graph = tg.trace(Model(), tg.f32[5, 4])
    assert ops(graph["blocks.1"]) == ["matmul", "add"]
    assert ops(graph["squashed", 2]) == ["tanh", "multiply"]
    with pytest.raises(KeyError, match="3 parts of Model are called 'squashed': 0: function squashed, 2 equations at "):
        graph["squashed"]
    after = graph.replace_at(("squashed", 1), lambda v: v)
    assert ops(after).count("tanh") == 2


@pytest.mark.parametrize("how", ["recognise", "differentiate", "simplify", "transform", "expand"])
def test_after_each_pass_it_is_the_same_part_or_an_error_says_what_it_was_made_of(net, how):
    graph = step_of(net)
    after = getattr(graph, how)()
    h = np.random.default_rng(1).normal(size=(5, 8)).astype(np.float32)
    for name, x in (("0", X), ("1", h), ("2", h), ("3", h)):
        try:
            part = after[name]
        except KeyError as error:
            assert how in ("recognise", "transform") and "recognise (batch_norm_relu" in str(error)
        else:
            assert np.allclose(part(x), graph[name](x), atol=1e-5), name
            assert len(part.outputs) == len(part.inputs) == 1


def test_what_a_pass_took_away_is_told():
    def f(x):
        q = x * 1.0
        return tg.exp(q)

    graph = tg.trace(f, tg.f32[3]).simplify()
    with pytest.raises(
        KeyError, match=r"'q' is no part of f any more: simplify \(algebra.multiply_by_one\) rewrote it"
    ):
        graph["q"]


def test_names_that_occur_twice():
    def f(x):
        h = x * 1.0
        h = tg.exp(h)
        return h + 1.0

    graph = tg.trace(f, tg.f32[3])
    with pytest.raises(
        KeyError, match=r"2 parts of f are called 'h': 0: h = multiply\(...\) at test_regions.py:\d+; 1: h_2"
    ):
        graph["h"]
    assert ops(graph["h", 1]) == ["exp"] == ops(graph["h_2"]) and ops(graph["h", 0]) == ["multiply"]
    with pytest.raises(KeyError, match="no number 2"):
        graph["h", 2]
    with pytest.raises(KeyError, match="are not what they were: simplify"):  # else 0 would be another value now
        graph.simplify()["h", 0]
    with pytest.raises(KeyError, match="no part of f is called 'hh'; there are h"):
        graph["hh"]
    for key in (0, None, ("h",), ("h", "1"), ("h", True), ["h"]):
        with pytest.raises(TypeError, match="takes the name of a part"):
            graph[key]
    with pytest.raises(TypeError, match="not iterable"):
        list(graph)


def test_pictures_know_the_same_names(net):
    def f(x):
        h = tg.exp(x)
        for _ in range(5):
            h = tg.tanh(h) * 1.5
        result = h + 1.0
        return tg.log(result)

    graph = tg.trace(f, tg.f32[3])
    for focus in ("result", graph["result"]):
        drawing = graph.draw(focus=focus, hops=0)
        assert [node.members for node in drawing.nodes] == [graph["result"].numbers]
    graph = step_of(net)
    members = {n for node in graph.draw(focus=graph["1"], hops=0, level="op").nodes for n in node.members}
    assert members == set(graph["1"].numbers)


# functions in the place of parts --------------------------------------------------------------------------------------


def test_a_layer_for_another(net):
    graph = tg.trace(net, tg.f32[5, 4])
    after = graph.replace_at("1", nn.LayerNorm(8)).check()
    assert ops(after) == ["matmul", "add", "batch_norm", "running_average", "layer_norm", "relu", "matmul", "add"]
    assert [c.path for c in after.cells if c not in graph.cells] == ["1.gamma_2", "1.beta_2"]
    assert after.modules["1"] == "LayerNorm" and len(after.writes) == 4
    assert "1 → LayerNorm" in str(after.explain()) and "largest difference" in str(after.explain())
    assert tg.parse(str(after)) == after
    assert after.bind()(X).shape == (5, 2)


def test_what_a_part_did_can_be_called(net):
    graph = tg.trace(net.eval(), tg.f32[5, 4])
    part = graph["2"]
    probe = tg.Buffer(np.zeros(8, np.float32), name="probe")

    def probed(values):
        y = part(values)
        probe.assign(y.mean(axis=0))
        return y

    after = graph.replace_at("2", probed).check()
    assert "no difference" in str(after.explain())
    assert np.array_equal(after.bind()(X), net(X)) and (probe.numpy() > 0).any()
    assert ops(after["2"]) == ["relu", "mean"]


def test_cells_are_arguments_by_their_names(net):
    graph = tg.trace(net, tg.f32[5, 4])
    after = graph.replace_at("0", lambda x, weight, bias: x @ tg.round(weight * 8) / 8 + bias)
    assert ops(after)[:3] == ["multiply", "round", "matmul"]
    after = graph.replace_at("0.weight", lambda w: w * 2.0)
    assert ops(after)[:2] == ["multiply", "matmul"]
    with pytest.raises(
        TypeError, match=r"called with \(x: f32\[5, 4\]\); cells by their names: .*weight.*takes \(x, w\)"
    ):
        graph.replace_at("0", lambda x, w: x)


def test_gradients_go_through_what_stands_for_an_argument():
    graph = tg.trace(tg.grad(lambda x: (x**3).sum()), tg.f32[2])
    after = graph.replace_at("x", lambda x: x * 2.0).check()
    assert after(tg.tensor([1.0, 2.0])).tolist() == [12.0, 48.0]


def test_a_whole_step_trains_with_another_layer(net):
    graph = step_of(net)
    after = graph.replace_at("2", tg.tanh).check()
    run = after.bind()
    losses = [float(run(X, np.arange(5) % 2)) for _ in range(30)]
    assert losses[-1] < losses[0] / 2
    for other in (after.simplify(), after.recognise(), after.differentiate(), after.transform(), after.expand()):
        other.check()


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda x: x.sum(), r"gives f32\[\] where f32\[5, 8\] stood"),
        (lambda x: (x, x), "gives 2 values where one value stood"),
        (lambda x: "a", "gives str where a tensor"),
        (lambda x: x.astype("float64"), r"gives f64\[5, 8\]"),
        (lambda x, y: x, "is called with"),
        (3, "must be (callable|a str) or"),
    ],
)
def test_functions_that_do_not_fit(net, function, words):
    with pytest.raises((TypeError, ValueError), match=words):
        tg.trace(net, tg.f32[5, 4]).replace_at("2", function)


def test_equality_may_be_asked(net):
    graph = tg.trace(net, tg.f32[5, 4])
    with pytest.raises(ValueError, match=r"the function differs from 2: .*equal=False"):
        graph.replace_at("2", tg.gelu, equal=True)
    assert ops(graph.replace_at("2", lambda x: tg.relu(x) * 1.0, equal=True)).count("multiply") == 1
    assert ops(graph.replace_at("0", lambda x, weight, bias: bias + x @ weight, equal=True)).count("matmul") == 2


def test_what_is_assigned_twice_is_refused(net):
    graph = tg.trace(net, tg.f32[5, 4])
    with pytest.raises(ValueError, match="the graph does that itself"):
        graph.replace_at("2", lambda x: net[1].running_mean.assign(x.mean(axis=0)) or x)
