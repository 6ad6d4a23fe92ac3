"""Pools: values of PyTorch, ties, what is not a number, windows over the end, both ways of computing."""

from typing import Any
from unittest import mock

import numpy as np
import pytest

import tensorgraph as tg
from tensorgraph.engine.op import CATALOGUE
from tensorgraph.ops.kernels import pooling as kernels
from tensorgraph.ops.windows import windows

RAMP = np.array([[3.0, 1.0, 4.0, 1.0, 5.0], [9.0, 2.0, 6.0, 5.0, 3.0], [5.0, 8.0, 9.0, 7.0, 9.0]])


@pytest.mark.parametrize(
    ("name", "options", "values"),
    [  # by PyTorch 2.13
        ("max_pool2d", dict(kernel_size=2), [[9.0, 6.0]]),
        ("max_pool2d", dict(kernel_size=2, ceil_mode=True), [[9.0, 6.0, 5.0], [8.0, 9.0, 9.0]]),
        ("max_pool2d", dict(kernel_size=3, stride=2, padding=1), [[9.0, 6.0, 5.0], [9.0, 9.0, 9.0]]),
        ("max_pool2d", dict(kernel_size=(2, 3), stride=1, dilation=(2, 1)), [[9.0, 9.0, 9.0]]),
        ("avg_pool2d", dict(kernel_size=2), [[3.75, 4.0]]),
        ("avg_pool2d", dict(kernel_size=2, ceil_mode=True), [[3.75, 4.0, 4.0], [6.5, 8.0, 9.0]]),
        ("avg_pool2d", dict(kernel_size=2, stride=2, padding=1), [[0.75, 1.25, 1.5], [3.5, 6.25, 6.0]]),
        ("avg_pool2d", dict(kernel_size=2, padding=1, count_include_pad=False), [[3.0, 2.5, 3.0], [7.0, 6.25, 6.0]]),
        ("avg_pool2d", dict(kernel_size=2, divisor_override=2), [[7.5, 8.0]]),
        ("adaptive_avg_pool2d", dict(output_size=(1, 1)), [[77.0 / 15.0]]),
        ("adaptive_avg_pool2d", dict(output_size=(1, 2)), [[47.0 / 9.0, 49.0 / 9.0]]),
        ("adaptive_max_pool2d", dict(output_size=(2, 2)), [[9.0, 6.0], [9.0, 9.0]]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("compiled", [True, False])
def test_values(name: str, options: dict[str, Any], values: Any, compiled: bool) -> None:
    with mock.patch.object(kernels, "_suits", lambda x: compiled):
        y = getattr(tg, name)(RAMP[None], **options)
    np.testing.assert_allclose(y.numpy()[0], values, rtol=1e-15)


CASES: list[Any] = [((2, 2), 2, 0, 1), ((3, 2), (2, 1), ((1, 0), (0, 1)), (1, 2)), ((3, 3), 1, 1, 1), ((2, 3), 3, 1, 2)]


@pytest.mark.parametrize(("kernel", "stride", "padding", "dilation"), CASES)
@pytest.mark.parametrize("special", [False, True])
def test_kernels_give_what_numpy_gives(kernel: Any, stride: Any, padding: Any, dilation: Any, special: bool) -> None:
    rng = np.random.default_rng(0)
    win = windows((7, 6), kernel, stride, padding, dilation)
    x = np.round(rng.normal(size=(3, 7, 6)) * 2.0)
    if special:
        x[0, 2, 2], x[1, 3, 3], x[2] = np.nan, np.inf, -np.inf
    g = rng.normal(size=(3, *win.outputs))
    results = []
    for compiled in (True, False):
        with mock.patch.object(kernels, "_suits", lambda x, on=compiled: on):
            y = kernels.max_pool(x, win)
            results.append((y, kernels.max_spread(g, x, y, win), kernels.sum_spread(g, win)))
            if not special:
                results[-1] += (kernels.sum_pool(x, win),)
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-14, atol=1e-14)


def test_ties_share_and_nan_wins() -> None:
    x = tg.tensor([[1.0, 1.0, 0.0, np.nan, 2.0, np.nan]], requires_grad=True)
    y = tg.max_pool1d(x, 3)
    assert y.tolist()[0][0] == 1.0 and np.isnan(y.numpy()[0, 1])
    y.backward(tg.tensor([[1.0, 4.0]]))
    assert x.grad.tolist() == [[0.5, 0.5, 0.0, 2.0, 0.0, 2.0]]


def test_integers_have_maxima() -> None:
    y = tg.max_pool2d(np.arange(-16, 0, dtype=np.int8).reshape(1, 4, 4), 3, stride=2, padding=1)
    assert y.dtype == "int8" and y.tolist() == [[[-11, -9], [-3, -1]]]
    with pytest.raises(TypeError, match="floats"):
        tg.avg_pool2d(np.ones((1, 4, 4), np.int64), 2)


def test_half_precision_means_do_not_overflow() -> None:
    assert tg.avg_pool1d(tg.full((1, 8), 60000.0, dtype="float16"), 8).tolist() == [[60000.0]]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda x: tg.max_pool2d(x, 6), "a window spans 6"),
        (lambda x: tg.max_pool2d(x, 2, padding=2), "padding must be less"),
        (lambda x: tg.max_pool2d(x[0, 0], 2), r"must have axes \(\.\.\., channels"),
        (lambda x: tg.max_pool2d(x > 0, 2), "got booleans"),
        (lambda x: tg.max_pool2d(x, (2, 2, 2)), "one integer or 2"),
        (lambda x: tg.avg_pool2d(x, 2, divisor_override=0), "must not be 0"),
        (lambda x: tg.adaptive_avg_pool2d(x, (2, 2, 2)), "one integer or 2"),
        (lambda x: tg.adaptive_avg_pool2d(x[..., :0], 2), "nothing to pool"),
        (lambda x: tg.max_pool(x, 2), "tuple"),
    ],
)
def test_what_is_refused(call: Any, words: str) -> None:
    with pytest.raises((ValueError, TypeError), match=words):
        call(tg.ones((2, 3, 5, 5)))


