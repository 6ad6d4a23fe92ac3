"""Norms, quantiles, weighted and NaN-free reductions, differences: NumPy's values where numbers are hostile."""

import warnings
from typing import Any

import numpy as np
import pytest

import tensorgraph as tg
from tensorgraph.ops.quantiles import METHODS

F2, F4, F8 = np.float16, np.float32, np.float64
NAN, INF = float("nan"), float("inf")


def close(got: Any, expected: Any, digits: float = 1e-12) -> None:
    got = got.numpy() if isinstance(got, tg.Tensor) else np.asarray(got)
    assert np.allclose(got, expected, rtol=digits, atol=digits, equal_nan=True), (got, expected)


# norms ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ord", [0, 1, 2, 3, 0.5, 1.5, -1, -2.5, INF, -INF])
@pytest.mark.parametrize(("dtype", "scale"), [(F2, 2.0**12), (F2, 2.0**-12), (F4, 2.0**120), (F4, 2.0**-120),
                                              (F8, 2.0**1000), (F8, 2.0**-1000)])  # fmt: skip
def test_norms_neither_overflow_nor_vanish(ord: float, dtype: Any, scale: float) -> None:
    near = np.array([[0.5, -1.0, 0.25, 0.75], [1.0, 1.0, -1.0, 0.5]])
    x = tg.tensor((near * scale).astype(dtype), requires_grad=True)
    expected = np.linalg.vector_norm(near, axis=1, ord=ord)
    out = tg.vector_norm(x, axis=1, ord=ord)
    assert out.dtype == dtype
    close(out.numpy().astype(F8) / (1.0 if ord == 0 else scale), expected, 8 * np.finfo(dtype).eps)
    (g,) = tg.gradients([out], [x], [np.ones(2, dtype)])
    unit = tg.tensor(near, requires_grad=True)
    (wanted,) = tg.gradients([tg.vector_norm(unit, axis=1, ord=ord)], [unit], [np.ones(2)])
    assert g.dtype == dtype
    close(g.numpy().astype(F8), wanted.numpy(), 64 * np.finfo(dtype).eps)


@pytest.mark.parametrize("ord", [0, 1, 2, 3, 0.5, -1, INF])
def test_the_slope_of_a_norm_at_0_is_0(ord: float) -> None:
    for x in (tg.zeros((2, 3)), tg.zeros(())):
        g = tg.grad(lambda x: tg.vector_norm(x, ord=ord))(x)
        assert g.shape == x.shape and not g.numpy().any()
    assert not tg.grad(tg.norm)(tg.zeros((2, 2))).numpy().any()
    assert not tg.hessian(tg.norm)(tg.zeros(2)).numpy().any()


def test_norms_of_hostile_numbers_are_numpys() -> None:
    for line in ([NAN, 1.0], [INF, 1.0], [-INF, INF], [INF, NAN], [0.0, 0.0], [-0.0, 5.0], [3.0]):
        for ord in (0, 1, 2, 3, 0.5, -1, INF, -INF):
            with np.errstate(all="ignore"):
                expected = np.linalg.vector_norm(np.array(line), ord=ord)
            close(tg.vector_norm(np.array(line), ord=ord), expected)
    assert tg.vector_norm(tg.zeros((0,))).item() == 0 and tg.vector_norm(tg.zeros((0,)), ord=INF).item() == 0
    with pytest.raises(ValueError, match="smallest of nothing"):
        tg.vector_norm(tg.zeros((0,)), ord=-INF)
    assert tg.norm([3, 4]).dtype == F4
    with pytest.raises(ValueError, match="ord is 'fro'"):
        tg.norm(tg.ones((2, 2)), ord=3, axis=(0, 1))
    with pytest.raises(ValueError, match="of matrices; name two axes"):
        tg.norm(tg.ones(3), ord="fro")
    with pytest.raises(ValueError, match="vectors or matrices"):
        tg.norm(tg.ones((2, 2, 2)), ord=1)


