"""`Program`: the one runner of graphs.

A graph is prepared once. Its values get slots in place of names, each equation becomes a step from slots to slots, and
what is read for the last time is let go there. Where nobody differentiates, a step is the op's forward on plain arrays:
the types are known, so nothing is asked again. Steps on the way to a deferred gradient, and all steps where the caller
differentiates, go through the tape, and the engine's own backward pass takes the gradients.
"""

from __future__ import annotations

import functools
import operator
import time
from collections.abc import Callable, Iterable, Sequence
from types import CodeType
from typing import Any, NoReturn

import numpy as np

from tensorgraph.engine import modes
from tensorgraph.engine.backward import pull_back
from tensorgraph.engine.calling import composed, explain, relocate, run
from tensorgraph.engine.direct import is_fused
from tensorgraph.engine.operands import SCALARS, Borrowed
from tensorgraph.engine.recorded import is_simple, make_recorded
from tensorgraph.engine.tape import Leaf, Node, Projection, line_of
from tensorgraph.engine.tensor import Tensor, as_array, wrap
from tensorgraph.graph.forms import array_function, by_reference, exact_number, has_weak_numbers, public_function
from tensorgraph.graph.graph import Equation, Graph, Source, Var
from tensorgraph.graph.losses import exits, losses
from tensorgraph.graph.source import code_of, recorder_of, source_of
from tensorgraph.jit.properties import cached_property

__all__ = ["Program", "Step", "Watch"]

ndarray = np.ndarray
asarray = np.asarray

Watch = Callable[[int, Equation, list[Any], tuple[Any, ...], float], None]
"""Told after each step: its number, its equation, its operands, its results, and the seconds that it took."""

# how a step of the plain loop takes its operands and gives its results
ONE, MANY, GENERAL, NUMBER = 0, 1, 2, 3
OFTEN = 3  # runs after which a program is made one function
MOST = 5_000  # steps of such a function: a longer one would take a second to compile


class Step:
    """One equation between slots.

    Attributes
    ----------
    equation : Equation
    inputs : tuple
        A slot an input; a tuple of slots for a list.
    outputs : tuple of int
    last : tuple of int
        The slots that nobody reads after this step.
    recorded : bool
        Whether a deferred gradient goes through this step.
    of_numbers : bool
        Whether it computes with Python numbers that are not known.
    final : bool
        Whether this is the last deferred gradient, after which the tape is not needed.
    """

    __slots__ = ("equation", "final", "inputs", "last", "of_numbers", "outputs", "recorded")

    def __init__(self, equation: Equation, inputs: tuple[Any, ...], outputs: tuple[int, ...]) -> None:
        self.equation = equation
        self.inputs = inputs
        self.outputs = outputs
        self.last: tuple[int, ...] = ()
        self.recorded = self.final = False
        self.of_numbers = equation.of_numbers

    @property
    def is_known(self) -> bool:
        """Whether a call that records it is known beforehand: it takes the values that are no numbers."""
        return is_simple(self.equation.op) and self.equation.source is not None and not self.of_numbers


