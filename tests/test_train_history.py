"""What a run leaves behind: history, early stop, callbacks, progress, pictures."""

import builtins
import io
import json
import math

import numpy as np
import pytest
from training_helpers import clouds, same_state, small, trained_by

from tensorgraph.files import MissingExtraError
from tensorgraph.train import EarlyStop, History, fit
from tensorgraph.train.plots import confusion_picture, learning_curves, new_figure, save_figure
from tensorgraph.train.progress import Bar, Lines, progress_for


def run(model=None, **options):
    model = small() if model is None else model
    settings = dict(optimizer=trained_by(model), epochs=3, batch_size=16, progress=False) | options
    return model, fit(model, clouds(), **settings)


def made(n=20):
    history = History(learning_rate=[0.1] * n, stopped="epochs")
    for i in range(n):
        history.append({"loss": 2.0 / (i + 1), "accuracy": i / n, "dev_loss": abs(i - 7) + 0.5, "dev_error": 1e-5}, 0.5)
    return history


def test_a_history_survives_json():
    history = made()
    history.values["loss"][3] = math.nan
    again = History.from_dict(json.loads(json.dumps(history.to_dict())))
    assert repr(again) == repr(history) and str(again) == str(history)
    np.testing.assert_equal(again.to_dict(), history.to_dict())
    with pytest.raises(ValueError, match="a history has the entries"):
        History.from_dict({"values": {}})


def test_best_knows_which_way_is_better_and_skips_nan():
    history = made()
    assert history.best("dev_loss") == (7, 0.5) and history.best("accuracy") == (19, 0.95)
    history.values["dev_loss"][7] = math.nan
    assert history.best("dev_loss") == (6, 1.5)
    with pytest.raises(KeyError, match="the history holds 'loss', 'accuracy'"):
        history.best("f1")
    assert "loss" in history and "f1" not in history


def test_tables_are_aligned_and_short():
    history = made()
    history.best_epoch, history.stopped = 7, "early stop"
    lines = str(history).splitlines()
    assert len({len(line) for line in lines[:-1]}) == 1 and len(lines) == 15
    assert lines[-1] == "20 epochs in 10.0 s (stopped: early stop); * is the best, epoch 8"
    assert "1.000e-05" in lines[1] and "95.00%" in lines[-2] and "..." in lines[7]
    assert str(History()) == "0 epochs in 0.0 s" and str(made(1)).endswith("1 epoch in 0.5 s")
    assert repr(History()) == "History(0 epochs)"


def test_pictures(tmp_path):
    pytest.importorskip("matplotlib")
    history = made()
    history.best_epoch = 7
    figure = history.plot(tmp_path / "curves.png", title="two clouds")
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["loss", "accuracy", "learning rate"]
    assert len(figure.axes[0].lines) == 3  # training, dev, the best epoch
    first = (tmp_path / "curves.png").read_bytes()
    assert first.startswith(b"\x89PNG")
    history.plot(tmp_path / "curves.png", title="two clouds")
    assert (tmp_path / "curves.png").read_bytes() == first
    made(1).plot(tmp_path / "one.svg")
    with pytest.raises(ValueError, match="no finished epoch"):
        learning_curves(History())
    with pytest.raises(ValueError, match=r"saved by its suffix, one of .*png"):
        save_figure(figure, tmp_path / "curves.nothing")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["curves.png", "one.svg"]


def test_logarithmic_axes_say_plain_numbers(tmp_path):
    pytest.importorskip("matplotlib")
    figure = new_figure(4, 3)
    axes = figure.subplots()
    axes.plot([0.001, 10.0], [0.3, 0.7])
    axes.set(xscale="log", yscale="log")
    save_figure(figure, tmp_path / "scales.png")
    said = [[text.get_text() for text in axis.get_ticklabels(which="both")] for axis in (axes.xaxis, axes.yaxis)]
    assert {"0.001", "0.1", "10"} <= set(said[0]) and {"0.3", "0.6"} <= set(said[1])
    assert not any("$" in text for texts in said for text in texts)


def test_a_confusion_matrix_as_a_picture():
    pytest.importorskip("matplotlib")
    figure = confusion_picture([[5, 1], [0, 4]], ["cat", "dog"], title="pets")
    (axes,) = figure.axes
    assert sorted(text.get_text() for text in axes.texts) == ["1", "4", "5"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["cat", "dog"]
    shares = confusion_picture([[0.5, 0.5], [np.nan, np.nan]])
    assert sorted(text.get_text() for text in shares.axes[0].texts) == ["0.50", "0.50", "nan", "nan"]
    with pytest.raises(ValueError, match="is square"):
        confusion_picture([[1, 2]])
    with pytest.raises(ValueError, match="2 classes and there are 1 class names"):
        confusion_picture([[1, 2], [3, 4]], ["a"])


def without(monkeypatch, *packages):
    """Make importing these packages fail, as where they are not installed."""
    real = builtins.__import__

    def missing(name, *args, **kwargs):
        if name.split(".")[0] in packages:
            raise ImportError(f"No module named {name!r}")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)


