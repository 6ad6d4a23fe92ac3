"""The two mutable cells, `Parameter` and `Buffer`: all state that changes lives in one of them.

Cells are copy-on-write. An array is written in place only when nobody else holds it, which its reference count shows.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn

import numpy as np

from tensorgraph.arguments import checked
from tensorgraph.engine import modes
from tensorgraph.engine.aval import DType
from tensorgraph.engine.exits import Array, TraceError, concrete
from tensorgraph.engine.interrupts import whole
from tensorgraph.engine.tensor import (
    Tensor,
    ndarray,
    require_float,
    tensor,
    weak_cast,
    wrap,
)

__all__ = [
    "Buffer",
    "Cell",
    "Parameter",
    "Recording",
    "Replay",
    "Stead",
    "holder",
    "refuse_in_trace",
    "release",
    "set_grads",
]


class Cell(Tensor):
    """A named, mutable place for one array: what `Parameter` and `Buffer` share.

    ``cell.assign(value)`` is the only effect in the library. The array is written in place only when nobody else holds
    it, and replaced otherwise: what was read before keeps its numbers.
    """

    __slots__ = ("initialiser", "name", "owner")

    _is_cell = True

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        return object.__new__(cls)

    def _setup(self, data: Any, dtype: Any, name: str | None) -> None:
        self._value = tensor(data, dtype)._value
        if type(self._value) is not ndarray:
            raise TraceError("a cell cannot be made from a traced value; make parameters before tracing")
        self._node = None
        self.name = name
        self.owner: Any = None  # (weak reference to the module, attribute), set where a module adopts it
        self.initialiser: str | None = None

    def read(self) -> Tensor:
        """The present value as a tensor, connected to the cell for gradients; later writes do not change it."""
        return _read(self, modes.current().cells)

    def _live(self) -> Tensor:
        t = wrap(self._value)
        t._node = self._node
        return t

    @checked
    def assign(self, value: Any) -> None:
        """Replace the value. Shape must agree; the dtype stays the cell's.

        Assigning while another thread reads the same cell needs a lock around both.

        Raises
        ------
        ValueError
            For another shape.
        TypeError
            For a value whose dtype cannot be stored without loss (floats into integers, float64 into float32).
        """
        mode = modes.current()
        if isinstance(value, Cell):
            value = value.read()
        if mode.trace is not None:
            if mode.cells is None:
                mode.trace.write(self, value)
            else:
                mode.cells.write(self, value)
            return
        own = self._value
        if isinstance(value, Tensor):
            array = concrete(value, "assign")
        else:
            # Python scalars and lists are weakly typed
            array = value if type(value) is ndarray else weak_cast(value, own.dtype, f"assign to {self._label()}")
        if array.shape != own.shape:
            raise ValueError(f"cannot assign shape {array.shape} to {self._label()} of shape {own.shape}")
        if array.dtype != own.dtype:
            raise TypeError(
                f"cannot assign {array.dtype} to {self._label()} of {own.dtype}; "
                f"convert the value with .astype('{own.dtype}')"
            )
        del own
        if mode.cells is not None:
            mode.cells.write(self, array)
        else:
            self._store(array)

    def _store(self, array: Array) -> None:
        if array is self._value:
            return
        if getrefcount(self._value) == UNSHARED and self._value.base is None:
            self._value[...] = array
        else:
            self._value = array.copy()

    def exclusive(self) -> Array:
        """The cell's own array, held by nobody else and safe to write in place. For update kernels."""
        cells = modes.current().cells
        return self._own() if cells is None else cells.exclusive(self)

    def _own(self) -> Array:
        if getrefcount(self._value) != UNSHARED or self._value.base is not None:
            self._value = self._value.copy()
        return self._value  # type: ignore[no-any-return]

    def _label(self) -> str:
        return f"{type(self).__name__.lower()} {self.path!r}" if self.path else type(self).__name__.lower()

    @property
    def path(self) -> str:
        """The name of the cell: from its place in a module (``layers.0.weight``), or as given."""
        if self.owner is not None:
            module, attribute = self.owner
            module = module()
            if module is not None:
                prefix = module.path
                return f"{prefix}.{attribute}" if prefix else attribute
        return self.name or ""

    def __reduce__(self) -> tuple[Any, ...]:
        grad = self._node is not None
        return _rebuild, (type(self), np.array(self._value), self.name, self.initialiser, grad)

    def __repr__(self) -> str:
        named = f" {self.path!r}" if self.path else ""
        inside = Tensor.__repr__(self)
        return inside.replace("(", f"{named} (", 1) if named else inside


