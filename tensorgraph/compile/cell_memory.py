"""What must hold before a tape runs: cells that it writes are held by nobody else, and its words say where arrays are.

Hundreds of cells are looked at before every run, and Python would take 30 ns for each. So a kernel reads the headers of
the arrays themselves; where they are in an object is found out by a test at first use, and where that fails, as in
interpreters that count references in another way, Python looks.
"""

from __future__ import annotations

import ctypes
import functools
import sys
import weakref
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np

from tensorgraph.compile.layouts import Array, address_of
from tensorgraph.engine.aval import Aval
from tensorgraph.engine.cells import UNSHARED, Buffer, Cell, Parameter, getrefcount
from tensorgraph.engine.tape import Leaf
from tensorgraph.engine.tensor import Tensor, wrap
from tensorgraph.native.kernel import kernel
from tensorgraph.native.places import Record
from tensorgraph.native.tape import HEAD
from tensorgraph.native.words import load_int, opaque, store_int, word_at

if TYPE_CHECKING:
    from tensorgraph.compile.gradients import Gradient

__all__ = ["MOVED", "Binding", "gradients_are_known", "headers_are_known", "looking_record"]

ndarray = np.ndarray

# Where things are in the header of an array, of a tuple, and in a row of the tables below, in bytes
TYPE, DATA, AXES, SHAPE, BASE, DTYPE, FLAGS, ITEMS = 8, 16, 24, 32, 48, 56, 64, 24
LOW = 0xFFFFFFFF
ORDERED, ALIGNED, WRITEABLE = 0x1, 0x100, 0x400  # flags of arrays
ROW = 64
WORDS_OF_ALL = 15
GIVEN, NEXT, GRADIENTS = 5, 7, 9  # words: the tuple of arguments, the head of the next record, how many gradients
MOVED = -2  # the status where Python has to look
WRITTEN, BOUND, KIND, NDIM, SIZES, WORDS, COUNT = 8, 16, 24, 32, 40, 48, 56


def bind_words(row: Any, array: Any) -> None:
    """Have the words of a row say where an array is."""
    data = load_int(array + DATA)
    if data != load_int(row + BOUND):
        word, left = load_int(row + WORDS), load_int(row + COUNT)
        while left > 0:
            store_int(load_int(word), data + load_int(word + 8))
            word += 16
            left = opaque(left - 1)  # a few turns, which LLVM would write out many times
        store_int(row + BOUND, data)


def bind_cell(row: Any, array: Any, kind: Any) -> Any:
    """Look at the array of a cell; 1 where it is not as it should be, else its words say where it is and 0."""
    wrong = 1
    if load_int(array + TYPE) == kind:
        wanted = ORDERED + ALIGNED
        wrong = 0
        if load_int(row + WRITTEN) == 1:
            wanted += WRITEABLE
            if (load_int(array) & LOW) != 1:
                wrong = 1
            if load_int(array + BASE) != 0:
                wrong = 1
        if (load_int(array + FLAGS) & wanted) != wanted:
            wrong = 1
        if load_int(array + DTYPE) != load_int(row + KIND):
            wrong = 1
        ndim = load_int(row + NDIM)
        if (load_int(array + AXES) & LOW) == ndim:
            shape, sizes = load_int(array + SHAPE), load_int(row + SIZES)
            axis = 0
            while axis < ndim:
                if load_int(shape + axis * 8) != load_int(sizes + axis * 8):
                    wrong = 1
                axis = opaque(axis + 1)
        else:
            wrong = 1
        if wrong == 0:
            bind_words(row, array)
    return wrong


