"""Plans whose kernels are emulated: no address lies outside the arrays, and nothing depends on machine code."""

from typing import Any

import numpy as np
import pytest
from plan_emulation import emulated  # noqa: F401  (a fixture)
from plan_rules import exact_rule
from plan_steps import STEPS, Cells, arguments, traced
from plan_training import MODELS, OPTIMISERS, training

import tensorgraph as tg
from tensorgraph.compile.copying import copy_kernel
from tensorgraph.compile.plan import plan
from tensorgraph.testing import assert_same
from tensorgraph.testing.programs.program import quiet


@pytest.mark.parametrize("step", STEPS)
def test_cells_and_arguments(step: Any, emulated: Any) -> None:  # noqa: F811
    ours, theirs = Cells(), Cells()
    graph, cells = traced(step, ours)
    _, others = traced(step, theirs)
    runner = emulated(plan(graph, exact_rule, grouped=False), cells)
    slots = {decl.var: cell for decl, cell in zip(graph.cells, others, strict=True)}
    for x in arguments()[:3]:
        with quiet():
            expected = graph.program.run([x, *(cell._value.copy() for cell in others)])
            got = runner.run((x,))
        for a, b in zip(got, expected, strict=False):
            assert_same(b, a, step.__name__)
        for write, value in zip(graph.writes, expected[len(graph.outputs) :], strict=True):
            slots[write.cell]._store(np.asarray(value))
        for mine, other in zip(cells, others, strict=True):
            assert_same(other._value, mine._value, mine.path)
    assert runner.explain()
    assert "def pairs" in runner.source or not any(step.call for step in runner.plan.steps)


@pytest.mark.parametrize("model", MODELS)
def test_steps_of_training(model: str, emulated: Any) -> None:  # noqa: F811
    rng = np.random.default_rng(0)
    batches = [(rng.normal(size=(5, 13)).astype("float32"), rng.integers(0, 5, 5)) for _ in range(2)]
    step, _ = training(MODELS[model], OPTIMISERS["adam"])
    expected = [float(step(tg.tensor(x), tg.tensor(y))) for x, y in batches]
    step, planned = training(MODELS[model], OPTIMISERS["adam"])
    graph = tg.trace(step, *batches[0]).transform()
    runner = emulated(plan(graph), graph.provenance.cells(len(graph.cells)))
    with quiet():
        losses = [float(runner.run(batch)[0]) for batch in batches]
        np.testing.assert_allclose(losses, expected, rtol=2e-5)
        before = [cell._value.copy() for cell in runner.cells]
        with pytest.raises(ValueError, match="class index"):
            runner.run((batches[0][0], np.full(5, 5)))
        for cell, numbers in zip(runner.cells, before, strict=True):
            assert_same(numbers, cell._value, cell.path)
        assert np.isfinite(runner.run(batches[0])[0])


@pytest.mark.parametrize("size", [0, 1, 3, 4, 63, 64, 65, 131])
def test_bytes_are_copied(size: int) -> None:
    source = np.random.default_rng(0).integers(0, 256, size).astype(np.uint8)
    target = np.zeros(size + 8, np.uint8)
    words = [array.__array_interface__["data"][0] for array in (source, target)]
    copy_kernel().emulate(np.array([*words, size]), [source, target])
    np.testing.assert_array_equal(target[:size], source)
    assert not target[size:].any()
