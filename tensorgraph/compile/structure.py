"""What modules, optimisers and cells are made of, as a flat list: two of one object differ where the object changed.

It is made again when the mark of `tensorgraph.engine.changes` has moved, and never in a call where it has not.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from tensorgraph.compile.attribute_words import AttributeWords
from tensorgraph.engine.cells import Cell
from tensorgraph.engine.tensor import Tensor

__all__ = ["Structure", "is_marked", "is_plain", "same"]

PLAIN = frozenset({int, float, bool, complex, str, bytes, type(None), type(...), np.dtype})
# what calls keep for the next call, and what is said once
PASSING = frozenset({"_entered", "_forward_template", "_place", "_width", "_reported"})
SWITCHES = ("training", "frozen", "_hooks")


def is_marked(value: Any) -> bool:
    """Whether an object moves the mark when an attribute of it is set: a module, an optimiser, a group."""
    return bool(getattr(type(value), "moves_mark", False))


def is_plain(value: Any) -> bool:
    """Whether a value is compared by what it says."""
    return type(value) in PLAIN or isinstance(value, (np.generic, np.dtype))


def same(a: Any, b: Any) -> bool:
    """Whether two values are one object, or plain ones of one type, sign and number included."""
    if a is b:
        return True
    if type(a) is not type(b) or not is_plain(a):
        return False
    if type(a) is float:
        return (a == b and math.copysign(1.0, a) == math.copysign(1.0, b)) or (a != a and b != b)
    if isinstance(a, np.generic):
        return bool(a.dtype == b.dtype and a.tobytes() == b.tobytes())
    return repr(a) == repr(b) if type(a) is complex else bool(a == b)


class Structure:
    """The parts of some objects.

    Parameters
    ----------
    roots : iterable
    named : bool
        Whether parts have paths; those of what is only compared need none.
    modes : bool
        Whether it matters if modules are in training or in evaluation mode.

    Attributes
    ----------
    parts : list
        What is compared, in order; strings say which attribute comes.
    paths : list of str
        Where each part is, for people.
    containers : list of (str, list or dict)
        Those that were met: what is put into one moves no mark.
    marked : list
        The modules, optimisers and groups among the parts.
    """

    def __init__(self, roots: Iterable[Any], named: bool = True, modes: bool = True) -> None:
        self.named, self.modes = named, modes
        self.parts: list[Any] = []
        self.paths: list[str] = []
        self.containers: list[tuple[str, list[Any] | dict[Any, Any]]] = []
        self.marked: list[Any] = []
        seen: set[int] = set()
        stack: list[tuple[str, Any, bool]] = [
            (_name(root) if named else "", root, False) for root in reversed([*roots])
        ]
        while stack:
            path, value, own = stack.pop()
            self.parts.append(type(value) if isinstance(value, (list, tuple, dict)) else value)
            self.paths.append(path)
            if is_plain(value) or id(value) in seen:
                continue
            seen.add(id(value))
            inner = self._inside(path, value)
            self.parts.append(f"{len(inner)} parts")
            self.paths.append(path)
            if own and isinstance(value, (list, dict)):
                self.containers.append((path, value))
            # the lists of an optimiser are its own business, those of a module the user's
            own = hasattr(type(value), "forward") or (own and isinstance(value, (list, tuple, dict)))
            stack += [(name, item, own and not name.endswith("._hooks")) for name, item in reversed(inner)]

    def _inside(self, path: str, value: Any) -> list[tuple[str, Any]]:
        if isinstance(value, Tensor):
            self.parts += [value._node]
            self.paths += [f"{path}.requires_grad"]
            if isinstance(value, Cell):
                self.parts += [value._value.dtype, *value._value.shape]
                self.paths += [f"{path}.dtype"] + [f"{path}.shape"] * value._value.ndim
            return []
        if isinstance(value, (list, tuple)):
            return [(f"{path}[{i}]" if self.named else "", item) for i, item in enumerate(value)]
        if isinstance(value, dict):
            pairs = list(value.items())
            if not self.named:
                return [("", key) for key, _ in pairs] + [("", v) for _, v in pairs]
            return [(f"{path} has {key!r}", key) for key, _ in pairs] + [(f"{path}[{key!r}]", v) for key, v in pairs]
        if is_marked(value) or type(value).__module__ == "tensorgraph.optim.groups":
            names = [*(getattr(value, "__dict__", None) or type(value).__slots__)]
            if hasattr(type(value), "forward"):  # as a class has them for its modules, until one is set
                names = [*(name for name in names if name not in SWITCHES), *SWITCHES[not self.modes :]]
            own = [(name, getattr(value, name)) for name in names if name not in PASSING]
            self.marked.append(value)
            self.parts.append(type(value))
            self.paths.append(f"the class of {path}" if self.named else "")
            path = f"{path}." if self.named else "."
            return [(path + name, item) for name, item in own if not isinstance(item, weakref.ref)]
        return []

    def words(self) -> AttributeWords:
        """The attributes of the marked, which may be set past what moves the mark."""
        return AttributeWords(self.marked, PASSING if self.modes else PASSING | {SWITCHES[0]})

    def difference(self, other: Structure) -> str | None:
        """The path of the first part that differs, or None."""
        return first_difference(self.parts, other.parts, self.paths)


def first_difference(before: Sequence[Any], now: Sequence[Any], paths: Sequence[str]) -> str | None:
    """Where two lists of parts differ first."""
    for path, a, b in zip(paths, before, now, strict=False):
        if not same(a, b):
            told = f" was {a!r} and is {b!r} now" if is_plain(a) and is_plain(b) else " is another one now"
            return path + told
    return None if len(before) == len(now) else f"{paths[-1] if paths else 'an object'} has other parts now"


def _name(root: Any) -> str:
    return getattr(root, "path", "") or type(root).__name__.lower()
