"""Texts of several functions: calls, instances with members, loops. They equal the flat graph, and know their calls."""

from __future__ import annotations

import pytest

import tensorgraph as tg
from tensorgraph import nn, optim
from tensorgraph.graph import Graph

LAYERS = """
def Linear(x: f32[..., I], *, weight: Parameter[f32[I, O]] = he_normal(), bias: Parameter[f32[O]] = zeros()):
    return x @ weight + bias


def Block(x: f32[N, D], *, a: Linear[D, D], b: Linear[D, D]):
    h = relu(a(x))
    return x + b(h)


def Net(x, *, first: Linear[I, D], blocks: [Block[D]] * 3, last: Linear[D, 2]):
    x = first(x)
    for block in blocks:
        x = block(x)
    return last(x)


def Adam(
    params, grads, *, m: [Buffer[like(p)] for p in params] = zeros(), v: [Buffer[like(p)] for p in params] = zeros(),
    t: [Buffer[i64] for p in params] = zeros(), lr: Buffer[f64], beta1: Buffer[f64], beta2: Buffer[f64],
    eps: Buffer[f64], weight_decay: Buffer[f64], steps: Buffer[i64] = zeros(),
):
    for p, g, m_p, v_p, t_p in zip(params, grads, m, v, t):
        p1, m1, v1, t1 = adam_update(p, g, m_p, v_p, t_p, lr, beta1, beta2, eps, weight_decay)
        p.assign(p1)
        m_p.assign(m1)
        v_p.assign(v1)
        t_p.assign(t1)
    steps.assign(steps + 1)
"""
STEP = """

def step(x: f32[8, 4], y: i64[8], *, model: At["", Net[4, 3]], adam: At["optimizer", Adam]) -> f32:
    loss = softmax_cross_entropy(model(x), y)
    adam(parameters(model), gradients(loss, parameters(model)))
    return loss
"""


class Block(nn.Module):
    def __init__(self, size: int) -> None:
        self.a = nn.Linear(size, size)
        self.b = nn.Linear(size, size)

    def forward(self, x):
        h = tg.relu(self.a(x))
        return x + self.b(h)


class Net(nn.Module):
    def __init__(self) -> None:
        self.first = nn.Linear(4, 3)
        self.blocks = [Block(3) for _ in range(3)]
        self.last = nn.Linear(3, 2)

    def forward(self, x):
        x = self.first(x)
        for block in self.blocks:
            x = block(x)
        return self.last(x)


@pytest.fixture(scope="module")
def traced() -> Graph:
    model = Net()
    adam = optim.Adam(model.parameters())

    def step(x, y):
        loss = tg.softmax_cross_entropy(model(x), y)
        adam.minimize(loss)
        return loss

    return tg.trace(step, tg.f32[8, 4], tg.i64[8])


def test_a_text_of_instances_is_the_graph_of_the_step(traced: Graph) -> None:
    text = (
        LAYERS.replace("    count = steps + 1\n", "").replace("steps.assign(steps + 1)", "steps.assign(steps + 1)")
        + STEP
    )
    graph = tg.parse(text)
    assert graph == traced
    assert tg.parse(str(graph), tg.text.arrays_of(graph)) == graph
    assert [eq.scope for eq in graph.equations] == [eq.scope for eq in traced.equations]
    assert graph.modules == traced.modules


def test_calls_are_recorded_as_a_trace_records_them(traced: Graph) -> None:
    text = (
        LAYERS.replace("    count = steps + 1\n", "").replace("steps.assign(steps + 1)", "steps.assign(steps + 1)")
        + STEP
    )
    graph = tg.parse(text)

    def told(graph: Graph) -> list[object]:
        every = []
        for eq in graph.equations:
            for call in eq.call.callers():
                every.append((call.kind, call.name, call.path, [*call.arguments]))
        return every

    assert told(graph) == told(traced)
    inner = next(eq.call for eq in graph.equations if eq.scope == "blocks.1.b")
    assert inner.parent.path == "blocks.1" and inner.result.aval == tg.f32[8, 3]
    assert inner.arguments["x"] in inner.parent.names and inner.parent.names[inner.arguments["x"]] == "h"
    update = graph.equations[-1].call
    assert update.kind == "optimizer" and [v.aval for v in update.arguments["grads"]][0] == tg.f32[4, 3]


def test_functions_are_inlined_with_their_own_names() -> None:
    graph = tg.parse("def half(x): return x / 2\n\ndef f(a: f32[3]):\n    b = half(a)\n    return half(x=b) + half(b)")
    assert graph == tg.trace(lambda a: a / 2 / 2 + a / 2 / 2, tg.f32[3]) or len(graph.equations) == 4
    first = graph.equations[0].call
    assert (first.kind, first.name, first.parent.name) == ("function", "half", "f")
    assert first.names[first.arguments["x"]] == "x" and first.parent.names[graph.equations[0].outputs[0]] == "b"
    assert [eq.source.line for eq in graph.equations] == [1, 1, 1, 5]


