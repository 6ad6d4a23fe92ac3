"""Layers by name: every class of `Module` is entered here where it is defined, and nothing else is ever looked up.

A file names the layers of a model; reading one calls classes that are imported already, and executes nothing of the
file. This library's layers go by their bare name, those of others by module and name: ``mypackage.models.Net``.
"""

from __future__ import annotations

from typing import Any
from weakref import WeakValueDictionary

__all__ = ["class_of", "is_atomic", "name_of", "register"]

OWN = "tensorgraph."
_BY_NAME: WeakValueDictionary[str, Any] = WeakValueDictionary()


def name_of(layer: type) -> str:
    """How files name a class."""
    return layer.__qualname__ if layer.__module__.startswith(OWN) else f"{layer.__module__}.{layer.__qualname__}"


def register(layer: type) -> None:
    """Enter a class; one defined again, as in a notebook, takes the place of the older."""
    _BY_NAME[name_of(layer)] = layer


def class_of(name: str, where: str = "the model") -> Any:
    """The class that a file names.

    Raises
    ------
    ValueError
        Saying which import is missing, or that the class cannot be made from a description.
    """
    found = _BY_NAME.get(name)
    if found is None and "." in name:  # a script is "__main__" to itself and another module to those who import it
        inside = name.rpartition(".")[2]
        alike = [c for c in list(_BY_NAME.values()) if c.__qualname__ == inside and "." in name_of(c)]
        if len(alike) == 1 and "__main__" in (alike[0].__module__, name.rpartition(".")[0]):
            found = alike[0]
    if found is not None and found.says_how_it_was_made():
        return found
    if found is not None:
        raise ValueError(f"{where} is a {name!r}, which does not say how it was made: it has no config() of its own")
    module = name.partition(".<locals>")[0].rpartition(".")[0]
    if not module:
        raise ValueError(
            f"{where} is a {name!r}, and tensorgraph.nn has no such layer; a newer tensorgraph may know it"
        )
    raise ValueError(
        f"{where} is a {name!r}, and no layer of that name is imported; import {module} first, if you know it, or "
        "build the model and call load(path, model)"
    )


def is_atomic(bare: str | None) -> bool:
    """Whether a class of this bare name does nothing twice in one call: see `Module.atomic`."""
    classes = [c for c in list(_BY_NAME.values()) if c.__name__ == bare]
    own = [c for c in classes if c.__module__.startswith(OWN)]
    return bool(classes) and all(c.atomic for c in own or classes)
