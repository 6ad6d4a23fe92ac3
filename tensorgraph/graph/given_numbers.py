"""Numbers that calls were handed and in which they differ: one function with a number among its parameters.

``ring(x, 0.5)`` and ``ring(x, 0.25)`` do the same but for what the caller wrote. Where the numbers of equations, and
those that calls inside are handed, are in every call what one of its arguments is, a variable stands for them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tensorgraph.engine.aval import Number
from tensorgraph.graph.graph import Equation, Literal, Var, typed_key
from tensorgraph.graph.signatures import signature
from tensorgraph.graph.statements import leaves, mapped

if TYPE_CHECKING:
    from tensorgraph.graph.call_tree import Node
    from tensorgraph.graph.definitions import Calls

__all__ = ["GivenNumbers", "settle_numbers"]

Place = tuple[Any, int]  # an equation's number or a call, and which of its operands


class GivenNumbers:
    """Which numbers in calls are what these were handed.

    Attributes
    ----------
    places : dict of Node to dict
        For each such place in a call the name of the argument.
    literals : dict of Var to Literal
        The number for which a variable stands.
    """

    def __init__(self) -> None:
        self.places: dict[Node, dict[Place, str]] = {}
        self.literals: dict[Var, Literal] = {}
        self.known: dict[tuple[Node, str], Var] = {}

    def var(self, node: Node, name: str) -> Var:
        """What stands in a call for the number that it was handed by this name."""
        found = self.known.get((node, name))
        if found is None:
            assert node.call is not None
            literal = node.call.arguments[name]
            found = self.known[node, name] = Var(Number(type(literal.value)), name)
            self.literals[found] = literal
        return found

    def seen(self, node: Node, number: int, eq: Equation) -> Equation:
        """An equation of a call on what the call was handed."""
        if node not in self.places:
            return eq
        places, count = self.places[node], itertools.count()

        def atom(item: Any) -> Any:
            if isinstance(item, tuple):
                return tuple(map(atom, item))
            name = places.get((number, next(count)))
            return item if name is None else self.var(node, name)

        return replace(eq, inputs=tuple(map(atom, eq.inputs)))

    def handed(self, node: Node | None, inner: Node, trees: list[Any]) -> list[Any]:
        """What a call is handed: its numbers as such, or as what the call around it was handed."""
        places, count = {} if node is None else self.places.get(node, {}), itertools.count()

        def atom(item: Any) -> Any:
            name = places.get((inner, next(count)))
            return self.literals.get(item, item) if node is None or name is None else self.var(node, name)

        return [mapped(tree, atom) for tree in trees]


def settle_numbers(calls: Calls) -> bool:
    """Note numbers in which calls of one name differ, and that they are handed; whether there are new ones."""
    named: dict[Any, dict[int, list[Node]]] = {}
    for node, about in calls.of.items():
        if node is not calls.top and _given(node):
            known = named.setdefault((node.kind, node.name, node.backward, calls.is_instance(node)), {})
            known.setdefault(about.definition, []).append(node)
    changed = False
    for definitions in named.values():
        alike: dict[Any, list[list[Node]]] = {}
        for nodes in definitions.values() if len(definitions) > 1 else ():
            alike.setdefault(signature(calls, calls.of[nodes[0]], numbers=False), []).append(nodes)
        for several in alike.values():
            changed = (len(several) > 1 and _one(calls, several)) or changed
    return changed


def _given(node: Node) -> dict[str, Any]:
    """The numbers that a call was handed, as they are compared, by the names of its arguments."""
    arguments = {} if node.call is None else node.call.arguments
    return {
        name: typed_key(tree.value) for name, tree in arguments.items()
        if type(tree) is Literal and type(tree.value) in (int, float)
    }  # fmt: skip


def _one(calls: Calls, several: list[list[Node]]) -> bool:
    """Note the numbers in which these definitions differ, if all are arguments; whether they are."""
    names: list[str | None] = []
    for column in zip(*[_numbers(calls, nodes[0]) for nodes in several], strict=True):
        keys = [typed_key(literal.value) for _, literal in column]
        if all(key == keys[0] for key in keys):
            names.append(None)
            continue
        fitting = (
            name for name in _given(several[0][0])
            if all(_given(node).get(name) == key for nodes, key in zip(several, keys, strict=True) for node in nodes)
        )  # fmt: skip
        names.append(next(fitting, None))
        if names[-1] is None:
            return False
    changed = False
    for node in (node for nodes in several for node in nodes):
        pairs = zip(_numbers(calls, node), names, strict=True)
        found = {place: name for (place, _), name in pairs if name is not None}
        changed = changed or calls.numbers.places.get(node) != found
        calls.numbers.places[node] = found
    return changed


def _numbers(calls: Calls, node: Node) -> Iterator[tuple[Place, Literal]]:
    """The numbers in a call, in order: those of its own equations, and what calls in it are handed."""
    for item in calls.of[node].flat():
        if isinstance(item, int):
            operands: list[Any] = [
                a for atom in calls.equations[item].inputs for a in (atom if isinstance(atom, tuple) else (atom,))
            ]
        else:
            operands = [leaf for tree in calls.handed_to(None, item) for leaf in leaves(tree)]
        for place, atom in enumerate(operands):
            if type(atom) is Literal and type(atom.value) in (int, float):
                yield (item, place), atom
