"""Watches a trace, and says what it depended on: the guards of what the user's functions read.

The plan:
1. `sys.settrace` shows each frame as it begins and ends; those of the user's are looked at, of this library's only
   the modules and optimisers that ran;
2. the chains in the frame's code (`reads.chains`) are followed from its globals, closure and arguments as it begins,
   from its other variables as it ends and, where they hold one thing after the other, at each line, and from what it
   gives as a result; each step on the way becomes a guard (`values.py`);
3. where a chain ends in a container, its items are guarded, and of objects in it the attributes that the code names;
4. what modules and optimisers hold is left to the mark (`structure.py`); arrays that the trace took are compared by
   their numbers;
5. what the function itself has changed while it was traced is refused: the next call would not find it.
"""

from __future__ import annotations

import copy
import gc
import sys
from contextvars import ContextVar
from importlib.util import resolve_name
from types import CodeType, FrameType, FunctionType, MethodType
from typing import Any

from tensorgraph.compile.attributes import (
    MISSING,
    behind_super,
    class_attribute,
    function_of,
    holds,
    is_library,
    read_attribute,
)
from tensorgraph.compile.guards import (
    AbsentGuard,
    AttributeGuard,
    CellGuard,
    EnvironGuard,
    GradGuard,
    Guard,
    ItemGuard,
)
from tensorgraph.compile.outside import (
    ENTROPY,
    ENVIRONS,
    READERS,
    aside,
    clock_lines,
    is_clock,
    is_passing,
    reader_of,
    runs_clock,
    seeder_of,
)
from tensorgraph.compile.reads import Chain, attribute_names, chains, links_behind, told_by_type, varying_names
from tensorgraph.compile.structure import is_plain
from tensorgraph.compile.values import GETTERS, INDEXED, Values
from tensorgraph.engine.aval import Aval
from tensorgraph.engine.numbers import TracedNumber
from tensorgraph.engine.open_sizes import OpenSize
from tensorgraph.engine.tape import INTERNAL
from tensorgraph.engine.tensor import Tensor
from tensorgraph.graph.equation import Var
from tensorgraph.graph.keywords import inner

__all__ = ["Watcher"]

NOTHING, OURS, USERS, IMPORT, ENVIRON, SEED, WHOLE = range(7)  # of the calls of a function: what is to be seen of them
SWITCH = "training"  # of modules, as code names it
Function = Any


