"""Kernels drawn together where one by one they could not be read: those of one module, or of several in a row.

Boxes are put into an order in which what is for the same module and the same purpose comes together as far as what
reads what allows; then neighbours become one box, so that no line leads out of a box and back into it.
"""

from __future__ import annotations

import heapq
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile

from tensorgraph.analysis.counting import Counter as Counting
from tensorgraph.graph.graph import Graph
from tensorgraph.viz.model.drawing import Drawing, Edge, Node, Row
from tensorgraph.viz.model.facts import relative
from tensorgraph.viz.model.functions import calls_by_path
from tensorgraph.viz.model.joins import heaviest, weight
from tensorgraph.viz.model.kernel_repeats import scope_of
from tensorgraph.viz.model.labels import LONGEST, clean, count, listed, times
from tensorgraph.viz.model.rows import write_rows

__all__ = ["NUMBER", "STEPS", "Joins", "brief"]

STEPS = ("kernel", "kernels", "op")  # roles of what runs
GRADIENT, UPDATE = "grad", "update"  # what a kernel may be for besides values
NUMBER = re.compile(r"k\d+")
SAME_FILE = re.compile(r"(\S+\.py:)(\d+) \1(\d+)")
GROWTH = 1.25  # by which more kernels in a row become one box
TIMES, EACH = re.compile(r" x\d+$"), re.compile(r" x\d+ parameters$")  # in titles
MOST_KINDS, MOST_LINES, MOST_TOLD = 3, 2, 12


@dataclass(frozen=True, slots=True)
class _Place:
    """What a kernel is for, and in which module or function it stands: that of the op that computes most."""

    purpose: str
    scope: tuple[str, ...]

    def near(self, other: _Place) -> int:
        """How many names two places have in common, if they are for the same."""
        if self.purpose != other.purpose:
            return -1
        both = zip(self.scope, other.scope, strict=False)
        return next((n for n, (a, b) in enumerate(both) if a != b), min(len(self.scope), len(other.scope)))


def brief(drawing: Drawing) -> Drawing:
    """The drawing with what each kernel computes, its line and what it writes alone; the rest in tips."""
    nodes = []
    for node in drawing.nodes:
        if node.role in ("kernel", "op"):
            said = node.rows[1:]
            told = [row.text for row in said if row.style == "detail"][:2]  # its ops and its lines
            one = SAME_FILE.sub(r"\1\2 \3", ", ".join(told))
            rows = [node.rows[0], *[Row("detail", text) for text in ([one] if len(one) <= LONGEST else told) if text]]
            rows += [row for row in said if row.style == "write"]
            left = [f"{row.text} {row.value}".strip() for row in said if row not in rows and row.text not in told]
            node = replace(node, rows=tuple(rows), tip="\n".join([node.tip, *left]))
        nodes.append(node)
    edges = tuple(edge if edge.role == "carried" else replace(edge, rows=()) for edge in drawing.edges)
    note = "bytes, cells that are read, where results lie and why kernels are apart are left out: depth='op' tells them"
    return replace(drawing, nodes=tuple(nodes), edges=edges, notes=(*drawing.notes, note))


