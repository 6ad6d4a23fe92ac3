"""Every form of NumPy's keys: values, derivatives, traces, batches and changed copies, against NumPy."""

from typing import Any

import numpy as np
import pytest
from effort import examples
from hypothesis import given
from hypothesis import strategies as st

import tensorgraph as tg


class Index:
    def __init__(self, value: int) -> None:
        self.value = value

    def __index__(self) -> int:
        return self.value


def item(rng: np.random.Generator, rest: list[int]) -> tuple[Any, int]:
    """An item of a key, and how many of the axes it takes."""
    n = rest[0] if rest else 1
    outside = int(rng.random() < 0.03)

    def places(*shape: int) -> Any:
        return rng.integers(-n - outside, n + outside, shape) if n else np.zeros(shape, int)

    bound = lambda: None if rng.random() < 0.4 else int(rng.integers(-4, 5))
    forms = [
        lambda: (int(places()), 1), lambda: (slice(bound(), bound(), [None, 1, 2, -1, -2][rng.integers(5)]), 1),
        lambda: (..., 0), lambda: (None, 0), lambda: (places(2).astype(["i1", "i4", "i8"][rng.integers(3)]), 1),
        lambda: (np.abs(places(2)).astype(["u1", "u8"][rng.integers(2)]) % max(n, 1), 1), lambda: (places(2, 1), 1),
        lambda: (np.int64(places()), 1), lambda: (places(2).tolist(), 1), lambda: (np.array(places()), 1),
        lambda: ([], 1), lambda: (rng.random(n) < 0.5, 1), lambda: ((rng.random(n) < 0.5).tolist(), 1),
        lambda: ([True, False, np.bool_(True), np.array(False), np.array(True)][rng.integers(5)], 0),
        lambda: (range(min(2, n)), 1), lambda: (tuple(places(2).tolist()), 1), lambda: (Index(int(places())), 1),
        lambda: ([np.int64(places()), int(places())], 1), lambda: (rng.random(tuple(rest[:2])) < 0.5, len(rest[:2])),
    ]  # fmt: skip
    return forms[rng.integers(len(forms))]()


def a_key(rng: np.random.Generator) -> tuple[tuple[int, ...], Any]:
    low = 0 if rng.random() < 0.2 else 1
    shape = tuple(int(n) for n in rng.integers(low, 4, rng.integers(0, 4)))
    key, rest = [], list(shape)
    for _ in range(rng.integers(0, 4)):
        if not rest and rng.random() < 0.8:
            break
        one, taken = item(rng, rest)
        key.append(one)
        rest = rest[taken:]
    return shape, tuple(key) if len(key) != 1 or rng.random() < 0.5 else key[0]


def as_tensors(rng: np.random.Generator, key: Any) -> Any:
    if isinstance(key, tuple):
        return tuple(as_tensors(rng, k) for k in key)
    return tg.tensor(key) if isinstance(key, np.ndarray) and rng.random() < 0.5 else key


UPDATES = {
    "set": None, "add": np.add, "subtract": np.subtract, "multiply": np.multiply, "divide": np.divide,
    "min": np.minimum, "max": np.maximum,
}  # fmt: skip


