"""A graph's outline as text: a function for each definition, the graph itself last."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping

from tensorgraph.graph.equation import CellDecl, Equation
from tensorgraph.graph.graph import Graph, Var, digest
from tensorgraph.graph.outline import NUMBERED, Outline, flat, numbered, outline
from tensorgraph.graph.signatures import starts_anywhere
from tensorgraph.graph.statements import Definition, Instance, Operation, leaves
from tensorgraph.text.bodies import WIDTH, Body
from tensorgraph.text.heads import Given, Head, Sizes
from tensorgraph.text.lines import folded_line, wrapped
from tensorgraph.text.literals import array_text, aval_text
from tensorgraph.text.names import identifier, reserved
from tensorgraph.text.structure import tree_text

__all__ = ["folded", "measured", "plain"]

Known = Mapping[Definition, Mapping[Instance, Given]]
WORD = re.compile(r"(?<![\w.])[A-Za-z_]\w*")
SHORT = 48  # of an array that is written where it is read


def folded(graph: Graph, types: bool = False, known: Known | None = None, taken: Collection[str] = ()) -> str:
    """The graph as functions that call each other, in which nothing else has the names that are `taken`.

    Those that are `known` to who reads it are left out, and their instances are given these sizes.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> from tensorgraph import nn
    >>> model = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2))
    >>> print(folded(tg.trace(model, tg.f32[8, 4])))
    def Linear(x: f32[8, I], *, weight: Parameter[f32[I, O]] = he_normal(), bias: Parameter[f32[O]] = zeros()):
        return x @ weight + bias
    <BLANKLINE>
    <BLANKLINE>
    def Tanh(x: f32[8, 3]):
        return tanh(x)
    <BLANKLINE>
    <BLANKLINE>
    def Sequential(x: f32[8, 4], *, layers: At["", [Linear[4, 3], Tanh, Linear[3, 2]]]) -> f32[8, 2]:
        return layers[2](layers[1](layers[0](x)))
    """
    return "\n\n\n".join("\n".join(lines) for lines in _Text(graph.outline, types, known, taken=taken).functions())


def measured(
    graph: Graph, taken: Collection[str] = (), growing: bool = True
) -> tuple[str, dict[str, list[tuple[str, int]]]]:
    """The same, and for each function in it the sizes of what it is handed: how each is written, and what it is.

    With `growing`, sums to which a loop adds are values, also where the text were shorter without: it is if the turns
    are few.
    """
    key = f"measured{', growing' if growing else ''}, without {' '.join(taken)}"
    found: tuple[str, dict[str, list[tuple[str, int]]]] | None = graph._cache.get(key)
    if found is None:
        text = _Text(outline(graph, growing=True) if growing else graph.outline, False, taken=taken)
        said = "\n\n\n".join("\n".join(lines) for lines in text.functions())
        found = graph._cache[key] = said, {one.name: [*text.shapes(one)] for one in text.written}
    return found


def open_name(name: str, closed: Collection[str]) -> str:
    """What a definition is called without its number: an op, or a word of Python's, of the same name keeps it."""
    base = identifier(NUMBERED.sub("", name) or name)
    while base in closed:
        base = f"{base}_"
    return base


def words(lines: list[str]) -> list[str]:
    """What stands in a function behind its name, however its head is broken into lines."""
    return "\n".join(lines).partition("(")[2].split()


def start_alike(cells: Mapping[str, CellDecl], others: Mapping[str, CellDecl]) -> bool:
    """Whether cells start as others do, but for numbers that may be said of an instance."""
    pairs = [(cell, others[path]) for path, cell in cells.items() if path in others]
    same = (a.initialiser == b.initialiser or (starts_anywhere(a) and starts_anywhere(b)) for a, b in pairs)
    return len(pairs) == len(cells) == len(others) and all(same)


def plain(definition: Definition) -> str:
    """The name of an optimiser without its number; of others the name."""
    return NUMBERED.sub("", definition.name) if definition.kind == "optimizer" else definition.name


