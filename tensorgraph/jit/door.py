"""Kernels and helpers: plain Python functions that Numba compiles when they are first called.

A kernel is compiled once a signature, without the interpreter's lock, and kept in Numba's on-disk cache under a name
that carries a digest of everything it is made of, so that an edit in any helper is seen. With ``NUMBA_DISABLE_JIT=1``
the same bodies run as plain Python.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from importlib.util import find_spec
from typing import Any, overload

import numpy as np

from tensorgraph.jit import team
from tensorgraph.jit.compiling import Helper, chosen_by_type, compiled_copy, digest_of, lock
from tensorgraph.jit.compiling import apart as no_overlap

# never nnan or ninf: they would let the compiler assume NaN and infinity away
FLAGS = frozenset({"nsz", "contract", "arcp"})
# for a helper whose result has a signed zero
EXACT_ZERO = frozenset({"contract"})
# only for small helpers that add and compare, and subtract nothing: a plain sum vectorises with it
SUMS = frozenset({"nsz", "contract", "reassoc"})

_numba: Any = None
_reason: str | None = None


def _open() -> Any:
    """Import Numba once; the module, or None with the reason kept."""
    global _numba, _reason
    if _numba is None and _reason is None:
        with lock:
            if _numba is None and _reason is None:
                try:
                    import numba
                    import numba.extending

                    _numba = numba
                except Exception as error:  # a broken installation fails in many ways; all mean "not available"
                    _reason = f"{type(error).__name__}: {error}"
    return _numba


def available() -> bool:
    """Whether kernels can run. Never raises; `reason` tells why not.

    Returns
    -------
    bool
        True where Numba can be imported, also with its compiler switched off by ``NUMBA_DISABLE_JIT=1``.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> from tensorgraph import jit
    >>> jit.available() or jit.reason() is not None
    True
    """
    return _open() is not None


def expected() -> bool:
    """As `available`, as far as can be seen without importing Numba, which takes half a second."""
    return _reason is None and (_numba is not None or _is_installed())


@cache
def _is_installed() -> bool:
    try:
        return find_spec("numba") is not None
    except ValueError:  # somebody has put something in its place
        return False


def reason() -> str | None:
    """Why kernels cannot run: the error that importing Numba gave; None where they can."""
    _open()
    return _reason


def compiled() -> bool:
    """Whether kernels run as machine code (False without Numba, and under ``NUMBA_DISABLE_JIT=1``)."""
    numba = _open()
    return numba is not None and not numba.config.DISABLE_JIT


def _required() -> Any:
    numba = _open()
    if numba is None:
        raise ImportError(
            f"this kernel needs Numba, which cannot be imported ({_reason}); install a Numba that fits this NumPy, "
            'or choose the composed form with impl="composed"'
        )
    return numba


# ---------------------------------------------------------------------------------------------- kernels and helpers


class Kernel:
    """A function over arrays, compiled at its first call.

    ``call`` is the entry for drivers: after the first call it is the compiled dispatcher itself, so that calling a
    kernel costs one attribute and Numba's own unboxing.

    Attributes
    ----------
    call : callable
        Runs the kernel; compiles at first.
    python : callable
        The function as it was written.
    staged : bool
        Whether it has stages; see `kernel`.
    """

    __slots__ = ("_lead", "apart", "call", "flags", "name", "python", "staged")

    def __init__(self, python: Callable[..., Any], flags: frozenset[str], apart: bool, staged: bool) -> None:
        self.python = python
        self.apart = apart
        self.staged = staged
        self._lead: Callable[..., Any] | None = None
        self.name = python.__name__
        self.flags = flags
        self.call: Callable[..., Any] = self._first

    def __call__(self, *args: Any) -> Any:
        return self.call(*args)

    def __repr__(self) -> str:
        return f"<kernel {self.name}>"

    def _first(self, *args: Any) -> Any:
        self.open()
        return self.call(*args)

    def open(self) -> Callable[..., Any]:
        """Get the callable ready, without compiling a signature yet.

        Returns
        -------
        callable
            Numba's dispatcher, or the plain function where the compiler is switched off.

        Raises
        ------
        ImportError
            Where Numba cannot be imported.
        """
        numba = _required()
        with lock:
            if self.call == self._first:
                if numba.config.DISABLE_JIT:
                    self.call = _quiet(self.python)
                else:
                    digest = digest_of(self.python, self.flags)
                    options: dict[str, Any] = dict(nogil=True, fastmath=set(self.flags))
                    if self.apart:
                        options["pipeline_class"] = no_overlap()
                        digest += "_apart"
                    self.call = compiled_copy(numba, self.python, digest, cache=True, **options)
        return self.call

    def lead(self) -> Callable[..., Any]:
        """The compiled function that shares this kernel's rows with other threads; see `tensorgraph.jit.team`."""
        if self._lead is None:
            with lock:
                if self._lead is None:
                    numba, dispatcher, code = _required(), self.open(), self.python.__code__
                    count = code.co_argcount - (3 if self.staged else 2)
                    name = f"lead_{dispatcher.__name__}"
                    lead = team.lead_of(numba, dispatcher, name, count, self.staged, code.co_filename)
                    self._lead = compiled_copy(numba, lead, team.version(), cache=True, nogil=True)
        return self._lead


