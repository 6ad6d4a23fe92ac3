"""What rules of lint look at: a graph indexed once, in linear time; and how they rewrite it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from tensorgraph.analysis.lint.findings import Rewrite
from tensorgraph.engine.op import Op
from tensorgraph.graph.graph import CellDecl, Equation, Graph, Literal, Source, Var, typed_key
from tensorgraph.jit.properties import cached_property
from tensorgraph.ops.index import getitem
from tensorgraph.ops.shape import astype, broadcast_to
from tensorgraph.passes.rewrite import Log, derived, infer

__all__ = ["Steps", "View", "axes_of", "flows", "number", "replacing", "same", "shaped", "without_unread"]

FAR = 64  # ops that only pass a value on, one after another, looked through


def same(op: Op) -> bool:
    """Whether an op gives its input itself."""
    return "identity" in op.traits


def shaped(op: Op) -> bool:
    """Whether an op gives its input's numbers in another shape: repeated along new axes, or a part of them."""
    return same(op) or "reshapes" in op.traits or op is broadcast_to or op is getitem


def number(atom: Any) -> float | None:
    """The number that a literal is, else None."""
    value = atom.value if isinstance(atom, Literal) else None
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


class View:
    """A graph and what can be asked of it.

    `equations` are those that the user wrote: what derivatives were written out as is left out. `place` is where the
    function under lint begins, where known, and `owner` the module that was linted.
    """

    def __init__(self, graph: Graph, place: Source | None = None, owner: Any = None) -> None:
        self.graph = graph
        self.place = place
        self.owner = owner
        self.maker = graph.index.maker
        self.readers = graph.index.readers
        self.equations = tuple(eq for eq in graph.equations if eq.origin is None)
        self.cells: dict[Var, CellDecl] = {decl.var: decl for decl in graph.cells}
        self.deferred = tuple(eq for eq in graph.equations if eq.is_gradient)

    # one step back ------------------------------------------------------------------------------------------------

    def follow(self, atom: Any, through: Callable[[Op], bool] = same) -> Any:
        """The value behind ops that only pass it on, casts between float dtypes included."""
        for _ in range(FAR):
            eq = self.maker(atom)
            if eq is None or not eq.inputs:
                break
            if not through(eq.op) and not (eq.op is astype and is_float(eq.inputs[0]) and is_float(atom)):
                break
            atom = eq.inputs[0]
        return atom

    def made(self, atom: Any) -> Equation | None:
        """The equation that made a value, behind what only passes it on."""
        return self.maker(self.follow(atom))

    def constant(self, atom: Any) -> float | None:
        """The number that an atom is: a literal, or a captured array of one element."""
        value = number(atom)
        if value is None and isinstance(atom, Var) and atom in self.graph.consts and atom.aval.size == 1:
            return float(self.graph.consts[atom].reshape(()))
        return value

    def is_result(self, var: Var) -> bool:
        """Whether an output or a write is this value."""
        return var in self.graph.index.results

    @cached_property
    def first(self) -> dict[Var, Var]:
        """For a value that an equation before has given too, by the same op of the same inputs, the first of them."""
        made: dict[Any, Equation] = {}
        first: dict[Var, Var] = {}
        for eq in self.graph.equations:
            key = (
                eq.op, typed_key(dict(eq.attrs)),
                tuple(first.get(a, a) if isinstance(a, Var) else typed_key(a.value) for a in eq.atoms()),
            )  # fmt: skip
            before = made.setdefault(key, eq)
            if before is not eq:
                first.update(zip(eq.outputs, before.outputs, strict=True))
        return first

    # reachability -------------------------------------------------------------------------------------------------

    def after(self, starts: Iterable[Var], passes: Callable[[Equation, int], bool] | None = None) -> set[Var]:
        """Every value that depends on these, them included; `passes` says which operands of an equation count."""
        found = set(starts)
        for eq in self.graph.equations:
            operands = range(len(eq.inputs))
            if any(not found.isdisjoint(eq.group(i)) and (passes is None or passes(eq, i)) for i in operands):
                found.update(eq.outputs)
        return found

    def before(self, ends: Iterable[Var], passes: Callable[[Equation, int], bool] | None = None) -> set[Var]:
        """Every value that these depend on, them included."""
        found = set(ends)
        for eq in reversed(self.graph.equations):
            if any(out in found for out in eq.outputs):
                for i in range(len(eq.inputs)):
                    if passes is None or passes(eq, i):
                        found.update(a for a in eq.group(i) if isinstance(a, Var))
        return found

    @cached_property
    def needed(self) -> set[Var]:
        """What outputs and writes depend on."""
        return self.before(self.graph.index.results)

    def is_live(self, eq: Equation) -> bool:
        return any(out in self.needed for out in eq.outputs)

    @cached_property
    def from_inputs(self) -> set[Var]:
        return self.after(self.graph.inputs)

    @cached_property
    def from_parameters(self) -> set[Var]:
        return self.after(decl.var for decl in self.graph.cells if decl.kind == "parameter")

    @cached_property
    def differentiated(self) -> set[Var]:
        """Values that a gradient flows through: of the deferred gradients, else of a loss to come, to parameters."""
        if self.deferred:
            found: set[Var] = set()
            for eq in self.deferred:
                xs = [a for a in eq.group(1) if isinstance(a, Var)]
                ys = [a for a in eq.group(0) if isinstance(a, Var)]
                found |= self.after(xs, flows) & self.before(ys, flows)
            return found
        if any(eq.origin is not None for eq in self.graph.equations):
            return set()  # written out already: the faults would be found in the graph before
        return self.after((decl.var for decl in self.graph.cells if decl.requires_grad), flows)


