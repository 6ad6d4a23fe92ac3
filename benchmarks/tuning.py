"""``python -m benchmarks tune``: what a trial costs over its training, beside Optuna's threads and Ray Tune.

Every training notes when it began and ended. Where one worker ends a training and begins the next, the time between is
what a trial costs: choosing values, files, the record, processes that talk. Starting is told apart.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tensorgraph import nn, optim, train, tune

__all__ = ["MOST", "measure", "table"]

TRIALS = 40
MOST = 0.020  # seconds a trial over the training itself, at most
SPACE = tune.Space(lr=tune.log(1e-4, 1), beta=tune.ewa(0.9, 0.999), p=tune.uniform(0, 0.5), batch=tune.pow2(32, 64))

Interval = tuple[float, float]  # when a training began and ended, in Unix seconds
Runner = Callable[[int, Path], list[Interval]]  # trials, folder -> of every training


def training(lr: float, beta: float, batch: int) -> float:
    """What every trial does: a small network, a few epochs."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((600, 64)).astype(np.float32)
    y = (x[:, 0] > x[:, 1]).astype(np.int64)
    model = nn.Sequential(nn.Linear(64, 32, seed=0), nn.ReLU(), nn.Linear(32, 2, seed=1))
    momentum = optim.Momentum(model.parameters(), lr=lr * 0.1, beta=beta)
    history = train.fit(model, (x, y), optimizer=momentum, epochs=10, batch_size=batch, progress=False)
    return history["loss"][-1]


def objective(trial: Any) -> float:
    """The same for every runner."""
    return training(trial["lr"], trial["beta"], trial["batch"])


def ours(workers: int, kept: bool) -> Runner:
    """A study of this library's."""

    def run(trials: int, folder: Path) -> list[Interval]:
        study = tune.Study(SPACE, folder=folder if kept else None)
        study.run(
            objective, trials=trials, workers=workers, engine="serial" if workers == 1 else "loky", progress=False
        )
        return [(ended.began, ended.began + ended.seconds) for ended in study._ended.values()]

    return run


def optunas(threads: int) -> Runner:
    """Optuna's own loop, in threads, on SQLite."""

    def run(trials: int, folder: Path) -> list[Interval]:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        folder.mkdir()
        intervals: list[Interval] = []

        def timed(trial: Any) -> float:
            lr = trial.suggest_float("lr", 1e-4, 1, log=True)
            beta = 1.0 - trial.suggest_float("1-beta", 1e-3, 1e-1, log=True)
            trial.suggest_float("p", 0, 0.5)
            batch = 1 << trial.suggest_int("log2 batch", 5, 6)
            began = time.time()
            score = training(lr, beta, batch)
            intervals.append((began, time.time()))
            return score

        study = optuna.create_study(
            storage=f"sqlite:///{folder}/study.db", sampler=optuna.samplers.RandomSampler(seed=0)
        )
        study.optimize(timed, n_trials=trials, n_jobs=threads, catch=(FloatingPointError,))
        return intervals

    return run


def rays(workers: int) -> Runner:
    """Ray Tune's loop, a processor a trial, in processes that serve for one trial after another."""

    def run(trials: int, folder: Path) -> list[Interval]:
        from ray import tune as ray_tune

        def timed(config: dict[str, Any]) -> None:
            began = time.time()
            score = training(config["lr"], 1.0 - config["1-beta"], config["batch"])
            ray_tune.report({"score": score, "began": began, "ended": time.time()})

        space = {
            "lr": ray_tune.loguniform(1e-4, 1), "1-beta": ray_tune.loguniform(1e-3, 1e-1),
            "p": ray_tune.uniform(0, 0.5), "batch": ray_tune.choice([32, 64]),
        }  # fmt: skip
        settings = ray_tune.TuneConfig(num_samples=trials, max_concurrent_trials=workers, reuse_actors=True)
        kept = ray_tune.RunConfig(storage_path=os.fspath(folder), verbose=0)
        found = ray_tune.Tuner(timed, param_space=space, tune_config=settings, run_config=kept).fit()
        return [(result.metrics["began"], result.metrics["ended"]) for result in found]

    return run


RUNNERS: dict[str, Runner] = {
    "serial, in memory": ours(1, kept=False),
    "serial, in a folder": ours(1, kept=True),
    "loky, 2 processes": ours(2, kept=True),
    "Optuna, 1 thread": optunas(1),
    "Optuna, 2 threads": optunas(2),
    "Ray Tune, 2 processes": rays(2),
}
OURS = ("serial, in memory", "serial, in a folder", "loky, 2 processes")


def gaps(intervals: list[Interval]) -> list[float]:
    """The time between a training and the next in the same worker; which worker is seen from what fits."""
    free: list[float] = []  # when each worker ended its last training
    found = []
    for began, ended in sorted(intervals):
        before = [at for at in free if at <= began]
        if before:
            free.remove(max(before))
            found.append(began - max(before))
        free.append(ended)
    return found


def measure(told: Callable[[str], None] = print, trials: int = TRIALS) -> dict[str, Any]:
    """Of each runner, in seconds: a trial's cost over its training, a training, and until the first one begins."""
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as base:
        for name, run in RUNNERS.items():
            told(name)
            try:
                run(2, Path(base) / f"{name}-first")  # what is imported and compiled once is so by now
                called = time.time()
                intervals = run(trials, Path(base) / name)
            except ImportError as error:
                said = f"{error.name} is not installed" if error.name else str(error).partition("\n")[0]
                results[name] = {"absent": said}
                continue
            between = gaps(intervals)
            results[name] = {
                "over": statistics.median(between),
                "mean": statistics.fmean(between),
                "training": statistics.median(ended - began for began, ended in intervals),
                "start": min(intervals)[0] - called,
                "wall": max(ended for _, ended in intervals) - called,
            }
    return results


def table(results: dict[str, Any]) -> str:
    """The results as text."""
    lines = [f"{'':24}{'over a training':>17}{'(mean)':>11}{'a training':>13}{'to start':>11}{'all':>10}"]
    for name, one in results.items():
        if "absent" in one:
            lines.append(f"{name:24}  n/a: {one['absent']}")
            continue
        lines.append(
            f"{name:24}{1e3 * one['over']:>14.1f} ms{1e3 * one['mean']:>8.1f} ms{1e3 * one['training']:>10.0f} ms"
            f"{one['start']:>9.2f} s{one['wall']:>8.2f} s"
        )
    return "\n".join([*lines, f"{os.cpu_count()} processors; medians, and the mean in parentheses"])
