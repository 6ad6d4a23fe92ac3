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


def test_incomplete_gammas_against_scipy():
    rng = np.random.default_rng(0)
    a = np.concatenate([10 ** rng.uniform(-20, 3, 4000), 10 ** rng.uniform(-2, 4, 4000)])
    x = np.concatenate([10 ** rng.uniform(-12, 3, 4000), a[4000:] * 10 ** rng.uniform(-0.2, 0.2, 4000)])
    for op, oracle in ((tg.gammainc, special.gammainc), (tg.gammaincc, special.gammaincc)):
        found, expected = op(a, x).numpy(), oracle(a, x)
        fits = expected > 1e-290
        assert np.isfinite(found).all() and np.all(found[~fits] < 2e-290)
        # what is tiny is exp of a number of up to -700, of which SciPy loses more than the last place
        bound = 1e-14 + 4e-14 * np.abs(np.log(np.maximum(expected, 1e-300)))
        assert np.all(np.abs(found - expected)[fits] <= (bound * expected)[fits])
    ends = np.array([[0, 1], [1, 0], [1, np.inf], [np.inf, 3], [2, -1], [-1, 2], [0, 0], [np.inf, np.inf]], float).T
    assert np.array_equal(tg.gammainc(*ends).numpy(), special.gammainc(*ends), equal_nan=True)
    assert np.array_equal(tg.gammaincc(*ends).numpy(), special.gammaincc(*ends), equal_nan=True)
    large = tg.gammainc(np.float64(911983.3314434064), np.float64(907514.5223728921))
    assert abs(float(large) / 1.38752128972584e-06 - 1) < 1e-12  # by the series in longdouble; SciPy is off by 4e-6


def derived(op, i, j):
    """An op differentiated `i` times by its first input and `j` times by the second, element by element."""
    if not (i or j):
        return op
    before, by = (derived(op, i - 1, j), 0) if i else (derived(op, i, j - 1), 1)
    return lambda a, x: tg.grad(lambda *both: before(*both).sum(), by)(a, x)


@pytest.mark.parametrize("orders", [(1, 0), (2, 0), (3, 0), (0, 1), (0, 2), (0, 3), (1, 1), (1, 2), (2, 1)])
@pytest.mark.parametrize("op", [tg.gammainc, tg.gammaincc], ids=["gammainc", "gammaincc"])
def test_derivatives_of_incomplete_gammas(op, orders):
    """Each against differences of the one before."""
    rng = np.random.default_rng(1)
    a, x = rng.uniform(0.3, 5, 300), rng.uniform(0.1, 8, 300)
    a[:100] *= 20
    x[:100] = a[:100] * rng.uniform(0.8, 1.2, 100)
    i, j = orders
    before = derived(op, i - 1, j) if i else derived(op, i, j - 1)
    h, up = 1e-3 * (a if i else x), (1, 2, -1, -2)
    steps = [before(tg.tensor(a + k * h * (i > 0)), tg.tensor(x + k * h * (i == 0))).numpy() for k in up]
    expected = (8 * (steps[0] - steps[2]) - (steps[1] - steps[3])) / (12 * h)
    found = derived(op, i, j)(tg.tensor(a), tg.tensor(x)).numpy()
    assert np.isfinite(found).all() and np.max(np.abs(found - expected)) < 3e-9 * np.max(np.abs(expected))


def test_the_logarithm_of_beta():
    rng = np.random.default_rng(0)
    a, b = 10 ** rng.uniform(-8, 5, (2, 5000))
    found, expected = tg.betaln(a, b).numpy(), special.betaln(a, b)
    # SciPy subtracts logarithms of gamma from one another: it has the digits that these leave
    assert np.all(np.abs(found - expected) <= 1e-15 * (8 + np.abs(special.gammaln(a + b)) + np.abs(expected) * 8))
    whole = tg.betaln(np.array([1e6, 1e12, 1e300]), 1.0).numpy()  # B(a, 1) is 1/a
    assert np.allclose(whole, -np.log([1e6, 1e12, 1e300]), rtol=1e-15)
    assert tg.betaln([0.0, 2.0, 0.0, -1.0], [2.0, np.inf, 0.0, 1.5]).tolist() == [np.inf, -np.inf, np.inf, np.inf]
    slope = tg.grad(lambda a: tg.betaln(a, np.float64(1.0)))(tg.tensor(np.float64(1e10)))  # of -log a
    assert abs(float(slope) * 1e10 + 1) < 1e-14


