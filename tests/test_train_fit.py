"""The training run: it learns, repeats, reports, and refuses bad input before anything changes."""

import signal
import threading

import numpy as np
import pytest
from training_helpers import clouds, same_state, small, trained_by

import tensorgraph as tg
from tensorgraph import nn, optim
from tensorgraph.data import Dataset, Normalizer
from tensorgraph.train import NonFiniteLossError, evaluate, fit, metrics, predict


def run(model=None, data=None, **options):
    model = small() if model is None else model
    settings = dict(optimizer=trained_by(model), epochs=3, batch_size=16, progress=False) | options
    return model, fit(model, clouds() if data is None else data, **settings)


def test_it_learns_and_reports_every_epoch_and_step():
    model, history = run(dev=clouds(seed=1), epochs=30, metrics=("accuracy", metrics.recall))
    assert list(history.values) == [
        "loss", "accuracy", "recall", "dev_loss", "dev_accuracy", "dev_recall"
    ]  # fmt: skip
    assert all(len(values) == 30 and np.isfinite(values).all() for values in history.values.values())
    assert len(history) == 30 and len(history.learning_rate) == 90 and history.stopped == "epochs"
    assert history["loss"][-1] < 0.5 * history["loss"][0]
    assert history["dev_accuracy"][-1] > 0.85
    assert evaluate(model, clouds(seed=1))["accuracy"] == history["dev_accuracy"][-1]


def test_a_step_is_the_plain_loop():
    data, by_hand, model = clouds(32), small(), small()
    optimizer = trained_by(by_hand)
    total = []
    for x, y in tg.data.minibatches(data, batch_size=16, seed=7):
        loss = tg.softmax_cross_entropy(by_hand(tg.tensor(x)), y)
        optimizer.minimize(loss)
        total.append(float(loss))
    _, history = run(model, data, epochs=1, seed=7)
    assert same_state(by_hand.state_dict(), model.state_dict())
    assert history["loss"] == [np.mean(total)]


def test_a_run_repeats_bit_for_bit_and_depends_on_its_seed():
    options = dict(augment=lambda x, rng: x + rng.normal(size=x.shape), epochs=2)
    (a, first), (b, second), (c, third) = (run(small(dropout=0.3), seed=s, **options) for s in (0, 0, 1))
    assert same_state(a.state_dict(), b.state_dict()) and first.values == second.values
    assert not same_state(a.state_dict(), c.state_dict())


def test_a_schedule_is_followed_by_step_and_by_epoch():
    model = small()
    adam = optim.Adam(model.parameters(), lr=optim.cosine(0.1, 6))
    _, history = run(model, optimizer=adam, epochs=2)
    np.testing.assert_allclose(history.learning_rate, 0.05 * (1 + np.cos(np.pi * np.arange(6) / 6)), rtol=1e-6)
    model = small()
    adam = optim.Adam(model.parameters(), lr=optim.inverse_time(0.1, 1.0).per_epoch())
    _, history = run(model, optimizer=adam, epochs=2)
    np.testing.assert_allclose(history.learning_rate, [0.1] * 3 + [0.05] * 3, rtol=1e-6)


def test_normalising_inside_equals_normalising_before():
    data = clouds()
    scaled = Dataset(data.x * [1.0, 100.0, 0.01] + 3.0, data.y)
    normalizer = Normalizer().fit(scaled.x)
    before, _ = run(data=Dataset(normalizer.transform(scaled.x), data.y))
    inside, history = run(data=scaled, normalizer=normalizer, dev=scaled)
    augmented, _ = run(data=scaled, normalizer=normalizer, augment=lambda x, rng: x)
    assert same_state(before.state_dict(), inside.state_dict())
    assert same_state(before.state_dict(), augmented.state_dict())
    assert evaluate(inside, scaled, normalizer=normalizer)["loss"] == history["dev_loss"][-1]


