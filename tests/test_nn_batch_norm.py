"""The batch norm layer: running averages, presets, test time, and every odd batch."""

import copy
import math
import warnings

import numpy as np
import pytest

import tensorgraph as tg
from tensorgraph import jit, nn
from tensorgraph.nn.normalization import PRESETS

IMPLEMENTATIONS = ["fused", "composed"] if jit.available() else ["composed"]
STATE = ("running_mean", "running_var", "accumulated", "count")


def batch(shape=(16, 3), seed=0, dtype=np.float32, mean=0.0, std=1.0):
    return (np.random.default_rng(seed).standard_normal(shape) * std + mean).astype(dtype)


def state(layer: nn.BatchNorm) -> dict:
    return {name: getattr(layer, name).numpy().copy() for name in STATE}


def assert_same(a: dict, b: dict) -> None:
    for name in STATE:
        assert np.array_equal(a[name], b[name]), name


def moments(x, axis=1):
    others = tuple(i for i in range(x.ndim) if i != axis % x.ndim)
    x = x.astype(np.float64)
    return x.mean(others), x.var(others)


def test_training_gives_the_op() -> None:
    layer, x = nn.BatchNorm(3), batch()
    layer.gamma.assign([1.0, 2.0, 3.0])
    y, _, _ = tg.batch_norm(x, layer.gamma, layer.beta)
    assert np.array_equal(layer(x).numpy(), y.numpy())
    assert np.array_equal(layer(tg.tensor(x)).numpy(), y.numpy())


def test_the_first_batch_is_taken_whole() -> None:
    layer, x = nn.BatchNorm(3), batch(mean=5.0, std=1e-4)
    layer(x)
    mu, var = moments(x)
    assert np.allclose(layer.running_mean.numpy(), mu, rtol=1e-6)
    assert np.allclose(layer.running_var.numpy(), var, rtol=1e-4)
    assert layer.accumulated.item() == pytest.approx(0.1, rel=1e-15)
    assert layer.count.item() == 1


def test_averages_are_bias_corrected_as_adam_corrects_them() -> None:
    layer = nn.BatchNorm(3, dtype="float64", decay=0.9)
    m, weight = np.zeros(3), 0.0
    for t in range(1, 60):
        x = batch(seed=t, dtype=np.float64)
        layer(x)
        m = 0.9 * m + 0.1 * moments(x)[0]
        weight = 1 - 0.9**t
        assert np.allclose(layer.running_mean.numpy(), m / weight, rtol=0, atol=1.5e-14)
        assert layer.accumulated.item() == pytest.approx(weight, rel=1e-13)


def test_the_decay_may_change_while_running() -> None:
    layer = nn.BatchNorm(3, dtype="float64")
    decays = [0.9, 0.5, 0.0, 0.99, 0.7]
    xs = [batch(seed=i, dtype=np.float64) for i in range(len(decays))]
    weights = np.array([(1 - d) * math.prod(decays[i + 1 :]) for i, d in enumerate(decays)])
    for d, x in zip(decays, xs, strict=True):
        layer.decay = d
        layer(x)
    assert layer.decay == 0.7
    assert layer.accumulated.item() == pytest.approx(1 - math.prod(decays))
    expected = sum(w * moments(x)[1] for w, x in zip(weights, xs, strict=True)) / weights.sum()
    assert np.allclose(layer.running_var.numpy(), expected, rtol=1e-13)


def test_a_tiny_first_variance_is_kept() -> None:
    layer = nn.BatchNorm(1)
    layer(np.array([[-1e-4], [1e-4]], np.float32))
    assert layer.running_var.item() == pytest.approx(1e-8, rel=1e-6)


def test_the_plain_average_starts_from_0_and_1() -> None:
    layer, x = nn.BatchNorm(3, debias=False, dtype="float64"), batch(dtype=np.float64)
    mean, var = np.zeros(3), np.ones(3)
    for _ in range(5):
        layer(x)
        mu, s2 = moments(x)
        mean, var = 0.9 * mean + 0.1 * mu, 0.9 * var + 0.1 * s2
    assert np.allclose(layer.running_mean.numpy(), mean, rtol=1e-13)
    assert np.allclose(layer.running_var.numpy(), var, rtol=1e-13)
    assert layer.accumulated.item() == 1.0


def test_unbiased_variance_on_request() -> None:
    x = batch((8, 3), dtype=np.float64)
    layer = nn.BatchNorm(3, unbiased=True, dtype="float64")
    layer(x)
    assert np.allclose(layer.running_var.numpy(), x.var(0, ddof=1), rtol=1e-13)


