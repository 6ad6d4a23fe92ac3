"""Models as files: weights, normaliser, class names, and all that a run needs to go on.

One safetensors file holds everything as plain arrays and JSON. Loading runs no code from the file: the arrays go into
a model that the user built, or into one rebuilt of imported layers that say how they were made.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tensorgraph.arguments import ClassNames, PathLike, checked, shown
from tensorgraph.data.normalizer import Normalizer
from tensorgraph.engine import random
from tensorgraph.engine.interrupts import whole
from tensorgraph.files import FileFormatError, load_tensors, save_tensors
from tensorgraph.nn.module import Module
from tensorgraph.optim.optimizer import Optimizer
from tensorgraph.train.architecture import build, describe, read_switches, set_switches
from tensorgraph.train.callbacks import Training
from tensorgraph.train.history import History
from tensorgraph.train.predictor import Predictor

__all__ = ["Checkpoint", "load", "load_model", "save"]

FORMAT, VERSION = "tensorgraph.model", 1
Arrays = dict[str, np.ndarray[Any, Any]]


@checked
def save(
    path: PathLike,
    model: Module | Predictor,
    *,
    normalizer: Normalizer | None = None,
    class_names: ClassNames | None = None,
    optimizer: Optimizer | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Save a model in one safetensors file, whole or not at all.

    Parameters
    ----------
    path : path-like
        The file, by custom ``*.safetensors``; an existing one is replaced.
    model : Module or Predictor
        Its parameters and buffers are saved, which parts are frozen and which parameters not trained, and its
        structure, where every part says in ``config()`` how it was made: this library's layers do. A `Predictor`
        brings its own normaliser, class names and metadata.
    normalizer : Normalizer, optional
        Fitted on the training set; it belongs to the model.
    class_names : sequence of str, optional
        Class c is ``class_names[c]``.
    optimizer : Optimizer, optional
        Its state too, to go on training later.
    metadata : mapping, optional
        Anything JSON can say, kept for the reader.

    Raises
    ------
    MissingExtraError
        If safetensors is not installed.
    TypeError
        If the model has no state, or the metadata is not JSON.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import tensorgraph as tg
    >>> from tensorgraph import nn, train
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "model.safetensors")
    ...     train.save(path, nn.Sequential(nn.Linear(2, 3, seed=0)), class_names=["a", "b", "c"])
    ...     train.load_model(path)
    Predictor(Sequential, 3 classes)
    """
    arrays, described = _contents(model, normalizer, class_names, optimizer, metadata)
    save_tensors(path, arrays, described, format=FORMAT, version=VERSION)


@checked
def load(path: PathLike, model: Module, *, optimizer: Optimizer | None = None) -> Predictor:
    """Load a saved model's numbers into a model of the same structure.

    Parameters
    ----------
    path : path-like
        What `save`, or `fit` with ``checkpoint=``, wrote.
    model : Module
        Takes the parameters and buffers. What was frozen or not trained becomes so; what is so already stays.
    optimizer : Optimizer, optional
        Takes the saved optimiser's state.

    Returns
    -------
    Predictor
        `model` with the normaliser and the class names of the file.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    FileFormatError
        If the file is damaged, cut off, of another format, or of a newer version.
    ValueError
        If names or shapes do not fit, or the file holds no optimiser. The model and the optimiser are then unchanged.
    """
    parts, described = _read(path)
    loaded = _predictor(path, model, parts, described)
    _load_into(path, parts, model, optimizer)
    set_switches(model, described["switches"], whole=False)
    return loaded


