"""Dropout, inverted: at test time nothing is to be done."""

from __future__ import annotations

from typing import Any, ClassVar

from tensorgraph.arguments import Fraction, Natural, checked
from tensorgraph.engine import init, random
from tensorgraph.engine.cells import Buffer
from tensorgraph.engine.tensor import Tensor
from tensorgraph.nn.module import Module
from tensorgraph.nn.names import input_of
from tensorgraph.nn.ranks import exchanges, place_of
from tensorgraph.ops.logic import where
from tensorgraph.ops.random import turns, uniform

__all__ = ["Dropout", "Dropout1d", "Dropout2d", "Dropout3d"]


class Dropout(Module):
    """In training, zeroes each number with probability `rate` and divides the rest by ``1 - rate``.

    The expectation stays, so that at test time the layer gives what it gets. (Srivastava et al. 2014; Ng, course 2,
    week 1)

    Parameters
    ----------
    rate : float
        Probability of dropping, at least 0 and below 1.
    seed : int, optional
        Otherwise drawn from the process-wide generator.

    Attributes
    ----------
    state : Buffer
        The random state: saved, loaded and traced as every other.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> layer = tg.nn.Dropout(0.5, seed=0)
    >>> sorted(set(layer(tg.ones((100,))).tolist()))
    [0.0, 2.0]
    >>> layer.eval()(tg.ones((2,))).tolist()
    [1.0, 1.0]
    """

    atomic = True
    torch_state: ClassVar[Any] = {"state": None}

    @checked
    def __init__(self, rate: Fraction, seed: Natural | None = None) -> None:
        self.rate = float(rate)
        self.state = Buffer(random.key(init.fresh_seed() if seed is None else seed))
        self.state.initialiser = "key()" if seed is None else f"key(seed={seed})"

    def forward(self, x: Any) -> Any:
        if not isinstance(x, Tensor):
            x = input_of(self, x)
        if not self.drops:
            return x
        if x.dtype.kind != "f":
            raise TypeError(f"{self.label} needs float input, got {x.dtype}; convert it with .astype('float32')")
        wide = x.dtype.name if x.dtype.name == "float64" else "float32"
        u, state = self._draw(self._units(x), wide)
        self.state.assign(state)
        return where.public(u >= self.rate, x * (1.0 / (1.0 - self.rate)), 0.0)

    @property
    def drops(self) -> bool:
        """Whether a call zeroes anything now."""
        return self.training and self.rate > 0.0

    def next_state(self) -> Tensor:
        """The random state of this call, for an op that draws by itself; the next call has another."""
        states, after = turns.public(self.state, size=1, draws=1)
        self.state.assign(after)
        state: Tensor = states[0]
        return state

    def _draw(self, shape: tuple[int, ...], dtype: str) -> tuple[Tensor, Tensor]:
        """A number for each unit, and the next state; where other ranks have rows too, all draw for all."""
        if (ranks := self.ranks) is None or not shape or not exchanges(ranks, self.label):
            return uniform.public(self.state, shape=shape, dtype=dtype)  # type: ignore[no-any-return]
        start, total = place_of(ranks, shape[0])
        u, state = uniform.public(self.state, shape=(total, *shape[1:]), dtype=dtype)
        return u[start : start + shape[0]], state

    def _units(self, x: Any) -> tuple[int, ...]:
        """The shape of what is dropped or kept, broadcast to x."""
        return x.shape  # type: ignore[no-any-return]

    def config(self) -> dict[str, Any]:
        return {"rate": self.rate}

    def extra_repr(self) -> str:
        return f"{self.rate:g}"


class _Channels(Dropout):
    count = 0

    def _units(self, x: Any) -> tuple[int, ...]:
        if x.ndim not in (self.count + 1, self.count + 2):
            raise ValueError(
                f"{self.label} takes axes (examples, channels, {self.count} of positions), or without the first, "
                f"got shape {x.shape}"
            )
        shape: tuple[int, ...] = x.shape
        return shape[: x.ndim - self.count] + (1,) * self.count


class Dropout1d(_Channels):
    """`Dropout` of whole channels of (examples, channels, length). (Tompson et al. 2015)"""

    count = 1


class Dropout2d(_Channels):
    """`Dropout` of whole channels of (examples, channels, height, width): neighbours in one are alike.

    (Tompson et al. 2015)

    Examples
    --------
    >>> import tensorgraph as tg
    >>> y = tg.nn.Dropout2d(0.5, seed=0)(tg.ones((2, 8, 3, 3)))
    >>> sorted(set(y.mean(axis=(2, 3)).ravel().tolist()))
    [0.0, 2.0]
    """

    count = 2


class Dropout3d(_Channels):
    """`Dropout` of whole channels of (examples, channels, depth, height, width)."""

    count = 3
