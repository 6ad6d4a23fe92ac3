"""CSV tables of numbers, with a column of labels if there is one."""

from __future__ import annotations

import codecs
import copy
import csv
import itertools
import math
import os
from array import array
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tensorgraph.arguments import ClassNames, Name, PathLike, checked
from tensorgraph.data.arrays import Array, float_dtype
from tensorgraph.data.dataset import Dataset
from tensorgraph.engine.aval import FloatDType
from tensorgraph.files import FileFormatError

__all__ = ["read_csv"]

# how tables write that a value is not there (compared in lower case)
MISSING = frozenset({"", "na", "n/a", "#n/a", "nan", "null", "none", "?"})
INT64 = np.iinfo(np.int64)
MOST_TEXTS = 100_000  # different labels, beyond which numbers are not kept as text beside


@checked
def read_csv(
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
    """Read a table of numbers, one sample a line, with a column of labels if there is one.

    Parameters
    ----------
    path : path-like
        The file.
    label : str or int, optional
        The column of labels, by its name or by its position (−1 is the last). Whole numbers become int64, other
        numbers floats; anything else is text, which becomes int64 codes and `class_names`.
    header : bool or "auto"
        Whether the first line holds the columns' names. "auto": it does if none of its fields is a number or a mark
        for a missing value (the first field may be empty).
    drop : sequence of str or int
        Columns to leave out, such as an identifier.
    class_names : sequence of str, optional
        The text labels in the order of their codes; sorted, unless given. Labels are then always read as text.
    missing : {"raise", "nan"}
        What to do with a feature that is empty or one of NA, N/A, NaN, null, None, ?. A label must always be there.
    delimiter, encoding : str
        How the file is written.
    dtype : float dtype, optional
        Of the features; the library's default dtype unless given.

    Returns
    -------
    Dataset
        `x` of shape (N, features), and `y` of shape (N,) if there is a label column.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    FileFormatError
        If lines differ in length, a value is missing or no number, a quote is not closed, or there is no data; the
        message gives line and column.
    ValueError
        If a column asked for is not there.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> from tensorgraph.data import read_csv
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "flowers.csv")
    ...     _ = path.write_text("length,width,kind\\n5.1,3.5,rose\\n4.9,3.0,lily\\n")
    ...     data = read_csv(path, label="kind")
    >>> data
    Dataset(flowers, 2 samples, x: float32[2, 2], y: int64[2], 2 classes)
    >>> data.class_names, data.y
    (('lily', 'rose'), array([1, 0]))
    """
    where = repr(os.fspath(path))
    check_form(delimiter, encoding, class_names)
    with open(path, encoding=encoding, newline="") as file:
        rows = rows_of(reader_of(file, delimiter), where)
        table, first = begin(rows, where, label, header, drop, missing, class_names, float_dtype(dtype))
        for line, row in itertools.chain(first, rows):
            table.add(line, row)
    return table.dataset(table.take(), Path(path).stem)


def check_form(delimiter: str, encoding: str, class_names: ClassNames | None) -> None:
    """Refuse what no table is written in."""
    if len(delimiter) != 1:
        raise ValueError(f"delimiter must be one character, got {delimiter!r}")
    try:
        codecs.lookup(encoding)
    except (LookupError, ValueError):  # which a null character is
        raise ValueError(f"encoding must be a name that Python knows, such as 'utf-8', got {encoding!r}") from None
    if class_names is not None and len(set(class_names)) < len(class_names):
        raise ValueError(f"class_names is a sequence of different strings, got {class_names!r}")


def reader_of(lines: Iterable[str], delimiter: str) -> Any:
    """The fields of each line."""
    return csv.reader(lines, delimiter=delimiter, strict=True, skipinitialspace=True)


def begin(
    rows: Iterator[tuple[int, list[str]]], where: str, label: str | int | None, header: bool | str,
    drop: Collection[str | int], missing: str, class_names: ClassNames | None, dtype: np.dtype[Any],
) -> tuple[Table, list[tuple[int, list[str]]]]:  # fmt: skip
    """An empty table from the first line; and that line, unless it holds the columns' names."""
    line, first = next(rows, (0, []))
    if not first:
        raise FileFormatError(f"{where} is empty; a table has at least one line of numbers")
    named = is_header(first) if header == "auto" else header
    columns = Columns(where, first if named else None, len(first), label, drop)
    return Table(where, columns, missing, class_names, dtype), [] if named else [(line, first)]


def rows_of(reader: Any, where: str) -> Iterator[tuple[int, list[str]]]:
    """The lines that are not blank, their fields without surrounding blanks, with their numbers."""
    try:
        for row in reader:
            fields = [field.strip() for field in row]
            if any(fields) or len(fields) > 1:
                yield reader.line_num, fields
    except csv.Error as error:
        raise FileFormatError(
            f"{where}, line {reader.line_num}: {error}; check the quotes and the delimiter"
        ) from error
    except UnicodeError as error:
        raise FileFormatError(
            f"{where}, after line {reader.line_num}: {error}; pass encoding=, or unpack the file if it is compressed"
        ) from error


def is_header(row: Sequence[str]) -> bool:
    """Whether a line reads as names: no field is a number, and none is missing but the first."""
    named = [field for i, field in enumerate(row) if i or field]
    return bool(named) and all(number_of(field) is None and field.lower() not in MISSING for field in named)


def number_of(field: str) -> float | None:
    """The number that a field says, or None. Python's underscores are no part of a table's numbers."""
    if "_" in field:
        return None
    try:
        return float(field)
    except ValueError:
        return None


class Columns:
    """Which column is the label, which are features, and what they are called."""

    def __init__(
        self, where: str, names: Sequence[str] | None, width: int, label: str | int | None, drop: Collection[str | int]
    ) -> None:
        self.where, self.names, self.width = where, names, width
        self.label = None if label is None else self._position(label)
        dropped = {self._position(column) for column in drop}
        if self.label in dropped:
            raise ValueError(f"column {label!r} is both the label and dropped; choose one")
        self.features = [i for i in range(width) if i != self.label and i not in dropped]
        if not self.features:
            raise FileFormatError(f"{where} has no column of features: its {width} columns are label or dropped")

    def _position(self, column: str | int) -> int:
        known = f"{self.width} columns" if self.names is None else f"the columns {', '.join(map(repr, self.names))}"
        if isinstance(column, str):
            if self.names is None:
                raise ValueError(
                    f"{self.where} has no header line to look {column!r} up in; pass a position, or header=True"
                )
            if column not in self.names:
                raise ValueError(f"{self.where} has no column {column!r}; it has {known}")
            if self.names.count(column) > 1:
                raise ValueError(f"{self.where} has several columns {column!r}; pass a position, counted from 0")
            return self.names.index(column)
        if isinstance(column, bool) or not hasattr(column, "__index__"):
            raise TypeError(f"a column is a name or a position, got {column!r}")
        if not -self.width <= column < self.width:
            raise ValueError(f"{self.where} has no column {column}; it has {known}, counted from 0")
        return column % self.width

    def without_label(self) -> Columns:
        """The same features, of a table whose labels are known already."""
        made = copy.copy(self)
        made.label = None
        return made

    def told(self, i: int) -> str:
        """A column as a message names it: counted from 1, as editors do, and by name."""
        return f"column {i + 1}" + (f" ({self.names[i]!r})" if self.names is not None else "")


class Table:
    """The values read so far, eight bytes each."""

    def __init__(
        self, where: str, columns: Columns, missing: str, class_names: ClassNames | None, dtype: np.dtype[Any]
    ) -> None:
        self.where, self.columns, self.missing, self.dtype = where, columns, missing, dtype
        self.values = array("d")
        self.labels = Labels(where, class_names)
        self.lines = array("q")

    def add(self, line: int, row: list[str]) -> None:
        columns = self.columns
        if len(row) != columns.width:
            raise FileFormatError(
                f"{self.where}, line {line}: {len(row)} fields, expected {columns.width} as in the first line; "
                "check the delimiter and the quotes"
            )
        for i in columns.features:
            self.values.append(self._value(line, i, row[i]))
        if columns.label is not None:
            text = row[columns.label]
            if text.lower() in MISSING:
                raise FileFormatError(
                    f"{self.where}, line {line}, {columns.told(columns.label)}: the label is missing ({text!r}); "
                    "fill it in or remove the line"
                )
            self.labels.add(line, text)
        self.lines.append(line)

    def _value(self, line: int, i: int, text: str) -> float:
        if text.lower() in MISSING:
            if self.missing == "nan":
                return math.nan
            raise FileFormatError(
                f"{self.where}, line {line}, {self.columns.told(i)}: the value is missing ({text!r}); fill it in, "
                "remove the line, or pass missing='nan'"
            )
        value = number_of(text)
        if value is None:
            hint = "" if self.columns.label is not None else "; if this is the label, pass label="
            if not self.lines and self.columns.names is None:
                hint += "; if this line holds the columns' names, pass header=True"
            raise FileFormatError(
                f"{self.where}, line {line}, {self.columns.told(i)}: expected a number, got {text[:40]!r}{hint}; "
                "a column of text can be left out with drop="
            )
        if math.isinf(value) and "inf" not in text.lower():
            raise FileFormatError(f"{self.where}, line {line}, {self.columns.told(i)}: {text[:40]!r} is beyond float64")
        return value

    def take(self) -> Array:
        """The features read since the last time, of shape (rows, features), which are then forgotten."""
        columns = self.columns
        wide = np.array(self.values).reshape(len(self.lines), len(columns.features))
        with np.errstate(over="ignore"):
            x = wide.astype(self.dtype)
        beyond = np.argwhere(np.isinf(x) & ~np.isinf(wide))
        if len(beyond):
            row, i = beyond[0]
            told = columns.told(columns.features[i])
            raise FileFormatError(
                f"{self.where}, line {self.lines[row]}, {told}: {wide[row, i]} is beyond {self.dtype}; pass "
                "dtype='float64'"
            )
        self.values, self.lines = array("d"), array("q")
        return x

    def dataset(self, x: Any, name: str) -> Dataset:
        """The features with the labels and the names that were read."""
        columns = self.columns
        names = None if columns.names is None else tuple(columns.names[i] for i in columns.features)
        if len(x) == 0:
            raise FileFormatError(f"{self.where} has a header and no data; a table has at least one line of numbers")
        if columns.label is None:
            return Dataset(x, None, None, names, name)
        y, classes = self.labels.finish(self.dtype)
        return Dataset(x, y, classes, names, name)


class Labels:
    """A column of labels, read one by one: whole numbers, other numbers, or text of which the codes are kept."""

    def __init__(self, where: str, class_names: ClassNames | None) -> None:
        self.where, self.class_names = where, class_names
        self.texts: dict[str, int] | None = {text: code for code, text in enumerate(class_names or ())}
        self.codes, self.numbers, self.wholes = array("q"), array("d"), array("q")
        self.numeric = self.whole = class_names is None
        self.beyond: tuple[int, int] | None = None  # line and value of a whole number that is no int64

    def add(self, line: int, text: str) -> None:
        if self.class_names is not None:
            if text not in (codes := self.texts or {}):
                known = ", ".join(map(repr, self.class_names))
                raise FileFormatError(
                    f"{self.where}, line {line}: the label {text[:40]!r} is not among the class names {known}"
                )
            self.codes.append(codes[text])
            return
        if self.numeric:
            self._number(line, text)
        if self.texts is not None:
            self.codes.append(self.texts.setdefault(text, len(self.texts)))
            if len(self.texts) > MOST_TEXTS and self.numeric:  # they are no classes: their texts are not kept
                self.texts, self.codes = None, array("q")

    def _number(self, line: int, text: str) -> None:
        value = number_of(text)
        if value is None or not math.isfinite(value):
            if self.texts is None:
                raise FileFormatError(
                    f"{self.where}, line {line}: the label {text[:40]!r} is no number, and more than {MOST_TEXTS:,} "
                    "different numbers come before it; remove the line, or pass class_names= to read text"
                )
            self.numeric, self.numbers, self.wholes = False, array("d"), array("q")
            return
        self.numbers.append(value)
        if self.whole:
            try:
                whole = int(text)
            except ValueError:
                self.whole, self.wholes = False, array("q")
                return
            if not INT64.min <= whole <= INT64.max:
                self.beyond = self.beyond or (line, whole)
                whole = 0
            self.wholes.append(whole)

    def finish(self, dtype: np.dtype[Any]) -> tuple[Array, tuple[str, ...] | None]:
        """The labels, and the classes' names where they are text."""
        if self.class_names is not None:
            return np.array(self.codes), tuple(self.class_names)
        if not self.numeric:
            names = sorted(self.texts or {})
            place = {text: code for code, text in enumerate(names)}
            order = np.array([place[text] for text in self.texts or {}], np.int64)
            return order[np.array(self.codes)], tuple(names)
        if not self.whole:
            return np.array(self.numbers).astype(dtype), None
        if self.beyond is not None:
            line, value = self.beyond
            raise FileFormatError(
                f"{self.where}, line {line}: the label {value} is beyond int64; pass class_names= to read text"
            )
        return np.array(self.wholes), None
