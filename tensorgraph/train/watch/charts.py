"""Panels as SVG, and what a script needs to show values under the pointer.

Colours are classes, which the page's style gives per theme; there is no style and no script inside.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tensorgraph.data.arrays import Array
from tensorgraph.pages import escaped
from tensorgraph.train.history import shown
from tensorgraph.train.watch.curves import Curve, Panel, columns
from tensorgraph.train.watch.story import Mark

__all__ = ["chart", "chart_data"]

WIDTH, HEIGHT = 440, 250  # units of the picture, about a pixel each on a telephone
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 34, 24
DRAWN = 400  # points of a curve beyond which it is drawn by columns
SIGN_ROOM = 13  # between the signs of two marks


def chart(panel: Panel, number: int = 0) -> str:
    """A panel as SVG: its title, axes, curves, marks; `number` is its place in the page's data."""
    inside = "".join((*_axes(panel), *_marks(panel), *_curves(panel), *_broken(panel)))
    names = ", ".join(dict.fromkeys(curve.label for curve in panel.curves))
    return (
        f'<svg class="chart" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" tabindex="0" '
        f'data-chart="{number}" aria-label="{escaped(f"{panel.title} by step: {names}")}">'
        f'<text class="title" x="2" y="14">{escaped(panel.title)}</text>{_key(panel)}{inside}</svg>'
    )


def chart_data(panel: Panel) -> dict[str, Any]:
    """What is told under the pointer: of each curve its name, steps and values in words, and where they stand."""
    return {
        "title": panel.title, "first": panel.first, "last": panel.last,
        "left": LEFT, "right": WIDTH - RIGHT, "top": TOP, "bottom": HEIGHT - BOTTOM,
        "curves": [
            {"label": curve.label, "role": curve.role, "stays": curve.stays,
             "steps": [round(float(x), 1) for x in steps], "words": [shown(panel.title, float(y)) for y in values],
             "y": [round(float(y), 1) for y in _y(panel, values)]}
            for curve in panel.curves if curve.role != "left" for steps, values in [_few(panel, curve)] if len(steps)
        ],
    }  # fmt: skip


def _few(panel: Panel, curve: Curve) -> tuple[Array, Array]:
    """Finite points, at most so many: of more, the mean of each column at its middle."""
    good = np.isfinite(curve.values) & np.isfinite(panel.scale.place(curve.values))
    steps, values = curve.steps[good], curve.values[good]
    if len(steps) <= DRAWN:
        return steps, values
    edges = np.linspace(panel.first, panel.last, DRAWN + 1)
    mean = columns(Curve(curve.label, curve.role, steps, values, curve.stays), edges).mean
    good = np.isfinite(mean) & np.isfinite(panel.scale.place(mean))
    return ((edges[:-1] + edges[1:]) / 2.0)[good], mean[good]


def _x(panel: Panel, steps: Array | float) -> Array:
    span = panel.last - panel.first
    return np.asarray(LEFT + (np.asarray(steps) - panel.first) / span * (WIDTH - LEFT - RIGHT))


def _y(panel: Panel, values: Array | float) -> Array:
    return np.asarray(TOP + (1.0 - panel.scale.place(np.asarray(values, np.float64))) * (HEIGHT - TOP - BOTTOM))


def _key(panel: Panel) -> str:
    """What the colours are, from the right."""
    found, x = [], WIDTH - RIGHT
    labels = {curve.role: curve.label for curve in panel.curves if curve.role != "value"}
    for role, label in reversed(labels.items()):
        x -= 6 * len(label)
        found.append(f'<text class="key" x="{x}" y="14">{escaped(label)}</text>')
        found.append(f'<path class="c-{role}" d="M{x - 20} 10H{x - 5}"/>')
        x -= 30
    return "".join(found)


