"""What the processor offers to kernels: the width of its vectors, and whether machine code can be made for it."""

from __future__ import annotations

import functools
import os
import platform
from dataclasses import dataclass
from typing import Any

__all__ = ["Machine", "available", "llvm", "machine", "reason"]


@dataclass(frozen=True)
class Machine:
    """What kernels are made for.

    Attributes
    ----------
    cpu : str
        LLVM's name of the processor.
    features : str
        LLVM's list of what it can do.
    width : int
        Bytes of a vector: 64 with AVX-512, 32 with AVX2.
    registers : int
        How many vectors the processor holds.
    """

    cpu: str
    features: str
    width: int
    registers: int

    def lanes(self, itemsize: int) -> int:
        """Numbers of a vector."""
        return self.width // itemsize


@functools.cache
def _llvm() -> tuple[Any, str | None]:
    try:
        import llvmlite.binding

        llvmlite.binding.initialize_native_target()
        llvmlite.binding.initialize_native_asmprinter()
    except Exception as error:  # a broken installation fails in many ways
        return None, f"llvmlite cannot be used ({type(error).__name__}: {error}); install it again"
    return llvmlite.binding, None


def llvm() -> Any:
    """``llvmlite.binding``, ready for use; loaded at the first call."""
    binding, problem = _llvm()
    if binding is None:
        raise ImportError(problem)
    return binding


@functools.cache
def _machine() -> tuple[Machine | None, str | None]:
    kind = platform.machine().lower()
    if kind not in ("x86_64", "amd64"):
        return None, f"kernels are written for x86-64 with AVX2 and were never measured on {kind}"
    binding, problem = _llvm()
    if binding is None:
        return None, problem
    if binding.llvm_version_info < (16, 0, 0):  # its texts say what pointers point at, and a kernel's do not
        return (
            None,
            "kernels are written for LLVM 16 or newer, of llvmlite 0.45 and Numba 0.62, and an older one is here",
        )
    features = binding.get_host_cpu_features()
    if not (features.get("avx2") and features.get("fma")):
        return None, "this processor has no AVX2 with fused multiply-add"
    wide = all(features.get(name) for name in ("avx512f", "avx512vl", "avx512dq", "avx512bw"))
    if os.environ.get("TENSORGRAPH_VECTOR_BYTES") == "32":
        wide = False
    flat = features.flatten() if wide else _without_512(features)
    return Machine(binding.get_host_cpu_name(), flat, 64 if wide else 32, 32 if wide else 16), None


def _without_512(features: Any) -> str:
    return ",".join(f"{'+' if on and 'avx512' not in name else '-'}{name}" for name, on in sorted(features.items()))


def reason() -> str | None:
    """Why no machine code is made; None where it is."""
    if os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0"):
        return "NUMBA_DISABLE_JIT is set"
    return _machine()[1]


def available() -> bool:
    """Whether kernels run as machine code; `reason` tells why not."""
    return reason() is None


def machine() -> Machine:
    """The processor of this process.

    Raises
    ------
    ImportError
        Where no machine code can be made.
    """
    found, problem = _machine()
    if found is None:
        raise ImportError(f"no machine code can be made here: {problem}. Kernel.emulate runs a kernel all the same")
    return found
