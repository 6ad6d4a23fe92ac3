"""Random states: draws are pure ops on a counter cell. `tensorgraph.random` has the distributions."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from tensorgraph.arguments import Natural, checked
from tensorgraph.engine import known
from tensorgraph.engine.aval import FloatDType, Shape
from tensorgraph.engine.cells import Buffer
from tensorgraph.engine.op import Op
from tensorgraph.engine.tensor import Tensor

__all__ = ["Draws", "key", "normal", "process", "state", "uniform"]


# what `key` makes of the seed 0, with which a process begins: NumPy's random numbers take 10 ms to load
_WORDS_OF_0 = (0xDB2CD7E7B0F478BE, 0xABF4641A2C71BA49)


@checked
def key(seed: Natural) -> np.ndarray[Any, Any]:
    """A fresh random state, ``u64[3]``: two words of key made from the seed, and the number of the next draw."""
    words = np.random.SeedSequence(int(seed)).generate_state(2, np.uint64) if seed else _WORDS_OF_0
    return np.array([words[0], words[1], 0], np.uint64)


class Draws:
    """A random state that is a cell, and what is drawn from it."""

    def __init__(self, state: Buffer) -> None:
        self.state = state
        state.initialiser = state.initialiser or "key()"
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {"state": self.state}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.state = state["state"]
        self._lock = threading.Lock()

    @checked
    def uniform(self, shape: Shape = (), dtype: FloatDType | None = None) -> Tensor:
        """Uniform numbers in [0, 1)."""
        return self._draw(known.uniform, shape=shape, dtype=dtype)

    @checked
    def normal(self, shape: Shape = (), dtype: FloatDType | None = None) -> Tensor:
        """Standard normal numbers."""
        return self._draw(known.normal, shape=shape, dtype=dtype)

    def _draw(self, op: Op, *inputs: Any, **attrs: Any) -> Tensor:
        """One draw, after which the state is another."""
        with self._lock:  # a draw and its advance belong together
            value, after = op.public(self.state.read(), *inputs, **attrs)
            self.state.assign(after)
        return value  # type: ignore[no-any-return]


process = Draws(Buffer(key(0), name="random.state"))
"""What the whole process draws from."""


def state() -> Buffer:
    """The cell of the process-wide random state."""
    return process.state


uniform, normal = process.uniform, process.normal
