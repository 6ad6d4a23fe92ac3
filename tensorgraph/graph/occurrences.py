"""Where the definitions and the loops of an outline stand in its graph, and figures summed by definition.

Calls and loops nest, and what each of them makes is consecutive equations: so an outline is a tree over the numbers of
the graph's equations. Its guard makes the tree while it puts the calls in place (`inlining.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tensorgraph.graph.statements import Block, Definition, Repetition

if TYPE_CHECKING:
    from tensorgraph.graph.graph import Graph

__all__ = ["Occurrence", "Total", "by_definition", "names_by_path"]


Chain = tuple[tuple[str, bool], ...]  # names of callers, the outermost first, and whether each is a block


@dataclass(eq=False, slots=True)
class Occurrence:
    """One call of a definition, one loop or one block with a scope: the equations from `start` to before `stop`.

    Attributes
    ----------
    of : Definition, Repetition or Block
    path : str
        Of the instance that is called; empty where there is none.
    start, stop : int
    turns : list of int
        Of a loop, where each of its turns begins.
    inner : list of Occurrence
        What stands in it, in order.
    """

    of: Definition | Repetition | Block
    path: str = ""
    start: int = 0
    stop: int = 0
    turns: list[int] = field(default_factory=list)
    inner: list[Occurrence] = field(default_factory=list)

    def walk(self) -> Iterator[Occurrence]:
        """This one and all in it, outer ones first, in order."""
        pending = [self]
        while pending:
            one = pending.pop()
            yield one
            pending.extend(reversed(one.inner))

    @property
    def name(self) -> str:
        """What the text calls it: a definition's name, a block's class and path; a loop has none."""
        if isinstance(self.of, Block):
            return f"{self.of.name} {self.of.path}" if self.of.name not in ("", self.of.path) else self.of.path
        return self.of.name if isinstance(self.of, Definition) else ""

    def __repr__(self) -> str:
        what = f"{self.of.count} turns" if isinstance(self.of, Repetition) else self.name
        return f"<{what}{f' at {self.path!r}' if self.path else ''}: {self.start} to {self.stop}>"


@dataclass(frozen=True, slots=True)
class Total:
    """All calls of a definition, or all blocks of one name, that stand in the same caller.

    Attributes
    ----------
    name : str
        As the text has it.
    depth : int
        How many callers are around it; the graph itself has none.
    count : int
        How many calls there are.
    equations : int
    figures : tuple
        The sums of what was given for its equations.
    """

    name: str
    depth: int
    count: int
    equations: int
    figures: tuple[Any, ...]

    def __str__(self) -> str:
        return f"{self.name} x{self.count}" if self.count > 1 else self.name


def by_definition(graph: Graph, *figures: Sequence[Any]) -> tuple[Total, ...]:
    """Figures, one an equation, summed by definition, each after its caller, which holds it; first the graph itself.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> from tensorgraph import nn
    >>> graph = tg.trace(nn.Sequential(*[nn.Linear(4, 4) for _ in range(5)]), tg.f32[8, 4])
    >>> [(str(total), total.depth, total.figures) for total in by_definition(graph, [1] * len(graph.equations))]
    [('Sequential', 0, (10,)), ('Linear x5', 1, (10,))]
    """
    rows: dict[Chain, tuple[int, int, list[Any]]] = {}
    inside: dict[Chain, list[Chain]] = {(): []}
    pending: list[tuple[Occurrence, Chain]] = [(graph.outline.top, ())]
    while pending:
        one, around = pending.pop()
        if not isinstance(one.of, Repetition):
            chain = (*around, (one.name, isinstance(one.of, Block)))
            if chain not in rows:
                rows[chain] = (0, 0, [0] * len(figures))
                inside[chain] = []
                inside[around].append(chain)
            count, equations, sums = rows[chain]
            sums = [a + sum(column[one.start : one.stop]) for a, column in zip(sums, figures, strict=True)]
            rows[chain] = count + 1, equations + one.stop - one.start, sums
            around = chain
        pending.extend((each, around) for each in reversed(one.inner))
    found: list[Total] = []
    waiting = inside[()]
    while waiting:
        chain = waiting.pop()
        count, equations, sums = rows[chain]
        found.append(Total(chain[-1][0], len(chain) - 1, count, equations, tuple(sums)))
        waiting.extend(reversed(inside[chain]))
    return tuple(found)


def names_by_path(graph: Graph) -> dict[str, str]:
    """What the text calls the module or the optimiser at each path.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> from tensorgraph import nn
    >>> names_by_path(tg.trace(nn.Sequential(nn.Linear(4, 4), nn.Tanh()), tg.f32[8, 4]))
    {'0': 'Linear', '1': 'Tanh'}
    """
    found: dict[str, str] = {}
    for one in graph.outline.top.walk():
        if one.path and isinstance(one.of, Definition):
            found.setdefault(one.path, one.of.name)
    return found
