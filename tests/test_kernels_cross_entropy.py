"""Cross-entropy kernels against a higher precision, one test a row of the table of its semantics."""

import itertools

import numpy as np
import pytest

from tensorgraph import jit
from tensorgraph.ops.kernels.cross_entropy import (
    cross_entropy_backward,
    cross_entropy_check,
    cross_entropy_forward,
)
from tensorgraph.ops.kernels.rows import CHUNK, NARROW

F4, F8 = np.float32, np.float64
WIDER = {np.dtype(F4): F8, np.dtype(F8): np.longdouble}
REDUCTIONS = ["none", "sum", "mean", "batchmean"]
WIDE = [CHUNK + 7] if jit.compiled() else [NARROW + 1]


def ulps(got, exact, axis=None):
    assert np.isfinite(got).all() and np.isfinite(exact).all()
    scale = np.abs(exact).max(axis=axis, keepdims=True)
    unit = np.maximum(scale * np.finfo(got.dtype).eps, np.finfo(got.dtype).tiny)
    return (np.abs(got - exact) / unit).max()


def one_hot(index, classes, dtype):
    return (index[:, None] == np.arange(classes)).astype(dtype)


def exact(z, target, weight, ignore, smoothing, reduction, g):
    """Loss, and gradients for logits, probabilities and weights, by the formulas, on a higher precision."""
    wide = WIDER[z.dtype]
    z = z.astype(wide)
    rows, classes = z.shape
    d = z - z.max(1, keepdims=True)
    first = one_hot(d.argmax(1), classes, bool)
    loss = np.log1p(np.where(first, 0, np.exp(d)).sum(1, keepdims=True)) - d
    valid = np.ones(rows, bool)
    q = target.astype(wide)
    if target.dtype.kind == "i":
        valid = target != ignore if ignore is not None else valid
        q = one_hot(target, classes, wide) * valid[:, None]
    w = np.ones(classes, wide) if weight is None else weight.astype(wide)
    smooth = ((1 - wide(smoothing)) * q + wide(smoothing) / classes) * valid[:, None]
    rows_loss = (w * smooth * loss).sum(1)
    tied = reduction == "mean" and weight is not None
    divisor = {"none": wide(1), "sum": wide(1), "batchmean": wide(valid.sum())}.get(reduction, wide(valid.sum()))
    divisor = (w * q).sum() if tied else divisor
    whole = rows_loss.sum() / divisor
    scale = np.broadcast_to(np.asarray(g, wide).reshape(-1, 1), (rows, 1)) / divisor
    p, rest = np.exp(-loss), -np.expm1(-loss)
    k = w * smooth
    mass = k.sum(1, keepdims=True)
    # p - 1 as -(1 - p), so that nothing cancels where all of the mass is on one class
    dz = np.where(k == mass, -mass * rest, mass * p - k) * scale
    dq = scale * (w * (1 - wide(smoothing)) * loss - (whole * w if tied else 0))
    dw = (scale * (smooth * loss - (whole * q if tied else 0)) * valid[:, None]).sum(0)
    return rows_loss if reduction == "none" else whole, dz, dq, dw


def case(dtype, rows, classes, scale, soft, weighted, ignore):
    rng = np.random.default_rng([rows, classes])
    z = (scale * rng.standard_normal((rows, classes))).astype(dtype)
    if soft:
        target = rng.random((rows, classes)).astype(dtype)
    else:
        target = rng.integers(0, classes, rows)
        if ignore is not None:
            target[::5] = ignore
    return z, target, rng.random(classes).astype(dtype) + dtype(0.1) if weighted else None


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize(("soft", "ignore"), [(False, None), (False, 3), (False, -100), (True, None)])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", [F4, F8])
def test_within_the_bounds(dtype, weighted, soft, ignore, smoothing, reduction):
    for classes, scale in itertools.product([10, *WIDE], [1.0, 5.0, 1e4]):
        rows = 12 if classes == 10 or jit.compiled() else 3
        z, target, w = case(dtype, rows, classes, scale, soft, weighted, ignore)
        options = dict(ignore_index=ignore, label_smoothing=smoothing, reduction=reduction)
        loss, lse, divisor = cross_entropy_forward(z, target, w, **options)
        g = np.linspace(-1, 2, rows, dtype=dtype) if reduction == "none" else np.array(1.7, dtype)
        dz, dq, dw = cross_entropy_backward(g, z, target, w, lse, divisor, **options)
        expected = exact(z, target, w, ignore, smoothing, reduction, g)
        assert loss.dtype == dtype and loss.shape == g.shape
        assert ulps(loss, expected[0]) <= 8
        assert dz.dtype == dtype and ulps(dz, expected[1], -1) <= 32
        assert (dq is not None) == soft and (dw is not None) == weighted
        if soft:
            assert ulps(dq, expected[2], -1) <= 32
        if weighted:
            assert ulps(dw, expected[3]) <= 32


