"""A slot: the folder of one trial, and what its files say.

    slot-0007/
      slot.lock       held by the process that runs the trial; never by two
      config.json     the values and the seed, written by the study before the trial begins
      attempts.jsonl  who began the trial and when; and when its process was lost
      reports.jsonl   what the objective reported, a line each
      prune.json      that the study ends the trial, and why
      outcome.json    how it ended: written whole, by the process that ran it, and never changed
and beside them the files of a training run, where the objective keeps one there.
"""

from __future__ import annotations

import json
import math
import os
import socket
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from tensorgraph.files import atomic_write
from tensorgraph.train.run.folder import append_whole
from tensorgraph.train.run.lines import LineReader, as_line
from tensorgraph.tune.locks import lock

__all__ = ["STATES", "Outcome", "Slot"]

STATES = ("complete", "diverged", "pruned", "failed")


@dataclass(frozen=True)
class Outcome:
    """How a trial ended.

    Attributes
    ----------
    slot : int
    state : str
        ``"complete"``; ``"diverged"``: its score or its training was no finite number; ``"pruned"``: ended by the
        study; ``"failed"``: an error, or its process was lost too often.
    score : float or None
        What the objective gave; of a pruned trial what it reported last; else None.
    reason : str
        Why it is not complete; empty where it is.
    seconds : float
        The last attempt's.
    began : float
        Unix seconds.
    traceback : str
        Of an error.
    """

    slot: int
    state: str
    score: float | None = None
    reason: str = ""
    seconds: float = 0.0
    began: float = 0.0
    traceback: str = ""

    def as_json(self) -> bytes:
        return json.dumps(asdict(self), indent=1, allow_nan=False).encode()


def outcome_from(data: bytes, slot: int) -> Outcome | None:
    """Read an outcome back; None where it is damaged."""
    try:
        said = json.loads(data)
        made = Outcome(**{field.name: said[field.name] for field in fields(Outcome)})
        number = made.score is None or (isinstance(made.score, int | float) and math.isfinite(made.score))
        good = (
            made.slot == slot
            and made.state in STATES
            and number
            and (made.state != "complete" or made.score is not None)
        )
    except (ValueError, KeyError, TypeError):
        return None
    return made if good else None


def lines_of(path: Path) -> list[dict[str, Any]]:
    """The objects of a file of JSON lines; a torn line is passed over."""
    return LineReader(path, lenient=True).new()


def append_line(path: Path, said: Mapping[str, Any]) -> None:
    """Append an object as a line, whole; after a line that was torn it begins a new one."""
    handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        size = os.fstat(handle).st_size
        torn = size > 0 and os.pread(handle, 1, size - 1) != b"\n"
        append_whole(handle, b"\n" * torn + as_line(dict(said)))
    except OSError as error:
        raise OSError(error.errno, error.strerror, os.fspath(path)) from error
    finally:
        os.close(handle)


@dataclass(frozen=True)
class Slot:
    """The folder of one trial."""

    folder: Path
    number: int

    @classmethod
    def of(cls, study: Path, number: int) -> Slot:
        """The slot of this number in a study's folder."""
        return cls(study / f"slot-{number:04d}", number)

    def lock(self, wait: float = 0.0) -> AbstractContextManager[None]:
        """Hold the slot; see `locks.lock`."""
        return lock(self.folder / "slot.lock", f"slot {self.number} ({os.fspath(self.folder)!r})", wait=wait)

    # what the study writes -------------------------------------------------------------------------------------------

    def write_config(self, values: Mapping[str, Any], seed: int) -> None:
        """Fix the trial's values, once and for all."""
        self.folder.mkdir(mode=0o700, exist_ok=True)
        said = {"slot": self.number, "values": dict(values), "seed": seed}
        data = json.dumps(said, indent=1, allow_nan=False).encode()
        atomic_write(self.folder / "config.json", data, sync=False, private=True)  # where it is lost, nothing has begun

    def config(self) -> dict[str, Any] | None:
        """Values by name; lists where there are several. None where they are not fixed yet."""
        try:
            said = json.loads((self.folder / "config.json").read_bytes())
            values: dict[str, Any] = dict(said["values"])
        except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
            return None
        return values

    def write_prune(self, reason: str) -> None:
        """End the trial at its next report."""
        atomic_write(self.folder / "prune.json", json.dumps({"reason": reason}).encode(), sync=False, private=True)

    def note_lost(self, reason: str) -> None:
        """Keep that the process which ran the trial was lost."""
        append_line(self.folder / "attempts.jsonl", {"event": "lost", "reason": reason, "time": time.time()})

    def losses(self) -> list[str]:
        """Why its processes were lost, one an attempt that had begun."""
        begun, lost = False, []
        for said in lines_of(self.folder / "attempts.jsonl"):
            if said.get("event") == "lost" and begun:
                lost.append(str(said.get("reason")))
            begun = said.get("event") == "begin"
            lost = [] if said.get("event") == "retry" else lost
        return lost

    def forget(self) -> None:
        """Let the trial run again; the losses before do not count any more, and how it ended is kept aside."""
        append_line(self.folder / "attempts.jsonl", {"event": "retry", "time": time.time()})
        (self.folder / "outcome.json").replace(self.folder / "outcome-before.json")

    # what the trial's own process writes -----------------------------------------------------------------------------

    def note_begin(self) -> None:
        """Keep that this process begins an attempt."""
        said = {"event": "begin", "pid": os.getpid(), "host": socket.gethostname(), "time": time.time()}
        append_line(self.folder / "attempts.jsonl", said)

    def report(self, step: int, value: float) -> None:
        """Keep what the objective reports."""
        append_line(self.folder / "reports.jsonl", {"step": step, "value": value, "time": time.time()})

    def reports(self) -> dict[int, float]:
        """What was reported by step, the last of each; nan where it was no finite number."""
        found: dict[int, float] = {}
        for said in lines_of(self.folder / "reports.jsonl"):
            step, value = said.get("step"), said.get("value")
            if isinstance(step, int) and isinstance(value, int | float | None):
                found[step] = math.nan if value is None else float(value)
        return dict(sorted(found.items()))

    def pruned(self) -> str:
        """Why the study ends the trial; empty where it does not."""
        try:
            return str(json.loads((self.folder / "prune.json").read_bytes())["reason"])
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return ""

    def write_outcome(self, outcome: Outcome, sync: bool = True) -> None:
        """Keep how the trial ended."""
        atomic_write(self.folder / "outcome.json", outcome.as_json(), sync=sync, private=True)

    def outcome(self) -> Outcome | None:
        """How the trial ended; None where it has not, or where the file is damaged, so that it runs again."""
        try:
            return outcome_from((self.folder / "outcome.json").read_bytes(), self.number)
        except (FileNotFoundError, NotADirectoryError):
            return None
