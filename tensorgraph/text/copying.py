"""A call of a function that was inlined before, at equal types: its equations are copied instead of inferred again.

1. `signature` says what a call depends on: the types of what it is handed, which of it is one thing twice, the sizes,
   and the structure of its members. It is None where more than that matters, as for cells that were written before.
2. After a call was read, `kept` notes which stretch of the trace it is, what it returned and what it wrote.
3. At the next call with that signature `copied` puts the stretch there again: equations on other variables, in copies
   of their calls, below the place of the new call.
4. What both have in common are constants; all other variables are made inside, or stand in the signature.
5. The number of equations is known before, and refused where it is too large.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tensorgraph.engine.tensor import Tensor
from tensorgraph.engine.tree import flatten
from tensorgraph.graph.calls import Call, Copies, Place, nest
from tensorgraph.graph.graph import Literal, Var, Write
from tensorgraph.text.numbers import is_static
from tensorgraph.text.scene import CellName, Container, Instance, PerValue, Scene, opened

__all__ = ["Parts", "Stretch", "copied", "kept", "signature"]


class Parts:
    """What a call depends on, in order: variables, cells, instances."""

    def __init__(self) -> None:
        self.numbers: dict[Any, int] = {}  # of what came already
        self.every: list[Any] = []
        self.key: list[Any] = []

    def add(self, value: Any, varying: set[Var]) -> bool:
        """Take a value in; False where a copy could not be told from it."""
        kind, key = type(value), self.key
        if isinstance(value, Tensor):
            var = value._value
            if type(var) is not Var:
                return False
            known = self._number(var)
            key.append((known, var.aval, var in varying))
        elif kind is CellName:
            if value.writer is not None:
                return False
            key.append((self._number(value), value.var.aval, value.kind, value.requires_grad))
            self._number(value.var)
        elif kind is Instance:
            key.append((self._number(value), value.definition, tuple(value.dims.values()), len(value.members)))
            return all(self.add(part, varying) for part in value.members.values())
        elif kind is Container:
            return self.add(value.tree, varying)
        elif kind in (list, tuple):
            key.append((kind, len(value)))
            return all(self.add(part, varying) for part in value)
        elif kind is dict:
            key.append((kind, tuple((type(k), k) for k in value)))
            return all(self.add(part, varying) for part in value.values())
        elif is_static(value):
            key.append((kind, repr(value)))
        else:
            return False
        return True

    def _number(self, part: Any) -> int:
        number = self.numbers.get(part)
        if number is None:
            number = self.numbers[part] = len(self.every)
            self.every.append(part)
        return number


@dataclass(slots=True)
class Stretch:
    """A call that was read: where its equations stand, and what came of it."""

    first: int
    last: int
    steps: int
    parts: Sequence[Any]
    record: Call
    result: Any
    tells_places: bool  # whether a record in it says an instance
    names: list[str | None]  # of what its equations give, before anybody else named it
    written: list[tuple[CellName, Write, Scene | None, Var | None]]


def signature(scene: Scene, target: Any, given: dict[str, Any]) -> Parts | None:
    """What a call of a function or an instance depends on; None where it is not to be copied."""
    parts = Parts()
    varying = scene.trace.varying
    if isinstance(target, Instance):
        if not parts.add(target, varying):
            return None
    else:
        parts.key.append(target)
    for value in given.values():
        value = opened(value)
        if type(value) in (Instance, PerValue) or not parts.add(value, varying):
            return None
    return parts


def kept(scene: Scene, parts: Parts, record: Call, first: int, steps: int, result: Any) -> None:
    """Note a call that was read now, if it can stand for others."""
    reading = scene.reading
    scope, equations = record.scope, reading.trace.equations
    if reading.sums and reading.sums[-1] >= first:
        return  # its sums are not those of another call
    if scope and not all(f"{eq.scope}.".startswith(f"{scope}.") for eq in equations[first:]):
        return  # it went through instances that stand elsewhere
    cells = [part for part in parts.every if type(part) is CellName and part.writer is not None]
    written = [(cell, reading.writes[cell], cell.writer, cell.again) for cell in cells]
    inside = {call for eq in equations[first:] if eq.call is not None for call in _up_to(eq.call, record)}
    places = any(type(part) is Place for call in inside for part in flatten([call.arguments, call.result])[0])
    names = [out.name for eq in equations[first:] for out in eq.outputs]
    reading.stretches[tuple(parts.key)] = Stretch(
        first, len(equations), reading.steps - steps, tuple(parts.every), record, result, places, names, written
    )


def copied(scene: Scene, node: ast.AST, stretch: Stretch, parts: Parts, record: Call) -> Any:
    """Put a stretch of the trace here again, on the variables, cells and instances of this call; gives its result."""
    reading, trace = scene.reading, scene.trace
    scene.room(node, stretch.steps, stretch.last - stretch.first)
    reading.steps += stretch.steps
    own: dict[Any, Any] = dict(zip(stretch.parts, parts.every, strict=True))
    calls = Copies(record, stretch.record.scope)
    calls.made[stretch.record] = record
    varying, differentiable, producer = trace.varying, trace.differentiable, trace.producer

    names = iter(stretch.names)

    def atom(item: Any) -> Any:
        return own.get(item, item) if type(item) is Var else item

    for at in range(stretch.first, stretch.last):
        eq = trace.equations[at]
        outputs = tuple([Var(out.aval, next(names)) for out in eq.outputs])
        inputs = tuple([tuple(map(atom, item)) if type(item) is tuple else atom(item) for item in eq.inputs])
        copy = eq.elsewhere(inputs, outputs, calls.of(eq.call), eq.source)
        if eq.op.residuals:
            trace.positions[outputs[0]] = len(trace.equations)
        trace.equations.append(copy)
        for out, new in zip(eq.outputs, outputs, strict=True):
            own[out] = new
            producer[new] = copy
            if out in varying:
                varying.add(new)
            if out in differentiable:
                differentiable.add(new)
    calls.complete(own)
    if stretch.tells_places:
        moved = {old.path: new.path for old, new in own.items() if type(old) is Instance}
        for call in calls.made.values():
            call.complete(
                nest(call.arguments, lambda part: _place(part, moved)),
                nest(call.result, lambda part: _place(part, moved)),
            )
    for cell, write, writer, again in stretch.written:
        mine = own[cell]
        value: Var | Literal = atom(write.value)
        mine.value, mine.writer, mine.again = value, writer, None if again is None else own[again]
        reading.writes[mine] = Write(mine.var, value, write.source)

    def leaf(part: Any) -> Any:
        if isinstance(part, Tensor):
            return trace.tensor(atom(part._value))
        return own.get(part, part) if type(part) in (CellName, Instance) else part

    return opened(stretch.result, leaf)


def _place(part: Any, moved: dict[str, str]) -> Any:
    return Place(moved.get(part.path, part.path), part.name) if type(part) is Place else part


def _up_to(call: Call, outermost: Call) -> Iterator[Call]:
    """A call and those around it, up to the one that was read."""
    for one in call.callers():
        yield one
        if one is outermost:
            return
