"""Eager products of stacks of matrices, for each of which NumPy calls BLAS, and of two large ones, on the kernels of
compiled functions.
"""

import numpy as np
import pytest

import tensorgraph as tg
from tensorgraph import jit
from tensorgraph.native import machine
from tensorgraph.ops import contraction
from tensorgraph.ops.contraction import matrix_product
from tensorgraph.testing import assert_close, assert_same

SHAPES = [
    ((8, 16, 16), (8, 16, 16)), ((8, 16, 16), (16, 5)), ((16, 16), (8, 16, 3)), ((8, 1, 64), (8, 64, 9)),
    ((8, 9, 64), (8, 64, 1)), ((2, 1, 9, 8), (3, 8, 7)), ((4, 3, 2, 5, 9), (3, 1, 9, 6)), ((64,), (9, 64, 4)),
    ((9, 4, 64), (64,)), ((300, 2, 2), (300, 2, 2)), ((5, 7, 200), (5, 200, 1)), ((5, 60, 0), (5, 0, 60)),
    ((0, 30, 30), (0, 30, 30)), ((700, 3, 0), (700, 0, 0)),
]  # fmt: skip


def drawn(shape, dtype, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int64"])
@pytest.mark.parametrize(("left", "right"), SHAPES)
def test_every_stack(left, right, dtype, monkeypatch):
    monkeypatch.setattr(contraction, "SEVERAL", 0)
    check(left, right, dtype)


def check(left, right, dtype):
    a, b = 3 * drawn(left, dtype), 3 * drawn(right, dtype, 1)
    a, b = a.astype(dtype), b.astype(dtype)
    expected = np.matmul(a.astype("f8"), b.astype("f8"))
    found = matrix_product(a, b)
    assert found.dtype == a.dtype and found.shape == expected.shape
    if dtype == "int64":
        assert_same(found, expected.astype(dtype))
    else:
        assert_close(found, expected, scale=np.matmul(abs(a.astype("f8")), abs(b.astype("f8"))) + 1e-30)


PAIRS = [
    ((64, 30), (30, 50)), ((1, 300), (300, 7)), ((7, 300), (300, 1)), ((9, 0), (0, 9)), ((0, 9), (9, 9)),
    ((1, 1), (1, 1)),
]  # fmt: skip


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int64"])
@pytest.mark.parametrize(("left", "right"), PAIRS)
def test_every_pair(left, right, dtype, monkeypatch):
    monkeypatch.setattr(contraction, "SMALL", frozenset())
    monkeypatch.setattr(contraction, "MANY", 0)
    check(left, right, dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("stack", [(6,), ()])
def test_every_layout(dtype, stack, monkeypatch):
    monkeypatch.setattr(contraction, "SMALL", frozenset())
    monkeypatch.setattr(contraction, "MANY", 0)
    a, b = drawn((*stack, 20, 17), dtype), drawn((*stack, 17, 11), dtype, 1)
    expected = np.matmul(a, b)

    def layouts(x):
        wide = np.zeros([2 * n for n in x.shape], dtype)
        apart = wide[..., ::-2, 1::2] if x.ndim == 2 else wide[::2, ::-2, 1::2]
        apart[...] = x
        turned = np.ascontiguousarray(x.swapaxes(-1, -2)).swapaxes(-1, -2)
        return [x, turned, np.asfortranarray(x), apart, x.astype(x.dtype.newbyteorder())]

    for left in layouts(a):
        for right in layouts(b):
            assert_close(matrix_product(left, right), expected)
    many = np.broadcast_to(a[:1], a.shape)
    assert_close(matrix_product(many, b), np.matmul(many.copy(), b))


def test_what_is_not_finite_stays_in_its_matrix():
    a, b = drawn((9, 16, 16), "float32"), drawn((9, 16, 16), "float32", 1)
    a[2, 3, 4], a[5, 0, 0], b[7, 1, 1] = np.nan, np.inf, -np.inf
    with np.errstate(invalid="ignore"):
        expected = np.matmul(a, b)
    found = matrix_product(a, b)
    assert (np.isfinite(found) == np.isfinite(expected)).all()
    assert_same(np.isnan(found), np.isnan(expected))


@pytest.mark.skipif(not machine.available(), reason=str(machine.reason()))
@pytest.mark.parametrize("shape", [(40, 60, 60), (130, 130)])
def test_threads_and_compiling_change_no_bit(shape):
    a, b = (tg.tensor(drawn(shape, "float32", k), requires_grad=True) for k in (0, 1))
    g = tg.tensor(drawn(shape, "float32", 2))

    def pulled(a, b):
        return tg.gradients((tg.einsum("...ij,...jk->...ik", a, b) * g).sum(), (a, b))

    before, found = jit.num_threads(), []
    try:
        for count in (1, 2, 3):
            jit.set_num_threads(count)
            found.append([(a @ b).numpy(), *[d.numpy() for d in pulled(a, b)]])
    finally:
        jit.set_num_threads(before)
    assert len(shape) > 2 or shape[0] ** 3 >= contraction.MANY
    found.append([tg.compile(lambda a, b: a @ b, exact=True)(a, b).numpy(),
                  *[d.numpy() for d in tg.compile(pulled, exact=True)(a, b)]])  # fmt: skip
    for other in found[1:]:
        for x, y in zip(found[0], other, strict=True):
            assert_same(x, y)


@pytest.mark.parametrize("shape", [(8, 16, 9), (400, 399)])
def test_what_does_not_fit_is_refused(shape):
    with pytest.raises(ValueError, match=r"matmul.*last axis of a"):
        tg.tensor(np.ones(shape)) @ tg.tensor(np.ones(shape))


MET = [
    ((5, 3, 4), (4, 6)), ((2, 5, 3, 4), (4, 1)), ((5, 3, 4), (4,)), ((0, 3, 4), (4, 6)), ((5, 3, 0), (0, 6)),
    ((3, 4), (5, 4, 6)), ((4,), (2, 5, 4, 6)), ((1, 4), (0, 4, 6)), ((3, 4), (5, 4, 0)),
]  # fmt: skip


@pytest.mark.parametrize(("left", "right"), MET)
def test_the_gradient_of_a_matrix_that_a_stack_has_met_is_one_product(left, right):
    """Not one for each of the stack and a sum of them, which writes and reads as many matrices."""
    a, b = drawn(left, "float64"), drawn(right, "float64", 1)
    one, met = (a, lambda x: x @ tg.tensor(b)) if a.ndim < 3 else (b, lambda x: tg.tensor(a) @ x)
    graph = tg.trace(tg.grad(lambda x: (met(x) ** 3).sum()), tg.tensor(one)).transform()
    assert graph.equations[-1].op.name == "contract_axes"
    step = 1e-6 * drawn(one.shape, "float64", 2)
    up, down = (np.sum(met(tg.tensor(moved)).numpy() ** 3) for moved in (one + step, one - step))
    np.testing.assert_allclose(np.sum(graph(tg.tensor(one)).numpy() * step), (up - down) / 2, rtol=1e-5, atol=1e-12)
