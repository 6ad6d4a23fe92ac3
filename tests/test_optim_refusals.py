"""What optimisers refuse: settings they do not have, rates that are none, groups without parameters."""

import math

import numpy as np
import pytest

import tensorgraph as tg
from tensorgraph import nn, optim


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda m: optim.SGD(m, momentum=0.9), r"no argument 'momentum'; use optim\.Momentum"),
        (lambda m: optim.Adam(m, betas=(0.9, 0.99)), "no argument 'betas'; write beta1= and beta2="),
        (lambda m: optim.RMSprop(m, alpha=0.9), "no argument 'alpha'; write decay="),
        (lambda m: optim.SGD(m, learning_rate=0.1), "no argument 'learning_rate'; write lr="),
        (lambda m: optim.AdamW(m, amsgrad=True), "no argument 'amsgrad'; there is none"),
        (lambda m: optim.Momentum(m, dampening=0.1), "no argument 'dampening'; it takes lr, beta, weight_decay"),
    ],
)
def test_a_setting_of_another_library_is_not_swallowed(make, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        make(nn.Linear(2, 2, seed=0))


def test_groups_and_parameters_do_not_mix_and_someone_is_trained() -> None:
    w = tg.Parameter([1.0], name="w")
    with pytest.raises(TypeError, match="not both in one"):
        optim.SGD([{"parameters": [w]}, w])
    with pytest.raises(ValueError, match="no parameters to train in any group"):
        optim.SGD([{"parameters": []}, {"parameters": []}])


@pytest.mark.parametrize("limit", ["a", [1.0], math.nan, True, -1])
@pytest.mark.parametrize("name", ["clip_value", "clip_norm"])
def test_limits_are_positive_numbers(name: str, limit: object) -> None:
    with pytest.raises((ValueError, TypeError), match=f"SGD: {name} must be a positive number or None, got"):
        optim.SGD([tg.Parameter([1.0])], **{name: limit})


@pytest.mark.parametrize("implementation", ["fused", "composed"])
@pytest.mark.parametrize(
    ("rate", "told"),
    [(lambda t: 2.0 - t, "-1.0"), (lambda t: tg.where(t < 2.0, 0.1, math.inf), "inf"), (lambda t: float("nan"), "nan")],
)
def test_a_schedule_that_leaves_its_range_stops_before_the_step(rate, told: str, implementation: str) -> None:
    w = tg.Parameter([1.0, 2.0], name="w")
    optimizer = optim.Adam([w], lr=0.5)
    optimizer.schedule = optim.Schedule(rate)
    with tg.implementation(implementation):
        for _ in range(6):
            optimizer.zero_grad()
            w.sum().backward()
            before = {path: np.array(a) for path, a in optimizer.state_dict().items()}, w.tolist()
            try:
                optimizer.step()
            except ValueError as error:
                said = str(error)
                break
        else:
            raise AssertionError("the schedule was followed out of its range")
    assert "a learning rate is finite and not negative" in said
    assert f"gave {told} for step" in said
    after = optimizer.state_dict()
    assert all(np.array_equal(after[path], a) for path, a in before[0].items())
    assert w.tolist() == before[1]
    assert np.isfinite(w.numpy()).all()


@pytest.mark.parametrize(
    "make",
    [
        lambda: optim.constant(math.inf),
        lambda: optim.constant(math.nan),
        lambda: optim.exponential(0.1, math.inf),
        lambda: optim.piecewise([math.nan], [0.1, 0.2]),
        lambda: optim.cosine(0.1, 10, final=math.inf),
    ],
)
def test_schedules_are_made_of_finite_numbers(make) -> None:
    with pytest.raises(ValueError, match=r"finite|positive number|must grow"):
        make()


def test_clipping_by_norm_and_pytorchs_hair() -> None:
    rng = np.random.default_rng(0)
    grads = [rng.normal(size=(3, 4)), rng.normal(size=5)]
    norm = np.sqrt(sum((g**2).sum() for g in grads))
    limit = 0.7
    ours, _ = optim.clip_norm([tg.tensor(g, "float64") for g in grads], limit * norm / (norm + 1e-6))
    for g, clipped in zip(grads, ours, strict=True):
        # torch.nn.utils.clip_grad_norm_ multiplies by limit / (norm + 1e-6)
        np.testing.assert_allclose(clipped.numpy(), g * (limit / (norm + 1e-6)), rtol=1e-15)
