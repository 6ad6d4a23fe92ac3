"""Random numbers, reproducible from a seed: draws are pure ops on a counter cell.

`tensorgraph.random.seed(0)` sets the process-wide state; a `Generator` has a state of its own.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from tensorgraph.arguments import Name, Natural, checked
from tensorgraph.arguments.foreign import getter
from tensorgraph.engine import known
from tensorgraph.engine.aval import Extent, FloatDType, Shape
from tensorgraph.engine.cells import Buffer
from tensorgraph.engine.op import Op
from tensorgraph.engine.tensor import Tensor

__all__ = ["Generator", "key", "normal", "permutation", "seed", "state", "uniform"]


# what `key` makes of the seed 0, with which a process begins: NumPy's random numbers take 10 ms to load
_WORDS_OF_0 = (0xDB2CD7E7B0F478BE, 0xABF4641A2C71BA49)


@checked
def key(seed: Natural) -> np.ndarray[Any, Any]:
    """A fresh random state, ``u64[3]``: two words of key made from the seed, and the number of the next draw."""
    words = np.random.SeedSequence(int(seed)).generate_state(2, np.uint64) if seed else _WORDS_OF_0
    return np.array([words[0], words[1], 0], np.uint64)


class Generator:
    """A stream of random numbers whose state is a cell: read, saved and traced as any other.

    Parameters
    ----------
    seed : int
    name : str
        The cell's path in graphs and saved files.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> a = tg.random.Generator(0).uniform((2,))
    >>> b = tg.random.Generator(0).uniform((2,))
    >>> a.tolist() == b.tolist()
    True
    """

    @checked
    def __init__(self, seed: Natural = 0, name: Name = "random.state") -> None:
        self.state = Buffer(key(seed), name=name)
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {"state": self.state}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.state = state["state"]
        self._lock = threading.Lock()

    @checked
    def seed(self, seed: Natural) -> None:
        """Start again from a seed."""
        self.state.assign(key(seed))

    @checked
    def uniform(self, shape: Shape = (), dtype: FloatDType | None = None) -> Tensor:
        """Uniform numbers in [0, 1)."""
        return self._draw(known.uniform, shape=shape, dtype=dtype)

    @checked
    def normal(self, shape: Shape = (), dtype: FloatDType | None = None) -> Tensor:
        """Standard normal numbers."""
        return self._draw(known.normal, shape=shape, dtype=dtype)

    @checked
    def permutation(self, n: Extent) -> Tensor:
        """The integers below n in random order."""
        return self._draw(known.permutation, n=n)

    def _draw(self, op: Op, **attrs: Any) -> Tensor:
        with self._lock:  # a draw and its advance belong together
            value, after = op.public(self.state.read(), **attrs)
            self.state.assign(after)
        return value  # type: ignore[no-any-return]


_generator = Generator(0)


def state() -> Buffer:
    """The cell of the process-wide random state."""
    return _generator.state


@checked
def seed(seed: Natural) -> None:
    """Seed the process-wide generator.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> tg.random.seed(7); a = tg.random.normal((2,))
    >>> tg.random.seed(7); b = tg.random.normal((2,))
    >>> a.tolist() == b.tolist()
    True
    """
    _generator.seed(seed)


@checked
def uniform(shape: Shape = (), dtype: FloatDType | None = None) -> Tensor:
    """Uniform numbers in [0, 1) from the process-wide generator."""
    return _generator.uniform(shape, dtype)


@checked
def normal(shape: Shape = (), dtype: FloatDType | None = None) -> Tensor:
    """Standard normal numbers from the process-wide generator."""
    return _generator.normal(shape, dtype)


@checked
def permutation(n: Extent) -> Tensor:
    """The integers below n in random order, from the process-wide generator."""
    return _generator.permutation(n)


__getattr__ = getter("tensorgraph.random", __all__)
