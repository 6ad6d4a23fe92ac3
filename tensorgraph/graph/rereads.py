"""Cells that are read after they were written, in a later call: as the outline of a graph says it.

A trace reads a cell that it has written as what was assigned, cut from its history: ``alias(stop_gradient(p1))`` of a
parameter, ``stop_gradient(m1)`` of what varies, else the value itself. To a call that is but a read of its cell.

1. Of each cell the steps are found: what is written, and which equations read it as the cell. A graph knows the last
   write alone; where the instance that makes it is called several times, the calls before wrote what they made there.
2. Reads that are equations of their own are hidden, and whoever uses them uses the cell.
3. What could not be said by a text is left as it is: an equation that uses what the cell held before and after, an
   order of reads that is not that of the equation that uses them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from tensorgraph.graph.call_tree import Node, call_tree
from tensorgraph.graph.equation import CellDecl, Equation, Literal, Var
from tensorgraph.graph.graph import Graph
from tensorgraph.graph.statements import leaves
from tensorgraph.jit.properties import cached_property
from tensorgraph.ops.structure import alias, stop_gradient

__all__ = ["Rereads", "Step", "varying"]


@dataclass(eq=False, slots=True)
class Step:
    """One write of a cell.

    `before` are the equations that use what the cell held until then, `after` those that use what it holds from then on
    as the cell's; `is_result` says that the graph gives it as the cell's; `every` that each call of the instance that
    writes has such a step.
    """

    cell: Var
    value: Var | Literal
    before: tuple[int, ...]
    after: tuple[int, ...] = ()
    is_result: bool = False
    every: bool = False


def varying(graph: Graph) -> set[Var]:
    """What changes with the inputs and the cells and may have a gradient: as whoever reads a text counts it."""
    found = {decl.var for decl in graph.cells} | {var for var in graph.inputs if hasattr(var.aval, "dtype")}
    for eq in graph.equations:
        if eq.is_gradient:
            if eq.attrs.get("create_graph"):
                found.update(eq.outputs)
            continue
        passing = {
            a for name, atom in zip(eq.op.inputs, eq.inputs, strict=True)
            if eq.op.joint is not None or eq.op.rules[name] is not None
            for a in (atom if isinstance(atom, tuple) else (atom,)) if type(a) is Var
        }  # fmt: skip
        if not found.isdisjoint(passing):
            found.update(out for out in eq.outputs if hasattr(out.aval, "dtype") and out.aval.dtype.kind == "f")
    return found


class Rereads:
    """What a graph's cells hold one after another, and the graph as calls see it.

    Parameters
    ----------
    graph : Graph
    without : collection of Var, optional
        Cells of which the reads are left as they are; None for all.

    Attributes
    ----------
    steps : list of Step
        Of all cells.
    hidden : set of int
        Equations that do nothing but read a cell.
    equations : list of Equation
        Those of the graph, on cells where they read these.
    outputs : list
        What the graph gives, likewise.
    users : dict of Var to tuple of int
        Who uses a value, but for the reads of cells after a write.
    """

    def __init__(self, graph: Graph, without: Collection[Var] | None = ()) -> None:
        self.graph = graph
        self.index = graph.index
        self.without = without
        self.decls: dict[Var, CellDecl] = {decl.var: decl for decl in graph.cells}
        self.steps: list[Step] = []
        self.hidden: set[int] = set()
        self.read_by: dict[int, Var] = {}  # hidden equations to the cell
        self.cells: dict[Var, Var] = {}  # the value of a read to its cell
        self.direct: dict[int, dict[Var, Var]] = {}  # in which equation which value is a cell's
        self.outputs: list[Any] = list(graph.outputs)
        known = self._candidates()
        if known:
            self._tree()
        for write in graph.writes:
            self.steps += self._steps(write.cell, write.value) if write.cell in known else [self._plain(write)]
        self._order()
        self.equations: list[Equation] = [self._seen(number, eq) for number, eq in enumerate(graph.equations)]
        self.users = self.index.users if not (self.hidden or self.direct) else self._users()

    @cached_property
    def varying(self) -> set[Var]:
        return varying(self.graph)

    @property
    def any(self) -> bool:
        """Whether there is anything to see otherwise."""
        return bool(self.hidden or self.direct) or len(self.steps) > len(self.graph.writes)

    def _plain(self, write: Any) -> Step:
        return Step(write.cell, write.value, self.index.users.get(write.cell, ()))

    def _candidates(self) -> set[Var]:
        """The cells that are written with a value that an equation makes."""
        if self.without is None:
            return set()
        found = {write.cell for write in self.graph.writes if write.value in self.index.position}
        return found.difference(self.without)

    def _tree(self) -> None:
        self.around: dict[Node, Node] = {}
        self.inside: dict[int, Node] = {}
        self.calls: dict[tuple[str, str], list[Node]] = {}
        top = call_tree(self.graph)
        for node in top.nodes():
            if node.kind in ("module", "optimizer") and not node.backward and node.whole:
                self.calls.setdefault((node.path, node.name), []).append(node)
            for item in node.items:
                if isinstance(item, Node):
                    self.around[item] = node
                else:
                    self.inside[item] = node
        self.cores: dict[Node, list[int]] = {}

    def _nodes(self, number: int) -> Iterator[Node]:
        """The modules and optimisers around an equation, from the inside out."""
        node: Node | None = self.inside[number]
        while node is not None:
            if node.kind in ("module", "optimizer") and not node.backward:
                yield node
            node = self.around.get(node)

    # ---- what is written

    def _steps(self, cell: Var, value: Any) -> list[Step]:
        """The writes of a cell, those of which the graph knows nothing too."""
        values = self._values(value)
        users = self.index.users
        steps = [Step(cell, v, (), every=len(values) > 1) for v in values]
        held: tuple[int, ...] = users.get(cell, ())
        for number, step in enumerate(steps):
            step.before = held
            until = steps[number + 1].value if number + 1 < len(steps) else None
            self._reads(step, until)
            held = step.after
        if not all(self._in_order(step) for step in steps):
            for step in steps:
                self._forget(step)
            return [Step(cell, value, users.get(cell, ()))]
        return steps

    def _values(self, value: Var) -> list[Var]:
        """What the calls of an instance have written to the cell in which the last of them writes this value."""
        made = self.index.position[value]
        last = next((node for node in self._nodes(made) if node.whole), None)
        every = [] if last is None else self.calls[last.path, last.name]
        if last is None or len(every) < 2 or every[-1] is not last:
            return [value]
        core = self._core(last)
        if made not in core:
            return [value]
        place, output = core.index(made), self.graph.equations[made].outputs.index(value)
        found = []
        for node in every:
            own = self._core(node)
            eq = self.graph.equations[own[place]] if len(own) == len(core) else None
            if eq is None or eq.op is not self.graph.equations[made].op or eq.outputs[output].aval != value.aval:
                return [value]
            found.append(eq.outputs[output])
        return found

    def _core(self, node: Node) -> list[int]:
        """The equations of a call without those that may be reads of cells."""
        if node not in self.cores:
            cut: set[Var] = set()
            found = []
            for number in range(node.start, node.stop):
                eq = self.graph.equations[number]
                if eq.op is stop_gradient and self.index.position.get(eq.inputs[0], -1) < node.start:  # type: ignore[arg-type]
                    cut.update(eq.outputs)
                elif eq.op is not alias or eq.inputs[0] not in cut:
                    found.append(number)
            self.cores[node] = found
        return self.cores[node]

    # ---- what is read

    def _reads(self, step: Step, until: Any) -> None:
        """Find who reads what was written as the cell's, and hide the equations that do nothing else."""
        value, decl, position = step.value, self.decls[step.cell], self.index.position
        assert type(value) is Var
        made, users = position[value], self.index.users
        if value not in users and not any(atom is value for atom in self.outputs):
            return
        if not (decl.requires_grad or value in self.varying):
            step.after = tuple(n for n in users.get(value, ()) if self._is_direct(n, made, decl.path, value))
            for number in step.after:
                self.direct.setdefault(number, {})[value] = step.cell
            if step.every and until is None and not any(
                leaf is value for node in self._nodes(made) if node.call for leaf in leaves(node.call.result)
            ):  # fmt: skip
                self._result(step, value)
            return
        writer = next(self._nodes(made), None)
        for number in users.get(value, ()):
            eq = self.graph.equations[number]
            if eq.op is not stop_gradient or eq.origin is not None or (writer and writer.start <= number < writer.stop):
                continue
            own, read = [number], eq.outputs[0]
            if decl.requires_grad:
                if users.get(read) != (number + 1,) or read in self.index.results:
                    continue
                eq = self.graph.equations[number + 1]
                if eq.op is not alias:
                    continue
                own, read = [number, number + 1], eq.outputs[0]
            if any(write.value is read for write in self.graph.writes):
                continue
            self.hidden.update(own)
            self.read_by.update(dict.fromkeys(own, step.cell))
            self.cells[read] = step.cell
            step.after = users.get(read, ())
            self._result(step, read)
            return

    def _is_direct(self, number: int, made: int, path: str, value: Var) -> bool:
        """Whether an equation reads a value as that of a cell of the instance in which it stands."""
        for node in self._nodes(number):
            if node.start <= made < node.stop:
                return False
            if not node.path or path.startswith(f"{node.path}."):
                handed = [] if node.call is None else [a for t in node.call.arguments.values() for a in leaves(t)]
                return not any(atom is value for atom in handed)
        return False

    def _result(self, step: Step, read: Var) -> None:
        if any(atom is read for atom in self.outputs):
            step.is_result = True
            self.outputs = [step.cell if atom is read else atom for atom in self.outputs]

    def _forget(self, step: Step) -> None:
        """Leave the reads of a step as they are."""
        mine = {number for number, cell in self.read_by.items() if cell is step.cell}
        self.hidden -= mine
        for number in mine:
            del self.read_by[number]
        self.cells = {read: cell for read, cell in self.cells.items() if cell is not step.cell}
        for number, known in list(self.direct.items()):
            kept = {value: cell for value, cell in known.items() if cell is not step.cell}
            self.direct[number] = kept
            if not kept:
                del self.direct[number]
        pairs = zip(self.outputs, self.graph.outputs, strict=True)
        self.outputs = [own if atom is step.cell else atom for atom, own in pairs]

    # ---- what cannot be said

    def _in_order(self, step: Step) -> bool:
        """Whether all use what was there before the write first, and then what was written."""
        return not (step.before and step.after) or step.before[-1] < step.after[0]

    def _order(self) -> None:
        """Leave reads as they are that do not stand right before who uses them, in the order in which it does."""
        while wrong := self._misplaced():
            for write in self.graph.writes:
                if write.cell in wrong:
                    own = [step for step in self.steps if step.cell is write.cell]
                    self._forget(own[0])
                    self.steps = [self._plain(write) if one is own[0] else one for one in self.steps]
                    self.steps = [one for one in self.steps if one not in own[1:]]

    def _misplaced(self) -> set[Var]:
        """The cells of the first reads that stand elsewhere."""
        run: dict[Var, None] = {}  # reads whose user comes
        for number, eq in enumerate(self.graph.equations):
            if number in self.hidden:
                run.update((out, None) for out in eq.outputs if out in self.cells)
            elif run:
                wrong = _wrong(list(run), eq.variables())
                if wrong:
                    return {self.cells[read] for read in wrong}
                run = {}
        return {self.cells[read] for read in _wrong(list(run), self.graph.outputs)}

    # ---- the graph as calls see it

    def _seen(self, number: int, eq: Equation) -> Equation:
        """An equation on cells, where it reads these."""
        known = {**self.cells, **self.direct.get(number, {})} if number in self.direct else self.cells
        if not known or number in self.hidden or not any(var in known for var in eq.variables()):
            return eq

        def atom(item: Any) -> Any:
            return known.get(item, item) if type(item) is Var else item

        inputs = tuple(tuple(map(atom, item)) if type(item) is tuple else atom(item) for item in eq.inputs)
        return eq.elsewhere(inputs, eq.outputs, eq.call, eq.source)

    def _users(self) -> dict[Var, tuple[int, ...]]:
        found: dict[Var, list[int]] = {}
        for number, eq in enumerate(self.graph.equations):
            if number in self.hidden:
                continue
            known = self.direct.get(number, {})
            for var in dict.fromkeys(eq.variables()):
                if var not in self.cells and var not in known:
                    found.setdefault(var, []).append(number)
        return {var: tuple(numbers) for var, numbers in found.items()}


def _wrong(run: list[Var], users: Iterable[Any]) -> list[Var]:
    """Of reads those that are not used here; the first, if they are used in another order."""
    used = [atom for atom in dict.fromkeys(atom for atom in users if type(atom) is Var) if atom in run]
    return [] if used == run else [read for read in run if read not in used] or run[:1]
