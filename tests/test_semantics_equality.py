"""How equal is equal: softmax and log-softmax, fused and composed, eager and traced, against long double; hardmax."""

import numpy as np
import pytest
from effort import examples
from hypothesis import assume, given
from hypothesis import strategies as st
from semantics_oracle import (
    DTYPES,
    LAYOUTS,
    WIDE,
    derivatives,
    directional,
    laid_out,
    log_probabilities,
    log_softmax_gradient,
    pattern,
    shift_error,
    softmax_gradient,
    terms,
    wide,
    within,
)

import tensorgraph as tg

F4, F8 = np.float32, np.float64
INF, NAN = np.inf, np.nan
both = pytest.mark.parametrize("impl", ["fused", "composed"])
names = pytest.mark.parametrize("name", ["softmax", "log_softmax"])
GRADIENTS = dict(softmax=softmax_gradient, log_softmax=log_softmax_gradient)
SHAPES = [((4, 3), -1), ((3, 4), 0), ((2, 5, 3), 1), ((6,), 0), ((1, 1), -1), ((3, 2), 1), ((2, 130), -1)]


def value(name, x, axis=-1):
    log = log_probabilities(wide(x)[0], axis)
    return np.exp(log) if name == "softmax" else log


@st.composite
def cases(draw, scales, common=(0.0,)):
    dtype = draw(st.sampled_from(DTYPES))
    shape, axis = draw(st.sampled_from(SHAPES))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    scale = min(draw(st.sampled_from(scales)), 1e3 if dtype is np.float16 else INF)
    x = (draw(st.sampled_from([0, -1, 1])) * scale + scale * rng.standard_normal(shape)).astype(dtype)
    if draw(st.booleans()):  # ties
        x = np.where(x > np.median(x), x.max(), x)
    g, v = rng.standard_normal((2, *shape))
    g += draw(st.sampled_from(common))
    return laid_out(x, draw(st.sampled_from(LAYOUTS))), axis, g.astype(dtype), v.astype(dtype)


def check(name, impl, traced, case):
    x, axis, g, v = case
    ys, first, second = derivatives(lambda x: getattr(tg, name)(x, axis=axis, impl=impl), [x], [g], [v], traced)
    assert [a.dtype for a in (*ys, *first, *second)] == [x.dtype] * 3
    wx, wg, wv = wide(x, g, v)
    gradient = GRADIENTS[name]
    within(0, ys[0], value(name, x, axis), axis=axis, what=name)
    if x.shape[axis] == 1:  # one class: nothing depends on x
        assert (first[0] == 0).all() and (second[0] == 0).all()
        return
    exact = gradient(wx, wg, axis)
    (bent,) = directional(lambda x: (gradient(x, wg, axis),), (wx,), (wv,))
    size = terms(wx, wg, axis=axis)
    if name == "log_softmax" or impl == "composed":  # cotangents are summed as they are
        size = terms(wx, axis=axis) * np.abs(wg).sum(axis, keepdims=True)
    extra = shift_error(wx, x.dtype, axis)
    within(1, first[0], exact, np.maximum(np.abs(exact).max(axis, keepdims=True), size), what="gradient", extra=extra)
    # of both implementations the second derivative is that of the composition
    size = terms(wx, axis=axis) * np.abs(wg).sum(axis, keepdims=True) * np.abs(wv).max(axis, keepdims=True)
    within(2, second[0], bent, np.maximum(np.abs(bent).max(axis, keepdims=True), size), what="second", extra=extra)


@both
@names
@pytest.mark.parametrize("traced", [False, True])
@given(case=cases(scales=(0.0, 1e-40, 1e-3, 0.5, 1.0)))
def test_values_and_derivatives_within_the_bounds(name, impl, traced, case) -> None:
    check(name, impl, traced, case)


@both
@names
@given(case=cases(scales=(5.0, 30.0, 1e4, 1e30)))
def test_confident_rows_within_the_bounds(name, impl, case) -> None:
    check(name, impl, False, case)


