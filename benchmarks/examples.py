"""How long the examples take, small as the tests run them and at their full size: `python -m benchmarks examples`.

Each is a process of its own, in an empty folder, after one that has compiled its kernels. BLAS has one thread, since
two that wait for each other on a busy machine take many times the time; a busy machine lengthens the wall's time too,
and several processes that of the processors: the smaller of the two is held against what is wanted.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.processes import clean_environment
from benchmarks.report import align

__all__ = ["every_example", "late", "measure", "table"]

ROOT = Path(__file__).resolve().parent.parent
ALONE = {"MPLBACKEND": "Agg", "OPENBLAS_NUM_THREADS": "1"}
SMALL, FULL, COURSE = 3.0, 20.0, 30.0  # seconds that are wanted at most: small, at full size, and so of the course
# how the tests run one: run("vae.py", ..., size=10) and, of the course, run("softmax", 60)
CALL = re.compile(r'run\("(\w+)(?:\.py)?"(?:[^)]*size=|, )?(\d+)?')


def every_example() -> dict[str, str | None]:
    """The examples by name, each with the size that its test gives it, if it takes one."""
    sizes: dict[str, str | None] = {}
    for test, folder in (("test_examples.py", "examples"), ("test_course.py", "examples/course")):
        told = dict(CALL.findall((ROOT / "tests" / test).read_text("utf-8")))
        for path in sorted((ROOT / folder).glob("*.py")):
            if not path.name.endswith(".tg.py"):
                takes = "sys.argv[1]" in path.read_text("utf-8")
                sizes[f"{folder}/{path.name}"] = told[path.stem] if takes else None
    return sizes


def _run(python: str, name: str, *arguments: str) -> tuple[float, float]:
    """Seconds of the processors and of the wall, of the process and of those that it started and waited for."""
    with tempfile.TemporaryDirectory() as folder, open(os.path.join(folder, "told"), "w+", encoding="utf-8") as told:
        start = time.perf_counter()
        process = subprocess.Popen(
            [python, "-P", str(ROOT / name), *arguments], cwd=folder, env=clean_environment(ALONE),
            stdin=subprocess.DEVNULL, stdout=told, stderr=told,
        )  # fmt: skip
        _, status, used = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            told.seek(0)
            lines = told.read().strip().splitlines() or ["it said nothing"]
            raise RuntimeError(f"{name} ended with {process.returncode}: {lines[-1]}")
    return used.ru_utime + used.ru_stime, wall


def measure(python: str, told: Callable[[str], None], only: list[str]) -> dict[str, Any]:
    """Of each example whose name has one of the words, or of all: both times of each size, or what went wrong."""
    found: dict[str, Any] = {}
    for name, size in every_example().items():
        if only and not any(word in name for word in only):
            continue
        told(name)
        small = () if size is None else (size,)
        try:
            found[name] = {"size": size, "first": _run(python, name, *small), "small": _run(python, name, *small)}
            if size is not None:
                found[name]["full"] = _run(python, name)
        except RuntimeError as error:
            found[name] = {"error": str(error)}
    return found


def late(name: str, times: dict[str, Any]) -> list[str]:
    """What is wrong with an example's times: the sizes that take longer than is wanted."""
    if "error" in times:
        return [times["error"]]
    if times["size"] is None:  # it has one size, which the tests run
        limits = {"small": FULL}
    else:
        limits = {"small": SMALL, "full": COURSE if "/course/" in name else FULL}
    return [f"{size} > {limit:g} s" for size, limit in limits.items() if min(times[size]) > limit]


def table(results: dict[str, Any]) -> str:
    """The figures as text."""
    rows = [["seconds of processor, wall", "size", "first", "small", "full", ""]]
    for name, times in results.items():
        cells = [", ".join(f"{t:.1f}" for t in times.get(key, ())) for key in ("first", "small", "full")]
        wrong = late(name, times)
        rows.append([name, times.get("size") or "", *cells, f"NO: {'; '.join(wrong)}" if wrong else "yes"])
    return "\n".join(align(rows))
