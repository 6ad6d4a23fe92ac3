"""`tg.vmap`: a function of one example on many at once, equal to a loop over them."""

from collections import OrderedDict, namedtuple

import numpy as np
import pytest
from vmap_loops import assert_trees, loop, numbers

import tensorgraph as tg
from tensorgraph import nn
from tensorgraph.testing import assert_close, assert_same

# arguments and results ---------------------------------------------------------------------------------------------


def scaled(x, w):
    return x * 2.0 + w


@pytest.mark.parametrize("in_axes", [0, (0, None), (None, 0), (-1, 1), (1, 0), [0, 0], (2, None)])
@pytest.mark.parametrize("out_axes", [0, 1, -1, 2])
def test_axes_of_arguments_and_results(in_axes, out_axes):
    x, w = numbers(3, 3, 3), numbers(3, 3, 3, seed=1)
    axes = tuple(in_axes) if isinstance(in_axes, list) else in_axes
    found = tg.vmap(scaled, in_axes, out_axes)(x, w)
    assert_same(found.numpy(), loop(scaled, axes, out_axes)(x, w).numpy())
    graph = tg.trace(tg.vmap(scaled, in_axes, out_axes), x, w)
    assert_same(graph(x, w).numpy(), found.numpy())
    assert tg.parse(str(graph)) == graph


Pair = namedtuple("Pair", "a b")


def test_nested_arguments_and_axes():
    x = {"p": [numbers(4, 2), numbers(2, 4, seed=1)], "q": (numbers(3), None), "r": Pair(numbers(4), 2.0)}
    axes = ({"p": [0, 1], "q": None, "r": Pair(0, None)},)

    def f(tree):
        (p, s), (q, nothing), r = tree["p"], tree["q"], tree["r"]
        assert nothing is None and p.shape == s.shape == (2,) and q.shape == (3,) and r.a.shape == () and r.b == 2.0
        return OrderedDict(sum=p + s * r.b, all=[q.sum() * r.a, {"k": None}], n=3)

    found = tg.vmap(f, axes)(x)
    assert list(found) == ["sum", "all", "n"] and found["n"].tolist() == [3] * 4
    p, s, q, a = (t.numpy() for t in (x["p"][0], x["p"][1], x["q"][0], x["r"].a))
    assert_close(found["sum"].numpy(), p + s.T * 2.0)
    assert_close(found["all"][0].numpy(), q.sum() * a)
    again = tg.vmap(f, axes, OrderedDict(sum=1, all=0, n=None))(x)
    assert_close(again["sum"].numpy(), (p + s.T * 2.0).T)
    assert again["n"].tolist() == 3


def test_keywords_are_mapped_along_the_first_axis():
    x, w = numbers(3, 2), numbers(3, 2, seed=1)
    assert_same(tg.vmap(scaled)(x, w=w).numpy(), loop(scaled)(x, w).numpy())


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i1", "i8", "u2", "bool"])
@pytest.mark.parametrize("size", [0, 1, 3])
def test_dtypes_and_sizes(dtype, size):
    x = tg.tensor(np.arange(size * 4).reshape(size, 4).astype(dtype))

    def f(x):
        return tg.where(x > 1, x, x * x), x.sum(), x[::-1], x.astype("f4") / 3, tg.argmax(x), tg.sort(x)

    found = tg.vmap(f)(x)
    if not size:
        assert [t.shape for t in found] == [(0, 4), (0,), (0, 4), (0, 4), (0,), (0, 4)]
        assert [t.dtype for t in found] == [t.dtype for t in f(tg.tensor(np.zeros(4, dtype)))]
        return
    for a, b in zip(found, loop(f)(x), strict=True):
        assert_same(a.numpy(), b.numpy())


