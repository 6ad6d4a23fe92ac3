"""The examples that are texts: short, read, run as plain Python, trained, drawn, checked, and made modules."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_text_folded import lines_of

import tensorgraph as tg
from tensorgraph import nn, optim
from tensorgraph.commands.cli import main
from tensorgraph.text.checking import problems

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
MODELS = ("lstm.tg.py", "resnet.tg.py", "transformer.tg.py")
NAMES = (*MODELS, "step.tg.py")


def text_of(name: str) -> str:
    return (EXAMPLES / name).read_text("utf-8")


def python_of(name: str) -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "example"}
    exec(compile(text_of(name), name, "exec", dont_inherit=True), names)
    return names


def batch(size: int) -> tuple[tg.Tensor, tg.Tensor]:
    numbers = np.random.default_rng(size)
    return tg.tensor(numbers.normal(size=(size, 64)), "float32"), tg.tensor(numbers.integers(0, 10, size))


def test_the_texts_are_these() -> None:
    assert sorted(NAMES) == sorted(path.name for path in EXAMPLES.glob("*.tg.py") if path.name != "digits.tg.py")


@pytest.mark.parametrize("name", NAMES)
def test_a_text_is_short_and_comes_back(name: str) -> None:
    assert len(text_of(name).splitlines()) < 40
    graph = tg.parse(text_of(name)).at(N=4)
    again = tg.parse(str(graph), tg.text.arrays_of(graph))
    assert again == graph and str(again) == str(graph)
    assert lines_of(graph.text(library=False)) <= 2 * lines_of(text_of(name))
    assert {eq.source.line for eq in graph.equations} <= set(range(1, 41)) | {
        eq.source.line for eq in graph.equations if eq.source.file != "<text>"
    }


@pytest.mark.parametrize("name", MODELS)
def test_a_model_is_plain_python_and_a_module_with_the_same_bits(name: str) -> None:
    x, y = batch(6)
    module = nn.GraphModule(text_of(name), seed=1)
    names = python_of(name)
    members = names["cells"](names["net"], seed=1)
    np.testing.assert_array_equal(names["net"](x, **members).numpy(), module(x).numpy())
    adam = optim.Adam(module.parameters(), lr=0.01)
    losses = []
    for _ in range(12):
        loss = tg.softmax_cross_entropy(module(x), y)
        adam.minimize(loss)
        losses.append(float(loss))
    assert losses[-1] < losses[0] / 2
    assert module.eval()(batch(3)[0]).shape == (3, 10)


def test_the_step_trains_itself() -> None:
    x, y = batch(8)
    module = nn.GraphModule(text_of("step.tg.py"), seed=0)
    names = python_of("step.tg.py")
    members = names["cells"](names["step"], seed=0)
    losses = [float(module(x, y)) for _ in range(20)]
    assert [float(names["step"](x, y, **members)) for _ in range(20)] == losses and losses[-1] < losses[0] / 4
    logits = module.eval()(x)
    np.testing.assert_array_equal(logits.numpy(), names["predict"](x, net=members["net"]).numpy())
    assert (logits.numpy().argmax(axis=1) == y.numpy()).all()


@pytest.mark.parametrize("name", NAMES)
def test_a_text_is_trained_and_drawn(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("safetensors")
    monkeypatch.chdir(tmp_path)
    numbers = np.random.default_rng(0)
    np.savez("data.npz", x=numbers.normal(size=(60, 64)).astype("f4"), y=np.arange(60) % 10)
    command = ["train", str(EXAMPLES / name), "--data", "data.npz", "--batch-size", "16"]
    assert main([*command, "--check"]) == 0
    assert "nothing was trained" in capsys.readouterr().out
    assert main([*command, "--epochs", "2", "-o", "out"]) == 0
    told = "".join(capsys.readouterr())
    stem = name.removesuffix(".tg.py")
    assert "epoch 2/2" in told and "test: loss" in told and (tmp_path / "out" / f"{stem}.svg").is_file()
    trained = nn.GraphModule.from_file(tmp_path / "out" / name).eval()
    again = tg.load_model(tmp_path / "out" / f"{stem}.safetensors").model.eval()
    x = batch(5)[0]
    np.testing.assert_array_equal(trained(x).numpy(), again(x).numpy())
    fresh = nn.GraphModule(text_of(name), seed=0)
    assert any(not np.array_equal(p.numpy(), trained.state_dict()[path]) for path, p in fresh.named_parameters())
    drawing = tg.draw(tg.parse(text_of(name)), level="module").text()
    assert "Linear" in drawing


def test_a_step_has_an_update_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez("data.npz", x=np.zeros((40, 64), "f4"), y=np.arange(40) % 10)
    command = ["train", str(EXAMPLES / "step.tg.py"), "--data", "data.npz"]
    assert main([*command, "--lr", "0.1"]) == 2
    assert "its own update: leave --lr out" in capsys.readouterr().err
    np.savez("wide.npz", x=np.zeros((40, 65), "f4"), y=np.arange(40) % 10)
    assert main([*command[:-1], "wide.npz"]) == 2
    assert "the step takes a batch of samples, and one of labels or nothing more" in capsys.readouterr().err
    Path("fixed.tg.py").write_text(
        "def step(x: f32[16, 64], y: i64[16], *, net: Linear[64, 10], sgd: SGD):\n"
        "    loss = softmax_cross_entropy(net(x), y)\n"
        "    sgd(parameters(net), gradients(loss, parameters(net)))\n    return loss\n"
    )
    pytest.importorskip("safetensors")
    assert main(["train", "fixed.tg.py", "--data", "data.npz", "--epochs", "1", "--batch-size", "7"]) == 0
    assert "epoch 1/1" in capsys.readouterr().out
    Path("again.tg.py").write_text(
        "def step(x: f32[N, 64], *, there: Linear[64, 8], back: Linear[8, 64], sgd: SGD):\n"
        "    loss = mean((back(there(x)) - x) ** 2)\n"
        "    params = parameters([there, back])\n"
        "    sgd(params, gradients(loss, params))\n    return loss\n"
    )
    assert main(["train", "again.tg.py", "--data", "data.npz", "--epochs", "1"]) == 0  # which takes no labels
    assert "epoch 1/1" in capsys.readouterr().out


WRONG = """
def Block(x, *, a: Linear[4, 4]):
    return rleu(a(x))


