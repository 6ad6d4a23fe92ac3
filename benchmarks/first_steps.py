"""How long one waits for compiled steps: the first one of a process with an empty and with a filled cache, another
batch size, and deep networks. `python -m benchmarks waiting`; every figure is taken in fresh processes.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.processes import clean_environment
from benchmarks.report import align, duration

__all__ = ["measure", "table"]

SIZES = ("S: 64 of 64-32-10", "M: 64 of 784-256-128-10", "L: 256 of 1024-1024-1024-10")
LIBRARIES = {"tensorgraph": "tensorgraph", "torch.compile": "torch_compiled", "jax": "jax"}
# the first step from when the library is imported, tracing included
FIRST = """
import importlib, importlib.util, json, sys, time
folder, side, name = sys.argv[1:4]
spec = importlib.util.spec_from_file_location(
    "benchmarks", folder + "/__init__.py", submodule_search_locations=[folder]
)
package = importlib.util.module_from_spec(spec); sys.modules["benchmarks"] = package; spec.loader.exec_module(package)
side = importlib.import_module("benchmarks.side_" + side)
prepared = side.PROBLEMS["net"](name=name)
start = time.perf_counter()
prepared.run()
print(json.dumps(time.perf_counter() - start))
"""
# a step that is compiled already, of another number of rows; and networks of 3 and 200 equal layers
OURS = """
import json, time
import numpy as np
import tensorgraph as tg
from tensorgraph import nn, optim
def step_of(layers, width):
    model = nn.Sequential(*[layer for k in range(layers) for layer in (nn.Linear(width, width, seed=k), nn.ReLU())])
    adam = optim.Adam(model.parameters())
    @tg.compile
    def step(x, y):
        loss = tg.softmax_cross_entropy(model(x), y)
        adam.minimize(loss)
        return loss
    return step
def batch(rows, width):
    return tg.tensor(np.ones((rows, width), "f4")), tg.tensor(np.arange(rows) % width)
def took(run, *args):
    start = time.perf_counter()
    run(*args)
    return time.perf_counter() - start
found = {}
step = step_of(3, 32)
found["3 layers"] = took(step, *batch(64, 32))
found["another batch size"] = took(step, *batch(48, 32))
found["200 layers"] = took(step_of(200, 32), *batch(64, 32))
print(json.dumps(found))
"""
# what a call of another batch size takes longer than the next one of that size, at best of some sizes; of the caller's
# own time, so that what else runs on the machine counts little
RESIZED = """
import importlib, importlib.util, json, sys, time
folder, name = sys.argv[1:3]
spec = importlib.util.spec_from_file_location(
    "benchmarks", folder + "/__init__.py", submodule_search_locations=[folder]
)
package = importlib.util.module_from_spec(spec); sys.modules["benchmarks"] = package; spec.loader.exec_module(package)
resized = importlib.import_module("benchmarks.nets_tensorgraph").resized(name)
def took(rows):
    start = time.thread_time()
    resized(rows)
    return time.thread_time() - start
took(32)
print(json.dumps(min(took(rows) - took(rows) for rows in (17, 19, 21, 23, 25, 27, 29))))
"""
RESIZED_NETS = ("M: 64 of 784-256-128-10", "LeNet-5, 64 of 28x28", "group norm", "LSTM, 32 of 50x128",
                "transformer, 32 of 64x128")  # fmt: skip
ANOTHER = "another batch size"
TARGETS = {"empty": 2.0, "filled": 0.4, ANOTHER: 0.02}


def _run(python: str, code: str, arguments: list[str], cache: str) -> Any:
    # every library's own cache: ours and Numba's, TorchInductor's, XLA's
    extra = {
        "TENSORGRAPH_CACHE": cache, "NUMBA_CACHE_DIR": cache, "TORCHINDUCTOR_CACHE_DIR": f"{cache}/torch",
        "JAX_COMPILATION_CACHE_DIR": f"{cache}/jax", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as elsewhere:
        done = subprocess.run(
            [python, "-c", code, *arguments], cwd=elsewhere, env=clean_environment(extra), capture_output=True,
            text=True, timeout=900,
        )  # fmt: skip
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "the process failed")
    return json.loads(done.stdout.splitlines()[-1])


def measure(python: str, peers: str | None, told: Callable[[str], None]) -> dict[str, Any]:
    """Seconds of first steps, by size, library and state of the cache, and of what else is waited for."""
    folder = str(Path(__file__).resolve().parent)
    first: dict[str, dict[str, dict[str, float | str]]] = {}
    for size in SIZES:
        first[size] = {}
        for library, side in LIBRARIES.items():
            own = python if library == "tensorgraph" else peers
            if own is None:
                continue
            told(f"{library}, {size}")
            with tempfile.TemporaryDirectory() as cache:
                try:
                    first[size][library] = {
                        when: _run(own, FIRST, [folder, side, size], cache) for when in ("empty", "filled")
                    }
                except (RuntimeError, subprocess.TimeoutExpired) as error:
                    first[size][library] = {"error": str(error)}
    told("another batch size and deep networks")
    with tempfile.TemporaryDirectory() as cache:
        others = {when: _run(python, OURS, [], cache) for when in ("empty", "filled")}
        for found in others.values():
            for name in RESIZED_NETS:
                found[f"another batch size, {name}"] = _run(python, RESIZED, [folder, name], cache)
    return {"first": first, "others": others}


def table(results: dict[str, Any]) -> str:
    """The figures as text."""
    rows = [["first step of a process", *[f"{name}, {c} cache" for name in LIBRARIES for c in ("empty", "filled")], ""]]
    for size, by_library in results["first"].items():
        cells = []
        for library in LIBRARIES:
            got = by_library.get(library, {})
            cells += [duration(got[when]) if when in got else "n/a" for when in ("empty", "filled")]
        ours = by_library["tensorgraph"]
        late = [when for when in ("empty", "filled") if not ours.get(when, 1e9) <= TARGETS[when]]
        rows.append([size, *cells, f"<= 2 s and 0.4 s: {'NO' if late else 'yes'}"])
    lines = align(rows)
    rows = [["tensorgraph, waiting for", "empty cache", "filled cache", ""]]
    for what in results["others"]["empty"]:
        taken = [results["others"][when][what] for when in ("empty", "filled")]
        met = "yes" if max(taken) <= TARGETS[ANOTHER] else "NO"
        limit = f"<= {TARGETS[ANOTHER] * 1e3:g} ms: {met}" if what.startswith(ANOTHER) else ""
        rows.append([what, *map(duration, taken), limit])
    return "\n".join([*lines, "", *align(rows)])
