"""A study as text."""

from __future__ import annotations

from collections import Counter
from typing import Any

from tensorgraph.tune.slots import STATES

__all__ = ["counted", "shown", "table"]


def shown(value: Any) -> str:
    """A value in few letters."""
    if isinstance(value, tuple):
        return ",".join(map(shown, value)) or "-"
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value)


def counted(states: list[str]) -> str:
    """How many trials ended how, in words."""
    of = Counter(states)
    many = "1 trial" if len(states) == 1 else f"{len(states)} trials"
    told = ", ".join(f"{of[state]} {state}" for state in STATES if of[state])
    return f"{many}: {told}" if told else many


def table(study: Any, rows: int | None) -> str:
    """The trials as aligned text, the best first, then those without a score and why."""
    ranked = study.ranked
    rest = [result for result in study.trials if result.state != "complete"]
    every = [*ranked, *rest]
    names = list(study.space)
    picked = every if rows is None else every[:rows]
    told = any(result.reason for result in picked)
    cells = [["slot", "score", *names, *(["why it is not complete"] if told else [])]]
    for result in picked:
        score = "" if result.score is None else shown(result.score)
        values = [shown(result.values[name]) if name in result.values else "" for name in names]
        reason = f"{result.state}: {result.reason}" if result.reason else ""
        cells.append([str(result.slot), score, *values, *([reason] if told else [])])
    widths = [max(len(row[k]) for row in cells) for k in range(len(names) + 2)]
    lines = ["  ".join([*(c.rjust(w) for c, w in zip(row, widths)), *row[len(widths) :]]).rstrip() for row in cells]
    if len(picked) < len(every):
        lines.append(f"... and {len(every) - len(picked)} more")
    return "\n".join([*lines, counted([result.state for result in every])])
