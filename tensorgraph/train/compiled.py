"""The steps of a training run by compiled functions: outputs, loss, gradients and the optimiser's update in one.

The plan:
1. which batches are computed so follows from the number of the step and from the sizes of the batches before, which
   checkpoints keep: so a run that goes on has the bits of the run that was never interrupted, whatever the process has
   compiled already and whatever lies in the cache of machine code;
2. an update of one batch is one function; of several batches, the last one's gradients and the update are one;
3. where the update cannot be compiled, the gradients alone are, and the optimiser's own step follows;
4. a call that fails has changed nothing: the batch is then computed as it is, which raises the error or goes on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from tensorgraph.compile import Compiled, compile
from tensorgraph.data.arrays import Array
from tensorgraph.engine.cells import set_grads
from tensorgraph.engine.modes import no_grad
from tensorgraph.engine.tensor import Tensor
from tensorgraph.ops.logic import isfinite
from tensorgraph.ops.shape import astype
from tensorgraph.optim.optimizer import Optimizer
from tensorgraph.train.evaluate import targets_for
from tensorgraph.train.forward import Forward

__all__ = ["CompiledSteps", "Result", "is_late", "scale_grads"]

LOGGER = logging.getLogger("tensorgraph.compile")
FIRST = 64  # the step from which it is done: a shorter run would wait longer than it gains
AGAIN = 32  # how often a size has come when it is compiled: for the last batch of each of a few epochs nobody waits
MOST = 16  # sizes of batches that are compiled; batches of ever other sizes are computed as they come


def is_late(step: int) -> bool:
    """Whether at a step what is worth it is compiled."""
    return step >= FIRST


class Result(NamedTuple):
    """What a batch gave.

    Attributes
    ----------
    number : float
        The loss.
    outputs : ndarray
    updated : bool
        Whether the optimiser has made its step too.
    """

    number: float
    outputs: Array
    updated: bool


class CompiledSteps:
    """Computes batches, and adds their gradients to those that there are, or makes the update by them.

    Parameters
    ----------
    forward : Forward
        Of the model.
    loss : callable
    optimizer : Optimizer
    dtype : dtype
        Of the outputs.
    leaves : bool
        Whether gradients are to be seen after the update; otherwise there are none.

    Attributes
    ----------
    times : dict of int to int
        How often batches of a size came: of so many samples, not of those that are compiled.
    sizes : list of int
        How many samples batches had, of those sizes that are compiled.
    news : list of dict
        What was compiled and not told yet: of how many samples, in how many seconds, and what is left to NumPy and why.
    """

    def __init__(
        self, forward: Forward, loss: Callable[..., Any], optimizer: Optimizer, dtype: np.dtype[Any], leaves: bool
    ) -> None:
        self.hooks, self.dtype, self.leaves = forward.hooks, dtype, leaves
        self.times: dict[int, int] = {}
        self.sizes: list[int] = []
        self.refused: set[tuple[Compiled, int]] = set()
        self.news: list[dict[str, Any]] = []

        def gradients(rows: Tensor, targets: Any, weight: float | None) -> tuple[Tensor, Tensor]:
            output = forward.inlined(rows)
            value = loss(output, targets)
            (value if weight is None else value * weight).backward()
            return value, output.detach()

        def update(rows: Tensor, targets: Any, weight: float | None, scale: float | None) -> tuple[Tensor, Tensor]:
            value, output = gradients(rows, targets, weight)
            if scale is not None:
                scale_grads(optimizer, scale)
            optimizer.step()
            if not leaves:
                optimizer.zero_grad()
            return refused_unless(is_good(value, optimizer), value), output

        self.gradients, self.update = compile(gradients), compile(update)

    def is_due(self, step: int, size: int) -> bool:
        """Whether a batch of so many samples is computed so; to be asked once a batch.

        A size is compiled when it has come often: nobody waits for one that does not.
        """
        if size not in self.sizes:
            times = self.times.get(size, 0)
            if times < AGAIN:
                self.times[size] = times + 1
                return False
            if len(self.sizes) == MOST:
                return False
            del self.times[size]
            self.sizes.append(size)
        return is_late(step) and not self.hooks

    def __call__(
        self, rows: Array, labels: Array, factors: tuple[float | None, float | None], last: bool
    ) -> Result | None:
        """What a batch gave; None where it is to be computed as it is, and then nothing was changed.

        Parameters
        ----------
        rows, labels : ndarray
        factors : pair of float or None
            What the loss is multiplied by before its gradient is taken, and all gradients before the update.
        last : bool
            Whether the update follows this batch.
        """
        targets = targets_for(labels, self.dtype)
        given = self._run(self.update, rows, targets, *factors) if last else None
        if given is None and (not last or (self.update, len(rows)) in self.refused):
            given = self._run(self.gradients, rows, targets, factors[0])
        return given

    def _run(self, function: Compiled, rows: Array, targets: Array, *factors: float | None) -> Result | None:
        if (function, len(rows)) in self.refused:
            return None
        before, made, spent = function.stats.traces, self._count(function), sum(function.stats.seconds.values())
        try:
            value, outputs = function(rows, targets, *factors)
        except Exception as error:  # of what cannot be traced, or of the data: the model itself says which
            refused = function.stats.traces == before
            LOGGER.info("fit %s a batch: %s", "does not compile" if refused else "computes as it is", error)
            if refused:
                self.refused.add((function, len(rows)))
            return None
        if self._count(function) != made:
            seconds = sum(function.stats.seconds.values()) - spent
            self.news.append({"samples": len(rows), "seconds": seconds, "on_numpy": function.stats.on_numpy})
        return Result(float(value._value), outputs._value, function is self.update)  # which are the call's own

    def _count(self, function: Compiled) -> int:
        return function.stats.traces + function.stats.resized

    def state(self) -> dict[str, Any]:
        """What checkpoints keep."""
        return {"came": [*self.times], "times": [*self.times.values()], "sizes": self.sizes}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        came, times, self.sizes = ([int(n) for n in state.get(name, ())] for name in ("came", "times", "sizes"))
        self.times = dict(zip(came, times, strict=True))


def is_good(value: Tensor, optimizer: Optimizer) -> Tensor:
    """Whether a loss is a finite number and learning rates are such as a schedule may give."""
    good: Tensor = isfinite.public(value)
    owners: list[Any] = [optimizer, *optimizer.groups]
    for owner in owners:
        if owner.schedule is not None:
            rate = owner.cells["lr"].read()
            good = good & isfinite.public(rate) & (rate >= 0.0)
    return good


def refused_unless(good: Tensor, value: Tensor) -> Tensor:
    """A number itself; where it is not good, an index is out of range, and so the call ends before it writes."""
    return value.reshape(1)[astype.public(~good, dtype="int64")]


def scale_grads(optimizer: Optimizer, factor: float) -> None:
    """All gradients times a number."""
    grads = [(p, g) for p in optimizer.parameters() if (g := p.grad) is not None]
    with no_grad():
        set_grads([p for p, _ in grads], [g * factor for _, g in grads])
