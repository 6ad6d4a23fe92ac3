"""An LSTM as kernels, against the eager op in a higher precision."""

import numpy as np
import pytest
from native_calls import HOWS, Run

from tensorgraph.engine.op import CATALOGUE

LSTM = CATALOGUE["lstm"]
SIZES = [(1, 1, 1, 1), (3, 4, 5, 6), (9, 3, 17, 16), (8, 2, 4, 33)]  # sequences, steps, inputs, units


def numbers(batch, steps, inputs, units, dtype, bias=True, states=True):
    rng = np.random.default_rng([batch, steps, inputs, units])

    def draw(*shape):
        return rng.standard_normal(shape).astype(dtype)

    x, w, u = draw(batch, steps, inputs), draw(inputs, 4 * units) / 2, draw(units, 4 * units) / 2
    first = [draw(batch, units), draw(batch, units)] if states else [None, None]
    slopes = [draw(batch, steps, units), draw(batch, units), draw(batch, units)]
    return (x, w, u, draw(4 * units) if bias else None, *first, None), slopes


def shapes_of(arrays):
    return [(a.shape, a.dtype) for a in arrays]


def wide(arrays):
    return [None if a is None else a.astype("float64") for a in arrays]


def near(got, want, dtype):
    assert np.isfinite(want).all()
    scale = np.abs(want).max() or 1.0
    np.testing.assert_allclose(got, want, rtol=0, atol=64 * np.finfo(dtype).eps * scale)


def both(given, slopes, how, reverse, dtype, order=1):
    want = tuple(a is not None for a in given)
    exact = LSTM.forward(*wide(given), reverse=reverse)
    forward = Run(LSTM.native_rule(), given, [(a.shape, dtype) for a in exact], {"reverse": reverse}, *how, order=order)
    assert forward.took
    for got, correct in zip(forward.outputs, exact, strict=True):
        near(got, correct, dtype)
    attrs = {"want": want, "reverse": reverse}
    exact_back = LSTM.gradient.forward(*wide(given), *exact, *wide(slopes), **attrs)
    kept = tuple(a.astype(dtype) for a in exact)
    back = Run(
        LSTM.gradient.native_rule(), (*given, *kept, *slopes), shapes_of([a for a in given if a is not None]), attrs,
        *how, order=order,
    )  # fmt: skip
    assert back.took
    for got, correct in zip(back.outputs, exact_back, strict=True):
        near(got, correct, dtype)
    return [*forward.outputs, *back.outputs]


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("reverse", [False, True])
def test_an_lstm(reverse, dtype, how):
    for sizes in SIZES[: 2 if how[0] == "emulate" else None]:
        both(*numbers(*sizes, dtype), how, reverse, dtype)


@pytest.mark.parametrize("how", HOWS[-1:])
def test_what_may_be_absent(how):
    given, (g_y, g_h, g_c) = numbers(5, 3, 4, 7, "float32", bias=False, states=False)
    for slopes in ([g_y, None, None], [None, g_h, None], [None, None, g_c], [g_y, g_h, None]):
        both(given, slopes, how, False, "float32")


@pytest.mark.skipif(len(HOWS) < 3, reason="no machine code here")
def test_blocks_change_no_bit():
    given, slopes = numbers(40, 6, 8, 64, "float32")
    one, other = (both(given, slopes, HOWS[-1], False, "float32", order) for order in (1, -1))
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


def test_lengths_are_left_to_the_forward():
    given, _ = numbers(2, 3, 4, 5, "float32")
    shapes = [((2, 3, 5), "float32"), *[((2, 5), "float32")] * 2]
    run = Run(LSTM.native_rule(), (*given[:6], np.array([1, 3])), shapes, {"reverse": False})
    assert not run.took
