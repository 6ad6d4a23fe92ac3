"""Properties of batching: a batch of calls is a loop over them, and so is the batch of their gradients."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, combinations
from typing import Any

import numpy as np

from tensorgraph.engine.backward import gradients
from tensorgraph.engine.batching import rule_of
from tensorgraph.engine.op import elementwise, random
from tensorgraph.graph.graph import Graph
from tensorgraph.graph.trace import trace
from tensorgraph.passes.batching import batched
from tensorgraph.testing.cases import Case, Place, differentiable_places, examples_of
from tensorgraph.testing.common import cotangents_of, float_outputs, has_gradient, largest
from tensorgraph.testing.compare import assert_close, assert_same

__all__ = ["batch_is_loop", "batch_of_gradients", "can_be_batched"]

Array = np.ndarray[Any, Any]
FEW = 3  # arrays of which every subset is tried; of more each alone, all but each, and all
MOST = 3  # examples


def can_be_batched(case: Case) -> bool:
    """Whether the op has a rule, its own, its kind's or by its reference."""
    return rule_of(case.op) is not None or case.op.reference is not None


def batch_is_loop(case: Case) -> None:
    """The graph of a batch gives what a loop gives: any inputs batched, on the first and another axis, 0 to 3 examples.

    Elementwise ops, draws and those that only move numbers give the same bits.
    """
    if not can_be_batched(case) or not any(True for _ in case.places()):
        return
    case = case.cast(np.float32)
    places = [place for place, _ in case.places()]
    graph = _graph(case, places, case)
    examples = _examples(case)
    for subset in _subsets(places):
        rows = [_inputs(case, places, subset, example) for example in examples]
        expected = [_outputs(graph, row) for row in rows]
        more = ((MOST, True), (1, True), (0, False)) if len(subset) in (1, len(places)) else ()
        for size, last in ((MOST, False), *more):
            dims = [(a.ndim if last else 0) if p in subset else None for p, a in case.places()]
            many = _together(rows[:size], dims, case, places)
            found = _outputs(batched(graph, size, dims), many)
            what = f"{case}: a batch of {size}, axes {dims}"
            for i, out in enumerate(found):
                wanted = _stack([row[i] for row in expected[:size]], out)
                _compare(case, out, wanted, 0, what)


def batch_of_gradients(case: Case) -> None:
    """The gradients of a batch are those of each example, with respect to what examples share too."""
    if not can_be_batched(case) or not has_gradient(case):
        return
    case = case.cast(np.float64)
    places = differentiable_places(case)
    if len(places) != len(case.floats()):
        return

    def pulled(*inputs: Any) -> Any:
        ys = [t for t in float_outputs(case(_put(case, places, inputs))) if t.requires_grad]
        return gradients(ys, list(inputs), cotangents_of(ys, 1))

    given = case.tensors(places)[1]
    graph = trace(pulled, *given)
    for subset in (places, places[:1]):
        rows = [_inputs(case, places, subset, example) for example in _examples(case)]
        dims = [0 if place in subset else None for place in places]
        many = batched(graph, MOST, dims)
        found = _outputs(many, _together(rows, dims, case, places))
        expected = [_outputs(graph, row) for row in rows]
        for i, out in enumerate(found):
            _compare(case, out, np.stack([row[i] for row in expected]), 1, f"{case}: gradients of a batch, {dims}")
        written_out = batched(graph.differentiate(), MOST, dims)
        for out, e in zip(_outputs(written_out, _together(rows, dims, case, places)), found, strict=True):
            _compare(case, out, e, 1, f"{case}: written out gradients of a batch, {dims}")


def _compare(case: Case, found: Array, expected: Array, order: int, what: str) -> None:
    if order == 0 and (case.op.kind in (elementwise, random) or case.op.traits & {"moves", "view", "identity"}):
        assert_same(found, expected, what)
    else:
        scale = max(largest([expected]), 1.0)
        ulps, reason = {0: (16, "both are rounded"), 1: (64, "both are rounded")}[order]
        assert found.dtype == expected.dtype, f"{what}: {found.dtype}, expected {expected.dtype}"
        assert_close(found, expected, scale=scale, ulps=ulps, reason=reason, what=what)


def _subsets(places: Sequence[Place]) -> Iterator[tuple[Place, ...]]:
    """Which inputs are batched: every choice of few, some of many; at least one."""
    n = len(places)
    sizes = range(1, n + 1) if n <= FEW else (1, n - 1, n)
    return chain.from_iterable(combinations(places, k) for k in sizes)


def _examples(case: Case) -> list[Case]:
    """The case with other numbers for every example: drawn where it draws, else its own in another order."""
    number = next(i for i, c in enumerate(examples_of(case.op)) if _alike(c, case))
    rng = np.random.default_rng(5)
    found = [case]
    for seed in range(1, MOST):
        drawn = examples_of(case.op, seed)[number]

        def other(place: Place, array: Array, drawn: Case = drawn) -> Array:
            new = drawn.at(place)
            new = _shuffled(array, rng, case) if np.array_equal(new, array) else new
            return np.asarray(new, array.dtype)

        found.append(case.map(other))
    return found


def _shuffled(array: Array, rng: np.random.Generator, case: Case) -> Array:
    """The same numbers in another order; of a matrix to be factorised its rows and columns, so that it stays one."""
    if case.op.kind.name != "linear algebra" or array.ndim < 2:
        return rng.permutation(array.ravel()).reshape(array.shape)
    rows, columns = (rng.permutation(n) for n in array.shape[-2:])
    return array[..., rows[:, None], rows if len(rows) == len(columns) else columns]


def _alike(a: Case, b: Case) -> bool:
    types = [[(p, x.shape) for p, x in case.places()] for case in (a, b)]
    return types[0] == types[1] and a.attrs == b.attrs and (a.floats() == b.floats())


def _put(case: Case, places: Sequence[Place], values: Sequence[Any]) -> tuple[Any, ...]:
    by_place = dict(zip(places, values, strict=True))
    return case.map(lambda place, array: by_place.get(place, array)).inputs


def _graph(case: Case, places: Sequence[Place], like: Case) -> Graph:
    return trace(lambda *inputs: case(_put(case, places, inputs)), *[like.at(p) for p in places])


def _inputs(case: Case, places: Sequence[Place], subset: Sequence[Place], example: Case) -> list[Array]:
    """One example's inputs: its own where they are batched, the case's elsewhere."""
    return [(example if place in subset else case).at(place) for place in places]


def _together(rows: Sequence[Sequence[Array]], dims: Sequence[int | None], case: Case, places: Any) -> list[Array]:
    """The inputs of all examples, along their batch axes."""
    many = []
    for i, (dim, place) in enumerate(zip(dims, places, strict=True)):
        array = case.at(place)
        if dim is None:
            many.append(array)
        else:
            empty = np.zeros((*array.shape[:dim], 0, *array.shape[dim:]), array.dtype)
            many.append(np.stack([row[i] for row in rows], dim) if rows else empty)
    return many


def _outputs(graph: Graph, inputs: Sequence[Any]) -> list[Array]:
    result = graph(*inputs)
    return [t.numpy() for t in (result if isinstance(result, (tuple, list)) else [result])]


def _stack(values: Sequence[Array], like: Array) -> Array:
    return np.stack(values) if values else np.zeros((0, *like.shape[1:]), like.dtype)
