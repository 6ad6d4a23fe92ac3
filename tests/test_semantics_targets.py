"""What softmax cross-entropy refuses and what it says: eagerly, at definition, and when a traced graph is evaluated."""

import numpy as np
import pytest

import tensorgraph as tg

F4 = np.float32
Z = np.array([[1.0, 2.0, 3.0], [1.0, 0.0, 2.0]], F4)
both = pytest.mark.parametrize("impl", ["fused", "composed"])
ce = tg.softmax_cross_entropy

# bad numbers: target, options, message
VALUES = {
    "too large": (np.array([0, 3]), {}, r"target\[1\] = 3 is outside \[0, 3\).*count classes from 0"),
    "far too large": (np.array([7, 0]), {}, r"target\[0\] = 7 is outside \[0, 3\).*one column a class"),
    "negative": (np.array([0, -1]), {}, r"target\[1\] = -1 is outside.*ignore_index=-1"),
    "unsigned": (np.array([0, 200], np.uint8), {}, r"target\[1\] = 200 is outside"),
    "64 bits": (np.array([0, 2**63 + 1], np.uint64), {}, r"target\[1\] = 9223372036854775809 is outside"),
    "beside an ignored one": (np.array([-1, -2]), dict(ignore_index=-1), r"target\[1\] = -2 is outside"),
    "NaN": (np.array([[0, np.nan, 1], [0, 0, 1]], F4), {}, r"target\[0, 1\] is nan.*missing labels"),
}
ONE_HOT = r"one-hot.*argmax\(-1\).*astype\('float32'\)"
# what does not fit: target, weight, options, error, message
SHAPES = {
    "one-hot integers": (np.eye(3, dtype=int)[:2], None, {}, ValueError, ONE_HOT),
    "one-hot booleans": (np.eye(3, dtype=bool)[:2], None, {}, ValueError, ONE_HOT),
    "other axis": (np.zeros(3, int), None, {}, ValueError, r"without axis -1, \(2,\), got \(3,\); axis=0 would fit"),
    "no axis": (np.zeros(4, int), None, {}, ValueError, r"without axis -1, \(2,\), got \(4,\)(?!.*fit)"),
    "a column": (np.zeros((2, 1), int), None, {}, ValueError, r"got \(2, 1\)"),
    "float indices": (np.array([0.0, 1.0]), None, {}, ValueError, r"logits' shape \(2, 3\).*integer dtype"),
    "NaN labels": (np.array([0.0, np.nan]), None, {}, ValueError, r"logits' shape \(2, 3\).*integer dtype"),
    "probabilities": (np.ones((3, 2)), None, {}, ValueError, r"logits' shape \(2, 3\), got f64\[3, 2\]"),
    "ignore with probabilities": (Z, None, dict(ignore_index=0), ValueError, "ignore_index goes with class indices"),
    "short weight": (np.zeros(2, int), np.ones(2, F4), {}, ValueError, r"shape \(3,\), one a class, got f32\[2\]"),
    "weight a row": (np.zeros(2, int), np.ones((2, 3), F4), {}, ValueError, r"shape \(3,\).*got f32\[2, 3\]"),
    "integer weight": (np.zeros(2, int), np.ones(3, int), {}, ValueError, r"float of shape \(3,\).*got i64\[3\]"),
    "reduction": (np.zeros(2, int), None, dict(reduction="avg"), ValueError, "none, sum, mean, batchmean, got 'avg'"),
    "smoothing": (np.zeros(2, int), None, dict(label_smoothing=1.1), ValueError, r"in \[0, 1\], got 1.1"),
    "NaN smoothing": (np.zeros(2, int), None, dict(label_smoothing=np.nan), ValueError, r"in \[0, 1\], got nan"),
    "empty": (np.zeros(2, int), None, dict(empty="none"), ValueError, "'zero' or 'nan', got 'none'"),
    "axis": (np.zeros(2, int), None, dict(axis=2), ValueError, "axis 2 is out of range for 2 dimensions"),
}  # fmt: skip


@both
@pytest.mark.parametrize("name", VALUES)
def test_bad_targets_raise(impl, name) -> None:
    target, options, message = VALUES[name]
    for reduction in ("mean", "none"):
        with pytest.raises(ValueError, match=message):
            ce(Z, target, impl=impl, reduction=reduction, **options)
    with pytest.raises(ValueError, match=message):
        ce(tg.tensor(Z, requires_grad=True), target, np.ones(3, F4), label_smoothing=0.1, impl=impl, **options)


@both
@pytest.mark.parametrize("name", VALUES)
def test_bad_targets_raise_when_a_graph_is_evaluated(impl, name) -> None:
    target, options, message = VALUES[name]
    graph = tg.trace(lambda z, t: ce(z, t, impl=impl, **options), tg.spec(Z.shape), tg.spec(target.shape, target.dtype))
    with pytest.raises(ValueError, match=message):
        graph(Z, target)


