"""From a plan to tapes: buffers get addresses; words that are addresses of others' arrays are kept to be changed."""

from __future__ import annotations

import threading
from bisect import bisect
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from tensorgraph.compile.buffers import ALIGNMENT
from tensorgraph.compile.layouts import Array, address_of
from tensorgraph.compile.plan import Plan
from tensorgraph.compile.verdicts import NEXT, Verdicts
from tensorgraph.graph.graph import Var
from tensorgraph.native.objects import entries
from tensorgraph.native.places import Buffer, Record
from tensorgraph.native.tape import HEAD, Tape

__all__ = ["Memory", "Room", "laid"]

NARROWEST = 32  # bytes of a vector on every processor for which kernels are compiled


class Room:
    """Memory for the plans of one function, of which one runs at a time: for another size of the batch, or another
    signature, that of the largest serves too.

    Attributes
    ----------
    lock : RLock
        Held while one of the plans runs.
    is_busy : bool
        Whether one of them has got as far as Python's code, which may call the function again, and needs its numbers
        afterwards.
    was_entered : bool
        Whether somebody has, and may have written cells.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.is_busy = self.was_entered = False
        self._whole: Array = np.zeros(0, np.uint8)

    def of(self, size: int) -> Array:
        """So many bytes, in which another plan may run as well."""
        if self._whole.size < size:  # pages that nobody touches take no memory; what grows slowly is not made each time
            self._whole = np.zeros(max(size, 2 * self._whole.size), np.uint8)
        return self._whole


class Memory:
    """The memory of a plan: the arena, and which words of tapes are addresses of what others own.

    Attributes
    ----------
    arena : ndarray
        Bytes, from a multiple of 64 on.
    words : dict of Buffer to list of (int, int)
        Of buffers that are arguments or cells: the addresses of the words that are addresses in them, and how far
        behind their beginning.
    """

    def __init__(self, plan: Plan, room: Room) -> None:
        self.plan = plan
        whole = room.of(plan.arena.size + ALIGNMENT)
        start = -address_of(whole) % ALIGNMENT
        self.arena = whole[start : start + plan.arena.size]
        self.start = address_of(self.arena)
        self.words: dict[Buffer, list[tuple[int, int]]] = {}
        self.verdicts = Verdicts(plan)
        self.known = dict(self.verdicts.addresses)  # where buffers begin, of those that are not others at each call
        self.known.update((buffer, address_of(array)) for buffer, array in plan.layout.constants.items())
        self.known.update((buffer, self.start + offset) for buffer, offset in plan.arena.offsets.items())
        self.heads: list[tuple[Tape, list[int], list[int]]] = []

    def view(self, var: Var) -> Array:
        """A variable that lies in the arena, as an array."""
        place = self.plan.layout.places[var]
        offset = self.plan.arena.offsets[place.buffer] + place.offset
        memory = self.arena if self.arena.size else np.zeros(1, np.uint8)  # where all arrays are empty
        return np.ndarray(place.shape, place.dtype, memory, offset if place.size else 0, place.strides)

    def tape(self, records: Sequence[Record]) -> Tape:
        """The tape of some records."""
        known, found = self.known.get, _entries(self.plan, records)
        rows: list[tuple[int, list[Any], int]] = []
        # places in the tape, of what is elsewhere at each call
        others = defaultdict[Buffer, list[tuple[int, int]]](list)
        at = HEAD
        for record, entry in zip(records, found, strict=True):
            words: list[Any] = list(record.words)
            for k in record.addresses():
                word = words[k]
                begin = known(word.buffer)
                if begin is None:
                    others[word.buffer].append((at + k, word.offset))
                    words[k] = word.offset
                else:
                    words[k] = begin + word.offset
            rows.append((entry, words, record.blocks))
            at += len(words) + HEAD
        tape = Tape(rows)
        starts = tape.starts
        self.heads.append((tape, [start - HEAD for start in starts], found))
        first = address_of(tape.words)
        for place, _ in others.pop(NEXT, ()):
            number = bisect(starts, place) - 1
            tape.words[place] = first + 8 * (starts[number] + len(rows[number][1]))
        donated = self.plan.donated
        for buffer, places in others.items():
            self.words.setdefault(donated.get(buffer, buffer), []).extend([(first + 8 * k, n) for k, n in places])
        return tape

    def restore(self) -> None:
        """Let tapes that a check has cut run on."""
        for tape, places, heads in self.heads:
            tape.words[places] = heads


def _entries(plan: Plan, records: Sequence[Record]) -> list[int]:
    """The machine code of records; of an exact plan for vectors that every processor has, as sums of lanes have other
    bits where there are more."""
    return entries([record.kernel for record in records], NARROWEST if plan.exact else None)


def laid(plan: Plan, first: Sequence[Record], last: Sequence[Record], room: Room) -> tuple[Memory, list[Tape | int]]:
    """The memory of a plan, and its steps: tapes, and the numbers of steps on NumPy between them.

    `first` and `last` are records that come before and after all steps.
    """
    memory = Memory(plan, room)
    parts: list[list[Record] | int] = [list(first)]  # records, and the numbers of steps on NumPy between them
    for number, step in enumerate(plan.steps):
        records = parts[-1]
        assert isinstance(records, list)
        if number == plan.final:  # before a cell is written
            records += memory.verdicts.records([one.call for one in plan.steps[number:] if one.call is not None])
        if step.call is None:
            parts += [number, []]
            continue
        checks = memory.verdicts.records([step.call]) if number < plan.final else []
        records += [*checks, *step.call.records]
    records = parts[-1]
    assert isinstance(records, list)
    records += [*last, *memory.verdicts.last()]
    _entries(plan, [record for part in parts if isinstance(part, list) for record in part])  # compiled all together
    order = [part if isinstance(part, int) else memory.tape(part) for part in parts if part or part == 0]
    if not records:
        order.append(memory.tape([]))
    return memory, order
