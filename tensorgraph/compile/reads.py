"""What a function reads of the world around it, by its bytecode: names, and attributes and items of what they hold."""

from __future__ import annotations

import dis
import functools
from dataclasses import dataclass
from types import CodeType
from typing import Any

__all__ = ["Chain", "attribute_names", "chains"]

SKIPPED = frozenset({"CACHE", "EXTENDED_ARG", "PUSH_NULL", "RESUME", "PRECALL", "NOP", "COPY_FREE_VARS", "MAKE_CELL"})
GLOBAL = frozenset({"LOAD_GLOBAL", "LOAD_NAME"})
FREE = frozenset({"LOAD_DEREF", "LOAD_CLASSDEREF", "LOAD_FROM_DICT_OR_DEREF"})
ATTRIBUTE = frozenset({"LOAD_ATTR", "LOAD_METHOD"})
STORES = ("STORE_FAST", "DELETE_FAST")
WRITES = frozenset({"STORE_ATTR", "DELETE_ATTR"})


@dataclass(frozen=True, slots=True)
class Chain:
    """``cfg.rates["first"]``: a name, and what is read of its value.

    Attributes
    ----------
    root : str
        ``"global"``, ``"free"`` (of a function around it), ``"argument"``, or ``"local"``.
    is_written : bool
        Whether the last link, or the name itself, is written and not read.
    name : str
    links : tuple of (bool, object)
        In order: (True, the name of an attribute), or (False, the key of an item).
    """

    root: str
    name: str
    links: tuple[tuple[bool, Any], ...] = ()
    is_written: bool = False


@functools.lru_cache(maxsize=1024)
def chains(code: CodeType) -> tuple[Chain, ...]:
    """Every chain in the code of a function, each once."""
    found: dict[Chain, None] = {}
    instructions = [i for i in dis.get_instructions(code) if i.opname not in SKIPPED]
    stored = {n for i in instructions if i.opname.startswith(STORES) for n in _names(i.argval)}
    count = code.co_argcount + code.co_kwonlyargcount
    arguments = set(code.co_varnames[:count]) - stored
    inner = set(code.co_cellvars)  # the function's own variables, which functions inside it read
    at = 0
    while at < len(instructions):
        i = instructions[at]
        at += 1
        if i.opname in GLOBAL:
            root, name = "global", i.argval
        elif i.opname in FREE:
            root, name = "local" if i.argval in inner else "free", i.argval
        elif i.opname.startswith("LOAD_FAST"):
            name = _names(i.argval)[-1]  # of two the last is on top
            root = "argument" if name in arguments else "local"
        elif i.opname in ("STORE_GLOBAL", "DELETE_GLOBAL"):
            found[Chain("global", i.argval, (), True)] = None
            continue
        elif i.opname in ("STORE_DEREF", "DELETE_DEREF") and i.argval not in inner:
            found[Chain("free", i.argval, (), True)] = None
            continue
        else:
            continue
        links: list[tuple[bool, Any]] = []
        while at < len(instructions):
            after = instructions[at]
            if after.opname in ATTRIBUTE:
                links.append((True, after.argval))
                at += 1
            elif _is_key(after) and at + 1 < len(instructions) and _is_item(instructions[at + 1]):
                links.append((False, after.argval))
                at += 2
            else:
                break
        found[Chain(root, name, tuple(links))] = None
        if at < len(instructions) and instructions[at].opname in WRITES:
            found[Chain(root, name, (*links, (True, instructions[at].argval)), True)] = None
    return tuple(found)


def _is_item(instruction: dis.Instruction) -> bool:
    return instruction.opname == "BINARY_SUBSCR" or (instruction.opname == "BINARY_OP" and instruction.argrepr == "[]")


def _names(argval: Any) -> tuple[str, ...]:
    return argval if isinstance(argval, tuple) else (argval,)


def _is_key(instruction: dis.Instruction) -> bool:
    """Whether a constant comes that is followed; where another one does, a tuple, the chain ends in what holds it."""
    kinds = (str, int, bool, float, bytes, type(None))
    return instruction.opname == "LOAD_CONST" and type(instruction.argval) in kinds


@functools.lru_cache(maxsize=1024)
def attribute_names(code: CodeType) -> frozenset[str]:
    """The names of all attributes that the code reads of anything."""
    return frozenset(i.argval for i in dis.get_instructions(code) if i.opname in ATTRIBUTE)
