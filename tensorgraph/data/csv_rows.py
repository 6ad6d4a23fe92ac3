"""CSV tables that stay in their file: an index of where each row begins, and rows parsed when they are asked for."""

from __future__ import annotations

import codecs
import io
import itertools
import os
from array import array
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np

from tensorgraph.arguments import ClassNames, Name, PathLike, checked
from tensorgraph.data.arrays import BLOCK, Array, float_dtype
from tensorgraph.data.dataset import Dataset
from tensorgraph.data.rows import Rows
from tensorgraph.data.tables import Columns, Table, begin, check_form, reader_of, rows_of
from tensorgraph.engine.aval import FloatDType
from tensorgraph.files import FileFormatError

__all__ = ["CsvRows", "open_csv"]

# in these a row's bytes mean nothing without those before it
SHIFTING = ("utf_7", "hz", "iso2022")


@checked
def open_csv(
    path: PathLike,
    *,
    label: str | int | None = None,
    header: bool | Literal["auto"] = "auto",
    drop: Collection[str | int] = (),
    class_names: ClassNames | None = None,
    missing: Literal["raise", "nan"] = "raise",
    delimiter: str = ",",
    encoding: Name = "utf-8-sig",
    dtype: FloatDType | None = None,
) -> Dataset:
    """Open a table of numbers that may be larger than memory: read once now, and by batches afterwards.

    The file is gone through once. Every value is looked at, so that what is wrong is told now, by line and column;
    what is kept is where each row begins and its label, at most 40 bytes a row. Rows are parsed again when a batch or a
    block asks for them, in any order: shuffling is the full permutation that it is for arrays, and training gives the
    bits that it gives on `read_csv` of the same file.

    Parameters
    ----------
    path, label, header, drop, class_names, missing, delimiter, dtype
        As for `read_csv`.
    encoding : str
        As for `read_csv`, of those in which a line can be read by itself: not UTF-16, for example.

    Returns
    -------
    Dataset
        `x` reads rows from the file, ``x[:10]`` as an array; `y` is an array.

    Raises
    ------
    FileNotFoundError, FileFormatError, ValueError
        As `read_csv`; and where a batch is read, if the file is another by then.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> from tensorgraph.data import open_csv
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = pathlib.Path(folder.name, "flowers.csv")
    >>> _ = path.write_text("length,width,kind\\n5.1,3.5,rose\\n4.9,3.0,lily\\n")
    >>> data = open_csv(path, label="kind")
    >>> data
    Dataset(flowers, 2 samples, x: float32[2, 2], y: int64[2], 2 classes)
    >>> data.x[[1, 0]]
    array([[4.9, 3. ],
           [5.1, 3.5]], dtype=float32)
    >>> folder.cleanup()
    """
    where = repr(os.fspath(path))
    check_form(delimiter, encoding, class_names)
    form = _row_encoding(encoding)
    with open(path, "rb") as file:
        before = _identity(file)
        records = _Records(_Lines(file, form, encoding), delimiter)
        rows = rows_of(records, where)
        table, first = begin(rows, where, label, header, drop, missing, class_names, float_dtype(dtype))
        columns, starts, finite = table.columns, array("q"), True
        block = max(1, BLOCK // len(columns.features))
        for line, row in itertools.chain(first, rows):
            table.add(line, row)
            starts.append(records.start)
            if len(table.lines) == block:
                finite = bool(np.isfinite(table.take()).all()) and finite
        finite = bool(np.isfinite(table.take()).all()) and finite
        starts.append(records.lines.at)
    x = CsvRows(path, columns, np.array(starts), float_dtype(dtype), form, delimiter, before, finite)
    return table.dataset(x, Path(path).stem)


def _row_encoding(encoding: str) -> str:
    """The encoding of a row by itself."""
    name = codecs.lookup(encoding).name.replace("-", "_")
    if name == "utf_8_sig":
        return "utf-8"
    try:
        apart = "a\n".encode(encoding) == b"a\n"
    except (UnicodeError, LookupError, TypeError):
        apart = False
    if not apart or name.startswith(SHIFTING):
        raise ValueError(
            f"encoding {encoding!r} is none in which a line can be read by itself: convert the file to UTF-8, or use "
            "read_csv"
        )
    return encoding


def _identity(file: Any) -> tuple[int, int]:
    """By what a file that was changed is known: size and time."""
    status = os.fstat(file.fileno())
    return status.st_size, status.st_mtime_ns


class _Lines:
    """The lines of a file as text; `at` is the byte after those given out."""

    def __init__(self, file: BinaryIO, form: str, encoding: str) -> None:
        self.file, self.form, self.at = file, form, 0
        if codecs.lookup(encoding).name == "utf-8-sig" and file.read(3) == codecs.BOM_UTF8:
            self.at = 3
        file.seek(self.at)

    def __iter__(self) -> Iterator[str]:
        for raw in self.file:
            self.at += len(raw)
            yield raw.decode(self.form)


class _Records:
    """A reader of CSV that knows at which byte the last record began."""

    def __init__(self, lines: _Lines, delimiter: str) -> None:
        self.lines, self.start = lines, lines.at
        self._reader = reader_of(iter(lines), delimiter)

    @property
    def line_num(self) -> int:
        return int(self._reader.line_num)

    def __iter__(self) -> _Records:
        return self

    def __next__(self) -> Any:
        self.start = self.lines.at  # lines are asked for one by one, as many as the record has
        return next(self._reader)


class CsvRows(Rows):
    """The features of a table in a file; see `open_csv`."""

    def __init__(
        self, path: Any, columns: Columns, starts: Array, dtype: np.dtype[Any], encoding: str, delimiter: str,
        identity: tuple[int, int], finite: bool,
    ) -> None:  # fmt: skip
        self._path, self._columns, self._starts = os.path.abspath(path), columns, starts
        self._encoding, self._delimiter, self._identity = encoding, delimiter, identity
        self.shape, self.dtype, self.finite = (len(starts) - 1, len(columns.features)), dtype, finite

    def read(self, rows: Array) -> Array:
        if len(rows) == 0:
            return np.empty((0, self.shape[1]), self.dtype)
        # in the order of the file, each once, neighbours in one piece
        wanted, back = np.unique(rows, return_inverse=True)
        cuts = np.flatnonzero(np.diff(wanted) != 1) + 1
        where = repr(self._path)
        with open(self._path, "rb") as file:
            if _identity(file) != self._identity:
                raise FileFormatError(f"{where} was changed after it was opened; open it again")
            pieces = []
            for run in np.split(wanted, cuts):
                start, stop = int(self._starts[run[0]]), int(self._starts[run[-1] + 1])
                file.seek(start)
                piece = file.read(stop - start)
                pieces.append(piece if piece.endswith(b"\n") else piece + b"\n")  # the last line may have none
        text = io.StringIO(b"".join(pieces).decode(self._encoding), newline="")
        table = Table(where, self._columns.without_label(), "nan", None, self.dtype)
        for line, row in rows_of(reader_of(text, self._delimiter), where):
            table.add(line, row)
        found: Array = table.take()[back]
        return found
