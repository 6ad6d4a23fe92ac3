"""Products and differences of pairs as kernels: the bits are NumPy's, whatever the shapes and strides."""

import numpy as np
import pytest
from native_calls import HOWS, Run, every_how

import tensorgraph as tg
from tensorgraph.engine.op import CATALOGUE
from tensorgraph.native import machine

PRODUCTS = [
    ("ij,ij->ij", (3, 40), (3, 40)), ("ij,i->ij", (3, 20), (3,)), ("ij,j->ij", (3, 20), (20,)),
    ("ij,ij->ji", (3, 4), (3, 4)), ("i,i->i", (70,), (70,)), (",->", (), ()), ("i,->i", (5,), ()),
    ("abcd,abcd->abcd", (2, 3, 4, 5), (2, 3, 4, 5)), ("abcd,cb->dcba", (2, 3, 4, 5), (4, 3)),
    ("ij,ij->ij", (0, 4), (0, 4)), ("ii,i->i", (5, 5), (5,)), ("ij,ij->ij", (1, 4), (1, 4)),
]  # fmt: skip
DIFFERENCES = [((3, 40), 1, -1), ((3, 40), 1, 0), ((5, 2), 2, 0), ((2, 3, 4), 3, 2), ((2, 3, 4), 1, 1), ((2, 1), 1, 1)]


def hostile(shape, dtype, seed):
    """Numbers of both signs; one in nine is not finite, or 0, or tiny."""
    rng = np.random.default_rng(seed)
    odd = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-40, np.finfo(dtype).max], dtype)
    x = rng.normal(size=shape).astype(dtype)
    return np.where(rng.random(shape) < 1 / 9, rng.choice(odd, shape), x).astype(dtype)


def strided(x):
    """The same numbers in C order, in Fortran's, backwards, and every second of twice as many."""
    yield x
    if x.ndim:
        yield np.asfortranarray(x)
        yield x[::-1].copy()[::-1]
        yield np.repeat(x, 2, -1)[..., ::2]


def assert_given(name, inputs, attrs, how):
    with np.errstate(all="ignore"):
        eager = CATALOGUE[name].forward(*inputs, **attrs)
    run = Run(CATALOGUE[name].native_rule(), inputs, [(eager.shape, eager.dtype)], attrs, *how, order=-1)
    assert run.took
    np.testing.assert_array_equal(run.outputs[0], eager)
    np.testing.assert_array_equal(np.signbit(run.outputs[0][eager == 0]), np.signbit(eager[eager == 0]))


@every_how
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_products_keep_their_bits(dtype, how):
    for subscripts, left, right in PRODUCTS:
        for a in strided(hostile(left, dtype, 0)):
            for b in strided(hostile(right, dtype, 1)):
                assert_given("contract_axes", (a, b), {"subscripts": subscripts}, how)


@every_how
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_differences_keep_their_bits(dtype, how):
    for shape, n, axis in DIFFERENCES:
        for x in strided(hostile(shape, dtype, 0)):
            assert_given("diff", (x,), {"n": n, "axis": axis}, how)


@pytest.mark.skipif(not machine.available(), reason=str(machine.reason()))
def test_large_pairs_are_shared():
    a, b = hostile((300, 1000), "float32", 0), hostile((300,), "float32", 1)
    assert_given("contract_axes", (a, b), {"subscripts": "ij,i->ij"}, HOWS[-1])
    assert_given("diff", (a,), {"n": 1, "axis": 0}, HOWS[-1])


def test_compiled_differences_have_the_gradient():
    f = lambda x: tg.value_and_grad(lambda x: (x.diff(n=2, axis=0) ** 2).sum())(x)
    compiled, x = tg.compile(f), np.random.default_rng(0).normal(size=(6, 5))
    for got, eager in zip(compiled(x), f(tg.tensor(x)), strict=True):
        np.testing.assert_allclose(got.numpy(), eager.numpy(), rtol=1e-14)
    assert "NumPy   diff" not in compiled.explain()
