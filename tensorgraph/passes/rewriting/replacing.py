"""Putting a function where something else stands in a graph: a trace that goes on from the graph's own values."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tensorgraph.engine import modes
from tensorgraph.engine.cells import Cell, Parameter
from tensorgraph.engine.tensor import Tensor, as_array, wrap
from tensorgraph.engine.tree import flatten
from tensorgraph.graph.calls import Call
from tensorgraph.graph.graph import CellDecl, Change, Equation, Graph, Literal, Part, Var, Write
from tensorgraph.ops.creation import full
from tensorgraph.passes.recognise.replace import ordered
from tensorgraph.passes.recognise.view import View
from tensorgraph.passes.rerun import Rerun
from tensorgraph.passes.rewrite import Log, replaced, replaced_in

__all__ = ["Replacement", "Replacing", "further"]


class Replacement:
    """What stands for some equations of a graph: its own equations, and what they give for values of the graph.

    Its equations come after the number `behind`; `assigned` are the cells that it assigns to.
    """

    def __init__(
        self, numbers: frozenset[int], equations: list[Equation], by: dict[Var, Var | Literal], behind: int
    ) -> None:
        self.numbers = numbers
        self.behind = behind
        self.equations = equations
        self.by = by
        self.assigned: list[Cell] = []


class Replacing(Rerun):
    """A trace in which all values of a graph are known, so that functions of them can be put into it.

    `given`: of a graph that an equation of another holds, its inputs that are cells of that one, by cell and by path.
    """

    def __init__(self, graph: Graph, view: View, given: Mapping[Any, Var] | None = None) -> None:
        super().__init__(graph)
        self.view = view
        self.scope = ""  # that of the place where something is put
        self.places: dict[Cell, str] = {}
        for eq in graph.equations:
            self.producer.update(dict.fromkeys(eq.outputs, eq))
            floats = [out for out in eq.outputs if out.aval.dtype.kind == "f"]
            self.varying.update(floats)
            self.differentiable.update(floats)
        self.differentiable.update(var for var in self.inputs if var.aval.dtype.kind == "f")
        live = graph.provenance.cells(len(graph.cells))
        self.cells = {cell: decl.var for decl, cell in zip(graph.cells, live, strict=True) if cell is not None}
        self.cells |= {cell: var for cell, var in (given or {}).items() if isinstance(cell, Cell)}
        self.own = set(self.cells)
        held = {path: var for path, var in (given or {}).items() if isinstance(path, str)}
        self.cells_by_path = {decl.path: decl.var for decl in graph.cells} | held
        self.is_held = given is not None

    def var_of_cell(self, cell: Cell) -> Var | Literal:
        if cell not in self.cells:
            if self.is_held:
                raise ValueError(
                    f"it reads {cell._label()}, and the loop that it stands in reads no such cell; a function that "
                    "takes it for an argument may be put there"
                )
            self.places[cell] = self.scope
        return super().var_of_cell(cell)

    def put(
        self, function: Callable[..., Any], arguments: Sequence[Var | Literal], outputs: Sequence[Var],
        numbers: frozenset[int], last: Equation | None, within: Call | None = None, behind: int | None = None,
    ) -> Replacement:  # fmt: skip
        """Call a function on values of the graph, for these outputs of it, on the line of `last` and in its call.

        Or `within` another one. Its equations come after the last of `numbers`, or `behind` another.

        Raises
        ------
        TypeError, ValueError
            Where it gives something of another type; and whatever it raises itself.
        """
        call = within or (None if last is None else last.call)
        start, back, before = len(self.equations), self.mark(), dict(self.shadow)
        self.at = None if last is None else last.source
        self.origin = None if last is None else last.origin
        self.scope = "" if call is None else call.scope
        self.part = Part.of(outputs, None if last is None else last.call, None if last is None else last.part)
        implementation = modes.current().implementation
        try:
            with self.running(), modes.use(call=call, implementation=implementation):
                given = function(*[self.tensor(a) if type(a) is Var else a.value for a in arguments])  # type: ignore[union-attr]
                leaves, _ = flatten(given)
                if len(leaves) != len(outputs):
                    line = "" if self.at is None else f" (traced at {self.at})"
                    raise ValueError(
                        f"the function gives {_count(len(leaves))} where {_count(len(outputs))} stood{line}"
                    )
                atoms = [self.result_for(leaf, out) for leaf, out in zip(leaves, outputs, strict=True)]
        except BaseException:
            back()
            raise
        finally:
            self.at = self.origin = self.part = None
        behind = max(numbers, default=-1) if behind is None else behind
        replacement = Replacement(numbers, self.equations[start:], {}, behind)
        replacement.assigned = [cell for cell, value in self.shadow.items() if before.get(cell) is not value]
        return self._renamed(replacement, atoms, outputs, start)

    def mark(self) -> Callable[[], None]:
        """What takes back all that is put in from now on: equations, and cells that it reads and assigns to."""
        count = len(self.equations)
        tables: tuple[dict[Any, Any], ...] = self.shadow, self.write_source, self.read_again, self.cells, self.places
        known = [dict(table) for table in tables]

        def back() -> None:
            del self.equations[count:]
            for table, entries in zip(tables, known, strict=True):
                table.clear()
                table.update(entries)

        return back

    def result_for(self, leaf: Any, out: Var) -> Var | Literal:
        """What a function gave, as the value that it stands for."""
        line = "" if self.at is None else f" (traced at {self.at})"
        if isinstance(leaf, (int, float)) and not isinstance(leaf, Tensor):
            leaf = full.public(shape=out.aval.shape, value=leaf, dtype=out.aval.dtype.name)
        if isinstance(leaf, (np.ndarray, np.generic)):
            leaf = wrap(as_array(leaf))
        if not isinstance(leaf, Tensor):
            raise TypeError(f"the function gives {type(leaf).__name__} where a tensor of {out.aval} stood{line}")
        atom = self._use(leaf, True)
        aval = getattr(atom, "aval", None)
        if aval != out.aval:
            cast = aval is not None and aval.shape == out.aval.shape
            remedy = f": .astype({out.aval.dtype.name!r}) makes it that" if cast else ""
            raise ValueError(f"the function gives {aval} where {out.aval} stood{remedy}{line}")
        if out in self.view.asked and not self._is_fresh(atom):  # a gradient is asked about this name alone
            atom = self.lift(self.tensor(atom))._value  # type: ignore[arg-type]
        return atom

    def _is_fresh(self, atom: Var | Literal) -> bool:
        """Whether a value was made here, and is no value of the graph."""
        return type(atom) is Var and atom in self.producer and atom not in self.view.position

    def _renamed(
        self, replacement: Replacement, atoms: list[Var | Literal], outputs: Sequence[Var], start: int
    ) -> Replacement:
        """With the values that were made here under the names of those that they stand for."""
        own = {out for eq in replacement.equations for out in eq.outputs}
        named: dict[Var, Var | Literal] = {}
        for atom, out in zip(atoms, outputs, strict=True):
            if atom in own and atom not in named and out in self.view.position:
                named[atom] = out
            elif atom is not out:  # an argument or a cell that stays as it is
                replacement.by[out] = atom
        if named:
            replacement.by = {out: named.get(a, a) if type(a) is Var else a for out, a in replacement.by.items()}
            equations = []
            for eq in replacement.equations:
                given = tuple(replaced(out, named) for out in eq.outputs)
                eq = replaced_in(eq, named)
                equations.append(eq if given == eq.outputs else replace(eq, outputs=given))
                self.producer.update(dict.fromkeys(given, equations[-1]))
            replacement.equations = self.equations[start:] = equations
            for cell, value in self.shadow.items():
                self.shadow[cell] = replaced(value, named)
        return replacement

    # the graph ------------------------------------------------------------------------------------------------

    def replaced(
        self, replacements: Sequence[Replacement], changes: Iterable[Change] = (), step: str = ""
    ) -> Graph | None:
        """The graph with these replacements, as a step that tells its changes; None where there is no order of them.

        Raises
        ------
        ValueError
            Where a cell would be written twice.
        """
        graph, view = self.graph, self.view
        written = {write.cell for write in graph.writes}
        for cell in self.shadow:
            if self.is_held:
                raise ValueError(f"what is put in assigns to {cell._label()}, which a body of a loop cannot")
            if self.cells[cell] in written:
                raise ValueError(f"what is put in assigns to {cell._label()}, and the graph does that itself")
        by: dict[Var, Var | Literal] = {}
        for replacement in replacements:
            by |= replacement.by
        for out in by:  # what stands for a value may have been replaced itself
            target = by[out]
            while type(target) is Var and target in by:
                target = by[target]
            by[out] = target
        made = {out for r in replacements for eq in r.equations for out in eq.outputs}
        # a gradient with respect to an argument or a cell goes through what stands in its place now
        beyond = {out: target for out, target in by.items() if out in view.position}
        added: dict[int, list[Equation]] = {}
        for r in replacements:
            others = {out: target for out, target in by.items() if out not in r.by}
            added.setdefault(r.behind, []).extend(replaced_in(eq, others) for eq in r.equations)
        equations = list(added.pop(-1, []))
        for n, eq in enumerate(view.equations):
            if not made.issuperset(eq.outputs):  # what is made elsewhere now has another name here
                own = tuple(Var(out.aval) if out in made else out for out in eq.outputs)
                asked = replaced(eq.inputs[1], beyond) if eq.is_gradient else None
                eq = replaced_in(eq if made.isdisjoint(eq.outputs) else replace(eq, outputs=own), by)
                equations.append(replace(eq, inputs=(eq.inputs[0], asked, eq.inputs[2])) if asked else eq)
            equations += added.get(n, [])
        in_order = ordered(equations)
        if in_order is None:
            return None
        outputs = tuple(replaced(a, by) for a in graph.outputs)
        writes = [Write(w.cell, replaced(w.value, by), w.source) for w in graph.writes]
        writes += [
            Write(self.cells[cell], replaced(value, by), self.write_source.get(cell))
            for cell, value in self.shadow.items()
        ]
        results = {a for a in (*outputs, *[w.value for w in writes]) if type(a) is Var}
        results |= {v for n, eq in enumerate(view.equations) if not view.live[n] for v in eq.variables() if v in made}
        kept = _needed(in_order, results, view)
        kept_outputs = {out for eq in kept for out in eq.outputs}
        gone = [
            eq for n, eq in enumerate(view.equations)
            if not view.live[n] and kept_outputs.isdisjoint(eq.outputs) and any(out.name for out in eq.outputs)
        ]  # fmt: skip
        log = Log(graph, step)
        for eq in gone:
            log.note("nothing reads it", eq, "nothing", eq.source, "what it read is gone")
        changes = [*changes, *log.changes]
        consts = {var: array for var, array, _ in self.consts.values()}
        read = {v for eq in kept for v in eq.variables()} | results
        before = {v for eq in view.equations for v in eq.variables()} | set(view.results)
        for var, array in consts.items():
            if var not in graph.consts:
                consts[var] = array.copy()
                consts[var].flags.writeable = False
        consts = {var: array for var, array in consts.items() if var in read or var not in before}
        cells, live = self._cells()
        result = graph.replace(
            equations=tuple(kept), outputs=outputs, writes=tuple(writes), consts=consts, cells=cells,
            changes=(*graph.changes, *changes),
        )  # fmt: skip
        captured = {var: node for var, node in self.captured.items() if var in consts}
        return result.replace(provenance=replace(result.provenance, captured=captured, live=live))

    def _cells(self) -> tuple[tuple[CellDecl, ...], tuple[Any, ...]]:
        """The graph's cells, and those that came with what was put into it."""
        graph = self.graph
        cells = list(graph.cells)
        live: list[Any] = list(graph.provenance.live) or [_unknown] * len(cells)
        paths = {decl.path for decl in cells}
        for cell, var in self.cells.items():
            if cell in self.own:
                continue
            scope = self.places[cell]
            path = cell.path or "cell"
            base = f"{scope}.{path}" if scope and cell.owner is not None else path
            path, count = base, 1
            while path in paths:
                count += 1
                path = f"{base}_{count}"
            paths.add(path)
            kind = "parameter" if isinstance(cell, Parameter) else "buffer"
            cells.append(CellDecl(path, var, kind, cell.initialiser, cell._node is not None))
            live.append(functools.partial(_itself, cell))  # nobody else need hold what was put in
        return tuple(cells), tuple(live) if len(cells) > len(graph.cells) else graph.provenance.live


