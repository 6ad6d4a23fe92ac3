"""The tape: what is kept of each recorded operation until its gradient has been taken.

A `Node` holds no output, only what its rules name. Its creation number is already a topological order. The user's line
is kept as a code object and an instruction offset and resolved only when somebody looks.
"""

from __future__ import annotations

import functools
import itertools
import math
import sys
import warnings
import weakref
from collections.abc import Callable, Sequence
from types import CodeType
from typing import Any

import numpy as np

__all__ = ["Leaf", "Node", "Projection", "projection", "line_of", "source_of", "user_frame", "user_source", "warn_user"]

numbering = itertools.count(1)  # `next` of it costs less than its method
next_number = numbering.__next__
getframe = sys._getframe
new = object.__new__

# packages whose frames are ours and never the user's; all but the demonstration and what tests the library
INTERNAL: set[str] = {
    f"tensorgraph{sub}"
    for sub in ("", ".arguments", ".engine", ".jit", ".native", ".numpy", ".ops", ".ops.kernels", ".ops.native",
                ".graph", ".transforms", ".passes.rewriting",
                ".random", ".text", ".passes", ".passes.recognise", ".analysis", ".analysis.lint", ".compile", ".nn",
                ".optim", ".data", ".files", ".pages", ".train", ".train.run", ".train.watch", ".tune",
                ".tune.engines", ".tune.ensembles", ".dist", ".viz", ".viz.model", ".viz.render", ".viz.html",
                ".viz.animation", ".commands")
}  # fmt: skip

# behind these there is no line of the user's: a text that is read tells its own, a command has none
ASKING = ("tensorgraph.text", "tensorgraph.commands")

Hook = Callable[[Any], Any]
_hooked = False


def mark_hooked() -> None:
    """From now on backward passes look for hooks."""
    global _hooked
    _hooked = True


def any_hooks() -> bool:
    """Whether a hook was ever registered in this process."""
    return _hooked


class Typed:
    """What follows from the shape, so that a rule may take its parent for the input's aval."""

    __slots__ = ()

    shape: Any

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return math.prod(self.shape)


class Node(Typed):
    """One recorded operation: the op, its parents in the graph, what its rules need, where the user called it."""

    __slots__ = (
        "__weakref__", "attrs", "code", "dtype", "hooks", "lasti", "number", "op", "parents", "projections", "saved",
        "scope", "shape",
    )  # fmt: skip

    op: Any
    parents: tuple[Any, ...]
    saved: tuple[Any, ...] | None
    attrs: dict[str, Any]
    number: int
    shape: Any  # the output's, or a tuple of them for several outputs
    dtype: Any
    code: CodeType | None
    lasti: int
    scope: str
    projections: dict[int, weakref.ref[Projection]]  # where there are several outputs


class Leaf(Typed):
    """Where gradients arrive: a tensor made with ``requires_grad=True``, or a parameter."""

    __slots__ = ("__weakref__", "dtype", "grad", "hooks", "live", "name", "number", "owner", "shape", "user")

    op = None
    parents: tuple[Any, ...] = ()
    saved: tuple[Any, ...] | None = ()

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any], user: bool = True) -> None:
        self.shape = shape
        self.dtype = dtype
        self.grad: Any = None
        self.name: str | None = None
        self.owner: Any = None  # weak reference to the parameter
        self.number = next_number()
        self.user = user  # False for a transform's own leaf: its gradient is handed over, never stored
        self.live = True  # False once its transform is over: nobody will ask for this gradient any more


class Projection(Typed):
    """One output of an op with several: passes its gradient on to the right slot."""

    __slots__ = ("__weakref__", "dtype", "hooks", "index", "number", "parents", "shape")

    op = None
    saved: tuple[Any, ...] | None = ()

    def __init__(self, node: Node, index: int) -> None:
        self.parents = (node,)
        self.index = index
        self.shape = node.shape[index]
        self.dtype = node.dtype[index]
        self.number = next_number()


def projection(node: Node, index: int) -> Projection:
    """The place of one output of several on the tape: one object as long as anybody holds it.

    The node holds it weakly, since it holds the node.
    """
    try:
        known = node.projections
    except AttributeError:
        known = node.projections = {}
    reference = known.get(index)
    found = None if reference is None else reference()
    if found is None:
        found = Projection(node, index)
        known[index] = weakref.ref(found)
    return found


