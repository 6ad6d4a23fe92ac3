"""Containers: dataclasses, named tuples, dicts with hostile keys; what is none is not looked into."""

import dataclasses
import enum
from collections import Counter, OrderedDict, UserDict, defaultdict, namedtuple
from dataclasses import dataclass, field
from types import MappingProxyType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from effort import examples
from hypothesis import given
from hypothesis import strategies as st

import tensorgraph as tg
from tensorgraph.engine.tree import Treedef, flatten, leaf_paths, tree_map, unflatten


@dataclass
class Pair:
    a: Any
    b: Any = None


@dataclass(frozen=True, slots=True)
class Frozen:
    w: Any
    inner: Any = ()
    mode: str = field(default="train", metadata={"static": True})


@dataclass(kw_only=True, order=True)
class Checked:
    x: Any
    norm: Any = field(init=False)

    def __post_init__(self) -> None:
        if not isinstance(self.x, np.ndarray):
            raise TypeError("arrays only")
        self.norm = np.sqrt((self.x**2).sum())


@dataclass
class Derived(Pair):
    c: Any = 1.0


Point = namedtuple("Point", "x y")
TYPES = [Pair, Frozen, Checked, Derived, Point]


def test_taken_apart_and_put_together() -> None:
    tree = {"p": Pair(1, [Frozen(2, (3, Pair(4, None)), "eval")]), "d": Derived(5, 6, 7)}
    leaves, treedef = flatten(tree)
    assert leaves == [1, 2, 3, 4, 5, 6, 7] and unflatten(treedef, leaves) == tree
    assert leaf_paths(treedef) == ["p.a", "p.b.0.w", "p.b.0.inner.0", "p.b.0.inner.1.a", "d.a", "d.b", "d.c"]
    assert str(treedef) == (
        "{'p': Pair(a=*, b=[Frozen(w=*, inner=(*, Pair(a=*, b=None)), mode='eval')]), 'd': Derived(a=*, b=*, c=*)}"
    )
    assert tree_map(lambda v: v * 2, Frozen(1, (2,))) == Frozen(2, (4,))
    checked = unflatten(flatten(Checked(x=np.ones(4)))[1], ["x", "norm"])
    assert (checked.x, checked.norm) == ("x", "norm")
    assert flatten(Frozen(1))[1] != flatten(Frozen(1, mode="eval"))[1]
    assert flatten(Pair(1))[1] != flatten(Derived(1))[1]
    with pytest.raises(ValueError, match="structure"):
        tree_map(lambda a, b: a, Frozen(1), Frozen(1, mode="eval"))


def test_what_is_compared_are_structures_and_no_arrays() -> None:
    one = dataclasses.make_dataclass("One", [("v", Any, field(metadata={"static": True}))])
    first, second = (flatten(one(np.ones(3)))[1] for _ in range(2))
    assert first == first and first != second and hash(first) == hash(second)
    assert flatten(one(float("nan")))[1] == flatten(one(float("nan")))[1]
    loop = Pair(1)
    loop.b = loop
    with pytest.raises(ValueError, match="holds itself"):
        flatten(loop)


def test_the_librarys_own_are_leaves() -> None:
    graph = tg.trace(lambda x: x, tg.f32[2])
    assert flatten([graph, tg.nn.Linear(2, 2), tg.spec((2,))])[1] == flatten([0, 0, 0])[1]


def test_derivatives() -> None:
    def loss(p: Any) -> Any:
        return (p.w * p.w).sum() + p.inner[0].a * 3.0

    point = Frozen(tg.tensor([1.0, 2.0]), [Pair(tg.tensor(2.0))])
    gradient = tg.grad(loss)(point)
    assert type(gradient) is Frozen and gradient.w.tolist() == [2.0, 4.0] and gradient.inner[0].a.tolist() == 3.0
    value, pull = tg.vjp(loss, point)
    assert pull(tg.tensor(1.0))[0].w.tolist() == [2.0, 4.0] and float(value) == 11.0
    _, tangent = tg.jvp(loss, (point,), (tree_map(lambda t: tg.ones(t.shape), point),))
    assert float(tangent) == 9.0
    assert type(tg.hessian(loss)(point)) is Frozen
    traced = tg.trace(tg.grad(loss), point)
    assert traced == tg.trace(loss, point).grad() and traced(point).w.tolist() == [2.0, 4.0]
    many = tg.vmap(lambda p: p.a * p.b)(Pair(np.ones((3, 2)), np.arange(3.0)))
    assert many.tolist() == [[0, 0], [1, 1], [2, 2]]
    axes = tg.vmap(lambda p: p.a * p.b, in_axes=(Pair(0, None),))(Pair(np.ones((3, 2)), np.arange(2.0)))
    assert axes.shape == (3, 2)


