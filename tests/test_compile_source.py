"""What compiled functions show of what they run: text that reads as Python, and is in tracebacks."""

from __future__ import annotations

import ast
import cProfile
import linecache
import pstats
import traceback
from typing import Any

import numpy as np
import pytest
from effort import examples
from hypothesis import given

import tensorgraph as tg
from tensorgraph import nn, optim
from tensorgraph.compile.explain import told
from tensorgraph.compile.listing import listing
from tensorgraph.compile.plan import plan
from tensorgraph.native import machine
from tensorgraph.native.kernel import from_text, kernel
from tensorgraph.testing.programs import Program, programs

X = np.random.default_rng(0).normal(size=(16, 4)).astype(np.float32)


def names_of(tree: ast.Module) -> tuple[list[str], list[str]]:
    """The calls of the first function, and the functions after it."""
    first, *rest = (node for node in tree.body if isinstance(node, ast.FunctionDef))
    calls = [node.value for node in first.body if isinstance(node, ast.Expr)]
    assert all(isinstance(call, ast.Call) for call in calls)
    return [ast.unparse(call.func) for call in calls], [f.name for f in rest]  # type: ignore[attr-defined]


@given(programs())
@examples(40)
def test_every_plan_reads_as_python(program: Program) -> None:
    steps = plan(program.graph().transform())
    text = listing(steps)
    calls, functions = names_of(ast.parse(text))
    kernels = [call for call in calls if not call.startswith("numpy.")]
    given = [step.call for step in steps.steps if step.call is not None]
    assert len(kernels) == sum(len(call.records) + len(call.checks) for call in given)
    assert len(calls) - len(kernels) == sum(step.on_host for step in steps.steps)
    assert {name.rsplit("_", 1)[0] if name not in functions else name for name in kernels} <= set(functions)
    assert told(steps).splitlines()[0] in text


def training() -> Any:
    model = nn.Sequential(nn.Linear(4, 8, seed=0), nn.ReLU(), nn.Linear(8, 2, seed=1))
    adam = optim.Adam(model, lr=0.01)

    @tg.compile
    def step(x: Any, y: Any) -> Any:
        loss = tg.softmax_cross_entropy(model(x), y)
        loss.backward()
        adam.step()
        return loss

    return step


@pytest.mark.skipif(not machine.available(), reason="no machine code here")
def test_a_steps_source_and_explanation_are_of_what_runs() -> None:
    step = training()
    step(X, np.zeros(16, int))
    steps = step._latest().runner.plan
    assert step.source == listing(steps) and step.explain().endswith(told(steps))
    calls, _ = names_of(ast.parse(step.source))
    assert (
        "adam_step" in calls
        and "cells['0.weight.grad']" in step.source
        and f"{__file__.rsplit('/', 1)[-1]}:" in step.source
    )


def test_a_plan_that_computes_nothing_reads_as_python() -> None:
    text = listing(plan(tg.trace(lambda x: x + x, tg.f32[0, 3])))
    (program,) = ast.parse(text).body
    assert isinstance(program, ast.FunctionDef) and ast.unparse(program.body) == "pass"


def test_a_functions_own_name_is_no_matter() -> None:
    graph = tg.trace(lambda x: tg.exp(x) + 1, tg.f32[3])
    assert "lambda" not in listing(plan(graph)).splitlines()[1]
    ast.parse(listing(plan(graph)))


def test_a_program_of_numpy_shows_its_lines_in_tracebacks_and_profiles() -> None:
    graph = tg.trace(lambda x: tg.linalg.inv(x) @ x, tg.f64[3, 3])
    program = graph.program
    file = program.function.__code__.co_filename
    assert "".join(linecache.getlines(file)) == program.source
    linecache.checkcache()
    assert "".join(linecache.getlines(file)) == program.source
    other = tg.trace(lambda x: tg.linalg.inv(x) * 2, tg.f64[3, 3]).program
    assert other.function.__code__.co_filename != file  # of one name, and not of one text
    profile = cProfile.Profile()
    profile.runcall(program.function, np.eye(3))
    assert any(place[0] == file for place in pstats.Stats(profile).stats)  # type: ignore[attr-defined]
    try:
        program.function(np.zeros((3, 3)))
    except Exception as error:
        assert "f0(" in "".join(traceback.format_exception(error))
    else:
        raise AssertionError("expected an error")


def test_a_generated_kernel_shows_its_lines_when_it_is_emulated() -> None:
    text = "def reads_nowhere(w, block, blocks):\n    store(word_at(w, 0), load(word_at(w, 1)) + 1.0)\n"
    from tensorgraph.native.words import load, store, word_at

    function = from_text(text, {"load": load, "store": store, "word_at": word_at}, "trial")
    array = np.ones(4)
    with pytest.raises(IndexError) as raised:
        kernel(function, "float64").emulate(np.array([array.ctypes.data, 8]), [array])
    shown = "".join(traceback.format_exception(raised.value))
    assert "<tensorgraph trial " in shown and "load(word_at(w, 1)) + 1.0" in shown
