"""Batch norm of images and sequences as kernels: the same numbers as those of rows, in planes of a channel each."""

import numpy as np
import pytest
from native_calls import HOWS, Run, every_how
from semantics_oracle import WIDE, batch_norm, pattern, wide, within

from tensorgraph.engine.op import CATALOGUE
from tensorgraph.ops.native.batch_norm_planes import CHUNK

MANY = [how for how in HOWS if how[0] == "code"] or HOWS[:1]
SHAPES = [(2, 3, 9), (3, 2, 17), (2, 1, 8), (1, 5, 64), (4, 3, 2, 2), (2, 2, 5, 7), (3, 4, 1, 1)]
SHAPES += [(2, 3, 2, 3, 2), (5, 2, 1)]
LARGER = [(2, 3, CHUNK + 5), (33, 5, 7, 7), (9, 17, 12, 12), (3, 2, 70, 70), (700, 3, 5)]


def numbers(shape, dtype, mean=0.0, std=1.0, axis=1):
    rng = np.random.default_rng([*shape])
    channels = shape[axis]
    x = (mean + std * rng.standard_normal(shape)).astype(dtype)
    gamma, beta, g_mu, g_var = (rng.standard_normal(channels).astype(dtype) for _ in range(4))
    return x, gamma, beta, rng.standard_normal(shape).astype(dtype), g_mu, g_var


def rows(a, axis=1):
    """An array of x's shape as rows of channels."""
    return np.moveaxis(a, axis, -1).reshape(-1, a.shape[axis])


def run(name, inputs, shapes, how, relu, eps, axis, want=None, **options):
    op = CATALOGUE["batch_norm_relu" if relu else "batch_norm"]
    attrs = dict(axis=axis, eps=eps) if want is None else dict(axis=axis, eps=eps, want=want)
    got = Run((op if want is None else op.gradient).native_rule(), inputs, shapes, attrs, *how, **options)
    assert got.took
    return got.outputs


def forward(x, gamma, beta, how, relu=False, eps=1e-5, axis=1, **options):
    channels = gamma.shape
    shapes = [(x.shape, x.dtype), *[(channels, x.dtype)] * 3, (channels, "float64")]
    return run("forward", (x, gamma, beta), shapes, how, relu, eps, axis, **options)


def backward(x, gamma, beta, kept, cotangents, how, relu=False, eps=1e-5, axis=1, want=(True,) * 3, **options):
    shapes = [(a.shape, a.dtype) for a, w in zip((x, gamma, beta), want, strict=True) if w]
    return run("backward", (x, gamma, beta, *kept, *cotangents), shapes, how, relu, eps, axis, want, **options)


def eager(x, gamma, beta, cotangents, relu=False, eps=1e-5, axis=1):
    op = CATALOGUE["batch_norm_relu" if relu else "batch_norm"]
    with np.errstate(all="ignore"):
        kept = op.forward(x, gamma, beta, axis=axis, eps=eps)
        grads = op.gradient.forward(x, gamma, beta, *kept, *cotangents, want=(True,) * 3, axis=axis, eps=eps)
    return kept, grads


def check(given, how, relu=False, eps=1e-5, axis=1):
    x, gamma, beta, *cotangents = given
    kept = forward(x, gamma, beta, how, relu, eps, axis)
    assert all(np.isfinite(a).all() for a in kept)
    grads = backward(x, gamma, beta, kept, cotangents, how, relu, eps, axis)
    flat = rows(x, axis), gamma, beta, rows(cotangents[0], axis), *cotangents[1:]
    _, _, scales = batch_norm(*wide(*flat[:3]), WIDE(eps), *wide(*flat[3:]), relu=False)
    outs, exact, _ = batch_norm(*wide(*flat[:3]), WIDE(eps), *wide(*flat[3:]), relu=relu)
    found = rows(kept[0], axis), *kept[1:3]
    for got, want, name in zip(found, outs, ("y", "mu", "var"), strict=True):
        within(0, got, want, scales[name], what=f"{name} of {x.shape}")
    for got, want, name in zip((rows(grads[0], axis), *grads[1:]), exact, ("dx", "dgamma", "dbeta"), strict=True):
        within(1, got, want, scales[name], what=f"{name} of {x.shape}")
    return kept, grads


@every_how
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("relu", [False, True])
def test_within_the_bounds(relu, dtype, how):
    for shape in SHAPES:
        check(numbers(shape, dtype), how, relu)


@pytest.mark.parametrize("how", MANY)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("relu", [False, True])
def test_larger_planes_and_more_of_them(relu, dtype, how):
    for shape in LARGER:
        check(numbers(shape, dtype), how, relu)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("axis", [0, 1, 2, 3, -1, -2])
def test_any_axis(axis, dtype):
    for how in MANY:
        check(numbers((3, 4, 9, 11), dtype, axis=axis), how, True, axis=axis)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("mean, std", [(1e4, 1e-2), (-1e6, 1.0), (0.0, 1e-18), (1e30, 1e24)])
def test_far_means_and_extreme_deviations(mean, std, dtype):
    for shape in ((5, 3, 11), (6, 2, 30, 31)):
        given = numbers(shape, dtype, mean, std)
        for how in MANY:
            if dtype == "float32" and std >= 1e15:
                got, want = forward(*given[:3], how), eager(*given[:3], given[3:])[0]
                for a, b in zip(got, want, strict=True):
                    np.testing.assert_array_equal(pattern(a), pattern(b))
            else:
                check(given, how)


