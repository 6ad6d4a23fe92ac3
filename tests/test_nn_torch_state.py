"""State dicts of PyTorch in whole networks, beside outputs that PyTorch 2.13 gave in float64."""

from typing import Any

import numpy as np
import pytest

from tensorgraph import nn

OUTPUTS: dict[str, list[float]] = {
    "convnet": [
        -1.2697188945794486,
        1.2776642338112036,
        0.36497930118965993,
        -1.0562407452003861,
        1.6032706099150895,
        0.06816956530567442,
    ],
    "convnet training": [
        -1.418739536073,
        2.28555951959214,
        0.2560519436300196,
        -1.2068268316937716,
        2.6706535559233133,
        -0.05441686823410258,
    ],
    "convnet averages": [
        -0.4449121192936782,
        -0.18200629278364291,
        0.2481898299192183,
        0.45021284656444294,
        0.6130469835149805,
        0.4900849545025171,
        0.6818140181453485,
        0.6500355362162981,
    ],
    "one axis": [
        -1.090738792091166,
        -1.2431706548306032,
        -1.4145134956591572,
        -0.8352859058578017,
    ],
    "three axes": [
        -1.1007805020947612,
        -1.077286730934747,
        -0.6737361670270711,
        -0.6847926354540472,
    ],
    "lstm": [
        0.03167391363899384,
        0.006045627288134016,
        -0.1165724544695357,
        -0.17450534704302056,
        0.037749976104693016,
        0.009202607163910666,
        -0.07082634549999907,
        -0.151479759237988,
        0.05593246356076121,
        -0.01601341884885392,
        -0.027198773360172103,
        -0.08777064337317209,
        0.03339289831447442,
        0.0025891115468241127,
        -0.1150832665431402,
        -0.1750975986410353,
        0.03822441544153735,
        0.008974946318974726,
        -0.07481301738326082,
        -0.15349974973289532,
        0.05359277063429035,
        -0.012540379524158932,
        -0.02821024797382548,
        -0.0918014062676966,
    ],
    "gru": [
        0.20864310359339977,
        -0.039696545465697064,
        0.289493959260354,
        -0.05458928972500952,
        0.26636680625484377,
        -0.01939309556770611,
        0.19934793874860063,
        -0.03269088632980219,
        0.289212526189347,
        -0.056717801679062194,
        0.2700747573829118,
        -0.022619439961291055,
    ],
    "encoder": [
        -0.42272530711800843,
        -0.4068169381187742,
        -0.9430169009970113,
        -0.2646735913886208,
        -0.4325957516023659,
        -0.44345797254554076,
        -0.7072637758793705,
        -0.37395338410032175,
        -0.42542359783407424,
        -0.4074345449458725,
        -0.8771290897800306,
        -0.3084029489041983,
    ],
}
BATCH_NORM = ("weight", "bias", "running_mean", "running_var")
LSTM = {"weight_ih": 8, "weight_hh": 8, "bias_ih": 8, "bias_hh": 8}


def wave(start: int, *shape: int) -> Any:
    return 0.5 * np.sin(np.arange(start, start + int(np.prod(shape)))).reshape(shape)


def state(shapes: dict[str, Any]) -> dict[str, Any]:
    """Waves, one beginning ten later than the one before; of a batch norm, `shapes` has the number of channels."""
    whole: dict[str, tuple[int, ...]] = {}
    for name, shape in shapes.items():
        if isinstance(shape, int):
            whole |= {f"{name}.{part}": (shape,) for part in BATCH_NORM} | {f"{name}.num_batches_tracked": ()}
        else:
            whole[name] = shape
    arrays = {name: wave(10 * i, *shape) for i, (name, shape) in enumerate(whole.items())}
    for name, array in arrays.items():
        if name.endswith("running_var"):
            arrays[name] = array * array + 0.5
        elif name.endswith("num_batches_tracked"):
            arrays[name] = np.array(7)
    return arrays


def recurrent(gates: int, units: int, inputs: int) -> dict[str, Any]:
    """Of two layers in both directions."""
    shapes: dict[str, Any] = {}
    for layer, width in (("l0", inputs), ("l1", 2 * units)):
        for end in (layer, f"{layer}_reverse"):
            rows = gates * units
            shapes |= {f"weight_ih_{end}": (rows, width), f"weight_hh_{end}": (rows, units)}
            shapes |= {f"bias_ih_{end}": (rows,), f"bias_hh_{end}": (rows,)}
    return state(shapes)