@pytest.mark.parametrize(
    ("body", "flat"),
    [
        ("y = x\nfor i in range(3):\n    y = y * x[i]\nreturn y", "return x * x[0] * x[1] * x[2]"),
        ("for k in range(2, -1, -1):\n    x = x + k\nreturn x", "return x + 2 + 1 + 0"),
        ("for i, a in enumerate([x, n]):\n    x = a + i\nreturn x", "a = x + 0\nreturn n + 1"),
        ("for a, b in zip([x, n], [n, x]):\n    x = a @ b\nreturn x", "a = x @ n\nreturn n @ x"),
        ("for a in reversed([x, n]):\n    x = relu(a)\nreturn x", "a = relu(n)\nreturn relu(x)"),
        ("return [a * 2 for a in [x, n]]", "return [x * 2, n * 2]"),
        ("return {k: x * k for k in range(2)}", "return {0: x * 0, 1: x * 1}"),
        ("return [a * b for a in (x, n) for b in range(2)]", "return [x * 0, x * 1, n * 0, n * 1]"),
        ("d = {'a': x, 'b': n}\nreturn {k: d[k] + v for k, v in d.items()}", "return {'a': x + x, 'b': n + n}"),
        ("a, *b = [x, n, x * 2]\nreturn [*b, a]", "return [n, x * 2, x]"),
        ("n_, = x.shape\nreturn x.reshape(n_ // 3, n_)", "return x.reshape(1, 3)"),
        ("a = b = x + 1\nreturn a, b", "a = x + 1\nreturn a, a"),
        ("q = alias({'a': x, 'b': [n]})\ng = gradients((q['a'] @ q['b'][0]), q)\nreturn g['b'][0], g['a']",
         "a = alias(x)\nb = alias(n)\ng = gradients(a @ b, [a, b])\nreturn g[1], g[0]"),
        ("return x * len([x, n])", "return x * 2"),
        ("a = []\nfor i in range(2):\n    a.append((x, i))\nreturn [y + i for y, i in reversed(a)]",
         "return [x + 1, x + 0]"),
        ("a = [x]\nb = a\na.append(n)\nreturn b", "return [x, n]"),
    ],
)  # fmt: skip
def test_loops_are_their_statements(body: str, flat: str) -> None:
    def read(body: str) -> Graph:
        return tg.parse("def f(x: f32[3], n: f32[3]):\n" + "".join(f"    {line}\n" for line in body.splitlines()))

    assert read(body) == read(flat)


def test_members_have_their_paths() -> None:
    graph = tg.parse(
        LAYERS + "\n\ndef f(x: f32[8, 3], *, a: Block[3], b: At['', {'p': Linear[3, 3]}], "
        "c: At['c.d', [Block[3], *[Linear[3, 3]] * 2]],\n"
        "      w: [Parameter[f32[3]]] * 2 = ones(), z: Parameter['q.z', f32[3]] = zeros()):\n"
        "    for layer in [*c, b['p'], c[0].a]:\n        x = layer(x)\n    return a(x) * w[0] + z"
    )  # fmt: skip
    known = {c.path: c.initialiser for c in graph.cells}
    linear = [
        f"{path}.{name}"
        for path in ("a.a", "a.b", "p", "c.d.0.a", "c.d.0.b", "c.d.1", "c.d.2")
        for name in ("weight", "bias")
    ]
    assert [*known] == [*linear, "w.0", "w.1", "q.z"]
    assert (known["w.1"], known["a.a.weight"]) == ("ones()", "he_normal()")
    assert list(dict.fromkeys(eq.scope for eq in graph.equations)) == [
        "c.d.0.a", "c.d.0", "c.d.0.b", "c.d.1", "c.d.2", "p", "a.a", "a", "a.b", "",
    ]  # fmt: skip


def test_a_cell_that_was_written_in_another_call_is_what_was_written() -> None:
    text = """
def count(x, *, n: Buffer[f32] = zeros()):
    m = n.read()
    n.assign(m + sum(x))
    return x * m


def f(x: f32[3], *, c: count):
    y = c(x)
    z = c(y)
    return z, c.n
"""
    graph = tg.parse(text)

    def f(x):  # what `n` is stands below
        def count(x):
            m = n.read()
            n.assign(m + x.sum())
            return x * m

        y = count(x)
        z = count(y)
        return z, n

    n = tg.Buffer(0.0, name="c.n")
    assert graph == tg.trace(f, tg.f32[3])
    (z, last), state = graph(tg.ones(3), state={"c.n": 2.0})
    assert (z.tolist(), float(last), float(state["c.n"])) == ([10.0] * 3, 11.0, 11.0)
    assert tg.parse(str(graph)) == graph


