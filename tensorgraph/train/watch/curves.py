"""The curves of a run, as values: which stand in one panel, on which scale, and what is seen of them in few columns.

The terminal, the report and the live page draw the same panels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tensorgraph.data.arrays import Array
from tensorgraph.train.history import is_share
from tensorgraph.train.watch.story import Mark, Series, Story

__all__ = ["Columns", "Curve", "Panel", "Scale", "columns", "panels"]

Role = Literal["steps", "training", "dev", "value", "left"]
WIDE = 30.0  # a range of positive values so many times its least is drawn by its logarithm
NOTED = ("set", "stop", "went back", "went on", "error")  # marks that stand in every panel


@dataclass(frozen=True)
class Curve:
    """Values by step, and what they are: losses of single steps, a measure on the training or dev set, a
    hyperparameter, which keeps its value until the next (`stays`), or what a rollback left behind."""

    label: str
    role: Role
    steps: Array
    values: Array
    stays: bool = False


@dataclass(frozen=True)
class Scale:
    """From a value to a place between 0 and 1; `shares` are written as percentages."""

    low: float
    high: float
    log: bool = False
    shares: bool = False

    def place(self, values: Array) -> Array:
        """Places of values; nan for what has none, such as 0 on a logarithmic scale."""
        with np.errstate(all="ignore"):
            if self.log:
                low, high = math.log(self.low), math.log(self.high)
                found = (np.log(np.where(values > 0, values, np.nan)) - low) / (high - low)
            else:  # by halves, since a range may be wider than the greatest float
                found = (values / 2.0 - self.low / 2.0) / (self.high / 2.0 - self.low / 2.0)
        return np.where(np.isfinite(found), found, np.nan)

    def ticks(self, most: int = 5) -> list[tuple[float, str]]:
        """Round values on the scale and how they are written: at least two where there is room for it."""
        values = _log_ticks(self.low, self.high, most) if self.log else []
        if len(values) < 2:
            values = _round_ticks(self.low, self.high, most)
        for digits in (4, 6, 9, 12, 17):  # as many as tell them apart
            texts = [self._written(value, digits) for value in values]
            if len(set(texts)) == len(texts):
                break
        return list(zip(values, texts))

    def _written(self, value: float, digits: int) -> str:
        if self.shares:
            return f"{100.0 * value:.{digits}g}%"
        return f"{value:.{digits}g}".replace("e+0", "e").replace("e-0", "e-").replace("e+", "e")


@dataclass(frozen=True)
class Panel:
    """Curves over one range of steps and on one scale, with the marks of what happened."""

    title: str
    curves: tuple[Curve, ...]
    scale: Scale
    first: float
    last: float
    marks: tuple[tuple[str, Mark], ...] = ()
    broken: tuple[float, ...] = ()  # steps whose value is no finite number


@dataclass(frozen=True)
class Columns:
    """What a curve shows in each of some columns: the least and the greatest value, and the mean; nan for nothing."""

    low: Array
    high: Array
    mean: Array


def panels(story: Story) -> list[Panel]:
    """The panels of a run: the loss, each measure, each hyperparameter that changed."""
    names = dict.fromkeys(name.removeprefix("dev_") for name in story.measures)
    found: list[tuple[str, list[Curve]]] = []
    for name in dict.fromkeys(["loss", *names]):
        curves = [_curve("each step", "steps", story.loss)] if name == "loss" else []
        for prefix, role in (("", "training"), ("dev_", "dev")):
            if prefix + name in story.measures:
                curves.append(_curve(role, role, story.measures[prefix + name]))  # type: ignore[arg-type]
        found.append((name.replace("_", " "), [*_left(story, "measure", (name, f"dev_{name}")), *curves]))
    for name, series in story.changed.items():
        steps, values = series.arrays()
        if len(steps):  # it keeps its last value until now
            steps, values = np.append(steps, max(float(story.step), steps[-1])), np.append(values, values[-1])
        own = Curve(name, "value", steps, values, stays=True)
        found.append((name, [*_left(story, "setting", (name,)), own]))
    marks = tuple((sign, mark) for sign, mark in signed(story.marks) if mark.kind in NOTED)
    last = max([1.0, float(story.step), *(float(c.steps[-1]) for _, cs in found for c in cs if len(c.steps))])
    return [_panel(title, curves, last, marks) for title, curves in found if any(len(c.steps) for c in curves)]


def signed(marks: Sequence[Mark]) -> list[tuple[str, Mark]]:
    """Each mark with the sign that stands in the curves and in the list: the number of a command, or nothing."""
    found, count = [], 0
    for mark in marks:
        if mark.kind in NOTED:
            count += 1
        found.append((str(count) if mark.kind in NOTED else "", mark))
    return found


def _curve(label: str, role: Role, series: Series) -> Curve:
    return Curve(label, role, *series.arrays())


def _left(story: Story, kind: str, names: tuple[str, ...]) -> list[Curve]:
    """What rollbacks left behind, the oldest first."""
    pieces = [series.arrays() for of, name, series in story.left_behind if of == kind and name in names]
    return [Curve("left behind", "left", *piece, stays=kind == "setting") for piece in pieces]


def _panel(title: str, curves: list[Curve], last: float, marks: tuple[tuple[str, Mark], ...]) -> Panel:
    every = np.concatenate([curve.values for curve in curves])
    where = np.concatenate([curve.steps for curve in curves])
    broken = sorted({float(step) for step in where[~np.isfinite(every)]})
    usual = any(curve.role == "value" for curve in curves)
    return Panel(title, tuple(curves), scale_of(title, every, usual=usual), 0.0, last, marks, tuple(broken))


def scale_of(title: str, values: Array, *, usual: bool = False) -> Scale:
    """The scale on which these values are seen well: by the logarithm where they are positive and span much.

    `usual`: where most of them do, so that a rate that falls to nearly 0 in the end keeps its shape.
    """
    finite = values[np.isfinite(values)]
    if not finite.size:
        return Scale(0.0, 1.0)
    low, high = float(finite.min()), float(finite.max())
    shares = is_share(title) and low >= 0.0 and high <= 1.0
    span = np.quantile(finite, [0.2, 0.8]) if usual and low > 0.0 else (low, high)
    if low > 0.0 and span[1] / span[0] >= WIDE and not shares:
        return Scale(low / 1.15, min(high * 1.15, np.finfo(np.float64).max), log=True)
    room = 0.05 * (high - low) or 0.1 * abs(high) or 1.0
    if not math.isfinite(high - low + 2.0 * room):  # nearly the range of all floats
        return Scale(low, high)
    low, high = (max(low - room, 0.0) if low >= 0.0 else low - room), high + room
    return Scale(low, min(high, 1.0) if shares else high, shares=shares)


def _round_ticks(low: float, high: float, most: int) -> list[float]:
    raw = high / max(most, 1) - low / max(most, 1)
    unit = 10.0 ** math.floor(math.log10(raw))
    step = next((unit * k for k in (1.0, 2.0, 2.5, 5.0) if unit * k >= raw * (1 - 1e-9)), 10.0 * unit)
    first = math.ceil(low / step - 1e-9)
    return [k * step for k in range(first, first + most + 2) if k * step <= high + 1e-9 * step]


def _log_ticks(low: float, high: float, most: int) -> list[float]:
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    every = max(1, -(-(last - first + 1) // most))
    powers = [10.0**k for k in range(first, last + 1, every)]
    if len(powers) >= 3:
        return powers
    finer = [f * 10.0**k for k in range(first - 1, last + 1) for f in (1.0, 2.0, 5.0)]
    finer = [value for value in finer if low <= value <= high]
    return finer if len(finer) <= most + 1 else powers


def columns(curve: Curve, edges: Array) -> Columns:
    """What is seen of a curve in the columns between these edges.

    A column shows the points in it and, where the curve passes through, its values at both edges.
    """
    n = len(edges) - 1
    low, high = np.full(n, np.nan), np.full(n, np.nan)
    total, count = np.zeros(n), np.zeros(n)
    good = np.isfinite(curve.values)
    steps, values = curve.steps[good], curve.values[good]
    if steps.size == 0:
        return Columns(low, high, low.copy())
    at = np.clip(np.searchsorted(edges, steps, "right") - 1, 0, n - 1)
    np.fmin.at(low, at, values)
    np.fmax.at(high, at, values)
    with np.errstate(over="ignore"):
        np.add.at(total, at, values)
    np.add.at(count, at, 1.0)
    passing = _at_edges(curve, edges)
    for side in (passing[:-1], passing[1:]):
        low, high = np.fmin(low, side), np.fmax(high, side)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(count > 0, total / count, np.nan)
    return Columns(low, high, np.where(np.isfinite(mean), mean, (low + high) / 2.0))


def _at_edges(curve: Curve, edges: Array) -> Array:
    """The curve's value at each edge: nan outside it, and where it has a gap."""
    steps, values = curve.steps, curve.values
    before = np.searchsorted(steps, edges, "right") - 1
    inside = (before >= 0) & (edges <= steps[-1])
    left = values[np.clip(before, 0, len(steps) - 1)]
    if curve.stays:
        return np.where(inside & np.isfinite(left), left, np.nan)
    after = np.clip(before + 1, 0, len(steps) - 1)
    width = steps[after] - steps[np.clip(before, 0, len(steps) - 1)]
    with np.errstate(all="ignore"):
        share = np.where(width > 0, (edges - steps[np.clip(before, 0, len(steps) - 1)]) / width, 0.0)
        found = left * (1.0 - share) + np.where(share > 0, values[after] * share, 0.0)
    return np.where(inside & np.isfinite(found), found, np.nan)
