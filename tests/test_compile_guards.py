"""What a compiled function reads besides its arguments: where it is another, the function is traced again."""

import logging
from array import array
from collections import deque
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

import tensorgraph as tg
from tensorgraph import nn, optim
from tensorgraph.compile import RecompileError

ONE = tg.tensor(1.0)
rate = 2.0
table = np.array([1.0, 2.0], np.float32)
settings = {"rates": [1.0, 2.0], "deep": {"rate": 3.0}}
config = ModuleType("config")
config.rate = 2.0  # type: ignore[attr-defined]


class Config:
    shared = 5.0

    def __init__(self) -> None:
        self.rate = 2.0
        self.inner = SimpleNamespace(rate=3.0)


class Slotted:
    __slots__ = ("rate",)

    def __init__(self) -> None:
        self.rate = 2.0


cfg, slotted = Config(), Slotted()
parts = [Config(), Config()]


def helper(x: Any) -> Any:
    return x * rate


def calls(f: Any, *args: Any) -> Any:
    """The result of a compiled function, the same at a second call."""
    first, second = f(*args).tolist(), f(*args).tolist()
    assert first == second
    return first


# each: a function, how what it reads is changed, the result before and after -----------------------------------------


class Put:
    """Puts something in a place, and back."""

    back: Callable[[], Any] = staticmethod(lambda: None)

    def item(self, holder: Any, key: Any, value: Any) -> None:
        old = holder[key]
        holder[key] = value
        self.back = lambda: holder.__setitem__(key, old)

    def attribute(self, holder: Any, name: str, value: Any) -> None:
        old = getattr(holder, name)
        setattr(holder, name, value)
        self.back = lambda: setattr(holder, name, old)

    def default_dtype(self, name: str) -> None:
        tg.set_default_dtype(name)
        self.back = lambda: tg.set_default_dtype("float32")


def _global(put: Put) -> Any:
    return lambda x: x * rate, lambda: put.item(globals(), "rate", 3.0), 2.0, 3.0


def _global_of_a_helper(put: Put) -> Any:
    return lambda x: helper(x), lambda: put.item(globals(), "rate", 3.0), 2.0, 3.0


def _helper(put: Put) -> Any:
    return lambda x: helper(x), lambda: put.item(globals(), "helper", lambda x: x * 7), 2.0, 7.0


def _closure(put: Put) -> Any:
    factor = 2.0

    def change(value: float = 3.0) -> None:
        nonlocal factor
        factor = value
        put.back = lambda: change(2.0)

    return lambda x: x * factor, change, 2.0, 3.0


def _closure_of_a_helper(put: Put) -> Any:
    factor = 2.0

    def inner(x: Any) -> Any:
        return x * factor

    def change(value: float = 3.0) -> None:
        nonlocal factor
        factor = value
        put.back = lambda: change(2.0)

    others = {"inner": inner}
    return lambda x: others["inner"](x), change, 2.0, 3.0


def _attribute(put: Put) -> Any:
    return lambda x: x * cfg.rate, lambda: put.attribute(cfg, "rate", 3.0), 2.0, 3.0


def _deep_attribute(put: Put) -> Any:
    return lambda x: x * cfg.inner.rate, lambda: put.attribute(cfg.inner, "rate", 4.0), 3.0, 4.0


def _class_attribute(put: Put) -> Any:
    return lambda x: x * cfg.shared, lambda: put.attribute(Config, "shared", 6.0), 5.0, 6.0


def _slot(put: Put) -> Any:
    return lambda x: x * slotted.rate, lambda: put.attribute(slotted, "rate", 3.0), 2.0, 3.0


def _of_a_module(put: Put) -> Any:
    return lambda x: x * config.rate, lambda: put.attribute(config, "rate", 3.0), 2.0, 3.0


def _item(put: Put) -> Any:
    return lambda x: x * settings["deep"]["rate"], lambda: put.item(settings["deep"], "rate", 4.0), 3.0, 4.0


def _item_by_a_pair(put: Put) -> Any:
    held = {(0, 1): 2.0}
    return lambda x: x * held[0, 1], lambda: put.item(held, (0, 1), 3.0), 2.0, 3.0


