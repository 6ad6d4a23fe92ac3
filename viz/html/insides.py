"""What is inside the boxes of a drawing, as drawings of their own, down to single ops.

Names inside a module are told from that module, so that equal modules have equal insides: these are one drawing, laid
out once, however often it occurs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tensorgraph.engine.tree import flatten
from tensorgraph.graph.calls import Copies
from tensorgraph.graph.graph import CellDecl, Equation, Graph, Var, Write
from tensorgraph.viz.model.budget import mend
from tensorgraph.viz.model.build import build
from tensorgraph.viz.model.drawing import Drawing, Group, Node
from tensorgraph.viz.model.expansion import written_out
from tensorgraph.viz.model.facts import relative
from tensorgraph.viz.model.fold import fold
from tensorgraph.viz.model.functions import with_functions
from tensorgraph.viz.model.joins import joined
from tensorgraph.viz.model.view import Box, by_module, by_op, depths, pack

__all__ = ["View", "views"]

READABLE = 40  # ops that are drawn one by one even where there are modules
MOST_OPS = 300  # drawn one by one where there are none
MOST_BOXES = 80  # of modules
WRITTEN = 100  # ops that a fused op written out counts as
MOST_WORK = 100_000  # ops drawn in insides, in all; beyond, the rest stays closed
WHOLE = ("module", "modules", "summary")  # roles worth opening even for a single op


@dataclass(frozen=True, slots=True)
class View:
    """A drawing and, by the id of a box or frame, the position of the view inside it.

    `equations` are the positions in the whole graph of what is drawn; of several equal views, in the first.
    """

    drawing: Drawing
    opens: tuple[tuple[str, int], ...]
    equations: tuple[int, ...] = field(default=(), compare=False)


# a module, the positions of its equations in the whole graph, and whether it is a fused op to be written out
Part = tuple[str, tuple[int, ...], bool]


def views(drawing: Drawing) -> tuple[list[View], int]:
    """The drawing and every distinct inside, the drawing first and outer ones before inner; and how many boxes stayed
    closed since there were too many."""
    graph = drawing.source
    if graph is None:
        return [View(drawing, ())], 0
    whole = _Whole(with_functions(graph), drawing.painter)
    root: Part = ("", (), False)
    drawings: dict[Part, Drawing] = {root: replace(drawing, source=None, painter=None)}
    closed = {root: _closed(drawing, range(len(graph.equations)), whole)}
    waiting, work, left = [root], 0, 0
    for part in waiting:  # outer ones first, so that what stays closed is deep inside
        for _, inner in closed[part]:
            if inner in drawings:
                continue
            work += WRITTEN if inner[2] else len(inner[1])
            if work > MOST_WORK:
                left += 1
                continue
            inside = _inside(whole, *inner)
            if inside is None:
                continue
            drawings[inner] = inside
            closed[inner] = [] if inner[2] else _closed(inside, inner[1], whole)
            waiting.append(inner)
    # inner ones first: two are the same if they look the same and what can be opened in them is the same
    made: dict[View, int] = {}
    number: dict[Part, int] = {}
    for part in (*sorted(waiting[1:], key=lambda part: (len(part[1]), not part[2])), root):
        opens = tuple((id, number[inner]) for id, inner in closed[part] if inner in number)
        positions = tuple(range(len(graph.equations))) if part == root else () if part[2] else part[1]
        number[part] = made.setdefault(View(drawings[part], opens, positions), len(made))
    return _outer_first(list(made)), left


def _outer_first(found: list[View]) -> list[View]:
    """The last view is the outermost: breadth first from there."""
    order = [len(found) - 1]
    place = {order[0]: 0}
    for at in order:
        for _, inner in found[at].opens:
            if inner not in place:
                place[inner] = len(order)
                order.append(inner)
    return [replace(found[at], opens=tuple((id, place[inner]) for id, inner in found[at].opens)) for at in order]


def _closed(drawing: Drawing, equations: Sequence[int], whole: _Whole) -> list[tuple[str, Part]]:
    """What can be opened: a box's or frame's id, and what is inside."""
    found: list[tuple[str, Part]] = []
    within: dict[str | None, list[int]] = defaultdict(list)
    around: dict[str | None, tuple[str, ...]] = {None: ()}
    times = drawing.repeats
    for group in drawing.groups:
        around[group.id] = (*around[group.parent], group.id)
    total = {i for node in drawing.nodes for i in node.members}
    first: dict[str, tuple[int, ...]] = {}  # of a template, what is opened is its first repeat
    for node in drawing.nodes:
        first[node.id] = node.members[: -(-len(node.members) // times[node.group])]
        for frame in around[node.group]:
            within[frame] += first[node.id]
    items: list[Node | Group] = [*drawing.nodes, *drawing.groups]
    for item in items:
        members = first[item.id] if isinstance(item, Node) else tuple(dict.fromkeys(within[item.id]))
        if not members or max(members) >= len(equations):
            continue
        if isinstance(item, Group):
            worth = 1 < len(members) < len(total)
        else:
            worth = len(members) > 1 or item.role in WHOLE
        inside = tuple(sorted(equations[i] for i in members))
        fused = isinstance(item, Node) and item.role == "op" and len(members) == 1 and whole.fused(inside[0])
        if worth or fused:
            found.append((item.id, (whole.scope_of(inside, item.path), inside, fused)))
    return found


class _Whole:
    """The graph that everything is a part of, indexed once."""

    def __init__(self, graph: Graph, painter: Any = None) -> None:
        self.graph, self.painter = graph, painter
        self.cells = {cell.var: cell for cell in graph.cells}
        self.producer, self.readers = graph.index.position, graph.index.users
        self.outputs = {out for out in graph.outputs if isinstance(out, Var)}
        self.writes: dict[int, list[Write]] = defaultdict(list)
        for write in graph.writes:
            if isinstance(write.value, Var) and write.value in self.producer:
                self.writes[self.producer[write.value]].append(write)

    def fused(self, at: int) -> bool:
        """Whether an equation's op has a reference of which it is an optimisation."""
        return getattr(self.graph.equations[at].op, "reference", None) is not None

    def scope_of(self, equations: Sequence[int], path: str) -> str:
        """The module that these equations are: that of the path if it is one, else the innermost that holds all."""
        scopes = {self.graph.equations[i].scope or "" for i in equations}
        named = path.partition("#")[0].partition("~")[0]
        if all(scope == named or scope.startswith(named + ".") for scope in scopes):
            return named
        first, last = min(scopes).split("."), max(scopes).split(".")
        shared = 0
        while shared < min(len(first), len(last)) and first[shared] == last[shared]:
            shared += 1
        return ".".join(first[:shared])

    def part(self, equations: Sequence[int], scope: str) -> Graph:
        """These equations as a graph of their own, names told from `scope`."""
        # The plan:
        # 1. the equations with their scopes told from here; what they read from outside are inputs, cells and constants
        #    stay what they are;
        # 2. what others read is given, and writes of these equations are kept;
        # 3. the modules they stand in.
        graph, chosen = self.graph, set(equations)
        entering: dict[Var, None] = {}
        cells: dict[Var, CellDecl] = {}
        leaving: dict[Var, None] = {}
        inside: list[Equation] = []
        writes: list[Write] = []
        calls = Copies(within=scope)
        for i in equations:
            eq = graph.equations[i]
            inside.append(replace(eq, call=calls.of(eq.call)))
            for atom in eq.atoms():
                if not isinstance(atom, Var) or self.producer.get(atom, -1) in chosen or atom in graph.consts:
                    continue
                if atom in self.cells:
                    cells[atom] = self.cells[atom]
                else:
                    entering[atom] = None
            for out in eq.outputs:
                if out in self.outputs or any(reader not in chosen for reader in self.readers.get(out, ())):
                    leaving[out] = None
            for write in self.writes.get(i, ()):
                writes.append(write)
                cells[write.cell] = self.cells[write.cell]
        consts = {
            atom: graph.consts[atom]
            for eq in inside
            for atom in eq.atoms()
            if isinstance(atom, Var) and atom in graph.consts
        }
        return Graph(
            tuple(entering),
            tuple(replace(cell, path=relative(cell.path, scope)) for cell in cells.values()),
            consts,
            tuple(inside),
            tuple(writes),
            tuple(leaving),
            flatten(tuple(entering))[1],
            flatten(tuple(leaving))[1],
            name=scope,
        )


