"""What NumPy, SciPy and PyTorch take is taken: operands, keys, bounds and axes that are no op's own."""

import math
from typing import Any

import numpy as np
import pytest

import tensorgraph as tg
from tensorgraph.testing import assert_close

A = np.array([1.0, -2.0, 3.0])


def f64(x: Any) -> tg.Tensor:
    return tg.tensor(np.asarray(x, np.float64))


@pytest.mark.parametrize("other", [None, "a", b"a", object(), {}, print], ids=lambda other: type(other).__name__)
def test_what_is_no_number_equals_nothing(other: Any) -> None:
    for x in (f64(A), f64(2.0), tg.Parameter(A), tg.tensor([1, 2]), tg.tensor([[True]]), tg.zeros((0, 2))):
        a = x.numpy()
        cases = (
            (x == other, a == other),
            (x != other, a != other),
            (other == x, other == a),
            (tg.equal(x, other), False),
        )
        for got, expected in cases:
            assert isinstance(got, tg.Tensor) and got.dtype == bool and got.shape == a.shape
            assert (got.numpy() == expected).all()
    graph = tg.trace(lambda x: (x == other, x != other), tg.f64[3])
    assert [t.tolist() for t in graph(A)] == [[False] * 3, [True] * 3]
    assert (other in f64(A)) is False
    for compare in (lambda x: x < other, lambda x: x + other):
        with pytest.raises(TypeError):
            compare(f64(A))


def test_operators_of_booleans_are_numpys() -> None:
    mask = f64(A) > 0
    for refused, remedy in ((lambda: -mask, "~x"), (lambda: mask - mask, r"a \^ b"), (lambda: +mask, "bool")):
        with pytest.raises(TypeError, match=remedy):
            refused()
    assert (~mask).tolist() == [False, True, False] and abs(mask).tolist() == mask.tolist()
    assert (mask ^ [True, True, False]).tolist() == [False, True, True]


def test_numbers_of_python() -> None:
    x = f64(A)
    for got, expected in zip((*divmod(x, 2), *divmod(7, x), +x), (*divmod(A, 2), *divmod(7, A), +A), strict=True):
        assert_close(got, expected)
    assert float(math.prod([x[0], x[1], x[2]])) == -6
    assert float(tg.grad(lambda v: divmod(v, 2.0)[1] + +v)(3.0)) == 2
    assert 3.0 in x and 4.0 not in x and x[0] in x


KEYS: list[Any] = [
    np.array(True), np.array(False), True, False, np.True_, (None, True), (True, 0), (0, True), (..., True),
    (True, ...), (True, [0, 1]), (slice(1), False), (True, True), (True, False),
    (None, np.array(True), slice(None, None, 2)),
    (True, np.array([True, False, True])), (np.array([[0], [1]]), True),
]  # fmt: skip


@pytest.mark.parametrize("shape", [(3,), (3, 2), ()])
@pytest.mark.parametrize("key", KEYS, ids=repr)
def test_a_single_boolean_in_a_key_is_numpys(key: Any, shape: tuple[int, ...]) -> None:
    a = np.arange(1.0, 1.0 + math.prod(shape)).reshape(shape)
    try:
        expected = a[key]
    except IndexError:
        with pytest.raises((IndexError, ValueError)):
            f64(a)[key]
        return
    assert_close(f64(a)[key], expected)
    tensors = (
        tuple(tg.tensor(k) if isinstance(k, (np.ndarray, np.bool_)) else k for k in key) if type(key) is tuple else key
    )
    assert_close(f64(a)[tensors], expected)
    graph = tg.trace(lambda x: x[key], tg.spec(shape, "float64"))
    assert_close(graph(a), expected)
    counts = np.zeros(shape)
    np.add.at(counts, key, 2.0)
    assert_close(tg.grad(lambda x: (x[key] * 2.0).sum())(a), counts)
    written = a.copy()
    written[key] = 9.0
    assert_close(f64(a).at[key].set(9.0), written)
    assert_close(f64(a).at[key].add(2.0), a + counts)