def _axes(panel: Panel) -> Iterator[str]:
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    for value, text in panel.scale.ticks():
        y = float(_y(panel, value))
        if TOP - 1 <= y <= bottom + 1:
            yield f'<path class="grid" d="M{LEFT} {y:.1f}H{right}"/>'
            yield f'<text class="tick" x="{LEFT - 5}" y="{y + 3.5:.1f}" text-anchor="end">{escaped(text)}</text>'
    yield f'<path class="axis" d="M{LEFT} {bottom}H{right}"/>'
    for x, text, side in (
        (LEFT, f"{panel.first:,.0f}", "start"),
        ((LEFT + right) / 2, "step", "middle"),
        (right, f"{panel.last:,.0f}", "end"),
    ):
        yield f'<text class="tick" x="{x}" y="{HEIGHT - 8}" text-anchor="{side}">{text}</text>'


def _curves(panel: Panel) -> Iterator[str]:
    """Below each other: what was left behind, single steps, then the rest."""
    order = ("left", "steps", "training", "dev", "value")
    for curve in sorted(panel.curves, key=lambda curve: order.index(curve.role)):
        steps, values = _few(panel, curve)
        if not len(steps):
            continue
        if len(curve.steps) > DRAWN:
            yield _band(panel, curve)
        xs, ys, kind = _x(panel, steps), _y(panel, values), f'class="c-{curve.role}"'
        gaps = _x(panel, curve.steps[~np.isfinite(curve.values)])
        yield f'<path {kind} d="{_path(xs, ys, curve.stays, gaps)}"/>'
        if len(steps) == 1:
            yield f'<circle {kind} cx="{xs[0]:.1f}" cy="{ys[0]:.1f}" r="3"/>'


def _path(xs: Array, ys: Array, stays: bool, gaps: Array) -> str:
    """Points joined by lines, or by steps; not across a gap."""
    said: list[str] = []
    before = -np.inf
    for x, y in zip(xs, ys):
        broken = bool(np.any((gaps > before) & (gaps < x)))
        if not said or broken:
            said.append(f"M{x:.1f} {y:.1f}")
        else:
            said.append(f"H{x:.1f}V{y:.1f}" if stays else f"L{x:.1f} {y:.1f}")
        before = x
    return "".join(said)


def _band(panel: Panel, curve: Curve) -> str:
    """From the least to the greatest value in each column."""
    edges = np.linspace(panel.first, panel.last, DRAWN + 1)
    seen = columns(curve, edges)
    xs, top, bottom = _x(panel, (edges[:-1] + edges[1:]) / 2.0), _y(panel, seen.high), _y(panel, seen.low)
    good = np.isfinite(top) & np.isfinite(bottom)
    there = [f"{x:.1f} {y:.1f}" for x, y in zip(xs[good], top[good])]
    back = [f"{x:.1f} {y:.1f}" for x, y in zip(xs[good][::-1], bottom[good][::-1])]
    return f'<path class="b-{curve.role}" d="M{"L".join([*there, *back])}Z"/>' if there else ""


def _marks(panel: Panel) -> Iterator[str]:
    """A line at each mark; its sign, where there is room for it."""
    free = -np.inf
    together: dict[int, list[tuple[str, Mark]]] = {}
    for sign, mark in panel.marks:
        together.setdefault(mark.step, []).append((sign, mark))
    for step in sorted(together):
        x, sign = float(_x(panel, float(step))), ",".join(sign for sign, _ in together[step])
        tip = escaped(f"step {step:,}: " + "; ".join(mark.words for _, mark in together[step]))
        yield f'<g class="mark"><title>{tip}</title><path d="M{x:.1f} {TOP - 6}V{HEIGHT - BOTTOM}"/>'
        if x >= free:
            yield f'<text x="{x:.1f}" y="{TOP - 8}" text-anchor="middle">{escaped(sign)}</text>'
            free = x + SIGN_ROOM + 3 * len(sign)
        yield "</g>"


def _broken(panel: Panel) -> Iterator[str]:
    """A cross where a value is no finite number."""
    for step in panel.broken[:50]:
        x, y = float(_x(panel, step)), TOP + 6
        yield (
            f'<g class="broken"><title>not finite at step {step:,.0f}</title>'
            f'<path d="M{x - 4:.1f} {y - 4}l8 8M{x - 4:.1f} {y + 4}l8 -8"/></g>'
        )
