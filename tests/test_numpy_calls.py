"""NumPy's form of a call: its names of arguments and their order, on tensors by `np.f` and by `tensorgraph.numpy`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tensorgraph as tg
import tensorgraph.numpy as tnp

Y = np.array([[1.0, 4.0, 2.0], [3.0, -2.0, 5.0]])
X = np.where(Y > 3.5, np.nan, Y)
V = np.array([3, 1, 2])

# each is a call of NumPy's; "m" is its module or ours
CALLS = """
m.clip(y, a_min=0.0, a_max=2.0); m.clip(y, a_min=None, a_max=2.0)
m.clip(y, None, 1.0); m.nan_to_num(x, True, 7.0); m.nan_to_num(x, copy=False, nan=2.0)
m.percentile(y, 50, overwrite_input=True); m.percentile(y, 50, 0, None, False, "lower")
m.quantile(y, 0.3, 1, None, False, "higher", True); m.median(y, 0, None, True); m.median(y, overwrite_input=True)
m.nanstd(y, ddof=1); m.nanvar(y, 0, None, None, 1); m.nanmax(x, 0, None, True); m.nansum(x, 0, None, None, True)
m.nanmean(y, 0, dtype=np.float32); m.std(y, 0, None, None, 1); m.var(y, ddof=1, keepdims=True); m.ptp(y, 0, None, True)
m.sum(y, 0, np.float32); m.sum(y, 0, None, None, True); m.mean(y, 0, None, None, True); m.max(y, 0, None, True)
m.prod(y, 1, np.float32, None, True); m.any(y > 0, 0, None, True); m.argmax(y, 1, None); m.trace(y, 0, 0, 1, np.float32)
m.cumsum(y, 0, np.float32); m.cumprod(y, 0, dtype=np.float32); m.nancumsum(x, 0, np.float32)
m.isin(element=v, test_elements=np.array([1, 2])); m.isin(v, np.array([1, 2]), False, True)
m.tile(y, reps=2); m.tile(A=y, reps=(2, 1)); m.repeat(a=y, repeats=2, axis=0); m.resize(a=y, new_shape=(4,))
m.array_split(y, indices_or_sections=2, axis=1)[0]; m.hsplit(y, indices_or_sections=3)[0]; m.split(ary=y, \
    indices_or_sections=2)[1]; m.pad(array=y, pad_width=1); m.pad(y, 1, mode="constant", constant_values=2)