@cache
def serve() -> Callable[..., Any]:
    """The compiled function that helping threads run; see `tensorgraph.jit.team`."""
    numba = _required()
    return compiled_copy(numba, team.serve_of(numba), team.version(), cache=True, nogil=True)  # type: ignore[no-any-return]


@overload
def kernel(fn: Callable[..., Any]) -> Kernel: ...
@overload
def kernel(
    *, flags: Iterable[str] = ..., apart: bool = ..., staged: bool = ...
) -> Callable[[Callable[..., Any]], Kernel]: ...
def kernel(
    fn: Callable[..., Any] | None = None, *, flags: Iterable[str] = FLAGS, apart: bool = False, staged: bool = False
) -> Any:
    """Mark a function over arrays as a kernel, compiled at its first call.

    Parameters
    ----------
    fn : function, optional
        The plain Python body. It may call helpers that are globals of its module under their own names.
    flags : iterable of str, optional
        LLVM's fast-math flags.
    apart : bool, optional
        Promise that no array the kernel writes shares memory with another argument. It then vectorises without
        checking, also with many arrays.
    staged : bool, optional
        The kernel's last arguments are ``stage, lo, hi``, with the stages 1, 2, 4 and 8, one after the other: 1 and 4
        are run once, for all rows, 2 and 8 in blocks. With 15 it does all four. Others end in ``lo, hi``.

    Returns
    -------
    Kernel
        Or a decorator, where `fn` is not given.

    Examples
    --------
    >>> import numpy as np
    >>> from tensorgraph import jit
    >>> def double(x, y):
    ...     for i in range(x.size):
    ...         y[i] = 2 * x[i]
    >>> k = jit.kernel(double)
    >>> y = np.empty(3)
    >>> k(np.arange(3.0), y)
    >>> y
    array([0., 2., 4.])
    """
    chosen = _checked(flags)
    if fn is None:
        return lambda f: Kernel(f, chosen, apart, staged)
    return Kernel(fn, chosen, apart, staged)


