"""What a region computes: its equations run in float64 on random inputs, at small sizes.

A traced graph has its sizes baked in, as shapes and as numbers (``sum(x) / 64``). Where x is large, every size is
exchanged for a small one wherever it stands: in shapes, in slices, and in numbers that are a product of sizes or the
inverse of one. What agrees at two different exchanges agrees at the true sizes; at one, a number of the formula might
happen to be a small size.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from tensorgraph.engine import modes
from tensorgraph.engine.backward import pull_back
from tensorgraph.engine.tape import Leaf
from tensorgraph.engine.tensor import Tensor, wrap
from tensorgraph.graph.graph import Equation, Var
from tensorgraph.graph.program import Program
from tensorgraph.passes.recognise.regions import Region
from tensorgraph.passes.recognise.retyping import retyping
from tensorgraph.passes.recognise.roles import elements, is_shift
from tensorgraph.passes.recognise.view import View, is_arange

__all__ = ["Numbers", "Sizes", "quietly"]

ENOUGH = 4096  # elements up to which true sizes are used
SMALL = 8  # sizes up to this one are kept
LISTED = 64  # labels up to which each one is tried
# what stands for sizes, in two ways that differ everywhere
INSTEAD = (5, 7, 3, 11, 13, 4, 6, *range(9, 40, 2)), (6, 9, 4, 10, 14, 5, 8, *range(12, 43, 2))
ROUNDED = 2e-7, 1e-14  # how near a number is that was rounded to float32, or only to float64
BEARABLE = 1 << 18  # elements up to which true sizes are used where small ones could be mistaken for each other

Array = np.ndarray[Any, Any]


class Sizes:
    """Small sizes for large ones. ``sizes(64)`` is what stands for 64.

    Of x's own sizes the largest are exchanged first, and no more than is needed. `second` is for another exchange.
    """

    def __init__(self, view: View, x: Var, numbers: Iterable[int], second: bool = False) -> None:
        self.table: dict[int, int] = {}
        self.made_of = view, x, tuple(numbers)
        values = {x}
        for n in self.made_of[2]:
            values.update(view.equations[n].outputs, view.read[n])
        largest = max(elements(v.aval) for v in values)
        labels = any(v.aval.dtype.kind in "iu" for v in values)
        if largest <= ENOUGH and not (labels and max(x.aval.shape, default=0) > LISTED):
            return
        every = {d for v in values for d in v.aval.shape}
        free = iter([n for n in INSTEAD[second] if n not in every or n > SMALL])
        own = sorted({d for d in x.aval.shape if d > SMALL})
        for d in reversed(own):
            if d <= LISTED and math.prod(map(self, x.aval.shape)) * SMALL <= ENOUGH:
                break
            self.table[d] = next(free, d)
        small = {d: self.table.get(d, d) for d in x.aval.shape}
        for k in range(2, len(x.aval.shape) + 1):
            for group in itertools.combinations(x.aval.shape, k):
                product = math.prod(group)
                if product in own and largest <= BEARABLE:
                    self.table = {}
                    return
                if product > SMALL and product not in own:
                    self.table.setdefault(product, math.prod(small[d] for d in group))
        for d in sorted(every - set(own)):
            if d > SMALL:
                self.table.setdefault(d, next(free, d))

    def others(self) -> Sizes:
        """Another exchange of the same sizes."""
        return Sizes(*self.made_of, second=True)

    def __call__(self, value: Any) -> Any:
        """A size, a shape, or a key of slices."""
        if isinstance(value, tuple):
            return tuple(self(v) for v in value)
        return self.table.get(value, value) if type(value) is int else value

    def number(self, value: Any) -> Any:
        """A number of a formula: a product of sizes, or the inverse of one, follows the sizes."""
        if not self.table or type(value) not in (int, float) or not value or not math.isfinite(value):
            return value
        for v, back in ((value, False), (1 / value, True)):
            near = round(abs(v)) if math.isfinite(v) else 0
            if near in self.table and abs(abs(v) - near) <= near * ROUNDED[float(np.float32(value)) != value]:
                small = math.copysign(self.table[near], value)
                return 1 / small if back else type(value)(small)
        return value


def quietly() -> Any:
    """The modes in which regions run: eager, composed, without warnings."""
    return modes.use(trace=None, cells=None, grad=False, quiet=True, debug_nans=False, implementation="composed")


class Numbers:
    """Values of a region's variables on one draw, computed when asked for, in float64."""

    def __init__(
        self, view: View, sizes: Sizes, seed: int, classes: int, positive: bool = False, exact: bool = False
    ) -> None:
        self.positive = positive  # floats, so that no root or logarithm is undefined
        self.exact = exact  # shifts are computed, not drawn
        self.view = view
        self.sizes = sizes
        self.rng = np.random.default_rng(seed)
        self.classes = classes
        self.retyping = retyping(view, sizes)
        self.values: dict[Var, Any] = Lazy(self.draw)

    def draw(self, var: Var) -> Any:
        """A random side input: floats of either sign away from 0, labels, or a captured constant as it is."""
        shape = self.sizes(var.aval.shape)
        array = self.view.graph.consts.get(var)
        if array is not None and array.size == 1:
            number = self.sizes.number(array.reshape(()).item())
            return np.full(array.shape, number, np.float64 if array.dtype.kind == "f" else array.dtype)
        if array is not None and is_arange(array):
            return np.arange(shape[0], dtype=array.dtype)
        if var.aval.dtype.kind == "f":
            sign = 1.0 if self.positive else self.rng.choice([-1.0, 1.0], shape)
            return np.asarray(self.rng.uniform(0.5, 1.5, shape) * sign)
        if var.aval.dtype.kind == "b":
            return self.rng.uniform(size=shape) < 0.5
        return self.rng.integers(0, self.classes, shape).astype(var.aval.dtype)

    def run(self, numbers: Iterable[int]) -> None:
        """Compute these equations, in order, where that was not done already."""
        self._run(numbers, self.values, Program.run)

    def _run(self, numbers: Iterable[int], values: dict[Var, Any], how: Callable[[Program, list[Any]], Any]) -> None:
        """Put the results of these equations into `values`, from which what else they read is taken."""
        equations = self.view.equations
        missing = [n for n in numbers if equations[n].outputs[0] not in values]
        made = {out for n in missing for out in equations[n].outputs}
        computed = []
        for n in missing:
            if not self.exact and is_shift(equations[n]):
                values.update(zip(equations[n].outputs, self._shift(equations[n]), strict=True))
                continue
            computed.append(n)
            for var in self.view.read[n]:
                if var not in made:
                    values[var]  # what is drawn is drawn in the order of its first use
        if computed:
            runnable = self.retyping.program(computed)
            results = how(runnable.program, [values[v] for v in runnable.inputs])
            values.update(zip(runnable.outputs, results, strict=True))

    def _shift(self, eq: Equation) -> Iterable[Any]:
        """Random numbers in the place of a shift, which may be anything: nothing may depend on it."""
        for out in eq.outputs:
            value = self.rng.normal(size=self.sizes(out.aval.shape))
            yield np.asarray(value if out.aval.dtype.kind == "f" else value > 0, None)

    def gradients(self, region: Region, leaves: list[Var], ys: list[Var], cotangents: list[Array]) -> list[Array]:
        """Gradients of a region's values with respect to some of its inputs, taken by the engine."""
        tensors = Lazy(lambda var: wrap(np.asarray(self.values[var])))
        tensors.update((var, leaf(self.values[var])) for var in leaves)
        for n in self.view.numbers(is_shift).intersection(region.equations):
            tensors.update((out, wrap(self.values[out])) for out in self.view.equations[n].outputs)
        with modes.use(grad=True):
            self._run(region.equations, tensors, _recorded)
            return pulled([tensors[v] for v in ys], [tensors[v] for v in leaves], cotangents)


class Lazy(dict[Var, Any]):
    """Values that are made when they are first asked for."""

    def __init__(self, make: Callable[[Var], Any]) -> None:
        super().__init__()
        self.make = make

    def __missing__(self, var: Var) -> Any:
        value = self[var] = self.make(var)
        return value


def _recorded(program: Program, tensors: list[Tensor]) -> list[Any]:
    """What a program gives, with history."""
    env = program.taped(tensors, history=True)
    return [env[slot] for slot in program.results]


def leaf(array: Array) -> Tensor:
    """A tensor with respect to which a gradient may be taken."""
    t = wrap(array)
    t._node = Leaf(t.shape, t.dtype, user=False)
    return t


def pulled(ys: list[Tensor], xs: list[Tensor], cotangents: list[Array]) -> list[Array]:
    """Gradients as arrays; zeros where nothing arrives."""
    return [t._value for t in pull_back(ys, xs, [wrap(c) for c in cotangents], False, True)]