def bind_arrays(w: Any, block: Any, blocks: Any) -> None:
    """Look at cells, gradients and arguments, a table each; where one is not as it should be, end the tape."""
    cells, n_cells, arguments, n_arguments = word_at(w, 0), word_at(w, 1), word_at(w, 2), word_at(w, 3)
    kind, given, status = word_at(w, 4), word_at(w, 5), 0
    gradients, n_gradients, tensor_kind = word_at(w, 8), word_at(w, 9), word_at(w, 10)
    value, node, weak, none = word_at(w, 11), word_at(w, 12), word_at(w, 13), word_at(w, 14)
    for k in range(n_cells):
        row = cells + k * ROW
        if bind_cell(row, load_int(load_int(row)), kind) == 1:
            status = 1
    for k in range(n_gradients):
        row = gradients + k * ROW
        tensor, wrong = load_int(load_int(row)), 1
        if load_int(tensor + TYPE) == tensor_kind:
            wrong = 0
            if (load_int(tensor) & LOW) != 1:
                wrong = 1
            if load_int(tensor + node) != none:  # it has a history, of numbers that would be others
                wrong = 1
            if load_int(tensor + weak) != 0:
                wrong = 1
            if wrong == 0:
                wrong = bind_cell(row, load_int(tensor + value), kind)
        if wrong == 1:
            status = 1
    for k in range(n_arguments):
        row = arguments + k * ROW
        array = load_int(given + ITEMS + load_int(row) * 8)
        if load_int(array + TYPE) == tensor_kind:
            if load_int(array + node) == none:
                array = load_int(array + value)
            else:
                status = 1
        if bind_cell(row, array, kind) == 1:
            status = 1
    if status == 1:
        store_int(word_at(w, 6), MOVED)
        store_int(word_at(w, 7), 0)


_PROTOTYPE = ctypes.PYFUNCTYPE(None, ctypes.c_size_t, ctypes.c_int64, ctypes.c_int64)  # holding the interpreter's lock


def word(address: int) -> int:
    """The word at an address."""
    return ctypes.c_int64.from_address(address).value


@functools.cache
def slot_offset() -> int | None:
    """Where a cell keeps its array, in bytes; None where headers are not as `bind_arrays` reads them."""
    try:
        return _slot_offset()
    except Exception:  # another interpreter
        return None


def _slot_offset() -> int | None:
    if sys.implementation.name != "cpython" or sys.byteorder != "little" or sys.maxsize != 2**63 - 1:
        return None
    cells = [Buffer(np.arange(6.0).reshape(2, 3)), Parameter(np.ones((2, 3), "float64"))]
    size = object.__sizeof__(cells[0])
    found = [o for o in range(16, size, 8) if all(word(id(c) + o) == id(c._value) for c in cells)]
    if len(found) != 1:
        return None
    for cell in cells:
        at = id(cell._value)
        alone = word(at) & LOW
        other = cell._value
        shared = word(at) & LOW
        view, turned = other[:1], other.T
        known = [
            alone == 1, shared == 2, word(at + TYPE) == id(ndarray), word(at + DATA) == address_of(other),
            word(at + AXES) & LOW == 2, [word(word(at + SHAPE) + 8 * k) for k in range(2)] == [2, 3],
            word(at + BASE) == (0 if other.base is None else id(other.base)), word(id(view) + BASE) == id(other),
            word(at + DTYPE) == id(np.dtype("float64")), word(id(view) + AXES) & LOW == 2,
            word(at + FLAGS) & (ORDERED | ALIGNED | WRITEABLE) == ORDERED | ALIGNED | WRITEABLE,
        ]  # fmt: skip
        view.flags.writeable = False
        known.append(word(id(view) + FLAGS) & WRITEABLE == 0)
        known.append(word(id(turned) + FLAGS) & ORDERED == 0)
        pair = (cell, other)
        known.append([word(id(pair) + ITEMS + 8 * k) for k in range(2)] == [id(cell), id(other)])
        if not all(known):
            return None
        del other, view, turned, pair
        if word(at) & LOW != 1:
            return None
    return found[0]


def headers_are_known() -> bool:
    """Whether a kernel may look at cells and arguments."""
    return slot_offset() is not None


@functools.cache
def gradient_offsets() -> tuple[int, int, int, int] | None:
    """Where a leaf keeps its gradient, and a tensor its array, its node and weak references to it; or None."""
    try:
        return _gradient_offsets()
    except Exception:  # another interpreter
        return None


def _gradient_offsets() -> tuple[int, int, int, int] | None:
    if slot_offset() is None:
        return None
    leaf, tensor = Leaf((2,), np.dtype("float64")), wrap(np.ones(2))
    tensor._node = Leaf((2,), np.dtype("float64"))
    leaf.grad = tensor
    weak = Tensor.__weakrefoffset__  # before the object, and so negative, from Python 3.12 on

    def only(owner: Any, held: Any) -> int:
        (offset,) = [o for o in range(16, object.__sizeof__(owner), 8) if word(id(owner) + o) == id(held)]
        return offset

    found = only(leaf, tensor), only(tensor, tensor._value), only(tensor, tensor._node), weak
    free = word(id(tensor) + weak)
    reference = weakref.ref(tensor)
    referred = word(id(tensor) + weak)
    at = id(tensor)
    shared = word(at) & LOW
    del tensor
    known = [free == 0, referred == id(reference), shared == 2, word(at) & LOW == 1, word(at + TYPE) == id(Tensor)]
    return found if all(known) else None


