"""Memory order and indexing keys, on which exact rewrites of views rest."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from effort import examples
from hypothesis import given
from hypothesis import strategies as st

import tensorgraph as tg
from tensorgraph.engine.op import CATALOGUE, elementwise
from tensorgraph.engine.tree import flatten
from tensorgraph.graph.evaluate import evaluate
from tensorgraph.ops.index import join_key
from tensorgraph.passes.facts import Facts
from tensorgraph.passes.keys import compose, key_of, select
from tensorgraph.testing import Program, assert_same, programs
from tensorgraph.testing.programs.program import quiet

VIEWS: list[Callable[[tg.Tensor], tg.Tensor]] = [
    lambda x: x.T, lambda x: x[::2], lambda x: x[:, 1:], lambda x: x[::-1, :-1], lambda x: x[:, None][:, 0],
    lambda x: x.reshape(-1, 2) if x.size % 2 == 0 else x, lambda x: tg.flip(x, axis=0), lambda x: x * 1.0,
    lambda x: tg.negative(-x), lambda x: x.reshape(x.shape[::-1]),
    lambda x: tg.squeeze(tg.expand_dims(x, axis=1), axis=1),
    lambda x: tg.broadcast_to(x[:1], shape=x.shape) + x, lambda x: x.transpose(1, 0).transpose(1, 0),
    lambda x: tg.where(tg.ones((), dtype="bool"), x, -x), lambda x: x.astype("float64").astype("float32"),
    lambda x: tg.concatenate([x], axis=1), lambda x: tg.exp(x),
]  # fmt: skip


@given(st.lists(st.sampled_from(range(len(VIEWS))), min_size=1, max_size=7), st.sampled_from([None, 0, 1]))
@examples(150)
def test_sums_over_views_keep_their_bits(chosen: list[int], axis: int | None) -> None:
    """Large enough that NumPy adds up in another order where memory lies otherwise."""

    def chain(x: tg.Tensor) -> Any:
        for number in chosen:
            x = VIEWS[number](x)
        return x.sum(axis=axis), x @ tg.ones((x.shape[1], 2))

    x = np.random.default_rng(0).normal(size=(96, 142)).astype(np.float32)
    with quiet():
        graph = tg.trace(chain, x)
        for got, expected in zip(graph.simplify()(tg.tensor(x)), graph(tg.tensor(x)), strict=True):
            assert_same(got, expected, str(chosen))


@given(programs(nested=False))
def test_what_is_said_to_be_in_c_order_is(program: Program) -> None:
    graph = program.graph()
    facts = Facts(graph, set())
    every = []
    for eq in graph.equations:
        facts.note(eq)
        every += [out for out in eq.outputs if eq.op.name != "gradients"]
    seen = graph.replace(outputs=tuple(every), out_tree=flatten(every)[1])
    with quiet():
        values, _ = evaluate(seen, flatten(program.tensors())[0], [])
    for var, value in zip(every, values, strict=True):
        assert value._value.flags.c_contiguous or not facts.is_dense(var), facts.producer[var].op.name
        one = facts.one(var)
        assert one is None or (one.dtype, value._value.size > 0) == (var.aval.dtype, True)
        if one is not None:
            assert_same(value.numpy(), np.broadcast_to(one, var.aval.shape), "a uniform constant")


ELEMENTWISE = sorted(name for name, op in CATALOGUE.items() if op.kind is elementwise)
PARTS: list[Callable[[tg.Tensor], tg.Tensor]] = [
    lambda x: x[1:4, ::2], lambda x: tg.broadcast_to(x[:1, 1::2], shape=(3, 4)), lambda x: x[:3, :4] * 1,
    lambda x: tg.broadcast_to(x[2:5, 3:4], shape=(3, 4)), lambda x: tg.broadcast_to(x[0, :4], shape=(3, 4)),
    lambda x: x[3:0:-1, ::2], lambda x: tg.flip(x[:3, 2:6]),
]  # fmt: skip


@pytest.mark.sampled(test=20, quick=6)
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_elementwise_ops_of_views_are_in_c_order_where_it_is_said(name: str) -> None:
    op = CATALOGUE[name]
    attrs: dict[str, Any] = {
        "astype": {"dtype": "float64"},
        "clip": {"a_max": 2},
        "polygamma": {"n": 1},
        "polygamma_gap": {"n": 1},
        "gammainc_slope": {"i": 1, "j": 0},
        "log_ndtr_slope": {"n": 1},
        "bessel_i": {"n": 1},
    }.get(name, {})
    said = 0
    for dtype in ("float16", "float32", "int32", "bool"):
        array = (np.arange(56.0).reshape(7, 8) % 5).astype(dtype)
        for picked in itertools.product(PARTS, repeat=min(len(op.inputs), 2)):

            def call(x: tg.Tensor, picked: Any = picked) -> Any:
                parts = [part(x) for part in (*picked, picked[0])][: len(op.inputs)]
                return op.public(*([parts[0] > 0, *parts[1:]] if name == "where" else parts), **attrs)

            with quiet():
                try:
                    graph = tg.trace(call, array)
                except (TypeError, ValueError):  # an op of other types
                    continue
                facts = Facts(graph, set())
                for eq in graph.equations:
                    facts.note(eq)
                if facts.is_dense(graph.outputs[0]):
                    said += 1
                    assert graph(tg.tensor(array))._value.flags.c_contiguous, (dtype, graph)
    assert said > 3


def test_what_is_made_of_views_is_simplified_on() -> None:
    def f(x: tg.Tensor, y: tg.Tensor) -> tg.Tensor:
        return (tg.broadcast_to(x, shape=(3, 8)) + y[:, ::2]) * 1.0

    graph = tg.trace(f, tg.f32[8], tg.f32[3, 16]).simplify()
    assert [eq.op.name for eq in graph.equations] == ["getitem", "add"]


# keys -------------------------------------------------------------------------------------------------------------

BOUND = st.none() | st.integers(-7, 7)
SLICE = st.tuples(st.just("slice"), BOUND, BOUND, st.sampled_from([None, 1, 2, 3, -1, -2]))


@st.composite
def keys(draw: Any, shape: tuple[int, ...]) -> tuple[Any, ...]:
    key: list[Any] = []
    for n in shape[: draw(st.integers(0, len(shape)))]:
        if draw(st.integers(0, 4)) == 0:
            key.append("newaxis")
        key.append(draw(SLICE | st.integers(-n, n - 1) if n else SLICE))
    if draw(st.booleans()):
        key.insert(draw(st.integers(0, len(key))), "...")
        whole = key.index("...")
        if whole < len(key) - 1 and not all(type(item) is tuple or item == "newaxis" for item in key[whole:][1:]):
            key.remove("...")  # the axes behind it are others, of other sizes
    return tuple(key)


@given(st.data(), st.lists(st.sampled_from([0, 1, 2, 3, 5]), max_size=3).map(tuple))
@examples(300)
def test_keys_are_arithmetic(data: Any, shape: tuple[int, ...]) -> None:
    x = np.arange(int(np.prod(shape))).reshape(shape)
    first = data.draw(keys(shape))
    inner = select(first, shape)
    y = np.asarray(x[join_key(first, [])])
    assert inner is not None and tuple(a.size for a in inner.axes) == y.shape
    assert inner.contiguous == y.flags.c_contiguous
    second = data.draw(keys(y.shape))
    outer = select(second, y.shape)
    assert outer is not None
    both = compose(inner, outer)
    key = key_of(both)
    z = y[join_key(second, [])]
    if key is None:
        assert z.size == 0
        return
    again = x[join_key(key, [])]
    assert again.shape == z.shape and np.array_equal(again, z)
    assert both.whole <= (z.shape == x.shape and np.array_equal(z, x))
