"""What is taken and added along an axis as kernels, against the eager ops."""

import numpy as np
import pytest
from native_calls import Run, every_how

from tensorgraph.engine.op import CATALOGUE

TAKE, ADD = CATALOGUE["take_along_axis"], CATALOGUE["add_along_axis"]
SHAPES = [((5,), (3,), 0), ((3, 4), (3, 2), 1), ((3, 4), (5, 4), 0), ((3, 4), (1, 6), 1), ((1, 4), (3, 2), -1),
          ((2, 3, 4), (2, 5, 4), 1), ((2, 3, 4), (1, 2, 4), 1), ((2, 1, 4), (2, 1, 7), 2),
          ((70, 9), (70, 1), 1)]  # fmt: skip


@pytest.mark.sampled(test=36, quick=2)
@every_how
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("shape", "of", "axis"), SHAPES, ids=str)
def test_taken_and_added(shape, of, axis, dtype, how):
    rng = np.random.default_rng(0)
    x = rng.normal(size=shape).astype(dtype)
    n = shape[axis]
    for kind in ("int64", "int32", "uint8"):
        ids = rng.integers(0 if kind[0] == "u" else -n, n, of).astype(kind)
        want = TAKE.forward(x, ids, axis=axis)
        for array, index in ((x, ids), (np.asfortranarray(x), ids[::-1][::-1]), (np.repeat(x, 2, 0)[::2], ids)):
            got = Run(TAKE.native_rule(), (array, index), [(want.shape, dtype)], dict(axis=axis), *how)
            assert got.took
            assert got.checks == [0]
            np.testing.assert_array_equal(got.outputs[0], want)
        g = rng.normal(size=want.shape).astype(dtype)
        attrs = dict(axis=axis, shape=shape)
        exact = ADD.forward(g.astype(np.float64), ids, **attrs)
        for array in (g, np.asfortranarray(g)):
            got = Run(ADD.native_rule(), (array, ids), [(shape, dtype)], attrs, *how)
            assert got.took
            np.testing.assert_allclose(got.outputs[0], exact, rtol=0, atol=8 * np.finfo(dtype).eps)


@every_how
def test_indices_are_looked_at_and_what_is_not_finite_is_moved(how):
    x = np.array([[np.nan, np.inf, 1.0], [-np.inf, 2.0, 3.0]], "float32")
    for bad in (3, -4, 2**40):
        ids = np.array([[0], [bad]])
        assert Run(TAKE.native_rule(), (x, ids), [((2, 1), "float32")], dict(axis=1), *how).checks == [1]
        assert Run(
            ADD.native_rule(), (x[:, :1], ids), [((2, 3), "float32")], dict(axis=1, shape=(2, 3)), *how
        ).checks == [1]
    ids = np.array([[0, 1, 1], [0, 0, 0]])
    got = Run(TAKE.native_rule(), (x, ids), [((2, 3), "float32")], dict(axis=1), *how).outputs[0]
    np.testing.assert_array_equal(got, np.take_along_axis(x, ids, 1))
    got = Run(ADD.native_rule(), (x, ids), [((2, 3), "float32")], dict(axis=1, shape=(2, 3)), *how).outputs[0]
    np.testing.assert_array_equal(got, [[np.nan, np.inf, 0], [-np.inf, 0, 0]])


def test_what_is_left_to_the_forward():
    ids = np.zeros((3, 1), int)
    for x, index in ((np.ones((3, 4), "float16"), ids), (np.ones((3, 4), int), ids), (np.ones((0, 4)), ids[:0])):
        assert not Run(TAKE.native_rule(), (x, index), [((len(x), 1), x.dtype)], dict(axis=1)).took
    shared = np.ones((2, 1, 4)), np.zeros((2, 3, 7), int)
    assert not Run(TAKE.native_rule(), shared, [((2, 3, 7), "float64")], dict(axis=2)).took
