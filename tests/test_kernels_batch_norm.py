"""Batch-normalisation kernels against a higher precision."""

import numpy as np
import pytest

from tensorgraph import jit
from tensorgraph.ops.kernels import batch_norm as kernels
from tensorgraph.ops.kernels import batch_norm_planes as planes
from tensorgraph.ops.kernels.batch_norm import BLOCK

F4, F8 = np.float32, np.float64
WIDER = {np.dtype(F4): F8, np.dtype(F8): np.longdouble}
EPS = 1e-5


def as_planes(a):
    """Rows of channels as (examples, channels, positions), of up to three examples."""
    if not isinstance(a, np.ndarray) or a.ndim != 2 or not a.size:
        return a
    n = next(k for k in (3, 2, 1) if len(a) % k == 0)
    return np.ascontiguousarray(a.reshape(n, -1, a.shape[1]).swapaxes(1, 2))


def as_rows(a):
    return a.swapaxes(1, 2).reshape(-1, a.shape[1]) if a.ndim == 3 else a


def laid(function):
    def call(*args):
        if not any(isinstance(a, np.ndarray) and a.ndim == 2 for a in args):
            return function(*args)
        return tuple(map(as_rows, function(*map(as_planes, args))))

    return call


NAMES = ("batch_norm_forward", "batch_norm_backward", "batch_norm_relu_forward", "batch_norm_relu_backward")
batch_norm_forward, batch_norm_backward, batch_norm_relu_forward, batch_norm_relu_backward = (
    getattr(kernels, name) for name in NAMES
)


@pytest.fixture(params=["rows", "planes"])
def layout(request, monkeypatch):
    """Both ways of walking the numbers of a channel."""
    if request.param == "planes":
        monkeypatch.setattr(planes, "NARROWEST", 1)
        for name in NAMES:
            monkeypatch.setitem(globals(), name, laid(getattr(kernels, name)))


def exact(x, gamma, beta, g, g_mu, g_var, relu):
    """The formulas on a higher precision, from values shifted by the first row, and the scale of each result."""
    wide = WIDER[x.dtype]
    gamma, beta, g, g_mu, g_var = (a.astype(wide) for a in (gamma, beta, g, g_mu, g_var))
    m = len(x)
    d = x.astype(wide) - x[0]
    h = d - d.sum(0) / m
    h -= h.sum(0) / m
    mu = x[0] + d.sum(0) / m
    var = (h * h).sum(0) / m
    r = 1 / np.sqrt(var + EPS)
    y = h * r * gamma + beta
    # a ReLU may leave of a channel only what little exceeds 0: errors are measured by what went into it
    scale = np.abs(y).max(0)
    if relu:
        g = np.where(y > 0, g, 0)
        y = np.maximum(y, 0)
    dbeta, dgamma = g.sum(0), (g * h * r).sum(0)
    terms = gamma * r * g, gamma * r * h * r * dgamma / m, g_mu / m, 2 * h * g_var / m
    dx = terms[0] - gamma * r * dbeta / m - terms[1] + terms[2] + terms[3]
    # two values in a channel: x - mu is +-1 deviation and the gradient the difference of equal terms
    scales = dict(y=scale, dx=np.max([np.abs(t).max(0) if t.ndim > 1 else np.abs(t) for t in terms], axis=0))
    scales.update(mu=np.abs(x).max(0), var=var, dgamma=np.abs(g * h * r).sum(0), dbeta=np.abs(g).sum(0))
    return dict(y=y, mu=mu, var=var, dx=dx, dgamma=dgamma, dbeta=dbeta), scales


def run(x, gamma, beta, g, g_mu, g_var, relu, axis=1):
    if relu:
        y, mu, var, center, rest = batch_norm_relu_forward(x, gamma, beta, axis, EPS)
        grads = batch_norm_relu_backward(g, g_mu, g_var, x, gamma, beta, center, rest, var, axis, EPS)
    else:
        y, mu, var, center, rest = batch_norm_forward(x, gamma, beta, axis, EPS)
        grads = batch_norm_backward(g, g_mu, g_var, x, gamma, center, rest, var, axis, EPS)
    return dict(zip(("y", "mu", "var", "dx", "dgamma", "dbeta"), (y, mu, var, *grads)))


def case(dtype, shape, mean=0.0, std=1.0):
    rng = np.random.default_rng(shape)
    x, g = (mean + std * rng.standard_normal(shape)).astype(dtype), rng.standard_normal(shape).astype(dtype)
    return (x, *rng.standard_normal((2, shape[1])).astype(dtype), g, *rng.standard_normal((2, shape[1])).astype(dtype))


