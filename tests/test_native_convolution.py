"""Convolutions as kernels, against the eager ops in a higher precision."""

import numpy as np
import pytest
from native_calls import HOWS, Run, every_how

from tensorgraph.engine.op import CATALOGUE
from tensorgraph.ops.windows import windows

# images, channels of x and y, sizes, window, attributes
CASES = [
    ((2, 3, 4, (6, 7), (3, 2)), {}),
    ((1, 1, 6, (9, 9), (5, 5)), {}),
    ((3, 2, 5, (5, 20), (1, 3)), dict(padding=(0, 1))),
    ((2, 4, 6, (8, 7), (3, 3)), dict(stride=2, padding=1)),
    ((2, 4, 9, (11, 9), (3, 2)), dict(stride=(2, 3), padding=((1, 0), (2, 1)), dilation=(2, 1))),
    ((2, 6, 4, (5, 5), (2, 2)), dict(groups=2, padding=1)),
    ((2, 3, 3, (7, 6), (3, 3)), dict(groups=3, dilation=2)),
    ((2, 3, 10, (12,), (4,)), dict(stride=3, padding=2)),
    ((2, 2, 17, (1, 1), (1, 1)), {}),
    ((1, 2, 3, (3, 40), (3, 3)), dict(padding="same")),
    ((2, 2, 3, (4, 5, 6), (2, 3, 2)), {}),
    ((1, 2, 4, (3, 5, 4), (3, 2, 2)), dict(padding=1)),
    ((2, 2, 2, (7, 6, 5), (3, 2, 2)), dict(stride=(2, 1, 3), padding=((1, 0), (0, 2), (1, 1)), dilation=(2, 1, 1))),
    ((1, 4, 4, (5, 3, 3), (2, 1, 3)), dict(stride=(3, 1, 1), groups=2)),
    ((1, 1, 9, (270,), (2,)), dict(padding=1)),
    ((2, 4, 32, (7, 6), (3, 3)), dict(groups=2, stride=2, padding=1)),
    ((2, 2, 16, (3, 4, 5), (2, 2, 2)), dict(stride=(2, 1, 2), padding=1)),
]


def attributes(**given):
    return dict(stride=1, padding=0, dilation=1, groups=1) | given


