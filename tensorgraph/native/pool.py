"""`Pool`: arrays whose memory comes back when nobody has them any more, for the next arrays of their size.

A step gives large arrays away at each call, as gradients that are left, and what the C library has got back of the last
ones it may have returned to the system: the next call pays for each page again. NumPy asks a handler for the memory of
arrays, which each array remembers; a pool is such a handler, in machine code, for its own arrays alone. They own their
data as all arrays do, may be resized, and outlive the pool.
"""

# The plan: (1) one stretch of memory is NumPy's struct of a handler and, behind it, a row for each size: how many
# blocks of it are kept, how many may be; (2) malloc takes a block of a row or asks NumPy's own handler, free puts one
# back; both run under the interpreter's lock; (3) a capsule owns the stretch, arrays and a context own the capsule, and
# only inside that context NumPy asks this handler; (4) when the pool goes, rows keep nothing more; when the last array
# goes, the stretch does.

from __future__ import annotations

import contextvars
import ctypes
import functools
import math
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from tensorgraph.native.machine import available
from tensorgraph.native.objects import addresses, unit

__all__ = ["MOST", "Pool", "possible"]

MOST = 256 << 20
"""Bytes that a pool keeps at most."""

# places in the stretch, in words of 64 bits: the handler's allocator behind its name, NumPy's, the rows
OWN, BASE, ROWS, HEAD = 16, 21, 26, 27
ROW = 4  # words: size, how many blocks there may be, how many there are, where their addresses are
SET, DEFAULT = 304, 306  # places of NumPy's table of functions: PyDataMem_SetHandler, PyDataMem_DefaultHandler