def test_arrays_lists_and_numbers():
    x = np.arange(6.0).reshape(3, 2)
    seen = []

    def f(x, flag, shared, number):
        seen.append((flag, shared, number))
        return x * number + shared

    shared = np.ones(2)
    found = tg.vmap(f, (0, None, None, None))(x, "yes", shared, 2)
    assert seen[0][0] == "yes" and seen[0][1] is shared and seen[0][2] == 2
    assert_same(found.numpy(), x * 2 + 1)
    identity = tg.vmap(lambda x: x)(x)
    x[:] = 0  # what is the user's may change
    assert_same(identity.numpy(), np.arange(6.0).reshape(3, 2))


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda: tg.vmap(scaled, "0"), TypeError, r"in_axes must be an integer, a tuple, a list or None, got '0'"),
        (lambda: tg.vmap(scaled, True), TypeError, r"in_axes must be an integer, a tuple, a list or None, got True"),
        (lambda: tg.vmap(scaled, (0, 0.5)), TypeError, "in_axes holds integers and None, got 0.5"),
        (lambda: tg.vmap(scaled, out_axes="x"), TypeError, "out_axes holds integers and None, got 'x'"),
        (lambda: tg.vmap(3), TypeError, "function must be callable, got 3"),
        (lambda: tg.vmap(scaled, fallback="rows"), ValueError, "fallback must be 'loop' or None, got 'rows'"),
        (lambda: tg.vmap(scaled, (0,))(tg.ones(2), tg.ones(2)), ValueError, "it has 1 and scaled got 2"),
        (lambda: tg.vmap(scaled, None)(tg.ones(2), tg.ones(2)), ValueError, "an axis for one argument at least"),
        (lambda: tg.vmap(lambda: 1)(), ValueError, "got no arguments to be mapped"),
        (
            lambda: tg.vmap(scaled)(tg.ones((3, 2)), tg.ones((4, 2))),
            ValueError,
            r"of one size, got for scaled: 3 in x \(f32\[3, 2\], axis 0\); 4 in w \(f32\[4, 2\], axis 0\)",
        ),
        (
            lambda: tg.vmap(scaled, (2, 0))(tg.ones((3, 2)), tg.ones((3, 2))),
            ValueError,
            r"argument x of scaled is to be mapped along axis 2, for which it needs at least 3 axes, but it is f32\[",
        ),
        (lambda: tg.vmap(scaled)(1.0, tg.ones(2)), ValueError, "argument x .* at least 1 axis, but it is f32"),
        (lambda: tg.vmap(scaled)("a", tg.ones(2)), TypeError, "argument x .* of type str: give it in_axes=None"),
        (lambda: tg.vmap(scaled)(tg.ones(2), w="a"), TypeError, "argument w .* of type str: bind it with functools"),
        (
            lambda: tg.vmap(lambda t: t["a"], ({"b": 0},))({"a": tg.ones(2)}),
            ValueError,
            r"in_axes\[0\] must be nested as what it is for, a dict with a in it, or end further up, got \{'b': 0\}",
        ),
        (lambda: tg.vmap(scaled, ((0, 0), 0))(tg.ones(2), tg.ones(2)), ValueError, r"in_axes\[0\] must be .* a tensor"),
        (lambda: tg.vmap(scaled, out_axes=(0, 0))(tg.ones(2), tg.ones(2)), ValueError, "out_axes must be nested as"),
        (lambda: tg.vmap(scaled, out_axes=1)(tg.ones(2), tg.ones(2)), ValueError, "out_axes=1 is no axis of"),
        (lambda: tg.vmap(scaled, out_axes=None)(tg.ones(2), tg.ones(2)), ValueError, "out_axes=None is for a result"),
        (lambda: tg.vmap(lambda x: "no")(tg.ones(2)), TypeError, "<lambda> must give tensors and numbers, but"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_said(call, error, said):
    with pytest.raises(error, match=said):
        call()


EXITS = [
    bool, float, int, lambda x: x.item(), lambda x: x.numpy(), np.asarray, lambda x: x.tolist(),
    lambda x: [1, 2][x.astype("i8")], lambda x: 1.0 if x > 0 else 2.0,
]  # fmt: skip


@pytest.mark.parametrize("ask", EXITS)
def test_numbers_of_an_example_are_refused_kindly(ask):
    with pytest.raises(
        tg.TraceError, match=r"inside vmap this value is that of all 3 .* Use tensorgraph.where instead"
    ):
        tg.vmap(ask)(tg.ones(3))


def test_what_is_the_same_for_all_examples_has_numbers():
    x, w = numbers(4, 3), tg.tensor([1.0, 2.0, 3.0], dtype="float64")
    model = nn.BatchNorm(3)
    assert_same(tg.vmap(lambda r: r * float((w * 2).sum()))(x).numpy(), x.numpy() * 12)
    assert_same(tg.vmap(lambda r, s: r * 2 if (s > 0).all() else r, (0, None))(x, w).numpy(), x.numpy() * 2)
    assert_same(tg.vmap(lambda r: r * model.decay)(x).numpy(), x.numpy() * 0.9)
    assert_same(tg.vmap(lambda r: tg.vmap(lambda q: q * float(w.sum()))(r))(x).numpy(), x.numpy() * 6)
    generator = tg.random.Generator(0)
    for f in (lambda r: r * float(generator.uniform(())), lambda r: tg.vmap(lambda q: q * float(r.sum()))(x)):
        with pytest.raises(tg.TraceError, match="inside vmap"):
            tg.vmap(f)(x)
    with pytest.raises(tg.TraceError, match="inside vmap"):
        tg.trace(lambda x, w: tg.vmap(lambda r: r * float(w.sum()))(x), x, w)


@pytest.mark.parametrize(
    "f",
    [
        lambda w, x: tg.vmap(lambda r: r * float((w * 2).sum()))(x).sum(),
        lambda w, x: tg.vmap(lambda r: r * float(w.sum()))(x).sum(),
        lambda w, x: tg.vmap(lambda r: r * w)(x).sum().item() * w.sum(),
        lambda w, x: np.asarray(tg.vmap(lambda r: (r * w).sum())(x)).sum() * w.sum(),
        lambda w, x: tg.vmap(lambda r: tg.grad(lambda v: v.sum() * float((v * 2).sum()))(w) * r)(x).sum(),
    ],
)
def test_numbers_that_a_derivative_would_lose_are_refused(f):
    x, w = numbers(4, 3), numbers(3, seed=1)
    with pytest.raises(tg.DetachError):
        tg.grad(lambda w: f(w, x))(w)
    found = tg.grad(lambda w: tg.vmap(lambda r: r * w * float((w * 2).detach().sum()))(x).sum())(w)
    assert_close(found.numpy(), x.numpy().sum(0) * 2 * w.numpy().sum(), scale=10.0)


def test_numbers_of_an_outer_trace_stay_weak():
    x = numbers(4, 3, dtype="f4")
    for f in (
        lambda x, s: tg.vmap(lambda r: r * s + 1)(x),
        lambda x, s: tg.vmap(lambda r, s: r * s + 1, (0, None))(x, s),
        lambda x, s: tg.vmap(tg.grad(lambda r, s: (r * s**2).sum()), (0, None))(x, s * 2),
    ):
        graph = tg.trace(f, x, 2.0)
        assert graph(x, 3.0).dtype == np.float32
        assert_same(graph(x, 3.0).numpy(), f(x, 3.0).numpy())


def test_values_do_not_get_out():
    kept = []
    tg.vmap(lambda x: kept.append(x) or x)(tg.ones(3))
    with pytest.raises(tg.TraceError, match="used outside its trace"):
        kept[0] + 1
    with pytest.raises(tg.TraceError, match="from another call of vmap"):
        tg.vmap(lambda x: x + kept[0])(tg.ones(3))
    with pytest.raises(tg.TraceError, match=r"from another trace|another call of vmap"):
        tg.trace(lambda x: x + kept[0], tg.f32[3])


# what a function reads and changes ---------------------------------------------------------------------------------


def test_nothing_that_is_read_by_closure_is_stale():
    x, box = numbers(3, 2), {"w": numbers(2, seed=1), "k": 1.0}
    cell = tg.Buffer(np.ones(2))
    mapped = tg.vmap(lambda x: x * box["w"] * box["k"] + cell)
    for k in range(3):
        assert_same(mapped(x).numpy(), x.numpy() * box["w"].numpy() * box["k"] + cell.numpy())
        box["w"], box["k"] = numbers(2, seed=k + 5), box["k"] + k
        cell.assign(cell + 1.0)


def test_an_array_that_is_read_may_be_changed_by_the_function():
    array = np.zeros(2)

    def f(x):
        array[:] = 1.0
        y = x + array
        array[:] = 2.0
        return y + array

    assert_same(tg.vmap(f)(np.zeros((3, 2))).numpy(), np.full((3, 2), 3.0))


def test_parameters_and_tensors_that_are_read_get_their_gradients():
    model = nn.Sequential(nn.Linear(3, 4, seed=0), nn.Tanh(), nn.Linear(4, 2, seed=1))
    x, scale = numbers(5, 3, dtype="f4"), tg.tensor([1.0, 2.0], requires_grad=True)
    (tg.vmap(lambda x: model(x) * scale)(x) ** 2).sum().backward()
    found = [p.grad.numpy() for p in (*model.parameters(), scale)]
    model.zero_grad()
    scale.grad = None
    ((model(x) * scale) ** 2).sum().backward()
    for a, b in zip(found, (*model.parameters(), scale), strict=True):
        assert_close(a, b.grad.numpy(), scale=10.0, ulps=64, reason="another order")
    with tg.no_grad():
        assert not tg.vmap(model)(x).requires_grad
    assert not tg.vmap(lambda x: x * 2)(x).requires_grad


def test_a_step_of_training_through_vmap_is_a_graph():
    model = nn.Sequential(nn.Linear(3, 4, seed=0), nn.Tanh(), nn.Linear(4, 2, seed=1))
    twin = nn.Sequential(nn.Linear(3, 4, seed=0), nn.Tanh(), nn.Linear(4, 2, seed=1))
    x = numbers(5, 3, dtype="f4")

    def step_of(model, forward):
        optimizer = tg.optim.SGD(model.parameters(), lr=0.1)

        def step(x):
            loss = (forward(x) ** 2).mean()
            optimizer.minimize(loss)
            return loss

        return step

    mapped = step_of(model, tg.vmap(model))
    traced = tg.trace(mapped, x).bind()
    plain = step_of(twin, twin)
    for _ in range(3):
        assert_close(traced(x).numpy(), plain(x).numpy(), ulps=64, reason="another order")
    for a, b in zip(model.parameters(), twin.parameters(), strict=True):
        assert_close(a.numpy(), b.numpy(), scale=1.0, ulps=64, reason="another order")


def test_writes_name_the_remedy_and_change_nothing():
    model = nn.Sequential(nn.Linear(3, 2, seed=0), nn.BatchNorm(2))
    before = model.state_dict()
    x = numbers(2, 4, 3, dtype="f4")
    with pytest.raises(
        RuntimeError, match=r"writes the buffer '1.running_mean'.*tensorgraph.functional\(model, state=T"
    ):
        tg.vmap(model)(x)
    counter = tg.Buffer(0, name="n")
    with pytest.raises(RuntimeError, match="writes the buffer 'n'"):
        tg.vmap(lambda x: counter.assign(counter + 1))(x)
    generator = tg.random.Generator(0)
    with pytest.raises(RuntimeError, match=r"writes the buffer 'random.state'.*Only random states may be drawn from"):
        tg.vmap(lambda x: (generator.uniform(), generator.seed(0)))(x)
    for path, array in model.state_dict().items():
        assert_same(array, before[path])
    f, p, s = tg.functional(model, state=True)
    y, after = tg.vmap(f, (None, None, 0))(p, s, x)
    for i in range(2):
        expected, then = f(p, s, x[i])
        assert_close(y[i].numpy(), expected.numpy(), scale=1.0, ulps=16, reason="another order")
        assert_trees(tg.tree_map(lambda t, i=i: t[i], after), then)


def test_backward_inside_names_grad():
    w = tg.tensor([1.0], requires_grad=True)
    with pytest.raises(tg.TraceError, match=r"backward\(\) inside vmap.*use tensorgraph.grad"):
        tg.vmap(lambda x: (w * x).sum().backward())(tg.ones((3, 1)))
    assert w.grad is None
