"""Studies whose slots run in groups, each one batched step: the same tables as one after another, also after kills."""

import json
import os
import random
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
from tune_engines import PATIENCE

from tensorgraph import nn, train, tune
from tensorgraph.tune.slots import Slot

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 4))
Y = (X[:, 0] * X[:, 1] > 0).astype(int)
SPACE = tune.Space(lr=tune.log(1e-3, 1e3), beta=tune.ewa(0.5, 0.99), units=tune.choice(4, 8))


def network(seed, units):
    return nn.Sequential(
        nn.Linear(4, units, bias=False, seed=seed), nn.BatchNorm(units), nn.ReLU(), nn.Linear(units, 2)
    )


def training(make=network, **options):
    options = dict(dev=(X[40:], Y[40:]), epochs=2, optimizer="momentum", batch_size=16) | options
    return tune.TrainingObjective(make, (X[:40], Y[:40]), **options)


def run(objective=None, batch=4, trials=10, **options):
    own = {k: options.pop(k) for k in ("folder", "pruner", "direction") if k in options}
    study = tune.Study(SPACE, batch=batch, seed=1, **own)
    return study.run(objective or training(), trials=trials, progress=False, **options)


def told(study):
    """All that is promised to be the same: no times."""
    return [(r.slot, r.values, r.state, r.score, r.reason) for r in study.trials]


@pytest.fixture(scope="module")
def one_by_one():
    return told(run(batch=1))


def test_a_batch_gives_the_scores_of_one_after_another(one_by_one):
    assert len(one_by_one) == 10 and all(state == "complete" for _, _, state, _, _ in one_by_one)
    for batch in (3, 32):
        study = run(batch=batch)
        assert told(study) == one_by_one  # to the last bit
        assert 0 < study.best.score == min(score for *_, score, _ in one_by_one)


def test_histories_are_kept():
    study = run(trials=3)
    for result in study.trials:
        history = train.History.from_dict(json.loads((result.folder / "history.json").read_text()))
        assert history["dev_loss"][-1] == result.score and len(history) == 2
        assert Slot(result.folder, result.slot).reports() == dict(enumerate(history["dev_loss"]))


def test_trials_that_diverge_are_told_and_one_that_cannot_be_made_fails_alone():
    def make(seed, units, lr):
        if units == 4 and lr < 1:
            raise ValueError(f"no {units} units at {lr:g}")
        return network(seed, units)

    space = tune.Space(lr=tune.choice(0.01, 1e39), units=tune.choice(4, 8))
    study = tune.Study(space, sampler="grid", batch=8).run(training(make, optimizer="sgd"), progress=False)
    states = {result.slot: result.state for result in study.trials}
    assert set(states.values()) == {"complete", "diverged", "failed"}
    for result in study.trials:
        if result.values["units"] == 4 and result.values["lr"] < 1:
            assert result.state == "failed" and "no 4 units at" in result.reason and "test_tune_batch" in result.reason
        elif result.state == "diverged":
            assert result.reason.startswith("FloatingPointError: diverged at step ") and result.score is None
        else:
            assert np.isfinite(result.score)


def test_more_trials_and_retries_leave_what_ended_as_it_is(tmp_path, one_by_one):
    run(trials=3, folder=tmp_path)
    kept = {path: path.read_bytes() for path in tmp_path.glob("slot-*/outcome.json")}
    assert len(kept) == 3
    assert told(run(folder=tmp_path)) == one_by_one
    assert all(path.read_bytes() == data for path, data in kept.items())
    # an outcome that is lost comes again, from the whole group
    (tmp_path / "slot-0005" / "outcome.json").unlink()
    assert told(run(folder=tmp_path)) == one_by_one


def test_pruning_in_a_batch():
    pytest.importorskip("optuna")
    study = run(training(epochs=4, metrics=()), batch=5, trials=15, pruner="median")
    ended = [result for result in study.trials if result.state == "pruned"]
    assert 0 < len(ended) < 10 and all(result.score is not None for result in ended)
    assert all("worse than the median" in result.reason for result in ended)
    assert all(len(Slot(r.folder, r.slot).reports()) < 4 for r in ended)


def test_grids_and_finer_studies_run_in_batches():
    space = tune.Space(lr=tune.log(1e-3, 1), units=tune.choice(4, 8))
    grid = tune.Study(space, sampler="grid", points=3, batch=4).run(training(optimizer="sgd"), progress=False)
    assert len(grid) == 6 and len(grid.ranked) == 6
    finer = grid.zoom(trials=3, progress=False)
    assert finer.batch == 4 and len(finer.ranked) == 3
    found = tune.random(space, training(optimizer="sgd"), trials=3, batch=3, progress=False)
    assert len(found.ranked) == 3


