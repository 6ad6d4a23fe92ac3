"""`Outline`: a graph as functions that call each other, with members and loops: what its text and its pictures show.

1. Calls that do the same are one definition (`definitions.py`); its values are those of the first of them.
2. A body is made of statements (`statements.py`): operations, calls and writes.
3. The guard: all calls put in place again, all loops unrolled, it must be the graph, equation by equation
   (`inlining.py`). Otherwise the outline is flat: one function of operations, and `reason` says why.

What reads an outline walks `definitions`, of which each calls those before it and the last is the graph itself. A
definition has `parameters`, trees of variables as they were handed over; `members`, the cells and the instances below
its path; a `body` of statements and a `result`. Its variables are those of the first call that it stands for, so its
equations are equations of the graph. The derivative of a module is a function that is handed the module. `counts` says
how many calls each definition stands for. Passes need know nothing of it: they keep each equation's call.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from typing import Any

from tensorgraph.graph.call_tree import Node, Scoped
from tensorgraph.graph.definitions import Calls, Description
from tensorgraph.graph.graph import Graph, Var, by_path
from tensorgraph.graph.inlining import Unlike, verify
from tensorgraph.graph.occurrences import Occurrence
from tensorgraph.graph.repeats import Folding
from tensorgraph.graph.rereads import Rereads
from tensorgraph.graph.rewiring import operands_of, outputs
from tensorgraph.graph.rows import Lists, columns, is_part, lists_of
from tensorgraph.graph.signatures import below, relative
from tensorgraph.graph.statements import (
    NOTHING,
    Application,
    Assignment,
    Block,
    Definition,
    Instance,
    Member,
    Operation,
    Parameter,
    Statement,
    leaves,
)
from tensorgraph.graph.totals import BEGIN, TOTAL, Collapsed, Sums, collapsed, is_loose, sums_in

__all__ = ["NUMBERED", "Outline", "flat", "numbered", "outline"]

NEVER = 10**9
# whether what is kept for a derivative comes as one tuple, whether loops are found, whether cells are read again
WAYS = ((True, True, True), (False, True, True), (True, True, False), (False, True, False), (False, False, False))
NUMBERED = re.compile(r"_\d+$")


class Outline:
    """A graph as functions: `Graph.outline`.

    Attributes
    ----------
    graph : Graph
    definitions : tuple of Definition
        In an order in which each calls those before it; the last one is the graph itself.
    instances : dict of (path, class) to Instance
    calls : dict of Definition to list of Description
        The calls that each stands for.
    reason : str or None
        Why nothing was folded, where that is so.
    top : Occurrence
        Where its calls and its loops stand in the graph.
    late : mapping of statement or Definition to set of Var
        Who reads cells after an earlier call has written them, in its call or its result: which.
    """

    def __init__(
        self, graph: Graph, definitions: tuple[Definition, ...], instances: dict[tuple[str, str], Instance],
        calls: dict[Definition, list[Description]], reason: str | None = None,
    ) -> None:  # fmt: skip
        self.graph = graph
        self.definitions = definitions
        self.instances = instances
        self.calls = calls
        self.reason = reason
        self.late: dict[Statement | Definition, set[Any]] = {}
        self.top = Occurrence(definitions[-1], stop=len(graph.equations))

    @property
    def counts(self) -> dict[Definition, int]:
        """How many calls each definition stands for."""
        return {definition: len(self.calls.get(definition, ())) or 1 for definition in self.definitions}

    @property
    def length(self) -> int:
        """How many statements and functions there are: about as many lines."""
        return sum(3 + sum(1 for _ in definition.statements()) for definition in self.definitions)

    @property
    def main(self) -> Definition:
        """The graph itself."""
        return self.definitions[-1]

    def __repr__(self) -> str:
        return f"<Outline of {self.graph.name}: {', '.join(d.name for d in self.definitions)}>"


def outline(graph: Graph, *, growing: bool = False) -> Outline:
    """The outline of a graph; with `growing` sums are values also where that takes more lines.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> from tensorgraph import nn
    >>> model = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 2))
    >>> tg.trace(model, tg.f32[8, 4]).outline
    <Outline of Sequential: Linear, Tanh, Sequential>
    """
    made = _with_sums(graph) if growing else None
    if made is not None:
        return made
    plain = _made(graph, None)
    if not isinstance(plain, Outline):
        plain = flat(graph, plain)
        verify(plain)
        return plain
    made = None if growing else _with_sums(graph)
    return plain if made is None or made.length >= plain.length else made


def _with_sums(graph: Graph) -> Outline | None:
    """The outline in which sums are values; None where none of them is better so, or there is no outline."""
    sums = sums_in(graph)
    while sums:
        seen = collapsed(graph, sums)
        made = _made(graph, seen)
        if not isinstance(made, Outline):
            break
        grow = _growing(made, sums, seen)  # in loops and in calls: others are written as expressions
        if len(grow) == len(sums):
            return made
        sums = grow
    return None


def _made(graph: Graph, seen: Collapsed | None) -> Outline | str:
    """The outline of a graph's calls, with sums as values if they are `seen` so; why there is none, otherwise."""
    reason = ""
    plain = False  # nothing is read again
    for grouped, loops, again in WAYS:
        if plain and loops and not again:
            continue  # as before
        assembly = _Assembly(graph, grouped, loops, again, seen)
        plain = plain or (again and not assembly.calls.again.any)
        made = assembly.outline()
        try:
            verify(made)
        except Unlike as unlike:
            reason = reason or str(unlike)
        else:
            return made
    return reason


