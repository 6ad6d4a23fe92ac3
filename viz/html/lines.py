"""The graph's text beside its picture: its lines, and in which of them each equation stands."""

from __future__ import annotations

from dataclasses import dataclass

from tensorgraph.graph.graph import Graph
from tensorgraph.text.template import Template, parse

__all__ = ["Lines", "text_beside"]

MOST = 4_000  # equations whose text is read back for a page


@dataclass(frozen=True, slots=True)
class Lines:
    """The text of a graph.

    Attributes
    ----------
    lines : tuple of str
    of : tuple of int
        For each equation the line in which it stands, from 0; -1 where there is none.
    """

    lines: tuple[str, ...]
    of: tuple[int, ...]


def text_beside(graph: Graph) -> Lines | None:
    """The text of a graph with its equations' lines, found by reading it back; None where it is not to be had.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> found = text_beside(tg.trace(lambda x: tg.tanh(x).sum(), tg.f32[3]))
    >>> [found.lines[n] for n in found.of]
    ['    return sum(tanh(x))', '    return sum(tanh(x))']
    """
    if len(graph.equations) > MOST:
        return None
    try:
        text = graph.text()
        again = parse(text, list(graph.consts.values()))
        again = again.example() if isinstance(again, Template) else again
    except Exception:  # ops of the user's whose attributes no text can say, and the like: the picture stands alone
        return None
    if not isinstance(again, Graph):  # a template, whose sizes are names
        return None
    if [eq.op.name for eq in again.equations] != [eq.op.name for eq in graph.equations]:
        return None
    return Lines(
        tuple(text.splitlines()), tuple(-1 if eq.source is None else eq.source.line - 1 for eq in again.equations)
    )