def convnet() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1, bias=False), nn.BatchNorm(4, preset="torch"), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(4, 4, (1, 2), stride=(1, 2), groups=2),
        nn.ConvTranspose2d(4, 2, 3, stride=2, padding=1, output_padding=(1, 0), groups=2), nn.Flatten(),
        nn.Linear(36, 3),
    ).astype("float64")  # fmt: skip


CONVNET = state(
    {
        "0.weight": (4, 2, 3, 3), "1": 4, "4.weight": (4, 2, 1, 2), "4.bias": (4,), "5.weight": (4, 1, 3, 3),
        "5.bias": (2,), "7.weight": (3, 36), "7.bias": (3,),
    }
)  # fmt: skip
ENCODER = state(
    {
        "self_attn.in_proj_weight": (12, 4), "self_attn.in_proj_bias": (12,), "self_attn.out_proj.weight": (4, 4),
        "self_attn.out_proj.bias": (4,), "linear1.weight": (6, 4), "linear1.bias": (6,), "linear2.weight": (4, 6),
        "linear2.bias": (4,), "norm1.weight": (4,), "norm1.bias": (4,), "norm2.weight": (4,), "norm2.bias": (4,),
    }
)  # fmt: skip


def near(y: Any, name: str) -> None:
    y, expected = y.numpy().ravel(), np.array(OUTPUTS[name])
    assert y.shape == expected.shape and np.abs(y - expected).max() < 1e-12


def test_a_convolutional_network() -> None:
    model = nn.from_torch_state(convnet(), CONVNET)
    x = wave(3, 2, 2, 6, 8)
    near(model.eval()(x), "convnet")
    near(model.train()(x), "convnet training")  # from the batch's own moments
    averages = np.concatenate([model[1].running_mean.numpy(), model[1].running_var.numpy()])
    assert np.abs(averages - OUTPUTS["convnet averages"]).max() < 1e-12 and int(model[1].count) == 8


def test_convolutions_over_one_axis_and_over_three() -> None:
    one = nn.Sequential(
        nn.Conv1d(2, 3, 3, stride=2, dilation=2), nn.BatchNorm(3, preset="torch", eps=1e-3), nn.ConvTranspose1d(3, 1, 2)
    )
    shapes = {"0.weight": (3, 2, 3), "0.bias": (3,), "1": 3, "2.weight": (3, 1, 2), "2.bias": (1,)}
    near(nn.from_torch_state(one.astype("float64"), state(shapes)).eval()(wave(3, 1, 2, 9)), "one axis")
    three = nn.Sequential(nn.Conv3d(1, 2, 2), nn.BatchNorm(2, preset="torch"), nn.ConvTranspose3d(2, 1, (1, 2, 1)))
    shapes = {"0.weight": (2, 1, 2, 2, 2), "0.bias": (2,), "1": 2, "2.weight": (2, 1, 1, 2, 1), "2.bias": (1,)}
    near(nn.from_torch_state(three.astype("float64"), state(shapes)).eval()(wave(3, 1, 1, 3, 2, 2)), "three axes")


@pytest.mark.parametrize(("kind", "gates", "units"), [(nn.LSTM, 4, 2), (nn.GRU, 3, 1)])
def test_recurrent_layers_in_both_directions(kind: Any, gates: int, units: int) -> None:
    layer = kind(2, units, 2, bidirectional=True, dtype="float64")
    y, _ = nn.from_torch_state(layer, recurrent(gates, units, 2))(wave(3, 2, 3, 2))
    near(y, kind.__name__.lower())


def test_a_layer_of_a_transformer() -> None:
    layer = nn.from_torch_state(nn.TransformerEncoderLayer(4, 2, 6, dtype="float64"), ENCODER)
    near(layer(wave(3, 1, 3, 4)), "encoder")


