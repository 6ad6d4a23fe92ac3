"""Which equations go together: convex groups of one shape, in an order that can run, and the reasons of the others."""

import numpy as np
import pytest
from regions_running import run_graph

import tensorgraph as tg
from tensorgraph.compile.regions import MOST, regions
from tensorgraph.engine.op import CATALOGUE, elementwise
from tensorgraph.engine.tree import flatten
from tensorgraph.graph.graph import Var
from tensorgraph.native import machine
from tensorgraph.testing import random_program
from tensorgraph.testing.programs.steps import drawable

X = np.random.default_rng(0).normal(size=(6, 5)).astype("float32")


def names(graph):
    return [[eq.op.name for eq in region.equations] for region in regions(graph)]


def test_a_chain_and_the_sum_that_ends_it_are_one():
    graph = tg.trace(lambda x: (tg.tanh(x * 2.0) + 1.0).sum(axis=0), X)
    (region,) = regions(graph)
    assert [eq.op.name for eq in region.equations] == ["multiply", "tanh", "add", "sum"]
    assert region.inputs == graph.inputs
    assert region.outputs == graph.outputs
    assert region.reasons == {}


def test_what_needs_all_of_a_sum_is_another_region():
    graph = tg.trace(lambda x: tg.exp(x) / tg.exp(x).sum(axis=1, keepdims=True), X)
    first, *_, last = regions(graph)
    assert [eq.op.name for eq in first.equations][-1] == "sum"
    assert "all of a reduction comes before" in " ".join(last.reasons.values())


def test_nothing_joins_around_what_lies_between():
    graph = tg.trace(lambda x: tg.cumsum(x + 1.0, axis=0) * (x + 1.0), X)
    parts = names(graph)
    assert ["cumulative_sum"] in parts
    assert parts.index(["cumulative_sum"]) == 1
    (last,) = [region for region in regions(graph) if region.equations[-1].op.name == "multiply"]
    assert any("cumulative_sum computes no element from one of each input" in why for why in last.reasons.values())


def test_other_shapes_and_other_axes_are_told():
    graph = tg.trace(lambda x: (x * 2.0).sum(axis=0) + (x * 2.0)[0], X)
    assert len(regions(graph)) > 1
    graph = tg.trace(lambda x: ((x * 2.0).sum(axis=0), (x * 2.0).sum(axis=1)), X)
    reasons = [why for region in regions(graph) for why in region.reasons.values()]
    assert all("other axes" in why for why in reasons)


def test_readers_of_one_array_are_one():
    graph = tg.trace(lambda x: (x.sum(axis=0), (x * x).sum(axis=0), tg.exp(x)), X)
    assert len(regions(graph)) == 1


@pytest.mark.skipif(not machine.available(), reason=str(machine.reason()))
def test_a_gradient_compares_what_a_product_may_cut_at_its_end():
    def loss(x, w, b):
        return tg.sum(tg.relu(x @ w + b) @ w.T)

    graph = tg.trace(tg.grad(loss, argnums=(1, 2)), X, np.ones((5, 3), "f4"), np.ones(3, "f4")).transform()
    made = names(graph)
    assert ["add", "relu"] in made and any(part[:2] == ["equal", "where"] for part in made)
    alone = tg.trace(lambda x: tg.equal(tg.relu(tg.cumsum(x, axis=0) + 1.0), 0.0), X)
    assert ["add", "relu", "equal"] in names(alone)  # of what no kernel ends with


def test_a_reduction_that_nobody_reads_is_left_out():
    graph = tg.trace(lambda x: (x * 2.0, (x * 2.0).sum(axis=0))[:1], X)
    assert any(eq.op.name == "sum" for eq in graph.equations)
    (found,), _ = run_graph(graph, [X])
    np.testing.assert_array_equal(found, X * 2)


def test_a_long_chain_is_cut():
    def f(x):
        for k in range(3 * MOST):
            x = x * 1.01 + float(k)
        return x

    made = regions(tg.trace(f, X))
    assert max(len(region.equations) for region in made) <= MOST
    assert len(made) == 6
    assert any(f"at most {MOST}" in why for region in made for why in region.reasons.values())


def require_partition(graph):
    """Every equation once, each region after what it reads, every reason said."""
    made = regions(graph)
    assert sorted(id(eq) for region in made for eq in region.equations) == sorted(map(id, graph.equations))
    known = {*graph.inputs, *graph.consts, *(decl.var for decl in graph.cells)}
    makers = {var for eq in graph.equations for var in eq.outputs}
    for region in made:
        assert known.issuperset(region.inputs)
        assert region.is_generated or len(region.equations) == 1
        for var in region.inputs:
            assert var not in makers or region.reasons[var]
        for eq in region.equations:
            assert known.issuperset(eq.variables()) or region.is_generated
            known.update(eq.outputs)
    results = [atom for atom in graph.outputs if isinstance(atom, Var)]
    assert known.issuperset(results)
    seen = {var for region in made for var in region.outputs}
    assert seen.issuperset(var for var in results if var in makers)


EXACT = [op.name for op in CATALOGUE.values() if op.kind is elementwise and op.scalar is not None and op.among("exact")
         and op.name in drawable()]  # fmt: skip
MOVED = ["reshape", "transpose", "broadcast_to", "expand_dims", "concatenate", "flip"]
WIDTH = 0 if machine.available() else 64


def outcome(graph, program):
    """What the graph gives and what its regions give."""
    args, _ = flatten(list(program.examples))
    with np.errstate(all="ignore"):
        expected, _ = flatten(graph(*program.tensors()))
        found, count = run_graph(graph, args, width=WIDTH)
    return [np.asarray(v) for v in found], [np.asarray(v) for v in expected], count


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_random_programs_of_exact_ops_keep_their_bits():
    total = 0
    for seed in range(25):
        program = random_program(seed, steps=12, ops=[*EXACT, *MOVED, "max", "any"], nested=False, wild=True)
        graph = program.graph()
        require_partition(graph)
        found, expected, count = outcome(graph, program)
        total += count
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_array_equal(a, b, strict=True)
    assert total > 25


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_random_programs_and_their_gradients():
    total = 0
    for seed in range(15):
        program = random_program(seed, steps=8, smooth=True)
        graph = tg.trace(tg.value_and_grad(program.function, program.floats), *program.specs).transform()
        require_partition(graph)
        found, expected, count = outcome(graph, program)
        total += count
        for a, b in zip(found, expected, strict=True):
            assert np.isfinite(b).all()
            np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-8 * np.abs(b).max(initial=1), strict=True)
    assert total > 60
