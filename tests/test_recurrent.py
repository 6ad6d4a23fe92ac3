"""Recurrent ops: lengths, directions, and what PyTorch gives for the same weights."""

import numpy as np
import pytest

import tensorgraph as tg


def wave(start, *shape):
    return 0.5 * np.sin(np.arange(start, start + np.prod(shape))).reshape(shape)


def layer(op, gates, x, lengths, reverse):
    """One direction with the weights below, which are PyTorch's in the order of its parameters."""
    at = 40 * reverse
    weight, recurrent = wave(at, gates * 2, 2).T, wave(at + 10, gates * 2, 2).T
    first, second = wave(at + 20, gates * 2), wave(at + 30, gates * 2)
    biases = (first + second,) if op is tg.lstm else (first, second)
    weights = [tg.tensor(a, requires_grad=True) for a in (weight, recurrent)]
    return weights, op(x, *weights, *biases, lengths=lengths, reverse=reverse)


@pytest.mark.parametrize("impl", ["fused", "composed"])
@pytest.mark.parametrize(
    ("op", "gates", "values", "slopes", "recurrent"),
    [
        (
            tg.lstm,
            4,
            [
                -0.10175528063804959, -0.0022705438155779935, 0.025529135599929975, 0.09155460565725838,
                -0.033543361771296167, -0.1982279886415796, -0.11606079498273449, 0.06373751430346822, 0, 0, 0, 0,
            ],
            [-1.5864149660971694, -3.4612638181353153, -4.764370650816266, -4.214142032733285, 0, 0],
            [-0.05795259717546608, 0.02026496263909556, -0.05299906155803693, 0.03721330447040919],
        ),
        (
            tg.gru,
            3,
            [
                -0.19988614661616982, 0.04766705155370639, 0.27350292156642986, 0.22065323926668953,
                -0.12433185295353705, -0.19442857784555712, -0.06892208313439532, 0.23316299759569678, 0, 0, 0, 0,
            ],
            [-5.388949789844086, -6.378339163188629, -5.237351299466867, -1.6836662829226685, 0, 0],
            [0.0068173399624757575, -0.23322427442912264, 0.014826216452362054, -0.20344775417346073],
        ),
    ],
)  # fmt: skip
def test_both_directions_of_padded_sequences_as_pytorch_has_them(op, gates, values, slopes, recurrent, impl):
    # torch.nn.LSTM and GRU, bidirectional, on pack_padded_sequence(x, [3, 2]), float64, PyTorch 2.13
    x = tg.tensor(wave(5, 2, 3, 2), requires_grad=True)
    lengths = np.array([3, 2])
    with tg.implementation(impl):
        (_, (y, *_)), (back, (z, *_)) = (layer(op, gates, x, lengths, reverse) for reverse in (False, True))
        y = tg.concat([y, z], axis=-1)
        tg.sum(y * np.arange(float(y.size)).reshape(y.shape)).backward()
    assert np.abs(y.numpy()[1].ravel() - values).max() < 1e-15
    assert np.abs(x.grad.numpy()[1].ravel() - slopes).max() < 1e-14
    assert np.abs(back[1].grad.numpy().T[:2].ravel() - recurrent).max() < 1e-14


@pytest.mark.parametrize("op", [tg.lstm, tg.gru, tg.rnn], ids=["lstm", "gru", "rnn"])
@pytest.mark.parametrize("reverse", [False, True])
def test_padding_means_nothing(op, reverse):
    rng = np.random.default_rng(0)
    gates = {"lstm": 4, "gru": 3, "rnn": 1}[op.__name__]
    weights = [rng.standard_normal(s) for s in ((3, gates * 2), (2, gates * 2))]
    x, lengths = rng.standard_normal((3, 5, 3)), np.array([5, 2, 0])
    y, *last = op(x, *weights, lengths=lengths, reverse=reverse)
    x[1, 2:] = 100.0
    x[2] = np.nan
    again, *states = op(x, *weights, lengths=lengths, reverse=reverse)
    assert (y.numpy() == again.numpy()).all() and not y.numpy()[1, 2:].any()
    alone, *ends = op(x[1:2, :2], *weights, reverse=reverse)
    assert np.abs(y.numpy()[1, :2] - alone.numpy()[0]).max() < 1e-15
    for a, b, end in zip(last, states, ends, strict=True):
        assert (a.numpy() == b.numpy()).all() and not a.numpy()[2].any()
        assert np.abs(a.numpy()[1] - end.numpy()[0]).max() < 1e-15


@pytest.mark.parametrize("shape", [(2, 0, 3), (0, 2, 3), (2, 3, 0)])
def test_nothing_to_read(shape):
    x, h = tg.tensor(np.ones(shape), requires_grad=True), tg.tensor(np.ones((shape[0], 2)), requires_grad=True)
    y, last = tg.gru(x, np.ones((shape[2], 6)), np.ones((2, 6)), h=h)
    (tg.sum(y) + tg.sum(last)).backward()
    assert y.shape == (*shape[:2], 2) and x.grad.shape == shape and h.grad.shape == h.shape


def test_half_floats_are_added_as_floats():
    x = np.full((1, 50, 1), 0.1, np.float16)
    y, h = tg.rnn(x, np.ones((1, 1), np.float16), np.ones((1, 1), np.float16), activation="relu")
    assert y.dtype == np.float16 and abs(float(h[0, 0]) - 5.0) < 0.01


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (dict(x=np.ones((3, 4))), "batch, time, inputs"),
        (dict(weight=np.ones((8, 4))), "transpose"),
        (dict(recurrent=np.ones((2, 7))), "4 units"),
        (dict(bias=np.ones(2)), "bias of shape"),
        (dict(h=np.ones((1, 2))), "state h"),
        (dict(lengths=np.ones(2)), "integers"),
        (dict(lengths=np.array([1, 4])), "from 0 to the 3 steps"),
        (dict(lengths=np.array([-1, 3])), "from 0 to the 3 steps"),
    ],
)
def test_refusals(change, words):
    given = dict(x=np.ones((2, 3, 4)), weight=np.ones((4, 8)), recurrent=np.ones((2, 8))) | change
    with pytest.raises((ValueError, TypeError), match=words):
        tg.lstm(**given)
