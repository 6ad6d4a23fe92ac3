"""The kernels that NumPy's OpenBLAS runs, and a way to let it choose again.

OpenBLAS carries one set of kernels a kind of processor and chooses when it is loaded. A processor it does not know may
get the AVX2 set though it has AVX-512; then products can take up to twice as long as they need. Importing tensorgraph
changes nothing of that. `select`, called by whoever wants it, lets the library choose the AVX-512 set, once, and only
where that is known to be safe: a process of its own has tried it first. ``OPENBLAS_CORETYPE`` is a choice already made.
"""

from __future__ import annotations

import ctypes
import os
import platform
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import import_module
from types import FrameType

import numpy as np

__all__ = ["Status", "limit_threads", "one_thread", "select", "status"]

# names that OpenBLAS gives its AVX2 kernels, and the AVX-512 set that every processor with NEEDED can run
AVX2 = ("Haswell", "Zen")
AVX512 = "SkylakeX"
NEEDED = {"avx512f", "avx512bw", "avx512dq", "avx512vl"}

# length of the sums in a trial of new kernels: some releases end the process in float64 products from 512 on
LONG = 2048

# packages that a notebook's own threads run, and what these stand on
NOTEBOOK = {"ipykernel", "IPython"}
BESIDE_NOTEBOOK = {"threading", "tornado", "asyncio", "selectors", "zmq", "decorator"}


@dataclass(frozen=True)
class Status:
    """What is known of NumPy's BLAS library.

    Attributes
    ----------
    library : str or None
        File of the library; None where it is not an OpenBLAS that chooses its kernels when it is loaded.
    config : str or None
        Its version and how it was built, in its own words.
    before, core : str or None
        Name of the kernels chosen when the library was loaded, and of those that run now.
    threads : int or None
        Threads of its pool, the calling one included.
    better : str or None
        Name of the kernels that `select` would try, where it has not been called.
    reason : str or None
        Why the kernels are as they were; None where `select` changed them, or would try to.
    """

    library: str | None = None
    config: str | None = None
    before: str | None = None
    core: str | None = None
    threads: int | None = None
    better: str | None = None
    reason: str | None = None


class _Unchanged(Exception):
    """Why the kernels stay as they are."""


class _Place(ctypes.Structure):
    """What the dynamic linker says of an address."""

    _fields_ = [
        ("file", ctypes.c_char_p),
        ("base", ctypes.c_void_p),
        ("symbol", ctypes.c_char_p),
        ("address", ctypes.c_void_p),
    ]


class _Library:
    """The OpenBLAS that NumPy calls.

    It is reached through NumPy's extension module, so another copy in the process (SciPy brings one) is never met, and
    called with the interpreter lock held (`PyDLL`).
    """

    def __init__(self) -> None:
        self._lib = ctypes.PyDLL(import_module("numpy._core._multiarray_umath").__file__)
        self._corename = self._find("get_corename")
        self._corename.restype = ctypes.c_char_p
        self._config = self._find("get_config")
        self._config.restype = ctypes.c_char_p
        self._threads, self._set_threads = self._find("get_num_threads"), self._find("set_num_threads")
        self._quit, self._init = self._lib.gotoblas_dynamic_quit, self._lib.gotoblas_dynamic_init
        self._quit.restype = self._init.restype = None
        self._table = ctypes.c_void_p.in_dll(self._lib, "gotoblas")

    def _find(self, name: str) -> ctypes._NamedFuncPointer:
        for prefix in ("scipy_openblas_", "openblas_"):
            for suffix in ("64_", "", "_64"):
                if hasattr(self._lib, prefix + name + suffix):
                    found: ctypes._NamedFuncPointer = self._lib[prefix + name + suffix]
                    return found
        raise AttributeError(name)

    @property
    def core(self) -> str:
        return str(self._corename().decode())

    @property
    def table(self) -> int | None:
        return self._table.value

    def file(self) -> str:
        place = _Place()
        ctypes.PyDLL(None).dladdr(ctypes.cast(self._corename, ctypes.c_void_p), ctypes.byref(place))
        return str(place.file.decode())

    def describe(self) -> Status:
        return Status(self.file(), self._config().decode().strip(), self.core, self.core, int(self._threads()))

    @contextmanager
    def one_thread(self) -> Iterator[None]:
        """Compute in the calling thread alone: on a busy machine a pool's threads wait for each other for long."""
        threads = self._threads()
        self._set_threads(1)
        try:
            yield
        finally:
            self._set_threads(threads)

    def limit(self, threads: int) -> None:
        if self._threads() > threads:
            self._set_threads(threads)

    def choose(self, core: str) -> None:
        """Let the library choose again as it does when it is loaded, told which kernels by the environment.

        In between it has no kernels at all, and a product begun before goes on with others: no thread may be inside it.
        """
        os.environ["OPENBLAS_CORETYPE"] = core
        try:
            self._quit()
            self._init()
        finally:
            del os.environ["OPENBLAS_CORETYPE"]

    def restore(self, table: int | None) -> None:
        """Put an earlier choice back: its table of kernels is as it was, only the pointer to it has changed."""
        self._table.value = table