def test_traced_printed_and_read() -> None:
    def step(p: Frozen, q: Pair) -> Any:
        return Frozen(p.w * q.a, [q.b["k"][0] + 1.0], p.mode), Pair(q.a)

    point, other = Frozen(tg.ones(3)), Pair(tg.ones(3), {"k": (tg.tensor(2.0), "text", True)})
    graph = tg.trace(step, point, other)
    parsed = tg.parse(str(graph), types=TYPES)
    assert parsed == graph and str(parsed) == str(graph)
    for run in (graph, parsed, graph.bind()):
        made, pair = run(Frozen(tg.ones(3) * 2), other)
        assert (type(made), made.mode, made.w.tolist()) == (Frozen, "train", [2, 2, 2]) and pair.b is None
    with pytest.raises(TypeError, match="nested as"):
        graph(Frozen(tg.ones(3), mode="eval"), other)
    with pytest.raises(ValueError, match="static"):
        graph(point, Pair(tg.ones(3), {"k": (tg.tensor(2.0), "other", True)}))
    with pytest.raises(tg.ParseError, match="parse"):
        tg.parse(str(graph))
    read = tg.parse("def f(p: Pair(a=f32[N], b=None)):\n    q = p\n    return Pair(a=q.a * 2.0, b=q.b)\n", types=[Pair])
    assert read(Pair(tg.ones(2))).a.tolist() == [2.0, 2.0]
    with pytest.raises(tg.ParseError, match="there is no"):
        tg.parse("def f(p: Pair(a=f32)):\n    return p['a']\n", types=[Pair])


def test_what_a_text_refuses_of_a_dataclass() -> None:
    for body, message in [("p * 2.0", "takes a tensor here and got 2 values"), ("p.c", "no attribute 'c'; it has p.a"),
                          ("p[0]", "there is no 0"), ("p.a.b", "not part of the language"), ("-p", "got 2 values"),
                          ("Pair(a=p.a, c=1)", "Pair takes a=, b="), ("Pair(p.a)", "Pair takes a=, b="),
                          ("tanh(p)", "got 2 values"), ("p.sum()", "no tensor")]:  # fmt: skip
        with pytest.raises(tg.ParseError, match=message):
            tg.parse(f"def f(p: Pair(a=f32, b=f32)):\n    return {body}\n", types=[Pair])


def test_other_contents_other_numbers() -> None:
    graph = tg.trace(lambda d: d.a * 2, Pair(tg.ones(3)))
    assert graph(Pair(tg.zeros(3))).tolist() == [0, 0, 0]
    holder = dataclasses.make_dataclass("holder", [("fn", Any, field(metadata={"static": True})), ("x", Any)])
    with pytest.raises(TypeError, match=r"holder\.fn holds .*cannot say"):
        tg.trace(lambda h: h.fn(h.x), holder(tg.tanh, tg.ones(2)))
    plain = tg.trace(lambda h: h.b(h.a), Pair(tg.ones(2), tg.tanh))
    assert plain(Pair(tg.zeros(2), tg.tanh)).tolist() == [0, 0]


# what is no container ------------------------------------------------------------------------------------------------


class Plain:
    def __init__(self, a: Any, name: str = "n") -> None:
        self.a, self.name = a, name

    def __eq__(self, other: object) -> Any:
        return self.a == other.a  # type: ignore[attr-defined]

    __hash__ = None  # type: ignore[assignment]


class Slots:
    __slots__ = ("a", "name")

    def __init__(self, a: Any) -> None:
        self.a, self.name = a, "n"


