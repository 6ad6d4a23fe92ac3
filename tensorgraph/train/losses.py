"""Losses by name, as `fit` and `evaluate` take them: which there are, what they weigh, which measures go with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, TypeAlias

import numpy as np

from tensorgraph.arguments.near import near
from tensorgraph.data.arrays import Array
from tensorgraph.engine.functions import function_named
from tensorgraph.ops.cross_entropy import softmax_cross_entropy
from tensorgraph.train.metrics import in_shape

__all__ = ["Loss", "NamedLoss", "default_metrics", "loss_of"]

Loss: TypeAlias = Annotated[Callable[[Any, Any], Any], "a function of (outputs, y) that gives a scalar"]

# of labels, one a sample; of numbers in the outputs' shape, and among those of a regression
CROSS_ENTROPY = softmax_cross_entropy.name  # unless another is given
OF_CLASSES = (CROSS_ENTROPY, "nll", "multi_margin")
OF_NUMBERS = (
    "mse",
    "mae",
    "huber",
    "smooth_l1",
    "poisson_nll",
    "sigmoid_cross_entropy",
    "binary_cross_entropy",
    "hinge",
)
OF_REGRESSION = ("mse", "mae", "huber", "smooth_l1")
# what others call them
ELSEWHERE = {
    "cross_entropy": CROSS_ENTROPY, "crossentropy": CROSS_ENTROPY, "sparse_categorical_crossentropy": CROSS_ENTROPY,
    "categorical_crossentropy": CROSS_ENTROPY, "log_loss": CROSS_ENTROPY,
    "binary_crossentropy": "sigmoid_cross_entropy",
    "bce": "sigmoid_cross_entropy", "mean_squared_error": "mse", "l2": "mse", "mean_absolute_error": "mae", "l1": "mae",
}  # fmt: skip


class NamedLoss:
    """A loss of the library's by name: the mean over the samples, or that weighted by class.

    Parameters
    ----------
    name : str
        Of a function of `tensorgraph`.
    weights : array of shape (C,), optional
        What each class counts, for losses of labels.
    """

    def __init__(self, name: str, weights: Array | None = None) -> None:
        self.name, self.weights = name, weights
        self.__qualname__ = name  # how it is called where a run is described
        found = softmax_cross_entropy.public if name == CROSS_ENTROPY else function_named(name)
        self.function: Any = getattr(found, "call", found)
        self.of_classes = name in OF_CLASSES

    def __call__(self, outputs: Any, y: Any) -> Any:
        if self.weights is not None:
            return self.function(outputs, y, self.weights.astype(np.promote_types(outputs.dtype, np.float32)))
        return self.function(outputs, y if self.of_classes else in_shape(y, outputs.shape))

    def __repr__(self) -> str:
        return f"NamedLoss({self.name!r}{', weighted' if self.weights is not None else ''})"


def loss_of(loss: Any, weights: Array | None = None) -> Any:
    """A function of (outputs, y) from a name, a function, or None for the cross-entropy of logits."""
    if loss is None or isinstance(loss, str):
        return NamedLoss(_known(loss or CROSS_ENTROPY), weights)
    return loss


def _known(name: str) -> str:
    """The name by which the library knows a loss."""
    declared = function_named(name)
    own = name if declared is None else declared.name
    known = (*OF_CLASSES, *OF_NUMBERS)
    if own in known:
        return own
    meant = ELSEWHERE.get(name.lower()) or near(name, known)
    hint = f"did you mean {meant!r}?" if meant else f"known are {', '.join(known)}, or pass a function of (outputs, y)"
    raise ValueError(f"loss {name!r} is unknown; {hint}")


def mass(loss: Any, y: Array) -> float:
    """What the samples of a batch count together in a mean over several: their number, or the sum of their weights."""
    weights = getattr(loss, "weights", None)
    if weights is None or not isinstance(loss, NamedLoss):
        return float(len(y))
    return float((weights * y).sum() if y.dtype.kind == "f" else weights[y].sum())


def default_metrics(loss: Any, y: Array) -> tuple[str, ...]:
    """What is measured where nobody says: accuracy of labels, r2 of a regression by name, and else nothing."""
    if isinstance(loss, NamedLoss):
        return ("accuracy",) if loss.of_classes else ("r2",) if loss.name in OF_REGRESSION else ()
    return ("accuracy",) if y.dtype.kind in "iub" else ()
