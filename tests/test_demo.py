"""The demonstration: its experiment, its files, and what it says."""

import importlib.util
import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from tensorgraph import jit
from tensorgraph.commands import demo
from tensorgraph.commands.demo import choosing, main, pictures
from tensorgraph.commands.demo.digits import FULL, QUICK, Settings, network, run_parts, run_seed, shifted, split_digits
from tensorgraph.commands.demo.report import Screen, picture, prediction_text
from tensorgraph.data import Dataset, load_digits
from tensorgraph.files import MissingExtraError
from tensorgraph.train import Prediction, load_model

for package in demo.NEEDS:
    # looked for and not imported: every process reads this file, one runs it
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed", allow_module_level=True)

from rich.console import Console  # noqa: E402
from threadpoolctl import threadpool_limits  # noqa: E402

FILES = [
    "confusion-matrix.png", "digits.safetensors", "graph.svg", "learning-curves.png", "misclassified.png", "ops.svg",
    "results.json",
]  # fmt: skip


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """The whole demonstration on two splits: its folder, its results, what it printed."""
    folder = tmp_path_factory.mktemp("demo")
    screen = io.StringIO()
    console = Console(file=screen, width=100)
    results = demo.run(folder / "out", seeds=[0, 3], settings=QUICK, console=console)
    return folder / "out", results, screen.getvalue()


def test_all_files_are_there(quick):
    folder, results, _ = quick
    assert sorted(path.name for path in folder.iterdir()) == FILES
    for path in folder.glob("*.png"):
        assert path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 10_000
    for name, expected in (("graph.svg", "BatchNorm"), ("ops.svg", "softmax_cross_entropy")):
        text = (folder / name).read_text("utf-8")
        assert "<svg" in text and expected in text
    assert json.loads((folder / "results.json").read_text("utf-8")) == results


def test_results_hold_every_run(quick):
    results = quick[1]
    for side in ("batch_norm", "no_batch_norm"):
        runs = results[side]["runs"]
        accuracies = [run["test_accuracy"] for run in runs]
        assert [run["seed"] for run in runs] == [0, 3]
        assert results[side]["mean_test_accuracy"] == pytest.approx(np.mean(accuracies), abs=1e-12)
        assert results[side]["least_test_accuracy"] == min(accuracies) > 0.5
        for run in runs:
            assert run["wrong"] == round(360 * (1 - run["test_accuracy"]))
            assert run["history"]["values"]["dev_accuracy"][-1] == run["test_accuracy"]
            assert len(run["history"]["values"]["loss"]) == QUICK.epochs


def test_it_says_the_results_and_ends_with_a_prediction(quick):
    folder, results, told = quick
    assert told.count("batch norm  ") >= 2 and "Test accuracy" in told
    assert f"{results['batch_norm']['mean_test_accuracy']:.2%}" in told
    assert all(name in told for name in FILES)
    assert "the saved model, loaded afresh" in told and told.count("█") > 20
    assert told.rstrip().splitlines()[-1].startswith("All of it took")
    assert "\x1b" not in told


def test_the_saved_model_is_the_one_that_was_tested(quick):
    folder, results, _ = quick
    predictor = load_model(folder / "digits.safetensors")
    _, test = split_digits(load_digits(), 0)
    predicted = predictor.predict(test.x).labels
    assert float(np.mean(predicted == test.y)) == results["batch_norm"]["runs"][0]["test_accuracy"]
    assert predictor.class_names == tuple("0123456789")
    alone = predictor.predict(test.x[0])
    assert alone.names == [str(predicted[0])] and alone.probabilities.shape == (1, 10)


def test_the_splits_are_those_that_were_asked_for():
    data = load_digits()
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(1797)
        training, test = split_digits(data, seed)
        np.testing.assert_array_equal(training.x, data.x[order[:1437]])
        np.testing.assert_array_equal(test.y, data.y[order[1437:]])


def test_a_seed_repeats_and_the_network_starts_from_it():
    data = load_digits()
    settings = Settings(widths=(8,), epochs=1)
    first, second = (run_seed(data, 2, True, settings) for _ in range(2))
    assert first.outputs.tobytes() == second.outputs.tobytes()
    assert network((8,), 2)[0].weight.tolist() != network((8,), 3)[0].weight.tolist()
    with_norm, without = network((8, 4), 0), network((8, 4), 0, batch_norm=False)
    assert [type(layer).__name__ for layer in with_norm] == ["Linear", "BatchNorm", "ReLU"] * 2 + ["Linear"]
    assert [type(layer).__name__ for layer in without] == ["Linear", "ReLU"] * 2 + ["Linear"]
    assert with_norm[0].bias is None and without[0].bias is not None
    assert with_norm[0].weight.tolist() == without[0].weight.tolist()
    assert FULL.epochs > QUICK.epochs


