"""All that the next step depends on, as arrays and JSON, between two steps; and a loop brought to it.

The order of the batches depends on the seed and the epoch alone, so an epoch that was begun is gone through again up
to where it was, without the model: only what the model gave for the metrics is kept, and the generator of `augment`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np

from tensorgraph.data.normalizer import Normalizer
from tensorgraph.engine import random
from tensorgraph.files import FileFormatError
from tensorgraph.train.architecture import set_switches
from tensorgraph.train.history import History
from tensorgraph.train.loop import Loop, Pass
from tensorgraph.train.run.hyperparameters import Hyperparameters, Schedules, match_cells
from tensorgraph.train.saving import Arrays, contents, load_into

__all__ = ["capture", "history_in", "names_of_states", "restore"]


def names_of_states(callbacks: Sequence[Any]) -> list[str]:
    """The callbacks that have a state, by their classes."""
    return [type(callback).__name__ for callback in _with_state(callbacks)]


def _with_state(callbacks: Sequence[Any]) -> list[Any]:
    return [callback for callback in callbacks if hasattr(callback, "state_dict")]


def capture(
    loop: Loop, schedules: Schedules, normalizer: Normalizer | None, class_names: Sequence[str] | None
) -> tuple[Arrays, dict[str, Any]]:
    """The state between two steps: a saved model, and under ``training`` what else there is."""
    training, current = loop.training, loop.current
    arrays, described = contents(training.model, normalizer, class_names, training.optimizer, None)
    arrays["random.state"] = random.state().numpy()
    for i, callback in enumerate(_with_state(loop.told)):
        arrays |= {f"callback{i}.{name}": np.asarray(a) for name, a in callback.state_dict().items()}
    curves, history = _split(training.history.to_dict())
    arrays |= {f"history.{name}": array for name, array in curves.items()}
    described["training"] = {
        "done": loop.done,
        "step": training.step,
        "epochs": training.epochs,
        "stopping": training.stopping,
        "hyperparameters": dict(Hyperparameters(training)),
        "schedules": schedules.followed(),
        "history": history,
        "callbacks": names_of_states(loop.told),
        "compiled": {} if loop.steps is None else loop.steps.state(),
        "pass": None,
    }
    if current is not None:
        arrays["pass.outputs"] = np.concatenate(current.outputs) if current.outputs else np.zeros(0)
        described["training"]["pass"] = {
            "batch": training.batch,
            "total": current.total,
            "samples": current.samples,
            "measures": dict(training.measures),
            "seconds": time.perf_counter() - current.began,
            "rng": current.rng.bit_generator.state,
        }
    return arrays, described


def restore(loop: Loop, schedules: Schedules, parts: Mapping[str, Arrays], described: Mapping[str, Any]) -> None:
    """Bring a loop to a state; what does not fit is told before anything changes.

    An epoch that was begun is told to callbacks again, and then everything they may have changed is put back.

    Raises
    ------
    FileFormatError
        If a part is missing.
    ValueError
        If the state is of another model, optimiser or other callbacks.
    """
    training = loop.training
    try:
        saved = described["training"]
        history = history_in(parts, described)
        done, step, epochs = int(saved["done"]), int(saved["step"]), int(saved["epochs"])
        stopping, followed, begun = str(saved["stopping"]), [bool(f) for f in saved["schedules"]], saved["pass"]
        hyperparameters, names = dict(saved["hyperparameters"]), list(saved["callbacks"])
        if begun is not None:
            begun = {**begun, "outputs": parts["pass"]["outputs"], "batch": int(begun["batch"])}
        generator, compiled = parts["random"]["state"], dict(saved.get("compiled", {}))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FileFormatError(f"a checkpoint lacks a part ({error}); go back to another one") from error
    if names != names_of_states(loop.told):
        raise ValueError(f"the checkpoint is of a run with the callbacks {names}; give the same")
    if schedules.missing(followed):
        raise ValueError("the checkpoint's learning rate follows a schedule: make the optimiser again, with it")
    if loop.current is not None:
        loop.current.close()
    loop.done, loop.current = done, None
    if loop.steps is not None:
        loop.steps.restore(compiled)
    training.epoch = done
    training.history, training.step, training.epochs, training.stopping = history, step, epochs, stopping
    current = loop.begin_epoch() if begun is not None else None
    match_cells(training.optimizer, parts["optimizer"])
    load_into("the checkpoint", parts, training.model, training.optimizer)
    schedules.put_back(followed)
    set_switches(training.model, described["switches"], whole=False)
    random.state().assign(generator)
    now = Hyperparameters(training)
    for name, value in hyperparameters.items():
        if name in now and now[name] != value:
            now.set(name, value)
    loop.watch()
    for i, callback in enumerate(_with_state(loop.told)):
        callback.load_state_dict(parts.get(f"callback{i}", {}))
    training.stopping = stopping
    if current is not None:
        loop.current = _catch_up(loop, current, begun)


def _catch_up(loop: Loop, current: Pass, begun: Mapping[str, Any]) -> Pass:
    """Go through the batches of an epoch that are done, for their targets alone."""
    targets = [labels for _, labels in islice(current.batches, begun["batch"])]
    if loop.metrics:  # what nothing measures is not kept
        current.targets, current.outputs = targets, [begun["outputs"]]
    current.total, current.samples = float(begun["total"]), float(begun["samples"])
    current.rng.bit_generator.state = begun["rng"]
    current.began = time.perf_counter() - float(begun["seconds"])
    loop.training.batch = begun["batch"]
    loop.training.measures = {str(name): float(value) for name, value in begun["measures"].items()}
    return current


def history_in(parts: Mapping[str, Arrays], described: Mapping[str, Any]) -> History:
    """The history in a checkpoint."""
    return History.from_dict(_join(parts.get("history", {}), described["training"]["history"]))


def _split(history: dict[str, Any]) -> tuple[Arrays, dict[str, Any]]:
    """Curves as arrays, one number a step being much as JSON; the rest as it is."""
    curves: Arrays = {}
    rest: dict[str, Any] = {}
    for key, value in history.items():
        if isinstance(value, list):
            curves[key] = np.array(value, np.float64)
        elif isinstance(value, dict):
            curves |= {f"{key}.{name}": np.array(curve, np.float64) for name, curve in value.items()}
            rest[key] = list(value)
        else:
            rest[key] = value
    return curves, rest


def _join(curves: Arrays, rest: Mapping[str, Any]) -> dict[str, Any]:
    """What `_split` took apart."""
    found: dict[str, Any] = {key: array.tolist() for key, array in curves.items() if "." not in key}
    for key, value in rest.items():
        found[key] = {name: curves[f"{key}.{name}"].tolist() for name in value} if isinstance(value, list) else value
    return found