class Watcher(Values):
    """What one trace reads; used as a context manager around it."""

    def __init__(self, function: Function) -> None:
        super().__init__()
        self.package = (getattr(inner(function), "__module__", None) or "").partition(".")[0]
        self.code = getattr(inner(function), "__code__", None)
        self.clocks: dict[CodeType, dict[int, str]] = {}
        self.refusals: list[str] = []  # what the function takes that no later call would see
        self.numbers: list[str] = []  # whose type it asks for, as no stand-in for a number can tell
        self.functions: dict[CodeType, list[Any]] = {}
        self.learned: set[CodeType] = set()  # of functions that were met by their names, and not as they began
        self.structures: list[Any] = []  # what was compared last, of all traces of the function
        self.is_watching = True
        self.modes = False  # whether code ran that asks if a module is in training or in evaluation mode
        self.importing = 0
        self.aside = aside()
        self.kinds: dict[CodeType, int] = {}
        self.held: dict[FrameType, dict[str, Any]] = {}  # variables that change, as they were looked at last
        self.methods: set[tuple[type, CodeType]] = set()
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
        self.held.clear()
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
        caller = frame.f_back if event == "call" else frame
        if caller is not None and event != "return" and self.kinds.get(caller.f_code) == USERS:
            self.changed(caller)  # lines are not told
        if event == "call":
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
        if kind == WHOLE:
            self.argument(frame)
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
            if self.is_traced:
                return None  # lines are somebody else's to see: `see` is told of calls, and of the end
            varying = varying_names(code)
            if clocks or varying:
                if varying is not None and varying.within_lines:
                    frame.f_trace, frame.f_trace_opcodes = self.lined, True  # in this order: 3.13 asks who is told
                    sys.settrace(sys.gettrace())  # 3.12 asks what is told only here
                return self.lined
        frame.f_trace_lines = False
        return self.returned

    def lined(self, frame: FrameType, event: str, _: Any) -> Any:
        """A line of a function that reads a clock somewhere or whose variables change, or its end."""
        if event in ("line", "opcode"):
            self.refuse_clock(frame, frame.f_lineno)
            self.changed(frame)
            return self.lined
        return self.lined if event != "return" else self.returned(frame, event, _)

    def refuse_clock(self, frame: FrameType, line: int) -> None:
        """Note that a clock was read."""
        called = self.clocks.get(frame.f_code, {}).get(line)
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
            self.result(frame, _)
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
        if code in READERS:
            return WHOLE
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
        self.method(code, here)
        self.typed(frame)
        if self.by_getters.get(code) is None:
            held = (*map(frame.f_globals.get, code.co_names), *here.values())
            self.by_getters[code] = any(isinstance(value, GETTERS) for value in held)
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

    def typed(self, frame: FrameType) -> None:
        """Note variables that are numbers or sizes, and of which the code asks what these are."""
        for name in told_by_type(frame.f_code):
            if type(frame.f_locals.get(name)) in (TracedNumber, OpenSize):
                self.numbers.append(f"{name} ({frame.f_code.co_filename}:{frame.f_lineno})")

    def method(self, code: CodeType, here: dict[str, Any]) -> None:
        """That a method is the one of its class, also where it is called by no name, as ``forward`` is."""
        if not code.co_argcount:
            return
        first = here.get(code.co_varnames[0])
        kind = first if isinstance(first, type) else type(first)
        if (kind, code) in self.methods or kind.__module__ == "builtins":
            return
        self.methods.add((kind, code))
        for n, base in enumerate(kind.__mro__):  # behind the first one by `super()`
            function = function_of(vars(base).get(code.co_name), code)
            if function is None:
                continue
            path = f"{base.__name__}.{code.co_name}"
            first = all(code.co_name not in vars(other) for other in kind.__mro__[:n])
            for guard in class_attribute(kind if first else base, code.co_name, path)[1]:
                self.add(guard)
            self.learn(function)
            break
        if "super" in code.co_names:
            for guard in behind_super(kind, attribute_names(code)):
                self.add(guard)

    def argument(self, frame: FrameType) -> None:
        """A function of a library reads all that its argument holds."""
        caller = frame.f_back
        if caller is not None and not self.importing and self.kinds.get(caller.f_code) == USERS:
            name = READERS[frame.f_code]
            with self.met():
                self.whole(frame.f_locals[name], f"the {name} of {frame.f_code.co_name}")

    def changed(self, frame: FrameType) -> None:
        """Follow variables that hold something else than at the line before."""
        varying = varying_names(frame.f_code)
        if varying is None or self.importing:
            return
        before, here = self.held.setdefault(frame, {}), frame.f_locals
        for name, found in varying.chains.items():
            value = here.get(name, MISSING)
            if value is MISSING or before.get(name, MISSING) is value:
                continue
            before[name] = value
            if is_plain(value) or isinstance(value, (Tensor, Aval, Var)):
                continue
            with self.met():
                for chain in found:
                    self.walk(value, chain, frame.f_code)

    def result(self, frame: FrameType, value: Any) -> None:
        """Follow what the caller reads of what a function gave."""
        self.held.pop(frame, None)
        caller = frame.f_back
        if caller is None or self.kinds.get(caller.f_code) != USERS or is_plain(value):
            return
        links = links_behind(caller.f_code, caller.f_lasti)
        with self.met():
            self.walk(value, Chain("result", f"{frame.f_code.co_name}()", links), caller.f_code)

    def end(self, frame: FrameType) -> None:
        """Follow what is read of the other variables, which hold what they held in the end."""
        code = frame.f_code
        self.typed(frame)
        for chain in chains(code):
            if chain.root == "module":
                package = frame.f_globals.get("__package__")
                name = resolve_name(chain.name, package) if package or chain.name[0] != "." else ""
                self.walk(sys.modules.get(name), chain, code)
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
            if kind is ItemGuard:
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
        if code is None or (id(function), id(code), self.is_passing) in self.looked:
            return
        self.looked.add((id(function), id(code), self.is_passing))
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
            if isinstance(value, ContextVar):
                break  # what its method gives
            if not self.look(value, path):
                return
            path, holder = f"{path}.{key}" if is_attribute else f"{path}[{key!r}]", value
            guards: list[Guard] = []
            if is_attribute:
                value, guards = read_attribute(value, key, path)
            elif isinstance(value, INDEXED):
                if hasattr(value, "keys") and key not in value:
                    return  # a defaultdict would be given one
                try:
                    value = value[key]
                except Exception:  # it raises in the function too
                    return
            else:
                return
            for guard in guards:
                self.add(guard)
            if value is MISSING:
                self.computed(holder, key, path)
                return
        if outer and is_passing(value):
            self.refusals.append(f"takes from {path}, of which a later call would get something else")
            return
        self.last(value, path, code)
