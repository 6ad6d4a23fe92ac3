"""The words of scalar functions, lowered: what they compute elsewhere, over the whole range."""

import inspect
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tensorgraph.native import machine
from tensorgraph.native.kernel import from_text, kernel
from tensorgraph.native.words import WORDS
from tensorgraph.ops.kernels import scalar

pytestmark = pytest.mark.skipif(not machine.available(), reason=str(machine.reason()))

# units in the last place between the machine code, where multiplication and addition are one, and NumPy's form of it;
# the C library's functions differ from NumPy's by as much as each is off
UNITS = {"over_cosh": 6, "mish": 4, "erfc": 4, "cbrt": 4}
FEW = 3
UNSIGNED = {"relu", "relu6", "elu", "celu", "selu"}  # NumPy's maximum of -0 and 0 is 0, ours the first one
KINDS = {"clip": "x, -0.5, 2.0", "clamped": "x, -0.5, 2.0", "leaky_relu": "x, 0.1", "elu": "x, 1.5", "celu": "x, 1.5",
         "finite": "x, 0.5, 3.0, -2.0"}  # fmt: skip
CANCELLING = {"logaddexp", "logaddexp2"}  # sums of two terms, whose units count where they cancel


def points(dtype):
    """Numbers of every size, plain ones in greater number, and the special ones."""
    rng = np.random.default_rng(1)
    whole = np.iinfo(np.dtype(f"i{np.dtype(dtype).itemsize}"))
    info = np.finfo(dtype)
    special = [0.0, np.inf, np.nan, 1.0, 0.5, 2.0, info.tiny, info.smallest_subnormal, info.max, info.eps, 30.0, 1e9]
    parts = [
        rng.integers(whole.min, whole.max, 3000, dtype=whole.dtype, endpoint=True).view(dtype),
        rng.standard_normal(500), 30 * rng.standard_normal(500), 1 + 1e-3 * rng.standard_normal(200), rng.random(500),
        np.arange(-8.0, 8.0, 0.25), np.array(special + [-s for s in special]),
    ]  # fmt: skip
    with np.errstate(all="ignore"):
        return np.concatenate([p.astype(dtype) for p in parts])


def arguments(name):
    if name in KINDS:
        return KINDS[name]
    if name == "select":
        return "x > 0.0, x, y"
    function = getattr(scalar, name)
    two = name in ("power", "atan2", "hypot", "copysign", "nextafter")
    count = 2 if two else 1 if function.body is None else len(inspect.signature(function.body).parameters)
    return ", ".join("xy"[:count])


@pytest.mark.sampled(test=73, quick=2)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", scalar.__all__)
def test_machine_code_computes_what_python_does(name, dtype):
    of = arguments(name)
    truth = name in ("isinf", "isfinite", "signbit")
    value = f"select({name}({of}), 1.0, 0.0)" if truth else f"{name}({of})"
    text = (
        "def apply(w, block, blocks):\n"
        "    a, b, out, n = [word_at(w, k) for k in static(4)]\n"
        "    for i in range(0, n, LANES):\n"
        "        x, y = ldm(a + i * SIZE, n - i, 1.0), ldm(b + i * SIZE, n - i, 1.0)\n"
        f"        stm(out + i * SIZE, {value}, n - i)\n"
    )
    x = points(dtype)
    y = np.roll(x, 1) if "y" in of else x
    if name == "exp_low":
        x = -np.abs(x)
    got = np.zeros_like(x)
    function = from_text(text, {**WORDS, name: getattr(scalar, name)})
    kernel(function, dtype).run(np.array([x.ctypes.data, y.ctypes.data, got.ctypes.data, len(x)]))
    with np.errstate(all="ignore"):
        expected = eval(f"f({of})", {"f": getattr(scalar, name), "x": x, "y": y})
    expected = np.asarray(expected).astype(dtype)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(expected))
    known = ~np.isnan(expected)
    zero = known & (x == 0) if name not in UNSIGNED else known & False
    np.testing.assert_array_equal(np.signbit(got[zero]), np.signbit(expected[zero]))
    if name in CANCELLING:
        finite = known & np.isfinite(expected)
        np.testing.assert_array_equal(got[known & ~finite], expected[known & ~finite])
        largest = np.max([np.abs(v[finite]) for v in (x, y, expected)], axis=0)
        unit = np.maximum(np.finfo(dtype).eps * largest, np.finfo(dtype).smallest_subnormal)
        assert (np.abs(got[finite] - expected[finite]) <= UNITS.get(name, FEW) * unit).all()
        return
    np.testing.assert_array_max_ulp(got[known], expected[known], UNITS.get(name, FEW))


FAR = """
import ctypes, sys
sys.path.insert(0, {tests!r})
import test_native_helpers as helpers
run = helpers.test_machine_code_computes_what_python_does
run("tan", "float32")
library = ctypes.CDLL(None)
library.mmap.restype = ctypes.c_void_p
library.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
library.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
below = library.mmap(None, 1 << 32, 0, 0x22, -1, 0)  # four gigabytes that nobody touches
pages = []
while not pages or pages[-1] > below:  # until all room above them is taken
    pages.append(library.mmap(None, 4096, 0, 0x22, -1, 0))
if {hole!r}:  # but for one page, which holds the code, or what the code reads, and not both
    library.munmap(pages[-2], 4096)
run("acos", "float32")
print("linked")
"""


@pytest.mark.skipif(sys.platform != "linux" or sys.maxsize < 2**32, reason="maps memory as Linux does")
@pytest.mark.parametrize("hole", [False, True])
def test_what_is_linked_where_room_is_scattered_finds_what_it_reads(hole):
    script = FAR.format(tests=str(Path(__file__).parent), hole=hole)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300)
    assert done.stdout == "linked\n", done.stderr[-2000:]
