"""Calls: the module, the optimiser or the function that made an equation, and what it calls its values.

A trace pushes a record whenever a module, an optimiser's step, a named scope or a function of the user's begins; every
equation keeps the innermost one. From the records come an equation's scope, the classes at the scopes, and the name
that a value has in each function.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import CodeType
from typing import Any

from tensorgraph.engine.tree import is_dataclass
from tensorgraph.graph.equation import Backward, Origin
from tensorgraph.graph.graph import ANYTHING, Equation, Var

__all__ = ["Call", "Copies", "Grown", "Place", "arguments_of", "classes", "nest", "scoped"]

DEEPEST, MOST = 20, 100_000  # levels and items of what a function is handed, and this library looks into


@dataclass(frozen=True, slots=True)
class Place:
    """A module that was handed to a function: its path and its class."""

    path: str
    name: str


@dataclass(frozen=True, slots=True, eq=False)
class Grown:
    """A sum that was handed over while it grew (`tensorgraph.graph.totals`): what is added to it, how much was."""

    values: list[Var]
    count: int


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """One call, compared by identity. It is complete once it has returned.

    Attributes
    ----------
    kind : str
        ``"module"``, ``"optimizer"``, ``"function"``, or ``"scope"`` for a block that somebody named.
    name : str
        The class or the function.
    path : str
        The scope that it opens (``"layers.0"``); empty for a function, which stands in its caller's.
    parent : Call or None
        Who called it; None for the function that was traced or read.
    arguments : mapping of str to tree
        What it was handed, by the names of its parameters: variables, numbers as literals, ``object`` for the rest, in
        lists, tuples and dicts as they were.
    result : tree or None
        What a module returned, likewise. Functions do not say: theirs is what others read.
    names : dict of Var, or of a sum that grows, to str
        What its own variables are called inside.
    scope : str
        The scope in which its equations stand.
    """

    kind: str
    name: str
    path: str = ""
    parent: Call | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    result: Any = None
    names: dict[Var | Grown, str] = field(default_factory=dict)
    scope: str = field(init=False)

    def __post_init__(self) -> None:
        inherited = "" if self.parent is None else self.parent.scope
        object.__setattr__(self, "scope", inherited if self.kind == "function" else self.path)

    def complete(self, arguments: Mapping[str, Any], result: Any = None) -> None:
        """Say what it was handed and what it returned."""
        object.__setattr__(self, "arguments", arguments)
        object.__setattr__(self, "result", result)

    def callers(self) -> Iterator[Call]:
        """This call and those around it, from the inside out."""
        call: Call | None = self
        while call is not None:
            yield call
            call = call.parent

    def __repr__(self) -> str:
        return f"<{self.kind} {self.name}{f' at {self.path}' if self.path else ''}>"


def scoped(path: str, name: str = "", parent: Call | None = None) -> Call:
    """The record of a scope of which nothing else is known; with a `name`, of a module of this class."""
    return Call("module" if name else "scope", name, path, parent)


def classes(equations: Iterable[Equation]) -> dict[str, str]:
    """The class of the module at each scope."""
    found: dict[str, str] = {}
    seen: set[Call] = set()
    for eq in equations:
        entered = []
        for call in () if eq.call is None else eq.call.callers():
            if call in seen:
                break
            seen.add(call)
            entered.append(call)
        found.update((call.path, call.name) for call in reversed(entered) if call.kind == "module")
    return found


def nest(value: Any, leaf: Callable[[Any], Any]) -> Any:
    """A tree with other leaves; what is no plain container is a leaf, and what is endless is not looked into."""
    return _nest(value, leaf, 0, [MOST])


# a function of its own: a closure that names itself is a cycle, which would keep the trace that `leaf` belongs to
def _nest(value: Any, leaf: Callable[[Any], Any], depth: int, room: list[int]) -> Any:
    kind = type(value)
    named = isinstance(value, tuple) and hasattr(value, "_fields")
    if is_dataclass(kind):
        value = {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if hasattr(value, f.name)}
    if not (named or kind in (list, tuple) or isinstance(value, dict)):
        return leaf(value)
    room[0] -= len(value)
    if room[0] < 0 or depth > DEEPEST:
        return ANYTHING
    if isinstance(value, dict):
        return {key: _nest(item, leaf, depth + 1, room) for key, item in value.items()}
    items = [_nest(item, leaf, depth + 1, room) for item in value]
    return kind._make(items) if named else kind(items)


def arguments_of(code: CodeType | None, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """What a method was handed besides ``self``, by the names of its parameters."""
    names = () if code is None else code.co_varnames[1 : code.co_argcount]
    found = dict(zip(names, args, strict=False))
    if len(args) > len(names):
        found["*"] = args[len(names) :]
    return {**found, **kwargs}


class Copies:
    """The calls of a graph as they stand where it is run again: below another call, on other variables.

    Or, `within` a scope, as they are seen from there; or in their own place, those below `root`, which stays.
    """

    def __init__(self, outer: Call | None = None, within: str = "", root: Call | None = None) -> None:
        self.outer = outer
        self.within = within
        self.root = root
        self.made: dict[Call, Call] = {}
        self.taken: dict[Backward, Backward] = {}

    def passes(self, origin: Origin) -> tuple[Backward, ...]:
        """The gradients that made an equation, in the copies of the calls that took them."""
        return tuple(self.taken.setdefault(one, Backward(self.of(one.call))) for one in origin.passes)

    def of(self, call: Call | None) -> Call | None:
        """The copy of a call, of which `complete` will say the variables."""
        waiting = []
        while call is not None and call is not self.root and call not in self.made:
            if not self.within or f"{call.scope}.".startswith(f"{self.within}."):
                waiting.append(call)
            call = call.parent
        copy = self.outer if call is None else self.root if call is self.root else self.made[call]
        for original in reversed(waiting):
            path = original.path if original.kind == "function" else self.moved(original.path)
            copy = self.made[original] = Call(original.kind, original.name, path, copy)
        return copy

    def moved(self, path: str) -> str:
        """A path as it is where the graph is run again."""
        above = "" if self.outer is None else self.outer.scope
        path = path[len(self.within) + 1 :] if self.within else path
        return f"{above}.{path}" if above and path else above or path

    def complete(self, known: Mapping[Var, Any]) -> None:
        """Say what calls were handed, returned and called their values, in the variables that stand for the old."""

        def leaf(value: Any) -> Any:
            if type(value) is Place:
                return Place(self.moved(value.path), value.name)
            return known.get(value, value) if type(value) is Var else value

        for original, copy in self.made.items():
            arguments = {name: nest(value, leaf) for name, value in original.arguments.items()}
            copy.complete(arguments, nest(original.result, leaf))
            for var, name in original.names.items():
                own = known.get(var) if type(var) is Var else None
                if type(own) is Var:
                    copy.names.setdefault(own, name)
