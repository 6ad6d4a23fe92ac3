"""Softmax and log-softmax kernels against a higher precision."""

import numpy as np
import pytest

from tensorgraph import jit
from tensorgraph.ops.kernels.rows import CHUNK, NARROW
from tensorgraph.ops.kernels.softmax import (
    log_softmax_backward,
    log_softmax_forward,
    softmax_backward,
    softmax_forward,
)

WIDER = {np.dtype(np.float16): np.float64, np.dtype(np.float32): np.float64, np.dtype(np.float64): np.longdouble}
WIDE = [(3, 2 * CHUNK + 5)] if jit.compiled() else [(1, CHUNK + 5)]
SHAPES = [((64, 10), -1), ((1, 1), -1), ((7, NARROW), 1), ((7, NARROW + 1), 1), ((4, 5, 3), 1), ((5,), 0), ((5, 3), 0)]
SHAPES += [(shape, -1) for shape in WIDE]


def ulps(got, exact, axis):
    """Largest error in units of the last place of the output's largest number along `axis`."""
    assert np.isfinite(got).all() and np.isfinite(exact).all()
    scale = np.abs(exact).max(axis=axis, keepdims=True)
    unit = np.maximum(scale * np.finfo(got.dtype).eps, np.finfo(got.dtype).tiny)
    return (np.abs(got - exact) / unit).max()


def exact(x, axis):
    """Softmax, its log, and 1 minus it, accurate also where it is nearly 1."""
    x = x.astype(WIDER[x.dtype])
    d = x - x.max(axis=axis, keepdims=True)
    e = np.exp(d)
    first = np.zeros(x.shape, bool)
    np.put_along_axis(first, np.expand_dims(d.argmax(axis), axis), True, axis)
    log = d - np.log1p(np.where(first, 0, e).sum(axis=axis, keepdims=True))
    return np.exp(log), log, -np.expm1(log)


@pytest.mark.parametrize("scale", [1.0, 6.0, 1e4])
@pytest.mark.parametrize(("shape", "axis"), SHAPES)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_within_the_bounds(dtype, shape, axis, scale):
    rng = np.random.default_rng(0)
    scale = min(scale, 1e3) if dtype is np.float16 else scale
    x, g = (scale * rng.standard_normal(shape)).astype(dtype), rng.standard_normal(shape).astype(dtype)
    p, log_p, rest = exact(x, axis)
    wide = g.astype(WIDER[g.dtype])
    y, log_y = softmax_forward(x, axis), log_softmax_forward(x, axis)
    assert y.dtype == log_y.dtype == dtype and y.shape == log_y.shape == shape
    assert ulps(y, p, axis) <= 8 and ulps(log_y, log_p, axis) <= 8
    if dtype is np.float16:  # what the backward pass is given was rounded to three digits
        return
    dx = softmax_backward(g, y, axis)
    if scale <= 6.0:  # beyond, the gradient is below the smallest number
        base = np.take_along_axis(wide, np.expand_dims(p.argmax(axis), axis), axis)
        expected = p * ((wide - base) - (p * (wide - base)).sum(axis=axis, keepdims=True))
        assert ulps(dx, expected, axis) <= 32
    total = wide.sum(axis=axis, keepdims=True)
    expected = np.where(p > 0.5, (wide - total) + rest * total, wide - p * total)
    assert ulps(log_softmax_backward(g, log_y, axis), expected, axis) <= 32
    assert dx.dtype == dtype and dx.flags.c_contiguous and y.flags.c_contiguous


@pytest.mark.parametrize("width", [3, NARROW + 2])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_bad_row_is_nan_and_no_other(width, dtype):
    x = np.zeros((6, width), dtype)
    x[1, 1], x[2, 0], x[3], x[4, 2], x[5, 1] = np.nan, np.inf, -np.inf, -np.inf, -np.nan
    for forward in (softmax_forward, log_softmax_forward):
        y = forward(x)
        assert np.isnan(y).all(1).tolist() == [False, True, True, True, False, True]
        assert np.isfinite(y[0]).all()
    assert softmax_forward(x)[4, 2] == 0 and log_softmax_forward(x)[4, 2] == -np.inf


def test_confident_rows_keep_their_gradient():
    x = np.array([[30.0, 0.0, 1.0]], np.float32)
    g = np.array([[1.0, 0.0, 0.0]], np.float32)
    p, _, rest = exact(x, -1)
    assert ulps(softmax_backward(g, softmax_forward(x)), np.array([[p[0, 0] * rest[0, 0], *-p[0, 1:]]]), -1) <= 32
    dx = log_softmax_backward(g, log_softmax_forward(x))
    assert ulps(dx, np.array([[rest[0, 0], *-p[0, 1:]]]), -1) <= 32


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (2, 0, 4), (0,)])
def test_empty(shape):
    x = np.empty(shape, np.float32)
    for y in (softmax_forward(x), log_softmax_forward(x), softmax_backward(x, x), log_softmax_backward(x, x)):
        assert y.shape == shape and y.dtype == np.float32


def test_any_layout_gives_the_same_bits_and_inputs_stay():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((6, 8, 5)).astype(np.float32)
    expected = softmax_forward(np.ascontiguousarray(x.transpose(2, 0, 1)), 1)
    before = x.copy()
    x.flags.writeable = False
    assert (softmax_forward(x.transpose(2, 0, 1), 1) == expected).all() and (x == before).all()
    spread_out = np.zeros((5, 12, 8), np.float32)
    spread_out[:, ::2] = x.transpose(2, 0, 1)
    assert (softmax_forward(spread_out[:, ::2], -2) == expected).all()
    assert (softmax_forward(x.transpose(2, 0, 1).astype(">f4"), 1) == expected).all()
    g = np.broadcast_to(np.float32(1), expected.shape)
    assert np.abs(softmax_backward(g, expected, 1)).max() < 1e-6


def test_several_threads_give_the_same_bits():
    n = 700 if jit.compiled() else 3
    x = np.random.default_rng(0).standard_normal((n, 1000)).astype(np.float32)
    before = jit.num_threads()
    results = []
    try:
        for threads in (1, 3):
            jit.set_num_threads(threads)
            y, log_y = softmax_forward(x), log_softmax_forward(x)
            results.append((y, log_y, softmax_backward(x, y), log_softmax_backward(x, log_y)))
    finally:
        jit.set_num_threads(before)
    for a, b in zip(*results):
        assert np.isfinite(a).all() and (a == b).all()


def test_the_slide():
    y = softmax_forward(np.array([5.0, 2.0, -1.0, 3.0]))
    assert np.round(y, 3).tolist() == [0.842, 0.042, 0.002, 0.114]


def test_a_confident_row_keeps_the_digits_of_the_other_cotangents() -> None:
    """At the likely class the gradient is what the others sum to, which a difference of large cotangents would lose."""
    x, g = np.array([[-5.31919509, 17.9668235]]), np.array([[0.00438343, 0.81785535]])
    dx = log_softmax_backward(g, log_softmax_forward(x, 1), 1)
    # with e^y = 1 - q: g1 - (g0 + g1)(1 - q) = q (g0 + g1) - g0
    q = np.exp(np.longdouble(x[0, 0]) - np.longdouble(x[0, 1]))
    q = q / (1 + q)
    expected = q * (np.longdouble(g[0, 0]) + np.longdouble(g[0, 1])) - np.longdouble(g[0, 0])
    assert np.isfinite(dx).all()
    assert abs(dx[0, 1] - expected) <= 2 * np.finfo(float).eps * abs(expected)
