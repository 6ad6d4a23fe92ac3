"""Batch norm as kernels, against a higher precision and the eager op."""

import numpy as np
import pytest
from native_calls import HOWS, Run, every_how
from semantics_oracle import WIDE, batch_norm, pattern, wide, within

from tensorgraph.engine.op import CATALOGUE
from tensorgraph.ops.native.batch_norm_rows import BLOCK, STRIP

MANY = [how for how in HOWS if how[0] == "code"] or HOWS[:1]


def shapes_of(arrays):
    return [None if a is None else (a.shape, a.dtype) for a in arrays]


def forward(x, gamma, beta, how, relu=False, eps=1e-5, axis=1, **options):
    op = CATALOGUE["batch_norm_relu" if relu else "batch_norm"]
    attrs = dict(axis=axis, eps=eps)
    channels = gamma.shape
    shapes = [(x.shape, x.dtype), *[(channels, x.dtype)] * 3, (channels, "float64")]
    got = Run(op.native_rule(), (x, gamma, beta), shapes, attrs, *how, **options)
    assert got.took
    return got.outputs


def backward(x, gamma, beta, kept, cotangents, how, relu=False, eps=1e-5, want=(True,) * 3, **options):
    op = CATALOGUE["batch_norm_relu_vjp" if relu else "batch_norm_vjp"]
    shapes = [(a.shape, a.dtype) for a, w in zip((x, gamma, beta), want, strict=True) if w]
    attrs = dict(axis=1, eps=eps, want=want)
    got = Run(op.native_rule(), (x, gamma, beta, *kept, *cotangents), shapes, attrs, *how, **options)
    assert got.took
    return got.outputs


def eager(x, gamma, beta, cotangents, relu=False, eps=1e-5):
    op = CATALOGUE["batch_norm_relu" if relu else "batch_norm"]
    with np.errstate(all="ignore"):
        kept = op.forward(x, gamma, beta, axis=1, eps=eps)
        return kept, op.gradient.forward(
            x, gamma, beta, *kept, *cotangents, want=(True,) * 3, axis=1, eps=eps
        )  # fmt: skip


def numbers(n, channels, dtype, mean=0.0, std=1.0, seed=0):
    rng = np.random.default_rng([seed, n, channels])
    x = (mean + std * rng.standard_normal((n, channels))).astype(dtype)
    gamma, beta, g_mu, g_var = (rng.standard_normal(channels).astype(dtype) for _ in range(4))
    return x, gamma, beta, rng.standard_normal((n, channels)).astype(dtype), g_mu, g_var


def check(given, how, relu=False, eps=1e-5, what=""):
    x, gamma, beta, *cotangents = given
    kept = forward(x, gamma, beta, how, relu, eps)
    assert all(np.isfinite(a).all() for a in kept), what
    grads = backward(x, gamma, beta, kept, cotangents, how, relu, eps)
    _, _, scales = batch_norm(*wide(x, gamma, beta), WIDE(eps), *wide(*cotangents), relu=False)
    outs, exact, _ = batch_norm(*wide(x, gamma, beta), WIDE(eps), *wide(*cotangents), relu=relu)
    for got, want, name in zip(kept, outs, ("y", "mu", "var"), strict=False):
        within(0, got, want, scales[name], what=f"{name} {what}")
    for got, want, name in zip(grads, exact, ("dx", "dgamma", "dbeta"), strict=True):
        within(1, got, want, scales[name], what=f"{name} {what}")
    return kept, grads


@every_how
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("relu", [False, True])
def test_few_rows(relu, dtype, how):
    for n, channels in ((2, 3), (7, 16), (8, 17), (19, 1), (33, 5)):
        check(numbers(n, channels, dtype), how, relu, what=f"{n} x {channels}")


@pytest.mark.parametrize("how", MANY)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("relu", [False, True])
def test_many_rows(relu, dtype, how):
    for n, channels in ((BLOCK + 1, 19), (STRIP, 33), (STRIP + 1, 18), (3 * STRIP + 77, 5), (9001, 17)):
        check(numbers(n, channels, dtype), how, relu, what=f"{n} x {channels}")


