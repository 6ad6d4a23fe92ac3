"""The parts of a drawing, each laid out by itself and put on one sheet, with the lines that lead from one to the next.

A frame goes on in the next part under its title. A line leaves its part below, has a place of its own between the two
parts and above them, and enters the next one from above.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from tensorgraph.pages.palette import THEMES, Palette
from tensorgraph.viz.model.drawing import Drawing, Edge, Group, Node
from tensorgraph.viz.render.dot import Writer, to_dot
from tensorgraph.viz.render.engine import EngineError, run_engine
from tensorgraph.viz.render.mirrored import Mirrored
from tensorgraph.viz.render.parts import BESIDE, CONTINUED, LANE, TRACK, gains, parts_of, within

__all__ = ["AS_LAID_OUT", "layout"]

AS_LAID_OUT = ("-Kneato", "-n2")  # nothing is placed anew
CORNER = 5.0  # points by which the corners of lines between parts are rounded
LAID_OUT = re.compile(r"^digraph tensorgraph \{\n(.*?)^\}$", re.S | re.M)
# an engine begins a line for each of its attributes but the first, and labels hold no quotation marks
PLACE = re.compile(r'((?:^\s*|\[)(?:pos|bb|lp)=")([^"]*)', re.M)
PAIR = re.compile(r"(-?[\d.]+(?:e[-+]?\d+)?),(-?[\d.]+(?:e[-+]?\d+)?)")
STATEMENT = re.compile(r"^\s*[a-z]+\d\w*(?::\w+)?(?: -> [a-z]+\d\w*(?::\w+)*)?(?=\t\[)", re.M)
OWN = re.compile(r"\b(?:r\d+|tg\d+|bg\d+r\d+)\b")
BOUNDS = re.compile(r'^\s*graph \[bb="[^",]*,[^",]*,([^",]*),([^"]*)"', re.M)
POINT = re.compile(r'^\s*(w\d+[ab]\d+)\t\[[^\]]*?pos="([^",]*),([^"]*)"', re.M)


def layout(drawing: Drawing, theme: str, timeout: float) -> tuple[str, tuple[str, ...]]:
    """A drawing in DOT, and with what options an engine draws it: one in parts is laid out already."""
    part = parts_of(drawing)
    if part:
        try:
            return _in_parts(drawing, THEMES[theme], timeout / 2, part), AS_LAID_OUT
        except EngineError:
            pass  # as a whole it may do
    return to_dot(drawing, theme), ()


@dataclass(frozen=True, slots=True)
class _Passage:
    """Lines of one look that leave a box and go on in later parts; `positions` are those of their edges."""

    positions: tuple[int, ...]
    edge: Edge  # the first of them, from the upper box to a lower one
    back: bool  # whether values flow upwards
    first: int  # part
    last: int

    def low(self, part: int) -> str:
        return f"w{self.positions[0]}a{part}"

    def high(self, part: int) -> str:
        return f"w{self.positions[0]}b{part}"


def _passages(drawing: Drawing, part: dict[str, int]) -> list[_Passage]:
    found: dict[tuple[object, ...], list[int]] = defaultdict(list)
    for i, edge in enumerate(drawing.edges):
        if not edge.cut and part[edge.tail] != part[edge.head]:
            back = part[edge.tail] > part[edge.head]
            key = (i,) if back or edge.role == "carried" else (edge.tail, edge.role, edge.status, edge.rows)
            found[key].append(i)
    passages = []
    for positions in found.values():
        edge = drawing.edges[positions[0]]
        back = part[edge.tail] > part[edge.head]
        if back:
            edge = replace(edge, tail=edge.head, head=edge.tail, port=None)
        last = max(max(part[drawing.edges[i].tail], part[drawing.edges[i].head]) for i in positions)
        passages.append(_Passage(tuple(positions), edge, back, part[edge.tail], last))
    return passages


class _Part(Writer):
    """One part: its boxes and frames, the lines between these, and those that come in above and leave below."""

    breaks = False

    def __init__(self, drawing: Drawing, colours: Palette, number: int, part: dict[str, int]) -> None:
        parent = {group.id: group.parent for group in drawing.groups}
        first: dict[str, int] = {}
        for node in drawing.nodes:
            inside = node.group
            while inside is not None:
                first[inside] = min(first.get(inside, part[node.id]), part[node.id])
                inside = parent[inside]
        self.whole, self.number, self.part = drawing, number, part
        self.passages = _passages(drawing, part)
        some = within(drawing, {box for box, at in part.items() if at == number})
        groups = tuple(_titled(group, CONTINUED if first[group.id] < number else "") for group in some.groups)
        super().__init__(replace(some, groups=groups), colours)
        self.exits = {i: replace(exit, id=f"{exit.id}p{number}") for i, exit in self.exits.items()}
        frame = {node.id: node.group for node in some.nodes}
        for passage in self.passages:  # how often a template is repeated stands by the point where it is entered
            edge = passage.edge
            if edge.role == "carried" and passage.first == number and edge.rows and frame[edge.tail] is not None:
                self.counts[passage.positions[0]] = frame[edge.tail]

    def header(self) -> str:
        return '""'

    def body(
        self,
        top: str | None,
        inside: Mapping[str | None, Sequence[Node]],
        children: Mapping[str | None, Sequence[Group]],
    ) -> None:
        k = self.number
        lows = [p.low(k) for p in self.passages if p.first <= k < p.last]
        highs = [p.high(k) for p in self.passages if p.first < k <= p.last]
        for points in (highs, lows):
            if points:
                self.lines.append(f"{{rank=same; {' '.join(self.bit(point, self.c.op) for point in points)}}}")
        super().body(top, inside, children)

    def chain(self) -> list[str]:
        return [*super().chain(), *(line for passage in self.passages for line in self.passing(passage))]

    def passing(self, passage: _Passage) -> Iterator[str]:
        """The lines of a passage within this part."""
        k, edge = self.number, passage.edge
        look = _look(passage, self.c)
        if k == passage.first:
            words = self.counts.get(passage.positions[0])
            tail, _ = self.sides(edge)
            arrow = "dir=back" if passage.back else "dir=none"
            if words is not None:
                word = f"k{passage.positions[0]}"
                yield f"{tail} -> {word} [{arrow} {look} weight=1]"
                yield f"{word} -> {passage.low(k)} [dir=none {look} weight=1 headclip=false]"
            else:
                label = f" label={self.words_of(edge)}" if edge.rows and not self.drawing.in_order else ""
                yield f"{tail} -> {passage.low(k)} [{arrow} {look} weight=3 headclip=false{label}]"
        if passage.first < k < passage.last:
            yield f"{passage.high(k)} -> {passage.low(k)} [dir=none {look} headclip=false tailclip=false]"
        if passage.first < k:
            for i in passage.positions:
                real = self.whole.edges[i]
                lower = real.tail if passage.back else real.head
                if self.part[lower] == k:
                    _, head = self.sides(replace(real, tail=real.head, head=lower) if passage.back else real)
                    arrow = "dir=none" if passage.back else ""
                    yield f"{passage.high(k)} -> {head} [{arrow} {look} weight=3 tailclip=false]"


class _MirroredPart(_Part, Mirrored):
    """One of a mirrored drawing, in which frames are bars and say how often they repeat."""

    def __init__(self, drawing: Drawing, colours: Palette, number: int, part: dict[str, int]) -> None:
        super().__init__(drawing, colours, number, part)
        self.counts = {}


def _titled(group: Group, more: str) -> Group:
    title = group.rows[0]
    return replace(group, rows=(replace(title, text=title.text + more), *group.rows[1:])) if more else group


def _look(passage: _Passage, c: Palette) -> str:
    look = {
        "residual": "penwidth=2.6",
        "gradient": f'color="{c.grad}" style=dashed',
        "carried": "style=dashed",
    }.get(passage.edge.role, "")  # fmt: skip
    return look + {
        "added": f' color="{c.io}" penwidth=2.6',
        "removed": f' color="{c.alarm}" style=dashed',
        "fault": f' color="{c.alarm}" penwidth=2.6',
    }.get(passage.edge.status, "")


def _in_parts(drawing: Drawing, colours: Palette, timeout: float, part: dict[str, int]) -> str:
    mirrored = {part[node.id] for node in drawing.nodes if node.role == "gradient" and node.twin}
    numbers = range(max(part.values()) + 1)
    writers = [(_MirroredPart if k in mirrored else _Part)(drawing, colours, k, part) for k in numbers]
    label = Writer(drawing, colours).header()
    head = f"digraph tensorgraph {{\ngraph [labelloc=t labeljust=l label={label}]\na [shape=point]\n}}\n"
    output = run_engine(head + "".join(writer.dot() for writer in writers), "dot", timeout).decode("utf-8")
    found = LAID_OUT.findall(output.replace("\\\n", ""))
    if len(found) != len(writers) + 1:
        raise EngineError(f"the layout engine laid out {len(found)} of {len(writers) + 1} parts")
    sheet = _Sheet(found[1:], writers, _points(found[0], "lwidth"), _points(found[0], "lheight"), label)
    if not gains(drawing, sheet.width, sheet.top + sheet.header[1]):
        raise EngineError("the parts take up more room than was thought")
    return sheet.dot()


def _points(text: str, name: str) -> float:
    """A size that an engine tells in inches."""
    match = re.search(rf"^\s*{name}=([\d.]+)", text, re.M)
    return 72 * float(match[1]) if match else 0.0


class _Sheet:
    """Parts that are laid out, put on one sheet."""

    def __init__(self, bodies: Sequence[str], writers: Sequence[_Part], wide: float, high: float, label: str) -> None:
        self.writers, self.label, self.header = writers, label, (wide, high)
        bounds = [BOUNDS.search(body) for body in bodies]
        sizes = [(float(found[1]), float(found[2])) if found else (0.0, 0.0) for found in bounds]
        self.passages = writers[0].passages
        lanes = [sum(p.first <= k < p.last for p in self.passages) for k in range(len(bodies))]
        self.track = TRACK * (max(lanes) + 1)
        self.high = max(high for _, high in sizes)
        self.left: list[float] = []
        x = 0.0
        for (wide, _), lines in zip(sizes, lanes, strict=True):
            self.left.append(x)
            x += wide + BESIDE + LANE * (lines - 1) * bool(lines)
        self.right = [left + wide for left, (wide, _) in zip(self.left, sizes, strict=True)]
        self.width = max(self.right[-1], self.header[0])
        self.top = 2 * self.track + self.high
        self.bodies = [
            _moved(body, k, self.left[k], self.track + self.high - sizes[k][1]) for k, body in enumerate(bodies)
        ]
        self.places = {name: (float(x), float(y)) for body in self.bodies for name, x, y in POINT.findall(body)}

    def dot(self) -> str:
        wide, high = self.header
        total = self.top + high
        at = f"{wide / 2:.1f},{total - high / 2:.1f}"
        head = self.writers[0].lines[1:4]
        graph = head[0].removesuffix("]").replace('label=""', f"label={self.label}")
        graph += f' bb="0,0,{self.width:.1f},{total:.1f}" lp="{at}" lwidth={wide / 72:.3f} lheight={high / 72:.3f}]'
        lines = ["digraph tensorgraph {", graph, *head[1:], *self.bodies]
        for k in range(len(self.bodies) - 1):
            lines += self.between(k)
        return "\n".join([*lines, "}"]) + "\n"

    def between(self, k: int) -> Iterator[str]:
        """The lines from one part to the next, each with a lane of its own: none crosses another that need not."""
        passages = [p for p in self.passages if p.first <= k < p.last]
        passages.sort(key=lambda p: -self.places[p.low(k)][0])
        lane = self.right[k] + BESIDE / 2
        floor = min(self.places[p.low(k)][1] for p in passages) if passages else 0.0
        for n, passage in enumerate(passages):
            begin, end = self.places[passage.low(k)], self.places[passage.high(k + 1)]
            down, up = floor - TRACK * (n + 1), self.top - TRACK * (n + 1)
            corners = [begin, (begin[0], down), (lane, down), (lane, up), (end[0], up), end]
            lane += LANE
            look = _look(passage, self.writers[0].c)
            yield f'{passage.low(k)} -> {passage.high(k + 1)} [dir=none {look} pos="{_way(corners)}"]'


def _moved(body: str, number: int, right: float, up: float) -> str:
    """A part at its place, with names of its own for frames, bars and the points that lines pass."""
    body = STATEMENT.sub(lambda match: OWN.sub(rf"\g<0>p{number}", match[0]), body)
    body = re.sub(r"^\t(?:graph|node|edge) \[[^\]]*\];\n", "", body, flags=re.M)
    body = re.sub(r"^(\s*subgraph cluster_g\d+) ", rf"\1p{number} ", body, flags=re.M)

    def place(match: re.Match[str]) -> str:
        return match[1] + PAIR.sub(lambda p: f"{float(p[1]) + right:.2f},{float(p[2]) + up:.2f}", match[2])

    return PLACE.sub(place, body)


def _way(corners: Sequence[tuple[float, float]]) -> str:
    """A line by these corners, which are rounded, as a layout engine writes it."""
    points = [corners[0]]
    for before, here, after in zip(corners, corners[1:], corners[2:], strict=False):
        begin, end = _towards(here, before), _towards(here, after)
        points += [points[-1], begin, begin, here, here, end]
    points += [points[-1], corners[-1], corners[-1]]
    return " ".join(f"{x:.2f},{y:.2f}" for x, y in points)


def _towards(here: tuple[float, float], there: tuple[float, float]) -> tuple[float, float]:
    across, up = there[0] - here[0], there[1] - here[1]
    length = abs(across) + abs(up)
    part = min(CORNER, length / 2) / length if length else 0.0
    return here[0] + part * across, here[1] + part * up
