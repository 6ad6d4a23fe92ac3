"""A search whose processes are killed at random moments, its driver too, ends with the table of one left alone."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("loky")
pytest.importorskip("optuna")

import tune_program
from tune_engines import ENGINES, PATIENCE, installed

from tensorgraph import nn, optim, train, tune
from tensorgraph.tune.slots import lines_of

pytestmark = pytest.mark.kill


class Search:
    """The search of `tune_program` in a folder, started again whenever it is not there."""

    def __init__(self, folder, trials, engine):
        self.folder, self.witness, self.trials, self.engine = folder / "study", folder / "witness", trials, engine
        self.process, self.kept, self.drivers, self.out = None, {}, 0, folder / "said.txt"

    def start(self):
        self.drivers += 1
        command = [sys.executable, tune_program.__file__, self.folder, self.witness, str(self.trials), self.engine]
        # files, since what outlives a driver would hold a pipe open
        with (self.out).open("wb") as out, self.out.with_suffix(".err").open("ab") as err:
            self.process = subprocess.Popen(command, stdout=out, stderr=err)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def look(self):
        """Outcomes there are by now, of which none may ever change."""
        for path in self.folder.glob("slot-*/outcome.json"):
            self.kept.setdefault(path, path.read_bytes())
        return len(self.kept)

    def workers(self):
        """Processes that now run a trial."""
        found = []
        for folder in self.folder.glob("slot-*"):
            begun = [line["pid"] for line in lines_of(folder / "attempts.jsonl") if line["event"] == "begin"]
            if begun and not (folder / "outcome.json").exists():
                found.append(begun[-1])
        return found

    def size(self):
        return self.witness.stat().st_size if self.witness.exists() else 0

    def wait_for_work(self, seconds=PATIENCE):
        """Until a step is made that was not there before, or all is done."""
        before, until = self.size(), time.monotonic() + seconds
        while self.size() == before and self.process.poll() is None:
            assert time.monotonic() < until, "nothing happens"
            time.sleep(0.01)

    def end(self):
        self.process.wait(timeout=PATIENCE + 10 * self.trials)
        assert self.process.returncode == 0, self.out.with_suffix(".err").read_text()
        lines = self.out.read_text().splitlines(keepends=True)
        # Ray prints that a worker was lost, on standard output, and has no setting against it
        return "".join(line for line in lines if not line.startswith("\x1b[33m(raylet)"))


def steps_of(witness):
    """Of each slot the processes in the order in which they wrote, and how often each step was begun."""
    order, steps = {}, {}
    for line in witness.read_text().splitlines():
        slot, pid, step = line.split()
        if not order.get(slot) or order[slot][-1] != pid:
            order.setdefault(slot, []).append(pid)
        steps.setdefault(slot, Counter())[step] += 1
    return order, steps


@pytest.fixture(params=ENGINES)
def engine(request):
    """Each engine of processes in turn."""
    return installed(request.param)


def test_kills_at_random_moments_change_nothing(engine, tmp_path, kill_repetitions):
    rng = random.Random(kill_repetitions)
    search = Search(tmp_path, 3 * kill_repetitions, engine)
    search.start()
    killed = Counter()
    try:
        for _ in range(kill_repetitions):
            search.wait_for_work()
            time.sleep(rng.random() * 0.5)
            if search.process.poll() is not None:  # all is done already
                break
            search.look()
            workers = search.workers()
            if rng.random() < 0.4 or not workers:
                search.kill()
                killed["driver"] += 1
                search.start()
                continue
            try:
                os.kill(rng.choice(workers), signal.SIGKILL)
                killed["worker"] += 1
            except ProcessLookupError:  # it has just ended
                pass
        out = search.end()
    finally:
        search.kill()
    assert sum(killed.values()) >= kill_repetitions // 2, killed
    assert out == tune_program.table(search.trials) + "\n"
    assert all(path.read_bytes() == data for path, data in search.kept.items()), "an outcome has changed"
    assert search.look() == search.trials
    order, steps = steps_of(search.witness)
    assert sorted(map(int, order)) == list(range(search.trials))
    for slot, pids in order.items():
        assert len(pids) == len(set(pids)), f"two processes were in slot {slot} at once: {pids}"
        again = sum(steps[slot].values()) - tune_program.STEPS
        assert set(steps[slot]) == set(map(str, range(tune_program.STEPS))) and again <= len(pids) - 1
    for folder in search.folder.glob("slot-*"):
        assert json.loads((folder / "outcome.json").read_bytes())["state"] == "complete"


def test_an_orphan_ends_itself(engine, tmp_path):
    search = Search(tmp_path, 4, engine)
    search.start()
    try:
        search.wait_for_work()
        orphans = search.workers()
        assert orphans
        search.kill()
        until = time.monotonic() + PATIENCE
        while any(map(alive, orphans)):
            assert time.monotonic() < until, "an orphan lives on"
            time.sleep(0.05)
        size = search.size()
        time.sleep(0.3)
        assert search.size() == size
        search.start()
        assert search.end() == tune_program.table(4) + "\n"
    finally:
        search.kill()


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"  # ended, and not yet taken note of
    except OSError:
        return True


def test_a_trial_that_trains_in_its_folder_goes_on_from_its_checkpoint(tmp_path):
    pytest.importorskip("safetensors")
    kill = str(tmp_path / "kill")

    def objective(trial):
        x = np.random.default_rng(0).normal(size=(64, 2)).astype(np.float32)
        y = (x[:, 0] > x[:, 1]).astype(int)
        model = nn.Sequential(nn.Linear(2, 4, seed=trial.seed), nn.Tanh(), nn.Linear(4, 2, seed=trial.seed))
        adam = optim.Adam(model.parameters(), lr=trial["lr"])

        def end(training):
            if training.epoch == 3 and trial.slot == 1 and os.path.exists(kill):
                os.unlink(kill)
                os.kill(os.getpid(), signal.SIGKILL)

        history = train.fit(
            model, (x, y), optimizer=adam, epochs=6, batch_size=16, seed=trial.seed, run=trial.folder, progress=False,
            callbacks=[end],
        )  # fmt: skip
        return history["loss"][-1]

    space = tune.Space(lr=tune.log(1e-3, 1e-1))
    tables = []
    for name in ("alone", "killed"):
        Path(kill).touch() if name == "killed" else None
        study = tune.Study(space, folder=tmp_path / name)
        study.run(objective, trials=2, workers=1, engine="loky", threads=1, progress=False)
        tables.append(study.table())
    assert tables[0] == tables[1] and "2 complete" in tables[0]
    events = [line["event"] for line in lines_of(tmp_path / "killed" / "slot-0001" / "events.jsonl")]
    assert events.count("resume") == 1 and not os.path.exists(kill)


def test_a_new_driver_waits_for_an_orphan_that_does_not_end(engine, tmp_path):
    """Its slot is held by the orphan, which is stopped here, so the trial begins when the lock is free, not before."""
    search = Search(tmp_path, 2, engine)
    search.start()
    try:
        search.wait_for_work()
        (orphan, *_) = search.workers()
        os.kill(orphan, signal.SIGSTOP)
        search.kill()
        search.start()
        until = time.monotonic() + PATIENCE
        while search.look() < 1:  # the other slot is done meanwhile
            assert time.monotonic() < until
            time.sleep(0.05)
        assert search.process.poll() is None
        os.kill(orphan, signal.SIGKILL)
        assert search.end() == tune_program.table(2) + "\n"
    finally:
        search.kill()
    order, _ = steps_of(search.witness)
    assert all(len(pids) == len(set(pids)) for pids in order.values())
