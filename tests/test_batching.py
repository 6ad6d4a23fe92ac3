"""Graphs of batches: equal to a loop over the graph of one example."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import tensorgraph as tg
from tensorgraph import nn, optim
from tensorgraph.engine.batching import BatchCall, batch, one_by_one, rule_of
from tensorgraph.engine.op import CATALOGUE
from tensorgraph.engine.op import random as draws
from tensorgraph.engine.tree import flatten
from tensorgraph.passes.batching import batched
from tensorgraph.testing import Program, assert_close, assert_same, check, programs
from tensorgraph.testing.programs.program import quiet


def outputs(graph, *inputs, state=None):
    result = graph(*inputs) if state is None else graph(*inputs, state=state)[0]
    return [leaf.numpy() if isinstance(leaf, tg.Tensor) else leaf for leaf in flatten(result)[0]]


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


# ops ---------------------------------------------------------------------------------------------------------------

# what a batch of them would be is said elsewhere: a gradient by the pass; a checkpoint is never in a traced graph
WITHOUT = {"gradients", "checkpoint"}


def test_every_op_has_a_rule():
    # the gradient of a fused op is batched as that of its batch
    bare = {name for name, op in CATALOGUE.items() if rule_of(op) is None and op.primal is None}
    assert one_by_one not in {rule_of(op) for op in CATALOGUE.values()}
    assert {name for name in bare if CATALOGUE[name].inputs} == WITHOUT, "give the new op a batch=, or say why not"


HALF = ((((3,),), {}),)


def test_an_op_without_a_rule_says_what_to_declare():
    halve = tg.op("halve(x)", lambda x: x / 2, infer_rule=lambda x: x, doc="Half of x.", examples=HALF)
    graph = tg.trace(lambda x: halve(x), tg.f64[3])
    with pytest.raises(NotImplementedError, match=r"halve has no batching rule.* declare the op with batch="):
        batched(graph, 2)
    check(halve)  # an op may do without
    tg.remove_op("halve")
    halve = tg.op(
        "halve(x)", lambda x: x / 2, infer_rule=lambda x: x, doc="Half of x.", examples=HALF, batch=one_by_one
    )
    many = batched(tg.trace(lambda x: halve(x), tg.f64[3]), 2)
    assert outputs(many, np.ones((2, 3)))[0].tolist() == [[0.5] * 3] * 2
    check(halve)
    tg.remove_op("halve")


def test_a_users_op_gets_the_rule_of_its_kind():
    stretch = tg.op("stretch(x)", lambda x: x - x.max(initial=0), kind="elementwise", doc="Not elementwise at all.")
    with pytest.raises(AssertionError, match="a batch of 3"):
        check(stretch, ["shape_rule", "batch_is_loop"])
    tg.remove_op("stretch")
    span = tg.op(
        "span(x, *, axis=None, keepdims=False)",
        lambda x, *, axis=None, keepdims=False: np.ptp(x, axis, keepdims=keepdims),
        kind="reduction", doc="Largest minus smallest.",
    )  # fmt: skip
    check(span, ["shape_rule", "batch_is_loop"])
    tg.remove_op("span")


def test_a_rule_that_mixes_examples_is_found():
    wrong = tg.op(
        "wrong(x)", lambda x: x * 1, kind="elementwise", doc="x.", batch=lambda call: call.run(call.args[0][::-1])
    )
    with pytest.raises(AssertionError, match="a batch of 3"):
        check(wrong, ["batch_is_loop"])
    tg.remove_op("wrong")


def test_a_batch_on_arrays_gives_arrays():
    (out,) = batch(tg.matmul.op, [numbers(3, 2, 4), numbers(4)], [1, None])
    assert type(out) is np.ndarray
    assert_close(out, np.moveaxis(numbers(3, 2, 4), 1, 0) @ numbers(4))
    with pytest.raises(ValueError, match=r"one number of examples, got sizes \[2, 3\]"):
        batch(tg.add.op, [np.ones(2), np.ones(3)], [0, 0])
    with pytest.raises(ValueError, match="no batch axis and no size="):
        batch(tg.add.op, [np.ones(2), np.ones(3)], [None, None])
    with pytest.raises(ValueError, match="a batch axis 2 is out of range"):
        batch(tg.exp.op, [np.ones((2, 2))], [2])


def key_of(choose, shape):
    """A random key for a tensor of this shape: slices, integers, new axes, an ellipsis, index tensors anywhere."""
    key, axis = [], 0
    block = choose(st.sampled_from([(), (2,), (3, 1), (1, 2)]))
    while axis < len(shape):
        n = shape[axis]
        kind = choose(st.sampled_from(["all", "slice", "int", "index", "index", "new", "rest", "stop"]))
        if kind == "new":
            key.append(None)
            continue
        if kind == "stop":
            break
        if kind == "rest" and not any(k is Ellipsis for k in key):
            key.append(Ellipsis)
            axis += choose(st.integers(0, len(shape) - axis))
            continue
        if kind == "int":
            key.append(choose(st.integers(-n, n - 1)))
        elif kind == "index":
            seed = choose(st.integers(0, 99))
            fitting = choose(st.sampled_from([block, block[1:], tuple(1 for _ in block)]))
            key.append(np.random.default_rng(seed).integers(-n, n, fitting))
        else:
            key.append(slice(None) if kind != "slice" else slice(choose(st.integers(0, 1)), None, 1))
        axis += 1
    return tuple(key)


@given(st.data())
def test_keys_of_every_form(data):
    """Reading and writing with a key whose index tensors are shared or every example's own."""
    shape = data.draw(st.sampled_from([(3, 4), (2, 3, 4), (2, 3, 2, 2)]))
    key = key_of(data.draw, shape)
    places = [i for i, k in enumerate(key) if isinstance(k, np.ndarray)]
    own = {i for i in places if data.draw(st.booleans())}
    x_on = data.draw(st.booleans()) or not own
    v_on, size = data.draw(st.booleans()), 2
    flips = {i: np.stack([key[i], np.flip(key[i])]) for i in own}
    xs = numbers(size, *shape)
    try:
        selected = np.asarray(xs[0][key]).shape
    except IndexError:
        assume(False)
    vs = numbers(size, *selected, seed=1)

    def parts(x, v, *indices):
        rest = iter(indices)
        full = tuple(next(rest) if i in places else k for i, k in enumerate(key))
        return x[full], x.at[full].set(v), x.at[full].add(v)

    one = [xs[0], vs[0], *[key[i] for i in places]]
    graph = tg.trace(parts, *map(tg.tensor, one))
    dims = [0 if x_on else None, 0 if v_on else None, *[0 if i in own else None for i in places]]
    many = batched(graph, size, dims)
    given_ = [xs if x_on else xs[0], vs if v_on else vs[0], *[flips[i] if i in own else key[i] for i in places]]
    found = outputs(many, *given_)
    for b in range(size):
        wanted = outputs(graph, *[a if d is None else a[b] for a, d in zip(given_, dims, strict=True)])
        for got, expected in zip(found, wanted, strict=True):
            assert_same(got[b], expected, f"{key}, example {b}")


