"""The confusion matrix of a classifier on the dev set, as the last event of a run tells it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tensorgraph.train.evaluate import predict
from tensorgraph.train.loop import Loop
from tensorgraph.train.metrics import confusion_matrix

__all__ = ["confusion"]

MOST_CLASSES = 60  # more are no table that anybody reads


def confusion(loop: Loop, class_names: Sequence[str] | None) -> dict[str, Any]:
    """``{"confusion": {"names": ..., "counts": ...}}``, a row each true class; nothing where the run has no dev set or
    the model is no classifier of it."""
    if loop.held is None or loop.held[1].dtype.kind not in "iu" or loop.held[1].ndim != 1:
        return {}
    outputs = predict(loop.training.model, loop.held[0], compile=False)
    if outputs.ndim != 2 or not 2 <= outputs.shape[1] <= MOST_CLASSES:
        return {}
    try:
        counts = confusion_matrix(outputs, loop.held[1])
    except ValueError:  # labels that are no classes of the model, or outputs that are nan
        return {}
    names = [str(name) for name in class_names] if class_names is not None else None
    return {"confusion": {"names": names, "counts": counts.tolist()}}
