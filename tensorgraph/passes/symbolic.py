"""A trace in which gradients are taken at once: the backward pass, with equations for numbers.

It is the engine's own tape, its own rules and its own order of adding up; only that the rules compute with variables.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from tensorgraph.engine import modes
from tensorgraph.engine.aval import Aval
from tensorgraph.engine.backward import leading_to, unproject
from tensorgraph.engine.op import Op, structural
from tensorgraph.engine.pull import contributions, fit_tensor
from tensorgraph.engine.table import Table, Total, run_of
from tensorgraph.engine.tape import Leaf, Node, next_number, projection
from tensorgraph.engine.tensor import Tensor, new
from tensorgraph.graph.equation import SUM, Backward
from tensorgraph.graph.graph import Equation, Graph, Literal, Origin, Var
from tensorgraph.graph.inline import group
from tensorgraph.ops.creation import ones, zeros
from tensorgraph.ops.structure import stop_gradient
from tensorgraph.passes.rerun import Rerun

__all__ = ["Note", "Symbolic"]


class Note(NamedTuple):
    """One gradient that arrives at a variable: for `tensorgraph.explain_gradient`.

    By the rule of the input `name` of the equation `of`: as `given`, brought to the variable's type as `fitted`,
    which makes `total` with what had arrived before. `number` counts the passes where a graph takes several gradients.
    """

    number: int
    of: Equation | None
    name: str
    var: Var
    given: Var
    fitted: Var
    total: Var


class Symbolic(Rerun):
    """A trace of a graph whose gradients are written out, op by op."""

    def __init__(self, graph: Graph) -> None:
        super().__init__(graph)
        self.nodes: dict[Var, Any] = {}  # the place of a variable on the tape, where it has one
        self.made: dict[Any, Equation] = {}  # the equation that a node stands for
        self.places: dict[Any, Var] = {}  # the other way round
        self.notes: list[Note] = []
        self.number = 0  # of the pass
        self.depth = 0  # gradients inside the rules of gradients
        self.taken = Backward(None)  # the pass that is written out
        self.of: dict[Var, Equation | None] = {}  # of a gradient: the equation of what it is the gradient of

    # the tape ---------------------------------------------------------------------------------------------------

    def lift(self, t: Any, dtype: Any = None) -> Tensor:
        out = super().lift(t, dtype)
        self.leaf(out._value)
        return out

    def leaf(self, var: Var, shared: bool = False) -> Var:
        if var in self.nodes:
            return var
        if shared:  # a constant gradient may stand for several; each is asked about by its own name
            with self._beside(var, "alias"):
                own: Var = self.lift(self.tensor(var))._value
            return own
        self._place(var, Leaf(var.aval.shape, var.aval.dtype, user=False))
        return var

    def _append(self, op: Op, atoms: Any, attrs: dict[str, Any], avals: Sequence[Aval]) -> tuple[Var, ...]:
        outputs = super()._append(op, atoms, attrs, avals)
        if op.differentiable and modes.current().grad:
            self._record(self.equations[-1])
        return outputs

    def _record(self, eq: Equation) -> None:
        """Put an equation on the tape, if it depends on anything there."""
        op, known = eq.op, self.nodes.get
        parents: list[Any] = []
        for name, atom in zip(op.inputs, eq.inputs, strict=True):
            if op.joint is None and op.rules[name] is None:
                parents.append(None)
            elif name in op.signature.lists:
                parents.append(tuple(known(a) if type(a) is Var else None for a in group(atom)))
            else:
                parents.append(known(atom) if type(atom) is Var else None)
        if not any(any(q is not None for q in p) if type(p) is tuple else p is not None for p in parents):
            return
        # the rules see sizes that are open, where the equation has their numbers
        inputs, attrs = (eq.inputs, eq.attrs) if self.sizes is None else self.sizes.at(eq, lambda number: number)
        node = new(Node)
        node.op, node.parents, node.attrs, node.scope = op, tuple(parents), dict(attrs), eq.scope
        node.number, node.code, node.lasti = next_number(), None, -1
        node.saved = tuple(self._saved(eq, inputs, name) for name in op.calls["saves"])
        self.made[node] = eq
        if op.single:
            node.shape, node.dtype = eq.outputs[0].aval.shape, eq.outputs[0].aval.dtype
            if node.dtype.kind == "f":
                self._place(eq.outputs[0], node)
            return
        outputs = eq.outputs[: len(eq.outputs) - len(eq.residuals)]
        node.shape = tuple(out.aval.shape for out in outputs)
        node.dtype = tuple(out.aval.dtype for out in outputs)
        for i, out in enumerate(outputs):
            if out.aval.dtype.kind == "f":
                self._place(out, projection(node, i))

    def _place(self, var: Var, node: Any) -> None:
        self.nodes[var] = node
        self.places[node] = var

    def _saved(self, eq: Equation, inputs: Sequence[Any], name: str) -> Any:
        """What a rule reads: a traced value, a Python scalar, a type. Residuals come when they are asked for."""
        op = eq.op
        if name in op.inputs:
            return self._value(inputs[op.inputs.index(name)])
        if name in op.outputs:
            return self.tensor(eq.outputs[op.outputs.index(name)])
        if name in op.residuals:
            return None
        value = self._value(inputs[op.inputs.index(name.removesuffix("_aval"))])
        if isinstance(value, list):
            return [t.aval for t in value]
        return value.aval if isinstance(value, Tensor) else value

    def _value(self, atom: Any) -> Any:
        if isinstance(atom, tuple):
            return [self._value(a) for a in atom]
        return self.tensor(atom) if type(atom) is Var else atom.value

    # the pass ---------------------------------------------------------------------------------------------------

    def defer(self, ys: Any, xs: Any, gs: Any, create_graph: bool) -> tuple[Var, ...]:
        """The gradient of variables of this trace, written out."""
        ys, xs, gs = ([self._own(a) for a in group(atom)] for atom in (ys, xs, gs))
        for x in xs:
            self.leaf(x)
        start = len(self.equations)
        if self.depth == 0:
            self.number += 1
            self.taken = Backward(modes.current().call)
        found = self._pull_back(ys, [self.nodes[x] for x in xs], gs, create_graph)
        done: dict[Any, Var] = {}
        for x in xs:
            node = self.nodes[x]
            if node in done:
                continue
            if node in found:
                done[node] = self._own(self.var(found[node]))
            else:
                asked = ys[0] if ys else x
                with self._part_of(self.producer.get(asked), "zero", create_graph, asked):
                    zero = zeros.public(shape=x.aval.shape, dtype=x.aval.dtype.name)._value
                done[node] = zero
                if self.depth == 0:
                    of = self.producer.get(ys[0]) if ys else None
                    self.notes.append(Note(self.number, of, "zero", x, zero, zero, zero))
        self.of.update((var, self.producer.get(ys[0]) if ys else None) for var in done.values())
        if not create_graph:
            self._cut(done, start)
        return tuple(done[self.nodes[x]] for x in xs)

    def _own(self, atom: Var | Literal) -> Var:
        assert type(atom) is Var
        return atom

    def _cut(self, done: dict[Any, Var], start: int) -> None:
        """Give gradients that have no history none."""
        here = {out for eq in self.equations[start:] for out in eq.outputs}
        for node, var in done.items():
            if var not in self.varying or var in self.cut:
                continue
            if var in here:
                self.cut[var] = None
            else:  # the gradient is a value of the forward pass, which keeps its own history
                done[node] = self._stop(var)

    def stopped(self, atom: Var | Literal) -> Var | Literal:
        if type(atom) is Var and atom in self.cut and self.cut[atom] is None:
            self.cut[atom] = self._stop(atom)
        return super().stopped(atom)

    def _stop(self, var: Var) -> Var:
        """A gradient cut from its history: part of the derivative that it comes from."""
        with self._beside(var, "cut"):
            return self._append(stop_gradient, (var,), {}, (var.aval,))[0]

    def _beside(self, var: Var, rule: str) -> Any:
        """What is done to a gradient belongs to the derivative that it comes from."""
        eq = self.producer.get(var)
        origin = None if eq is None else eq.origin
        passes = None if origin is None else origin.passes
        if origin is not None:
            eq = self.producer.get(origin.of, eq)
        elif var in self.of:
            eq = self.of[var]
        return self._part_of(eq, rule, modes.current().grad, passes=passes)

    def _pull_back(self, ys: list[Var], targets: list[Any], gs: list[Var], create_graph: bool) -> dict[Any, Any]:
        given: list[Var | None] = [*gs] if gs else [None] * len(ys)
        roots = [(self.nodes[y], y, g) for y, g in zip(ys, given, strict=True) if y in self.nodes]
        self.depth += 1
        try:
            return self._run(roots, set(targets), create_graph)
        finally:
            self.depth -= 1

    def _run(self, roots: list[tuple[Any, Var, Var | None]], targets: set[Any], create_graph: bool) -> dict[Any, Any]:
        order = _back_to(targets, [node for node, _, _ in roots])
        needed = leading_to(order, targets)
        table = Table()
        for node, y, g in roots:
            if node in needed:
                with self._part_of(self.producer.get(y), "seed", create_graph, y) as label:
                    self._deposit(table, node, self._seed(y) if g is None else self.tensor(g), label, "seed")
        result = {}
        last = None  # the equation whose rules have run last
        for node in order:
            g = table.pop(node, None)
            if g is None:
                continue
            if type(g) is Total and g.levels:
                with self._part_of(self.made.get(node, last), SUM, create_graph):
                    g = g.whole(True)
            g = run_of(g)
            if node in targets:
                result[node] = g
            if type(node) is Node:
                last = self.made[node]
                self._pull(node, g, table, needed, create_graph)
            elif type(node) is not Leaf:
                with self._part_of(self.made[node.parents[0]], SUM, create_graph):
                    unproject(node, g, table, True)
        return result

    def _seed(self, y: Var) -> Tensor:
        seed: Tensor = ones.public(shape=y.aval.shape, dtype=y.aval.dtype.name)
        return seed

    def _pull(self, node: Any, g: Any, table: Table, needed: Any, create_graph: bool) -> None:
        eq = self.made[node]
        with self._part_of(eq, "", create_graph) as label:
            if node.op.residuals and node.op.kind is not structural:
                self._take_residuals(node, eq)
            for name, parent, c in contributions(node, g, needed, True, label):
                self._deposit(table, parent, c, label, name)

    def _deposit(self, table: Table, parent: Any, c: Any, label: Callable[[str], None], name: str) -> None:
        """As `tensorgraph.engine.pull.deposit`, saying what the equations are for."""
        label("fit")
        fitted = fit_tensor(c, parent)
        if parent in table:
            label(SUM)
            table.accumulate(parent, fitted, True)
        else:
            table[parent] = fitted
        total = run_of(table[parent])
        if self.depth == 1:
            of = None if self.origin is None else self.producer.get(self.origin.of)
            parts = (self._own(self.var(t)) for t in (c if isinstance(c, Tensor) else fitted, fitted, total))
            self.notes.append(Note(self.number, of, name, self.places[parent], *parts))

    def _take_residuals(self, node: Any, eq: Equation) -> None:
        """Let a rule read what the forward keeps: outputs of the forward's equation from now on."""
        residuals = self.residuals(self.tensor(eq.outputs[0]))
        if not residuals and node.op.backward is None:
            kept = ", ".join(node.op.residuals)
            raise TypeError(
                f"{node.op.name} keeps {kept} for its derivative, which are not all arrays: its gradient cannot be "
                "written out; let the forward return arrays there, or take the gradient without writing it out"
            )
        given = dict(zip(node.op.residuals, residuals, strict=False))
        saves = node.op.calls["saves"]
        node.saved = tuple(given.get(name, value) for name, value in zip(saves, node.saved, strict=True))

    @contextmanager
    def _part_of(
        self,
        eq: Equation | None,
        rule: str,
        create_graph: bool,
        of: Var | None = None,
        passes: tuple[Backward, ...] | None = None,
    ) -> Iterator[Callable[[str], None]]:
        """What is emitted inside belongs to the derivative of `eq`: its call, its line. Gives what names the rule.

        `of` is what it is a derivative of where no equation makes that: an input, a cell. `passes` are the gradients
        that it belongs to, unless that is the one that is written out.
        """
        if passes is None:
            passes = (*(() if eq is None or eq.origin is None else eq.origin.passes), self.taken)
        before = self.at, self.origin
        inner = self.origin is not None  # a rule that takes gradients itself: all of it is that rule's

        def label(name: str) -> None:
            known = of if eq is None else eq.outputs[0]
            if not inner and type(known) is Var:
                self.origin = Origin(known, name, passes)

        changes: dict[str, Any] = {"grad": create_graph}
        if not inner and eq is not None:
            self.at = eq.source
            changes["call"] = eq.call
        label(rule)
        try:
            with modes.use(**changes):
                yield label
        finally:
            self.at, self.origin = before


def _back_to(targets: set[Any], roots: list[Any]) -> list[Any]:
    """What the roots depend on, newest first, without what is older than every target: no way to one leads there.

    A derivative rule that takes gradients itself asks about what it has just made, at the end of a long tape.
    """
    oldest = min((node.number for node in targets), default=0)
    seen: set[Any] = {node for node in roots if node.number >= oldest}
    stack = list(seen)
    while stack:
        for parent in stack.pop().parents:
            for node in parent if type(parent) is tuple else (parent,):
                if node is not None and node not in seen and node.number >= oldest:
                    seen.add(node)
                    stack.append(node)
    return sorted(seen, key=lambda node: node.number, reverse=True)
