"""Kernels that refuse numbers or warn of them: how a tape ends early, and what is raised and told then."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np

from tensorgraph.compile.layouts import Array, address_of
from tensorgraph.compile.plan import Plan
from tensorgraph.native.kernel import kernel
from tensorgraph.native.places import Address, Buffer, Call, Record
from tensorgraph.native.words import load_int, store_int, word_at

__all__ = ["NEXT", "Verdicts"]

NEXT = Buffer(8, "the head of the record after this one")
WARNED = -1  # the status where something is to be warned of


def judge(w: Any, block: Any, blocks: Any) -> None:
    """Where one of some checks has found something, end the tape before the next record, and say which is the first."""
    code, checks, first = word_at(w, 0), word_at(w, 1), -1
    for n in range(checks):
        k = checks - 1 - n
        if load_int(code + 8 * k) != 0:
            first = k
    if first >= 0:
        store_int(word_at(w, 2), 0)
        store_int(word_at(w, 3), word_at(w, 4) + first)


def gather(w: Any, block: Any, blocks: Any) -> None:
    """Whether any of some codes in a row is not 0."""
    first, found = word_at(w, 0), 0
    for k in range(word_at(w, 1)):
        if load_int(first + 8 * k) != 0:
            found = 1
    if found == 1:
        store_int(word_at(w, 2), WARNED)


class Verdicts:
    """The codes that a plan's kernels write, and the one word that tells whether any says something.

    Attributes
    ----------
    status : c_int64
        0 after a run where all is well, n where the n-th check, counted from 1, has ended it.
    """

    def __init__(self, plan: Plan) -> None:
        calls = [(step, step.call) for step in plan.steps if step.call is not None]
        self.checks = [(step, check) for step, call in calls for check in call.checks]
        self.warnings = [warning for _, call in calls for warning in call.warnings]
        codes = [*(check.code for _, check in self.checks), *(place for place, _ in self.warnings)]
        self.words: Array = np.zeros(1 + len(codes), np.int64)
        first = address_of(self.words)
        self.status = ctypes.c_int64.from_address(first)
        self.start = first
        self.addresses = {place.buffer: first + 8 + 8 * k for k, place in enumerate(codes)}
        self._number = {id(check): n for n, (_, check) in enumerate(self.checks, 1)}

    def records(self, calls: Sequence[Call]) -> list[Record]:
        """The checks of calls that follow each other, to be made before the calls' own records."""
        checks = [check for call in calls for check in call.checks]
        if not checks:
            return []
        words = (checks[0].code.address(), len(checks), Address(NEXT), self.start, self._number[id(checks[0])])
        return [*(check.record for check in checks), Record(kernel(judge, "float64"), words)]

    def last(self) -> list[Record]:
        """What runs at the end."""
        if not self.warnings:
            return []
        words = (self.warnings[0][0].address(), len(self.warnings), self.start)
        return [Record(kernel(gather, "float64"), words)]

    def warn(self) -> None:
        """Call the warnings whose codes are not 0."""
        self.status.value = 0
        for place, warning in self.warnings:
            if ctypes.c_int64.from_address(self.addresses[place.buffer]).value:
                warning()
