"""fit compiles whole steps: the same training, the same run however it is cut, and as it is where it must be."""

import logging
import signal
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from training_helpers import jitter, same_state

import tensorgraph as tg
from tensorgraph import nn, optim, train
from tensorgraph.native import machine
from tensorgraph.train import compiled, forward

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
def made(monkeypatch: Any) -> Iterator[list[Any]]:
    """Compile from the third step on, and evaluations from the third batch; gives the steps of each fit."""
    monkeypatch.setattr(compiled, "FIRST", 3)
    monkeypatch.setattr(compiled, "AGAIN", 1)
    monkeypatch.setattr(forward, "MEASURED", 2)
    made: list[Any] = []
    begin = compiled.CompiledSteps.__init__

    def noted(self: Any, *args: Any) -> None:
        begin(self, *args)
        made.append(self)

    monkeypatch.setattr(compiled.CompiledSteps, "__init__", noted)
    yield made


def fitted(**settings: Any) -> tuple[Any, Any]:
    model = settings.pop("model", None) or network()
    data = settings.pop("data", (X, Y))
    options: dict[str, Any] = dict(
        optimizer=optim.Adam(model, lr=0.01), epochs=4, batch_size=16, last="drop", progress=False
    )
    return model, train.fit(model, data, **(options | settings))


def runs(steps: Any) -> tuple[int, int]:
    """How often gradients alone, and whole updates, were computed by what was compiled."""
    return steps.gradients.stats.runs, steps.update.stats.runs


def assert_close(a: Any, b: Any, rtol: float, atol: float) -> None:
    for (path, p), (_, q) in zip(a.named_cells(), b.named_cells(), strict=True):
        assert p.numpy().dtype.kind != "f" or np.isfinite(p.numpy()).all()
        np.testing.assert_allclose(p.numpy(), q.numpy(), rtol=rtol, atol=atol, err_msg=path)


# the same training ---------------------------------------------------------------------------------------------------


def drawn(seed: int) -> tuple[nn.Module, dict[str, Any]]:
    """A model in float64, and how it is trained."""
    rng = np.random.default_rng(seed)
    layers: list[Any] = []
    width = 4
    for _ in range(rng.integers(1, 4)):
        units = int(rng.integers(3, 20))
        layers.append(nn.Linear(width, units, bias=bool(rng.random() < 0.5), seed=int(rng.integers(99))))
        norm = rng.choice(["batch", "layer", "none", "batch"])
        layers += [nn.BatchNorm(units)] if norm == "batch" else [nn.LayerNorm(units)] if norm == "layer" else []
        layers.append(rng.choice([nn.Tanh, nn.Sigmoid, nn.GELU, nn.Softplus])())  # smooth: no sign hangs by a rounding
        layers += [nn.Dropout(0.3, seed=int(rng.integers(99)))] if rng.random() < 0.5 else []
        width = units
    model = nn.Sequential(*layers, nn.Linear(width, 3, seed=seed)).astype("float64")
    kind = rng.choice([optim.SGD, optim.Momentum, optim.RMSprop, optim.Adam, optim.AdamW])
    rate: Any = rng.choice(np.array([0.05, optim.cosine(0.05, 20), lambda step: 0.1 / (1 + step)], object))
    limits = {name: 0.3 for name in ("clip_value", "clip_norm") if rng.random() < 0.4}
    half = len(model.parameters()) // 2
    parameters: Any = model
    if rng.random() < 0.4:
        parameters = [
            {"parameters": model.parameters()[:half], "lr": 0.02, "weight_decay": 0.1},
            {"parameters": model.parameters()[half:]},
        ]
    settings: dict[str, Any] = dict(
        optimizer=kind(parameters, lr=rate, weight_decay=float(rng.choice([0.0, 0.01])), **limits),
        batch_size=int(rng.choice([10, 16, 30])), last=str(rng.choice(["keep", "merge", "drop"])),
        accumulate=int(rng.choice([1, 1, 2, 3])), seed=seed, epochs=6, dev=(X[:30], Y[:30]),
        loss=rng.choice(np.array([None, lambda out, y: tg.softmax_cross_entropy(out, y) + 0.1 * (out**2).mean()])),
    )  # fmt: skip
    if settings["loss"] is None and rng.random() < 0.5:
        settings["class_weights"] = {0: 2.0}
    return model, settings


