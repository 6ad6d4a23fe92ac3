"""Random draws as pure ops on a state: ``u, state1 = uniform(state, shape=...)``.

A state is three unsigned 64-bit integers: the two words of a Philox key and the number of the draw. Each draw has a
counter range of its own, so draws never overlap. (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011)
Many states, along leading axes, draw at once what each would draw alone. `turns` gives the states with which the turns
of a loop begin, so that they can draw side by side what they would draw one after the other.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from tensorgraph.engine.aval import Aval, canonical_dtype, default_dtype
from tensorgraph.engine.batching import BatchCall, unchanged, widened
from tensorgraph.engine.declare import op
from tensorgraph.engine.op import random, structural
from tensorgraph.ops.creation import canonical_shape, canonical_size


def _dtype(dtype: Any) -> np.dtype[Any]:
    kind = default_dtype() if dtype is None else canonical_dtype(dtype)
    if kind.kind != "f":
        raise TypeError(f"random numbers here are floats, got dtype {kind}; scale and convert with .astype")
    return kind


class Stream(threading.local):
    """A generator of this thread's that begins anew for every draw: a new one would take 10 microseconds."""

    def __init__(self) -> None:
        self.philox = np.random.Philox(0)
        self.generator = np.random.Generator(self.philox)

    def at(self, state: Any, group: int = 0) -> np.random.Generator:
        """The generator at the beginning of a draw, or behind so many groups of four 64-bit integers."""
        counter = np.array([group, 0, state[2], 0], np.uint64)
        self.philox.state = {
            "bit_generator": "Philox", "state": {"counter": counter, "key": state[:2]}, "buffer": _NOTHING,
            "buffer_pos": 4, "has_uint32": 0, "uinteger": 0,
        }  # fmt: skip
        return self.generator


_NOTHING = np.zeros(4, np.uint64)
_stream = functools.cache(Stream)  # at the first draw: numpy.random loads late


def _draw(state: Any, shape: tuple[int, ...], dtype: Any, one: Callable[[np.random.Generator], Any]) -> Any:
    """What each state draws, and the states after it."""
    after = np.array(state, np.uint64)
    after[..., 2] += np.uint64(1)
    if state.ndim == 1:
        return np.asarray(one(_stream().at(state)), dtype), after
    out = np.empty((*state.shape[:-1], *shape), dtype)
    for place in np.ndindex(state.shape[:-1]):
        out[place] = one(_stream().at(state[place]))
    return out, after


def _check(state: Any, **attrs: Any) -> None:
    if state.shape[-1:] != (3,) or state.dtype != np.uint64:
        came = Aval(state.shape, state.dtype)
        raise ValueError(f"a random state is u64[3] (tensorgraph.random.key(seed)), got {came}")


def _infer(state: Any, *, shape: Any, dtype: Any) -> tuple[Aval, Aval]:
    _check(state)
    return Aval((*state.shape[:-1], *canonical_shape(shape)), _dtype(dtype)), state


def _infer_permutation(state: Any, *, n: Any) -> tuple[Aval, Aval]:
    _check(state)
    return Aval((*state.shape[:-1], canonical_size(n, "n")), np.int64), state


def _uniform(state: Any, *, shape: Any, dtype: Any = None) -> Any:
    kind, sizes = _dtype(dtype), canonical_shape(shape)
    if kind == np.float16:  # eleven bits, so that rounding never gives 1
        return _draw(state, sizes, kind, lambda generator: generator.integers(0, 2048, sizes) / 2048)
    return _draw(state, sizes, kind, lambda generator: generator.random(sizes, kind.type))


def part_of_uniform(state: Any, begin: int, count: int) -> Any:
    """The float32 numbers from `begin` on of those that `uniform` draws of one state."""
    group, before = divmod(begin, 8)
    return _stream().at(state, group).random(before + count, np.float32)[before:]


def _normal(state: Any, *, shape: Any, dtype: Any = None) -> Any:
    kind, sizes = _dtype(dtype), canonical_shape(shape)
    wide = np.float64 if kind == np.float64 else np.float32
    return _draw(state, sizes, kind, lambda generator: generator.standard_normal(sizes, wide))


