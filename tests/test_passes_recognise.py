"""Fused ops are found by how a region behaves: every spelling in `spellings.py`, none of its near misses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from spellings import NEAR_MISSES, SPELLINGS, batch_norm_moments, batch_norm_slides, cross_entropy_autograd

import tensorgraph as tg
from tensorgraph.graph.graph import Graph
from tensorgraph.op import CATALOGUE
from tensorgraph.passes import recognise as recognition
from tensorgraph.testing import assert_close

Array = np.ndarray[Any, Any]
F = tg.f32


def numbers(specs: tuple[Any, ...], seed: int = 0, dtype: str = "float32") -> list[Array]:
    """Random arguments of these types; labels that every axis holds."""
    rng = np.random.default_rng(seed)
    made: list[Array] = []
    for spec in specs:
        if spec.dtype.kind == "f":
            made.append(rng.normal(0.3, 1.0, spec.shape).astype(dtype))
        else:
            made.append(rng.integers(0, 4, spec.shape))
    if len(specs) > 1 and specs[0] == specs[1]:  # probabilities
        made[1] = np.abs(made[1]) / np.abs(made[1]).sum(-1, keepdims=True)
    return made


def names(graph: Graph) -> list[str]:
    return [eq.op.name for eq in graph.equations]


def results(graph: Graph, arrays: list[Array]) -> tuple[list[Array], list[Array]]:
    """Outputs, and their gradients with respect to every float argument, weighted by fixed cotangents."""
    args = [tg.tensor(a, requires_grad=a.dtype.kind == "f") for a in arrays]
    outs = graph(*args)
    outs = list(outs) if isinstance(outs, tuple) else [outs]
    rng = np.random.default_rng(1)
    cotangents = [rng.normal(size=o.shape).astype(o.dtype) for o in outs]
    leaves = [a for a in args if a.dtype.kind == "f"]
    grads = tg.gradients(outs, leaves, cotangents)
    return [o.numpy() for o in outs], [g.numpy() for g in grads]


def assert_agree(graph: Graph, other: Graph, truth: Graph, specs: tuple[Any, ...]) -> None:
    """What recognition made is as near to the float64 composition as an op may be, or as near as the composition was."""
    arrays = numbers(specs)
    wide = [a.astype("float64") if a.dtype.kind == "f" else a for a in arrays]
    exact, plain, fused = results(truth, wide), results(graph, arrays), results(other, arrays)
    unit = float(np.finfo("float32").eps)
    for order, ulps in ((0, 16), (1, 64)):
        for got, was, wanted in zip(fused[order], plain[order], exact[order], strict=True):
            assert np.isfinite(got).all()
            scale = max(float(np.abs(wanted).max(initial=0.0)), 0.1)
            error = float(np.abs(was - wanted).max(initial=0.0)) / (scale * unit)
            reason = "the affine parts and reshapes around the op round too"
            assert_close(got, wanted.astype("float32"), scale=scale, ulps=max(ulps, 2 * error), reason=reason)


@pytest.mark.parametrize(("function", "specs", "op"), SPELLINGS, ids=lambda v: getattr(v, "__name__", ""))
def test_spelling_is_found(function: Callable[..., Any], specs: tuple[Any, ...], op: str) -> None:
    graph = tg.trace(function, *specs)
    found = graph.recognise().check()
    assert op in names(found)
    assert len(found.equations) < len(graph.equations)
    (change,) = [c for c in found.changes if c.rule.startswith(f"{op}:")]
    assert change.step == "recognise" and op in change.after and change.before
    assert change.source is not None and change.source.file.endswith("spellings.py")
    truth = tg.trace(function, *[tg.spec(s.shape, "float64") if s.dtype.kind == "f" else s for s in specs])
    assert_agree(graph, found, truth, specs)
    assert found.recognise() == found


@pytest.mark.parametrize(("function", "specs", "ops"), NEAR_MISSES, ids=lambda v: getattr(v, "__name__", ""))
def test_near_miss_is_refused(function: Callable[..., Any], specs: tuple[Any, ...], ops: tuple[str, ...]) -> None:
    graph = tg.trace(function, *specs)
    found = graph.recognise().check()
    for op in ops:
        assert names(found).count(op) == names(graph).count(op)


def test_there_are_enough_spellings() -> None:
    assert len(SPELLINGS) >= 25 and len(NEAR_MISSES) >= 15


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_spelling_in_another_dtype(dtype: str) -> None:
    spec = tg.spec((6, 4), dtype), tg.spec((4,), dtype), tg.spec((4,), dtype)
    assert names(tg.trace(batch_norm_slides, *spec).recognise()) == ["batch_norm"]
    assert names(tg.trace(lambda z, y: cross_entropy_autograd(z, y), tg.spec((6, 4), dtype), tg.spec((6,), "int64")).recognise())[-1:] == [
        "mean" if dtype == "float16" else "softmax_cross_entropy"  # whose result is float32 at least
    ] or dtype == "float16"


# sizes -------------------------------------------------------------------------------------------------------------


def test_large_sizes_are_exchanged_for_small_ones() -> None:
    """Nothing of this size is ever computed: 800 million numbers."""
    def flat(x: Any, gamma: Any, beta: Any) -> Any:
        n, c, h, w = x.shape
        rows = x.transpose((0, 2, 3, 1)).reshape((-1, c))
        d = rows - rows.sum(0) / (n * h * w)
        y = d * (1 / tg.sqrt((d * d).sum(0) * (1.0 / (n * h * w)) + 1e-5)) * gamma + beta
        return y.reshape((n, h, w, c)).transpose((0, 3, 1, 2))

    types = F[256, 64, 224, 224], F[64], F[64]
    assert names(tg.trace(flat, *types).recognise()) == ["batch_norm"]


@pytest.mark.parametrize("rows", [64, 4096, 100_000])
def test_unbiased_variance_of_many_rows_is_refused(rows: int) -> None:
    def near(x: Any) -> Any:
        d = x - x.mean(0)
        return d / tg.sqrt((d * d).sum(0) / (rows - 1) + 1e-5)

    assert "batch_norm" not in names(tg.trace(near, F[rows, 32]).recognise())


def test_large_cross_entropy() -> None:
    def loss(z: Any, y: Any) -> Any:
        return (tg.logsumexp(z, axis=1) - z[np.arange(8192), y]).sum() / 8192

    assert names(tg.trace(loss, F[8192, 1000], tg.spec((8192,), "int64")).recognise()) == ["softmax_cross_entropy"]


def test_empty_tensors_are_left() -> None:
    graph = tg.trace(lambda x: tg.exp(x) / tg.exp(x).sum(1, keepdims=True), F[0, 4])
    assert graph.recognise() == graph


# what is around a region -------------------------------------------------------------------------------------------


def test_a_value_inside_that_is_used_elsewhere_keeps_its_region() -> None:
    def shared(x: Any) -> Any:
        d = x - x.mean(0)
        return d / tg.sqrt((d * d).mean(0) + 1e-5), d

    assert "batch_norm" not in names(tg.trace(shared, F[6, 4]).recognise())


def test_moments_that_are_used_elsewhere_are_outputs() -> None:
    found = tg.trace(batch_norm_moments, F[6, 4], F[4], F[4]).recognise()
    assert names(found).count("batch_norm") == 1 and not {"sqrt", "mean", "subtract"} & set(names(found))


def test_a_gradient_with_respect_to_a_value_inside() -> None:
    """It counts the paths from the mean to y, which a fused op would hide."""
    def function(x: Any) -> Any:
        mu = tg.mean(x, axis=0)
        y = (x - mu) / tg.sqrt(((x - mu) ** 2).mean(0) + 1e-5)
        return tg.gradients((y * y * y).sum(), mu)

    x = tg.tensor(numbers((F[6, 4],))[0], requires_grad=True)
    graph = tg.trace(function, x)
    found = graph.recognise().check()
    assert "batch_norm" not in names(found)
    assert_close(found(x), graph(x), ulps=0, reason="nothing changed")


def test_a_gradient_with_respect_to_the_input() -> None:
    def function(x: Any, y: Any) -> Any:
        loss = cross_entropy_autograd(x, y)
        return loss, tg.gradients(loss, x)

    x, y = tg.tensor(numbers((F[6, 4],))[0], requires_grad=True), np.array([0, 3, 1, 2, 2, 0])
    graph = tg.trace(function, x, y)
    found = graph.recognise().check()
    assert names(found) == ["softmax_cross_entropy", "gradients"]
    for got, wanted in zip(found(x, y), graph(x, y), strict=True):
        assert_close(got, wanted, order=1)


def test_inputs_that_depend_on_the_outputs() -> None:
    """gamma is made of the region's own mean: there is no order in which one op could give both."""
    def function(x: Any, beta: Any) -> Any:
        mu = x.mean(0)
        gamma = tg.relu(mu) + 1.0
        return (x - mu) / tg.sqrt(x.var(0) + 1e-5) * gamma + beta

    graph = tg.trace(function, F[6, 4], F[4])
    found = graph.recognise().check()
    assert_agree(graph, found, tg.trace(function, tg.f64[6, 4], tg.f64[4]), (F[6, 4], F[4]))


