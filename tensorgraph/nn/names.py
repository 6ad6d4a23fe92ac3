"""Where parts of a module may stand: a path such as ``layers.0.weight`` leads to one cell and back."""

from __future__ import annotations

from collections import UserDict, UserList, deque
from collections.abc import Iterator
from types import MappingProxyType
from typing import Any

import numpy as np

from tensorgraph.arguments import shown
from tensorgraph.engine.cells import Cell
from tensorgraph.engine.contents import within
from tensorgraph.engine.tensor import Tensor, TraceError, tensor

__all__ = ["input_of", "require_place", "require_seen"]

LITERALS = frozenset({int, float, bool, str, type(None)})
COLLECTIONS = (list, tuple, dict, set, frozenset, deque, MappingProxyType, UserList, UserDict, np.ndarray)
KNOWN = frozenset({"_entered", "_place", "_hooks"})  # what calls and parents keep in a module
SWITCHES = ("training", "frozen")
OWN = ("ranks", "moves_mark")  # what `tensorgraph.dist` gives, and what classes say
FREE = frozenset({"forward", "config", "extra_repr", "summary"})  # methods that are no more than a default


def require_place(module: Any, base: type, name: str, value: Any) -> None:
    """Refuse an attribute whose parts could not be found again by their paths, or that hides what every module has.

    `base` is `Module`.
    """
    label = f"{module.label}.{name}" if name else f"{module.label}: an attribute without a name"
    if name in SWITCHES:
        if not isinstance(value, bool):
            raise TypeError(f"{label} must be True or False, got {shown(value)}")
        return
    _require_seen(module, base, name, value)
    if name in OWN and not (name == "ranks" and (value is None or hasattr(value, "gather"))):
        raise ValueError(f"{label} is what every Module has, and {shown(value)} would change it: take another name")
    if not isinstance(value, (Cell, base, list, tuple, dict)):
        if name not in FREE and callable_of(base, name):
            raise ValueError(f"{label} is what every Module has, and {shown(value)} would hide it: take another name")
        return
    parts = list(_parts(value, base, label, ()))
    if not parts:
        return
    if not name or "." in name:
        raise ValueError(
            f"{label} holds {shown(parts[0])}, whose path is made of names with dots between: take a name without "
            "dots, or a list or a dict of parts"
        )
    if name != "forward" and callable_of(base, name):
        raise ValueError(f"{label} is what every Module has, and {shown(value)} would hide it; take another name")


def callable_of(base: type, name: str) -> bool:
    """Whether a name is a method or a property of every module."""
    member = next((vars(c)[name] for c in base.__mro__[:-1] if name in vars(c)), None)
    return member is not None and not name.startswith("_") and (
        callable(member) or isinstance(member, (property, classmethod, staticmethod))
    )  # fmt: skip


def _parts(value: Any, base: type, label: str, above: tuple[int, ...]) -> Iterator[Any]:
    """The cells and modules in nested containers, whose keys are refused where they make no path."""
    if isinstance(value, (Cell, base)):
        yield value
        return
    if not isinstance(value, (list, tuple, dict)):
        return
    if id(value) in above:
        raise ValueError(f"{label} holds {shown(value)} that holds itself, so that its parts have no end")
    items = list(value.items()) if isinstance(value, dict) else list(enumerate(value))
    names: dict[str, Any] = {}
    for key, item in items:
        parts = list(_parts(item, base, f"{label}.{key}", (*above, id(value))))
        if not parts:
            continue
        yield from parts
        if not isinstance(key, (str, int)) or isinstance(key, bool) or (isinstance(key, str) and not key):
            raise TypeError(f"{label}: the key of a part must be a str that is not empty or an int, got {shown(key)}")
        if "." in str(key):
            raise ValueError(
                f"{label}: the key {key!r} of a part has a dot in it, as between names in a path: leave it out"
            )
        if str(key) in names:
            raise ValueError(
                f"{label}: the keys {names[str(key)]!r} and {key!r} are one path; take keys that differ as text"
            )
        names[str(key)] = key


def require_seen(module: Any, base: type) -> Any:
    """The module; collections that were filled with parts after they were assigned are refused."""
    for name, value in vars(module).items():
        if type(value) not in LITERALS and not isinstance(value, (Cell, base)) and name not in KNOWN:
            _require_seen(module, base, name, value, plain=False)
    return module


def _require_seen(module: Any, base: type, name: str, value: Any, plain: bool = True) -> None:
    """Refuse cells and modules where nobody looks for them: in a deque, a set, a dataclass or, if `plain`, in any
    object. What has its place elsewhere may be held there too."""
    if type(value) in LITERALS or isinstance(value, (Cell, base)):
        return

    def is_part(item: Any) -> bool:
        return isinstance(item, (Cell, base))

    def is_collection(item: Any) -> bool:
        return isinstance(item, COLLECTIONS) or hasattr(type(item), "__dataclass_fields__")

    hidden = [
        (path, part)
        for path, part in within(value, "", is_part, None if plain else is_collection)
        if not _has_place(part) and part is not module and part is not module.root
    ]
    if not hidden:
        return
    seen = {id(part) for part in _items(value, base)}
    for path, part in hidden:
        if id(part) not in seen:
            raise TypeError(
                f"{module.label}.{name}: {name}{path} is {shown(part)} in {_holder(value)}, where nobody looks for "
                "parts: it would be neither trained nor saved. Use a list, a tuple or a dict of parts, or assign it to "
                "an attribute of its own first"
            )


def _has_place(part: Any) -> bool:
    place = part.owner if isinstance(part, Cell) else part._place
    return place is not None and place[0]() is not None


def _items(value: Any, base: type) -> Iterator[Any]:
    """The parts in nested lists, tuples and dicts."""
    stack, seen = [value], set()
    while stack:
        item = stack.pop()
        if isinstance(item, (Cell, base)):
            yield item
        elif isinstance(item, (list, tuple, dict)) and id(item) not in seen:
            seen.add(id(item))
            stack += item.values() if isinstance(item, dict) else item


def _holder(value: Any) -> str:
    return shown(value) if not isinstance(value, (list, tuple, dict)) else f"what {shown(value)} holds"


def input_of(module: Any, x: Any) -> Tensor:
    """What a layer was called with, as a tensor; an error names the layer."""
    if isinstance(x, Tensor):
        return x
    try:
        return tensor(x)
    except TraceError:
        raise
    except (TypeError, ValueError) as error:
        problem = type(error)(f"{module.label}: x: {str(error).removeprefix('tensor: ')}")
    raise problem
