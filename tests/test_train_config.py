"""``tensorgraph train CONFIG.toml``: a file says what is trained, nothing in it is run, errors name line and key."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tensorgraph import nn
from tensorgraph.commands.cli import main
from tensorgraph.data import write_idx
from tensorgraph.train import Run, load_model

CHECKOUT = Path(__file__).resolve().parent.parent

NET = """
def net(
    x: f32[N, 3], *, w1: Parameter[f32[3, H]] = he_normal(), b1: Parameter[f32[H]] = zeros(),
    w2: Parameter[f32[H, C]] = he_normal(), b2: Parameter[f32[C]] = zeros(),
):
    return relu(x @ w1 + b1) @ w2 + b2
"""
CLASSES = """
[model]
file = "net.tg.py"
sizes = { H = 8, C = 2 }
[data]
file = "table.csv"
label = "kind"
[training]
epochs = 3
batch_size = 16
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A table of three features and a kind, a price and an id; the same as arrays; a model's text."""
    pytest.importorskip("safetensors")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(120, 3)).astype(np.float32)
    kind = (x.sum(axis=1) > 0).astype(np.int64)
    price = x @ [3.0, -2.0, 1.0] + 0.5
    names = np.array(["low", "high"])[kind]
    lines = [f"{i},{a},{b},{c},{k},{p}" for i, ((a, b, c), k, p) in enumerate(zip(x.tolist(), names, price))]
    (tmp_path / "all.csv").write_text("\n".join(["id,a,b,c,kind,price", *lines]) + "\n")
    (tmp_path / "table.csv").write_text("\n".join(["a,b,c,kind", *[",".join(r.split(",")[1:5]) for r in lines]]) + "\n")
    np.savez(tmp_path / "data.npz", rows=x, kinds=kind)
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", kind)
    write_idx(tmp_path / "x.idx", x)
    write_idx(tmp_path / "y.idx.gz", kind.astype(np.uint8))
    (tmp_path / "net.tg.py").write_text(NET)
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path / "sub")  # paths are relative to the file, not to where one stands
    return tmp_path


def train(folder, text, *arguments):
    (folder / "run.toml").write_text(text, "utf-8")
    return main(["train", str(folder / "run.toml"), *arguments])


def failing(folder, capsys, text, *arguments):
    assert train(folder, text, *arguments) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and "Traceback" not in told
    return told


def test_a_file_says_all_and_options_take_the_place_of_keys(folder, capsys):
    assert train(folder, CLASSES) == 0
    told = capsys.readouterr().out
    assert "table.csv: 96 samples to train on, 24 to test on" in told and "test: loss" in told and "accuracy" in told
    made = {path.name for path in (folder / "trained").iterdir()}
    assert made == {"net.tg.py", "net.tg.safetensors", "net.safetensors", "net.svg"}
    model = load_model(folder / "trained" / "net.safetensors")
    assert model.class_names == ("high", "low") and model.normalizer.count == 96
    assert train(folder, CLASSES, "--epochs", "1", "--lr", "0.5", "-o", "here", "--test", "0.5", "--check") == 0
    told = capsys.readouterr().out
    assert "60 samples to train on, 60 to test on" in told and "1 epochs: nothing was trained" in told
    assert "lr=0.5" in told and not Path("here").exists()
    assert train(folder, CLASSES, "--epochs", "1", "-o", "here") == 0 and Path("here", "net.svg").is_file()


