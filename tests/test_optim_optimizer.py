"""What optimisers share: cells, groups, clipping, traces, saving, and steps that cannot be taken."""

import copy
import gc
import pickle
import warnings

import numpy as np
import pytest

import tensorgraph as tg
from tensorgraph import jit, nn, optim

MAKERS = {
    "sgd": lambda m: optim.SGD(m, 0.1),
    "momentum": lambda m: optim.Momentum(m, 0.1, nesterov=True),
    "rmsprop": lambda m: optim.RMSprop(m, 0.01, weight_decay=0.01),
    "adam": lambda m: optim.Adam(m, 0.01),
    "adamw": lambda m: optim.AdamW(m, 0.01),
    "clipped": lambda m: optim.Adam(m, 0.01, clip_value=0.05, clip_norm=0.1),
    "scheduled": lambda m: optim.Momentum(m, optim.warmup(3) * optim.cosine(0.1, 20)),
    "by_epoch": lambda m: optim.SGD(m, optim.inverse_time(0.2, 1.0).per_epoch()),
    "groups": lambda m: optim.Adam([
        {"parameters": m[0], "lr": 0.1}, {"parameters": [*m.parameters()[1:]], "weight_decay": 0.1},
    ], 0.01),
}  # fmt: skip


def network(seed: int = 0) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(6, 5, bias=False, seed=seed), nn.BatchNorm(5), nn.ReLU(), nn.Dropout(0.2, seed=seed),
        nn.Linear(5, 3, seed=seed + 1),
    )  # fmt: skip


def data(step: int) -> tuple[tg.Tensor, tg.Tensor]:
    rng = np.random.default_rng(step)
    return tg.tensor(rng.standard_normal((8, 6)).astype(np.float32)), tg.tensor(rng.integers(0, 3, 8))


def cells(*owners) -> dict:
    return {path: cell.numpy().copy() for owner in owners for path, cell in owner.named_cells()}


def assert_equal(a: dict, b: dict) -> None:
    assert a.keys() == b.keys()
    for path in a:
        assert np.array_equal(a[path], b[path]), path


def one(value=1.0, **options):
    w = tg.Parameter(np.array([value, -value]), name="w")
    return w, optim.SGD([w], 0.1, **options)


@pytest.mark.parametrize("implementation", ["fused", "composed"])
@pytest.mark.parametrize("name", MAKERS)
def test_a_traced_training_step_equals_eager_bitwise_for_ten_steps(name: str, implementation: str) -> None:
    with tg.implementation(implementation):
        eager, traced = network(), network()
        eager_opt, traced_opt = MAKERS[name](eager), MAKERS[name](traced)

        def step(x, y):
            loss = tg.softmax_cross_entropy(traced(x), y)
            traced_opt.minimize(loss)
            return loss

        before = cells(traced, traced_opt)
        graph = tg.trace(step, *data(0))
        assert_equal(before, cells(traced, traced_opt))
        assert all(p.grad is None for p in traced.parameters())
        run = graph.bind(traced, traced_opt)
        for i in range(10):
            if i % 4 == 0:
                eager_opt.epoch = traced_opt.epoch = i // 4
            if i == 6 and name != "scheduled":
                eager_opt.weight_decay = traced_opt.weight_decay = 0.02
            x, y = data(i)
            loss = tg.softmax_cross_entropy(eager(x), y)
            eager_opt.minimize(loss)
            assert run(x, y).item() == loss.item()
            assert_equal(cells(eager, eager_opt), cells(traced, traced_opt))
        assert eager_opt.steps == 10


@pytest.mark.parametrize("name", MAKERS)
def test_training_goes_on_bitwise_from_a_saved_state(name: str) -> None:
    def steps(model, optimizer, first: int, last: int) -> None:
        for i in range(first, last):
            optimizer.epoch = i // 2
            x, y = data(i)
            optimizer.zero_grad()
            tg.softmax_cross_entropy(model(x), y).backward()
            optimizer.step()

    a = network()
    a_opt = MAKERS[name](a)
    steps(a, a_opt, 0, 4)
    b = network(seed=5)
    b_opt = MAKERS[name](b)
    b.load_state_dict(a.state_dict())
    b_opt.load_state_dict(a_opt.state_dict())
    steps(a, a_opt, 4, 8)
    steps(b, b_opt, 4, 8)
    assert_equal(cells(a, a_opt), cells(b, b_opt))


