"""Softmax cross-entropy as users see it, against every row of its table of semantics."""

import itertools
import sys
import threading
import warnings

import numpy as np
import pytest
from effort import examples
from hypothesis import given
from hypothesis import strategies as st
from semantics_oracle import (
    DTYPES,
    LAYOUTS,
    WIDE,
    cross_entropy,
    derivatives,
    directional,
    laid_out,
    one_hot,
    pattern,
    shift_error,
    terms,
    wide,
    within,
)

import tensorgraph as tg
from tensorgraph.engine import modes

F4, F8 = np.float32, np.float64
Z = np.array([[1.0, 2.0, 3.0], [1.0, 0.0, 2.0]], F4)
INF, NAN = np.inf, np.nan
SHAPES = [((4, 3), -1), ((3, 2), 1), ((5, 6), 0), ((2, 5, 3), 1), ((7,), 0), ((2, 100), -1)]
REDUCTIONS = ("none", "sum", "mean", "batchmean")
both = pytest.mark.parametrize("impl", ["fused", "composed"])
reductions = pytest.mark.parametrize("reduction", REDUCTIONS)


def ce(*args, **options):
    return tg.softmax_cross_entropy(*args, **options)


def gradient(z, *args, **options):
    """Loss and gradient for the logits, as arrays."""
    x = tg.tensor(z, requires_grad=True)
    with np.errstate(all="ignore"):
        loss = ce(x, *args, **options)
        return loss.numpy(), tg.gradients(tg.sum(loss), x).numpy()


# values and derivatives ------------------------------------------------------------------------------------------


@st.composite
def cases(draw, scales=(0.0, 1e-3, 1.0, 3.0)):
    """Logits, target, weights, cotangent and directions, and the options of a call."""
    dtype = draw(st.sampled_from(DTYPES))
    shape, axis = draw(st.sampled_from(SHAPES))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    scale = draw(st.sampled_from(scales))
    z = (min(scale, 1e3 if dtype is np.float16 else scale) * rng.standard_normal(shape)).astype(dtype)
    classes, rows = shape[axis], tuple(np.delete(shape, axis))
    options = dict(
        axis=axis, label_smoothing=draw(st.sampled_from([0.0, 0.1, 1.0])), reduction=draw(st.sampled_from(REDUCTIONS))
    )
    if draw(st.booleans()):
        q = rng.random(shape)
        target = laid_out((q / q.sum(axis, keepdims=True)).astype(dtype), draw(st.sampled_from(LAYOUTS)))
    else:
        target = rng.integers(0, classes, rows).astype(draw(st.sampled_from([np.int64, np.int32, np.uint8])))
        if draw(st.booleans()):
            options["ignore_index"] = int(target.flat[0]) if (target != target.flat[0]).any() else -1
    weight = (rng.random(classes) + 0.1).astype(dtype) if draw(st.booleans()) else None
    z = laid_out(z, draw(st.sampled_from(LAYOUTS)))
    moments = F4 if dtype is np.float16 else dtype
    g = rng.standard_normal(rows if options["reduction"] == "none" else ()).astype(moments)
    return z, target, weight, g, options, rng


def check(case, impl, traced):
    z, target, weight, g, options, rng = case
    axis = options["axis"]
    soft = target.dtype.kind == "f"
    names = ["dz", *["dq"] * soft, *["dw"] * (weight is not None)]
    inputs = [a for a in (z, target if soft else None, weight) if a is not None]
    along = [rng.standard_normal(a.shape).astype(a.dtype) for a in inputs]

    def call(*xs):
        xs = dict(zip(names, xs))
        return ce(xs["dz"], xs.get("dq", target), xs.get("dw"), impl=impl, **options)

    (loss,), first, second = derivatives(call, inputs, [g], along, traced)
    assert loss.dtype == np.result_type(z.dtype, F4)
    assert [d.dtype for d in (*first, *second)] == [a.dtype for a in inputs] * 2
    last = lambda a: a if a is None or a.ndim < z.ndim else np.moveaxis(a, axis, -1)
    vs = dict(zip(names, wide(*map(last, along))))
    wz, ww, wg = wide(last(z), weight, g)
    wq = last(wide(target)[0]) if soft else one_hot(target, z.shape[axis])
    valid = None if soft or options.get("ignore_index") is None else target != options["ignore_index"]
    settings = dict(valid=valid, smoothing=options["label_smoothing"], reduction=options["reduction"], g=wg)
    (expected,), gradients, scales = cross_entropy(wz, wq, ww, **settings)
    within(0, loss, expected, what="loss")
    directions = vs["dz"], vs.get("dq"), vs.get("dw")
    bent = directional(lambda z, q, w: cross_entropy(z, q, w, **settings)[1], (wz, wq, ww), directions)
    where = dict(dz=0, dq=1, dw=2)
    extra = shift_error(wz, z.dtype)
    for name, got, more in zip(names, first, second):
        got, more = (last(a) if name != "dw" else a for a in (got, more))
        within(1, got, gradients[where[name]], scales[name], what=name, extra=extra)
        exact = bent[where[name]]
        size = np.abs(exact).max(axis=None if name == "dw" else -1, keepdims=True)
        if name == "dz":
            size = np.maximum(size, scales["mass"] * terms(wz) * np.abs(vs["dz"]).max(-1, keepdims=True))
        if name == "dz" and weight is not None:  # a weight is in the loss and in its divisor
            size = np.maximum(size, scales["dz"] * np.abs(vs["dw"] / ww).max())
        # of the weights' and probabilities' second derivatives as of the first: they are differences of equal means
        within(
            2, more, exact, size if name == "dz" else np.maximum(size, scales[name]), what=f"second {name}", extra=extra
        )


