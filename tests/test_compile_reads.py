"""Ways to what a compiled function reads that no name of its leads to; and what it made itself, which it may change."""

import builtins
import collections
import copy
import dataclasses
import functools
import gc
import operator
import weakref
from collections import ChainMap, UserDict, UserList, deque
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from types import MappingProxyType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

import tensorgraph as tg
from tensorgraph import nn
from tensorgraph.compile.reads import Chain, chains

X = tg.tensor([1.0, 2.0, 3.0])
CONTEXT: ContextVar[Any] = ContextVar("CONTEXT", default=2.0)


class Config:
    def __init__(self, rate: float = 2.0, inner: Any = None) -> None:
        self.rate, self.inner = rate, inner


class Special(Config):
    shared = 2.0


class Other(Special):
    shared = 7.0


@dataclasses.dataclass
class Settings:
    rate: float = 2.0


class Attributes(dict[str, Any]):
    __getattr__ = dict.__getitem__


class Scaling(nn.Module):
    def forward(self, x: Any) -> Any:
        return x * 2.0


def _variable_of_a_loop() -> Any:
    parts = [Config(inner=Config()), Config(inner=Config())]

    def f(x: Any) -> Any:
        for part in parts:
            inner = part.inner
            x = x * inner.rate
        return x

    return f, lambda: setattr(parts[0].inner, "rate", 5.0)


def _variable_that_is_set_twice() -> Any:
    parts = [Config(), Config()]

    def f(x: Any) -> Any:
        part = parts[0]
        x = x * part.rate
        part = parts[1]
        return x * part.rate

    return f, lambda: setattr(parts[0], "rate", 5.0)


def _variables_of_one_line() -> Any:
    first, second = Config(), Config()

    def f(x: Any) -> Any:
        c = first; y = x * c.rate; c = second; return y * c.rate  # fmt: skip # noqa: E702

    return f, lambda: setattr(first, "rate", 5.0)


def _linked() -> Any:
    last = Config(3.0)
    first = Config(inner=Config(inner=last))

    def f(x: Any) -> Any:
        at = first
        while at is not None:
            x, at = x * at.rate, at.inner
        return x

    return f, lambda: setattr(last, "inner", Config(5.0))


def _result() -> Any:
    config = Config(inner={"rates": [2.0]})

    def get() -> Any:
        return config

    return lambda x: x * get().rate * get().inner["rates"][0], lambda: config.inner["rates"].__setitem__(0, 5.0)


def _result_of_a_property() -> Any:
    class Holder:
        _config = Config()

        @property
        def config(self) -> Any:
            return self._config

    holder = Holder()
    return lambda x: x * holder.config.rate, lambda: setattr(Holder._config, "rate", 5.0)


def _dict_of_attributes() -> Any:
    config = Config()
    return lambda x: x * config.__dict__["rate"], lambda: setattr(config, "rate", 5.0)


def _attributes_that_a_library_computes() -> Any:
    config = Attributes(optimizer=Attributes(rate=2.0))
    return lambda x: x * config.optimizer.rate, lambda: config["optimizer"].__setitem__("rate", 5.0)


def _base() -> Any:
    config = Special()
    Special.rate_of_all = None  # type: ignore[attr-defined]
    Config.common = 2.0  # type: ignore[attr-defined]

    def change() -> None:
        Special.common = 5.0  # type: ignore[attr-defined]

    def back() -> None:
        del Special.common, Config.common, Special.rate_of_all  # type: ignore[attr-defined]

    return lambda x: x * config.common, change, back  # type: ignore[attr-defined]


def _class_of_an_object() -> Any:
    config = Special()
    return lambda x: x * config.shared, lambda: setattr(config, "__class__", Other)


def _forward() -> Any:
    module, forward = Scaling(), Scaling.forward
    return (
        lambda x: module(x),
        lambda: setattr(Scaling, "forward", lambda self, x: x * 5.0),
        (lambda: setattr(Scaling, "forward", forward)),
    )


def _code_of_forward() -> Any:
    """As tools do that load what was edited."""
    module, code = Scaling(), Scaling.forward.__code__
    new = (lambda self, x: x * 5.0).__code__
    return (
        lambda x: module(x),
        lambda: setattr(Scaling.forward, "__code__", new),
        (lambda: setattr(Scaling.forward, "__code__", code)),
    )


def _builtin() -> Any:
    def back() -> None:
        del globals()["abs"]

    return lambda x: x * abs(-2.0), lambda: globals().__setitem__("abs", lambda value: builtins.abs(value) + 3), back


def _context() -> Any:
    return lambda x: x * CONTEXT.get(), lambda: CONTEXT.set(5.0), lambda: CONTEXT.set(2.0)


def _object_of_a_context() -> Any:
    config = Config()
    CONTEXT.set(config)
    return lambda x: x * CONTEXT.get().rate, lambda: setattr(config, "rate", 5.0), lambda: CONTEXT.set(2.0)


