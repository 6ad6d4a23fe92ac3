"""``python -m benchmarks floors``: how far compiled training steps are from what the processor could do at most.

The floor of a step is the time of all its floating-point operations at the rate that the processor reaches in
registers, on as many threads as the step has work for. It knows no memory, no square roots, no call: nothing gets
there. Beside it stand the bytes of values, parameters, states and the batch, and PyTorch's at its highest point.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np

import tensorgraph as tg
from benchmarks.nets import NETS, batches
from benchmarks.nets_tensorgraph import stepped
from benchmarks.processes import Worker, WorkerError
from benchmarks.report import align, duration
from benchmarks.worker import measure as timed
from tensorgraph.native import machine
from tensorgraph.native.kernel import kernel
from tensorgraph.native.lowering import static
from tensorgraph.native.tape import Tape
from tensorgraph.native.words import fma, ldm, stm, vset, word_at

__all__ = ["measure", "peak", "table"]

LANES = BYTES = 0  # of the kernel's vectors: known where it is compiled
CHAINS, TURNS, BLOCKS = 12, 100_000, 8  # sums side by side, more than the processor's units take steps for one
AT_MOST = {"S: 64 of 64-32-10": 1.8, "M: 64 of 784-256-128-10": 1.6, "L: 256 of 1024-1024-1024-10": 1.35}
SECONDS, ROUNDS = 0.3, 5


def multiply_add(w: Any, block: Any, blocks: Any) -> None:
    """Products and sums in registers alone: a = a x + x, from one vector, of which each block writes one."""
    x = ldm(word_at(w, 0), LANES, 0.0)
    acc = [vset(1.0) for k in static(CHAINS)]
    for _ in range(word_at(w, 2)):
        for k in static(CHAINS):
            acc[k] = fma(acc[k], x, x)
    total = vset(0.0)
    for k in static(CHAINS):
        total = total + acc[k]
    stm(word_at(w, 1) + block * BYTES, total, LANES)


def peak(dtype: str, threads: int) -> float:
    """Floating-point operations a second, at best of many tries."""
    run = kernel(multiply_add, dtype, CHAINS=CHAINS)
    lanes = machine.machine().width // np.dtype(dtype).itemsize
    x, out = np.full(lanes, 0.5, dtype), np.zeros((BLOCKS, lanes), dtype)
    tape = Tape([(run.entry, np.array([x.ctypes.data, out.ctypes.data, TURNS]), BLOCKS)])
    before = tg.jit.num_threads()
    tg.set_num_threads(threads)
    try:
        best = min(_seconds(tape.run) for _ in range(30))
    finally:
        tg.set_num_threads(before)
    return 2 * lanes * CHAINS * TURNS * BLOCKS / best


def _seconds(run: Callable[[], Any]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def step_of(name: str, peaks: dict[tuple[str, bool], float]) -> dict[str, Any]:
    """A network's step: its operations and their floor, the time it takes, and the bytes it holds."""
    compiled = tg.compile(stepped(name))
    x, y = (tg.tensor(a[0]) for a in batches(NETS[name]))
    compiled(x, y)
    plan = compiled._latest().runner.plan
    shared = any(record.blocks > 1 for step in plan.steps if step.call is not None for record in step.call.records)
    flops = compiled.graph.cost().flops
    taken = [median(timed(lambda: compiled(x, y), SECONDS / ROUNDS)) for _ in range(ROUNDS)]
    floor = flops / peaks[NETS[name].dtype, shared]
    return {"flops": flops, "threads": tg.jit.num_threads() if shared else 1, "floor": floor, "time": min(taken),
            "bytes": plan.peak}  # fmt: skip


def measure(peers: str | None, words: list[str], told: Callable[[str], None]) -> dict[str, Any]:
    """The processor's rates, and every network's step, of those that have one of some words in their names."""
    told("the processor's rate")
    peaks = {(dtype, several): peak(dtype, tg.jit.num_threads() if several else 1)
             for dtype in ("float32", "float64") for several in (False, True)}  # fmt: skip
    names = [name for name in NETS if name != "tiny" and (not words or any(word in name for word in words))]
    steps = {}
    torch = Worker("torch", peers) if peers is not None else None
    try:
        for name in names:
            told(name)
            steps[name] = step_of(name, peaks)
            if torch is not None:
                try:
                    check = torch.ask("prepare", problem="held", parameters={"name": name}, warm=0)["check"]
                    steps[name]["torch"] = check["bytes"]
                except WorkerError as error:
                    told(f"{name}: {error}")
    finally:
        if torch is not None:
            torch.close()
    rates = {f"{dtype}, {tg.jit.num_threads() if several else 1} threads": rate
             for (dtype, several), rate in peaks.items()}  # fmt: skip
    return {"rates": rates, "steps": steps}


def table(results: dict[str, Any]) -> str:
    """The figures as text."""
    rates = ", ".join(f"{name} {rate / 1e9:.0f} GFLOP/s" for name, rate in results["rates"].items())
    rows = [["step", "MFLOP", "threads", "floor", "time", "of floor", "memory", "PyTorch's", "target"]]
    for name, step in results["steps"].items():
        over = step["time"] / step["floor"]
        limit = AT_MOST.get(name)
        said = "" if limit is None else f"<= {limit}: {'yes' if over <= limit else 'NO'}"
        if "torch" in step and name.startswith("L:"):
            said += f"; memory <= PyTorch's: {'yes' if step['bytes'] <= step['torch'] else 'NO'}"
        rows.append([
            name, f"{step['flops'] / 1e6:.3g}", str(step["threads"]), duration(step["floor"]), duration(step["time"]),
            f"{over:.2f}", f"{step['bytes'] / 1e6:.3g} MB",
            f"{step['torch'] / 1e6:.3g} MB" if "torch" in step else "n/a", said,
        ])  # fmt: skip
    return "\n".join([f"in registers: {rates}", "", *align(rows)])
