"""A rule's kernels on NumPy's arrays at once: a tape for arrays of known shapes, and memory that is lent to it."""

# The plan: (1) a rule's records are laid out as a tape whose first record writes addresses into the words of others, so
# that Python only says which arrays they are; (2) checks are a tape of their own, after which Python looks at their
# codes; (3) tapes are taken from those that nobody runs, and given back: a second thread, or a signal's handler in the
# middle of a call, has words of its own; (4) scratch memory is lent in the same way, a few pieces for all calls.

from __future__ import annotations

import ctypes
import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from tensorgraph.native.kernel import kernel
from tensorgraph.native.objects import entries
from tensorgraph.native.places import Address, Buffer, Call, Place, Record, Rule
from tensorgraph.native.tape import Tape
from tensorgraph.native.words import load_int, store_int, word_at

__all__ = ["Direct", "direct", "place_of_array"]

DATA = 16  # where the header of an array says where its numbers are, in bytes
HEADERS = True  # a constant of `bind`
LINE = 64  # bytes from whose multiples scratch memory begins
LENT = 64 << 20  # bytes of the largest piece of scratch memory that is kept for the next call
PIECES = 4

Array = np.ndarray[Any, Any]

empty = np.empty
_pieces: list[Array] = []


def bind(w: Any, block: Any, blocks: Any) -> None:
    """Write where arrays are into other words. Words: how many arrays; of each itself, a power of two less one that its
    address is rounded up by, how many words, and of each of these its address and what is added."""
    at = w + 8
    for _ in range(word_at(w, 0)):
        data, rest = load_int(at), load_int(at + 8)
        if HEADERS:
            data = load_int(data + DATA)
        data = (data + rest) & (-1 - rest)
        count = load_int(at + 16)
        at += 24
        for _ in range(count):
            store_int(load_int(at), data + load_int(at + 8))
            at += 16


@functools.cache
def headers_are_known() -> bool:
    """Whether arrays begin as `bind` reads them."""
    probe = np.arange(6.0)[2:]
    try:
        return ctypes.c_int64.from_address(id(probe) + DATA).value == probe.ctypes.data
    except Exception:  # another interpreter
        return False


class Lane(NamedTuple):
    """A tape for one call at a time.

    Attributes
    ----------
    first, last : Tape
        `last` is None where there are no checks; else it runs after them.
    words : memoryview
        Those of `first`.
    places : list of int
        Which of them say what the arrays are.
    codes : ndarray
        What checks have to say.
    told : ndarray
        What the call's warnings go by.
    """

    first: Tape
    last: Tape | None
    words: Any
    places: list[int]
    codes: Array
    told: Array


