"""Every layer and every composed function at other sizes of a batch: a compiled one is not traced again."""

from functools import partial

import numpy as np
import pytest
from public_layers import public_layers

import tensorgraph as tg
from tensorgraph import nn
from tensorgraph.engine.functions import FUNCTIONS, static

NUMBERS = np.random.default_rng(0)
PLAIN = (
    "CELU", "ELU", "GELU", "Hardsigmoid", "Hardswish", "Hardtanh", "Identity", "LeakyReLU", "LogSigmoid", "LogSoftmax",
    "Mish", "ReLU", "ReLU6", "SELU", "SiLU", "Sigmoid", "Softmax", "Softplus", "Softsign", "Tanh", "Flatten",
)  # fmt: skip
LAYERS = {  # each with the shape of an example
    **{name: (getattr(nn, name), (3, 4)) for name in PLAIN},
    "Linear": (lambda: nn.Linear(3, 4, seed=0), (3,)),
    "PReLU": (lambda: nn.PReLU(3), (3,)),
    "Lambda": (lambda: nn.Lambda(lambda x: x.reshape(x.shape[0], -1) * (2.0 / x.shape[0])), (3, 2)),
    "BatchNorm": (lambda: nn.BatchNorm(3), (3, 4)),
    "LayerNorm": (lambda: nn.LayerNorm(3), (4, 3)),
    "RMSNorm": (lambda: nn.RMSNorm(3), (4, 3)),
    "GroupNorm": (lambda: nn.GroupNorm(2, 4), (4, 3)),
    "InstanceNorm": (lambda: nn.InstanceNorm(4), (4, 3, 3)),
    "Dropout": (lambda: nn.Dropout(0.3, seed=0), (3,)),
    "Embedding": (lambda: nn.Embedding(7, 4, seed=0), None),
    "PixelShuffle": (lambda: nn.PixelShuffle(2), (4, 3, 3)),
    "PixelUnshuffle": (lambda: nn.PixelUnshuffle(3), (2, 3, 6)),
    "Upsample": (lambda: nn.Upsample(scale_factor=2.0, mode="bilinear"), (2, 3, 3)),
    "Sequential": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(6, 2, seed=0)), (3, 2)),
    "MultiHeadAttention": (lambda: nn.MultiHeadAttention(4, 2, seed=0), (5, 4)),
    "TransformerEncoderLayer": (lambda: nn.TransformerEncoderLayer(4, 2, 8, dropout=0.1, seed=0), (5, 4)),
    "TransformerEncoder": (lambda: nn.TransformerEncoder(4, 2, 8, 2, norm_first=True, seed=0), (5, 4)),
    "RNN": (lambda: nn.RNN(3, 2, seed=0), (5, 3)),
    "GRU": (lambda: nn.GRU(3, 2, 2, seed=0), (5, 3)),
    "LSTM": (lambda: nn.LSTM(3, 2, 2, bidirectional=True, dropout=0.1, seed=0), (5, 3)),
    **{f"{name}Cell": (lambda name=name: getattr(nn, f"{name}Cell")(3, 2, seed=0), (3,)) for name in ("RNN", "GRU")},
    "LSTMCell": (lambda: nn.LSTMCell(3, 2, seed=0), (3,)),
}
for _n, _shape in (("1d", (8,)), ("2d", (8, 7)), ("3d", (6, 7, 5))):
    for _name, _make in {
        "Conv": lambda layer: layer(4, 2, 2, padding="same", groups=2, seed=0),
        "ConvTranspose": lambda layer: layer(4, 2, 3, stride=2, seed=0),
        "MaxPool": lambda layer: layer(2, stride=1),
        "AvgPool": lambda layer: layer(2, padding=1, count_include_pad=False),
        "AdaptiveAvgPool": lambda layer: layer(2),
        "AdaptiveMaxPool": lambda layer: layer(2),
        "Dropout": lambda layer: layer(0.25, seed=1),
    }.items():
        LAYERS[_name + _n] = partial(_make, getattr(nn, _name + _n)), (4, *_shape)
