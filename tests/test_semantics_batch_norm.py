"""Batch norm as users see it, against every row of its table of semantics: public ops, both implementations, traced."""

import warnings

import numpy as np
import pytest
from effort import examples
from hypothesis import assume, given
from hypothesis import strategies as st
from semantics_oracle import (
    DTYPES,
    LAYOUTS,
    WIDE,
    batch_norm,
    derivatives,
    directional,
    laid_out,
    pattern,
    wide,
    within,
)  # fmt: skip

import tensorgraph as tg
from tensorgraph import nn

F4, F8 = np.float32, np.float64
EPS = 1e-5
OPS = {False: tg.batch_norm, True: tg.batch_norm_relu}
both = pytest.mark.parametrize("impl", ["fused", "composed"])
relus = pytest.mark.parametrize("relu", [False, True])
SHAPES = [((5, 3), 1), ((3, 4), 1), ((4, 2, 3), 1), ((2, 3, 2, 2), 1), ((3, 4), 0), ((2, 4, 3), -1), ((17, 2), 1)]
# mean and deviation; in float16 the square of the deviation would be lost in what follows, so it has its own
MAGNITUDES = [(0, 1), (1e4, 1e-2), (0, 1e-6), (100, 30), (-3, 1e4), (1e-30, 1e-30), (0, 1e-41), (1e12, 1e12)]
HALF = [(0, 1), (100, 1), (0, 1e-3), (-30, 100), (0, 1e-7)]


def rows(a, axis):
    """(m, C) from an array with its channels at `axis`."""
    a = np.moveaxis(a, axis, -1)
    return a.reshape(-1, a.shape[-1])


@st.composite
def cases(draw):
    dtype = draw(st.sampled_from(DTYPES))
    shape, axis = draw(st.sampled_from(SHAPES))
    mean, std = draw(st.sampled_from(HALF if dtype is np.float16 else MAGNITUDES))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    x = (mean + std * rng.standard_normal(shape)).astype(dtype)
    channels = shape[axis]
    if draw(st.booleans()):  # a constant channel
        np.moveaxis(x, axis, -1)[..., 0] = x.flat[0]
    gamma, beta = rng.standard_normal((2, channels)).astype(dtype)
    moments = F4 if dtype is np.float16 else dtype
    cotangents = [
        rng.standard_normal(shape).astype(dtype), *(s.astype(moments) for s in rng.standard_normal((2, channels)))
    ]  # fmt: skip
    along = [rng.standard_normal(shape).astype(dtype), *rng.standard_normal((2, channels)).astype(dtype)]
    return laid_out(x, draw(st.sampled_from(LAYOUTS))), gamma, beta, axis, cotangents, along


@both
@pytest.mark.parametrize("traced", [False, True])
@given(case=cases(), relu=st.booleans(), eps=st.sampled_from([EPS, 1e-3, 1.0]))
def test_values_and_derivatives_within_the_bounds(impl, traced, case, relu, eps) -> None:
    x, gamma, beta, axis, cotangents, along = case
    with np.errstate(over="ignore"):  # a float16 that is too large
        ys, first, second = derivatives(
            lambda *a: OPS[relu](*a, axis=axis, eps=eps, impl=impl), (x, gamma, beta), cotangents, along, traced
        )
    assert ys[0].dtype == x.dtype and ys[1].dtype == ys[2].dtype == np.result_type(x.dtype, F4)
    assert [d.dtype for d in (*first, *second)] == [x.dtype] * 6
    wx, wg, wb, gy, gm, gv, vx, va = wide(
        rows(x, axis), gamma, beta, rows(cotangents[0], axis), *cotangents[1:], rows(along[0], axis), along[1]
    )
    outputs, gradients, scales = batch_norm(wx, wg, wb, eps, gy, gm, gv, relu)
    # where x is subnormal x - mu is a multiple of the smallest number, and so is what a sum of it can give
    smallest = WIDE(np.finfo(x.dtype).tiny) / np.sqrt(outputs[2] + eps)
    scales["dgamma"] = np.maximum(scales["dgamma"], smallest * scales["dbeta"])
    # where the sign of a value is not certain its ReLU is not either
    assume(not relu or (np.abs(batch_norm(wx, wg, wb, eps)[0][0]) > 64 * np.finfo(x.dtype).eps * scales["y"]).all())
    for name, got, expected in zip(("y", "mu", "var"), ys, outputs):
        within(0, rows(got, axis) if got.ndim > 1 else got, expected, scales[name], what=name)
    for name, got, expected in zip(("dx", "dgamma", "dbeta"), first, gradients):
        within(1, rows(got, axis) if got.ndim > 1 else got, expected, scales[name], what=name)
    bent = directional(lambda x, gamma: batch_norm(x, gamma, wb, eps, gy, gm, gv, relu)[1], (wx, wg), (vx, va))
    (moved,) = directional(lambda x: (batch_norm(x, wg * 0 + 1, wb * 0, eps)[0][0],), (wx,), (vx,))
    added = np.maximum(np.abs(gy * moved).sum(0), smallest * scales["dbeta"])
    for name, got, expected in zip(("dx", "dgamma", "dbeta"), second, bent):
        got = rows(got, axis) if got.ndim > 1 else got
        within(2, got, expected, added if name == "dgamma" else np.abs(expected).max(0), what=f"second {name}")


