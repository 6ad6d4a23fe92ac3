"""Modes: whether gradients are recorded, which implementation runs, what is traced, which scope is open.

All of them live in one immutable record in one ContextVar, read once a call. A context manager puts a changed copy
there and restores the old record in ``finally``. A new thread starts with the default modes, as ContextVars do.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Literal

from tensorgraph.arguments import Name, checked

if TYPE_CHECKING:
    from tensorgraph.engine.cells import Recording, Replay, Stead
    from tensorgraph.graph.building import Trace
    from tensorgraph.graph.calls import Call

__all__ = ["Mode", "current", "debug_nans", "enable_grad", "implementation", "is_grad_enabled", "is_tracing",
           "no_grad", "scope"]  # fmt: skip


class Mode:
    """One immutable record of all modes. `plain` is True where eager calls may take their short path."""

    __slots__ = (
        "call", "cells", "debug_nans", "grad", "implementation", "plain", "pulled", "quiet", "scope", "trace",
        "watched",
    )  # fmt: skip

    grad: bool
    implementation: str
    debug_nans: bool
    trace: Trace | None
    scope: str
    call: Call | None  # in a trace, the module, optimiser or named scope that was entered last: its scope is open
    quiet: bool  # something is computed a second time, and what there is to warn of has been said
    cells: Recording | Replay | Stead | None  # who is asked for the values of cells, in place of the cells
    watched: tuple[Any, ...] | None  # places on the tape whose exits a transform refuses; None: all exits are free
    pulled: tuple[Any, ...]  # leaves whose gradients are being taken though their transform is over
    plain: bool

    def __init__(
        self,
        grad: bool = True,
        implementation: str = "fused",
        debug_nans: bool = False,
        trace: Trace | None = None,
        scope: str = "",
        quiet: bool = False,
        cells: Recording | Replay | Stead | None = None,
        call: Call | None = None,
        watched: tuple[Any, ...] | None = (),
        pulled: tuple[Any, ...] = (),
    ) -> None:
        put = object.__setattr__
        put(self, "grad", grad)
        put(self, "implementation", implementation)
        put(self, "debug_nans", debug_nans)
        put(self, "trace", trace)
        put(self, "scope", scope)
        put(self, "quiet", quiet)
        put(self, "cells", cells)
        put(self, "call", call)
        put(self, "watched", watched)
        put(self, "pulled", pulled)
        put(self, "plain", trace is None and not debug_nans and cells is None)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("a Mode is immutable; use the context managers")

    def replace(self, **changes: Any) -> Mode:
        """A copy with these fields changed. A `call` brings its scope along, a `scope` alone is no call's."""
        if "call" in changes:
            call = changes["call"]
            changes["scope"] = "" if call is None else call.scope
        elif "scope" in changes:
            changes["call"] = None
        fields: dict[str, Any] = {
            "grad": self.grad,
            "implementation": self.implementation,
            "debug_nans": self.debug_nans,
            "trace": self.trace,
            "scope": self.scope,
            "quiet": self.quiet,
            "cells": self.cells,
            "call": self.call,
            "watched": self.watched,
            "pulled": self.pulled,
        }
        return Mode(**(fields | changes))


MODE: ContextVar[Mode] = ContextVar("tensorgraph.mode", default=Mode())  # noqa: B039  (a Mode is immutable)
current = MODE.get


@contextlib.contextmanager
def use(**changes: Any) -> Iterator[None]:
    """Modes changed inside a ``with`` block."""
    before = MODE.get()
    try:  # what is set outside would stay where Ctrl-C comes between
        MODE.set(before.replace(**changes))
        yield
    finally:
        MODE.set(before)


def no_grad() -> contextlib.AbstractContextManager[None]:
    """Record nothing inside: results do not require gradients.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> x = tg.tensor([1.0], requires_grad=True)
    >>> with tg.no_grad():
    ...     y = x * 2
    >>> y.requires_grad
    False
    """
    return use(grad=False)


def enable_grad() -> contextlib.AbstractContextManager[None]:
    """Record again inside a `no_grad` block."""
    return use(grad=True)


@checked
def implementation(name: Literal["fused", "composed"]) -> contextlib.AbstractContextManager[None]:
    """Choose how ops that have both run inside: ``"fused"`` (Numba kernels) or ``"composed"`` (primitives).

    Examples
    --------
    >>> import tensorgraph as tg
    >>> with tg.implementation("composed"):
    ...     p = tg.softmax([1.0, 1.0])
    >>> p.tolist()
    [0.5, 0.5]
    """
    return use(implementation=name)


def debug_nans() -> contextlib.AbstractContextManager[None]:
    """Raise at the first op that turns finite inputs into NaN or infinity, forward or backward, naming its line.

    Examples
    --------
    >>> import numpy as np, tensorgraph as tg
    >>> with tg.debug_nans(), np.errstate(divide="ignore"):
    ...     tg.log([0.0])
    Traceback (most recent call last):
        ...
    FloatingPointError: log gave -inf from finite inputs...
    """
    return use(debug_nans=True)


@checked
def scope(name: Name, module: str | None = None) -> contextlib.AbstractContextManager[None]:
    """Name the operations inside, below the scopes already open; pictures and text group by it.

    `module` says what stands there, such as the class of a module: pictures show it.
    """
    mode = MODE.get()
    inner = f"{mode.scope}.{name}" if mode.scope else name
    if mode.trace is not None:
        return use(call=mode.trace.enter("scope" if module is None else "module", str(module or ""), inner))
    return use(scope=inner)


def is_grad_enabled() -> bool:
    """Whether operations are recorded for gradients here."""
    return MODE.get().grad


def is_tracing() -> bool:
    """Whether a trace is active here: values have shapes and dtypes but no numbers."""
    return MODE.get().trace is not None
