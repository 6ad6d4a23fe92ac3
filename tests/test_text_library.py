"""The layers and optimisers that every text knows, and texts as plain Python with live cells."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tensorgraph as tg
from tensorgraph import nn, optim
from tensorgraph.engine.cells import Cell
from tensorgraph.engine.tree import flatten, unflatten
from tensorgraph.text import inlining
from tensorgraph.text.definitions import library
from tensorgraph.text.live import Live, PerCell, parameters

HEAD = "from __future__ import annotations\nfrom tensorgraph.dsl import *\n\n\n"
TEXTS = {
    "lstm": '''
def LSTM(x: f32[N, T, I], *, gates: Linear[I + 4, 16], out: Linear[4, 1]):
    n, t, _ = x.shape
    h = c = zeros((n, 4))
    for step in range(t):
        z = gates(concatenate([x[:, step], h], axis=1))
        i, f, g, o = [z[:, 4 * k:4 * (k + 1)] for k in range(4)]
        c = sigmoid(f) * c + sigmoid(i) * tanh(g)
        h = sigmoid(o) * tanh(c)
    return out(h)


def step(x: f32[5, 4, 3], y: f32[5, 1], *, net: LSTM[3], adam: Adam):
    loss = mean((net(x) - y) ** 2)
    adam(parameters(net), gradients(loss, parameters(net)))
    return loss
''',
    "normalised": '''
def Block(x: f32[N, D], *, norm: BatchNorm[D], inner: [Linear[D, D]] * 2, post: RMSNorm[D]):
    h = norm(x)
    for layer in inner:
        h = relu(layer(h))
    return x + post(h)


def Net(x, *, blocks: {"a": Block[4], "b": Block[4]}, norm: LayerNorm[4], drop: Dropout, head: Linear[4, 3]):
    for name, block in blocks.items():
        x = block(x)
    return head(drop(norm(x), rate=0.25))


def step(x: f32[6, 4], y: i64[6], *, net: At["", Net], sgd: Momentum) -> (f32, f32[6, 3]):
    logits = net(x)
    loss = softmax_cross_entropy(logits, y)
    params = parameters(net)
    *grads, norm = clip_norm(gradients(loss, params), 0.5)
    sgd(params, grads)
    return loss, logits
''',
    "gan": '''
def Critic(x: f32[N, 2], *, first: Linear[2, 8], norm: BatchNorm[8], last: Linear[8, 1]):
    return last(relu(norm(first(x))))


def Maker(z: f32[N, M], *, first: Linear[M, 8], last: Linear[8, 2]):
    return last(relu(first(z)))


def step(real: f32[6, 2], z: f32[6, 3], *, maker: Maker[3], critic: Critic, d: SGD, g: RMSprop):
    fake = maker(z)
    d_loss = mean(softplus(-critic(real)) + softplus(critic(fake.detach())))
    d(parameters(critic), gradients(d_loss, parameters(critic)))
    g_loss = mean(softplus(-critic(fake)))
    g(parameters(maker), gradients(g_loss, parameters(maker)))
    return {"d": d_loss, "g": g_loss}
''',
    "handed": '''
def dense(layer, x, rate): return relu(layer(x)) * rate + layer.bias


def loss(model, x): return mean(model.a(x) @ transpose(model.b.weight)) + sum(model.a.weight)


def Pair(x, *, a: Linear[3, 3], b: Linear[3, 3]):
    saved = []
    for layer in [a, b]:
        x = dense(layer, x, 0.5)
        saved.append((x, layer))
    return dense(saved[1][1], saved[0][0], 2) + x


def step(x: f32[4, 3], *, pairs: [Pair] * 3, sgd: SGD):
    h = x
    for pair in pairs:
        h = pair(h)
    value = mean(h * h) + loss(pairs[1], x)
    params = parameters(pairs)
    sgd(params[1:], gradients(value, params[1:]))
    return value
''',
    "maml": '''
def loss(p, x, y): return mean((tanh(x @ p["w"] + p["b"]) - y) ** 2)


def adapt(p, x, y, rate=0.1):
    for _ in range(3):
        q = alias(p)
        g = gradients(loss(q, x, y), q, create_graph=True)
        p = {name: p[name] - rate * g[name] for name in p}
    return p


def step(p: {"w": f32[2, 3], "b": f32[3]}, xs: f32[2, 5, 2], ys: f32[2, 5, 3]):
    q = alias(p)
    total = 0.0
    for task in range(2):
        total = total + loss(adapt(q, xs[task], ys[task]), xs[task], ys[task])
    g = gradients(total, q)
    return total, {name: p[name] - 0.01 * g[name] for name in p}
''',
}  # fmt: skip


def live_cells(value: Any) -> dict[str, Cell]:
    """All cells by their paths."""
    if isinstance(value, Cell):
        return {value.path: value}
    parts = value.members if isinstance(value, Live) else value.made if isinstance(value, PerCell) else value
    items = parts.values() if isinstance(parts, dict) else parts
    return {path: cell for item in items for path, cell in live_cells(item).items()}


def arguments_for(graph: Any, seed: int) -> Any:
    numbers = np.random.default_rng(seed)
    leaves = [
        numbers.integers(0, 3, v.aval.shape) if v.aval.dtype.kind == "i" else numbers.normal(size=v.aval.shape)
        for v in graph.inputs
    ]
    leaves = [tg.tensor(leaf, v.aval.dtype) for leaf, v in zip(leaves, graph.inputs, strict=True)]
    return unflatten(graph.in_tree, leaves)


@pytest.mark.parametrize("name", TEXTS)
def test_a_text_is_plain_python_with_the_same_bits(name: str) -> None:
    graph = tg.parse(TEXTS[name])
    names: dict[str, Any] = {}
    exec(HEAD + TEXTS[name], names)
    members = names["cells"](names["step"], seed=0)
    state = {path: cell.numpy() for path, cell in live_cells(members).items()}
    state |= {c.path: np.zeros(c.aval.shape, c.aval.dtype) for c in graph.cells if c.path not in state}
    for turn in range(3):
        args = arguments_for(graph, turn)
        made = names["step"](*args, **members)
        wanted, state = graph(*args, state=state) if graph.cells else (graph(*args), {})
        for a, b in zip(flatten(made)[0], flatten(wanted)[0], strict=True):
            np.testing.assert_array_equal(a.numpy(), b.numpy())
        now = live_cells(members)
        assert now.keys() == state.keys()
        for path, value in state.items():
            np.testing.assert_array_equal(now[path].numpy(), np.asarray(value), err_msg=path)


@pytest.mark.parametrize("name", TEXTS)
def test_copied_calls_are_what_reading_them_again_gives(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def told(graph: Any) -> list[Any]:
        number = {var: n for n, var in enumerate(graph.variables())}
        calls: dict[Any, int] = {}
        every: list[Any] = []
        for eq in graph.equations:
            for call in eq.call.callers():
                own = sorted((number[var], name) for var, name in call.names.items())
                every.append((calls.setdefault(call, len(calls)), call.kind, call.name, call.path, own))
                every.append((str(call.arguments), str(call.result)))
            every.append((eq.source, [var.name for var in eq.outputs]))
        return every

    text = TEXTS[name]
    copied = tg.parse(text)
    monkeypatch.setattr(inlining, "signature", lambda *_: None)
    again = tg.parse(text)
    assert copied == again and told(copied) == told(again)
    assert [w.source for w in copied.writes] == [w.source for w in again.writes]


@pytest.mark.parametrize("name", ["lstm", "normalised", "gan"])
def test_traced_as_python_it_is_the_graph_of_the_text(name: str) -> None:
    graph = tg.parse(TEXTS[name])
    names: dict[str, Any] = {}
    exec(HEAD + TEXTS[name], names)
    members = names["cells"](names["step"], seed=0)
    args = arguments_for(graph, 0)
    names["step"](*args, **members)  # makes the cells that are one a value
    traced = tg.trace(lambda *args: names["step"](*args, **members), *args)
    if name != "gan":  # whose trace tells where histories end in other words
        assert [eq.op.name for eq in traced.equations if eq.op.name != "stop_gradient"] == [
            eq.op.name for eq in graph.equations
        ]  # fmt: skip
    assert {c.path for c in traced.cells} == {c.path for c in graph.cells}
    assert dict(traced.modules) == dict(graph.modules)


LAYERS = {
    "Linear[3, 4]": (nn.Linear(3, 4), tg.f32[2, 3]), "LayerNorm[3]": (nn.LayerNorm(3), tg.f32[2, 5, 3]),
    "RMSNorm[3]": (nn.RMSNorm(3), tg.f32[2, 3]), "BatchNorm[3]": (nn.BatchNorm(3), tg.f32[2, 3]),
    "Embedding[5, 3]": (nn.Embedding(5, 3), tg.i64[2]), "Dropout": (nn.Dropout(0.5), tg.f32[2, 3]),
}  # fmt: skip


@pytest.mark.parametrize("kind", LAYERS)
def test_layers_are_those_of_nn(kind: str) -> None:
    layer, example = LAYERS[kind]
    names = ", ".join(map(str, example.shape))
    short = "i64" if example.dtype.kind == "i" else "f32"
    graph = tg.parse(f"def f(x: {short}[{names}], *, layer: At['', {kind}]): return layer(x)")
    traced = tg.trace(layer, example)
    assert graph == traced
    starts = {c.path: c.initialiser for c in graph.cells}
    assert all(starts[c.path] == c.initialiser for c in traced.cells if c.initialiser is not None)


@pytest.mark.parametrize("kind", ["SGD", "Momentum", "RMSprop", "Adam", "AdamW"])
def test_optimisers_are_those_of_optim(kind: str) -> None:
    layer = nn.Linear(3, 4)
    optimizer = getattr(optim, kind)(layer)

    def step(x):
        loss = layer(x).sum()
        optimizer.minimize(loss)
        return loss

    graph = tg.parse(
        f"def step(x: f32[2, 3], *, layer: At['', Linear[3, 4]], optimizer: {kind}):\n    loss = layer(x).sum()\n"
        "    optimizer(parameters(layer), gradients(loss, parameters(layer)))\n    return loss"
    )
    assert graph == tg.trace(step, tg.f32[2, 3])
    module = nn.GraphModule(f"def f(x: f32[2, 3], *, o: {kind}): return x * o.lr.astype('float32')")
    own = dict(optimizer.named_cells())
    for path, cell in module.named_cells():
        assert cell.numpy() == own[path.replace("o.", "optimizer.", 1)].numpy(), path


def test_an_instance_says_what_its_numbers_start_from() -> None:
    text = "def f(x: f32[4, 3], *, norm: [BatchNorm[3](decay=0.5)] * 2, last: {'a': BatchNorm[3]}):\n"
    text += "    return last['a'](norm[1](norm[0](x)))"
    graph = tg.parse(text)
    starts = {decl.path: decl.initialiser for decl in graph.cells}
    assert [starts[f"{path}.decay"] for path in ("norm.0", "norm.1", "last.a")] == [
        "constant(value=0.5)", "constant(value=0.5)", "constant(value=0.9)",
    ]  # fmt: skip
    assert "[BatchNorm[3](decay=0.5)] * 2" in graph.text(library=False)
    again = tg.parse(graph.text(library=False))
    assert again == graph and {decl.path: decl.initialiser for decl in again.cells} == starts
    assert float(dict(nn.GraphModule(text).named_cells())["norm.1.decay"]) == 0.5
    for said, message in {
        "decya=0.5": "BatchNorm has no number called 'decya'; did you mean 'decay'",
        "gamma=0.5": "no number called 'gamma'",
        "decay='much'": "a cell starts from a number here, got 'much'",
        "0.5": r"said by name: Adam\(lr=0.01\)",
    }.items():
        with pytest.raises(tg.ParseError, match=message):
            tg.parse(text.replace("decay=0.5", said))


def test_cells_of_one_number_start_from_it() -> None:
    class Scaled(nn.Module):
        def __init__(self, scale: float) -> None:
            self.scale, self.shift = tg.Parameter(np.full(3, scale, "f4")), tg.Parameter(np.zeros(3, "f4"))

        def forward(self, x: Any) -> Any:
            return x * self.scale + self.shift

    one = Scaled(0.1)
    graph, other = [tg.trace(nn.Sequential(one, Scaled(scale)), tg.f32[2, 3]) for scale in (0.1, 0.2)]
    assert "scale: Parameter[f32[3]] = constant(value=0.1), shift: Parameter[f32[3]] = zeros()" in str(graph)
    assert other == graph
    assert "scale: Parameter[f32[3]], shift: Parameter[f32[3]] = zeros()" in str(other)
    optimizer = optim.SGD(one, lr=0.25, clip_norm=2.0)
    optimizer.lr = 0.5
    step = tg.trace(lambda x: optimizer.minimize(one(x).sum()), tg.f32[2, 3])
    starts = {decl.path: decl.initialiser for decl in step.cells}
    assert starts["optimizer.lr"] == "constant(value=0.5)" and starts["optimizer.clip_norm"] == "constant(value=2.0)"


def test_own_functions_stand_before_the_library() -> None:
    text = (
        "def Linear(x, *, w: Parameter[f32[3]] = ones()): return x * w\n\ndef f(x: f32[3], *, a: Linear): return a(x)"
    )
    assert [c.path for c in tg.parse(text).cells] == ["a.w"]
    assert {"Linear", "LayerNorm", "BatchNorm", "Adam", "SGD"} <= library().named.keys()


def test_live_members_can_be_reached_and_trained() -> None:
    names: dict[str, Any] = {}
    exec(HEAD + TEXTS["normalised"], names)
    members = tg.text.cells(names["step"], seed=3)
    net = members["net"]
    assert net.blocks["a"].inner[1].weight.path == "blocks.a.inner.1.weight"
    paths = [p.path for p in parameters(net)]
    assert paths[:3] == ["blocks.a.norm.gamma", "blocks.a.norm.beta", "blocks.a.inner.0.weight"]
    with pytest.raises(AttributeError, match="has no 'blokcs'; it has blocks, norm"):
        net.blokcs  # noqa: B018
    again = tg.text.cells(names["step"], seed=3)["net"]
    assert np.array_equal(again.head.weight.numpy(), net.head.weight.numpy())
    sized: dict[str, Any] = {}
    exec(HEAD + "def f(x: f32[N, D], *, a: Linear[D, 2]): return a(x)", sized)
    assert tg.text.cells(sized["f"], sizes={"D": 5})["a"].weight.shape == (5, 2)


def test_live_cells_begin_with_a_state() -> None:
    text = """
