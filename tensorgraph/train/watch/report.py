"""A run as one page: curves, schedules, commands, the network, the confusion matrix, settings, every epoch.

The page needs nothing else and makes no request (`tensorgraph.pages`); without its script all but the values under the
pointer is there.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from tensorgraph.data.arrays import Array
from tensorgraph.pages import assets, document, escaped, scripted, themed
from tensorgraph.train.history import better_is_less, shown
from tensorgraph.train.watch.charts import chart, chart_data
from tensorgraph.train.watch.curves import panels, signed
from tensorgraph.train.watch.story import Epoch, Story, name_of
from tensorgraph.train.watch.terminal import duration, outcome

__all__ = ["charts_of", "facts_of", "marks_table", "report"]

HEATS = 6
MOST_CLASSES = 60  # of a confusion matrix that is written out


def report(run: Any) -> str:
    """The page of a run, finished or not.

    Parameters
    ----------
    run : Run
        It is only read.
    """
    story = Story(run.events())
    title, status = f"Run {name_of(run)}", story.log.status(run.folder.busy())
    drawing, style = network(run, story)
    body = "\n".join(
        (
            f"<header><h1>{escaped(title)}</h1><p class='muted'>{escaped(outcome(story, status))}</p></header>",
            facts_of(story),
            _section("Curves", charts_of(story)),
            _section("Commands and events", marks_table(story)),
            _section("Confusion matrix of the dev set", _confusion(story.confusion)),
            _section("Network", drawing),
            _pair(("Settings", _rows(_settings(story))), ("Environment", _rows(_environment(run)))),
            _section("Epochs", _history(story.epochs)),
        )
    )
    script = scripted(assets(__package__, "charts.js", "report.js"))
    data = {"charts": [chart_data(panel) for panel in panels(story)]}
    return document(
        title, body, style=f"{themed()}{assets(__package__, 'charts.css')}\n{style}", script=script, data=data
    )


# ---- parts, which the live page shows too


def facts_of(story: Story) -> str:
    """The numbers that matter, each with its name."""
    found: list[tuple[str, str]] = []
    for name, series in story.measures.items():
        if not len(series):
            continue
        finite = [value for value in series.values if math.isfinite(value)]
        words = [f"now {shown(name, series.values[-1])}"] if finite else []
        best = (min if better_is_less(name) else max)(finite, default=math.nan)
        found.append((f"best {name.replace('_', ' ')}" + "".join(f", {word}" for word in words), shown(name, best)))
    epochs = f"{len(story.epochs)} of {story.total_epochs}" if story.total_epochs else str(len(story.epochs))
    found.append(("epochs", epochs))
    found.append(("updates", f"{story.step:,}"))
    spent = math.fsum(epoch.seconds for epoch in story.epochs if math.isfinite(epoch.seconds))
    found.append(("in epochs", duration(spent)))
    parameters = story.start.get("parameters")
    if isinstance(parameters, int):
        found.append(("parameters", f"{parameters:,}"))
    items = (f"<li><b>{escaped(value)}</b><span>{escaped(name)}</span></li>" for name, value in found)
    return f'<ul class="facts">{"".join(items)}</ul>'


def charts_of(story: Story) -> str:
    """Every panel, numbered as in the page's data."""
    drawn = [chart(panel, number) for number, panel in enumerate(panels(story))]
    return f'<div class="charts">{"".join(drawn)}</div>' if drawn else ""


def marks_table(story: Story) -> str:
    """What happened, a row each; the signs are those of the curves."""
    rows = [
        [(sign, "noted"), (f"{mark.step:,}", "number"), (mark.words, "what"), (str(mark.epoch), "number"),
         (str(mark.branch), "number"), (clock(mark.time), "time")]
        for sign, mark in signed(story.marks)
    ]  # fmt: skip
    return table(["", "step", "what", "epochs done", "branch", "time (UTC)"], rows) if rows else ""


def table(head: Sequence[str], rows: Iterable[Sequence[tuple[str, str]]], best: int = -1) -> str:
    """A table of (text, class) cells; all text is escaped."""
    rows = list(rows)
    numeric = [[kind == "number" for _, kind in row] for row in rows]
    kinds = ["number" if column and all(column) else "" for column in zip(*numeric)] or [""] * len(head)
    said = "".join(f'<th scope="col"{_class(kind)}>{escaped(name)}</th>' for name, kind in zip(head, kinds))
    lines = []
    for k, row in enumerate(rows):
        cells = "".join(f"<td{_class(kind)}>{escaped(text)}</td>" for text, kind in row)
        lines.append(f"<tr{_class('best' if k == best else '')}>{cells}</tr>")
    tall = ' class="tall"' if len(rows) > 12 else ""
    return (
        f'<div class="scroll"><table{tall}><thead><tr>{said}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>'
    )


