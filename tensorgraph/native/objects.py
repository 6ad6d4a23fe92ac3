"""Machine code of kernels: compiled by LLVM, kept on disk, linked into this process."""

from __future__ import annotations

import ctypes
import functools
import itertools
import os
import struct
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tensorgraph.jit.team import short_digest
from tensorgraph.native import cache
from tensorgraph.native.compilers import objects_of, target
from tensorgraph.native.machine import llvm, machine

if TYPE_CHECKING:
    from tensorgraph.native.kernel import Kernel

__all__ = ["Counts", "Unit", "addresses", "are_kept", "call", "counts", "entries", "linked", "unit", "unit_of"]

PATIENCE = 1.0  # seconds until somebody at a terminal is told what takes so long

_lock = threading.RLock()
_linker: list[Any] = []  # the linker, then what it has linked
_numbers = itertools.count()
_addresses: dict[str, int] = {}

_PROTOTYPE = ctypes.CFUNCTYPE(None, ctypes.c_size_t, ctypes.c_int64, ctypes.c_int64)


@dataclass
class Counts:
    """What this process has done for its machine code.

    Attributes
    ----------
    compiled, loaded : int
        Functions made by LLVM, and read from disk.
    seconds : float
        How long that took, in all.
    """

    compiled: int = 0
    loaded: int = 0
    seconds: float = 0.0


counts = Counts()


class Unit(NamedTuple):
    """One function in machine code: its symbol, which says what it is, and what writes LLVM's text of its module; and
    those that it calls."""

    symbol: str
    text: Callable[[], str]
    calls: Sequence[Unit] = ()


def unit(name: str, text: str) -> Unit:
    """A function of LLVM's text, under a symbol that says what it is."""
    symbol = f"{name}_{short_digest(text, 12)}"
    return Unit(symbol, lambda: text.replace(f"@{name}(", f"@{symbol}("))


def linked(objects: Sequence[bytes], symbols: Sequence[str], known: Mapping[str, int]) -> list[int]:
    """Where symbols of objects are in memory, from now until the process ends; `known` are those that they call and
    that are there.

    JITLink has the memory of an object in one piece: code reaches no further than two gigabytes. LLVM's older linker
    (MCJIT) asks for each kind of page by itself, gets them far apart where room is scattered, and aborts the process.
    """
    binding = llvm()
    if not _linker:
        _linker.append(binding.create_lljit_compiler(target(), use_jit_link=True))
        # who calls what was linked may be the last to go: the list, and what is in it, outlives the interpreter
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(_linker))
    library = binding.JITLibraryBuilder().add_current_process()
    for symbol, address in known.items():
        library.import_symbol(symbol, address)
    for data in objects:
        library.add_object_img(data)
    for symbol in symbols:
        library.export_symbol(symbol)
    there = library.link(_linker[0], f"tensorgraph-{next(_numbers)}")
    _linker.append(there)
    return [there[symbol] for symbol in symbols]


@functools.cache
def _generator() -> str:
    """What turns a kernel into LLVM's text, and that into machine code: a digest of the sources that do."""
    here = Path(__file__).parent
    names = ("code.py", "arithmetic.py", "words.py", "expressions.py", "lowering.py", "emitting.py")
    try:
        return short_digest("\n".join((here / name).read_text("utf-8") for name in names), 12)
    except OSError:  # without sources the version of the package must do
        from importlib import metadata

        return metadata.version("tensorgraph-engine")


@functools.cache
def _conditions() -> str:
    """All but its symbol that decides what a function's machine code is."""
    found, binding = machine(), llvm()
    return "\n".join(
        [
            _generator(), repr(binding.llvm_version_info), sys.modules["llvmlite"].__version__,
            binding.get_process_triple(), sys.platform, str(struct.calcsize("P")), found.cpu, found.features,
            str(found.width),
        ]
    )  # fmt: skip


def _entry_name(symbol: str) -> str:
    """The name under which a function's machine code is kept."""
    return short_digest(f"{symbol}\n{_conditions()}", 20)


def addresses(units: Sequence[Unit]) -> list[int]:
    """Where functions are in memory; those that are new are read from disk, or compiled, the largest first."""
    if all(unit.symbol in _addresses for unit in units):  # and nobody waits for a thread that compiles others
        return [_addresses[unit.symbol] for unit in units]
    with _lock:
        called = [one for unit in units for one in unit.calls]
        fresh = [u for u in {u.symbol: u for u in (*units, *called)}.values() if u.symbol not in _addresses]
        if fresh:
            begin = time.perf_counter()
            _link(fresh)
            counts.seconds += time.perf_counter() - begin
        return [_addresses[u.symbol] for u in units]


def are_kept(units: Sequence[Unit]) -> bool:
    """Whether functions are there, or on disk."""
    with cache.opened() as folder:
        return all(u.symbol in _addresses or folder.read(_entry_name(u.symbol)) is not None for u in units)


def _link(units: Sequence[Unit]) -> None:
    progress, objects, writers = _Progress(), list[bytes](), dict[str, Callable[[], str]]()
    with cache.opened() as folder:
        for unit in units:
            data = folder.read(_entry_name(unit.symbol))
            if data is None:
                writers[unit.symbol] = unit.text
            else:
                objects.append(data)
                counts.loaded += 1
        try:
            progress.tell(f"{len(writers)} kernels to compile")
            for done, (symbol, data) in enumerate(objects_of(writers), 1):
                progress.tell(f"compiling kernels: {done} of {len(writers)}")
                objects.append(data)
                counts.compiled += 1
                folder.write(_entry_name(symbol), data)
        finally:
            progress.end()
        if writers:
            folder.trim()
    symbols = [unit.symbol for unit in units]
    known = {one.symbol: _addresses[one.symbol] for unit in units for one in unit.calls if one.symbol in _addresses}
    _addresses.update(zip(symbols, linked(objects, symbols, known), strict=True))


class _Progress:
    """A line for somebody who waits at a terminal, gone when all is done."""

    def __init__(self) -> None:
        self.begin, self.shown = time.monotonic(), 0

    def tell(self, line: str) -> None:
        if time.monotonic() - self.begin > PATIENCE and sys.stderr is not None and sys.stderr.isatty():
            sys.stderr.write(f"\r{line.ljust(self.shown)}")
            sys.stderr.flush()
            self.shown = len(line)

    def end(self) -> None:
        if self.shown:
            sys.stderr.write(f"\r{' ' * self.shown}\r")
            sys.stderr.flush()


def entries(kernels: Sequence[Kernel], width: int | None = None) -> list[int]:
    """The addresses of kernels, those that are new compiled; for the processor's vectors, or those of so many bytes."""
    suffix = "" if width is None or width == machine().width else f"_{width}"
    addresses([unit_of(k, width, suffix) for k in kernels if k.symbol + suffix not in _addresses])
    return [_addresses[k.symbol + suffix] for k in kernels]


def unit_of(kernel: Kernel, width: int | None = None, suffix: str = "") -> Unit:
    """A kernel with the routines that it calls."""
    calls = [unit_of(one, width, suffix) for one in kernel.routines]
    return Unit(kernel.symbol + suffix, lambda: kernel.module(width, suffix), calls)


if hasattr(os, "register_at_fork"):  # a child in which another thread's compiler had stopped half-way could not go on
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)


def call(entry: int, words: int, block: int, blocks: int) -> None:
    """Run one block of a kernel at an address, without the interpreter's lock."""
    _PROTOTYPE(entry)(words, block, blocks)
