"""Containers of the user's own classes, and objects that a trace does not look into."""

import itertools
from collections import Counter, OrderedDict, UserList, defaultdict, deque
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

import tensorgraph as tg

X = tg.tensor([1.0, 2.0, 3.0])


class Row(list):
    def product(self) -> Any:
        return self[0] * self[1][:3]


class Pair(tuple):
    __slots__ = ()

    def product(self) -> Any:
        return self[0] * self[1][:3]


class Table(dict):
    def __init__(self, scale: float, **items: Any) -> None:
        super().__init__(**items)
        self.scale = scale

    def product(self) -> Any:
        return self["a"] * self["b"][:3] * self.scale


class Sorted(OrderedDict):
    def product(self) -> Any:
        self.move_to_end("a")
        return self["a"] * self["b"][:3]


class Filled(defaultdict):
    def product(self) -> Any:
        return self["a"] * self["b"][:3] + len(self["missing"])


B = tg.tensor([1.0, 1.0, 2.0, 5.0])
OWN = {
    "list": Row([X, B]),
    "tuple": Pair([X, B]),
    "dict": Table(2.0, a=X, b=B),
    "OrderedDict": Sorted(a=X, b=B),
    "defaultdict": Filled(list, a=X, b=B),
}
DOORS: dict[str, Any] = {
    "grad": lambda f, d: tg.grad(lambda d: f(d).sum())(d),
    "vjp": lambda f, d: tg.vjp(f, d)[1](tg.ones(3))[0],
    "jvp": lambda f, d: tg.jvp(f, (d,), (d,)),
    "trace": lambda f, d: tg.trace(f, d)(d),
    "checkpoint": lambda f, d: tg.checkpoint(f)(d),
    "vmap": lambda f, d: tg.vmap(f)(tg.tree_map(lambda t: tg.stack([t, t]), d)),
    "tree_map": lambda f, d: f(tg.tree_map(lambda t: t * 2, d)),
}


@pytest.mark.parametrize("container", OWN.values(), ids=OWN)
@pytest.mark.parametrize("door", DOORS.values(), ids=DOORS)
def test_a_container_keeps_its_class_everywhere(door: Any, container: Any) -> None:
    seen = []

    def function(d: Any) -> Any:
        seen.append(d)
        return d.product()

    result = door(function, container)
    assert all(type(d) is type(container) for d in seen) and seen
    assert isinstance(result, (tg.Tensor, tuple, type(container)))


@pytest.mark.parametrize("container", OWN.values(), ids=OWN)
def test_gradients_and_graphs_of_them_are_right(container: Any) -> None:
    g = tg.grad(lambda d: d.product().sum())(container)
    assert type(g) is type(container)
    first, second = g.values() if isinstance(g, dict) else g
    scale = getattr(container, "scale", 1.0)
    assert first.tolist() == [scale, scale, 2 * scale]
    assert second.tolist() == [scale, 2 * scale, 3 * scale, 0]
    graph = tg.trace(lambda d: d.product(), container)
    assert graph(container).tolist() == container.product().tolist()
    assert tg.parse(str(graph)) == graph
    assert type(tg.trace(lambda d: d, container)(container)) is type(container)


def test_what_the_standard_library_makes_keeps_its_class() -> None:
    def count(d: Any) -> Any:
        return d["a"] * len(d["zz"]) + d["a"]

    assert tg.trace(count, defaultdict(list, a=X))(defaultdict(list, a=X)).tolist() == [1, 2, 3]
    assert type(tg.grad(lambda d: d["a"] ** 2)(Counter(a=2.0))) is Counter
    assert tg.grad(lambda d: (d["a"] ** 2).sum())(MappingProxyType({"a": X}))["a"].tolist() == [2, 4, 6]


def test_attributes_of_a_container_are_no_arguments() -> None:
    table = Table(2.0, a=X, b=B)
    graph = tg.trace(lambda d: d.product(), table)
    table.scale = 5.0
    with pytest.raises(ValueError, match=r"d\.?\['scale'\] was 2.0 when the function was traced and is 5.0 now"):
        graph(table)
    table.scale = X  # type: ignore[assignment]
    with pytest.raises(tg.TraceError, match="scale"):
        tg.trace(lambda d: d.product(), table)


# objects that are not looked into -------------------------------------------------------------------------------------


@pytest.mark.parametrize("hold", [
    lambda a: deque([a]), lambda a: {"a": a}.values(), lambda a: UserList([a]), lambda a: deque([[a]]),
])  # fmt: skip
@pytest.mark.parametrize("array", [X, np.arange(3.0)])
def test_a_collection_of_arrays_that_is_no_container_is_refused_when_they_are_used(hold: Any, array: Any) -> None:
    def first(d: Any) -> Any:
        while not hasattr(d, "ndim"):
            d = next(iter(d))
        return d

    with pytest.raises(tg.TraceError, match=r"d.* is used"):
        tg.trace(lambda d, x: first(d) * x, hold(array), X)
    with pytest.raises(TypeError, match=r"a dataclass of these, got a.*make a list of it"):
        tg.grad(lambda d: (first(d) * 2).sum())(hold(array))


@pytest.mark.parametrize("make", [
    lambda: iter([X]), lambda: (x for x in [X]), lambda: map(tg.exp, [X]), lambda: itertools.chain([X]),
    lambda: zip([X], [X], strict=True),
])  # fmt: skip
def test_an_iterator_is_no_argument_of_a_trace(make: Any) -> None:
    with pytest.raises(TypeError, match=r"trace: the argument d is an iterator .* pass a list"):
        tg.trace(lambda d: next(d), make())


class Settings:
    kind = 2.0

    def __init__(self) -> None:
        self.rate, self.rates, self.on, self.nested = 2.0, [1.0, 2.0, 3.0], True, {"a": {"b": np.float32(2)}}
        self.calls, self.cache = 0, None


CHANGES: dict[str, Any] = {
    "o.rate": lambda o: setattr(o, "rate", 5.0),
    "o.kind": lambda o: setattr(o, "kind", 5.0),
    "o.rates[1]": lambda o: o.rates.__setitem__(1, 5.0),
    "o.rates[3]": lambda o: o.rates.append(5.0),
    "o.rates[2]": lambda o: o.rates.pop(),
    "o.on": lambda o: setattr(o, "on", False),
    "o.nested['a']['b']": lambda o: o.nested["a"].__setitem__("b", np.float32(5)),
}


@pytest.mark.parametrize(("path", "change"), CHANGES.items(), ids=CHANGES)
def test_numbers_in_an_object_are_those_of_the_trace_or_refused(path: str, change: Any) -> None:
    def function(o: Any, x: Any) -> Any:
        o.calls += 1
        scale = o.rate * o.kind * o.nested["a"]["b"] if o.on else 1.0
        return x * scale * tg.tensor(o.rates)

    settings = Settings()
    for at, settings_of in ((0, lambda o: o), (1, lambda o: [o])):
        graph = tg.trace(function if at == 0 else lambda o, x: function(o[0], x), settings_of(settings), X)
        expected = function(settings, X).tolist()
        settings.cache = object()  # type: ignore[assignment]  # what is none of the numbers
        assert graph(settings_of(settings), X).tolist() == expected
        assert graph.simplify()(settings_of(settings), X).tolist() == expected
    graph = tg.trace(function, settings, X)
    change(settings)
    for run in (graph, graph.simplify(), graph.bind()):
        with pytest.raises(ValueError, match="when the function was traced") as raised:
            run(settings, X)
        assert path in str(raised.value)
