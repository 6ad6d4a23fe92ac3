"""Properties on inputs that nobody wishes for: NaN, infinities, zeros, huge and tiny numbers, floats of two widths."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from tensorgraph.engine.aval import aval_of
from tensorgraph.engine.backward import gradients
from tensorgraph.graph.trace import trace
from tensorgraph.testing.cases import Case, Place
from tensorgraph.testing.common import FLOATS, casts, cotangents_of, float_outputs, has_gradient, largest, wanting
from tensorgraph.testing.compare import assert_close, assert_same
from tensorgraph.testing.forward import layouts_of

Array = np.ndarray[Any, Any]


@contextmanager
def silent() -> Iterator[None]:
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def hostile(case: Case, seed: int) -> Case:
    """The case with some of its numbers replaced by the worst of their dtype."""
    rng = np.random.default_rng(seed)

    def worse(place: Place, array: Array) -> Array:
        if array.dtype.kind != "f":
            return array
        info = np.finfo(array.dtype)
        worst = [np.nan, np.inf, -np.inf, 0.0, -0.0, info.max, info.min, info.tiny, info.smallest_subnormal]
        drawn = rng.choice(np.asarray(worst, array.dtype), array.shape)
        return np.asarray(np.where(rng.random(array.shape) < 0.5, drawn, array), array.dtype)

    return case.map(worse)


def hostile_numbers(case: Case) -> None:
    """With any numbers an op gives the types that its rule says, or raises; layout and tracing change no bit."""
    for cast in casts(case, (np.float32, np.float64)):
        for seed in range(2):
            given = hostile(cast, seed)
            with silent():
                try:
                    outputs = given()
                except (ValueError, TypeError, IndexError):
                    continue  # it says that it takes no such numbers
                said = given.op.infer(given.avals(), given.full_attrs())
                assert said == tuple(aval_of(t) for t in outputs), f"{given}: the rule says {said}, came {outputs}"
                found = trace(lambda *inputs, c=given: c(inputs), *given.tensors()[0])(*given.tensors()[0])
                for t, e in zip(found, outputs, strict=True):
                    assert_same(t, e, f"{given} of hostile numbers, traced")
                other = given.map(lambda _, a: layouts_of(a)[seed])  # noqa: B023
                for t, e in zip(other(), outputs, strict=True):
                    _same_pattern(t.numpy(), e.numpy(), f"{given} of hostile numbers, in another layout")


def _same_pattern(found: Array, expected: Array, what: str) -> None:
    """What is finite, NaN or infinite in one is so in the other."""
    if found.dtype.kind == "f":
        for kind in (np.isnan, np.isposinf, np.isneginf):
            assert np.array_equal(kind(found), kind(expected)), f"{what}: {found}, expected {expected}"
    else:
        assert np.array_equal(found, expected), f"{what}: {found}, expected {expected}"


def mixed_types(case: Case) -> None:
    """Floats of two widths give the types that the rule says, and each gradient has the type of its own input."""
    for odd in case.floats() if len(case.floats()) > 1 else []:
        narrow = case.cast(np.float32)
        mixed = narrow.put({odd: np.asarray(case.at(odd), np.float64)})
        try:
            said = mixed.op.infer(mixed.avals(), mixed.full_attrs())
        except (TypeError, ValueError):
            continue
        assert said == tuple(aval_of(t) for t in mixed()), f"{mixed}: the rule says {said}"
        if not has_gradient(mixed):
            continue

        def pulled(*inputs: Any) -> Any:
            leaves = [inputs[p[0]][p[1]] if len(p) == 2 else inputs[p[0]] for p in places]  # noqa: B023
            ys = [t for t in float_outputs(mixed(inputs)) if t.requires_grad]  # noqa: B023
            return gradients(ys, leaves, cotangents_of(ys, 1))

        inputs, leaves, _ = wanting(mixed)
        places = [place for place in mixed.floats() if any(_at(inputs, place) is leaf for leaf in leaves)]
        graph = trace(pulled, *inputs)
        for form in (pulled, graph, graph.differentiate()):
            for g, x in zip(form(*inputs), leaves, strict=True):
                assert g.aval == x.aval, f"{mixed}: a gradient is {g.aval}, its input {x.aval}"


def _at(inputs: tuple[Any, ...], place: Place) -> Any:
    return inputs[place[0]][place[1]] if len(place) == 2 else inputs[place[0]]


def as_in_wider_floats(case: Case) -> None:
    """The values are those of a wider float, computed from the same numbers: by the oracle, where there is one."""
    oracle = case.op.oracle
    for cast in casts(case, FLOATS if oracle is not None else FLOATS[:2]):
        wide = np.longdouble if _is_double(cast) else np.float64
        with silent():
            if oracle is None:
                expected = tuple(t.numpy() for t in cast.cast(np.float64)())
            else:
                made = oracle(*cast.cast(wide).inputs, **cast.full_attrs())
                expected = made if isinstance(made, tuple) else (made,)
        for t, e in zip(cast(), map(np.asarray, expected), strict=True):
            if t.dtype.kind != "f":
                assert np.array_equal(t.numpy(), e), f"{cast}: {t.numpy()}, expected {e}"
            elif t.dtype != np.float64 or oracle is not None:
                with np.errstate(over="ignore"):
                    limit = e.astype(t.dtype)
                e = np.where(np.isfinite(limit), e, limit)  # what does not fit is infinite
                parts = [cast.at(place) for place in cast.floats()]
                scale = max(largest([e]), largest(parts) if case.op.kind.name == "reduction" else 0.0)
                assert_close(t, e, scale=scale, what=str(cast))


def _is_double(case: Case) -> bool:
    return any(case.at(place).dtype == np.float64 for place in case.floats())


def scalar_form(case: Case) -> None:
    """The scalar form gives what the forward gives: for whole arrays, for one element of each, for any numbers."""
    if case.op.scalar is None:
        return
    for cast in casts(case, (np.float32, np.float64)):
        for given in (cast, hostile(cast, 0)):
            attrs = given.full_attrs()
            with silent():
                expected = np.asarray(case.op.forward(*given.inputs, **attrs))
                found = [(case.op.scalar(*given.inputs, *attrs.values()), expected)]
                if expected.size:
                    last = [np.broadcast_to(a, expected.shape).reshape(-1)[-1] for a in given.inputs]
                    found.append((case.op.scalar(*last, *attrs.values()), expected.reshape(-1)[-1]))
                for value, wanted in found:
                    scale = np.where(np.isfinite(wanted), np.abs(wanted), 0) if wanted.dtype.kind == "f" else None
                    assert_close(np.asarray(value), wanted, scale=scale, what=f"{given}: the scalar form")
