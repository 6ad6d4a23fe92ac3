"""The demonstration from beginning to end."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Sequence
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from tensorgraph import train
from tensorgraph.commands.demo.digits import FULL, Outcome, Settings, run_seed
from tensorgraph.commands.demo.pictures import draw_confusion, draw_curves, draw_graphs, draw_wrong
from tensorgraph.commands.demo.report import Screen
from tensorgraph.data import load_digits
from tensorgraph.files import MissingExtraError, atomic_write

__all__ = ["NEEDS", "run"]

# packages that the extra `demo` brings
NEEDS = ("sklearn", "threadpoolctl", "rich", "matplotlib", "safetensors")
FILES = (
    ("graph.svg", "the network, module by module"),
    ("ops.svg", "every operation of it, with the loss"),
    ("learning-curves.png", "loss and accuracy of both networks"),
    ("confusion-matrix.png", "what was taken for what"),
    ("misclassified.png", "the digits it got wrong"),
    ("digits.safetensors", "the model, its normaliser and class names"),
    ("results.json", "all numbers"),
)


def run(
    output: str | os.PathLike[str] = "demo-output",
    *,
    seeds: Sequence[int] = (0, 1, 2, 3, 4),
    settings: Settings = FULL,
    console: Any = None,
) -> dict[str, Any]:
    """Train a classifier of handwritten digits with and without batch norm, and report.

    Parameters
    ----------
    output : path-like
        The folder for the files; made where it is missing.
    seeds : sequence of int
        One split, and one set of first weights, a seed.
    settings : Settings
        `FULL`, or `QUICK` for a small network and a few epochs.
    console : rich.console.Console, optional
        Where to print; standard output unless given.

    Returns
    -------
    dict
        What ``results.json`` holds.

    Raises
    ------
    MissingExtraError
        If scikit-learn, rich, matplotlib or safetensors is not installed.
    ValueError
        If there are no seeds, or one of them is negative or given twice.
    NotADirectoryError
        If `output` is a file.
    """
    missing = [name for name in NEEDS if find_spec(name) is None]
    if missing:
        raise MissingExtraError(
            f'the demonstration needs {", ".join(missing)}: install with `pip install "tensorgraph-engine[demo]"`'
        )
    seeds = list(seeds)
    if not seeds or len(set(seeds)) != len(seeds) or any(type(s) is not int or s < 0 for s in seeds):
        raise ValueError(f"seeds are different whole numbers of at least 0, one or more; got {seeds}")
    folder = Path(output)
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"{str(folder)!r} is a file; give a folder to write to")
    folder.mkdir(parents=True, exist_ok=True)

    began = time.perf_counter()
    screen = Screen(console)
    data = load_digits()
    screen.headline(settings, len(data))
    outcomes: dict[bool, list[Outcome]] = {True: [], False: []}
    # scikit-learn brings this
    from threadpoolctl import threadpool_limits

    # products as small as these take longer on two threads than on one, most of all beside other work
    with screen, threadpool_limits(limits=1, user_api="blas"):
        for seed in seeds:
            for batch_norm in (True, False):
                watch = screen.begin(seed, batch_norm, settings.epochs)
                outcomes[batch_norm].append(run_seed(data, seed, batch_norm, settings, watch))
    with_norm, without = outcomes[True], outcomes[False]
    screen.results(with_norm, without)

    first = with_norm[0]
    train.save(folder / "digits.safetensors", first.predictor)
    results = _results(with_norm, without, settings, time.perf_counter() - began)
    atomic_write(folder / "results.json", (json.dumps(results, indent=2) + "\n").encode())
    draw_graphs(first.model, settings.batch_size, folder / "graph.svg", folder / "ops.svg")
    draw_curves(with_norm, without, folder / "learning-curves.png")
    draw_confusion(with_norm, folder / "confusion-matrix.png")
    draw_wrong(with_norm, folder / "misclassified.png")
    screen.files(folder, FILES)

    loaded = train.load_model(folder / "digits.safetensors")
    image, names = first.test.x[0], first.test.class_names
    assert names is not None and first.test.y is not None
    screen.prediction(image, names[first.test.y[0]], loaded.predict(image))
    screen.say(f"All of it took {time.perf_counter() - began:.0f} s")
    return results


def _results(
    with_norm: Sequence[Outcome], without: Sequence[Outcome], settings: Settings, seconds: float
) -> dict[str, Any]:
    def side(outcomes: Sequence[Outcome]) -> dict[str, Any]:
        accuracies = [outcome.accuracy for outcome in outcomes]
        runs = [
            {
                "seed": outcome.seed,
                "test_accuracy": outcome.accuracy,
                "wrong": len(outcome.wrong),
                "seconds": round(outcome.seconds, 3),
                "history": outcome.history.to_dict(),
            }
            for outcome in outcomes
        ]
        return {"mean_test_accuracy": float(np.mean(accuracies)), "least_test_accuracy": min(accuracies), "runs": runs}

    return {
        "settings": vars(settings) | {"widths": list(settings.widths)},
        "versions": {
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in ("tensorgraph-engine", "numpy", "numba", "scikit-learn")},
        },
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors",
        "seconds": round(seconds, 1),
        "batch_norm": side(with_norm),
        "no_batch_norm": side(without),
    }
