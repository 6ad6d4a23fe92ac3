"""What NumPy would take without a word: values for dtypes, bytes for numbers and for sizes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tensorgraph as tg
from tensorgraph import data, nn, train

X = tg.ones((2,))
TAKERS: dict[str, Any] = {
    "tensor": lambda d: tg.tensor([1, 2], dtype=d),
    "astype": lambda d: X.astype(d),
    "zeros": lambda d: tg.zeros((2,), dtype=d),
    "sum": lambda d: X.sum(dtype=d),
    "spec": lambda d: tg.spec((2,), d),
    "Linear": lambda d: nn.Linear(2, 2, dtype=d),
    "Loader": lambda d: data.Loader(np.ones((4, 2)), batch_size=2, dtype=d),
    "init": lambda d: nn.init.he_normal((2, 2), dtype=d),
    "normal": lambda d: tg.random.normal((2,), dtype=d),
    "default": tg.set_default_dtype,
}
VALUES = [
    np.True_, np.int64(3), np.float32("nan"), np.float64(1), tg.f32[3], X, tg.Parameter([1.0]), np.ones(2),
    np.array(1.0), True, 3, np.floating,
]  # fmt: skip


@pytest.mark.parametrize("take", TAKERS.values(), ids=TAKERS)
@pytest.mark.parametrize("value", VALUES, ids=lambda v: type(v).__name__)
def test_a_value_is_no_dtype(take: Any, value: Any) -> None:
    with pytest.raises(TypeError, match=r"dtype|attribute"):
        take(value)
    assert tg.default_dtype() == "float32"


@pytest.mark.parametrize("take", TAKERS.values(), ids=TAKERS)
@pytest.mark.parametrize("dtype", [tg.f32, "f4", ">f4", np.float32, np.dtype(">f4"), "float32"], ids=str)
def test_every_way_to_say_a_dtype_is_taken(take: Any, dtype: Any) -> None:
    take(dtype)


RAW = [bytearray(b"ab"), memoryview(b"ab"), b"ab"]


@pytest.mark.parametrize("raw", RAW, ids=lambda v: type(v).__name__)
def test_bytes_are_no_numbers(raw: Any, tmp_path: Path) -> None:
    for take in (
        lambda: tg.tensor(raw), lambda: tg.exp(raw), lambda: X + raw, lambda: data.Loader(raw, batch_size=2),
        lambda: list(data.minibatches(raw, batch_size=2)), lambda: train.metrics.accuracy(raw, raw),
        lambda: data.write_idx(tmp_path / "a.idx", raw),
    ):  # fmt: skip
        with pytest.raises(TypeError, match=r"numpy\.frombuffer\(value, numpy\.uint8\)"):
            take()
    assert tg.tensor(np.frombuffer(raw, np.uint8)).tolist() == [97, 98]
    assert tg.tensor(memoryview(np.ones(2))).tolist() == [1, 1]  # which say that they are numbers


@pytest.mark.parametrize("raw", RAW, ids=lambda v: type(v).__name__)
def test_bytes_are_no_sequence_of_sizes(raw: Any) -> None:
    text = "def f(x: f32[2]):\n    return x\n"
    for take in (
        lambda: tg.spec(raw, "float32"), lambda: tg.zeros(raw), lambda: X.reshape(raw), lambda: nn.init.he_normal(raw),
        lambda: tg.grad(lambda a: (a * a).sum(), argnums=raw), lambda: data.split(np.ones(4), fractions=raw),
        lambda: tg.parse(text, arrays=raw), lambda: tg.parse(text, arrays={"a": raw}),
    ):  # fmt: skip
        with pytest.raises(TypeError, match="must be"):
            take()


def test_arrays_of_a_text_are_arrays() -> None:
    text = "def f(x: f32[2]):\n    return x\n"
    endless: dict[str, Any] = {}
    endless["a"] = endless
    for wrong in (endless, {"a": np.datetime64(1, "D")}, {"a": "b"}, {"a": {"b": np.ones(2)}}, (c for c in "ab")):
        with pytest.raises(TypeError, match=r"parse: arrays\[.*\] must be an array of numbers"):
            tg.parse(text, arrays=wrong)
    assert tg.parse(text, arrays=[[1.0], np.ones(2), X]) == tg.parse(text, arrays={"a": np.ones(2)})
