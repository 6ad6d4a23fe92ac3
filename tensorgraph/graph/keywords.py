"""Arguments by name: what a function that is traced calls its arguments, and a graph that is called by name."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tensorgraph.arguments import refuse_keyword
from tensorgraph.graph.drawable import Drawable

if TYPE_CHECKING:
    from tensorgraph.graph.graph import Graph

__all__ = ["arranged", "called_by_name", "in_order", "inner", "name_of_function", "named_arguments", "refuse_strangers"]


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


def in_order(function: Any, keywords: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments by name in the order of the function's signature; those of ``**keywords`` as they were given."""
    if len(keywords) < 2:
        return {**keywords}
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    place = {p.name: i for i, p in enumerate(_parameters(function)) if p.kind in named}
    return dict(sorted(keywords.items(), key=lambda item: place.get(item[0], math.inf)))


def called_by_name(function: Any, args: Sequence[Any], keywords: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The arguments of a call and their names, in the order of the function's signature."""
    # those of *args have no names of their own, and what is given by position alone has one that keywords may have too
    names = [_free(name, keywords) for name in named_arguments(function, args)]
    return [*zip(names, args, strict=True), *in_order(function, keywords).items()]


def _free(name: str, taken: Mapping[str, Any]) -> str:
    while name in taken:
        name += "_"
    return name


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
