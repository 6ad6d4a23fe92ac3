"""What a function reads of the world around it, by its bytecode: names, and attributes and items of what they hold."""

from __future__ import annotations

import bisect
import dis
import functools
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from types import CodeType
from typing import Any

from tensorgraph.graph.bytecode import instructions_of

__all__ = [
    "Chain", "Varying", "attribute_names", "chains", "links_behind", "reads_by_name", "told_by_type", "varying_names",
]  # fmt: skip

Links = tuple[tuple[bool, Any], ...]

GLOBAL = frozenset({"LOAD_GLOBAL", "LOAD_NAME"})
FREE = frozenset({"LOAD_DEREF", "LOAD_CLASSDEREF", "LOAD_FROM_DICT_OR_DEREF"})
ATTRIBUTE = frozenset({"LOAD_ATTR", "LOAD_METHOD"})
ANYWHERE = ATTRIBUTE | {"LOAD_SUPER_ATTR"}
STORES = frozenset({"STORE_FAST", "DELETE_FAST"})
WRITES = frozenset({"STORE_ATTR", "DELETE_ATTR"})
OF_NUMBERS = frozenset({*dir(0), *dir(0.5)})
BY_TYPE = frozenset({"type", "hasattr", "getattr"})
BY_NAME = frozenset({"getattr", "hasattr", "vars", "__dict__", "attrgetter", "methodcaller"})


