"""Models that are written as text: trained, saved, deployed, as those that are built from layers."""

import numpy as np
import pytest

import tensorgraph as tg
from tensorgraph import nn, optim, train
from tensorgraph.commands.cli import main

TEXT = """
def net(
    x: f32[N, 4], *, w: Parameter["a.w", f32[4, 8]] = he_normal(gain=0.5), b: Parameter["a.b", f32[8]] = zeros(),
    gamma: Parameter["bn.gamma", f32[8]] = ones(), beta: Parameter["bn.beta", f32[8]] = zeros(),
    mean_: Buffer["bn.mean", f32[8]] = zeros(), steps: Buffer[i64] = zeros(),
    v: Parameter["out.v", f32[8, 3]] = xavier_uniform(), rate: Buffer[f64] = constant(value=0.25),
    noise: Buffer[u64[3]] = key(seed=1), old: Frozen[f32[2]] = normal(std=0.1),
):
    with scope("a", "Linear"):
        h = x @ w + b
    z, mu, var_ = batch_norm(h, gamma, beta)
    mean_.assign(0.5 * mean_ + 0.5 * mu)
    steps.assign(steps + 1)
    return relu(z) @ v


def predict(x: f32[N, 4], *, w: Parameter["a.w", f32[4, 8]], v: Parameter["out.v", f32[8, 3]]):
    return relu(x @ w) @ v
"""


def test_cells_have_their_places_and_first_numbers():
    model = nn.GraphModule(TEXT, seed=0)
    assert {name: cell.aval for name, cell in model.named_cells()} == {
        "a.w": tg.f32[4, 8], "a.b": tg.f32[8], "bn.gamma": tg.f32[8], "bn.beta": tg.f32[8], "bn.mean": tg.f32[8],
        "steps": tg.i64[()], "out.v": tg.f32[8, 3], "rate": tg.f64[()], "noise": tg.u64[3], "old": tg.f32[2],
    }  # fmt: skip
    assert all(cell.path == name for name, cell in model.named_cells())
    assert [name for name, p in model.named_parameters() if p.requires_grad] == [
        "a.w", "a.b", "bn.gamma", "bn.beta", "out.v",
    ]  # fmt: skip
    assert 0.2 < float(model.a.w.numpy().std()) < 0.6 and model.bn.gamma.tolist() == [1.0] * 8
    assert float(model.rate) == 0.25 and model.noise.tolist() == tg.random.key(1).tolist()
    again = nn.GraphModule(TEXT, seed=0)
    assert all((a == again.state_dict()[k]).all() for k, a in model.state_dict().items())
    tg.random.seed(3)
    assert (nn.GraphModule(TEXT).a.w.numpy() != model.a.w.numpy()).any()


def test_it_trains_as_the_same_model_of_layers_would():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(64, 4)).astype("float32"), rng.integers(0, 3, 64)
    text = """
def net(x: f32[N, 4], *, w0: Parameter["0.weight", f32[4, 8]] = zeros(), b0: Parameter["0.bias", f32[8]] = zeros(),
        w2: Parameter["2.weight", f32[8, 3]] = zeros(), b2: Parameter["2.bias", f32[3]] = zeros()):
    return relu(x @ w0 + b0) @ w2 + b2
"""
    layers = nn.Sequential(nn.Linear(4, 8, seed=0), nn.ReLU(), nn.Linear(8, 3, seed=1))
    written = nn.GraphModule(text)
    written.load_state_dict(layers.state_dict())
    for model in (layers, written):
        adam = optim.Adam(model.parameters(), lr=0.01)
        train.fit(model, (x, y), optimizer=adam, epochs=3, batch_size=24, progress=False)
    for name, array in layers.state_dict().items():
        np.testing.assert_array_equal(array, written.state_dict()[name])


def test_modes_state_and_traces():
    model = nn.GraphModule(TEXT, seed=0)
    x = tg.ones((5, 4))
    model(x)
    model(x[:2])
    assert int(model.steps) == 2
    model.eval()
    np.testing.assert_array_equal(model(x).numpy(), (tg.relu(x @ model.a.w) @ model.out.v).numpy())
    assert int(model.steps) == 2
    graph = tg.trace(model.train(), tg.f32[7, 4])
    assert [eq.scope for eq in graph.equations][:2] == ["a", "a"] and len(graph.writes) == 2
    assert tg.parse(str(graph)) == graph
    loss = model(x).sum()
    loss.backward()
    assert model.a.w.grad is not None and np.isfinite(model.a.w.grad.numpy()).all()


def test_a_traced_graph_and_sizes_of_parameters():
    layer = nn.Linear(3, 2, seed=0)
    graph = tg.trace(layer, tg.f32[4, 3])
    model = nn.GraphModule(graph, seed=1)
    model.load_state_dict(layer.state_dict())
    x = tg.tensor(np.random.default_rng(0).normal(size=(4, 3)), "float32")
    np.testing.assert_array_equal(model(x).numpy(), layer(x).numpy())
    text = "def f(x: f32[N, D], *, w: Parameter[f32[D, H]] = he_normal()): return x @ w"
    assert nn.GraphModule(text, sizes={"D": 3, "H": 5})(tg.ones((2, 3))).shape == (2, 5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def f(x: f32[2], *, w: Parameter[f32[2]]): return x * w", "the cell w has no initialiser"),
        ("def f(x: f32[2], *, w: Parameter[f32[2]] = he_norml()): return x * w", "no initialiser is called 'he_norml'"),
        ("def f(x: f32[2], *, w: Parameter[f32[2]] = zeros(a=1)): return x * w", "zeros has no argument 'a'"),
        ("def f(x: f32[2], *, w: Buffer[i64[2]] = normal()): return x * w", "cannot start from normal"),
        ("def f(x: f32[2], *, forward: Parameter[f32[2]] = zeros()): return x * forward", "cannot be called 'forward'"),
        (
            "def f(x: f32[2], *, w: Parameter[f32[2]] = zeros()): return x * w\n"
            "def predict(x: f32[2], *, w: Parameter[f32] = zeros()): return x * w",
            "declared as a parameter of f32\\[2\\] in one function and as a parameter of f32\\[\\] in the other",
        ),
    ],
)
def test_what_it_refuses(text, message):
    with pytest.raises(ValueError, match=message):
        nn.GraphModule(text)


