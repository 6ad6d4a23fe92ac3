"""Worker processes: starting them in a clean environment, asking them, and timing a case in interleaved rounds."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.cases import Case
from benchmarks.problems import agree

WORKER = Path(__file__).resolve().parent / "worker.py"
# what would make one library's threads, kernels or caches differ from its defaults
SETTINGS = (
    "OMP_", "GOMP_", "KMP_", "OPENBLAS_", "GOTO_", "MKL_", "BLIS_", "NUMEXPR_", "NUMBA_", "TENSORGRAPH_", "XLA_",
    "JAX_", "TORCH_", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "PYTHONOPTIMIZE", "PYTHONMALLOC", "MALLOC_",
    "LD_PRELOAD", "BENCHMARK_",
)  # fmt: skip
REST = 0.02  # seconds between two libraries' turns: idle threads of the one stop spinning
LONG, ENOUGH = 120, 5  # a case that has taken so many seconds ends after so many rounds


class WorkerError(RuntimeError):
    """A worker could not do what was asked; the message says why."""


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment without settings of threads, kernels and caches, so that each library has its defaults."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(SETTINGS)}
    return {**kept, **(extra or {})}


class Worker:
    """One library in its own process."""

    def __init__(self, library: str, python: str, threads: int | None = None) -> None:
        self.library = library
        extra = {} if threads is None else {"BENCHMARK_THREADS": str(threads)}
        self.process = subprocess.Popen(
            [python, str(WORKER), library],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=clean_environment(extra),
        )
        self.replies: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.said: list[str] = []
        self.readers = [threading.Thread(target=t, daemon=True) for t in (self._read_replies, self._read_said)]
        for reader in self.readers:
            reader.start()
        try:
            self._answer(120)
        except WorkerError:
            self.close()
            raise

    def _read_replies(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.replies.put(line)
        self.replies.put("")

    def _read_said(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said.append(line)
            del self.said[:-20]

    def _ended(self) -> WorkerError:
        self.readers[1].join(5)  # its last words
        return WorkerError(f"{self.library}: the process ended\n{''.join(self.said).strip()}")

    def _answer(self, timeout: float) -> dict[str, Any]:
        try:
            line = self.replies.get(timeout=timeout)
        except queue.Empty:
            raise WorkerError(f"{self.library}: no answer within {timeout:.0f} s") from None
        if not line:
            raise self._ended()
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise WorkerError(f"{self.library}: {answer['error']}")
        return answer

    def ask(self, do: str, timeout: float = 600, **request: Any) -> dict[str, Any]:
        """Send one request and wait for its answer."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps({"do": do, **request}) + "\n")
            self.process.stdin.flush()
        except OSError:
            raise self._ended() from None
        return self._answer(timeout)

    def close(self) -> None:
        """End the process."""
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()


def compare(case: Case, checks: Mapping[str, Any]) -> list[str]:
    """What is wrong with the results: disagreement with what is known, or with tensorgraph's."""
    wrong = []
    where = f"{case.group} {case.label}"
    for library, check in checks.items():
        for name, expected in case.known.items():
            if not abs(check[name] - expected) <= 2e-5 * abs(expected):
                wrong.append(
                    f"{case.group} {case.label}: {name} of {library} is {check[name]:.6f}, expected {expected}"
                )
        if library != "tensorgraph" and "tensorgraph" in checks and not agree(check, checks["tensorgraph"]):
            wrong.append(f"{where}: {library} gave {check}, tensorgraph {checks['tensorgraph']}")
    return wrong


def run_case(case: Case, workers: Mapping[str, Worker], rounds: int, seconds: float) -> dict[str, Any]:
    """Prepare a case in every worker, check that they agree, and time them in turns.

    Returns
    -------
    dict
        ``times`` (seconds, all samples of a library), ``ratios`` of tensorgraph's median to a peer's (``ratio``, and
        ``low`` and ``high``: the quartiles over the rounds), ``wrong`` and ``absent``.
    """
    checks: dict[str, Any] = {}
    absent: dict[str, str] = {}
    for library, worker in workers.items():
        try:
            answer = worker.ask("prepare", problem=case.problem, parameters=case.parameters, warm=3)
        except WorkerError as error:
            absent[library] = str(error)
            continue
        if "check" in answer:
            checks[library] = answer["check"]
    taking_part = list(checks)
    samples: dict[str, list[list[float]]] = {library: [] for library in taking_part}
    began = time.monotonic()
    for i in range(rounds + 1):  # the first round warms up
        if i > ENOUGH and time.monotonic() - began > LONG:
            break
        turn = i % max(len(taking_part), 1)
        for library in taking_part[turn:] + taking_part[:turn]:
            time.sleep(REST)
            measured = workers[library].ask("measure", seconds=seconds)["samples"]
            if i:
                samples[library].append(measured)
    times = {library: [s for one in rows for s in one] for library, rows in samples.items()}
    ratios = {}
    if "tensorgraph" in times:
        ours = [median(one) for one in samples["tensorgraph"]]
        for library in taking_part:
            if library != "tensorgraph":
                each = sorted(a / median(b) for a, b in zip(ours, samples[library], strict=True))
                ratios[library] = {
                    "ratio": median(times["tensorgraph"]) / median(times[library]),
                    "low": each[len(each) // 4],
                    "high": each[-1 - len(each) // 4],
                }
    return {"times": times, "ratios": ratios, "wrong": compare(case, checks), "absent": absent, "checks": checks}
