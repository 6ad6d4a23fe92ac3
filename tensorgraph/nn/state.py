"""Reading and loading the state of many cells at once: everything is checked before anything is written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from tensorgraph.engine.cells import Cell
from tensorgraph.engine.tensor import Tensor, as_array, concrete

__all__ = ["load_cells", "read_cells"]

SHOWN = 8


def read_cells(cells: Iterable[tuple[str, Cell]]) -> dict[str, np.ndarray[Any, Any]]:
    """Copies of the cells' arrays by path."""
    return {path: np.array(concrete(cell, "state_dict")) for path, cell in cells}


def load_cells(cells: Mapping[str, Cell], state: Mapping[str, Any], strict: bool, what: str) -> None:
    """Assign every cell from `state`, or raise one error that names all that does not fit and change nothing."""
    if not isinstance(state, Mapping):
        raise TypeError(f"load_state_dict takes a mapping of paths to arrays, got {type(state).__name__}")
    problems: list[str] = []
    if strict:
        _list(problems, "missing", [path for path in cells if path not in state])
        _list(problems, "unexpected", [str(path) for path in state if path not in cells])
    shapes, kinds, beyond, ready = [], [], [], []
    for path, cell in cells.items():
        if path not in state:
            continue
        own = concrete(cell, "load_state_dict")
        value = state[path]
        try:
            # a list is read in full precision, not in the default dtype
            array = as_array(value if isinstance(value, Tensor) else np.asarray(value))
        except (TypeError, ValueError):
            kinds.append(f"{path} (expected {own.dtype}, got {type(value).__name__})")
            continue
        if array.shape != own.shape:
            shapes.append(f"{path} (expected {own.shape}, got {array.shape})")
        elif array.dtype.kind != own.dtype.kind or (
            array.dtype.kind != "f" and not np.can_cast(array.dtype, own.dtype, "safe")
        ):
            kinds.append(f"{path} (expected {own.dtype}, got {array.dtype})")
        else:
            with np.errstate(over="ignore"):
                narrow = array.astype(own.dtype, copy=False)
            if narrow.dtype.itemsize < array.dtype.itemsize and not np.array_equal(np.isinf(narrow), np.isinf(array)):
                beyond.append(f"{path} (expected {own.dtype})")
            ready.append((cell, narrow))
    _list(problems, "of another shape", shapes)
    _list(problems, "of another kind", kinds)
    _list(problems, "with numbers beyond the dtype", beyond)
    if problems:
        raise ValueError(f"{what}: the state does not fit and nothing was loaded; {'; '.join(problems)}")
    for cell, array in ready:
        cell.assign(array)


def _list(problems: list[str], what: str, paths: list[str]) -> None:
    if paths:
        more = f" and {len(paths) - SHOWN} more" if len(paths) > SHOWN else ""
        problems.append(f"{what}: {', '.join(paths[:SHOWN])}{more}")
