"""The page: one file with its style, its script and its data, and a policy that forbids everything else.

What a user named reaches the page as text only: in the data, where the script puts it into the document as text, and
in the drawings, where it has been escaped. The policy names style and script by their hashes, so nothing else runs.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import replace
from typing import Any

from tensorgraph.pages import assets, coloured, document, escaped, scripted
from tensorgraph.viz.html.insides import View, views
from tensorgraph.viz.html.layouts import lay_out
from tensorgraph.viz.html.lines import Lines, text_beside
from tensorgraph.viz.model.drawing import Drawing, Edge, LegendEntry, Node, Row
from tensorgraph.viz.model.labels import clean, count
from tensorgraph.viz.render.engine import REMEDY

__all__ = ["to_html"]

MOST_BYTES = 24_000_000  # of drawings in one page; beyond, the innermost are listed instead
SHEETS = ("layout.css", "drawing.css")
SCRIPTS = ("views.js", "stage.js", "search.js", "text.js", "main.js")


def to_html(drawing: Drawing) -> str:
    """One page: the drawing, what is inside each of its modules, search, details. It makes no request."""
    found, closed = views(drawing)
    legend = Drawing("", "legend", (), legend=_legend(found))
    ways = [replace(view.drawing, direction=drawing.direction) for view in found]
    svgs, reason = lay_out([*ways, legend], drawing.timeout)
    key = svgs.pop()
    notes = [*drawing.notes]
    left, room = 0, MOST_BYTES
    for i, svg in enumerate(svgs):
        room -= len(svg or "")
        if room < 0 and svg is not None:
            svgs[i], left = None, left + 1
    if left:
        notes.append(f"{count(left, 'inside')} listed instead of drawn, to keep this page small")
    missing = sum(svg is None for svg in svgs) - left
    if missing and reason:
        what = "shown as a list" if svgs[0] is None else f"{count(missing, 'inside')} listed instead of drawn"
        notes.append(reason if REMEDY in reason else f"{what}: {reason}")
    if closed:
        notes.append(f"{count(closed, 'box')} cannot be opened here: draw the part with focus= or on its own")
    text = None if drawing.source is None else text_beside(drawing.source)
    data = {
        "title": drawing.title,
        "name": drawing.title.rpartition(": ")[0] or drawing.title,
        "theme": drawing.theme,
        "notes": [clean(note, 1_200) for note in notes],
        "legend": [entry.text for entry in legend.legend],
        "key": key,
        "text": [] if text is None else [_indented(line) for line in text.lines],
        "views": [_view(view, svg, i == 0, text) for i, (view, svg) in enumerate(zip(found, svgs, strict=True))],
    }
    return _assembled(drawing, svgs[0] or "", data)


def _indented(line: str) -> str:
    """A line of text with what leads it."""
    rest = line.lstrip(" ")
    return line[: len(line) - len(rest)] + (clean(rest, 400) if rest else "")


def _legend(found: list[View]) -> tuple[LegendEntry, ...]:
    """What occurs in any view, in the order of their legends."""
    return tuple(dict.fromkeys(entry for view in found for entry in view.drawing.legend))


def _view(view: View, svg: str | None, first: bool, text: Lines | None) -> dict[str, Any]:
    """What the script needs of a drawing. Paths inside a module begin with what joins them to the module's."""
    drawing, opens = view.drawing, dict(view.opens)
    at = {node.id: i for i, node in enumerate(drawing.nodes)}
    times = drawing.repeats
    made: dict[str, Any] = {
        "boxes": [_box(node, opens, first, times[node.group]) for node in drawing.nodes],
        "edges": [_edge(edge, at) for edge in drawing.edges],
    }
    for node, box in zip(drawing.nodes, made["boxes"], strict=True):
        if text is not None and view.equations:
            lines = {text.of[view.equations[i]] for i in node.members} - {-1}
            if lines:
                box["lines"] = sorted(lines)
    if drawing.groups:
        ops = _ops_within(drawing)
        made["frames"] = [
            {"id": group.id, "path": group.path if first else f".{group.path}", "title": group.rows[0].text,
             "ops": ops[group.id] // times[group.id], "times": times[group.id], **_opening(group.id, opens)}
            for group in drawing.groups
        ]  # fmt: skip
    if svg is not None and not first:
        made["svg"] = svg
    if svg is None:
        made["listed"] = True
    if drawing.notes and not first:
        made["notes"] = list(drawing.notes)
    return made


def _ops_within(drawing: Drawing) -> dict[str | None, int]:
    """How many ops stand in each frame, those of frames within it too."""
    found: dict[str | None, int] = defaultdict(int)
    for node in drawing.nodes:
        found[node.group] += len(node.members)
    for group in reversed(drawing.groups):  # outer ones come first
        found[group.parent] += found[group.id]
    return found


def _opening(id: str, opens: dict[str, int]) -> dict[str, int]:
    return {"opens": opens[id]} if id in opens else {}


def _box(node: Node, opens: dict[str, int], first: bool, times: int) -> dict[str, Any]:
    path = node.path
    if not first and not path.startswith("/"):
        own = node.role in ("input", "output", "write") or (node.role in ("op", "gradient") and "/" not in path)
        path = f"/{path}" if own else f".{path}"
    made: dict[str, Any] = {"id": node.id, "path": path, "role": node.role, "rows": [_row(row) for row in node.rows]}
    optional = {"types": list(node.types), "tip": node.tip, "status": node.status, "metric": node.metric,
                "twin": node.twin}  # fmt: skip
    made |= {name: value for name, value in optional.items() if value}
    if len(node.members) > times:
        made["ops"] = len(node.members) // times
    if times > 1:
        made["times"] = times
    return made | _opening(node.id, opens)


def _row(row: Row) -> list[str]:
    return [row.style, row.text, row.value] if row.value else [row.style, row.text]


def _edge(edge: Edge, at: dict[str, int]) -> list[Any]:
    said: list[Any] = [at[edge.tail], at[edge.head], edge.role, list(edge.values[:8])]
    return said if not edge.status else [*said, edge.status]


# ---- one file


def _assembled(drawing: Drawing, svg: str, data: object) -> str:
    title = clean(drawing.title, 200)
    given = {"title": escaped(title), "drawing": svg}
    body = re.sub(r"\{\{(\w+)\}\}", lambda match: given[match[1]], assets(__package__, "page.html"))
    style, script = f"{coloured()}\n{assets(__package__, *SHEETS)}", scripted(assets(__package__, *SCRIPTS))
    return document(title, body, style=style, script=script, data=data, theme=drawing.theme)