def numbers(sizes, attrs, dtype):
    n, inputs, outputs, shape, window = sizes
    rng = np.random.default_rng(3)
    win = windows(shape, window, attrs["stride"], attrs["padding"], attrs["dilation"])
    x = rng.standard_normal((n, inputs, *shape)).astype(dtype)
    w = rng.standard_normal((outputs, inputs // attrs["groups"], *window)).astype(dtype)
    y = rng.standard_normal((n, outputs, *win.outputs)).astype(dtype)
    return x, w, y, win


def near(got, want, dtype):
    assert np.isfinite(want).all()
    np.testing.assert_allclose(got, want, rtol=0, atol=32 * np.finfo(dtype).eps * max(np.abs(want).max(), 1.0))


def run(name, inputs, attrs, how, dtype, order=1):
    op = CATALOGUE[name]
    exact = op.forward(*[None if a is None else a.astype("float64") for a in inputs], **attrs)
    got = Run(op.native_rule(), inputs, [(exact.shape, dtype)], attrs, *how, order=order)
    assert got.took
    near(got.outputs[0], exact, dtype)
    return got.outputs[0]


@pytest.mark.sampled(test=40, quick=2)
@every_how
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("sizes", "given"), CASES, ids=str)
def test_a_convolution_and_its_gradients(sizes, given, dtype, how):
    if how[0] == "emulate" and (dtype == "float64" or sizes[0] > 2):
        pytest.skip("as the others, and slow")
    attrs = attributes(**given)
    x, w, y, win = numbers(sizes, attrs, dtype)
    bias = np.arange(len(w)).astype(dtype)
    run("convolution", (x, w, bias), attrs, how, dtype)
    told = dict(stride=win.stride, padding=win.edges, dilation=win.dilation, groups=attrs["groups"])
    left = tuple(
        n + lo + hi - d * (k - 1) - 1 - s * (o - 1)
        for n, (lo, hi), d, k, s, o in zip(
            win.sizes, win.edges, win.dilation, win.kernel, win.stride, win.outputs, strict=True
        )
    )
    run("transposed_convolution", (y, w, None), told | {"output_padding": left}, how, dtype)
    run("convolution_weight", (x, y), told | {"sizes": win.kernel}, how, dtype)


@pytest.mark.parametrize("how", HOWS[-1:])
def test_any_layout(how):
    attrs = attributes(padding=1)
    x, w, _, _ = numbers((4, 3, 5, (6, 7), (3, 3)), attrs, "float32")
    plain = run("convolution", (x, w, None), attrs, how, "float32")
    turned = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(run("convolution", (turned, w, None), attrs, how, "float32"), plain)
    other = np.ascontiguousarray(w.transpose(3, 2, 1, 0)).transpose(3, 2, 1, 0)
    np.testing.assert_array_equal(run("convolution", (x, other, None), attrs, how, "float32"), plain)


@pytest.mark.skipif(len(HOWS) < 3, reason="no machine code here")
def test_blocks_change_no_bit_and_long_sums_are_accurate():
    attrs = attributes(padding=1)
    x, w, y, win = numbers((8, 70, 24, (10, 11), (3, 3)), attrs, "float32")
    told = dict(stride=win.stride, padding=win.edges, dilation=win.dilation, groups=1)
    for name, inputs, more in (
        ("convolution", (x, w, None), attrs),
        ("transposed_convolution", (y, w, None), told | {"output_padding": 0}),
        ("convolution_weight", (x, y), told | {"sizes": win.kernel}),
    ):
        one, other = (run(name, inputs, more, HOWS[-1], "float32", order) for order in (1, -1))
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("how", HOWS[-1:])
def test_three_axes_in_any_layout(how):
    attrs = attributes(padding=(1, 0, 1))
    x, w, _, _ = numbers((2, 3, 4, (4, 5, 6), (2, 2, 3)), attrs, "float32")
    plain = run("convolution", (x, w, None), attrs, how, "float32")
    for order in ((0, 2, 3, 4, 1), (2, 0, 4, 1, 3)):
        turned = np.ascontiguousarray(x.transpose(order)).transpose(np.argsort(order))
        np.testing.assert_array_equal(run("convolution", (turned, w, None), attrs, how, "float32"), plain)


def test_four_axes_are_left_to_the_forward():
    x, w = np.zeros((1, 2, 3, 4, 5, 3), "float32"), np.zeros((2, 2, 2, 2, 2, 2), "float32")
    op = CATALOGUE["convolution"]
    assert not Run(op.native_rule(), (x, w, None), [((1, 2, 2, 3, 4, 2), "float32")], attributes()).took


@pytest.mark.filterwarnings("ignore:invalid value encountered")
@pytest.mark.parametrize("how", HOWS[-1:])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize(("sizes", "given"), CASES, ids=str)
def test_what_is_not_finite_stays_where_it_belongs(sizes, given, bad, how):
    """No number outside of an image, and none of a window that nobody asks for, is a term of any sum."""
    attrs = attributes(**given)
    x, w, y, win = numbers(sizes, attrs, "float64")
    told = dict(stride=win.stride, padding=win.edges, dilation=win.dilation, groups=attrs["groups"])
    size = tuple((o - 1) * s + (k - 1) * d + 1 - lo - hi for o, s, k, d, (lo, hi) in zip(
        win.outputs, win.stride, win.kernel, win.dilation, win.edges, strict=True))  # fmt: skip
    rng = np.random.default_rng(5)
    for name, inputs, more, shape in (
        ("convolution", (x, w), attrs, y.shape),
        ("transposed_convolution", (y, w), told | {"output_padding": 0}, (*x.shape[:2], *size)),
        ("convolution_weight", (x, y), told | {"sizes": win.kernel}, w.shape),
    ):
        op = CATALOGUE[name]
        for _ in range(6):
            arrays = [a.copy() for a in inputs]
            for a in (arrays[0], arrays[1], *arrays)[rng.integers(3) :][:1]:
                a.reshape(-1)[rng.choice(a.size, 2)] = bad
            given_to = (*arrays, None)[: len(op.inputs)]
            exact = op.oracle(*given_to, **more)
            got = Run(op.native_rule(), given_to, [(shape, "float64")], more, *how).outputs[0]
            np.testing.assert_allclose(got, exact, rtol=1e-11, atol=1e-12)
