"""Slots in groups: a study with ``batch=32`` runs slots 0 to 31 as one task, then 32 to 63, and so on.

Which slots are a group follows from their numbers alone. A group whose process was lost runs again whole, and after
that slot by slot, so that one that ends its process does not use up its neighbours' retries. Scores do not depend on
it: networks side by side have the bits that each has alone.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from tensorgraph.engine.aval import set_default_dtype
from tensorgraph.tune.driver import Driver
from tensorgraph.tune.engines import Lost
from tensorgraph.tune.locks import LockedError
from tensorgraph.tune.slots import Outcome, Slot
from tensorgraph.tune.trial import Trial
from tensorgraph.tune.worker import ORPHANS, loaded, outcome_of, own_random_states

__all__ = ["GroupDriver", "run_group"]


def run_group(objective: Callable[..., Any] | bytes, task: Mapping[str, Any]) -> list[Outcome]:
    """Run the trials of a group in this process, at once.

    Parameters
    ----------
    objective : TrainingObjective or bytes
        Or what `cloudpickle.dumps` made of it.
    task : dict
        ``tasks``: of each slot, as `tensorgraph.tune.worker.run_slot` takes them.

    Returns
    -------
    list of Outcome
        Which are in the slots' folders by then; one that was there stays.
    """
    tasks = task["tasks"]
    slots = [Slot(Path(one["folder"]), int(one["slot"])) for one in tasks]
    with ExitStack() as held:
        for slot in slots:
            held.enter_context(slot.lock(wait=ORPHANS))
        done = {slot.number: outcome for slot in slots if (outcome := slot.outcome()) is not None}
        if len(done) == len(slots):
            return list(done.values())
        function: Any = loaded(objective)
        if tasks[0]["dtype"] is not None:
            set_default_dtype(tasks[0]["dtype"])
        for slot in slots:
            if slot.number not in done:
                slot.note_begin()
        trials = [
            Trial(slot, one["values"], one["seed"], tuple(one["names"]), one.get("look"))
            for slot, one in zip(slots, tasks, strict=True)
        ]
        began, clock = time.time(), time.perf_counter()
        with own_random_states(trials[0].seed):
            scores = function.together(trials, done)
        seconds = (time.perf_counter() - clock) / len(trials)
        interrupted = tasks[0].get("interrupted")
        if interrupted is not None and interrupted():
            raise KeyboardInterrupt
        for slot, trial, score, one in zip(slots, trials, scores, tasks, strict=True):
            if slot.number not in done:
                made = outcome_of(_giving(score), trial, slot)
                done[slot.number] = replace(made, began=began, seconds=seconds)
                slot.write_outcome(done[slot.number], one["sync"])
    return [done[slot.number] for slot in slots]


def _giving(score: float | Exception) -> Callable[[Any], float]:
    """What its objective alone would be: a function that gives the score, or raises."""

    def given(_: Any) -> float:
        if isinstance(score, Exception):
            raise score
        return score

    return given


class GroupDriver(Driver):
    """One run of a study whose slots run in groups."""

    def prepare(self) -> None:
        size = self.study.batch
        open_slots = set(self.waiting)
        groups = [range(start, min(start + size, self.trials)) for start in range(0, self.trials, size)]
        self.lost: set[int] = set()  # slots of groups that were lost before
        self.groups: dict[int, tuple[int, ...]] = {}  # those that run, by their first slot
        self.queue = deque(tuple(group) for group in groups if not open_slots.isdisjoint(group))

    @property
    def busy(self) -> bool:
        return bool(self.queue or self.groups)

    def submit(self) -> None:
        while self.queue and len(self.groups) < self.engine.workers:
            group = self.queue.popleft()
            tasks = [self.task(number) for number in group]
            for task in tasks:
                if task["slot"] not in self.study._results:
                    self.running[task["slot"]] = task["values"]
                    self.shown.began(task["slot"], task["values"])
            self.groups[group[0]] = group
            self.engine.submit(run_group, group[0], {"tasks": tasks})

    def take(self, number: int, came: Any) -> None:
        group = self.groups.pop(number)
        open_slots = [slot for slot in group if slot in self.running]
        if isinstance(came, LockedError):
            self.shown.told(str(came))
            for slot in open_slots:
                del self.running[slot]
            self.queue.append(group)
        elif isinstance(came, Lost):
            left = []
            for slot in open_slots:
                outcome = self.outcome_of_lost(Slot.of(self.study.folder, slot), came)
                if outcome is None:
                    left.append(slot)
                    del self.running[slot]
                else:
                    super().take(slot, outcome)
            self._again(group, left)
        elif isinstance(came, BaseException):
            raise came
        else:
            for outcome in came:
                if outcome.slot in self.running:
                    super().take(outcome.slot, outcome)

    def _again(self, group: tuple[int, ...], left: list[int]) -> None:
        """Wait once more: whole the first time, then one by one."""
        if not left:
            return
        if self.lost.isdisjoint(left):
            self.queue.appendleft(group)
        else:
            self.queue.extendleft((slot,) for slot in reversed(left))
        self.lost.update(left)
