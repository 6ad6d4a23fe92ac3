"""`NativeRunner`: runs a plan, kernels from tapes and the rest on NumPy, on live cells."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np

from tensorgraph.compile.alike import places_in
from tensorgraph.compile.cell_memory import MOVED, Binding, headers_are_known, looking_record
from tensorgraph.compile.copying import copy_record
from tensorgraph.compile.explain import reason, told
from tensorgraph.compile.gradients import Gradient, leave
from tensorgraph.compile.host_steps import Action, Environment
from tensorgraph.compile.laying import Room, laid
from tensorgraph.compile.layouts import address_of
from tensorgraph.compile.listing import listing
from tensorgraph.compile.plan import Plan
from tensorgraph.compile.selection import Step
from tensorgraph.engine.aval import Aval
from tensorgraph.engine.cells import Cell
from tensorgraph.engine.interrupts import whole
from tensorgraph.graph.equation import is_number
from tensorgraph.graph.graph import Literal, Var, Write
from tensorgraph.native.builtin import builtin
from tensorgraph.native.places import Record
from tensorgraph.native.pool import Pool
from tensorgraph.native.tape import HEAD, Tape, holding_driver

__all__ = ["NativeRunner", "is_light"]

copy = np.ndarray.copy
LIGHT = 1 << 21  # bytes that kernels read and write, once each: some 100 µs at most


class NativeRunner:
    """Runs a plan; see `tensorgraph.compile.runner.Runner`.

    Parameters
    ----------
    plan : Plan
    cells : sequence of Cell
        The live ones, in the order of the graph's; places of gradients behind them, where all runs as one short tape.
    alone : bool
        Whether other threads may be kept waiting while a short tape runs.
    room : Room, optional
        The memory in which it runs, and others, none of them meanwhile; unless given, its own.
    """

    # A run: (1) arguments and cells are looked at, and the tapes' words changed where arrays have moved; (2) tapes and
    # steps on NumPy in turn, up to the last step that may fail; (3) what is given of cells is copied; (4) the last
    # tape, which alone writes cells, and what NumPy has for them; (5) what is given of the arena is copied. Where there
    # are kernels alone, and little to do, (1) is the first record of the only tape: one call for all of it.

    def __init__(
        self, plan: Plan, cells: Sequence[Cell | Gradient], alone: bool = True, room: Room | None = None
    ) -> None:  # fmt: skip
        self.plan, self.cells, self.reason = plan, tuple(cells), reason(plan)
        self.room = room or Room()
        self._inner: NativeRunner | None = None  # for calls by an op of a run of this one
        graph, layout = plan.graph, plan.layout
        self._cell_of = {decl.var: cell for decl, cell in zip(graph.cells, cells, strict=True)}
        copies, left = self._left(plan)
        fresh = set(plan.fresh.values())
        alone = alone and not left and all(type(a) is not Var or plan.in_arena(a) or a in fresh for a in graph.outputs)
        alone = alone and not any(step.on_host for step in plan.steps)
        self.is_short = alone and headers_are_known() and is_light(plan.steps)
        memory, order = laid(plan, [looking_record()] if self.is_short else [], copies, self.room)
        self.memory, self.verdicts, self.status = memory, memory.verdicts, memory.verdicts.status
        self.environment = environment = Environment(plan, memory, lambda turn: NativeRunner(turn, ()).run)
        self.actions: list[Action] = []
        for item in order[:-1]:
            self.actions += [_running(item)] if isinstance(item, Tape) else environment.step(item)
        last = order[-1]
        assert isinstance(last, Tape)
        self.last = last
        self.early: list[tuple[int, int]] = []  # places among the outputs, and slots, of what lies in cells
        self.late: list[tuple[int, Any]] = []  # arrays of the arena
        self.whole: list[tuple[int, int]] = []  # slots of what is given as it is
        self.given: list[Any] = [None] * len(graph.outputs)
        self.fresh = [graph.outputs.index(var) for var in plan.fresh.values()]
        self.pool = Pool([(var.aval.shape, var.aval.dtype) for var in plan.fresh.values()])
        for number, atom in enumerate(graph.outputs):
            self._plan_output(number, atom)
        for write in left:
            if type(write.value) is Var:
                self.actions += environment.looks([write.value])
        self.stored = [self._store_of(write) for write in left]
        self.read = [(environment.slot(var), cell) for var, cell in self._cell_of.items() if var in environment.read]
        views = [(k, var) for k, var in enumerate(graph.inputs) if is_number(var) and plan.in_arena(var)]
        self.numbers = [(k, memory.view(var)) for k, var in views]
        self.binding = self._binding({layout.places[w.cell].buffer for w in graph.writes})
        self.needs_environment = bool(self.actions or self.early or self.whole or self.stored)
        self._views = [view for _, view in self.late] if len(self.late) == len(self.given) else None
        self.gives_copies = self._views is not None
        if self.is_short:
            self._tape = builtin(last, self.binding.attach(last.words), ctypes.addressof(self.status))
            self._drive = holding_driver()
            self._rest = ctypes.c_size_t(address_of(last.words) + 8 * (HEAD + len(self.binding.words)))

    def _plan_output(self, number: int, atom: Any) -> None:
        """See that an output is given: of the arena and of cells as copies, else as it is."""
        environment, layout = self.environment, self.plan.layout
        if type(atom) is not Var:
            self.given[number] = environment.program.plain[environment.program.results[number]]
            return
        if is_number(atom):
            self.whole.append((number, environment.slot(atom)))
        elif layout.places[atom].buffer in self.plan.fresh:
            pass
        elif self.plan.in_arena(atom):
            self.late.append((number, self.memory.view(atom)))
        else:
            self.actions += environment.looks([atom])
            ours = layout.places[atom].buffer in layout.cells or layout.is_folded(atom)
            (self.early if ours else self.whole).append((number, environment.slot(atom)))

    @property
    def source(self) -> str:
        """What runs, as Python, and the texts of the kernels."""
        return listing(self.plan)

    def explain(self) -> str:
        """What runs where, and why not as a kernel."""
        return told(self.plan)

    def _left(self, plan: Plan) -> tuple[list[Record], list[Write]]:
        """The writes that are left: copies at the end of the last tape, and those that are NumPy's."""
        layout, records, rest = plan.layout, list[Record](), list[Write]()
        for write in plan.graph.writes:
            if type(write.value) is not Var or is_number(write.value):
                rest.append(write)
                continue
            if write.value is write.cell or layout.places[write.value].buffer in plan.donated:
                continue
            place, cell = layout.places[write.value], layout.places[write.cell]
            known = plan.in_arena(write.value) or place.buffer in layout.constants or place.buffer in layout.inputs
            if known and place.is_contiguous:
                records.append(copy_record(place, cell))
            else:
                rest.append(write)
        return records, rest

    def _store_of(self, write: Write) -> tuple[Cell | Gradient, int, Any, bool]:
        """The cell, the slot of what it gets, or the value itself, and whether that is first copied."""
        cell = self._cell_of[write.cell]
        if isinstance(write.value, Literal):
            return cell, -1, np.asarray(write.value.value, write.cell.aval.dtype), False
        if self.plan.in_arena(write.value):
            return cell, -1, self.memory.view(write.value), False
        place = self.plan.layout.places[write.value]
        return cell, self.environment.slot(write.value), None, place.buffer in self.plan.layout.cells

    def _binding(self, written: set[Any]) -> Binding:
        plan = self.plan
        layout, graph = plan.layout, plan.graph
        cells: list[tuple[Cell, Aval, bool]] = []
        gradients: list[Gradient] = []
        words: dict[tuple[str, int], list[tuple[int, int]]] = {}
        for buffer, k in layout.cells.items():
            cell = self.cells[k]
            if isinstance(cell, Gradient):
                words["gradient", len(gradients)] = self.memory.words.get(buffer, [])
                gradients.append(cell)
            elif buffer in self.memory.words or buffer in written:
                words["cell", len(cells)] = self.memory.words.get(buffer, [])
                cells.append((cell, graph.cells[k].aval, buffer in written))
        arguments: list[tuple[int, Aval]] = []
        inputs = [(buffer, graph.inputs[k], k) for buffer, k in layout.inputs.items()]
        # new arrays come behind the arguments
        fresh = [(buffer, var, k) for k, (buffer, var) in enumerate(plan.fresh.items(), len(layout.inputs))]
        for buffer, var, k in (*inputs, *fresh):
            if buffer in self.memory.words:
                arguments.append((k, var.aval))
                words["argument", k] = self.memory.words[buffer]
        return Binding(cells, arguments, gradients, words, self.status)

    def value(self, var: Var) -> Any:
        """What the last run has computed of a variable that lies in the arena, also one that a check has ended."""
        return self.memory.view(var).copy()

    def run(self, arrays: Sequence[Any]) -> list[Any]:
        """The outputs for these arguments; the cells are written when it returns."""
        if self.room.is_busy:
            return self._run_within(arrays)
        arrays = tuple(arrays)
        if self.fresh:
            arrays += self.pool.arrays()
        for k, view in self.numbers:
            view[...] = arrays[k]
        if self.is_short:
            if self._tape(arrays):
                self._trouble(arrays)
        else:
            held = self.binding.bind(arrays)
            if self.needs_environment:
                return self._run_between(arrays)
            self.last.run()
            if self.status.value:
                self._judge(arrays, self.environment.template)
                self.verdicts.warn()
            del held
        if self._views is not None:
            return [*map(copy, self._views)]
        return self._collect(self.given.copy(), arrays)

    @property
    def looked_at(self) -> frozenset[int]:
        """Which arguments the tape compares with what it was planned for, as arrays or tensors, when it begins."""
        return frozenset(k for k, _ in self.binding.arguments) if self.is_short else frozenset()

    def direct_text(self, arrays: Sequence[str], given: str) -> tuple[list[str], list[str], dict[str, Any]] | None:
        """What `run` does with arrays of these names, where little is done beside the tape.

        Parameters
        ----------
        arrays : sequence of str
        given : str
            The tuple of them, as text. It may have tensors for the arrays `looked_at`: where one of them is not as it
            should be, nothing has been done, and ``longer()`` is given back.

        Returns
        -------
        (lines, results, scope) or None
            Python's text, which is run under the lock that `run` needs; the names that it gives the outputs; and what
            its other names mean.
        """
        if not self.is_short or self._views is None or self.fresh:
            return None
        scope: dict[str, Any] = {"tape": self._tape, "trouble": self._trouble, "again": self._again, "moved": MOVED}
        scope["room"] = self.room
        lines = ["if room.is_busy: return longer(args)"]
        for k, view in self.numbers:
            scope[f"n{k}"] = view
            lines.append(f"n{k}[...] = {arrays[k]}")
        lines += [f"code = tape({given})", "if code:"]
        lines += ["    if code == moved: again(); return longer(args)", f"    trouble({given})"]
        results = [f"v{n}" for n in range(len(self._views))]
        for result, view in zip(results, self._views, strict=True):
            scope[f"of_{result}"] = view.copy
            lines.append(f"{result} = of_{result}()")
        return lines, results, scope

    def _again(self) -> None:
        """Let a short tape run on that has seen that Python has to look."""
        self.status.value = 0
        self.memory.restore()

    def _trouble(self, arrays: tuple[Any, ...]) -> None:
        """A short tape did not run to its end, or has something to tell."""
        if self.status.value == MOVED:
            self._again()
            with whole() if self.binding.gradients else contextlib.nullcontext():
                held, tensors = self.binding.bind_slowly(arrays), self.binding.renew()
                self._drive(self._rest)
                if self.status.value <= 0:  # else a check has failed, and nothing was written
                    leave(self.binding.gradients, tensors)
            del held
        if self.status.value:
            self._judge(arrays, self.environment.template)
            self.verdicts.warn()

    def _run_within(self, arrays: Sequence[Any]) -> list[Any]:
        """Run while an op of a run in the same memory calls the function again: in memory that is its own."""
        if self._inner is None:
            self._inner = NativeRunner(self.plan, self.cells)
        self.room.was_entered = True
        return self._inner.run(arrays)

    def _run_between(self, arrays: tuple[Any, ...]) -> list[Any]:
        """Run a plan of which NumPy does a part."""
        self.room.is_busy, self.room.was_entered = True, False
        try:
            return self._run_steps(arrays)
        finally:
            self.room.is_busy = False

    def _run_steps(self, arrays: tuple[Any, ...]) -> list[Any]:
        given = self.given.copy()
        env = self.environment.template.copy()
        first = len(self.plan.graph.inputs)
        env[:first] = arrays[:first]
        for slot, cell in self.read:
            env[slot] = cell._value
        for action in self.actions:
            action(env)
            if self.status.value:
                self._judge(arrays, env)
            if self.room.was_entered:  # cells may have new arrays
                self.room.was_entered, arrays = False, self.binding.bind(arrays)
        for number, slot in self.whole:
            given[number] = env[slot]
        for number, slot in self.early:
            given[number] = env[slot].copy()
        new = [(cell, self._new(env, slot, value, copied)) for cell, slot, value, copied in self.stored]
        with whole() if new else contextlib.nullcontext():
            self.last.run()
            if self.status.value:
                self._judge(arrays, env)
            for cell, value in new:
                cell._value[...] = value
        if self.status.value:
            self.verdicts.warn()
        return self._collect(given, arrays)

    def _new(self, env: list[Any], slot: int, value: Any, copied: bool) -> Any:
        if slot >= 0:
            value = env[slot]
        return value.copy() if copied else value

    def _collect(self, given: list[Any], arrays: tuple[Any, ...]) -> list[Any]:
        for number, array in zip(self.fresh, arrays[len(self.plan.graph.inputs) :], strict=True):
            given[number] = array
        for number, view in self.late:
            given[number] = view.copy()
        return given

    def _judge(self, arrays: tuple[Any, ...], env: list[Any]) -> None:
        """Raise what a check has found; nothing has been written."""
        number = self.status.value
        if number <= 0:
            return
        self.status.value = 0
        self.memory.restore()
        step, check = self.verdicts.checks[number - 1]
        env = env.copy()
        first = len(self.plan.graph.inputs)
        env[:first] = arrays[:first]
        env[first : first + len(self.cells)] = [cell._value for cell in self.cells]
        for eq in step.equations:
            self.environment.repeat(eq, env)
        raise ValueError(check.error)


def is_light(steps: Sequence[Step]) -> bool:
    """Whether a plan's kernels take so little time that other threads may wait for them."""
    left = LIGHT
    for call in [step.call for step in steps if step.call is not None]:
        if any(record.blocks > 1 for record in call.records):
            return False
        left -= sum(place.nbytes for place in places_in([*call.inputs, *call.outputs]))
        if left < 0:
            return False
    return True


def _running(tape: Tape) -> Action:
    def run(env: list[Any]) -> None:
        tape.run()

    return run
