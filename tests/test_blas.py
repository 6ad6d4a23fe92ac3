"""The choice of BLAS kernels, always in processes of their own: what runs here keeps the kernels it has.

A library that took too old kernels is had by telling it to (`OPENBLAS_CORETYPE`) before NumPy loads and forgetting that
afterwards. Products of small whole numbers are exact in any order, so kernels are compared bit by bit.
"""

import os
import platform
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest

BEGIN = """
import os, sys, threading, time
import numpy as np
os.environ.pop("OPENBLAS_CORETYPE", None)
from tensorgraph.jit import blas
"""

# Zen 5; only where the real processor has AVX-512
PROCESSOR = """
flags = "avx512f avx512bw avx512dq avx512vl"
blas._processor = lambda: {"flags": flags, "vendor_id": "AuthenticAMD", "cpu family": "26"}
"""

CHECK_PRODUCT = """
def product_is_right():
    a = (np.arange(300 * 310) % 7 - 3).reshape(300, 310)
    return np.array_equal(a.astype("f4") @ a.astype("f4").T, a @ a.T)
"""


def run(code: str, begin: str = BEGIN + PROCESSOR, core: str | None = "Haswell", **environment: str) -> str:
    """Run a program in a process whose BLAS took the kernels named, and return what it printed."""
    inherited = {k: v for k, v in os.environ.items() if k not in ("OPENBLAS_CORETYPE", "OPENBLAS_NUM_THREADS")}
    told = {"OPENBLAS_CORETYPE": core} if core else {}
    command = [sys.executable, "-W", "error", "-c", begin + code]
    environment = inherited | told | environment
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@cache
def why_not() -> str:
    """Say why kernels cannot be chosen again on this machine; empty where they can."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return "kernels are chosen again on Linux, x86-64, only"
    if not {"avx512f", "avx512bw", "avx512dq", "avx512vl"} <= set(Path("/proc/cpuinfo").read_text("utf-8").split()):
        return "this processor has no AVX-512"
    return run("print(blas.select().reason or '')") if run("print(blas.select().library)") == "None" else ""


@pytest.fixture
def changeable() -> None:
    """Skip where there is no library whose kernels can be chosen again."""
    if reason := why_not():
        pytest.skip(reason)


def test_status_never_raises_anywhere() -> None:
    out = run("s = blas.status(); print(s == blas.status(), s.library is None, s.core is None)", BEGIN, core=None)
    same, no_library, no_core = out.split()
    assert same == "True"
    assert no_library == no_core


def test_importing_and_asking_change_nothing_of_the_process() -> None:
    code = """
import tensorgraph as tg
from tensorgraph.commands.doctor import examine
examine()
s = tg.jit.blas.status()
print(s.before == s.core, tg.jit.memory.keeps(), "SkylakeX" in (s.better or s.reason or ""))
"""
    begin = """
import os, sys, ctypes
before = dict(os.environ)
import tensorgraph
assert dict(os.environ) == before
late = "tensorgraph.jit.blas", "tensorgraph.jit.memory", "numpy.random", "hashlib", "numba"
assert not [name for name in late if name in sys.modules]
"""
    out = run(code, begin, core=None).split()
    assert out[:2] == ["True", "False"]


@pytest.mark.usefixtures("changeable")
def test_what_is_better_is_said_and_left() -> None:
    out = run("s = blas.status(); print(s.before, s.core, s.better, s.reason)")
    assert out == "Haswell Haswell SkylakeX None"


@pytest.mark.skipif(platform.machine() != "x86_64" or sys.platform != "linux", reason="its own kernels are tried there")
def test_a_trial_in_another_process_comes_to_its_end() -> None:
    """With the kernels that run already, which every machine can."""
    code = """
core = blas.status().core
if core is not None:
    blas._tried_apart(core)
    try:
        blas._tried_apart("Nonsense")
    except blas._Unchanged as why:
        print(why)
else:
    print("ended with code 1")
"""
    assert run(code, BEGIN, core=None).endswith("ended with code 1")


@pytest.mark.usefixtures("changeable")
def test_kernels_are_chosen_again() -> None:
    code = """
