"""How numbers leave a tensor, and where a derivative would be lost on their way.

`float(t)`, `t.numpy()` and the like give plain numbers, which nothing differentiates any more. A traced value has none.
Inside a transform (`tensorgraph.grad` and the rest) a value that depends on what is differentiated has numbers, but
what is computed with them would be missing from the derivative without a word: so they are refused, and `detach()`
says that it is meant. On the tape the exits that nobody spelt, `numpy.asarray(t)` and a list of tensors in a NumPy
call, warn where the tensor has a history.

A transform names the places on the tape of its own arguments in the modes (`watching`), and only an exit looks whether
one of them is behind it.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from tensorgraph.arguments import checked
from tensorgraph.engine import modes
from tensorgraph.engine.tape import ASKING, INTERNAL, Leaf, describe_source, getframe, source_of, user_source

if TYPE_CHECKING:
    from tensorgraph.engine.aval import Aval
    from tensorgraph.engine.op import Op
    from tensorgraph.methods import Methods
else:
    Methods = object

__all__ = ["DetachError", "DetachWarning", "ForeignError", "Numbers", "TraceError", "concrete", "depends", "leave",
           "leaving", "lose", "losing", "unwatched", "wanted", "wants", "warn_lost", "watching"]  # fmt: skip

Array = np.ndarray[Any, Any]
ndarray = np.ndarray


class TraceError(TypeError):
    """A traced value, which has a shape and a dtype but no numbers, was asked for its numbers."""


class ForeignError(TraceError):
    """A value of another trace came into this one."""

    def __init__(
        self,
        value: Any,
        told: str = "a traced value from another trace is used here; pass it as an argument of the traced function",
    ) -> None:
        super().__init__(told)
        self.value = value


class DetachError(TypeError):
    """A value that depends on a differentiated argument was turned into plain numbers inside the transform, or handed
    to an op that has no derivative rule for it.

    What is computed with it would be missing from the derivative. Write ``x.detach()`` where that is meant.

    Examples
    --------
    >>> import math, tensorgraph as tg
    >>> tg.grad(lambda x: math.sqrt(x) * x)(4.0)
    Traceback (most recent call last):
        ...
    tensorgraph.engine.exits.DetachError: float() of a value that depends on what is being differentiated...
    >>> float(tg.grad(lambda x: math.sqrt(x.detach()) * x)(4.0))
    2.0
    """


class DetachWarning(UserWarning):
    """A tensor with a history became an array without anybody saying so, or came into an op that has no derivative
    rule for it, and its gradient stays behind.

    Told once a line. ``warnings.simplefilter("error", tg.DetachWarning)`` makes an error of it.

    Examples
    --------
    >>> import numpy as np, tensorgraph as tg
    >>> y = tg.tensor([1.0], requires_grad=True) * 2
    >>> y.numpy(), np.asarray(y.detach())  # the exits that are spelt
    (array([2.], dtype=float32), array([2.], dtype=float32))
    """


def watching(tensors: Iterable[Numbers]) -> contextlib.AbstractContextManager[None]:
    """Inside, exits of what depends on these tensors raise, beside those that are watched already."""
    own = tuple([t._value if type(t._value) is not ndarray else t._node for t in tensors])
    return modes.use(grad=True, watched=(*(modes.current().watched or ()), *own))


def unwatched() -> contextlib.AbstractContextManager[None]:
    """Inside, every exit is free: hooks look at gradients, and the forward of a rule of one's own is no part of it."""
    return modes.use(watched=None)


def depends(node: Any, watched: Iterable[Any], past: Op | None = None) -> bool:
    """Whether one of these places on the tape is behind a node, without going through what the op `past` gave.

    What is older than all of them is not searched.
    """
    targets = {place for place in watched if hasattr(place, "number")}  # others are variables of a trace
    if not targets:
        return False
    oldest = min(t.number for t in targets)
    seen: set[Any] = set()
    stack = [node]
    while stack:
        place = stack.pop()
        if place in targets:
            return True
        if place is None or place in seen or place.number < oldest or (past is not None and place.op is past):
            continue
        seen.add(place)
        for parent in place.parents:
            stack += parent if type(parent) is tuple else (parent,)
    return False


def leave(t: Numbers, what: str, remedy: str = "") -> None:
    """Refuse the exit of a tensor where a transform would lose a derivative by it."""
    mode = modes.current()
    if not mode.watched or not mode.grad:
        return
    if type(t._value) is not ndarray:
        if mode.trace is None or not mode.trace.depends(t._value, mode.watched):
            return
    elif t._node is None or not depends(t._node, mode.watched):
        return
    frame = caller(getframe(2))
    where = describe_source(None if frame is None else source_of(frame.f_code, frame.f_lasti))
    raise DetachError(
        f"{what} of a value that depends on what is being differentiated ({t.aval}){where}: what is computed with its "
        f"numbers would be missing from the derivative. Compute with tensorgraph's functions{remedy}, write x.detach() "
        "where no derivative is meant to flow, or give a rule of your own with tensorgraph.custom_vjp"
    )


