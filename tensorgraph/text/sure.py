"""Texts that were read back: what stands there is the graph, and where it would not be, the flat text stands there.

An outline is compared with its graph; its lines, names and brackets are not, and whoever reads the text reads these. So
a text is read again before it is shown, which takes about as long as printing it. What was read is printed again: where
that is another text, as a text says less of calls than a pass knows, it stands in place of the first, so that a text
that is read prints as it was.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgraph.arguments import checked
from tensorgraph.graph.graph import Graph, digest
from tensorgraph.text.errors import ParseError
from tensorgraph.text.functions import folded
from tensorgraph.text.literals import array_text
from tensorgraph.text.printing import to_text
from tensorgraph.text.structure import classes_of
from tensorgraph.text.template import parse

__all__ = ["arrays_of", "printed", "read_again", "sure_text", "typed_text"]

Arrays = dict[str, np.ndarray[Any, Any]]
FAULT = "its text is read as another graph"
ROUNDS = 3  # how often what was read may print as another text


@checked
def arrays_of(graph: Graph) -> Arrays:
    """The captured arrays that a graph's text names rather than writes out, by digest.

    Examples
    --------
    >>> import numpy as np, tensorgraph as tg
    >>> g = tg.trace(lambda x: x + np.arange(100.0), tg.f64[100])
    >>> tg.parse(str(g), tg.text.arrays_of(g)) == g
    True
    """
    found: Arrays = {}
    pending, seen = [graph], {graph}
    while pending:
        one = pending.pop()
        found |= {digest(array): array for array in one.consts.values() if array_text(array) is None}
        for eq in one.equations:
            inner = [value for value in eq.attrs.values() if isinstance(value, Graph) and value not in seen]
            pending += inner
            seen.update(inner)
    return found


def read_again(graph: Graph, text: str) -> Graph | None:
    """What a text of a graph is read as, where that is the same graph."""
    types = list(dict.fromkeys([*classes_of(graph.in_tree), *classes_of(graph.out_tree)]))
    try:
        again = parse(text, arrays_of(graph), types=types)
    except (ParseError, ValueError, TypeError):
        return None
    return again if again == graph else None


def sure_text(graph: Graph) -> str:
    """The text of a graph; the flat one where only that is read as the graph."""
    known: str | None = graph._cache.get("text")
    if known is not None:
        return known
    try:
        text = folded(graph)
    except LookupError:  # a value has no name where it is read
        text = ""
    again = read_again(graph, text) if text else None
    if again is not None:
        text = _settled(graph, text, again)
    else:
        flat = to_text(graph, types=False)
        if not text or read_again(graph, flat) is not None:  # else no text can say this graph
            text, graph.outline.reason = flat, FAULT
    graph._cache["text"] = text
    return text


def _settled(graph: Graph, text: str, again: Graph) -> str:
    """The text that prints as itself, from one that is read as a graph; whose text it is is noted."""
    for _ in range(ROUNDS):
        try:
            other = folded(again)
        except LookupError:
            break
        if other == text:
            break
        more = read_again(graph, other)
        if more is None:
            break
        graph._cache["printed"] = again
        text, again = other, more
    return text


def printed(graph: Graph) -> Graph:
    """The graph whose outline a graph's text is: itself, or what an earlier text of it was read as."""
    sure_text(graph)
    found: Graph = graph._cache.get("printed", graph)
    return found


def typed_text(graph: Graph) -> str:
    """The same with the type of each value behind its line."""
    own = printed(graph)
    return to_text(graph) if graph.outline.reason == FAULT else folded(own, types=True)
