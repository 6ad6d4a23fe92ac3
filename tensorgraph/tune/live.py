"""A study on the screen: a table of what runs on a terminal, a line a trial elsewhere."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from tensorgraph.tune.slots import Outcome, Slot
from tensorgraph.tune.tables import counted, shown

__all__ = ["Shown", "duration", "progress_of", "shown_on"]

EVERY = 0.5  # seconds between two pictures of the table
TAIL = 4096  # bytes at the end of a run's events in which its last epoch is looked for


def shown_on(progress: bool, study: Any, trials: int, engine: Any, stream: TextIO | None = None) -> Shown:
    """What shows a study: nothing, a table where rich is installed and writes to a terminal, else lines."""
    stream = sys.stderr if stream is None else stream
    if not progress or stream is None or stream.closed:
        return Shown(study, trials, engine)
    if stream.isatty():
        try:
            return Table(study, trials, engine, stream)
        except ImportError:
            pass
    return Lines(study, trials, engine, stream)


class Shown:
    """Shows nothing, and knows how long the rest will take."""

    def __init__(self, study: Any, trials: int, engine: Any) -> None:
        self.study, self.trials, self.engine = study, trials, engine
        self.began_at: dict[int, tuple[float, Mapping[str, Any]]] = {}
        self.seconds: list[float] = []

    def __enter__(self) -> Shown:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        pass

    def began(self, slot: int, values: Mapping[str, Any]) -> None:
        self.began_at[slot] = time.monotonic(), values

    def ended(self, outcome: Outcome) -> None:
        self.began_at.pop(outcome.slot, None)
        self.seconds.append(outcome.seconds)

    def told(self, line: str) -> None:
        """Something that a person may want to know."""

    def look(self) -> None:
        """Time has passed."""

    def left(self) -> str:
        """About how long until the last trial ends."""
        rest = self.trials - len(self.study)
        if not self.seconds or rest <= 0:
            return ""
        mean = math.fsum(self.seconds) / len(self.seconds)
        running = math.fsum(min(time.monotonic() - began, mean) for began, _ in self.began_at.values())
        return f"about {duration(max(rest * mean - running, 0.0) / min(self.engine.workers, rest))} left"


class Lines(Shown):
    """One line a trial."""

    def __init__(self, study: Any, trials: int, engine: Any, stream: TextIO) -> None:
        super().__init__(study, trials, engine)
        self.stream = stream

    def ended(self, outcome: Outcome) -> None:
        super().ended(outcome)
        result = self.study._results[outcome.slot]
        values = "  ".join(f"{name} {shown(value)}" for name, value in result.values.items())
        ending = shown(outcome.score) if outcome.state == "complete" else f"{outcome.state} ({outcome.reason})"
        width = len(str(self.trials))
        line = f"trial {len(self.study):{width}}/{self.trials}  slot {outcome.slot}  {ending}  {values}"
        print("  ".join([line, f"{outcome.seconds:.2f} s", self.left()]).rstrip(), file=self.stream, flush=True)

    def told(self, line: str) -> None:
        print(line, file=self.stream, flush=True)


class Table(Shown):
    """The best trials and those that run, by rich."""

    def __init__(self, study: Any, trials: int, engine: Any, stream: TextIO) -> None:
        from rich.console import Console
        from rich.live import Live

        super().__init__(study, trials, engine)
        self.live = Live(console=Console(file=stream, markup=False, emoji=False), auto_refresh=False, transient=False)
        self.next = 0.0
        self.lines: list[str] = []

    def __enter__(self) -> Shown:
        self.live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.live.update(self.picture(), refresh=True)
        self.live.stop()

    def told(self, line: str) -> None:
        self.lines = [*self.lines, line][-3:]

    def look(self) -> None:
        if time.monotonic() >= self.next:
            self.live.update(self.picture(), refresh=True)
            self.next = time.monotonic() + EVERY

    def picture(self) -> Any:
        """All of it as rich draws it: three best, those that run, one line of what is done and left."""
        from rich.console import Group
        from rich.table import Table as Grid
        from rich.text import Text

        names = list(self.study.space)
        grid = Grid(box=None, pad_edge=False, header_style="bold")
        for title in ("slot", "score", *names):
            grid.add_column(title, justify="right")
        grid.add_column("")
        for i, result in enumerate(self.study.ranked[:3]):
            values = [shown(result.values[n]) if n in result.values else "" for n in names]
            grid.add_row(
                str(result.slot), shown(result.score), *values, "best" if i == 0 else "", style="green" * (i == 0)
            )
        for slot, (began, given) in sorted(self.began_at.items()):
            values = [shown(given[n]) if n in given else "" for n in names]
            so_far = progress_of(Slot.of(self.study.folder, slot))
            grid.add_row(str(slot), "", *values, f"{duration(time.monotonic() - began)}  {so_far}", style="cyan")
        states = [result.state for result in self.study.trials]
        last = f"{counted(states)} of {self.trials}  {self.left()}"
        return Group(grid, *(Text(line, style="yellow") for line in self.lines), Text(last))


def progress_of(slot: Slot) -> str:
    """How far a running trial is: of what it reported, or of the events of its training run."""
    epoch = _last_epoch(slot.folder / "events.jsonl")
    if epoch:
        return epoch
    reports = slot.reports()
    if not reports:
        return ""
    step = max(reports)
    return f"step {step}  {reports[step]:.4g}"


def _last_epoch(path: Path) -> str:
    """The last epoch that a run's events tell of."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - TAIL))
            lines = file.read().split(b"\n")
    except OSError:
        return ""
    for line in reversed(lines):
        try:
            said = json.loads(line)
            if said["event"] == "epoch":
                measures = "  ".join(f"{name} {float(value):.4g}" for name, value in said["measures"].items())
                return f"epoch {int(said['epoch']) + 1}  {measures}"
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
    return ""


def duration(seconds: float) -> str:
    """Seconds as a person says them.

    Examples
    --------
    >>> duration(7.3), duration(100), duration(7300)
    ('7 s', '1 min 40 s', '2 h 1 min')
    """
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"
