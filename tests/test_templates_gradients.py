"""Gradients in templates: what passes make at a size is what they make of the graph at that size."""

import pickle

import numpy as np
import pytest
from test_text_plain import runs_as_python

import tensorgraph as tg
from tensorgraph import nn, optim
from tensorgraph.text import ParseError, SizeError

SIZES = (6, 7, 41)  # to divide by 4 is to multiply, which a pass finds at that size alone


def recurrent(x, w, u):
    h = tg.zeros((x.shape[0], 4))
    for t in range(x.shape[1]):
        h = tg.tanh(x[:, t] @ w + h @ u)
    return (h**2).mean()


LOOP = [tg.f32["N", "T", 3], tg.f32[3, 4], tg.f32[4, 4]]
GRADIENT = tg.value_and_grad(recurrent, (1, 2))
RNG = np.random.default_rng(0)


def numbers(n, t):
    return [tg.tensor(RNG.normal(size=s).astype("float32") * 0.5) for s in ((n, t, 3), (3, 4), (4, 4))]


@pytest.fixture(scope="module")
def loop():
    return tg.trace(GRADIENT, *LOOP)


@pytest.mark.parametrize("method", ["differentiate", "transform"])
def test_the_gradient_of_a_loop_over_a_size(loop, method):
    """It is added up in blocks, which a text says as a sum that grows."""
    template = getattr(loop, method)()
    for n, t in ((2, 3), (3, 18)):
        assert template.at(N=n, T=t) == getattr(loop.at(N=n, T=t), method)()
        given = numbers(n, t)
        found, expected = template(*given), GRADIENT(*given)
        for a, b in zip((found[0], *found[1]), (expected[0], *expected[1]), strict=True):
            assert np.isfinite(b.numpy()).all()
            np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=2e-5, atol=1e-6)
    assert template.dims == ("N", "T") and template.check() is template
    again = tg.parse(str(template), template.arrays)
    assert again == template and str(again) == str(template) and "reversed(saved" in str(template)
    for n, t in ((3, 16), (2, 17), (5, 33), (2, 300)):
        assert again.at(N=n, T=t) == template.at(N=n, T=t)
    if method == "differentiate":
        runs_as_python(again.at(N=3, T=40))
        assert pickle.loads(pickle.dumps(template)) == template
    else:
        with pytest.raises(ParseError, match="the text holds for T >= 2, and here these are 1 and 2"):
            again.at(N=2, T=1)
        assert template.at(N=2, T=1) == loop.at(N=2, T=1).transform()


def curved(x, w):
    """A second derivative through a loop, which is added up from several passes: no text says it."""

    def last(x, w):
        hs = [x[0]]
        for _ in range(x.shape[0]):
            hs.append(tg.tanh(hs[-1] * w))
        return (tg.stack(hs) ** 2).sum()

    return (tg.grad(last, 1)(x, w) ** 2).sum()


def test_what_has_no_text_says_why():
    template = tg.trace(tg.grad(curved, 1), tg.f32["T", 3], tg.f32[3]).differentiate()
    with pytest.raises(SizeError, match=r"py:\d+.*Of one size it is template.at\(T=2\)\.differentiate\(\)"):
        template.text()
    assert "def curved(x: f32[T, 3], w: f32[3]):\n    ..." in str(template)
    with pytest.raises(TypeError, match=r"without a text is not pickled.*py:\d+"):
        pickle.dumps(template)
    assert template == template.differentiate() and template.at(T=4) == template.at(T=4).differentiate()


def test_a_gradient_of_a_loop_is_a_value(loop):
    template, again = loop.differentiate(), loop.differentiate()
    assert template == again != loop and hash(template) == hash(again)
    assert "x                  NxTx3 f32" in template.draw().text() and not tg.diff(template, again)
    assert template.cost().flops(N=6, T=9) == template.at(N=6, T=9).cost().flops
    assert template.simplify().at(N=2, T=5) == template.at(N=2, T=5).simplify()
    assert template.bind()(*numbers(4, 6))[0].shape == ()


