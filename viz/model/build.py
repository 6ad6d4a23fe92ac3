"""View to `Drawing`: nodes with their labels, edges with what flows, frames, title and legend."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from tensorgraph.graph.graph import CellDecl, Graph, Literal, Var
from tensorgraph.viz.model.drawing import Drawing, Edge, Group, LegendEntry, Node, Port, Row
from tensorgraph.viz.model.entries import Entry, Ways, titled
from tensorgraph.viz.model.facts import Facts, unique
from tensorgraph.viz.model.groups import Frame, frames
from tensorgraph.viz.model.labels import clean, count, own_said, turns_said, type_text
from tensorgraph.viz.model.rows import (
    MOST_PORTS,
    boundary_rows,
    cell_row,
    fold_rows,
    gradient_rows,
    module_title,
    op_rows,
    summary_rows,
)
from tensorgraph.viz.model.rows import write_rows as rows_of_writes
from tensorgraph.viz.model.tips import box_tip, value_tip
from tensorgraph.viz.model.view import Box, Fold

__all__ = ["Builder", "build", "legend_of", "summary", "title_of"]

# from a box into another, at a port, within a template from one repeat to the next, and which of several such operands
Flow = tuple[int, int, str | None, bool, int]
Place = tuple[int, tuple[int, ...]]  # where a value comes from: a box, and which repeat of it
LOOKS = 200_000  # steps spent on finding residual edges, in all
LEGEND = (
    ("input", "input, output"), ("module", "module"), ("kernel", "kernel"), ("kernels", "several kernels"),
    ("op", "op"), ("ops", "several ops"),
    ("gradient", "gradient"),
    ("update", "update"),
    ("parameter", "parameter"), ("buffer", "buffer"), ("write", "cell written"), ("residual", "residual edge"),
    ("saved", "kept for the gradient"), ("carried", "into the next repeat"), ("entry", "enters a repeat"),
    ("stop", "-| gradient ends"),
    ("warning", "! dtype changes"), ("stub", "<- edge not drawn"),
)  # fmt: skip


def summary(graph: Graph) -> Drawing:
    """The whole graph as one box."""
    facts = Facts.of(graph, ())
    rows = tuple(summary_rows(graph, facts.input_names, facts.output_names))
    every = tuple(range(len(graph.equations)))
    node = Node("n0", clean(graph.name or "graph"), "summary", rows, members=every, tip=f"{len(every)} ops")
    return Drawing(title_of(graph, 1), "summary", (node,), legend=legend_of((node,), ()), source=graph)


def title_of(graph: Graph, boxes: int) -> str:
    """``net: 291 ops drawn as 9 boxes``."""
    ops = len(graph.equations)
    drawn = "" if ops == boxes else f" drawn as {count(boxes, 'box')}"
    return f"{clean(graph.name or 'graph')}: {count(ops, 'op')}{drawn}"


def build(graph: Graph, boxes: Iterable[Box], level: str) -> Drawing:
    """Draw these boxes."""
    return Builder(Facts.of(graph, boxes), level).drawing()


class Builder:
    """Positions: inputs first, then boxes, then what has no box of its own, then outputs; always topological."""

    def __init__(self, facts: Facts, level: str) -> None:
        self.facts, self.level = facts, level
        self.graph = facts.graph
        self.taken: dict[str, int] = {}
        self.nodes: list[Node] = []
        self.flows: dict[Flow, list[Var]] = {}
        self.box_at: dict[int, Box] = {}  # by position
        self.source: dict[Var, int] = {}  # position of the box that a value comes from
        self.ways = Ways(facts)
        self.point_of: dict[Entry, int] = {}  # position of the point at which a value enters a template
        self.entered: dict[int, Fold] = {}  # the template, by that position
        # of two boxes, where each repeat takes a value of its own: which takes which
        self.own: dict[tuple[int, int], set[tuple[tuple[int, ...], tuple[int, ...]]]] = defaultdict(set)
        self.calls: dict[str, int] = defaultdict(int)
        self.parameters: dict[str, set[Var]] = {}  # that the first box of a name reads

    def add(self, path: str, role: str, rows: Iterable[Row], **more: object) -> int:
        at = len(self.nodes)
        path = unique(self.taken, clean(path, 200))
        self.nodes.append(Node(f"n{at}", path, role, tuple(rows), **more))  # type: ignore[arg-type]
        return at

    def flow(
        self, var: Var, head: int, port: str | None = None, seen: Counter[Place] | None = None,
        way: Sequence[Entry] = (), back: bool = False, nth: int = 0,
    ) -> None:  # fmt: skip
        """A value into a box, through the points of a `way` into templates, to the first of them `back` from the
        repeat before.

        `seen` counts, where each has a line of its own, the operands of an equation by where they come from; without
        it, this is the `nth` line.
        """
        tail = self.source.get(var)
        if tail is None:
            return
        points = [self.point_of[entry] for entry in way]
        for n, (a, b) in enumerate(pairwise([tail, *points])):
            entering = var if back and n == 0 else way[n].first
            self.flows.setdefault((a, b, None, back and n == 0, 0), []).append(entering)
        if points:
            tail, var = points[-1], way[-1].first
        if tail != head:
            at = self.facts.producer.get(var)
            key = (tail, () if at is None else self.facts.repeat_of[at])
            nth = nth if seen is None else seen[key]
            self.flows.setdefault((tail, head, port, False, nth), []).append(var)
            if seen is not None:
                seen[key] += 1

    def drawing(self) -> Drawing:
        facts, graph = self.facts, self.graph
        self.inputs()
        kept, frame_of = frames(facts.boxes, self.level)
        self.leaving, self.written = self.what_leaves(), self.what_is_written()
        for b in range(len(facts.boxes)):
            self.add_box(b, frame_of[b])
        self.connect()
        self.loose_writes()
        self.outputs()
        edges = self.edges()
        groups = tuple(self.group(frame) for frame in kept)
        nodes = tuple(self.nodes)
        return Drawing(
            title_of(graph, len(facts.boxes)), self.level, nodes, edges, groups, legend_of(nodes, edges),
            source=graph,
        )  # fmt: skip

    def inputs(self) -> None:
        for name, var in zip(self.facts.input_names, self.graph.inputs, strict=True):
            self.source[var] = self.add(
                f"inputs/{name}", "input", boundary_rows(name, var), types=(type_text(var.aval),),
                tip=value_tip(name, var),
            )  # fmt: skip

    def outputs(self) -> None:
        for name, out in zip(self.facts.output_names, self.graph.outputs, strict=True):
            rows = boundary_rows(name, out)
            if isinstance(out, Var) and out in self.facts.cells:
                rows.append(cell_row(self.facts.cells[out], ""))
            types = (type_text(out.aval),) if isinstance(out, Var) else ()
            at = self.add(f"outputs/{name}", "output", rows, types=types, tip=value_tip(name, out))
            if isinstance(out, Var):
                self.flow(out, at)

    def group(self, frame: Frame) -> Group:
        parent = frame.parent
        if frame.fold is not None:
            title = Row("title", clean(frame.fold.title))
            return Group(frame.id, clean(frame.path, 200), (title,), parent.id if parent else None, frame.fold.count)
        title = module_title(self.facts, frame.scope, parent.scope if parent else "")
        return Group(frame.id, clean(frame.path, 200), (title,), parent.id if parent else None)

    # ---- boxes

    def what_leaves(self) -> dict[int, list[Var]]:
        """For each box, the values made in it that something outside it reads."""
        facts, found = self.facts, defaultdict(dict)  # type: ignore[var-annotated]
        for i, eq in enumerate(self.graph.equations):
            if facts.box_of[i] < 0:  # a gradient, whose box is made apart
                continue
            for atom in eq.atoms():
                if isinstance(atom, Var):
                    at = facts.producer.get(atom)
                    if at is not None and facts.box_of[at] != facts.box_of[i]:
                        found[facts.box_of[at]][atom] = None
        for out in self.graph.outputs:
            if isinstance(out, Var) and out in facts.producer:
                found[facts.box_of[facts.producer[out]]][out] = None
        order = {var: n for n, var in enumerate(facts.producer)}
        return {box: sorted(variables, key=order.__getitem__) for box, variables in found.items()}

    def what_is_written(self) -> dict[int, list[CellDecl]]:
        """For each box, the cells that get a value made in it; of a template, in its first repeat."""
        facts, found = self.facts, defaultdict(list)
        for write in self.graph.writes:
            at = facts.producer.get(write.value) if isinstance(write.value, Var) else None
            if at is not None and facts.box_of[at] >= 0 and not any(facts.repeat_of[at]):
                found[facts.box_of[at]].append(facts.cells[write.cell])
        return found

    def add_box(self, b: int, frame: Frame | None) -> int:
        # The plan:
        # 1. rows and a name by the kind of box, an op's or a module's;
        # 2. a part of a gradient that is written out is called after what it is the gradient of;
        # 3. the name's second use and further ones are numbered;
        # 4. the node, and where its values come from.
        for entry in self.ways.beginning.get(b, ()):
            self.add_entry(entry, frame)
        facts, box = self.facts, self.facts.boxes[b]
        scope, writes = frame.scope if frame else "", self.written.get(b, [])
        eq = facts.graph.equations[box.equations[0]]
        ports: list[Port] = []
        backward = self.is_backward(box)
        if box.kind in ("op", "gradient"):
            name = f"{box.scope}/{eq.op.name}" if box.scope else eq.op.name
            if box.kind == "gradient":
                rows = gradient_rows(facts, box)
            else:
                rows, ports = op_rows(facts, box, scope, box.scope if box.scope != scope else None)
        else:
            name = box.scope if box.kind == "module" else f"{box.scope}..{box.last}" if box.last else f"{box.scope}/ops"
            name = name.lstrip("/")
            calls = self.calls[f"{name}~grad" if backward else name] + 1
            own = {cell.var for cell in facts.cell_rows_of(box) if cell.kind == "parameter"}
            others = self.parameters.setdefault(name, own)
            if own and others and own.isdisjoint(others):  # another one of this name
                calls = 1
            rows = fold_rows(facts, box, scope, self.leaving.get(b, []), calls)
        if backward:
            name = f"{name}~grad"
            if box.kind not in ("op", "ops"):
                rows = [Row("title", clean(f"grad {rows[0].text}")), *rows[1:]]
        n = self.calls[name]
        self.calls[name] += 1
        leaving = self.leaving.get(b, []) or [v for v in eq.outputs if len(box.equations) == 1]
        rows = [*rows, *rows_of_writes(writes, box.scope, 1 + len(box.others))]
        at = self.add(
            f"{name}#{n}" if n else name,
            "gradient" if backward else "module" if box.kind == "modules" else box.kind,
            rows,
            ports=tuple(ports),
            group=frame.id if frame else None,
            members=box.members,
            types=tuple(dict.fromkeys(map(self.typed, leaving))),
            tip=box_tip(facts, box, writes),
        )
        self.stands(at, box)
        return at

    def add_entry(self, entry: Entry, frame: Frame | None) -> None:
        """The point at which a value enters a template, in the frame of the template."""
        while frame is not None and frame.fold is not entry.fold:
            frame = frame.parent
        together = self.ways.together[entry]
        known = next((self.point_of[other] for other in together if other in self.point_of), None)
        if known is not None:
            self.point_of[entry] = known
            return
        began = "from outside" if entry.start is None else "what it says"
        title = titled(together, self.facts)
        types = dict.fromkeys(type_text(other.first.aval) for other in together)
        lines = [f"{other.called}: {other.first.aval}" for other in together]
        lines.append(f"{began} for the first of {entry.fold.count} repeats, then from the repeat before")
        self.point_of[entry] = self.add(
            f"{entry.fold.path}/{entry.called}", "entry", [Row("title", title)], group=frame.id if frame else None,
            types=tuple(types), tip="\n".join(lines),
        )  # fmt: skip
        self.entered[self.point_of[entry]] = entry.fold

    def is_backward(self, box: Box) -> bool:
        """Whether a box is part of a gradient that is written out."""
        return box.kind != "gradient" and all(self.graph.equations[i].origin is not None for i in box.equations)

    def stands(self, at: int, box: Box) -> None:
        """Note that what a box makes comes from this position."""
        self.box_at[at] = box
        for i in box.members:
            for out in self.graph.equations[i].outputs:
                self.source[out] = at

    def connect(self) -> None:
        """What flows into the boxes, once all stand: a template's first box reads what its last one made before."""
        for at, box in self.box_at.items():
            ends = {port.id for port in self.nodes[at].ports}
            handed = self.facts.handed(box)  # module(x, x) likewise
            for i in box.members:
                operands = list(self.graph.equations[i].atoms())
                apart = box.kind == "op" and len(operands) <= MOST_PORTS  # x * x reads x twice, by two lines
                seen: Counter[Place] | None = Counter() if apart else None
                for position, atom in enumerate(operands):
                    if isinstance(atom, Var):
                        port = f"p{position}" if f"p{position}" in ends else None
                        for nth in range(min(max(handed[atom], 1), MOST_PORTS)):
                            self.flow(atom, at, port, seen, *self.ways.of(i, position), nth)
                        if (i, position) in self.ways.own and atom in self.source:
                            made = self.facts.repeat_of[self.facts.producer[atom]]
                            self.own[self.source[atom], at].add((self.facts.repeat_of[i], made))

    def typed(self, var: Var) -> str:
        return type_text(var.aval) + (" !" if self.facts.changes_dtype(var) else "")

    def loose_writes(self) -> None:
        """Writes of a value that no box makes: a constant, an input, another cell."""
        for write in self.graph.writes:
            if isinstance(write.value, Var) and write.value in self.facts.producer:
                continue
            cell = self.facts.cells[write.cell]
            rows = [Row("title", "write"), Row("write", f"writes {clean(cell.path)}")]
            if isinstance(write.value, Literal):
                rows.append(Row("constant", "value", clean(write.value.value)))
            elif write.value in self.facts.cells:
                rows.append(cell_row(self.facts.cells[write.value], ""))
            at = self.add(f"writes/{cell.path}", "write", rows, tip=f"writes {clean(cell.path)}")
            if isinstance(write.value, Var):
                self.flow(write.value, at)

    # ---- edges

    def edges(self) -> tuple[Edge, ...]:
        before: dict[int, set[int]] = defaultdict(set)
        for tail, head, _, carried, _ in self.flows:
            if not carried:
                before[head].add(tail)
        residual = self.residual(before)
        made = []
        for (tail, head, port, carried, _), variables in self.flows.items():
            variables = list(dict.fromkeys(variables))
            if carried:
                role = "carried"
            elif self.nodes[tail].role == "gradient" or self.is_deferred(head):
                role = "gradient"
            else:
                role = "residual" if (tail, head) in residual else "data"
            rows = self.carried_rows(head) if carried else self.edge_rows(tail, head, variables)
            made.append(self.edge(tail, head, role, rows, variables, port))
        return tuple(made)

    def edge(
        self, tail: int, head: int, role: str, rows: tuple[Row, ...], variables: Iterable[Var], port: str | None = None
    ) -> Edge:
        values = dict.fromkeys(f"{clean(v.name)}: {v.aval}" if v.name else str(v.aval) for v in variables)
        return Edge(self.nodes[tail].id, self.nodes[head].id, role, rows, port, tuple(values))

    def carried_rows(self, head: int) -> tuple[Row, ...]:
        """How many repeats there are, on the line that leads back to where they begin."""
        entry = next((entry for entry, at in self.point_of.items() if at == head), None)
        return () if entry is None else (Row("detail", f"x{entry.fold.count}"),)

    def edge_rows(self, tail: int, head: int, variables: list[Var]) -> tuple[Row, ...]:
        """A label where the shape or dtype changes, and the box does not say it already."""
        node = self.nodes[tail]
        if any(map(self.is_deferred, (tail, head))):
            return ()  # a gradient has the shape of what it is taken of
        if node.role in ("input", "entry") or self.nodes[head].role == "output":
            return self.counted(tail, head, variables)  # these boxes say it
        said = {row.text for row in node.rows if row.style in ("type", "warning")}
        folded = tail in self.box_at and self.box_at[tail].kind != "op"
        if folded and len({type_text(var.aval) for var in variables}) == 1:  # of several, all or none are told
            said.add(self.facts.entering(self.box_at[tail]))
        rows: dict[Row, None] = {}
        for var in variables:
            text, alarm = type_text(var.aval), self.facts.changes_dtype(var)
            if text in said or f"{text} !" in said:
                continue
            if alarm:
                rows[Row("warning", f"{text} !")] = None
            elif folded or self.facts.changes_shape(var):
                rows[Row("type", text)] = None
        shown = [*rows, *self.counted(tail, head, variables)]
        return tuple(shown[:3]) + ((Row("detail", f"and {len(shown) - 3} more"),) if len(shown) > 3 else ())

    def counted(self, tail: int, head: int, variables: Iterable[Var]) -> tuple[Row, ...]:
        """Of which repeats a line between the inside and the outside of a template leads, but for the last, or whether
        each takes its own."""
        within, inner = self.folds_at(tail), self.folds_at(head)
        shared = sum(x is y for x, y in zip(within, inner, strict=False))
        if (tail, head) in self.own and len(inner) > shared:
            pairs = self.own[tail, head] if len(within) > shared else ()
            return (Row("repeats", own_said([(reader, made[shared:]) for reader, made in pairs])),)
        if len(within) == shared:
            return ()
        made = (self.facts.producer.get(var) for var in variables)
        repeats = {self.facts.repeat_of[i][shared:] for i in made if i is not None}
        said = turns_said(repeats, [fold.count for fold in within[shared:]])
        return (Row("repeats", said),) if said else ()

    def folds_at(self, at: int) -> tuple[Fold, ...]:
        """The templates around a box; around a point those outside of the one that it stands in."""
        if at in self.box_at:
            return self.box_at[at].folds
        fold = self.entered.get(at)
        found: list[Fold] = []
        while fold is not None and fold.around is not None:
            fold = fold.around
            found.append(fold)
        return tuple(reversed(found))

    def is_deferred(self, at: int) -> bool:
        return at in self.box_at and self.box_at[at].kind == "gradient"

    def residual(self, before: Mapping[int, set[int]]) -> set[tuple[int, int]]:
        """Edges into an addition whose other operand comes, by a longer way, from the same box."""
        found: set[tuple[int, int]] = set()
        looks = LOOKS
        for head, node in enumerate(self.nodes):
            tails = before.get(head, ())
            eq = self.graph.equations[node.members[0]] if node.role == "op" and len(tails) > 1 else None
            if eq is None or not eq.op.traits >= {"linear", "commutative"}:
                continue
            shapes = {atom.aval.shape for atom in eq.atoms() if isinstance(atom, Var)}
            if shapes != {eq.outputs[0].aval.shape}:
                continue
            start = min(tails)
            seen = {t for t in tails if t != start}
            pending = list(seen)
            while pending and looks > 0:
                looks -= 1
                for t in before.get(pending.pop(), ()):
                    if t == start:
                        found.add((start, head))
                        pending.clear()
                        break
                    if t > start and t not in seen:
                        seen.add(t)
                        pending.append(t)
        return found


def legend_of(nodes: Iterable[Node], edges: Iterable[Edge]) -> tuple[LegendEntry, ...]:
    """What occurs, in a fixed order."""
    occurs = {"input" if node.role == "output" else node.role for node in nodes}
    for node in nodes:
        occurs.update(row.style for row in node.rows)
    for edge in edges:
        occurs.add(edge.role)
        occurs.update(row.style for row in edge.rows)
    return tuple(LegendEntry(role, text) for role, text in LEGEND if role in occurs)
