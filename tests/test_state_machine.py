"""Random sessions against a naive engine: a forward that is replayed from a list, and a reverse pass that recurses.

The naive engine keeps, for each value, what made it; its gradient is the textbook's recursion over all paths, in
float64, with no table, no order and nothing shared.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from effort import examples
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

import tensorgraph as tg
from tensorgraph.engine import modes

Array = np.ndarray[Any, Any]


class Value:
    """A number or array with its makers: pairs of a maker and the function from its cotangent to the maker's."""

    def __init__(self, array: Array, makers: list[tuple[Value, Callable[[Array], Array]]], leaf: bool = False) -> None:
        self.array = np.array(array, np.float64)
        self.makers = makers
        self.leaf = leaf
        self.wants = leaf or any(maker.wants for maker, _ in makers)
        self.paths = 1 if leaf else sum(maker.paths for maker, _ in makers if maker.wants)
        self.grad: Array | None = None

    def __add__(self, other: Value) -> Value:
        return Value(self.array + other.array, [(self, lambda g: g), (other, lambda g: g)])

    def __mul__(self, other: Value) -> Value:
        a, b = self.array.copy(), other.array.copy()
        return Value(a * b, [(self, lambda g: g * b), (other, lambda g: g * a)])

    def __sub__(self, other: Value) -> Value:
        return Value(self.array - other.array, [(self, lambda g: g), (other, lambda g: -g)])


def shrink(g: Array, shape: tuple[int, ...]) -> Array:
    """A cotangent summed over the axes along which its maker was repeated."""
    while g.ndim > len(shape):
        g = g.sum(0)
    for axis, n in enumerate(shape):
        if n == 1 and g.shape[axis] != 1:
            g = g.sum(axis, keepdims=True)
    return np.broadcast_to(g, shape)


def naive_gradient(y: Value, g: Array, x: Value) -> Array:
    """The sum over all paths from y down to x."""
    total = np.zeros(x.array.shape)
    if y is x:
        return total + g
    for maker, back in y.makers:
        if maker.wants:
            total = total + naive_gradient(maker, shrink(back(g), maker.array.shape), x)
    return total


def leaves_of(y: Value) -> list[Value]:
    found: list[Value] = []
    stack = [y]
    while stack:
        value = stack.pop()
        if value.leaf and not any(value is f for f in found):
            found.append(value)
        stack += [maker for maker, _ in value.makers if maker.wants]
    return found


def tanh(a: Value) -> Value:
    out = np.tanh(a.array)
    return Value(out, [(a, lambda g: g * (1 - out * out))])


def sine(a: Value) -> Value:
    x = a.array.copy()
    return Value(np.sin(x), [(a, lambda g: g * np.cos(x))])


def relu(a: Value) -> Value:
    x = a.array.copy()
    return Value(np.maximum(x, 0), [(a, lambda g: g * (x > 0))])


def mean(a: Value) -> Value:
    n = a.array.size
    return Value(a.array.mean(), [(a, lambda g: np.full(a.array.shape, float(g) / n))])


def turn(a: Value) -> Value:
    return Value(a.array.T, [(a, lambda g: g.T)])


def flat(a: Value) -> Value:
    return Value(a.array.reshape(-1), [(a, lambda g: g.reshape(a.array.shape))])


def doubled(a: Value) -> Value:
    """Joined with itself along a new axis: a list input."""
    return Value(np.stack([a.array, a.array]), [(a, lambda g: g[0] + g[1])])


ONE: dict[str, tuple[Callable[[Any], Any], Callable[[Value], Value]]] = {
    "tanh": (tg.tanh, tanh), "sin": (tg.sin, sine), "relu": (tg.relu, relu), "mean": (tg.mean, mean),
    "T": (lambda t: t.T, turn), "flat": (lambda t: t.reshape(-1), flat), "stack": (lambda t: tg.stack([t, t]), doubled),
    "np.sin": (np.sin, sine), "checkpoint": (lambda t: tg.checkpoint(tg.tanh)(t), tanh),
}  # fmt: skip
TWO: dict[str, Callable[[Any, Any], Any]] = {"+": lambda a, b: a + b, "*": lambda a, b: a * b, "-": lambda a, b: a - b}
SHAPES = [(), (2,), (3, 2), (3, 1)]
numbers = st.floats(-2, 2, width=16)


class Pair:
    """A tensor and its naive twin."""

    def __init__(self, tensor: tg.Tensor, value: Value, cell: Pair | None = None) -> None:
        self.tensor, self.value, self.cell = tensor, value, cell
        self.freed = False
        self.frozen = np.array(tensor.numpy())


