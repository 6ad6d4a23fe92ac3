"""The numbered files of a run: written aside, synced, renamed; the old ones go when the new one is on the disk."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tensorgraph.files import FileFormatError, save_tensors
from tensorgraph.files.tensors import read_metadata
from tensorgraph.train.run.folder import Folder, telling
from tensorgraph.train.saving import FORMAT, VERSION, Arrays, read_parts

__all__ = ["Checkpoint", "Place", "Shelf"]

NAME = re.compile(r"(\d{8,})\.safetensors")
Place = tuple[int, int, int]
"""Where a checkpoint stands in its run's history: commands applied before, updates made, whole epochs. It grows."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint as its file describes itself.

    Attributes
    ----------
    number : int
    file : Path
    name : str or None
        Given by whoever asked for it; named ones stay.
    step, epoch, branch : int
        Updates made, whole epochs done, and the branch: 0, and one more after each rollback.
    commands : int
        How many of the run's commands its state includes.
    time : float
        When it was written, Unix seconds.
    """

    number: int
    file: Path
    name: str | None
    step: int
    epoch: int
    branch: int
    commands: int
    time: float
    tip: bool = False  # the end of a branch that was left by a rollback

    @property
    def place(self) -> Place:
        return self.commands, self.step, self.epoch


class Shelf:
    """The checkpoints of a run folder.

    Parameters
    ----------
    folder : Folder
    """

    def __init__(self, folder: Folder) -> None:
        self.folder = folder.checkpoints
        self.found: dict[int, Checkpoint] = {}
        self.damaged: dict[int, Exception] = {}  # what is wrong with files that do not say what they are
        self.last = -1  # the largest number that was ever seen

    def path(self, number: int) -> Path:
        return self.folder / f"{number:08d}.safetensors"

    def look(self) -> Shelf:
        """Read what every file says of itself."""
        self.found, self.damaged = {}, {}
        try:
            files = sorted(os.listdir(self.folder))
        except (FileNotFoundError, NotADirectoryError):
            return self
        for file in files:
            if match := re.match(r"\d{8,}", file):
                self.last = max(self.last, int(match[0]))
            if match := NAME.fullmatch(file):
                try:
                    self.found[int(match[1])] = self._describe(int(match[1]))
                except FileNotFoundError:  # removed since by the process that trains
                    continue
                except FileFormatError as error:
                    self.damaged[int(match[1])] = error
        return self

    def _describe(self, number: int) -> Checkpoint:
        path = self.path(number)
        training: Any = read_metadata(path, format=FORMAT, version=VERSION).get("training")
        try:
            return Checkpoint(
                number, path, training["name"], int(training["step"]), int(training["done"]), int(training["branch"]),
                int(training["applied"]), float(training["time"]), bool(training["tip"]),
            )  # fmt: skip
        except (KeyError, TypeError, ValueError) as error:
            raise FileFormatError(f"{str(path)!r} is no checkpoint of a run") from error

    def tidy(self) -> None:
        """Remove what a kill left of files that were being written."""
        for file in self.folder.glob(".*.tmp"):
            with suppress(OSError):
                file.unlink()

    def load(self, number: int) -> tuple[dict[str, Arrays], dict[str, Any]]:
        """A checkpoint's arrays by part and its description, all checked.

        Raises
        ------
        FileNotFoundError, FileFormatError
        """
        return read_parts(self.path(number))

    def set_aside(self, number: int) -> Path:
        """Rename a damaged file, so that it is nobody's checkpoint and not lost either."""
        path = self.path(number)
        aside = path.with_suffix(".damaged")
        with telling(path):
            os.replace(path, aside)
        self.found.pop(number, None)
        return aside

    def at(self, place: Place, name: str | None = None) -> Checkpoint | None:
        """The checkpoint of a place, of that name where one is asked for."""
        here = [c for c in self.found.values() if c.place == place and (name is None or c.name == name)]
        return max(here, key=lambda c: c.number, default=None)

    def write(self, arrays: Arrays, described: dict[str, Any]) -> Checkpoint:
        """Write the next checkpoint."""
        number = max(self.last, *self.found, -1) + 1
        path = self.path(number)
        described["training"]["time"] = time.time()
        with telling(path):
            save_tensors(path, arrays, described, format=FORMAT, version=VERSION, private=True)
        self.last = number
        self.found[number] = self._describe(number)
        return self.found[number]

    def prune(self, keep: int, pinned: Collection[int]) -> None:
        """Remove all but the `keep` newest, those with a name, and those that are pinned."""
        for number in sorted(self.found)[:-keep]:
            if number not in pinned and self.found[number].name is None:
                with suppress(OSError):
                    self.path(number).unlink()
                del self.found[number]
