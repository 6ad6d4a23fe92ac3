"""Where kernels find values: buffers, places in them, and the calls of kernels that a rule makes of one equation.

A rule, `Op.native`, is given a `Call`: places of the inputs and outputs in memory that does not exist yet. It answers
with kernels and their words, among which `Address` stands for an address. Whoever lays a program out decides later
where each buffer is.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import compress, count, repeat
from operator import is_
from typing import Any

import numpy as np

from tensorgraph.native.kernel import Kernel

__all__ = ["Address", "Buffer", "Call", "Check", "Place", "Record", "Rule", "Successor", "bits_of"]


class Buffer:
    """A stretch of memory, wherever it will be; compared by identity.

    Attributes
    ----------
    nbytes : int
    what : str
        For people: the name of the variable, or what it is for.
    """

    __slots__ = ("nbytes", "what")

    def __init__(self, nbytes: int, what: str = "") -> None:
        self.nbytes, self.what = nbytes, what

    def __repr__(self) -> str:
        return f"<buffer {self.what}, {self.nbytes} bytes>"


@dataclass(slots=True, unsafe_hash=True)  # a frozen one takes ten times as long to make, and a plan has a thousand
class Address:
    """A word that will be an address: so many bytes after the start of a buffer. Nobody changes it."""

    buffer: Buffer
    offset: int = 0


@dataclass(slots=True, unsafe_hash=True)
class Place:
    """An array in a buffer: what ``ndarray`` is in memory. Strides and offset count bytes. Nobody changes it."""

    buffer: Buffer
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    strides: tuple[int, ...]
    offset: int = 0

    @classmethod
    def new(cls, shape: Sequence[int], dtype: Any, what: str = "") -> Place:
        """A new buffer, in C order."""
        dtype, shape = np.dtype(dtype), tuple(shape)
        strides, step = [], dtype.itemsize
        if not shape:
            return cls(Buffer(step, what), shape, dtype, ())
        for n in shape[:0:-1]:
            strides.append(step)
            step *= n or 1
        strides.append(step)
        return cls(Buffer(0 if 0 in shape else step * shape[0], what), shape, dtype, tuple(strides[::-1]))

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize

    @property
    def is_contiguous(self) -> bool:
        """Whether its elements lie one after the other, in C order."""
        step = self.dtype.itemsize
        for n, stride in zip(reversed(self.shape), reversed(self.strides), strict=True):
            if n != 1 and stride != step:
                return not self.size
            step *= n
        return True

    def address(self, offset: int = 0) -> Address:
        return Address(self.buffer, self.offset + offset)

    def over(self, shape: Sequence[int], strides: Sequence[int], offset: int = 0) -> Place:
        """Another array in the same memory; `offset` is from this one's start."""
        return Place(self.buffer, tuple(shape), self.dtype, tuple(strides), self.offset + offset)

    def broadcast(self, shape: Sequence[int]) -> Place:
        """The like of this shape, with stride 0 along axes that are repeated."""
        shape = tuple(shape)
        lead = len(shape) - self.ndim
        strides = [0] * lead + [
            0 if n == 1 and want != 1 else stride
            for n, want, stride in zip(self.shape, shape[lead:], self.strides, strict=True)
        ]
        return self.over(shape, strides)

    def transposed(self, axes: Sequence[int]) -> Place:
        return self.over([self.shape[a] for a in axes], [self.strides[a] for a in axes])


def bits_of(x: float, dtype: Any) -> int:
    """A number as a word: its bits, of the kernel's type, as `real_at` reads them."""
    dtype = np.dtype(dtype)
    kind, size = ("f", 4) if dtype.itemsize == 4 else ("d", 8)
    with np.errstate(all="ignore"):
        raw = struct.pack("<" + kind, dtype.type(x).item()) if size == 8 else dtype.type(x).tobytes()
    return int.from_bytes(raw.ljust(8, b"\0"), "little", signed=True)


@dataclass(slots=True)
class Record:
    """One run of a kernel: its words are integers, bits of numbers, and addresses; its blocks may run in any order, in
    any thread, and the result is the same to the last bit however many there are."""

    kernel: Kernel
    words: tuple[int | Address, ...]
    blocks: int = 1

    def addresses(self) -> list[int]:
        """The numbers of the words that are addresses."""
        return [*compress(count(), map(is_, map(type, self.words), repeat(Address)))]