def test_second_derivatives_of_norms() -> None:
    x = np.array([1.0, -2.0, 0.5])
    for ord in (2, 3, 1.5):
        n = np.linalg.norm(x, ord)
        u = np.sign(x) * (np.abs(x) / n) ** (ord - 1)
        expected = (ord - 1) / n * (np.diag((np.abs(x) / n) ** (ord - 2)) - np.outer(u, u))
        close(tg.hessian(lambda x, ord=ord: tg.vector_norm(x, ord=ord))(x), expected)


# quantiles ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_quantiles_are_numpys(method: Any) -> None:
    rng = np.random.default_rng(0)
    q = np.array([0.0, 0.1, 0.25, 0.3, 0.5, 0.6, 2 / 3, 0.75, 0.9, 1.0])
    for n in (1, 2, 3, 4, 5, 8, 10):
        x = rng.standard_normal((n, 2))
        close(tg.quantile(x, q, 0, method), np.quantile(x, q, 0, method=method))
        close(np.percentile(tg.tensor(x), 100 * q, 0, method=method), np.percentile(x, 100 * q, 0, method=method))
        holes = np.where(rng.random(x.shape) < 0.4, np.nan, x)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = np.nanquantile(holes, q, 0, method=method)
        close(tg.nanquantile(holes, q, 0, method), expected)
        close(tg.trace(lambda x: tg.nanquantile(x, q, 0, method), holes)(holes), expected)


def test_the_gradient_of_a_quantile_is_shared_by_equal_elements() -> None:
    x = tg.tensor([2.0, 1.0, 2.0, 5.0, 2.0])
    assert np.allclose(tg.grad(tg.median)(x).numpy(), [1 / 3, 0, 1 / 3, 0, 1 / 3])
    assert tg.grad(tg.median)(tg.tensor([4.0, 1.0, 3.0, 0.0])).tolist() == [0.0, 0.5, 0.5, 0.0]
    assert tg.grad(lambda x: tg.quantile(x, 0.25))(tg.tensor([0.0, 2.0, 1.0])).tolist() == [0.5, 0.0, 0.5]
    assert tg.grad(tg.median)(tg.tensor([1.0, NAN, NAN])).tolist() == [0.0, 0.5, 0.5]
    assert tg.grad(tg.nanmedian)(tg.tensor([1.0, NAN, 3.0])).tolist() == [0.5, 0.0, 0.5]


def test_medians_of_hostile_numbers() -> None:
    assert np.isnan(tg.median([1.0, NAN, 2.0]).item()) and np.isnan(tg.nanmedian([NAN, NAN]).item())
    assert tg.median([INF, INF, 1.0, INF]).item() == INF and tg.median([-INF, 1.0, 2.0]).item() == 1.0
    assert tg.median([3, 1, 2]).aval == tg.f32[()] and tg.median(np.array([1, 2], F2)).dtype == F2
    assert tg.median(np.array([6e4, 6e4, 1.0, 6e4], F2)).item() == F2(6e4)
    assert tg.median(tg.zeros((2, 0)), axis=0).shape == (0,) and np.isnan(tg.median(tg.zeros((2, 0)), axis=1)).all()
    with pytest.raises(ValueError, match="q must be from 0 to 1"):
        tg.quantile([1.0], 1.5)
    with pytest.raises(ValueError, match="from 0 to 100"):
        tg.percentile([1.0], [50, NAN])


# NaN, weights, differences --------------------------------------------------------------------------------------------

SKIPPING = ["nansum", "nanprod", "nanmean", "nanvar", "nanstd", "nanmax", "nanmin", "nanmedian"]