def _alone() -> bool:
    """Tell whether no other thread can be, or come to be, inside NumPy's BLAS.

    Every thread that calls NumPy has Python frames. That a thread waits just now proves nothing: it may wake at any
    moment. Only a notebook's own threads, in whose frames is nothing but its machinery, are known never to multiply.
    """
    subshells = {thread.ident for thread in threading.enumerate() if type(thread).__module__ == "ipykernel.subshell"}
    for ident, top in sys._current_frames().items():
        if ident == threading.get_ident():
            continue
        packages = set()
        frame: FrameType | None = top
        while frame is not None:
            packages.add(str(frame.f_globals.get("__name__")).partition(".")[0])
            frame = frame.f_back
        if ident in subshells or not packages & NOTEBOOK or packages - NOTEBOOK - BESIDE_NOTEBOOK:
            return False
    return True


def _require_alone() -> None:
    if not _alone():
        raise _Unchanged("another thread may be inside it: call select before starting threads")


def _processor() -> dict[str, str]:
    """Return what Linux says of the first processor."""
    with open("/proc/cpuinfo", "rb", buffering=0) as file:
        first = file.read(8192).decode(errors="replace").partition("\n\n")[0]
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in first.splitlines())}


def _sample(rows: int, columns: int, dtype: type[np.inexact]) -> np.ndarray:
    """Whole numbers from -5 to 5 in disorder: sums of their products are exact, so the same in any order."""
    numbers = np.arange(101)
    array = np.resize((numbers * numbers * 7 % 101 % 11 - 5).astype(dtype), (rows, columns))
    return array * dtype(1 + 1j) if issubclass(dtype, np.complexfloating) else array


def _exact() -> Iterator[np.ndarray]:
    """Products of every kind that NumPy hands to BLAS, large enough for the kernels of small and of large ones."""
    shapes = [(33, 65, 17), (113, 97, 96)]
    for dtype, (rows, inner, columns) in [
        *((dtype, shape) for dtype in (np.float32, np.float64) for shape in shapes),
        *((dtype, shapes[0]) for dtype in (np.complex64, np.complex128)),
    ]:
        a, b = _sample(rows, inner, dtype), _sample(inner, columns, dtype)
        c = np.asfortranarray(a[:29])
        products = (a @ b, b.T @ a.T, c @ b, a[:3] @ b[:, :2], c @ c.T, a[:, :40].T @ a[:, :40], a @ b[:, 1], a[1] @ b)
        yield np.concatenate([product.ravel() for product in (*products, np.vdot(a, a))])


def _agrees(exact: list[np.ndarray]) -> bool:
    """Tell whether the kernels that run now multiply as those before them did, and whether equations are solved."""
    if not all(np.array_equal(old, new) for old, new in zip(exact, _exact(), strict=True)):
        return False
    for dtype in (np.float32, np.float64):
        # rounding differs between kernels here, so what is known is the truth
        x = _sample(24, 24, dtype)
        a = x + 40 * np.eye(24, dtype=dtype)
        u, s, v = np.linalg.svd(a)
        lower = np.linalg.cholesky(a @ a.T)
        errors = np.array([(u * s) @ v - a, np.linalg.solve(a, a @ x) - x, (lower @ lower.T - a @ a.T) / 40])
        if not np.abs(errors).max() <= 1e4 * np.finfo(dtype).eps:  # false for NaN too
            return False
    return True


def _switch(library: _Library, core: str) -> None:
    """Change to these kernels, and back where they do not give the same numbers."""
    exact = list(_exact())
    _require_alone()
    table = library.table
    try:
        library.choose(core)
        if library.core == core and _agrees(exact):
            return
    except Exception:
        pass
    library.restore(table)
    raise _Unchanged(f"its {core} kernels gave other numbers in a check, or did not start")


def _wanted(core: str) -> str:
    """The kernels to run in place of these."""
    if "OPENBLAS_CORETYPE" in os.environ:
        raise _Unchanged("chosen by OPENBLAS_CORETYPE")
    if core not in AVX2:
        raise _Unchanged(f"its own choice, {core}, is right")
    processor = _processor()
    if not set(processor.get("flags", "").split()) >= NEEDED:
        raise _Unchanged("this processor has no AVX-512")
    if (processor.get("vendor_id"), processor.get("cpu family")) == (
        "AuthenticAMD",
        "25",
    ):  # its units are half as wide
        raise _Unchanged(f"its own choice, {core}, is right")
    return AVX512


