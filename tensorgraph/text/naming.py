"""What values are called in the body of an outline's function: which names are free, and what has a name in a list.

1. Statements are numbered; of each value the last reader is found, where what a loop reads from outside is read until
   the loop ends. A name is free again where its value is read for the last time.
2. Values that stand in lists and dicts are reached through the name of these.
3. What belongs to an instance that is known here is reached through it: ``model.blocks[3].norm.gamma``.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from tensorgraph.engine.tree import field_names
from tensorgraph.graph.graph import Literal, Var
from tensorgraph.graph.rewiring import outputs
from tensorgraph.graph.statements import (
    NOTHING,
    Application,
    Assignment,
    Block,
    Definition,
    Instance,
    Operation,
    Repetition,
    Statement,
    leaves,
)
from tensorgraph.ops.index import put
from tensorgraph.text.equations import items_of
from tensorgraph.text.heads import Head, key_text, reach
from tensorgraph.text.literals import literal_text
from tensorgraph.text.names import identifier

__all__ = ["Naming", "root", "shape"]


class Naming:
    """The names of one function's values while its lines are written."""

    def __init__(self, heads: Mapping[Definition, Head], definition: Definition) -> None:
        self.heads: Mapping[Definition, Head] = heads
        self.definition = definition
        self.head = heads[definition]
        self.text: dict[Any, str] = dict(self.head.names)
        self.level: dict[Any, int] = {}  # how tightly what stands in place of a name binds
        self.bundles: list[tuple[tuple[Any, ...], Any, str]] = []  # leaves, tree, name
        self.first: dict[Statement, int] = {}  # the number of each statement
        self.final: dict[Any, int] = {}  # the statement that reads a value last
        self.making: dict[Any, int] = {}  # the statement that makes it
        self.uses: dict[Any, int] = {}
        self.rooms: dict[Any, set[int]] = {}  # the lists of statements in which a value is read
        self.end = 0
        self.ends: dict[Repetition, int] = {}
        self.holder: dict[str, Any] = {}  # whose value a name has
        self.locked: dict[str, Any] = {}  # names that a loop hands on, and for what
        # of what a loop hands on: its name, and what has it before
        self.handed: dict[Any, tuple[str, tuple[Any, ...]]] = {}
        self.used_by: dict[Any, set[str]] = {}  # the names that stand in a text that waits
        self.fixed: set[Any] = {member.value for member in definition.members}  # their names are not taken again

    # ---- what is read where

    def measure(self, consts: Mapping[Var, str]) -> None:
        """Number the statements, and find the last reader of each value."""
        number = itertools.count(1)
        made_in: dict[Any, tuple[Repetition, ...]] = {}
        reads: list[tuple[Any, int, int, tuple[Repetition, ...]]] = []

        def walk(body: list[Statement], loops: tuple[Repetition, ...], room: int) -> None:
            for statement in body:
                self.first[statement] = next(number)
                for atom in self.read_by(statement):
                    reads.append((atom, self.first[statement], room, loops))
                if isinstance(statement, Block):
                    walk(statement.body, loops, id(statement))
                elif isinstance(statement, Repetition):
                    inner = (*loops, statement)
                    made_in.update((inside, inner) for _, inside, _ in statement.carried)
                    made_in.update((inside, inner) for inside, _ in statement.lists)
                    walk(statement.body, inner, id(statement))
                    self.ends[statement] = next(number)
                    for _, _, after in statement.carried:
                        reads.append((after, self.ends[statement], id(statement), inner))
                    for inside, _ in (*statement.collected, *statement.last):
                        reads.append((inside, self.ends[statement], id(statement), inner))
                    made_in.update((out, loops) for _, out in statement.last)
                    made_in.update((out, loops) for _, items in statement.collected for out in items)
                else:
                    made_in.update((out, loops) for out in outputs(statement))
                if not isinstance(statement, Block):  # whose statements make what it gives
                    self.making.update((out, self.first[statement]) for out in outputs(statement))

        walk(self.definition.body, (), 0)
        self.end = next(number)
        if self.definition.result is not NOTHING:
            reads += [(atom, self.end, 0, ()) for atom in leaves(self.definition.result) if type(atom) is Var]
        for atom, at, room, loops in reads:
            home = made_in.get(atom, ())
            outer = next((loop for loop in loops if loop not in home), None)
            self.final[atom] = max(self.final.get(atom, 0), at if outer is None else self.ends[outer])
            self.uses[atom] = self.uses.get(atom, 0) + 1
            self.rooms.setdefault(atom, set()).add(room)
        for var, name in consts.items():
            self.text[var] = name
        self.holder.update((name, atom) for atom, name in self.text.items() if name.isidentifier())

    def read_by(self, statement: Statement) -> list[Any]:
        """What a statement reads, in the order in which its text does."""
        if isinstance(statement, Operation):
            eq = statement.eq
            if eq.op is put:  # x.at[key].set(v)
                x, v, indices = eq.inputs
                return [a for a in (x, *items_of(indices), v) if type(a) is Var]
            return list(eq.variables())
        if isinstance(statement, Application):
            found = [a for tree in statement.arguments for a in leaves(tree) if type(a) in (Var, Instance)]
            return [statement.instance, *found] if statement.instance is not None else found
        if isinstance(statement, Assignment):
            return [a for a in (statement.cell, statement.value) if type(a) is Var]
        if isinstance(statement, Repetition):
            listed = [a for _, items in statement.lists for a in items if type(a) in (Var, Instance)]
            return [*[before for before, _, _ in statement.carried if type(before) is Var], *listed]
        return []

    # ---- names

    def of(self, atom: Any) -> str:
        """How a value is written."""
        if type(atom) is Literal:
            return literal_text(atom.value)
        found = self.text.get(atom)
        if found is None:
            found = self.text[atom] = self._reached(atom)
        return found

    def _reached(self, atom: Any) -> str:
        """A cell or an instance inside of one that is known here."""
        name = atom.name if isinstance(atom, Instance) else ""
        path = atom.path if isinstance(atom, Instance) else self.definition.decls[atom].path
        near = [i for i in self.text if isinstance(i, Instance) and (not i.path or path.startswith(f"{i.path}."))]
        for instance in sorted(near, key=lambda i: -len(i.path)):
            rest = path[len(instance.path) + 1 :] if instance.path else path
            found = reach(self.heads, instance, self.text[instance], rest, name)
            if found is not None:
                return found
        raise LookupError(f"{atom!r} has no name in {self.definition.name}")

    def wanted(self, var: Var) -> str | None:
        """What the user calls a value here."""
        name = self.definition.names.get(var)
        return name if name is not None and name.strip("_") else None

    def take(self, var: Any, wanted: str, at: int) -> str:
        """A name for a value that is made by statement `at`."""
        handed = self.handed.get(var)
        if handed is not None and all(self.final.get(inside, 0) <= at for inside in handed[1]):
            self.text[var] = handed[0]  # the loop hands it on by this name
            return handed[0]
        if handed is not None:
            wanted = handed[0]  # or by one that is like it
        closed = self.head.closed
        pinned = set().union(*self.used_by.values()) if self.used_by else ()
        base = identifier(wanted)
        name, number = f"{base}_" if base in closed else base, 1
        while not self._is_free(name, var, at) or name in pinned:
            number += 1
            name = f"{base}_{number}"
        self.holder[name] = var
        self.text[var] = name
        return name

    def plain(self, var: Any, at: int) -> str:
        """The first free of v0, v1, ... for a value that nobody has a name for."""
        pinned = set().union(*self.used_by.values()) if self.used_by else ()
        every = (f"v{number}" for number in itertools.count())
        return self.take(var, next(n for n in every if self._is_free(n, var, at) and n not in pinned), at)

    def called(self, values: Any) -> list[str] | None:
        """What the user calls values, if each has a name of its own: the variable of a loop is none."""
        names = [self.wanted(var) for var in values]
        return [str(name) for name in names] if all(names) and len(set(names)) == len(names) else None

    def _is_free(self, name: str, var: Any, at: int) -> bool:
        if name in self.head.closed or self.locked.get(name, var) is not var:
            return False
        held = self.holder.get(name)
        if held is None:
            return name not in self.head.taken
        return held is var or (self.final.get(held, 0) <= at and held not in self.fixed)

    # ---- lists and dicts with a name

    def keep(self, var: Any, said: str) -> None:
        """A value is reached from the name with which a place begins: that is not free before the value is dead."""
        held = self.holder.get(root(said))
        if held is not None:
            self.final[held] = max(self.final.get(held, 0), self.final.get(var, 0))

    def add_bundle(self, tree: Any, name: str) -> None:
        values = tuple(leaves(tree))
        if len(values) > 0:
            self.bundles.append((values, tree, name))

    def place(self, tree: Any, name: str) -> None:
        """What is inside of a tree is reached from its name."""
        if isinstance(tree, dict):
            for key, item in tree.items():
                self.place(item, f"{name}[{key_text(key)}]")
        elif isinstance(tree, (list, tuple)):
            for number, item in enumerate(tree):
                self.place(item, f"{name}[{number}]")
        else:
            self.text[tree] = name
            return
        self.add_bundle(tree, name)

    def sequence(self, rows: list[Any]) -> str | None:
        """The name of a list of these trees or of a part of one, forwards or backwards."""
        for _, own, name in reversed(self.bundles):
            if not isinstance(own, (list, tuple)) or len(own) < len(rows) or is_flat(own):
                continue
            for way, text in ((rows, "{}"), (rows[::-1], "reversed({})")):
                first = tuple(leaves(way[0]))
                start = next((n for n, row in enumerate(own) if tuple(leaves(row)) == first), len(own))
                part = own[start : start + len(way)]
                if tuple(leaves(list(part))) == tuple(leaves(way)) and shape(part) == shape(way):
                    return text.format(name if len(part) == len(own) else f"{name}[{start}:{start + len(way)}]")
        return None

    def bundle(self, values: tuple[Any, ...], kind: type) -> str | None:
        """The name of a list of these values, or of a part of one."""
        if not values:
            return None
        name: str
        for known, tree, name in reversed(self.bundles):
            if isinstance(tree, (list, tuple)) and kind is list and is_flat(tree):
                if known == values:
                    return name
                if len(values) > 1 and values[0] in known:
                    start = known.index(values[0])
                    if known[start : start + len(values)] == values:
                        stop = start + len(values)
                        return f"{name}[{start}:{stop}]"
            elif isinstance(tree, dict) and kind is dict and known == values:
                return name
        return None

    def start(self, values: tuple[Any, ...]) -> tuple[int, str] | None:
        """The longest list with a name with which a list of these values begins: how long it is, and its name."""
        found = [
            (len(known), name) for known, tree, name in reversed(self.bundles)
            if isinstance(tree, (list, tuple)) and len(tree) > 1 and is_flat(tree) and known == values[: len(known)]
        ]  # fmt: skip
        return max(found, key=lambda one: one[0], default=None)

    def tree(self, tree: Any) -> str:
        """An argument or a result, nested as it is."""
        if not isinstance(tree, (dict, list, tuple)):
            return self.of(tree)
        values = tuple(leaves(tree))
        name: str
        for known, own, name in reversed(self.bundles):
            if known == values and shape(own) == shape(tree):
                return name
        if isinstance(tree, dict):
            return f"{{{', '.join(f'{key_text(key)}: {self.tree(item)}' for key, item in tree.items())}}}"
        part = self.bundle(values, list) if all(not isinstance(item, (list, tuple, dict)) for item in tree) else None
        if part is not None:
            return part
        parts = [self.tree(item) for item in tree]
        if isinstance(tree, tuple) and field_names(type(tree)) is None:
            return f"({parts[0]},)" if len(parts) == 1 else f"({', '.join(parts)})"
        return f"[{', '.join(parts)}]"


def root(said: str) -> str:
    """The name with which an expression begins: ``model`` of ``model.blocks[3]``."""
    return said.partition("[")[0].partition(".")[0]


def is_flat(tree: Any) -> bool:
    """Whether a list holds values themselves, and no other lists."""
    return not any(isinstance(item, (list, tuple, dict)) for item in tree)


def shape(tree: Any) -> Any:
    """How values nest; lists and tuples are alike."""
    if isinstance(tree, dict):
        return tuple((key, shape(item)) for key, item in tree.items())
    return tuple(map(shape, tree)) if isinstance(tree, (list, tuple)) else None
