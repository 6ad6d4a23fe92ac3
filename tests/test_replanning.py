"""Plans at other sizes of a batch are those that are made from nothing: the same kernels, words, blocks and buffers."""

import gc
import threading
import weakref

import numpy as np
import pytest

import tensorgraph as tg
from tensorgraph import nn, optim
from tensorgraph.compile import collecting, compiled, layouts, renaming, selection
from tensorgraph.compile.plan import plan
from tensorgraph.graph.equation import Provenance
from tensorgraph.native import machine
from tensorgraph.native.places import Address

pytestmark = pytest.mark.skipif(not machine.available(), reason=str(machine.reason()))

NUMBERS = np.random.default_rng(3)


class Residual(nn.Sequential):
    def forward(self, x):
        return x + super().forward(x)


def dense(width, depth):
    layers = [layer for k in range(depth) for layer in (nn.Linear(width, width, seed=k), nn.ReLU())]
    return nn.Sequential(*layers, nn.Linear(width, 5, seed=depth))


MODELS = {
    "dense": (lambda: dense(12, 3), (12,)),
    "wide": (lambda: dense(300, 2), (300,)),
    "norms": (
        lambda: nn.Sequential(
            nn.Linear(12, 6, seed=0), nn.BatchNorm(6, degenerate="beta"), nn.GELU(), nn.LayerNorm(6),
            nn.Dropout(0.2, seed=1), nn.Linear(6, 5, seed=2),
        ),
        (12,),
    ),
    "images": (
        lambda: nn.Sequential(
            nn.Conv2d(2, 4, 3, padding=1, seed=0), Residual(nn.Conv2d(4, 4, 3, padding=1, seed=1), nn.GroupNorm(2, 4)),
            nn.BatchNorm(4, axis=1, degenerate="beta"), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
            nn.Linear(64, 5, seed=2),
        ),
        (2, 8, 8),
    ),
    "attention": (
        lambda: nn.Sequential(
            nn.TransformerEncoderLayer(8, 2, 16, seed=0), nn.TransformerEncoderLayer(8, 2, 16, seed=1), nn.Flatten(),
            nn.Linear(24, 5, seed=2),
        ),
        (3, 8),
    ),
}  # fmt: skip


def records(made):
    """What a plan runs, its buffers numbered in the order in which they come."""
    numbers = {}

    def word(one):
        return (numbers.setdefault(one.buffer, len(numbers)), one.offset) if type(one) is Address else int(one)

    found = []
    for step in made.steps:
        for record in [] if step.call is None else [*(c.record for c in step.call.checks), *step.call.records]:
            found.append((record.kernel, record.blocks, tuple(map(word, record.words))))
    sizes = [(buffer.nbytes, made.arena.offsets.get(buffer)) for buffer in numbers]
    return found, sizes, made.arena.size, len(made.donated), [step.why for step in made.steps]


def step_of(model, optimizer=True):
    adam = optim.Adam(model, lr=0.01)

    def step(x, y):
        loss = tg.softmax_cross_entropy(model(x), y)
        if optimizer:
            adam.minimize(loss)
        else:
            model.zero_grad()
            loss.backward()
        return loss

    return tg.compile(step)


@pytest.mark.parametrize("optimizer", [True, False], ids=["step", "gradients"])
@pytest.mark.parametrize("name", MODELS)
def test_a_plan_at_another_size_is_the_one_that_is_made_from_nothing(name, optimizer):
    make, shape = MODELS[name]
    step = step_of(make(), optimizer)
    # few rows, a row, widths of layers, and sizes at which there are more blocks
    for n in (23, 37, 12, 1, 2, 3, 16, 8, 64, 700, 37, 24):
        step(NUMBERS.normal(size=(n, *shape)).astype("f4"), NUMBERS.integers(0, 5, n))
    entries = [entry for known in step._entries.values() for entry in known]
    assert step.stats.resized >= 9 and len(entries) == 11  # batch norm of a row is another function
    for entry in entries:
        made = entry.runner.plan
        assert records(made) == records(plan(made.graph))


def test_what_does_not_depend_on_the_size_is_planned_once():
    step = step_of(dense(12, 3))
    for n in (23, 37):
        step(NUMBERS.normal(size=(n, 12)).astype("f4"), NUMBERS.integers(0, 5, n))
    first, second = (known[0].runner.plan for known in step._entries.values())
    ops = [step.equations[0].op.name for step in second.steps if step in first.steps]
    assert ops.count("adam_update") == 8 and "relu" not in ops


def test_of_equal_layers_each_rule_is_asked_once(monkeypatch):
    asked = []

    def rule_of(eq):
        rule = selection.own_rule(eq)
        if rule is None or eq.op.name != "matmul":
            return rule
        return lambda call: asked.append(call.inputs[0].shape) or rule(call)

    def graph_of(depth):
        model = dense(12, depth)
        return tg.trace(lambda x: model(x).sum(), tg.f32[7, 12])

    counted = []
    for depth in (3, 9):
        rules = {}
        graph = graph_of(depth)
        selection.draft(graph, lambda eq, rules=rules: rules.setdefault(eq.op, rule_of(eq)), grouped=False)
        counted.append(len(asked))
        asked.clear()
    assert counted == [2, 2]  # of the equal layers, and of the last one


