"""What the turns of loops keep for a derivative, as rows: one tuple a turn, in a list that the loop appends to.

What a call keeps is settled before its loops are found. So the loops are looked for once by themselves, in the call's
equations and calls as they stand.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from tensorgraph.graph.graph import Var
from tensorgraph.graph.repeats import Folding
from tensorgraph.graph.rewiring import outputs
from tensorgraph.graph.statements import (
    Application,
    Definition,
    Instance,
    Operation,
    Parameter,
    Repetition,
    Statement,
    leaves,
)
from tensorgraph.graph.totals import is_loose

if TYPE_CHECKING:
    from tensorgraph.graph.definitions import Calls, Description

__all__ = ["columns", "is_part", "lists_of", "rows_in", "rows_of"]

FEWEST = 6  # equations and calls in which loops are looked for


def rows_in(calls: Calls, about: Description, kept: Mapping[Var, Any]) -> list[tuple[Any, ...]]:
    """The rows of each loop of a call, of the values that are `kept`; what calls inside keep stands in them whole."""
    items = list(about.flat())
    if len(items) < FEWEST or len(kept) < FEWEST:
        return []
    owners = {}
    body: list[Statement] = []
    loose: dict[Any, int] = {}  # what is read by sums that begin or are complete, which stand nowhere themselves
    for item in items:
        if isinstance(item, int) and is_loose(calls.equations[item]):
            loose.update(dict.fromkeys(calls.equations[item].variables(), 1))
            continue
        if isinstance(item, int):
            body.append(Operation(calls.equations[item], item))
            continue
        inner = calls.of[item]
        stand_in = calls.stand_ins.setdefault(inner.definition, Definition("", "", None, result=inner.result))
        arguments = calls.handed_to(about.node, item)
        body.append(Application(stand_in, inner.instance, arguments, calls.values(inner.result)))
        if isinstance(inner.saved, tuple):
            owners.update(dict.fromkeys(leaves(inner.saved), inner.saved))
    lists = lists_of(about.parameters, body)
    folding = Folding(
        calls.attributes, lambda _: None, lambda values: is_part(values, lists),
        lambda values: any(value in kept for value in values),
    )  # fmt: skip
    found = []
    for statement in folding.folded(body, {**loose, **kept}, {}):
        if isinstance(statement, Repetition):
            rows = _rows(statement, kept, owners)
            found += [rows] if rows else []
    return found


def _rows(loop: Repetition, kept: Mapping[Var, Any], owners: Mapping[Var, Any]) -> tuple[Any, ...]:
    trees: dict[Any, tuple[Any, ...]] = {}
    values = []
    for _, items in loop.collected:
        whole = tuple([owners.get(item) for item in items])
        if any(item in kept for item in items):
            if None in whole:
                values.append(items)
            else:
                trees[tuple(map(id, whole))] = whole
    inner = {leaf for whole in trees.values() for leaf in leaves(whole)}  # what one turn hands on to a call in the next
    every = [*trees.values(), *[items for items in values if any(item in kept and item not in inner for item in items)]]
    return every[0] if len(every) == 1 else tuple(zip(*every, strict=True))


def rows_of(tree: Any) -> Iterator[Any]:
    """The lists of trees that nest alike in a tree."""
    if isinstance(tree, (list, tuple)):
        for item in tree:
            yield from rows_of(item)
        rows = [tuple(leaves(item)) for item in tree if isinstance(item, (list, tuple))]
        if len(rows) == len(tree) > 1 and len({len(row) for row in rows}) == 1:
            yield tree


def columns(tree: Any) -> list[tuple[Any, ...]]:
    """Of a list of trees that nest alike the values at each place, one a tree; of lists inside of it too."""
    return [column for rows in rows_of(tree) for column in zip(*map(leaves, rows), strict=True)]


def lists_of(
    parameters: Iterable[Parameter], body: Iterable[Statement], others: Iterable[tuple[Any, ...]] = ()
) -> dict[Any, tuple[int, int]]:
    """The values that stand in lists among arguments, in what statements give and in others: which list, and where."""
    lists = [tuple(leaves(parameter.tree)) for parameter in parameters]
    lists += [*others, *[column for parameter in parameters for column in columns(parameter.tree)]]
    lists += [tuple(outputs(statement)) for statement in body]
    found: dict[Any, tuple[int, int]] = {}
    for number, items in enumerate(lists):
        if len(items) > 1:
            found.update((item, (number, place)) for place, item in enumerate(items))
    return found


def is_part(items: tuple[Any, ...], lists: Mapping[Any, tuple[int, int]]) -> bool:
    """Whether values stand in one list, one after another, forwards or backwards."""
    if all(isinstance(item, Instance) for item in items):
        ends = [item.path.rpartition(".")[::2] for item in items]
        alike = len({base for base, _ in ends}) == 1 and all(last.isdigit() for _, last in ends)
        return alike and {int(b[1]) - int(a[1]) for a, b in itertools.pairwise(ends)} in ({1}, {-1})
    places = [lists.get(item) for item in items]
    if any(place is None for place in places):
        return False
    at = [place[1] for place in places if place is not None]
    steps = {b - a for a, b in itertools.pairwise(at)}
    return len({place[0] for place in places if place is not None}) == 1 and steps in ({1}, {-1})
