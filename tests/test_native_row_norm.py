"""Layer norm and rms norm as kernels, against long double and the eager op."""

import numpy as np
import pytest
from native_calls import HOWS, Run, every_how
from semantics_oracle import WIDE, pattern, wide, within

from tensorgraph.engine.op import CATALOGUE
from tensorgraph.ops.native.row_norm_rows import STRIP

CODE = [how for how in HOWS if how[0] == "code"] or HOWS[:1]
EPS = 1e-5


def exact(x, gamma, beta, g, g_mu, g_var, centred, eps=EPS):
    """Outputs y, mu, var, gradients dx, dgamma, dbeta, and a scale for each: z is as accurate as the mean, which is
    known to some part of a deviation, which is 1 there."""
    x, gamma, beta, g, g_mu, g_var = wide(x, gamma, beta, g, g_mu, g_var)
    m = x.shape[1]
    mu = x.mean(1, keepdims=True) if centred else WIDE(0) * x[:, :1]
    h = x - mu
    mu, h = (mu + h.mean(1, keepdims=True), h - h.mean(1, keepdims=True)) if centred else (mu, h)
    var = (h * h).mean(1, keepdims=True)
    r = 1 / np.sqrt(var + WIDE(eps))
    z, p = h * r, g * gamma
    y = z * gamma + beta
    terms = [r * p, -r * p.mean(1, keepdims=True) if centred else 0 * p, -r * z * (p * z).mean(1, keepdims=True)]
    terms += [g_mu[:, None] / m + 0 * h, 2 * h * g_var[:, None] / m] if centred else []
    scales = dict(
        y=np.maximum(np.abs(z * gamma), np.abs(beta)).max(1, keepdims=True),
        mu=np.abs(x).max(1, keepdims=True),
        var=var,
        dx=np.max([np.abs(t).max(1, keepdims=True) for t in terms], 0),
        dgamma=(np.abs(g) * np.maximum(np.abs(z), 1)).sum(0),
        dbeta=np.abs(g).sum(0),
    )
    found = dict(y=y, mu=mu, var=var, dx=sum(terms), dgamma=(g * z).sum(0), dbeta=g.sum(0))
    return found, scales


def numbers(rows, width, dtype, mean=0.0, std=1.0):
    rng = np.random.default_rng([rows, width])
    x = (mean + std * rng.standard_normal((rows, width))).astype(dtype)
    gamma, beta = (rng.standard_normal(width).astype(dtype) for _ in range(2))
    g = rng.standard_normal((rows, width)).astype(dtype)
    return x, gamma, beta, g, *(rng.standard_normal(rows).astype(dtype) for _ in range(2))


def forward(x, gamma, beta, how, centred=True, eps=EPS, axis=-1, **options):
    lead = x.shape[:axis]
    moments, rows = (lead, x.dtype), int(np.prod(lead))
    if centred:
        op, inputs = CATALOGUE["layer_norm"], (x, gamma, beta)
        shapes = [(x.shape, x.dtype), moments, moments, ((rows,), x.dtype), ((rows,), "float64")]
    else:
        op, inputs = CATALOGUE["rms_norm"], (x, gamma)
        shapes = [(x.shape, x.dtype), ((rows,), x.dtype)]
    got = Run(op.native_rule(), inputs, shapes, dict(axis=axis, eps=eps), *how, **options)
    assert got.took
    return got.outputs


def backward(given, kept, how, centred=True, eps=EPS, want=None, axis=-1, **options):
    x, gamma, beta, g, g_mu, g_var = given
    inputs = (x, gamma, beta) if centred else (x, gamma)
    want = tuple(a is not None for a in inputs) if want is None else want
    op = CATALOGUE["layer_norm" if centred else "rms_norm"].gradient
    cotangents = (g, g_mu, g_var) if centred else (g,)
    shapes = [(a.shape, a.dtype) for a, w in zip(inputs, want, strict=True) if w]
    attrs = dict(axis=axis, eps=eps, want=want)
    got = Run(op.native_rule(), (*inputs, *kept, *cotangents), shapes, attrs, *how, **options)
    assert got.took
    return got.outputs


def eager(given, centred=True, eps=EPS):
    x, gamma, beta, g, g_mu, g_var = given
    op = CATALOGUE["layer_norm" if centred else "rms_norm"]
    inputs, cotangents = ((x, gamma, beta), (g, g_mu, g_var)) if centred else ((x, gamma), (g,))
    with np.errstate(all="ignore"):
        kept = op.forward(*inputs, axis=-1, eps=eps)
        want = (True,) * len(inputs)
        return kept, op.gradient.forward(*inputs, *kept, *cotangents, want=want, axis=-1, eps=eps)