NO_BATCH = {nn.GraphModule, nn.ModuleList, nn.ModuleDict}  # which call nothing, or what the user writes


def test_no_layer_is_missing():
    assert {getattr(nn, name) for name in LAYERS} == public_layers() - NO_BATCH


@pytest.mark.sampled(quick=4, test=10)
@pytest.mark.parametrize("name", sorted(LAYERS))
def test_layers_and_their_gradients_are_planned_for_another_batch(name):
    make, shape = LAYERS[name]
    model = make()

    def step(x):
        result = model(x)
        loss = ((result[0] if isinstance(result, tuple) else result) ** 2).sum()
        loss.backward()
        return loss

    compiled = tg.compile(step)
    for n in (23, 16):
        batch = NUMBERS.normal(size=(n, *shape)).astype("f4") if shape else NUMBERS.integers(0, 7, (n, 5))
        x = tg.tensor(batch, requires_grad=shape is not None)
        compiled(x)
        model.zero_grad()
        x.grad = None
        fresh = tg.compile(step)
        fresh(x)
        model.zero_grad()
        mine, anew = compiled._latest(), fresh._latest()
        assert mine.traced.graph == anew.traced.graph and mine.graph == anew.graph
    assert (compiled.stats.traces, compiled.stats.resized) == (1, 1)


# functions that are composed ------------------------------------------------------------------------------------------

# what is made of rows one by one, or with NumPy: their graph is another one for another number of rows
BY_ROWS = {
    "array_split", "chunk", "convolve", "correlate", "delete", "insert", "median", "pdist", "percentile", "polyval",
    "quantile", "sliding_window_view", "tril_indices_from", "triu_indices_from", "unfold", "unstack",
}  # fmt: skip


def is_shape(value):
    return isinstance(value, tuple) and all(type(n) is int for n in value)


def calls_of(declared):
    """A function of a batch for each example of a function whose first shape has rows."""
    for args, keywords in declared.examples:
        shapes = [a for a in args if is_shape(a)]
        if shapes and shapes[0] and shapes[0][0] > 1:
            rows = shapes[0][0]

            def made(n, args=args, keywords=keywords, rows=rows):
                """The call as a function of tensors, and tensors of n rows."""
                plan = [(a.value if isinstance(a, static) else a, is_shape(a)) for a in args]
                arrays = [
                    np.abs(NUMBERS.normal(size=(n, *a[1:]) if a[:1] == (rows,) else a)).astype("f4") + 0.25
                    for a, is_array in plan if is_array
                ]  # fmt: skip
                place = {k: i for i, k in enumerate(k for k, (_, is_array) in enumerate(plan) if is_array)}

                def function(*xs):
                    given = [xs[place[k]] if k in place else a for k, (a, _) in enumerate(plan)]
                    result = declared.call(*given, **keywords)
                    results = result if isinstance(result, (tuple, list)) else (result,)
                    return [r for r in results if isinstance(r, tg.Tensor)]

                return function, [tg.tensor(a) for a in arrays]

            yield made


@pytest.mark.sampled(test=15, quick=8)
@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_functions_are_planned_for_another_batch(name):
    for made in calls_of(FUNCTIONS[name]):
        function, arguments = made(29)
        compiled = tg.compile(function)
        try:
            compiled(*arguments)
        except Exception:  # it does not take so many rows, or its result has a shape that numbers decide
            continue
        for n in (17,):
            other, arguments = made(n)
            fresh = tg.compile(other)
            try:
                fresh(*arguments)
            except Exception as error:
                with pytest.raises(type(error)):
                    compiled(*arguments)
                continue
            resized = compiled.stats.resized
            compiled(*arguments)
            if name not in BY_ROWS:
                assert compiled.stats.resized == resized + 1
            assert compiled._latest().traced.graph == fresh._latest().traced.graph
            assert compiled._latest().graph == fresh._latest().graph
