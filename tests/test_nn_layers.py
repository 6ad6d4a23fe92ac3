"""Linear, Sequential, Flatten, Lambda, activations, Dropout, and initialisers."""

import math

import numpy as np
import pytest

import tensorgraph as tg
from tensorgraph import nn
from tensorgraph.nn import init


def test_linear_is_a_product_and_a_sum() -> None:
    layer = nn.Linear(3, 2, seed=0)
    assert (layer.weight.shape, layer.bias.shape) == ((3, 2), (2,))
    layer.bias.assign([1.0, -1.0])
    x = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)
    expected = x @ layer.weight.numpy() + layer.bias.numpy()
    assert np.array_equal(layer(x).numpy(), expected)
    assert np.array_equal(layer(tg.tensor(x)).numpy(), expected)
    assert layer(x[0]).shape == (2,)
    assert layer(np.ones((4, 5, 3), np.float32)).shape == (4, 5, 2)
    assert nn.Linear(3, 2, bias=False).bias is None
    assert layer(np.ones((0, 3), np.float32)).shape == (0, 2)


def test_linear_says_what_does_not_fit() -> None:
    model = nn.Sequential(nn.Linear(3, 2))
    with pytest.raises(ValueError, match=r"Linear '0' takes 3 features on the last axis, got shape \(5, 4\)"):
        model(tg.ones((5, 4)))
    with pytest.raises(ValueError, match="flatten it first"):
        model(tg.ones((5, 4, 4)))
    for bad in (0, -1, 2.5, True):
        with pytest.raises((ValueError, TypeError), match="positive integer"):
            nn.Linear(bad, 2)
    with pytest.raises(ValueError, match="gave shape"):
        nn.Linear(3, 2, weight_init=lambda shape: np.zeros(3))
    with pytest.raises(ValueError, match="no initialiser is called 'he'"):
        nn.Linear(3, 2, weight_init="he")
    with pytest.raises(TypeError, match="weight_init must be a str or callable"):
        nn.Linear(3, 2, weight_init=3)


def test_linear_remembers_its_initialisers() -> None:
    layer = nn.Linear(3, 2, weight_init=init.normal.using(std=0.5), seed=0)
    assert layer.weight.initialiser == "normal(std=0.5)"
    assert layer.bias.initialiser == "zeros()"
    assert nn.Linear(2, 2, weight_init=np.zeros).weight.initialiser == "zeros()"


def test_seeds_make_linear_reproducible() -> None:
    assert nn.Linear(3, 2, seed=1).weight.tolist() == nn.Linear(3, 2, seed=1).weight.tolist()
    assert nn.Linear(3, 2, seed=1).weight.tolist() != nn.Linear(3, 2, seed=2).weight.tolist()
    tg.random.seed(4)
    first = nn.Linear(3, 2).weight.tolist(), nn.Linear(3, 2).weight.tolist()
    tg.random.seed(4)
    assert (nn.Linear(3, 2).weight.tolist(), nn.Linear(3, 2).weight.tolist()) == first
    assert first[0] != first[1]


def test_sequential_is_a_list_of_layers() -> None:
    a, b, c = nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1)
    model = nn.Sequential(a, b).append(c)
    assert list(model) == [a, b, c]
    assert (len(model), model[0], model[-1]) == (3, a, c)
    assert list(model[1:]) == [b, c]
    assert [path for path, _ in model.named_parameters()] == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert [path for path, _ in model[1:].named_parameters()] == ["1.weight", "1.bias"]
    model[1] = tg.tanh
    assert repr(model[1]) == "Lambda(tanh)"
    x = tg.ones((3, 2))
    assert np.array_equal(model(x).numpy(), c(tg.tanh(a(x))).numpy())
    assert list(nn.Sequential([a, b])) == [a, b]
    assert nn.Sequential()(x) is x
    for wrong in (3, -4):
        with pytest.raises(IndexError, match="has 3 layers"):
            model[wrong]
        with pytest.raises(IndexError, match="has 3 layers"):
            model[wrong] = b
    with pytest.raises(TypeError, match=r"write ReLU\(\)"):
        nn.Sequential(nn.ReLU)
    with pytest.raises(TypeError, match="must be callable"):
        nn.Sequential(3)