class Joins:
    """Coarser and coarser drawings of the kernels of a graph.

    Parameters
    ----------
    drawing : Drawing
        What repeats is drawn once.
    graph : Graph
        With a scope for each function that the user called.
    box_of : mapping
        For the path of every step the id of its box.
    apart : set of str
        The kernels that are drawn by themselves, by id.
    """

    def __init__(self, drawing: Drawing, graph: Graph, box_of: Mapping[str, str], apart: frozenset[str]) -> None:
        self.drawing, self.graph, self.alone = drawing, graph, apart
        self.numbers: dict[str, list[int]] = defaultdict(list)  # of the steps that a box stands for
        for path, box in box_of.items():
            if NUMBER.fullmatch(path):
                self.numbers[box].append(int(path[1:]))
        self.repeats = drawing.repeats
        self.open: set[str | None] = set()  # frames that are not drawn: their only box says how often it is there
        self.calls = calls_by_path(graph)
        self.cells = {cell.var: cell for cell in graph.cells}
        counting = Counting({})
        self.weights = [weight(counting, eq) for eq in graph.equations]
        self.place = {node.id: self.place_of(node) for node in drawing.nodes if node.role in STEPS}
        self.order = self.ordered()

    def frame(self, node: Node) -> str | None:
        return None if node.group in self.open else node.group

    def equations(self, node: Node) -> tuple[int, ...]:
        """The equations of a box; in a frame, of its first repeat."""
        return node.members[: -(-len(node.members) // self.repeats[self.frame(node)])]

    def place_of(self, node: Node) -> _Place:
        inside = self.equations(node)
        if not inside:
            return _Place("", ())
        equations = [self.graph.equations[i] for i in inside]
        calls = {around.kind for eq in equations if eq.call is not None for around in eq.call.callers()}
        purpose = UPDATE if "optimizer" in calls else GRADIENT if equations[0].origin is not None else ""
        scope = self.graph.equations[max(inside, key=self.weights.__getitem__)].scope
        return _Place(purpose, tuple(scope.split(".")) if scope else ())

    # ---- the order

    def ordered(self) -> list[Node]:
        """The steps in an order that keeps to what reads what, and brings together what belongs together.

        What is in a frame comes together too, unless something outside stands between parts of it.
        """
        steps = [node for node in self.drawing.nodes if node.role in STEPS]
        frames = {node.id: node.group or node.id for node in steps}
        at: dict[str, list[Node]] = defaultdict(list)
        for node in steps:
            at[frames[node.id]].append(node)
        heads = [nodes[0] for nodes in at.values()]
        outer = self.line_up(heads, {node.id: nodes[0].id for nodes in at.values() for node in nodes})
        if len(outer) < len(heads):
            return self.line_up(steps, {node.id: node.id for node in steps})
        found: list[Node] = []
        for head in outer:
            inside = at[frames[head.id]]
            found += inside if len(inside) == 1 else self.line_up(inside, {node.id: node.id for node in inside})
        return found

    def line_up(self, nodes: Sequence[Node], stands: Mapping[str, str]) -> list[Node]:
        """These in such an order, where `stands` says which of them a box belongs to; fewer where there is none."""
        waits = dict.fromkeys((node.id for node in nodes), 0)
        readers: dict[str, set[str]] = defaultdict(set)
        for edge in self.drawing.edges:
            tail, head = stands.get(edge.tail), stands.get(edge.head)
            known = tail is None or head is None or tail == head or head in readers[tail]
            if not known and edge.role != "carried":
                readers[tail].add(head)  # type: ignore[index, arg-type]
                waits[head] += 1  # type: ignore[index]
        number = {node.id: n for n, node in enumerate(nodes)}
        ready: dict[_Place, list[int]] = defaultdict(list)
        for node in nodes:
            if waits[node.id] == 0:
                heapq.heappush(ready[self.place[node.id]], number[node.id])
        found: list[Node] = []
        while ready:
            if found:
                here = self.place[found[-1].id]
                place = max(ready, key=lambda place: (place.near(here), -ready[place][0]))
            else:
                place = min(ready, key=lambda place: ready[place][0])
            node = nodes[heapq.heappop(ready[place])]
            if not ready[place]:
                del ready[place]
            found.append(node)
            for reader in readers[node.id]:
                waits[reader] -= 1
                if waits[reader] == 0:
                    heapq.heappush(ready[self.place[reader]], number[reader])
        return found

    # ---- coarser and coarser

    def by_module(self, depth: int) -> list[list[Node]]:
        """Neighbours of one module at this depth together, each frame and each purpose by itself."""
        chunks: list[list[Node]] = []
        for node in self.order:
            last = chunks[-1][-1] if chunks else None
            here = self.place[node.id]
            same = last is not None and bool(here.scope) and here.scope[:depth] == self.place[last.id].scope[:depth]
            if same and self.may_join(last, node, mixed=False):  # type: ignore[arg-type]
                chunks[-1].append(node)
            else:
                chunks.append([node])
        return chunks

    def packed(self, chunks: Sequence[list[Node]], most: int, mixed: bool) -> list[list[Node]]:
        """Neighbours together while these are no more than `most` kernels; of one frame, and unless `mixed` of one
        purpose."""
        found: list[list[Node]] = []
        for chunk in chunks:
            few = bool(found) and len(found[-1]) + len(chunk) <= most
            if few and self.may_join(found[-1][-1], chunk[0], mixed):
                found[-1] = [*found[-1], *chunk]
            else:
                found.append(chunk)
        return found

    def may_join(self, one: Node, other: Node, mixed: bool) -> bool:
        same = self.frame(one) == self.frame(other) and not {one.id, other.id} & self.alone
        return same and (mixed or self.place[one.id].purpose == self.place[other.id].purpose)

    def coarser(self) -> Iterator[tuple[Drawing, dict[str, str]]]:
        """Drawings of fewer and fewer boxes, each with the box that stands for each of those that were."""
        chunks = [[node] for node in self.order]
        drawn = len(chunks)
        for depth in range(max((len(place.scope) for place in self.place.values()), default=0), 0, -1):
            chunks = self.by_module(depth)
            if len(chunks) < drawn:
                drawn = len(chunks)
                yield self.joined(chunks)
        for mixed in (False, True):
            most = 2.0
            while most < 2 * len(self.order):
                self.open |= self.needless(chunks)
                chunks = self.packed(chunks, round(most), mixed)
                if len(chunks) < drawn:
                    drawn = len(chunks)
                    yield self.joined(chunks)
                most *= GROWTH

    def needless(self, chunks: Sequence[Sequence[Node]]) -> set[str | None]:
        """The frames around one box to which no line leads back."""
        boxes = Counter(self.frame(chunk[0]) for chunk in chunks)
        frame = {node.id: node.group for node in self.order}
        back = {frame.get(edge.head) for edge in self.drawing.edges if edge.role == "carried"}
        return {group for group, number in boxes.items() if group is not None and number == 1 and group not in back}

    # ---- one drawing

    def joined(self, chunks: Sequence[Sequence[Node]]) -> tuple[Drawing, dict[str, str]]:
        """A box for each of these; and which box stands for each that was."""
        made = [self.single(chunk[0]) if len(chunk) == 1 else self.box(chunk) for chunk in chunks]
        stands = {node.id: box.id for chunk, box in zip(chunks, made, strict=True) for node in chunk}
        several = {box.id for chunk, box in zip(chunks, made, strict=True) if len(chunk) > 1}
        edges: dict[tuple[str, str, str], Edge] = {}
        for edge in self.drawing.edges:
            tail, head = stands.get(edge.tail, edge.tail), stands.get(edge.head, edge.head)
            if tail == head and edge.role != "carried":
                continue
            rows = edge.rows if edge.role == "carried" or not {tail, head} & several else ()
            known = edges.get((tail, head, edge.role))
            if known is not None:
                rows = tuple(dict.fromkeys((*known.rows, *rows)))
                edge = replace(edge, values=tuple(dict.fromkeys((*known.values, *edge.values))))
            edges[tail, head, edge.role] = replace(edge, tail=tail, head=head, rows=rows)
        before = [node for node in self.drawing.nodes if node.role == "input"]
        after = [node for node in self.drawing.nodes if node.role not in (*STEPS, "input")]
        nodes = (*before, *made, *after)
        groups = tuple(group for group in self.drawing.groups if group.id not in self.open)
        joins = len(self.order) - len(made) + len(several)
        note = f"{count(joins, 'kernel')} drawn as {count(len(several), 'box')}: depth='op' draws each"
        notes = (*self.drawing.notes, note) if several else self.drawing.notes
        return replace(self.drawing, nodes=nodes, edges=tuple(edges.values()), groups=groups, notes=notes), stands

    def single(self, node: Node) -> Node:
        """A kernel by itself, which says how often it is there where no frame does."""
        if node.group not in self.open:
            return node
        title = replace(node.rows[0], text=times(node.title, self.repeats[node.group]))
        return replace(node, group=None, rows=(title, *node.rows[1:]))

    def box(self, nodes: Sequence[Node]) -> Node:
        """One box for several."""
        frame = self.frame(nodes[0])
        repeats = self.repeats[frame]
        inside = [i for node in nodes for i in self.equations(node)]
        numbers = [n for node in nodes for n in (self.numbers[node.id] if frame is None else [int(node.path[1:])])]
        rows = [Row("title", self.title(nodes, inside)), Row("detail", self.kernels(nodes))]
        rows.append(Row("detail", clean(heaviest(self.graph, inside))))
        lines = list(dict.fromkeys(str(source) for i in inside if (source := self.graph.equations[i].source)))
        if lines:
            rows.append(Row("detail", clean(listed(lines, MOST_LINES))))
        read = dict.fromkeys(a for i in inside for a in self.graph.equations[i].variables() if a in self.cells)
        kinds = Counter(self.cells[var].kind for var in read)
        rows += [Row(kind, count(kinds[kind], kind)) for kind in ("parameter", "buffer") if kinds[kind]]
        outs = {out for i in inside for out in self.graph.equations[i].outputs}
        rows += write_rows([self.cells[write.cell] for write in self.graph.writes if write.value in outs], "", repeats)
        told = [f"{node.path} {node.title}: {', '.join(row.text for row in node.rows[1:3])}" for node in nodes]
        more = [f"and {len(told) - MOST_TOLD} more"] if len(told) > MOST_TOLD else []
        return replace(
            nodes[0], path=f"k{min(numbers):02}..k{max(numbers):02}", role="kernels", rows=tuple(rows), group=frame,
            members=self.members(nodes, repeats), types=nodes[-1].types, tip="\n".join([*told[:MOST_TOLD], *more]),
        )  # fmt: skip

    def members(self, nodes: Sequence[Node], repeats: int) -> tuple[int, ...]:
        """The equations of several, those of the first repeat before those of the next."""
        parts = [(node.members, -(-len(node.members) // repeats)) for node in nodes]
        return tuple(i for k in range(repeats) for members, each in parts for i in members[k * each : (k + 1) * each])

    def title(self, nodes: Sequence[Node], inside: Sequence[int]) -> str:
        """The module or the optimiser that all are for, with what is fused besides, or how many they are."""
        places = [self.place[node.id].scope for node in nodes]
        shared = takewhile(lambda parts: len(set(parts)) == 1, zip(*places, strict=False))
        scope, around = ".".join(part for part, *_ in shared), ""
        frame, purpose = self.frame(nodes[0]), self.place[nodes[0].id].purpose
        if frame is not None:
            around = scope_of(self.graph, (i for n in self.order if n.group == frame for i in self.equations(n)))
        if any(self.place[node.id].purpose != purpose for node in nodes):
            purpose = ""
        if not scope or scope == around:
            number = sum(len(self.numbers[node.id]) for node in nodes) // self.repeats[frame]
            return f"{purpose}: {count(number, 'kernel')}" if purpose else count(number, "kernel")
        call = self.calls.get(scope)
        kind, name = "" if call is None else call.name, relative(scope, around)
        sign = GRADIENT if purpose == GRADIENT else ""
        beside = [i for i in inside if not f"{self.graph.equations[i].scope}.".startswith(f"{scope}.")]
        more = f", {heaviest(self.graph, beside, 1)}" if beside else ""
        said = "" if f"{name}.".startswith(f"{kind}.") else kind  # a function is known by its name, with a number
        return clean(" ".join(word for word in (sign, said, name) if word) + more)

    def kernels(self, nodes: Sequence[Node]) -> str:
        """How often each kernel is there."""
        kinds: Counter[str] = Counter()
        for node in nodes:
            updates = EACH.search(node.title)
            name = node.rows[1].text.partition(": ")[0] if updates else TIMES.sub("", node.title)
            kinds[name] += len(self.numbers[node.id]) // self.repeats[self.frame(node)]
        said = [times(kind, number) for kind, number in kinds.most_common(MOST_KINDS)]
        return clean(", ".join(said) + (", ..." if len(kinds) > MOST_KINDS else ""))
