"""Calls of ops whose attributes say something of their operand: shapes, axes, keys, labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tensorgraph.engine.op import Op
from tensorgraph.testing.programs.calls import DTYPES, SIZES, SPECIAL, Special, by_example, finish, infer, special
from tensorgraph.testing.programs.choices import Choices, show_number
from tensorgraph.testing.programs.index import key_of
from tensorgraph.testing.programs.writer import Value, Writer

__all__: list[str] = []  # they register themselves


def on_one(attrs_of: Callable[[Value, Choices], dict[str, Any] | None], least: int = 0) -> Special:
    """A call on one value whose attributes follow from it."""

    def write(w: Writer, op: Op, choices: Choices) -> Any:
        value = w.pick(choices, lambda v: v.ndim >= least and not v.array)
        attrs = None if value is None else attrs_of(value, choices)
        if attrs is None or infer(w, op, [value], attrs) is None:
            return []
        return finish(w, op, [value], attrs, choices)

    return write


def factored(value: Value, choices: Choices) -> dict[str, Any]:
    """A shape of as many elements."""
    n = value.size
    ways: list[tuple[int, ...]] = [(-1,), (n,), (1, n), (n, 1)]
    ways += [(d, n // d) for d in (2, 3, 4) if n and n % d == 0] + [(2, -1) for _ in range(1) if n and n % 2 == 0]
    return {"shape": choices.one([(0, 2), (3, 0)] if n == 0 else [*ways, ()] if n == 1 else ways)}


def wider(value: Value, choices: Choices) -> dict[str, Any]:
    """A shape that the value broadcasts to."""
    shape = tuple(choices.one(SIZES) if n == 1 else n for n in value.shape)
    return {"shape": (choices.one(SIZES), *shape) if choices.often() and len(shape) < 4 else shape}


def squeezed(value: Value, choices: Choices) -> dict[str, Any] | None:
    ones = [i for i, n in enumerate(value.shape) if n == 1]
    if not ones:
        return {} if choices.rarely() else None
    return choices.one([{}, {"axis": ones[0]}, {"axis": tuple(ones)}, {"axis": ones[-1] - value.ndim}])  # type: ignore[no-any-return]


def parts(value: Value, choices: Choices) -> dict[str, Any]:
    axis = choices.below(value.ndim)
    n = value.shape[axis]
    first = choices.below(n + 1)
    sizes = choices.one([(first, n - first), (n,), (first, 0, n - first), (1,) * n or (0,)])
    attrs: dict[str, Any] = {"sizes": sizes}
    return attrs | ({"axis": axis if choices.often() else axis - value.ndim} if axis else {})


def border(value: Value, choices: Choices) -> dict[str, Any]:
    attrs: dict[str, Any] = {"widths": tuple((choices.below(3), choices.below(2)) for _ in value.shape)}
    return attrs | ({"value": 1.0} if choices.rarely() else {})


def order(value: Value, choices: Choices) -> dict[str, Any]:
    axes = list(range(value.ndim))
    if choices.often() or not axes:
        return {}
    first = axes.pop(choices.below(len(axes)))
    return {"axes": (first, *(axes if choices.often() else axes[::-1]))}


def other_dtype(value: Value, choices: Choices) -> dict[str, Any] | None:
    wanted = choices.one([d for d in DTYPES if d != value.dtype.name])
    if value.kind == "f" and np.dtype(wanted).kind != "f" and not np.isfinite(value.numbers).all():
        return None
    return {"dtype": wanted}


SPECIAL |= {
    "reshape": on_one(factored),
    "broadcast_to": on_one(wider),
    "squeeze": on_one(squeezed),
    "expand_dims": on_one(lambda v, c: {"axis": c.one([0, -1, v.ndim, (0, -1)])} if v.ndim < 3 else None),
    "transpose": on_one(order),
    "flip": on_one(lambda v, c: {"axis": c.one([None, *range(v.ndim)])}),
    "split": on_one(parts, least=1),
    "pad": on_one(border, least=1),
    "astype": on_one(other_dtype),
    "one_hot": on_one(lambda v, c: {"classes": c.one([3, 2, 1])} if v.kind in "iu" and v.ndim < 3 else None),
    "clip": on_one(lambda v, c: c.one([{"a_min": -1, "a_max": 1}, {"a_min": 0}, {"a_max": 1.5}])),
}


@special("concatenate")
def join(w: Writer, op: Op, choices: Choices) -> Any:
    first = w.pick(choices, lambda v: v.ndim > 0 and not v.array)
    if first is None:
        return []
    axis = choices.below(first.ndim)
    rest = (*first.shape[:axis], *first.shape[axis + 1 :])
    fits = lambda v: v.ndim == first.ndim and (*v.shape[:axis], *v.shape[axis + 1 :]) == rest
    others = [w.pick(choices, fits) or first for _ in range(choices.one([1, 2, 0]))]
    attrs = {"axis": axis if choices.often() else axis - first.ndim} if axis else {}
    operands = [[first, *others]]
    return finish(w, op, operands, attrs, choices) if infer(w, op, operands, attrs) else []


@special("softmax_cross_entropy")
def cross_entropy(w: Writer, op: Op, choices: Choices) -> Any:
    """Of logits at hand; labels are integers at hand brought into range, or probabilities."""
    logits = w.pick(choices, lambda v: v.kind == "f" and v.ndim > 0 and v.shape[-1] > 0 and not v.array)
    if logits is None:
        return []
    axis = choices.below(logits.ndim) if choices.rarely() and 0 not in logits.shape else logits.ndim - 1
    classes = logits.shape[axis]
    rest = tuple(n for i, n in enumerate(logits.shape) if i != axis)
    labels = w.pick(choices, lambda v: v.kind in "iu" and not v.array)
    soft = w.pick(choices, lambda v: v.aval == logits.aval and not v.array)
    target: str | Value
    if labels is not None and choices.often():
        target = f"{w.conform(labels, rest)} % {classes}"
    elif soft is not None and choices.often():
        target = f"tg.softmax({soft.name}, axis={axis})"
    else:
        target = w.constant(np.random.default_rng(choices.below(256)).integers(0, classes, rest), choices)
    attrs: dict[str, Any] = choices.one(
        [{}, {"reduction": "sum"}, {"reduction": "none"}, {"label_smoothing": 0.1}, {"reduction": "batchmean"}]
    )
    if axis != logits.ndim - 1:
        attrs = {"axis": axis, **attrs}
    return finish(w, op, [logits, target], attrs, choices) if infer(w, op, [logits, target], attrs) else []


@special("batch_norm")
@special("batch_norm_relu")
def normalised(w: Writer, op: Op, choices: Choices) -> Any:
    """Of a value at hand, by scales and shifts that are at hand or captured."""
    x = w.pick(choices, lambda v: v.kind == "f" and v.ndim > 1 and v.size > 1 and not v.array)
    if x is None:
        return by_example(w, op, choices)
    axis = choices.one([1, x.ndim - 1, 0])
    fits = lambda v: v.shape == (x.shape[axis],) and v.dtype == x.dtype and not v.array
    pair = [w.pick(choices, fits) or w.constant(w.new((x.shape[axis],), x.dtype, choices), choices) for _ in range(2)]
    attrs: dict[str, Any] = ({"axis": axis} if axis != 1 else {}) | choices.one([{}, {"eps": 0.001}])
    return finish(w, op, [x, *pair], attrs, choices) if infer(w, op, [x, *pair], attrs) else by_example(w, op, choices)


def creating(attrs_of: Callable[[Choices], dict[str, Any]]) -> Special:
    def write(w: Writer, op: Op, choices: Choices) -> Any:
        kinds = ("float64",) if w.options.smooth else ("", *DTYPES[:-1])
        kind = choices.one(kinds)
        attrs = attrs_of(choices) | ({"dtype": kind} if kind else {})
        return finish(w, op, [], attrs, choices) if infer(w, op, [], attrs) else []

    return write


RANGES = ({"start": 3}, {"start": 1, "stop": 4}, {"start": 2.0, "stop": 0, "step": -0.5})
SHAPES = ((3,), (2, 3), (), (0, 3), (1,))
SPECIAL |= {
    "zeros": creating(lambda c: {"shape": c.one(SHAPES)}),
    "ones": creating(lambda c: {"shape": c.one(SHAPES)}),
    "full": creating(lambda c: {"shape": c.one(SHAPES), "value": c.one([1.0, 2, 0.25, True])}),
    "eye": creating(lambda c: {"n": c.one([3, 2, 1, 0])}),
    "arange": creating(lambda c: c.one(RANGES)),
}


@special("matmul")
def product(w: Writer, op: Op, choices: Choices) -> Any:
    """Of two values that fit, or of one with itself or a constant."""

    def numbers(v: Value) -> bool:
        return v.ndim > 0 and v.kind in "fiu"

    a = w.pick(choices, numbers)
    if a is None:
        return []
    b = w.pick(choices, lambda v: numbers(v) and infer(w, op, [a, v], {}))
    if b is None or choices.rarely():
        shape = (a.shape[-1], *choices.one([(2,), (), (1,), (3,)]))
        b = w.constant(w.new(shape, a.dtype if a.kind == "f" else "float64", choices), choices)
    return finish(w, op, [a, b], {}, choices) if infer(w, op, [a, b], {}) else []


@special("getitem")
def read(w: Writer, op: Op, choices: Choices) -> Any:
    value = w.pick(choices, lambda v: not v.array and (v.ndim > 0 or choices.rarely()))
    return [] if value is None else w.let(f"{value.name}[{key_of(w, value, choices)}]")


def update(w: Writer, choices: Choices, ways: Sequence[str]) -> Any:
    """``x.at[key].set(v)`` and its like."""
    value = w.pick(choices, lambda v: not v.array and v.ndim > 0 and v.kind != "b")
    if value is None:
        return []
    key = key_of(w, value, choices)
    chosen = w.evaluate(f"{value.name}[{key}]")
    other = w.pick(choices, lambda v: v.kind == value.kind and np.can_cast(v.dtype, value.dtype, "same_kind"))
    new = choices.one([2, 1, -1]) if value.kind in "iu" else choices.one([0.5, -1.5, 2.0])
    if value.kind == "u":
        new = abs(new)
    shown = show_number(new)
    if other is not None and choices.often():
        shown = w.conform(other, chosen.shape, value.dtype)
    return w.let(f"{value.name}.at[{key}].{choices.one(ways)}({shown})")


@special("put")
def put(w: Writer, op: Op, choices: Choices) -> Any:
    return update(w, choices, ("set", "multiply"))


@special("scatter_add")
def scatter(w: Writer, op: Op, choices: Choices) -> Any:
    return update(w, choices, ("add",))


@special("take_along_axis")
def along(w: Writer, op: Op, choices: Choices) -> Any:
    value = w.pick(choices, lambda v: v.ndim > 0 and v.size > 0 and not v.array)
    if value is None:
        return []
    axis = choices.below(value.ndim)
    found = f"tg.{choices.one(['argmax', 'argmin'])}({value.name}, axis={axis}, keepdims=True)"
    return w.let(f"tg.take_along_axis({value.name}, {found}, axis={axis})")
