"""Large products, whose factors are packed: the same bits as those that are not."""

import numpy as np
import pytest
from native_products import DTYPES, WIDTH, address, assert_close, needs_code, numbers, product_of, run

from tensorgraph.native.places import Place
from tensorgraph.ops.contraction import matmul
from tensorgraph.ops.native import product as rules


@pytest.fixture
def packing(monkeypatch):
    """Whether products are packed, as a function to call."""
    return lambda on: monkeypatch.setattr(rules, "is_packed", lambda given: on)


def factors(m, k, n, left, right, dtype):
    a = numbers((m, k), dtype) if left == "rows" else numbers((k, m), dtype).T
    b = numbers((k, n), dtype, 1) if right == "rows" else numbers((n, k), dtype, 1).T
    if left == "steps":
        wide = np.zeros((m, 3 * k), dtype)
        wide[:, ::3] = a
        a = wide[:, ::3]
    return a, b


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", [64, 32])
@pytest.mark.parametrize("left", ["rows", "columns", "steps"])
@pytest.mark.parametrize("right", ["rows", "columns"])
def test_addresses_are_those_of_the_arrays(left, right, width, dtype, packing):
    packing(True)
    for m, k, n in ((7, 5, 3), (25, 19, 70), (12, 16, 32)):
        a, b = factors(m, k, n, left, right, dtype)
        assert_close(product_of(a, b, "emulation", width=width), a, b)


@needs_code
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("left", ["rows", "columns", "steps"])
@pytest.mark.parametrize("right", ["rows", "columns"])
def test_packing_changes_no_bit(left, right, dtype, packing):
    for m, k, n in ((33, 257, 129), (64, 64, 64), (97, 530, 31), (40, 4200, 33), (13, 17_000, 40)):
        a, b = factors(m, k, n, left, right, dtype)
        packing(False)
        plain = product_of(a, b)
        packing(True)
        np.testing.assert_array_equal(product_of(a, b), plain)
        np.testing.assert_array_equal(product_of(a, b, blocks=1, width=32 if left == right else WIDTH), plain)
        assert_close(plain, a, b)


@needs_code
def test_bands_of_rows(packing, monkeypatch):
    a, b = factors(200, 5000, 40, "rows", "rows", "float32")
    packing(True)
    whole = product_of(a, b)
    monkeypatch.setattr(rules, "BAND", 1)
    np.testing.assert_array_equal(product_of(a, b), whole)
    call = run(matmul.native_rule(), [a, b], np.zeros((200, 40), "float32"))
    assert sum(place.nbytes for place in call.scratch_places) < 2_000_000
    long = factors(64, 40_000, 33, "rows", "rows", "float32")
    call = run(matmul.native_rule(), long, np.zeros((64, 33), "float32"))
    assert sum(place.nbytes for place in call.scratch_places) < 2_000_000  # of all parts of a sum together


@needs_code
def test_packed_matrices_one_by_one(packing):
    for left, right in (((3, 40, 70), (70, 50)), ((3, 40, 70), (3, 70, 50)), ((40, 70), (2, 2, 70, 50))):
        a, b = numbers(left, "float32"), numbers(right, "float32", 1)
        packing(False)
        plain = product_of(a, b)
        packing(True)
        np.testing.assert_array_equal(product_of(a, b), plain)


@needs_code
@pytest.mark.parametrize("k", [100, 5000, 17_000])
def test_an_ending(k, packing):
    a, b, bias = numbers((30, k), "float32"), numbers((k, 50), "float32", 1), numbers(50, "float32", 2)
    outs = [np.full((30, 50), np.nan, "float32") for _ in range(2)]
    for out, on in zip(outs, (False, True), strict=True):
        packing(on)
        run(lambda c: rules.product_call(c, *c.inputs[:2], c.outputs[0], c.inputs[2], "relu"), [a, b, bias], out)
    np.testing.assert_array_equal(*outs)
    assert (outs[0] >= 0).all() and (outs[0] > 0).any()


def test_what_is_packed():
    def packed(m, k, n, turned=False):
        b = Place.new((n, k), "float32").transposed((1, 0)) if turned else Place.new((k, n), "float32")
        return rules.is_packed(rules.products_of(Place.new((m, k), "float32"), b, Place.new((m, n), "float32")))

    assert packed(256, 1024, 1024) and packed(1024, 256, 1024) and packed(256, 1024, 1024, turned=True)
    assert not packed(64, 64, 32) and not packed(64, 784, 256) and not packed(1, 1024, 1024)


@needs_code
def test_a_guarded_page_is_not_touched(packing):
    """The first and the last byte of every factor lie at the ends of memory that can be read."""
    mmap = pytest.importorskip("mmap")
    import ctypes

    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mprotect"):
        pytest.skip("no mprotect here")

    def guarded(x):
        page = mmap.PAGESIZE
        room = -(-x.nbytes // page) * page
        memory = mmap.mmap(-1, room + page)
        whole = np.frombuffer(memory, np.uint8)
        assert libc.mprotect(ctypes.c_void_p(address(whole) + room), ctypes.c_size_t(page), 0) == 0
        end = whole[room - x.nbytes : room].view(x.dtype).reshape(x.shape)
        end[...] = x
        return end

    for on in (False, True):
        packing(on)
        for left, right in (("rows", "rows"), ("columns", "columns")):
            a, b = factors(45, 67, 53, left, right, "float32")
            a = guarded(a) if left == "rows" else guarded(np.ascontiguousarray(a.T)).T
            b = guarded(b) if right == "rows" else guarded(np.ascontiguousarray(b.T)).T
            out = guarded(np.zeros((45, 53), "float32"))
            run(matmul.native_rule(), [a, b], out)
            assert_close(out, a, b)
