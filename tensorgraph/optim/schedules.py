"""Learning-rate schedules: functions of the step or the epoch, composable, visible as a curve.

A schedule is written with ops on the count, a cell, so that a traced training step advances it as an eager one does.
Counts begin at 0: the first step of the first epoch asks for step 0 and epoch 0.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import numpy as np

from tensorgraph.arguments import Count, Finite, Natural, NonNegative, Positive, Range, checked
from tensorgraph.engine.modes import no_grad
from tensorgraph.engine.tensor import Tensor, tensor
from tensorgraph.ops.arithmetic import floor_divide, maximum, minimum, power, sqrt
from tensorgraph.ops.creation import full
from tensorgraph.ops.exponential import cos
from tensorgraph.ops.logic import where
from tensorgraph.ops.shape import astype

__all__ = [
    "Schedule", "as_schedule", "by_hand", "constant", "cosine", "exponential", "inverse_sqrt", "inverse_time",
    "piecewise", "staircase", "warmup",
]  # fmt: skip

Array = np.ndarray[Any, Any]


class Schedule:
    """A learning rate that depends on the step, the epoch, or both.

    Schedules multiply (``warmup(100) * cosine(0.1, 1000)``), follow one another (`then`), and count epochs in place
    of steps with `per_epoch`. Any function of the count, written with operators and ops, becomes one.

    Parameters
    ----------
    function : callable
        Of the count, a 0-d float64 Tensor; gives a Tensor or a number.
    text : str
        How it prints.

    Examples
    --------
    >>> from tensorgraph import optim
    >>> lr = optim.warmup(4) * optim.inverse_time(0.2, decay=1.0).per_epoch()
    >>> [round(float(r), 3) for r in lr.curve(6, steps_per_epoch=3)]
    [0.05, 0.1, 0.15, 0.1, 0.1, 0.1]
    """

    @checked
    def __init__(self, function: Callable[[Any], Any], text: str | None = None) -> None:
        self.text: str = text or str(getattr(function, "__name__", "schedule"))
        self._of: Callable[[Any, Any], Any] = lambda step, epoch: _float64(function(step))

    @classmethod
    def _make(cls, of: Callable[[Any, Any], Any], text: str) -> Schedule:
        made = cls(lambda count: count, text)
        made._of = of
        return made

    def __deepcopy__(self, memo: Any) -> Schedule:
        return self

    def __copy__(self) -> Schedule:
        return self

    def __reduce__(self) -> Any:
        raise TypeError(
            f"the schedule {self.text} is a function and is not pickled: save the optimiser's numbers "
            "(state_dict, train.save), and make the schedule again"
        )

    @checked
    def at(self, step: Any, epoch: Any) -> Tensor:
        """The rate as a 0-d float64 Tensor, for counts given as tensors; recorded while a trace is active."""
        with no_grad():
            return _float64(self._of(astype.public(step, dtype="float64"), astype.public(epoch, dtype="float64")))

    def __call__(self, step: float, epoch: float | None = None) -> float:
        """The rate at a step and an epoch; without `epoch` the count given is taken for both."""
        return float(self.at(tensor(step), tensor(step if epoch is None else epoch)))

    @checked
    def curve(self, n: Annotated[int, Range(0, 10_000_000)], steps_per_epoch: Count | None = None) -> Array:
        """The first `n` rates, to plot.

        Parameters
        ----------
        n : int
            Number of steps; without `steps_per_epoch`, of steps or epochs, whichever the schedule counts.
        steps_per_epoch : int, optional

        Returns
        -------
        ndarray
            float64, shape (n,).
        """
        epochs = [i if steps_per_epoch is None else i // steps_per_epoch for i in range(n)]
        return np.array([self(i, e) for i, e in enumerate(epochs)], np.float64)

    def per_epoch(self) -> Schedule:
        """The same function of the epoch in place of the step."""
        of = self._of
        return Schedule._make(lambda step, epoch: of(epoch, epoch), f"{self.text}.per_epoch()")

    @checked
    def then(self, other: Schedule | NonNegative | Callable[..., Any], after: Natural) -> Schedule:
        """This schedule for the first `after` counts, then `other`, counting from 0 again."""
        first, second = self._of, as_schedule(other)

        def of(step: Any, epoch: Any) -> Any:
            later = second._of(maximum.public(step - after, 0.0), maximum.public(epoch - after, 0.0))
            return where.public(step < after, first(step, epoch), later)

        return Schedule._make(of, f"{self.text}.then({second.text}, after={after})")

    def __mul__(self, other: Any) -> Schedule:
        a, b = self._of, as_schedule(other)
        return Schedule._make(lambda step, epoch: a(step, epoch) * b._of(step, epoch), f"{self.text} * {b.text}")

    __rmul__ = __mul__

    def __repr__(self) -> str:
        return self.text


def _float64(rate: Any) -> Tensor:
    """A rate as a float64 tensor; a Python number would otherwise be rounded to the default dtype."""
    if not isinstance(rate, Tensor):
        return full.public(shape=(), value=float(rate), dtype="float64")  # type: ignore[no-any-return]
    return rate if rate.dtype == np.float64 else astype.public(rate, dtype="float64")


def as_schedule(what: Any) -> Schedule:
    """A schedule from a schedule, a number, or a function of the step."""
    if isinstance(what, Schedule):
        return what
    if isinstance(what, (int, float)) and not isinstance(what, bool):
        return constant(float(what))
    return Schedule(what)


@checked
def constant(lr: NonNegative) -> Schedule:
    """The same rate always."""
    return Schedule(lambda t: lr, f"constant({lr:g})")


@checked
def inverse_time(lr: NonNegative, decay: NonNegative) -> Schedule:
    """``lr / (1 + decay · count)``; the slides count epochs: ``inverse_time(0.2, 1.0).per_epoch()``.

    Examples
    --------
    >>> from tensorgraph import optim
    >>> optim.inverse_time(0.2, 1.0).per_epoch().curve(4).round(4).tolist()
    [0.2, 0.1, 0.0667, 0.05]
    """
    return Schedule(lambda t: lr / (1.0 + decay * t), f"inverse_time({lr:g}, decay={decay:g})")


@checked
def exponential(lr: NonNegative, rate: Positive, every: Positive = 1.0) -> Schedule:
    """``lr · rate^(count/every)``; the slides: ``0.95^epoch · lr``."""
    return Schedule(
        lambda t: lr * power.public(rate, t / every), f"exponential({lr:g}, rate={rate:g}, every={every:g})"
    )


@checked
def inverse_sqrt(k: NonNegative) -> Schedule:
    """``k / sqrt(n)`` for the n-th count, n = 1, 2, ..., as the slides have it."""
    return Schedule(lambda t: k / sqrt.public(t + 1.0), f"inverse_sqrt({k:g})")


@checked
def staircase(lr: NonNegative, factor: Positive, every: Positive) -> Schedule:
    """``lr`` times `factor` after each `every` counts."""
    return Schedule(
        lambda t: lr * power.public(factor, floor_divide.public(t, float(every))),
        f"staircase({lr:g}, factor={factor:g}, every={every})",
    )


@checked
def cosine(lr: NonNegative, steps: Positive, final: NonNegative = 0.0) -> Schedule:
    """Half a cosine from `lr` to `final` over `steps` counts, then `final`. (Loshchilov & Hutter 2017)"""
    return Schedule(
        lambda t: final + (lr - final) * 0.5 * (1.0 + cos.public(minimum.public(t / float(steps), 1.0) * math.pi)),
        f"cosine({lr:g}, steps={steps}, final={final:g})",
    )


@checked
def warmup(steps: Positive) -> Schedule:
    """A factor that grows linearly from ``1/steps`` to 1 over the first `steps` counts: multiply it with a schedule."""
    return Schedule(lambda t: minimum.public((t + 1.0) / float(steps), 1.0), f"warmup({steps})")


@checked
def piecewise(boundaries: Sequence[Finite], values: Sequence[NonNegative]) -> Schedule:
    """``values[i]`` until ``boundaries[i]``, the last value afterwards.

    Examples
    --------
    >>> from tensorgraph import optim
    >>> optim.piecewise([2, 3], [0.1, 0.01, 0.001]).curve(5).tolist()
    [0.1, 0.1, 0.01, 0.001, 0.001]
    """
    edges, rates = [float(b) for b in boundaries], [float(v) for v in values]
    if len(rates) != len(edges) + 1:
        raise ValueError(f"piecewise: one value more than boundaries, got {len(rates)} values, {len(edges)} boundaries")
    if any(not a < b for a, b in itertools.pairwise([-math.inf, *edges])):
        raise ValueError(f"piecewise: boundaries must grow, got {edges}")

    def of(t: Any) -> Any:
        rate: Any = _float64(rates[-1])
        for edge, value in zip(reversed(edges), reversed(rates[:-1]), strict=True):
            rate = where.public(t < edge, value, rate)
        return rate

    return Schedule(of, f"piecewise({list(boundaries)}, {list(values)})")


@checked
def by_hand(rates: Sequence[NonNegative]) -> Schedule:
    """These rates one after the other, the last one for ever."""
    rates = list(rates)
    if not rates:
        raise ValueError("by_hand: at least one rate is needed")
    made = piecewise(range(1, len(rates)), rates)
    made.text = f"by_hand({rates})"
    return made
