"""The compiled level: one box a kernel, in the order in which they run, and why no two of them are one."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from tensorgraph.graph.equation import is_number
from tensorgraph.graph.graph import CellDecl, Var
from tensorgraph.viz.model.build import legend_of
from tensorgraph.viz.model.drawing import Drawing, Edge, Node, Row
from tensorgraph.viz.model.facts import Facts, unique
from tensorgraph.viz.model.labels import binary, clean, count, shape, type_text, value_text
from tensorgraph.viz.model.rows import boundary_rows, cell_row, write_rows
from tensorgraph.viz.model.tips import value_tip

if TYPE_CHECKING:
    from tensorgraph.compile.plan import Plan
    from tensorgraph.compile.selection import Step

__all__ = ["OPAQUE", "kernels_drawn"]

OPAQUE = "opaque: an op with a kernel of its own, which takes in no other"
MOST_CELLS = 3  # parameters and buffers that a box lists
MOST_PLACES = 2  # results of which it says where they lie
SHORT = {  # the reasons of `tensorgraph.compile.regions`, by a part of each, as a line has room for them
    "all of a reduction": "reduction", "it is of shape": "shape", "over other axes": "reductions of other axes",
    "is made of at most": "large enough", "reads at most": "reads enough", "something else comes between": "order",
    "waits for the other": "order", "looks at the values": "checks values", "is not generated": "dtype",
    "NumPy computes it in": "dtype", "of several types": "dtype", "is not computed in": "dtype",
}  # fmt: skip


def kernels_drawn(plan: Plan) -> Drawing:
    """A plan as a drawing: `Drawing.source` is its graph."""
    return _Kernels(plan).drawing()


class _Kernels:
    # The plan: (1) inputs; (2) a box a step: its kernels, ops, lines, loop, bytes, cells, and where results lie; (3)
    # lines from the box that makes a value, through whatever only looks at it otherwise, with the reason why they are
    # two; (4) what is copied into cells at the end, and outputs.

    def __init__(self, plan: Plan) -> None:
        self.plan, self.graph, self.layout = plan, plan.graph, plan.layout
        self.facts = Facts.of(plan.graph, ())
        self.nodes: list[Node] = []
        self.edges: dict[tuple[str, str], Edge] = {}  # by their ends
        self.source: dict[Var, str] = {}
        self.taken: dict[str, int] = {}
        self.place = {id(eq): n for n, eq in enumerate(plan.graph.equations)}
        self.step_of: dict[Var, Step] = {}

    def drawing(self) -> Drawing:
        from tensorgraph.compile.explain import head

        for name, var in zip(self.facts.input_names, self.graph.inputs, strict=True):
            self.source[var] = self.add(f"inputs/{name}", "input", boundary_rows(name, var), var, value_tip(name, var))
        for number, step in enumerate(self.plan.steps, 1):
            self.add_step(number, step)
        self.add_writes()
        for name, out in zip(self.facts.output_names, self.graph.outputs, strict=True):
            at = self.add(f"outputs/{name}", "output", boundary_rows(name, out), out, value_tip(name, out))
            if isinstance(out, Var):
                self.line(out, at, "")
        ops, boxes = len(self.graph.equations), len(self.plan.steps)
        title = f"{clean(self.graph.name or 'graph')}: {count(ops, 'op')} run as {count(boxes, 'step')}"
        nodes, edges = tuple(self.nodes), tuple(self.edges.values())
        notes = [head(self.plan).partition(": ")[2]]
        if any(row.text == "opaque" for edge in edges for row in edge.rows):
            notes.append(OPAQUE)
        return Drawing(title, "compiled", nodes, edges, (), legend_of(nodes, edges), tuple(notes), source=self.graph)

    def add(self, path: str, role: str, rows: Sequence[Row], out: object = None, tip: str = "", **more: object) -> str:
        types = (type_text(out.aval),) if isinstance(out, Var) else ()
        id = f"n{len(self.nodes)}"
        given = {"types": types, "tip": tip} | more
        self.nodes.append(Node(id, unique(self.taken, clean(path, 200)), role, tuple(rows), **given))  # type: ignore[arg-type]
        return id

    def add_step(self, number: int, step: Step) -> None:
        ops = " ".join(dict.fromkeys(clean(eq.op.name) for eq in step.equations))
        lines = dict.fromkeys(str(eq.source) for eq in step.equations if eq.source is not None)
        read, written = list(dict.fromkeys(self.roots(step.variables()))), list(step.outputs)
        cells = [self.facts.cells[var] for var in read if var in self.facts.cells]
        title = self.title(step)
        rows = [Row("title", title)]
        if ops != title:
            rows.append(Row("detail", clean(ops)))
        if lines:
            shown = list(lines)[:2]
            rows.append(
                Row("detail", clean(" ".join(shown)) + (f" and {len(lines) - 2} more" if len(lines) > 2 else ""))
            )
        rows += self.loop(step)
        incoming, outgoing = (sum(var.aval.nbytes for var in some if not is_number(var)) for some in (read, written))
        rows.append(Row("detail", f"{binary(incoming)} in, {binary(outgoing)} out"))
        if len(cells) <= MOST_CELLS:
            rows += [cell_row(cell, "") for cell in cells]
        else:
            kind = "parameter" if any(cell.kind == "parameter" for cell in cells) else "buffer"
            rows.append(Row(kind, count(len(cells), "cell")))
        rows += self.places(step)
        rows += write_rows(self.cells_written(step), "")
        at = self.add(
            f"k{number:02}", "kernel" if step.call is not None else "op", rows, None, self.tip(step),
            members=tuple(self.place[id(eq)] for eq in step.equations),
            types=tuple(dict.fromkeys(type_text(var.aval) for var in written)),
        )  # fmt: skip
        for var in written:
            self.source[var], self.step_of[var] = at, step
        own = {out for eq in step.equations for out in eq.outputs}
        for var in dict.fromkeys(var for var in step.variables() if var not in own):
            self.line(var, at, self.reason(step, var) if step.call is not None else "NumPy runs it: " + step.why)

    def reason(self, step: Step, var: Var) -> str:
        """Why what a step reads of another one is not in its own kernel."""
        return next((found[var] for eq in reversed(step.equations) if var in (found := self.plan.reasons[eq])), "")

    def title(self, step: Step) -> str:
        """The kernels of a step, or who runs it."""
        if step.call is None:
            return clean(f"NumPy: {step.equations[0].op.name}")
        names = dict.fromkeys(clean(record.kernel.name) for record in step.call.records)
        return clean(", ".join(names) or "nothing to do")

    def loop(self, step: Step) -> list[Row]:
        """What a kernel loops over, where it is made for a group of equations, and how many may share it."""
        said = []
        avals = [var.aval for eq in step.equations for var in (*eq.variables(), *eq.outputs) if not is_number(var)]
        if step.call is not None and avals and any(record.kernel.name == "region" for record in step.call.records):
            said.append(f"over {shape(max(avals, key=lambda aval: math.prod(aval.shape)))}")
        blocks = max((record.blocks for record in step.call.records), default=1) if step.call is not None else 1
        if blocks > 1:
            said.append(f"in {blocks} blocks")
        return [Row("detail", " ".join(said))] if said else []

    def places(self, step: Step) -> list[Row]:
        """Where results lie that are in no cell."""
        plan, rows = self.plan, []
        for var in step.outputs:
            buffer = self.layout.places[var].buffer
            if buffer in plan.donated:
                continue
            if buffer in plan.arena.replaced:
                rows.append(Row("attribute", clean(f"result over that of {plan.arena.replaced[buffer].what}")))
            elif buffer in plan.arena.offsets:
                rows.append(Row("attribute", f"result at byte {plan.arena.offsets[buffer]:,}"))
            elif not is_number(var):
                rows.append(Row("attribute", "result in an array of its own"))
        return (
            rows
            if len(rows) <= MOST_PLACES
            else rows[: MOST_PLACES - 1] + [Row("attribute", f"and {len(rows) - 1} more")]
        )

    def cells_written(self, step: Step) -> list[CellDecl]:
        buffers = [self.layout.places[var].buffer for var in step.outputs]
        donated = [self.plan.donated[buffer] for buffer in buffers if buffer in self.plan.donated]
        return [self.graph.cells[self.layout.cells[buffer]] for buffer in donated]

    def tip(self, step: Step) -> str:
        lines = []
        for eq in step.equations[:8]:
            inside = ", ".join(
                clean(a.name or a.aval) if isinstance(a, Var) else value_text(a.value) for a in eq.atoms()
            )
            lines.append(clean(f"{eq.op.name}({inside})", 120) + (f"  {eq.source}" if eq.source is not None else ""))
        lines += [f"because {clean(step.why, 200)}"] * bool(step.why)
        return "\n".join(lines)

    def add_writes(self) -> None:
        """What is copied into cells when all else has run."""
        for write in self.graph.writes:
            cell = self.facts.cells[write.cell]
            value = write.value
            if isinstance(value, Var) and (
                self.layout.places[value].buffer in self.plan.donated or value is write.cell
            ):
                continue
            rows = [Row("title", "copy"), *write_rows([cell], "")]
            if not isinstance(write.value, Var):
                rows.append(Row("constant", "value", clean(value_text(write.value.value))))
            at = self.add(f"writes/{cell.path}", "write", rows, None, f"writes {clean(cell.path)}")
            if isinstance(write.value, Var):
                self.line(write.value, at, "")

    def roots(self, variables: Iterable[Var]) -> Iterable[Var]:
        """The values that are read, those that only look at others replaced by these."""
        for var in variables:
            yield self.root(var)

    def root(self, var: Var) -> Var:
        while var not in self.source and var in self.layout.views:
            var = next(self.layout.views[var].variables())
        return var

    def line(self, var: Var, head: str, reason: str) -> None:
        """A line from where a value comes from, one for all values that go the same way."""
        root = self.root(var)
        tail = self.source.get(root)
        if tail is None:
            return
        value = f"{clean(var.name)}: {var.aval}" if var.name else str(var.aval)
        inner = root in self.step_of
        rows = (Row("detail", short(reason)),) if inner and reason else ()
        values = (value, *([clean(reason, 200)] if inner and reason else []))
        known = self.edges.get((tail, head))
        if known is not None:
            rows = tuple(dict.fromkeys((*known.rows, *rows)))
            values = tuple(dict.fromkeys((*known.values, *values)))
        self.edges[tail, head] = Edge(tail, head, "data", rows, None, values)


def short(reason: str) -> str:
    """A reason as a line has room for it."""
    if reason.startswith("NumPy runs it"):
        return "NumPy"
    return next((word for part, word in SHORT.items() if part in reason), "opaque")
