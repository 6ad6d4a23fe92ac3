"""A graph in the making: what ops, cells and gradients do while a function is traced.

Every op emits one equation. Cells and ``.grad`` are shadowed: the live ones are untouched, also after an exception.
Gradients are deferred: `backward` and `gradients` emit one equation.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tensorgraph.engine import modes
from tensorgraph.engine.aval import Aval, Number
from tensorgraph.engine.backward import cotangent, reachable
from tensorgraph.engine.calling import abstract, explain
from tensorgraph.engine.cells import Cell
from tensorgraph.engine.exits import ForeignError
from tensorgraph.engine.numbers import TracedNumber
from tensorgraph.engine.op import Op, creation, random
from tensorgraph.engine.open_sizes import OpenSize, has_open, looked
from tensorgraph.engine.operands import Borrowed
from tensorgraph.engine.tape import Leaf, describe_node, user_source
from tensorgraph.engine.tensor import Tensor, TraceError, as_array, new, require_float, weak_cast, wrap
from tensorgraph.engine.tree import flatten
from tensorgraph.graph.dependence import reached
from tensorgraph.graph.graph import Equation, Graph, Literal, Origin, Provenance, Source, Var, Write, digest
from tensorgraph.graph.losses import tell_losses
from tensorgraph.graph.numbers import NumberRecorder
from tensorgraph.graph.opaque import Opaque
from tensorgraph.graph.recorder import CallRecorder
from tensorgraph.graph.sayable import sayable
from tensorgraph.graph.size_reads import SizeReads, plain
from tensorgraph.graph.starts import declared
from tensorgraph.jit.properties import cached_property
from tensorgraph.ops.arithmetic import add
from tensorgraph.ops.structure import alias, gradients_of, stop_gradient

__all__ = ["Trace"]

ndarray = np.ndarray


class Trace(CallRecorder, NumberRecorder):
    """A graph in the making. Lives in the mode record while the function runs."""

    def __init__(self, name: str = "f") -> None:
        super().__init__(name)
        self.equations: list[Equation] = []
        self.producer: dict[Var, Equation] = {}
        self.positions: dict[Var, int] = {}  # in `equations`, of the first output of an op that has residuals
        self.cells: dict[Cell, Var] = {}  # the value at entry
        self.shadow: dict[Cell, Var | Literal] = {}  # the value after an assign
        self.read_again: dict[Cell, Var] = {}  # a written cell read again is a fresh leaf
        self.write_source: dict[Cell, Source | None] = {}
        # by array and node, which are kept so that their ids stay taken: x and x.detach() share an array
        self.consts: dict[Any, tuple[Var, Any, Any]] = {}
        self.leaves: dict[Var, Any] = {}  # differentiable roots: the cell, or None for an input
        self.differentiable: set[Var] = set()
        # depends on an input, a cell or a captured tensor with a history: differentiable, if whoever evaluates asks
        self.varying: set[Var] = set()
        self.cut: dict[Var, Var | None] = {}  # computed under no_grad from something varying
        self.inputs: list[Var] = []
        self.adopted: dict[Var, Var] = {}  # what stands here for values of another trace
        self.stands: dict[Var, Any] = {}  # the examples of inputs: cells, arrays, types
        self.captured: dict[Var, Any] = {}  # the node of a captured tensor that has one
        self.grads: dict[Any, Tensor | None] = {}
        self.opaque: Opaque | None = None  # the arguments that are not looked into
        self.lent: dict[int, Any] = {}  # arrays of the user's that were captured, by their addresses
        self.watcher: Any = None  # who sees what the function reads, where the graph will run in its place
        self.sizes: SizeReads | None = None  # who looks at sizes, where that is watched
        self.origin: Origin | None = None  # while a graph is run again: the derivative that its equations stand for

    # values ---------------------------------------------------------------------------------------------------

    def tensor(self, var: Var) -> Tensor:
        t = new(TracedNumber if type(var.aval) is Number else Tensor)
        t._value, t._node = var, None
        return t

    def input(self, aval: Aval, name: str | None, requires_grad: bool = False) -> Tensor:
        var = Var(aval, name)
        self.inputs.append(var)
        if type(aval) is not Number:
            self.varying.add(var)
        if requires_grad:
            self.differentiable.add(var)
            self.leaves[var] = None
        return self.tensor(var)

    def knows(self, value: Var) -> bool:
        """Whether a variable may be used here."""
        return value in self.producer or value in self.known or value in self.adopted

    def var(self, t: Any) -> Var | Literal:
        """The graph's name for a tensor: traced, a cell, or an array captured from outside."""
        if not isinstance(t, Tensor):
            return Literal(t if type(t) is not OpenSize or self.sizes is not None else t.looked())
        if isinstance(t, Cell):
            return self.var_of_cell(t)
        value = t._value
        if type(value) is Var:
            if value not in self.producer and value not in self.known:
                if value not in self.adopted:
                    raise ForeignError(value)
                return self.adopted[value]
            return value
        key: Any = (id(value), id(t._node))
        if type(t) is Borrowed:  # the user may change it while the trace goes on
            self.lent[id(value)] = value
            key = digest(value)
            if key not in self.consts:
                value = value.copy()
        found = self.consts.get(key)
        if found is None:
            if self.opaque is not None:
                self.opaque.refuse(value if type(t) is not Borrowed else t._value)
            var = Var(Aval(value.shape, value.dtype))
            self.known.add(var)
            if t._node is not None:
                self.differentiable.add(var)
                self.varying.add(var)
                self.leaves[var] = t
                self.captured[var] = t._node
            found = self.consts[key] = (var, value, t._node)
        return found[0]

    @cached_property
    def known(self) -> set[Var]:
        """Variables that no equation makes: inputs, cells, constants."""
        return set()

    def var_of_cell(self, cell: Cell) -> Var | Literal:
        if cell in self.shadow:
            written = self.shadow[cell]
            if type(written) is Literal or (cell._node is None and written not in self.varying):
                return written
            if cell not in self.read_again:  # what is read after a write has no history
                out = self._append(stop_gradient, (written,), {}, (abstract_of(written),))[0]
                if cell._node is not None:  # and of a parameter is a leaf of its own
                    out = self._append(alias, (out,), {}, (abstract_of(written),))[0]
                    self.differentiable.add(out)
                    self.varying.add(out)
                    self.leaves[out] = cell
                self.read_again[cell] = out
            return self.read_again[cell]
        var = self.cells.get(cell)
        if var is None:
            var = self.cells[cell] = Var(Aval(cell._value.shape, cell._value.dtype), cell.path or None)
            self.known.add(var)
            self.varying.add(var)
            if cell._node is not None:
                self.differentiable.add(var)
                self.leaves[var] = cell
        return var

    def read(self, cell: Cell) -> Tensor:
        atom = self.var_of_cell(cell)
        return self.tensor(atom) if isinstance(atom, Var) else wrap(np.asarray(atom.value, cell._value.dtype))

    def write(self, cell: Cell, value: Any) -> None:
        own = Aval(cell._value.shape, cell._value.dtype)
        self.var_of_cell(cell)  # declares it
        if type(value) is TracedNumber:
            value = self.stored(value, own.dtype, f"assign to {cell._label()}")
        if isinstance(value, Tensor):
            atom, aval = self.var(value), value.aval
        else:
            array = value if type(value) is ndarray else weak_cast(value, own.dtype, f"assign to {cell._label()}")
            aval = Aval(array.shape, array.dtype)
            atom = self.var(wrap(array.copy()))
        if aval.shape != own.shape:
            raise ValueError(f"cannot assign shape {aval.shape} to {cell._label()} of shape {own.shape}")
        if aval.dtype != own.dtype:
            raise TypeError(
                f"cannot assign {aval.dtype} to {cell._label()} of {own.dtype}; "
                f"convert the value with .astype('{own.dtype}')"
            )
        self.shadow[cell] = atom
        self.read_again.pop(cell, None)
        self.write_source[cell] = source() if self.lines else None

    def is_differentiable(self, t: Tensor) -> bool:
        if isinstance(t, Cell):
            return t._node is not None
        return t._value in self.differentiable if type(t._value) is Var else t._node is not None

    # equations ------------------------------------------------------------------------------------------------

    def emit(self, op: Op, inputs: list[Any], attrs: dict[str, Any]) -> Any:
        """Record one equation; gives its outputs as traced tensors."""
        if self.sizes is None and any(map(has_open, (*inputs, *attrs.values()))):  # of a trace around this one
            inputs, attrs = looked(inputs), {name: looked(value) for name, value in attrs.items()}
        try:
            given = tuple(abstract(i) for i in inputs)
            avals = op.infer(given, attrs) if self.sizes is None else self.sizes.infer(op, given, attrs)
        except Exception as error:
            explain(op, inputs, attrs, error)
        if op.kind in (creation, random) and attrs.get("dtype", True) is None and avals[0].dtype.kind == "f":
            attrs = {**attrs, "dtype": avals[0].dtype.name}  # a graph is the same whatever the default becomes
        grad = modes.current().grad
        atoms = tuple(
            tuple(self._use(i, grad) for i in item) if isinstance(item, list) else self._use(item, grad)
            for item in inputs
        )
        tensors = [self.tensor(out) for out in self.apply(op, atoms, attrs, avals)]
        return tensors[0] if op.single else tuple(tensors)

    def apply(self, op: Op, atoms: Any, attrs: dict[str, Any], avals: Sequence[Aval]) -> tuple[Var, ...]:
        """One equation on variables of this trace; notes where gradients may flow and where they are cut."""
        outputs = self._append(op, atoms, attrs, avals)
        # a gradient may flow through the op from the inputs that have a rule; no_grad cuts all that should have one
        wanted = op.unruled if not modes.current().grad else ()
        passing = {
            a for name, atom in zip(op.inputs, atoms, strict=True)
            if op.joint is not None or op.rules[name] is not None or name in wanted
            for a in (atom if isinstance(atom, tuple) else (atom,)) if type(a) is Var
        }  # fmt: skip
        floats = [out for out in outputs if out.aval.dtype.kind == "f"]
        if not modes.current().grad:
            if not self.varying.isdisjoint(passing) or not self.cut.keys().isdisjoint(passing):
                self.cut.update(dict.fromkeys(floats))
        else:
            if not self.differentiable.isdisjoint(passing):
                self.differentiable.update(floats)
            if not self.varying.isdisjoint(passing):
                self.varying.update(floats)
        return outputs

    def _use(self, item: Any, grad: bool) -> Var | Literal:
        return self.stopped(self.var(item)) if grad else self.var(item)

    def stopped(self, atom: Var | Literal) -> Var | Literal:
        """The variable as it is used where gradients flow."""
        if type(atom) is Var and atom in self.cut:
            # what no_grad cut is used where gradients flow: say so in the graph
            stopped = self.cut[atom]
            if stopped is None:
                stopped = self._append(stop_gradient, (atom,), {}, (atom.aval,))[0]
                self.cut[atom] = stopped
            return stopped
        return atom

    def _append(self, op: Op, atoms: Any, attrs: dict[str, Any], avals: Sequence[Aval]) -> tuple[Var, ...]:
        outputs = tuple(Var(plain(aval)) for aval in avals)
        if self.sizes is not None:
            atoms, attrs = self.sizes.made(op, atoms, attrs, outputs)
        equation = Equation(op, atoms, attrs, outputs, *self.place(outputs), self.origin, self.part)
        self.equations.append(equation)
        for out in outputs:
            self.producer[out] = equation
        if op.residuals:
            self.positions[outputs[0]] = len(self.equations) - 1
        return outputs

    def residuals(self, result: Any) -> list[Tensor]:
        """What the op that made `result` keeps for its derivative: from now on outputs of its equation.

        None at all where that is not arrays.
        """
        eq = self.producer[(result[0] if isinstance(result, tuple) else result)._value]
        if not eq.residuals:
            avals = eq.op.infer_residuals(tuple(map(plain, eq.avals())), eq.attrs)
            if avals is None:
                return []
            place = self.positions[eq.outputs[0]]
            eq = self.equations[place] = replace(eq, outputs=(*eq.outputs, *map(Var, avals)))
            for out in eq.outputs:
                self.producer[out] = eq
            if self.sizes is not None:
                self.sizes.kept(eq, eq.residuals)
        return [self.tensor(var) for var in eq.residuals]

    # gradients ------------------------------------------------------------------------------------------------

    def get_grad(self, t: Tensor) -> Tensor | None:
        return self.grads.get(self._grad_key(t))

    def set_grad(self, t: Tensor, value: Tensor | None) -> None:
        self.grads[self._grad_key(t)] = value

    def _grad_key(self, t: Tensor) -> Any:
        if type(t._value) is Var:
            return self._root(t._value)
        return t if t._node is None else t._node

    def _root(self, var: Var) -> Any:
        """What a differentiable root is in the eager graph: a leaf of the tape, or else itself."""
        owner = self.leaves.get(var)
        return var if owner is None else owner._node

    def lift(self, t: Any, dtype: Any = None) -> Tensor:
        """A fresh differentiable name for a value: a transform's own leaf."""
        t = t if isinstance(t, Tensor) else wrap(as_array(t, dtype))
        t = self.strong(t, dtype) if type(t) is TracedNumber else t
        atom = self._use(t, True)
        if not modes.current().grad and atom in self.varying:  # in no_grad what is made here has no history behind it
            atom = self._append(stop_gradient, (atom,), {}, (t.aval,))[0]
        out = self._append(alias, (atom,), {}, (t.aval,))[0]
        self.frames.unname(out)  # it is no result of the call that is running
        self.differentiable.add(out)
        self.varying.add(out)
        return self.tensor(out)

    def depends(self, var: Any, others: Iterable[Any], past: Op | None = None) -> bool:
        """Whether one of the others is behind a variable, without going through what the op `past` gave."""
        targets = set(others)
        seen: set[Any] = set()
        stack: list[Any] = [var]
        while stack:
            atom = stack.pop()
            if atom in targets:
                return True
            if type(atom) is Var and atom not in seen:
                seen.add(atom)
                made = self.producer.get(atom)
                stack += () if made is None or made.op in (stop_gradient, past) else made.atoms()
        return False

    def cells_read(self) -> Mapping[Cell, Var]:
        """The names that the values of cells have here at entry."""
        return self.cells

    def _leaves_of(self, y: Var) -> list[Var]:
        """The differentiable roots that a variable depends on, in order of their first use."""
        seen: set[Var] = set()
        found: set[Var] = set()
        stack = [y]
        while stack:
            var = stack.pop()
            if var in seen or var not in self.differentiable:
                continue
            seen.add(var)
            if var in self.leaves:
                found.add(var)
                continue
            stack.extend(a for a in self.producer[var].atoms() if type(a) is Var)
        return [var for var in self.leaves if var in found]

    def backward(self, t: Tensor, grad_output: Any, create_graph: bool) -> None:
        y = self.var(t)
        if type(y) is not Var or y not in self.differentiable:
            raise RuntimeError(
                "backward: this traced tensor does not depend on anything that requires a gradient. Use Parameters, "
                "pass examples made with requires_grad=True, and compute outside no_grad"
            )
        leaves = self._leaves_of(y)
        if any(eq.is_gradient and eq.attrs["create_graph"] for eq in self.equations):
            consts = {var: array for var, array, _ in self.consts.values()}
            leaves = reached(y, leaves, self.inputs, list(self.cells.values()), consts, self.equations)
        roots = {self._root(x): x for x in leaves}
        tell_losses(self.equations, [y], leaves)
        self._refuse_history([y], None)
        grads = self.gradients([t], [self.tensor(x) for x in roots.values()], [grad_output], create_graph)
        for key, grad in zip(roots, grads, strict=True):
            old = self.grads.get(key)
            if old is not None:
                grad = add.public(old, grad)
            self.grads[key] = grad

    def gradients(
        self, ys: Sequence[Tensor], xs: Sequence[Tensor], gs: Sequence[Any], create_graph: bool
    ) -> list[Tensor]:
        """One deferred equation."""
        for i, x in enumerate(xs):
            require_float(x.dtype, "gradients with respect to an x")
            if not self.is_differentiable(x):
                remedy = "use tensorgraph.grad on a function, or pass an example made with requires_grad=True"
                remedy = remedy if self.watcher is None else "make it with requires_grad=True"  # as eager code says
                raise RuntimeError(f"gradients: xs[{i}] ({x.aval}) does not require a gradient; {remedy}")
        given: list[Any] = []
        if any(g is not None for g in gs):
            given = [self._as_tensor(cotangent(y, g, "gradients")) for y, g in zip(ys, gs, strict=True)]
        else:
            for y in ys:
                cotangent(y, None, "gradients")
        # a leaf of the eager graph may be here under several names; its gradient is their sum
        names = self._leaf_vars(xs)
        # a zero from a name that no y depends on would make -0.0 of a sum 0.0
        if any(len(group) > 1 for group in names):
            used = {leaf for y in map(self.var, ys) if type(y) is Var for leaf in self._leaves_of(y)}
            names = [[v for v in group if v in used] or group[:1] for group in names]
        self._refuse_history([v for v in map(self.var, ys) if type(v) is Var], [self._grad_key(x) for x in xs])
        flat = tuple(var for group in names for var in group)
        atoms = (tuple(self._use(t, True) for t in ys), flat, tuple(self._use(t, True) for t in given))
        parts = iter([self.tensor(out) for out in self.defer(*atoms, bool(create_graph))])
        result = []
        for group in names:
            total = next(parts)
            for _ in group[1:]:
                total = add.public(total, next(parts))
            result.append(total)
        return result

    def defer(self, ys: Any, xs: Any, gs: Any, create_graph: bool) -> tuple[Var, ...]:
        """The gradient of variables of this trace: one equation."""
        avals = [x.aval for x in xs]
        outputs = self._append(gradients_of, (ys, xs, gs), {"create_graph": create_graph}, avals)
        if not modes.current().grad:
            self.cut.update(dict.fromkeys(outputs))
        elif create_graph:
            self.differentiable.update(outputs)
            self.varying.update(outputs)
        return outputs

    def leaf(self, var: Var, shared: bool = False) -> Var:
        """The name under which a gradient will be asked for with respect to this variable.

        `shared`: it may be the name of something else too.
        """
        return var

    def _leaf_vars(self, xs: Sequence[Tensor]) -> list[list[Var]]:
        """The names that each tensor has here."""
        used = [(self._use(x, True), self._grad_key(x)) for x in xs]
        by_root: dict[int, list[Var]] = {}
        for var in self.leaves:  # which are as many as parameters: looked through once
            by_root.setdefault(id(self._root(var)), []).append(var)
        return [[var] if isinstance(key, Var) else by_root.get(id(key), []) for var, key in used]  # type: ignore[list-item]

    def _refuse_history(self, ys: list[Var], keys: list[Any] | None) -> None:
        """Raise where a gradient would have to go on behind a captured tensor, out of the trace's reach.

        `keys` are those of the tensors asked about; None: whatever has a gradient.
        """
        owners = [owner for owner in self.leaves.values() if owner is not None]
        if all(type(owner._node) is Leaf and not getattr(owner._node, "hooks", None) for owner in owners):
            return  # as nearly always, and then the graph need not be walked
        for var in {leaf: None for y in ys for leaf in self._leaves_of(y)}:
            owner = self.leaves[var]
            hooks = () if owner is None else getattr(owner._node, "hooks", None) or ()
            if any(hooks) and (keys is None or owner._node in keys):
                raise TraceError(
                    "the trace takes a gradient of a tensor that has hooks (register_hook), which are Python calls and "
                    "cannot be traced: remove them, or use tensorgraph.custom_vjp inside the function"
                )
            if owner is None or type(owner._node) is Leaf:
                continue
            behind = set(reachable([owner._node])) - {owner._node}
            lost = behind if keys is None else behind.intersection(keys)
            if any(type(node) is not Leaf or node.user for node in lost):
                raise TraceError(
                    f"the trace uses a tensor ({owner.aval}, made by {describe_node(owner._node)}) that was computed "
                    "before it, so the gradient cannot go on behind it: pass that tensor as an argument, compute it "
                    "inside the traced function, or detach() it"
                )

    def _as_tensor(self, g: Any) -> Tensor:
        return g if isinstance(g, Tensor) else wrap(g)

    # the end --------------------------------------------------------------------------------------------------

    def finish(
        self, inputs: list[Tensor], result: Any, in_tree: Any, statics: Any, arguments: tuple[str, ...]
    ) -> Graph:
        leaves, out_tree = flatten(result)
        out_tree = sayable(out_tree, "trace: the result")
        outputs: list[Var | Literal] = []
        for leaf in leaves:
            if isinstance(leaf, (ndarray, np.generic)):
                leaf = wrap(as_array(leaf))
            if not isinstance(leaf, Tensor) and not isinstance(leaf, (int, float, bool, type(None))):
                raise TypeError(
                    "a traced function returns tensors, numbers, None, and lists, tuples, dicts, dataclasses of these, "
                    f"got {type(leaf).__name__}: return what it holds, in a dict"
                )
            outputs.append(self._use(leaf, True))
        for eq in self.equations:
            for var in eq.outputs:  # of the names that a value has in the functions around it, the innermost
                inside = () if eq.call is None else eq.call.callers()
                var.name = next((call.names[var] for call in inside if var in call.names), var.name)
        self.settle(self.equations)
        writes = []
        for cell, value in self.shadow.items():
            writes.append(Write(self.cells[cell], value, self.write_source[cell]))
        cells = declared(dict(zip(self.named_paths(), self.cells, strict=True)), [*self.cells.values()])
        consts = {}
        for var, array, _ in self.consts.values():
            kept = array.copy()
            kept.flags.writeable = False
            consts[var] = kept
        return Graph(
            tuple(t._value for t in inputs), tuple(cells), consts, tuple(self.equations), tuple(writes), tuple(outputs),
            in_tree, out_tree, statics, self.top.name, arguments,
            provenance=Provenance(tuple(weakref.ref(cell) for cell in self.cells), self.captured),
        )  # fmt: skip


def abstract_of(atom: Var | Literal) -> Aval:
    assert type(atom) is Var
    return atom.aval


def source() -> Source | None:
    """The user's line."""
    found = user_source()
    return None if found is None else Source(*found)