def test_a_hundred_and_more_layers() -> None:
    assert nn.Sequential(*[lambda x: x + 1 for _ in range(130)])(tg.zeros(())).item() == 130


def test_flatten() -> None:
    x = tg.tensor(np.arange(24.0, dtype=np.float32).reshape(2, 3, 4))
    assert np.array_equal(nn.Flatten()(x).numpy(), x.numpy().reshape(2, 12))
    assert nn.Flatten(keep=2)(x).shape == (2, 3, 4)
    assert nn.Flatten(keep=0)(x).shape == (24,)
    assert nn.Flatten()(tg.zeros((0, 3, 4))).shape == (0, 12)
    with pytest.raises(ValueError, match="keeps 3 axes"):
        nn.Flatten(3)(tg.zeros((2, 2)))
    with pytest.raises(ValueError, match="keep must be a non-negative integer"):
        nn.Flatten(-1)


@pytest.mark.parametrize(
    ("layer", "function"),
    [
        (nn.ReLU(), tg.relu), (nn.Tanh(), tg.tanh), (nn.Sigmoid(), tg.sigmoid), (nn.Softmax(), tg.softmax),
        (nn.LogSoftmax(axis=0), lambda x: tg.log_softmax(x, axis=0)), (nn.Identity(), lambda x: x),
        (nn.LeakyReLU(0.2), lambda x: tg.leaky_relu(x, slope=0.2)), (nn.Lambda(lambda x: x * 2), lambda x: x * 2),
    ],
    ids=lambda case: getattr(type(case), "__name__", ""),
)  # fmt: skip
def test_activations_are_their_ops(layer: nn.Module, function) -> None:
    x = tg.tensor(np.random.default_rng(0).standard_normal((3, 4)), requires_grad=True)
    assert np.array_equal(layer(x).numpy(), function(x).numpy())
    assert layer(x).requires_grad


def test_dropout_drops_and_scales() -> None:
    layer = nn.Dropout(0.25, seed=3)
    x = tg.tensor(np.full((100, 100), 3.0, np.float32), requires_grad=True)
    y = layer(x)
    kept = y.numpy() != 0
    assert np.all(y.numpy()[kept] == np.float32(3.0) * np.float32(1 / 0.75))
    assert abs(kept.mean() - 0.75) < 0.02
    y.sum().backward()
    assert np.array_equal(x.grad.numpy(), np.where(kept, np.float32(1 / 0.75), 0))
    assert not np.array_equal(layer(x).numpy(), y.numpy())


def test_dropout_is_reproducible_and_its_state_is_saved() -> None:
    a, b = nn.Dropout(0.5, seed=3), nn.Dropout(0.5, seed=3)
    x = tg.ones((50,))
    first = a(x).tolist()
    assert b(x).tolist() == first
    saved = a.state_dict()
    second = a(x).tolist()
    b.load_state_dict(saved)
    assert b(x).tolist() == second != first
    tg.random.seed(0)
    c = nn.Dropout(0.5)
    tg.random.seed(0)
    assert nn.Dropout(0.5)(x).tolist() == c(x).tolist()


def test_dropout_at_test_time_and_without_rate_gives_what_it_gets() -> None:
    x = tg.tensor([1.0, np.inf, np.nan])
    layer = nn.Dropout(0.5, seed=0).eval()
    state = layer.state.tolist()
    assert layer(x) is x
    assert layer.state.tolist() == state
    assert nn.Dropout(0.0)(x) is x


def test_dropout_removes_infinities_that_it_drops() -> None:
    y = nn.Dropout(0.5, seed=0)(tg.tensor(np.full(64, np.inf, np.float32))).numpy()
    assert set(y.tolist()) == {0.0, math.inf}


def test_dropout_in_a_trace_writes_its_state() -> None:
    layer, live = nn.Dropout(0.5, seed=1), nn.Dropout(0.5, seed=1)
    graph = tg.trace(layer, tg.spec((20,)))
    assert len(graph.writes) == 1
    assert layer.state.tolist() == live.state.tolist()
    run = graph.bind(layer)
    x = tg.ones((20,))
    for _ in range(3):
        assert run(x).tolist() == live(x).tolist()


