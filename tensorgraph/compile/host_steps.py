"""The steps of a plan that NumPy runs, on arrays of the plan's memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from tensorgraph.compile.cell_memory import put
from tensorgraph.compile.laying import Memory
from tensorgraph.compile.layouts import Array, address_of
from tensorgraph.compile.plan import Plan
from tensorgraph.graph.equation import is_number
from tensorgraph.graph.forms import array_function
from tensorgraph.graph.graph import Equation, Var
from tensorgraph.graph.program import Program
from tensorgraph.jit.properties import cached_property
from tensorgraph.transforms.scan import Body

__all__ = ["Environment", "HostStep", "WideInteger"]

ndarray = np.ndarray

Action = Callable[[list[Any]], None]
Turn = Callable[[Sequence[Any]], list[Any]]


class WideInteger(OverflowError):
    """A Python integer that has become too wide for kernels: the function itself goes on with it."""


class HostStep:
    """One equation on NumPy, from slots to slots of a program's environment.

    Parameters
    ----------
    program : Program
    at : int
        The number of its step.
    targets : sequence of (ndarray or None)
        For each output the array in the arena that kernels read it in; None where only NumPy reads it.
    volatile : sequence of int
        The slots of operands whose memory others write later: a result does not stay there.
    last : sequence of int
        Slots that nobody reads afterwards.
    words : sequence of sequence of (int, int)
        For each output the words of tapes that are to say where it is, and how far behind its beginning.
    turn : callable, optional
        Of a loop: what runs one of its turns in the place of NumPy.
    """

    def __init__(
        self, program: Program, at: int, targets: Sequence[Array | None], volatile: Sequence[int] = (),
        last: Sequence[int] = (), words: Sequence[Sequence[tuple[int, int]]] = (), turn: Turn | None = None,
    ) -> None:  # fmt: skip
        self.program, self.at, self.volatile, self.last = program, at, tuple(volatile), tuple(last)
        step = program.steps[at]
        eq = step.equation
        self.function = array_function(eq if turn is None else _turned(eq, turn))
        self.inputs, self.several = step.inputs, len(eq.outputs) != 1 or eq.op.signature.variadic
        numbers = (is_number(var) for var in eq.outputs)
        words = words or [()] * len(eq.outputs)
        self.outputs = tuple(zip(step.outputs, targets, numbers, words, strict=True))

    def __call__(self, env: list[Any]) -> None:
        operands = [env[p] if type(p) is int else [env[q] for q in p] for p in self.inputs]
        try:
            results = self.function(*operands)
        except Exception as error:
            self.program.fail(self.at, env, error)
        del operands
        for (slot, target, number, words), value in zip(
            self.outputs, results if self.several else (results,), strict=True
        ):
            if target is not None:
                if number and type(value) is int and not -(1 << 63) <= value < 1 << 63:
                    raise WideInteger(f"{value} has more than 64 bits, and kernels read no more")
                target[...] = value
                env[slot] = value if number else target
            elif number or value is None:
                env[slot] = value
            else:
                value = self.own(value if type(value) is ndarray else np.asarray(value), env)
                if words:
                    value = np.require(value, requirements=("C", "A"))
                    put(words, address_of(value))
                env[slot] = value
        for slot in self.last:
            env[slot] = None

    def own(self, value: Array, env: list[Any]) -> Array:
        """The value, copied where it lies in an operand's memory that is written later."""
        for slot in self.volatile:
            if np.may_share_memory(value, env[slot]):
                return value.copy()
        return value


def _turned(eq: Equation, turn: Turn) -> Equation:
    """A loop whose turns are run by another."""
    body = Body(eq.attrs["body"].outputs, turn)
    return Equation(eq.op, eq.inputs, {**eq.attrs, "body": body}, eq.outputs, eq.call, eq.source, eq.origin)


class Look:
    """An equation that only looks at memory otherwise, on NumPy: at what is another array at each call."""

    def __init__(self, program: Program, at: int) -> None:
        step = program.steps[at]
        self.function, self.inputs, self.outputs = array_function(step.equation), step.inputs, step.outputs
        self.several = len(step.outputs) != 1 or step.equation.op.signature.variadic

    def __call__(self, env: list[Any]) -> None:
        results = self.function(*[env[p] if type(p) is int else [env[q] for q in p] for p in self.inputs])
        for slot, value in zip(self.outputs, results if self.several else (results,), strict=True):
            env[slot] = value if type(value) is ndarray else np.asarray(value)  # an item of an array is none


