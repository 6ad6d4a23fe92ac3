"""What `tg.vmap` is used for, with models and other transforms: ensembles, penalties, Fisher samples, products."""

import gc
import weakref
from importlib import import_module

import numpy as np
import pytest

import tensorgraph as tg
from tensorgraph import nn
from tensorgraph.testing import assert_close, assert_same


def numbers(*shape, seed=0, dtype="f4"):
    return tg.tensor(np.random.default_rng(seed).normal(size=shape).astype(dtype))


def assert_near(found, expected, rtol=1e-5):
    np.testing.assert_allclose(np.asarray(found), np.asarray(expected), rtol=rtol, atol=rtol * 0.1)


def turn(tree, i):
    return tg.tree_map(lambda t: t[i], tree)


X = numbers(5, 3)


@pytest.mark.parametrize("traced", [False, True])
def test_an_ensemble_with_state_trains_as_one(traced):
    model = nn.Sequential(
        nn.Linear(3, 5, seed=0), nn.BatchNorm(5), nn.ReLU(), nn.Dropout(0.3, seed=1), nn.Linear(5, 2, seed=2)
    )
    f, parameters, state = tg.functional(model, state=True)
    labels = np.array([0, 1, 0, 1, 1])
    many = tg.tree_map(lambda p: tg.stack([p * (1 + 0.1 * i) for i in range(4)]), parameters)
    states = tg.tree_map(lambda s: tg.stack([s] * 4), state)
    states["3.state"] = tg.tensor(np.stack([tg.random.key(i) for i in range(4)]))

    def step(p, s, x):
        def loss(p):
            y, after = f(p, s, x)
            return tg.softmax_cross_entropy(y, labels), after

        (value, after), g = tg.value_and_grad(loss, has_aux=True)(p)
        return tg.tree_map(lambda p, g: p - 0.1 * g, p, g), after, value

    together = tg.vmap(step, (0, 0, None))
    if traced:
        graph = tg.trace(together, many, states, X)
        assert tg.parse(str(graph)) == graph
        together = graph
    p, s = many, states
    for _ in range(3):
        p, s, values = together(p, s, X)
    for i in range(4):
        q, t = turn(many, i), turn(states, i)
        for _ in range(3):
            q, t, value = step(q, t, X)
        assert_near(values[i], value)
        for path in q:
            assert_near(p[path][i], q[path], 1e-4)
        for path in t:
            assert_near(s[path][i], t[path], 1e-4)


def test_a_penalty_on_the_gradient_of_each_example():
    model = nn.Sequential(nn.Linear(3, 8, seed=0), nn.Tanh(), nn.Linear(8, 1, seed=1))
    f, p = tg.functional(model)

    def penalty(gradients):
        return (((gradients**2).sum(axis=1) ** 0.5 - 1) ** 2).mean()

    found = tg.grad(lambda p: penalty(tg.vmap(tg.grad(lambda x: f(p, x)[0]))(X)))(p)
    expected = tg.grad(lambda p: penalty(tg.stack([tg.grad(lambda x: f(p, x)[0])(x) for x in X])))(p)
    penalty(tg.vmap(tg.grad(lambda x: model(x)[0]))(X)).backward()  # of the live model
    for path, parameter in model.named_parameters():
        assert_near(found[path], expected[path], 1e-4)
        assert_near(found[path], 0 if parameter.grad is None else parameter.grad, 1e-4)


class Rows(nn.Module):
    """A model that maps a part of itself over rows."""

    def __init__(self):
        self.layers = nn.Sequential(nn.Linear(3, 2, seed=0), nn.Dropout(0.5, seed=1))

    def forward(self, x):
        return tg.vmap(self.layers)(x)


def test_a_model_that_maps_a_part_of_itself():
    model = Rows()
    f, p, s = tg.functional(model, state=True)
    y, after = f(p, s, X)
    assert after["layers.1.state"].tolist()[2] == len(X) and model.layers[1].state.tolist()[2] == 0
    graph = tg.trace(f, p, s, X)
    again, then = graph(p, s, X)
    assert_same(again.numpy(), y.numpy())
    assert_same(then["layers.1.state"].numpy(), after["layers.1.state"].numpy())
    assert_same(model(X).numpy(), y.numpy())
    grads = []
    for run in (model, tg.checkpoint(model)):
        model.load(s)
        model.zero_grad()
        (run(X) ** 2).sum().backward()
        grads.append(model.layers[0].weight.grad.numpy())
        assert model.layers[1].state.tolist()[2] == len(X)
    assert_same(*grads)


