"""The instructions of a function's code, alike on all versions of Python."""

from __future__ import annotations

import dis
import re
from types import CodeType

__all__ = ["instructions_of"]

SKIPPED = frozenset({"CACHE", "EXTENDED_ARG", "PUSH_NULL", "RESUME", "PRECALL", "NOP", "COPY_FREE_VARS", "MAKE_CELL"})


def instructions_of(code: CodeType) -> list[dis.Instruction]:
    """The instructions of a code that do something; those that some versions do two at a time, one after the other."""
    found = []
    for i in dis.get_instructions(code):
        if "_FAST_" in i.opname and isinstance(i.argval, tuple):
            kinds = re.findall("(?:LOAD|STORE)_FAST", i.opname)
            found += [i._replace(opname=kind, argval=name) for kind, name in zip(kinds, i.argval, strict=True)]
        elif i.opname not in SKIPPED:
            found.append(i)
    return found