def _inside(whole: _Whole, scope: str, equations: Sequence[int], fused: bool) -> Drawing | None:
    """The drawing of a part; None for a fused op whose reference cannot be traced."""
    part = whole.part(equations, scope)
    if fused:
        try:
            written = written_out(part, {0})
        except Exception:  # a user's own reference may do anything, and a page is worth having without it
            return None
        part = _Whole(written).part(range(len(written.equations)), written.equations[0].scope)
    boxes, level = _boxes(part)
    drawing = mend(build(part, boxes, level))
    if whole.painter is not None and not fused:  # a fused op has its figure as a whole
        drawing = whole.painter(drawing, part, equations)
    return replace(drawing, title="", source=None)  # a title would tell equal ones apart; the page says it


def _boxes(part: Graph) -> tuple[list[Box], str]:
    """Ops one by one where that stays readable, else modules one level down, else runs of ops; always more than one
    box, and so smaller ones."""
    ops = len(part.equations)
    if ops <= READABLE:
        return fold(part, by_op(part), ()), "op"
    for depth in range(1, depths(part) + 1):
        boxes = by_module(part, depth)
        if len(boxes) > 1:
            folded = joined(part, boxes, lambda boxes: fold(part, boxes, ()))
            return (pack(part, boxes, MOST_BOXES) if len(folded) > MOST_BOXES else folded), "module"
    folded = fold(part, by_op(part), ())
    if len(folded) <= MOST_OPS:
        return folded, "op"
    return pack(part, by_op(part), min(MOST_BOXES, -(-ops // READABLE))), "module"
