"""study.json: what a study searches and how, by which it is known again."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from tensorgraph.files import FileFormatError, atomic_write
from tensorgraph.tune.space import Space

__all__ = ["read_settings", "settle"]

FORMAT, VERSION = "tensorgraph study", 1
NAMES = ("seed", "direction", "sampler", "pruner", "points", "parent")


def settle(folder: Path, space: Space, **own: Any) -> None:
    """Write study.json, or compare with the one that is there.

    Raises
    ------
    ValueError
        If the folder holds another study; the message says in what they differ.
    """
    said = read_settings(folder)
    if said is None:
        made = {"format": FORMAT, "version": VERSION, "made": time.time(), **own, "space": space.as_json()}
        atomic_write(folder / "study.json", json.dumps(made, indent=1, allow_nan=False).encode(), private=True)
        return
    told = [f"{name} was {said[name]!r} and is {own[name]!r}" for name in NAMES if said[name] != own[name]]
    other = Space.from_json(said["space"])
    if other != space:
        told.append(space.difference(other))
    if told:
        raise ValueError(
            f"{os.fspath(folder)!r} holds another study: {'; '.join(told)}; give another folder, or go on with that "
            "one by Study.open"
        )


def read_settings(folder: Path) -> dict[str, Any] | None:
    """What study.json says; None where there is none."""
    path = folder / "study.json"
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        said = json.loads(data)
        if not isinstance(said, dict) or said.get("format") != FORMAT:
            raise ValueError("it is of another format")
        if said.get("version") != VERSION:
            raise FileFormatError(
                f"{os.fspath(path)!r} is of version {said.get('version')!r} and this tensorgraph reads version "
                f"{VERSION}; use the tensorgraph that wrote it, or another folder"
            )
        Space.from_json(said["space"])
        missing = set(NAMES) - set(said)
        if missing:
            raise ValueError(f"it lacks {', '.join(sorted(missing))}")
    except FileFormatError:
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise FileFormatError(f"{os.fspath(path)!r} does not hold a study: {type(error).__name__}: {error}") from error
    return said
