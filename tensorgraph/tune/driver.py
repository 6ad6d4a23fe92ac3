"""Running a study: slots are given to workers, what comes back is kept, and what is lost is run again.

The plan:
1. hold the study's lock, so that one process drives it;
2. slots without an outcome wait; each gets its values, which are on the disk before its trial begins;
3. as many as there are workers run; an outcome is on the disk before it arrives here, so a driver that dies loses none;
4. a slot whose process is lost waits again, until it was lost more often than it may be: then that is its outcome;
5. Ctrl-C ends what runs and leaves it unfinished: the next run goes on with it.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tensorgraph.engine.aval import default_dtype
from tensorgraph.tune.engines import Engine, Lost, engine_named
from tensorgraph.tune.live import Shown, shown_on
from tensorgraph.tune.locks import LockedError, lock
from tensorgraph.tune.record import Database, Record
from tensorgraph.tune.results import StudyError
from tensorgraph.tune.slots import Outcome, Slot
from tensorgraph.tune.space import seed_of
from tensorgraph.tune.worker import LoadError, run_slot

__all__ = ["Driver", "drive"]

LOOK = 0.1  # seconds between two looks at reports and at the clock
HOLD = 10.0  # seconds that a lost process is waited for, which may still hold its slot
SAME_ERRORS = 3  # first trials that fail alike, after which a study is not gone on with


def drive(
    study: Any, objective: Callable[..., Any], trials: int, engine: str | Engine, workers: int, retries: int,
    threads: int | None, progress: bool,
) -> None:  # fmt: skip
    """Run a study's slots up to this number; see `Study.run`."""
    try:
        with lock(study.folder / "study.lock", f"the study {os.fspath(study.folder)!r}"), _interrupts() as interrupt:
            study.refresh()
            made = engine_named(engine, objective, workers, threads) if isinstance(engine, str) else engine
            kind: type[Driver] = Driver
            if study.batch > 1:
                from tensorgraph.tune.groups import GroupDriver as kind
            kind(study, made, trials, retries, interrupt, shown_on(progress, study, trials, made)).run()
    except LockedError:
        raise
    except (OSError, LoadError) as error:
        said = str(error)
        if isinstance(error, OSError) and error.strerror:
            said = error.strerror if error.filename is None else f"{error.strerror}: {error.filename!r}"
        raise StudyError(
            f"the study cannot go on: {said}; the {len(study)} of {trials} trials that ended are kept: put that right "
            "and run it again"
        ) from error


