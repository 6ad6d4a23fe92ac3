"""A trained model ready for use: it normalises, computes at test time, and answers with names and probabilities."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tensorgraph.arguments import ClassNames, Count, PathLike, checked
from tensorgraph.data.arrays import Array, Numbers, as_array
from tensorgraph.data.normalizer import Normalizer
from tensorgraph.engine import modes
from tensorgraph.engine.tensor import tensor
from tensorgraph.ops.softmax import softmax
from tensorgraph.train.evaluate import predict
from tensorgraph.train.running import Model

__all__ = ["Prediction", "Predictor"]

MOST_SHOWN = 10


@checked
@dataclass(frozen=True, eq=False, repr=False)
class Prediction:
    """What a classifier says of N samples.

    Attributes
    ----------
    probabilities : numpy.ndarray of shape (N, C)
        Softmax of the model's outputs.
    labels : numpy.ndarray of int64, shape (N,)
        The most probable class of each sample, the first one at ties.
    class_names : tuple of str
    """

    probabilities: Array
    labels: Array
    class_names: ClassNames

    @property
    def names(self) -> list[str]:
        """The names of the predicted classes."""
        return [self.class_names[label] for label in self.labels]

    @property
    def confidence(self) -> Array:
        """The probability of the predicted class, of shape (N,)."""
        return np.take_along_axis(self.probabilities, self.labels[:, None], axis=1)[:, 0]

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        shown = [f"{name} {p:.1%}" for name, p in zip(self.names[:MOST_SHOWN], self.confidence)]
        more = f", and {len(self) - MOST_SHOWN} more" if len(self) > MOST_SHOWN else ""
        return f"Prediction({', '.join(shown)}{more})"


@checked
@dataclass(frozen=True, eq=False, repr=False)
class Predictor:
    """A model with the normaliser and the class names that belong to it.

    Attributes
    ----------
    model : Module or callable
        Gives one score a class (logits), or any other output.
    normalizer : Normalizer, optional
    class_names : tuple of str, optional
        Class c is ``class_names[c]``; its number unless given.
    metadata : dict
        What was saved beside them.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> from tensorgraph.train import Predictor
    >>> larger = Predictor(lambda x: tg.tensor(x) * 2.0, class_names=("left", "right"))
    >>> larger.predict([[0.0, 1.0], [2.0, 0.0]])
    Prediction(right 88.1%, left 98.2%)
    """

    model: Model
    normalizer: Normalizer | None = None
    class_names: ClassNames | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @checked
    def outputs(self, x: Numbers, *, batch_size: Count = 256) -> Array:
        """The model's outputs for samples of shape (N, ...), or for one sample where the normaliser knows its shape."""
        x = as_array(x, "x")
        if self.normalizer is not None and x.shape == self.normalizer.mean.shape:
            x = x[None]
        return predict(self.model, x, batch_size=batch_size, normalizer=self.normalizer)

    @checked
    def predict(self, x: Numbers, *, batch_size: Count = 256) -> Prediction:
        """Classes and their probabilities.

        Parameters
        ----------
        x : array of shape (N, ...)
            Samples as they were before normalising; with a normaliser also one sample alone, of shape (...).
        batch_size : int
            Samples at a time.

        Raises
        ------
        ValueError
            If the samples do not fit the model, or its outputs are no class scores.
        """
        outputs = self.outputs(x, batch_size=batch_size)
        if outputs.ndim != 2 or outputs.shape[1] < 2:
            raise ValueError(
                f"the model's outputs have shape {outputs.shape}, expected (N, C) scores of C ≥ 2 classes; "
                "use .outputs(x) for what is no classifier"
            )
        broken = np.isnan(outputs).any(axis=1)
        if broken.any():
            raise ValueError(
                f"the model's outputs for sample {int(broken.argmax())} hold nan, which is no class: look at the "
                "parameters, or find the operation with `with tensorgraph.debug_nans():`"
            )
        classes = outputs.shape[1]
        names = self.class_names or tuple(map(str, range(classes)))
        if len(names) != classes:
            raise ValueError(f"the model gives {classes} classes and there are {len(names)} class names; give one each")
        with modes.no_grad():
            probabilities = softmax.public(tensor(outputs, copy=False), axis=1).numpy()
        return Prediction(probabilities, outputs.argmax(axis=1), names)

    @checked
    def save(self, path: PathLike) -> None:
        """Save as `tensorgraph.train.save` does."""
        from tensorgraph.train.saving import save

        save(path, self)

    def __repr__(self) -> str:
        parts = [type(self.model).__name__]
        if self.normalizer is not None:
            parts.append(f"normaliser of {self.normalizer.mean.shape}")
        if self.class_names is not None:
            parts.append(f"{len(self.class_names)} classes")
        return f"Predictor({', '.join(parts)})"