from ctypes import CDLL, c_char_p
before = dict(os.environ)
s = blas.select()
assert s == blas.status() or (s.config != blas.status().config and blas.status().core == s.core), s
assert s.library.endswith(".so") or ".so." in s.library, s
assert os.path.exists(s.library)
getenv = CDLL(None).getenv
getenv.restype = c_char_p
assert dict(os.environ) == before and getenv(b"OPENBLAS_CORETYPE") is None
assert blas.select() is s
print(s.before, s.core, blas.status().config.count("SkylakeX"), s.threads, s.reason, product_is_right())
"""
    out = run(CHECK_PRODUCT + code, OPENBLAS_NUM_THREADS="2")
    assert out == "Haswell SkylakeX 1 2 None True"


@pytest.mark.usefixtures("changeable")
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("os.environ['OPENBLAS_CORETYPE'] = 'Haswell'", "chosen by OPENBLAS_CORETYPE"),
        ("blas._processor = lambda: {'flags': 'avx2 avx512f avx512bw avx512dq'}", "this processor has no AVX-512"),
        ("blas._processor = lambda: {}", "this processor has no AVX-512"),
        ("p = blas._processor() | {'cpu family': '25'}; blas._processor = lambda: p", "its own choice, Haswell"),
        ("blas._processor = lambda: open('/nowhere')", "FileNotFoundError: "),
        ("blas._agrees = lambda exact: False", "its SkylakeX kernels gave other numbers"),
        ("blas._agrees = lambda exact: 1 / 0", "its SkylakeX kernels gave other numbers"),
        ("blas._Library.core = property(lambda self: 'Haswell')", "its SkylakeX kernels gave other numbers"),
        ("sys.executable = '/nowhere'", "a process that tried its SkylakeX kernels did not come to its end"),
        ("sys.executable = '/bin/false'", "a process that tried its SkylakeX kernels ended with code 1"),
    ],
)
def test_kernels_stay_as_they_were_and_the_reason_is_said(change: str, reason: str) -> None:
    code = f"""
asked = blas._Library()
table = asked.table
core = asked.core
{change}
before = dict(os.environ)
s = blas.select()
assert dict(os.environ) == before
print(s.before, s.core, asked.table == table, asked.describe().threads, product_is_right(), s.reason)
"""
    out = run(CHECK_PRODUCT + code, OPENBLAS_NUM_THREADS="2")
    assert out.startswith(f"Haswell Haswell True 2 True {reason}"), out


@pytest.mark.usefixtures("changeable")
def test_kernels_that_end_the_process_end_another_one(tmp_path: Path) -> None:
    crash = tmp_path / "crash"
    crash.write_text("#!/bin/sh\nkill -SEGV $$\n", "utf-8")
    crash.chmod(0o755)
    out = run(f"sys.executable = {str(crash)!r}; s = blas.select(); print(s.core, s.better, s.reason)")
    assert out == "Haswell None a process that tried its SkylakeX kernels ended with code -11"


def test_a_change_where_there_is_no_avx512() -> None:
    """The same way with older kernels, on a processor that has AVX2 only."""
    code = """
blas.AVX2, blas.AVX512, blas.NEEDED = ("Sandybridge",), "Haswell", {"avx2"}
s = blas.status()
if s.core != "Sandybridge" or s.better is None:
    print("cannot", s)
else:
    s = blas.select()
    print(s.before, s.core, s.better, s.reason, blas.status().core, product_is_right())
"""
    processor = 'blas._processor = lambda: {"flags": "avx2"}'
    out = run(CHECK_PRODUCT + code, BEGIN + processor, core="Sandybridge")
    if out.startswith("cannot"):
        pytest.skip(out)
    assert out == "Sandybridge Haswell None None Haswell True"


@pytest.mark.usefixtures("changeable")
def test_never_back_to_narrower_kernels() -> None:
    code = """
