"""What is calling while a graph is being made: the part of a trace that pushes the records of `calls.py`."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

from tensorgraph.arguments.checks import label_of
from tensorgraph.engine import modes
from tensorgraph.engine.cells import Cell
from tensorgraph.engine.tape import INTERNAL, getframe, source_of
from tensorgraph.engine.tensor import Tensor
from tensorgraph.graph.calls import Call, arguments_of, nest
from tensorgraph.graph.graph import ANYTHING, Equation, Literal, Part, Source, Var, is_literal
from tensorgraph.graph.paths import CellPaths
from tensorgraph.graph.user_names import OUTSIDE, UserFrames, code_of, user_call
from tensorgraph.jit.properties import cached_property

__all__ = ["CallRecorder"]


class CallRecorder:
    """The base of `Trace` that knows where equations come from."""

    producer: dict[Var, Equation]
    cells: dict[Cell, Var]
    consts: dict[Any, tuple[Var, Any, Any]]
    cells_by_path: Mapping[str, Var] = MappingProxyType({})  # of a graph that the trace goes on from, at entry
    part: Part | None = None  # while something is put into a graph: what its equations stand for

    def __init__(self, name: str) -> None:
        self.top = Call("function", name)  # the function that is traced or read
        self.lines = True  # whether equations say which of the user's lines made them: not where nobody will read them
        self.at: Source | None = None  # while a graph is run again, or a text read: the line that equations stand for
        self.paths = CellPaths()
        self.roots: dict[str, list[tuple[Any, str, frozenset[str]]]] = {}  # whole models by scope: name and parts

    @cached_property
    def frames(self) -> UserFrames:
        return UserFrames(self.producer.__contains__, self.seen)

    def place(self, outputs: tuple[Var, ...]) -> tuple[Call | None, Source | None]:
        """The call and the user's line that an equation made now stands for; its outputs take the names of the user's
        variables."""
        inner = modes.current().call
        frame, direct = self.caller()
        if frame is None:
            return inner, self.at
        call = self.frames.note(frame, direct, outputs, inner)
        where = source_of(frame.f_code, frame.f_lasti)
        assert where is not None
        return call, Source(*where, functions_around(2))

    def caller(self) -> tuple[Any, bool]:
        """The user's frame that is running, if it says where equations come from, and whether it calls an op itself."""
        return user_call(2) if self.lines and self.at is None else (None, False)

    def here(self) -> Call | None:
        """The innermost call that is running."""
        inner, frame = modes.current().call, self.caller()[0]
        return inner if frame is None else self.frames.here(frame, inner)

    def enter(self, kind: str, name: str, path: str, method: Any = None) -> Call:
        """The record of a module, an optimiser or a scope that begins here, and runs this method."""
        inner, frame = modes.current().call, self.caller()[0]
        outer = inner if frame is None else self.frames.here(frame, inner)
        call = Call(kind, name, path, outer)
        if frame is not None:
            self.frames.enter(call, frame, None if method is None else code_of(method))
        return call

    def returned(self, call: Call, method: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], result: Any) -> None:
        """A module's method returned: the record says how what it was handed and what it gave nest."""
        call.complete(nest(arguments_of(code_of(method), args, kwargs), self.seen), nest(result, self.seen))

    def seen(self, value: Any) -> Any:
        """How a record says a value: a variable of this trace, a number as a literal. Nothing is declared by it."""
        if isinstance(value, Cell):
            return self.cells.get(value, value)  # one that is read later, if ever: see `settle`
        if isinstance(value, Tensor):
            if type(value._value) is Var:
                return value._value
            found = self.consts.get((id(value._value), id(value._node)))
            return ANYTHING if found is None else found[0]
        return Literal(value) if is_literal(value) else ANYTHING

    def settle(self, equations: Iterable[Equation]) -> None:
        """The trace is complete: what the records say of cells that were not read by then."""
        seen: set[Call] = set()
        for eq in equations:
            for call in () if eq.call is None else eq.call.callers():
                if call in seen:
                    break
                seen.add(call)
                arguments = {name: nest(tree, self.settled) for name, tree in call.arguments.items()}
                call.complete(arguments, nest(call.result, self.settled))

    def settled(self, value: Any) -> Any:
        return self.cells.get(value, ANYTHING) if isinstance(value, Cell) else value

    def named_paths(self) -> Iterator[str]:
        """The paths under which the cells are declared, in their order."""
        for roots in self.roots.values():
            for model, label, _ in roots:
                if label and (owner := model()) is not None:
                    self.paths.below(label, owner.named_cells())
        return self.paths.paths(self.cells)

    def called(self, model: Any, scope: str) -> str:
        """The scope of a whole model, which has no name: only where another one's parts have the names of its parts is
        it called by its class."""
        here = self.roots.setdefault(scope, [])
        label = next((label for of, label, _ in here if of() is model), None)
        if label is None:
            parts = frozenset(part.path for part in model.modules()) - {""}
            taken = {label for _, label, _ in here}
            label = ""
            if any(not parts.isdisjoint(others) for _, name, others in here if not name):
                kind, n = type(model).__name__, 1
                label = kind
                while label in taken or label in parts:
                    n += 1
                    label = f"{kind}_{n}"
            here.append((weakref.ref(model), label, parts))
        return f"{scope}.{label}" if scope and label else scope or label


def functions_around(depth: int) -> tuple[str, ...]:
    """The functions of ours with checked arguments that run now, from the inside out, up to the user's frame."""
    frame: Any = getframe(depth)
    found = []
    while frame is not None and frame.f_globals.get("__package__") in INTERNAL and frame.f_code not in OUTSIDE:
        if (label := label_of(frame)) is not None:
            found.append(label)
        frame = frame.f_back
    return tuple(found)
