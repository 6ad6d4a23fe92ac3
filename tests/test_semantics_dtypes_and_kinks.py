"""Which dtype comes of what, and which value a derivative takes where there is none."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tensorgraph as tg
import tensorgraph.numpy as tnp
from tensorgraph import nn

F2, F4, F8, I8 = np.float16, np.float32, np.float64, np.int64
INF, NAN = np.inf, np.nan


def slopes(function, *values, dtype=F4, g=None, traced=False):
    """Value and gradients of a function of tensors, as lists."""
    xs = [tg.tensor(np.array(v, dtype), requires_grad=True) for v in values]

    def both(*xs):
        y = function(*xs)
        return y, tg.gradients(y, list(xs), np.ones(y.shape, y.dtype) if g is None else g)

    y, ds = tg.trace(both, *xs)(*xs) if traced else both(*xs)
    assert all(d.dtype == dtype and d.shape == x.shape for d, x in zip(ds, xs))
    return y.tolist(), *(d.tolist() for d in ds)


def test_float_functions_of_small_integers_give_the_default_dtype() -> None:
    """NumPy gives float32, or float16, for small ones."""
    for name in ("float64", "float16", "float32"):
        tg.set_default_dtype(name)
        try:
            for kind in (np.int8, np.int16, np.uint16, np.int32, np.int64, np.bool_):
                t = tg.tensor(np.array([1, 0, 1], kind))
                for out in (tg.exp(t), tg.sqrt(t), t / 2, 2.0 / (t + 1), tg.sigmoid(t), t.mean(), tg.exp(t.numpy())):
                    assert out.dtype == name
                assert tg.exp.op(t.numpy()).dtype == name, "in rules, on arrays"
        finally:
            tg.set_default_dtype("float32")


traces = pytest.mark.parametrize("traced", [False, True])
floats = pytest.mark.parametrize("dtype", [F2, F4, F8])


@traces
@floats
def test_relu_and_absolute_at_zero(dtype, traced) -> None:
    tiny = float(np.finfo(dtype).smallest_subnormal)
    values = [0.0, -0.0, 1.0, -1.0, tiny, -tiny]
    assert slopes(tg.relu, values, dtype=dtype, traced=traced)[1] == [0, 0, 1, 0, 1, 0]
    assert slopes(tg.absolute, values, dtype=dtype, traced=traced)[1] == [0, 0, 1, -1, 1, -1]


def test_batch_norm_relu_at_zero() -> None:
    """A constant channel with beta 0: every value is at the kink."""
    x = tg.tensor(np.full((4, 1), 3.0, F4), requires_grad=True)
    beta = tg.tensor(np.zeros(1, F4), requires_grad=True)
    for impl in ("fused", "composed"):
        y, _, _ = tg.batch_norm_relu(x, np.ones(1, F4), beta, impl=impl)
        assert (y.numpy() == 0).all()
        for d in tg.gradients(tg.sum(y), [x, beta]):
            assert (d.numpy() == 0).all()


@traces
@floats
@pytest.mark.parametrize("op", ["maximum", "minimum"])
def test_two_equal_numbers_share_their_gradient(op, dtype, traced) -> None:
    a, b = [1.0, 2.0, 0.0, INF, -INF, 5.0], [1.0, 3.0, -0.0, INF, -INF, 4.0]
    _, da, db = slopes(getattr(tg, op), a, b, dtype=dtype, traced=traced)
    wins = [0.5, 0.0, 0.5, 0.5, 0.5, 1.0] if op == "maximum" else [0.5, 1.0, 0.5, 0.5, 0.5, 0.0]
    assert da == wins and db == [1 - w for w in wins]
    assert slopes(lambda x: getattr(tg, op)(x, x), [2.0], dtype=dtype, traced=traced)[1] == [1.0]
    # a maximum with 0 is no relu before a rewrite: half at the tie
    assert slopes(lambda x: getattr(tg, op)(x, 0.0), [0.0], dtype=dtype, traced=traced)[1] == [0.5]


@given(
    values=st.lists(st.sampled_from([-1.0, 0.0, -0.0, 2.0, 2.5, INF, -INF]), min_size=2, max_size=12),
    g=st.sampled_from([1.0, -3.0]), dtype=st.sampled_from([F2, F4, F8]), largest=st.booleans(),
)  # fmt: skip
def test_extrema_share_equally_among_ties(values, g, dtype, largest) -> None:
    reduce, numpy = (tg.max, np.max) if largest else (tg.min, np.min)
    y, d = slopes(reduce, values, dtype=dtype, g=np.array(g, dtype))
    hit = np.array(values) == numpy(values)
    assert y == numpy(values)
    assert np.allclose(d, np.where(hit, g / hit.sum(), 0), rtol=float(np.finfo(dtype).eps))
    assert sum(d) == pytest.approx(g, rel=12 * float(np.finfo(dtype).eps))


@traces
@floats
@pytest.mark.parametrize("reduce", [tg.max, tg.min], ids=["max", "min"])
def test_nan_wins_and_takes_the_gradient(reduce, dtype, traced) -> None:
    assert slopes(reduce, [NAN, 1.0, 2.0], dtype=dtype, traced=traced)[1] == [1, 0, 0]
    assert slopes(reduce, [1.0, NAN, NAN, INF], dtype=dtype, traced=traced)[1] == [0, 0.5, 0.5, 0]
    values = [[NAN, 5.0], [NAN, 5.0], [1.0, 4.0]]
    wins = [[0.5, 0.5], [0.5, 0.5], [0, 0]] if reduce is tg.max else [[0.5, 0], [0.5, 0], [0, 1]]
    assert slopes(lambda x: reduce(x, axis=0), values, dtype=dtype, traced=traced)[1] == wins


@traces
@floats
@pytest.mark.parametrize("op", [tg.maximum, tg.minimum], ids=["maximum", "minimum"])
def test_nan_of_two_takes_the_gradient(op, dtype, traced) -> None:
    _, da, db = slopes(op, [NAN, 1.0, NAN, INF], [1.0, NAN, NAN, NAN], dtype=dtype, traced=traced)
    assert da == [1, 0, 0.5, 0] and db == [0, 1, 0.5, 1]
    assert slopes(lambda x: op(x, 0.0), [NAN], dtype=dtype, traced=traced)[1] == [1]


@traces
@floats
def test_nan_passes_bounds_with_its_gradient(dtype, traced) -> None:
    for function in (tg.relu, lambda x: tg.clip(x, a_min=0.0, a_max=1.0), lambda x: tg.clip(x, a_max=1.0)):
        assert slopes(function, [NAN, 0.5], dtype=dtype, traced=traced)[1] == [1, 1]


def test_ties_of_an_axis() -> None:
    values = [[1.0, 1.0, 0.0], [2.0, 2.0, 2.0]]
    assert np.allclose(slopes(lambda x: tg.max(x, axis=1), values)[1], [[0.5, 0.5, 0], [1 / 3] * 3])
    assert slopes(lambda x: tg.min(x, axis=0, keepdims=True), values)[1] == [[1, 1, 1], [0, 0, 0]]


STILL = [[3.5], [2.0, 2.0], [0.1, 0.1, 0.1], [1e4] * 7, [0.0] * 3]


@traces
@floats
@pytest.mark.parametrize("values", STILL, ids=str)
@pytest.mark.parametrize("name", ["std", "var"])
def test_a_deviation_of_nothing_has_no_slope(name, values, dtype, traced) -> None:
    for function in (getattr(tg, name), getattr(np, name)):
        y, d = slopes(lambda x, f=function: f(x), values, dtype=dtype, traced=traced)
        assert y == 0 and d == [0] * len(values)
    columns = [[v, float(i)] for i, v in enumerate(values)]  # beside a column that varies
    _, d = slopes(lambda x: getattr(tg, name)(x, axis=0), columns, dtype=dtype, traced=traced)
    assert np.isfinite(d).all() and [row[0] for row in d] == [0] * len(values)


def test_a_deviation_of_nothing_to_the_second_order() -> None:
    x = tg.tensor([2.0, 2.0, 2.0])
    assert not tg.hessian(tg.std)(x).numpy().any()
    assert not tg.trace(lambda t: tg.hessian(tg.std)(t), x)(x).numpy().any()
    graph = tg.trace(lambda t: tg.std(t) * 3.0, x).grad().differentiate()
    assert graph(x).tolist() == [0, 0, 0]
    assert tg.hessian(lambda t: tg.std(t, axis=0).sum())(tg.tensor([[1.0, 5.0], [1.0, 7.0]])).numpy()[:, 0].sum() == 0
    assert np.isfinite(tg.hessian(lambda t: tg.std(t) ** 2)(tg.tensor([3.0, 3.0])).numpy()).all()


def test_a_deviation_of_one_number_or_none() -> None:
    with np.errstate(all="ignore"):
        assert np.isnan(tg.std(tg.zeros((0,))).numpy()) and tg.grad(tg.std)(tg.zeros((0,))).shape == (0,)
        assert np.isnan(tg.std([1.0], correction=1).numpy())
    assert tg.std([1000.0, -1000.0], axis=0).numpy() == 1000
    assert tg.std(np.array([1000, -1000], F2)).numpy() == 1000, "the variance has no place in float16"
    assert np.std(tg.tensor([1.0, 3.0]), ddof=1).item() == pytest.approx(2**0.5)


@traces
@floats
def test_clip_is_one_at_the_bounds(dtype, traced) -> None:
    values = [-1.5, -1.0, 0.0, 1.0, 1.5]
    assert slopes(lambda x: tg.clip(x, a_min=-1.0, a_max=1.0), values, dtype=dtype, traced=traced)[1] == [0, 1, 1, 1, 0]
    assert slopes(lambda x: tg.clip(x, a_min=-1.0), values, dtype=dtype, traced=traced)[1] == [0, 1, 1, 1, 1]
    assert slopes(lambda x: tg.clip(x, a_max=1.0), values, dtype=dtype, traced=traced)[1] == [1, 1, 1, 1, 0]
    assert slopes(lambda x: tg.clip(x, a_min=1.0, a_max=1.0), [1.0], dtype=dtype, traced=traced)[1] == [1]


def test_nan_passes_through_every_kink() -> None:
    for function in (tg.relu, tg.absolute, lambda x: tg.maximum(x, 0.0), lambda x: tg.minimum(x, 0.0), tg.max, tg.min,
                     lambda x: tg.clip(x, a_min=0.0, a_max=1.0)):  # fmt: skip
        assert np.isnan(function(tg.tensor([NAN, 1.0])).numpy()).any()


# dtypes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "dtype"),
    [
        (1.5, F4), ([1.0, 2.0], F4), ([1, 2.5], F4), ([[1.0]], F4), (1, I8), ([1, 2], I8), (True, bool), ([True], bool),
        (np.float64(1.5), F8), (np.ones(2), F8), (np.ones(2, F2), F2), (np.ones(2, np.int32), np.int32), ([], F4),
    ],
)  # fmt: skip
def test_what_a_tensor_takes_from_its_data(given, dtype) -> None:
    t = tg.tensor(given)
    assert t.dtype == dtype and type(t.numpy()) is np.ndarray


def test_the_default_dtype_is_a_setting() -> None:
    try:
        tg.set_default_dtype("float64")
        assert tg.tensor([1.0]).dtype == tg.softmax([1, 2]).dtype == tg.exp([1]).dtype == tg.mean([1, 2]).dtype == F8
        assert tg.softmax_cross_entropy(np.array([[1, 2]]), [0]).dtype == F8 and tg.tensor([1]).dtype == I8
    finally:
        tg.set_default_dtype("float32")
    assert tg.tensor([1.0]).dtype == F4


@floats
@pytest.mark.parametrize("scalar", [2, 2.5, True])
def test_python_scalars_are_weak(dtype, scalar) -> None:
    x = tg.tensor(np.ones(2, dtype), requires_grad=True)
    for y in (x * scalar, scalar * x, x + scalar, scalar - x, x / scalar, scalar / x, x**scalar, tg.maximum(x, scalar),
              tg.where(x > 0, x, scalar), tg.clip(x, a_min=scalar)):  # fmt: skip
        assert y.dtype == dtype
        assert tg.gradients(tg.sum(y), x).dtype == dtype


def test_integers_with_scalars_and_division() -> None:
    x = tg.tensor([1, 2])
    assert (x * 2).dtype == (x + True).dtype == I8
    assert (x * 2.5).dtype == (x / 2).dtype == (x / x).dtype == F4
    assert (tg.tensor(np.array([200], np.uint8)) + 55).tolist() == [255]


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint8", "int32", "int64"])
def test_float_functions_of_integers(dtype) -> None:
    x = tg.ones((2, 2), dtype=dtype)
    names = "exp log sqrt tanh sigmoid softplus softmax log_softmax hardmax mean var logsumexp"
    for name in names.split():
        assert getattr(tg, name)(x).dtype == F4, name
    for impl in ("fused", "composed"):
        assert tg.softmax(x, impl=impl).dtype == tg.softmax_cross_entropy(x, [0, 1], impl=impl).dtype == F4


def test_a_tensor_always_holds_an_array() -> None:
    x = tg.tensor(2.0, requires_grad=True)
    loss, (y, _, _) = tg.softmax_cross_entropy([[1.0]], [0]), tg.batch_norm([[1.0], [2.0]], [1.0], [0.0])
    for t in (x, x * 2, tg.sum(tg.tensor([1.0])), x.detach(), tg.gradients(x * x, x), loss, y[0, 0],
              tg.tensor([1.0, 2.0])[0], tg.max(tg.tensor([1.0])), tg.exp(x)):  # fmt: skip
        assert type(t) is tg.Tensor and type(t.numpy()) is np.ndarray and t.shape == ()


@pytest.mark.parametrize("second", [False, True])
@floats
def test_a_gradient_has_its_inputs_dtype_beside_a_wider_one(dtype, second) -> None:
    """numpy's float64 scalars in a rule, or a float64 neighbour, must not widen a gradient."""
    narrow = tg.tensor(np.array([0.5, 0.75], dtype), requires_grad=True)
    wide = tg.tensor(np.array([1.5, 2.0]), requires_grad=True)
    functions = [
        lambda a, b: a * b, lambda a, b: a / b, lambda a, b: a**b, tg.maximum, lambda a, b: tg.where(a > 0.6, a, b),
        lambda a, b: tg.sqrt(a) * b, lambda a, b: tg.var(a) * b, lambda a, b: tg.logsumexp(a) * b,
        lambda a, b: tg.softmax(a) * b,
    ]  # fmt: skip
    for function in functions:
        ds = tg.gradients(tg.sum(function(narrow, wide)), [narrow, wide], create_graph=second)
        if second:
            ds = tg.gradients(tg.sum(ds[0] * ds[0]) + tg.sum(ds[1] * ds[1]), [narrow, wide])
        assert [d.dtype for d in ds] == [dtype, F8]


