"""Activations, distances and places in order that are composed of ops: PyTorch's values and slopes, refusals.

What PyTorch 2.13 gives in float64 was recorded: the sum of squares of the result unless another number is said, and
its gradient times cos(0), cos(1), ..., summed.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tensorgraph as tg

X = np.array([[0.5, -1.25, 2.0, 0.75], [-0.5, 1.5, 0.25, -2.0], [1.0, 0.0, -0.75, 3.0]])
Y = np.array([[0.25, 1.0, -1.5, 0.5], [2.0, -0.25, 0.75, 1.25], [-1.0, 0.5, 1.75, 0.0]])
NAN, INF = float("nan"), float("inf")


def squares(x: tg.Tensor) -> tg.Tensor:
    return tg.square(x).sum()


TORCH: dict[str, tuple[Callable[[Any], tg.Tensor], float, float]] = {
    "glu": (lambda x: squares(tg.glu(x)), 1.128614581844029, -0.1440620184819957),
    "glu of rows": (lambda x: squares(tg.glu(x[:2], axis=0)), 2.352215451282578, -0.1549410254853978),
    "softmin": (lambda x: squares(tg.softmin(x, axis=0)), 2.4955358314175404, 0.09591749136125403),
    "threshold": (lambda x: squares(tg.threshold(x, 0.6, -2.0)), 44.8125, -2.563035414388481),
    "hardshrink": (lambda x: squares(tg.hardshrink(x, 0.7)), 22.9375, -5.670792902817371),
    "softshrink": (lambda x: squares(tg.softshrink(x, 0.7)), 9.7075, -3.2646345823214875),
    "tanhshrink": (lambda x: squares(tg.tanhshrink(x)), 6.7676226967586635, -2.29819168165174),
    "normalize": (lambda x: (tg.normalize(x) * Y).sum(), -3.63621238360256, -0.5593668793605351),
    "normalize cubes": (
        lambda x: (tg.normalize(x, p=3.0, axis=0) * Y).sum(), -5.344242310788943, -0.7626392562144017
    ),
    "pairwise_distance": (lambda x: squares(tg.pairwise_distance(x, Y)), 57.06249850001199, -2.387842533062653),
    "pairwise_distance 1": (
        lambda x: squares(tg.pairwise_distance(x, Y, p=1.0)), 167.062493000008, 1.4872503611835302
    ),
    "cdist": (lambda x: tg.cdist(x, Y[:2]).sum(), 19.51272885898165, -1.0687448120243348),
    "pdist": (lambda x: squares(tg.pdist(x, p=1.5)), 89.28930776191346, -6.069447043634131),
    "kthvalue": (lambda x: squares(tg.kthvalue(x, 2, axis=1)[0]), 0.5, 1.6536436208636118),
    "quantile": (
        lambda x: squares(tg.quantile(X, tg.sigmoid(x).flatten(), axis=1)), 39.89327910859474, -6.270535466675055
    ),
    "nanquantile": (
        lambda x: squares(tg.nanquantile(X, tg.sigmoid(x).flatten(), axis=1)), 39.89327910859474, -6.270535466675055
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TORCH)
def test_pytorchs_numbers(name: str) -> None:
    function, value, slope = TORCH[name]
    found, gradient = tg.value_and_grad(function)(X)
    assert abs(float(found) - value) < 1e-12 * max(1.0, abs(value))
    along = float((gradient.numpy() * np.cos(np.arange(12.0)).reshape(3, 4)).sum())
    assert abs(along - slope) < 1e-12 * max(1.0, abs(slope))


def test_what_is_no_number_passes_the_shrinkers() -> None:
    x = [NAN, INF, -INF]
    for f in (tg.hardshrink, tg.softshrink, tg.tanhshrink):
        assert np.array_equal(f(x).numpy(), x, equal_nan=True)
    for f in (tg.hardshrink, tg.softshrink):
        assert tg.grad(lambda x, f=f: f(x).sum())(tg.tensor([NAN, 1.0, -1.0, 0.5, -0.25])).tolist() == [1, 1, 1, 0, 0]
    assert np.array_equal(tg.threshold(x, 0.0, 7.0).numpy(), [NAN, INF, 7.0], equal_nan=True)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_zeros_stay_zeros_and_long_vectors_get_the_length_1(dtype: str) -> None:
    far = float(np.finfo(dtype).max) / 2
    x = tg.tensor(np.array([[0.0, 0.0], [far, far], [-far, 0.0]], dtype))
    found = tg.normalize(x)
    assert found.dtype == dtype
    assert np.allclose(found.numpy(), [[0.0, 0.0], [0.5**0.5, 0.5**0.5], [-1.0, 0.0]], atol=1e-3)
    assert np.isfinite(tg.grad(lambda x: tg.normalize(x).sum())(x).numpy()).all()


def test_of_equal_vectors_the_distance_has_the_slope_0() -> None:
    assert not tg.grad(lambda x: tg.cdist(x, x).sum())(X[:1]).numpy().any()
    assert not tg.grad(lambda x: tg.pdist(x).sum())(np.ones((3, 2))).numpy().any()


def test_powers_in_float64_take_numbers_with_all_their_digits() -> None:
    assert float(tg.float_power(tg.tensor(2.086, "float64"), 3.7294153891750668)) == 2.086**3.7294153891750668
    whole = tg.trace(lambda x, s: tg.kron(x, s) + tg.lerp(s, x, 0.3) + tg.addcmul(s, x, x), X, 0.1)
    assert np.allclose(whole(X, 0.1).numpy(), X * 0.1 + 0.1 + 0.3 * (X - 0.1) + 0.1 + X * X, rtol=1e-15, atol=1e-15)


def test_areas_up_to_each_sample() -> None:
    x = np.array([0.0, 0.5, 2.0, 2.25])
    found = tg.cumulative_trapezoid(X, x).numpy()
    assert np.allclose(found, np.cumsum((X[:, 1:] + X[:, :-1]) / 2 * np.diff(x), axis=1), rtol=1e-15)


def test_no_differences_leave_out_what_is_put_before() -> None:
    assert tg.numpy.diff(X, n=0, prepend=1.0).tolist() == np.diff(X, n=0, prepend=1.0).tolist() == X.tolist()


def test_of_equal_elements_the_first_is_the_kth() -> None:
    value, index = tg.kthvalue([[2.0, 1.0, 1.0], [NAN, 5.0, 4.0]], 2, keepdims=True)
    assert value.tolist() == [[1.0], [5.0]] and index.tolist() == [[2], [1]]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: tg.glu(np.ones((2, 3))), "even size, got 3"),
        (lambda: tg.kthvalue(X, 5), "k must be from 1 to 4, the size of axis -1, got 5"),
        (lambda: tg.hardshrink(X, -1.0), "lambd must be a finite number that is not negative"),
        (lambda: tg.cdist(X, X[:, :2]), r"vectors of a and b need one length, got shapes \(3, 4\) and \(3, 2\)"),
        (lambda: tg.cdist(X[0], X), r"a needs the shape \(\.\.\., vectors, elements\), got \(4,\)"),
        (lambda: tg.pdist(X[0]), r"x needs the shape \(vectors, elements\), got \(4,\)"),
        (lambda: tg.tensor(X[0]).mT, r"the last two axes are exchanged where there are two, got shape \(4,\)"),
        (
            lambda: tg.conv_transpose1d(np.ones((1, 2, 3)), np.ones((2, 2, 2)), 0.5, 1, 0, 1, 1, 2),
            r"the bias must have shape \(2,\)",
        ),
        (lambda: tg.split(X, 2), "one a part; a number of parts is given to tensorgraph.chunk"),
        (lambda: tg.pad(X, -1), r"must not be negative, got -1; elements are cut off by a slice"),
        (lambda: tg.quantile(X, tg.tensor(1.5)), "q must be from 0 to 1"),
    ],
)  # fmt: skip
def test_refusals(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
