"""What lies outside of Python's names: the environment; and what gives something else at every call, as clocks do."""

from __future__ import annotations

import copy
import dataclasses
import dis
import functools
import gc
import os
import random
import signal
from collections.abc import Iterator, Mapping
from types import BuiltinFunctionType, CodeType, FrameType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

from tensorgraph.engine.tensor import Tensor
from tensorgraph.graph.keywords import inner

__all__ = [
    "ENTROPY", "ENVIRONS", "READERS", "aside", "clock_lines", "is_clock", "is_passing", "reader_of", "runs_clock",
    "seeder_of",
]  # fmt: skip

# functions, by the module or class that has them
CLOCKS = frozenset(
    [("time", name) for name in ("time", "monotonic", "perf_counter", "process_time", "thread_time")]
    + [("time", f"{name}_ns") for name in ("time", "monotonic", "perf_counter", "process_time", "thread_time")]
    + [("time", name) for name in ("localtime", "gmtime", "ctime", "strftime")]
    + [("datetime", name) for name in ("now", "utcnow", "today")]
    + [("date", "today"), ("posix", "urandom"), ("nt", "urandom"), ("uuid", "uuid1"), ("uuid", "uuid4")]
    + [("secrets", name) for name in ("token_bytes", "token_hex", "token_urlsafe", "randbelow")]
    + [("builtins", "input")]
)
LOADS = ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF")
SKIPPED = frozenset({"CACHE", "EXTENDED_ARG", "PUSH_NULL", "PRECALL", "NOP"})


# how the environment is read: one variable, or all
ENVIRONS = {
    getattr(type(os.environ), name).__code__: name
    for name in ("__getitem__", "__iter__", "__len__", "copy", "__repr__")
}
AROUND = frozenset(
    {"os", "collections.abc", "_collections_abc", "random", "secrets"}
)  # between a user's line and these
# where the system is asked for random bits: NumPy's generators do so by `secrets` where they are given no seed
ENTROPY = frozenset(
    [getattr(random.SystemRandom, name).__code__ for name in ("getrandbits", "random", "randbytes")]
    + [random.Random.seed.__code__]
)


# functions of Python's own that read all that one of their arguments holds
READERS: dict[CodeType, str] = {
    dataclasses.asdict.__code__: "obj",
    dataclasses.astuple.__code__: "obj",
    dataclasses.replace.__code__: "obj",
    copy.copy.__code__: "x",
    copy.deepcopy.__code__: "x",
}


def reader_of(frame: FrameType) -> FrameType | None:
    """Who reads the environment, of the frame of one of its methods."""
    caller = frame.f_back
    while caller is not None and caller.f_globals.get("__name__") in AROUND:
        caller = caller.f_back
    return caller


def seeder_of(frame: FrameType) -> FrameType | None:
    """Who has random bits of the system, a seed perhaps, of a frame that gets them; None of a seed that is given."""
    if frame.f_code is random.Random.seed.__code__ and frame.f_locals.get("a") is not None:
        return None
    caller = reader_of(frame)
    if caller is not None and "RandomState" in caller.f_code.co_names:  # which asks in any case
        now = (i for i in dis.get_instructions(caller.f_code) if i.offset == caller.f_lasti)
        if any(i.opname.startswith("CALL") and i.arg for i in now):
            return None
    return caller


def aside() -> set[CodeType]:
    """The code of what the interpreter runs between two steps: handlers of signals, and of collections."""
    handlers = (signal.getsignal(number) for number in signal.valid_signals())
    codes = (getattr(inner(handler), "__code__", None) for handler in (*gc.callbacks, *handlers))
    return {code for code in codes if code is not None}


def is_passing(value: Any) -> bool:
    """Whether what is taken of a value is gone then: an iterator, a file."""
    return isinstance(value, Iterator) and not isinstance(value, (Tensor, np.ndarray))


def _called(function: Any) -> tuple[str, str] | None:
    """The module or class that has a function, and its name."""
    if isinstance(function, BuiltinFunctionType):
        return getattr(function.__self__, "__name__", ""), function.__name__
    function = function.__func__ if isinstance(function, MethodType) else function
    return (function.__module__, function.__name__) if isinstance(function, FunctionType) else None


def is_clock(function: Any) -> bool:
    """Whether a function gives something else at every call."""
    return _called(function) in CLOCKS


def runs_clock(frame: FrameType) -> bool:
    """Whether a frame is that of a clock which is written in Python."""
    return (frame.f_globals.get("__name__", ""), frame.f_code.co_name) in CLOCKS


@functools.lru_cache(maxsize=1024)
def _loads(code: CodeType) -> tuple[tuple[int, str, tuple[str, ...]], ...]:
    """The names that a code reads from outside, with the line and the attributes that it goes on to."""
    found = []
    line = code.co_firstlineno
    instructions = []
    for i in dis.get_instructions(code):
        line = i.positions.lineno if i.positions is not None and i.positions.lineno is not None else line
        if i.opname not in SKIPPED:
            instructions.append((line, i))
    for at, (line, i) in enumerate(instructions):
        if i.opname not in LOADS:
            continue
        links = []
        for _, after in instructions[at + 1 :]:
            if after.opname not in ("LOAD_ATTR", "LOAD_METHOD"):
                break
            links.append(after.argval)
        found.append((line, i.argval, tuple(links)))
    return tuple(found)


def clock_lines(code: CodeType, names: Mapping[str, Any], here: Mapping[str, Any]) -> dict[int, str]:
    """The lines at which a code calls a clock, each with what it calls; `names` are its globals and `here` the rest."""
    found = {}
    for line, name, links in _loads(code):
        value = here.get(name, names.get(name))
        if name == "input" and value is None:
            value = input
        for link in links:
            if not isinstance(value, (ModuleType, type)):
                break
            value = getattr(value, link, None)
        else:
            if is_clock(value):
                found[line] = ".".join([name, *links])
    return found