def test_rules_of_ones_own_inside_and_around():
    @tg.custom_vjp
    def inner(x, w):
        return tg.sin(x) * w

    inner.defvjp(lambda x, w: (tg.sin(x) * w, (x, w)), lambda r, g: (g * tg.cos(r[0]) * r[1] * 2, g * tg.sin(r[0])))

    @tg.custom_vjp
    def outer(x):
        return tg.vmap(lambda r: r.sum())(x)

    outer.defvjp(lambda x: (tg.vmap(lambda r: r.sum())(x), None), lambda _, g: (tg.vmap(lambda g: g * tg.ones(3))(g),))
    w = tg.tensor([1.0, 2.0, 3.0])
    for f in (
        lambda x: tg.grad(lambda x: inner(x, w).sum())(x),
        lambda x: tg.grad(lambda w: inner(x, w).sum())(w),
        lambda x: tg.hessian(lambda x: inner(x, w).sum())(x),
        lambda x: tg.jacobian(tg.checkpoint(lambda x: inner(x, w) ** 2))(x),
    ):
        assert_near(tg.vmap(f)(X), np.stack([f(x).numpy() for x in X]))
    assert_near(tg.grad(lambda x: (outer(x) ** 2).sum())(X), 2 * X.numpy().sum(1, keepdims=True) * np.ones(3))


def test_a_fused_op_of_the_users_needs_no_rule():
    op = tg.fused_op(
        "cubed(x, y) -> z", reference=lambda x, y: x * x * y, forward=lambda x, y: x * x * y,
        backward=lambda want, g, x, y, z: (2 * x * y * g if want[0] else None, x * x * g if want[1] else None),
        infer_rule=lambda x, y: x, doc="x squared y.", examples=((((3,), (3,)), {}),),
    )  # fmt: skip
    try:
        y = tg.tensor([1.0, 2.0, 3.0])
        for f in (
            lambda x: tg.grad(lambda q: (op(q, q * 2) ** 2).sum())(x),
            lambda x: tg.grad(lambda y: (op(x, y) ** 2).sum())(y),
            lambda x: tg.jacobian(lambda x: op(x, y))(x),
        ):
            assert_near(tg.vmap(f)(X), np.stack([f(x).numpy() for x in X]))
    finally:
        tg.remove_op("cubed")


def test_products_with_derivatives_are_columns_and_rows():
    f, eye = (lambda v: (tg.tanh(v) ** 3).sum()), np.eye(3, dtype="f4")
    assert_near(tg.vmap(lambda v: tg.hvp(f, (X[0],), (v,))[1][0])(eye), tg.hessian(f)(X[0]))
    assert_near(tg.vmap(lambda v: tg.jvp(tg.tanh, (X[0],), (v,))[1], out_axes=1)(eye), tg.jacobian(tg.tanh)(X[0]))


def test_fisher_samples_draw_labels_as_a_loop_does():
    f, p = tg.functional(nn.Linear(3, 4, seed=0))

    def score(x):
        noise = -tg.log(-tg.log(tg.random.uniform((4,))))
        label = tg.argmax(tg.log_softmax(f(p, x)).detach() + noise)
        return tg.grad(lambda p: tg.log_softmax(f(p, x))[label])(p)

    tg.random.seed(0)
    found, state = tg.vmap(score)(X), tg.random.state().tolist()
    tg.random.seed(0)
    turns = [score(x) for x in X]
    assert tg.random.state().tolist() == state
    for path in found:
        assert_near(found[path], np.stack([t[path].numpy() for t in turns]))


def test_passes_keep_what_a_mapped_graph_computes():
    f, p = tg.functional(nn.Sequential(nn.Linear(3, 4, seed=0), nn.Tanh(), nn.Linear(4, 2, seed=1)))

    def squares(p, x):
        each = tg.vmap(tg.grad(lambda p, x: tg.softmax_cross_entropy(f(p, x), 1)), (None, 0))(p, x)
        return sum((g**2).sum() for g in each.values())

    graph = tg.trace(squares, p, X)
    for other in (graph.simplify(), graph.transform(), graph.expand(), graph.recognise(), tg.parse(str(graph))):
        assert_near(other(p, X), squares(p, X))
    for path, g in graph.grad(0)(p, X).items():
        assert_near(g, tg.grad(squares)(p, X)[path], 1e-4)
    assert {eq.scope for eq in graph.equations} >= {"0", "1", "2"}
    assert "Linear" in tg.draw(graph).text()


def test_a_mapped_text_is_a_template():
    graph = tg.trace(tg.vmap(lambda r: tg.softmax(r) * 2), tg.f32[5, 3])
    template = tg.parse(str(graph).replace("5", "N"))
    assert template.at(N=7)(np.zeros((7, 3), "f4")).shape == (7, 3)


def test_a_call_leaves_nothing_behind(monkeypatch):
    lanes = import_module("tensorgraph.transforms.lanes").Lanes
    seen, begin = [], lanes.__init__

    def watched(self, *args):
        begin(self, *args)
        seen.append(weakref.ref(self))

    monkeypatch.setattr(lanes, "__init__", watched)
    model, w = nn.Linear(3, 2, seed=0), tg.tensor([1.0, 2.0, 3.0], requires_grad=True)
    gc.collect()
    gc.disable()
    try:
        tg.vmap(tg.grad(lambda x: (model(x * w) ** 2).sum()))(X)
        tg.vmap(tg.vmap(lambda q: q * 2))(X)
        tg.jacobian(tg.tanh)(tg.ones((20,)))
        tg.trace(tg.vmap(model), X)
        with pytest.raises(ZeroDivisionError):
            tg.vmap(lambda x: 1 / 0)(X)
        assert len(seen) > 5 and not [r for r in seen if r() is not None]
    finally:
        gc.enable()


