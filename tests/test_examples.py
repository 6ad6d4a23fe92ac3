"""The examples run as they stand and show what they promise."""

import json
import re
import runpy
import sys
from pathlib import Path

import mpi_jobs
import numpy as np
import pytest

import tensorgraph as tg
from tensorgraph import jit

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
# in plain Python too
QUICK = ("gradients.py", "graphs.py", "rewriting.py", "policy_gradient.py", "gaussian_process.py")


TORCH_LOSSES = json.loads((Path(__file__).with_name("golden") / "torch_losses.json").read_text("utf-8"))


def run(name, tmp_path, monkeypatch, capsys, size=None, globals_too=False):
    if not jit.compiled() and name not in QUICK:
        pytest.skip("it takes long without compiled kernels")
    monkeypatch.chdir(tmp_path)
    if size is not None:
        monkeypatch.setattr(sys, "argv", [name, str(size)])
    names = runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    told = capsys.readouterr().out
    return (told, names) if globals_too else told


@pytest.fixture
def in_float64():
    """The examples as they stand, in the precision in which PyTorch's losses are recorded."""
    tg.set_default_dtype("float64")
    yield
    tg.set_default_dtype("float32")


def as_in_torch(names, example):
    """Its first losses are those that `tests/torch_losses.py` has from PyTorch."""
    np.testing.assert_allclose(names["losses"][:20], TORCH_LOSSES[example], rtol=1e-5)


def is_picture(path):
    return path.read_bytes()[:4] == b"\x89PNG"


def test_every_example_is_tested():
    tested = re.findall(r'run\("(\w+\.py)"', Path(__file__).read_text("utf-8"))
    assert sorted(tested) == sorted(path.name for path in EXAMPLES.glob("*.py") if not path.name.endswith(".tg.py"))


@pytest.mark.slow
def test_digits(tmp_path, monkeypatch, capsys):
    pytest.importorskip("sklearn")
    pytest.importorskip("safetensors")
    told = run("digits.py", tmp_path, monkeypatch, capsys)
    assert float(re.search(r"'accuracy': ([0-9.]+)", told)[1]) > 0.95
    assert re.search(r"predicted: Prediction\((\d [0-9.]+%(, )?){5}\) true: \[", told)
    assert (tmp_path / "digits.safetensors").is_file()


def test_by_hand(tmp_path, monkeypatch, capsys):
    pytest.importorskip("sklearn")
    told = run("by_hand.py", tmp_path, monkeypatch, capsys)
    assert float(re.search(r"test accuracy ([0-9.]+)%", told)[1]) > 95.0


def test_ensemble(tmp_path, monkeypatch, capsys):
    pytest.importorskip("sklearn")
    told = run("ensemble.py", tmp_path, monkeypatch, capsys, size=300)
    assert "Ensemble(64 networks" in told and float(re.search(r"dev accuracy ([0-9.]+)%", told)[1]) > 80.0
    assert is_picture(tmp_path / "ensemble.png")


def test_gradients(tmp_path, monkeypatch, capsys):
    told = run("gradients.py", tmp_path, monkeypatch, capsys)
    assert "gradient [-215.6  -88. ]" in told
    x, y = map(float, re.search(r"step 6: \[([0-9.]+), ([0-9.]+)\]", told).groups())
    assert abs(x - 1.0) < 1e-6 and abs(y - 1.0) < 1e-6
    assert "multiply" in told or "*" in told


def test_data_parallel(tmp_path):
    pytest.importorskip("sklearn")
    if not jit.compiled():
        pytest.skip("it takes long without compiled kernels")
    done = [mpi_run("data_parallel.py", ranks, tmp_path, size=2) for ranks in (1, 2)]
    losses = [[float(loss) for loss in re.findall(r"loss ([0-9.]+)", told)] for told in done]
    assert len(losses[0]) == 2 and losses[0][1] < losses[0][0]
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)
    assert "1 ranks, " in done[0] and "2 ranks, " in done[1]


def mpi_run(name, ranks, tmp_path, size):
    done = mpi_jobs.run(EXAMPLES / name, size, folder=tmp_path, ranks=ranks)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_per_example(tmp_path, monkeypatch, capsys):
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib")
    told = run("per_example.py", tmp_path, monkeypatch, capsys, size=300)
    low, high, together = map(float, re.search(r"alone ([0-9.]+)% to ([0-9.]+)%, together ([0-9.]+)%", told).groups())
    assert 80 < low < high <= 100 and low <= together
    assert re.search(r"hardest digits: \[(\d(, )?){10}\] taken for: \[(\d(, )?){10}\]", told)
    assert (tmp_path / "per_example.png").read_bytes()[:4] == b"\x89PNG"


