"""Configurations as TOML: sections whose keys are taken one by one, with errors that name file, line and key.

A file is data: nothing in it is imported or executed. Whoever reads a section takes the keys it knows, each with the
kind of value it expects, and closes it; a key that nobody took is an error that names the nearest that there is.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

from tensorgraph.arguments import PathLike, Unfit, kind_of
from tensorgraph.arguments.near import near
from tensorgraph.commands.errors import CommandError
from tensorgraph.commands.toml_lines import lines_of

__all__ = ["REQUIRED", "Section", "read_config"]

REQUIRED: Any = object()
MOST_BYTES = 1 << 20  # a configuration is written by hand; what is larger is another file


def read_config(path: PathLike) -> Section:
    """The top section of a TOML file.

    Raises
    ------
    CommandError
        Where the file is not TOML, with line and column; or much too large.
    FileNotFoundError
        If there is no such file.
    """
    name = os.fspath(path)
    with open(path, "rb") as file:
        raw = file.read(MOST_BYTES + 1)
    if len(raw) > MOST_BYTES:
        raise CommandError(f"{name} is larger than {MOST_BYTES:,} bytes: it is no configuration")
    try:
        text = raw.decode("utf-8-sig").replace("\r\n", "\n")
        values = tomllib.loads(text)
        return Section(name, values, lines_of(text))
    except UnicodeDecodeError as error:
        raise CommandError(f"{name} is not UTF-8 ({error}): TOML is written in it") from None
    except tomllib.TOMLDecodeError as error:
        raise CommandError(f"{name}: {error}; strings are in quotes, a key stands once") from None
    except RecursionError:
        raise CommandError(f"{name} is nested too deep") from None


class Section:
    """A table of a TOML file, whose keys are taken one by one.

    Parameters
    ----------
    file : str
        For messages, and for the paths in it, which are relative to its folder.
    values : dict
    lines : dict
        The line of each path in the file; see `lines_of`.
    path : tuple
        Of this table.
    """

    def __init__(
        self, file: str, values: dict[str, Any], lines: dict[tuple[str | int, ...], int],
        path: tuple[str | int, ...] = (),
    ) -> None:  # fmt: skip
        self.file, self.values, self.lines, self.path = file, values, lines, path
        self.asked: list[str] = []
        self.sections: list[Section] = []

    def __contains__(self, key: str) -> bool:
        return key in self.values

    def __iter__(self) -> Iterator[str]:
        """The keys, in the order of the file."""
        return iter(self.values)

    def take(self, key: str, kind: Any, default: Any = REQUIRED) -> Any:
        """The value of a key, held to a kind as arguments are: an annotation such as ``Count`` or ``float | str``.

        Raises
        ------
        CommandError
            Where it is of another kind, or missing and has no default.
        """
        self._ask(key)
        if key not in self.values:
            return self._missing(key, default)
        try:
            return kind_of(kind)(self.values[key])
        except Unfit as unfit:
            self.refuse(key, unfit.sentence(self.told(key)))

    def choose(self, key: str, options: Sequence[str], default: Any = REQUIRED) -> Any:
        """The value of a key that is one of several words."""
        value = self.take(key, str, default)
        if key in self.values and value not in options:
            meant = near(value, options)
            hint = f"did you mean {meant!r}?" if meant else f"there are {', '.join(options)}"
            self.refuse(key, f"{self.told(key)} is {value!r}; {hint}")
        return value

    def file_of(self, key: str, default: Any = REQUIRED) -> Path | None:
        """The value of a key that is a file or a folder, relative to the folder of the configuration."""
        value = self.take(key, PathLike, default)
        return None if value is None else Path(self.file).parent / value

    def section(self, key: str, default: Any = REQUIRED) -> Section:
        """A table in this one; an empty one where it is missing and need not be there."""
        self._ask(key)
        if key not in self.values:
            values = self._missing(key, default) or {}
        else:
            values = self.values[key]
            if not isinstance(values, dict):
                self.refuse(key, f"{self.told(key)} must be a table, [{self.told(key)}], got {values!r}")
        found = Section(self.file, values, self.lines, (*self.path, key))
        self.sections.append(found)
        return found

    def rest(self) -> dict[str, Any]:
        """What nobody has taken, now taken: for keys whose names are the user's own."""
        left = {key: value for key, value in self.values.items() if key not in self.asked}
        self.asked += left
        return left

    def close(self) -> None:
        """Refuse keys that nobody took, here and in the tables taken."""
        for key in self.values:
            if key not in self.asked:
                meant = near(key, self.asked)
                hint = f"did you mean {meant!r}?" if meant else f"there are {', '.join(self.asked) or 'none'}"
                where = f"[{'.'.join(map(str, self.path))}]" if self.path else "the file"
                self.refuse(key, f"{where} has no key {key!r}; {hint}")
        for section in self.sections:
            section.close()

    def told(self, key: str) -> str:
        """A key by its whole name."""
        return ".".join(map(str, (*self.path, key)))

    def refuse(self, key: str, message: str) -> NoReturn:
        """Raise an error at the line of a key."""
        raise CommandError(f"{self.place(key)}: {message}")

    def place(self, key: str | None = None) -> str:
        """File and line of a key, of this table without one, or of the nearest table around it that there is."""
        path = self.path if key is None else (*self.path, key)
        while path and path not in self.lines:
            path = path[:-1]
        return f"{self.file}, line {self.lines[path]}" if path else self.file

    def _ask(self, key: str) -> None:
        if key not in self.asked:
            self.asked.append(key)

    def _missing(self, key: str, default: Any) -> Any:
        if default is REQUIRED:
            close = next((own for own in self.values if own not in self.asked and near(own, [key])), None)
            written = f"{key} = ..." if self.path else f"the table [{key}]"
            hint = f": {close!r} stands there; did you mean {key!r}?" if close else f": write {written}"
            what = f"[{'.'.join(map(str, self.path))}] needs the key {key!r}" if self.path else f"[{key}] is missing"
            raise CommandError(f"{self.place(close)}: {what}{hint}")
        return default
