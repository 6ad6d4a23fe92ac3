"""Functions composed of ops: NumPy's values, gradients by numbers, traced, batched, as methods and through NumPy."""

from typing import Any

import numpy as np
import pytest

import tensorgraph as tg
from tensorgraph.engine.functions import FUNCTIONS, Function, static
from tensorgraph.engine.tree import flatten

CASES = [(f, args, kwargs) for f in FUNCTIONS.values() for args, kwargs in f.examples]


def by_name(value: Any) -> str:
    return value.name if isinstance(value, Function) else ""


def filled(args: tuple[Any, ...], dtype: Any = np.float64, spread: float = 1.0) -> list[Any]:
    """The arguments of an example, arrays in place of their shapes."""
    rng = np.random.default_rng(1)

    def fill(value: Any) -> Any:
        if isinstance(value, static):
            return value.value
        if isinstance(value, list):
            return [fill(v) for v in value]
        if isinstance(value, np.ndarray):
            return value.copy()
        return np.asarray(spread * rng.standard_normal(value)).astype(dtype) if isinstance(value, tuple) else value

    return [fill(value) for value in args]


def is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray) or (isinstance(value, list) and any(map(is_array, value)))


def floats(result: Any) -> list[tg.Tensor]:
    return flatten(list(result) if isinstance(result, (tuple, list)) else [result])[0]


def weighted(result: Any) -> tg.Tensor:
    return sum(
        ((t * tg.cos(tg.arange(t.size, dtype="f64")).reshape(t.shape)).sum() for t in floats(result)),
        tg.tensor(0.0, "f64"),
    )


@pytest.mark.parametrize(("f", "args", "kwargs"), CASES, ids=by_name)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.bool_], ids=lambda d: d.__name__)
def test_numpys_values(f: Function, args: Any, kwargs: Any, dtype: Any) -> None:
    given = filled(args, dtype, 9.0 if f.computed else 1.0)  # not all integers that come of it are 0
    expected = next((g for g in f.numpy if g is not None), None)
    if f.computed and (dtype == np.bool_ or (dtype == np.int32 and not f.numpy)):
        return  # numbers of these kinds may lie outside of what the function takes
    found = floats(f.call(*given, **kwargs))
    if expected is None:
        assert found and all(f.computed or t.dtype == dtype or not any(map(is_array, given)) for t in found)
        return
    for t, e in zip(found, map(np.asarray, floats(expected(*given, **kwargs))), strict=True):
        if not f.computed:
            assert t.dtype == e.dtype and np.array_equal(t.numpy(), e)
            continue
        assert t.dtype == e.dtype or e.dtype == np.float64  # which NumPy makes of integers, and cov of anything
        digits = 1e-12 if dtype == np.float64 else 1e-5
        assert np.allclose(t.numpy(), e, rtol=digits, atol=digits, equal_nan=True)


@pytest.mark.parametrize(("f", "args", "kwargs"), CASES, ids=by_name)
def test_numpys_function_and_the_methods_are_it(f: Function, args: Any, kwargs: Any) -> None:
    given = filled(args)
    expected = floats(f.call(*given, **kwargs))
    tensors = [tg.tensor(v) if isinstance(v, np.ndarray) else v for v in given]
    tensors = [
        [tg.tensor(v) for v in value] if isinstance(value, list) and is_array(value) else value for value in tensors
    ]
    forms = [lambda g=g: g(*tensors, **kwargs) for g in f.numpy if g is not None and any(map(is_array, given))]
    forms += [lambda name=name: getattr(tg, name)(*given, **kwargs) for name in f.also]
    tensors = [tg.tensor(tensors[0]), *tensors[1:]] if f.methods else tensors
    forms += [lambda name=name: getattr(tensors[0], name)(*tensors[1:], **kwargs) for name in f.methods]
    for form in forms:
        for t, e in zip(floats(form()), expected, strict=True):
            assert isinstance(t, tg.Tensor) and np.array_equal(t.numpy(), e.numpy())


