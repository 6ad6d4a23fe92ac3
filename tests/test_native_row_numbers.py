"""Variances, deviations, norms and log-sum-exps of rows as kernels, against longer floats and the eager ops."""

import itertools

import numpy as np
import pytest
from native_calls import HOWS, Run, every_how

from tensorgraph.engine.op import CATALOGUE

CODE = [how for how in HOWS if how[0] == "code"] or HOWS[:1]
KINDS = {"var": {}, "std": {}, "logsumexp": {}, "vector_norm": {"ord": 2}}
CALLS = [
    *KINDS.items(), ("var", {"correction": 1}), ("std", {"correction": 1.5}), ("vector_norm", {"ord": 1}),
    ("vector_norm", {"ord": np.inf}),
]  # fmt: skip


def whole(name, attrs, axis, keepdims=False):
    given = {"correction": 0} if name in ("var", "std") else {}
    return {"axis": axis, "keepdims": keepdims, **given, **attrs}


def run(name, x, attrs, how, **options):
    with np.errstate(all="ignore"):
        eager = CATALOGUE[name].forward(x, **attrs)
    got = Run(CATALOGUE[name].native_rule(), (x,), [(eager.shape, eager.dtype)], attrs, *how, **options)
    assert got.took
    return got.outputs[0], eager


def near(name, x, attrs, how):
    got, _ = run(name, x, attrs, how)
    with np.errstate(all="ignore"):
        exact = CATALOGUE[name].forward(x.astype(np.longdouble if x.dtype == np.float64 else np.float64), **attrs)
    scale = np.maximum(np.abs(exact), np.finfo(x.dtype).tiny)
    assert np.isfinite(exact).all()
    assert (np.abs(got - exact) <= 8 * np.finfo(x.dtype).eps * scale).all(), (name, x.shape, attrs)
    return got


@pytest.mark.sampled(test=20, quick=2)
@every_how
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name, attrs", CALLS, ids=str)
def test_any_axes(name, attrs, dtype, how):
    for shape in ((5,), (3, 40), (4, 3, 5), (2, 3, 2, 4), (3, 1, 7), (1, 1)):
        x = np.random.default_rng(0).normal(size=shape).astype(dtype)
        if name == "logsumexp":
            x += 3
        axes = [c for n in range(1, len(shape) + 1) for c in itertools.combinations(range(len(shape)), n)]
        for axis in (None, -1, *axes):
            if np.prod([shape[k] for k in (range(len(shape)) if axis is None else np.atleast_1d(axis))]) < 3:
                continue
            plain = near(name, x, whole(name, attrs, axis), how)
            kept = near(name, x, whole(name, attrs, axis, True), how)
            np.testing.assert_array_equal(plain.reshape(-1), kept.reshape(-1))
            turned, _ = run(name, np.asfortranarray(x), whole(name, attrs, axis), how)
            np.testing.assert_array_equal(turned, plain)


@pytest.mark.parametrize("how", CODE)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name, attrs", CALLS, ids=str)
def test_long_rows_far_means_and_blocks(name, attrs, dtype, how):
    rng = np.random.default_rng(1)
    for shape in ((700, 200), (3, 70_000)):
        for mean, deviation in ((0.0, 1.0), (1e4, 1e-2), (-50.0, 3.0)):
            x = (mean + deviation * rng.normal(size=shape)).astype(dtype)
            first = near(name, x, whole(name, attrs, 1), how)
            again, _ = run(name, x, whole(name, attrs, 1), how, order=-1)
            np.testing.assert_array_equal(again, first)


@every_how
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["std", "vector_norm"])
def test_squares_that_leave_the_range(name, dtype, how):
    limits = np.finfo(dtype)
    x = np.random.default_rng(2).uniform(0.5, 1.0, (6, 21)).astype(dtype)
    x *= np.array([limits.max / 64, limits.tiny * 8, limits.tiny * 1e3, 1e-30, limits.max / 1e4, 1.0], dtype)[:, None]
    x[:, ::3] *= -1
    near(name, x, whole(name, KINDS[name], 1), how)


@every_how
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name, attrs", CALLS, ids=str)
def test_what_is_not_finite_and_what_is_equal_as_eager(name, attrs, dtype, how):
    x = np.random.default_rng(3).normal(size=(12, 19)).astype(dtype)
    largest, least = np.finfo(dtype).max, np.finfo(dtype).smallest_subnormal
    x[0, 3], x[1, 0], x[2, 18], x[3, 1], x[4] = np.nan, np.inf, -np.inf, np.nan, -np.inf
    x[3, 2], x[5], x[6], x[7, ::2] = np.inf, 0, largest, -largest
    x[8], x[9], x[10, 0] = least, 0.1, largest
    got, eager = run(name, x, whole(name, attrs, 1), how)
    for test in (np.isnan, np.isposinf, np.isneginf):
        np.testing.assert_array_equal(test(got), test(eager))
    np.testing.assert_allclose(got, eager, rtol=16 * np.finfo(dtype).eps)
    one = x[:, :1]
    got, eager = run(name, one, whole(name, attrs, 1), how)
    np.testing.assert_array_equal(np.isfinite(got), np.isfinite(eager))


def test_what_is_left_to_the_forward():
    x = np.ones((3, 4), "float32")
    for name, given, attrs in (
        ("var", x[:0], {}), ("var", x.astype("float16"), {}), ("var", x.astype("int64"), {}),
        ("vector_norm", x, {"ord": 0}), ("vector_norm", x, {"ord": 3.5}),
    ):  # fmt: skip
        run = Run(CATALOGUE[name].native_rule(), (given,), [((3,), "float32")], whole(name, attrs, 1))
        assert not run.took