class Program:
    """A graph prepared for running.

    Parameters
    ----------
    graph : Graph
    leaves : iterable of Var
        Variables that are leaves of the tape besides those that the graph itself asks gradients of.
    keep : bool
        Keep every value to the end instead of letting it go after its last use.

    Attributes
    ----------
    slots : dict of Var to int
        Inputs first, then cells, constants and the results of equations, in order.
    steps : tuple of Step
    results : tuple of int
        The slots of the outputs, then of the written values.
    """

    def __init__(self, graph: Graph, leaves: Iterable[Var] = (), keep: bool = False) -> None:
        self.name = graph.name  # not the graph itself, which holds its program
        self.captured = graph.provenance.captured
        self.slots: dict[Var, int] = {}
        self.start: list[Any] = []  # what the slots hold before the first step: constants and literals
        for var in (*graph.inputs, *(decl.var for decl in graph.cells)):
            self._slot(var)
        self.given = len(self.start)
        self.numbers: dict[int, Any] = {}  # weak numbers as plain arrays take them
        self.constants = {self._slot(var, array): var for var, array in graph.consts.items()}
        self.steps = tuple(self._step(eq) for eq in graph.equations)
        self.results = tuple(self._place(atom) for atom in (*graph.outputs, *(write.value for write in graph.writes)))
        self.leaves = {self.slots[x] for step in self.steps if step.equation.is_gradient
                       for x in step.equation.group(1) if type(x) is Var}  # fmt: skip
        self.leaves.update(self.slots[var] for var in leaves)
        self.deferred = self._record()
        self.losing = frozenset(losses(graph.equations, graph.outputs))
        self.runs = self.recorded_runs = 0
        fused = [s.equation.op.direct for s in self.steps if s.equation.op.reference is not None]
        self.has_fused, self.is_direct = bool(fused), all(fused)  # else nobody asks for Numba
        self._known_modes: tuple[modes.Mode | None, dict[tuple[bool, str], modes.Mode]] = None, {}
        if not keep:
            self._last_uses()

    # preparing --------------------------------------------------------------------------------------------------

    def _slot(self, var: Var | None, value: Any = None) -> int:
        self.start.append(value)
        if var is not None:
            self.slots[var] = len(self.start) - 1
        return len(self.start) - 1

    def _place(self, atom: Any, weak: bool = True) -> Any:
        """The slot of an atom, slots of a list. A number is an array of its own where it does not stay `weak`."""
        if isinstance(atom, tuple):
            return tuple(self._place(a, False) for a in atom)
        if type(atom) is Var:
            return self.slots[atom]
        value = atom.value
        if not weak and type(value) in SCALARS:
            value = as_array(value)
        return self._slot(None, value)

    def _step(self, eq: Equation) -> Step:
        weak = has_weak_numbers(eq)
        inputs = tuple(self._place(atom, weak or eq.is_arithmetic) for atom in eq.inputs)
        if weak:
            for place, atom in zip(inputs, eq.inputs, strict=True):
                if type(atom) is not Var:
                    self.numbers[place] = exact_number(eq, self.start[place])
        return Step(eq, inputs, tuple(self._slot(var) for var in eq.outputs))

    def last_uses(self) -> list[list[Var]]:
        """For each equation the variables that nobody reads after it and that are no results."""
        var_of = {slot: var for var, slot in self.slots.items()}
        return [[var_of[slot] for slot in step.last if slot in var_of] for step in self.steps]  # the rest are numbers

    def _record(self) -> bool:
        """Mark the steps that lead to what is differentiated; whether there is any."""
        wanted: set[int] = set()
        final = True
        for step in reversed(self.steps):
            if step.equation.is_gradient:
                step.final, final = final, False
                wanted.update(step.inputs[0])
            if not wanted.isdisjoint(step.outputs):
                step.recorded = True
                wanted.update(_flat(step.inputs))
        return not final

    def _last_uses(self) -> None:
        kept = {*self.results, *(slot for slot, value in enumerate(self.start) if value is not None)}
        for step in reversed(self.steps):
            here = dict.fromkeys((*_flat(step.inputs), *step.outputs))
            step.last = tuple(slot for slot in here if slot not in kept)
            kept.update(here)

    @cached_property
    def _fused(self) -> list[tuple[Any, ...]]:
        return [_plain(step, array_function(step.equation)) for step in self.steps]

    @cached_property
    def _composed(self) -> list[tuple[Any, ...]]:
        """As `_fused`, fused ops by their references."""
        pairs = zip(self.steps, self._fused, strict=True)
        return [_plain(s, by_reference(s.equation)) if s.equation.op.reference is not None else p for s, p in pairs]

    # running ----------------------------------------------------------------------------------------------------

    def run(self, values: Sequence[Any]) -> list[Any]:
        """Outputs and written values on plain arrays, with no history.

        Parameters
        ----------
        values : sequence of ndarray
            Of the graph's inputs, then of its cells, of the declared types.

        Returns
        -------
        list
            Arrays, and numbers where the graph gives numbers; they may be the arrays that were given, or views of them.
        """
        fused = not self.has_fused or is_fused(self.is_direct)
        if fused and self.runs < OFTEN:
            self.runs += 1
        elif fused and len(self.steps) <= MOST:
            try:
                return self.function(*values)
            except Exception:  # whatever it is: step by step it is known where
                pass
        return self._run_steps(values, self._fused if fused else self._composed)

    def _run_steps(self, values: Sequence[Any], steps: list[tuple[Any, ...]]) -> list[Any]:
        env = self.plain.copy()
        env[: self.given] = values
        outs: Any = ()
        try:
            for kind, function, get, outs, last in steps:
                if kind == MANY:
                    value = function(*get(env))
                    env[outs] = value if type(value) is ndarray else asarray(value)
                elif kind == ONE:
                    value = function(env[get])
                    env[outs] = value if type(value) is ndarray else asarray(value)
                elif kind == NUMBER:
                    env[outs] = function(*get(env))
                else:
                    for slot, value in zip(outs, function(*get(env)), strict=True):
                        env[slot] = value if type(value) is ndarray or value is None else asarray(value)
                for slot in last:
                    env[slot] = None
        except Exception as error:
            at = next(n for n, step in enumerate(self.steps) if step.outputs[:1] == (outs,) or step.outputs == outs)
            self.fail(at, env, error)
        return [env[slot] for slot in self.results]

    @cached_property
    def plain(self) -> list[Any]:
        """What the slots hold before the first step on plain arrays."""
        plain = self.start.copy()
        for slot, number in self.numbers.items():
            plain[slot] = number
        return plain

    @cached_property
    def source(self) -> str:
        """The program as one Python function of arrays, ``f3(v1, v2)`` being the op of step 3."""
        return source_of(self)

    @cached_property
    def function(self) -> Callable[..., list[Any]]:
        """The compiled `source`: twice as fast as step by step, and 0.1 ms a step to make."""
        scope: dict[str, Any] = {f"v{slot}": value for slot, value in enumerate(self.plain) if value is not None}
        scope |= {f"f{n}": step[1] for n, step in enumerate(self._fused)}
        scope |= {"__name__": __name__, "__package__": __package__}  # a frame of ours, where warnings are told
        return _function(code_of(self), scope)

    def fail(self, at: int, env: list[Any], error: Exception) -> NoReturn:
        """Raise what a step's error means for users, with the line; `env` holds the step's operands."""
        step = self.steps[at]

        def operand(place: Any) -> Any:
            if isinstance(place, tuple):
                return [operand(p) for p in place]
            return wrap(env[place]) if type(env[place]) is ndarray else env[place]

        eq = step.equation
        try:
            explain(eq.op, [operand(place) for place in step.inputs], dict(eq.attrs), error)
        except Exception as explained:
            _note(explained, eq)
            raise

    def record(self, tensors: Sequence[Tensor]) -> list[Any]:
        """Outputs and written values as Tensors that are connected to `tensors` and to captured tensors."""
        if self.recorded_runs < OFTEN:
            self.recorded_runs += 1
        elif modes.current().plain and self.plainly_recorded:
            token = modes.MODE.set(modes.current())
            given = [wrap(t._value.copy()) if type(t) is Borrowed else t for t in tensors]  # it may be kept
            try:
                return self.recorder(self._scopes().enter, *given)
            except Exception:  # whatever it is: step by step it is known where
                pass
            finally:
                modes.MODE.reset(token)
        env = self.taped(tensors, history=True)
        return [env[slot] for slot in self.results]

    @cached_property
    def plainly_recorded(self) -> bool:
        """Whether calls that record themselves do all that there is to do."""
        return len(self.steps) <= MOST and not (self.leaves or any(step.equation.residuals for step in self.steps))

    @cached_property
    def recorder(self) -> Callable[..., list[Any]]:
        """As `function`, of calls that record themselves."""
        scope: dict[str, Any] = {
            f"v{slot}": self._tensor(slot) for slot, value in enumerate(self.start) if value is not None
        }
        for n, step in enumerate(self.steps):
            scope[f"f{n}"] = self._recorded(step)
        code = recorder_of(self)
        ours = code.co_filename.startswith("<")  # else its frame stands for the user's
        return _function(code, scope | ({"__package__": __package__} if ours else {}))

    def _recorded(self, step: Step) -> Callable[..., Any]:
        """A step as a function of tensors: of those alone where all else is known, else as users call the op."""
        eq = step.equation
        op, attrs, source = eq.op, dict(eq.attrs), eq.source
        if source is None or not step.is_known:
            return public_function(eq)
        numbers = [
            None if type(atom) is Var else (self.plain[place], self.start[place])
            for atom, place in zip(eq.inputs, step.inputs, strict=True)
        ]
        code = line_of(source.file, source.line, source.function)
        return make_recorded(op, array_function(eq), attrs, numbers, eq.outputs[0].aval, eq.scope, code)

    def _scopes(self) -> _Modes:
        base, known = self._known_modes
        if base is not modes.current():
            base, known = self._known_modes = modes.current(), {}
        return _Modes(base, known)

    def _tensor(self, slot: int) -> Any:
        """What a slot holds before the first step, as ops take it."""
        value = self.start[slot]
        if type(value) is ndarray:
            value = wrap(value)
            if slot in self.constants:
                value._node = self.captured.get(self.constants[slot])
        return value

    def taped(
        self, tensors: Sequence[Tensor], *, history: bool = False, watch: Watch | None = None, until: int | None = None
    ) -> list[Any]:
        """Every slot after a run on tensors, in which what is differentiated is recorded.

        Parameters
        ----------
        tensors : sequence of Tensor
            Of the graph's inputs, then of its cells.
        history : bool
            Record all of it: the results are connected to `tensors` and to captured tensors.
        watch : callable, optional
        until : int, optional
            Stop before this step.
        """
        captured = self.captured if history else {}
        env = self.start.copy()
        for slot, t in enumerate(tensors):
            env[slot] = t if history or type(t) is not Tensor else wrap(t._value)
        for slot in range(self.given, len(env)):
            if type(env[slot]) is ndarray:
                env[slot] = wrap(env[slot])
        for slot, var in self.constants.items():
            env[slot]._node = captured.get(var)
        for slot in self.leaves:
            if env[slot] is not None:
                env[slot] = _leaf(env[slot])
        scopes = self._scopes()
        token = modes.MODE.set(modes.current())
        try:
            for at, step in enumerate(self.steps[:until]):
                recorded = history or step.recorded
                scopes.enter(recorded, step.equation.scope)
                operands = [_of(env, place) for place in step.inputs]
                try:
                    began = time.perf_counter()
                    with exits(step.equation, self.losing if history else ()):
                        results = _run_step(step, operands, recorded, history)
                    seconds = time.perf_counter() - began
                except Exception as error:
                    _note(error, step.equation)
                    raise
                if recorded:
                    _tell_line(results, step.equation.source)
                for slot, value in zip(step.outputs, results, strict=True):
                    env[slot] = _leaf(value) if slot in self.leaves else value
                if watch is not None:
                    watch(at, step.equation, operands, results, seconds)
                del operands, results
                for slot in step.last:
                    env[slot] = None
        finally:
            modes.MODE.reset(token)
        return env


