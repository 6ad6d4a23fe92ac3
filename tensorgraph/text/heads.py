"""The heads of an outline's functions: names of arguments and members, their kinds, and the sizes that are names.

Sizes are compared over all calls of a definition. What is equal everywhere is a number; what varies has a name, and
equal rows of sizes have one. The names that the members leave open stand in brackets where an instance is declared.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from tensorgraph.engine import init
from tensorgraph.engine.aval import Aval, short_dtype
from tensorgraph.engine.tree import unflatten
from tensorgraph.graph.definitions import Description
from tensorgraph.graph.equation import CellDecl, is_number
from tensorgraph.graph.graph import Var, is_literal
from tensorgraph.graph.outline import Outline
from tensorgraph.graph.signatures import starts_anywhere
from tensorgraph.graph.statements import Assignment, Definition, Instance, Member
from tensorgraph.text.literals import aval_text, literal_text, quoted
from tensorgraph.text.names import identifier
from tensorgraph.text.structure import grouped, places, tree_text
from tensorgraph.text.types import initialisers

__all__ = ["Given", "Head", "Sizes", "initialiser_text", "kind_word"]

INITIALISER = re.compile(r"[A-Za-z]\w*\([\w=., '\"+-]*\)")
NUMBERED = re.compile(r"(?:(.*)\.)?(\d+)")
ROLES = {2: ("N", "D"), 3: ("N", "T", "D"), 4: ("N", "C", "H", "W")}  # of the axes of arguments, by their number
OPEN = ("D", "I", "O", "H", "W", "C", "K", "M", "N", "T", "L", "P", "Q", "R", "S", "U", "V", "X", "Y", "Z")


def kind_word(decl: CellDecl) -> str:
    """``Buffer``, ``Parameter``, ``Frozen``."""
    return "Buffer" if decl.kind == "buffer" else "Parameter" if decl.requires_grad else "Frozen"


def initialiser_text(decl: CellDecl) -> str:
    """``= zeros()``; nothing where a text cannot say it: a function of the user's own is no part of a text."""
    start = decl.initialiser
    known = start is not None and INITIALISER.fullmatch(start) and start.partition("(")[0] in initialisers()
    return f" = {start}" if known else ""


class Given(NamedTuple):
    """What is said of an instance of a function that is left out: its sizes, and what cells of it start from."""

    sizes: tuple[int, ...]
    starts: str


class Sizes:
    """The sizes that have names, definition by definition."""

    def __init__(self, outline: Outline, fixed: Mapping[Definition, Mapping[Instance, Given]]) -> None:
        self.outline = outline
        self.fixed = fixed  # what stands in the brackets of instances of definitions that are left out
        self.paths = {decl.path: decl.var for decl in outline.graph.cells}
        self.known: dict[Definition, dict[tuple[int, ...], str]] = {}  # rows of sizes, one a call
        self.given: dict[Instance, tuple[int, ...]] = {}  # what stands in the brackets of an instance
        self.starts: dict[Instance, str] = {}  # what stands behind them, in round ones
        self.said: dict[Definition, str] = {}  # of what reads as a function of another name, that name

    def name(
        self, definition: Definition, row: tuple[int, ...], taken: set[str], count: int, role: tuple[str, ...] = ()
    ) -> str:
        """How a size is written that has these values in the calls of a definition; by its role, if that is free."""
        if len(set(row)) == 1:
            return str(row[0])
        known = self.known.setdefault(definition, {})
        if row not in known:
            first = ("I", "O") if count == 2 else role
            wanted = itertools.chain(first, OPEN, (f"N{i}" for i in itertools.count()))
            known[row] = next(n for n in wanted if n not in taken and n not in known.values())
        return known[row]


