"""Calls: what made an equation, how what it was handed nests, and what values are called in each function."""

import contextlib
import gc
import re
import weakref
from collections import OrderedDict, namedtuple
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given

import tensorgraph as tg
from tensorgraph import nn, optim
from tensorgraph.graph import Graph
from tensorgraph.graph.calls import Call
from tensorgraph.graph.graph import ANYTHING, Literal, Var
from tensorgraph.testing import Program, programs

Pair = namedtuple("Pair", "first second")


class Block(nn.Module):
    def __init__(self, seed: int) -> None:
        self.norm = nn.BatchNorm(4)
        self.linear = nn.Linear(4, 4, seed=seed)

    def forward(self, x: Any, scale: float = 1.0) -> Any:
        hidden = self.norm(x)
        out = x + tg.tanh(self.linear(hidden)) * scale
        return out


class Model(nn.Module):
    """Its parameters are listed in another order than they are read in."""

    def __init__(self) -> None:
        self.last = nn.Linear(4, 2, seed=9)
        self.blocks = [Block(0), Block(1)]
        self.first = nn.Linear(3, 4, seed=8)

    def forward(self, x: Any) -> Any:
        h = self.first(x)
        for n, block in enumerate(self.blocks):
            h = block(h, scale=0.5 + n)
        logits = self.last(h)
        return {"logits": logits, "parts": (h, [logits.sum()])}


def step_of(model: nn.Module, optimizer: Any) -> Any:
    def cost(p: Any, targets: Any) -> Any:
        error = p - targets
        return (error * error).mean()

    def step(data: Any, targets: Any) -> Any:
        prediction = model(data)["logits"]
        loss = cost(prediction, targets)
        optimizer.minimize(loss)
        return loss

    return step


def a_step(**options: Any) -> Graph:
    model = Model()
    return tg.trace(step_of(model, optim.Adam(model, 0.1, **options)), tg.f32[5, 3], tg.f32[5, 2])


def calls(graph: Graph) -> list[Call]:
    """All calls in the order in which they first made an equation, outer ones first."""
    found: dict[Call, None] = {}
    for eq in graph.equations:
        if eq.call is not None:
            found.update(dict.fromkeys(reversed(list(eq.call.callers()))))
    return list(found)


def shown(graph: Graph) -> list[str]:
    """Kind, name and path of each call, below its caller's name."""
    by = {c: c.name or c.path for c in calls(graph)}
    return [f"{by[c.parent] if c.parent else ''}/{c.kind} {c.name} {c.path}".strip() for c in by]


# ---- what made an equation


def test_the_calls_of_a_step() -> None:
    graph = a_step()
    assert shown(graph) == [
        "/function step",
        "step/module Model",
        "Model/module Linear first",
        "Model/module Block blocks.0",
        "Block/module BatchNorm blocks.0.norm",
        "Block/module Linear blocks.0.linear",
        "Model/module Block blocks.1",
        "Block/module BatchNorm blocks.1.norm",
        "Block/module Linear blocks.1.linear",
        "Model/module Linear last",
        "step/function cost",
        "step/optimizer Adam optimizer",
    ]
    assert graph.modules == {c.path: c.name for c in calls(graph) if c.kind == "module"}
    assert {eq.scope for eq in graph.equations if eq.call.kind == "function"} == {""}  # type: ignore[union-attr]
    gradient = next(eq for eq in graph.equations if eq.is_gradient)
    assert gradient.call is calls(graph)[0]  # `minimize` asks for it in the caller's name


def test_what_calls_were_handed_and_returned() -> None:
    graph = a_step()
    by_name = {c.path or c.name: c for c in calls(graph)}
    (x, y), top = graph.inputs, by_name["step"]
    assert top.arguments == {"data": x, "targets": y} and top.result is graph.outputs[0]
    model = by_name["Model"]
    assert model.arguments == {"x": x}
    logits, (hidden, (total,)) = model.result["logits"], model.result["parts"]
    assert list(model.result) == ["logits", "parts"] and type(model.result["parts"]) is tuple
    assert logits is by_name["last"].result and by_name["last"].arguments == {"x": hidden}
    assert hidden is by_name["blocks.1"].result and total.aval.shape == ()
    given = by_name["blocks.0"].arguments
    assert given["x"] is by_name["first"].result and given["scale"].value == 0.5
    assert by_name["cost"].arguments == {"p": logits, "targets": y}
    adam = by_name["optimizer"].arguments
    assert [p.aval for p in adam["params"]] == [g.aval for g in adam["grads"]]
    path = {decl.var: decl.path for decl in graph.cells}
    assert [path[p] for p in adam["params"]] == [name for name, _ in Model().named_parameters()]


