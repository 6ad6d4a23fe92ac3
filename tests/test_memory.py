"""Freed memory is there for the next arrays."""

import os
import subprocess
import sys

import pytest

from tensorgraph.jit import memory

STEPS = """
import resource, sys
import numpy as np
from tensorgraph.jit import memory

kept = memory.keep()
arrays = []
def step():
    held = [np.ones(1 << 21) for _ in range(4)]  # 64 MB, freed together
    del held
for _ in range(3):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    step()
print(int(kept), (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) // 5)
"""


def run(**env: str) -> tuple[int, int]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "TENSORGRAPH_", "GLIBC_"))}
    done = subprocess.run([sys.executable, "-c", STEPS], env=clean | env, capture_output=True, text=True, check=True)
    kept, faults = done.stdout.split()
    return int(kept), int(faults)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's malloc is asked")
def test_steps_do_not_fault_their_memory_in_again() -> None:
    kept, faults = run()
    if not kept:
        pytest.skip("another malloc")
    assert faults < 10
    assert run(MALLOC_TRIM_THRESHOLD_="100000")[0] == 0
    assert run(GLIBC_TUNABLES="glibc.malloc.trim_threshold=100000")[0] == 0


def test_it_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_kept", None)
    asked: list[int] = []
    monkeypatch.setattr(memory, "possible", lambda: True)
    monkeypatch.setattr(memory, "_ask", lambda: asked.append(1) or True)
    assert not memory.keeps()
    assert memory.keep() and memory.keep() and memory.keeps() and asked == [1]
