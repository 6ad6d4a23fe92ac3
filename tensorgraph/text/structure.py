"""Nested arguments and results in a text: lists, tuples, dicts and named tuples as Python writes them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any

from tensorgraph.engine.tree import Treedef, field_names, is_dataclass
from tensorgraph.graph.graph import Graph, Var
from tensorgraph.text.literals import literal_text

__all__ = ["classes_of", "grouped", "places", "tree_text"]


def tree_text(tree: Treedef, leaves: Iterator[str], static: Callable[[str], str] = str) -> str:
    """A structure with these texts for leaves: ``{'w': f32[3], 'layers': [f32, f32]}``.

    `static` says how a static field of a dataclass is written.
    """
    if tree.kind is None:
        return next(leaves)
    if tree.kind is type(None):
        return "None"
    parts = [tree_text(child, leaves, static) for child in tree.children]
    if tree.kind in (dict, OrderedDict):
        inside = ", ".join(f"{literal_text(k)}: {p}" for k, p in zip(tree.keys, parts, strict=True))
        return f"{{{inside}}}" if tree.kind is dict else f"OrderedDict({{{inside}}})"
    if tree.kind is list:
        return f"[{', '.join(parts)}]"
    if tree.kind is tuple:
        return f"({parts[0]},)" if len(parts) == 1 else f"({', '.join(parts)})"
    names = tree.keys if is_dataclass(tree.kind) else field_names(tree.kind) or ()
    fields = [f"{name}={part}" for name, part in zip(names, parts, strict=True)]
    fields += [f"{name}={static(literal_text(value))}" for name, value in tree.statics]
    return f"{tree.kind.__name__}({', '.join(fields)})"


def places(tree: Treedef, base: str) -> list[str]:
    """How Python reaches each leaf from a name: ``params['layers'][0]``."""
    if tree.kind is None:
        return [base]
    found: list[str] = []
    for i, (key, child) in enumerate(zip(tree.keys, tree.children, strict=True)):
        if is_dataclass(tree.kind):
            found += places(child, f"{base}.{key}")
        elif (names := field_names(tree.kind)) is not None:
            found += places(child, f"{base}.{names[i]}")
        else:
            found += places(child, f"{base}[{literal_text(key)}]")
    return found


def unread(tree: Treedef) -> Any:
    """The kinds in a structure that a text can only read back when they are given."""
    kinds = [] if field_names(tree.kind) is None else [tree.kind]
    for child in tree.children:
        kinds += unread(child)
    return kinds


def grouped(graph: Graph) -> list[list[Var | None]]:
    """The inputs of each argument, None for what is static."""
    statics, inputs = dict(graph.statics), iter(graph.inputs)
    found, at = [], 0
    for tree in graph.in_tree.children:
        found.append([None if k in statics else next(inputs) for k in range(at, at + tree.size)])
        at += tree.size
    return found


def classes_of(tree: Treedef) -> Iterator[Any]:
    """The classes of named tuples and dataclasses that values nest in."""
    if isinstance(tree.kind, type) and tree.kind.__module__ not in ("builtins", "collections"):
        yield tree.kind
    for child in tree.children:
        yield from classes_of(child)