@dataclass(slots=True)
class Check:
    """What looks at the numbers of a call's inputs before anything is written that outlives the run.

    Attributes
    ----------
    record : Record
        One block. It reads inputs alone, and writes 0 to `code` where all is well, else another number.
    code : Place
        A 0-d int64.
    error : str
        For people, where the code is not 0. First the op's own `check` and then its forward are called on the inputs,
        whose error says more; this one is raised where neither has one.
    """

    record: Record
    code: Place
    error: str


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule that knows more than to make kernels of one call; any other is the function alone.

    Attributes
    ----------
    make : callable
        The rule itself: puts records into a `Call`, or gives False.
    with_endings : callable, optional
        Of a call and the `Successor`s of its equation: puts the records of all into the call, whose output is that of
        the last one, or gives False.
    better_elsewhere : callable, optional
        Of a call that the rule would take: why NumPy is faster for it, or ``""``. It is asked unless the same bits are
        wanted everywhere.
    """

    make: Callable[[Call], bool]
    with_endings: Callable[[Call, Sequence[Successor]], bool] | None = None
    better_elsewhere: Callable[[Call], str] | None = None

    def __call__(self, call: Call) -> bool:
        return self.make(call)


@dataclass(frozen=True, slots=True)
class Successor:
    """An equation that follows the one whose rule is asked, and reads its result: a kernel may do it at its end.

    A rule that can is a `Rule` which says so.

    Attributes
    ----------
    op : Any
        The op.
    operands : tuple
        As in `Call.inputs`; None stands for the result of the equation before.
    attrs : mapping
    """

    op: Any
    operands: tuple[Any, ...]
    attrs: Mapping[str, Any]


@dataclass(slots=True)
class Call:
    """One equation as a rule sees it.

    Attributes
    ----------
    inputs : tuple
        A `Place` for a tensor; a Python number; None for an input that is absent; a list of places for a list.
    outputs : tuple of (Place or None)
        In C order; then residuals. None: nobody reads it.
    attrs : mapping
    records : list of Record
        What `run` has put here.
    scratch_places : list of Place
        Memory for this call alone.
    replaces : list of (int, int)
        (output, input): that output may lie in that input's memory, which has its type and C order.
    checks : list of Check
        What `check` has put here.
    warnings : list of (Place, function)
        What `warn` has put here: a 0-d int64, and what is called after the run where that is not 0.
    """

    inputs: tuple[Any, ...]
    outputs: tuple[Place | None, ...]
    attrs: Mapping[str, Any]
    records: list[Record] = field(default_factory=list)
    scratch_places: list[Place] = field(default_factory=list)
    replaces: list[tuple[int, int]] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    warnings: list[tuple[Place, Callable[[], None]]] = field(default_factory=list)

    def run(self, kernel: Kernel, words: Sequence[int | Address], blocks: int = 1) -> None:
        """Run a kernel, after those that were given before it."""
        self.records.append(Record(kernel, tuple(words), blocks))

    def scratch(self, shape: Sequence[int], dtype: Any, what: str = "scratch") -> Place:
        """Memory for this call alone, 64-byte aligned; what is in it at the beginning is not known."""
        made = Place.new(shape, dtype, what)
        self.scratch_places.append(made)
        return made

    def may_replace(self, output: int, input: int) -> None:
        """Say that an output may be written where an input was, element by element, at the same place."""
        self.replaces.append((output, input))

    def check(self, kernel: Kernel, words: Sequence[int | Address], error: str) -> None:
        """Look at the inputs before anything is written that outlives the run; the kernel finds the address of the
        int64 for its verdict in the word after these. A number other than 0 ends the run: see `Check`."""
        code = Place.new((), np.int64, "check")
        self.checks.append(Check(Record(kernel, (*words, code.address())), code, error))

    def warn(self, warning: Callable[[], None]) -> Address:
        """The address of an int64, which the kernels of this call write: not 0 where they found what is warned of. The
        function is called after the run, at the user's line."""
        code = Place.new((), np.int64, "warning")
        self.warnings.append((code, warning))
        return code.address()
