"""A model is traced once: its steps, measures and predictions of any size go on from that."""

import copy
import threading

import numpy as np
import pytest

import tensorgraph as tg
from tensorgraph import nn, optim, train
from tensorgraph.engine.changes import MARK, Detour
from tensorgraph.graph.recorder import CallRecorder
from tensorgraph.train import compiled, forward
from tensorgraph.train.compiled import CompiledSteps
from tensorgraph.train.forward import Forward

RNG = np.random.default_rng(0)
X = RNG.normal(size=(100, 4)).astype("float32")
Y = (X[:, 0] > X[:, 1]).astype(int)
COUNTING = """
def enter(self, kind, name, *rest):
    traces.append(name)
    return before(self, kind, name, *rest)
"""


class Model(nn.Module):
    def __init__(self, *layers):
        self.layers = nn.Sequential(*layers)

    def forward(self, x):
        return self.layers(x)


class Asking(Model):
    """Does something else in training, and says so by a helper."""

    def forward(self, x):
        return self.layers(x) * (1.0 if scaled(self) else 2.0)


def scaled(module):
    return getattr(module, "training")  # noqa: B009


def plain():
    return Model(nn.Linear(4, 8, seed=0), nn.LayerNorm(8), nn.GELU(), nn.Linear(8, 2, seed=1))


def normalised():
    return Model(nn.Linear(4, 8, seed=0), nn.BatchNorm(8), nn.ReLU(), nn.Dropout(0.2, seed=2), nn.Linear(8, 2, seed=1))


def asking():
    return Asking(nn.Linear(4, 2, seed=0))


@pytest.fixture
def traces(monkeypatch):
    """Everything is compiled early; gives the modules that were called while something was traced."""
    monkeypatch.setattr(compiled, "FIRST", 3)
    monkeypatch.setattr(compiled, "AGAIN", 1)
    monkeypatch.setattr(forward, "MEASURED", 1)
    names = []
    space = {"traces": names, "before": CallRecorder.enter, "__name__": "counting"}
    exec(compile(COUNTING, "site-packages/counting.py", "exec"), space)  # no code of the user's, which is watched
    monkeypatch.setattr(CallRecorder, "enter", space["enter"])
    return names


@pytest.mark.parametrize(("make", "programs"), [(plain, 1), (normalised, 2), (asking, 2)])
def test_training_measures_and_one_prediction_are_of_one_trace(make, programs, traces):
    """Of two where layers ask whether they are in training: then there are two programs."""
    model = make()
    train.fit(
        model, (X, Y), optimizer=optim.Adam(model, lr=0.01), epochs=4, batch_size=16, last="keep", dev=(X[:37], Y[:37]),
        progress=False,
    )  # fmt: skip
    for _ in range(3):
        measured = train.evaluate(model, (X[:50], Y[:50]))
        one = train.predict(model, X[:1])
    assert traces.count(type(model).__name__) == programs
    stats = model._forward_template.compiled.stats
    assert stats.traces == programs and stats.runs > 6
    expected = train.evaluate(model, (X[:50], Y[:50]), compile=False)
    assert measured == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(one, train.predict(model, X[:1], compile=False), rtol=1e-4, atol=1e-6)
    assert traces.count(type(model).__name__) == programs and all(module.training for module in model.modules())


@pytest.mark.parametrize("make", [plain, normalised, asking])
def test_a_step_made_of_the_models_trace_is_the_step(make):
    def step_of(sizes):
        model = make()
        outputs = Forward(model)
        for size in sizes:
            outputs.graph(np.zeros((size, 4), "float32"))
        steps = CompiledSteps(outputs, tg.softmax_cross_entropy, optim.Adam(model, lr=0.01), np.dtype("float32"), False)
        found = [steps(X[:n], Y[:n], (None, None), True).number for n in (23, 37)]
        assert (steps.update.stats.traces, steps.update.stats.resized) == (1, 1)
        return found, [entry for known in steps.update._entries.values() for entry in known], outputs.compiled.stats

    own, entries, untouched = step_of([])
    assert untouched.traces == 0
    for sizes in ([23], [41], [41, 23]):
        found, others, stats = step_of(sizes)
        assert found == own and stats.traces == 1
        for a, b in zip(entries, others, strict=True):
            assert a.traced.graph == b.traced.graph and a.graph == b.graph
            assert [eq.scope for eq in a.graph.equations] == [eq.scope for eq in b.graph.equations]


def test_what_a_step_takes_over_is_watched(traces):
    model = normalised()
    outputs = Forward(model)
    outputs.graph(X[:16])
    steps = CompiledSteps(outputs, tg.softmax_cross_entropy, optim.SGD(model, lr=0.0), np.dtype("float32"), False)
    first = steps(X[:16], Y[:16], (None, None), True).number
    model.layers[3].rate = 0.0
    assert steps(X[:16], Y[:16], (None, None), True).number != first
    model.layers[0].weight.assign(tg.zeros((4, 8)))
    model.layers[4].bias.assign(tg.zeros(2))
    assert steps(X[:16], Y[:16], (None, None), True).number == pytest.approx(np.log(2.0), rel=1e-4)
    assert steps.update.stats.traces == 2


# one row --------------------------------------------------------------------------------------------------------------

