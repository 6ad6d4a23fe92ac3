"""Pools as kernels, against the eager ops."""

import numpy as np
import pytest
from native_calls import Run, every_how

from tensorgraph.engine.op import CATALOGUE

CASES = [
    ((2, 3, 6, 8), dict(sizes=(2, 2), stride=2)),
    ((2, 7, 40), dict(sizes=(2, 3), stride=(2, 3))),
    ((3, 5, 37), dict(sizes=(2, 2), stride=(3, 2), dilation=(1, 1))),
    ((2, 9, 9), dict(sizes=(2, 2), stride=3, dilation=2)),
    ((4, 33), dict(sizes=(3,), stride=3)),
    ((1, 1, 1), dict(sizes=(1, 1), stride=1)),
]
OVERLAPPING = [
    ((2, 7, 9), dict(sizes=(3, 3), stride=2)),
    ((2, 3, 8, 10), dict(sizes=(3, 3), stride=2, padding=1)),
    ((1, 5, 40), dict(sizes=(3, 2), stride=(2, 1), padding=1, dilation=(1, 2))),
    ((2, 5), dict(sizes=(3,), stride=1, padding=((1, 0),))),
    ((3, 6, 6), dict(sizes=(2, 2), stride=2, padding=((1, 1), (0, 2)))),
    ((2, 4, 19), dict(sizes=(2, 2), stride=1)),
]


def attributes(given):
    return dict(padding=0, dilation=1) | given


def numbers(shape, dtype, seed=0):
    """With ties."""
    return (np.random.default_rng(seed).integers(-3, 4, shape) / 2).astype(dtype)


def run(name, inputs, attrs, how, shape, exact=True):
    op = CATALOGUE[name]
    with np.errstate(all="ignore"):
        want = op.forward(*inputs, **attrs)
    got = Run(op.native_rule(), inputs, [(shape, want.dtype)], attrs, *how)
    assert got.took
    if exact:
        np.testing.assert_array_equal(got.outputs[0], want)
    else:  # shares of several windows are added in another order
        np.testing.assert_allclose(got.outputs[0], want, rtol=0, atol=32 * np.finfo(want.dtype).eps)
    return want


@pytest.mark.sampled(test=40, quick=2)
@every_how
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("shape", "given"), [*CASES, *OVERLAPPING], ids=str)
def test_pools_and_their_gradients(shape, given, dtype, how):
    attrs, x = attributes(given), numbers(shape, dtype)
    y = CATALOGUE["max_pool"].forward(x, **attrs)
    run("max_pool", (x,), attrs, how, y.shape)
    run("sum_pool", (x,), attrs, how, y.shape)
    g = np.random.default_rng(1).standard_normal(y.shape).astype(dtype)
    extents = shape[-len(given["sizes"]) :]
    exact = (shape, given) in CASES
    run("max_pool_spread", (g, x, y), attrs, how, shape, exact)
    run("sum_pool_spread", (g,), attrs | {"extents": extents}, how, shape, exact)


@every_how
def test_no_numbers_and_infinities(how):
    x = numbers((2, 8, 10), "float32")
    x[0, 0, 0] = x[0, 1, 1] = x[1, 3, 3] = np.nan
    x[0, 2:4, 2:4], x[1, 6, 6] = -np.inf, np.inf
    attrs = attributes(dict(sizes=(2, 2), stride=2))
    y = run("max_pool", (x,), attrs, how, (2, 4, 5))
    run("max_pool_spread", (numbers((2, 4, 5), "float32", 2), x, y), attrs, how, x.shape)


@every_how
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_border_has_no_part_in_a_maximum(value, how):
    attrs = attributes(dict(sizes=(3, 3), stride=2, padding=1))
    x = np.full((2, 6, 9), value, "float32")
    x[1, 2, 3] = 1.0
    y = run("max_pool", (x,), attrs, how, (2, 3, 5))
    g = np.ones(y.shape, "float32")
    run("max_pool_spread", (g, x, y), attrs, how, x.shape, False)


def test_what_is_left_to_the_forward():
    attrs = attributes(dict(sizes=(2, 2, 2), stride=2))
    x = np.zeros((1, 4, 4, 4), "float32")
    assert not Run(CATALOGUE["max_pool"].native_rule(), (x,), [((1, 2, 2, 2), "float32")], attrs).took