class Sessions(RuleBasedStateMachine):
    """Tensors and cells are made, combined, differentiated, updated; hooks and exceptions come between."""

    pairs = Bundle("pairs")
    cells = Bundle("cells")

    @initialize()
    def begin(self) -> None:
        self.mode = modes.current()
        self.all: list[Pair] = []
        self.everything: list[Pair] = []
        self.every_leaf: list[tuple[Any, Value]] = []

    def keep(self, pair: Pair) -> Pair:
        self.everything.append(pair)
        return pair

    @rule(target=pairs, shape=st.sampled_from(SHAPES), number=numbers, leaf=st.booleans())
    def make(self, shape: tuple[int, ...], number: float, leaf: bool) -> Pair:
        array = np.array(number + 0.1 * np.arange(np.prod(shape)).reshape(shape))
        tensor, value = tg.tensor(array, requires_grad=leaf), Value(array, [], leaf)
        if leaf:
            self.every_leaf.append((tensor, value))
        array[...] = 99  # construction copied
        return self.keep(Pair(tensor, value))

    @rule(target=cells, shape=st.sampled_from(SHAPES), number=numbers)
    def make_cell(self, shape: tuple[int, ...], number: float) -> Pair:
        array = np.full(shape, number)
        pair = Pair(tg.Parameter(array), Value(array, [], True))
        self.every_leaf.append((pair.tensor, pair.value))
        return pair

    @rule(target=pairs, cell=cells)
    def read(self, cell: Pair) -> Pair:
        """What is read is the leaf's value of now; the gradient goes to the cell."""
        value = Value(cell.value.array, [(cell.value, lambda g: g)])
        return self.keep(Pair(cell.tensor.read() if len(self.everything) % 2 else tg.alias(cell.tensor), value))

    @rule(target=pairs, name=st.sampled_from(list(ONE)), a=pairs)
    def apply_one(self, name: str, a: Pair) -> Pair:
        real, naive = ONE[name]
        value = naive(a.value)
        if value.paths > 500 or value.array.size > 200:
            return a
        return self.keep(Pair(real(a.tensor), value))

    @rule(target=pairs, name=st.sampled_from(list(TWO)), a=pairs, b=pairs)
    def apply_two(self, name: str, a: Pair, b: Pair) -> Pair:
        try:
            np.broadcast_shapes(a.tensor.shape, b.tensor.shape)
        except ValueError:
            with pytest.raises(ValueError, match="do not broadcast"):
                TWO[name](a.tensor, b.tensor)
            return a
        value = TWO[name](a.value, b.value)
        if value.paths > 500 or np.abs(value.array).max(initial=0) > 1e6:  # recursion over all paths has its price
            return a
        return self.keep(Pair(TWO[name](a.tensor, b.tensor), value))

    @rule(target=pairs, name=st.sampled_from(list(TWO)), a=pairs, number=numbers, left=st.booleans())
    def apply_number(self, name: str, a: Pair, number: float, left: bool) -> Pair:
        other = Value(np.float64(number), [])
        if left:
            return self.keep(Pair(TWO[name](number, a.tensor), TWO[name](other, a.value)))
        return self.keep(Pair(TWO[name](a.tensor, number), TWO[name](a.value, other)))

    @rule(target=pairs, name=st.sampled_from(list(TWO)), a=pairs, cell=cells)
    def apply_cell(self, name: str, a: Pair, cell: Pair) -> Pair:
        """An op on the cell itself: what it saves must survive updates."""
        now = Value(cell.value.array, [(cell.value, lambda g: g)])
        try:
            np.broadcast_shapes(a.tensor.shape, cell.tensor.shape)
        except ValueError:
            return a
        return self.keep(Pair(TWO[name](cell.tensor, a.tensor), TWO[name](now, a.value)))

    @rule(target=pairs, a=pairs, how=st.sampled_from(["detach", "no_grad", "stop_gradient"]))
    def cut(self, a: Pair, how: str) -> Pair:
        if how == "no_grad":
            with tg.no_grad():
                return self.keep(Pair(a.tensor * 2.0, Value(a.value.array * 2.0, [])))
        tensor = a.tensor.detach() if how == "detach" else tg.stop_gradient(a.tensor)
        return self.keep(Pair(tensor, Value(a.value.array, [])))

    @rule(target=pairs, a=pairs, key=st.sampled_from([0, -1, slice(None, None, -1), (..., None), [0, 0]]))
    def index(self, a: Pair, key: Any) -> Pair:
        if not a.tensor.shape:
            key = (..., None)
        where = np.array(key) if isinstance(key, list) else key

        def back(g: Array) -> Array:
            full = np.zeros(a.value.array.shape)
            np.add.at(full, where, g)
            return full

        return self.keep(Pair(a.tensor[where], Value(a.value.array[where], [(a.value, back)])))

    @rule(a=pairs, retain=st.booleans(), create=st.booleans())
    def backward(self, a: Pair, retain: bool, create: bool) -> None:
        """Into .grad of every leaf, or an error that changes nothing."""
        loss, value = (
            tg.sum(a.tensor),
            Value(a.value.array.sum(), [(a.value, lambda g: np.full(a.value.array.shape, float(g)))]),
        )
        before = [t.grad for t, _ in self.every_leaf]
        if not value.wants:
            with pytest.raises(RuntimeError, match="does not depend"):
                loss.backward()
            return
        try:
            loss.backward(retain_graph=retain, create_graph=create)
        except RuntimeError as error:
            assert "second time" in str(error), error
            assert all(t.grad is was for (t, _), was in zip(self.every_leaf, before, strict=True))
            return
        for leaf in leaves_of(value):
            g = naive_gradient(value, np.ones(()), leaf)
            leaf.grad = g if leaf.grad is None else leaf.grad + g

    @rule(a=pairs, create=st.booleans())
    def gradients(self, a: Pair, create: bool) -> None:
        """At every leaf and at an interior tensor, without touching .grad."""
        if not a.value.wants:
            return
        g = np.linspace(-1, 1, a.tensor.size).reshape(a.tensor.shape)
        asked = [(t, v) for t, v in self.every_leaf] + [
            (p.tensor, p.value) for p in self.everything[-4:] if p.value.wants
        ]
        try:
            found = tg.gradients(a.tensor, [t for t, _ in asked], g, create_graph=create, retain_graph=True)
        except RuntimeError as error:
            assert "second time" in str(error), error
            return
        for (tensor, value), got in zip(asked, found, strict=True):
            assert got.shape == tensor.shape and got.dtype == tensor.dtype
            expected = self.naive_at(a.value, g, value, tensor)
            self.near(got, expected)

    def naive_at(self, y: Value, g: Array, x: Value, tensor: tg.Tensor) -> Array:
        """Reading a cell gives the leaf itself under another name: the gradient asked of one is that of the leaf."""
        if tensor._node is not None and any(tensor._node is t._node and t is not tensor for t, _ in self.every_leaf):
            x = next(v for t, v in self.every_leaf if t._node is tensor._node)
        return naive_gradient(y, g, x)

    @rule(cell=cells, number=numbers)
    def assign(self, cell: Pair, number: float) -> None:
        array = np.full(cell.tensor.shape, number)
        cell.tensor.assign(array)
        array[...] = 77
        cell.value.array = np.full(cell.tensor.shape, number, np.float64)

    @rule(cell=cells, a=pairs)
    def assign_tensor(self, cell: Pair, a: Pair) -> None:
        if a.tensor.shape != cell.tensor.shape:
            with pytest.raises(ValueError, match="cannot assign shape"):
                cell.tensor.assign(a.tensor)
            return
        cell.tensor.assign(a.tensor)
        cell.value.array = a.value.array.copy()

    @rule(cell=cells)
    def zero(self, cell: Pair) -> None:
        cell.tensor.zero_grad()
        cell.value.grad = None

    @rule(a=pairs, where=st.sampled_from(["forward", "hook", "trace", "transform", "shape"]))
    def fail(self, a: Pair, where: str) -> None:
        """Something breaks in the middle; nothing of the session changes."""

        def burst(*args: Any) -> Any:
            raise KeyError("deliberately")

        if where == "forward":
            with pytest.raises(ValueError, match="fill"):
                a.tensor.reshape(1, 2, 3, 5, 7)
        elif where == "hook" and a.tensor.requires_grad:
            copied = a.tensor * 1.0
            copied.register_hook(burst)
            with pytest.raises(KeyError):
                tg.gradients(copied.sum(), a.tensor, create_graph=True)
        elif where == "trace":  # a captured tensor with a history is refused before the burst
            with pytest.raises((KeyError, tg.TraceError)):
                tg.trace(lambda t: burst((t * a.tensor).sum().backward() if a.tensor.requires_grad else None), 1.0)
        elif where == "transform":
            with pytest.raises(KeyError):
                tg.grad(lambda t: burst(tg.grad(lambda u: (u * t * a.tensor.detach()).sum())(t)))(2.0)
        elif where == "shape" and a.tensor.requires_grad:
            with pytest.raises(ValueError):
                a.tensor.backward(np.ones((9, 9)))

    def near(self, got: Any, expected: Array) -> None:
        got = got.numpy() if isinstance(got, tg.Tensor) else np.asarray(got)
        assert got.shape == expected.shape
        assert np.isfinite(got).all() == np.isfinite(expected).all()
        if np.isfinite(expected).all():
            assert np.abs(got - expected).max(initial=0) <= 1e-11 * max(1.0, np.abs(expected).max(initial=0))

    @invariant()
    def values_agree_and_stay(self) -> None:
        for pair in self.everything:
            self.near(pair.tensor, pair.value.array)
            assert np.array_equal(pair.tensor.numpy(), pair.frozen, equal_nan=True), "an immutable tensor changed"
            assert pair.tensor.requires_grad == pair.value.wants

    @invariant()
    def gradients_agree(self) -> None:
        for tensor, value in self.every_leaf:
            assert (tensor.grad is None) == (value.grad is None)
            if value.grad is not None:
                self.near(tensor.grad, value.grad)
                assert tensor.grad.dtype == tensor.dtype
        assert modes.current() is self.mode


Sessions.TestCase.settings = examples(150, stateful_step_count=25, deadline=None)
TestSessions = Sessions.TestCase
