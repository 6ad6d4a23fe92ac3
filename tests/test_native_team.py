"""Threads of tapes: every block runs once, whoever takes it, whatever else the machine does."""

import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
from team_programs import BURN, PROGRAM

from tensorgraph import jit
from tensorgraph.jit import threads
from tensorgraph.native import machine, team
from tensorgraph.native.kernel import kernel
from tensorgraph.native.tape import Tape
from tensorgraph.native.words import ld, load_int, st, store_int, word_at

LANES = SIZE = 0  # constants of kernels
MOST = 64  # blocks

pytestmark = pytest.mark.skipif(not machine.available() or not team.possible(), reason=str(machine.reason()))


def counting(w, block, blocks):
    """Each block counts itself, after some work, and marks where a block of the record before had not run yet."""
    p, before, others, n = word_at(w, 0), word_at(w, 1), word_at(w, 2), word_at(w, 3)
    now = load_int(p + 8 * block) + 1
    for k in range(others):
        if load_int(before + 8 * k) != now:
            store_int(p + 8 * MOST, 1)
    total = 0
    for k in range(n * (1 + block % 3)):
        total += load_int(before + 8 * (k % MOST)) ^ k
    store_int(p + 8 * block, now + (total >> 62))


def meeting(w, block, blocks):
    """Two blocks wait for each other, but not for ever; each says whether it has seen the other."""
    flags, seen, limit = word_at(w, 0), word_at(w, 1), word_at(w, 2)
    k = 1
    while load_int(flags + 8 * (1 - block)) == 0 and k < limit:
        store_int(flags + 8 * block, k)
        k += 1
    store_int(flags + 8 * block, k)
    store_int(seen + 8 * block, 1 if k < limit else 0)


