"""Many networks in one batched step: the same numbers as alone, and none disturbs another."""

import os
import signal
from functools import partial

import numpy as np
import pytest

import tensorgraph as tg
from tensorgraph import nn, optim, train, tune
from tensorgraph.data import Normalizer
from tensorgraph.native import machine
from tensorgraph.tune.ensembles import lanes, together

RNG = np.random.default_rng(0)
X = RNG.normal(size=(75, 6)) + 0.5
Y = X[:, :3].argmax(axis=1)
HELD = X[:20] + 0.1, Y[:20]
COMMON = dict(epochs=3, batch_size=16)  # the last batch is merged: 16, 16, 16, 27


def network(seed, rate=0.0, units=8, dtype="float64"):
    layers = [nn.Linear(6, units, bias=False, seed=seed, dtype=dtype), nn.BatchNorm(units, dtype=dtype), nn.ReLU()]
    if rate:
        layers.append(nn.Dropout(rate, seed=seed + 1))
    return nn.Sequential(*layers, nn.Linear(units, 3, seed=seed + 2, dtype=dtype))


def alone(setting, build, make=network, loss=None, data=(X, Y), **options):
    """What `fit` makes of one setting."""
    model = make(**{name: v for name, v in setting.items() if name in ("seed", "rate", "units", "dtype")})
    optimizer = build(model.parameters(), setting)
    options = COMMON | {"batch_size": setting.get("batch_size", COMMON["batch_size"])} | options
    history = train.fit(model, data, optimizer=optimizer, loss=loss, seed=setting["seed"], progress=False, **options)
    return model, optimizer, history


def assert_near(got, expected, tolerance):
    assert list(got) == list(expected)
    for name, value in expected.items():
        value, own = np.asarray(value), np.asarray(got[name])
        assert own.dtype == value.dtype and own.shape == value.shape, name
        if value.dtype.kind == "f":
            assert np.isfinite(own).all(), name
            assert np.abs(own - value).max() <= tolerance * max(1.0, np.abs(value).max()), name
        else:
            assert np.array_equal(own, value), name


def assert_as_alone(found, k, lonely, tolerance=1e-11):
    model, optimizer, history = lonely
    assert_near(found.model(k).state_dict(), model.state_dict(), tolerance)
    assert_near(found.optimizer(k).state_dict(), optimizer.state_dict(), tolerance)
    got = found.histories[k]
    assert_near(got.values, history.values, tolerance)
    assert got.stopped == history.stopped == "epochs" and len(got.learning_rate) == len(history.learning_rate)
    assert np.allclose(got.learning_rate, history.learning_rate, rtol=1e-12)


def check(settings, optimizer, build, shapes=1, tolerance=1e-11, make=network, loss=None, alone_loss=None,
          data=(X, Y), **options):  # fmt: skip
    found = tune.ensemble(make, data, settings=settings, optimizer=optimizer, loss=loss, **COMMON | options)
    assert len(found.shapes) == shapes
    assert sorted(k for group in found.shapes for k in group) == list(range(len(settings)))
    for k, setting in enumerate(settings):
        own = alone_loss(setting) if alone_loss else loss
        assert_as_alone(found, k, alone(setting, build, make, own, data, **options), tolerance)
    return found


SEEDS = [{"seed": k, "lr": 0.01 * (k + 1)} for k in range(4)]
RULES = {
    "sgd": (optim.SGD, {"weight_decay": [0.0, 0.1, 0.0, 0.2]}),
    "momentum": (optim.Momentum, {"beta": [0.9, 0.5, 0.0, 0.99], "weight_decay": [0.0, 0.1, 0.0, 0.2]}),
    "rmsprop": (optim.RMSprop, {"decay": [0.9, 0.99, 0.5, 0.9], "eps": [1e-8, 1e-6, 1e-8, 1e-3]}),
    "adam": (optim.Adam, {"beta1": [0.9, 0.5, 0.0, 0.9], "beta2": [0.999, 0.99, 0.9, 0.999]}),
    "adamw": (optim.AdamW, {"weight_decay": [0.0, 0.1, 0.5, 0.01]}),
}


@pytest.fixture(params=["kernels", "numpy"])
def way(request, monkeypatch):
    """Steps by kernels, and where there are none."""
    if request.param == "numpy":
        monkeypatch.setattr(machine, "reason", lambda: "it is not wanted")


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("name", RULES)
def test_each_is_as_alone(name):
    rule, columns = RULES[name]
    settings = [{**one, **{key: column[k] for key, column in columns.items()}} for k, one in enumerate(SEEDS)]

    def build(parameters, setting):
        return rule(parameters, **{key: setting[key] for key in ("lr", *columns)})

    check(settings, name, build, dev=HELD)


