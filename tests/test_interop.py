"""NumPy speaks it: every call that NumPy dispatches records, or raises and says what to do (NEP 13 and 18)."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tensorgraph as tg
from tensorgraph.engine.op import CATALOGUE

A = np.array([[0.5, 1.5, 0.25], [2.0, 0.75, 1.25]])
B = np.array([[1.0, 2.0, 3.0]])
C = np.arange(12.0).reshape(2, 3, 2)


def leaf(a: Any) -> tg.Tensor:
    return tg.tensor(a, requires_grad=True)


# NumPy calls in NumPy's own spellings, positional options included
CALLS: dict[str, Callable[[Any], Any]] = {
    "exp": np.exp,
    "negative": np.negative,
    "add": lambda t: np.add(t, 1.0),
    "array plus": lambda t: B + t,
    "scalar times": lambda t: np.float64(2) * t,
    "power": lambda t: np.power(t, 2),
    "where": lambda t: np.where(A > 1, t, 0.0),
    "maximum": lambda t: np.maximum(B, t),
    "matmul": lambda t: np.matmul(t, B.T),
    "at": lambda t: B @ t.T,
    "dot": lambda t: np.dot(t, B.T),
    "dot vectors": lambda t: np.dot(t[0], t[1]),
    "dot numbers": lambda t: np.dot(t, 2.0),
    "dot 3d": lambda t: np.dot(C, t[:, 0]),
    "dot nd": lambda t: np.dot(C, np.stack([t, t])),
    "dot 2d 3d": lambda t: np.dot(t.T, C.transpose(0, 2, 1).reshape(2, 2, 3).transpose(1, 0, 2)),
    "sum": np.sum,
    "sum axis": lambda t: np.sum(t, 0),
    "sum keepdims": lambda t: np.sum(t, axis=1, keepdims=True),
    "sum dtype": lambda t: np.sum(t, 0, np.float64),
    "sum dtype out keepdims": lambda t: np.sum(t, 0, None, None, True),
    "sum named": lambda t: np.sum(t, axis=0, dtype=np.float64),
    "mean": lambda t: np.mean(t, 1),
    "mean dtype": lambda t: np.mean(t, 0, np.float64),
    "mean out keepdims": lambda t: np.mean(t, 0, None, None, True),
    "max": lambda t: np.max(t, 1),
    "max keepdims": lambda t: np.max(t, 1, None, True),
    "amin": lambda t: np.amin(t, axis=0),
    "prod": lambda t: np.prod(t, 1),
    "var": np.var,
    "var ddof": lambda t: np.var(t, axis=0, ddof=1),
    "var positional": lambda t: np.var(t, 0, None, None, 1),
    "std": lambda t: np.std(t, axis=1),
    "std ddof": lambda t: np.std(t, 0, None, None, 1, True),
    "reshape": lambda t: np.reshape(t, (3, 2)),
    "reshape -1": lambda t: np.reshape(t, -1),
    "reshape F": lambda t: np.reshape(t, (3, 2), order="F"),
    "ravel": np.ravel,
    "ravel F": lambda t: np.ravel(t, order="F"),
    "transpose": np.transpose,
    "transpose axes": lambda t: np.transpose(t, (1, 0)),
    "swapaxes": lambda t: np.swapaxes(t, 0, 1),
    "expand_dims": lambda t: np.expand_dims(t, 1),
    "squeeze": lambda t: np.squeeze(t[:1], 0),
    "broadcast_to": lambda t: np.broadcast_to(t, (2, 2, 3)),
    "concatenate": lambda t: np.concatenate([t, B], 0),
    "concatenate none": lambda t: np.concatenate([t, B], axis=None),
    "stack": lambda t: np.stack([t, A], -1),
    "flip": lambda t: np.flip(t, 1),
    "sort": lambda t: np.sort(t, 1),
    "sort kind": lambda t: np.sort(t, 0, "stable"),
    "clip": lambda t: np.clip(t, 0.6, 1.4),
    "clip named": lambda t: np.clip(t, min=0.6),
    "take_along_axis": lambda t: np.take_along_axis(t, np.array([[0], [1]]), 1),
    "add.reduce": np.add.reduce,
    "add.reduce all": lambda t: np.add.reduce(t, axis=None),
    "add.reduce keepdims": lambda t: np.add.reduce(t, 1, keepdims=True),
    "multiply.reduce": np.multiply.reduce,
    "maximum.reduce": lambda t: np.maximum.reduce(t, axis=(0, 1)),
    "add.accumulate": np.add.accumulate,
    "add.outer": lambda t: np.add.outer(t, B),
    "cumsum": np.cumsum,
    "einsum": lambda t: np.einsum("ij->i", t),
    "tensordot": lambda t: np.tensordot(t, A, 2),
    "linalg.norm": np.linalg.norm,
    "median": np.median,
    "diff": np.diff,
    "outer": lambda t: np.outer(t, t),
    "vstack": lambda t: np.vstack([t, B]),
    "exp where": lambda t: np.exp(t, where=A > 1),
    "exp dtype": lambda t: np.exp(t, dtype=np.float64),
    "sum where": lambda t: np.sum(t, where=A > 1),
    "sum initial": lambda t: np.sum(t, initial=5.0),
    "mean where": lambda t: np.mean(t, where=A > 1),
    "max initial": lambda t: np.max(t, initial=9.0),
    "take": lambda t: np.take(t, [0], 1),
    "repeat": lambda t: np.repeat(t, 2),
    "tile": lambda t: np.tile(t, 2),
    "split": lambda t: np.split(t, 2)[0],
    "nan_to_num": np.nan_to_num,
    "hypot": lambda t: np.hypot(t, 1.0),
    "divmod": lambda t: np.divmod(t, 1.0)[0],
    "modf": lambda t: np.modf(t)[0],
    "log2": np.log2,
    "atan2": lambda t: np.arctan2(t, B),
    "float_power": lambda t: np.float_power(t, 2),
    "round": lambda t: np.round(t, 1),
    "pad": lambda t: np.pad(t, 1),
    "matvec": lambda t: np.matmul(t, B[0]),
    "logaddexp": lambda t: np.logaddexp(t, 0.0),
    "inner": lambda t: np.inner(t, B),
    "trace": np.trace,
    "diagonal": np.diagonal,
    "roll": lambda t: np.roll(t, 1),
    "average": np.average,
    "moveaxis": lambda t: np.moveaxis(t, 0, 1),
}


@pytest.mark.parametrize("name", list(CALLS))
def test_a_numpy_call_records_or_raises(name: str) -> None:
    """What is answered is NumPy's answer, and keeps its history."""
    call = CALLS[name]
    t = leaf(A)
    try:
        got = call(t)
    except (TypeError, ValueError) as error:
        assert any(
            word in str(error)
            for word in (
                "tensorgraph",
                "argument",
                "numpy()",
                "supported",
                "takes",
                "integer",
                "0-d",
                "recorded",
                "axis",
            )
        ), error
        return
    expected = call(A)
    assert isinstance(got, tg.Tensor), f"{name} left the graph silently: {type(got)}"
    if name not in ("round", "divmod"):  # whose derivative is zero almost everywhere: none is recorded
        assert got.requires_grad, f"{name} lost its history"
    assert got.shape == np.shape(expected) and got.dtype == np.asarray(expected).dtype
    assert np.allclose(got.numpy(), expected, rtol=1e-14, atol=1e-14)
    graph = tg.trace(call, A)
    assert np.array_equal(graph(A).numpy(), got.numpy())