def leave_unspelt(t: Numbers) -> None:
    """The exit that nobody spelt: refused inside a transform, else told once a line, where there is a history."""
    node = t._node
    mode = modes.current()
    if node is None or not mode.grad or mode.watched is None:
        return
    frame: Any = getframe(2)
    while frame is not None and package(frame) == "numpy":
        if frame.f_globals["__name__"].startswith("numpy.testing"):
            return
        frame = frame.f_back
    if frame is None or package(frame) == "matplotlib":
        return
    leave(t, "numpy.asarray()", " (for a list of tensors tensorgraph.stack([...]))")
    if (type(node) is Leaf and node.user) or frame.f_globals.get("__package__") in INTERNAL or not wanted(node):
        return
    warn_of(
        caller(frame),
        "a tensor with a history becomes an array here, and its gradient stays behind: compute with "
        "tensorgraph's functions (for a list of tensors tensorgraph.stack([...])), or write t.detach() or t.numpy() "
        "where that is meant",
    )


def warn_of(frame: Any, message: str) -> None:
    """Tell of a lost gradient, once a line."""
    if frame is None:
        return
    names = frame.f_globals
    warnings.warn_explicit(
        message, DetachWarning, frame.f_code.co_filename, frame.f_lineno, names.get("__name__"),
        names.setdefault("__warningregistry__", {}),
    )  # fmt: skip


def lose(declared: Op, nodes: Iterable[Any], outputs: Iterable[Numbers]) -> None:
    """Values with these places on the tape came into an op as inputs without a derivative rule: refused inside a
    transform that differentiates them, else told once a line, where floats came of it and a gradient may be asked for.
    """
    mode = modes.current()
    if not mode.grad or mode.watched is None or not any(out._value.dtype.kind == "f" for out in outputs):
        return
    places = [p for node in nodes for p in (node if type(node) is tuple else (node,)) if p is not None]
    if any(depends(place, mode.watched) for place in places):
        frame = caller(getframe(1))
        raise losing(declared, describe_source(None if frame is None else source_of(frame.f_code, frame.f_lasti)))
    if any(wanted(place) for place in places):
        warn_lost(declared)


def warn_lost(declared: Op) -> None:
    if not modes.current().quiet:
        message = f"{said_lost(declared)}, and the gradient of what it is given stays behind: {remedies(declared)}"
        warn_of(caller(getframe(1)), message)


def losing(declared: Op, where: str) -> DetachError:
    """The refusal of a value that is differentiated as an input without a derivative rule."""
    return DetachError(
        f"{said_lost(declared)}, and is given a value that depends on what is being differentiated{where}: what it "
        f"computes would be missing from the derivative. {remedies(declared).capitalize()}"
    )


def said_lost(declared: Op) -> str:
    inputs = declared.inputs
    where = "" if len(declared.unruled) == len(inputs) else f" for {', '.join(declared.unruled)}"
    return f"{declared.name} has no derivative rule{where}"


def remedies(declared: Op) -> str:
    return (
        f"compute it with functions that have one, declare {declared.name} with a rule (vjp=), or write x.detach() "
        "where no derivative is meant to flow"
    )


def wants(leaf: Leaf) -> bool:
    """Whether anything may still ask for the gradient of a leaf."""
    return leaf.live or leaf in modes.current().pulled


def wanted(node: Any) -> bool:
    """Whether anything behind a place on the tape may still ask for its gradient."""
    seen: set[Any] = set()
    stack = [node]
    while stack:
        place = stack.pop()
        if type(place) is Leaf and wants(place):
            return True
        if place is not None and place not in seen:
            seen.add(place)
            for parent in place.parents:
                stack += parent if type(parent) is tuple else (parent,)
    return False


@cache
def _standard() -> str:
    import sysconfig  # which importing this library has no need of

    return sysconfig.get_path("stdlib")


def installed(file: str) -> bool:
    """Whether a file is one of the standard library's or of an installed package's."""
    return file.startswith(_standard()) or "site-packages" in file or "dist-packages" in file


def package(frame: Any) -> str:
    """The outermost package whose code a frame runs."""
    name: str = frame.f_globals.get("__name__") or ""
    return name.partition(".")[0]


def caller(frame: Any) -> Any:
    """The user's frame, rather than that of an installed package which was handed a tensor; or None."""
    first = None
    while frame is not None:
        inside = frame.f_globals.get("__package__")
        if inside in ASKING:
            break
        if inside not in INTERNAL and package(frame) != "numpy":
            first = first or frame
            if not installed(frame.f_code.co_filename):
                return frame
        frame = frame.f_back
    return first