@pytest.mark.parametrize("name", RULES)
def test_without_kernels_too(name):
    rule, columns = RULES[name]
    settings = [{**one, **{key: column[k] for key, column in columns.items()}} for k, one in enumerate(SEEDS[:3])]
    settings.append({**settings[0], "lr": 1e300})
    with tg.implementation("composed"):
        found = tune.ensemble(network, (X, Y), settings=settings, optimizer=name, **COMMON)
        for k, setting in enumerate(settings[:3]):
            own = {key: setting[key] for key in ("lr", *columns)}
            assert_as_alone(found, k, alone(setting, lambda p, s, own=own: rule(p, **own)))
    for state in states(found)[3].values():
        assert np.isfinite(state.astype(np.float64)).all()


class Keeps(nn.Module):
    """Keeps what its weight was before the step."""

    def __init__(self, seed):
        self.layer = nn.Linear(6, 3, seed=seed, dtype="float64")
        self.before = tg.Buffer(np.zeros((6, 3)))

    def forward(self, x):
        self.before.assign(self.layer.weight.detach())
        return self.layer(x)


def test_a_buffer_keeps_what_a_parameter_was():
    found = check(SEEDS, "sgd", lambda p, s: optim.SGD(p, lr=s["lr"]), make=Keeps)
    assert not np.array_equal(found.model(0).before.numpy(), found.model(0).layer.weight.numpy())


def test_in_float32_to_rounding():
    settings = [{**one, "dtype": "float32", "rate": 0.3} for one in SEEDS]
    check(settings, "adam", lambda p, s: optim.Adam(p, lr=s["lr"]), tolerance=2e-5, dev=HELD)


def test_rates_of_dropout_differ_inside_one_graph():
    settings = [{**one, "rate": 0.1 + 0.2 * k} for k, one in enumerate(SEEDS)]
    check(settings, "adam", lambda p, s: optim.Adam(p, lr=s["lr"]), dev=HELD)
    # without dropout there is no draw: another shape
    settings[1]["rate"] = 0.0
    check(settings, "adam", lambda p, s: optim.Adam(p, lr=s["lr"]), shapes=2)


@pytest.mark.usefixtures("way")
def test_schedules_limits_and_groups():
    def schedule(lr):
        return optim.warmup(3) * optim.cosine(lr, 12)

    found = check(SEEDS, lambda p, lr: optim.Adam(p, lr=schedule(lr)), lambda p, s: optim.Adam(p, lr=schedule(s["lr"])))
    assert len(set(found.histories[0].learning_rate)) > 5
    limits = [{**one, "clip_norm": 0.1 * (k + 1), "clip_value": 0.05 * (k + 1)} for k, one in enumerate(SEEDS)]
    check(limits, "sgd", lambda p, s: optim.SGD(p, lr=s["lr"], clip_norm=s["clip_norm"], clip_value=s["clip_value"]))

    def groups(p, lr):
        first = {"parameters": p[:1], "lr": optim.piecewise([4], [lr, lr / 2]), "weight_decay": lr}
        return optim.Momentum([first, {"parameters": p[1:]}], lr=lr, nesterov=True)

    check(SEEDS, groups, lambda p, s: groups(p, s["lr"]))

    # a schedule that looks at its count is no graph, and one that all share is one
    def by_hand(step):
        return 0.1 if float(step) < 3 else 0.01

    shared = optim.exponential(0.05, 0.9)
    for rate in (by_hand, shared):
        seeds = [{"seed": one["seed"]} for one in SEEDS[:2]]
        check(seeds, lambda p, rate=rate: optim.SGD(p, lr=rate), lambda p, s, rate=rate: optim.SGD(p, lr=rate))


def test_what_cannot_differ_inside_one_graph_is_grouped():
    settings = [
        {"seed": 0, "lr": 0.01}, {"seed": 1, "lr": 0.02, "units": 5}, {"seed": 2, "lr": 0.03, "batch_size": 20},
        {"seed": 3, "lr": 0.04, "units": 5},
    ]  # fmt: skip
    found = check(settings, "rmsprop", lambda p, s: optim.RMSprop(p, lr=s["lr"]), shapes=3)
    assert found.shapes == [[0], [1, 3], [2]]
    assert "3 shapes" in repr(found)


