"""Kernels and helpers: plain Python functions that Numba compiles when they are first called.

A kernel is compiled once a signature, without the interpreter's lock, and kept in Numba's on-disk cache under a name
that carries a digest of everything it is made of, so that an edit in any helper is seen. With ``NUMBA_DISABLE_JIT=1``
the same bodies run as plain Python.
"""

from __future__ import annotations

import dis
import threading
import types
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any, overload

import numpy as np

from tensorgraph.jit import team

# never nnan or ninf: they would let the compiler assume NaN and infinity away
FLAGS = frozenset({"nsz", "contract", "arcp"})
# for a helper whose result has a signed zero
EXACT_ZERO = frozenset({"contract"})
# only for small helpers that add and compare, and subtract nothing: a plain sum vectorises with it
SUMS = frozenset({"nsz", "contract", "reassoc"})

_lock = threading.RLock()
_numba: Any = None
_reason: str | None = None


def _open() -> Any:
    """Import Numba once; the module, or None with the reason kept."""
    global _numba, _reason
    if _numba is None and _reason is None:
        with _lock:
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


class Helper:
    """A function called from kernels: inlined there, plain Python elsewhere.

    Made by `helper`, `variants` or `native`. Calling it from Python runs the Python form.
    """

    __slots__ = ("_built", "_make", "digest", "name", "python")

    def __init__(self, python: Callable[..., Any], make: Callable[[Any], Any], digest: Callable[[], str]) -> None:
        self.python = python
        self.name = getattr(python, "__name__", "helper")
        self.digest = cache(digest)
        self._make = make
        self._built: Any = None

    def __call__(self, *args: Any) -> Any:
        return self.python(*args)

    def __repr__(self) -> str:
        return f"<helper {self.name}>"

    def built(self, numba: Any) -> Any:
        """What a kernel's globals hold in this helper's place when Numba compiles it."""
        if self._built is None:
            self._built = self._make(numba)
        return self._built


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
        with _lock:
            if self.call == self._first:
                if numba.config.DISABLE_JIT:
                    self.call = _quiet(self.python)
                else:
                    digest = digest_of(self.python, self.flags)
                    options: dict[str, Any] = dict(nogil=True, fastmath=set(self.flags))
                    if self.apart:
                        options["pipeline_class"] = _apart()
                        digest += "_apart"
                    self.call = compiled_copy(numba, self.python, digest, cache=True, **options)
        return self.call

    def lead(self) -> Callable[..., Any]:
        """The compiled function that shares this kernel's rows with other threads; see `tensorgraph.jit.team`."""
        if self._lead is None:
            with _lock:
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
    *, flags: Iterable[str] = ..., inline: bool = ..., plain: Callable[..., Any] | None = ...
) -> Callable[[Callable[..., Any]], Helper]: ...
def helper(
    fn: Callable[..., Any] | None = None,
    *,
    flags: Iterable[str] = FLAGS,
    inline: bool = True,
    plain: Callable[..., Any] | None = None,
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

    Returns
    -------
    Helper
        Or a decorator, where `fn` is not given.
    """
    chosen = _checked(flags)

    def mark(f: Any) -> Helper:
        options: dict[str, Any] = dict(fastmath=set(chosen), nogil=True, forceinline=inline)
        return Helper(
            f if plain is None else plain,
            make=lambda numba: compiled_copy(numba, f, digest_of(f, chosen), **options),
            digest=lambda: digest_of(f, chosen),
        )

    return mark if fn is None else mark(fn)


def variants(name: str, narrow: Helper, wide: Helper, kind: str = "float") -> Helper:
    """One scalar function made of two: the argument's type chooses.

    Parameters
    ----------
    name : str
        Name of the function.
    narrow, wide : Helper
        The forms for 32 and 64 bits, each of one argument ``x``.
    kind : {"float", "int"}, optional
        Kind of the argument.

    Returns
    -------
    Helper
        Called from Python, numbers and arrays of at most 32 bits go to the first form, any others to the second.
    """
    small, large = np.dtype(kind + "32"), np.dtype(kind + "64")

    def python(x: Any) -> Any:
        dtype = getattr(x, "dtype", object)  # None would be equal to float64
        if dtype == small:
            return narrow.python(x)
        if dtype == np.float16:
            return narrow.python(small.type(x))
        return wide.python(x if dtype == large else large.type(x))

    python.__name__ = python.__qualname__ = name

    def make(numba: Any) -> Any:
        first, second = narrow.built(numba), wide.built(numba)

        def choose(x: Any) -> Any:
            if x == getattr(numba.types, kind + "32"):
                return first.py_func
            return second.py_func if x == getattr(numba.types, kind + "64") else None

        options = {k: v for k, v in first.targetoptions.items() if k != "nopython"}
        return chosen_by_type(numba, name, ("x",), choose, options)

    return Helper(python, make, digest=lambda: f"{name}({narrow.digest()},{wide.digest()})")


def chosen_by_type(
    numba: Any, name: str, parameters: Iterable[str], choose: Callable[..., Any], options: Mapping[str, Any]
) -> Any:
    """What compiled callers call where the types of the arguments decide which function it is.

    Parameters
    ----------
    numba : module
    name : str
    parameters : iterable of str
        The parameters' names, which all the functions must have.
    choose : callable
        Takes Numba's types and gives a plain function, or None.
    options : mapping
        Numba's options for those functions.
    """
    names = ", ".join(parameters)
    scope: dict[str, Any] = {"choose": choose}
    # Numba compares the signatures of the stub, of the choice and of what is chosen
    exec(f"def {name}({names}):\n    raise NotImplementedError\ndef pick({names}):\n    return choose({names})", scope)
    numba.extending.overload(scope[name], jit_options=dict(options))(scope["pick"])
    return scope[name]


def native(python: Callable[..., Any], make: Callable[[Any], Any], version: str) -> Helper:
    """A helper whose compiled form is made by hand, such as an intrinsic.

    Parameters
    ----------
    python : callable
        The plain Python form.
    make : callable
        ``make(numba)`` gives what compiled callers call.
    version : str
        Changes whenever `make` does: part of the cache's name of every caller.

    Returns
    -------
    Helper
    """
    return Helper(python, make, digest=lambda: f"{python.__name__}:{version}")


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


def _names(code: types.CodeType) -> set[str]:
    """The global names that a function reads; attributes have names of their own."""
    found = {step.argval for step in dis.get_instructions(code) if step.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    for const in code.co_consts:
        if isinstance(const, types.CodeType):
            found |= _names(const)
    return found


def digest_of(fn: Any, flags: frozenset[str]) -> str:
    """Digest of a function's code, its flags, the constants it reads and the helpers it calls, all the way down."""
    code: types.CodeType = fn.__code__
    parts = [fn.__name__, code.co_code.hex(), repr(code.co_names), repr(sorted(flags))]
    parts += [repr(const) for const in code.co_consts if not isinstance(const, types.CodeType)]
    parts += [const.co_code.hex() for const in code.co_consts if isinstance(const, types.CodeType)]
    for name in sorted(_names(code)):
        value = fn.__globals__.get(name)
        if isinstance(value, Helper):
            parts.append(f"{name}={value.digest()}")
        elif isinstance(value, (bool, int, float, tuple, np.generic)):
            parts.append(f"{name}={type(value).__name__}:{value!r}")
        elif isinstance(value, np.ndarray):
            parts.append(f"{name}={value.dtype}{value.shape}:{value.tobytes().hex()}")
    return team.short_digest("\n".join(parts), 8)


def compiled_copy(numba: Any, fn: Any, digest: str, *, cache: bool = False, **options: Any) -> Any:
    """Numba's dispatcher of a copy of `fn` whose globals hold compiled helpers in place of `Helper` objects."""
    with _lock:
        scope = dict(fn.__globals__)
        for name in _names(fn.__code__):
            if isinstance(value := scope.get(name), Helper):
                scope[name] = value.built(numba)
        # the digest in the name is in the cache's file name: an edited helper is never served from an old file
        copy = types.FunctionType(fn.__code__, scope, f"{fn.__name__}_{digest}", fn.__defaults__, fn.__closure__)
        copy.__module__ = fn.__module__
        copy.__qualname__ = copy.__name__
        # dividing by zero gives infinity or NaN as in NumPy; a check would also keep loops from vectorising
        dispatcher = numba.njit(error_model="numpy", **options)(copy)
        if cache:
            try:
                dispatcher.enable_caching()
                dispatcher._cache = _Tolerant(dispatcher._cache)
            except (RuntimeError, OSError, AttributeError):
                pass  # nowhere to write, or no file behind the function: compile anew in each process
        return dispatcher


def _apart() -> Any:
    """Numba's compiler with the promise that arrays do not overlap, which is an internal flag of Numba's."""
    from numba.core import compiler

    class Apart(compiler.Compiler):  # type: ignore[misc]
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            if hasattr(self.state.flags, "noalias"):
                self.state.flags = self.state.flags.copy()
                self.state.flags.noalias = True

    return Apart


class _Tolerant:
    """Numba's on-disk cache, except that a full disk or a damaged file means "not cached", never an error."""

    def __init__(self, cache: Any) -> None:
        self._cache = cache

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cache, name)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            return self._cache.load_overload(sig, target_context)
        except Exception:  # whatever a damaged file makes unpickling raise
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            self._cache.save_overload(sig, data)
        except Exception:  # OSError of all kinds, and a damaged index that cannot be extended
            return