def _refuse_in_place(symbol: str) -> Callable[[Cell, Any], NoReturn]:
    def in_place(self: Cell, other: Any) -> NoReturn:
        example = "0.1 * p.grad" if isinstance(self, Parameter) else "value"
        raise TypeError(
            f"{self._label()}: p {symbol}= value would give the name p to a new tensor and leave the cell as it is; "
            f"write p.assign(p {symbol} {example}), or p.read() {symbol} value for a new tensor"
        )

    return in_place


for _name, _symbol in {
    "__iadd__": "+", "__isub__": "-", "__imul__": "*", "__itruediv__": "/", "__ifloordiv__": "//", "__imod__": "%",
    "__ipow__": "**", "__imatmul__": "@", "__iand__": "&", "__ior__": "|", "__ixor__": "^", "__ilshift__": "<<",
    "__irshift__": ">>",
}.items():  # fmt: skip
    setattr(Cell, _name, _refuse_in_place(_symbol))


class Parameter(Cell):
    """A cell that is trained: it asks for gradients.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> w = tg.Parameter([1.0, 2.0], name="w")
    >>> before = w.detach()
    >>> w.assign([5.0, 6.0])
    >>> before.tolist(), w.tolist()
    ([1.0, 2.0], [5.0, 6.0])
    """

    __slots__ = ()

    @checked
    def __init__(
        self, data: Any, dtype: DType | None = None, name: str | None = None, *, requires_grad: bool = True
    ) -> None:
        if requires_grad:
            refuse_in_trace("Parameter")
        self._setup(data, dtype, name)
        if requires_grad:
            require_float(self._value.dtype, "Parameter")
            self.requires_grad_()

    @checked
    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        Tensor.requires_grad_(self, requires_grad)
        if self._node is not None:
            self._node.owner = weakref.ref(self)
        return self

    def __deepcopy__(self, memo: Any) -> Parameter:
        return _rebuild(Parameter, self._value, self.name, self.initialiser, self._node is not None)  # type: ignore[no-any-return]


def refuse_in_trace(what: str) -> None:
    """Raise where a parameter, or its first numbers, would be made in a traced function."""
    if modes.current().trace is not None:
        raise TraceError(
            f"{what}: a parameter that is made in a traced function would be a new one at each call and never be "
            "trained; make modules and parameters before tracing, and take plain tensors for other numbers"
        )


def set_grads(parameters: Iterable[Parameter], grads: Iterable[Tensor | None]) -> None:
    """Give every parameter its gradient, or none of them where Ctrl-C comes before."""
    with whole():
        for p, g in zip(parameters, grads, strict=True):
            p.grad = g


class Buffer(Cell):
    """A cell that is not trained: running averages, counts, random state, a learning rate."""

    __slots__ = ()

    @checked
    def __init__(self, data: Any, dtype: DType | None = None, name: str | None = None) -> None:
        self._setup(data, dtype, name)

    @checked
    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        if requires_grad:
            raise TypeError("a Buffer is never differentiated; use a Parameter")
        return self

    def __deepcopy__(self, memo: Any) -> Buffer:
        return _rebuild(Buffer, self._value, self.name, self.initialiser, False)  # type: ignore[no-any-return]


def _rebuild(cls: Any, value: Array, name: str | None, initialiser: str | None, requires_grad: bool) -> Any:
    """A copy of a cell, as it was."""
    cell = cls(value, name=name, requires_grad=requires_grad) if cls is Parameter else cls(value, name=name)
    cell.initialiser = initialiser
    return cell


def _read(cell: Cell, cells: Recording | Replay | Stead | None) -> Tensor:
    """The value of a cell: as these have it, else in the trace, else the live one."""
    if cells is not None:
        return cells.read(cell)
    trace = modes.current().trace
    return cell._live() if trace is None else trace.read(cell)


