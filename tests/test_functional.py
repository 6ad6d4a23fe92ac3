"""`tg.functional`: a model as a pure function of a tree of its parameters."""

import threading

import numpy as np
import pytest

import tensorgraph as tg
from tensorgraph import nn
from tensorgraph.testing import assert_close, assert_same


def numbers(*shape, seed=0, dtype="f4"):
    return tg.tensor(np.random.default_rng(seed).normal(size=shape).astype(dtype))


def network(dropout=0.0):
    return nn.Sequential(
        nn.Linear(3, 4, seed=0), nn.BatchNorm(4), nn.Tanh(), nn.Dropout(dropout, seed=1), nn.Linear(4, 2, seed=2)
    )


X = numbers(5, 3)


@pytest.fixture
def untouched():
    """The live models of a test are as they were when it ends."""
    models = []

    def watch(model):
        models.append((model, model.state_dict(), [p.grad for p in model.parameters()]))
        return model

    yield watch
    for model, before, grads in models:
        for path, array in model.state_dict().items():
            assert_same(array, before[path], path)
        assert all(p.grad is g for p, g in zip(model.parameters(), grads, strict=True))


def test_it_is_the_model_and_its_gradient_is_the_models():
    model = network().eval()
    f, parameters = tg.functional(model)
    assert list(parameters) == [path for path, _ in model.named_parameters()]
    assert_same(f(parameters, X).numpy(), model(X).numpy())
    found = tg.grad(lambda p: (f(p, X) ** 2).sum())(parameters)
    (model(X) ** 2).sum().backward()
    for path, parameter in model.named_parameters():
        assert_same(found[path].numpy(), parameter.grad.numpy(), path)


def test_other_parameters_give_what_the_model_with_them_gives(untouched):
    model = untouched(network().eval())
    f, parameters = tg.functional(model)
    other = {path: numbers(*t.shape, seed=i) for i, (path, t) in enumerate(parameters.items())}
    twin = network().eval()
    twin.load(other)
    assert_same(f(other, X).numpy(), twin(X).numpy())
    assert_same(f({path: t.numpy() for path, t in other.items()}, X).numpy(), twin(X).numpy())
    for path, parameter in twin.named_parameters():
        assert_same(parameter.numpy(), other[path].numpy())


def test_state_is_taken_and_given(untouched):
    model = untouched(network(0.5))
    f, parameters, state = tg.functional(model, state=True)
    assert list(state) == [path for path, _ in model.named_buffers()]
    twin = network(0.5)
    for _ in range(3):
        y, state = f(parameters, state, X)
        assert_same(y.numpy(), twin(X).numpy())
    for path, buffer in twin.named_buffers():
        assert_same(state[path].numpy(), buffer.numpy(), path)
    graph = tg.trace(f, parameters, state, X)
    assert not graph.cells and tg.parse(str(graph)) == graph
    (y, after), (expected, then) = graph(parameters, state, X), f(parameters, state, X)
    assert_same(y.numpy(), expected.numpy())
    for path, value in then.items():
        assert_same(after[path].numpy(), value.numpy(), path)


@pytest.mark.parametrize("model", [network(), nn.Sequential(nn.Linear(3, 2, seed=0), nn.Dropout(0.5, seed=0))])
def test_a_model_that_changes_itself_names_the_remedy(model, untouched):
    f, parameters = tg.functional(untouched(model))
    for transform in (lambda p: f(p, X), tg.grad(lambda p: f(p, X).sum()), lambda p: tg.trace(f, p, X)):
        with pytest.raises(RuntimeError, match=r"writes the buffer '1\..*tensorgraph.functional\(model, state=True\)"):
            transform(parameters)


def test_frozen_averages_and_untrained_parameters_are_constants():
    model = network()
    model(X)
    model.freeze()
    model[0].requires_grad_(False)
    f, parameters = tg.functional(model)
    assert list(parameters) == ["1.gamma", "1.beta", "4.weight", "4.bias"]
    assert_same(f(parameters, X).numpy(), model(X).numpy())
    model[0].bias.assign(model[0].bias + 1.0)  # read when f is called, as by any function
    assert_same(f(parameters, X).numpy(), model(X).numpy())
    graph = tg.trace(tg.grad(lambda p: f(p, X).sum()), parameters)
    assert {decl.path for decl in graph.cells} == {"0.weight", "0.bias", "1.running_mean", "1.running_var"}
    assert not any(decl.requires_grad for decl in graph.cells)


