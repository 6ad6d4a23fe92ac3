"""Layers that normalise, embed and activate; hooks, astype, apply, lists and dicts; state dicts of PyTorch.

Numbers of PyTorch 2.13 in float64 were recorded.
"""

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import tensorgraph as tg
from tensorgraph import nn
from tensorgraph.nn.torch_names import From, transposed

STATE: dict[str, Any] = {
    "0.weight": [[0.5505, 0.2611, -0.0318], [0.4556, 0.1746, 0.3741], [-0.3836, -0.033, 0.2565],
                 [-0.2472, -0.0552, -0.3714]],
    "0.bias": [-0.1671, 0.1408, -0.021, -0.0684],
    "1.weight": [1.0218, 0.9595, 1.0197, 0.9982], "1.bias": [0.0082, -0.0403, 0.0489, 0.0012],
    "1.running_mean": [-0.0465, 0.055, 0.007, -0.0356], "1.running_var": [0.7368, 0.7673, 0.755, 0.7649],
    "1.num_batches_tracked": 3, "2.weight": [0.2726],
    "3.weight": [0.9938, 0.9433, 0.9646, 0.9378], "3.bias": [-0.0025, -0.0429, 0.0395, 0.0323],
    "4.weight": [[0.0034, -0.0977, 0.1329, 0.0289], [-0.29, 0.1563, -0.3129, -0.0308]], "4.bias": [-0.1026, 0.0257],
}  # fmt: skip
OUTPUTS = [
    [-0.23666564818656285, 0.31746940011955066], [-0.05384106161318252, 0.1563820713162339],
    [-0.10351961375884616, 0.1585625992593365], [-0.11013463724524074, 0.19185280998553544],
    [0.022981623005129626, -0.05587135247026091],
]  # fmt: skip
X = np.sin(np.arange(15.0)).reshape(5, 3)
Z = np.cos(np.arange(24.0)).reshape(2, 4, 3)


def mlp() -> nn.Module:
    return nn.Sequential(
        nn.Linear(3, 4, seed=0), nn.BatchNorm(4, preset="torch"), nn.PReLU(), nn.LayerNorm(4), nn.Linear(4, 2, seed=1)
    )


class Tensor:
    """What a tensor of PyTorch is asked for."""

    def __init__(self, array: Any) -> None:
        self.array = np.asarray(array)

    def detach(self) -> "Tensor":
        return self

    def cpu(self) -> "Tensor":
        return self

    def numpy(self) -> Any:
        return self.array


# state dicts of PyTorch ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("dtype", "digits"), [("float32", 1e-6), ("float64", 1e-12)])
@pytest.mark.parametrize("kind", [np.asarray, Tensor])
def test_a_network_of_pytorch_gives_the_same_outputs(dtype: str, digits: float, kind: Any) -> None:
    model = mlp().astype(dtype).eval()
    assert nn.from_torch_state(model, {key: kind(value) for key, value in STATE.items()}) is model
    assert np.abs(model(X.astype(dtype)).numpy() - OUTPUTS).max() < digits
    assert int(model[1].count) == 3 and float(model[1].decay) == 0.9
    model.train()(X.astype(dtype))  # the averages go on from those that were loaded
    mean = model[0](X.astype(dtype)).numpy().mean(0)
    loaded = np.array(STATE["1.running_mean"])
    assert np.allclose(model[1].running_mean.numpy(), 0.9 * loaded + 0.1 * mean, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.pop("3.bias"), r"missing: 3\.bias$"),
        (lambda s: s.update({"5.weight": [1.0]}), r"not used: 5\.weight$"),
        (lambda s: s.update({"0.weight": np.ones((3, 4))}), r"0\.weight of shape \(3, 4\), for 0\.weight of shape"),
        (lambda s: s.pop("1.running_var"), r"missing: 1\.running_var$"),
    ],
)
def test_a_state_that_does_not_fit_changes_nothing(change: Any, words: str) -> None:
    model, state = mlp(), dict(STATE)
    before = model.state_dict()
    change(state)
    with pytest.raises(ValueError, match=words):
        nn.from_torch_state(model, state)
    assert all((before[path] == array).all() for path, array in model.state_dict().items())


