"""``tensorgraph panda``: each command reaches a run that trains, and the answer is told; what cannot be is told too."""

import re
import subprocess
import sys
import time

import pytest
from run_events import steered, written
from run_training import trained

from tensorgraph.commands.cli import main
from tensorgraph.files import FileFormatError
from tensorgraph.train import Run
from tensorgraph.train.run.control import status_at_once
from tensorgraph.train.run.lines import as_line


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    with trained(tmp_path_factory.mktemp("panda") / "first") as run:
        yield run


def told(capsys, *arguments, code=0):
    """What a command prints, standard output or error."""
    assert main(["panda", *map(str, arguments)]) == code
    out, err = capsys.readouterr()
    return err if code else out


def becomes(run, status):
    """Wait until a run stands so: it says so soon after its answer."""
    until = time.monotonic() + 120
    while run.status != status:
        assert time.monotonic() < until, run.status
        time.sleep(0.01)


def test_what_is_set_is_set(run, capsys):
    folder = run.folder.path
    assert re.fullmatch(r"step [\d,]+: set lr = 0\.002\n", told(capsys, folder, "set", "lr", "0.002"))
    assert run.hyperparameters["lr"] == 0.002
    assert re.fullmatch(r"step [\d,]+: set epochs = 3000\n", told(capsys, folder, "set", "epochs", "3000"))
    refused = told(capsys, folder, "set", "speed", "1", code=1)
    assert refused.startswith("tensorgraph: refused: ") and "speed" in refused and "beta1" in refused
    assert "epochs" in told(capsys, folder, "set", "epochs", "1.5", code=1)


def test_a_run_waits_and_goes_on(run, capsys):
    folder = run.folder.path
    assert told(capsys, folder, "pause").endswith(": pause\n")
    becomes(run, "paused")
    assert "already" in told(capsys, folder, "pause", code=1)
    assert told(capsys, folder, "checkpoint", "--name", "good").endswith(": checkpoint named good\n")
    assert told(capsys, folder, "resume").endswith(": resume\n")
    becomes(run, "running")
    assert "good" in [checkpoint.name for checkpoint in run.checkpoints]
    assert told(capsys, folder, "rollback", "good").endswith(": rollback to good\n")
    assert "there is no checkpoint 'best'" in told(capsys, folder, "rollback", "best", code=1)
    number = next(c.number for c in run.checkpoints if c.name == "good")  # others are dropped meanwhile
    assert f": rollback to {number}\n" in told(capsys, folder, "rollback", number)
    told(capsys, folder, "set", "lr", "0.003")
    log = told(capsys, folder, "log")
    lines = log.splitlines()
    assert len(lines) > 5 and all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  step ", line) for line in lines)
    for words in ("set", "pause", "continue", "went back to", "refused: "):
        assert words in log
    assert "epoch: " not in log and "epoch: " in told(capsys, folder, "log", "--all")


def test_a_command_may_be_left(run, capsys):
    found = re.fullmatch(
        r"left for the run, as ([0-9a-f]{16})\n", told(capsys, run.folder.path, "checkpoint", "--no-wait")
    )
    assert run.wait(found[1])["event"] == "command"


def test_where_nobody_trains(tmp_path, capsys):
    written(tmp_path / "done", steered())
    written(tmp_path / "killed", steered()[:40])
    for name, words in (
        ("done", "it is finished"),
        ("killed", "it was interrupted; run the same"),
        ("lost", "there is no run"),
    ):
        for command in (["pause"], ["set", "lr", "1"], ["rollback"], ["stop"]):
            error = told(capsys, tmp_path / name, *command, code=2)
            assert words in error and error.count("\n") == 1
        assert not (tmp_path / name / "control.jsonl").exists()
    (tmp_path / "empty").mkdir()
    assert "no run was begun" in told(capsys, tmp_path / "empty", "stop", code=2)
    assert "left for the run" in told(capsys, tmp_path / "killed", "set", "lr", "0.5", "--no-wait")
    assert (tmp_path / "killed" / "control.jsonl").read_text().count('"value":0.5') == 1


