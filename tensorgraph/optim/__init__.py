"""Optimisers, learning-rate schedules and gradient clipping."""

from tensorgraph.arguments.foreign import getter as _getter
from tensorgraph.optim.clipping import clip_grad_norm, clip_grad_value, clip_norm, clip_value
from tensorgraph.optim.groups import Group
from tensorgraph.optim.optimizer import Optimizer
from tensorgraph.optim.rules import SGD, Adam, AdamW, Momentum, RMSprop
from tensorgraph.optim.schedules import (
    Schedule,
    by_hand,
    constant,
    cosine,
    exponential,
    inverse_sqrt,
    inverse_time,
    piecewise,
    staircase,
    warmup,
)

__all__ = [
    "SGD", "Momentum", "RMSprop", "Adam", "AdamW", "Optimizer", "Group",
    "clip_norm", "clip_value", "clip_grad_norm", "clip_grad_value",
    "Schedule", "constant", "inverse_time", "exponential", "inverse_sqrt", "staircase", "cosine", "warmup", "piecewise",
    "by_hand",
]  # fmt: skip

__getattr__ = _getter(__name__, __all__)
