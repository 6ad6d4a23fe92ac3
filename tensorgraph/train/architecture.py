"""The structure of a model as JSON, and back: the names of layers and what they were made with, and no code.

Each layer says it itself: `Module.config` gives literals, and modules where those were given. Reading calls only
classes that are imported already (`tensorgraph.nn.registry`), with such literals; initialisers draw nothing then, and
make no more numbers than come with the description.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from tensorgraph.engine import init, random
from tensorgraph.nn.module import Module
from tensorgraph.nn.registry import class_of, name_of

__all__ = ["build", "describe", "read_switches", "set_switches"]

DEPTH = 50  # of modules given to modules; a file that nests deeper was not written by `describe`
ROOM = 4, 2**20  # first numbers that constructors may make: so many times what comes with the description, and some


def describe(model: Any) -> dict[str, Any] | None:
    """A model as JSON, or None where a part does not say how it was made, or is used in two places.

    Raises
    ------
    TypeError
        If a ``config()`` gives something that is no literal.

    Examples
    --------
    >>> from tensorgraph import nn
    >>> describe(nn.Sequential(nn.Flatten(), nn.ReLU()))["arguments"]["layers"]
    [{'layer': 'Flatten', 'arguments': {'keep': 1}}, {'layer': 'ReLU', 'arguments': {}}]
    """
    try:
        return _describe(model, set())
    except NotImplementedError:
        return None


def _describe(module: Any, given: set[int]) -> dict[str, Any]:
    """One module; `given` gathers it and those it was made with, which are described inside."""
    kind = type(module)
    if not isinstance(module, Module) or not kind.says_how_it_was_made():
        raise NotImplementedError(f"{kind.__name__} does not say how it was made")
    if id(module) in given:
        raise NotImplementedError(f"{module.label} is used in two places")
    given.add(id(module))
    arguments = _literal(dict(module.config()), given, f"{kind.__name__}.config()")
    parts = {path: _part(part) for path, part in module.named_modules() if path and id(part) not in given}
    given.update(map(id, module.modules()))
    return {"layer": name_of(kind), "arguments": arguments} | ({"parts": parts} if parts else {})


def _literal(value: Any, given: set[int], where: str) -> Any:
    if isinstance(value, Module):
        return _describe(value, given)
    if isinstance(value, (list, tuple)):
        return [_literal(item, given, f"{where}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, dict) and "layer" not in value and all(type(key) is str for key in value):
        return {key: _literal(item, given, f"{where}[{key!r}]") for key, item in value.items()}
    if value is None or type(value) in (bool, int, str) or (type(value) is float and math.isfinite(value)):
        return value
    raise TypeError(
        f"{where} is {value!r}: expected None, a boolean, a finite number, a string, a module, or a list or dict (with "
        "strings as keys, none of them 'layer') of these, so that it can be saved"
    )


def _part(module: Module) -> list[Any]:
    """What a constructor made by itself, to be recognised when it makes it again."""
    try:
        own = {key: value for key, value in module.config().items() if not _modules(value)}
        return [name_of(type(module)), json.loads(json.dumps(own, allow_nan=False))]
    except (NotImplementedError, TypeError, ValueError):
        return [name_of(type(module)), None]


def build(described: Any, arrays: Mapping[str, Any]) -> Any:
    """A new model from `describe`'s JSON, its numbers still to be loaded.

    Parameters
    ----------
    described : dict
        Of any origin: it is checked, and names no code but imported classes of modules.
    arrays : mapping of path to array
        The numbers that will be loaded; layers larger than these are refused before memory is taken.

    Raises
    ------
    ValueError
        Saying what is not a description, or which import is missing.
    """
    times, more = ROOM
    before = random.state().numpy()
    try:
        with init.undrawn(times * sum(np.size(array) for array in arrays.values()) + more):
            return _build(described, "", 0)
    finally:
        random.state().assign(before)


def _build(described: Any, path: str, depth: int) -> Any:
    where = path or "the model"
    if not isinstance(described, dict) or not isinstance(described.get("layer"), str) or depth > DEPTH:
        raise ValueError(f"{where} is not described as a layer")
    if "layers" in described:  # how files described a Sequential at first
        described = {"arguments": {"layers": described["layers"]}, **described}
    arguments = described.get("arguments")
    kind = class_of(described["layer"], where)
    if not isinstance(arguments, dict):
        raise ValueError(f"{where} is a {kind.__name__} without arguments")
    try:
        module = kind.from_config(
            {key: _read(value, f"{path}.{key}" if path else key, depth + 1) for key, value in arguments.items()}
        )
    except TypeError as error:
        raise ValueError(f"{where}: {error}") from error
    _compare(module, described, where)
    return module


def _read(value: Any, path: str, depth: int) -> Any:
    """An argument, the modules in it built."""
    if isinstance(value, dict) and ("layer" in value or depth > DEPTH):
        return _build(value, path, depth)
    if isinstance(value, list):
        return [_read(item, f"{path}.{i}", depth + 1) for i, item in enumerate(value)]
    if isinstance(value, dict):
        below = f"{path}." if path else ""
        return {name: _read(item, f"{below}{name}", depth + 1) for name, item in value.items()}
    return value


def _compare(module: Any, described: Mapping[str, Any], where: str) -> None:
    """Refuse a module that was not made with what the description says, or that made other parts."""
    kind, now = type(module).__name__, module.config()
    told = {key: value for key, value in described["arguments"].items() if not _has_layers(value)}
    unknown = sorted(described["arguments"].keys() - now.keys())
    if unknown:
        raise ValueError(f"{where} has other arguments than {kind} takes ({', '.join(now)}): {', '.join(unknown)}")
    for key, value in told.items():
        if _literal(now[key], set(), f"{kind}.config()[{key!r}]") != value:
            raise ValueError(f"{where}: a {kind} made with {key}={value!r} says that it has {key}={now[key]!r}")
    inside = {id(part) for value in now.values() for layer in _modules(value) for part in layer.modules()}
    parts = {path: _part(part) for path, part in module.named_modules() if path and id(part) not in inside}
    then = described.get("parts", {})
    for path in [*parts, *then]:
        if parts.get(path) != then.get(path):
            raise ValueError(
                f"{where} had {then.get(path)} at {path!r}, and {kind}(...) now makes {parts.get(path)} there: the "
                "class is another now, or a part was replaced after the model was made; build the model and call "
                "load(path, model)"
            )


def _has_layers(value: Any) -> bool:
    if isinstance(value, dict):
        return "layer" in value or any(map(_has_layers, value.values()))
    return isinstance(value, list) and any(map(_has_layers, value))


def _modules(value: Any) -> list[Module]:
    """The modules in an argument."""
    if isinstance(value, Module):
        return [value]
    items = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return [module for item in items for module in _modules(item)]


def read_switches(model: Any) -> dict[str, Any]:
    """What a model's arrays do not say: which modules are frozen, which parameters are not trained, first numbers."""
    return {
        "frozen": [path for path, module in model.named_modules() if module.frozen],
        "fixed": [path for path, parameter in model.named_parameters() if parameter._node is None],
        "initialisers": {path: cell.initialiser for path, cell in model.named_cells() if cell.initialiser},
    }


def set_switches(model: Any, switches: Mapping[str, Any], *, whole: bool) -> None:
    """Freeze a model's parts as they were; `whole`: a model that was built from its description.

    A model that the user built keeps what the user switched off besides.
    """
    modules, cells = dict(model.named_modules()), dict(model.named_cells())
    for path in switches["frozen"]:
        if path in modules:
            object.__setattr__(modules[path], "frozen", True)
    for path in switches["fixed"]:
        if path in cells:
            cells[path].requires_grad_(False)
    for path, text in switches["initialisers"].items() if whole else ():
        if path in cells and type(text) is str:
            cells[path].initialiser = text
