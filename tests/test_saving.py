"""Models as files: what comes back, what is refused, and runs that go on where they stopped."""

import builtins
import json
import os

import numpy as np
import pytest
from public_layers import public_layers
from training_helpers import NAMES, clouds, same_state, small, trained_by

import tensorgraph as tg
from tensorgraph import nn, optim
from tensorgraph.data import Normalizer
from tensorgraph.files import FileFormatError, MissingExtraError, load_tensors, save_tensors
from tensorgraph.train import Predictor, fit, load, load_model, predict, save
from tensorgraph.train.architecture import build, describe

pytest.importorskip("safetensors")
FORMAT = dict(format="tensorgraph.model", version=1)


@pytest.fixture
def trained(tmp_path):
    """A model after some steps, its optimiser and normaliser, and the file that holds all of it."""
    data = clouds()
    normalizer = Normalizer().fit(data.x)
    model = small(dropout=0.2)
    adam = trained_by(model)
    fit(model, data, optimizer=adam, epochs=2, batch_size=16, normalizer=normalizer, progress=False)
    path = tmp_path / "model.safetensors"
    save(path, model, normalizer=normalizer, class_names=NAMES, optimizer=adam, metadata={"epochs": 2})
    return model, adam, normalizer, path


def changed(path, change):
    """Write a file again with its arrays and metadata changed, checksum included."""
    arrays, metadata = load_tensors(path, **FORMAT)
    change(arrays, metadata)
    save_tensors(path, arrays, metadata, **FORMAT)


def test_a_saved_model_comes_back_whole(trained):
    model, adam, normalizer, path = trained
    other = small(seed=5, dropout=0.2)
    other_adam = trained_by(other, lr=1.0)
    loaded = load(path, other, optimizer=other_adam)
    assert loaded.model is other and loaded.class_names == NAMES and loaded.metadata == {"epochs": 2}
    assert same_state(model.state_dict(), other.state_dict())
    assert same_state(adam.state_dict(), other_adam.state_dict())
    assert same_state(normalizer.state_dict(), loaded.normalizer.state_dict())
    assert os.listdir(path.parent) == [path.name]


def test_a_model_of_library_layers_is_rebuilt_without_code(trained):
    model, _, normalizer, path = trained
    before = tg.random.state().numpy().copy()
    loaded = load_model(path)
    assert (tg.random.state().numpy() == before).all(), "building drew random numbers"
    x = clouds(seed=4).x
    expected = predict(model, x, normalizer=normalizer)
    assert loaded.outputs(x).tobytes() == expected.tobytes()
    assert not any(module.training for module in loaded.model.modules())
    assert repr(loaded.model) == repr(model)
    again = path.with_name("again.safetensors")
    loaded.save(again)
    assert load_model(again).outputs(x).tobytes() == expected.tobytes()


def test_predictions_have_names_and_probabilities(trained):
    x = clouds(n=30, seed=4).x
    predictor = load_model(trained[3])
    prediction = predictor.predict(x, batch_size=7)
    assert prediction.probabilities.shape == (30, 2) and len(prediction) == 30
    np.testing.assert_allclose(prediction.probabilities.sum(axis=1), 1.0, rtol=1e-6)
    assert prediction.names == [NAMES[label] for label in prediction.labels]
    assert (prediction.confidence == prediction.probabilities.max(axis=1)).all()
    assert repr(prediction).endswith("and 20 more)")
    alone = predictor.predict(x[3])
    assert alone.names == [prediction.names[3]]
    np.testing.assert_allclose(alone.probabilities[0], prediction.probabilities[3], rtol=1e-5)
    with pytest.raises(ValueError, match="that this normaliser was fitted on"):
        predictor.predict(x[:, :2])
    with pytest.raises(ValueError, match="nan at position"):
        predictor.predict(np.full((2, 3), np.nan))
    with pytest.raises(ValueError, match=r"use \.outputs"):
        Predictor(lambda rows: tg.sum(rows, axis=1)).predict(x)
    with pytest.raises(ValueError, match="2 classes and there are 3 class names"):
        Predictor(trained[0], None, ("a", "b", "c")).predict(x)
    assert "normaliser of (3,)" in repr(predictor) and "2 classes" in repr(predictor)


