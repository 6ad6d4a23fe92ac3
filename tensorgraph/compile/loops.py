"""The text of a region's kernel: loops over its elements, and the places in memory that they walk through.

A text says what is computed and how many loops there are; sizes, strides and addresses are words, so that it serves
every shape that is walked in the same way.
"""

# The plan: (1) axes of size 1 are left out, neighbours that every array walks through evenly become one, axes that are
# folded come last, and one axis is walked in vectors: the innermost of the shape; (2) along it an array stays at one
# number, goes on to the next, or takes strides; (3) where the vectors' axis is folded, each result has lanes that are
# folded at the end; else lanes are results; (4) a fold of much is done in shares of its outermost axis, of a number
# that follows from the shape, each of which leaves a state; a second kernel folds these; (5) blocks are parts of the
# outermost axis that is not folded.

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tensorgraph.native.kernel import Kernel, from_text, kernel
from tensorgraph.native.places import Address
from tensorgraph.ops.native.reductions import Fold

__all__ = ["Axis", "Nest", "Pointer", "axes_of"]

SIZES = {"f4": 4, "f8": 8, "i8": 8, "b1": 1}
_WIDE = {"f8": ("ldw", "stw", "load_double", "store_double"), "i8": ("ldq", "stq", "load_int", "store_int")}
VECTORS, FEW_LINES = 4, 8
"""Vectors of results that are folded side by side, where an element is computed in few lines."""


_kernels: dict[tuple[Any, ...], tuple[Kernel, Any, Any]] = {}  # by the form of a nest, beside whose text none counts


@dataclass(frozen=True)
class Pointer:
    """An array that a kernel walks through: its name in the text, ``x...`` where it is read, and where it is.

    Attributes
    ----------
    name, kind : str
        `kind` is the type of its elements, as NumPy writes it.
    address : Address
    strides : tuple of int
        Along the axes of the shape that is looped over: 0 along those that it repeats or that are folded into it.
    """

    name: str
    kind: str
    address: Address
    strides: tuple[int, ...]


@dataclass
class Axis:
    """A loop: how often it runs, the bytes from step to step of each array, whether it is folded."""

    size: int
    strides: list[int]
    folded: bool = False


def axes_of(shape: Sequence[int], pointers: Sequence[Pointer], folded: frozenset[int]) -> list[Axis]:
    """The loops over a shape, those that are folded last; the vectors' axis is the last one or the last not folded."""
    axes = [Axis(n, [p.strides[k] for p in pointers], k in folded) for k, n in enumerate(shape) if n != 1]
    order = [a for a in axes if not a.folded] + [a for a in axes if a.folded]
    made: list[Axis] = []
    for axis in order:
        before = made[-1] if made else None
        if (
            before is not None
            and before.folded == axis.folded
            and all(a == b * axis.size for a, b in zip(before.strides, axis.strides, strict=True))
        ):
            before.size, before.strides = before.size * axis.size, axis.strides
        else:
            made.append(axis)
    return made


