"""Reductions in generated kernels: every choice of axes, strides and lengths, against sums in wider floats."""

import itertools

import numpy as np
import pytest
from regions_running import run_graph

import tensorgraph as tg
from tensorgraph.native import machine

WAYS = [64, 32, *([0] if machine.available() else [])]
SHAPES = [
    (),
    (1,),
    (5,),
    (0,),
    (3, 0),
    (0, 3),
    (67,),
    (7, 10),
    (10, 64),
    (33, 1),
    (40, 3),
    (2, 20, 4),
    (2, 3, 20),
    (3, 17, 2, 5),
]


def axes_of(shape):
    every = [axes for n in range(len(shape) + 1) for axes in itertools.combinations(range(len(shape)), n)]
    return [None, *every]


def wide(function, x, axis):
    return function(x.astype(np.longdouble if x.dtype.kind == "f" else x.dtype), axis=axis)


@pytest.mark.sampled(test=84, quick=2)
@pytest.mark.parametrize("width", WAYS)
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "bool"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_sums_over_any_axes(shape, dtype, width):
    x = (np.random.default_rng(0).normal(size=shape) * 3).astype(dtype)
    for axis in axes_of(shape):
        graph = tg.trace(lambda x, axis=axis: tg.sum(x, axis=axis), x)
        (found,), count = run_graph(graph, [x], width=width)
        expected = np.asarray(graph(x))
        assert count == 1
        assert found.dtype == expected.dtype
        assert found.shape == expected.shape
        if x.dtype.kind == "f":
            scale = np.abs(x).astype(np.longdouble).sum(axis)
            assert (np.abs(found - wide(np.sum, x, axis)) <= 4 * np.finfo(dtype).eps * scale).all()
        else:
            np.testing.assert_array_equal(found, expected)


@pytest.mark.sampled(test=60, quick=2)
@pytest.mark.parametrize("width", WAYS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(5,), (67,), (7, 10), (33, 1), (2, 3, 20)], ids=str)
@pytest.mark.parametrize("function", ["max", "min", "all", "any", "mean"])
def test_extrema_truths_and_means(function, shape, dtype, width):
    x = np.random.default_rng(0).normal(size=shape).round().astype(dtype)
    x.reshape(-1)[3] = np.nan
    for axis in axes_of(shape):
        graph = tg.trace(lambda x, axis=axis: getattr(tg, function)(x, axis=axis, keepdims=True), x)
        (found,), count = run_graph(graph, [x], width=width)
        expected = np.asarray(graph(x))
        assert count == 1
        assert found.dtype == expected.dtype
        np.testing.assert_allclose(found, expected, rtol=4 * np.finfo(dtype).eps, strict=True)