def _growing(made: Outline, sums: list[Sums], seen: Collapsed) -> list[Sums]:
    """Those sums to which a loop or a call adds."""
    plain: set[Any] = set()  # the beginnings of those that are added up where they begin, statement by statement
    for definition in made.definitions:
        began: dict[Any, Any] = {}
        for statement in definition.statements():
            if not isinstance(statement, Operation):
                continue
            eq = statement.eq
            if eq.op is BEGIN:
                began[eq.outputs[0]] = eq.outputs[0]
            elif eq.inputs and eq.inputs[0] in began:
                began[eq.outputs[0]] = began[eq.inputs[0]]
                if eq.op is TOTAL:
                    plain.add(began[eq.outputs[0]])
    return [one for one in sums if seen.grown[one.contributions, 0] not in plain]


def calls_of(graph: Graph, grouped: bool, again: bool, seen: Collapsed | None = None) -> Calls:
    """The calls of a graph; with `again` those that read what was written before read it as the cell."""
    without: set[Var] | None = set() if again else None
    grown = None if seen is None else seen.grown
    while True:
        calls = Calls(graph, Rereads(graph, without), grouped, grown)
        unsaid = calls.unsaid() if without is not None else None
        if not unsaid or without is None or unsaid <= without:
            return calls
        without |= unsaid


def flat(graph: Graph, reason: str | None = None) -> Outline:
    """The outline of one function that calls no other."""
    body: list[Statement] = []
    numbered_equations = enumerate(graph.equations)
    for scope, run in itertools.groupby(numbered_equations, key=lambda pair: pair[1].scope):
        operations: list[Statement] = [Operation(eq, number) for number, eq in run]
        body += [Block(scope, graph.modules.get(scope, ""), operations)] if scope else operations
    body += [Assignment(write.cell, write.value) for write in graph.writes]
    main = Definition(graph.name, "graph", None, body=body)
    main.names = {var: var.name for var in graph.variables() if var.name}
    main.parameters = [Parameter(None, var) for var in graph.inputs]
    main.members = [Member(decl.path, decl.var) for decl in by_path(graph)]
    main.result = tuple(graph.outputs)
    main.decls = {decl.var: decl for decl in graph.cells}
    return Outline(graph, (main,), {}, {}, reason)