def others():
    """Layers of images and of sequences."""
    for n, pool in (("1d", 2), ("2d", (2, 3)), ("3d", (2, 3, 1))):
        yield getattr(nn, f"Conv{n}")(4, 2, pool, padding="same", groups=2, bias=False)
        yield getattr(nn, f"ConvTranspose{n}")(2, 4, 3, stride=2, output_padding=1, groups=2)
        yield getattr(nn, f"MaxPool{n}")(pool, stride=1, ceil_mode=True)
        yield getattr(nn, f"AvgPool{n}")(pool, padding=1, count_include_pad=False)
        yield getattr(nn, f"AdaptiveAvgPool{n}")(pool)
        yield getattr(nn, f"AdaptiveMaxPool{n}")(pool)
        yield getattr(nn, f"Dropout{n}")(0.25, seed=1)
    yield from (nn.PixelShuffle(2), nn.PixelUnshuffle(3), nn.Upsample(scale_factor=2.0, mode="bilinear"))
    yield from (nn.RNN(3, 2, activation="relu"), nn.GRU(3, 2, bidirectional=True), nn.LSTM(3, 2, 2, dropout=0.1))
    yield from (nn.RNNCell(3, 2, activation="relu"), nn.GRUCell(3, 2, bias=False), nn.LSTMCell(3, 2))
    yield from (nn.MultiHeadAttention(4, 2, key_dim=3), nn.TransformerEncoderLayer(4, 2, 8, norm_first=True))
    yield nn.TransformerEncoder(4, 2, 8, 2, activation="gelu")


def every_layer():
    return nn.Sequential(
        nn.Flatten(), nn.Linear(4, 6, bias=False, dtype="float64"),
        nn.BatchNorm(6, preset="keras", decay=0.7, degenerate="beta", dtype="float64"),
        nn.Sequential(nn.LeakyReLU(0.2), nn.Identity(), nn.Dropout(0.25, seed=3)), nn.Tanh(),
        nn.Linear(6, 3, dtype="float64"), nn.Sigmoid(), nn.ReLU(), nn.Softmax(axis=1), nn.LogSoftmax(),
        nn.CELU(2.0), nn.ELU(2.0), nn.GELU("tanh"), nn.SELU(), nn.Hardsigmoid(), nn.Hardswish(), nn.Hardtanh(-2.0, 2.0),
        nn.LogSigmoid(), nn.Mish(), nn.PReLU(3), nn.ReLU6(), nn.SiLU(), nn.Softplus(), nn.Softsign(),
        nn.LayerNorm(3, dtype="float64"), nn.RMSNorm(3, affine=False), nn.GroupNorm(1, 3, dtype="float64"),
        nn.ModuleList([nn.InstanceNorm(3), *others()]), nn.ModuleDict({"a": nn.Embedding(3, 2, padding_index=1)}),
    )  # fmt: skip


def test_every_layer_describes_itself():
    model = every_layer()
    model[2].decay = 0.6
    assert {type(module) for module in model.modules()} == public_layers() - {nn.Lambda, nn.GraphModule}
    description = json.loads(json.dumps(describe(model)))
    again = build(description, model.state_dict())
    again.load_state_dict(model.state_dict())
    assert repr(again) == repr(model) and describe(again) == describe(model)
    x = np.random.default_rng(0).normal(size=(5, 2, 2))
    assert predict(again[:10], x).tobytes() == predict(model[:10], x).tobytes()


def test_every_public_layer_says_how_it_was_made_or_why_not():
    silent = {layer.__name__ for layer in public_layers() if not layer.says_how_it_was_made()}
    assert silent == {"Lambda"}, "a new layer needs a config()"


def test_files_of_before_are_read():
    """Sequentials had their layers beside their arguments, and BatchNorm said no impl."""
    norm = {"features": 3, "axis": 1, "eps": 1e-5, "decay": 0.9, "debias": True, "unbiased": False,
            "degenerate": "raise", "dtype": "float32"}  # fmt: skip
    layers = [
        {"layer": "Linear", "arguments": LINEAR | {"inputs": 2, "outputs": 3}},
        {"layer": "Sequential", "layers": [{"layer": "BatchNorm", "arguments": norm}]},
    ]
    model = nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.BatchNorm(3)))
    again = build({"layer": "Sequential", "layers": layers}, model.state_dict())
    assert repr(again) == repr(model) and describe(again) == describe(model)


class Scaled(nn.Module):
    """A layer of a user's own: it says how it was made, and makes a part by itself."""

    def __init__(self, inner, widths=(2, 2), *, act="relu"):
        self.inner, self.widths, self.act = inner, tuple(widths), act
        self.head = nn.Linear(*self.widths, seed=0)
        self.activation = nn.Tanh() if act == "tanh" else nn.ReLU()

    def forward(self, x):
        return self.head(self.activation(self.inner(x)))

    def config(self):
        return {"inner": self.inner, "widths": self.widths, "act": self.act}


class Plain(nn.Module):
    """Its constructor takes nothing, so there is nothing to say."""

    def __init__(self):
        self.scale = tg.Parameter([2.0, 3.0])

    def forward(self, x):
        return x * self.scale


class Other(Plain):
    """Its constructor is newer than its config."""

    def __init__(self, size):
        super().__init__()


class Alike(nn.Linear):
    """Says what it inherits."""


