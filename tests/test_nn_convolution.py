"""Convolutions and pools as layers: shapes, beginnings, saving, refusals, batch norm behind them, learning."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tensorgraph as tg
from tensorgraph import nn, optim, train


def lenet() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding="same", bias=False, seed=0), nn.BatchNorm(4), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(4, 8, (3, 1), padding=((1, 1), (0, 0)), stride=2, groups=2, seed=1), nn.Tanh(), nn.AvgPool2d(2),
        nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(8, 3, seed=2),
    )  # fmt: skip


LAYERS: list[Any] = [
    (lambda: nn.Conv1d(4, 6, 3, stride=2, padding=1, seed=0), (2, 4, 9), (2, 6, 5), "4, 6, 3, stride=2, padding=1"),
    (lambda: nn.Conv2d(4, 6, (3, 2), groups=2, seed=0), (2, 4, 5, 5), (2, 6, 3, 4), "4, 6, (3, 2), groups=2"),
    (lambda: nn.Conv3d(2, 3, 2, bias=False, seed=0), (2, 3, 3, 3), (3, 2, 2, 2), "2, 3, 2, bias=False"),
    (lambda: nn.ConvTranspose1d(4, 6, 3, seed=0), (2, 4, 5), (2, 6, 7), "4, 6, 3"),
    (
        lambda: nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2, seed=0),
        (2, 4, 3, 3), (2, 6, 6, 6), "4, 6, 3, stride=2, padding=1, groups=2, output_padding=1",
    ),
    (lambda: nn.ConvTranspose3d(2, 3, 2, seed=0), (1, 2, 2, 2, 2), (1, 3, 3, 3, 3), "2, 3, 2"),
    (lambda: nn.MaxPool1d(2), (2, 3, 7), (2, 3, 3), "2"),
    (lambda: nn.MaxPool2d(3, stride=2, padding=1), (2, 3, 7, 7), (2, 3, 4, 4), "3, stride=2, padding=1"),
    (lambda: nn.MaxPool3d(2, ceil_mode=True), (1, 3, 3, 3, 3), (1, 3, 2, 2, 2), "2, ceil_mode=True"),
    (lambda: nn.AvgPool1d(2), (2, 3, 7), (2, 3, 3), "2"),
    (lambda: nn.AvgPool2d([2, 3]), (2, 3, 6, 6), (2, 3, 3, 2), "(2, 3)"),
    (lambda: nn.AvgPool3d(2), (1, 3, 4, 4, 4), (1, 3, 2, 2, 2), "2"),
    (lambda: nn.AdaptiveAvgPool1d(3), (2, 3, 7), (2, 3, 3), "3"),
    (lambda: nn.AdaptiveAvgPool2d((2, None)), (2, 3, 7, 5), (2, 3, 2, 5), "(2, None)"),
    (lambda: nn.AdaptiveAvgPool3d(1), (1, 3, 4, 4, 4), (1, 3, 1, 1, 1), "1"),
    (lambda: nn.AdaptiveMaxPool1d(3), (2, 3, 7), (2, 3, 3), "3"),
    (lambda: nn.AdaptiveMaxPool2d(2), (2, 3, 7, 5), (2, 3, 2, 2), "2"),
    (
        lambda: nn.Upsample(scale_factor=2.0, mode="bilinear"), (1, 2, 3, 4), (1, 2, 6, 8),
        "scale_factor=2.0, mode='bilinear'",
    ),
    (lambda: nn.PixelShuffle(2), (1, 8, 3, 4), (1, 2, 6, 8), "2"),
    (lambda: nn.PixelUnshuffle(2), (1, 2, 6, 8), (1, 8, 3, 4), "2"),
    (lambda: nn.AdaptiveMaxPool3d(1), (1, 3, 4, 4, 4), (1, 3, 1, 1, 1), "1"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "shape", "outputs", "words"), LAYERS)
def test_layers(make: Any, shape: Any, outputs: Any, words: str) -> None:
    layer = make()
    x = np.random.default_rng(0).normal(size=shape).astype("float32")
    y = layer(x)
    assert y.shape == outputs and repr(layer) == f"{type(layer).__name__}({words})"
    again = type(layer).from_config(layer.config())
    again.load_state_dict(layer.state_dict())
    assert np.array_equal(again(x).numpy(), y.numpy()) and again.config() == layer.config()
    graph = tg.trace(layer, x)
    assert tg.parse(str(graph)) == graph and np.array_equal(graph.bind(layer)(x).numpy(), y.numpy())


def test_weights_start_from_what_an_output_meets() -> None:
    assert nn.Conv2d(8, 6, 5, groups=2, seed=0).weight.initialiser == "he_normal(fan_in=100, fan_out=75)"
    assert nn.ConvTranspose2d(8, 6, 4, stride=2, seed=0).weight.initialiser == "he_normal(fan_in=32, fan_out=96)"
    assert nn.Conv1d(2, 3, 5, weight_init="zeros").weight.initialiser == "zeros()"
    layer = nn.Conv2d(64, 64, 3, seed=0)
    assert abs(float(layer.weight.numpy().std()) / (2 / 576) ** 0.5 - 1) < 0.02 and not layer.bias.numpy().any()


def test_a_network_learns_and_is_saved(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 60)
    x = rng.normal(size=(60, 1, 8, 8)).astype("float32") * 0.3
    for i, label in enumerate(y):  # a bar that stands in one of three places
        x[i, 0, 2 * label + 1] += 1.0
    model = lenet()
    optimizer = optim.Adam(model, lr=0.03)
    losses = []
    for _ in range(40):
        loss = tg.softmax_cross_entropy(model(x), y)
        optimizer.minimize(loss)
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.2 * losses[0]
    model.eval()
    train.save(tmp_path / "net.safetensors", model)
    other = lenet()
    train.load(tmp_path / "net.safetensors", other)
    other.eval()
    assert np.array_equal(other(x).numpy(), model(x).numpy())
    assert "f32[60, 4, 8, 8]" in str(model.summary(tg.spec((60, 1, 8, 8))))


@pytest.mark.parametrize("shape", [(64, 3), (16, 3, 5), (8, 3, 4, 5), (4, 3, 2, 3, 4)])
def test_batch_norm_takes_what_they_give(shape: tuple[int, ...]) -> None:
    y = nn.BatchNorm(3)(np.random.default_rng(0).normal(2.0, 3.0, shape).astype("float32")).numpy()
    axes = tuple(i for i in range(len(shape)) if i != 1)
    np.testing.assert_allclose(y.mean(axes), 0, atol=1e-6)
    np.testing.assert_allclose(y.std(axes), 1, atol=1e-5)


def test_whole_channels_are_dropped() -> None:
    for layer, shape in ((nn.Dropout1d, (4, 50, 3)), (nn.Dropout2d, (4, 50, 3, 2)), (nn.Dropout3d, (50, 2, 3, 2))):
        y = layer(0.5, seed=0)(np.ones(shape, "float32")).numpy()
        flat = y.reshape(-1, int(np.prod(shape[shape.index(50) + 1 :])))
        assert {*flat.ravel().tolist()} == {0.0, 2.0} and (flat == flat[:, :1]).all()
    with pytest.raises(ValueError, match="channels"):
        nn.Dropout2d(0.5)(tg.ones((2, 3)))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: nn.Conv2d(3, 4, 3, groups=2), "groups must divide inputs"),
        (lambda: nn.Conv2d(3, 4, (3, 3, 3)), "one integer or 2"),
        (lambda: nn.Conv2d(3, 4, 3)(tg.ones((2, 8, 8, 3))), "are the channels last"),
        (lambda: nn.Conv2d(3, 4, 3)(tg.ones((2, 8))), "must have 4 axes"),
        (lambda: nn.ConvTranspose2d(3, 4, 3, output_padding=1), "less than the stride"),
        (lambda: nn.Conv2d(3, 4, 0), "positive"),
        (lambda: nn.MaxPool2d("2"), "kernel_size"),
    ],
)
def test_what_is_refused(call: Any, words: str) -> None:
    with pytest.raises((ValueError, TypeError), match=words):
        call()
