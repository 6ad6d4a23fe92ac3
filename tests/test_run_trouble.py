"""What goes wrong around a run folder: a full disk, no rights, two processes, clocks, versions. Nothing is lost."""

import builtins
import errno
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from training_helpers import Crash, clouds, long_run, same_run, small, trained_by

from tensorgraph import data
from tensorgraph.files import FileFormatError
from tensorgraph.train import Run, RunBusyError, fit
from tensorgraph.train.run import folder as folders
from tensorgraph.train.run.digest import hash_array
from tensorgraph.train.run.lines import LineReader, LineWriter


@pytest.fixture(scope="module")
def undisturbed():
    return long_run(None)


def contents(folder):
    return {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


# the disk


def full(*args, **options):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
def test_after_a_full_disk_the_run_goes_on(tmp_path, monkeypatch, undisturbed, call):
    run = Run(tmp_path / "run", steps=2)
    real = getattr(os, call)

    class Fill:
        def on_step_end(self, training):
            if training.step == 8:
                monkeypatch.setattr(os, call, full)

    with pytest.raises(
        OSError, match=r"cannot be written \(No space left on device\): free space on the disk, and run the"
    ):
        long_run(run, callbacks=[Fill()])
    monkeypatch.setattr(os, call, real)
    assert run.status == "interrupted" and len(run.events()) > 5 and not list((tmp_path / "run/ckpt").glob(".*"))
    assert same_run(long_run(run), undisturbed)


def test_on_a_disk_that_is_really_full(tmp_path, undisturbed):
    small_disk = tmp_path / "disk"
    small_disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(small_disk)]
    try:
        if subprocess.run(mount, capture_output=True, timeout=60).returncode != 0:
            pytest.skip("disks are not to be mounted here")
    except FileNotFoundError:
        pytest.skip("there is no mount")
    try:
        run, left = Run(small_disk / "run", keep=2), small_disk / "large"

        class Fill:
            def on_step_end(self, training):
                if training.step == 8:
                    with open(left, "wb", buffering=0) as file:
                        try:
                            while file.write(bytes(4096)):
                                pass
                        except OSError:
                            pass

        with pytest.raises(OSError, match="No space left on device"):
            long_run(run, callbacks=[Fill()])
        before = run.checkpoints
        with pytest.raises(OSError, match="No space left on device"):
            long_run(run)
        assert run.checkpoints == before and before
        left.unlink()
        assert same_run(long_run(run), undisturbed)
    finally:
        subprocess.run(["umount", str(small_disk)], check=True, timeout=60)


def test_a_line_is_appended_whole_or_not_at_all(tmp_path, monkeypatch):
    writer = LineWriter(tmp_path / "lines")
    writer.add({"a": 1})
    real, calls = os.write, []

    def half(handle, content):
        calls.append(content)
        if len(calls) == 1:
            return real(handle, content[: len(content) // 2])
        return full()

    monkeypatch.setattr(os, "write", half)
    writer.add({"b": "x" * 100})
    with pytest.raises(OSError, match="cannot be written"):
        writer.flush()
    assert LineReader(tmp_path / "lines").new() == [{"a": 1}] and (tmp_path / "lines").read_bytes() == b'{"a":1}\n'
    monkeypatch.setattr(os, "write", real)
    writer.flush()  # what waited was not forgotten
    assert LineReader(tmp_path / "lines").new() == [{"a": 1}, {"b": "x" * 100}]
    writer.close()


def test_a_folder_without_rights_is_told_before_anything_runs(tmp_path, monkeypatch):
    def refuse(*args, **options):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    model = small()
    before = model.state_dict()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "mkdir", refuse)
        with pytest.raises(PermissionError, match=r"cannot be written \(Permission denied\): get the right to write"):
            fit(model, clouds(), optimizer=trained_by(model), epochs=1, run=tmp_path / "run", progress=False)
    assert all((before[name] == array).all() for name, array in model.state_dict().items())
    whole = long_run(tmp_path / "run", 1)
    real = os.open

    def reading_only(path, flags, *args, **options):
        if flags & (os.O_RDWR | os.O_WRONLY | os.O_CREAT):
            refuse()
        return real(path, flags, *args, **options)

    monkeypatch.setattr(os, "open", reading_only)
    run = Run(tmp_path / "run")  # it can be read all the same, and is not trained again
    assert run.status == "finished" and len(run.history) == 1 and run.checkpoints and run.events()
    assert same_run(long_run(run, 1), whole)
    with pytest.raises(PermissionError, match="get the right to write there, or choose another folder"):
        run.set("lr", 0.1)
    with pytest.raises(PermissionError, match="get the right to write there, or choose another folder"):
        long_run(run, 2)


def test_a_file_in_place_of_the_folder(tmp_path):
    (tmp_path / "run").write_text("mine")
    with pytest.raises(OSError, match="run"):
        long_run(tmp_path / "run", 1)
    assert (tmp_path / "run").read_text() == "mine" and Run(tmp_path / "run").status == "new"


# processes

TRAIN = """
import sys, time
from training_helpers import long_run
class Slow:
    def on_step_end(self, training):
        print(training.step, flush=True)
        sys.stdin.readline()
long_run(sys.argv[1], callbacks=[Slow()])
"""


def test_two_processes_on_one_run(tmp_path, undisturbed):
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent), "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-c", TRAIN, str(tmp_path / "run")]
    run = Run(tmp_path / "run")
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "1\n"
        assert run.status == "running"
        before = contents(tmp_path / "run")
        with pytest.raises(RunBusyError, match=rf"process {other.pid} on .* since .* trains in .*: wait for it"):
            long_run(run)
        assert contents(tmp_path / "run") == before
        command = run.set("lr", 0.5)
        other.stdin.write("\n")
        other.stdin.flush()
        assert run.wait(command, 60)["step"] == 1
        other.kill()
    assert run.status == "interrupted"
    history = long_run(run)[3]
    assert history.learning_rate == [0.1] + [0.5] * 17


