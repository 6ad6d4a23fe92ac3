"""What training and evaluation share: how they take data and models, and how they leave models as they were."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, TypeAlias

import numpy as np

from tensorgraph.analysis.lint import lint
from tensorgraph.arguments import Kind
from tensorgraph.data.arrays import Array, Numbers, as_array, check_finite, same_length
from tensorgraph.data.dataset import Dataset
from tensorgraph.data.normalizer import Normalizer
from tensorgraph.data.rows import Rows, in_file
from tensorgraph.engine.aval import Aval, default_dtype
from tensorgraph.engine.changes import Detour
from tensorgraph.engine.tape import warn_user
from tensorgraph.engine.tensor import Tensor
from tensorgraph.graph.trace import trace
from tensorgraph.train import metrics as measures

__all__ = ["Data", "Metric", "Model", "Samples", "in_mode", "model_dtype", "named_metrics", "normalised",
           "outputs_of", "samples_of", "warn_of_pairs"]  # fmt: skip

Metric: TypeAlias = Annotated[Callable[[Any, Any], float], "a function of (predictions, targets)"]


def _model(value: Any, kind: Kind) -> Any:
    if isinstance(value, type):
        kind.refuse(value, f"make one: {value.__name__}(...)")
    return value if callable(value) else kind.refuse(value)


Model: TypeAlias = Annotated[Callable[..., Any], Kind("a Module or a function", _model)]
Data: TypeAlias = Dataset | tuple[Numbers, Numbers]
Samples = tuple[Array, Array]
PAIRS = "outer-product-in-loss"


def samples_of(data: Any, name: str) -> Samples:
    """Samples and targets of a Dataset or a pair (x, y): as many of each, at least one, all finite."""
    if isinstance(data, Dataset):
        if data.y is None:
            raise ValueError(f"{name} has no y: give the Dataset labels or target values, Dataset(x, y)")
        x, y = data.x, data.y
    elif isinstance(data, tuple | list) and len(data) == 2:
        x, y = as_array(data[0], f"{name}'s x"), as_array(data[1], f"{name}'s y")
    else:
        raise TypeError(f"{name} must be a Dataset or a pair (x, y) of arrays, got {type(data).__name__}")
    if same_length([x, y], [f"{name}'s x", f"{name}'s y"]) == 0:
        raise ValueError(f"{name} holds no samples, expected at least one")
    check_finite(x, f"{name}'s x")
    check_finite(y, f"{name}'s y")
    return x, y


def model_dtype(model: Any) -> np.dtype[Any]:
    """The float dtype that a model computes in: that of its first parameter, or the default dtype."""
    found: list[np.dtype[Any]] = [p.dtype for p in model.parameters()] if hasattr(model, "parameters") else []
    return next((dtype for dtype in found if dtype.kind == "f"), default_dtype())


@contextmanager
def in_mode(model: Any, training: bool, detour: Detour | None = None) -> Iterator[None]:
    """Every module of the model in training or evaluation mode inside, and as it was afterwards."""
    if not hasattr(model, "train"):  # a plain function has no modes
        yield
        return
    before = [(module, module.training) for module in model.modules()]
    detour = detour or Detour()

    def back() -> None:
        for module, mode in before:
            if module.training is not mode:
                module.training = mode

    try:
        detour.enter(lambda: model.train(training))
        yield
    finally:
        detour.leave(back)


def outputs_of(model: Any, x: Tensor) -> Tensor:
    """The model's output, which must be one tensor with a row a sample."""
    output = model(x)
    if not isinstance(output, Tensor):
        raise TypeError(f"the model must give one tensor, got {type(output).__name__}")
    if output.ndim == 0 or output.shape[:1] != x.shape[:1]:
        raise ValueError(
            f"the model gave {output.aval} for {x.shape[0]} samples: its first axis must run over the samples"
        )
    return output


def normalised(x: Array, normalizer: Normalizer | None) -> Array:
    """Samples normalised: now, or, of rows in a file, a batch at a time as they are read."""
    if normalizer is None:
        return x
    return Transformed(x, normalizer.transform) if in_file(x) else normalizer.transform(x)  # type: ignore[return-value]


class Transformed(Rows):
    """Rows of a file, each batch or block of them transformed as it is read."""

    def __init__(self, rows: Any, function: Callable[[Array], Array]) -> None:
        self._rows, self._function = rows, function
        first = function(np.asarray(rows[:1]))
        self.shape, self.dtype, self.finite = (len(rows), *first.shape[1:]), first.dtype, True

    def read(self, rows: Array) -> Array:
        found = np.take(self._rows, rows, axis=0) if isinstance(self._rows, np.ndarray) else self._rows[rows]
        return self._function(found)


def named_metrics(metrics: Iterable[str | Metric], targets: Array | None = None) -> dict[str, Metric]:
    """Metrics by name: strings are functions of `tensorgraph.train.metrics`, functions go by their own names."""
    found: dict[str, Metric] = {}
    for metric in metrics:
        name = metric if isinstance(metric, str) else getattr(metric, "__name__", type(metric).__name__)
        if isinstance(metric, str):
            known = [n for n in measures.__all__ if n != "confusion_matrix"]
            if metric not in known:
                raise ValueError(f"metric {metric!r} is unknown; known are {', '.join(known)}, or pass a function")
            if targets is not None and targets.dtype.kind == "f" and metric not in measures.OF_NUMBERS:
                raise TypeError(
                    f"metric {metric!r} compares integer labels, and y has dtype {targets.dtype}: convert labels with "
                    ".astype(int), or pass metrics=() or your own function of (predictions, targets)"
                )
            metric = getattr(measures, metric)
        elif not callable(metric):
            raise TypeError(f"a metric is a name or a function of (predictions, targets), got {metric!r}")
        if name in found or name == "loss":
            raise ValueError(f"two measures are called {name!r}; give the function another __name__")
        found[name] = metric
    return found


def warn_of_pairs(function: str, loss: Callable[..., Any], outputs: Aval, targets: Aval) -> bool:
    """Warn where a loss compares every output with every target: (N, 1) and (N,) broadcast to (N, N). Says whether.

    The loss is traced, which computes nothing; one that looks at numbers is let pass.
    """
    column, row = sorted((outputs.shape, targets.shape), key=len, reverse=True)
    if len(row) != 1 or column != (*row, 1) or row[0] < 2:
        return False
    try:
        graph = trace(lambda out, y: loss(out, y), outputs, targets)
    except Exception:  # what is wrong is told when the loss runs
        return False
    paired = PAIRS in [finding.name for finding in lint(graph)]
    if paired:
        one = "y[:, None]" if targets.shape == row else "y[:, 0]"
        warn_user(
            f"{function}: the model gives shape {outputs.shape} and y has shape {targets.shape}, which the loss "
            f"broadcasts to {(*row, *row)}: every output is compared with every target; pass {one} as the targets, or "
            "let the loss reshape"
        )
    return paired