def test_plans_are_made_once_for_all_numbers():
    plans = import_module("tensorgraph.transforms.vmap")._plans
    sizes = []
    for k in range(5):
        w = numbers(3, seed=k)
        assert_close(tg.vmap(lambda x, w=w: x * w - 0.25)(X).numpy(), X.numpy() * w.numpy() - 0.25)
        sizes.append(len(plans))
    assert len(set(sizes)) == 1


def test_nans_and_labels_are_found_in_lanes():
    with tg.debug_nans(), np.errstate(all="ignore"), pytest.raises(FloatingPointError, match="log gave"):
        tg.vmap(lambda x: tg.log(x - 100.0))(X)
    with pytest.raises(ValueError, match=r"class index .* = 7 is outside"):
        tg.vmap(lambda x, y: tg.softmax_cross_entropy(x, y))(X, np.array([0, 1, 2, 7, 0]))
    with tg.implementation("composed"):
        found = tg.vmap(tg.grad(lambda x: (tg.softmax(x) ** 2).sum()))(X)
    assert_near(found, tg.vmap(tg.grad(lambda x: (tg.softmax(x) ** 2).sum()))(X), 1e-4)


# tg.gradients inside ------------------------------------------------------------------------------------------------


def test_gradients_with_respect_to_examples_and_parameters():
    x = tg.tensor(X.numpy().astype("f8"), requires_grad=True)
    cubes = tg.vmap(lambda x: tg.gradients((x**3).sum(), x, create_graph=True))(x)
    assert_near(cubes.detach(), 3 * x.numpy() ** 2)
    cubes.sum().backward()
    assert_near(x.grad, 6 * x.numpy())
    with pytest.raises(RuntimeError, match="does not require a gradient"):
        tg.vmap(lambda x: tg.gradients((x**3).sum(), x))(X)
    model = nn.Sequential(nn.Linear(3, 4, seed=0), nn.Tanh(), nn.Linear(4, 1, seed=1))
    each = tg.vmap(lambda x: tg.gradients(model(x), model.parameters()))(X)
    for i, row in enumerate(X):
        for g, expected in zip(each, tg.gradients(model(row), model.parameters()), strict=True):
            assert_near(g[i].detach(), expected.detach())


def test_gradients_with_respect_to_what_was_computed_outside():
    x, w = X.astype("float64"), tg.tensor([1.0, 2.0, 3.0], dtype="float64", requires_grad=True)
    h = w * 2
    assert_near(tg.vmap(lambda x: tg.gradients((x * h).sum(), h))(x), x)
    with pytest.raises(tg.TraceError, match="the gradient cannot go on behind it"):
        tg.vmap(lambda x: tg.gradients((x * h).sum(), w))(x)

    def through(w, of):
        h = w * 2
        return tg.vmap(lambda x: tg.gradients((x * h * h).sum(), h if of == "h" else w, create_graph=True))(x).sum()

    expected = tg.grad(lambda w: through(w, "h"))(w.detach())
    assert_near(expected, 4 * x.numpy().sum(0))
    assert_near(tg.trace(lambda w: tg.grad(lambda w: through(w, "h"))(w), w.detach())(w.detach()), expected)
    with pytest.raises(tg.TraceError, match="goes there through another one"):
        tg.trace(lambda w: tg.grad(lambda w: through(w, "w"))(w), w.detach())


def test_what_no_grad_cuts_inside_is_cut():
    def lane(w, x):
        with tg.no_grad():
            h = w * x
        return (h * w).sum()

    w = tg.tensor([1.0, 2.0, 3.0])
    expected = tg.grad(lambda w: sum(lane(w, x) for x in X))(w)
    assert_near(tg.grad(lambda w: tg.vmap(lane, (None, 0))(w, X).sum())(w), expected)
    assert_near(tg.trace(tg.grad(lambda w: tg.vmap(lane, (None, 0))(w, X).sum()), w)(w), expected)


def test_graphs_are_called_inside():
    graph = tg.trace(tg.grad(lambda x: (tg.softmax(x) ** 2).sum()), tg.f32[3])
    assert_near(tg.vmap(graph)(X), np.stack([graph(x).numpy() for x in X]))
    layer = nn.Dropout(0.5, seed=0)
    bound = tg.trace(layer, tg.f32[3]).bind(layer)
    found = tg.vmap(bound)(X)
    layer.state.assign(tg.random.key(0))
    assert_same(found.numpy(), np.stack([layer(x).numpy() for x in X]))
