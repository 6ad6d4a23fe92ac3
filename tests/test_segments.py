"""Segments: hostile ids and numbers, zeros, ties, batches; running sums by the kernel and without it."""

from typing import Any

import numpy as np
import pytest

import tensorgraph as tg
from tensorgraph import jit
from tensorgraph.engine.sums import running
from tensorgraph.ops.kernels.running import running_sums

NAN, INF = float("nan"), float("inf")
NAMES = ["segment_sum", "segment_max", "segment_min", "segment_mean", "segment_prod"]


@pytest.mark.parametrize("name", NAMES)
def test_ids_are_checked(name: str) -> None:
    f = getattr(tg, name)
    for ids, words in (([0, -1], r"segment_ids\[1\] is -1"), ([3, 0], r"segment_ids\[0\] is 3")):
        with pytest.raises(IndexError, match=words):
            f([1.0, 2.0], ids, num_segments=3)
    with pytest.raises(TypeError, match="segment_ids are integers"):
        f([1.0, 2.0], [0.0, 1.0], num_segments=3)
    with pytest.raises(ValueError, match="expected shape"):
        f([1.0, 2.0], [0], num_segments=3)
    with pytest.raises(ValueError, match="expected shape"):
        f(tg.tensor(1.0), 0, num_segments=3)
    with pytest.raises((TypeError, ValueError), match="num_segments"):
        f([1.0], [0], num_segments=-1)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i4"])
def test_large_and_small_agree_with_a_loop(name: str, dtype: str) -> None:
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 40, 900).astype("u1")
    x = (3 * rng.standard_normal((900, 3))).astype(dtype)
    if name == "segment_prod":
        x = (1 + x * 0.01).astype(dtype)
    function = getattr(np, name.removeprefix("segment_"))
    wide = x.astype("f8" if dtype != "i4" else "i8")
    expected = np.array([function(wide[ids == i], axis=0) for i in range(40)])
    out = getattr(tg, name)(x, ids, num_segments=40)
    assert out.dtype == (x.dtype if dtype != "i4" or name != "segment_mean" else np.float32)
    assert np.allclose(out.numpy().astype("f8"), expected, rtol=16 * np.finfo(dtype if dtype != "i4" else "f4").eps)


def test_hostile_numbers() -> None:
    x, ids = [NAN, 1.0, INF, -INF, 5.0, 5.0], [0, 0, 1, 1, 2, 2]
    assert np.array_equal(tg.segment_max(x, ids, 4).numpy(), [NAN, INF, 5, -INF], equal_nan=True)
    assert np.array_equal(tg.segment_sum(x, ids, 4).numpy(), [NAN, NAN, 10, 0], equal_nan=True)
    assert np.array_equal(tg.segment_mean(x, ids, 4).numpy(), [NAN, NAN, 5, 0], equal_nan=True)
    g = tg.grad(lambda x: (tg.segment_max(x, ids, 3) * tg.tensor([1.0, 1.0, 4.0])).sum())(tg.tensor(x))
    assert g.tolist() == [1.0, 0.0, 1.0, 0.0, 2.0, 2.0]
    assert tg.segment_max(np.array([3], "i1"), [1], 2).tolist() == [-128, 3]
    assert tg.segment_sum([True, True], [0, 0], 1).tolist() == [2]
    many = np.full(5000, 1e16)
    many[::2] = 1.0
    many[1::4] *= -1
    assert tg.segment_sum(many, np.zeros(5000, int), 1).item() == np.sum(many.astype(np.longdouble))


def test_products_with_zeros_to_second_order() -> None:
    ids = np.array([0, 0, 0, 1, 1, 1, 2, 2, 2, 3])
    x = np.array([2.0, 3.0, 4.0, 0.0, 5.0, 2.0, 0.0, 0.0, 7.0, 0.0])

    def segments(x: Any) -> Any:
        return tg.segment_prod(x, ids, num_segments=5).sum()

    def plain(x: Any) -> Any:
        return sum(tg.prod(x[np.flatnonzero(ids == i)]) for i in range(4))

    assert np.array_equal(tg.grad(segments)(x).numpy(), tg.grad(plain)(x).numpy())
    assert np.array_equal(tg.hessian(segments)(x).numpy(), tg.hessian(plain)(x).numpy())


@pytest.mark.parametrize("name", NAMES)
def test_batches_of_data_and_of_ids(name: str) -> None:
    f = getattr(tg, name)
    rng = np.random.default_rng(0)
    x, ids = rng.random((3, 6, 2)), rng.integers(0, 4, (3, 6))
    both = tg.vmap(lambda x, i: f(x, i, num_segments=4))(x, ids)
    shared = tg.vmap(lambda i: f(x[0], i, num_segments=4))(ids)
    for k in range(3):
        assert np.allclose(both[k].numpy(), f(x[k], ids[k], 4).numpy(), rtol=1e-14)
        assert np.allclose(shared[k].numpy(), f(x[0], ids[k], 4).numpy(), rtol=1e-14)


@pytest.mark.parametrize(
    ("shape", "axis"), [((3000,), 0), ((5, 700), 1), ((700, 5), 0), ((3, 300, 4), 1), ((600, 600), 0)]
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_running_sums_are_rounded_once(shape: tuple[int, ...], axis: int, dtype: Any) -> None:
    x = (np.random.default_rng(0).standard_normal(shape) + 1).astype(dtype)
    for given in (x, np.flip(x, axis), np.flip(x), x.T.copy().T, np.asfortranarray(x)):
        exact = np.cumsum(given.astype(np.longdouble), axis)
        for out in (running_sums(given, axis), running(given, axis)):
            assert out.dtype == dtype and out.shape == shape
        got = running_sums(given, axis).astype(np.longdouble)
        # without compiled kernels float64 has no wider float to be added in: as accurate as every other sum
        once = dtype == np.float32 or jit.compiled()
        scale = np.abs(exact) if once else 8 * np.abs(exact).max(axis, keepdims=True)
        assert np.all(np.abs(got - exact) <= np.finfo(dtype).eps * scale)
    x.flat[7] = INF
    expected = np.cumsum(x, axis)
    assert np.array_equal(np.isfinite(running_sums(x, axis)), np.isfinite(expected))
