"""`Setting`: a number that may change while running, kept in a cell and used like a plain attribute."""

from __future__ import annotations

import math
import weakref
from typing import Annotated, Any

from tensorgraph.arguments import Range, Unfit, kind_of
from tensorgraph.engine import init, modes
from tensorgraph.engine.cells import Buffer
from tensorgraph.engine.tensor import Tensor

__all__ = ["Setting"]


class Setting:
    """An attribute that reads as a float and writes a 0-d float64 `Buffer`.

    So ``optimizer.lr = 0.01`` reaches graphs that were traced before, and nothing is baked into them.

    Parameters
    ----------
    low, high : float
        The range allowed; `high` itself is not.
    doc : str
    """

    def __init__(self, doc: str, low: float = -math.inf, high: float = math.inf) -> None:
        self.__doc__ = doc
        self.low = low
        self.high = high
        self.name = ""
        word = "a finite number that is not negative" if low == 0.0 and math.isinf(high) else ""
        self.kind = kind_of(Annotated[float, Range(low, high, below=True, word=word)])

    def __set_name__(self, owner: Any, name: str) -> None:
        self.name = name

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        if instance is None:
            return self
        cell = self.cell(instance)
        if cell is None:
            raise AttributeError(f"{type(instance).__name__} has no {self.name!r}")
        return float(cell)

    def __set__(self, instance: Any, value: Any) -> None:
        cell = self.cell(instance)
        if isinstance(value, Tensor):
            value = value.astype("float64")
        else:
            value = self.number(value, type(instance).__name__)
        if cell is None:
            cell = Buffer(value, dtype="float64")
            cell.owner = (weakref.ref(instance), self.name)
            self.store(instance)[self.name] = cell
        else:
            cell.assign(value)
        if not modes.is_tracing():
            cell.initialiser = init.text_of_number(float(cell))

    def cell(self, instance: Any) -> Any:
        """The cell, or None."""
        return self.store(instance).get(self.name)

    def store(self, instance: Any) -> dict[str, Any]:
        """Where the owner keeps the cell: with its attributes, hidden there by this one."""
        own: dict[str, Any] = vars(instance)
        return own

    def number(self, value: Any, where: str) -> float:
        """The value as a float in the allowed range."""
        try:
            return float(self.kind(value))
        except Unfit as unfit:
            error = unfit.wrong(unfit.sentence(f"{where}: {self.name}"))
        raise error
