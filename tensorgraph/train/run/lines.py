"""JSON lines: a log that is written whole lines at a time, and read also while it grows.

A line that a kill cut in two is the last one and has no end: nobody reads it, and the writer that goes on cuts it off.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from tensorgraph.files import FileFormatError
from tensorgraph.train.run.folder import Folder, append_whole, open_own, telling

__all__ = ["EventReader", "LineReader", "LineWriter", "as_line", "lines_with"]

Record = dict[str, Any]
LINGER = 0.1  # seconds for which lines may wait to be written together


def _plain(value: Any) -> Any:
    """What JSON can say: nan and infinities, which it cannot, become null, NumPy's scalars numbers."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def as_line(record: Record) -> bytes:
    """A record as a line of JSON that every reader of JSON takes."""
    try:
        text = json.dumps(record, separators=(",", ":"), allow_nan=False)
    except (ValueError, TypeError):
        text = json.dumps(_plain(record), separators=(",", ":"), allow_nan=False)
    return (text + "\n").encode()


def whole_end(handle: int) -> int:
    """Where the last whole line of a file ends."""
    end = os.fstat(handle).st_size
    while end:
        start = max(0, end - 4096)
        found = os.pread(handle, end - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


def lines_with(path: Path, events: Iterable[str]) -> list[Record]:
    """The events of these kinds, of a log in which each line says its event first: the others are not parsed."""
    marks = tuple(f'{{"event":"{event}"'.encode() for event in events)
    try:
        with open(path, "rb") as file:
            return [json.loads(line) for line in file if line.startswith(marks) and line.endswith(b"\n")]
    except (FileNotFoundError, NotADirectoryError):
        return []


class LineWriter:
    """Appends records to a file.

    Parameters
    ----------
    path : Path
        Made for its owner alone where it is not there. What follows its last line end is cut off.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with telling(path):
            self._handle = open_own(path, os.O_APPEND)
        self._cut()
        self._waiting: list[bytes] = []
        self._next = 0.0

    def _cut(self) -> None:
        end = whole_end(self._handle)
        if end < os.fstat(self._handle).st_size:
            with telling(self.path):
                os.ftruncate(self._handle, end)

    def add(self, record: Record) -> None:
        """Append a record soon: together with others, in a tenth of a second at most where records keep coming."""
        self._waiting.append(as_line(record))
        now = time.monotonic()
        if now >= self._next:
            self.flush()
            self._next = now + LINGER

    def flush(self, *, sync: bool = False) -> None:
        """Write what waits; `sync`: onto the disk, so that a power cut does not lose it."""
        with telling(self.path):
            if self._waiting:
                append_whole(self._handle, b"".join(self._waiting))
                self._waiting = []
            if sync:
                os.fsync(self._handle)

    def close(self) -> None:
        """Write what waits and close the file."""
        try:
            self.flush()
        finally:
            os.close(self._handle)


class LineReader:
    """Reads records from a file that others append to.

    Parameters
    ----------
    path : Path
        It need not exist yet.
    lenient : bool
        Whether whole lines that are no JSON objects are passed over, as in a file that anybody appends to, or told.
    """

    def __init__(self, path: Path, *, lenient: bool = False) -> None:
        self.path, self.lenient = path, lenient
        self.offset = 0  # of the first byte that was not read
        self._line = 0
        self._file: tuple[int, int] | None = None  # which one was read

    def skip(self) -> None:
        """Pass over what is there, but for a line without its end."""
        with suppress(FileNotFoundError, NotADirectoryError), open(self.path, "rb") as file:
            self.offset = whole_end(file.fileno())

    def goes_on(self) -> bool:
        """Whether what was read is still the beginning of the file, and not of another that has taken its place."""
        try:
            found = os.stat(self.path)
        except (FileNotFoundError, NotADirectoryError):
            return self.offset == 0
        return self._file in (None, (found.st_dev, found.st_ino)) and found.st_size >= self.offset

    def new(self) -> list[Record]:
        """The records that were appended since the last call.

        Raises
        ------
        FileFormatError
            If a whole line is no JSON object.
        """
        try:
            if os.stat(self.path).st_size == self.offset:
                return []
            with open(self.path, "rb") as file:
                found = os.fstat(file.fileno())
                if found.st_size < self.offset:  # a torn line was cut off, or the file is another
                    return []
                self._file = found.st_dev, found.st_ino
                file.seek(self.offset)
                data = file.read()
        except (FileNotFoundError, NotADirectoryError):
            return []
        whole, end, _ = data.rpartition(b"\n")
        before = self._line
        try:
            records = [record for line in (whole + end).splitlines() if (record := self._record(line)) is not None]
        except FileFormatError:  # each time that it is asked
            self._line = before
            raise
        self.offset += len(whole) + len(end)
        return records

    def _record(self, line: bytes) -> Record | None:
        self._line += 1
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            record = None
        if isinstance(record, dict):
            return record
        if self.lenient or not line.strip():
            return None
        raise FileFormatError(
            f"{str(self.path)!r}, line {self._line}, is damaged: it is no JSON object; restore it from a copy"
        )


class EventReader(LineReader):
    """Reads the events of a run; none of one of a newer version, whose events may mean something else.

    Parameters
    ----------
    folder : Folder
        No run need be begun there yet.
    """

    def __init__(self, folder: Folder) -> None:
        super().__init__(folder.events)
        self._folder, self._known = folder, False

    def new(self) -> list[Record]:
        """The events that were told since the last call.

        Raises
        ------
        FileFormatError
            If the run is of a newer version, or a line or what describes the run is damaged.
        """
        self._known = self._known or self._folder.read() is not None
        return super().new()
