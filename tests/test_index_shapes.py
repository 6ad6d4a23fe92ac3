"""The shape that an index selects: known from shapes alone, as NumPy gives it, and without memory."""

from typing import Any

import numpy as np
import pytest
from effort import examples
from hypothesis import given
from hypothesis import strategies as st

import tensorgraph as tg
from tensorgraph.engine.op import CATALOGUE
from tensorgraph.ops.index import split_key

SIZE = st.sampled_from([0, 1, 2, 3, 4])
BOUND = st.none() | st.integers(-4, 4)
ITEM = st.one_of(
    st.none(), st.just(...), st.integers(-4, 3),
    st.builds(slice, BOUND, BOUND, st.sampled_from([None, 1, 2, -1, -2])),
    st.lists(st.sampled_from([0, 1, 2, 3]), max_size=2).map(lambda shape: np.zeros(shape, np.int64)),
    st.lists(st.sampled_from([1, 1, 2]), max_size=2).map(lambda shape: np.zeros(shape, np.int64)),
)  # fmt: skip


def inferred(shape: tuple[int, ...], key: tuple[Any, ...]) -> tuple[int, ...]:
    static, indices = split_key(key, shape)
    given = [tg.spec(np.shape(i), "int64") for i in indices]
    (aval,) = CATALOGUE["getitem"].infer((tg.spec(shape, "float32"), given), {"key": static})
    return aval.shape


@examples(600)
@given(st.lists(SIZE, max_size=4).map(tuple), st.lists(ITEM, max_size=5).map(tuple))
def test_it_is_numpys(shape: tuple[int, ...], key: tuple[Any, ...]) -> None:
    try:
        expected = np.zeros(shape)[key].shape
    except IndexError:
        with pytest.raises(IndexError):
            inferred(shape, key)
        return
    assert inferred(shape, key) == expected


def test_it_takes_no_memory() -> None:
    graph = tg.trace(lambda table, n: table[n], tg.f32[10**6, 10**5], tg.i64[10**9])
    assert graph.outputs[0].aval == tg.f32[10**9, 10**5]
