"""How an equation reads under given names: what is nested in it stands in brackets where Python needs them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tensorgraph.engine.op import Op
from tensorgraph.engine.signature import REQUIRED
from tensorgraph.graph.equation import is_number
from tensorgraph.graph.graph import Equation, Graph, Literal, Var, typed_key
from tensorgraph.graph.totals import TOTAL
from tensorgraph.ops.index import getitem, put
from tensorgraph.text.keys import Growing
from tensorgraph.text.literals import literal_text, quoted
from tensorgraph.transforms.custom import custom_op

__all__ = ["ATOM", "Equations", "items_of", "nested"]

# how tightly Python's operators bind; a name, a call and a subscript bind tightest
LEVELS = {
    "**": 14, "u-": 13, "u~": 13, "*": 12, "/": 12, "@": 12, "//": 12, "%": 12, "+": 11, "-": 11, "<<": 10, ">>": 10,
    "&": 9, "^": 8, "|": 7,
}  # fmt: skip
COMPARED, ATOM = 6, 20


class Equations:
    """How equations read, under given names."""

    def __init__(
        self, name: Mapping[Var, str], functions: dict[Graph, str] | None = None, level: Mapping[Var, int] | None = None
    ) -> None:
        self.name = name
        self.level = {} if level is None else level  # of values that stand in the place of their name: how they bind
        self.functions = {} if functions is None else functions  # sub-graphs that were printed as functions

    def left(self, eq: Equation) -> str:
        outs = [self.name[v] for v in eq.outputs]
        if eq.residuals:  # which only rules see
            count = len(eq.op.outputs)
            return f"{', '.join(outs[:count])}, [{', '.join(outs[count:])}]"
        if len(outs) == 1:
            return outs[0] if self.is_bare(eq) else f"({outs[0]},)"
        return ", ".join(outs) if outs else "()"

    def is_bare(self, eq: Equation) -> bool:
        """Whether the one value that an equation gives stands alone, in no tuple."""
        if eq.residuals:
            return False
        bare = eq.op.single or (eq.is_gradient and plain(eq))
        return bare or (eq.op is custom_op and eq.attrs["result"].treedef.kind is None)

    def right(self, eq: Equation) -> tuple[str, list[str], str]:
        """What stands before the arguments, the arguments, what stands behind them."""
        op = eq.op
        if op is custom_op:
            rules = ", ".join(f"{key}={self.functions.get(eq.attrs[key], '...')}" for key in ("forward", "backward"))
            return f"custom_vjp({rules})(", [self.atom(a) for a in items_of(eq.inputs[0])], ")"
        if eq.is_conversion:
            return "tensor(", [self.atom(eq.inputs[0]), quoted(eq.attrs["dtype"])], ")"
        if op is TOTAL:
            return f"{self.tight(eq.inputs[0])}.total(", [], ")"  # type: ignore[arg-type]
        if op.infix is not None and not eq.attrs:
            infix = self.infix(op, eq)
            if infix is not None:
                return infix, [], ""
        if op is getitem:
            key = self.key(eq.attrs["key"], items_of(eq.inputs[1]))
            if key is not None and isinstance(eq.inputs[0], Var):
                return f"{self.tight(eq.inputs[0])}[{key}]", [], ""
        if op is put:
            x, v = eq.inputs[:2]
            key = self.key(eq.attrs["key"], items_of(eq.inputs[2]))
            if key is not None and isinstance(x, Var) and isinstance(v, Var) and x.aval.dtype == v.aval.dtype:
                return f"{self.tight(x)}.at[{key}].set({self.atom(v)})", [], ""
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
        own = LEVELS.get(op.infix, COMPARED)
        levels = [self.level.get(a, ATOM) if isinstance(a, Var) else ATOM for a in eq.inputs]
        if len(parts) == 1:
            return f"{op.infix[1:]}{parts[0] if levels[0] >= own else f'({parts[0]})'}"
        left = own + 1 if op.infix == "**" or own == COMPARED else own  # all but powers lean to the left
        for i, least in enumerate((left, own + 1)):
            if levels[i] < least:
                parts[i] = f"({parts[i]})"
        if scalar[0] and parts[0].startswith("-"):
            parts[0] = f"({parts[0]})"
        return f"{parts[0]} {op.infix} {parts[1]}"

    def level_of(self, eq: Equation) -> int:
        """How tightly the text of an equation binds."""
        op = eq.op
        if op.infix is None or eq.attrs or eq.is_conversion or self.infix(op, eq) is None:
            return ATOM
        return LEVELS.get(op.infix, COMPARED)

    def tight(self, var: Var) -> str:
        """A value before a bracket or a dot."""
        said = self.atom(var)
        return said if self.level.get(var, ATOM) == ATOM else f"({said})"

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
            key = self.key(value, ()) if name == "key" else None
            if key is not None:
                args.append(f"s_[{key}]" if positional else f"key=s_[{key}]")
                continue
            args.append(literal_text(value) if positional else f"{name}={literal_text(value)}")
        return args

    def gradients(self, eq: Equation) -> list[str]:
        ys, xs, gs = (items_of(group) for group in eq.inputs)
        if plain(eq):
            args = [self.atom(ys[0]), self.atom(xs[0]), *[self.atom(g) for g in gs]]
        else:
            lists = [self.atom(group) for group in (ys, xs, gs)]
            args = lists if gs else lists[:2]
            if len(ys) == 1:
                args[0] = self.atom(ys[0])
                if gs:
                    args[2] = self.atom(gs[0])
        if eq.attrs["create_graph"]:
            args.append("create_graph=True")
        return args

    def key(self, static: Any, indices: tuple[Any, ...]) -> str | None:
        """A NumPy key as Python writes it; None where only the attribute can say it, ``("index", 0)``."""
        parts, used = [], 0
        for item in static:
            if item == "newaxis":
                parts.append("None")
            elif item == "...":
                parts.append("...")
            elif isinstance(item, (int, Growing)) and type(item) is not bool:
                parts.append(str(item))
            elif type(item) is tuple and item[0] == "slice":
                start, stop, step = ("" if b is None else str(b) for b in item[1:])
                parts.append(f"{start}:{stop}" + (f":{step}" if step else ""))
            elif item == ("index", used) and used < len(indices) and isinstance(indices[used], Var):
                parts.append(self.atom(indices[used]))
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


def items_of(atom: Any) -> tuple[Any, ...]:
    return atom if isinstance(atom, tuple) else (atom,)


def nested(eq: Equation) -> bool:
    """Whether a function with its own derivative returns more than a flat tuple."""
    tree = eq.attrs["result"].treedef
    return tree.kind not in (None, tuple, list) or any(child.kind is not None for child in tree.children)


def plain(eq: Equation) -> bool:
    """Whether a gradient is of one value with respect to one."""
    ys, xs, _ = (items_of(group) for group in eq.inputs)
    return len(ys) == len(xs) == 1