def test_where_no_run_was_begun_nothing_is_shown(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    for command in (["log"], ["report"], ["report", tmp_path / "page.html"]):
        assert f"no run was begun in {str(tmp_path / 'empty')!r} yet: fit(" in told(
            capsys, tmp_path / "empty", *command, code=2
        )
    with pytest.raises(FileNotFoundError, match=r"no run was begun in .*empty' yet; fit"):
        Run(tmp_path / "empty").report(tmp_path / "page.html")
    assert not list(tmp_path.rglob("*.html"))


def test_a_run_of_a_newer_version_is_not_misread(tmp_path, capsys):
    run = written(tmp_path / "newer", steered())
    file = tmp_path / "newer" / "run.json"
    file.write_text(file.read_text("utf-8").replace('"version": 1', '"version": 2'), "utf-8")
    before = sorted(tmp_path.rglob("*"))
    for command in (["watch"], ["watch", "--web"], ["log"], ["report"], ["stop"], ["stop", "--no-wait"]):
        error = told(capsys, tmp_path / "newer", *command, code=2)
        assert "is of a run of version 2, this tensorgraph reads up to 1; upgrade" in error and error.count("\n") == 1
    for read in (run.events, run.watch, lambda: run.settable, lambda: run.history, run.load):
        with pytest.raises(FileFormatError, match=r"run of version 2, this tensorgraph reads up to 1; upgrade"):
            read()
    run.folder.events.unlink()  # one that waits for the first event
    assert "version 2" in told(capsys, tmp_path / "newer", "watch", code=2)
    assert sorted(tmp_path.rglob("*")) == [path for path in before if path.name != "events.jsonl"]


def test_a_study_is_no_run(tmp_path, capsys):
    """And would be waited for."""
    (tmp_path / "search").mkdir()
    (tmp_path / "search" / "study.json").write_text("{}")
    for command in ("watch", "log", "stop"):
        assert "search' holds a study: `tensorgraph tune show " in told(capsys, tmp_path / "search", command, code=2)


def test_how_a_run_stands_is_read_off_the_lines_that_say_it(tmp_path):
    events = steered()
    for count in (1, 10, 40, len(events)):
        run = written(tmp_path / str(count), events[:count])
        assert status_at_once(run.folder) == Run(run.folder.path).status
    paused = written(tmp_path / "paused", [*events[:40], {"event": "pause", "time": 1.0, "step": 36, "epoch": 3}])
    with open(paused.folder.events, "ab") as file:
        file.write(b'{"event":"end","rea')  # a line that a kill cut off
    paused.folder.acquire()
    try:
        assert status_at_once(paused.folder) == "paused" == Run(paused.folder.path).status
    finally:
        paused.folder.release()
    assert status_at_once(Run(tmp_path / "nothing").folder) == "new"


def test_an_answer_is_looked_for_after_the_command_alone(tmp_path):
    run = written(tmp_path / "run", steered()[:40])
    with open(run.folder.events, "r+b") as file:
        file.write(b"X")  # damage of long ago, which is told to those who read it
    command = run.pause()
    with open(run.folder.events, "ab") as file:
        file.write(as_line({"event": "command", "id": command, "command": "pause", "step": 36, "epoch": 3}))
    assert run.wait(command, 0)["step"] == 36
    with pytest.raises(FileFormatError, match="line 1, is damaged"):
        Run(run.folder.path).wait(command, 0)


def test_no_answer_in_time(tmp_path, capsys, monkeypatch):
    run = written(tmp_path / "deaf", steered()[:40])
    run.folder.acquire()  # who trains here never looks
    try:
        error = told(capsys, tmp_path / "deaf", "pause", "--timeout", "0.2", code=2)
    finally:
        run.folder.release()
    assert "no answer within 0.2 s: the run is running" in error


def test_watching_what_has_ended(tmp_path, capsys):
    written(tmp_path / "done", steered())
    lines = told(capsys, tmp_path / "done", "watch").splitlines()
    assert lines[0].startswith("step 0: began") and lines[-1] == "ended (epochs) at epoch 6 of 6, step 60"
    written(tmp_path / "killed", steered()[:40])
    assert "it was interrupted at epoch" in told(capsys, tmp_path / "killed", "watch", "--lines").splitlines()[-1]
    Run(tmp_path / "done").watch(lines=True)
    assert capsys.readouterr().out.splitlines() == lines


def test_the_report_of_a_run_with_its_network(run, tmp_path, capsys):
    file = tmp_path / "run.html"
    told(capsys, run.folder.path, "set", "lr", "0.004")
    assert told(capsys, run.folder.path, "report", file) == f"written to {file}\n"
    page = file.read_text("utf-8")
    assert "<h2>Network</h2>" in page and "BatchNorm" in page and "set lr = 0.004" in page
    told(capsys, run.folder.path, "report")
    assert (run.folder.path / "report.html").stat().st_size > 10_000
    assert "does not exist" in told(capsys, run.folder.path, "report", tmp_path / "no" / "x.html", code=2)


def test_what_is_not_understood(capsys):
    for words in (["panda"], ["panda", "x"], ["panda", "x", "set", "lr"], ["panda", "x", "set", "lr", "much"],
                  ["panda", "x", "jump"], ["panda", "x", "watch", "--port", "high"]):  # fmt: skip
        with pytest.raises(SystemExit) as stopped:
            main(words)
        assert stopped.value.code == 2
    with pytest.raises(SystemExit):
        main(["panda", "--help"])
    assert "set lr 0.001" in capsys.readouterr().out


def test_a_confusion_matrix_ends_a_run_of_a_classifier(tmp_path):
    from training_helpers import clouds, small, trained_by

    from tensorgraph.train import fit, metrics, predict

    data, model = clouds(), small()
    fit(model, data, dev=data, optimizer=trained_by(model), epochs=1, run=tmp_path / "run", progress=False)
    end = Run(tmp_path / "run").events()[-1]
    assert end["event"] == "end" and end["confusion"]["names"] == ["low", "high"]
    assert end["confusion"]["counts"] == metrics.confusion_matrix(predict(model, data.x), data.y).tolist()
    other = small()
    fit(other, data, optimizer=trained_by(other), epochs=1, run=tmp_path / "other", progress=False)
    assert "confusion" not in Run(tmp_path / "other").events()[-1]


def test_from_another_process(run):
    command = [sys.executable, "-m", "tensorgraph", "panda", str(run.folder.path)]
    done = subprocess.run([*command, "set", "beta1", "1.5"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 1 and "refused" in done.stderr and done.stdout == ""