def test_the_page_is_true(folder, capsys):
    page = (CHECKOUT / "docs" / "train.md").read_text("utf-8")
    (folder / "houses.csv").write_text(
        "\n".join(
            ",".join(np.array(line.split(","))[[0, 1, 2, 3, 5]]) for line in (folder / "all.csv").read_text().split()
        )
    )
    (folder / "net.tg.py").write_text(NET.replace("C", "1"))
    (toml,) = re.findall(r"^```toml\n(.*?)^```$", page, re.S | re.M)
    assert train(folder, toml) == 0
    told = capsys.readouterr().out
    assert "84 samples to train on, 12 to decide on, 24 to test on" in told
    assert float(re.search(r"test: loss .* r2 ([0-9.]+)", told)[1]) > 0.9
    assert Run(folder / "runs" / "houses").status == "finished"
    for broken, line in ((toml.replace("0.05", "'fast'"), 0), (toml.replace("epochs", "epcohs"), 1)):
        told = failing(folder, capsys, broken).replace("run.toml", "houses.toml").replace(f"{folder}/", "")
        assert told == re.findall(r"^tensorgraph: .*\n", page, re.M)[line]


@pytest.mark.parametrize(
    "data",
    [
        'file = "data.npz"\nx = "rows"\ny = "kinds"',
        'file = "x.npy"\nlabels = "y.npy"',
        'file = "x.idx"\nlabels = "y.idx.gz"',
        'file = "table.csv"\nlabel = -1\nclass_names = ["low", "high"]\nin_memory = false',
        'file = "table.csv"\nlabel = 3\nclass_names = ["low", "high"]',
    ],
)
def test_the_same_data_in_each_form_trains_to_the_same_bits(folder, capsys, data):
    text = re.sub(r"(?s)file = \"table.*?kind\"", data, CLASSES)
    assert train(folder, text + "metrics = ['accuracy']\n[output]\nfolder = 'out'") == 0
    net = nn.GraphModule.from_file(folder / "out" / "net.tg.py", sizes=dict(H=8, C=2))
    np.savez(folder / "one.npz", x=np.load(folder / "x.npy"), y=np.load(folder / "y.npy"))
    assert train(folder, re.sub(r"(?s)file = \"table.*?kind\"", 'file = "one.npz"', CLASSES)) == 0
    same = nn.GraphModule.from_file(folder / "trained" / "net.tg.py", sizes=dict(H=8, C=2))
    assert all(net.state_dict()[name].tobytes() == array.tobytes() for name, array in same.state_dict().items())


def test_other_files_may_be_held_out(folder, capsys):
    held = 'label = "kind"\ntest = "table.csv"\ndev = "table.csv"\nnormalize = false'
    assert train(folder, CLASSES.replace('label = "kind"', held)) == 0
    assert "120 samples to train on, 120 to decide on, 120 to test on" in capsys.readouterr().out
    text = re.sub(r"(?s)file = \"table.*?kind\"", 'file = "x.npy"\nlabels = "y.npy"\ntest = "x.idx"\n', CLASSES)
    assert "[data] needs the key 'test_labels'" in failing(folder, capsys, text)
    assert train(folder, text.replace("test =", 'test_labels = "y.npy"\ntest =')) == 0


@pytest.mark.parametrize(
    ("more", "check"),
    [
        ("[optimizer]\nname = 'momentum'\nlr = 0.5\nbeta = 0.5\nnesterov = true\nclip_norm = 1.0", "Momentum"),
        ("[optimizer]\nname = 'adamw'\nbeta1 = 0.8\nweight_decay = 0.1", "beta1=0.8"),
        ("[schedule]\nname = 'cosine'\nwarmup = 3\nfinal = 0.001", "Adam"),
        ("[schedule]\nname = 'staircase'\nfactor = 0.5\nevery = 1\nper = 'epoch'", "Adam"),
        ("[schedule]\nname = 'piecewise'\nboundaries = [2, 4]\nvalues = [0.1, 0.01, 0.001]", "Adam"),
        ("[schedule]\nname = 'inverse_time'\ndecay = 1.0\nper = 'epoch'", "Adam"),
        ("[schedule]\nname = 'inverse_sqrt'", "Adam"),
    ],
)
def test_optimisers_and_schedules(folder, capsys, more, check):
    assert train(folder, CLASSES + more, "--check") == 0
    assert check in capsys.readouterr().out


