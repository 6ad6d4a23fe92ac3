"""Errors as the command tells them: one line."""

from __future__ import annotations

import errno

from tensorgraph.files.errors import REMEDIES
from tensorgraph.text.errors import ParseError

__all__ = ["CommandError", "one_line"]

WRITING = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # which reading does not meet


class CommandError(Exception):
    """What was asked for cannot be done; the message is one line for the user."""


def one_line(error: BaseException) -> str:
    """An error as one line; one that is not meant for users keeps its kind."""
    said = str(error.args[0] if isinstance(error, KeyError) and error.args else error)
    if isinstance(error, ParseError):
        said = f"{error.file}, line {error.line}, column {error.column}: {error.message}"
    text = " ".join(said.split())
    if isinstance(error, OSError) and error.strerror:
        where = "" if error.filename is None else f": {str(error.filename)!r}"
        remedy = f"; {REMEDIES[error.errno]}" if where and error.errno in WRITING else ""
        return " ".join(error.strerror.split()) + where + remedy
    expected = CommandError | ValueError | TypeError | OSError | ImportError | RuntimeError
    return text if isinstance(error, expected) and text else f"{type(error).__name__}: {text}".removesuffix(": ")