def test_a_mask_of_a_number_of_no_axes() -> None:
    x = f64(3.0)
    assert x[x > 0].tolist() == [3.0] and x[x < 0].tolist() == []
    assert x.at[x > 0].set(1.0).tolist() == 1.0 and x.at[x < 0].set(1.0).tolist() == 3.0
    with pytest.raises(tg.TraceError, match="where"):
        tg.trace(lambda x: x[x > 0], tg.f64[()])


LOW, HIGH = np.array([-1.0, -1.0, 5.0]), np.array([0.5, 2.0, 4.0])
BOUNDS: list[Any] = [(LOW, HIGH), (LOW, None), (None, HIGH), (-1.0, HIGH), (LOW, 2.0), (0.0, 2.5)]


@pytest.mark.parametrize(
    ("low", "high"), [(LOW, HIGH), (LOW, None), (None, HIGH), (-1.0, HIGH), (LOW, 2.0), (0.0, 2.5)]
)
def test_bounds_of_clip_may_be_tensors(low: Any, high: Any) -> None:
    expected = np.clip(A, low, high)
    made = [None if b is None else f64(b) if isinstance(b, np.ndarray) else b for b in (low, high)]
    keyword = {k: b for k, b in zip(("min", "max"), made, strict=True) if b is not None}
    calls: list[Any] = [
        lambda x: tg.clip(x, *made), lambda x: x.clip(*made), lambda x: tg.clip(x, **keyword),
        lambda x: x.clip(**keyword), lambda x: tg.clip(x, a_min=made[0], a_max=made[1]),
        lambda x: np.clip(x, *made), lambda x: tg.clip(x, low, high),
        lambda x: np.clip(x, low, high), lambda x: tg.clip(x, min=made[0], max=made[1]),
    ]  # fmt: skip
    for call in calls:
        assert_close(call(f64(A)), expected)
        assert_close(tg.trace(call, tg.f64[3])(A), expected)
    slopes = tg.grad(lambda x: tg.clip(x, *made).sum())(f64(A))
    inside = ((-np.inf if low is None else low) <= A) & (np.maximum(A, -np.inf if low is None else low) == expected)
    assert_close(slopes, (inside & (expected == A)).astype(float))
    if isinstance(low, np.ndarray):
        reached = tg.grad(lambda b: tg.clip(f64(A), b, made[1]).sum())(f64(low))
        assert_close(reached, ((low > A) & (low == expected)).astype(float))


def test_clip_keeps_dtypes_nan_and_refuses_two_bounds() -> None:
    x = tg.tensor([np.nan, 1.0, 2.0], dtype="float32")
    assert np.isnan(tg.clip(x, x * 0, 1.0).numpy()[0]) and tg.clip(x, 0.0, x).dtype == np.float32
    assert tg.clip(tg.tensor([1, 5]), max=tg.tensor([3, 3])).tolist() == [1, 3]
    with pytest.raises(TypeError, match="two values for 'a_min'"):
        tg.clip(x, 0.0, min=1.0)
    assert tg.clip(x[1:], min=np.float32(1.5)).tolist() == [1.5, 2.0]
    assert tg.clip(x[1:], None, None).tolist() == tg.clip(x[1:]).tolist() == [1.0, 2.0]


