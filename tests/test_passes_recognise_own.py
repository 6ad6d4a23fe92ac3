"""A user's own fused op: one that says how it is recognised is found in any spelling, another as its reference only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from recognising import assert_agree, names

import tensorgraph as tg
from tensorgraph.testing import check

F = tg.f32
SPECS = F[6, 4], F[4]


def reference(x: Any, gain: Any, *, eps: float = 1e-6) -> Any:
    return x / tg.sqrt((x * x).mean(axis=-1, keepdims=True) + eps) * gain


def forward(x: Any, gain: Any, *, eps: float = 1e-6) -> Any:
    r = 1.0 / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + eps)
    return np.asarray(x * r * gain, x.dtype)


def backward(want: Any, g: Any, x: Any, gain: Any, y: Any, *, eps: float = 1e-6) -> Any:
    r = 1.0 / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + eps)
    z, h = x * r, g * gain
    return r * (h - z * np.mean(h * z, axis=-1, keepdims=True)), np.sum(g * z, axis=tuple(range(x.ndim - 1)))


def infer(x: Any, gain: Any, *, eps: float) -> Any:
    if gain.shape != x.shape[-1:] or eps < 0:
        raise ValueError(f"gain has the shape {x.shape[-1:]} and eps is not negative, got {gain} and {eps}")
    return x


FIELDS: dict[str, Any] = dict(
    reference=reference,
    forward=forward,
    backward=backward,
    infer_rule=infer,
    examples=((((6, 4), (4,)), {}),),
    doc="Rows divided by the root of their mean square.",
)
SAYS = tg.Recognition(needs=("root", "reduces"), without=("wave",), main="x", neutral={"gain": 1.0})


@pytest.fixture
def root_norm() -> Iterator[Any]:
    yield tg.fused_op("root_norm(x, gain, *, eps=1e-6) -> y", recognise=SAYS, **FIELDS)
    tg.remove_op("root_norm")


def by_hand(x: Any, w: Any) -> Any:
    return w * x * (tg.square(x).sum(axis=1, keepdims=True) / 4 + 1e-5) ** -0.5


def by_products(x: Any, w: Any) -> Any:
    """Sums as products with a column of ones, a reciprocal of a root."""
    power = (x * x) @ (tg.ones((4, 1)) * 0.25)
    return x * tg.reciprocal(tg.sqrt(power + 0.001)) * tg.reshape(w, shape=(1, 4))


def by_columns(x: Any, w: Any) -> Any:
    """A column a row; the exponential of half a logarithm."""
    c = x.T
    return (c / tg.exp(0.5 * tg.log((c**2).mean(axis=0) + 1e-6))).T * w


def without_gain(x: Any, w: Any) -> Any:
    return x / tg.sqrt((x**2).mean(-1, keepdims=True) + 1e-6) + w


def eps_outside(x: Any, w: Any) -> Any:
    return x / (tg.sqrt((x * x).mean(-1, keepdims=True)) + 1e-6) * w


def sum_for_mean(x: Any, w: Any) -> Any:
    return x / tg.sqrt((x * x).sum(-1, keepdims=True) + 1e-6) * w


def detached_scale(x: Any, w: Any) -> Any:
    return x / tg.sqrt((x * x).mean(-1, keepdims=True) + 1e-6).detach() * w


@pytest.mark.parametrize(("spelling", "eps"), [(by_hand, 1e-5), (by_products, 1e-3), (by_columns, 1e-6)])
def test_spellings_are_found(root_norm: Any, spelling: Callable[..., Any], eps: float) -> None:
    graph = tg.trace(spelling, *SPECS)
    found = graph.recognise().check()
    assert names(found) == ["root_norm"] and found.equations[0].attrs["eps"] == eps
    assert_agree(graph, found, tg.trace(spelling, tg.f64[6, 4], tg.f64[4]), SPECS)


def test_an_input_that_is_left_out_is_its_neutral_number(root_norm: Any) -> None:
    graph = tg.trace(without_gain, *SPECS)
    found = graph.recognise().check()
    assert names(found) == ["ones", "root_norm", "add"]
    assert_agree(graph, found, tg.trace(without_gain, tg.f64[6, 4], tg.f64[4]), SPECS)


def eps_subtracted(x: Any, w: Any) -> Any:
    """What the op's shape rule refuses is no attribute of it, though the numbers agree."""
    return x / tg.sqrt((x * x).mean(-1, keepdims=True) - 1e-9) * w


def eps_negative(x: Any, w: Any) -> Any:
    return reference(x, w, eps=-1e-9)