ONES = {
    "is a mean over them": (lambda x: x * tg.mse(x, x * 0.5), 1),
    "squeezes": (lambda x: x.squeeze().reshape(-1, 4), 2),  # and could ask how many axes there are
    "asks": (lambda x: x * 2.0 if x.shape[0] == 1 else x + 1.0, 2),
    "broadcasts": (lambda x: x * x.mean(axis=1, keepdims=True), 1),
    "spreads": (lambda x: x - x.mean(axis=0), 1),
    "flattens": (lambda x: x.reshape(-1, 2, 2).sum(axis=1), 1),
}  # fmt: skip


@pytest.mark.parametrize("name", ONES)
def test_one_row_is_of_the_same_trace_where_nobody_asks_for_it(name):
    function, programs = ONES[name]
    outputs = Forward(function)
    for n in (1, 23, 1, 2, 37):
        rows = tg.tensor(X[:n])
        np.testing.assert_allclose(outputs(rows).numpy(), function(rows).numpy(), rtol=1e-5, atol=1e-6)
    assert outputs.compiled.stats.traces == programs


def test_what_is_of_one_row_alone_is_traced_so():
    outputs = Forward(lambda x: x.reshape(1, 4) * 2.0)
    assert outputs(tg.tensor(X[:1])).numpy().tolist() == (X[:1] * 2.0).tolist() and not outputs.is_refused


# modes ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("make", "programs"), [(plain, 1), (normalised, 2), (asking, 2)])
def test_the_mode_matters_where_somebody_asks(make, programs):
    model = make()
    run = tg.compile(model)
    for mode in (True, False, True, False):
        model.train(mode)
        x = tg.tensor(X[:8])
        expected = copy.deepcopy(model)(x).numpy()
        np.testing.assert_allclose(run(x).numpy(), expected, rtol=1e-4, atol=1e-5)
    assert run.stats.traces == programs


def test_a_branch_of_other_sizes_may_ask_too():
    drop = nn.Dropout(0.5, seed=0)
    run = tg.compile(lambda x: drop(x) if x.shape[0] > 30 else x * 1.0)
    run(X[:20])
    run(X[:40])
    drop.eval()
    assert run(X[:40]).numpy().tolist() == X[:40].tolist()


def test_marks_come_back_where_nothing_else_has_changed():
    model, detour = normalised(), Detour()
    before = MARK[0]
    marks = []
    for change in (False, False, True, False):
        detour.enter(model.eval)
        marks.append(MARK[0])
        if change:
            model.layers[3].rate = 0.3
        detour.leave(model.train)
        assert (MARK[0] is before) is not change
        before = MARK[0]
    assert marks[0] is marks[1] is marks[2] is not marks[3]
    model.eval()
    before = MARK[0]
    detour.enter(model.eval)
    detour.leave(model.eval)
    assert MARK[0] is before


def test_a_change_of_another_thread_is_never_lost():
    model, detour, kept = plain(), Detour(), []

    def others():
        for n in range(300):
            model.layers[0].note = n
            kept.append(MARK[0])

    thread = threading.Thread(target=others)
    seen = MARK[0]
    thread.start()
    for _ in range(300):
        detour.enter(model.eval)
        detour.leave(model.train)
    thread.join()
    assert len({*map(id, kept)}) > 1 and MARK[0] is not seen


# predictions ----------------------------------------------------------------------------------------------------------


def test_errors_are_the_models_own(traces):
    model = plain()
    for n in range(4):
        for rows in (X[:9, :3], X[:1, :3]):
            with pytest.raises(ValueError) as eager:
                train.predict(model, rows, compile=False)
            with pytest.raises(ValueError) as found:
                train.predict(model, rows)
            assert str(found.value) == str(eager.value)
        np.testing.assert_allclose(
            train.predict(model, X[: n + 1]), train.predict(model, X[: n + 1], compile=False), rtol=1e-4, atol=1e-6
        )
    with pytest.raises(ValueError, match="nan"):
        train.predict(model, np.full((2, 4), np.nan))
    assert model._forward_template.compiled.stats.runs > 1


def test_where_it_is_left_out_or_hooked_nothing_is_traced(traces):
    model, called = plain(), []
    for _ in range(3):
        train.predict(model, X, compile=False)
    handle = model.layers[0].register_forward_hook(lambda module, args, out: called.append(1))
    for _ in range(3):
        train.predict(model, X)
    assert len(called) == 3 and not traces
    handle.remove()
    train.predict(model, X)
    assert traces


def test_what_cannot_be_traced_is_computed(traces):
    class Looking(Model):
        def forward(self, x):
            out = self.layers(x)
            return out if float(out.sum()) < 1e9 else -out

    model = Looking(nn.Linear(4, 2, seed=0))
    for _ in range(4):
        np.testing.assert_array_equal(train.predict(model, X), train.predict(model, X, compile=False))
    assert traces.count("Looking") == 1 and model._forward_template.is_refused


def test_copies_and_files_have_traces_of_their_own(tmp_path, traces):
    model = plain()
    for _ in range(3):
        expected = train.predict(model, X)
    other = copy.deepcopy(model)
    assert not hasattr(other, "_forward_template") and "_forward_template" not in model.__getstate__()
    other.layers[0].weight.assign(tg.zeros((4, 8)))
    for _ in range(3):
        changed = train.predict(other, X)
    np.testing.assert_array_equal(train.predict(model, X), expected)
    np.testing.assert_allclose(changed, train.predict(other, X, compile=False), rtol=1e-4, atol=1e-6)
    assert np.ptp(changed) < np.ptp(expected)