@pytest.mark.slow
def test_in_other_processes_which_are_lost(tmp_path, one_by_one):
    pytest.importorskip("joblib")
    pytest.importorskip("optuna")

    def make(seed, units, lr):
        first = tmp_path / "been"
        if lr == poison and not first.exists():
            first.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if lr == deadly:
            os._exit(3)
        return nn.Sequential(  # not by `network`, whose module the workers do not have
            nn.Linear(4, units, bias=False, seed=seed), nn.BatchNorm(units), nn.ReLU(), nn.Linear(units, 2)
        )

    poison, deadly = one_by_one[5][1]["lr"], None
    study = run(training(make), folder=tmp_path / "a", workers=2)
    assert told(study) == one_by_one
    losses = [len(Slot.of(study.folder, slot).losses()) for slot in range(10)]
    assert losses == [0] * 4 + [1] * 4 + [0] * 2  # the group runs again whole
    # one that always ends its process is given up alone
    deadly, poison = one_by_one[9][1]["lr"], None
    study = run(training(make), folder=tmp_path / "b", workers=2, retries=2)
    assert told(study)[:9] == one_by_one[:9]
    assert study.trials[9].state == "failed" and "its process was lost 3 times" in study.trials[9].reason


PROGRAM = """
    import sys, time
    import numpy as np
    from tensorgraph import nn, tune

    x = np.random.default_rng(0).normal(size=(60, 4))
    y = (x[:, 0] * x[:, 1] > 0).astype(int)

    def network(seed, units):
        time.sleep(0.02)
        return nn.Sequential(
            nn.Linear(4, units, bias=False, seed=seed), nn.BatchNorm(units), nn.ReLU(), nn.Linear(units, 2)
        )

    if __name__ == "__main__":
        space = tune.Space(lr=tune.log(1e-3, 1e3), beta=tune.ewa(0.5, 0.99), units=tune.choice(4, 8))
        objective = tune.TrainingObjective(
            network, (x[:40], y[:40]), dev=(x[40:], y[40:]), epochs=2, optimizer="momentum", batch_size=16
        )
        study = tune.Study(space, batch=4, seed=1, folder=sys.argv[1])
        study.run(objective, trials=10, progress=False)
        print([(r.slot, r.values, r.state, r.score, r.reason) for r in study.trials])
"""


@pytest.mark.kill
@pytest.mark.slow
def test_a_killed_study_goes_on_to_the_same_table(tmp_path, one_by_one, kill_repetitions):
    pytest.importorskip("optuna")
    script = tmp_path / "search.py"
    script.write_text(textwrap.dedent(PROGRAM))
    chance = random.Random(0)
    for n in range(kill_repetitions):
        command = [sys.executable, script, tmp_path / f"study{n}"]
        done = lambda n=n: list((tmp_path / f"study{n}").glob("slot-*/outcome.json"))
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        until = time.monotonic() + PATIENCE
        least = chance.choice([0, 1, 2, 4, 6])
        while len(done()) < least and process.poll() is None and time.monotonic() < until:
            time.sleep(0.005)
        time.sleep(chance.uniform(0, 0.2) + (1.5 if least == 0 else 0.0))
        process.kill()
        process.communicate()
        kept = {path: path.read_bytes() for path in done()}
        out = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True).stdout
        assert out.strip() == str(one_by_one)
        assert all(path.read_bytes() == data for path, data in kept.items())


def test_ctrl_c_keeps_whole_groups():
    seen = []

    def make(seed, units):
        seen.append(seed)
        if len(seen) == 6:
            os.kill(os.getpid(), signal.SIGINT)
        return network(seed, units)

    study = run(training(make), trials=10)
    assert study.stopped == "interrupted" and len(study) == 4
    assert len(study.run(training(), trials=10, progress=False)) == 10


def test_refusals():
    with pytest.raises(
        TypeError, match=r"batch=4 trains networks side by side, so the objective must be a tune\.TrainingObjective"
    ):
        run(lambda trial: 0.0)
    with pytest.raises(ValueError, match="monitor is one of loss, accuracy, dev_loss, dev_accuracy, got 'dev_los'"):
        training(monitor="dev_los")
    with pytest.raises(ValueError, match="give dev="):
        training(dev=None, monitor="dev_loss")
    assert training(dev=None).monitor == "loss"
    for monitor, direction, right in (("dev_accuracy", "minimize", "maximize"), ("dev_loss", "maximize", "minimize")):
        with pytest.raises(ValueError, match=rf"er '{monitor}' is better, .*={direction!r}: give direction={right!r}"):
            run(training(monitor=monitor), direction=direction)

    def surprise(outputs, y):  # whether more of it is better nobody knows
        return 1.0

    for direction in ("minimize", "maximize"):
        own = training(monitor="dev_surprise", metrics=[surprise])
        assert run(own, trials=1, direction=direction).best.score == 1.0
    study = tune.Study(tune.Space(unit=tune.choice(4)), batch=2).run(training(), trials=2, progress=False)
    assert all("'unit', which nobody takes" in result.reason for result in study.trials)
