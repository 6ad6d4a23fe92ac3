"""What this installation can do: versions, compiled kernels, threads, extras and the layout engine."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from tensorgraph import jit
from tensorgraph.engine.tensor import tensor
from tensorgraph.jit import blas, memory
from tensorgraph.native import cache, machine
from tensorgraph.ops.softmax import softmax

__all__ = ["Finding", "examine"]

# import name, distribution, extra, what it is for
EXTRAS = (
    ("safetensors", "safetensors", "save", "saving and loading models"),
    ("rich", "rich", "train", "progress bars"),
    ("matplotlib", "matplotlib", "plot", "learning curves"),
    ("sklearn", "scikit-learn", "demo", "the handwritten digits of `tensorgraph demo`"),
    ("optuna", "optuna", "tune", "studies in folders, TPE and pruning"),
    ("loky", "loky", "tune", "trials in processes"),
    ("distributed", "distributed", "dask", "trials on a Dask cluster"),
    ("ray", "ray", "ray", "trials on Ray"),
    ("mpi4py", "mpi4py", "mpi", "one model trained by several processes"),
    ("tensorboardX", "tensorboardX", "tensorboard", "event files for TensorBoard"),
)


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes
    ----------
    what : str
        What was looked at.
    told : str
        What was found.
    remedy : str
        What to do, if there is something to do.
    wrong : bool
        Whether the library cannot do its main work so; an extra that is missing is not wrong.
    """

    what: str
    told: str
    remedy: str = ""
    wrong: bool = False

    @property
    def sign(self) -> str:
        return "x" if self.wrong else "-" if self.remedy else "+"


def examine() -> list[Finding]:
    """Look at everything; never raises.

    Examples
    --------
    >>> [finding.what for finding in examine()][:2]
    ['tensorgraph', 'Python']
    """
    return [
        Finding("tensorgraph", f"{_version('tensorgraph-engine')}, {Path(__file__).parent}"),
        Finding("Python", f"{platform.python_version()}, {sys.executable}"),
        Finding(
            "machine", f"{platform.system()} {platform.machine()}, {jit.num_threads()} processors for this process"
        ),
        Finding("NumPy", _version("numpy")),
        _blas(),
        _memory(),
        _kernels(),
        _cache(),
        _native(),
        *_extras(),
        _engine(),
    ]


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "not installed as a package"


def _blas() -> Finding:
    found = blas.status()
    if found.core is None:
        return Finding("BLAS", f"its own choice of kernels ({found.reason})")
    told = f"{(found.config or 'OpenBLAS').split(' NO_')[0]}; {found.core} kernels, {found.threads} threads"
    if found.before != found.core:
        told += f" (its own choice was {found.before})"
    named = ("OPENBLAS_NUM_THREADS", "OPENBLAS_CORETYPE", "OMP_NUM_THREADS", "OMP_WAIT_POLICY")
    told = ", ".join([told, *(f"{name}={os.environ[name]}" for name in named if name in os.environ)])
    if found.better is None:
        return Finding("BLAS", told)
    return Finding(
        "BLAS", told,
        f"tensorgraph.jit.blas.select() at the head of a program lets it run its {found.better} kernels, with which "
        "large products may take half as long",
    )  # fmt: skip


def _memory() -> Finding:
    if memory.keeps():
        return Finding("memory", f"up to {memory.KEPT >> 20} MB of freed arrays are kept for the next")
    advice = (
        f"tensorgraph.jit.memory.keep() at the head of a program keeps up to {memory.KEPT >> 20} MB of freed arrays "
        "for the next ones, which makes steps over large arrays faster"
    )
    return Finding("memory", "malloc's own settings", advice if memory.possible() else "")


def _kernels() -> Finding:
    told = f"Numba {_version('numba')}, llvmlite {_version('llvmlite')}"
    if not jit.available():
        remedy = "operations run composed of NumPy's, slower: pip install --upgrade numba, in a version for this NumPy"
        return Finding("kernels", f"cannot be compiled: {jit.reason()}", remedy, wrong=True)
    if not jit.compiled():
        return Finding("kernels", f"{told}; its compiler is off", "unset NUMBA_DISABLE_JIT for full speed")
    try:
        sums = softmax.public(tensor(np.zeros((2, 4), np.float32))).numpy().sum(axis=1)
    except Exception as error:
        remedy = "reinstall Numba: pip install --force-reinstall numba"
        return Finding("kernels", f"{told}; a kernel failed: {type(error).__name__}: {error}", remedy, wrong=True)
    if not np.allclose(sums, 1.0, atol=1e-6):
        return Finding("kernels", f"{told}; a kernel gave {sums}, expected ones", "please report this", wrong=True)
    return Finding("kernels", f"{told}; compiled and right, {jit.num_threads()} threads")


def _cache() -> Finding:
    folder = os.environ.get("NUMBA_CACHE_DIR")
    if folder is None:
        here = Path(jit.__file__).parent
        if os.access(here, os.W_OK):
            return Finding("kernel cache", "beside the sources: kernels are compiled once")
        return Finding("kernel cache", "the user's cache folder: kernels are compiled once")
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        remedy = "set NUMBA_CACHE_DIR to a folder that can be written, or every process compiles anew"
        return Finding("kernel cache", f"{folder}: {error.strerror}", remedy)
    return Finding("kernel cache", f"{folder}: kernels are compiled once")


def _native() -> Finding:
    """Machine code that is made without Numba: for what, and where it is kept."""
    if not machine.available():
        return Finding("machine code", f"no: {machine.reason()}; compiled graphs run on NumPy")
    found, kept = machine.machine(), cache.refusal()
    told = f"yes, vectors of {found.width} bytes ({found.cpu})"
    if kept is None:
        return Finding("machine code", f"{told}, kept in {cache.folder()}")
    remedy = f"set {cache.VARIABLE} to a folder of your own, or every process compiles anew"
    return Finding("machine code", f"{told}, not kept on disk: {kept}", remedy)


def _extras() -> Iterator[Finding]:
    for name, distribution, extra, purpose in EXTRAS:
        if find_spec(name) is None:
            yield Finding(distribution, f"missing: {purpose}", f'pip install "tensorgraph-engine[{extra}]"')
        else:
            yield Finding(distribution, f"{_version(distribution)}: {purpose}")


def _engine() -> Finding:
    from tensorgraph.viz.render.engine import REMEDY, EngineError, broken, engines, find_engine, run_engine

    try:
        program = find_engine()
        if program is None:
            return Finding("layout engine", "missing: graphs are drawn as text", REMEDY)
        run_engine("digraph { a -> b }", "svg", timeout=20.0)
    except EngineError as error:
        return Finding("layout engine", str(error), REMEDY)
    complaints = []
    for other in engines():  # the first that works draws; those before it are told, for somebody put them there
        complaint = broken(other, 20.0)
        if not complaint:
            program = other
            break
        complaints.append(f"{other} does not work: {complaint}")
    told = "; ".join([f"{program}: pictures of graphs", *complaints])
    return Finding("layout engine", told, "repair it, or take it off the PATH" if complaints else "")