def test_every_cell_has_a_path() -> None:
    optimizer = optim.Adam(network(), 0.01, clip_norm=1.0, name="trainer")
    paths = [path for path, _ in optimizer.named_cells()]
    assert len(set(paths)) == len(paths)
    assert paths[:8] == [f"trainer.{p}" for p in (
        "steps", "epoch", "lr", "beta1", "beta2", "eps", "weight_decay", "clip_norm"
    )]  # fmt: skip
    assert "trainer.m.0.weight" in paths
    assert "trainer.t.4.bias" in paths
    with pytest.raises(ValueError, match="name must be a str"):
        optim.SGD(network(), name="")


def test_settings_are_cells_that_read_as_floats() -> None:
    w, optimizer = one()
    assert optimizer.lr == 0.1
    optimizer.lr = 0.5
    assert optimizer.lr == 0.5
    assert dict(optimizer.named_cells())["optimizer.lr"].dtype == np.float64
    w.grad = np.array([1.0, 1.0])
    optimizer.step()
    assert np.allclose(w.numpy(), [0.5, -1.5])
    for bad in (-0.1, float("nan")):
        with pytest.raises(ValueError, match="SGD: lr must be a finite number that is not negative"):
            optimizer.lr = bad
    with pytest.raises(TypeError, match="lr must be a finite number"):
        optimizer.lr = "fast"
    with pytest.raises(ValueError, match="beta1 must be a number at least 0 and below 1"):
        optim.Adam([w], beta1=1.0)
    assert optimizer.lr == 0.5


def test_a_setting_in_a_trace_is_no_constant() -> None:
    w, optimizer = one()
    graph = tg.trace(lambda: optimizer.minimize((w * w).sum()))
    run = graph.bind(optimizer, w)
    optimizer.lr = 0.25
    run()
    assert np.allclose(w.numpy(), [0.5, -0.5])
    with pytest.raises(tg.TraceError, match="needs numbers"):
        tg.trace(lambda: optimizer.lr)


def test_groups_have_settings_of_their_own() -> None:
    a, b = tg.Parameter([1.0], name="a"), tg.Parameter([1.0], name="b")
    optimizer = optim.SGD([{"parameters": [a]}, {"params": b, "lr": 0.5}], lr=0.1)
    first, second = optimizer.groups
    assert (first.lr, second.lr, second.weight_decay) == (0.1, 0.5, 0.0)
    optimizer.lr = 0.2
    assert (first.lr, second.lr) == (0.2, 0.5)
    second.weight_decay = 1.0
    assert (first.weight_decay, second.weight_decay) == (0.0, 1.0)
    for p in (a, b):
        p.grad = np.ones(1, np.float32)
    optimizer.step()
    assert a.item() == pytest.approx(0.8)
    assert b.item() == pytest.approx(1 - 0.5 * 2)
    paths = [path for path, _ in optimizer.named_cells()]
    assert "optimizer.groups.1.lr" in paths
    assert "optimizer.groups.1.weight_decay" in paths
    assert second.parameters == [b]
    assert repr(second) == "<group 1: 1 parameters, lr=0.5, weight_decay=1>"
    with pytest.raises(AttributeError, match="has the settings lr, weight_decay, not 'beta'"):
        second.beta = 0.5
    with pytest.raises(AttributeError, match="no 'beta'"):
        _ = second.beta
    second.lr = optim.piecewise([1], [0.0, 1.0])
    assert second.lr == 1.0  # one step was made
    second.lr = 0.25
    assert second.schedule is None


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: optim.SGD([]), ValueError, "no parameters"),
        (lambda: optim.SGD(tg.Parameter([1.0])), TypeError, "SGD: parameters must be a Module or a sequence"),
        (lambda: optim.SGD(3), TypeError, "parameters must be .* got 3"),
        (lambda: optim.SGD([tg.ones((2,))]), TypeError, "parameters\\[0\\] must be a Parameter .* got a Tensor"),
        (lambda: optim.SGD([tg.Parameter([1, 2], requires_grad=False)]), TypeError, "only floats"),
        (lambda: optim.SGD([{"lr": 0.1}]), ValueError, "has no 'parameters'"),
        (lambda: optim.SGD([{"parameters": [], "momentum": 0.9}]), ValueError, "'momentum' is not a setting of SGD"),
        (lambda: optim.SGD([tg.Parameter([1.0])], clip_norm=0.0), ValueError, "clip_norm must be a positive number"),
    ],
)
def test_what_cannot_be_trained(make, error, message: str) -> None:
    with pytest.raises(error, match=message):
        make()


