"""The door to Numba: opened late, right without the compiler, clear without Numba, safe with threads."""

import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from tensorgraph import jit
from tensorgraph.jit import door, team, threads
from tensorgraph.jit.compiling import digest_of

F4 = np.dtype(np.float32)


@jit.helper
def _half(x):
    return x / 2


@jit.kernel
def _halve(x, y, lo, hi):
    for i in range(lo, hi):
        y[i] = _half(x[i])


def run(code, **env):
    """Run Python code in a process of its own, and give what it printed."""
    done = subprocess.run(
        [sys.executable, "-P", "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, **env},
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


SOFTMAX = """
import sys
import numpy as np
from tensorgraph import jit
from tensorgraph.ops.kernels.softmax import softmax_forward
loaded = "numba" in sys.modules
y = softmax_forward(np.array([[5, 2, -1, 3]], "f4"))
print(loaded, jit.available(), jit.compiled(), [[round(float(v), 3) for v in row] for row in y])
"""


def test_numba_loads_with_the_first_kernel_and_not_before():
    out = run(SOFTMAX)
    compiled = os.environ.get("NUMBA_DISABLE_JIT", "0") == "0"
    assert out == f"False True {compiled} [[0.842, 0.042, 0.002, 0.114]]"


def test_without_the_compiler_the_bodies_run_as_python():
    on, off = run(SOFTMAX, NUMBA_DISABLE_JIT="0"), run(SOFTMAX, NUMBA_DISABLE_JIT="1")
    assert off == on.replace("True True", "True False")


def test_works_where_no_cache_can_be_written(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    assert run(SOFTMAX, NUMBA_CACHE_DIR=str(blocked / "cache"), NUMBA_DISABLE_JIT="0").startswith("False True True")


@pytest.mark.slow
def test_a_damaged_cache_means_compiling_anew(tmp_path):
    env = dict(NUMBA_CACHE_DIR=str(tmp_path), NUMBA_DISABLE_JIT="0")
    first = run(SOFTMAX, **env)
    files = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert files, "a kernel's machine code is kept"
    for p in files:
        p.write_bytes(p.read_bytes()[: p.stat().st_size // 2])
    assert run(SOFTMAX, **env) == first


@pytest.mark.slow
def test_a_second_process_compiles_nothing(tmp_path):
    (tmp_path / "own.py").write_text("""
from tensorgraph import jit

@jit.kernel
def one(y, lo, hi):
    for i in range(lo, hi):
        y[i] = 1
""")
    code = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
import numpy as np
from own import one
y = np.zeros(3)
one.call(y, 0, 2)
stats = one.call.stats
print(y, sum(stats.cache_hits.values()), sum(stats.cache_misses.values()))
"""
    env = dict(NUMBA_CACHE_DIR=str(tmp_path / "cache"), NUMBA_DISABLE_JIT="0")
    assert run(code, **env) == "[1. 1. 0.] 0 1"
    assert run(code, **env) == "[1. 1. 0.] 1 0"


def test_without_numba_nothing_raises_until_a_kernel_is_called():
    code = """
import sys
sys.modules["numba"] = None
import numpy as np
from tensorgraph import jit
from tensorgraph.ops.kernels.cross_entropy import cross_entropy_check
from tensorgraph.ops.kernels.softmax import softmax_forward
print(jit.available(), jit.compiled(), jit.reason().split(":")[0])
cross_entropy_check(np.array([0, 1]), 2)
try:
    softmax_forward(np.ones((2, 3)))
except ImportError as error:
    print(error)
"""
    first, second = run(code).splitlines()
    assert first in ("False False ModuleNotFoundError", "False False ImportError")
    assert "needs Numba" in second and 'impl="composed"' in second


def test_without_numba_every_op_computes_and_differentiates():
    code = """
import sys
sys.modules["numba"] = None
import warnings
import numpy as np, tensorgraph as tg
from tensorgraph.testing import examples_of
warnings.simplefilter("ignore")
def leaf(value):
    return tg.tensor(value, requires_grad=value.dtype.kind == "f")
def floats(values):
    return [t for t in values if t is not None and t.dtype.kind == "f" and t.requires_grad]
def gradients(outs, leaves, again):
    loss = sum([(o * o).sum() for o in outs[1:]], (outs[0] * outs[0]).sum())
    return [g for g in tg.gradients(loss, leaves, create_graph=again) if g is not None]
count = 0
for op in tg.CATALOGUE.values():
    if {"internal", "higher order"} & op.traits or op.kind.name in ("random", "structural"):
        continue
    case = examples_of(op)[0]
    for again in (False, True):  # on arrays, and recorded
        given = [[leaf(np.asarray(v)) for v in i] if isinstance(i, list) else None if i is None else leaf(np.asarray(i))
                 for i in case.inputs]
        leaves = floats([t for g in given for t in (g if isinstance(g, list) else [g])])
        out = op.public(*given, **case.attrs)
        outs = floats(out if isinstance(out, tuple) else (out,))
        first = gradients(outs, leaves, again) if outs else []
        if again and floats(first):
            gradients(floats(first), leaves, False)
        count += 1
print(count)
"""
    assert int(run(code)) > 300


def test_an_edit_in_a_helper_changes_the_name_of_its_callers():
    def make(constant):
        scope = {"np": np, "C": np.float32(constant)}
        exec("def inner(x):\n    return x + C\ndef outer(x, y):\n    y[0] = inner(x[0])", scope)
        scope["inner"] = jit.helper(scope["inner"])
        return digest_of(scope["outer"], jit.FLAGS)

    assert make(1.0) == make(1.0)
    assert make(1.0) != make(2.0)
    assert digest_of(_halve.python, jit.FLAGS) != door.digest_of(_halve.python, jit.SUMS)


@pytest.mark.parametrize("flags", [{"nnan"}, {"ninf"}, {"fast"}, True])
def test_flags_that_lose_nan_or_infinity_are_refused(flags):
    with pytest.raises((ValueError, TypeError)):
        jit.kernel(flags=flags)(lambda x: None)


def test_kernel_and_helper_run_from_python():
    x, y = np.arange(8.0), np.zeros(8)
    _halve(x, y, 0, 8)
    assert (y == x / 2).all()
    assert _half(3.0) == 1.5
    assert repr(_halve) == "<kernel _halve>" and repr(_half) == "<helper _half>"


def test_first_call_from_many_threads_at_once():
    @jit.kernel
    def triple(x, y):
        for i in range(x.size):
            y[i] = 3 * x[i]

    x = np.arange(100.0)
    results = [np.zeros(100) for _ in range(8)]
    start = threading.Barrier(8)

    def work(y):
        start.wait()
        triple.call(x, y)

    crowd = [threading.Thread(target=work, args=(y,)) for y in results]
    for t in crowd:
        t.start()
    for t in crowd:
        t.join()
    assert all((y == 3 * x).all() for y in results)


# ------------------------------------------------------------------------------------------------------- arrays


def test_uniform_keeps_what_fits():
    x = np.ones((3, 4), np.float32)
    assert jit.uniform(x, F4) is x


def test_uniform_drops_the_read_only_mark_without_a_copy():
    x = np.arange(6, dtype=np.float32)
    x.flags.writeable = False
    y = jit.uniform(x, F4)
    assert y.flags.carray and np.shares_memory(x, y) and not x.flags.writeable
    del x
    assert y.tolist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    "x",
    [
        np.arange(12, dtype=np.float32).reshape(3, 4).T,
        np.arange(12, dtype=np.float64)[::2],
        np.arange(4, dtype=">f4"),
        np.broadcast_to(np.float32(2), (3, 2)),
        np.arange(33, dtype=np.uint8)[1:].view(np.float32),
        np.zeros((0, 3), np.float32),
        np.float32(3) * np.ones((), np.float32).reshape(()),
        np.ma.masked_array(np.ones(3, np.float32)),
    ],
    ids=["transposed", "strided", "swapped", "broadcast", "unaligned", "empty", "0-d", "subclass"],
)
def test_uniform_makes_one_kind(x):
    x = np.asanyarray(x)
    y = jit.uniform(x, F4)
    assert type(y) is np.ndarray and y.dtype == F4 and y.dtype.isnative and y.flags.carray and y.shape == x.shape
    assert np.array_equal(y, np.asarray(x), equal_nan=True)


# ------------------------------------------------------------------------------------------------------ threads


@pytest.fixture
def four_threads():
    before = jit.num_threads()
    jit.set_num_threads(4)
    yield
    jit.set_num_threads(before)


compiled_only = pytest.mark.skipif("not jit.compiled()", reason="without the compiler all runs in one thread")


@jit.kernel(staged=True)
def _deviation(x, sums, y, stage, lo, hi):
    """y = x - mean(x) - 1; the blocks begin at multiples of 8."""
    if stage & 1:
        y[0] = -1
    if stage & 2:
        for start in range(lo, hi, 8):
            s = 0.0
            for i in range(start, min(start + 8, hi)):
                s += x[i]
            sums[start // 8] = s
    if stage & 4:
        s = 0.0
        for k in range(sums.size):
            s += sums[k]
        sums[0] = s / x.size - y[0]
    if stage & 8:
        for i in range(lo, hi):
            y[i] = x[i] - sums[0]


@jit.kernel
def _fail(x, y, lo, hi):
    for i in range(lo, hi):
        y[i] = x[i]
    if lo == 16:
        raise MemoryError("no more")


@pytest.mark.parametrize("rows", [1, 2, 7, 8, 100, 1001, 10**7])
@pytest.mark.parametrize("multiple", [1, 8])
def test_blocks_of_a_range(four_threads, rows, multiple):
    step = jit.block_rows(rows, 1.0, multiple)
    assert step == rows or step % multiple == 0
    assert 0 < step <= rows and (rows < 2 * multiple or 2 <= -(-rows // step) <= 32)


def test_small_work_stays_whole(four_threads):
    assert jit.block_rows(1000, 1e-6) == 1000
    assert jit.block_rows(0, 0.0) == 0


@compiled_only
def test_other_threads_take_blocks(four_threads):
    x, y = np.arange(200_000.0), np.zeros(200_000)
    end = time.monotonic() + 120
    taken = 0
    while not taken and time.monotonic() < end:
        y[:] = 0
        jit.share(_halve, (x, y), x.size, 1.0)
        assert (y == x / 2).all()
        taken = int(threads._team.words[team.STATE]) & 0xFFFF
    assert taken > 0 and len(threads._team.workers) == 3


@pytest.mark.parametrize("n", [1, 8, 16, 1000, 100_003])
def test_stages_follow_each_other(four_threads, n):
    x = np.random.default_rng(n).integers(-9, 9, n).astype(float)
    for _ in range(50 if jit.compiled() else 1):
        y, sums = np.zeros(n), np.zeros(-(-n // 8))
        jit.share(_deviation, (x, sums, y), n, 1.0, 8)
        assert np.abs(y - (x - x.mean() - 1)).max() < 1e-12


@jit.kernel
def _count(y, lo, hi):
    for i in range(lo, hi):
        y[i] += 1


@compiled_only
def test_no_block_is_run_twice(four_threads):
    few, many = np.zeros(2), np.zeros(64)
    for _ in range(50_000):  # a thread may be late by a whole job, and the next one has more blocks
        jit.share(_count, (few,), 2, 1.0)
        jit.share(_count, (many,), 64, 1.0)
    assert (few == 50_000).all() and (many == 50_000).all()


@pytest.mark.slow
@compiled_only
def test_kernels_compiled_in_different_processes_meet_in_one(tmp_path):
    (tmp_path / "pair.py").write_text("""
from tensorgraph import jit

@jit.kernel
def one(y, lo, hi):
    for i in range(lo, hi):
        y[i] = 1

@jit.kernel
def two(y, lo, hi):
    for i in range(lo, hi):
        y[i] = 2
""")
    code = """
import sys
sys.path.insert(0, PATH)
import numpy as np
import pair
from tensorgraph import jit
jit.set_num_threads(2)
for name in NAMES:
    for kind in KINDS:
        y = np.zeros(100, kind)
        jit.share(getattr(pair, name), (y,), 100, 1.0)
        print(y.min(), y.max(), end=" ")
"""

    def told(names, kinds):
        filled = code.replace("PATH", repr(str(tmp_path))).replace("NAMES", repr(names)).replace("KINDS", repr(kinds))
        return run(filled, NUMBA_CACHE_DIR=str(tmp_path / "cache"), NUMBA_DISABLE_JIT="0")

    assert told(["one"], ["f4"]) == "1.0 1.0"
    for _ in range(2):
        assert told(["one", "two"], ["f4"]) == "1.0 1.0 2.0 2.0"
    assert told(["two"], ["f8"]) == "2.0 2.0"
    for _ in range(2):
        assert told(["two", "one"], ["f8", "f4"]) == "2.0 2.0 2.0 2.0 1.0 1.0 1.0 1.0"


@compiled_only
def test_threads_go_to_sleep(four_threads):
    x, y = np.arange(1000.0), np.zeros(1000)
    jit.share(_halve, (x, y), 1000, 1.0)
    words, workers = threads._team.words, threads._team.workers
    end = time.monotonic() + 120
    while words[team.ASLEEP] < len(workers) and time.monotonic() < end:
        time.sleep(0.01)
    assert words[team.ASLEEP] == len(workers)
    jit.share(_halve, (x, y), 1000, 1.0)
    assert (y == x / 2).all()


@compiled_only
def test_threads_that_never_come_cost_nothing(four_threads, monkeypatch):
    alone = threads._Team()
    alone.workers = [threading.Thread()] * 3
    monkeypatch.setattr(threads, "_team", alone)
    x, y = np.arange(1000.0), np.zeros(1000)
    jit.share(_halve, (x, y), 1000, 1.0)
    assert (y == x / 2).all()
    y[:] = 0
    alone.words[team.ASLEEP] = 1
    door.serve()(alone.words, 1, 1)  # one that comes late finds nothing left
    assert (y == 0).all() and alone.words[team.ASLEEP] == 1


@compiled_only
def test_a_block_without_memory_raises_after_all_have_ended(four_threads):
    x, y = np.ones(32), np.zeros(32)
    for _ in range(3):
        y[:] = 0
        with pytest.raises(MemoryError, match="1 of the blocks"):
            jit.share(_fail, (x, y), 32, 1.0)
        assert (y == x).all()
    jit.share(_halve, (x, y), 32, 1.0)
    assert (y == 0.5).all()


def _raise(*args, **kwargs):
    raise AttributeError("Numba has no such thing\nany more")


def _wrong(*args, **kwargs):
    """What compiles only when it is called, and then does not."""
    return lambda words, rows, step, *args: words.no_such_thing()


@compiled_only
@pytest.mark.parametrize(
    ("name", "other"), [("lead_of", _raise), ("lead_of", _wrong), ("serve_of", _raise), ("_parts", _raise)]
)
def test_another_numba_means_one_thread_and_one_warning(four_threads, monkeypatch, name, other):
    monkeypatch.setattr(threads, "_unusable", False)
    monkeypatch.setattr(threads, "_team", threads._Team())
    monkeypatch.setattr(team, "_made", {})
    monkeypatch.setattr(team, name, other)
    door.serve.cache_clear()
    halve, count = jit.kernel(_halve.python), jit.kernel(_count.python)
    deviation = jit.kernel(staged=True)(_deviation.python)
    x, y, counts = np.arange(1000.0), np.zeros(1000), np.zeros(64)
    try:
        with pytest.warns(RuntimeWarning, match="kernels run in one thread each") as caught:
            jit.share(halve, (x, y), 1000, 1.0)
        assert len(caught) == 1 and "any more" not in str(caught[0].message)
        assert (y == x / 2).all()
        for _ in range(2):  # silently from now on; warnings are errors
            jit.share(count, (counts,), 64, 1.0)
            jit.share(deviation, (x, np.zeros(125), y), 1000, 1.0, 8)
        assert (counts == 2).all()
        assert np.abs(y - (x - x.mean() - 1)).max() < 1e-12
    finally:
        door.serve.cache_clear()


def test_many_python_threads_may_enter_at_once(four_threads):
    x = np.arange(4000.0)
    results = [np.zeros(4000) for _ in range(6)]
    right = []

    def work(y):
        for _ in range(50):
            y[:] = 0
            jit.share(_halve, (x, y), 4000, 1.0)
            right.append((y == x / 2).all())

    crowd = [threading.Thread(target=work, args=(y,)) for y in results]
    for t in crowd:
        t.start()
    for t in crowd:
        t.join(120)
    assert len(right) == 300 and all(right)


HALVE = """
import os
import warnings
import numpy as np
from tensorgraph import jit
from tensorgraph.ops.kernels.softmax import softmax_forward
jit.set_num_threads(2)
x = np.zeros((1024, 128), "f4")
right = [(softmax_forward(x) == 2.0**-7).all() for _ in range(2 if jit.compiled() else 1)]
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_has_threads_of_its_own():
    code = """
warnings.simplefilter("ignore")
child = os.fork()
if not child:
    os._exit(0 if (softmax_forward(x) == 2.0**-7).all() else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), all(right))
"""
    assert run(HALVE + code) == "0 True"


def test_the_interpreter_ends_while_threads_wait():
    assert run(HALVE + "print(all(right))") == "True"


def test_number_of_threads():
    with pytest.raises(ValueError, match="set_num_threads: n must be a positive integer"):
        jit.set_num_threads(0)
    assert run("from tensorgraph import jit; print(jit.num_threads())", TENSORGRAPH_NUM_THREADS="3") == "3"
    assert threads._default_threads() >= 1
