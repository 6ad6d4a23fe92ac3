"""Module: what is found, how it is named, switched, copied, saved and loaded."""

import copy
import enum
import gc
import json
import pickle
import re
import threading

import numpy as np
import pytest

import tensorgraph as tg
from tensorgraph import nn
from tensorgraph.engine import modes


class Block(nn.Module):
    """A module with every kind of attribute that is looked through."""

    def __init__(self) -> None:
        self.scale = tg.Parameter([1.0, 2.0])
        self.seen = tg.Buffer(0)
        self.parts = [nn.Linear(2, 3, seed=0), (nn.Linear(3, 2, seed=1),)]
        self.named = {"left": nn.Linear(2, 2, bias=False, seed=2), "note": "text"}
        self.nothing = None

    def forward(self, x):
        return self.parts[1][0](self.parts[0](x * self.scale))


PATHS = [
    "scale", "seen", "parts.0.weight", "parts.0.bias", "parts.1.0.weight", "parts.1.0.bias", "named.left.weight",
]  # fmt: skip


def test_cells_are_found_in_attributes_lists_tuples_and_dicts() -> None:
    model = Block()
    assert sorted(path for path, _ in model.named_cells()) == sorted(PATHS)
    assert [path for path, _ in model.named_buffers()] == ["seen"]
    assert len(model.parameters()) == len(PATHS) - 1
    assert all(cell.path == path for path, cell in model.named_cells())
    assert model.named["left"].path == "named.left"


def test_paths_follow_a_module_into_its_parent() -> None:
    inner = Block()
    outer = nn.Sequential(nn.Identity(), inner)
    assert inner.path == "1"
    assert inner.parts[0].weight.path == "1.parts.0.weight"
    assert outer.path == ""
    assert [path for path, _ in inner.named_cells()] == [path for path, _ in Block().named_cells()]
    assert inner.root is outer


def test_shared_modules_and_parameters_are_counted_once() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            self.encoder = nn.Linear(3, 3, bias=False)
            self.decoder = nn.Linear(3, 3, bias=False)
            self.decoder.weight = self.encoder.weight
            self.again = self.encoder

    model = Tied()
    assert [path for path, _ in model.named_parameters()] == ["encoder.weight"]
    assert len(model.modules()) == 3
    assert model.state_dict().keys() == {"encoder.weight"}
    clone = copy.deepcopy(model)
    assert clone.decoder.weight is clone.encoder.weight is not model.encoder.weight


def test_a_name_that_is_left_passes_to_the_other() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            self.a = nn.Linear(2, 2, bias=False)
            self.b = self.a

    model = Two()
    del model.a
    assert [path for path, _ in model.named_parameters()] == ["b.weight"]
    assert model.b.weight.path == "b.weight"
    model.b = None
    assert model.parameters() == []


def test_a_list_that_grows_later_is_seen() -> None:
    class Stack(nn.Module):
        def __init__(self) -> None:
            self.layers: list = []
            for i in range(3):
                self.layers.append(nn.Linear(2, 2, bias=False, seed=i))

        def forward(self, x):
            for layer in self.layers:
                x = layer(x)
            return x

    model = Stack()
    graph = tg.trace(model, tg.spec((1, 2)))
    assert [cell.path for cell in graph.cells] == [f"layers.{i}.weight" for i in range(3)]
    assert [eq.scope for eq in graph.equations] == ["layers.0", "layers.1", "layers.2"]


def test_assigning_numbers_to_a_parameter_says_what_to_write() -> None:
    layer = nn.Linear(2, 2)
    with pytest.raises(TypeError, match=r"weight is a Parameter; change its numbers with \.weight\.assign"):
        layer.weight = np.zeros((2, 2))
    layer.bias = None
    assert [path for path, _ in layer.named_parameters()] == ["weight"]


def test_a_module_is_no_part_of_itself() -> None:
    a, b = nn.Module(), nn.Module()
    a.inner = b
    with pytest.raises(ValueError, match="cannot be a part of itself"):
        b.outer = a


