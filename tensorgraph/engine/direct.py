"""Eager calls on kernels in machine code: an op's `native` rule is asked once for shapes, strides and attributes.

An op that says ``direct=True`` runs the kernels that a compiled function would run, on the arrays themselves. Its
forward stays for all that the rule does not take, and where no machine code can be made. Elementwise ops do so with
large arrays, and so do their derivative rules, each in one walk through memory rather than one for each of its ops.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tensorgraph import jit
from tensorgraph.engine import modes
from tensorgraph.engine.aval import Aval
from tensorgraph.engine.op import Kind, Op, Rule, float_dtype
from tensorgraph.engine.source import define

__all__ = ["LARGE", "can_fuse", "direct_forward", "direct_rule", "is_fused", "overwriting"]

MOST = 1024  # calls that are known of an op: beyond, all are forgotten
LARGE = 4096
"""Numbers of an array from which an elementwise op, and its derivative rules, run as kernels."""

ndarray = np.ndarray
_UNKNOWN = object()


def direct_forward(declared: Op, forward: Callable[..., Any] | None = None) -> Callable[..., Any]:
    """An op's forward that runs the kernels of its rule where there are some, as a function of the same arguments; what
    they do not take is left to `forward`, by default the op's."""
    if declared.kind.large:
        return _large_forward(declared)
    sig, names = declared.signature, declared.inputs
    known: dict[Any, Any] = {}
    scope: dict[str, Any] = {"_forward": forward or declared.forward, "_known": known.get, "_UNKNOWN": _UNKNOWN}
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


def _large_forward(declared: Op) -> Callable[..., Any]:
    """The like of an elementwise op: looked up where an array is large."""
    sig, names = declared.signature, declared.inputs
    params = [*names, *["*"] * bool(sig.attrs)]
    params += [attr if attr in sig.required else f"{attr}=_default_{attr}" for attr in sig.attrs]
    passed = ", ".join([*names, *[f"{attr}={attr}" for attr in sig.attrs]])

    def public(*values: Any) -> Any:
        return declared.public(*values[: len(names)], **dict(zip(sig.attrs, values[len(names) :], strict=True)))

    scope = {"_forward": declared.forward, "_large": _Large(declared.kind, public), "_ndarray": ndarray}
    scope |= {f"_default_{attr}": default for attr, default in sig.attrs.items()}
    body = [
        f"if {' or '.join(f'(type({n}) is _ndarray and {n}.size >= {LARGE})' for n in names)}:",
        f"    _out = _large({', '.join([*names, *sig.attrs])})",
        "    if _out is not None: return _out",
        f"return _forward({passed})",
    ]
    return define(declared.name, "direct call", ", ".join(params), body, scope)


def direct_rule(declared: Op, rule: Rule) -> Callable[..., Any] | None:
    """A derivative rule of an elementwise op on large arrays, as a function that gives None where the rule has to run;
    None where it always has."""
    if not (declared.direct and declared.kind.large) or any(name.endswith("_aval") for name in rule.params):
        return None
    return _Large(declared.kind, rule.function)


class _Large:
    """A function of arrays and others, by one kernel for all calls with such arrays and the same others."""

    def __init__(self, kind: Kind, function: Callable[..., Any]) -> None:
        self.kind, self.function = kind, function
        self.known: dict[Any, Any] = {}

    def __call__(self, *values: Any) -> Any:
        arrays = [value for value in values if type(value) is ndarray]
        key = tuple([
            (value.shape, value.strides, value.dtype, value.flags.aligned) if type(value) is ndarray else repr(value)
            for value in values
        ])  # fmt: skip
        run = self.known.get(key, _UNKNOWN)
        if run is _UNKNOWN:
            run = self._planned(key, values, arrays)
        return None if run is None else run(*arrays)

    def _planned(self, key: Any, values: Sequence[Any], arrays: Sequence[Any]) -> Any:
        if len(self.known) >= MOST:
            self.known.clear()
        self.known[key] = run = None
        plain = all(array.flags.aligned and array.dtype.isnative for array in arrays)
        if plain and all(type(value) in (ndarray, float, int, bool, str) for value in values) and _machine_code():
            self.known[key] = run = self.kind.kernels_of(self.function, values)
        return run


