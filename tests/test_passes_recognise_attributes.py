"""Attributes survive recognition: whatever a fused op is called with, its composition keeps its numbers."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from recognising import names

import tensorgraph as tg
from tensorgraph.engine.op import CATALOGUE, Op
from tensorgraph.engine.signature import REQUIRED
from tensorgraph.graph.graph import Graph
from tensorgraph.testing import Case, assert_close, examples_of

FUSED = [op for op in CATALOGUE.values() if op.backward is not None]
MOST = 16  # combinations an op

Array = np.ndarray[Any, Any]


def settings(op: Op, name: str) -> list[Any]:
    """What an attribute may be: its default, what examples and recognition try, and more of its kind."""
    default = op.attrs[name]
    values = [] if default is REQUIRED else [default]
    values += [attrs[name] for _, attrs in op.examples if name in attrs]
    tried = op.recognise.values.get(name) if op.recognise is not None else None
    values += tried if isinstance(tried, tuple) else ()
    if any(type(v) is bool for v in values):
        values += [False, True]
    elif any(type(v) is int for v in values):
        values += [-100, -2, 0, 1, 2, 300]
    elif any(type(v) is float for v in values):
        values += [0.0, 1e-12, 1 / 3, 1.0]
    return list({(type(v), v): v for v in values}.values())


def combinations(op: Op) -> Iterator[tuple[Case, dict[str, Any]]]:
    """Calls that the shape rule takes: all of them, or as many as may be."""
    choices = []
    for case in examples_of(op):
        if not case.inputs[0].size:  # nothing is recognised of nothing
            continue
        avals = tuple(None if a is None else tg.spec(a.shape, a.dtype) for a in case.inputs)
        for values in itertools.product(*(settings(op, name) for name in op.attrs)):
            attrs = dict(zip(op.attrs, values, strict=True))
            try:
                op.infer(avals, attrs)
            except (ValueError, TypeError):
                continue
            choices.append((case, attrs))
    order = np.random.default_rng(0).permutation(len(choices))
    return (choices[i] for i in order[:MOST])


def draws(case: Case, attrs: dict[str, Any]) -> Iterator[list[Array | None]]:
    """The example's inputs; with labels that an attribute names, some of them and all; with zeros for a small input."""
    yield list(case.inputs)
    integers = [i for i, a in enumerate(case.inputs) if a is not None and a.dtype.kind in "iu"]
    for value in {v for v in attrs.values() if type(v) is int}:
        for i in integers:
            for share in (2, 1):
                a = case.inputs[i].copy()
                a.reshape(-1)[::share] = value
                yield [a if k == i else b for k, b in enumerate(case.inputs)]
    for i, a in enumerate(case.inputs):
        if i and a is not None and a.ndim == 1 and a.dtype.kind == "f":
            yield [np.zeros_like(a) if k == i else b for k, b in enumerate(case.inputs)]


def composed(op: Op, inputs: tuple[Any, ...], attrs: dict[str, Any]) -> Graph:
    def function(*args: Any) -> Any:
        given = iter(args)
        return op.public(*[None if a is None else next(given) for a in inputs], **attrs, impl="composed")

    return tg.trace(function, *[tg.spec(a.shape, a.dtype) for a in inputs if a is not None])


@pytest.mark.filterwarnings("ignore:softmax_cross_entropy")
@pytest.mark.sampled(test=10, quick=4)
@pytest.mark.parametrize("op", FUSED, ids=lambda op: op.name)
def test_every_attribute_is_kept_or_the_region_left_alone(op: Op) -> None:
    tries = whole = 0
    for case, attrs in combinations(op):
        graph = composed(op, case.inputs, attrs)
        found = graph.recognise().check()
        tries += 1
        whole += names(found) == [op.name]
        for inputs in draws(case, attrs):
            arrays = [a for a in inputs if a is not None]
            try:
                expected = graph(*arrays)
            except ValueError:  # a label that is no class
                continue
            pairs = zip(*(r if isinstance(r, tuple) else (r,) for r in (found(*arrays), expected)), strict=True)
            for got, wanted in pairs:
                assert_close(got, wanted, scale=1.0, what=f"{case} {attrs}")
    assert whole > 0.9 * tries > 3


def test_what_numbers_cannot_show_is_not_lost() -> None:
    """An ignored row counts in a mean that is taken by hand, and its label is no class."""
    z, y = np.random.default_rng(0).normal(size=(4, 3)), np.array([0, -100, 2, 1])
    for reduce in (tg.mean, tg.sum):

        def function(z: Any, y: Any, reduce: Any = reduce) -> Any:
            return reduce(tg.softmax_cross_entropy(z, y, reduction="none", ignore_index=-100))

        graph = tg.trace(function, tg.f64[4, 3], tg.i64[4])
        assert_close(graph.recognise()(z, y), graph(z, y))


def test_a_view_before_an_op_becomes_its_axis_and_the_rest_stays() -> None:
    def function(z: Any, y: Any, w: Any) -> Any:
        return tg.softmax_cross_entropy(z.T, y, w, ignore_index=7, empty="zero")

    found = tg.trace(function, tg.f64[3, 4], tg.i64[4], tg.f64[3]).recognise()
    assert names(found) == ["softmax_cross_entropy"]
    attrs = found.equations[0].attrs
    assert (attrs["axis"], attrs["ignore_index"], attrs["empty"]) == (0, 7, "zero")


def test_a_number_that_stands_as_a_float_is_no_integer() -> None:
    """1 and 1.0 are different numbers in a graph, and one reference is not taken for the other."""
    for eps in (0, 0.0, 1, 1.0):
        graph = tg.trace(lambda x, g, b, e=eps: tg.layer_norm(x, g, b, eps=e, impl="composed")[0], *[tg.f64[5]] * 3)
        found = graph.recognise()
        if names(found) == ["layer_norm"]:
            assert found.equations[0].attrs["eps"] == eps


@pytest.mark.parametrize("name", ["batch_norm", "batch_norm_relu", "layer_norm"])
def test_what_the_op_would_refuse_stays_as_it_is(name: str) -> None:
    """A reference does not look at its attributes; that of an eps below 0 may be written by hand."""

    def function(x: Any, gamma: Any, beta: Any) -> Any:
        return CATALOGUE[name].reference(x, gamma, beta, eps=-1e-3)  # type: ignore[misc]

    graph = tg.trace(function, tg.f64[6, 4], tg.f64[4], tg.f64[4])
    found = graph.recognise()
    assert name not in names(found)
    arrays = [np.random.default_rng(0).normal(size=s) for s in ((6, 4), (4,), (4,))]
    for got, wanted in zip(found(*arrays), graph(*arrays), strict=True):
        assert_close(got, wanted, scale=1.0)
