"""Which function a name of the array namespace is.

The catalogue's function of the name, where the standard has the name or NumPy does. How the standard calls it is in one
table (`standard`); where the catalogue's own function cannot be called so, it is wrapped. What differs in more than the
call, and what is about dtypes or memory rather than numbers, stands in this room's other files.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np

from tensorgraph.arguments.foreign import absent
from tensorgraph.engine import spec
from tensorgraph.engine.functions import FUNCTIONS, function_named
from tensorgraph.engine.op import ALIASES, CATALOGUE, Op, creation, op_named
from tensorgraph.numpy import dtypes, forms, interchange, manipulation
from tensorgraph.numpy.calls import as_numpy
from tensorgraph.numpy.standard import CONSTANTS, VERSION, signatures
from tensorgraph.ops import shape

__all__ = ["conforms", "lookup", "names", "own"]

REQUIRED = inspect.Parameter.empty
ROOMS = {"random": "tensorgraph.random has the generators, and takes shapes: tg.random.normal((2, 3))"}


@functools.cache
def own() -> dict[str, Any]:
    """What this room itself has: functions, constants and dtypes, by name."""
    values: dict[str, Any] = {name: getattr(np, name) for name in CONSTANTS}
    values |= {name: getattr(spec, name) for name in spec.__all__ if hasattr(np, name)}
    values["bool"] = spec.bool_
    values["__array_api_version__"] = VERSION
    for module in (dtypes, forms, interchange, manipulation):
        values |= {name: getattr(module, name) for name in module.__all__}
    return values


def lookup(name: str) -> Any:
    """The function, constant or dtype of this name.

    Raises
    ------
    AttributeError
        Where there is none, with what to write instead.
    """
    if name in own():
        value = own()[name]
        return as_numpy(name, value) if inspect.isfunction(value) else value
    if name == "linalg":
        return import_module("tensorgraph.numpy.linalg")
    function = catalogued(name)
    if function is not None:
        return as_numpy(name, as_standard(name, function))
    if op_named(name) is not None or function_named(name) is not None:
        said = "NumPy's is called otherwise" if hasattr(np, name) else "as NumPy has none"
        raise AttributeError(
            f"module 'tensorgraph.numpy' has no attribute {name!r}, {said}; there is tensorgraph.{name}", name=name
        )
    if name in ROOMS:
        raise AttributeError(f"module 'tensorgraph.numpy' has no attribute {name!r}; {ROOMS[name]}", name=name)
    raise absent("module 'tensorgraph.numpy'", "tensorgraph", name, names())


def catalogued(name: str) -> Callable[..., Any] | None:
    """The catalogue's function that stands for the standard's or NumPy's of this name."""
    theirs = getattr(np, name, None)
    declared, function = op_named(name), function_named(name)
    if declared is not None and (name in signatures() or _stands(declared, theirs)):
        return declared.public
    if function is not None:
        makes = theirs is not None and not any(
            isinstance(a, (tuple, list)) for args, _ in function.examples for a in args
        )
        if name in signatures() or makes or any(theirs is f for f in function.numpy):
            return function.call
    if callable(theirs):
        for declared in CATALOGUE.values():
            if _stands(declared, theirs):
                return declared.public
        for function in FUNCTIONS.values():
            if any(theirs is f for f in function.numpy):
                return function.call
    return None


def _stands(declared: Op, theirs: Any) -> bool:
    """Whether an op is this function of NumPy's, and not only called like it."""
    name = getattr(theirs, "__name__", None)
    made = name in (declared.name, *declared.also) and (
        isinstance(theirs, np.ufunc) or (declared.kind is creation and not declared.inputs)
    )
    return theirs is not None and (made or theirs is declared.forward or any(theirs is f for f in declared.numpy))


def names() -> list[str]:
    """Every name of the array namespace."""
    theirs: dict[Any, str] = {}
    for name, value in sorted(vars(np).items()):  # not dir(np), whose testing and f2py are imported by a look
        if not name.startswith("_") and callable(value):
            theirs.setdefault(value, name)
    further = [name for function in FUNCTIONS.values() for name in function.also]
    every = {name for name in (*CATALOGUE, *ALIASES, *FUNCTIONS, *further) if catalogued(name) is not None}
    for declared in CATALOGUE.values():
        every |= {theirs[f] for f in (declared.forward, *declared.numpy) if f in theirs}
    for function in FUNCTIONS.values():
        every |= {theirs[f] for f in function.numpy if f in theirs}
    return sorted({*own(), *every, "linalg"})


def conforms(ours: inspect.Signature, standard: inspect.Signature) -> bool:
    """Whether a function of our signature can be called in every way that the standard calls it."""
    given = list(ours.parameters.values())
    for i, wanted in enumerate(standard.parameters.values()):
        mine = ours.parameters.get(wanted.name)
        if wanted.kind is not wanted.KEYWORD_ONLY:
            mine = given[i] if i < len(given) else None
            named = wanted.kind is wanted.POSITIONAL_OR_KEYWORD
            if mine is None or (named and mine.name != wanted.name):
                return False
            kinds = (mine.VAR_POSITIONAL,) if wanted.kind is wanted.VAR_POSITIONAL else (
                mine.POSITIONAL_ONLY, mine.POSITIONAL_OR_KEYWORD
            )  # fmt: skip
            if mine.kind not in kinds or (named and mine.kind is mine.POSITIONAL_ONLY):
                return False
        if mine is None or (wanted.default is not REQUIRED and mine.default != wanted.default):
            return False
    return True


def as_standard(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function itself where the standard can call it, else one that is called as the standard says."""
    standard = signatures().get(name)
    ours = inspect.signature(function)
    if standard is None or conforms(ours, standard):
        return function
    taken, place = list(ours.parameters), 0
    parameters = []
    for p in standard.parameters.values():
        # NumPy gives many of them by position
        if p.kind is p.KEYWORD_ONLY and place < len(taken) and taken[place] == p.name:
            p = p.replace(kind=p.POSITIONAL_OR_KEYWORD)
        place += 1 if p.kind is not p.KEYWORD_ONLY else len(taken)
        parameters.append(p)
    declared = getattr(function, "op", None)
    parameters += [ours.parameters[name] for name in (declared.signature.further if declared is not None else ())]
    called = inspect.Signature(parameters)
    by_position = [p.name for p in standard.parameters.values() if p.kind is not p.KEYWORD_ONLY]

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        try:
            given = called.bind(*args, **kwargs).arguments
        except TypeError as error:
            raise TypeError(f"{name}{called}: {error}") from None
        if "device" in given:
            interchange.require_cpu(given.pop("device"), name)
        dtype = None
        last = max((i for i, key in enumerate(by_position) if key in given), default=-1)
        values = [given.pop(key, standard.parameters[key].default) for key in by_position[: last + 1]]
        for key in [key for key in given if key not in ours.parameters]:
            value = given.pop(key)
            if key == "dtype":
                if value is not None:
                    dtype, values[0] = value, shape.astype.public(values[0], value)
            elif value != standard.parameters[key].default and key != "copy":
                raise TypeError(f"{name}: {key}={value!r} is not supported")
        result = function(*values, **given)
        # an integer sum is of 64 bits unless said
        return result if dtype is None else shape.astype.public(result, dtype)

    wrapper.__signature__ = called  # type: ignore[attr-defined]
    wrapper.__name__ = wrapper.__qualname__ = name
    return wrapper