@both
@relus
def test_third_derivatives(impl, relu) -> None:
    rng = np.random.default_rng(3)
    x, u, v, w = rng.standard_normal((4, 6, 2))
    gamma, beta = np.array([1.5, -0.5]), np.array([0.3, 0.4])

    def third(x):
        y, mu, var = OPS[relu](x, gamma, beta, impl=impl)
        d = tg.gradients([y, mu, var], x, [u, u[0], u[1]], create_graph=True)
        d = tg.gradients(tg.sum(d * v), x, create_graph=True)
        return tg.gradients(tg.sum(d * w), x)

    t = tg.tensor(x, requires_grad=True)
    got = third(t).numpy()
    assert np.array_equal(tg.trace(third, t)(t).numpy(), got)
    X, A, B, U, V, W = wide(x, gamma, beta, u, v, w)
    bent = lambda x: directional(lambda x: batch_norm(x, A, B, EPS, U, U[0], U[1], relu)[1][:1], (x,), (V,))[0]
    h = WIDE(1e-5)
    expected = (bent(X + h * W) - bent(X - h * W)) / (2 * h)
    assert np.isfinite(got).all() and np.abs(got - expected).max() < 1e-8 * np.abs(expected).max()


@given(data=st.data(), relu=st.booleans(), dtype=st.sampled_from(DTYPES))
@examples(60)
def test_fused_and_composed_are_not_finite_in_the_same_places(data, relu, dtype) -> None:
    shape, axis = data.draw(st.sampled_from(SHAPES))
    rng = np.random.default_rng(data.draw(st.integers(0, 999)))
    big, moments = float(np.finfo(dtype).max) ** 0.6, np.result_type(dtype, F4)  # its square is infinite
    odd = st.sampled_from([np.nan, np.inf, -np.inf, big, -big, 0.0])
    x, g, g_mu, gamma, beta = (
        rng.standard_normal(n).astype(t)
        for n, t in ((shape, dtype), (shape, dtype), (shape[axis], moments), *[(shape[axis], dtype)] * 2)
    )
    parts = [x, x, gamma, beta, g, g_mu]
    for i in data.draw(st.lists(st.integers(0, 5), min_size=1, max_size=3)):
        # of weights and cotangents NaN alone: what comes of infinite ones depends on the order of the arithmetic
        value = data.draw(odd) if i < 2 else np.nan
        parts[i].flat[data.draw(st.integers(0, parts[i].size - 1))] = value
    results = []
    for impl in ("fused", "composed"):
        with np.errstate(all="ignore"):
            ys, first, _ = derivatives(
                lambda *a, impl=impl: OPS[relu](*a, axis=axis, impl=impl), (x, gamma, beta), [g, g_mu, g_mu]
            )
        results.append((*ys, *first))
    for name, fused, composed in zip(("y", "mu", "var", "dx", "dgamma", "dbeta"), *results):
        assert (pattern(fused) == pattern(composed)).all(), f"{name}: fused {fused}, composed {composed}"


@both
@relus
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("row", [0, 2])
def test_a_bad_channel_is_nan_and_no_other(impl, relu, bad, row) -> None:
    x = np.random.default_rng(0).standard_normal((4, 3)).astype(F4)
    good = OPS[relu](x, np.ones(3, F4), np.zeros(3, F4), impl=impl)[0].numpy()
    x[row, 1] = bad
    with np.errstate(all="ignore"):
        ones = np.ones(3, F4)
        ys, first, _ = derivatives(
            lambda *a: OPS[relu](*a, impl=impl), (x, ones, ones * 0), [np.ones(x.shape, F4), ones, ones]
        )
    for a in (*ys, first[0]):
        assert np.isnan(a[..., 1]).all() and np.isfinite(a[..., [0, 2]]).all()
    assert np.array_equal(ys[0][:, [0, 2]], good[:, [0, 2]])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 3e38, 1e20])
