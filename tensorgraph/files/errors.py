"""What can be wrong with a file, and with what reads it."""

from __future__ import annotations

__all__ = ["FileFormatError", "MissingExtraError"]


class FileFormatError(ValueError):
    """A file's content is not what its format asks for: damaged, cut off, of another format or version."""


class MissingExtraError(ImportError):
    """An optional dependency is not installed; the message names the extra that brings it."""
