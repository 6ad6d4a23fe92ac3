"""`Kernel`: a function of the vocabulary, for one type of numbers, with its machine code."""

from __future__ import annotations

import ast
import linecache
import types
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from tensorgraph.jit.properties import cached_property
from tensorgraph.jit.team import short_digest
from tensorgraph.native import objects
from tensorgraph.native.emulation import Emulation
from tensorgraph.native.lowering import Lowering
from tensorgraph.native.machine import machine
from tensorgraph.native.sources import functions_of, is_routine, names_within, parts_of, tree_of

__all__ = ["Kernel", "from_text", "kernel"]


class Kernel:
    """One kernel: a text, a type, and Python values for some of its names.

    Two kernels of the same text, type and values are one object.

    Parameters
    ----------
    function : function
        ``def name(words, block, blocks)``, of the subset of `tensorgraph.native.lowering`.
    dtype : dtype
        float32 or float64.
    constants : mapping of str to int or float or bool
    """

    def __init__(self, function: types.FunctionType, dtype: Any, constants: Mapping[str, Any]) -> None:
        self.function, self.dtype, self.constants = function, np.dtype(dtype), dict(constants)
        self.name = function.__name__

    def __repr__(self) -> str:
        given = "".join(f", {k}={v}" for k, v in self.constants.items())
        return f"<kernel {self.name} of {self.dtype}{given}>"

    @cached_property
    def text(self) -> str:
        """The kernel's Python, with the functions that it calls."""
        return "\n\n\n".join(ast.unparse(tree_of(function)) for function in functions_of(self.function))

    @cached_property
    def digest(self) -> str:
        """Names what it is: code, type, values."""
        what = (*parts_of(self.function), self.dtype.str, repr(sorted(self.constants.items())))
        return short_digest("\n".join(what), 12)

    @cached_property
    def symbol(self) -> str:
        return f"tg_{self.name}_{self.digest}"

    @cached_property
    def routines(self) -> list[Kernel]:
        """The routines that it calls, and these; each knows those of the constants that it reads."""
        functions = [one for one in functions_of(self.function)[1:] if is_routine(one)]
        return [kernel(one, self.dtype, **self._read_by(one)) for one in functions]

    def _read_by(self, function: types.FunctionType) -> dict[str, Any]:
        names = names_within(function)
        return {name: value for name, value in self.constants.items() if name in names}

    def module(self, width: int | None = None, suffix: str = "") -> str:
        """LLVM's text, for vectors of so many bytes, with something at the end of its symbols."""
        width = machine().width if width is None else width
        routines = {one.function: one.symbol + suffix for one in self.routines}
        symbol = self.symbol + suffix
        return Lowering(self.function, symbol, self.dtype.itemsize, width, self.constants, routines).text()

    @cached_property
    def entry(self) -> int:
        """The address of the machine code, compiled or read from the cache at first."""
        return objects.entries([self])[0]

    def emulate(self, words: Any, arrays: Iterable[Any], block: int = 0, blocks: int = 1, width: int = 64) -> None:
        """Run a block over NumPy, on arrays that it may touch."""
        Emulation(self.dtype, width, arrays).run(self.function, words, block, blocks, self.constants)

    def run(self, words: Any, block: int = 0, blocks: int = 1) -> None:
        """Run a block as machine code: whatever the words say is done."""
        objects.call(self.entry, words.ctypes.data, block, blocks)


_kernels: dict[Any, Kernel] = {}
FLOATS = (np.dtype("float32"), np.dtype("float64"))


def kernel(function: Callable[..., Any], dtype: Any, **constants: Any) -> Kernel:
    """The kernel of a function for a type of numbers, and Python values for names that it reads.

    Examples
    --------
    >>> import numpy as np
    >>> from tensorgraph.native.kernel import kernel
    >>> def double(w, block, blocks):
    ...     store(word_at(w, 0), load(word_at(w, 0)) * 2.0)
    """
    # 1, 1.0 and True are equal, and other constants
    key = function, np.dtype(dtype), tuple(sorted((name, repr(value)) for name, value in constants.items()))
    found = _kernels.get(key)
    if found is None:
        if not isinstance(function, types.FunctionType) or key[1] not in FLOATS:
            raise TypeError(
                f"a kernel is a Python function of words, block and blocks, for float32 or float64, not {function!r} "
                f"for {key[1]}; integers are read by load_int and ldq in either"
            )
        found = _kernels[key] = Kernel(function, dtype, constants)
    return found


_texts: dict[tuple[str, tuple[tuple[str, int], ...]], types.FunctionType] = {}


def from_text(text: str, scope: Mapping[str, Any], what: str = "kernel") -> types.FunctionType:
    """A function from the text of a kernel that was generated; the same text gives the same function.

    Tracebacks, debuggers and profilers show the text.
    """
    key = text, tuple(sorted((name, id(value)) for name, value in scope.items()))
    made = _texts.get(key)
    if made is None:
        space: dict[str, Any] = dict(scope)
        file = f"<tensorgraph {what} {short_digest(text, 6)}>"
        linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
        exec(compile(text, file, "exec"), space)
        (made,) = (v for k, v in space.items() if isinstance(v, types.FunctionType) and k not in scope)
        made.__kernel_text__ = text  # type: ignore[attr-defined]
        _texts[key] = made
    return made