def test_the_fused_path_leaks_no_warning_of_numpy(bad) -> None:
    # the filter of the tests makes a warning an error; the composed path warns of overflow and of inf - inf
    for i in range(2):
        x = np.ones((9, 2), F4)
        x[i, 0] = bad
        for op in OPS.values():
            ones = np.ones(2, F4)
            derivatives(lambda *a, op=op: op(*a), (x, ones, ones * 0), [x, ones, ones])


def test_a_large_mean_costs_no_accuracy() -> None:
    """float32 with mean 1e4 and deviation 1e-2: E[x²] − E[x]² is wrong by tenths, this by units in the last place."""
    x = (1e4 + 1e-2 * np.random.default_rng(0).standard_normal((256, 8))).astype(F4)
    exact = batch_norm(*wide(x, np.ones(8), np.zeros(8)), EPS)[0][0]
    with np.errstate(all="ignore"):
        plain = (x - x.mean(0)) / np.sqrt(np.maximum((x * x).mean(0) - x.mean(0) ** 2, 0) + F4(EPS))
    assert np.abs(plain - exact).max() > 0.3
    for impl in ("fused", "composed"):
        y = tg.batch_norm(x, np.ones(8, F4), np.zeros(8, F4), impl=impl)[0].numpy()
        assert np.abs(y - exact).max() < 5.8e-6


@both
@pytest.mark.parametrize("dtype", DTYPES)
def test_constant_channels_give_exactly_beta(impl, dtype) -> None:
    """1,600 of them, whose means are not numbers that a sum divided by m hits."""
    rng = np.random.default_rng(0)
    x = np.broadcast_to((rng.standard_normal(1600) * 10.0 ** rng.integers(-3, 4, 1600)).astype(dtype), (7, 1600))
    gamma, beta = (100 * rng.standard_normal((2, 1600))).astype(dtype)
    call = lambda x: tg.batch_norm(x, gamma, beta, impl=impl)
    for y, mu, var in (call(x), tg.trace(call, tg.spec(x.shape, dtype))(np.array(x))):
        assert (y.numpy() == beta).all() and (mu.numpy() == x[0]).all() and (var.numpy() == 0).all()


@both
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize(("shape", "axis"), [((4, 3), 1), ((3, 4), 0), ((2, 3, 5), 1), ((2, 5, 3), -1), ((600, 3), 1)])
def test_a_constant_channel_gives_exactly_beta_without_eps(shape, axis, order, dtype, impl) -> None:
    """Beside two that vary; the gradients are finite, and 0 where the deviation is, to the second order."""
    rng = np.random.default_rng(0)
    gamma, beta = rng.standard_normal((2, 3)).astype(dtype)
    x = rng.standard_normal(shape).astype(dtype)
    channel = (slice(None),) * (axis % len(shape)) + (1,)
    x[channel] = dtype(0.1)
    leaves = [tg.tensor(np.asarray(v, order=order), requires_grad=True) for v in (x, gamma, beta)]
    g = rng.standard_normal(shape).astype(dtype)
    for op in (tg.batch_norm, tg.batch_norm_relu):
        expected = beta[1] if op is tg.batch_norm else max(beta[1], dtype(0))

        def both_orders(*leaves, op=op):
            y, _, var = op(*leaves, axis=axis, eps=0.0, impl=impl)
            first = tg.gradients(y, list(leaves), g, create_graph=True)
            return y, var, *first, *tg.gradients(tg.sum(first[0] * g), list(leaves))

        graph = tg.trace(both_orders, *leaves)
        for results in (both_orders(*leaves), graph(*leaves), graph.differentiate()(*leaves)):
            y, var, dx, dgamma, dbeta, *second = (t.numpy() for t in results)
            assert (y[channel] == expected).all() and var[1] == 0
            assert (dx[channel] == 0).all() and dgamma[1] == 0
            assert all(np.isfinite(d).all() for d in (y, dx, dgamma, dbeta, *second))
            assert dx.any() and dgamma[0] != 0


