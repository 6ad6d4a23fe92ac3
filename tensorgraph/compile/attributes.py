"""Attributes and variables as a watcher reads them: without running anyone's code, with what must be guarded of it."""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Iterator
from types import BuiltinFunctionType, CellType, FunctionType, MemberDescriptorType, MethodType, ModuleType
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from tensorgraph.compile.guards import AbsentGuard, AttributeGuard, Guard, ItemGuard
from tensorgraph.compile.structure import is_marked, is_plain
from tensorgraph.engine.tensor import Tensor

__all__ = ["FUNCTIONS", "MISSING", "holds", "is_library", "read_attribute", "values_of", "written"]

STDLIB = sysconfig.get_paths()["stdlib"]
OTHERS = ("tensorgraph", "numpy", "builtins", "numba", "llvmlite")
FUNCTIONS = (FunctionType, BuiltinFunctionType, MethodType)
MISSING = object()
PROXIES: WeakKeyDictionary[type, Any] = WeakKeyDictionary()  # one object a class, to know it again


def is_library(name: str, file: str | None) -> bool:
    """Whether a module is this library's, NumPy's or Python's own, in which nobody changes anything."""
    root = name.partition(".")[0]
    if root in OTHERS:
        return True
    if file is None:
        return root in sys.builtin_module_names
    return file.startswith(STDLIB) and "site-packages" not in file


def read_attribute(value: Any, name: str, path: str) -> tuple[Any, list[Guard]]:
    """An attribute without running anyone's code, and its guards, if it needs some; MISSING where it is computed."""
    kind = type(value)
    if isinstance(value, ModuleType):
        if is_library(value.__name__, getattr(value, "__file__", None)):
            return MISSING, []
        return _item(vars(value), name, path)
    if isinstance(value, type):
        return _of_class(value, name, path)
    if is_plain(value) or isinstance(value, (Tensor, np.ndarray, *FUNCTIONS)):
        return MISSING, []
    own = getattr(value, "__dict__", None)
    if isinstance(own, dict) and name in own:
        return (own[name], []) if is_marked(value) else _item(own, name, path)
    found, guards = _of_class(kind, name, path)
    if isinstance(found, MemberDescriptorType):
        try:
            found = object.__getattribute__(value, name)
        except AttributeError:
            return MISSING, []
        return found, [AttributeGuard(path, value, name, found)]
    if isinstance(own, dict) and not is_marked(value) and not hasattr(type(found), "__set__"):
        guards.append(AbsentGuard(path, own, name))
    if isinstance(found, (classmethod, staticmethod)):
        return found.__func__, guards
    if hasattr(type(found), "__get__") and not isinstance(found, FUNCTIONS):
        return MISSING, guards  # a property: its own code is seen where it runs
    return found, guards


def _item(mapping: Any, name: str, path: str) -> tuple[Any, list[Guard]]:
    if name not in mapping:
        return MISSING, []
    return mapping[name], [ItemGuard(path, mapping, name, mapping[name])]


def _of_class(kind: type, name: str, path: str) -> tuple[Any, list[Guard]]:
    for base in kind.__mro__:
        if name in vars(base):
            value = vars(base)[name]
            library = is_library(base.__module__, getattr(sys.modules.get(base.__module__), "__file__", None))
            return value, [] if library else [ItemGuard(path, PROXIES.setdefault(base, vars(base)), name, value)]
    return MISSING, []


def written(holder: Any, name: Any) -> Any:
    """What is there now of an attribute, a global name or a variable of a function around."""
    if isinstance(holder, CellType):
        return _content(holder)
    return holder.get(name) if isinstance(holder, dict) else getattr(holder, "__dict__", {}).get(name)


def _content(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # it is not filled yet
        return None


def holds(cell: Any, value: Any) -> bool:
    """Whether a variable of a function around is a value."""
    try:
        return cell.cell_contents is value
    except ValueError:  # it is not filled yet
        return value is None


def values_of(container: Any) -> Iterator[Any]:
    """What is in a container."""
    if isinstance(container, np.ndarray):
        return iter(container.flat)
    return iter(container.values() if isinstance(container, dict) else container)
