"""Losses: PyTorch's values and gradients, shapes, masks, ranges, and what is far out.

What PyTorch 2.13 gives in float64 was recorded: the mean loss, and its gradient in the predictions times cos(0),
cos(1), ..., summed.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tensorgraph as tg

X = np.array([[0.5, -1.25, 2.0, 0.75], [-0.5, 1.5, 0.25, -2.0], [1.0, 0.0, -0.75, 3.0]])
Y = np.array([[0.25, 1.0, -1.5, 0.5], [2.0, -0.25, 0.75, 1.25], [-1.0, 0.5, 1.75, 0.0]])
Z = X[::-1] * 0.7 + 0.1
P = np.array([[0.1, 0.2, 0.3, 0.4], [0.6, 0.15, 0.2, 0.05], [0.25, 0.3, 0.05, 0.4]])
Q = np.array([[0.0, 1.0, 0.5, 0.25], [1.0, 0.0, 0.75, 0.3], [0.2, 0.9, 0.0, 1.0]])
S = np.where(Q > 0.4, 1.0, -1.0)
LABELS, W = np.array([0, 3, 1]), np.array([0.5, 1.0, 2.0, 0.25])

TORCH: dict[str, tuple[Any, Callable[[Any], Any], float, float]] = {
    "mse": (X, lambda x: tg.mse(x, Y), 4.755208333333333, -0.19898680891821288),
    "mae": (X, lambda x: tg.mae(x, Y), 1.8541666666666667, -0.009506743211832737),
    "huber": (X, lambda x: tg.huber(x, Y, delta=0.7), 1.0731249999999999, -0.006212667879671423),
    "smooth_l1": (X, lambda x: tg.smooth_l1(x, Y, beta=0.7), 1.5330357142857143, -0.008875239828102004),
    "sigmoid_cross_entropy": (
        X, lambda x: tg.sigmoid_cross_entropy(x, Q, W, pos_weight=3 * W), 1.6315687906132033, -0.2931296505507005
    ),
    "binary_cross_entropy": (P, lambda x: tg.binary_cross_entropy(x, Q), 0.714364970108916, -0.499004103341945),
    "nll": (np.log(P), lambda x: tg.nll(x, LABELS, W, ignore_index=1), 2.533634153180694, -0.9179674181144348),
    "kl_div": (
        np.log(P), lambda x: tg.kl_div(x, Q, reduction="batchmean"), 1.8824777476464736, 0.15576867019942334
    ),
    "kl_log": (np.log(P), lambda x: tg.kl_div(x, Y, log_target=True), 6.955564146133988, 0.44141801981514034),
    "poisson_nll": (X, lambda x: tg.poisson_nll(x, 9 * Q, full=True), 7.175530778551761, 0.11951453317688726),
    "poisson_rates": (P, lambda x: tg.poisson_nll(x, 9 * Q, log_input=False), 5.750684211723642, -4.223248445785843),
    "gaussian_nll": (X, lambda x: tg.gaussian_nll(x, Y, P, full=True), 19.879190928740414, -1.0068365267756647),
    "multi_margin": (X, lambda x: tg.multi_margin(x, LABELS, W, p=2), 2.76953125, 0.15940444159016054),
    "triplet_margin": (X, lambda x: tg.triplet_margin(x, Y, Z, swap=True), 3.646623359075751, 0.016452527937435596),
    "hinge_embedding": (X, lambda x: tg.hinge_embedding(x, S, margin=0.7), 0.6541666666666667, -0.11590442950464391),
    "margin_ranking": (X, lambda x: tg.margin_ranking(x, Y, S, margin=0.3), 1.0333333333333334, 0.017705912106995875),
    "soft_margin": (X, lambda x: tg.soft_margin(x, S), 0.7966691667945698, -0.0026862942912946174),
    "multilabel_soft_margin": (
        X, lambda x: tg.multilabel_soft_margin(x, Q, weight=W), 0.8469079861736354, -0.058661230016316665
    ),
    "cosine_similarity": (
        X, lambda x: tg.cosine_similarity(x, Y, axis=1).sum(), -1.7082078557114326, -0.27129659990113136
    ),
}  # fmt: skip

PAIRS: dict[str, Callable[..., Any]] = {
    "mse": tg.mse, "mae": tg.mae, "huber": tg.huber, "smooth_l1": tg.smooth_l1, "hinge": tg.hinge,
    "hinge_embedding": tg.hinge_embedding, "soft_margin": tg.soft_margin,
    "margin_ranking": lambda x, y, **o: tg.margin_ranking(x, np.where(np.isnan(x), np.nan, 0.25), y, **o),
    "sigmoid_cross_entropy": tg.sigmoid_cross_entropy, "binary_cross_entropy": tg.binary_cross_entropy,
    "kl_div": tg.kl_div, "poisson_nll": tg.poisson_nll, "gaussian_nll": lambda x, y, **o: tg.gaussian_nll(x, y, P, **o),
}  # fmt: skip


@pytest.mark.parametrize("name", TORCH)
def test_pytorchs_numbers(name: str) -> None:
    at, loss, value, slope = TORCH[name]
    found, gradient = tg.value_and_grad(loss)(at)
    assert abs(float(found) - value) < 1e-12 * max(1.0, abs(value))
    along = float((gradient.numpy() * np.cos(np.arange(12.0)).reshape(3, 4)).sum())
    assert abs(along - slope) < 1e-12 * max(1.0, abs(slope))


@pytest.mark.parametrize("name", PAIRS)
def test_shapes_that_would_broadcast_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"\[\.\.\., 0\]"):
        PAIRS[name](np.full((3, 1), 0.5), np.ones(3))
    with pytest.raises(ValueError, match="needs the shape"):
        PAIRS[name](np.full((3, 4), 0.5), np.ones((1, 4)))


@pytest.mark.parametrize("name", PAIRS)
def test_what_a_mask_leaves_out_has_no_influence(name: str) -> None:
    loss, target = PAIRS[name], S if name.startswith("hinge") else Q
    mask = np.array([[True, False, True, False], [False, True, True, True], [True, True, False, True]])
    holes = np.where(mask, P, np.nan)
    for reduction in ("none", "sum", "mean"):
        whole = loss(P, target, reduction="none").numpy()
        found, slope = tg.value_and_grad(lambda x, r=reduction: loss(x, target, mask=mask, reduction=r).sum())(holes)
        expected = whole[mask].sum() / (mask.sum() if reduction == "mean" else 1)
        assert abs(float(found) - expected) < 1e-12
        assert np.isfinite(slope.numpy()).all() and not slope.numpy()[~mask].any()
    rows = np.array([[True], [False], [True]])
    assert float(loss(P, target, mask=rows)) == pytest.approx(loss(P, target, reduction="none").numpy()[::2].mean())
    with pytest.warns(RuntimeWarning, match=f"{name}: no label counts"):
        assert float(loss(P, target, mask=np.zeros((3, 4), bool))) == 0.0
    with pytest.raises(TypeError, match="mask must be booleans"):
        loss(P, target, mask=np.ones((3, 4)))
    with pytest.raises(ValueError, match="mask must fit"):
        loss(P, target, mask=np.ones((3, 3), bool))


@pytest.mark.parametrize("name", PAIRS)
def test_dtypes(name: str) -> None:
    loss, target = PAIRS[name], np.ones((3, 4))
    for given, expected in (("float16", "float32"), ("float32", "float32"), ("float64", "float64")):
        x = tg.tensor(P.astype(given), requires_grad=True)
        found = loss(x, target)
        found.backward()
        assert found.dtype == expected and x.grad is not None and x.grad.dtype == given
    assert float(loss(P, target.astype(int))) == float(loss(P, target))


@pytest.mark.parametrize("name", [n for n in PAIRS if n != "gaussian_nll"])
def test_the_mean_of_nothing(name: str) -> None:
    with pytest.warns(RuntimeWarning, match=f"{name}: the mean of no numbers"):
        assert float(PAIRS[name](np.zeros((0, 2)), np.zeros((0, 2)))) == 0.0


def test_logits_far_out() -> None:
    z = tg.tensor([1e4, -1e4, 1e4, -1e4, 30.0, -30.0, np.inf, -np.inf], "f32", requires_grad=True)
    y = [1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 0.0]
    losses = tg.sigmoid_cross_entropy(z, y, reduction="none")
    small = math.log1p(math.exp(-30))
    assert np.allclose(losses.numpy(), [0, 0, 1e4, 1e4, small, small, 0, 0], rtol=1e-6, atol=0)
    losses.sum().backward()
    assert z.grad is not None
    tail = 1 / (1 + math.exp(30))
    assert np.allclose(z.grad.numpy(), [0, 0, 1, -1, -tail, tail, 0, 0], rtol=1e-6, atol=0)


def test_probabilities_at_the_ends() -> None:
    p = tg.tensor([0.0, 1.0, 0.0, 1.0, 1e-30], "f32", requires_grad=True)
    losses = tg.binary_cross_entropy(p, [1.0, 0.0, 0.0, 1.0, 1.0], reduction="none")
    assert np.allclose(losses.numpy(), [100, 100, 0, 0, 30 * math.log(10)], rtol=1e-6, atol=0)
    losses.sum().backward()
    assert p.grad is not None and np.isfinite(p.grad.numpy()).all() and p.grad.numpy()[0] == 0


def test_kl_div_where_the_target_is_impossible() -> None:
    x = tg.tensor([[-math.inf, 0.0]], requires_grad=True)
    losses = tg.kl_div(x, [[0.0, 1.0]], reduction="none")
    assert losses.tolist() == [[0.0, 0.0]]
    losses.sum().backward()
    assert x.grad is not None and x.grad.tolist() == [[0.0, -1.0]]
    assert tg.kl_div([[0.5, 0.0]], [[-math.inf, 0.0]], log_target=True, reduction="none").tolist() == [[0.0, 0.0]]


def test_nll_ignores_whole_rows() -> None:
    x = tg.tensor(np.log(P), requires_grad=True)
    broken = tg.tensor(np.where(np.arange(3)[:, None] == 1, np.nan, np.log(P)), requires_grad=True)
    labels = np.array([0, -1, 1])
    assert float(tg.nll(broken, labels, ignore_index=-1)) == float(tg.nll(x[::2], labels[::2]))
    tg.nll(broken, labels, ignore_index=-1).backward()
    assert broken.grad is not None and np.isfinite(broken.grad.numpy()).all()
    logits = np.stack([X, X + 1], -1)
    moved = tg.nll(tg.log_softmax(logits, axis=1), np.stack([LABELS] * 2, -1), axis=1)
    assert float(moved) == pytest.approx(float(tg.softmax_cross_entropy(X, LABELS)), rel=1e-12)


def test_similar_however_long() -> None:
    for scale in (1e-300, 1.0, 1e300):
        assert tg.cosine_similarity(X * scale, Y, eps=1e-320).numpy() == pytest.approx(
            tg.cosine_similarity(X, Y).numpy(), rel=1e-9
        )
    slope = tg.grad(lambda x: tg.cosine_similarity(x, Y).sum())(np.zeros((3, 4)))
    assert np.isfinite(slope.numpy()).all()
    together = tg.triplet_margin(X, X, X, eps=0.0, reduction="none")
    assert together.tolist() == [1.0] * 3
    assert not tg.grad(lambda x: tg.triplet_margin(x, X, X, eps=0.0))(X).numpy().any()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: tg.sigmoid_cross_entropy([0.0, 0.0], [0.5, 1.5]), r"target\[1\] is 1\.5: expected .* from 0 to 1"),
        (lambda: tg.sigmoid_cross_entropy([0.0], [math.nan]), r"target\[0\] is nan"),
        (lambda: tg.binary_cross_entropy([[1.25]], [[1.0]]), r"probabilities\[0, 0\] is 1\.25"),
        (lambda: tg.hinge([0.5, 0.5], [1, 0]), r"target\[1\] is 0\.0: expected numbers that are -1 or 1"),
        (lambda: tg.gaussian_nll([0.0], [0.0], [-1.0]), r"variance\[0\] is -1\.0"),
        (lambda: tg.kl_div([0.0], [-1.0]), r"target\[0\] is -1\.0"),
        (lambda: tg.nll(np.log(P), [0, 4, 1]), r"class index target\[1\] = 4 is outside \[0, 4\)"),
        (lambda: tg.nll(np.log(P), [0.0, 1.0, 1.0]), "class indices of an integer dtype"),
        (lambda: tg.nll(np.log(P), [[0], [1], [1]]), r"needs the shape \(3,\)"),
        (lambda: tg.nll(np.log(P), LABELS, [1.0]), r"weight needs the shape \(4,\)"),
        (lambda: tg.multi_margin(X, [0, 1]), r"the shape \(3,\)"),
        (lambda: tg.mse(X, Y, reduction="average"), "reduction"),
        (lambda: tg.huber(X, Y, delta=0), "delta"),
        (lambda: tg.kl_div(0.0, 1.0, reduction="batchmean"), "first axis"),
        (lambda: tg.cosine_similarity(X, Y[:, :3]), "one length along axis -1"),
        (lambda: tg.sigmoid_cross_entropy(X, Q, [1.0, 2.0]), "weight"),
    ],
)
def test_what_is_refused(call: Callable[[], Any], words: str) -> None:
    with pytest.raises((ValueError, TypeError), match=words):
        call()


def test_a_traced_loss_looks_at_its_targets_too() -> None:
    graph = tg.trace(tg.sigmoid_cross_entropy, X, Q)
    assert float(graph(X, Q)) == float(tg.sigmoid_cross_entropy(X, Q)) and tg.parse(str(graph)) == graph
    with pytest.raises(ValueError, match=r"target\[0, 0\]"):
        graph(X, Q + 2)
