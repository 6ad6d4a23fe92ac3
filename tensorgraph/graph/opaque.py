"""Arguments that a trace does not look into: the arrays in them must not be used, since a graph would keep them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from types import FunctionType, ModuleType
from typing import Any

import numpy as np

from tensorgraph.engine.tape import describe_source, user_source
from tensorgraph.engine.tensor import Tensor, TraceError
from tensorgraph.graph.equation import Var

__all__ = ["Opaque"]

DEEPEST, MOST = 8, 10_000  # levels and objects that are looked at
LARGEST = 1 << 20  # bytes of an array whose copies are looked for
Array = np.ndarray[Any, Any]


class Opaque:
    """The arrays that are in some arguments.

    Parameters
    ----------
    arguments : iterable of (str, object)
        Names, and objects that are neither containers nor modules.
    """

    def __init__(self, arguments: Iterable[tuple[str, Any]]) -> None:
        self.arrays: dict[int, tuple[str, str, Array]] = {}
        self.contents: dict[bytes, tuple[str, str, Array]] = {}
        for name, value in arguments:
            for path, array in _arrays(value, name):
                known = path, type(value).__name__, array
                self.arrays.setdefault(id(array), known)
                if _is_known_by_content(array) and (array != array.flat[0]).any():  # others are made anywhere
                    self.contents.setdefault(_content(array), known)

    def refuse(self, array: Array) -> None:
        """Raise if this array, which the function has captured, is one of them, a part of one, or a copy."""
        base: Any = array
        while isinstance(base, np.ndarray):
            if id(base) in self.arrays:
                self._fail(*self.arrays[id(base)][:2])
            base = base.base
        if self.contents and _is_known_by_content(array):
            known = self.contents.get(_content(array))
            if known is not None:
                self._fail(*known[:2])

    def _fail(self, path: str, kind: str) -> None:
        raise TraceError(
            f"{path} is used{describe_source(user_source())}, an array in an argument of class {kind}, which a trace "
            f"does not look into: the graph would keep these numbers whatever {kind} it is called with. Make {kind} a "
            "dataclass, whose fields are arguments, or pass the array itself"
        )


def _is_known_by_content(array: Array) -> bool:
    return array.size > 1 and array.nbytes <= LARGEST and array.dtype.kind in "fiub"


def _content(array: Array) -> bytes:
    return f"{array.dtype.str}{array.shape}".encode() + np.ascontiguousarray(array).tobytes()


def _arrays(value: Any, name: str) -> Iterator[tuple[str, Array]]:
    """The arrays that can be reached from an object by its attributes and by containers."""
    seen: set[int] = set()
    queue: deque[tuple[Any, str, int]] = deque([(value, name, 0)])  # the shortest way to an array names it
    while queue and len(seen) < MOST:
        item, path, depth = queue.popleft()
        if isinstance(item, Tensor):
            item = item._value
        if isinstance(item, np.ndarray):
            yield path, item
            continue
        if id(item) in seen or depth > DEEPEST or isinstance(item, (type, ModuleType, FunctionType, str, bytes, Var)):
            continue
        seen.add(id(item))
        queue += [(part, inner, depth + 1) for part, inner in _parts(item, path)]


def _parts(item: Any, path: str) -> Iterator[tuple[Any, str]]:
    if hasattr(item, "named_cells") or type(item).__module__.partition(".")[0] in ("tensorgraph", "numpy", "builtins"):
        if isinstance(item, dict):
            yield from ((part, f"{path}[{key!r}]") for key, part in [*item.items()])
        elif isinstance(item, (list, tuple, set, frozenset)):
            yield from ((part, f"{path}[{i}]") for i, part in enumerate(item))
        return
    if isinstance(item, (list, tuple, set, frozenset, dict)):
        yield from _parts([*item.values()] if isinstance(item, dict) else [*item], path)
    names = [*getattr(item, "__dict__", ())]
    for kind in type(item).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        names += [slots] if isinstance(slots, str) else slots
    for name in dict.fromkeys(names):
        part = getattr(item, "__dict__", {}).get(name, None)
        if part is None:
            try:
                part = object.__getattribute__(item, name)
            except AttributeError:
                continue
        yield part, f"{path}.{name}"