def test_each_of_two_regions_is_its_own() -> None:
    def function(x: Any, a: Any, b: Any, c: Any, d: Any) -> Any:
        h = tg.relu(batch_norm_slides(x, a, b))
        return tg.relu(batch_norm_slides(h, c, d)) + tg.relu(batch_norm_slides(h, a, d))

    specs = F[6, 4], F[4], F[4], F[4], F[4]
    graph = tg.trace(function, *specs)
    found = graph.recognise().check()
    assert names(found) == ["batch_norm_relu"] * 3 + ["add"]
    assert_agree(graph, found, tg.trace(function, *[tg.spec(s.shape, "float64") for s in specs]), specs)


def test_equations_that_nothing_needs() -> None:
    """A dead use of a value inside is no use, and goes with it; other dead equations stay."""
    def function(x: Any) -> Any:
        e = tg.exp(x)
        _ = e * 2.0, x * 3.0
        return e / e.sum(-1, keepdims=True)

    assert names(tg.trace(function, F[6, 4]).recognise()) == ["multiply", "softmax"]


def test_captured_numbers_and_labels() -> None:
    eps, labels = np.array(1e-3, "float32"), np.array([0, 3, 1, 2, 2, 0])

    def function(x: Any) -> Any:
        y = (x - x.mean(0)) / tg.sqrt(x.var(0) + eps)
        return -tg.log_softmax(y)[np.arange(6), labels].mean()

    found = tg.trace(function, F[6, 4]).recognise()
    assert names(found) == ["ones", "zeros", "batch_norm", "softmax_cross_entropy"]
    assert found.equations[2].attrs["eps"] == float(eps)


