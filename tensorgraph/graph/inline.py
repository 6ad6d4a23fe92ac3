"""Running a graph again inside a trace: its equations one for one, in their calls and with their lines."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from tensorgraph.engine import modes
from tensorgraph.engine.tensor import Tensor, wrap
from tensorgraph.graph.building import Trace
from tensorgraph.graph.calls import Copies
from tensorgraph.graph.equation import is_number
from tensorgraph.graph.forms import number_function
from tensorgraph.graph.graph import Atom, Equation, Graph, Literal, Origin, Var
from tensorgraph.graph.size_reads import plain

__all__ = ["asked", "group", "inline", "standing_for"]

Known = dict[Var, Var | Literal]


def inline(
    graph: Graph, inputs: Sequence[Tensor], cells: Sequence[Tensor], calls: Copies | None = None
) -> tuple[list[Any], list[Any]]:
    """Emit a graph's equations into the active trace.

    Parameters
    ----------
    graph : Graph
    inputs, cells : sequence of Tensor
        What stands for the graph's inputs and for its cells' values at entry: traced values, or numbers, which are
        captured.
    calls : Copies, optional
        The calls in which its equations stand: below the one that is running unless given.

    Returns
    -------
    outputs, written : list
        Tensors; a Python number where the graph gives one.

    Raises
    ------
    RuntimeError
        Outside a trace, where a graph is evaluated.
    """
    trace = modes.current().trace
    if trace is None:
        raise RuntimeError("inline runs a graph inside a trace; outside, call the graph to evaluate it")
    env: Known = {}
    captured = graph.provenance.captured
    given = zip((*graph.inputs, *[decl.var for decl in graph.cells]), (*inputs, *cells), strict=True)
    env.update((var, trace.var(value)) for var, value in given)
    for var, array in graph.consts.items():
        constant = wrap(array)
        constant._node = captured.get(var)
        env[var] = trace.var(constant)
    of_numbers = any(map(is_number, graph.inputs))
    roots = asked(graph)
    for var in [var for var in env if var in roots]:  # in their order, which that of sums follows
        env[var] = _leaf(trace, env[var])
    calls = Copies(trace.here()) if calls is None else calls
    for eq in graph.equations:
        with standing_for(trace, eq, env, calls):
            outputs = (_of_numbers(trace, eq, env) if of_numbers else None) or _emit(trace, eq, env)
        deferred = eq.is_gradient
        for var, own in zip(eq.outputs, outputs, strict=True):
            env[var] = _leaf(trace, own, shared=deferred) if var in roots else own
            if (
                type(own) is Var and own.name is None and own in trace.producer
            ):  # made here, and no variable of somebody's graph
                own.name = var.name
    calls.complete(env)
    return [_value(trace, env, a) for a in graph.outputs], [_value(trace, env, w.value) for w in graph.writes]


def asked(graph: Graph) -> set[Var]:
    """The variables with respect to which the graph takes gradients."""
    return {x for eq in graph.equations if eq.is_gradient for x in group(eq.inputs[1]) if type(x) is Var}


def group(atom: Atom) -> tuple[Var | Literal, ...]:
    """The items of a list input."""
    return atom if isinstance(atom, tuple) else (atom,)


@contextlib.contextmanager
def standing_for(trace: Trace, eq: Equation, env: Known, calls: Copies) -> Iterator[None]:
    """What is emitted inside stands where `eq` did: in this call, its line, the derivative that it is part of."""
    at, origin, part, call = trace.at, trace.origin, trace.part, calls.of(eq.call)
    trace.part = part or eq.part
    if origin is None or at is None:  # else this is part of a derivative rule, and stands for that one's line
        trace.at = eq.source or at
    if origin is None and eq.origin is not None:
        of = env.get(eq.origin.of, eq.origin.of)
        trace.origin = Origin(of, eq.origin.rule, calls.passes(eq.origin)) if type(of) is Var else None
    try:
        if call is modes.current().call:
            yield
        else:
            with modes.use(call=call):
                yield
    finally:
        trace.at, trace.origin, trace.part = at, origin, part


def _of_numbers(trace: Trace, eq: Equation, env: Known) -> tuple[Var | Literal, ...] | None:
    """An equation where a Python number is known now, or is a tensor, so that its types follow anew; None elsewhere."""

    def own(atom: Any) -> Any:
        return tuple(map(own, atom)) if isinstance(atom, tuple) else env[atom] if type(atom) is Var else atom

    atoms = [own(atom) for atom in eq.inputs]
    number = number_function(eq) if eq.is_conversion or eq.is_arithmetic else None
    if number is not None and all(type(atom) is Literal for atom in atoms):
        value = number(*[atom.value for atom in atoms])
        return (Literal(value) if eq.is_arithmetic else trace.var(wrap(value)),)
    changed = any(type(env[v]) is Var and plain(env[v].aval) != plain(v.aval) for v in eq.variables())  # type: ignore[union-attr]
    if not changed or eq.is_gradient:
        return None
    if eq.is_conversion and plain(atoms[0].aval) == eq.outputs[0].aval:
        return (atoms[0],)

    def tensor(atom: Any) -> Any:
        if isinstance(atom, tuple):
            return [tensor(a) for a in atom]
        return trace.tensor(atom) if type(atom) is Var else atom.value

    result = eq.op.public(*map(tensor, atoms), **eq.attrs)
    return tuple(trace.var(t) for t in (result if isinstance(result, tuple) else (result,)))


def _emit(trace: Trace, eq: Equation, env: Known) -> tuple[Var, ...]:
    atoms = []
    grad = modes.current().grad
    for name, atom in zip(eq.op.inputs, eq.inputs, strict=True):
        # what is cut from its history says so, where a gradient could go on behind it
        op = eq.op
        cuts = grad and (op.joint is not None or op.rules[name] is not None or eq.is_gradient)
        own = tuple(_use(trace, env, a, cuts) for a in group(atom))
        atoms.append(own if isinstance(atom, tuple) else own[0])
    if eq.is_gradient:
        ys, xs, gs = atoms
        return trace.defer(ys, xs, gs, bool(eq.attrs["create_graph"]))
    return trace.apply(eq.op, tuple(atoms), dict(eq.attrs), [var.aval for var in eq.outputs])


def _use(trace: Trace, env: Known, atom: Var | Literal, cuts: bool) -> Var | Literal:
    own = env[atom] if type(atom) is Var else atom
    return trace.stopped(own) if cuts else own


def _leaf(trace: Trace, atom: Var | Literal, shared: bool = False) -> Var | Literal:
    return trace.leaf(atom, shared) if type(atom) is Var else atom


def _value(trace: Trace, env: Known, atom: Var | Literal) -> Any:
    own = env[atom] if type(atom) is Var else atom
    return trace.tensor(own) if isinstance(own, Var) else own.value
