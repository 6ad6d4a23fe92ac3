"""Sines, arcs, hyperbolic functions, roots and logarithms of any base over the whole range, against longer floats."""

import numpy as np
import pytest

import tensorgraph as tg
from tensorgraph.native import machine
from tensorgraph.ops.kernels import scalar

# units in the last place that are allowed: what is reached is a fifth less, plain and compiled
ALLOWED = {
    "sin": 3.0, "cos": 3.0, "tan": 4.5, "asin": 2.8, "acos": 1.5, "atan": 2.3, "sinh": 2.0, "cosh": 2.0,
    "asinh": 2.2, "acosh": 3.2, "atanh": 2.4, "exp2": 1.5, "log2": 2.3, "log10": 2.4, "cbrt": 1.2,
    "atan2": 2.3, "hypot": 1.5,
}  # fmt: skip
OWN = {"asin": "arcsin", "acos": "arccos", "atan": "arctan", "asinh": "arcsinh", "acosh": "arccosh",
       "atanh": "arctanh", "atan2": "arctan2"}  # fmt: skip
OF_TWO = ("atan2", "hypot")
HIGHER = {np.float32: np.float64, np.float64: np.longdouble}


def points(dtype):
    """Numbers of every size, plain ones in greater number, those near whole quarter turns, and the special ones."""
    rng, n = np.random.default_rng(1), 4000
    whole, info = np.iinfo(f"i{np.dtype(dtype).itemsize}"), np.finfo(dtype)
    special = [0.0, np.inf, np.nan, 0.5, 1.0, 2.0, 8.0, 1000.0, 88.9, 89.3, 710.2]
    special += [info.tiny, info.smallest_subnormal, info.max, info.eps, 2.0**15, 2.0**20]
    parts = [
        rng.integers(whole.min, whole.max, n, dtype=whole.dtype, endpoint=True).view(dtype),
        rng.standard_normal(n),
        30 * rng.standard_normal(n),
        rng.uniform(-1, 1, n),
        1 + 1e-3 * rng.standard_normal(n),
        1e5 * rng.standard_normal(n),
        np.round(rng.uniform(-1e5, 1e5, n)) * (np.pi / 2),
        np.array(special + [-s for s in special]),
    ]
    with np.errstate(all="ignore"):
        return np.concatenate([p.astype(dtype) for p in parts])


def assert_right(name, y, x, other):
    dtype = x.dtype.type
    with np.errstate(all="ignore"):
        reference = getattr(np, OWN.get(name, name))
        exact = reference(*[a.astype(HIGHER[dtype]) for a in ((x, other) if name in OF_TWO else (x,))])
        rounded = exact.astype(dtype)
    assert y.dtype == dtype, name
    for test in (np.isnan, np.isinf):
        differs = test(y) != test(rounded)
        assert not differs.any(), (name, x[differs], other[differs], y[differs])
    given = ~np.isnan(rounded)
    assert np.array_equal(np.signbit(y[given]), np.signbit(rounded[given])), name
    finite = np.isfinite(rounded)
    with np.errstate(over="ignore"):  # the neighbour of the largest number is infinite
        unit = np.spacing(np.abs(rounded[finite]))
    error = np.abs(y[finite].astype(HIGHER[dtype]) - exact[finite]) / unit
    worst = error.argmax()
    assert error[worst] <= ALLOWED[name], (name, x[finite][worst], y[finite][worst], exact[finite][worst])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("how", ["plain", "compiled"])
def test_over_the_whole_range(how, dtype):
    if dtype is np.float64 and np.finfo(np.longdouble).eps == np.finfo(np.float64).eps:
        pytest.skip("no precision above float64 on this system")
    if how == "compiled" and not machine.available():
        pytest.skip("without machine code these are NumPy's, whose digits are another matter")
    x = points(dtype)
    other = np.random.default_rng(2).permutation(x)
    if how == "plain":
        with np.errstate(all="ignore"):
            found = [getattr(scalar, name)(*((x, other) if name in OF_TWO else (x,))) for name in ALLOWED]
    else:
        step = tg.compile(lambda x, other: [getattr(tg, n)(*((x, other) if n in OF_TWO else (x,))) for n in ALLOWED])
        with np.errstate(all="ignore"):
            found = [tensor.numpy() for tensor in step(x, other)]
    for name, y in zip(ALLOWED, found, strict=True):
        assert_right(name, y, x, other)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_is_exact_stays_exact(dtype):
    n = np.arange(-100, 100).astype(dtype)
    powers = 2.0 ** n.astype(np.float64)
    assert np.array_equal(scalar.exp2(n), powers.astype(dtype))
    assert np.array_equal(scalar.log2(powers.astype(dtype)), n)
    assert np.array_equal(scalar.hypot(3 * n, 4 * n), np.abs(5 * n))


def test_a_large_number_in_a_vector_changes_no_bit_of_its_neighbours():
    """Numbers whose quarter turns need more digits are reduced apart, all lanes of a vector with them."""
    x = np.random.default_rng(0).standard_normal(64).astype(np.float32) * 100
    sine = tg.compile(lambda x: (tg.sin(x), tg.cos(x), tg.tan(x)))
    near = [v.numpy() for v in sine(x)]
    x[::7] = 1e30
    for before, after in zip(near, [v.numpy() for v in sine(x)], strict=True):
        kept = np.arange(64) % 7 != 0
        assert np.array_equal(before[kept], after[kept])
