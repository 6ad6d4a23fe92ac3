"""Lint finds nothing in what is right: the examples, the demonstration, the library's own steps and references."""

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from lint_steps import gradient_step, parameter

import tensorgraph as tg
from tensorgraph import data, dist, nn, optim, train
from tensorgraph.analysis.lint import lint
from tensorgraph.commands.demo import digits
from tensorgraph.engine.op import CATALOGUE

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"

RNG = np.random.default_rng(0)
F, I = "float32", "int64"
X, W, LABELS, ROW = tg.spec((8, 5)), tg.spec((5, 3)), tg.spec((8,), I), tg.spec((8,))


def named(value):
    return str(value) if isinstance(value, (str, int)) else ""


def test_every_example_is_linted():
    """Or its losses are held to PyTorch's, number by number, in test_examples."""
    compared = json.loads((Path(__file__).with_name("golden") / "torch_losses.json").read_text("utf-8"))
    shown = {path.name for path in EXAMPLES.glob("*.py")} - {f"{name}.py" for name in compared}
    assert shown == {
        "by_hand.py",
        "data_parallel.py",
        "digits.py",
        "digits.tg.py",
        "lstm.tg.py",
        "resnet.tg.py",
        "step.tg.py",
        "transformer.tg.py",
        "ensemble.py",
        "gradients.py",
        "graphs.py",
        "per_example.py",
        "rewriting.py",
        "curvature.py",
    }, "lint the new example below, and name it here"


def is_clean(function, *examples, ignore=()):
    found = lint(function, *examples, ignore=ignore)
    assert not found, str(found)


def step_of(model, optimizer, loss=tg.softmax_cross_entropy):
    def step(x, y):
        value = loss(model(x), y)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        return value

    return step


def batch(features):
    return tg.spec((64, features)), tg.spec((64,), I)


@pytest.mark.parametrize("name", ["by_hand.py", "digits.py"])
def test_the_examples_networks_are_clean(name, tmp_path, monkeypatch):
    pytest.importorskip("sklearn")
    pytest.importorskip("safetensors")
    fit, minibatches = train.fit, data.minibatches
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(train, "fit", lambda *args, **options: fit(*args, **options | {"epochs": 1}))
    monkeypatch.setattr(data, "minibatches", lambda *args, **options: list(minibatches(*args, **options))[:1])
    made = runpy.run_path(str(EXAMPLES / name))
    model = made["model"].train()
    is_clean(step_of(model, made["adam"]), *batch(64))
    is_clean(model, tg.spec((64, 64)))
    is_clean(model.eval(), tg.spec((1, 64)))


def test_the_example_of_many_at_once_is_clean(tmp_path, monkeypatch):
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["per_example.py", "200"])
    made = runpy.run_path(str(EXAMPLES / "per_example.py"))
    is_clean(made["together"])
    is_clean(tg.vmap(made["norm"], (None, 0, 0)), made["first"][0], made["x_test"], made["test"].y)


def test_the_example_of_rewriting_is_clean(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["rewriting.py", "16"])
    made = runpy.run_path(str(EXAMPLES / "rewriting.py"))
    is_clean(made["model"], made["x"])


def test_the_example_of_an_ensemble_is_clean(tmp_path, monkeypatch):
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["ensemble.py", "200"])
    model = runpy.run_path(str(EXAMPLES / "ensemble.py"))["make"](0, 0.1)
    is_clean(step_of(model, optim.AdamW(model.parameters(), lr=0.01)), *batch(64))
    is_clean(model.eval(), tg.spec((64, 64)))


def test_the_example_of_many_processes_is_clean(tmp_path, monkeypatch):
    pytest.importorskip("sklearn")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["data_parallel.py", "1"])
    monkeypatch.setattr(dist, "DataParallel", lambda optimizer, sync: optimizer)
    calls = []

    def fit(model, *args, optimizer, **options):
        calls.append((model, optimizer))
        sys.exit()

    monkeypatch.setattr(train, "fit", fit)
    with pytest.raises(SystemExit):
        runpy.run_path(str(EXAMPLES / "data_parallel.py"))
    ((model, optimizer),) = calls
    is_clean(step_of(model.train(), optimizer), *batch(64))