@both
@pytest.mark.parametrize("traced", [False, True])
@given(case=cases())
@examples(40)
def test_values_and_derivatives_within_the_bounds(impl, traced, case) -> None:
    check(case, impl, traced)


@both
@given(case=cases(scales=(8.0, 30.0, 1e4)))
def test_confident_rows_within_the_bounds(impl, case) -> None:
    """Where one class has nearly all of the probability the gradients are small, and accurate all the same."""
    check(case, impl, False)


@both
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("dtype", [F4, F8])
def test_a_confident_row_keeps_its_loss_and_gradient(impl, soft, dtype) -> None:
    z = np.array([[30, 0, 1], [1e4, 9970, 0], [-1e4, 1e4, 0]], dtype)
    target = np.array([0, 0, 1])
    q = one_hot(target, 3)
    (rows,), (dz, _, _), _ = cross_entropy(wide(z)[0], q, reduction="none")
    loss, got = gradient(z, q.astype(dtype) if soft else target, reduction="none", impl=impl)
    for i in range(3):
        within(0, loss[i], rows[i], what=f"loss {i}")
        within(1, got[i], dz[i], what=f"gradient {i}")


@both
def test_exact_far_from_zero(impl) -> None:
    """Logits of ±1e4: the loss is the difference of logits, to the last bit."""
    z = np.array([[1e4, -1e4], [-1e4, 1e4], [1e4, 1e4]], F4)
    loss, dz = gradient(z, [1, 1, 0], reduction="none", impl=impl)
    assert loss[:2].tolist() == [2e4, 0.0] and abs(loss[2] - np.log(2)) < 1e-7
    assert dz.tolist() == [[1.0, -1.0], [0.0, 0.0], [-0.5, 0.5]]


@both
def test_third_derivatives(impl) -> None:
    rng = np.random.default_rng(5)
    z, v, w = rng.standard_normal((3, 3, 4))
    options = dict(label_smoothing=0.2, impl=impl)

    def third(x):
        d = tg.gradients(ce(x, [0, 3, 1], np.array([0.5, 1.0, 2.0, 0.25]), **options), x, create_graph=True)
        d = tg.gradients(tg.sum(d * v), x, create_graph=True)
        return tg.gradients(tg.sum(d * w), x)

    t = tg.tensor(z, requires_grad=True)
    got = third(t).numpy()
    assert np.array_equal(tg.trace(third, t)(t).numpy(), got)
    q, weight = one_hot([0, 3, 1], 4), wide([0.5, 1.0, 2.0, 0.25])[0]
    bent = lambda z: directional(lambda z: cross_entropy(z, q, weight, smoothing=0.2)[1][:1], (z,), wide(v))[0]
    h = WIDE(1e-5)
    expected = (bent(wide(z)[0] + h * w) - bent(wide(z)[0] - h * w)) / (2 * h)
    assert np.isfinite(got).all() and np.abs(got - expected).max() < 1e-8 * np.abs(expected).max()


