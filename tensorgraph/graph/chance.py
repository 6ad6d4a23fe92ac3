"""Random numbers of others that are drawn while a function is traced: a graph would give the same ones at every call.

What is told is told for sure: the state of NumPy's or Python's own generator was another one after the function than
before. So it is of generators that the function can be seen to hold: its arguments, what it closes over, its defaults,
globals that its code names, and the attributes of the object whose method it is. A generator that is made inside the
function, or hidden deeper, is not seen.
"""

from __future__ import annotations

import ctypes
import functools
import random
from collections.abc import Callable, Iterator, Mapping
from types import CodeType
from typing import Any

import numpy as np

__all__ = ["Generators", "return_of", "state_of"]

MOST_LAYERS = 20
State = Callable[[], Any]
MERSENNE = 624 * 4 + 4  # bytes of a Mersenne twister's state in memory: its numbers, and how many of them are used up


class Generators:
    """The generators that a function may draw from, with their states."""

    def __init__(self, function: Any, arguments: Mapping[str, Any]) -> None:
        self.states: dict[str, State] = {"numpy.random": _numpy_state, "random": random.getstate}
        seen: set[int] = set()
        for name, value in _held(function, arguments):
            state = state_of(value)
            if state is not None and id(value) not in seen:
                seen.add(id(value))
                self.states.setdefault(name, state)
        self.before = {name: state() for name, state in self.states.items()}

    def drawn(self) -> tuple[str, ...]:
        """The names of those that are in another state by now."""
        return tuple(name for name, state in self.states.items() if state() != self.before[name])


def _numpy_state() -> Any:
    own: Any = np.random.mtrand.get_bit_generator()
    if type(own) is np.random.MT19937:  # as nearly always: asking for its state takes as long as a small trace
        return ctypes.string_at(own.ctypes.state_address, MERSENNE)
    return _frozen(own.state)


def state_of(value: Any) -> State | None:
    """What reads the state of a generator, in a form that is compared; None of anything else."""
    if isinstance(value, np.random.Generator):
        return lambda: _frozen(value.bit_generator.state)
    if isinstance(value, np.random.RandomState):
        return lambda: _frozen(value.get_state(legacy=False))
    if isinstance(value, np.random.BitGenerator):
        return lambda: _frozen(value.state)
    if isinstance(value, random.Random) and not isinstance(value, random.SystemRandom):
        return value.getstate
    return None


def return_of(value: Any) -> Callable[[], None]:
    """What puts a generator back into the state that it is in now."""
    if isinstance(value, np.random.Generator):
        value = value.bit_generator
    if isinstance(value, np.random.BitGenerator):
        now = value.state
        return lambda: setattr(value, "state", now)
    if isinstance(value, np.random.RandomState):
        return functools.partial(value.set_state, value.get_state(legacy=False))
    return functools.partial(value.setstate, value.getstate())


def _frozen(state: Any) -> Any:
    """A generator's state as what is compared by value, and is a copy."""
    if isinstance(state, Mapping):
        return tuple((key, _frozen(value)) for key, value in state.items())
    return state.tobytes() if isinstance(state, np.ndarray) else state


def _held(function: Any, arguments: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """What a function can be seen to hold, by name."""
    yield from arguments.items()
    for layer in _layers(function):
        if isinstance(layer, functools.partial):
            yield from (
                ("an argument given by functools.partial", one) for one in (*layer.args, *layer.keywords.values())
            )
            continue
        owner = getattr(layer, "__self__", None)
        for holder, name in ((owner, "self"), (layer, type(layer).__name__)):
            for key, value in getattr(holder, "__dict__", {}).items():
                yield f"{name}.{key}", value
        call = layer if hasattr(layer, "__code__") else getattr(layer, "__func__", None) or type(layer).__call__
        if hasattr(layer, "named_cells"):
            call = getattr(type(layer), "forward", call)
        code = getattr(call, "__code__", None)
        if not isinstance(code, CodeType):
            continue
        for key, cell in zip(code.co_freevars, getattr(call, "__closure__", None) or (), strict=False):
            try:
                yield key, cell.cell_contents
            except ValueError:  # not given yet
                continue
        for value in (
            getattr(call, "__defaults__", None) or (),
            *(getattr(call, "__kwdefaults__", None) or {}).values(),
        ):
            yield from ((f"a default of {code.co_name}", one) for one in (value if type(value) is tuple else (value,)))
        names = getattr(call, "__globals__", {})
        yield from ((key, names[key]) for key in _named(code) if key in names)


def _layers(function: Any) -> Iterator[Any]:
    """A function, and those that it was made of by `functools.partial` and `functools.wraps`."""
    for _ in range(MOST_LAYERS):
        if function is None:
            break
        yield function
        function = function.func if isinstance(function, functools.partial) else getattr(function, "__wrapped__", None)


def _named(code: CodeType) -> Iterator[str]:
    """The global names in a function's code, and in that of functions inside it."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _named(constant)