@checked
def load_model(path: PathLike) -> Predictor:
    """Load a saved model without building it first: of this library's layers, and of imported ones with a ``config()``.

    Parameters
    ----------
    path : path-like
        What `save`, or `fit` with ``checkpoint=``, wrote. Nothing in it is executed: it names layers that are looked
        up among the imported classes of `Module`, and gives them literals.

    Returns
    -------
    Predictor
        A new model, in evaluation mode, with the normaliser and the class names: ``.predict(x)`` gives class names and
        probabilities.

    Raises
    ------
    FileNotFoundError, FileFormatError
        As `load`.
    ValueError
        If the file holds the numbers alone, and the model must be built first.
    """
    parts, described = _read(path)
    if described["architecture"] is None:
        raise ValueError(
            f"{_quoted(path)} holds the numbers of a model with a part that does not say how it was made (config()): "
            "build the model, then call load(path, model)"
        )
    try:
        model = build(described["architecture"], parts.get("model", {}))
    except (ValueError, TypeError, KeyError) as error:
        raise FileFormatError(f"{_quoted(path)} describes a model that cannot be built: {error}") from error
    loaded = _predictor(path, model, parts, described)
    _load_into(path, parts, model, None)
    set_switches(model, described["switches"], whole=True)
    model.eval()
    return loaded


def _quoted(path: PathLike) -> str:
    return repr(os.fspath(path))


def _contents(
    model: Any, normalizer: Any, class_names: Any, optimizer: Any, metadata: Any
) -> tuple[Arrays, dict[str, Any]]:
    """The arrays and the metadata of a file."""
    if isinstance(model, Predictor):
        if normalizer is not None or class_names is not None or metadata is not None:
            raise TypeError("a Predictor brings its own normaliser, class names and metadata: pass its .model instead")
        normalizer, class_names, metadata = model.normalizer, model.class_names, model.metadata
        model = model.model
    if not isinstance(model, Module):
        raise TypeError(f"save: the model of the Predictor must be a Module, which has parameters; got {shown(model)}")
    parts = {"model": model.state_dict()}
    if normalizer is not None:
        parts["normalizer"] = normalizer.state_dict()
    if optimizer is not None:
        parts["optimizer"] = optimizer.state_dict()
    arrays = {f"{part}.{name}": array for part, found in parts.items() for name, array in found.items()}
    return arrays, {
        "architecture": describe(model),
        "switches": read_switches(model),
        "class_names": None if class_names is None else list(class_names),
        "metadata": dict(metadata or {}),
    }


def _read(path: PathLike) -> tuple[dict[str, Arrays], dict[str, Any]]:
    """A file's arrays by part, and its metadata, all checked for kind."""
    arrays, described = load_tensors(path, format=FORMAT, version=VERSION)
    names = described.get("class_names")
    sound = names is None or (isinstance(names, list) and all(isinstance(name, str) for name in names))
    kinds = {"architecture": dict | None, "class_names": list | None, "metadata": dict}
    if not sound or not all(key in described and isinstance(described[key], kind) for key, kind in kinds.items()):
        raise FileFormatError(f"{_quoted(path)} lacks a part of a saved model; save it again")
    switches = described.setdefault("switches", {})  # not in older files
    if not isinstance(switches, dict) or not all(
        isinstance(switches.setdefault(key, kind()), kind)
        for key, kind in {"frozen": list, "fixed": list, "initialisers": dict}.items()
    ):
        raise FileFormatError(f"{_quoted(path)} lacks a part of a saved model; save it again")
    parts: dict[str, Arrays] = {}
    for name, array in arrays.items():
        part, _, rest = name.partition(".")
        parts.setdefault(part, {})[rest] = array
    return parts, described


def _predictor(path: PathLike, model: Any, parts: Mapping[str, Arrays], described: Mapping[str, Any]) -> Predictor:
    """The model with what the file says of it; the model is not touched."""
    normalizer = None
    if "normalizer" in parts:
        try:
            normalizer = Normalizer.from_state_dict(parts["normalizer"])
        except (ValueError, TypeError) as error:
            raise FileFormatError(f"{_quoted(path)} holds a normaliser that is not one: {error}") from error
    names = described["class_names"]
    return Predictor(model, normalizer, None if names is None else tuple(names), described["metadata"])


