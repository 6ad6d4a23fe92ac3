"""What references of fused ops use is found once and kept on disk: the next process traces few, and finds the same."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import tensorgraph as tg
from tensorgraph.passes.recognise import patterns
calls = 0
trace = patterns.reference_graph
def counted(*args):
    global calls
    calls += 1
    return trace(*args)
patterns.reference_graph = counted
def loss(x, gamma, beta, y):
    mean, var = x.mean(axis=0), x.var(axis=0)
    h = tg.relu((x - mean) / tg.sqrt(var + 1e-5) * gamma + beta)
    return tg.softmax_cross_entropy(h, y)
graph = tg.trace(loss, tg.f32[8, 4], tg.f32[4], tg.f32[4], tg.spec((8,), "int64")).recognise()
print(calls, *(eq.op.name for eq in graph.equations))
"""


def recognised(cache: str | Path) -> tuple[int, list[str]]:
    """How many references a new process traces, and what it finds."""
    run = subprocess.run(
        [sys.executable, "-P", "-c", SCRIPT], env={**os.environ, "TENSORGRAPH_CACHE": str(cache)}, capture_output=True,
        text=True, check=False, timeout=120,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    calls, *names = run.stdout.split()
    return int(calls), names


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int, list[str]]:
    cache = tmp_path_factory.mktemp("cache")
    cache.chmod(0o700)
    return (cache, *recognised(cache))


def test_the_next_process_traces_few_and_finds_the_same(first: tuple[Path, int, list[str]]) -> None:
    cache, calls, names = first
    assert "softmax_cross_entropy" in names and any("batch_norm" in name for name in names)
    again, found = recognised(cache)
    assert found == names and again < calls / 2


def test_what_is_damaged_is_found_again(first: tuple[Path, int, list[str]]) -> None:
    cache, calls, names = first
    entries = [path for path in (cache / "kernels").iterdir() if path.name.startswith("needs-")]
    assert len(entries) == 1
    entries[0].write_bytes(entries[0].read_bytes()[:-9])
    assert recognised(cache) == (calls, names)
    again, found = recognised(cache)
    assert found == names and again < calls / 2


def test_where_nothing_is_kept_it_is_found(first: tuple[Path, int, list[str]]) -> None:
    assert recognised("off") == first[1:]