def test_losses_with_numbers_of_each_network():
    def loss(outputs, y, smoothing, weights):
        return tg.softmax_cross_entropy(outputs, y, tg.tensor(weights), label_smoothing=smoothing)

    settings = [{**one, "smoothing": 0.1, "weights": (1.0, 2.0, 0.5 * (k + 1))} for k, one in enumerate(SEEDS)]
    found = check(
        settings, "adam", lambda p, s: optim.Adam(p, lr=s["lr"]), loss=loss, dev=HELD,
        alone_loss=lambda s: partial(loss, smoothing=s["smoothing"], weights=s["weights"]),
    )  # fmt: skip
    assert found.settings[2]["weights"] == (1.0, 2.0, 1.5)


def test_regression():
    y = (X[:, :2] ** 2).sum(axis=1, keepdims=True)

    def make(seed):
        return nn.Sequential(nn.Linear(6, 7, seed=seed, dtype="float64"), nn.Tanh(), nn.Linear(7, 1, dtype="float64"))

    def loss(outputs, y):
        return ((outputs - y) ** 2).mean()

    def made(seed):
        tg.random.seed(seed)  # the second layer draws from the process-wide generator
        return make(seed)

    check(SEEDS, "sgd", lambda p, s: optim.SGD(p, lr=s["lr"]), make=made, loss=loss, data=(X, y), metrics=(),
          dev=(X[:9], y[:9]), last="keep")  # fmt: skip


def test_samples_in_one_order_and_changed_samples():
    one = [{"seed": 5, "lr": 0.01 * (k + 1)} for k in range(3)]  # the rows of a batch are the same
    check(one, "adam", lambda p, s: optim.Adam(p, lr=s["lr"]), last="drop")
    check(SEEDS, "adam", lambda p, s: optim.Adam(p, lr=s["lr"]), shuffle=False)

    def noisy(rows, rng):
        return rows + rng.normal(size=rows.shape)

    normalizer = Normalizer().fit(X)
    check(SEEDS, "adam", lambda p, s: optim.Adam(p, lr=s["lr"]), normalizer=normalizer, augment=noisy, dev=HELD)
    check(SEEDS[:2], "adam", lambda p, s: optim.Adam(p, lr=s["lr"]), normalizer=normalizer)


def states(found):
    return [found.model(k).state_dict() | found.optimizer(k).state_dict() for k in range(len(found))]


def same_bits(a, b):
    return list(a) == list(b) and all(a[name].tobytes() == b[name].tobytes() for name in a)


@pytest.mark.usefixtures("way")
def test_one_that_diverges_stops_and_disturbs_nobody():
    settings = [{"seed": k, "lr": 0.1} for k in range(5)]
    wild = [dict(one, lr=1e200) if k == 2 else one for k, one in enumerate(settings)]
    calm = tune.ensemble(network, (X, Y), settings=settings, optimizer="sgd", dev=HELD, **COMMON)
    found = tune.ensemble(network, (X, Y), settings=wild, optimizer="sgd", dev=HELD, **COMMON)
    assert list(found.stopped) == [2] and "1 stopped early" in repr(found)
    reason = found.stopped[2]
    assert reason.startswith("diverged at step ") and reason.endswith(("loss inf", "loss nan"))
    history = found.histories[2]
    assert len(history) == 0 and len(history.learning_rate) == int(reason.split()[3].rstrip(":")) - 1
    for k in (0, 1, 3, 4):
        assert same_bits(states(found)[k], states(calm)[k])
        assert found.histories[k].values == calm.histories[k].values
    # it is as before the step whose loss was not finite: what as many steps of `fit` make of it
    steps = len(history.learning_rate)
    model, optimizer = network(2), None
    optimizer = optim.SGD(model.parameters(), lr=1e200)
    with np.errstate(all="ignore"):
        for n, rows in enumerate(np.split(train_order(2, 0), [16, 32, 48])[:steps]):
            assert n < steps
            optimizer.minimize(tg.softmax_cross_entropy(model(tg.tensor(X[rows])), Y[rows]))
    assert_near(found.model(2).state_dict(), model.state_dict(), 1e-9)
    assert found.best("dev_loss")[0] != 2


def train_order(seed, epoch):
    return np.random.default_rng([seed, epoch]).permutation(len(X))


@pytest.mark.usefixtures("way")
def test_all_may_diverge():
    seen = []
    found = tune.ensemble(
        network, (X, Y), settings=[{"seed": 0, "lr": 1e250}], optimizer="sgd", dev=HELD,
        prune=lambda epoch, values: seen.append(values), **COMMON,
    )  # fmt: skip
    assert 0 in found.stopped and len(seen) == 1 and np.isnan(seen[0]["dev_loss"]).all()
    with pytest.raises(ValueError, match="no network came to its end"):
        found.best("loss")
    with pytest.raises(ValueError, match="no network came to its end"):
        found.predict(X, average=True)


