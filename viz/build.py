"""View to `Drawing`: nodes with their labels, edges with what flows, frames, title and legend."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from tensorgraph.graph.graph import CellDecl, Graph, Literal, Var
from tensorgraph.viz.drawing import Drawing, Edge, Group, LegendEntry, Node, Port, Row
from tensorgraph.viz.facts import Facts, unique
from tensorgraph.viz.groups import Frame, frames
from tensorgraph.viz.labels import clean, count, type_text
from tensorgraph.viz.rows import boundary_rows, cell_row, fold_rows, gradient_rows, module_title, op_rows, summary_rows
from tensorgraph.viz.rows import write_rows as rows_of_writes
from tensorgraph.viz.tips import box_tip, value_tip
from tensorgraph.viz.view import Box

__all__ = ["build", "summary"]

LOOKS = 200_000  # steps spent on finding residual edges, in all
LEGEND = (
    ("input", "input, output"), ("module", "module"), ("op", "op"), ("ops", "several ops"), ("gradient", "gradient"),
    ("parameter", "parameter"), ("buffer", "buffer"), ("write", "cell written"), ("residual", "residual edge"),
    ("warning", "! dtype changes"), ("stub", "<- edge not drawn"),
)  # fmt: skip


def summary(graph: Graph) -> Drawing:
    """The whole graph as one box."""
    facts = Facts.of(graph, ())
    rows = tuple(summary_rows(graph, facts.input_names, facts.output_names))
    every = tuple(range(len(graph.equations)))
    node = Node("n0", clean(graph.name or "graph"), "summary", rows, members=every, tip=f"{len(every)} ops")
    return Drawing(title_of(graph, 1), "summary", (node,), legend=legend_of((node,), ()))


def title_of(graph: Graph, boxes: int) -> str:
    """``net: 291 ops drawn as 9 boxes``."""
    ops = len(graph.equations)
    drawn = "" if ops == boxes else f" drawn as {count(boxes, 'box')}"
    return f"{clean(graph.name or 'graph')}: {count(ops, 'op')}{drawn}"


def build(graph: Graph, boxes: Iterable[Box], level: str) -> Drawing:
    """Draw these boxes."""
    return _Builder(Facts.of(graph, boxes), level).drawing()


class _Builder:
    """Positions: inputs first, then boxes, then what has no box of its own, then outputs; always topological."""

    def __init__(self, facts: Facts, level: str) -> None:
        self.facts, self.level = facts, level
        self.graph = facts.graph
        self.taken: set[str] = set()
        self.nodes: list[Node] = []
        self.flows: dict[tuple[int, int, str | None], list[Var]] = {}
        self.first = len(self.graph.inputs)  # position of the first box
        self.source: dict[Var, int] = {v: i for i, v in enumerate(self.graph.inputs)}
        for var, at in facts.producer.items():
            self.source[var] = self.first + facts.box_of[at]

    def add(self, path: str, role: str, rows: Iterable[Row], **more: object) -> int:
        at = len(self.nodes)
        path = unique(self.taken, clean(path, 200))
        self.nodes.append(Node(f"n{at}", path, role, tuple(rows), **more))  # type: ignore[arg-type]
        return at

    def flow(self, var: Var, head: int, port: str | None = None) -> None:
        tail = self.source.get(var)
        if tail is not None and tail != head:
            self.flows.setdefault((tail, head, port), []).append(var)

    def drawing(self) -> Drawing:
        facts, graph = self.facts, self.graph
        for name, var in zip(facts.input_names, graph.inputs, strict=True):
            self.add(
                f"inputs/{name}", "input", boundary_rows(name, var), types=(type_text(var.aval),),
                tip=value_tip(name, var),
            )  # fmt: skip
        kept, frame_of = frames(facts.boxes, self.level)
        self.leaving, written = self.what_leaves(), self.what_is_written()
        calls: dict[str, int] = defaultdict(int)
        for b in range(len(facts.boxes)):
            self.add_box(b, frame_of[b], written.get(b, []), calls)
        self.loose_writes()
        for name, out in zip(facts.output_names, graph.outputs, strict=True):
            rows = boundary_rows(name, out)
            if isinstance(out, Var) and out in facts.cells:
                rows.append(cell_row(facts.cells[out], ""))
            types = (type_text(out.aval),) if isinstance(out, Var) else ()
            at = self.add(f"outputs/{name}", "output", rows, types=types, tip=value_tip(name, out))
            if isinstance(out, Var):
                self.flow(out, at)
        edges = self.edges()
        groups = tuple(self.group(frame) for frame in kept)
        nodes = tuple(self.nodes)
        return Drawing(
            title_of(graph, len(facts.boxes)), self.level, nodes, edges, groups, legend_of(nodes, edges),
            (),
        )  # fmt: skip

    def group(self, frame: Frame) -> Group:
        parent = frame.parent
        title = module_title(self.facts, frame.scope, parent.scope if parent else "")
        return Group(frame.id, clean(frame.path, 200), (title,), parent.id if parent else None)

    # ---- boxes

    def what_leaves(self) -> dict[int, list[Var]]:
        """For each box, the values made in it that something outside it reads."""
        facts, found = self.facts, defaultdict(dict)  # type: ignore[var-annotated]
        for i, eq in enumerate(self.graph.equations):
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
        """For each box, the cells that get a value made in it."""
        found = defaultdict(list)
        for write in self.graph.writes:
            if isinstance(write.value, Var) and write.value in self.facts.producer:
                found[self.facts.box_of[self.facts.producer[write.value]]].append(self.facts.cells[write.cell])
        return found

    def add_box(self, b: int, frame: Frame | None, writes: list[CellDecl], calls: dict[str, int]) -> None:
        facts, box = self.facts, self.facts.boxes[b]
        scope = frame.scope if frame else ""
        eq = facts.graph.equations[box.equations[0]]
        ports: list[Port] = []
        if box.kind in ("op", "gradient"):
            name = f"{box.scope}/{eq.op.name}" if box.scope else eq.op.name
            if box.kind == "gradient":
                rows = gradient_rows(facts, box)
            else:
                rows, ports = op_rows(facts, box.equations[0], scope, box.scope if box.scope != scope else None)
        else:
            name = box.scope if box.kind == "module" else f"{box.scope}..{box.last}" if box.last else f"{box.scope}/ops"
            rows = fold_rows(facts, box, scope, self.leaving.get(b, []), calls[name] + 1)
        n = calls[name]
        calls[name] += 1
        leaving = self.leaving.get(b, []) or [v for v in eq.outputs if len(box.equations) == 1]
        rows = [*rows, *rows_of_writes(writes, box.scope)]
        at = self.add(
            f"{name}#{n}" if n else name,
            "module" if box.kind == "modules" else box.kind,
            rows,
            ports=tuple(ports),
            group=frame.id if frame else None,
            members=box.equations,
            types=tuple(dict.fromkeys(map(self.typed, leaving))),
            tip=box_tip(facts, box, writes),
        )
        ends = {port.id for port in ports}
        for i in box.equations:
            for position, atom in enumerate(self.graph.equations[i].atoms()):
                if isinstance(atom, Var):
                    self.flow(atom, at, f"p{position}" if f"p{position}" in ends else None)

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
        for tail, head, _ in self.flows:
            before[head].add(tail)
        residual = self.residual(before)
        made = []
        for (tail, head, port), variables in self.flows.items():
            variables = list(dict.fromkeys(variables))
            if "gradient" in (self.nodes[tail].role, self.nodes[head].role):
                role = "gradient"
            else:
                role = "residual" if (tail, head) in residual else "data"
            values = tuple(f"{clean(v.name)}: {v.aval}" if v.name else str(v.aval) for v in variables)
            rows = self.edge_rows(tail, head, variables)
            made.append(Edge(self.nodes[tail].id, self.nodes[head].id, role, rows, port, values))
        return tuple(made)

    def edge_rows(self, tail: int, head: int, variables: list[Var]) -> tuple[Row, ...]:
        """A label where the shape or dtype changes, and the box does not say it already."""
        node = self.nodes[tail]
        if node.role in ("input", "gradient") or self.nodes[head].role in ("output", "gradient"):
            return ()  # these boxes say it, or need not: a gradient has the shape of what it is taken of
        said = {row.text for row in node.rows if row.style in ("type", "warning")}
        if node.role in ("module", "ops"):
            said.add(self.facts.entering(self.facts.boxes[tail - self.first]))
        rows: dict[Row, None] = {}
        for var in variables:
            text, alarm = type_text(var.aval), self.facts.changes_dtype(var)
            if text in said or f"{text} !" in said:
                continue
            if alarm:
                rows[Row("warning", f"{text} !")] = None
            elif node.role != "op" or self.facts.changes_shape(var):
                rows[Row("type", text)] = None
        shown = list(rows)
        return tuple(shown[:3]) + ((Row("detail", f"and {len(shown) - 3} more"),) if len(shown) > 3 else ())

    def residual(self, before: Mapping[int, set[int]]) -> set[tuple[int, int]]:
        """Edges into an addition whose other operand comes, by a longer way, from the same box."""
        found: set[tuple[int, int]] = set()
        looks = LOOKS
        for head, node in enumerate(self.nodes):
            tails = before.get(head, ())
            if node.role != "op" or len(tails) < 2 or self.graph.equations[node.members[0]].op.name != "add":
                continue
            eq = self.graph.equations[node.members[0]]
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
