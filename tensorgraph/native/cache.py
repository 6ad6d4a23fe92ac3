"""Machine code on disk: a folder of the user alone, in which each entry proves what it is before anybody reads it.

An entry is a header, a digest, and an object file. The digest is over the entry's name and the object, so what is
damaged, cut off, or was renamed is no entry, and is written again. Entries appear whole, by a rename, so any number of
processes may read and write at once. Where the folder is not ours alone, or cannot be written, nothing is kept.
"""

from __future__ import annotations

import hashlib
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tensorgraph.files import atomic_write

__all__ = ["VARIABLE", "Contents", "Folder", "clear", "contents", "folder", "opened", "refusal"]

VARIABLE = "TENSORGRAPH_CACHE"
HEADER = b"tensorgraph machine code 1\n"
DIGEST = 32  # bytes
SUFFIX = ".o"
MOST = 4096  # entries: beyond, the older half goes

_POSIX = hasattr(os, "geteuid")


def folder() -> Path | None:
    """The folder, there or not; None where ``TENSORGRAPH_CACHE`` is empty or ``off``."""
    told = os.environ.get(VARIABLE)
    if told is not None:
        return None if told.strip().lower() in ("", "off") else Path(told).expanduser() / "kernels"
    return _home() / "tensorgraph" / "kernels"


def _home() -> Path:
    """Where this system wants what can be made again."""
    named = os.environ.get("LOCALAPPDATA" if os.name == "nt" else "XDG_CACHE_HOME", "")
    if os.path.isabs(named):  # the standard says that others are ignored
        return Path(named)
    home = Path.home()
    if os.name == "nt":
        return home / "AppData" / "Local"
    return home / "Library" / "Caches" if sys.platform == "darwin" else home / ".cache"


def refusal() -> str | None:
    """Why nothing is kept on disk; None where it is. Makes the folder where it is not there."""
    with _opened(make=True) as found:
        return found.refusal


@dataclass(frozen=True)
class Folder:
    """The folder, opened.

    Attributes
    ----------
    path : Path or None
    handle : int or None
        The open folder itself: a path may lead elsewhere a moment later.
    refusal : str or None
        Why it is not used.
    """

    path: Path | None
    handle: int | None = None
    refusal: str | None = None

    def read(self, name: str) -> bytes | None:
        """The object of an entry; None where there is none that proves to be it."""
        if self.refusal or self.path is None:
            return None
        try:
            if self.handle is None:
                raw = (self.path / (name + SUFFIX)).read_bytes()
            else:
                flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK  # a pipe of this name would make us wait
                with open(os.open(name + SUFFIX, flags, dir_fd=self.handle), "rb") as file:
                    raw = file.read()
        except (OSError, MemoryError):
            return None
        start = len(HEADER) + DIGEST
        data = raw[start:]
        return data if raw[:start] == HEADER + _digest(name, data) else None

    def write(self, name: str, data: bytes) -> None:
        """Keep an object; where the disk is full or cannot be written it is not kept."""
        if self.refusal or self.path is None:
            return
        with suppress(OSError, ValueError):
            atomic_write(self.path / (name + SUFFIX), HEADER + _digest(name, data) + data, sync=False)

    def trim(self) -> None:
        """Let the older half of the entries go, where there are too many."""
        with suppress(OSError):
            if self.refusal or self.path is None or len(os.listdir(self.path)) <= MOST:
                return  # most often, and their ages need not be read
            entries = sorted(_entries(self.path), key=lambda entry: entry[1].st_mtime)
            for path, _ in entries[: len(entries) // 2] if len(entries) > MOST else ():
                with suppress(OSError):
                    path.unlink()


def _digest(name: str, data: bytes) -> bytes:
    made = hashlib.blake2b(name.encode(), digest_size=DIGEST)
    made.update(b"\n" + data)
    return made.digest()


@contextmanager
def opened() -> Iterator[Folder]:
    """The folder, made where it is not there, and held while the block runs."""
    with _opened(make=True) as found:
        yield found


@contextmanager
def _opened(make: bool) -> Iterator[Folder]:
    handle = None
    try:
        path = folder()
    except RuntimeError as error:  # the user has no home
        yield Folder(None, None, str(error))
        return
    if path is None:
        yield Folder(None, None, f"{VARIABLE} is {os.environ.get(VARIABLE)!r}")
        return
    try:
        if make:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            path.mkdir(exist_ok=True, mode=0o700)
        why = None
        if _POSIX:
            handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            why = _not_ours(os.fstat(handle), path)
        elif not path.is_dir():
            why = f"{path} is no folder"
    except OSError as error:
        why = f"{path}: {error.strerror or error}"
    try:
        yield Folder(path, handle, why)
    finally:
        if handle is not None:
            os.close(handle)


def _not_ours(status: os.stat_result, path: Path) -> str | None:
    """Why others could put machine code into this folder, which we would run."""
    if status.st_uid != os.geteuid():
        return f"{path} belongs to user {status.st_uid}, and this process to {os.geteuid()}: set {VARIABLE} to another"
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"{path} can be written by others (mode {stat.S_IMODE(status.st_mode):o}): chmod 700 it"
    return None


def _entries(path: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """The files that are ours, those that were left half written too."""
    with suppress(OSError):
        for one in path.iterdir():
            if one.suffix in (SUFFIX, ".tmp"):
                with suppress(OSError):
                    yield one, one.lstat()


@dataclass(frozen=True)
class Contents:
    """What is in the folder.

    Attributes
    ----------
    path : Path or None
    entries, nbytes : int
    refusal : str or None
        Why it is not used.
    """

    path: Path | None
    entries: int
    nbytes: int
    refusal: str | None


def contents() -> Contents:
    """What is kept on disk; makes nothing."""
    path = folder()
    if path is not None and not path.exists():
        return Contents(path, 0, 0, None)
    with _opened(make=False) as found:
        sizes = [status.st_size for _, status in _entries(path)] if path is not None else []
        return Contents(path, len(sizes), sum(sizes), found.refusal)


def clear() -> int:
    """Remove all entries; how many there were. A process that runs keeps the machine code that it has.

    Raises
    ------
    PermissionError
        Where the folder is not ours alone.
    """
    path = folder()
    if path is None or not path.exists():
        return 0
    with _opened(make=False) as found:
        if found.refusal:
            raise PermissionError(found.refusal)
    gone = 0
    for one, _ in list(_entries(path)):
        one.unlink(missing_ok=True)
        gone += 1
    return gone
