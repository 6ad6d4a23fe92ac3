"""The vocabulary over NumPy: a kernel runs as plain Python, slowly, every address checked."""

from __future__ import annotations

import ctypes
import types
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from tensorgraph.jit.compiling import Helper
from tensorgraph.native.lowering import static
from tensorgraph.native.sources import names_of
from tensorgraph.native.words import WORDS, Word

__all__ = ["Emulation", "lend_to_all"]

_tables: list[Any] = []  # arrays of the process that any kernel may read


def lend_to_all(array: Any) -> int:
    """Let all kernels read an array that stays for good; its address."""
    array.flags.writeable = False
    _tables.append(array)
    return int(array.__array_interface__["data"][0])


class Lanes(np.ndarray[Any, Any]):
    """Lanes as values: ``v += x`` gives ``v`` other lanes, and leaves those that lists and other names have."""


_IN_PLACE = "__iadd__ __isub__ __imul__ __itruediv__ __ifloordiv__ __imod__ __iand__ __ior__ __ixor__ __ilshift__"
for _own in [*_IN_PLACE.split(), "__irshift__"]:
    setattr(Lanes, _own, getattr(np.ndarray, _own.replace("__i", "__", 1)))


def _as_values(got: Any) -> Any:
    if isinstance(got, list):
        return [_as_values(one) for one in got]
    return got.view(Lanes) if isinstance(got, np.ndarray) and got.ndim else got


class Emulation:
    """Memory that a kernel may touch, and the words over it.

    Parameters
    ----------
    dtype : dtype
        Of the kernel's numbers.
    width : int
        Bytes of a vector.
    arrays : iterable of ndarray
        What may be read; those that are writable may be written.
    """

    def __init__(self, dtype: Any, width: int, arrays: Iterable[Any] = ()) -> None:
        self.dtype = np.dtype(dtype)
        self.lanes = width // self.dtype.itemsize
        self.ranges: list[tuple[int, int, bool]] = []
        self.fixed = {"LANES": self.lanes, "SIZE": self.dtype.itemsize, "BYTES": width, "static": static}
        for array in (*arrays, *_tables):
            self.lend(array)

    def lend(self, array: Any) -> int:
        """Let the kernel touch an array; its address."""
        low, high = np.lib.array_utils.byte_bounds(array)
        self.ranges.append((low, high, bool(array.flags.writeable)))
        return int(array.__array_interface__["data"][0])

    # memory ----------------------------------------------------------------------------------------------------------

    def _check(self, p: int, size: int, written: bool) -> None:
        for low, high, writable in self.ranges:
            if low <= p and p + size <= high and (writable or not written):
                return
        near = min((abs(p - low), low, high) for low, high, _ in self.ranges) if self.ranges else (0, 0, 0)
        raise IndexError(
            f"a kernel {'writes' if written else 'reads'} {size} bytes at {p - near[1]} from the start of an array of "
            f"{near[2] - near[1]} bytes; ldm, stm and their like take how many lanes are there"
        )

    def read(self, p: int, count: int, dtype: Any) -> Any:
        dtype = np.dtype(dtype)
        if not count:
            return np.empty(0, dtype)
        self._check(int(p), count * dtype.itemsize, False)
        return np.frombuffer(ctypes.string_at(int(p), count * dtype.itemsize), dtype).copy()

    def read_masked(self, p: int, n: int, fill: Any, dtype: Any) -> Any:
        made = np.empty(self.lanes, dtype)
        n = max(0, min(int(n), self.lanes))
        made[n:] = np.broadcast_to(np.asarray(fill), self.lanes)[n:]
        made[:n] = self.read(p, n, dtype)
        return made

    def write(self, p: int, values: Any, dtype: Any) -> None:
        data = np.asarray(values, dtype).tobytes()
        if data:
            self._check(int(p), len(data), True)
            ctypes.memmove(int(p), data, len(data))

    def called(self, function: int, *given: int) -> None:
        """What a C function does is not checked."""
        ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * len(given))(function)(*given)

    # values ----------------------------------------------------------------------------------------------------------

    def real(self, x: Any) -> Any:
        return self.dtype.type(x)

    def vector(self, x: Any) -> Any:
        return np.broadcast_to(np.asarray(x, self.dtype), self.lanes).copy()

    def lanes_of(self, x: Any) -> Any:
        """Lanes: a number is in all of them."""
        return np.broadcast_to(np.asarray(x), self.lanes)

    def select(self, mask: Any, a: Any, b: Any) -> Any:
        if np.ndim(mask) == 0 and np.ndim(a) == 0 and np.ndim(b) == 0:
            return a if mask else b
        made = np.where(mask, a, b)
        kinds = [x.dtype for x in (a, b) if isinstance(x, (np.ndarray, np.generic))] or [self.dtype]
        return made.astype(kinds[0]) if made.dtype.kind == kinds[0].kind == "f" else made

    def fma(self, a: Any, b: Any, c: Any) -> Any:
        """In a wider type, rounded once: to the last bit for float32, nearly always for float64."""
        kinds = [x.dtype for x in (a, b, c) if isinstance(x, (np.ndarray, np.generic)) and x.dtype.kind == "f"]
        kind = max(kinds, key=lambda dtype: dtype.itemsize, default=self.dtype)
        wide = np.float64 if kind.itemsize == 4 else np.longdouble
        out = np.asarray(a, wide) * np.asarray(b, wide) + np.asarray(c, wide)
        return out.astype(kind)[()]

    # running ---------------------------------------------------------------------------------------------------------

    def run(self, function: types.FunctionType, words: Any, block: int, blocks: int, constants: dict[str, Any]) -> None:
        """Run one block of a kernel."""
        seen: dict[Any, Any] = {}
        with np.errstate(all="ignore"):
            self._own(function, {**self.fixed, **constants}, seen)(self.lend(words), block, blocks)

    def _own(self, function: types.FunctionType, fixed: dict[str, Any], seen: dict[Any, Any]) -> Callable[..., Any]:
        """The function, with the words bound to this memory."""
        if function in seen:
            return seen[function]  # type: ignore[no-any-return]
        scope: dict[str, Any] = {}
        own = types.FunctionType(
            function.__code__, scope, function.__name__, function.__defaults__, function.__closure__
        )
        own.__kwdefaults__ = function.__kwdefaults__
        seen[function] = own
        scope["__builtins__"] = function.__globals__.get("__builtins__", __builtins__)
        scope.update({name: self._word(w) for name, w in WORDS.items()})
        names = names_of(function.__code__)
        for name, value in function.__globals__.items():
            if isinstance(value, Word):
                scope[name] = self._word(value)
            elif isinstance(value, types.FunctionType) and name in names and value is not static:
                scope[name] = self._own(value, fixed, seen)
            elif isinstance(value, Helper):
                scope[name] = self._helper(value)
            elif name in names:
                scope[name] = value
        scope.update(fixed)
        return own

    def _word(self, word: Word) -> Callable[..., Any]:
        return lambda *args: _as_values(word.emulate(self, *args))

    def _helper(self, helper: Helper) -> Callable[..., Any]:
        if helper.word is not None:
            return self._word(WORDS[helper.word])
        return lambda *args: _as_values(helper(*(x.view(np.ndarray) if isinstance(x, Lanes) else x for x in args)))
