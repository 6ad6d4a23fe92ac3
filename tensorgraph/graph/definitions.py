"""Which calls of a graph are one function: the first half of making an `Outline`.

1. The calls are a tree (`call_tree.py`). From the inside out each gets what it reads from outside: cells and modules
   below its own path are its members, all else is an argument.
2. What it makes and others read is its result; a write stands in the innermost call that makes the value and knows
   the cell, if nobody reads the cell's old value later. Later calls read what was written as the cell (`rereads.py`).
3. Two calls have one definition if they do the same under numbers in place of names, and their members agree. Types
   are not compared: sizes may differ.
4. What is done about a module whose calls differ is in `conflicts.py`. A call that was torn apart is taken apart in the
   function around it.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tensorgraph.engine.tree import field_names
from tensorgraph.graph.call_tree import Node, Scoped, call_tree
from tensorgraph.graph.calls import Grown, Place
from tensorgraph.graph.conflicts import settle
from tensorgraph.graph.equality import constants
from tensorgraph.graph.equation import Equation
from tensorgraph.graph.extents import Sizes, measured
from tensorgraph.graph.given_numbers import GivenNumbers
from tensorgraph.graph.graph import Graph, Var, typed_key
from tensorgraph.graph.joining import matched
from tensorgraph.graph.rereads import Rereads, Step
from tensorgraph.graph.results import is_read, result_of, values_of
from tensorgraph.graph.rows import columns
from tensorgraph.graph.signatures import below, relative, signature
from tensorgraph.graph.statements import NOTHING, Definition, Instance, Parameter, leaves, mapped

__all__ = ["Calls", "Description", "attributes"]

MOST_ROUNDS = 16


@dataclass(eq=False, slots=True)
class Description:
    """What is known of one call.

    `own` has the cells and instances below its path, with their path as seen from there; `given` are instances that
    it is handed: that whose derivative it is, say.
    """

    node: Node
    content: list[int | Node | Scoped]
    instance: Instance | None = None
    given: list[Instance] = field(default_factory=list)
    parameters: list[Parameter] = field(default_factory=list)
    own: dict[Any, str] = field(default_factory=dict)
    foreign: list[Any] = field(default_factory=list)  # the atoms of the parameters
    result: Any = NOTHING
    saved: Any = None  # the part of the result that is kept for its derivative, or gradients that are done
    writes: list[Step] = field(default_factory=list)
    declared: set[str] = field(default_factory=set)  # the paths of the cells and instances of its instance
    definition: int = -1

    def flat(self) -> Iterator[int | Node]:
        """What stands in the call, whatever the scope."""
        return flat(self.content)


def attributes(graph: Graph, number: int, known: dict[int, Any]) -> Any:
    """The attributes of an equation, as they are compared."""
    found = known.get(number)
    if found is None:
        attrs = graph.equations[number].attrs
        found = known[number] = tuple((key, typed_key(attrs[key])) for key in sorted(attrs))
    return found


class Calls:
    """The calls of a graph, and which of them are one definition.

    Attributes
    ----------
    of : dict of Node to Description
    first : list of Node
        The first call of each definition, in the order in which they are complete.
    opened : set of Node
        Calls that are taken apart.
    """

    def __init__(
        self, graph: Graph, again: Rereads, grouped: bool = True, grown: Mapping[Any, Var] | None = None
    ) -> None:
        self.grown = grown or {}  # sums at every stage
        self.graph, self.again, self.equations = graph, again, again.equations
        self.grouped = grouped  # whether what is kept for a derivative comes as one tuple
        self.top = call_tree(graph, again.hidden)
        self.position = graph.index.position
        self.users = again.users
        self.outputs = {atom for atom in again.outputs if type(atom) is Var}
        self.decls = {decl.var: decl for decl in graph.cells}
        codes = constants(graph)
        self.consts: Mapping[Var, Any] = {var: code for var, code in codes.items() if len(code) == 2}
        self.attrs: dict[int, Any] = {}
        self.trees = self._trees()
        self.asked = self._asked()
        self.derivatives: dict[Any, list[Node]] = {}  # of each call
        for node in self.top.nodes():
            if node.backward:
                self.derivatives.setdefault(node.call, []).append(node)
        self.siblings: dict[tuple[str, str], int] = {}  # modules of a list by its place and their class
        for path, name in {(node.path, node.name) for node in self.top.nodes() if node.kind == "module"}:
            base, _, last = path.rpartition(".")
            if last.isdigit():
                self.siblings[base, name] = self.siblings.get((base, name), 0) + 1
        self.opened: set[Node] = set()
        self.sized: dict[Node, Sizes] = {}  # calls in which numbers are sizes of what they are handed: which
        self.numbers = GivenNumbers()
        self.plain: set[Node] = set()  # modules that print as functions
        self.handed: dict[Node, Node] = {}  # of those that are handed their module: a call of it
        self.joined: dict[Node, Node] = {}  # calls that do what another one does, as `joining.py` says
        self.tried: set[tuple[Node, Node]] = set()  # calls that were
        self.told: dict[Node, set[Var]] = {}  # what a call gives, as others give it, though nobody reads it
        only = self.top.items[0] if len(self.top.items) == 1 else None
        if isinstance(only, Node) and only.kind == "module" and not only.path:
            self.opened.add(only)  # a model that was traced itself is the graph
        for _ in range(MOST_ROUNDS):
            self._describe_all()
            if not settle(self):
                break
        else:
            self.opened.update(node for node in self.top.nodes() if node is not self.top)
            self._describe_all()

    # ---- once for all

    def _trees(self) -> dict[frozenset[Var], Any]:
        """The containers of values that calls were handed or gave, by their values: what a function's result may be."""
        found: dict[frozenset[Var], Any] = {}
        seen = set()
        for node in self.top.nodes():
            if node.call is None or node.call in seen:
                continue
            seen.add(node.call)
            for tree in map(self.said, (*node.call.arguments.values(), node.call.result)):
                if isinstance(tree, (list, tuple, dict)):
                    values = list(leaves(tree))
                    if values and all(type(value) is Var for value in values):
                        found.setdefault(frozenset(values), tree)
        return found

    def said(self, tree: Any) -> Any:
        """What a call was handed or gave, sums that grow as their values."""
        if not self.grown:
            return tree
        grown = self.grown
        return mapped(tree, lambda leaf: grown.get((tuple(leaf.values), leaf.count)) if type(leaf) is Grown else leaf)

    def _asked(self) -> dict[Any, set[Var]]:
        """What the derivative of each call reads of what was there before."""
        found: dict[Any, set[Var]] = {}
        for node in self.top.nodes():
            if node.backward and node.whole and node.kind != "function":
                reads = found.setdefault(node.call, set())
                for eq in self.equations[node.start : node.stop]:
                    reads.update(v for v in eq.variables() if self.position.get(v, -1) < node.start)
        return found

    def _describe_all(self) -> None:
        self.waiting = False  # for a call that does what another one does to give more
        self.of: dict[Node, Description] = {}
        self.instances: dict[tuple[str, str], Instance] = {}
        self.first: list[Node] = []
        self.ids: dict[Any, int] = {}
        self.declared: dict[Instance, set[str]] = {}
        self.stand_ins: dict[int, Definition] = {}  # definitions by their numbers, where loops are looked for before
        self.kept: dict[Any, list[tuple[Node, Any]]] = {}  # what each node of a call keeps for its derivatives
        self.defined: dict[Instance, int] = {}  # the definition of its first call
        self.gives: dict[Node, set[Any]] = {}
        self._place_writes()
        for node in self.top.nodes():
            self._complete(node)
        self.of = {node: self.of[node] for node in self.top.nodes() if node in self.of}

    def _complete(self, node: Node) -> None:
        """Describe a call and those in it, if they are not; before it that which it is described after."""
        if node in self.of or self.is_open(node):
            return
        first = self.joined.get(node) or self.handed.get(node)
        for inner in () if first is None else first.nodes():
            self._complete(inner)
        self._describe(node)

    def is_open(self, node: Node) -> bool:
        """Whether a call is taken apart."""
        if node is self.top:
            return False
        return node in self.opened or node.kind == "scope" or not node.whole or not node.name.isidentifier()

    def is_instance(self, node: Node) -> bool:
        """Whether a call is one of an instance, rather than of a plain function."""
        return node.kind in ("module", "optimizer") and not node.backward and node not in self.plain

    def _place_writes(self) -> None:
        """The innermost call in which each write can stand."""
        self.placed: dict[Node, list[Step]] = {}
        self.home: dict[Step, Node] = {}
        self.written: dict[Var, list[Node]] = {}
        calls: dict[tuple[str, str], int] = {}
        inside = self.inside = dict[int, Node]()
        around = self.around = dict[Node, Node | None]({self.top: None})
        for node in self.top.nodes():
            if self.is_instance(node):
                calls[node.path, node.name] = calls.get((node.path, node.name), 0) + 1
            for item in node.items:
                if isinstance(item, Node):
                    around[item] = node
                else:
                    inside[item] = node
        for write in self.again.steps:
            made = self.position.get(write.value) if type(write.value) is Var else None
            node = self.top if made is None else inside[made]
            while node is not self.top and not self._may_write(node, write, calls):
                node = around[node] or self.top
            self.placed.setdefault(node, []).append(write)
            self.home[write] = node
            if type(write.value) is Var:
                self.written.setdefault(write.value, []).append(node)

    def _may_write(self, node: Node, write: Step, calls: Mapping[tuple[str, str], int]) -> bool:
        if self.is_open(node) or node.backward or write.cell in self.graph.index.results:
            return False
        users = write.before
        if users and users[-1] >= node.stop:
            return False
        if self.is_instance(node) and calls[node.path, node.name] > 1 and not write.every:
            return False
        path = self.decls[write.cell].path
        own = self.is_instance(node) and below(path, node.path)
        at = bisect.bisect_left(users, node.start)
        return own or at < len(users)

    # ---- one call

    def attributes(self, number: int) -> Any:
        """The attributes of an equation, as they are compared."""
        return attributes(self.graph, number, self.attrs)

    def instance(self, path: str, name: str) -> Instance:
        return self.instances.setdefault((path, name), Instance(path, name))

    def content(self, node: Node) -> list[int | Node | Scoped]:
        """What stands in a call, with calls that are taken apart."""
        found: list[int | Node | Scoped] = []
        for item in node.items:
            if isinstance(item, Node) and self.is_open(item):
                inner = self.content(item)
                if item.kind == "function":
                    found += inner
                else:
                    found.append(Scoped(item, inner))
            else:
                found.append(item)
        return found

    def _describe(self, node: Node) -> None:
        about = self.of[node] = Description(node, self.content(node), writes=self._writes_in(node))
        if node is self.top or self.is_instance(node):
            about.instance = None if node is self.top else self.instance(node.path, node.name)
        elif node in self.handed or (node.backward and node.kind != "function"):
            about.given += filter(None, [self.instances.get((node.path, node.name))])
        elif node.call is not None:
            places = [a for tree in node.call.arguments.values() for a in leaves(tree) if type(a) is Place]
            about.given += filter(None, [self.instances.get((place.path, place.name)) for place in places])
        reads = self._reads(about)
        free: dict[Any, None] = {}
        for atom in reads:
            if type(atom) is Var and atom in self.consts:
                continue
            path = self.path(atom)
            if path is not None and self._is_own(about, atom, path):
                about.own[atom] = relative(path, "" if node is self.top else node.path)
            else:
                near = (i for i in about.given if path is not None and self.reaches(i, atom, path))
                free[next(near, atom)] = None
        joined = self._joined(about)
        if node is self.top:
            about.result = self.graph.out_tree
        elif not joined:
            self._parameters(about, free)
            about.result = result_of(self, about)
        self.kept.setdefault(node.call, []).append((node, about.saved))
        if about.instance is not None:
            known = self.declared.setdefault(about.instance, set())
            for atom in about.own:
                known.add(atom.path if isinstance(atom, Instance) else self.decls[atom].path)
                known |= self.declared.get(atom, set()) if isinstance(atom, Instance) else set()
        if not joined:
            about.definition = self.ids.setdefault(signature(self, about), len(self.ids))
        if about.instance is not None:
            self.defined.setdefault(about.instance, about.definition)
        if about.definition == len(self.first):
            self.first.append(node)

    def path(self, atom: Any) -> str | None:
        """Where a cell or an instance is; None for other values."""
        return atom.path if isinstance(atom, Instance) else self.decls[atom].path if atom in self.decls else None

    def seen(self, node: Node, number: int) -> Equation:
        """An equation as it stands in a call, with sizes in place of numbers, and with numbers that it was handed."""
        eq = measured(self.equations[number], self.sized.get(node, {}).get(number, {}))
        return self.numbers.seen(node, number, eq)

    def handed_to(self, node: Node | None, inner: Node) -> list[Any]:
        """What a call in another one is handed, as trees."""
        return self.numbers.handed(node, inner, [parameter.tree for parameter in self.of[inner].parameters])

    def _joined(self, about: Description) -> bool:
        """Describe a call by another one that does the same; whether it does."""
        first = self.joined.get(about.node)
        model = None if first is None else self.of.get(first)
        env = None if model is None else matched(self, model, about)
        if model is None or env is None:
            self.joined.pop(about.node, None)
            return False
        read = {var for item in about.flat() for var in values_of(self, item) if is_read(self, about.node, var)}
        if not self.tell(model.node, env, read):
            self.waiting = True
            return False

        def own(atom: Any) -> Any:
            return env.get(atom, atom)

        about.parameters = [Parameter(one.name, mapped(one.tree, own)) for one in model.parameters]
        about.foreign = [atom for parameter in about.parameters for atom in leaves(parameter.tree)]
        about.result, about.saved = mapped(model.result, own), mapped(model.saved, own)
        about.definition = model.definition
        return True

    def tell(self, model: Node, env: Mapping[Any, Any], values: Iterable[Any]) -> bool:
        """Whether a call gives these values, which in another one stand for its own; from now on it does."""
        given = set(leaves(self.of[model].result))
        wanted = set(values)
        missing = {mine for mine, own in env.items() if own in wanted and mine not in given and mine in self.position}
        self.told.setdefault(model, set()).update(missing)
        return not missing

    def _is_own(self, about: Description, atom: Any, path: str) -> bool:
        if about.node is self.top:
            return True
        return about.instance is not None and atom is not about.instance and below(path, about.node.path)

    def reaches(self, instance: Instance, atom: Any, path: str) -> bool:
        """Whether an atom belongs to an instance."""
        return atom is instance or path in self.declared.get(instance, ())

    def _writes_in(self, node: Node) -> list[Step]:
        """Its writes, in the order in which their values are made."""
        place = self.position.get

        def order(write: Step) -> tuple[int, int, str]:
            made = place(write.value, -1)  # type: ignore[arg-type]
            outputs = self.graph.equations[made].outputs if made >= 0 else ()
            return made, outputs.index(write.value) if outputs else 0, self.decls[write.cell].path

        return sorted(self.placed.get(node, ()), key=order)

    def _reads(self, about: Description) -> dict[Any, None]:
        """What a call reads that it does not make, in order of first use: variables and instances."""
        found: dict[Any, None] = {}
        start, place = about.node.start, self.position.get
        for item in flat(about.content):
            if isinstance(item, int):
                for var in self.equations[item].variables():
                    if place(var, -1) < start:
                        found[var] = None
                continue
            inner = self.of[item]
            if inner.instance is not None:
                found[inner.instance] = None
            for atom in inner.foreign:
                if atom not in self.numbers.literals and not (type(atom) is Var and place(atom, -1) >= start):
                    found[atom] = None
        for write in about.writes:
            found[write.cell] = None
            if type(write.value) is Var and place(write.value, -1) < start:
                found[write.value] = None
        return found

    def _parameters(self, about: Description, free: dict[Any, None]) -> None:
        """What it was handed, as far as it is read, as it was nested; then what else it reads."""
        call, left = about.node.call, dict(free)
        if about.node.backward or about.node in self.handed:
            always = about.node in self.handed  # so that who reads the text knows whose call it is
            about.parameters += [Parameter(None, instance) for instance in about.given if always or instance in left]
            left = {atom: None for atom in left if atom not in about.given}
            for saved in [kept for other, kept in self.kept.get(about.node.call, ()) if about.node.follows(other)]:
                if isinstance(saved, tuple) and sum(atom in left for atom in leaves(saved)) > 1:
                    left = self._hand_over(about, "saved", saved, left)
        numbers = set(self.numbers.places.get(about.node, {}).values())
        for name, tree in () if call is None else call.arguments.items():
            if name in numbers:
                about.parameters.append(Parameter(name, self.numbers.var(about.node, name)))
            elif not about.node.backward:
                left = self._hand_over(about, "args" if name == "*" else name, self.said(tree), left)
        about.parameters += [Parameter(None, atom) for atom in left]
        about.foreign = [atom for parameter in about.parameters for atom in leaves(parameter.tree)]

    def _hand_over(self, about: Description, name: str, tree: Any, left: dict[Any, None]) -> dict[Any, None]:
        """Make the part of a tree that is read a parameter; gives what is left to hand over."""
        unread = self._unread(about.node, tree, left)
        left = {**left, **dict.fromkeys(unread)}
        kept = self.read_part(tree, left)
        if kept is not NOTHING:
            about.parameters.append(Parameter(name, kept))
        return {atom: None for atom in left if atom not in unread}

    def _unread(self, node: Node, tree: Any, left: dict[Any, None]) -> set[Var]:
        """What a call was handed in rows of a list and does not read, though it does in other rows: they stay alike."""
        rows = [column for column in columns(tree) if any(atom in left for atom in column)]
        return {
            atom for column in rows for atom in column if type(atom) is Var and self._is_in_reach(atom, node)
        }.difference(left)

    def _is_in_reach(self, var: Var, node: Node) -> bool:
        """Whether a value is known where a call stands: those in which it is made give it."""
        made = self.position.get(var)
        if made is None or made >= node.start:
            return False
        around: Node | None = self.inside[made]
        while around is not None and not around.start <= node.start < around.stop:
            if not self.is_open(around) and var not in self._given(around):
                return False
            around = self.around[around]
        return True

    def _given(self, node: Node) -> set[Any]:
        """The values that a call that was described gives."""
        known = self.gives.get(node)
        if known is None and node in self.of:
            known = self.gives[node] = set(leaves(self.of[node].result))
        return known or set()

    def read_part(self, tree: Any, left: dict[Any, None]) -> Any:
        """The part of an argument that is read and is not known by another name: taken from `left`."""
        if isinstance(tree, dict):
            parts = {key: self.read_part(item, left) for key, item in tree.items()}
            parts = {key: item for key, item in parts.items() if item is not NOTHING}
            return parts if parts else NOTHING
        if isinstance(tree, (list, tuple)):
            items = [item for item in (self.read_part(item, left) for item in tree) if item is not NOTHING]
            if not items:
                return NOTHING
            return items if isinstance(tree, list) or field_names(type(tree)) is not None else tuple(items)
        if type(tree) is Place:
            tree = self.instances.get((tree.path, tree.name))
        if type(tree) in (Var, Instance) and tree in left:
            del left[tree]
            return tree
        return NOTHING

    def values(self, tree: Any) -> list[Var]:
        """The variables of a result."""
        return list(dict.fromkeys(leaf for leaf in leaves(tree) if type(leaf) is Var))

    # ---- where it does not hold

    def unsaid(self) -> set[Var]:
        """Cells that one function would read after it has written them, or write twice."""
        homes: dict[tuple[Var, Node], int] = {}
        found = set()
        for step, home in self.home.items():
            homes[step.cell, home] = homes.get((step.cell, home), 0) + 1
            readers = [self.top] if step.is_result else []
            readers += [self._function(self.inside[number]) for number in step.after]
            if home in readers:
                found.add(step.cell)
        return found | {cell for (cell, _), count in homes.items() if count > 1}

    def _function(self, node: Node) -> Node:
        """The call in which something stands, those that are taken apart not counted."""
        around: Node | None = node
        while around is not None and self.is_open(around):
            around = self.around[around]
        return around or self.top

    def told_of(self, node: Node) -> tuple[list[Parameter], list[tuple[int, Equation]]]:
        """What a call is handed, and its own equations by their numbers."""
        about = self.of[node]
        return about.parameters, [(n, self.equations[n]) for n in about.flat() if isinstance(n, int)]


def flat(content: list[int | Node | Scoped]) -> Iterator[int | Node]:
    """What stands in a call, whatever the scope."""
    for item in content:
        if isinstance(item, Scoped):
            yield from flat(item.content)
        else:
            yield item
