"""Another run's commands, to be applied at the same steps: with the same beginning, to bitwise the same weights."""

from __future__ import annotations

import json
from typing import Any

from tensorgraph.files import FileFormatError, atomic_write
from tensorgraph.train.run.digest import Described, compare
from tensorgraph.train.run.folder import Folder, telling
from tensorgraph.train.run.lines import LineReader
from tensorgraph.train.run.log import Log

__all__ = ["read_replay", "write_replay"]


def write_replay(folder: Folder, source: Folder, digest: Described, initial: str) -> None:
    """Copy the commands of the run in `source`, which then need not be there any more.

    Raises
    ------
    FileNotFoundError
        If there is no run in `source`.
    ValueError
        If it is of something else, or began with other numbers.
    """
    where = str(source.path)
    described = source.read()
    if described is None:
        raise FileNotFoundError(f"there is no run in {where!r} to replay")
    differences = compare(described["digest"], digest, {}, graphs=True)
    if differences:
        raise ValueError(f"the run in {where!r} differs ({'; '.join(differences)}): replay it with the same")
    if described.get("initial") != initial:
        raise ValueError(
            f"the run in {where!r} began with other numbers: make the model with the same seeds, a new optimiser, and "
            "the same state of tensorgraph.random"
        )
    commands = Log.read(LineReader(source.events).new()).commands
    with telling(folder.replayed):
        atomic_write(folder.replayed, json.dumps({"of": where, "commands": commands}).encode(), private=True)


def read_replay(folder: Folder) -> list[dict[str, Any]]:
    """The commands that a run replays, none if it does not."""
    try:
        return list(json.loads(folder.replayed.read_text("utf-8"))["commands"])
    except FileNotFoundError:
        return []
    except (ValueError, KeyError, TypeError) as error:
        raise FileFormatError(f"{str(folder.replayed)!r} is damaged ({error}); restore it from a copy") from error
