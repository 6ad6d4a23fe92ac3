"""Studies in this process: what they keep, how they go on, what they say."""

import math
import random as plain_random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tensorgraph as tg
from tensorgraph import train, tune
from tensorgraph.tune.importance import ranks, share
from tensorgraph.tune.slots import Slot
from tensorgraph.tune.zoom import kept_by_zoom

SPACE = tune.Space(lr=tune.log(1e-4, 1), beta=tune.ewa(0.9, 0.999), layers=tune.int(1, 4))


def bowl(trial):
    return abs(math.log10(trial["lr"]) + 2.0) + trial["layers"] / 100


def run(space=SPACE, objective=bowl, trials=12, **options):
    return tune.random(space, objective, trials=trials, progress=False, **options)


def test_the_room_opens_late_and_brings_nothing_with_it():
    code = (
        "import sys, tensorgraph as tg; before = 'tensorgraph.tune' in sys.modules; tg.tune.random;"
        "print(before, sorted({'optuna', 'joblib', 'loky', 'rich', 'matplotlib', 'sqlalchemy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "False []", done.stderr


def test_random_in_one_line_best_and_table():
    study = run(trials=25)
    assert len(study) == 25 and [result.slot for result in study.trials] == list(range(25))
    assert study.best.score == min(result.score for result in study.trials)
    lines = study.table().splitlines()
    assert lines[0].split() == ["slot", "score", "lr", "beta", "layers"] and len(lines) == 27
    assert lines[1].split()[0] == str(study.best.slot) and lines[-1] == "25 trials: 25 complete"
    assert study.table(rows=3).splitlines()[4] == "... and 22 more"
    assert run(trials=25).table() == study.table() != run(trials=25, seed=1).table()


def test_random_tries_25_values_and_a_grid_5():
    space = tune.Space(lr=tune.log(1e-4, 1), beta=tune.ewa(0.9, 0.999))
    tried = run(space, lambda trial: trial["lr"], trials=25)
    checked = tune.grid(space, lambda trial: trial["lr"], points=5, progress=False)
    assert len({result.values["lr"] for result in tried.trials}) == 25
    assert len({result.values["lr"] for result in checked.trials}) == 5
    assert len({tuple(result.values.values()) for result in checked.trials}) == 25
    with pytest.raises(ValueError, match="at most 25"):
        checked.run(bowl, trials=26)


def test_maximize():
    study = run(objective=lambda trial: -bowl(trial), direction="maximize")
    assert study.best.slot == run().best.slot and study.best.score == max(result.score for result in study.trials)


def test_an_objective_sees_a_mapping_with_seed_and_folder():
    seen = []

    def objective(trial):
        seen.append((trial.slot, trial.seed, dict(trial), trial.folder.is_dir(), sorted(trial) == sorted(SPACE)))
        with pytest.raises(KeyError, match="did you mean 'layers'"):
            trial["layer"]
        return 0.0

    run(objective=objective, trials=3)
    assert [slot for slot, *_ in seen] == [0, 1, 2]
    assert len({seed for _, seed, *_ in seen}) == 3 and all(folder and names for *_, folder, names in seen)
    first = list(seen)
    seen.clear()
    run(objective=objective, trials=3)
    assert seen == first


def test_default_random_numbers_are_the_trials_own():
    drawn = []

    def objective(trial):
        drawn.append((float(tg.random.uniform(())), plain_random.random(), np.random.rand()))  # noqa: NPY002
        return 0.0

    tg.random.seed(5)
    before = tg.random.state().numpy().tolist(), plain_random.getstate()
    run(objective=objective, trials=3)
    assert (tg.random.state().numpy().tolist(), plain_random.getstate()) == before
    once = list(drawn)
    drawn.clear()
    tg.random.seed(6)
    run(objective=objective, trials=3)
    assert drawn == once and len(set(drawn)) == 3


def test_divergence_is_told_with_its_reason_and_is_the_worst():
    def objective(trial):
        if trial.slot == 1:
            return math.nan
        if trial.slot == 2:
            return -math.inf
        if trial.slot == 3:
            raise train.NonFiniteLossError("the loss became nan at step 7")
        return trial["lr"]

    study = run(objective=objective, trials=6)
    assert [result.state for result in study.trials] == ["complete", *["diverged"] * 3, "complete", "complete"]
    assert [result.score for result in study.trials[1:4]] == [None] * 3
    assert "gave nan" in study.trials[1].reason and "gave -inf" in study.trials[2].reason
    assert "the loss became nan at step 7" in study.trials[3].reason
    assert study.table().splitlines()[-1] == "6 trials: 3 complete, 3 diverged"


def test_optuna_hears_of_divergence_as_infinity():
    pytest.importorskip("optuna")
    for direction, worst in (("minimize", math.inf), ("maximize", -math.inf)):
        told = run(objective=lambda trial: math.nan if trial.slot else 1.0, trials=3, direction=direction).optuna()
        assert [trial.value for trial in told.trials] == [1.0, worst, worst]
        assert told.trials[1].user_attrs["reason"] == "the objective gave nan"
        assert set(told.trials[0].params) == {"lr", "1-beta", "layers"}


def test_an_error_is_kept_and_the_study_goes_on():
    def objective(trial):
        if trial.slot == 4:
            return {}["missing"]
        return "good" if trial.slot == 5 else trial["lr"]

    study = run(objective=objective, trials=7)
    assert [result.state for result in study.trials] == ["complete"] * 4 + ["failed"] * 2 + ["complete"]
    assert "KeyError" in study.trials[4].reason and "test_tune_study.py, line" in study.trials[4].reason
    assert "Traceback" in study.trials[4].traceback
    assert "must return a number, got str" in study.trials[5].reason
    assert study.retry() == 2 and len(study) == 5
    assert (
        study.run(lambda trial: trial["lr"], trials=7, progress=False).table()
        == run(objective=lambda trial: trial["lr"], trials=7).table()
    )


def test_an_objective_that_always_fails_ends_the_study():
    calls = []

    def objective(trial):
        calls.append(trial.slot)
        raise RuntimeError("no data")

    with pytest.raises(tune.StudyError, match=r"(?s)first 3 all so: RuntimeError: no data .*retry"):
        run(objective=objective, trials=25)
    assert calls == [0, 1, 2]


def test_nothing_complete_has_no_best():
    study = run(objective=lambda trial: math.inf, trials=2)
    with pytest.raises(ValueError, match="slot 0 diverged: the objective gave inf"):
        study.best  # noqa: B018
    with pytest.raises(ValueError, match="none has run"):
        tune.Study(SPACE).best  # noqa: B018


# folders -------------------------------------------------------------------------------------------------------------


def kept(tmp_path, **options):
    pytest.importorskip("optuna")
    return run(folder=tmp_path / "runs" / "search", **options)


def test_a_study_goes_on_and_runs_nothing_twice(tmp_path):
    calls = []

    def objective(trial):
        calls.append(trial.slot)
        return bowl(trial)

    first = kept(tmp_path, objective=objective, trials=5)
    assert kept(tmp_path, objective=objective, trials=5).table() == first.table() and len(calls) == 5
    more = kept(tmp_path, objective=objective, trials=8)
    assert calls == list(range(8)) and more.table() == run(trials=8).table()
    again = tune.Study.open(first.folder)
    assert again.space == SPACE and again.table() == more.table() and again.seed == 0
    assert (first.folder.stat().st_mode & 0o777, (first.folder / "slot-0007").is_dir()) == (0o700, True)


def test_optunas_own_file_has_the_same_trials(tmp_path):
    optuna = pytest.importorskip("optuna")
    study = kept(tmp_path, objective=lambda t: math.nan if t.slot == 2 else bowl(t), trials=4)
    storage = optuna.storages.RDBStorage(f"sqlite:///{study.folder / 'study.db'}")
    told = optuna.load_study(study_name="search", storage=storage)
    assert {trial.user_attrs["slot"]: trial.value for trial in told.trials} == {
        result.slot: math.inf if result.score is None else result.score for result in study.trials
    }
    assert told.best_trial.user_attrs["slot"] == study.best.slot
    storage.remove_session()
    storage.engine.dispose()


def test_retry_leaves_what_another_process_has_run_again(tmp_path):
    study = kept(tmp_path, objective=lambda trial: trial["lr"] if trial.slot else 1 / 0, trials=5)
    other = tune.Study.open(study.folder)
    assert other.retry() == 1
    other.run(bowl, trials=5, progress=False)
    study.retry()
    assert len(study.ranked) == 5 and len(tune.Study.open(study.folder).ranked) == 5


# samplers, pruning, zoom, importance ---------------------------------------------------------------------------------


def test_tpe_finds_more_than_random_and_repeats_itself_also_after_a_restart(tmp_path):
    pytest.importorskip("optuna")

    def one(trials, folder=None, sampler="tpe"):
        study = tune.Study(SPACE, sampler=sampler, seed=2, folder=folder)
        return study.run(bowl, trials=trials, progress=False)

    whole = one(30)
    one(7, tmp_path / "a")
    one(19, tmp_path / "a")
    assert one(30, tmp_path / "a").table() == whole.table()
    assert len({result.values["lr"] for result in whole.trials}) == 30
    late = [result.score for result in whole.trials[15:]]
    assert np.median(late) < np.median([result.score for result in one(30, sampler="random").trials[15:]])


def test_tpe_takes_conditions_and_counts():
    pytest.importorskip("optuna")
    space = tune.Space(
        rule=tune.choice("sgd", "adam"), beta=tune.ewa(0.9, 0.999).when(rule="adam"), batch=tune.pow2(16, 64),
        layers=tune.int(0, 2), units=tune.log_int(4, 9).each("layers"), p=tune.uniform(0, 0.5),
    )  # fmt: skip
    study = tune.Study(space, sampler="tpe").run(lambda trial: trial["p"], trials=14, progress=False)
    for result in study.trials:
        assert ("beta" in result.values) == (result.values["rule"] == "adam")
        assert len(result.values["units"]) == result.values["layers"] and result.values["batch"] in (16, 32, 64)


def test_the_median_pruner_ends_what_is_worse():
    pytest.importorskip("optuna")
    steps = []

    def objective(trial):
        for step in range(10):
            trial.report(trial["lr"] + 1 / (step + 1), step)
            steps.append(trial.slot)
        return trial["lr"]

    study = run(objective=objective, trials=20, pruner="median")
    pruned = [result for result in study.trials if result.state == "pruned"]
    assert pruned and len(steps) < 200 and "median" in pruned[0].reason
    assert pruned[0].score == pytest.approx(pruned[0].values["lr"] + 1.0)
    assert study.best.score == min(r.values["lr"] for r in study.trials)
    assert "pruned" in study.table().splitlines()[-1]


def test_a_watch_that_would_have_the_best_pruned_is_refused():
    pytest.importorskip("optuna")

    def objective(trial):
        trial.watch("dev_accuracy")
        return 0.5

    study = run(objective=objective, trials=1, pruner="median")
    assert study.trials[0].state == "failed" and "give direction='maximize'" in study.trials[0].reason
    for options in ({}, {"pruner": "median", "direction": "maximize"}):
        assert run(objective=objective, trials=1, **options).trials[0].state == "complete"


def test_a_watch_reports_every_epoch_of_a_training_run():
    x = np.random.default_rng(0).normal(size=(64, 2)).astype(np.float32)
    y = (x[:, 0] > x[:, 1]).astype(int)

    def objective(trial):
        model = tg.nn.Sequential(tg.nn.Linear(2, 2, seed=trial.seed))
        sgd = tg.optim.SGD(model.parameters(), lr=trial["lr"])
        history = train.fit(
            model,
            (x, y),
            optimizer=sgd,
            epochs=3,
            batch_size=64,
            progress=False,
            callbacks=[trial.watch("loss")],
            seed=trial.seed,
        )
        return history["loss"][-1]

    study = run(tune.Space(lr=tune.log(1e-3, 1)), objective, trials=2)
    for result in study.trials:
        reports = Slot.of(study.folder, result.slot).reports()
        assert list(reports) == [0, 1, 2] and reports[2] == pytest.approx(result.score)


def test_coarse_to_fine(tmp_path):
    pytest.importorskip("optuna")
    coarse = kept(tmp_path, trials=25)
    fine = coarse.zoom(trials=25, progress=False)
    best = [result.slot for result in coarse.ranked[:5]]
    assert fine.parent == {"folder": "..", "slots": best} and fine.folder == coarse.folder / "zoom"
    assert fine.space["lr"].low > 1e-4 and fine.space["lr"].high < 1
    values = [coarse.trials[slot].values["lr"] for slot in best]
    assert all(fine.space["lr"].holds(value) for value in values)
    assert fine.best.score < coarse.best.score
    again = tune.Study.open(fine.folder)
    assert again.parent == fine.parent and again.table() == fine.table()
    assert tune.Study.open(coarse.folder).zoom(bowl, trials=25, progress=False).table() == fine.table()
    finest = fine.zoom(trials=5, progress=False)
    assert finest.folder == fine.folder / "zoom" and finest.space["lr"].low >= fine.space["lr"].low
    with pytest.raises(ValueError, match="5 best trials, and 3 are complete"):
        run(trials=3).zoom()
    with pytest.raises(ValueError, match="pass zoom"):
        tune.Study.open(coarse.folder).zoom(trials=5)


def test_coarse_to_fine_beats_as_many_random_trials_on_a_smooth_score():
    wins = 0
    for seed in range(40):
        drawn = sorted((SPACE.draw(seed=seed, slot=slot) for slot in range(50)), key=bowl)
        coarse = sorted((SPACE.draw(seed=seed, slot=slot) for slot in range(25)), key=bowl)
        narrow = SPACE.narrowed(coarse[: kept_by_zoom(25)])
        fine = min(bowl(narrow.draw(seed=seed + 1000, slot=slot)) for slot in range(25))
        wins += fine < bowl(drawn[0])
    assert wins >= 28


def test_importance_sees_an_optimum_in_the_middle_and_nothing_in_noise():
    told = run(trials=60).importance()
    assert list(told)[0] == "lr" and told["lr"] > 0.6 and told["beta"] < 0.2 and told["layers"] < 0.2
    rng = np.random.default_rng(0)
    noise = [share(rng.random(25), ranks(rng.random(25))) for _ in range(200)]
    assert np.mean(noise) < 0.1 and share(np.arange(20.0), ranks([1.0] * 20)) == 0.0
    assert share([0.0] * 10 + [1.0] * 10, ranks([0.0] * 10 + [1.0] * 10)) == 1.0
    with pytest.raises(ValueError, match="8 trials or more"):
        run(trials=5).importance()


def test_diverged_trials_count_as_the_worst_in_importance():
    study = run(objective=lambda t: math.nan if t["lr"] > 0.03 else 0.5, trials=40)
    assert next(iter(study.importance())) == "lr"


def test_lines_on_standard_error(capsys):
    tune.random(SPACE, bowl, trials=3)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3 and lines[0].startswith("trial 1/3  slot 0  ") and lines[1].endswith("left")


def test_the_table_on_a_terminal():
    pytest.importorskip("rich")
    import io

    from tensorgraph.tune import live

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    study = run(trials=4)
    stream = Terminal()
    shown = live.shown_on(True, study, 6, type("Engine", (), {"workers": 2})(), stream)
    assert isinstance(shown, live.Table)
    with shown:
        shown.began(4, study.values(4))
        Slot.of(study.folder, 4).write_config(study.values(4), 0)
        Slot.of(study.folder, 4).report(3, 0.25)
        shown.told("slot 3: its process ended; it runs again")
        shown.look()
    text = stream.getvalue()
    marked = run(tune.Space({"units[red]": tune.choice("[/]", ":smile:")}), lambda trial: 0.5, trials=4)
    stream = Terminal()
    with live.shown_on(True, marked, 6, type("Engine", (), {"workers": 2})(), stream):
        pass
    assert all(word in stream.getvalue() for word in ("units[red]", "[/]", ":smile:"))
    assert "best" in text and "step 3  0.25" in text and "4 trials: 4 complete of 6" in text and "runs again" in text


def test_progress_is_read_of_a_training_runs_events(tmp_path):
    from tensorgraph.tune.live import progress_of

    slot = Slot(tmp_path, 0)
    assert progress_of(slot) == ""
    (tmp_path / "events.jsonl").write_text(
        '{"event": "start"}\n{"event": "epoch", "epoch": 2, "measures": {"loss": 0.5}}\n{"event": "step"}\n{"ev'
    )
    assert progress_of(slot) == "epoch 3  loss 0.5"
    assert Path(tmp_path / "events.jsonl").exists()