def connect(node: Node, tensors: Sequence[Any]) -> None:
    """Give each of several outputs of a new node its place on the tape, where it can have a gradient."""
    known = node.projections = {}
    parents = (node,)
    for index, (t, shape, dtype) in enumerate(zip(tensors, node.shape, node.dtype, strict=True)):
        if dtype.kind != "f":
            t._node = None
            continue
        made = new(Projection)
        made.parents, made.index, made.shape, made.dtype, made.number = parents, index, shape, dtype, next_number()
        known[index] = weakref.ref(made)
        t._node = made


def user_frame(depth: int = 1) -> Any:
    """The nearest frame outside the package, or None."""
    frame: Any = getframe(depth)
    while frame is not None and (package := frame.f_globals.get("__package__")) in INTERNAL:
        if package in ASKING:
            return None
        frame = frame.f_back
    return frame


def source_of(code: CodeType | None, lasti: int) -> tuple[str, int, str] | None:
    """File, line and function of an instruction."""
    if code is None:
        return None
    line = code.co_firstlineno
    for start, stop, number in code.co_lines():
        if start <= lasti < stop and number is not None:
            line = number
            break
    return code.co_filename, line, code.co_qualname


@functools.lru_cache(maxsize=4096)
def line_of(file: str, line: int, function: str) -> CodeType:
    """A code object of which `source_of` tells this place, at any instruction."""
    nothing = (lambda: None).__code__
    return nothing.replace(
        co_filename=file, co_firstlineno=line, co_name=function, co_qualname=function, co_linetable=b""
    )


def user_source() -> tuple[str, int, str] | None:
    """File, line and function of the user's call that is running now."""
    frame = user_frame(2)
    return None if frame is None else source_of(frame.f_code, frame.f_lasti)


def warn_user(message: str) -> None:
    """A RuntimeWarning at the user's line."""
    frame = user_frame(2)
    if frame is None:
        warnings.warn(message, RuntimeWarning, stacklevel=2)
    else:
        warn_at(frame, message)


def warn_at(frame: Any, message: str) -> None:
    """A RuntimeWarning at the line that a frame has come to."""
    names = frame.f_globals
    warnings.warn_explicit(
        message, RuntimeWarning, frame.f_code.co_filename, frame.f_lineno, names.get("__name__"),
        names.setdefault("__warningregistry__", {}),
    )  # fmt: skip


TEXTS = ("divide by zero encountered", "overflow encountered", "underflow encountered", "invalid value encountered")


def relocated(text: str, frame: Any) -> bool:
    """Raise NumPy's warning of what happened to numbers in a frame of ours again, at the line of the user's call.

    Gives whether it was such a warning: then it is not to be told where it was raised.
    """
    if not text.startswith(TEXTS):
        return False
    raising, within = frame, False
    while frame is not None and frame.f_code is not warn_at.__code__:
        package = frame.f_globals.get("__package__")
        if package in ASKING:
            return False
        if package in INTERNAL:
            within = True
        elif (frame.f_globals.get("__name__") or "").partition(".")[0] != "numpy":
            break
        frame = frame.f_back
    if not within or frame is None or frame.f_code is warn_at.__code__:
        return False
    # it is not known there as told already: the next may come from another line of the user's
    raising.f_globals.get("__warningregistry__", {}).clear()
    warnings.onceregistry.pop((text, RuntimeWarning), None)  # type: ignore[attr-defined]
    warn_at(frame, text)
    return True


class Relocation:
    """A warning filter that stands where a pattern for the message would: it is asked when there is a warning, and
    costs nothing else. It ignores what is told at the user's line instead, where all filters count again.
    """

    def match(self, text: str) -> bool:
        """Whether the warning has been raised elsewhere, and is ignored here."""
        return relocated(text, getframe(1))


filters: list[Any] = warnings.filters  # type: ignore[assignment]
filters.insert(0, ("ignore", Relocation(), RuntimeWarning, None, 0))


def _show(told: Any) -> None:
    """As the filter, for filters that go before it and lists of filters without it, as those of pytest."""
    if told.category is not RuntimeWarning or not relocated(str(told.message), getframe(1)):
        show(told)


show: Any = getattr(warnings, "_showwarnmsg", None)
if show is not None:
    warnings._showwarnmsg = _show  # type: ignore[attr-defined]


def describe_source(source: tuple[str, int, str] | None) -> str:
    """``" (train.py:12)"``, or nothing where the line is not known."""
    return f" ({source[0]}:{source[1]})" if source else ""


def describe_node(node: Any) -> str:
    """An op and where it was called, for messages."""
    if type(node) is Projection:
        node = node.parents[0]
    if type(node) is Leaf:
        return f"leaf {node.name or ''}".strip()
    where = source_of(node.code, node.lasti)
    return f"{node.op.name}{describe_source(where)}"
