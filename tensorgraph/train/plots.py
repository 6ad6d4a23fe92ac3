"""Pictures of a training run by matplotlib: learning curves and the confusion matrix.

Figures are made without pyplot, so that no backend is chosen and no state of the caller's changes.
"""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tensorgraph.data.arrays import as_array
from tensorgraph.files import MissingExtraError, atomic_write
from tensorgraph.train.history import History

__all__ = ["COLOURS", "confusion_picture", "learning_curves", "needed", "new_figure", "save_figure", "tidy"]

# told apart in every kind of colour vision, and by lightness in print
COLOURS = ("#0B6FB8", "#D1660A", "#2E2E2E", "#7A4FB5")
GREY = "#6B6B6B"
DPI = 160


def needed() -> Any:
    """matplotlib, which this opens.

    Raises
    ------
    MissingExtraError
        If it is not installed.
    """
    try:
        import matplotlib
    except ImportError as error:
        raise MissingExtraError(
            'pictures need matplotlib: install it with `pip install "tensorgraph-engine[plot]"`'
        ) from error
    return matplotlib


def new_figure(width: float, height: float, **options: Any) -> Any:
    """An empty figure of this size in inches.

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.
    """
    needed()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white", **options)
    FigureCanvasAgg(figure)
    return figure


def tidy(axes: Any, title: str, x: str, y: str) -> None:
    """Quiet axes: no box, a light grid, the title at the left."""
    axes.set_title(title, loc="left", fontsize=12, fontweight="bold")
    axes.set_xlabel(x, color=GREY)
    axes.set_ylabel(y, color=GREY)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#B0B0B0")
    axes.tick_params(which="both", colors=GREY)
    axes.grid(color="#E6E6E6", linewidth=0.8)
    axes.set_axisbelow(True)


def save_figure(figure: Any, path: str | os.PathLike[str]) -> None:
    """Save a figure, its format by the suffix, whole or not at all."""
    suffix = Path(path).suffix.lower().removeprefix(".")
    known = figure.canvas.get_supported_filetypes()
    if suffix not in known:
        raise ValueError(
            f"a picture is saved by its suffix, one of {', '.join(sorted(known))}; got {os.fspath(path)!r}"
        )
    _say_plain_numbers(figure)
    data = io.BytesIO()
    # no date and no version inside: equal figures give equal files
    quiet: dict[str, Any] = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
    from matplotlib import rc_context

    with rc_context({"svg.hashsalt": "tensorgraph"}):  # which is otherwise another in every process
        figure.savefig(data, format=suffix, dpi=DPI, metadata=quiet.get(suffix))
    atomic_write(path, data.getvalue())


def _say_plain_numbers(figure: Any) -> None:
    """Have logarithmic axes say 0.3 where they would say 3 × 10⁻¹."""
    from matplotlib.ticker import LogFormatterSciNotation

    def say(formatter: Any, x: float, pos: int | None = None) -> str:
        return f"{x:g}" if LogFormatterSciNotation.__call__(formatter, x, pos) else ""

    plain = type("PlainNumbers", (LogFormatterSciNotation,), {"__call__": say})
    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        for ticks in (axis.major, axis.minor):
            if type(ticks.formatter) is LogFormatterSciNotation:
                ticks.formatter = plain(labelOnlyBase=ticks.formatter.labelOnlyBase)
                ticks.formatter.set_axis(axis)


def learning_curves(history: History, *, title: str = "") -> Any:
    """Loss, scores and learning rate of a run, side by side; the dev set's curves beside the training set's.

    Other hyperparameters that changed follow.

    Parameters
    ----------
    history : History
        Of at least one epoch.
    title : str

    Returns
    -------
    matplotlib.figure.Figure
    """
    if not len(history):
        raise ValueError("this history has no finished epoch to draw")
    names = [name for name in history.values if not name.startswith("dev_")]
    steps = {"learning rate": history.learning_rate} if history.learning_rate else {}
    steps |= history.hyperparameters
    panels = [*names, *steps]
    figure = new_figure(4.2 * len(panels), 3.6)
    if title:
        figure.suptitle(title, fontsize=14, fontweight="bold")
    epochs = np.arange(1, len(history) + 1)
    marker = "o" if len(history) == 1 else None
    for k, name in enumerate(panels):
        axes = figure.add_subplot(1, len(panels), k + 1)
        if k >= len(names):
            axes.plot(np.arange(1, len(steps[name]) + 1), steps[name], color=COLOURS[2], linewidth=2, marker=marker)
            tidy(axes, name, "step", "")
            continue
        axes.plot(epochs, history[name], color=COLOURS[0], linewidth=2, marker=marker, label="training")
        if f"dev_{name}" in history:
            axes.plot(epochs, history[f"dev_{name}"], color=COLOURS[1], linewidth=2, marker=marker, label="dev")
            axes.legend(frameon=False)
        if history.best_epoch is not None:
            axes.axvline(history.best_epoch + 1, color=GREY, linewidth=1, linestyle=":")
        tidy(axes, name.replace("_", " "), "epoch", "")
    return figure


def confusion_picture(matrix: Any, class_names: Sequence[str] | None = None, *, title: str = "") -> Any:
    """A confusion matrix as a picture: right answers in one colour, mistakes in another, every count written.

    Parameters
    ----------
    matrix : array of shape (C, C)
        Row = true class, column = predicted class, as `metrics.confusion_matrix` gives.
    class_names : sequence of str, optional
        The classes' numbers unless given.
    title : str

    Returns
    -------
    matplotlib.figure.Figure
    """
    counts = as_array(matrix, "matrix")
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or counts.size == 0:
        raise ValueError(f"a confusion matrix is square, got shape {counts.shape}")
    n = len(counts)
    names = [str(i) for i in range(n)] if class_names is None else list(class_names)
    if len(names) != n:
        raise ValueError(f"the matrix has {n} classes and there are {len(names)} class names; give one each")
    side = min(24.0, 2.0 + 0.55 * n)
    figure = new_figure(side, side)
    axes = figure.add_subplot()
    diagonal = np.eye(n, dtype=bool)
    shade = np.zeros((n, n, 3))
    for mask, colour in ((diagonal, (11, 111, 184)), (~diagonal, (209, 102, 10))):
        most = max(1e-12, float(np.nanmax(np.where(mask, counts, 0))))
        # the square root lets single mistakes be seen beside many
        weight = np.where(mask, np.sqrt(np.nan_to_num(counts) / most), 0.0)[..., None] * 0.9
        shade = np.where(mask[..., None], 1.0 - weight * (1.0 - np.array(colour) / 255.0), shade)
    axes.imshow(shade)
    if n <= 40:
        whole = counts.dtype.kind in "iu"
        for i, j in np.ndindex(n, n):
            if counts[i, j]:
                luminance = shade[i, j] @ np.array([0.2126, 0.7152, 0.0722])
                text = str(counts[i, j]) if whole else f"{counts[i, j]:.2f}"
                axes.text(j, i, text, ha="center", va="center", color="white" if luminance < 0.55 else "#202020")
    axes.set_xticks(range(n), names)
    axes.set_yticks(range(n), names)
    axes.set_xticks(np.arange(n + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(n + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="#E6E6E6", linewidth=0.8)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("predicted", color=GREY, fontsize=12)
    axes.set_ylabel("true", color=GREY, fontsize=12)
    axes.set_title(title, loc="left", fontsize=13, fontweight="bold")
    return figure
