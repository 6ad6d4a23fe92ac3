"""A run that cannot work is refused before anything changes: parameters, running averages and random states."""

import io

import numpy as np
import pytest
from training_helpers import clouds, same_state, small, trained_by

import tensorgraph as tg
from tensorgraph import nn, train
from tensorgraph.train import EarlyStop, fit
from tensorgraph.train.progress import progress_for

DATA = clouds()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"y": DATA.y.astype(bool)}, ValueError, "looks like one-hot labels"),
        ({"y": np.eye(2, dtype=int)[DATA.y]}, ValueError, "looks like one-hot labels"),
        ({"y": DATA.y[:, None]}, ValueError, "class indices need the logits' shape"),
        ({"y": np.eye(3)[DATA.y], "metrics": ()}, ValueError, "probabilities need the logits' shape"),
        ({"metrics": ["top_k_accuracy"]}, ValueError, "k is at most the number of classes, 2"),
        ({"early_stop": 3}, ValueError, r"early stop watches 'dev_loss'; this run measures 'loss', 'accuracy': pass"),
        ({"callbacks": [EarlyStop(2, "f1_score")]}, ValueError, "early stop watches 'f1_score'"),
        ({"loss": 3}, TypeError, "loss must be a str, a function of"),
    ],
)
def test_nothing_changes_where_a_run_cannot_work(options, error, message):
    options = dict(options)
    model = small(dropout=0.2)
    optimizer = trained_by(model)
    before, state = model.state_dict(), optimizer.state_dict()
    with pytest.raises(error, match=message):
        fit(
            model, (DATA.x, options.pop("y", DATA.y)), optimizer=optimizer, epochs=2, batch_size=16, progress=False,
            **options,
        )  # fmt: skip
    assert same_state(before, model.state_dict())
    assert same_state(state, optimizer.state_dict())
    assert model.training


def test_a_loss_that_is_no_tensor_is_told():
    for loss in (lambda outputs, y: 1.0, lambda outputs, y: outputs.numpy().sum()):
        model = small()
        with pytest.raises(TypeError, match="the loss must be a tensor computed from the outputs"):
            fit(model, DATA, optimizer=trained_by(model), epochs=1, loss=loss, progress=False)


def test_a_measure_that_another_callback_adds_may_be_watched():
    def add(run):
        run.measures["dev_score"] = 1.0 - run.epoch

    model = small()
    history = fit(
        model, DATA, optimizer=trained_by(model), epochs=9, callbacks=[add], early_stop=EarlyStop(2, "dev_score"),
        progress=False,
    )  # fmt: skip
    assert history.stopped == "early stop" and len(history) == 3 and history.best_epoch == 0


def test_a_metric_of_ones_own_is_not_called_beforehand():
    calls = []

    def spread(outputs, y):
        calls.append(outputs.shape)
        return float(outputs.max() - outputs.min())

    model = small()
    fit(model, DATA, optimizer=trained_by(model), epochs=2, metrics=[spread], progress=False)
    assert calls == [(48, 2)] * 2


def test_a_program_without_standard_error_trains_silently(monkeypatch):
    closed = io.StringIO()
    closed.close()
    for stream in (None, closed):
        monkeypatch.setattr("sys.stderr", stream)
        assert progress_for(True, 3) == []
        model = small()
        assert len(fit(model, DATA, optimizer=trained_by(model), epochs=1)) == 1


def test_load_takes_a_module(tmp_path):
    path = tmp_path / "model.safetensors"
    train.save(path, small())
    for wrong in (lambda x: x, nn.ReLU, None):
        with pytest.raises(TypeError, match="load: model must be a Module"):
            train.load(path, wrong)
    with pytest.raises(TypeError, match="save: model must be a Module"):
        train.save(tmp_path / "other", nn.ReLU)
    assert not (tmp_path / "other").exists()


def test_outputs_that_are_no_numbers_are_no_prediction():
    def broken(x):
        return tg.tensor(np.array([[1.0, 2.0], [np.nan, 0.0]], np.float32))

    with pytest.raises(ValueError, match="outputs for sample 1 hold nan"):
        train.Predictor(broken).predict(np.zeros((2, 3)))