@pytest.mark.parametrize("p", [2, 2.0, 3.0])
def test_pools_of_norms_have_the_derivative_0_at_0(p: float) -> None:
    x = tg.tensor([[[0.0, 0.0, 3.0, 4.0]]], dtype="float64")

    def f(x: Any) -> Any:
        return tg.lp_pool1d(x, p, 2).sum()

    size = (3.0**p + 4.0**p) ** (1 / p)
    slopes = tg.grad(f)(x).numpy().ravel()
    np.testing.assert_allclose(slopes, [0, 0, (3 / size) ** (p - 1), (4 / size) ** (p - 1)], rtol=1e-12)
    second = tg.hessian(f)(x).numpy().reshape(4, 4)
    assert not second[:2].any() and np.isfinite(second).all() and second[2, 3] < 0
    assert not tg.grad(lambda x: tg.lp_pool2d(x, p, 2).sum())(tg.zeros((1, 2, 2))).numpy().any()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(2, 1, 30_000), (3, 56, 56), (2, 30, 3), (1, 5, 5)])
@pytest.mark.parametrize("kernels_run", [True, False])
def test_long_sums_keep_their_digits(shape: Any, dtype: str, kernels_run: bool) -> None:
    """Windows side by side, each of all numbers of a plane."""
    planes, height, width = shape
    x = np.full((planes, 2, height, width), 0.1, dtype)
    x[..., 0] = 1.0
    x = np.concatenate([x, 3 * x], axis=-1)
    sum_pool = CATALOGUE["sum_pool"]
    attrs = sum_pool.attrs | dict(sizes=(height, width), stride=(height, width))
    found = np.asarray((sum_pool.public if kernels_run else sum_pool.forward)(x, **attrs))
    exact = x.astype(np.longdouble).reshape(planes, 2, height, 2, width).sum((2, 4))
    assert found.dtype == dtype and found.shape == (planes, 2, 1, 2)
    assert np.abs(found[:, :, 0] - exact).max() <= 2 * np.finfo(dtype).eps * exact.max()


def test_long_sums_of_what_is_not_finite() -> None:
    x = np.ones((1, 1, 80), np.float64)
    x[0, 0, [3, 25, 47, 65]] = np.inf, np.nan, np.inf, -np.inf
    x[0, 0, 44] = -np.inf
    for dtype in ("float32", "float64"):
        found = tg.avg_pool1d(x.astype(dtype), 20).numpy().ravel()
        assert np.array_equal(found, [np.inf, np.nan, np.nan, -np.inf], equal_nan=True)
