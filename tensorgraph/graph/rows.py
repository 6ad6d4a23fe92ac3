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

__all__ = ["Lists", "columns", "is_part", "lists_of", "rows_in", "rows_of"]

FEWEST = 6  # equations and calls in which loops are looked for
FEW = 4  # values of a loop inside of a turn that stand in its row one by one


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
    lists, listed = _inner(loop)
    for inside, items in loop.collected:
        whole = tuple([owners.get(item) for item in items])
        if inside not in listed and any(item in kept for item in items):
            if None in whole:
                values.append(items)
            else:
                trees[tuple(map(id, whole))] = whole
    trees.update((tuple(map(id, rows)), rows) for rows in lists if any(leaf in kept for leaf in leaves(rows)))
    inner = {leaf for whole in trees.values() for leaf in leaves(whole)}  # what one turn hands on to a call in the next
    every = [*trees.values(), *[items for items in values if any(item in kept and item not in inner for item in items)]]
    return every[0] if len(every) == 1 else tuple(zip(*every, strict=True))


def _inner(loop: Repetition) -> tuple[list[tuple[Any, ...]], set[Any]]:
    """The rows that loops inside of a loop keep, those of a turn together; and which of what it collects these are."""
    by = dict(loop.collected)
    found: list[tuple[Any, ...]] = []
    listed: set[Any] = set()
    for inner in loop.body:
        for _, own in inner.collected if isinstance(inner, Repetition) else ():
            if len(own) > FEW and all(item in by for item in own):
                found.append(tuple(zip(*[by[item] for item in own], strict=True)))
                listed.update(own)
    return found, listed


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


Lists = dict[Any, dict[int, int]]  # for each value in which lists it stands, and where


def lists_of(
    parameters: Iterable[Parameter], body: Iterable[Statement], others: Iterable[tuple[Any, ...]] = ()
) -> Lists:
    """The values that stand in lists among arguments, in what statements give and in others."""
    lists = [*others, *[tuple(outputs(statement)) for statement in body]]
    for parameter in parameters:
        lists += [tuple(leaves(parameter.tree)), *columns(parameter.tree), *_sequences(parameter.tree)]
    found: Lists = {}
    for number, items in enumerate(lists):
        for place, item in enumerate(items if len(items) > 1 else ()):
            found.setdefault(item, {})[number] = place
    return found


def _sequences(tree: Any) -> Iterator[tuple[Any, ...]]:
    """The lists and tuples inside of a tree that hold nothing but values."""
    if isinstance(tree, (list, tuple)):
        if not any(isinstance(item, (list, tuple, dict)) for item in tree):
            yield tuple(tree)
        for item in tree:
            yield from _sequences(item)


def is_part(items: tuple[Any, ...], lists: Mapping[Any, Mapping[int, int]]) -> bool:
    """Whether values stand in one list, one after another, forwards or backwards."""
    if all(isinstance(item, Instance) for item in items):
        ends = [item.path.rpartition(".")[::2] for item in items]
        alike = len({base for base, _ in ends}) == 1 and all(last.isdigit() for _, last in ends)
        return alike and {int(b[1]) - int(a[1]) for a, b in itertools.pairwise(ends)} in ({1}, {-1})
    places = [lists.get(item, {}) for item in items]
    return any(
        {b[number] - a[number] for a, b in itertools.pairwise(places)} in ({1}, {-1})
        for number in places[0]
        if all(number in place for place in places)
    )