@pytest.mark.parametrize("impl", [None, "fused", "composed"])
@pytest.mark.parametrize("axis", [(1, 2), (0, 2), [0, -1], (2,), None, (), (0, 1, 2)], ids=repr)
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax_over_several_axes(name: str, axis: Any, impl: Any) -> None:
    if impl == "fused" and not tg.softmax.op.reference:
        return
    rng = np.random.default_rng(0)
    a = rng.normal(size=(2, 3, 4))
    over = tuple(range(3)) if axis is None else tuple(axis)
    e = np.exp(a - a.max(axis=over, keepdims=True))
    p = e / e.sum(axis=over, keepdims=True)
    expected = p if name == "softmax" else np.log(p)
    options = {} if impl is None else {"impl": impl}

    def f(x: Any) -> Any:
        return getattr(tg, name)(x, axis=axis, **options)

    np.testing.assert_allclose(f(f64(a)), expected, rtol=1e-13)
    np.testing.assert_allclose(tg.trace(f, tg.f64[2, 3, 4])(a), expected, rtol=1e-13)
    assert np.isfinite(f(f64(1e4 * a)).numpy()).all()
    w = rng.normal(size=a.shape)
    weighted = (p * w).sum(axis=over, keepdims=True)
    slope = p * (w - weighted) if name == "softmax" else w - p * w.sum(axis=over, keepdims=True)
    np.testing.assert_allclose(tg.grad(lambda x: (f(x) * w).sum())(a), slope, rtol=1e-11, atol=1e-14)
    with pytest.raises(ValueError, match=r"out of range|twice"):
        getattr(tg, name)(f64(a), axis=(0, 3), **options)


def rosenbrock(x: Any) -> Any:
    return (1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2


@pytest.mark.parametrize("method", ["BFGS", "L-BFGS-B", "CG", "Newton-CG", "TNC", "SLSQP", "trust-constr", "trust-ncg"])
def test_scipy_minimises_with_gradients(method: str) -> None:
    optimize = pytest.importorskip("scipy.optimize")
    second = {"hess": tg.hessian(rosenbrock)} if method in ("Newton-CG", "trust-constr", "trust-ncg") else {}
    found = optimize.minimize(tg.value_and_grad(rosenbrock), [1.3, 0.7], jac=True, method=method, **second)
    assert np.abs(np.asarray(found.x) - 1).max() < 1e-2


def test_scipy_is_handed_arrays_outside_transforms_alone() -> None:
    optimize = pytest.importorskip("scipy.optimize")

    def residuals(x: Any) -> Any:
        return tg.stack([1 - x[0], 10 * (x[1] - x[0] ** 2)])

    for found in (
        optimize.least_squares(residuals, [1.3, 0.7], jac=tg.jacobian(residuals)),
        optimize.root(residuals, [1.3, 0.7], jac=tg.jacobian(residuals)),
        optimize.minimize(rosenbrock, [1.3, 0.7], jac=tg.grad(rosenbrock)),
    ):
        assert np.abs(np.asarray(found.x) - 1).max() < 1e-3
    root = optimize.newton(lambda x: x**2 - 2, 1.0, fprime=tg.grad(lambda x: x**2 - 2))
    assert float(root) == pytest.approx(2**0.5)

    def inside(c: Any) -> Any:
        return c * optimize.minimize(lambda x: ((x - c) ** 2).sum(), [0.0], jac=lambda x: 2 * (x - c)).fun

    with pytest.raises(ValueError, match="scalar") as raised:  # as SciPy tells it
        tg.grad(inside)(1.0)
    assert isinstance(raised.value.__cause__ or raised.value.__context__, tg.DetachError)


def test_numpys_ways_to_more_axes_are_recorded() -> None:
    for name in ("atleast_1d", "atleast_2d", "atleast_3d"):
        grow = getattr(np, name)
        for shape in ((), (3,), (2, 3), (2, 3, 4)):
            a = np.arange(1.0, 1.0 + math.prod(shape)).reshape(shape)
            assert_close(grow(f64(a)), grow(a))
            assert_close(tg.grad(lambda x: (grow(x) * 2.0).sum())(a), 2 * np.ones(shape))  # noqa: B023
        one, two = grow(f64(1.0), f64(A))
        assert one.shape == grow(1.0).shape and two.shape == grow(A).shape
    assert float(tg.grad(lambda x: np.copy(x) * 3.0)(2.0)) == 3