def test_augment_changes_training_batches_only_and_in_the_datas_units():
    seen = []

    def augment(x, rng):
        seen.append((x.copy(), rng.integers(1 << 40)))
        return np.zeros_like(x)

    data = clouds()
    run(data=data, dev=data, augment=augment, normalizer=Normalizer().fit(data.x), epochs=2, shuffle=False)
    assert [len(x) for x, _ in seen] == [16] * 6 and len({draw for _, draw in seen}) == 6
    np.testing.assert_array_equal(seen[1][0], data.x[16:32])
    with pytest.raises(ValueError, match="augment gave 15 samples for 16"):
        run(augment=lambda x, rng: x[1:])


def test_regression_and_plain_functions():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(32, 2))
    y = x @ np.array([2.0, -1.0])
    w = tg.Parameter(np.zeros(2), name="w")
    history = fit(
        lambda rows: tg.tensor(rows, dtype="float64") @ w, (x, y), optimizer=optim.SGD([w], lr=0.3), epochs=40,
        loss=lambda out, target: tg.mean((out - target) ** 2), metrics=(), batch_size=16, progress=False,
    )  # fmt: skip
    np.testing.assert_allclose(w.numpy(), [2.0, -1.0], atol=1e-3)
    assert list(history.values) == ["loss"]


def test_modes_are_given_back_after_a_run_and_after_an_error():
    model = small(dropout=0.5)
    model.eval()
    model[1].training = True
    before = [module.training for module in model.modules()]
    seen = []
    run(model, dev=clouds(), callbacks=[lambda r: seen.append([m.training for m in model.modules()])])
    assert seen == [[True] * len(before)] * 3  # a callback sees the mode of training
    assert [module.training for module in model.modules()] == before
    with pytest.raises(RuntimeError, match="mine"):
        run(model, callbacks=[fails])
    assert [module.training for module in model.modules()] == before
    predict(model, clouds().x)
    assert [module.training for module in model.modules()] == before


def fails(run):
    raise RuntimeError("mine")


def test_evaluation_records_nothing_and_changes_nothing():
    model = small(dropout=0.5)
    run(model)
    before = model.state_dict()
    first = predict(model, clouds().x, batch_size=5)
    np.testing.assert_allclose(first, predict(model, clouds().x), rtol=1e-5, atol=1e-6)
    assert same_state(before, model.state_dict())
    with tg.no_grad():
        model.eval()
        np.testing.assert_allclose(first, model(clouds().x.astype("float32")).numpy(), rtol=1e-5, atol=1e-6)