def test_the_mode_is_that_of_the_call():
    model = nn.Sequential(nn.Linear(3, 2, seed=0), nn.Dropout(0.5, seed=0))
    f, parameters, state = tg.functional(model, state=True)
    dropped, _ = f(parameters, state, X)
    model.eval()
    whole, after = f(parameters, state, X)
    assert (dropped.numpy() == 0).any() and not (whole.numpy() == 0).any()
    assert_same(after["1.state"].numpy(), state["1.state"].numpy())


def test_shared_weights_are_one_leaf():
    class Tied(nn.Module):
        def __init__(self):
            self.encoder = nn.Linear(3, 3, seed=0)
            self.decoder = nn.Linear(3, 3, seed=1)
            self.decoder.weight = self.encoder.weight

        def forward(self, x):
            return self.decoder(tg.tanh(self.encoder(x)))

    model = Tied()
    f, parameters = tg.functional(model)
    assert list(parameters) == ["encoder.weight", "encoder.bias", "decoder.bias"]
    found = tg.grad(lambda p: f(p, X).sum())(parameters)
    model(X).sum().backward()
    assert_same(found["encoder.weight"].numpy(), model.encoder.weight.grad.numpy())
    assert_same(f(tg.tree_map(lambda p: p * 2, parameters), X).numpy(), twice(model)(X).numpy())


def twice(model):
    model.load(tg.tree_map(lambda p: p * 2, tg.functional(model)[1]))
    return model


def test_trees_may_be_nested():
    model = nn.Sequential(nn.Linear(3, 2, seed=0), nn.Linear(2, 1, seed=1))
    f, p = tg.functional(model)
    nested = {"1": {"bias": p["1.bias"], "weight": p["1.weight"]}, "0": {"weight": p["0.weight"], "bias": p["0.bias"]}}
    assert_same(f(nested, X).numpy(), f(p, X).numpy())
    found = tg.grad(lambda q: f(q, X).sum())(nested)
    assert found["1"]["bias"].shape == (1,)
    model.load(nested)
    model = nn.Sequential(nn.Linear(3, 2, seed=0), nn.Dropout(0.5, seed=0))
    f, p, _ = tg.functional(model, state=True)
    _, after = f(p, {"1": {"state": tg.random.key(0)}}, X)
    assert after["1"]["state"].tolist()[2] == 1


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        (lambda p: {**p, "2.weight": p["0.bias"]}, ValueError, "unknown: 2.weight"),
        (lambda p: {"0.bias": p["0.bias"]}, ValueError, "missing: 0.weight"),
        (
            lambda p: {**p, "0.bias": tg.zeros((3,))},
            ValueError,
            r"0.bias has the shape \(2,\) in the model, got \(3,\)",
        ),
        (
            lambda p: {**p, "0.bias": p["0.bias"].astype("f8")},
            TypeError,
            r"0.bias is float32 in the model, got float64",
        ),
        (lambda p: {**p, "0.bias": "two"}, TypeError, "."),
        (lambda p: {}, ValueError, "missing: 0.weight, 0.bias"),
    ],
)
def test_what_does_not_fit_is_said_and_nothing_is_loaded(change, error, said, untouched):
    model = untouched(nn.Sequential(nn.Linear(3, 2, seed=0)))
    f, parameters = tg.functional(model)
    with pytest.raises(error, match=said):
        f(change(parameters), X)
    changed = change({path: p + 1.0 for path, p in parameters.items()})
    with pytest.raises(ValueError, match=r"the tree does not fit and nothing was loaded; .*0.bias|unexpected|missing"):
        model.load(changed)


def test_parameters_and_state_are_loaded_together_or_alone():
    model = network()
    f, parameters, state = tg.functional(model, state=True)
    _, after = f(parameters, state, X)
    model.load(after)
    assert int(model[1].count) == 1
    model.load({**parameters, **state})
    assert int(model[1].count) == 0
    with pytest.raises(ValueError, match=r"missing: 1.running_var"):
        model.load({"1.running_mean": after["1.running_mean"]})
    with pytest.raises(ValueError, match=r"missing: 0.weight"):
        model.load({})
    graph = tg.trace(lambda p: model.load(tg.tree_map(lambda t: t * 2, p)), parameters)
    graph.bind(model)(parameters)
    assert_same(model[0].weight.numpy(), parameters["0.weight"].numpy() * 2)


