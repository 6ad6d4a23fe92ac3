"""Rows gathered and added back at places that repeat: every form of key, every layout, sums that keep their digits."""

from typing import Any

import numpy as np
import pytest

import tensorgraph as tg
from tensorgraph import jit
from tensorgraph.ops.kernels import scatter
from tensorgraph.ops.kernels import scatter as kernels
from tensorgraph.ops.kernels.scatter import scatter_rows

DTYPES = [np.float16, np.float32, np.float64]


def added(shape: tuple[int, ...], key: Any, g: np.ndarray) -> np.ndarray:
    """What NumPy makes of it, with digits to spare."""
    out = np.zeros(shape, np.longdouble)
    np.add.at(out, key, g.astype(np.longdouble))
    return out


KEYS: dict[str, tuple[tuple[int, ...], Any]] = {
    "rows": ((5, 3), np.array([0, 4, 4, 1, 0, 4])),
    "negative": ((5, 3), np.array([-1, 4, -5, 0])),
    "a table of rows": ((5, 3), np.array([[0, 4], [4, 1]])),
    "columns": ((3, 5, 2), (slice(None), np.array([1, 1, -1]))),
    "columns, then all": ((3, 5, 2), (slice(None), np.array([1, 1, -1]), Ellipsis)),
    "the last axis": ((3, 5, 2), (Ellipsis, np.array([1, 0, 0, -1]))),
    "single numbers": ((6,), np.array([5, 5, 5, 0])),
    "pairs": ((4, 5), (np.array([0, 3, 3, 0]), np.array([1, -1, 4, 1]))),
    "broadcast pairs": ((4, 5, 2), (np.array([[0], [3]]), np.array([1, 4, 1]))),
    "places apart": ((4, 3, 5), (np.array([0, 0, 2]), slice(None), np.array([1, 1, -5]))),
    "with a number": ((4, 3, 5), (np.array([0, 0, 2]), 1)),
    "a number apart": ((4, 3, 5), (2, slice(0, 2), np.array([0, 0]))),
    "with a slice back": ((4, 6), (np.array([3, 3]), slice(None, None, -2))),
    "with a new axis": ((4, 3), (None, np.array([1, 1, 0]))),
    "a new axis behind": ((4, 3), (np.array([1, 1, 0]), None)),
    "one index without axes": ((4, 3), np.array(2)),
    "no index": ((4, 3), np.array([], np.int64)),
    "of nothing": ((4, 0), np.array([1, 1])),
    "small integers": ((4, 3), np.array([1, 1, 3], np.uint8)),
    "large integers": ((4, 3), np.array([1, 1, 3], np.uint64)),
    "a mask": ((4, 3), np.array([True, False, True, True])),
    "a mask of all": ((2, 3), np.array([[True, False, True], [True, True, False]])),
    "a mask of the last": ((2, 3), (slice(None), np.array([True, False, True]))),
}


@pytest.mark.parametrize("few", [0, 10**9], ids=["kernel", "numpy"])
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: d.__name__)
@pytest.mark.parametrize("name", KEYS)
def test_every_form_of_key(name: str, dtype: Any, few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scatter, "FEW", few)
    shape, key = KEYS[name]
    rng = np.random.default_rng(2)
    x = rng.normal(size=shape).astype(dtype)
    taken = x[key]
    for layout in (x, np.asfortranarray(x), np.repeat(x, 2, axis=-1)[..., ::2], x[::-1].copy()[::-1]):
        t = tg.tensor(layout, requires_grad=True, copy=False)
        y = t[key]
        assert np.array_equal(y.numpy(), taken) and y.dtype == dtype
        c = rng.normal(size=taken.shape).astype(dtype)
        (got,) = tg.gradients([y], [t], [c])
        expected = added(shape, key, c)
        assert got.dtype == dtype and got.shape == shape
        assert np.abs(got.numpy() - expected).max(initial=0) <= np.finfo(dtype).eps * np.abs(expected).max(initial=1)
        at = t.at[key].add(c).numpy()
        assert np.abs(at - (x + expected)).max(initial=0) <= 2 * np.finfo(dtype).eps * np.abs(at).max(initial=1)