@given(case=cases(scales=(1.0,), common=(100.0, -1e4)))
def test_a_common_part_of_the_cotangent_costs_no_accuracy(case) -> None:
    """Softmax's gradient depends on differences of g alone; the kernel takes them. (A composition meets g itself.)"""
    x, axis, g, _ = case
    if x.shape[axis] == 1:
        return
    _, (got,), _ = derivatives(lambda x: tg.softmax(x, axis=axis, impl="fused"), [x], [g])
    exact = softmax_gradient(*wide(x, g), axis)
    within(1, got, exact, np.maximum(np.abs(exact).max(axis, keepdims=True), terms(*wide(x, g), axis=axis)))


@both
@names
def test_third_derivatives(name, impl) -> None:
    x, u, v, w = np.random.default_rng(2).standard_normal((4, 3, 4))

    def third(x):
        d = tg.gradients(getattr(tg, name)(x, impl=impl), x, u, create_graph=True)
        d = tg.gradients(tg.sum(d * v), x, create_graph=True)
        return tg.gradients(tg.sum(d * w), x)

    t = tg.tensor(x, requires_grad=True)
    got = third(t).numpy()
    assert np.array_equal(tg.trace(third, t)(t).numpy(), got)
    (bent,) = (lambda x: directional(lambda x: (GRADIENTS[name](x, wide(u)[0]),), (x,), wide(v))[0],)
    h = WIDE(1e-5)
    expected = (bent(wide(x)[0] + h * w) - bent(wide(x)[0] - h * w)) / (2 * h)
    assert np.isfinite(got).all() and np.abs(got - expected).max() < 1e-8 * np.abs(expected).max()


@names
@given(data=st.data())
@examples(60)
def test_fused_and_composed_are_not_finite_in_the_same_places(name, data) -> None:
    x, axis, g, v = data.draw(cases(scales=(1.0,)))
    assume(x.shape[axis] > 1)  # of one class there is no derivative to be NaN
    x, big = x.copy(), float(np.finfo(x.dtype).max)
    for _ in range(data.draw(st.integers(1, 5))):
        x.flat[data.draw(st.integers(0, x.size - 1))] = data.draw(st.sampled_from([NAN, INF, -INF, -INF, big, -big]))
    if data.draw(st.booleans()):
        g.flat[data.draw(st.integers(0, g.size - 1))] = NAN
    results = []
    for impl in ("fused", "composed"):
        with np.errstate(all="ignore"):
            (y,), (d,), _ = derivatives(lambda x, impl=impl: getattr(tg, name)(x, axis=axis, impl=impl), [x], [g])
        results.append((y, d))
    for what, fused, composed in zip((name, "gradient"), *results):
        assert (pattern(fused) == pattern(composed)).all(), f"{what}: fused {fused}, composed {composed}"


@both
@names
@pytest.mark.parametrize("row", [[1, NAN, 0], [1, INF, 0], [INF, INF, -INF], [-INF] * 3])
def test_a_bad_row_is_nan_and_no_other(name, impl, row) -> None:
    x = tg.tensor(np.array([[1, 2, 3], row, [-INF, 0, 0]], F4), requires_grad=True)
    with np.errstate(all="ignore"):
        y = getattr(tg, name)(x, impl=impl)
        d = tg.gradients(y, x, np.array([[1, 2, 3]] * 3, F4))
    assert np.isnan(y.numpy()).tolist() == [[False] * 3, [True] * 3, [False] * 3]
    assert np.isnan(d.numpy()).tolist() == [[False] * 3, [True] * 3, [False] * 3]
    assert y.numpy()[2].tolist() == ([0, 0.5, 0.5] if name == "softmax" else [-INF, -F4(np.log(2)), -F4(np.log(2))])


