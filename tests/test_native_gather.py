"""Elements and rows that are taken by index arrays, and added at them, as kernels, against the eager ops."""

import numpy as np
import pytest
from native_calls import Run, every_how

import tensorgraph as tg
from tensorgraph.engine.keys import ALL, join_key
from tensorgraph.engine.op import CATALOGUE

GET, SCATTER, ADD_AT, SEGMENTS = (CATALOGUE[n] for n in ("getitem", "scatter_add", "add_at", "segment_sum"))
I, J, K = (("index", k) for k in range(3))
KEYS = {
    "one": ((9, 5), (I,), [(4, 3)]),
    "a number of each row": ((70, 6), (I, J), [(70,), (70,)]),
    "a block": ((9, 7), (I, J), [(4, 1), (3,)]),
    "columns": ((2, 9), (ALL, I), [(70,)]),
    "the last axis": ((2, 3, 5), ("...", I), [(2, 2)]),
    "in the middle": ((3, 5, 4), (ALL, I, ALL), [(4,)]),
    "two in the middle": ((2, 5, 4, 2), (ALL, I, J), [(2, 1), (35,)]),
    "three": ((3, 4, 5), (I, J, K), [(7,), (7,), (1,)]),
}


def added(base, g, key, indices):
    """The meaning of what is added: one after the other, in wide floats."""
    out = base.astype(np.longdouble)
    np.add.at(out, join_key(key, indices), g.astype(np.longdouble))
    return out.astype(base.dtype)


def by_list(rule, several=2):
    """A rule of an op that takes its index arrays as a list."""

    def made(call):
        call.inputs = (*call.inputs[: several - 1], list(call.inputs[several - 1 :]))
        return rule(call)

    return made


@pytest.mark.sampled(test=32, quick=2)
@every_how
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", KEYS)
def test_taken_and_added(name, dtype, how):
    (shape, key, sizes), rng = KEYS[name], np.random.default_rng(0)
    x = rng.normal(size=shape).astype(dtype)
    first = len(shape) - len(sizes) if "..." in key else sum(item == ALL for item in key[:1])
    indices = [rng.integers(-shape[first + k], shape[first + k], of) for k, of in enumerate(sizes)]
    want = GET.forward(x, indices, key=key)
    for array in (x, np.repeat(x, 2, 0)[::2]):
        got = Run(by_list(GET.native_rule()), (array, *indices), [(want.shape, dtype)], dict(key=key), *how)
        assert got.took
        assert got.checks == [0] * len(indices)
        np.testing.assert_array_equal(got.outputs[0], want)
    g, wide = rng.normal(size=want.shape).astype(dtype), dict(rtol=0, atol=16 * np.finfo(dtype).eps)
    attrs = dict(key=key, shape=shape)
    exact = added(np.zeros(shape, dtype), g, key, indices)
    for array in (g, np.asfortranarray(g)):
        got = Run(by_list(SCATTER.native_rule()), (array, *indices), [(shape, dtype)], attrs, *how)
        assert got.took
        np.testing.assert_allclose(got.outputs[0], exact, **wide)
    for base, given in ((x, g), (np.asfortranarray(x), g[..., :1]), (x, g[:1])):
        inputs = (base, given, *indices)
        got = Run(by_list(ADD_AT.native_rule(), 3), inputs, [(shape, dtype)], dict(key=key), *how)
        assert got.took
        exact = added(*inputs[:2], key, indices)
        np.testing.assert_allclose(got.outputs[0], exact, **wide)


@every_how
@pytest.mark.parametrize("key", [(ALL, I), (ALL, ALL, I)])
def test_rows_of_no_tables(key, how):
    x, ids = np.zeros((0, 3, 4), np.float32), np.array([2, 0, 1])
    want = GET.forward(x, [ids], key=key)
    got = Run(by_list(GET.native_rule()), (x, ids), [(want.shape, "float32")], dict(key=key), *how)
    assert got.took and got.outputs[0].shape == want.shape  # and the emulation has seen nothing read or written


