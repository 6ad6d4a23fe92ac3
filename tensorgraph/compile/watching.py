"""Watches a trace, and says what it depended on: the guards of what the user's functions read.

The plan:
1. `sys.settrace` shows each frame as it begins and ends; those of the user's are looked at, of this library's only
   the modules and optimisers that ran;
2. the chains in the frame's code (`reads.chains`) are followed from its globals, closure and arguments as it begins,
   from its other variables as it ends, and each step on the way becomes a guard;
3. where a chain ends in a container, its items are guarded, and of objects in it the attributes that the code names;
4. what modules and optimisers hold is left to the mark (`structure.py`); arrays that the trace took are compared by
   their numbers;
5. what the function itself has changed while it was traced is refused: the next call would not find it.
"""

from __future__ import annotations

import copy
import gc
import sys
from array import array as Numbers
from collections import deque
from types import CodeType, FrameType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

from tensorgraph.compile.attributes import FUNCTIONS, MISSING, holds, is_library, read_attribute, values_of, written
from tensorgraph.compile.guards import (
    AbsentGuard,
    ArrayGuard,
    AttributeGuard,
    BytesGuard,
    CellGuard,
    ContentsGuard,
    EnvironGuard,
    GradGuard,
    Guard,
    ItemGuard,
)
from tensorgraph.compile.outside import (
    ENTROPY,
    ENVIRONS,
    aside,
    clock_lines,
    is_clock,
    is_passing,
    reader_of,
    runs_clock,
    seeder_of,
)  # fmt: skip
from tensorgraph.compile.reads import Chain, attribute_names, chains
from tensorgraph.compile.structure import PASSING, is_marked, is_plain, same
from tensorgraph.engine.aval import Aval
from tensorgraph.engine.tape import INTERNAL, Leaf
from tensorgraph.engine.tensor import Tensor
from tensorgraph.graph.chance import return_of, state_of
from tensorgraph.graph.equation import Var
from tensorgraph.graph.keywords import inner

__all__ = ["Watcher"]

MOST = 4000  # guards of one trace
CONTAINERS = (list, dict, set, deque)
BYTES = (bytearray, Numbers)
BY_NAME = frozenset({"getattr", "hasattr", "vars", "__dict__"})  # what reads attributes that no chain names
NOTHING, OURS, USERS, IMPORT, ENVIRON, SEED = range(6)  # of the calls of a function: what is to be seen of them
KEPT = PASSING | {"_hooks", "_place"}
SWITCH = "training"  # of modules, as code names it
Function = Any