@pytest.mark.parametrize(
    ("make", "whole"),
    [
        (convnet, CONVNET),
        (lambda: nn.LSTM(2, 2, 2, bidirectional=True), recurrent(4, 2, 2)),
        (lambda: nn.TransformerEncoderLayer(4, 2, 6), ENCODER),
    ],
)
def test_all_that_does_not_fit_is_named_and_nothing_is_loaded(make: Any, whole: dict[str, Any]) -> None:
    model = make()
    before = {path: array.copy() for path, array in model.state_dict().items()}
    first, *middle, last = (name for name in whole if not name.endswith("num_batches_tracked"))
    given = {f"other.{name}" if name in (first, last) else name: array for name, array in whole.items()}
    given[middle[0]] = np.ones((2, 7))
    with pytest.raises(ValueError) as caught:
        nn.from_torch_state(model, given)
    words = str(caught.value)
    assert f"missing: {first}, {last}; not used: other.{first}, other.{last}; of another shape: {middle[0]} of" in words
    assert all((before[path] == array).all() for path, array in model.state_dict().items())


@pytest.mark.parametrize(
    ("make", "whole"),
    [
        (convnet, CONVNET),
        (lambda: nn.LSTM(2, 2, 2, bidirectional=True, dtype="float64"), recurrent(4, 2, 2)),
        (lambda: nn.GRU(2, 1, 2, bidirectional=True, dtype="float64"), recurrent(3, 1, 2)),
        (lambda: nn.TransformerEncoderLayer(4, 2, 6, dtype="float64"), ENCODER),
    ],
)
def test_the_way_back(make: Any, whole: dict[str, Any]) -> None:
    """All of PyTorch's names, layouts and numbers, in arrays of their own."""
    model = nn.from_torch_state(make(), whole)
    back = nn.to_torch_state(model)
    assert back.keys() == whole.keys()
    for name, array in back.items():
        assert array.shape == np.shape(whole[name]) and np.array_equal(array, whole[name]), name
        array[...] = 0
    again = nn.from_torch_state(make(), nn.to_torch_state(model))
    for path, array in again.state_dict().items():
        assert np.array_equal(array, model.state_dict()[path]), path


def test_keys_and_values_of_other_widths_go_back_one_by_one() -> None:
    layer = nn.MultiHeadAttention(4, 2, key_dim=3, value_dim=5, dtype="float64", seed=0)
    back = nn.to_torch_state(layer)
    shapes = {name: array.shape for name, array in back.items()}
    assert shapes == {
        "q_proj_weight": (4, 4), "in_proj_bias": (12,), "k_proj_weight": (4, 3), "v_proj_weight": (4, 5),
        "out_proj.weight": (4, 4), "out_proj.bias": (4,),
    }  # fmt: skip
    assert np.array_equal(back["k_proj_weight"], layer.key.weight.numpy().T)


def test_pytorch_takes_what_goes_back() -> None:
    torch = pytest.importorskip("torch")
    ours = nn.Sequential(nn.Linear(3, 4, seed=0), nn.Tanh(), nn.Linear(4, 2, seed=1)).astype("float64")
    theirs = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2)).double()
    theirs.load_state_dict({name: torch.from_numpy(array) for name, array in nn.to_torch_state(ours).items()})
    x = wave(3, 5, 3)
    assert np.abs(theirs(torch.from_numpy(x)).detach().numpy() - ours(x).numpy()).max() < 1e-12
    theirs = torch.nn.TransformerEncoderLayer(4, 2, 6, batch_first=True, dropout=0.0).double().eval()
    mine = nn.TransformerEncoderLayer(4, 2, 6, dtype="float64", seed=0)
    theirs.load_state_dict({name: torch.from_numpy(array) for name, array in nn.to_torch_state(mine).items()})
    x = wave(3, 2, 3, 4)
    assert np.abs(theirs(torch.from_numpy(x)).detach().numpy() - mine(x).numpy()).max() < 1e-12


def test_a_bias_that_one_side_has_not_is_named() -> None:
    weight = np.ones((3, 2, 2, 2))
    with pytest.raises(ValueError, match=r"not used: bias$"):
        nn.from_torch_state(nn.Conv2d(2, 3, 2, bias=False), {"weight": weight, "bias": np.ones(3)})
    with pytest.raises(ValueError, match=r"missing: bias$"):
        nn.from_torch_state(nn.Conv2d(2, 3, 2), {"weight": weight})
