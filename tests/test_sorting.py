"""Sorting, searching and counting: NumPy's answers at ties, NaN and nothing; gradients; what a trace refuses."""

from typing import Any

import numpy as np
import pytest
from effort import examples
from hypothesis import given
from hypothesis import strategies as st

import tensorgraph as tg
from tensorgraph.ops.kernels import along, orders
from tensorgraph.ops.kernels.orders import order_of

SHAPES = [(5,), (3, 40), (40, 3), (2, 3, 30), (0,), (3, 0), (1,), (2, 64), (20, 150)]
DTYPES = ["f2", "f4", "f8", "i1", "u1", "i4", "u4", "i8", "u8", "?"]


def numbers(shape: tuple[int, ...], dtype: str, ties: bool, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x = rng.integers(-3, 3, shape).astype("f8") if ties else rng.standard_normal(shape) * 50
    if dtype[0] == "f":
        x[rng.random(shape) < 0.2] = np.nan
        x[rng.random(shape) < 0.1] = -0.0
        x[rng.random(shape) < 0.1] = np.inf
        x[rng.random(shape) < 0.1] = -np.inf
    with np.errstate(invalid="ignore"):
        return np.abs(x).astype(dtype) if dtype[0] == "u" else x.astype(dtype)


def stable(x: np.ndarray, axis: int, descending: bool) -> np.ndarray:
    if not descending:
        return np.argsort(x, axis, kind="stable")
    return x.shape[axis] - 1 - np.flip(np.argsort(np.flip(x, axis), axis, kind="stable"), axis)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("descending", [False, True])
def test_orders_are_stable(dtype: str, ties: bool, descending: bool) -> None:
    for shape in SHAPES:
        for axis in range(len(shape)):
            x = numbers(shape, dtype, ties)
            order = order_of(x, axis, descending)
            assert order.dtype == np.int64 and np.array_equal(order, stable(x, axis, descending))
            values = tg.sort(x, axis=axis, descending=descending)
            expected = np.take_along_axis(x, order, axis)
            assert values.dtype == x.dtype and np.array_equal(values.numpy(), expected, equal_nan=x.dtype.kind == "f")
            assert np.array_equal(tg.argsort(x, axis=axis, descending=descending).numpy(), order)
            k = shape[axis] // (5 if shape[axis] > 100 else 2)
            top, where = tg.topk(x, k, axis, largest=descending)
            first = (slice(None),) * axis + (slice(0, k),)
            assert np.array_equal(where.numpy(), order[first])
            assert np.array_equal(top.numpy(), expected[first], equal_nan=x.dtype.kind == "f")


def test_all_ways_of_ordering_are_used() -> None:
    x = np.zeros(orders.FEW + 40)
    assert (order_of(x, 0, False) == np.arange(x.size)).all()
    x = np.arange(200.0)
    x[-1] = x[3]  # a tie that the first numbers do not show
    assert np.array_equal(order_of(x, 0, False), np.argsort(x, kind="stable"))
    assert np.array_equal(order_of(x.astype("f4"), 0, True), stable(x, 0, True))


@pytest.mark.parametrize("f", [tg.sort, lambda x: tg.sort(x, descending=True), lambda x: tg.top_k(x, 3)[0]])
def test_gradients_go_back_to_where_elements_came_from(f: Any) -> None:
    x = np.random.default_rng(0).standard_normal((4, 300))
    x[0, 1] = x[0, 2]

    def loss(x: Any) -> Any:
        y = f(x)
        return (y * y * tg.arange(y.shape[-1], dtype="f64")).sum()

    g = tg.grad(loss)(x).numpy()
    y = f(x).numpy()
    expected = np.zeros_like(x)
    weights = 2 * y * np.arange(y.shape[-1])
    order = stable(x, 1, y[1, 0] > y[1, -1])[:, : y.shape[-1]]
    np.put_along_axis(expected, order, weights, 1)
    assert np.allclose(g, expected, rtol=1e-15)
    assert np.allclose(tg.vmap(tg.grad(loss))(x[:, :50]).numpy().shape, (4, 50))
    assert np.allclose(tg.hvp(loss, (x[0],), (np.ones(300),))[1][0].numpy()[order[0]], 2 * np.arange(y.shape[-1]))


@pytest.mark.parametrize("few", [0, 10**9], ids=["kernel", "numpy"])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_along_an_axis_by_the_kernel(few: int, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(along, "FEW", few)
    rng = np.random.default_rng(3)
    for shape, given_, axis in (((4, 5, 3), (4, 7, 3), 1), ((4, 5), (1, 7), 1), ((1, 5), (6, 2), 1), ((9,), (20,), 0)):
        x = rng.standard_normal(shape).astype(dtype)
        index = rng.integers(-shape[axis], shape[axis], given_)
        rest = [max(a, b) for a, b in zip(shape, given_, strict=True)]
        whole, at = [*rest], [*rest]
        whole[axis], at[axis] = shape[axis], given_[axis]
        expected = np.take_along_axis(np.broadcast_to(x, whole), np.broadcast_to(index, at), axis)
        t = tg.tensor(x, requires_grad=True)
        y = tg.take_along_axis(t, index, axis=axis)
        assert np.array_equal(y.numpy(), expected)
        c = rng.standard_normal(y.shape).astype(dtype)
        (g,) = tg.gradients([y], [t], [c])
        wide = np.zeros(whole, np.longdouble)
        np.add.at(wide, tuple(np.broadcast_to(index, at) if i == axis else v for i, v in enumerate(np.indices(at))), c)
        summed = wide.sum(tuple(i for i, n in enumerate(shape) if n != whole[i]), keepdims=True)
        assert g.dtype == x.dtype and np.allclose(
            g.numpy(), summed.astype(dtype), rtol=1e-6 if dtype == "f4" else 1e-14
        )
    x = np.ones((2, 300), dtype)
    index = np.zeros((2, 300), int)
    index[1, 7] = 300
    with pytest.raises(IndexError, match=r"index 300 is out of bounds for axis 1 with size 300, at \(1, 7\)"):
        tg.take_along_axis(x, index, axis=1)


def test_values_are_put_along_an_axis() -> None:
    x = np.arange(6.0).reshape(2, 3)
    expected = x.copy()
    np.put_along_axis(expected, np.array([[2, 0], [1, 1]]), np.array([[7.0, 8.0], [9.0, 10.0]]), 1)
    put = lambda x, v: tg.put_along_axis(x, [[2, 0], [1, 1]], v, axis=1)
    v = np.array([[7.0, 8.0], [9.0, 10.0]])
    assert np.array_equal(put(x, v).numpy(), expected)
    gx, gv = tg.grad(lambda x, v: (put(x, v) * (1.0 + np.arange(6.0).reshape(2, 3))).sum(), (0, 1))(x, v)
    assert gx.tolist() == [[0, 2, 0], [4, 0, 6]] and gv.tolist() == [[3, 1], [0, 5]]
    graph = tg.trace(put, x, v)
    assert np.array_equal(graph(x, v).numpy(), expected) and tg.parse(str(graph)) == graph
    with pytest.raises(ValueError, match="beside axis"):
        tg.put_along_axis(x[:1], [[0], [1]], 1.0)


VALUES = st.lists(st.sampled_from([-1.0, 0.0, 0.5, 1.0, 2.0, np.nan]), max_size=6)


@examples(100)
@given(VALUES, VALUES, st.sampled_from(["left", "right"]))
def test_searching_is_numpys(a: list[float], v: list[float], side: Any) -> None:
    x1, x2 = np.sort(np.array(a, "f4")), np.array(v, "f4")
    assert np.array_equal(tg.searchsorted(x1, x2, side=side).numpy(), np.searchsorted(x1, x2, side))
    assert np.array_equal(np.searchsorted(tg.tensor(x1), x2, side).numpy(), np.searchsorted(x1, x2, side))
    order = np.argsort(np.array(a, "f4"))
    assert np.array_equal(tg.searchsorted(np.array(a, "f4"), x2, order).numpy(), np.searchsorted(x1, x2))
    assert np.array_equal(tg.isin(x2, x1).numpy(), np.isin(x2, x1))
    assert tg.bucketize(x2, x1, right=True).tolist() == np.searchsorted(x1, x2, "right").tolist()


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("kwargs", [{}, {"left": -9.0}, {"right": 9.0}, {"period": 3.0}, {"period": -1.5}])
def test_interpolation_is_numpys(dtype: str, kwargs: Any) -> None:
    rng = np.random.default_rng(1)
    xp = np.array([0.0, 0.5, 1.0, 1.25, 2.5], dtype)
    for n in (1, 2, 5):
        fp = rng.standard_normal(n).astype(dtype)
        x = np.array([[-2.0, 0.0, 0.25, 0.5, 1.0], [1.1, 2.5, 3.0, np.nan, 2.4]], dtype)
        y = tg.interp(x, xp[:n], fp, **kwargs)
        eps = np.finfo(dtype).eps
        assert y.dtype == dtype
        expected = np.where(np.isnan(x), x, np.interp(x, xp[:n], fp, **kwargs))  # of one point NumPy forgets NaN
        assert np.allclose(y.numpy(), expected, rtol=8 * eps, atol=8 * eps, equal_nan=True)
        graph = tg.trace(lambda x, xp, fp: tg.interp(x, xp, fp, **kwargs), x, xp[:n], fp)
        assert tg.parse(str(graph)) == graph
        assert np.array_equal(graph(x, xp[:n], fp).numpy(), y.numpy(), equal_nan=True)


def test_interpolation_has_all_gradients() -> None:
    x, xp, fp = np.array([0.2, 0.7, 1.6, -1.0, 5.0]), np.array([0.0, 0.5, 1.5, 2.0]), np.array([1.0, 3.0, 2.0, 4.0])

    def loss(x: Any, xp: Any, fp: Any) -> Any:
        y = tg.interp(x, xp, fp)
        return (y * y).sum()

    found = tg.grad(loss, (0, 1, 2))(x, xp, fp)
    for k, a in enumerate((x, xp, fp)):
        for i in range(a.size):
            up, down = [v.copy() for v in (x, xp, fp)], [v.copy() for v in (x, xp, fp)]
            up[k][i] += 1e-6
            down[k][i] -= 1e-6
            assert abs(float(found[k].numpy()[i]) - (float(loss(*up)) - float(loss(*down))) / 2e-6) < 1e-6


@examples(25)
@given(st.lists(st.sampled_from([0.0, 1.0, -2.0, np.nan]), max_size=5))
def test_what_is_not_zero(values: list[float]) -> None:
    x = np.array(values)
    expected = np.flatnonzero(x)
    assert tg.flatnonzero(x).tolist() == tg.nonzero(x)[0].tolist() == expected.tolist()
    for size in (0, 2, 7):
        padded = [*expected[:size], *[-1] * (size - len(expected))]
        for f in (lambda x: tg.flatnonzero(x, size, -1), lambda x: tg.nonzero(x, size, -1)[0]):  # noqa: B023
            assert f(x).tolist() == padded == tg.trace(f, x)(x).tolist()
    both = x.reshape(-1, 1)
    assert tg.argwhere(both, size=7, fill_value=9).numpy()[: len(expected)].tolist() == np.argwhere(both).tolist()
    values_, counts = tg.unique_counts(x)
    assert (
        np.array_equal(values_.numpy(), np.unique(x, equal_nan=False), equal_nan=True) and counts.sum().item() == x.size
    )


@pytest.mark.parametrize("equal_nan", [True, False])
@pytest.mark.parametrize(
    "values", [[3.0, 1.0, 3.0, np.nan, np.nan, -0.0, 0.0], [[3, 1], [1, 2]], [True, False, True], [2.0]], ids=str
)
def test_so_many_different_elements(values: Any, equal_nan: bool) -> None:
    x = np.array(values)
    expected, first, inverse, counts = np.unique(x, True, True, True, equal_nan=equal_nan)
    for size in (0, 1, 3, 9):

        def f(x: Any, size: int = size) -> Any:
            return tg.unique(x, True, True, True, equal_nan=equal_nan, size=size)

        many = tg.vmap(f)(np.stack([x, x]))
        n = min(size, len(expected))
        for found in (f(x), tg.trace(f, x)(x), [a[1] for a in many]):
            values_, index, positions, times = [a.numpy() for a in found]
            assert values_.dtype == x.dtype and values_.shape == index.shape == times.shape == (size,)
            assert np.array_equal(values_[:n], expected[:n], equal_nan=True)
            assert index[:n].tolist() == first[:n].tolist() and times[:n].tolist() == counts[:n].tolist()
            assert positions.tolist() == inverse.reshape(x.shape).tolist()
            assert not times[n:].any() and (values_[n:] == values_[:1]).all() and (index[n:] == index[:1]).all()
    padded = tg.unique(x, size=9, fill_value=1).numpy()
    assert (padded[min(9, len(expected)) :] == 1).all()


def test_so_many_different_elements_of_few() -> None:
    weights = np.array([1.0, 10.0, 100.0, 1000.0, 10000.0])
    for fill in (None, 5.0):
        gradient = tg.grad(lambda x: (tg.unique(x, size=5, fill_value=fill) * weights).sum())  # noqa: B023
        x = np.array([3.0, 1.0, 3.0, 2.0])
        assert gradient(x).tolist() == [100, 1, 0, 10] == tg.trace(gradient, x)(x).tolist()
    nothing = np.zeros(0, np.float32)
    assert tg.unique(nothing, size=0).shape == (0,)
    found = tg.unique(nothing, True, True, True, size=2, fill_value=4)
    assert [a.tolist() for a in found] == [[4, 4], [0, 0], [], [0, 0]] and found[0].dtype == np.float32
    for call, error, words in (
        (lambda: tg.unique(nothing, size=2), ValueError, "give fill_value="),
        (lambda: tg.unique([1.0], fill_value=2), ValueError, "size= is needed"),
        (lambda: tg.unique([1.0], axis=0, size=1), ValueError, "leave out axis=0"),
        (lambda: tg.unique([1], size=1, fill_value=0.5), TypeError, "x's numbers, int64"),
        (lambda: tg.unique([1], size=1, fill_value=np.nan), TypeError, "x's numbers, int64"),
        (lambda: tg.trace(lambda x: tg.unique(x), x), tg.TraceError, "give size="),
    ):
        with pytest.raises(error, match=words):
            call()


def test_gradients_of_sets_go_to_the_first() -> None:
    x, y = np.array([3.0, 1.0, 3.0, 2.0]), np.array([2.0, 5.0])
    weights = np.array([1.0, 10.0, 100.0, 1000.0])
    for f, gx, gy in (
        (lambda x, y: tg.unique(x), [100, 1, 0, 10], [0, 0]),
        (lambda x, y: tg.union1d(x, y), [100, 1, 0, 10], [0, 1000]),
        (lambda x, y: tg.intersect1d(x, y), [0, 0, 0, 1], [0, 0]),
        (lambda x, y: tg.setdiff1d(x, y), [10, 1, 0, 0], [0, 0]),
        (lambda x, y: tg.setxor1d(x, y), [10, 1, 0, 0], [0, 100]),
    ):
        found = tg.grad(lambda x, y: (f(x, y) * weights[: f(x, y).shape[0]]).sum(), (0, 1))(x, y)  # noqa: B023
        assert [g.tolist() for g in found] == [gx, gy]


def test_counts_by_weight() -> None:
    i, w = np.array([0, 2, 2]), np.array([1.0, 2.0, 3.0])
    assert tg.bincount(i, w).tolist() == [1, 0, 5] and tg.bincount(i).dtype == np.int64
    assert tg.grad(lambda w: (tg.bincount(i, w) * np.array([1.0, 2.0, 3.0])).sum())(w).tolist() == [1, 3, 3]
    graph = tg.trace(lambda i, w: tg.bincount(i, w, length=4), i, w)
    assert graph(i, w).tolist() == [1, 0, 5, 0]
    with pytest.raises(IndexError, match="out of bounds"):
        graph(np.array([0, 1, 4]), w)
    with pytest.raises(tg.TraceError, match="length="):
        tg.trace(lambda i: tg.bincount(i), i)
    with pytest.raises(ValueError, match="got -1 at 1"):
        tg.bincount([0, -1])


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: tg.top_k([1.0, 2.0], 3), ValueError, "k must be from 0 to 2"),
        (lambda: tg.top_k([1.0, 2.0], 1.5), TypeError, "k must be"),
        (lambda: tg.sort([1.0], descending=1), TypeError, "descending"),
        (lambda: tg.searchsorted([[1.0]], [1.0]), ValueError, "x1.*one axis"),
        (lambda: tg.searchsorted([1.0], [1.0], side="middle"), ValueError, "side"),
        (lambda: tg.partition([1.0], 2), ValueError, "kth"),
        (lambda: tg.nonzero(1.0), ValueError, "nonzero: x must have an axis"),
        (lambda: tg.interp(1.0, [1.0], [1.0, 2.0]), ValueError, "interp: xp and fp"),
        (lambda: tg.choose([3], [[1.0], [2.0]]), IndexError, "index 3 is out of bounds"),
        (lambda: tg.ravel_multi_index(([2],), (2,)), ValueError, "index 2 is out of bounds for axis 0 with size 2"),
        (lambda: tg.unravel_index(6, (2, 3)), ValueError, "index 6 is out of bounds for array with size 6"),
        (lambda: tg.select([[True]], []), ValueError, "as many choices"),
        (lambda: tg.piecewise([1.0], [[True]], [1.0, 2.0, 3.0]), ValueError, "as many functions"),
        (lambda: tg.lexsort([]), TypeError, "at least one key"),
    ],
)  # fmt: skip
def test_what_is_refused_is_named(call: Any, error: Any, words: str) -> None:
    with pytest.raises(error, match=words):
        call()


