"""What is wrong with a text, and where."""

from __future__ import annotations

from collections.abc import Iterable

from tensorgraph.arguments.near import near

__all__ = ["ParseError", "nearest"]


class ParseError(ValueError):
    """A text that is no graph.

    Attributes
    ----------
    message : str
        What was expected, what came, and the remedy.
    file : str
    line, column : int
        Counted from 1.
    text : str
        The offending line.
    calls : list of (str, int, str)
        The calls around it, from the inside out: what was called, and the line and the file from which.
    others : list of ParseError
        What else is wrong in the function that was called, where all that is wrong is asked for.
    behind : tuple of int or None
        Line and offset at which the call ends in which it went wrong; None where that is no call.
    """

    def __init__(self, message: str, line: int = 1, column: int = 1, text: str = "", file: str = "<text>") -> None:
        if len(message) > LONGEST:
            message = f"{message[: LONGEST // 2]} ... {message[-LONGEST // 2 :]}"
        self.message = message
        self.file = file
        self.line = line
        self.column = column
        self.text = text
        self.follows = False  # from an error above it, of which it says nothing new
        self.calls: list[tuple[str, int, str]] = []
        self.others: list[ParseError] = []
        self.behind: tuple[int, int] | None = None
        super().__init__(self._said())

    def inside(self, what: str, line: int, file: str) -> None:
        """Say from where the function was called in which it went wrong."""
        self.calls.append((what, line, file))
        self.args = (self._said(),)

    def _said(self) -> str:
        shown = f"\n    {_cut(self.text, self.column)}" if self.text.strip() else ""
        said = [
            f"\nin {what}, line {line}{'' if file == self.file else f' of {file}'}" for what, line, file in self.calls
        ]
        if len(said) > MOST_CALLS:
            said[MOST_CALLS // 2 : -MOST_CALLS // 2] = [f"\n... {len(said) - MOST_CALLS} calls more"]
        return f"{self.file}, line {self.line}, column {self.column}: {self.message}{shown}{''.join(said)}"


WIDTH = 160
MOST_CALLS = 12  # that are told of
LONGEST = 2_000


def _cut(text: str, column: int) -> str:
    """The line and a caret under the column; of a very long line, what stands around the column."""
    text = text.rstrip().replace("\t", " ")
    start = 0 if len(text) <= WIDTH else max(0, min(column - 1 - WIDTH // 2, len(text) - WIDTH))
    shown = "".join(c if c.isprintable() else "?" for c in text[start : start + WIDTH])
    return f"{shown}\n    {' ' * max(column - 1 - start, 0)}^"


def nearest(name: str, known: Iterable[str], what: str = "did you mean") -> str:
    """``"; did you mean 'relu'?"``, or nothing where nothing is near."""
    close = near(name, known)
    return f"; {what} {close!r}?" if close else ""
