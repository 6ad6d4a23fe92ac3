"""Printed names: every variable of a graph gets one, stable, short, and unique."""

from __future__ import annotations

import keyword
import re
import unicodedata
from collections.abc import Collection
from functools import lru_cache
from itertools import count
from typing import Any

from tensorgraph.engine.op import CATALOGUE
from tensorgraph.graph.graph import Equation, Graph, Literal, Var, by_path

__all__ = ["identifier", "names", "reserved"]

# what the text means something else by
WORDS = frozenset({
    "Buffer", "Frozen", "Literal", "OrderedDict", "Parameter", "array", "bool", "bool_", "custom_vjp", "float", "int",
    "At", "Sum", "enumerate", "like", "parameters", "range", "reversed", "s_", "scope", "zip",
    "tensor", "tg", "f16", "f32", "f64", "i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64",
})  # fmt: skip
LONGEST = 60


def reserved() -> set[str]:
    """What no value may be called."""
    return {*CATALOGUE, *keyword.kwlist, *keyword.softkwlist, *WORDS}


@lru_cache(8192)
def identifier(wanted: str) -> str:
    """A Python identifier near a user's name: ``blocks.0.weight`` is ``blocks_0_weight``, ``0.weight`` ``weight_0``."""
    # Python takes μ and the micro sign for one name, and reads the former
    parts = [part for part in re.split(r"\W+", unicodedata.normalize("NFKC", wanted[: 4 * LONGEST])) if part]
    numbers = []
    while len(parts) > 1 and parts[0].isdigit():
        numbers.append(parts.pop(0))
    base = "_".join([*parts, *numbers])[:LONGEST]
    if not base.isidentifier():
        base = f"v_{base}"
    return base if base.isidentifier() and base == unicodedata.normalize("NFKC", base) else "v"


def names(graph: Graph, taken: Collection[str] = ()) -> dict[Var, str]:
    """A Python identifier for each variable: the user's name where known, else one that says what it is.

    `taken`: what is called something else beside it. Without, they are made once: reports ask for them at every line.
    """
    if taken:
        return _names(graph, taken)
    known, closed = graph._cache.get("names"), reserved()
    if known is None or known[0] != closed:  # the name of an op that was declared since is no value's
        known = graph._cache["names"] = closed, _names(graph, ())
    return dict(known[1])


def _names(graph: Graph, taken: Collection[str]) -> dict[Var, str]:
    closed = reserved()
    used: set[str] = {*closed, *taken, identifier(graph.name)}
    tried: dict[str, int] = {}
    result: dict[Var, str] = {}

    said = {identifier(var.name) for eq in graph.equations for var in eq.outputs if var.name}

    def give(var: Var, wanted: str) -> None:
        base = identifier(wanted)
        name = base
        if base in closed and base not in tried:
            name = f"{base}_"
        if base in said and not var.name:  # what a user calls another value is that value's
            tried[base] = max(tried.get(base, 1), 2)
            name = f"{base}_{tried[base]}"
        while name in used:
            tried[base] = tried.get(base, 1) + 1
            name = f"{base}_{tried[base]}"
        used.add(name)
        result[var] = name

    for i, var in enumerate(graph.inputs):
        give(var, var.name or f"x{i}")
    for decl in by_path(graph):
        give(decl.var, decl.path)
    for i, var in enumerate(graph.consts):
        give(var, var.name or f"const{i}")
    number = count()
    differentiated = _differentiated(graph)
    for eq in graph.equations:
        for position, out in enumerate(eq.outputs):
            of = differentiated.get(out)
            wanted = out.name or (f"d_{result[of]}" if of in result else _called(eq, position, result))
            give(out, wanted or f"v{next(number)}")
    return result


def _differentiated(graph: Graph) -> dict[Var, Var]:
    """For what a derivative rule gives, the value that it is the gradient of."""
    found = _by_origin(graph)
    # the derivative of a derivative has rules of its own, whose results are no gradients of what they name
    return {out: of for out, of in found.items() if out.aval == of.aval}


def _by_origin(graph: Graph) -> dict[Var, Var]:
    found: dict[Var, Var] = {}
    told: set[tuple[Any, Any]] = set()
    for eq in reversed(graph.equations):
        origin = eq.origin
        of = None if origin is None else graph.index.maker(origin.of)
        if origin is None or of is None:
            continue
        if eq.op is of.op.gradient:
            inputs = [a for a, wanted in zip(of.inputs, eq.attrs["want"], strict=False) if wanted]
            found |= {out: a for out, a in zip(eq.outputs, inputs, strict=False) if isinstance(a, Var)}
        elif origin.rule == "fit":  # brought to its input's shape: which input, the shape tells
            like = [a for a in of.atoms() if isinstance(a, Var) and a.aval == eq.outputs[0].aval]
            if len(like) == 1 and (eq.outputs[0].aval, like[0]) not in told:
                told.add((eq.outputs[0].aval, like[0]))
                found[eq.outputs[0]] = like[0]
        elif (origin.of, origin.rule) not in told and origin.rule in of.op.inputs and eq.op.single:
            told.add((origin.of, origin.rule))  # of several equations of one rule the last gives the gradient
            atom = of.inputs[of.op.inputs.index(origin.rule)]
            if isinstance(atom, Var):
                found[eq.outputs[0]] = atom
    return found


def _called(eq: Equation, position: int, known: dict[Var, str]) -> str | None:
    """What an output is called by its op: ``d_weight`` for a gradient, ``mu`` for a mean; None where it has no name."""
    if eq.is_gradient:
        xs = eq.inputs[1]
        x = xs[position] if isinstance(xs, tuple) else xs
        return None if isinstance(x, Literal) else f"d_{known[x]}"
    if eq.op.name == "alias" and isinstance(eq.inputs[0], Var):
        return known[eq.inputs[0]]
    if eq.op.signature.variadic or (eq.op.single and position == 0):
        return None
    return (*eq.op.outputs, *eq.op.residuals)[position]
