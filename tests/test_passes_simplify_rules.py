"""One rule of simplify at a time: it keeps every bit and gradients, and what only looks like it is left alone."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from simplifying import ANY, FLOATS, INTEGERS, applied, assert_trees_same, hostile, other, t

import tensorgraph as tg
from tensorgraph.engine.tree import flatten
from tensorgraph.passes.simplify import RULES, simplify
from tensorgraph.testing.programs.program import quiet

# one rule at a time -----------------------------------------------------------------------------------------------

Two = Callable[[tg.Tensor, tg.Tensor], Any]
# of each rule: programs of two arrays of one dtype, and the dtypes for which it must apply
EXAMPLES: dict[str, list[tuple[Two, tuple[str, ...]]]] = {
    "constants.uniform": [
        (lambda x, y: x * (tg.zeros((3, 8), dtype=x.dtype) - 1.5), FLOATS),
        (lambda x, y: y * tg.reshape(tg.full(shape=(8,), value=3, dtype="int8"), shape=(1, 8)), ("int8", "float16")),
    ],
    "constants.folded": [(lambda x, y: x + tg.exp(tg.arange(start=0.0, stop=4.0, step=0.5)), FLOATS)],
    "constants.equal": [(lambda x, y: x * tg.tensor(np.arange(8.0)) + tg.tensor(np.arange(8.0)), FLOATS)],
    "common.subexpression": [
        (lambda x, y: (tg.exp(x) + y, tg.exp(x) * y), FLOATS),
        (lambda x, y: (x + y, (x + y) * y), (*INTEGERS, "bool")),
    ],
    "algebra.multiply_by_one": [
        (lambda x, y: x * 1, (*FLOATS, *INTEGERS)), (lambda x, y: 1.0 * x + y, FLOATS),
        (lambda x, y: x * tg.ones((8,), dtype=x.dtype), ANY),
    ],
    "algebra.multiply_by_minus_one": [(lambda x, y: x * -1, (*FLOATS, "int8", "int32", "int64"))],
    "algebra.divide_by_one": [(lambda x, y: x / 1.0, FLOATS)],
    "algebra.divide_by_minus_one": [(lambda x, y: x / -1, FLOATS)],
    "algebra.divide_by_power_of_two": [
        (lambda x, y: x / 2 + y / 0.125, FLOATS), (lambda x, y: x / -1024, FLOATS),
        (lambda x, y: x / 2.0**20, FLOATS[1:]),
    ],
    "algebra.add_zero": [(lambda x, y: x + -0.0, FLOATS), (lambda x, y: 0 + x, INTEGERS)],
    "algebra.subtract_zero": [(lambda x, y: x - 0.0, FLOATS), (lambda x, y: x - 0, (*FLOATS, *INTEGERS))],
    "algebra.subtract_from_zero": [(lambda x, y: -0.0 - x, FLOATS), (lambda x, y: 0 - x, INTEGERS)],
    "algebra.double_negative": [(lambda x, y: tg.negative(-x), (*FLOATS, *INTEGERS))],
    "algebra.subtract_negative": [(lambda x, y: x - (-y), (*FLOATS, *INTEGERS))],
    "algebra.add_negative": [(lambda x, y: (x + (-y), (-x) + y), (*FLOATS, *INTEGERS))],
    "algebra.both_negative": [(lambda x, y: (-x) * (-y), (*FLOATS, *INTEGERS)), (lambda x, y: (-x) / (-y), FLOATS)],
    "algebra.without_sign": [
        (lambda x, y: abs(-x), (*FLOATS, "int8", "int32", "int64")),
        (lambda x, y: tg.square(-x) + tg.square(abs(y)), (*FLOATS, *INTEGERS)),
    ],
    "algebra.apply_again": [
        (lambda x, y: abs(abs(x)) + tg.relu(tg.relu(y)), (*FLOATS, *INTEGERS)),
        (lambda x, y: tg.sign(tg.sign(x)), (*FLOATS, *INTEGERS)),
        (lambda x, y: tg.clip(tg.clip(x, a_min=0, a_max=3), a_min=0, a_max=3), (*FLOATS, *INTEGERS)),
        (lambda x, y: tg.hardmax(tg.hardmax(x)), FLOATS),
    ],
    "algebra.where_same": [(lambda x, y: tg.where(x > y, y, y), ANY)],
    "algebra.where_known": [
        (lambda x, y: tg.where(tg.ones((8,), dtype="bool"), x, y), ANY),
        (lambda x, y: tg.where(tg.full(shape=(), value=False), x.astype("float64"), y), FLOATS),
    ],
    "algebra.where_not": [(lambda x, y: tg.where(~(x > y), x, y), ANY)],
    "algebra.double_not": [
        (lambda x, y: tg.logical_not(tg.logical_not(x)), ("bool",)), (lambda x, y: ~~x, (*INTEGERS, "bool")),
    ],
    "algebra.not_equal": [(lambda x, y: (~(x == y), tg.logical_not(x != y)), ANY)],
    "algebra.and_true": [
        (lambda x, y: tg.logical_and(x, True), ("bool",)), (lambda x, y: x & tg.ones((8,), dtype="bool"), ("bool",)),
        (lambda x, y: x & -1, ("int8", "int32", "int64")),
    ],
    "algebra.or_false": [
        (lambda x, y: tg.logical_or(False, x), ("bool",)), (lambda x, y: (x | 0, y ^ 0), INTEGERS),
        (lambda x, y: x ^ tg.zeros((8,), dtype="bool"), ("bool",)),
    ],
    "algebra.with_itself": [(lambda x, y: (x & x, y | y), (*INTEGERS, "bool"))],
    "algebra.cast_to_same": [(lambda x, y: x.astype(x.dtype), ANY)],
    "algebra.cast_back": [
        (lambda x, y: x.astype("float64").astype(x.dtype), ("float16", "float32", "int8", "int32", "uint8", "bool")),
    ],
    "algebra.cast_through": [
        (lambda x, y: x.astype("float64").astype("float16"), ("float32",)),
        (lambda x, y: x.astype("int64").astype("int16"), ("int8", "int32", "uint8", "bool")),
        (lambda x, y: x.astype("int32").astype("float32"), ("int8", "uint8", "bool")),
    ],
    "algebra.reduce_nothing": [
        (lambda x, y: tg.prod(x.reshape(3, 1, 8), axis=1), (*FLOATS, "int64")),
        (lambda x, y: tg.max(x.reshape(24, 1), axis=-1, keepdims=True), INTEGERS),
        (lambda x, y: x.sum(axis=()), ("int64",)), (lambda x, y: tg.all(x[:, None], axis=1), ("bool",)),
    ],
    "algebra.join_one": [(lambda x, y: tg.concatenate([x], axis=1), ANY)],
    "algebra.pad_nothing": [(lambda x, y: tg.pad(x, widths=((0, 0), (0, 0))), ANY)],
    "algebra.name_only": [(lambda x, y: alias(x) * y, FLOATS)],
    "algebra.no_history": [
        (lambda x, y: tg.stop_gradient(x) + y, INTEGERS),
        (lambda x, y: x * tg.stop_gradient(tg.arange(start=0.0, stop=8.0)), FLOATS),
    ],
    "views.reshape_to_same": [
        (lambda x, y: x.reshape(3, -1), ANY), (lambda x, y: tg.broadcast_to(x, shape=(3, 8)), ANY),
    ],
    "views.reshape_of_reshape": [
        (lambda x, y: x.reshape(24).reshape(4, 6).sum(0), FLOATS),
        (lambda x, y: tg.squeeze(tg.expand_dims(x.T, axis=(0, 2))).sum(1), FLOATS),
        (lambda x, y: x.T.reshape(8, 1, 3).reshape(8, 3).sum(1), FLOATS),  # whatever the order in memory
        (lambda x, y: x.T.reshape(4, 6).reshape(4, 1, 6).sum((0, 1)), FLOATS),
    ],
    "views.transpose_in_place": [(lambda x, y: tg.transpose(x, axes=(0, -1)), ANY)],
    "views.transpose_of_transpose": [
        (lambda x, y: x.T.T.sum(0), FLOATS), (lambda x, y: x[None].transpose(1, 2, 0).transpose(2, 0, 1), ANY),
    ],
    "views.index_whole": [(lambda x, y: x[:, ...][0:3], ANY)],
    "views.index_of_index": [
        (lambda x, y: x[1:, ::-2][0, 1:3], ANY), (lambda x, y: (x[::-1][:, None, 2:][1:, 0]).sum(1), FLOATS),
    ],
    "views.broadcast_of_broadcast": [
        (lambda x, y: tg.broadcast_to(tg.broadcast_to(x, shape=(2, 3, 8)), shape=(4, 2, 3, 8)).sum((0, 1)), FLOATS),
        (lambda x, y: tg.broadcast_to(x[0].reshape(1, 8), shape=(5, 8)), ANY),
    ],
    "views.broadcast_operand": [
        (lambda x, y: (tg.broadcast_to(x[0], shape=(3, 8)) * y).sum(0), FLOATS),
        (lambda x, y: tg.where(y == y, tg.broadcast_to(x[:, :1], shape=(3, 8)), y), ANY),
    ],
    "views.flip_of_flip": [(lambda x, y: tg.flip(tg.flip(x, axis=1), axis=1).sum(0), FLOATS)],
    "dead_code.unused": [(lambda x, y: (tg.sqrt(x), x)[1], ANY)],
}  # fmt: skip


def alias(x: tg.Tensor) -> tg.Tensor:
    from tensorgraph.engine.op import CATALOGUE

    return CATALOGUE["alias"].public(x)  # type: ignore[no-any-return]


CASES = [
    pytest.param(rule, function, dtype, id=f"{rule}-{number}-{dtype}")
    for rule, examples in EXAMPLES.items()
    for number, (function, dtypes) in enumerate(examples)
    for dtype in dtypes
]


def test_every_rule_has_an_example() -> None:
    assert set(EXAMPLES) == set(RULES)
    for name, (pattern, why) in RULES.items():
        assert "→" in pattern and why, name


@pytest.mark.parametrize(("rule", "function", "dtype"), CASES)
def test_a_rule_keeps_every_bit(rule: str, function: Two, dtype: str) -> None:
    x = hostile(dtype)
    y = other(x)
    with quiet():
        graph = tg.trace(function, tg.spec(x.shape, dtype), tg.spec(y.shape, dtype))
        simple = graph.simplify()
        assert rule in applied(simple)
        assert len(simple.equations) <= len(graph.equations)
        assert simple.simplify() is simple
        expected = function(t(x), t(y))
        assert_trees_same(graph(t(x), t(y)), expected, "the graph")
        assert_trees_same(simple(t(x), t(y)), expected, rule)
        without = simplify(graph, without=rule)
        assert rule not in applied(without)
        assert_trees_same(without(t(x), t(y)), expected, f"without {rule}")


@pytest.mark.parametrize(("rule", "function", "dtype"), [c for c in CASES if c.values[2] == "float64"])
def test_a_rule_keeps_gradients(rule: str, function: Two, dtype: str) -> None:
    """At small whole numbers sums are exact in any order, so that gradients must be equal."""
    x = np.arange(24.0).reshape(3, 8) % 7 - 3
    y = other(x) * 2 + 1
    if rule == "common.subexpression":  # exp is exact at 0 only
        x, y = x * 0, y * 0

    def loss(f: Any) -> Any:
        def total(x: tg.Tensor, y: tg.Tensor) -> tg.Tensor:
            found = [v for v in flatten(f(x, y))[0] if v.dtype.kind == "f"]
            return sum((v * (np.arange(float(v.size)).reshape(v.shape) % 5 - 2)).sum() for v in found) + (x * y).sum()

        return total

    graph = tg.trace(function, tg.spec(x.shape, dtype), tg.spec(y.shape, dtype))
    simple = graph.simplify()
    with quiet():
        grads = [tg.grad(loss(f), (0, 1))(x, y) for f in (simple, graph, function)]
    for got, plain, expected in zip(*grads, strict=True):
        assert np.isfinite(expected.numpy()).all() and np.abs(expected.numpy()).max() > 0
        assert np.array_equal(got.numpy(), expected.numpy()), rule
        assert np.array_equal(plain.numpy(), expected.numpy()), rule


LEFT_ALONE: list[tuple[str, Two, str]] = [
    ("-0.0 + 0.0 is 0.0", lambda x, y: x + 0.0, "float32"),
    ("an integer 0 is 0.0 of floats", lambda x, y: x + 0, "float32"),
    ("x - -0.0 is x + 0.0", lambda x, y: x - -0.0, "float32"),
    ("0.0 - 0.0 is not -0.0", lambda x, y: 0.0 - x, "float32"),
    ("infinity times 0 is NaN", lambda x, y: x * 0.0, "float32"),
    ("zeros of different sign", lambda x, y: -(x - y), "float32"),
    ("rounds twice", lambda x, y: tg.log(tg.exp(x)), "float32"),
    ("a power is not a product to the last bit", lambda x, y: x**2, "float32"),
    ("1/3 is not a number of binary digits", lambda x, y: x / 3, "float32"),
    ("2**-140 is not a normal number", lambda x, y: x / 2.0**-140, "float32"),
    ("2**15 is, 2**-15 is not a normal half", lambda x, y: x / 2.0**15, "float16"),
    ("a quotient of integers is a float", lambda x, y: x / 1, "int32"),
    ("the number makes it a float", lambda x, y: x * 1.0, "int32"),
    ("the gradient is shared at a tie", lambda x, y: tg.maximum(x, x), "float32"),
    ("the gradient is shared at a tie", lambda x, y: tg.maximum(x, 0.0), "float32"),
    ("a sum turns -0.0 into 0.0", lambda x, y: x.reshape(3, 8, 1).sum(axis=-1), "float32"),
    ("the largest of NaN has no gradient", lambda x, y: x.reshape(3, 8, 1).max(axis=-1), "float32"),
    ("NaN is neither less nor not", lambda x, y: ~(x < y), "float32"),
    ("narrower in between", lambda x, y: x.astype("float16").astype("float32"), "float32"),
    ("int64 does not fit float64", lambda x, y: x.astype("float64").astype("int64"), "int64"),
    ("which integer NaN becomes depends on the way", lambda x, y: x.astype("float64").astype("int32"), "float32"),
    ("the history is cut", lambda x, y: tg.stop_gradient(x) * y, "float32"),
    ("an unsigned number has no sign", lambda x, y: abs(-x), "uint8"),
    ("-128 as int8 wraps, as int64 not", lambda x, y: x.astype("int64") - (-y), "int8"),
    ("adding up depends on the order in memory", lambda x, y: (x.T * 1.0).sum(), "float32"),
    ("an operand in another order may turn the result's", lambda x, y: x.T + (-(y.T)), "float32"),
    ("so may a constant", lambda x, y: x.T * tg.full(shape=(3, 8), value=2.0).T, "float32"),
    ("and one that was captured", lambda x, y: x[:1, :1] * tg.tensor(np.arange(12.0).reshape(3, 4)).T, "float64"),
    ("reshaping copies", lambda x, y: x.T.reshape(6, 4).reshape(24), "float32"),
]


@pytest.mark.parametrize(("why", "function", "dtype"), LEFT_ALONE)
def test_what_is_not_exact_is_left_alone(why: str, function: Two, dtype: str) -> None:
    graph = tg.trace(function, tg.spec((3, 8), dtype), tg.spec((3, 8), dtype))
    assert graph.simplify() is graph, why