# graphs ------------------------------------------------------------------------------------------------------------


@given(programs(smooth=True))
def test_the_batch_of_a_program_is_a_loop(program: Program):
    graph = program.graph()
    assume(not graph.writes and not any(eq.op.kind is draws for eq in graph.equations))
    rng = np.random.default_rng(0)
    one = [np.asarray(t.numpy()) for t in flatten(program.tensors())[0]]
    # not far apart, so that all are inside the domain
    rows = [[a if a.dtype.kind != "f" else a * (1 + 1e-3 * rng.normal(size=a.shape)) for a in one] for _ in range(3)]
    state = program.made.state() if graph.cells else None
    nest = lambda leaves: tg.engine.tree.unflatten(flatten(list(program.examples))[1], leaves)
    with quiet():
        many = batched(graph, 3)
        found = outputs(many, *nest([np.stack(column) for column in zip(*rows, strict=True)]), state=state)
        loop = [outputs(graph, *nest(row), state=state) for row in rows]
    for i, got in enumerate(found):
        expected = [np.asarray(row[i]) for row in loop]
        if not isinstance(got, np.ndarray):
            assert all(got == e for e in expected)
            continue
        scale = 1.0 + np.abs(np.stack(expected).astype(np.float64)).max(initial=0)
        np.testing.assert_allclose(got, np.stack(expected), rtol=1e-8, atol=1e-9 * scale)