@pytest.mark.usefixtures("way")
def test_pruning():
    seen = []

    def prune(epoch, values):
        seen.append((epoch, {name: column.copy() for name, column in values.items()}))
        return [1, np.int64(3)] if epoch == 0 else None

    found = tune.ensemble(network, (X, Y), settings=SEEDS, prune=prune, dev=HELD, **COMMON)
    whole = tune.ensemble(network, (X, Y), settings=SEEDS, dev=HELD, **COMMON)
    assert found.stopped == {1: "pruned", 3: "pruned"} and [len(h) for h in found.histories] == [3, 1, 3, 1]
    assert [epoch for epoch, _ in seen] == [0, 1, 2] and set(seen[0][1]) == set(found.histories[0].values)
    assert np.isfinite(seen[0][1]["dev_loss"]).all()
    assert np.isnan(seen[1][1]["dev_loss"]).tolist() == [False, True, False, True]
    assert same_bits(states(found)[0], states(whole)[0]) and same_bits(states(found)[2], states(whole)[2])
    first = tune.ensemble(network, (X, Y), settings=SEEDS, dev=HELD, epochs=1, batch_size=16)
    assert same_bits(states(found)[1], states(first)[1])
    with pytest.raises(ValueError, match="prune gave 7: the networks are numbered from 0 to 3"):
        tune.ensemble(network, (X, Y), settings=SEEDS, prune=lambda epoch, values: [7], **COMMON)


@pytest.mark.usefixtures("way")
def test_how_the_work_is_cut_up_changes_no_bit(monkeypatch):
    settings = [{"seed": k, "lr": 0.01, "rate": 0.1 * (k + 1)} for k in range(6)]
    once = tune.ensemble(network, (X, Y), settings=settings, threads=1, dev=HELD, **COMMON)
    monkeypatch.setattr(together, "TOGETHER", 1)
    monkeypatch.setattr(together, "FEWEST", 2)
    cut = tune.ensemble(network, (X, Y), settings=settings, threads=3, dev=HELD, **COMMON)
    assert all(map(same_bits, states(once), states(cut)))
    assert [h.values for h in once.histories] == [h.values for h in cut.histories]


def test_ctrl_c_ends_all_after_a_step():
    def prune(epoch, values):
        if epoch == 1:
            os.kill(os.getpid(), signal.SIGINT)

    found = tune.ensemble(network, (X, Y), settings=SEEDS, prune=prune, epochs=50, batch_size=16)
    assert set(found.stopped.values()) == {"interrupted"} and all(len(h) == 2 for h in found.histories)


def test_what_is_found():
    found = tune.ensemble(network, (X, Y), settings=SEEDS, dev=HELD, **COMMON)
    outputs = found.predict(HELD[0])
    assert outputs.shape == (4, 20, 3)
    for k in range(4):
        assert np.abs(outputs[k] - train.predict(found.model(k), HELD[0])).max() < 1e-12
    assert np.allclose(found.predict(HELD[0], average=True), outputs.mean(axis=0))
    k, value = found.best("dev_accuracy")
    assert value == max(h["dev_accuracy"][-1] for h in found.histories) == found.histories[k]["dev_accuracy"][-1]
    assert len(found) == 4 and repr(found) == "Ensemble(4 networks, 3 epochs)" and not found.stopped
    many = np.concatenate([X] * 5)  # more rows than are computed at once
    assert np.abs(found.predict(many)[1] - train.predict(found.model(1), many)).max() < 1e-12
    with pytest.raises(IndexError, match="there are 4 networks, numbered from 0; got 4"):
        found.model(4)
    with pytest.raises(ValueError, match="pass x\\[None\\]"):
        found.predict(1.0)
    with pytest.raises(KeyError, match="the history holds"):
        found.best("accuracies")


class Noise(nn.Module):
    def forward(self, x):
        return x + tg.random.normal(shape=x.shape)


class Counting(nn.Module):
    def forward(self, x):
        COUNT.assign(COUNT + 1)
        return x


