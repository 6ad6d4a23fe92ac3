"""Files that are whole or not there.

A file is written beside its place and moved there only when every byte is on the disk, so a crash, a full disk or
Ctrl-C leaves the old file as it was.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from tensorgraph.arguments import PathLike, checked

__all__ = ["atomic_file", "atomic_write"]


@checked
@contextmanager
def atomic_file(path: PathLike, *, sync: bool = True, private: bool = False) -> Iterator[BinaryIO]:
    """Open a file for writing that appears under its name only when it is complete.

    Parameters
    ----------
    path : path-like
        Where the file goes. An existing file is replaced and its permissions are kept; a symbolic link is followed.
    sync : bool
        Whether to wait until the disk has it. Without, a loss of power may leave an empty file, and a process that
        ends, however it ends, still leaves all or nothing: for what can be made again.
    private : bool
        Whether a new file is for its owner alone (0600), whatever the umask.

    Yields
    ------
    file : binary file object
        Open for writing and reading. It lies in the same folder under a temporary name until the block ends; if the
        block raises, it is removed and whatever was at `path` before is untouched.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.
    IsADirectoryError
        If `path` is a folder.
    ValueError
        If `path` is a device, a pipe or a socket, which cannot be replaced by a file.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> from tensorgraph.files import atomic_file
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = pathlib.Path(folder.name, "numbers.txt")
    >>> with atomic_file(path) as file:
    ...     _ = file.write(b"1 2 3")
    ...     path.exists()
    False
    >>> path.read_bytes()
    b'1 2 3'
    >>> folder.cleanup()
    """
    target = Path(os.path.realpath(path))
    mode = _mode_of(target)
    # made with the permissions of the file it replaces, so that a private file is at no moment readable to others
    create_mode = (0o600 if private else 0o666) if mode is None else mode | stat.S_IWUSR
    temporary, file = _create_beside(target, create_mode, path)
    try:
        with file:
            yield file
            file.flush()
            if sync:
                os.fsync(file.fileno())
        if mode is not None:
            os.chmod(temporary, mode)
        os.replace(temporary, target)
    except BaseException as error:
        with suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError):
            _name(error, temporary, path)
        raise
    if sync:
        _sync_folder(target.parent)


def _name(error: OSError, temporary: Path, path: PathLike) -> None:
    """Have the system's error tell the file that was asked for, and not the temporary one, or none."""
    if error.errno is not None and error.strerror and error.filename in (None, os.fspath(temporary)):
        error.filename, error.filename2 = os.fspath(path), None


def _mode_of(target: Path) -> int | None:
    """The permission bits of the file to be replaced, or None where there is no file yet."""
    try:
        mode = target.stat().st_mode
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(f"cannot write the file {str(target)!r}: it is a folder; add a file name")
    if not stat.S_ISREG(mode):
        raise ValueError(f"cannot write {str(target)!r}: it is not a regular file, and replacing it would remove it")
    return stat.S_IMODE(mode)


def _create_beside(target: Path, mode: int, path: PathLike) -> tuple[Path, BinaryIO]:
    """Create a new file in the target's folder; `mode` is reduced by the user's umask, as for any new file."""
    # the name is cut so that it stays within the 255 bytes that most file systems allow
    stem = os.fsdecode(os.fsencode(target.name)[:200])
    while True:
        temporary = target.with_name(f".{stem}.{secrets.token_hex(6)}.tmp")
        try:
            file = open(temporary, "x+b", opener=lambda name, flags: os.open(name, flags, mode))  # noqa: SIM115
        except FileExistsError:
            continue
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"cannot write {str(target)!r}: the folder {str(target.parent)!r} does not exist; create it first"
            ) from error
        except OSError as error:
            _name(error, temporary, path)
            raise
        return temporary, file


def _sync_folder(folder: Path) -> None:
    """Put the new name itself on the disk. Where folders cannot be opened (Windows), the rename is all there is."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@checked
def atomic_write(
    path: PathLike, data: bytes | bytearray | memoryview, *, sync: bool = True, private: bool = False
) -> None:
    """Write bytes to a file in one step: afterwards the file is all new, or, after an error, all old.

    Parameters
    ----------
    path : path-like
        Where the file goes, as for `atomic_file`.
    data : bytes-like
        The whole content.
    sync, private : bool
        As for `atomic_file`.

    Raises
    ------
    TypeError
        If `data` is not bytes; encode text first.
    FileNotFoundError, IsADirectoryError, ValueError
        As `atomic_file`.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> from tensorgraph.files import atomic_write
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "note.txt")
    ...     atomic_write(path, b"whole")
    ...     path.read_bytes()
    b'whole'
    """
    if not isinstance(data, bytes | bytearray | memoryview):
        hint = "; encode it first, text.encode()" if isinstance(data, str) else ""
        raise TypeError(f"atomic_write expected bytes, got {type(data).__name__}{hint}")
    with atomic_file(path, sync=sync, private=private) as file:
        file.write(data)