@pytest.mark.parametrize("key", [np.array([0, 5]), np.array([-6, 0]), (np.array([0, 1]), np.array([0, 3]))])
def test_what_lies_outside_is_refused(key: Any) -> None:
    x = tg.ones((5, 3))
    with pytest.raises(IndexError, match="out of bounds"):
        x[key]
    with pytest.raises(IndexError, match="out of bounds"):
        x.at[key].add(1.0)


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("few", [0, 10**9], ids=["kernel", "numpy"])
def test_along_an_axis(axis: int, few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scatter, "FEW", few)
    rng = np.random.default_rng(4)
    for shape, given in (((3, 4, 2), (3, 4, 2)), ((3, 4, 2), (1, 4, 1)), ((3, 1, 2), (3, 5, 2))):
        indices = rng.integers(-shape[axis], shape[axis], given)
        try:
            taken = np.take_along_axis(np.ones(shape), indices, axis)
        except (IndexError, ValueError):
            continue
        for dtype in DTYPES:
            g = rng.normal(size=taken.shape).astype(dtype)
            got = tg.add_along_axis(g, indices, axis=axis, shape=shape).numpy()
            expected = np.zeros(shape, np.longdouble)
            k = axis % 3
            for place in np.ndindex(*g.shape):
                to = [0 if shape[i] == 1 else n for i, n in enumerate(place)]
                to[k] = int(np.broadcast_to(indices, g.shape)[place])
                expected[tuple(to)] += g[place]
            assert got.dtype == dtype
            assert np.abs(got - expected).max() <= np.finfo(dtype).eps * np.abs(expected).max()
    for wrong in ([[3]], [[-4]]):
        with pytest.raises(IndexError, match="out of bounds"):
            tg.add_along_axis(np.ones((1, 1)), np.array(wrong), axis=0, shape=(3, 1))