p = blas._processor() | {"cpu family": "25"}
blas._processor = lambda: p
s = blas.select()
print(s.before, s.core, s.reason)
"""
    assert run(code, core="SkylakeX") == "SkylakeX SkylakeX its own choice, SkylakeX, is right"


@pytest.mark.usefixtures("changeable")
def test_a_library_that_chose_well_is_left_alone() -> None:
    out = run("s = blas.select(); print(s.before, s.core, s.reason)", core="SkylakeX")
    assert out == "SkylakeX SkylakeX its own choice, SkylakeX, is right"


def test_another_library_is_left_alone() -> None:
    code = """
def refuse(name): raise ImportError(name)
blas.import_module = refuse
s = blas.select()
print(s.library, s.config, s.before, s.core, s.threads, blas.status() is s, s.reason)
"""
    out = run(code, BEGIN, core=None)
    assert out.startswith("None None None None None True ")
    assert out.endswith(("when it is loaded", "on Linux, x86-64, only"))


@pytest.mark.usefixtures("changeable")
def test_self_check_sees_a_wrong_product_and_a_wrong_factor() -> None:
    code = """
exact = list(blas._exact())
assert all(np.isfinite(e).all() and np.array_equal(e.real, np.rint(e.real)) and abs(e).max() < 2**23 for e in exact)
print(blas._agrees(exact))
for wrong in exact:
    wrong[len(wrong) // 2] += 1
    print(blas._agrees(exact))
    wrong[len(wrong) // 2] -= 1
print(blas._agrees(exact))
solve = np.linalg.solve
np.linalg.solve = lambda a, b: solve(a, b) * a.dtype.type(1.01)
print(blas._agrees(exact))
np.linalg.solve = lambda a, b: solve(a, b) * np.nan
print(blas._agrees(exact))
"""
    assert run(code).split() == ["True", *["False"] * 6, "True", "False", "False"]


@pytest.mark.usefixtures("changeable")
def test_a_thread_inside_blas_stops_it() -> None:
    code = """
big = np.ones((3000, 3000))
begun = threading.Event()
def work():
    begun.set()
    big @ big
thread = threading.Thread(target=work)
thread.start()
begun.wait()
time.sleep(0.1)
s = blas.select()
busy = thread.is_alive()
thread.join()
print(busy, s.core, s.reason)
"""
    out = run(code, OPENBLAS_NUM_THREADS="1")
    assert out.startswith("True Haswell another thread may be inside it"), out


@pytest.mark.usefixtures("changeable")
def test_a_thread_that_waits_stops_it_too() -> None:
    # it may wake while the kernels change
    code = """
stop = threading.Event()
thread = threading.Thread(target=stop.wait)
thread.start()
s = blas.select()
stop.set()
thread.join()
print(s.core, s.reason)
"""
    assert run(code).startswith("Haswell another thread may be inside it")


@pytest.mark.usefixtures("changeable")
@pytest.mark.parametrize(
    ("module", "callback", "core"),
    [
        ("ipykernel.heartbeat", "stop.wait", "SkylakeX"),
        ("IPython.core.history", "stop.wait", "SkylakeX"),
        ("ipykernel.heartbeat", "lambda: stop.wait()", "Haswell"),
        ("somebody", "stop.wait", "Haswell"),
    ],
)
def test_only_a_notebook_s_own_threads_do_not_stop_it(module: str, callback: str, core: str) -> None:
    code = f"""
stop = threading.Event()
machinery = {{"__name__": {module!r}, "callback": {callback}}}
exec("def run(): callback()", machinery)
thread = threading.Thread(target=machinery["run"])
thread.start()
s = blas.select()
stop.set()
thread.join()
print(s.core)
"""
    assert run(code) == core


@pytest.mark.usefixtures("changeable")
def test_children_of_both_kinds_go_on() -> None:
    code = """
import multiprocessing, warnings
if __name__ == "__main__":
    assert blas.select().core == "SkylakeX"
    pid = os.fork()
    if pid == 0:
        os._exit(0 if product_is_right() and blas.status().core == "SkylakeX" else 1)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), product_is_right())
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(pool.apply(os.getenv, ("OPENBLAS_CORETYPE",)), pool.apply(np.dot, (np.ones(9), np.ones(9))))
"""
    assert run(CHECK_PRODUCT + code).split() == ["0", "True", "None", "9.0"]


STRESS = """
import hashlib
if os.environ["CHOICE"] == "on":
    blas.select()