def check(got, expected, scales):
    for name, bound in dict(y=8, mu=8, var=8, dx=32, dgamma=32, dbeta=32).items():
        a, b = got[name], expected[name]
        assert np.isfinite(a).all() and np.isfinite(b).all()
        unit = np.maximum(scales[name] * np.finfo(a.dtype).eps, np.finfo(a.dtype).tiny)
        assert (np.abs(a - b) / unit).max() <= bound, name


@pytest.mark.usefixtures("layout")
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize(("mean", "std"), [(0, 1), (100, 1), (1e4, 1e-2), (-1e-3, 1e-6)])
@pytest.mark.parametrize("shape", [(64, 20), (37, 5), (2, 9), (9, 1), (2 * BLOCK + 11, 3)])
@pytest.mark.parametrize("dtype", [F4, F8])
def test_within_the_bounds(dtype, shape, mean, std, relu):
    x, gamma, beta, g, g_mu, g_var = case(dtype, shape, mean, std)
    check(run(x, gamma, beta, g, g_mu, g_var, relu), *exact(x, gamma, beta, g, g_mu, g_var, relu))


@pytest.mark.usefixtures("layout")
@pytest.mark.parametrize("dtype", [F4, F8])
def test_an_outlier_in_the_first_row(dtype):
    x, *rest = case(dtype, (3 * BLOCK if jit.compiled() else BLOCK, 3))
    x[0] = 1e5
    check(run(x, *rest, False), *exact(x, *rest, False))


@pytest.mark.usefixtures("layout")
@pytest.mark.parametrize("value", [0.1, 1e4 / 3, -7e30, 1e-40])
@pytest.mark.parametrize("dtype", [F4, F8])
def test_a_constant_channel_gives_exactly_beta(dtype, value):
    for rows in (1, 2, 7, 64, BLOCK + 9):
        x = np.full((rows, 6), value, dtype)
        beta = np.linspace(-3, 3, 6, dtype=dtype)
        y, mu, var, _, _ = batch_norm_forward(x, beta * 7, beta)
        assert (y == beta).all() and (mu == x[0]).all() and (var == 0).all()


@pytest.mark.usefixtures("layout")
@pytest.mark.parametrize("missing", [{"g"}, {"g_mu"}, {"g_var"}, {"g_mu", "g_var"}, {"g", "g_mu"}])
@pytest.mark.parametrize("relu", [False, True])
def test_a_missing_cotangent_is_zero(missing, relu):
    x, gamma, beta, *cotangents = case(F4, (13, 4))
    names = ("g", "g_mu", "g_var")
    none = [None if n in missing else c for n, c in zip(names, cotangents)]
    zero = [np.zeros_like(c) if n in missing else c for n, c in zip(names, cotangents)]
    a, b = run(x, gamma, beta, *none, relu), run(x, gamma, beta, *zero, relu)
    assert all(np.isfinite(a[k]).all() and (a[k] == b[k]).all() for k in a)


@pytest.mark.usefixtures("layout")
@pytest.mark.parametrize("relu", [False, True])
def test_gradients_against_differences(relu):
    x, gamma, beta, g, g_mu, g_var = case(F8, (5, 2))
    forward = batch_norm_relu_forward if relu else batch_norm_forward

    def value(x, gamma, beta):
        y, mu, var, _, _ = forward(x, gamma, beta)
        return (y * g).sum() + (mu * g_mu).sum() + (var * g_var).sum()

    got = run(x, gamma, beta, g, g_mu, g_var, relu)
    for k, name in enumerate(("dx", "dgamma", "dbeta")):
        inputs = (x, gamma, beta)
        for i in np.ndindex(inputs[k].shape):
            values = []
            for h in (1e-6, -1e-6):
                moved = [a.copy() for a in inputs]
                moved[k][i] += h
                values.append(value(*moved))
            assert abs((values[0] - values[1]) / 2e-6 - got[name][i]) < 1e-7, (name, i)


@pytest.mark.usefixtures("layout")
def test_relu_at_zero_has_gradient_zero_and_passes_nan():
    x = np.array([[1.0, 2.0], [1.0, np.nan], [1.0, 3.0]], F4)
    gamma, beta, g = np.ones(2, F4), np.zeros(2, F4), np.ones((3, 2), F4)
    got = run(x, gamma, beta, g, None, None, True)
    assert (got["y"][:, 0] == 0).all() and (got["dx"][:, 0] == 0).all() and got["dbeta"][0] == 0
    assert np.isnan(got["y"][:, 1]).all()


