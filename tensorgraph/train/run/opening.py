"""From what `fit` was given to a recorder: what the run is of, and what its first event tells."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tensorgraph.data.loader import Loader
from tensorgraph.data.normalizer import Normalizer
from tensorgraph.engine.spec import spec
from tensorgraph.nn.module import Module
from tensorgraph.train.callbacks import Training
from tensorgraph.train.run.digest import Described, describe_model, describe_optimizer, hyperparameters_of, name_of
from tensorgraph.train.run.recorder import Recorder
from tensorgraph.train.run.run import Run
from tensorgraph.train.run.state import names_of_states
from tensorgraph.train.streams import Stream

__all__ = ["recorder_for"]

ROWS = 4  # of the batch whose graph is compared; their number is a setting of its own


def recorder_for(
    run: Any, training: Training, loader: Loader | Stream, *, loss: Callable[..., Any], told: Sequence[Any],
    settings: Described, data: Described, row: tuple[Any, Any], target: tuple[Any, Any],
    normalizer: Normalizer | None, class_names: Sequence[str] | None,
) -> Recorder:  # fmt: skip
    """The recorder of a run.

    Parameters
    ----------
    run : Run or path-like
    settings : dict
        `fit`'s own, functions among them.
    data : dict
        What `describe_data` says.
    row, target : pair of shape and dtype
        Of one sample as the model takes it, and of its target.
    """
    run = run if isinstance(run, Run) else Run(run)
    if not isinstance(training.model, Module):
        raise TypeError(f"run= saves the model, which must be a Module; got {type(training.model).__name__}")
    named = {name: name_of(value) if callable(value) else value for name, value in settings.items()}
    batch = [spec((min(loader.samples, ROWS), *shape), dtype) for shape, dtype in (row, target)]
    digest = {
        "model": describe_model(training.model, loss, *batch),
        "data": data,
        "settings": {
            **named,
            "callbacks": names_of_states(told),
            "optimizer": describe_optimizer(training.optimizer),
            "hyperparameters": hyperparameters_of(training),
        },
    }
    sample = {"shape": list(row[0]), "dtype": str(row[1])}
    about = {"sample": sample, "samples": loader.samples, "batch_size": loader.batch_size, "settings": named}
    return Recorder(run.folder, run.options, digest, about, normalizer, class_names)
