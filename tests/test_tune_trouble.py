"""What goes wrong around a study's folder: a full disk, no rights, two processes, clocks, versions. Nothing is lost."""

import errno
import json
import math
import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tensorgraph import tune
from tensorgraph.files import FileFormatError, locks
from tensorgraph.tune.slots import Slot

SPACE = tune.Space(lr=tune.log(1e-4, 1), beta=tune.ewa(0.9, 0.999), layers=tune.int(1, 4))


def bowl(trial):
    return abs(math.log10(trial["lr"]) + 2.0) + trial["layers"] / 100


def run(space=SPACE, objective=bowl, trials=12, **options):
    return tune.random(space, objective, trials=trials, progress=False, **options)


def kept(tmp_path, **options):
    pytest.importorskip("optuna")
    return run(folder=tmp_path / "runs" / "search", **options)


def contents(folder):
    return {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


# the disk


def full(*args, **options):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
def test_after_a_full_disk_the_study_goes_on(tmp_path, monkeypatch, call):
    def fill(trial):
        if trial.slot == 3:
            monkeypatch.setattr(os, call, full)
        return bowl(trial)

    with pytest.raises(tune.StudyError, match=r"cannot go on: .*No space left on device.*: put that right and run it"):
        kept(tmp_path, objective=fill, trials=6)
    monkeypatch.undo()
    study = tune.Study.open(tmp_path / "runs/search")
    assert 3 <= len(study) < 6 and not list(study.folder.rglob(".*.tmp"))
    assert kept(tmp_path, trials=6).table() == run(trials=6).table()


@pytest.mark.parametrize("pages", [1, 20])  # for no table, and for some
def test_where_the_disk_is_full_for_study_db_alone(tmp_path, monkeypatch, pages):
    pytest.importorskip("optuna")
    from tensorgraph.tune import record

    real = sqlite3.connect

    def small(*args, **options):
        connection = real(*args, **options)
        connection.execute(f"PRAGMA max_page_count={pages}")
        return connection

    monkeypatch.setattr(record.sqlite3, "connect", small)
    said = r"cannot go on: No space left on device: '.*study\.db'; the [1-9] of 12 trials that ended are kept"
    with pytest.raises(tune.StudyError, match=said):
        kept(tmp_path)
    monkeypatch.undo()
    assert kept(tmp_path).table() == run().table()


def test_a_folder_without_rights_is_told_and_can_be_read(tmp_path, monkeypatch):
    def refuse(path, *args, **options):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fspath(path))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "mkdir", refuse)
        with pytest.raises(PermissionError, match="search"):
            kept(tmp_path)
    whole = kept(tmp_path, trials=3).table()
    real = os.open

    def reading_only(path, flags, *args, **options):
        if flags & (os.O_RDWR | os.O_WRONLY | os.O_CREAT):
            refuse(path)
        return real(path, flags, *args, **options)

    monkeypatch.setattr(os, "open", reading_only)
    assert tune.Study.open(tmp_path / "runs/search").table() == whole
    with pytest.raises(tune.StudyError, match=r"cannot go on: Permission denied: .*the 3 of 4 trials that ended are"):
        kept(tmp_path, trials=4)
    monkeypatch.undo()
    assert kept(tmp_path, trials=4).table() == run(trials=4).table()


def test_files_are_their_owners_alone_whatever_the_umask(tmp_path):
    before = os.umask(0)
    try:
        study = kept(tmp_path, trials=2)
    finally:
        os.umask(before)
    assert os.stat(study.folder).st_mode & 0o777 == 0o700
    for file in (study.folder / "study.json", *study.folder.glob("slot-*/*")):
        assert os.stat(file).st_mode & 0o777 == 0o600, file


# clocks and versions


def test_a_clock_that_goes_backwards_changes_nothing(tmp_path, monkeypatch):
    now = [4e9]

    def backwards():
        now[0] -= 1000.0
        return now[0]

    monkeypatch.setattr(time, "time", backwards)
    first = kept(tmp_path, trials=4)
    assert all(result.seconds >= 0.0 for result in first.trials)
    assert kept(tmp_path, trials=8).table() == run(trials=8).table()


def test_a_study_of_another_version_is_left_as_it_is(tmp_path):
    study = kept(tmp_path, trials=2)
    said = json.loads((study.folder / "study.json").read_text())
    for version in (0, 2):
        (study.folder / "study.json").write_text(json.dumps(said | {"version": version}))
        before = contents(study.folder)
        for call in (lambda: kept(tmp_path), lambda: tune.Study.open(study.folder)):
            with pytest.raises(FileFormatError, match=f"version {version} and this .* reads version 1; use the tensor"):
                call()
        assert contents(study.folder) == before


# files and folders


def trials_of(path):
    """How many trials Optuna reads in a database."""
    import optuna

    storage = optuna.storages.RDBStorage(f"sqlite:///{path}")
    try:
        return len(optuna.load_study(study_name="search", storage=storage).trials)
    finally:
        storage.remove_session()
        storage.engine.dispose()


def test_study_db_is_made_anew_where_it_is_damaged_or_gone(tmp_path):
    study = kept(tmp_path, trials=3)
    path = study.folder / "study.db"
    path.write_bytes(b"no database at all" * 99)
    again = kept(tmp_path, trials=4)
    assert "was damaged" in again.notes[0] and list(study.folder.glob("study.db.damaged-*"))
    path.unlink()
    assert kept(tmp_path, trials=4).table() == again.table() == run(trials=4).table()
    assert trials_of(path) == 4