r = np.random.default_rng(7)
exact, close = hashlib.sha256(), []

def layout(a):
    kind = r.integers(5)
    if kind == 0: return np.asfortranarray(a)
    if kind == 1: return np.repeat(a, 2, axis=1)[:, ::2]
    if kind == 2: return a[::-1]
    if kind == 3: return np.pad(a, ((1, 2), (3, 1)))[1:-2, 3:-1]
    return a

def whole(*shape):
    a = r.integers(-5, 6, shape)
    return a + 1j * r.integers(-5, 6, shape) if dtype.startswith("c") else a

for case in range({cases}):
    dtype = ("f4", "f8", "f4", "f8", "c8", "c16")[case % 6]
    top = 900 if case % 100 == 0 else 330 if case % 10 == 0 else 70
    m, k, n = (int(v) for v in np.exp(r.uniform(0, np.log(top), 3)))
    a, b = layout(whole(m, k).astype(dtype)), layout(whole(k, n).astype(dtype))
    wide = np.stack([a, a]) @ b
    for product in (a @ b, b.T @ a.T, a @ a.T, a.T @ a, a @ b[:, 0], a[0] @ b, np.vdot(a, a), a.conj().T @ a, wide,
                    np.inner(a, b.T), np.tensordot(a, b, 1), np.einsum("ij,jk->ik", a, b, optimize=True)):
        assert np.isfinite(product).all()
        exact.update(np.ascontiguousarray(product + 0).tobytes())
    if case % 5 == 0:
        eps = np.finfo(dtype).eps
        q = min(m, 60 if case % 50 else 200)
        s = (r.standard_normal((q, q)) + 4 * np.sqrt(q) * np.eye(q)).astype(dtype)
        t = r.standard_normal((q, 3)).astype(dtype)
        results = [np.linalg.solve(s, t), np.linalg.inv(s), np.linalg.svd(s, compute_uv=False),
                   np.linalg.eigvalsh(s @ s.conj().T), np.linalg.cholesky(s @ s.conj().T), np.abs(np.linalg.qr(s)[1]),
                   np.linalg.lstsq(np.concatenate([s, s]), np.concatenate([t, t]))[0], np.linalg.slogdet(s)[1],
                   np.linalg.pinv(s), np.sort(np.abs(np.linalg.eigvals(s)))]
        for found in results:
            found = np.asarray(found)
            assert np.isfinite(found).all()
            close.append(found.ravel() / (np.abs(found).max() * eps * q))
np.save(sys.argv[1], np.concatenate(close))
print(blas.status().core, exact.hexdigest())
"""


@pytest.mark.usefixtures("changeable")
@pytest.mark.parametrize(
    ("threads", "cases"), [pytest.param("1", "1000", marks=pytest.mark.slow), ("1", "150"), ("2", "150")]
)
def test_same_numbers_as_a_process_that_never_asked(tmp_path: Path, threads: str, cases: str) -> None:
    code = STRESS.replace("{cases}", cases)
    found = {}
    for mode in ("on", "off"):  # asked for, or not
        begin = f"import sys; sys.argv = ['', {str(tmp_path / mode) + '.npy'!r}]" + BEGIN + PROCESSOR
        found[mode] = run(code, begin, OPENBLAS_NUM_THREADS=threads, CHOICE=mode).split()
    assert [found["on"][0], found["off"][0]] == ["SkylakeX", "Haswell"]
    assert found["on"][1] == found["off"][1], "exact products differ"
    on, off = (np.load(tmp_path / f"{mode}.npy") for mode in ("on", "off"))
    assert on.shape == off.shape
    # in units of rounding: eps times order times the largest entry
    assert float(np.abs(on - off).max()) < 20