@pytest.mark.usefixtures("layout")
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("row", [0, 3, 17])
def test_a_bad_channel_is_nan_and_no_other(bad, row):
    x, *rest = case(F4, (18, 3))
    x[row, 1] = bad
    got = run(x, *rest, False)
    for name in ("y", "mu", "var", "dx"):
        assert np.isnan(got[name]).any(0).tolist() == [False, True, False] if got[name].ndim > 1 else True
    assert np.isnan(got["y"][:, 1]).all()
    assert np.isnan(got["mu"]).tolist() == np.isnan(got["var"]).tolist() == [False, True, False]


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize(
    ("shape", "axis"), [((4, 3, 5), 1), ((4, 3, 2, 2), 1), ((3, 7), 0), ((4, 5, 3), -1), ((6,), 0)]
)
def test_any_axis_and_layout(shape, axis, relu):
    rng = np.random.default_rng(0)
    channels = shape[axis]
    x, g = rng.standard_normal((2, *shape)).astype(F4)
    rest = rng.standard_normal((4, channels)).astype(F4)
    gamma, beta, g_mu, g_var = rest
    flat = [np.moveaxis(a, axis, -1).reshape(-1, channels).copy() for a in (x, g)]
    expected = run(flat[0], gamma, beta, flat[1], g_mu, g_var, relu)
    before = x.copy()
    for a in (x, g, rest):
        a.flags.writeable = False
    odd = np.zeros((*shape[:-1], 2 * shape[-1]), F4)
    odd[..., ::2] = x
    for version in (x, odd[..., ::2], np.asfortranarray(x)):
        got = run(version, gamma, beta, np.asfortranarray(g), g_mu, g_var, relu, axis)
        for name in ("y", "dx"):
            assert got[name].shape == shape and got[name].flags.c_contiguous
            assert (np.moveaxis(got[name], axis, -1).reshape(-1, channels) == expected[name]).all()
        for name in ("mu", "var", "dgamma", "dbeta"):
            assert (got[name] == expected[name]).all()
    assert (x == before).all()


def test_half_precision_is_computed_in_single():
    x, gamma, beta, g, _, _ = case(F4, (40, 3))
    half = x.astype(np.float16)
    got = run(half, gamma, beta, g.astype(np.float16), None, None, False)
    assert got["y"].dtype == got["dx"].dtype == np.float16 and got["mu"].dtype == got["var"].dtype == F4
    assert got["dgamma"].dtype == got["dbeta"].dtype == F4
    single = run(half.astype(F4), gamma, beta, g.astype(np.float16).astype(F4), None, None, False)
    assert (got["y"] == single["y"].astype(np.float16)).all() and (got["dgamma"] == single["dgamma"]).all()
    assert run(half, gamma.astype(np.float16), beta, g, None, None, True)["dgamma"].dtype == np.float16


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (2, 3, 0)])
def test_empty(shape):
    x = np.empty(shape, F4)
    gamma = np.ones(shape[1], F4)
    got = run(x, gamma, gamma, x, None, None, False)
    assert got["y"].shape == got["dx"].shape == shape
    assert got["mu"].shape == got["dgamma"].shape == gamma.shape and (got["dgamma"] == 0).all()


@pytest.mark.usefixtures("layout")
@pytest.mark.parametrize("relu", [False, True])
def test_several_threads_give_the_same_bits(relu):
    rows, channels = (2000, 600) if jit.compiled() else (BLOCK + 1, 2)
    arrays = case(F4, (rows, channels))
    before, results = jit.num_threads(), []
    try:
        for threads in (1, 3):
            jit.set_num_threads(threads)
            results.append(run(*arrays, relu))
    finally:
        jit.set_num_threads(before)
    for name in results[0]:
        assert np.isfinite(results[0][name]).all() and (results[0][name] == results[1][name]).all(), name


@pytest.mark.usefixtures("layout")
@pytest.mark.parametrize("rows", [2, 5, 8, 200, 300])
@pytest.mark.parametrize("at", [0, 1, -1])
def test_a_variance_beyond_float64_is_infinite(rows: int, at: int) -> None:
    """The squares overflow, the mean does not: y is beta, as of the composition."""
    x = np.random.default_rng(0).normal(size=(rows, 2))
    x[at, 0] = 8.97e184
    y, mu, var, *_ = batch_norm_forward(x, np.ones(2), np.array([0.5, 0.25]))
    assert np.isfinite(mu).all() and np.isposinf(var[0]) and np.isfinite(var[1])
    assert (y[:, 0] == 0.5).all() and np.isfinite(y).all()