@pytest.mark.parametrize("how", HOWS[:2])
def test_many_rows_emulated(how):
    check(numbers(2 * STRIP + 3, 2, "float32"), how, True)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("mean, std", [(1e4, 1e-2), (-1e6, 1.0), (0.0, 1e-18), (1e30, 1e24), (3.0, 1e15)])
def test_far_means_and_extreme_deviations(mean, std, dtype):
    for n in (40, 700, 3000):
        given = numbers(n, 18, dtype, mean, std)
        for how in MANY:
            if dtype == "float32" and std >= 1e15:
                x, gamma, beta = given[:3]
                got, want = forward(x, gamma, beta, how), eager(*given[:3], given[3:])[0]
                for a, b in zip(got, want, strict=True):
                    np.testing.assert_array_equal(pattern(a), pattern(b))
            else:
                check(given, how, what=f"{n} {mean} {std}")


@pytest.mark.skipif(len(HOWS) == 2, reason="the emulation is slow")
@pytest.mark.parametrize("dtype, mean", [("float32", 1e4), ("float64", 1e8)])
def test_a_million_rows(dtype, mean):
    check(numbers(10**6, 1, dtype, mean, 1e-2), MANY[0], True)


@pytest.mark.parametrize("eps", [0.0, 1e-5])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_constant_channel_gives_beta(dtype, eps):
    for n in (2, 33, 700):
        x, gamma, beta, *cotangents = numbers(n, 19, dtype)
        for value in (0.1, 1e4, 0.0, 3e38, 1e-40):
            x[:, 3] = value
            for how in MANY if n > 100 else HOWS:
                kept = forward(x, gamma, beta, how, eps=eps)
                assert (kept[0][:, 3] == beta[3]).all() and kept[2][3] == 0 and kept[1][3] == x[0, 3]
                grads = backward(x, gamma, beta, kept, cotangents, how, eps=eps)
                assert all(np.isfinite(a).all() for a in grads)


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_is_not_finite_stays_in_its_channel(dtype, relu):
    largest = np.finfo(dtype).max
    for n in (5, 40, 600):
        x, gamma, beta, g, g_mu, g_var = numbers(n, 20, dtype)
        for j, (row, value) in enumerate(((0, np.nan), (n - 1, np.nan), (0, np.inf), (n // 2, -np.inf), (1, largest))):
            x[row, j] = value
        x[::2, 6], x[1::2, 6] = largest, -largest
        x[:, 7] = largest
        g[0, 8], g[n - 1, 9], g[1, 10] = np.nan, np.inf, largest
        g_mu[12], g_var[13], gamma[14], beta[15] = np.nan, np.inf, np.nan, np.nan
        kept, grads = eager(x, gamma, beta, (g, g_mu, g_var), relu)
        for how in MANY if n > 100 else HOWS:
            got = forward(x, gamma, beta, how, relu)
            for a, b in zip(got[:3], kept[:3], strict=True):
                np.testing.assert_array_equal(pattern(a), pattern(b))
            back = backward(x, gamma, beta, kept, (g, g_mu, g_var), how, relu)
            for a, b in zip(back, grads, strict=True):
                np.testing.assert_array_equal(pattern(a), pattern(b))


@every_how
def test_a_channel_that_is_not_finite_changes_no_bit_of_others(how):
    for n in (5, 40, 600)[: 2 if how[0] == "emulate" else None]:
        x, gamma, beta, *cotangents = numbers(n, 20, "float32")
        kept = forward(x, gamma, beta, how)
        plain = [*kept, *backward(x, gamma, beta, kept, cotangents, how)]
        x, cotangents[0] = x.copy(), cotangents[0].copy()
        x[n - 1, 3], cotangents[0][1, 5] = np.nan, np.inf
        kept = forward(x, gamma, beta, how)
        for a, b in zip([*kept, *backward(x, gamma, beta, kept, cotangents, how)], plain, strict=True):
            np.testing.assert_array_equal(np.delete(a, (3, 5), -1), np.delete(b, (3, 5), -1))


@pytest.mark.parametrize("how", HOWS)
def test_the_mean_of_few_rows_is_exact_where_it_is_small(how):
    x, gamma, beta, *_ = numbers(15, 20, "float32")
    for n in range(1, 16):
        few = x[:n].copy()
        few[-1] -= few.sum(axis=0)  # what remains is as small as the rounding of what is added
        mean = few.astype("float64").mean(axis=0)
        got = forward(few, gamma, beta, how)[1]
        np.testing.assert_allclose(got, mean, rtol=2 * np.finfo("float32").eps, atol=1e-30)


@every_how
def test_sums_of_gradients_may_be_larger_than_their_type(how):
    x, gamma, beta, g, g_mu, g_var = numbers(30, 18, "float32")
    g = np.abs(g) * np.float32(1e38)
    given = x, gamma * np.float32(0.01), beta, g, g_mu, g_var
    kept = forward(*given[:3], how)
    dx = backward(*given[:3], kept, given[3:], how)[0]
    _, exact, scales = batch_norm(*wide(*given[:3]), WIDE(1e-5), *wide(*given[3:]))
    within(1, dx, exact[0], scales["dx"])


@pytest.mark.parametrize("how", MANY)
def test_absent_cotangents_unwanted_gradients_and_residuals_that_were_not_kept(how):
    for n in (40, 700):
        x, gamma, beta, *cotangents = numbers(n, 18, "float32")
        kept, _ = eager(x, gamma, beta, cotangents, True)
        for present in ((1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 0, 1)):
            given = [c if p else None for c, p in zip(cotangents, present, strict=True)]
            zeros = [c if p else np.zeros_like(c) for c, p in zip(cotangents, present, strict=True)]
            for a, b in zip(
                backward(x, gamma, beta, kept, given, how, True),
                backward(x, gamma, beta, kept, zeros, how, True), strict=True,
            ):  # fmt: skip
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
def test_strides_and_axes(how):
    x, gamma, beta, *cotangents = numbers(24, 10, "float32")
    want = forward(x, gamma, beta, how)
    wider = np.full((24, 25), np.nan, "float32")[:, 7:17]
    wider[...] = x
    turned = np.asfortranarray(x)
    back = np.full((47, 10), np.nan, "float32")[::-2]
    back[...] = x
    for other in (wider, back, turned):
        for a, b in zip(forward(other, gamma, beta, how), want, strict=True):
            np.testing.assert_array_equal(a, b)
        for a, b in zip(
            backward(other, gamma, beta, want, (back * 0 + cotangents[0], *cotangents[1:]), how),
            backward(x, gamma, beta, want, cotangents, how), strict=True,
        ):  # fmt: skip
            np.testing.assert_array_equal(a, b)
    twos = np.broadcast_to(np.float32(2.0), (10,))
    for a, b in zip(
        backward(x, gamma, beta, want, (np.asfortranarray(cotangents[0]), twos, twos), how),
        backward(x, gamma, beta, want, (cotangents[0], twos.copy(), twos.copy()), how), strict=True,
    ):  # fmt: skip
        np.testing.assert_array_equal(a, b)
    cube = forward(x.reshape(4, 6, 10), gamma, beta, how, axis=-1)
    np.testing.assert_array_equal(cube[0].reshape(24, 10), want[0])
    np.testing.assert_array_equal(forward(x, gamma, beta, how, in_place=True)[0], want[0])


@pytest.mark.parametrize("how", MANY)
def test_blocks_change_no_bit(how):
    for n, channels in ((STRIP, 1030), (20_000, 40)):
        x, gamma, beta, *cotangents = numbers(n, channels, "float32")
        first = forward(x, gamma, beta, how)
        for a, b in zip(forward(x, gamma, beta, how, order=-1), first, strict=True):
            np.testing.assert_array_equal(a, b)
        one, other = (backward(x, gamma, beta, first, cotangents, how, order=order) for order in (1, -1))
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_what_is_left_to_the_forward():
    x, gamma, beta, *_ = numbers(6, 4, "float32")
    rule = CATALOGUE["batch_norm"].native_rule()
    shapes = [((6, 4), "float32"), *[((4,), "float32")] * 3, ((4,), "float64")]
    for given in ((x.astype("float16"), gamma, beta), (x.astype("float64"), gamma, beta), (x[:0], gamma, beta)):
        assert not Run(rule, given, shapes, dict(axis=1, eps=1e-5)).took
