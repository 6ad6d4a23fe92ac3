"""Reading and loading the state of many cells at once: everything is checked before anything is written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from tensorgraph.engine import random
from tensorgraph.engine.cells import Buffer, Cell
from tensorgraph.engine.exits import concrete
from tensorgraph.engine.interrupts import whole
from tensorgraph.engine.tensor import Tensor, as_array, wrap
from tensorgraph.engine.tree import flatten, leaf_paths

__all__ = ["load_cells", "load_tree", "read_cells"]

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
    with whole():
        for cell, array in ready:
            cell.assign(array)


def load_tree(cells: Mapping[str, Cell], tree: Any, what: str) -> None:
    """Assign a tree of `tensorgraph.functional`, or raise one error that names all that does not fit."""
    if not isinstance(tree, Mapping):
        raise TypeError(f"{what} takes a dict by path, as tensorgraph.functional gives it, got {type(tree).__name__}")
    leaves, treedef = flatten(tree)
    given = dict(zip(leaf_paths(treedef), leaves, strict=True))
    process = random.state()
    if process.path in given:
        cells = {**cells, process.path: process}
    problems: list[str] = []
    trained = {path for path, cell in cells.items() if cell._node is not None}
    buffers = {path for path, cell in cells.items() if isinstance(cell, Buffer) and cell is not process}
    wanted = {path for part in (trained, buffers) if not part.isdisjoint(given) for path in part}
    if not given:
        wanted = trained
    _list(problems, "missing", [path for path in cells if path in wanted and path not in given])
    _list(problems, "unexpected", [str(path) for path in given if path not in cells])
    shapes, kinds, ready = [], [], []
    for path, cell in cells.items():
        if path not in given:
            continue
        own, value = cell.aval, given[path]
        try:
            value = value if isinstance(value, Tensor) else wrap(as_array(np.asarray(value)))
        except (TypeError, ValueError):
            kinds.append(f"{path} (expected {own.dtype}, got {type(value).__name__})")
            continue
        if value.shape != own.shape:
            shapes.append(f"{path} (expected {own.shape}, got {value.shape})")
        elif value.dtype != own.dtype:
            kinds.append(f"{path} (expected {own.dtype}, got {value.dtype})")
        ready.append((cell, value))
    _list(problems, "of another shape", shapes)
    _list(problems, "of another dtype", kinds)
    if problems:
        raise ValueError(f"{what}: the tree does not fit and nothing was loaded; {'; '.join(problems)}")
    values = [value.read() if isinstance(value, Cell) else value for _, value in ready]  # before any is written
    with whole():
        for (cell, _), value in zip(ready, values, strict=True):
            cell.assign(value)


def _list(problems: list[str], what: str, paths: list[str]) -> None:
    if paths:
        more = f" and {len(paths) - SHOWN} more" if len(paths) > SHOWN else ""
        problems.append(f"{what}: {', '.join(paths[:SHOWN])}{more}")
