"""The one door to Numba, opened on first use, and the few threads that kernels run on.

A kernel is written as a plain Python function over arrays. `kernel` marks it, `helper` marks a scalar or row function
that kernels call; nothing is imported or compiled until a kernel is called for the first time. Kernels are serial
machine code; `share` runs one over blocks of rows on several threads.

Two settings of the process are changed by nobody but who asks for it: `blas.select` and `memory.keep`.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import Any, NoReturn

from tensorgraph.jit.arrays import memory_row, uniform
from tensorgraph.jit.compiling import Helper, chosen_by_type
from tensorgraph.jit.door import (
    EXACT_ZERO,
    FLAGS,
    SUMS,
    Kernel,
    available,
    compiled,
    expected,
    helper,
    kernel,
    native,
    reason,
    variants,
)
from tensorgraph.jit.formula import formula, require_formula
from tensorgraph.jit.threads import THREADED, block_rows, num_threads, set_num_threads, share

__all__ = [
    "available",
    "expected",
    "reason",
    "compiled",
    "kernel",
    "helper",
    "variants",
    "native",
    "chosen_by_type",
    "formula",
    "require_formula",
    "Kernel",
    "Helper",
    "FLAGS",
    "EXACT_ZERO",
    "SUMS",
    "uniform",
    "memory_row",
    "num_threads",
    "set_num_threads",
    "block_rows",
    "share",
    "THREADED",
]


class _Room(ModuleType):
    """This module; whoever takes it for a function is told what to call."""

    def __call__(self, *args: Any, **options: Any) -> NoReturn:
        raise TypeError(
            "tensorgraph.jit is the room of compiled kernels, not a function: a graph that is traced once is rewritten "
            "and run again, tensorgraph.trace(function, *examples).transform()"
        )


sys.modules[__name__].__class__ = _Room


def __getattr__(name: str) -> ModuleType:
    """The two rooms that nothing opens at import."""
    if name in ("blas", "memory"):
        return import_module(f"tensorgraph.jit.{name}")
    raise AttributeError(f"module 'tensorgraph.jit' has no attribute {name!r}")
