"""Folded texts: functions, members and nested expressions, read back as the same graph that prints the same."""

import ast
import inspect
import re
from pathlib import Path
from typing import Any

import large_programs
import numpy as np
import pytest
from hypothesis import given
from large_programs import PROGRAMS

import tensorgraph as tg
from tensorgraph import nn, optim
from tensorgraph.commands.demo.digits import network
from tensorgraph.graph import Graph
from tensorgraph.testing import Program, programs
from tensorgraph.text.lines import folded_line

WIDEST = 110
TRANSFORMER = (large_programs.Attention, large_programs.TransformerBlock, large_programs.LanguageModel)


def read_back(graph: Graph) -> str:
    """The text, after checking that it is read back as the same graph, which prints the same."""
    text = graph.text()
    again = tg.parse(text, tg.text.arrays_of(graph))
    assert again == graph and hash(again) == hash(graph), text
    assert again.text() == text
    assert max(map(len, text.split("\n"))) <= WIDEST, text
    starts = [node.lineno for node in ast.walk(ast.parse(text)) if isinstance(node, ast.stmt)]
    assert len(set(starts)) == len(starts), text  # one statement a line
    assert graph.outline.reason is None
    return text


SOURCES: dict[str, tuple[Any, ...]] = {
    "demo step": (network, large_programs._step, large_programs.demo_step),
    "residual step": (large_programs.ResidualBlock, large_programs.Residual, large_programs._step),
    "transformer forward": TRANSFORMER,
    "transformer loss": (*TRANSFORMER, large_programs.transformer_loss),
    "transformer step": (*TRANSFORMER, large_programs.transformer_step),
    "u-net step": (large_programs.UNet, large_programs.unet_step),
    "lstm step": (large_programs.Recurrent, large_programs._step),
    "vae step": (large_programs.Autoencoder, large_programs.vae_step),
    "gan step": (large_programs.gan_step,),
    "attention step": (large_programs.Attention, large_programs.attention_step),
    "maml step": (large_programs.maml_step,),
}


@pytest.mark.parametrize("name", SOURCES)
def test_a_text_has_at_most_twice_the_lines_of_its_source(name: str) -> None:
    said = [re.sub(r'""".*?"""', "", inspect.getsource(part), flags=re.S) for part in SOURCES[name]]
    assert lines_of(PROGRAMS[name]().text(library=False)) <= 2 * sum(map(lines_of, said))


@pytest.mark.parametrize("name", [name for name in PROGRAMS if name != "flat"])
def test_what_the_library_has_may_be_left_out(name: str) -> None:
    graph = PROGRAMS[name]()
    text = graph.text(library=False)
    again = tg.parse(text, tg.text.arrays_of(graph))
    assert again == graph and again.text(library=False) == text and lines_of(text) < lines_of(str(graph))
    starts = {decl.path: decl.initialiser for decl in again.cells}
    assert all(decl.initialiser in (None, starts[decl.path]) for decl in graph.cells)
    assert "def Embedding" not in text and "def LayerNorm" not in text and "def BatchNorm" not in text
    assert str(graph) == graph.text() and ("def Linear(" in str(graph) or name == "maml step")


class Linear(nn.Module):
    """Another layer of this name."""

    def __init__(self) -> None:
        self.weight, self.bias = tg.Parameter(np.ones((3, 3), "f4")), tg.Parameter(np.ones(3, "f4"))

    def forward(self, x: Any) -> Any:
        return x @ self.weight - self.bias


def test_what_only_looks_like_the_librarys_is_written_out() -> None:
    for model in (nn.Sequential(Linear(), nn.Linear(3, 3)), nn.Sequential(nn.Linear(3, 3, bias=False))):
        graph = tg.trace(lambda x, model=model: model(x), tg.f32[2, 3])
        text = graph.text(library=False)
        assert "def Linear(" in text and tg.parse(text) == graph
    layer = nn.Linear(3, 3)
    layer.weight.initialiser = "normal()"  # it starts in another way
    assert "= normal()" in tg.trace(lambda x: nn.Sequential(layer)(x), tg.f32[2, 3]).text(library=False)


@pytest.mark.parametrize("library", [True, False])
def test_a_file_has_every_function(tmp_path: Path, library: bool) -> None:
    graph = PROGRAMS["transformer loss"]()
    graph.text(library=library)
    graph.save(tmp_path / "loss.tg.py")
    text = (tmp_path / "loss.tg.py").read_text()
    assert text.startswith("from __future__ import annotations\nfrom tensorgraph.dsl import *\n\n\ndef ")
    assert str(graph) in text and tg.load_graph(tmp_path / "loss.tg.py") == graph


