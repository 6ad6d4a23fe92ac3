"""What a graph calls its values: the names of the user's own variables."""

import contextlib
import gc
import weakref
from typing import Any

import pytest

import tensorgraph as tg
from tensorgraph.text.names import names


def names_of(function: Any, *examples: Any) -> list[list[str | None]]:
    return [[out.name for out in eq.outputs] for eq in tg.trace(function, *examples).equations]


def test_a_value_is_called_as_its_variable_however_it_is_made() -> None:
    def f(x):
        a = x * 2.0
        b = tg.tanh(a)
        c = b.sum(axis=0)
        d, e = tg.split(b, (1, 2))
        g: object = d[0]
        h = tg.concatenate([d, e])
        h = h + c
        last = tg.exp(h)
        return g, last

    assert names_of(f, tg.f32[3]) == [["a"], ["b"], ["c"], ["d", "e"], ["g"], ["h"], ["h"], ["last"]]
    graph = tg.trace(f, tg.f32[3])
    flat = graph.text(flat=True)
    assert "h_2 = h + c" in flat and "last = exp(h_2)" in flat and "return (g, last)" in flat
    assert "    h = h + c\n    last = exp(h)\n    return (g, last)" in str(graph)


def test_loops_recursion_and_helpers_keep_every_name() -> None:
    def layer(h):
        y = tg.relu(h)
        return y

    def deeper(h, n):
        z = tg.sin(h)
        return z if n == 0 else deeper(z, n - 1)

    def f(x):
        for _ in range(3):
            x = tg.tanh(x)
        return deeper(layer(layer(x)), 2)

    assert names_of(f, tg.f32[3]) == [["x"]] * 3 + [["y"]] * 2 + [["z"]] * 3


def test_the_first_variable_gives_the_name_also_where_a_line_goes_on() -> None:
    def f(x):
        a = tg.tanh(x); b = a; a = x  # fmt: skip # noqa: E702
        c, d, e = tg.split(a, (1, 1, 1)); g = c; c = x  # fmt: skip # noqa: E702
        return b, c, d, e, g

    assert names_of(f, tg.f32[3]) == [["a"], ["c", "d", "e"]]


def test_what_is_in_no_variable_has_no_name() -> None:
    def f(x):
        parts = [tg.exp(x) for _ in range(2)]
        held = {"a": tg.sin(x)}
        _, second = tg.split(x, (1, 2))
        return parts, held, second, tg.cos(x)

    assert names_of(f, tg.f32[3]) == [[None], [None], [None], [None, "second"], [None]]


def test_one_call_of_several_equations_names_its_result_only() -> None:
    def f(x):
        s = tg.stack([x, x])
        g = tg.grad(lambda v: (v * v).sum())(x)
        return s, g

    graph = tg.trace(f, tg.f32[3])
    named = {out.name: eq.op.name for eq in graph.equations for out in eq.outputs if out.name}
    assert named == {"s": "stack", "v": "alias", "g": "gradients"}


def test_who_traces_gives_no_names() -> None:
    function = tg.grad(lambda x: (x * x).sum())

    def straight():
        mine = tg.trace(function, tg.f32[3])
        return mine

    def starred(*examples):
        mine = tg.trace(function, *examples)
        return mine

    for graph in (straight(), starred(tg.f32[3])):
        assert "mine" not in {out.name for eq in graph.equations for out in eq.outputs}
        assert str(graph).startswith("def f(x: f32[3]) -> f32[3]:\n    x = alias(x)")


def test_letters_of_every_alphabet() -> None:
    def f(größe):
        μ = größe.mean()
        σ2 = tg.square(größe - μ).mean()
        return σ2

    graph = tg.trace(f, tg.f32[3])
    text = str(graph)
    assert "μ = mean(größe)" in text and "σ2 = mean(" in text and tg.parse(text) == graph
    graph = tg.trace(f, tg.f32[3])
    graph.inputs[0].name = "µ"  # the micro sign, which Python reads as the letter
    assert "def f(μ: f32[3])" in str(graph) and tg.parse(str(graph)) == graph
    space = tg.text.namespace()
    exec(str(graph), space)
    assert float(space["f"](tg.ones(3))) == 0.0


@pytest.mark.parametrize("fails", [False, True])
def test_a_trace_lets_go_of_what_the_function_held(fails: bool) -> None:
    class Large:
        pass

    refs = []

    def f(x):
        large = Large()
        refs.append(weakref.ref(large))
        y = tg.tanh(x)
        if fails:
            raise ValueError("no")
        return y

    gc.disable()
    try:
        with contextlib.suppress(ValueError):
            tg.trace(f, tg.f32[3])
        assert refs[0]() is None
    finally:
        gc.enable()


def test_a_derivative_in_a_direction_is_called_after_its_value() -> None:
    def f(x, w):
        h = tg.tanh(x @ w)
        y = (h * h).sum()
        return y

    graph = tg.trace(f, tg.f32[4, 3], tg.f32[3, 2]).jvp()
    text = str(graph)
    assert "return (y, y_dot)" in text and "d_x" not in text and "d_w" not in text
    assert tg.parse(text) == graph


def test_printed_names_are_the_callers_own_and_those_of_no_op(monkeypatch: pytest.MonkeyPatch) -> None:
    def f(x):
        later = tg.exp(x)
        return later * 2.0

    graph = tg.trace(f, tg.f32[3])
    first = names(graph)
    assert [*first.values()] == ["x", "later", "v0"]
    first.clear()
    assert [*names(graph).values()] == ["x", "later", "v0"]
    assert [*names(graph, {"x"}).values()] == ["x_2", "later", "v0"]
    monkeypatch.setitem(tg.CATALOGUE, "later", tg.CATALOGUE["exp"])
    assert [*names(graph).values()] == ["x", "later_", "v0"]
