"""Properties of the forward: types, finiteness, inputs left alone, memory shared by views only, layouts."""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgraph.engine.aval import aval_of
from tensorgraph.engine.backward import gradients
from tensorgraph.engine.tensor import Tensor, tensor
from tensorgraph.testing.cases import Case, differentiable_places
from tensorgraph.testing.common import (
    casts,
    cotangents_of,
    float_outputs,
    has_gradient,
    largest,
    pull,
)
from tensorgraph.testing.compare import assert_close, assert_same

Array = np.ndarray[Any, Any]


def finite(case: Case) -> None:
    """In its domain an op gives finite numbers (an op of nothing may give NaN)."""
    for t in case():
        if t.dtype.kind == "f" and all(array.size for _, array in case.places()):
            assert np.isfinite(t.numpy()).all(), f"{case}: not finite inside its domain: {t.numpy()}"


def shape_rule(case: Case) -> None:
    """The shape rule says what comes, in every float dtype; at least the case's own must be taken."""
    assert any(True for _ in casts(case)), f"{case}: the shape rule refuses every float dtype"
    for cast in casts(case):
        said = case.op.infer(cast.avals(), cast.full_attrs())
        came = tuple(aval_of(t) for t in cast())
        assert said == came, f"{cast}: the shape rule says {said}, the op gives {came}"


def tensors_come(case: Case) -> None:
    """The public function gives Tensors around plain arrays, from arrays as from Tensors."""
    outputs = case(case.inputs)
    for t, other in zip(outputs, case(), strict=True):
        assert type(t) is Tensor and type(t._value) is np.ndarray, f"{case}: expected Tensors of arrays, got {type(t)}"
        assert_same(t, other, f"{case}: called with arrays")


def unmutated(case: Case) -> None:
    """Neither forward nor backward changes an input or a cotangent, and no output changes afterwards."""
    inputs, leaves = case.tensors(differentiable_places(case), copy=False)
    before = {place: array.copy() for place, array in case.places()}
    outputs = case(inputs)
    kept = [t.numpy().copy() for t in outputs]
    wanted = [t for t in float_outputs(outputs) if t.requires_grad]
    if wanted:
        for create_graph in (False, True):
            cotangents = cotangents_of(wanted, 1)
            given = [np.array(c) for c in cotangents]
            gradients(wanted, leaves, given, create_graph=create_graph, retain_graph=True)
            for was, now in zip(cotangents, given, strict=True):
                assert_same(now, was, f"{case}: a cotangent after backward")
    case.map(lambda _, a: a * a.dtype.type(0.5) if a.dtype.kind == "f" else a)()
    for place, array in case.places():
        assert_same(array, before[place], f"{case}: input {place}")
    for t, was in zip(outputs, kept, strict=True):
        assert_same(t, was, f"{case}: an output after later calls")


def sharing(case: Case) -> None:
    """Only view ops share memory with their inputs; gradients share with nothing."""
    inputs, leaves = case.tensors(differentiable_places(case))
    outputs = case(inputs)
    arrays = [
        t.numpy() for item in inputs for t in (item if isinstance(item, list) else [item]) if isinstance(t, Tensor)
    ]
    results = [t.numpy() for t in outputs]
    if "view" not in case.op.traits:
        for i, out in enumerate(results):
            for other in (*arrays, *results[:i]):
                assert not np.shares_memory(out, other), f"{case}: shares memory but is not declared a view"
    wanted = [t for t in float_outputs(outputs) if t.requires_grad]
    if not wanted:
        return
    cotangents = [tensor(c) for c in cotangents_of(wanted, 1)]
    found = gradients(wanted, leaves, cotangents)
    others = [*arrays, *results, *[c.numpy() for c in cotangents]]
    for i, g in enumerate(found):
        for other in (*others, *[h.numpy() for h in found[:i]]):
            assert not np.shares_memory(g.numpy(), other), f"{case}: a gradient shares memory"


def layouts_of(array: Array) -> list[Array]:
    """The same numbers laid out otherwise: Fortran order, every second of a larger array, backwards; read-only."""
    spread = np.zeros(tuple(2 * n for n in array.shape), array.dtype)
    spread = spread[tuple([slice(None, None, 2)] * array.ndim)] if array.ndim else spread
    spread[...] = array
    backwards = np.asarray(np.flip(np.flip(array).copy()))
    layouts = [np.array(array, order="F"), spread, backwards]
    for view in layouts:
        view.flags.writeable = False
    return layouts


def layouts(case: Case) -> None:
    """Layout in memory does not matter, nor whether an input may be written."""
    expected = case()
    pulled = pull(case) if has_gradient(case) else []
    for kind in range(3):
        other = case.map(lambda _, a, kind=kind: layouts_of(a)[kind])  # type: ignore[misc]
        inputs, leaves = other.tensors(differentiable_places(other), copy=False)
        outputs = other(inputs)
        for t, e in zip(outputs, expected, strict=True):
            assert_close(t, e, what=f"{case} in layout {kind}")
        wanted = [t for t in float_outputs(outputs) if t.requires_grad]
        if wanted:
            found = gradients(wanted, leaves, cotangents_of(wanted, 1))
            for g, e in zip(found, pulled, strict=True):
                assert_close(
                    g, e, order=1, scale=largest([p.numpy() for p in pulled]), what=f"{case}: gradient in layout {kind}"
                )
