"""What is wrong with a text: all that can be told in one reading, not the first error alone."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from tensorgraph.graph.graph import Graph
from tensorgraph.text.definitions import Definition, Definitions, definitions, names_in
from tensorgraph.text.errors import ParseError
from tensorgraph.text.parse import Syntax
from tensorgraph.text.template import PROBES, Template, dimensions, parse

__all__ = ["problems"]

Arrays = Mapping[str, np.ndarray[Any, Any]]


def problems(
    text: str, arrays: Arrays | None = None, *, file: str = "<text>", types: Iterable[type] = ()
) -> tuple[dict[str, Graph | Template], list[ParseError]]:
    """The graphs of a text's functions that are used by no other one, and all errors in order of their lines.

    A statement that is wrong makes what it would have named unknown, and what only follows from that is not told.

    Examples
    --------
    >>> from tensorgraph.text.checking import problems
    >>> graphs, wrong = problems('''
    ... def f(x: f32[3]):
    ...     y = rleu(x)
    ...     z = y + 1
    ...     return softmx(x) + z
    ... ''')
    >>> [(error.line, error.message[:26]) for error in wrong]
    [(3, "no op is called 'rleu'; di"), (5, "no op is called 'softmx'; ")]
    """
    try:
        read = definitions(text, file)
    except ParseError as error:
        return {}, [error]
    made: dict[str, Graph | Template] = {}
    wrong: dict[tuple[int, int], ParseError] = {}
    for definition in _roots(read):
        try:
            made[definition.name] = parse(text, arrays, name=definition.name, file=file, types=types)
        except ParseError as first:
            for one in _every(definition, arrays, types) or [first]:
                wrong.setdefault((one.line, one.column), one)
    return made, sorted(wrong.values(), key=lambda error: (error.line, error.column))


def _roots(read: Definitions) -> list[Definition]:
    """The functions that no other one names and that are graphs by themselves; else the last."""
    named = {name for definition in read.every for name in names_in(definition.node) - {definition.name}}
    return [f for f in read.every if f.name not in named and _is_graph(f)] or [read.main()]


def _is_graph(definition: Definition) -> bool:
    """Whether a function can be read by itself: all arguments have types, of so many axes."""
    types = [arg.annotation for arg in definition.arguments]
    return None not in types and not any(
        isinstance(node, ast.Constant) and node.value is ... for type_ in types if type_ for node in ast.walk(type_)
    )


def _every(definition: Definition, arrays: Any, types: Iterable[type]) -> list[ParseError]:
    """All errors of one function, for some sizes."""
    names = dimensions(definition)
    sizes = dict(zip(names, PROBES[0] * len(names), strict=False))
    errors: list[ParseError] = []
    try:
        Syntax(definition.text).graph(definition.name, arrays, types, sizes, errors)
    except ParseError as error:
        return errors or [error]
    return errors
