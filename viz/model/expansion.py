"""What a user asks to see in full: paths of modules, templates and fused ops; fused ops become their references."""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tensorgraph.engine.tree import flatten
from tensorgraph.graph.calls import scoped
from tensorgraph.graph.graph import Equation, Graph, Literal, Var, Write
from tensorgraph.viz.model.labels import clean

__all__ = ["expanded"]


def expanded(graph: Graph, paths: tuple[str, ...]) -> tuple[Graph, tuple[str, ...]]:
    """The graph with the fused ops at these paths written out, and the modules to open: those of the paths, and those
    that what was written out stands in.

    Raises
    ------
    ValueError
        Where nothing is at a path, or only an op that is not fused; what is near is named.
    """
    scopes: set[str] = set()
    for scope in {eq.scope for eq in graph.equations if eq.scope}:
        parts = scope.split(".")
        scopes.update(".".join(parts[: i + 1]) for i in range(len(parts)))
    named: dict[str, list[int]] = defaultdict(list)
    for i, eq in enumerate(graph.equations):
        name = f"{eq.scope}/{eq.op.name}" if eq.scope else eq.op.name
        named[f"{name}#{len(named[name])}"].append(i)
        named[name].append(i)
    opened: list[str] = []
    fused: set[int] = set()
    for path in paths:
        span = path.partition("#")[0] if ".." in path else path
        if span in scopes or span == "ops" or all(part in scopes for part in span.split("..")):
            opened.append(span)
            continue
        found = named.get(path, [])
        if not found:
            near = difflib.get_close_matches(path, [*scopes, *named], n=3, cutoff=0.4)
            hint = f"; near it are {', '.join(map(repr, near))}" if near else ""
            raise ValueError(f"expand={clean(path)!r} is no module or op of this graph{hint}")
        plain = [i for i in found if getattr(graph.equations[i].op, "reference", None) is None]
        if plain:
            raise ValueError(
                f"expand={clean(path)!r}: {graph.equations[plain[0]].op.name} is no fused op, it has no parts"
            )
        fused.update(found)
    for i in fused:
        eq = graph.equations[i]
        opened.append(f"{eq.scope}.{eq.op.name}" if eq.scope else eq.op.name)
    return (written_out(graph, fused) if fused else graph), tuple(dict.fromkeys(opened))


def written_out(graph: Graph, positions: set[int]) -> Graph:
    """These equations replaced by the references of their ops, each in a module of the op's name."""
    new: dict[Var, Var | Literal] = {}
    consts = dict(graph.consts)
    equations: list[Equation] = []
    for i, eq in enumerate(graph.equations):
        eq = replaced(eq, new)
        if i not in positions:
            equations.append(eq)
            continue
        inputs = tuple(dict.fromkeys(a for a in eq.atoms() if isinstance(a, Var)))
        alone = Graph(
            inputs,
            (),
            {},
            (eq,),
            (),
            eq.outputs,
            flatten(list(inputs))[1],
            flatten(list(eq.outputs))[1],
            name=eq.op.name,
        ).expand(eq.op.name)
        call = scoped(f"{eq.scope}.{eq.op.name}" if eq.scope else eq.op.name, parent=eq.call)
        equations += [replace(part, call=call) for part in alone.equations]
        consts.update(alone.consts)
        new.update(zip(eq.outputs, alone.outputs, strict=True))
    writes = tuple(Write(w.cell, _new(w.value, new), w.source) for w in graph.writes)
    outputs = tuple(_new(out, new) for out in graph.outputs)
    return graph.replace(equations=tuple(equations), consts=consts, writes=writes, outputs=outputs)


def replaced(eq: Equation, new: Mapping[Var, Var | Literal]) -> Equation:
    inputs: Any = tuple(
        tuple(_new(a, new) for a in atom) if isinstance(atom, tuple) else _new(atom, new) for atom in eq.inputs
    )
    return replace(eq, inputs=inputs)


def _new(atom: Any, new: Mapping[Var, Var | Literal]) -> Any:
    return new.get(atom, atom) if isinstance(atom, Var) else atom