TEXT = f"""
declare void @free(ptr)
declare ptr @PyCapsule_GetPointer(ptr, ptr)

@name = private constant [12 x i8] c"mem_handler\\00"

define internal ptr @row(ptr %pool, i64 %size) nounwind {{
entry:
  %pn = getelementptr i64, ptr %pool, i64 {ROWS}
  %n = load i64, ptr %pn, align 8
  br label %look
look:
  %k = phi i64 [ 0, %entry ], [ %following, %next ]
  %more = icmp slt i64 %k, %n
  br i1 %more, label %compare, label %none
compare:
  %places = mul i64 %k, {ROW}
  %place = add i64 %places, {HEAD}
  %at = getelementptr i64, ptr %pool, i64 %place
  %own = load i64, ptr %at, align 8
  %same = icmp eq i64 %own, %size
  br i1 %same, label %found, label %next
next:
  %following = add i64 %k, 1
  br label %look
found:
  ret ptr %at
none:
  ret ptr null
}}

define internal ptr @new_block(ptr %pool, i64 %size) nounwind {{
entry:
  %row = call ptr @row(ptr %pool, i64 %size)
  %none = icmp eq ptr %row, null
  br i1 %none, label %ask, label %look
look:
  %pc = getelementptr i64, ptr %row, i64 2
  %count = load i64, ptr %pc, align 8
  %some = icmp sgt i64 %count, 0
  br i1 %some, label %take, label %ask
take:
  %less = sub i64 %count, 1
  store i64 %less, ptr %pc, align 8
  %pb = getelementptr i64, ptr %row, i64 3
  %blocks = load ptr, ptr %pb, align 8
  %slot = getelementptr ptr, ptr %blocks, i64 %less
  %block = load ptr, ptr %slot, align 8
  ret ptr %block
ask:
  %px = getelementptr i64, ptr %pool, i64 {BASE}
  %pf = getelementptr i64, ptr %pool, i64 {BASE + 1}
  %x = load ptr, ptr %px, align 8
  %f = load ptr, ptr %pf, align 8
  %new = call ptr %f(ptr %x, i64 %size)
  ret ptr %new
}}

define internal ptr @new_zeros(ptr %pool, i64 %number, i64 %size) nounwind {{
  %px = getelementptr i64, ptr %pool, i64 {BASE}
  %pf = getelementptr i64, ptr %pool, i64 {BASE + 2}
  %x = load ptr, ptr %px, align 8
  %f = load ptr, ptr %pf, align 8
  %new = call ptr %f(ptr %x, i64 %number, i64 %size)
  ret ptr %new
}}

define internal ptr @resized(ptr %pool, ptr %block, i64 %size) nounwind {{
  %px = getelementptr i64, ptr %pool, i64 {BASE}
  %pf = getelementptr i64, ptr %pool, i64 {BASE + 3}
  %x = load ptr, ptr %px, align 8
  %f = load ptr, ptr %pf, align 8
  %new = call ptr %f(ptr %x, ptr %block, i64 %size)
  ret ptr %new
}}

define internal void @let_go(ptr %pool, ptr %block, i64 %size) nounwind {{
  %px = getelementptr i64, ptr %pool, i64 {BASE}
  %pf = getelementptr i64, ptr %pool, i64 {BASE + 4}
  %x = load ptr, ptr %px, align 8
  %f = load ptr, ptr %pf, align 8
  call void %f(ptr %x, ptr %block, i64 %size)
  ret void
}}

define internal void @put_back(ptr %pool, ptr %block, i64 %size) nounwind {{
entry:
  %row = call ptr @row(ptr %pool, i64 %size)
  %none = icmp eq ptr %row, null
  br i1 %none, label %give, label %look
look:
  %pm = getelementptr i64, ptr %row, i64 1
  %pc = getelementptr i64, ptr %row, i64 2
  %most = load i64, ptr %pm, align 8
  %count = load i64, ptr %pc, align 8
  %room = icmp slt i64 %count, %most
  br i1 %room, label %keep, label %give
keep:
  %more = add i64 %count, 1
  store i64 %more, ptr %pc, align 8
  %pb = getelementptr i64, ptr %row, i64 3
  %blocks = load ptr, ptr %pb, align 8
  %slot = getelementptr ptr, ptr %blocks, i64 %count
  store ptr %block, ptr %slot, align 8
  ret void
give:
  call void @let_go(ptr %pool, ptr %block, i64 %size)
  ret void
}}

define internal void @shut(ptr %pool) nounwind {{
entry:
  %pn = getelementptr i64, ptr %pool, i64 {ROWS}
  %n = load i64, ptr %pn, align 8
  br label %look
look:
  %k = phi i64 [ 0, %entry ], [ %k, %drop ], [ %following, %next ]
  %rest = icmp slt i64 %k, %n
  br i1 %rest, label %row, label %end
row:
  %places = mul i64 %k, {ROW}
  %place = add i64 %places, {HEAD}
  %at = getelementptr i64, ptr %pool, i64 %place
  %pm = getelementptr i64, ptr %at, i64 1
  store i64 0, ptr %pm, align 8
  %pc = getelementptr i64, ptr %at, i64 2
  %count = load i64, ptr %pc, align 8
  %some = icmp sgt i64 %count, 0
  br i1 %some, label %drop, label %next
drop:
  %size = load i64, ptr %at, align 8
  %block = call ptr @new_block(ptr %pool, i64 %size)
  call void @let_go(ptr %pool, ptr %block, i64 %size)
  br label %look
next:
  %following = add i64 %k, 1
  br label %look
end:
  ret void
}}

define internal void @gone(ptr %capsule) nounwind {{
  %pool = call ptr @PyCapsule_GetPointer(ptr %capsule, ptr @name)
  call void @shut(ptr %pool)
  call void @free(ptr %pool)
  ret void
}}

define void @tg_pool(ptr %table) nounwind {{
  %p0 = getelementptr ptr, ptr %table, i64 0
  store ptr @new_block, ptr %p0, align 8
  %p1 = getelementptr ptr, ptr %table, i64 1
  store ptr @new_zeros, ptr %p1, align 8
  %p2 = getelementptr ptr, ptr %table, i64 2
  store ptr @resized, ptr %p2, align 8
  %p3 = getelementptr ptr, ptr %table, i64 3
  store ptr @put_back, ptr %p3, align 8
  %p4 = getelementptr ptr, ptr %table, i64 4
  store ptr @shut, ptr %p4, align 8
  %p5 = getelementptr ptr, ptr %table, i64 5
  store ptr @gone, ptr %p5, align 8
  ret void
}}
"""


UNIT = unit("tg_pool", TEXT)
NAME = b"mem_handler"  # of capsules that hold handlers
Specs = Sequence[tuple[tuple[int, ...], "np.dtype[Any]"]]