def test_gradients_of_each_example_by_shared_parameters():
    model = nn.Sequential(nn.Linear(3, 4, seed=0), nn.Tanh(), nn.Linear(4, 2, seed=1))

    def step(x, y):
        loss = tg.softmax_cross_entropy(model(x), y)
        return loss, tg.gradients(loss, model.parameters())

    graph = tg.trace(step, tg.f32[1, 3], tg.i64[1])
    x, y, state = numbers(5, 1, 3).astype("f4"), np.arange(5)[:, None] % 2, model.state_dict()
    many = batched(graph, 5)
    assert [v.aval.shape for v in many.outputs] == [(5,), (5, 3, 4), (5, 4), (5, 4, 2), (5, 2)]
    for got, *expected in zip(
        outputs(many, x, y, state=state), *[outputs(graph, x[i], y[i], state=state) for i in range(5)], strict=True
    ):
        assert_close(got, np.stack(expected), order=1)
    written_out = outputs(many.differentiate().simplify(), x, y, state=state)
    for got, expected in zip(written_out, outputs(many, x, y, state=state), strict=True):
        assert_close(got, expected, order=1)
    assert tg.parse(str(many)) == many


def test_the_gradient_of_a_batch_is_not_the_gradient_of_each():
    """Taken inside the graph it is each example's; taken of the batched graph it is the sum's."""
    graph = tg.trace(lambda w, x: (w * x).sum(), tg.f64[2], tg.f64[2])
    w, x = numbers(2), numbers(3, 2, seed=1)
    assert_same(outputs(batched(graph.grad(0), 3, (None, 0)), w, x)[0], x)


def test_a_custom_rule_is_batched_with_its_function():
    @tg.custom_vjp
    def clipped(x, w):
        return x * w

    clipped.defvjp(lambda x, w: (x * w, (x, w, 2.0)), lambda kept, g: (tg.clip(g * kept[1], -1, 1) * kept[2], None))
    graph = tg.trace(tg.value_and_grad(lambda x, w: (clipped(x, w) * 3).sum(), (0, 1)), tg.f64[4], tg.f64[4])
    x, w = numbers(3, 4), numbers(4, seed=1)
    found = outputs(batched(graph, 3, (0, None)), x, w)
    for got, *expected in zip(found, *[outputs(graph, row, w) for row in x], strict=True):
        assert_close(got, np.stack(expected))


def test_every_example_draws_what_it_would_draw_in_its_turn_of_a_loop():
    layer = nn.Dropout(0.5, seed=0)
    ones = np.ones(100, "f4")
    graph = tg.trace(lambda x: layer(x) + layer(2 * x), tg.f32[100])
    result, after = batched(graph, 4)(np.stack([ones] * 4), state=layer.state_dict())
    assert_same(result.numpy(), np.stack([graph.bind(layer)(ones).numpy() for _ in range(4)]))
    assert after["state"].tolist() == layer.state.tolist()
    # what is no cell is the same for all: a function draws the same from the same state
    order = batched(tg.trace(lambda s: tg.permutation(s, n=6)[0], tg.u64[3]), 3, None)
    (found,) = outputs(order, tg.random.key(0))
    assert (found == found[0]).all()