@pytest.mark.sampled(test=10, quick=2)
@pytest.mark.parametrize("seed", range(24))
def test_a_compiled_run_is_the_run(seed: int, made: list[Any]) -> None:
    (a, settings), (b, again) = drawn(seed), drawn(seed)
    first = train.fit(a, (X, Y), progress=False, compile=False, **settings)
    second = train.fit(b, (X, Y), progress=False, **again)
    assert sum(runs(made[0])) >= 3 and not made[0].refused and len(made) == 1
    assert_close(a, b, 1e-8, 1e-9)
    own, others = settings["optimizer"].state_dict(), again["optimizer"].state_dict()
    for path in own:
        np.testing.assert_allclose(own[path], others[path], rtol=1e-7, atol=1e-9, err_msg=path)
    assert first.learning_rate == pytest.approx(second.learning_rate, rel=1e-12)
    for name in first.values:
        np.testing.assert_allclose(first[name], second[name], rtol=1e-8, err_msg=name)


@pytest.mark.parametrize("settings", [{}, {"accumulate": 2}, {"class_weights": "balanced"}, {"last": "merge"}])
def test_so_it_is_in_float32(settings: dict[str, Any], made: list[Any]) -> None:
    (a, first), (b, second) = fitted(**settings, compile=False), fitted(**settings)
    assert runs(made[0])[1] >= 8
    assert_close(a, b, 1e-3, 1e-4)
    for name in ("loss", "accuracy"):
        np.testing.assert_allclose(first[name], second[name], rtol=1e-3, atol=0.021)


def test_hyperparameters_are_set_between_steps_and_nothing_is_traced_again(made: list[Any]) -> None:
    class Setting:
        def on_step_end(self, run: train.Training) -> None:
            for name in ("lr", "beta1", "weight_decay", "clip_norm"):
                setattr(run.optimizer, name, 0.5 / (2 + run.step))

    def trained(**settings: Any) -> Any:
        model = network().astype("float64")
        adam = optim.Adam(model, lr=0.01, clip_norm=1.0)
        return fitted(model=model, optimizer=adam, callbacks=[Setting()], **settings)

    (a, first), (b, second) = trained(compile=False), trained()
    assert made[0].update.stats.traces == 1 and runs(made[0])[1] == 4 * 6 - 3
    assert_close(a, b, 1e-7, 1e-9)
    assert first.hyperparameters == second.hyperparameters and first.learning_rate == second.learning_rate


def test_a_limit_a_schedule_and_a_frozen_layer_may_come_and_go(made: list[Any]) -> None:
    def change(run: train.Training) -> None:
        if run.epoch == 0:
            run.optimizer.clip_norm = 0.1
            run.model[0].freeze()
        if run.epoch == 1:
            run.optimizer.clip_norm = None
            run.optimizer.lr = optim.cosine(0.02, 30)
            run.model[0].unfreeze()
        if run.epoch == 2:
            run.model[3].rate = 0.5

    def trained(**settings: Any) -> Any:
        return fitted(model=network().astype("float64"), callbacks=[change], **settings)

    (a, _), (b, _) = trained(compile=False), trained()
    assert runs(made[0])[1] == 4 * 6 - 3
    assert_close(a, b, 1e-7, 1e-9)


# the same run, however it is cut -------------------------------------------------------------------------------------


class Break(Exception):
    pass


