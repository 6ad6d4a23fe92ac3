"""`Drawing` to Graphviz's language.

One builder makes every label, from escaped text only, so that nothing a user named can become markup: names of
nodes, groups and ports are generated, and no URL, image or attribute comes from outside. (The quoting of the
`graphviz` package passes a label that begins with ``<`` and ends with ``>`` through as markup.)
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

from tensorgraph.pages.palette import THEMES, Palette, heated
from tensorgraph.viz.model.budget import held, ranks
from tensorgraph.viz.model.drawing import Drawing, Edge, Group, Node, Row
from tensorgraph.viz.model.labels import SIGNS
from tensorgraph.viz.render.columns import columns
from tensorgraph.viz.render.exits import Exit, exits
from tensorgraph.viz.render.extent import extent, note_lines
from tensorgraph.viz.render.metrics import room
from tensorgraph.viz.render.swatches import font, swatch

__all__ = ["FONT", "Writer", "to_dot", "words"]

FONT = "Arial"
LEFT = ' align="left"'
TITLE, BODY, SMALL = 11, 9, 8  # points; on edges BODY
LEGEND_COLUMNS = 3  # at least
SIGN = 40  # points of a sign and what is around it
TAB = 6  # points, by which the sign of a kernel stands out above its box
REST = 40  # empty columns beside the legend
EMPTY, WIDE = 3, 12  # columns on each side of a table of rows; characters by which others are longer that ask for more
MARKED = ("parameter", "buffer", "write")  # styles of rows that carry their role's sign
CENTRED = ("title", "type", "warning", "detail")
CONTINUED = "continued"  # the style of a further line of a row
NARROW = 18  # characters of a line where values flow to the right
GAP = re.compile(r"(?<![+\d|]) ")  # between words; a number, a plus and a sign stay with what follows
ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;", "\\": "&#92;"})
TURNED = {"n": "w", "s": "e", "w": "n", "e": "s", "nw": "nw", "ne": "sw", "sw": "ne", "se": "se"}
SIDE = re.compile(r"(?<=\w):([ns]?[we]|[ns])(?= -> | \[)")
_FORBIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def to_dot(drawing: Drawing, theme: str = "light") -> str:
    """The drawing in DOT, in one theme's colours (``"auto"``: light)."""
    if theme not in THEMES:
        raise ValueError(f"theme must be one of {', '.join(THEMES)}, got {theme!r}")
    from tensorgraph.viz.render.mirrored import Mirrored

    writer = Mirrored if any(node.role == "gradient" and node.twin for node in drawing.nodes) else Writer
    return writer(drawing, THEMES[theme]).dot()


def _turned(match: re.Match[str]) -> str:
    """A side of a box as it is where values flow to the right."""
    return f":{TURNED[match[1]]}"


def words(text: str) -> str:
    """Escaped text; the only way for a string into a label."""
    return _FORBIDDEN.sub("", text).translate(ESCAPES) or " "


def folded(row: Row) -> list[Row]:
    """A row as lines of few characters."""
    if len(f"{row.text} {row.value}".strip()) <= NARROW:
        return [row]
    lines: list[str] = []
    for word in (*GAP.split(row.text), *([row.value] if row.value else [])):
        if lines and len(f"{lines[-1]} {word}") <= NARROW:
            lines[-1] = f"{lines[-1]} {word}"
        else:
            lines.append(word)
    further = row.style if row.style in CENTRED else CONTINUED if row.style in MARKED else "note"
    return [replace(row, text=lines[0], value=""), *[Row(further, text) for text in lines[1:]]]


def skipping(drawing: Drawing) -> set[str]:
    """The points of repeats that a skip leaves: a residual edge, or one way of several, straight to the box that the
    line back comes from."""
    drawn = [edge for edge in drawing.edges if not edge.cut]
    back = {(edge.head, edge.tail) for edge in drawn if edge.role == "carried"}
    ways = Counter(edge.tail for edge in drawn)
    skips = [e for e in drawn if e.role == "residual" or ((e.tail, e.head) in back and ways[e.tail] > 1)]
    return {edge.tail for edge in skips if edge.tail in drawing.points}


