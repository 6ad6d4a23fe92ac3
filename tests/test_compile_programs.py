"""Random programs compiled give what their graphs give, to the last bit on NumPy, effects included."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from test_programs import assert_gradients_same, assert_trees_same, play

import tensorgraph as tg
from tensorgraph.compile import entry
from tensorgraph.compile.on_numpy import OnNumpy
from tensorgraph.testing import Program, programs
from tensorgraph.testing.programs.program import quiet


@pytest.fixture(scope="module", autouse=True)
def on_numpy() -> Any:
    """Whatever kernels there are, the steps of the graph run on NumPy."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(entry, "runner_of", lambda graph, cells, *others: OnNumpy(graph, cells))
        patch.setattr(entry, "gradient_runner", lambda *given: (None, None))
        yield


@given(programs() | programs(wild=True))
def test_a_program_compiled_is_its_graph(program: Program) -> None:
    compiled = tg.compile(program.function)
    with quiet(), tg.no_grad():
        graph = tg.trace(program.function, *program.tensors()).transform()
        for number in range(5):
            given = program.tensors(number)
            assert_trees_same(compiled(*given), graph(*given), f"call {number}")
        assert_trees_same(compiled(*program.examples), graph(*program.tensors()), "on arrays")
    assert compiled.stats.traces == 1, compiled.stats


@given(programs(state=True) | programs(state=True, wild=True))
def test_steps_compiled_are_steps_of_the_graph(program: Program) -> None:
    with quiet(), tg.no_grad():
        made = program.make()
        expected = play(tg.trace(made.function, *program.tensors()).transform().bind(), made, program)
        made = program.make()
        compiled = tg.compile(made.function)
        assert_trees_same(play(compiled, made, program), expected, "the compiled program")
    assert compiled.stats.traces == 1, compiled.stats


@given(programs(state=True))
def test_steps_that_record_are_eager_steps(program: Program) -> None:
    with quiet():
        made = program.make()
        expected = play(made.function, made, program)
        made = program.make()
        compiled = tg.compile(made.function)
        found = play(compiled, made, program)
    for (_, before), (_, after) in zip(expected, found, strict=True):
        assert before.keys() == after.keys()
        for path, array in before.items():
            np.testing.assert_allclose(after[path], array, rtol=1e-4, atol=1e-5, err_msg=path)


@given(programs(smooth=True))
def test_the_gradient_through_a_compiled_program_is_its_own(program: Program) -> None:
    with quiet():
        eager = tg.value_and_grad(program.function, program.floats)(*program.tensors())
        compiled = tg.compile(program.function)
        for _ in range(2):
            found = tg.value_and_grad(compiled, program.floats)(*program.tensors())
            assert_gradients_same(found, eager, program, "the gradient through what was compiled")