@both
def test_two_classes_are_logistic_regression(impl) -> None:
    z = np.array([[0.3, -1.2], [2.0, 0.5], [-30.0, 30.0], [5.0, 5.0]])
    labels = np.array([1, 0, 1, 0])
    loss, dz = gradient(z, labels, reduction="none", impl=impl)
    d = z[:, 1] - z[:, 0]
    expected = np.where(labels == 1, np.log1p(np.exp(-d)), np.log1p(np.exp(d)))
    assert np.allclose(loss, expected, rtol=1e-14, atol=1e-17)
    sigmoid = 1 / (1 + np.exp(-d))
    assert np.allclose(dz[:, 1], np.where(labels == 1, -np.exp(-d) * sigmoid, sigmoid), rtol=1e-13, atol=1e-17)


@both
@reductions
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_index_and_one_hot_targets_agree(impl, reduction, weighted, smoothing) -> None:
    rng = np.random.default_rng(1)
    z, labels = rng.standard_normal((9, 5)), rng.integers(0, 5, 9)
    w = np.array([0.1, 5.0, 1.0, 0.0, 2.0]) if weighted else None
    options = dict(label_smoothing=smoothing, reduction=reduction, impl=impl)
    a, da = gradient(z, labels, w, **options)
    b, db = gradient(z, one_hot(labels, 5).astype(F8), w, **options)
    assert np.isfinite(da).all() and np.allclose(a, b, rtol=1e-14) and np.allclose(da, db, rtol=1e-12, atol=1e-16)


@both
def test_the_divisor_of_the_mean(impl) -> None:
    z, labels = np.array([[1.0, 2, 3], [1, 0, 2], [0, 0, 0]]), np.array([0, 2, 1])
    w = np.array([1.0, 10.0, 100.0])
    rows = gradient(z, labels, w, reduction="none", impl=impl)[0]
    assert np.isclose(gradient(z, labels, w, impl=impl)[0], rows.sum() / 111, rtol=1e-14)
    assert np.isclose(gradient(z, labels, w, reduction="batchmean", impl=impl)[0], rows.sum() / 3, rtol=1e-14)
    assert np.isclose(gradient(z, labels, w, ignore_index=2, impl=impl)[0], (rows[0] + rows[2]) / 11, rtol=1e-14)
    both = gradient(z, labels, w, ignore_index=2, reduction="batchmean", impl=impl)[0]
    assert np.isclose(both, (rows[0] + rows[2]) / 2, rtol=1e-14)
    # q in the divisor is unsmoothed
    smooth = dict(label_smoothing=0.3, impl=impl)
    rows = gradient(z, labels, w, reduction="none", **smooth)[0]
    assert np.isclose(gradient(z, labels, w, **smooth)[0], rows.sum() / 111, rtol=1e-14)


# values that are not finite --------------------------------------------------------------------------------------


@given(data=st.data())
@examples(100)
def test_fused_and_composed_are_not_finite_in_the_same_places(data) -> None:
    z, target, weight, g, options, _ = data.draw(cases(scales=(1.0,)))
    big = float(np.finfo(z.dtype).max) / 16  # what is multiplied by a cotangent still fits
    z = z.copy()
    for _ in range(data.draw(st.integers(1, 4))):
        z.flat[data.draw(st.integers(0, z.size - 1))] = data.draw(st.sampled_from([NAN, INF, -INF, -INF, big, -big]))
    if weight is not None and data.draw(st.booleans()):
        weight[data.draw(st.integers(0, weight.size - 1))] = 0
    soft = target.dtype.kind == "f"
    if soft and data.draw(st.booleans()):
        target = np.where(target < np.median(target), 0, target).astype(target.dtype)
    inputs = [a for a in (z, target if soft else None, weight) if a is not None]
    results = []
    for impl in ("fused", "composed"):

        def call(*xs, impl=impl):
            xs = list(xs)
            return ce(xs.pop(0), xs.pop(0) if soft else target, xs.pop(0) if xs else None, impl=impl, **options)

        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "softmax_cross_entropy: no label counts")
            (loss,), first, _ = derivatives(call, inputs, [g])
        results.append((loss, *first))
    for name, fused, composed in zip(["loss", "dz", *["dq"] * soft, "dw"], *results):
        assert (pattern(fused) == pattern(composed)).all(), f"{name}: fused {fused}, composed {composed}"


@both
@pytest.mark.parametrize("row", [[1, NAN, 0], [1, INF, 0], [INF, INF, 0], [-INF, -INF, -INF], [NAN, INF, -INF]])
@pytest.mark.parametrize("soft", [False, True])
def test_a_bad_row_is_nan_and_no_other(impl, row, soft) -> None:
    z = np.array([[1, 2, 3], row, [0, 0, 0]], F4)
    labels = np.array([0, 0, 1])
    loss, dz = gradient(z, one_hot(labels, 3).astype(F4) if soft else labels, reduction="none", impl=impl)
    assert np.isnan(loss).tolist() == [False, True, False]
    assert np.isnan(dz).all(1).tolist() == [False, True, False] and np.isfinite(dz[[0, 2]]).all()


