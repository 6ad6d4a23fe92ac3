"""Arguments by name: wherever functions are traced, and where graphs are called."""

import functools
from typing import Any

import numpy as np
import pytest

import tensorgraph as tg

X = np.arange(3.0, dtype=np.float32)


def scaled(x: Any, /, y: Any, *rest: Any, scale: Any = 2.0, turned: bool = False, **others: Any) -> Any:
    total = x * scale + y
    for one in (*rest, *others.values()):
        total = total + one
    return -total if turned else total


def loss(x: Any, *, weight: Any, mode: str = "sum") -> Any:
    return getattr(tg, mode)(x * weight * weight)


CALLS: list[tuple[tuple[Any, ...], dict[str, Any], tuple[str, ...]]] = [
    ((X, X), {}, ("x", "y")),
    ((X,), {"y": X}, ("x", "y")),
    ((X,), {"scale": X, "y": X}, ("x", "y", "scale")),
    ((X, X, X, X), {"turned": True, "scale": 3.0}, ("x", "y", "x2", "x3", "scale", "turned")),
    ((X, X), {"more": X, "turned": False, "again": X}, ("x", "y", "turned", "more", "again")),
    ((X, X, X), {"x2": X}, ("x", "y", "x2_", "x2")),
]


@pytest.mark.parametrize(("args", "keywords", "names"), CALLS)
def test_as_the_function_takes_them(args: Any, keywords: Any, names: Any) -> None:
    graph = tg.trace(scaled, *args, **keywords)
    wanted = scaled(*map(tg.tensor, args), **{k: tg.tensor(v) if v is X else v for k, v in keywords.items()})
    assert graph.arguments == names and graph.name == "scaled"
    parsed = tg.parse(str(graph))
    assert parsed == graph
    by_name = dict(zip(names, [*args], strict=False)) | keywords
    in_order = [by_name[name] for name in names]
    for run in (graph, parsed, graph.bind(), graph.simplify()):
        assert np.array_equal(run(*in_order).numpy(), wanted.numpy())
        assert np.array_equal(run(**by_name).numpy(), wanted.numpy())
        assert np.array_equal(run(in_order[0], **{n: by_name[n] for n in names[1:]}).numpy(), wanted.numpy())


def test_what_a_graph_refuses() -> None:
    graph = tg.trace(loss, X, weight=tg.f32[3])
    assert graph.arguments == ("x", "weight")
    for args, keywords, message in [
        ((X,), {}, "takes 2 arguments"), ((X,), {"wieght": X}, "did you mean 'weight'"),
        ((X, X), {"weight": X}, "by position and by name"), ((X, X, X), {"weight": X}, "by position"),
        ((), {"weight": X}, "argument x is missing"),
    ]:  # fmt: skip
        with pytest.raises(TypeError, match=message):
            graph(*args, **keywords)
    static = tg.trace(loss, X, weight=2.0, mode="mean")
    assert float(static(X, weight=2.0, mode="mean")) == 4.0
    with pytest.raises(ValueError, match="static: traced with 'mean'"):
        static(X, 2.0, mode="sum")
    template = tg.parse("def f(x: f32[N], w: f32[N]): return x * w")
    assert template(w=X, x=X + 1).tolist() == [0, 2, 6]


def test_every_door_takes_them() -> None:
    spec = tg.f32[3]
    graph = tg.trace(loss, spec, weight=spec, mode="mean")
    assert tg.draw(loss, spec, weight=spec, mode="mean").text() == tg.draw(graph).text()
    assert tg.draw(loss, spec, weight=spec, level="op").text()
    assert not tg.lint(loss, spec, weight=spec)
    assert tg.lint(lambda x, *, unused: x * 2, spec, unused=spec).ids
    assert str(tg.explain_gradient(loss, spec, weight=spec, mode="mean")) == str(tg.explain_gradient(graph))
    assert len(tg.profile(loss, weight=X, x=X, repeats=1).seconds) == 3
    assert len(tg.profile(graph, X, weight=X, mode="mean", repeats=1).seconds) == 3
    assert tg.find_faults(loss, X, weight=np.full(3, np.inf, np.float32), limit=1e3)
    assert not tg.diff(graph, tg.trace(loss, x=spec, mode="mean", weight=spec))
    for door in (tg.draw, tg.lint, tg.explain_gradient, tg.profile, tg.find_faults):
        with pytest.raises(TypeError, match=r"of loss has no argument 'wieght'; did you mean 'weight'"):
            door(loss, spec, wieght=spec)
    for door in (tg.draw, tg.lint, tg.explain_gradient, tg.profile, tg.find_faults):
        with pytest.raises(TypeError):
            door(graph, wieght=spec)
    with pytest.raises(TypeError, match="did you mean 'level'"):
        tg.draw(graph, levle="op")


class Scale:
    def __init__(self, by: float) -> None:
        self.by = by

    def __call__(self, x: Any) -> Any:
        doubled = x * self.by
        return doubled + 1.0

    def method(self, x: Any, *, again: Any = None) -> Any:
        half = x * 0.5
        return half


