"""Each word of kernels means the same as machine code and over NumPy, with every count of lanes."""

import ctypes
import os
import re

import numpy as np
import pytest
from native_runs import WIDTHS, both, entry, guarded, written

from tensorgraph.native import machine, objects
from tensorgraph.native.kernel import kernel
from tensorgraph.native.words import WORDS

pytestmark = pytest.mark.skipif(not machine.available(), reason=str(machine.reason()))

# what is written to q, of the numbers at p; n is 0 to LANES + 1, m an integer. The arrays have no byte to spare
COUNTED = {
    "ldm": "stm(q, ldm(p, n, 0.5), LANES)",
    "stm": "stm(q, ld(p), n)",
    "ldm lanes": "stm(q, ldm(p, n, ld(p + BYTES)), LANES)",
    "ldg": "stm(q, ldg(p, 2 * SIZE, n, -3.0), LANES)",
    "ldg none": "stm(q, ldg(p, 0, n, -3.0), LANES)",
    "stg": "stg(q, 2 * SIZE, ld(p), n)",
    "ldq": "stq(q, ldq(p, n, m) + 1, LANES)",
    "stq": "stq(q, iota() * m, n)",
    "stq one": "stq(q, 7, n)",
    "ldb": "stb(q, ldb(p, n), LANES)",
    "stb": "stb(q, ld(p) > 0.0, n)",
    "stb one": "stb(q, n > 3, n)",
    "ldw": "stw(q, ldw(p, n, 1.5), LANES)",
    "stw": "stw(q, double(ld(p)) * 3.0, n)",
    "stw one": "stw(q, 2.5, n)",
    "first": "stm(q, select(first(n), ld(p), -1.0), LANES)",
}
PLAIN = {
    "word_at": "store_int(q, word_at(w, 3) * 3)",
    "real_at": "store(q, real_at(w, 4))",
    "load": "store(q, load(p + SIZE * 3) * 2.0)",
    "load_int": "store_int(q, load_int(p + 8) ^ m)",
    "load_double": "store_double(q, load_double(p + 8) + 0.0)",
    "store_double": "store_double(q, load(p + SIZE) * double(2.5))",
    "load_byte": "store_int(q, load_byte(p + 3))\nstore_int(q + 8, load_byte(p + 4) << 3)",
    "store_byte": "store_byte(q + 3, m)\nstore_byte(q, 300)",
    "st": "st(q, ld(p + SIZE))\nst(q + BYTES, 2.0)",
    "prefetch": "prefetch(p)\nst(q, vset(m))",
    "vset": "st(q, vset(load(p)) - vset(2.5))",
    "real": "store(q, real(m) / real(3))\nst(q + BYTES, real(iota()) * 0.5)",
    "double": "stw(q, double(ld(p)) / 3.0, LANES)\nstore_double(q + LANES * 8, double(load(p)) / 3.0)",
    "narrow": "st(q, narrow(double(ld(p)) / 3.0))\nstore(q + BYTES, narrow(double(load(p)) / 7.0))",
    "integer": "store_int(q, integer(load(p) * 100.0))\nstore_int(q + 8, integer(-2.75))",
    "iota": "stq(q, iota() * iota() - 3, LANES)",
    "select": "st(q, select(ld(p) < 0.0, -1.0, ld(p)))\nstore(q + BYTES, select(m > 3, load(p), 4.0))",
    "select two": "st(q, select((ld(p) < 0.5) & ~(ld(p) < -0.5), 1.0, 0.0))\nstore_int(q + BYTES, select(m > 3, m, 4))",
    "fma": "st(q, fma(ld(p), ld(p + SIZE), 1.0))\nstore(q + BYTES, fma(load(p), 3.0, load(p + SIZE)))",
    "fma wide": "stw(q, fma(double(ld(p)), 3.0, 0.1), LANES)",
    "sqrt": "st(q, sqrt(ld(p)))\nstore(q + BYTES, sqrt(load(p + SIZE * 9)))",
    "floor": "st(q, floor(ld(p) * 3.0))\nstore(q + BYTES, floor(load(p)))",
    "absolute": "st(q, absolute(ld(p)))\nstore_int(q + BYTES, absolute(-m))\nstore(q + BYTES + 8, abs(load(p)))",
    "most": "st(q, most(ld(p), ld(p + SIZE)))\nstore(q + BYTES, most(load(p), 0.25))\n"
    "st(q + 2 * BYTES, most(0.0, ld(p)))",
    "least": "st(q, least(ld(p), ld(p + SIZE)))\nstore(q + BYTES, least(load(p), 0.25))",
    "hsum": "store(q, hsum(ld(p)))\nstore_int(q + 8, hsum(iota()))\nstore_double(q + 16, hsum(double(ld(p))))",
    "hmost": "store(q, hmost(ld(p)))\nstore(q + 8, hmost(ldm(p, 3, 9.0)))\nstore(q + 16, hmost(2.0))",
    "hleast": "store(q, hleast(ld(p)))\nstore(q + 8, hleast(ldm(p, 3, -9.0)))",
    "hproduct": "store(q, hproduct(ld(p)))\nstore_int(q + 8, hproduct(iota() + 1) & 4095)",
    "any_lane": "if any_lane(ld(p) > m):\n    store_int(q, 1)\nif any_lane(ld(p) < 100.0):\n    store_int(q + 8, 1)",
    "lane": "store(q, lane(ld(p), m % LANES))\nstore_int(q + 8, lane(iota(), 2))\n"
    "store(q + 16, lane(ld(p), LANES - 1))",
    "lane of a mask": "if lane(ld(p) > 0.0, 1):\n    store_int(q, 5)",
    "transposed": "rows = transposed([ldm(p + k * SIZE, LANES, 0.0) for k in static(LANES)])\n"
    "for k in static(LANES):\n    st(q + k * BYTES, rows[k])",
    "alternate": "st(q, alternate(ld(p), ld(p + SIZE), 0))\nst(q + BYTES, alternate(ld(p), ld(p + BYTES), 1))",
    "woven": "st(q, woven(ld(p), ld(p + BYTES), 0))\nst(q + BYTES, woven(ld(p), ld(p + BYTES), 1))",
    "bits": "store_int(q, bits(load(p)) + 0)\nst(q + BYTES, from_bits(bits(ld(p)) ^ 1))",
    "from_bits": "store(q, from_bits(bits(load(p)) & -8))\nst(q + BYTES, from_bits(bits(ld(p)) - (bits(ld(p)) & 7)))",
    "opaque": "store_int(q, opaque(m) + opaque(3))",
    "wrapped": "store_int(q, wrapped(m * 6148914691236517205))\nstore_int(q + 8, wrapped(m - 7))",
    "product_high": "store_int(q, product_high(m - 9, m))\nstore_int(q + 8, product_high(-1, -m))",
    "called": f"called({ctypes.cast(ctypes.memset, ctypes.c_void_p).value}, q + 8, m, 2 * SIZE)",
    "shifts of lanes": "stq(q, (iota() << 3) >> 1, LANES)\n"
    "stq(q + 8 * LANES, (iota() - 5) // 3 + (iota() - 5) % 4, LANES)",
}


