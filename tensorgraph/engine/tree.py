"""Nested lists, tuples, named tuples and dicts of values: taken apart and put together again.

A *tree* is what functions take and return (parameters in a dict of lists, say); its leaves are everything that is not
a container. Dicts keep their own order (other mappings than dict and OrderedDict come back as dicts); None is a
container of nothing, as in JAX.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

__all__ = ["Treedef", "flatten", "leaf_paths", "tree_map", "unflatten"]


class _Leaf:
    """The place of one leaf in a structure."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "*"


LEAF = _Leaf()


class Treedef:
    """The structure of a tree without its leaves; hashable, compared by value.

    Examples
    --------
    >>> from tensorgraph.engine.tree import flatten
    >>> leaves, treedef = flatten({"w": 1, "layers": [2, (3, 4)]})
    >>> leaves, treedef
    ([1, 2, 3, 4], Treedef({'w': *, 'layers': [*, (*, *)]}))
    """

    __slots__ = ("children", "keys", "kind", "size")

    def __init__(self, kind: Any, keys: tuple[Any, ...], children: tuple[Treedef, ...], size: int) -> None:
        self.kind = kind  # None for a leaf, else the container's type
        self.keys = keys
        self.children = children
        self.size = size

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Treedef)
            and self.kind is other.kind
            and self.keys == other.keys
            and self.children == other.children
        )

    def __hash__(self) -> int:
        return hash((self.kind, self.keys, self.children))

    def __repr__(self) -> str:
        return f"Treedef({self})"

    def __str__(self) -> str:
        return repr(unflatten(self, [LEAF] * self.size))


_LEAFDEF = Treedef(None, (), (), 1)
_NONE = Treedef(type(None), (), (), 0)


def flatten(tree: Any, like: Treedef | None = None) -> tuple[list[Any], Treedef]:
    """Leaves in order, and the structure that `unflatten` needs. Dicts take the order of their keys from `like`."""
    leaves: list[Any] = []
    return leaves, _flatten(tree, leaves, like)


def _flatten(tree: Any, leaves: list[Any], like: Treedef | None) -> Treedef:
    kind = type(tree)
    if kind is list or kind is tuple or (isinstance(tree, tuple) and hasattr(tree, "_fields")):
        keys: tuple[Any, ...] = tuple(range(len(tree)))
        values: Sequence[Any] = tree
    elif tree is None:
        return _NONE
    elif isinstance(tree, dict):
        kind = kind if kind is OrderedDict else dict
        keys = tuple(tree)
        if like is not None and like.kind is kind and like.keys != keys and set(like.keys) == set(keys):
            keys = like.keys
        values = [tree[key] for key in keys]
    else:
        leaves.append(tree)
        return _LEAFDEF
    below: Sequence[Treedef | None] = () if like is None else like.children
    if len(below) != len(values):
        below = [None] * len(values)
    children = tuple(_flatten(value, leaves, one) for value, one in zip(values, below, strict=True))
    return Treedef(kind, keys, children, sum(child.size for child in children))


def unflatten(treedef: Treedef, leaves: Sequence[Any]) -> Any:
    """The tree of this structure with these leaves."""
    if len(leaves) != treedef.size:
        raise ValueError(f"expected {treedef.size} leaves, got {len(leaves)}")
    return _unflatten(treedef, iter(leaves))


def _unflatten(treedef: Treedef, leaves: Iterator[Any]) -> Any:
    if treedef.kind is None:
        return next(leaves)
    values = [_unflatten(child, leaves) for child in treedef.children]
    if treedef.kind is type(None):
        return None
    if issubclass(treedef.kind, dict):
        return treedef.kind(zip(treedef.keys, values, strict=True))
    if treedef.kind in (list, tuple):
        return treedef.kind(values)
    return treedef.kind(*values)


def leaf_paths(treedef: Treedef, prefix: str = "") -> list[str]:
    """A dotted path a leaf, in order: ``layers.0.w``."""
    if treedef.kind is None:
        return [prefix]
    paths = []
    for key, child in zip(treedef.keys, treedef.children, strict=True):
        paths += leaf_paths(child, f"{prefix}.{key}" if prefix else str(key))
    return paths


def tree_map(function: Callable[..., Any], tree: Any, *rest: Any) -> Any:
    """A tree of ``function(leaf, ...)``; further trees must have the same structure."""
    leaves, treedef = flatten(tree)
    others = []
    for other in rest:
        more, its_treedef = flatten(other, treedef)
        if its_treedef != treedef:
            raise ValueError(f"expected a tree of structure {treedef}, got {its_treedef}")
        others.append(more)
    return unflatten(treedef, [function(*args) for args in zip(leaves, *others, strict=True)])
