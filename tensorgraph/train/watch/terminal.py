"""A run in the terminal: curves, hyperparameters, progress and commands that are drawn anew as events come; plain lines
where standard output is no terminal, or rich is not installed."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any, TextIO

from tensorgraph.train.history import shown
from tensorgraph.train.progress import epoch_line
from tensorgraph.train.run.lines import EventReader
from tensorgraph.train.run.log import CHECKPOINT
from tensorgraph.train.watch.braille import Plot, plot
from tensorgraph.train.watch.curves import panels, signed
from tensorgraph.train.watch.story import Mark, Story, name_of, told

__all__ = ["duration", "lines_of", "outcome", "screen", "watch"]

PAUSE = 0.2  # seconds between looks at the events
COLOURS = {
    "training": "bold blue", "dev": "bold dark_orange", "value": "bold green", "steps": "bright_black",
    "left": "magenta", "axis": "bright_black", "mark": "yellow",
}  # fmt: skip
SIGNS = {"training": "━━", "dev": "━━", "steps": "░░", "left": "╌╌", "value": "━━"}
HEAD = 3  # lines above the curves
LEAST_PLOT, MOST_PLOT = 7, 16  # lines of a plot, its axis included
WIDE = 108  # characters from which plots stand side by side
SHOWN_MARKS = 8


def watch(run: Any, *, stream: TextIO | None = None, plain: bool | None = None) -> None:
    """Show a run until it ends; of one that has ended, all of it at once.

    Ctrl-C ends the watching and not the run.

    Parameters
    ----------
    run : Run
        It is only read.
    stream : text file, optional
        Standard output unless given.
    plain : bool, optional
        Whether to print a line an event in place of curves; unless given, where `stream` is no terminal.
    """
    stream = sys.stdout if stream is None else stream
    if not run.folder.events.exists() and not run.folder.busy():
        where = str(run.folder.path)
        print(f"no run was begun in {where!r} yet: it is waited for (Ctrl-C ends that)", file=stream, flush=True)
    console = None if plain or (plain is None and not stream.isatty()) else console_of(stream)
    story = Story()
    try:
        if console is None:
            for event in (event for events in batches(run, story) for event in events):
                story.add(event)
                for line in lines_of(event, story):
                    print(line, file=stream, flush=True)
            print(outcome(story, status_of(run, story)), file=stream, flush=True)
        else:
            _live(run, story, console)
    except KeyboardInterrupt:
        print(f"no longer watched; the run is {status_of(run, story)}", file=stream, flush=True)


def status_of(run: Any, story: Story) -> str:
    """How the run stands now."""
    return story.log.status(run.folder.busy())


def console_of(stream: TextIO) -> Any:
    """A console that draws, or None where rich is not installed."""
    try:
        from rich.console import Console
    except ImportError:
        return None
    return Console(file=stream, highlight=False)


def batches(run: Any, story: Story) -> Iterator[list[dict[str, Any]]]:
    """What came since the last look, nothing included, until nobody trains."""
    reader = EventReader(run.folder)
    while True:
        busy = run.folder.busy()  # asked first: what is written before the end is then read
        yield reader.new()
        if not busy and story.count:  # of a run that has not begun, the beginning is waited for
            return
        time.sleep(PAUSE)


def _live(run: Any, story: Story, console: Any) -> None:
    from rich.live import Live

    drawn, name = -1.0, name_of(run)
    with Live(console=console, screen=True, auto_refresh=False) as live:
        for events in batches(run, story):
            for event in events:
                story.add(event)
            if events or drawn < 0.0 or time.monotonic() - drawn > 1.0:  # the time left goes on by itself
                width, height = console.size
                shown = screen(story, name, status_of(run, story), width, height, fancy=fancy(console))
                live.update(shown, refresh=True)
                drawn = time.monotonic()
    width, height = console.size
    status = status_of(run, story)
    console.print(screen(story, name, status, width, min(height, 40), fancy=fancy(console)))
    console.print(outcome(story, status), markup=False)


def fancy(console: Any) -> bool:
    """Whether a console has the characters of curves."""
    try:
        "⣿┤━░".encode(console.encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


# ---- lines


def lines_of(event: dict[str, Any], story: Story) -> list[str]:
    """An event as lines of text: an epoch with its measures, what is more than a step or its checkpoint in words."""
    kind = event.get("event")
    if kind == "step" or (kind == CHECKPOINT and not event.get("name")):
        return []
    if kind == "epoch" and story.epochs:
        last = story.epochs[-1]
        return [epoch_line(last.number, story.total_epochs, last.measures, last.seconds)]
    return [f"step {story.step:,}: {told(event)}"]


def outcome(story: Story, status: str) -> str:
    """How a run stands, in a sentence."""
    if status == "new":
        return "no run was begun here yet"
    where = f"epoch {len(story.epochs)} of {story.total_epochs or '?'}, step {story.step:,}"
    if story.error and not story.ended:
        return f"stopped by an error at {where}: {story.error}"
    if status == "interrupted":
        return f"nobody trains now: it was interrupted at {where}; run the same again, and it goes on"
    if story.ended:
        return f"ended ({story.ended}) at {where}" + (f": {story.error}" if story.error else "")
    return f"{status} at {where}"


def duration(seconds: float) -> str:
    """Seconds as hours, minutes and seconds.

    Examples
    --------
    >>> duration(3725.4), duration(59.6), duration(float("nan"))
    ('1:02:05', '1:00', '?')
    """
    if not math.isfinite(seconds) or seconds < 0:
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def pace(story: Story) -> str:
    """Speed and time left, where they are known."""
    if not math.isfinite(story.speed) or story.ended:
        return ""
    speed = f"{story.speed:,.0f} steps/s" if story.speed >= 10 else f"{story.speed:.2g} steps/s"
    return f"{speed}, {duration(story.left)} left" if math.isfinite(story.left) else speed


# ---- the screen


def screen(story: Story, name: str, status: str, width: int, height: int, *, fancy: bool = True) -> Any:
    """All that is shown of a run, as what rich prints in so many characters and lines."""
    from rich.console import Group
    from rich.table import Table

    foot, lines = _foot(story, max(2, min(SHOWN_MARKS, height // 4)))
    if height - HEAD - lines < LEAST_PLOT + 1:  # a low terminal has room for a curve alone
        foot, lines = "", 0
    room = height - HEAD - lines - 1
    across = 2 if width >= WIDE else 1
    every = panels(story)
    rows = max(1, min(-(-len(every) // across), room // (LEAST_PLOT + 1)))
    each = max(4, min(MOST_PLOT, room // rows - 1))
    grid = Table.grid(padding=(0, 2))
    for _ in range(across):
        grid.add_column(width=width // across - 2)
    shown = every[: rows * across]
    for k in range(0, len(shown), across):
        row = [_plot(panel, width // across - 2, each, fancy) for panel in shown[k : k + across]]
        grid.add_row(*row, *[""] * (across - len(row)))
    return Group(*_head(story, name, status, width, fancy), grid, foot)


def _head(story: Story, name: str, status: str, width: int, fancy: bool) -> list[Any]:
    """The name, how it stands, and how far it is."""
    from rich.text import Text

    colour = {"running": "green", "paused": "yellow", "finished": "blue"}.get(status, "red")
    head = Text(no_wrap=True, overflow="ellipsis")
    head.append(name, "bold").append("  ").append(status, f"bold {colour}")
    if story.start:
        head.append(
            f"   epoch {min(story.epoch + 1, story.total_epochs or story.epoch + 1)}/{story.total_epochs or '?'}"
        )
        head.append(f"   step {story.step:,}" + (f" of {story.total:,}" if story.total else ""))
    if story.branch:
        head.append(f"   branch {story.branch}")
    if pace(story) and status == "running":
        head.append(f"   {pace(story)}")
    last = story.epochs[-1].measures if story.epochs else {}
    values = Text("  ".join(f"{key.replace('_', ' ')} {shown(key, value)}" for key, value in last.items()),
                  no_wrap=True, overflow="ellipsis")  # fmt: skip
    done = round(min(story.step / story.total, 1.0) * (width - 2)) if story.total else 0
    bar = Text.assemble(
        (("━" if fancy else "=") * done, "green"),
        (("─" if fancy else "-") * (width - 2 - done), "bright_black"),
        no_wrap=True,
    )
    return [head, bar, values]


def _plot(panel: Any, width: int, height: int, fancy: bool) -> Any:
    """A panel with its title and the key of its colours."""
    from rich.text import Text

    title = Text(panel.title, "bold", no_wrap=True, overflow="ellipsis")
    if any(curve.role != "value" for curve in panel.curves):
        for role, label in {curve.role: curve.label for curve in panel.curves}.items():
            title.append("   ").append(SIGNS[role] if fancy else "*", COLOURS[role]).append(f" {label}", "not bold")
    if panel.broken:
        title.append(f"   not finite at step {panel.broken[-1]:,.0f}", "bold red")
    drawn: Plot = plot(panel, width, height, braille=fancy)
    text = Text("\n").join(
        Text.assemble(*((piece, COLOURS.get(role, "")) for piece, role in row), no_wrap=True) for row in drawn.rows
    )
    return title.append("\n").append_text(text)


def _foot(story: Story, most: int) -> tuple[Any, int]:
    """The hyperparameters and their changes, and beside them the last commands; and how many lines they take."""
    from rich.table import Table
    from rich.text import Text

    steps = {name: len(series) for name, series in story.settings.items()}
    names = sorted(story.now, key=lambda name: -steps.get(name, 0))[:most]
    settings, marks = Table.grid(padding=(0, 2)), Table.grid(padding=(0, 1), expand=True)
    for grid in (settings, marks):
        grid.add_column(no_wrap=True)
        grid.add_column(no_wrap=True)
        grid.add_column(no_wrap=True, ratio=1)
    for name in names:
        value = Text(f"{story.now[name]:.6g}")
        settings.add_row(Text(name, "bold"), value, Text(_changed(story, name), "bright_black"))
    last: Sequence[tuple[str, Mark]] = signed(story.marks)[-most:]
    for sign, mark in last:
        marks.add_row(Text(sign, "yellow"), Text(f"step {mark.step:,}", "bright_black"), Text(mark.words))
    foot = Table(box=None, pad_edge=False, header_style="bold underline", expand=True)
    foot.add_column("hyperparameters", ratio=1)
    foot.add_column("commands and events", ratio=1)
    foot.add_row(settings, marks)
    return foot, 1 + max(len(names), len(last), 1)


def _changed(story: Story, name: str) -> str:
    """How a hyperparameter came to its value."""
    if name in story.set_by_hand:
        step, before = story.set_by_hand[name]
        return f"set at step {step:,}, was {before:.4g}"
    return "follows its schedule" if len(story.settings[name]) > 1 else ""
