"""What one equation costs: arithmetic, memory traffic and scratch memory, from the declaration of its op."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tensorgraph.analysis.memory import Place, places, timeline
from tensorgraph.engine import modes
from tensorgraph.engine.aval import Aval
from tensorgraph.engine.direct import LARGE
from tensorgraph.engine.op import Op
from tensorgraph.graph.graph import Equation, Graph, Literal, Var
from tensorgraph.graph.trace import trace

__all__ = ["Counter"]


def operand(atom: Any) -> Any:
    """What an op's declarations are given for an operand: an aval, a Python scalar, None, a list of them."""
    if isinstance(atom, tuple):
        return [operand(part) for part in atom]
    if isinstance(atom, Literal):
        return None if atom.value is Ellipsis else atom.value
    return atom.aval


class Counter:
    """Counts equations; remembers what it had to trace."""

    def __init__(self, where: Mapping[Var, Place]) -> None:
        self.where = where
        self._inside: dict[Any, tuple[int, int]] = {}

    def is_view(self, eq: Equation) -> bool:
        """Whether nothing is computed or copied: every output lies in the memory of the input."""
        return "view" in eq.op.traits and all(
            out in self.where and self.where[out].owner is not out for out in eq.outputs
        )

    def flops(self, eq: Equation) -> int:
        """Arithmetic operations: see `tensorgraph.engine.op.Op`."""
        if self.is_view(eq):
            return 0
        if any(isinstance(a, Literal) and a.value is Ellipsis for a in eq.atoms()):  # read from a tape: types are lost
            return self._by_number(eq, 1.0 if callable(eq.op.flops) else eq.op.flops)
        forward = self._forward_of(eq)
        again = 0 if forward is None or not _made_again(eq, forward.op) else self.flops(forward)
        declared = eq.op.flops
        if callable(declared):
            return again + int(declared(*[operand(a) for a in eq.inputs], **eq.attrs))
        if declared is None and forward is not None:
            return again + 2 * self.flops(forward)
        if declared is None and (_held(eq) is not None or eq.op.reference is not None):
            return self.inside(eq)[0] * _times(eq)
        return again + self._by_number(eq, declared)

    def _by_number(self, eq: Equation, each: float | None) -> int:
        """A count per element: of the input of a reduction, else of the first output."""
        if each is None:
            each = 0.0 if eq.op.among("moves", "internal") else 1.0
        counted: Any = eq.outputs[0] if eq.outputs else None
        if eq.op.kind.name == "reduction":
            counted = next(eq.atoms(), counted)
        return int(each * counted.aval.size) if isinstance(counted, Var) else 0

    def _forward_of(self, eq: Equation) -> Equation | None:
        """The equation of the fused op whose gradient this one is."""
        of = eq.op.primal
        if of is None:
            return None
        inputs = eq.inputs[: len(of.inputs)]
        attrs = {name: value for name, value in eq.attrs.items() if name != "want"}
        avals = of.infer(tuple(operand(a) for a in inputs), attrs)
        return Equation(of, inputs, attrs, tuple(Var(aval) for aval in avals))

    def inside(self, eq: Equation) -> tuple[int, int]:
        """FLOPs and highest memory of what an equation stands for: a user's fused op, a function with a rule."""
        key = (eq.op.name, repr([operand(a) for a in eq.inputs]), repr(sorted(eq.attrs.items(), key=lambda kv: kv[0])))
        if key not in self._inside:
            graph = _body(eq)
            where = places(graph)
            counter = Counter(where)
            flops = sum(counter.flops(inner) for inner in graph.equations)
            scratch = tuple(counter.scratch(inner) for inner in graph.equations)
            self._inside[key] = flops, timeline(graph, where, scratch).peak
        return self._inside[key]

    def scratch(self, eq: Equation) -> int:
        """Bytes that the op takes while it runs, besides its outputs."""
        if self.is_view(eq) or any(isinstance(a, Literal) and a.value is Ellipsis for a in eq.atoms()):
            return 0
        made = sum(out.aval.nbytes for out in eq.outputs)
        if _held(eq) is not None:
            return max(0, self.inside(eq)[1] - made)
        forward = self._forward_of(eq)
        again = 0
        if forward is not None and _made_again(eq, forward.op):
            again = self.scratch(forward) + sum(out.aval.nbytes for out in forward.outputs)
        if eq.op.direct and eq.op.kind.large and max(a.aval.size for a in (*eq.variables(), *eq.outputs)) >= LARGE:
            return again  # one kernel, whose values in between are in registers
        declared = eq.op.scratch
        if callable(declared):
            return again + int(declared(*[operand(a) for a in eq.inputs], **eq.attrs))
        return again + int(declared * made)

    def traffic(self, eq: Equation) -> tuple[int, int]:
        """Bytes read and written: every operand once, every output once; nothing for a view."""
        if self.is_view(eq):
            return 0, 0
        written = sum(out.aval.nbytes for out in eq.outputs)
        operands = dict.fromkeys(a for a in eq.atoms() if isinstance(a, Var))
        read = sum(var.aval.nbytes for var in operands)
        first = eq.inputs[0] if eq.inputs else None
        if "gathers" in eq.op.traits and isinstance(first, Var):
            read += min(written, first.aval.nbytes) - first.aval.nbytes
        return read, written


def _made_again(eq: Equation, of: Op) -> bool:
    """Whether a fused op's gradient lacks something that the forward gives, and so runs the forward once more."""
    first = len(of.inputs)
    kept = eq.inputs[first : first + len(of.outputs) + len(of.residuals)]
    return any(isinstance(a, Literal) and a.value is None for a in kept)


def _held(eq: Equation) -> Any:
    """The function that an equation runs and an attribute holds: a graph, or what was called."""
    return eq.attrs.get("forward", eq.attrs.get("body")) if "higher order" in eq.op.traits else None


def _times(eq: Equation) -> int:
    """How often an equation runs what it holds."""
    return int(eq.attrs["length"]) if "body" in eq.attrs else 1


def _body(eq: Equation) -> Graph:
    """The computation that an equation stands for, as a graph."""
    body = _held(eq)
    if isinstance(body, Graph):
        return body
    given = list(eq.inputs[0]) if body is not None and isinstance(eq.inputs[0], tuple) else list(eq.inputs)
    function = body if body is not None else _reference(eq.op, eq.attrs)
    avals = [operand(a) for a in given]
    tensors = [a for a in avals if isinstance(a, Aval)]

    def run(*values: Any) -> Any:
        rest = iter(values)
        return function(*[next(rest) if isinstance(a, Aval) else a for a in avals])

    with modes.use(trace=None, quiet=True):
        return trace(run, *tensors)


def _reference(op: Op, attrs: Mapping[str, Any]) -> Any:
    assert op.reference is not None
    reference = op.reference
    return lambda *values: reference(*values, **attrs)
