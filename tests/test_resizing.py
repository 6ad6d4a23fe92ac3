"""Compiled functions at other sizes of a batch: planned again and not traced, where nobody has looked at the size."""

import itertools
import math
import operator
from importlib import import_module

import numpy as np
import pytest

import tensorgraph as tg
from tensorgraph import nn, optim
from tensorgraph.engine.op import CATALOGUE
from tensorgraph.train.compiled import CompiledSteps
from tensorgraph.train.forward import Forward

NUMBERS = np.random.default_rng(0)


def sample(n, *shape, dtype="float32"):
    return NUMBERS.normal(size=(n, *shape)).astype(dtype)


def entries(compiled):
    return [entry for known in compiled._entries.values() for entry in known]


def mlp():
    return nn.Sequential(nn.Linear(12, 9, seed=0), nn.ReLU(), nn.Linear(9, 5, seed=1))


MODELS = {
    "dense": (mlp, (12,)),
    "norms": (
        lambda: nn.Sequential(
            nn.Linear(12, 6, seed=0), nn.BatchNorm(6), nn.GELU(), nn.LayerNorm(6), nn.Dropout(0.2, seed=1),
            nn.Linear(6, 5, seed=2),
        ),
        (12,),
    ),
    "images": (
        lambda: nn.Sequential(
            nn.Conv2d(2, 4, 3, seed=0), nn.BatchNorm(4, axis=1), nn.ReLU(), nn.Dropout2d(0.1, seed=2), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(36, 5, seed=1),
        ),
        (2, 8, 8),
    ),
    "attention": (
        lambda: nn.Sequential(nn.TransformerEncoderLayer(8, 2, 16, seed=0), nn.Flatten(), nn.Linear(24, 5, seed=1)),
        (3, 8),
    ),
}  # fmt: skip
LOSSES = {"labels": tg.softmax_cross_entropy, "squares": tg.mse, "huber": tg.huber, "absolute": tg.mae}


def steps_of(make, loss):
    model = make()
    return CompiledSteps(Forward(model), loss, optim.Adam(model, lr=0.01), np.dtype("float32"), False)


def targets(n, loss):
    return NUMBERS.integers(0, 5, n) if loss == "labels" else sample(n, 5)


@pytest.mark.sampled(test=8, quick=2)
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", MODELS)
def test_a_step_of_another_size_is_the_one_that_is_traced_there(name, loss):
    make, shape = MODELS[name]
    steps, sizes = steps_of(make, LOSSES[loss]), (23, 37, 7, 32, 64)
    batches = [(sample(n, *shape), targets(n, loss)) for n in sizes]
    given = [steps(x, y, (None, None), True) for x, y in batches]
    assert (steps.update.stats.traces, steps.update.stats.resized) == (1, len(sizes) - 1)
    once = steps_of(make, LOSSES[loss])  # a step traced for each size, of the same cells
    for batch, entry, result in zip(batches, entries(steps.update), given, strict=True):
        once.update._entries.clear()
        again = once(*batch, (None, None), True)
        fresh = entries(once.update)[0]
        assert entry.traced.graph == fresh.traced.graph and entry.graph == fresh.graph
        assert np.isfinite(result.number) and result.number == again.number
        np.testing.assert_array_equal(result.outputs, again.outputs)


def step_of(model):
    sgd = optim.SGD(model, lr=0.0)  # so that every step is of the same weights

    def step(x, y):
        loss = tg.softmax_cross_entropy(model(x), y)
        sgd.minimize(loss)
        return loss

    return step


