"""Arguments by name: what a function that is traced calls its arguments, and a graph that is called by name."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tensorgraph.arguments import refuse_keyword
from tensorgraph.graph.drawable import Drawable

if TYPE_CHECKING:
    from tensorgraph.graph.graph import Graph

__all__ = ["arranged", "called_by_name", "inner", "name_of_function", "named_arguments", "refuse_strangers"]


def inner(function: Any) -> Any:
    """The function in what `functools.partial` made of it."""
    while isinstance(function, (functools.partial, functools.partialmethod)):
        function = function.func
    return function


def name_of_function(function: Any) -> str:
    """What a graph of a function is called: its name, that of its class where it is an object, or ``f``."""
    function = inner(function)
    own = getattr(function, "name", None) if isinstance(function, Drawable) else None  # of a graph or a template
    name = getattr(function, "__name__", own or type(function).__name__)
    return name if isinstance(name, str) and name.isidentifier() else "f"


def _parameters(function: Any) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return []


def named_arguments(function: Any, args: Sequence[Any]) -> list[str]:
    """What the function calls its positional arguments."""
    known = [p.name for p in _parameters(function) if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return [*known, *[f"x{i}" for i in range(len(known), len(args))]][: len(args)]


def called_by_name(function: Any, args: Sequence[Any], keywords: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The arguments of a call and their names, in the order of the function's signature."""
    names = named_arguments(function, args)
    if not keywords:
        return list(zip(names, args, strict=True))
    place: dict[Any, int] = {}
    for i, p in enumerate(_parameters(function)):
        place[p.kind if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) else p.name] = i
    last = len(place)
    rest = place.get(inspect.Parameter.VAR_POSITIONAL, last), place.get(inspect.Parameter.VAR_KEYWORD, last)
    ordered = [(place.get(name, rest[0]), name, value) for name, value in zip(names, args, strict=True)]
    taken = {name for name in names if name not in place} & keywords.keys()  # those of *args have no names of their own
    ordered = [(at, f"{name}_" if name in taken else name, value) for at, name, value in ordered]
    ordered += [(place.get(name, rest[1]), name, value) for name, value in keywords.items()]
    return [(name, value) for _, name, value in sorted(ordered, key=lambda each: each[0])]


def refuse_strangers(door: str, function: Any, keywords: Mapping[str, Any], own: Sequence[str] = ()) -> None:
    """Raise for keywords that neither the function nor the door to it, which has some of its `own`, takes."""
    parameters = _parameters(function)
    if not keywords or not parameters or any(p.kind is p.VAR_KEYWORD for p in parameters):
        return
    names = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    strangers = {name: value for name, value in keywords.items() if name not in names}
    if strangers:
        refuse_keyword(strangers, [*own, *names], f"{door} of {name_of_function(function)}", None)


def arranged(graph: Graph, args: tuple[Any, ...], keywords: Mapping[str, Any]) -> tuple[Any, ...]:
    """The arguments of a graph in order, some of them given by name.

    Raises
    ------
    TypeError
        For a name that the graph does not have, or has been given already, and for an argument that is missing.
    """
    if not keywords:
        return args
    names = graph.arguments
    if len(names) != len(graph.in_tree.children):
        raise TypeError(f"{graph.name}: this graph's arguments have no names; give them by position")
    strangers = {name: value for name, value in keywords.items() if name not in names}
    if strangers:
        refuse_keyword(strangers, [*names], graph.name, None)
    given = dict(zip(names, args, strict=False))
    if len(args) > len(names):
        raise TypeError(f"{graph.name} takes {len(names)} arguments ({', '.join(names)}), got {len(args)} by position")
    for name in keywords:
        if name in given:
            raise TypeError(f"{graph.name}: the argument {name} is given by position and by name")
    given.update(keywords)
    missing = [name for name in names if name not in given]
    if missing:
        raise TypeError(f"{graph.name}: the argument {missing[0]} is missing; it takes {', '.join(names)}")
    return tuple(given[name] for name in names)