@dataclass
class Nest:
    """The loops of one kernel, and its words.

    Attributes
    ----------
    pointers : list of Pointer
        Read, then written.
    axes : list of Axis
        From the outermost inwards.
    vectors : int
        The place of the vectors' axis among them; -1: there is none.
    lines : list of str
        What is computed of one element, names in braces.
    stored : list of str
        The names that are written element by element.
    folds : mapping of str to (str, Fold)
        For the name of each result that is folded: the name of what is folded, and how.
    scope : mapping of str to object
        What the lines call.
    count : int
        How many numbers are folded to one.
    shared : int
        The axis of which blocks are parts, which is not folded; -1: the first block does all.
    share : int
        The first axis counts shares of so much of the first folded axis, of which states are written; 0: it does not.
    """

    pointers: list[Pointer]
    axes: list[Axis]
    vectors: int
    lines: Sequence[str]
    stored: Sequence[str]
    folds: Mapping[str, tuple[str, Fold]] = field(default_factory=dict)
    scope: Mapping[str, Any] = field(default_factory=dict)
    count: int = 1
    shared: int = 0
    share: int = 0

    def __post_init__(self) -> None:
        self.out: list[str] = []
        self.read = [p for p in self.pointers if p.name[0] == "x"]
        self.written = {p.name: p for p in self.pointers if p.name[0] != "x"}
        kinds = {p.kind for p in self.pointers}
        self.dtype = "float32" if "f4" in kinds else "float64"
        self.width = 4 if self.dtype == "float32" else 8
        self.steps = {p.name: self._step(k) for k, p in enumerate(self.pointers)}

    def _step(self, k: int) -> str:
        """How an array is walked along the vectors' axis: it stays (one), goes to the next, or takes strides."""
        if self.vectors < 0 or not (stride := self.axes[self.vectors].strides[k]):
            return "one"
        return "next" if stride == SIZES[self.pointers[k].kind] else "apart"

    def has_words_for(self, p: Pointer) -> bool:
        """Whether the language has words for how an array is walked: only the kernel's own numbers may lie apart."""
        return self.steps[p.name] != "apart" or (SIZES[p.kind] == self.width and p.kind[0] == "f")

    # the kernel ----------------------------------------------------------------------------------------------------

    @property
    def kernel(self) -> Kernel:
        """The kernel of the text: the same one for every nest of this form."""
        form = (
            *((p.name, p.kind, self.steps[p.name]) for p in self.pointers), None, *(axis.folded for axis in self.axes),
            self.vectors, self.shared, self.share != 0, *self.lines, None, *self.stored, None,
            *((name, source, id(fold)) for name, (source, fold) in self.folds.items()), None,
            *((name, id(value)) for name, value in self.scope.items()),
        )  # fmt: skip
        known = _kernels.get(form)
        if known is None:
            scope = dict(self.scope)
            for name, (_, fold) in self.folds.items():
                for part in ("start", "take", "join", "close", "finish"):
                    scope[f"{part}_{name}"] = getattr(fold, part)
            made = kernel(from_text(self.text, scope, "region"), self.dtype)
            known = _kernels[form] = made, scope, self.folds  # what has an id in the form is kept
        return known[0]

    @property
    def words(self) -> list[int | Address]:
        """What the kernel is told, in the order in which the text reads it."""
        words: list[int | Address] = [axis.size for axis in self.axes]
        words += [self.count, self.share]
        for k, p in enumerate(self.pointers):
            words.append(p.address)
            words += [axis.strides[k] for axis in self.axes]
        return words

    # its text ------------------------------------------------------------------------------------------------------

    def put(self, depth: int, line: str) -> None:
        self.out.append("    " * depth + line)

    @property
    def text(self) -> str:
        """The kernel's Python."""
        self.out = []
        self.put(0, "def region(w, block, blocks):")
        n = len(self.axes)
        for d in range(n):
            self.put(1, f"n{d} = word_at(w, {d})")
        self.put(1, f"count, share = word_at(w, {n}), word_at(w, {n + 1})")
        for k, p in enumerate(self.pointers):
            at = n + 2 + k * (n + 1)
            self.put(1, f"p_{p.name} = word_at(w, {at})")
            for d in range(n):
                self.put(1, f"s_{p.name}_{d} = word_at(w, {at + 1 + d})")
        depth, where = 1, {p.name: f"p_{p.name}" for p in self.pointers}
        if self.shared < 0:
            self.put(1, "if block == 0:")
            depth = 2
        if self.folds:
            self._folded(depth, where)
        elif self.vectors < 0:
            self._numbers(depth, where)
        else:
            for d in range(n - 1):
                depth, where = self._loop(depth, d, where, self.pointers)
            self._elements(depth, where)
        return "\n".join(self.out) + "\n"

    def _loop(
        self, depth: int, d: int, where: dict[str, str], pointers: Sequence[Pointer]
    ) -> tuple[int, dict[str, str]]:
        """A loop over an axis, or a block's part of it; the depth inside, and where each array is there."""
        if d == self.shared:
            self.put(depth, f"part = (n{d} + blocks - 1) // blocks")
            self.put(depth, f"for i{d} in range(part * block, min(part * (block + 1), n{d})):")
        else:
            self.put(depth, f"for i{d} in range({self._size(d)}):")
        inside = dict(where)
        for p in pointers:
            inside[p.name] = f"p_{p.name}_{d}"
            self.put(depth + 1, f"p_{p.name}_{d} = {where[p.name]} + i{d} * s_{p.name}_{d}")
        if self.share and d == 0:
            first = self._first_folded
            self.put(depth + 1, f"size = max(0, min(share, n{first} - i0 * share))")
        return depth + 1, inside

    @property
    def _first_folded(self) -> int:
        return next(k for k, axis in enumerate(self.axes) if axis.folded)

    def _size(self, d: int) -> str:
        return "size" if self.share and d == self._first_folded else f"n{d}"

    # reading and writing ---------------------------------------------------------------------------------------------

    def _load(self, depth: int, p: Pointer, where: str, mark: str, at: str, n: str) -> None:
        """Lanes of an array from the place `at` on along the vectors' axis."""
        step = self.steps[p.name]
        name, address = f"{p.name}{mark}", f"{where} + {at} * {SIZES[p.kind]}"
        if step == "apart":
            text = f"ldg({where} + {at} * s_{p.name}_{self.vectors}, s_{p.name}_{self.vectors}, {n}, 0.0)"
        elif p.kind == "b1":
            text = f"ldb({address}, {n})"
        elif SIZES[p.kind] == self.width and p.kind[0] == "f":
            text = f"ld({address})" if n == "LANES" else f"ldm({address}, {n}, 0.0)"
        else:
            text = f"{_WIDE[p.kind][0]}({address}, {n}, {0 if p.kind == 'i8' else 0.0})"
        self.put(depth, f"{name} = {text}")

    def _load_number(self, depth: int, p: Pointer, where: str) -> None:
        """The number that an array stays at."""
        if p.kind == "b1":
            text = f"load_byte({where}) != 0"
        elif SIZES[p.kind] == self.width and p.kind[0] == "f":
            text = f"load({where})"
        else:
            text = f"{_WIDE[p.kind][2]}({where})"
        self.put(depth, f"{p.name} = {text}")

    def _store(self, depth: int, p: Pointer, where: str, value: str, at: str, n: str) -> None:
        """Write lanes."""
        address = f"{where} + {at} * {SIZES[p.kind]}"
        if self.steps[p.name] == "apart":
            stride = f"s_{p.name}_{self.vectors}"
            text = f"stg({where} + {at} * {stride}, {stride}, {value}, {n})"
        elif p.kind == "b1":
            text = f"stb({address}, {value}, {n})"
        elif SIZES[p.kind] == self.width and p.kind[0] == "f":
            text = f"st({address}, {value})" if n == "LANES" else f"stm({address}, {value}, {n})"
        else:
            text = f"{_WIDE[p.kind][1]}({address}, {value}, {n})"
        self.put(depth, text)

    def _store_number(self, depth: int, p: Pointer, where: str, value: str) -> None:
        if p.kind == "b1":
            text = f"store_byte({where}, {value})"
        elif SIZES[p.kind] == self.width and p.kind[0] == "f":
            text = f"store({where}, {value})"
        else:
            text = f"{_WIDE[p.kind][3]}({where}, {value})"
        self.put(depth, text)

    # what is computed ------------------------------------------------------------------------------------------------

    def _names(self, mark: str) -> dict[str, str]:
        made = {p.name: p.name if self.steps[p.name] == "one" else f"{p.name}{mark}" for p in self.read}
        return _Marked(made, mark)

    def _compute(self, depth: int, where: dict[str, str], mark: str, at: str, n: str) -> dict[str, str]:
        """Lanes of all names from the place `at` on, written where they are results; the names in the text."""
        names = self._names(mark)
        for p in self.read:
            if self.steps[p.name] != "one":
                self._load(depth, p, where[p.name], mark, at, n)
        for line in self.lines:
            self.put(depth, line.format_map(names))
        for name in self.stored:
            self._store(depth, self.written[name], where[name], names[name], at, n)
        return names

    def _load_numbers(self, depth: int, where: dict[str, str]) -> None:
        for p in self.read:
            if self.steps[p.name] == "one":
                self._load_number(depth, p, where[p.name])

    def _numbers(self, depth: int, where: dict[str, str]) -> None:
        """One element: no loops, no lanes."""
        self._load_numbers(depth, where)
        names = self._names("")
        for line in self.lines:
            self.put(depth, line.format_map(names))
        for name in self.stored:
            self._store_number(depth, self.written[name], where[name], names[name])

    def _elements(self, depth: int, where: dict[str, str]) -> None:
        """The vectors' axis, element by element."""
        self._load_numbers(depth, where)
        low, high = self._part(depth)
        self.put(depth, f"for j in range({low}, {high} - LANES + 1, LANES):")
        self._compute(depth + 1, where, "", "j", "LANES")
        self.put(depth, f"rest = ({high} - {low}) & (LANES - 1)")
        self.put(depth, "if rest > 0:")
        self._compute(depth + 1, where, "_", f"({high} - rest)", "rest")

    def _part(self, depth: int) -> tuple[str, str]:
        """Where a block begins and ends on the vectors' axis."""
        size = f"n{self.vectors}"
        if self.vectors != self.shared:
            return "0", size
        self.put(depth, f"part = ({size} + blocks * LANES - 1) // (blocks * LANES) * LANES")
        self.put(depth, f"low = min(part * block, {size})")
        self.put(depth, f"high = min(low + part, {size})")
        return "low", "high"

    # folding ---------------------------------------------------------------------------------------------------------

    def _folded(self, depth: int, where: dict[str, str]) -> None:
        kept = [d for d, axis in enumerate(self.axes) if not axis.folded]
        inner = [d for d, axis in enumerate(self.axes) if axis.folded]
        across = self.vectors >= 0 and not self.axes[self.vectors].folded
        for d in kept:
            if d != self.vectors:
                depth, where = self._loop(depth, d, where, self.pointers)
        if across:
            self._columns(depth, where, inner)
        else:
            self._row(depth, where, [d for d in inner if d != self.vectors])

    def _state(self, name: str, mark: str = "") -> str:
        fold = self.folds[name][1]
        return f"a_{name}{mark}, b_{name}{mark}" if fold.pair else f"a_{name}{mark}"

    def _add(self, depth: int, names: Mapping[str, str], n: str, at: str, mark: str = "") -> None:
        """Fold `n` lanes, the first of which stands at the place `at` of the axis."""
        for name, (source, fold) in self.folds.items():
            value = names[source]
            if n != "LANES":
                value = f"select(first({n}), {value}, {fold.neutral})"
            if fold.placed:
                value += f", double({at})"
            self.put(depth, f"{self._state(name, mark)} = take_{name}({self._state(name, mark)}, {value})")

    def _row(self, depth: int, where: dict[str, str], loops: list[int]) -> None:
        """One result, whose lanes are folded at the end: of several states, as each waits for what it was."""
        several = VECTORS if self.vectors >= 0 and len(self.lines) <= FEW_LINES else 1
        marks = ["", *(f"_{k}" for k in range(1, several))]
        for mark in marks:
            for name in self.folds:
                self.put(depth, f"{self._state(name, mark)} = start_{name}()")
        after = depth
        inside = dict(where)
        walked = [*self.read, *[self.written[name] for name in self.stored]]
        for d in loops:
            depth, inside = self._loop(depth, d, inside, walked)
        self._load_numbers(depth, inside)
        if self.vectors < 0:
            names = self._names("")
            for line in self.lines:
                self.put(depth, line.format_map(names))
            for name in self.stored:
                self._store_number(depth, self.written[name], inside[name], names[name])
            self._add(depth, names, "1", "0")
        else:
            size, low = self._size(self.vectors), "0"
            if len(marks) > 1:
                low, step = "many", f"{VECTORS} * LANES"
                self.put(depth, f"many = {size} - ({size} & ({step} - 1))")
                self.put(depth, f"for m in range(0, many, {step}):")
                for k, mark in enumerate(marks):
                    at = f"(m + {k} * LANES)"
                    names = self._compute(depth + 1, inside, mark or "_0", at, "LANES")
                    self._add(depth + 1, names, "LANES", "m", mark)
                for name, (_, fold) in self.folds.items():
                    for k, mark in enumerate(marks[1:] if fold.placed else [], 1):  # places from where lanes begin
                        self.put(depth, f"b_{name}{mark} = b_{name}{mark} + double({k} * LANES)")
            self.put(depth, f"for j in range({low}, {size} - LANES + 1, LANES):")
            self._add(depth + 1, self._compute(depth + 1, inside, "", "j", "LANES"), "LANES", "j")
            self.put(depth, f"rest = {size} & (LANES - 1)")
            self.put(depth, "if rest > 0:")
            at = f"({size} - rest)"
            self._add(depth + 1, self._compute(depth + 1, inside, "_", at, "rest"), "rest", at)
        for name, (_, fold) in self.folds.items():
            for mark in marks[1:]:
                self.put(after, f"{self._state(name)} = join_{name}({self._state(name)}, {self._state(name, mark)})")
            self.put(after, f"{self._state(name, '_')} = close_{name}({self._state(name)})")
            self._results(name, fold, "_", functools.partial(self._store_number, after), where)

    def _results(
        self, name: str, fold: Fold, mark: str, store: Callable[[Pointer, str, str], None],
        where: dict[str, str],
    ) -> None:  # fmt: skip
        """Write a result; of a share its state."""
        p = self.written[name]
        if self.share:
            store(p, where[name], f"a_{name}{mark}")
            if fold.pair:
                lost = f"b_{name}{mark}"
                store(self.written[f"{name}b"], where[f"{name}b"], f"select({lost} == {lost}, {lost}, 0.0)")
            return
        value = f"finish_{name}({self._state(name, mark)}, count)"
        if fold.result != p.kind:
            value = f"float32({value})"
        store(p, where[name], value)

    def _columns(self, depth: int, where: dict[str, str], loops: list[int]) -> None:
        """Lanes of results along the vectors' axis: several vectors at once, then one by one."""
        low, high = self._part(depth)
        if len(self.lines) <= FEW_LINES:
            step = f"{VECTORS} * LANES"
            self.put(depth, f"for j in range({low}, {high} - {step} + 1, {step}):")
            places = {f"_{k}": f"(j + {k} * LANES)" for k in range(VECTORS)}
            self._column(depth + 1, where, loops, places, "LANES")
            low = f"({high} - (({high} - {low}) & ({step} - 1)))"
        self.put(depth, f"for k in range({low}, {high}, LANES):")
        self.put(depth + 1, f"lanes = min(LANES, {high} - k)")
        self._column(depth + 1, where, loops, {"": "k"}, "lanes")

    def _column(self, depth: int, where: dict[str, str], loops: list[int], places: dict[str, str], n: str) -> None:
        """The folds of `n` lanes at each place along the vectors' axis; the places by the marks of their names."""
        for mark in places:
            for name in self.folds:
                self.put(depth, f"{self._state(name, mark)} = start_{name}()")
        after, inside = depth, dict(where)
        walked = [*self.read, *[self.written[name] for name in self.stored]]
        for d in loops:
            depth, inside = self._loop(depth, d, inside, walked)
        self._load_numbers(depth, inside)
        for mark, at in places.items():
            names = self._compute(depth, inside, mark, at, n)
            for name, (source, fold) in self.folds.items():
                state, value = self._state(name, mark), names[source]
                if fold.placed:
                    value += f", double(i{loops[-1]})" if loops else ", double(0)"
                self.put(depth, f"{state} = take_{name}({state}, {value})")
        for mark, at in places.items():
            for name, (_, fold) in self.folds.items():
                store = functools.partial(self._store, after, at=at, n=n)
                self._results(name, fold, mark, store, where)


class _Marked(dict[str, str]):
    """Names as they are in the text: those that are not known get a mark."""

    def __init__(self, names: Mapping[str, str], mark: str) -> None:
        super().__init__(names)
        self.mark = mark

    def __missing__(self, name: str) -> str:
        return name + self.mark
