"""`tg.vmap` in itself, in other transforms, in threads and with random draws, equal to a loop."""

import itertools
import threading

import numpy as np
import pytest
from vmap_loops import assert_trees, loop, numbers

import tensorgraph as tg
from tensorgraph import nn
from tensorgraph.engine.tree import flatten
from tensorgraph.testing import assert_close, assert_same

# random lanes ------------------------------------------------------------------------------------------------------


class Draws:
    """A state in every place that a function may draw from."""

    def __init__(self):
        self.dropout = nn.Dropout(0.4, seed=5)
        self.generator = tg.random.Generator(3)
        tg.random.seed(7)

    def one(self, x):
        a = self.dropout(x) + self.dropout(x * 2)
        return a, self.generator.permutation(4), tg.random.normal((2,)), tg.random.uniform((), "float16"), a * 2

    def states(self):
        return [s.tolist() for s in (self.dropout.state, self.generator.state, tg.random.state())]


@pytest.mark.parametrize("shape", [(3, 4), (1, 4), (2, 3, 4), (2, 1, 2, 4), (0, 4)])
@pytest.mark.parametrize("traced", [False, True])
def test_examples_draw_what_turns_of_a_loop_draw(shape, traced):
    x = numbers(*shape, dtype="f4")
    draws = Draws()
    mapped, looped = draws.one, draws.one
    for _ in shape[:-1]:
        mapped, looped = tg.vmap(mapped), loop(looped)
    if traced:
        mapped = tg.trace(mapped, x).bind(draws.dropout, draws.generator.state, tg.random.state())
    found, states = [mapped(x), mapped(x)], draws.states()
    if 0 in shape:
        assert draws.states()[0][2] == 0
        return
    draws.__init__()
    expected = [looped(x), looped(x)]
    assert states == draws.states()
    for a, b in zip(flatten(found)[0], flatten(expected)[0], strict=True):
        assert_same(a.numpy(), b.numpy())


def test_dropout_inside_gradients_of_examples():
    layer = nn.Dropout(0.5, seed=0)
    x, w = numbers(4, 3, dtype="f4"), numbers(3, seed=1, dtype="f4")

    def loss(w, x):
        return (layer(x * w) ** 2).sum()

    found = tg.vmap(tg.grad(loss), (None, 0))(w, x)
    after = layer.state.tolist()
    layer.state.assign(tg.random.key(0))
    assert_trees(found, loop(tg.grad(loss), (None, 0))(w, x))
    assert layer.state.tolist() == after


def test_keys_that_are_passed_are_arguments_like_any_other():
    keys = np.stack([tg.random.key(k) for k in range(3)])
    found, after = tg.vmap(lambda s: tg.normal(s, shape=(2,)))(keys)
    for k in range(3):
        one, then = tg.normal(keys[k], shape=(2,))
        assert_same(found[k].numpy(), one.numpy())
        assert_same(after[k].numpy(), then.numpy())
    shared = tg.vmap(lambda x, s: x + tg.normal(s, shape=())[0], (0, None))(tg.zeros((3,)), keys[0])
    assert len(set(shared.tolist())) == 1


def test_a_state_that_was_read_before_is_no_state():
    generator = tg.random.Generator(0)
    key = generator.state.read()

    def f(x):
        return x + tg.uniform(key, shape=())[0], x + generator.uniform(())

    same, own = tg.vmap(f)(tg.zeros((4,)))
    assert len(set(same.tolist())) == 1 and len(set(own.tolist())) == 4


# nesting -----------------------------------------------------------------------------------------------------------

P = {"w": numbers(3, 4), "b": numbers(4, seed=1), "v": numbers(4, 4, seed=2)}


def network(p):
    def f(x):
        h = tg.layer_norm(tg.softmax(tg.tanh(x @ p["w"] + p["b"]) @ p["v"]), p["b"], p["b"] * 0.3)[0]
        return tg.softmax_cross_entropy(h[None], [1], weight=p["b"] * p["b"] + 1) + (x * x * x).sum()

    return f


KINDS = {
    "grad": lambda g: tg.grad(lambda x: g(x).sum()),
    "jvp": lambda g: lambda x: tg.jvp(g, (x,), (tg.cos(x) * 0.5,))[1],
    "vjp": lambda g: lambda x: (lambda out, pullback: pullback(out * 0.7)[0])(*tg.vjp(g, x)),
    "jacobian": tg.jacobian,
    "vmap": None,
}
NESTINGS = [n for k in (1, 2, 3) for n in itertools.product(KINDS, repeat=k) if "vmap" in n]


@pytest.mark.sampled(test=16, quick=8)
@pytest.mark.parametrize("nesting", NESTINGS, ids="-".join)
def test_nestings_and_gradients_through_them(nesting):
    x = numbers(*[2] * nesting.count("vmap"), 3, seed=4)

    def build(p, by_loop):
        g = network(p)
        for kind in nesting:
            g = (loop(g) if by_loop else tg.vmap(g)) if kind == "vmap" else KINDS[kind](g)
        return g

    found, expected = build(P, False), build(P, True)
    assert_trees(found(x), expected(x))
    graph = tg.trace(found, x)
    assert_trees(graph(x), expected(x))
    assert tg.parse(str(graph), arrays=graph.consts.values() if graph.consts else ()) == graph

    def through(by_loop):
        return tg.grad(lambda p: (build(p, by_loop)(x) ** 2).sum())

    assert_trees(through(False)(P), through(True)(P))
    assert_trees(tg.trace(through(False), P)(P), through(True)(P))


def test_threads_have_lanes_of_their_own():
    found = {}

    def work(k):
        w = numbers(3, seed=k)
        found[k] = [tg.vmap(tg.grad(lambda x: (tg.sin(x) * w).sum()))(numbers(5, 3)).numpy() for _ in range(10)]

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for k, rows in found.items():
        for row in rows:
            assert_close(row, np.cos(numbers(5, 3).numpy()) * numbers(3, seed=k).numpy())


def test_after_an_exception_all_is_as_before():
    layer = nn.Dropout(0.5, seed=0)
    before = layer.state.tolist()

    def fail(x):
        layer(x)
        raise KeyError("no")

    with pytest.raises(KeyError):
        tg.vmap(fail)(tg.ones((3, 2)))
    assert layer.state.tolist() == before and not tg.is_tracing()
    assert_same(tg.vmap(lambda x: x + 1)(tg.ones((3, 2))).numpy(), np.full((3, 2), 2, "f4"))
