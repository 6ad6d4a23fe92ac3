"""A graph in two at a name, and names that mean the same values after passes, on random programs too."""

import dataclasses
import re

import numpy as np
import pytest

import tensorgraph as tg
from tensorgraph import nn, optim
from tensorgraph.engine.tree import flatten, listed
from tensorgraph.testing.programs.program import quiet, random_program
from tensorgraph.text.names import names


def one_after_the_other(graph, name, args, state=None):
    """The results of both halves, and the cells after them."""
    first, second = graph.split(name)
    after = dict(state or {})

    def run(half, given):
        if not half.cells:
            return half(*given)
        result, own = half(*given, state={decl.path: after[decl.path] for decl in half.cells})
        after.update(own)
        return result

    between = run(first, args)
    leaves = flatten(list(args))[0]
    rest = [leaves[graph.inputs.index(var)] for var in second.inputs[len(between) :]]
    assert tg.parse(str(second), arrays=tg.text.arrays_of(second)) == second
    return run(second, [*between, *rest]), after


def same(a, b):
    for one, other in zip(flatten(a)[0], flatten(b)[0], strict=True):
        one, other = (leaf.detach() if isinstance(leaf, tg.Tensor) else leaf for leaf in (one, other))
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))


class Net(nn.Module):
    def __init__(self):
        self.stem, self.norm = nn.Linear(3, 4, seed=0), nn.BatchNorm(4)
        self.block, self.head = nn.Linear(4, 4, seed=1), nn.Linear(4, 2, seed=2)

    def forward(self, x):
        h = tg.relu(self.norm(self.stem(x)))
        return self.head(h + self.block(h))


X = np.random.default_rng(0).normal(size=(5, 3)).astype("float32")


@pytest.mark.parametrize("name", ["stem", "norm", "h", "block", "block.weight_", "head"])
def test_the_halves_do_what_the_graph_does(name):
    graph = tg.trace(Net(), X)
    name = name if name != "block.weight_" else names(graph)[graph.equations[3].outputs[0]]
    state = {decl.path: np.full(decl.aval.shape, 0.5, decl.aval.dtype) for decl in graph.cells}
    result, cells = graph(X, state=state)
    got, after = one_after_the_other(graph, name, [X], state)
    same(got, result)
    same(list(after.values()), [cells[path] for path in after])
    if name == "block":
        first, second = graph.split(name)
        assert len(first.outputs) == 2 and first.writes and not second.writes  # what the sum reads crosses too
        assert {"head.weight", "head.bias"} == {decl.path for decl in second.cells}


def test_of_a_template_too():
    graph = tg.trace(Net().eval(), tg.f32["N", 3])
    first, second = graph.split("block")
    assert (first.dims, second.dims) == (("N",), ("N",))
    assert first.at(N=2) == graph.at(N=2).split("block")[0] and second.at(N=2) == graph.at(N=2).split("block")[1]
    same(second.bind()(*first.bind()(X)), graph.bind()(X))


def test_a_training_step_once_its_gradient_is_written_out():
    model = Net()
    adam = optim.Adam(model.parameters(), lr=0.1)

    def step(x, y):
        loss = tg.softmax_cross_entropy(model(x), y)
        adam.minimize(loss)
        return loss

    y = np.arange(5) % 2
    graph = tg.trace(step, X, y)
    with pytest.raises(ValueError, match=r"both sides of block \(traced at test_splitting.py:\d+\): graph.diff"):
        graph.split("block")
    graph = graph.differentiate()
    state = {decl.path: np.full(decl.aval.shape, 0.5, decl.aval.dtype) for decl in graph.cells}
    result, cells = graph(X, y, state=state)
    got, after = one_after_the_other(graph, "block", [X, y], state)
    same(got, result)
    assert after.keys() == cells.keys()
    same([after[path] for path in cells], list(cells.values()))


def test_what_cannot_be_split():
    graph = tg.trace(Net(), X)
    with pytest.raises(ValueError, match="x is an argument or a cell"):
        graph.split("x")
    with pytest.raises(KeyError, match="no part of Net is called 'hh'; there are "):
        graph.split("hh")
    graph = tg.trace(lambda x: (tg.grad(lambda w: (w * w).sum())(x), tg.exp(x * 2.0))[1], tg.f32[3])
    assert len(graph.split(names(graph)[graph.equations[-1].outputs[0]])) == 2  # beside a gradient


def named_program(seed):
    """A random program whose names are none that texts give: its values are called v0w, v1w, ..."""
    program = random_program(seed, differentiable=seed % 2 == 0)
    return dataclasses.replace(program, text=re.sub(r"\b([vt])(\d+)\b", r"\1\2w", program.text))


@pytest.mark.parametrize("seed", range(6))
def test_halves_of_random_programs(seed):
    program = random_program(seed, differentiable=True)
    with quiet():
        graph = program.graph().differentiate()
        state = program.made().state() if graph.cells else None
        args = program.tensors()
        wanted = graph(*args, state=state)[0] if graph.cells else graph(*args)
        made = [var for var in graph.variables() if var in graph.index.position]
        for var in made[:: max(1, len(made) // 3)]:
            same(one_after_the_other(graph, (names(graph)[var], 0), args, state)[0], wanted)


PASSES = {
    "simplify": lambda graph: graph.simplify(),
    "differentiate": lambda graph: graph.differentiate(),
    "expand": lambda graph: graph.expand().simplify(),
    "rewrite": lambda graph: graph.rewrite(lambda x, y: x * y, lambda x, y: y * x * 1.0, exact=True, equal=False),
}


@pytest.mark.parametrize("name", PASSES)
@pytest.mark.parametrize("seed", [5, 11, 27, 33, 41])
def test_a_name_means_the_same_values_after_a_pass_or_it_is_told(seed, name):
    program = named_program(seed)
    args = program.tensors()

    def values(graph, part):
        count = len(part.outputs)
        return graph.replace(outputs=part.outputs, out_tree=listed(count), writes=())(*args)

    with quiet():
        graph = program.graph()
        after = PASSES[name](graph)
        called = [own for own in dict.fromkeys(var.name for var in graph.variables()) if own and own.endswith("w")]
        kept = 0
        for own in called:
            try:
                before = graph[own]
            except KeyError:
                continue
            try:
                part = after[own]
            except KeyError as error:
                assert "any more" in str(error) or "rewrote it" in str(error), error
                continue
            kept += 1
            for one, other in zip(values(graph, before), values(after, part), strict=True):
                np.testing.assert_allclose(np.asarray(other), np.asarray(one), rtol=1e-3, atol=1e-4)
        assert kept


def test_a_part_gives_what_only_a_gradient_starts_from():
    def f(x):
        with tg.scope("layer"):
            spread = tg.tanh(x) * 2.0
        y = x * x * x
        return tg.gradients(y, [x], spread)[0]

    graph = tg.trace(f, tg.tensor([1.0, 2.0, 3.0], requires_grad=True))
    assert [out.name for out in graph["layer"].outputs] == ["spread"]
