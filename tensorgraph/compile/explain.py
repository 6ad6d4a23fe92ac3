"""A plan in words: what runs where, on which memory, and why not as a kernel."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tensorgraph.compile.plan import Plan
from tensorgraph.compile.selection import Step
from tensorgraph.graph.graph import Var

__all__ = ["head", "reason", "told"]


def told(plan: Plan) -> str:
    """The whole plan, a line a kernel or step on NumPy."""
    rows = [row for step in plan.steps for row in _rows(plan, step)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)] if rows else []
    table = ["  " + "  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    looked = len(dict.fromkeys(map(id, plan.layout.views.values())))
    end = [f"  {looked} equations only look at memory otherwise"] if looked else []
    copied = sum(1 for write in plan.graph.writes if _is_copied(plan, write.value))
    if copied:
        end.append(f"  {copied} of {len(plan.graph.writes)} cells are copied at the end, the others written in place")
    return "\n".join([head(plan), *table, *end])


def head(plan: Plan) -> str:
    """A plan in one line."""
    kernels = sum(len(step.call.records) for step in plan.steps if step.call is not None)
    hosts = [step for step in plan.steps if step.on_host and step.turn is None]
    loops = sum(step.turn is not None for step in plan.steps)
    told = f"{loops} loops, " if loops else ""
    what = f"{plan.graph.name}: {kernels} runs of kernels, {told}{len(hosts)} steps on NumPy; "
    return f"{what}{size(plan.arena.size)} of memory for values, {size(plan.peak)} with cells and arguments"


def _is_copied(plan: Plan, value: object) -> bool:
    return type(value) is not Var or plan.layout.places[value].buffer not in plan.donated


def _rows(plan: Plan, step: Step) -> Iterator[tuple[str, ...]]:
    ops = " ".join(dict.fromkeys(eq.op.name for eq in step.equations))
    lines = " ".join(dict.fromkeys(str(eq.source) for eq in step.equations if eq.source is not None))
    if step.turn is not None:
        yield "loop", ops, lines, _where(plan, step.outputs), ""
        for row in (row for inner in step.turn.steps for row in _rows(step.turn, inner)):
            yield f"  {row[0]}", *row[1:]
        return
    if step.call is None:
        yield "NumPy", ops, lines, _where(plan, step.outputs), step.why
        return
    for number, record in enumerate(step.call.records):
        name = record.kernel.name + (f" in {record.blocks} blocks" if record.blocks > 1 else "")
        yield (name, ops, lines, _where(plan, step.outputs), "") if number == 0 else (name, "", "", "", "")


def _where(plan: Plan, outputs: Iterable[Var]) -> str:
    """Where results lie: in a cell, at a place of the arena, in another's place, in an array of their own."""
    said = []
    for var in outputs:
        buffer = plan.layout.places[var].buffer
        if buffer in plan.donated:
            cell = plan.graph.cells[plan.layout.cells[plan.donated[buffer]]]
            place = f"in {cell.path}" if cell.path else "in a cell"
        elif buffer in plan.arena.replaced:
            place = f"over {plan.arena.replaced[buffer].what}"
        elif buffer in plan.arena.offsets:
            place = f"at {plan.arena.offsets[buffer]}"
        else:
            place = "in an array of its own"
        said.append(f"{var.aval} {place}")
    return ", ".join(said)


def size(nbytes: int) -> str:
    """Bytes for people."""
    number = float(nbytes)
    for unit in ("bytes", "kB", "MB"):
        if number < 1000:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} GB"


def reason(plan: Plan) -> str:
    """Why steps run on NumPy, each reason once; empty where none does."""
    hosts = [step for step in plan.steps if step.on_host]
    said = [step.why if step.turn is None else reason(step.turn) for step in hosts]
    return "; ".join(filter(None, dict.fromkeys(said)))