@pytest.mark.parametrize("eps", [0.0, 1e-5])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_constant_channel_gives_beta(dtype, eps):
    x, gamma, beta, *cotangents = numbers((3, 4, 21), dtype)
    for value in (0.1, 1e4, 0.0, 3e38, 1e-40):
        x[:, 2] = value
        for how in HOWS:
            kept = forward(x, gamma, beta, how, eps=eps)
            assert (kept[0][:, 2] == beta[2]).all()
            assert kept[2][2] == 0
            assert kept[1][2] == x[0, 2, 0]
            assert all(np.isfinite(a).all() for a in backward(x, gamma, beta, kept, cotangents, how, eps=eps))


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(3, 16, 13), (2, 16, 3), (4, 16, 10, 10)], ids=str)
def test_what_is_not_finite_stays_in_its_channel(shape, dtype, relu):
    largest = np.finfo(dtype).max
    x, gamma, beta, g, g_mu, g_var = numbers(shape, dtype)
    flat, up = x.reshape(*shape[:2], -1), g.reshape(*shape[:2], -1)
    n, p = flat.shape[0], flat.shape[2]
    for j, (i, k, value) in enumerate(((0, 0, np.nan), (n - 1, p - 1, np.nan), (0, 0, np.inf), (n // 2, 1, -np.inf),
                                       (1, 0, largest))):  # fmt: skip
        flat[i, j, k] = value
    flat[::2, 6], flat[1::2, 6] = largest, -largest
    flat[:, 7] = largest
    up[0, 8, 0], up[n - 1, 9, p - 1], up[1, 10, 1] = np.nan, np.inf, largest
    g_mu[12], g_var[13], gamma[14], beta[15] = np.nan, np.inf, np.nan, np.nan
    kept, grads = eager(x, gamma, beta, (g, g_mu, g_var), relu)
    for how in MANY:
        got = forward(x, gamma, beta, how, relu)
        for a, b in zip(got[:3], kept[:3], strict=True):
            np.testing.assert_array_equal(pattern(a), pattern(b))
        back = backward(x, gamma, beta, kept, (g, g_mu, g_var), how, relu)
        for a, b in zip(back, grads, strict=True):
            np.testing.assert_array_equal(pattern(a), pattern(b))


@every_how
def test_sums_of_gradients_may_be_larger_than_their_type(how):
    x, gamma, beta, g, g_mu, g_var = numbers((3, 2, 20), "float32")
    given = x, gamma * np.float32(0.01), beta, np.abs(g) * np.float32(1e38), g_mu, g_var
    kept = forward(*given[:3], how)
    dx = backward(*given[:3], kept, given[3:], how)[0]
    flat = rows(x), *given[1:3], rows(given[3]), *given[4:]
    _, exact, scales = batch_norm(*wide(*flat[:3]), WIDE(1e-5), *wide(*flat[3:]))
    within(1, rows(dx), exact[0], scales["dx"])


@pytest.mark.parametrize("how", MANY)
@pytest.mark.parametrize("shape", [(4, 3, 3, 5), (4, 3, 3)], ids=str)
def test_absent_cotangents_unwanted_gradients_and_residuals_that_were_not_kept(shape, how):
    x, gamma, beta, *cotangents = numbers(shape, "float32")
    kept, _ = eager(x, gamma, beta, cotangents, True)
    for present in ((1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 0, 1)):
        given = [c if p else None for c, p in zip(cotangents, present, strict=True)]
        zeros = [c if p else np.zeros_like(c) for c, p in zip(cotangents, present, strict=True)]
        one, other = (backward(x, gamma, beta, kept, c, how, True) for c in (given, zeros))
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)
    every = backward(x, gamma, beta, kept, cotangents, how, True)
    for want in ((True, False, False), (False, True, True), (False, False, True)):
        some = backward(x, gamma, beta, kept, cotangents, how, True, want=want)
        for a, b in zip(some, [e for e, w in zip(every, want, strict=True) if w], strict=True):
            np.testing.assert_array_equal(a, b)
    mine = forward(x, gamma, beta, how, True)
    again = backward(x, gamma, beta, [None] * 5, cotangents, how, True)
    for a, b in zip(backward(x, gamma, beta, mine, cotangents, how, True), again, strict=True):
        np.testing.assert_array_equal(a, b)


@every_how
@pytest.mark.parametrize("shape", [(4, 3, 3, 5), (4, 3, 3)], ids=str)
def test_strides(shape, how):
    x, gamma, beta, *cotangents = numbers(shape, "float32")
    want = forward(x, gamma, beta, how)
    wider = np.full((2 * shape[0], *shape[1:-1], shape[-1] + 3), np.nan, "float32")[::-2, ..., 1:-2]
    wider[...] = x
    channels_last = np.ascontiguousarray(np.moveaxis(x, 1, -1))
    for other in (wider, np.moveaxis(channels_last, -1, 1), np.asfortranarray(x)):
        for a, b in zip(forward(other, gamma, beta, how), want, strict=True):
            np.testing.assert_array_equal(a, b)
        g = np.asfortranarray(cotangents[0])
        one = backward(other, gamma, beta, want, (g, *cotangents[1:]), how)
        for a, b in zip(one, backward(x, gamma, beta, want, cotangents, how), strict=True):
            np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(forward(x, gamma, beta, how, in_place=True)[0], want[0])


@pytest.mark.parametrize("how", MANY)
def test_blocks_change_no_bit(how):
    x, gamma, beta, *cotangents = numbers((8, 40, 30, 30), "float32")
    first = forward(x, gamma, beta, how)
    for a, b in zip(forward(x, gamma, beta, how, order=-1), first, strict=True):
        np.testing.assert_array_equal(a, b)
    one, other = (backward(x, gamma, beta, first, cotangents, how, order=order) for order in (1, -1))
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)
