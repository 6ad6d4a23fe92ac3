"""Distributions: as SciPy's, differentiable in their parameters, the same in traces and in lanes; what is refused."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.special
import scipy.stats

import tensorgraph as tg
from tensorgraph.ops.kernels.gamma_slope import gamma_slope_of

N = 20_000
CONTINUOUS: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "uniform": (lambda g: g.uniform((N,), "float64", low=-2.0, high=3.0), scipy.stats.uniform(-2, 5)),
    "normal": (lambda g: g.normal((N,), "float64", loc=1.0, scale=2.0), scipy.stats.norm(1, 2)),
    "truncated": (lambda g: g.truncated_normal((N,), "float64", lower=-1.0), scipy.stats.truncnorm(-1, 2)),
    "far": (lambda g: g.truncated_normal((N,), "float64", lower=9.0, upper=np.inf), scipy.stats.truncnorm(9, np.inf)),
    "exponential": (lambda g: g.exponential((N,), "float64", scale=3.0), scipy.stats.expon(scale=3)),
    "laplace": (lambda g: g.laplace((N,), "float64", loc=1.0, scale=2.0), scipy.stats.laplace(1, 2)),
    "gumbel": (lambda g: g.gumbel((N,), "float64", scale=2.0), scipy.stats.gumbel_r(scale=2)),
    "logistic": (lambda g: g.logistic((N,), "float64", loc=1.0), scipy.stats.logistic(1)),
    "gamma": (lambda g: g.gamma(0.7, (N,), "float64", scale=2.0), scipy.stats.gamma(0.7, scale=2)),
    "beta": (lambda g: g.beta(0.5, 2.0, (N,), "float64"), scipy.stats.beta(0.5, 2)),
    "dirichlet": (lambda g: g.dirichlet([1.0, 2.0, 0.5], (N,), "float64")[:, 1], scipy.stats.beta(2, 1.5)),
}  # fmt: skip


@pytest.mark.parametrize("name", CONTINUOUS)
def test_distributed_as_scipys(name: str) -> None:
    draw, expected = CONTINUOUS[name]
    numbers = draw(tg.random.Generator(3)).numpy()
    assert np.isfinite(numbers).all()
    assert scipy.stats.kstest(numbers, expected.cdf).pvalue > 1e-3


def test_vectors_have_their_mean_and_covariance() -> None:
    g, mean, cov = tg.random.Generator(5), np.array([1.0, -2.0]), np.array([[2.0, 0.6], [0.6, 0.5]])
    z = g.multivariate_normal(mean, cov, (N,)).numpy()
    np.testing.assert_allclose(z.mean(0), mean, atol=0.05)
    np.testing.assert_allclose(np.cov(z.T), cov, atol=0.05)
    several = g.multivariate_normal(tg.zeros((3, 1, 2)), tg.tensor([[1.0, 0.0], [0.0, 4.0]]))
    assert several.shape == (3, 1, 2)
    for bad in (lambda: g.multivariate_normal(1.0, cov), lambda: g.multivariate_normal(mean, mean),
                lambda: g.multivariate_normal(np.ones(3), cov)):  # fmt: skip
        with pytest.raises(ValueError, match="the last axes of mean and cov must be there"):
            bad()


def test_dropout_keeps_the_mean_and_its_derivative() -> None:
    x = tg.tensor(np.full(N, 3.0), requires_grad=True)
    y = tg.random.Generator(5).dropout(x, 0.25)
    assert sorted(set(y.tolist())) == [0.0, 4.0] and abs(float(y.mean()) - 3) < 0.1
    y.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), y.numpy() / 3)


def test_classes_come_as_often_as_they_should() -> None:
    g, p = tg.random.Generator(4), np.array([0.1, 0.0, 0.6, 0.3])
    for drawn in (
        g.categorical(np.log(np.maximum(p, 1e-300)), (N,)), g.choice(4, (N,), p=p), g.choice([0, 1, 2, 3], (N,), p=p),
        g.categorical(tg.tensor(np.log(np.maximum(p, 1e-300)))[:, None] + tg.zeros((1, N), "float64"), axis=0),
    ):  # fmt: skip
        counts = np.bincount(drawn.numpy(), minlength=4)
        assert drawn.shape == (N,) and counts[1] == 0
        assert scipy.stats.chisquare(counts[[0, 2, 3]], N * p[[0, 2, 3]]).pvalue > 1e-3
    assert abs(float(g.bernoulli(0.3, (N,)).astype("float64").mean()) - 0.3) < 0.02
    assert scipy.stats.chisquare(np.bincount(g.randint(-2, 3, (N,)).numpy() + 2, minlength=5)).pvalue > 1e-3


def test_without_replacement_nothing_comes_twice() -> None:
    g = tg.random.Generator(5)
    for _ in range(20):
        assert len(set(g.choice(10, (2, 3), replace=False).numpy().reshape(-1).tolist())) == 6
        assert sorted(g.choice(4, (2,), replace=False, p=[0.5, 0.0, 0.5, 0.0]).tolist()) == [0, 2]
    first = [int(g.choice(3, (2,), replace=False, p=[0.7, 0.2, 0.1])[0]) for _ in range(500)]
    assert 0.6 < first.count(0) / 500 < 0.8


def test_choice_and_permutation_of_slices() -> None:
    g, x = tg.random.Generator(6), np.arange(12.0).reshape(3, 4)
    assert g.choice(x, (5,), axis=1).shape == (3, 5) and g.choice(x, (2, 2)).shape == (2, 2, 4)
    assert g.choice(x, (), axis=-1).shape == (3,)
    shuffled = g.permutation(x, axis=1).numpy()
    assert sorted(shuffled[0].tolist()) == x[0].tolist() and (shuffled[1] - shuffled[0] == 4).all()


REPARAMETERISED: dict[str, tuple[Callable[..., Any], tuple[float, ...]]] = {
    "uniform": (lambda g, a, b: g.uniform(low=a, high=b), (0.5, 2.0)),
    "normal": (lambda g, a, b: g.normal(loc=a, scale=b), (0.5, 2.0)),
    "truncated_normal": (lambda g, a, b: g.truncated_normal(lower=a, upper=b), (0.5, 2.0)),
    "truncated_normal scale": (lambda g, a, b: g.truncated_normal(loc=a, scale=b), (0.5, 2.0)),
    "exponential": (lambda g, a: g.exponential(scale=a), (0.5,)),
    "laplace": (lambda g, a, b: g.laplace(loc=a, scale=b), (0.5, 2.0)),
    "gumbel": (lambda g, a, b: g.gumbel(loc=a, scale=b), (0.5, 2.0)),
    "logistic": (lambda g, a, b: g.logistic(loc=a, scale=b), (0.5, 2.0)),
    "gamma scale": (lambda g, a: g.gamma(2.0, scale=a), (0.5,)),
}


@pytest.mark.parametrize("name", REPARAMETERISED)
def test_derivatives_by_the_parameters(name: str) -> None:
    draw, at = REPARAMETERISED[name]

    def of(*parameters: Any) -> Any:
        return draw(tg.random.Generator(7), *parameters)

    values = [np.float64(v) for v in at]
    for i, found in enumerate(tg.grad(of, argnums=tuple(range(len(at))))(*map(tg.tensor, values))):
        step = [np.float64(1e-6 * (i == j)) for j in range(len(at))]
        up, down = (float(of(*[tg.tensor(v + s * d) for v, d in zip(values, step, strict=True)])) for s in (1, -1))
        assert np.isfinite(float(found)) and abs(float(found) - (up - down) / 2e-6) < 1e-6


def test_a_gamma_number_is_held_at_its_place() -> None:
    a = np.array([1e-3, 0.3, 1.0, 2.5, 30.0, 1000.0])
    x = np.random.default_rng(0).gamma(a, size=(20, 6))
    x[x == 0] = 1e-200
    h = 1e-5 * a
    place = (scipy.special.gammainc(a + h, x) - scipy.special.gammainc(a - h, x)) / (2 * h)
    expected = -place / scipy.stats.gamma(a).pdf(x)
    usual = np.isfinite(expected) & (x > 1e-30) & (scipy.special.gammainc(a, x) < 0.999)
    np.testing.assert_allclose(gamma_slope_of(np.broadcast_to(a, x.shape), x)[usual], expected[usual], rtol=2e-5)
    assert gamma_slope_of(np.array([2.0, -1.0, np.nan]), np.array([0.0, 1.0, 1.0])).tolist()[:1] == [0.0]


@pytest.mark.parametrize("concentration", [0.3, 1.0, 7.0])
def test_means_of_gamma_beta_and_dirichlet_follow_their_parameters(concentration: float) -> None:
    """The mean of gamma is its concentration, so the mean derivative is 1; of beta and dirichlet likewise."""
    a = tg.tensor(np.float64(concentration), requires_grad=True)
    tg.random.Generator(8).gamma(a, (N,)).mean().backward()
    assert abs(float(a.grad) - 1) < 0.1
    b = tg.tensor(np.float64(concentration), requires_grad=True)
    tg.random.Generator(9).beta(b, 2.0, (N,)).mean().backward()
    assert abs(float(b.grad) - 2 / (concentration + 2) ** 2) < 0.05 * 2 / (concentration + 2) ** 2 + 3e-3
    c = tg.tensor([concentration, 1.0, 1.0], dtype="float64", requires_grad=True)
    tg.random.Generator(9).dirichlet(c, (N,))[:, 0].mean().backward()
    assert abs(float(c.grad[0]) - 2 / (concentration + 2) ** 2) < 0.05 * 2 / (concentration + 2) ** 2 + 3e-3
    with pytest.raises(tg.DetachError, match="gamma_slope has no derivative rule"):
        tg.grad(tg.grad(lambda a: tg.random.Generator(0).gamma(a)))(np.float64(2.0))


DRAWS: dict[str, Callable[[Any, Any], Any]] = {
    "uniform": lambda g, p: g.uniform(high=p),
    "normal": lambda g, p: g.normal((3, 2), loc=p),
    "truncated_normal": lambda g, p: g.truncated_normal(upper=p),
    "exponential": lambda g, p: g.exponential(scale=p),
    "laplace": lambda g, p: g.laplace(scale=p),
    "gumbel": lambda g, p: g.gumbel(loc=p),
    "logistic": lambda g, p: g.logistic(loc=p),
    "multivariate_normal": lambda g, p: g.multivariate_normal(p, tg.diag(p), (3,)),
    "gamma": lambda g, p: g.gamma(p, (4, 2)),
    "beta": lambda g, p: g.beta(p, 2.0),
    "dirichlet": lambda g, p: g.dirichlet(p, (3,)),
    "bernoulli": lambda g, p: g.bernoulli(p / 10),
    "categorical": lambda g, p: g.categorical(p, (5,)),
    "choice": lambda g, p: g.choice(p, (5,), p=[0.5, 0.5]) + g.choice(p, (2,), replace=False)[0],
    "randint": lambda g, p: g.randint(2, 5, (3,)) + p[0],
    "permutation": lambda g, p: g.permutation(p),
    "dropout": lambda g, p: g.dropout(p, 0.3),
}


@pytest.mark.parametrize("name", DRAWS)
def test_the_same_in_a_trace_and_in_lanes(name: str) -> None:
    draw = DRAWS[name]
    p = tg.tensor([1.5, 2.5])
    eager = tg.random.Generator(2)
    expected = draw(eager, p)
    traced = tg.random.Generator(2)
    graph = tg.trace(lambda p: draw(traced, p), p)
    assert tg.parse(str(graph)) == graph
    found, after = graph(p, state={"random.state": traced.state})
    np.testing.assert_array_equal(found.numpy(), expected.numpy())
    np.testing.assert_array_equal(after["random.state"].numpy(), eager.state.numpy())

    lanes, loop = tg.random.Generator(3), tg.random.Generator(3)
    ps = tg.tensor([[1.5, 2.5], [0.5, 4.0], [3.0, 0.1]])
    together = tg.vmap(lambda p: draw(lanes, p))(ps)
    alone = [draw(loop, p).numpy() for p in ps]
    np.testing.assert_allclose(together.numpy(), np.stack(alone), rtol=1e-6)
    np.testing.assert_array_equal(lanes.state.numpy(), loop.state.numpy())


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_dtypes(dtype: Any) -> None:
    g, one = tg.random.Generator(1), tg.ones((2,), dtype)
    assert {
        g.uniform(high=one).dtype, g.normal(loc=one).dtype, g.gamma(one).dtype, g.beta(one, one).dtype,
        g.truncated_normal(scale=one).dtype, g.laplace((2,), dtype).dtype, g.dirichlet(one).dtype,
        g.gumbel(loc=one).dtype,
    } == {np.dtype(dtype)}  # fmt: skip
    assert g.normal(loc=2.0).dtype == tg.default_dtype() and g.normal(loc=np.arange(3)).dtype == tg.default_dtype()
    assert g.randint(5, dtype="uint8").dtype == np.uint8 and g.bernoulli(one * 0.5).dtype == bool
    assert np.isfinite(g.gumbel((100_000,), dtype).numpy()).all()


REFUSED: list[tuple[Callable[[Any], Any], str]] = [
    (lambda g: g.normal(scale=-1.0), "scale must not be negative"),
    (lambda g: g.normal(scale=[1.0, np.nan]), "scale must not be negative, or NaN"),
    (lambda g: g.bernoulli(1.5), "p must be a probability"),
    (lambda g: g.bernoulli(np.nan), "p must be a probability"),
    (lambda g: g.gamma(0.0), "concentration must be positive"),
    (lambda g: g.beta(-0.5, 1.0), "a must be positive"),
    (lambda g: g.truncated_normal(lower=1.0, upper=1.0), "lower must be below upper"),
    (lambda g: g.randint(3, 3), "no integers from low=3 to below high=3"),
    (lambda g: g.randint(300, dtype="uint8"), "300"),
    (lambda g: g.choice(3, (5,), replace=False), "5 different ones cannot be drawn of 3"),
    (lambda g: g.choice(0, (1,)), "nothing to choose from"),
    (lambda g: g.choice(3, p=[0.5, 0.5]), "a probability for each of 3"),
    (lambda g: g.choice(2, p=[0.5, 0.6]), "p must sum to 1"),
    (lambda g: g.choice(2, p=[1.5, -0.5]), "negative"),
    (lambda g: g.choice(2, (2,), replace=False, p=[1.0, 0.0]), "fewer than 2 have a probability above 0"),
    (lambda g: g.choice(np.ones((2, 3)), axis=2), "no axis 2"),
    (lambda g: g.categorical(1.0), "no axis -1"),
    (lambda g: g.normal((3,), loc=[1.0, 2.0]), r"loc \(2,\)"),
    (lambda g: g.normal(loc="a"), "loc must be a number or a tensor"),
    (lambda g: g.permutation(-1), "non-negative"),
]


@pytest.mark.parametrize("number", range(len(REFUSED)))
def test_refusals_say_what_and_draw_nothing(number: int) -> None:
    draw, message = REFUSED[number]
    g = tg.random.Generator(0)
    with pytest.raises((ValueError, TypeError), match=message):
        draw(g)
    assert g.state.tolist() == tg.random.key(0).tolist()
