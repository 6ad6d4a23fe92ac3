"""What nobody uses."""

from __future__ import annotations

from dataclasses import replace

from tensorgraph.graph.graph import Equation, Graph, Literal, Var
from tensorgraph.graph.inline import group

__all__ = ["dead_code"]


def dead_code(graph: Graph, *, gradients_only: bool = False) -> Graph:
    """The graph without equations and constants that no output and no write depends on.

    A gradient nobody uses is not asked for: a ``gradients`` equation is left with what it is used for. What may refuse
    its numbers stays, but for derivatives, so that the graph raises what the function does.

    Parameters
    ----------
    graph : Graph
    gradients_only : bool
        Leave every equation that is no gradient's and that the user made: no ``gradients`` equation, none with an
        `Equation.origin`, none that a pass has put in the place of others.

    Returns
    -------
    Graph
        The same values to the last bit. Inputs and cells stay, used or not.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> from tensorgraph.passes.dead_code import dead_code
    >>> def f(x):
    ...     unused = tg.exp(x)
    ...     return x * 2.0
    >>> [eq.op.name for eq in dead_code(tg.trace(f, tg.spec((3,)))).equations]
    ['multiply']
    """
    needed = {a for a in (*graph.outputs, *[w.value for w in graph.writes]) if type(a) is Var}
    equations: list[Equation] = []
    for eq in reversed(graph.equations):
        deferred = eq.is_gradient
        stays = eq.origin is None and not deferred and ((gradients_only and eq.part is None) or may_refuse(eq))
        if needed.isdisjoint(eq.outputs) and not stays:
            continue
        kept = _asking(eq, needed) if deferred else eq
        if eq.residuals and needed.isdisjoint(eq.residuals):
            kept = replace(eq, outputs=eq.outputs[: len(eq.op.outputs)])
        needed.update(a for a in kept.atoms() if type(a) is Var)
        equations.append(kept)
    consts = {var: array for var, array in graph.consts.items() if var in needed}
    equations = _cited(equations, graph)
    equations.reverse()
    if len(consts) == len(graph.consts) and tuple(equations) == graph.equations:
        return graph
    return graph.replace(equations=tuple(equations), consts=consts)


def may_refuse(eq: Equation) -> bool:
    """Whether an equation may raise because of numbers that it is not known to take."""
    if any(isinstance(value, Graph) and any(map(may_refuse, value.equations)) for value in eq.attrs.values()):
        return True
    kinds = [var.aval.dtype.kind for var in eq.variables()]  # numbers that are written down were looked at
    return ("refuses" in eq.op.traits and bool(kinds)) or (
        "refuses integers" in eq.op.traits and not {"i", "u"}.isdisjoint(kinds)
    )


def _cited(equations: list[Equation], graph: Graph) -> list[Equation]:
    """The equations; a derivative of a gradient's equation that is gone is one of what that one was a derivative of."""
    origins = {out: eq.origin for eq in graph.equations if eq.origin is not None for out in eq.outputs}
    if not origins:
        return equations
    here = {out for eq in equations for out in eq.outputs}
    result = []
    for eq in equations:
        origin = eq.origin
        while origin is not None and origin.of not in here and origin.of in origins:
            origin = replace(origins[origin.of], passes=origin.passes)
        result.append(eq if origin is eq.origin else replace(eq, origin=origin))
    return result


def _asking(eq: Equation, needed: set[Var]) -> Equation:
    """A ``gradients`` equation of the gradients that are used."""
    used = [i for i, out in enumerate(eq.outputs) if out in needed]
    if len(used) == len(eq.outputs):
        return eq
    ys, xs, gs = (group(atom) for atom in eq.inputs)
    chosen: tuple[Var | Literal, ...] = tuple(xs[i] for i in used)
    return replace(eq, inputs=(ys, chosen, gs), outputs=tuple(eq.outputs[i] for i in used))