@overload
def helper(fn: Callable[..., Any]) -> Helper: ...
@overload
def helper(
    *, flags: Iterable[str] = ..., inline: bool = ..., plain: Callable[..., Any] | None = ..., apart: bool = ...
) -> Callable[[Callable[..., Any]], Helper]: ...
def helper(
    fn: Callable[..., Any] | None = None,
    *,
    flags: Iterable[str] = FLAGS,
    inline: bool = True,
    plain: Callable[..., Any] | None = None,
    apart: bool = False,
) -> Any:
    """Mark a function that kernels call.

    Parameters
    ----------
    fn : function, optional
        The plain Python body; it may call other helpers.
    flags : iterable of str, optional
        LLVM's fast-math flags of this body. They stay with it where it is inlined: ``jit.SUMS`` lets a plain sum
        vectorise inside a kernel whose other arithmetic keeps its order.
    inline : bool, optional
        Put the body into its caller always; a scalar function needs it for the caller's loop to vectorise.
    plain : callable, optional
        What runs outside kernels in the body's place, where that takes numbers only or NumPy knows better.
    apart : bool, optional
        As of `kernel`; the promise stays where the body is put into its caller.

    Returns
    -------
    Helper
        Or a decorator, where `fn` is not given.
    """
    chosen = _checked(flags)

    def mark(f: Any) -> Helper:
        options: dict[str, Any] = dict(fastmath=set(chosen), nogil=True, forceinline=inline)
        suffix = "_apart" if apart else ""

        def make(numba: Any) -> Any:
            own = {"pipeline_class": no_overlap()} if apart else {}
            return compiled_copy(numba, f, digest_of(f, chosen) + suffix, **options, **own)

        return Helper(
            f if plain is None else plain,
            make=make,
            digest=lambda: digest_of(f, chosen) + suffix,
            body=f,
            flags=chosen,
        )

    return mark if fn is None else mark(fn)


def variants(name: str, narrow: Helper, wide: Helper, kind: str = "float", inputs: tuple[str, ...] = ("x",)) -> Helper:
    """One scalar function made of two: the type of its first argument chooses.

    Parameters
    ----------
    name : str
        Name of the function.
    narrow, wide : Helper
        The forms for 32 and 64 bits, each of the same arguments.
    kind : {"float", "int"}, optional
        Kind of the arguments.
    inputs : tuple of str, optional
        Their names, by default one, ``x``.

    Returns
    -------
    Helper
        Called from Python, numbers and arrays of at most 32 bits go to the first form, any others to the second.
    """
    small, large = np.dtype(kind + "32"), np.dtype(kind + "64")

    def python(*values: Any) -> Any:
        dtype = getattr(values[0], "dtype", object)  # None would be equal to float64
        form, own = (narrow, small) if dtype in (small, np.float16) else (wide, large)
        return form.python(*[x if getattr(x, "dtype", object) == own else own.type(x) for x in values])

    python.__name__ = python.__qualname__ = name

    def make(numba: Any) -> Any:
        first, second = narrow.built(numba), wide.built(numba)

        def choose(x: Any, *others: Any) -> Any:
            if x == getattr(numba.types, kind + "32"):
                return first.py_func
            return second.py_func if x == getattr(numba.types, kind + "64") else None

        options = {k: v for k, v in first.targetoptions.items() if k != "nopython"}
        return chosen_by_type(numba, name, inputs, choose, options)

    return Helper(python, make, digest=lambda: f"{name}({narrow.digest()},{wide.digest()})", pair=(narrow, wide))


def native(python: Callable[..., Any], make: Callable[[Any], Any], version: str, word: str | None = None) -> Helper:
    """A helper whose compiled form is made by hand, such as an intrinsic.

    Parameters
    ----------
    python : callable
        The plain Python form.
    make : callable
        ``make(numba)`` gives what compiled callers call.
    version : str
        Changes whenever `make` does: part of the cache's name of every caller.
    word : str, optional
        The word of `tensorgraph.native` that it is.

    Returns
    -------
    Helper
    """
    return Helper(python, make, digest=lambda: f"{python.__name__}:{version}", word=word)


def _checked(flags: Iterable[str]) -> frozenset[str]:
    chosen = frozenset(flags)
    if wrong := chosen - {"nsz", "contract", "arcp", "reassoc", "afn"}:
        raise ValueError(f"fast-math flags {sorted(wrong)} would change the meaning of NaN or infinity, or are unknown")
    return chosen


def _quiet(python: Callable[..., Any]) -> Callable[..., Any]:
    """Plain Python with the floating-point warnings of NumPy's scalars silenced, as in machine code."""

    def call(*args: Any) -> Any:
        with np.errstate(all="ignore"):
            return python(*args)

    return call
