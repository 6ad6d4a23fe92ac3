"""Products of columns and rows: the bits of NumPy's products, by the kernel and without it."""

import numpy as np
import pytest

import tensorgraph as tg
from tensorgraph.ops.kernels import outer as kernels
from tensorgraph.testing import assert_same


def pair(stack, m, n, dtype):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(*stack, m, 1)).astype(dtype), rng.normal(size=(*stack, 1, n)).astype(dtype)
    if a.size and b.size:
        a.flat[0], b.flat[-1], a.flat[-1] = np.nan, np.inf, -0.0
    return a, b


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i8"])
@pytest.mark.parametrize(
    ("stack", "m", "n"), [((64,), 32, 48), ((4, 8), 64, 32), ((2,), 300, 200), ((3,), 0, 5), ((1,), 9, 9)]
)
def test_every_element_is_one_product(dtype, stack, m, n):
    with np.errstate(all="ignore"):
        a, b = pair(stack, m, n, dtype) if dtype != "i8" else (x.astype("i8") for x in pair(stack, m, n, "f4"))
        assert_same(kernels.outer(a, b), a * b)
        assert_same(tg.matmul(a, b).numpy(), a * b)
        across = np.swapaxes(np.ascontiguousarray(np.swapaxes(a, 0, -2)), 0, -2)
        assert_same(kernels.outer(across, b[..., ::-1]), a * b[..., ::-1])


def test_the_body_runs_as_plain_python():
    a, b = pair((3,), 4, 5, "f8")
    out = np.full((3, 4, 5), 7.0)
    with np.errstate(invalid="ignore"):
        kernels._outer(a[..., 0], b[:, 0], out, 1, 3)
        assert_same(out[1:], (a * b)[1:])
    assert (out[0] == 7).all()


def test_stacks_that_broadcast():
    a, b = np.ones((5, 1, 40, 1), "f4"), np.ones((7, 1, 50), "f4")
    assert tg.matmul(a, b).shape == (5, 7, 40, 50)
