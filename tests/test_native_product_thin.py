"""Products of vectors and of a few columns: by their own kernels, and by the rule that the shapes choose."""

import numpy as np
import pytest
from native_products import DTYPES, WIDTH, assert_close, needs_code, numbers, product_of, run

from tensorgraph.ops.contraction import matmul
from tensorgraph.ops.native import product as rules

LENGTHS = [0, 1, 10, 63, 64, 65, 300]


def strided(x, how):
    """The like in C order, in the other order, or with steps."""
    if how == "rows":
        return np.ascontiguousarray(x)
    if how == "columns":
        return np.asfortranarray(x)
    wide = np.zeros((*x.shape[:-1], 3 * x.shape[-1]), x.dtype)
    wide[..., ::3] = x
    return wide[..., ::3]


def names(a, b):
    """The kernels of a product."""
    out = np.zeros(np.matmul(a, b).shape, a.dtype)
    return [record.kernel.name for record in run(matmul.native_rule(), [a, b], out, "emulation").records]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", [64, 32])
@pytest.mark.parametrize("how", ["rows", "columns", "steps"])
def test_a_matrix_times_a_vector(how, width, dtype):
    for k in LENGTHS:
        a, x = abs(numbers((9, k), dtype)), abs(numbers(k, dtype, 1))
        for left, right in (
            (strided(a, how), x),
            (strided(a, how), x[:, None]),
            (strided(a, how), strided(x, "steps")),
        ):
            assert_close(product_of(left, right, "emulation", width=width), left, right)
        b = strided(abs(numbers((k, 7), dtype)), how)
        for left, right in ((x, b), (x[None], b), (strided(x, "steps"), b), (x, x), (x[None], x[:, None])):
            assert_close(product_of(left, right, "emulation", width=width), left, right)


@needs_code
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_sum_has_the_same_bits_in_every_width_and_block(dtype):
    for k in (10, 64, 65, 1000, 4096, 10_000, 300_001):
        a, x = numbers((11, k), dtype), numbers(k, dtype, 1)
        out = product_of(a, x)
        for blocks, width in ((1, WIDTH), (3, WIDTH), (1, 32), (5, 32)):
            np.testing.assert_array_equal(product_of(a, x, blocks=blocks, width=width), out)
        np.testing.assert_array_equal(product_of(x, a.T), out)  # the same rows
        np.testing.assert_array_equal(product_of(a[3], x), out[3])
        if k <= 65 and dtype == "float32":
            np.testing.assert_array_equal(product_of(a, x, "emulation"), out)
        assert_close(product_of(abs(a), abs(x)), abs(a), abs(x))


@needs_code
@pytest.mark.parametrize(
    "shapes",
    [
        ((3, 5, 40), (40,)), ((3, 5, 40), (3, 40, 1)), ((40,), (3, 40, 6)), ((2, 70), (70, 9)), ((3, 2, 70), (70, 9)),
        ((3, 2, 70), (3, 70, 9)), ((2, 3, 1, 40), (2, 1, 40, 6)), ((2, 1, 5, 40), (1, 3, 40, 1)),
    ],
    ids=str,
)  # fmt: skip
def test_vectors_one_by_one(shapes):
    a, b = (numbers(shape, "float32", seed) for seed, shape in enumerate(shapes))
    for left in (a, np.asfortranarray(a)):
        for right in (b, np.asfortranarray(b)):
            assert_close(product_of(left, right), left, right)
            assert_close(product_of(left, right, "emulation", width=32), left, right)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", [64, 32])
@pytest.mark.parametrize("n", [2, 5, 10, 12])
def test_few_columns(n, width, dtype):
    for m, k in ((16, 3), (37, 9), (70, 5)):
        a, b = numbers((k, m), dtype).T, numbers((k, n), dtype, 1)
        assert names(a, b) == ["narrow"]
        assert_close(product_of(a, b, "emulation", width=width), a, b)
        assert_close(product_of(a, b.T.copy().T, "emulation", width=width), a, b)


@needs_code
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [2, 10, 12])
def test_few_columns_have_the_bits_of_the_others(n, dtype):
    for lead, m, k in (((), 16, 64), ((), 67, 600), ((), 40, 17_000), ((2, 3), 33, 20)):
        a = np.swapaxes(numbers((*lead, k, m), dtype), -1, -2)
        b, bias = numbers((*lead, k, n), dtype, 1), numbers(n, dtype, 2)
        other = product_of(np.ascontiguousarray(a), b)
        for blocks, width in ((1, WIDTH), (4, WIDTH), (2, 32)):
            np.testing.assert_array_equal(product_of(a, b, blocks=blocks, width=width), other)
        outs = [np.zeros_like(other) for _ in range(2)]
        for out, left in zip(outs, (a, np.ascontiguousarray(a)), strict=True):
            run(lambda c: rules.product_call(c, *c.inputs[:2], c.outputs[0], c.inputs[2], "relu"), [left, b, bias], out)
        np.testing.assert_array_equal(*outs)


def test_which_kernels_are_chosen():
    a, x = numbers((40, 30), "float32"), numbers(30, "float32")
    assert names(a, x) == ["dots"] and names(x, a.T) == ["dots"] and names(x, x) == ["dots"]
    assert names(x, numbers((30, 40), "float32")) == ["product"]
    assert names(np.asfortranarray(a), x) == ["product"]
    assert names(numbers((2, 70), "float32"), numbers((5, 70), "float32").T) == ["dots"]
    assert names(a, numbers((30, 10), "float32")) == ["product"]
    assert names(np.asfortranarray(a), numbers((30, 10), "float32")) == ["narrow"]
