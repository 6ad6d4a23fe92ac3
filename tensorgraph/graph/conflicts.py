"""Modules and functions that are called in several ways, and what is done about it.

1. Calls that do the same but for a value that one is handed twice, or for what nobody reads of one, are one definition
   (`joining.py`): all give what is read of any.
2. Where calls differ in numbers alone that they are handed (`given_numbers.py`), or those of a module in numbers that
   are sizes, they read these.
3. Of calls of a module that still differ, those of which there are most are calls of it; the others are functions that
   are handed it, ``Block_2(block, x)``.
4. What cannot be said so is taken apart in the function around it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tensorgraph.graph.extents import sized
from tensorgraph.graph.given_numbers import settle_numbers
from tensorgraph.graph.graph import Var
from tensorgraph.graph.joining import matched
from tensorgraph.graph.statements import Instance, leaves

if TYPE_CHECKING:
    from tensorgraph.graph.call_tree import Node
    from tensorgraph.graph.definitions import Calls

__all__ = ["settle"]

MOST_FREE = 12  # values that a function reads besides its arguments; one that reads more is taken apart
MOST_ALIKE = 24  # definitions of one name that are compared


def settle(calls: Calls) -> bool:
    """See to modules and functions that are called in several ways; whether there were any."""
    return calls.waiting or _join(calls) or settle_numbers(calls) or _part(calls)


def _join(calls: Calls) -> bool:
    """Note calls that do the same, though they are several definitions; whether there are new ones."""
    changed = False
    for definitions in list(_called_alike(calls)):
        every = [calls.first[number] for number in definitions]
        models = sorted(every, key=lambda node: (-len(calls.of[node].foreign), node.start))
        for place, model in enumerate(models):
            for other in models[place + 1 :]:
                if model in calls.joined or other in calls.joined:
                    continue
                env = matched(calls, calls.of[model], calls.of[other])
                if env is None or (model, other) in calls.tried:
                    continue
                calls.tried.add((model, other))
                alike = definitions[calls.of[model].definition] + definitions[calls.of[other].definition]
                calls.joined.update((node, model) for node in alike if node is not model)
                calls.tell(model, env, leaves(calls.of[other].result))
                changed = True
    return changed


def _called_alike(calls: Calls) -> Iterator[dict[int, list[Node]]]:
    """The definitions that have one name, with their calls."""
    found: dict[Any, dict[int, list[Node]]] = {}
    for node, about in calls.of.items():
        if node is not calls.top:
            known = found.setdefault((node.kind, node.name, node.backward, calls.is_instance(node)), {})
            known.setdefault(about.definition, []).append(node)
    return (known for known in found.values() if 1 < len(known) <= MOST_ALIKE)


def _part(calls: Calls) -> bool:
    """Make functions of calls of a module that differ, or take them apart; whether there were any."""
    every: dict[Instance, list[Node]] = {}
    for node, about in calls.of.items():
        if about.instance is not None and node is not calls.top:
            every.setdefault(about.instance, []).append(node)
    touched: set[Node] = set()
    places: dict[str, list[Instance]] = {}
    for instance, nodes in every.items():
        places.setdefault(instance.path, []).append(instance)
        several = len({calls.of[node].definition for node in nodes}) > 1
        bare = not any(calls.of[node].own for node in nodes)
        if bare and (several or not instance.path):
            calls.plain.update(nodes)
            touched.update(nodes)
        elif several and not any(inner in touched for node in nodes for inner in node.nodes()):
            _differ(calls, instance, nodes)
            touched.update(nodes)
    changed = bool(touched)
    for instances in places.values():
        cells = [path for instance in instances for path in calls.declared[instance]]
        if len(set(cells)) < len(cells):
            calls.opened.update(node for instance in instances for node in every[instance])
            changed = True
    for node, about in calls.of.items():
        handed = sum(isinstance(parameter.tree, (Var, Instance)) for parameter in about.parameters)
        if node is not calls.top and handed > MOST_FREE + len(node.call.arguments if node.call else ()):
            calls.opened.add(node)
            changed = True
    return changed


def _differ(calls: Calls, instance: Instance, nodes: list[Node]) -> None:
    """Calls of a module that are several definitions."""
    if not any(node in calls.sized for node in nodes):
        calls.sized.update(zip(nodes, sized([calls.told_of(node) for node in nodes]), strict=True))
        return
    by: dict[int, list[Node]] = {}
    for node in nodes:
        by.setdefault(calls.of[node].definition, []).append(node)

    def rank(alike: list[Node]) -> tuple[int, int, int, int]:
        odd = sum(inner in calls.handed for inner in alike[0].nodes())
        return len(alike), len(calls.of[alike[0]].own), -odd, -alike[0].start

    most = max(by.values(), key=rank)
    for node in nodes:
        if node not in most:
            calls.plain.add(node)
            calls.handed[node] = most[0]