def test_calls_open_scopes_and_close_them_after_an_error() -> None:
    seen = []

    class Probe(nn.Module):
        def forward(self, x):
            seen.append(modes.current().scope)
            if x is None:
                raise RuntimeError("stop")
            return x

    model = nn.Sequential(nn.Sequential(Probe()), Probe())
    model(1)
    with tg.no_grad():
        model(1)
    with pytest.raises(RuntimeError, match="stop"):
        model(None)
    assert seen == ["0.0", "1", "0.0", "1", "0.0"]
    assert modes.current().scope == ""
    with tg.scope("teacher"):
        model(1)
    assert seen[-2:] == ["teacher.0.0", "teacher.1"]
    seen.clear()
    nn.Sequential(model)(1)
    assert seen == ["0.0.0", "0.1"]


def test_two_threads_keep_their_own_scopes() -> None:
    class Probe(nn.Module):
        def forward(self, x):
            return modes.current().scope

    model = nn.Sequential(Probe())
    found = []

    def work(name: str) -> None:
        for _ in range(50):
            with tg.scope(name):
                found.append((name, model(0)))

    threads = [threading.Thread(target=work, args=(name,)) for name in ("left", "right")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 100
    assert all(scope == f"{name}.0" for name, scope in found)


def test_a_call_keeps_no_graph_alive() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    with tg.scope("a"):
        tg.trace(model, tg.spec((1, 2)))
    entered = [module.__dict__.get("_entered") for module in model.modules()]
    assert all(e is None or (e[0].trace is None and e[1].trace is None) for e in entered)


def test_a_float_input_wider_than_the_parameters_names_the_cast() -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    for x in (np.ones((1, 2)), tg.tensor(np.ones((1, 2)))):
        with pytest.raises(TypeError, match=r"float32 parameters and got a float64 input.*astype\('float32'\)"):
            model(x)
    with pytest.raises(TypeError, match="astype"):
        tg.trace(model, tg.f64[1, 2])
    assert model(np.ones((1, 2), np.float32)).dtype == np.float32
    assert nn.Sequential(nn.Linear(2, 2, dtype="float64"))(np.ones((1, 2))).dtype == np.float64
    model[0] = nn.Linear(2, 2, dtype="float64")
    assert model(np.ones((1, 2))).dtype == np.float64
    assert nn.ReLU()(np.ones(2)).dtype == np.float64


def test_train_eval_and_freeze_reach_every_part() -> None:
    model = nn.Sequential(nn.Sequential(nn.Dropout(0.5)), nn.BatchNorm(2))
    assert model.eval() is model
    assert [m.training for m in model.modules()] == [False] * 4
    model.train()
    assert [m.training for m in model.modules()] == [True] * 4
    assert model[1].freeze().frozen
    assert not model.frozen
    assert not model.unfreeze()[1].frozen
    assert all(p.requires_grad for p in model.parameters())


def test_requires_grad_and_zero_grad() -> None:
    model = nn.Linear(2, 1)
    model(tg.ones((1, 2))).sum().backward()
    assert all(p.grad is not None for p in model.parameters())
    model.zero_grad()
    assert all(p.grad is None for p in model.parameters())
    assert not model.requires_grad_(False)(tg.ones((1, 2))).requires_grad


def test_state_goes_round() -> None:
    a, b = Block(), Block()
    a.scale.assign([5.0, 6.0])
    a.seen.assign(7)
    state = a.state_dict()
    assert sorted(state) == sorted(PATHS)
    state["scale"][0] = -1.0
    assert a.scale.tolist() == [5.0, 6.0]
    b.load_state_dict(a.state_dict())
    for path, array in a.state_dict().items():
        assert np.array_equal(b.state_dict()[path], array), path
    b.load_state_dict({path: tg.tensor(array) for path, array in a.state_dict().items()})
    b.load_state_dict({"scale": np.array([1.0, 1.0])}, strict=False)
    assert b.scale.dtype == np.float32
    assert b.seen.item() == 7


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("scale"), "missing: scale"),
        (lambda s: s.update(extra=np.zeros(1)), "unexpected: extra"),
        (lambda s: s.update(scale=np.zeros(3)), "of another shape: scale (expected (2,), got (3,))"),
        (lambda s: s.update(seen=np.array(1.5)), "of another kind: seen (expected int64, got float64)"),
    ],
)
def test_a_state_that_does_not_fit_changes_nothing(change, message: str) -> None:
    model = Block()
    before = model.state_dict()
    state = {path: array + 1 for path, array in before.items()}
    change(state)
    with pytest.raises(ValueError, match=re.escape(message)):
        model.load_state_dict(state)
    for path, array in model.state_dict().items():
        assert np.array_equal(array, before[path]), path


