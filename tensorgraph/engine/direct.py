"""Eager calls on kernels in machine code: an op's `native` rule is asked once for shapes, strides and attributes.

An op that says ``direct=True`` runs the kernels that a compiled function would run, on the arrays themselves. Its
forward stays for all that the rule does not take, and where no machine code can be made.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tensorgraph import jit
from tensorgraph.engine.aval import Aval
from tensorgraph.engine.op import Op
from tensorgraph.engine.source import define

__all__ = ["can_fuse", "direct_forward"]

MOST = 1024  # calls that are known of an op: beyond, all are forgotten

ndarray = np.ndarray
_UNKNOWN = object()


def direct_forward(declared: Op) -> Callable[..., Any]:
    """An op's forward that runs the kernels of its rule where there are some, as a function of the same arguments."""
    sig, names = declared.signature, declared.inputs
    known: dict[Any, Any] = {}
    scope: dict[str, Any] = {"_forward": declared.forward, "_known": known.get, "_UNKNOWN": _UNKNOWN}
    scope["_planned"] = functools.partial(_planned, declared, known)
    params = [f"{n}=None" if n in sig.optional else n for n in names] + ["*"] * bool(sig.attrs)
    for attr, default in sig.attrs.items():
        scope[f"_default_{attr}"] = default
        params.append(attr if attr in sig.required else f"{attr}=_default_{attr}")
    attrs = "".join(f"{a}={a}, " for a in sig.attrs)
    key = "".join(f"{_described(n, n in sig.lists, n in sig.optional)}, " for n in names)
    key += "".join(f"{a}, " for a in sig.attrs)
    every = ", ".join(f"*{n}" if n in sig.lists else n for n in names)
    if sig.optional:
        every = f"*[_x for _x in ({every},) if _x is not None]"
    body = [
        f"try: _run = _known(_key := ({key}), _UNKNOWN)",
        "except (AttributeError, TypeError): _run = None",  # a number in an array's place; a list among the attributes
        f"if _run is _UNKNOWN: _run = _planned(_key, ({''.join(f'{n}, ' for n in names)}), dict({attrs}))",
        f"if _run is not None and (_out := _run({every})) is not None: return _out",
        f"return _forward({''.join(f'{n}, ' for n in names)}{attrs})",
    ]
    return define(declared.name, "direct call", ", ".join(params), body, scope)


def can_fuse() -> bool:
    """Whether a fused op runs as one, by kernels of its rule, and what these do not take by Numba's."""
    return (jit.expected() and _machine_code()) or jit.available()


@functools.cache
def _machine_code() -> bool:
    from tensorgraph.native import machine

    return machine.available()


def _described(name: str, several: bool, optional: bool) -> str:
    """What a call's key says of an input."""
    if several:
        return f"*[_a for _x in {name} for _a in (_x.shape, _x.strides, _x.dtype, _x.flags.aligned)]"
    said = f"{name}.shape, {name}.strides, {name}.dtype, {name}.flags.aligned"
    return f"*(({said}) if {name} is not None else (None,))" if optional else said


def _planned(declared: Op, known: dict[Any, Any], key: Any, values: Sequence[Any], attrs: Mapping[str, Any]) -> Any:
    """What runs a call of such arrays, which is noted; None where the forward does."""
    if len(known) >= MOST:
        known.clear()
    known[key] = None
    if not all(value is None or (type(value) is ndarray and value.flags.aligned) for value in _each(values)):
        return None
    if not _machine_code():
        return None
    from tensorgraph.native.direct import direct
    from tensorgraph.native.places import Buffer, Call, Place

    def aval(value: Any) -> Any:
        if isinstance(value, list | tuple):
            return [aval(v) for v in value]
        return None if value is None else Aval(value.shape, value.dtype)

    def place(value: Any) -> Any:
        if isinstance(value, list | tuple):
            return [place(v) for v in value]
        return None if value is None else Place(Buffer(value.nbytes), value.shape, value.dtype, value.strides)

    types = _types(declared, tuple(map(aval, values)), attrs)
    rule = declared.native_rule()
    if types is None or rule is None:
        return None
    call = Call(tuple(map(place, values)), tuple(Place.new(t.shape, t.dtype) for t in types), attrs)
    known[key] = made = direct(rule, call, len(types) == 1 and declared.single)
    return made


def _each(values: Sequence[Any]) -> Iterator[Any]:
    for value in values:
        yield from value if isinstance(value, list | tuple) else (value,)


def _types(declared: Op, avals: tuple[Any, ...], attrs: Mapping[str, Any]) -> tuple[Aval, ...] | None:
    """What a call gives, residuals too; None where that is not known, or the forward has to say what is wrong."""
    try:
        types = declared.infer(avals, attrs)
        rest = declared.infer_residuals(avals, attrs) if declared.residuals else ()
    except Exception:
        return None
    return None if rest is None else (*types, *rest)
