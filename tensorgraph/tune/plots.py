"""Pictures of a study by matplotlib, each hyperparameter on its own scale; what diverged stands above the rest."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from tensorgraph.pages.palette import LIGHT
from tensorgraph.train.plots import needed, new_figure
from tensorgraph.tune.importance import FEWEST, importance
from tensorgraph.tune.scales import Scale
from tensorgraph.tune.tables import shown
from tensorgraph.tune.ticks import ticks
from tensorgraph.tune.zoom import kept_by_zoom

__all__ = ["against", "best_so_far", "coverage", "importances", "overview", "parallel", "plain_words"]

PLAIN, GOOD, BEST, BAD = LIGHT.op, LIGHT.io, LIGHT.param, LIGHT.alarm
JITTER = 0.16  # to either side, of points on an axis with few values


@contextmanager
def plain_words() -> Iterator[None]:
    """Names are drawn as they are, also those with signs that matplotlib takes for formulas."""
    with needed().rc_context({"text.parse_math": False, "axes.unicode_minus": False}):
        yield


def quiet(axes: Any, title: str, x: str, y: str) -> None:
    """Axes in the palette's colours, which a page exchanges for those of its theme."""
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold", color=LIGHT.ink)
    axes.set_xlabel(x, color=LIGHT.muted)
    axes.set_ylabel(y, color=LIGHT.muted)
    axes.patch.set_visible(False)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(LIGHT.frame)
    axes.tick_params(colors=LIGHT.muted, labelcolor=LIGHT.muted)
    axes.grid(color=LIGHT.inner, linewidth=0.8)
    axes.set_axisbelow(True)


def along(axis: Any, scale: Scale, margin: float = 0.04) -> None:
    """An axis in places of a scale, marked with its values."""
    marks = ticks(scale)
    low, high = scale.ends()
    room = (high - low) * margin or 0.5
    if scale.whole or hasattr(scale, "options"):
        room = max(room, 0.35)
    axis.set_view_interval(low - room, high + room, ignore=True)
    axis.set_ticks([place for place, _ in marks], [word for _, word in marks])
    axis.axes.autoscale(False)


