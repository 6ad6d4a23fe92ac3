"""Products by own kernels: right within the bounds, and to the same bits in every tile, width and number of blocks."""

import numpy as np
import pytest
from native_products import DTYPES, address, assert_close, needs_code, numbers, product_of, run

from tensorgraph.native.kernel import kernel
from tensorgraph.native.places import Call, Place
from tensorgraph.ops.contraction import matmul
from tensorgraph.ops.native import product as rules
from tensorgraph.ops.native.packing import DEPTH
from tensorgraph.ops.native.product_tiles import product

SHAPES = [
    ((1, 1), (1, 1)), ((8, 3), (3, 32)), ((7, 5), (5, 3)), ((15, 4), (4, 17)), ((13, 2), (2, 50)), ((3, 9), (9, 33)),
    ((4,), (4, 20)), ((5, 4), (4,)), ((2, 3, 4), (4, 5)), ((2, 1, 3, 4), (5, 4, 2)), ((4,), (2, 4, 3)),
    ((2, 3, 4), (4,)), ((0, 4), (4, 2)), ((3, 0), (0, 2)), ((3, 4), (4, 0)), ((2, 2, 1, 3), (2, 1, 2, 3, 2)),
    ((2, 1, 2, 3, 2), (1, 2, 1, 2, 3)),
]  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", [64, 32])
@pytest.mark.parametrize("shapes", SHAPES, ids=str)
def test_addresses_are_those_of_the_arrays(shapes, width, dtype):
    a, b = (numbers(shape, dtype, seed) for seed, shape in enumerate(shapes))
    assert_close(product_of(a, b, "emulation", width=width), a, b)


@needs_code
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "shapes", [*SHAPES, ((64, 65), (65, 96)), ((61, 45), (45, 83)), ((33, 1100), (1100, 19))], ids=str
)
def test_machine_code_and_emulation_give_the_same_bits(shapes, dtype):
    a, b = (numbers(shape, dtype, seed) for seed, shape in enumerate(shapes))
    out = product_of(a, b)
    assert_close(out, a, b)
    for blocks in (1, 2, 3, 8):
        np.testing.assert_array_equal(product_of(a, b, blocks=blocks), out)
    np.testing.assert_array_equal(product_of(a, b, width=32), out)
    if a.size * b.size < 20_000 and dtype == "float32":  # float64's emulation rounds twice
        np.testing.assert_array_equal(product_of(a, b, "emulation"), out)
        np.testing.assert_array_equal(product_of(a, b, "emulation", width=32), out)


def turned(x, how):
    """The like with other strides."""
    if how == "transposed":
        return np.swapaxes(np.ascontiguousarray(np.swapaxes(x, -1, -2)), -1, -2)
    if how == "steps":
        wide = np.zeros((*x.shape[:-1], 3 * x.shape[-1]), x.dtype)
        wide[..., 1::3] = x
        return wide[..., 1::3]
    if how == "reversed":
        return np.ascontiguousarray(x[..., ::-1, ::-1])[..., ::-1, ::-1]
    return np.broadcast_to(x[..., :1, :], x.shape)


@needs_code
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("left", ["transposed", "steps", "reversed", "repeated"])
@pytest.mark.parametrize("right", ["transposed", "steps", "reversed", "repeated"])
def test_strides_change_no_bit(left, right, dtype):
    for shapes in (((37, 21), (21, 19)), ((2, 9, 5), (2, 5, 17)), ((16, 16), (16, 16)), ((3, 4, 5), (5, 33))):
        a, b = (numbers(shape, dtype, seed) for seed, shape in enumerate(shapes))
        a, b = turned(a, left), turned(b, right)
        straight = product_of(np.ascontiguousarray(a), np.ascontiguousarray(b))
        np.testing.assert_array_equal(product_of(a, b), straight)
        np.testing.assert_array_equal(product_of(a, b, blocks=3), straight)
        out = product_of(a, b, "emulation")
        np.testing.assert_allclose(out, straight, rtol=1e-5, atol=1e-5)
        assert_close(straight, a, b)