def nameless(*_: Any) -> str:
    raise LookupError("no name")


@pytest.mark.parametrize("fault", [lambda *_: str(tg.trace(tg.tanh, tg.f32[3]).text(flat=True)), nameless])
def test_a_text_that_is_no_text_of_the_graph_is_not_shown(
    fault: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = PROGRAMS["two inputs"]()
    monkeypatch.setattr("tensorgraph.text.sure.folded", fault)
    assert str(graph) == graph.text(flat=True) == graph.text(library=False)
    assert graph.text(types=True) == graph.text(flat=True, types=True)
    assert graph.outline.reason == "its text is read as another graph"
    graph.save(tmp_path / "f.tg.py")
    assert graph.text(flat=True) in (tmp_path / "f.tg.py").read_text()
    assert tg.load_graph(tmp_path / "f.tg.py") == graph


def lines_of(text: str) -> int:
    return sum(bool(line.strip()) for line in text.split("\n"))


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_come_back_from_their_text(name: str) -> None:
    read_back(PROGRAMS[name]())


@given(programs())
def test_any_program_comes_back_from_its_text(program: Program) -> None:
    graph = program.graph()
    text = graph.text()
    again = tg.parse(text, tg.text.arrays_of(graph))
    assert again == graph, text
    assert again.text() == text
    for changed in (graph.simplify(), graph.differentiate(), graph.expand()):
        text = changed.text()
        assert changed.outline.reason is None and tg.parse(text, tg.text.arrays_of(changed)) == changed, text


PASSES: dict[str, Any] = {
    "simplify": Graph.simplify, "recognise": Graph.recognise, "expand": Graph.expand,
    "differentiate": Graph.differentiate, "transform": Graph.transform,
}  # fmt: skip
BATCHED = (
    "transformer forward", "transformer loss", "u-net forward", "lstm forward", "two inputs", "attention forward",
)  # fmt: skip


@pytest.mark.sampled(test=34, quick=2)
@pytest.mark.parametrize("step", PASSES)
@pytest.mark.parametrize("name", [name for name in PROGRAMS if name != "flat"])
def test_programs_come_back_after_passes(name: str, step: str) -> None:
    read_back(PASSES[step](PROGRAMS[name]()))


@pytest.mark.parametrize("name", BATCHED)
def test_programs_for_many_at_once_come_back(name: str) -> None:
    graph = PROGRAMS[name]()
    read_back(graph.batched(3))


def test_a_backward_pass_is_functions_of_the_layers_and_loops() -> None:
    graph = PROGRAMS["transformer step"]()
    text = graph.differentiate().text()
    assert lines_of(text) < 3 * lines_of(graph.text()) and len(graph.differentiate().equations) > 1100
    backward = text[text.index("def Sequential_backward") :].partition("\n\n")[0].split("\n")
    assert backward[2:5] == [
        "    for saved_2, layer in zip(reversed(saved), reversed(blocks.layers)):",
        "        v, saved_3 = TransformerBlock_backward(layer, saved_2, v)",
        "        saveds.append(saved_3)",
    ]


def test_a_model_called_twice_and_in_a_scope() -> None:
    total = tg.Buffer(np.ones((3, 2), "f4"), name="total")
    model = nn.Sequential(nn.Linear(3, 4, bias=False, seed=1), nn.BatchNorm(4))

    def f(x: Any) -> Any:
        first = model(x * total.sum())
        with tg.scope("head"):
            return first * model(x)

    graph = tg.trace(f, tg.f32[3, 3])
    text = graph.text()
    assert tg.parse(text) == graph and "running_mean.assign" in text.replace("norm_", "")


def test_what_a_cell_held_before_it_was_written() -> None:
    text = """
def swap(x: f32[2], *, a: Buffer[f32[2]], b: Buffer[f32[2]]):
    a_before = a.read()
    b_before = b.read()
    a.assign(b_before)
    b.assign(a_before)
    return a_before * x, b_before
"""
    graph = tg.parse(text)
    read_back(graph)
    before = {"a": tg.tensor([1.0, 2.0]), "b": tg.tensor([3.0, 4.0])}
    _, after = tg.parse(graph.text())(tg.ones(2), state=before)
    assert after["a"].tolist() == [3.0, 4.0] and after["b"].tolist() == [1.0, 2.0]


def test_expressions_nest_in_the_order_of_the_graph() -> None:
    def f(x: Any, y: Any) -> Any:
        a = tg.sin(x)
        b = tg.cos(y)
        return tg.tanh(x + y) * (b - a) ** 2.0 - (-x) ** (y + 1.0)

    graph = tg.trace(f, tg.f32[3], tg.f32[3])
    assert read_back(graph) == (
        "def f(x: f32[3], y: f32[3]) -> f32[3]:\n"
        "    a = sin(x)\n"
        "    b = cos(y)\n"
        "    return tanh(x + y) * (b - a) ** 2.0 - (-x) ** (y + 1.0)"
    )

    def g(x: Any) -> Any:  # what is made first is read last: it cannot stand in its place
        parts = [tg.sin(x), tg.cos(x), tg.tan(x)]
        return parts[2] / parts[0] - parts[1]

    assert read_back(tg.trace(g, tg.f32[3])).split("\n")[1:] == [
        "    v0 = sin(x)", "    v1 = cos(x)", "    return tan(x) / v0 - v1",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text",
    ["a - (b - a)", "a - b - a", "a / (b * a)", "(a / b) * a", "a ** (b ** a)", "(a ** b) ** a", "-(a ** b)",
     "(-a) ** b", "-(a + b)", "-a + b", "a @ (b @ a)", "(a + b) @ a", "(a < b) & (b < a)", "(a + b)[0]", "(-a).T",
     "a.at[0].set((a + b)[0])", "~(a < b)",
     "2.0 ** a", "(-2.0) ** a", "1.0 - (2.0 - a)", "a // (b % a)", "sum(a * b, axis=0) + a[0] * (b[1] - 1.0)"],
)  # fmt: skip
def test_brackets_stand_where_python_needs_them(text: str) -> None:
    graph = tg.parse(f"def f(a: f64[3, 3], b: f64[3, 3]): return {text}")
    read_back(graph)


def test_names_are_taken_again_where_they_are_dead() -> None:
    def f(x: Any) -> Any:
        x = tg.tanh(x)
        y = x * 2.0
        x = x + y
        x = x @ x
        return x

    body = read_back(tg.trace(f, tg.f32[2, 2])).split("\n")[1:]
    assert body == ["    x = tanh(x)", "    y = x * 2.0", "    x = x + y", "    x = x @ x", "    return x"]


def test_names_of_ops_functions_and_members_are_left_to_them() -> None:
    class Thing(nn.Module):
        def __init__(self) -> None:
            self.mean = nn.Linear(3, 3, seed=0)
            self.sum = tg.Parameter(np.ones(3, "f4"))

        def forward(self, x: Any) -> Any:
            mean = self.mean(x)
            loss = mean * self.sum
            return mean.mean() + loss

    thing = Thing()

    def loss(x: Any) -> Any:
        loss = thing(x).sum()
        return loss * loss

    text = read_back(tg.trace(lambda x: loss(x) + 1.0, tg.f32[2, 3]))
    assert 'mean_: At["mean", Linear]' in text and 'sum_: At["sum", Parameter[f32[3]]]' in text
    assert re.search(r"^def loss\(x: .*, thing\):$", text, re.M) and "    loss_ = sum(thing(x))" in text


def test_sizes_that_vary_are_names() -> None:
    class Pair(nn.Module):
        def __init__(self, a: int, b: int) -> None:
            self.up, self.down = nn.Linear(a, b, seed=0), nn.Linear(b, a, seed=1)

        def forward(self, x: Any) -> Any:
            return x + self.down(tg.relu(self.up(x)))

    one, two = Pair(3, 5), Pair(4, 7)
    graph = tg.trace(lambda x, y: (one(x), two(y)), tg.f32[2, 3], tg.f32[2, 4])
    text = read_back(graph)
    assert "def Linear(x: f32[2, I], *, weight: Parameter[f32[I, O]]" in text
    assert "def Pair(x: f32[2, I], *, up: Linear[I, O], down: Linear[O, I]):" in text
    assert re.search(r"Pair\[3, 5\].*Pair\[4, 7\]", text)


def test_types_and_flat_texts_on_request() -> None:
    graph = PROGRAMS["two inputs"]()
    assert re.search(r"^    h = tanh\(.*# f32\[4, 8\]$", graph.text(types=True), re.M)
    assert str(graph) == graph.text() != graph.text(types=True)
    assert tg.parse(graph.text(flat=True)) == tg.parse(graph.text(types=True)) == graph
    assert "#" not in graph.text(flat=True)


def relu(x: Any) -> Any:
    return tg.cos(x) * tg.tanh(x)


def relu_(x: Any) -> Any:
    return tg.sin(x) + 1.0


def relu_2(x: Any) -> Any:
    return tg.exp(x) - tg.tanh(x)


def like(x: Any) -> Any:
    return tg.exp(x) / 2.0


def test_no_two_functions_share_a_name_that_an_op_does_not_leave_them() -> None:
    graph = tg.trace(lambda x: relu(relu_(relu(relu_(x)))) + relu_2(like(relu_2(x))), tg.f64[3])
    text = read_back(graph)
    heads = re.findall(r"^def (\w+)\(", text, re.M)
    assert len(set(heads)) == len(heads) == 5 and not {"relu", "like"} & set(heads)
    space = tg.text.namespace()
    exec(text, space)
    x = tg.tensor([0.5, -2.0, 0.25], "float64")
    assert np.array_equal(space["f"](x).numpy(), graph(x).numpy())


def test_lines_are_broken_where_they_have_one_item_and_many_targets() -> None:
    const = np.full((3, 3), 2 / 9, np.float32)
    read_back(tg.trace(lambda x: (x @ const) * const, tg.f32[3, 3]))

    def long(a: Any) -> Any:
        names = {f"a_long_name_{k}": a * float(k) for k in range(5)}
        return tg.grad(lambda given: sum(tg.sin(v).sum() for v in given.values()))(names)

    graph = tg.trace(long, tg.f32[3])
    assert tg.parse(graph.text()) == graph and max(map(len, graph.text().split("\n"))) <= WIDEST
    folded = folded_line("for t, x in enumerate(zip([alpha, beta], [gamma, delta])):", 40)
    assert folded == ["for t, x in enumerate(", "    zip([alpha, beta], [gamma, delta])", "):"]
    assert folded_line("value = f((alpha + beta))", 20) == ["value = f(", "    (alpha + beta)", ")"]
    assert eval("".join(folded_line("((1000, 2000, 3000, 4000),)", 16))) == ((1000, 2000, 3000, 4000),)


def test_what_calls_in_blocks_of_scopes_give_has_its_name() -> None:
    maker = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))
    critic = nn.Sequential(nn.Linear(2, 8), nn.BatchNorm(8), nn.ReLU(), nn.Linear(8, 1))
    makers, critics = optim.Adam(maker), optim.Adam(critic)

    def step(real: Any, z: Any) -> Any:
        fake = maker(z)
        loss = tg.softplus(-critic(real)).mean() + tg.softplus(critic(fake.detach())).mean()
        critics.minimize(loss)
        other = tg.softplus(-critic(maker(z))).mean()
        makers.minimize(other)
        return loss, other

    graph = tg.trace(step, tg.f32[4, 2], tg.f32[4, 3])
    for changed in (graph, graph.recognise(), graph.differentiate(), graph.transform()):
        text = changed.text()
        assert tg.parse(text, tg.text.arrays_of(changed)) == changed
        assert max(map(len, text.split("\n"))) <= WIDEST


def test_parameters_stand_in_the_order_in_which_members_are_declared() -> None:
    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = [nn.Linear(3, 4), nn.Linear(3, 5)]

        def forward(self, x: Any) -> Any:
            self.blocks[0](x)  # which the loss does not read
            return self.blocks[1](x)

    model = Pair()
    optimizer = optim.Momentum(model)

    def step(x: Any) -> Any:
        loss = model(x).sum()
        optimizer.minimize(loss)
        return loss

    with pytest.warns(RuntimeWarning, match="no gradient reached blocks.0.weight"):
        graph = tg.trace(step, tg.f32[2, 3])
    assert "parameters(pair)[2:4]" in read_back(graph)


def test_a_loop_over_what_an_argument_holds_at_several_depths() -> None:
    def f(p: Any) -> Any:
        (x,), y = p[0], p[1]["k"]
        for k in (y, x):  # which are the leaves of p in their order backwards, and p is no list of them
            h = tg.stop_gradient(tg.sigmoid(y) + 1.0) + k
        return h * x

    graph = tg.trace(f, ((tg.f32[3],), {"k": tg.f32[3]}))
    assert 'for v in [p[1]["k"], p[0][0]]:' in read_back(graph)
