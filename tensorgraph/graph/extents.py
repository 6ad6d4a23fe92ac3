"""Numbers of a call that are sizes of what it is handed: where its calls differ in these alone, they are read there.

A batch norm counts its rows, attention reshapes: called at two sizes of a batch each is one function all the same, with
``n = x.shape[0]`` at its head.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

from tensorgraph.graph.equation import Equation, Literal, Var
from tensorgraph.graph.graph import typed_key
from tensorgraph.graph.statements import Parameter, leaves

__all__ = ["Extent", "Sizes", "extents_in", "measured", "resolved", "sized"]

Path: TypeAlias = tuple[Any, ...]  # of a number in an equation: an input or the key of an attribute, places in it
Sizes: TypeAlias = "dict[int, dict[Path, Extent]]"  # by the number of the equation


class Extent(int):
    """``x.shape[0]``: the size that an argument has along an axis; it prints as the name that a text gives to it."""

    var: Var
    axis: int
    name: str

    @classmethod
    def of(cls, var: Var, axis: int) -> Extent:
        made = cls(var.aval.shape[axis])
        made.var, made.axis, made.name = var, axis, str(int(made))
        return made

    def __repr__(self) -> str:
        return self.name

    __str__ = __repr__


def sized(calls: Sequence[tuple[Sequence[Parameter], Sequence[tuple[int, Equation]]]]) -> list[Sizes]:
    """Of calls, each what it is handed and its equations by their numbers, the numbers in which they differ, as sizes.

    Empty for calls that differ in more.
    """
    every = [[_numbers(eq) for _, eq in equations] for _, equations in calls]
    if len({tuple(tuple(numbers) for numbers in body) for body in every}) > 1:
        return [{} for _ in calls]
    found: list[Sizes] = []
    for (parameters, equations), body in zip(calls, every, strict=True):
        known = _extents(parameters)
        places: Sizes = {}
        for position, ((number, _), own) in enumerate(zip(equations, body, strict=True)):
            moving = [path for path in own if len({other[position][path] for other in every}) > 1]
            if moving:
                places[number] = {path: known[own[path]] for path in moving if own[path] in known}
        found.append(places)
    return found


def _extents(parameters: Iterable[Parameter]) -> dict[int, Extent]:
    """The sizes of what is handed over, each by its number; the first that has it counts."""
    found: dict[int, Extent] = {}
    for parameter in parameters:
        for leaf in leaves(parameter.tree):
            for axis, size in enumerate(getattr(leaf.aval, "shape", ()) if type(leaf) is Var else ()):
                if size not in found:
                    found[size] = Extent.of(leaf, axis)
    return found


def _numbers(eq: Equation) -> dict[Path, int]:
    """The integers of an equation by their places."""
    found: dict[Path, int] = {}

    def take(path: Path, number: int) -> int:
        found[path] = number
        return number

    _put(eq, take)
    return found


def _mapped(value: Any, path: Path, number: Callable[[Path, int], Any]) -> Any:
    """A value of tuples and integers with others in their place."""
    if type(value) in (tuple, list):
        return type(value)(_mapped(item, (*path, place), number) for place, item in enumerate(value))
    return number(path, value) if type(value) in (int, Extent) else value


def _put(eq: Equation, number: Callable[[Path, int], Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Inputs and attributes with other integers."""

    def atom(item: Any, path: Path) -> Any:
        if type(item) is tuple:
            return tuple(atom(one, (*path, place)) for place, one in enumerate(item))
        return (
            Literal(number(path, item.value)) if type(item) is Literal and type(item.value) in (int, Extent) else item
        )

    inputs = tuple(atom(item, (place,)) for place, item in enumerate(eq.inputs))
    return inputs, {key: _mapped(value, (key,), number) for key, value in eq.attrs.items()}


def measured(eq: Equation, places: Mapping[Path, Extent]) -> Equation:
    """An equation with sizes in the place of its numbers."""
    if not places:
        return eq
    inputs, attrs = _put(eq, lambda path, number: places.get(path, number))
    return replace(eq, inputs=inputs, attrs=attrs)


def extents_in(eq: Equation) -> list[Extent]:
    """The sizes that an equation reads."""
    return [number for number in _numbers(eq).values() if type(number) is Extent]


def resolved(attrs: Mapping[str, Any], size: Callable[[Extent], Any]) -> Any:
    """Attributes as they are compared, with what stands for sizes."""

    def key(value: Any) -> Any:
        if type(value) in (tuple, list):
            return type(value).__name__, tuple(map(key, value))
        return size(value) if type(value) is Extent else typed_key(value)

    return tuple((name, key(attrs[name])) for name in sorted(attrs))