class _Assembly:
    """The definitions of a graph from its calls."""

    def __init__(self, graph: Graph, grouped: bool, loops: bool, again: bool, seen: Collapsed | None = None) -> None:
        self.graph, self.loops = graph if seen is None else seen.graph, loops
        self.whole, self.seen = graph, seen
        self.calls = calls_of(self.graph, grouped, again, seen)
        self.spans: dict[Statement, tuple[int, int]] = {}  # the equations of each
        self.made: dict[int, Definition] = {}
        self.ranks: dict[str, int] = {}  # of the paths of cells
        decls = self.calls.decls
        lists: list[Any] = [eq.group(1) for eq in self.calls.equations if eq.is_gradient]
        known = [node.call for node in self.calls.top.nodes() if node.call]
        self.named: set[Any] = {var for call in known for var in call.names}  # by the user
        lists += [tree for call in known for tree in call.arguments.values()]
        for xs in lists:
            for x in xs if isinstance(xs, (list, tuple)) else ():
                if type(x) is Var and x in decls:
                    self.ranks.setdefault(decls[x].path, len(self.ranks))

    def outline(self) -> Outline:
        calls = self.calls
        counts = [0] * len(calls.first)
        for about in calls.of.values():
            counts[about.definition] += 1
        names = self._names(counts)
        for number, node in enumerate(calls.first):
            self.made[number] = self._definition(calls.of[node], names[number])
        for instance in calls.instances.values():
            instance.definition = self.made.get(calls.defined.get(instance, -1))
        found = tuple(self.made.values())
        by: dict[Definition, list[Description]] = {definition: [] for definition in found}
        for about in calls.of.values():
            by[self.made[about.definition]].append(about)
        if self.seen is not None:
            for definition in found:
                for statement in definition.statements():
                    if isinstance(statement, Operation):
                        statement.number = self.seen.numbers[statement.number]
        return Outline(self.whole, found, calls.instances, by)

    def _names(self, counts: list[int]) -> list[str]:
        """Unique names; of several definitions that are called alike the most used has no number."""
        bases = []
        for node in self.calls.first:
            name = self.graph.name if node is self.calls.top else node.name
            base = name if node is self.calls.top else NUMBERED.sub("", name) or name
            bases.append(f"{base}_backward" if node.backward else base)
        top = sum(counts) + 1  # the graph has its name, whoever else is called so
        return numbered(bases, [*counts[:-1], top])

    def _definition(self, about: Description, name: str) -> Definition:
        calls, node = self.calls, about.node
        kind = "graph" if node is calls.top else node.kind if calls.is_instance(node) else "function"
        made = Definition(name, kind, node.call, about.parameters)
        made.decls = calls.decls
        made.names = self._local_names(about)
        if node is calls.top:
            made.parameters = [Parameter(None, var) for var in self.graph.inputs]
            made.result = tuple(calls.again.outputs)
        else:
            made.result = about.result
        made.members = self._members(about)
        made.body = self._written(self._body(about.content, node.path, about), about)
        lists = self._lists(made)
        rows = set(columns(made.result))
        folding = Folding(calls.attributes, self._keys, lambda items: is_part(items, lists), rows.__contains__)
        if self.loops:
            loose: list[Operation] = []
            made.body = _tight(made.body, loose)
            folding.fold(made, [var for one in loose for var in one.eq.variables()])
            made.body = _with(made.body, loose)
        return made

    def _written(self, body: list[Statement], about: Description) -> list[Statement]:
        """The body with its writes: where the value is made, unless the old one is read later."""
        last: dict[Any, int] = {}
        made: dict[Any, int] = {}
        for number, statement in enumerate(body):
            last.update(dict.fromkeys(operands_of(statement), number))
            made.update(dict.fromkeys(outputs(statement), number))
        values = {write.value for write in about.writes}
        behind: dict[int, list[Statement]] = {}
        end = []
        for write in about.writes:
            place = made.get(write.value, -1)
            if write.after:  # in later calls: before these
                place = max([place, *[number for number, one in enumerate(body) if self._has(one, write.before)]])
            elif place < last.get(write.cell, -1) or write.cell in values or about.node is self.calls.top:
                end.append(Assignment(write.cell, write.value))
                continue
            behind.setdefault(place, []).append(Assignment(write.cell, write.value))
        return [*behind.get(-1, ()), *[s for n, one in enumerate(body) for s in (one, *behind.get(n, ()))], *end]

    def _has(self, statement: Statement, numbers: tuple[int, ...]) -> bool:
        """Whether one of these equations stands in a statement."""
        if isinstance(statement, Block):
            return any(self._has(inner, numbers) for inner in statement.body)
        start, stop = self.spans[statement]
        return any(start <= number < stop for number in numbers)

    def _keys(self, values: tuple[Any, ...]) -> tuple[Any, ...] | None:
        """The keys of the dict of these values that calls were handed, where there is one."""
        tree = self.calls.trees.get(frozenset(values))
        return tuple(tree) if isinstance(tree, dict) and tuple(leaves(tree)) == values else None

    def _lists(self, definition: Definition) -> Lists:
        """The values and instances that stand in lists with a name."""
        lists: list[tuple[Any, ...]] = [m.value for m in definition.members if m.of is not None]
        numbered: dict[tuple[str, type], list[tuple[int, Any]]] = {}
        for member in definition.members:
            base, _, last = member.path.rpartition(".")
            if last.isdigit():
                numbered.setdefault((base, type(member.value)), []).append((int(last), member.value))
        lists += [tuple(value for _, value in sorted(items, key=lambda item: item[0])) for items in numbered.values()]
        return lists_of(definition.parameters, definition.statements(), lists)

    def _local_names(self, about: Description) -> dict[Var, str]:
        """What values are called in it, in calls that were taken apart too."""
        found: dict[Var, str] = {}

        def take(node: Node) -> None:
            if node.call is not None:
                for var, name in node.call.names.items():
                    found.setdefault(self.calls.said(var), name)
            for item in node.items:
                if isinstance(item, Node) and self.calls.is_open(item):
                    take(item)

        take(about.node)
        for item in about.flat():  # what a pass made has a name, and no call knows of it
            for var in self.graph.equations[item].outputs if isinstance(item, int) else ():
                if var.name and var not in self.named:
                    found[var] = var.name
        return found

    def _members(self, about: Description) -> list[Member]:
        """The cells and instances that it holds itself, in order of first use; lists of one a value come as one."""
        calls = self.calls
        inner = {
            path for atom in about.own if isinstance(atom, Instance) for path in calls.declared.get(atom, ())
        }  # fmt: skip
        found: dict[Any, str] = {}
        for atom, path in about.own.items():
            whole = atom.path if isinstance(atom, Instance) else calls.decls[atom].path
            if whole not in inner or (isinstance(atom, Instance) and not whole):
                found[atom] = path
        if about.node is calls.top:
            known = inner | set(found.values())
            found.update((decl.var, decl.path) for decl in by_path(self.graph) if decl.path not in known)
        members = []
        taken: set[Any] = set()
        cells = {path: atom for atom, path in found.items() if type(atom) is Var}
        lists = [
            (place, list(leaves(parameter.tree))) for place, parameter in enumerate(about.parameters)
            if isinstance(parameter.tree, list)
        ]  # fmt: skip
        for atom, path in sorted(found.items(), key=lambda pair: self.rank(pair[0])):
            if atom in taken:
                continue
            member = Member(path, atom)
            for place, of in lists if type(atom) is Var else ():
                family = self._family(path, of, cells)
                if family is not None:
                    member = Member(*family, place)
                    taken.update(member.value)
                    break
            members.append(member)
        return members

    def rank(self, atom: Any) -> int:
        """Where the first of its cells stands in lists of cells of which gradients are taken: so members are listed."""
        if isinstance(atom, Instance):
            return min((self.ranks.get(path, NEVER) for path in self.calls.declared.get(atom, ())), default=NEVER)
        return self.ranks.get(self.calls.decls[atom].path, NEVER)

    def _family(self, path: str, of: list[Any], cells: dict[str, Var]) -> tuple[str, tuple[Var, ...]] | None:
        """Of ``m.head.weight`` the name ``m``, where each of the cells `of` has one, of its type or all of one."""
        decls = self.calls.decls
        if not all(type(cell) is Var and cell in decls for cell in of):
            return None
        for cell in of:
            name = path.removesuffix(f".{decls[cell].path}")
            if name == path or not name.isidentifier():
                continue
            paths = [f"{name}.{decls[each].path}" for each in of]
            if not all(each in cells for each in paths):
                return None
            values = tuple(cells[each] for each in paths)
            kinds = {(decls[v].kind, decls[v].requires_grad, decls[v].initialiser) for v in values}
            like = all(value.aval == each.aval for value, each in zip(values, of, strict=True))
            same = all(value.aval == values[0].aval for value in values)
            return (name, values) if len(kinds) == 1 and (like or same) else None
        return None

    def _body(self, content: list[int | Node | Scoped], base: str, within: Description) -> list[Statement]:
        found: list[Statement] = []
        for item in content:
            if isinstance(item, Scoped):
                path = item.node.path
                inner = self._body(item.content, path if below(path, base) else base, within)
                if below(path, base):
                    name = item.node.name if item.node.kind == "module" else ""
                    found.append(Block(relative(path, base), name, inner))
                else:
                    found += inner
            elif isinstance(item, Node):
                about = self.calls.of[item]
                arguments = self.calls.handed_to(within.node, item)
                values = [] if about.result is NOTHING else self.calls.values(about.result)
                found.append(Application(self.made[about.definition], about.instance, arguments, values))
                self.spans[found[-1]] = item.start, item.stop
            else:
                found.append(Operation(self.calls.seen(within.node, item), item))
                self.spans[found[-1]] = item, item + 1
        return found


