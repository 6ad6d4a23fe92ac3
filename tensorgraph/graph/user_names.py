"""The user's functions that run while a trace goes on: which call an equation belongs to, and what values are called.

Frames are followed, not functions: a frame that is met for the first time is a call of its own (the body of a module,
or of the traced function, is that module's), and what it was called from is found on the way out to a frame that is
known. A value is named after the variable it is found in, in each function by itself. What was assigned last, and is
not yet to be found when an op runs, is named by the instruction that follows the call.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import CodeType
from typing import Any

from tensorgraph.engine.tape import INTERNAL, getframe
from tensorgraph.engine.tensor import Tensor
from tensorgraph.graph.bytecode import instructions_of
from tensorgraph.graph.calls import Call, nest
from tensorgraph.graph.graph import Var

__all__ = ["UserFrames", "code_of"]

STORES = ("STORE_FAST", "STORE_NAME", "STORE_DEREF", "STORE_GLOBAL", "STORE_FAST_MAYBE_NULL")
CORE = frozenset({"tensorgraph", "tensorgraph.engine", "tensorgraph.graph", "tensorgraph.transforms"})  # of plain calls
COMPREHENSIONS = frozenset({"<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>"})  # part of the function around them
OUTSIDE: set[CodeType] = set()  # what calls the function that is traced: its own callers are no part of the trace
MOST_LOCALS = 400


class UserFrames:
    """The user's frames of one trace, the calls that they are, and the names found so far."""

    def __init__(self, made: Callable[[Var], bool], leaf: Callable[[Any], Any]) -> None:
        self.made = made  # whether a variable is made by an equation of the trace
        self.leaf = leaf  # how the trace knows a value: a variable, a literal
        self.frame: Any = None  # the one that made the last equation
        self.own: Any = None  # its call
        self.at = -1
        self.given: tuple[Var, ...] = ()  # by the instruction that is running
        # frames are kept while they may run: another one may not take their place in memory
        self.stack: list[Any] = []
        self.calls: dict[Any, Call] = {}
        self.home: dict[Call, Call] = {}  # what a module, an optimiser or a scope was entered from: a user's function
        self.bodies: dict[Call, CodeType | None] = {}  # the function whose frame will be this call

    def begin(self, frame: Any, call: Call, code: CodeType | None) -> None:
        """`frame` runs the traced function, whose code this is."""
        self.push(frame, call)
        self.home[call] = call
        self.bodies[call] = code

    def enter(self, call: Call, frame: Any, code: CodeType | None) -> None:
        """A module, an optimiser or a scope was entered in a frame of the user's that `here` has met."""
        self.home[call] = self.calls[frame]
        if code is not None:
            self.bodies[call] = code

    def note(self, frame: Any, direct: bool, outputs: tuple[Var, ...], inner: Call | None) -> Call | None:
        """An equation was made by a call in the user's `frame`, directly or inside a module; gives the innermost call.

        `inner` is the module, optimiser or scope that was entered last.
        """
        call = self.here(frame, inner)
        if frame.f_lasti != self.at:
            self.at, self.given = frame.f_lasti, ()
            self.look(frame)
        if not direct:
            return call
        own = self.own.names
        if self.given and not held(frame, self.given[0], own):
            for var in self.given:  # one call made several equations: the last is its result
                self.unname(var)
        self.given = ()
        names = stored(frame.f_code).get(frame.f_lasti, ())
        if len(names) == len(outputs):
            for var, name in zip(outputs, names, strict=True):
                if name.strip("_"):  # _ is what nobody wants
                    var.name = own[var] = name
            self.given = outputs
        return call

    def unname(self, var: Var) -> None:
        """Take back the name of what was made last."""
        if self.own is not None:
            self.own.names.pop(var, None)
        var.name = None

    def here(self, frame: Any, inner: Call | None) -> Call | None:
        """The innermost call that runs, where `frame` is the user's innermost frame."""
        if frame is not self.frame:
            if frame in self.calls:
                self.leave(frame)
            else:
                self.open(frame, inner)
            self.frame, self.own, self.at, self.given = frame, self.calls[frame], -1, ()
        home = self.home.get(inner)  # type: ignore[arg-type]
        return inner if home is None or home is self.own else self.own

    def open(self, frame: Any, inner: Call | None) -> None:
        """Meet a frame, and those between it and one that is known."""
        fresh, asked = [], frame
        while frame is not None and frame not in self.calls:
            if frame.f_globals.get("__package__") not in INTERNAL:
                fresh.append(frame)
            frame = frame.f_back
        if frame is None:  # only this library runs below `trace`: the frame is that of whoever asked for the graph
            fresh, frame = [], self.stack[0]
        self.leave(frame)
        own = self.calls[frame]
        parent = inner if inner is not None and self.home.get(inner) is own else own
        for one in reversed(fresh):
            code = one.f_code
            if self.bodies.get(parent) is code:
                del self.bodies[parent]
                own = parent
            elif code.co_name not in COMPREHENSIONS and one.f_globals.get("__name__") != "contextlib":
                own = Call("function", code.co_name, "", parent, self.arguments(one))
                parent = own
            self.push(one, own)
            self.own = own
            self.look(one)
        if not fresh:
            self.push(asked, own)

    def push(self, frame: Any, call: Call) -> None:
        self.stack.append(frame)
        self.calls[frame] = call

    def arguments(self, frame: Any) -> dict[str, Any]:
        """What a function was handed."""
        code = frame.f_code
        if code.co_nlocals > MOST_LOCALS:
            return {}
        count = code.co_argcount + code.co_kwonlyargcount + bool(code.co_flags & 4) + bool(code.co_flags & 8)
        values = frame.f_locals
        return {name: nest(values[name], self.leaf) for name in code.co_varnames[:count] if name in values}

    def leave(self, frame: Any) -> None:
        """What was called from `frame` has returned; its variables hold what they held in the end."""
        while self.stack[-1] is not frame:
            done = self.stack.pop()
            self.own = self.calls.pop(done)
            self.look(done)

    def end(self) -> None:
        """The traced function has returned."""
        self.leave(self.stack[0])

    def forget(self) -> None:
        """The trace is over: let go of the user's frames and all that they hold."""
        self.frame, self.given = None, ()
        self.stack.clear()
        self.calls.clear()

    def look(self, frame: Any) -> None:
        """Name what the function's variables hold by now."""
        if frame.f_code.co_name == "<module>" or frame.f_code.co_nlocals > MOST_LOCALS:
            return
        own = self.own.names
        for name, value in list(frame.f_locals.items()):
            if isinstance(value, Tensor) and type(value._value) is Var:
                var = value._value
                if var not in own and name.isidentifier() and name.strip("_"):
                    own[var] = name
                    if var.name is None and self.made(var):
                        var.name = name