def gradients_are_known() -> bool:
    """Whether a kernel may look at gradients."""
    return gradient_offsets() is not None


def _begins(start: int, size: int, counts: Sequence[int]) -> list[int]:
    """Where each of some rows begins that lie one behind the other, of so many parts of a size each."""
    return [*accumulate((size * count for count in counts[:-1]), initial=start)] if counts else []


class Binding:
    """Keeps the words of tapes at the addresses of cells and arguments, and cells exclusively held.

    Parameters
    ----------
    cells : sequence of (Cell, Aval, bool)
        With the declared type, and whether tapes write it.
    arguments : sequence of (int, Aval)
        Which arguments tapes read, with the declared type.
    gradients : sequence of Gradient
        That tapes write. They are looked at by a tape that begins with `looking_record`, and by nobody else.
    words : mapping
        For ``("cell", k)``, ``("argument", k)`` and ``("gradient", k)``: the addresses of words, and
        how far behind the array's beginning.
    status : c_int64
        Becomes `MOVED` where the kernel finds that Python has to look.
    """

    def __init__(
        self,
        cells: Sequence[tuple[Cell, Aval, bool]],
        arguments: Sequence[tuple[int, Aval]],
        gradients: Sequence[Gradient],
        words: Mapping[tuple[str, int], Sequence[tuple[int, int]]],
        status: ctypes.c_int64,
    ) -> None:
        self.cells, self.arguments, self.gradients = tuple(cells), tuple(arguments), tuple(gradients)
        none: tuple[tuple[int, int], ...] = ()
        self.cell_words = [words.get(("cell", k), none) for k in range(len(cells))]
        self.argument_words = [words.get(("argument", k), none) for k, _ in self.arguments]
        self.gradient_words = [words.get(("gradient", k), none) for k in range(len(gradients))]
        self.words: Array = np.zeros(WORDS_OF_ALL, np.int64)
        self._nowhere: Array = np.zeros(1, np.int64)
        self._argument = ctypes.c_size_t(address_of(self.words))
        self.own_given = ctypes.c_int64.from_address(address_of(self.words) + 8 * GIVEN)
        self.status, self._status_at = status, ctypes.addressof(status)
        self.by_headers = slot_offset() is not None and bool(cells or arguments or gradients)
        if self.by_headers:
            self._make_tables()

    def _make_tables(self) -> None:
        offset = slot_offset()
        assert offset is not None
        lists = [*self.cell_words, *self.argument_words, *self.gradient_words]
        grad, value, node, weak = gradient_offsets() or (0, 0, 0, 0)
        rows = [(id(cell) + offset, aval, written) for cell, aval, written in self.cells]
        rows += [(number, aval, False) for number, aval in self.arguments]
        rows += [(id(gradient.leaf) + grad, gradient.aval, True) for gradient in self.gradients]
        self._pairs = np.array([pair for pairs in lists for pair in pairs] or [(0, 0)], np.int64)
        self._sizes = np.array([n for _, aval, _ in rows for n in aval.shape] or [0], np.int64)
        self._table = np.zeros((len(lists), ROW // 8), np.int64)
        pair, size = address_of(self._pairs), address_of(self._sizes)
        counts, ndims = [len(pairs) for pairs in lists], [len(aval.shape) for _, aval, _ in rows]
        columns: dict[int, Any] = {
            BOUND: -1, WORDS: _begins(pair, 16, counts), COUNT: counts, 0: [slot for slot, _, _ in rows],
            WRITTEN: [written for _, _, written in rows], KIND: [id(aval.dtype) for _, aval, _ in rows],
            NDIM: ndims, SIZES: _begins(size, 8, ndims),
        }  # fmt: skip
        for place, column in columns.items():
            self._table[:, place // 8] = column
        n, last = len(self.cells), len(self.cells) + len(self.arguments)
        first = address_of(self._table)
        state = [self._status_at, address_of(self._nowhere)]
        self.words[:8] = [first, n, first + ROW * n, len(self.arguments), id(ndarray), 0, *state]
        self.words[8:] = [first + ROW * last, 0, id(Tensor), value, node, weak, id(None)]
        self._look = _PROTOTYPE(kernel(bind_arrays, "float64").entry)

    def attach(self, words: Array) -> int:
        """Have a tape look that begins with `looking_record`; it is run by whoever holds the interpreter's lock.

        Returns
        -------
        int
            The address at which the one of the tuple of arguments is to be left: of arrays, or tensors without history.
        """
        mine = words[HEAD : HEAD + len(self.words)]
        mine[:] = self.words
        mine[NEXT], mine[GRADIENTS] = address_of(mine) + mine.nbytes, len(self.gradients)
        return address_of(mine) + 8 * GIVEN

    def bind(self, arrays: tuple[Any, ...]) -> tuple[Any, ...]:
        """Make ready for a run on these arguments; gives the arrays that tapes read, to be held until it is over."""
        if self._fits(arrays):
            return arrays
        return self.bind_slowly(arrays)

    def _fits(self, arrays: tuple[Any, ...]) -> bool:
        """Whether all is as it should be, so that words say now where it is; False where Python has to look."""
        if not self.by_headers:
            return not (self.cells or self.arguments)
        self.own_given.value = id(arrays)
        self._look(self._argument, 0, 1)
        if not self.status.value:
            return True
        self.status.value = 0
        return False

    def bind_slowly(self, arrays: tuple[Any, ...]) -> tuple[Any, ...]:
        """As `bind`, where arguments or cells are not as they should be: they are copied."""
        given = list(arrays)
        for k, _ in self.arguments:
            array = given[k]
            if type(array) is not ndarray or not (array.flags.c_contiguous and array.flags.aligned):
                given[k] = np.array(array, order="C", subok=False)
        arrays = tuple(given)
        if self._fits(arrays):
            return arrays
        for cell, aval, written in self.cells:
            adopt(cell, aval, written)
        if self._fits(arrays):
            return arrays
        if self.by_headers:
            self._table[:, BOUND // 8] = -1
        for pairs, (cell, _, _) in zip(self.cell_words, self.cells, strict=True):
            put(pairs, address_of(cell._value))
        for pairs, (k, _) in zip(self.argument_words, self.arguments, strict=True):
            put(pairs, address_of(arrays[k]))
        return arrays

    def renew(self) -> list[Tensor]:
        """New tensors for the gradients, which tapes write now; whoever runs them gives them to the leaves after it."""
        tensors = [gradient.fresh() for gradient in self.gradients]
        first = len(self.cells) + len(self.arguments)
        if self.by_headers:
            self._table[first:, BOUND // 8] = -1
        for pairs, tensor in zip(self.gradient_words, tensors, strict=True):
            put(pairs, address_of(tensor._value))
        return tensors


def looking_record() -> Record:
    """What looks, as the first record of a tape; it has its words by `Binding.attach`."""
    return Record(kernel(bind_arrays, "float64"), (0,) * WORDS_OF_ALL)


def put(pairs: Sequence[tuple[int, int]], address: int) -> None:
    """Have words say where an array is."""
    for place, offset in pairs:
        ctypes.c_int64.from_address(place).value = address + offset


def adopt(cell: Cell, aval: Aval, written: bool) -> None:
    """See that a cell's array is in C order, and where it is written, the cell's alone."""
    array = cell._value
    if array.shape != aval.shape or array.dtype != aval.dtype:
        raise ValueError(
            f"the cell {cell.path or cell.name} was {aval} when the function was compiled, and is {array.dtype} of "
            f"shape {array.shape} now: give it an array as it had, or give the function to tensorgraph.compile again"
        )
    fits = type(array) is ndarray and array.flags.c_contiguous and array.flags.aligned and array.dtype is aval.dtype
    del array
    if written and fits:
        fits = getrefcount(cell._value) == UNSHARED and cell._value.base is None and cell._value.flags.writeable
    if not fits:
        new = np.empty(aval.shape, aval.dtype)
        new[...] = cell._value
        cell._value = new