COUNT = tg.Buffer(np.array(0), name="count")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(settings=[]), "there are no settings"),
        (dict(settings=[{"seed": 0, "unit": 3}]), "setting 0 has 'unit', which nobody takes"),
        (dict(settings=[{"seed": -1}]), "setting 0: seed is a whole number of at least 0, got -1"),
        (dict(settings=[{"seed": 0, "batch_size": 0}]), "batch_size is a whole number of at least 1, got 0"),
        (dict(optimizer="adams"), "there is no optimizer 'adams'; there are sgd, momentum"),
        (dict(optimizer=optim.SGD(network(0))), "optimizer is one optimizer already|optimizer must be"),
        (dict(make=lambda seed: np.tanh), "make must give a Module, got ufunc"),
        (dict(optimizer=lambda p: p), "optimizer must give an optimizer of the parameters, got list"),
        (dict(loss=lambda out, y: out), "the loss must be one number as a tensor, got shape"),
        (dict(make=lambda seed: nn.Sequential(network(seed), Noise())), "draws from the process-wide generator"),
        (dict(make=lambda seed: nn.Sequential(network(seed), Counting())), "writes the cell 'count'"),
        (dict(data=(X, Y + 0.5)), "compares integer labels"),
        (dict(settings=[{"seed": 0}, {"seed": 1, "dtype": "float32"}]), "the models compute in float32, float64"),
    ],
)
def test_refusals(change, message):
    options = dict(make=network, data=(X, Y), settings=[{"seed": 0}], epochs=1) | change
    with pytest.raises((ValueError, TypeError), match=message):
        tune.ensemble(**options)


def test_an_error_names_the_network():
    def make(seed, units):
        return network(seed, units=units)

    with pytest.raises(ValueError, match="outputs") as caught:
        tune.ensemble(make, (X, Y), settings=[{"seed": 0, "units": 3}, {"seed": 1, "units": 0}], epochs=1)
    assert any("network 1 of the ensemble" in note for note in caught.value.__notes__)


@pytest.mark.usefixtures("way")
def test_those_that_were_stopped_are_left_behind_and_no_bit_changes(monkeypatch):
    """Half of them, one by diverging, then half of the rest; with a schedule and dropout of several rates."""
    settings = [{"seed": k, "lr": 0.01 * (k + 1), "rate": 0.05 * (k + 1)} for k in range(8)]
    settings[2]["lr"] = 1e200

    def prune(epoch, values):
        assert values["loss"].shape == (8,) and values["dev_loss"].shape == (8,)
        return {0: [1, 3, 5], 2: [1, 6, 7]}.get(epoch)

    def ran():
        optimizer = lambda p, lr: optim.Momentum(p, lr=optim.cosine(lr, 40))
        return tune.ensemble(
            network, (X, Y), settings=settings, optimizer=optimizer, prune=prune, dev=HELD, epochs=6, batch_size=16
        )

    sizes = []
    real = lanes.Lanes.keep
    monkeypatch.setattr(lanes.Lanes, "keep", lambda own, left: sizes.append(len(left)) or real(own, left))
    once = ran()
    assert not sizes  # too little is left to do
    monkeypatch.setattr(together, "WORTH", 1)
    cut = ran()
    assert sizes == [4, 2]
    assert all(map(same_bits, states(once), states(cut)))
    for a, b in zip(once.histories, cut.histories, strict=True):
        assert (a.values, a.learning_rate, a.stopped) == (b.values, b.learning_rate, b.stopped)
    assert [cut.optimizer(k).epoch for k in range(8)] == [once.optimizer(k).epoch for k in range(8)]
    assert cut.stopped == once.stopped and set(cut.stopped.values()) >= {"pruned"} and "diverged" in cut.stopped[2]


class Noisy(nn.Module):
    def __init__(self, seed):
        super().__init__()
        self.linear, self.rng = nn.Linear(6, 3, seed=seed, dtype="float64"), np.random.default_rng(seed)

    def forward(self, x):
        return self.linear(x + self.rng.normal(size=x.shape))


def test_steps_that_draw_from_generators_of_others_are_refused():
    """Their numbers would be those of the first step, for ever."""
    rng = np.random.default_rng(0)
    for make, loss, name in (
        (Noisy, None, r"Noisy\.rng"),
        (network, lambda out, y: tg.softmax_cross_entropy(out + rng.normal(), y), "rng"),
        (network, lambda out, y: tg.softmax_cross_entropy(out * np.random.rand(), y), r"numpy\.random"),  # noqa: NPY002
    ):
        with pytest.raises(tg.TraceError, match=rf"network 0 draws from {name}.*tensorgraph\.random"):
            tune.ensemble(make, (X, Y), settings=[{"seed": 1}, {"seed": 2}], loss=loss, **COMMON)