@pytest.mark.parametrize("dtype", [F4, F8])
def test_confident_rows_keep_their_loss_and_gradient(dtype):
    z = np.array([[30, 0, 1], [10000, 9970, 0]], dtype)
    target = np.array([0, 0])
    loss, lse, divisor = cross_entropy_forward(z, target, reduction="none")
    dz, _, _ = cross_entropy_backward(np.ones(2, dtype), z, target, None, lse, divisor, reduction="none")
    expected = exact(z, target, None, None, 0.0, "none", np.ones(2))
    assert (np.abs(loss / expected[0] - 1) < 4 * np.finfo(dtype).eps).all()
    assert ulps(dz, expected[1], -1) <= 32


def test_two_classes_are_logistic_regression():
    z = np.array([[0.3, -1.2], [2.0, 0.5]])
    loss, _, _ = cross_entropy_forward(z, np.array([1, 0]), reduction="none")
    d = z[:, 1] - z[:, 0]
    assert np.allclose(loss, [np.log1p(np.exp(-d[0])), np.log1p(np.exp(d[1]))], rtol=1e-15)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_index_and_one_hot_agree(weighted, smoothing, reduction):
    z, target, w = case(F8, 9, 5, 2.0, False, weighted, None)
    options = dict(label_smoothing=smoothing, reduction=reduction)
    hot = one_hot(target, 5, F8)
    a, b = cross_entropy_forward(z, target, w, **options), cross_entropy_forward(z, hot, w, **options)
    assert np.allclose(a[0], b[0], rtol=1e-14) and np.allclose(a[2], b[2], rtol=1e-15)
    g = np.ones_like(a[0])
    first = cross_entropy_backward(g, z, target, w, *a[1:], **options)
    second = cross_entropy_backward(g, z, hot, w, *b[1:], **options)
    assert np.allclose(first[0], second[0], rtol=1e-13, atol=1e-16)
    if weighted:
        assert np.allclose(first[2], second[2], rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("smoothing", [0.0, 0.15])
def test_gradients_against_differences(reduction, smoothing):
    z, q, w = case(F8, 4, 3, 1.0, True, True, None)
    options = dict(label_smoothing=smoothing, reduction=reduction)
    loss, lse, divisor = cross_entropy_forward(z, q, w, **options)
    g = np.linspace(0.5, 2, 4) if reduction == "none" else np.array(0.7)
    grads = cross_entropy_backward(g, z, q, w, lse, divisor, **options)
    for k, (x, dx) in enumerate(zip((z, q, w), grads)):
        for i in np.ndindex(x.shape):
            values = []
            for h in (1e-6, -1e-6):
                moved = [z.copy(), q.copy(), w.copy()]
                moved[k][i] += h
                values.append((cross_entropy_forward(*moved, **options)[0] * g).sum())
            assert abs((values[0] - values[1]) / 2e-6 - dx[i]) < 1e-8, (k, i)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("classes", [4, NARROW + 1])
def test_ignored_rows_are_exactly_nothing(classes, smoothing):
    z, target, _ = case(F4, 6, classes, 1.0, False, False, None)
    z[1], z[2], z[3] = np.nan, np.inf, -np.inf
    target[1:4] = -7
    options = dict(ignore_index=-7, label_smoothing=smoothing)
    loss, lse, divisor = cross_entropy_forward(z, target, reduction="none", **options)
    assert (loss[1:4] == 0).all() and np.isfinite(loss).all()
    mean, lse, divisor = cross_entropy_forward(z, target, **options)
    dz, _, _ = cross_entropy_backward(np.float32(1), z, target, None, lse, divisor, **options)
    assert divisor == 3 and np.isfinite(mean) and np.isclose(mean, loss.sum() / 3)
    assert (dz[1:4] == 0).all() and np.isfinite(dz).all() and (dz[0] != 0).all()


@pytest.mark.parametrize("classes", [4, NARROW + 1])
@pytest.mark.parametrize("soft", [False, True])
def test_a_bad_row_is_nan_and_no_other(classes, soft):
    z = np.zeros((5, classes), F4)
    z[1, 2], z[2, 1], z[3] = np.nan, np.inf, -np.inf
    target = np.zeros(5, np.int64)
    if soft:
        target = one_hot(target, classes, F4)
    loss, lse, divisor = cross_entropy_forward(z, target, reduction="none")
    assert np.isnan(loss).tolist() == [False, True, True, True, False]
    dz, _, _ = cross_entropy_backward(np.ones(5, F4), z, target, None, lse, divisor, reduction="none")
    assert np.isnan(dz).any(1).tolist() == [False, True, True, True, False]


@pytest.mark.parametrize("soft", [False, True])
def test_minus_infinity_where_the_target_is_zero_counts_as_zero(soft):
    z = np.array([[1.0, -np.inf, 0.0]], F4)
    target = np.array([[0.25, 0.0, 0.75]], F4) if soft else np.array([0])
    w = np.array([1.0, 2.0, 3.0], F4)
    loss, lse, divisor = cross_entropy_forward(z, target, w)
    dz, dq, dw = cross_entropy_backward(np.float32(1), z, target, w, lse, divisor)
    assert np.isfinite(loss) and np.isfinite(dz).all() and dz[0, 1] == 0
    assert np.isfinite(dw).all() and (dq is None or np.isfinite(dq).all())
    assert cross_entropy_forward(z, target, w, label_smoothing=0.1)[0] == np.inf


@pytest.mark.parametrize("soft", [False, True])
def test_minus_infinity_at_the_target_is_an_infinite_loss_with_a_finite_gradient(soft):
    z = np.array([[1.0, -np.inf, 0.0], [0.0, 1.0, 2.0]], F4)
    target = np.array([1, 1])
    if soft:
        target = one_hot(target, 3, F4)
    for reduction in ("mean", "sum"):
        loss, lse, divisor = cross_entropy_forward(z, target, reduction=reduction)
        assert loss == np.inf
        dz, _, _ = cross_entropy_backward(np.float32(1), z, target, None, lse, divisor, reduction=reduction)
        assert np.isfinite(dz).all() and dz[0, 1] == -1 / divisor


@pytest.mark.parametrize(
    ("target", "weight", "options"),
    [
        (np.array([2, 2]), None, dict(ignore_index=2)),
        (np.array([0, 0]), np.array([0.0, 1.0, 1.0]), {}),
        (np.zeros((2, 3)), np.ones(3), {}),
        (np.array([], np.int64), None, {}),
        (np.empty((0, 3)), None, {}),
    ],
    ids=["ignored", "no weight", "no mass", "empty", "empty soft"],
)
def test_zero_divisor(target, weight, options):
    z = np.ones((len(target), 3))
    loss, lse, divisor = cross_entropy_forward(z, target, weight, **options)
    assert loss == 0.0 and divisor == 0.0 and loss.shape == divisor.shape == ()
    assert np.isnan(cross_entropy_forward(z, target, weight, empty="nan", **options)[0])
    for grad, like in zip(
        cross_entropy_backward(np.float64(1), z, target, weight, lse, divisor, **options), (z, target, weight)
    ):
        assert grad is None or (grad.shape == like.shape and (grad == 0).all())


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -3])
@pytest.mark.parametrize("soft", [False, True])
def test_any_axis_and_layout(axis, soft):
    rng = np.random.default_rng(0)
    z = rng.standard_normal((3, 4, 5)).astype(F4)
    classes = z.shape[axis]
    moved = np.moveaxis(z, axis, -1)
    index = rng.integers(0, classes, moved.shape[:-1])
    flat = moved.reshape(-1, classes)
    target = index.reshape(-1)
    if soft:
        q = rng.random(z.shape).astype(F4)
        target, index = np.moveaxis(q, axis, -1).reshape(-1, classes), q
    for array in (z, index):
        array.flags.writeable = False
    for reduction in ("none", "mean"):
        a = cross_entropy_forward(z, index, axis=axis, reduction=reduction)
        b = cross_entropy_forward(flat.copy(), target, reduction=reduction)
        assert (a[0].reshape(-1) == b[0].reshape(-1)).all()
        g = np.full(a[0].shape, 0.5, F4)
        dz, dq, _ = cross_entropy_backward(g, z, index, None, *a[1:], axis=axis, reduction=reduction)
        other = cross_entropy_backward(g.reshape(b[0].shape), flat.copy(), target, None, *b[1:], reduction=reduction)
        assert dz.flags.c_contiguous and (np.moveaxis(dz, axis, -1).reshape(-1, classes) == other[0]).all()
        if soft:
            assert (np.moveaxis(dq, axis, -1).reshape(-1, classes) == other[1]).all()


