"""Numbers of Python and NumPy that are joined to tensors take their dtype, as operands of elementwise ops do."""

from typing import Any

import numpy as np
import pytest

import tensorgraph as tg

JOINS: dict[str, Any] = {
    "stack": lambda x, s: tg.stack([x.sum(), s]),
    "stack first": lambda x, s: tg.stack((s, x.sum())),
    "stack of NumPy": lambda x, s: np.stack([x.sum(), s]),
    "concatenate": lambda x, s: tg.concatenate([x, [s]]),
    "concatenate arrays": lambda x, s: tg.concatenate([[s, s], x, np.ones(1, str(x.dtype))]),
    "hstack": lambda x, s: tg.hstack([x, s]),
    "hstack lists": lambda x, s: tg.hstack([x, [s]]),
    "vstack": lambda x, s: tg.vstack([x[:1], s]),
    "dstack": lambda x, s: tg.dstack([x[:1], [s]]),
    "column_stack": lambda x, s: tg.column_stack([x[:1], [s]]),
    "block": lambda x, s: tg.block([x, s]),
    "concat of all": lambda x, s: tg.numpy.concat([x, s], axis=None),
}
LISTS = ("concatenate", "concatenate arrays", "hstack lists", "dstack", "column_stack")


@pytest.mark.parametrize("name", JOINS)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("number", [0.1, 1e300, 3, True, float("nan"), 2**40 + 1])
@pytest.mark.filterwarnings("ignore:overflow")
def test_a_number_takes_the_dtype_of_the_tensors(name: str, dtype: str, number: Any) -> None:
    x = tg.tensor(np.array([1, 2]), dtype=dtype)
    expected = np.asarray(number, dtype)
    for join in (JOINS[name], lambda x, s: tg.trace(lambda x: JOINS[name](x, s), x)(x)):
        y = join(x, number)
        assert y.dtype == dtype
        places = np.isnan(y.numpy()) if np.isnan(expected) else y.numpy() == expected
        assert places.any()
    if name not in LISTS and not isinstance(number, bool):
        graph = tg.trace(JOINS[name], x, number)
        assert np.array_equal(graph(x, number).numpy(), JOINS[name](x, number).numpy(), equal_nan=True)
        assert tg.parse(str(graph)) == graph


def test_what_is_no_python_number_keeps_its_dtype() -> None:
    x = tg.ones((2,))
    assert tg.stack([x[0], np.array(0.1)]).dtype == "float64"
    assert tg.concatenate([x, np.ones(1)]).dtype == "float64"
    assert tg.stack([1, 2]).dtype == "int64" and tg.stack([0.5, 2]).dtype == "float32"
    assert tg.stack([tg.tensor(1, dtype="int8"), 300]).dtype == "int64"
    with pytest.raises(TypeError):
        tg.stack([x[0], 10**400])


def test_its_gradient_is_that_of_the_join() -> None:
    x = tg.tensor([1.0, 2.0], dtype="float64")
    g = tg.grad(lambda x: (tg.stack([x.sum(), 0.1]) ** 2).sum())(x)
    assert g.dtype == "float64" and g.tolist() == [6, 6]


WHOLE = [name for name in JOINS if name not in LISTS]


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("number", [np.float64(0.1), np.float16(0.1), np.int64(3), np.bool_(True)])
def test_so_do_scalars_of_numpy_beside_tensors_of_floats(name: str, number: Any) -> None:
    x = tg.tensor([1.0, 2.0])
    for y in (JOINS[name](x, number), tg.trace(JOINS[name], x, number)(x, number)):
        assert y.dtype == np.float32 and (y.numpy() == np.float32(number)).any()
    assert tg.numpy.diff(x, prepend=np.float64(0.5)).dtype == np.diff(x, append=np.float64(0.5)).dtype == np.float32
    assert tg.stack([np.float32(1), np.float64(2)]).dtype == np.float64  # alone they keep their own
    assert tg.stack([tg.tensor(1), np.float64(2)]).dtype == np.float64