def _list(put: Put) -> Any:
    return lambda x: x * sum(settings["rates"]), lambda: put.item(settings["rates"], 0, 5.0), 3.0, 7.0


def _objects_in_a_list(put: Put) -> Any:
    return lambda x: sum(x * part.rate for part in parts), lambda: put.attribute(parts[1], "rate", 3.0), 4.0, 5.0


def _local_object(put: Put) -> Any:
    def f(x: Any) -> Any:
        part = parts[0]
        return x * part.rate

    return f, lambda: put.attribute(parts[0], "rate", 3.0), 2.0, 3.0


def _array(put: Put) -> Any:
    return lambda x: (x * table).sum(), lambda: put.item(table, 0, 5.0), 3.0, 7.0


def _array_in_numpy(put: Put) -> Any:
    return lambda x: x * float(table.sum()), lambda: put.item(table, 1, 5.0), 3.0, 6.0


def _instance_over_its_class(put: Put) -> Any:
    own = Config()

    def change() -> None:
        own.shared = 6.0
        put.back = lambda: delattr(own, "shared")

    return lambda x: x * own.shared, change, 5.0, 6.0


def _method_of_an_instance(put: Put) -> Any:
    class Scale:
        def by(self, x: Any) -> Any:
            return x * 2

    scale = Scale()

    def change() -> None:
        scale.by = lambda x: x * 3  # type: ignore[method-assign]
        put.back = lambda: delattr(scale, "by")

    return lambda x: scale.by(x), change, 2.0, 3.0


def _attribute_by_name(put: Put) -> Any:
    return lambda x: x * getattr(cfg, "".join(["ra", "te"])), lambda: put.attribute(cfg, "rate", 3.0), 2.0, 3.0


def _attributes_of(put: Put) -> Any:
    return lambda x: x * vars(cfg)["rate"], lambda: put.attribute(cfg, "rate", 3.0), 2.0, 3.0


def _default(put: Put) -> Any:
    def f(x: Any, by: float = 2.0) -> Any:
        return x * by

    return f, lambda: put.attribute(f, "__defaults__", (3.0,)), 2.0, 3.0


def _default_of_a_helper(put: Put) -> Any:
    def scale(x: Any, by: float = 2.0) -> Any:
        return x * by

    return lambda x: scale(x), lambda: put.attribute(scale, "__defaults__", (3.0,)), 2.0, 3.0


def _keyword_default(put: Put) -> Any:
    def scale(x: Any, *, by: float = 2.0) -> Any:
        return x * by

    return lambda x: scale(x), lambda: put.item(scale.__kwdefaults__, "by", 3.0), 2.0, 3.0


def _code(put: Put) -> Any:
    """As a notebook does that loads what was edited."""

    def scale(x: Any) -> Any:
        return x * 2

    def edited(x: Any) -> Any:
        return x * 3

    return lambda x: scale(x), lambda: put.attribute(scale, "__code__", edited.__code__), 2.0, 3.0


def _deque(put: Put) -> Any:
    last = deque([1.0, 1.0])
    return lambda x: x * sum(last), lambda: put.item(last, 0, 2.0), 2.0, 3.0


def _bytes(put: Put) -> Any:
    held = bytearray([2])
    return lambda x: x * held[0], lambda: put.item(held, 0, 3), 2.0, 3.0


def _array_of_python(put: Put) -> Any:
    held = array("d", [2.0])
    return lambda x: x * held[0], lambda: put.item(held, 0, 3.0), 2.0, 3.0


def _array_of_objects(put: Put) -> Any:
    held = np.array([[2.0, None]], object)
    return lambda x: x * held[0, 0], lambda: put.item(held, (0, 0), 3.0), 2.0, 3.0


def _default_dtype(put: Put) -> Any:
    return lambda x: x * 2, lambda: put.default_dtype("float64"), 2.0, 2.0


CASES = {name[1:]: case for name, case in list(globals().items()) if name.startswith("_") and name[1].isalpha()}


