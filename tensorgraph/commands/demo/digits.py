"""The demonstration's experiment: handwritten digits, a network with batch norm, and the same network without.

The settings were chosen by cross-validation inside the training part of split 0, which ``python -m
tensorgraph.commands.demo.choosing`` repeats. The test parts were used for nothing but the report.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tensorgraph import nn, optim, train
from tensorgraph.data import Dataset, Normalizer
from tensorgraph.ops.cross_entropy import softmax_cross_entropy

__all__ = ["FULL", "QUICK", "Outcome", "Settings", "network", "run_parts", "run_seed", "shifted", "split_digits"]

Array = np.ndarray[Any, Any]
CLASSES = 10
SIDE = 8


@dataclass(frozen=True)
class Settings:
    """How the networks are trained."""

    widths: tuple[int, ...] = (256, 128)
    epochs: int = 60
    batch_size: int = 64
    learning_rate: float = 0.01
    label_smoothing: float = 0.1
    shifts: bool = True


FULL = Settings()
QUICK = Settings(widths=(32,), epochs=3)  # for those who want to see the pictures at once, and for tests


@dataclass(frozen=True, eq=False)
class Outcome:
    """What became of one network on one split."""

    seed: int
    batch_norm: bool
    model: nn.Sequential
    normalizer: Normalizer
    history: train.History
    test: Dataset
    outputs: Array  # the logits of the test part
    accuracy: float  # on the test part
    seconds: float

    @property
    def wrong(self) -> Array:
        """Positions in the test part that were misclassified."""
        return np.flatnonzero(self.outputs.argmax(axis=1) != self.test.y)

    @property
    def predictor(self) -> train.Predictor:
        return train.Predictor(self.model, self.normalizer, self.test.class_names, {"seed": self.seed})


def split_digits(data: Dataset, seed: int) -> tuple[Dataset, Dataset]:
    """The first 80% of a permutation for training, the rest for the test."""
    order = np.random.default_rng(seed).permutation(len(data))
    cut = int(0.8 * len(data))
    return data.take(order[:cut]), data.take(order[cut:])


def network(widths: Sequence[int], seed: int, batch_norm: bool = True) -> nn.Sequential:
    """Linear, batch norm and ReLU for every width, then ten logits.

    Before batch norm a bias would have no effect, so it is left out; without batch norm it is there.
    """
    layers: list[Any] = []
    inputs = SIDE * SIDE
    for i, width in enumerate(widths):
        layers.append(nn.Linear(inputs, width, bias=not batch_norm, seed=100 * seed + i))
        if batch_norm:
            layers.append(nn.BatchNorm(width))
        layers.append(nn.ReLU())
        inputs = width
    layers.append(nn.Linear(inputs, CLASSES, seed=100 * seed + len(widths)))
    return nn.Sequential(*layers)


def _neighbours() -> Array:
    """For each of five directions, from where each pixel comes; position 64 is the empty border."""
    grid = np.full((SIDE + 2, SIDE + 2), SIDE * SIDE)
    grid[1:-1, 1:-1] = np.arange(SIDE * SIDE).reshape(SIDE, SIDE)
    steps = [(0, 0), (0, 1), (0, -1), (1, 0), (-1, 0)]
    return np.stack([grid[1 + i : 1 + i + SIDE, 1 + j : 1 + j + SIDE].ravel() for i, j in steps])


SHIFTS = _neighbours()


def shifted(x: Array, rng: np.random.Generator) -> Array:
    """Two of five images moved by one pixel up, down, left or right: a digit stays what it is."""
    direction = rng.integers(0, 10, len(x))
    direction[direction >= len(SHIFTS)] = 0
    bordered = np.concatenate([x, np.zeros((len(x), 1), x.dtype)], axis=1)
    return np.take_along_axis(bordered, SHIFTS[direction], axis=1)


def run_seed(
    data: Dataset,
    seed: int,
    batch_norm: bool,
    settings: Settings,
    watch: Callable[[train.Training], None] | None = None,
) -> Outcome:
    """Train and test one network on one split. Equal arguments give equal numbers."""
    return run_parts(*split_digits(data, seed), seed, batch_norm, settings, watch)


def run_parts(
    training: Dataset,
    test: Dataset,
    seed: int,
    batch_norm: bool,
    settings: Settings,
    watch: Callable[[train.Training], None] | None = None,
) -> Outcome:
    """Train on one part and test on the other."""
    began = time.perf_counter()
    normalizer = Normalizer().fit(training.x)
    model = network(settings.widths, seed, batch_norm)
    steps = settings.epochs * max(1, len(training) // settings.batch_size)
    adam = optim.Adam(model.parameters(), lr=optim.cosine(settings.learning_rate, steps))

    def loss(outputs: Any, labels: Array) -> Any:
        return softmax_cross_entropy.public(outputs, labels, label_smoothing=settings.label_smoothing)

    history = train.fit(
        model,
        training,
        dev=test,  # for the curves of the report; nothing is chosen or stopped by it
        optimizer=adam,
        epochs=settings.epochs,
        loss=loss,
        batch_size=settings.batch_size,
        seed=seed,
        normalizer=normalizer,
        augment=shifted if settings.shifts else None,
        callbacks=[] if watch is None else [watch],
        progress=False,
    )
    outputs = train.predict(model, test.x, normalizer=normalizer)
    accuracy = train.metrics.accuracy(outputs, test.y)
    seconds = time.perf_counter() - began
    return Outcome(seed, batch_norm, model, normalizer, history, test, outputs, accuracy, seconds)