def test_saving(tmp_path):
    pytest.importorskip("safetensors")
    model = nn.GraphModule(TEXT, seed=0)
    model.a.w.assign(model.a.w.numpy() * 2)
    model.save_text(tmp_path / "net.tg.py")
    again = nn.GraphModule.from_file(tmp_path / "net.tg.py")
    assert all((a == again.state_dict()[k]).all() for k, a in model.state_dict().items())
    train.save(tmp_path / "net.safetensors", model, class_names=["a", "b", "c"])
    loaded = train.load_model(tmp_path / "net.safetensors")
    x = np.ones((2, 4), np.float32)
    np.testing.assert_array_equal(loaded.model(tg.tensor(x)).numpy(), model.eval()(tg.tensor(x)).numpy())


def test_a_file_with_other_numbers_than_its_text_declares_is_refused(tmp_path):
    pytest.importorskip("safetensors")
    from tensorgraph.train.architecture import build, describe

    model = nn.GraphModule(TEXT, seed=0)
    described, numbers = describe(model), model.state_dict()
    assert build(described, numbers).text == TEXT
    del numbers["a.w"]
    with pytest.raises(ValueError, match=r"missing: a\.w"):
        build(described, numbers).load_state_dict(numbers)
    with pytest.raises(ValueError, match="no op is called"):
        build({"layer": "GraphModule", "arguments": {"source": "def f(x: f32): return system(x)", "sizes": {}}}, {})


def test_the_command_trains_a_text(tmp_path, monkeypatch, capsys):
    pytest.importorskip("safetensors")
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(120, 4)).astype("float32")
    np.savez("data.npz", x=x, y=x[:, :3].argmax(axis=1))
    (tmp_path / "net.tg.py").write_text(TEXT)
    assert main(["train", "net.tg.py", "--data", "data.npz", "--epochs", "3", "-o", "out", "--batch-size", "32"]) == 0
    told = capsys.readouterr()
    assert "96 samples to train on, 24 to test on" in told.out and "test: loss" in told.out
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        "net.tg.py", "net.tg.safetensors", "net.safetensors", "net.svg",
    }  # fmt: skip
    assert main(["predict", "out/net.safetensors", "data.npz"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 120
    trained = nn.GraphModule.from_file("out/net.tg.py")
    assert int(trained.steps) == 9
    for arguments, message in (
        (["net.tg.py", "--data", "nothing"], "--data is digits, a .npz or a .csv file, got 'nothing'"),
        (["missing.tg.py", "--data", "data.npz"], "there is no file 'missing.tg.py'"),
        (["net.tg.py", "--data", "data.npz", "--test", "2"], "a share between 0 and 1"),
    ):
        assert main(["train", *arguments]) == 2
        assert message in capsys.readouterr().err
    (tmp_path / "bad.tg.py").write_text("def net(x: f32[N, 5], *, w: Parameter[f32[5, 3]] = zeros()): return x @ w")
    assert main(["train", "bad.tg.py", "--data", "data.npz"]) == 2
    assert "the model does not take samples of shape (4,)" in capsys.readouterr().err


def test_the_example_is_a_text_that_can_be_trained():
    from pathlib import Path

    path = Path(__file__).resolve().parent.parent / "examples" / "digits.tg.py"
    model = nn.GraphModule.from_file(path, seed=0)
    assert model(tg.ones((3, 64))).shape == (3, 10) and model.eval()(tg.ones((2, 64))).shape == (2, 10)


def test_cells_without_an_initialiser_start_from_what_is_given_or_saved(tmp_path):
    pytest.importorskip("safetensors")
    weight = tg.Parameter(np.random.default_rng(0).normal(size=(4, 2)).astype("f4"), name="weight")
    bias = tg.Parameter(np.zeros(2, "f4"), name="bias")
    graph = tg.trace(lambda x: x @ weight + bias, tg.f32[3, 4])
    assert "weight: Parameter[f32[4, 2]]" in str(graph) and "weight: Parameter[f32[4, 2]] =" not in str(graph)
    with pytest.raises(ValueError, match=r'cell weight has no initialiser: give it one in the text.*"weight": \.\.\.'):
        nn.GraphModule(graph)
    model = nn.GraphModule(graph, state={"weight": weight})
    wanted = graph.bind({"weight": weight, "bias": bias})(tg.ones((3, 4)))
    np.testing.assert_array_equal(model(tg.ones((3, 4))).numpy(), wanted.numpy())
    model.save_text(tmp_path / "net.tg.py")
    again = nn.GraphModule.from_file(tmp_path / "net.tg.py")
    np.testing.assert_array_equal(again.weight.numpy(), weight.numpy())
    for state, message in (
        ({"wait": 1.0}, "names a cell 'wait', which the graph has not; its cells are"),
        ({"weight": np.ones(2)}, r"the cell weight is f32\[4, 2\], its state"),
    ):
        with pytest.raises(ValueError, match=message):
            nn.GraphModule(graph, state=state)