@pytest.mark.parametrize("rows", [1, 4, 6, 8])
@pytest.mark.parametrize("vectors", [1, 2, 3])
def test_tiles_change_no_bit(rows, vectors):
    a, b = numbers((11, 530), "float32"), numbers((530, 37), "float32", 1)
    made = np.full((11, 37), np.nan, "float32")
    text = kernel(product, "float32", ROWS=rows, VECS=vectors, PACKED=False)
    words = [address(a), 2120, 4, address(b), 148, address(made), 148, 11, 37, 530, 1, 0, 0, 0, 1]
    words += [0, 0, 0, 0, 0, 37, 0]
    text.emulate(np.array(words), [a, b, made], width=64 if rows % 4 else 32)
    expected = np.zeros((11, 37), "float32")
    for k0 in range(0, 530, DEPTH):  # one accumulator an output and block
        sums = np.zeros((11, 37), "float32")
        for k in range(k0, min(k0 + DEPTH, 530)):
            sums = (a[:, k, None].astype("float64") * b[k].astype("float64") + sums).astype("float32")
        expected = sums if k0 == 0 else expected + sums
    np.testing.assert_array_equal(made, expected)


@needs_code
@pytest.mark.parametrize("k", [255, 256, 257, 1024, 16_384, 16_385, 100_000])
def test_long_sums_stay_within_the_bounds(k):
    rng = np.random.default_rng(k)
    a, b = rng.uniform(size=(3, k)).astype("float32"), rng.uniform(size=(k, 5)).astype("float32")
    assert_close(product_of(a, b), a, b)
    assert_close(product_of(a[:1], b), a[:1], b)
    assert_close(product_of(a, b[:, :1]), a, b[:, :1])
    assert_close(product_of(a, np.ascontiguousarray(b[:, 0])), a, b[:, 0])
    a[:], b[:] = np.float32(0.1), np.float32(0.3)
    assert_close(product_of(a, b), a, b, 32)  # equal terms are rounded to one side all along a block; in BLAS too


@needs_code
def test_a_sum_of_a_million():
    a = np.random.default_rng(0).uniform(size=(1, 1_000_000)).astype("float32")
    b = np.random.default_rng(1).uniform(size=(1_000_000, 2)).astype("float32")
    assert_close(product_of(a, b), a, b)
    assert_close(product_of(a, b[:, :1]), a, b[:, :1])


@needs_code
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_stays_in_its_row_and_column(bad):
    a, b = numbers((20, 30), "float32"), numbers((30, 40), "float32", 1)
    a[3, 7] = b[9, 11] = bad
    with np.errstate(invalid="ignore"):
        expected = a.astype("float64") @ b.astype("float64")
    out = product_of(a, b)
    for test in (np.isnan, np.isposinf, np.isneginf):
        np.testing.assert_array_equal(test(out), test(expected))


@needs_code
@pytest.mark.parametrize("k", [0, 5, 700, 17_000])
@pytest.mark.parametrize("activation", [None, "relu"])
def test_a_bias_and_relu_at_the_end(k, activation):
    a, b, bias = numbers((9, k), "float32"), numbers((k, 21), "float32", 1), numbers(21, "float32", 2)
    out, plain = np.full((9, 21), np.nan, "float32"), np.full((9, 21), np.nan, "float32")

    def rule(call):
        a, b, *rest = call.inputs
        return rules.product_call(call, a, b, call.outputs[0], *rest, activation=activation)

    run(rule, [a, b, bias], out)
    run(matmul.native_rule(), [a, b], plain)
    expected = plain + bias
    np.testing.assert_array_equal(out, np.maximum(expected, 0) if activation else expected)


def test_other_types_are_left_alone():
    for one, other in (("float16", "float16"), ("int64", "int64"), ("float32", "float64")):
        a, b = Place.new((2, 3), one), Place.new((3, 4), other)
        call = Call((a, b), (Place.new((2, 4), np.result_type(one, other)),), {})
        assert not matmul.native_rule()(call)
        assert not call.records
