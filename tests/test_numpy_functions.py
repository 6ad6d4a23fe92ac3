"""Every function of NumPy that asks its arguments (`__array_function__`): NumPy's result, or what to write instead."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tensorgraph as tg
import tensorgraph.numpy as tnp

A = np.array([[0.5, 1.5, 0.25], [2.0, 0.75, 1.25], [1.0, 3.0, 0.1]])
V, K, M = A[0], np.array([1, 0, 2]), A > 1
# what any of them may take; most take several, and raise for the rest
ARGUMENTS: list[tuple[Any, ...]] = [
    (A,), (V,), (K,), (M,), (A, A), (V, V), (A, V), (A, 2), (A, 1, 0), ([A, A],), ([V, V],), (A, [0, 1]), (A, (1, 0)),
    (A, 0.5), (A, A, A), (V, np.sort(V), V), (A, M), (M, A), (M, A, A), (A, np.array([[0], [1], [0]]), 1),
    ("ij,jk->ik", A, A), (V, 2), (A, 0, 1), (K, 2), (A, 9), (A, np.float32), (A, (2, 3, 3)), (A[None], 3), (A @ A.T,),
    ([[A, A], [A, A]],), (A, 1, 1), (A, [0, 2], 0), (A, 1, V, 0), (A, [0, 2], 9.0, 1), (A, (2, 7)), (K, [V, V, V]),
    ([M], [A]), (V, [V > 1], [1.0]),
]  # fmt: skip


def asked() -> dict[str, Callable[..., Any]]:
    found: dict[str, Callable[..., Any]] = {}
    for module in (np, np.linalg, np.fft):
        for name in dir(module):
            function = getattr(module, name, None)
            if not name.startswith("_") and hasattr(function, "_implementation") and function not in found.values():
                found[f"{module.__name__}.{name}"] = function
    return found


def tensors(value: Any) -> Any:
    return [tensors(v) for v in value] if isinstance(value, list) else (
        tg.tensor(value) if isinstance(value, np.ndarray) else value
    )  # fmt: skip


def close(got: Any, expected: Any) -> bool:
    if isinstance(expected, (tuple, list)):
        return len(got) == len(expected) and all(map(close, got, expected))
    a, b = np.asarray(got), np.asarray(expected)
    return a.shape == b.shape and (a.dtype.kind not in "biuf" or np.allclose(a, b, 1e-5, 1e-6, equal_nan=True))


# of a tensor they tell its own text, dtype or order
OTHERWISE = {"numpy.array_repr", "numpy.array_str", "numpy.empty_like", "numpy.unique_values"}


@pytest.mark.filterwarnings("ignore")  # of NumPy's own call
@pytest.mark.parametrize("name", sorted(asked()))
def test_it_records_or_names_what_to_write(name: str, tmp_path: Any, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    function = asked()[name]
    if name in OTHERWISE or "save" in name:
        return
    for arguments in ARGUMENTS:
        try:
            expected = function(*[a.copy() if isinstance(a, np.ndarray) else a for a in arguments])
        except Exception:  # not called so
            continue
        if not any(isinstance(a, np.ndarray) for a in arguments) and any(isinstance(a, list) for a in arguments):
            items = [i for a in arguments if isinstance(a, list) for i in a]
            if name not in ("numpy.stack", "numpy.vstack", "numpy.concatenate") or isinstance(items[0], list):
                continue  # a list of tensors that NumPy makes an array of
        try:
            got = function(*map(tensors, arguments))
        except (TypeError, ValueError, IndexError, NotImplementedError) as error:
            said = str(error)
            assert any(word in said for word in ("tensorgraph", "tg.", "numpy(", "write", "axis", "takes")) or (
                name.rpartition(".")[2] in said
            ), (name, said)
            continue
        assert close(got, expected), (name, arguments, got, expected)


def test_a_refusal_says_what_to_write() -> None:
    t = tg.tensor(A)
    for call, words in (
        (lambda: np.fft.fft(t), r"numpy\.fft\.fft is not recorded .*complex numbers"),
        (lambda: np.fft.rfft2(t), r"complex numbers.*numpy\.fft\.rfft2\(t\.numpy\(\)\)"),
        (lambda: np.histogramdd(t), r"no such function here; .*numpy\.histogramdd\(t\.numpy\(\)\)"),
        (lambda: np.frexp(t), r"tg\.custom_vjp"),
        (lambda: np.place(t, A > 1, [0.0]), r"tensors never change"),
        (lambda: np.geomspace(t, 2.0), r"tensorgraph\.numpy\.geomspace"),
    ):
        with pytest.raises(TypeError, match=words):
            call()


def test_numpys_own_forms_are_taken() -> None:
    t = tg.tensor(A)
    calls: list[Callable[[Any, Any], Any]] = [
        lambda m, v: m.var(v, 0, ddof=1), lambda m, v: m.std(v, axis=1, correction=1), lambda m, v: m.sort(v, None),
        lambda m, v: m.argsort(v, 0, "heapsort"), lambda m, v: m.where(v > 1), lambda m, v: m.radians(v),
        lambda m, v: m.cross(v, v[::-1], axis=0), lambda m, v: m.cross(v, v[::-1], axisa=0, axisb=1, axisc=0),
        lambda m, v: m.full_like(v, v[0]), lambda m, v: m.conjugate(v), lambda m, v: m.searchsorted(v[0], v, "right"),
        lambda m, v: m.ldexp(v, [1, 2, 3]), lambda m, v: m.isclose(v, v + 1e-9), lambda m, v: m.resize(v, (2, 7)),
        lambda m, v: m.diff(v, 1, 0, 0.0, v[:1]), lambda m, v: m.size(v, 1), lambda m, v: m.copy(v),
    ]  # fmt: skip
    for i, call in enumerate(calls):
        for module in (np, tnp):
            assert close(call(module, t), call(np, A)), (i, module)