@pytest.mark.sampled(test=150, quick=40)
@pytest.mark.parametrize(("f", "args", "kwargs"), CASES, ids=by_name)
def test_gradients_traces_and_batches(f: Function, args: Any, kwargs: Any) -> None:
    given = filled(args)
    places = [i for i, value in enumerate(given) if is_array(value) and not isinstance(args[i], static)]

    def loss(*arrays: Any) -> Any:
        full = list(given)
        for i, array in zip(places, arrays, strict=True):
            full[i] = array
        return weighted(f.call(*full, **kwargs))

    arrays = [given[i] for i in places]
    if f.counted:
        if arrays:
            with pytest.raises(tg.TraceError, match=f"{f.name}|unique"):
                tg.trace(loss, *arrays)
        return
    if not arrays:
        assert float(tg.trace(loss)()) == float(loss())
        return
    found = flatten(list(tg.grad(loss, tuple(range(len(places))))(*arrays)))[0]
    leaves = flatten(arrays)[0]
    for g, x in zip(found, leaves, strict=True):
        assert g.shape == x.shape
        for k in range(x.size):  # linear in each element: differences are exact but for rounding
            was, step = x.flat[k], 1e-6 if f.computed else 0.5
            x.flat[k] = was + step
            up = float(loss(*arrays))
            x.flat[k] = was - step
            down = float(loss(*arrays))
            x.flat[k] = was
            slope = float(g.numpy().flat[k])
            assert abs(slope - (up - down) / (2 * step)) < (1e-7 * max(abs(slope), 1) if f.computed else 1e-12)
    graph = tg.trace(loss, *arrays)
    assert tg.parse(str(graph)) == graph
    assert float(graph(*arrays)) == float(loss(*arrays))
    others = [[other(f, x) for x in a] if isinstance(a, list) else other(f, a) for a in arrays]
    many = [flatten([np.stack([x, other(f, x)]) for x in flatten([a])[0]])[0] for a in arrays]
    stacked = [m if isinstance(a, list) else m[0] for m, a in zip(many, arrays, strict=True)]
    batch = tg.vmap(loss)(*stacked)
    assert np.allclose(batch.numpy(), [float(loss(*arrays)), float(loss(*others))], rtol=1e-12, atol=1e-12)


def other(f: Function, x: Any) -> Any:
    """Another example: numbers that a function takes, it takes in another order."""
    return x.reshape(-1)[::-1].reshape(x.shape) if f.computed else 2 * x


@pytest.mark.parametrize(("f", "args", "kwargs"), [case for case in CASES if case[0].computed], ids=by_name)
def test_second_derivatives_of_what_computes(f: Function, args: Any, kwargs: Any) -> None:
    given = filled(args)
    places = tuple(
        i for i, value in enumerate(given) if isinstance(value, np.ndarray) and not isinstance(args[i], static)
    )
    rng = np.random.default_rng(2)
    ways = [rng.standard_normal(given[i].shape) for i in places]

    def along(step: float) -> Any:
        moved = list(given)
        for i, way in zip(places, ways, strict=True):
            moved[i] = moved[i] + step * way
        return moved

    def loss(*arrays: Any) -> Any:
        return weighted(f.call(*arrays, **kwargs))

    def slope(*arrays: Any) -> Any:
        return sum((g * w).sum() for g, w in zip(tg.grad(loss, places)(*arrays), ways, strict=True))

    if not places:
        return
    second = sum(float((g * w).sum()) for g, w in zip(tg.grad(slope, places)(*given), ways, strict=True))
    expected = (float(slope(*along(1e-5))) - float(slope(*along(-1e-5)))) / 2e-5
    assert abs(second - expected) < 1e-6 * max(1.0, abs(expected))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: tg.tile([1.0], -1), "tile: repetitions"),
        (lambda: tg.repeat([1.0], -1), "repeat: repeats"),
        (lambda: tg.roll([1.0, 2.0], "a"), "roll: shift"),
        (lambda: tg.diagonal([1.0]), "diagonal: x"),
        (lambda: tg.tril([1.0]), "tril: x"),
        (lambda: tg.moveaxis(tg.ones((2, 3)), (0, 1), 0), "moveaxis"),
        (lambda: tg.unflatten(tg.ones(6), 0, (4, -1)), "unflatten"),
        (lambda: tg.take(tg.ones(3), [0.5]), "take: indices"),
        (lambda: tg.flatten(None), "flatten: x"),
        (lambda: tg.meshgrid(tg.ones(2), indexing="ab"), "meshgrid: indexing"),
        (lambda: np.roll(tg.ones(3), shift=1, axis=5), "axis"),
    ],
)
def test_what_is_refused_is_named(call: Any, words: str) -> None:
    with pytest.raises((ValueError, TypeError, IndexError), match=words):
        call()


def test_numpys_keywords() -> None:
    x = tg.tensor(np.arange(6.0).reshape(2, 3))
    assert np.tile(x, reps=2).shape == (2, 6)
    assert np.moveaxis(x, source=0, destination=1).shape == (3, 2)
    assert np.swapaxes(x, axis1=0, axis2=1).shape == (3, 2)


# each keeps its arguments in dtypes of their own, as NumPy does
APART = {"atleast_1d", "broadcast_arrays", "meshgrid"}


@pytest.mark.parametrize(("f", "args", "kwargs"), CASES, ids=by_name)
def test_a_number_has_all_its_digits_beside_float64(f: Function, args: Any, kwargs: dict[str, Any]) -> None:
    values = filled(args, spread=0.25)
    places = [i for i, v in enumerate(values) if isinstance(v, np.ndarray) and v.dtype == np.float64]
    for i in places if len(places) > 1 and f.name not in APART else ():
        number, array = list(values), list(values)
        number[i], array[i] = 0.1, np.array(0.1)
        try:
            expected = floats(f.call(*array, **kwargs))
            found = floats(f.call(*number, **kwargs))
        except (TypeError, ValueError):
            continue  # a number does not fit there
        for a, b in zip(found, expected, strict=True):
            assert a.dtype == b.dtype and np.array_equal(a.numpy(), b.numpy(), equal_nan=True), (f.name, i)