@pytest.mark.parametrize("rows", [2, 300])
def test_a_variance_beyond_float64_is_infinite_in_layer_norm(rows: int) -> None:
    x = np.random.default_rng(0).normal(size=(2, rows))
    x[0, 0] = 8.97e184
    y, mu, var = (np.asarray(a) for a in tg.layer_norm(x, impl="fused"))
    assert np.isfinite(mu).all() and np.isposinf(var[0]) and np.isfinite(var[1])
    assert not y[0].any() and np.isfinite(y).all()


@both
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_constant_row_gives_exactly_beta_in_layer_norm_without_eps(dtype, impl) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3, 4)).astype(dtype)
    x[1] = dtype(0.1)
    gamma, beta = rng.standard_normal((2, 4)).astype(dtype)
    leaves = [tg.tensor(v, requires_grad=True) for v in (x, gamma, beta)]
    for axis, rows in ((-1, leaves), (1, [t if i else t.reshape((3, 2, 2)) for i, t in enumerate(leaves)])):
        rows = rows if axis == -1 else [rows[0], rows[1].reshape((2, 2)), rows[2].reshape((2, 2))]
        y = tg.layer_norm(*rows, axis=axis, eps=0.0, impl=impl)[0]
        assert (y.numpy()[1].reshape(-1) == beta).all()
        dx, dgamma, dbeta = tg.gradients(tg.sum(y * y), leaves, create_graph=True)
        assert (dx.numpy()[1] == 0).all() and dx.numpy()[0].any()
        second = tg.gradients(tg.sum(dx * dx), leaves)
        assert all(np.isfinite(d.numpy()).all() for d in (dgamma, dbeta, *second))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_layer_without_eps_gives_beta_in_a_constant_channel(dtype) -> None:
    """In training, and by the averages of that batch, recorded or not."""
    layer = tg.nn.BatchNorm(2, eps=0.0, dtype=dtype)
    layer.beta.assign(tg.tensor([7.0, 1.0], dtype))
    x = tg.tensor(np.array([[3.0, 1.0], [3.0, 2.0]]), dtype, requires_grad=True)
    y = layer(x)
    assert y.numpy()[:, 0].tolist() == [7, 7]
    assert layer.eval()(x).numpy()[:, 0].tolist() == [7, 7]
    (d,) = tg.gradients(tg.sum(layer(x)), [x])
    assert np.isfinite(d.numpy()).all()
    with tg.no_grad():
        assert layer(x).numpy()[:, 0].tolist() == [7, 7]
        assert np.allclose(layer(x).numpy(), y.numpy(), rtol=1e-6)


@both
def test_biased_variance_and_the_batch_given_back(impl) -> None:
    """γ = √(σ²+ε) and β = μ give the batch back, for one batch. (Ng, course 2, week 3)"""
    x = np.random.default_rng(0).standard_normal((12, 3)) * 3 + 5
    ones, zeros = np.ones(3), np.zeros(3)
    _, mu, var = tg.batch_norm(x, ones, zeros, impl=impl)
    assert np.allclose(mu.numpy(), x.mean(0), rtol=1e-15) and np.allclose(var.numpy(), x.var(0, ddof=0), rtol=1e-14)
    y, _, _ = tg.batch_norm(x, tg.sqrt(var + EPS), mu, impl=impl)
    assert np.allclose(y.numpy(), x, rtol=1e-14)


@both
def test_an_empty_batch_is_empty(impl) -> None:
    for shape in ((0, 3), (0, 3, 4), (2, 3, 0)):
        x = tg.tensor(np.empty(shape, F4), requires_grad=True)
        y, mu, var = tg.batch_norm(x, np.ones(3, F4), np.zeros(3, F4), impl=impl)
        assert y.shape == shape and y.dtype == F4 and mu.shape == var.shape == (3,)
        assert tg.gradients(tg.sum(y), x).shape == shape


WRONG = {
    "integers": (np.ones((4, 3), np.int64), (3,), 1, TypeError, r"float.*got i64\[4, 3\].*astype\('float32'\)"),
    "booleans": (np.ones((4, 3), bool), (3,), 1, TypeError, r"float.*got bool\[4, 3\].*astype\('float32'\)"),
    "one axis": (np.ones(3, F4), (3,), 0, ValueError, r"a batch axis and a channel axis, got f32\[3\]"),
    "gamma": (np.ones((4, 3), F4), (2,), 1, ValueError, r"gamma must be float of shape \(3,\).*axis 1, got f32\[2\]"),
    "gamma 2-d": (np.ones((4, 3), F4), (1, 3), 1, ValueError, r"gamma must be float of shape \(3,\).*got f32\[1, 3\]"),
    "other axis": (np.ones((4, 3), F4), (3,), 0, ValueError, r"\(4,\), one a channel of axis 0, got f32\[3\]"),
    "no such axis": (np.ones((4, 3), F4), (3,), 2, ValueError, "axis 2 is out of range for 2 dim.* -2 to 1"),
}


