"""Products summed over axes by the kernels of matrices, for the subscripts of `einsum`."""

import numpy as np
import pytest
from native_products import DTYPES, needs_code, numbers, run

from tensorgraph.native.places import Call, Place
from tensorgraph.ops.contract import contract_axes
from tensorgraph.ops.native import product as rules

RULE = contract_axes.native_rule()
CASES = [
    ("ij,jk->ik", (5, 7), (7, 40)), ("ij,kj->ik", (5, 7), (40, 7)), ("ji,jk->ki", (7, 20), (7, 9)),
    ("i,i->", (70,), (70,)), ("bqd,bkd->bqk", (2, 5, 7), (2, 9, 7)), ("bqhd,bkhd->bhqk", (2, 5, 3, 7), (2, 9, 3, 7)),
    ("i,j->ij", (9,), (20,)), ("bhqk,bkhd->bqhd", (2, 3, 5, 7), (2, 7, 3, 9)), ("ijk,ik->ij", (4, 5, 6), (4, 6)),
    ("ij,ij->", (5, 7), (5, 7)), ("ij,ji->", (5, 7), (7, 5)), ("ij,ij->i", (5, 70), (5, 70)),
    ("ii,ij->j", (5, 5), (5, 9)), ("abc,bad->cd", (2, 3, 4), (3, 2, 5)), ("aibj,ibk->ajk", (2, 3, 2, 4), (3, 2, 5)),
    ("ij,jk->ik", (2, 1), (6, 3)), ("ij,jk->ik", (2, 6), (1, 3)), ("bij,ci->bcj", (2, 3, 4), (5, 3)),
    ("bhwc,co->bhwo", (2, 3, 4, 5), (5, 20)), ("bchw,oc->bohw", (2, 5, 3, 4), (6, 5)),
    ("nchw,nohw->oc", (2, 5, 3, 4), (2, 6, 3, 4)), ("ij,jk->ik", (3, 0), (0, 2)), ("ij,jk->ik", (0, 3), (3, 2)),
    ("abij,bjk->aibk", (2, 3, 4, 5), (3, 5, 6)),
]  # fmt: skip


def contract(subscripts, a, b, how="code", **options):
    out = np.full(np.einsum(subscripts, a, b).shape, np.nan, a.dtype)
    run(RULE, [a, b], out, how, subscripts=subscripts, **options)
    return out


def assert_is_einsum(out, subscripts, a, b):
    a, b = a.astype("longdouble"), b.astype("longdouble")
    exact = np.einsum(subscripts, a, b)
    scale = np.maximum(abs(exact).max(initial=0), np.einsum(subscripts, abs(a), abs(b)) / 64)
    assert np.isfinite(out).all()
    assert (abs(out - exact) <= 8 * np.finfo(out.dtype).eps * scale).all()


def positive(shape, dtype, seed):
    return abs(numbers(shape, dtype, seed))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("subscripts", "left", "right"), CASES, ids=str)
def test_subscripts(subscripts, left, right, dtype):
    a, b = positive(left, dtype, 0), positive(right, dtype, 1)
    for x in (a, np.asfortranarray(a)):
        for y in (b, np.asfortranarray(b)):
            assert_is_einsum(contract(subscripts, x, y, "emulation", width=64), subscripts, x, y)
            assert_is_einsum(contract(subscripts, x, y, "emulation", width=32), subscripts, x, y)


@needs_code
@pytest.mark.parametrize(("subscripts", "left", "right"), CASES, ids=str)
def test_blocks_change_no_bit(subscripts, left, right):
    a, b = numbers(left, "float32"), numbers(right, "float32", 1)
    out = contract(subscripts, a, b)
    for blocks in (1, 3):
        np.testing.assert_array_equal(contract(subscripts, a, b, blocks=blocks), out)


@needs_code
def test_large_contractions(monkeypatch):
    for subscripts, left, right in (
        ("nchw,nohw->oc", (20, 8, 30, 40), (20, 9, 30, 40)),
        ("bij,bkj->bik", (2, 64, 70), (2, 90, 70)),
    ):
        a, b = positive(left, "float32", 0), positive(right, "float32", 1)
        plain = contract(subscripts, a, b)
        assert_is_einsum(plain, subscripts, a, b)
        monkeypatch.setattr(rules, "is_packed", lambda given: True)
        np.testing.assert_array_equal(contract(subscripts, a, b), plain)
        monkeypatch.undo()


def test_what_repeats_is_read_where_it_is():
    a, b = (
        np.broadcast_to(positive((1, 7), "float32", 0), (5, 7)),
        np.broadcast_to(positive((7, 1), "float32", 1), (7, 20)),
    )
    assert_is_einsum(contract("ij,jk->ik", a, b, "emulation"), "ij,jk->ik", a, b)
    assert_is_einsum(contract("ij,jk->ki", a, b, "emulation"), "ij,jk->ki", a, b)


@pytest.mark.parametrize(
    ("subscripts", "left", "right"),
    [
        ("ij,kl->il", (3, 4), (5, 6)),
        ("bij,bjk->ikb", (5, 3, 4), (5, 4, 6)),
    ],
)
def test_what_is_no_product_of_matrices_is_left_alone(subscripts, left, right):
    out = Place.new(np.einsum(subscripts, np.zeros(left), np.zeros(right)).shape, "float32")
    call = Call((Place.new(left, "float32"), Place.new(right, "float32")), (out,), {"subscripts": subscripts})
    assert not RULE(call)
    assert not call.records