class Environment:
    """What NumPy's steps need of a plan: which slots hold what before a run, and what to do on the way.

    Parameters
    ----------
    plan : Plan
    memory : Memory
    turn_of : callable
        Gives what runs the turns of a loop by their plan.

    Attributes
    ----------
    template : list
        The slots as they are before a run: constants, numbers, and arrays of the arena.
    read : set of Var
        What of that, and of arguments and cells, is read.
    """

    def __init__(self, plan: Plan, memory: Memory, turn_of: Callable[[Plan], Turn]) -> None:
        self.plan, self.memory, self.turn_of = plan, memory, turn_of
        self.read: set[Var] = set()
        self.there: set[Var] = {*plan.graph.inputs, *plan.graph.consts, *(decl.var for decl in plan.graph.cells)}
        self.there.update(plan.layout.folded)

    @cached_property
    def program(self) -> Program:
        """Whose slots these are; where all are kernels, nobody asks."""
        return self.plan.graph.program

    @cached_property
    def template(self) -> list[Any]:
        slots = self.program.plain.copy()
        for var, array in self.plan.layout.folded.items():
            slots[self.slot(var)] = array
        return slots

    @cached_property
    def number_of(self) -> dict[int, int]:
        """Where an equation is in the graph, by its id."""
        return {id(eq): n for n, eq in enumerate(self.plan.graph.equations)}

    @cached_property
    def dying(self) -> dict[int, list[Var]]:
        """By the number of a step on NumPy, what nobody reads after it."""
        plan, last_use = self.plan, dict[Var, int]()
        for n, step in enumerate(plan.steps):
            if step.on_host:
                last_use.update((var, n) for var in self.behind(step.variables()))
        handed = {var for step in plan.steps for var in step.outputs if plan.layout.places[var].buffer in plan.handed}
        kept = self.behind(plan.graph.results()) | handed
        found: dict[int, list[Var]] = {}
        for var, n in last_use.items():
            if var not in kept and not plan.in_arena(var) and not self.is_constant(var):
                found.setdefault(n, []).append(var)
        return found

    def is_constant(self, var: Var) -> bool:
        """Whether a variable lies in a constant's memory."""
        return self.plan.layout.places[var].buffer in self.plan.layout.constants

    def slot(self, var: Var) -> int:
        return self.program.slots[var]

    def behind(self, variables: Iterable[Var]) -> set[Var]:
        """Variables and what they are views of."""
        found: set[Var] = set()
        waiting = list(variables)
        while waiting:
            var = waiting.pop()
            if var not in found:
                found.add(var)
                if var in self.plan.layout.views:
                    waiting.extend(self.plan.layout.views[var].variables())
        return found

    def looks(self, variables: Iterable[Var]) -> Iterator[Action]:
        """What must be done before variables can be read, in order."""
        for var in variables:
            if var in self.there:
                self.read.add(var)
                continue
            if self.plan.in_arena(var):
                self.there.add(var)
                if not is_number(var):
                    self.template[self.slot(var)] = self.memory.view(var)
                continue
            eq = self.plan.layout.views[var]
            yield from self.looks(eq.variables())
            self.there.update(eq.outputs)
            yield Look(self.program, self.number_of[id(eq)])

    def step(self, number: int) -> Iterator[Action]:
        """The actions of a step on NumPy."""
        plan = self.plan
        step = plan.steps[number]
        (eq,) = step.equations
        yield from self.looks(eq.variables())
        targets = [self._target(eq, var) for var in eq.outputs]
        self.there.update(eq.outputs)
        volatile = [self.slot(var) for var in dict.fromkeys(eq.variables()) if self._is_volatile(var)]
        last = [self.slot(var) for var in self.dying.get(number, ())]
        words = [self.memory.words.get(plan.layout.places[var].buffer, ()) for var in eq.outputs]
        turn = None if step.turn is None else self.turn_of(step.turn)
        yield HostStep(self.program, self.number_of[id(eq)], targets, volatile, last, words, turn)

    def repeat(self, eq: Equation, env: list[Any]) -> None:
        """Run an equation of a kernel on NumPy, for its error; its results are let go."""
        for var in eq.variables():
            self.see(var, env)
        number = self.number_of[id(eq)]
        HostStep(self.program, number, [None] * len(eq.outputs))(env)

    def see(self, var: Var, env: list[Any]) -> None:
        """Have a variable's array in its slot."""
        if is_number(var):
            return
        if self.plan.in_arena(var):
            env[self.slot(var)] = self.memory.view(var)
        elif var in self.plan.layout.views:
            eq = self.plan.layout.views[var]
            for source in eq.variables():
                self.see(source, env)
            Look(self.program, self.number_of[id(eq)])(env)

    def _target(self, eq: Equation, var: Var) -> Array | None:
        return self.memory.view(var) if self.plan.in_arena(var) else None

    def _is_volatile(self, var: Var) -> bool:
        buffer = self.plan.layout.places[var].buffer
        if is_number(var):
            return False
        return buffer in self.plan.arena.offsets or buffer in self.plan.layout.cells or self.plan.layout.is_folded(var)
