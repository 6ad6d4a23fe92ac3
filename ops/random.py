"""Random draws as pure ops on a state: ``u, state1 = uniform(state, shape=...)``.

A state is three unsigned 64-bit integers: the two words of a Philox key and the number of the draw. Each draw has a
counter range of its own, so draws never overlap. (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011)
"""

from __future__ import annotations

import functools
import threading
from typing import Any

import numpy as np

from tensorgraph.engine.aval import Aval, canonical_dtype, default_dtype
from tensorgraph.engine.batching import BatchCall, Shared, one_by_one, stacked
from tensorgraph.engine.declare import op
from tensorgraph.engine.op import random
from tensorgraph.ops.creation import canonical_shape, canonical_size

STATE = Aval((3,), np.uint64)


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

    def at(self, state: Any) -> np.random.Generator:
        """The generator at the beginning of a draw."""
        counter = np.array([0, 0, state[2], 0], np.uint64)
        self.philox.state = {
            "bit_generator": "Philox", "state": {"counter": counter, "key": state[:2]}, "buffer": _NOTHING,
            "buffer_pos": 4, "has_uint32": 0, "uinteger": 0,
        }  # fmt: skip
        return self.generator


_NOTHING = np.zeros(4, np.uint64)
_stream = functools.cache(Stream)  # at the first draw: numpy.random loads late


def _generator(state: Any) -> tuple[np.random.Generator, Any]:
    generator = _stream().at(state)
    after = np.array(state, np.uint64)
    after[2] += np.uint64(1)
    return generator, after


def _check(state: Any, **attrs: Any) -> None:
    if state.shape != (3,) or state.dtype != np.uint64:
        came = Aval(state.shape, state.dtype)
        raise ValueError(f"a random state is u64[3] (tensorgraph.random.key(seed)), got {came}")


def _infer(state: Any, *, shape: Any, dtype: Any) -> tuple[Aval, Aval]:
    _check(state)
    return Aval(canonical_shape(shape), _dtype(dtype)), STATE


def _infer_permutation(state: Any, *, n: Any) -> tuple[Aval, Aval]:
    _check(state)
    return Aval((canonical_size(n, "n"),), np.int64), STATE


def _float(x: Any, dtype: Any) -> Any:
    return x.astype(_dtype(dtype), copy=False)


def _uniform(state: Any, *, shape: Any, dtype: Any = None) -> Any:
    generator, after = _generator(state)
    kind = _dtype(dtype)
    if kind == np.float16:  # eleven bits, so that rounding never gives 1
        return (generator.integers(0, 2048, canonical_shape(shape)) / 2048).astype(kind), after
    return np.asarray(generator.random(canonical_shape(shape), kind.type)), after


def _normal(state: Any, *, shape: Any, dtype: Any = None) -> Any:
    generator, after = _generator(state)
    kind = np.float64 if _dtype(dtype) == np.float64 else np.float32
    return _float(np.asarray(generator.standard_normal(canonical_shape(shape), kind)), dtype), after


def _permutation(state: Any, *, n: int) -> Any:
    generator, after = _generator(state)
    return generator.permutation(canonical_size(n, "n")), after


def _permutation_batch(call: BatchCall) -> Any:
    """One draw an example, each from the state that the last one left."""
    (state,) = call.args
    if call.on[0] or not call.size:
        return one_by_one(call) if call.on[0] else (np.zeros((0, call.attrs["n"]), np.int64), Shared(state))
    orders = []
    for _ in range(call.size):
        order, state = call.run(state)
        orders.append(order)
    return stacked(orders), Shared(state)


EXAMPLE = np.array([1, 2, 3], np.uint64)

uniform = op(
    "uniform(state, *, shape, dtype=None) -> u, state1", _uniform, random, vjp=dict(state=None), check=_check,
    infer_rule=_infer, traits=("bounded above", "bounded below"), examples=(((EXAMPLE,), dict(shape=(2, 3))),),
    doc="Uniform numbers in [0, 1) and the next state.",
)  # fmt: skip
normal = op(
    "normal(state, *, shape, dtype=None) -> z, state1", _normal, random, vjp=dict(state=None), check=_check,
    infer_rule=_infer, examples=(((EXAMPLE,), dict(shape=(4,))),),
    doc="Standard normal numbers and the next state.",
)  # fmt: skip
permutation = op(
    "permutation(state, *, n: int) -> order, state1", _permutation, random, vjp=dict(state=None), check=_check,
    batch=_permutation_batch, infer_rule=_infer_permutation, traits=("positions",), examples=(((EXAMPLE,), dict(n=5)),),
    doc="The integers below n in random order, and the next state.",
)  # fmt: skip
