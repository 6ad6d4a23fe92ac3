"""What starting costs: importing, and the first call of kernels with an empty and with a filled cache.

Every figure is taken in fresh processes.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Sequence
from statistics import median
from typing import Any

from benchmarks.processes import clean_environment

IMPORTS = """
import json, sys, time
clock = time.perf_counter
start = clock()
import numpy
middle = clock()
__import__(sys.argv[1])
print(json.dumps([middle - start, clock() - middle]))
"""

FIRST_CALLS = """
import json, time
import numpy as np
import tensorgraph as tg
clock = time.perf_counter
x = tg.tensor(np.ones((8, 4), "f4"), requires_grad=True)
gamma, beta = tg.tensor(np.ones(4, "f4"), requires_grad=True), tg.tensor(np.zeros(4, "f4"), requires_grad=True)
labels = tg.tensor(np.arange(8) % 4)
took = {}
def first(name, run):
    start = clock()
    run()
    took[name] = clock() - start
first("add, multiply, sum", lambda: (x * x + x).sum().backward())
first("softmax_cross_entropy", lambda: tg.softmax_cross_entropy(x, labels).backward())
first("softmax", lambda: tg.softmax(x).sum().backward())
first("batch_norm", lambda: tg.batch_norm(x, gamma, beta)[0].sum().backward())
first("batch_norm_relu", lambda: tg.batch_norm_relu(x, gamma, beta)[0].sum().backward())
print(json.dumps(took))
"""


def _run(python: str, code: str, *arguments: str, extra: dict[str, str] | None = None) -> Any:
    with tempfile.TemporaryDirectory() as elsewhere:  # the checkout must not hide what is installed
        done = subprocess.run(
            [python, "-c", code, *arguments],
            cwd=elsewhere,
            env=clean_environment(extra),
            capture_output=True,
            text=True,
            timeout=600,
        )
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "the process failed")
    return json.loads(done.stdout)


def import_times(pythons: dict[str, str], repeats: int) -> dict[str, dict[str, Any]]:
    """Seconds to import each package after NumPy, and NumPy itself, in turns.

    Parameters
    ----------
    pythons : dict
        Package name to the interpreter that has it.
    repeats : int
    """
    for package, python in pythons.items():  # bytecode is written and files are in memory from here on
        _run(python, IMPORTS, package)
    taken: dict[str, list[Sequence[float]]] = {package: [] for package in pythons}
    for _ in range(repeats):
        for package, python in pythons.items():
            taken[package].append(_run(python, IMPORTS, package))
    return {
        package: {
            "numpy": median(t[0] for t in times),
            "after_numpy": median(t[1] for t in times),
            "low": sorted(t[1] for t in times)[len(times) // 4],
            "high": sorted(t[1] for t in times)[-1 - len(times) // 4],
        }
        for package, times in taken.items()
    }


def first_calls(python: str) -> dict[str, dict[str, float]]:
    """Seconds of the first forward and backward of some ops: kernels compiled, then loaded from the cache."""
    with tempfile.TemporaryDirectory() as cache:
        extra = {"NUMBA_CACHE_DIR": cache}
        return {when: _run(python, FIRST_CALLS, extra=extra) for when in ("empty cache", "filled cache")}
