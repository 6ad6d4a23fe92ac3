"""Where the keys of a TOML file stand: `tomllib` reads values and forgets their lines.

The plan: the text is known to be TOML, for `tomllib` has read it. A scanner goes over it once, value by value: strings
of the four kinds are skipped whole, arrays and inline tables are entered, table headers change the path that keys are
under. Each key, and each element of an array, is written down with the line on which it begins. What this scanner does
not need to know, numbers and dates, is whatever stands up to the next comma, bracket, comment or end of the line.
"""

from __future__ import annotations

import bisect
import tomllib
from typing import TypeAlias

__all__ = ["Path", "lines_of"]

Path: TypeAlias = tuple[str | int, ...]

BLANK = " \t"
LINES = " \t\r\n"


def lines_of(text: str) -> dict[Path, int]:
    """The line, from 1, of every key, table and array element of a TOML text, by its path.

    Parameters
    ----------
    text : str
        TOML that `tomllib.loads` takes.

    Examples
    --------
    >>> lines_of("[model]\\nfile = 'a'\\n[[run]]\\nsizes = [1,\\n  2]\\n")[("run", 0, "sizes", 1)]
    5
    """
    return _Scanner(text).document()


class _Scanner:
    """One pass over a text; `at` is where it has come to."""

    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0
        self.starts = [0, *(i + 1 for i, letter in enumerate(text) if letter == "\n")]
        self.found: dict[Path, int] = {}
        self.counts: dict[Path, int] = {}  # of tables in an array of tables

    def line(self) -> int:
        return bisect.bisect_right(self.starts, self.at)

    def skip(self, letters: str) -> None:
        """Go on over these letters, and over comments where they may end a line."""
        while self.at < len(self.text):
            if self.text[self.at] in letters:
                self.at += 1
            elif self.text[self.at] == "#" and "\n" in letters:
                end = self.text.find("\n", self.at)
                self.at = len(self.text) if end < 0 else end
            else:
                return

    def document(self) -> dict[Path, int]:
        table: Path = ()
        while True:
            self.skip(LINES)
            if self.at >= len(self.text):
                return self.found
            if self.text[self.at] == "[":
                table = self.header()
            else:
                self.pair(table)

    def header(self) -> Path:
        """``[a.b]`` or ``[[a.b]]``; gives the path that the keys after it are under."""
        line, several = self.line(), self.text.startswith("[[", self.at)
        self.at += 1 + several
        names = self.key()
        self.at += 1 + several
        path: Path = ()
        for i, name in enumerate(names):
            path = (*path, name)
            last = i == len(names) - 1
            if last and several:
                self.found.setdefault(path, line)
                self.counts[path] = self.counts.get(path, -1) + 1
            else:
                self.found.setdefault(path, line)
            if path in self.counts:  # what follows is in the newest table of the array
                path = (*path, self.counts[path])
                self.found.setdefault(path, line)
        return path

    def key(self) -> list[str]:
        """A dotted key's parts."""
        parts = []
        while True:
            self.skip(BLANK)
            start = self.at
            if self.text[self.at] in "\"'":
                self.string()
                parts.append(str(tomllib.loads(f"k = {self.text[start : self.at]}")["k"]))
            else:
                while self.text[self.at] not in " \t.=]":
                    self.at += 1
                parts.append(self.text[start : self.at])
            self.skip(BLANK)
            if self.text[self.at] != ".":
                return parts
            self.at += 1

    def pair(self, table: Path) -> None:
        """``key = value``"""
        line = self.line()
        path = table
        for name in self.key():
            path = (*path, name)
            self.found.setdefault(path, line)
        self.at += 1  # the sign of equality
        self.skip(BLANK)
        self.value(path)

    def value(self, path: Path) -> None:
        letter = self.text[self.at]
        if letter in "\"'":
            self.string()
        elif letter == "[":
            self.at += 1
            self.elements(path, "]")
        elif letter == "{":
            self.at += 1
            self.elements(path, "}")
        else:
            while self.at < len(self.text) and self.text[self.at] not in ",]}#\n":
                self.at += 1

    def elements(self, path: Path, end: str) -> None:
        """What an array or an inline table holds, up to its end."""
        number = 0
        while True:
            self.skip(LINES + ",")
            if self.text[self.at] == end:
                self.at += 1
                return
            if end == "}":
                self.pair(path)
            else:
                self.found[(*path, number)] = self.line()
                self.value((*path, number))
                number += 1

    def string(self) -> None:
        """Skip a string of any of the four kinds."""
        quote = self.text[self.at]
        long = self.text.startswith(quote * 3, self.at)
        mark = quote * 3 if long else quote
        self.at += len(mark)
        while not self.text.startswith(mark, self.at):
            self.at += 2 if quote == '"' and self.text[self.at] == "\\" else 1
        self.at += len(mark)
        while long and self.text.startswith(quote, self.at):  # up to two quotes may stand before the closing three
            self.at += 1