def test_graphs(tmp_path, monkeypatch, capsys):
    pytest.importorskip("safetensors")
    told = run("graphs.py", tmp_path, monkeypatch, capsys)
    assert "TG003 log-of-softmax" in told and re.search(r"loss = softmax_cross_entropy\(v\d+, y\)", told)
    before, after = map(float, re.search(r"ten steps: \[([0-9.]+), ([0-9.]+)\]", told).groups())
    assert after < before and "read back the same: True" in told
    assert (tmp_path / "step.html").stat().st_size > 10_000 and (tmp_path / "step.tg.py").is_file()


def test_rewriting(tmp_path, monkeypatch, capsys):
    told, names = run("rewriting.py", tmp_path, monkeypatch, capsys, size=16, globals_too=True)
    assert re.search(r"8 bits a weight: the results move by up to 0\.0\d", told)
    assert float(re.search(r"batch norm folded: the results move by up to (\S+)", told)[1]) < 1e-5
    assert "adapters: the results move by up to 0\n" in told and "the same results: True" in told
    assert sum(decl.path.startswith("attention.") for decl in names["adapted"].cells) == 16
    assert len(names["inference"].equations) < len(names["graph"].equations) and "no occurrence" not in told
    assert (tmp_path / "rewritten.svg").stat().st_size > 5_000


def test_graph_network(tmp_path, monkeypatch, capsys, in_float64):
    pytest.importorskip("matplotlib")
    told, names = run("graph_network.py", tmp_path, monkeypatch, capsys, size=40, globals_too=True)
    as_in_torch(names, "graph_network")
    assert int(re.search(r"right about (\d+) of 34", told)[1]) >= 32
    assert is_picture(tmp_path / "graph_network.png")


def test_pinn(tmp_path, monkeypatch, capsys, in_float64):
    pytest.importorskip("matplotlib")
    told, names = run("pinn.py", tmp_path, monkeypatch, capsys, size=60, globals_too=True)
    as_in_torch(names, "pinn")
    first, last = map(float, re.search(r"residual ([0-9.]+) at first, ([0-9.]+) at last", told).groups())
    assert last < first / 4
    assert is_picture(tmp_path / "pinn.png")


def test_policy_gradient(tmp_path, monkeypatch, capsys, in_float64):
    pytest.importorskip("matplotlib")
    told, names = run("policy_gradient.py", tmp_path, monkeypatch, capsys, size=20, globals_too=True)
    as_in_torch(names, "policy_gradient")
    first, last = map(float, re.search(r"the fall: ([0-9.]+) at first, ([0-9.]+) at last", told).groups())
    assert last > 2 * first
    assert is_picture(tmp_path / "policy_gradient.png")


def test_maml(tmp_path, monkeypatch, capsys, in_float64):
    pytest.importorskip("matplotlib")
    told, names = run("maml.py", tmp_path, monkeypatch, capsys, size=200, globals_too=True)
    as_in_torch(names, "maml")
    before, after, *_ = map(float, re.search(r"0 to 5 steps: (.*)", told)[1].split(", "))
    assert after < 0.8 * before
    assert is_picture(tmp_path / "maml.png")


def test_lstm(tmp_path, monkeypatch, capsys, in_float64):
    pytest.importorskip("matplotlib")
    told, names = run("lstm.py", tmp_path, monkeypatch, capsys, size=300, globals_too=True)
    as_in_torch(names, "lstm")
    assert float(re.search(r"from memory: ([0-9.]+)% right", told)[1]) > 90
    assert is_picture(tmp_path / "lstm.png")


def test_convnet(tmp_path, monkeypatch, capsys, in_float64):
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib")
    told, names = run("convnet.py", tmp_path, monkeypatch, capsys, size=1, globals_too=True)
    as_in_torch(names, "convnet")
    assert float(re.search(r"test accuracy ([0-9.]+)%", told)[1]) > 85  # after one epoch of twenty
    assert is_picture(tmp_path / "convnet.png")