def test_everyday_calls_do_record() -> None:
    """The spellings that people write most must not be refused."""
    for name in (
        "exp",
        "add",
        "array plus",
        "scalar times",
        "where",
        "matmul",
        "at",
        "dot",
        "sum",
        "sum axis",
        "sum keepdims",
        "mean",
        "max",
        "var",
        "var ddof",
        "std",
        "reshape",
        "ravel",
        "transpose",
        "swapaxes",
        "expand_dims",
        "squeeze",
        "broadcast_to",
        "concatenate",
        "stack",
        "flip",
        "sort",
        "clip",
        "take_along_axis",
        "add.reduce",
        "maximum.reduce",
        "prod",
        "amin",
    ):
        assert isinstance(CALLS[name](leaf(A)), tg.Tensor), name


def test_every_ufunc_of_numpy_records_or_raises() -> None:
    """With Tensors in either place, and by every method, nothing leaves the graph silently."""
    ufuncs = [f for f in vars(np).values() if isinstance(f, np.ufunc)]
    assert len(ufuncs) > 80
    for ufunc in ufuncs:
        for kind in (A, np.array([[1, 2, 3], [4, 5, 6]]), A > 1):
            t = tg.tensor(kind)
            other = np.ones((3, 2), kind.dtype) if ufunc is np.matmul else kind
            for args in ([t] * ufunc.nin, [t, *[other] * (ufunc.nin - 1)], [*[other] * (ufunc.nin - 1), t]):
                try:
                    with np.errstate(all="ignore"):
                        got = ufunc(*args)
                except (TypeError, ValueError):
                    continue
                results = got if isinstance(got, tuple) else (got,)
                assert all(isinstance(r, tg.Tensor) for r in results), ufunc
                with np.errstate(all="ignore"):
                    expected = ufunc(*[a.numpy() if isinstance(a, tg.Tensor) else a for a in args])
                if ufunc is np.reciprocal and kind.dtype.kind != "f":  # of integers ours gives floats, and says so
                    continue
                first = expected[0] if isinstance(expected, tuple) else expected
                coarse = 1e-3 if first.dtype == np.float16 else 1e-6  # NumPy's table gives float16 for booleans
                assert np.allclose(results[0].numpy(), first, rtol=coarse, atol=coarse, equal_nan=True), ufunc
        for method in ("reduce", "accumulate", "outer", "reduceat", "at"):
            extra: Any = {"outer": (A,), "reduceat": ([0],), "at": ([0], 1.0)}.get(method, ())
            try:
                got = getattr(ufunc, method)(tg.tensor(A), *extra)
            except (TypeError, ValueError, RuntimeError):  # NumPy itself refuses some before asking us
                continue
            assert method in ("reduce", "accumulate", "outer"), (ufunc, method)
            with np.errstate(all="ignore"):
                expected = getattr(ufunc, method)(A, *extra)
            for r, e in zip(got, expected, strict=True) if isinstance(got, tuple) else ((got, expected),):
                assert isinstance(r, tg.Tensor)
                np.testing.assert_allclose(r.numpy(), e, rtol=1e-12, err_msg=f"{ufunc.__name__}.{method}")


