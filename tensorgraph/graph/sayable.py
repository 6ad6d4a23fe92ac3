"""What a graph's text can say of how arguments and results nest; the rest is refused when a function is traced."""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgraph.engine.tree import Treedef

__all__ = ["sayable"]

LITERALS = (int, float, bool, str, type(None), type(...))


def sayable(treedef: Treedef, what: str) -> Treedef:
    """A structure as a text says it: NumPy's scalars among the keys of dicts are Python's, which are equal.

    Parameters
    ----------
    treedef : Treedef
    what : str
        What nests so, for the error.

    Raises
    ------
    TypeError
        For a key or a static field of a dataclass that no literal stands for.
    """
    children = tuple(sayable(child, what) for child in treedef.children)
    keys = treedef.keys
    if isinstance(treedef.kind, type) and issubclass(treedef.kind, dict):
        keys = tuple(_key(key, what) for key in keys)
    for name, value in treedef.statics:
        if not _is_literal(value):
            raise TypeError(
                f"{what}: the static field {treedef.kind.__name__}.{name} holds {_short(value)}, which a graph's text "
                "cannot say; static fields are numbers, strings, None and tuples of them. As a field that is not "
                "static it may be anything, and is not looked at"
            )
    same = keys is treedef.keys and all(a is b for a, b in zip(children, treedef.children, strict=True))
    return treedef if same else Treedef(treedef.kind, keys, children, treedef.size, treedef.statics, treedef.own)


def _key(key: Any, what: str) -> Any:
    plain = _plain(key)
    if not _is_literal(plain):
        raise TypeError(
            f"{what}: the key {_short(key)} of a dict cannot be said in a graph's text; keys are strings, numbers, "
            "None and tuples of them"
        )
    return plain


def _plain(key: Any) -> Any:
    if isinstance(key, np.generic) and not isinstance(key, np.void):
        return key.item()
    return tuple(map(_plain, key)) if type(key) is tuple else key


def _is_literal(value: Any) -> bool:
    if type(value) is tuple:
        return all(map(_is_literal, value))
    return type(value) in LITERALS and value == value  # no NaN, which is found under no key


def _short(value: Any) -> str:
    said = repr(value)
    return f"{said if len(said) <= 60 else said[:57] + '...'} ({type(value).__name__})"
