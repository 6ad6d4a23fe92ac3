"""`scan` is the loop: values, derivatives, batches and graphs, whatever is kept of it."""

import tracemalloc

import numpy as np
import pytest

import tensorgraph as tg
from tensorgraph import nn

rng = np.random.default_rng(0)
STEPS = 7
W = tg.tensor(0.5 * rng.standard_normal((3, 3)), requires_grad=True)
X = tg.tensor(rng.standard_normal((STEPS, 3)), requires_grad=True)
LAYER = nn.Linear(3, 3, seed=0, dtype="float64")
WEIGHTS = np.arange(3.0 * STEPS).reshape(STEPS, 3)


def step(h, x):
    h = tg.tanh(h @ W + LAYER(x))
    return h, {"twice": h * 2, "sum": h.sum()}


def unrolled(f, h, xs, reverse=False):
    ys = [None] * len(xs)
    for t in range(len(xs))[:: -1 if reverse else 1]:
        h, ys[t] = f(h, xs[t])
    return h, {key: tg.stack([y[key] for y in ys]) for key in ys[0]}


def loss(result):
    h, ys = result
    return tg.sum(h**2) + tg.sum(ys["twice"] * WEIGHTS) + tg.sum(ys["sum"] ** 3)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("checkpoint", [False, True])
def test_scan_is_the_loop(reverse, checkpoint):
    h = tg.tensor(np.ones(3), requires_grad=True)
    wrt = (W, X, h, LAYER.weight, LAYER.bias)

    def scanned(h):
        return loss(tg.scan(step, h, X, reverse=reverse, checkpoint=checkpoint))

    def looped(h):
        return loss(unrolled(step, h, X, reverse))

    a, b = looped(h), scanned(h)
    assert np.allclose(a.numpy(), b.numpy(), rtol=1e-14)
    for x, y in zip(tg.gradients(a, wrt), tg.gradients(b, wrt), strict=True):
        assert np.abs(x.numpy() - y.numpy()).max() <= 1e-13 * np.abs(x.numpy()).max()
    for transform in (tg.hessian, lambda f: lambda h: tg.jvp(f, (h,), (tg.tensor(WEIGHTS[0]),))[1]):
        x, y = (transform(f)(h.detach()).numpy() for f in (looped, scanned))
        assert np.abs(x - y).max() <= 1e-13 * np.abs(x).max()


def test_third_derivative_of_a_power():
    def power(a):
        return tg.scan(lambda h, _: (h * a, None), 1.0, length=6)[0]

    assert abs(float(tg.grad(tg.grad(tg.grad(power)))(0.5)) - 6 * 5 * 4 * 0.5**3) < 1e-5


def test_a_batch_of_loops():
    h = rng.standard_normal((4, 3))
    fixed = X.detach()
    for f in (lambda h: tg.scan(step, h, fixed)[1]["twice"], tg.grad(lambda h: loss(tg.scan(step, h, fixed)))):
        together, each = tg.vmap(f)(tg.tensor(h)).detach().numpy(), [f(tg.tensor(row)).detach().numpy() for row in h]
        assert np.abs(together - np.stack(each)).max() < 1e-13


def graphs():
    examples = tg.f64[3], tg.f64[STEPS, 3]
    yield tg.trace(lambda h, xs: loss(tg.scan(step, h, xs)), *examples)
    yield tg.trace(lambda h, xs: loss(tg.scan(step, h, xs, reverse=True, checkpoint=True)), *examples)
    yield tg.trace(lambda h, xs: loss(tg.scan(step, h, xs)), *examples).grad().differentiate().simplify()
    inner = tg.grad(lambda z: tg.sum(z**4))
    yield tg.trace(lambda h: tg.scan(lambda c, _: (c - 0.1 * inner(c), None), h, length=3)[0], tg.f64[3])


def test_one_equation_that_prints_and_reads_back():
    for graph in graphs():
        text = str(graph)
        again = tg.parse(text, arrays=tg.text.arrays_of(graph))
        assert again == graph and str(again) == text
    short, long = (
        tg.trace(lambda h, n=n: tg.scan(lambda h, _: (h * 2.0, None), h, length=n)[0], tg.f32[3]) for n in (3, 5000)
    )
    assert len(short.equations) == len(long.equations) == 1
    assert long.cost().flops == 3 * 5000


