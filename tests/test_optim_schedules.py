"""Learning-rate schedules: values, composition, curves, and how optimisers follow them."""

import math

import numpy as np
import pytest

import tensorgraph as tg
from tensorgraph import optim

N = np.arange(12)
CURVES = {
    "constant": (optim.constant(0.1), np.full(12, 0.1)),
    "inverse_time": (optim.inverse_time(0.2, 0.5), 0.2 / (1 + 0.5 * N)),
    "exponential": (optim.exponential(0.1, 0.95), 0.1 * 0.95**N),
    "exponential_every": (optim.exponential(0.1, 0.5, every=4), 0.1 * 0.5 ** (N / 4)),
    "inverse_sqrt": (optim.inverse_sqrt(0.3), 0.3 / np.sqrt(N + 1)),
    "staircase": (optim.staircase(0.1, 0.5, 3), 0.1 * 0.5 ** (N // 3)),
    "cosine": (optim.cosine(0.1, 8, 0.01), 0.01 + 0.045 * (1 + np.cos(np.pi * np.minimum(N / 8, 1)))),
    "warmup": (optim.warmup(4), np.minimum((N + 1) / 4, 1)),
    "piecewise": (optim.piecewise([3, 6], [1.0, 0.5, 0.1]), np.select([N < 3, N < 6], [1.0, 0.5], 0.1)),
    "by_hand": (optim.by_hand([0.3, 0.2, 0.1]), np.array([0.3, 0.2] + [0.1] * 10)),
    "one_by_hand": (optim.by_hand([0.3]), np.full(12, 0.3)),
    "function": (optim.Schedule(lambda t: 0.1 / (1 + t)), 0.1 / (1 + N)),
    "number": (optim.Schedule(lambda t: 0.7), np.full(12, 0.7)),
    "product": (optim.warmup(4) * optim.inverse_time(0.2, 0.5), np.minimum((N + 1) / 4, 1) * 0.2 / (1 + 0.5 * N)),
    "scaled": (0.5 * optim.constant(0.2), np.full(12, 0.1)),
    "then": (
        optim.by_hand([0.01, 0.02]).then(optim.exponential(0.1, 0.5), after=3),
        np.array([0.01, 0.02, 0.02] + [0.1 * 0.5**i for i in range(9)]),
    ),
    "numbers_then": (optim.constant(0.1).then(0.7, 2), np.array([0.1] * 2 + [0.7] * 10)),
}  # fmt: skip


@pytest.mark.parametrize("name", CURVES)
def test_curves(name: str) -> None:
    schedule, expected = CURVES[name]
    curve = schedule.curve(12)
    assert curve.dtype == np.float64
    assert np.isfinite(curve).all()
    assert np.allclose(curve, expected, rtol=1e-14, atol=0)
    assert schedule(5) == curve[5]


def test_epochs_and_steps_together() -> None:
    schedule = optim.warmup(4) * optim.inverse_time(0.2, 1.0).per_epoch()
    expected = [min((s + 1) / 4, 1) * 0.2 / (1 + s // 5) for s in range(15)]
    assert np.allclose(schedule.curve(15, steps_per_epoch=5), expected, rtol=1e-14)
    assert schedule(7, epoch=1) == pytest.approx(0.1)


def test_the_slides_numbers() -> None:
    assert np.allclose(optim.inverse_time(0.2, 1.0).per_epoch().curve(4), [0.2, 0.1, 0.2 / 3, 0.05])


def test_schedules_print_as_written() -> None:
    assert repr(optim.warmup(10) * optim.cosine(0.1, 100)) == "warmup(10) * cosine(0.1, steps=100, final=0)"
    assert repr(optim.inverse_time(0.2, 1).per_epoch()) == "inverse_time(0.2, decay=1).per_epoch()"


@pytest.mark.parametrize(
    "make",
    [
        lambda: optim.constant(-1.0), lambda: optim.inverse_time(0.1, -1.0), lambda: optim.exponential(0.1, 0.0),
        lambda: optim.staircase(0.1, 0.5, 0), lambda: optim.cosine(0.1, 0), lambda: optim.warmup(0),
        lambda: optim.piecewise([1], [0.1]), lambda: optim.piecewise([2, 1], [0.1, 0.2, 0.3]),
        lambda: optim.by_hand([]),
        lambda: optim.constant(0.1).then(0.2, after=-1), lambda: optim.inverse_sqrt(float("nan")),
    ],
)  # fmt: skip
def test_impossible_schedules(make) -> None:
    with pytest.raises(ValueError, match=r"must|at least|one value more|number of counts"):
        make()


def test_a_schedule_is_made_of_a_function() -> None:
    with pytest.raises(TypeError, match="Schedule: function must be callable"):
        optim.Schedule("cosine")


def train(optimizer, w, steps: int) -> list[float]:
    rates = []
    for _ in range(steps):
        w.grad = np.ones(1)
        optimizer.step()
        rates.append(optimizer.lr)
    return rates


@pytest.mark.parametrize("name", CURVES)
def test_optimisers_follow_a_schedule_and_show_it(name: str) -> None:
    schedule, _ = CURVES[name]
    w = tg.Parameter(np.zeros(1), name="w")
    optimizer = optim.SGD([w], lr=schedule)
    assert optimizer.lr == schedule(0)
    assert train(optimizer, w, 12) == schedule.curve(12).tolist()
    assert w.item() == pytest.approx(-schedule.curve(12).sum())


def test_epochs_are_set_by_the_training_loop() -> None:
    w = tg.Parameter(np.zeros(1), name="w")
    optimizer = optim.SGD([w], lr=optim.inverse_time(0.2, 1.0).per_epoch())
    rates = []
    for epoch in range(3):
        optimizer.epoch = epoch
        assert optimizer.epoch == epoch
        rates += train(optimizer, w, 2)
    assert np.allclose(rates, [0.2, 0.2, 0.1, 0.1, 0.2 / 3, 0.2 / 3])


def test_a_rate_set_by_hand_ends_the_schedule() -> None:
    w = tg.Parameter(np.zeros(1), name="w")
    optimizer = optim.SGD([w], lr=optim.warmup(4))
    assert train(optimizer, w, 2) == [0.25, 0.5]
    optimizer.lr = 0.01
    assert optimizer.schedule is None
    assert train(optimizer, w, 2) == [0.01, 0.01]
    optimizer.lr = lambda t: 1.0 / t
    assert optimizer.lr == 0.25
    assert train(optimizer, w, 1) == [0.25]


def test_a_schedule_that_branches_runs_eagerly_and_says_why_it_cannot_be_traced() -> None:
    w = tg.Parameter(np.zeros(1), name="w")
    optimizer = optim.SGD([w], lr=lambda t: 0.1 if t < 2 else 0.01)
    assert train(optimizer, w, 3) == [0.1, 0.1, 0.01]
    with pytest.raises(tg.TraceError, match="a branch"):
        tg.trace(lambda: optimizer.minimize((w * w).sum()))
    assert math.isclose(optimizer.lr, 0.01)
