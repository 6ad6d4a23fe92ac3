"""From a plain Python function to Numba's: what it is made of, a copy with compiled helpers, and the cache on disk."""

from __future__ import annotations

import dis
import threading
import types
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any

import numpy as np

from tensorgraph.jit import team

__all__ = ["Helper", "apart", "chosen_by_type", "compiled_copy", "digest_of", "lock"]

lock = threading.RLock()


class Helper:
    """A function called from kernels: inlined there, plain Python elsewhere.

    Made by `helper`, `variants` or `native`. Calling it from Python runs the Python form.

    Attributes
    ----------
    body : function or None
        What is compiled, with LLVM's `flags`.
    pair : (Helper, Helper) or None
        Of two forms, for 32 and 64 bits.
    word : str or None
        The word of `tensorgraph.native` that it is.
    """

    __slots__ = ("_built", "_make", "body", "digest", "flags", "name", "pair", "python", "word")

    def __init__(
        self, python: Callable[..., Any], make: Callable[[Any], Any], digest: Callable[[], str], *, body: Any = None,
        flags: frozenset[str] = frozenset(), pair: tuple[Helper, Helper] | None = None, word: str | None = None,
    ) -> None:  # fmt: skip
        self.python = python
        self.body, self.flags, self.pair, self.word = body, flags, pair, word
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
    with lock:
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


def apart() -> Any:
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