@pytest.mark.slow
def test_five_splits_reach_what_is_promised():
    if not jit.compiled():
        pytest.skip("6,600 steps take minutes without compiled kernels")
    data = load_digits()
    with threadpool_limits(limits=1, user_api="blas"):
        outcomes = [run_seed(data, seed, True, FULL) for seed in range(5)]
    accuracies = [outcome.accuracy for outcome in outcomes]
    assert np.mean(accuracies) >= 0.983 and min(accuracies) >= 0.975
    for outcome in outcomes:
        assert len(outcome.wrong) == round(360 * (1 - outcome.accuracy))
        assert outcome.history["loss"][-1] < outcome.history["loss"][0]


def test_settings_are_chosen_without_the_test_part(monkeypatch, capsys):
    seen = []

    def watched(training, held, seed, batch_norm, settings):
        seen.append((training, held, seed, batch_norm, settings))
        return run_parts(training.take(np.arange(64)), held, seed, batch_norm, settings)

    monkeypatch.setattr(choosing, "run_parts", watched)
    monkeypatch.setattr(choosing, "FULL", Settings(widths=(8,), epochs=1))
    monkeypatch.setattr(choosing, "CHANGES", ({}, {"shifts": False}))
    choosing.main()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 and lines[1].startswith("nothing ") and lines[2].startswith("shifts=False ")
    order = np.random.default_rng(0).permutation(1797)[:1437]
    allowed = {image.tobytes() for image in load_digits().x[order]}
    assert len(seen) == 2 * 2 * 2 * 5 and {settings.shifts for *_, settings in seen} == {True, False}
    for fold in range(5):
        training, held = seen[fold][:2]
        assert len(training) + len(held) == 1437
        assert {image.tobytes() for image in (*training.x, *held.x)} <= allowed
    held = np.concatenate([seen[fold][1].x for fold in range(5)])
    np.testing.assert_array_equal(held, load_digits().x[order])


def test_shifts_move_whole_images_by_one_pixel():
    rng = np.random.default_rng(0)
    images = rng.uniform(1.0, 16.0, (400, 64)).astype(np.float32)
    moved = shifted(images, np.random.default_rng(1)).reshape(-1, 8, 8)
    padded = np.pad(images.reshape(-1, 8, 8), ((0, 0), (1, 1), (1, 1)))
    views = {(i, j): padded[:, 1 + i : 9 + i, 1 + j : 9 + j] for i, j in ((0, 0), (0, 1), (0, -1), (1, 0), (-1, 0))}
    kinds = [[step for step, view in views.items() if (view[n] == moved[n]).all()] for n in range(400)]
    assert all(len(kind) == 1 for kind in kinds) and moved.dtype == np.float32
    share = np.mean([kind[0] != (0, 0) for kind in kinds])
    assert 0.3 < share < 0.5 and {kind[0] for kind in kinds} == set(views)


def test_the_image_as_text():
    image = np.zeros(64)
    image[0], image[9], image[63] = 16.0, 8.0, 1.0
    lines = picture(image)
    assert [len(line) for line in lines] == [16] * 8
    assert lines[0] == "██" + " " * 14 and lines[1].startswith("  ▒▒") and lines[7].endswith("░░")
    prediction = Prediction(np.full((1, 10), 0.1), np.array([0]), tuple("0123456789"))
    text = prediction_text(image, prediction)
    assert len(text) == 10 and len({len(line) for line in text}) == 1 and text[3].endswith("10.0%")


def test_bars_move_on_a_terminal():
    out = io.StringIO()
    screen = Screen(Console(file=out, width=100, force_terminal=True))

    class Run:
        def __init__(self):
            self.measures, self.epoch = {"loss": 0.5, "dev_accuracy": 0.99}, 1

    with screen:
        screen.begin(0, True, 2)(Run())
    assert "split 0" in out.getvalue() and "99.00%" in out.getvalue()


def test_an_old_terminal_shows_what_it_can(monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    Screen().say("█ 8×8")
    sys.stdout.flush()
    assert raw.getvalue().decode("ascii") == "? 8?8\n"


@pytest.mark.slow
def test_no_mistakes_and_very_many_are_drawn(tmp_path, quick):
    data = load_digits().take(np.arange(200))
    outcome = run_seed(data, 0, True, Settings(widths=(8,), epochs=1))
    right = Dataset(outcome.test.x, outcome.outputs.argmax(axis=1), data.class_names)
    for test, name in ((right, "none.png"), (Dataset(outcome.test.x, (right.y + 1) % 10, data.class_names), "all.png")):
        object.__setattr__(outcome, "test", test)
        pictures.draw_wrong([outcome] * 3, tmp_path / name)
        assert (tmp_path / name).stat().st_size > 1000


def test_bad_arguments_leave_nothing_behind(tmp_path, monkeypatch):
    for seeds in ([], [0, 0], [-1], [1.5]):
        with pytest.raises(ValueError, match="seeds are different whole numbers"):
            demo.run(tmp_path / "out", seeds=seeds)
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="give a folder to write to"):
        demo.run(tmp_path / "file")
    real = main.find_spec
    monkeypatch.setattr(main, "find_spec", lambda name: None if name == "sklearn" else real(name))
    with pytest.raises(MissingExtraError, match=r"needs sklearn: install with .*tensorgraph-engine\[demo\]"):
        demo.run(tmp_path / "out")
    assert [path.name for path in Path(tmp_path).iterdir()] == ["file"]
