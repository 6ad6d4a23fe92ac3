"""A graph for a batch: every op called once for all examples, by its batching rule.

The graph is run again with values that either hold all examples, the batch axis in front, or are the same for all.
An equation of shared values alone stays as it is. A fused op without a rule becomes its reference, and the gradient of
a fused op that of its batch. A deferred gradient stays one equation: what it is taken with respect to gets a batch axis
where it is made, shared parameters too, so that the gradient of all results together is each example's own. A random
state that the graph draws from and writes is one for each example: what a loop would find there. Of cells that are
named each example has its own, along the first axis: so whole training steps, of networks side by side, are one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tensorgraph.engine import modes
from tensorgraph.engine.aval import Aval
from tensorgraph.engine.batching import (
    BatchCall,
    examples_first,
    moved,
    no_rule,
    of_example,
    outputs_of,
    repeated,
    rule_of,
    stacked,
)
from tensorgraph.engine.tensor import Tensor, as_array, wrap
from tensorgraph.engine.tree import unflatten
from tensorgraph.graph.calls import Copies
from tensorgraph.graph.draws import draws_between
from tensorgraph.graph.equation import is_number
from tensorgraph.graph.graph import Equation, Graph, Literal, Var
from tensorgraph.graph.inline import asked, standing_for
from tensorgraph.graph.trace import trace
from tensorgraph.ops.creation import ones
from tensorgraph.ops.random import turns
from tensorgraph.passes.rerun import Rerun

__all__ = ["batched"]

Value = tuple[Any, bool]  # a Tensor or a number, and whether it holds all examples


def batched(
    graph: Graph,
    size: int,
    in_dims: int | Sequence[int | None] | None = 0,
    *,
    out_dims: int | Sequence[int | None] | None = 0,
    loop: bool = False,
    own: Collection[str] = (),
) -> Graph:
    """The graph that does for a batch of examples what this one does for one.

    Parameters
    ----------
    graph : Graph
    size : int
        The number of examples.
    in_dims : int, None, or one an input
        The batch axis of each input; None where it is the same for all examples.
    out_dims : int, None, or one an output
        The batch axis of the results; None where a result is the same for all examples. With an axis such a one is
        repeated; a plain number stays.
    loop : bool
        Call an op that has no batching rule for one example after the other.
    own : collection of str
        Paths of cells of which each example has its own: they get a first axis, and are written for each example.

    Returns
    -------
    Graph
        Other cells are shared by all examples. Where the graph draws from the random state of such a cell, each example
        draws what it would draw in its turn of a loop, and the state is written as the loop would leave it.

    Raises
    ------
    NotImplementedError
        For an op without a batching rule, naming it.
    ValueError
        Where a shared cell would get a value for each example, or `in_dims`, `out_dims` or `own` do not fit.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> g = tg.trace(lambda x, w: (x @ w).sum(), tg.f32[3], tg.f32[3, 2])
    >>> many = g.batched(4, (0, None))
    >>> many.inputs, many.outputs[0].aval
    ((x: f32[4, 3], w: f32[3, 2]), f32[4])
    """
    dims = _one_each(in_dims, len(graph.inputs), graph.name, "inputs, and in_dims says the batch axes of")
    ends = _one_each(out_dims, len(graph.outputs), graph.name, "outputs, and out_dims says the batch axes of")
    run = _Batching(graph, size, dims, loop, own)
    with run.running():
        outputs, written = run.whole(graph)
        result = [
            _end(value if on or end is None else repeated(value, size), on, end) if type(atom) is Var else value
            for atom, (value, on), end in zip(graph.outputs, outputs, ends, strict=True)
        ]
        for write, (_, on) in zip(graph.writes, written, strict=True):
            if on and write.cell not in run.own:
                path = next(decl.path for decl in graph.cells if decl.var is write.cell)
                raise ValueError(
                    f"the cell {path} would get a value for each of {size} examples, and it has room for one: assign "
                    "what they have in common, such as a mean, call eval() where a layer keeps averages, or name it in "
                    "own="
                )
        return run.result(
            unflatten(graph.out_tree, result), [value for value, _ in written], inputs=tuple(run.inputs)
        ).check()


def _one_each(dims: Any, count: int, name: str, said: str) -> tuple[int | None, ...]:
    if dims is None or isinstance(dims, int):
        return (dims,) * count
    if len(dims) != count:
        raise ValueError(f"{name} has {count} {said} {len(dims)}")
    return tuple(dims)


def _end(value: Any, on: bool, dim: int | None) -> Any:
    if dim is None:
        if on:
            raise ValueError("out_dims=None is for a result that is the same for all examples, and this one is not")
        return value
    ndim = len(value.shape)
    if not -ndim <= dim < ndim:
        raise ValueError(f"out_dims={dim} is no axis of a result of shape {value.shape}")
    return moved(value, 0, dim % ndim)


def _with_own_cells(graph: Graph, own: Mapping[Var, Var]) -> Graph:
    """The declarations and writes of a graph, with other variables for some of its cells."""
    cells = tuple(replace(decl, var=own[decl.var]) if decl.var in own else decl for decl in graph.cells)
    writes = tuple(replace(w, cell=own[w.cell]) if w.cell in own else w for w in graph.writes)
    return graph.replace(cells=cells, writes=writes)


class _Batching(Rerun):
    """The trace of the batched graph."""

    def __init__(
        self, graph: Graph, size: int, dims: Sequence[int | None], loop: bool, own: Collection[str] = ()
    ) -> None:
        unknown = sorted(set(own) - {decl.path for decl in graph.cells})
        if unknown:
            raise ValueError(f"the graph has no cell {unknown[0]!r}; it has {', '.join(d.path for d in graph.cells)}")
        # of each cell of which every example has its own: what stands here for all of them
        self.own = {
            decl.var: Var(Aval((size, *decl.aval.shape), decl.aval.dtype), decl.var.name)
            for decl in graph.cells
            if decl.path in own
        }
        super().__init__(_with_own_cells(graph, self.own) if self.own else graph)
        self.size, self.dims, self.loop = size, dims, loop
        # of a fused op's equation: the lifted inputs and the outputs of its batch, of which its gradient is taken
        self.linear: dict[Equation, tuple[list[Any], list[Value]]] = {}
        self.inputs = [self._input(var, dim) for var, dim in zip(graph.inputs, dims, strict=True)]
        self.known.update(self.inputs)
        self.varying.update(self.inputs)

    def _input(self, var: Var, dim: int | None) -> Var:
        if dim is None:
            return var
        if is_number(var):
            raise ValueError(f"the input {var} is a Python number, one for all examples: give it None in in_dims")
        ndim = len(var.aval.shape) + 1
        if not -ndim <= dim < ndim:
            raise ValueError(f"the input {var} has no batch axis {dim}: with one it has {ndim} axes")
        shape = list(var.aval.shape)
        shape.insert(dim % ndim, self.size)
        return Var(Aval(shape, var.aval.dtype), var.name)

    def whole(self, graph: Graph) -> tuple[list[Value], list[Value]]:
        """The graph itself, on its own inputs and cells."""
        given = zip(self.tensors(self.inputs), self.dims, strict=True)
        inputs = [(examples_first(value, dim), dim is not None) for value, dim in given]
        producer = {out: eq for eq in graph.equations for out in eq.outputs}
        written = {write.cell: write.value for write in graph.writes}
        cells: list[Value] = []
        after: dict[Var, Any] = {}
        for decl in graph.cells:
            if decl.var in self.own:
                cells.append((self.tensor(self.own[decl.var]), True))
                continue
            value: Any = self.tensor(decl.var)
            draws = draws_between(producer, decl.var, written.get(decl.var, decl.var))
            if draws:
                value, after[decl.var] = turns.public(value, size=self.size, draws=draws)
            cells.append((value, bool(draws)))
        outputs, values = self.run(graph, inputs, cells)
        done = zip(graph.writes, values, strict=True)
        return outputs, [self._written(w.cell, after, value) for w, value in done]

    def _written(self, cell: Var, after: Mapping[Var, Any], value: Value) -> Value:
        """What is written to a cell: a random state as the loop leaves it, to one of each example what each writes."""
        if cell in after:
            return after[cell], False
        if cell not in self.own or value[1]:
            return value
        one = value[0] if isinstance(value[0], Tensor) else wrap(np.asarray(value[0], cell.aval.dtype))
        return repeated(one, self.size), True

    def run(self, graph: Graph, inputs: Sequence[Value], cells: Sequence[Value]) -> tuple[list[Value], list[Value]]:
        """A graph on these values: what it gives and what it writes."""
        variables = (*graph.inputs, *[decl.var for decl in graph.cells])
        env: dict[Var, Value] = dict(zip(variables, (*inputs, *cells), strict=True))
        for var, array in graph.consts.items():
            constant = wrap(array)
            constant._node = graph.provenance.captured.get(var)
            env[var] = constant, False
        roots, own = asked(graph), _own_by_example(graph, {var for var, (_, on) in env.items() if on})
        wanted = _wanted(graph)
        for var in [var for var in env if var in roots]:
            env[var] = self._named(*env[var], var in own)
        names: dict[Var, Any] = {var: self.var(value) for var, (value, _) in env.items()}
        calls = Copies(self.here())
        for eq in graph.equations:
            with standing_for(self, eq, names, calls):
                outputs = self._equation(eq, env, wanted)
            for var, (value, on) in zip(eq.outputs, outputs, strict=True):
                env[var] = self._named(value, on, var in own) if var in roots else (value, on)
                names[var] = atom = self.var(env[var][0])
                if type(atom) is Var and atom.name is None and atom in self.producer:
                    atom.name = var.name
        calls.complete(names)
        return [_value(a, env) for a in graph.outputs], [_value(w.value, env) for w in graph.writes]

    def _named(self, value: Any, on: bool, own: bool) -> Value:
        """What a gradient is taken with respect to, under a name of its own."""
        if own and not on:
            value, on = repeated(value, self.size), True
        atom = self.var(value)
        return (self.tensor(self.leaf(atom)) if type(atom) is Var else value), on

    def _equation(self, eq: Equation, env: dict[Var, Value], wanted: Mapping[Var, Any]) -> list[Value]:
        pairs: list[Any] = [
            [_value(a, env) for a in atom] if isinstance(atom, tuple) else _value(atom, env) for atom in eq.inputs
        ]
        args = tuple([v for v, _ in pair] if isinstance(pair, list) else pair[0] for pair in pairs)
        on = tuple([o for _, o in pair] if isinstance(pair, list) else pair[1] for pair in pairs)
        shared = not any(any(o) if isinstance(o, list) else o for o in on)
        if eq.is_gradient:
            return self._gradient(eq, args, on, shared)
        if shared:
            atoms = tuple(tuple(map(self.var, a)) if isinstance(a, list) else self.var(a) for a in args)
            outputs = self.apply(eq.op, atoms, dict(eq.attrs), [var.aval for var in eq.outputs])
            return [(self.tensor(out), False) for out in outputs]
        call = BatchCall(
            eq.op, self.size, args, on, dict(eq.attrs), lambda body, in_dims: batched(body, self.size, in_dims)
        )
        try:
            if eq.op.primal is not None:
                return self._gradient_of_fused(eq, call)
            if eq.outputs[0] in wanted:  # the batch is made so that a gradient of it can be taken, residuals or not
                self.linear[eq] = self._linear(call, wanted[eq.outputs[0]])
                return [*self.linear[eq][1], *[(None, False) for _ in eq.residuals]]
            return self._with_residuals(eq, call) if eq.residuals else self._call(call)
        except NotImplementedError:
            if not self.loop:
                raise
        return self._one_by_one(eq, args, on)

    def _call(self, call: BatchCall) -> list[Value]:
        """A batch of calls by the op's rule, or else by its reference."""
        rule = rule_of(call.op)
        made = NotImplemented if rule is None else rule(call)
        if made is NotImplemented:
            return self._reference(call)
        return [(value if isinstance(value, Tensor) else wrap(as_array(value)), True) for value in outputs_of(made)]

    def _with_residuals(self, eq: Equation, call: BatchCall) -> list[Value]:
        """An equation whose residuals are read: the batch's, where the rule is one call of the op that keeps every
        example's apart."""
        outputs = self._call(call)
        made = self.producer.get(outputs[0][0]._value)
        if made is not None and made.op is eq.op and len(outputs) == len(made.outputs):
            result = tuple(t for t, _ in outputs)
            kept = self.residuals(result if len(result) > 1 else result[0])
            if [t.aval for t in kept] == [Aval((self.size, *r.aval.shape), r.aval.dtype) for r in eq.residuals]:
                return [*outputs, *[(t, True) for t in kept]]
        return self._one_by_one(eq, call.args, call.on)

    def _linear(self, call: BatchCall, want: Sequence[bool]) -> tuple[list[Any], list[Value]]:
        """A fused op's batch on inputs of their own names, each example's own where a gradient of it is wanted."""
        inputs = [
            self.tensor(self.leaf_of(call.whole(i))) if w else value
            for i, (value, w) in enumerate(zip(call.args, want, strict=True))
        ]
        on = tuple(o or w for o, w in zip(call.on, want, strict=True))
        return inputs, self._call(replace(call, args=tuple(inputs), on=on))

    def leaf_of(self, value: Any) -> Var:
        """A value under a name of its own, of which a gradient will be taken."""
        atom = self.lift(value)._value
        assert type(atom) is Var
        return atom

    def _gradient_of_fused(self, eq: Equation, call: BatchCall) -> list[Value]:
        """The gradient of a fused op: that of its batch."""
        primal = eq.op.primal
        assert primal is not None
        n_in, n_out = len(primal.inputs), len(primal.outputs)
        attrs = {name: value for name, value in eq.attrs.items() if name != "want"}
        want = eq.attrs["want"]
        of = next((p for p in self.linear if _same_call(p, eq)), None)
        if of is None:
            inputs, outputs = self._linear(
                BatchCall(primal, self.size, call.args[:n_in], call.on[:n_in], attrs, call.body), want
            )
        else:
            inputs, outputs = self.linear[of]
        first = len(eq.inputs) - n_out
        given = [(y, call.whole(first + k)) for k, (y, _) in enumerate(outputs)]
        pairs = [(y, g) for y, g in given if isinstance(g, Tensor)]
        ys, xs = [y for y, _ in pairs], [x for x, w in zip(inputs, want, strict=True) if w]
        return [(g, True) for g in self.gradients(ys, xs, [g for _, g in pairs], True)]

    def _one_by_one(self, eq: Equation, args: Any, on: Any) -> list[Value]:
        """An equation for one example after the other."""
        avals = [var.aval for var in eq.outputs]
        if not self.size:
            return [(wrap(np.zeros((0, *aval.shape), aval.dtype)), True) for aval in avals]
        made = []
        for i in range(self.size):
            picked = [of_example(arg, o, i) for arg, o in zip(args, on, strict=True)]
            atoms = tuple(tuple(map(self.var, a)) if isinstance(a, list) else self.var(a) for a in picked)
            made.append(self.tensors(self.apply(eq.op, atoms, dict(eq.attrs), avals)))
        return [(stacked(column), True) for column in zip(*made, strict=True)]

    def _reference(self, call: BatchCall) -> list[Value]:
        """The batch of a fused op's composition."""
        if call.op.reference is None:
            raise no_rule(call.op)
        values: list[Value] = []

        def abstract(value: Any, aval: Any, on: Any) -> Any:
            """What stands for an input in the trace of the reference: a tensor's type, anything else itself."""
            if isinstance(value, list):
                return [abstract(*each) for each in zip(value, aval, on, strict=True)]
            if not isinstance(aval, Aval):
                return Literal(value)
            values.append((value, on))
            return aval

        places = [abstract(*each) for each in zip(call.args, call.avals(), call.on, strict=True)]
        reference = call.op.reference

        def composed(*tensors: Any) -> Any:
            rest = iter(tensors)

            def fill(place: Any) -> Any:
                if isinstance(place, list):
                    return [fill(p) for p in place]
                return place.value if isinstance(place, Literal) else next(rest)

            return reference(*[fill(place) for place in places], **call.attrs)

        with modes.use(trace=None):
            graph = trace(composed, *[Aval(example.shape, example.dtype) for example in _flat(places)])
        return self.run(graph, values, [])[0]

    def _gradient(self, eq: Equation, args: Any, on: Any, shared: bool) -> list[Value]:
        ys, xs, gs = args
        if not shared:
            ys = [y if o else repeated(y, self.size) for y, o in zip(ys, on[0], strict=True)]
            if gs:
                gs = [g if o else repeated(g, self.size) for g, o in zip(gs, on[2], strict=True)]
            else:
                gs = [ones.public(shape=y.shape, dtype=y.dtype.name) for y in ys]
        of, by, given = (tuple(map(self.var, group)) for group in (ys, xs, gs))
        outputs = self.defer(of, by, given, bool(eq.attrs["create_graph"]))
        return [(self.tensor(out), not shared) for out in outputs]