def waves(w, block, blocks):
    """A recurrence on each row of a block: what the last wave left is read."""
    x, rows = word_at(w, 0), word_at(w, 1)
    for i in range(block * rows // blocks, (block + 1) * rows // blocks):
        v = ld(x + i * LANES * SIZE)
        for _ in range(20):
            v = v * 0.99 + 0.01
        st(x + i * LANES * SIZE, v)


@pytest.fixture
def four():
    """Four threads, more than most machines of tests have processors."""
    before = jit.num_threads()
    jit.set_num_threads(4)
    yield
    jit.set_num_threads(before)


def counting_tape(work, records=12):
    """Records of 1 to 64 blocks, each looking at what the one before counted."""
    blocks = [(1, 2, 3, 7, 16, 64)[k % 6] for k in range(records)]
    counts = np.zeros((records + 1, MOST + 1), np.int64)
    entry, at = kernel(counting, np.float64, MOST=MOST).entry, [row.ctypes.data for row in counts]
    others = [0, *blocks]
    return Tape([(entry, [at[k + 1], at[k], others[k], work], n) for k, n in enumerate(blocks)]), counts, blocks


def check(counts, blocks, runs):
    assert not counts[:, MOST].any(), "a record began before the one before it had ended"
    for row, n in zip(counts[1:], blocks, strict=True):
        assert (row[:n] == runs).all() and not row[n:].any()


@pytest.mark.parametrize(("work", "runs"), [(0, 4000), (3, 2000), (300, 100)])
def test_every_block_runs_once_in_thousands_of_runs(four, work, runs):
    tape, counts, blocks = counting_tape(work)
    for _ in range(runs):
        tape.run()
    check(counts, blocks, runs)
    assert len(team._team._threads) == 3


def test_helpers_take_part_also_after_they_slept(four):
    entry = kernel(meeting, np.float64).entry
    for rest in (0.0, 0.0, 0.05, 0.05):
        threading.Event().wait(rest)
        flags, seen = np.zeros(2, np.int64), np.zeros(2, np.int64)
        Tape([(entry, [flags.ctypes.data, seen.ctypes.data, 1 << 33], 2)]).run()
        assert seen.tolist() == [1, 1]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_same_bits_whatever_the_number_of_threads(dtype):
    lanes = machine.machine().lanes(np.dtype(dtype).itemsize)
    start = np.random.default_rng(0).normal(size=(103, lanes)).astype(dtype)
    results = []
    for count in (1, 2, 3, 8):
        before = jit.num_threads()
        jit.set_num_threads(count)
        try:
            x = start.copy()
            tape = Tape([(kernel(waves, dtype).entry, [x.ctypes.data, 103], 16)] * 8)
            for _ in range(40):
                tape.run()
            results.append(x)
        finally:
            jit.set_num_threads(before)
    assert np.isfinite(results[0]).all()
    for other in results[1:]:
        np.testing.assert_array_equal(results[0], other)


def test_sleepers_are_woken(four):
    tape, counts, blocks = counting_tape(50)
    for run in range(40):
        if run % 10 == 0:
            threading.Event().wait(0.02)  # all helpers sleep by now
        tape.run()
    check(counts, blocks, 40)


def test_two_threads_run_two_tapes(four):
    jobs = [counting_tape(20) for _ in range(3)]

    def work(tape):
        for _ in range(500):
            tape.run()

    running = [threading.Thread(target=work, args=(job[0],)) for job in jobs]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    for _, counts, blocks in jobs:
        check(counts, blocks, 500)


def test_who_shares_out_himself_has_no_helpers(four, monkeypatch):
    tape, counts, blocks = counting_tape(0)
    with monkeypatch.context() as patch:
        patch.setattr(team, "_gathered", lambda helpers: pytest.fail("there are helpers"))
        with threads.alone():
            tape.run()
        jit.set_num_threads(1)
        tape.run()
    check(counts, blocks, 2)
    assert threads.turn().acquire(blocking=False)
    threads.turn().release()


def test_the_number_of_threads_changes_between_runs(four):
    tape, counts, blocks = counting_tape(5)
    for run in range(60):
        jit.set_num_threads(1 + run % 4)
        tape.run()
    check(counts, blocks, 60)


def test_on_a_busy_machine(four):
    burning = [subprocess.Popen([sys.executable, "-c", BURN], stdout=subprocess.DEVNULL) for _ in range(3)]
    try:
        tape, counts, blocks = counting_tape(3)
        for _ in range(400):
            tape.run()
        check(counts, blocks, 400)
    finally:
        for process in burning:
            process.kill()
            process.wait()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_has_a_team_of_its_own(four):
    tape, counts, blocks = counting_tape(3)
    tape.run()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            for _ in range(50):
                tape.run()
            check(counts, blocks, 51)
            code = 0
        finally:
            os._exit(code)
    for _ in range(50):
        tape.run()
    check(counts, blocks, 51)
    assert os.waitpid(child, 0)[1] == 0


def test_signals_are_handled_where_python_waits(four):
    tape, counts, blocks = counting_tape(0)
    tape.run()
    told = []
    before = signal.signal(signal.SIGALRM, lambda *args: told.append(threading.current_thread()))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        threading.Event().wait(0.2)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert told == [threading.main_thread()]


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"OMP_NUM_THREADS": "3"}, 3), ({"OMP_NUM_THREADS": "5,2"}, 5), ({"OMP_NUM_THREADS": "x"}, None),
        ({"OMP_NUM_THREADS": "3", "TENSORGRAPH_NUM_THREADS": "2"}, 2),
    ],
)  # fmt: skip
def test_processes_end_well_and_read_their_environment(variables, expected):
    done = subprocess.run(
        [sys.executable, "-P", "-c", PROGRAM], capture_output=True, text=True, check=False, timeout=120,
        env={**{k: v for k, v in os.environ.items() if not k.endswith("NUM_THREADS")}, **variables},
    )  # fmt: skip
    assert done.returncode == 0, (done.returncode, done.stderr)
    count, total = done.stdout.split()
    assert int(count) == (expected or len(os.sched_getaffinity(0))) and total == str(16 * 100)
