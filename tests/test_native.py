"""Kernels mean the same as machine code and as plain Python over the emulated vocabulary."""

import numpy as np
import pytest

from tensorgraph.native import machine
from tensorgraph.native.kernel import kernel
from tensorgraph.native.lowering import static
from tensorgraph.native.words import fma, ld, ldm, load, st, stm, vset, word_at
from tensorgraph.ops.kernels.scalar import exp

BYTES = LANES = ROWS = SIZE = VECS = 0  # constants of kernels

needs_code = pytest.mark.skipif(not machine.available(), reason=str(machine.reason()))


def exponential(w, block, blocks):
    x, y, n = word_at(w, 0), word_at(w, 1), word_at(w, 2)
    i = 0
    while i + LANES <= n:
        st(y + i * SIZE, exp(ld(x + i * SIZE)))
        i += LANES
    if i < n:
        stm(y + i * SIZE, exp(ldm(x + i * SIZE, n - i, 0.0)), n - i)


def tile(a, row, step, b, b_row, c, c_row, k):
    acc = [[vset(0.0) for v in static(VECS)] for i in static(ROWS)]
    for _ in range(k):
        columns = [ld(b + v * BYTES) for v in static(VECS)]
        for i in static(ROWS):
            x = vset(load(a + i * row))
            for v in static(VECS):
                acc[i][v] = fma(x, columns[v], acc[i][v])
        a += step
        b += b_row
    for i in static(ROWS):
        for v in static(VECS):
            st(c + i * c_row + v * BYTES, acc[i][v])


def product(w, block, blocks):
    a, row, b, b_row, c, c_row = [word_at(w, k) for k in static(6)]
    m, n, k = word_at(w, 6), word_at(w, 7), word_at(w, 8)
    for j in range(0, n, VECS * LANES):
        for i in range(0, m, ROWS):
            tile(a + i * row, row, SIZE, b + j * SIZE, b_row, c + i * c_row + j * SIZE, c_row, k)


def address(array):
    return array.__array_interface__["data"][0]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n", [0, 1, 15, 16, 67])
def test_a_loop_over_vectors(dtype, n):
    x = (np.random.default_rng(0).normal(size=n) * 3).astype(dtype)
    y = np.zeros_like(x)
    k = kernel(exponential, dtype)
    k.emulate(np.array([address(x), address(y), n]), [x, y])
    np.testing.assert_array_max_ulp(y, np.exp(x.astype("float64")).astype(dtype), 2)
    if machine.available():
        z = np.zeros_like(x)
        k.run(np.array([address(x), address(z), n]))
        np.testing.assert_array_max_ulp(z, y, 2)


@needs_code
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_lists_are_registers(dtype):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(16, 7)).astype(dtype), rng.normal(size=(7, 32)).astype(dtype)
    c, emulated = np.zeros((16, 32), dtype), np.zeros((16, 32), dtype)
    k, size = kernel(product, dtype, ROWS=8, VECS=2), a.itemsize
    words = [address(a), 7 * size, address(b), 32 * size, address(c), 32 * size, 16, 32, 7]
    k.run(np.array(words))
    words[4] = address(emulated)
    k.emulate(np.array(words), [a, b, emulated], width=machine.machine().width)
    assert np.isfinite(c).all()
    np.testing.assert_array_equal(c, emulated)
    np.testing.assert_allclose(c, a.astype("float64") @ b.astype("float64"), rtol=1e-5, atol=1e-6)


def test_the_emulation_refuses_what_lies_beside_an_array():
    x, y = np.zeros(5, "float32"), np.zeros(4, "float32")
    with pytest.raises(IndexError, match="a kernel writes 20 bytes"):
        kernel(exponential, "float32").emulate(np.array([address(x), address(y), 5]), [x, y])
