"""What can be wrong with a file, and with what reads it."""

from __future__ import annotations

import errno

__all__ = ["REMEDIES", "FileFormatError", "MissingExtraError"]

# what to do where the system does not let a file be written
REMEDIES = {
    errno.ENOSPC: "free space on the disk",
    errno.EDQUOT: "free space within your quota",
    errno.EACCES: "get the right to write there, or choose another folder",
    errno.EPERM: "get the right to write there, or choose another folder",
    errno.EROFS: "choose a folder on a disk that may be written to",
}


class FileFormatError(ValueError):
    """A file's content is not what its format asks for: damaged, cut off, of another format or version."""


class MissingExtraError(ImportError):
    """An optional dependency is not installed; the message names the extra that brings it."""