@every_how
@pytest.mark.parametrize("rows", [5, 200])
def test_segments(rows, how):
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 4, rows).astype("int32")
    for dtype, rest in (("float32", (3,)), ("float64", ()), ("float32", (2, 40))):
        data, shape = rng.normal(size=(rows, *rest)).astype(dtype), (6, *rest)
        got = Run(SEGMENTS.native_rule(), (data, ids), [(shape, dtype)], dict(num_segments=6), *how)
        assert got.took
        exact = SEGMENTS.forward(data.astype(np.float64), ids, num_segments=6)
        np.testing.assert_allclose(got.outputs[0], exact, rtol=0, atol=64 * np.finfo(dtype).eps)


@every_how
@pytest.mark.parametrize("name", ["segment_max", "segment_min"])
def test_the_extrema_of_segments(name, how):
    op, rng = CATALOGUE[name], np.random.default_rng(0)
    for dtype, rows, rest in (("float32", 90, (3,)), ("float64", 7, ()), ("float32", 5, (2, 17)), ("float32", 0, (3,))):
        data, ids = rng.normal(size=(rows, *rest)).astype(dtype), rng.integers(0, 4, rows)
        data.flat[:3] = np.nan, -np.inf, np.inf
        for given in (data, np.asfortranarray(data)):
            want = op.forward(given, ids, num_segments=6)
            got = Run(op.native_rule(), (given, ids), [(want.shape, dtype)], dict(num_segments=6), *how)
            assert got.took and got.checks == [0]
            np.testing.assert_array_equal(got.outputs[0], want)
    bad = Run(op.native_rule(), (np.ones((2, 3)), np.array([0, 6])), [((6, 3), "float64")], dict(num_segments=6), *how)
    assert bad.checks == [1]


@every_how
def test_numbers_are_looked_at(how):
    x, g = np.ones((3, 4), "float32"), np.ones(2, "float32")
    for low, high in ((0, 4), (-4, 0), (3, 0)):
        bad = [np.array([0, low]), np.array([0, high])]
        got = Run(by_list(GET.native_rule()), (x, *bad), [((2,), "float32")], dict(key=(I, J)), *how)
        assert sorted(got.checks) == [0, 1]
        got = Run(
            by_list(SCATTER.native_rule()), (g, *bad), [((3, 4), "float32")], dict(key=(I, J), shape=(3, 4)), *how
        )
        assert sorted(got.checks) == [0, 1]
    rows, ids = np.ones((2, 3), "float32"), np.array([-1, 0])
    assert Run(SEGMENTS.native_rule(), (rows, ids), [((4, 3), "float32")], dict(num_segments=4), *how).checks == [1]


def test_what_is_left_to_the_forward():
    x, ids = np.ones((3, 4, 5), "float32"), np.zeros(2, int)
    for key, shape in (((I, ALL, J), (2, 4)), ((I, 0), (2, 5)), (("newaxis", I), (1, 2, 4, 5))):
        indices = [ids] * sum(type(item) is tuple and item[0] == "index" for item in key)
        assert not Run(by_list(GET.native_rule()), (x, *indices), [(shape, "float32")], dict(key=key)).took


def test_a_compiled_loss_picks_a_number_of_each_row_and_says_which_label_is_none():
    rng = np.random.default_rng(0)
    x, labels = tg.tensor(rng.normal(size=(100, 7)).astype("float32")), rng.integers(0, 7, 100)
    rows = np.arange(100)
    loss = lambda x, y: tg.sum(tg.tanh(x)[rows, y] ** 2)
    step = tg.compile(tg.value_and_grad(loss))
    for found, want in zip(step(x, labels), tg.value_and_grad(loss)(x, labels), strict=True):
        np.testing.assert_allclose(found.numpy(), want.numpy(), rtol=0, atol=1e-6)
    assert "NumPy " not in step.explain().split("\n", 1)[1]
    labels[5] = 7
    with pytest.raises(IndexError, match="out of bounds for axis 1 with size 7"):
        step(x, labels)