def check(given, how, centred=True, eps=EPS):
    kept = forward(*given[:3], how, centred, eps)
    found, scales = exact(*given[:2], given[2] if centred else 0 * given[2], *given[3:], centred, eps)
    names = ("y", "mu", "var") if centred else ("y", "var")
    for got, name in zip(kept, names, strict=False):
        assert np.isfinite(got).all()
        within(0, got.reshape(found[name].shape), found[name], scales[name], what=name)
    for got, name in zip(backward(given, kept, how, centred, eps), ("dx", "dgamma", "dbeta"), strict=False):
        assert np.isfinite(got).all()
        within(1, got, found[name], scales[name], what=name)


@every_how
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("centred", [True, False])
def test_within_the_bounds(centred, dtype, how):
    for rows, width in ((1, 2), (3, 5), (9, 16), (17, 33), (2, 70)):
        check(numbers(rows, width, dtype), how, centred)


@pytest.mark.parametrize("how", CODE)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("centred", [True, False])
def test_larger_arrays(centred, dtype, how):
    for rows, width in (
        (64, 64),
        (STRIP, 19),
        (STRIP + 1, 32),
        (5 * STRIP + 9, 12),
        (7, 5000),
        (2, 100_000),
        (500, 300),
    ):
        check(numbers(rows, width, dtype), how, centred)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("mean, std", [(1e4, 1e-2), (-1e6, 1.0), (1e-3, 1e-6)])
def test_far_means(mean, std, dtype):
    for how in CODE:
        for rows, width in ((20, 37), (5, 3000)):
            check(numbers(rows, width, dtype, mean, std), how, eps=1e-12)
            outlier = numbers(rows, width, dtype)
            outlier[0][:, 0] = 1e6
            check(outlier, how)


@every_how
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rows_that_begin_far_from_their_mean(dtype, how):
    """Moments are about the mean of the first numbers, and about the row's where that is far."""
    for width, begun in ((70, 16), (40, 1), (33, 4)):
        given = numbers(5, width, dtype)
        given[0][:, :begun] += np.array([3.0, -40.0, 1e3, 1e5, 0.7], dtype)[:, None]
        check(given, how)
        given[0][:] = np.linspace(-3, 3, width)
        check(given, how)
        given[0][:] = np.where(np.arange(width) < begun, np.finfo(dtype).max / 64, 0)
        y, mu, *_ = forward(*given[:3], how)
        assert (y == given[2]).all()  # the variance overflows
        np.testing.assert_allclose(mu, np.finfo(dtype).max / 64 / width * begun, rtol=1e-6)


@pytest.mark.parametrize("eps", [0.0, 1e-5])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_row_that_does_not_vary_gives_beta(dtype, eps):
    given = numbers(12, 21, dtype)
    for k, value in enumerate((0.1, 1e4, 0.0, 3e38, 1e-40)):
        given[0][k] = value
    for how in HOWS:
        kept = forward(*given[:3], how, eps=eps)
        assert (kept[0][:5] == given[2]).all() and (kept[2][:5] == 0).all() and (kept[1][:5] == given[0][:5, 0]).all()
        assert all(np.isfinite(a).all() for a in backward(given, kept, how, eps=eps))
        zero = forward(given[0] * 0, given[1], None, how, False, eps)
        assert (zero[0] == 0).all() and (zero[1] == 0).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("centred", [True, False])
def test_what_is_not_finite_stays_in_its_row(centred, dtype):
    largest = np.finfo(dtype).max
    for width in (5, 16, 70):
        given = numbers(20, width, dtype)
        x, gamma, beta, g, g_mu, g_var = given
        x[0, 0], x[1, width - 1], x[2, 0], x[3, 2] = np.nan, np.nan, np.inf, -np.inf
        x[4, ::2], x[4, 1::2], x[5], x[6, 1] = largest, -largest, largest, largest
        g[8, 0], g[9, 1], g[10, 2], g_mu[11], g_var[12] = np.nan, np.inf, largest / 100, np.nan, np.inf
        beta[1] = np.nan
        kept, grads = eager(given, centred)
        for how in HOWS:
            got = forward(x, gamma, beta, how, centred)
            for a, b in zip(got[: 3 if centred else 2], kept, strict=False):
                np.testing.assert_array_equal(pattern(a), pattern(b))
            dx, *others = backward(given, kept, how, centred)
            # where a variance overflowed the output is beta, and the eager kernel's infinite products may cancel to NaN
            assert (dx[4:6] == 0).all() or centred
            np.testing.assert_array_equal(pattern(np.delete(dx, [4, 5], 0)), pattern(np.delete(grads[0], [4, 5], 0)))
            for a, b in zip(others, grads[1:], strict=True):
                np.testing.assert_array_equal(pattern(a), pattern(b))


