"""A process that holds one library and answers requests for timings, one JSON line each way.

Run as a script, by whichever interpreter has the library: ``python worker.py LIBRARY``. It imports NumPy and that
library alone.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent


def load_package() -> None:
    """Make this folder importable as ``benchmarks`` without putting the checkout on the path of a peer."""
    sys.path[:] = [p for p in sys.path if p and Path(p).resolve() != HERE]
    found = importlib.util.spec_from_file_location(
        "benchmarks", HERE / "__init__.py", submodule_search_locations=[str(HERE)]
    )
    assert found is not None and found.loader is not None
    package = importlib.util.module_from_spec(found)
    sys.modules["benchmarks"] = package
    found.loader.exec_module(package)


def measure(run: Any, seconds: float) -> list[float]:
    """Seconds a call, sampled for about `seconds`: each sample long enough for the clock, at least three samples."""
    clock = time.perf_counter
    start = clock()
    run()
    once = max(clock() - start, 1e-9)
    calls = max(1, round(2e-4 / once))
    samples: list[float] = []
    end = clock() + seconds
    while len(samples) < 3 or clock() < end:
        start = clock()
        for _ in range(calls):
            run()
        samples.append((clock() - start) / calls)
    return samples


def serve(side: Any, requests: Any, replies: Any) -> None:
    """Answer until the requests end."""
    prepared: Any = None
    for line in requests:
        request = json.loads(line)
        try:
            answer: dict[str, Any] = {}
            if request["do"] == "describe":
                answer = {"python": platform.python_version(), **side.describe()}
            elif request["do"] == "prepare":
                prepared = None  # the last problem's memory goes first
                make = side.PROBLEMS.get(request["problem"])
                if make is None:
                    answer = {"absent": True}
                else:
                    prepared = make(**request["parameters"])
                    start = time.perf_counter()
                    answer = {"check": prepared.check()}
                    for _ in range(request["warm"]):
                        prepared.run()
                    answer["warmed"] = time.perf_counter() - start
            elif request["do"] == "measure":
                answer = {"samples": measure(prepared.run, request["seconds"])}
            else:
                answer = {"error": f"no such request: {request['do']}"}
        except Exception as error:  # told to whoever asked, who decides
            answer = {"error": f"{type(error).__name__}: {error}"}
        replies.write(json.dumps(answer) + "\n")
        replies.flush()


def main(library: str) -> None:
    """Serve on standard input and output; whatever the library prints goes to standard error."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    load_package()
    try:
        side = importlib.import_module(f"benchmarks.side_{library}")
    except ImportError as error:
        replies.write(json.dumps({"error": f"cannot import: {error}"}) + "\n")
        return
    replies.write(json.dumps({"ready": library}) + "\n")
    replies.flush()
    serve(side, sys.stdin, replies)


if __name__ == "__main__":
    main(sys.argv[1])