@dataclass(frozen=True, slots=True)
class Chain:
    """``cfg.rates["first"]``: a name, and what is read of its value.

    Attributes
    ----------
    root : str
        ``"global"``, ``"free"`` (of a function around it), ``"argument"``, ``"local"``, ``"result"`` of a call, or
        ``"module"``, of which the function imports a name.
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
    instructions = instructions_of(code)
    stored = {i.argval for i in instructions if i.opname in STORES}
    count = code.co_argcount + code.co_kwonlyargcount
    arguments = set(code.co_varnames[:count]) - stored
    inner = set(code.co_cellvars)  # the function's own variables, which functions inside it read
    shared = inner.union(code.co_freevars)
    at = 0
    while at < len(instructions):
        i = instructions[at]
        at += 1
        if i.opname in GLOBAL:
            root, name = "global", i.argval
            if name == "globals" and _is_item_of_call(instructions[at : at + 3]):
                name, at = instructions[at + 1].argval, at + 3
        elif i.opname in FREE:
            root, name = "local" if i.argval in inner else "free", i.argval
        elif i.opname.startswith("LOAD_FAST") and i.argval not in shared:  # whose cell a function inside is given
            root, name = "argument" if i.argval in arguments else "local", i.argval
        elif i.opname == "IMPORT_NAME":
            module = "." * instructions[at - 3].argval + i.argval
            while at < len(instructions) and instructions[at].opname in ("IMPORT_FROM", *STORES):
                if instructions[at].opname == "IMPORT_FROM":
                    found[Chain("module", module, ((True, instructions[at].argval),))] = None
                at += 1
            continue
        elif i.opname in ("STORE_GLOBAL", "DELETE_GLOBAL"):
            found[Chain("global", i.argval, (), True)] = None
            continue
        elif i.opname in ("STORE_DEREF", "DELETE_DEREF") and i.argval not in inner:
            found[Chain("free", i.argval, (), True)] = None
            continue
        else:
            continue
        links, at = _links(instructions, at)
        found[Chain(root, name, links)] = None
        if at < len(instructions) and instructions[at].opname in WRITES:
            found[Chain(root, name, (*links, (True, instructions[at].argval)), True)] = None
    return tuple(found)


def _links(instructions: Sequence[dis.Instruction], at: int) -> tuple[Links, int]:
    """The attributes and items that are read one of the other from a place on, and where that ends."""
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
    return tuple(links), at


@functools.lru_cache(maxsize=4096)
def links_behind(code: CodeType, offset: int) -> Links:
    """What is read of what the instruction at an offset gives: a call, an operator, an attribute that is computed."""
    instructions = instructions_of(code)
    return _links(instructions, bisect.bisect_right([i.offset for i in instructions], offset))[0]


@dataclass(frozen=True, slots=True)
class Varying:
    """Variables that hold one thing after the other.

    Attributes
    ----------
    chains : dict
        What is read of each.
    within_lines : bool
        Whether one of them changes twice in a line.
    """

    chains: dict[str, list[Chain]]
    within_lines: bool


@functools.lru_cache(maxsize=1024)
def varying_names(code: CodeType) -> Varying | None:
    """The variables of which something is read, and that are set in a loop or more than once; None if none is."""
    found: dict[str, list[Chain]] = {}
    for chain in chains(code):
        if chain.root == "local" and chain.links and not chain.is_written:
            found.setdefault(chain.name, []).append(chain)
    if not found:
        return None
    instructions = instructions_of(code)
    loops = [(i.argval, i.offset) for i in instructions if i.opcode in dis.hasjrel and i.argval < i.offset]
    given = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    places: dict[str, list[tuple[int, int | None]]] = {name: [(-1, None)] for name in given}
    line: int | None = None
    for i in instructions:
        line = i.positions.lineno if i.positions is not None and i.positions.lineno is not None else line
        if i.opname.startswith(("STORE_FAST", "STORE_DEREF")):
            places.setdefault(i.argval, []).append((i.offset, line))
    varying = {}
    for name, its in found.items():
        stores = places.get(name, [])
        if len(stores) > 1 or any(start <= at <= end for at, _ in stores for start, end in loops):
            varying[name] = its
    within = any(len({line for _, line in places[name]}) < len(places[name]) for name in varying)
    return Varying(varying, within) if varying else None


@functools.lru_cache(maxsize=1024)
def told_by_type(code: CodeType) -> tuple[str, ...]:
    """The variables of which the code asks more than a stand-in for a number can answer: their type, or an attribute
    that numbers lack."""
    found = [
        chain.name
        for chain in chains(code)
        if chain.root != "global" and chain.links and chain.links[0][0] and chain.links[0][1] not in OF_NUMBERS
    ]
    instructions = [i for i in instructions_of(code) if i.opname not in ("PUSH_NULL", "NULL")]
    asking = BY_TYPE | {"isinstance"} if "Tensor" in code.co_names else BY_TYPE
    for i, after in itertools.pairwise(instructions):
        if i.opname in GLOBAL and i.argval in asking and after.opname.startswith(("LOAD_FAST", "LOAD_DEREF")):
            found.append(after.argval[0] if isinstance(after.argval, tuple) else after.argval)
    return tuple(dict.fromkeys(found))


def _is_item(instruction: dis.Instruction) -> bool:
    return instruction.opname == "BINARY_SUBSCR" or (instruction.opname == "BINARY_OP" and instruction.argrepr == "[]")


def _is_item_of_call(instructions: Sequence[dis.Instruction]) -> bool:
    """Whether what is there is called with nothing, and an item read of what it gives."""
    if len(instructions) < 3 or not instructions[0].opname.startswith("CALL") or instructions[0].arg:
        return False
    return _is_key(instructions[1]) and _is_item(instructions[2])


def _is_key(instruction: dis.Instruction) -> bool:
    """Whether a constant comes that is followed; where another one does, a tuple, the chain ends in what holds it."""
    kinds = (str, int, bool, float, bytes, type(None))
    return instruction.opname == "LOAD_CONST" and type(instruction.argval) in kinds


@functools.lru_cache(maxsize=1024)
def reads_by_name(code: CodeType) -> bool:
    """Whether the code may read attributes that no chain of it names: by `getattr` and its like, or by a pattern."""
    return not BY_NAME.isdisjoint(code.co_names) or any(i.opname == "MATCH_CLASS" for i in dis.get_instructions(code))


@functools.lru_cache(maxsize=1024)
def attribute_names(code: CodeType) -> frozenset[str]:
    """The names of all attributes that the code reads of anything."""
    return frozenset(i.argval for i in dis.get_instructions(code) if i.opname in ANYWHERE)
