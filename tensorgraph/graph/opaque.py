"""Arguments that a trace does not look into: the arrays in them must not be used, since a graph would keep them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from tensorgraph.engine.contents import within
from tensorgraph.engine.tape import describe_source, user_source
from tensorgraph.engine.tensor import Tensor, TraceError
from tensorgraph.engine.tree import same_value
from tensorgraph.graph.equation import Var

__all__ = ["Opaque", "plain_values", "refuse_iterator", "refuse_other_values"]

FEW = 256  # objects in an argument that holds more are not remembered: that would cost more than a call
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
        self.arrays: dict[int, tuple[str, str, bool, Array]] = {}
        self.contents: dict[bytes, tuple[str, str, bool, Array]] = {}
        for name, value in arguments:
            for path, array in _arrays(value, name):
                known = path, type(value).__name__, _is_users(value), array
                self.arrays.setdefault(id(array), known)
                if _is_known_by_content(array) and (array != array.flat[0]).any():  # others are made anywhere
                    self.contents.setdefault(_content(array), known)

    def refuse(self, array: Array) -> None:
        """Raise if this array, which the function has captured, is one of them, a part of one, or a copy."""
        base: Any = array
        while isinstance(base, np.ndarray):
            if id(base) in self.arrays:
                self._fail(*self.arrays[id(base)][:3])
            base = base.base
        if self.contents and _is_known_by_content(array):
            known = self.contents.get(_content(array))
            if known is not None:
                self._fail(*known[:3])

    def _fail(self, path: str, kind: str, own: bool) -> None:
        remedy = f"Make {kind} a dataclass, whose fields are arguments" if own else "Pass a list, a dict or a dataclass"
        raise TraceError(
            f"{path} is used{describe_source(user_source())}, an array in an argument of class {kind}, which a trace "
            f"does not look into: the graph would keep these numbers whatever {kind} it is called with. {remedy}, or "
            "pass the array itself"
        )


def _is_users(value: Any) -> bool:
    return type(value).__module__.partition(".")[0] not in ("builtins", "collections", "numpy", "types")


def _is_known_by_content(array: Array) -> bool:
    return array.size > 1 and array.nbytes <= LARGEST and array.dtype.kind in "fiub"


def _content(array: Array) -> bytes:
    return f"{array.dtype.str}{array.shape}".encode() + np.ascontiguousarray(array).tobytes()


def _arrays(value: Any, name: str) -> Iterator[tuple[str, Array]]:
    """The arrays that can be reached from an object by its attributes and by containers."""
    for path, item in within(value, name, _is_array, lambda item: not isinstance(item, Var)):
        yield path, item._value if isinstance(item, Tensor) else item


def _is_array(item: Any) -> bool:
    if isinstance(item, Tensor):
        item = item._value
    return isinstance(item, np.ndarray) and not item.dtype.hasobject


# numbers that are no arrays -------------------------------------------------------------------------------------------


def refuse_iterator(value: Any, name: str) -> None:
    """Raise for an iterator: the trace would use it up, and keep what it gave."""
    if isinstance(value, Iterator) and type(value).__module__ in ("builtins", "itertools"):
        raise TypeError(
            f"the argument {name} is an iterator ({type(value).__name__}), which gives its items once, so that "
            "the graph would keep them; pass a list or a tuple of them"
        )


def plain_values(value: Any, name: str) -> dict[str, Any]:
    """The numbers, flags and strings in an object by where they are; none of an object that holds very many."""
    found: dict[str, Any] = {}
    for path, item in within(value, name, _is_plain, lambda item: not isinstance(item, (Tensor, Var))):
        found[path] = item
        if len(found) > FEW:
            return {}
    return found


def _is_plain(item: Any) -> bool:
    return isinstance(item, (int, float, complex, str, bytes, np.generic))


def refuse_other_values(graph: str, name: str, value: Any, traced: Mapping[str, Any]) -> None:
    """Raise where the numbers in an object are not those that the function was traced with."""
    now = plain_values(value, name)
    lists = {path.rpartition("[")[0] for path in traced if path.endswith("]")}
    added = [path for path in now if path not in traced and path.endswith("]") and path.rpartition("[")[0] in lists]
    for path in (*traced, *added):
        if path not in now or path not in traced or not same_value(now[path], traced[path]):
            was, came = (repr(values[path]) if path in values else "nothing" for values in (traced, now))
            raise ValueError(
                f"{graph}: {path} was {was} when the function was traced and is {came} now, and the graph keeps what "
                "it was computed with; trace again, or pass the number as an argument"
            )