class Breaking:
    """Raises after a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, run: train.Training) -> None:
        if run.step == self.step:
            raise Break


def of_any_size(epoch: int) -> Any:
    """Batches of which some sizes come once, and more come again than are compiled."""
    rng = np.random.default_rng(epoch)
    for _ in range(20):
        rows = rng.integers(0, len(X), rng.integers(2, 14))
        yield X[rows], Y[rows]


CUT: dict[str, dict[str, Any]] = {
    "as it is": {},
    "accumulated": dict(accumulate=3, last="keep"),
    "of growing batches": dict(batch_size=[10, 25, 10], epochs=4),
    "of any size": dict(data=of_any_size, batch_size=None, steps_per_epoch=20, epochs=2),
}


@pytest.mark.parametrize("name", CUT)
def test_a_run_that_is_cut_goes_on_to_the_same_bits(
    name: str, made: list[Any], tmp_path: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr(compiled, "MOST", 3)

    def trained(folder: str, **settings: Any) -> Any:
        tg.random.seed(5)
        model = nn.Sequential(network(), Noisy())
        adam = optim.Adam(model, lr=optim.cosine(0.05, 40))
        run = train.Run(tmp_path / folder, steps=1)
        callbacks = [Breaking(settings.pop("cut", -1))]
        options = CUT[name] | dict(model=model, optimizer=adam, run=run, callbacks=callbacks) | settings
        if "data" not in options:
            options |= dict(augment=jitter, dev=(X[:30], Y[:30]))
        return *fitted(**options), adam

    whole, history, adam = trained("whole")
    for cut in (2, 4, 5, 9):
        with pytest.raises(Break):
            trained("cut", cut=cut)
    again, same, other = trained("cut")
    assert same_state(whole.state_dict(), again.state_dict()) and same_state(adam.state_dict(), other.state_dict())
    assert history.values == same.values and history.learning_rate == same.learning_rate
    assert len(made) == 6 and all(sum(runs(steps)) for steps in (made[0], made[5]))


class Noisy(nn.Module):
    """Draws from the process-wide generator in training."""

    def forward(self, x: Any) -> Any:
        return x + 0.1 * tg.random.normal(x.shape) if self.training else x


@pytest.mark.parametrize("first", [True, False])
def test_checkpoints_of_compiled_runs_and_of_others_are_exchangeable(
    first: bool, made: list[Any], tmp_path: Any
) -> None:
    def trained(folder: str, epochs: int, compile: bool) -> Any:
        return fitted(
            model=network().astype("float64"), epochs=epochs, run=tmp_path / folder, compile=compile, dev=(X[:9], Y[:9])
        )

    whole, history = trained("whole", 4, False)
    trained("both", 2, first)
    both, mixed = trained("both", 4, not first)
    assert_close(whole, both, 1e-7, 1e-9)
    for name in history.values:
        np.testing.assert_allclose(history[name], mixed[name], rtol=1e-7)


def test_rolled_back_it_takes_the_same_way(made: list[Any], tmp_path: Any) -> None:
    class Back:
        told = False

        def on_step_end(self, training: train.Training) -> None:
            if training.step == 15 and not self.told:
                self.told = True
                run.rollback(0)

    plain, _ = fitted(run=tmp_path / "plain", last="keep")
    run = train.Run(tmp_path / "back")
    back, _ = fitted(run=run, callbacks=[Back()], last="keep")
    assert same_state(plain.state_dict(), back.state_dict())


# as it is, where it must be ------------------------------------------------------------------------------------------


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


class Keeping(Counting):
    """To be traced, and not to be compiled."""

    def forward(self, x: Any) -> Any:
        self.calls += 1
        return self.inner(x)


def test_a_model_that_cannot_be_traced_runs_as_it_is(made: list[Any]) -> None:
    model, history = fitted(model=Looking(), metrics=())
    assert not made and len(history["loss"]) == 4 and model.calls >= 24


def test_a_model_that_cannot_be_compiled_runs_as_it_is(made: list[Any], caplog: Any) -> None:
    with caplog.at_level(logging.INFO, "tensorgraph.compile"):
        model, history = fitted(model=Keeping(), metrics=(), dev=(X, Y))
    assert runs(made[0]) == (0, 0) and len(history["loss"]) == 4 and "changes Keeping.calls" in caplog.text
    assert len(made[0].refused) == 2  # of the only size, and asked once
    assert model.calls == fitted(model=Keeping(), metrics=(), dev=(X, Y), compile=False)[0].calls
    assert all(np.isfinite(p.numpy()).all() for p in model.parameters())


def test_where_the_update_cannot_be_compiled_gradients_are(made: list[Any]) -> None:
    rates = [0.1 / (1 + n) for n in range(100)]

    def trained(**settings: Any) -> Any:
        model = network().astype("float64")
        return fitted(model=model, optimizer=optim.SGD(model, lr=lambda step: rates[int(step)]), **settings)

    (a, first), (b, second) = trained(compile=False), trained()
    assert runs(made[0]) == (4 * 6 - 3, 0) and first.learning_rate == second.learning_rate
    assert_close(a, b, 1e-7, 1e-9)


def test_hooks_are_called_at_every_step(made: list[Any]) -> None:
    seen: list[Any] = []
    model = network()
    model[0].register_forward_hook(lambda module, args, out: None if tg.is_tracing() else seen.append(out))
    fitted(model=model, dev=(X, Y))
    assert len(seen) == 4 * (6 + 1)


def test_callbacks_see_gradients(made: list[Any]) -> None:
    norms: dict[bool, list[float]] = {True: [], False: []}

    class Norms:
        def __init__(self, compile: bool) -> None:
            self.own = norms[compile]

        def on_step_end(self, run: train.Training) -> None:
            self.own.append(sum(float((p.grad**2).sum()) for p in run.model.parameters()))

    for compile in norms:
        fitted(model=network().astype("float64"), callbacks=[Norms(compile)], compile=compile)
    assert len(norms[True]) == 24 and runs(made[0])[1] == 21
    np.testing.assert_allclose(norms[True], norms[False], rtol=1e-7)


@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value")
@pytest.mark.parametrize("rate", [1e3, 1e12])
def test_a_loss_that_is_no_number_is_told_and_the_update_not_made(rate: float, made: list[Any]) -> None:
    def diverging(**settings: Any) -> Any:
        model = nn.Linear(4, 1, seed=0)
        sgd = optim.SGD(model, lr=rate)
        with pytest.raises(train.NonFiniteLossError, match="the update was not made") as raised:
            train.fit(
                model,
                (X, X[:, :1]),
                loss="mse",
                optimizer=sgd,
                epochs=9,
                batch_size=16,
                last="drop",
                progress=False,
                **settings,
            )
        assert all(p.grad is None for p in model.parameters())
        return str(raised.value).partition("(")[0], sgd.steps, model

    (told, steps, a), (again, same, b) = diverging(compile=False), diverging()
    assert (told, steps) == (again, same) and runs(made[0])[1] == steps - 3 + 1
    assert_close(a, b, 1e-3, 0.0)


def test_a_rate_that_is_none_is_told_and_the_update_not_made(made: list[Any]) -> None:
    model = network()
    sgd = optim.SGD(model, lr=lambda step: 0.1 - 0.01 * step)
    with pytest.raises(ValueError, match=r"gave -0.0.* for step 11.*finite and not negative"):
        fitted(model=model, optimizer=sgd)
    assert sgd.steps == 11 and runs(made[0])[1] >= 8


def test_labels_that_do_not_fit_are_told(made: list[Any]) -> None:
    def batches(epoch: int) -> Any:
        for n in range(8):
            yield X[:10], np.where(np.arange(10) == n - 3, 5, Y[:10])

    with pytest.raises(ValueError, match="5"):
        fitted(data=batches, batch_size=None, steps_per_epoch=8)


def test_ctrl_c_ends_after_the_step(made: list[Any], tmp_path: Any) -> None:
    class Pressing:
        def on_step_end(self, run: train.Training) -> None:
            if run.step == 9:
                signal.raise_signal(signal.SIGINT)

    _, history = fitted(callbacks=[Pressing()], run=tmp_path / "run")
    assert history.stopped == "interrupted" and len(history.learning_rate) == 9
    model, _ = fitted(callbacks=[Breaking(-1)], run=tmp_path / "run")
    whole, _ = fitted(callbacks=[Breaking(-1)])
    assert same_state(whole.state_dict(), model.state_dict())


def test_debug_nans_names_the_op(made: list[Any]) -> None:
    class Bad(nn.Module):
        def __init__(self) -> None:
            self.inner = nn.Linear(4, 2, seed=0)

        def forward(self, x: Any) -> Any:
            return self.inner(x) + tg.log(x[:, :1])  # of what is negative once

    x = np.abs(X)
    x[90] = -1.0
    with np.errstate(all="ignore"), tg.debug_nans(), pytest.raises(FloatingPointError, match="log"):
        fitted(model=Bad(), data=(x, Y), shuffle=False)


def test_sizes_that_come_once_are_not_waited_for(made: list[Any]) -> None:
    def batches(epoch: int) -> Any:
        return ((X[:n], Y[:n]) for n in (*range(20, 40), 10, 10, 10))

    fitted(data=batches, batch_size=None, epochs=1, steps_per_epoch=23)
    assert runs(made[0]) == (0, 2) and made[0].sizes == [10]


def test_last_batches_of_a_few_epochs_are_not_waited_for(made: list[Any], monkeypatch: Any) -> None:
    monkeypatch.setattr(compiled, "AGAIN", 5)

    def smaller_last(epoch: int) -> Any:
        return ((X[:n], Y[:n]) for n in (16, 16, 16, 10))

    fitted(data=smaller_last, batch_size=None, epochs=4, steps_per_epoch=4)
    assert made[0].sizes == [16] and made[0].times == {10: 4}
    assert runs(made[0]) == (0, 12 - 5) and made[0].update.stats.traces == 1
    fitted(data=smaller_last, batch_size=None, epochs=7, steps_per_epoch=4)
    assert made[1].sizes == [16, 10] and runs(made[1]) == (0, 7 * 4 - 5 - 5)


def test_no_more_sizes_are_compiled_than_so_many(made: list[Any], monkeypatch: Any) -> None:
    monkeypatch.setattr(compiled, "MOST", 4)
    sizes = list(range(2, 12))
    fitted(data=lambda epoch: ((X[:n], Y[:n]) for n in sizes), batch_size=None, epochs=3, steps_per_epoch=10)
    assert made[0].sizes == sizes[:4] and runs(made[0])[1] == 2 * 4


def test_evaluation_is_compiled_where_there_is_much_of_it(monkeypatch: Any, made: list[Any]) -> None:
    calls: list[int] = []
    run = forward.Forward.__call__

    def noted(self: Any, rows: Any) -> Any:
        found = run(self, rows)
        calls.append(self.compiled.stats.runs)
        return found

    monkeypatch.setattr(forward.Forward, "__call__", noted)
    held = RNG.normal(size=(600, 4)).astype(np.float32)
    dev = held, (held[:, 0] > held[:, 1]).astype(int)
    (_, first), (_, second) = fitted(dev=dev, compile=False), fitted(dev=dev)
    assert calls == [*range(1, 3 * 3 + 1)]  # three batches an epoch, from the second epoch on
    np.testing.assert_allclose(first["dev_loss"], second["dev_loss"], rtol=1e-4)


def test_a_model_that_draws_from_a_generator_of_its_own_trains_as_it_would(made: list[Any]) -> None:
    """Nothing draws but its batches: trying to compile them leaves the generator where it was."""

    class Noisy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rng, self.linear = np.random.default_rng(5), nn.Linear(4, 2, seed=0)

        def forward(self, x: Any) -> Any:
            return self.linear(x + self.rng.normal(size=x.shape).astype(np.float32))

    (a, first), (b, second) = (fitted(model=Noisy(), compile=c) for c in (True, False))
    assert made and runs(made[0]) == (0, 0)
    assert_close(a, b, 0.0, 0.0)
    assert first["loss"] == second["loss"] and a.rng.random() == b.rng.random()


def test_a_run_tells_what_was_compiled_and_what_is_left_to_numpy(made: list[Any], tmp_path: Any) -> None:
    run = train.Run(tmp_path / "run")
    fitted(run=run)
    told = [event for event in run.events() if event["event"] == "compiled"]
    (steps,) = made
    assert [event["samples"] for event in told] == [16] and told[0]["step"] == 3
    assert 0 < told[0]["seconds"] <= sum(steps.update.stats.seconds.values()) + 1e-9
    assert told[0]["on_numpy"] == steps.update.stats.on_numpy


@pytest.mark.skipif(not machine.available(), reason=str(machine.reason()))
def test_products_that_are_left_to_blas_are_in_the_statistics() -> None:
    x = tg.tensor(RNG.normal(size=(640, 640)))
    small, large = tg.compile(lambda x: x[:8] @ x + 1.0), tg.compile(lambda x: x @ x + 1.0)
    small(x), large(x)
    assert small.stats.on_numpy == "" and "on NumPy" not in str(small.stats)
    assert "BLAS is faster for 640 x 640 by 640 x 640" in large.stats.on_numpy and "BLAS" in str(large.stats)