def numbers(dtype, count, seed=0):
    """Plain and special numbers."""
    x = np.random.default_rng(seed).normal(size=count).astype(dtype)
    x[2::7] = np.round(x[2::7])
    return x


def special(dtype, count):
    values = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, np.finfo(dtype).tiny, np.finfo(dtype).max, 0.5, -2.5]
    return np.resize(np.array(values, dtype), count)


def test_there_is_a_trial_of_every_word():
    used = {name for body in (*COUNTED.values(), *PLAIN.values()) for name in re.findall(r"[a-z_]+", body)}
    assert set(WORDS) - used == set()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("what", COUNTED)
def test_words_that_count_lanes(what, width, dtype):
    lanes = width // np.dtype(dtype).itemsize
    for n in (*range(lanes + 2), -1, 1 << 40):
        x, y = numbers(dtype, 3 * lanes), numbers(dtype, 6 * lanes, 1)
        one, two = both(COUNTED[what], x, y, n, 5, width, dtype)
        np.testing.assert_array_equal(one.view(np.uint8), two.view(np.uint8), f"n = {n}")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("kind", [numbers, special])
@pytest.mark.parametrize("what", PLAIN)
def test_words(what, kind, width, dtype):
    if what == "integer" and kind is special:
        pytest.skip("numbers that are no integers of 64 bits have none")
    lanes = width // np.dtype(dtype).itemsize
    x, y = kind(dtype, 3 * lanes + 8), numbers(dtype, lanes * max(lanes, 6), 1)
    body = PLAIN[what].replace("real_at(w, 4)", "real_at(p, 1)")
    one, two = both(body, x, y, 3, 6, width, dtype)
    same = (
        (one == two) | (np.isnan(one) & np.isnan(two)) | (one.view(f"i{one.itemsize}") == two.view(f"i{one.itemsize}"))
    )
    assert same.all(), (one[~same], two[~same])


@pytest.mark.skipif(os.name != "posix", reason="pages are protected by POSIX's mprotect")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize(
    ("body", "size"),
    [
        ("stm(q, ldm(p, n, 0.5), n)", 0), ("stg(q, SIZE, ldg(p, SIZE, n, 0.0), n)", 0), ("stq(q, ldq(p, n, 0), n)", 8),
        ("stb(q, ldb(p, n), n)", 1), ("stw(q, ldw(p, n, 0.0), n)", 8),
    ],
)  # fmt: skip
def test_masks_touch_nothing_beyond(body, size, width, dtype):
    size = size or np.dtype(dtype).itemsize
    address = entry(kernel(written(body), dtype), width)
    for n in range(1, width // np.dtype(dtype).itemsize + 1):
        x, y = guarded(n * size), guarded(n * size)  # a byte more would end the process
        x[:] = np.arange(len(x)) % 2 if size == 1 else np.full(n, 2.0, f"f{size}").view(np.uint8)
        words = np.array([x.ctypes.data, y.ctypes.data, n, 0])
        objects.call(address, words.ctypes.data, 0, 1)
        np.testing.assert_array_equal(x, y)