def test_two_calls_in_one_process(tmp_path):
    class Again:
        def on_epoch_end(self, training):
            with pytest.raises(RunBusyError):
                long_run(tmp_path / "run")

    assert len(long_run(tmp_path / "run", 1, callbacks=[Again()])[3]) == 1


# clocks and versions


def test_a_clock_that_goes_backwards_changes_nothing(tmp_path, monkeypatch, undisturbed):
    now = [4e9]

    def backwards():
        now[0] -= 1000.0
        return now[0]

    monkeypatch.setattr(time, "time", backwards)
    run = Run(tmp_path / "run")
    for step in (4, 9):
        with pytest.raises(RuntimeError, match="power cut"):
            long_run(run, callbacks=[Crash(step)])
    assert [checkpoint.step for checkpoint in run.checkpoints] == [0, 3, 6]
    command = run.checkpoint("back")
    assert same_run(long_run(run), undisturbed)
    assert run.wait(command, 0.0)["event"] == "command"
    times = [event["time"] for event in run.events()]
    assert times == sorted(times, reverse=True) and run.history.values == undisturbed[3].values


def test_a_folder_of_a_newer_version_is_left_alone(tmp_path):
    long_run(tmp_path / "run", 1)
    file = tmp_path / "run/run.json"
    described = json.loads(file.read_text("utf-8"))
    file.write_text(json.dumps(described | {"version": 2}), "utf-8")
    before = contents(tmp_path / "run")
    for call in (lambda: long_run(tmp_path / "run", 2), lambda: Run(tmp_path / "run").status):
        with pytest.raises(FileFormatError, match=r"is of a run of version 2, this tensorgraph reads up to 1; upgrade"):
            call()
    assert contents(tmp_path / "run") == before
    for text, message in (('{"format": "x"}', "does not describe a run"), ("{", "is damaged"), ("[]", "not describe")):
        file.write_text(text, "utf-8")
        with pytest.raises(FileFormatError, match=message):
            Run(tmp_path / "run").status  # noqa: B018


def test_a_run_that_was_begun_with_an_older_library_goes_on(tmp_path, undisturbed):
    with pytest.raises(RuntimeError, match="power cut"):
        long_run(tmp_path / "run", callbacks=[Crash(8)])
    file = tmp_path / "run/run.json"
    described = json.loads(file.read_text("utf-8"))
    described["environment"] |= {"tensorgraph": "0.0.9", "numpy": "2.0.0"}
    described["digest"]["model"]["graph"] = ["what that version called it"]
    del described["made"]
    file.write_text(json.dumps(described), "utf-8")
    told = r"was begun elsewhere \(tensorgraph was 0.0.9 and is .*; numpy was 2.0.0 and is .*\): it goes on"
    with pytest.warns(RuntimeWarning, match=told):
        assert same_run(long_run(tmp_path / "run"), undisturbed)