class Writer:
    breaks = True  # into columns, where that helps

    def __init__(self, drawing: Drawing, colours: Palette) -> None:
        self.drawing, self.c = drawing, colours
        self.lines: list[str] = []
        self.coming: Counter[str] = Counter()  # lines into each box
        self.exits = exits(drawing)
        self.points = drawing.points
        self.skipping = skipping(drawing)
        self.column_of = columns(drawing) if drawing.direction == "auto" and self.breaks else {}
        self.over: dict[str, list[str]] = {}  # the points from which lines lead to the heads of columns
        # how often a template is repeated stands in a box on the line back: a label of an edge would set all ranks
        # further apart, and may be laid out outside of the frame
        frame = {node.id: node.group for node in drawing.nodes}
        self.counts = {
            i: frame[edge.head]
            for i, edge in enumerate(drawing.edges)
            if edge.role == "carried"
            and edge.rows
            and not edge.cut
            and not edge.status
            and edge.tail != edge.head
            and frame[edge.head] is not None
        }
        self.begun: set[str] = set()  # exits to which a line leads already

    def dot(self) -> str:
        c = self.c
        way, between = ("LR", 0.22) if self.drawing.direction == "right" else ("TB", 0.155)
        graph = (
            f'rankdir={way} nodesep=0.28 ranksep={between} pad=0.1 bgcolor="{c.page}" fontname="{FONT}" '
            f'fontcolor="{c.ink}" labelloc=t labeljust=l label={self.header()}'
        )
        box = (
            f'shape=box style="rounded,filled" fontname="{FONT}" fontsize={BODY} fontcolor="{c.ink}" '
            f'fillcolor="{c.box}" color="{c.op}" penwidth=1 margin="0.09,0.04" width=1.1 height=0.3'
        )
        line = f'fontname="{FONT}" fontsize={BODY} fontcolor="{c.muted}" color="{c.op}" penwidth=1 arrowsize=0.6'
        self.lines = ["digraph tensorgraph {", f"graph [{graph}]", f"node [{box}]", f"edge [{line}]"]
        inside: dict[str | None, list[Node]] = defaultdict(list)
        for node in self.drawing.nodes:
            inside[node.group].append(node)
        children: dict[str | None, list[Group]] = defaultdict(list)
        for group in self.drawing.groups:
            children[group.parent].append(group)
        self.body(None, inside, children)
        drawn = [edge for edge in self.drawing.edges if not edge.cut]
        self.coming = Counter(edge.head for edge in drawn)
        self.lines += [line for i, edge in enumerate(self.drawing.edges) if not edge.cut for line in self.edge(i, edge)]
        self.lines += [*self.chain(), *self.heads()]
        if self.drawing.direction == "right":
            self.lines = [self.turned(line) for line in self.lines]
        return "\n".join([*self.lines, "}"]) + "\n"

    def body(
        self,
        top: str | None,
        inside: Mapping[str | None, Sequence[Node]],
        children: Mapping[str | None, Sequence[Group]],
    ) -> None:
        """Boxes, then groups with theirs; an explicit stack, for scopes may nest deeply."""
        points: dict[str, dict[str, Exit]] = defaultdict(dict)
        for point in self.exits.values():
            points[point.group][point.id] = point
        self.lines += [self.node(node) for node in inside[top]]
        pending: list[tuple[Group | None, int]] = [(group, 0) for group in reversed(children[top])]
        while pending:
            group, depth = pending.pop()
            if group is None:
                self.lines.append("}")
                continue
            fill = self.c.inner if depth % 2 else self.c.group
            self.lines.append(
                f'subgraph cluster_{group.id} {{ graph [style="rounded,filled" fillcolor="{fill}" '
                f'color="{self.c.frame}" penwidth=1 margin=10 labeljust=l labelloc=t '
                f"label={self.tab(group)}]"
            )
            self.lines += [self.node(node) for node in inside[group.id]]
            self.lines += [self.exit(point) for point in points[group.id].values()]
            self.lines += [
                f"k{i} [id=k{i} shape=plain style=solid width=0 height=0 label={self.words_of(self.drawing.edges[i])}]"
                for i, frame in self.counts.items()
                if frame == group.id
            ]
            pending.append((None, depth))
            pending += [(child, depth + 1) for child in reversed(children[group.id])]

    def tab(self, group: Group) -> str:
        """A frame's title, on the page's colour, so that it stands out where a line passes."""
        bare = f'<table border="0" cellborder="0" cellspacing="0" cellpadding="1" bgcolor="{self.c.page}">'
        return f"<{bare}<tr>{self.cell(group.rows[0].text, self.c.muted, BODY, True)}</tr></table>>"

    @staticmethod
    def turned(line: str) -> str:
        """A line between boxes with the sides of its ends as they are where values flow to the right."""
        ends, bracket, rest = line.partition(" [")
        return SIDE.sub(_turned, ends + bracket) + rest if " -> " in ends else line

    def chain(self) -> list[str]:
        """Unseen lines that hold boxes in their order where no line does."""
        drawn = {(edge.tail, edge.head) for edge in self.drawing.edges if not edge.cut}
        pairs = [pair for pair in held(self.drawing) if pair not in drawn]
        return [f"{a} -> {b} [style=invis weight=12]" for a, b in pairs if self.same_column(a, b)]

    def same_column(self, *boxes: str) -> bool:
        return len({self.column_of.get(box, 0) for box in boxes}) == 1

    def heads(self) -> list[str]:
        """The boxes at the heads of columns, side by side."""
        if len(set(self.column_of.values())) < 2:
            return []
        rank = ranks(self.drawing)
        first: dict[int, list[str]] = defaultdict(list)
        for node in sorted(self.drawing.nodes, key=lambda node: rank[node.id]):
            if (at := first[self.column_of[node.id]]) and rank[node.id] > rank[at[0]]:
                continue
            at.append(node.id)
        # all of the highest rank of the first column: the others would be laid out to their right
        heads = first.pop(0)
        for n in sorted(first):  # where a line leads to
            head = next((box for box in first[n] if box in self.over), first[n][0])
            heads += [*self.over.get(head, ()), head]
        beside = [f"{a} -> {b} [style=invis weight=1]" for a, b in pairwise(heads)]
        return [f"{{rank=same; {' '.join(heads)}}}", *beside]

    # ---- boxes

    def node(self, node: Node) -> str:
        c = self.c
        border = {
            "input": f'color="{c.io}" penwidth=2.2',
            "output": f'color="{c.io}" penwidth=2.2',
            "module": f'color="{c.module}" peripheries=2 penwidth=0.9',
            "ops": f'color="{c.op}" peripheries=2',
            "gradient": f'color="{c.grad}" style="rounded,filled,dashed" penwidth=1.4',
            "write": f'color="{c.param}"',
            "update": f'color="{c.param}" penwidth=1.4',
            "summary": f'color="{c.module}" peripheries=2',
            "kernel": f'color="{c.module}" shape=tab style=filled penwidth=1.1',
            "kernels": f'color="{c.module}" shape=tab style=filled peripheries=2 penwidth=0.9',
        }.get(node.role, "")
        if node.id in self.points:
            border += ' margin="0.05,0.01" width=0.2 height=0.1'
        border += self.column(node)
        border += self.status(node)
        page = c
        if node.heat is not None and not math.isnan(node.heat):
            self.c = heated(c, node.heat)
            border += f' fillcolor="{self.c.box}"'
        elif node.heat is not None:  # no figure: quiet, so that the others speak
            border += f' color="{c.frame}" penwidth=0.8 peripheries=1'
        label = self.label(node)
        self.c = page
        return f"{node.id} [id={node.id} {border} label={label}]"

    def column(self, node: Node) -> str:
        """More of how a box is laid out."""
        return ""

    def status(self, node: Node) -> str:
        """How a box of a comparison, or at fault, differs from the others, besides its sign."""
        return {
            "added": f' color="{self.c.io}" penwidth=3',
            "removed": f' color="{self.c.alarm}" style="rounded,filled,dashed" penwidth=1.4',
            "changed": f' color="{self.c.param}" penwidth=2',
            "moved": f' color="{self.c.frame}" penwidth=1',
            "fault": f' color="{self.c.alarm}" penwidth=3 peripheries=2',
        }.get(node.status, "")

    def label(self, node: Node) -> str:
        """A table: ports above, title, centred lines, then named rows in two columns."""
        cells = []
        if node.ports:
            ports = "".join(
                self.cell(port.text, self.c.muted, SMALL, more=f' port="{port.id}" cellpadding="1"')
                for port in node.ports
            )
            table = f'<table border="0" cellborder="0" cellspacing="0" cellpadding="0"><tr>{ports}</tr></table>'
            cells.append(f"<tr><td>{table}</td></tr>")
        if node.id in self.points:
            bare = '<table border="0" cellborder="0" cellspacing="0" cellpadding="0">'
            return f"<{bare}<tr>{self.cell(node.title, self.c.muted, SMALL)}</tr></table>>"
        centred = [row for row in node.rows if row.style in CENTRED]
        named = [row for row in node.rows if row not in centred]
        sign = SIGNS.get(node.status, "")
        if sign:
            centred = [replace(row, text=f"{sign} {row.text}") if row.style == "title" else row for row in centred]
        if self.drawing.direction == "right":  # where the width of boxes adds up
            centred, named = ([part for row in rows for part in folded(row)] for rows in (centred, named))
        cells += [f"<tr>{self.line(row)}</tr>" for row in centred]
        if node.metric:
            known = node.heat is None or not math.isnan(node.heat)
            look = (self.c.ink, BODY, True) if known else (self.c.muted, SMALL, False)
            cells.append(f"<tr>{self.cell(node.metric, *look)}</tr>")
        if named:
            least, most = (max(len(f"{row.text} {row.value}") for row in rows) for rows in (named, centred or named))
            cells.append(f"<tr><td>{self.table(named, EMPTY if most - least < WIDE else 4 * EMPTY)}</td></tr>")
        return f'<<table border="0" cellborder="0" cellspacing="0" cellpadding="1">{"".join(cells)}</table>>'

    def table(self, rows: Sequence[Row], empty: int = EMPTY) -> str:
        """Mark, name, value; what has no value to align uses both columns.

        A table is stretched to the box, each column by the same amount: empty ones at the sides take most of it.
        """
        marks = any(row.style in MARKED for row in rows)
        side = "left" if marks else "center"
        edge = "<td></td>" * empty
        lines = []
        for row in rows:
            mark = swatch(self.c, row.style) if row.style in MARKED else "<td></td>"
            assigned = row.style in ("attribute", "constant") and row.value
            name = f"{row.text} = {row.value}" if assigned else row.text
            colour = self.c.ink if row.style in (*MARKED, CONTINUED) else self.c.muted
            if row.value and not assigned:
                value = self.cell(row.value, self.c.muted, BODY, more=' align="right"')
                cells = self.cell(name, colour, BODY, more=' align="left"') + f'<td width="9"></td>{value}'
            else:
                cells = self.cell(name, colour, BODY, more=f' align="{side}" colspan="3"')
            first = f'{mark}<td width="4" height="14"></td>' if marks else '<td height="14"></td>'
            lines.append(f"<tr>{edge}{first}{cells}{edge}</tr>")
        return f'<table border="0" cellborder="0" cellspacing="0" cellpadding="0">{"".join(lines)}</table>'

    def line(self, row: Row, more: str = "") -> str:
        """A cell with one line."""
        text = f"{row.text} {row.value}".strip()
        if row.style == "title":
            return self.cell(text, self.c.ink, TITLE, True, more)
        if row.style == "saved":
            return self.cell(text, self.c.muted, SMALL, False, more)
        if row.style == "warning":
            return self.cell(text, self.c.alarm, BODY, True, more)
        return self.cell(text, self.c.muted, BODY, False, more)

    def cell(self, text: str, colour: str, size: int, bold: bool = False, more: str = "") -> str:
        """A cell that holds a text in the widest font it may be shown in, whatever the engine measures."""
        shown = font(words(text), colour, size)
        return f'<td width="{room(text, size, bold)}"{more}>{f"<b>{shown}</b>" if bold else shown}</td>'

    def exit(self, point: Exit) -> str:
        return self.bit(point.id, self.c.grad if point.role == "gradient" else self.c.op)

    def bit(self, name: str, colour: str, width: float = 1.0, line: str = "") -> str:
        """A bit of line, since lines end a point before a node's border however small it is.

        The bits of one `line` stand below one another.
        """
        border = min(width, 2.0)
        column = f"group={line} " if line else ""
        across, along = f"{max(width - border, 0.1) / 72:.3f}", "0.042"
        wide, high = (along, across) if self.drawing.direction == "right" else (across, along)
        return (
            f"{name} [id={name} {column}shape=box style=filled fixedsize=true width={wide} height={high} "
            f'penwidth={border:g} fillcolor="{colour}" color="{colour}" label=""]'
        )

    # ---- edges

    def edge(self, position: int, edge: Edge) -> list[str]:
        """One line, or two by way of an exit; edges that share an exit share the line to it."""
        c = self.c
        look = {
            "residual": "penwidth=2.6 weight=1",
            "gradient": f'color="{c.grad}" style=dashed weight=1',
            "saved": f'color="{c.op}" style=dotted penwidth=1.6 arrowsize=0.5',
            "carried": 'style="dashed" constraint=false weight=1',
        }.get(edge.role, "weight=12" if self.coming[edge.head] == 1 else "weight=3")  # keep chains straight
        look += {
            "added": f' color="{c.io}" penwidth=2.6',
            "removed": f' color="{c.alarm}" style=dashed weight=1',
            "fault": f' color="{c.alarm}" penwidth=2.6',
        }.get(edge.status, "")
        label = ""
        if edge.status in SIGNS:
            edge = replace(edge, rows=(Row("title", SIGNS[edge.status]), *edge.rows))
        if edge.rows and (edge.role == "carried" or not self.drawing.in_order):  # else the boxes say it
            label = f" label={self.words_of(edge)}"
        tail, head = self.sides(edge)
        return self.lines_of(position, replace(edge, tail=tail), head, look, label)

    def sides(self, edge: Edge) -> tuple[str, str]:
        """The ends of a line in DOT, with the sides of their boxes where that matters.

        Where a skip leaves the point at which a repeat is entered, it does so below, as all that the repeat reads, and
        the line back goes from right to right. With ends on the same side, the skip would seem to have two arrowheads.
        """
        if edge.role == "carried" and edge.head in self.skipping:
            return f"{edge.tail}:e", f"{edge.head}:e"
        head = f"{edge.head}:{edge.port}:n" if edge.port else edge.head
        return f"{edge.tail}:s" if edge.tail in self.skipping else edge.tail, head

    def lines_of(self, position: int, edge: Edge, head: str, look: str, label: str) -> list[str]:
        point = self.exits.get(position)
        if not self.same_column(*[end.partition(":")[0] for end in (edge.tail, edge.head)]):
            if not self.drawing.groups:
                return [f"{edge.tail}:e -> {edge.head}:w [constraint=false {look}{label}]"]
            return self.beside(position, edge, look, label)
        if edge.role == "carried":  # laid out as what leads down, so that its frame has room
            look = look.replace("constraint=false ", "")
            if edge.tail == edge.head:  # beside the box, since below it something else begins
                words = f" label={self.words_of(edge)}" if edge.rows else ""
                return [f"{edge.tail}:e -> {edge.tail}:e [{look}{words}]"]
            if position not in self.counts:
                return [f"{head} -> {edge.tail} [dir=back {look}{label}]"]
            word = f"k{position}"
            return [f"{head} -> {word} [dir=back {look}]", f"{word} -> {edge.tail} [dir=none {look}]"]
        if point is None:
            return [f"{edge.tail} -> {head} [{look}{label}]"]
        look = re.sub(r"weight=\d+$", "weight=100", look)  # straight down through the frame
        lines = [f"{point.id} -> {head} [{look} tailclip=false]"]
        if point.id not in self.begun:
            self.begun.add(point.id)
            lines.insert(
                0, f"{edge.tail} -> {point.id} [{look} minlen={point.length} arrowhead=none headclip=false{label}]"
            )
        return lines

    def beside(self, position: int, edge: Edge, look: str, label: str) -> list[str]:
        """A line from the end of a column to the next one, which a frame would be in the way of: down to a point, up
        beside the column to another one, and from there to the head."""
        low, high = f"w{position}a", f"w{position}b"
        self.over.setdefault(edge.head.partition(":")[0], []).append(high)
        colour = self.c.grad if edge.role == "gradient" else self.c.op
        return [
            self.bit(low, colour, 1.0, f"turn{position}"), self.bit(high, colour, 1.0, f"turn{position}"),
            f"{edge.tail} -> {low} [{look} dir=none headclip=false]",
            f"{high} -> {low} [style=invis weight=0]",
            f"{low}:s -> {high}:w [constraint=false {look} dir=none headclip=false tailclip=false{label}]",
            f"{high} -> {edge.head} [{look} tailclip=false]",
        ]  # fmt: skip

    def words_of(self, edge: Edge) -> str:
        """The label of an edge."""
        side = '<td width="5"></td>'
        rows = "".join(f"<tr>{side}{self.line(row, more=LEFT)}{side}</tr>" for row in edge.rows)
        return f'<<table border="0" cellborder="0" cellspacing="0" cellpadding="1">{rows}</table>>'

    # ---- title and legend

    def header(self) -> str:
        """Title, then the legend as a grid, then notes."""
        lines = [self.cell(self.drawing.title, self.c.ink, TITLE + 1, True, LEFT)]
        legend = self.drawing.legend
        rows = []
        across = self.signs_across()
        for i in range(0, len(legend), across):
            cells = '<td width="6"></td>'.join(
                swatch(self.c, entry.role) + self.cell(entry.text, self.c.muted, SMALL, more=LEFT)
                for entry in legend[i : i + across]
            )
            rows.append(f"<tr>{cells}</tr>")
        if rows:
            signs = f'<table border="0" cellborder="0" cellspacing="4" cellpadding="0">{"".join(rows)}</table>'
            rest = "<td></td>" * REST  # takes up the width of a long title, or the signs would drift apart
            bare = '<table border="0" cellborder="0" cellspacing="0" cellpadding="0">'
            lines.append(f"<td{LEFT}>{bare}<tr><td>{signs}</td>{rest}</tr></table></td>")
        lines += [self.cell(line, self.c.muted, SMALL, more=LEFT) for line in note_lines(self.drawing)]
        if any(node.role in ("kernel", "kernels") for node in self.drawing.nodes):
            lines.append(f'<td height="{TAB}"></td>')  # which a layout engine does not count
        body = "".join(f"<tr>{line}</tr>" for line in lines)
        return f'<<table border="0" cellborder="0" cellspacing="0" cellpadding="1">{body}</table>>'

    def signs_across(self) -> int:
        """How many signs of the legend stand beside one another, where no wider than the drawing."""
        legend = self.drawing.legend
        wide, high = extent(self.drawing)
        most = high if self.drawing.direction == "right" else wide
        for across in range(len(legend), LEGEND_COLUMNS, -1):
            longest = [max(room(entry.text, SMALL) for entry in legend[k::across]) for k in range(across)]
            if sum(longest) + across * SIGN <= most:
                return across
        return LEGEND_COLUMNS