def _permutation(state: Any, *, n: int) -> Any:
    size = canonical_size(n, "n")
    return _draw(state, (size,), np.int64, lambda generator: generator.permutation(size))


def _standard_exponential(state: Any, *, shape: Any, dtype: Any = None) -> Any:
    kind, sizes = _dtype(dtype), canonical_shape(shape)
    wide = np.float64 if kind == np.float64 else np.float32
    return _draw(state, sizes, kind, lambda generator: generator.standard_exponential(sizes, wide))


def _shape_parameter(state: Any, a: Any, shape: Any) -> tuple[int, ...]:
    """The shape of what each state draws."""
    sizes, lead = canonical_shape(shape), state.shape[:-1]
    if a.dtype.kind != "f":
        raise TypeError(f"the shape parameter a must be of a float dtype, got {a.dtype}; convert with .astype")
    if np.broadcast_shapes(a.shape, (*lead, *sizes)) != (*lead, *sizes):
        raise ValueError(f"a of shape {a.shape} does not fit draws of shape {(*lead, *sizes)}")
    return sizes


def _infer_gamma(state: Any, a: Any, *, shape: Any) -> tuple[Aval, Aval]:
    _check(state)
    return Aval((*state.shape[:-1], *_shape_parameter(state, a, shape)), a.dtype), state


def _standard_gamma(state: Any, a: Any, *, shape: Any) -> Any:
    sizes = _shape_parameter(state, a, shape)
    of = np.broadcast_to(a, (*state.shape[:-1], *sizes))
    usual = np.isfinite(of) & (of >= 0)
    shapes = np.where(usual, of, 1).astype(np.float64)
    after = np.array(state, np.uint64)
    after[..., 2] += np.uint64(1)
    out = np.empty(of.shape)
    for place in np.ndindex(state.shape[:-1]):
        out[place] = _stream().at(state[place]).standard_gamma(shapes[place], sizes)
    return np.where(usual, out, np.nan).astype(a.dtype), after


def _gamma_batch(call: BatchCall) -> Any:
    ndim = len(call.shape(0)) - 1 + len(canonical_shape(call.attrs["shape"]))
    return call.run(call.whole(0), widened(call.args[1], ndim, call.on[1]))


def _integer_dtype(dtype: Any) -> np.dtype[Any]:
    kind = canonical_dtype(dtype)
    if kind.kind not in "iu":
        raise TypeError(f"random integers are of an integer dtype, got {kind}; convert with .astype")
    return kind


def _infer_integers(state: Any, *, low: Any, high: Any, shape: Any, dtype: Any) -> tuple[Aval, Aval]:
    _check(state)
    kind = _integer_dtype(dtype)
    limits = np.iinfo(kind)
    for name, value in (("low", low), ("high", high)):
        if type(value) is not int:
            raise TypeError(f"{name} must be an integer, got {value!r}")
    if not limits.min <= low < high <= limits.max + 1:
        raise ValueError(f"expected {limits.min} <= low < high <= {limits.max + 1} ({kind}), got {low} and {high}")
    return Aval((*state.shape[:-1], *canonical_shape(shape)), kind), state


def _integers(state: Any, *, low: int, high: int, shape: Any, dtype: Any = "int64") -> Any:
    out, _ = _infer_integers(state, low=low, high=high, shape=shape, dtype=dtype)
    sizes = canonical_shape(shape)
    return _draw(state, sizes, out.dtype, lambda generator: generator.integers(low, high, sizes, out.dtype))


def _infer_turns(state: Any, *, size: Any, draws: Any) -> tuple[Aval, Aval]:
    _check(state)
    canonical_size(draws, "draws")
    return Aval((*state.shape[:-1], canonical_size(size, "size"), 3), np.uint64), state


