"""What a call gives: what others read of what it makes, nested as it was returned, and beside it what is kept.

What the derivative of a call reads of it is no part of what the user returned. It comes as one tuple, in which the
tuples of the calls inside stand whole; so does the derivative give the gradients of parameters, which nothing of the
backward pass reads, and it is handed the tuple again.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from tensorgraph.graph.graph import ANYTHING, Var
from tensorgraph.graph.rows import columns, rows_in
from tensorgraph.graph.statements import NOTHING, leaves

if TYPE_CHECKING:
    from tensorgraph.graph.call_tree import Node
    from tensorgraph.graph.definitions import Calls, Description

__all__ = ["is_read", "result_of", "values_of"]

LIST = 3  # modules of one class in a list, which a loop may go through


def result_of(calls: Calls, about: Description) -> Any:
    """The tree of a call's result; notes in `about.saved` what of it is kept for others."""
    made = [var for item in about.flat() for var in values_of(calls, item) if is_read(calls, about.node, var)]
    left = dict.fromkeys(made)
    if not left:
        return NOTHING
    if about.node.backward:
        return _with_gradients(calls, about, left)
    call = about.node.call
    tree: Any = None if call is None else calls.said(call.result)
    known = tree is not None and tree is not ANYTHING
    told = known and isinstance(tree, tuple) and len(tree) > 1 and isinstance(tree[-1], (tuple, list))  # by a text
    whole = tree[:-1] if told else tree if known else calls.trees.get(frozenset(left))
    both = {**left, **dict.fromkeys(_beside(calls, about, whole, left))}
    kept = calls.read_part(whole, both)
    for var in [var for var in left if var not in both]:
        del left[var]
    if told:
        handed = {atom for parameter in about.parameters for atom in leaves(parameter.tree)}
        handed |= _beside(calls, about, tree[-1], left)
        inner = _told(tree[-1], left, handed) if any(leaf in left for leaf in leaves(tree[-1])) else NOTHING
        kept = kept if inner is NOTHING else (*(() if kept is NOTHING else kept), inner)
    if kept is NOTHING:
        return _of_function(calls, about, left)
    if isinstance(kept, tuple) and isinstance(kept[-1], tuple) and (told or not left):
        about.saved = kept[-1]
    if not left:
        return kept[0] if isinstance(kept, tuple) and len(kept) == 1 else kept
    through = _passes(calls, about)
    saved = _grouped(calls, about, left)
    if through:  # what it was handed and its derivative reads stands there too: then that needs nothing else
        saved = (*through, *saved) if isinstance(saved, tuple) else (*through, saved)
    about.saved = saved
    return (*kept, saved) if isinstance(kept, tuple) else (kept, saved)


def _passes(calls: Calls, about: Description) -> list[Var]:
    """What the derivative of a module that is one of a list reads of what the module was handed."""
    call = about.node.call
    base = about.node.path.rpartition(".")[0]
    if call is None or call not in calls.asked or not calls.grouped or calls.siblings.get((base, call.name), 0) < LIST:
        return []
    given = (atom for parameter in about.parameters for atom in leaves(parameter.tree))
    return [atom for atom in given if atom in calls.asked[call] and atom not in calls.decls]


def _told(tree: Any, left: dict[Var, None], known: set[Any]) -> Any:
    """What a text returned besides, as far as it is read; with what was handed over and stands in it."""
    if not any(leaf in left or leaf in known for leaf in leaves(tree)):
        return NOTHING
    parts = []
    for item in tree:
        if isinstance(item, (tuple, list)):
            inner = _told(item, left, known)
            parts += [] if inner is NOTHING else [inner]
        elif item in left or item in known:
            left.pop(item, None)
            known.add(item)
            parts.append(item)
    return tuple(parts)


def _beside(calls: Calls, about: Description, tree: Any, left: dict[Var, None]) -> set[Any]:
    """What a call makes and nobody reads, though it reads what stands in its place in other rows of a list."""
    found = {leaf for column in columns(tree) if any(leaf in left for leaf in column) for leaf in column}
    return found.difference(left).intersection(var for item in about.flat() for var in values_of(calls, item))