@pytest.mark.parametrize("bad", [NAN, INF])
def test_weights_that_are_not_finite_mean_one_thing(bad) -> None:
    """Whether a class without a label may have such a weight has one answer for both implementations."""

    def outcome(impl):
        try:
            loss, dz = gradient(Z, [0, 1], np.array([1, 2, bad], F4), impl=impl)
        except ValueError as error:
            return str(error)
        return [*pattern(loss).flat, *pattern(dz).flat]

    assert outcome("fused") == outcome("composed")


@both
@reductions
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_an_ignored_row_is_nothing_whatever_its_logits(impl, reduction, weighted, smoothing) -> None:
    z = np.array([[1, 2, 3], [NAN, NAN, NAN], [INF, -INF, 0], [-INF, -INF, -INF], [0, 1, 0]], F4)
    labels, w = np.array([0, -100, -100, -100, 2]), np.array([1, 2, 3], F4) if weighted else None
    options = dict(reduction=reduction, label_smoothing=smoothing, impl=impl)
    loss, dz = gradient(z, labels, w, ignore_index=-100, **options)
    kept, dkept = gradient(z[[0, 4]], labels[[0, 4]], w, **options)
    assert (dz[1:4] == 0).all() and np.array_equal(dz[[0, 4]], dkept)
    assert np.array_equal(loss[[0, 4]], kept) and (loss[1:4] == 0).all() if reduction == "none" else loss == kept


@both
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("soft", [False, True])
def test_minus_infinity(impl, weighted, soft) -> None:
    w = np.array([1, 2, 3], F4) if weighted else None
    target = lambda k: one_hot(np.array([k]), 3).astype(F4) if soft else np.array([k])
    z = np.array([[1, -INF, 0]], F4)
    loss, dz = gradient(z, target(0), w, impl=impl)
    plain, dplain = gradient(z[:, [0, 2]], [0], impl=impl)
    assert np.isfinite(loss) and abs(loss - plain) <= 1e-7 and dz[0, 1] == 0 and np.allclose(dz[:, [0, 2]], dplain)
    loss, dz = gradient(z, target(1), w, impl=impl)
    assert loss == INF and np.isfinite(dz).all() and np.allclose(dz, [[0.73105858, -1, 0.26894142]])
    assert gradient(z, target(0), w, label_smoothing=0.1, impl=impl)[0] == INF


@pytest.mark.parametrize("bad", [NAN, INF, -INF, 3e38])
def test_the_fused_path_leaks_no_warning_of_numpy(bad) -> None:
    z = Z.copy()
    z[0, 0], z[1, 1] = bad, -3e38
    for target, w, smoothing in itertools.product(
        ([0, 1], [[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]]), (None, np.array([0, 1, 2], F4)), (0.0, 0.1)
    ):  # the filter of the tests makes any warning an error; the composed path warns of inf - inf and overflow
        x = tg.tensor(z, requires_grad=True)
        for reduction in REDUCTIONS:
            tg.gradients(tg.sum(ce(x, target, w, label_smoothing=smoothing, reduction=reduction)), x)


@both
@pytest.mark.parametrize("smoothing", [0.0, 0.5])
def test_an_infinite_difference_of_logits_without_weight_is_nothing(impl, smoothing) -> None:
    z, w = np.array([[3e38, -3e38], [1, 2]], F4), np.array([1, 0], F4)
    loss, dz = gradient(z, [1, 0], w, reduction="none", label_smoothing=smoothing, impl=impl)
    assert loss[0] == 0.0 and np.isfinite(loss).all() and np.isfinite(dz).all()


# nothing valid ---------------------------------------------------------------------------------------------------