def test_all_of_training_reaches_fit(folder, capsys):
    text = CLASSES.replace("batch_size = 16", "") + (
        "batch_size = [8, 16]\naccumulate = 2\nloss = 'nll'\nmetrics = ['recall']\nlast = 'keep'\nprefetch = 1\n"
        "seed = 3\nlint = false\nclass_weights = { high = 2.0, 1 = 0.5 }\n"
        "[training.early_stop]\npatience = 1\nmonitor = 'loss'\n[output]\nrun = 'runs/a'\nkeep = 1"
    )  # fmt: skip
    assert train(folder, text) == 0
    run = Run(folder / "runs" / "a")
    settings = run.events()[0]["settings"]
    assert settings["accumulate"] == 2 and settings["loss"] == "nll" and settings["batch_size"] == [8, 16]
    assert settings["class_weights"] == [2.0, 0.5] and settings["metrics"] == ["recall"]
    events = len(run.events())
    assert train(folder, text) == 0  # it is finished, and not trained again
    assert len(run.events()) == events


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("epochs = 3", "epochs = 'many'", "line 9: training.epochs must be a positive integer, got 'many'"),
        ("batch_size", "batchsize", "line 10: [training] has no key 'batchsize'; did you mean 'batch_size'?"),
        ("[data]", "[dta]", "line 5: [data] is missing: 'dta' stands there; did you mean 'data'?"),
        ("net.tg.py", "nett.tg.py", "line 3: model.file: No such file or directory"),
        ("net.tg.py", "nets.py:make", "line 3: model.file is 'nets.py:make': a file imports no code; write --model"),
        (
            "net.tg.py",
            "nets:make",
            "line 3: model.file is 'nets:make': a file imports no code; write --model nets:make",
        ),
        ("net.tg.py", "nets.py", "line 3: model.file: a model is a graph as text"),
        ('file = "net.tg.py"', "", "line 2: [model] needs the key 'file', a graph as text"),
        ("H = 8", "H = 0", "line 4: model.sizes"),
        ("H = 8", "Hh = 8", "line 4: model.sizes: net.tg.py has no dimension 'Hh'; there are N, H, C"),
        ("H = 8, ", "", "line 3: the model does not take samples of shape (3,)"),
        ('"kind"', '"kinds"', "line 6: data.file: "),
        ('"kind"', '"kind"\ntest = 1.5', "line 8: data.test must be"),
        ('"kind"', '"kind"\ntest = 1.0', "line 8: data.test must be a share between 0 and 1"),
        ('"kind"', '"kind"\ntest = 0.6\ndev = 0.4', "leave nothing to train on"),
        ('"kind"', '"kind"\ntest = "no.csv"', "line 8: data.test: No such file or directory"),
        ('file = "table.csv"', 'name = "digit"', "line 6: data.name is 'digit'; did you mean 'digits'?"),
        (
            "epochs = 3",
            "epochs = 3\nloss = 'msee'",
            "line 10: training.loss: loss 'msee' is unknown; did you mean 'mse'?",
        ),
        ("epochs = 3", "epochs = 3\nmetrics = ['r22']", "line 10: training.metrics: metric 'r22' is unknown"),
        ("epochs = 3", "epochs = 3\nearly_stop = {patince = 3}", "[training.early_stop] has no key 'patince'"),
        ("[data]", "[optimizer]\nname = 'adma'\n[data]", "line 6: optimizer.name is 'adma'; did you mean 'adam'?"),
        ("[data]", "[optimizer]\nbeta1 = 1.5\n[data]", "line 6: optimizer.beta1: Adam: beta1 must be a number"),
        ("[data]", "[optimizer]\nbeta = 0.5\n[data]", "line 6: [optimizer] has no key 'beta'; did you mean 'beta1'?"),
        ("[data]", "[schedule]\nname = 'exponential'\n[data]", "line 5: [schedule] needs the key 'rate'"),
        ("[data]", "[schedule]\nper = 'day'\n[data]", "line 6: schedule.per is 'day'; there are step, epoch"),
        ("C = 2", "C = ", "Invalid value (at line 4"),
    ],
)
def test_errors_name_the_line_and_the_key(folder, capsys, old, new, message):
    assert message in failing(folder, capsys, CLASSES.replace(old, new, 1)).replace(f"{folder}/", "")
    assert not (folder / "trained").exists()


