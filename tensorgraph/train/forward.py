"""The outputs of a model for batches of any size, from one trace of it: in steps, in measures, and in predictions.

The plan:
1. a model is traced for a batch of some size; where it does not look at that, this says what it does at every other;
2. compiled steps, what is tried and linted before the first, measures on `dev`, `evaluate` and `predict` go on from
   that trace; it is kept with the model;
3. a model with layers that ask whether they are in training, as batch norm does, is another program at test time: it is
   traced once for each.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np

from tensorgraph.compile import compile
from tensorgraph.data.arrays import Array
from tensorgraph.engine.changes import MARK, Detour
from tensorgraph.engine.tensor import Tensor, TraceError
from tensorgraph.graph.graph import Graph
from tensorgraph.graph.trace import trace
from tensorgraph.nn.module import Module
from tensorgraph.train.running import outputs_of

__all__ = ["Forward", "Hooks", "forward_of"]

LOGGER = logging.getLogger("tensorgraph.compile")
MEASURED = 256  # batches that are computed as they are: fewer would wait longer than they gain
SEVERAL = 31  # rows for which a model is traced that is given one


def forward_of(model: Callable[..., Any]) -> Forward:
    """What is known of a model's outputs, which it keeps; of a function, which keeps nothing, a new one."""
    if not isinstance(model, Module):
        return Forward(model)
    known = model.__dict__.get("_forward_template")
    if known is None:
        known = model.__dict__["_forward_template"] = Forward(model)
    return known


class Forward:
    """The outputs of a model, compiled.

    Parameters
    ----------
    model : callable

    Attributes
    ----------
    batches : int
        How many were predicted, one by one or in a large set.
    detour : Detour
        To evaluation mode and back.
    """

    def __init__(self, model: Callable[..., Any]) -> None:
        self.model, self.hooks = model, Hooks(model)
        self.batches = 0
        self.detour = Detour()
        self.is_refused = self.is_prepared = False
        self.compiled = compile(lambda rows: outputs_of(model, rows))

    def is_due(self, batches: int) -> bool:
        """Whether it is to be called in place of the model, when so many batches have been measured."""
        return batches >= MEASURED and not self.hooks

    def next(self, rows: Tensor) -> Tensor:
        """The outputs of one more batch that is predicted."""
        self.batches += 1
        return self(rows) if self.is_due(self.batches - 1) else outputs_of(self.model, rows)

    def __call__(self, rows: Tensor) -> Tensor:
        """The outputs of a batch; by the model itself where it does not compile, or raises an error."""
        if self.is_refused:
            return outputs_of(self.model, rows)
        before = self.compiled.stats.traces
        try:
            if len(rows) == 1 and not self.is_prepared:
                self._trace(np.asarray(rows))
            return self.compiled(rows)  # type: ignore[no-any-return]
        except Exception as error:
            LOGGER.info("the outputs of a batch are not compiled: %s", error)
        outputs = outputs_of(self.model, rows)  # which raises what is wrong with the batch
        self.is_refused = self.compiled.stats.traces == before
        return outputs

    def graph(self, rows: Array) -> Graph:
        """What the model does with a batch of this type.

        Raises
        ------
        Exception
            What the model says of it.
        """
        try:
            return self._trace(rows)
        except TraceError:  # of what is not to be compiled there may be a graph
            return trace(lambda rows: outputs_of(self.model, rows), rows)

    def inlined(self, rows: Tensor) -> Tensor:
        """The outputs where a step is traced: the model's own trace becomes a part of that."""
        return self.compiled.inlined(rows)  # type: ignore[no-any-return]

    def _trace(self, rows: Array) -> Graph:
        self.is_prepared = True
        if len(rows) == 1:  # one row is a batch of its own where somebody asks
            try:
                self.compiled.prepare(np.broadcast_to(rows, (SEVERAL, *rows.shape[1:])))
            except Exception as error:
                LOGGER.info("a batch of one row is traced by itself: %s", error)
        return self.compiled.prepare(rows)


class Hooks:
    """Whether any module of a model calls functions before or after its own, as a compiled function would not."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.mark: object = None
        self.there = False

    def __bool__(self) -> bool:
        if self.mark is not MARK[0]:
            self.mark = MARK[0]
            modules = self.model.modules() if hasattr(self.model, "modules") else ()
            self.there = any(hooks for module in modules for hooks in module._hooks or ())
        return self.there
