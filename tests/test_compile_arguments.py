"""What compiled functions are given and give: containers of classes of one's own, changes of them, items of arrays."""

from collections import OrderedDict, defaultdict
from typing import Any

import numpy as np
import pytest

import tensorgraph as tg

X = np.array([1.0, 2.0, 3.0], np.float32)


class Answering(dict):  # type: ignore[type-arg]
    def __missing__(self, key: Any) -> float:
        return 7.0


class Scaled(list):  # type: ignore[type-arg]
    scale = 1.0


def scaled(scale: float) -> Scaled:
    made = Scaled([tg.tensor(X), tg.tensor(X)])
    made.scale = scale
    return made


def test_the_class_of_a_container_is_a_part_of_the_call() -> None:
    def f(d: Any) -> Any:
        more = d.default_factory() if type(d) is defaultdict else d["other"] if type(d) is Answering else 0.0
        return d["x"] * 2 + more, type(d).__name__

    compiled, x = tg.compile(f), tg.tensor(X)
    kinds = [Answering(x=x), {"x": x}, defaultdict(float, x=x), OrderedDict(x=x), defaultdict(lambda: 3.0, x=x)]
    for given in kinds * 2:
        (got, name), (wanted, its_name) = compiled(given), f(given)
        assert (got.numpy().tolist(), name) == (wanted.numpy().tolist(), its_name)


def test_what_a_container_has_besides_its_items_is_a_part_of_the_call() -> None:
    f = tg.compile(lambda given: (given[0] + given[1]) * given.scale)
    for scale in (1.0, 2.0, 1.0):
        assert f(scaled(scale)).numpy().tolist() == (2 * X * scale).tolist()
    assert f.stats.traces == 2 and "besides its items" in f.stats.retraces[0]


def appends(x: Any, log: Any) -> Any:
    log.append(x)
    return x


def takes(batch: Any) -> Any:
    return batch.pop("x") * 2


def counts(x: Any, *, state: Any) -> Any:
    state["n"][0] += 1
    return x


def test_changes_of_arguments_are_refused() -> None:
    """The function is given containers of its own, and the caller's would stay as they are."""
    calls: list[tuple[Any, tuple[Any, ...], dict[str, Any], str]] = [
        (appends, (X, []), {}, "log"),
        (takes, ({"x": X},), {}, "batch"),
        (counts, (X,), {"state": {"n": [1]}}, "state"),
    ]
    for function, args, keywords, name in calls:
        with pytest.raises(tg.TraceError, match=rf"{function.__name__} changes its argument {name}.*a copy"):
            tg.compile(function)(*args, **keywords)
    copied = tg.compile(lambda batch: takes(dict(batch)))
    assert copied({"x": X}).numpy().tolist() == (2 * X).tolist()
    own = tg.compile(lambda x, *rest, **more: x * more.pop("by") + [*rest].pop())
    assert own(X, X, by=2.0).numpy().tolist() == (3 * X).tolist()


def test_an_item_of_an_argument_is_a_tensor() -> None:
    """Also where nothing but memory is looked at, and beside what kernels compute."""
    for f in (lambda x: (x[-1], x * 2), lambda x: (x[0], x[1], tg.exp(x)), lambda x: [x[1], *x]):
        compiled = tg.compile(f)
        for _ in range(2):
            for got, wanted in zip(compiled(X), f(tg.tensor(X)), strict=True):
                assert type(got) is tg.Tensor and got.shape == wanted.shape
                np.testing.assert_allclose(got.numpy(), wanted.numpy(), rtol=1e-6)