def values_of(calls: Calls, item: int | Node) -> list[Var]:
    """What an equation or a call gives."""
    return list(calls.equations[item].outputs) if isinstance(item, int) else calls.values(calls.of[item].result)


def is_read(calls: Calls, node: Node, var: Var) -> bool:
    """Whether others read what a call makes."""
    users = calls.users.get(var, ())
    if var in calls.outputs or var in calls.told.get(node, ()) or (users and users[-1] >= node.stop):
        return True
    homes = calls.written.get(var, ())
    return any(not (node.start <= home.start and home.stop <= node.stop) or home is calls.top for home in homes)


def _grouped(calls: Calls, about: Description, left: dict[Var, None]) -> Any:
    """Values as one tuple: those of a call inside stand together as it gave them, and those of a turn of a loop."""
    parts: list[Any] = []
    rows = rows_in(calls, about, left) if calls.grouped else []
    row_of = {value: part for part in rows for value in leaves(part)}
    done: set[int] = set()
    handed = {atom for parameter in about.parameters for atom in leaves(parameter.tree)}
    for item in about.flat() if calls.grouped else ():
        saved = next((row_of[value] for value in values_of(calls, item) if value in row_of), None)
        if saved is None and not isinstance(item, int) and isinstance(calls.of[item].saved, tuple):
            saved = calls.of[item].saved
        if saved is None or id(saved) in done:  # of which nothing is left
            continue
        done.add(id(saved))
        if any(value in left for value in leaves(saved)):
            parts.append(_told(saved, left, handed | _beside(calls, about, saved, left)))
    parts += left
    left.clear()
    return parts[0] if len(parts) == 1 else tuple(parts)


def _of_function(calls: Calls, about: Description, left: dict[Var, None]) -> Any:
    """What others than its derivatives read of a call that does not say what it returned, and what these read."""
    saved = _only_for_derivatives(calls, about.node, left)
    own = [var for var in left if var not in saved]
    if not own:
        about.saved = _grouped(calls, about, saved)
        return about.saved
    if not saved:
        return _plain(own)
    tree = calls.read_part(calls.trees.get(frozenset(own)), dict.fromkeys(own))
    about.saved = _grouped(calls, about, saved)
    return (*(own if tree is NOTHING else [tree]), about.saved)


def _only_for_derivatives(calls: Calls, node: Node, left: Iterable[Var]) -> dict[Var, None]:
    """Those of a call's values that nothing reads but its derivatives."""
    spans = [(other.start, other.stop) for other in calls.derivatives.get(node.call, ()) if other.follows(node)]

    def is_own(var: Var) -> bool:
        users = [number for number in calls.users.get(var, ()) if not node.start <= number < node.stop]
        inside = all(any(start <= number < stop for start, stop in spans) for number in users)
        return inside and var not in calls.outputs and var not in calls.written

    return {var: None for var in left if is_own(var)} if spans else {}


def _with_gradients(calls: Calls, about: Description, left: dict[Var, None]) -> Any:
    """What the backward pass goes on with and what it is done with; what derivatives of it read stands behind."""
    saved = _only_for_derivatives(calls, about.node, left)
    if len(saved) < len(left):
        for var in saved:
            del left[var]
        result = _gradients(calls, about, left)
        if not saved:
            return result
        about.saved = _grouped(calls, about, saved)
        return (*(result if isinstance(result, tuple) else [result]), about.saved)
    about.saved = _grouped(calls, about, left)
    return about.saved


def _gradients(calls: Calls, about: Description, left: dict[Var, None]) -> Any:
    """What the backward pass goes on with, and what it is done with."""
    equations = calls.equations
    origins = {v: [equations[n].origin for n in calls.users.get(v, ())] for v in left}
    done = {v: None for v in left if all(o is None or o.rule == "cut" for o in origins[v])}
    if len(done) in (0, len(left)) or (len(done) == 1 and len(left) == 2):
        return _plain(list(left)) if len(done) < len(left) else _grouped(calls, about, left)
    going = [var for var in left if var not in done]
    about.saved = _grouped(calls, about, done)
    return (*going, about.saved)


def _plain(values: list[Var]) -> Any:
    return values[0] if len(values) == 1 else tuple(values)