def code_of(function: Any) -> CodeType | None:
    """The code of a function, a method, or an object that is called."""
    if not hasattr(function, "__code__"):
        function = type(function).__call__
    code = getattr(function, "__code__", None)
    return code if isinstance(code, CodeType) else None


def user_call(depth: int) -> tuple[Any, bool]:
    """The user's frame that is running, and whether it calls an op itself rather than a module or a helper of ours."""
    frame: Any = getframe(depth)
    direct = True
    while frame is not None and (package := frame.f_globals.get("__package__")) in INTERNAL:
        if package == "tensorgraph.commands":
            return None, False
        direct = direct and package in CORE and frame.f_code not in OUTSIDE
        frame = frame.f_back
    return frame, direct


def held(frame: Any, var: Var, names: dict[Var, str]) -> bool:
    """Whether the variable of its name holds it: in a loop the same instruction runs again."""
    if frame.f_code.co_nlocals > MOST_LOCALS:
        return False
    value = frame.f_locals.get(names.get(var))
    return isinstance(value, Tensor) and value._value is var


@functools.lru_cache(maxsize=256)
def stored(code: CodeType) -> dict[int, tuple[str, ...]]:
    """For each instruction whose result goes straight into variables, their names."""
    found: dict[int, tuple[str, ...]] = {}
    instructions = instructions_of(code)
    for at, instruction in enumerate(instructions[:-1]):
        after = instructions[at + 1]
        running = range(instruction.offset, after.offset, 2)  # while a Python function runs, a cache behind the call
        if after.opname in STORES:
            found.update(dict.fromkeys(running, (str(after.argval),)))
        elif after.opname == "UNPACK_SEQUENCE":
            stores = instructions[at + 2 : at + 2 + int(after.argval)]
            if all(store.opname in STORES for store in stores):
                found.update(dict.fromkeys(running, tuple(str(store.argval) for store in stores)))
    return found