def test_missing_matplotlib_names_the_extra(monkeypatch):
    without(monkeypatch, "matplotlib")
    with pytest.raises(MissingExtraError, match=r"tensorgraph-engine\[plot\]"):
        made().plot()


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_is_a_bar_on_a_terminal_and_lines_elsewhere(monkeypatch):
    pytest.importorskip("rich")
    assert progress_for(False, 3) == []
    assert [type(p) for p in progress_for(True, 3, io.StringIO())] == [Lines]
    assert [type(p) for p in progress_for(True, 3, Terminal())] == [Bar]
    without(monkeypatch, "rich")
    assert [type(p) for p in progress_for(True, 3, Terminal())] == [Lines]


def test_lines_and_bars_show_the_measures(monkeypatch, capsys):
    run(progress=True, dev=clouds())
    told = capsys.readouterr()
    lines = told.err.splitlines()
    assert told.out == "" and len(lines) == 3 and lines[2].startswith("epoch 3/3  loss 0.")
    assert "dev accuracy " in lines[0] and lines[0].endswith(" s")
    pytest.importorskip("rich")
    screen = Terminal()
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "150")
    run(progress=True)
    assert "epoch 3/3" in screen.getvalue() and "accuracy" in screen.getvalue()
    assert screen.getvalue().count("\x1b[?25l") == screen.getvalue().count("\x1b[?25h") == 1  # the cursor is back
    with pytest.raises(RuntimeError, match="mine"):
        run(progress=True, callbacks=[fails])
    assert screen.getvalue().count("\x1b[?25h") == 2


def fails(run):
    raise RuntimeError("mine")


def test_callbacks_are_called_in_order_with_the_run():
    events = []

    class Listener:
        def on_fit_start(self, run):
            events.append(("start", run.epoch, len(run.history)))

        def on_epoch_start(self, run):
            events.append(("epoch", run.epoch, dict(run.measures)))

        def on_step_end(self, run):
            assert list(run.measures) == ["loss"]

        def on_epoch_end(self, run):
            events.append(("done", run.epoch, sorted(run.measures), run.step))

        def on_fit_end(self, run):
            events.append(("end", len(run.history)))

    class Deaf:
        def on_fit_end(self, run):
            events.append("deaf")

        def __call__(self, run):
            raise AssertionError("it listens to one event only")

    _, history = run(callbacks=[Listener(), lambda r: r.stop("enough") if r.epoch == 1 else None, Deaf()])
    measured = ["accuracy", "loss"]
    assert events == [
        ("start", 0, 0), ("epoch", 0, {}), ("done", 0, measured, 3), ("epoch", 1, {}), ("done", 1, measured, 6),
        ("end", 2), "deaf",
    ]  # fmt: skip
    assert history.stopped == "enough"


def stopper(values, **options):
    """Run an early stop over given values of its measure; gives the history and the weight at the end."""
    model = small()
    stop = EarlyStop(monitor="score", **options)

    class Script:
        def on_epoch_end(self, run):
            run.measures["score"] = values[run.epoch]

    _, history = run(model, epochs=len(values), callbacks=[Script(), stop])
    return model, history, stop


def test_early_stop_goes_back_to_the_best_epoch():
    nan = float("nan")
    model, history, stop = stopper([nan, 0.5, 0.7, 0.7, nan, 0.6, 0.9], patience=3)
    assert history.stopped == "early stop" and history.best_epoch == 2 and len(history) == 6
    assert stop.best_value == 0.7 and model.training
    wanted, _ = run(small(), epochs=3)
    assert same_state(model.state_dict(), wanted.state_dict())
    kept, history, _ = stopper([0.5, 0.4, 0.3], patience=2, restore_best=False)
    assert len(history) == 3 and not same_state(kept.state_dict(), run(small(), epochs=1)[0].state_dict())
    model, history, _ = stopper([0.1, 0.9, 0.8], patience=5)  # all epochs done: the best ones serve too
    assert history.stopped == "epochs"
    assert same_state(model.state_dict(), run(small(), epochs=2)[0].state_dict())
    _, history, _ = stopper([0.50, 0.55, 0.59, 0.61], patience=2, min_delta=0.1)
    assert history.best_epoch == 0 and len(history) == 3
    _, history, _ = stopper([nan, nan, nan], patience=2)
    assert history.best_epoch is None and len(history) == 2


def test_early_stop_watches_losses_downwards_and_says_what_is_missing():
    _, history = run(dev=clouds(seed=3), early_stop=1, epochs=200)
    losses = history["dev_loss"]
    assert history.stopped == "early stop" and losses[-1] >= min(losses) == losses[history.best_epoch]
    assert history.best_epoch == len(losses) - 2
    with pytest.raises(ValueError, match="watches 'dev_loss'; this run measures 'loss', 'accuracy': pass dev="):
        run(early_stop=3)
    with pytest.raises(ValueError, match="patience must be a positive integer"):
        EarlyStop(0)
    with pytest.raises(ValueError, match="min_delta must be a finite number"):
        EarlyStop(min_delta=float("nan"))
