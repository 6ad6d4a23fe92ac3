"""Errors as the command tells them: one line."""

from __future__ import annotations

from tensorgraph.text.errors import ParseError

__all__ = ["CommandError", "one_line"]


class CommandError(Exception):
    """What was asked for cannot be done; the message is one line for the user."""


def one_line(error: BaseException) -> str:
    """An error as one line; one that is not meant for users keeps its kind."""
    said = str(error.args[0] if isinstance(error, KeyError) and error.args else error)
    if isinstance(error, ParseError):
        said = f"{error.file}, line {error.line}, column {error.column}: {error.message}"
    text = " ".join(said.split())
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.strerror}: {str(error.filename)!r}"
    expected = CommandError | ValueError | TypeError | OSError | ImportError | RuntimeError
    return text if isinstance(error, expected) and text else f"{type(error).__name__}: {text}".removesuffix(": ")