def test_errors_tell_the_calls_around_them() -> None:
    text = LAYERS + "\n\ndef f(x: f32[8, 5], *, net: Net[4, 3]):\n    y = net(x)\n    return y"
    with pytest.raises(tg.ParseError) as caught:
        tg.parse(text)
    error = caught.value
    assert (error.line, error.column) == (12, 9)
    assert error.message == "Linear: x is declared f32[..., I] with I=4, O=3, got f32[8, 5]"
    assert str(error) == (
        "<text>, line 12, column 9: Linear: x is declared f32[..., I] with I=4, O=3, got f32[8, 5]\n"
        "        x = first(x)\n            ^\nin net(x), line 33"
    )
    with pytest.raises(
        tg.ParseError, match=r"'z' is not known here(.|\n)*\nin b\(x\), line 5\nin c\(x=x\), line 8"
    ) as caught:
        tg.parse("def a(x):\n    return x + z\ndef b(x):\n    return a(x)\ndef c(x): return b(x)\n\n"
                 "def f(x: f32[3]):\n    return c(x=x)")  # fmt: skip
    assert [line for _, line, _ in caught.value.calls] == [4, 5, 8]


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("def f(x: f32[3], *, a: Lnear[3, 3]): return a(x)", (1, 24), "did you mean 'Linear'"),
        ("def f(x: f32[3], *, a: Linear[3]): return a(x)", (1, 24), r"has 2 sizes that are open: write Linear\[I, O\]"),
        ("def f(x: f32[3], *, a: Linear[3, 3]): return a", (1, 46), "a is no tensor: it is an instance of Linear"),
        ("def f(x: f32[3], *, a: Linear[3, 3]): return a.wieght", (1, 46), "did you mean 'weight'"),
        ("def f(x: f32[3], *, a: Linear[3, 3]): return a(x, x)", (1, 46), "takes x; got 2 arguments"),
        ("def f(x: f32[3], *, a: Linear[3, 3]): return a(weight=x)", (1, 48), "weight is a member"),
        ("def f(x: f32[3], *, a: Linear[3, 3] = zeros()): return a(x)", (1, 39), "what they start from"),
        ("def f(x: f32[3], *, a: [f32[3]]): return x", (1, 25), "behind the \\* stand cells"),
        ("def f(x: f32[3], *, a: [Buffer[like(p)] for p in x]): return x", (1, 24), "when an instance is called"),
        ("def g(x): return g(x)\ndef f(x: f32[3]): return g(x)", (1, 18), "g calls itself"),
        ("def g(x): return f(x)\ndef f(x: f32[3]): return g(x)", (1, 18), "a function that stands below it"),
        ("def g(x, y): return x\ndef f(x: f32[3]): return g(x)", (2, 26), "missing its argument 'y'"),
        ("def g(x, y): return x\ndef f(x: f32[3]): return g(x, z=x)", (2, 31), "has no argument 'z'"),
        ("def g(x: f32[N, N]): return x\ndef f(x: f32[3, 4]): return g(x)", (2, 29), r"declared f32\[N, N\] with N=3"),
        ("def g(x: i64[3]): return x\ndef f(x: f32[3]): return g(x)", (2, 26), r"declared i64\[3\], got f32\[3\]"),
        ("def g(x) -> f32[4]: return x\ndef f(x: f32[3]): return g(x)", (1, 13), r"the result is declared f32\[4\]"),
        ("def g(x, *, w: Buffer[f32]): return x\ndef f(x: f32[3]): return g(x)", (2, 26), "call an instance of it"),
        ("def g(x):\n    y = x\ndef f(x: f32[3]): return g(x) + x", (3, 26), "add"),
        ("def f(x: f32[3]):\n    for a in zip([x], []): pass\n    return x",
        (2, 14), r"one length: \[x\] has 1, \[\] has 0"),
        ("def f(x: f32[3]):\n    x.append(x)\n    return x", (2, 5), "no list that was made here"),
        ("def g(a):\n    a.append(1)\ndef f(x: f32[3]):\n    a = []\n    g(a)\n    return a", (2, 5), "was made here"),
        ("def f(x: f32[3]):\n    a = []\n    a.append(a)\n    return a", (3, 5), "holds at most"),
        ("def f(x: f32[3]):\n    for a in [x]: return a", (2, 19), "outside the blocks"),
        ("def f(x: f32[3], *, w: Buffer[f32]):\n    for a in [w, w]: a.assign(x[0])\n    return x",
        (2, 22), "written twice"),
        ("def f(x: f32[3], *, w: Buffer[f32]):\n    a = w\n    w.assign(x[0])\n    return a",
        (4, 12), "was written above"),
    ],
)  # fmt: skip
def test_wrong_calls(text: str, place: object, message: str) -> None:
    with pytest.raises(tg.ParseError, match=message) as caught:
        tg.parse(text)
    assert (caught.value.line, caught.value.column) == place
