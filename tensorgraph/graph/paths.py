"""The paths under which a trace declares its cells: as they are called, where two are called alike by their owners.

Two models of one class have cells of the same paths: those of the second are below the name that its calls have,
``Judge.0.weight``. What an optimiser keeps for a parameter is called after that parameter.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tensorgraph.engine.cells import Cell

__all__ = ["CellPaths"]


class CellPaths:
    """What is known of the paths of one trace's cells."""

    def __init__(self) -> None:
        self.own: dict[Cell, str] = {}
        self.beside: dict[Cell, tuple[str, Cell]] = {}  # what is kept for a cell: before that one's path
        self.owners: dict[int, tuple[Any, str]] = {}  # optimisers by their ids, with what they are called here

    def optimizer(self, owner: Any, path: str) -> str:
        """What an optimiser is called in this trace."""
        known = self.owners.get(id(owner))
        if known is not None:
            return known[1]
        taken = {label for _, label in self.owners.values()}
        label, number = path, 1
        while label in taken:
            number += 1
            label = f"{path}_{number}"
        self.owners[id(owner)] = owner, label
        return label

    def keep(self, label: str, path: str, cells: Iterable[tuple[str, Cell]]) -> None:
        """The cells of an optimiser, whose own path is this."""
        for name, cell in cells:
            if cell not in self.beside:
                self.own[cell] = label + name.removeprefix(path)

    def keep_for(self, parameter: Cell, name: str, cells: Mapping[str, Cell]) -> None:
        """What an optimiser keeps for a parameter, by what stands before its path; `name` is the parameter's own."""
        if not parameter.path:
            self.own.setdefault(parameter, name)
        for prefix, cell in cells.items():
            self.beside[cell] = prefix, parameter

    def below(self, label: str, cells: Iterable[tuple[str, Cell]]) -> None:
        """The cells of a model that is called `label`, because another one's parts have the names of its parts."""
        for path, cell in cells:
            if cell.path == path:
                self.own[cell] = f"{label}.{path}"

    def paths(self, cells: Iterable[Cell]) -> Iterator[str]:
        """A path for each cell, no two alike."""
        taken: dict[str, int] = {}
        for number, cell in enumerate(cells):
            path = self.path(cell) or f"cell{number}"
            taken[path] = taken.get(path, 0) + 1
            yield path if taken[path] == 1 else f"{path}_{taken[path]}"

    def path(self, cell: Cell) -> str:
        if cell in self.beside:
            prefix, parameter = self.beside[cell]
            return f"{prefix}.{self.path(parameter)}"
        return self.own.get(cell) or cell.path