def test_containers_are_kept_and_objects_are_not() -> None:
    endless: list[Any] = []
    endless.append(endless)

    class Box(nn.Module):
        def forward(self, *xs: Any, **more: Any) -> Any:
            return Pair(xs[0] * 2.0, OrderedDict(z=None, a=(xs[0], 3)))

    box, unread = Box(), tg.Parameter(np.ones(2, "f4"))
    thing = object()

    def f(x: Any) -> Any:
        return box(x, [x, 1.5, None, "word"], unread, thing, flag=True, long=[[0] * 400] * 400, endless=endless)[0]

    graph = tg.trace(f, tg.f32[2])
    assert not graph.cells  # to be handed over is not to be read
    call = graph.equations[0].call
    assert call is not None and call.name == "Box"
    x = graph.inputs[0]
    first, second, *others = call.arguments["*"]
    assert first is x and second[0] is x and [item.value for item in second[1:]] == [1.5, None, "word"]
    assert others == [ANYTHING, ANYTHING]
    assert call.arguments["flag"].value is True and call.arguments["long"][-1] is ANYTHING
    result = call.result
    assert type(result) is Pair and result.first is graph.equations[0].outputs[0]
    assert result.second["a"][0] is x and result.second["a"][1].value == 3 and isinstance(result.second["z"], Literal)


def test_functions_loops_recursion_and_comprehensions() -> None:
    def twice(x: Any) -> Any:
        return x * 2.0

    def down(x: Any, n: int) -> Any:
        return x if n == 0 else down(tg.tanh(x), n - 1)

    def pairs(x: Any) -> Any:
        for i in range(2):
            yield x + float(i)

    @contextlib.contextmanager
    def opened(x: Any) -> Any:
        yield tg.sin(x)

    def f(x: Any) -> Any:
        x = twice(twice(x))
        with opened(x) as x:
            x = down(x, 2)
        with tg.scope("block"):
            xs = [tg.exp(part) for part in (x, twice(x))]
        return sum(map(twice, xs), start=sum(pairs(x)))

    graph = tg.trace(f, tg.f32[2])
    assert shown(graph) == [
        "/function f", "f/function twice", "f/function twice", "f/function opened", "f/function down",
        "down/function down", "f/scope  block", "block/function twice", "f/function pairs", "f/function pairs",
        "f/function twice", "f/function twice",
    ]  # fmt: skip
    exps = [eq for eq in graph.equations if eq.op.name == "exp"]
    assert [eq.scope for eq in exps] == ["block", "block"] and exps[0].call is exps[1].call
    doubled = next(eq for eq in graph.equations if eq.scope == "block" and eq.op.name == "multiply")
    assert doubled.call is not None and doubled.call.name == "twice" and doubled.call.path == ""


def test_only_a_library_module_and_whoever_asked_for_it() -> None:
    graph = tg.trace(nn.Sequential(nn.Linear(2, 3, seed=0), nn.Tanh()), tg.f32[1, 2])
    assert shown(graph) == ["/function Sequential", "Sequential/module Sequential", "Sequential/module Linear 0",
                            "Sequential/module Tanh 1"]  # fmt: skip


@given(programs())
def test_a_call_is_consecutive_equations(program: Program) -> None:
    graph = program.graph()
    ended: set[Call] = set()
    running: set[Call] = set()
    for eq in graph.equations:
        assert eq.call is not None
        inside = set(eq.call.callers())
        ended |= running - inside
        running = inside
        assert ended.isdisjoint(inside), f"{eq.call} goes on after it ended:\n{graph}"
    assert len({list(eq.call.callers())[-1] for eq in graph.equations if eq.call}) <= 1


def test_a_trace_lets_go_of_what_it_ran() -> None:
    class Thing:
        pass

    seen: list[Any] = []

    def inner(x: Any) -> Any:
        local = Thing()
        seen.append(weakref.ref(local))
        return tg.tanh(x)

    def f(x: Any, thing: Any) -> Any:
        return inner(inner(x)) * 2.0

    thing = Thing()
    seen.append(weakref.ref(thing))
    graph = tg.trace(f, tg.f32[2], thing).replace(statics=())
    del thing
    gc.collect()
    assert [reference() for reference in seen] == [None, None, None] and graph.equations[0].call is not None


# ---- names


