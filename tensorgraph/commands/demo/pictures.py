"""The demonstration's pictures: the graph, learning curves, confusion matrix, and the digits it got wrong."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tensorgraph import nn, train
from tensorgraph.commands.demo.digits import CLASSES, SIDE, Outcome
from tensorgraph.engine.spec import spec
from tensorgraph.ops.cross_entropy import softmax_cross_entropy
from tensorgraph.train.plots import COLOURS, confusion_picture, new_figure, save_figure, tidy

if TYPE_CHECKING:
    from tensorgraph.viz import Drawing

__all__ = ["draw_confusion", "draw_curves", "draw_graphs", "draw_wrong", "drawings"]

MOST_DIGITS = 60


class Training(nn.Module):
    """The network with its loss, so that the picture of every op ends where training begins."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network

    def forward(self, images: Any, labels: Any) -> Any:
        return softmax_cross_entropy.public(self.network(images), labels)


def drawings(model: nn.Module, batch: int) -> tuple[Drawing, Drawing]:
    """The network by modules, and every op of it in training, with the loss."""
    from tensorgraph.viz import draw

    images = spec((batch, SIDE * SIDE), "float32")
    every = draw(Training(model), images, spec((batch,), "int64"), level="op")
    return draw(model, images, level="module"), every


def draw_graphs(model: nn.Module, batch: int, graph: Path, ops: Path) -> None:
    """Both drawings as files."""
    for drawing, path in zip(drawings(model, batch), (graph, ops)):
        drawing.save(path)


def draw_curves(with_norm: Sequence[Outcome], without: Sequence[Outcome], path: Path) -> None:
    """Training loss and test accuracy of both networks: the mean over the seeds, and the span between them."""
    figure = new_figure(11.0, 4.4)
    panels = (
        ("loss", "Training loss", "cross-entropy, smoothed labels", 1.0),
        ("dev_accuracy", "Test accuracy", "%", 100.0),
    )
    several = len(with_norm) > 1
    most = max(max(outcome.history["loss"]) for outcome in (*with_norm, *without))
    for k, (name, title, unit, scale) in enumerate(panels):
        axes = figure.add_subplot(1, 2, k + 1)
        for outcomes, colour, label in ((with_norm, COLOURS[0], "batch norm"), (without, COLOURS[1], "no batch norm")):
            values = scale * np.array([outcome.history[name] for outcome in outcomes])
            epochs = np.arange(1, values.shape[1] + 1)
            axes.fill_between(epochs, values.min(axis=0), values.max(axis=0), color=colour, alpha=0.18, linewidth=0)
            axes.plot(epochs, values.mean(axis=0), color=colour, linewidth=2.2, label=label)
        tidy(axes, title, "epoch", unit)
        axes.set_xlim(1, max(2, values.shape[1]))
        axes.locator_params(axis="x", integer=True)
        if name == "loss":
            axes.set_yscale("log")
            axes.set_yticks([tick for tick in (0.25, 0.5, 1, 2, 4, 8) if values.min() / 2 < tick < 2 * most])
            axes.yaxis.set_major_formatter("{x:g}")
            axes.minorticks_off()
        else:
            low = 90.0 if len(epochs) >= 20 else 0.0
            axes.set_ylim(low, 100.0)
        axes.legend(frameon=False, loc="upper right" if name == "loss" else "lower right")
    if several:
        seeds = f"{len(with_norm)} seeds: line = mean, band = least to greatest"
        figure.supxlabel(seeds, fontsize=9, color="#6B6B6B", x=0.99, ha="right")
    save_figure(figure, path)


def draw_confusion(outcomes: Sequence[Outcome], path: Path) -> None:
    """Predictions of all test parts in one matrix."""
    predicted = np.concatenate([outcome.outputs.argmax(axis=1) for outcome in outcomes])
    true = np.concatenate([outcome.test.y for outcome in outcomes if outcome.test.y is not None])
    matrix = train.metrics.confusion_matrix(predicted, true, classes=CLASSES)
    right = int(np.trace(matrix))
    title = f"{right:,} of {len(true):,} test digits right ({right / len(true):.1%})"
    save_figure(confusion_picture(matrix, outcomes[0].test.class_names, title=title), path)


def draw_wrong(outcomes: Sequence[Outcome], path: Path) -> None:
    """The misclassified digits of all test parts, each with what was predicted, how surely, and what is true."""
    cases = []
    for outcome in outcomes:
        shares = outcome.predictor.predict(outcome.test.x).probabilities
        assert outcome.test.y is not None
        for i in outcome.wrong:
            predicted = int(shares[i].argmax())
            cases.append((float(shares[i, predicted]), predicted, int(outcome.test.y[i]), outcome.test.x[i]))
    cases.sort(key=lambda case: -case[0])
    shown = cases[:MOST_DIGITS]
    columns = max(4, min(10, math.ceil(math.sqrt(4 * len(shown)))))
    rows = max(1, math.ceil(len(shown) / columns))
    columns = max(4, math.ceil(len(shown) / rows))  # as many in every row
    figure = new_figure(1.5 * columns, 2.0 * rows + 0.6)
    tested = sum(len(outcome.test) for outcome in outcomes)
    more = f", the {len(shown)} surest" if len(shown) < len(cases) else ""
    title = f"Misclassified: {len(cases)} of {tested:,} test digits{more}"
    figure.suptitle(title, fontsize=13, fontweight="bold", x=0.005, ha="left")
    for k in range(rows * columns):
        axes = figure.add_subplot(rows, columns, k + 1)
        if k >= len(shown):
            axes.set_axis_off()
            continue
        share, predicted, true, image = shown[k]
        axes.imshow(image.reshape(SIDE, SIDE), cmap="gray_r", vmin=0, vmax=16, interpolation="nearest")
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_color("#D0D0D0")
        axes.set_title(f"predicted {predicted}", color="#B4450A", fontsize=11, fontweight="bold", pad=4)
        axes.set_xlabel(f"true {true} · {share:.0%} sure", fontsize=9, color="#404040", labelpad=4)
    if not shown:
        figure.text(0.5, 0.4, "none", ha="center", fontsize=14)
    save_figure(figure, path)