def test_a_graph_is_simplified_again_only_where_other_sizes_are_equal(monkeypatch):
    simplify, sizes = import_module("tensorgraph.passes.simplify"), []
    whole = simplify.simplify

    def counted(graph, **off):
        if not off:  # recognition merges what is computed twice by the same pass
            sizes.append(graph.inputs[0].aval.shape[0])
        return whole(graph, **off)

    monkeypatch.setattr(simplify, "simplify", counted)
    step = step_of(mlp())
    compiled, seen = tg.compile(step), []
    # 12, 9 and 5 are widths too, and 2 numbers a row are kept for the gradient; of one row sums are over one number
    for n in (23, 37, 12, 41, 1, 64, 9, 5, 2, 10_000):
        batch = sample(n, 12), NUMBERS.integers(0, 5, n)
        compiled(*batch)
        seen += sizes[:1]
        sizes.clear()
        fresh = tg.compile(step)
        assert fresh(*batch).item() == compiled(*batch).item() and compiled.graph == fresh.graph
        sizes.clear()
    assert seen == [23, 12, 1, 9, 5, 2] and compiled.stats.traces == 1


def test_evaluation_takes_any_number_of_rows():
    forward = Forward(nn.Sequential(mlp(), nn.BatchNorm(5)).eval())
    with tg.no_grad():
        for n in (256, 31, 1, 2):
            rows = tg.tensor(sample(n, 12))
            np.testing.assert_allclose(forward(rows).numpy(), forward.model(rows).numpy(), rtol=1e-5, atol=1e-6)
    assert (forward.compiled.stats.traces, forward.compiled.stats.resized) == (1, 3)


def padded(x):
    return tg.pad(x, ((0, -x.shape[0] % 8), (0, 0)))


