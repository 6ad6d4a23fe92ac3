"""Loops and comprehensions of an outline as lines."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tensorgraph.graph.graph import Var
from tensorgraph.graph.rows import rows_of
from tensorgraph.graph.statements import Application, Instance, Operation, Repetition, leaves, mapped, walked
from tensorgraph.ops.structure import alias
from tensorgraph.text.heads import key_text, snake
from tensorgraph.text.naming import shape

if TYPE_CHECKING:
    from tensorgraph.text.bodies import Body

__all__ = ["expect", "write_loop"]

INDENT = "    "
UNNAMED = re.compile(r"v\d+")
ANY = re.compile(r"v(_\d+)?")
MISSING: Any = object()
MANY = 6  # values that are named one by one
LONGEST = 100  # comprehension


def write_loop(body: Body, loop: Repetition) -> None:
    """``for block in blocks:`` and what stands in it; a comprehension where that is one expression."""
    body.flush()
    if _comprehension(body, loop):
        return
    locked = dict(body.locked)  # by loops around, which may hand on by the same names
    names, wholes = _carry(body, loop)
    begun = len(body.lines)
    body.line(f"for {_heading(body, loop)}:")
    body.indent += 1
    count = len(body.lines)
    body.body(loop.body, id(loop))
    body.flush()
    saved = []
    for inside, items in _collected(body, loop):
        holder = object()
        wanted = _plural(body.text[inside]) if type(inside) is Var else "saveds"
        name = body.take(holder, wanted, body.first[loop] - 1)
        finals = [body.final.get(leaf, 0) for item in items for leaf in leaves(item)]
        body.final[holder] = max([*finals, body.ends[loop]])
        body.line(f"{name}.append({body.tree(inside)})")
        saved.append((name, inside, items))
    moved = _moved(body, loop, names, wholes)
    if moved:
        body.line(f"{', '.join(name for name, _ in moved)} = {', '.join(said for _, said in moved)}")
    if len(body.lines) == count:
        body.line("pass")
    body.indent -= 1
    body.lines[begun:begun] = [f"{INDENT * body.indent}{name} = []" for name, _, _ in saved]
    for (_, _, after), name in zip(loop.carried, names, strict=True):
        body.locked.pop(name.partition("[")[0], None)
        body.locked |= {one: after for one, after in locked.items() if one == name.partition("[")[0]}
        body.text[after] = name
        body.holder[name] = after
    for inside, outside in loop.last:
        name = body.text[outside] = body.text[inside]
        if body.holder.get(name) is inside or any(after is inside for _, _, after in loop.carried):
            body.holder[name] = outside
        body.keep(outside, name)
    for inside, items in loop.collected:
        if items[-1] not in body.text:  # the others are reached as what was handed on
            name = body.text[items[-1]] = body.text[inside]
            if name.isidentifier():
                body.holder[name] = items[-1]
            body.keep(items[-1], name)
    _hold_trees(body, loop)
    for name, _, items in saved:
        befores = {before: body.of(before) for before, _, _ in loop.carried if type(before) is Var}
        for number, item in enumerate(items):
            body.place(item, f"{name}[{number}]")
        body.text.update(befores)
        body.add_bundle(list(items), name)


def _moved(
    body: Body, loop: Repetition, names: list[str], wholes: list[tuple[str, Repetition, list[int]]]
) -> list[tuple[str, str]]:
    """What is handed on and has another name by now: under which name the next turn reads it, and what it is here."""
    found = []
    places = set()
    for name, inner, group in wholes:
        places.update(group)
        afters = [loop.carried[number][2] for number in group]
        if any(body.text[after] != names[number] for after, number in zip(afters, group, strict=True)):
            found.append(
                (name, body.tree(afters if inner.keys is None else dict(zip(inner.keys, afters, strict=True))))
            )
    for number, ((_, _, after), name) in enumerate(zip(loop.carried, names, strict=True)):
        if number not in places and body.text[after] != name:
            found.append((name, body.text[after]))
    return found


def _collected(body: Body, loop: Repetition) -> list[tuple[Any, tuple[Any, ...]]]:
    """What is collected: values, rows of what is kept, and whole trees of what calls give, with what each turn adds."""
    items = dict(loop.collected)
    found: list[tuple[Any, tuple[Any, ...]]] = _kept(body, loop, items)
    for statement in loop.body:
        if not isinstance(statement, Application) or not isinstance(statement.definition.result, tuple):
            continue
        own = dict(zip(statement.definition.results(), statement.results, strict=True))
        for part in statement.definition.result:
            values = [own.get(leaf) for leaf in leaves(part)] if isinstance(part, (list, tuple, dict)) else []
            fresh = [value for value in values if value in items]
            if len(values) > 1 and len(fresh) > len(values) // 2 and all(value is not None for value in values):
                known = {inside: after for inside, after in items.items() if inside in fresh}
                rows = [_turn(part, own, known, loop, turn) for turn in range(loop.count)]
                if all(row is not None for row in rows):
                    found.append((mapped(part, own.__getitem__), tuple(rows)))
                    for value in fresh:
                        del items[value]
    reached = {leaf for _, rows in found for leaf in leaves(list(rows))}
    handed = {after for _, _, after in loop.carried}
    left = [(i, every) for i, every in items.items() if i not in handed or not reached.issuperset(every[:-1])]
    return found + left


def _kept(body: Body, loop: Repetition, items: dict[Var, tuple[Var, ...]]) -> list[tuple[Any, tuple[Any, ...]]]:
    """The rows that the function gives, where each of their values is one of a turn: they are taken from `items`."""
    found: list[tuple[Any, tuple[Any, ...]]] = []
    for rows in rows_of(body.definition.result):
        known = {every: inside for inside, every in (*loop.lists, *items.items())}
        handed = dict(loop.collected)
        known |= {(first, *handed[after][:-1]): inside for first, inside, after in loop.carried if after in handed}
        every = list(zip(*map(leaves, rows), strict=True))
        alike = len(rows) == loop.count and len({shape(row) for row in rows}) == 1
        if alike and set(items.values()).intersection(every) and all(column in known for column in every):
            found.append((_filled(rows[0], [known[column] for column in every]), tuple(rows)))
            for column in every:
                items.pop(known[column], None)
    return found


def _filled(tree: Any, values: list[Any]) -> Any:
    """The tree with these leaves."""
    left = iter(values)
    return mapped(tree, lambda _: next(left))


def _turn(part: Any, own: Mapping[Var, Var], known: Mapping[Any, Any], loop: Repetition, turn: int) -> Any:
    """What a turn adds: of what it makes the items, of what it reads what stands there then."""
    lists = dict(loop.lists)
    befores = {inside: (before, after) for before, inside, after in loop.carried}
    whole = dict(loop.collected)
    outside = dict(loop.last)

    def leaf(value: Var) -> Any:
        inside = own[value]
        if inside in known:
            return known[inside][turn]
        if inside in lists:
            return lists[inside][turn]
        if inside in befores:
            before, after = befores[inside]
            if turn == 0:
                return before
            return whole[after][turn - 1] if after in whole else outside.get(after) if turn == loop.count else MISSING
        return inside

    made = mapped(part, leaf)
    return None if any(item is MISSING or item is None for item in leaves(made)) else made


def expect(body: Body, loop: Repetition) -> None:
    """What a loop is begun with is called as what it hands on, if it has no name."""
    outside = dict(loop.last)
    for before, _, after in loop.carried:
        wanted = body.wanted(after) or (body.wanted(outside[after]) if after in outside else None)
        if type(before) is Var and wanted is not None:
            body.defaults.setdefault(before, wanted)


def _hold_trees(body: Body, loop: Repetition) -> None:
    """What is handed on as one dict or list still is, after the loop."""
    outside = dict(loop.last)
    for inner in loop.body:
        if isinstance(inner, Repetition) and len(inner.collected) == 1 and inner.collected[0][1] in body.handed:
            items = inner.collected[0][1]
            name = body.handed[items][0]
            values = [outside.get(item, item) for item in items]
            holder: Any = object()
            body.holder[name] = holder
            body.final[holder] = max(body.final.get(value, 0) for value in values)
            body.add_bundle(values if inner.keys is None else dict(zip(inner.keys, values, strict=True)), name)


def _carry(body: Body, loop: Repetition) -> tuple[list[str], list[tuple[str, Repetition, list[int]]]]:
    """The name of each value that is handed on, which holds it before the loop; of dicts and lists too."""
    names: dict[int, str] = {}
    outside = dict(loop.last)
    wholes = []
    for inner, places in _groups(body, loop):
        name, own = _carry_tree(body, loop, (inner, places))
        names.update(own)
        wholes.append((name, inner, places))
    for number, (before, inside, after) in enumerate(loop.carried):
        if number in names:
            continue
        wanted = body.wanted(after) or (body.wanted(outside[after]) if after in outside else None)
        here = body.of(before)
        dies = type(before) is Var and body.holder.get(here) is before and before not in body.fixed
        dies = dies and body.final.get(before) == body.first[loop] and here not in names.values()
        crossed = body.final.get(inside, 0) > body.making.get(after, 0)  # read when the next is there already
        crossed = crossed or any(other is after for _, _, other in loop.carried[:number])
        if dies and (crossed or wanted is None or wanted == here):
            name = here
        elif crossed:
            name = body.take(inside, "before", body.first[loop] - 1)
            body.line(f"{name} = {here}")
        else:
            fallback = body.wanted(before) if type(before) is Var else None
            name = body.give(inside, wanted or fallback, body.first[loop] - 1)
            body.line(f"{name} = {here}")
        body.holder[name] = inside
        body.text[inside] = name
        body.locked[name] = after
        body.handed[after] = (name, (inside,))
        body.final[inside] = max(body.final.get(inside, 0), body.first[loop])
        names[number] = name
    return [names[number] for number in range(len(loop.carried))], wholes


def _groups(body: Body, loop: Repetition) -> list[tuple[Repetition, list[int]]]:
    """What is handed on as a whole dict or list: the loop in the body that collects it, and its places in `carried`."""
    place = {after: number for number, (_, _, after) in enumerate(loop.carried)}
    found = []
    for statement in loop.body:
        if not isinstance(statement, Repetition) or len(statement.collected) != 1:
            continue
        items = statement.collected[0][1]
        if all(item in place for item in items):
            befores = tuple(loop.carried[place[item]][0] for item in items)
            if body.bundle(befores, dict if statement.keys is not None else list) is not None:
                found.append((statement, [place[item] for item in items]))
    return found


def _carry_tree(body: Body, loop: Repetition, group: tuple[Repetition, list[int]]) -> tuple[str, dict[int, str]]:
    """The name of what is handed on as one dict or list, and of the values in it."""
    inner, places = group
    items = inner.collected[0][1]
    entries = [loop.carried[number] for number in places]
    befores = tuple(before for before, _, _ in entries)
    kind = dict if inner.keys is not None else list
    here = body.bundle(befores, kind) or ""
    dies = here.isidentifier() and all(body.final.get(before) == body.first[loop] for before in befores)
    dies = dies and not any(before in body.fixed for before in befores)
    insides = tuple(inside for _, inside, _ in entries)
    if dies:
        name = here
    else:
        name = body.take(object(), here if here.isidentifier() else "v", body.first[loop] - 1)
        body.line(f"{name} = {here}")
    holder: Any = object()
    body.holder[name] = holder
    body.final[holder] = body.ends[loop]
    body.locked[name] = holder
    body.handed[items] = (name, insides)
    found = {}
    keys = inner.keys if inner.keys is not None else range(len(items))
    for key, number, inside in zip(keys, places, insides, strict=True):
        found[number] = body.text[inside] = f"{name}[{key_text(key)}]"
    body.add_bundle(list(insides) if inner.keys is None else dict(zip(keys, insides, strict=True)), name)
    return name, found


def _heading(body: Body, loop: Repetition, keyed: str | None = None) -> str:
    """``p, g in zip(params, grads)``."""
    names, texts = [], []
    counter = any(isinstance(s, Operation) and any(own is loop for _, own, _ in s.moving) for s in walked(loop.body))
    family = sum(len(items) > 1 for _, items in loop.lists) > 2
    lists = list(loop.lists)
    for tree, rows in (*_rows(loop), *_read_rows(body, loop)):
        text = body.sequence(rows)
        inner = set(leaves(tree))
        if text is not None and any(inside in inner for inside, _ in lists):
            holder: Any = object()
            name = body.take(holder, "saved", body.first[loop])
            body.final[holder] = body.ends[loop]
            body.place(tree, name)
            names.append(name)
            texts.append(text)
            lists = [(inside, items) for inside, items in lists if inside not in inner]
    for inside, items in lists:
        text = _sequence(body, items)
        name = body.take(inside, _singular(body, inside, items, text, family), body.first[loop])
        names.append(name)
        texts.append(text)
    if counter or not loop.lists:
        turn: Any = object()
        name = "_"
        if counter:
            free = [n for n in "tkjin" if n not in body.holder and n not in body.head.taken]
            name = body.take(turn, free[0] if free else "t", body.first[loop])
        body.final[turn] = body.ends[loop]
        body.turns[loop] = name
        if not loop.lists:
            return f"{name} in range({loop.count})"
        zipped = f"zip({', '.join(texts)})" if len(texts) > 1 else texts[0]
        listed = f"({', '.join(names)})" if len(names) > 1 else names[0]
        return f"{name}, {listed} in enumerate({zipped})"
    if len(names) == 1:
        return f"{names[0]} in {texts[0]}"
    return f"{', '.join(names)} in zip({', '.join(texts)})"


def _rows(loop: Repetition) -> list[tuple[Any, list[Any]]]:
    """The trees that calls in the body are handed and that stand in lists, with what stands there in each turn."""
    items = dict(loop.lists)
    found = []
    for statement in loop.body:
        for tree in statement.arguments if isinstance(statement, Application) else ():
            if isinstance(tree, (list, tuple, dict)) and all(leaf in items for leaf in leaves(tree)):
                turns = [{inside: every[turn] for inside, every in loop.lists} for turn in range(loop.count)]
                found.append((tree, [mapped(tree, turn.__getitem__) for turn in turns]))
    return found


def _read_rows(body: Body, loop: Repetition) -> list[tuple[Any, list[Any]]]:
    """The rows of lists that values of the body stand in: with what is read in the place of what stands there."""
    found: dict[Any, tuple[list[Any], dict[int, Any]]] = {}
    for _, tree, name in reversed(body.bundles):
        if not (isinstance(tree, (list, tuple)) and any(rows is tree for rows in rows_of(tree))):
            continue
        place = {leaf: (n, k) for n, row in enumerate(tree) for k, leaf in enumerate(leaves(row))}
        for inside, items in loop.lists:
            at = [place[item] for item in items if item in place]
            columns = {column for _, column in at}
            if len(at) == len(items) and len(columns) == 1:
                numbers = [number for number, _ in at]
                rows = [tree[number] for number in numbers]
                found.setdefault((name, *numbers), (rows, {}))[1].setdefault(columns.pop(), inside)
    made = []
    for rows, insides in found.values():
        every = [insides.get(number, object()) for number, _ in enumerate(leaves(rows[0]))]
        made.append((_filled(rows[0], every), rows))
    return made


def _sequence(body: Body, items: tuple[Any, ...]) -> str:
    """A list as it is gone through."""
    known = body.bundle(items, list)
    if known is not None:
        return known
    back = body.bundle(items[::-1], list)
    if back is not None:
        return f"reversed({back})"
    return f"[{', '.join(body.of(item) for item in items)}]"


def _singular(body: Body, inside: Any, items: tuple[Any, ...], text: str, family: bool) -> str:
    """What one of a list is called."""
    known = body.wanted(inside) if type(inside) is Var else None
    if known is not None:
        return known
    base = text.removeprefix("reversed(").rstrip(")").partition("[")[0].rpartition(".")[2]
    if family and all(type(item) is Var for item in items):
        if base.endswith("s") and len(base) > 1:
            return base[0]
        return f"{base}_p" if base.isidentifier() else "v"
    if base.startswith("parameters("):
        return "p"
    if UNNAMED.fullmatch(base):
        return "v"
    if base.isidentifier() and len(base) > 1:
        return base.removesuffix("s") if base.endswith("s") and not base.endswith("ss") else f"{base}_one"
    return snake(inside.name) if isinstance(inside, Instance) else "v"


def _plural(name: str) -> str:
    name = "v" if UNNAMED.fullmatch(name) or not name.isidentifier() else name
    return name if name.endswith("s") else f"{name}s"


def _comprehension(body: Body, loop: Repetition) -> bool:
    """The loop as one expression, where it is one."""
    if len(loop.collected) != 1 or loop.carried or loop.last:
        return False
    inside, items = loop.collected[0]
    if body.uses.get(inside) != 1:
        return False
    wanted = body.wanted(items[0]) if body.wanted(items[0]) == body.wanted(items[-1]) else None
    if wanted is not None and ANY.fullmatch(wanted):  # as one of a list without a name is called
        wanted = None
    trial = copy.copy(body)
    for field, value in vars(body).items():
        if type(value) is dict:
            setattr(trial, field, dict(value))
    trial.lines, trial.waiting, trial.bundles = [], [], list(body.bundles)
    trial.definition = copy.copy(body.definition)
    trial.definition.names = {var: n for var, n in body.definition.names.items() if var is not inside}
    trial.uses = {**body.uses}
    trial.rooms = {**body.rooms, inside: {id(loop)}}
    trial.rule = body.rule.on(trial)
    whole, keyed = _aliased(body, loop), None
    if whole is None:
        keyed = _keyed(trial, loop) if loop.keys is not None else None
        heading = _heading(trial, loop) if keyed is None else f"k in {keyed}"
        trial.body(loop.body, id(loop))
        if trial.lines or trial.waiting != [inside]:
            return False
        said = trial.text[inside]
        text = f"[{said} for {heading}]" if keyed is None else f"{{k: {said} for {heading}}}"
    else:
        text = whole
    if len(text) + 4 * body.indent > LONGEST:
        return False
    several = body.called(items) or _handed(body, items, body.ends[loop])
    if loop.keys is None and several is not None and len(items) <= MANY and items not in body.handed:
        names = [body.take(item, name, body.ends[loop]) for item, name in zip(items, several, strict=True)]
        body.line(f"{', '.join(names)} = {text}")
        return True
    holder: Any = object()
    if items in body.handed:
        body.handed[holder] = body.handed[items]
    name = body.give(holder, wanted, body.ends[loop])
    body.final[holder] = max(body.final.get(item, 0) for item in items)
    body.line(f"{name} = {text}")
    keys = loop.keys if keyed is not None or (whole is not None and _is_dict(body, loop)) else None
    for number, item in enumerate(items):
        body.text[item] = f"{name}[{number if keys is None else key_text(keys[number])}]"
    body.add_bundle(list(items) if keys is None else dict(zip(keys, items, strict=True)), name)
    return True


def _handed(body: Body, items: tuple[Any, ...], at: int) -> list[str] | None:
    """The names by which a loop around hands values on, where these are free."""
    found = [body.handed.get(item) for item in items]
    free = [one[0] for one in found if one is not None and all(body.final.get(inside, 0) <= at for inside in one[1])]
    return free if len(free) == len(items) and len(set(free)) == len(free) else None


def _is_dict(body: Body, loop: Repetition) -> bool:
    return bool(loop.lists) and body.bundle(loop.lists[0][1], dict) is not None


def _aliased(body: Body, loop: Repetition) -> str | None:
    """``alias(p)`` of a whole dict or list."""
    only = loop.body[0] if len(loop.body) == 1 else None
    if not isinstance(only, Operation) or only.eq.op is not alias or len(loop.lists) != 1:
        return None
    inside, items = loop.lists[0]
    if only.eq.inputs[0] is not inside:
        return None
    found = body.bundle(items, dict) or body.bundle(items, list)
    return None if found is None or found.endswith("]") else f"alias({found})"


def _keyed(body: Body, loop: Repetition) -> str | None:
    """The dict whose keys the loop goes through; its lists are read as ``p[k]``."""
    found = None
    for inside, items in loop.lists:
        name = body.bundle(items, dict)
        if name is None:
            return None
        known = next(tree for values, tree, own in reversed(body.bundles) if own == name and values == items)
        if tuple(known) != loop.keys:
            return None
        body.text[inside] = f"{name}[k]"
        found = name
    if found is None or "k" in body.holder or "k" in body.head.closed:
        return None
    return found