def test_a_value_has_a_name_in_each_function() -> None:
    graph = a_step()
    by_name = {c.path or c.name: c for c in calls(graph)}
    logits = by_name["Model"].result["logits"]
    assert by_name["step"].names[logits] == "prediction" and by_name["Model"].names[logits] == "logits"
    assert by_name["cost"].names[logits] == "p" and by_name["cost"].names[graph.inputs[1]] == "targets"
    assert logits not in by_name["last"].names
    assert logits.name == "logits"  # in the flat text, that of the innermost function around the equation
    text = graph.text(flat=True)
    assert re.search(r"        logits = \w+ \+ last_bias", text) and "error = logits - targets" in text


def test_what_is_assigned_last_has_a_name_too() -> None:
    linear = nn.Linear(2, 2, seed=0)

    def inner(x: Any) -> Any:
        deep = linear(x)
        return deep

    def f(x: Any) -> Any:
        shallow = inner(x)
        return shallow

    graph = tg.trace(f, tg.f32[1, 2])
    top, function, module = calls(graph)
    (out,) = graph.outputs
    assert isinstance(out, Var)
    assert (top.names[out], function.names[out], module.names.get(out)) == ("shallow", "deep", None)
    assert out.name == "deep" and "deep = " in str(graph)


def test_names_of_a_caller_do_not_leak_into_what_it_calls() -> None:
    def f(x: Any) -> Any:
        hidden = model.blocks[0](x)
        out = x * 2.0
        norm = model.blocks[1](out)
        return norm + hidden

    model = Model()
    graph = tg.trace(f, tg.f32[5, 4])
    first, second = (c for c in calls(graph) if c.name == "Block")
    assert list(first.names.values()) == list(second.names.values()) == ["x", "hidden", "out"]
    for call in calls(graph):
        if call.name in ("Linear", "BatchNorm"):
            assert not call.names


# ---- what keeps them


@pytest.mark.parametrize("step", ["differentiate", "simplify", "expand", "transform"])
def test_passes_keep_calls(step: str) -> None:
    graph = a_step(clip_norm=1.0)
    other = getattr(graph, step)()
    assert other != graph
    was = shown(graph)
    assert [line for line in was if line in shown(other)] == was
    assert other.modules == graph.modules
    known = {v for eq in other.equations for v in eq.outputs} | {*other.inputs, *other.consts}
    known |= {decl.var for decl in other.cells}
    for call, old in zip(calls(other), calls(graph), strict=False):
        assert (call.name, sorted(call.arguments)) == (old.name, sorted(old.arguments))
        assert all(isinstance(var, Var) for var in call.names)
        if step == "differentiate":  # nothing of the forward pass went away
            assert set(call.names) <= known and list(call.names.values()) == list(old.names.values())
    assert all(eq.call is not None for eq in other.equations)


def test_a_rule_that_names_a_scope_is_run_again_by_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    def scaled(g: Any, x: Any) -> Any:
        with tg.scope("rule"):
            return g * (1.0 - tg.square(tg.tanh(x)))

    monkeypatch.setitem(tg.CATALOGUE, "softly", None)  # gone again when the test ends
    del tg.CATALOGUE["softly"]
    softly = tg.op("softly(x)", np.tanh, kind="elementwise", vjp={"x": scaled})
    graph = tg.trace(lambda x: tg.gradients(softly(x).sum(), x), tg.tensor([1.0], requires_grad=True))
    for one in (graph, graph.replace(equations=tuple(replace(eq, source=None) for eq in graph.equations))):
        other = one.differentiate()
        assert [eq.scope for eq in other.equations if eq.op.name == "tanh"] == ["rule"]


def test_a_graph_inside_another_trace() -> None:
    model = Model()
    inside = tg.trace(lambda x: model(x)["logits"], tg.f32[5, 3]).bind(model)

    def outer(data: Any) -> Any:
        with tg.scope("twice"):
            return run(data)

    def run(data: Any) -> Any:
        return inside(data) * 2.0

    graph = tg.trace(outer, tg.f32[5, 3])
    lines = shown(graph)
    assert lines[:5] == ["/function outer", "outer/scope  twice", "twice/function run", "run/function f",
                         "f/module Model twice"]  # fmt: skip
    assert "Model/module Block twice.blocks.1" in lines
    block = next(c for c in calls(graph) if c.path == "twice.blocks.1")
    made = {v for eq in graph.equations for v in eq.outputs}
    assert block.result in made and block.arguments["x"] in made and {*block.names} <= made
    last = graph.equations[-1].call
    assert last is not None and last.name == "run"


# ---- optimisers