def _turns(state: Any, *, size: int, draws: int) -> Any:
    states = np.repeat(state[..., None, :], size, -2)
    states[..., 2] += np.arange(size, dtype=np.uint64) * np.uint64(draws)
    after = np.array(state)
    after[..., 2] += np.uint64(size * draws)
    return states, after


EXAMPLE = np.array([1, 2, 3], np.uint64)
SEVERAL = np.arange(12, dtype=np.uint64).reshape(2, 2, 3)
EXAMPLES = (((EXAMPLE,), dict(shape=(2, 3))), ((SEVERAL,), dict(shape=(4,))))

uniform = op(
    "uniform(state, *, shape, dtype=None) -> u, state1", _uniform, random, vjp=dict(state=None), check=_check,
    native="random:native_uniform", infer_rule=_infer, traits=("bounded above", "bounded below"), batch=unchanged,
    examples=EXAMPLES,
    doc="Uniform numbers in [0, 1) and the next state.",
)  # fmt: skip
normal = op(
    "normal(state, *, shape, dtype=None) -> z, state1", _normal, random, vjp=dict(state=None), check=_check,
    native="random:native_normal", infer_rule=_infer, batch=unchanged, examples=EXAMPLES,
    doc="Standard normal numbers and the next state.",
)  # fmt: skip
standard_exponential = op(
    "standard_exponential(state, *, shape, dtype=None) -> e, state1", _standard_exponential, random,
    vjp=dict(state=None), check=_check, infer_rule=_infer, traits=("bounded below",), batch=unchanged,
    native="random:native_exponential", examples=EXAMPLES,
    doc="Exponential numbers of mean 1 and the next state.",
)  # fmt: skip
standard_gamma = op(
    "standard_gamma(state, a, *, shape) -> x, state1", _standard_gamma, random, vjp=dict(state=None, a=None),
    infer_rule=_infer_gamma, check=lambda state, a, **attrs: _check(state), batch=_gamma_batch,
    examples=(((EXAMPLE, np.array([0.5, 3.0])), dict(shape=(4, 2))), ((SEVERAL, np.array(2.5)), dict(shape=(3,)))),
    on_numpy="numbers are drawn and refused one after the other, by NumPy's routine",
    doc="""Gamma numbers of shape parameter a and scale 1, and the next state; NaN where a is negative.

    `tensorgraph.random.gamma` has the derivative by a.
    """,
)  # fmt: skip
integers = op(
    "integers(state, *, low: int, high: int, shape, dtype='int64') -> n, state1", _integers, random,
    vjp=dict(state=None), check=_check, infer_rule=_infer_integers, batch=unchanged, native="random:native_integers",
    examples=(((EXAMPLE,), dict(low=-2, high=5, shape=(3, 2))), ((SEVERAL,), dict(low=0, high=2, shape=(4,)))),
    doc="Integers from low to below high, all as probable, and the next state.",
)  # fmt: skip
permutation = op(
    "permutation(state, *, n: int) -> order, state1", _permutation, random, vjp=dict(state=None), check=_check,
    batch=unchanged, infer_rule=_infer_permutation, traits=("positions",),
    examples=(((EXAMPLE,), dict(n=5)), ((SEVERAL,), dict(n=3))),
    on_numpy="each step of NumPy's shuffle waits for the one before",
    doc="The integers below n in random order, and the next state.",
)  # fmt: skip
turns = op(
    "turns(state, *, size: int, draws: int) -> states, state1", _turns, structural, vjp=dict(state=None), check=_check,
    infer_rule=_infer_turns, batch=unchanged, traits=("internal",),
    examples=(((EXAMPLE,), dict(size=3, draws=2)), ((SEVERAL,), dict(size=0, draws=1))),
    on_numpy="the states of a loop's turns are made once a loop",
    doc="""The states with which `size` turns of a loop begin, which draw `draws` times each, and the state after it.

    >>> import tensorgraph as tg
    >>> states, after = tg.turns(tg.random.key(0), size=3, draws=2)
    >>> states.numpy()[:, 2].tolist(), int(after[2])
    ([0, 2, 4], 6)
    """,
)  # fmt: skip