def test_results_are_not_written_into_arrays() -> None:
    t, out = leaf(A), np.zeros_like(A)
    for call in (
        lambda: np.exp(t, out=out),
        lambda: np.exp(t, out),
        lambda: np.add(out, t, out),
        lambda: np.sum(t, 0, None, out[0]),
        lambda: np.add.at(out, 0, t),
        lambda: np.copyto(out, t),
        lambda: np.multiply(A, A, out=t),
        lambda: np.matmul(t, B.T, out=out[:, :1]),
        lambda: np.concatenate([t, t], out=np.zeros((4, 3))),
        lambda: np.clip(t, 0, 1, out),
        lambda: np.put(out, [0], t),
        lambda: np.add.reduce(t, out=out[0]),
    ):
        with pytest.raises(TypeError):
            call()
    for statement in ("out += t", "out *= t", "out @= t.T @ t", "out -= t", "out **= t"):
        scope = {"out": np.ones((3, 3)) if "@" in statement else np.ones_like(A), "t": t}
        with pytest.raises(TypeError, match="numpy"):
            exec(statement, scope)
        assert isinstance(scope["out"], np.ndarray) and (scope["out"] == 1).all()
    assert not out.any()


def test_the_documented_exits_give_values() -> None:
    t, out = leaf(A), np.zeros_like(A)
    out[...] = t
    assert np.array_equal(out, A) and np.array_equal(np.asarray(t), A) and float(leaf(2.0)) == 2.0
    np.testing.assert_allclose(t, A)
    assert np.allclose(t, A) and np.array_equal(t, A) and np.isclose(t, A).all()
    assert np.shape(t) == (2, 3) and np.ndim(t) == 2 and np.size(t) == 6
    assert np.zeros_like(t).aval == t.aval and np.ones_like(t, np.int64).dtype == np.int64