def test_every_difference_of_a_state_is_named() -> None:
    state = Block().state_dict()
    del state["scale"]
    state["parts.0.bias"] = np.zeros(9, np.float32)
    state["other"] = np.zeros(1)
    with pytest.raises(ValueError, match=r"missing: scale; unexpected: other; of another shape: parts\.0\.bias"):
        Block().load_state_dict(state)
    with pytest.raises(TypeError, match="must be a dict"):
        Block().load_state_dict([1])


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))], ids=["deepcopy", "pickle"])
def test_copies_are_whole_and_apart(clone) -> None:
    model = nn.Sequential(nn.Linear(2, 3, seed=0), nn.BatchNorm(3), nn.Dropout(0.5, seed=0))
    model[0].bias.requires_grad_(False)
    model(tg.ones((2, 2)) * tg.tensor([[1.0], [2.0]]))
    twin = clone(model)
    assert twin[1].gamma.path == "1.gamma"
    assert twin[1].decay == 0.9
    assert not twin[0].bias.requires_grad
    assert twin[0].weight.initialiser == "he_normal()"
    for path, array in model.state_dict().items():
        assert np.array_equal(twin.state_dict()[path], array), path
    twin[0].weight.assign(np.zeros((2, 3), np.float32))
    twin[1].decay = 0.5
    assert model[0].weight.numpy().any()
    assert model[1].decay == 0.9


def test_a_part_can_outlive_its_root() -> None:
    part = nn.Sequential(nn.Linear(2, 2))[0]
    gc.collect()
    assert part.path == ""
    assert part.weight.path == "weight"


def test_summary_computes_nothing_and_changes_nothing() -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm(3), nn.Dropout(0.5, seed=0), nn.Softmax())
    before = model.state_dict()
    table = model.summary(tg.spec((1, 4)))
    assert table.rows[0] == ("", "Sequential", "f32[1, 3]", 21)
    assert [row[1] for row in table.rows[1:]] == ["Linear", "BatchNorm", "Dropout", "Softmax"]
    assert "21 parameters (84 B), 21 trained" in str(table)
    assert "output" not in str(model.summary())
    for path, array in model.state_dict().items():
        assert np.array_equal(array, before[path])
    assert model.training
    assert "forward" not in vars(model)
    with pytest.raises(ValueError, match="takes 4 features"):
        model.summary(tg.spec((1, 5)))
    assert model.training
    assert "forward" not in vars(model)


def test_repr_shows_the_nesting() -> None:
    model = nn.Sequential(nn.Linear(2, 3, bias=False), nn.Sequential(nn.ReLU()))
    assert repr(model) == "Sequential(\n  0: Linear(2, 3, bias=False)\n  1: Sequential(\n    0: ReLU()\n  )\n)"


def test_a_module_without_forward_says_so() -> None:
    with pytest.raises(NotImplementedError, match="define forward"):
        nn.Module()(1)


def test_graphs_name_the_arguments_of_forward() -> None:
    class Model(nn.Module):
        def forward(self, image, weight):
            return image * weight

    graph = tg.trace(Model(), tg.spec((2,)), tg.spec((2,)))
    assert [v.name for v in graph.inputs] == ["image", "weight"]
    assert graph.name == "Model"