@pytest.fixture
def interruptible():
    """As in a terminal: a shell's background jobs ignore the signal."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_ends_after_the_step_and_returns_what_was_done():
    model, other = small(), small()

    class Press:
        def on_step_end(self, run):
            if run.step == 4:
                signal.raise_signal(signal.SIGINT)

    _, history = run(model, callbacks=[Press()])
    assert history.stopped == "interrupted" and len(history) == 1 and len(history.learning_rate) == 4
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

    class Raise:
        def on_step_end(self, run):
            if run.step == 4:
                raise KeyboardInterrupt

    run(other, callbacks=[Raise()])
    assert same_state(model.state_dict(), other.state_dict()) and model.training


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_pressed_twice_interrupts_at_once():
    class Press:
        def on_step_end(self, run):
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
            raise AssertionError("the second press should have interrupted")

    _, history = run(callbacks=[Press()])
    assert history.stopped == "interrupted" and len(history.learning_rate) == 1


def test_a_run_in_another_thread_leaves_signals_alone():
    done = []
    thread = threading.Thread(target=lambda: done.append(run(epochs=1)[1]))
    thread.start()
    thread.join()
    assert done[0].stopped == "epochs"


def test_a_loss_that_is_no_number_stops_before_the_update():
    model = small()
    sgd = optim.SGD(model.parameters(), lr=1e30)
    where = r"step 2 \(epoch 1, batch 2 of 3\)"
    with (
        np.errstate(all="ignore"),
        pytest.raises(NonFiniteLossError, match=where) as told,
        pytest.warns(RuntimeWarning),
    ):
        run(model, optimizer=sgd)
    assert "lower the learning rate (now 1e+30)" in str(told.value)
    assert sgd.steps == 1 and model.training

    model = small()
    before = [parameter.numpy().copy() for parameter in model.parameters()]

    def broken(outputs, y):
        return tg.mean(outputs) * float("nan")

    with pytest.raises(NonFiniteLossError, match=r"became nan at step 1 .*debug_nans"):
        run(model, loss=broken)
    assert all((a == b.numpy()).all() for a, b in zip(before, model.parameters()))

    with pytest.warns(RuntimeWarning), pytest.raises(NonFiniteLossError, match="check what `augment` gives"):
        run(augment=lambda x, rng: x * np.float64("nan"))


def test_labels_are_checked_against_the_classes_before_anything_runs():
    data = clouds()
    model = small()
    before = model.state_dict()
    for wrong, where in ((2, 5), (-1, 40)):
        y = data.y.copy()
        y[where] = wrong
        message = rf"data's y holds the label {wrong} at position {where}, but the model gives 2 classes"
        with pytest.raises(ValueError, match=message):
            run(model, (data.x, y))
        with pytest.raises(ValueError, match=r"dev's y holds the label"):
            run(model, data, dev=(data.x, y))
    with pytest.raises(ValueError, match=r"data's y holds nan at position"):
        run(model, (data.x, np.where(data.y == 1, np.nan, 0.0)))
    assert same_state(before, model.state_dict())


X, Y = clouds().x, clouds().y


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (dict(data=(X[:0], Y[:0])), ValueError, "data holds no samples"),
        (dict(data=(X, Y[:5])), ValueError, "different numbers of samples"),
        (dict(data=X), TypeError, "data must be a Dataset, a tuple .* or batches: an iterable of pairs"),
        (dict(data=Dataset(X)), ValueError, "data has no y"),
        (dict(data=(np.where(X > 2, np.nan, X), Y)), ValueError, "nan at position"),
        (dict(data=(X, Y.astype(float))), TypeError, r"metrics=\(\)"),
        (dict(data=(X.astype(str), Y)), TypeError, "expected numbers"),
        (dict(data=(X[:, :2], Y)), ValueError, "takes 3 features"),
        (dict(dev=(X[:, :2], Y)), ValueError, r"dev's samples have shape \(2,\)"),
        (dict(dev=(X, Y[:, None])), ValueError, "must be of one kind"),
        (dict(dev=(X[:0], Y[:0])), ValueError, "dev holds no samples"),
        (dict(epochs=0), ValueError, "epochs must be a positive integer"),
        (dict(epochs=1.5), TypeError, "epochs must be a positive integer"),
        (dict(batch_size=0), ValueError, "batch_size must be a positive integer"),
        (dict(batch_size=64, last="drop"), ValueError, "leaves no batch"),
        (dict(batch_size=47, last="keep"), ValueError, "more than one value per channel"),
        (dict(metrics=("accurracy",)), ValueError, "metric 'accurracy' is unknown; known are accuracy"),
        (dict(metrics="accuracy"), TypeError, r"write \['accuracy'\]"),
        (dict(metrics=(metrics.accuracy, "accuracy")), ValueError, "two measures are called 'accuracy'"),
        (dict(metrics=(3,)), TypeError, r"metrics\[0\] must be a str or a function"),
        (
            dict(optimizer=None),
            TypeError,
            r"fit: optimizer must be an Optimizer or a str, got None; such as optim\.Adam",
        ),
        (
            dict(optimizer=optim.Adam),
            TypeError,
            r"optimizer must be an Optimizer or a str, got the class Adam; make one: Adam",
        ),
        (dict(optimizer=optim.SGD([tg.Parameter([1.0])])), ValueError, "none of this model's parameters"),
        (dict(augment=3), TypeError, "augment must be a function of"),
        (dict(callbacks=fails), TypeError, "callbacks must be a sequence"),
        (dict(callbacks=[3]), TypeError, "a callback is a function of the run"),
        (dict(normalizer=Normalizer()), ValueError, "has seen no data"),
        (dict(run=3), TypeError, "run must be"),
        (dict(loss=lambda out, y: out), ValueError, "the loss must be one number"),
    ],
)
def test_bad_input_is_refused_and_no_parameter_changes(options, error, message):
    model = small()
    before = {name: array for name, array in model.state_dict().items() if "1." not in name}
    with pytest.raises(error, match=message):
        run(model, **options)
    assert all((before[name] == model.state_dict()[name]).all() for name in before)
    assert all(module.training for module in model.modules())


def test_models_that_give_something_else_are_told():
    with pytest.raises(TypeError, match="the model must give one tensor, got list"):
        predict(lambda x: [x], X)
    with pytest.raises(ValueError, match="its first axis must run over the samples"):
        predict(lambda x: tg.sum(x), X)
    with pytest.raises(ValueError, match=r"for one sample pass x\[None\]"):
        predict(lambda x: x, np.float64(3.0))
    with pytest.raises(ValueError, match="nan at position"):
        predict(lambda x: x, [[np.nan]])


def test_a_model_that_branches_on_values_trains_too():
    class Branching(nn.Module):
        def __init__(self):
            self.inner = small()

        def forward(self, x):
            return self.inner(x * 2.0 if float(tg.max(x)) > 0 else x)

    _, history = run(Branching(), epochs=2)
    assert np.isfinite(history["loss"]).all()


def test_a_float64_model_trains_in_float64():
    model = nn.Sequential(nn.Linear(3, 2, seed=0, dtype="float64"))
    seen = []
    run(
        model, loss=lambda out, y: (seen.append(out.dtype), tg.softmax_cross_entropy(out, y))[1], dev=clouds(), epochs=1
    )
    assert set(seen) == {np.dtype("float64")}


def column_and_row(columns: bool = True):
    x = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)
    y = x @ np.array([[1.0], [2.0], [3.0]], np.float32)
    model = nn.Linear(3, 1, seed=0)
    return (model, (x, y[:, 0])) if columns else (nn.Sequential(model, nn.Lambda(lambda z: z[:, 0])), (x, y))


def mse(outputs, y):
    return tg.mean((outputs - y) ** 2)


@pytest.mark.parametrize("columns", [True, False])
def test_outputs_and_targets_that_broadcast_are_warned_of_once(columns):
    model, data = column_and_row(columns)
    options = dict(optimizer=optim.SGD(model, lr=0.01), loss=mse, metrics=(), batch_size=4, progress=False)
    remedy = r"y\[:, None\]" if columns else r"y\[:, 0\]"
    with pytest.warns(RuntimeWarning, match=rf"^fit: the model gives .* broadcasts to \(4, 4\).*{remedy}") as told:
        fit(model, data, epochs=2, **options)
    assert len(told) == 1 and told[0].filename == __file__
    with pytest.warns(RuntimeWarning, match=rf"^evaluate: .*{remedy}"):
        evaluate(model, data, loss=mse, metrics=())


@pytest.mark.parametrize(
    "loss",
    [
        lambda out, y: tg.mean((out[:, 0] - y) ** 2),
        lambda out, y: tg.mean((tg.reshape(out, y.shape) - y) ** 2),
        lambda out, y: tg.mean((out - y[:, None]) ** 2),
        lambda out, y: tg.mean(tg.square(out)) + 0.0 * float(np.mean(y)),
    ],
)
def test_a_loss_that_brings_both_to_one_shape_is_not_warned_of(loss):
    model, data = column_and_row()
    fit(model, data, epochs=1, optimizer=optim.SGD(model), loss=loss, metrics=(), batch_size=4, progress=False)
    same = column_and_row()[0]
    pairs = (data[0], data[1][:, None])
    fit(same, pairs, epochs=1, optimizer=optim.SGD(same), loss=mse, metrics=(), batch_size=4, progress=False)
