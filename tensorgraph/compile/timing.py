"""How long each step of a plan takes: its kernels run again and again, on copies of the cells."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from tensorgraph.compile.alike import places_in
from tensorgraph.compile.cell_memory import Binding
from tensorgraph.compile.native_runner import NativeRunner
from tensorgraph.compile.plan import Plan
from tensorgraph.compile.selection import Step
from tensorgraph.engine.cells import Buffer
from tensorgraph.native.tape import Tape

__all__ = ["step_seconds"]

ROUNDS = 7
LEAST = 1e-3  # seconds of a round
AGAIN, LITTLE = 16, 1 << 16  # how often a step is on its tape that reads and writes fewer bytes, as a call takes longer


class TimedRunner(NativeRunner):
    """A runner that has a tape of each step beside its own."""

    def _binding(self, written: set[Any]) -> Binding:
        self.parts: list[tuple[Tape, int] | None] = [
            None if step.call is None else (self.memory.tape(step.call.records * times), times)
            for step in self.plan.steps
            for times in (_times(step),)
        ]
        return super()._binding(written)


def step_seconds(plan: Plan, cells: Sequence[Any], arrays: Sequence[Any]) -> list[float]:
    """Seconds of each step, the median of some rounds; NaN of those that NumPy runs. No cell is changed.

    Parameters
    ----------
    plan : Plan
    cells : sequence of ndarray
        The numbers of the graph's cells.
    arrays : sequence
        Arguments, as of `Runner.run`.
    """
    copies = [Buffer(np.array(value), name=decl.path) for value, decl in zip(cells, plan.graph.cells, strict=True)]
    runner = TimedRunner(plan, copies)
    runner.run(arrays)  # words say where arrays are from then on
    return [float("nan") if part is None else _seconds(part[0]) / part[1] for part in runner.parts]


def _times(step: Step) -> int:
    places = [] if step.call is None else [*places_in([*step.call.inputs, *step.call.outputs])]
    return AGAIN if sum(place.nbytes for place in places) < LITTLE else 1


def _seconds(tape: Tape) -> float:
    tape.run()
    began = time.perf_counter()
    tape.run()
    times = max(1, min(10_000, int(LEAST / max(time.perf_counter() - began, 1e-8))))
    found = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for _ in range(times):
            tape.run()
        found.append((time.perf_counter() - began) / times)
    return statistics.median(found)