def _function(code: CodeType, scope: dict[str, Any]) -> Callable[..., list[Any]]:
    scope |= {"ndarray": ndarray, "asarray": asarray}
    exec(code, scope)
    function: Callable[..., list[Any]] = scope["program"]
    return function


def _flat(places: tuple[Any, ...]) -> list[int]:
    return [p for place in places for p in (place if isinstance(place, tuple) else (place,))]


def _of(env: list[Any], place: Any) -> Any:
    return [env[p] for p in place] if isinstance(place, tuple) else env[place]


def _note(error: Exception, eq: Equation) -> None:
    """Say where the equation was traced, as the error there would say it: its line, and the function of ours around."""
    if eq.source is not None:
        error.add_note(f"in the equation of {eq.op.name} traced at {eq.source.file}:{eq.source.line}")
        if hasattr(error, "what"):  # it names the line of whoever runs the graph
            error.args = (f"{error.what} ({eq.source.file}:{eq.source.line})",)
        relocate(error, eq.source.file, eq.source.line, eq.source.within)


def _tell_line(results: tuple[Any, ...], source: Source | None) -> None:
    """What was recorded tells the line that was traced."""
    if source is None:
        return
    for value in results:
        node = value._node if isinstance(value, Tensor) else None
        node = node.parents[0] if type(node) is Projection else node
        if type(node) is Node:
            node.code, node.lasti = line_of(source.file, source.line, source.function), -1