def _tried_apart(core: str) -> None:
    """Let a process of its own do with these kernels what would end this one if they were at fault."""
    told = "did not come to its end"
    path = os.pathsep.join(entry for entry in sys.path if entry)
    try:
        done = subprocess.run(
            [sys.executable, "-P", __file__, core], env=os.environ | {"PYTHONPATH": path}, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        if done.stdout.split() == [core, "survived"]:
            return
        told = f"ended with code {done.returncode}"
    except (OSError, ValueError, subprocess.SubprocessError):
        pass
    raise _Unchanged(f"a process that tried its {core} kernels {told}")


def _trial(core: str) -> None:
    """What that process does: change the kernels and multiply, in one thread and in all."""
    library = _Library()
    a, b = _sample(96, LONG, np.float64), _sample(LONG, 96, np.float64)
    exact = (a.astype(np.int64) @ b.astype(np.int64)).astype(np.float64)
    with library.one_thread():
        _switch(library, core)
        right = [np.array_equal(a @ b, exact), np.array_equal(b.T @ a.T, exact.T)]
    large = _sample(600, LONG, np.float64)
    right += [np.array_equal(a @ b, exact), np.isfinite(large @ large.T).all()]
    print(library.core, "survived" if all(right) else "wrong")


_selected: Status | None = None
_library: _Library | None = None
_selecting = threading.Lock()


def _look() -> Status:
    """Find the library, and say what `select` would do; never raises."""
    global _library
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return Status(reason="kernels are chosen again on Linux, x86-64, only")
    try:
        _library = _library or _Library()
        found = _library.describe()
    except Exception:
        return Status(reason="NumPy's BLAS is not an OpenBLAS that chooses its kernels when it is loaded")
    try:
        return replace(found, better=_wanted(str(found.core)))
    except _Unchanged as why:
        return replace(found, reason=str(why))
    except Exception as error:
        return replace(found, reason=f"{type(error).__name__}: {error}")


@contextmanager
def one_thread() -> Iterator[None]:
    """Inside, products are made in the thread that asks for them alone, where NumPy's BLAS is an OpenBLAS that can be
    told: for whoever has shared out the work already. Process-wide."""
    try:
        library = _library or _Library()
    except (AttributeError, OSError):
        yield
        return
    with library.one_thread():
        yield


def select() -> Status:
    """Let NumPy's OpenBLAS run its AVX-512 kernels, where the processor has them and the library chose others.

    Only the first call does something; call it at the head of a program, before threads are started. A process of its
    own multiplies with the new kernels first, which takes about a second. It never raises: where anything is in doubt
    the kernels stay as they were, and ``status().reason`` says why. Products made with other kernels differ in their
    last bits.

    Returns
    -------
    Status
        What was found and done.

    Examples
    --------
    >>> from tensorgraph.jit import blas
    >>> blas.select() == blas.select()
    True
    """
    global _selected
    with _selecting:
        if _selected is None:
            found = _look()
            if _library is not None and found.better is not None:
                try:
                    _require_alone()
                    _tried_apart(found.better)
                    with _library.one_thread():
                        _switch(_library, found.better)
                    found = replace(found, core=_library.core, better=None)
                except _Unchanged as why:
                    found = replace(found, better=None, reason=str(why))
                except Exception as error:
                    found = replace(found, core=_library.core, better=None, reason=f"{type(error).__name__}: {error}")
            _selected = found
        return _selected


def status() -> Status:
    """Say which kernels NumPy's BLAS runs now, on how many threads, and whether `select` would try others.

    It changes nothing.

    Returns
    -------
    Status
        The record of `select` where that has been called, with kernels and threads as they are at this moment.

    Examples
    --------
    >>> from tensorgraph.jit import blas
    >>> blas.status().core == blas.status().core
    True
    """
    if _selected is None:
        return _look()
    if _library is None:
        return _selected
    now = _library.describe()
    return replace(_selected, config=now.config, core=now.core, threads=now.threads)


def limit_threads(n: int) -> bool:
    """Let NumPy's OpenBLAS compute in at most so many threads from now on.

    Parameters
    ----------
    n : int
        At least 1.

    Returns
    -------
    bool
        Whether the library could be told; where NumPy has another one, nothing is changed.

    Examples
    --------
    >>> from tensorgraph.jit import blas
    >>> blas.limit_threads(1024) in (True, False)
    True
    """
    try:
        library = _library or _Library()
        library.limit(n)
    except (AttributeError, OSError):
        return False
    return True


if __name__ == "__main__":
    _trial(sys.argv[1])