OPAQUE: list[tuple[Any, Any]] = [
    (Plain, lambda c: c.a), (Slots, lambda c: c.a), (lambda a: SimpleNamespace(a=a), lambda c: c.a),
    (lambda a: Plain({"k": [a]}), lambda c: c.a["k"][0]),
    (lambda a: UserDict({"a": a}), lambda c: c["a"]), (lambda a: Plain(Slots(a)), lambda c: c.a.a),
]  # fmt: skip


@pytest.mark.parametrize(("make", "get"), OPAQUE)
@pytest.mark.parametrize("array", [np.arange(3.0), tg.tensor([1.0, 2.0, 3.0]), np.ones(3)])
def test_an_array_in_what_is_not_looked_into_is_refused(make: Any, get: Any, array: Any) -> None:
    holder = make(array)
    for function in (lambda c, x: x * get(c), lambda c, x: x + tg.exp(get(c)), lambda c, x: x * get(c)[:1],
                     lambda c, x: tg.concatenate([x, get(c)])):  # fmt: skip
        with pytest.raises(TypeError, match=r"array in an argument of class .*dataclass"):
            tg.trace(function, holder, tg.f64[3])
    if isinstance(array, np.ndarray) and (array != array[0]).any():
        with pytest.raises(TypeError, match="array in an argument"):  # a view op copies what it is given
            tg.trace(lambda c, x: x * tg.reshape(get(c), (3,)), holder, tg.f64[3])


def test_large_and_strange_arrays_in_it_cost_nothing() -> None:
    class Holder:
        table = np.array([None, "a", 1.5], object)

        def __init__(self) -> None:
            self.names, self.empty, self.many = np.array(["a", "b"]), np.zeros(0), np.zeros(10**6)
            self.self = self

    holder = Holder()
    graph = tg.trace(lambda h, x: x * len(h.names), holder, tg.f32[2])
    assert graph(holder, tg.ones(2)).tolist() == [2, 2]
    with pytest.raises(TypeError, match=r"h\.many is used"):
        tg.trace(lambda h, x: x + h.many[:2], holder, tg.f32[2])


def test_what_else_is_in_it_may_be_used() -> None:
    holder = Plain(np.arange(3.0), "four")
    graph = tg.trace(lambda c, x: x * len(c.name), holder, tg.f32[2])
    assert graph(holder, tg.ones(2)).tolist() == [4, 4]
    with pytest.raises(ValueError, match="static"):  # and no word of the truth of an array
        graph(Plain(np.arange(3.0)), tg.ones(2))
    model = tg.nn.Linear(2, 2)
    assert tg.trace(lambda m, x: m(x), model, tg.f32[1, 2]).cells


@pytest.mark.parametrize(
    "mapping",
    [MappingProxyType({"a": 1.0, "b": 2.0}), defaultdict(float, a=1.0, b=2.0), OrderedDict(a=1.0, b=2.0),
     Counter({"a": 1, "b": 2})],
)  # fmt: skip
def test_mappings(mapping: Any) -> None:
    arrays = type(mapping)({k: np.full(2, v) for k, v in mapping.items()}) if type(mapping) not in (
        defaultdict, Counter) else {k: np.full(2, v) for k, v in mapping.items()}  # fmt: skip
    graph = tg.trace(lambda m: {"s": m["a"] * m["b"]}, arrays)
    assert graph(arrays)["s"].tolist() == [2, 2] and tg.parse(str(graph)) == graph
    leaves, treedef = flatten(mapping)
    assert [*unflatten(treedef, leaves).items()] == [*mapping.items()]


# keys ----------------------------------------------------------------------------------------------------------------


class Color(enum.Enum):
    RED = 1


class Level(enum.IntEnum):
    LOW = 1


class Word(str):
    pass


SAID = [
    0, 1, -1, True, False, 2.5, -0.0, 1e300, float("inf"), -float("inf"), None, "a", "", "a'\"b", "é\n\\", (), (1, "a"),
    ((1.5, None), True), 10**30, ..., np.int64(7), np.float32(0.5), np.str_("s"), np.bool_(True), (np.int8(3), "x"),
]  # fmt: skip
UNSAID: list[Any] = [
    Color.RED, Level.LOW, b"a", float("nan"), np.float64("nan"), Word("w"), frozenset({1}), (1, Color.RED), object(),
    1j, np.datetime64(1, "D"), int, (float("nan"),),
]  # fmt: skip