def test_a_call_that_repeats_another_has_memory_of_its_own():
    def squares(x, y):
        return x @ x.T, y @ y.T

    made = plan(tg.trace(squares, tg.f32[40, 30], tg.f32[40, 30]))
    one, other = (step.call for step in made.steps if step.call is not None)
    assert [r.kernel for r in one.records] == [r.kernel for r in other.records] and one.scratch_places
    own = [{place.buffer for place in (*call.scratch_places, *call.outputs)} for call in (one, other)]
    assert not own[0] & own[1]
    used = [{w.buffer for r in call.records for w in r.words if type(w) is Address} for call in (one, other)]
    assert used[0] >= own[0] and used[1] >= own[1] and not used[0] & used[1]
    x, y = (NUMBERS.normal(size=(40, 30)).astype("f4") for _ in range(2))
    for result, expected in zip(tg.compile(squares)(x, y), squares(x, y), strict=True):
        np.testing.assert_allclose(result.numpy(), expected, rtol=1e-4, atol=1e-4)


def test_all_sizes_run_in_the_memory_of_the_largest():
    model = dense(64, 2)
    step = step_of(model, optimizer=False)
    batches = {n: (NUMBERS.normal(size=(n, 64)).astype("f4"), NUMBERS.integers(0, 5, n)) for n in (90, 40, 100, 7, 170)}
    losses = {n: step(*batch).item() for n, batch in batches.items()}
    owners = {}
    for known in step._entries.values():
        memory = known[0].runner.memory
        assert memory.arena.size == known[0].runner.plan.arena.size
        owners.setdefault(id(memory.arena.base), []).append(memory.arena.size)
    assert [len(sizes) for sizes in owners.values()] == [2, 3]  # a larger one is twice as large as the one before
    for n in (170, 7, 90, 40, 7, 100):  # and what another size left there is nobody's
        assert step(*batches[n]).item() == losses[n]
        fresh = dense(64, 2)
        fresh.load_state_dict(model.state_dict())
        tg.softmax_cross_entropy(fresh(batches[n][0]), batches[n][1]).backward()
        for a, b in zip(model.parameters(), fresh.parameters(), strict=True):
            np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-4, atol=1e-6)


def test_the_batches_that_were_planned_for_are_not_kept():
    step = step_of(dense(12, 1))
    for n in (23, 37, 24):
        x = tg.tensor(NUMBERS.normal(size=(n, 12)).astype("f4"))
        array = weakref.ref(x.numpy().base if x.numpy().base is not None else x.numpy())
        step(x, NUMBERS.integers(0, 5, n))
        step(*(a[:5] for a in (NUMBERS.normal(size=(n, 12)).astype("f4"), NUMBERS.integers(0, 5, n))))
        del x
        assert array() is None


def test_threads_may_call_at_several_sizes():
    model = dense(64, 2)
    forward = tg.compile(lambda x: tg.tanh(model(x)))
    batches = [NUMBERS.normal(size=(n, 64)).astype("f4") for n in (150, 80, 33)]
    with tg.no_grad():
        expected = [forward(batch).numpy() for batch in batches]
    wrong = []

    def calls(k):
        with tg.no_grad():
            for _ in range(150):
                if not np.array_equal(forward(batches[k]).numpy(), expected[k]):
                    wrong.append(k)

    threads = [threading.Thread(target=calls, args=(k,)) for k in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_views_that_are_alike_are_looked_at_once_wherever_they_begin(monkeypatch):
    looked, look = [], layouts.Layout._looked
    monkeypatch.setattr(layouts.Layout, "_looked", lambda *args: (looked.append(args[1].op.name), look(*args))[1])

    def halves(x):
        low, high = x[:, :4], x[:, 4:]
        return [part.reshape(-1, 2, 2).transpose(0, 2, 1)[1:] for part in (low, high, x[:, 2:6])]

    graph = tg.trace(halves, tg.f32[6, 8]).transform()
    layout = layouts.Layout(graph)
    places = [layout.places[var] for var in graph.outputs]
    assert [(p.shape, p.strides) for p in places[1:]] == [(places[0].shape, places[0].strides)] * 2
    assert len({id(p.buffer) for p in places}) in (1, 3) and "transpose" in looked
    assert looked.count("transpose") == 1
    x = np.arange(48, dtype="f4").reshape(6, 8)
    for got, expected in zip(tg.compile(halves)(tg.tensor(x)), halves(tg.tensor(x)), strict=True):
        np.testing.assert_array_equal(got.numpy(), expected.numpy())


def test_garbage_is_looked_for_after_a_plan_at_another_size(monkeypatch):
    seen, make = [], compiled.Entry
    monkeypatch.setattr(compiled, "Entry", lambda *args: (seen.append(gc.isenabled()), make(*args))[1])

    @tg.compile
    def f(x):
        return tg.exp(x).sum()

    for n in (5, 6):
        f(tg.ones(n))
    assert seen == [True, False] and gc.isenabled()
    monkeypatch.setattr(compiled, "Entry", lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        f(tg.ones(7))
    assert gc.isenabled()
    gc.disable()
    try:
        with collecting.uncollected():
            assert not gc.isenabled()
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_graphs_of_one_pattern_are_renamed_like_any_others():
    make, shape = MODELS["attention"]
    step = step_of(make())
    for rows in (7, 9, 11, 13):
        step(NUMBERS.normal(size=(rows, *shape)).astype("float32"), np.arange(rows) % 5)
    drafts = next(reversed(step._entries.values()))[0].resizing.drafts
    one, other = drafts[1].graph, drafts[0].graph
    assert one.provenance.pattern[0] is other.provenance.pattern[0]
    found = renaming.renaming(one, other)
    told = renaming.renaming(one.replace(provenance=Provenance()), other)
    assert found.variables == told.variables and found.equations == told.equations
    # one with other equations has no pattern, whatever it was made of
    shorter = other.replace(equations=other.equations[:-1])
    assert not renaming._have_one_pattern(one, shorter) and renaming.renaming(one, shorter) is None
    # what is kept for the next size is of one size
    kept = [draft.layout.keys for draft in drafts[:2]]
    assert len(kept[0]._known) == len(kept[1]._known) and not kept[0]._earlier
