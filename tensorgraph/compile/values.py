"""What is guarded of the values that a trace meets: items of containers, numbers of arrays, attributes of objects.

The plan:
1. `Values.look` and `Values.last` say what of a value must stay as it is, where a chain of names goes on behind it and
   where it ends;
2. what hides values that no name in the user's code leads to (a context variable, a weak reference, an object whose
   attributes a library computes) is opened;
3. what is met between two lines of a function, or as the result of a call, may have been made by the function, and may
   be changed by it: such guards are kept apart, and of these the ones that hold when the trace has ended.
"""

from __future__ import annotations

import weakref
from array import array as Numbers
from collections import ChainMap, UserDict, UserList, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from operator import attrgetter, methodcaller
from types import BuiltinFunctionType, CodeType, FunctionType, MappingProxyType, ModuleType
from typing import Any

import numpy as np

from tensorgraph.compile.attributes import (
    FUNCTIONS,
    MISSING,
    class_attribute,
    class_items,
    is_library,
    makers,
    read_attribute,
    values_of,
    written,
)
from tensorgraph.compile.guards import (
    ArrayGuard,
    BytesGuard,
    ContentsGuard,
    ContextGuard,
    GradGuard,
    Guard,
    ReadOnlyGuard,
)
from tensorgraph.compile.origins import is_held
from tensorgraph.compile.reads import attribute_names, reads_by_name
from tensorgraph.compile.structure import PASSING, is_marked, is_plain, same
from tensorgraph.engine.aval import Aval
from tensorgraph.engine.cells import getrefcount
from tensorgraph.engine.tape import Leaf
from tensorgraph.engine.tensor import Tensor
from tensorgraph.graph.chance import return_of, state_of
from tensorgraph.graph.equation import Var

__all__ = ["CONTAINERS", "INDEXED", "Values"]

MOST = 4000  # guards of one trace
WRAPPERS = (MappingProxyType, UserDict, UserList, ChainMap)  # of other containers
CONTAINERS = (list, dict, set, deque, *WRAPPERS)
INDEXED = (dict, list, tuple, deque, *WRAPPERS)
BYTES = (bytearray, Numbers, memoryview)
WEAK = (weakref.WeakSet, weakref.WeakKeyDictionary, weakref.WeakValueDictionary)
VIEWS: tuple[type[Any], ...] = tuple(map(type, ({}.keys(), {}.values(), {}.items())))
GETTERS = (attrgetter, methodcaller)  # objects that read attributes of what they are called with
COUNTS = (int, float)  # what a function may have counted on
KEPT = PASSING | {"_hooks", "_place"}


