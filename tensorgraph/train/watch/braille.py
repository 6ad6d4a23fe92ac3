"""Curves in characters: a Braille character has two by four dots, and a terminal a few thousand characters."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

import numpy as np

from tensorgraph.data.arrays import Array
from tensorgraph.train.watch.curves import Curve, Panel, columns

__all__ = ["Plot", "plot"]

# the bit of each dot of a character, by row and column (Unicode, block Braille Patterns)
BITS = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]])
BLANK = 0x2800
LINE = ("training", "dev", "value", "left", "steps")  # a character has one colour, that of the first that is in it
MARK, PLAIN_MARK = "┊", ":"


@dataclass(frozen=True)
class Plot:
    """A panel in characters: rows of (text, role) pieces, where the role says the colour: that of a curve, "axis" or
    "mark"."""

    title: str
    rows: tuple[tuple[tuple[str, str], ...], ...]

    def __str__(self) -> str:
        return "\n".join("".join(text for text, _ in row).rstrip() for row in self.rows)


def plot(panel: Panel, width: int, height: int, *, braille: bool = True) -> Plot:
    """Draw a panel, its axes included, in so many characters and lines.

    Parameters
    ----------
    panel : Panel
    width, height : int
        At least 16 and 4; smaller ones are taken for these.
    braille : bool
        Whether the terminal has these characters; else each is ``*``.

    Examples
    --------
    >>> from tensorgraph.train.watch.curves import Curve, Panel, Scale
    >>> curve = Curve("training", "training", np.arange(5.0), np.arange(5.0))
    >>> print(plot(Panel("loss", (curve,), Scale(0.0, 4.0), 0.0, 4.0), 16, 4))
    4 ┤      ⢀⣀⡤⠤⠖⠒⠋
    0 ┤⣠⠤⠴⠒⠚⠉⠉
      └─────────────
       0           4
    """
    # The plan:
    # 1. the ticks, whose texts say how much room is left for the curves;
    # 2. each curve into dots, the greatest to the least place in every column of dots;
    # 3. a character is the dots of all curves in it, in the colour of one; where there are none, a mark may stand;
    # 4. the axis, and the signs of the marks above it.
    width, height = max(width, 16), max(height, 4)
    inner = height - 2  # lines of the curves
    ticks = panel.scale.ticks(max(2, min(5, inner // 2)))
    margin = max((len(text) for _, text in ticks), default=0) + 2
    across = max(width - margin, 4)
    patterns = {role: np.zeros((inner, across), np.int64) for role in LINE}
    for curve in panel.curves:
        if len(curve.steps):
            patterns[curve.role] |= _dots(curve, panel, across, inner)
    marks: dict[int, str] = {}
    for sign, mark in panel.marks:
        column = min(int((mark.step - panel.first) / (panel.last - panel.first) * across), across - 1)
        marks[column] = f"{marks[column]},{sign}" if column in marks else sign
    at = {round((1.0 - place) * (inner - 1)): text for place, text in _placed(ticks, panel)}
    rows = []
    for line in range(inner):
        side = f"{at[line]:>{margin - 2}} ┤" if line in at else f"{'│':>{margin}}"
        rows.append((((side if braille else side.replace("┤", "+").replace("│", "|")), "axis"),
                     *_characters(patterns, line, marks, braille)))  # fmt: skip
    corner, side = ("└", "─") if braille else ("+", "-")
    rows.append(((" " * (margin - 1) + corner + side * across, "axis"),))
    rows.append(((" " * margin, "axis"), *_foot(panel, across, marks)))
    return Plot(panel.title, tuple(rows))


def _placed(ticks: list[tuple[float, str]], panel: Panel) -> list[tuple[float, str]]:
    places = panel.scale.place(np.array([value for value, _ in ticks]))
    return [(float(place), text) for place, (_, text) in zip(places, ticks) if 0.0 <= place <= 1.0]


def _dots(curve: Curve, panel: Panel, across: int, inner: int) -> Array:
    """The characters' patterns, of shape (inner, across)."""
    edges = np.linspace(panel.first, panel.last, 2 * across + 1)
    seen = columns(curve, edges)
    most = 4 * inner - 1
    # from the top; a place beyond the scale is at its edge
    top = np.clip(np.round((1.0 - panel.scale.place(seen.high)) * most), 0, most)
    bottom = np.clip(np.round((1.0 - panel.scale.place(seen.low)) * most), 0, most)
    rows = np.arange(4 * inner)[:, None]
    with np.errstate(invalid="ignore"):
        dots = (rows >= top) & (rows <= bottom)
    if curve.role == "left":
        dots &= (np.arange(2 * across) % 4 < 2)[None, :]  # dashed
    cells = dots.reshape(inner, 4, across, 2)
    patterns: Array = np.einsum("iajb,ab->ij", cells.astype(np.int64), BITS)
    return patterns


def _characters(patterns: dict[str, Array], line: int, marks: dict[int, str], braille: bool) -> list[tuple[str, str]]:
    """One line of the curves, in pieces of one colour."""
    signs = []
    for column in range(patterns["steps"].shape[1]):
        role = next((role for role in LINE if patterns[role][line, column]), "")
        if role:
            pattern = 0
            for layer in patterns.values():
                pattern |= int(layer[line, column])
            signs.append((chr(BLANK + pattern) if braille else "*", role))
        elif column in marks:
            signs.append((MARK if braille else PLAIN_MARK, "mark"))
        else:
            signs.append((" ", "axis"))
    return [("".join(text for text, _ in piece), role) for role, piece in groupby(signs, key=lambda sign: sign[1])]


def _foot(panel: Panel, across: int, marks: dict[int, str]) -> list[tuple[str, str]]:
    """The line below: the first and the last step, the signs of the marks between."""
    last = f"{panel.last:,.0f}"
    line, roles = list(" " * across), ["axis"] * across
    for text, place in ((f"{panel.first:,.0f}", 0), (last, across - len(last))):
        for i, sign in enumerate(text):
            if 0 <= place + i < across:
                line[place + i] = sign
    for column, sign in marks.items():
        place = min(column, across - len(sign))
        if all(line[i] == " " for i in range(max(place - 1, 0), min(place + len(sign) + 1, across))):
            line[place : place + len(sign)] = list(sign)
            roles[place : place + len(sign)] = ["mark"] * len(sign)
    pairs = zip(line, roles, strict=True)
    return [("".join(text for text, _ in piece), role) for role, piece in groupby(pairs, key=lambda pair: pair[1])]
