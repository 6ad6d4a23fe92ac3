"""Fused ops are found by how a region behaves: every spelling in `spellings.py`, none of its near misses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from effort import examples
from hypothesis import given
from recognising import assert_agree, names, numbers
from spellings import NEAR_MISSES, SPELLINGS, batch_norm_moments, batch_norm_slides, cross_entropy_autograd

import tensorgraph as tg
from tensorgraph.engine.tree import flatten
from tensorgraph.testing import assert_close
from tensorgraph.testing.programs import Program, programs

Array = np.ndarray[Any, Any]
F = tg.f32


@pytest.mark.parametrize(("function", "specs", "op"), SPELLINGS, ids=lambda v: getattr(v, "__name__", ""))
def test_spelling_is_found(function: Callable[..., Any], specs: tuple[Any, ...], op: str) -> None:
    graph = tg.trace(function, *specs)
    found = graph.recognise().check()
    assert op in names(found)
    assert len(found.equations) < len(graph.equations)
    change = [c for c in found.changes if c.rule.startswith(f"{op}:")][-1]
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
    types = tg.spec((6, 4), dtype), tg.spec((4,), dtype), tg.spec((4,), dtype)
    assert names(tg.trace(batch_norm_slides, *types).recognise()) == ["batch_norm"]
    found = tg.trace(cross_entropy_autograd, types[0], tg.spec((6,), "int64")).recognise()
    if dtype == "float64":
        assert names(found) == ["softmax_cross_entropy"]
    else:  # the fused loss is at least float32, this one is not
        assert names(found) == ["log_softmax", "getitem", "mean", "negative"]


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


def test_a_gradient_with_respect_to_a_side_input_in_another_form() -> None:
    """The op must be given the very value that is asked about, not what it was made of."""

    def function(x: Any, gamma: Any) -> Any:
        column = tg.reshape(gamma, shape=(1, 4))
        y = (x - x.mean(0)) / tg.sqrt(x.var(0) + 1e-5) * column
        return tg.gradients((y * y * y).sum(), column)

    x, gamma = (tg.tensor(a, requires_grad=True) for a in numbers((F[6, 4], F[4])))
    graph = tg.trace(function, x, gamma)
    found = graph.recognise().check()
    assert "batch_norm" in names(found)
    assert np.abs(graph(x, gamma).numpy()).min() > 0.01
    assert_close(found(x, gamma), graph(x, gamma), order=2)


def test_casts_inside_are_kept() -> None:
    def function(x: Any, dtype: str) -> Any:
        e = tg.exp(x.astype(dtype))
        return (e / e.sum(-1, keepdims=True)).astype("float32")

    for dtype in ("float16", "float64"):
        found = tg.trace(lambda x, d=dtype: function(x, d), F[6, 4]).recognise()
        assert names(found) == ["astype", "softmax", "astype"]
        assert found.equations[1].outputs[0].aval.dtype == dtype


def test_sizes_that_are_products_of_each_other() -> None:
    def function(x: Any) -> Any:
        rows = x.reshape((64, 8 * 8 * 2))
        d = rows - rows.sum(0) / 64
        return (d / tg.sqrt((d * d).sum(0) / 64 + 1e-5)).reshape((64, 8, 8, 2))

    assert "batch_norm" in names(tg.trace(function, F[64, 8, 8, 2]).recognise())


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

    assert names(tg.trace(function, F[6, 4]).recognise()) == ["stop_gradient", "subtract", "multiply", "add", "softmax"]


def test_labels_of_arithmetic_are_left() -> None:
    """An index that wraps around is a label for NumPy and an error for the fused op."""
    graph = tg.trace(lambda z, y: -tg.log_softmax(z)[np.arange(6), y - 1].mean(), F[6, 4], tg.spec((6,), "int64"))
    assert graph.recognise() == graph
    graph(np.zeros((6, 4), "float32"), np.array([0, 1, 2, 3, 4, 1]))


# whole graphs ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
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


FREQUENT = frozenset({
    "exp", "log", "sqrt", "sum", "mean", "var", "subtract", "divide", "multiply", "add", "softmax", "log_softmax",
    "max", "logsumexp", "square", "batch_norm", "layer_norm", "relu", "reshape", "transpose", "one_hot", "negative",
    "power", "softmax_cross_entropy", "batch_norm_relu", "take_along_axis",
})  # fmt: skip


@examples(60)
@given(programs(smooth=True, ops=FREQUENT, max_steps=10))
def test_random_programs_keep_values_and_gradients(program: Program) -> None:
    graph = program.graph()
    found = graph.recognise().check()
    if found == graph:
        return
    ends = []
    for g in (graph, found):
        leaves = flatten(args := program.tensors(requires_grad=True))[0]
        out = g(*args)
        ends.append([out, *tg.gradients(out, leaves)])
    for got, wanted in zip(ends[1], ends[0], strict=True):
        assert np.isfinite(got.numpy()).all()
        scale = max(float(np.abs(wanted.numpy()).max(initial=0.0)), 1e-3)
        assert_close(got, wanted, scale=scale, ulps=1e7, reason="a random program may amplify rounding: 2e-9")


@examples(60)
@given(programs(state=True, wild=True))
def test_random_programs_stay_graphs(program: Program) -> None:
    graph = program.graph()
    found = graph.recognise().check()
    assert found.inputs == graph.inputs and len(found.outputs) == len(graph.outputs)
    assert (found == graph) == (not found.changes)
