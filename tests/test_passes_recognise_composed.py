"""Recognition of the library's own compositions, of whole training steps, and of a user's own fused ops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from recognising import assert_agree, names
from spellings import cross_entropy_autograd

import tensorgraph as tg
from tensorgraph.engine.op import CATALOGUE
from tensorgraph.testing import assert_close

F = tg.f32

# the library's own compositions ------------------------------------------------------------------------------------

OPTIONS: list[dict[str, Any]] = [
    {}, dict(reduction="sum"), dict(reduction="none"), dict(label_smoothing=0.1), dict(ignore_index=-100),
    dict(ignore_index=2, label_smoothing=0.3, reduction="batchmean"), dict(axis=0), dict(empty="nan", ignore_index=1),
]  # fmt: skip


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_composed_cross_entropy(options: dict[str, Any], weighted: bool) -> None:
    axis = options.get("axis", -1)
    classes, rows = (6, 5) if axis == -1 else (5, 6)

    def function(z: Any, y: Any, w: Any) -> Any:
        weight = w if weighted else None
        return tg.softmax_cross_entropy(z, y, weight, impl="composed", **options), w.sum()

    shape = (rows, classes) if axis == -1 else (classes, rows)
    graph = tg.trace(function, F[shape], tg.spec((rows,), "int64"), F[classes])
    found = graph.recognise().check()
    assert sorted(names(found)) == ["softmax_cross_entropy", "sum"]
    eq = next(e for e in found.equations if e.op.name == "softmax_cross_entropy")
    for name, value in options.items():
        same = {"batchmean": "mean"} if not weighted else {}  # one mean without weights
        assert same.get(value, value) == same.get(eq.attrs[name], eq.attrs[name])


@pytest.mark.parametrize("soft_weight", [False, True])
def test_composed_cross_entropy_of_probabilities(soft_weight: bool) -> None:
    def function(z: Any, t: Any, w: Any) -> Any:
        return tg.softmax_cross_entropy(z, t, w if soft_weight else None, impl="composed"), w.sum()

    found = tg.trace(function, F[6, 4], F[6, 4], F[4]).recognise()
    assert sorted(names(found)) == ["softmax_cross_entropy", "sum"]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("name", ["batch_norm", "batch_norm_relu", "layer_norm", "softmax", "log_softmax"])
def test_composed_references(name: str, dtype: str) -> None:
    op = CATALOGUE[name]

    def function(*args: Any) -> Any:
        with tg.implementation("composed"):
            out = op.public(*args)
        return out

    shapes = op.examples[1][0]
    specs = [tg.spec(s if len(s) != 1 or name == "layer_norm" else (3,), dtype) for s in shapes]
    graph = tg.trace(function, *specs)
    found = graph.recognise().check()
    assert names(found) == [name]
    if dtype == "float32":
        wide = tg.trace(function, *[tg.spec(s.shape, "float64") for s in specs])
        assert_agree(graph, found, wide, tuple(specs))


def model_and_step(composed: bool) -> tuple[Any, Any, Callable[..., Any]]:
    tg.random.seed(3)
    model = tg.nn.Sequential(
        tg.nn.Linear(12, 10, bias=False), tg.nn.BatchNorm(10), tg.nn.ReLU(), tg.nn.Linear(10, 8, bias=False),
        tg.nn.BatchNorm(8), tg.nn.ReLU(), tg.nn.Linear(8, 5),
    )  # fmt: skip
    optimizer = tg.optim.Adam(model.parameters(), lr=1e-2)

    def step(x: Any, y: Any) -> Any:
        with tg.implementation("composed" if composed else "fused"):
            loss = tg.softmax_cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return loss

    return model, optimizer, step


def test_whole_step() -> None:
    """Traced composed, it ends as the few ops that it is, and trains to the same numbers."""
    model, optimizer, step = model_and_step(composed=True)
    graph = tg.trace(step, F[16, 12], tg.spec((16,), "int64"))
    found = graph.recognise().check()
    assert names(found) == [
        "matmul", "batch_norm_relu", "running_average", "matmul", "batch_norm_relu", "running_average", "matmul", "add",
        "softmax_cross_entropy", "gradients", *["adam_update"] * 8, "add",
    ]  # fmt: skip
    run = found.bind(model, optimizer)
    other, _, other_step = model_and_step(composed=True)
    rng = np.random.default_rng(0)
    for _ in range(10):
        x, y = rng.normal(size=(16, 12)).astype("float32"), rng.integers(0, 5, 16)
        assert_close(run(x, y), other_step(x, y), ulps=64, reason="ten steps add up the rounding of one")
    for (name, a), (_, b) in zip(model.named_cells(), other.named_cells(), strict=True):
        assert np.isfinite(a.numpy()).all()
        assert_close(a, b, scale=1.0, ulps=512, reason="Adam divides by the root of small squares", what=name)


def test_plain_spelling_in_a_whole_step() -> None:
    """Batch norm and cross-entropy written by hand in a step with its own gradients and updates."""
    w = tg.Parameter(np.random.default_rng(0).normal(size=(12, 4)).astype("float32"), name="w")
    gamma, beta = tg.Parameter(np.ones(4, "float32"), name="gamma"), tg.Parameter(np.zeros(4, "float32"), name="beta")
    average = tg.Buffer(np.zeros(4, "float32"), name="average")

    def step(x: Any, y: Any) -> Any:
        h = x @ w
        mu = h.mean(axis=0)
        var = ((h - mu) ** 2).mean(axis=0)
        loss = cross_entropy_autograd((h - mu) / tg.sqrt(var + 1e-5) * gamma + beta, y)
        average.assign(0.9 * average + 0.1 * mu)
        for p, g in zip((w, gamma, beta), tg.gradients(loss, [w, gamma, beta]), strict=True):
            p.assign(p - 0.1 * g)
        return loss

    graph = tg.trace(step, F[6, 12], tg.spec((6,), "int64"))
    found = graph.recognise().check()
    assert {"batch_norm", "softmax_cross_entropy"} < set(names(found))
    assert not {"sqrt", "mean", "logsumexp", "getitem"} & set(names(found))
    x, y = np.random.default_rng(1).normal(size=(6, 12)).astype("float32"), np.array([0, 3, 1, 2, 2, 0])
    state = {c.path: c.read().numpy() for c in (w, gamma, beta, average)}
    for got, wanted in zip(found(x, y, state=state)[1].values(), graph(x, y, state=state)[1].values(), strict=True):
        assert_close(got, wanted, scale=1.0, order=1)


# a user's own ops --------------------------------------------------------------------------------------------------


@pytest.fixture
def gelu() -> Any:
    def reference(x: Any) -> Any:
        return 0.5 * x * (1.0 + tg.tanh(0.7978845608 * (x + 0.044715 * x**3)))

    def forward(x: Any) -> Any:
        return np.asarray(0.5 * x * (1.0 + np.tanh(0.7978845608 * (x + 0.044715 * x**3))), x.dtype)

    def backward(want: Any, g: Any, x: Any, y: Any) -> Any:
        t = np.tanh(0.7978845608 * (x + 0.044715 * x**3))
        slope = 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * 0.7978845608 * (1 + 3 * 0.044715 * x * x)
        return (np.asarray(g * slope, x.dtype),)

    says = tg.Recognition(needs=("exponential",))
    yield tg.fused_op("my_gelu(x) -> y", reference=reference, forward=forward, backward=backward, recognise=says)
    tg.remove_op("my_gelu")


def test_a_users_op_is_found(gelu: Any) -> None:
    def spelled(x: Any) -> Any:
        inner = x * 0.7978845608 * (1.0 + 0.044715 * tg.square(x))
        return x * (tg.tanh(inner) + 1.0) / 2.0

    graph = tg.trace(spelled, F[6, 4])
    found = graph.recognise()
    assert names(found) == ["my_gelu"]
    assert_agree(graph, found, tg.trace(spelled, tg.f64[6, 4]), (F[6, 4],))
    near = tg.trace(lambda x: x * (tg.tanh(x * 0.7978845608 * (1.0 + 0.044714 * x * x)) + 1.0) / 2.0, F[6, 4])
    assert near.recognise() == near


def test_a_users_op_that_clips_is_found_exactly_only() -> None:
    """What is chosen by a comparison cannot be told from random numbers."""

    def reference(x: Any, *, bound: float = 50.0) -> Any:
        return tg.clip(tg.tanh(x) * 3.0, a_max=bound)

    def forward(x: Any, *, bound: float = 50.0) -> Any:
        return np.minimum(np.tanh(x) * 3, bound)

    call = tg.fused_op(
        "my_clip(x, *, bound=50.0) -> y", reference=reference, forward=forward,
        backward=lambda want, g, x, y, *, bound: (g * 3 * (1 - np.tanh(x) ** 2) * (y < bound),), examples=(((3,), {}),),
        recognise=tg.Recognition(),
    )  # fmt: skip
    try:
        assert names(tg.trace(lambda x: tg.tanh(x) * 3.0, F[5]).recognise()) == ["tanh", "multiply"]
        assert names(tg.trace(lambda x: call(x, impl="composed", bound=2.0), F[5]).recognise()) == ["my_clip"]
    finally:
        tg.remove_op("my_clip")


def test_two_inputs_from_their_own_branches() -> None:
    call = tg.fused_op(
        "my_pair(a, b) -> y", reference=lambda a, b: tg.exp(a) * tg.sin(b), forward=lambda a, b: np.exp(a) * np.sin(b),
        backward=lambda want, g, a, b, y: (g * y, g * np.exp(a) * np.cos(b)), infer_rule=lambda a, b: a,
        recognise=tg.Recognition(),
    )  # fmt: skip
    try:
        found = tg.trace(lambda p, q: tg.sin(q) * tg.exp(p), F[5], F[5]).recognise()
        assert names(found) == ["my_pair"] and found.equations[0].inputs == found.inputs
        assert call is not None
    finally:
        tg.remove_op("my_pair")


def test_a_fused_op_and_what_follows_it_become_one_whoever_else_reads_its_moments() -> None:
    def block(x: Any, gamma: Any, beta: Any) -> Any:
        y, mu, var = tg.batch_norm(x, gamma, beta)
        return tg.relu(y), mu * 2.0, var

    graph = tg.trace(block, tg.f32[8, 4], tg.f32[4], tg.f32[4]).recognise()
    assert [eq.op.name for eq in graph.equations] == ["batch_norm_relu", "multiply"]
    x, gamma, beta = tg.random.normal((8, 4)), tg.ones(4), tg.zeros(4)
    for found, expected in zip(graph(x, gamma, beta), block(x, gamma, beta), strict=True):
        np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-5, atol=1e-6)
    model = tg.nn.Sequential(tg.nn.Linear(4, 8), tg.nn.BatchNorm(8), tg.nn.ReLU())
    assert names(tg.trace(model, tg.f32[8, 4]).recognise()) == ["matmul", "add", "batch_norm_relu", "running_average"]
