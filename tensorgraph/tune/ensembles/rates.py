"""Learning rates of many networks: each by its own schedule, all of them computed at once where they are alike."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tensorgraph.engine.aval import Aval
from tensorgraph.graph.trace import trace
from tensorgraph.optim.optimizer import Optimizer
from tensorgraph.optim.schedules import Schedule
from tensorgraph.tune.ensembles.alike import common, shape_of
from tensorgraph.tune.ensembles.batched import batched_graph

__all__ = ["Rates"]

Array = np.ndarray[Any, Any]
COUNT = Aval((), np.int64)


class Rates:
    """The learning rates of optimisers that have the same groups.

    Parameters
    ----------
    optimizers : sequence of Optimizer

    Attributes
    ----------
    now : ndarray of float64, shape (optimisers,)
        The rate of each optimiser, of its last step.
    """

    def __init__(self, optimizers: Sequence[Optimizer]) -> None:
        first = optimizers[0]
        places = [-1, *[i for i, group in enumerate(first.groups) if "lr" in group.cells]]
        owners = {place: [o if place < 0 else o.groups[place] for o in optimizers] for place in places}
        self.paths = {place: of[0].cells["lr"].path for place, of in owners.items()}
        self.fixed = {place: np.array([float(o.cells["lr"]) for o in of]) for place, of in owners.items()}
        self.scheduled = {
            place: _Curves([(lane, o.schedule) for lane, o in enumerate(of) if o.schedule is not None])
            for place, of in owners.items()
            if any(o.schedule is not None for o in of)
        }
        self.now = self.fixed[-1]

    def at(self, step: int, epoch: int) -> dict[str, Array]:
        """The rates that follow schedules, by the path of their cell, for the step after so many in this epoch.

        Raises
        ------
        ValueError
            Where a schedule gives what is no learning rate.
        """
        found = {}
        for place, curves in self.scheduled.items():
            rates = self.fixed[place].copy()
            curves.put(rates, step, epoch)
            wrong = np.flatnonzero(~((rates >= 0) & (rates < math.inf)))
            if wrong.size:
                raise ValueError(
                    f"a schedule gave {rates[wrong[0]]} for step {step}, epoch {epoch}; a learning rate is finite and "
                    "not negative"
                )
            found[self.paths[place]] = rates
            if place < 0:
                self.now = rates
        return found


class _Curves:
    """The schedules of some optimisers, by the shape of their graphs."""

    def __init__(self, pairs: Sequence[tuple[int, Schedule]]) -> None:
        known: dict[int, Any] = {}
        alike: dict[Any, list[tuple[int, Schedule, Any]]] = {}
        for lane, schedule in pairs:
            if id(schedule) not in known:
                known[id(schedule)] = _traced(schedule)
            graph, shape, numbers = known[id(schedule)]
            alike.setdefault(shape, []).append((lane, schedule, (graph, numbers)))
        self.loops = [(lane, schedule) for lane, schedule, _ in alike.pop(None, ())]
        self.batches = []
        for found in alike.values():
            graph, given = common([pair for _, _, pair in found])
            many = batched_graph(graph, len(found), (None, None, *[0] * len(given)))
            lanes = np.array([lane for lane, _, _ in found])
            self.batches.append((lanes, many.program, [np.stack(column) for column in given]))

    def put(self, rates: Array, step: int, epoch: int) -> None:
        """Write the rates of these optimisers to their places."""
        counts = np.asarray(step), np.asarray(epoch)
        for lanes, program, given in self.batches:
            rates[lanes] = program.run([*counts, *given])[0]
        for lane, schedule in self.loops:
            rates[lane] = schedule(step, epoch)


def _traced(schedule: Schedule) -> tuple[Any, Any, list[Any]]:
    """The graph of a schedule, its shape and its numbers; None for one that looks at the count itself."""
    try:
        graph = trace(lambda step, epoch: schedule.at(step, epoch), COUNT, COUNT)
    except Exception:  # a function of the user's may do anything with a count; called with numbers it is right
        return None, None, []
    return graph, *shape_of(graph)
