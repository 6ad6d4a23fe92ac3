"""Models as files: weights, normaliser, class names; a checkpoint of a run is one that holds more.

One safetensors file holds everything as plain arrays and JSON. Loading runs no code from the file: the arrays go into
a model that the user built, or into one rebuilt of imported layers that say how they were made.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from tensorgraph.arguments import ClassNames, PathLike, checked, shown
from tensorgraph.data.normalizer import Normalizer
from tensorgraph.engine.interrupts import whole
from tensorgraph.files import FileFormatError, load_tensors, save_tensors
from tensorgraph.nn.module import Module
from tensorgraph.optim.optimizer import Optimizer
from tensorgraph.train.architecture import build, describe, read_switches, set_switches
from tensorgraph.train.predictor import Predictor

__all__ = ["contents", "load", "load_into", "load_model", "read_parts", "save"]

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
    arrays, described = contents(model, normalizer, class_names, optimizer, metadata)
    save_tensors(path, arrays, described, format=FORMAT, version=VERSION)


@checked
def load(path: PathLike, model: Module, *, optimizer: Optimizer | None = None) -> Predictor:
    """Load a saved model's numbers into a model of the same structure.

    Parameters
    ----------
    path : path-like
        What `save` wrote, or a checkpoint of a run.
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
    parts, described = read_parts(path)
    loaded = predictor_of(path, model, parts, described)
    load_into(path, parts, model, optimizer)
    set_switches(model, described["switches"], whole=False)
    return loaded


@checked
def load_model(path: PathLike) -> Predictor:
    """Load a saved model without building it first: of this library's layers, and of imported ones with a ``config()``.

    Parameters
    ----------
    path : path-like
        What `save` wrote, or a checkpoint of a run. Nothing in it is executed: it names layers that are looked
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
    parts, described = read_parts(path)
    if described["architecture"] is None:
        raise ValueError(
            f"{_quoted(path)} holds the numbers of a model with a part that does not say how it was made (config()): "
            "build the model, then call load(path, model)"
        )
    try:
        model = build(described["architecture"], parts.get("model", {}))
    except (ValueError, TypeError, KeyError) as error:
        raise FileFormatError(f"{_quoted(path)} describes a model that cannot be built: {error}") from error
    loaded = predictor_of(path, model, parts, described)
    load_into(path, parts, model, None)
    set_switches(model, described["switches"], whole=True)
    model.eval()
    return loaded


def _quoted(path: PathLike) -> str:
    return repr(os.fspath(path))


def contents(
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


def read_parts(path: PathLike) -> tuple[dict[str, Arrays], dict[str, Any]]:
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


def predictor_of(path: PathLike, model: Any, parts: Mapping[str, Arrays], described: Mapping[str, Any]) -> Predictor:
    """The model with what the file says of it; the model is not touched."""
    normalizer = None
    if "normalizer" in parts:
        try:
            normalizer = Normalizer.from_state_dict(parts["normalizer"])
        except (ValueError, TypeError) as error:
            raise FileFormatError(f"{_quoted(path)} holds a normaliser that is not one: {error}") from error
    names = described["class_names"]
    return Predictor(model, normalizer, None if names is None else tuple(names), described["metadata"])


def load_into(path: PathLike, parts: Mapping[str, Arrays], model: Any, optimizer: Any) -> None:
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
