"""Recurrent layers and attention as layers; the ops have tests of their own."""

import numpy as np
import pytest

import tensorgraph as tg
from tensorgraph import nn


def wave(start, *shape):
    return 0.5 * np.sin(np.arange(start, start + np.prod(shape))).reshape(shape)


VALUES = [
    -0.7262387837396012, 0.36667972524485204, -0.23551604375279933, 0.5995810339349776, -0.759745425948141,
    0.3297299201981161, -0.15370539282235346, 0.5295808187829423, -0.7354454818102301, 0.34310856866356176,
    -0.19549507341069494, 0.5708332865864912,
]  # fmt: skip
WEIGHTS = [
    0.28529486757525885, 0.7147051324247411, 0, 0.5375824298504249, 0.4624175701495749, 0, 0.44055739250871323,
    0.5594426074912867, 0,
]  # fmt: skip
ENCODED = [
    -1.1708093203422256, 0.9663900485038315, 0.0802171631757101, 0.8305677691293205, -0.481688825211829,
    0.8207549365829322, -0.7282255086321762, 0.0454857510123145,
]  # fmt: skip
STACKED = [
    0.004374238074332646, 0.05973582807563206, 0.03371707460016814, 0.06094611246628399, 0.04756592566010025,
    0.06332738381139197,
]  # fmt: skip
LAYERS = [nn.RNN, nn.GRU, nn.LSTM]


def first_state(layer, *shape):
    h = wave(1, *shape)
    return (h, wave(2, *shape)) if layer is nn.LSTM else h


@pytest.mark.parametrize("kind", LAYERS)
def test_a_layer_is_its_cells_step_by_step(kind):
    layer = kind(3, 2, 2, bidirectional=True, dropout=0.5, seed=0, dtype="float64").eval()
    x, state = wave(0, 2, 4, 3), first_state(kind, 4, 2, 2)
    y, last = layer(x, state)
    pick = (lambda s, i: (s[0][i], s[1][i])) if kind is nn.LSTM else lambda s, i: s[i]
    out = lambda s: s[0] if kind is nn.LSTM else s
    for below in range(2):
        columns = []
        for way in range(2):
            i = 2 * below + way
            own, steps = pick(state, i), [None] * 4
            for t in range(4)[:: -1 if way else 1]:
                own = layer.cells[i](x[:, t], own)
                steps[t] = out(own).numpy()
            columns.append(np.stack(steps, 1))
            assert np.abs(out(pick(last, i)).numpy() - out(own).numpy()).max() < 1e-15
        x = np.concatenate(columns, -1)
    assert np.abs(y.numpy() - x).max() < 1e-15


@pytest.mark.parametrize("kind", LAYERS)
def test_built_again_traced_and_read_back(kind):
    layer = kind(3, 2, 2, bidirectional=True, dropout=0.25, seed=0)
    again = kind.from_config(layer.config())
    again.load_state_dict(layer.state_dict())
    x = np.ones((2, 4, 3), np.float32)
    assert again.config() == layer.config()
    assert (again.eval()(x)[0].numpy() == layer.eval()(x)[0].numpy()).all()
    graph = tg.trace(lambda x: layer(x)[0], x)
    assert tg.parse(str(graph)) == graph
    assert [p for p, _ in layer.named_parameters()][0] == "cells.0.weight"


def test_dropout_stands_between_layers_only():
    x = np.ones((1, 3, 2), np.float32)
    one, two = (nn.GRU(2, 8, layers, dropout=0.9, seed=0) for layers in (1, 2))
    assert (one(x)[0].numpy() == one.eval()(x)[0].numpy()).all()
    assert (two(x)[0].numpy() != two.eval()(x)[0].numpy()).any()


def attention():
    layer = nn.MultiHeadAttention(4, 2, dtype="float64")
    weights, biases = wave(0, 12, 4), wave(10, 12)
    for i, part in enumerate((layer.query, layer.key, layer.value)):
        part.weight.assign(weights[4 * i : 4 * i + 4].T)
        part.bias.assign(biases[4 * i : 4 * i + 4])
    layer.out.weight.assign(wave(20, 4, 4).T)
    layer.out.bias.assign(wave(30, 4))
    return layer


def test_attention_as_pytorch_has_it():
    # torch.nn.MultiheadAttention(4, 2), key_padding_mask=[[False, False, True]], float64, PyTorch 2.13
    y, weights = attention()(wave(5, 1, 3, 4), key_mask=np.array([[True, True, False]]), weights=True)
    assert np.abs(y.numpy().ravel() - VALUES).max() < 1e-15
    assert np.abs(weights.numpy()[0, 1].ravel() - WEIGHTS).max() < 1e-15
    plain = attention()(wave(5, 1, 3, 4), key_mask=np.array([[True, True, False]]))
    assert np.abs(plain.numpy() - y.numpy()).max() < 1e-15


def test_heads_that_share_keys_with_and_without_weights():
    layer = nn.MultiHeadAttention(8, 4, key_heads=2, dropout=0.5, seed=0, dtype="float64")
    x = wave(0, 2, 3, 8)
    first, (second, weights) = layer.eval()(x, causal=True), layer(x, causal=True, weights=True)
    assert np.abs(first.numpy() - second.numpy()).max() < 1e-15
    assert weights.shape == (2, 4, 3, 3) and not weights.numpy()[..., 0, 1:].any()
    assert np.abs(layer(x[0], causal=True).numpy() - first.numpy()[0]).max() < 1e-15
    assert (layer.train()(x).numpy() != layer(x).numpy()).any()
    assert type(layer).from_config(layer.config()).config() == layer.config()


