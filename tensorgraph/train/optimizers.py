"""Optimisers by name, as `fit` and configurations take them."""

from __future__ import annotations

from typing import Any

from tensorgraph.arguments.near import near
from tensorgraph.optim.optimizer import Optimizer
from tensorgraph.optim.rules import SGD, Adam, AdamW, Momentum, RMSprop

__all__ = ["OPTIMIZERS", "optimizer_of"]

OPTIMIZERS: dict[str, type[Optimizer]] = {
    "sgd": SGD, "momentum": Momentum, "rmsprop": RMSprop, "adam": Adam, "adamw": AdamW,
}  # fmt: skip


def optimizer_of(given: Any, model: Any, lr: Any) -> Optimizer:
    """An optimiser from one, or from a name and a learning rate for all parameters of a model."""
    if isinstance(given, Optimizer):
        if lr is not None:
            raise ValueError("lr= goes with the name of an optimizer; one that is made has its own: optimizer.lr")
        return given
    if given not in OPTIMIZERS:
        meant = near(given.lower(), OPTIMIZERS)
        hint = (
            f"did you mean {meant!r}?" if meant else f"known are {', '.join(OPTIMIZERS)}, or make one: optim.Adam(...)"
        )
        raise ValueError(f"optimizer {given!r} is unknown; {hint}")
    if not hasattr(model, "parameters"):
        raise TypeError(
            f"optimizer={given!r} trains the parameters of a Module, and the model is a plain function: make it with "
            f"its parameters, optim.{OPTIMIZERS[given].__name__}([...])"
        )
    return OPTIMIZERS[given](model, **({} if lr is None else {"lr": lr}))