@both
@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_weights_that_are_not_finite_raise_eagerly_and_when_a_graph_is_evaluated(impl, bad, reduction) -> None:
    w = np.array([1, 2, bad], F4)
    call = lambda z, w: ce(z, [0, 1], w, impl=impl, reduction=reduction)
    for run in (call, tg.trace(call, tg.spec(Z.shape), tg.spec(w.shape))):
        with pytest.raises(ValueError, match=rf"class weights must be finite numbers, but weight\[2\] is {bad}"):
            run(Z, w)


@both
def test_bad_targets_raise_where_a_traced_gradient_is_all_that_is_asked(impl) -> None:
    def slope(z, t):
        return tg.gradients(ce(z, t, impl=impl), z)

    x = tg.tensor(Z, requires_grad=True)
    graph = tg.trace(slope, x, tg.spec((2,), "int64"))
    assert np.array_equal(graph(Z, np.array([0, 1])).numpy(), slope(x, np.array([0, 1])).numpy())
    with pytest.raises(ValueError, match=r"target\[1\] = 3 is outside"):
        graph(Z, np.array([0, 3]))


@both
@pytest.mark.parametrize("name", SHAPES)
def test_what_does_not_fit_raises_eagerly_and_at_definition(impl, name) -> None:
    target, weight, options, error, message = SHAPES[name]
    with pytest.raises(error, match=message):
        ce(Z, target, weight, impl=impl, **options)
    with pytest.raises(error, match=message):
        tg.trace(
            lambda z, t: ce(z, t, weight, impl=impl, **options), tg.spec(Z.shape), tg.spec(target.shape, target.dtype)
        )


@both
def test_the_axis_that_would_fit_is_named(impl) -> None:
    z = np.zeros((2, 3, 4), F4)
    for axis, shape in ((1, (2, 4)), (0, (3, 4))):
        with pytest.raises(ValueError, match=f"axis={axis} would fit"):
            ce(z, np.zeros(shape, int), impl=impl)
        assert ce(z, np.zeros(shape, int), axis=axis, impl=impl).item() == pytest.approx(np.log(z.shape[axis]))


@both
@pytest.mark.parametrize(
    ("dtype", "index"), [("u1", 255), ("u1", -100), ("i1", 255), ("i8", -(2**63)), ("u8", 2**64 - 1), ("u8", 2**63)]
)
def test_any_ignore_index_with_any_integers(impl, dtype, index) -> None:
    """An index that the dtype cannot hold ignores nothing."""
    fits = np.iinfo(dtype).min <= index <= np.iinfo(dtype).max
    target = np.array([0, index if fits else 1], dtype)
    expected = ce(Z[:1], [0], impl=impl) if fits else ce(Z, [0, 1], impl=impl)
    assert ce(Z, target, ignore_index=index, impl=impl).item() == pytest.approx(expected.item())


@both
def test_scalar_weights_and_lists_and_one_row(impl) -> None:
    assert ce(Z, [0, 1], weight=[1.0, 1.0, 1.0], impl=impl).item() == pytest.approx(ce(Z, [0, 1], impl=impl).item())
    assert ce(Z[0], 2, impl=impl).item() == pytest.approx(0.40760597, abs=1e-7)


@both
def test_results_and_gradients_have_the_promised_dtypes(impl) -> None:
    for logits in (np.float16, F4, np.float64):
        for other in (np.float16, F4, np.float64):
            parts = (Z, logits), (Z / 6, other), (Z[0], other)
            x, q, w = (tg.tensor(a.astype(t), requires_grad=True) for a, t in parts)
            loss = ce(x, q, w, impl=impl)
            assert loss.dtype == np.result_type(logits, F4)
            assert [d.dtype for d in tg.gradients(loss, [x, q, w])] == [logits, other, other]
    assert ce(Z.astype(int), [0, 1], impl=impl).dtype == F4
    with pytest.raises(TypeError, match="complex numbers are not supported"):
        ce(Z + 0j, [0, 1], impl=impl)


@both
@pytest.mark.parametrize("traced", [False, True])
def test_what_is_no_tensor_is_named(impl, traced) -> None:
    """The op, the input and what came, whichever implementation was to run."""
    for args, name, came in (
        ((Z, None), "target", "expected a tensor, got None"), ((None, [0, 1]), "logits", "expected a tensor, got None"),
        ((Z + 0j, [0, 1]), "logits", "complex"), ((Z, ["a", "b"]), "target", "expected numbers, got list"),
        ((Z, [0, 1], [1j, 1, 1]), "weight", "complex"),
    ):  # fmt: skip
        call = lambda args=args: ce(*args, impl=impl)
        with pytest.raises(TypeError, match=rf"softmax_cross_entropy: input '{name}'.*{came}"):
            tg.trace(call) if traced else call()
