"""What cells start from, where nobody has said it: those that hold one number everywhere start from that."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tensorgraph.engine import init
from tensorgraph.engine.cells import Parameter
from tensorgraph.graph.equation import CellDecl, Var

__all__ = ["declared", "first_numbers"]

ITEM = re.compile(r"\.\d+$")  # of a list
MOST = 1 << 20  # numbers that are looked at


def declared(cells: Mapping[str, Any], variables: Sequence[Var]) -> list[CellDecl]:
    """Cells, by their paths, as a graph declares them."""
    starts = first_numbers(cells)
    kinds = ["parameter" if isinstance(cell, Parameter) else "buffer" for cell in cells.values()]
    return [
        CellDecl(path, var, kind, starts[path], cell._node is not None)
        for (path, cell), var, kind in zip(cells.items(), variables, kinds, strict=True)
    ]


def first_numbers(cells: Mapping[str, Any]) -> dict[str, str | None]:
    """The initialisers of cells by their paths.

    Cells of one name that hold different numbers have none: they may be members of one function.

    Examples
    --------
    >>> from tensorgraph.engine.cells import Parameter
    >>> a, b, c = Parameter(np.zeros(3)), Parameter(np.full(2, 0.5)), Parameter(np.full(2, 0.25))
    >>> first_numbers({"shift": a, "0.scale": b, "1.scale": c})
    {'shift': 'zeros()', '0.scale': None, '1.scale': None}
    """
    found: dict[str, str | None] = {path: cell.initialiser for path, cell in cells.items()}
    alike: dict[str, dict[str, str | None]] = {}
    for path, cell in cells.items():
        if cell.initialiser is None:
            alike.setdefault(ITEM.sub("", path).rpartition(".")[2], {})[path] = _uniform(cell._value)
    for starts in alike.values():
        if len(set(starts.values())) == 1:
            found |= starts
    return found


def _uniform(array: Any) -> str | None:
    if type(array) is not np.ndarray or array.dtype.kind != "f" or not 0 < array.size <= MOST:
        return None
    first = array.flat[0]
    if array.tobytes() != first.tobytes() * array.size or not np.isfinite(first) or (first == 0 and np.signbit(first)):
        return None
    return init.text_of_number(float(str(first)))
