"""The kernel that copies bytes: values into cells, when a step has gone well."""

from __future__ import annotations

from typing import Any

from tensorgraph.native.kernel import Kernel, kernel
from tensorgraph.native.places import Place, Record
from tensorgraph.native.words import ld, ldm, load_byte, st, stm, store_byte, word_at

__all__ = ["copy_kernel", "copy_record"]

BYTES = SIZE = 0  # constants of kernels


def copy_bytes(w: Any, block: Any, blocks: Any) -> None:
    """So many bytes from one address to another; they do not overlap."""
    source, target, size = word_at(w, 0), word_at(w, 1), word_at(w, 2)
    i = 0
    while i + BYTES <= size:
        st(target + i, ld(source + i))
        i += BYTES
    rest = (size - i) // SIZE
    stm(target + i, ldm(source + i, rest, 0.0), rest)
    i += rest * SIZE
    while i < size:
        store_byte(target + i, load_byte(source + i))
        i += 1


def copy_kernel() -> Kernel:
    """`copy_bytes` in machine code."""
    return kernel(copy_bytes, "float32")


def copy_record(source: Place, target: Place) -> Record:
    """A copy between places in C order."""
    return Record(copy_kernel(), (source.address(), target.address(), source.nbytes))
