"""Whole rows taken by number: by a kernel that threads share where they are many, and as NumPy does always."""

import numpy as np
import pytest

import tensorgraph as tg
from tensorgraph import jit
from tensorgraph.ops.kernels import taking
from tensorgraph.ops.kernels.taking import take_whole
from tensorgraph.testing import assert_same


@pytest.fixture(params=[True, False], ids=["kernel", "numpy"])
def kernel(request, monkeypatch):
    """Whether the kernel is taken, however few rows there are."""
    if request.param:
        monkeypatch.setattr(taking, "LARGE", 0)
        monkeypatch.setattr(taking, "WIDE", 1)
    return request.param


@pytest.mark.parametrize("dtype", ["f4", "f8", ">f4", "i8", "u4", "f2", "?"])
@pytest.mark.parametrize(("shape", "axis"), [((7, 5), 0), ((7,), 0), ((3, 7, 2), 1), ((2, 3, 7), 2), ((7, 0), 0)])
def test_every_type_and_axis(kernel, dtype, shape, axis):
    rng = np.random.default_rng(0)
    x = (rng.standard_normal(shape) * 9).astype(dtype)
    for index in (rng.integers(-7, 7, (4, 3)), np.array(3), np.zeros((0, 2), int), np.array([6, -7], "i1"),
                  np.arange(7)[::-2], np.array([0, 6], "u2")):  # fmt: skip
        found, expected = np.asarray(take_whole(x, index, axis), dtype), np.asarray(x.take(index, axis), dtype)
        assert found.shape == expected.shape
        assert found.tobytes() == expected.tobytes()


def test_bits_are_moved(kernel):
    x = np.array([[0x7FA00001, 0xFFC12345], [0x80000000, 1], [0x7F800000, 0xFF800000]], "u4").view("f4")
    assert take_whole(x, np.array([2, 0, 1, -3]), 0).view("u4").tolist() == x.view("u4")[[2, 0, 1, 0]].tolist()


@pytest.mark.parametrize("wrong", [3, -4, 2**62, -(2**62)])
def test_what_is_out_of_bounds_is_said_as_numpy_says_it(kernel, wrong):
    x = np.ones((3, 4), "f4")
    with pytest.raises(IndexError) as expected:
        x.take([0, wrong], 0)
    with pytest.raises(IndexError) as found:
        take_whole(x, np.array([0, wrong]), 0)
    assert str(found.value) == str(expected.value)
    with pytest.raises(IndexError, match="empty"):
        take_whole(np.ones((0, 4)), np.array([0]), 0)


def test_many_rows_and_threads():
    rng = np.random.default_rng(1)
    table, ids = rng.standard_normal((700, 64)).astype("f4"), rng.integers(0, 700, (50, 41))
    assert ids.size * 256 > taking.LARGE
    frozen = table.copy()
    frozen.flags.writeable = False
    before = jit.num_threads()
    try:
        for count in (1, 2, 3):
            jit.set_num_threads(count)
            for x in (table, frozen):
                assert_same(take_whole(x, ids, 0), table[ids])
    finally:
        jit.set_num_threads(before)


def test_tables_of_every_layout_and_their_gradients():
    rng = np.random.default_rng(2)
    table, ids = rng.standard_normal((300, 40)), rng.integers(0, 300, 2000)
    wide = np.zeros((600, 80))
    wide[::2, ::-2] = table
    expected = np.zeros_like(table)
    np.add.at(expected, ids, 1.0)
    for given in (table, np.asfortranarray(table), wide[::2, ::-2], table.astype(">f8")):
        for take in (tg.embedding, lambda t, i: t[i], lambda t, i: tg.take(t, i, axis=0)):
            t = tg.tensor(given, requires_grad=True)
            y = take(t, tg.tensor(ids))
            assert_same(y.numpy(), table[ids])
            y.sum().backward()
            assert_same(t.grad.numpy(), expected)
