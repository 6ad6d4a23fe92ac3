"""fit compiles from some step on: the same training, the same run however it is cut, and as it is where it must be."""

import logging
from typing import Any

import numpy as np
import pytest

import tensorgraph as tg
from tensorgraph import nn, optim, train
from tensorgraph.train import pulled

RNG = np.random.default_rng(0)
X = RNG.normal(size=(100, 4)).astype(np.float32)
Y = (X[:, 0] > X[:, 1]).astype(int)


def network() -> nn.Module:
    return nn.Sequential(
        nn.Linear(4, 8, bias=False, seed=0),
        nn.BatchNorm(8),
        nn.ReLU(),
        nn.Dropout(0.2, seed=3),
        nn.Linear(8, 2, seed=1),
    )


@pytest.fixture
def early(monkeypatch: Any) -> None:
    """Compile from the third step on."""
    monkeypatch.setattr(pulled, "FIRST", 3)


def fitted(**settings: Any) -> tuple[Any, Any]:
    model = settings.pop("model", None) or network()
    options: dict[str, Any] = dict(optimizer=optim.Adam(model, lr=0.01), epochs=4, batch_size=16, progress=False)
    return model, train.fit(model, (X, Y), **(options | settings))


def watched(monkeypatch: Any) -> list[bool]:
    """Of each call of what was compiled, whether it was taken."""
    taken: list[bool] = []
    call = pulled.Pulled.__call__

    def noted(self: Any, *args: Any) -> Any:
        found = call(self, *args)
        taken.append(found is not None)
        return found

    monkeypatch.setattr(pulled.Pulled, "__call__", noted)
    return taken


@pytest.mark.parametrize("settings", [{}, {"accumulate": 2}, {"class_weights": "balanced"}, {"last": "drop"}])
def test_a_compiled_run_is_the_run(settings: dict[str, Any], early: None, monkeypatch: Any) -> None:
    taken = watched(monkeypatch)
    (a, first), (b, second) = fitted(**settings, compile=False), fitted(**settings)
    assert taken and all(taken)
    for (path, p), (_, q) in zip(a.named_cells(), b.named_cells(), strict=True):
        assert np.isfinite(p.numpy()).all()
        np.testing.assert_allclose(p.numpy(), q.numpy(), rtol=1e-3, atol=1e-4, err_msg=path)
    for name in ("loss", "accuracy"):
        np.testing.assert_allclose(first[name], second[name], rtol=1e-3, atol=0.021)


def test_a_run_that_is_cut_goes_on_to_the_same_bits(early: None, tmp_path: Any) -> None:
    whole, _ = fitted(epochs=4, run=tmp_path / "whole")
    fitted(epochs=2, run=tmp_path / "cut")
    cut, history = fitted(epochs=4, run=tmp_path / "cut")
    assert len(history["loss"]) == 4
    for (path, p), (_, q) in zip(whole.named_cells(), cut.named_cells(), strict=True):
        assert np.array_equal(p.numpy(), q.numpy()), path


class Counting(nn.Module):
    """Counts its calls, but for those of traces."""

    def __init__(self) -> None:
        self.inner = network()
        self.calls = 0

    def forward(self, x: Any) -> Any:
        if not tg.is_tracing():
            self.calls += 1
        return self.inner(x)


class Looking(Counting):
    """Not to be traced."""

    def forward(self, x: Any) -> Any:
        self.calls += 1
        out = self.inner(x)
        return out if float(out.mean()) < 1e9 else -out


def test_a_model_that_cannot_be_traced_runs_as_it_is(early: None, monkeypatch: Any) -> None:
    taken = watched(monkeypatch)
    model, history = fitted(model=Looking(), metrics=())
    assert not any(taken) and len(history["loss"]) == 4 and model.calls >= 24


def test_a_model_that_cannot_be_compiled_runs_as_it_is(early: None, monkeypatch: Any, caplog: Any) -> None:
    taken = watched(monkeypatch)

    class Keeping(Counting):
        def forward(self, x: Any) -> Any:
            self.calls += 1
            return self.inner(x)

    with caplog.at_level(logging.INFO, "tensorgraph.compile"):
        model, history = fitted(model=Keeping(), metrics=())
    assert taken == [False] and len(history["loss"]) == 4 and "changes Keeping.calls" in caplog.text
    assert all(np.isfinite(p.numpy()).all() for p in model.parameters())


@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value")
def test_a_loss_that_is_no_number_is_told(early: None) -> None:
    model = nn.Linear(4, 1, seed=0)
    with pytest.raises(train.NonFiniteLossError, match="the update was not made"):
        train.fit(
            model, (X * 1e12, X[:, :1]), loss="mse", optimizer=optim.SGD(model, lr=1e3), epochs=9, batch_size=16,
            progress=False,
        )  # fmt: skip
    assert all(p.grad is None for p in model.parameters())


def test_batches_of_ever_other_sizes_are_not_all_compiled(early: None, monkeypatch: Any) -> None:
    taken = watched(monkeypatch)
    sizes = list(range(2, 30))

    def batches(epoch: int) -> Any:
        return ((X[:n], Y[:n]) for n in sizes)

    model = network()
    train.fit(
        model, batches, optimizer=optim.Adam(model, lr=0.01), epochs=1, steps_per_epoch=len(sizes), progress=False
    )
    assert taken[: pulled.MOST] == [True] * pulled.MOST and not any(taken[pulled.MOST :])
