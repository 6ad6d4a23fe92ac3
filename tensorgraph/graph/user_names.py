"""What the user calls the values of a trace: read from the variables of the function that is being traced.

A value is named after the variable it is found in. What was assigned last, and is not yet to be found when the function
returns, is named by the instruction that follows the call.
"""

from __future__ import annotations

import dis
import functools
from collections.abc import Callable
from types import CodeType
from typing import Any

from tensorgraph.engine.tape import INTERNAL, getframe
from tensorgraph.engine.tensor import Tensor
from tensorgraph.graph.graph import Var

__all__ = ["UserNames"]

STORES = ("STORE_FAST", "STORE_NAME", "STORE_DEREF", "STORE_GLOBAL", "STORE_FAST_MAYBE_NULL")
CORE = frozenset({"tensorgraph", "tensorgraph.engine", "tensorgraph.graph", "tensorgraph.transforms"})  # of plain calls
OUTSIDE: set[CodeType] = set()  # what calls the function that is traced: its own callers are no part of the trace
MOST_LOCALS = 400


class UserNames:
    """Names found so far in one trace."""

    def __init__(self, ours: Callable[[Var], bool]) -> None:
        self.ours = ours  # whether a variable is made by an equation of the trace
        self.frame: Any = None  # kept while the trace goes on: another frame may not take its place in memory
        self.at = -1
        self.given: tuple[Var, ...] = ()  # by the instruction that is running

    def note(self, frame: Any, direct: bool, outputs: tuple[Var, ...]) -> None:
        """An equation was made by a call in the user's `frame`, directly or inside a module."""
        if frame is not self.frame or frame.f_lasti != self.at:
            self.frame, self.at, self.given = frame, frame.f_lasti, ()
            self.look(frame)
        if not direct:
            return
        if self.given and not held(frame, self.given[0]):  # one call made several equations: the last is its result
            for var in self.given:
                var.name = None
        self.given = ()
        names = stored(frame.f_code).get(frame.f_lasti, ())
        if len(names) == len(outputs):
            for var, name in zip(outputs, names, strict=True):
                var.name = name if name.strip("_") else None  # _ is what nobody wants
            self.given = outputs

    def forget(self) -> None:
        """The trace is over: let go of the user's frame and all that it holds."""
        self.frame, self.given = None, ()

    def look(self, frame: Any) -> None:
        """Name what the function's variables hold by now."""
        if frame.f_code.co_name == "<module>" or frame.f_code.co_nlocals > MOST_LOCALS:
            return
        for name, value in list(frame.f_locals.items()):
            if isinstance(value, Tensor) and type(value._value) is Var:
                var = value._value
                if var.name is None and self.ours(var) and name.isidentifier() and name.strip("_"):
                    var.name = name


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


def held(frame: Any, var: Var) -> bool:
    """Whether the variable of its name holds it: in a loop the same instruction runs again."""
    if frame.f_code.co_nlocals > MOST_LOCALS:
        return False
    value = frame.f_locals.get(var.name)
    return isinstance(value, Tensor) and value._value is var


@functools.lru_cache(maxsize=256)
def stored(code: CodeType) -> dict[int, tuple[str, ...]]:
    """For each instruction whose result goes straight into variables, their names."""
    found: dict[int, tuple[str, ...]] = {}
    instructions = [i for i in dis.get_instructions(code) if i.opname not in ("CACHE", "EXTENDED_ARG")]
    for at, instruction in enumerate(instructions[:-1]):
        after = instructions[at + 1]
        running = range(instruction.offset, after.offset, 2)  # while a Python function runs, a cache behind the call
        if after.opname in STORES:
            found.update(dict.fromkeys(running, (str(after.argval),)))
        elif after.opname == "UNPACK_SEQUENCE":
            names: list[str] = []
            for store in instructions[at + 2 : at + 2 + int(after.argval)]:
                if store.opname in STORES:
                    names.append(str(store.argval))
                elif store.opname == "STORE_FAST_STORE_FAST":
                    names += map(str, store.argval)
                else:
                    break
            if len(names) == after.argval:
                found.update(dict.fromkeys(running, tuple(names)))
    return found
