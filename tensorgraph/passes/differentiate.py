"""Gradients written out: every deferred ``gradients`` equation becomes the equations of its backward pass."""

from __future__ import annotations

from tensorgraph.engine.tree import unflatten
from tensorgraph.graph.graph import Change, Graph
from tensorgraph.graph.inline import inline
from tensorgraph.graph.size_reads import SizeReads
from tensorgraph.passes.dead_code import dead_code
from tensorgraph.passes.placing import outside
from tensorgraph.passes.rewrite import Log
from tensorgraph.passes.symbolic import Note, Symbolic

__all__ = ["differentiate", "used", "write_out"]


def differentiate(graph: Graph) -> Graph:
    """The graph with its gradients written out in ops.

    Parameters
    ----------
    graph : Graph
        Its ``gradients`` equations (of ``backward()``, `tensorgraph.gradients` and the transforms) are expanded by the
        ops' own derivative rules, in the order in which the engine's backward pass runs them; the
        gradients of several calls are added up where these are called.

    Returns
    -------
    Graph
        Without ``gradients`` equations; the same graph where there were none. Each equation of a gradient has an
        `Equation.origin`: the forward equation that it belongs to and the input whose gradient it helps to make (the
        inputs, ``"x, gamma"``, where one rule makes several). Or ``"sum"`` where the gradients of several uses are
        added, ``"fit"`` where one is brought to its input's shape and dtype, ``"seed"`` for the gradient of a result
        with respect to itself, ``"zero"`` where nothing arrives, ``"cut"`` where a gradient has no history, ``"alias"``
        where it gets another name.

    Notes
    -----
    Evaluated, it gives the numbers of the recorded backward pass (``create_graph=True``) to the last bit. The pass that
    is not recorded runs the same rules on arrays; it lays some of them out differently in memory (the spread cotangent
    of a whole sum), so a matrix product or a sum over such a one may round differently there.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> step = tg.trace(tg.grad(lambda x: (x * x).sum()), tg.spec((3,)))
    >>> [eq.op.name for eq in step.differentiate().equations]
    ['alias', 'multiply', 'sum', 'ones', 'reshape', 'broadcast_to', 'multiply', 'multiply', 'add']
    """
    if not any(eq.is_gradient for eq in graph.equations):
        return graph
    return used(write_out(graph)[0], graph)


def used(written: Graph, graph: Graph) -> Graph:
    """Of a graph with its gradients written out what is used."""
    result = outside(dead_code(written, gradients_only=True))
    return result.replace(changes=(*graph.changes, *_changes(graph, result))).check()


def write_out(graph: Graph, sizes: SizeReads | None = None) -> tuple[Graph, list[Note]]:
    """The graph with everything that its backward passes compute, and what arrived where.

    `sizes` sees what the rules look at of sizes that are open.
    """
    asked = dead_code(graph, gradients_only=True)
    trace = Symbolic(asked)
    trace.sizes = sizes
    with trace.running():
        outputs, written = inline(asked, trace.tensors(asked.inputs), trace.tensors([d.var for d in asked.cells]))
        return trace.result(unflatten(asked.out_tree, outputs), written), trace.notes


def _changes(graph: Graph, result: Graph) -> list[Change]:
    log = Log(graph, "differentiate")
    deferred = [eq for eq in graph.equations if eq.is_gradient]
    old = [eq for eq in graph.equations if eq.origin is not None]
    made = sum(eq.origin is not None for eq in result.equations) - len(old)
    before = f"{len(deferred)} gradients equation{'s' if len(deferred) > 1 else ''}"
    log.note("chain rule", before, f"{made} equations of derivative rules", deferred[0].source)
    kept = {var.name for var in result.variables()}
    for eq in [*deferred, *old]:  # what nothing reads is not made, and whoever asks for its name is told
        lost = [out.name for out in eq.outputs if out.name and out.name not in kept]
        if lost:
            log.note("nothing reads it", f"{', '.join(lost)} = {eq.op.name}(...)", "nothing", eq.source)
    return log.changes