def test_a_cell_has_room_for_one_value():
    layer = nn.BatchNorm(2)
    graph = tg.trace(lambda x: layer(x), tg.f32[4, 2])
    with pytest.raises(ValueError, match="the cell running_mean would get a value for each of 3 examples"):
        batched(graph, 3)
    assert batched(tg.trace(lambda x: layer.eval()(x), tg.f32[4, 2]), 3).outputs[0].aval.shape == (3, 4, 2)


def test_cells_of_each_examples_own():
    layer = nn.BatchNorm(2, dtype="float64")
    optimizer = optim.Momentum(layer.parameters(), lr=0.1)

    def step(x):
        loss = (layer(x) ** 3).sum()
        optimizer.minimize(loss)
        return loss

    graph = tg.trace(step, tg.f64[4, 2])
    cells = dict(layer.named_cells()) | dict(optimizer.named_cells())
    own = [decl.path for decl in graph.cells if decl.path != "optimizer.beta"]
    x, rates = numbers(3, 4, 2), np.array([0.1, 0.5, 2.0])
    state = {path: np.stack([cell.numpy()] * 3) if path in own else cell.numpy() for path, cell in cells.items()}
    state["optimizer.lr"] = rates
    many = batched(graph, 3, own=own)
    assert many.cells[0].aval.shape[0] == 3 and [decl.path for decl in many.cells] == [d.path for d in graph.cells]
    losses, after = many(x, state={decl.path: state[decl.path] for decl in many.cells})
    for i in range(3):
        alone = {path: value[i] if path in own else value for path, value in state.items()}
        loss, expected = graph(x[i], state={decl.path: alone[decl.path] for decl in graph.cells})
        assert_same(losses.numpy()[i], loss.numpy())
        for path, value in expected.items():
            assert_same(after[path].numpy()[i] if path in own else after[path].numpy(), value.numpy())
    with pytest.raises(ValueError, match="the graph has no cell 'gama'; it has gamma, beta"):
        batched(graph, 3, own=["gama"])
    # a value that is the same for all is written to each
    count = tg.Buffer(np.array(0.0), name="count")
    graph = tg.trace(lambda x: count.assign(2.0), tg.f64[2])
    _, after = batched(graph, 3, own=["count"])(numbers(3, 2), state={"count": np.zeros(3)})
    assert after["count"].tolist() == [2.0, 2.0, 2.0]


def test_axes_of_inputs_and_results():
    graph = tg.trace(lambda x, w: ([x * 2.0, w + 1.0], 3), tg.f64[2, 3], tg.f64[4])
    x, w = numbers(2, 5, 3), numbers(4)
    many = batched(graph, 5, (1, None), out_dims=-1)
    doubled, repeated, plain = outputs(many, x, w)
    assert_same(doubled, np.moveaxis(x * 2.0, 1, -1))
    assert_same(repeated, np.repeat((w + 1.0)[:, None], 5, 1))
    assert plain == 3
    with pytest.raises(ValueError, match="has 2 inputs, and in_dims says the batch axes of 3"):
        batched(graph, 5, (0, 0, 0))
    with pytest.raises(ValueError, match="has no batch axis 3: with one it has 3 axes"):
        batched(graph, 5, (3, None))
    with pytest.raises(ValueError, match="out_dims=2 is no axis of a result of shape"):
        batched(graph, 5, (0, None), out_dims=2)


def test_scopes_and_lines_stay():
    model = nn.Sequential(nn.Linear(3, 2), nn.ReLU())
    graph = tg.trace(model, tg.f32[3])
    many = batched(graph, 2)
    assert {eq.scope for eq in many.equations} == {"0", "1"} and many.modules == graph.modules
    assert {eq.source.file for eq in many.equations} == {eq.source.file for eq in graph.equations}


def test_the_size_of_a_call():
    assert BatchCall(tg.add.op, 2, (np.ones((2, 3)), 1.0), (True, False), {}).shape(0) == (3,)
