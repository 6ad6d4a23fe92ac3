"""What `fit` takes by name, batches of one's own, several an update, weights of classes, the lint of the first."""

import threading

import numpy as np
import pytest
from training_helpers import clouds, same_state, small, trained_by

import tensorgraph as tg
from tensorgraph import nn, optim
from tensorgraph.data import Dataset, Loader, Normalizer, open_csv, open_npy, split
from tensorgraph.train import History, Run, class_weights, evaluate, fit, predict


def line(n=48, outputs=1, dtype="float32", seed=0):
    """A regression: three features, so many outputs; and a linear model."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3)).astype(dtype)
    y = (x @ rng.normal(size=(3, outputs)) + 0.5).astype(dtype)
    return nn.Sequential(nn.Linear(3, outputs, seed=0, dtype=dtype)), (x, y)


def plain(features=3, seed=0, dtype="float32"):
    """A network without batch norm, whose samples do not know of one another."""
    return nn.Sequential(
        nn.Linear(features, 8, seed=seed, dtype=dtype), nn.Tanh(), nn.Linear(8, 2, seed=seed + 1, dtype=dtype)
    )


def run(model=None, data=None, **options):
    model = small() if model is None else model
    settings = dict(optimizer="adam", lr=0.05, epochs=2, progress=False) | options
    return model, fit(model, clouds() if data is None else data, **settings)


# by name -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sgd", "momentum", "rmsprop", "adam", "adamw"])
def test_an_optimizer_by_name_is_the_one_made(name):
    made = small()
    kinds = {"sgd": optim.SGD, "momentum": optim.Momentum, "rmsprop": optim.RMSprop, "adam": optim.Adam}
    kind = kinds.get(name, optim.AdamW)
    run(made, optimizer=kind(made.parameters(), lr=0.05), lr=None)
    assert same_state(run(optimizer=name)[0].state_dict(), made.state_dict())
    default = small()
    run(default, optimizer=kind(default.parameters()), lr=None)
    assert same_state(run(optimizer=name, lr=None)[0].state_dict(), default.state_dict())


def test_a_schedule_goes_with_a_name():
    _, history = run(optimizer="sgd", lr=optim.cosine(0.1, 6), batch_size=16)
    np.testing.assert_allclose(history.learning_rate, 0.05 * (1 + np.cos(np.pi * np.arange(6) / 6)), rtol=1e-6)


@pytest.mark.parametrize("name", ["mse", "mae", "huber", "smooth_l1", "mse_loss"])
@pytest.mark.parametrize("column", [True, False])
def test_a_regression_by_names(name, column):
    model, (x, y) = line()
    y = y if column else y[:, 0]
    _, history = run(model, (x, y), dev=(x, y), loss=name, epochs=60, lr=0.1, metrics=("mae", "rmse", "r2"))
    assert list(history.values) == [f"{d}{m}" for d in ("", "dev_") for m in ("loss", "mae", "rmse", "r2")]
    assert history["dev_r2"][-1] > 0.99
    measured = evaluate(model, (x, y), loss=name)
    assert list(measured) == ["loss", "r2"] and measured["loss"] == history["dev_loss"][-1]
    outputs = predict(model, x)
    assert measured["loss"] == float(getattr(tg, name)(outputs, y.reshape(outputs.shape)))


def test_a_loss_by_name_trains_as_its_function():
    model, data = line()
    other, _ = line()
    run(model, data, loss="huber")
    run(other, data, loss=tg.huber, metrics=())
    assert same_state(model.state_dict(), other.state_dict())
    assert same_state(run()[0].state_dict(), run(loss="softmax_cross_entropy")[0].state_dict())


def test_what_is_measured_unless_said():
    model, (x, y) = line()
    assert list(run()[1].values) == ["loss", "accuracy"]
    assert list(run(model, (x, y), loss="mae")[1].values) == ["loss", "r2"]
    assert list(run(model, (x, y), loss=tg.mse)[1].values) == ["loss"]
    one = nn.Sequential(nn.Linear(3, 1, seed=0))
    assert list(run(one, (x, (y > 0)[:, 0].astype(int)), loss="sigmoid_cross_entropy")[1].values) == ["loss"]
    assert list(run(loss=lambda z, t: tg.softmax_cross_entropy(z, t))[1].values) == ["loss", "accuracy"]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (dict(loss="msee"), ValueError, "loss 'msee' is unknown; did you mean 'mse'?"),
        (dict(loss="categorical_crossentropy"), ValueError, "did you mean 'softmax_cross_entropy'?"),
        (dict(loss="quality"), ValueError, "known are softmax_cross_entropy, nll, .*or pass a function"),
        (dict(loss="mse"), ValueError, "target needs the shape"),
        (dict(optimizer="adma"), ValueError, "optimizer 'adma' is unknown; did you mean 'adam'?"),
        (dict(optimizer="nadam9"), ValueError, r"known are sgd, momentum.*optim.Adam\(...\)"),
        (dict(optimizer=trained_by(small())), ValueError, "lr= goes with the name of an optimizer"),
        (dict(steps_per_epoch=3), ValueError, "steps_per_epoch goes with batches of your own"),
        (dict(class_weights="balancd"), ValueError, "class_weights is 'balanced', a dict"),
        (dict(class_weights={"hihg": 2.0}), ValueError, "there is no class 'hihg'; did you mean 'high'?"),
        (dict(class_weights={2: 2.0}), ValueError, "2 is no label; the model gives 2 classes, 0 to 1"),
        (dict(class_weights=[1.0]), ValueError, r"shape \(1,\), expected one number a class, \(2,\)"),
        (dict(class_weights=[0.0, 0.0]), ValueError, "not all 0"),
        (dict(class_weights={0: -1.0}), ValueError, "class_weights"),
        (dict(class_weights="balanced", loss=tg.softmax_cross_entropy), ValueError, "has them inside"),
        (dict(accumulate=0), ValueError, "accumulate must be a positive integer"),
        (dict(prefetch=-1), ValueError, "prefetch must be a non-negative integer"),
        (dict(batch_size=[16, 0]), ValueError, r"batch_size\[1\] must be a positive integer"),
        (dict(batch_size=[16, 47], last="keep"), ValueError, "more than one value per channel"),
    ],
)
def test_what_is_wrong_is_told_before_anything_changes(options, error, message):
    model = small()
    before = model.state_dict()
    with pytest.raises(error, match=message):
        run(model, **options)
    assert same_state(before, model.state_dict())


def test_a_plain_function_has_no_parameters_to_find():
    w = tg.Parameter(np.zeros(3, np.float32), name="w")
    with pytest.raises(TypeError, match=r"the model is a plain function: make it with its parameters, optim\.Adam"):
        run(lambda x: x @ w)


# weights of classes --------------------------------------------------------------------------------------------------


def test_balanced_weights_count_every_class_the_same():
    y = np.array([0] * 6 + [1] * 2 + [3])
    weights = class_weights(y, 5)
    np.testing.assert_allclose(weights * np.bincount(y, minlength=5), [3, 3, 0, 3, 0], rtol=1e-15)
    assert weights[2] == weights[4] == 1.0 and weights[y].mean() == pytest.approx(1.0)
    assert len(class_weights(y)) == 4
    for wrong, message in ((y.astype(float), "integer labels"), (y - 1, "from -1 to 2"), (y[:0], "at least one label")):
        with pytest.raises((TypeError, ValueError), match=message):
            class_weights(wrong)
    with pytest.raises(ValueError, match="from 0 to 3, expected 0 to 2"):
        class_weights(y, 3)


def test_weights_are_those_of_the_loss_and_one_however_they_are_given():
    data = clouds()
    weights = class_weights(data.y)

    def weighted(outputs, y):
        return tg.softmax_cross_entropy(outputs, y, weights.astype(np.float32))

    options = dict(batch_size=16, dev=data)
    model, history = run(loss=weighted, **options)
    for given in (
        "balanced",
        {0: weights[0], 1: weights[1]},
        {"low": weights[0], "high": weights[1]},
        weights.tolist(),
    ):
        other, same = run(class_weights=given, **options)
        assert same_state(model.state_dict(), other.state_dict())
        assert same["dev_loss"] == history["dev_loss"]
    # an epoch's loss is the mean by weight, not that of the batches' means
    sgd = optim.SGD(plain(), lr=0.0)
    still = plain()
    _, history = run(still, optimizer=optim.SGD(still, lr=0.0), lr=None, class_weights="balanced", batch_size=16)
    assert sgd.lr == 0.0
    assert history["loss"][0] == pytest.approx(float(weighted(predict(still, data.x), data.y)), rel=1e-6)


# several batches an update --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"class_weights": "balanced"}, {"loss": "softmax_cross_entropy"}])
def test_four_batches_are_one_four_times_as_large(options):
    data = Dataset(clouds(64).x, clouds(64).y)
    large, small_ones = plain(dtype="float64"), plain(dtype="float64")
    _, a = run(large, data, batch_size=16, epochs=3, **options)
    _, b = run(small_ones, data, batch_size=4, accumulate=4, epochs=3, **options)
    assert len(a.learning_rate) == len(b.learning_rate) == 12
    for p, q in zip(large.parameters(), small_ones.parameters()):
        np.testing.assert_allclose(p.numpy(), q.numpy(), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(a["loss"], b["loss"], rtol=1e-12)
    assert a["accuracy"] == b["accuracy"]


def test_batches_of_other_sizes_count_by_their_samples():
    """40 samples: updates of 3·8 and 2·8; with last="keep" and 7 of 6, the last has 4."""
    data = Dataset(clouds(40).x, clouds(40).y)
    by_hand, model = plain(dtype="float64"), plain(dtype="float64")
    sgd = optim.SGD(by_hand, lr=0.1)
    order = Loader(data, batch_size=6, seed=0).order(0)
    for start, stop in ((0, 24), (24, 40)):
        rows = order[start:stop]
        sgd.minimize(tg.softmax_cross_entropy(by_hand(tg.tensor(data.x[rows], "float64")), data.y[rows]))
    run(model, data, optimizer="sgd", lr=0.1, batch_size=6, last="keep", accumulate=4, epochs=1)
    for p, q in zip(by_hand.parameters(), model.parameters()):
        np.testing.assert_allclose(p.numpy(), q.numpy(), rtol=1e-12, atol=1e-14)


def test_one_batch_an_update_is_as_ever_and_callbacks_count_updates():
    steps = []

    class Listen:
        def on_step_end(self, training):
            steps.append((training.step, training.batch))

    model, history = run(batch_size=8, accumulate=4, callbacks=[Listen()])
    assert steps == [(1, 4), (2, 6), (3, 4), (4, 6)] and len(history.learning_rate) == 4
    assert same_state(run(batch_size=8, accumulate=1)[0].state_dict(), run(batch_size=8)[0].state_dict())


def test_batches_that_weigh_nothing_change_nothing():
    data = Dataset(np.zeros((8, 3)), np.array([0, 0, 0, 0, 1, 1, 1, 1]))
    model = plain()
    before = model.state_dict()
    with pytest.warns(RuntimeWarning, match="no label counts"):
        run(model, (data.x[:4], data.y[:4]), class_weights={0: 0.0}, batch_size=2, accumulate=2, epochs=1)
    assert same_state(before, model.state_dict())


# batch sizes that change ----------------------------------------------------------------------------------------------


def test_a_batch_size_of_each_epoch():
    counted = []

    class Listen:
        def on_epoch_end(self, training):
            counted.append(training.step)

    sizes = [8, 16, 48]
    a, _ = run(batch_size=sizes, epochs=4, callbacks=[Listen()])
    assert counted == [6, 9, 10, 11]
    b, _ = run(batch_size=lambda epoch: sizes[min(epoch, 2)], epochs=4)
    assert same_state(a.state_dict(), b.state_dict())


# batches of one's own -------------------------------------------------------------------------------------------------


def test_batches_of_a_loader_are_those_of_its_arrays():
    data = clouds()
    a, whole = run(data=data, batch_size=16, seed=3, last="keep")
    loader = Loader(data.x, data.y, batch_size=16, seed=3, dtype="float64")
    b, own = run(data=loader, dev=None)
    assert same_state(a.state_dict(), b.state_dict()) and whole.values == own.values
    c, _ = run(data=lambda epoch: iter([loader, setattr(loader, "epoch", epoch)][0]), steps_per_epoch=3)
    assert same_state(a.state_dict(), c.state_dict())


def test_iterators_go_on_and_functions_begin_anew():
    data = clouds()
    made = []

    def batches(epoch):
        made.append(epoch)
        rng = np.random.default_rng(epoch)
        while True:
            rows = rng.integers(48, size=rng.integers(2, 9))  # of mixed sizes
            yield data.x[rows], data.y[rows]

    a, history = run(data=batches, steps_per_epoch=5, augment=lambda x, rng: x + 1.0)
    assert made == [0, 0, 1] and len(history.learning_rate) == 10

    def endless():
        for epoch in range(2):
            source = batches(epoch)
            for _ in range(5):
                yield next(source)

    b, _ = run(data=endless(), steps_per_epoch=5, augment=lambda x, rng: x + 1.0)
    c, _ = run(data=endless, steps_per_epoch=5, epochs=1, augment=lambda x, rng: x + 1.0)
    assert same_state(a.state_dict(), b.state_dict()) and not same_state(b.state_dict(), c.state_dict())


def test_batches_are_normalised_and_made_ahead():
    data = clouds()
    scaled = data.x * [1.0, 100.0, 0.01] + 3.0
    normalizer = Normalizer().fit(scaled)
    a, _ = run(data=(scaled, data.y), normalizer=normalizer, batch_size=16, seed=1)
    loader = Loader(scaled, data.y, batch_size=16, seed=1, dtype="float64")
    b, _ = run(data=loader, normalizer=normalizer, prefetch=2)
    c, _ = run(data=(scaled, data.y), normalizer=normalizer, batch_size=16, seed=1, prefetch=1)
    assert same_state(a.state_dict(), b.state_dict()) and same_state(a.state_dict(), c.state_dict())

    class Fail:
        def on_step_end(self, training):
            raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        run(data=loader, prefetch=2, callbacks=[Fail()])
    assert not [t for t in threading.enumerate() if t.name == "tensorgraph-prefetch"]


def pairs(*sizes, x=3, y="i8"):
    for n in sizes:
        yield np.zeros((n, x)) + np.arange(n)[:, None], np.zeros(n, y)


@pytest.mark.parametrize(
    ("data", "options", "error", "message"),
    [
        (lambda: pairs(4, 4), {}, ValueError, "data is a function that gives batches.*pass steps_per_epoch="),
        (pairs(4, 4), {}, ValueError, "data is an iterator that gives batches.*pass steps_per_epoch="),
        (pairs(4, 4), dict(steps_per_epoch=2), ValueError, "data ended after 0 of the 2 batches of epoch 2; make more"),
        (lambda: pairs(4), dict(steps_per_epoch=2), ValueError, "data ended after 1 of the 2 batches of epoch 1"),
        (lambda: 3, dict(steps_per_epoch=2), TypeError, "must give an iterable of batches, got int"),
        (lambda: iter([]), dict(steps_per_epoch=2), ValueError, "data gave no batch"),
        (iter([3]), dict(steps_per_epoch=1), TypeError, r"batch 1 of epoch 1 must be a pair \(x, y\), got a int"),
        (iter([(1, 2, 3)]), dict(steps_per_epoch=1), TypeError, "got a tuple of 3"),
        (pairs(0), dict(steps_per_epoch=1), ValueError, "batch 1 of epoch 1 holds no samples"),
        (iter([([[np.nan] * 3], [0])]), dict(steps_per_epoch=1), ValueError, "batch 1 of epoch 1: x holds nan"),
        (iter([([[1.0]], [0, 1])]), dict(steps_per_epoch=1), ValueError, "different numbers of samples"),
        (iter([*pairs(4), *pairs(4, x=2)]), dict(steps_per_epoch=2), ValueError, "batch 2 of epoch 1 holds.*the first"),
        (iter([*pairs(4), *pairs(4, y="f4")]), dict(steps_per_epoch=2), ValueError, "all must be of one kind"),
        (pairs(4, x=2), dict(steps_per_epoch=1), ValueError, "takes 3 features"),
        (pairs(4), dict(steps_per_epoch=1, batch_size=3), ValueError, "batch_size goes with arrays"),
        (pairs(4), dict(steps_per_epoch=1, class_weights="balanced"), ValueError, "counts all labels"),
        ({}, {}, TypeError, "or batches: an iterable of pairs"),
        ("abc", {}, TypeError, "or batches: an iterable of pairs"),
    ],
)  # fmt: skip
def test_batches_that_are_none_are_told(data, options, error, message):
    with pytest.raises(error, match=message):
        run(data=data, **options)


# rows in a file -------------------------------------------------------------------------------------------------------


@pytest.fixture
def stored(tmp_path):
    """The clouds in a file of each kind, with their numbers as read from it."""
    data = clouds()
    x = (data.x * [1.0, 100.0, 0.01] + 3.0).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", data.y)
    np.savetxt(tmp_path / "t.csv", np.column_stack([x, data.y]), delimiter=",", fmt="%.9g")
    return Dataset(x, data.y), {
        "npy": Dataset(open_npy(tmp_path / "x.npy"), open_npy(tmp_path / "y.npy")),
        "csv": open_csv(tmp_path / "t.csv", label=3),
    }


@pytest.mark.parametrize("kind", ["npy", "csv"])
@pytest.mark.parametrize("options", [{}, {"prefetch": 2}, {"augment": lambda x, rng: x + rng.normal(size=x.shape)}])
def test_training_from_a_file_is_bitwise_that_from_memory(stored, kind, options):
    here, there = stored[0], stored[1][kind]
    results = []
    for data in (here, there):
        training, dev = split(data, fractions=(0.75, 0.25), seed=1, stratify=True)
        normalizer = Normalizer().fit(training.x)
        model, history = run(data=training, dev=dev, normalizer=normalizer, batch_size=8, epochs=3, **options)
        results.append((model.state_dict(), history.values, evaluate(model, dev, normalizer=normalizer)))
    assert same_state(results[0][0], results[1][0])
    assert results[0][1:] == results[1][1:]


def test_what_is_wrong_in_a_file_is_told_before_training(tmp_path):
    x = clouds().x.astype(np.float32)
    x[40, 2] = np.nan
    np.save(tmp_path / "x.npy", x)
    with pytest.raises(ValueError, match=r"data's x holds nan at position \(40, 2\)"):
        run(data=(open_npy(tmp_path / "x.npy"), clouds().y))
    np.save(tmp_path / "y.npy", np.where(np.arange(48) == 40, 7, clouds().y))
    with pytest.raises(ValueError, match="data's y holds the label 7 at position 40"):
        run(data=(clouds().x, open_npy(tmp_path / "y.npy")))


# lint -----------------------------------------------------------------------------------------------------------------


def test_a_likely_mistake_is_warned_of_once_with_its_line_and_remedy():
    model = nn.Sequential(nn.Linear(3, 2, seed=0), nn.Softmax())
    with pytest.warns(RuntimeWarning, match="the first batch shows a likely mistake") as told:
        run(model, epochs=3)
    (warning,) = told
    text = str(warning.message)
    assert warning.filename == __file__ and "lint=False leaves this out" in text
    assert "TG001 softmax-before-cross-entropy" in text and "logits" in text
    other = nn.Sequential(nn.Linear(3, 2, seed=0), nn.Softmax())
    run(other, epochs=3, lint=False)  # whose warnings would be errors
    assert same_state(model.state_dict(), other.state_dict())


def test_several_mistakes_are_one_warning():
    def loss(outputs, y):
        p = tg.softmax(outputs)
        return -tg.mean(tg.log(p)) + 0.0 * tg.mean(tg.log(1.0 + tg.exp(outputs)))

    with pytest.warns(RuntimeWarning, match="2 likely mistakes") as told:
        run(plain(), loss=loss, metrics=())
    assert len(told) == 1 and "TG003" in str(told[0].message) and "TG022" in str(told[0].message)
    assert f"{__file__}:" in str(told[0].message)


def test_what_is_only_wasted_is_no_mistake():
    model = nn.Sequential(nn.Linear(3, 8, seed=0), nn.BatchNorm(8), nn.ReLU(), nn.Linear(8, 2, seed=1))
    run(model)
    partly = plain()
    run(partly, optimizer=optim.SGD(partly[2], lr=0.1), lr=None)


# a run's folder -------------------------------------------------------------------------------------------------------


class Break:
    """An error in the middle of an epoch."""

    def on_step_end(self, training):
        if training.step == 5:
            raise RuntimeError("mine")


def shuffled(epoch):
    data, order = clouds(), np.random.default_rng(epoch).permutation(48)
    for rows in np.split(order, [5, 20, 30]):
        yield data.x[rows], data.y[rows]


@pytest.mark.parametrize(
    "options",
    [
        dict(class_weights="balanced", accumulate=2, batch_size=[4, 8], prefetch=2, metrics=()),
        dict(class_weights={"low": 0.3}, batch_size=lambda epoch: 4 + 4 * epoch),
        dict(data=shuffled, steps_per_epoch=4, augment=lambda x, rng: x + rng.normal(size=x.shape)),
        dict(data=shuffled, steps_per_epoch=4, accumulate=3, loss="nll", metrics=["recall"]),
    ],
)
def test_a_run_that_breaks_off_goes_on_to_the_same_bits(tmp_path, options):
    def model():
        return nn.Sequential(plain(seed=4), nn.LogSoftmax())

    whole, history = run(model(), epochs=3, lint=False, **options)
    folder = Run(tmp_path / "run", steps=1)
    with pytest.raises(RuntimeError, match="mine"):
        run(model(), epochs=3, lint=False, run=folder, callbacks=[Break()], **options)
    again, same = run(model(), epochs=3, lint=False, run=folder, **options)
    assert same_state(whole.state_dict(), again.state_dict())
    assert history.values == same.values and history.learning_rate == same.learning_rate


def test_a_run_is_known_by_what_it_was_given(tmp_path):
    def begun(**options):
        return run(plain(), run=tmp_path / "run", **(dict(class_weights={0: 2.0}, accumulate=2) | options))

    begun()
    for options, message in (
        (dict(class_weights={0: 3.0}), "class_weights.*was 2.0 and is 3.0"),
        (dict(accumulate=1), "accumulate was 2 and is 1"),
        (dict(data=shuffled, steps_per_epoch=4), "batches is new"),
    ):
        with pytest.raises(ValueError, match=message):
            begun(**options)
    with pytest.raises(ValueError, match="an iterator cannot begin an epoch again: give a function of the epoch"):
        run(plain(), shuffled(0), steps_per_epoch=2, run=tmp_path / "other")


# hyperparameters that change ------------------------------------------------------------------------------------------


class Change:
    """Sets what may be set, after the third step."""

    def on_step_end(self, training):
        if training.step == 3:
            training.optimizer.beta1 = 0.8
            training.model[3].rate = 0.25


def test_the_curve_of_every_hyperparameter_that_changes(tmp_path):
    whole, history = run(small(dropout=0.5), batch_size=16, callbacks=[Change()])
    assert history.hyperparameters == {"beta1": [0.9] * 3 + [0.8] * 3, "3.rate": [0.5] * 3 + [0.25] * 3}
    assert History.from_dict(history.to_dict()) == history
    old = history.to_dict()
    del old["hyperparameters"]  # as they were written at first
    assert History.from_dict(old).hyperparameters == {}
    # a run that breaks off and goes on has the same
    folder = Run(tmp_path / "run", steps=1)
    with pytest.raises(RuntimeError, match="mine"):
        run(small(dropout=0.5), batch_size=16, callbacks=[Change(), Break()], run=folder)
    again, same = run(small(dropout=0.5), batch_size=16, callbacks=[Change()], run=folder)
    assert same.hyperparameters == history.hyperparameters and same_state(whole.state_dict(), again.state_dict())


def test_going_back_takes_the_curves_back(tmp_path):
    folder = Run(tmp_path / "run", steps=1, keep=9)

    class Steer:
        def on_step_end(self, training):
            if training.step == 2:
                folder.set("beta2", 0.5)
            if training.step == 4 and not told:
                told.append(folder.rollback(to=1))
                folder.set("beta1", 0.7)

    told = []
    _, history = run(batch_size=16, callbacks=[Steer()], run=folder)
    assert history.hyperparameters == {"beta1": [0.9] + [0.7] * 5, "beta2": [0.999] * 2 + [0.5] * 4}


def test_groups_and_plain_functions_have_curves_too():
    a, b = tg.Parameter(np.zeros(3, np.float32), name="a"), tg.Parameter(np.zeros(1, np.float32), name="b")
    sgd = optim.Momentum([{"parameters": [a]}, {"parameters": [b], "lr": optim.by_hand([0.1, 0.05])}], lr=0.1)
    model, (x, y) = line()
    history = fit(
        lambda rows: (rows @ a + b)[:, None], (x, y), optimizer=sgd, loss="mse", epochs=1, batch_size=16, progress=False
    )
    assert history.hyperparameters == {"group1.lr": [0.1, 0.05, 0.05]}
    pytest.importorskip("matplotlib")
    assert [axes.get_title(loc="left") for axes in history.plot().axes] == ["loss", "r2", "learning rate", "group1.lr"]
