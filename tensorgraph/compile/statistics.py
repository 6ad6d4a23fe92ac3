"""What a compiled function has done so far: traces, runs, seconds, and why it was traced again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

__all__ = ["Statistics"]


@dataclass
class Statistics:
    """What a compiled function has done so far.

    Attributes
    ----------
    traces : int
        How often the function was traced.
    resized : int
        How often a trace was taken for another size of its batch, by the shape rules alone.
    signatures : int
        For how many structures, shapes, dtypes and modes.
    runs : int
        Calls of what was compiled.
    seconds : dict of str to float
        Spent on each stage: ``"tracing"``, ``"transform"``, ``"plan"``.
    retraces : list of str
        Why it was traced again, oldest first: what has changed, or a new signature.
    on_numpy : str
        Why steps of what was planned last are left to NumPy: a product for which BLAS is faster, an op that has no
        kernel; empty where none is.
    """

    traces: int = 0
    resized: int = 0
    signatures: int = 0
    runs: int = 0
    seconds: dict[str, float] = field(default_factory=lambda: {"tracing": 0.0, "transform": 0.0, "plan": 0.0})
    retraces: list[str] = field(default_factory=list)
    on_numpy: str = ""

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the time inside to a stage."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] += time.perf_counter() - began

    def __str__(self) -> str:
        spent = ", ".join(f"{stage} {1000 * s:.1f} ms" for stage, s in self.seconds.items())
        sizes = f" ({self.resized} by another's trace)" if self.resized else ""
        lines = [f"{self.traces} traces for {self.signatures} signatures{sizes}, {self.runs} runs; {spent}"]
        lines += [f"  on NumPy: {self.on_numpy}"] * bool(self.on_numpy)
        return "\n".join([*lines, *(f"  traced again: {why}" for why in self.retraces)])
