"""Optuna's dashboard, where it is installed, opens the study that a folder keeps: every trial, value and state."""

import json
import math
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip("optuna")
pytest.importorskip("optuna_dashboard", reason="Optuna's dashboard is not installed: pip install optuna-dashboard")

from tensorgraph import tune

SPACE = tune.Space(
    lr=tune.log(1e-4, 1),
    beta=tune.ewa(0.9, 0.999),
    batch=tune.pow2(16, 64),
    rule=tune.choice("momentum", "adam"),
    beta2=tune.ewa(0.9, 0.9999).when(rule="adam"),
    layers=tune.int(1, 3),
    units=tune.log_int(4, 64).each("layers"),
)
STATES = {"complete": "Complete", "diverged": "Complete", "pruned": "Pruned", "failed": "Fail"}


def objective(trial):
    """Ends in each way that there is."""
    trial.report(1.0 + trial.slot, 0)
    if trial.slot == 1:
        return math.inf
    if trial.slot == 2:
        raise ValueError("no such layer")
    trial.report(50.0 if trial.slot == 7 else trial["lr"], 1)
    return trial["lr"]


@contextmanager
def dashboard(path, log):
    """What the dashboard, opened as docs/tune.md says, answers to a path of its API."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    script = Path(sys.executable).with_name("optuna-dashboard")
    command = [sys.executable, script, f"sqlite:///{path}", "--host", "127.0.0.1", "--port", str(port)]
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def ask(path):
        with opener.open(f"http://127.0.0.1:{port}/api/{path}", timeout=60) as answer:
            return json.load(answer)

    with log.open("wb") as said, subprocess.Popen(command, stdout=said, stderr=said) as process:
        try:
            until = time.monotonic() + 120
            while True:
                try:
                    ask("studies")
                    break
                except OSError:
                    assert process.poll() is None and time.monotonic() < until, log.read_text("utf-8")
                    time.sleep(0.1)
            yield ask
        finally:
            process.terminate()


def test_the_dashboard_shows_every_trial_with_its_values_and_its_state(tmp_path):
    study = tune.Study(SPACE, folder=tmp_path / "search", pruner="median")
    study.run(objective, trials=10, progress=False)
    assert {result.state for result in study.trials} == set(STATES)
    with dashboard(study.folder / "study.db", tmp_path / "said.txt") as ask:
        (listed,) = ask("studies")["study_summaries"]
        assert (listed["study_name"], listed["directions"]) == ("search", ["minimize"])
        shown = ask(f"studies/{listed['study_id']}?after=0")["trials"]
    assert len(shown) == len(study) == 10
    for result, trial in zip(study.trials, shown, strict=True):
        said = {entry["key"]: entry["value"].strip('"') for entry in trial["user_attrs"]}
        assert int(said["slot"]) == result.slot and trial["state"] == STATES[result.state], trial
        score = {"complete": result.score, "diverged": math.inf}.get(result.state)
        assert score is None or [float(value) for value in trial["values"]] == [score]
        if result.reason:
            assert result.reason.splitlines()[0] in " ".join(said.values())
        told = {entry["name"]: entry["param_external_value"] for entry in trial["params"]}
        assert told.pop("rule") == result.values["rule"]
        numbers = {name: float(text) for name, text in told.items()}
        assert numbers == pytest.approx(stored(result.values), rel=1e-12)
        assert trial["intermediate_values"][0] == {"step": 0, "value": 1.0 + result.slot}
    # looking at it changes nothing, and the study goes on
    assert tune.Study.open(study.folder).table() == study.table()
    assert len(study.run(objective, trials=11, progress=False)) == 11


def stored(values):
    """Numbers as Optuna has them: what is drawn evenly, or evenly in its logarithm."""
    told = {f"units.{i}": units for i, units in enumerate(values["units"])}
    told |= {"lr": values["lr"], "layers": values["layers"], "log2 batch": math.log2(values["batch"])}
    return told | {f"1-{name}": 1.0 - values[name] for name in ("beta", "beta2") if name in values}
