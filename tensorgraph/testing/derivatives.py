"""Properties of the derivatives: right by numbers to the second order, linear, typed, alike in both forms and modes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tensorgraph.engine.backward import gradients
from tensorgraph.engine.tensor import tensor
from tensorgraph.testing.cases import Case, differentiable_places
from tensorgraph.testing.common import (
    casts,
    cotangents_of,
    float_outputs,
    has_gradient,
    largest,
    narrows,
    pull,
    wanting,
)
from tensorgraph.testing.compare import DIFFERENCES, assert_close
from tensorgraph.testing.numeric import difference_jacobian, numerical_jacobian
from tensorgraph.transforms import jvp

Array = np.ndarray[Any, Any]


def jacobian(case: Case) -> None:
    """The full Jacobian in float64 agrees with numbers: the complex step where possible, else differences."""
    if not has_gradient(case) or narrows(case):
        return
    places = differentiable_places(case)
    expected, exact = numerical_jacobian(case, places)
    _, leaves, outputs = wanting(case)
    rows = []
    for number, out in enumerate(outputs):
        for k in range(out.size):
            units = [np.zeros(t.shape, t.dtype) for t in outputs]
            units[number].flat[k] = 1
            rows.append([g.numpy().reshape(-1) for g in gradients(outputs, leaves, units, retain_graph=True)])
    scale = largest(expected)
    for i, block in enumerate(expected):
        got = np.array([row[i] for row in rows]).reshape(len(rows), block.shape[1])
        what = f"{case}: derivative by {case.op.inputs[places[i][0]]}"
        if exact:
            assert_close(got, block, order=1, scale=scale, what=what)
        else:
            _assert_differences(got, block, max(scale, 1.0), what)


def _assert_differences(got: Array, expected: Array, scale: float, what: str) -> None:
    assert got.shape == expected.shape, f"{what}: shape {got.shape}, expected {expected.shape}"
    assert np.isfinite(expected).all(), f"{what}: the numerical derivative is not finite; correct the op's domain"
    assert np.isfinite(got).all(), f"{what}: not finite: {got}"
    error = np.abs(got - expected)
    if error.max(initial=0) > DIFFERENCES * scale:
        worst = np.unravel_index(int(np.argmax(error)), error.shape)
        raise AssertionError(
            f"{what}: {got[worst]!r} at (output, element) {tuple(map(int, worst))}, "
            f"differences give {expected[worst]!r}"
        )


def second_order(case: Case) -> None:
    """The derivative of the gradient, by inputs and by cotangents, agrees with differences of the gradient."""
    if not has_gradient(case) or narrows(case):
        return
    places = differentiable_places(case)
    _, leaves, outputs = wanting(case)
    cotangents = [tensor(c, requires_grad=True) for c in cotangents_of(outputs, 1)]
    first = gradients(outputs, leaves, cotangents, create_graph=True)
    weights = cotangents_of(first, 2)

    def weighted(*arrays: Array) -> Array:
        moved = case.put(dict(zip(places, arrays[: len(places)], strict=True)))
        _, xs, ys = wanting(moved)
        found = gradients(ys, xs, list(arrays[len(places) :]))
        return np.array([sum(float((g.numpy() * w).sum()) for g, w in zip(found, weights, strict=True))])

    at = [case.at(p) for p in places] + [c.numpy() for c in cotangents]
    expected = difference_jacobian(weighted, at)
    live = [(g, w) for g, w in zip(first, weights, strict=True) if g.requires_grad]
    sources = [*leaves, *cotangents]
    if live:
        found = gradients([g for g, _ in live], sources, [w for _, w in live])
        second = [g.numpy() for g in found]
    else:
        second = [np.zeros(t.shape) for t in sources]
    scale = max(largest(expected), 1.0)
    names = [case.op.inputs[p[0]] for p in places] + ["a cotangent"] * len(cotangents)
    for got, want, name in zip(second, expected, names, strict=True):
        _assert_differences(got.reshape(1, -1), want, scale, f"{case}: derivative of the gradient by {name}")


def linear_in_cotangent(case: Case) -> None:
    """Rules are linear in every cotangent, and zero at zero."""
    if not has_gradient(case):
        return
    _, leaves, outputs = wanting(case)
    u, v = cotangents_of(outputs, 1), cotangents_of(outputs, 2)

    def pull(cotangents: Sequence[Any]) -> list[Array]:
        return [g.numpy() for g in gradients(outputs, leaves, list(cotangents), retain_graph=True)]

    fu, fv = pull(u), pull(v)
    both = pull([2.0 * a - 3.0 * b for a, b in zip(u, v, strict=True)])
    zero = pull([np.zeros_like(a) for a in u])
    scale = 2 * largest(fu) + 3 * largest(fv)
    coarse = min((t.dtype for t in outputs), key=lambda d: d.itemsize)
    for a, b, c, z in zip(fu, fv, both, zero, strict=True):
        assert_close(
            c, 2.0 * a - 3.0 * b, order=1, scale=scale, dtype=coarse, what=f"{case}: the rule of a sum of cotangents"
        )
        assert not z.any(), f"{case}: the gradient of a zero cotangent is {z}"


def gradient_types(case: Case) -> None:
    """A gradient has its input's shape and dtype, first and second, and agrees with float64's."""
    if not has_gradient(case):
        return
    exact = [g.numpy() for g in pull(case)]
    for cast in casts(case):
        _, leaves, outputs = wanting(cast)
        cotangents = [tensor(c, requires_grad=True) for c in cotangents_of(outputs, 1)]
        for create_graph in (False, True):
            found = gradients(outputs, leaves, cotangents, create_graph=create_graph, retain_graph=True)
            for g, x in zip(found, leaves, strict=True):
                assert g.aval == x.aval, f"{cast}: a gradient is {g.aval}, its input {x.aval}"
        for g, e in zip(found, exact, strict=True):
            # inputs and cotangents were rounded too: as many ulp as a second derivative may be off
            assert_close(g, e, order=2, scale=largest(exact), what=f"{cast}: gradient")
        live = [g for g in found if g.requires_grad]
        if live:
            again = gradients(live, [*leaves, *cotangents], [np.ones(g.shape, g.dtype) for g in live])
            for g, x in zip(again, [*leaves, *cotangents], strict=True):
                assert g.aval == x.aval, f"{cast}: a second gradient is {g.aval}, its input {x.aval}"


def forms_agree(case: Case) -> None:
    """A rule on arrays and the same rule recorded give the same numbers, in every float dtype."""
    if not has_gradient(case):
        return
    for cast in casts(case):
        plain, recorded = pull(cast), pull(cast, create_graph=True)
        for a, b in zip(plain, recorded, strict=True):
            assert_close(a, b, what=f"{cast}: gradient on arrays, against the recorded one")


def forward_mode(case: Case) -> None:
    """The JVP is the Jacobian times the direction."""
    if not has_gradient(case) or narrows(case):
        return
    places = differentiable_places(case)
    rng = np.random.default_rng(3)
    directions = [rng.uniform(-1, 1, case.at(p).shape) for p in places]

    def function(*values: Any) -> Any:
        inputs: list[Any] = [list(i) if isinstance(i, list) else i for i in case.inputs]
        for place, value in zip(places, values, strict=True):
            if len(place) == 2:
                inputs[place[0]][place[1]] = value
            else:
                inputs[place[0]] = value
        return tuple(t for t in float_outputs(case(tuple(inputs))))

    _, moved = jvp(function, [case.at(p) for p in places], directions)
    expected, _ = numerical_jacobian(case, places)
    columns = sum(block @ u.reshape(-1) for block, u in zip(expected, directions, strict=True))
    got = np.concatenate([t.numpy().reshape(-1) for t in moved])
    _assert_differences(got, np.asarray(columns), max(largest(expected), 1.0), f"{case}: jvp")
