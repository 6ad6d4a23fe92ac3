"""Random numbers, reproducible from a seed: draws are pure ops on a counter cell.

`tensorgraph.random.seed(0)` sets the process-wide state; a `Generator` has a state of its own.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from tensorgraph.arguments.foreign import getter
from tensorgraph.engine import known
from tensorgraph.engine.cells import Buffer
from tensorgraph.engine.op import Op
from tensorgraph.engine.tensor import Tensor

__all__ = ["Generator", "key", "normal", "permutation", "seed", "state", "uniform"]


# what `key` makes of the seed 0, with which a process begins: NumPy's random numbers take 10 ms to load
_WORDS_OF_0 = (0xDB2CD7E7B0F478BE, 0xABF4641A2C71BA49)


def key(seed: int) -> np.ndarray[Any, Any]:
    """A fresh random state, ``u64[3]``: two words of key made from the seed, and the number of the next draw."""
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
        raise ValueError(f"a seed is a non-negative integer, got {seed!r}")
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

    def __init__(self, seed: int = 0, name: str = "random.state") -> None:
        self.state = Buffer(key(seed), name=name)
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {"state": self.state}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.state = state["state"]
        self._lock = threading.Lock()

    def seed(self, seed: int) -> None:
        """Start again from a seed."""
        self.state.assign(key(seed))

    def uniform(self, shape: Any = (), dtype: Any = None) -> Tensor:
        """Uniform numbers in [0, 1)."""
        return self._draw(known.uniform, shape=shape, dtype=dtype)

    def normal(self, shape: Any = (), dtype: Any = None) -> Tensor:
        """Standard normal numbers."""
        return self._draw(known.normal, shape=shape, dtype=dtype)

    def permutation(self, n: int) -> Tensor:
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


def seed(seed: int) -> None:
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


def uniform(shape: Any = (), dtype: Any = None) -> Tensor:
    """Uniform numbers in [0, 1) from the process-wide generator."""
    return _generator.uniform(shape, dtype)


def normal(shape: Any = (), dtype: Any = None) -> Tensor:
    """Standard normal numbers from the process-wide generator."""
    return _generator.normal(shape, dtype)


def permutation(n: int) -> Tensor:
    """The integers below n in random order, from the process-wide generator."""
    return _generator.permutation(n)


__getattr__ = getter("tensorgraph.random", __all__)