def test_a_parameter_given_twice() -> None:
    w = tg.Parameter([1.0], name="w")
    with pytest.raises(ValueError, match="'w' is given twice"):
        optim.SGD([w, w])


def test_parameters_of_one_name_are_told_apart() -> None:
    a, b, c = tg.Parameter([1.0], name="w"), tg.Parameter([1.0], name="w"), tg.Parameter([1.0])
    paths = {path for path, _ in optim.Momentum([a, b, c]).named_cells()}
    assert {"optimizer.v.w", "optimizer.v.w_1", "optimizer.v.parameters.2"} <= paths


def test_a_step_without_gradients_says_what_to_do() -> None:
    w, optimizer = one()
    with pytest.raises(RuntimeError, match=r"no parameter has a gradient; call loss\.backward\(\)"):
        optimizer.step()
    assert optimizer.steps == 0
    assert w.tolist() == [1.0, -1.0]


def test_a_parameter_without_gradient_is_skipped_and_reported_once() -> None:
    a, b, c = (tg.Parameter([1.0], name=n) for n in "abc")
    c.requires_grad_(False)
    optimizer = optim.Adam([a, b, c], 0.1)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(3):
            optimizer.minimize((a * a).sum())
    assert [str(w.message)[:37] for w in caught] == ["Adam: no gradient reached b; these ar"]
    assert caught[0].filename == __file__
    assert (b.item(), c.item()) == (1.0, 1.0)
    state = optimizer.state_dict()
    assert (state["optimizer.t.a"], state["optimizer.t.b"]) == (3, 0)
    b.grad = np.ones(1, np.float32)
    a.grad = None
    optimizer.step()
    assert b.item() == pytest.approx(0.9, abs=1e-6)  # its own first step


def test_a_warning_made_an_error_leaves_everything_as_it_was() -> None:
    a, b = tg.Parameter([1.0], name="a"), tg.Parameter([1.0], name="b")
    optimizer = optim.Adam([a, b], 0.1)
    (a * a).sum().backward()
    before = cells(optimizer)
    with pytest.raises(RuntimeWarning, match="no gradient reached b"):
        optimizer.step()
    assert_equal(before, cells(optimizer))
    assert a.item() == 1.0


def test_what_was_read_before_a_step_keeps_its_numbers() -> None:
    w, optimizer = one()
    before, view = w.detach(), w.numpy()
    loss = (w * w).sum()
    optimizer.minimize(loss)
    assert before.tolist() == view.tolist() == [1.0, -1.0]
    assert np.allclose(w.numpy(), [0.8, -0.8])


def test_an_array_that_nobody_else_holds_is_written_in_place() -> None:
    w = tg.Parameter(np.ones(1000), name="w")
    optimizer = optim.Adam([w])
    address = w.numpy().ctypes.data
    for _ in range(3):
        w.grad = np.ones(1000)
        optimizer.step()
    assert w.numpy().ctypes.data == address


def test_gradients_are_not_changed_by_a_step() -> None:
    for name, make in MAKERS.items():
        model = network()
        optimizer = make(model)
        x, y = data(0)
        tg.softmax_cross_entropy(model(x), y).backward()
        before = [p.grad.numpy().copy() for p in model.parameters()]
        optimizer.step()
        for p, g in zip(model.parameters(), before, strict=True):
            assert np.array_equal(p.grad.numpy(), g), name


def test_minimize_is_three_steps() -> None:
    (a, first), (b, second) = one(), one()
    b.grad = np.array([9.0, 9.0])
    first.minimize((a * a).sum())
    second.minimize((b * b).sum())
    assert a.tolist() == b.tolist()
    third, optimizer = one()
    (third * third).sum().backward()
    optimizer.step()
    assert a.tolist() == third.tolist() and third.grad is not None


def test_minimize_keeps_no_gradient() -> None:
    w, optimizer = one()
    optimizer.minimize((w * w).sum())
    assert w.grad is None
    compiled = tg.compile(lambda: optimizer.minimize((w * w).sum()))
    for _ in range(2):
        w.grad = np.ones(2)
        compiled()
        assert w.grad is None


