"""Whether objects have the attributes that they had: read in memory, as what is set past ``__setattr__`` moves no mark.

``vars(module)["p"] = 0.5``, ``object.__setattr__`` and their like are seen by nobody, and Python would take 300 ns to
look at one object. So a kernel compares the words in which objects and their dicts keep what they hold with what those
were. Where these words are is tested for each dict; where a test fails, as in interpreters that keep dicts in another
way, or where there is no machine code, Python looks.
"""

from __future__ import annotations

import ctypes
from collections.abc import Collection, Iterable
from typing import Any

import numpy as np

from tensorgraph.compile.cell_memory import TYPE, headers_are_known, word
from tensorgraph.compile.layouts import address_of
from tensorgraph.native import machine
from tensorgraph.native.builtin import builtin
from tensorgraph.native.kernel import kernel
from tensorgraph.native.tape import Tape
from tensorgraph.native.words import load_int, store_int, word_at

__all__ = ["AttributeWords"]

DICT = -24  # from an object on: where the address of its dict is
USED, KEYS, VALUES = 16, 32, 40  # in a dict: how many items it has, where its table of keys is, and its values if apart
INDEX_BYTES, KIND, COUNT, INDEX = 9, 10, 24, 32  # in a table: of its index the size, as a power of 2, and the place
APART = (0, 8)  # where values that are apart begin; from Python 3.13 on behind a word
GENERAL = 0  # the kind of a table with keys that are no text
MOST = 1 << 16  # keys that are believed
MISSING = object()


def compare_words(w: Any, block: Any, blocks: Any) -> None:
    """Whether words are what they were, in order: an address is read only where those that lead to it are the same."""
    row, wrong = word_at(w, 0), 0
    for _ in range(word_at(w, 1)):
        if wrong == 0 and load_int(load_int(row)) != load_int(row + 8):
            wrong = 1
        row += 16
    store_int(word_at(w, 2), wrong)


class AttributeWords:
    """What is in the ``__dict__`` of some objects, and their classes.

    Parameters
    ----------
    objects : iterable
        Each of them held by one before it, or by somebody who is compared by others.
    without : collection of str
        Attributes that may change.

    Attributes
    ----------
    differ : callable
        Of any one object: true where the objects have other attributes now.
    """

    def __init__(self, objects: Iterable[Any], without: Collection[str] = ()) -> None:
        self.without = without
        found = [(value, getattr(value, "__dict__", {})) for value in objects]
        # held, so that no other object can have the address of one of them
        self.rows = [(value, type(value), own, self._attributes(own)) for value, own in found]
        self.differ: Any = self._look
        if machine.reason() is None and headers_are_known():
            try:
                pairs = [pair for row in self.rows for pair in self._pairs(*row)]
            except LookupError:
                return
            self.differ = self._builtin(pairs)

    def _attributes(self, own: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in [*own.items()] if name not in self.without}

    def _look(self, _: object) -> bool:
        for value, kind, own, before in self.rows:
            now = self._attributes(own)
            if type(value) is not kind or getattr(value, "__dict__", own) is not own or len(now) != len(before):
                return True
            if any(now.get(name, MISSING) is not item for name, item in before.items()):
                return True
        return False

    def _pairs(self, value: Any, kind: type, own: dict[str, Any], before: dict[str, Any]) -> list[Any]:
        """The addresses of an object's words, and what they are.

        Raises
        ------
        LookupError
            Where they are not found.
        """
        pairs = [(id(value) + TYPE, id(kind))]
        if not hasattr(value, "__dict__"):
            return pairs
        at = id(own)
        keys, values = word(at + KEYS), word(at + VALUES)
        if word(id(value) + DICT) != at or word(at + USED) != len(own):
            raise LookupError("dicts are elsewhere")
        pairs += [(id(value) + DICT, at), (at + USED, len(own)), (at + KEYS, keys), (at + VALUES, values)]
        _, index_bytes, kind_of_table = (ctypes.c_uint8 * 3).from_address(keys + KIND - 2)
        first, count = keys + INDEX + (1 << index_bytes), word(keys + COUNT)
        if kind_of_table == GENERAL or not len(own) <= count <= MOST:
            raise LookupError("a table of another kind")
        table = (ctypes.c_int64 * (2 * count)).from_address(first)
        number = {key: n for n, key in enumerate(table[::2])}
        places = [number[id(name)] for name in before]  # a KeyError is one of those that are meant
        for start in APART if values else (first + 8,):
            where = [values + start + 8 * n if values else start + 16 * n for n in places]
            if [*map(word, where)] == [*map(id, before.values())]:
                return [*pairs, *zip(where, map(id, before.values()), strict=True)]
        raise LookupError("values are elsewhere")

    def _builtin(self, pairs: list[tuple[int, int]]) -> Any:
        """What compares these words: a builtin function, which takes a tenth of a microsecond and 1 ns a word."""
        self.table = np.array(pairs, np.int64).reshape(-1, 2)
        self.status = np.zeros(2, np.int64)
        first, status = address_of(self.table), address_of(self.status)
        tape = Tape([(kernel(compare_words, "float64").entry, (first, len(pairs), status), 1)])
        return builtin(tape, status + 8, status)