class Driver:
    """One run of a study."""

    def __init__(
        self, study: Any, engine: Engine, trials: int, retries: int, interrupt: _Interrupt, shown: Shown
    ) -> None:
        self.study, self.engine, self.trials, self.retries = study, engine, trials, retries
        self.interrupt, self.shown = interrupt, shown
        self.waiting = deque(slot for slot in range(trials) if slot not in study._results)
        self.running: dict[int, Mapping[str, Any]] = {}
        self.record: Record | None = None
        self.database: Database | None = None
        self.unwritten: deque[Outcome] = deque()
        self.prepare()

    def prepare(self) -> None:
        """Get ready to give slots to workers."""

    @property
    def busy(self) -> bool:
        """Whether anything waits or runs."""
        return bool(self.waiting or self.running)

    def run(self) -> None:
        """Until every slot has an outcome, or Ctrl-C."""
        study = self.study
        if study.sampler == "tpe" or study.pruner:
            self._remember()
        self.unwritten.extend(study._ended.values())
        study.stopped = "trials"
        try:
            with self.shown:
                while self.busy:
                    self.submit()
                    self._write()
                    for slot, came in self._done():
                        self.take(slot, came)
                    self.look()
                    if self.interrupt.asked:
                        raise KeyboardInterrupt
            self.engine.close()
        except KeyboardInterrupt:
            self._stop()
        except BaseException:
            self.engine.cancel()
            raise
        finally:
            self._finish()

    def _remember(self) -> None:
        """Tell the record of trials that ended before, and of those that will go on."""
        study = self.study
        self.record = Record(study.space, study.direction, study.seed, study.pruner)
        for outcome in study._ended.values():
            slot = Slot.of(study.folder, outcome.slot)
            self.record.add(outcome.slot, study._results[outcome.slot].values, outcome, slot.reports())

    def submit(self) -> None:
        """Give the free workers something to do."""
        while self.waiting and len(self.running) < self.engine.workers:
            number = self.waiting.popleft()
            task = self.task(number)
            self.running[number] = task["values"]
            self.shown.began(number, task["values"])
            self.engine.submit(run_slot, number, task)

    def task(self, number: int) -> dict[str, Any]:
        """What a worker is told of a slot, whose values are on the disk from now on."""
        study = self.study
        slot = Slot.of(study.folder, number)
        kept = slot.config()
        values = study._fitted(kept) if kept is not None else self._values(number)
        seed = seed_of(study.seed, number)
        if kept is None:
            slot.write_config(values, seed)
        if self.record is not None:
            self.record.add(number, values, None, slot.reports())
        task = {
            "folder": os.fspath(slot.folder.absolute()), "slot": number, "values": values, "seed": seed,
            "names": list(study.space), "dtype": None if self.engine.local else str(default_dtype()),
            "pruning": study.direction if study.pruner else None, "sync": study.kept,
        }  # fmt: skip
        if self.engine.local:
            task |= {"look": self.look, "interrupted": lambda: self.interrupt.asked}
        return task

    def _done(self) -> list[tuple[int, Any]]:
        """What has come back; in this process the objectives run here, and Ctrl-C ends them at once."""
        self.interrupt.raises = self.engine.local and not self.interrupt.asked
        try:
            return self.engine.done(LOOK)
        finally:
            self.interrupt.raises = False

    def _values(self, number: int) -> dict[str, Any]:
        """What the sampler chooses."""
        if self.study.sampler == "tpe" and self.record is not None:
            return self.record.propose(number)
        values: dict[str, Any] = self.study.values(number)
        return values

    def take(self, number: int, came: Any) -> None:
        """What came of a slot: an outcome, a lost process, or that it could not be run."""
        values = self.running.pop(number)
        if isinstance(came, LockedError):  # an orphan of an earlier driver, which is about to end
            self.shown.told(str(came))
            self.waiting.append(number)
            return
        if isinstance(came, BaseException):
            raise came
        if isinstance(came, Lost):
            came = self.outcome_of_lost(Slot.of(self.study.folder, number), came)
            if came is None:
                self.waiting.appendleft(number)
                return
        self.study._take(came, values)
        if self.record is not None:
            self.record.finish(number, came, Slot.of(self.study.folder, number).reports())
        self.unwritten.append(came)
        self.shown.ended(came)
        self._check_errors(came)

    def outcome_of_lost(self, slot: Slot, lost: Lost) -> Outcome | None:
        """The outcome of a slot whose process is gone: none while it may be tried again."""
        try:
            with slot.lock(wait=HOLD):
                found = slot.outcome()
                if found is not None:  # it was written, and its process ended before telling
                    return found
                slot.note_lost(lost.reason)
                losses = slot.losses()
                self.shown.told(f"slot {slot.number}: {lost.reason}; it runs again")
                if len(losses) <= self.retries:
                    return None
                times = "once" if len(losses) == 1 else f"{len(losses)} times"
                why = f"its process was lost {times}, at last so: {losses[-1]}"
                outcome = Outcome(slot.number, "failed", None, why, began=time.time())
                slot.write_outcome(outcome)
        except LockedError:  # it lives, and only its engine lost sight of it
            return None
        return outcome

    def _check_errors(self, outcome: Outcome) -> None:
        """A study whose first trials all fail in the same way has a wrong objective."""
        ended = self.study.trials
        if outcome.state == "failed" and outcome.traceback and len(ended) == SAME_ERRORS < self.trials:
            kinds = {result.reason.partition(":")[0] for result in ended if result.state == "failed"}
            if len(kinds) == 1 and all(result.state == "failed" for result in ended):
                raise StudyError(
                    f"every trial failed, the first {len(ended)} all so: {ended[0].reason}\n{outcome.traceback}"
                    "put the objective right, call study.retry(), and run the study again"
                )

    def look(self) -> None:
        """Take in what the running trials reported, end those that are worse, and show how it stands."""
        if self.record is not None and self.study.pruner:
            for number in self.running:
                slot = Slot.of(self.study.folder, number)
                reason = self.record.judge(number, slot.reports())
                if reason and not slot.pruned():
                    slot.write_prune(reason)
        self.shown.look()

    # what is not urgent ----------------------------------------------------------------------------------------------

    def _write(self) -> None:
        """Bring study.db up to date while the workers work."""
        study = self.study
        if not study.kept:
            self.unwritten.clear()
        while self.unwritten:
            if self.database is None:
                name = study.folder.absolute().name
                self.database = Database(study.folder / "study.db", name, study.space, study.direction)
                if self.database.note:
                    study.notes.append(self.database.note)
            outcome = self.unwritten.popleft()
            slot = Slot.of(study.folder, outcome.slot)
            self.database.add(outcome.slot, study._results[outcome.slot].values, outcome, slot.reports())

    def _finish(self) -> None:
        """Let go of the database, up to date where that is still possible."""
        failing = sys.exc_info()[0] is not None
        try:
            self._write()
        except Exception:
            if not failing:
                raise
        finally:
            if self.database is not None:
                self.database.close()

    def _stop(self) -> None:
        """Ctrl-C: end what runs, keep what ended, say how to go on."""
        self.study.stopped = "interrupted"
        self.engine.cancel()
        self.study.refresh()
        ended = len(self.study)
        begun = len([slot for slot in self.running if slot not in self.study._results])
        kept = f" in {os.fspath(self.study.folder)!r}" if self.study.kept else ""
        going = f"; {begun} had begun and go on from their checkpoints, where they keep any" if begun else ""
        told = f"interrupted: {ended} of {self.trials} trials are kept{kept}{going}; run the same command to go on"
        print(told, file=sys.stderr, flush=True)


class _Interrupt:
    """Whether Ctrl-C was pressed, and whether it raises where it comes: inside an objective of this process."""

    asked = False
    raises = False


@contextmanager
def _interrupts() -> Iterator[_Interrupt]:
    """Ctrl-C is kept in mind inside, also where a training run inside an objective catches what it raises.

    A handler of the caller's own is left in place.
    """
    interrupt = _Interrupt()
    ours = threading.current_thread() is threading.main_thread()
    if not ours or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield interrupt
        return

    def handle(number: int, frame: Any) -> None:
        again, interrupt.asked = interrupt.asked, True
        if interrupt.raises or again:
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, handle)
    try:
        yield interrupt
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