def can_fuse() -> bool:
    """Whether a fused op runs as one, by kernels of its rule, and what these do not take by Numba's."""
    return (jit.expected() and _machine_code()) or jit.available()


def is_fused(direct: bool) -> bool:
    """Whether fused ops run as one now; `direct`, whether all of them have kernels for eager calls."""
    return modes.current().implementation == "fused" and (can_fuse() if direct else jit.available())


class Overwriting:
    """An update of several parameters at once, in place: its op's kernels, of all of them on one tape.

    Parameters
    ----------
    declared : Op
        Its inputs are a parameter, its gradient, the state that is kept for it, and settings; its results are the
        parameter and the state.
    attrs : tuple of (str, value)
    """

    def __init__(self, declared: Op, attrs: tuple[tuple[str, Any], ...]) -> None:
        self.declared, self.attrs = declared, dict(attrs)
        self.known: dict[Any, Any] = {}

    def __call__(self, rows: Sequence[Sequence[Any]], settings: Sequence[Any]) -> bool:
        """Whether it was done; if not, nothing was written.

        Parameters
        ----------
        rows : sequence of sequence of ndarray
            Of each parameter its array, its gradient, then its state.
        settings : sequence of ndarray
            0-d.
        """
        key, given = [], [*settings]
        for p, g, *state in rows:
            if not p.flags.carray or g.shape != p.shape or g.dtype != p.dtype:
                return False
            key.append((p.shape, p.dtype.char))
            given += (p, g if g.flags.carray else np.array(g, order="C"), *state)
        known = tuple(key)
        run = self.known.get(known, _UNKNOWN)
        if run is _UNKNOWN:
            run = self._planned(known, rows, settings)
        return run is not None and run.into(given, ())

    def _planned(self, key: Any, rows: Sequence[Sequence[Any]], settings: Sequence[Any]) -> Any:
        if len(self.known) >= MOST:
            self.known.clear()
        self.known[key] = None
        if not _machine_code():
            return None
        from tensorgraph.native.direct import Direct, place_of_array
        from tensorgraph.native.places import Call

        rule = self.declared.native_rule()
        numbers = [place_of_array(a) for a in settings]
        whole = Call(tuple(numbers), (), {})
        for p, _, *state in rows:
            own = [place_of_array(a) for a in (p, p, *state)]  # a gradient lies as its parameter
            call = Call((*own, *numbers), (own[0], *own[2:]), self.attrs)
            if rule is None or not rule(call) or call.warnings:
                return None
            whole.inputs += tuple(own)
            for name in ("records", "checks", "scratch_places"):
                getattr(whole, name).extend(getattr(call, name))
        self.known[key] = made = Direct(whole, single=False)
        return made


overwriting = functools.cache(Overwriting)


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
    if declared.dtype == "float" and len(values) == 1 and values[0].dtype.kind in "biu":
        return _of_floats(declared, known, key, values[0], attrs)
    from tensorgraph.native.direct import direct, place_of_array
    from tensorgraph.native.places import Call, Place

    def aval(value: Any) -> Any:
        if isinstance(value, list | tuple):
            return [aval(v) for v in value]
        return None if value is None else Aval(value.shape, value.dtype)

    def place(value: Any) -> Any:
        if isinstance(value, list | tuple):
            return [place(v) for v in value]
        return None if value is None else place_of_array(value)

    types = _types(declared, tuple(map(aval, values)), attrs)
    rule = declared.native_rule()
    if types is None or rule is None:
        return None
    call = Call(tuple(map(place, values)), tuple(Place.new(t.shape, t.dtype) for t in types), attrs)
    known[key] = made = direct(rule, call, len(types) == 1 and declared.single)
    return made


def _of_floats(declared: Op, known: dict[Any, Any], key: Any, value: Any, attrs: Mapping[str, Any]) -> Any:
    """What runs a call of integers: it is one of the floats that they are."""
    floats = value.astype(float_dtype(value.dtype), order="C")
    run = _planned(declared, known, (key, "as floats"), (floats,), attrs)
    known[key] = made = None if run is None else lambda x: run(x.astype(floats.dtype, order="C"))
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