@pytest.mark.parametrize("bad", [NAN, INF, -INF, 3e38])
def test_the_fused_path_leaks_no_warning_of_numpy(bad) -> None:
    x = np.full((3, 4), -3e38, F4)
    x[0, 1], x[1] = bad, bad  # the filter of the tests makes any warning an error
    for op in (tg.softmax, tg.log_softmax):
        t = tg.tensor(x, requires_grad=True)
        assert tg.gradients(op(t), t, x).shape == x.shape


@both
def test_the_slide(impl) -> None:
    """softmax of [5, 2, -1, 3], and its hardmax. (Ng, course 2, week 3)"""
    y = tg.softmax([5, 2, -1, 3], impl=impl)
    assert y.dtype == F4 and y.numpy().round(3).tolist() == np.array([0.842, 0.042, 0.002, 0.114], F4).tolist()
    assert tg.hardmax(y).tolist() == [1, 0, 0, 0]
    assert tg.softmax(tg.tensor([5.0, 2.0, -1.0, 3.0]), impl=impl).sum().item() == pytest.approx(1, abs=1e-7)


def test_hardmax() -> None:
    assert tg.hardmax([[1.0, 3.0, 3.0], [2.0, 2.0, 2.0]]).tolist() == [[0, 1, 0], [1, 0, 0]]
    assert tg.hardmax(np.array([[1, 3], [4, 0]]), axis=0).tolist() == [[0, 1], [1, 0]]
    assert tg.hardmax(np.array([-INF, -INF])).tolist() == [1, 0]
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    assert not tg.hardmax(x).requires_grad and tg.hardmax(x).dtype == F4
    assert tg.trace(tg.hardmax, tg.spec((2,)))(x).tolist() == [0, 1]


@both
@names
def test_exact_far_from_zero(name, impl) -> None:
    """Max subtraction: adding a constant that loses no bit changes no bit."""
    x = np.array([[0.5, -2.0, 3.25, 0.0]], F4)
    op = getattr(tg, name)
    for c in (8192.0, -8192.0):
        assert np.array_equal(op(x + F4(c), impl=impl).numpy(), op(x, impl=impl).numpy())
    y = op(np.array([1e4, -1e4], F4), impl=impl).tolist()
    assert y == ([1, 0] if name == "softmax" else [0, -2e4])


@both
@names
def test_axes_that_do_not_fit(name, impl) -> None:
    op = getattr(tg, name)
    for x, axis, error, message in (
        (1.0, -1, ValueError, "a 0-d tensor has no axes"),
        ([1.0, 2.0], 1, ValueError, "axis 1 is out of range for 1 dimensions: expected -1 to 0"),
        ([[1.0]], (0, 0), ValueError, r"axis \(0, 0\) names an axis twice"),
        ([[1.0]], (0, 2), ValueError, "axis 2 is out of range for 2 dimensions"),
        ([[1.0]], 0.5, TypeError, "axis must be an integer, got 0.5"),
        ([1.0 + 2j], -1, TypeError, "complex numbers are not supported"),
    ):
        with pytest.raises(error, match=message):
            op(x, axis=axis, impl=impl)
    with pytest.raises(ValueError, match="'fused' or 'composed', got 'quick'"):
        op([1.0], impl="quick")


@both
@names
def test_a_region_chooses_the_implementation(name, impl) -> None:
    x, op = np.random.default_rng(0).standard_normal((5, 7)).astype(F4), getattr(tg, name)
    with tg.implementation(impl):
        y = op(x)
        graph = tg.trace(lambda x: op(x), tg.spec(x.shape))
    assert np.array_equal(y.numpy(), op(x, impl=impl).numpy()) and np.array_equal(graph(x).numpy(), y.numpy())
    assert (name in [e.op.name for e in graph.equations]) == (impl == "fused")
    assert np.array_equal(graph(x).numpy(), tg.trace(lambda x: op(x, impl=impl), tg.spec(x.shape))(x).numpy())