@pytest.mark.parametrize("columns", [1, 3, 40])
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: d.__name__)
@pytest.mark.parametrize("few", [0, 10**9], ids=["kernel", "numpy"])
def test_many_repeats_keep_their_digits(columns: int, dtype: Any, few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the terms cancel: half a unit of what is left, and a little of the sum of magnitudes."""
    if few and dtype is np.float64 and np.finfo(np.longdouble).eps == np.finfo(np.float64).eps:
        pytest.skip("no precision above float64 on this system")
    monkeypatch.setattr(scatter, "FEW", few)
    rng = np.random.default_rng(6)
    n = 20_000 if jit.compiled() else 300
    places = rng.integers(0, 3, n)
    for terms in (rng.random((n, columns)), rng.normal(size=(n, columns)), rng.normal(size=(n, columns)) * 1e3):
        g = terms.astype(dtype)
        with np.errstate(over="ignore"):
            got = scatter_rows(g, places, 5)
            exact = added((5, columns), places, g)
            rounded = exact.astype(dtype)
        finite = np.isfinite(rounded)
        assert np.array_equal(np.isfinite(got), finite)
        magnitude = added((5, columns), places, np.abs(g)) * (1e-18 if dtype is np.float64 else 1e-12)
        error = np.abs(got[finite] - exact[finite])
        assert (error <= 0.51 * np.spacing(np.abs(rounded[finite])) + magnitude[finite]).all()
        assert (got[3:] == 0).all()


@pytest.mark.parametrize("columns", [1, 4])
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: d.__name__)
@pytest.mark.parametrize("few", [0, 10**9], ids=["kernel", "numpy"])
def test_what_is_not_finite_stays_at_its_place(columns: int, dtype: Any, few: int, monkeypatch: Any) -> None:
    monkeypatch.setattr(scatter, "FEW", few)
    largest = np.finfo(dtype).max
    rows = [[np.inf, 1], [-np.inf, 2], [np.inf, -np.inf], [np.nan, 1], [largest, -largest], [-0.0, -0.0]]
    g = np.repeat(np.array(rows, dtype).reshape(-1, 1), columns, axis=1)
    places = np.repeat(np.arange(6), 2)
    got = scatter_rows(g, places, 7)
    assert np.array_equal(got[:, 0], np.array([np.inf, -np.inf, np.nan, np.nan, 0, 0, 0], dtype), equal_nan=True)


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: d.__name__)
def test_a_few_numbers_among_many_places(dtype: Any) -> None:
    rng = np.random.default_rng(4)
    g, places = rng.normal(size=(600, 1)).astype(dtype), rng.integers(0, 2000, 600)
    g[0], places[1] = -0.0, places[2]
    many = 600 * scatter.SPARSE + 1
    got, expected = scatter_rows(g, places, many), scatter_rows(g, places, 2000)
    assert got.shape == (many, 1) and got.dtype == dtype and not got[2000:].any()
    assert got[:2000].tobytes() == expected.tobytes()


def test_threads_change_nothing() -> None:
    rng = np.random.default_rng(8)
    g, places = rng.normal(size=(30_000, 16)).astype(np.float32), rng.integers(0, 700, 30_000)
    if not jit.compiled():
        g, places = g[:300], places[:300]
    before = jit.num_threads()
    found = []
    try:
        for n in (1, 2, 4):
            jit.set_num_threads(n)
            found.append(scatter_rows(g, places, 700))
    finally:
        jit.set_num_threads(before)
    assert all(np.array_equal(found[0], f) for f in found)


def test_the_input_is_left_alone_and_the_result_is_ones_own() -> None:
    table, ids = np.ones((4, 300), np.float32), np.array([0, 0, 3])
    t = tg.tensor(table, requires_grad=True, copy=False)
    y = t[ids]
    assert not np.shares_memory(y.numpy(), table)
    g = np.broadcast_to(np.float32(1), (3, 300))
    (got,) = tg.gradients([y], [t], [g])
    assert got.numpy()[:, 0].tolist() == [2, 0, 0, 1] and (table == 1).all()


def test_integers_and_booleans_are_added_as_numpy_does() -> None:
    ids = np.array([0, 0, 2])
    got = tg.scatter_add(np.array([3, 4, 5]), [ids], key=(("index", 0),), shape=(3,))
    assert got.dtype == np.int64 and got.tolist() == [7, 0, 5]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_ascending_places_give_the_bits_of_others(dtype, monkeypatch):
    rng = np.random.default_rng(0)
    g, places = rng.normal(size=(5000, 4)).astype(dtype), np.sort(rng.integers(0, 300, 5000))
    places[places == 7] = 8  # to which nothing goes, as to the last
    late = np.append(places[:-1], 0)  # one that stands out of order, at the end
    assert kernels._ascending(places) and kernels._ascending(places[:0]) and not kernels._ascending(late)
    found = scatter_rows(g, places, 310)
    monkeypatch.setattr(kernels, "_ascending", lambda places: False)
    assert found.tobytes() == scatter_rows(g, places, 310).tobytes()


@pytest.mark.parametrize("columns", [1, 4])
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: d.__name__)
@pytest.mark.parametrize("few", [0, 10**9], ids=["kernel", "numpy"])
def test_rows_are_added_to_what_is_there(columns, dtype, few, monkeypatch):
    """However often a place is named: never, once, twice, and more often."""
    monkeypatch.setattr(scatter, "FEW", few)
    counts = np.array([0, 1, 2, 3, 17, 2, 1, 0])
    places = np.random.default_rng(0).permutation(np.repeat(np.arange(8), counts))
    into = np.full((8, columns), 10, dtype)
    got = scatter_rows(np.ones((places.size, columns), dtype), places, 8, into)
    assert got is into and got[:, 0].tolist() == (10 + counts).tolist()
    x = tg.tensor(np.full((500, columns), 10, dtype))
    twice = x.at[np.repeat(np.arange(250), 2)].add(np.ones((500, columns), dtype))
    assert twice.numpy()[:, 0].tolist() == [12.0] * 250 + [10.0] * 250


def test_few_rows_among_many_places() -> None:
    rng = np.random.default_rng(4)
    g, places = rng.normal(size=(600, 3)).astype(np.float32), rng.integers(0, 500, 600)
    g[0], places[1] = -0.0, places[2]
    many = 600 * scatter.FULL + 1
    got, expected = scatter_rows(g, places, many), scatter_rows(g, places, 500)
    assert not got[500:].any() and got[:500].tobytes() == expected.tobytes()


ALL = slice(None)
ROWS = np.array([2, 0, 2])


@pytest.mark.parametrize("dtype", ["int64", "uint64", "int8", "uint8"])
@pytest.mark.parametrize(
    "key",
    [
        (ROWS, None, ALL), (1, ROWS, ALL), (ALL, ROWS, ALL), (ALL, ROWS, 1, ALL), (ROWS, ALL, ROWS, ALL),
        (None, ROWS, ALL), (..., slice(1, None), ROWS, ALL), (ALL, ..., ROWS, ALL),
        (ROWS, slice(None, None, -1), None, ALL),
        (np.array([True, False, True]), ..., None, ALL), (ROWS[:, None], ROWS, ALL, ALL), (ALL, np.array(1), ROWS, ...),
    ],
)  # fmt: skip
def test_what_any_key_selects_is_added_back(key, dtype):
    x = np.random.default_rng(0).standard_normal((3, 4, 3, 5))
    key = tuple(k.astype(dtype) if isinstance(k, np.ndarray) and k.dtype.kind == "i" else k for k in key)
    g = np.random.default_rng(1).standard_normal(x[key].shape)
    expected = np.zeros_like(x)
    np.add.at(expected, key, g)
    given = tuple(tg.tensor(k) if isinstance(k, np.ndarray) else k for k in key)

    def f(a):
        return tg.sum(a[given] * g)

    np.testing.assert_allclose(tg.grad(f)(tg.tensor(x)).numpy(), expected, rtol=1e-14, atol=1e-15)
    np.testing.assert_allclose(tg.tensor(x).at[given].add(g).numpy(), x + expected, rtol=1e-14, atol=1e-15)


def test_places_of_64_bits_without_a_sign():
    x, ids = tg.ones((4, 3)), tg.tensor(np.array([2, 0], np.uint64))
    for f in (
        lambda a: tg.take(a, ids, axis=1), lambda a: tg.take_along_axis(a, ids[:, None], axis=0), lambda a: a[:, ids],
        lambda a: tg.take_along_axis(a.ravel(), ids, axis=0),
    ):  # fmt: skip
        assert tg.grad(lambda a, f=f: f(a).sum())(x).sum().tolist() == f(x).size
    labels = tg.tensor(np.array([2, 0, 1, 2], np.uint64))
    assert tg.grad(lambda a: tg.nll(a, labels, reduction="sum"))(x).sum().tolist() == -4
    assert np.isfinite(tg.grad(lambda a: tg.multi_margin(a, labels))(x).numpy()).all()
    assert tg.bincount(labels).tolist() == [1, 1, 2]
    assert tg.searchsorted(tg.tensor([3.0, 1.0]), 2.0, sorter=tg.tensor(np.array([1, 0], np.uint64))).tolist() == 1


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("shape", "axis"), [((40, 30), 1), ((7, 30, 3), 1), ((5, 4, 30), 2), ((3, 30, 2, 2), 1)])
def test_the_same_columns_of_all_rows(shape, axis, dtype):
    """Cancelling sums keep their digits, and what is not finite stays at its place."""
    rng = np.random.default_rng(0)
    for index in (rng.integers(-30, 30, 60), rng.integers(0, 30, (6, 10)).astype("u1"), np.array([3, 3, 3, -1])):
        of = (*shape[:axis], *index.shape, *shape[axis + 1 :])
        g = rng.normal(size=of).astype(dtype) * np.where(rng.random(of) < 0.1, 1e6, 1).astype(dtype)
        key = (slice(None),) * axis + (index,)
        exact = added(shape, key, g)
        magnitude = added(shape, key, np.abs(g))
        for given in (g, np.asfortranarray(g)):
            t = tg.tensor(np.zeros(shape, dtype), requires_grad=True)
            got = tg.gradients(t[key], t, tg.tensor(given))
            lost = magnitude * (1e-12 if dtype == "float32" else 1e-18)
            bound = 0.51 * np.spacing(np.abs(exact.astype(dtype))) + lost
            assert got.dtype == dtype and (np.abs(got.numpy() - exact) <= bound).all()
        hard = g.copy()
        hard[(0,) * hard.ndim], hard[(-1,) * hard.ndim] = np.nan, np.inf
        got = tg.gradients(t[key], t, tg.tensor(hard))
        with np.errstate(invalid="ignore"):
            expected = added(shape, key, hard)
        assert np.array_equal(np.isnan(got.numpy()), np.isnan(expected))
        assert np.array_equal(np.isinf(got.numpy()), np.isinf(expected))


def test_columns_that_are_not_there():
    for wrong in (30, -31):
        with pytest.raises(IndexError, match="out of bounds"):
            tg.scatter_add(np.ones((20, 40)), [np.full(40, wrong)], key=(("slice", None, None, None), ("index", 0)),
                           shape=(20, 30))  # fmt: skip