def test_in_a_graph_as_outside():
    h = np.ones(3)
    graph = next(graphs())
    assert float(graph.bind(LAYER)(h, X.detach())) == float(loss(tg.scan(step, tg.tensor(h), X)))
    slope = graph.grad().differentiate().bind(LAYER)(h, X.detach()).numpy()
    assert np.abs(slope - tg.grad(lambda h: loss(tg.scan(step, h, X)))(tg.tensor(h)).numpy()).max() < 1e-13
    free = tg.trace(lambda h, xs: tg.scan(lambda h, x: (tg.tanh(h * x), h.sum()), h, xs)[1], h, X.detach())
    names = tg.text.namespace(tg.text.arrays_of(free))
    exec(str(free), names)
    assert (names[free.name](tg.tensor(h), X.detach()).numpy() == free(h, X.detach()).numpy()).all()


def test_a_value_of_the_trace_around_is_used_by_closure():
    def f(a, h):
        b = a * 2.0
        return tg.sum(tg.scan(lambda h, _: (h * b, None), h, length=3)[0])

    a, h = np.array(0.5), np.ones(2)
    graph = tg.trace(tg.grad(f), a, h)
    assert abs(float(graph(a, h)) - 2 * 3 * 2 * 1.0) < 1e-14


def test_trees_lengths_and_counters():
    def count(carry, x):
        total, n = carry["total"] + x[0], carry["n"] + 1
        return {"total": total, "n": n}, (total * x[1], n)

    xs = (np.arange(3.0), np.ones(3))
    last, (ys, ns) = tg.scan(count, {"total": np.array(0.0), "n": 0}, xs)
    assert (float(last["total"]), int(last["n"]), ys.tolist(), ns.tolist()) == (3.0, 3, [0, 1, 3], [1, 2, 3])
    h, nothing = tg.scan(lambda h, _: (h, None), 2.0, length=0)
    assert float(h) == 2.0 and nothing is None


@pytest.mark.slow
def test_checkpoints_keep_less():
    def peak(checkpoint):
        h = tg.tensor(np.ones(2000), requires_grad=True)
        tracemalloc.start()
        try:
            tg.sum(tg.scan(lambda h, _: (tg.tanh(h), None), h, length=400, checkpoint=checkpoint)[0]).backward()
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(True) < peak(False) / 3


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: tg.scan(lambda h, x: h, 0.0, np.ones(3)), "a pair"),
        (lambda: tg.scan(lambda h, x: ((h, h), x), 0.0, np.ones(3)), "keep its structure"),
        (lambda: tg.scan(lambda h, x: (h + 1.5, x), 0, np.ones(3)), "keep its types"),
        (lambda: tg.scan(lambda h, x: (h, x), 0.0, (np.ones(3), np.ones(4))), "one number of steps"),
        (lambda: tg.scan(lambda h, x: (h, x), 0.0), "one number of steps"),
        (lambda: tg.scan(lambda h, x: (h, x), 0.0, 1.0), "first axis"),
        (lambda: tg.scan(lambda h, x: (h, DROP(x)), 0.0, np.ones((3, 2), np.float32)), "writes the cell"),
    ],
)
def test_refusals(call, words):
    with pytest.raises((TypeError, ValueError, tg.TraceError), match=words):
        call()


DROP = nn.Dropout(0.5, seed=0)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("length=3", "length=4", "first size"),
        ("body=f_body", "body=other", "a function that stands above"),
        ("[h]", "[h, h]", "takes"),
        ("], [x", "], x, [x", "expected scan"),
    ],
)
def test_a_text_is_held_to_its_types(old, new, words):
    text = (
        "def f_body(w: f32[2], h: f32[2], x: f32[2]):\n    v = h * w\n    y = v + x\n    return (y, v)\n\n"
        "def f(w: f32[2], h: f32[2], x: f32[3, 2]):\n"
        "    last, ys = scan([w], [h], [x], body=f_body, length=3)\n    return ys\n"
    )
    assert tg.parse(text)(np.ones(2, "f4"), np.ones(2, "f4"), np.ones((3, 2), "f4")).tolist()[2] == [3.0, 3.0]
    with pytest.raises(tg.ParseError, match=words):
        tg.parse(text.replace(old, new))