def net(x: f32[N, 4], *, b: Block, c: Linear[4, 3]):
    h = b(x)
    g = h + 1
    for i in range(2):
        x = x + nope
    k = softmx(x)
    m = c(c(h))
    n = c(c(ones((2, 4))))
    z = missing
    return g + k + z


def other(x: f32[3]):
    return x + wrong
"""


def test_all_that_is_wrong_is_told() -> None:
    graphs, errors = problems(WRONG)
    assert [(e.line, e.column) for e in errors] == [(3, 12), (10, 17), (13, 9), (14, 9), (19, 16)] and graphs == {}
    assert errors[0].calls == [("b(x)", 7, "<text>")]
    assert not any(e.follows for e in errors)
    graphs, errors = problems("def f(x: f32[N]): return x\ndef g(x): return x\ndef h(x: f32[3]): return g(x)")
    assert [*graphs] == ["f", "h"] and errors == []
    assert [e.line for e in problems("def f(x: f32[3]):\n  return x +")[1]] == [2]
    assert [e.message for e in problems("def f(x): return x")[1]] == [
        "the argument x needs a type, as in x: f32[64, 10]"
    ]


def test_the_command_checks_texts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["check", *[str(EXAMPLES / name) for name in (*NAMES, "digits.tg.py")]]) == 0
    assert capsys.readouterr().out.count("<Template") == 7
    Path("wrong.tg.py").write_text(WRONG)
    assert main(["check", str(EXAMPLES / "lstm.tg.py"), "wrong.tg.py", "--quiet"]) == 1
    told = capsys.readouterr().out
    assert "wrong.tg.py, line 3, column 12: no op is called 'rleu'; did you mean 'relu'?" in told
    assert "\nin b(x), line 7\n" in told and told.endswith("5 errors\n") and "lstm" not in told
    Path("other.py").write_bytes(b"\xff")
    for file, message in (("missing.tg.py", "No such file"), ("other.py", "UTF-8"), ("other.txt", "a Python file")):
        assert main(["check", file]) == 2
        told = capsys.readouterr().err
        assert message in told and told.count(file) == 1