@pytest.mark.parametrize(
    ("file", "function"),
    [
        ("digits", "net"), ("digits", "predict"), ("lstm", "net"), ("resnet", "net"), ("transformer", "net"),
        ("step", "step"), ("step", "predict"),
    ],
)  # fmt: skip
def test_the_examples_written_as_graphs_are_clean(file, function):
    text = (EXAMPLES / f"{file}.tg.py").read_text("utf-8")
    is_clean(tg.text.parse(text, name=function).at(N=64))


def test_the_example_that_shows_a_mistake_has_that_one_and_no_other(tmp_path, monkeypatch):
    pytest.importorskip("safetensors")
    monkeypatch.chdir(tmp_path)
    made = runpy.run_path(str(EXAMPLES / "graphs.py"))
    assert lint(made["graph"]).ids == ("TG003",)
    is_clean(made["better"])


def test_the_example_of_curvature_is_clean(tmp_path, monkeypatch):
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["curvature.py", "60"])
    made = runpy.run_path(str(EXAMPLES / "curvature.py"))
    is_clean(made["loss"], made["p"], made["small"], made["digits"].y)


def test_the_example_of_gradients_is_clean():
    rosenbrock = runpy.run_path(str(EXAMPLES / "gradients.py"))["rosenbrock"]
    p = tg.spec((2,), "float64")
    for function in (rosenbrock, tg.grad(rosenbrock), tg.hessian(rosenbrock)):
        is_clean(function, p)


@pytest.mark.parametrize("batch_norm", [True, False])
@pytest.mark.parametrize("implementation", ["fused", "composed"])
def test_the_demonstrations_training_step_is_clean(batch_norm, implementation):
    model = digits.network(digits.FULL.widths, 0, batch_norm)
    adam = optim.Adam(model.parameters(), lr=optim.cosine(0.01, 100))

    def loss(outputs, labels):
        return tg.softmax_cross_entropy(outputs, labels, label_smoothing=digits.FULL.label_smoothing)

    with tg.implementation(implementation):
        step = tg.trace(step_of(model, adam, loss), *batch(64))
        is_clean(step)
        is_clean(step.differentiate())
        is_clean(model.eval(), tg.spec((32, 64)))


@pytest.mark.parametrize("implementation", ["fused", "composed"])
@pytest.mark.parametrize(
    "make",
    [
        lambda p: optim.SGD(p, lr=0.1, weight_decay=1e-3, clip_value=1.0),
        lambda p: optim.Momentum(p, lr=0.1, nesterov=True),
        lambda p: optim.RMSprop(p, lr=0.1, clip_norm=1.0),
        lambda p: optim.AdamW(p, lr=0.1, clip_norm=1.0),
    ],
)
def test_the_librarys_own_steps_are_clean(make, implementation):
    model = nn.Sequential(
        nn.Linear(6, 8, bias=False, seed=0),
        nn.BatchNorm(8),
        nn.Tanh(),
        nn.Dropout(0.2, seed=0),
        nn.Linear(8, 3, seed=1),
    )

    def loss(outputs, labels):
        return tg.softmax_cross_entropy(outputs, labels, ignore_index=2, weight=np.array([1.0, 2.0, 3.0], F))

    with tg.implementation(implementation):
        is_clean(step_of(model, make(model.parameters()), loss), *batch(6))


def tensors(value):
    if isinstance(value, list):
        return [tensors(v) for v in value]
    if isinstance(value, np.ndarray):
        return tg.tensor(value)
    return tg.tensor(RNG.uniform(0.5, 1.5, value).astype(F)) if isinstance(value, tuple) else value


FUSED = [(op.name, n) for op in CATALOGUE.values() if op.reference and op.examples for n in range(len(op.examples))]


@pytest.mark.parametrize(("name", "n"), FUSED, ids=named)
def test_references_of_the_catalogue_are_clean(name, n):
    op = CATALOGUE[name]
    inputs, attrs = op.examples[n]
    with tg.implementation("composed"):
        is_clean(lambda *args: op.public(*args, **attrs), *[tensors(v) for v in inputs])


# right programs, as people write them