def _weak_reference() -> Any:
    config = Config()
    reference = weakref.ref(config)
    return lambda x: x * reference().rate, lambda: setattr(config, "rate", 5.0)  # type: ignore[union-attr]


def _dataclass_as_a_dict() -> Any:
    settings = Settings()
    return lambda x: x * dataclasses.asdict(settings)["rate"], lambda: setattr(settings, "rate", 5.0)


def _dataclass_replaced() -> Any:
    settings = Settings()
    return lambda x: x * dataclasses.replace(settings).rate, lambda: setattr(settings, "rate", 5.0)


def _copied() -> Any:
    config = Config(inner=[Config()])
    return lambda x: x * copy.deepcopy(config).inner[0].rate, lambda: setattr(config.inner[0], "rate", 5.0)


def _wrapped(wrapper: Any, held: Any) -> Any:
    key = 0 if isinstance(held, list) else "rate"
    wrapped = wrapper(held)
    store = getattr(wrapped, "data", held)
    return lambda x: x * wrapped[key], lambda: store.__setitem__(key, 5.0)


def _memory() -> Any:
    data = bytearray(b"\x02\x03")
    view = memoryview(data)
    return lambda x: x * view[0], lambda: data.__setitem__(0, 9)


def _keywords_of_a_partial() -> Any:
    scaled = functools.partial(lambda x, rate: x * rate, rate=2.0)
    return lambda x: scaled(x), lambda: scaled.keywords.update(rate=5.0)


def _field_of_a_named_tuple() -> Any:
    pair = collections.namedtuple("pair", "rates name")([2.0], "a")
    return lambda x: x * pair.rates[0], lambda: pair.rates.__setitem__(0, 5.0)


def _members_of_a_weak_set() -> Any:
    held = [Config()]
    known = weakref.WeakSet(held)
    return lambda x: x * sum(one.rate for one in known), lambda: setattr(held[0], "rate", 5.0)


def _length_of_a_weak_set() -> Any:
    held = [Config()]
    known = weakref.WeakSet(held)
    return lambda x: x * len(known), lambda: (held.append(Config()), known.add(held[-1]))


def _attribute_of_a_function() -> Any:
    def scaled(x: Any) -> Any:
        return x * scaled.rate  # type: ignore[attr-defined]

    scaled.rate = 2.0  # type: ignore[attr-defined]
    return scaled, lambda: setattr(scaled, "rate", 5.0)


def _attribute_that_a_function_may_lack() -> Any:
    def scaled(x: Any) -> Any:
        try:
            return x * scaled.rate  # type: ignore[attr-defined]
        except AttributeError:
            return x * 2.0

    return scaled, lambda: setattr(scaled, "rate", 5.0)


def _method_of_a_class_behind() -> Any:
    class Behind:
        def scaled(self, x: Any) -> Any:
            return x * 2.0

    class Before(Behind):
        def scaled(self, x: Any) -> Any:
            return super().scaled(x) + 1.0

    one = Before()
    return lambda x: one.scaled(x), lambda: setattr(Behind, "scaled", lambda self, x: x * 5.0)


def _getter() -> Any:
    config, rate = Config(), operator.attrgetter("rate")
    return lambda x: x * rate(config), lambda: setattr(config, "rate", 5.0)


def _getter_of_items() -> Any:
    configs = [Config(), Config(3.0)]
    return lambda x: x * max(map(operator.attrgetter("rate"), configs)), lambda: setattr(configs[0], "rate", 5.0)


def _slot_by_its_name() -> Any:
    class Slotted:
        __slots__ = ("rate",)

    one, name = Slotted(), "rate"
    one.rate = 2.0  # type: ignore[attr-defined]
    return lambda x: x * getattr(one, name), lambda: setattr(one, "rate", 5.0)


def _bound_method_of_a_dict() -> Any:
    rates = {"rate": 2.0}
    get = rates.get
    return lambda x: x * get("rate"), lambda: rates.update(rate=5.0)


def _view_of_a_dict() -> Any:
    rates = {"rate": 2.0}
    values = rates.values()
    return lambda x: x * sum(values), lambda: rates.update(more=5.0)


def _array_of_objects() -> Any:
    parts = np.array([{"rate": 2.0}], object)
    return lambda x: x * parts[0]["rate"], lambda: parts[0].update(rate=5.0)


def _shape_that_is_set() -> Any:
    array = np.ones((2, 3), np.float32)
    return lambda x: x * array.shape[0], lambda: array.resize((3, 2), refcheck=False)


def _function_for_a_type() -> Any:
    dispatched, rate = functools.singledispatch(lambda rate, x: x), [2.0]
    dispatched.register(float, lambda rate, x: x * rate)
    return lambda x: dispatched(rate[0], x), lambda: dispatched.register(float, lambda rate, x: x * 5.0)


