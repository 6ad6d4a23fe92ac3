"""Nested lists, tuples, named tuples, dicts and dataclasses of values: taken apart and put together again.

A *tree* is what functions take and return (parameters in a dict of lists, say); its leaves are everything that is not
a container. Dicts keep their own order (read-only views of them come back as dicts); None is a container of nothing,
as in JAX. An instance of a subclass of list, tuple or dict comes back as one of its class, with what it has besides its
items; as a structure it is the list, tuple or dict that it is.

A dataclass holds its fields, those that it has been given; one that says ``field(metadata={"static": True})`` is part
of the structure, as the names are, and no leaf. It is put together without its ``__init__`` and ``__post_init__``, as
these may expect arrays where a trace or a transform has something else.
"""

from __future__ import annotations

import dataclasses
import functools
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator, Sequence
from types import MappingProxyType
from typing import Any

from tensorgraph.arguments import checked

__all__ = [
    "Treedef", "build", "field_names", "flatten", "is_container", "is_dataclass", "leaf_paths", "listed", "owners",
    "same_value", "tree_map", "unflatten", "with_said",
]  # fmt: skip


HEAP = 1 << 9  # CPython's flag of a class that was made by a class statement


class Treedef:
    """The structure of a tree without its leaves; hashable, compared by value.

    Examples
    --------
    >>> from tensorgraph.engine.tree import flatten
    >>> leaves, treedef = flatten({"w": 1, "layers": [2, (3, 4)]})
    >>> leaves, treedef
    ([1, 2, 3, 4], Treedef({'w': *, 'layers': [*, (*, *)]}))
    """

    __slots__ = ("children", "keys", "kind", "own", "size", "statics")

    def __init__(
        self,
        kind: Any,
        keys: tuple[Any, ...],
        children: tuple[Treedef, ...],
        size: int,
        statics: tuple[tuple[str, Any], ...] = (),
        own: Own | None = None,
    ) -> None:
        self.kind = kind  # None for a leaf, else the container's type
        self.keys = keys
        self.children = children
        self.size = size
        self.own = own  # how an instance of a subclass is made again: no part of what is compared
        self.statics = statics  # fields of a dataclass that are part of the structure, with their values

    def __eq__(self, other: object) -> bool:
        return self is other or (
            isinstance(other, Treedef)
            and self.kind is other.kind
            and _same_keys(self.keys, other.keys)
            and self.children == other.children
            and (not (self.statics or other.statics) or _same_statics(self.statics, other.statics))
        )

    def __hash__(self) -> int:
        return hash((self.kind, self.keys, self.children))

    def __repr__(self) -> str:
        return f"Treedef({self})"

    def __str__(self) -> str:
        if self.kind in (None, type(None), Said):
            return repr(self.keys[0]) if self.kind is Said else "None" if self.kind else "*"
        if not is_dataclass(self.kind):
            return repr(build(self.kind, self.keys, [_Shown(str(child)) for child in self.children]))
        fields = [f"{key}={child}" for key, child in zip(self.keys, self.children, strict=True)]
        fields += [f"{key}={value!r}" for key, value in self.statics]
        return f"{self.kind.__name__}({', '.join(fields)})"


class Own:
    """The class of a container that is a list, a tuple or a dict, and what an instance has besides its items."""

    __slots__ = ("attributes", "kind")

    def __init__(self, container: Any) -> None:
        self.kind = type(container)
        names = {*getattr(container, "__dict__", ()), *(n for c in self.kind.__mro__ for n in _slots(c))}
        if isinstance(container, defaultdict):
            names.add("default_factory")
        self.attributes = {n: object.__getattribute__(container, n) for n in names if hasattr(container, n)}

    def build(self, keys: Sequence[Any], values: Sequence[Any]) -> Any:
        """An instance with these items, made without its ``__init__``."""
        base = next(c for c in self.kind.__mro__ if not c.__flags__ & HEAP)
        made = base.__new__(self.kind, values) if issubclass(base, tuple) else base.__new__(self.kind)
        if isinstance(made, list):
            list.extend(made, values)
        elif isinstance(made, dict):
            put = OrderedDict.__setitem__ if isinstance(made, OrderedDict) else dict.__setitem__
            for key, value in zip(keys, values, strict=True):
                put(made, key, value)
        for name, value in self.attributes.items():
            object.__setattr__(made, name, value)
        return made