def flows(eq: Equation, i: int) -> bool:
    """Whether a gradient passes an equation to its i-th operand."""
    return eq.op.joint is not None or eq.op.rules.get(eq.op.inputs[i]) is not None


# rewrites ------------------------------------------------------------------------------------------------------------

Steps = list[tuple[Op, tuple[Any, ...], dict[str, Any]]]


def replacing(finding: str, eq: Equation, steps: Steps) -> Rewrite:
    """A rewrite that computes an equation's output by other ops; what nobody else reads of the old way goes.

    `steps` are ops with their inputs and attributes, one after another; an input None is the step before, and the last
    step gives the equation's output.
    """

    def rewrite(graph: Graph) -> Graph:
        if not any(e is eq for e in graph.equations):
            raise ValueError(f"{finding}: the equation to rewrite is not in this graph; lint the graph itself again")
        made: list[Equation] = []
        for n, (op, inputs, attrs) in enumerate(steps):
            operands = tuple(made[-1].outputs[0] if atom is None else atom for atom in inputs)
            outputs = eq.outputs
            if n < len(steps) - 1:
                outputs = tuple(Var(aval) for aval in infer(op, operands, op.attrs | attrs))
            made.append(derived(eq, op, operands, attrs, outputs))
        log = Log(graph, "lint")
        log.note(finding, eq, ", then ".join(op.name for op, _, _ in steps), eq.source)
        body: list[Equation] = []
        for e in graph.equations:
            body += made if e is eq else [e]
        changed = graph.replace(equations=tuple(body), changes=(*graph.changes, *log.changes))
        return without_unread(changed, eq).check()

    return rewrite


def without_unread(graph: Graph, removed: Equation) -> Graph:
    """The graph without what was read by a removed equation only."""
    index = graph.index
    readers = {var: len(numbers) + (var in index.results) for var, numbers in index.users.items()}
    readers.update((var, 1) for var in index.results if var not in readers)
    gone: set[int] = set()
    stack: list[Any] = list(removed.atoms())
    while stack:
        made = index.maker(stack.pop())
        if made is None or id(made) in gone or any(readers.get(out) for out in made.outputs):
            continue
        gone.add(id(made))
        for read in set(made.variables()):
            readers[read] -= 1
            stack.append(read)
    consts = {v: a for v, a in graph.consts.items() if readers.get(v)} if gone else graph.consts
    return graph.replace(equations=tuple(e for e in graph.equations if id(e) not in gone), consts=consts)


def axes_of(eq: Equation, ndim: int) -> tuple[int, ...]:
    """The axes that a reduction goes over."""
    axis = eq.attrs.get("axis")
    if axis is None:
        return tuple(range(ndim))
    return tuple(sorted(a % ndim for a in (axis if isinstance(axis, tuple) else (axis,)))) if ndim else ()


def is_float(atom: Any) -> bool:
    return isinstance(atom, Var) and atom.aval.dtype.kind == "f"
