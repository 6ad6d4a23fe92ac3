"""The sizes that arguments give to the names in a function's head."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import Any

import numpy as np

from tensorgraph.engine.tree import Treedef, flatten, leaf_paths
from tensorgraph.text.arithmetic import solved, value_of
from tensorgraph.text.definitions import shapes_in

__all__ = ["sizes_given"]


def sizes_given(name: str, node: ast.FunctionDef, trees: Sequence[Treedef], args: Sequence[Any]) -> dict[str, int]:
    """The sizes that arguments of some shapes give to the names in a function's head.

    Raises
    ------
    TypeError, ValueError
        Where there are other arguments, or of other shapes, or two that give other sizes: with which they are.
    """
    found: dict[str, int] = {}
    places: dict[str, str] = {}  # which argument gave a size
    computed: list[tuple[ast.expr, int, str]] = []
    arguments = (*node.args.posonlyargs, *node.args.args)
    if len(args) != len(arguments):
        names = ", ".join(arg.arg for arg in arguments)
        count = "1 argument" if len(arguments) == 1 else f"{len(arguments)} arguments"
        raise TypeError(f"{name} takes {count} ({names}), got {len(args)}")
    for declared, tree, value in zip(arguments, trees, args, strict=True):
        assert declared.annotation is not None
        said = f"argument {declared.arg} is declared {ast.unparse(declared.annotation)}"
        leaves, got_tree = flatten(value, tree)
        if got_tree != tree:
            raise TypeError(f"{name}: {said}, got {'one value' if got_tree.kind is None else got_tree}")
        for shape, leaf, place in zip(
            shapes_in(declared.annotation), leaves, leaf_paths(tree, declared.arg), strict=True
        ):
            got = leaf.shape if hasattr(leaf, "shape") else np.shape(leaf)
            fixed = [n if isinstance(s, ast.Constant) and s.value != n else None for s, n in zip(shape, got)]
            if len(shape) != len(got) or any(n is not None for n in fixed):
                of = "" if place == declared.arg else f" for {place}"
                raise ValueError(f"{name}: {said}, got shape {tuple(got)}{of}")
            for size, n in zip(shape, got, strict=True):
                if not isinstance(size, ast.Name):
                    computed.append((size, int(n), place))
                elif found.setdefault(size.id, int(n)) != n:
                    other = f"{places[size.id]} gives {size.id} = {found[size.id]}"
                    raise ValueError(f"{name}: {place} gives {size.id} = {n}, and {other}")
                else:
                    places.setdefault(size.id, place)
    _solve(name, computed, found, places)
    return found


def _solve(name: str, computed: list[tuple[ast.expr, int, str]], found: dict[str, int], places: dict[str, str]) -> None:
    """Take from what sizes are computed as, ``f32[2 * N]``, the names that no argument has by themselves."""
    left = computed
    while left:
        before, waiting = len(left), []
        for size, n, place in left:
            open_ = sorted({part.id for part in ast.walk(size) if isinstance(part, ast.Name)} - found.keys())
            one = solved(size, open_[0], n, found) if len(open_) == 1 else None
            if one is not None:
                found[open_[0]], places[open_[0]] = one, place
            elif open_:
                waiting.append((size, n, place))
            elif value_of(size, found) != n:
                given = ", ".join(f"{dim} = {found[dim]} of {places[dim]}" for dim in found if dim in ast.unparse(size))
                raise ValueError(f"{name}: {place} has an axis {ast.unparse(size)}, got {n}, with {given}")
        left = waiting
        if len(left) == before:
            return