def test_the_process_wide_generator_is_state_too():
    class Noisy(nn.Module):
        def __init__(self):
            self.inner = nn.Linear(3, 2, seed=0)

        def forward(self, x):
            return self.inner(x) + tg.random.normal((2,))

    model = Noisy()
    f, parameters = tg.functional(model)
    before = tg.random.state().numpy().copy()
    with pytest.raises(RuntimeError, match=r"state=True\) and give its state as well: state\['random.state'\]"):
        f(parameters, X)
    f, parameters, state = tg.functional(model, state=True)
    with pytest.raises(RuntimeError, match=r"state\['random.state'\] = tensorgraph.random.key\(0\)"):
        f(parameters, state, X)
    state["random.state"] = tg.random.key(3)
    y, after = f(parameters, state, X)
    assert_same(tg.random.state().numpy(), before)
    assert after["random.state"].tolist()[2] == 1
    tg.random.seed(3)
    assert_same(model(X).numpy(), y.numpy())
    model.load(after)
    assert tg.random.state().tolist() == after["random.state"].tolist()


def test_other_cells_are_not_written(untouched):
    counter = tg.Buffer(0, name="calls")

    class Counting(nn.Linear):
        def forward(self, x):
            counter.assign(counter + 1)
            return super().forward(x)

    f, parameters, state = tg.functional(untouched(Counting(3, 2, seed=0)), state=True)
    with pytest.raises(RuntimeError, match="only a Buffer that is a part of the model"):
        f(parameters, state, X)
    assert int(counter) == 0


# higher up ---------------------------------------------------------------------------------------------------------


def dense(p, x):
    """The network of `smooth` written out."""
    return tg.tanh(x @ p["0.weight"] + p["0.bias"]) @ p["2.weight"] + p["2.bias"]


def smooth(wrap=lambda f: f):
    class Model(nn.Module):
        def __init__(self):
            self.layers = nn.Sequential(nn.Linear(3, 4, seed=0), nn.Lambda(wrap(tg.tanh)), nn.Linear(4, 2, seed=2))
            self.run = wrap(self.layers)

        def forward(self, x):
            return self.run(x)

    model = Model()
    return tg.functional(model)


@tg.custom_vjp
def own_tanh(x):
    return tg.tanh(x)


own_tanh.defvjp(lambda x: (tg.tanh(x), x), lambda x, g: (g * (1.0 - tg.tanh(x) ** 2),))


@pytest.mark.parametrize("wrap", [lambda f: f, tg.checkpoint, lambda f: own_tanh if f is tg.tanh else f],
                         ids=["plain", "checkpoint", "custom_vjp"])  # fmt: skip
def test_derivatives_of_every_kind(wrap):
    f, parameters = smooth(wrap)
    plain = {path.removeprefix("layers."): t for path, t in parameters.items()}
    v = {path: numbers(*t.shape, seed=7) for path, t in parameters.items()}
    w = {path.removeprefix("layers."): t for path, t in v.items()}

    def one(p):
        return (f(p, X) ** 2).sum()

    def other(p):
        return (dense(p, X) ** 2).sum()

    def close(found, expected):
        for path, t in found.items():
            assert_close(t.numpy(), expected[path.removeprefix("layers.")].numpy(), scale=20.0, ulps=64,
                         reason="two ways to write the same")  # fmt: skip

    close(tg.grad(one)(parameters), tg.grad(other)(plain))
    close(tg.hvp(one, (parameters,), (v,))[1][0], tg.hvp(other, (plain,), (w,))[1][0])
    step = tg.grad(lambda p: one(tg.tree_map(lambda a, b: a - 0.1 * b, p, tg.grad(one)(p))))  # MAML
    expected = tg.grad(lambda p: other(tg.tree_map(lambda a, b: a - 0.1 * b, p, tg.grad(other)(p))))
    close(step(parameters), expected(plain))
    graph = tg.trace(step, parameters)
    close(graph(parameters), expected(plain))
    assert tg.parse(str(graph)) == graph


def test_a_function_of_a_model_inside_a_function_of_the_same_model(untouched):
    model = untouched(nn.Linear(3, 3, seed=0))
    f, parameters = tg.functional(model)

    class Twice(nn.Module):
        def __init__(self):
            self.inner = model
            self.scale = tg.Parameter(2.0)

        def forward(self, x):
            return self.inner(x) + f(tg.tree_map(lambda p: p * self.scale, parameters), x)

    g, outer = tg.functional(Twice())
    x, w, b = X.numpy(), *[p.numpy() for p in parameters.values()]
    assert_close(g(outer, X).numpy(), x @ w + b + x @ (2 * w) + 2 * b, ulps=16, reason="another order")
    found = tg.grad(lambda p: g(p, X).sum())(outer)
    assert_close(found["scale"].numpy(), (x @ w + b).sum(), ulps=64, reason="another order")