def test_torn_and_damaged_files_of_a_slot(tmp_path):
    study = kept(tmp_path, trials=4)
    whole = study.table()
    (study.folder / "slot-0001" / "outcome.json").write_bytes(b'{"slot": 1, "sta')
    (study.folder / "slot-0002" / "outcome.json").write_text(json.dumps({"slot": 7, "state": "complete"}))
    (study.folder / "slot-0003" / "config.json").write_bytes(b"")
    (study.folder / "slot-0003" / "outcome.json").unlink()
    (study.folder / "slot-0000" / "attempts.jsonl").write_bytes(b'{"event": "begin"}\n{"ev')
    assert len(tune.Study.open(study.folder)) == 1
    assert kept(tmp_path, trials=4).table() == whole
    slot = Slot.of(study.folder, 0)
    slot.note_lost("gone")
    assert slot.losses() == ["gone"]  # the torn line is passed over, and the next begins a line of its own


def test_another_study_in_the_folder_is_refused_by_its_differences(tmp_path):
    study = kept(tmp_path, trials=2)
    other = tune.Space(lr=tune.log(1e-3, 1), beta=tune.ewa(0.9, 0.999), layers=tune.int(1, 4))
    with pytest.raises(ValueError, match=r"another study: lr was log\(0.0001, 1.0\) and is log\(0.001, 1.0\)"):
        run(other, folder=study.folder)
    with pytest.raises(ValueError, match="seed was 0 and is 1"):
        run(folder=study.folder, seed=1)
    with pytest.raises(ValueError, match="direction was 'minimize' and is 'maximize'"):
        run(folder=study.folder, direction="maximize")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{}", "another format"),
        ("{", "does not hold a study"),
        ("[]", "another format"),
        ('{"format": "tensorgraph study", "version": 0}', "version 0 and this tensorgraph reads version 1"),
        ('{"format": "tensorgraph study", "version": 1}', "KeyError"),
        ('{"format": "tensorgraph study", "version": 1, "space": {"a": {"scale": "os.system"}}}', "does not hold"),
        (
            '{"format": "tensorgraph study", "version": 1, "space": {"a": {"scale": "Int", "low": 1, "high": 2}}}',
            "lacks",
        ),
    ],
)
def test_a_study_json_of_something_else_is_refused(tmp_path, content, words):
    (tmp_path / "study.json").write_text(content)
    with pytest.raises(FileFormatError, match=words):
        run(folder=tmp_path)


def test_folders_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OSError, match="file"):
        run(folder=tmp_path / "file" / "inside")
    with pytest.raises(FileNotFoundError, match="holds no study"):
        tune.Study.open(tmp_path)
    if os.geteuid():
        (tmp_path / "closed").mkdir(mode=0o500)
        with pytest.raises(PermissionError):
            run(folder=tmp_path / "closed" / "inside")


@pytest.mark.parametrize("name", ["a%20b", "what?mode=ro", "{lr}", "a #1", "über"])
def test_a_folders_name_is_no_address(tmp_path, name):
    study = kept(tmp_path / name, trials=3)
    assert (study.folder / "study.db").stat().st_size > 0 and os.listdir(tmp_path) == [name]
    (study.folder / "study.db").rename(tmp_path / "plain.db")
    assert trials_of(tmp_path / "plain.db") == 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_child_that_an_objective_forks_is_no_trial_and_keeps_no_slot():
    code = (
        "import os, sys, time; from tensorgraph import tune\n"
        "def objective(trial):\n"
        "    if not os.fork():\n"
        "        if trial.slot == 1:\n"
        "            time.sleep(3)\n"
        "        sys.exit(3)\n"
        "    return trial.slot\n"
        "study = tune.Study(tune.Space(x=tune.int(0, 9))).run(objective, trials=3, progress=False)\n"
        "with tune.slots.Slot.of(study.folder, 1).lock():\n"
        "    print([result.state for result in study.trials], flush=True)\n"
    )
    code = code.replace("tune.slots.Slot", "__import__('tensorgraph.tune.slots').tune.slots.Slot")
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and done.stdout == "['complete', 'complete', 'complete']\n", done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_child_that_has_not_begun_keeps_no_lock(tmp_path):
    handle = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    assert locks.take(handle)
    copy = os.dup(handle)  # as a fork makes it, until the child runs and closes it
    locks.let_go(handle)
    other = os.open(tmp_path / "lock", os.O_RDWR)
    try:
        assert locks.take(other)
    finally:
        locks.let_go(other)
        os.close(copy)


def test_two_drivers_of_one_study(tmp_path):
    study = kept(tmp_path, trials=1)
    code = (
        "import sys, time; from pathlib import Path; from tensorgraph.tune.locks import lock\n"
        "with lock(Path(sys.argv[1]), 'it'):\n    print('held', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, study.folder / "study.lock"], stdout=subprocess.PIPE)
    try:
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(tune.LockedError, match=f"in use by process {process.pid} on .* since 20"):
            kept(tmp_path, trials=2)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    assert len(kept(tmp_path, trials=2)) == 2  # the lock went with its process