def test_the_step_of_a_loop_over_a_size():
    class Recurrent(nn.Module):
        def __init__(self):
            self.inner, self.outer = nn.Linear(7, 4, seed=0), nn.Linear(4, 2, seed=1)

        def forward(self, x):
            h = tg.zeros((x.shape[0], 4))
            for t in range(x.shape[1]):
                h = tg.tanh(self.inner(tg.concatenate([x[:, t], h], axis=1)))
            return self.outer(h)

    model, other = Recurrent(), Recurrent()
    runs = []
    for net in (model, other):
        adam = optim.Adam(net, lr=0.01)

        def step(x, y, net=net, adam=adam):
            loss = tg.softmax_cross_entropy(net(x), y)
            adam.minimize(loss)
            return loss

        runs.append(step)
    run = tg.trace(runs[0], tg.f32["N", "T", 3], tg.i64["N"]).transform().bind()
    for n, t in ((5, 20), (6, 3), (5, 20)):
        x, y = RNG.normal(size=(n, t, 3)).astype("float32"), np.arange(n) % 2
        assert run(x, y).item() == pytest.approx(runs[1](tg.tensor(x), y).item(), rel=1e-5)
    for a, b in zip(model.parameters(), other.parameters(), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-4, atol=1e-5)


LOSSES = {
    "mean": lambda x, w: ((x @ w) ** 2).mean(),
    "mean of rows": lambda x, w: tg.tanh(x @ w).sum(axis=1).mean(),
    "over rows": lambda x, w: (tg.tanh(x @ w).sum(axis=0) ** 2).sum() / x.shape[0],
    "twice": lambda x, w: (((x @ w).mean(axis=0)) ** 2).mean(),
    "mse": lambda x, w: tg.mse(x @ w, x[:, :3]),
    "huber": lambda x, w: tg.huber(x @ w, x[:, :3]),
    "unbiased": lambda x, w: ((x @ w) ** 2).sum() / (x.shape[0] - 1),
    "weighed": lambda x, w: 0.1 * ((x @ w) ** 2).mean() + (w**2).mean(),
}


@pytest.mark.sampled(test=8, quick=2)
@pytest.mark.parametrize("dtype", ["f32", "f64"])
@pytest.mark.parametrize("name", LOSSES)
def test_means_are_formulas_of_the_size(name, dtype):
    kind = getattr(tg, dtype)
    template = tg.trace(tg.value_and_grad(LOSSES[name], 1), kind["N", 8], kind[8, 3])
    for method in ("differentiate", "transform", "simplify"):
        lifted = getattr(template, method)()
        assert tg.parse(lifted.text(), lifted.arrays) == lifted
        for n in SIZES:
            graph, expected = lifted.at(N=n), getattr(template.at(N=n), method)()
            given = [tg.tensor(RNG.normal(size=var.aval.shape).astype(var.aval.dtype)) for var in graph.inputs]
            for a, b in zip(graph(*given), expected(*given), strict=True):
                np.testing.assert_array_equal(a.numpy(), b.numpy())
            # a product of two numbers is rounded twice in float32, so that one number of more digits is another
            assert graph == expected or (name, dtype, method) == ("weighed", "f32", "transform")


@pytest.mark.parametrize("name", ["mean", "mse", "over rows"])
def test_their_transformed_gradient_says_the_size(name):
    text = str(tg.trace(tg.grad(LOSSES[name], 1), tg.f32["N", 8], tg.f32[8, 3]).transform())
    assert "/ (3 * N), dtype" in text or "/ N, dtype" in text


def test_numbers_of_constants_keep_their_digits():
    graph = tg.trace(lambda x: x * (tg.ones(()) * 0.1 / 3) + tg.full((2,), 0.7), tg.f32[2]).simplify()
    assert "0.03333333333333333," in graph.text(flat=True) and "0.7," in graph.text(flat=True)
    x = tg.tensor([1.0, 2.0])
    expected = x * (tg.ones(()) * 0.1 / 3) + tg.full((2,), 0.7)
    np.testing.assert_array_equal(graph(x).numpy(), expected.numpy())
    far = tg.trace(lambda x: x * (tg.ones(()) * 1e30 * 1e30), tg.f32[2]).simplify()  # what overflows is left as it is
    with np.errstate(all="ignore"):
        assert np.isinf(far(x).numpy()).all()


def test_a_template_is_called_where_something_else_is_traced():
    template = tg.trace(lambda x: (x**2).mean(), tg.f32["N"])
    compiled = tg.compile(lambda x: template(x) * 2.0)
    for n in (3, 21, 22):
        x = tg.tensor(RNG.normal(size=n).astype("float32"))
        assert compiled(x).item() == pytest.approx(2.0 * template(x).item(), rel=1e-5)
        np.testing.assert_allclose(tg.grad(template)(x).numpy(), 2.0 * x.numpy() / n, rtol=1e-5)
    assert tg.trace(lambda x: template(x) * 2.0, tg.f32["N"]) == tg.trace(lambda x: (x**2).mean() * 2.0, tg.f32["N"])
    assert tg.vmap(template)(tg.ones((2, 31))).tolist() == [1.0, 1.0]
    named = tg.parse("def loss(x: f32[N]): return mean(x ** 2)")
    told = str(tg.explain_gradient(named, tg.ones(41)))
    assert "power, a: g" in told and told.startswith("gradient of loss:")
    assert tg.trace(named.at(N=3), tg.f32[3]).name == "loss"