def test_the_logarithm_of_the_normal_distribution():
    x = np.concatenate([np.linspace(-60, 40, 4001), -np.logspace(1, 150, 500)])
    found, expected = tg.log_ndtr(x).numpy(), special.log_ndtr(x)
    assert ulps(found, expected) <= 8
    usual = x < 5
    x, found, expected = x[usual], found[usual], expected[usual]
    assert np.max(np.abs(found / expected - 1)) < 1e-13
    # the derivative is the density over ndtr: sqrt(2/π) / erfcx(-x/√2)
    slope = tg.grad(lambda x: tg.log_ndtr(x).sum())
    assert np.allclose(slope(x).numpy(), math.sqrt(2 / math.pi) / special.erfcx(-x / math.sqrt(2)), rtol=1e-13)
    ends = np.array([np.inf, -np.inf, np.nan])
    assert np.array_equal(tg.log_ndtr(ends).numpy(), [0, -np.inf, np.nan], equal_nan=True)
    assert np.array_equal(slope(ends).numpy(), [0, np.inf, np.nan], equal_nan=True)


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


AROUND = np.concatenate([np.linspace(-60, 60, 2401), np.logspace(-3, 2.8, 300), -np.logspace(-3, 2.8, 300)])


@pytest.mark.parametrize("n", [0, 1, 2, 5, 24])
def test_bessel_functions_against_scipy(n):
    """A relative bound, of numbers that SciPy does not round to 0; its own last digits are off too."""
    found = tg.bessel_i(AROUND, n=n).numpy()
    expected = special.iv(n, AROUND)
    known = np.abs(expected) > 1e-250
    assert np.isfinite(found).all() and known.sum() > 2000
    assert np.abs(found[known] / expected[known] - 1).max() < (2e-13 if n == 24 else 4e-14)
    narrow = tg.bessel_i(AROUND.astype("f4"), n=n).numpy()
    wide = tg.bessel_i(AROUND.astype("f4").astype("f8"), n=n).numpy()
    with np.errstate(over="ignore"):
        assert narrow.dtype == np.float32 and np.array_equal(narrow, wide.astype("f4"))


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(tg.i0, special.i0), (tg.i1, special.i1)],
    ids=lambda f: f.__name__,
)
def test_bessel_functions_by_name(ours, theirs):
    x = np.array([-700.0, -3.0, -0.0, 0.0, 1e-8, 0.5, 20.0, 35.0, 709.0])
    np.testing.assert_allclose(ours(x).numpy(), theirs(x), rtol=1e-13)
    far = {"i0": [np.inf, np.inf], "i1": [np.inf, -np.inf]}[ours.__name__]
    np.testing.assert_array_equal(ours(np.array([np.inf, -np.inf, np.nan])).numpy(), [*far, np.nan])
    x = np.array([-2.5, -0.3, 0.4, 3.0, 12.0])
    steps = (theirs(x + 1e-6) - theirs(x - 1e-6)) / 2e-6
    slopes = tg.grad(lambda x: ours(x).sum())(tg.tensor(x)).numpy()
    np.testing.assert_allclose(slopes, steps, rtol=1e-8)
    assert ours(np.zeros((0, 2))).shape == (0, 2) and ours(3).dtype == np.float32


def test_bessel_orders_that_are_none_are_refused():
    for n in (-1, 25, 1.0):
        with pytest.raises((ValueError, TypeError), match="n must be an integer from 0 to 24"):
            tg.bessel_i(1.0, n=n)


def test_multigammaln_is_scipys():
    a = np.array([[2.1, 3.0], [7.5, 40.0]])
    for d in (1, 2, 4):
        np.testing.assert_allclose(tg.multigammaln(a, d).numpy(), special.multigammaln(a, d), rtol=1e-14)
    slope = tg.grad(lambda a: tg.multigammaln(a, 3).sum())(tg.tensor(a)).numpy()
    np.testing.assert_allclose(slope, sum(special.digamma(a - 0.5 * j) for j in range(3)), rtol=1e-13)
    with pytest.raises(ValueError, match="multigammaln: d must be a positive integer"):
        tg.multigammaln(a, 0)


def test_bessel_functions_of_the_largest_numbers() -> None:
    for dtype in (np.float32, np.float64):
        x = np.array([-1, 1]) * np.finfo(dtype).max
        with np.errstate(over="ignore"):
            assert tg.i0(x.astype(dtype)).tolist() == [np.inf, np.inf]
            assert tg.grad(lambda v: tg.sum(tg.i0(v)))(tg.tensor(x.astype(dtype))).tolist() == [-np.inf, np.inf]
