"""Several processes compile: the same objects as one makes, whatever becomes of the others."""

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tensorgraph.jit import threads
from tensorgraph.native import cache, compilers, machine
from tensorgraph.native.kernel import kernel
from tensorgraph.native.words import ldm, stm, word_at

pytestmark = pytest.mark.skipif(not machine.available(), reason="no machine code is made here")
LANES = SIZE = TIMES = 0


def times(w: Any, block: Any, blocks: Any) -> None:
    a, b, n = word_at(w, 0), word_at(w, 1), word_at(w, 2)
    for j in range(0, n, LANES):
        stm(b + j * SIZE, ldm(a + j * SIZE, n - j, 0.0) * TIMES, n - j)


Writers = dict[str, Callable[[], str]]


@pytest.fixture
def writers() -> Writers:
    kernels = [kernel(times, dtype, TIMES=n) for dtype in (np.float32, np.float64) for n in (2, 3, 5)]
    return {one.symbol: one.module for one in kernels}


@pytest.fixture
def eager_helpers(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Helpers even for little, and those that there were."""
    made: list[Any] = []
    begin = compilers._Helper.__init__

    def noted(self: Any, *args: Any) -> None:
        begin(self, *args)
        made.append(self)

    monkeypatch.setattr(compilers, "MANY", 2)
    monkeypatch.setattr(threads, "num_threads", lambda: 3)
    monkeypatch.setattr(compilers._Helper, "__init__", noted)
    return made


def alone(writers: Writers) -> dict[str, bytes]:
    return dict(pair for symbol, write in writers.items() for pair in compilers.objects_of({symbol: write}))


def test_helpers_make_the_same_objects(
    writers: Writers, eager_helpers: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = alone(writers)
    assert not eager_helpers, "one text is nothing to share"
    emitted = compilers.emitting.emitted
    here: list[str] = []

    def waiting(binding: Any, target: Any, text: str) -> bytes:  # until a helper is there, so that it has a part
        if not here:
            here.append(text)
            for helper in eager_helpers:
                helper.thread.join(60)
        return emitted(binding, target, text)

    monkeypatch.setattr(compilers.emitting, "emitted", waiting)
    assert dict(compilers.objects_of(writers)) == expected and len(here) == 1
    assert len(eager_helpers) == 2 and all(helper.process.wait(60) is not None for helper in eager_helpers)


@pytest.mark.parametrize("command", ["missing", "ends", "says something else"])
def test_without_a_helper_all_is_made_here(
    command: str, writers: Writers, eager_helpers: list[Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    expected = alone(writers)
    program = tmp_path / "python-of-nobody"
    if command != "missing":
        line = "exit(1)" if command == "ends" else "import sys; sys.stdout.buffer.write(b'x' * 7)"
        program.write_text(f"#!{sys.executable}\n{line}\n")
        program.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(program))
    assert dict(compilers.objects_of(writers)) == expected


def test_a_helper_that_is_killed_loses_nothing(
    writers: Writers, eager_helpers: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, made = alone(writers), {}
    for symbol, data in compilers.objects_of(writers):
        made[symbol] = data
        for helper in eager_helpers:
            helper.process.kill()
    assert made == expected


def test_whoever_stops_early_leaves_no_process(writers: Writers, eager_helpers: list[Any]) -> None:
    objects = compilers.objects_of(writers)
    next(objects)
    objects.close()
    for helper in eager_helpers:
        assert helper.process.wait(60) is not None


def test_a_program_that_is_no_python_is_not_started(
    writers: Writers, eager_helpers: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/usr/bin/editor")
    assert dict(compilers.objects_of(writers)) == alone(writers) and not eager_helpers


def test_helpers_that_began_early_are_taken(writers: Writers, eager_helpers: list[Any]) -> None:
    expected = alone(writers)
    compilers.begin()
    compilers.begin()  # there is no need of more
    early = list(eager_helpers)
    assert len(early) == 2
    assert dict(compilers.objects_of(writers)) == expected
    assert eager_helpers == early and all(helper.process.wait(60) is not None for helper in early)


def test_helpers_that_nobody_takes_are_ended(eager_helpers: list[Any]) -> None:
    compilers.begin()
    compilers.dismiss()
    assert eager_helpers and all(helper.process.returncode is not None for helper in eager_helpers)
    assert dict(compilers.objects_of({})) == {}


EARLY = """
import sys
import numpy as np, tensorgraph as tg
from tensorgraph.compile.early import early
from tensorgraph.jit import threads
from tensorgraph.native import compilers, objects
threads.num_threads = lambda: 2
begun, link, linked = [], objects._link, []
objects._link = lambda units: (linked.append({u.symbol.rpartition("_")[0] for u in units}), link(units))
compilers.begin = lambda: begun.append(len(linked))
@tg.compile
def f(x):
    return (x * 2.0).sum()
with early():
    pass  # the block ends when all is there
x = tg.tensor(np.ones(3, "f4"))
assert f(x).item() == 6.0 and f(x).item() == 6.0
common = {"tg_bind_arrays", "tg_judge", "tg_gather", "tg_drive", "tg_pool", "tg_builtin", "tg_lead", "tg_serve"}
common |= {"tg_compare_words"}
assert linked[0] == common and not any(common & more for more in linked[1:]), linked
print(begun)
"""


def test_what_all_functions_run_is_compiled_while_the_first_is_traced(tmp_path: Any) -> None:
    for expected in ("[0]", "[]"):  # helpers begin where there is nothing on disk
        done = subprocess.run(
            [sys.executable, "-P", "-c", EARLY], capture_output=True, text=True, check=False, timeout=120,
            env={**os.environ, cache.VARIABLE: str(tmp_path)},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() == expected
