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

next_number = itertools.count(1).__next__
getframe = sys._getframe
new = object.__new__

# packages whose frames are ours and never the user's; all but the demonstration and what tests the library
INTERNAL: set[str] = {
    f"tensorgraph{sub}"
    for sub in ("", ".arguments", ".engine", ".jit", ".ops", ".ops.kernels", ".graph", ".transforms", ".text",
                ".passes", ".passes.recognise", ".analysis", ".analysis.lint", ".compile", ".nn", ".optim", ".data",
                ".files", ".train", ".tune", ".dist", ".viz", ".viz.model", ".viz.render", ".viz.html", ".commands")
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
        return
    names = frame.f_globals
    warnings.warn_explicit(
        message, RuntimeWarning, frame.f_code.co_filename, frame.f_lineno, names.get("__name__"),
        names.setdefault("__warningregistry__", {}),
    )  # fmt: skip


class Relocation:
    """NumPy's warnings of what happens to numbers inside the library, at the line of the user's call.

    It stands in the list of warning filters where a pattern for the message would, so that it is asked when there is a
    warning and costs nothing else: what was raised in a frame of ours is raised again at the user's line, where all
    filters count again, and is ignored where it was. Filters that are added later go before it.
    """

    TEXTS = ("divide by zero encountered", "overflow encountered", "underflow encountered", "invalid value encountered")

    def match(self, text: str) -> bool:
        """Whether the warning has been raised elsewhere, and is ignored here."""
        frame: Any = getframe(1)
        if not text.startswith(self.TEXTS) or frame.f_code is warn_user.__code__:
            return False
        while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "numpy":
            frame = frame.f_back
        if frame is None or frame.f_globals.get("__package__") not in INTERNAL or user_frame(2) is None:
            return False
        warn_user(text)
        return True


filters: list[Any] = warnings.filters  # type: ignore[assignment]
filters.insert(0, ("ignore", Relocation(), RuntimeWarning, None, 0))


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
