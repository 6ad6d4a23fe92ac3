"""Long scans keep their digits, in values and derivatives, and so do saturated ones."""

import numpy as np
import pytest

import tensorgraph as tg

F2, F4, F8 = np.float16, np.float32, np.float64
WIDE = np.longdouble
N = 100_000
floats = pytest.mark.parametrize("dtype", [F4, F8])


def assert_near(got, expected, ulps):
    got = np.asarray(got)
    error = np.abs(got - expected).max() / (np.finfo(got.dtype).eps * np.abs(expected).max())
    assert error <= ulps, float(error)


def slope_of(f, x, g):
    x = tg.tensor(x, requires_grad=True)
    return tg.gradients(f(x), [x], g)[0]


def recurrence(a, b):
    y, out = WIDE(0), np.empty(len(b), WIDE)
    for i in range(len(b)):
        y = out[i] = b[i] + WIDE(a[i]) * y
    return out


@floats
@pytest.mark.parametrize("offset", [0, 1000])
def test_many_sums_of_exponentials(dtype, offset) -> None:
    rng = np.random.default_rng(0)
    x, g = (rng.random(N) + offset).astype(dtype), rng.random(N).astype(dtype)
    e = np.exp(x.astype(WIDE) - offset)
    sums = np.cumsum(e)
    assert_near(tg.logcumsumexp(x), np.log(sums) + offset, 8)
    assert_near(tg.logcumsumexp(np.stack([x, x], 1), axis=0)[:, 1], np.log(sums) + offset, 8)
    assert_near(slope_of(tg.logcumsumexp, x, g), e * np.cumsum((g / sums)[::-1])[::-1], 32)


@pytest.mark.parametrize("dtype", [F2, F4, F8])
def test_long_recurrences_and_products(dtype) -> None:
    rng = np.random.default_rng(0)
    n = 2000 if dtype == F2 else N
    a, b = np.full(n, 0.999, dtype), rng.random(n).astype(dtype)
    exact = recurrence(a, b)
    assert_near(tg.linear_recurrence(a, b), exact, 1)
    assert_near(tg.trace(tg.linear_recurrence, a, b)(a, b), exact, 1)
    assert_near(slope_of(lambda b: tg.linear_recurrence(a, b), b, b), recurrence(a, b[::-1])[::-1], 2)


@floats
def test_the_slope_of_many_products(dtype) -> None:
    rng = np.random.default_rng(0)
    x, g = (1 + (rng.random(N) - 0.5) * 0.01).astype(dtype), rng.random(N).astype(dtype)
    products = np.cumprod(x.astype(WIDE))
    assert_near(tg.cumprod(x), products, 8)
    assert_near(slope_of(tg.cumprod, x, g), np.cumsum((g * products)[::-1])[::-1] / x, 32)


@floats
def test_second_derivatives_of_saturated_sums(dtype) -> None:
    x = np.array([30.0, 0.0, -3.0], dtype)
    shares = np.exp(x.astype(WIDE) - 30)
    shares /= shares.sum()
    exact = np.diag(shares) - np.outer(shares, shares)
    exact[0, 0] = shares[0] * (shares[1] + shares[2])
    got = tg.hessian(lambda z: tg.logcumsumexp(z)[2])(tg.tensor(x)).numpy()
    assert np.all(np.abs(got - exact) <= 256 * np.finfo(dtype).eps * np.abs(exact))


def test_slopes_beside_infinities() -> None:
    inf = np.inf
    for x, slope in (
        ([-inf, -inf, 1.0], [0, 0, 1]), ([-inf] * 3, [0, 0, 0]), ([1.0, inf, 2.0], [0, 1, 0]), ([inf, 1.0], [1, 0]),
    ):  # fmt: skip
        assert tg.grad(lambda z: tg.logcumsumexp(z)[-1])(tg.tensor(x)).tolist() == slope