class Head:
    """One function's head.

    Attributes
    ----------
    parameters, members : list of str
        As they are declared.
    names : dict of Var or Instance to str
        What arguments and members are called, as far as they have one name.
    places : dict of (path, class) to str
        How a member is reached from an instance: ``blocks[3]``; the class is empty for cells.
    bundles, trees : list of (tree, name)
        Lists of cells or instances among the members, containers among the arguments.
    told : mapping of str to CellDecl
        By their paths the cells of which it says what they start from; of another definition, if that is given.
    """

    def __init__(
        self, sizes: Sizes, definition: Definition, closed: set[str], told: Mapping[str, CellDecl] | None = None
    ) -> None:
        self.sizes, self.definition = sizes, definition
        self.calls: list[Description] = sizes.outline.calls.get(definition, [])
        self.closed = closed
        self.taken: set[str] = set()
        self.parameters: list[str] = []
        self.members: list[str] = []
        self.order: list[Member] = []  # the members as they are declared: those of a list stand together
        self.names: dict[Any, str] = {}
        self.places: dict[tuple[str, str], str] = {}
        self.bundles: list[tuple[Any, str]] = []
        self.trees: list[tuple[Any, str]] = []
        own = [member for member in definition.members if type(member.value) is Var]
        cells = {member.path: definition.decls[member.value] for member in own}
        self.told = cells if told is None else told
        self.written = {one.cell for one in definition.statements() if isinstance(one, Assignment)}
        self.given_names = self._name_parameters()
        self._declare_members()
        self._declare_parameters()

    def fresh(self, wanted: str) -> str:
        """A name that nothing else in the function has."""
        base = identifier(wanted)
        name, number = base, 1
        if base in self.closed:
            name = f"{base}_"
        while name in self.taken or name in self.closed:
            number += 1
            name = f"{base}_{number}"
        self.taken.add(name)
        return name

    # ---- arguments

    def _name_parameters(self) -> list[str]:
        if self.definition.kind == "graph":
            return self._name_arguments()
        found = []
        for parameter in self.definition.parameters:
            tree = parameter.tree
            wanted = parameter.name
            if wanted is None:
                wanted = self._called(tree)
            name = self.fresh(wanted)
            found.append(name)
            self._reach(tree, name)
        return found

    def _name_arguments(self) -> list[str]:
        """Those of the graph itself: each of a tensor has its name, what is inside of others is reached from there."""
        graph, found = self.sizes.outline.graph, []
        for position, (tree, group) in enumerate(zip(graph.in_tree.children, grouped(graph), strict=True)):
            wanted = graph.arguments[position] if position < len(graph.arguments) else f"x{position}"
            if tree.kind is None and group[0] is not None:
                wanted = group[0].name or wanted
            name = self.fresh(wanted)
            found.append(name)
            for var, place in zip(group, places(tree, name), strict=True):
                if var is not None:
                    self.names[var] = place
            if tree.kind is not None and all(var is not None for var in group):
                self.trees.append((unflatten(tree, group), name))
        return found

    def _declare_arguments(self) -> None:
        graph = self.sizes.outline.graph
        inputs, statics = iter([aval_text(v.aval) for v in graph.inputs]), dict(graph.statics)
        said = iter(
            next(inputs) if i not in statics
            else f"Literal[{literal_text(statics[i])}]" if is_literal(statics[i]) else "object"
            for i in range(graph.in_tree.size)
        )  # fmt: skip
        for name, tree in zip(self.given_names, graph.in_tree.children, strict=True):
            self.parameters.append(f"{name}: {tree_text(tree, said, 'Literal[{}]'.format)}")

    def _called(self, tree: Any) -> str:
        if isinstance(tree, Instance):
            last = tree.path.rpartition(".")[2]
            return last if last and not last.isdigit() else snake(tree.name)
        name = self.definition.names.get(tree)
        if name is None and tree in self.definition.decls:
            name = self.definition.decls[tree].path.rpartition(".")[2]
        return name if name and not name.isdigit() else "v"

    def _reach(self, tree: Any, place: str) -> None:
        """How what is inside an argument is written."""
        if isinstance(tree, (dict, list, tuple)):
            self.trees.append((tree, place))
        if isinstance(tree, dict):
            for key, item in tree.items():
                self._reach(item, f"{place}[{key_text(key)}]")
        elif isinstance(tree, (list, tuple)):
            for number, item in enumerate(tree):
                self._reach(item, f"{place}[{number}]")
        else:
            self.names[tree] = place

    def _declare_parameters(self) -> None:
        if self.definition.kind == "graph":
            self._declare_arguments()
            return
        for place, (name, parameter) in enumerate(zip(self.given_names, self.definition.parameters, strict=True)):
            said = self._type_of(place, parameter.tree)
            self.parameters.append(f"{name}: {said}" if said else name)

    def _type_of(self, place: int, tree: Any) -> str:
        """The type of an argument, where all calls agree on one."""
        if type(tree) is not Var or tree in self.written:
            return ""
        if is_number(tree):
            return str(tree.aval)
        values = [about.parameters[place].tree for about in self.calls]
        if any(type(v) is not Var or type(v.aval) is not Aval for v in values):
            return ""
        avals = [v.aval for v in values]
        if len({(aval.dtype, aval.ndim) for aval in avals}) != 1:
            return ""
        return self._aval(avals, 0, ROLES.get(avals[0].ndim, ()))

    def _aval(self, avals: list[Aval], count: int, roles: tuple[str, ...] = ()) -> str:
        name = short_dtype(avals[0].dtype)
        name = "bool_" if name == "bool" else name
        sizes = [
            self.size(tuple(aval.shape[axis] for aval in avals), count, roles[axis : axis + 1])
            for axis in range(avals[0].ndim)
        ]
        return f"{name}[{', '.join(sizes)}]" if sizes else name

    def size(self, row: tuple[int, ...], count: int, role: tuple[str, ...] = ()) -> str:
        return self.sizes.name(self.definition, row, {*self.taken, *self.closed}, count, role)

    # ---- members

    def _declare_members(self) -> None:
        rows = self._rows()
        count = len({row for row in rows if len(set(row)) > 1})
        lists = self._lists()
        done: set[int] = set()
        for number, member in enumerate(self.definition.members):
            if number in done:
                continue
            group = lists.get(number)
            self.order += [self.definition.members[n] for n in group or (number,)]
            if group is not None:
                done.update(group)
                self._declare_list([self.definition.members[n] for n in group], count)
            elif member.of is not None:
                self._declare_family(member)
            else:
                self._declare_one(member, count)
        known = self.sizes.known.get(self.definition, {})
        fixed = self.sizes.fixed.get(self.definition, {})
        for position, about in enumerate(self.calls):
            if about.instance is not None:
                own = fixed.get(about.instance)
                self.sizes.given[about.instance] = tuple(row[position] for row in known) if own is None else own.sizes
                self.sizes.starts[about.instance] = self._starts(about.node.path) if own is None else own.starts

    def _starts(self, path: str) -> str:
        """The numbers that cells of an instance start from, and those of the first instance do not: ``lr=0.01``."""
        found = []
        told = self.told if self.definition.kind == "optimizer" else {}
        for name, known in told.items():
            decl = self.definition.decls[self.sizes.paths[f"{path}.{name}" if path else name]]
            if starts_anywhere(decl) and decl.initialiser != known.initialiser:
                found.append(f"{name}={init.number_of(decl.initialiser or '')!r}")
        return ", ".join(found)

    def _rows(self) -> list[tuple[int, ...]]:
        found: list[tuple[int, ...]] = []
        for member in self.definition.members:
            if isinstance(member.value, Instance):
                found += self._brackets(member)
            elif member.of is None:
                found += [tuple(row) for row in zip(*[aval.shape for aval in self._avals(member)], strict=False)]
        return found

    def _avals(self, member: Member) -> list[Aval]:
        """The types of a cell in each call."""
        if len(self.calls) <= 1:
            return [self.definition.decls[member.value].aval]
        cells = self.sizes.paths
        return [cells[f"{about.node.path}.{member.path}" if about.node.path else member.path].aval
                for about in self.calls]  # fmt: skip

    def _brackets(self, member: Member) -> list[tuple[int, ...]]:
        """What stands in the brackets of a member's kind, a row of the values in each call."""
        found = [() if one is None else self.sizes.given.get(one, ()) for one in self._instances(member)]
        return [tuple(row) for row in zip(*found, strict=False)]

    def _instances(self, member: Member) -> list[Instance | None]:
        """What a member is in each call."""
        instances = self.sizes.outline.instances
        found = []
        abouts: list[Description | None] = [*self.calls] or [None]
        for about in abouts:
            path = member.path
            if about is not None and about.node.path and self.definition.kind != "graph":
                path = f"{about.node.path}.{path}" if path else about.node.path
            found.append(instances.get((path, member.value.name)))
        return found

    def _lists(self) -> dict[int, list[int]]:
        """Members that are the items of one list, by the first of them."""
        groups: dict[tuple[str, bool], dict[int, int]] = {}
        for number, member in enumerate(self.definition.members):
            match = NUMBERED.fullmatch(member.path)
            if match and member.of is None:
                groups.setdefault((match[1] or "", isinstance(member.value, Instance)), {})[int(match[2])] = number
        return {
            min(places.values()): [places[i] for i in range(len(places))]
            for places in groups.values()
            if sorted(places) == list(range(len(places)))
        }

    def _declare_list(self, members: list[Member], count: int) -> None:
        base = members[0].path.rpartition(".")[0]
        name = self.fresh(base or ("layers" if isinstance(members[0].value, Instance) else "cells"))
        kinds: list[tuple[str, int]] = []
        for number, member in enumerate(members):
            said = self._kind(member, count)
            if kinds and kinds[-1][0] == said:
                kinds[-1] = (said, kinds[-1][1] + 1)
            else:
                kinds.append((said, 1))
            self._place(member, f"{name}[{number}]")
        if len(kinds) == 1 and kinds[0][1] > 1:
            said = f"[{kinds[0][0]}] * {kinds[0][1]}"
        else:
            said = f"[{', '.join(kind if n == 1 else f'*[{kind}] * {n}' for kind, n in kinds)}]"
        self.bundles.append((tuple(member.value for member in members), name))
        cells = [self.definition.decls[m.value] for m in members if type(m.value) is Var]
        starts = [initialiser_text(decl).removeprefix(" = ") or "None" for decl in cells]
        start = f" = [{', '.join(starts)}]" if len(set(starts)) > 1 else f" = {starts[0]}" if starts else ""
        start = start.removesuffix(" = None")
        self.members.append(f"{name}: {said if name == base else f'At[{quoted(base)}, {said}]'}{start}")

    def _declare_family(self, member: Member) -> None:
        """``m: [Buffer[like(p)] for p in params] = zeros()``."""
        assert member.of is not None
        decls = self.definition.decls
        of = list(self.definition.parameters[member.of].tree)
        decl = decls[member.value[0]]
        name = self.fresh(member.path)
        like = all(value.aval == cell.aval for value, cell in zip(member.value, of, strict=True))
        inside = "like(p)" if like else aval_text(decl.aval)
        said = f"[{kind_word(decl)}[{inside}] for p in {self.given_names[member.of]}]"
        self.members.append(
            f"{name}: {said if name == member.path else f'At[{quoted(member.path)}, {said}]'}{initialiser_text(decl)}"
        )
        self.bundles.append((tuple(member.value), name))
        for number, value in enumerate(member.value):
            self.names[value] = f"{name}[{number}]"
            self.places[f"{member.path}.{decls[of[number]].path}", ""] = f"{name}[{number}]"

    def _declare_one(self, member: Member, count: int) -> None:
        wanted = member.path or snake(member.value.name)
        name = self.fresh(wanted)
        said = self._kind(member, count)
        start = initialiser_text(self.told[member.path]) if type(member.value) is Var else ""
        self.members.append(f"{name}: {said if name == member.path else f'At[{quoted(member.path)}, {said}]'}{start}")
        self._place(member, name)

    def _place(self, member: Member, place: str) -> None:
        self.names[member.value] = place
        self.places[member.path, member.value.name if isinstance(member.value, Instance) else ""] = place

    def _kind(self, member: Member, count: int) -> str:
        """``Linear[I, O]``, ``Parameter[f32[I, O]]``."""
        if isinstance(member.value, Instance):
            definition = member.value.definition
            assert definition is not None
            rows = [self.size(row, count) for row in self._brackets(member)]
            name = self.sizes.said.get(definition, definition.name)
            starts = {"" if one is None else self.sizes.starts.get(one, "") for one in self._instances(member)}
            behind = f"({starts.pop()})" if len(starts) == 1 and starts != {""} else ""
            return f"{name}[{', '.join(rows)}]{behind}" if rows else f"{name}{behind}"
        decl = self.definition.decls[member.value]
        return f"{kind_word(decl)}[{self._aval(self._avals(member), count)}]"


def reach(heads: Mapping[Definition, Head], instance: Instance, place: str, path: str, name: str) -> str | None:
    """How a cell or an instance inside of an instance is written, by its path as seen from there."""
    definition = instance.definition
    while definition is not None:
        head = heads[definition]
        found = head.places.get((path, name))
        if found is not None:
            return f"{place}.{found}"
        for (inner, kind), text in head.places.items():
            if kind and (not inner or path.startswith(f"{inner}.")):
                member = next(m for m in definition.members if isinstance(m.value, Instance) and m.path == inner)
                rest = path[len(inner) + 1 :] if inner else path
                place = f"{place}.{text}"
                path, definition = rest, member.value.definition
                break
        else:
            return None
    return None


def snake(name: str) -> str:
    """``batch_norm`` of ``BatchNorm``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def key_text(key: Any) -> str:
    return quoted(key) if isinstance(key, str) else repr(key)
