"""Compiled forwards whose caller takes gradients: those of the function, taken by a graph of their own."""

from typing import Any

import numpy as np
import pytest

import tensorgraph as tg
from tensorgraph import nn, optim
from tensorgraph.compile.entry import Entry

RNG = np.random.default_rng(0)
X = RNG.normal(size=(12, 6)).astype(np.float32)
Y = RNG.integers(0, 3, 12)


def network() -> nn.Module:
    return nn.Sequential(
        nn.Linear(6, 8, bias=False, seed=0), nn.BatchNorm(8), nn.ReLU(), nn.Dropout(0.3, seed=2),
        nn.Linear(8, 3, seed=1),
    )  # fmt: skip


def near(a: Any, b: Any) -> None:
    a, b = np.asarray(a), np.asarray(b)
    assert np.isfinite(a).all() and a.dtype == b.dtype and a.shape == b.shape
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def pullings(compiled: Any) -> int:
    """How many entries make one node of a call."""
    return sum(entry.pulling is not None for entries in compiled._entries.values() for entry in entries)


@pytest.mark.parametrize("what", ["model", "loss"])
def test_steps_by_hand_around_a_compiled_forward(what: str) -> None:
    """Batch norm's averages move once a call, and dropout drops in the gradient what it dropped in the forward."""
    runs = []
    for compiled in (False, True):
        model = network()
        adam = optim.Adam(model, lr=0.01)

        def loss_of(x: Any, y: Any, model: Any = model) -> Any:
            return tg.softmax_cross_entropy(model(x), y)

        run: Any = model if what == "model" else loss_of
        run = tg.compile(run) if compiled else run
        losses = []
        for _ in range(6):
            adam.zero_grad()
            loss = tg.softmax_cross_entropy(run(X), Y) if what == "model" else run(X, Y)
            loss.backward()
            adam.step()
            losses.append(loss.item())
        if compiled:
            assert pullings(run) == 1 and run.stats.traces == 1
        runs.append((losses, model))
    near(runs[0][0], runs[1][0])
    for (path, a), (_, b) in zip(runs[0][1].named_cells(), runs[1][1].named_cells(), strict=True):
        near(a.numpy(), b.numpy())
        assert (a.grad is None) == (b.grad is None), path


def compiled_square(w: Any) -> Any:
    """A compiled function that has run once."""
    f = tg.compile(lambda x: (tg.tanh(x * w) ** 2).sum())
    f(tg.tensor([1.0, 2.0]))
    return f


def test_the_tape_lets_go_of_what_is_kept() -> None:
    w = tg.Parameter([1.0, 2.0], name="w")
    sgd, f = optim.SGD([w], lr=0.1), compiled_square(w)
    array = w._value
    address = array.ctypes.data
    del array
    for _ in range(4):
        loss = f(tg.tensor([1.0, 2.0]))
        sgd.zero_grad()
        loss.backward()
        sgd.step()
        assert w._value.ctypes.data == address, "the step is made in place"
    with pytest.raises(RuntimeError, match="a second time"):
        loss.backward()


def test_what_is_changed_after_the_call_changes_no_gradient() -> None:
    w = tg.Parameter([1.0, 2.0], name="w")
    f = compiled_square(w)
    x = np.array([1.0, 2.0], np.float32)
    wanted = tg.gradients(f(x), w).tolist()
    loss = f(x)
    x[:] = 7.0
    w.assign([5.0, 5.0])
    assert tg.gradients(loss, w).tolist() == wanted


def test_twice_and_higher_orders() -> None:
    w = tg.Parameter([1.0, 2.0], name="w")
    f = compiled_square(w)
    x = tg.tensor([0.3, 0.7], requires_grad=True)
    for _ in range(3):
        loss = f(x)
        plain = f.function(x)
        first, again = (tg.gradients(loss, [w, x], retain_graph=True) for _ in range(2))
        expected = tg.gradients(plain, [w, x], create_graph=True)
        for a, b, c in zip(first, again, expected, strict=True):
            near(a.numpy(), c.numpy())
            near(b.numpy(), c.numpy())
        g, h = tg.gradients(loss, [w, x], create_graph=True)
        near(
            tg.gradients((g * g).sum() + h.sum(), w).numpy(),
            tg.gradients((expected[0] * expected[0]).sum() + expected[1].sum(), w).numpy(),
        )
    assert pullings(f) == 2


