"""Calls of ops whose inputs depend on one another: lists that join, factors that fit, labels in range, keys.

A form of call is chosen by what the declaration says: the family, traits, the names of inputs and attributes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tensorgraph.engine.op import CATALOGUE, Op, contraction
from tensorgraph.testing.programs.attributes import attributes
from tensorgraph.testing.programs.calls import by_example, finish, infer, special
from tensorgraph.testing.programs.choices import Choices, show_number
from tensorgraph.testing.programs.index import key_of
from tensorgraph.testing.programs.writer import Value, Writer

__all__: list[str] = []  # they register themselves


@special(lambda op: len(op.inputs) == len(op.signature.lists) == 1)
def join(w: Writer, op: Op, choices: Choices) -> Any:
    """Of a list of values, the later ones such that the op takes them with the first."""
    first = w.pick(choices, lambda v: not v.array)
    attrs = None if first is None else attributes(w, op, first, choices)
    if first is None or attrs is None:
        return []
    fits = lambda v: infer(w, op, [[first, v]], attrs)
    others = [w.pick(choices, fits) or first for _ in range(choices.one([1, 2, 0]))]
    operands = [[first, *others]]
    return finish(w, op, operands, attrs, choices) if infer(w, op, operands, attrs) else []


@special(lambda op: {"logits", "target"} <= set(op.inputs) and "axis" in op.attrs)
def classified(w: Writer, op: Op, choices: Choices) -> Any:
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
    shown = [{name: v} for _, attrs in op.examples for name, v in attrs.items() if type(v) in (str, float)]
    attrs: dict[str, Any] = choices.one([{}, *shown])
    if axis != logits.ndim - 1:
        attrs = {"axis": axis, **attrs}
    return finish(w, op, [logits, target], attrs, choices) if infer(w, op, [logits, target], attrs) else []


@special(lambda op: "labels" in op.traits and "classes" in op.attrs)
def coded(w: Writer, op: Op, choices: Choices) -> Any:
    """Of labels at hand, brought into range."""
    labels = w.pick(choices, lambda v: v.kind in "iu" and v.size <= 64 and not v.array)
    if labels is None:
        return by_example(w, op, choices)
    attrs: dict[str, Any] = {"classes": 1 + choices.below(4)} | choices.one([{}, {}, {"axis": 0}])
    return finish(w, op, [f"{labels.name} % {attrs['classes']}"], attrs, choices)


@special(lambda op: "normalises" in op.traits and len(op.inputs) > 1)
def normalised(w: Writer, op: Op, choices: Choices) -> Any:
    """Of a value at hand, by scales and shifts that are at hand or captured."""
    x = w.pick(choices, lambda v: v.kind == "f" and v.ndim > 1 and v.size > 1 and not v.array)
    if x is None:
        return by_example(w, op, choices)
    axis = choices.one([op.attrs["axis"] % x.ndim, x.ndim - 1, 0])
    attrs: dict[str, Any] = ({"axis": axis} if axis != op.attrs["axis"] else {}) | choices.one([{}, {"eps": 0.001}])
    for shape in (x.shape[axis : axis + 1], x.shape[axis:]):  # of one axis, or of all from there on
        fits = lambda v, shape=shape: v.shape == shape and v.dtype == x.dtype and not v.array
        rest = [w.pick(choices, fits) or w.constant(w.new(shape, x.dtype, choices), choices) for _ in op.inputs[1:]]
        if infer(w, op, [x, *rest], attrs):
            return finish(w, op, [x, *rest], attrs, choices)
    return by_example(w, op, choices)


@special(lambda op: op.kind is contraction and len(op.inputs) == 2 and not op.attrs)
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


@special(lambda op: "key" in op.attrs)
def keyed(w: Writer, op: Op, choices: Choices) -> Any:
    """``x[key]``; what has another operand or a shape of its own is recorded by ``x.at[key].set(v)`` and its like."""
    if "v" in op.inputs or "shape" in op.attrs:
        return update(w, choices, ("add",) if "shape" in op.attrs else ("set", "multiply"))
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


@special(lambda op: "gathers" in op.traits and "axis" in op.attrs and len(op.inputs) == 2)
def along(w: Writer, op: Op, choices: Choices) -> Any:
    """What lies along an axis at places that another op found there."""
    value = w.pick(choices, lambda v: v.ndim > 0 and v.size > 0 and not v.array)
    if value is None:
        return []
    axis = choices.below(value.ndim)
    finders = [name for name, op in CATALOGUE.items() if "positions" in op.traits and "keepdims" in op.attrs]
    return w.let(
        f"tg.{op.name}({value.name}, tg.{choices.one(finders)}({value.name}, axis={axis}, keepdims=True), axis={axis})"
    )