def test_complex_is_refused_with_one_sentence() -> None:
    for call in (lambda: tg.tensor([1j]), lambda: tg.exp(np.array([1j])), lambda: tg.tensor([1.0]) * 1j,
                 lambda: tg.softmax(np.array([1j])), lambda: tg.spec((2,), "complex64")):  # fmt: skip
        with pytest.raises(TypeError, match="complex"):
            call()


def test_integers_have_no_gradient() -> None:
    with pytest.raises(TypeError, match=r"only float tensors have gradients, got int64; .*\.astype\('float32'\)"):
        tg.tensor([1, 2], requires_grad=True)


@pytest.mark.parametrize("mode", ["train", "eval", "freeze"])
def test_a_layer_does_not_run_in_float64_unnoticed(mode) -> None:
    layer = getattr(nn.BatchNorm(2), mode)()
    with pytest.raises(TypeError, match=r"BatchNorm has float32 parameters.* float64 input.*x\.astype\('float32'\)"):
        layer(np.ones((3, 2)))
    layer = getattr(nn.BatchNorm(2, dtype="float64"), mode)()
    assert layer(np.ones((3, 2))).dtype == F8 and layer(np.ones((3, 2), F4)).dtype == F4


def test_where_and_a_side_whose_slope_is_not_finite() -> None:
    """0 times infinity is NaN, as in NumPy's arithmetic; what goes in has to be chosen too."""
    x = tg.tensor([0.0, 4.0])
    single = lambda x: tg.where(x > 0, tg.sqrt(x), x).sum()
    double = lambda x: tg.where(x > 0, tg.sqrt(tg.where(x > 0, x, 1.0)), x).sum()
    with np.errstate(all="ignore"):
        leaked = tg.grad(single)(x).numpy()
    assert np.isnan(leaked[0]) and leaked[1] == 0.25
    assert tg.grad(double)(x).tolist() == [1, 0.25]
    graph = tg.trace(single, x)
    (finding,) = tg.lint(graph)
    assert finding.name == "gradient-through-where" and finding.rewrite(graph).grad()(x).tolist() == [1, 0.25]