def test_a_shift_may_be_guarded() -> None:
    """As SciPy and JAX write log-sum-exp: an infinite maximum is no shift."""
    def function(x: Any) -> Any:
        top = tg.max(x, axis=-1, keepdims=True)
        top = tg.where(tg.isfinite(top), top, 0.0).detach()
        return x - (tg.log(tg.exp(x - top).sum(-1, keepdims=True)) + top)

    assert names(tg.trace(function, F[6, 4]).recognise()) == ["log_softmax"]


def test_hidden_shift_that_does_not_cancel() -> None:
    """Equal in value and first derivative, but not in the second: what is detached must not matter at all."""
    def function(x: Any) -> Any:
        d = x - x.detach()
        e = tg.exp(x + d * d)
        return e / e.sum(-1, keepdims=True)

    assert "softmax" not in names(tg.trace(function, F[6, 4]).recognise())


def test_labels_of_arithmetic_are_left() -> None:
    """An index that wraps around is a label for NumPy and an error for the fused op."""
    graph = tg.trace(lambda z, y: -tg.log_softmax(z)[np.arange(6), y - 1].mean(), F[6, 4], tg.spec((6,), "int64"))
    assert graph.recognise() == graph
    graph(np.zeros((6, 4), "float32"), np.array([0, 1, 2, 3, 4, 1]))


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
    if "empty" in options and options["empty"] == "nan":
        assert names(found) == names(graph) or names(found) == ["softmax_cross_entropy", "sum"]
        return
    assert sorted(names(found)) == ["softmax_cross_entropy", "sum"]
    eq = next(e for e in found.equations if e.op.name == "softmax_cross_entropy")
    for name, value in options.items():
        assert eq.attrs[name] == value or name == "axis"


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
    tg.seed(3)
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

    yield tg.fused_op("my_gelu(x) -> y", reference=reference, forward=forward, backward=backward)
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
    )  # fmt: skip
    try:
        found = tg.trace(lambda p, q: tg.sin(q) * tg.exp(p), F[5], F[5]).recognise()
        assert names(found) == ["my_pair"] and found.equations[0].inputs == found.inputs
        assert call is not None
    finally:
        tg.remove_op("my_pair")


# whole graphs ------------------------------------------------------------------------------------------------------


def test_a_thousand_equations() -> None:
    """Many regions in one graph, and long stretches without any."""
    def function(x: Any, a: Any, b: Any) -> Any:
        for _ in range(25):
            x = tg.tanh(batch_norm_slides(x, a, b)) + x
            for _ in range(10):
                x = tg.sin(x) * 0.9 + x * 0.1
        return x

    graph = tg.trace(function, F[6, 4], F[4], F[4])
    assert len(graph.equations) > 1000
    found = graph.recognise().check()
    assert names(found).count("batch_norm") == 25


def test_a_graph_without_any() -> None:
    graph = tg.trace(lambda x: (x @ x.T).sum(), F[3, 4])
    found = graph.recognise()
    assert found == graph and not found.changes


def test_text_of_a_recognised_graph() -> None:
    found = tg.trace(batch_norm_slides, F[6, 4], F[4], F[4]).recognise()
    assert "batch_norm(z, gamma, beta" in str(found)


def test_allowed_ops_exist() -> None:
    from tensorgraph.passes.recognise_regions import ALLOWED, CREATION, LABELS, SHIFTS

    for name in ALLOWED | CREATION | LABELS | SHIFTS:
        assert name in CATALOGUE, name
    assert recognition.MOST_ROUNDS > 2