def test_results_without_a_history_have_none() -> None:
    w = tg.Parameter([1.0, 2.0], name="w")
    f = tg.compile(lambda x: {"loss": (x * w).sum(), "x": x, "seen": (x * w).detach(), "n": tg.argmax(x)})
    x = np.array([1.0, 2.0], np.float32)
    for _ in range(3):
        out = f(x)
        assert [out[name].requires_grad for name in out] == [True, False, False, False]
        assert out["seen"].tolist() == [1.0, 4.0] and out["n"].item() == 1
        out["loss"].backward()
    assert w.grad is not None and w.grad.tolist() == [3.0, 6.0] and pullings(f) == 1
    x[0] = 9.0
    assert out["x"].tolist() == [1.0, 2.0]


def test_a_parameter_that_the_result_does_not_depend_on_gets_no_gradient() -> None:
    w, other = tg.Parameter([1.0], name="w"), tg.Parameter([1.0], name="other")
    f = tg.compile(lambda x: (x * w).sum() + other.detach().sum())
    for _ in range(3):
        f(tg.tensor([2.0])).backward()
    assert other.grad is None and w.grad is not None and w.grad.item() == 6.0


def test_inside_a_transform_it_goes_through_the_tape() -> None:
    w = tg.Parameter([1.0, 2.0], name="w")
    f = compiled_square(w)
    x = tg.tensor([0.3, 0.7])
    near(tg.grad(f)(x).numpy(), tg.grad(f.function)(x).numpy())
    near(tg.hessian(f)(x).numpy(), tg.hessian(f.function)(x).numpy())
    assert f(x).requires_grad


def test_several_results_have_a_history_and_each_gradient_is_of_those_that_it_reaches() -> None:
    w = tg.Parameter([1.0, 2.0], name="w")

    def plain(x: Any) -> Any:
        h = tg.tanh(x * w)
        return {"loss": (h**2).sum(), "root": tg.sqrt(x * w), "seen": h.detach(), "h": h}

    f = tg.compile(plain)
    x = tg.tensor([0.0, 0.7], requires_grad=True)  # where the root has no slope
    for _ in range(3):
        for names in (["loss"], ["h"], ["h", "loss"], ["root", "h"]):
            found, expected = [], []
            for function, into in ((f, found), (plain, expected)):
                out = function(x)
                assert not out["seen"].requires_grad
                total = sum(out[name][-1] if name == "root" else out[name].sum() for name in names)
                with np.errstate(invalid="ignore"):
                    into += tg.gradients(total, [w, x], retain_graph=True)
            for a, b in zip(found, expected, strict=True):
                np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-5, equal_nan=True)
                assert ("root" in names) != bool(np.isfinite(a.numpy()).all())
    out, kept = f(x), plain(x)
    g, h = (tg.gradients(t["loss"] + t["h"].sum(), x, create_graph=True) for t in (out, kept))
    near(tg.gradients((g**2).sum(), w).numpy(), tg.gradients((h**2).sum(), w).numpy())
    assert pullings(f) == 1


def test_a_function_whose_results_have_no_history_runs_as_kernels_where_gradients_are_recorded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = network().eval()
    functions = [tg.compile(lambda x: tg.argmax(model(x), axis=1)), tg.compile(lambda x: model(x).detach())]
    expected = [f.function(X).numpy() for f in functions]
    for f in functions:
        f(X)
    monkeypatch.setattr(Entry, "evaluate", lambda *_: pytest.fail("it went through the tape again"))
    for f, value in zip(functions, expected, strict=True):
        got = f(X)
        assert not got.requires_grad
        near(got.numpy(), value)


def test_a_parameter_that_is_frozen_and_thawed_has_gradients_again() -> None:
    layer = nn.Linear(6, 3, seed=0)
    f = tg.compile(lambda x: layer(x).sum())
    for wanted in (False, True, False, True):
        for p in layer.parameters():
            p.requires_grad_(wanted)
        for _ in range(2):
            loss = f(X)
            assert loss.requires_grad == wanted
        if wanted:
            near(tg.gradients(loss, layer.weight).numpy(), tg.gradients(f.function(X), layer.weight).numpy())
