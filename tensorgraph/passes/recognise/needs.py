"""Which ops the library's references use: found by tracing all of them, and so kept on disk beside the machine code.

What is kept belongs to the sources as they are: another file, another time or size of one, and it is found again.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from tensorgraph import ops
from tensorgraph.engine.op import CATALOGUE, Op
from tensorgraph.native.cache import opened

__all__ = ["keep", "kept"]

ROOMS = ("engine", "graph", "passes")
Sets = tuple[frozenset[Op] | None, ...]

_fresh: dict[str, list[list[str] | None]] = {}  # what was found in this process


@functools.cache
def _name() -> str:
    """The entry for the sources as they are."""
    made = hashlib.blake2b(digest_size=16)
    root = Path(__file__).parents[2]
    for folder in (*(root / room for room in ROOMS), *map(Path, ops.__path__)):
        for path, _, files in sorted(os.walk(folder)):
            for file in sorted(files):
                if file.endswith(".py"):
                    status = os.stat(os.path.join(path, file))
                    made.update(f"{path}/{file} {status.st_mtime_ns} {status.st_size}\n".encode())
    return f"needs-{made.hexdigest()}"


@functools.cache
def _stored() -> dict[str, list[list[str] | None]]:
    """What other processes have found."""
    try:
        with opened() as folder:
            data = folder.read(_name())
        return {} if data is None else dict(json.loads(data))
    except (OSError, ValueError):
        return {}


def kept(what: str, op: Op, find: Callable[[], Sequence[frozenset[Op] | None]]) -> Sets:
    """What was found of one of the library's ops before, here or elsewhere; else it is found now."""
    if not getattr(op.reference, "__module__", "").startswith("tensorgraph."):
        return tuple(find())
    key = f"{what} {op.name}"
    stored = _stored().get(key, _fresh.get(key))
    if stored is not None and all(name in CATALOGUE for names in stored for name in names or ()):
        return tuple(None if names is None else frozenset(CATALOGUE[name] for name in names) for names in stored)
    found = tuple(find())
    _fresh[key] = [None if ops is None else sorted(one.name for one in ops) for ops in found]
    return found


def keep() -> None:
    """Write down what was found in this process and is not there yet."""
    if not _fresh:
        return
    _stored().update(_fresh)
    _fresh.clear()
    with opened() as folder:
        folder.write(_name(), json.dumps(_stored()).encode())