@pytest.mark.parametrize("name", CASES)
def test_what_is_read_is_watched(name: str) -> None:
    put = Put()
    function, change, before, after = CASES[name](put)
    f = tg.compile(function)
    try:
        assert calls(f, ONE) == before and f.stats.traces == 1
        change()
        assert function(ONE).tolist() == after
        assert calls(f, ONE) == after and f.stats.traces == 2, f.stats
        assert len(f.stats.retraces) == 1
    finally:
        put.back()
    assert calls(f, ONE) == before and f.stats.traces == 2, "what was traced before is taken again"


def test_equal_values_made_anew_trace_once(monkeypatch: Any) -> None:
    f = tg.compile(lambda x: x * rate + settings["deep"]["rate"])
    for _ in range(5):
        monkeypatch.setitem(globals(), "rate", float("2.0"))
        monkeypatch.setitem(settings["deep"], "rate", float("3.0"))
        assert f(ONE).item() == 5.0
    assert f.stats.traces == 1
    for value, dtype in ((2, "int64"), (2.0, "float32"), (True, "int64")):  # another type is another program
        monkeypatch.setitem(globals(), "rate", value)
        monkeypatch.setitem(settings["deep"], "rate", 0)
        assert f(tg.tensor(1)).dtype == dtype


def test_the_sign_of_zero_is_a_part_of_a_value(monkeypatch: Any) -> None:
    f = tg.compile(helper)
    for value in (0.0, -0.0, 0.0, float("nan"), float("nan")):
        monkeypatch.setitem(globals(), "rate", value)
        assert str(f(ONE).item()) == str(value)
    assert f.stats.traces == 3


def small_only(x: Any) -> Any:
    return x * rate


def test_what_other_sizes_read_is_watched_too(monkeypatch: Any) -> None:
    f = tg.compile(lambda x: x * cfg.rate if len(x) > 2 else small_only(x))
    large, small = tg.ones((3,)), tg.ones((2,))
    assert f(large).tolist() == [2.0] * 3 and f(small).tolist() == [2.0] * 2 and f.stats.traces == 2
    monkeypatch.setitem(globals(), "rate", 3.0)
    assert f(small).tolist() == [3.0] * 2
    monkeypatch.setattr(cfg, "rate", 4.0)
    assert f(large).tolist() == [4.0] * 3


def test_what_is_not_read_may_change(monkeypatch: Any) -> None:
    f = tg.compile(lambda x: x * cfg.rate)
    assert f(ONE).item() == 2.0
    monkeypatch.setattr(cfg, "inner", None)
    monkeypatch.setitem(globals(), "rate", 9.0)
    assert f(ONE).item() == 2.0 and f.stats.traces == 1


# modules and optimisers ----------------------------------------------------------------------------------------------


class Net(nn.Module):
    def __init__(self) -> None:
        self.layers = [nn.Linear(2, 2, seed=0), nn.Linear(2, 2, seed=1)]
        self.factor = 1.0

    def forward(self, x: Any) -> Any:
        for layer in self.layers:
            x = layer(x)
        return x * self.factor


def _mode(net: Net) -> None:
    net.eval()


def _factor(net: Net) -> None:
    net.factor = 2.0


def _longer(net: Net) -> None:
    net.layers.append(nn.Linear(2, 2, seed=2))


def _replaced(net: Net) -> None:
    net.layers[0] = nn.Linear(2, 2, seed=5)


def _parameter(net: Net) -> None:
    net.layers[1].weight = tg.Parameter(np.ones((2, 2), np.float32))


def _wider(net: Net) -> None:
    net.astype("float64")


def _hooked(net: Net) -> None:
    net.layers[0].register_forward_hook(lambda module, args, out: out + 1.0)


def _frozen(net: Net) -> None:
    net.layers[0].requires_grad_(False)


@pytest.mark.parametrize("change", [_mode, _factor, _longer, _replaced, _parameter, _wider, _hooked, _frozen])
def test_a_module_is_watched(change: Any) -> None:
    net = Net()
    f = net.compile()
    x = np.ones((1, 2))
    with tg.no_grad():
        expected = net(x.astype(np.float32)).tolist()  # products have the bits of BLAS, which the machine decides
        np.testing.assert_allclose(calls(f, x.astype(net.layers[0].weight.dtype)), expected, rtol=1e-6)
        change(net)
        x = x.astype(net.layers[0].weight.dtype)
        np.testing.assert_allclose(calls(f, x), net(x).tolist(), rtol=1e-6)
        assert f.stats.traces == (1 if change is _mode else 2)  # no layer of it asks for the mode