m.transpose(a=y); m.moveaxis(y, source=0, destination=1); m.swapaxes(a=y, axis1=0, axis2=1); m.rollaxis(a=y, axis=1)
m.vander(v, N=2); m.vander(v, 2, True); m.take(y, [1], axis=1, mode="raise"); m.take(a=y, indices=[1], axis=1)
m.searchsorted(a=m.sort(v), v=2); m.searchsorted(m.sort(v), 2, "right"); m.argsort(a=y, axis=1, kind="stable")
m.sort(a=y, axis=None); m.partition(a=y, kth=1); m.digitize(y, np.array([0.0, 2.0]), True); m.zeros_like(a=y)
m.full_like(a=y, fill_value=2); m.diff(a=y, n=1); m.rot90(m=y, k=1); m.flip(m=y, axis=0); m.tril(m=y, k=1)
m.round(y, 1, None); m.round(a=y, decimals=1); m.ravel(y, order="C"); m.argmin(a=y)
m.concatenate((y, y), axis=0, dtype=np.float32); m.stack((y, y), 0, dtype=np.float32); m.vstack(tup=(y, y))
m.roll(a=y, shift=1, axis=1); m.expand_dims(a=y, axis=0); m.squeeze(a=y); m.broadcast_to(array=y, shape=(1, 2, 3))
m.interp(x=y, xp=np.array([0.0, 1.0]), fp=np.array([0.0, 2.0])); m.trapezoid(y, None, 0.5, 0)
m.cov(m=y, ddof=0); m.cross(a=y, b=y[::-1]); m.kron(a=y, b=y); m.outer(a=v, b=v); m.dot(a=y, b=y[0])
m.tensordot(a=y, b=y, axes=2); m.delete(arr=y, obj=1, axis=1); m.insert(arr=y, obj=1, values=0.0, axis=1)
m.append(arr=y, values=1.0); m.select(condlist=[y > 0], choicelist=[y], default=0.0); m.real(val=y)
m.isclose(a=y, b=y, rtol=1e-3); m.array_equal(a1=y, a2=y); m.allclose(y, y, 1e-3, 1e-3, True); m.union1d(ar1=v, ar2=v)
m.compress([True, False], a=y, axis=0); m.extract(y > 2, arr=y); m.count_nonzero(a=y, axis=1); m.size(a=y)
m.average(a=y, axis=1, weights=np.array([1.0, 2.0, 3.0])); m.where(y > 0, y, 0.0); m.unique(ar=v, return_counts=True)[1]
"""
EACH = [call for line in CALLS.replace("\\\n", "").strip().split("\n") for call in line.split("; ")]


@pytest.mark.parametrize("call", EACH)
def test_numpys_form_of_a_call_gives_what_numpy_gives(call: str) -> None:
    expected: Any = eval(call, {"np": np, "m": np, "x": X.copy(), "y": Y.copy(), "v": V})
    tensors = {"x": tg.tensor(X), "y": tg.tensor(Y), "v": tg.tensor(V)}
    for module in (np, tnp):
        got = eval(call, {"np": np, "m": module, **tensors})
        assert isinstance(got, (tg.Tensor, bool, int)), call
        np.testing.assert_allclose(np.asarray(got), expected, rtol=1e-6, err_msg=f"{module.__name__}: {call}")
        if isinstance(got, tg.Tensor):
            assert got.dtype == np.asarray(expected).dtype, call


def test_what_is_not_recorded_is_refused() -> None:
    y = tg.tensor(Y)
    for call in (
        lambda m: m.sum(y, 0, None, np.zeros(3)), lambda m: m.median(y, None, np.zeros(())),
        lambda m: m.quantile(y, 0.5, weights=np.ones((2, 3))), lambda m: m.take(y, [7], 1, mode="wrap"),
        lambda m: m.round(y, 1, np.zeros((2, 3))), lambda m: m.tile(y, 2, reps=3),
        lambda m: m.clip(y, 1.0, 2.0, nothing=3),
    ):  # fmt: skip
        for module in (np, tnp):
            with pytest.raises(TypeError):
                call(module)


def test_our_own_form_stays() -> None:
    y = tnp.asarray(Y)
    assert tnp.sort(y, descending=True)[0, 0] == 4.0 and tnp.tile(y, repetitions=2).shape == (2, 6)
    assert tnp.std(y, correction=1) == tnp.std(y, ddof=1) and tnp.max(y, keepdims=True).shape == (1, 1)


# calls of NumPy's whose results have gradients, or are of tensors in a list
FURTHER = """
m.linspace(y[0, 0], y[1], 5); m.linspace(y, 7.0, 4, endpoint=False, axis=-1); m.linspace(y[0], y[1], 1); m.angle(-y)
m.linspace(y[0], 2.0, 4, retstep=True)[1]; m.angle(y, deg=True); m.polyval(y[0], y); m.polyval([1, 2], v)
m.real_if_close(y); m.isreal(y); m.iscomplex(y); m.ediff1d(y, to_end=1.0, to_begin=[0.0, 9.0]); m.gradient(y)[1]
m.convolve(v, [1, 2]); m.correlate(y[0], y[1], "full"); m.correlate(v, v[:2], mode="same"); m.convolve(y[0, :2], y[1])
m.correlate([1, 2], v, "same"); m.convolve(v, [5], "valid"); m.shape(y); m.iscomplexobj(y); m.isrealobj(y)
"""


@pytest.mark.parametrize("call", [call for line in FURTHER.strip().split("\n") for call in line.split("; ")])
def test_functions_that_numpy_has(call: str) -> None:
    expected: Any = eval(call, {"m": np, "y": Y, "v": V})
    for module in (np, tnp):
        got = eval(call, {"m": module, "y": tg.tensor(Y), "v": tg.tensor(V)})
        np.testing.assert_allclose(np.asarray(got), expected, rtol=1e-12, err_msg=f"{module.__name__}: {call}")
        assert type(got) in (tg.Tensor, bool, tuple) and np.asarray(got).dtype == np.asarray(expected).dtype


def test_lists_of_tensors_are_joined_with_their_history() -> None:
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    whole = tnp.array([[x[0], 2.0], [3.0, x[1] * x[0]]])
    assert whole.tolist() == [[1.0, 2.0], [3.0, 2.0]] and whole.dtype == np.float32
    tg.sum(whole * whole).backward()
    assert x.grad.tolist() == [10.0, 4.0]
    assert tnp.asarray((x, (3, 4)), dtype=tg.f64).dtype == np.float64 and tnp.array([x], ndmin=3).shape == (1, 1, 2)
    graph = tg.trace(lambda v: tnp.array([v[1], 2.0 * v[0]]), tg.f32[2])
    assert graph(tg.tensor([1.0, 3.0])).tolist() == [3.0, 2.0] and tg.parse(str(graph)) == graph


def test_numpys_eigenvalues_are_of_one_triangle() -> None:
    a = np.array([[0.5, 1.5, 0.25], [2.0, 0.75, 1.25], [1.0, 3.0, 0.1]])
    for letter in ("L", "U"):
        values, vectors = np.linalg.eigh(tg.tensor(a), letter)
        expected = np.linalg.eigh(a, letter)[0]
        np.testing.assert_allclose(values.numpy(), expected, rtol=1e-12)
        np.testing.assert_allclose(np.linalg.eigvalsh(tg.tensor(a), UPLO=letter).numpy(), expected, rtol=1e-12)
        slope = tg.grad(lambda m, letter=letter: np.linalg.eigvalsh(m, letter)[0])(tg.tensor(a)).numpy()
        assert not (np.triu(slope, 1) if letter == "L" else np.tril(slope, -1)).any() and vectors.shape == (3, 3)
    with pytest.raises(ValueError, match="UPLO must be 'L' or 'U'"):
        np.linalg.eigh(tg.tensor(a), "X")


@pytest.mark.parametrize("call", [
    "np.add.accumulate(y)", "np.multiply.accumulate(y, axis=1)", "np.multiply.outer(v, v)", "np.subtract.outer(y, v)",
    "np.maximum.outer(y[0], y)", "np.hypot.outer(y, 2.0)", "np.power.outer([2.0, 3.0], v)", "np.add.reduce(y, 1)",
    "np.prod(v, dtype=np.int8)", "np.sum(v, dtype=np.uint8)", "np.cumprod(v, dtype=np.int16)",
    "np.nansum(v, dtype=np.int8)", "np.trace(y, dtype=np.float32)",
])  # fmt: skip
def test_methods_of_ufuncs_and_dtypes_of_sums(call: str) -> None:
    expected: Any = eval(call, {"np": np, "y": Y, "v": V})
    got = eval(call, {"np": np, "y": tg.tensor(Y), "v": tg.tensor(V)})
    assert got.dtype == expected.dtype and got.shape == expected.shape
    np.testing.assert_allclose(got.numpy(), expected, rtol=1e-12)
    if "e(" not in call and ".outer" not in call:  # and called as the namespace's own
        ours = eval(call.replace("np.", "m.", 1), {"np": np, "m": tnp, "y": tg.tensor(Y), "v": tg.tensor(V)})
        assert ours.dtype == expected.dtype


def test_functions_of_scipy_special_record() -> None:
    special = pytest.importorskip("scipy.special")
    x = np.array([0.25, 0.5, 0.75])
    for name in [
        "erf",
        "erfc",
        "erfinv",
        "gammaln",
        "psi",
        "digamma",
        "expit",
        "logit",
        "ndtr",
        "ndtri",
        "exp2",
        "log1p",
        "cbrt",
        "expm1",
    ]:
        got = getattr(special, name)(tg.tensor(x))
        assert isinstance(got, tg.Tensor), name
        np.testing.assert_allclose(got.numpy(), getattr(special, name)(x), rtol=1e-12, err_msg=name)
    assert np.allclose(special.xlogy(tg.tensor(x), x).numpy(), x * np.log(x))
    assert tg.grad(lambda v: special.erf(v))(0.0) == tg.grad(tg.erf)(0.0)
    for name in ("kl_div", "huber", "gamma", "j0"):  # another function here, or none
        function = getattr(special, name)
        with pytest.raises(TypeError, match="not supported by tensorgraph"):
            function(*[tg.tensor(x)] * function.nin)


def test_numbers_beside_float64_have_all_their_digits() -> None:
    x = tg.tensor(np.array([0.5, 2.0]))
    for got, expected in (
        (np.polyval([0.1, 0.7], x), np.polyval([0.1, 0.7], x.numpy())),
        (tg.polyval(x, 0.1), np.polyval(x.numpy(), 0.1)),
        (np.convolve(x, [0.1, 0.3]), np.convolve(x.numpy(), [0.1, 0.3])), (np.linspace(0.1, x, 3)[0], np.full(2, 0.1)),
    ):  # fmt: skip
        assert got.dtype == np.float64 and np.allclose(got.numpy(), expected, rtol=1e-15)


def test_a_ufunc_computes_in_the_dtype_that_it_is_told() -> None:
    x, y, n = np.array([1.0, 4.0], np.float32), np.array([0.1, 2.0]), np.array([1, 2])
    calls: tuple[Callable[[Any, Any, Any], Any], ...] = (
        lambda x, y, n: np.exp(x, dtype=np.float64), lambda x, y, n: np.add(y, x, dtype="float32"),
        lambda x, y, n: np.sqrt(n, dtype=np.float32), lambda x, y, n: np.multiply(n, 2, dtype=np.int32),
        lambda x, y, n: np.power(x, 2, dtype=float), lambda x, y, n: np.maximum(x, y, dtype=np.float16),
        lambda x, y, n: np.less(x, y, dtype=bool), lambda x, y, n: np.divide(n, x, dtype=tg.float64),
        lambda x, y, n: np.heaviside(x, y, dtype=np.float64), lambda x, y, n: np.positive(n, dtype=np.float32),
        lambda x, y, n: np.float_power(n, x, dtype=np.float64), lambda x, y, n: np.vecdot(x, y, dtype=np.float32),
    )  # fmt: skip
    for call in calls:
        ours, theirs = call(*map(tg.tensor, (x, y, n))), call(x, y, n)
        assert isinstance(ours, tg.Tensor) and ours.dtype == theirs.dtype
        np.testing.assert_allclose(ours.numpy(), theirs, rtol=1e-6 if theirs.dtype.itemsize < 8 else 1e-15)
    np.testing.assert_allclose(tg.grad(lambda t: np.exp(t, dtype=np.float64).sum())(x).numpy(), np.exp(x), rtol=1e-6)
    for wrong, words in (
        (lambda t: np.add(t, 1, dtype=int), "input 0 of dtype float32"),
        (lambda t: np.less(t, 1, dtype=int), "booleans"),
        (lambda t: np.sqrt(t, where=x > 2), r"tensorgraph\.where\(mask"),
    ):  # fmt: skip
        with pytest.raises(TypeError, match=words):
            wrong(tg.tensor(x))


def test_the_methods_var_and_std_take_numpys_name_of_the_correction() -> None:
    t = tg.tensor(Y)
    for axis in (None, 1):
        assert np.allclose(t.var(ddof=1, axis=axis).numpy(), Y.var(ddof=1, axis=axis))
        assert np.allclose(tg.std(t, ddof=2, axis=axis).numpy(), Y.std(ddof=2, axis=axis))
    with pytest.raises(TypeError, match="two values"):
        t.var(ddof=1, correction=1)