# hashes


def test_the_hash_is_of_the_numbers_wherever_they_are(tmp_path):
    x = np.arange(12_000.0).reshape(300, 40)
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    same = [x, mapped, np.asfortranarray(x), np.repeat(x, 2, axis=1)[:, ::2], data.open_npy(tmp_path / "x.npy")]
    assert len({hash_array(array) for array in same}) == 1
    changed = x.copy()
    changed[-1, -1] = np.nextafter(changed[-1, -1], 0.0)
    assert hash_array(changed) != hash_array(x)
    assert hash_array(np.zeros((0, 3))) == hash_array(np.zeros(0)) and len(hash_array(np.array([np.nan]))) == 64


def test_where_files_cannot_be_locked_runs_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "fcntl", None)
    with pytest.raises(OSError, match="locked with flock, which this system does not have"):
        long_run(tmp_path / "run", 1)


def test_without_safetensors_the_extra_is_named(tmp_path, monkeypatch):
    real = builtins.__import__

    def missing(name, *args, **options):
        if name.startswith("safetensors"):
            raise ImportError(name)
        return real(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ImportError, match=r"tensorgraph-engine\[save\]"):
        long_run(tmp_path / "run", 1)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing is forked here")
def test_what_a_process_forked_does_not_keep_its_run_locked(tmp_path):
    import signal

    child = []

    class Fork:
        def on_step_end(self, training):
            if training.step == 2 and not child:
                child.append(os.fork())
                if child == [0]:
                    time.sleep(60)
                    os._exit(0)

    try:
        assert long_run(tmp_path / "run", 1, callbacks=[Fork()])[3].stopped == "epochs"
        assert os.waitpid(child[0], os.WNOHANG) == (0, 0) and not Run(tmp_path / "run").folder.busy()
        assert len(long_run(tmp_path / "run", 2)[3]) == 2
    finally:
        os.kill(child[0], signal.SIGKILL)
        os.waitpid(child[0], 0)


# other users


def test_a_folder_of_another_user_is_refused(tmp_path, monkeypatch):
    own = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: own + 1)
    long_run(tmp_path / "mapped", 1)  # a file system that gives all new files to one user
    (tmp_path / "run").mkdir()
    monkeypatch.setattr(folders.Folder, "_owner_of_new", lambda folder: own + 1)
    with pytest.raises(PermissionError, match=rf"run' belongs to another user \(number {own}\).*give another folder"):
        long_run(tmp_path / "run", 1)
    assert not os.listdir(tmp_path / "run")


def test_a_folder_is_closed_to_others_before_a_run_begins_in_it(tmp_path):
    for name in ("empty", "used"):
        (tmp_path / name).mkdir()
        (tmp_path / name).chmod(0o777)
    (tmp_path / "used" / "note").write_text("mine")
    before = os.umask(0)
    try:
        long_run(tmp_path / "empty", 1)
        with pytest.warns(RuntimeWarning, match=r"everybody may write to .*used', .*: chmod 700 it"):
            long_run(tmp_path / "used", 1)
    finally:
        os.umask(before)
    assert os.stat(tmp_path / "empty").st_mode & 0o777 == 0o700
    for file in (tmp_path / "empty" / "run.json", *(tmp_path / "empty" / "ckpt").iterdir()):
        assert os.stat(file).st_mode & 0o777 == 0o600
    assert os.stat(tmp_path / "used").st_mode & 0o777 == 0o777
    Run(tmp_path / "used").set("lr", 0.1)
    for name in ("events.jsonl", "control.jsonl", "lock"):
        assert os.stat(tmp_path / "used" / name).st_mode & 0o777 == 0o600


def test_no_file_is_written_through_a_link(tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("mine")
    run = Run(tmp_path / "run")
    for file in (run.folder.path / "lock", run.folder.events, run.folder.control):
        if file == run.folder.control:
            long_run(run, 1)
        run.folder.path.mkdir(exist_ok=True)
        file.symlink_to(precious)
        with pytest.raises(OSError, match="is a symbolic link, and a run's files are none: remove it"):
            run.set("lr", 0.1) if file == run.folder.control else long_run(run, 1)
        assert precious.read_text() == "mine"
        file.unlink()