class Recording:
    """Notes the value at entry of every cell that a stretch of code reads or writes; `Replay` gives them back.

    The noted arrays are kept by reference: copy-on-write protects them.
    """

    def __init__(self, outer: Recording | Replay | Stead | None) -> None:
        self.outer = outer
        self.entry: dict[Cell, Tensor] = {}

    def read(self, cell: Cell) -> Tensor:
        t = _read(cell, self.outer)
        self.entry.setdefault(cell, t)
        return t

    def write(self, cell: Cell, array: Array) -> None:
        self.read(cell)
        if self.outer is None:
            cell._store(array)
        else:
            self.outer.write(cell, array)

    def exclusive(self, cell: Cell) -> Array:
        self.read(cell)
        return cell._own() if self.outer is None else self.outer.exclusive(cell)


class Replay:
    """The cells of a recording as it found them; what is written here stays here."""

    def __init__(self, entry: Mapping[Cell, Tensor]) -> None:
        self.now = dict(entry)

    def read(self, cell: Cell) -> Tensor:
        return self.now[cell] if cell in self.now else cell._live()

    def write(self, cell: Cell, array: Array) -> None:
        t = wrap(array.copy())
        t._node = cell._node
        self.now[cell] = t

    def exclusive(self, cell: Cell) -> Array:
        self.write(cell, self.read(cell)._value)
        return self.now[cell]._value  # type: ignore[no-any-return]


class Stead:
    """Values that stand for those of cells, as a pure function has them: the live ones are not touched.

    Parameters
    ----------
    now : dict of Cell to Tensor
        What stands for which. Cells that are not here are read as they are outside.
    writable : set of Cell
        Which of them may be written; what is written is in `now`.
    outer
        Whom to ask for the others.
    refusal : callable
        Gives the exception for a write to any other cell.
    look : callable
        Is shown every other cell that is read and trained, and may raise.
    """

    def __init__(
        self,
        now: dict[Cell, Tensor],
        writable: frozenset[Cell],
        outer: Recording | Replay | Stead | None,
        refusal: Callable[[Cell], Exception],
        look: Callable[[Cell], None],
    ) -> None:
        self.now, self.writable, self.outer = now, writable, outer
        self.refusal, self.look = refusal, look

    def read(self, cell: Cell) -> Tensor:
        t = self.now.get(cell)
        if t is not None:
            return t
        if cell._node is not None:
            self.look(cell)
        return _read(cell, self.outer)

    def write(self, cell: Cell, value: Any) -> None:
        if cell not in self.writable:
            raise self.refusal(cell)
        own = cell._value
        if not isinstance(value, Tensor):
            value = wrap(np.array(value if type(value) is ndarray else weak_cast(value, own.dtype, "assign")))
        if (value.shape, value.dtype) != (own.shape, own.dtype):
            raise ValueError(f"cannot assign {value.aval} to {cell._label()} of {own.dtype} and shape {own.shape}")
        # what is read after a write has no history
        self.now[cell] = value.detach() if value.dtype.kind == "f" else value

    def exclusive(self, cell: Cell) -> Array:
        if cell not in self.writable:
            raise self.refusal(cell)
        self.now[cell] = wrap(concrete(self.read(cell), "an update in place").copy())
        return self.now[cell]._value  # type: ignore[no-any-return]


getrefcount = sys.getrefcount
# what getrefcount says of an array that only its cell holds; interpreters differ, so it is measured here
UNSHARED = (lambda cell: getrefcount(cell._value))(Buffer(np.zeros(1)))


def _holders(view: Array) -> int:
    """The like of the array behind a view."""
    base = view.base
    return getrefcount(base)


LONE = _holders(np.zeros(2).reshape(2, 1))


def release(holder: Tensor) -> Tensor:
    """The tensor, its array copied if anybody else holds it: for gradients, which share with nothing.

    Kernels work on rows and give these back in the input's shape: a view of the whole of an array that nobody else
    holds is as good as that array.
    """
    own = getrefcount(holder._value) == UNSHARED and holder._value.flags.writeable
    base = holder._value.base if own else None
    if base is not None:
        own = type(base) is ndarray and base.base is None and base.nbytes == holder._value.nbytes
        del base
        own = own and _holders(holder._value) == LONE
    if not own:
        holder._value = holder._value.copy("K")
    return holder


def holder(value: Any, cells: Iterable[Cell]) -> Cell | None:
    """The one of these cells that a value is, or in whose memory an array lies."""
    if type(value) is np.ndarray:
        return next((cell for cell in cells if np.may_share_memory(cell._value, value)), None)
    return next((cell for cell in cells if cell is value), None)