def _slots(kind: type) -> Sequence[str]:
    names = vars(kind).get("__slots__", ())
    return (names,) if isinstance(names, str) else tuple(names)


class _Shown:
    """A part of a structure as text."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


def _same_keys(a: tuple[Any, ...], b: tuple[Any, ...]) -> bool:
    """Whether keys are equal and of the same types: True is another key than 1."""
    return a == b and all(
        type(x) is type(y) and (type(x) is not tuple or _same_keys(x, y)) for x, y in zip(a, b, strict=True)
    )


def _same_statics(a: tuple[tuple[str, Any], ...], b: tuple[tuple[str, Any], ...]) -> bool:
    if [name for name, _ in a] != [name for name, _ in b]:
        return False
    return all(same_value(x, y) for (_, x), (_, y) in zip(a, b, strict=True))


def same_value(a: Any, b: Any) -> bool:
    """Whether two objects that are no tensors are one, or equal ones of a type; what cannot be said to be is not."""
    if a is b:
        return True
    try:
        return type(a) is type(b) and bool(a == b or (type(a) is float and a != a and b != b))
    except Exception:  # arrays inside, say, of whose comparison nobody can say the truth
        return False


def is_dataclass(kind: Any) -> bool:
    """Whether a class is a container by being a dataclass: the library's own are values, and modules hold cells."""
    return (
        isinstance(kind, type)
        and hasattr(kind, "__dataclass_fields__")
        and kind.__module__.partition(".")[0] != "tensorgraph"
        and not hasattr(kind, "named_cells")
    )


def field_names(kind: Any) -> tuple[str, ...] | None:
    """The names by which the parts of a named tuple or of a dataclass are reached; None for what has none."""
    if isinstance(kind, type) and issubclass(kind, tuple) and hasattr(kind, "_fields"):
        return tuple(kind._fields)
    return tuple(f.name for f in dataclasses.fields(kind)) if is_dataclass(kind) else None


def is_container(value: Any) -> bool:
    """Whether a value holds others: neither a leaf nor None."""
    return _flatten_one(value) is not None


_LEAFDEF = Treedef(None, (), (), 1)
_NONE = Treedef(type(None), (), (), 0)


def flatten(tree: Any, like: Treedef | None = None) -> tuple[list[Any], Treedef]:
    """Leaves in order, and the structure that `unflatten` needs. Dicts take the order of their keys from `like`."""
    leaves: list[Any] = []
    try:
        return leaves, _flatten(tree, leaves, like)
    except RecursionError:
        raise ValueError("a container holds itself, or is nested without end") from None


Parts = tuple[Any, tuple[Any, ...], Sequence[Any], tuple[tuple[str, Any], ...]]  # kind, keys, values, statics


def _flatten_one(tree: Any, like: Treedef | None = None) -> Parts | None:
    """A container's kind, keys, values, and static fields; None for a leaf, and for None."""
    kind = type(tree)
    if kind is list or kind is tuple or (isinstance(tree, tuple) and hasattr(tree, "_fields")):
        return kind, tuple(range(len(tree))), tree, ()
    if isinstance(tree, (list, tuple)) and not hasattr(kind, "n_sequence_fields"):  # those of time and os are values
        base: Any = list if isinstance(tree, list) else tuple
        return base, tuple(range(base.__len__(tree))), [*base.__iter__(tree)], ()
    if isinstance(tree, (dict, MappingProxyType)):
        kind = kind if kind is OrderedDict else dict
        keys = tuple(tree)
        if like is not None and like.kind is kind and set(like.keys) == set(keys):
            keys = like.keys
        return kind, keys, [tree[key] for key in keys], ()
    if not hasattr(kind, "__dataclass_fields__") or not is_dataclass(kind):
        return None
    given = [field for field in dataclasses.fields(tree) if hasattr(tree, field.name)]
    own = [field.name for field in given if not field.metadata.get("static")]
    statics = tuple((field.name, getattr(tree, field.name)) for field in given if field.metadata.get("static"))
    return kind, tuple(own), [getattr(tree, name) for name in own], statics