def clock(seconds: float) -> str:
    """Unix seconds as a date and a time of day, UTC."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return "?"


def _class(kind: str) -> str:
    return f' class="{kind}"' if kind else ""


def _section(title: str, content: str) -> str:
    return f"<section><h2>{escaped(title)}</h2>{content}</section>" if content else ""


def _pair(*parts: tuple[str, str]) -> str:
    found = "".join(_section(title, content) for title, content in parts)
    return f'<div class="pair">{found}</div>' if found else ""


def _rows(fields: Mapping[str, Any]) -> str:
    """Names and values; what is nested is told with the names before it."""
    lines = [f'<tr><th scope="row">{escaped(name)}</th><td>{escaped(value)}</td></tr>' for name, value in flat(fields)]
    return f'<div class="scroll"><table><tbody>{"".join(lines)}</tbody></table></div>' if lines else ""


def flat(fields: Any, before: str = "", depth: int = 0) -> list[tuple[str, str]]:
    """Nested mappings as pairs of a dotted name and a text."""
    if isinstance(fields, Mapping) and depth < 8:
        return [pair for key, value in fields.items() for pair in flat(value, f"{before}.{key}".strip("."), depth + 1)]
    if isinstance(fields, list | tuple):
        text = ", ".join(map(str, fields[:40])) + (", ..." if len(fields) > 40 else "")
    else:
        text = "-" if fields is None else f"{fields:.8g}" if isinstance(fields, float) else str(fields)
    return [(before, text if len(text) <= 1000 else f"{text[:1000]}...")]


# ---- the rest


def _settings(story: Story) -> dict[str, Any]:
    """What the run was begun with, and the hyperparameters as they are now."""
    fields = {
        key: story.start[key] for key in ("model", "samples", "batch_size", "steps_per_epoch") if key in story.start
    }
    more = story.start.get("settings")
    fields |= dict(more) if isinstance(more, Mapping) else {}
    return fields | {name: f"{value:.6g}" for name, value in story.now.items()}


def _environment(run: Any) -> dict[str, Any]:
    found: dict[str, Any] = (run.folder.read() or {}).get("environment", {})
    return found


def _history(epochs: Sequence[Epoch]) -> str:
    """Every epoch; the one of the best dev loss, or of the best first measure, in bold."""
    names = list(dict.fromkeys(name for epoch in epochs for name in epoch.measures))
    if not epochs:
        return ""
    watched = "dev_loss" if "dev_loss" in names else names[0] if names else ""
    sign = 1.0 if better_is_less(watched) else -1.0
    values = [sign * epoch.measures.get(watched, math.nan) for epoch in epochs]
    finite = [k for k, value in enumerate(values) if math.isfinite(value)]
    best = min(finite, key=lambda k: values[k]) if finite else -1
    rows = [
        [(text, "number") for text in (
            str(epoch.number + 1), f"{epoch.step:,}",
            *(shown(name, epoch.measures[name]) if name in epoch.measures else "" for name in names),
            f"{epoch.seconds:.2f} s",
        )]
        for epoch in epochs
    ]  # fmt: skip
    return table(["epoch", "step", *(name.replace("_", " ") for name in names), "time"], rows, best)


def _confusion(found: Mapping[str, Any] | None) -> str:
    """Row = true class, column = predicted class; the shade is the share of the row."""
    counts = _counts(found)
    if counts is None or found is None:
        return ""
    given = found.get("names")
    names = [str(name) for name in given] if isinstance(given, list) and len(given) == len(counts) else None
    names = names or [str(k) for k in range(len(counts))]
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    head = "".join(f'<th scope="col">{escaped(name)}</th>' for name in names)
    rows = []
    for i, name in enumerate(names):
        cells = []
        for j, count in enumerate(counts[i]):
            heat = min(int(share[i, j] * HEATS), HEATS - 1)
            kind = f"h{heat}" if count and heat else "wrong" if count and i != j else ""
            cells.append(f"<td{_class(kind)}>{int(count) if count else ''}</td>")
        rows.append(f'<tr><th scope="row">{escaped(name)}</th>{"".join(cells)}</tr>')
    right, every = int(np.trace(counts)), int(counts.sum())
    told = f"{right:,} of {every:,} right ({right / max(every, 1):.2%}); row: true class, column: predicted class"
    return (
        f'<p class="muted">{told}</p><div class="scroll"><table class="confusion"><thead><tr><td></td>{head}</tr>'
        f"</thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _counts(found: Mapping[str, Any] | None) -> Array | None:
    """The counts of an event, where they are a square table of natural numbers that can be shown."""
    try:
        counts = np.array((found or {}).get("counts"), np.int64)
    except (TypeError, ValueError, OverflowError):
        return None
    square = counts.ndim == 2 and counts.shape[0] == counts.shape[1] and 0 < len(counts) <= MOST_CLASSES
    return counts if square and (counts >= 0).all() else None


def network(run: Any, story: Story) -> tuple[str, str]:
    """The network's drawing and its style, from the newest checkpoint; nothing where it holds no architecture."""
    graph = graph_of(run, story)
    if graph is None:
        return "", ""
    svg: str = graph.draw(level="module").svg("auto")
    style = "".join(re.findall(r"<style>(.*?)</style>", svg, re.S))
    return f'<div class="drawing">{re.sub(r"<style>.*?</style>", "", svg, flags=re.S)}</div>', style


def graph_of(run: Any, story: Story) -> Any:
    """The graph of the model in the newest checkpoint, at test time; None where it cannot be made."""
    from tensorgraph.engine.spec import spec
    from tensorgraph.graph.trace import trace
    from tensorgraph.train.running import in_mode, model_dtype

    sample = story.start.get("sample")
    if not isinstance(sample, Mapping) or not run.checkpoints:
        return None
    try:
        model = run.load().model
        dtype = np.dtype(str(sample.get("dtype", "float32")))
        batch = spec((2, *(int(n) for n in sample["shape"])), model_dtype(model) if dtype.kind == "f" else dtype)
        with in_mode(model, training=False):
            return trace(model, batch)
    except Exception:  # a model of the user's may need anything; the report is worth having without its picture
        return None
