"""``python -m benchmarks ranks``: a training step by one process and by two, and what of it is the exchange.

The steps are those of `problems.py`, S, M and L: Adam, batch norm, the loss read. *Shared* is the same batch for any
number of ranks, *each* a batch of that size for every rank. The exchange is the sum of the gradients over the ranks:
waiting for the slower rank is a part of it, and what batch norm exchanges for its averages is not.
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["measure", "table"]

RANKS = (1, 2)
STEPS = {"S": 300, "M": 60, "L": 8}  # about a second each
WARM = 3
ROUNDS = 3


def launcher() -> str:
    """The `mpiexec` beside the interpreter, or the system's."""
    beside = Path(sys.executable).with_name("mpiexec")
    found = str(beside) if beside.exists() else shutil.which("mpiexec")
    if found is None:
        raise SystemExit("mpiexec is not installed: pip install 'tensorgraph-engine[mpi]'")
    return found


def measure(names: tuple[str, ...] = tuple(STEPS)) -> list[dict[str, Any]]:
    """A row for each problem, way of sharing and number of ranks; jobs take turns, so that all meet what else runs."""
    rows: dict[tuple[str, str, int], list[dict[str, float]]] = {}
    for _ in range(ROUNDS):
        for ranks in RANKS:
            command = [launcher(), "-n", str(ranks), sys.executable, "-m", "mpi4py", "-m", "benchmarks.ranks"]
            done = subprocess.run([*command, *names], capture_output=True, text=True, check=False)
            if done.returncode:
                raise SystemExit(f"the job of {ranks} ranks failed:\n{done.stderr}")
            for row in json.loads(done.stdout):
                rows.setdefault((row["problem"], row["batch"], ranks), []).append(row)
    return [
        {
            "problem": problem,
            "batch": batch,
            "ranks": ranks,
            "step": statistics.median(row["step"] for row in found),
            "exchange": statistics.median(row["exchange"] for row in found),
        }
        for (problem, batch, ranks), found in sorted(rows.items())
    ]


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as text: milliseconds, samples a second beside one process, the exchange's share."""
    single = {(row["problem"], row["batch"]): row["step"] for row in rows if row["ranks"] == 1}
    lines = [f"{'step':>4}  {'batch':<6}  {'ranks':>5}  {'ms':>8}  {'samples a second':>16}  {'exchange':>8}"]
    for row in rows:
        times = single[row["problem"], row["batch"]] / row["step"]
        times *= row["ranks"] if row["batch"] == "each" else 1
        lines.append(
            f"{row['problem']:>4}  {row['batch']:<6}  {row['ranks']:>5}  {row['step'] * 1e3:8.3f}  {times:13.2f} of 1  "
            f"{row['exchange'] / row['step']:8.0%}"
        )
    return "\n".join(lines)


def timed(name: str, batch: str) -> dict[str, Any]:
    """One problem on this job's ranks."""
    import tensorgraph as tg
    from benchmarks.problems import LEARNING_RATE, NETWORKS
    from tensorgraph import dist, nn, optim

    size, widths = NETWORKS[name]
    layers: list[Any] = []
    for i, (inputs, outputs) in enumerate(pairwise(widths[:-1])):
        layers += [nn.Linear(inputs, outputs, bias=False, seed=i), nn.BatchNorm(outputs), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Linear(widths[-2], widths[-1], seed=99))
    parallel = dist.DataParallel(optim.Adam(model, lr=LEARNING_RATE))
    rng = np.random.default_rng(parallel.rank if batch == "each" else 0)
    x = rng.standard_normal((size, widths[0])).astype(np.float32)
    y = rng.integers(0, widths[-1], size)
    total = size * parallel.size if batch == "each" else size
    if batch == "shared":
        x, y = parallel.share(x, y)
    spent = [0.0]
    exchange = parallel.job.sum_in_place

    def watched(*args: Any) -> None:
        began = time.perf_counter()
        exchange(*args)
        spent[0] += time.perf_counter() - began

    parallel.job.sum_in_place = watched  # type: ignore[method-assign]
    taken, exchanged = [], []
    for _ in range(WARM + STEPS[name]):
        spent[0], began = 0.0, time.perf_counter()
        loss = parallel.part(tg.softmax_cross_entropy(model(tg.tensor(x, copy=False)), y), len(y), total)
        parallel.minimize(loss)
        float(loss)
        taken.append(time.perf_counter() - began)
        exchanged.append(spent[0])
    return {
        "problem": name,
        "batch": batch,
        "step": statistics.median(taken[WARM:]),
        "exchange": statistics.median(exchanged[WARM:]),
    }


def main() -> None:
    """What every rank runs; rank 0 prints."""
    from mpi4py import MPI

    rows = [timed(name, batch) for name in sys.argv[1:] for batch in ("shared", "each")]
    if MPI.COMM_WORLD.Get_rank() == 0:
        print(json.dumps(rows))


if __name__ == "__main__":
    main()
