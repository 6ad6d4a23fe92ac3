"""The signature of a call: what two calls share that run the same graph.

Structure, shapes, dtypes and whether gradients are asked for belong to it, and what is no array and no number: by its
value, or as the one object that it is. Python's floats and integers are inputs, of which the type alone belongs to it.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

import numpy as np

from tensorgraph.engine import modes
from tensorgraph.engine.aval import Aval, default_dtype
from tensorgraph.engine.cells import Cell
from tensorgraph.engine.operands import convert
from tensorgraph.engine.spec import Typed
from tensorgraph.engine.tensor import Tensor, TraceError
from tensorgraph.engine.tree import Own, flatten, owners
from tensorgraph.graph.graph import typed_key
from tensorgraph.graph.size_reads import plain
from tensorgraph.graph.trace import example_aval

__all__ = ["Leaves", "Signature", "arrays_of", "difference", "is_huge", "is_said"]

ndarray = np.ndarray
LITERALS = (int, float, bool, str, bytes, complex, type(None), type(...))


class Same:
    """An object as itself, in a key; it is kept, so that its address stays its own."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and self.value is other.value

    def __hash__(self) -> int:
        return id(self.value)


Signature = tuple[Any, ...]


class Leaves:
    """The leaves of a call's arguments; numbers of the types in `fixed` are static.

    Attributes
    ----------
    signature : tuple
    tensors : list
        Of arrays and numbers, in order: a Tensor each, or a Python number.
    cells : list of Cell
        Which of the leaves are parameters and buffers.
    """

    def __init__(self, args: Sequence[Any], keywords: Mapping[str, Any], fixed: frozenset[type] = frozenset()) -> None:
        values, tree = flatten([*args, *keywords.values()])
        keys: list[Any] = []
        self.tensors: list[Any] = []
        self.cells = [leaf for leaf in values if isinstance(leaf, Cell)]
        trace: Any = modes.current().trace  # in which a call may stand
        for place, leaf in enumerate(values):
            if type(leaf) in fixed or is_huge(leaf):
                keys.append(typed_key(leaf))
                continue
            if is_said(leaf) or isinstance(leaf, Aval) or example_aval(leaf) is None:
                keys.append(_static(leaf))
                continue
            if type(leaf) in (int, float):
                keys.append(type(leaf))
                self.tensors.append(leaf)
                continue
            if isinstance(leaf, (int, float)) and not isinstance(leaf, np.generic):  # of a class of the user's own
                number = float(leaf) if isinstance(leaf, float) else int(leaf)
                keys.append(type(number))
                self.tensors.append(number)
                continue
            tensor = convert(leaf, functools.partial("argument {}".format, place))
            if type(tensor._value) is not ndarray and trace is None:
                raise TraceError(
                    f"argument {place} was traced and is used outside its trace: expected a tensor with numbers, got "
                    f"{tensor.dtype} of shape {tensor.shape} without; return it from the traced function, and pass "
                    "what a run of that gives"
                )
            scalar = isinstance(leaf, np.generic)
            if trace is None:
                keys.append((tensor.shape, tensor.dtype, tensor._node is not None, scalar))
            else:
                keys.append((plain(tensor.aval).shape, tensor.dtype, trace.is_differentiable(tensor), scalar))
            self.tensors.append(tensor)
        mode = modes.current()
        owned = tuple((path, Same(own.kind), _held(own)) for path, own in owners(tree))
        self.signature: Signature = (
            tree, owned, tuple(keywords), tuple(keys), mode.grad, mode.implementation, default_dtype(),
        )  # fmt: skip

    def without_numbers(self) -> Leaves:
        """The same without what was given, so that its memory is free."""
        made = copy.copy(self)
        made.tensors, made.cells = [], []
        return made

    def differs_in_sizes(self, other: Leaves) -> bool:
        """Whether the other call is like this one but for sizes of arrays, and for who asks for gradients of results:
        while a function is traced they are recorded in any case."""
        mine, theirs = self.signature, other.signature
        if mine[:3] != theirs[:3] or mine[5:] != theirs[5:]:
            return False
        return all(a == b or _sizeless(a) == _sizeless(b) for a, b in zip(mine[3], theirs[3], strict=True))


def _held(own: Own) -> tuple[Any, ...]:
    """What an instance of a subclass of a container has besides its items, as a key."""
    return tuple((name, _static(value)) for name, value in sorted(own.attributes.items()))


def is_huge(value: Any) -> bool:
    """Whether a value is an integer of Python's that no int64 holds: no input then, but a part of the signature."""
    return type(value) is int and not -(2**63) <= value < 2**63


def is_said(value: Any) -> bool:
    """Whether a value is no number, though it may be equal to one or name its type: text, a member of an enum, a dtype,
    a class."""
    return isinstance(value, (str, bytes, Enum, Typed, np.dtype, type))


def _sizeless(key: Any) -> Any:
    """The key of an array without its sizes."""
    return (len(key[0]), *key[1:]) if type(key) is tuple and len(key) == 4 else key


def _static(value: Any) -> Any:
    """What is no array and no number, as a key."""
    return typed_key(value) if type(value) in LITERALS else Same(value)


def difference(before: Leaves, now: Leaves, names: Sequence[str]) -> str:
    """What of a call's signature is another than it was, in words."""
    old, new = before.signature, now.signature
    if old[:3] == new[:3]:
        for n, (a, b) in enumerate(zip(old[3], new[3], strict=True)):
            if a != b:
                name = names[n] if n < len(names) else f"argument {n}"
                return f"{name} was {_said(a)} and is {_said(b)} now"
        modes = ("whether gradients are recorded", "implementation", "default dtype")
        for what, a, b in zip(modes, old[4:], new[4:], strict=True):
            if a != b:
                return f"{what} was {a} and is {b} now"
    if old[0] != new[0]:
        return f"arguments nested as {old[0]} came as {new[0]}"
    if old[1] != new[1]:
        return "a container among the arguments is of another class, or has something else besides its items"
    return "other keywords were given"


def _said(key: Any) -> str:
    if isinstance(key, Same):
        text = repr(key.value)
        return text if len(text) < 60 else f"a {type(key.value).__name__}"
    if isinstance(key, type):
        return f"a Python {key.__name__}"
    if len(key) == 4 and isinstance(key[0], tuple):
        shape, dtype, grad, scalar = key
        return f"{Aval(shape, dtype)}{' that asks for gradients' * grad}{', a scalar of NumPy,' * scalar}"
    return repr(float.fromhex(key[1]) if key[0] == "float" else key[1])


def arrays_of(tensors: Sequence[Any]) -> list[Any]:
    """What a runner is given."""
    return [t._value if isinstance(t, Tensor) else t for t in tensors]