def _flatten(tree: Any, leaves: list[Any], like: Treedef | None) -> Treedef:
    if tree is None:
        return _NONE
    parts = _flatten_one(tree, like)
    if parts is None:
        leaves.append(tree)
        return _LEAFDEF
    kind, keys, values, statics = parts
    below: Sequence[Treedef | None] = () if like is None else like.children
    if len(below) != len(values):
        below = [None] * len(values)
    children = tuple(_flatten(value, leaves, one) for value, one in zip(values, below, strict=True))
    own = None if type(tree) is kind or type(tree) is MappingProxyType else Own(tree)
    return Treedef(kind, keys, children, sum(child.size for child in children), statics, own)


@functools.lru_cache(maxsize=1024)
def listed(size: int) -> Treedef:
    """The structure of a list of so many leaves."""
    return Treedef(list, tuple(range(size)), (_LEAFDEF,) * size, size)


class Said:
    """The kind of a part that is a value, and no leaf: text in a result, say, which is the same every time."""


def with_said(treedef: Treedef, leaves: Sequence[Any], is_said: Callable[[Any], bool]) -> tuple[list[Any], Treedef]:
    """The leaves but those that are values of the structure, and the structure that has these."""
    given = iter(leaves)
    kept: list[Any] = []

    def part(tree: Treedef) -> Treedef:
        if tree.kind is None:
            leaf = next(given)
            if is_said(leaf):
                return Treedef(Said, (leaf,), (), 0)
            kept.append(leaf)
            return tree
        children = tuple(map(part, tree.children))
        return Treedef(tree.kind, tree.keys, children, sum(c.size for c in children), tree.statics, tree.own)

    made = part(treedef)
    return kept, made


def unflatten(treedef: Treedef, leaves: Sequence[Any]) -> Any:
    """The tree of this structure with these leaves."""
    if len(leaves) != treedef.size:
        raise ValueError(f"expected {treedef.size} leaves, got {len(leaves)}")
    return _unflatten(treedef, iter(leaves))


def _unflatten(treedef: Treedef, leaves: Iterator[Any]) -> Any:
    if treedef.kind is None:
        return next(leaves)
    if treedef.kind is Said:
        return treedef.keys[0]
    values = [_unflatten(child, leaves) for child in treedef.children]
    if treedef.kind is type(None):
        return None
    if treedef.own is not None:
        return treedef.own.build(treedef.keys, values)
    return build(treedef.kind, treedef.keys, values, treedef.statics)


def build(kind: Any, keys: Sequence[Any], values: Sequence[Any], statics: Sequence[tuple[str, Any]] = ()) -> Any:
    """A container of a kind with these values."""
    if issubclass(kind, dict):
        return kind(zip(keys, values, strict=True))
    if kind in (list, tuple):
        return kind(values)
    if issubclass(kind, tuple):
        return kind._make(values)
    made = object.__new__(kind)
    for name, value in (*zip(keys, values, strict=True), *statics):
        object.__setattr__(made, name, value)  # frozen ones too
    return made


def leaf_paths(treedef: Treedef, prefix: str = "") -> list[str]:
    """A dotted path a leaf, in order: ``layers.0.w``."""
    if treedef.kind is None:
        return [prefix]
    paths = []
    for key, child in zip(treedef.keys, treedef.children, strict=True):
        paths += leaf_paths(child, f"{prefix}.{key}" if prefix else str(key))
    return paths


def owners(treedef: Treedef, prefix: str = "") -> Iterator[tuple[str, Own]]:
    """The instances of subclasses in a structure, with a dotted path each."""
    if treedef.own is not None:
        yield prefix, treedef.own
    for key, child in zip(treedef.keys, treedef.children, strict=True):
        yield from owners(child, f"{prefix}.{key}" if prefix else str(key))


@checked
def tree_map(function: Callable[..., Any], tree: Any, *rest: Any) -> Any:
    """A tree of ``function(leaf, ...)``; further trees must have the same structure."""
    leaves, treedef = flatten(tree)
    others = []
    for other in rest:
        more, its_treedef = flatten(other, treedef)
        if its_treedef != treedef:
            raise ValueError(f"tree_map: expected a tree of structure {treedef}, got {its_treedef}")
        others.append(more)
    return unflatten(treedef, [function(*args) for args in zip(leaves, *others, strict=True)])