def test_dropout_refuses() -> None:
    for rate in (-0.1, 1.0, 2, "half", True):
        with pytest.raises((ValueError, TypeError), match="rate must be a number at least 0 and below 1"):
            nn.Dropout(rate)
    with pytest.raises(TypeError, match="needs float input"):
        nn.Dropout(0.5, seed=0)(tg.tensor([1, 2]))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_dropout_keeps_the_dtype(dtype: str) -> None:
    assert nn.Dropout(0.5, seed=0)(tg.ones((4,), dtype=dtype)).dtype == dtype


VARIANCES = {
    "he_normal": 2 / 300, "he_uniform": 2 / 300, "xavier_normal": 2 / 500, "xavier_uniform": 2 / 500,
    "lecun_normal": 1 / 300, "lecun_uniform": 1 / 300,
}  # fmt: skip


@pytest.mark.parametrize("name", VARIANCES)
def test_scaled_initialisers_have_their_variance(name: str) -> None:
    w = getattr(init, name)((300, 200), seed=0)
    assert w.dtype == np.float32
    assert abs(w.mean()) < 0.002
    assert w.var() == pytest.approx(VARIANCES[name], rel=0.03)
    if name.endswith("uniform"):
        assert np.abs(w).max() <= math.sqrt(3 * VARIANCES[name])
    doubled = getattr(init, name)((300, 200), seed=0, gain=2.0)
    assert np.allclose(doubled, 2 * w, rtol=1e-6)


def test_fan_in_can_be_given() -> None:
    a = init.he_normal((4, 5), seed=0, fan_in=16)
    b = init.he_normal((4, 5), seed=0)
    assert np.allclose(a * 2, b, rtol=1e-6)


def test_a_layer_starts_as_pytorchs_where_asked_for() -> None:
    tg.random.seed(0)
    layer = nn.Linear(50, 400, weight_init="torch_uniform", bias_init="torch_uniform")
    bound = 1 / np.sqrt(50)
    for cell in (layer.weight, layer.bias):
        numbers = cell.numpy()
        assert 0.97 * bound < np.abs(numbers).max() <= bound and abs(numbers.std() - bound / np.sqrt(3)) < 0.05 * bound
    assert layer.bias.initialiser == "torch_uniform(fan_in=50)"


def test_plain_initialisers() -> None:
    assert init.zeros((2, 2)).tolist() == [[0, 0], [0, 0]]
    assert init.ones(3).tolist() == [1, 1, 1]
    assert init.constant((2,), value=0.5).tolist() == [0.5, 0.5]
    u = init.uniform((1000,), seed=0, low=2.0, high=3.0)
    assert u.min() >= 2
    assert u.max() < 3
    n = init.normal((1000,), seed=0, mean=5.0, std=0.1)
    assert n.mean() == pytest.approx(5.0, abs=0.02)
    assert init.normal((2,), "float64", seed=0).dtype == np.float64


def test_initialisers_take_seeds_and_generators() -> None:
    assert init.normal((3,), seed=1).tolist() == init.normal((3,), seed=1).tolist()
    ours = init.normal((3,), generator=tg.random.Generator(1)).tolist()
    assert ours == init.normal((3,), seed=1).tolist()
    drawn = init.uniform((3,), generator=np.random.default_rng(0))
    assert np.allclose(drawn, np.random.default_rng(0).random(3) * 2 - 1, atol=1e-7)
    with pytest.raises(TypeError, match="not both"):
        init.normal((3,), seed=1, generator=np.random.default_rng(0))
    with pytest.raises(TypeError, match="dtype must be a float dtype"):
        init.normal((3,), "int64")


def test_making_a_long_model_is_linear_work(monkeypatch) -> None:
    walks = []
    walk = nn.Module._items
    monkeypatch.setattr(nn.Module, "_items", lambda self: walks.append(self) or walk(self))
    for n in (50, 200):
        walks.clear()
        model = nn.Sequential(*[nn.ReLU() for _ in range(n)])
        assert len(walks) <= 4 * n
        assert len(model) == n
        assert model[-1].path == str(n - 1)
