"""Gradients that are products, with the optimiser's step that takes them: the bits of one after the other."""

import dataclasses

import numpy as np
import pytest
from native_calls import place_of, run_record
from native_products import WIDTH, address, needs_code, numbers
from test_native_updates import NAMES, given

import tensorgraph as tg
from tensorgraph import nn, optim
from tensorgraph.native.places import Call, Successor
from tensorgraph.ops.contraction import matmul
from tensorgraph.ops.native import product, product_updates


def called(make, arrays, outputs, how, order=-1):
    """Run what a rule puts into a call of these arrays: kernels' names, or None where it refuses."""
    where, lent, places = {}, [*arrays, *outputs], []
    for array in lent:
        place, low = place_of(array)
        places.append(place)
        where[place.buffer] = low
    call = Call(tuple(places[: len(arrays)]), tuple(places[len(arrays) :]), {})
    if not make(call):
        return None
    for scratch in call.scratch_places:
        lent.append(np.full(scratch.shape, np.nan, scratch.dtype))
        where[scratch.buffer] = address(lent[-1])
    for record in call.records:
        run_record(record, where, lent, how, WIDTH, order)
    return [record.kernel.name for record in call.records]


def both(name, m, n, k, dtype, how="code", turned=True, **changes):
    """What a step gives together with its product, and after it; and the kernels of the former."""
    op, (p, _, *rest), attrs = given(name, m * n, dtype)
    p, *rest = (x.reshape(m, n) if x.shape == (m * n,) else x for x in (p, *rest))
    a = numbers((k, m), dtype, 1).T if turned else numbers((m, k), dtype, 1)
    b = numbers((k, n), dtype, 2)
    update, averages = op.native_rule(), rest[: op.native_rule().inputs - 2]

    def made():
        outs = [np.full_like(x, np.nan) for x in (p, *averages)]
        return [*outs, np.zeros((), np.int64)] if name.startswith("adam") else outs

    def together(call):
        new_p, *others = call.inputs[2:]
        return matmul.native_rule().with_endings(call, [Successor(op, (new_p, None, *others), attrs)])

    def alone(call):
        return update(dataclasses.replace(call, attrs=attrs, records=call.records, scratch_places=call.scratch_places))

    one, other, g = made(), made(), np.full((m, n), np.nan, dtype)
    kernels = called(together, [a, b, p, *rest], one, how)
    assert called(lambda call: product.product_call(call, *call.inputs, *call.outputs), [a, b], [g], how)
    assert called(alone, [p, g, *rest], other, how)
    return one, other, kernels


def assert_the_same(one, other):
    for x, y in zip(one, other, strict=True):
        assert np.isfinite(y).all()
        np.testing.assert_array_equal(x, y)


@needs_code
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_bits_are_those_of_one_after_the_other(name, dtype):
    one, other, kernels = both(name, 131, 137, 9, dtype)
    assert kernels[0] == "product_update"
    assert_the_same(one, other)


@needs_code
@pytest.mark.parametrize(
    ("m", "n", "k"), [(128, 128, 1), (9, 2500, 8), (400, 1000, 260), (1000, 17, 5), (160, 128, 64)]
)
def test_of_any_shape(m, n, k):
    one, other, kernels = both("adam_update", m, n, k, "float32")
    assert kernels == ["product_update", "count_step"]
    assert_the_same(one, other)


@needs_code
@pytest.mark.parametrize("turned", [True, False])
@pytest.mark.parametrize("name", ["adamw", "nesterov"])
def test_large_products_are_packed(name, turned, monkeypatch):
    monkeypatch.setattr(product, "LARGE", 1 << 12)
    one, other, kernels = both(name, 301, 149, 70, "float32", turned=turned)
    assert kernels[:2] == ["pack_rows", "product_packed_update"]
    assert_the_same(one, other)
    one, other, kernels = both(name, 700, 1100, 256, "float32", turned=turned)
    assert kernels[:2] == ["pack_rows", "product_packed_update"]
    assert_the_same(one, other)


@pytest.mark.parametrize("name", NAMES)
def test_emulated(name, monkeypatch):
    monkeypatch.setattr(product_updates, "SMALL", 0)
    monkeypatch.setattr(product_updates, "STRIP", 1 << 10)
    one, other, kernels = both(name, 9, 67, 3, "float32", "emulate")
    assert kernels[0] == "product_update"
    assert_the_same(one, other)


def test_emulated_and_packed(monkeypatch):
    monkeypatch.setattr(product_updates, "SMALL", 0)
    monkeypatch.setattr(product, "LARGE", 1 << 8)
    monkeypatch.setattr(product_updates, "is_packed", lambda given: True)
    one, other, kernels = both("adam_update", 14, 35, 3, "float32", "emulate")
    assert kernels[:2] == ["pack_rows", "product_packed_update"]
    assert_the_same(one, other)


@needs_code
@pytest.mark.parametrize(
    ("m", "n", "k"), [(100, 100, 2), (1 << 15, 4, 2), (200, 200, 150)], ids=["small", "few columns", "many examples"]
)
def test_what_is_better_apart(m, n, k):
    assert both("adam_update", m, n, k, "float32")[2] is None


OPTIMIZERS = {
    "sgd": lambda p: optim.SGD(p, 0.1), "momentum": lambda p: optim.Momentum(p, 0.1),
    "rmsprop": lambda p: optim.RMSprop(p, 1e-3), "adam": lambda p: optim.Adam(p, 1e-3),
    "adamw": lambda p: optim.AdamW(p, 1e-3, weight_decay=0.1),
}  # fmt: skip


def trained(kind, keep, compiled, sizes=(8, 8, 5, 8)):
    """The losses and the state of a few steps; `keep`: the gradients are left to be looked at."""
    rng = np.random.default_rng(0)
    tg.random.seed(0)
    model = nn.Sequential(nn.Linear(150, 160), nn.ReLU(), nn.Linear(160, 3))
    optimizer = OPTIMIZERS[kind](model.parameters())

    def step(x, y):
        loss = tg.softmax_cross_entropy(model(x), y)
        if keep:
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        else:
            optimizer.minimize(loss)
        return loss

    run = tg.compile(step) if compiled else step
    losses = [float(run(rng.standard_normal((n, 150)).astype("f4"), rng.integers(0, 3, n))) for n in sizes]
    state = [np.array(p.numpy()) for p in model.parameters()]
    text = run.explain() if compiled else ""
    return losses, state, text, [p.grad for p in model.parameters()]


@needs_code
@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_a_step_that_keeps_no_gradient_computes_what_one_does_that_keeps_them(kind):
    losses, state, text, grads = trained(kind, False, True)
    assert "  product_update " in text and grads == [None] * 4
    kept_losses, kept_state, kept_text, kept_grads = trained(kind, True, True)
    assert "  product_update " not in kept_text and all(g is not None for g in kept_grads)
    assert losses == kept_losses and np.isfinite(losses).all()
    for a, b in zip(state, kept_state, strict=True):
        np.testing.assert_array_equal(a, b)
    eager_losses, eager_state, _, grads = trained(kind, False, False)
    assert grads == [None] * 4
    np.testing.assert_allclose(losses, eager_losses, rtol=1e-5)
    for a, b in zip(state, eager_state, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
