"""What a statement reads and makes, in a fixed order; and the statement on other values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from tensorgraph.graph.graph import Literal, Var, typed_key
from tensorgraph.graph.statements import (
    Application,
    Assignment,
    Block,
    Instance,
    Operation,
    Repetition,
    Statement,
    leaves,
    mapped,
)

__all__ = ["atom_key", "mapped_shape", "numbered", "operands_of", "outputs", "read_at", "rewired", "slot_shape"]


def atom_key(atom: Any) -> Any:
    return ("literal", typed_key(atom.value)) if type(atom) is Literal else atom


def slot_shape(atom: Any) -> Any:
    """What operands have in common that may be one operand of a loop."""
    if isinstance(atom, tuple):
        return tuple(map(slot_shape, atom))
    plain = type(atom) is Literal and type(atom.value) not in (int, float)
    return atom_key(atom) if plain else "value"


def mapped_shape(tree: Any) -> Any:
    """How what is handed over nests."""
    if isinstance(tree, dict):
        return tuple((key, mapped_shape(item)) for key, item in tree.items())
    if isinstance(tree, (list, tuple)):
        return type(tree).__name__, tuple(map(mapped_shape, tree))
    return "instance" if isinstance(tree, Instance) else "value" if type(tree) is Var else "other"


def operands_of(statement: Statement) -> list[Any]:
    """What a statement reads, in a fixed order: variables, literals, instances."""
    if isinstance(statement, Operation):
        return [a for atom in statement.eq.inputs for a in (atom if isinstance(atom, tuple) else (atom,))]
    if isinstance(statement, Application):
        return [statement.instance or Literal(None), *[a for tree in statement.arguments for a in leaves(tree)]]
    if isinstance(statement, Assignment):
        return [statement.cell, statement.value]
    if isinstance(statement, Repetition):
        return free(statement)
    return [a for one in statement.body for a in operands_of(one)]


def outputs(statement: Statement) -> list[Var]:
    """What a statement makes and others may read."""
    if isinstance(statement, Operation):
        return list(statement.eq.outputs)
    if isinstance(statement, Application):
        given = {atom for tree in statement.arguments for atom in leaves(tree)}
        return [var for var in statement.results if var not in given]  # what it gives back it has not made
    if isinstance(statement, Repetition):
        return [*[out for _, items in statement.collected for out in items], *[out for _, out in statement.last]]
    if isinstance(statement, Block):
        return [var for one in statement.body for var in outputs(one)]
    return []


def free(loop: Repetition) -> list[Any]:
    """What a loop reads from outside, each once, in order."""
    found: dict[Any, None] = {}
    own: set[Any] = {inside for _, inside, _ in loop.carried} | {inside for inside, _ in loop.lists}
    for atom in (*[before for before, _, _ in loop.carried], *[a for _, items in loop.lists for a in items]):
        found[atom] = None
    for statement in loop.body:
        for atom in operands_of(statement):
            if atom not in own and type(atom) is not Literal:
                found[atom] = None
        own.update(outputs(statement))
    return list(found)


def numbered(loop: Repetition) -> Any:
    """The wiring of a loop, under numbers in place of variables."""
    number: dict[Any, int] = {}

    def use(atom: Any) -> Any:
        return atom_key(atom) if type(atom) is Literal else number.setdefault(atom, len(number))

    for atom in free(loop):
        use(atom)
    wiring: list[Any] = [tuple(map(use, one)) for one in loop.carried]
    wiring += [(use(inside), tuple(map(use, items))) for inside, items in loop.lists]
    for statement in loop.body:
        wiring.append((tuple(map(use, operands_of(statement))), tuple(map(use, outputs(statement)))))
    wiring += [(use(inside), tuple(map(use, items))) for inside, items in loop.collected]
    return tuple(wiring), tuple((use(a), use(b)) for a, b in loop.last)


def rewired(
    statement: Statement, own: list[Any], fresh: Mapping[Any, Any], moving: Sequence[Any] = (),
    around: Repetition | None = None,
) -> Statement:  # fmt: skip
    """A statement with other operands, in the order of `operands_of`, and other results.

    `moving` is what `keys.moved` found of the integers that grow with the loop `around` it.
    """
    left = iter(own)
    if isinstance(statement, Operation):
        eq = statement.eq
        inputs = tuple(tuple(next(left) for _ in atom) if isinstance(atom, tuple) else next(left) for atom in eq.inputs)
        eq = replace(eq, inputs=inputs, outputs=tuple(fresh.get(var, var) for var in eq.outputs))
        more = [] if around is None else [(place, around, step) for place, step in moving]
        return Operation(eq, statement.number, (*statement.moving, *more))
    if isinstance(statement, Application):
        instance = next(left)
        arguments = [mapped(tree, lambda _: next(left)) for tree in statement.arguments]
        known = dict(zip(operands_of(statement), own, strict=True))
        results = [fresh[var] if var in fresh else known.get(var, var) for var in statement.results]
        given = instance if isinstance(instance, Instance) else None
        return Application(statement.definition, given, arguments, results)
    if isinstance(statement, Assignment):
        return Assignment(next(left), next(left))
    if isinstance(statement, Repetition):
        known = {**fresh, **dict(zip(free(statement), own, strict=True))}
        return substituted(statement, known, moving, around)
    raise TypeError(f"{statement!r} stands in no loop")


def substituted(
    loop: Repetition, known: Mapping[Any, Any], moving: Sequence[Any], around: Repetition | None
) -> Repetition:
    """A loop on other values; `known` has what stands for its values, and for loops around it."""
    made = Repetition(loop.count, [], keys=loop.keys)
    known = {**known, loop: made}

    def get(atom: Any) -> Any:
        return known.get(atom, atom)

    for number, statement in enumerate(loop.body):
        more = moving[number] if moving else ()
        if isinstance(statement, Repetition):
            made.body.append(substituted(statement, known, more, around))
            continue
        one = rewired(statement, [get(a) for a in operands_of(statement)], known, more, around)
        if isinstance(one, Operation):
            one.moving = tuple((place, get(own), step) for place, own, step in one.moving)
        made.body.append(one)
    made.carried = [(get(a), get(b), get(c)) for a, b, c in loop.carried]
    made.lists = [(get(a), tuple(map(get, items))) for a, items in loop.lists]
    made.collected = [(get(a), tuple(map(get, items))) for a, items in loop.collected]
    made.last = [(get(a), get(b)) for a, b in loop.last]
    return made


def read_at(body: list[Statement], outside: Mapping[Any, int]) -> dict[Any, list[int]]:
    """Where in a body each value is read; at its end, what is read outside."""
    found: dict[Any, list[int]] = {atom: [len(body)] for atom in outside}
    for number, statement in enumerate(body):
        for atom in operands_of(statement):
            if type(atom) is not Literal:
                found.setdefault(atom, []).append(number)
    return found
