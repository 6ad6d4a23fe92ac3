"""Convolutions: values of PyTorch, both implementations, batches, what is refused."""

import math
from typing import Any
from unittest import mock

import numpy as np
import pytest

import tensorgraph as tg
from tensorgraph.engine.op import CATALOGUE
from tensorgraph.ops.kernels import convolution
from tensorgraph.ops.kernels import convolution_rows as rows
from tensorgraph.ops.windows import convolution_windows
from tensorgraph.testing.compare import assert_close

# computed in float64 by PyTorch 2.13, of sin(1 + 0.7 n) in each input
RECORDED: list[Any] = [
    ("conv1d", [(1, 2, 6), (2, 1, 3), (2,)], dict(stride=2, padding=1, groups=2), (1, 2, 3),
     [2.345761216368, 2.373847422864, -0.390583636034, 1.897689213009, -0.04582768039, -0.226392511161]),
    ("conv2d", [(1, 2, 4, 5), (1, 2, 2, 3)], dict(padding="same"), (1, 1, 4, 5),
     [2.614127903366, 2.860452118735, 3.147499560853, 1.954228778464, 1.581831776054, -3.024865132126,
      -3.201258921988, -2.700772997277, -0.930071331205, -0.481285612159, 3.051182458899, 3.135228531755,
      1.910814307457, -0.212285742935, -0.680425516048, -0.97149615922, -1.209849002603, -0.342328902981,
      0.68619382875, 1.15949279312]),
    ("conv2d", [(2, 3, 5), (1, 2, 2, 2)], dict(stride=(1, 2), dilation=(1, 2)), (1, 2, 2),
     [0.581684415888, -0.532555630871, -0.319959348014, 0.737993817125]),
    ("conv3d", [(1, 1, 2, 3, 3), (2, 1, 2, 2, 2), (2,)], dict(padding=(0, 1, 0)), (1, 2, 1, 4, 2),
     [0.329867578819, 0.417468384431, 1.259925773662, 1.557379090836, 1.160637049584, 0.653035672424,
      0.613141427307, 0.734878512734, 0.781264403349, 0.869692670464, 1.658228589372, 1.703655368955,
      0.926053173689, 0.468742661644, 0.600702644845, 0.926563005833]),
    ("conv_transpose1d", [(1, 2, 3), (2, 1, 3), (2,)], dict(stride=2, padding=1, output_padding=1, groups=2), (1, 2, 6),
     [1.675928149459, 2.244310817199, 1.824870081098, 2.079686719457, 1.511304051717, 1.297721493088,
      0.966223354032, 0.925577004191, 1.366034889161, 1.549127976739, 1.58977432658, 1.947229941395]),
    ("conv_transpose2d", [(1, 1, 2, 2), (1, 1, 2, 2), (1,)], dict(dilation=2, output_padding=1), (1, 1, 5, 5),
     [1.549544403081, 1.675928149459, 1.675928149459, 1.824870081098, 0.841470984808, 1.409853652548,
      0.876459905775, 1.511304051717, 0.882705064538, 0.841470984808, 1.409853652548, 1.511304051717,
      0.876459905775, 0.882705064538, 0.841470984808, 1.297721493088, 0.869557191305, 0.869557191305,
      0.843199936296, 0.841470984808, 0.841470984808, 0.841470984808, 0.841470984808, 0.841470984808,
      0.841470984808]),
]  # fmt: skip


def wave(shape: tuple[int, ...], dtype: str = "float64") -> np.ndarray:
    return np.sin(1.0 + 0.7 * np.arange(np.prod(shape))).reshape(shape).astype(dtype)


@pytest.mark.parametrize(
    ("name", "shapes", "options", "shape", "values"), RECORDED, ids=lambda v: v if isinstance(v, str) else None
)
@pytest.mark.parametrize("implementation", ["fused", "composed"])
def test_values_are_those_of_pytorch(
    name: str, shapes: list[tuple[int, ...]], options: dict[str, Any], shape: tuple[int, ...], values: list[float],
    implementation: Any,
) -> None:  # fmt: skip
    with tg.implementation(implementation):
        y = getattr(tg, name)(*map(wave, shapes), **options)
    assert y.shape == shape
    np.testing.assert_allclose(y.numpy().ravel(), values, rtol=0, atol=1e-11)


SIZES: list[Any] = [
    ((2, 3, 9, 8), (4, 3, 3, 3), dict(padding=1)),
    ((2, 5, 9, 8), (7, 5, 2, 3), dict(padding=((0, 1), (2, 0)), dilation=(2, 1))),
    ((2, 6, 9, 8), (6, 1, 3, 3), dict(padding="same", groups=6)),
    ((3, 4, 9, 8), (6, 2, 5, 3), dict(groups=2)),
    ((3, 4, 9, 8), (6, 4, 3, 3), dict(stride=2, padding=1)),
    ((3, 4, 5, 6), (6, 4, 1, 1), {}),
    ((2, 3, 40), (5, 3, 7), dict(padding="same")),
    ((1, 3, 4, 5, 6), (5, 3, 2, 3, 3), dict(padding=1)),
    ((1, 2, 40, 70), (3, 2, 3, 3), {}),
    ((2, 2, 3, 3), (3, 2, 2, 2), dict(padding=3)),
]