def _leaf(t: Tensor) -> Tensor:
    """The same numbers as a leaf of the tape; what has a history keeps it."""
    if t._node is not None:
        return t
    t = wrap(t._value.copy() if type(t) is Borrowed else t._value)
    t._node = Leaf(t.shape, t.dtype, user=False)
    return t


class _Modes:
    """The modes of one run: a record for each scope, with and without recording, those `known` from other runs."""

    def __init__(self, base: modes.Mode, known: dict[tuple[bool, str], modes.Mode]) -> None:
        self.base, self.known = base, known
        self.now: tuple[bool, str] | None = None

    def enter(self, recorded: bool, scope: str) -> None:
        key = recorded, scope
        if key == self.now:
            return
        mode = self.known.get(key)
        if mode is None:
            mode = self.known[key] = self.base.replace(grad=recorded, scope=scope)
        modes.MODE.set(mode)
        self.now = key


def _run_step(step: Step, operands: list[Any], recorded: bool, history: bool) -> tuple[Any, ...]:
    """One step on tensors, in the modes that are set."""
    eq = step.equation
    if eq.is_gradient:
        ys, xs, gs = operands
        again = recorded and bool(eq.attrs["create_graph"])  # whether somebody will differentiate what comes
        return tuple(pull_back(ys, xs, gs or [None] * len(ys), again, history or not step.final))
    op = eq.op
    if not eq.residuals:
        result = public_function(eq)(*operands) if step.of_numbers else op.public(*operands, **eq.attrs)
        return result if isinstance(result, tuple) else (result,)
    residuals: list[Any] = []
    if op.reference is not None and not is_fused(op.direct):
        result, residuals = composed(op, operands, dict(eq.attrs)), [None] * len(op.residuals)
    else:
        result = run(op, operands, dict(eq.attrs), modes.current(), residuals)
        residuals = [wrap(np.asarray(r)) for r in residuals]
    return (*result, *residuals) if isinstance(result, tuple) else (result, *residuals)


def _plain(step: Step, function: Callable[..., Any]) -> tuple[Any, ...]:
    """A step as the plain loop takes it."""
    single = len(step.outputs) == 1 and not step.equation.op.signature.variadic
    if step.equation.is_arithmetic:
        return NUMBER, function, functools.partial(_operands, places=step.inputs), step.outputs[0], step.last
    if single and len(step.inputs) == 1 and not isinstance(step.inputs[0], tuple):
        return ONE, function, step.inputs[0], step.outputs[0], step.last
    if any(isinstance(place, tuple) for place in step.inputs):
        get: Callable[[list[Any]], Any] = functools.partial(_operands, places=step.inputs)
    elif not step.inputs:
        get = _nothing
    elif len(step.inputs) == 1:
        get = functools.partial(_operands, places=step.inputs)
    else:
        get = operator.itemgetter(*step.inputs)
    kind, outputs = (MANY, step.outputs[0]) if single else (GENERAL, step.outputs)
    return kind, function, get, outputs, step.last


def _operands(env: list[Any], places: tuple[Any, ...]) -> list[Any]:
    return [_of(env, place) for place in places]


def _nothing(env: list[Any]) -> tuple[()]:
    return ()