@pytest.mark.parametrize("groups", [False, True])
def test_the_lists_of_a_step_have_one_order(groups: bool) -> None:
    def made() -> tuple[Any, Any]:
        model = Model()
        given: Any = model
        if groups:
            given = [
                {"parameters": model.blocks[0], "lr": 0.3},
                {"parameters": [model.last.weight, model.first.weight]},
            ]
        return model, optim.Adam(given, 0.1, clip_norm=0.5)

    rng = np.random.default_rng(0)
    model, optimizer = made()
    step = step_of(model, optimizer)
    x, y = (tg.tensor(rng.normal(size=shape), "float32") for shape in SHAPES[Model])
    graph = tg.trace(step, x, y)
    registered = [p.path for p in optimizer.parameters()]
    path = {decl.var: decl.path for decl in graph.cells}
    read = [path[v] for eq in graph.equations for v in eq.variables() if path.get(v) in registered]
    assert list(dict.fromkeys(read)) != registered
    updated = [path[eq.inputs[0]] for eq in graph.equations if eq.op.name == "adam_update"]
    (clip,) = [eq for eq in graph.equations if eq.op.name == "clip_norm"]
    (gradient,) = [eq for eq in graph.equations if eq.is_gradient]
    of = dict(zip(gradient.outputs, gradient.group(1), strict=True))
    assert updated == [path[of[g]] for g in clip.group(0)] == registered
    assert [path[x] for x in gradient.group(1)][: len(registered)] == registered

    live, other = made()
    run, eager = graph.bind(model, optimizer), step_of(live, other)
    for _ in range(3):
        assert run(x, y).tolist() == eager(x, y).tolist()
    for one, two in ((model, live), (optimizer, other)):
        for (name, a), b in zip(one.state_dict().items(), two.state_dict().values(), strict=True):
            assert a.tobytes() == b.tobytes(), name


# ---- texts


class Recurrent(nn.Module):
    def __init__(self) -> None:
        self.gates = nn.Linear(7, 16, seed=0)
        self.head = nn.Linear(4, 2, seed=1)

    def forward(self, x: Any) -> Any:
        h = c = tg.zeros((2, 4))
        for t in range(x.shape[1]):
            gates = self.gates(tg.concatenate([x[:, t], h], axis=1))
            i, f, g, o = tg.split(gates, (4, 4, 4, 4), axis=1)
            c = tg.sigmoid(f) * c + tg.sigmoid(i) * tg.tanh(g)
            h = tg.sigmoid(o) * tg.tanh(c)
        return {"logits": self.head(h)}


class Attention(nn.Module):
    def __init__(self) -> None:
        self.qkv = nn.Linear(3, 12, seed=0)
        self.out = nn.Linear(4, 2, seed=1)
        self.mask = np.triu(np.full((5, 5), -1e9, "f4"), 1)

    def forward(self, x: Any) -> Any:
        qkv = self.qkv(x).reshape((2, 5, 3, 2, 2)).transpose((2, 0, 3, 1, 4))
        q, k, v = qkv[0], qkv[1], qkv[2]
        weights = tg.softmax(q @ k.transpose((0, 1, 3, 2)) * 0.5 + self.mask)
        mixed = (weights @ v).transpose((0, 2, 1, 3)).reshape((2, 5, 4))
        return {"logits": self.out(mixed)}


SHAPES = {Model: ((5, 3), (5, 2)), Recurrent: ((2, 4, 3), (2, 2)), Attention: ((2, 5, 3), (2, 5, 2))}


@pytest.mark.parametrize(
    ("kind", "optimizer"), [(Model, optim.Adam), (Recurrent, optim.Momentum), (Attention, optim.SGD)]
)
def test_the_text_of_a_text_is_the_text(kind: Any, optimizer: Any) -> None:
    model = kind()
    examples = [tg.spec(shape) for shape in SHAPES[kind]]
    graph = tg.trace(step_of(model, optimizer(model, 0.1)), *examples)
    for one in (graph, graph.differentiate(), graph.transform()):
        assert str(tg.parse(str(one), tg.text.arrays_of(one))) == str(one)
        text = one.text(flat=True)
        again = tg.parse(text, tg.text.arrays_of(one))
        assert again == one and again.text(flat=True) == text
        assert [eq.scope for eq in again.equations] == [eq.scope for eq in one.equations]
        named = {c.path: c.name for c in calls(again) if c.kind == "module"}
        assert again.modules == named and named.items() <= one.modules.items()
        top = calls(again)[0]
        assert (top.kind, top.name, top.parent) == ("function", "step", None)
        assert all(list(eq.call.callers())[-1] is top for eq in again.equations if eq.call)
        made = [v for eq in again.equations for v in eq.outputs]
        assert [top.names[v] for v in (*again.inputs, *made)] == [v.name for v in (*again.inputs, *made)]
        assert top.arguments == dict(zip(again.arguments, again.inputs, strict=True))
        assert top.result is again.outputs[0]