def test_promotion_is_numpys_save_for_float64() -> None:
    for name in ("add", "multiply", "subtract", "maximum"):
        ufunc, op = getattr(np, name), CATALOGUE[name].public
        for a in ("bool", "int8", "int64", "uint8", "float16", "float32", "float64"):
            for b in ("bool", "int8", "int64", "uint8", "float16", "float32", "float64"):
                x, y = np.ones(2, a), np.ones(2, b)
                try:
                    expected = ufunc(x, y).dtype
                except TypeError:
                    continue
                got = op(x, y).dtype
                assert got == expected or (expected == np.float64 and "float64" not in (a, b)), (
                    name,
                    a,
                    b,
                    got,
                    expected,
                )


def test_scalars_of_numpy_and_python() -> None:
    t = tg.ones((2,))
    assert (t * 2.5).dtype == np.float32 and (2.5 * t).dtype == np.float32
    for number in (np.float16(2.5), np.float32(2.5), np.float64(2.5), np.int64(2), np.uint8(2), np.True_):
        assert (t * number).dtype == np.float32 and (number * t).dtype == np.float32
    array = np.array(2.5)  # an array is none of them, whatever its shape
    assert (t * array).dtype == np.float64 and (array * t).dtype == np.float64
    assert (np.float64(2.0) < t).tolist() == [False, False] and (np.int64(1) == t).tolist() == [True, True]
    assert isinstance(np.ones(2) == t, tg.Tensor) and isinstance(np.ones(2) / t, tg.Tensor)
    for bad in (1j, "a", [1j], {}, object()):
        with pytest.raises(TypeError):
            t * bad


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda t: np.ravel(t, order="F"), TypeError),
        (lambda t: np.zeros_like(t, shape=(3,)), TypeError),
        (lambda t: np.swapaxes(t, 0, 5), ValueError),
    ],
)
def test_arguments_that_are_not_taken_are_named(call: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"numpy\.\w+\(\.\.\..*is not recorded|axis 5"):
        call(tg.tensor([[1.0, 2.0]]))


def test_arguments_are_those_of_numpy_by_position_too() -> None:
    a = np.arange(6.0, dtype=np.float32).reshape(2, 3)
    t = tg.tensor(a)
    calls = (
        lambda x: np.var(x, axis=1, ddof=1, dtype="float64"), lambda x: np.std(x, 1, "float64", None, 1, True),
        lambda x: np.var(x, 0, None, None, 1), lambda x: np.clip(x, 0, 1, None), lambda x: np.clip(x, 1, 3, out=None),
        lambda x: np.isclose(x, a, 1e-3, 1e-3), lambda x: np.allclose(x, a, 1e-3, 1e-3),
        lambda x: np.array_equal(x, a, True), lambda x: np.sort(x, None), lambda x: np.sort(x, 0, "heapsort"),
        lambda x: np.sort(x, axis=None), lambda x: np.mean(x, 0, "float64"), lambda x: np.prod(x, dtype="float64"),
        lambda x: np.sum(x, 0, "float64", None), lambda x: np.max(x, 0, None), lambda x: np.argmax(x, 1, None),
        lambda x: np.take(x, [1, 0], 1, None), lambda x: np.cumsum(x, 0, None, None),
        lambda x: np.where(x > 1, x, 0.0),
    )  # fmt: skip
    for i, call in enumerate(calls):
        expected, got = call(a), call(t)
        assert np.array_equal(np.asarray(got), expected), i
        assert np.asarray(got).dtype == np.asarray(expected).dtype, i


def test_what_is_not_taken_of_numpy_is_named() -> None:
    t = tg.tensor([1.0, 2.0])
    assert [places.tolist() for places in np.where(t > 1)] == [[1]]
    for call in (
        lambda: np.clip(t, 0, 1, np.zeros(2)),
        lambda: np.var(t, None, None, np.zeros(())),
        lambda: np.sum(t, None, None, np.zeros(())),
    ):
        with pytest.raises(TypeError, match=r"numpy\.\w+ cannot write .*out=|is not recorded"):
            call()


def test_numbers_are_rounded_by_python() -> None:
    t = tg.tensor(2.75, dtype="float64")
    assert round(t) == 3 and round(t, 1) == 2.8 and type(round(t)) is int and type(round(t, 1)) is float
    assert math.trunc(-t) == -2 and math.floor(-t) == -3 and round(tg.tensor(15), -1) == 20
    with pytest.raises(TypeError, match=r"round\(\) needs a tensor of one element"):
        round(tg.ones(2))