COMPUTES = {  # with the size, and how many of four other sizes are not traced
    "branch": (lambda x: x * 2.0 if x.shape[0] > 30 else x * 3.0, 3),
    "number": (lambda x: x * x.shape[0], 4),
    "count": (lambda x: x.sum() / x.size, 4),
    "bytes": (lambda x: x.sum() / x.nbytes, 4),
    "unpacked": (lambda x: (lambda n, m: x * n)(*x.shape), 4),
    "assigned": (lambda x: [x * n for n, _ in [x.shape]][0], 4),
    "half": (lambda x: x[: x.shape[0] // 2], 4),
    "last": (lambda x: x[x.shape[0] - 1] + x[-x.shape[0]], 4),
    "padded": (padded, 4),
    "batch first": (lambda x: x.reshape(x.shape[0], 3, -1).swapaxes(1, 2).reshape(x.shape[0] * 4, 3), 4),
    "ratio": (lambda x: x * (1.0 / x.shape[0] + x.shape[0] ** 0.5), 4),
    "created": (lambda x: x + tg.arange(x.shape[0])[:, None] * tg.ones((x.shape[0], 1)), 4),
    "tuple": (lambda x: x * tuple(x.shape)[0], 4),
    "equal": (lambda x: x * (1.0 + (x.shape == (37, 12))), 3),
    "order": (lambda x: x * (1.0 + (x.shape > (30, 12))), 3),
    "member": (lambda x: x * (1.0 + (37 in x.shape)), 3),
    "smallest": (lambda x: x[: min(x.shape[0], 35)], 3),
    "getter": (lambda x: x * operator.itemgetter(0)(x.shape), 4),
    "chained": (lambda x: x * next(itertools.chain(x.shape)), 4),
    "type": (lambda x: x * float(x.aval == tg.f32[37, 12]), 3),
    "size of the type": (lambda x: x * x.aval.size, 4),
    "of a result": (lambda x: (x @ x.T) * (x @ x.T).shape[1], 4),
    "front": (lambda x: x * x.shape[:1][0], 4),
    "joined": (lambda x: x * (x.shape[1:] + x.shape[:1])[-1], 4),
    "gradient": (lambda x: tg.grad(lambda v: (v * v.shape[0]).sum())(x), 4),
    "cut": (lambda x: x[:25].sum(axis=0) / x[:25].shape[0], 3),  # which has fewer rows at one size alone
    "fused": (lambda x: (x - x.sum(axis=0) / x.shape[0]) * (x**2).sum() / (x.shape[0] * 12), 4),
}


@pytest.mark.parametrize("name", COMPUTES)
def test_what_is_computed_with_the_size_is_computed_anew(name):
    function, resized = COMPUTES[name]
    compiled = tg.compile(function)
    for n in (31, 37, 41, 23, 64):
        x = sample(n, 12)
        np.testing.assert_allclose(compiled(x).numpy(), function(tg.tensor(x)).numpy(), rtol=1e-4, atol=1e-5)
        fresh = tg.compile(function)
        fresh(x)
        assert compiled._latest().traced.graph == fresh._latest().traced.graph and compiled.graph == fresh.graph
    assert compiled.stats.resized == resized


@pytest.mark.parametrize("name", [name for name in COMPUTES if name != "gradient"])
def test_gradients_of_what_is_computed_with_the_size_are_those_of_each_size(name):
    function, _ = COMPUTES[name]
    weight = tg.Parameter(sample(12))

    def step(x):
        loss = (function(x * weight) ** 2).mean() * 0.3
        weight.zero_grad()
        loss.backward()
        return loss

    compiled = tg.compile(step)
    for n in (31, 37, 23, 64):
        x = sample(n, 12)
        fresh = tg.compile(step)
        losses = [f(x).item() for f in (compiled, fresh, step)]
        assert losses[0] == losses[1] == pytest.approx(losses[2], rel=1e-4)
        assert compiled.graph == fresh.graph


@tg.custom_vjp
def scaled_by_rows(x):
    return x * x.shape[0]


scaled_by_rows.defvjp(lambda x: (x * x.shape[0], (x,)), lambda saved, g: (g * saved[0].shape[0] + saved[0].shape[1],))


TAKES = {  # what takes gradients of its own, or keeps something for them
    "second": lambda x, w: (tg.grad(lambda v: ((x * v) ** 3).mean())(w) ** 2).sum(),
    "inner step": lambda x, w: ((x * (w - 0.1 * tg.grad(lambda v: ((x * v) ** 2).mean())(w))) ** 2).mean(),
    "checkpoint": lambda x, w: tg.checkpoint(lambda a, b: tg.tanh(a * b) * a.shape[0])(x, w).mean(),
    "maxima": lambda x, w: tg.max(x * w, axis=0).sum() + tg.sort(x * w, axis=0)[1].sum(),
    "deviations": lambda x, w: tg.std(x * w, axis=0).sum() + tg.softmax(x * w, axis=0)[0].sum(),
    "scan": lambda x, w: tg.scan(lambda c, r: (c * 0.5 + r, c), x[:, 0] * w[0], (x * w).T)[0].mean(),
    "joined": lambda x, w: tg.concatenate([x * w, x[: x.shape[0] // 2] * w]).mean(),
    "summed up": lambda x, w: tg.cumsum(x * w, axis=0)[-1].sum(),
    "padded": lambda x, w: tg.pad(x * w, ((1, x.shape[0]), (0, 0)))[x.shape[0] // 2 :].mean(),
    "taken": lambda x, w: tg.take(x * w, tg.arange(x.shape[0]) % 3, axis=0).mean(),
    "own rule": lambda x, w: scaled_by_rows(x * w).mean(),
}


@pytest.mark.parametrize("name", TAKES)
def test_gradients_that_take_gradients_are_those_of_each_size(name):
    function, weight = TAKES[name], tg.Parameter(sample(12))
    sgd = optim.SGD([weight], lr=0.0)

    def step(x):
        loss = function(x, weight)
        sgd.minimize(loss)
        return loss

    compiled = tg.compile(step)
    for n in (31, 37, 12, 3):
        x = sample(n, 12)
        fresh = tg.compile(step)
        losses = [f(x).item() for f in (compiled, fresh, step)]
        assert losses[0] == losses[1] == pytest.approx(losses[2], rel=1e-4)
        assert compiled.graph == fresh.graph


LOOKS = {
    "root": lambda x: x / math.sqrt(x.shape[0]),
    "length": lambda x: x * len(x),
    "loop": lambda x: sum(x[i] for i in range(x.shape[0])),
    "rows": lambda x: tg.stack([row * 2.0 for row in x]),
    "array": lambda x: x + np.arange(x.shape[0], dtype="float32")[:, None],
    "scalar": lambda x: x * np.float32(x.shape[0]),
    "product": lambda x: x + np.ones(12, "float32") * x.shape[0],
    "shape": lambda x: x + np.full(x.shape, 2.0, "float32"),
    "list": lambda x: x + np.array([x.shape[0], 1.0] * 6, "float32"),
    "dict": lambda x: x * {23: 5.0}.get(x.shape[0], 7.0),
    "set": lambda x: x * (x.shape in {(23, 12)}),
    "text": lambda x: x * float(len(f"{x.shape}{x.shape!s}{x.shape!r}")) * float(repr(x.aval)[4:6]),
    "percent": lambda x: x * float(operator.mod("%d", x.shape[:1])),
    "mapped": tg.vmap(lambda row: row / row.sum()),
    "scan": lambda x: tg.scan(lambda c, r: (c + r * x.shape[0], r), x[0], x.T.reshape(-1, 12))[0],
    "bits": lambda x: x * x.shape[0].bit_length(),
    "result": lambda x: (x * 2.0, x.shape[0])[0] + (lambda y, n: y * int(n))(x, x.shape[0]),
}


@pytest.mark.parametrize("name", LOOKS)
def test_who_needs_the_number_is_traced_again(name):
    function = LOOKS[name]
    compiled = tg.compile(function)
    for n in (24, 36, 42, 30):
        x = sample(n, 12)
        np.testing.assert_allclose(compiled(x).numpy(), function(tg.tensor(x)).numpy(), rtol=1e-4, atol=1e-6)
    assert compiled.stats.resized == 0


def test_a_size_that_is_given_back_is_that_of_the_call():
    compiled = tg.compile(lambda x: {"half": x.shape[0] // 2, "sum": x.sum(), "shape": x.shape})
    for n in (23, 37):
        result = compiled(sample(n, 12))
        assert (result["half"], result["shape"]) == (n // 2, (n, 12))


CHANCES = {
    "mean": lambda x: x.sum() / 23,
    "weighted": lambda x: x.sum() * (1 / 23.0),
    "elements": lambda x: x.sum() / (23 * 12),
    "variance": lambda x: ((x - x.mean()) ** 2).sum() / 275,
    "standard error": lambda x: x.std() / 23**0.5,
    "cut": lambda x: (x[:23] * 2.0).sum(axis=0) / 23,
    "softmax": lambda x: tg.exp(x) / (tg.exp(x).sum(axis=1, keepdims=True) * (1 / 23)) / 23,
}


@pytest.mark.parametrize("name", CHANCES)
def test_numbers_that_are_the_size_by_chance_stay_numbers(name):
    function = CHANCES[name]
    compiled = tg.compile(function)
    for n in (23, 37, 41, 64):
        x = sample(n, 12, dtype="float64")
        np.testing.assert_allclose(compiled(x).numpy(), function(tg.tensor(x)).numpy(), rtol=1e-10)


def test_what_fits_one_size_alone_says_so():
    compiled = tg.compile(lambda x, w: (x @ w).sum())
    assert compiled(np.ones((12, 12)), np.ones((12, 3))).item() == 432.0  # as many rows as columns, by chance
    assert compiled(np.ones((5, 12)), np.ones((12, 3))).item() == 180.0
    with pytest.raises(ValueError, match="matmul"):
        compiled(np.ones((5, 5)), np.ones((12, 3)))
    table = tg.compile(lambda x: x + np.ones(23, "float32")[:, None])
    table(sample(23, 12))
    with pytest.raises(ValueError, match="add"):
        table(sample(37, 12))


def test_several_arguments_have_one_size_or_are_traced():
    compiled = tg.compile(lambda x, y, z: x.sum() + y.sum() * 2.0 + z.sum())
    for sizes, traces in (((8, 8, 3), 1), ((9, 9, 3), 1), ((9, 9, 4), 2), ((9, 7, 3), 3), ((11, 11, 4), 3)):
        a, b, c = (np.ones(n) for n in sizes)
        assert compiled(a, b, c).item() == sizes[0] + 2 * sizes[1] + sizes[2]
        assert compiled.stats.traces == traces


def test_what_changes_meanwhile_is_traced_again():
    scale = [2.0]
    compiled = tg.compile(lambda x: x * scale[0])
    assert compiled(np.ones(20)).numpy().sum() == 40.0
    scale[0] = 3.0
    assert compiled(np.ones(31)).numpy().sum() == 93.0 and compiled.stats.traces == 2
    model = nn.Sequential(nn.Linear(12, 5, seed=0), nn.Dropout(0.5, seed=0))
    forward = tg.compile(model)
    forward(sample(20, 12))
    forward(sample(22, 12))
    assert forward.stats.resized == 1 and tg.parse(str(forward.graph)) == forward.graph
    model.eval()
    rows = sample(31, 12)
    np.testing.assert_allclose(forward(rows).numpy(), model(rows).numpy(), rtol=1e-5, atol=1e-6)


def test_gradients_of_the_caller_and_of_arguments():
    model, compiled = mlp(), None
    compiled = tg.compile(lambda x: (model(x) ** 2).sum())
    for n in (20, 33, 21):
        x = tg.tensor(sample(n, 12), requires_grad=True)
        compiled(x).backward()
        found = [x.grad.numpy(), *[p.grad.numpy() for p in model.parameters()]]
        model.zero_grad()
        x.grad = None
        (model(x) ** 2).sum().backward()
        for a, b in zip(found, [x.grad.numpy(), *[p.grad.numpy() for p in model.parameters()]], strict=True):
            assert np.isfinite(a).all()
            np.testing.assert_allclose(a, b, rtol=2e-4, atol=1e-5)
        model.zero_grad()
    assert (compiled.stats.traces, compiled.stats.resized) == (1, 2)


# the catalogue --------------------------------------------------------------------------------------------------------


def examples_of(declared):
    """Calls of an op whose array inputs have one size along their first axes."""
    for shapes, attrs in declared.examples:
        flat = [s for s in shapes if isinstance(s, tuple) and all(type(n) is int for n in s)]
        if len(flat) == len(shapes) and flat and all(s and s[0] == flat[0][0] for s in flat) and flat[0][0] > 1:
            yield flat, attrs


OPS = sorted(name for name, op in CATALOGUE.items() if "internal" not in op.traits and any(examples_of(op)))


@pytest.mark.sampled(quick=20, test=60)
@pytest.mark.parametrize("name", OPS)
def test_ops_and_their_gradients_at_another_size(name):
    declared = CATALOGUE[name]
    for shapes, attrs in examples_of(declared):

        def call(n, shapes=shapes, attrs=attrs):
            def function(*xs):
                result = declared.public(*xs, **attrs)
                results = result if isinstance(result, tuple) else (result,)
                return [r.sum() if r.dtype.kind == "f" else r for r in results]

            return tg.compile(function), [np.abs(sample(n, *s[1:])) * 0.5 + 0.25 for s in shapes]

        made, first = call(29)
        try:
            made(*first)
        except Exception:  # its shapes go together at another size
            continue
        for n in (17, 31):
            fresh, arguments = call(n)
            try:
                fresh(*arguments)
            except Exception as error:
                with pytest.raises(type(error)):
                    made(*arguments)
                continue
            made(*arguments)
            mine = made._latest()
            assert mine.traced.graph == entries(fresh)[0].traced.graph, (shapes, attrs)
            assert mine.graph == entries(fresh)[0].graph, (shapes, attrs)