def test_dropout_of_weights_is_the_same_with_and_without_seeing_them():
    x = wave(0, 2, 9, 8).astype("f4")
    layers = [nn.MultiHeadAttention(8, 4, dropout=0.5, seed=0) for _ in range(2)]
    for _ in range(2):  # another draw each time
        one, (two, _) = layers[0](x), layers[1](x, weights=True)
        assert np.abs(one.numpy() - two.numpy()).max() < 1e-6
    assert (layers[0].dropout.state.numpy() == layers[1].dropout.state.numpy()).all()
    step = tg.compile(layers[0])
    for _ in range(3):
        assert np.abs(step(x).numpy() - layers[1](x).numpy()).max() < 1e-6


def test_places_are_told_apart_by_waves():
    places = nn.positional_encoding(50, 7).numpy()
    assert places.shape == (50, 7) and places.dtype == np.float32
    gaps = np.linalg.norm(places[:, None] - places, axis=-1) + np.eye(50)
    assert gaps.min() > 0.1


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: nn.LSTM(3, 2)(np.ones((2, 4, 5), np.float32)), "batch, time, 3"),
        (lambda: nn.LSTM(3, 2)(np.ones((2, 4, 3), np.float32), np.ones((1, 2, 2), np.float32)), "pair"),
        (lambda: nn.GRU(3, 2)(np.ones((2, 4, 3), np.float32), np.ones((2, 2, 2), np.float32)), "layers, batch, units"),
        (lambda: nn.GRUCell(3, 2)(np.ones((2, 4, 3), np.float32)), "batch, 3"),
        (lambda: nn.MultiHeadAttention(5, 2), "multiple of heads"),
        (lambda: nn.MultiHeadAttention(6, 3, key_heads=2), "multiple of key_heads"),
        (lambda: nn.MultiHeadAttention(4, 2)(np.ones(4, np.float32)), "batch, length, 4"),
    ],
)
def test_refusals(call, words):
    with pytest.raises((ValueError, TypeError), match=words):
        call()


def state(shapes):
    """A state dict of waves, one beginning ten later than the one before."""
    return {name: wave(10 * i, *shape) for i, (name, shape) in enumerate(shapes.items())}


def test_an_encoder_layer_takes_the_state_of_pytorch():
    # torch.nn.TransformerEncoderLayer(4, 2, 3, activation="gelu", norm_first=True) in float64, PyTorch 2.13
    given = state(
        {
            "self_attn.in_proj_weight": (12, 4), "self_attn.in_proj_bias": (12,), "self_attn.out_proj.weight": (4, 4),
            "self_attn.out_proj.bias": (4,), "linear1.weight": (3, 4), "linear1.bias": (3,), "linear2.weight": (4, 3),
            "linear2.bias": (4,), "norm1.weight": (4,), "norm1.bias": (4,), "norm2.weight": (4,), "norm2.bias": (4,),
        }
    )  # fmt: skip
    layer = nn.TransformerEncoderLayer(4, 2, 3, activation="gelu", norm_first=True, dtype="float64")
    nn.from_torch_state(layer, given)
    y = layer(wave(5, 1, 3, 4), key_mask=np.array([[True, True, False]])).numpy()
    assert np.abs(y[0, :2].ravel() - ENCODED).max() < 1e-15
    assert layer.from_config(layer.config()).config() == layer.config()
    graph = tg.trace(lambda x: layer(x, causal=True), tg.f64[1, 3, 4])
    assert tg.parse(str(graph)) == graph


def test_a_recurrent_layer_takes_the_state_of_pytorch():
    # torch.nn.LSTM(2, 2, num_layers=2) in float64, PyTorch 2.13
    sizes = {"weight_ih": (8, 2), "weight_hh": (8, 2), "bias_ih": (8,), "bias_hh": (8,)}
    given = state({f"{name}_l{i}": shape for i in range(2) for name, shape in sizes.items()})
    layer = nn.from_torch_state(nn.LSTM(2, 2, 2, dtype="float64"), given)
    assert np.abs(layer(wave(5, 1, 3, 2))[0].numpy().ravel() - STACKED).max() < 1e-15
    with pytest.raises(ValueError, match="missing: weight_ih_l2"):
        nn.from_torch_state(nn.LSTM(2, 2, 3, dtype="float64"), given)


def test_an_encoder_is_its_layers_and_drops_in_training_only():
    encoder = nn.TransformerEncoder(4, 2, 8, 2, dropout=0.5, norm_first=True, seed=0, dtype="float64").eval()
    x = wave(0, 2, 3, 4)
    y = x
    for layer in encoder.layers:
        y = layer(y, causal=True)
    assert (encoder(x, causal=True).numpy() == encoder.norm(y).numpy()).all()
    assert (encoder.train()(x).numpy() != encoder(x).numpy()).any()
    x[:, 2] = 9.0
    encoder.eval()
    assert np.abs((encoder(x, causal=True) - encoder.norm(y)).numpy()[:, :2]).max() < 1e-14
    with pytest.raises(ValueError, match="elementwise function"):
        nn.TransformerEncoderLayer(4, 2, 8, activation="softmax")
