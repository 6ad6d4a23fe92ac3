"""When two graphs are equal: the key that `Graph.__eq__` and its hash compare.

What a graph computes and on which cells, in the order of its equations. Names, scopes and lines are no part of it, nor
is the order in which cells, writes and constants are listed.
"""

from __future__ import annotations

import itertools
from typing import Any

from tensorgraph.engine.aval import Aval
from tensorgraph.graph.graph import Atom, Graph, Literal, Var, by_path, digest, is_literal, typed_key

__all__ = ["constants", "key"]


def constants(graph: Graph) -> dict[Var, Any]:
    """What a constant is in a key: its digest. Those that gradients are asked about are themselves, in order of use."""
    number: dict[Var, Any] = {var: ("constant", digest(array)) for var, array in graph.consts.items()}
    asked = {x for eq in graph.equations if eq.is_gradient for x in eq.group(1) if x in number}
    if asked:
        users = (var for eq in graph.equations for var in eq.variables() if var in asked)
        for n, var in enumerate(dict.fromkeys(users)):
            number[var] = (*number[var], n)
    return number


def key(graph: Graph) -> tuple[Any, ...]:
    number = constants(graph)
    consts = tuple(sorted(set(number.values())))
    count = itertools.count()

    def define(var: Var) -> tuple[int, Aval]:
        n = number[var] = next(count)
        return n, var.aval

    def use(atom: Atom | None) -> Any:
        if isinstance(atom, tuple):
            return tuple(use(a) for a in atom)
        if isinstance(atom, Literal):
            return "literal", typed_key(atom.value)
        return number[atom] if atom is not None else None

    inputs = tuple(define(v) for v in graph.inputs)
    cells = tuple((c.path, c.kind, c.requires_grad, define(c.var)) for c in by_path(graph))
    equations = tuple(
        (
            eq.op.name,
            tuple(use(a) for a in eq.inputs),
            tuple((k, typed_key(v)) for k, v in sorted(eq.attrs.items())),
            tuple(define(v) for v in eq.outputs),
        )
        for eq in graph.equations
    )
    writes = tuple(sorted(((number[w.cell], use(w.value)) for w in graph.writes), key=lambda write: write[0]))
    outputs = tuple(use(o) for o in graph.outputs)
    statics = tuple((i, typed_key(v) if is_literal(v) else "object") for i, v in graph.statics)
    return inputs, cells, consts, equations, writes, outputs, graph.in_tree, graph.out_tree, statics