def shares(results: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    """Those with a score, and those that diverged."""
    return [r for r in results if r.state == "complete"], [r for r in results if r.state == "diverged"]


class Scores:
    """The axis of scores: logarithmic where they go over much, and with room for what diverged."""

    def __init__(self, study: Any) -> None:
        self.good, self.bad = shares(study.trials)
        self.ranked = study.ranked
        self.sign = 1.0 if study.direction == "minimize" else -1.0
        scores = np.array([result.score for result in self.good] or [0.0], np.float64)
        self.log = bool(scores.min() > 0 and scores.max() > 50 * scores.min())
        places = np.log10(scores) if self.log else scores
        low, high = float(places.min()), float(places.max())
        room = 0.06 * (high - low) or 0.5
        low, high = low - room, high + room
        beyond = 0.1 * (high - low) if self.bad else 0.0
        self.diverged = high + beyond if self.sign > 0 else low - beyond
        self.ends = (low, self.diverged + beyond / 2) if self.sign > 0 else (self.diverged - beyond / 2, high)
        self.marks = self._marks(float(places.min()), float(places.max()))

    def place(self, result: Any) -> float:
        if result.score is None:
            return self.diverged
        return math.log10(result.score) if self.log else float(result.score)

    def _marks(self, low: float, high: float) -> list[tuple[float, str]]:
        from matplotlib.ticker import MaxNLocator

        places = [float(p) for p in MaxNLocator(5).tick_values(low, high) if low - 1e-12 <= p <= high + 1e-12]
        words = [shown(10.0**p) if self.log else shown(p) for p in places]
        return [*zip(places, words), *([(self.diverged, "diverged")] if self.bad else [])]

    def on(self, axis: Any) -> None:
        axis.set_view_interval(*self.ends, ignore=True)
        axis.set_ticks([place for place, _ in self.marks], [word for _, word in self.marks])


def against(axes: Any, study: Any, name: str, scores: Scores | None = None) -> None:
    """One hyperparameter against the score, on its own scale."""
    scores = scores or Scores(study)
    scale = study.space[name]
    best = {id(result) for result in scores.ranked[: kept_by_zoom(len(scores.ranked))]}
    for results, colour, marker in ((scores.good, None, "o"), (scores.bad, BAD, "x")):
        for chosen, tint, order in ((False, PLAIN, 2), (True, GOOD, 3)):
            points = [
                (scale.place(value) + spread(scale, result.slot), scores.place(result))
                for result in results if name in result.values and (id(result) in best) == chosen
                for value in (result.values[name] if scale.count else (result.values[name],))
            ]  # fmt: skip
            if points:
                axes.scatter(
                    *zip(*points), s=26, marker=marker, color=colour or tint, linewidths=0.8 if marker == "o" else 1.4,
                    zorder=order, **({"edgecolors": LIGHT.page} if marker == "o" else {}),
                )  # fmt: skip
    for result in scores.ranked[:1]:
        for value in (
            () if name not in result.values else result.values[name] if scale.count else (result.values[name],)
        ):
            axes.scatter([scale.place(value) + spread(scale, result.slot)], [scores.place(result)], s=90, marker="*",
                         color=BEST, edgecolors=LIGHT.page, linewidths=0.6, zorder=4)  # fmt: skip
    quiet(axes, name, "", "score")
    along(axes.xaxis, scale)
    scores.on(axes.yaxis)


def spread(scale: Scale, slot: int) -> float:
    """A little to the side where many trials have the same value, the same for a slot every time."""
    if not (scale.whole or hasattr(scale, "options")) or not isinstance(slot, int):
        return 0.0
    low, high = scale.ends()
    room = JITTER if hasattr(scale, "options") or high - low > 3 else JITTER / 4
    return room * ((slot * 0.618034) % 1.0 * 2.0 - 1.0)


def best_so_far(axes: Any, study: Any, scores: Scores | None = None) -> None:
    """Every trial's score in the order of the slots, and the best until then."""
    scores = scores or Scores(study)
    axes.scatter([r.slot for r in scores.good], [scores.place(r) for r in scores.good], s=14, color=PLAIN)
    axes.scatter([r.slot for r in scores.bad], [scores.place(r) for r in scores.bad], s=22, color=BAD, marker="x")
    steps, best = [], None
    for result in scores.good:
        if best is None or scores.sign * result.score < scores.sign * best.score:
            best = result
        steps.append((result.slot, scores.place(best)))
    if steps:
        axes.step(*zip(*steps), where="post", color=GOOD, linewidth=2)
    quiet(axes, "best so far", "slot", "score")
    scores.on(axes.yaxis)


def importances(axes: Any, study: Any) -> None:
    """What each hyperparameter explains of the scores by itself."""
    told, diverged = shares(study.trials)
    if len(told) + len(diverged) < FEWEST:
        axes.text(
            0.5, 0.5, f"told of {FEWEST} trials or more", ha="center", color=LIGHT.muted, transform=axes.transAxes
        )
        found: dict[str, float] = {}
    else:
        found = importance(study)
    names = list(found)[::-1]
    axes.barh(range(len(names)), [found[name] for name in names], color=GOOD, height=0.6)
    for i, name in enumerate(names):
        axes.text(found[name] + 0.02, i, f"{found[name]:.0%}", va="center", color=LIGHT.ink, fontsize=9)
    quiet(axes, "importance", "share of the scores' variation", "")
    axes.set_yticks(range(len(names)), names)
    axes.set_xlim(0, 1.12)
    axes.set_xticks([0, 0.5, 1], ["0%", "50%", "100%"])
    axes.grid(axis="y", visible=False)


def parallel(axes: Any, study: Any) -> None:
    """Each trial as a line over an axis for each hyperparameter and one for the score, where better is higher."""
    scores = Scores(study)
    names = [name for name, scale in study.space._scales.items() if not scale.count]
    columns = len(names)
    low, high = scores.ends

    def height(result: Any, k: int) -> float:
        if k == columns:
            share = (scores.place(result) - low) / (high - low)
            return 1.0 - share if scores.sign > 0 else share
        scale = study.space[names[k]]
        if names[k] not in result.values:
            return -0.08
        first, last = scale.ends()
        return (scale.place(result.values[names[k]]) - first) / (last - first) if last > first else 0.5

    best = scores.ranked[: kept_by_zoom(len(scores.ranked))]
    for result in [*scores.bad, *reversed(scores.ranked)]:
        first = result is (best[0] if best else None)
        colour = BEST if first else GOOD if result in best else BAD if result.score is None else PLAIN
        axes.plot(
            range(columns + 1), [height(result, k) for k in range(columns + 1)], color=colour,
            linewidth=2.6 if first else 1.6 if result in best else 0.8, alpha=1.0 if result in best else 0.45,
            linestyle="-" if result.score is not None else (0, (2, 2)), zorder=3 if result in best else 2,
        )  # fmt: skip
    quiet(axes, "every trial: a line, the best fifth in blue, the best one in yellow", "", "")
    axes.grid(visible=False)
    axes.spines[["left", "bottom"]].set_visible(False)
    for k in range(columns + 1):
        axes.axvline(k, color=LIGHT.frame, linewidth=1, zorder=1)
        marks: list[tuple[float, str]]
        if k == columns:
            marks = [((high - p if scores.sign > 0 else p - low) / (high - low), word) for p, word in scores.marks]
        else:
            first, last = study.space[names[k]].ends()
            marks = [
                ((p - first) / (last - first) if last > first else 0.5, w) for p, w in ticks(study.space[names[k]])
            ]
        for place, word in marks:
            axes.text(
                k + 0.03, place, word, fontsize=8, color=LIGHT.ink, va="center", zorder=5,
                bbox={"facecolor": LIGHT.page, "edgecolor": "none", "alpha": 0.75, "boxstyle": "square,pad=0.1"},
            )  # fmt: skip
    axes.set_xticks(range(columns + 1), [*names, "score"], fontsize=10)
    for label in axes.get_xticklabels():
        label.set_color(LIGHT.ink)
    axes.set_yticks([])
    axes.set_xlim(-0.1, columns + 0.35)
    axes.set_ylim(-0.1, 1.06)


def overview(study: Any) -> Any:
    """All of it on one picture."""
    if not study.ranked:
        raise ValueError("no trial of this study is complete, so there is nothing to draw; study.table() says why")
    with plain_words():
        return _overview(study)


def _overview(study: Any) -> Any:
    names = list(study.space)
    columns = min(4, max(2, len(names)))
    rows = -(-len(names) // columns)
    figure = new_figure(3.6 * columns, 3.6 + 2.9 * (rows + 1))
    figure.patch.set_facecolor(LIGHT.page)
    grid = figure.add_gridspec(rows + 2, columns, height_ratios=[1.25, *[1.0] * (rows + 1)])
    parallel(figure.add_subplot(grid[0, :]), study)
    half = columns // 2
    best_so_far(figure.add_subplot(grid[1, :half]), study)
    importances(figure.add_subplot(grid[1, half:]), study)
    scores = Scores(study)
    for i, name in enumerate(names):
        against(figure.add_subplot(grid[2 + i // columns, i % columns]), study, name, scores)
    return figure


def coverage(studies: Sequence[Any], names: tuple[str, str]) -> Any:
    """The slides' picture: which values of two hyperparameters were tried, side by side, distinct ones at the edges."""
    with plain_words():
        return _coverage(studies, names)


def _coverage(studies: Sequence[Any], names: tuple[str, str]) -> Any:
    figure = new_figure(4.4 * len(studies), 4.3)
    figure.patch.set_facecolor(LIGHT.page)
    for k, study in enumerate(studies):
        axes = figure.add_subplot(1, len(studies), k + 1)
        scales = [study.space[name] for name in names]
        told = [[scale.place(r.values[name]) for r in study.trials] for scale, name in zip(scales, names)]
        axes.scatter(*told, s=34, color=GOOD, edgecolors=LIGHT.page, linewidths=0.8, zorder=3)
        for result in study.ranked[:1]:
            at = [[scale.place(result.values[name])] for scale, name in zip(scales, names)]
            axes.scatter(*at, s=150, marker="*", color=BEST, edgecolors=LIGHT.page, linewidths=0.8, zorder=4)
        distinct = [len({result.values[name] for result in study.trials}) for name in names]
        quiet(axes, f"{study.sampler}: {distinct[0]} values of {names[0]}", *names)
        along(axes.xaxis, scales[0], 0.08)
        along(axes.yaxis, scales[1], 0.08)
        at_edge = {"color": LIGHT.ink, "markersize": 12, "clip_on": False, "zorder": 5}
        axes.plot(told[0], [0.0] * len(told[0]), "|", transform=axes.get_xaxis_transform(), **at_edge)
        axes.plot([0.0] * len(told[1]), told[1], "_", transform=axes.get_yaxis_transform(), **at_edge)
    return figure
