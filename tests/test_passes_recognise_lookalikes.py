"""What looks like a fused op at most numbers, at small sizes or for most labels is none; and what was once mistaken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from recognising import names

import tensorgraph as tg
from tensorgraph.engine.op import CATALOGUE
from tensorgraph.testing import assert_close

F, Y = tg.f32, tg.i64
NORMS = {"batch_norm", "layer_norm"}
ENTROPY = "softmax_cross_entropy"


def normalised(x: Any, mean: Any, variance: Any) -> Any:
    return (x - mean) / tg.sqrt(variance + 1e-5)


# sizes ------------------------------------------------------------------------------------------------------------


def divided_by(number: float) -> Callable[..., Any]:
    def function(x: Any) -> Any:
        d = x - x.sum(0) / number
        return d / tg.sqrt((d * d).sum(0) / number + 1e-5)

    return function


def statistics_of_half(x: Any) -> Any:
    return normalised(x, x[:500].mean(0), x[:500].var(0))


def mean_of_half(x: Any) -> Any:
    d = x - x[:500].mean(0)
    return d / tg.sqrt((d * d).mean(0) + 1e-5)


def corrected(x: Any) -> Any:
    return normalised(x, x.mean(0), x.var(0, correction=1) * (4 / 5))


@pytest.mark.parametrize(
    "function",
    [*[divided_by(n) for n in (5, 6, 7, 9, 999, 1000.0005, 1000.0000001)], statistics_of_half, mean_of_half, corrected],
)
def test_a_number_is_no_size(function: Callable[..., Any]) -> None:
    """Whatever stands for a thousand rows, in two ways, is not what the region divides by."""
    graph = tg.trace(function, tg.f64[1000, 6])
    assert not NORMS & set(names(graph.recognise()))
    assert names(tg.trace(divided_by(1000.0), tg.f64[1000, 6]).recognise())[-1] == "batch_norm"


def test_an_eps_that_happens_to_be_one_over_a_size() -> None:
    found = tg.trace(lambda x: (x - x.mean(0)) / tg.sqrt(x.var(0) + 1e-3), F[1000, 32]).recognise()
    assert names(found)[-1] == "batch_norm" and found.equations[-1].attrs["eps"] == 1e-3


def test_few_classes_of_many_rows_keep_their_number() -> None:
    def smoothed(z: Any, y: Any) -> Any:
        lp = tg.log_softmax(z)
        return (0.9 * -lp[tg.arange(512), y] + 0.1 * -lp.mean(-1)).mean()

    found = tg.trace(smoothed, F[512, 10], Y[512]).recognise()
    assert names(found) == [ENTROPY] and found.equations[0].attrs["label_smoothing"] == pytest.approx(0.1)


# numbers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("eps", [1e-12, 1e-22, 1.1754944e-38])
def test_eps_outside_the_root_however_small(eps: float) -> None:
    found = tg.trace(lambda x: (x - x.mean(0)) / (tg.sqrt(x.var(0)) + eps), F[16, 6]).recognise()
    assert not NORMS & set(names(found))
    inside = tg.trace(lambda x: (x - x.mean(0)) / tg.sqrt(x.var(0) + eps), F[16, 6]).recognise()
    assert inside.equations[-1].attrs["eps"] == eps


def softmax(x: Any) -> Any:
    e = tg.exp(x)
    return e / e.sum(1, keepdims=True)


@pytest.mark.parametrize(
    "bend",
    [
        lambda x: 20 - ((x - 20) ** 2) ** 0.5,  # the smaller of x and 20
        lambda x: x - tg.softplus(50 * (x - 20)) / 50,
        lambda x: x + (x / 50) ** 40,
    ],
)
def test_a_bend_far_out(bend: Callable[..., Any]) -> None:
    """What is x on ordinary numbers stays in front of the softmax."""
    graph = tg.trace(lambda x: softmax(bend(x)), tg.f64[4, 5])
    found = graph.recognise()
    assert names(found)[-1] == "softmax" and len(found.equations) == len(graph.equations) - 2
    x = np.linspace(-40.0, 40.0, 20).reshape(4, 5)
    assert_close(found(x), graph(x), scale=1.0)


def test_something_far_out_is_added() -> None:
    graph = tg.trace(lambda x: normalised(x, x.mean(0), x.var(0)) + tg.exp(x - 100), tg.f64[6, 4])
    assert names(graph.recognise())[-3:] == ["subtract", "exp", "add"]


@pytest.mark.parametrize("eps", [1e-12, 1e-30])
def test_a_guarded_sum_of_exponentials(eps: float) -> None:
    """At z = -40 it is far from a softmax."""

    def guarded(z: Any) -> Any:
        e = tg.exp(z)
        return e / (e.sum(1, keepdims=True) + eps)

    graph = tg.trace(guarded, F[4, 5])
    assert graph.recognise() == graph


def test_float64_is_held_to_more_digits() -> None:
    def function(x: Any) -> Any:
        return normalised(x, x.mean(0) * (1 + 1e-10), x.var(0))

    assert not NORMS & set(names(tg.trace(function, tg.f64[16, 6]).recognise()))


def test_a_number_rounded_to_float32_beside_float64() -> None:
    def function(x: Any) -> Any:
        return (x - x.mean(0)) / tg.sqrt(x.var(0) + tg.full((1,), 1e-3, dtype="float32"))

    assert not NORMS & set(names(tg.trace(function, tg.f64[16, 6]).recognise()))
    assert names(tg.trace(function, F[16, 6]).recognise())[-1] == "batch_norm"


# labels -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rows", "classes", "left_out"), [(3, 50, 0), (3, 50, 49), (128, 1000, 20), (128, 1000, 999)])
def test_a_class_that_does_not_count(rows: int, classes: int, left_out: int) -> None:
    """One class in fifty or a thousand is seen: the weights stay outside of the op."""

    def function(z: Any, y: Any) -> Any:
        keep = 1.0 - (y == left_out).astype("float32")
        return (-tg.log_softmax(z)[tg.arange(rows), y] * keep).sum() / rows

    graph = tg.trace(function, F[rows, classes], Y[rows])
    found = graph.recognise()
    assert names(found)[-4:] == [ENTROPY, "multiply", "sum", "divide"]
    z = np.random.default_rng(0).normal(size=(rows, classes)).astype("float32")
    y = np.where(np.arange(rows) % 2 == 0, left_out, 1)
    assert_close(found(z, y), graph(z, y), scale=10.0)


@pytest.mark.parametrize("mask", [lambda y: y != -100, lambda y: y >= 0, lambda y: y > -1, lambda y: y != 255])
def test_labels_that_may_lie_outside(mask: Callable[..., Any]) -> None:
    """Who asks whether a label is -100 has such: one-hot rows of zeros, where class indices would be refused."""

    def function(z: Any, y: Any) -> Any:
        keep = mask(y).astype("float32")
        rows = (y[:, None] == tg.arange(5)).astype("float32")
        losses = -(rows * tg.log_softmax(z)).sum(1)
        return (losses * keep).sum() / keep.sum()

    def looked_at(z: Any, y: Any) -> Any:
        """As the composed loss does: the labels have been looked at, and -100 was allowed."""
        return function(z, CATALOGUE["class_targets"].public(y, classes=5, ignore_index=-100))

    z, y = np.random.default_rng(0).normal(size=(4, 5)).astype("float32"), np.array([1, -100, 4, 0])
    for losses in (function, looked_at):
        graph = tg.trace(losses, F[4, 5], Y[4])
        found = graph.recognise()
        assert "equal" in names(found) and ENTROPY in names(found)
        assert_close(found(z, y), graph(z, y), scale=1.0)


def test_weights_that_sum_to_nothing() -> None:
    """A division of 0 by 0 stays NaN."""

    def function(z: Any, y: Any, w: Any) -> Any:
        return (w[y] * -tg.log_softmax(z)[tg.arange(4), y]).sum() / w[y].sum()

    found = tg.trace(function, F[4, 5], Y[4], F[5]).recognise()
    assert names(found) == [ENTROPY] and found.equations[0].attrs["empty"] == "nan"


def test_labels_of_arithmetic_stay_so_when_they_are_moved() -> None:
    """An index that wraps around is a label for NumPy, also as a part of others."""
    graph = tg.trace(lambda z, y: -tg.log_softmax(z)[tg.arange(4), (y - 1)[:4]].mean(), F[4, 5], Y[6])
    assert ENTROPY not in names(graph.recognise())


def test_labels_that_choose() -> None:
    def function(z: Any, y: Any) -> Any:
        return -tg.where(y[:, None] == tg.arange(5), tg.log_softmax(z), 0.0).sum(1).mean()

    assert names(tg.trace(function, F[4, 5], Y[4]).recognise()) == [ENTROPY]


# regions ----------------------------------------------------------------------------------------------------------


def test_one_number_for_all_channels() -> None:
    def function(x: Any, gamma: Any, beta: Any) -> Any:
        return gamma * (x - x.mean(0)) / tg.sqrt(x.var(0) + 1e-5) + beta

    graph = tg.trace(function, tg.f64[16, 6], tg.f64[()], tg.f64[()])
    found = graph.recognise()
    assert names(found) == ["broadcast_to", "broadcast_to", "batch_norm"]
    x = np.random.default_rng(0).normal(size=(16, 6))
    args = [tg.tensor(a, requires_grad=True) for a in (x, np.array(1.5), np.array(-0.5))]
    for got, wanted in zip(*(tg.gradients((g(*args) ** 2).sum(), args) for g in (found, graph)), strict=True):
        assert_close(got, wanted, scale=10.0, order=1)


def test_what_is_written_twice_is_one() -> None:
    """z / 2 is computed in each place where it is written."""
    graph = tg.trace(lambda z: tg.exp(z / 2) / tg.exp(z / 2).sum(1, keepdims=True), F[4, 5])
    found = graph.recognise()
    assert names(found) == ["divide", "softmax"]
    assert found.recognise() == found
    twice = tg.trace(lambda z: tg.exp(z / 2) + tg.exp(z / 2), F[4, 5])
    assert twice.recognise() == twice


def test_a_shift_that_is_compared_with_a_number() -> None:
    """What happens at one value only, or far out, is not seen at random ones."""
    for decide in (lambda m: m == 3.0, lambda m: m > 1e6):

        def function(x: Any, decide: Any = decide) -> Any:
            top = x.max(1, keepdims=True)
            return softmax(x) + decide(top).astype("float32") * 5.0

        graph = tg.trace(function, F[4, 5])
        assert "add" in names(graph.recognise())


def test_a_shift_that_is_chosen() -> None:
    def function(z: Any) -> Any:
        c = z.max(1)
        c = tg.where(c > 3.5, 3.5, c)
        return z - (c + tg.log(tg.exp(z - c[:, None]).sum(1)))[:, None]

    assert names(tg.trace(function, F[12, 5]).recognise()) == ["log_softmax"]


def test_nothing_reads_what_went_with_a_region() -> None:
    def function(z: Any, y: Any) -> Any:
        t = tg.one_hot(y, classes=5)
        t * 0.9 + 0.02  # in vain
        return -(t * tg.log_softmax(z)).sum(-1).mean()

    assert names(tg.trace(function, F[12, 5], Y[12]).recognise().check()) == [ENTROPY]


def test_views_alone_are_no_op() -> None:
    call = tg.fused_op(
        "my_rms(x, gain, *, eps=1e-6)",
        reference=lambda x, gain, *, eps=1e-6: x / tg.sqrt((x * x).mean(-1, keepdims=True) + eps) * gain,
        forward=lambda x, gain, *, eps=1e-6: x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * gain,
        backward=lambda want, g, x, gain, y, *, eps=1e-6: (None, None), infer_rule=lambda x, gain, *, eps: x,
        examples=((((3, 4), (4,)), {}),), recognise=tg.Recognition(needs=("root", "reduces")),
    )  # fmt: skip
    try:
        found = tg.trace(lambda x, w: (x.T / tg.sqrt((x**2).mean(-1) + 1e-5)).T * w, F[5, 6], F[6]).recognise()
        assert names(found) == ["my_rms"] and found.equations[0].attrs["eps"] == 1e-5 and call is not None
    finally:
        tg.remove_op("my_rms")


def test_a_factor_of_a_loss_is_no_weight_of_classes() -> None:
    for factor in (F[()], F[1]):
        found = tg.trace(lambda z, y, s: tg.softmax_cross_entropy(z, y) * s, F[12, 5], Y[12], factor).recognise()
        assert names(found) == [ENTROPY, "multiply"]
    found = tg.trace(lambda z, y, w: tg.softmax_cross_entropy(z, y, w), F[12, 5], Y[12], F[5]).recognise()
    assert names(found) == [ENTROPY]