def test_pythons_floats_keep_the_digits_of_float64_beside_them() -> None:
    v = [0.1, 0.2, 0.3]
    x = np.array(v)
    m, t = np.outer(x, x) + np.eye(3), tg.tensor(x)
    calls: tuple[Callable[[Any, Any], Any], ...] = (
        lambda n, t: n.add(t, [0.1]), lambda n, t: n.multiply(v, t), lambda n, t: n.clip(t, [0.15], 0.23),
        lambda n, t: n.searchsorted(t, 0.2), lambda n, t: n.searchsorted(t, v[1:]),
        lambda n, t: n.digitize(t, v[:2]), lambda n, t: n.isin(t, [0.1]), lambda n, t: n.isin(0.1, t),
        lambda n, t: n.einsum("i,->i", t, 0.1),
        lambda n, t: n.dot(t, v), lambda n, t: n.matmul(m, v), lambda n, t: n.cross(t, v),
        lambda n, t: n.linalg.solve(m, v), lambda n, t: n.interp(t, [0.0, 1.0], [0.1, 0.3]),
        lambda n, t: n.average(t, weights=v), lambda n, t: n.trapezoid(t, [0.1, 0.2, 0.35]),
        lambda n, t: n.cov(t, [0.1, 0.2, 0.5]), lambda n, t: n.diff(t, prepend=[0.1]), lambda n, t: n.vdot(t, v),
    )  # fmt: skip
    for call in calls:
        ours, theirs = np.asarray(call(tnp, t)), call(np, x)
        assert ours.dtype == theirs.dtype
        np.testing.assert_allclose(ours, theirs, rtol=1e-14, atol=1e-17)
    assert tg.take(t, [0, 1]).dtype == np.float64 and tg.dot(tg.tensor([1, 2]), [0.1, 0.2]).dtype == np.float32
    assert (tg.tensor([1.0]) + [0.1]).dtype == np.float32