def test_gan(tmp_path, monkeypatch, capsys, in_float64):
    pytest.importorskip("matplotlib")
    told, names = run("gan.py", tmp_path, monkeypatch, capsys, size=300, globals_too=True)
    as_in_torch(names, "gan")
    radii = [np.hypot(*names["drawn"][step].T) for step in (3, 300)]
    assert abs(np.median(radii[1]) - 2) < abs(np.median(radii[0]) - 2) / 2  # they are as far out as the ring
    assert re.search(r"points lie at one of the eight, [3-8] of which are drawn", told)
    assert is_picture(tmp_path / "gan.png")


def test_softmax_by_hand(tmp_path, monkeypatch, capsys, in_float64):
    pytest.importorskip("matplotlib")
    told, names = run("softmax_by_hand.py", tmp_path, monkeypatch, capsys, size=40, globals_too=True)
    as_in_torch(names, "softmax_by_hand")
    assert "softmax [0.842 0.042 0.002 0.114] hard max [1. 0. 0. 0.]" in told
    assert told.count("True") == 4 and "False" not in told
    assert min(map(float, re.findall(r"([0-9.]+)% right", told))) > 85
    assert is_picture(tmp_path / "softmax_by_hand.png")


def test_curvature(tmp_path, monkeypatch, capsys):
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib")
    told = run("curvature.py", tmp_path, monkeypatch, capsys, size=300)
    first, last = map(float, re.search(r"loss ([0-9.]+) -> ([0-9.]+)", told).groups())
    assert last < 0.2 * first
    assert int(re.search(r"(\d+)% of the single examples' gradients lie", told)[1]) > 60  # in 9 of 280 directions
    assert float(re.search(r"reads ([0-9.]+)% of the others", told)[1]) > 85
    assert is_picture(tmp_path / "curvature.png")


def test_vae(tmp_path, monkeypatch, capsys, in_float64):
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib")
    told, names = run("vae.py", tmp_path, monkeypatch, capsys, size=10, globals_too=True)
    as_in_torch(names, "vae")
    first, last = map(float, re.search(r"loss ([0-9.]+) -> ([0-9.]+)", told).groups())
    assert last < 0.6 * first
    assert int(re.search(r"without labels, (\d+)% of the digits", told)[1]) > 40  # ten kinds
    assert is_picture(tmp_path / "vae.png")


def test_neural_ode(tmp_path, monkeypatch, capsys, in_float64):
    pytest.importorskip("matplotlib")
    told, names = run("neural_ode.py", tmp_path, monkeypatch, capsys, size=100, globals_too=True)
    as_in_torch(names, "neural_ode")
    first, last = map(float, re.search(r"loss ([0-9.]+) at first, ([0-9.]+) at last", told).groups())
    assert last < first / 20
    assert is_picture(tmp_path / "neural_ode.png")


def test_flow(tmp_path, monkeypatch, capsys, in_float64):
    pytest.importorskip("matplotlib")
    told, names = run("flow.py", tmp_path, monkeypatch, capsys, size=100, globals_too=True)
    as_in_torch(names, "flow")
    first, last = map(float, re.search(r"new points: (-[0-9.]+) at first, (-[0-9.]+) at last", told).groups())
    assert last > first + 0.5
    x = tg.random.normal((20, 2))  # each layer is undone by its inverse
    for layer in names["flow"].layers:
        there, scale = layer(x)
        back, again = layer(there, inverse=True)
        np.testing.assert_allclose(back.numpy(), x.numpy(), rtol=1e-12, atol=1e-12)
        np.testing.assert_array_equal(scale.numpy(), again.numpy())
    assert is_picture(tmp_path / "flow.png")


def test_gaussian_process(tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    pytest.importorskip("scipy")
    told, names = run("gaussian_process.py", tmp_path, monkeypatch, capsys, size=60, globals_too=True)
    as_in_torch(names, "gaussian_process")
    assert 85 < float(re.search(r"within two deviations: ([0-9.]+)%", told)[1]) <= 100
    assert is_picture(tmp_path / "gaussian_process.png")


def test_transformer(tmp_path, monkeypatch, capsys, in_float64):
    pytest.importorskip("matplotlib")
    told, names = run("transformer.py", tmp_path, monkeypatch, capsys, size=20, globals_too=True)
    as_in_torch(names, "transformer")
    first, last = map(float, re.search(r"a letter from ([0-9.]+) to ([0-9.]+)", told).groups())
    assert last < 0.6 * first and "You may " in told
    assert is_picture(tmp_path / "transformer.png")
