"""A graph for a batch: every op called once for all examples, by its batching rule.

The graph is run again with values that either hold all examples, the batch axis in front, or are the same for all.
An equation of shared values alone stays as it is, but for a draw, which is made for every example. A fused op without a
rule becomes its reference. A deferred gradient stays one equation: what it is taken with respect to gets a batch axis
where it is made, shared parameters too, so that the gradient of all results together is each example's own.
"""

from __future__ import annotations

from collections.abc import Sequence
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
from tensorgraph.engine.op import Op, random
from tensorgraph.engine.tensor import Tensor, as_array, wrap
from tensorgraph.engine.tree import unflatten
from tensorgraph.graph.calls import Copies
from tensorgraph.graph.graph import Equation, Graph, Literal, Var
from tensorgraph.graph.inline import asked, standing_for
from tensorgraph.graph.trace import trace
from tensorgraph.passes.rerun import Rerun

__all__ = ["batched"]

Value = tuple[Any, bool]  # a Tensor or a number, and whether it holds all examples


def batched(graph: Graph, size: int, in_dims: int | Sequence[int | None] | None = 0, *, out_dims: int = 0) -> Graph:
    """The graph that does for a batch of examples what this one does for one.

    Parameters
    ----------
    graph : Graph
    size : int
        The number of examples.
    in_dims : int, None, or one an input
        The batch axis of each input; None where it is the same for all examples.
    out_dims : int
        The batch axis of the results. A result that is the same for all examples is repeated; a plain number stays.

    Returns
    -------
    Graph
        Cells are shared by all examples. Each example draws random numbers of its own, all from one state.

    Raises
    ------
    NotImplementedError
        For an op without a batching rule, naming it.
    ValueError
        Where a cell would get a value for each example, or `in_dims` does not fit.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> from tensorgraph.passes.batching import batched
    >>> g = tg.trace(lambda x, w: (x @ w).sum(), tg.f32[3], tg.f32[3, 2])
    >>> many = batched(g, 4, (0, None))
    >>> many.inputs, many.outputs[0].aval
    ((x: f32[4, 3], w: f32[3, 2]), f32[4])
    """
    dims = (in_dims,) * len(graph.inputs) if in_dims is None or isinstance(in_dims, int) else tuple(in_dims)
    if len(dims) != len(graph.inputs):
        raise ValueError(f"{graph.name} has {len(graph.inputs)} inputs, and in_dims says the batch axes of {len(dims)}")
    run = _Batching(graph, size, dims)
    with run.running():
        outputs, written = run.whole(graph)
        result = []
        for atom, (value, on) in zip(graph.outputs, outputs, strict=True):
            if type(atom) is Var:
                value = _end(value if on else repeated(value, size), out_dims)
            result.append(value)
        for write, (_, on) in zip(graph.writes, written, strict=True):
            if on:
                path = next(decl.path for decl in graph.cells if decl.var is write.cell)
                raise ValueError(
                    f"the cell {path} would get a value for each of {size} examples, and it has room for one: assign "
                    "what they have in common, such as a mean, or call eval() where a layer keeps averages"
                )
        return run.result(
            unflatten(graph.out_tree, result), [value for value, _ in written], inputs=tuple(run.inputs)
        ).check()


def _end(value: Any, dim: int) -> Any:
    ndim = len(value.shape)
    if not -ndim <= dim < ndim:
        raise ValueError(f"out_dims={dim} is no axis of a result of shape {value.shape}")
    return moved(value, 0, dim % ndim)