def _name_of_globals() -> Any:
    space: dict[str, Any] = {"rate": 2.0}
    exec("def scaled(x): return x * globals()['rate']", space)
    return space["scaled"], lambda: space.update(rate=5.0)


def _pattern() -> Any:
    config = Config()

    def f(x: Any) -> Any:
        match config:
            case Config(rate=2.0):
                return x
            case Config(rate=rate):
                return x * rate

    return f, lambda: setattr(config, "rate", 5.0)


READS: dict[str, Callable[[], Any]] = {
    name.strip("_"): make
    for name, make in [*globals().items()]
    if name[:1] == "_" and callable(make) and name not in ("_wrapped", "__loader__")
} | {
    "proxy": lambda: _wrapped(MappingProxyType, {"rate": 2.0}),
    "UserDict": lambda: _wrapped(UserDict, {"rate": 2.0}),
    "UserList": lambda: _wrapped(UserList, [2.0]),
    "ChainMap": lambda: _wrapped(lambda held: ChainMap({}, held), {"rate": 2.0}),
}


@pytest.mark.parametrize("name", READS)
def test_what_no_name_leads_to_is_watched(name: str) -> None:
    f, change, *back = READS[name]()
    compiled = tg.compile(f)
    before = f(X).tolist()
    assert compiled(X).tolist() == compiled(X).tolist() == before and compiled.stats.traces == 1
    try:
        change()
        after = f(X).tolist()
        assert compiled(X).tolist() == compiled(X).tolist() == after != before
        assert compiled.stats.traces == 2
    finally:
        for put_back in back:
            put_back()


def test_names_are_read_one_by_one_also_where_the_interpreter_reads_two_at_a_time() -> None:
    def both(first: Any, second: Any) -> Any:
        third = max(first, second)
        return third.rate

    def captured(first: Any) -> Any:
        return lambda: first

    assert Chain("argument", "first") in chains(both.__code__) and Chain("argument", "second") in chains(both.__code__)
    assert Chain("local", "third", ((True, "rate"),)) in chains(both.__code__)
    assert not chains(captured.__code__)  # which the function inside reads, if it is called


# what the function made itself ----------------------------------------------------------------------------------------


class State:
    def __init__(self) -> None:
        self.count, self.seen = 0, []  # type: ignore[var-annotated]

    def add(self, value: Any) -> Any:
        self.count += 1
        self.seen.append(value)
        return self


def push(seen: list[Any], value: Any) -> list[Any]:
    seen.append(value)
    return seen


def _object(x: Any) -> Any:
    state = State()
    for n in range(3):
        state = state.add(n)
        x = x + state.count
    return x * len(state.seen)


def _list(x: Any) -> Any:
    seen: list[Any] = []
    for n in range(3):
        x = x * push(seen, n)[-1] + len(seen)
    return x


def _closure(x: Any) -> Any:
    count, seen = 0, [0]

    def add(value: int) -> list[int]:
        nonlocal count
        count += 1
        seen[0] += value
        return seen

    for n in range(3):
        x = x + add(n)[0]
    return x * count


def _dataclass(x: Any) -> Any:
    settings = Settings()
    for _ in range(2):
        settings = dataclasses.replace(settings, rate=settings.rate * 2)
        settings.rate += 1
    return x * settings.rate


def _queue(x: Any) -> Any:
    todo = deque([1, 2, 3])
    while todo:
        x = x * todo.popleft()
    return x


def _generators(x: Any) -> Any:
    for seed in range(2):
        rng = np.random.default_rng(seed)
        x = x + rng.normal(size=3).astype(np.float32)
    return x


def _namespace(x: Any) -> Any:
    space = SimpleNamespace()
    for key in "ab":
        setattr(space, key, len(vars(space)) + 1)
        x = x * operator.attrgetter(key)(space)
    return x


@pytest.fixture(scope="module")
def unfrozen() -> Iterator[None]:
    """A process as users have it: this one has frozen its objects, so that nobody finds what holds another."""
    gc.unfreeze()
    yield
    gc.freeze()


@pytest.mark.usefixtures("unfrozen")
@pytest.mark.parametrize("f", [_object, _list, _closure, _dataclass, _queue, _generators, _namespace])
def test_what_the_function_made_itself_may_be_changed(f: Any) -> None:
    compiled = tg.compile(f)
    expected = f(X).tolist()
    for _ in range(3):
        assert compiled(X).tolist() == expected
    assert compiled.stats.traces == 1


@pytest.mark.usefixtures("unfrozen")
def test_what_was_there_before_may_not_be_changed_by_a_helper_either() -> None:
    seen: list[Any] = []
    space = SimpleNamespace(seen=[])
    for f, given in ((lambda x: x * len(push(seen, 1)), ()), (lambda x, s: x * len(push(s.seen, 1)), (space,))):
        with pytest.raises(tg.TraceError, match=r"changes .*seen"):
            tg.compile(f)(X, *given)
