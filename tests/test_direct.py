"""Eager calls on the kernels of compiled functions: what they are given, what they refuse, and who runs them."""

import threading

import numpy as np
import pytest
from child import python

import tensorgraph as tg
from tensorgraph import jit, optim
from tensorgraph.engine import direct as engine_direct
from tensorgraph.engine.op import CATALOGUE
from tensorgraph.native import direct, machine
from tensorgraph.native.kernel import kernel
from tensorgraph.native.places import Call, Place, Rule
from tensorgraph.native.words import ldm, load_int, stm, store_int, word_at
from tensorgraph.testing import assert_close, assert_same, examples_of
from tensorgraph.testing.forward import layouts_of

LANES = SIZE = 0

needs_machine_code = pytest.mark.skipif(not machine.available(), reason=str(machine.reason()))
DIRECT = sorted(
    name for name, op in CATALOGUE.items() if op.direct and not op.kind.large and "internal" not in op.traits
)


def planned(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each call that is planned from now on has kernels."""
    found: list[bool] = []
    made = direct.direct

    def watched(*args):
        found.append((run := made(*args)) is not None)
        return run

    monkeypatch.setattr(direct, "direct", watched)
    return found


def arrays_of(op, case, dtype):
    """The inputs in a type; of an update in float16 what is kept is float32, and settings are float64 always."""
    wide = np.dtype("float32" if dtype == "float16" else dtype)
    kinds = dict(enumerate([dtype, dtype, *[wide] * (len(op.outputs) - 1)])) if "update" in op.traits else None
    return [
        a.astype(dtype if kinds is None else kinds[n])
        if isinstance(a, np.ndarray) and a.dtype.kind == "f" and (kinds is None or a.shape == case.inputs[0].shape)
        else a
        for n, a in enumerate(case.inputs)
    ]


@needs_machine_code
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", DIRECT)
def test_some_calls_of_an_op_that_says_so_have_kernels(name, dtype, monkeypatch):
    found, op = planned(monkeypatch), CATALOGUE[name]
    forward = engine_direct.direct_forward(op)
    for case in examples_of(op):
        forward(*arrays_of(op, case, dtype), **{**op.attrs, **case.attrs})
    assert any(found)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("name", DIRECT)
def test_every_layout_gives_what_the_forward_gives(name, dtype):
    op = CATALOGUE[name]
    forward = op.calls["forward"]
    for case in examples_of(op):
        inputs, attrs = arrays_of(op, case, dtype), {**op.attrs, **case.attrs}
        expected = op.forward(*inputs, **attrs)
        expected = expected if isinstance(expected, tuple) else (expected,)
        for kind in range(4):
            given = [a if not isinstance(a, np.ndarray) else [*layouts_of(a), unaligned(a)][kind] for a in inputs]
            found = forward(*given, **attrs)
            found = found if isinstance(found, tuple) else (found,)
            for a, b in zip(found[: len(op.outputs)], expected, strict=False):
                assert_close(a, b, what=f"{case} in layout {kind}")
            assert [(a.shape, a.dtype) for a in found] == [(b.shape, b.dtype) for b in expected]


def unaligned(a: np.ndarray) -> np.ndarray:
    raw = np.zeros(a.nbytes + 1, np.uint8)
    view = raw[1:].view(a.dtype).reshape(a.shape) if a.size else a
    view[...] = a
    return view


def test_numbers_that_are_swapped_and_arrays_that_repeat_are_read_right():
    x = np.random.default_rng(0).standard_normal((3, 2, 8, 8)).astype("f4")
    expected = tg.max_pool(x, (2, 2), stride=2)
    assert_same(tg.max_pool(x.astype(">f4"), (2, 2), stride=2), expected)
    row = np.broadcast_to(x[:1, :1], (3, 2, 8, 8))
    assert_same(tg.max_pool(row, (2, 2), stride=2), tg.max_pool(row.copy(), (2, 2), stride=2))


def test_empty_arrays():
    assert tg.max_pool(np.zeros((0, 4, 4), "f4"), (2, 2), stride=2).shape == (0, 2, 2)
    y, mu, var = tg.layer_norm(np.zeros((0, 4), "f4"))
    assert (y.shape, mu.shape, var.shape) == ((0, 4), (0,), (0,))


def test_attributes_that_are_equal_and_other_ones_are_told_apart():
    x = np.arange(16.0, dtype="f4").reshape(4, 4)
    for eps in (0.0, 1e-5, 1e-3, 0.0):
        assert_close(tg.layer_norm(x, eps=eps)[0], tg.layer_norm(x, eps=eps, impl="composed")[0])


def test_what_is_refused_is_refused_by_the_forward_with_the_users_line():
    with pytest.raises(ValueError, match=r"layer_norm.*test_direct"):
        tg.layer_norm(np.zeros((3, 4), "f4"), np.zeros(5, "f4"))


def test_without_machine_code_the_forward_runs(monkeypatch):
    monkeypatch.setattr(engine_direct, "_machine_code", lambda: False)
    found, op = planned(monkeypatch), CATALOGUE["max_pool"]
    forward, x = engine_direct.direct_forward(op), np.arange(6.0)
    attrs = dict(sizes=(2,), stride=2, padding=0, dilation=1)
    assert_same(forward(x, **attrs), op.forward(x, **attrs))
    assert not found


def test_as_many_calls_are_known_as_there_is_room_for(monkeypatch):
    monkeypatch.setattr(engine_direct, "MOST", 3)
    op = CATALOGUE["max_pool"]
    forward, attrs = engine_direct.direct_forward(op), dict(sizes=(2,), stride=2, padding=0, dilation=1)
    for n in [*range(2, 12), 2, 3]:
        x = np.arange(float(n))
        assert_same(forward(x, **attrs), op.forward(x, **attrs))
    known = forward.__globals__["_known"].__self__
    assert len(known) <= 3


def test_threads_that_call_the_same_do_not_meet():
    """Each has words and scratch memory of its own."""
    rng = np.random.default_rng(1)
    given = [rng.standard_normal((2, 2, 33, 16)).astype("f4") for _ in range(4)]
    expected = [tg.attention(x, x, x, causal=True).numpy() for x in given]
    wrong: list[int] = []

    def work(n: int) -> None:
        for _ in range(60 if jit.compiled() else 4):
            if (tg.attention(given[n], given[n], given[n], causal=True).numpy() != expected[n]).any():
                wrong.append(n)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_results_are_arrays_of_their_own():
    x = tg.tensor(np.arange(12.0).reshape(3, 4))
    first = tg.layer_norm(x)[0].numpy()
    kept = first.copy()
    tg.layer_norm(x + 1.0)
    assert_same(first, kept)


def doubled(w, block, blocks):
    """y = 2 x, by way of scratch memory. Words: x, scratch, y, n."""
    x, z, y, n = word_at(w, 0), word_at(w, 1), word_at(w, 2), word_at(w, 3)
    for i in range(0, n, LANES):
        stm(z + i * SIZE, ldm(x + i * SIZE, n - i, 0.0) * 2.0, n - i)
    for i in range(0, n, LANES):
        stm(y + i * SIZE, ldm(z + i * SIZE, n - i, 0.0), n - i)


def positive(w, block, blocks):
    """Whether the integer of the first word is above 0."""
    store_int(word_at(w, 1), 1 if load_int(word_at(w, 0)) <= 0 else 0)


def rule(call: Call) -> bool:
    x, count = call.inputs
    scratch = call.scratch(x.shape, x.dtype)
    call.check(kernel(positive, "float64"), [count.address()], "a count has to be above 0")
    words = [x.address(), scratch.address(), call.outputs[0].address(), x.size]
    call.run(kernel(doubled, x.dtype), words)
    return True


@needs_machine_code
@pytest.mark.parametrize("headers", [True, False])
def test_checks_end_a_call_before_its_kernels(headers, monkeypatch):
    monkeypatch.setattr(direct, "headers_are_known", lambda: headers)
    x, count = np.arange(50.0), np.array(1)
    places = [Place.new(a.shape, a.dtype) for a in (x, count)]
    run = direct.direct(rule, Call(tuple(places), (Place.new(x.shape, x.dtype),), {}), True)
    for good in (1, 0, 3, -1, 2):
        count[...] = good
        found = run(x, count)
        assert found is None if good <= 0 else (found == 2 * x).all()


@needs_machine_code
def test_a_rule_that_says_no_is_asked_once():
    asked: list[int] = []

    def no(call: Call) -> bool:
        asked.append(1)
        return False

    place = Place.new((3,), "f4")
    assert direct.direct(no, Call((place,), (place,), {}), True) is None
    elsewhere = Rule(no, better_elsewhere=lambda call: "BLAS is")
    assert direct.direct(elsewhere, Call((place,), (place,), {}), True) is None
    assert len(asked) == 1


PROGRAM = """
import sys
if {without}:
    sys.modules["numba"] = None
import numpy as np
import tensorgraph as tg
from tensorgraph.graph.from_tape import graph
x = tg.tensor(np.arange(12, dtype="{dtype}").reshape(3, 4), requires_grad=True)
y = tg.layer_norm(x)[0]
names = [eq.op.name for eq in graph(y).equations]
y.sum().backward()
print(sys.modules.get("numba") is None, "layer_norm" in names)
"""


@needs_machine_code
def test_a_fused_op_needs_no_numba_where_its_kernels_do(tmp_path):
    """Importing it takes half a second."""
    told = python("-c", PROGRAM.format(without=False, dtype="f4"), cwd=tmp_path)
    assert told.stdout.split() == ["True", "True"], told.stderr


def test_without_numba_a_fused_op_is_composed(tmp_path):
    told = python("-c", PROGRAM.format(without=True, dtype="f2"), cwd=tmp_path)
    assert told.stdout.split() == ["True", "False"], told.stderr


STEPS = """
import sys
import numpy as np
import tensorgraph as tg
from tensorgraph import nn, optim
x, y = np.random.default_rng(0).normal(size=(16, 8)).astype("f4"), np.arange(16) % 3
for make in (optim.SGD, optim.Momentum, optim.RMSprop, optim.Adam, optim.AdamW):
    model = nn.Sequential(nn.Linear(8, 8, seed=0), nn.ReLU(), nn.Linear(8, 3, seed=1))
    optimizer = make(model.parameters(), lr=0.01)
    losses = []
    for _ in range(5):
        loss = tg.softmax_cross_entropy(model(x), y)
        optimizer.minimize(loss)
        losses.append(float(loss))
    assert losses[-1] < losses[0], (make, losses)
print("numba" in sys.modules)
"""


@needs_machine_code
def test_a_training_step_opens_no_numba(tmp_path):
    told = python("-c", STEPS, cwd=tmp_path)
    assert told.stdout.split() == ["False"], told.stderr


@needs_machine_code
def test_what_a_rule_warns_of_is_warned_of_in_each_call(monkeypatch):
    found, z = planned(monkeypatch), tg.tensor(np.zeros((2, 5), "f4"))
    for label in (-7, -7, 1, -7):  # numbers alone differ: one plan
        if label == -7:
            with pytest.warns(RuntimeWarning, match="no label counts") as told:
                loss = tg.softmax_cross_entropy(z, [label, -7], ignore_index=-7)
            assert float(loss) == 0.0 and told[0].filename == __file__
        else:
            assert float(tg.softmax_cross_entropy(z, [label, -7], ignore_index=-7)) == pytest.approx(np.log(5))
    assert found == [True]


@needs_machine_code
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.filterwarnings("ignore:.*no gradient reached:RuntimeWarning")
def test_a_step_in_place_has_the_bits_of_its_op(dtype, monkeypatch):
    """All parameters are on one tape; gradients may lie in any order."""
    rng = np.random.default_rng(0)
    for make in (optim.SGD, optim.Momentum, optim.RMSprop, optim.Adam, optim.AdamW):
        first, second = ([tg.Parameter(rng.normal(size=s).astype(dtype)) for s in ((3, 5), (7,), (3, 5))] for _ in "12")
        for a, b in zip(first, second, strict=True):
            b.assign(a.numpy().copy())
        ours, theirs = (make(parameters, lr=0.1, weight_decay=0.01) for parameters in (first, second))
        for step in range(4):
            for a, b in zip(first, second, strict=True):
                if (step, a.ndim) != (1, 1):  # a parameter without a gradient is left as it is
                    g = rng.normal(size=a.shape[::-1]).astype(dtype).T  # not in C order
                    a.grad = b.grad = tg.tensor(g)
                else:
                    a.grad = b.grad = None
            ours.step()
            with tg.no_grad():
                theirs._by_ops(theirs._collect())
            for (path, a), (_, b) in zip(ours.named_cells(), theirs.named_cells(), strict=True):
                assert_same(a.numpy(), b.numpy(), what=f"{make.__name__} {path}")
            for a, b in zip(first, second, strict=True):
                assert_same(a.numpy(), b.numpy(), what=make.__name__)
