"""What a run is of: model, data and settings, by part, so that another run is told by what differs.

Data is told by a hash of all its bytes, a memory-mapped file's too, read anew each time: sizes and dates would not show
a number that was changed in place. A model is told by its cells, by what its layers say they were made with, and by its
graph, in training, with the loss; the graph is compared between equal versions of this library alone, since another
may write the same model otherwise. The numbers that a model begins with are no part of it: they are in the checkpoints.
Functions go by their names; what an `augment` of the same name does is not looked into.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np

from tensorgraph.data.arrays import BLOCK, Array
from tensorgraph.data.normalizer import Normalizer
from tensorgraph.graph.trace import trace
from tensorgraph.nn.dropout import Dropout
from tensorgraph.optim.optimizer import Optimizer
from tensorgraph.train.architecture import describe
from tensorgraph.train.run.hyperparameters import Hyperparameters

__all__ = [
    "compare", "describe_data", "describe_model", "describe_optimizer", "environment", "hash_array", "hash_state",
    "name_of",
]  # fmt: skip

Described = dict[str, Any]
MISSING = object()
MOST = 5  # differences that a message names
PLACES = ((0, 0), (1, 0), (10, 1), (100, 10), (1000, 100))  # steps and epochs at which schedules are compared


def hash_array(array: Array) -> str:
    """A hash of all numbers of an array, or of rows in a file, in order, in blocks."""
    import hashlib

    found = hashlib.sha256()
    if isinstance(array, np.ndarray) and array.flags.c_contiguous and array.size:
        flat = array.reshape(-1)
        for start in range(0, flat.size, BLOCK):
            found.update(np.ascontiguousarray(flat[start : start + BLOCK]).view(np.uint8).data)
    elif array.size:
        rows = max(1, BLOCK * len(array) // array.size)
        for start in range(0, len(array), rows):
            found.update(np.ascontiguousarray(array[start : start + rows]).reshape(-1).view(np.uint8).data)
    return found.hexdigest()


def hash_text(text: str) -> str:
    import hashlib

    return hashlib.sha256(text.encode()).hexdigest()


def hash_state(named: Iterable[tuple[str, Any]]) -> str:
    """A hash of named numbers, in blocks."""
    import hashlib

    found = hashlib.sha256()
    for name, array in named:
        found.update(f"{name} ".encode())
        numbers = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        for start in range(0, numbers.size, BLOCK):
            found.update(numbers[start : start + BLOCK].data)
    return found.hexdigest()


def describe_data(arrays: Mapping[str, Array | None], normalizer: Normalizer | None) -> Described:
    """Shape, dtype and hash of every array."""
    found: Described = {
        name: None if array is None
        else {"shape": list(array.shape), "dtype": array.dtype.name, "sha256": hash_array(array)}
        for name, array in arrays.items()
    }  # fmt: skip
    state = {} if normalizer is None else normalizer.state_dict()
    found["normalizer"] = {name: hash_array(np.atleast_1d(array)) for name, array in state.items()}
    return found


def describe_model(model: Any, loss: Callable[..., Any], x: Any, y: Any) -> Described:
    """Class, layers, cells and graph of a model; `x` and `y` are specs of a batch."""
    with _equal_rates(model):
        layers = describe(model)
        graphs = []
        with suppress(Exception):  # a model that branches on values has no graph
            graph: Any = trace(lambda rows: model(rows), x)
            graphs.append(_hash_graph(graph))
            graphs.append(_hash_graph(trace(lambda z, targets: loss(z, targets), graph.outputs[0].aval, y)))
    return {
        "class": type(model).__name__,
        "cells": {name: f"{cell.dtype.name}{list(cell.shape)}" for name, cell in model.named_cells()},
        "trained": [name for name, parameter in model.named_parameters() if parameter.requires_grad],
        "layers": layers,
        "graph": graphs,
    }


def _hash_graph(graph: Any) -> str | None:
    """A hash of what a graph computes, whatever its cells begin with; None where it holds what has no text."""
    text = repr(graph.key())
    return None if " at 0x" in text else hash_text(text)


@contextmanager
def _equal_rates(model: Any) -> Iterator[None]:
    """Dropout rates that may be set while training are no part of what a model is."""
    layers = [layer for layer in model.modules() if isinstance(layer, Dropout)]
    before = [layer.rate for layer in layers]
    try:
        for layer in layers:
            layer.rate = 0.5
        yield
    finally:
        for layer, rate in zip(layers, before, strict=True):
            layer.rate = rate


def describe_optimizer(optimizer: Optimizer) -> Described:
    """Class, groups, schedules with some of their values."""
    owners: dict[str, Any] = {"optimizer": optimizer, **{f"group{group.number}": group for group in optimizer.groups}}
    schedules = {}
    for name, owner in owners.items():
        if owner.schedule is not None:
            with suppress(Exception):
                values = [owner.schedule(step, epoch) for step, epoch in PLACES]
                schedules[name] = f"{owner.schedule.text} ({', '.join(f'{value:.9g}' for value in values)})"
            schedules.setdefault(name, owner.schedule.text)
    return {
        "class": type(optimizer).__name__,
        "groups": [len(group.slots) for group in optimizer.groups],
        "schedules": schedules,
    }


def name_of(function: Any) -> str | None:
    """How a function that the user gave is called."""
    if function is None or isinstance(function, str):
        return function
    return str(getattr(function, "__qualname__", type(function).__qualname__))


def environment() -> Described:
    """What the numbers may also depend on: versions, BLAS, processor."""
    blas = ""
    with suppress(Exception):
        built = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
        blas = f"{built['name']} {built['version']}"
    return {
        "tensorgraph": str(getattr(sys.modules["tensorgraph"], "__version__", "")),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "blas": blas,
        "machine": platform.machine(),
        "processor": _processor(),
    }


def _processor() -> str:
    with suppress(OSError), open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
        for line in file:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def compare(then: Described, now: Described, allowed: Mapping[str, list[Any]], *, graphs: bool) -> list[str]:
    """The differences of two descriptions as phrases, none where they agree.

    Parameters
    ----------
    allowed : mapping of hyperparameter to list
        Other values that it may have, having been set while the run trained.
    graphs : bool
        Whether graphs are compared.
    """
    found: list[str] = []
    computed: list[str] = []
    for part in dict.fromkeys([*then, *now]):
        for path, old, new in _differences(then.get(part, {}), now.get(part, {}), ""):
            if part == "model" and path.startswith("graph"):
                computed = ["the model or the loss computes something else"] * graphs
            elif not _was_set(path, new, allowed):
                found.append(_phrase(part, path, old, new))
    found = found or computed  # what else differs says it better
    return [*found[:MOST], f"and {len(found) - MOST} more"] if len(found) > MOST else found


def _was_set(path: str, new: Any, allowed: Mapping[str, list[Any]]) -> bool:
    """Whether a difference is what commands made: another value, a learning rate that follows no schedule any more."""
    kind, _, name = path.partition(".")
    if kind == "hyperparameters":
        return new in allowed.get(name, [])
    owner = path.removeprefix("optimizer.schedules.")
    return owner != path and new is MISSING and ("lr" if owner == "optimizer" else f"{owner}.lr") in allowed


def _differences(then: Any, now: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(then, dict) and isinstance(now, dict):
        for key in dict.fromkeys([*then, *now]):
            yield from _differences(then.get(key, MISSING), now.get(key, MISSING), f"{path}.{key}" if path else key)
    elif isinstance(then, list) and isinstance(now, list) and len(then) == len(now):
        for i, (old, new) in enumerate(zip(then, now, strict=True)):
            yield from _differences(old, new, f"{path}[{i}]")
    elif then != now:
        yield path, then, now


def _phrase(part: str, path: str, old: Any, new: Any) -> str:
    if path.endswith("sha256") or path.startswith("normalizer"):
        return f"{part}: the numbers of {path.removesuffix('.sha256')} are others"
    if old is MISSING:
        return f"{part}: {path} is new ({_brief(new)})"
    if new is MISSING:
        return f"{part}: {path} is gone (it was {_brief(old)})"
    return f"{part}: {path} was {_brief(old)} and is {_brief(new)}"


def _brief(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def hyperparameters_of(training: Any) -> Described:
    """The hyperparameters but `epochs`, which may grow; of what follows a schedule its first value, so that an
    optimiser that has gone some steps is the same one."""
    found = {name: value for name, value in Hyperparameters(training).items() if name != "epochs"}
    optimizer: Optimizer = training.optimizer
    schedules = {"lr": optimizer.schedule}
    for group in optimizer.groups:
        schedules[f"group{group.number}.lr"] = group.schedule if "lr" in group.cells else optimizer.schedule
    for name, schedule in schedules.items():
        if name in found and schedule is not None:
            found[name] = float(schedule(0, 0))
    return found