class _Batching(Rerun):
    """The trace of the batched graph."""

    def __init__(self, graph: Graph, size: int, dims: Sequence[int | None]) -> None:
        super().__init__(graph)
        self.size, self.dims = size, dims
        self.inputs = [self._input(var, dim) for var, dim in zip(graph.inputs, dims, strict=True)]
        self.known.update(self.inputs)
        self.varying.update(self.inputs)

    def _input(self, var: Var, dim: int | None) -> Var:
        if dim is None:
            return var
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
        return self.run(graph, inputs, [(t, False) for t in self.tensors([decl.var for decl in graph.cells])])

    def run(self, graph: Graph, inputs: Sequence[Value], cells: Sequence[Value]) -> tuple[list[Value], list[Value]]:
        """A graph on these values: what it gives and what it writes."""
        variables = (*graph.inputs, *[decl.var for decl in graph.cells])
        env: dict[Var, Value] = dict(zip(variables, (*inputs, *cells), strict=True))
        for var, array in graph.consts.items():
            constant = wrap(array)
            constant._node = graph.provenance.captured.get(var)
            env[var] = constant, False
        roots, own = asked(graph), _own_by_example(graph, {var for var, (_, on) in env.items() if on})
        for var in roots & env.keys():
            env[var] = self._named(*env[var], var in own)
        names: dict[Var, Any] = {var: self.var(value) for var, (value, _) in env.items()}
        calls = Copies(self.here())
        for eq in graph.equations:
            with standing_for(self, eq, names, calls.of(eq.call)):
                outputs = self._equation(eq, env)
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

    def _equation(self, eq: Equation, env: dict[Var, Value]) -> list[Value]:
        pairs: list[Any] = [
            [_value(a, env) for a in atom] if isinstance(atom, tuple) else _value(atom, env) for atom in eq.inputs
        ]
        args = tuple([v for v, _ in pair] if isinstance(pair, list) else pair[0] for pair in pairs)
        on = tuple([o for _, o in pair] if isinstance(pair, list) else pair[1] for pair in pairs)
        shared = not any(any(o) if isinstance(o, list) else o for o in on)
        if eq.is_gradient:
            return self._gradient(eq, args, on, shared)
        if shared and eq.op.kind is not random:
            atoms = tuple(tuple(map(self.var, a)) if isinstance(a, list) else self.var(a) for a in args)
            outputs = self.apply(eq.op, atoms, dict(eq.attrs), [var.aval for var in eq.outputs])
            return [(self.tensor(out), False) for out in outputs]
        call = BatchCall(
            eq.op, self.size, args, on, dict(eq.attrs), lambda body, in_dims: batched(body, self.size, in_dims)
        )
        if eq.residuals:
            return self._one_by_one(eq, args, on)
        rule = rule_of(eq.op)
        made = NotImplemented if rule is None else rule(call)
        if made is NotImplemented:
            return self._reference(eq.op, call)
        values, dims = outputs_of(made)
        return [
            (value if isinstance(value, Tensor) else wrap(as_array(value)), dim is not None)
            for value, dim in zip(values, dims, strict=True)
        ]

    def _one_by_one(self, eq: Equation, args: Any, on: Any) -> list[Value]:
        """An equation whose residuals are read, which a rule does not know: one an example."""
        avals = [var.aval for var in eq.outputs]
        if not self.size:
            return [(wrap(np.zeros((0, *aval.shape), aval.dtype)), True) for aval in avals]
        made = []
        for i in range(self.size):
            picked = [of_example(arg, o, i) for arg, o in zip(args, on, strict=True)]
            atoms = tuple(tuple(map(self.var, a)) if isinstance(a, list) else self.var(a) for a in picked)
            made.append(self.tensors(self.apply(eq.op, atoms, dict(eq.attrs), avals)))
        return [(stacked(column), True) for column in zip(*made, strict=True)]

    def _reference(self, op: Op, call: BatchCall) -> list[Value]:
        """The batch of a fused op's composition."""
        if op.reference is None:
            raise no_rule(op)
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
        reference = op.reference

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
                gs = [wrap(np.ones(y.shape, y.dtype)) for y in ys]
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


def _own_by_example(graph: Graph, on: set[Var]) -> set[Var]:
    """What a gradient is taken with respect to that differs by example: each needs its own, if only of a parameter."""
    own: set[Var] = set()
    while True:
        varying = on | own
        before = len(own)
        for eq in graph.equations:
            if eq.op.kind is random or any(var in varying for var in eq.variables()):
                varying.update(eq.outputs)
                if eq.is_gradient:
                    own.update(a for a in eq.group(1) if type(a) is Var)
        if len(own) == before:
            return own
