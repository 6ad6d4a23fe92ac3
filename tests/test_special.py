"""Special functions and activations, against SciPy and against closed forms far out."""

import math

import numpy as np
import pytest

import tensorgraph as tg
from tensorgraph.ops.special import bell

special = pytest.importorskip("scipy.special")

INSIDE = np.concatenate([np.linspace(-7, 7, 4001), np.logspace(-300, -1, 300), -np.logspace(-300, -1, 300)])
POSITIVE = np.concatenate([np.linspace(0.001, 20, 4001), np.logspace(-200, 60, 600), 1 + np.linspace(-0.01, 0.01, 201)])
NEGATIVE = -np.linspace(0.0013, 30.3, 4001)
HOSTILE = np.array([0.0, -0.0, -1.0, -2.0, np.inf, np.nan])


def ulps(found, expected):
    """The largest error, in units in the last place of the value, or of 1 where that is larger."""
    fits = np.isfinite(expected)
    assert np.array_equal(np.isfinite(found), fits)
    scale = np.maximum(np.abs(expected[fits]), 1.0)
    return np.max(np.abs(found[fits] - expected[fits]) / np.spacing(scale), initial=0)


@pytest.mark.parametrize(
    ("op", "expected", "points", "bound"),
    [
        (tg.erf, special.erf, INSIDE, 4),
        (tg.erfc, special.erfc, INSIDE, 4),
        (tg.lgamma, special.gammaln, POSITIVE, 8),
        (tg.lgamma, special.gammaln, NEGATIVE, 16),
        (tg.digamma, special.digamma, POSITIVE, 8),
        (tg.erfinv, special.erfinv, np.concatenate([np.linspace(-1, 1, 4001), 1 - np.logspace(-16, -1, 300)]), 8),
    ],
    ids=lambda v: getattr(v, "__name__", ""),
)
def test_against_scipy(op, expected, points, bound):
    with np.errstate(all="ignore"):
        assert ulps(op(points).numpy(), expected(points)) <= bound


@pytest.mark.parametrize(
    ("op", "x", "exact"),  # with 30 digits, by series
    [
        (tg.erfc, 0.5, 0.47950012218695346232), (tg.erfc, 1.25, 0.077099871743541769863),
        (tg.erfc, 2.5, 0.00040695201744495893956), (tg.erfc, 5.0, 1.5374597944280348502e-12),
        (tg.erfc, 10.0, 2.088487583762544757e-45), (tg.erfc, 26.0, 5.6631924088561428465e-296),
        (tg.lgamma, 1.99999, -4.2278111042416735176e-6), (tg.lgamma, 2.00001, 4.2278755976483595969e-6),
        (tg.lgamma, -0.5, 1.2655121234846453965), (tg.lgamma, 1e-10, 23.025850929882735237),
        (tg.digamma, 1.99999, 0.42277788573759284224),
        (tg.digamma, -12.999442300000002, -1790.47400460476952), (tg.digamma, 1e-10, -10000000000.5772153),
    ],
)  # fmt: skip
def test_to_the_last_digits(op, x, exact):
    with np.errstate(all="ignore"):
        assert abs(float(op(np.float64(x))) - exact) <= 8 * np.spacing(abs(exact))


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_polygamma(n):
    points = POSITIVE[(POSITIVE > 1e-20) & (POSITIVE < 1e20)]
    found, expected = tg.polygamma(points, n=n).numpy(), special.polygamma(n, points)
    assert np.max(np.abs(found - expected) / np.abs(expected)) < 4e-15
    found, expected = tg.polygamma(NEGATIVE, n=n).numpy(), special.polygamma(n, NEGATIVE)
    assert np.max(np.abs(found - expected) / np.maximum(np.abs(expected), 1)) < 1e-13
    assert np.array_equal(tg.polygamma([0.0, -0.0, -1.0, -3.0], n=n).numpy(), special.polygamma(n, [0, 0, -1, -3]))


@pytest.mark.parametrize("op", [tg.lgamma, tg.digamma], ids=["lgamma", "digamma"])
def test_where_gamma_has_poles(op):
    found = op(HOSTILE).tolist()
    expected = {"lgamma": [math.inf] * 5, "digamma": [-math.inf, math.inf, math.nan, math.nan, math.inf]}
    assert np.array_equal(found, [*expected[op.__name__], math.nan], equal_nan=True)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_narrow_floats(dtype):
    x = np.linspace(-3, 3, 401).astype(dtype)
    for op, expected in ((tg.erf, special.erf), (tg.erfc, special.erfc), (tg.lgamma, special.gammaln)):
        with np.errstate(all="ignore"):
            found, wide = op(x).numpy(), expected(x.astype(np.float64))
        fits = np.isfinite(wide)
        assert found.dtype == dtype
        error = np.abs(found[fits] - wide[fits])
        assert np.all(error <= 2 * np.spacing(np.maximum(np.abs(wide[fits]), 0.1).astype(dtype)))


def test_erfc_keeps_its_digits_in_float32():
    """As float64's, each relative to itself, also where the exponent's square passes a power of two."""
    x = np.linspace(-2, 9, 6001).astype(np.float32)
    wide = special.erfc(x.astype(np.float64))
    for every in (1, 30):  # by the kernel, and by the formula
        error = np.abs(tg.erfc(x[::every]).numpy() - wide[::every]) / wide[::every]
        assert error.max() <= 8 * np.finfo(np.float32).eps


def test_the_bell_keeps_its_digits():
    for dtype, reach in ((np.float32, 9.0), (np.float64, 26.0)):
        x = np.linspace(-reach, reach, 2001).astype(dtype)
        wide = np.exp(-(x.astype(np.longdouble) ** 2))
        assert np.max(np.abs(bell(x) - wide) / wide) < 4 * np.finfo(dtype).eps


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gelu_far_to_the_left(dtype):
    """Value and derivative there are small differences of nothing: Φ and φ keep their digits."""
    x = np.linspace(-12, -1, 221).astype(dtype)
    wide = x.astype(np.float64)
    density = np.exp(-wide * wide.astype(np.longdouble) / 2) / math.sqrt(2 * math.pi)
    # erfcx changes slowly, so that what x / √2 loses by rounding does not matter
    phi = special.erfcx(-wide / math.sqrt(2)) * density * math.sqrt(math.pi / 2)
    slope = tg.grad(lambda x: tg.gelu(x).sum())(tg.tensor(x)).numpy()
    value, derivative = wide * phi, phi + wide * density
    assert np.max(np.abs(tg.gelu(x).numpy() - value) / np.abs(value)) <= 8 * np.finfo(dtype).eps
    # near -0.75 the slope is 0, and is what is left of two larger terms
    assert np.max(np.abs(slope - derivative) / np.abs(derivative)) <= 32 * np.finfo(dtype).eps


def test_gelu_by_its_tanh():
    x = np.linspace(-5, 5, 101)
    expected = 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    # what is expected cancels on the left
    assert np.allclose(tg.gelu(x, approximate="tanh").numpy(), expected, rtol=1e-9, atol=1e-15)


def test_names_that_numpy_and_pytorch_have():
    for name, op in tg.CATALOGUE.items():
        for other in op.also:
            assert getattr(tg, other) is getattr(tg, name)
    x = tg.tensor([0.25])
    assert tg.parse("def f(x: f32[1]) -> f32[1]:\n    return arcsin(x)") == tg.trace(tg.asin, tg.f32[1])
    assert x.abs().tolist() == abs(x).tolist() == np.abs(x).tolist() == [0.25]
    assert x.exp().tolist() == tg.exp(x).tolist() and x.clamp(a_max=0.0).tolist() == [0.0]