def test_what_pytorch_has_not_stays() -> None:
    state = {key: value for key, value in STATE.items() if key != "1.num_batches_tracked"}
    model = nn.Sequential(*mlp(), nn.Dropout(0.5, seed=3))
    nn.from_torch_state(model, state)
    assert (model[5].state.numpy() == nn.Dropout(0.5, seed=3).state.numpy()).all() and int(model[1].count) == 0


def test_a_layer_of_ones_own_declares_its_names() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            self.matrix, self.shift = tg.Parameter(np.zeros((2, 3))), tg.Parameter(np.zeros(3))

        def torch_state(self) -> dict[str, Any]:
            return {"matrix": transposed("w"), "shift": From(("a", "b"), lambda a, b: a + b)}

    both = Both()
    nn.from_torch_state(both, {"w": np.arange(6.0).reshape(3, 2), "a": np.ones(3), "b": np.arange(3.0)})
    assert both.matrix.tolist() == [[0, 2, 4], [1, 3, 5]] and both.shift.tolist() == [1, 2, 3]
    with pytest.raises(TypeError, match=r"^to_torch_state: Both\.shift has no place in a state of PyTorch: .*back="):
        nn.to_torch_state(both)


# layers ---------------------------------------------------------------------------------------------------------------


def test_normalisations_are_pytorchs() -> None:
    group = nn.GroupNorm(2, 4, dtype="float64")
    nn.from_torch_state(group, {"weight": [0.5, 1.0, 2.0, -1.0], "bias": [0.0, 1.0, 0.5, -1.0]})
    expected = {
        "group": (group(Z), [0.641023727010315, -0.30337904494583406, 3.2338353165852034, 0.371668141732618]),
        "instance": (
            nn.InstanceNorm(4)(Z), [0.7961490121533632, -1.0236282029736703, 1.274527855808716, -1.4135065910052047]
        ),
        "local response": (
            tg.local_response_norm(Z, 3, alpha=0.5, beta=0.6, k=2.0),
            [0.5519618226180587, -0.558972791074544, 0.5729814054054965, -0.6020281663959953],
        ),
        "rms": (
            tg.rms_norm(Z, np.array([1.0, 2.0, -1.0])),
            [2.521456365446102, -2.6476348939140175, 2.7246857366254997, -2.7524379787503706],
        ),
    }  # fmt: skip
    for name, (found, numbers) in expected.items():
        assert np.allclose(found.numpy()[1, :, 1], numbers, rtol=1e-12, atol=0), name


LAYERS = [
    (nn.LayerNorm(3), (2, 4, 3)), (nn.LayerNorm((4, 3), bias=False), (2, 4, 3)), (nn.LayerNorm(3, affine=False), (3,)),
    (nn.RMSNorm(3), (2, 3)), (nn.GroupNorm(2, 4), (2, 4)), (nn.InstanceNorm(4, affine=True), (2, 4, 2, 2)),
    (nn.GELU("tanh"), (3,)), (nn.ELU(0.5), (3,)), (nn.CELU(), (3,)), (nn.Hardtanh(-2, 2), (3,)), (nn.PReLU(3), (2, 3)),
    (nn.ModuleList([nn.ReLU()]), None), (nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Mish()}), None),
    *[(layer(), (2, 3)) for layer in (
        nn.GELU, nn.SiLU, nn.Mish, nn.SELU, nn.ReLU6, nn.Softplus, nn.Softsign, nn.Hardswish, nn.Hardsigmoid,
        nn.LogSigmoid)],
]  # fmt: skip