def test_templates_are_pickled():
    template = tg.trace(lambda y, x: x.sum() * y.mean() + tg.ones(2), tg.f32["M"], tg.f32["N"])
    again = pickle.loads(pickle.dumps(template))
    assert again == template and again.dims == template.dims and str(again) == str(tg.parse(template.text(flat=True)))


SQUARE = tg.f32["N", "N"]
AT = [tg.f32["N", 3], tg.i64["M"]]
MADE_OF_SIZES = {  # functions whose gradients need numbers, masks or ones as large as a size
    "cholesky": (lambda a: tg.linalg.cholesky(a @ a.mT + tg.eye(a.shape[0])), [SQUARE]),
    "qr": (lambda a: tg.linalg.qr(a).R, [SQUARE]),
    "svd": (lambda a: tg.linalg.svd(a, full_matrices=False).Vh, [SQUARE]),
    "solve_triangular": (lambda a: tg.linalg.solve_triangular(a, a[0], lower=True), [SQUARE]),
    "logdet": (lambda a: tg.linalg.slogdet(a).logabsdet, [SQUARE]),
    "expm": (tg.linalg.expm, [SQUARE]),
    "trace": (tg.linalg.trace, [SQUARE]),
    "diag_embed": (tg.diag_embed, [tg.f32["N"]]),
    "set": (lambda x, i: x.at[i].set(x[:1] * 2.0), AT),
    "multiplied": (lambda x, i: x.at[i].multiply(x[:1] * 2.0), AT),
    "windows": (lambda x: tg.sliding_window_view(x, 3), [tg.f32["N"]]),
    "segments": (tg.vmap(lambda x, i: tg.segment_sum(x, i, num_segments=4)), [tg.f32["N", 3], tg.i64["N", 3]]),
    "rows of each": (tg.vmap(lambda x, i: x[i]), [tg.f32["N", 5, 3], tg.i64["N", 2]]),
    "pairs": (tg.pdist, [tg.f32["N", 3]]),
    "inserted": (lambda x: tg.insert(x, [0, 2], x[:2]), [tg.f32["N"]]),
    "deleted": (lambda x: tg.delete(x, 1, axis=0), [tg.f32["N", 3]]),
    "reflected": (lambda x: tg.pad(x, 2, mode="reflect"), [tg.f32["N"]]),
    "deferred": (tg.vmap(tg.grad(lambda x: (x**3).sum())), [tg.f32["N", 3]]),
}


@pytest.mark.parametrize("name", MADE_OF_SIZES)
def test_nothing_as_large_as_a_size_is_captured(name):
    function, types = MADE_OF_SIZES[name]
    types = [leaf.at(**dict.fromkeys(leaf.dims, 5)) for leaf in types]
    graph = tg.trace(tg.grad(lambda x, *rest: (function(x, *rest) ** 2).sum()), *types)
    for each in (graph, graph.differentiate()):
        assert not [array for array in each.consts.values() if array.size > 1]


def test_gradients_of_these_are_templates():
    def likelihood(a, y):
        lower = tg.linalg.cholesky(a @ a.mT + tg.eye(a.shape[0]))
        return (tg.linalg.solve_triangular(lower, y, lower=True) ** 2).sum()

    template = tg.trace(tg.grad(likelihood), tg.f64["N", "N"], tg.f64["N"]).differentiate()
    a, y = np.random.default_rng(0).normal(size=(4, 4)), np.arange(4.0)
    np.testing.assert_allclose(template(a, y), tg.grad(likelihood)(a, y), rtol=1e-10)
    pairs = tg.trace(tg.pdist, tg.f32["N", 3])
    assert [pairs.at(N=n).outputs[0].aval.shape for n in (0, 1, 2, 9)] == [(0,), (0,), (1,), (36,)]
    slope = tg.trace(tg.grad(lambda x: (x**3).sum()), tg.f32["N"])
    assert slope.batched("B").at(B=2, N=3) == slope.at(N=3).batched(2)
