"""What was seen of values that were looked at, and what went wrong with them: as values and as text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tensorgraph.analysis.describe import equation_text, names, printable
from tensorgraph.graph.drawable import Drawable
from tensorgraph.graph.graph import Graph, Literal, Var

__all__ = ["Fault", "Faults", "Stats", "causes", "stats_of"]


@dataclass(frozen=True, slots=True)
class Stats:
    """What was seen of a value: how many elements, how many NaN, infinite and zero, and the largest of the finite."""

    size: int
    nan: int
    inf: int
    zero: int
    largest: float

    @property
    def finite(self) -> bool:
        return not (self.nan or self.inf)

    @property
    def dead(self) -> bool:
        return self.size > 0 and self.zero == self.size

    def __str__(self) -> str:
        if self.finite:
            return "all 0" if self.dead else f"|max| {self.largest:.3g}"
        parts = [f"{n:,} {what}" for n, what in ((self.nan, "nan"), (self.inf, "inf")) if n]
        return f"{', '.join(parts)} of {self.size:,}"


def stats_of(array: np.ndarray[Any, Any]) -> Stats:
    """Look at an array."""
    size = int(array.size)
    if array.dtype.kind != "f":
        most = float(max(abs(int(array.max())), abs(int(array.min())))) if size else 0.0
        return Stats(size, 0, 0, size - int(np.count_nonzero(array)), most)
    finite = np.isfinite(array)
    every = bool(finite.all())
    nan = 0 if every else int(np.isnan(array).sum())
    inf = 0 if every else size - int(finite.sum()) - nan
    good = array if every else array[finite]
    largest = max(abs(float(good.max())), abs(float(good.min()))) if good.size else 0.0
    return Stats(size, nan, inf, size - int(np.count_nonzero(array)), largest)


@dataclass(frozen=True, slots=True)
class Fault:
    """One finding.

    Attributes
    ----------
    kind : {"non-finite", "dead", "exploding", "promoted"}
    phase : {"forward", "backward"}
        Backward for an equation that helps to make a gradient.
    position : int or None
        In the equations of `Faults.graph`; None for an argument, a cell or a captured array.
    var : Var
        The value.
    told : str
        What was seen, with counts.
    path : tuple of int
        Equations from it to the loss, or back from the loss to what its gradient is wanted for.
    """

    kind: str
    phase: str
    position: int | None
    var: Var
    told: str
    path: tuple[int, ...] = ()


@dataclass(frozen=True)
class Faults(Drawable):
    """What `find_faults` found; false where there is nothing.

    Attributes
    ----------
    graph : Graph
        What was evaluated: the graph with its gradients written out.
    faults : tuple of Fault
        The first of each kind, on the way to the loss and back, in the order in which they come up.
    stats : tuple of tuple of Stats
        What was seen, one an output of each equation.
    notes : tuple of str
        What could not be looked at, and which values were made up.
    """

    graph: Graph
    faults: tuple[Fault, ...]
    stats: tuple[tuple[Stats, ...], ...]
    notes: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.faults)

    def __len__(self) -> int:
        return len(self.faults)

    def __iter__(self) -> Iterator[Fault]:
        return iter(self.faults)

    def __getitem__(self, index: int) -> Fault:
        return self.faults[index]

    def __str__(self) -> str:
        backward = sum(eq.origin is not None for eq in self.graph.equations)
        forward = len(self.graph.equations) - backward
        head = f"{printable(self.graph.name)}: {forward} equations forward, {backward} backward: "
        head += f"{len(self)} {'fault' if len(self) == 1 else 'faults'}" if self else "no fault"
        name = names(self.graph)
        several = len(self) > 1
        first = [f"{n}. {self.brief(fault)}" for n, fault in enumerate(self.faults, 1)] if several else []
        told: dict[int, int] = {}
        blocks = []
        for n, fault in enumerate(self.faults, 1):
            blocks.append(self.block(fault, name, n if several else None, told))
            told.update((i, n) for i in fault.path if i not in told)
        return "\n".join([head, *first, *blocks, *(f"note: {note}" for note in self.notes)])

    def brief(self, fault: Fault) -> str:
        """One fault in one line: what, and where."""
        if fault.position is None:
            where = self.root(fault.var)
        else:
            eq = self.graph.equations[fault.position]
            where = self.origin(fault.position) if eq.origin is not None else eq.op.name
            where += f", {eq.source}" if eq.origin is None and eq.source else ""
        return f"{fault.kind}, {fault.phase}: {fault.told}: {where}"

    def block(
        self, fault: Fault, name: dict[Var, str] | None = None, number: int | None = None,
        told: Mapping[int, int] | None = None,
    ) -> str:  # fmt: skip
        """One fault in some lines: what, where, and the path, as far as it is not `told` of an earlier fault."""
        name, told = name or names(self.graph), told or {}
        lines = [f"{'' if number is None else f'{number}. '}{fault.kind}, {fault.phase}: {fault.told}"]
        if fault.position is None:
            lines.append(f"    {self.root(fault.var)}")
        else:
            lines.append(f"    {self.line(fault.position, name)}")
        if fault.position is not None and self.graph.equations[fault.position].origin is not None:
            lines.append(f"    {self.origin(fault.position)}")
        if fault.path:
            goal = "to the loss" if fault.phase == "forward" else "to the gradient that is wanted"
            met = next((n for n, i in enumerate(fault.path) if i in told), len(fault.path))
            own = fault.path[:met]
            lines.append(f"  {goal}:" if own else f"  {goal}: as of {told[fault.path[0]]}.")
            shown = own if len(own) <= 12 else (*own[:8], -1, *own[-3:])
            for i in shown:
                lines.append(f"    {self.line(i, name)}" if i >= 0 else f"    ... {len(own) - 11} more")
            if own and met < len(fault.path):
                lines.append(f"    and on as of {told[fault.path[met]]}., from {self.called(fault.path[met], name)}")
        return "\n".join(lines)

    def called(self, position: int, name: dict[Var, str]) -> str:
        """The first value of an equation."""
        return name[self.graph.equations[position].outputs[0]]

    def line(self, position: int, name: dict[Var, str]) -> str:
        eq = self.graph.equations[position]
        seen = "; ".join(dict.fromkeys(str(s) for s in self.stats[position][:3]))
        where = f"{printable(eq.scope)}  " if eq.scope else ""
        return f"{where}{equation_text(eq, name)}    # {seen}{f', {eq.source}' if eq.source else ''}"

    def origin(self, position: int) -> str:
        eq = self.graph.equations[position]
        assert eq.origin is not None
        forward = self.graph.index.maker(eq.origin.of)
        if forward is None:
            return "a gradient of the loss"
        return (
            f"the derivative of {forward.op.name} by {eq.origin.rule}{f', {forward.source}' if forward.source else ''}"
        )

    def root(self, var: Var) -> str:
        """A value that no equation makes."""
        for cell in self.graph.cells:
            if cell.var is var:
                return f"{cell.kind} {printable(cell.path)}: {var.aval}"
        what = "argument" if var in self.graph.inputs else "captured array"
        return f"{what}{f' {printable(var.name)}' if var.name else ''}: {var.aval}"


def causes(graph: Graph, position: int | None, hops: int) -> set[int]:
    """The equations from which a value comes, at most `hops` back."""
    if position is None:
        return set()
    made = graph.index.position
    found = {position}
    border = [position]
    for _ in range(hops):
        atoms = (a for i in border for a in graph.equations[i].atoms())
        border = sorted({made[a] for a in atoms if not isinstance(a, Literal) and a in made} - found)
        found.update(border)
    return found
