"""The command: what it prints, its exit codes, and errors in one line."""

import io
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from training_helpers import NAMES, clouds, small

import tensorgraph as tg
from tensorgraph import jit
from tensorgraph.commands import cli, doctor
from tensorgraph.commands.cli import main, one_line
from tensorgraph.commands.targets import example
from tensorgraph.data import Normalizer
from tensorgraph.files import MissingExtraError
from tensorgraph.jit import blas, memory
from tensorgraph.train import load_model, save
from tensorgraph.viz.render.engine import EngineError

MODULE = """
import tensorgraph as tg
from tensorgraph import nn

def make():
    return nn.Sequential(nn.Linear(4, 3, seed=0), nn.ReLU())

def with_example():
    return make(), tg.spec((5, 4))

def function(x, y):
    return tg.tanh(x) * y

class Net(nn.Module):
    def __init__(self):
        self.layer = nn.Linear(4, 2, seed=0)
    def forward(self, x):
        return self.layer(x)

model = make()
history = (tg.tensor([1.0], requires_grad=True) * 2.0).sum()
number = 3

class holder:
    net = model

def broken():
    raise KeyError("lost")
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "cli_models.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.modules.pop("cli_models", None)


@pytest.fixture
def saved(folder):
    data = clouds()
    path = folder / "model.safetensors"
    save(path, small(), normalizer=Normalizer().fit(data.x), class_names=NAMES)
    np.savez(folder / "data.npz", x=data.x, other=data.x[:2])
    return path


def failing(capsys, *arguments):
    """Run a command that fails; gives its one line."""
    assert main(list(arguments)) == 2
    told = capsys.readouterr()
    assert told.err.count("\n") == 1 and told.err.startswith("tensorgraph: ")
    return told.err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["cli_models:make", "-i", "5x4"], "0/matmul"),
        (["cli_models:with_example"], "5x3 f32"),
        (["cli_models:Net", "-i", "2x4:f32", "--level", "module"], "layer"),
        (["cli_models:holder.net", "--input", "2,4", "--depth", "1"], "2x3 f32"),
        (["cli_models:function", "-i", "3:f64", "-i", "()"], "tanh"),
        (["cli_models:history"], "multiply"),
        (["model.safetensors"], "32x3 f32"),
        (["model.safetensors", "-i", "7x3"], "7x3 f32"),
    ],
)
def test_draw_prints_text(saved, capsys, arguments, expected):
    assert main(["draw", *arguments]) == 0
    told = capsys.readouterr()
    assert expected in told.out and told.err == ""


def test_draw_writes_files(folder, capsys):
    for name in ("net.dot", "net.txt", "net.json"):
        assert main(["draw", "cli_models:with_example", "-o", name, "--theme", "dark"]) == 0
        assert (folder / name).stat().st_size > 100
        assert capsys.readouterr().out == f"Sequential: 3 ops: written to {name}\n"


def test_draw_takes_a_size(folder, capsys, monkeypatch):
    asked = []
    draw = tg.draw
    told = lambda *args, **given: asked.append(given["size"]) or draw(*args, **given)
    monkeypatch.setattr("tensorgraph.viz.draw", told)
    assert main(["draw", "cli_models:with_example", "--size", "1280x640"]) == 0 and asked == [(1280, 640)]
    with pytest.raises(SystemExit):
        main(["draw", "cli_models:with_example", "--size", "large"])
    assert "expected a width and a height in pixels, such as 1280x640; got 'large'" in capsys.readouterr().err


def test_draw_tells_what_is_wrong(saved, capsys, folder):
    for arguments, message in (
        (["cli_models"], "neither a file nor module:name"),
        (["no_such_module:net"], "cannot import 'no_such_module'"),
        (["cli_models:nothing"], "'cli_models' has no 'nothing'"),
        (["cli_models:number"], "expected a model, a function, a tensor or a graph to draw, got int"),
        (["cli_models:function"], "its arguments are needed"),
        (["cli_models:model", "-i", "2x5"], "takes 4 features"),
        (["cli_models:model", "-i", "2x4", "-o", "net.nothing"], "saved by its suffix"),
        (["cli_models:broken"], "KeyError: lost"),
        (["lost.safetensors"], "No such file or directory: 'lost.safetensors'"),
    ):
        assert message in failing(capsys, "draw", *arguments)
    assert sorted(p.suffix for p in folder.iterdir() if p.is_file()) == [".npz", ".py", ".safetensors"]
    with pytest.raises(KeyError):
        main(["--traceback", "draw", "cli_models:broken"])


def test_a_saved_model_without_a_linear_layer_needs_its_input(folder, capsys):
    save(folder / "m.safetensors", tg.nn.Sequential(tg.nn.ReLU()))
    assert "give the type of the input" in failing(capsys, "draw", "m.safetensors")


def test_predict_prints_names_and_probabilities(saved, capsys):
    assert main(["predict", str(saved), "data.npz"]) == 0
    lines = capsys.readouterr().out.splitlines()
    expected = load_model(saved).predict(clouds().x)
    assert [line.split("\t")[0] for line in lines] == expected.names
    np.testing.assert_allclose([float(line.split("\t")[1]) for line in lines], expected.confidence, atol=6e-5)
    assert main(["predict", str(saved), "data.npz", "-x", "other"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert "has no array 'z'; its arrays are 'x', 'other'" in failing(
        capsys, "predict", str(saved), "data.npz", "-x", "z"
    )
    saved.write_bytes(saved.read_bytes()[:-5])
    assert "is cut off" in failing(capsys, "predict", str(saved), "data.npz")


def test_types_on_the_command_line():
    assert example("64x784:f32") == tg.spec((64, 784), "float32") == example("64,784")
    assert example("8:int64") == tg.spec((8,), "int64") and example("()") == tg.spec(())
    assert example("3:bool") == tg.spec((3,), "bool")


@pytest.mark.parametrize(
    "arguments",
    [[], ["nothing"], ["draw"], ["draw", "a:b", "-i", "3xq"], ["draw", "a:b", "-i", "3:c64"], ["demo", "--fast"]],
)
def test_commands_that_are_not_understood_exit_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as told:
        main(arguments)
    assert told.value.code == 2 and "usage: tensorgraph" in capsys.readouterr().err


def test_version_and_help(capsys):
    for arguments, expected in ((["--version"], f"tensorgraph {tg.__version__}"), (["--help"], "doctor")):
        with pytest.raises(SystemExit) as told:
            main(arguments)
        assert told.value.code == 0 and expected in capsys.readouterr().out


def test_the_installed_command_and_a_reader_that_goes_away(folder):
    command = [sys.executable, "-c", "import sys; from tensorgraph.commands.cli import main; sys.exit(main())"]
    done = subprocess.run(
        [*command, "draw", "cli_models:number"], capture_output=True, text=True, timeout=120, cwd=folder
    )
    assert done.returncode == 2 and done.stdout == "" and done.stderr.count("\n") == 1
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [*command, "draw", "cli_models:with_example"], stdout=writer, stderr=subprocess.PIPE, timeout=120, cwd=folder
    )
    os.close(writer)
    assert done.returncode == 1 and done.stderr == b""


def test_interrupting(monkeypatch, capsys):
    def interrupted(options):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "run_doctor", interrupted)
    assert main(["doctor"]) == 130
    assert capsys.readouterr().err == "tensorgraph: interrupted\n"


def test_errors_are_one_line():
    assert one_line(ValueError("a\n  b")) == "a b"
    assert one_line(ZeroDivisionError("division by zero")) == "ZeroDivisionError: division by zero"
    assert one_line(ValueError()) == "ValueError"
    assert one_line(FileNotFoundError(2, "No such file or directory", "x")) == "No such file or directory: 'x'"
    assert one_line(MissingExtraError("install it")) == "install it"


def test_a_word_that_was_meant_is_named(capsys):
    for words, meant in ((["tran", "x.toml"], "train"), (["tune", "shwo", "x"], "show")):
        with pytest.raises(SystemExit) as ended:
            main(words)
        assert ended.value.code == 2 and f"did you mean {meant!r}?" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["elephants"])
    assert "did you mean" not in capsys.readouterr().err


def test_training_says_which_file_is_not_there(tmp_path, capsys):
    assert main(["train", str(tmp_path / "net.tg.py")]) == 2
    assert "there is no file" in capsys.readouterr().err
    (tmp_path / "a.toml").write_text('[model]\nfile = "net.tg.py"\n')
    assert main(["train", str(tmp_path / "a.toml")]) == 2
    assert "[data] is missing: write the table [data]" in capsys.readouterr().err


def test_doctor_finds_this_installation_well(capsys):
    assert main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"+ tensorgraph    {tg.__version__}")
    assert any(line.startswith("+ NumPy ") and np.__version__ in line for line in lines)
    assert not any(line.startswith("x") for line in lines)


def findings():
    return {finding.what: finding for finding in doctor.examine()}


def test_doctor_names_what_is_missing_and_the_remedy(monkeypatch):
    real = doctor.find_spec
    missing = ("rich", "mpi4py")
    monkeypatch.setattr(doctor, "find_spec", lambda name: None if name in missing else real(name))
    found = findings()
    assert found["mpi4py"].remedy == 'pip install "tensorgraph-engine[mpi]"'
    assert found["rich"].sign == "-" and found["rich"].remedy == 'pip install "tensorgraph-engine[train]"'
    monkeypatch.setattr("tensorgraph.viz.render.engine.find_engine", lambda: None)
    assert findings()["layout engine"].remedy.startswith("for pictures with a layout, install")
    monkeypatch.setenv("TENSORGRAPH_DOT", "no-such-program")
    monkeypatch.undo()
    monkeypatch.setenv("TENSORGRAPH_DOT", "no-such-program")
    assert "is not a program" in findings()["layout engine"].told


def test_doctor_tells_what_is_wrong_with_kernels(monkeypatch, capsys):
    monkeypatch.setattr(jit, "available", lambda: False)
    monkeypatch.setattr(jit, "reason", lambda: "ImportError: no numba")
    found = findings()["kernels"]
    assert found.wrong and "ImportError: no numba" in found.told and found.remedy
    assert main(["doctor"]) == 1
    assert capsys.readouterr().err == "tensorgraph: kernels: see above\n"
    monkeypatch.undo()
    monkeypatch.setattr(jit, "compiled", lambda: False)
    assert "unset NUMBA_DISABLE_JIT" in findings()["kernels"].remedy
    monkeypatch.setattr(jit, "compiled", lambda: True)

    class Failing:
        def public(x):
            raise RuntimeError("illegal instruction")

    monkeypatch.setattr(doctor, "softmax", Failing)
    assert "illegal instruction" in findings()["kernels"].told

    class Wrong:
        def public(x):
            return x

    monkeypatch.setattr(doctor, "softmax", Wrong)
    assert findings()["kernels"].wrong


def test_doctor_looks_at_the_kernels_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "cache"))
    assert findings()["kernel cache"].told == f"{tmp_path / 'cache'}: kernels are compiled once"
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "file" / "cache"))
    assert findings()["kernel cache"].remedy.startswith("set NUMBA_CACHE_DIR")
    monkeypatch.delenv("NUMBA_CACHE_DIR")
    monkeypatch.setattr(os, "access", lambda *args: False)
    assert "user's cache folder" in findings()["kernel cache"].told


def test_doctor_tells_which_blas_kernels_run(monkeypatch):
    monkeypatch.delenv("OPENBLAS_CORETYPE", raising=False)
    chosen = blas.Status(config="OpenBLAS 0.3.31 NO_AFFINITY x", before="Haswell", core="SkylakeX", threads=2)
    monkeypatch.setattr(blas, "status", lambda: chosen)
    told = findings()["BLAS"].told
    assert told.startswith("OpenBLAS 0.3.31; SkylakeX kernels, 2 threads (its own choice was Haswell)")
    monkeypatch.setattr(blas, "status", lambda: blas.Status(reason="not an OpenBLAS"))
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Zen")
    assert findings()["BLAS"].told == "its own choice of kernels (not an OpenBLAS)"
    monkeypatch.setattr(blas, "status", lambda: chosen)
    assert findings()["BLAS"].told.endswith(", OPENBLAS_CORETYPE=Zen") and not findings()["BLAS"].remedy
    monkeypatch.setattr(blas, "status", lambda: replace(chosen, core="Haswell", better="SkylakeX"))
    assert "tensorgraph.jit.blas.select() at the head" in findings()["BLAS"].remedy


def test_doctor_advises_to_keep_memory(monkeypatch):
    monkeypatch.setattr(memory, "_kept", None)
    monkeypatch.setattr(memory, "possible", lambda: True)
    assert "tensorgraph.jit.memory.keep() at the head" in findings()["memory"].remedy
    monkeypatch.setattr(memory, "_kept", True)
    assert findings()["memory"].told.startswith("up to 256 MB") and not findings()["memory"].remedy


def test_an_engine_that_fails_is_told(monkeypatch):
    def fail(*args, **kwargs):
        raise EngineError("the layout engine does not start")

    monkeypatch.setattr("tensorgraph.viz.render.engine.find_engine", lambda: "dot")
    monkeypatch.setattr("tensorgraph.viz.render.engine.run_engine", fail)
    assert findings()["layout engine"].told == "the layout engine does not start"


@pytest.mark.skipif(os.name != "posix", reason="the stand-in engines are shell scripts")
def test_an_engine_that_is_passed_over_is_told(monkeypatch, tmp_path):
    for name, script in (("dot", "echo 'no fonts' >&2; exit 3"), ("graphviz-pure", "echo '<svg></svg>'")):
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
    monkeypatch.delenv("TENSORGRAPH_DOT", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("tensorgraph.viz.render.engine.sys.executable", str(tmp_path / "python"))
    monkeypatch.setattr("tensorgraph.viz.render.engine.sysconfig.get_path", lambda name: str(tmp_path))
    found = findings()["layout engine"]
    assert found.told.startswith(
        f"{tmp_path / 'graphviz-pure'}: pictures of graphs; {tmp_path / 'dot'} does not work: "
    )
    assert "no fonts" in found.told and found.remedy


def test_demo_arguments(capsys, tmp_path, monkeypatch):
    assert "--seeds takes whole numbers" in failing(capsys, "demo", "--seeds", "0,x")
    seen = {}
    monkeypatch.setattr("tensorgraph.commands.demo.run", lambda output, **options: seen.update(options, output=output))
    from tensorgraph.commands import demo

    assert main(["demo", "-o", str(tmp_path / "out"), "--seeds", "3,1", "--quick"]) == 0
    assert seen == {"output": str(tmp_path / "out"), "seeds": [3, 1], "settings": demo.QUICK}


def test_output_is_flushed_before_success_is_told(monkeypatch):
    class Full(io.StringIO):
        def flush(self):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(sys, "stdout", Full())
    monkeypatch.setattr(cli, "run_doctor", lambda options: print("fine"))
    assert main(["doctor"]) == 2
