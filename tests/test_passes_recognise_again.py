"""What recognition remembers of windows in which it found nothing changes nothing that it finds."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from effort import examples
from hypothesis import given
from recognising import names
from spellings import LOGITS, NEAR_MISSES, NORM, SPELLINGS, batch_norm_by_products

import tensorgraph as tg
from tensorgraph import nn
from tensorgraph.passes.recognise import search
from tensorgraph.passes.recognise.surroundings import Barren
from tensorgraph.testing.programs import Program, programs

F = tg.f32


@pytest.fixture(autouse=True)
def forgetful(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(search, "BARREN", Barren())
    yield


def fresh(graph: Any) -> list[str]:
    """What is found by somebody who remembers nothing."""
    before, search.BARREN = search.BARREN, Barren()
    try:
        return names(graph.recognise())
    finally:
        search.BARREN = before


def test_every_spelling_and_near_miss_is_what_it_is_in_any_order() -> None:
    cases = [(f, specs) for f, specs, _ in (*SPELLINGS, *NEAR_MISSES)]
    graphs = [tg.trace(f, *specs) for f, specs in cases]
    expected = [fresh(graph) for graph in graphs]
    order = [*range(len(cases))] * 2
    random.Random(0).shuffle(order)
    for k in order:
        assert names(graphs[k].recognise()) == expected[k], cases[k][0].__name__
    assert search.BARREN.looks


def stacked(layers: list[Callable[..., Any]], count: int) -> Callable[..., Any]:
    def network(x: Any, *rest: Any) -> Any:
        for k in range(count):
            x = x + tg.tanh(layers[k % len(layers)](x, *rest))
        return x

    return network


SINGLE = [f for f, specs, _ in (*SPELLINGS, *NEAR_MISSES) if specs in (LOGITS, NORM[:1])]
AFFINE = [f for f, specs, _ in (*SPELLINGS, *NEAR_MISSES) if specs == NORM and f is not batch_norm_by_products]


@pytest.mark.sampled(test=3, quick=2)
@pytest.mark.parametrize("seed", range(6))
def test_layers_among_equal_and_nearly_equal_ones_are_found_as_alone(seed: int) -> None:
    rng = random.Random(seed)
    some, specs = (SINGLE, LOGITS) if seed % 2 else (AFFINE, NORM)
    layers = rng.sample(some, 3)
    for rows in (6, 40, 300):
        shaped = (F[rows, 4], *specs[1:])
        graph = tg.trace(stacked(layers, 7), *shaped)
        assert names(graph.recognise()) == names(graph.recognise()) == fresh(graph)


def test_the_number_of_rows_is_no_constant_of_a_mean() -> None:
    """400 rows and a division by 400 is a batch norm, 300 rows and the same number none, in whatever order."""

    def layer(x: Any) -> Any:
        d = x - x.sum(0) / 400.0
        return d / tg.sqrt((d * d).sum(0) / 400.0 + 1e-5)

    for rows in (300, 400, 300, 500, 400):
        found = names(tg.trace(stacked([layer], 4), F[rows, 64]).recognise())
        assert found.count("batch_norm") == (4 if rows == 400 else 0)


def test_equal_layers_are_looked_at_once() -> None:
    def count(layers: int) -> int:
        search.BARREN = Barren()
        tg.trace(stacked([lambda x: tg.softmax(x) * tg.exp(x)], layers), F[50, 64]).recognise()
        return len(search.BARREN.looks)

    assert count(40) == count(20) < 100


def test_another_batch_size_is_looked_at_no_more() -> None:
    network = stacked([lambda x: tg.softmax(x) * tg.exp(x)], 5)
    tg.trace(network, F[500, 64]).recognise()
    looks = len(search.BARREN.looks)
    tg.trace(network, F[700, 64]).recognise()
    assert len(search.BARREN.looks) == looks


LABELLED = F[50, 64], tg.spec((50,), "int64")


def test_windows_that_read_labels_are_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    network = stacked([lambda x: tg.softmax(x) * tg.exp(x)], 3)
    graph = tg.trace(lambda x, y: tg.softmax_cross_entropy(network(x), y), *LABELLED)
    assert names(graph.recognise()) == fresh(graph)
    monkeypatch.setattr(search, "_matches", lambda *args: pytest.fail("a window is looked at again"))
    graph.recognise()


@pytest.mark.parametrize("guarded_first", [False, True])
def test_what_a_graph_asks_of_its_labels_is_seen_each_time(guarded_first: bool) -> None:
    """One that compares them with what no class is may mean what a fused op refuses; another has the same loss."""

    def loss(z: Any, y: Any) -> Any:
        return tg.log(tg.exp(z).sum(axis=1)) - (z * tg.one_hot(y, 64)).sum(axis=1)

    def guarded(z: Any, y: Any) -> Any:
        return loss(z, y), tg.reshape(y, (5, 10)) == -100

    for f in (guarded, loss, guarded) if guarded_first else (loss, guarded, loss):
        found = names(tg.trace(f, *LABELLED).recognise())
        assert ("softmax_cross_entropy" in found) == (f is loss), found


@given(programs())
@examples(40)
def test_random_programs_are_recognised_as_by_somebody_who_remembers_nothing(program: Program) -> None:
    graph = program.graph()
    assert names(graph.recognise()) == names(graph.recognise()) == fresh(graph)


def test_no_more_is_remembered_than_was_said() -> None:
    few = Barren(3)
    for k in range(10):
        few.add(k)
    few.add(None)
    assert [*few.looks] == [7, 8, 9] and None not in few


@pytest.mark.parametrize("before", [(), ("simplify",), ("expand",), ("recognise",)], ids="+".join)
def test_fused_ops_whose_gradient_is_written_out_are_looked_at(before: tuple[str, ...]) -> None:
    """A batch norm that keeps something for its gradient has more results than that of the pattern with a ReLU."""
    model = nn.Sequential(nn.Linear(4, 4, seed=0), nn.BatchNorm(4), nn.ReLU(), nn.Linear(4, 2, seed=1))

    def step(x: Any, y: Any) -> Any:
        loss = tg.softmax_cross_entropy(model(x), y)
        loss.backward()
        return loss, [parameter.grad for parameter in model.parameters()]

    graph = tg.trace(step, tg.f32[8, 4], tg.i64[8])
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(8, 4)).astype(np.float32), rng.integers(0, 2, 8)
    recognised = graph.transform(*before, "differentiate", "simplify", "recognise")
    (loss, gradients), (other_loss, others) = (one.bind(model)(x, y) for one in (graph, recognised))
    for own, other in zip([loss, *gradients], [other_loss, *others], strict=True):
        np.testing.assert_allclose(other.numpy(), own.numpy(), rtol=1e-4, atol=1e-6)