def test_a_users_own_layers_are_saved_with_their_structure(tmp_path):
    model = nn.Sequential(Plain(), Scaled(nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5)), act="tanh"), Alike(2, 3))
    path = tmp_path / "own.safetensors"
    save(path, model)
    loaded = load_model(path).model
    assert [type(layer) for layer in loaded] == [Plain, Scaled, Alike] and repr(loaded) == repr(model)
    assert same_state(loaded.state_dict(), model.state_dict()) and describe(loaded) == describe(model)
    x = np.ones((4, 2), np.float32)
    assert predict(loaded, x).tobytes() == predict(model, x).tobytes()


def test_a_layer_that_is_not_imported_is_told_with_its_import(tmp_path):
    model = nn.Sequential(Plain())
    described = describe(model)
    described["arguments"]["layers"][0]["layer"] = "house.models.Net"
    with pytest.raises(ValueError, match=r"layers.0 is a 'house.models.Net'.*import house.models first"):
        build(described, model.state_dict())
    described["arguments"]["layers"][0]["layer"] = "__main__.Plain"  # the script that saved it was this file
    assert type(build(described, model.state_dict())[0]) is Plain


def test_a_part_that_the_class_makes_differently_now_is_told():
    model = Scaled(nn.Identity())
    model.activation = nn.Sigmoid()  # which config() does not say
    with pytest.raises(ValueError, match=r"had .'Sigmoid', ...* at 'activation', and Scaled.* now makes .'ReLU'"):
        build(describe(model), model.state_dict())


def test_a_config_that_is_not_literal_is_told_when_saving(tmp_path):
    for value in (np.float32(1.0), float("nan"), {1: 2}, {"layer": "Linear"}, print):
        with pytest.raises(TypeError, match=r"Scaled.config\(\)\['act'\]"):
            save(tmp_path / "x.safetensors", Scaled(nn.Identity(), act=value))


def test_other_models_are_described_as_nothing(tmp_path):
    shared = nn.Linear(2, 2)
    for model in (
        nn.Sequential(nn.Lambda(tg.relu)), Other(2), nn.Sequential(Other(2)), nn.Sequential(shared, shared),
        nn.Sequential(shared, nn.Sequential(shared)), Scaled(nn.Lambda(tg.relu)),
    ):  # fmt: skip
        assert describe(model) is None
    path = tmp_path / "other.safetensors"
    save(path, Other(2))
    with pytest.raises(ValueError, match=r"build the model, then call load\(path, model\)"):
        load_model(path)
    other = Other(3)
    other.scale.assign([0.0, 0.0])
    load(path, other)
    assert same_state(other.state_dict(), Other(2).state_dict())


def test_what_is_frozen_or_not_trained_comes_back_so(tmp_path):
    model = nn.Sequential(
        nn.Linear(2, 2, weight_init="xavier_uniform"), nn.BatchNorm(2, impl="composed"), nn.Linear(2, 2)
    )
    model[1].freeze()
    model[0].requires_grad_(False)
    path = tmp_path / "frozen.safetensors"
    save(path, model)
    built = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm(2), nn.Linear(2, 2))
    built[2].bias.requires_grad_(False)
    for again, fixed in ((load_model(path).model, 4), (load(path, built).model, 3)):
        assert [layer.frozen for layer in again] == [False, True, False]
        assert sum(p.requires_grad for p in again.parameters()) == fixed
    again = load_model(path).model.train()
    assert again[1].impl == "composed" and again[0].weight.initialiser == "xavier_uniform()"
    before = again.state_dict()
    again(tg.tensor([[1.0, 2.0], [3.0, 5.0]]))
    assert same_state(before, again.state_dict()), "a frozen layer changed"


LINEAR = {"inputs": 8, "outputs": 8, "bias": True, "dtype": "float32"}


@pytest.mark.parametrize(
    ("described", "message"),
    [
        ({"layer": "os.system", "arguments": {"command": "true"}}, "no layer of that name is imported"),
        ({"layer": "Linearly", "arguments": {}}, "no such layer"),
        ({"layer": "Linear"}, "without arguments"),
        ({"layer": "Linear", "arguments": {"inputs": 2}}, "Linear needs the argument"),
        ({"layer": "Module", "arguments": {}}, "is a 'Module'"),
        ({"layer": "Lambda", "arguments": {"function": "print"}}, "is a 'Lambda'"),
        ({"layer": "Dropout", "arguments": {"rate": 2.0}}, "rate must be a number"),
        ({"layer": "Dropout", "arguments": {"rate": 0.5, "seed": 1}}, "other arguments than Dropout takes"),
        ({"layer": "Linear", "arguments": LINEAR | {"inputs": 10**9}}, "does not fit the numbers"),
        ({"layer": "Linear", "arguments": LINEAR | {"inputs": "8"}}, "inputs must be a positive integer"),
        ({"layer": "Linear", "arguments": LINEAR | {"bias": "no"}}, "bias must be True or False"),
        ({"layer": "Sequential", "layers": {}}, "without a list"),
        ({"layer": "Sequential", "layers": [3]}, "must be callable"),
        ({"layer": ["Linear"]}, "not described as a layer"),
        ({}, "not described as a layer"),
    ],
)  # fmt: skip
def test_hostile_descriptions_are_refused(trained, described, message):
    path = trained[3]
    changed(path, lambda arrays, metadata: metadata.update(architecture=described))
    with pytest.raises(FileFormatError, match=message) as told:
        load_model(path)
    assert path.name in str(told.value)