class Direct:
    """The kernels of a call, for arrays of the shapes and strides of its places.

    Parameters
    ----------
    call : Call
        With what the rule has put into it.
    single : bool
        Whether one array is given rather than a tuple.
    order : sequence of int, optional
        Which of the arrays that it is called with the call's inputs are; by default they are all of them.
    shape : tuple of int, optional
        Of the one output, where the call has it as a line.
    """

    __slots__ = ("_call", "_free", "_inputs", "_order", "_outputs", "_single", "_size", "_take", "_warnings")

    def __init__(
        self, call: Call, single: bool, order: Sequence[int] | None = None, shape: tuple[int, ...] | None = None
    ) -> None:
        self._call, self._single, self._order = call, single, order
        self._inputs, outputs = places_of(call.inputs), places_of(call.outputs)
        self._outputs = [(place.shape if shape is None else shape, place.dtype) for place in outputs]
        self._warnings = [warn for _, warn in call.warnings]
        self._size = sum(rounded(place.buffer.nbytes) for place in call.scratch_places)
        self._take: Any = id if headers_are_known() else _address
        self._free: list[Lane] = []

    def __call__(self, *arrays: Array) -> Any:
        """The outputs, for the arrays that there are; None where a check finds what has to be refused."""
        outputs = [empty(shape, dtype) for shape, dtype in self._outputs]
        if not self.into(arrays, outputs):
            return None
        return outputs[0] if self._single else tuple(outputs)

    def into(self, arrays: Sequence[Array], outputs: Sequence[Array]) -> bool:
        """Write the outputs into these arrays, in C order; inputs may be among them where a rule says that its outputs
        may replace them. False where a check finds what has to be refused; nothing is written then."""
        if self._order is not None:
            arrays = tuple([arrays[k] for k in self._order])
        try:
            lane = self._free.pop()
        except IndexError:
            lane = self._laid()
        given = [*arrays, *outputs]
        if self._size:
            given.append(_lent(self._size))
        words, take = lane.words, self._take
        for place, array in zip(lane.places, given, strict=True):
            words[place] = take(array)
        lane.first.run()
        fits = True
        if lane.last is not None:
            fits = not lane.codes.any()
            if fits:
                lane.last.run()
        warned = lane.told.tolist() if fits and self._warnings else ()
        self._free.append(lane)
        if self._size and len(_pieces) < PIECES and given[-1].nbytes <= LENT:
            _pieces.append(given[-1])
        for found, warn in zip(warned, self._warnings):
            if found:
                warn()
        return fits

    def _laid(self) -> Lane:
        call = self._call
        owners: dict[Buffer, tuple[int, int]] = {}  # the number of the array that a buffer is in, and where
        for n, place in enumerate((*self._inputs, *places_of(call.outputs))):
            owners[place.buffer] = n, 0
        count, start = len(owners), 0
        for place in call.scratch_places:
            owners[place.buffer] = count, start
            start += rounded(place.buffer.nbytes)
        count += start > 0
        looked = len(call.checks)
        own_places = [*[check.code for check in call.checks], *[place for place, _ in call.warnings]]
        codes = np.zeros(len(own_places), np.int64)
        own = {place.buffer: codes.ctypes.data + 8 * n for n, place in enumerate(own_places)}
        checks = [check.record for check in call.checks]
        bound = [
            [(r, k, word) for r, record in enumerate((*checks, *call.records)) for k, word in enumerate(record.words)
             if isinstance(word, Address) and word.buffer in owners and owners[word.buffer][0] == n]
            for n in range(count)
        ]  # fmt: skip
        head = [0, *[0 for targets in bound for _ in range(3 + 2 * len(targets))]]
        first = [Record(kernel(bind, "float64", HEADERS=self._take is id), tuple(head)), *(checks or call.records)]
        tapes = [_tape(records, own) for records in ([first, call.records] if checks else [first])]
        places, words = [], tapes[0].words
        words[tapes[0].position(0, 0)] = count
        at = tapes[0].position(0, 0) + 1
        for n, targets in enumerate(bound):
            places.append(at)
            words[at + 1] = LINE - 1 if n == len(self._inputs) + len(self._outputs) else 0
            words[at + 2] = len(targets)
            at += 3
            for r, k, word in targets:
                tape, row = (tapes[1], r - len(checks)) if checks and r >= len(checks) else (tapes[0], r + 1)
                words[at : at + 2] = (
                    tape.words.ctypes.data + 8 * tape.position(row, k),
                    owners[word.buffer][1] + word.offset,
                )
                at += 2
        last = tapes[1] if checks else None
        return Lane(tapes[0], last, memoryview(words.data), places, codes[:looked], codes[looked:])


def _tape(records: Sequence[Record], own: dict[Buffer, int]) -> Tape:
    """The tape of records, in which addresses of others' memory are 0."""
    rows = []
    for record, entry in zip(records, entries([r.kernel for r in records]), strict=True):
        words = [own.get(word.buffer, 0) if isinstance(word, Address) else int(word) for word in record.words]
        rows.append((entry, words, record.blocks))
    return Tape(rows)


def place_of_array(array: Array) -> Place:
    """Where an array's numbers lie, in a buffer that stands for its memory."""
    return Place(Buffer(array.nbytes), array.shape, array.dtype, array.strides)


def places_of(values: Sequence[Any]) -> list[Place]:
    """The places among inputs or outputs, those of lists too."""
    return [
        place
        for value in values
        for place in (value if isinstance(value, list) else (value,))
        if isinstance(place, Place)
    ]


def rounded(nbytes: int) -> int:
    """Bytes up to the next line."""
    return (nbytes + LINE - 1) // LINE * LINE


def _lent(size: int) -> Array:
    """Scratch memory of at least so many bytes from the first line in it."""
    piece = _pieces.pop() if _pieces else None
    return np.empty(size + LINE, np.uint8) if piece is None or piece.nbytes < size + LINE else piece


def _address(array: Array) -> int:
    address: int = array.__array_interface__["data"][0]
    return address


def direct(rule: Any, call: Call, single: bool) -> Direct | None:
    """The kernels that a rule makes of a call; None where it makes none, or another way is better."""
    better = rule.better_elsewhere if isinstance(rule, Rule) else None
    if (better is not None and better(call)) or not rule(call):
        return None
    return Direct(call, single)