@pytest.mark.parametrize(("layer", "shape"), LAYERS, ids=lambda v: repr(v).partition("\n")[0])
def test_layers_are_made_again_and_traced(layer: nn.Module, shape: Any) -> None:
    again = type(layer).from_config(layer.config())
    assert repr(again) == repr(layer) and again.state_dict().keys() == layer.state_dict().keys()
    if shape is None:
        with pytest.raises(NotImplementedError, match=r"ModuleList is a list|ModuleDict is a dict"):
            layer(1.0)
        return
    x = np.random.default_rng(0).standard_normal(shape).astype("f4")
    graph = tg.trace(layer, x)
    again.load_state_dict(layer.state_dict())
    assert tg.parse(str(graph)) == graph and (graph.bind(layer)(x).numpy() == again(x).numpy()).all()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: nn.LayerNorm(3)(np.ones((3, 2), "f4")), r"sizes \(3,\), got shape \(3, 2\); the axis 0 has that size"),
        (lambda: nn.LayerNorm(()), "one size or more"),
        (lambda: nn.GroupNorm(3, 4), "cannot be divided"),
        (lambda: nn.GroupNorm(2, 4)(np.ones((2, 3), "f4")), "4 channels on axis 1"),
        (lambda: nn.InstanceNorm(4)(np.ones((2, 4, 1), "f4")), "more than one number"),
        (lambda: nn.PReLU(3)(np.ones((2, 4), "f4")), "3 channels on axis 1"),
        (lambda: nn.Embedding(4, 2, max_norm=1.0), "max_norm"),
        (lambda: nn.Embedding(4, 2, padding_index=4), "no row of 4"),
        (lambda: nn.Embedding(4, 2)([[0, 1], [4, 0]]), r"ids\[1, 0\] is 4: there are rows 0 to 3"),
        (lambda: nn.Embedding(4, 2)([-1]), r"ids\[0\] is -1"),
        (lambda: nn.Embedding(4, 2)([0.5]), "ids must be integers"),
        (lambda: nn.ModuleDict({"keys": nn.ReLU()}), "take another name"),
        (lambda: nn.ModuleDict()["a"], "has no 'a'"),
    ],
)
def test_what_is_refused(call: Any, words: str) -> None:
    with pytest.raises((ValueError, TypeError, IndexError, KeyError), match=words):
        call()


def test_the_padding_row_is_not_trained() -> None:
    layer = nn.Embedding(4, 2, padding_index=1, seed=0)
    assert layer.weight.numpy()[1].tolist() == [0.0, 0.0]
    layer([[1, 2], [2, 0]]).sum().backward()
    assert layer.weight.grad is not None and layer.weight.grad.tolist() == [[1, 1], [0, 0], [2, 2], [0, 0]]
    each = tg.vmap(tg.grad(lambda w, i: tg.embedding(w, i, padding_index=1).sum()), (None, 0))(
        layer.weight, np.array([[1, 2], [2, 0]])
    )
    assert each.numpy().sum(0).tolist() == layer.weight.grad.tolist()


def test_lists_and_dicts_are_found_by_name() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            self.layers = nn.ModuleList([nn.Linear(2, 2, seed=0)]).extend([nn.ReLU()])
            self.heads = nn.ModuleDict({"a": nn.Linear(2, 1, seed=1)})
            self.plain = {"b": nn.Linear(2, 1, seed=2)}

        def forward(self, x: Any) -> Any:
            for layer in self.layers:
                x = layer(x)
            return self.heads["a"](x) + self.plain["b"](x)

    model = Model()
    assert [p for p, _ in model.named_parameters()][::2] == ["layers.0.weight", "heads.a.weight", "plain.b.weight"]
    assert model(np.ones((1, 2), "f4")).shape == (1, 1) and "b" not in model.heads and len(model.heads.items()) == 1
    del model.heads["a"]
    assert list(model.heads) == []


