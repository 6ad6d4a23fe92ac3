"""Writing a random program: values with names, statements that were tried, choices made beforehand.

Every statement is run on the example numbers as soon as it is written, so shapes, dtypes and domains are known of each
value. Choices are small numbers drawn in advance; a smaller one stands for a simpler choice, and 0 is taken where they
run out, so a program stays meaningful whatever part of its choices is left out.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from tensorgraph.engine import modes
from tensorgraph.engine.aval import Aval
from tensorgraph.engine.backward import reachable
from tensorgraph.engine.cells import Cell
from tensorgraph.engine.tape import Leaf
from tensorgraph.engine.tensor import Tensor, tensor
from tensorgraph.testing.cases import Array
from tensorgraph.testing.programs.choices import NAMES, Choices, Instruction, NamedSize, Options, quiet, show_array

__all__ = ["Value", "Writer"]

MOST_ELEMENTS = 256
LARGEST = 1e4  # of numbers that stay finite through what follows
USUAL = 3.0  # of what goes into an op that names no domain
FROM_A_KINK = 1e-3


@dataclass(frozen=True)
class Value:
    """Something that an expression may name: a tensor, a cell, or a captured array."""

    name: str
    live: Any  # what it is at the example numbers

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.live.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.live.dtype  # type: ignore[no-any-return]

    @property
    def aval(self) -> Aval:
        return Aval(self.shape, self.dtype)

    @property
    def kind(self) -> str:
        return self.dtype.kind

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return int(np.prod(self.shape))

    @property
    def numbers(self) -> Array:
        return self.live if isinstance(self.live, np.ndarray) else self.live.numpy()

    @property
    def array(self) -> bool:
        """Whether it is a plain array, which has no methods of ours."""
        return isinstance(self.live, np.ndarray)


@dataclass
class Writer:
    """A function body in the making."""

    options: Options
    stream: Iterator[Instruction]
    env: dict[str, Any]
    counters: dict[str, Iterator[int]] = field(default_factory=dict)
    preamble: list[str] = field(default_factory=list)  # before the function: captured arrays, cells
    opening: list[str] = field(default_factory=list)  # the function's first lines
    cells: dict[str, Cell] = field(default_factory=dict)
    leaves: set[Any] = field(default_factory=set)  # nodes of what surely requires a gradient: parameters, own names
    own: set[Any] = field(default_factory=set)  # those of the function's arguments
    lines: list[str] = field(default_factory=list)
    values: list[Value] = field(default_factory=list)
    indent: int = 1
    depth: int = 0  # functions inside functions
    effects: bool = True  # may write cells
    others: dict[str, Any] | None = None  # as `env`, at other sizes, of programs of any size
    written: int = 0  # when a parameter was written last, as nodes are numbered

    # names and numbers --------------------------------------------------------------------------------------------

    def fresh(self, letter: str) -> str:
        """A new name."""
        return f"{letter}{next(self.counters.setdefault(letter, itertools.count()))}"

    def new(self, shape: tuple[int, ...], dtype: Any, choices: Choices) -> Array:
        """Numbers to begin with: distinct and mild, or with `wild` also NaN, infinite, huge and tiny."""
        rng = np.random.default_rng(choices.below(256))
        kind = np.dtype(dtype)
        size = int(np.prod(shape))
        if kind.kind == "b":
            values: Array = rng.integers(0, 2, size).astype(bool)
        elif kind.kind in "iu":
            values = rng.integers(0 if kind.kind == "u" else -3, 5, size).astype(kind)
            if self.options.wild and size and choices.rarely():
                values[rng.integers(size)] = np.iinfo(kind).max
        else:
            values = 4.0 * (rng.permutation(size) + rng.uniform(0.3, 0.7, size)) / max(size, 1) - 2.0
            values = np.where(np.abs(values) < 0.02, 0.11, values).round(3).astype(kind)
            if self.options.wild:
                info = np.finfo(kind)
                odd = [np.nan, np.inf, -np.inf, 0.0, -0.0, info.max, -info.max, info.tiny, info.smallest_subnormal, 1.0]
                for place in rng.permutation(size)[: choices.below(4)]:
                    values[place] = odd[rng.integers(len(odd))]
        return values.reshape(shape)

    def constant(self, array: Array, choices: Choices) -> Value:
        """An array, or a tensor, that the function captures from outside."""
        name = self.fresh("c")
        shown = show_array(array)
        if choices.often():
            shown = f"tg.tensor({shown})"
        self.preamble.append(f"{name} = {shown}")
        self.env[name] = eval(shown, self.env)
        if self.others is not None:
            self.others[name] = self.env[name]
        return Value(name, self.env[name])

    # looking for values -------------------------------------------------------------------------------------------

    def pick(self, choices: Choices, accept: Callable[[Value], Any] = lambda v: True) -> Value | None:
        """A value that will do, more often a recent one."""
        found = [v for v in reversed(self.values) if accept(v)]
        if not found:
            return None
        return choices.one(found[:3] if choices.often() else found)  # type: ignore[no-any-return]

    def sure(self, value: Value) -> bool:
        """Whether it requires a gradient wherever the function runs: it depends on a parameter or on an own name."""
        return self.reaches(value, self.leaves)

    def stale(self, value: Value) -> bool:
        """Whether it was computed from parameters before they were written.

        A trace names a parameter anew after a write and adds the gradients of its names, so the sum is made in another
        order than the eager one where both are used.
        """
        node = getattr(value.live, "_node", None)
        return (
            bool(self.written)
            and node is not None
            and any(type(n) is not Leaf and n.number < self.written for n in reachable([node]))
        )

    def reaches(self, value: Value, leaves: set[Any]) -> bool:
        """Whether a value depends on one of these leaves."""
        node = getattr(value.live, "_node", None)
        return node is not None and not leaves.isdisjoint(reachable([node]))

    # expressions --------------------------------------------------------------------------------------------------

    def conform(self, value: Value, shape: tuple[int, ...], dtype: Any = None) -> str:
        """An expression of this shape (and dtype) made of a value."""
        name, have = value.name, value.shape
        if have != shape:
            size = int(np.prod(shape))
            if value.size == size:
                name = f"tg.reshape({name}, shape={self.named(shape)})"
            else:
                try:
                    fits = np.broadcast_shapes(have, shape) == shape
                except ValueError:
                    fits = False
                kind = "any" if value.kind == "b" else "sum"
                name = f"tg.broadcast_to({name if fits else f'tg.{kind}({name})'}, shape={self.named(shape)})"
        have_dtype = value.dtype
        if "tg.sum" in name:
            have_dtype = np.add.reduce(np.zeros(0, value.dtype)).dtype
        if dtype is not None and have_dtype != np.dtype(dtype):
            name = f"tg.astype({name}, dtype={np.dtype(dtype).name!r})"
        return name

    def inside(self, expression: str, domain: tuple[float, float] | None, kinks: Sequence[float] = ()) -> str | None:
        """The expression, or one of it whose numbers lie where an op is defined and tame; None where there is none."""
        numbers = self.evaluate(expression)
        refused = domain is not None and type(domain[0]) is int  # bounds of integers, beyond which the op raises
        if numbers.size == 0 or (self.options.wild and not refused):
            return expression
        low, high = domain or (-USUAL, USUAL)
        if numbers.dtype.kind == "f":
            if numbers.min() < low or numbers.max() > high:
                middle, half = (low + high) / 2, round(0.45 * (high - low), 3)
                expression = f"({middle} + {half} * tg.tanh({expression}))" if middle else f"tg.tanh({expression})"
                numbers = self.evaluate(expression)
            if self.options.smooth and any(np.abs(numbers - kink).min() < FROM_A_KINK for kink in kinks):
                return None
        elif domain is not None and not (numbers.min() >= low and numbers.max() <= high):
            return f"({expression} % 2 + 1)" if numbers.dtype.kind in "iu" else None
        return expression

    def evaluate(self, expression: str) -> Array:
        """An expression's numbers."""
        with quiet():
            result = eval(expression, self.env)
        return result.numpy() if isinstance(result, Tensor) else np.asarray(result)

    def named(self, shape: Any) -> Any:
        """A shape as it is shown: where the program is of any size, by the variables that hold sizes."""
        if not self.options.sized or not isinstance(shape, tuple):
            return shape
        known = {n: NamedSize(n) for n in NAMES if repr(NamedSize(n)) in self.env}
        return tuple(known.get(n, n) if type(n) is int else n for n in shape)

    def elsewhere(self, expression: str, parts: Sequence[Any]) -> list[Any] | None:
        """What an expression gives at other sizes; None where it does not fit them."""
        try:
            with quiet():
                result = eval(expression, self.others)
        except Exception:  # whatever it is, it is refused there
            return None
        found = [*result] if isinstance(result, (tuple, list)) else [result]
        if [(p.ndim, p.dtype) for p in found] != [(p.ndim, p.dtype) for p in parts]:
            return None
        return found

    # statements ---------------------------------------------------------------------------------------------------

    def write(self, *lines: str) -> None:
        self.lines += ["    " * self.indent + line for line in lines]

    def run(self, code: str) -> None:
        """Run a line now; written code is shown where it fails."""
        try:
            with quiet():
                exec(code, self.env)
        except Exception as error:
            error.add_note(f"in the random program's line: {code}\nafter\n" + "\n".join(self.lines))
            raise

    def let(self, expression: str, *, refusals: tuple[type[Exception], ...] = (), letter: str = "v") -> list[Value]:
        """Assign an expression to a new name; a tuple's parts to a name each. Nothing where it will not do.

        `refusals` are errors that numbers may cause, which no type shows beforehand.
        """
        try:
            with quiet():
                result = eval(expression, self.env)
        except refusals:
            return []
        except Exception as error:
            error.add_note(f"in the random program's expression: {expression}\nafter\n" + "\n".join(self.lines))
            raise
        several = isinstance(result, (tuple, list))
        parts = list(result) if several else [result]
        if not parts or not all(isinstance(p, Tensor) and self.tame(p) for p in parts):
            return []
        there = None if self.others is None else self.elsewhere(expression, parts)
        if self.others is not None and there is None:
            return []
        names = [self.fresh(letter) for _ in parts]
        self.env.update(zip(names, parts, strict=True))
        if self.others is not None and there is not None:
            self.others.update(zip(names, there, strict=True))
        self.write(f"{', '.join(names)}{',' if several and len(names) == 1 else ''} = {expression}")
        made = [Value(n, p) for n, p in zip(names, parts, strict=True)]
        self.values += made
        return made

    def tame(self, result: Any) -> bool:
        """Whether a result is small, finite where numbers are to stay so, and float64 where differences are taken."""
        if result.size > MOST_ELEMENTS:
            return False
        if self.options.smooth and result._node is not None and result.dtype != np.float64:
            return False  # differences cannot tell what rounding to fewer digits leaves
        if self.options.wild or result.size == 0 or result.dtype.kind == "b":
            return True
        numbers = result.numpy()
        return bool(np.isfinite(numbers).all() and np.abs(numbers.astype(np.float64)).max() <= LARGEST)

    # blocks and functions -----------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def block(self, header: str) -> Iterator[None]:
        """Statements inside a ``with``; the header goes too if nothing was written below it."""
        before = len(self.lines)
        self.write(f"with {header}:")
        self.indent += 1
        try:
            with eval(header, self.env):
                yield
        finally:
            self.indent -= 1
            if len(self.lines) == before + 1:
                self.lines.pop()

    def steps(self, n: int) -> None:
        """The next n instructions."""
        from tensorgraph.testing.programs.steps import step

        for instruction in itertools.islice(self.stream, n):
            step(self, *instruction)

    def function(
        self, arguments: Sequence[Value], n: int, finish: Callable[[Writer], str], *, lifted: bool = True,
        sees: Callable[[Value], bool] = lambda v: True,
    ) -> tuple[str, list[str]]:  # fmt: skip
        """Write a function of arguments like these with the next n instructions; `finish` gives what it returns.

        `lifted`: whoever calls it gives the arguments names of their own that require gradients, as `tg.grad` does.
        `sees`: which values it uses from outside.

        Returns
        -------
        name : str
        lines : list of str
            Not yet written.
        """
        name = self.fresh("f")
        inner = replace(
            self, lines=[], values=[v for v in self.values if sees(v)], indent=self.indent + 1, depth=self.depth + 1,
            leaves=set(self.leaves), own=set(), effects=False,
        )  # fmt: skip
        own = []
        for value in arguments:
            t = tensor(value.numbers, requires_grad=value.kind == "f")
            own.append(Value(self.fresh("t"), t))
            inner.env[own[-1].name] = t
            if self.others is not None:
                there = self.others[value.name]
                self.others[own[-1].name] = tensor(Value(value.name, there).numbers, requires_grad=value.kind == "f")
            if t._node is not None:
                inner.own.add(t._node)
                if lifted or self.sure(value):
                    inner.leaves.add(t._node)
        inner.values += own
        with modes.use(grad=lifted or modes.current().grad):
            inner.steps(n)
            result = finish(inner)
        pad = "    " * self.indent
        lines = [f"{pad}def {name}({', '.join(v.name for v in own)}):", *inner.lines, f"{pad}    return {result}"]
        self.define([line[len(pad) :] for line in lines])
        return name, lines

    def define(self, lines: Sequence[str]) -> None:
        """Run definitions."""
        for env in (self.env, self.others):
            if env is not None:
                exec("\n".join(lines), env)

    def result(self, choices: Choices) -> str:
        """What a function is to return that is differentiated: a float value that depends on its arguments."""
        found = [v for v in self.values if v.kind == "f" and not v.array and self.reaches(v, self.own)]
        last = found[-1].name
        if len(found) > len(self.own):  # something was computed
            return last
        return str(choices.one([f"tg.tanh({last}) * {last}", f"{last} * {last}", f"tg.sin({last})"]))

    def scalar(self, choices: Choices) -> str:
        """The like, as one number."""
        how = choices.one(["tg.sum({})", "tg.mean({})", "tg.sum(tg.square({}))", "tg.sum(tg.tanh({}))"])
        result = self.result(choices)
        return str(how if self.evaluate(result).size else "tg.sum({})").format(result)
