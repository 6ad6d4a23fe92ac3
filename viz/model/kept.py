"""What the forward pass keeps for the gradient: names and bytes, each array counted once, where it is kept first."""

from __future__ import annotations

from collections.abc import Iterable

from tensorgraph.graph.graph import Var
from tensorgraph.viz.model.drawing import Row
from tensorgraph.viz.model.facts import Facts, unique
from tensorgraph.viz.model.labels import binary, clean, times
from tensorgraph.viz.model.mirror import Pass, Saved
from tensorgraph.viz.model.view import Box

__all__ = ["Kept"]

MOST = 3  # named on one edge
ABOVE = "kept above"  # in the place of a size: another box keeps the same array
Entries = Iterable[tuple[int, Saved]]


class Kept:
    """The sizes of what passes keep.

    Attributes
    ----------
    bytes, arrays : int
        In all. Residuals of fused ops, which are no values of the graph, are not among them.
    """

    def __init__(self, facts: Facts, passes: Iterable[Pass]) -> None:
        self.facts = facts
        self.bytes = self.arrays = 0
        self.counted: set[Var] = set()
        self.there = {cell.var for cell in facts.graph.cells}.union(facts.graph.consts)
        self.sizes: dict[tuple[int, str], str] = {}
        for one in passes:
            for i, saved in one.saves.items():
                for s in saved:
                    self.sizes[i, s.name] = self.size(s)

    def size(self, s: Saved) -> str:
        """The bytes of what is kept; empty where it is there anyway, or where nobody knows before it runs."""
        if s.var is None or not s.kept:
            return ""
        base = self.base(s.var)
        if base in self.there:
            return ""
        if base in self.counted:
            return ABOVE
        self.counted.add(base)
        self.bytes += base.aval.nbytes  # a view keeps all of what it looks at
        self.arrays += 1
        return binary(base.aval.nbytes)

    def base(self, var: Var) -> Var:
        """The value whose memory this one lies in."""
        for _ in range(100):
            at = self.facts.producer.get(var)
            eq = None if at is None else self.facts.graph.equations[at]
            if eq is None or "view" not in eq.op.traits or not isinstance(eq.inputs[0], Var):
                break
            var = eq.inputs[0]
        return var

    def label(self, box: Box, entries: Entries) -> tuple[tuple[Row, ...], tuple[str, ...]]:
        """What is written on the edge from a box to its gradient, and everything that it stands for, with types."""
        near = set(box.equations)
        values: dict[str, None] = {}
        rows: dict[Var | str, Row] = {}
        names: dict[str, int] = {}
        for i, s in entries:
            if i not in near:
                continue
            size = self.sizes[i, s.name]
            known = "size known when run" if s.var is None else f"{s.var.aval}{'' if size else ' (there anyway)'}"
            values[f"{s.name}: {known}"] = None
            key = s.name if s.var is None else self.base(s.var)
            if (size or s.var is None) and (key not in rows or rows[key].value == ABOVE):
                name = rows[key].text.rstrip(",") if key in rows else unique(names, self.called(s, i, box))
                rows[key] = Row("saved", f"{name}," if size == ABOVE else name, self.of_all(size, box, i, s))
        shown = list(rows.values())
        if len(shown) > MOST:
            shown = [*shown[: MOST - 1], Row("saved", f"and {len(shown) - MOST + 1} more")]
        return tuple(shown), tuple(values)

    def of_all(self, size: str, box: Box, i: int, s: Saved) -> str:
        """A size, and in a template how many repeats keep as much each."""
        if not size or size == ABOVE:
            return size
        k = box.equations.index(i)
        alike = all(self.sizes.get((other.equations[k], s.name)) == size for other in box.others)
        return times(size, 1 + len(box.others)) if alike else f"{size} of the first"

    def called(self, s: Saved, i: int, box: Box) -> str:
        """The user's name; else, of a module, its input, or what the op calls it."""
        if s.var is not None and s.var.name:
            return clean(s.var.name)
        made = i if s.var is None else self.facts.producer.get(s.var, i)
        if box.kind != "op" and self.facts.box_of[made] != self.facts.box_of[i]:
            return "input"
        return clean(s.name)