def Sum(params, grads, *, total: [Buffer[like(p)] for p in params], lr: Buffer[f64]):
    for p, g, t in zip(params, grads, total):
        fresh = t + g
        t.assign(fresh)
        p.assign(p - astype(lr, "float32") * fresh)


def f(x: f32[2], *, w: Parameter[f32[2]], opt: Sum):
    opt([w], [x * w])
    return x
"""
    names: dict[str, Any] = {}
    exec(HEAD + text, names)
    with pytest.raises(ValueError, match="has no initialiser"):
        tg.text.cells(names["f"])
    state = {"w": tg.ones(2), "opt.lr": 0.5, "opt.total.w": np.ones(2, "f4")}
    members = tg.text.cells(names["f"], state=state)
    names["f"](tg.ones(2), **members)
    _, wanted = tg.parse(text)(tg.ones(2), state=state)
    for path, cell in live_cells(members).items():
        np.testing.assert_array_equal(cell.numpy(), np.asarray(wanted[path]))
    with pytest.raises(ValueError, match=r"the cell w is f32\[2\]"):
        tg.text.cells(names["f"], state={**state, "w": np.ones(3, "f4")})


def test_annotations_that_were_evaluated_are_refused() -> None:
    names: dict[str, Any] = {}
    text = "from tensorgraph.dsl import *\ndef f(x, *, w: Parameter[f32[3]]): return x"
    exec(compile(text, "<text>", "exec", dont_inherit=True), names)
    with pytest.raises(TypeError, match="from __future__ import annotations"):
        tg.text.cells(names["f"])
    with pytest.raises(TypeError, match="a function of a text"):
        tg.text.cells(3)
