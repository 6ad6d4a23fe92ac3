"""Each kernel of a plan held against NumPy, on the numbers of a call: for ``tensorgraph.compile(check=True)``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tensorgraph.compile.gradients import Gradient
from tensorgraph.compile.host_steps import Environment
from tensorgraph.compile.native_runner import NativeRunner
from tensorgraph.compile.plan import plan
from tensorgraph.compile.selection import Step
from tensorgraph.engine.cells import Buffer, Cell
from tensorgraph.graph.forms import array_function
from tensorgraph.graph.graph import Graph, Var

__all__ = ["CheckedRunner", "check_kernels"]

ULPS = 256  # that a kernel may be off for each of its equations, of the largest number that goes in or out


class CheckedRunner(NativeRunner):
    """A runner whose kernels are compared with NumPy before its first run."""

    is_checked = False

    def run(self, arrays: Sequence[Any]) -> list[Any]:
        if not self.is_checked:
            check_kernels(self.plan.graph, self.cells, arrays)
            self.is_checked = True
        return super().run(arrays)


def check_kernels(graph: Graph, cells: Sequence[Cell | Gradient], arrays: Sequence[Any]) -> None:
    """Run a graph's plan on copies of its cells, and each kernel's equations on NumPy, on what the kernel got.

    Raises
    ------
    RuntimeError
        Naming the kernel, its equations and their lines, and the numbers that differ.
    """
    made = plan(graph, apart=True)
    runner = NativeRunner(made, [Buffer(np.array(cell._value), name=cell.path) for cell in cells])
    runner.run(arrays)
    environment = runner.environment
    env = environment.template.copy()
    env[: len(arrays)] = arrays
    env[len(arrays) : len(arrays) + len(cells)] = [cell._value for cell in cells]
    for eq in graph.equations:
        if eq.is_arithmetic:
            _repeat(environment, eq, env)
    for step in made.steps:
        if step.call is None:
            continue
        for var in step.variables():
            environment.see(var, env)
        unit = _unit(step, environment, env)
        for eq in step.equations:
            _repeat(environment, eq, env)
        # what an op keeps for its derivative may have numbers that nobody reads, of sequences that have ended; the
        # derivative is compared
        kept = {var for eq in step.equations for var in eq.residuals}
        for var in step.outputs:
            if var in kept:
                continue
            _compare(step, var, runner.memory.view(var), env[environment.slot(var)], unit)


def _repeat(environment: Environment, eq: Any, env: list[Any]) -> None:
    """Run an equation on NumPy, from slots to slots."""
    step = environment.program.steps[environment.number_of[id(eq)]]
    with np.errstate(all="ignore"):
        results = array_function(eq, False)(*[env[p] if type(p) is int else [env[q] for q in p] for p in step.inputs])
    if len(eq.outputs) == 1 and not eq.op.signature.variadic:
        results = (results,)
    for slot, value in zip(step.outputs, results, strict=True):
        env[slot] = value


def _unit(step: Step, environment: Environment, env: list[Any]) -> tuple[float, float]:
    """The coarsest unit of the last place of what goes into a step, and the largest finite number."""
    given = [np.asarray(env[environment.slot(var)]) for var in step.variables()]
    floats = [a for a in given if a.dtype.kind == "f"]
    return max((float(np.finfo(a.dtype).eps) for a in floats), default=0.0), max(map(_largest, floats), default=0.0)


def _largest(array: Any) -> float:
    return float(np.max(np.abs(array[np.isfinite(array)], dtype=np.float64), initial=0.0))


def _compare(step: Step, var: Var, found: Any, expected: Any, unit: tuple[float, float]) -> None:
    expected = np.asarray(expected)
    if var.aval.dtype.kind != "f":
        wrong = found != expected
    else:
        coarsest, scale = max(unit[0], float(np.finfo(var.aval.dtype).eps)), max(unit[1], _largest(expected))
        allowed = ULPS * len(step.equations) * coarsest * scale
        with np.errstate(all="ignore"):
            near = np.abs(found.astype(np.float64) - expected.astype(np.float64)) <= allowed
            wrong = ~(near | (found == expected) | (np.isnan(found) & np.isnan(expected)))
    if not np.any(wrong):
        return
    at = tuple(int(i) for i in np.argwhere(wrong)[0])
    assert step.call is not None
    kernels = ", ".join(dict.fromkeys(record.kernel.name for record in step.call.records))
    ops = ", ".join(f"{eq.op.name} ({eq.source})" if eq.source is not None else eq.op.name for eq in step.equations)
    raise RuntimeError(
        f"check: the kernel {kernels} of {ops} gives {found[at]} at {at} of {var.aval}, where NumPy gives "
        f"{expected[at]}. Nothing was changed. Leave the function uncompiled, and report it with what explain() says"
    )