@pytest.mark.parametrize("decay", [-0.1, 1.0, 1.5, float("nan")])
def test_decay_out_of_range(decay: float) -> None:
    with pytest.raises(ValueError, match="decay must be a number at least 0 and below 1"):
        nn.BatchNorm(3, decay=decay)
    layer = nn.BatchNorm(3)
    with pytest.raises(ValueError, match="decay must be"):
        layer.decay = decay
    assert layer.decay == 0.9


def test_decay_is_a_number() -> None:
    with pytest.raises(TypeError, match="decay must be a number"):
        nn.BatchNorm(3, decay="0.9")


def test_momentum_is_refused_with_both_conversions() -> None:
    with pytest.raises(TypeError, match=r"PyTorch and tinygrad.*write decay=0\.9; of Keras, Flax and ONNX.*decay=0\.1"):
        nn.BatchNorm(3, momentum=0.1)


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_set_five_options_together(preset: str) -> None:
    layer = nn.BatchNorm(3, preset=preset)
    for name, value in PRESETS[preset].items():
        assert getattr(layer, name) == value, name
    assert layer.accumulated.item() == (0.0 if PRESETS[preset]["debias"] else 1.0)
    assert nn.BatchNorm(3, preset=preset, decay=0.5, eps=0.25).decay == 0.5


def test_presets_as_the_libraries_document_them() -> None:
    assert PRESETS["torch"] == dict(axis=1, eps=1e-5, decay=0.9, debias=False, unbiased=True)
    assert PRESETS["keras"] == dict(axis=-1, eps=1e-3, decay=0.99, debias=False, unbiased=False)
    assert PRESETS["flax"] == dict(axis=-1, eps=1e-5, decay=0.99, debias=False, unbiased=False)
    assert PRESETS["onnx"]["decay"] == 0.9
    with pytest.raises(ValueError, match="preset must be 'torch', 'keras'"):
        nn.BatchNorm(3, preset="caffe")


def test_torch_preset_follows_pytorch() -> None:
    torch = pytest.importorskip("torch")
    ours, theirs = nn.BatchNorm(3, preset="torch"), torch.nn.BatchNorm1d(3)
    for i in range(10):
        x = batch(seed=i)
        assert np.allclose(ours(x).numpy(), theirs(torch.tensor(x)).detach().numpy(), atol=1e-6)
    assert np.allclose(ours.running_mean.numpy(), theirs.running_mean.numpy(), atol=1e-6)
    assert np.allclose(ours.running_var.numpy(), theirs.running_var.numpy(), rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (100.0, 0.5), (-3.0, 20.0)])
def test_after_one_batch_eval_equals_training(dtype: str, impl: str, mean: float, std: float) -> None:
    layer = nn.BatchNorm(5, dtype=dtype, impl=impl)
    layer.gamma.assign(np.linspace(-2, 3, 5).astype(dtype))
    layer.beta.assign(np.linspace(1, -1, 5).astype(dtype))
    x = batch((64, 5), dtype=dtype, mean=mean, std=std)
    trained = layer(x).numpy().astype(np.float64)
    tested = layer.eval()(x).numpy().astype(np.float64)
    assert np.isfinite(trained).all()
    mu, var = moments(x)
    eps = np.finfo(dtype).eps
    bound = 4 * eps * np.abs(trained).max(0) + 0.5 * np.spacing(np.abs(mu).astype(dtype)) * np.abs(
        layer.gamma.numpy()
    ) / np.sqrt(var + layer.eps)
    assert np.all(np.abs(trained - tested).max(0) <= bound)


@pytest.mark.parametrize(
    ("shape", "axis"), [((4, 3), 1), ((4, 3, 5), 1), ((4, 3, 2, 5), 1), ((4, 5, 3), -1), ((3, 7), 0)]
)
def test_every_axis_in_training_and_at_test_time(shape, axis: int) -> None:
    layer, x = nn.BatchNorm(3, axis=axis, dtype="float64"), batch(shape, dtype=np.float64)
    layer.gamma.assign([1.0, -2.0, 0.5])
    layer.beta.assign([0.0, 1.0, 2.0])
    rows = np.moveaxis(x, axis, -1)
    mu, var = moments(x, axis)
    expected = (rows - mu) / np.sqrt(var + 1e-5) * layer.gamma.numpy() + layer.beta.numpy()
    assert np.allclose(np.moveaxis(layer(x).numpy(), axis, -1), expected, atol=1e-12)
    layer.eval()
    tested = layer(x)
    assert np.allclose(np.moveaxis(tested.numpy(), axis, -1), expected, atol=1e-12)
    with tg.no_grad():
        assert np.array_equal(layer(x).numpy(), tested.numpy())
    assert np.array_equal(tg.trace(layer, tg.spec(shape, "float64")).bind(layer)(x).numpy(), tested.numpy())


