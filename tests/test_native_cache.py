"""Machine code on disk: found by the next process, and never run where it might not be ours or not be whole."""

import json
import os
import subprocess
import sys
import threading

import numpy as np
import pytest

from tensorgraph.commands import doctor
from tensorgraph.commands.cli import main
from tensorgraph.native import cache, machine, objects

needs_code = pytest.mark.skipif(not machine.available(), reason=str(machine.reason()))
posix = pytest.mark.skipif(not hasattr(os, "geteuid"), reason="owners and modes are POSIX's")

PROGRAM = """
import json, sys
import numpy as np
from tensorgraph.native import objects
from tensorgraph.native.kernel import from_text, kernel
from tensorgraph.native.tape import Tape
from tensorgraph.native.words import WORDS

text = "def add(w, block, blocks):\\n    x = word_at(w, 0)\\n    store(x, load(x) + %s)\\n"
x = np.zeros(3)
kernels = [kernel(from_text(text % number, WORDS), x.dtype) for number in (1.0, 2.0)]
objects.entries(kernels)
Tape([(k.entry, [x.ctypes.data], 1) for k in kernels]).run()
print(json.dumps([objects.counts.compiled, objects.counts.loaded, float(x[0]), "numba" in sys.modules]))
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache" / "kernels"


def run(**extra):
    done = subprocess.run(
        [sys.executable, "-P", "-c", PROGRAM], capture_output=True, text=True, check=False, timeout=120,
        env={**os.environ, **extra},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def entries(place):
    return sorted(place.glob("*.o"))


@needs_code
def test_a_second_process_compiles_nothing(place):
    assert run() == [3, 0, 3.0, False]  # two kernels and the driver
    assert len(entries(place)) == 3
    assert run() == [0, 3, 3.0, False]
    assert run(TENSORGRAPH_VECTOR_BYTES="32")[:2] in ([3, 0], [0, 3])  # the latter where there are no wider vectors


@needs_code
def test_what_is_damaged_is_ignored_and_written_again(place):
    run()
    one, two, three = entries(place)
    whole = [path.read_bytes() for path in (one, two, three)]
    one.write_bytes(whole[0][:-7])  # cut off
    two.write_bytes(whole[0])  # an entry under another's name
    three.write_bytes(whole[2][:200] + bytes([whole[2][200] ^ 1]) + whole[2][201:])
    assert run() == [3, 0, 3.0, False]
    assert [path.read_bytes() for path in (one, two, three)] == whole
    for junk in (b"", cache.HEADER, os.urandom(5000)):
        one.write_bytes(junk)
        assert run() == [1, 2, 3.0, False]


@posix
def test_a_folder_that_others_may_write_is_not_used(place):
    with cache.opened() as found:
        found.write("a", b"object")
        assert found.read("a") == b"object"
    assert place.stat().st_mode & 0o777 == 0o700 and place.parent.stat().st_mode & 0o777 == 0o700
    for mode in (0o770, 0o702):
        place.chmod(mode)
        with cache.opened() as found:
            assert "can be written by others" in found.refusal
            assert found.read("a") is None
            found.write("b", b"object")
        assert [path.name for path in place.iterdir()] == ["a.o"]
        with pytest.raises(PermissionError, match="chmod 700"):
            cache.clear()
    place.chmod(0o755)
    with cache.opened() as found:
        assert found.read("a") == b"object"


@posix
def test_a_folder_of_another_user_is_not_used(place, monkeypatch):
    with cache.opened() as found:
        found.write("a", b"object")
    mine = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: mine + 1)
    with cache.opened() as found:
        assert f"belongs to user {mine}" in found.refusal and found.read("a") is None
    assert cache.refusal() == found.refusal


def test_a_full_disk_and_an_unwritable_place_keep_nothing(place, monkeypatch):
    def full(*args, **options):
        raise OSError(28, "No space left on device")

    with cache.opened() as found:
        monkeypatch.setattr(cache, "atomic_write", full)
        found.write("a", b"object")
        assert found.read("a") is None
    place.parent.joinpath("file").write_text("")
    monkeypatch.setenv(cache.VARIABLE, str(place.parent / "file"))
    with cache.opened() as found:
        assert found.refusal and found.read("a") is None
        found.write("a", b"object")


@needs_code
def test_nothing_is_kept_where_that_is_asked_for(tmp_path, monkeypatch):
    for told in ("off", ""):
        assert run(TENSORGRAPH_CACHE=told, HOME=str(tmp_path), XDG_CACHE_HOME="") == [3, 0, 3.0, False]
    assert not list(tmp_path.iterdir())
    monkeypatch.setenv(cache.VARIABLE, "off")
    assert cache.folder() is None and cache.contents().entries == 0 and cache.clear() == 0


def test_where_the_folder_is(monkeypatch, tmp_path):
    monkeypatch.delenv(cache.VARIABLE, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "elsewhere"))
    if os.name == "posix":
        assert cache.folder() == tmp_path / "elsewhere" / "tensorgraph" / "kernels"
        monkeypatch.setenv("XDG_CACHE_HOME", "relative")
        assert cache.folder() == tmp_path / ".cache" / "tensorgraph" / "kernels"


@needs_code
def test_several_processes_at_once(place):
    told = []
    threads = [threading.Thread(target=lambda: told.append(run())) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [one[2] for one in told] == [3.0] * 3 and len(entries(place)) == 3
    assert not list(place.glob(".*")) and run()[:2] == [0, 3]


def test_the_oldest_go_where_there_are_too_many(place, monkeypatch):
    monkeypatch.setattr(cache, "MOST", 5)
    with cache.opened() as found:
        for k in range(6):
            found.write(str(k), b"object")
            os.utime(place / f"{k}.o", (k, k))
        found.trim()
    assert [path.name for path in entries(place)] == ["3.o", "4.o", "5.o"]


def test_the_command_shows_and_clears(place, monkeypatch, capsys):
    assert main(["cache", "show"]) == 0
    assert capsys.readouterr().out == f"{place}: 0 entries, 0.0 kB\n" and not place.exists()
    with cache.opened() as found:
        found.write("a", bytes(5000))
    (place / ".b.o.1234.tmp").write_bytes(b"half")
    main(["cache", "show"])
    assert capsys.readouterr().out == f"{place}: 2 entries, 5.1 kB\n"
    assert main(["cache", "clear"]) == 0
    assert capsys.readouterr().out == "2 entries removed\n" and not list(place.iterdir())
    if os.name == "posix":
        place.chmod(0o777)
        main(["cache", "show"])
        assert "not used: " in capsys.readouterr().out
        assert main(["cache", "clear"]) == 2
        assert "chmod 700" in capsys.readouterr().err
    monkeypatch.setenv(cache.VARIABLE, "off")
    main(["cache", "show"])
    assert capsys.readouterr().out == "nothing is kept: TENSORGRAPH_CACHE is 'off'\n"


def test_the_doctor_tells(place, monkeypatch):
    def row():
        return next(finding for finding in doctor.examine() if finding.what == "machine code")

    monkeypatch.setattr(machine, "reason", lambda: "no llvmlite")
    assert row().told == "no: no llvmlite; compiled graphs run on NumPy"
    monkeypatch.undo()
    monkeypatch.setenv(cache.VARIABLE, "off")
    if machine.available():
        assert row().told.startswith(f"yes, vectors of {machine.machine().width} bytes") and "not kept" in row().told
        assert row().remedy.startswith("set TENSORGRAPH_CACHE")


@needs_code
def test_somebody_who_waits_at_a_terminal_is_told(monkeypatch, capsys):
    progress = objects._Progress()
    progress.tell("compiling kernels: 1 of 9")
    progress.end()
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(objects, "PATIENCE", -1.0)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    progress.tell("compiling kernels: 10 of 99")
    progress.tell("compiling kernels: 9 of 9")
    progress.end()
    shown = capsys.readouterr().err
    assert shown.startswith("\rcompiling kernels: 10 of 99\rcompiling kernels: 9 of 9") and shown.endswith(" \r")
    assert np.isfinite(objects.counts.seconds)