def test_labels_as_ones() -> None:
    labels = np.array([[0, 2], [1, 1]])
    for axis in (0, 1, 2, -1):
        expected = np.moveaxis(np.eye(3, dtype="f4")[labels], -1, axis)
        assert np.array_equal(tg.one_hot(labels, num_classes=3, axis=axis).numpy(), expected)
        many = tg.vmap(lambda row, axis=axis: tg.one_hot(row, 3, axis=max(axis - 1, -1)))(labels)
        assert many.shape == (2, *tg.one_hot(labels[0], 3, axis=max(axis - 1, -1)).shape)
    with pytest.raises(ValueError, match=r"label 3 at \(1, 0\) is outside \[0, 3\)"):
        tg.one_hot([[0, 1], [3, 1]], 3)
    graph = tg.trace(lambda i: tg.one_hot(i, 3), labels)
    with pytest.raises(ValueError, match="label -1"):
        graph(labels - 1)


def test_several_keys() -> None:
    rng = np.random.default_rng(0)
    keys = rng.integers(0, 3, (3, 4, 20))
    for axis in (0, -1):
        assert np.array_equal(tg.lexsort(list(keys), axis).numpy(), np.lexsort(keys, axis))


def test_a_function_in_parts() -> None:
    x = np.array([-2.0, -0.5, 0.5, 2.0])
    f = lambda x: tg.piecewise(x, [x < 0, x > 1], [lambda v: -v, lambda v: v * v, 7.0])
    assert np.array_equal(
        f(tg.tensor(x)).numpy(), np.piecewise(x, [x < 0, x > 1], [lambda v: -v, lambda v: v * v, 7.0])
    )
    assert tg.grad(lambda x: f(x).sum())(x).tolist() == [-1, -1, 0, 4]