def test_training_and_evaluation_are_both_kept() -> None:
    net = nn.Sequential(nn.Linear(2, 2, seed=0), nn.Dropout(0.5, seed=1))
    f = net.compile()
    x = np.ones((4, 2), np.float32)
    for _ in range(3):
        net.train()
        f(x)
        net.eval()
        with tg.no_grad():
            assert f(x).tolist() == net(x).tolist()
    assert f.stats.traces == 2, f.stats


def test_an_optimiser_is_watched() -> None:
    w = tg.Parameter([4.0], name="w")
    sgd = optim.SGD([w], lr=0.5)

    @tg.compile
    def step() -> Any:
        loss = (w * w).sum()
        sgd.minimize(loss)
        return loss

    step()
    assert w.tolist() == [0.0] and step.stats.traces == 1
    w.assign([4.0])
    sgd.lr = 0.25  # a cell: nothing is traced again
    step()
    assert w.tolist() == [2.0] and step.stats.traces == 1
    sgd.clip_norm = 1.0
    step()
    assert w.tolist() == [1.75] and step.stats.traces == 2
    sgd.lr = lambda count: 1.0 / (count + 1)
    step()
    assert step.stats.traces == 3 and w.tolist() == [1.5]


# saying so -----------------------------------------------------------------------------------------------------------


def test_each_trace_is_one_line_in_the_log(caplog: Any, monkeypatch: Any) -> None:
    f = tg.compile(helper)
    with caplog.at_level(logging.INFO, "tensorgraph.compile"):
        f(ONE)
        f(ONE)
        monkeypatch.setitem(globals(), "rate", 3.0)
        f(ONE)
        f(tg.tensor([1.0, 2.0]))
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 3 and "rate was 2.0 and is 3.0 now" in lines[1] and "x was f32[] and is f32[2] now" in lines[2]


def test_what_is_slow_to_watch_is_told(caplog: Any) -> None:
    large = np.zeros((300, 300), np.float64)
    f = tg.compile(lambda x: x + large.sum())
    assert f(ONE).item() == 1.0
    assert "large is compared before every call" in caplog.text
    large[3, 4] = 2.0
    assert f(ONE).item() == 3.0
    caplog.clear()
    still = np.zeros((300, 300), np.float64)
    still.flags.writeable = False
    assert tg.compile(lambda x: x + still.sum())(ONE).item() == 1.0 and not caplog.text


def test_a_second_trace_may_be_refused(monkeypatch: Any) -> None:
    f = tg.compile(helper, fail_on_recompile=True)
    f(ONE)
    monkeypatch.setitem(globals(), "rate", 3.0)
    with pytest.raises(RecompileError, match=r"rate was 2\.0 and is 3\.0"):
        f(ONE)
    with pytest.raises(RuntimeError, match=r"x was f32\[\] and is f32\[1\] now"):
        f(tg.tensor([1.0]))


def test_what_the_function_changes_itself_is_refused() -> None:
    counts = {"n": 0}
    net = Net()

    def of_a_dict(x: Any) -> Any:
        counts["n"] += 1
        return x * counts["n"]

    def of_a_module(x: Any) -> Any:
        net.factor = net.factor + 1
        return net(x)

    log: list[Any] = []

    def of_a_list(x: Any) -> Any:
        log.append(3)
        return x

    before = net.factor
    for function, what in ((of_a_dict, "counts"), (of_a_module, "Net.factor"), (of_a_list, "log")):
        with pytest.raises(tg.TraceError, match=rf"{function.__name__} changes .*{what}.*Buffer"):
            tg.compile(function)(np.ones((1, 2), np.float32))
    assert net.factor == before


def test_random_numbers_of_numpy_are_refused() -> None:
    with pytest.raises(tg.TraceError, match=r"draws from numpy\.random"):
        tg.compile(lambda x: x * np.random.rand())(ONE)  # noqa: NPY002
