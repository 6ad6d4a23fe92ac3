"""Calls that do the same, though one is handed a value twice, or nobody reads all that it gives: one definition.

The first call of a cell is handed the same zeros as `h` and as `c`, of the last one nobody reads `c`. What stands in
them is compared with what stands in a call that tells both apart and gives all that is read of any.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tensorgraph.graph.call_tree import Node, Scoped
from tensorgraph.graph.extents import Extent, resolved
from tensorgraph.graph.graph import Literal, Var, typed_key
from tensorgraph.graph.rereads import Step
from tensorgraph.graph.signatures import below, member, relative, role
from tensorgraph.graph.statements import Instance, leaves

if TYPE_CHECKING:
    from tensorgraph.graph.definitions import Calls, Description

__all__ = ["matched"]


def matched(calls: Calls, model: Description, other: Description) -> dict[Any, Any] | None:
    """For what stands in the `model` what stands there in the other call; None where these do not do the same.

    What they give is not compared.
    """
    found = _Match(calls, model, other)
    return found.env if found.holds() else None


class _Match:
    def __init__(self, calls: Calls, model: Description, other: Description) -> None:
        self.calls, self.model, self.other = calls, model, other
        self.env: dict[Any, Any] = {}
        self.free = set(model.foreign)
        self.made: set[Var] = set()  # by the other call so far

    def holds(self) -> bool:
        calls, model, other = self.calls, self.model, self.other
        mine = {path: atom for atom, path in model.own.items()}
        yours = {path: atom for atom, path in other.own.items()}
        if mine.keys() != yours.keys() or any(member(calls, mine[p]) != member(calls, yours[p]) for p in mine):
            return False
        if len(model.given) != len(other.given) or len(model.writes) != len(other.writes):
            return False
        self.env.update((atom, yours[path]) for path, atom in mine.items())
        for a, b in zip(model.given, other.given, strict=True):
            if role(calls, model, a) != role(calls, other, b) or a.name != b.name:
                return False
            self.env[a] = b
        return (
            self.content(model.content, model.node.path, other.content, other.node.path)
            and all(self.written(a, b) for a, b in zip(model.writes, other.writes, strict=True))
            and self.free <= self.env.keys()
        )

    def content(self, mine: list[Any], base: str, yours: list[Any], other: str) -> bool:
        if len(mine) != len(yours):
            return False
        return all(self.item(a, base, b, other) for a, b in zip(mine, yours, strict=True))

    def item(self, mine: Any, base: str, yours: Any, other: str) -> bool:
        if type(mine) is not type(yours):
            return False
        if isinstance(mine, Scoped):
            here, there = mine.node.path, yours.node.path
            if mine.node.name != yours.node.name or relative(here, base) != relative(there, other):
                return False
            return self.content(mine.content, here, yours.content, there)
        return self.call(mine, yours) if isinstance(mine, Node) else self.equation(mine, yours)

    def call(self, mine: Node, yours: Node) -> bool:
        a, b = self.calls.of[mine], self.calls.of[yours]
        given = [
            (about.instance, *[leaf for tree in self.calls.handed_to(outer.node, inner) for leaf in leaves(tree)])
            for outer, inner, about in ((self.model, mine, a), (self.other, yours, b))
        ]
        if a.definition != b.definition or not self.same(*given):
            return False
        return self.gives(self.calls.values(a.result), self.calls.values(b.result))

    def equation(self, mine: int, yours: int) -> bool:
        a, b = self.calls.seen(self.model.node, mine), self.calls.seen(self.other.node, yours)
        if a.op is not b.op or not self.same(a.inputs, b.inputs):
            return False
        if a.attrs is not b.attrs and resolved(a.attrs, self.size) != resolved(b.attrs, _size):
            return False
        return self.gives(list(a.outputs), list(b.outputs))

    def size(self, extent: Extent) -> Any:
        return "size", self.env.get(extent.var), extent.axis

    def written(self, mine: Step, yours: Step) -> bool:
        return self.same((mine.cell, mine.value), (yours.cell, yours.value))

    def gives(self, mine: list[Var], yours: list[Var]) -> bool:
        self.made.update(yours)
        self.env.update((a, b) for a, b in zip(mine, yours, strict=False) if a not in self.env)
        return len(mine) == len(yours)

    def same(self, mine: Any, yours: Any) -> bool:
        """Whether the other call reads here what the model does; what both are handed is noted."""
        consts = self.calls.consts
        if isinstance(mine, tuple):
            return isinstance(yours, tuple) and len(mine) == len(yours) and all(map(self.same, mine, yours))
        if type(mine) is Literal or mine is None:
            return self.number(mine, yours)
        if mine in self.env:
            known = self.env[mine]
            return known is yours or (type(yours) is Var and yours in consts and consts[yours] == consts.get(known))
        if mine in self.free:
            if type(yours) in (Var, Instance) and yours not in self.made and self.alike(mine, yours):
                self.env[mine] = yours
                return True
            return False
        if type(mine) is Var and mine in consts:
            return type(yours) is Var and bool(consts.get(yours) == consts[mine])
        return self.through(mine, yours)

    def alike(self, mine: Any, yours: Any) -> bool:
        """Whether both are handed over as the same."""
        return bool(role(self.calls, self.model, mine) == role(self.calls, self.other, yours))

    def number(self, mine: Literal | None, yours: Any) -> bool:
        if mine is None or type(yours) is not Literal:
            return mine is yours
        if type(mine.value) is Extent or type(yours.value) is Extent:
            return type(mine.value) is type(yours.value) and self.size(mine.value) == _size(yours.value)
        return bool(typed_key(mine.value) == typed_key(yours.value))

    def through(self, mine: Any, yours: Any) -> bool:
        """Whether two cells or instances are one inside of the instances that the calls are handed."""
        calls = self.calls
        here, there = calls.path(mine), calls.path(yours)
        if here is None or there is None or type(mine) is not type(yours):
            return False
        if member(calls, mine) != member(calls, yours):
            return False
        for a, b in zip(self.model.given, self.other.given, strict=True):
            if calls.reaches(a, mine, here):
                return below(there, b.path) and relative(here, a.path) == relative(there, b.path)
        return False


def _size(extent: Extent) -> Any:
    return "size", extent.var, extent.axis
