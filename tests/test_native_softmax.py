"""Softmax and its logarithm as kernels, against long double and the eager op."""

import numpy as np
import pytest
from native_calls import HOWS, Run, every_how
from semantics_oracle import (
    log_probabilities,
    log_softmax_gradient,
    pattern,
    shift_error,
    softmax_gradient,
    terms,
    wide,
    within,
)

from tensorgraph.engine.op import CATALOGUE
from tensorgraph.ops.native.tiles import NARROW

CODE = [how for how in HOWS if how[0] == "code"] or HOWS[:1]
ATTRS = dict(axis=-1)


def forward(name, x, how, **options):
    got = Run(CATALOGUE[name].native_rule(), (x,), [(x.shape, x.dtype)], ATTRS, *how, **options)
    assert got.took
    return got.outputs[0]


def backward(name, x, y, g, how, **options):
    attrs = {**ATTRS, "want": (True,)}
    got = Run(CATALOGUE[name].gradient.native_rule(), (x, y, g), [(x.shape, x.dtype)], attrs, *how, **options)
    assert got.took
    return got.outputs[0]


def check(x, g, how):
    z, c = wide(x, g)
    log = log_probabilities(z)
    y, log_y = forward("softmax", x, how), forward("log_softmax", x, how)
    assert np.isfinite(y).all() and np.isfinite(log_y).all()
    within(0, y, np.exp(log), axis=-1)
    within(0, log_y, log, axis=-1)
    extra = shift_error(z, x.dtype)
    dx = backward("softmax", x, y, g, how)
    within(1, dx, softmax_gradient(z, c), terms(z, c), extra=extra)
    within(1, backward("log_softmax", x, log_y, g, how), log_softmax_gradient(z, c), axis=-1, extra=extra)


def given(rows, width, dtype, scale=2.0):
    rng = np.random.default_rng([rows, width])
    return (scale * rng.standard_normal((rows, width))).astype(dtype), rng.standard_normal((rows, width)).astype(dtype)


@every_how
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_within_the_bounds(dtype, how):
    for rows, width in ((1, 1), (3, 2), (17, 10), (16, 16), (5, 33), (2, 49), (2, NARROW + 3)):
        check(*given(rows, width, dtype), how)


@pytest.mark.parametrize("how", CODE)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_more_rows_and_columns(dtype, how):
    for rows, width in ((64, 10), (33, 49), (40, NARROW), (21, 1000), (2, 40_000), (7000, 10), (700, 200)):
        check(*given(rows, width, dtype), how)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_far_logits_and_certain_classes(dtype):
    for width in (3, 60, 200):
        x, g = given(20, width, dtype)
        x += np.array(1e4, dtype)
        x[np.arange(20), np.arange(20) % width] += np.linspace(0, 60, 20).astype(dtype)
        g[:10] += np.array(1e3, dtype)  # what all have in common is no matter to softmax
        for how in CODE if width > 100 else HOWS:
            check(x, g, how)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_what_is_not_finite_as_eager(name, dtype):
    op = CATALOGUE[name]
    for width in (5, 16, 60, 150):
        x, g = given(20, width, dtype)
        x[0, 1], x[1, 0], x[2], x[3, 2], x[4, width - 1] = np.nan, np.inf, -np.inf, -np.inf, np.nan
        x[5], x[6, 0], x[7, 3] = np.finfo(dtype).max, np.finfo(dtype).max, -np.finfo(dtype).max
        x[8:12, 1] += np.array(50, dtype)
        g[8, 0], g[9, 1], g[10, 2], g[12, 0], g[13, 1] = np.nan, np.inf, -np.inf, np.nan, np.inf
        with np.errstate(all="ignore"):
            y = op.forward(x, axis=-1)
            (dx,) = op.gradient.forward(x, y, g, want=(True,), axis=-1)
        for how in CODE if width > 100 else HOWS:
            np.testing.assert_array_equal(pattern(forward(name, x, how)), pattern(y))
            np.testing.assert_array_equal(pattern(backward(name, x, y, g, how)), pattern(dx))


@pytest.mark.parametrize("how", CODE)
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_layouts_blocks_and_places(name, how):
    for rows, width in ((24, 10), (24, 200), (900, 100)):
        x, g = given(rows, width, "float32")
        y = forward(name, x, how)
        dx = backward(name, x, y, g, how)
        wider = np.full((rows, 2 * width), np.nan, "float32")[:, 3 : width + 3]
        wider[...] = x
        turned = np.asfortranarray(x)
        for other in (wider, turned):
            np.testing.assert_array_equal(forward(name, other, how), y)
        np.testing.assert_array_equal(backward(name, x, np.asfortranarray(y), np.asfortranarray(g), how), dx)
        np.testing.assert_array_equal(forward(name, x, how, in_place=True), y)
        np.testing.assert_array_equal(backward(name, x, y, g, how, in_place=True), dx)
        np.testing.assert_array_equal(forward(name, x, how, order=-1), y)
        np.testing.assert_array_equal(backward(name, x, y, g, how, order=-1), dx)
        ones = np.broadcast_to(np.float32(1.5), x.shape)
        np.testing.assert_array_equal(
            backward(name, x, y, ones, how), backward(name, x, y, np.full(x.shape, 1.5, "float32"), how)
        )
        cube = x.reshape(4, rows // 4, width)
        np.testing.assert_array_equal(forward(name, cube, how).reshape(x.shape), y)


@every_how
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_any_axis_is_the_last_one_turned(name, how):
    """Copied to rows and back: the same bits, whatever lies around and in whatever strides."""
    rule, pull = CATALOGUE[name].native_rule(), CATALOGUE[name].gradient.native_rule()
    for shape in ((5, 3), (3, 2, 5), (2, 4, 3, 5), (4, 1, 1), (1, 6), (3, 0, 2), (0, 3)):
        rng = np.random.default_rng(0)
        x, g = (rng.standard_normal(shape).astype("float32") for _ in range(2))
        for axis in range(-len(shape), len(shape)):
            last, up = (np.ascontiguousarray(np.moveaxis(a, axis, -1)) for a in (x, g))
            if not last.size:
                assert Run(rule, (x,), [(shape, x.dtype)], dict(axis=axis), *how).outputs[0].shape == shape
                continue
            expected = forward(name, last, how)
            for given in (x, np.asfortranarray(x), np.repeat(x, 2, 0)[::2]):
                got = Run(rule, (given,), [(shape, x.dtype)], dict(axis=axis), *how)
                np.testing.assert_array_equal(np.moveaxis(got.outputs[0], axis, -1), expected)
            y = got.outputs[0]
            attrs = dict(axis=axis, want=(True,))
            dx = backward(name, last, expected, up, how)
            for in_place in (False, True):
                got = Run(pull, (None, y, g), [(shape, x.dtype)], attrs, *how, in_place=in_place)
                np.testing.assert_array_equal(np.moveaxis(got.outputs[0], axis, -1), dx)


def test_what_is_left_to_the_forward():
    x, _ = given(6, 4, "float32")
    rule = CATALOGUE["softmax"].native_rule()
    for array in (x.astype("float16"), x.astype("int64")):
        assert not Run(rule, (array,), [(array.shape, "float32")], dict(axis=1)).took