def test_one_example_at_a_time_at_test_time() -> None:
    layer = nn.BatchNorm(3)
    layer.gamma.assign([1.0, -2.0, 0.5])
    for i in range(5):
        layer(batch(seed=i))
    layer.eval()
    before, x = state(layer), batch(seed=9)
    whole = layer(x).numpy()
    assert np.array_equal(np.concatenate([layer(row[None]).numpy() for row in x]), whole)
    with tg.no_grad():
        assert np.array_equal(np.concatenate([layer(row[None]).numpy() for row in x]), whole)
    assert_same(before, state(layer))


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_half_precision_is_worked_on_in_float32(dtype: str) -> None:
    layer = nn.BatchNorm(3, dtype=dtype)
    x = batch(dtype=dtype)
    assert layer(x).dtype == dtype
    assert layer.running_var.dtype == np.float32
    assert layer.eval()(x).dtype == dtype
    with tg.no_grad():
        assert layer(x).dtype == dtype


def test_what_does_not_fit_is_named() -> None:
    model = nn.Sequential(nn.BatchNorm(3))
    with pytest.raises(TypeError, match="needs float input, got i64"):
        model.eval()(np.ones((4, 3), np.int64))
    with pytest.raises(TypeError, match="float"):
        model.train()(np.ones((4, 3), np.int64))
    with pytest.raises(
        ValueError, match=r"BatchNorm '0' has 3 channels on axis 1, got shape \(3, 5\).*axis=0 would fit"
    ):
        model(batch((3, 5)))
    with pytest.raises(ValueError, match="a batch axis and a channel axis"):
        model(batch((3,)))
    with pytest.raises(ValueError, match="axis 3 is out of range"):
        nn.BatchNorm(3, axis=3)(batch((4, 3)))
    for options in (dict(features=0), dict(features=3, eps=-1.0), dict(features=3, degenerate="ok"),
                    dict(features=3, impl="fast")):  # fmt: skip
        with pytest.raises(ValueError, match="BatchNorm"):
            nn.BatchNorm(**options)


def test_one_value_per_channel_raises_with_the_remedy() -> None:
    layer = nn.BatchNorm(3)
    before = state(layer)
    with pytest.raises(ValueError, match=r"more than one value per channel.*merge.*eval\(\).*degenerate='beta'"):
        layer(batch((1, 3)))
    with pytest.raises(ValueError, match="more than one value"):
        tg.trace(layer, tg.spec((1, 3)))
    assert_same(before, state(layer))
    assert layer(batch((1, 3, 2))).shape == (1, 3, 2)


@pytest.mark.parametrize("unbiased", [False, True])
def test_one_value_per_channel_may_give_beta(unbiased: bool) -> None:
    layer, x = nn.BatchNorm(3, degenerate="beta", unbiased=unbiased), batch((1, 3))
    layer.beta.assign([1.0, 2.0, 3.0])
    assert layer(x).tolist() == [[1.0, 2.0, 3.0]]
    assert np.array_equal(layer.running_mean.numpy(), x[0])
    assert layer.running_var.tolist() == [0.0, 0.0, 0.0]


def test_an_empty_batch_changes_nothing() -> None:
    for layer in (nn.BatchNorm(3), nn.BatchNorm(3, impl="composed")):
        layer(batch())
        before = state(layer)
        assert layer(batch((0, 3))).shape == (0, 3)
        assert_same(before, state(layer))
        assert layer.eval()(batch((0, 3))).shape == (0, 3)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_bad_batch_changes_nothing_and_warns_once(bad: float) -> None:
    model = nn.Sequential(nn.BatchNorm(3))
    model(batch())
    before, x = state(model[0]), batch(seed=1)
    x[2, 1] = bad
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        y = model(x).numpy()
    assert [w.category for w in caught] == [RuntimeWarning]
    assert "batch norm '0'" in str(caught[0].message)
    assert caught[0].filename == __file__
    assert np.isnan(y[:, 1]).all()
    assert np.isfinite(y[:, [0, 2]]).all()
    assert_same(before, state(model[0]))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for _ in range(3):
            model(x)
    assert len(caught) == 1


def test_huge_but_finite_moments_are_averaged() -> None:
    layer = nn.BatchNorm(2, dtype="float64")
    layer(np.array([[1e150, 1e150], [-1e150, 3e150]]))
    assert layer.count.item() == 1
    assert np.isfinite(layer.running_var.numpy()).all()


def test_freeze_uses_the_averages_in_training_and_keeps_them() -> None:
    layer = nn.BatchNorm(3)
    for i in range(3):
        layer(batch(seed=i))
    before, x = state(layer), batch(seed=7, mean=4.0)
    expected = copy.deepcopy(layer).eval()(x).numpy()
    assert layer.freeze().training
    y = layer(x)
    assert np.array_equal(y.numpy(), expected)
    assert_same(before, state(layer))
    y.sum().backward()
    assert layer.gamma.grad is not None
    assert layer.gamma.requires_grad
    layer.unfreeze()(x)
    assert layer.count.item() == before["count"] + 1