def _flat(places: Sequence[Any]) -> list[Aval]:
    found: list[Aval] = []
    for place in places:
        found += _flat(place) if isinstance(place, list) else [place] if isinstance(place, Aval) else []
    return found


def _value(atom: Any, env: dict[Var, Value]) -> Value:
    return env[atom] if type(atom) is Var else (atom.value, False)


def _wanted(graph: Graph) -> dict[Var, tuple[bool, ...]]:
    """Of which inputs of a fused op's equation gradients are taken, by its first output.

    Where anything else reads what it keeps for them, it is not here.
    """
    fused = {out: eq for eq in graph.equations if eq.op.gradient is not None for out in eq.outputs}
    found: dict[Var, tuple[bool, ...]] = {}
    others = {fused[var].outputs[0] for var in graph.results() if var in fused and var in fused[var].residuals}
    for eq in graph.equations:
        for of in dict.fromkeys(fused[var] for var in eq.variables() if var in fused):
            first = of.outputs[0]
            if _same_call(of, eq):
                known = found.get(first, (False,) * len(of.inputs))
                found[first] = tuple(a or b for a, b in zip(known, eq.attrs["want"], strict=True))
            elif not set(of.residuals).isdisjoint(eq.variables()):
                others.add(first)
    return {first: want for first, want in found.items() if first not in others}


def _same_call(of: Equation, gradient: Equation) -> bool:
    """Whether an equation is the gradient of this call of a fused op."""
    return (
        gradient.op is of.op.gradient
        and all(
            a is b or (type(a) is Literal and type(b) is Literal and a.value is b.value)
            for a, b in zip(of.inputs, gradient.inputs, strict=False)
        )
        and all(gradient.attrs[name] == value for name, value in of.attrs.items())
    )


def _own_by_example(graph: Graph, on: set[Var]) -> set[Var]:
    """What a gradient is taken with respect to that differs by example: each needs its own, if only of a parameter."""
    own: set[Var] = set()
    while True:
        varying = on | own
        before = len(own)
        for eq in graph.equations:
            if any(var in varying for var in eq.variables()):
                varying.update(eq.outputs)
                if eq.is_gradient:
                    own.update(a for a in eq.group(1) if type(a) is Var)
        if len(own) == before:
            return own
