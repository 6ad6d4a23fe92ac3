"""What an object holds that is neither a leaf nor a container of a tree: its attributes, the items of a collection."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, ItemsView, Iterator, KeysView, ValuesView
from functools import partial
from types import FunctionType, MappingProxyType, MemberDescriptorType, MethodType, ModuleType
from typing import Any

import numpy as np

__all__ = ["attributes", "within"]

DEEPEST, MOST = 8, 10_000  # levels and objects that are looked at
PLAIN = (type, ModuleType, FunctionType, str, bytes, int, float, complex, type(None), np.generic)
ITEMS = (list, tuple, set, frozenset, deque, KeysView, ValuesView, ItemsView)


def within(
    value: Any,
    name: str,
    ends: Callable[[Any], bool],
    follow: Callable[[Any], bool] | None = None,
    most: int = MOST,
) -> Iterator[tuple[str, Any]]:
    """What can be reached from an object and `ends` the way there, each with its path.

    Parameters
    ----------
    value : object
    name : str
        What the paths begin with.
    ends : callable
        Whether a thing is looked for; nobody looks into it.
    follow : callable, optional
        Whether a thing is looked into; everything is, unless said.
    most : int
        How many things are looked into.
    """
    seen: set[int] = set()
    queue: deque[tuple[Any, str, int]] = deque([(value, name, 0)])  # the shortest way to a thing names it
    while queue and len(seen) < most:
        item, path, depth = queue.popleft()
        if ends(item):
            yield path, item
            continue
        if depth > DEEPEST or isinstance(item, PLAIN) or id(item) in seen or not (follow is None or follow(item)):
            continue
        seen.add(id(item))
        queue += [(part, inner, depth + 1) for part, inner in _parts(item, path)]


def _parts(item: Any, path: str) -> Iterator[tuple[Any, str]]:
    if isinstance(item, (dict, MappingProxyType)):
        yield from ((part, f"{path}[{key!r}]") for key, part in [*item.items()])
    elif isinstance(item, np.ndarray):
        if item.dtype.hasobject and item.dtype.names is None:
            yield from ((part, f"{path}[{i}]") for i, part in enumerate(item.flat))
        return
    elif isinstance(item, ITEMS):
        yield from ((part, f"{path}[{i}]") for i, part in enumerate([*item]))
    elif isinstance(item, partial):
        yield from ((part, path) for part in (item.func, item.args, item.keywords))
    elif isinstance(item, MethodType):
        yield item.__self__, path
    yield from ((part, f"{path}.{name}") for name, part in attributes(item))


def attributes(item: Any) -> Iterator[tuple[str, Any]]:
    """What an object of the user's has for attributes, those of its class among them, by name.

    Modules, the library's own objects and NumPy's have none.
    """
    kind = type(item)
    if hasattr(item, "named_cells") or kind.__module__.partition(".")[0] in ("tensorgraph", "numpy", "builtins"):
        return
    found = dict(getattr(item, "__dict__", ()))
    for base in kind.__mro__:
        if base.__module__ in ("builtins", "abc", "typing"):
            continue
        for name, part in vars(base).items():
            if name in found or name.startswith("__"):
                continue
            if isinstance(part, MemberDescriptorType):  # a slot
                with contextlib.suppress(AttributeError):
                    found[name] = object.__getattribute__(item, name)
            elif not hasattr(type(part), "__get__"):
                found[name] = part
    yield from found.items()
