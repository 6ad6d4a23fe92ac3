"""One stretch of memory for everything that a run computes: which part of it each buffer has, and when."""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tensorgraph.native.places import Buffer

__all__ = ["ALIGNMENT", "Arena", "Span", "arena"]

ALIGNMENT = 64  # bytes of a line of the cache, and of the widest vector


@dataclass(slots=True)
class Span:
    """When a buffer is needed.

    Attributes
    ----------
    buffer : Buffer
    first, last : int
        The steps that write it first and read it last.
    over : tuple of Buffer
        Buffers whose memory it may take where they are read for the last time by the step that writes it.
    """

    buffer: Buffer
    first: int
    last: int
    over: tuple[Buffer, ...] = ()


@dataclass(slots=True)
class Arena:
    """Where buffers are.

    Attributes
    ----------
    offsets : dict of Buffer to int
    size : int
        Bytes of the whole.
    replaced : dict of Buffer to Buffer
        Buffers that took the memory of one that they replace, element by element.
    """

    offsets: dict[Buffer, int] = field(default_factory=dict)
    size: int = 0
    replaced: dict[Buffer, Buffer] = field(default_factory=dict)


def rounded(nbytes: int) -> int:
    """The bytes that a buffer takes."""
    return -(-nbytes // ALIGNMENT) * ALIGNMENT


def arena(spans: Iterable[Span]) -> Arena:
    """Places for buffers, of which those that are needed at the same time do not overlap.

    Step by step: what the step writes takes over the memory of an input that dies there, or the smallest free part
    that it fits in, or what is beyond the end; after the step what was needed for the last time is free.
    """
    ordered = sorted(spans, key=lambda span: span.first)
    made, free = Arena(), Free()
    ends = sorted({span.last for span in ordered})
    dying: dict[int, list[Span]] = {end: [] for end in ends}
    last: Mapping[Buffer, int] = {span.buffer: span.last for span in ordered}
    sizes: dict[Buffer, int] = {}  # of the part that a buffer owns; what was taken over is no longer its own
    at = 0
    for span in ordered:
        while at < len(ends) and ends[at] < span.first:
            _release(dying[ends[at]], made, sizes, free)
            at += 1
        size = rounded(span.buffer.nbytes)
        taken = next((b for b in span.over if last.get(b) == span.first and sizes.get(b, -1) >= size), None)
        if taken is not None:
            made.offsets[span.buffer], sizes[span.buffer] = made.offsets[taken], sizes.pop(taken)
            made.replaced[span.buffer] = taken
        else:
            made.offsets[span.buffer], sizes[span.buffer] = free.take(size), size
        dying[span.last].append(span)
    made.size = free.end
    return made


def _release(spans: Sequence[Span], made: Arena, sizes: dict[Buffer, int], free: Free) -> None:
    for span in spans:
        size = sizes.pop(span.buffer, 0)
        if size:
            free.give(made.offsets[span.buffer], size)


class Free:
    """The parts of a stretch of memory that nobody has, by their places."""

    def __init__(self) -> None:
        self.parts: list[tuple[int, int]] = []  # offset and size, ascending, never side by side
        self.end = 0

    def take(self, size: int) -> int:
        """The offset of so many bytes: in the smallest part that they fit in."""
        if not size:
            return 0
        best = None
        for part in self.parts:
            if part[1] >= size and (best is None or part[1] < best[1]):
                best = part
        if best is None:
            offset = self.end
            if self.parts and sum(self.parts[-1]) == self.end:  # the last part grows
                offset = self.parts.pop()[0]
            self.end = offset + size
            return offset
        self.parts.remove(best)
        if best[1] > size:
            bisect.insort(self.parts, (best[0] + size, best[1] - size))
        return best[0]

    def give(self, offset: int, size: int) -> None:
        """Take back what was had."""
        at = bisect.bisect(self.parts, (offset, size))
        if at < len(self.parts) and offset + size == self.parts[at][0]:
            size += self.parts.pop(at)[1]
        if at and sum(self.parts[at - 1]) == offset:
            before = self.parts.pop(at - 1)
            offset, size, at = before[0], before[1] + size, at - 1
        self.parts.insert(at, (offset, size))
