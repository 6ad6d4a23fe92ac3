"""Which function a name of the array namespace is: the catalogue's, unless this room says it in its own way."""

from __future__ import annotations

from typing import Any

from tensorgraph.arguments.foreign import absent
from tensorgraph.engine.functions import FUNCTIONS, function_named
from tensorgraph.engine.op import ALIASES, CATALOGUE, op_named

__all__ = ["lookup", "names"]


def lookup(name: str) -> Any:
    """The function or constant of this name.

    Raises
    ------
    AttributeError
        Where there is none, with what to write instead.
    """
    if name == "linalg":
        from tensorgraph.numpy import linalg

        return linalg
    if (declared := op_named(name)) is not None:
        return declared.public
    if (function := function_named(name)) is not None:
        return function.call
    raise absent("module 'tensorgraph.numpy'", "tensorgraph", name, names())


def names() -> list[str]:
    """Every name of the array namespace."""
    return sorted({*CATALOGUE, *ALIASES, *FUNCTIONS, "linalg"})
