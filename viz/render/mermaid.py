"""`Drawing` to Mermaid, the flowchart language that Markdown on many sites shows as a picture.

As in DOT, ids are generated and one function escapes every label: whatever is not a letter, a digit or harmless is
written as a character code, which Mermaid shows as that character and never reads.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict

from tensorgraph.pages.palette import THEMES, Palette, heated
from tensorgraph.viz.model.drawing import Drawing, Edge, Group, Node, Row
from tensorgraph.viz.model.labels import SIGNS, clean

__all__ = ["to_mermaid"]

PLAIN = frozenset(" ,.:=+-/@!?*^%$_()")
MOST_EDGES = 500  # that Mermaid draws unless the page that shows it says otherwise
MOST_CHARACTERS = 50_000  # likewise
SHAPES = {  # opening and closing sign by role; else a box with round corners
    "input": ("([", "])"),
    "output": ("([", "])"),
    "module": ("[[", "]]"),
    "summary": ("[[", "]]"),
    "ops": ("[[", "]]"),
    "kernel": ("[[", "]]"),
    "kernels": ("[[", "]]"),
    "write": ("[", "]"),
    "entry": ("((", "))"),
}
ARROWS = {"residual": "==>", "gradient": "-.->", "saved": "-.->", "carried": "-.->"}
STATUS_ARROWS = {"added": "==>", "removed": "-.->", "fault": "==>"}


def to_mermaid(drawing: Drawing, theme: str = "light") -> str:
    """The drawing as a flowchart in one theme's colours (``"auto"``: light, which reads well on a dark page too)."""
    if theme not in THEMES:
        raise ValueError(f"theme must be one of {', '.join(THEMES)}, got {theme!r}")
    edges = [edge for edge in drawing.edges if not edge.cut]
    lines = [
        f"flowchart {'LR' if drawing.direction == 'right' else 'TD'}",
        *_boxes(drawing),
        *map(_edge, edges),
        *_classes(drawing, THEMES[theme]),
    ]
    notes = list(drawing.notes)
    if len(edges) > MOST_EDGES or sum(map(len, lines)) > MOST_CHARACTERS:
        notes.append("larger than what Mermaid draws by default (maxEdges, maxTextSize): use svg or html, or draw less")
    head = ["---", f"title: {json.dumps(_remark(drawing.title))}", "---", *(f"%% {_remark(note)}" for note in notes)]
    return "\n".join([*head, *lines]) + "\n"


def label(rows: tuple[Row, ...]) -> str:
    """Escaped lines; the only way for a string into the flowchart."""
    lines = [words(_line(row)) for row in rows]
    return (
        '"' + "<br/>".join([f"<b>{line}</b>" if row.style == "title" else line for row, line in zip(rows, lines)]) + '"'
    )


def words(text: str) -> str:
    """Escaped text."""
    text = clean(text, 200)
    return "".join(c if c in PLAIN or (c.isascii() and c.isalnum()) else f"#{ord(c)};" for c in text)


def _line(row: Row) -> str:
    if not row.value:
        return row.text
    return f"{row.text} = {row.value}" if row.style in ("attribute", "constant") else f"{row.text} {row.value}"


def _remark(text: str) -> str:
    """Title or comment, which know no escapes: braces would begin a directive, angles an element."""
    return clean(text, 200).translate(str.maketrans("{}<>", "()()"))


def _boxes(drawing: Drawing) -> list[str]:
    """Boxes and frames around them, from the outside in."""
    inside: dict[str | None, list[Node]] = defaultdict(list)
    for node in drawing.nodes:
        inside[node.group].append(node)
    children: dict[str | None, list[Group]] = defaultdict(list)
    for group in drawing.groups:
        children[group.parent].append(group)
    lines = [_box(node, 1) for node in inside[None]]
    pending: list[tuple[Group | None, int]] = [(group, 1) for group in reversed(children[None])]
    while pending:
        frame, depth = pending.pop()
        if frame is None:
            lines.append("  " * depth + "end")
            continue
        lines.append("  " * depth + f"subgraph {frame.id}[{label(frame.rows[:1])}]")
        lines += [_box(node, depth + 1) for node in inside[frame.id]]
        pending.append((None, depth))
        pending += [(child, depth + 1) for child in reversed(children[frame.id])]
    return lines


def _box(node: Node, depth: int) -> str:
    opening, closing = SHAPES.get(node.role, ("(", ")"))
    rows = node.rows
    if node.status in SIGNS and rows:
        rows = (Row("title", f"{SIGNS[node.status]} {rows[0].text}", rows[0].value), *rows[1:])
    if node.metric:
        rows = (*rows[:1], Row("detail", node.metric), *rows[1:])
    return f"{'  ' * depth}{node.id}{opening}{label(rows)}{closing}"


def _edge(edge: Edge) -> str:
    arrow = STATUS_ARROWS.get(edge.status) or ARROWS.get(edge.role, "-->")
    rows = (Row("detail", edge.status), *edge.rows) if edge.status else edge.rows  # a sign would begin a list
    said = f"|{label(rows)}|" if rows else ""
    return f"  {edge.tail} {arrow}{said} {edge.head}"


def _classes(drawing: Drawing, c: Palette) -> list[str]:
    """How roles look: never by colour alone."""
    looks = {
        "io": f"stroke:{c.io},stroke-width:3px",
        "module": f"stroke:{c.module},stroke-width:1px",
        "gradient": f"stroke:{c.grad},stroke-width:2px,stroke-dasharray:5 3",
        "write": f"stroke:{c.param},stroke-width:2px",
        "update": f"stroke:{c.param},stroke-width:3px",
        "op": f"stroke:{c.op},stroke-width:1px",
        "added": f"stroke:{c.io},stroke-width:4px",
        "removed": f"stroke:{c.alarm},stroke-width:2px,stroke-dasharray:5 3",
        "changed": f"stroke:{c.param},stroke-width:3px",
        "moved": f"stroke:{c.frame},stroke-width:1px",
        "fault": f"stroke:{c.alarm},stroke-width:4px",
    }
    names = {"input": "io", "output": "io", **dict.fromkeys(("summary", "modules", "kernel", "kernels"), "module")}
    members: dict[str, list[str]] = defaultdict(list)
    for node in drawing.nodes:
        name = node.status or names.get(node.role, node.role)
        members[name if name in looks else "op"].append(node.id)
    lines = []
    for name, ids in members.items():
        lines += [f"  classDef {name} fill:{c.box},color:{c.ink},{looks[name]}", f"  class {','.join(ids)} {name}"]
    for node in drawing.nodes:
        if node.heat is not None and not math.isnan(node.heat):
            on = heated(c, node.heat)
            lines.append(f"  style {node.id} fill:{on.box},color:{on.ink}")
    if drawing.groups:
        frames = ",".join(group.id for group in drawing.groups)
        lines += [f"  classDef frame fill:{c.group},color:{c.ink},stroke:{c.frame}", f"  class {frames} frame"]
    return lines
