"""Attributes and variables as a watcher reads them: without running anyone's code, with what must be guarded of it."""

from __future__ import annotations

import sys
import sysconfig
from collections import namedtuple
from collections.abc import Iterable, Iterator, Mapping
from types import (
    BuiltinFunctionType,
    CellType,
    CodeType,
    FunctionType,
    MemberDescriptorType,
    MethodType,
    ModuleType,
)
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from tensorgraph.compile.guards import (
    AbsentGuard,
    AttributeGuard,
    ContentsGuard,
    Guard,
    ItemGuard,
    KindGuard,
    UnsetGuard,
)
from tensorgraph.compile.structure import is_marked, is_plain
from tensorgraph.engine.tensor import Tensor

__all__ = [
    "FUNCTIONS", "MISSING", "behind_super", "class_attribute", "class_items", "function_of", "holds", "is_library",
    "makers", "read_attribute", "values_of", "written",
]  # fmt: skip

STDLIB = sysconfig.get_paths()["stdlib"]
OTHERS = ("tensorgraph", "numpy", "builtins", "numba", "llvmlite")
FUNCTIONS = (FunctionType, BuiltinFunctionType, MethodType)
ACCESSORS = ("fget", "func")  # of a property, and of a cached one
FIELD: type = type(vars(namedtuple("One", "field"))["field"])  # of which a named tuple's class has one each
MAKERS = ("__init__", "__new__")
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
        return class_attribute(value, name, path)
    if isinstance(value, FunctionType) and not hasattr(FunctionType, name):  # one that somebody has given it
        given = vars(value)
        return _item(given, name, path) if name in given else (MISSING, [AbsentGuard(path, given, name)])
    if is_plain(value) or isinstance(value, (Tensor, np.ndarray, *FUNCTIONS)):
        return MISSING, []
    if isinstance(value, tuple) and type(vars(type(value)).get(name)) is FIELD:
        return getattr(value, name), []
    own = getattr(value, "__dict__", None)
    if name == "__dict__":
        if own is None or is_marked(value):
            return MISSING, []
        return own, [] if isinstance(value, type) else [AttributeGuard(path, value, name, own)]
    if isinstance(own, dict) and name in own:
        if is_marked(value):
            return own[name], []
        found, guards = _item(own, name, path)
        return found, [*guards, AttributeGuard(f"{path} and all beside it", value, "__dict__", own)]
    found, guards = class_attribute(kind, name, path)
    unset = _unset(value, name, path) if found is MISSING and not is_marked(value) else []
    if unset:
        return MISSING, unset
    if guards:
        guards.append(KindGuard(path, value))
    if isinstance(found, MemberDescriptorType):
        try:
            found = object.__getattribute__(value, name)
        except AttributeError:
            return MISSING, _unset(value, name, path)
        return found, [AttributeGuard(path, value, name, found)]
    if isinstance(own, dict) and not is_marked(value) and not hasattr(type(found), "__set__"):
        guards += [AbsentGuard(path, own, name), AttributeGuard(f"{path} and all beside it", value, "__dict__", own)]
    if isinstance(found, (classmethod, staticmethod)):
        return found.__func__, guards
    if hasattr(type(found), "__get__") and not isinstance(found, FUNCTIONS):
        return MISSING, guards  # a property: its own code is seen where it runs
    return found, guards


def _item(mapping: Any, name: str, path: str) -> tuple[Any, list[Guard]]:
    if name not in mapping:
        return MISSING, []
    return mapping[name], [ItemGuard(path, mapping, name, mapping[name])]


def _unset(value: Any, name: str, path: str) -> list[Guard]:
    """That an object has no such attribute, unless somebody's code would have to run to see."""
    kind: Any = type(value)
    computed = hasattr(kind, "__getattr__") or kind.__getattribute__ is not object.__getattribute__
    return [] if computed else [UnsetGuard(path, value, name)]


def class_attribute(kind: type, name: str, path: str) -> tuple[Any, list[Guard]]:
    """What a class or one of its bases has by a name, and its guards; none of what is a library's."""
    for base in kind.__mro__:
        if name in vars(base):
            value = vars(base)[name]
            if is_library(base.__module__, _file(base)):
                return value, []
            if isinstance(value, (FunctionType, property)) or not hasattr(type(value), "__get__"):
                return value, [AttributeGuard(path, kind, name, value)]  # a class between may get one too
            return value, [ItemGuard(path, PROXIES.setdefault(base, vars(base)), name, value)]
    return MISSING, []


def class_items(kind: type, path: str) -> list[Guard]:
    """That a class and its bases have the attributes that they have, for code that names none of them; none of what
    is a library's."""
    bases = [base for base in kind.__mro__ if not is_library(base.__module__, _file(base))]
    return [ContentsGuard(f"{path} of {base.__name__}", PROXIES.setdefault(base, vars(base))) for base in bases]


def makers(kind: type) -> list[Guard]:
    """What makes the objects of a class of the user's, which may be nobody's own but that of all objects."""
    if is_library(kind.__module__, _file(kind)):
        return []
    return [AttributeGuard(f"{kind.__name__}.{name}", kind, name, getattr(kind, name)) for name in MAKERS]


def behind_super(kind: type, names: Iterable[str]) -> list[Guard]:
    """What the bases of a class have by some names: `super()` finds it, whatever the class has itself."""
    return [
        ItemGuard(f"{base.__name__}.{name}", PROXIES.setdefault(base, vars(base)), name, vars(base)[name])
        for base in kind.__mro__[1:]
        if not is_library(base.__module__, _file(base))
        for name in names
        if name in vars(base)
    ]


def _file(kind: type) -> str | None:
    return getattr(sys.modules.get(kind.__module__), "__file__", None)


def function_of(value: Any, code: CodeType) -> FunctionType | None:
    """The function of a code that a class holds: as a method of any kind, or as a property."""
    for found in (value, getattr(value, "__func__", None), *(getattr(value, name, None) for name in ACCESSORS)):
        if isinstance(found, FunctionType) and found.__code__ is code:
            return found
    return None


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
    return iter(container.values() if isinstance(container, Mapping) else container)
