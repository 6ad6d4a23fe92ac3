"""The gradients of a batch by a compiled function: outputs, loss and backward pass in one."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np

from tensorgraph.compile import Compiled, compile
from tensorgraph.data.arrays import Array
from tensorgraph.engine.tensor import Tensor
from tensorgraph.train.evaluate import targets_for
from tensorgraph.train.running import outputs_of

__all__ = ["Pulled"]

LOGGER = logging.getLogger("tensorgraph.compile")
FIRST = 64  # the step from which it is used: a shorter run would wait longer than it gains
MOST = 8  # sizes of batches that are compiled; batches of ever other sizes are computed as they come


class Pulled:
    """Computes a batch's outputs and loss, and adds its gradients to those that there are.

    Parameters
    ----------
    model, loss : callable
    dtype : dtype
        Of the outputs.

    Attributes
    ----------
    compiled : Compiled or None
        None once it is known that the model or the loss cannot be compiled.
    """

    def __init__(self, model: Callable[..., Any], loss: Callable[..., Any], dtype: np.dtype[Any]) -> None:
        self.dtype = dtype
        self.sizes: set[Any] = set()

        def gradients(rows: Tensor, targets: Any, weight: float | None) -> tuple[Tensor, Tensor]:
            output = outputs_of(model, rows)
            value = loss(output, targets)
            (value if weight is None else value * weight).backward()
            return value, output.detach()

        self.compiled: Compiled | None = compile(gradients)

    def is_due(self, step: int) -> bool:
        """Whether it is to be used for this step: which, no interruption of the run may change."""
        return step >= FIRST and self.compiled is not None

    def __call__(self, rows: Array, labels: Array, weight: float) -> tuple[float, Array] | None:
        """The loss and the outputs; None, and nothing is changed, where the batch is to be computed as it is."""
        targets = targets_for(labels, self.dtype)
        size = rows.shape, np.shape(targets)
        if size not in self.sizes and len(self.sizes) == MOST:
            return None
        self.sizes.add(size)
        assert self.compiled is not None
        before = self.compiled.stats.traces
        try:
            value, output = self.compiled(rows, targets, None if weight == 1.0 else weight)
        except Exception as error:  # of what cannot be traced, or of the data: the model itself says which
            if self.compiled.stats.traces == before:
                LOGGER.info("fit does not compile: %s", error)
                self.compiled = None
            return None
        return value.item(), output.numpy()
