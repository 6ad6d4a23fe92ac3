"""The study as Optuna has it: in memory for what TPE and pruners ask, and as study.db for its dashboard and tools.

Both follow the slots' folders, which are the truth: a study goes on from the folders alone, and a study.db that lags
behind, is damaged or is gone is made from them. One process writes it, and workers never open it.
"""

from __future__ import annotations

import errno
import math
import os
import sqlite3
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from tensorgraph.files import MissingExtraError
from tensorgraph.tune.scales import Scale
from tensorgraph.tune.slots import Outcome
from tensorgraph.tune.space import Space, seed_of

__all__ = ["Database", "Record", "frozen"]

# what SQLite says, and what the operating system calls it
REFUSED = {
    "disk is full": errno.ENOSPC,
    "readonly database": errno.EROFS,
    "unable to open database": errno.EACCES,
    "disk I/O error": errno.EIO,
    "database is locked": errno.EBUSY,
}


def optuna_module() -> Any:
    """Optuna, or what to install."""
    try:
        import optuna
    except ImportError as error:
        raise MissingExtraError(
            'a study in a folder, TPE and pruning need Optuna: install it with `pip install "tensorgraph-engine[tune]"`'
        ) from error
    return optuna


@contextmanager
def quiet(optuna: Any) -> Iterator[None]:
    """Without Optuna's lines on standard error, and its warnings of what is known here."""
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        optuna.logging.set_verbosity(level)


def worst(direction: str) -> float:
    """The score of a trial that diverged."""
    return math.inf if direction == "minimize" else -math.inf


def frozen(
    space: Space, direction: str, slot: int, values: Mapping[str, Any], outcome: Outcome | None = None,
    reports: Mapping[int, float] | None = None,
) -> Any:  # fmt: skip
    """A trial as Optuna keeps it: running, or as it ended. Divergence is told as infinity, or it would be forgotten."""
    optuna = optuna_module()
    states = optuna.trial.TrialState
    ended = {"complete": states.COMPLETE, "diverged": states.COMPLETE, "pruned": states.PRUNED, "failed": states.FAIL}
    kept = space.stored(values)
    score = {"diverged": worst(direction), "failed": None}.get(outcome.state, outcome.score) if outcome else None
    about = {"slot": slot, "began": outcome.began if outcome else 0.0} | (
        {"reason": outcome.reason} if outcome and outcome.reason else {}
    )
    trial = optuna.trial.create_trial(
        state=ended[outcome.state] if outcome else states.RUNNING,
        value=score,
        params={key: value for key, (value, _) in kept.items()},
        distributions={key: scale.distribution() for key, (_, scale) in kept.items()},
        user_attrs=about,
        intermediate_values={s: worst(direction) if math.isnan(v) else v for s, v in (reports or {}).items()},
    )
    if outcome and outcome.began:
        trial.datetime_start = datetime.fromtimestamp(outcome.began)
        trial.datetime_complete = datetime.fromtimestamp(outcome.began + outcome.seconds)
    return trial


class Record:
    """An Optuna study in memory, and which of its trials is which slot's."""

    def __init__(self, space: Space, direction: str, seed: int, pruner: str | None) -> None:
        self._optuna = optuna = optuna_module()
        self.space, self.direction, self.seed = space, direction, seed
        made = optuna.pruners.NopPruner() if pruner is None else optuna.pruners.MedianPruner()
        with quiet(optuna):
            self.study = optuna.create_study(
                direction=direction, pruner=made, sampler=optuna.samplers.RandomSampler(seed=0)
            )
        self._numbers: dict[int, int] = {}
        self._steps: dict[int, set[int]] = {}

    def add(self, slot: int, values: Mapping[str, Any], outcome: Outcome | None, reports: Mapping[int, float]) -> None:
        """Put a trial into the study that runs, or has ended, unless it is there."""
        if slot not in self._numbers:
            with quiet(self._optuna):
                self._numbers[slot] = len(self._numbers)
                self._steps[slot] = set(reports)
                self.study.add_trial(frozen(self.space, self.direction, slot, values, outcome, reports))

    def propose(self, slot: int) -> dict[str, Any]:
        """Values by TPE, from what is known by now; the slot's own seed, so that a restart does not repeat itself."""
        optuna = self._optuna
        with quiet(optuna):
            self.study.sampler = optuna.samplers.TPESampler(seed=seed_of(self.seed, slot, "tpe"))
            trial = self.study.ask()
            trial.set_user_attr("slot", slot)
            values = self.space.filled(lambda name, key, scale: scale.value(_suggested(trial, key, scale)))
        self._numbers[slot], self._steps[slot] = trial.number, set()
        return values

    def _trial(self, slot: int) -> Any:
        storage, study = self.study._storage, self.study._study_id
        identity = storage.get_trial_id_from_study_id_trial_number(study, self._numbers[slot])
        return self._optuna.trial.Trial(self.study, identity)

    def finish(self, slot: int, outcome: Outcome, reports: Mapping[int, float]) -> None:
        """Tell how a trial ended, and what it reported since it was last looked at."""
        states = self._optuna.trial.TrialState
        state = {"failed": states.FAIL, "pruned": states.PRUNED}.get(outcome.state, states.COMPLETE)
        score = {"complete": outcome.score, "diverged": worst(self.direction)}.get(outcome.state)
        with quiet(self._optuna):
            list(self._fresh(slot, reports))
            if outcome.state == "pruned" and outcome.score is not None and not self._steps[slot]:
                self._trial(slot).report(outcome.score, 0)
            self.study.tell(self._numbers[slot], score, state=state)

    def judge(self, slot: int, reports: Mapping[int, float]) -> str:
        """Take in what a running trial reported since; why it should end, or nothing."""
        with quiet(self._optuna):
            for step, value in self._fresh(slot, reports):
                if self._trial(slot).should_prune():
                    return f"at step {step} it had {value:.4g}, which is worse than the median of the others"
        return ""

    def _fresh(self, slot: int, reports: Mapping[int, float]) -> Iterator[tuple[int, float]]:
        """Each report that was not known, when it is."""
        for step, value in reports.items():
            if step not in self._steps[slot]:
                self._trial(slot).report(worst(self.direction) if math.isnan(value) else value, step)
                self._steps[slot].add(step)
                yield step, value


