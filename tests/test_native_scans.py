"""Scans as kernels, against longer floats and the eager ops."""

import numpy as np
import pytest
from native_calls import HOWS, Run, every_how

import tensorgraph as tg
from tensorgraph.engine.op import CATALOGUE

CODE = [how for how in HOWS if how[0] == "code"] or HOWS[:1]
NAMES = ["cumulative_sum", "cumulative_prod", "cummax", "cummin"]


def run(name, inputs, attrs, how, **options):
    with np.errstate(all="ignore"):
        eager = CATALOGUE[name].forward(*inputs, **attrs)
    got = Run(CATALOGUE[name].native_rule(), inputs, [(eager.shape, eager.dtype)], attrs, *how, **options)
    assert got.took
    return got.outputs[0], eager


def attributes(name, axis, initial):
    return {"axis": axis, "include_initial": initial} if name.startswith("cumulative") else {"axis": axis}


def near(got, eager):
    """Both are rounded once."""
    np.testing.assert_allclose(got, eager, rtol=2 * np.finfo(eager.dtype).eps, atol=1e-300)


@pytest.mark.sampled(test=12, quick=2)
@every_how
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", NAMES)
def test_any_axis_and_strides(name, dtype, how):
    if name == "cumulative_prod" and dtype == "float64":
        return
    for shape in ((5,), (1,), (0,), (3, 4), (4, 19), (2, 5, 3), (3, 4, 17), (70, 3), (2, 0, 3), (2, 2, 3, 2), (19, 37)):
        x = np.random.default_rng(0).uniform(0.5, 1.5, shape).astype(dtype)
        for axis in (None, *range(-1, len(shape))):
            for initial in (False, True) if name.startswith("cumulative") else (False,):
                attrs = attributes(name, axis, initial)
                got, eager = run(name, (x,), attrs, how)
                near(got, eager)
                for other in (np.asfortranarray(x), np.repeat(x, 2, -1)[..., ::2], np.flip(np.flip(x).copy()),
                              np.flip(np.flip(x, -1).copy(), -1)):  # fmt: skip
                    np.testing.assert_array_equal(run(name, (other,), attrs, how)[0], got)


@every_how
def test_recurrences(how):
    rng = np.random.default_rng(1)
    for shape in ((6,), (3, 4), (5, 70), (2, 4, 3), (3, 1), (0, 2), (18, 33)):
        a, b = (rng.normal(size=shape).astype("float32") for _ in range(2))
        for axis in range(-1, len(shape)):
            for reverse in (False, True):
                attrs = {"axis": axis, "reverse": reverse}
                got, eager = run("linear_recurrence", (a, b), attrs, how)
                near(got, eager)
                turned = np.asfortranarray(a), np.flip(np.flip(b).copy())
                np.testing.assert_array_equal(run("linear_recurrence", turned, attrs, how)[0], got)


@pytest.mark.parametrize("how", CODE)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["cumulative_sum", "cummax"])
def test_long_lines_and_blocks(name, dtype, how):
    x = np.random.default_rng(2).normal(size=(300, 400)).astype(dtype)
    for array, axis in ((x, 0), (x, 1), (x.reshape(-1), 0), (x.reshape(4, -1), 1), (x.reshape(30, 50, 80), 1)):
        attrs = attributes(name, axis, False)
        if name == "cumulative_sum" and dtype == "float32" and array.ndim == 1:  # NumPy is faster
            assert not Run(CATALOGUE[name].native_rule(), (array,), [(array.shape, dtype)], attrs).took
            continue
        got, eager = run(name, (array,), attrs, how)
        scale = np.cumsum(np.abs(array), axis) if name == "cumulative_sum" else 0
        # NumPy's own sums of float64, which are the eager ones without the compiler, lose more than the kernel
        right = np.cumsum(array, axis, dtype=np.longdouble) if name == "cumulative_sum" else eager
        assert (np.abs(got - right) <= np.finfo(dtype).eps * (np.abs(right) + 1e-3 * scale)).all()
        np.testing.assert_array_equal(run(name, (array,), attrs, how, order=-1)[0], got)


@every_how
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_is_not_finite_as_eager(dtype, how):
    x = np.random.default_rng(3).normal(size=(9, 8)).astype(dtype)
    x[3, 0], x[2, 1], x[4, 1], x[5, 2], x[1:3, 3] = np.nan, np.inf, -np.inf, -np.inf, np.finfo(dtype).max
    x[0, 4], x[4, 5], x[6, 5] = np.inf, np.nan, np.inf
    for name in NAMES:
        if name == "cumulative_prod" and dtype == "float64":
            continue
        got, eager = run(name, (x,), attributes(name, 0, False), how)
        for test in (np.isnan, np.isposinf, np.isneginf):
            np.testing.assert_array_equal(test(got), test(eager))
    if dtype == "float32":
        a = np.flip(x).copy()
        for reverse in (False, True):
            got, eager = run("linear_recurrence", (a, x), {"axis": 0, "reverse": reverse}, how)
            np.testing.assert_array_equal(np.isfinite(got), np.isfinite(eager))


def test_what_is_left_to_the_forward():
    x = np.ones((3, 4))
    for name, given in (("cumulative_prod", x), ("cumulative_sum", x.astype(int)), ("cummax", x.astype("float16"))):
        own = attributes(name, 0, False)
        assert not Run(CATALOGUE[name].native_rule(), (given,), [((3, 4), given.dtype)], own).took
    attrs = {"axis": 0, "reverse": False}
    assert not Run(CATALOGUE["linear_recurrence"].native_rule(), (x, x), [((3, 4), "f8")], attrs).took


@pytest.mark.parametrize("name", ["cumsum", "cumprod", "cummax"])
def test_gradients_are_compiled(name):
    x = np.random.default_rng(4).uniform(0.5, 1.5, (6, 9)).astype("float32")
    for axis in (0, 1):

        def loss(x, axis=axis):
            return (getattr(tg, name)(x, axis=axis) ** 2).sum()

        compiled = tg.compile(lambda x, loss=loss: tg.grad(loss)(x))
        np.testing.assert_allclose(compiled(tg.tensor(x)).numpy(), tg.grad(loss)(tg.tensor(x)).numpy(), rtol=1e-5)
        assert "NumPy  " not in compiled.explain()
