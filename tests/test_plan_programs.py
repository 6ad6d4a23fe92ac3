"""Plans of random programs run as the graphs do, effects included."""

from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from plan_rules import exact_rule

from tensorgraph.compile import plan as plans
from tensorgraph.compile.native_runner import NativeRunner
from tensorgraph.compile.plan import plan
from tensorgraph.compile.selection import no_rule
from tensorgraph.engine.tree import flatten
from tensorgraph.native import machine
from tensorgraph.testing import Program, assert_same, programs
from tensorgraph.testing.programs.program import quiet

pytestmark = pytest.mark.skipif(not machine.available(), reason=str(machine.reason()))


def arrays(program: Program, number: int = 0) -> list[Any]:
    return [t._value for t in flatten(program.tensors(number))[0]]


def both(program: Program, **how: Any) -> None:
    """Three runs of the plan and of the graph, each on cells of its own."""
    graph = program.graph().differentiate()
    made, again = program.make().cells, program.make().cells
    ours = [made[decl.path] for decl in graph.cells]
    theirs = [again[decl.path] for decl in graph.cells]
    runner = NativeRunner(plan(graph, **how), ours)
    slots = {decl.var: cell for decl, cell in zip(graph.cells, theirs, strict=True)}
    for number in range(3):
        values = arrays(program, number)
        before = [v.copy() for v in values]
        with quiet():
            expected = graph.program.run([*values, *(cell._value.copy() for cell in theirs)])
            got = runner.run(values)
        for a, b in zip(got, expected, strict=False):
            assert_same(b, a, f"output of run {number}")
        for write, value in zip(graph.writes, expected[len(graph.outputs) :], strict=True):
            slots[write.cell]._store(np.asarray(value))
        for mine, other in zip(ours, theirs, strict=True):
            assert_same(other._value, mine._value, f"{other.path} after run {number}")
        for a, b in zip(values, before, strict=True):
            assert_same(b, a, "an argument")


@given(programs() | programs(wild=True) | programs(state=True))
def test_all_on_numpy(program: Program) -> None:
    """Without kernels: the same bits."""
    both(program, rule_of=no_rule, grouped=False)


EXACT = ("add", "subtract", "multiply", "transpose", "reshape", "getitem", "exp", "sum", "split", "concatenate")
exact_programs = programs(ops=EXACT, dtypes=("float32",), nested=False, wild=True)


@given(exact_programs | programs(ops=EXACT, dtypes=("float32",), state=True))
def test_exact_kernels_between_steps_on_numpy(program: Program) -> None:
    """Kernels that keep every bit: the same bits, whatever lies between them."""
    both(program, rule_of=exact_rule, grouped=False)
    with patch.object(plans, "LARGE", 0):  # what is large is handed over instead of copied
        both(program, rule_of=exact_rule, grouped=False)