def test_clipping_by_value_and_by_norm() -> None:
    grads = [tg.tensor([3.0, -0.5]), tg.tensor([[4.0]], dtype="float64")]
    assert [g.tolist() for g in optim.clip_value(grads, 1.0)] == [[1.0, -0.5], [[1.0]]]
    clipped, norm = optim.clip_norm(grads, 1.0)
    assert norm.item() == pytest.approx(np.sqrt(25.25))
    assert [g.dtype for g in clipped] == [np.float32, np.float64]
    joint = np.sqrt(sum((g.numpy().astype(float) ** 2).sum() for g in clipped))
    assert joint == pytest.approx(1.0, rel=1e-6)
    same, _ = optim.clip_norm(grads, 100.0)
    assert [g.tolist() for g in same] == [g.tolist() for g in grads]
    zero, norm = optim.clip_norm([tg.zeros((2,))], 1.0)
    assert (zero[0].tolist(), norm.item()) == ([0.0, 0.0], 0.0)
    bad, norm = optim.clip_norm([tg.tensor([np.nan, 1.0])], 1.0)
    assert np.isnan(bad[0].numpy()).all()
    assert np.isnan(norm.item())
    with pytest.raises(ValueError, match="limit must be a positive number"):
        optim.clip_norm(grads, 0.0)


def test_clipping_of_grads_in_place_of_a_limit() -> None:
    w = tg.Parameter(np.zeros(2), name="w")
    frozen = tg.Parameter(np.zeros(2), name="f")
    w.grad = np.array([3.0, 4.0])
    assert optim.clip_grad_norm([w, frozen], 1.0).item() == 5.0
    assert np.allclose(w.grad.numpy(), [0.6, 0.8])
    optim.clip_grad_value([w, frozen], 0.7)
    assert np.allclose(w.grad.numpy(), [0.6, 0.7])
    assert frozen.grad is None


def test_an_optimiser_clips_over_all_groups() -> None:
    a, b = tg.Parameter(np.zeros(1), name="a"), tg.Parameter(np.zeros(1), name="b")
    optimizer = optim.SGD([{"parameters": [a]}, {"parameters": [b], "lr": 2.0}], lr=1.0, clip_norm=1.0)
    a.grad, b.grad = np.array([3.0]), np.array([4.0])
    optimizer.step()
    assert (a.item(), b.item()) == pytest.approx((-0.6, -1.6))
    assert a.grad.item() == 3.0
    optimizer.clip_norm = None
    optimizer.clip_value = 3.5
    assert (optimizer.clip_norm, optimizer.clip_value) == (None, 3.5)
    optimizer.step()
    assert (a.item(), b.item()) == pytest.approx((-3.6, -8.6))


def test_a_state_that_does_not_fit_changes_nothing() -> None:
    model = network()
    optimizer = optim.Adam(model)
    before, state = cells(optimizer), optim.Momentum(network()).state_dict()
    with pytest.raises(ValueError, match=r"Adam: the state does not fit.*missing: optimizer\.beta1"):
        optimizer.load_state_dict(state)
    assert_equal(before, cells(optimizer))


def test_a_shared_parameter_is_updated_once() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            self.a = nn.Linear(2, 2, bias=False, seed=0)
            self.b = nn.Linear(2, 2, bias=False)
            self.b.weight = self.a.weight

        def forward(self, x):
            return self.b(self.a(x))

    model = Tied()
    optimizer = optim.SGD(model, 0.1)
    start = model.a.weight.numpy().copy()
    model(tg.ones((1, 2))).sum().backward()
    optimizer.step()
    assert np.allclose(model.a.weight.numpy(), start - 0.1 * model.a.weight.grad.numpy())


def test_a_copied_model_is_not_trained_by_the_old_optimiser() -> None:
    model = network()
    twin = copy.deepcopy(model)
    before = cells(twin)
    x, y = data(0)
    optim.SGD(model, 0.1).minimize(tg.softmax_cross_entropy(model(x), y))
    assert_equal(before, cells(twin))


def test_repr() -> None:
    _, optimizer = one()
    assert repr(optimizer) == "SGD(1 parameters, lr=0.1, weight_decay=0)"


def test_the_base_has_no_update() -> None:
    class Mine(optim.Optimizer):
        pass

    for kind in (Mine, optim.Optimizer):
        with pytest.raises(NotImplementedError, match=f"{kind.__name__} has no update"):
            kind([tg.Parameter([1.0], name="w")], 0.1)


def test_debug_nans_names_the_update_and_gives_the_same_numbers() -> None:
    (a, first), (b, second) = one(), one()
    first.minimize((a * a).sum())
    with tg.debug_nans():
        second.minimize((b * b).sum())
        assert a.tolist() == b.tolist()
        second.lr = 1e300
        b.assign(np.array([1e300, 1.0]))
        b.grad = np.array([1e300, 1.0])
        before = b.tolist()
        with np.errstate(all="ignore"), pytest.raises(FloatingPointError, match="sgd_update gave -inf"):
            second.step()
    assert b.tolist() == before
    assert second.steps == 1