def test_hooks_on_values_of_a_model_run():
    class Hooked(nn.Linear):
        def forward(self, x):
            y = super().forward(x)
            if not tg.is_tracing():
                y.register_hook(lambda g: g * 10)
            return y

    f, parameters = tg.functional(Hooked(3, 2, seed=0))
    found = tg.grad(lambda p: f(p, X).sum())(parameters)
    assert found["bias"].tolist() == [50.0, 50.0]


def test_after_an_exception_all_is_as_before(untouched):
    class Failing(nn.Linear):
        def forward(self, x):
            super().forward(x)
            raise KeyError("no")

    model = untouched(Failing(3, 2, seed=0))
    f, parameters = tg.functional(model)
    with pytest.raises(KeyError):
        f(tg.tree_map(lambda p: p * 0, parameters), X)
    assert_same(nn.Linear.forward(model, X).numpy(), (X @ model.weight + model.bias).numpy())


def test_threads_have_parameters_of_their_own(untouched):
    model = untouched(network(0.5))
    f, parameters, state = tg.functional(model, state=True)
    found = {}

    def work(k):
        p, s = tg.tree_map(lambda t: t * float(k), parameters), {**state, "3.state": tg.random.key(k)}
        for _ in range(20):
            y, s = f(p, s, X)
        found[k] = y, s

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    together = dict(found)
    for k in range(4):
        work(k)
        assert_same(found[k][0].numpy(), together[k][0].numpy())
        assert_same(found[k][1]["1.running_mean"].numpy(), together[k][1]["1.running_mean"].numpy())


def test_a_training_step_on_trees_is_a_training_step(untouched):
    model, twin = untouched(network()), network()
    f, parameters, state = tg.functional(model, state=True)
    optimizer = tg.optim.SGD(twin.parameters(), lr=0.1)

    def loss(p, s):
        y, s = f(p, s, X)
        return (y**2).mean(), s

    for _ in range(3):
        (_, state), g = tg.value_and_grad(loss, has_aux=True)(parameters, state)
        parameters = tg.tree_map(lambda p, g: p - 0.1 * g, parameters, g)
        optimizer.minimize((twin(X) ** 2).mean())
    for path, parameter in twin.named_parameters():
        assert_close(parameters[path].numpy(), parameter.numpy(), scale=1.0, ulps=16, reason="a kernel of the update")
    for path, buffer in twin.named_buffers():
        assert_close(state[path].numpy(), buffer.numpy(), scale=1.0, ulps=16, reason="parameters differ in rounding")


def test_a_model_that_has_other_parameters_by_now_says_so():
    class Headed(nn.Module):
        def __init__(self):
            self.body, self.head = nn.Linear(3, 3, seed=0), nn.Linear(3, 2, seed=1)

        def forward(self, x):
            return self.head(self.body(x))

    model = Headed()
    f, parameters = tg.functional(model)
    model.head = nn.Linear(3, 2, seed=5)
    with pytest.raises(RuntimeError, match=r"a parameter '.*' that was not there, .* call tensorgraph.functional"):
        f(parameters, X)
    model = nn.Sequential(nn.Linear(3, 3, seed=0))
    model[0].weight.requires_grad_(False)
    f, parameters = tg.functional(model)
    model[0].weight.requires_grad_()
    with pytest.raises(RuntimeError, match="or not trained, when functional was called"):
        f(parameters, X)


def test_only_modules_are_models():
    with pytest.raises(TypeError, match="functional takes a Module, got function"):
        tg.functional(lambda x: x)
    with pytest.raises(TypeError, match="got the class Linear: make one first"):
        tg.functional(nn.Linear)
    f, parameters = tg.functional(nn.Linear(3, 2, seed=0))
    for wrong in ([*parameters.values()], None, 3.0):
        with pytest.raises(TypeError, match=r"parameters must be a dict by path, as functional gives it, got"):
            f(wrong, X)
        with pytest.raises(
            TypeError, match=r"Linear.load takes a dict by path, as tensorgraph.functional gives it, got"
        ):
            nn.Linear(3, 2, seed=0).load(wrong)
