"""A trial in the process that runs it: the slot is locked, the random states are its own, the outcome is written.

The plan: hold the slot; if it has an outcome by now, give that; keep that an attempt begins; call the objective with a
default seed of the trial's own; whatever comes of it becomes an outcome, which is on the disk before it is told.
"""

from __future__ import annotations

import errno
import math
import os
import pickle
import random
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tensorgraph import random as draws
from tensorgraph.engine import random as states
from tensorgraph.engine.aval import set_default_dtype
from tensorgraph.engine.tape import INTERNAL
from tensorgraph.tune.slots import Outcome, Slot
from tensorgraph.tune.trial import Pruned, Trial

__all__ = ["ORPHANS", "LoadError", "loaded", "outcome_of", "own_random_states", "run_slot", "watch_parent"]

ORPHANS = 10.0  # seconds that a slot's orphan of a driver that died is waited for; it ends itself sooner
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # the disk cannot take any more
LOOK = 0.25  # seconds between two looks at the parent


class LoadError(RuntimeError):
    """The objective did not arrive in the worker; the message says why."""


def run_slot(objective: Callable[[Trial], Any] | bytes, task: Mapping[str, Any]) -> Outcome:
    """Run one trial in this process.

    Parameters
    ----------
    objective : callable or bytes
        The user's function, or what `cloudpickle.dumps` made of it.
    task : dict
        ``folder``, ``slot``, ``values``, ``seed``, ``names`` (all of the space), ``dtype`` (the default one, or None
        where it stays), ``pruning`` (the study's direction where it has a pruner), ``sync`` (whether the outcome waits
        for the disk), and where the driver is this process ``look`` (called at reports) and ``interrupted`` (asked at
        the end).

    Returns
    -------
    Outcome
        Which is in the slot's folder by then.
    """
    slot = Slot(Path(task["folder"]), int(task["slot"]))
    with slot.lock(wait=ORPHANS):
        done = slot.outcome()
        if done is not None:
            return done
        function = loaded(objective)
        if task["dtype"] is not None:
            set_default_dtype(task["dtype"])
        slot.note_begin()
        trial = Trial(slot, task["values"], task["seed"], tuple(task["names"]), task.get("look"), task["pruning"])
        began, clock, process = time.time(), time.perf_counter(), os.getpid()
        with own_random_states(trial.seed):
            outcome = outcome_of(function, trial, slot)
        if os.getpid() != process:  # a child that the objective forked: the trial and the study are its parent's
            os._exit(0 if outcome.state == "complete" else 1)
        outcome = replace(outcome, began=began, seconds=time.perf_counter() - clock)
        interrupted = task.get("interrupted")
        if interrupted is not None and interrupted():
            raise KeyboardInterrupt  # which the objective has caught: what it gave is not the whole trial's
        slot.write_outcome(outcome, task["sync"])
    return outcome


def outcome_of(function: Callable[[Trial], Any], trial: Trial, slot: Slot) -> Outcome:
    """What comes of calling the objective."""
    try:
        score = _number(function(trial))
    except Pruned as pruned:
        reported = [value for value in slot.reports().values() if math.isfinite(value)]
        return Outcome(slot.number, "pruned", reported[-1] if reported else None, str(pruned))
    except FloatingPointError as error:
        return Outcome(slot.number, "diverged", None, _one_line(error), traceback=traceback.format_exc())
    except (Exception, SystemExit) as error:
        if isinstance(error, OSError) and error.errno in FULL:
            raise  # no fault of the trial's values: the study stops, and this slot goes on later
        return Outcome(slot.number, "failed", None, _one_line(error), traceback=traceback.format_exc())
    if not math.isfinite(score):
        return Outcome(slot.number, "diverged", None, f"the objective gave {score}")
    return Outcome(slot.number, "complete", score)


def _number(score: Any) -> float:
    """The objective's result as a float."""
    if not isinstance(score, str | bytes | bool | np.bool_) and score is not None and getattr(score, "shape", ()) == ():
        try:
            return float(score)
        except (TypeError, ValueError):
            pass
    said = f" of shape {score.shape}" if hasattr(score, "shape") else ""
    raise TypeError(f"the objective must return a number, got {type(score).__name__}{said}; return the dev loss")


def _one_line(error: BaseException) -> str:
    """An error and the user's line that raised it."""
    every = traceback.walk_tb(error.__traceback__)
    lines = [(f.f_code.co_filename, line) for f, line in every if f.f_globals.get("__package__") not in INTERNAL]
    where = f" ({os.path.basename(lines[-1][0])}, line {lines[-1][1]})" if lines else ""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:500]}{where}" if text else f"{type(error).__name__}{where}"


_arrived: dict[int, tuple[bytes, Callable[[Trial], Any]]] = {}


def loaded(objective: Callable[[Trial], Any] | bytes) -> Callable[[Trial], Any]:
    """The user's function, read once a process."""
    if not isinstance(objective, bytes):
        return objective
    kept = _arrived.get(len(objective))
    if kept is None or kept[0] != objective:
        try:
            kept = objective, pickle.loads(objective)  # it came over the pool's own pipe, not from a file
        except Exception as error:
            raise LoadError(
                f"a worker cannot read the objective: {type(error).__name__}: {error}; what it imports must be "
                "importable in the workers too: install it, or define the objective in the script itself"
            ) from error
        _arrived.clear()
        _arrived[len(objective)] = kept
    return kept[1]


@contextmanager
def own_random_states(seed: int) -> Iterator[None]:
    """The library's, Python's and NumPy's default random numbers from this seed inside, and as they were afterwards."""
    kept = states.process.state.numpy().copy(), random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        draws.seed(seed)
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        yield
    finally:
        states.process.state.assign(kept[0])
        random.setstate(kept[1])
        np.random.set_state(kept[2])  # noqa: NPY002


def watch_parent(parent: int) -> None:
    """End this process soon after the one that started it has ended: nobody waits for its result any more."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(LOOK)
        os._exit(1)

    if hasattr(os, "fork"):  # elsewhere a process keeps the number of a parent that has ended
        threading.Thread(target=watch, name="tensorgraph-tune-parent", daemon=True).start()