@pytest.mark.parametrize("name", SKIPPING)
@pytest.mark.parametrize("dtype", [F2, F4, F8])
def test_nans_are_left_out(name: str, dtype: Any) -> None:
    x = np.array([[1.0, NAN, 3.0, 2.0], [NAN, NAN, NAN, NAN], [0.5, 4.0, 0.5, 2.5]], dtype)
    for axis in (None, 0, 1, (0, 1)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = getattr(np, name)(x.astype(F8), axis)
        out = getattr(tg, name)(x, axis)
        assert out.dtype == dtype
        close(out.numpy(), expected, 8 * np.finfo(dtype).eps)
        g = tg.grad(lambda x, axis=axis: tg.nansum(getattr(tg, name)(x, axis)))(tg.tensor(x))
        assert np.isfinite(g.numpy()).all() and not g.numpy()[np.isnan(x)].any()


def test_variances_without_nan_keep_their_digits() -> None:
    holes = np.array([[1.0, NAN, 4.0, 6.0], [2.0, 3.0, NAN, 5.0]])
    close(tg.nanvar(holes, 1, correction=1), np.nanvar(holes, 1, ddof=1))
    close(tg.nanstd(holes, correction=1, keepdims=True), np.nanstd(holes, ddof=1, keepdims=True))
    x = np.array([1e4 + 0.01, NAN, 1e4 - 0.01, 1e4], F4)
    close(tg.nanvar(x), np.nanvar(x.astype(F8)), 1e-9)
    assert tg.nanstd([5.0, NAN, 5.0]).item() == 0 and not tg.grad(tg.nanstd)(tg.tensor([5.0, 5.0])).numpy().any()


def test_weights() -> None:
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((3, 4)), rng.random((4, 3))
    close(np.average(tg.tensor(x), weights=w.T), np.average(x, weights=w.T))
    close(tg.average(x, (1, 0), w), np.average(x, (0, 1), w.T))
    mean, whole = tg.average(x, 0, [1.0, 2.0, 3.0], returned=True)
    close(mean, np.average(x, 0, [1, 2, 3]))
    assert whole.tolist() == [6.0] * 4 and tg.average(x, 1, returned=True)[1].tolist() == [4.0] * 3
    with pytest.raises(ValueError, match="weights of shape"):
        tg.average(x, 0, [1.0, 2.0])
    times, much = np.array([1, 2, 3, 1]), np.array([0.5, 1.0, 2.0, 1.0])
    for more in (dict(), dict(fweights=times), dict(aweights=much), dict(fweights=times, aweights=much, ddof=0)):
        close(tg.cov(x, **more), np.cov(x, **more))
    single = rng.random(4).astype(np.float32)
    close(tg.cov(x, ddof=2, aweights=single), np.cov(x, ddof=2, aweights=single))  # computed in the wider dtype
    assert np.allclose(tg.cov(x + 1e8).numpy(), np.cov(x), rtol=1e-7)


def test_differences_and_areas() -> None:
    x = np.random.default_rng(0).standard_normal((4, 5))
    for n in range(7):
        close(tg.tensor(x).diff(n=n, axis=0), np.diff(x, n, 0))
    assert np.diff(tg.tensor([True, False, False])).tolist() == [True, False]
    close(np.diff(tg.tensor(x), prepend=0.0, append=x[:, :2]), np.diff(x, prepend=0, append=x[:, :2]))
    places = np.array([0.0, 1.0, 1.5, 4.0])
    for edge in (1, 2):
        for found, expected in zip(
            tg.gradient(x, places, 0.5, edge_order=edge), np.gradient(x, places, 0.5, edge_order=edge), strict=True
        ):
            close(found, expected)
    with pytest.raises(ValueError, match="needs 3 samples"):
        tg.gradient([1.0, 2.0], edge_order=2)
    graph = tg.trace(lambda x: x.diff(), tg.f32[3])
    assert "diff(x)" in str(graph) and tg.parse(str(graph)) == graph


def test_counts() -> None:
    assert tg.count_nonzero(tg.tensor([NAN, 0.0, -0.0, 2.0])).item() == 2 and tg.count_nonzero(0.0).item() == 0
    assert tg.ptp([[1, 5], [2, 2]], axis=1).tolist() == [4, 0]