NOTHING = {
    "all ignored": (Z, np.array([1, 1]), None, dict(ignore_index=1)),
    "all ignored, weights": (Z, np.array([1, 1]), np.ones(3, F4), dict(ignore_index=1)),
    "all ignored, bad logits": (Z * NAN, np.array([1, 1]), None, dict(ignore_index=1)),
    "no weight": (Z, np.array([1, 1]), np.array([1, 0, 1], F4), {}),
    "no weight, bad logits": (np.array([[1, NAN, 2], [INF, 0, 0]], F4), np.array([1, 1]), np.array([1, 0, 1], F4), {}),
    "no weight, smoothed": (Z, np.array([1, 1]), np.array([1, 0, 1], F4), dict(label_smoothing=0.1)),
    "no mass": (Z, np.zeros((2, 3), F4), np.ones(3, F4), {}),
    "no rows": (Z[:0], np.zeros(0, np.int64), None, {}),
    "no rows, probabilities": (Z[:0], np.zeros((0, 3), F4), np.ones(3, F4), {}),
    "no classes": (Z[:, :0], np.zeros((2, 0), F4), None, {}),
}


@both
@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize("name", NOTHING)
def test_nothing_valid_is_zero_with_one_warning(impl, traced, name) -> None:
    z, target, w, options = NOTHING[name]
    call = lambda x: ce(x, target, w, impl=impl, **options)
    run = tg.trace(call, tg.spec(z.shape)) if traced else call
    with pytest.warns(RuntimeWarning, match="no label counts") as caught, np.errstate(all="ignore"):
        loss = run(z)
    assert len(caught) == 1
    assert loss.item() == 0.0 and loss.shape == ()


@both
@pytest.mark.parametrize("name", NOTHING)
def test_nothing_valid_has_zero_gradients_and_may_be_nan(impl, name) -> None:
    z, target, w, options = NOTHING[name]
    soft = target.dtype.kind == "f"
    xs = [tg.tensor(a, requires_grad=True) for a in (z, *[target] * soft, *[w] * (w is not None))]
    with pytest.warns(RuntimeWarning) as caught, np.errstate(all="ignore"):
        loss = ce(xs[0], xs[1] if soft else target, None if w is None else xs[-1], impl=impl, **options)
        first = tg.gradients(loss, xs, create_graph=True)
        second = tg.gradients(sum(tg.sum(d * d) for d in first), xs)
    assert len(caught) == 1, "one warning, however many derivatives"
    for d in (*first, *second):
        assert (d.numpy() == 0).all()
    with pytest.warns(RuntimeWarning, match="NaN"):
        assert np.isnan(ce(z, target, w, empty="nan", impl=impl, **options).item())


@both
@pytest.mark.parametrize("name", NOTHING)
@pytest.mark.parametrize("reduction", ["none", "sum"])
def test_without_a_divisor_nothing_warns(impl, name, reduction) -> None:
    z, target, w, options = NOTHING[name]
    with np.errstate(all="ignore"):
        loss = ce(z, target, w, reduction=reduction, impl=impl, **options)
    assert loss.shape == (() if reduction == "sum" else z.shape[:1])
    if ("bad" not in name and "smoothed" not in name) or "ignored" in name:
        assert (loss.numpy() == 0).all()


@both
@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize("name", ["all ignored", "no weight", "no rows"])
def test_the_warning_points_at_the_caller(impl, traced, name) -> None:
    """Also where a gradient is taken inside a trace, and one warning however often the reference is run."""
    z, target, w, options = NOTHING[name]

    def step(x):
        loss = ce(x, target, w, impl=impl, **options)
        (g,) = tg.gradients([loss], [x], create_graph=True)
        return loss, tg.gradients(tg.sum(g * g), x)

    x = tg.tensor(z, requires_grad=True)
    run = tg.trace(step, x) if traced else step
    line = sys._getframe().f_lineno + 2
    with pytest.warns(RuntimeWarning) as caught:
        run(x)
    assert [w.filename for w in caught] == [__file__]
    assert not traced or caught[0].lineno == line


def test_the_warning_is_shown_once_a_line() -> None:
    """As any warning is, unless the filters say otherwise."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for _ in range(3):
            tg.softmax_cross_entropy(Z[:0], np.zeros(0, np.int64))
        tg.softmax_cross_entropy(Z[:0], np.zeros(0, np.int64))
    assert len(caught) == 2


def test_another_thread_still_warns_while_a_second_derivative_is_taken() -> None:
    """What keeps the second derivative silent belongs to the thread that takes it."""
    said = []

    def work():
        with warnings.catch_warnings(record=True) as caught:  # before and after the other thread's, never during it
            warnings.simplefilter("always")
            tg.softmax_cross_entropy(Z[:0], np.zeros(0, np.int64))
        said.append(len(caught))

    with modes.use(quiet=True):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        tg.softmax_cross_entropy(Z[:0], np.zeros(0, np.int64))
    assert said == [1]