def test_requires_grad_does_not_freeze() -> None:
    layer = nn.BatchNorm(3).requires_grad_(False)
    layer(batch())
    assert layer.count.item() == 1
    assert not layer.frozen


def test_gradient_flows_through_the_batch_moments() -> None:
    x = tg.tensor(batch((6, 2), dtype=np.float64), requires_grad=True)
    layer = nn.BatchNorm(2, dtype="float64")
    (layer(x) ** 3).sum().backward()
    h = 1e-6
    numeric = np.zeros_like(x.numpy())
    for i in np.ndindex(*x.shape):
        plus, minus = x.numpy().copy(), x.numpy().copy()
        plus[i] += h
        minus[i] -= h
        numeric[i] = ((layer(plus) ** 3).sum().item() - (layer(minus) ** 3).sum().item()) / (2 * h)
    assert np.allclose(x.grad.numpy(), numeric, atol=1e-7)


def test_gradient_at_test_time_is_that_of_an_affine_map() -> None:
    layer = nn.BatchNorm(2, dtype="float64")
    layer(batch((6, 2), dtype=np.float64))
    layer.gamma.assign([2.0, -3.0])
    x = tg.tensor(batch((4, 2), seed=1, dtype=np.float64), requires_grad=True)
    layer.eval()(x).sum().backward()
    scale = layer.gamma.numpy() / np.sqrt(layer.running_var.numpy() + 1e-5)
    assert np.allclose(x.grad.numpy(), np.broadcast_to(scale, (4, 2)), rtol=1e-14)
    xhat = (x.numpy() - layer.running_mean.numpy()) / np.sqrt(layer.running_var.numpy() + 1e-5)
    assert np.allclose(layer.gamma.grad.numpy(), xhat.sum(0), rtol=1e-12)
    assert layer.beta.grad.tolist() == [4.0, 4.0]


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_a_trace_updates_the_averages_as_eager_does(impl: str) -> None:
    traced, eager = (nn.Sequential(nn.BatchNorm(3, impl=impl)) for _ in range(2))
    graph = tg.trace(traced, tg.spec((16, 3)))
    assert_same(state(traced[0]), state(nn.BatchNorm(3)))
    assert [w.cell.name for w in graph.writes] == [f"0.{name}" for name in STATE]
    assert sum(eq.op.name == "running_average" for eq in graph.equations) == 1
    run = graph.bind(traced)
    for i in range(10):
        x = batch(seed=i)
        if i == 5:
            traced[0].decay = eager[0].decay = 0.5
        assert np.array_equal(run(x).numpy(), eager(x).numpy())
        assert_same(state(traced[0]), state(eager[0]))


def test_a_trace_warns_of_a_bad_batch_and_keeps_the_averages() -> None:
    model = nn.Sequential(nn.BatchNorm(3))
    run = tg.trace(model, tg.spec((16, 3))).bind(model)
    before = state(model[0])
    x = batch()
    x[0] = np.nan
    with pytest.warns(RuntimeWarning, match="batch norm '0': the batch has a NaN"):
        run(x)
    assert_same(before, state(model[0]))


def test_what_was_read_keeps_its_numbers() -> None:
    layer = nn.BatchNorm(3)
    layer(batch())
    mean = layer.running_mean.detach()
    kept = mean.tolist()
    layer(batch(seed=1))
    assert mean.tolist() == kept != layer.running_mean.tolist()


def test_the_state_goes_round_and_bitwise_on() -> None:
    a, b = nn.BatchNorm(3), nn.BatchNorm(3)
    for i in range(3):
        a(batch(seed=i))
    b.load_state_dict(a.state_dict())
    a(batch(seed=5))
    b(batch(seed=5))
    assert_same(state(a), state(b))


def test_repr_shows_what_differs_from_the_defaults() -> None:
    assert repr(nn.BatchNorm(3)) == "BatchNorm(3)"
    assert repr(nn.BatchNorm(3, decay=0.99, degenerate="beta")) == "BatchNorm(3, decay=0.99, degenerate='beta')"


@pytest.mark.parametrize("wrong", [dict(axis=1.5), dict(axis="a"), dict(axis=True), dict(eps="a"), dict(eps=True)])
def test_axis_and_eps_are_numbers(wrong) -> None:
    with pytest.raises(
        TypeError,
        match=r"BatchNorm: (axis must be an integer|eps must be a finite number .*) or None, got",
    ):
        nn.BatchNorm(3, **wrong)
    with pytest.raises(ValueError, match="finite"):
        nn.BatchNorm(3, eps=math.inf)
