"""Fused ops written out: each becomes the composition that it is an optimisation of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tensorgraph.engine import modes
from tensorgraph.engine.aval import Aval
from tensorgraph.engine.op import CATALOGUE, Op
from tensorgraph.engine.tensor import Tensor, as_array, wrap
from tensorgraph.engine.tree import unflatten
from tensorgraph.graph.graph import Change, Equation, Graph, Literal, Part, Var
from tensorgraph.graph.inline import inline
from tensorgraph.passes.differentiate import differentiate
from tensorgraph.passes.rerun import Rerun
from tensorgraph.passes.rewrite import Log

__all__ = ["expand"]


def expand(graph: Graph, *ops: str) -> Graph:
    """The graph with fused ops replaced by their references.

    Parameters
    ----------
    graph : Graph
    *ops : str
        The fused ops to write out, by name; all of them by default. The gradient ``name_vjp`` goes with its op.

    Returns
    -------
    Graph
        The graph itself where there are none. The composed equations stand in the scope and on the line of the fused
        one. Values agree within the library's tolerance: 8 units of the last place of the output's scale, 32 in a first
        and 256 in a second derivative.

    Raises
    ------
    ValueError
        For a name that is no fused op's.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> g = tg.trace(lambda p, g, lr: tg.sgd_update(p, g, lr, 0.0), tg.f32[2], tg.f32[2], tg.f32[()])
    >>> [eq.op.name for eq in g.equations], [eq.op.name for eq in g.expand().equations]
    (['sgd_update'], ['multiply', 'add', 'multiply', 'subtract'])
    """
    chosen = _chosen(ops)
    if not _has_fused(graph, chosen):
        return graph
    deferred = any(eq.is_gradient for eq in graph.equations)
    trace = _Expanding(graph, chosen)
    with trace.running():
        inputs, cells = trace.tensors(graph.inputs), trace.tensors([decl.var for decl in graph.cells])
        outputs, written = inline(graph, inputs, cells)
        result = trace.result(unflatten(graph.out_tree, outputs), written, changes=graph.changes)
    log = Log(graph, "expand")
    for eq, made in trace.written_out:
        what = "the gradient" if eq.op.primal is not None else f"the {made} equations"
        log.note(eq.op.name, eq, f"{what} of its reference, in the same scope", eq.source)
    log.changes += trace.inner
    if not deferred:  # the gradient of a reference, where that of a fused op had been written out, is written out too
        result = differentiate(result)
    return result.replace(changes=(*graph.changes, *log.changes)).check()


def _chosen(ops: tuple[str, ...]) -> frozenset[str] | None:
    """The names of the ops to write out; None for all."""
    if not ops:
        return None
    fused = sorted(name for name, op in CATALOGUE.items() if op.reference is not None and op.primal is None)
    for name in ops:
        if name not in CATALOGUE or CATALOGUE[name].reference is None:
            raise ValueError(f"expand takes names of fused ops, got {name!r}; there are {', '.join(fused)}")
    gradients = [CATALOGUE[name].gradient for name in ops]
    return frozenset(ops) | {op.name for op in gradients if op is not None}


def _has_fused(graph: Graph, chosen: frozenset[str] | None) -> bool:
    return any(
        _is_fused(eq.op, chosen) or any(isinstance(v, Graph) and _has_fused(v, chosen) for v in eq.attrs.values())
        for eq in graph.equations
    )


def _is_fused(op: Op, chosen: frozenset[str] | None) -> bool:
    return op.reference is not None and (chosen is None or op.name in chosen)


class _Expanding(Rerun):
    """A trace of a graph in which a fused op runs its reference."""

    def __init__(self, graph: Graph, chosen: frozenset[str] | None) -> None:
        super().__init__(graph)
        self.chosen = chosen
        self.waiting = iter([eq for eq in graph.equations if _is_fused(eq.op, chosen)])
        self.written_out: list[tuple[Equation, int]] = []
        self.inside = False
        self.inner: list[Change] = []
        self.results: set[Var] = set()

    def apply(self, op: Op, atoms: Any, attrs: dict[str, Any], avals: Sequence[Aval]) -> Any:
        if not _is_fused(op, self.chosen):
            # graphs that an equation holds: the forward and the rule of a custom_vjp
            held = {k: v for k, v in attrs.items() if isinstance(v, Graph)}
            for name, graph in held.items():
                attrs = {**attrs, name: expand(graph, *(self.chosen or ()))}
                self.inner += attrs[name].changes[len(graph.changes) :]
            return super().apply(op, atoms, attrs, avals)
        count = len(avals) if op.signature.variadic else len(op.outputs)
        residuals, avals = len(avals) - count, avals[:count]
        if self.inside:
            return self._without_residuals(self._run(op, atoms, attrs, avals), residuals)
        start, around, eq = len(self.equations), self.part, next(self.waiting)
        self.inside, self.part = True, Part.of(eq.outputs, eq.call, around)
        try:
            outputs = self._run(op, atoms, attrs, avals)
        finally:
            self.inside, self.part = False, around
        self.results.update(outputs)
        self.written_out.append((eq, len(self.equations) - start))
        return self._without_residuals(outputs, residuals)

    def _run(self, op: Op, atoms: Any, attrs: dict[str, Any], avals: Sequence[Aval]) -> tuple[Var, ...]:
        assert op.reference is not None
        given = op.reference(*[self._argument(atom) for atom in atoms], **attrs)
        outputs = []
        for value in given if isinstance(given, (tuple, list)) else (given,):
            outputs.append(self._atom(value if isinstance(value, Tensor) else wrap(as_array(value))))
        if [getattr(out, "aval", None) for out in outputs] != list(avals):
            got = ", ".join(str(getattr(out, "aval", out)) for out in outputs)
            raise ValueError(
                f"expand: the reference of {op.name} gives {got}, where the op gives {', '.join(map(str, avals))}; a "
                "reference must give the shapes and dtypes of its op"
            )
        return tuple(out for out in outputs if isinstance(out, Var))

    def _without_residuals(self, outputs: tuple[Var, ...], residuals: int) -> tuple[Var | Literal, ...]:
        """A reference keeps nothing: the gradient that would read it is written out too."""
        return (*outputs, *[Literal(None)] * residuals)

    def _argument(self, atom: Any) -> Any:
        if isinstance(atom, tuple):
            return [self._argument(a) for a in atom]
        return self.tensor(atom) if isinstance(atom, Var) else atom.value

    def leaf(self, var: Var, shared: bool = False) -> Var:
        """An output that a gradient is asked about gets a name that nothing of the composition uses."""
        if var not in self.results:
            return super().leaf(var, shared)
        eq = self.producer.get(var)
        before, self.at = self.at, None if eq is None else eq.source
        try:
            with modes.use(call=modes.current().call if eq is None else eq.call):
                own: Var = self.lift(self.tensor(var))._value
        finally:
            self.at = before
        return own
