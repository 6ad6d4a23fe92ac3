"""The calls of a graph as a tree: each with the equations and the calls that stand in it, in their order.

The equations of a call are consecutive in a trace, and passes keep that but for the backward pass: what a derivative
rule made stands behind, in the call whose equation it differentiates. So a call is a node once for its own equations
and once for those of each of its derivatives; to a call that takes a gradient itself that pass is its own. A call that
was torn apart is several nodes, none of them `whole`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from tensorgraph.graph.calls import Call
from tensorgraph.graph.equation import Backward, Equation
from tensorgraph.graph.graph import Graph

__all__ = ["Node", "Scoped", "call_tree", "chain_of"]

Passes = tuple[Backward, ...]
UNKNOWN: Passes = (Backward(None),)  # of which no call is known
DEEPEST = 40  # calls in calls that are told apart: what is called deeper stands in the one that called it


@dataclass(eq=False, slots=True)
class Node:
    """One call, or the derivative of one, compared by identity.

    Attributes
    ----------
    call : Call or None
        None at the top of a graph that knows none.
    passes : tuple
        The gradients of which its equations are part, and which were not taken in it: empty for the call itself.
    items : list of int and Node
        What stands in it: numbers of equations, and calls.
    start, stop : int
        Its equations are those from `start` to before `stop`.
    whole : bool
        Whether it is all of its call.
    """

    call: Call | None
    passes: tuple[Backward, ...] = ()
    items: list[int | Node] = field(default_factory=list)
    start: int = 0
    stop: int = 0
    whole: bool = True

    @property
    def backward(self) -> bool:
        """Whether its equations are those of derivative rules."""
        return bool(self.passes)

    def is_of(self, other: Node) -> bool:
        """Whether it is a derivative of another node of its call."""
        return self.call is other.call and set(self.passes) > set(other.passes)

    def follows(self, other: Node) -> bool:
        """Whether it may be handed what another node of its call keeps: as its derivative, or what comes later."""
        return self.is_of(other) or (self.call is other.call and other.backward and other.stop <= self.start)

    @property
    def kind(self) -> str:
        return "function" if self.call is None else self.call.kind

    @property
    def path(self) -> str:
        return "" if self.call is None else self.call.scope

    @property
    def name(self) -> str:
        """The class or the function."""
        return "" if self.call is None else self.call.name

    def nodes(self) -> Iterator[Node]:
        """The calls in it, inner ones before those around them, itself last."""
        for item in self.items:
            if isinstance(item, Node):
                yield from item.nodes()
        yield self

    def __repr__(self) -> str:
        return f"<{'backward of ' if self.backward else ''}{self.call}: {self.start} to {self.stop}>"


@dataclass(eq=False, slots=True)
class Scoped:
    """A call that is taken apart where it stands: what is in it, and the scope that it opens."""

    node: Node
    content: list[int | Node | Scoped]


def call_tree(graph: Graph, hidden: Collection[int] = ()) -> Node:
    """The tree of a graph's calls without `hidden` equations; the top is the function that was traced or read.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> graph = tg.trace(tg.nn.Sequential(tg.nn.Linear(2, 3), tg.nn.Tanh()), tg.f32[1, 2])
    >>> [(node.name, node.path, node.stop - node.start) for node in call_tree(graph).nodes()]
    [('Linear', '0', 2), ('Tanh', '1', 1), ('Sequential', '', 3), ('Sequential', '', 3)]
    """
    count = len(graph.equations)
    top = Node(None, stop=count)
    stack = [top]
    seen: dict[tuple[Call | None, Passes], Node] = {}
    chains: dict[tuple[Call | None, Passes], list[tuple[Call, Passes]]] = {(None, ()): []}
    following = _following(graph)
    for number, eq in enumerate(graph.equations):
        if number in hidden:
            continue
        eq = following.get(number, eq)
        passes = _passes(eq)
        chain = chains.get((eq.call, passes))
        if chain is None:
            chain = chains[eq.call, passes] = chain_of(eq)
        if top.call is None and eq.call is not None:
            top.call = next((call for call in eq.call.callers() if _is_top(call)), None)
        depth = 1
        while depth < len(stack) and depth <= len(chain):
            node = stack[depth]
            if (node.call, node.passes) != chain[depth - 1]:
                break
            depth += 1
        while len(stack) > depth:
            stack.pop().stop = number
        for call, part in chain[depth - 1 :]:
            node = Node(call, part, start=number)
            other = seen.setdefault((call, part), node)
            if other is not node:
                node.whole = other.whole = False
            stack[-1].items.append(node)
            stack.append(node)
        stack[-1].items.append(number)
    for node in stack:
        node.stop = count
    return top


def _following(graph: Graph) -> dict[int, Equation]:
    """For the equations that cut a gradient from its history where it is used, those that use it: they stand there."""
    found: dict[int, Equation] = {}
    after: Equation | None = None
    for number in range(len(graph.equations) - 1, -1, -1):
        eq = graph.equations[number]
        if eq.origin is None or eq.origin.rule != "cut":
            after = eq
        elif after is not None:
            found[number] = after
    return found


def _is_top(call: Call) -> bool:
    return call.parent is None and call.kind == "function"


def _passes(eq: Equation) -> Passes:
    return () if eq.origin is None else eq.origin.passes or UNKNOWN


def chain_of(eq: Equation) -> list[tuple[Call, Passes]]:
    """The calls around an equation, the outermost first, without the function at the top, each with the gradients that
    were not taken in it."""
    passes = _passes(eq)
    calls = [] if eq.call is None else list(eq.call.callers())
    if calls and _is_top(calls[-1]):
        calls.pop()
    taken = [(one, set() if one.call is None else set(one.call.callers())) for one in passes]
    return [(call, tuple(one for one, inside in taken if call not in inside)) for call in calls[::-1][:DEEPEST]]