def test_descriptions_nested_without_end_are_refused():
    described = {"layer": "Identity", "arguments": {}}
    for _ in range(60):
        described = {"layer": "Sequential", "layers": [described]}
    with pytest.raises(ValueError, match="not described as a layer"):
        build(described, {})


def test_what_does_not_fit_is_told_and_changes_nothing(trained):
    model, adam, _, path = trained
    wide = nn.Sequential(nn.Linear(3, 9, bias=False), nn.BatchNorm(9), nn.ReLU(), nn.Dropout(0.2), nn.Linear(9, 2))
    fewer = small()
    for other, message in (
        (wide, r"of another shape: 0.weight \(expected \(3, 9\), got \(3, 8\)\)"),
        (fewer, "missing: "),
    ):
        before = other.state_dict()
        with pytest.raises(ValueError, match=message) as told:
            load(path, other)
        assert path.name in str(told.value) and same_state(before, other.state_dict())


def test_a_model_and_its_optimiser_load_together_or_not_at_all(trained):
    path = trained[3]
    other = small(seed=5, dropout=0.2)
    before = other.state_dict()
    with pytest.raises(ValueError, match="does not fit: SGD"):
        load(path, other, optimizer=optim.SGD(other.parameters()))
    assert same_state(before, other.state_dict())
    save(path, trained[0])
    with pytest.raises(ValueError, match="was saved without an optimiser"):
        load(path, other, optimizer=trained_by(other))
    assert same_state(before, other.state_dict())


def damage(name, data):
    """A file's bytes, damaged in a named way."""
    flipped = bytearray(data)
    flipped[-3] ^= 1
    return {
        "cut off": data[:-10],
        "empty": b"",
        "flipped": bytes(flipped),
        "text": b"not a model at all",
        "header": data[:40],
    }[name]


@pytest.mark.parametrize("name", ["cut off", "empty", "flipped", "text", "header"])
def test_damaged_files_are_refused_and_the_model_is_untouched(trained, name):
    path = trained[3]
    path.write_bytes(damage(name, path.read_bytes()))
    other = small(seed=5, dropout=0.2)
    before = other.state_dict()
    for read in (lambda: load(path, other), lambda: load_model(path)):
        with pytest.raises(FileFormatError, match=path.name):
            read()
    assert same_state(before, other.state_dict())


def test_other_formats_newer_versions_and_missing_parts_are_refused(trained, tmp_path):
    model, _, _, path = trained
    for options, message in (
        (dict(format="else"), "holds 'else'"),
        (FORMAT | dict(version=2), "pip install --upgrade"),
    ):
        save_tensors(path, {}, {}, **options)
        with pytest.raises(FileFormatError, match=message):
            load(path, model)
    save_tensors(path, {}, {"class_names": [1], "architecture": None, "metadata": {}}, **FORMAT)
    with pytest.raises(FileFormatError, match="lacks a part of a saved model"):
        load(path, model)
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "none.safetensors", model)
    save(path, model, normalizer=Normalizer().fit(clouds().x))
    changed(path, lambda arrays, metadata: arrays.pop("normalizer.mean"))
    with pytest.raises(FileFormatError, match="a normaliser that is not one"):
        load(path, model)


def test_bad_things_to_save_leave_no_file(tmp_path, monkeypatch):
    path = tmp_path / "model.safetensors"
    model = small()
    for call, error, message in (
        (lambda: save(path, lambda x: x), TypeError, "save: model must be a Module"),
        (lambda: save(path, model, class_names="ab"), TypeError, "class_names must be a sequence"),
        (lambda: save(path, model, metadata={"a": object()}), TypeError, "JSON cannot say"),
        (lambda: save(path, model, normalizer=Normalizer()), ValueError, "has seen no data"),
        (lambda: save(path, Predictor(model), class_names=["a"]), TypeError, "brings its own"),
    ):
        with pytest.raises(error, match=message):
            call()
    real = builtins.__import__

    def missing(name, *args, **kwargs):
        if name.startswith("safetensors"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(builtins, "__import__", missing)
        with pytest.raises(MissingExtraError, match=r"tensorgraph-engine\[save\]"):
            save(path, model)
    assert os.listdir(tmp_path) == []