@pytest.mark.parametrize("kind", ["u1", "i4", ">i8", "i8"])
def test_any_integer_target(kind):
    z, target, _ = case(F4, 8, 5, 1.0, False, False, None)
    expected = cross_entropy_forward(z, target)[0]
    assert cross_entropy_forward(z, target.astype(kind))[0] == expected
    assert cross_entropy_forward(z, np.repeat(target, 2).astype(kind)[::2])[0] == expected


def test_half_precision_is_computed_in_single():
    z, target, _ = case(F4, 8, 5, 1.0, False, False, None)
    loss, lse, divisor = cross_entropy_forward(z.astype(np.float16), target)
    assert loss.dtype == F4 and loss == cross_entropy_forward(z.astype(np.float16).astype(F4), target)[0]
    dz, _, _ = cross_entropy_backward(np.float32(1), z.astype(np.float16), target, None, lse, divisor)
    assert dz.dtype == np.float16


def test_only_what_is_wanted():
    z, q, w = case(F4, 4, 3, 1.0, True, True, None)
    _, lse, divisor = cross_entropy_forward(z, q, w)
    for want in itertools.product([False, True], repeat=3):
        got = cross_entropy_backward(np.float32(1), z, q, w, lse, divisor, want=want)
        assert tuple(x is not None for x in got) == want


