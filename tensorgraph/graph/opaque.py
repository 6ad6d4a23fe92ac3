"""Arguments that a trace does not look into: the arrays in them must not be used, since a graph would keep them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from tensorgraph.engine.contents import within
from tensorgraph.engine.tape import describe_source, user_source
from tensorgraph.engine.tensor import Tensor, TraceError
from tensorgraph.graph.equation import Var

__all__ = ["Opaque"]

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
    for path, item in within(value, name, _is_array, lambda item: not isinstance(item, Var)):
        yield path, item._value if isinstance(item, Tensor) else item


def _is_array(item: Any) -> bool:
    if isinstance(item, Tensor):
        item = item._value
    return isinstance(item, np.ndarray) and not item.dtype.hasobject