@pytest.mark.sampled(test=15, quick=2)
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize(("x", "w", "options"), SIZES)
def test_both_implementations_give_one_value_and_gradient(x: Any, w: Any, options: dict[str, Any], dtype: str) -> None:
    rng = np.random.default_rng(0)
    inputs = [tg.tensor(rng.normal(size=s).astype(dtype), requires_grad=True) for s in (x, w, w[:1])]
    results = []
    for implementation in ("fused", "composed"):
        y = tg.convolution(*inputs, **options, impl=implementation)
        g = np.cos(np.arange(y.size)).reshape(y.shape).astype(dtype)
        results.append([y, *tg.gradients(y, inputs, g)])
    for a, b in zip(*results, strict=True):
        assert a.dtype == b.dtype == dtype
        assert_close(a.detach(), b.detach(), order=1)


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("outputs", [4, 8, 20, 24])
def test_sums_of_rows_are_those_of_columns(groups: int, outputs: int) -> None:
    """Compiled or not, and with strips that end inside an image."""
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(2, 4, 5, 6)), rng.normal(size=(outputs, 4 // groups, 2, 3))
    win = convolution.deep(convolution_windows(x, w, 1, ((1, 0), (2, 1)), 1, groups))
    x = x[:, :, None]
    columns = convolution.columns(x, win).reshape(groups, -1, 2 * math.prod(win.outputs))
    y = np.matmul(w.reshape(groups, outputs // groups, -1), columns)
    y = y.reshape(outputs, 2, *win.outputs).swapaxes(0, 1)
    with mock.patch.object(rows, "STRIP", 16):
        np.testing.assert_allclose(rows.by_rows(x, w, win, groups), y, rtol=0, atol=1e-13)
        seen = np.matmul(w.reshape(groups, outputs // groups, -1).swapaxes(1, 2), convolution._side_by_side(y, groups))
        back = convolution.scattered(seen.reshape(4, *win.kernel, 2, *win.outputs), win)
        np.testing.assert_allclose(rows.back_by_rows(np.ascontiguousarray(y), w, win, groups), back, rtol=0, atol=1e-12)
        product = np.matmul(convolution._side_by_side(y, groups), columns.swapaxes(1, 2))
        found = rows.weight_by_rows(x, np.ascontiguousarray(y), win, groups)
        np.testing.assert_allclose(found, product.reshape(found.shape), rtol=0, atol=1e-12)


@pytest.mark.filterwarnings("ignore:invalid value encountered in matmul")
@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("place", [0, 1])
def test_what_is_not_finite_stays_where_it_belongs(bad: float, place: int) -> None:
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=s) for s in ((1, 2, 6, 5), (3, 2, 3, 3))]
    arrays[place][0, 1, 1, 2] = bad
    inputs = [tg.tensor(a, requires_grad=True) for a in arrays]
    g = rng.normal(size=(1, 3, 6, 5))
    found, expected = (
        [(y := tg.convolution(*inputs, padding=1, impl=how)), *tg.gradients(y, inputs, g)]
        for how in ("fused", "composed")
    )
    for a, b in zip(found, expected, strict=True):
        assert (np.isnan(a.detach().numpy()) == np.isnan(b.detach().numpy())).all()
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-12, atol=1e-12)


def test_no_images_and_no_channels() -> None:
    assert tg.conv2d(tg.ones((0, 2, 5, 5)), tg.ones((3, 2, 3, 3))).shape == (0, 3, 3, 3)
    assert tg.conv2d(tg.ones((2, 0, 5, 5)), tg.ones((3, 0, 3, 3)), tg.ones((3,))).numpy().sum() == 2 * 3 * 9
    w = tg.tensor(np.ones((3, 2, 3, 3)), requires_grad=True)
    tg.conv2d(np.ones((0, 2, 5, 5)), w).sum().backward()
    assert not w.grad.numpy().any()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda x, w: tg.conv2d(x, w[..., 0]), "must have 4 axes"),
        (lambda x, w: tg.conv2d(x, tg.ones((4, 3, 6, 3))), "a window spans 6 elements, and axis -2 has 5"),
        (lambda x, w: tg.conv2d(tg.moveaxis(x, 1, -1), w), "channels last"),
        (lambda x, w: tg.conv2d(x, w, groups=2), "groups of 3"),
        (lambda x, w: tg.conv2d(x, w, groups=3), "groups must divide"),
        (lambda x, w: tg.conv2d(x, w, tg.ones((3,))), r"bias must have shape \(4,\)"),
        (lambda x, w: tg.conv2d(x, w, padding="full"), "'same' or 'valid'"),
        (lambda x, w: tg.conv2d(x, w, stride=0), "stride must be at least 1"),
        (lambda x, w: tg.conv2d(x, w, padding=(1, 2, 3)), "one integer or 2"),
        (lambda x, w: tg.conv2d(x[0, 0], w), "x must have 4 axes"),
        (lambda x, w: tg.conv_transpose2d(x, w), "the weight, .*, takes 4"),
        (lambda x, w: tg.conv_transpose2d(x, tg.ones((3, 4, 2, 2)), output_padding=1), "less than stride"),
        (lambda x, w: tg.conv_transpose2d(x, tg.ones((3, 4, 2, 2)), padding=9), "cuts more away"),
    ],
)  # fmt: skip
def test_what_is_refused(call: Any, words: str) -> None:
    with pytest.raises((ValueError, TypeError), match=words):
        call(tg.ones((2, 3, 5, 5)), tg.ones((4, 3, 3, 3)))


def test_cost() -> None:
    """As PyTorch's counter, and the bias."""
    graph = tg.trace(lambda x, w: tg.conv2d(x, w), tg.spec((64, 1, 28, 28)), tg.spec((6, 1, 5, 5)))
    assert graph.cost().flops == 2 * 64 * 6 * 24 * 24 * 25
    (eq,) = graph.equations
    assert eq.op is CATALOGUE["convolution"]