def _load_into(path: PathLike, parts: Mapping[str, Arrays], model: Any, optimizer: Any) -> None:
    """The file's numbers into the model and the optimiser: both, or neither."""
    if optimizer is not None and "optimizer" not in parts:
        raise ValueError(f"{_quoted(path)} was saved without an optimiser; leave optimizer= out, or save it with one")
    before = model.state_dict()
    try:
        with whole():
            model.load_state_dict(parts.get("model", {}))
            if optimizer is not None:
                optimizer.load_state_dict(parts["optimizer"])
    except (ValueError, TypeError, KeyError) as error:
        model.load_state_dict(before)
        raise ValueError(f"{_quoted(path)} does not fit: {error}") from error


class Checkpoint:
    """The file from which a run goes on: the saved model, and all else that the next epoch depends on.

    Parameters
    ----------
    path : path-like
    normalizer, class_names
        As for `save`.
    settings : dict
        What must be the same when the run goes on.
    """

    def __init__(
        self, path: PathLike, normalizer: Normalizer | None, class_names: Sequence[str] | None, settings: dict[str, Any]
    ) -> None:
        self.path, self.normalizer, self.class_names, self.settings = path, normalizer, class_names, settings
        folder = Path(path).absolute().parent
        if not folder.is_dir():  # told now, not after an epoch of work
            raise FileNotFoundError(f"the folder {str(folder)!r} of checkpoint= does not exist; create it first")

    def write(self, run: Training, callbacks: Sequence[Any]) -> None:
        """Replace the file by the state after an epoch."""
        arrays, described = _contents(run.model, self.normalizer, self.class_names, run.optimizer, None)
        arrays["random.state"] = random.state().numpy()
        kept = _with_state(callbacks)
        for i, callback in enumerate(kept):
            arrays |= {f"callback{i}.{name}": np.asarray(a) for name, a in callback.state_dict().items()}
        described["training"] = {
            "epochs": run.epoch + 1,
            "steps": run.step,
            "stopping": run.stopping,
            "settings": self.settings,
            "callbacks": [type(callback).__name__ for callback in kept],
            "history": run.history.to_dict(),
        }
        save_tensors(self.path, arrays, described, format=FORMAT, version=VERSION)

    def resume(self, run: Training, callbacks: Sequence[Any]) -> int:
        """Bring a run to where the file left it; gives the epoch to go on with, 0 where there is no file yet."""
        if not Path(self.path).exists():
            return 0
        parts, described = _read(self.path)
        where, training = _quoted(self.path), described.get("training")
        if not isinstance(training, dict):
            raise ValueError(f"{where} is a saved model, not a checkpoint of fit: load it with load(path, model)")
        kept = _with_state(callbacks)
        try:
            history = History.from_dict(training["history"])
            epochs, run_step, stopping = int(training["epochs"]), int(training["steps"]), str(training["stopping"])
            then = {**training["settings"], "callbacks": training["callbacks"]}
        except (KeyError, TypeError, ValueError) as error:
            raise FileFormatError(f"{where} lacks a part of a checkpoint ({error}); start again without it") from error
        now = {**self.settings, "callbacks": [type(callback).__name__ for callback in kept]}
        changed = [f"{key} was {then.get(key)!r} and is {now.get(key)!r}" for key in now if then.get(key) != now[key]]
        if changed:
            raise ValueError(
                f"{where} is of a run with other settings ({'; '.join(changed)}): give the same, or start again "
                "without resume=True"
            )
        _load_into(self.path, parts, run.model, run.optimizer)
        set_switches(run.model, described["switches"], whole=False)
        random.state().assign(parts["random"]["state"])
        for i, callback in enumerate(kept):
            callback.load_state_dict(parts[f"callback{i}"])
        run.history, run.step, run.stopping = history, run_step, stopping
        return epochs


def _with_state(callbacks: Sequence[Any]) -> list[Any]:
    return [callback for callback in callbacks if hasattr(callback, "state_dict")]