@pytest.mark.parametrize("near", [eps_outside, sum_for_mean, detached_scale, eps_subtracted, eps_negative])
def test_near_misses_are_refused(root_norm: Any, near: Callable[..., Any]) -> None:
    graph = tg.trace(near, *SPECS)
    assert "root_norm" not in names(graph.recognise())


def test_the_op_itself_is_right(root_norm: Any) -> None:
    check(root_norm)


def test_without_saying_how_only_the_reference_is_found() -> None:
    call = tg.fused_op("root_norm(x, gain, *, eps=1e-6) -> y", **FIELDS)
    try:
        for spelling in (by_hand, by_products, by_columns):
            assert "root_norm" not in names(tg.trace(spelling, *SPECS).recognise())
        for eps in (1e-6, 1e-3):
            found = tg.trace(lambda x, w, e=eps: call(x, w, eps=e, impl="composed"), *SPECS).recognise()
            assert names(found) == ["root_norm"] and found.equations[0].attrs["eps"] == eps
    finally:
        tg.remove_op("root_norm")


def test_an_op_of_labels_in_anybodys_spelling() -> None:
    """What was said of cross-entropy holds of any op that takes class indices."""

    def composed(z: Any, y: Any, *, margin: float = 1.0) -> Any:
        right = tg.take_along_axis(z, tg.expand_dims(y, axis=-1), axis=-1).squeeze(-1)
        return tg.logsumexp(z, axis=-1) * margin - right

    def rows(z: Any) -> Any:
        return np.exp(z - z.max(-1, keepdims=True))

    def kernel(z: Any, y: Any, *, margin: float = 1.0) -> Any:
        total = np.log(rows(z).sum(-1)) + z.max(-1)
        return total * margin - np.take_along_axis(z, y[:, None], -1)[:, 0]

    def slopes(want: Any, g: Any, z: Any, y: Any, out: Any, *, margin: float = 1.0) -> Any:
        return (rows(z) / rows(z).sum(-1, keepdims=True) * margin - np.eye(z.shape[-1])[y]) * g[:, None], None

    def rule(z: Any, y: Any, *, margin: float) -> Any:
        if y.dtype.kind not in "iu" or y.shape != z.shape[:-1] or z.ndim != 2:
            raise ValueError("labels are integers, one a row")
        return tg.spec(y.shape, z.dtype)

    tg.fused_op(
        "margin_loss(z, y, *, margin=1.0) -> out", reference=composed, forward=kernel, backward=slopes, infer_rule=rule,
        recognise=tg.Recognition(needs=("exponential", "reduces"), main="z"),
    )  # fmt: skip
    try:

        def spelled(z: Any, y: Any) -> Any:
            hot = (y[:, None] == tg.arange(5)).astype("float32")
            return 0.5 * tg.log(tg.exp(z).sum(1)) - (hot * z).sum(1)

        found = tg.trace(spelled, F[4, 5], tg.i64[4]).recognise()
        assert names(found) == ["margin_loss"] and found.equations[0].attrs["margin"] == 0.5
        one_less = tg.trace(lambda z, y: 0.5 * tg.logsumexp(z, axis=1) - z[np.arange(4), y - 1], F[4, 5], tg.i64[4])
        assert "margin_loss" not in names(one_less.recognise())
    finally:
        tg.remove_op("margin_loss")


@pytest.mark.parametrize(
    ("says", "message"),
    [
        (tg.Recognition(main="z"), "recognise: main names 'z'; the inputs are x, gain"),
        (tg.Recognition(neutral={"scale": 1.0}), "recognise: neutral names 'scale'; the inputs are x, gain"),
        (tg.Recognition(values={"axis": (0, 1)}), "recognise: values names 'axis'; the attributes are eps"),
        (tg.Recognition(needs=("roots",)), "there is no trait 'roots'"),
        (tg.Recognition(without=("wave", ("root", "x"))), "there is no trait 'x'"),
        (tg.Recognition(needs="root"), "needs is a tuple of traits"),  # type: ignore[arg-type]
    ],
)
def test_what_does_not_go_with_the_signature_is_refused(says: tg.Recognition, message: str) -> None:
    with pytest.raises(ValueError, match=f"root_norm: .*{message}"):
        tg.fused_op("root_norm(x, gain, *, eps=1e-6) -> y", recognise=says, **FIELDS)
    assert "root_norm" not in tg.CATALOGUE


def test_many_inputs_are_refused() -> None:
    with pytest.raises(ValueError, match="up to 4 inputs, none of them a list, not 5 inputs"):
        tg.fused_op("five(a, b, c, d, e)", recognise=tg.Recognition(), **FIELDS)
    with pytest.raises(ValueError, match="not a list: leave it out"):
        tg.fused_op("several([xs])", recognise=tg.Recognition(), **FIELDS)
