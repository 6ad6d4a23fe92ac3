"""Pools as kernels, against the eager ops."""

import numpy as np
import pytest
from native_calls import HOWS, Run

from tensorgraph.engine.op import CATALOGUE

CASES = [
    ((2, 3, 6, 8), dict(sizes=(2, 2), stride=2)),
    ((2, 7, 40), dict(sizes=(2, 3), stride=(2, 3))),
    ((3, 5, 37), dict(sizes=(2, 2), stride=(3, 2), dilation=(1, 1))),
    ((2, 9, 9), dict(sizes=(2, 2), stride=3, dilation=2)),
    ((4, 33), dict(sizes=(3,), stride=3)),
    ((1, 1, 1), dict(sizes=(1, 1), stride=1)),
]
OVERLAPPING = ((2, 7, 9), dict(sizes=(3, 3), stride=2))


def attributes(given):
    return dict(padding=0, dilation=1) | given


def numbers(shape, dtype, seed=0):
    """With ties."""
    return (np.random.default_rng(seed).integers(-3, 4, shape) / 2).astype(dtype)


def run(name, inputs, attrs, how, shape):
    op = CATALOGUE[name]
    with np.errstate(all="ignore"):
        want = op.forward(*inputs, **attrs)
    got = Run(op.native_rule(), inputs, [(shape, want.dtype)], attrs, *how)
    assert got.took
    np.testing.assert_array_equal(got.outputs[0], want)
    return want


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("shape", "given"), [*CASES, OVERLAPPING], ids=str)
def test_pools_and_their_gradients(shape, given, dtype, how):
    attrs, x = attributes(given), numbers(shape, dtype)
    y = CATALOGUE["max_pool"].forward(x, **attrs)
    run("max_pool", (x,), attrs, how, y.shape)
    run("sum_pool", (x,), attrs, how, y.shape)
    g = np.random.default_rng(1).standard_normal(y.shape).astype(dtype)
    extents = shape[-len(given["sizes"]) :]
    if given is OVERLAPPING[1]:
        rule = CATALOGUE["max_pool_spread"].native_rule()
        assert not Run(rule, (g, x, y), [(shape, dtype)], attrs, *how).took
    else:
        run("max_pool_spread", (g, x, y), attrs, how, shape)
        run("sum_pool_spread", (g,), attrs | {"extents": extents}, how, shape)


@pytest.mark.parametrize("how", HOWS)
def test_no_numbers_and_infinities(how):
    x = numbers((2, 8, 10), "float32")
    x[0, 0, 0] = x[0, 1, 1] = x[1, 3, 3] = np.nan
    x[0, 2:4, 2:4], x[1, 6, 6] = -np.inf, np.inf
    attrs = attributes(dict(sizes=(2, 2), stride=2))
    y = run("max_pool", (x,), attrs, how, (2, 4, 5))
    run("max_pool_spread", (numbers((2, 4, 5), "float32", 2), x, y), attrs, how, x.shape)


def test_padding_is_left_to_the_forward():
    attrs = attributes(dict(sizes=(2, 2), stride=2)) | {"padding": 1}
    x = np.zeros((1, 4, 4), "float32")
    assert not Run(CATALOGUE["max_pool"].native_rule(), (x,), [((1, 3, 3), "float32")], attrs).took