def attention_block(x):
    heads = x.reshape(4, 6, 2, 4).transpose(0, 2, 1, 3)
    mask = np.where(np.tril(np.ones((6, 6), bool)), 0.0, -np.inf).astype(F)
    weights = tg.softmax(heads @ heads.mT * 0.5 + mask)
    out = x + (weights @ heads).transpose(0, 2, 1, 3).reshape(4, 6, 8)
    y, _, _ = tg.layer_norm(out, tg.ones((8,)), tg.zeros((8,)))
    centred = y - y.mean(axis=-1, keepdims=True)
    return centred / tg.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-6)


def variational_loss(x):
    mu, log_variance = tg.split(x @ VAE, sizes=(2, 2), axis=1)
    noise = tg.random.normal((8, 2))
    z = mu + tg.exp(0.5 * log_variance) * noise
    kl = -0.5 * (1.0 + log_variance - mu**2 - tg.exp(log_variance)).sum(axis=1)
    return ((tg.tanh(z @ VAE[:2]) - x) ** 2).sum(axis=1).mean() + kl.mean()


def contrastive_loss(a, b):
    a, b = (v / tg.sqrt((v * v).sum(axis=1, keepdims=True) + 1e-8) for v in (a, b))
    logits = a @ b.T * 10.0
    pairs = np.arange(8)
    return 0.5 * (tg.softmax_cross_entropy(logits, pairs) + tg.softmax_cross_entropy(logits.T, pairs))


def recurrent_loss(x, y):
    h = tg.zeros((8, 5))
    for t in range(6):
        h = tg.tanh(x[:, t] @ RECURRENT + h @ RECURRENT)
    return ((h @ WEIGHT)[:, 0] - y).__abs__().mean()


def masked_loss(x, mask):
    count = tg.maximum(mask.sum(), 1)
    return tg.where(mask, (x @ WEIGHT)[:, 0] ** 2, 0.0).sum() / count


def focal_loss(x, y):
    log_p = tg.log_softmax(x)
    chosen = tg.take_along_axis(log_p, y[:, None], axis=1)[:, 0]
    return -((1.0 - tg.exp(chosen)) ** 2 * chosen).mean()


def smoothed_binary_loss(x, y):
    z = (x @ WEIGHT)[:, 0]
    return (tg.maximum(z, 0.0) - z * y + tg.log1p(tg.exp(-tg.absolute(z)))).mean()


def mixture_likelihood(x):
    log_weights = tg.log_softmax(EIGHT)
    distance = -0.5 * ((x[:, None, :] - MEANS) ** 2).sum(axis=2)
    return -tg.logsumexp(log_weights + distance, axis=1).mean()


def huber_with_target_network(x, y):
    target = (x @ FROZEN).detach()[:, 0] + y
    error = (x @ WEIGHT)[:, 0] - target
    size = tg.absolute(error)
    return tg.where(size < 1.0, 0.5 * error**2, size - 0.5).mean()


VAE, RECURRENT, MEANS = parameter(4, 4), parameter(5, 5), parameter(8, 5)
WEIGHT, EIGHT, FROZEN = parameter(5, 1), parameter(8), parameter(5, 1, requires_grad=False)


@pytest.mark.parametrize(
    ("function", "examples"),
    [
        (attention_block, [tg.spec((4, 6, 8))]),
        (variational_loss, [tg.spec((8, 4))]),
        (contrastive_loss, [X, X]),
        (recurrent_loss, [tg.spec((8, 6, 5)), ROW]),
        (masked_loss, [X, tg.spec((8,), "bool")]),
        (focal_loss, [X, LABELS]),
        (smoothed_binary_loss, [X, ROW]),
        (mixture_likelihood, [X]),
        (huber_with_target_network, [X, ROW]),
    ],
    ids=lambda v: getattr(v, "__name__", ""),
)
def test_right_programs_are_clean(function, examples):
    is_clean(function, *examples)
    live = [cell() for cell in tg.trace(function, *examples).provenance.live]
    learned = [cell for cell in live if isinstance(cell, tg.Parameter) and cell.requires_grad]
    assert bool(learned) == (function not in (attention_block, contrastive_loss, focal_loss))
    if learned:
        is_clean(gradient_step(function, *learned), *examples)