LAYERS = [
    nn.Linear(3, 2, bias=False), nn.BatchNorm(3, preset="keras", degenerate="beta"), nn.Dropout(0.25), nn.Flatten(2),
    nn.ReLU(), nn.LeakyReLU(0.2), nn.Tanh(), nn.Sigmoid(), nn.Softmax(0), nn.LogSoftmax(), nn.Identity(),
]  # fmt: skip


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: type(layer).__name__)
def test_a_layer_says_how_it_was_made(layer: nn.Module) -> None:
    config = json.loads(json.dumps(layer.config()))
    twin = type(layer).from_config(config)
    assert twin.config() == layer.config()
    assert repr(twin) == repr(layer)
    assert {p: a.shape for p, a in twin.state_dict().items()} == {p: a.shape for p, a in layer.state_dict().items()}


def test_a_module_that_does_not_say_how_it_was_made() -> None:
    with pytest.raises(NotImplementedError, match="define config"):
        nn.Lambda(tg.relu).config()


def test_a_setting_exists_once_it_is_set() -> None:
    class Model(nn.Module):
        rate = nn.settings.Setting("A rate.", 0.0)

    model = Model()
    with pytest.raises(AttributeError, match="Model has no 'rate'"):
        _ = model.rate
    model.rate = 2
    assert (model.rate, [path for path, _ in model.named_buffers()]) == (2.0, ["rate"])
    assert Model.rate.__doc__ == "A rate."


def test_a_wide_input_given_by_name_is_seen_too() -> None:
    layer = nn.Linear(3, 2, seed=0)
    with pytest.raises(TypeError, match=r"cast the data once with x\.astype\('float32'\)"):
        layer(x=np.ones((1, 3)))
    assert layer(x=np.ones((1, 3), np.float32)).dtype == np.float32


def test_a_state_is_read_in_full_precision_and_stays_finite() -> None:
    wide, narrow = nn.Linear(1, 1, dtype="float64", seed=0), nn.Linear(1, 1, seed=0)
    wide.load_state_dict({"weight": [[0.1]], "bias": [0.3]})
    assert wide.weight.item() == 0.1
    before = narrow.state_dict()
    with pytest.raises(ValueError, match=r"beyond the dtype: weight \(expected float32\)"):
        narrow.load_state_dict({"weight": np.array([[1e300]]), "bias": np.array([0.0])})
    with pytest.raises(ValueError, match=r"of another kind: weight \(expected float32, got str\)"):
        narrow.load_state_dict({"weight": "x", "bias": np.array([0.0])})
    assert np.array_equal(narrow.weight.numpy(), before["weight"])
    narrow.load_state_dict({"weight": np.array([[np.inf]]), "bias": np.array([0.0])})
    assert narrow.weight.item() == np.inf


def test_what_stood_around_a_model_is_forgotten_with_it():
    inner = nn.Sequential(nn.Linear(2, 2, seed=0), nn.BatchNorm(2))

    def around():
        outer = nn.Sequential(inner, nn.Tanh())
        graph = tg.trace(outer, tg.spec((3, 2)))
        return {eq.scope for eq in graph.equations}, [path for path, _ in outer.named_modules()]

    collecting = gc.isenabled()
    gc.disable()  # nothing may wait for it
    try:
        scopes, paths = around()
        alone = {eq.scope for eq in tg.trace(inner, tg.spec((3, 2))).equations}
    finally:
        if collecting:
            gc.enable()
    assert scopes == {"0.0", "0.1", "1"} and paths == ["", "0", "0.0", "0.1", "1"]
    assert alone == {"0", "1"}


class Empty(nn.Module):
    def forward(self, x):
        return x


def linear():
    return nn.Linear(2, 2, seed=0)


class Color(enum.Enum):
    RED = 1