@both
@relus
@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_fit_raises_eagerly_and_at_definition(impl, relu, name) -> None:
    x, channels, axis, error, message = WRONG[name]
    call = lambda x: OPS[relu](x, np.ones(channels, F4), np.zeros(channels, F4), axis=axis, impl=impl)
    with pytest.raises(error, match=message):
        call(x)
    with pytest.raises(error, match=message):
        tg.trace(call, tg.spec(x.shape, x.dtype))


@both
@pytest.mark.parametrize("which", ["gamma", "beta"])
@pytest.mark.parametrize("wrong", [np.ones(2, F4), np.ones(4, F4), np.ones(3, np.int64), np.ones((), F4)], ids=repr)
def test_each_of_gamma_and_beta_is_checked(impl, which, wrong) -> None:
    parts = dict(gamma=np.ones(3, F4), beta=np.ones(3, F4))
    parts[which] = wrong
    with pytest.raises(ValueError, match=rf"{which} must be float of shape \(3,\).*got "):
        tg.batch_norm(np.ones((4, 3), F4), impl=impl, **parts)


@both
def test_a_negative_eps_raises(impl) -> None:
    with pytest.raises(ValueError, match="eps"):
        tg.batch_norm(np.ones((4, 3), F4), np.ones(3, F4), np.ones(3, F4), eps=-1.0, impl=impl)


@both
def test_gradients_keep_the_dtypes_of_their_inputs(impl) -> None:
    x, gamma, beta = (tg.tensor(np.ones(s, t), requires_grad=True) for s, t in (((4, 3), F4), (3, F8), (3, np.float16)))
    for op in OPS.values():
        y, _, _ = op(x, gamma, beta, impl=impl)
        assert y.dtype == F4
        assert [d.dtype for d in tg.gradients(tg.sum(y), [x, gamma, beta])] == [F4, F8, np.float16]


@both
def test_a_variance_that_overflows_leaves_the_layer_as_it_was(impl) -> None:
    """Finite numbers, finite mean, infinite variance: the averages must not take it."""
    layer = nn.BatchNorm(2, impl=impl)
    layer(np.random.default_rng(0).standard_normal((8, 2)).astype(F4))
    before = {name: cell.numpy().copy() for name, cell in layer.named_cells()}
    x = np.ones((4, 2), F4)
    x[0, 0], x[1, 0] = 1e25, -1e25
    with warnings.catch_warnings(record=True) as caught, np.errstate(all="ignore"):
        warnings.simplefilter("always")
        layer(x)
    assert len(caught) == 1 and issubclass(caught[0].category, RuntimeWarning)
    for name, cell in layer.named_cells():
        assert np.array_equal(cell.numpy(), before[name]), name


@pytest.mark.parametrize("impl", ["fused", "composed"])
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("offset", [0, 100, 1e4, 1e8])
def test_the_gradient_of_gamma_of_many_rows_of_float64(offset, relu, impl) -> None:
    """A mean that is rounded to float64 puts each of a hundred thousand terms off to one side."""
    rng = np.random.default_rng(0)
    x, g = rng.random((5, 100_000)) + offset, rng.random((5, 100_000))
    wide = x.astype(np.longdouble)
    h = wide - wide[:, :1]  # a mean near 1e8 would be rounded in long double too
    h -= h.mean(1, keepdims=True)
    z = h / np.sqrt((h * h).mean(1, keepdims=True) + np.longdouble(1e-5))
    terms = g * (np.where(z > 0, z, 0) if relu else z)
    gamma = tg.tensor(np.ones(5), requires_grad=True)
    function = tg.batch_norm_relu if relu else tg.batch_norm
    y = function(np.ascontiguousarray(x.T), gamma, np.zeros(5), impl=impl)[0]
    (got,) = tg.gradients(y, [gamma], np.ascontiguousarray(g.T))
    exact = terms.sum(1)
    scale = max(np.abs(exact).max(), np.abs(terms).sum(1).min() / 64)
    assert np.abs(got.numpy() - exact).max() <= 32 * np.finfo(np.float64).eps * scale