def further(view: View, numbers: frozenset[int], assigned: Sequence[Cell], places: int, equal: bool) -> list[str]:
    """What is to be told of a replacement besides: of the cells that it assigns to, after how many other places; and of
    gradients that were written out of what was there."""
    words = []
    if assigned:
        again = f", after {places} other place{'s' * (places > 1)}: the last one stands" if places else ""
        words.append(f"it assigns to {', '.join(cell._label() for cell in assigned)}{again}")
    gone = {view.equations[n].outputs[0] for n in numbers}
    if not equal and any(eq.origin is not None and eq.origin.of in gone for eq in view.equations):
        words.append("gradients that are written out stay those of what was there: replace first, then differentiate")
    return words


def _itself(cell: Cell) -> Cell:
    return cell


def _unknown() -> None:
    """The cell of a graph that was read or made by hand, as a reference."""
    return None


def _count(n: int) -> str:
    return "one value" if n == 1 else f"{n} values"


def _needed(equations: list[Equation], results: set[Var], view: View) -> list[Equation]:
    """Without what nothing needs any more; what nothing needed before stays, where what it reads does."""
    needed = set(results)
    here: set[int] = set()
    for eq in reversed(equations):
        if not needed.isdisjoint(eq.outputs):
            needed.update(eq.variables())
            here.add(id(eq))
    missing = {out for eq in equations if id(eq) not in here for out in eq.outputs}
    kept = []
    for eq in equations:
        number = view.position.get(eq.outputs[0]) if eq.outputs else None
        idle = number is not None and not view.live[number] and missing.isdisjoint(eq.variables())
        if idle or id(eq) in here:
            missing.difference_update(eq.outputs)
            kept.append(eq)
    return kept