def _suggested(trial: Any, key: str, scale: Scale) -> Any:
    """The sampler's choice of a stored value."""
    told = scale.distribution()
    if hasattr(told, "choices"):
        return trial.suggest_categorical(key, told.choices)
    suggest = trial.suggest_int if isinstance(told.low, int) else trial.suggest_float
    return suggest(key, told.low, told.high, log=told.log)


class Database:
    """study.db: the trials that ended, each written once.

    Parameters
    ----------
    path : Path
    name : str
        The study's name in it.
    space : Space
    direction : str
    """

    def __init__(self, path: Path, name: str, space: Space, direction: str) -> None:
        self._optuna = optuna_module()
        self.space, self.direction = space, direction
        self.note, self.path = "", path
        self._connections: list[sqlite3.Connection] = []
        self._storage: Any = None
        with _as_of_files(path):
            try:
                self._open(name)
            except Exception as error:
                self.close()
                if not path.exists() or not _is_damaged(error):
                    raise
                aside = path.with_name(f"{path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}")
                os.replace(path, aside)
                self.note = (
                    f"{os.fspath(path)!r} was damaged: it was moved to {aside.name!r} and is made anew from the slots"
                )
                self._open(name)

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path.absolute(), check_same_thread=False)
        self._connections.append(connection)
        # what a sudden loss of power may take from study.db is in the slots: no write waits for the disk
        connection.execute("PRAGMA synchronous=OFF")
        return connection

    def _open(self, name: str) -> None:
        optuna = self._optuna
        with quiet(optuna):
            # the path is no part of the address, in which ?, %20 and braces would mean something else
            storage = optuna.storages.RDBStorage("sqlite:///study.db", engine_kwargs={"creator": self._connect})
            self._storage = storage
            self.study = optuna.create_study(
                study_name=name, storage=storage, direction=self.direction, load_if_exists=True
            )
            trials = self.study.get_trials(deepcopy=False)
        # a slot that failed and was tried again is there once for each
        self._kept = {(trial.user_attrs.get("slot"), trial.user_attrs.get("began")) for trial in trials}

    def add(self, slot: int, values: Mapping[str, Any], outcome: Outcome, reports: Mapping[int, float]) -> None:
        """Write a trial that ended, unless it is there."""
        if (slot, outcome.began) not in self._kept:
            with quiet(self._optuna), _as_of_files(self.path):
                self.study.add_trial(frozen(self.space, self.direction, slot, values, outcome, reports))
            self._kept.add((slot, outcome.began))

    def close(self) -> None:
        """Let go of the file, also where Optuna failed half-way and has not."""
        if self._storage is not None:
            self._storage.remove_session()
            self._storage.engine.dispose()
            self._storage = None
        while self._connections:
            self._connections.pop().close()


@contextmanager
def _as_of_files(path: Path) -> Iterator[None]:
    """Have SQLite's words for what the system refused be the system's own."""
    try:
        yield
    except Exception as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, sqlite3.Error):
            cause = getattr(cause, "orig", None) or cause.__cause__
        number = next((number for said, number in REFUSED.items() if said in str(cause)), None)
        if cause is None or number is None:
            raise
        raise OSError(number, os.strerror(number), os.fspath(path)) from error


def _is_damaged(error: BaseException) -> bool:
    """Whether SQLite says that its file is none."""
    text = str(error)
    return any(said in text for said in ("malformed", "not a database", "no such table", "no such column", "corrupt"))
