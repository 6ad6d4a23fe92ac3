"""What a window and its surroundings look like: where nothing was found once, nothing is found where it looks the same.

So a network of many equal layers is searched about as long as one of a few, and not again for another batch size.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

from tensorgraph.engine.op import Op
from tensorgraph.graph.graph import Literal, Var, typed_key
from tensorgraph.passes.recognise.numbers import Sizes
from tensorgraph.passes.recognise.regions import Window, behind, comparisons
from tensorgraph.passes.recognise.retyping import attributes_at
from tensorgraph.passes.recognise.roles import allowed, creates, follows
from tensorgraph.passes.recognise.view import View

__all__ = ["Barren", "look"]

MOST_SIDES = 64  # equations beside a window that a region could take in


class Barren:
    """The looks of windows in which nothing was found, the last `most` of them."""

    def __init__(self, most: int = 4096) -> None:
        self.most = most
        self.looks: dict[Hashable, None] = {}

    def __contains__(self, look: Hashable) -> bool:
        return look is not None and look in self.looks

    def add(self, look: Hashable) -> None:
        if look is not None:
            self.looks[look] = None
            while len(self.looks) > self.most:
                del self.looks[next(iter(self.looks))]


def look(view: View, span: Window, sizes: Sizes, ops: Sequence[Op]) -> Hashable:
    """All that decides what is found in a window, as a key; None where choices or labels matter that come from afar.

    Sizes that are exchanged for trials are exchanged in it.
    """
    # The plan: (1) the equations that trials may run: the window's, those behind it, and those that a region could take
    # in as its own; (2) each by its op, attributes and operands, variables by the order in which they come, with types;
    # (3) of each result who reads it, by number, and whether anybody else does; (4) of what comes from outside its
    # type, its number if it is known, and what it could be to a region.
    sides = _sides(view, span)
    if sides is None:
        return None
    numbers = sorted({*span.numbers, *behind(view, span), *sides})
    place = {n: i for i, n in enumerate(numbers)}
    names: dict[Var, int] = {}
    window = {n: i for i, n in enumerate(span.numbers)}
    parts: list[Any] = [tuple(ops), bool(sizes.table), *_type(span.x, sizes), span.x in view.asked]
    names[span.x] = 0
    statics = view.statics.setdefault(frozenset(sizes.table.items()), {})

    def operand(atom: Any) -> Any:
        if isinstance(atom, tuple):
            return tuple(operand(a) for a in atom)
        if type(atom) is Literal:
            return typed_key(sizes.number(atom.value)), typed_key(sizes(atom.value))
        known = names.get(atom)
        if known is not None:
            return known
        names[atom] = len(names)
        return _outer(view, atom, sizes)

    for n in numbers:
        eq = view.equations[n]
        if eq.is_gradient:
            return None
        try:
            inputs = [operand(atom) for atom in eq.inputs]
        except _Labels:
            return None
        static = statics.get(n)
        if static is None:
            static = statics[n] = _static(view, n, sizes)
        outputs: list[Any] = []
        for out in eq.outputs:
            if out is span.x:  # it is made by what is looked at, and is what it is all the same
                continue
            if out.aval.dtype.kind != "f":
                return None
            names[out] = len(names)
            outputs.append(tuple(sorted({place.get(user, -1) for user in view.users.get(out, ())})))
        parts.append((static, window.get(n), *inputs, *outputs))
    key = tuple(parts)
    try:
        hash(key)
    except TypeError:  # an attribute that is no plain value
        return None
    return key


def _static(view: View, number: int, sizes: Sizes) -> tuple[Any, ...]:
    """What an equation is wherever it is looked at from."""
    eq = view.equations[number]
    attrs = tuple((name, typed_key(v)) for name, v in attributes_at(eq, sizes).items())
    outputs = [(*_type(out, sizes), out in view.results, out in view.asked) for out in eq.outputs]
    return eq.op, eq.of_numbers, len(eq.residuals), view.live[number], attrs, typed_key(eq.attrs.get("dtype")), *outputs


class _Labels(Exception):
    """Something that is no float comes from outside: a choice, or labels that are computed or compared."""


def _type(var: Var, sizes: Sizes) -> tuple[Any, ...]:
    return type(var.aval), sizes(var.aval.shape), var.aval.dtype.str


def _outer(view: View, var: Var, sizes: Sizes) -> tuple[Any, ...]:
    """What is to be known of a variable that comes from outside."""
    array = view.graph.consts.get(var)
    if array is not None and array.size == 1:
        return "number", *_type(var, sizes), typed_key(sizes.number(array.reshape(()).item()))
    n = view.position.get(var)
    if var.aval.dtype.kind != "f":
        given = n is None and array is None and var.aval.dtype.kind in "iu"
        if not given or next(comparisons(view, var), None) is not None:
            raise _Labels
        return "labels", *_type(var, sizes), var in view.asked
    roles = None if n is None else tuple(n in view.numbers(role) for role in (allowed, creates, follows))
    return "given", *_type(var, sizes), array is not None, roles, var in view.asked


def _sides(view: View, span: Window) -> set[int] | None:
    """The equations beside a window that a region in it could take in; None where there are too many."""
    inner = {out for n in span.numbers for out in view.equations[n].outputs} | {span.x}
    inside, sides = set(span.numbers), set[int]()
    while True:
        before = len(sides)
        queue = [v for n in (*span.numbers, *sides) for v in view.read[n] if v not in inner]
        for var in queue:
            n = view.position.get(var)
            if n is None or n in sides or view.is_constant(var):
                continue
            private = n in view.numbers(allowed) and not view.leaves(var, inside | sides)
            if private or n in view.numbers(creates) or n in view.numbers(follows):
                sides.add(n)
        if len(sides) > MOST_SIDES:
            return None
        if len(sides) == before:
            return sides