class _System:
    """What pools need of NumPy, the interpreter and the C library, and the machine code that they run."""

    def __init__(self) -> None:
        python, self.library = ctypes.pythonapi, ctypes.CDLL(None)
        self.library.malloc.argtypes, self.library.malloc.restype = [ctypes.c_size_t], ctypes.c_void_p
        pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)
        self.pointer = pointer(("PyCapsule_GetPointer", python))
        new = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
        self.capsule = new(("PyCapsule_New", python))
        core: Any = np._core if hasattr(np, "_core") else np.core
        self.handler_name = core.multiarray.get_handler_name
        table = self.pointer(core._multiarray_umath._ARRAY_API, None)
        self.set = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.py_object)(_word(table + 8 * SET))
        default = ctypes.cast(_word(_word(table + 8 * DEFAULT)), ctypes.py_object).value
        self.default = contextvars.Context().run(self.handler_name)
        self.base = self.pointer(default, NAME)
        functions = (ctypes.c_size_t * 6)()
        entry = addresses([UNIT])[0]
        ctypes.CFUNCTYPE(None, ctypes.c_void_p)(entry)(functions)
        *self.functions, shut, self.gone = functions
        self.shut = ctypes.PYFUNCTYPE(None, ctypes.c_void_p)(shut)
        self.name = NAME  # capsules point at its bytes

    def stretch(self, rows: Sequence[tuple[int, int]]) -> int:
        """The address of a handler with its rows, of a size and a number of blocks each."""
        words = HEAD + ROW * len(rows)
        at = self.library.malloc(8 * (words + sum(count for _, count in rows)))
        if not at:
            raise MemoryError("no memory for a pool of arrays")
        ctypes.memmove(at, b"tensorgraph".ljust(127, b"\0") + b"\1", 128)
        table = [at, *self.functions, *(_word(self.base + 128 + 8 * k) for k in range(5)), len(rows)]
        blocks = at + 8 * words
        for size, count in rows:
            table += [size, count, 0, blocks]
            blocks += 8 * count
        for k, word in enumerate(table, OWN):
            ctypes.c_uint64.from_address(at + 8 * k).value = word
        return int(at)


def _word(address: int) -> int:
    return ctypes.c_uint64.from_address(address).value


@functools.cache
def _system() -> _System | None:
    """What pools need; None where there are none."""
    if sys.platform != "linux" or sys.implementation.name != "cpython" or sys.maxsize != 2**63 - 1:
        return None
    if not available() or not getattr(sys, "_is_gil_enabled", lambda: True)():
        return None
    try:
        return _System()
    except Exception:  # another NumPy
        return None


def possible() -> bool:
    """Whether pools keep anything: with machine code, on Linux, in an interpreter with its lock."""
    return _system() is not None


class Pool:
    """Makes arrays of some shapes and types again and again, in memory that came back if there is some.

    Parameters
    ----------
    specs : sequence of (tuple of int, dtype)
        Of the arrays. As many blocks are kept as arrays of a size are made at once, `MOST` bytes in all.

    Examples
    --------
    >>> import numpy as np
    >>> from tensorgraph.native.pool import Pool
    >>> pool = Pool([((100, 100), np.dtype("float32"))])
    >>> (array,) = pool.arrays()
    >>> array.shape, array.flags.owndata
    ((100, 100), True)
    """

    __slots__ = ("_at", "_context", "_specs", "_system")

    def __init__(self, specs: Specs) -> None:
        self._specs = [(tuple(shape), dtype) for shape, dtype in specs]
        self._context: contextvars.Context | None = None
        self._system = system = _system()
        if system is None:
            return
        rows, left = Counter[int](), MOST
        for shape, dtype in self._specs:
            size = math.prod(shape) * dtype.itemsize
            if size and size <= left and dtype.kind != "O":
                rows[size] += 1
                left -= size
        if rows:
            self._at = system.stretch([*rows.items()])
            # it owns the stretch from here on, and arrays own it
            capsule = system.capsule(self._at, system.name, system.gone)
            self._context = contextvars.Context()
            self._context.run(system.set, capsule)

    def arrays(self) -> tuple[np.ndarray[Any, Any], ...]:
        """New arrays, with whatever is in their memory."""
        context, system = self._context, self._system
        if context is not None and system is not None and system.handler_name() == system.default:
            try:
                return context.run(self._new)
            except RuntimeError:  # somebody is in there: what was collected meanwhile, or another thread
                pass
        return self._new()

    def _new(self) -> tuple[np.ndarray[Any, Any], ...]:
        return tuple([np.empty(shape, dtype) for shape, dtype in self._specs])

    @property
    def kept(self) -> int:
        """Bytes of memory that came back and was not given again yet."""
        if self._context is None:
            return 0
        first, count = self._at + 8 * HEAD, _word(self._at + 8 * ROWS)
        return sum(_word(at) * _word(at + 16) for at in range(first, first + 8 * ROW * count, 8 * ROW))

    def __del__(self) -> None:
        if getattr(self, "_context", None) is not None and self._system is not None:
            self._system.shut(self._at)