def test_arguments_that_are_called_as_those_of_the_doors() -> None:
    def odd(target: Any, function: Any, self: Any, args: Any) -> Any:
        return (target * function - self * args).sum()

    given = dict(target=X, function=X + 1, self=X + 2, args=X + 3)
    graph = tg.trace(odd, **given)
    assert graph.arguments == ("target", "function", "self", "args")
    assert graph(**given).tolist() == odd(**{k: tg.tensor(v) for k, v in given.items()}).tolist()
    for door in (tg.draw, tg.lint, tg.explain_gradient, tg.profile, tg.find_faults):
        door(odd, **given)


def test_names_of_functions_in_functions() -> None:
    inner = functools.partial(functools.partial(loss, weight=tg.tensor(X)), mode="mean")
    for function, name, arguments in [
        (inner, "loss", ("x",)), (functools.partial(loss, mode="mean"), "loss", ("x", "weight")),
        (functools.partial(scaled, tg.tensor(X)), "scaled", ("y",)), (Scale(2.0), "Scale", ("x",)),
        (Scale(2.0).method, "method", ("x",)), (functools.partial(Scale(2.0).method, again=1), "method", ("x",)),
        (functools.partial(Scale(2.0)), "Scale", ("x",)), (lambda x: x, "f", ("x",)),
        (functools.partial(lambda a, x: x * a, 2.0), "f", ("x",)),
    ]:  # fmt: skip
        keywords = {"weight": X} if "weight" in arguments else {}
        graph = tg.trace(function, X, **keywords)
        assert (graph.name, graph.arguments) == (name, arguments)
        assert str(graph).startswith(f"def {name}(") and tg.parse(str(graph)) == graph
        assert graph(*[X] * len(arguments)).shape == function(tg.tensor(X), **keywords).shape
    text = str(tg.trace(functools.partial(Scale(2.0).method), X))
    assert "half = " in text and "doubled = " in str(tg.trace(functools.partial(Scale(2.0)), X))


def test_a_partial_keyword_is_no_argument_unless_given() -> None:
    function = functools.partial(loss, weight=2.0)
    assert tg.trace(function, X).arguments == ("x",)
    assert tg.trace(function, X, weight=tg.f32[3]).arguments == ("x", "weight")
    assert tg.grad(loss)(tg.tensor(X), weight=2.0).tolist() == [4.0] * 3
    model = tg.nn.Linear(3, 2)
    assert tg.trace(model, x=tg.f32[1, 3]).arguments == ("x",)


def test_compiled_functions_take_names_in_any_order() -> None:
    """Each order of the same arguments is the same call, also where their types do not tell them apart."""

    def f(a: Any, b: Any = 1.0, *rest: Any, k: Any = 2.0, m: Any = 3.0, **more: Any) -> Any:
        total = a + 10 * b + 100 * k + 1000 * m
        for i, one in enumerate((*rest, *more.values()), 1):
            total = total + 10_000 * i * one
        return total

    compiled = tg.compile(f)
    x, y, z = (tg.tensor(X + n) for n in range(3))
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
        ((x,), {"m": y, "k": z}),
        ((x,), {"k": z, "m": y}),
        ((), {"m": 4.0, "b": y, "a": z}),
        ((x, y, z), {"m": x, "k": y}),
        ((x,), {"last": x, "m": y, "first": z, "k": 5.0}),
        ((x,), {"first": z, "last": 2.0, "b": y}),
    ]
    for args, keywords in calls:
        for _ in range(2):
            assert compiled(*args, **keywords).numpy().tolist() == f(*args, **keywords).numpy().tolist()
    assert compiled.stats.traces == 5  # the first two are one


def test_a_name_of_what_is_given_by_position_alone_is_free() -> None:
    def f(x: Any, /, **others: Any) -> Any:
        return x + 10 * others["y"] + 100 * others["x"]

    x, y = tg.tensor(X), tg.tensor(X + 1)
    for keywords in ({"y": y, "x": 2.0}, {"x": 2.0, "y": y}):
        wanted = f(x, **keywords).numpy().tolist()
        assert tg.compile(f)(x, **keywords).numpy().tolist() == wanted
        assert tg.trace(f, x, **keywords).arguments == ("x_", *keywords)


def test_what_a_function_says_of_its_arguments_is_said_as_it_says_it() -> None:
    def f(x: Any, *, k: Any) -> Any:
        return x * k

    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
        ((), {"k": X}), ((X,), {}), ((X, X), {"k": X}), ((X,), {"k": X, "q": X}), ((X,), {"x": X, "k": X})
    ]  # fmt: skip
    for args, keywords in calls:
        with pytest.raises(TypeError) as plain:
            f(*args, **keywords)
        with pytest.raises(TypeError) as compiled:
            tg.compile(f)(*args, **keywords)
        assert str(compiled.value) == str(plain.value)