def concrete(t: Numbers, what: str) -> Array:
    """The array, or an error naming the user's line where the tensor is traced."""
    value = t._value
    mode = modes.current()
    if type(value) is ndarray and (mode.trace is None or not t._is_cell):
        cells = mode.cells
        return value if cells is None or not t._is_cell else cells.read(t)._value  # type: ignore[arg-type]
    known: Array | None = None if mode.trace is None else mode.trace.numbers(t)
    if known is not None:
        return known
    said = "this value is traced: it has only a type" if mode.trace is None else mode.trace.numberless
    raise TraceError(
        f"{what} needs numbers, but {said}, {t.aval}{describe_source(user_source())}. Use "
        "tensorgraph.where instead of a Python branch, keep the computation in tensor operations, or leave this part "
        "out of the traced function."
    )


def leaving(t: Numbers, what: str) -> Array:
    """The array of a tensor for an exit that was spelt."""
    value = concrete(t, what)
    if t._node is not None or type(t._value) is not ndarray:
        leave(t, what)
    return value


def read_only(value: Array) -> Array:
    """A view that cannot be written to."""
    view = value.view()
    view.flags.writeable = False
    return view


class Numbers(Methods):
    """The exits of a Tensor: its methods that give plain numbers."""

    __slots__ = ()

    _is_cell: ClassVar[bool] = False

    if TYPE_CHECKING:
        _value: Any
        _node: Any

        @property
        def aval(self) -> Aval: ...
        @property
        def size(self) -> int: ...
        @property
        def ndim(self) -> int: ...
        @property
        def dtype(self) -> np.dtype[Any]: ...

    def numpy(self) -> Array:
        """A read-only view of the numbers, without gradient."""
        return read_only(leaving(self, "numpy()"))

    def item(self) -> Any:
        """The only element as a Python scalar."""
        if self.size != 1:  # here and below before its numbers are asked for, which a trace does not have
            raise ValueError(f"item() needs one element, got {self.aval}")
        return leaving(self, "item()").item()

    def tolist(self) -> Any:
        """Nested lists of Python scalars."""
        return leaving(self, "tolist()").tolist()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        value = concrete(self, "numpy.asarray(tensor)")
        if self._node is not None:
            leave_unspelt(self)
        if copy:
            return value.astype(dtype or value.dtype, copy=True)
        if dtype is not None and np.dtype(dtype) != value.dtype:
            if copy is False:
                raise ValueError(f"a {value.dtype} tensor cannot become {np.dtype(dtype)} without a copy")
            return value.astype(dtype)
        return read_only(value)

    def __dlpack__(
        self,
        *,
        stream: None = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> Any:
        """The memory for another library: read-only where the protocol can say so, as from version 1, else a copy.

        With ``copy=False`` it is the tensor's own in any case, and whoever takes it must not write to it.
        """
        value = leaving(self, "__dlpack__()")
        if stream is not None:
            raise ValueError("__dlpack__: stream must be None: everything runs on the CPU")
        if dl_device is not None and tuple(map(int, dl_device)) != (1, 0):
            raise BufferError(f"__dlpack__: dl_device must be (1, 0), the CPU, got {dl_device}")
        version = max_version is not None and max_version[0] >= 1
        if copy or (copy is None and not version):
            return value.copy().__dlpack__(max_version=max_version if version else None)
        if version:
            return read_only(value).__dlpack__(max_version=max_version)
        return value.__dlpack__()

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)

    @property
    def device(self) -> str:
        """Where the numbers are: always ``"cpu"``."""
        return "cpu"

    @checked
    def to_device(self, device: Literal["cpu"], *, stream: None = None) -> Any:
        """The tensor itself: everything runs on the CPU."""
        return self

    def __complex__(self) -> complex:
        return complex(self._scalar("complex()"))

    def __float__(self) -> float:
        value = self._value
        if type(value) is ndarray and not value.ndim and self._node is None and not self._is_cell:
            return float(value)
        return float(self._scalar("float()"))

    def __int__(self) -> int:
        return int(self._scalar("int()"))

    def __round__(self, ndigits: int | None = None) -> Any:
        return round(self._scalar("round()").item(), ndigits)

    def __trunc__(self) -> int:
        return int(self._scalar("math.trunc()"))

    def __bool__(self) -> bool:
        if self.size != 1:
            raise ValueError(
                f"the truth of a tensor of {self.size} elements ({self.aval}) is ambiguous; use .any() or .all()"
            )
        return bool(concrete(self, "a branch (if, while, and, or, not, bool())"))

    def __index__(self) -> int:
        if self.ndim or self.dtype.kind not in "iu":
            raise TypeError(f"only a 0-d integer tensor can be an index, got {self.aval}")
        return int(concrete(self, "an index"))

    def _scalar(self, what: str) -> Any:
        if self.size != 1:
            raise TypeError(f"{what} needs a tensor of one element, got {self.aval}")
        value = leaving(self, what)
        return value[()] if value.ndim == 0 else value.reshape(())[()]


for _method in (Numbers.numpy, Numbers.item, Numbers.tolist):  # what Python's own errors call them
    _method.__qualname__ = f"Tensor.{_method.__name__}"