class _Text:
    def __init__(
        self, outline: Outline, types: bool, known: Known | None = None, around: _Text | None = None,
        taken: Collection[str] = (),
    ) -> None:  # fmt: skip
        self.outline, self.graph, self.types, self.known = outline, outline.graph, types, known or {}
        self.dims: tuple[str, ...] = tuple(taken) if around is None else around.dims
        closed = reserved() | {*taken} if around is None else around.taken
        names = [definition.name for definition in outline.definitions]
        if any(name in closed or not name.isidentifier() or NUMBERED.sub("", name) in closed for name in names):
            names = numbered([open_name(name, closed) for name in names], list(outline.counts.values()))
            for definition, name in zip(outline.definitions, names, strict=True):
                definition.name = name
        self.closed = closed | {definition.name for definition in outline.definitions}
        self.sizes = Sizes(outline, self.known)
        self.sizes.said.update((definition, plain(definition)) for definition in self.known)
        self.heads: dict[Definition, Head] = {}
        self.written: dict[Definition, list[str]] = {}
        self.graphs: dict[Graph, str] = {} if around is None else around.graphs  # those in attributes, by their names
        self.taken: set[str] = set() if around is None else around.taken  # by all functions of the text
        self.taken |= self.closed

    def functions(self) -> list[list[str]]:
        found: list[list[str]] = []
        for definition in self.outline.definitions:
            head = self.heads[definition] = Head(self.sizes, definition, self.closed)
            if definition in self.known:
                continue
            for statement in definition.statements():
                if isinstance(statement, Operation) and statement.eq.bodies():
                    found += self.inner(statement.eq, definition.name)
            lines = self.function(definition, head)
            if definition.kind != "optimizer" or not self.reads_as_another(definition, lines):
                self.written[definition] = lines
                found.append(lines)
        return found

    def reads_as_another(self, definition: Definition, lines: list[str]) -> bool:
        """Whether a function stands there already: optimisers of other cells are other definitions, and read alike.

        So do those of which only the numbers differ that they start from: these stand behind their instances.
        """
        own = self.heads[definition]
        for other, known in self.written.items():
            told = self.heads[other].told
            if other.kind != "optimizer" or plain(definition) != plain(other) or not start_alike(own.told, told):
                continue
            if own.told != told:
                self.heads[definition] = Head(self.sizes, definition, self.closed, told)
                lines = self.function(definition, self.heads[definition])
            if words(lines) == words(known):
                self.sizes.said[definition] = other.name
                return True
        self.heads[definition] = Head(self.sizes, definition, self.closed)
        return False

    def inner(self, eq: Equation, base: str) -> list[list[str]]:
        """The graphs in an equation's attributes as functions, but for those that are there already."""
        found: list[list[str]] = []
        for key, value in eq.bodies().items():
            if value not in self.graphs:
                text = _Text(flat(value.replace(name=f"{base}_{key}")), self.types, around=self)
                found += text.functions()
                self.graphs[value] = text.outline.main.name
        return found

    def function(self, definition: Definition, head: Head) -> list[str]:
        main = definition.kind == "graph"
        body = Body(self.heads, definition, self.graphs, self.types, bool(self.dims))
        body.out_tree = self.graph.out_tree if main else None
        body.late = self.outline.late
        for tree, name in (*head.trees, *head.bundles):
            body.add_bundle(tree, name)
        for instance, name in head.names.items():
            if isinstance(instance, Instance):
                cells = self.parameters(instance)
                if len(cells) > 1:
                    body.add_bundle(cells, f"parameters({name})")
                for items, place in self.lists(instance):
                    body.add_bundle(items, f"{name}.{place}")
        consts, lines = self.constants(definition, body)
        body.measure(consts)
        parts = [*head.parameters, *(["*", *head.members] if head.members else [])]
        start = wrapped(f"def {definition.name}(", parts, f"){self.result_type() if main else ''}:", WIDTH)
        lines += body.lines_of()
        return [*start, *self.bound(definition, lines), *lines]

    def bound(self, definition: Definition, lines: list[str]) -> Iterator[str]:
        """``N = x.shape[0]`` for each name of a size that the lines read: Python knows none from a type."""
        said = {name for line in lines for name in WORD.findall(line)}
        for dim in self.dims:
            found = (place for place, size in self.shapes(definition) if str(size) == dim)
            place = next(found, None) if dim in said else None
            if place is not None:
                yield f"    {dim} = {place}"

    def shapes(self, definition: Definition) -> Iterator[tuple[str, int]]:
        """The sizes of what a function is handed: how each is written, and what it is."""
        names = self.heads[definition].names
        for tree, place in self.heads[definition].trees:
            if isinstance(tree, (list, tuple)):
                yield f"len({place})", len(tree)
        for parameter in definition.parameters:
            for leaf in leaves(parameter.tree):
                if type(leaf) is Var and leaf in names and hasattr(leaf.aval, "shape"):
                    yield from ((f"{names[leaf]}.shape[{axis}]", size) for axis, size in enumerate(leaf.aval.shape))

    def lists(self, instance: Instance) -> Iterator[tuple[list[Instance], str]]:
        """The lists of instances among the members of an instance."""
        definition = instance.definition
        if definition is None or definition.call is None or definition not in self.heads:
            return
        base = definition.call.scope
        for values, place in self.heads[definition].bundles:
            if all(isinstance(value, Instance) for value in values):
                paths = [value.path[len(base) + 1 :] if base else value.path for value in values]
                whole = [f"{instance.path}.{path}" if instance.path else path for path in paths]
                found = [self.outline.instances.get((path, v.name)) for path, v in zip(whole, values, strict=True)]
                yield [part for part in found if part is not None], place

    def parameters(self, instance: Instance) -> list[Var]:
        """The trainable cells of an instance, in the order in which they are declared."""
        found: list[Var] = []
        paths = self.sizes.paths

        def walk(definition: Definition | None, path: str) -> None:
            for member in () if definition is None else self.heads[definition].order:
                here = f"{path}.{member.path}" if path and member.path else path or member.path
                if isinstance(member.value, Instance):
                    inner = self.outline.instances.get((here, member.value.name))
                    walk(None if inner is None else inner.definition, here)
                elif member.of is None and definition is not None:
                    decl = definition.decls[member.value]
                    if decl.requires_grad and decl.kind == "parameter" and here in paths:
                        found.append(paths[here])

        walk(instance.definition, instance.path)
        return found

    def constants(self, definition: Definition, body: Body) -> tuple[Mapping[Var, str], list[str]]:
        """Captured arrays: one that is read once and is short stands there, others have a name."""
        graph = self.graph
        reads: dict[Var, int] = {}
        for statement in definition.statements():
            for atom in body.read_by(statement):
                if type(atom) is Var and atom in graph.consts:
                    reads[atom] = reads.get(atom, 0) + 1
        for leaf in leaves(definition.result):
            if type(leaf) is Var and leaf in graph.consts:
                reads[leaf] = reads.get(leaf, 0) + 1
        given = {atom for parameter in definition.parameters for atom in leaves(parameter.tree)}
        if definition.kind == "graph":
            for var in graph.consts:
                if not graph.index.users.get(var) and var not in reads:
                    reads[var] = 2
        found: dict[Var, str] = {}
        lines = []
        for var, count in reads.items():
            if var in given:
                continue
            array = graph.consts[var]
            said = array_text(array) or f'array("{digest(array)}", {aval_text(var.aval)})'
            if count == 1 and len(said) <= SHORT:
                found[var] = said
                continue
            name = found[var] = body.head.fresh(definition.names.get(var) or var.name or "const")
            lines += [f"    {line}" for line in folded_line(f"{name} = {said}", WIDTH - 4)]
        return found, lines

    def result_type(self) -> str:
        types = [aval_text(a.aval) if isinstance(a, Var) else None for a in self.graph.outputs]
        if not types or None in types:
            return ""
        said = tree_text(self.graph.out_tree, iter(types), "Literal[{}]".format)  # type: ignore[arg-type]
        return f" -> {said}" if len(said) <= 60 else ""