@examples(250)
@given(st.integers(0, 10**9))
def test_every_key_is_numpys(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape, key = a_key(rng)
    x = rng.standard_normal(shape)
    given_ = as_tensors(rng, key)
    try:
        expected = x[key]
    except IndexError:
        with pytest.raises((IndexError, ValueError)):
            tg.tensor(x)[given_]
        return
    y = tg.tensor(x)[given_]
    assert y.shape == expected.shape and np.array_equal(y.numpy(), expected)
    graph = tg.trace(lambda x: x[given_], x)
    assert np.array_equal(graph(x).numpy(), expected)
    c = rng.standard_normal(expected.shape)
    back = np.zeros(shape)
    if x.size:
        np.add.at(back, key, c)
    assert np.allclose(tg.grad(lambda x: (x[given_] * c).sum())(x).numpy(), back)
    v = rng.standard_normal(x.shape)
    _, hv = tg.hvp(lambda x: (x[given_] ** 2).sum(), (x,), (v,))
    twice = np.zeros(shape)
    if x.size:
        np.add.at(twice, key, 2 * v[key])
    assert np.allclose(hv[0].numpy(), twice)
    many = tg.vmap(lambda x: x[given_])(np.stack([x, 2 * x])).numpy()
    assert np.array_equal(many, np.stack([expected, 2 * expected]))


@examples(120)
@given(st.integers(0, 10**9), st.sampled_from(sorted(UPDATES)))
def test_every_update_is_numpys(seed: int, name: str) -> None:
    rng = np.random.default_rng(seed)
    shape, key = a_key(rng)
    x = rng.standard_normal(shape)
    given_ = as_tensors(rng, key)
    try:
        selected = x[key].shape
    except IndexError:
        return
    v = rng.uniform(0.5, 1.5, selected)
    expected = x.copy()
    if UPDATES[name] is None:
        expected[key] = v
    elif x.size:
        UPDATES[name].at(expected, key, v)
    f = lambda x, v: getattr(x.at[given_], name)(v)
    assert np.allclose(f(tg.tensor(x), tg.tensor(v)).numpy(), expected, rtol=1e-14)
    graph = tg.trace(f, x, v)
    assert np.allclose(graph(x, v).numpy(), expected, rtol=1e-14)
    many = tg.vmap(f)(np.stack([x, x]), np.stack([v, v])).numpy()
    assert np.allclose(many, np.stack([expected] * 2), rtol=1e-14)
    c = rng.standard_normal(shape)
    loss = lambda x, v: (f(x, v) ** 2 * c).sum()
    gx, gv = tg.grad(loss, (0, 1))(x, v)
    for g, a, which in ((gx, x, 0), (gv, v, 1)):
        if a.size:
            at = tuple(rng.integers(0, n) for n in a.shape)
            up, down = a.copy(), a.copy()
            up[at] += 1e-6
            down[at] -= 1e-6
            ends = [float(loss(*map(tg.tensor, (e, v) if which == 0 else (x, e)))) for e in (up, down)]
            assert abs(float(g.numpy()[at]) - (ends[0] - ends[1]) / 2e-6) < 1e-5


def test_an_element_that_is_named_twice() -> None:
    x, i = tg.tensor([2.0, 3.0, 4.0]), np.array([0, 0, 2])
    v = tg.tensor([5.0, 7.0, 10.0])
    assert x.at[i].get().tolist() == [2, 2, 4]
    assert x.at[i].set(v).tolist() == [7, 3, 10]
    assert x.at[i].power(tg.tensor([2.0, 3.0, 1.0])).tolist() == [64, 3, 4]
    assert x.at[i].divide(tg.tensor([2.0, 4.0, 1.0])).tolist() == [0.25, 3, 4]
    assert x.at[i].apply(tg.square).tolist() == [4, 3, 16]
    assert tg.tensor([1, 2]).at[[0, 0]].multiply(3).tolist() == [9, 2]
    gx, gv = tg.grad(lambda x, v: x.at[i].multiply(v).sum(), (0, 1))(x, v)
    assert gx.tolist() == [35, 1, 10] and gv.tolist() == [14, 10, 4]
    # factors that are 0
    gx, gv = tg.grad(lambda x, v: x.at[i].multiply(v).sum(), (0, 1))(x, tg.tensor([0.0, 7.0, 1.0]))
    assert gx.tolist() == [0, 1, 1] and gv.tolist() == [14, 0, 4]
    # ties, of values and of what stood there
    for name in ("min", "max"):
        f = lambda x, v: getattr(x.at[i], name)(v).sum()  # noqa: B023
        gx, gv = tg.grad(f, (0, 1))(x, tg.tensor([2.0, 2.0, 4.0]))
        assert np.allclose(gx.numpy(), [1 / 3, 1, 0.5]) and np.allclose(gv.numpy(), [1 / 3, 1 / 3, 0.5])
        nan = getattr(x.at[i], name)(float("nan"))
        assert np.array_equal(nan.numpy(), [np.nan, 3, np.nan], equal_nan=True)


def test_the_index_may_be_unknown_to_a_trace() -> None:
    x, v = np.array([2.0, 3.0, 4.0]), np.array([5.0, 7.0, 10.0])
    i = np.array([0, 0, 2])
    for name in ("set", "add", "subtract", "multiply", "divide", "power", "min", "max"):
        f = lambda x, i, v: getattr(x.at[i], name)(v)  # noqa: B023
        graph = tg.trace(f, x, i, v)
        assert tg.parse(str(graph)) == graph
        assert np.array_equal(graph(x, i, v).numpy(), f(tg.tensor(x), tg.tensor(i), tg.tensor(v)).numpy())
        rows = np.stack([i, i[::-1]])
        many = tg.vmap(f, in_axes=(None, 0, 0))(tg.tensor(x), rows, np.stack([v, v]))
        for k in range(2):
            assert np.allclose(many.numpy()[k], f(tg.tensor(x), tg.tensor(rows[k]), tg.tensor(v)).numpy())


def test_many_repeats_keep_their_digits() -> None:
    rng = np.random.default_rng(0)
    i = rng.integers(0, 5, 5000)
    for dtype in ("f2", "f4", "f8"):
        v = rng.random(5000).astype(dtype)
        for rows in (5, 100_000):  # all places, and few of many
            x = np.zeros(rows, dtype)
            wide = np.zeros(rows, np.longdouble)
            np.add.at(wide, i, v)
            got = tg.tensor(x).at[i].add(v).numpy()
            assert (np.abs(got - wide) <= np.spacing(np.abs(got).astype(dtype))).all()
    factors = rng.uniform(0.99, 1.01, 5000).astype("f4")
    wide = np.ones(5)
    np.multiply.at(wide, i, factors)
    assert np.allclose(tg.ones(5).at[i].multiply(factors).numpy(), wide, rtol=2e-7)


@pytest.mark.parametrize(
    ("key", "error", "words"),
    [
        (5, IndexError, "index 5 is out of bounds for axis 0 with size 3"),
        (np.array([0, -7]), IndexError, "index -7 is out of bounds for axis 0 with size 3"),
        ((0, slice(None), 1), IndexError, "too many indices for array: array is 2-dimensional, but 3 were indexed"),
        ([0.5], IndexError, "arrays used as indices must be of integer"),
        ("a", TypeError, "an index holds integers, slices"),
        (1.0, IndexError, "an index holds integers, slices"),
        (np.array([True, False]), IndexError, "boolean index did not match indexed array along axis 0; size"),
        (([0, 1], [0, 1, 2]), IndexError, "shape mismatch: indexing arrays could not be broadcast together"),
        ((..., ...), IndexError, "an index can only have a single ellipsis"),
    ],
)  # fmt: skip
def test_errors_are_numpys(key: Any, error: type[Exception], words: str) -> None:
    x = tg.ones((3, 4))
    with pytest.raises(error, match=words):
        x[key]
    with pytest.raises(error, match=words):
        x.at[key].set(0.0)


def test_masks_in_a_trace() -> None:
    x = np.arange(6.0).reshape(2, 3)
    mask = np.array([[True, False, True], [False, False, True]])
    graph = tg.trace(lambda x: x[mask] * 2, x)
    assert graph(x).tolist() == [0, 4, 10]
    assert tg.trace(lambda x: x.at[tg.tensor(mask)].set(9.0), x)(x).tolist() == [[9, 1, 9], [3, 4, 9]]
    for f in (lambda x: x[x > 2], lambda x: x.at[x > 2].set(0.0), lambda x: x[[x[0, 0] > 2, True]]):
        with pytest.raises(tg.TraceError, match=r"tensorgraph\.(where|stack)"):
            tg.trace(f, x)
    with pytest.raises(tg.TraceError, match=r"tensorgraph\.where"):
        tg.vmap(lambda x: x[x > 2])(x)


def test_tensors_in_lists() -> None:
    x = tg.arange(5)
    assert x[[tg.tensor(1), 3]].tolist() == [1, 3] and x[[tg.tensor([0, 1])]].tolist() == [[0, 1]]
