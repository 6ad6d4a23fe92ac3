"""Programs of kernels: a tape of 64-bit words, and the driver in machine code that goes along it."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tensorgraph.native import team
from tensorgraph.native.objects import addresses, unit

__all__ = ["DRIVER", "HEAD", "Tape", "holding_driver"]

HEAD = 3  # words before those of the kernel: its entry, the number of blocks, the number of words

# There are two drivers. The one of `team` shares blocks, and could run a tape alone too; but it calls Linux's
# semaphores, and what threads share lies in memory of theirs. This one links on every system, is made in no time where
# a process has no record of several blocks, and runs beside the team: of two Python threads one has that, the other
# goes alone.
DRIVER = """
define void @tg_drive(i64 %tape) nounwind {
entry:
  %start = inttoptr i64 %tape to ptr
  br label %record
record:
  %at = phi ptr [ %start, %entry ], [ %next, %after ]
  %kernel = load i64, ptr %at, align 8
  %over = icmp eq i64 %kernel, 0
  br i1 %over, label %end, label %begin
begin:
  %function = inttoptr i64 %kernel to ptr
  %head = getelementptr i64, ptr %at, i64 1
  %blocks = load i64, ptr %head, align 8
  %size = getelementptr i64, ptr %at, i64 2
  %count = load i64, ptr %size, align 8
  %words = getelementptr i64, ptr %at, i64 3
  %address = ptrtoint ptr %words to i64
  br label %run
run:
  %block = phi i64 [ 0, %begin ], [ %following, %run ]
  call void %function(i64 %address, i64 %block, i64 %blocks)
  %following = add i64 %block, 1
  %more = icmp slt i64 %following, %blocks
  br i1 %more, label %run, label %after
after:
  %next = getelementptr i64, ptr %words, i64 %count
  br label %record
end:
  ret void
}
"""

UNIT = unit("tg_drive", DRIVER)

_PROTOTYPE = ctypes.CFUNCTYPE(None, ctypes.c_size_t)
_HOLDING = ctypes.PYFUNCTYPE(None, ctypes.c_size_t)


class Tape:
    """Kernels that run one after the other, with their words.

    Parameters
    ----------
    records : sequence of (int, sequence of int, int)
        The entry of a kernel, its words, and the number of blocks that it is run in.

    Attributes
    ----------
    words : ndarray
        int64, ``[entry, blocks, count, word, ...]`` a record, then 0. Words may be changed between two runs, in place.
    starts : list of int
        Where in `words` the words of each record begin.

    Examples
    --------
    >>> from tensorgraph.native.tape import Tape
    >>> Tape([]).words
    array([0])
    """

    __slots__ = ("_argument", "_blocks", "_drive", "starts", "words")

    def __init__(self, records: Sequence[tuple[int, Sequence[int], int]]) -> None:
        laid: list[int] = []
        self.starts: list[int] = []
        for number, (entry, words, blocks) in enumerate(records):
            if not entry or blocks < 1:
                raise ValueError(
                    f"record {number} of a tape has entry {entry} and {blocks} blocks: expected the address of a "
                    "kernel, `kernel.entry`, and at least one block"
                )
            self.starts.append(len(laid) + HEAD)
            laid += [entry, blocks, len(words), *words]
        self.words = np.array([*laid, 0], np.int64)
        self._argument = ctypes.c_size_t(self.words.ctypes.data)
        self._blocks = max((blocks for _, _, blocks in records), default=1)
        self._drive: Callable[[Any], None] = _driver() if laid else _nothing

    def __repr__(self) -> str:
        return f"<tape of {len(self.starts)} records, {self.words.nbytes} bytes>"

    def __len__(self) -> int:
        return len(self.starts)

    def position(self, record: int, word: int) -> int:
        """Where in `words` a word of a record lies."""
        start = self.starts[record]
        count = int(self.words[start - 1])
        if not 0 <= word < count:
            raise IndexError(f"record {record} of the tape has {count} words, and none of the number {word}")
        return start + word

    def run(self) -> None:
        """Run all records in order, without the interpreter's lock: whatever the words say is done.

        The blocks of a record run on as many threads as `tensorgraph.jit.num_threads` says.
        """
        if self._blocks == 1:
            self._drive(self._argument)
        else:
            team.run(self._argument, self._blocks, self._drive)


def holding_driver() -> Callable[[Any], None]:
    """The driver as a function of a tape's address, called with the interpreter's lock held: for microseconds."""
    return _HOLDING(ctypes.cast(_driver(), ctypes.c_void_p).value or 0)


def _nothing(argument: Any) -> None:
    pass


_drivers: list[Any] = []


def _driver() -> Any:
    if not _drivers:
        _drivers.append(_PROTOTYPE(addresses([UNIT])[0]))
    return _drivers[0]