CYCLE: list = [nn.ReLU()]
CYCLE.append(CYCLE)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("a.0", linear, "Empty.a.0 holds a Linear, whose path is made of names with dots between"),
        ("a.0", lambda: tg.Parameter([1.0]), "take a name without dots"),
        ("a.0", lambda: tg.Buffer([1.0]), "take a name without dots"),
        ("a.0", lambda: [linear()], "take a name without dots"),
        ("", linear, "an attribute without a name"),
        ("parts", lambda: {0: linear(), "0": linear()}, r"the keys 0 and '0' are one path; take keys that differ"),
        ("parts", lambda: [{"x": {1: tg.Buffer([1.0]), "1": linear()}}], r"parts.0.x: the keys 1 and '1' are one path"),
        ("parts", lambda: {"a.b": linear()}, "the key 'a.b' of a part has a dot in it"),
        ("parts", lambda: {"": linear()}, "must be a str that is not empty or an int, got ''"),
        ("parts", lambda: {1.5: linear()}, "must be a str that is not empty or an int, got 1.5"),
        ("parts", lambda: {None: linear()}, "got None"),
        ("parts", lambda: {True: linear()}, "got True"),
        ("parts", lambda: {(1, 2): linear()}, r"got \(1, 2\)"),
        ("parts", lambda: {Color.RED: linear()}, "got a Color"),
        ("parts", lambda: CYCLE, "holds itself, so that its parts have no end"),
        ("parameters", lambda: [tg.Parameter([1.0])], "Empty.parameters is what every Module has"),
        ("parameters", lambda: 3, "Empty.parameters is what every Module has, and 3 would hide it"),
        ("path", lambda: "x.npz", "Empty.path is what every Module has, and 'x.npz' would hide it: take another name"),
        ("ranks", lambda: 3, "Empty.ranks is what every Module has, and 3 would change it: take another name"),
        ("moves_mark", lambda: False, "Empty.moves_mark is what every Module has, and False would change it"),
        ("state_dict", linear, "is what every Module has"),
        ("path", lambda: "a", "is what every Module has"),
        ("train", lambda: True, "is what every Module has"),
        ("config", linear, "is what every Module has"),
        ("training", linear, "Empty.training must be True or False, got a Linear"),
        ("training", lambda: "no", "must be True or False, got 'no'"),
        ("frozen", lambda: [linear()], "must be True or False"),
    ],
)
def test_parts_that_no_path_would_lead_to_are_refused_at_assignment(name, value, message) -> None:
    model = Empty()
    model.a = nn.Sequential(linear())
    before = dict(vars(model))
    with pytest.raises((ValueError, TypeError), match=message):
        setattr(model, name, value())
    assert vars(model) == before and list(model.state_dict()) == ["a.0.weight", "a.0.bias"]


def test_what_is_no_part_may_be_called_anything() -> None:
    model = Empty()
    model.parts = {0: linear(), "one": [linear(), {"b": tg.Buffer([1.0])}], 2.5: "no part", None: 3}
    model.table = {1.5: "x", "1.5": "y", (1,): [2]}
    setattr(model, "a.b", 3)
    model.config = {"width": 2}
    model.training = False
    assert sorted(model.state_dict()) == [
        "parts.0.bias", "parts.0.weight", "parts.one.0.bias", "parts.one.0.weight", "parts.one.1.b"
    ]  # fmt: skip


def test_a_dict_that_grew_two_keys_of_one_text_is_told_when_it_is_read() -> None:
    model = Empty()
    model.parts = {"0": linear()}
    model.parts[0] = linear()
    with pytest.raises(ValueError, match=r"two parts are called 'parts.0'"):
        model.state_dict()


def test_gradients_of_a_module_in_another_dtype_are_of_that_dtype() -> None:
    model = nn.Linear(2, 1, seed=0).astype("float64")
    (model(np.array([[0.1, 0.3]])) * 0.1).sum().backward()
    assert model.weight.grad is not None and model.weight.grad.dtype == "float64"
    assert model.weight.grad.tolist() == [[0.1 * 0.1], [0.3 * 0.1]]