def test_several_threads_agree():
    rows = 600 if jit.compiled() else 3
    z, target, w = case(F4, rows, 1000, 1.0, False, True, None)
    before, results = jit.num_threads(), []
    try:
        for threads in (1, 3):
            jit.set_num_threads(threads)
            for smoothing in (0.0, 0.1):
                loss, lse, divisor = cross_entropy_forward(z, target, w, label_smoothing=smoothing)
                dz, _, _ = cross_entropy_backward(
                    np.float32(1), z, target, w, lse, divisor, label_smoothing=smoothing, want=(True, False, False)
                )
                results.append((loss, divisor, dz))
    finally:
        jit.set_num_threads(before)
    for one, three in zip(results[:2], results[2:]):
        assert np.isfinite(one[2]).all()
        for a, b in zip(one, three):
            assert np.allclose(a, b, rtol=3e-7, atol=0)


@pytest.mark.parametrize("dtype", ["i8", "u2"])
def test_check_names_position_value_and_remedy(dtype):
    target = np.zeros((3, 4), dtype)
    cross_entropy_check(target, 10)
    target[1, 2] = target[2, 0] = 10
    with pytest.raises(ValueError, match=r"target\[1, 2\] = 10 is outside \[0, 10\).*2 such targets.*count classes"):
        cross_entropy_check(target, 10)
    cross_entropy_check(target, 10, ignore_index=10)
    cross_entropy_check(np.empty(0, dtype), 0)


def test_check_of_negative_indices_and_nan():
    with pytest.raises(ValueError, match=r"target\[1\] = -1 .*ignore_index=-1"):
        cross_entropy_check(np.array([0, -1]), 3)
    cross_entropy_check(np.array([0, -1]), 3, ignore_index=-1)
    with pytest.raises(ValueError, match=r"target\[0, 1\] is nan"):
        cross_entropy_check(np.array([[0.5, np.nan]]), 2)
    cross_entropy_check(np.array([[np.inf, -np.inf]]), 2)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("bad", [-1, 5, 2**40])
def test_an_index_out_of_range_is_never_read(bad, smoothing):
    with pytest.raises(ValueError, match="outside"):
        cross_entropy_forward(np.zeros((3, 5)), np.array([0, bad, 1]), label_smoothing=smoothing)