@pytest.mark.parametrize("key", SAID, ids=repr)
def test_keys_that_print_are_read(key: Any) -> None:
    example = {key: np.arange(2.0), "last": [np.ones(2)]}
    graph = tg.trace(lambda d: {key: d[key] * 2.0, "sum": d["last"][0]}, example)
    parsed = tg.parse(str(graph))
    assert parsed == graph and str(parsed) == str(graph) and hash(parsed) == hash(graph)
    for run in (graph, parsed):
        assert run(example)[key].tolist() == [0, 2]


@pytest.mark.parametrize("key", UNSAID, ids=lambda key: "object" if type(key) is object else repr(key))
def test_keys_that_no_text_can_say_are_refused(key: Any) -> None:
    with pytest.raises(TypeError, match=r"the key .* cannot be said"):
        tg.trace(lambda d: d[key] * 2.0, {key: np.arange(2.0)})
    with pytest.raises(TypeError, match=r"the result: the key .* cannot be said"):
        tg.trace(lambda x: [{key: x}], np.arange(2.0))
    assert float(tg.grad(lambda d: d[key].sum())({key: np.arange(2.0)})[key][0]) == 1.0


def test_true_is_another_key_than_one() -> None:
    one, true = (tg.trace(lambda d: [*d.values()][0] * 2.0, {key: np.ones(2)}) for key in (1, True))
    assert one != true and str(one) != str(true)
    assert one({True: np.ones(2)}).tolist() == [2, 2]  # as in a dict


keys = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(max_size=2)
    | st.sampled_from([*Color, *Level]) | st.integers(0, 9).map(np.int64),
    lambda inner: st.lists(inner, max_size=2).map(tuple), max_leaves=3,
)  # fmt: skip
trees = st.recursive(
    st.just(0.0) | st.none() | st.booleans() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.lists(inner, max_size=3).map(tuple)
    | st.dictionaries(keys, inner, max_size=3) | st.builds(Pair, inner, inner) | st.builds(Point, inner, inner)
    | st.builds(Frozen, inner, inner, st.text(max_size=2)),
    max_leaves=8,
)  # fmt: skip


@examples(150)
@given(trees)
def test_whatever_is_traced_is_read_back(tree: Any) -> None:
    leaves, treedef = flatten(tree)
    example = unflatten(treedef, [np.ones(2) if leaf == 0.0 and leaf is not False else leaf for leaf in leaves])
    try:
        graph = tg.trace(lambda t: [leaf * 2.0 for leaf in flatten(t)[0] if isinstance(leaf, tg.Tensor)], example)
    except TypeError as error:
        assert "cannot be said" in str(error)
        return
    parsed = tg.parse(str(graph), types=TYPES)
    assert parsed == graph and isinstance(parsed.in_tree, Treedef) and str(parsed) == str(graph)
    assert [t.tolist() for t in parsed(example)] == [t.tolist() for t in graph(example)]


def test_functions_with_their_own_derivative_take_and_give_dataclasses() -> None:
    @tg.custom_vjp
    def twice(x: Any) -> Any:
        return Pair(x * 2.0, {"k": x * 3.0})

    twice.defvjp(
        lambda x: (Pair(x * 2.0, {"k": x * 3.0}), None), lambda _, g: (g[0] * 2.0 + g[1] * 3.0,)
    )  # fmt: skip

    def loss(x: Any) -> Any:
        made = twice(x)
        return made.a.sum() + made.b["k"].sum()

    graph = tg.trace(tg.grad(loss), tg.ones(2))
    assert graph(tg.ones(2)).tolist() == [5.0, 5.0] == tg.grad(loss)(tg.ones(2)).tolist()
    assert tg.parse(str(graph), types=TYPES) == graph
    held = tg.trace(lambda x: tg.checkpoint(lambda p: p.a * p.b)(Pair(x, 2.0)), tg.f32[2])
    assert held(tg.ones(2)).tolist() == [2.0, 2.0]
