"""The optimisers' updates: definitions, PyTorch's formulas, kernels beside compositions."""

import math

import numpy as np
import pytest

import tensorgraph as tg
from tensorgraph import jit, optim
from tensorgraph.ops import updates

BOUND = {"float32": 1e-6, "float64": 1e-12}
SHAPES = [(7, 5), (5,), (), (0, 3)]


def values(dtype: str, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [np.asarray(rng.standard_normal(shape), dtype) for shape in SHAPES]


def gradients(dtype: str, step: int) -> list[np.ndarray]:
    return values(dtype, 1000 + step)


# the definitions, in the parameter's own dtype as PyTorch computes: each takes a parameter, a gradient, a dict of state


def sgd(p, g, s, lr, wd=0.0):
    return p - lr * (g + wd * p)


def torch_momentum(p, g, s, lr, beta, nesterov=False, wd=0.0):
    """PyTorch's SGD with momentum: no factor (1 - beta)."""
    d = g + wd * p
    s["b"] = beta * s["b"] + d if "b" in s else d
    return p - lr * (d + beta * s["b"] if nesterov else s["b"])


def slides_momentum(p, g, s, lr, beta):
    s["v"] = beta * s.get("v", 0.0) + (1 - beta) * g
    return p - lr * s["v"]


def rmsprop(p, g, s, lr, decay=0.99, eps=1e-8, wd=0.0):
    d = g + wd * p
    s["s"] = decay * s.get("s", 0.0) + (1 - decay) * d * d
    return p - lr * d / (np.sqrt(s["s"]) + eps)


def adam(p, g, s, lr, beta1=0.9, beta2=0.999, eps=1e-8, wd=0.0, decoupled=False):
    s["t"] = s.get("t", 0) + 1
    if decoupled:
        p = p * (1 - lr * wd)
    else:
        g = g + wd * p
    s["m"] = beta1 * s.get("m", 0.0) + (1 - beta1) * g
    s["v"] = beta2 * s.get("v", 0.0) + (1 - beta2) * g * g
    c1, c2 = 1 - beta1 ** s["t"], 1 - beta2 ** s["t"]
    return p - (lr / c1) * s["m"] / (np.sqrt(s["v"]) / math.sqrt(c2) + eps)


CASES = {
    "sgd": (lambda ps: optim.SGD(ps, 0.05), sgd, dict(lr=0.05)),
    "sgd_decay": (lambda ps: optim.SGD(ps, 0.05, weight_decay=0.1), sgd, dict(lr=0.05, wd=0.1)),
    "slides_momentum": (lambda ps: optim.Momentum(ps, 0.05), slides_momentum, dict(lr=0.05, beta=0.9)),
    "torch_momentum": (
        lambda ps: optim.Momentum(ps, 0.01 / (1 - 0.9), 0.9), torch_momentum, dict(lr=0.01, beta=0.9),
    ),
    "torch_nesterov": (
        lambda ps: optim.Momentum(ps, 0.01 / (1 - 0.8), 0.8, nesterov=True, weight_decay=0.01), torch_momentum,
        dict(lr=0.01, beta=0.8, nesterov=True, wd=0.01),
    ),
    "rmsprop": (lambda ps: optim.RMSprop(ps, 0.01), rmsprop, dict(lr=0.01)),
    "rmsprop_decay": (
        lambda ps: optim.RMSprop(ps, 0.01, decay=0.9, eps=1e-6, weight_decay=0.1), rmsprop,
        dict(lr=0.01, decay=0.9, eps=1e-6, wd=0.1),
    ),
    "adam": (lambda ps: optim.Adam(ps, 0.01), adam, dict(lr=0.01)),
    "adam_decay": (
        lambda ps: optim.Adam(ps, 0.01, 0.8, 0.99, 1e-6, weight_decay=0.1), adam,
        dict(lr=0.01, beta1=0.8, beta2=0.99, eps=1e-6, wd=0.1),
    ),
    "adamw": (lambda ps: optim.AdamW(ps, 0.01), adam, dict(lr=0.01, wd=0.01, decoupled=True)),
}  # fmt: skip


def run(make, dtype: str, steps: int = 100) -> list[np.ndarray]:
    """Parameters after some steps fed the same gradients."""
    parameters = [tg.Parameter(v, name=f"p{i}") for i, v in enumerate(values(dtype))]
    optimizer = make(parameters)
    for step in range(steps):
        for p, g in zip(parameters, gradients(dtype, step), strict=True):
            p.grad = g
        optimizer.step()
    assert optimizer.steps == steps
    return [p.numpy() for p in parameters]


@pytest.mark.parametrize("implementation", ["fused", "composed"])
@pytest.mark.parametrize("dtype", BOUND)
@pytest.mark.parametrize("case", CASES)
def test_100_steps_follow_the_definition(case: str, dtype: str, implementation: str) -> None:
    make, definition, options = CASES[case]
    with tg.implementation(implementation):
        ours = run(make, dtype)
    for i, start in enumerate(values(dtype)):
        p, state = start, {}
        for step in range(100):
            p = definition(p, gradients(dtype, step)[i], state, **options)
        assert ours[i].dtype == p.dtype == dtype
        assert np.isfinite(ours[i]).all()
        assert np.allclose(ours[i], p, rtol=BOUND[dtype], atol=BOUND[dtype]), np.abs(ours[i] - p).max()


TORCH = {
    "sgd_decay": lambda t, ps: t.optim.SGD(ps, 0.05, weight_decay=0.1),
    "torch_momentum": lambda t, ps: t.optim.SGD(ps, 0.01, momentum=0.9),
    "torch_nesterov": lambda t, ps: t.optim.SGD(ps, 0.01, momentum=0.8, nesterov=True, weight_decay=0.01),
    "rmsprop_decay": lambda t, ps: t.optim.RMSprop(ps, 0.01, alpha=0.9, eps=1e-6, weight_decay=0.1),
    "adam_decay": lambda t, ps: t.optim.Adam(ps, 0.01, betas=(0.8, 0.99), eps=1e-6, weight_decay=0.1),
    "adamw": lambda t, ps: t.optim.AdamW(ps, 0.01, weight_decay=0.01),
}


@pytest.mark.parametrize("dtype", BOUND)
@pytest.mark.parametrize("case", TORCH)
def test_100_steps_agree_with_pytorch(case: str, dtype: str) -> None:
    torch = pytest.importorskip("torch")
    parameters = [torch.nn.Parameter(torch.tensor(v)) for v in values(dtype)]
    optimizer = TORCH[case](torch, parameters)
    for step in range(100):
        for p, g in zip(parameters, gradients(dtype, step), strict=True):
            p.grad = torch.tensor(g)
        optimizer.step()
    for a, b in zip(run(CASES[case][0], dtype), parameters, strict=True):
        assert np.allclose(a, b.detach().numpy(), rtol=BOUND[dtype], atol=BOUND[dtype])


def test_the_slides_momentum_by_hand() -> None:
    w = tg.Parameter([1.0], dtype="float64", name="w")
    optimizer = optim.Momentum([w], lr=0.5)
    for g in ([2.0], [4.0]):
        w.grad = np.array(g)
        optimizer.step()
    v1 = 0.1 * 2
    v2 = 0.9 * v1 + 0.1 * 4
    assert w.item() == pytest.approx(1 - 0.5 * v1 - 0.5 * v2, rel=1e-15)


def test_the_first_step_of_adam_is_the_learning_rate() -> None:
    for scale in (1e-3, 1.0, 1e3):
        w = tg.Parameter([1.0, 1.0], dtype="float64", name="w")
        w.grad = np.array([scale, -scale])
        optim.Adam([w], lr=0.1).step()
        assert np.allclose(w.numpy(), [0.9, 1.1], atol=2e-6)


def test_defaults_are_those_of_the_papers() -> None:
    w = [tg.Parameter([1.0], name="w")]
    a = optim.Adam(w)
    assert (a.lr, a.beta1, a.beta2, a.eps, a.weight_decay) == (0.001, 0.9, 0.999, 1e-8, 0.0)
    assert optim.AdamW(w).weight_decay == 0.01
    assert optim.Momentum(w).beta == 0.9
    r = optim.RMSprop(w)
    assert (r.decay, r.eps) == (0.99, 1e-8)


def test_float16_parameters_are_worked_on_in_float32() -> None:
    for name in ("sgd", "torch_momentum", "rmsprop", "adamw"):
        make = CASES[name][0]
        ours = run(make, "float16", 10)
        assert all(p.dtype == np.float16 for p in ours)
        for a, b in zip(ours, run(make, "float64", 10), strict=True):
            assert np.isfinite(a).all()
            assert np.allclose(a, b, atol=0.02)
    w = tg.Parameter(np.ones(2, np.float16), name="w")
    assert optim.Adam([w]).state_dict()["optimizer.v.w"].dtype == np.float32


@pytest.mark.parametrize(
    "op", [updates.sgd_update, updates.momentum_update, updates.rmsprop_update, updates.adam_update]
)
def test_update_ops_are_pure_and_agree_with_their_references(op) -> None:
    if not jit.available():
        pytest.skip("there are no kernels without Numba")
    for inputs, attrs in op.examples:
        before = [np.copy(a) for a in inputs]
        fused = op.public(*inputs, impl="fused", **attrs)
        composed = op.public(*inputs, impl="composed", **attrs)
        for a, b in zip(inputs, before, strict=True):
            assert np.array_equal(a, b)
        pairs = zip(*[r if isinstance(r, tuple) else (r,) for r in (fused, composed)], strict=True)
        for a, b in pairs:
            assert a.dtype == b.dtype
            assert np.allclose(a.numpy(), b.numpy(), rtol=1e-14, atol=1e-15)
            assert not a.requires_grad
            assert not b.requires_grad


def test_update_ops_check_what_they_get() -> None:
    p, g = tg.ones((2,)), tg.ones((2,))
    lr = tg.tensor(0.1, "float64")
    for bad, message in (
        ((p, tg.ones((3,)), lr, lr), "gradient must have its parameter's shape"),
        ((tg.tensor([1, 2]), tg.tensor([1, 2]), lr, lr), "a parameter is float"),
        ((p, g, tg.ones((3,)), lr), "one number, or one for each of the networks"),
    ):
        with pytest.raises((ValueError, TypeError), match=message):
            tg.trace(lambda *a: updates.sgd_update.public(*a), *bad)
