"""Reductions of float16, and deviations of numbers whose squares leave their dtype's range."""

import numpy as np
import pytest

import tensorgraph as tg

F2, F4, F8 = np.float16, np.float32, np.float64
WIDE = np.longdouble


def assert_near(got, expected, ulps=8):
    got = np.asarray(got)
    assert np.all(np.abs(got.astype(WIDE) - expected) <= ulps * np.finfo(got.dtype).eps * np.abs(expected).max()), got


@pytest.mark.parametrize(("shape", "axis"), [((70000,), None), ((70000, 2), 0), ((2, 70000), 1), ((7, 10000), (0, 1))])
def test_the_exponentials_of_float16_are_summed_in_float32(shape, axis) -> None:
    z = tg.zeros(shape, dtype="float16")
    for out in (tg.logsumexp(z, axis=axis), tg.trace(lambda z: tg.logsumexp(z, axis=axis), z)(z)):
        assert out.dtype == F2
        assert_near(out, np.log(WIDE(70000)), 1)
    g = tg.grad(lambda z: tg.logsumexp(z, axis=axis).sum())(z)
    assert g.dtype == F2 and np.all(g.numpy() == F2(1 / 70000))


def test_products_of_float16_are_made_in_float32() -> None:
    """Whose partial products float16 does not hold."""
    x = np.array([[1e3, 1e3, 1e-3, 1e-3]] * 2, F2)
    exact = np.prod(x.astype(WIDE), 1)
    for out in (tg.prod(x, axis=1), tg.prod(x.T, axis=0), tg.prod(x.T.copy(), axis=0)):
        assert out.dtype == F2
        assert_near(out, exact, 1)
    g = tg.grad(lambda x: tg.prod(x, axis=1).sum())(tg.tensor(x))
    assert g.dtype == F2
    assert np.allclose(g.numpy().astype(F8), exact[:, None].astype(F8) / x, rtol=2e-3)


def test_the_slope_of_the_variance_of_much_float16() -> None:
    """2/n alone would have few digits."""
    x = np.tile(np.array([900, -1000], F2), 500_000)
    exact = x.astype(F8)
    exact = (exact - exact.mean()) * 2 / x.size
    assert_near(tg.grad(tg.var)(tg.tensor(x))[:2], exact[:2], 1)
    assert tg.grad(tg.std)(tg.tensor(np.tile(np.array([1000, -1000], F2), 30_000)))[0].item() == F2(1 / 60000)


def slope_of(f, x):
    """Of all results together, whose sum may be too large."""
    x = tg.tensor(x.numpy(), requires_grad=True)
    return tg.gradients(f(x), [x], np.ones(len(x), x.dtype))[0].numpy()


FAR = [(F2, 6e4), (F2, 3e-5), (F4, 1e30), (F4, 1e-30), (F4, 3e38), (F4, 1e-38), (F8, 1e200), (F8, 1e-200),
       (F8, 1.7e308), (F8, 1e-307)]  # fmt: skip


@pytest.mark.parametrize(("dtype", "scale"), FAR)
@pytest.mark.parametrize("correction", [0, 1])
def test_the_deviation_neither_overflows_nor_vanishes(dtype, scale, correction) -> None:
    near = np.array([[1.0, -1.0, 0.0, 0.25], [0.5, -0.75, 1.0, 0.125]])
    x = tg.tensor((near * scale).astype(dtype))
    wide = x.numpy().astype(WIDE)
    off = wide - wide.mean(1, keepdims=True)
    expected = np.sqrt((off / scale * (off / scale)).sum(1) / (4 - correction)) * WIDE(scale)
    slope = off / expected[:, None] / (4 - correction)

    def std(x):
        return tg.std(x, axis=1, correction=correction)

    for f in (std, tg.trace(std, x)):
        out = f(x)
        assert out.dtype == dtype
        assert_near(out, expected)
        g = slope_of(f, x)
        assert g.dtype == dtype
        assert_near(g, slope, 32)
    assert_near(tg.std(x, axis=1, keepdims=True, correction=correction), expected[:, None])


def test_a_deviation_far_out_has_a_second_derivative() -> None:
    x = np.array([1.0, -1.0, 0.0, 0.25])
    near = tg.hessian(tg.std)(tg.tensor(x)).numpy()
    for power in (-300, 300):
        far = tg.hessian(tg.std)(tg.tensor(np.ldexp(x, power))).numpy()
        assert np.allclose(np.ldexp(far, power), near, rtol=1e-13, atol=0)


def test_the_deviation_of_equal_numbers_and_of_what_is_none() -> None:
    rows = tg.tensor([[3e38, 3e38], [1e-30, -1e-30], [np.nan, 1.0], [np.inf, 1.0], [0.0, 0.0], [1.0, 3.0]])
    with np.errstate(invalid="ignore"):
        out, g = tg.std(rows, axis=1), slope_of(lambda x: tg.std(x, axis=1), rows)
    assert np.array_equal(out.numpy(), np.array([0, 1e-30, np.nan, np.nan, 0, 1], F4), equal_nan=True)
    assert np.array_equal(g[[0, 4]], np.zeros((2, 2))) and np.allclose(g[[1, 5]], [[0.5, -0.5], [-0.5, 0.5]])
    assert np.isnan(g[2:4]).all()
