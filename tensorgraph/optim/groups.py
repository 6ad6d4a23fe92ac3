"""Parameter groups: which parameters an optimiser trains, with which settings, and the cells kept for each."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from tensorgraph import jit
from tensorgraph.engine.cells import Buffer, Parameter
from tensorgraph.engine.changes import move
from tensorgraph.nn.settings import Setting
from tensorgraph.ops.kernels.optimizer import STREAM

if TYPE_CHECKING:
    from tensorgraph.optim.optimizer import Optimizer
    from tensorgraph.optim.schedules import Schedule

__all__ = ["Group", "Slot", "own_cells"]


class Group:
    """Parameters that share settings; what a group does not set itself is the optimiser's.

    ``optimizer.groups[1].lr = 0.01`` reads and writes as ``optimizer.lr`` does.
    """

    moves_mark: ClassVar[bool] = True

    optimizer: weakref.ref[Optimizer]
    number: int
    cells: dict[str, Buffer]
    schedule: Schedule | None
    slots: list[Slot]

    def __init__(self, optimizer: Optimizer, number: int, options: Mapping[str, Any]) -> None:
        self.__dict__.update(optimizer=weakref.ref(optimizer), number=number, cells={}, schedule=None, slots=[])
        for name, value in options.items():
            setattr(self, name, value)

    @property
    def path(self) -> str:
        owner = self.optimizer()
        return f"{owner.path}.groups.{self.number}" if owner is not None else f"groups.{self.number}"

    @property
    def parameters(self) -> list[Parameter]:
        return [slot.parameter for slot in self.slots]

    def cell(self, name: str) -> Buffer:
        """The group's own cell of a setting, or the optimiser's."""
        own = self.cells.get(name)
        return own if own is not None else self.owner().cells[name]

    def owner(self) -> Optimizer:
        """The optimiser that the group belongs to."""
        owner = self.optimizer()
        if owner is None:
            raise ReferenceError("this parameter group outlived its optimiser")
        return owner

    def __getattr__(self, name: str) -> float:
        if name.startswith("_") or name not in self.owner().settings:
            raise AttributeError(f"a parameter group has no {name!r}")
        return float(self.cell(name))

    def __setattr__(self, name: str, value: Any) -> None:
        owner = self.owner()
        setting = getattr(type(owner), name, None)
        if name == "schedule":
            if self.__dict__[name] is not value:
                move()
            self.__dict__[name] = value
        elif isinstance(setting, Setting):
            setting.__set__(self, value)
        else:
            raise AttributeError(f"a parameter group has the settings {', '.join(owner.settings)}, not {name!r}")

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "optimizer": None}

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={float(self.cell(name)):g}" for name in self.owner().settings)
        return f"<group {self.number}: {len(self.slots)} parameters, {settings}>"


class Slot:
    """A parameter and the cells kept for it."""

    __slots__ = ("cells", "narrow", "parameter", "path", "size", "small")

    def __init__(self, parameter: Parameter, path: str, cells: tuple[Buffer, ...]) -> None:
        self.parameter = parameter
        self.path = path
        self.cells = cells
        self.narrow = parameter.dtype == np.float16
        self.size = parameter.size
        # too small for several threads: its kernel may be called without the driver
        self.small = not self.narrow and self.size * STREAM * (2 * len(cells) + 3) < jit.THREADED


def own_cells(optimizer: Any) -> None:
    """Give the cells of a copied or unpickled optimiser their owner and path again: weak references are not copied."""
    own = weakref.ref(optimizer)
    named = {"steps": optimizer._steps, "epoch": optimizer._epoch, **optimizer.cells, **optimizer._limits}
    for name, cell in named.items():
        cell.owner = (own, name)
    for group in optimizer.groups:
        group.__dict__["optimizer"] = own
        for name, cell in group.cells.items():
            cell.owner = (weakref.ref(group), name)
        for slot in group.slots:
            for name, cell in zip((*optimizer.averages, "t"), slot.cells, strict=False):
                cell.owner = (own, f"{name}.{slot.path}")
