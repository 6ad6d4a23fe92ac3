"""The mirrored step: forward down the left, gradient up the right beside its op, updates beside their gradients.

Every box of the forward part with a gradient has one gradient box, its twin. Gradients flow up along the edges of the
forward, reversed; a dotted edge from a box to its twin names what is kept for it. What is computed from gradients and
written is folded into one update a box.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

from tensorgraph.graph.graph import CellDecl, Graph, Var
from tensorgraph.viz.model.build import Builder, legend_of
from tensorgraph.viz.model.drawing import Drawing, Edge, Node, Row
from tensorgraph.viz.model.entries import Entry, called
from tensorgraph.viz.model.facts import Facts, relative
from tensorgraph.viz.model.groups import Frame, frames
from tensorgraph.viz.model.joins import heaviest
from tensorgraph.viz.model.kept import Kept
from tensorgraph.viz.model.labels import binary, clean, count, listed, times, type_text
from tensorgraph.viz.model.mirror import Pass, Saved, group, seeds_of
from tensorgraph.viz.model.rails import straight
from tensorgraph.viz.model.rows import cell_row, repeated
from tensorgraph.viz.model.tips import box_tip
from tensorgraph.viz.model.updates import Updates, named_across
from tensorgraph.viz.model.view import Box

__all__ = ["mirrored"]

MOST_WRITTEN = 3  # parameters named on one update


def mirrored(graph: Graph, boxes: Sequence[Box], passes: Sequence[Pass], updates: Updates, level: str) -> Drawing:
    """Draw these boxes of the forward part with the gradients and updates that belong to them."""
    every = [*boxes, *updates.boxes]
    return _Mirror(Facts.of(graph, every), len(boxes), passes, updates, level).mirrored()


class _Mirror(Builder):
    """Positions: inputs, forward boxes, gradients from the loss up, updates, outputs."""

    def __init__(self, facts: Facts, forward: int, passes: Sequence[Pass], updates: Updates, level: str) -> None:
        super().__init__(facts, level)
        self.forward, self.passes, self.updates = forward, passes, updates
        self.inner = "module" if any(box.kind != "op" for box in facts.boxes[:forward]) else "op"
        self.kept = Kept(facts, passes)
        self.extra: list[Edge] = []
        self.given: list[tuple[Var, int]] = []  # gradients that the user gives, and where they enter
        self.twin: dict[tuple[int, int], int] = {}  # the gradient's position, by pass and forward box
        self.loose: list[int] = []  # updates that belong to no box
        self.twin_of_point: dict[tuple[int, Entry], int] = {}

    def mirrored(self) -> Drawing:
        facts, graph = self.facts, self.graph
        self.inputs()
        kept, frame_of = frames(facts.boxes[: self.forward], self.inner)
        self.leaving, self.written = self.what_leaves(), self.what_is_written()
        self.at: list[int] = [self.add_box(b, frame_of[b]) for b in range(self.forward)]
        self.stops()
        for p in range(len(self.passes)):
            self.gradients(p)
        self.saved_edges()
        for p in range(len(self.passes)):
            self.gradient_edges(p)
        for b in range(self.forward, len(facts.boxes)):
            self.update(b)
        self.connect()
        for var, at in self.given:
            self.flow(var, at)
        self.gradient_writes()
        self.loose_writes()
        self.outputs()
        self.lower()
        self.nodes, edges = named_across(self.nodes, self.settled((*self.edges(), *self.extra)))
        self.say_repeats(edges)
        self.entries(edges)
        groups = tuple(self.group(frame) for frame in kept)
        nodes = tuple(self.late_points(edges))
        drawing = Drawing(self.title(), self.level, nodes, edges, groups, legend_of(nodes, edges), source=graph)
        if groups and not straight(drawing):
            drawing = replace(drawing, notes=("too many rows to mark the modules beside them",))
        return drawing

    def late_points(self, edges: Iterable[Edge]) -> list[Node]:
        """The boxes with points to which nothing leads from outside right above what reads them first, as totals that
        begin with 0: the line back would pass all rows of the repeat."""
        heads: dict[str, set[str]] = defaultdict(set)
        entered = {edge.head for edge in edges if edge.role != "carried"}
        for edge in edges:
            heads[edge.tail].add(edge.head)
        waiting = {node.id: node for node in self.nodes if node.role == "entry" and node.id not in entered}
        found: list[Node] = []
        for node in self.nodes:
            read = [point for point in waiting if node.id in heads[point]]
            found += [waiting.pop(point) for point in read]
            if node.id not in waiting and node not in found[len(found) - len(read) :]:
                found.append(node)
        return [*found, *waiting.values()]

    def entries(self, edges: Iterable[Edge]) -> None:
        """What enters on the way, as labels do or a sequence's rows, stands to the left of the box that reads it."""
        at = {node.id: n for n, node in enumerate(self.nodes)}
        readers: dict[str, list[int]] = defaultdict(list)
        sources: dict[str, list[str]] = defaultdict(list)
        for edge in edges:
            if edge.role in ("data", "residual", "carried") and edge.tail != edge.head:
                readers[edge.tail].append(at[edge.head])
                sources[edge.head].append(edge.tail)
        mirrored = {node.twin for node in self.nodes}
        enters: set[str] = set()
        for node in self.nodes:
            plain = node.role in ("input", "op", "ops", "module") and node.twin is None and node.id not in mirrored
            if plain and all(source in enters for source in sources[node.id]):
                enters.add(node.id)
        for n in range(len(self.nodes) - 1, -1, -1):
            node = self.nodes[n]
            if node.id not in enters or not readers[node.id]:
                continue
            head = self.nodes[min(readers[node.id])]
            row = head.twin if head.id in enters and head.twin is not None else head.id
            if row in enters or self.nodes[at[row]].twin is not None or self.nodes[at[row]].role == "output":
                continue
            if node.role == "input" and all(source in enters for source in sources[row]) and row == head.id:
                continue  # where the column begins
            if node.role == "input" and head.id in enters:
                continue
            self.nodes[n] = replace(node, twin=row)

    def title(self) -> str:
        graph, drawn = self.graph, self.forward
        ops = sum(len(box.members) for box in self.facts.boxes[: self.forward + self.updates.sides])
        folded = "" if ops == drawn else f" drawn as {count(drawn, 'box')}"
        kept = f"; {binary(self.kept.bytes)} kept for the gradient" if self.kept.arrays else ""
        return f"{clean(graph.name or 'graph')}: {count(ops, 'op')} forward{folded}{kept}"

    def carried_rows(self, head: int) -> tuple[Row, ...]:
        """None: the title beside the rows has the count."""
        return ()

    def edge_rows(self, tail: int, head: int, variables: list[Var]) -> tuple[Row, ...]:
        """Which repeats it joins, as the box at its head says: labels would pull the columns apart, so boxes say
        what leaves them too."""
        return self.counted(tail, head, variables)

    def say_repeats(self, edges: Iterable[Edge]) -> None:
        """In the boxes, of which repeats of another what they read is."""
        at = {node.id: n for n, node in enumerate(self.nodes)}
        for edge in edges:
            tail, head = self.nodes[at[edge.tail]], self.nodes[at[edge.head]]
            if head.role != "entry":
                said = [
                    Row("detail", clean(f"{tail.title}: {row.text}")) for row in edge.rows if row.style == "repeats"
                ]
                self.nodes[at[edge.head]] = replace(head, rows=(*head.rows, *said))

    def is_backward(self, box: Box) -> bool:
        """Not here, where each has its place: what is left is a gradient that another one is taken of."""
        return False

    def add_box(self, b: int, frame: Frame | None) -> int:
        at = super().add_box(b, frame)
        node, box = self.nodes[at], self.facts.boxes[b]
        if box.kind == "op":
            eq = self.graph.equations[box.equations[0]]
            changed = [
                v for v in self.leaving.get(b, eq.outputs) if self.facts.changes_shape(v) or self.typed(v)[-1] == "!"
            ]
            said = dict.fromkeys(map(self.typed, changed[:2]))
            rows = tuple(Row("warning" if text.endswith("!") else "type", text) for text in said)
            names = sum(row.style in ("title", "detail") for row in node.rows)
            self.nodes[at] = replace(node, rows=(*node.rows[:names], *rows, *node.rows[names:]))
        return at

    # ---- gradients

    def gradients(self, p: int) -> None:
        """One gradient box for every forward box in which an equation has a gradient; the last first."""
        # The plan:
        # 1. the equations with a gradient are gathered by the forward box in which they stand, and the uses of each
        #    parameter that is asked about;
        # 2. from the last box to the first, a twin with the gradients that leave it and those of its own parameters;
        #    where the gradient is one deferred equation, the box it begins at holds it;
        # 3. a twin for each input that is asked about;
        # 4. where each result of the deferred equation comes from, for those who read it.
        one, facts, graph = self.passes[p], self.facts, self.graph
        steps: dict[int, list[int]] = defaultdict(list)
        for i in one.gives:
            steps[facts.box_of[i]].append(i)
        steps.pop(-1, None)
        xs = set(one.xs)
        asked = {cell.var: cell for cell in self.graph.cells if cell.var in xs}
        uses: dict[Var, list[int]] = defaultdict(list)  # of each parameter
        for i, given in one.gives.items():
            for var in given:
                if var in asked:
                    uses[var].append(i)
        first = {var: places[0] for var, places in uses.items()}
        ends = {facts.box_of[facts.producer[y]] for y in one.ys if y in facts.producer}
        passed = {entry for i, given in one.gives.items() for var in given for entry in self.way_of(i, var)[0]}
        for b in range(self.forward - 1, -1, -1):
            begins = reversed(self.ways.beginning.get(b, ()))
            points = [entry for entry in begins if entry in passed]
            if b not in steps:
                self.back_through(p, points)
                continue
            node = self.nodes[self.at[b]]
            box = facts.boxes[b]
            near = set(box.equations)
            own = dict.fromkeys(v for i in steps[b] if i in near for v in one.gives[i] if v in asked)
            if not own and box.others:  # the first repeat may have none
                own = dict.fromkeys(v for i in steps[b] for v in one.gives[i] if v in asked)
            rows = [Row("title", clean(f"grad {self.asked_of(box) or node.title}"))]
            if box.kind == "op":
                scope = box.scope
                rows += [self.of_cell(asked[v], scope, uses[v]) for v in own]
            elif own:
                several = max(len({(facts.box_of[i], facts.repeat_of[i]) for i in uses[v]}) for v in own)
                values = sum(v.aval.size for v in own)
                every = {v for i in steps[b] for v in one.gives[i] if v in asked}
                total = sum(v.aval.size for v in every)
                text = repeated(count(values, "gradient"), values, total, 1 + len(box.others))
                rows.append(Row("parameter", text, f"sum of {several} uses" if several > 1 else ""))
            leaving = dict.fromkeys(
                v for i in steps[b] for v in one.gives[i] or graph.equations[i].outputs
                if v not in facts.cells and (v not in facts.producer or facts.box_of[facts.producer[v]] != b
                                             or not one.gives[i])
            )  # fmt: skip
            members = tuple(sorted(i for j in box.members for i in one.written.get(j, ())))
            if one.at is not None and b == max(ends, default=b):
                members = (one.at,)
            at = self.add(
                f"{node.path}~grad" + (f"#{p}" if p else ""), "gradient", rows, group=node.group, members=members,
                types=tuple(dict.fromkeys(type_text(v.aval) for v in (*leaving, *own))), tip=self.tip(one, b, steps[b]),
                twin=node.id,
            )  # fmt: skip
            self.twin[p, b] = at
            self.source.update((out, at) for i in members for out in graph.equations[i].outputs)
            if one.at is not None and members:
                self.given += [(var, at) for atom in graph.equations[one.at].inputs[2:] for var in group(atom)]
            self.back_through(p, points)
        seed = max((b for q, b in self.twin if q == p), default=None)
        for name, var in zip(facts.input_names, self.graph.inputs, strict=True):
            if var in one.xs and any(var in given for given in one.gives.values()):
                rows = [Row("title", clean(f"grad {name}")), Row("type", type_text(var.aval))]
                node = self.nodes[self.source[var]]
                self.twin[p, -1 - self.source[var]] = self.add(
                    f"{node.path}~grad" + (f"#{p}" if p else ""), "gradient", rows, types=(type_text(var.aval),),
                    twin=node.id, tip=f"the gradient with respect to {name}",
                )  # fmt: skip
        if one.at is None or seed is None:
            return
        for x, out in zip(self.xs_of(one), self.graph.equations[one.at].outputs, strict=True):
            self.source[out] = self.where_ends(p, x, first, seed)

    def way_of(self, i: int, var: Var) -> tuple[tuple[Entry, ...], bool]:
        """The points through which an operand of an equation comes into the templates around it."""
        places = (n for n, atom in enumerate(self.graph.equations[i].atoms()) if atom is var)
        return self.ways.of(i, next(places, -1))

    def back_through(self, p: int, entries: Iterable[Entry]) -> None:
        """The points at which the gradients of what entered a template come together."""
        for entry in entries:
            at = self.point_of[entry]
            together = self.ways.together[entry]
            known = [self.twin_of_point[p, other] for other in together if (p, other) in self.twin_of_point]
            if known:
                self.twin_of_point[p, entry] = known[0]
                continue
            node = self.nodes[at]
            name = called(together)
            self.twin_of_point[p, entry] = self.add(
                f"{node.path}~grad" + (f"#{p}" if p else ""), "gradient", [Row("title", f"grad {name}")],
                group=node.group, types=node.types, tip=f"the gradients of {name}, for the repeat before",
                twin=node.id,
            )  # fmt: skip

    def asked_of(self, box: Box) -> str:
        """The name of what a transform differentiates with respect to: it gives its arguments another name."""
        eq = self.graph.equations[box.equations[0]]
        named = eq.inputs[0] if "identity" in eq.op.traits and box.kind == "op" else None
        return named.name or "" if isinstance(named, Var) else ""

    def xs_of(self, one: Pass) -> list[Var]:
        assert one.at is not None
        atom = self.graph.equations[one.at].inputs[1]
        return [a for a in (atom if isinstance(atom, tuple) else (atom,)) if isinstance(a, Var)]

    def where_ends(self, p: int, x: Var, first: dict[Var, int], seed: int) -> int:
        """The position of the box from which the gradient with respect to `x` comes."""
        if x in first:  # a parameter: where its first use is, at which the last of its gradients is added
            return self.twin[p, self.facts.box_of[first[x]]]
        if x in self.source and (p, -1 - self.source[x]) in self.twin:
            return self.twin[p, -1 - self.source[x]]
        made = self.facts.producer.get(x)
        if made is not None and (p, self.facts.box_of[made]) in self.twin:
            return self.twin[p, self.facts.box_of[made]]
        return self.twin[p, seed]

    def of_cell(self, cell: CellDecl, scope: str, uses: Sequence[int]) -> Row:
        row = cell_row(cell, scope)
        return replace(row, value=row.value + (f", sum of {len(uses)} uses" if len(uses) > 1 else ""))

    def tip(self, one: Pass, b: int, steps: Sequence[int]) -> str:
        lines = [f"the gradient of {self.nodes[self.at[b]].path}"]
        for i in steps[:4]:
            eq = self.graph.equations[i]
            wrt = listed([clean(v.name or v.aval) for v in one.gives[i]])
            kept = listed([s.name for s in one.saves[i]], 6)
            lines.append(clean(f"{eq.op.name}: gradient of {wrt}" + (f" from {kept}" if kept else ""), 120))
        if len(steps) > 4:
            lines.append(f"and {len(steps) - 4} more ops")
        return "\n".join(lines)

    def gradient_edges(self, p: int) -> None:
        one, facts = self.passes[p], self.facts
        flows: dict[tuple[int, int, bool], dict[Var, None]] = defaultdict(dict)
        for i in reversed(list(one.gives)):
            b = facts.box_of[i]
            for var in one.gives[i]:
                tail, carried = self.twin[p, b], False
                way, back = self.way_of(i, var)
                for n, entry in enumerate(reversed(way)):
                    point = self.twin_of_point[p, entry]
                    flows[tail, point, False][way[len(way) - 1 - n].first] = None
                    tail, carried = point, back
                at = facts.producer.get(var)
                if at is None:
                    end = self.twin.get((p, -1 - self.source[var])) if var in self.source else None
                    if end is not None:
                        flows[tail, end, False][var] = None
                    continue
                made = facts.box_of[at]
                if (p, made) not in self.twin or at not in one.gives:
                    continue
                if made != b or carried:
                    flows[tail, self.twin[p, made], carried][var] = None
        for (tail, head, carried), variables in flows.items():
            self.extra.append(self.edge(tail, head, "carried" if carried else "gradient", (), variables))

    def gradient_writes(self) -> None:
        """Cells that take a gradient as it is."""
        found: dict[int, list[CellDecl]] = defaultdict(list)
        gradients = set(self.twin.values())
        for write in self.graph.writes:
            at = self.source.get(write.value) if isinstance(write.value, Var) else None
            if at in gradients and write.value in self.facts.producer:
                found[at].append(self.facts.cells[write.cell])
        for at, cells in found.items():
            node = self.nodes[at]
            self.nodes[at] = replace(node, rows=(*node.rows, *self.writes_of(cells, "", "")))

    # ---- what is kept

    def saved_edges(self) -> None:
        """A dotted edge from each box to its gradient for what is kept."""
        for p, one in enumerate(self.passes):
            by_box: dict[int, list[tuple[int, Saved]]] = defaultdict(list)
            for i, saved in one.saves.items():
                by_box[self.facts.box_of[i]] += [(i, s) for s in saved]
            for b, entries in sorted(by_box.items()):
                if (p, b) not in self.twin:
                    continue
                rows, values = self.kept.label(self.facts.boxes[b], entries)
                if rows:
                    tail, head = self.nodes[self.at[b]].id, self.nodes[self.twin[p, b]].id
                    self.extra.append(Edge(tail, head, "saved", rows, None, values))

    # ---- where gradients stop

    def stops(self) -> None:
        """Rows that say so."""
        said: dict[int, str] = {}
        reached = {var for one in self.passes for given in one.gives.values() for var in given}
        for one in self.passes:
            for i, why in one.stops.items():
                if self.facts.box_of[i] >= 0:
                    said[self.at[self.facts.box_of[i]]] = why
            for var in one.unasked - reached:
                said.setdefault(self.source[var], "no gradient wanted")
            for var in one.integers:
                said[self.source[var]] = "integers: no gradient"
            for y in one.ys if one.at is None and not one.written else ():
                if y not in seeds_of(self.graph):
                    said[self.source[y]] = "no gradient"
        for at, why in said.items():
            node = self.nodes[at]
            self.nodes[at] = replace(node, rows=(*node.rows, Row("stop", f"-| {why}")))

    # ---- updates

    def update(self, b: int) -> None:
        box = self.facts.boxes[b]
        beside = self.updates.beside[b - self.forward]
        owner = self.at[beside] if beside is not None else None
        twin = self.nodes[owner] if owner is not None else None
        writes = self.written.get(b, [])
        title = self.updates.title(b - self.forward)
        rows = [Row("title", clean(title))]
        every = {self.graph.equations[i].op.name for i in box.equations}
        if title in ("update", "write") or (beside is None and box.scope) or len(every) > 1:
            rows.append(Row("detail", clean(heaviest(self.graph, box.equations))))
        rows += self.writes_of(writes, twin.path if twin is not None else "", box.scope, 1 + len(box.others))
        side = b - self.forward < self.updates.sides
        base = clean(box.scope or title) if twin is None else f"{twin.path}~{'write' if side else 'update'}"
        n = self.calls[base]
        self.calls[base] += 1
        leaving = self.leaving.get(b, [])
        at = self.add(
            f"{base}#{n}" if n else base, "write" if side else "update", rows,
            group=twin.group if twin is not None else None,
            members=box.members, types=tuple(dict.fromkeys(map(self.typed, leaving))),
            tip=box_tip(self.facts, box, writes), twin=twin.id if twin is not None else self.loss_row(),
        )  # fmt: skip
        self.stands(at, box)
        if twin is None:
            self.loose.append(at)

    def loss_row(self) -> str | None:
        """What belongs to no box stands in the row of the loss."""
        ends = [b for p, b in self.twin if b >= 0]
        return self.nodes[self.at[max(ends)]].id if ends else None

    def lower(self) -> None:
        """What belongs to no box stands below the last gradient, beside the result that the loss is, unless there are
        updates beside the gradients anyway."""
        row = self.loss_row()
        updates = {at for at, node in enumerate(self.nodes) if node.role == "update"}
        if row is None or updates - set(self.loose):
            return
        loss = next(at for at, node in enumerate(self.nodes) if node.id == row)
        results = [head for tail, head, *_ in self.flows if tail == loss and self.nodes[head].role == "output"]
        for at in self.loose if results else ():
            self.nodes[at] = replace(self.nodes[at], twin=self.nodes[results[0]].id)

    def writes_of(self, cells: Sequence[CellDecl], near: str, scope: str, repeats: int = 1) -> list[Row]:
        """Parameters by name, the averages that go with them counted; of the first of several repeats."""
        if not cells:
            return []
        parameters = [cell for cell in cells if cell.kind == "parameter"]
        others = len(cells) - len(parameters)
        if not parameters:
            named = [clean(relative(cell.path, scope)) for cell in cells]
            text = ", ".join(named) if len(named) <= 2 else count(len(named), "buffer")
            return [Row("write", times(f"writes {text}", repeats))]
        if len(parameters) > MOST_WRITTEN:
            text = count(len(parameters), "parameter")
        else:
            text = ", ".join(clean(cell.path.rpartition(".")[2]) for cell in parameters)
        return [Row("write", times(f"writes {text}" + (f" + {count(others, 'buffer')}" if others else ""), repeats))]

    def settled(self, edges: Iterable[Edge]) -> tuple[Edge, ...]:
        """What flows among updates is a gradient."""
        at = {node.id: node for node in self.nodes}
        found = []
        for edge in edges:
            tail, head = at[edge.tail], at[edge.head]
            if "update" in (tail.role, head.role) and edge.role in ("data", "residual"):
                edge = replace(edge, role="gradient" if tail.role in ("gradient", "update") else "data", rows=())
            if edge.role == "gradient" and "update" in (tail.role, head.role):
                edge = replace(edge, port=None)
            found.append(edge)
        return tuple(found)