@pytest.mark.parametrize("name", ["sgd", "momentum", "rmsprop", "adam", "adamw"])
@pytest.mark.parametrize("shape", [(1000, 700) if jit.compiled() else (100, 70), (300, 4)])
def test_any_layout_and_size_gives_the_numbers_of_the_op(name: str, shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    start = np.asfortranarray(rng.standard_normal(shape).astype(np.float32))
    gradient = rng.standard_normal(shape[::-1]).astype(np.float32).T
    w, v = tg.Parameter(start, name="w"), tg.Parameter(start, name="w")
    optimizer, other = MAKERS[name]([w]), MAKERS[name]([v])
    w.grad = tg.tensor(gradient, copy=False)
    for _ in range(3):
        optimizer.step()
    settings = [dict(other.named_cells())[f"optimizer.{s}"] for s in other.settings]
    state = [
        dict(other.named_cells())[f"optimizer.{s}.w"] for s in (*other.averages, *(["t"] if other.counted else []))
    ]
    values = [v, *state]
    for _ in range(3):
        with tg.no_grad():
            new = other.update.public(values[0], gradient, *values[1:], *settings, **other.attrs)
        values = list(new) if isinstance(new, tuple) else [new]
    assert np.isfinite(w.numpy()).all()
    assert not np.array_equal(w.numpy(), start)
    assert np.array_equal(w.numpy(), values[0].numpy())


def test_a_rate_may_be_computed_in_a_trace() -> None:
    w, optimizer = one()

    def step(rate):
        optimizer.lr = rate * 2
        optimizer.minimize((w * w).sum())

    run = tg.trace(step, tg.spec((), "float64")).bind(optimizer, w)
    run(np.float64(0.125))
    assert optimizer.lr == 0.25
    assert np.allclose(w.numpy(), [0.5, -0.5])
    with pytest.raises(ValueError, match="shape"):
        optimizer.lr = tg.ones((2,))


def test_a_group_does_not_outlive_its_optimiser() -> None:
    _, optimizer = one()
    group = optimizer.groups[0]
    del optimizer
    gc.collect()
    with pytest.raises(ReferenceError, match="outlived"):
        _ = group.lr


@pytest.mark.parametrize(
    "through", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))], ids=["deep", "pickle"]
)
def test_a_copy_of_a_model_and_its_optimiser_goes_on_by_itself(through) -> None:
    def step(model, optimizer):
        optimizer.minimize((model(tg.tensor([[1.0, -2.0]])) ** 2).sum())
        return {**model.state_dict(), **optimizer.state_dict()}

    model = nn.Sequential(nn.Linear(2, 3, seed=0), nn.Linear(3, 1, seed=1))
    groups = [{"parameters": model[0].parameters(), "lr": 0.2}, {"parameters": model[1].parameters()}]
    optimizer = optim.Adam(groups, 0.1, clip_norm=1.0, name="adam")
    step(model, optimizer)
    before = {**model.state_dict(), **optimizer.state_dict()}
    twin, other = through((model, optimizer))
    assert [path for path, _ in other.named_cells()] == [path for path, _ in optimizer.named_cells()]
    assert other.groups[0].lr == 0.2 and other.groups[0].owner() is other
    after = step(twin, other)
    now = {**model.state_dict(), **optimizer.state_dict()}
    assert all((now[name] == before[name]).all() for name in before), "the copy changed the original"
    expected = step(model, optimizer)
    assert expected.keys() == after.keys() and all((expected[name] == after[name]).all() for name in expected)
    other.groups[0].lr = 0.5
    assert optimizer.groups[0].lr == 0.2


def test_a_schedule_is_not_pickled_and_a_generator_is() -> None:
    schedule = optim.warmup(3) * optim.cosine(0.1, 10)
    optimizer = optim.SGD(nn.Linear(2, 2), schedule)
    for what in (schedule, optimizer):
        with pytest.raises(TypeError, match=r"the schedule warmup.* is a function and is not pickled"):
            pickle.dumps(what)
    assert copy.deepcopy(optimizer).schedule is schedule
    assert copy.copy(schedule) is schedule and copy.copy(optimizer).schedule is schedule
    generator = tg.random.Generator(3)
    generator.uniform((2,))
    for again in (pickle.loads(pickle.dumps(generator)), copy.deepcopy(generator)):
        assert again.state.path == "random.state"
        assert again.normal((3,)).tolist() == copy.deepcopy(generator).normal((3,)).tolist()
