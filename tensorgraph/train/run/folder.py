"""The folder of a run: where its files are, what it says of itself, and the lock of the process that trains."""

from __future__ import annotations

import errno
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tensorgraph.arguments import PathLike
from tensorgraph.engine.tape import warn_user
from tensorgraph.files import FileFormatError, atomic_write
from tensorgraph.files.errors import REMEDIES
from tensorgraph.files.locks import attempt, holder, let_go, take

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["Folder", "RunBusyError", "append_whole", "locked", "open_own", "telling"]

FORMAT, VERSION = "tensorgraph.run", 1
PATIENCE = 1.0  # seconds in which whoever only asks for the lock lets go of it


class RunBusyError(RuntimeError):
    """Another process trains in this run folder; the message says which."""


@contextmanager
def telling(path: Path) -> Iterator[None]:
    """What the system says of a file that cannot be written, with what it means for the run and the remedy."""
    try:
        yield
    except OSError as error:
        remedy = REMEDIES.get(error.errno or 0)
        if remedy is None:
            raise
        raise type(error)(
            error.errno,
            f"{str(path)!r} cannot be written ({error.strerror}): {remedy}, and run the same again; what the run "
            "folder holds is whole, and the run goes on from its last checkpoint",
        ) from error


def open_own(path: Path, flags: int = 0) -> int:
    """Open a file of a run for reading and writing; one that is made is for its owner alone.

    Raises
    ------
    OSError
        If it is a symbolic link: whoever laid it there would have another file written to.
    """
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0) | flags, 0o600)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise OSError(
            errno.ELOOP, f"{str(path)!r} is a symbolic link, and a run's files are none: remove it, or copy the file"
        ) from None


def append_whole(handle: int, data: bytes) -> None:
    """Append bytes to a file, all or none: what a full disk took of them is cut off again."""
    before = os.fstat(handle).st_size
    try:
        written = os.write(handle, data)
        while written < len(data):
            more = os.write(handle, data[written:])
            if more == 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            written += more
    except OSError:
        with suppress(OSError):
            os.ftruncate(handle, before)
        raise


@contextmanager
def locked(handle: int) -> Iterator[None]:
    """A file's lock, waited for."""
    if fcntl is None:
        yield
        return
    fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(handle, fcntl.LOCK_UN)


class Folder:
    """A run's folder.

    Parameters
    ----------
    path : path-like
        It need not exist yet.
    """

    def __init__(self, path: PathLike) -> None:
        self.path = Path(path)
        self.events = self.path / "events.jsonl"
        self.control = self.path / "control.jsonl"
        self.checkpoints = self.path / "ckpt"
        self.described = self.path / "run.json"
        self.replayed = self.path / "replay.json"
        self.model = self.path / "model.safetensors"
        self._lock = self.path / "lock"
        self._held: int | None = None

    def make(self) -> None:
        """Make the folder, for its owner alone, and the one of the checkpoints.

        Raises
        ------
        PermissionError
            If the folder is another user's, who could change what is trained or have other files written to.
        """
        with telling(self.path):
            if not self.path.is_dir():
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self.path.mkdir(mode=0o700, exist_ok=True)
        self._require_own()
        with telling(self.path):
            self.checkpoints.mkdir(mode=0o700, exist_ok=True)

    def _require_own(self) -> None:
        """Refuse a folder of another user's; one that is empty is closed to others."""
        if not hasattr(os, "getuid"):
            return
        found = os.stat(self.path)
        if found.st_uid != os.getuid() and found.st_uid != self._owner_of_new():
            raise PermissionError(
                f"{str(self.path)!r} belongs to another user (number {found.st_uid}), who could change what is "
                "trained: copy it (cp -r), or give another folder"
            )
        if found.st_mode & 0o077 and not os.listdir(self.path):
            with suppress(OSError):  # where a file system has no such rights
                os.chmod(self.path, 0o700)
        elif found.st_mode & 0o002:
            warn_user(f"fit: everybody may write to {str(self.path)!r}, and so change what is trained: chmod 700 it")

    def _owner_of_new(self) -> int:
        """Whose a file is that this process makes here: another's, where a file system maps users."""
        with telling(self.path), tempfile.TemporaryFile(dir=self.path) as file:
            return os.fstat(file.fileno()).st_uid

    # what the run is ----------------------------------------------------------------------------------------------

    def read(self) -> dict[str, Any] | None:
        """What ``run.json`` says, or None where no run was begun here.

        Raises
        ------
        FileFormatError
            If the file is damaged, or of a newer version.
        """
        try:
            text = self.described.read_text("utf-8")
        except (FileNotFoundError, NotADirectoryError):
            return None
        where = repr(str(self.described))
        try:
            found = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise FileFormatError(f"{where} is damaged ({error}); restore it from a copy") from error
        if not isinstance(found, dict) or found.get("format") != FORMAT or type(found.get("version")) is not int:
            raise FileFormatError(f"{where} does not describe a run; give another folder")
        if found["version"] > VERSION:
            raise FileFormatError(
                f"{where} is of a run of version {found['version']}, this tensorgraph reads up to {VERSION}; upgrade "
                "with `pip install --upgrade tensorgraph-engine`"
            )
        for key in ("digest", "environment"):
            if not isinstance(found.setdefault(key, {}), dict):
                raise FileFormatError(f"{where} is damaged: its {key!r} is no object; restore it from a copy")
        return found

    def write(self, described: dict[str, Any]) -> None:
        """Write ``run.json``: from now on there is a run here."""
        content = {"format": FORMAT, "version": VERSION, **described}
        with telling(self.described):
            atomic_write(self.described, (json.dumps(content, indent=1) + "\n").encode(), private=True)

    # the lock -----------------------------------------------------------------------------------------------------

    def acquire(self) -> None:
        """Take the lock, which the system lets go of when the process ends, however it ends.

        Raises
        ------
        RunBusyError
            If another process has it.
        """
        if fcntl is None:
            raise OSError("run folders are locked with flock, which this system does not have")
        with telling(self._lock):
            handle = open_own(self._lock)
        if not take(handle, PATIENCE):
            let_go(handle)
            raise RunBusyError(
                f"{holder(self._lock)} trains in {str(self.path)!r}: wait for it, or stop it; or give this run another "
                "folder"
            )
        self._held = handle

    def release(self) -> None:
        """Let go of the lock."""
        let_go(self._held)
        self._held = None

    def busy(self) -> bool:
        """Whether a process trains here now."""
        try:
            handle = os.open(self._lock, os.O_RDONLY)
        except OSError:
            return False
        try:
            return not attempt(handle, shared=True)
        finally:
            os.close(handle)