def test_tied_weights_are_one_cell() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            self.embedding = nn.Embedding(5, 3, seed=0)
            self.out = tg.Parameter(np.zeros(5, "f4"))
            self.table = self.embedding.weight

        def forward(self, ids: Any) -> Any:
            return self.embedding(ids).mean(axis=-2) @ self.table.T + self.out

    model = Tied()
    assert len(model.parameters()) == 2 and len(model.state_dict()) == 2
    apply, *trees = tg.functional(model)
    ids = np.array([[0, 1], [4, 4]])
    assert np.allclose(apply(*trees, ids).numpy(), model(ids).numpy())
    other = Tied()
    other.load_state_dict({path: array + 1 for path, array in model.state_dict().items()})
    assert other.table is other.embedding.weight and (other.table.numpy() == model.table.numpy() + 1).all()
    nn.from_torch_state(other, {"embedding.weight": model.table.numpy(), "out": np.zeros(5)})
    assert (other.table.numpy() == model.table.numpy()).all()


# hooks, astype, apply -------------------------------------------------------------------------------------------------


def test_hooks_see_and_change_what_passes() -> None:
    model = nn.Sequential(nn.Linear(2, 2, seed=0), nn.ReLU())
    seen: list[str] = []
    x = np.array([[1.0, -2.0]], "f4")
    plain = model(x).numpy()
    first = model[0].register_forward_pre_hook(lambda module, args: seen.append(type(module).__name__))
    second = model[1].register_forward_hook(lambda module, args, output: output * 2.0)
    assert (model(x).numpy() == 2 * plain).all() and seen == ["Linear"]
    graph = tg.trace(model, x)
    assert (graph.bind(model)(x).numpy() == 2 * plain).all() and seen == ["Linear"] * 2
    first.remove()
    first.remove()
    assert (copy.deepcopy(model)(x).numpy() == plain).all() and (pickle.loads(pickle.dumps(model))(x) == plain).all()
    with model.register_forward_pre_hook(lambda module, args: -args[0]):
        assert (model(-x).numpy() == 2 * plain).all()
    second.remove()
    assert (model(x).numpy() == plain).all() and len(seen) == 2


def test_astype_changes_parameters_and_averages() -> None:
    model = nn.Sequential(nn.Linear(3, 4, seed=0), nn.BatchNorm(4), nn.LayerNorm(4))
    model(X.astype("f4")).sum().backward()
    with pytest.raises(TypeError, match="cast the data once"):
        model(X)
    assert model.astype(tg.f64) is model
    kinds = {path: str(cell.dtype) for path, cell in model.named_cells()}
    assert {kinds[p] for p in kinds if p.endswith(("weight", "gamma", "mean", "var"))} == {"float64"}
    assert model[0].weight.grad is None and model(X).dtype == "float64"
    half = model.astype("float16")
    assert half[0].weight.dtype == "float16" and half[1].running_var.dtype == "float32"
    assert (
        half(X.astype("f2")).dtype == "float16" and type(half).from_config(half.config())[0].weight.dtype == "float16"
    )


def test_apply_reaches_every_part() -> None:
    model = mlp()

    def start(part: Any) -> None:
        if isinstance(part, nn.Linear):
            part.weight.assign(np.full(part.weight.shape, 0.5, "f4"))

    assert model.apply(start) is model and (model[4].weight.numpy() == 0.5).all()
    assert "LayerNorm" in str(model.summary(tg.spec((5, 3))))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("torch", r"PyTorch's own is: nn\.init\.torch_uniform"), ("he", r"write nn\.init\.he_normal"),
        ("he_norml", "did you mean 'he_normal'"), ("kaiming_uniform", r"nn\.init\.he_uniform"),
        ("nothing", "there are constant, he_normal"),
    ],
)  # fmt: skip
def test_names_of_initialisers_are_answered(name, words):
    with pytest.raises(ValueError, match=rf"Linear: no initialiser is called '{name}'; .*{words}"):
        nn.Linear(2, 2, weight_init=name)