def _tight(body: list[Statement], loose: list[Operation]) -> list[Statement]:
    """Statements without those that may stand anywhere, which go into a list."""
    if not any(isinstance(one, Block) or (isinstance(one, Operation) and is_loose(one.eq)) for one in body):
        return body
    found: list[Statement] = []
    for one in body:
        if isinstance(one, Block):
            one.body = _tight(one.body, loose)
        if isinstance(one, Operation) and is_loose(one.eq):
            loose.append(one)
        else:
            found.append(one)
    return found


def _with(body: list[Statement], loose: list[Operation]) -> list[Statement]:
    """Statements with these, each before what reads it, or at the end."""
    for one in loose:
        made = one.eq.outputs[0]
        place = next((n for n, other in enumerate(body) if made in operands_of(other)), len(body))
        body = [*body[:place], one, *body[place:]]
    return body


def numbered(bases: Sequence[str], counts: Sequence[int]) -> list[str]:
    """Unique names; of several that are called alike the one that is used most has no number.

    Examples
    --------
    >>> numbered(["Linear", "Block", "Linear"], [1, 2, 3])
    ['Linear_2', 'Block', 'Linear']
    """
    wanted: dict[str, list[int]] = {}
    for number, base in enumerate(bases):
        wanted.setdefault(base, []).append(number)
    result = list(bases)
    taken = set(wanted)
    for base, numbers in wanted.items():
        count = 1
        for number in sorted(numbers, key=lambda n: (-counts[n], n))[1:]:
            while result[number] in taken:
                count += 1
                result[number] = f"{base}_{count}"
            taken.add(result[number])
    return result
