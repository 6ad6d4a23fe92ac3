"""How a graph prints: a Python function that a person would have written, one equation a line.

Arguments are typed, cells are keyword-only arguments with their initialisers, scopes are blocks, writes are statements;
the type of each value stands behind its line. `tensorgraph.parse` reads it back.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from tensorgraph.engine.op import Op
from tensorgraph.engine.signature import REQUIRED
from tensorgraph.engine.tree import Treedef
from tensorgraph.graph.equation import is_number
from tensorgraph.graph.graph import CellDecl, Equation, Graph, Literal, Var, by_path, digest, is_literal, typed_key
from tensorgraph.text.lines import broken, typed
from tensorgraph.text.literals import array_text, aval_text, literal_text, quoted
from tensorgraph.text.names import identifier, names, reserved
from tensorgraph.text.structure import places, tree_text
from tensorgraph.text.types import initialisers

__all__ = ["call_text", "equation_text", "to_text"]

INITIALISER = re.compile(r"[A-Za-z]\w*\([\w=., '\"+-]*\)")


def to_text(graph: Graph) -> str:
    """The graph as text.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> print(tg.trace(lambda x: tg.tanh(x * 2.0).sum(), tg.spec((3,))))
    def f(x: f32[3]) -> f32:
        v0 = x * 2.0                                      # f32[3]
        v1 = tanh(v0)                                     # f32[3]
        v2 = sum(v1)                                      # f32
        return v2
    """
    return "\n".join(_Printer(graph, set()).function())


def equation_text(eq: Equation, name: Mapping[Var, str]) -> str:
    """One equation on one line, without its type: ``h = x @ w``."""
    return f"{_Equations(name).left(eq)} = {call_text(eq, name)}"


def call_text(eq: Equation, name: Mapping[Var, str]) -> str:
    """The right side of an equation on one line: ``x @ w``, ``sum(h, axis=0)``."""
    head, parts, tail = _Equations(name).right(eq)
    return f"{head}{', '.join(parts)}{tail}"


class _Equations:
    """How equations read, under given names."""

    def __init__(self, name: Mapping[Var, str], functions: dict[Graph, str] | None = None) -> None:
        self.name = name
        self.functions = {} if functions is None else functions  # sub-graphs that were printed as functions

    def left(self, eq: Equation) -> str:
        outs = [self.name[v] for v in eq.outputs]
        if eq.residuals:  # which only rules see
            count = len(eq.op.outputs)
            return f"{', '.join(outs[:count])}, [{', '.join(outs[count:])}]"
        if len(outs) == 1:
            bare = eq.op.single or (eq.is_gradient and _plain(eq))
            bare = bare or (eq.op.name == "custom_vjp" and eq.attrs["result"].treedef.kind is None)
            return outs[0] if bare else f"({outs[0]},)"
        return ", ".join(outs) if outs else "()"

    def right(self, eq: Equation) -> tuple[str, list[str], str]:
        """What stands before the arguments, the arguments, what stands behind them."""
        op = eq.op
        if op.name == "custom_vjp":
            rules = ", ".join(f"{key}={self.functions.get(eq.attrs[key], '...')}" for key in ("forward", "backward"))
            return f"custom_vjp({rules})(", [self.atom(a) for a in _items(eq.inputs[0])], ")"
        if eq.is_conversion:
            return "tensor(", [self.atom(eq.inputs[0]), quoted(eq.attrs["dtype"])], ")"
        if op.infix is not None and not eq.attrs:
            infix = self.infix(op, eq)
            if infix is not None:
                return infix, [], ""
        if op.name == "getitem":
            key = self.key(eq.attrs["key"], _items(eq.inputs[1]))
            if key is not None and isinstance(eq.inputs[0], Var):
                return f"{self.name[eq.inputs[0]]}[{key}]", [], ""
        if op.name == "put":
            x, v = eq.inputs[:2]
            key = self.key(eq.attrs["key"], _items(eq.inputs[2]))
            if key is not None and isinstance(x, Var) and isinstance(v, Var) and x.aval.dtype == v.aval.dtype:
                return f"{self.name[x]}.at[{key}].set({self.name[v]})", [], ""
        if eq.is_gradient:
            return "gradients(", self.gradients(eq), ")"
        arguments = self.arguments(op, eq)
        return f"{op.name}(", [*arguments, "residuals=True"] if eq.residuals else arguments, ")"

    def infix(self, op: Op, eq: Equation) -> str | None:
        assert op.infix is not None
        parts = [self.atom(a) for a in eq.inputs]
        scalar = [isinstance(a, Literal) or (is_number(a) and not eq.is_arithmetic) for a in eq.inputs]
        if all(scalar) or (scalar[0] and op.infix in ("==", "!=", "<", "<=", ">", ">=")):
            return None  # Python would turn a comparison round
        if any(not isinstance(a, (Var, Literal)) for a in eq.inputs):
            return None
        if len(parts) == 1:
            return f"{op.infix[1:]}{parts[0]}"
        if scalar[0] and parts[0].startswith("-"):
            parts[0] = f"({parts[0]})"
        return f"{parts[0]} {op.infix} {parts[1]}"

    def arguments(self, op: Op, eq: Equation) -> list[str]:
        given = list(eq.inputs)
        while (
            given
            and isinstance(given[-1], Literal)
            and given[-1].value is None
            and op.inputs[len(given) - 1] in (op.signature.optional)
        ):
            given.pop()
        args: list[str] = []
        positional = True  # until an input is left out
        for name, atom in zip(op.inputs, given, strict=False):
            if isinstance(atom, Literal) and atom.value is None and name in op.signature.optional:
                positional = False
                continue
            args.append(self.atom(atom) if positional else f"{name}={self.atom(atom)}")
        positional = positional and len(given) == len(op.inputs)
        for name, value in eq.attrs.items():
            default = op.attrs.get(name, REQUIRED)
            if default is not REQUIRED and typed_key(default) == typed_key(value):
                positional = False
                continue
            if isinstance(value, Graph):
                positional = False
                args.append(f"{name}={self.functions.get(value, '...')}")
                continue
            positional = positional and default is REQUIRED
            args.append(literal_text(value) if positional else f"{name}={literal_text(value)}")
        return args

    def gradients(self, eq: Equation) -> list[str]:
        ys, xs, gs = (_items(group) for group in eq.inputs)
        if _plain(eq):
            args = [self.atom(ys[0]), self.atom(xs[0]), *[self.atom(g) for g in gs]]
        else:
            lists = [f"[{', '.join(map(self.atom, group))}]" for group in (ys, xs, gs)]
            args = lists if gs else lists[:2]
            if len(ys) == 1:
                args[0] = self.atom(ys[0])
                if gs:
                    args[2] = self.atom(gs[0])
        if eq.attrs["create_graph"]:
            args.append("create_graph=True")
        return args

    def key(self, static: Any, indices: tuple[Any, ...]) -> str | None:
        """A NumPy key as Python writes it; None where only the attribute can say it."""
        parts, used = [], 0
        for item in static:
            if item == "newaxis":
                parts.append("None")
            elif item == "...":
                parts.append("...")
            elif type(item) is int:
                parts.append(str(item))
            elif type(item) is tuple and item[0] == "slice":
                start, stop, step = ("" if b is None else str(b) for b in item[1:])
                parts.append(f"{start}:{stop}" + (f":{step}" if step else ""))
            elif item == ("index", used) and used < len(indices) and isinstance(indices[used], Var):
                parts.append(self.name[indices[used]])
                used += 1
            else:
                return None
        if used != len(indices):
            return None
        return ", ".join(parts) if parts else "()"

    def atom(self, atom: Any) -> str:
        if isinstance(atom, tuple):
            return f"[{', '.join(map(self.atom, atom))}]"
        if isinstance(atom, Literal):
            return literal_text(atom.value)
        return self.name[atom]


def _items(atom: Any) -> tuple[Any, ...]:
    return atom if isinstance(atom, tuple) else (atom,)


def _nested(eq: Equation) -> bool:
    """Whether a function with its own derivative returns more than a flat tuple."""
    tree = eq.attrs["result"].treedef
    return tree.kind not in (None, tuple, list) or any(child.kind is not None for child in tree.children)


def _plain(eq: Equation) -> bool:
    """Whether a gradient is of one value with respect to one."""
    ys, xs, _ = (_items(group) for group in eq.inputs)
    return len(ys) == len(xs) == 1


class _Printer:
    """One function of a text, and those that it needs before it."""

    def __init__(
        self, graph: Graph, taken: set[str], called: str = "", functions: dict[Graph, str] | None = None
    ) -> None:
        self.graph = graph
        self.before: list[str] = []
        self.called = _free(identifier(called or graph.name), taken | reserved())
        taken.add(self.called)
        self.name = names(graph, taken)
        self.groups = grouped(graph)
        self.arguments = self.argument_names()
        self.rule = _Equations(self.name, functions)
        for eq in graph.equations:
            for key, value in eq.attrs.items():
                if isinstance(value, Graph) and value not in self.rule.functions:
                    inner = _Printer(value, taken, f"{self.called}_{key}", self.rule.functions)
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
            lines += typed([f"    {self.name[var]} = {said}"], aval_text(var.aval))
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
            found.append(_free(identifier(wanted), used))
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
            if eq.op.name == "custom_vjp" and left not in self.name.values() and _nested(eq):
                holder = _free("results", set(self.name.values()))
                lines = broken(f"{pad}{holder} = {head}", parts, tail, indent)
                reached = places(eq.attrs["result"].treedef, holder)
                lines += [f"{pad}{self.name[v]} = {place}" for v, place in zip(eq.outputs, reached, strict=True)]
            types = list(dict.fromkeys(aval_text(v.aval) for v in eq.outputs))
            if len(eq.outputs) > 1 and len(types) > 1:
                types = [aval_text(v.aval) for v in eq.outputs]
            said = ", ".join(types)
            yield from typed(lines, said) if types and len(said) <= 60 else lines

    def end(self) -> list[str]:
        graph = self.graph
        written = {write.cell for write in graph.writes}
        used = [a for a in (*[w.value for w in graph.writes], *graph.outputs) if isinstance(a, Var) and a in written]
        entry: dict[Var, str] = {}
        lines = []
        for var in dict.fromkeys(used):  # after the writes the cell's own name would give the new value
            entry[var] = _free(f"{self.name[var]}_before", set(self.name.values()))
            lines.append(f"    {entry[var]} = {self.name[var]}.read()")
        last = _Equations({**self.name, **entry})
        for write in graph.writes:
            lines.append(f"    {self.name[write.cell]}.assign({last.atom(write.value)})")
        lines.append(f"    return {tree_text(graph.out_tree, iter(last.atom(a) for a in graph.outputs))}")
        return lines


def _free(name: str, taken: set[str]) -> str:
    found, number = name, 1
    while found in taken:
        number += 1
        found = f"{name}_{number}"
    return found


def grouped(graph: Graph) -> list[list[Var | None]]:
    """The inputs of each argument, None for what is static."""
    statics, inputs = dict(graph.statics), iter(graph.inputs)
    found, at = [], 0
    for tree in graph.in_tree.children:
        found.append([None if k in statics else next(inputs) for k in range(at, at + tree.size)])
        at += tree.size
    return found