class Values:
    """The guards of one trace, and what is looked at for them.

    Attributes
    ----------
    guards : dict
        By what they look at.
    roots : dict
        Modules, optimisers, cells and tensors, which the mark watches.
    """

    learn: Callable[[Any], None]
    read: Callable[[Any], None]

    def __init__(self) -> None:
        self.guards: dict[Any, Guard] = {}
        self.passing: dict[Any, Guard] = {}  # of what the function may have made itself
        self.is_passing = False
        self.roots: dict[int, Any] = {}
        self.attributes: list[tuple[Any, dict[str, Any]]] = []  # of roots, as they were
        self.written: list[tuple[Any, Any, str]] = []  # attributes and names that it writes: whose, which, in words
        self.generators: dict[int, tuple[Any, ...]] = {}  # of random numbers of others: where, reading, state, return
        self.looked: set[tuple[int, int, bool]] = set()
        self.kept: list[Any] = []  # what has its address in `looked`
        self.by_getters: dict[CodeType, bool] = {}  # whether code has an object that reads attributes by their names

    def look(self, value: Any, path: str) -> bool:
        """Whether a chain goes on behind a value; modules and optimisers are noted, items of containers guarded."""
        if isinstance(value, (Tensor, np.ndarray)):
            self.last(value, path, None)
            return False
        if isinstance(value, (Aval, Var)) or is_plain(value) or self.generator(value, path):
            return False
        if isinstance(value, CONTAINERS):
            self.contents(value, path)
        elif isinstance(value, BYTES):
            self.add(BytesGuard(path, value))
        elif is_marked(value):
            self.root(value)
        elif isinstance(value, ModuleType):
            return not is_library(value.__name__, getattr(value, "__file__", None))
        return True

    def last(self, value: Any, path: str, code: CodeType | None) -> None:
        """What a chain ends in."""
        if self.generator(value, path):
            return
        if isinstance(value, FUNCTIONS):
            self.function(value, path, code)
        elif isinstance(value, Tensor):
            if type(value._value) is np.ndarray:
                self.root(value)
        elif isinstance(value, np.ndarray):
            self.array(value, path)
            for item in value.flat if value.dtype.kind == "O" else ():
                self.whole(item, f"an item of {path}")
        elif is_marked(value):
            self.root(value)
        elif isinstance(value, (*CONTAINERS, tuple)) and code is not None:
            self.items(value, path, code)
        elif isinstance(value, VIEWS) and code is not None:
            self.items(value.mapping, path, code)
        elif isinstance(value, BYTES):
            self.add(BytesGuard(path, value))
        elif isinstance(value, (ContextVar, weakref.ref)):
            self.inside(value, path, code)
        elif isinstance(value, partial):
            self.last(value.func, path, code)
            self.whole((value.args, value.keywords), path)
        elif isinstance(value, WEAK):
            self.contents(value.data, path)  # type: ignore[union-attr]
            if code is not None:
                self.items((*values_of(value),), path, code)
        elif code is not None and not isinstance(value, ModuleType):
            self.kind_of(value, path, code)
            if not self.is_by_name(code):
                return
            own, guards = read_attribute(value, "__dict__", f"{path}.__dict__")
            for guard in guards:
                self.add(guard)
            if type(own) is dict:
                self.items(own, path, code)
            for name in (n for base in type(value).__mro__ for n in _slots(base)):
                for guard in read_attribute(value, name, f"{path}.{name}")[1]:
                    self.add(guard)

    def kind_of(self, value: Any, path: str, code: CodeType) -> None:
        """What code may read of a class, where it is called or found by `type`: attributes that the code names, all
        where it names them otherwise."""
        kind = value if isinstance(value, type) else type(value)
        guards = class_items(kind, path) if self.is_by_name(code) else []
        guards += makers(kind) if kind is value else []
        for name in attribute_names(code):
            guards += class_attribute(kind, name, f"{kind.__name__}.{name}")[1]
        for guard in guards:
            self.add(guard)

    def function(self, value: Any, path: str, code: CodeType | None) -> None:
        """What a function reads; of a builtin method what it belongs to, of one for several types those that it has."""
        self.learn(value)
        self.read(value)
        owner = getattr(value, "__self__", None)
        if isinstance(value, BuiltinFunctionType) and owner is not None and not isinstance(owner, (ModuleType, type)):
            self.last(owner, f"what {path} is of", code)
        registry = getattr(value, "registry", None)
        if isinstance(registry, MappingProxyType) and code is not None:
            self.items(registry, f"{path}.registry", code)

    def is_by_name(self, code: CodeType) -> bool:
        """Whether code reads attributes that no chain names."""
        return reads_by_name(code) or self.by_getters.get(code, False)

    def items(self, container: Any, path: str, code: CodeType) -> None:
        """The items of a container, and of objects in it the attributes that the code names."""
        here = id(container), id(code)
        if (*here, False) in self.looked or (*here, self.is_passing) in self.looked:
            return
        self.looked.add((*here, self.is_passing))
        self.kept.append(container)
        if not isinstance(container, tuple):
            self.contents(container, path)
        for item in [*values_of(container)]:
            if len(self.guards) > MOST:
                return
            if is_plain(item):
                continue
            self.last(item, f"an item of {path}", code)
            if is_marked(item) or isinstance(item, (*CONTAINERS, tuple, *FUNCTIONS, Tensor, np.ndarray, type)):
                continue
            for name in attribute_names(code):
                value, guards = read_attribute(item, name, f"{name} of an item of {path}")
                for guard in guards:
                    self.add(guard)
                if value is not MISSING and not isinstance(value, FUNCTIONS):
                    self.last(value, f"{name} of an item of {path}", code)

    def inside(self, holder: Any, path: str, code: CodeType | None) -> None:
        """What a context variable or a weak reference gives."""
        if isinstance(holder, ContextVar):
            self.add(ContextGuard(path, holder))
        value = holder.get(None) if isinstance(holder, ContextVar) else holder()
        if code is not None and value is not None:
            self.items((value,), path, code)

    def whole(self, value: Any, path: str) -> None:
        """All that an object holds, and what that holds: where a library reads it, nobody's names say what."""
        stack, seen = [(value, path)], set()
        while stack and len(self.guards) + len(self.passing) < MOST:
            value, path = stack.pop()
            if is_plain(value) or id(value) in seen:
                continue
            seen.add(id(value))
            self.kept.append(value)
            inner: list[Any] = []
            if isinstance(value, (*CONTAINERS, tuple)):
                if not isinstance(value, tuple):
                    self.contents(value, path)
                inner = [*values_of(value)]
            elif is_marked(value) or isinstance(value, (Tensor, np.ndarray, ContextVar, *BYTES)):
                self.last(value, path, None)
            elif not isinstance(value, (type, ModuleType, Aval, Var, *FUNCTIONS)):
                own = getattr(value, "__dict__", None)
                if type(own) is dict:
                    inner = [own]
                for name in (n for base in type(value).__mro__ for n in _slots(base)):
                    held, guards = read_attribute(value, name, f"{path}.{name}")
                    for guard in guards:
                        self.add(guard)
                    if held is not MISSING:
                        stack.append((held, f"{path}.{name}"))
            stack += [(item, path if type(item) is dict else f"an item of {path}") for item in inner]

    def computed(self, value: Any, name: str, path: str) -> None:
        """An attribute that is neither an object's own nor its class's: where a library computes it, of anything."""
        kind = type(value)
        getter = next((vars(base)["__getattr__"] for base in kind.__mro__ if "__getattr__" in vars(base)), None)
        if getter is None or is_marked(value) or isinstance(value, (type, ModuleType)):
            return
        if not isinstance(getter, FunctionType) or not self.is_users(getter.__code__, getter.__globals__):
            self.whole(value, path)

    def is_users(self, code: CodeType, names: dict[str, Any]) -> bool:
        """Whether code is of the user's."""
        raise NotImplementedError

    # random numbers -------------------------------------------------------------------------------------------------

    def generator(self, value: Any, path: str) -> bool:
        """Whether a value draws random numbers, and is not of this library; as it is at first sight, it is noted."""
        state = state_of(value)
        if state is None:
            return False
        if id(value) not in self.generators and not self.is_passing:
            self.generators[id(value)] = path, state, state(), return_of(value)
        return True

    def drawn(self) -> str | None:
        """The first of the generators that the function drew from; all go back to where they were."""
        drawn = [(path, back) for path, state, before, back in self.generators.values() if state() != before]
        for _, back in drawn:
            back()
        return drawn[0][0] if drawn else None

    # guards ---------------------------------------------------------------------------------------------------------

    @contextmanager
    def met(self) -> Iterator[None]:
        """What is looked at in here may be the function's own."""
        before, self.is_passing = self.is_passing, True
        try:
            yield
        finally:
            self.is_passing = before

    def add(self, guard: Guard) -> None:
        """Take a guard, unless there is one of the same thing or its value belongs to the trace."""
        if is_traced(guard.expected):
            return
        key = type(guard), id(guard.looked_at), guard.key
        if not self.is_passing:
            self.guards.setdefault(key, guard)
        elif key not in self.guards:
            self.passing.setdefault(key, guard)

    def all_guards(self) -> list[Guard]:
        """Those that later calls depend on: none of what is gone with the frames of the trace."""
        self.kept.clear()
        self.looked.clear()
        nobodys = getrefcount(Guard("", [], None, None).looked_at)
        count = -1
        while count != len(self.passing):  # what a list held is nobody's once the list is gone
            count = len(self.passing)
            for key in [key for key, guard in self.passing.items() if getrefcount(guard.looked_at) <= nobodys]:
                del self.passing[key]
        others = [guard for key, guard in self.passing.items() if key not in self.guards]
        return [*self.guards.values(), *(guard for guard in others if guard.change() is None)]

    def contents(self, container: Any, path: str) -> None:
        if not any(map(is_traced, values_of(container))):
            self.add(ContentsGuard(path, container))

    def array(self, array: Any, path: str) -> None:
        """The numbers of an array, unless nobody can change them."""
        if not array.flags.writeable and array.base is None:
            self.add(ReadOnlyGuard(path, array))
            return
        if array.dtype.kind == "O":
            self.contents(array, path)
            return
        if (ArrayGuard, id(array), (array.shape, array.dtype)) not in self.guards:
            self.add(ArrayGuard(path, array))

    def grad(self, leaf: Leaf, what: str) -> None:
        self.add(GradGuard(leaf, what))

    def root(self, value: Any) -> None:
        if id(value) in self.roots or not (is_marked(value) or isinstance(value, Tensor)):
            return
        self.roots[id(value)] = value
        if is_marked(value):
            self.attributes.append((value, dict(vars(value))))

    def own_change(self, outer: Iterable[Any] = ()) -> str | None:
        """What the function has changed itself, in words: of what it reads, and of its modules and optimisers.

        What it made itself it may change, if nothing leads there from outside: its arguments and `outer`, say.
        """
        for value, before in self.attributes:
            now = vars(value)
            for name in (n for n in (*before, *now) if n not in KEPT):
                if not same(*(own.get(name, getattr(type(value), name, MISSING)) for own in (before, now))):
                    return f"{type(value).__name__}.{name}"
        for holder, name, what in self.written:
            if is_traced(written(holder, name)):
                return what
        for key, guard in [*self.guards.items()]:
            if guard.change() is not None:
                if is_held(guard.looked_at, outer):
                    return guard.what
                del self.guards[key]
        return None

    def restore(self) -> None:
        """Give modules and optimisers the numbers that they had before the function counted on, as it is refused."""
        for value, before in self.attributes:
            now = vars(value)
            for name, number in before.items():
                if type(number) in COUNTS and type(now.get(name)) in COUNTS:
                    now[name] = number


def is_traced(value: Any) -> bool:
    """Whether a value belongs to a trace."""
    return isinstance(value, Tensor) and type(value._value) is Var


def _slots(kind: type) -> tuple[str, ...]:
    """The attributes for which a class has places."""
    names = vars(kind).get("__slots__", ())
    return (names,) if isinstance(names, str) else tuple(names)