class Watcher:
    """What one trace reads; used as a context manager around it."""

    def __init__(self, function: Function) -> None:
        self.package = (getattr(inner(function), "__module__", None) or "").partition(".")[0]
        self.code = getattr(inner(function), "__code__", None)
        self.clocks: dict[CodeType, dict[int, str]] = {}
        self.refusals: list[str] = []  # what the function takes that no later call would see
        self.written: list[tuple[Any, Any, str]] = []  # attributes and names that it writes: whose, which, in words
        self.generators: dict[int, tuple[Any, ...]] = {}  # of random numbers of others: where, reading, state, return
        self.guards: dict[Any, Guard] = {}
        self.roots: dict[int, Any] = {}
        self.functions: dict[CodeType, list[Any]] = {}
        self.learned: set[CodeType] = set()  # of functions that were met by their names, and not as they began
        self.attributes: list[tuple[Any, dict[str, Any]]] = []  # of roots, as they were
        self.structures: list[Any] = []  # what was compared last, of all traces of the function
        self.is_watching = True
        self.modes = False  # whether code ran that asks if a module is in training or in evaluation mode
        self.importing = 0
        self.aside = aside()
        self.kinds: dict[CodeType, int] = {}
        self.looked: set[tuple[int, int]] = set()
        self.kept: list[Any] = []  # what has its address in `looked`
        self.learn(function)

    def again(self) -> Watcher:
        """The like for a trace that differs in shapes alone: it reads the same, and the interpreter need not be slowed.

        What the code names is guarded in all its branches, whichever of them shapes choose; modes in any case.
        """
        other = copy.copy(self)
        other.guards = {key: guard for key, guard in self.guards.items() if not isinstance(guard, GradGuard)}
        other.roots, other.is_watching, other.generators, other.modes = dict(self.roots), False, {}, True
        other.attributes = [(value, dict(vars(value))) for value, _ in self.attributes]
        return other

    def adopt(self, traced: Any) -> None:
        """Depend on what another trace depends on, which becomes a part of this one."""
        for guard in traced.guards.guards:
            self.add(guard)
        for root in traced.guards.roots:
            self.roots.setdefault(id(root), root)
        self.modes = self.modes or traced.guards.modes

    def __enter__(self) -> Watcher:
        if not self.is_watching:
            return self
        self.profile = sys.getprofile()
        self.is_traced = sys.gettrace() is not None
        if self.is_traced:  # a debugger, or what measures coverage: it goes on
            sys.setprofile(self.see)
        else:  # which is not told of calls of C, of which there are many more
            sys.settrace(self.called)
        return self

    def __exit__(self, *error: object) -> None:
        if not self.is_watching:
            return
        if not self.is_traced:
            sys.settrace(None)
            return
        before: Any = self.profile
        sys.setprofile(before if callable(before) else None)
        if before is not None and hasattr(before, "enable"):  # a profiler of C's, which is no function
            before.enable()

    # frames ---------------------------------------------------------------------------------------------------------

    def see(self, frame: FrameType, event: str, _: Any) -> None:
        """Called by the interpreter as functions begin and end."""
        if event == "call":
            caller = frame.f_back
            if caller is not None and self.kinds.get(caller.f_code) == USERS and runs_clock(frame):
                self.refuse_clock(caller, caller.f_lineno)
            self.called(frame, event, _)
        elif event == "return" and self.kinds.get(frame.f_code) in (USERS, IMPORT):
            self.returned(frame, event, _)
        elif event == "c_call" and self.kinds.get(frame.f_code) == USERS and is_clock(_):
            self.refuse_clock(frame, frame.f_lineno)

    def called(self, frame: FrameType, event: str, _: Any) -> Any:
        """A function begins; gives who is told when it ends."""
        code = frame.f_code
        kind = self.kinds.get(code)
        if kind is None:
            kind = self.kinds[code] = self.kind(code, frame.f_globals)
            self.modes = self.modes or SWITCH in code.co_names or SWITCH in code.co_consts
        if kind == NOTHING:
            return None
        if kind == ENVIRON:
            self.environ(frame)
            return None
        if kind == SEED:
            self.seed(seeder_of(frame))
            return None
        if kind == IMPORT:
            self.importing += 1
        elif self.importing:
            return None  # what modules do as they load happens once in any case
        elif kind == OURS:
            self.root(frame.f_locals.get("self"))
            return None
        else:
            self.begin(frame)
            clocks = self.clocks.get(code)
            if clocks is None:
                clocks = self.clocks[code] = clock_lines(code, frame.f_globals, frame.f_locals)
            if clocks:
                return self.lined  # where lines are somebody else's to see, `see` is told of calls
        frame.f_trace_lines = False
        return self.returned

    def lined(self, frame: FrameType, event: str, _: Any) -> Any:
        """A line of a function that reads a clock somewhere, or its end."""
        if event == "line":
            self.refuse_clock(frame, frame.f_lineno)
            return self.lined
        return self.lined if event != "return" else self.returned(frame, event, _)

    def refuse_clock(self, frame: FrameType, line: int) -> None:
        """Note that a clock was read."""
        called = self.clocks[frame.f_code].get(line)
        if called is not None:
            self.refusals.append(
                f"calls {called}() ({frame.f_code.co_filename}:{line}), and a compiled function would go on with what "
                "that gave at first"
            )

    def environ(self, frame: FrameType) -> None:
        """The environment is read, by the user's code or not."""
        caller = reader_of(frame)
        if caller is not None and not self.importing and self.kind(caller.f_code, caller.f_globals) == USERS:
            one = ENVIRONS[frame.f_code] == "__getitem__"
            self.add(EnvironGuard(frame.f_locals["self"], frame.f_locals["key"] if one else None))

    def seed(self, caller: FrameType | None) -> None:
        """A generator begins with random bits of the system, or something else has them."""
        if caller is not None and not self.importing and self.kind(caller.f_code, caller.f_globals) == USERS:
            self.refusals.append(
                f"makes random numbers without a seed ({caller.f_code.co_filename}:{caller.f_lineno}), which a "
                "compiled function would do once, and tensorgraph.random does anew at every call"
            )

    def returned(self, frame: FrameType, event: str, _: Any) -> Any:
        """A function ends."""
        if event != "return":
            return self.returned
        if self.kinds[frame.f_code] == IMPORT:
            self.importing -= 1
        elif not self.importing:
            self.end(frame)
        return None

    def kind(self, code: CodeType, names: dict[str, Any]) -> int:
        """What is to be seen of the calls of a function."""
        if code.co_name == "_find_and_load" and code.co_filename[:7] == "<frozen":
            return IMPORT
        if code in self.aside or code.co_name == "__del__":
            return IMPORT  # what it does is not the function's
        if code in ENVIRONS:
            return ENVIRON
        if code in ENTROPY:
            return SEED
        if names.get("__package__") in INTERNAL:
            runs = code.co_name in ("forward", "step", "__call__") and code.co_varnames[:1] == ("self",)
            return OURS if runs else NOTHING
        return USERS if self.is_users(code, names) else NOTHING

    def is_users(self, code: CodeType, names: dict[str, Any]) -> bool:
        """Whether code is of the user's: of no library, unless that is where the function comes from."""
        name = names.get("__name__") or ""
        installed = "site-packages" in code.co_filename and name.partition(".")[0] != self.package
        return not (installed or is_library(name, code.co_filename) or code.co_filename[:7] == "<frozen")

    def begin(self, frame: FrameType) -> None:
        """Follow what is read of globals, of the closure and of arguments."""
        code, here = frame.f_code, frame.f_locals
        free: dict[str, Any] | None = None
        for chain in chains(code):
            if chain.root == "global":
                self.follow(frame.f_globals, chain, code, ItemGuard, frame.f_globals, chain.name)
            elif chain.root == "free":
                if free is None:
                    free = self.closure(code, here)
                cell = free.get(chain.name)
                if cell is not None:
                    self.follow(here, chain, code, CellGuard, cell, None)
            elif chain.root == "argument" and chain.name in here and (not chain.is_written or code is self.code):
                self.walk(here[chain.name], chain, code)

    def end(self, frame: FrameType) -> None:
        """Follow what is read of the other variables, which hold what they held in the end."""
        code = frame.f_code
        local = [chain for chain in chains(code) if chain.root == "local" and chain.links and not chain.is_written]
        if local and code.co_name != "<module>":
            here = frame.f_locals
            for chain in local:
                if chain.name in here:
                    self.walk(here[chain.name], chain, code)

    def closure(self, code: CodeType, here: dict[str, Any]) -> dict[str, Any]:
        """The cells of the function that runs; none of one that was made while tracing, whose variables are new."""
        known = self.functions.setdefault(code, [])
        for again in (False, True):
            if again:
                known += [f for f in gc.get_referrers(code) if isinstance(f, FunctionType) and f not in known]
            for function in known:
                cells = dict(zip(code.co_freevars, function.__closure__ or (), strict=False))
                if function.__code__ is code and all(holds(cell, here.get(name)) for name, cell in cells.items()):
                    return cells
        return {}

    def learn(self, value: Any) -> None:
        """Remember the function of a code."""
        for _ in range(20):
            if isinstance(value, MethodType):
                value = value.__func__
            if isinstance(value, FunctionType):
                known = self.functions.setdefault(value.__code__, [])
                self.learned.add(value.__code__)
                if value not in known:
                    known.append(value)
                if self.is_users(value.__code__, value.__globals__):
                    self.body(value)
            value = getattr(value, "__wrapped__", None) or getattr(value, "func", None)
            if value is None:
                return

    def body(self, function: FunctionType) -> None:
        """The code of a function and its defaults, which tools that load what was edited replace in place."""
        for name in ("__code__", "__defaults__", "__kwdefaults__"):
            self.add(AttributeGuard(f"{function.__name__}.{name}", function, name, getattr(function, name)))
        if function.__kwdefaults__:
            self.contents(function.__kwdefaults__, f"{function.__name__}.__kwdefaults__")

    # chains ---------------------------------------------------------------------------------------------------------

    def follow(self, start: Any, chain: Chain, code: CodeType, kind: type[Guard], holder: Any, key: Any) -> None:
        """A chain from a name outside the function."""
        try:
            value = holder.cell_contents if kind is CellGuard else start[chain.name]
        except (KeyError, ValueError):  # a builtin, a closure that is not filled yet
            if chain.is_written and kind is ItemGuard:
                self.written.append((start, chain.name, chain.name))
                self.add(AbsentGuard(chain.name, start, chain.name))
            return
        if chain.is_written and not chain.links:
            self.written.append((holder, chain.name, chain.name))
        self.add(kind(chain.name, holder, key, value))
        self.walk(value, chain, code)

    def read(self, function: Any) -> None:
        """What a function reads of its module and closure, though it may not be called this time."""
        function = getattr(function, "__func__", function)
        code = getattr(function, "__code__", None)
        if code is None or (id(function), id(code)) in self.looked:
            return
        self.looked.add((id(function), id(code)))
        self.kept.append(function)
        if function.__globals__.get("__package__") in INTERNAL or not self.is_users(code, function.__globals__):
            return
        cells = dict(zip(code.co_freevars, function.__closure__ or (), strict=False))
        for chain in chains(code):
            if chain.root == "global":
                self.follow(function.__globals__, chain, code, ItemGuard, function.__globals__, chain.name)
            elif chain.root == "free" and chain.name in cells:
                self.follow({}, chain, code, CellGuard, cells[chain.name], None)

    def walk(self, value: Any, chain: Chain, code: CodeType) -> None:
        """The links of a chain from a value on."""
        path = chain.name
        known = code is self.code if chain.root == "argument" else chain.root == "free" and code in self.learned
        outer = chain.root == "global" or known  # whether it was there before the call
        for is_attribute, key in chain.links:
            if outer and is_passing(value):
                break
            if chain.is_written and (is_attribute, key) == chain.links[-1]:
                self.written.append((value, key, f"{path}.{key}"))
            if not self.look(value, path):
                return
            path = f"{path}.{key}" if is_attribute else f"{path}[{key!r}]"
            guards: list[Guard] = []
            if is_attribute:
                value, guards = read_attribute(value, key, path)
            elif isinstance(value, (dict, list, tuple, deque)):
                try:
                    value = value[key]
                except Exception:  # it raises in the function too
                    return
            else:
                return
            for guard in guards:
                self.add(guard)
            if value is MISSING:
                return
        if outer and is_passing(value):
            self.refusals.append(f"takes from {path}, of which a later call would get something else")
            return
        self.last(value, path, code)

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
            self.learn(value)
            self.read(value)
        elif isinstance(value, Tensor):
            if type(value._value) is np.ndarray:
                self.root(value)
        elif isinstance(value, np.ndarray):
            self.array(value, path)
        elif is_marked(value):
            self.root(value)
        elif isinstance(value, (*CONTAINERS, tuple)) and code is not None:
            self.items(value, path, code)
        elif isinstance(value, BYTES):
            self.add(BytesGuard(path, value))
        elif code is not None and not isinstance(value, ModuleType) and not BY_NAME.isdisjoint(code.co_names):
            own = getattr(value, "__dict__", None)
            if type(own) is dict:
                self.items(own, path, code)

    def items(self, container: Any, path: str, code: CodeType) -> None:
        """The items of a container, and of objects in it the attributes that the code names."""
        if (id(container), id(code)) in self.looked:
            return
        self.looked.add((id(container), id(code)))
        self.kept.append(container)
        if not isinstance(container, tuple):
            self.contents(container, path)
        values = container.values() if isinstance(container, dict) else container
        for item in [*values]:
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

    def generator(self, value: Any, path: str) -> bool:
        """Whether a value draws random numbers, and is not of this library; as it is at first sight, it is noted."""
        state = state_of(value)
        if state is None:
            return False
        if id(value) not in self.generators:
            self.generators[id(value)] = path, state, state(), return_of(value)
        return True

    def drawn(self) -> str | None:
        """The first of the generators that the function drew from; all go back to where they were."""
        drawn = [(path, back) for path, state, before, back in self.generators.values() if state() != before]
        for _, back in drawn:
            back()
        return drawn[0][0] if drawn else None

    # guards ---------------------------------------------------------------------------------------------------------

    def add(self, guard: Guard) -> None:
        """Take a guard, unless there is one of the same thing or its value belongs to the trace."""
        if is_traced(guard.expected):
            return
        self.guards.setdefault((type(guard), id(guard.looked_at), guard.key), guard)

    def contents(self, container: Any, path: str) -> None:
        if not any(map(is_traced, values_of(container))):
            self.add(ContentsGuard(path, container))

    def array(self, array: Any, path: str) -> None:
        """The numbers of an array, unless nobody can change them."""
        if not array.flags.writeable and array.base is None:
            return
        if array.dtype.kind == "O":
            self.contents(array, path)
            return
        if (ArrayGuard, id(array), None) not in self.guards:
            self.add(ArrayGuard(path, array))

    def grad(self, leaf: Leaf, what: str) -> None:
        self.add(GradGuard(leaf, what))

    def root(self, value: Any) -> None:
        if id(value) in self.roots or not (is_marked(value) or isinstance(value, Tensor)):
            return
        self.roots[id(value)] = value
        if is_marked(value):
            self.attributes.append((value, dict(vars(value))))

    def own_change(self) -> str | None:
        """What the function has changed itself, in words: of what it reads, and of its modules and optimisers."""
        for value, before in self.attributes:
            now = vars(value)
            for name in (n for n in (*before, *now) if n not in KEPT):
                if not same(*(own.get(name, getattr(type(value), name, MISSING)) for own in (before, now))):
                    return f"{type(value).__name__}.{name}"
        for holder, name, what in self.written:
            if is_traced(written(holder, name)):
                return what
        return next((guard.what for guard in self.guards.values() if guard.change() is not None), None)


def is_traced(value: Any) -> bool:
    """Whether a value belongs to a trace."""
    return isinstance(value, Tensor) and type(value._value) is Var
