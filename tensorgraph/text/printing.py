"""How a graph prints: a Python function that a person would have written, one equation a line.

Arguments are typed, cells are keyword-only arguments with their initialisers, scopes are blocks, writes are statements;
the type of each value stands behind its line. `tensorgraph.parse` reads it back.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping

from tensorgraph.engine.tree import Treedef
from tensorgraph.graph.graph import CellDecl, Equation, Graph, Var, by_path, digest, is_literal
from tensorgraph.text.equations import Equations, nested
from tensorgraph.text.lines import broken, typed
from tensorgraph.text.literals import array_text, aval_text, literal_text, quoted
from tensorgraph.text.names import identifier, names, reserved
from tensorgraph.text.structure import grouped, places, tree_text
from tensorgraph.text.types import initialisers
from tensorgraph.transforms.custom import custom_op

__all__ = ["Printer", "call_text", "equation_text", "first_difference", "free", "to_text"]

INITIALISER = re.compile(r"[A-Za-z]\w*\([\w=., '\"+-]*\)")


def to_text(graph: Graph, types: bool = True, taken: Iterable[str] = ()) -> str:
    """The graph as one flat function, an equation a line; with a column of types behind it.

    Nothing in it is called by the names that are `taken`.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> print(to_text(tg.trace(lambda x: tg.tanh(x * 2.0).sum(), tg.f32[3])))
    def f(x: f32[3]) -> f32:
        v0 = x * 2.0                                      # f32[3]
        v1 = tanh(v0)                                     # f32[3]
        v2 = sum(v1)                                      # f32
        return v2
    """
    return "\n".join(Printer(graph, set(taken), types=types).function())


def equation_text(eq: Equation, name: Mapping[Var, str]) -> str:
    """One equation on one line, without its type: ``h = x @ w``."""
    return f"{Equations(name).left(eq)} = {call_text(eq, name)}"


def call_text(eq: Equation, name: Mapping[Var, str]) -> str:
    """The right side of an equation on one line: ``x @ w``, ``sum(h, axis=0)``."""
    head, parts, tail = Equations(name).right(eq)
    return f"{head}{', '.join(parts)}{tail}"


class Printer:
    """One function of a text, and those that it needs before it."""

    def __init__(
        self, graph: Graph, taken: set[str], called: str = "", functions: dict[Graph, str] | None = None,
        types: bool = True,
    ) -> None:  # fmt: skip
        self.graph, self.types = graph, types
        self.before: list[str] = []
        self.called = free(identifier(called or graph.name), taken | reserved())
        taken.add(self.called)
        self.name = names(graph, taken)
        self.groups = grouped(graph)
        self.arguments = self.argument_names()
        self.rule = Equations(self.name, functions)
        for eq in graph.equations:
            for key, value in eq.attrs.items():
                if isinstance(value, Graph) and value not in self.rule.functions:
                    inner = Printer(value, taken, f"{self.called}_{key}", self.rule.functions, types)
                    self.before += [*inner.function(), ""]
                    self.rule.functions[value] = inner.called

    def function(self) -> list[str]:
        graph = self.graph
        lines = self.head()
        for i, tree in enumerate(graph.in_tree.children):
            if tree.kind is not None:
                lines += self.unpacked(i, tree)
        for var, array in graph.consts.items():
            said = array_text(array) or f'array("{digest(array)}", {aval_text(var.aval)})'
            lines += self.typed([f"    {self.name[var]} = {said}"], aval_text(var.aval))
        lines += self.body()
        lines += self.end()
        return [*self.before, *lines]

    def head(self) -> list[str]:
        graph = self.graph
        inputs = iter([aval_text(v.aval) for v in graph.inputs])
        statics = dict(graph.statics)
        leaves = iter(
            next(inputs) if i not in statics
            else f"Literal[{literal_text(statics[i])}]" if is_literal(statics[i]) else "object"
            for i in range(graph.in_tree.size)
        )  # fmt: skip
        parts = []
        for name, tree in zip(self.arguments, graph.in_tree.children, strict=True):
            parts.append(f"{name}: {tree_text(tree, leaves, 'Literal[{}]'.format)}")
        if graph.cells:
            parts += ["*", *[self.cell(decl) for decl in by_path(graph)]]
        result = self.result_type()
        one = f"def {self.called}({', '.join(parts)}){result}:"
        if len(one) <= 88:
            return [one]
        return [f"def {self.called}(", *[f"    {part}," for part in parts], f"){result}:"]

    def cell(self, decl: CellDecl) -> str:
        kind = "Buffer" if decl.kind == "buffer" else "Parameter" if decl.requires_grad else "Frozen"
        name, said = self.name[decl.var], aval_text(decl.aval)
        inside = said if name == decl.path else f"{quoted(decl.path)}, {said}"
        start = decl.initialiser
        # a function of the user's own is no part of the text
        known = start is not None and INITIALISER.fullmatch(start) and start.partition("(")[0] in initialisers()
        start = f" = {start}" if known else ""
        return f"{name}: {kind}[{inside}]{start}"

    def result_type(self) -> str:
        types = [aval_text(a.aval) if isinstance(a, Var) else None for a in self.graph.outputs]
        if not types or None in types:
            return ""
        said = tree_text(self.graph.out_tree, iter(types), "Literal[{}]".format)  # type: ignore[arg-type]
        return f" -> {said}" if len(said) <= 60 else ""

    def unpacked(self, position: int, tree: Treedef) -> list[str]:
        """Names for what is inside an argument."""
        reached = places(tree, self.arguments[position])
        return [
            f"    {self.name[var]} = {place}"
            for var, place in zip(self.groups[position], reached, strict=True)
            if var is not None
        ]

    def argument_names(self) -> list[str]:
        """A name an argument: of a tensor its own."""
        graph, used, found = self.graph, set(self.name.values()) | reserved(), []
        for i, (tree, group) in enumerate(zip(graph.in_tree.children, self.groups, strict=True)):
            if tree.kind is None and group[0] is not None:
                found.append(self.name[group[0]])
                continue
            wanted = graph.arguments[i] if i < len(graph.arguments) else f"x{i}"
            found.append(free(identifier(wanted), used))
            used.add(found[-1])
        return found

    def body(self) -> Iterator[str]:
        scope, indent = "", 4
        for eq in self.graph.equations:
            if eq.scope != scope:
                scope, indent = eq.scope, 8 if eq.scope else 4
                if scope:
                    module = self.graph.modules.get(scope)
                    yield f"    with scope({quoted(scope)}{'' if module is None else f', {quoted(module)}'}):"
            head, parts, tail = self.rule.right(eq)
            left = self.rule.left(eq)
            pad = " " * indent
            if len(left) > 60:
                lines = broken(f"{pad}(", [self.name[v] for v in eq.outputs], ") = ", indent)
                lines = [*lines[:-1], *broken(lines[-1] + head, parts, tail, indent)]
            else:
                lines = broken(f"{pad}{left} = {head}", parts, tail, indent)
            if eq.op is custom_op and left not in self.name.values() and nested(eq):
                holder = free("results", set(self.name.values()))
                lines = broken(f"{pad}{holder} = {head}", parts, tail, indent)
                reached = places(eq.attrs["result"].treedef, holder)
                lines += [f"{pad}{self.name[v]} = {place}" for v, place in zip(eq.outputs, reached, strict=True)]
            types = list(dict.fromkeys(aval_text(v.aval) for v in eq.outputs))
            if len(eq.outputs) > 1 and len(types) > 1:
                types = [aval_text(v.aval) for v in eq.outputs]
            said = ", ".join(types)
            yield from self.typed(lines, said) if types and len(said) <= 60 else lines

    def typed(self, lines: list[str], types: str) -> list[str]:
        return typed(lines, types) if self.types else lines

    def end(self) -> list[str]:
        graph = self.graph
        written = {write.cell for write in graph.writes}
        used = [a for a in (*[w.value for w in graph.writes], *graph.outputs) if isinstance(a, Var) and a in written]
        entry: dict[Var, str] = {}
        lines = []
        for var in dict.fromkeys(used):  # after the writes the cell's own name would give the new value
            entry[var] = free(f"{self.name[var]}_before", set(self.name.values()))
            lines.append(f"    {entry[var]} = {self.name[var]}.read()")
        last = Equations({**self.name, **entry})
        for write in graph.writes:
            lines.append(f"    {self.name[write.cell]}.assign({last.atom(write.value)})")
        lines.append(f"    return {tree_text(graph.out_tree, iter(last.atom(a) for a in graph.outputs))}")
        return lines


def free(name: str, taken: set[str]) -> str:
    """A name like this one that nothing has."""
    found, number = name, 1
    while found in taken:
        number += 1
        found = f"{name}_{number}"
    return found


def first_difference(a: Graph, b: Graph) -> str:
    """Where two graphs part, in words."""
    one, other = names(a), names(b)
    for e, f in itertools.zip_longest(a.equations, b.equations):
        texts = [
            "nothing more"
            if eq is None
            else f"{equation_text(eq, known)} ({', '.join(str(v.aval) for v in eq.outputs)})"
            for eq, known in ((e, one), (f, other))
        ]
        if texts[0] != texts[1]:
            source = "" if f is None or f.source is None else f" in the line {f.source}"
            return f"{texts[1]}{source}, where the template has {texts[0]}"
    return "its arguments, results or captured arrays"