def test_code_runs_where_the_command_line_names_it_alone(folder, capsys):
    (folder / "sub" / "nets.py").write_text(
        "from tensorgraph import nn\nprint('imported')\n"
        "def make():\n    return nn.Sequential(nn.Linear(3, 8, seed=0), nn.ReLU(), nn.Linear(8, 2, seed=1))\n"
        "number = 3\n"
    )
    text = CLASSES.replace('file = "net.tg.py"\nsizes = { H = 8, C = 2 }', "")
    assert train(folder, text, "--model", "nets.py:make") == 0
    told = capsys.readouterr().out
    assert "imported" in told and "make: " in told and (folder / "trained" / "make.safetensors").is_file()
    assert "leave one of them out" in failing(folder, capsys, CLASSES, "--model", "nets.py:make")
    assert "is a int, expected a Module" in failing(folder, capsys, text, "--model", "nets.py:number")
    text_file = str(folder / "net.tg.py")
    for arguments, message in (
        ([text_file, "--model", "a:b"], "--model goes with a configuration"),
        ([text_file], f"say what to train {text_file} on: --data"),
        (["net.tg.py"], "there is no file 'net.tg.py'"),
        (["run.toml", "--data", "digits"], "--data and --at go with a text"),
        (["none.toml"], "No such file"),
    ):
        assert main(["train", *arguments]) == 2
        assert message in capsys.readouterr().err


def test_a_folder_that_cannot_be_is_told_before_anything_is_trained(folder, capsys):
    told = failing(folder, capsys, CLASSES + "[output]\nfolder = 'table.csv/out'\n")
    assert "Not a directory: " in told and "table.csv/out'" in told


@pytest.mark.slow
def test_it_is_interrupted_and_goes_on(folder):
    """A real process, Ctrl-C in the middle, and the same command again: as if it had not been interrupted."""
    text = CLASSES.replace("epochs = 3", "epochs = 30") + "[output]\nrun = 'run'\nfolder = 'out'\n"
    command = [sys.executable, "-P", "-m", "tensorgraph", "train", "run.toml"]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    (folder / "run.toml").write_text(text)
    process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while len(Run(folder / "run").checkpoints if (folder / "run" / "run.json").exists() else []) == 0:
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 130 and b"the same command goes on" in out
    assert Run(folder / "run").status == "interrupted" and not (folder / "out").exists()
    assert subprocess.run(command, cwd=folder, env=environment, capture_output=True, timeout=120).returncode == 0
    there = load_model(folder / "out" / "net.safetensors").model.state_dict()
    (folder / "run.toml").write_text(text.replace("'run'", "'other'").replace("'out'", "'whole'"))
    assert subprocess.run(command, cwd=folder, env=environment, capture_output=True, timeout=120).returncode == 0
    whole = load_model(folder / "whole" / "net.safetensors").model.state_dict()
    assert all(there[name].tobytes() == whole[name].tobytes() for name in whole)


@pytest.mark.parametrize("check", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_the_example(tmp_path, capsys, check):
    pytest.importorskip("sklearn")
    pytest.importorskip("safetensors")
    for name in ("digits.toml", "digits.tg.py"):
        (tmp_path / name).write_text((CHECKOUT / "examples" / name).read_text("utf-8"), "utf-8")
    assert main(["train", str(tmp_path / "digits.toml"), *["--check"] * check]) == 0
    told = capsys.readouterr().out
    assert "1,257 samples to train on, 270 to decide on, 270 to test on" in told
    if not check:
        assert float(re.search(r"test: loss .* accuracy ([0-9.]+)", told)[1]) > 0.95
