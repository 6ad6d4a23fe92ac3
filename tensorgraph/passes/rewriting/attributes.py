"""Attributes that are free in a rewriting: what a side takes by name alone, ``lambda x, *, axis: ...``."""

from __future__ import annotations

import itertools
import math
from typing import Any

from tensorgraph.graph.graph import Graph, typed_key
from tensorgraph.passes.recognise.view import View
from tensorgraph.passes.rewriting.sides import Pattern, Side

__all__ = ["Free", "are_given", "require_same", "require_use", "values_of"]

MOST_VALUES = 64  # that are tried

Free = tuple[tuple[str, Any], ...]  # names and values


def require_same(first: Side, second: Side) -> None:
    """Refuse an attribute that only the second side takes."""
    unknown = [name for name in second.free if name not in first.free]
    if unknown:
        has = f"it has {', '.join(first.free)}" if first.free else "it has none"
        raise TypeError(
            f"after needs {unknown[0]} by name, and before says nothing of it ({has}): what both take by name is the "
            "value of an attribute, as in lambda x, *, axis: tg.softmax(x, axis=axis)"
        )


def values_of(side: Side, view: View) -> list[Free]:
    """What the attributes that a side takes by name may be: what those of this name are in the graph, or all."""
    every = [(n, v) for eq in view.equations if not eq.is_gradient for n, v in eq.attrs.items()]
    found = []
    for name in side.free:
        own = [v for n, v in every if n == name] or [v for _, v in every]
        found.append(list({typed_key(v): v for v in own if not isinstance(v, Graph)}.values()))
    if math.prod(map(len, found)) > MOST_VALUES:
        raise TypeError(
            f"{', '.join(side.free)} could be anything: call what before takes by name as the op's attribute "
            "is called, lambda x, *, axis: tg.softmax(x, axis=axis)"
        )
    return [tuple(zip(side.free, values, strict=True)) for values in itertools.product(*found)]


def are_given(pattern: Pattern, values: Free) -> bool:
    """Whether each of these values is that of some attribute of a pattern."""
    held = {typed_key(v) for eq in pattern.graph.equations for v in eq.attrs.values()}
    return all(typed_key(v) in held for _, v in values)


def require_use(side: Side, traced: list[list[Pattern]]) -> None:
    """Refuse where what a side takes by name makes no difference to it."""
    texts = [[pattern.graph for pattern in patterns] for patterns in traced if patterns]
    if side.free and len(texts) > 1 and all(each == texts[0] for each in texts[1:]):
        raise TypeError(
            f"{side.what} gives {', '.join(side.free)} to no attribute of an op: nothing says what it stands for"
        )