@pytest.mark.parametrize("how", CODE)
def test_what_is_absent_unwanted_or_not_kept(how):
    given = x, gamma, beta, g, g_mu, g_var = numbers(300, 18, "float32")
    kept = forward(x, gamma, beta, how)
    every = backward(given, kept, how)
    for want in ((True, False, False), (False, True, False), (False, False, True)):
        some = backward(given, kept, how, want=want)
        np.testing.assert_array_equal(some[0], every[want.index(True)])
    for a, b in zip(backward(given, [None] * 5, how), every, strict=True):
        np.testing.assert_array_equal(a, b)
    zeros = np.zeros_like(g_mu)
    for a, b in zip(backward((x, gamma, beta, g, None, None), kept, how),
                    backward((x, gamma, beta, g, zeros, zeros), kept, how), strict=True):  # fmt: skip
        np.testing.assert_array_equal(a, b)
    alone = backward((x, gamma, beta, None, g_mu, g_var), kept, how, want=(True, False, False))
    want = backward((x, gamma, beta, 0 * g, g_mu, g_var), kept, how, want=(True, False, False))
    np.testing.assert_array_equal(alone[0], want[0])
    ones, none = np.ones_like(gamma), np.zeros_like(beta)
    np.testing.assert_array_equal(forward(x, None, None, how)[0], forward(x, ones, none, how)[0])
    np.testing.assert_array_equal(forward(x, gamma, None, how)[0], forward(x, gamma, none, how)[0])
    np.testing.assert_array_equal(forward(x, None, beta, how)[0], forward(x, ones, beta, how)[0])
    plain = backward((x, None, None, g, g_mu, g_var), kept, how)
    np.testing.assert_array_equal(plain[0], backward((x, ones, None, g, g_mu, g_var), kept, how)[0])


@pytest.mark.parametrize("how", CODE)
@pytest.mark.parametrize("centred", [True, False])
def test_layouts_axes_and_blocks(centred, how):
    given = x, gamma, beta, g, g_mu, g_var = numbers(1200, 96, "float32")
    kept = forward(x, gamma, beta, how, centred)
    grads = backward(given, kept, how, centred)
    wider = np.full((1200, 130), np.nan, "float32")[:, 5:101]
    wider[...] = x
    for other in (wider, np.asfortranarray(x)):
        for a, b in zip(forward(other, gamma, beta, how, centred), kept, strict=True):
            np.testing.assert_array_equal(a, b)
        moved = (other, gamma, beta, np.asfortranarray(g), g_mu, g_var)
        for a, b in zip(backward(moved, kept, how, centred), grads, strict=True):
            np.testing.assert_array_equal(a, b)
    for options in (dict(order=-1), dict(in_place=True)):
        np.testing.assert_array_equal(forward(x, gamma, beta, how, centred, **options)[0], kept[0])
    for a, b in zip(backward(given, kept, how, centred, order=-1), grads, strict=True):
        np.testing.assert_array_equal(a, b)
    twos = np.broadcast_to(np.float32(2.0), (1200,))
    for a, b in zip(
        backward((x, gamma, beta, g, twos, twos), kept, how, centred),
        backward((x, gamma, beta, g, twos.copy(), twos.copy()), kept, how, centred), strict=True,
    ):  # fmt: skip
        np.testing.assert_array_equal(a, b)
    cube, lines = (1200, 8, 12), (8, 12)
    got = forward(x.reshape(cube), gamma.reshape(lines), beta.reshape(lines), how, centred, axis=1)
    np.testing.assert_array_equal(got[0].reshape(x.shape), kept[0])
    pieces = (x.reshape(cube), gamma.reshape(lines), beta.reshape(lines), g.reshape(cube), g_mu, g_var)
    for a, b in zip(backward(pieces, kept, how, centred, axis=1), grads, strict=True):
        np.testing.assert_array_equal(a.reshape(b.shape), b)