@pytest.mark.parametrize("width", WAYS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("function", ["argmax", "argmin"])
def test_places_of_extrema(function, dtype, width):
    rng = np.random.default_rng(0)
    whole = rng.integers(-3, 4, (9, 70)).astype(dtype)
    odd = whole.copy()
    odd[rng.random(odd.shape) < 0.02], odd[rng.random(odd.shape) < 0.05], odd[4] = np.nan, np.inf, np.nan
    least = np.full((3, 40), -np.inf, dtype)
    for x in (
        whole,
        odd,
        least,
        -least,
        whole.reshape(6, 3, 35),
        whole[:1, :1],
        np.array(3, dtype),
        whole[:, :4].copy(),
    ):
        for axis in (*range(x.ndim), None):
            graph = tg.trace(lambda x, axis=axis: getattr(tg, function)(x * 1.0, axis=axis), x)
            (found,), count = run_graph(graph, [x], width=width)
            assert count == 1
            np.testing.assert_array_equal(found, getattr(np, function)(x, axis), strict=True)


@pytest.mark.parametrize("width", WAYS)
@pytest.mark.parametrize("dtype", ["float32", "int64", "bool"])
def test_products(dtype, width):
    rng = np.random.default_rng(0)
    for shape in ((5,), (67,), (7, 10), (40, 3), (2, 3, 20)):
        x = (
            rng.uniform(0.5, 1.5, shape).astype(dtype)
            if dtype == "float32"
            else rng.integers(1, 4, shape).astype(dtype)
        )
        x.reshape(-1)[2] = 0 if shape == (5,) else 1
        for axis in axes_of(shape):
            graph = tg.trace(lambda x, axis=axis: tg.prod(x, axis=axis), x)
            (found,), count = run_graph(graph, [x], width=width)
            assert count == 1
            exact = np.prod(x, axis, np.float64 if dtype == "float32" else np.int64)
            np.testing.assert_allclose(found, exact, rtol=1e-7 if dtype == "float32" else 0)
            assert found.dtype == graph(x).dtype


@pytest.mark.parametrize("width", WAYS)
def test_means_of_integers_and_truths(width):
    x = np.random.default_rng(0).integers(-9, 9, (7, 40))
    for values in (x, x > 0):
        for axis in (0, 1, None):
            graph = tg.trace(lambda x, axis=axis: tg.mean(x, axis=axis), values)
            (found,), count = run_graph(graph, [values], width=width)
            assert count == 1
            np.testing.assert_allclose(found, np.asarray(graph(values)), rtol=1e-6, strict=True)


@pytest.mark.parametrize("width", WAYS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_what_is_not_finite_stays_in_its_sum(value, dtype, width):
    x = np.ones((20, 21), dtype)
    x[3, 4] = value
    x[5, 4] = 1.0
    x[6, 7] = np.inf
    for axis in (0, 1, None):
        graph = tg.trace(lambda x, axis=axis: (x.sum(axis), x.mean(axis)), x)
        with np.errstate(all="ignore"):
            expected = [x.sum(axis), x.mean(axis)]
        found, _ = run_graph(graph, [x], width=width)
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("width", WAYS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_strides_of_what_is_folded(dtype, width):
    base = np.random.default_rng(0).normal(size=(12, 26, 9)).astype(dtype)
    for x in (base.T, base[::2, ::-1], base.transpose(1, 0, 2)[:, 1:], np.broadcast_to(base[:1], base.shape)):
        for axis in ((0,), (1,), (2,), (0, 2), (0, 1), (0, 1, 2)):
            graph = tg.trace(lambda x, axis=axis: tg.sum(x * 2.0, axis=axis), np.ascontiguousarray(x))
            (found,), count = run_graph(graph, [x], width=width)
            assert count == 1
            scale = np.abs(x).astype(np.longdouble).sum(axis)
            assert (np.abs(found - 2 * wide(np.sum, x, axis)) <= 4 * np.finfo(dtype).eps * scale).all()


@pytest.mark.skipif(not machine.available(), reason=str(machine.reason()))
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(300_000,), (100_001, 3), (5, 60_000), (700, 300)], ids=str)
def test_long_sums_have_the_same_bits_for_any_number_of_blocks(shape, dtype):
    x = (np.random.default_rng(0).normal(size=shape) + 200.0).astype(dtype)
    for axis in (*range(len(shape)), None):
        graph = tg.trace(lambda x, axis=axis: (x.sum(axis), x.mean(axis), x.max(axis), x * 2.0), x)
        first, count = run_graph(graph, [x], blocks=1)
        assert count == 1
        np.testing.assert_array_equal(first[3], x * 2)
        for function, found in zip((np.sum, np.mean, np.max), first[:3], strict=True):
            expected = wide(function, x, axis)
            assert (np.abs(found - expected) <= np.finfo(dtype).eps * np.abs(expected)).all()
        for blocks in (None, 2, 7, 64):
            other, _ = run_graph(graph, [x], blocks=blocks)
            for a, b in zip(first, other, strict=True):
                np.testing.assert_array_equal(a, b)


@pytest.mark.sampled(test=24, quick=2)
@pytest.mark.parametrize("width", WAYS)
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "bool"])
@pytest.mark.parametrize("function", ["sum", "mean", "max", "any"])
def test_short_rows_one_after_the_other_are_folded_side_by_side(function, dtype, width):
    if function == "max" and dtype in ("int64", "bool"):
        return
    rng = np.random.default_rng(0)
    for rows, columns in ((256, 3), (271, 1), (300, 15), (513, 2)) if width else ((20_003, 3), (70_000, 10)):
        x = (rng.normal(size=(rows, columns)) * 3).astype(dtype)
        graph = tg.trace(lambda x: getattr(tg, function)(x, axis=0), x)
        (found,), count = run_graph(graph, [x], width=width)
        expected = np.asarray(graph(x))
        assert count == 1
        assert found.dtype == expected.dtype
        if x.dtype.kind == "f" and function in ("sum", "mean"):
            scale = np.abs(x).astype(np.longdouble).sum(0) / (1 if function == "sum" else rows)
            exact = wide(getattr(np, function), x, 0)
            assert (np.abs(found - exact) <= 4 * np.finfo(dtype).eps * scale).all()
        else:
            np.testing.assert_allclose(found, expected, rtol=1e-6)
        if x.dtype.kind == "f":
            both = tg.trace(lambda x: (tg.sum(x * 2.0, axis=0), tg.exp(x), tg.sum(x > 0, axis=0)), x)
            (a, b, c), _ = run_graph(both, [x], width=width)
            for got, want in zip((a, b, c), both(x), strict=True):
                np.testing.assert_allclose(got, np.asarray(want), rtol=1e-5, atol=1e-4)
            x[5, columns - 1] = np.nan
            (found,), _ = run_graph(graph, [x], width=width)
            np.testing.assert_array_equal(np.isnan(found), np.isnan(np.asarray(graph(x))))
