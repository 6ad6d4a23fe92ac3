"""NumPy's form of a call, where ours is another: its names of arguments, their order, and what says nothing here."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tensorgraph.ops import shape

__all__ = ["as_numpy", "by_name", "numpys_call", "parameters", "refuse_out", "signature", "without_defaults"]

# what NumPy calls an argument, and how else
RENAMED = {"newshape": "shape", "ddof": "correction"}

# of memory that may be written to: the result is the same
SAYS_NOTHING = frozenset({"overwrite_input", "copy", "subok"})

BY_POSITION = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)

signature = functools.cache(inspect.signature)


def refuse_out(name: str, out: Any) -> None:
    """Tensors never change, and arrays are not written to."""
    if out is not None:
        raise TypeError(f"{name} cannot write a tensor's result into an array (out=); leave `out` away")


@functools.cache
def parameters(function: Any) -> dict[str, Any] | None:
    """The names and defaults of a NumPy function, or None where they are not known; of ``**kwargs`` none are."""
    try:
        given = inspect.signature(function).parameters
    except (TypeError, ValueError):  # a C function without a signature
        return None
    if any(p.kind is p.VAR_POSITIONAL for p in given.values()):
        return None
    return {name: p.default for name, p in given.items() if p.kind is not p.VAR_KEYWORD}


def _is_default(value: Any, default: Any) -> bool:
    plain = type(value) in (bool, int, float, str) and type(value) is type(default)
    return value is default or value is np._NoValue or (plain and value == default)


def without_defaults(function: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any] | None:
    """A call's arguments by NumPy's names, without what NumPy takes anyway and what says nothing here.

    None where NumPy's names are not known, or are not meant.
    """
    defaults = parameters(function)
    if defaults is None or len(args) > len(defaults):
        return None
    given = dict(zip(defaults, args, strict=False))
    if given.keys() & kwargs.keys():
        return None
    return {
        k: v for k, v in {**given, **kwargs}.items()
        if k not in SAYS_NOTHING and not _is_default(v, defaults.get(k, np._NoValue))
    }  # fmt: skip


def by_name(function: Any, n_inputs: int, args: Any, kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Arguments as the signature names them by which NumPy has bound them: the inputs in order, the rest by keyword."""
    given = without_defaults(function, args, kwargs)
    if given is None:
        return args, kwargs
    names = list(parameters(function) or ())[:n_inputs]
    inputs = tuple([given.pop(name) for name in names if name in given])
    return inputs, {"shape" if k == "newshape" else k: v for k, v in given.items()}


def _own_name(name: str, function: Any, ours: Mapping[str, inspect.Parameter]) -> str:
    """What is called so in NumPy: what must be given, or has no name, comes in NumPy's order."""
    theirs, names = signature(function).parameters, list(ours)
    for known in (name, RENAMED.get(name, ""), name.removeprefix("a_")):
        if known in ours:
            return known
    place = list(theirs).index(name) if name in theirs else len(names)
    if place < len(names):
        p, own = theirs[name], ours[names[place]]
        nameless = inspect.Parameter.POSITIONAL_ONLY in (p.kind, own.kind) and own.kind in BY_POSITION
        if p.default is p.empty or nameless or own.name.lower() == name.lower():
            return own.name
    return name


def numpys_call(
    function: Any, ours: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], name: str
) -> tuple[tuple[Any, ...], dict[str, Any], Any]:
    """The arguments of a call of NumPy's as those of our function, and a dtype that the result is to have.

    What our function has no name for stays under NumPy's, for it to refuse.
    """
    given = without_defaults(function, args, kwargs)
    taken = signature(ours).parameters
    if given is None:
        return args, {k: v for k, v in kwargs.items() if k in taken or k not in SAYS_NOTHING}, None
    refuse_out(name, given.pop("out", None))
    if any(p.kind in (p.VAR_KEYWORD, p.VAR_POSITIONAL) for p in taken.values()):
        return args, dict(kwargs), None
    theirs = parameters(function) or {}
    named = {_own_name(k, function, taken): v for k, v in given.items() if k in theirs}
    own = {k: v for k, v in given.items() if k not in theirs}
    dtype = named.pop("dtype", None) if "dtype" not in taken else None
    inputs: list[Any] = []
    for p in taken.values():
        if p.kind not in BY_POSITION or p.name not in named:
            break
        inputs.append(named.pop(p.name))
    if dtype is not None and inputs and not isinstance(inputs[0], (list, tuple)):  # what NumPy computes in
        inputs[0] = shape.astype.public(inputs[0], dtype=dtype)
    return tuple(inputs), named | own, dtype


def _alike(function: Any, ours: Callable[..., Any]) -> int:
    """How many arguments by position mean the same in both forms."""
    count = 0
    for name, theirs, p in zip(parameters(function) or {}, signature(function).parameters.values(),
                               signature(ours).parameters.values(), strict=False):  # fmt: skip
        both = theirs.default is theirs.empty and p.default is p.empty
        if p.kind not in BY_POSITION or theirs.kind not in BY_POSITION or not (both or name == p.name):
            break
        count += 1
    return count


def as_numpy(name: str, ours: Callable[..., Any]) -> Callable[..., Any]:
    """Our function, which is called in NumPy's form too, where that is known and another."""
    function = getattr(np, name, None)
    theirs = None if isinstance(function, (np.ufunc, type)) or not callable(function) else parameters(function)
    if theirs is None or function is ours:
        return ours
    taken = signature(ours).parameters
    if any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in taken.values()):
        return ours
    alike, known = _alike(function, ours), frozenset(k for k, p in taken.items() if p.kind is not p.POSITIONAL_ONLY)
    if alike == len(theirs) and known >= theirs.keys():
        return ours

    @functools.wraps(ours)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if len(args) <= alike and known >= kwargs.keys():
            return ours(*args, **kwargs)
        args, kwargs, dtype = numpys_call(function, ours, args, kwargs, f"numpy.{name}")
        result = ours(*args, **kwargs)
        return result if dtype is None else shape.astype.public(result, dtype=dtype)

    wrapper.__signature__ = signature(ours)  # type: ignore[attr-defined]
    return wrapper
