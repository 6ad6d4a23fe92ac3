"""Gradients that compiled steps leave: written where they are, where nobody sees it, and what was kept stays."""

import gc
import signal
import threading
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tensorgraph as tg
from tensorgraph import nn, optim
from tensorgraph.compile import cell_memory, selection
from tensorgraph.engine.tensor import wrap
from tensorgraph.native import machine

pytestmark = pytest.mark.skipif(not machine.available(), reason=str(machine.reason()))

RNG = np.random.default_rng(0)
XS = [RNG.normal(size=(8, 6)).astype(np.float32) for _ in range(4)]
Y = RNG.integers(0, 3, 8)


class Pair:
    """A step of a network, compiled, and the same of an equal network, eager."""

    def __init__(self, make: Callable[[Any, Any], Any], **options: Any) -> None:
        self.models = [nn.Sequential(nn.Linear(6, 5, seed=0), nn.Tanh(), nn.Linear(5, 3, seed=1)) for _ in range(2)]
        self.eager, step = (make(m, optim.Adam(m, lr=0.01)) for m in self.models)
        self.compiled = tg.compile(step, **options)
        self.parameters = [*self.models[1].parameters()]
        self.number = 0

    def run(self) -> None:
        """One step of both, on other numbers than the last, and their gradients compared."""
        x = tg.tensor(XS[self.number % len(XS)])
        self.number += 1
        near(self.eager(x, Y), self.compiled(x, Y))
        for a, b in zip(self.models[0].parameters(), self.parameters, strict=True):
            assert a.grad is not None and b.grad is not None
            near(a.grad, b.grad)
            near(a, b)

    def arrays(self) -> list[int]:
        """Where the gradients are."""
        return [id(node(p).grad._value) for p in self.parameters]


def node(parameter: Any) -> Any:
    return parameter._node


def near(a: Any, b: Any) -> None:
    a, b = np.asarray(a.numpy()), np.asarray(b.numpy())
    assert np.isfinite(a).all() and a.dtype == b.dtype and a.shape == b.shape
    np.testing.assert_allclose(b, a, rtol=2e-5, atol=1e-5)


def stepping(model: Any, optimizer: Any) -> Any:
    def step(x: Any, y: Any) -> Any:
        loss = tg.softmax_cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return step


def adding(model: Any, optimizer: Any) -> Any:
    def step(x: Any, y: Any) -> Any:
        loss = tg.softmax_cross_entropy(model(x), y)
        loss.backward()
        return loss

    return step


@pytest.fixture(params=[stepping, adding])
def pair(request: Any) -> Pair:
    made = Pair(request.param)
    for _ in range(3):
        made.run()
    assert is_short(made)
    return made


def is_short(pair: Pair) -> bool:
    entry = pair.compiled._latest()
    return not entry.has_grads and bool(getattr(entry.runner, "is_short", False))


def test_headers_of_leaves_are_read_here() -> None:
    assert cell_memory.gradients_are_known()


def test_gradients_are_written_where_they_are(pair: Pair) -> None:
    tensors, arrays = [id(node(p).grad) for p in pair.parameters], pair.arrays()
    for _ in range(3):
        pair.run()
        assert pair.arrays() == arrays and [id(node(p).grad) for p in pair.parameters] == tensors


HOLDS: dict[str, Callable[[Any], Any]] = {
    "tensor": lambda grad: grad,
    "array": lambda grad: grad._value,
    "numpy": lambda grad: grad.numpy(),
    "view": lambda grad: grad._value[:1],
    "transposed": lambda grad: grad._value.T,
    "bytes": lambda grad: memoryview(grad._value),
    "detached": lambda grad: grad.detach(),
    "sliced": lambda grad: grad[:1],
    "reshaped": lambda grad: grad.reshape(-1),
    "dlpack": lambda grad: np.from_dlpack(grad),
}


@pytest.mark.parametrize("way", HOLDS)
def test_what_was_kept_keeps_its_numbers(pair: Pair, way: str) -> None:
    kept = [HOLDS[way](p.grad) for p in pair.parameters]
    numbers = [np.array(k.numpy() if isinstance(k, tg.Tensor) else k) for k in kept]
    for _ in range(2):
        pair.run()
        for k, before in zip(kept, numbers, strict=True):
            np.testing.assert_array_equal(np.array(k.numpy() if isinstance(k, tg.Tensor) else k), before)
    del kept
    arrays = pair.arrays()
    pair.run()
    assert pair.arrays() == arrays


def test_a_weak_reference_never_sees_other_numbers(pair: Pair) -> None:
    reference = weakref.ref(node(pair.parameters[0]).grad)
    pair.run()
    gc.collect()
    assert reference() is None


def test_gradients_that_were_cleared_are_made_anew(pair: Pair) -> None:
    for p in pair.parameters:
        node(p).grad = None
    for p in pair.models[0].parameters():
        node(p).grad = None
    pair.run()
    arrays = pair.arrays()
    for _ in range(3):
        pair.run()
    assert len({*arrays}) == len(arrays) and pair.arrays() == arrays


@pytest.mark.parametrize("kind", ["ordinary", "shared", "read-only", "strided", "part", "parameter", "history"])
def test_gradients_that_were_replaced(pair: Pair, kind: str) -> None:
    whole = np.full((30, 30), 0.5, np.float32)
    kept = []
    for model in pair.models:
        for p in model.parameters():
            value: Any = np.full(p.shape, 0.5, np.float32)
            if kind == "read-only":
                value.flags.writeable = False
            elif kind == "strided":
                value = np.full(p.shape[::-1], 0.5, np.float32).T
            elif kind == "part":
                value = whole[(0,) * (2 - p.ndim) + tuple(slice(n) for n in p.shape)]
            tensor = tg.Parameter(value) if kind == "parameter" else wrap(value)
            if kind == "history":
                tensor = (tg.tensor(value, requires_grad=True) * 1.0) if model is pair.models[1] else tensor
            node(p).grad = tensor
            if kind == "shared":
                kept.append(value)
    pair.run()
    assert (whole == 0.5).all() and all((k == 0.5).all() for k in kept)
    pair.run()


def test_two_leaves_with_one_gradient() -> None:
    a, b = tg.Parameter([1.0, 2.0], name="a"), tg.Parameter([3.0, 4.0], name="b")

    @tg.compile
    def step(x: Any) -> Any:
        loss = ((a + b) * x).sum()
        a.grad = b.grad = None
        loss.backward()
        return loss

    for n in range(4):
        x = tg.tensor([1.0 + n, 3.0])
        step(x)
        ga, gb = node(a).grad, node(b).grad
        assert ga.tolist() == gb.tolist() == [1.0 + n, 3.0]
        assert not np.shares_memory(ga._value, gb._value) and not np.shares_memory(ga._value, x._value)
        if n == 1:
            node(a).grad = gb  # one tensor for both
        del ga, gb


def test_a_result_that_is_a_gradient_is_its_own() -> None:
    w = tg.Parameter([1.0, 2.0], name="w")

    @tg.compile
    def step(x: Any) -> Any:
        w.grad = None
        (w * w * x).sum().backward()
        return w.grad

    results = [step(tg.tensor([float(n), 1.0])) for n in range(4)]
    assert [r.tolist() for r in results] == [[2.0 * n, 4.0] for n in range(4)]
    assert w.grad is not None and w.grad.tolist() == [6.0, 4.0]
    assert not any(np.shares_memory(node(w).grad._value, r._value) for r in results)


@pytest.mark.parametrize("state", ["as it was", "kept", "cleared"])
def test_an_error_changes_nothing(state: str) -> None:
    pair = Pair(stepping)
    for _ in range(2):
        pair.run()
    assert is_short(pair)
    kept = [p.grad for p in pair.parameters] if state == "kept" else []
    if state == "cleared":
        for p in pair.parameters:
            node(p).grad = None
    before = [None if (g := node(p).grad) is None else (id(g), g._value.copy()) for p in pair.parameters]
    for _ in range(2):
        with pytest.raises(ValueError, match="class index"):
            pair.compiled(tg.tensor(XS[0]), np.full(8, 7))
        for p, old in zip(pair.parameters, before, strict=True):
            grad = node(p).grad
            assert (grad is None) == (old is None)
            if old is not None:
                assert id(grad) == old[0]
                np.testing.assert_array_equal(grad._value, old[1])
            del grad
    del kept
    pair.run()


def test_ctrl_c_leaves_all_gradients_or_none(pair: Pair) -> None:
    """Where all are made anew, which is more than one call of machine code."""
    pressed: list[int] = []
    renew = cell_memory.Binding.renew

    def press(self: Any) -> Any:
        tensors = renew(self)
        signal.raise_signal(signal.SIGINT)
        pressed.append(1)
        return tensors

    kept = [p.grad for p in pair.parameters]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cell_memory.Binding, "renew", press)
        with pytest.raises(KeyboardInterrupt):
            pair.compiled(tg.tensor(XS[3]), Y)
    assert pressed == [1]
    assert all(node(p).grad is not old for p, old in zip(pair.parameters, kept, strict=True))
    pair.eager(tg.tensor(XS[3]), Y)
    pair.run()


def test_other_threads_read_whole_gradients() -> None:
    """All numbers of a gradient are one and the same here; what a thread took stays as it is."""
    w = tg.Parameter(np.zeros(4096, np.float32), name="w")

    @tg.compile
    def step(x: Any) -> Any:
        w.grad = None
        loss = (w * x).sum()
        loss.backward()
        return loss

    step(0.5)
    faults: list[Any] = []
    over = threading.Event()

    def read() -> None:
        while not over.is_set():
            grad = w.grad
            assert grad is not None
            first = grad._value.copy()
            if (first != first[0]).any() or (grad._value != first).any():
                faults.append(first)

    def clear() -> None:
        while not over.is_set():
            node(w).grad = tg.tensor(np.zeros(4096, np.float32))

    threads = [threading.Thread(target=read), threading.Thread(target=clear)]
    for thread in threads:
        thread.start()
    for n in range(2000):
        step(float(n))
    over.set()
    for thread in threads:
        thread.join()
    assert not faults
    step(3.0)
    assert w.grad is not None and w.grad.tolist() == [3.0] * 4096


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_shapes_without_elements_without_axes_and_no_finite_numbers(dtype: str) -> None:
    parameters = [tg.Parameter(np.ones(shape, dtype), name=f"p{n}") for n, shape in enumerate([(), (0, 3), (2, 3)])]

    @tg.compile
    def step(x: Any) -> Any:
        loss = sum((p * x).sum() for p in parameters)
        for p in parameters:
            p.grad = None
        loss.backward()
        return loss

    for value in (1.0, np.nan, np.inf, -0.0, 2.0):
        step(tg.tensor(value, dtype=dtype))
        for p in parameters:
            assert p.grad is not None and p.grad.dtype == dtype
            np.testing.assert_array_equal(p.grad.numpy(), np.full(p.shape, value, dtype))


def test_kernels_are_checked_where_there_are_gradients() -> None:
    pair = Pair(stepping, check=True)
    for _ in range(3):
        pair.run()
    assert is_short(pair)


@pytest.mark.parametrize("as_array", [False, True])
def test_a_gradient_that_is_an_argument_is_read_before_it_is_replaced(as_array: bool) -> None:
    w = tg.Parameter([1.0, 2.0, 3.0], name="w")

    @tg.compile
    def step(g: Any) -> Any:
        w.grad = None
        loss = (w * tg.flip(g, 0)).sum()
        loss.backward()
        return loss + 0 * g.sum()

    first = tg.tensor([1.0, 5.0, 7.0])
    step(first)
    for n in range(4):
        expected = [7.0, 5.0, 1.0] if n % 2 else [1.0, 5.0, 7.0]
        step(node(w).grad._value if as_array else w.grad)
        assert w.grad is not None and w.grad.tolist() == expected
    assert first.tolist() == [1.0, 5.0, 7.0]


def test_while_a_long_step_runs_the_last_gradients_are_as_they_were() -> None:
    """Other threads may read them then: they are replaced at its end."""
    w = tg.Parameter(np.ones((256, 256), np.float32), name="w")

    @tg.compile
    def step(x: Any) -> Any:
        w.grad = None
        loss = (tg.tanh(x @ w) ** 2).sum()
        loss.backward()
        return loss

    x = tg.tensor(RNG.normal(size=(2048, 256)).astype(np.float32))
    step(x)
    entry = step._latest()
    assert entry.has_grads and not entry.runner.is_short
    kept = node(w).grad._value
    numbers = kept.copy()
    step(-2 * x)
    np.testing.assert_array_equal(kept, numbers)
    assert (node(w).grad._value != numbers).any()


@pytest.mark.parametrize("added", [False, True], ids=["replaced", "added to"])
def test_a_step_that_is_no_short_tape_is_planned_once(added: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    planned = []
    asked = selection.Selection
    monkeypatch.setattr(selection, "Selection", lambda *args: planned.append(args) or asked(*args))
    models = [nn.Sequential(nn.Linear(6, 700, seed=0), nn.Tanh(), nn.Linear(700, 3, seed=1)) for _ in range(2)]

    def step_of(model: Any) -> Any:
        def step(x: Any) -> Any:
            if not added:
                model.zero_grad()
            loss = (model(x) ** 2).mean()
            loss.backward()
            return loss

        return step

    eager, compiled = step_of(models[0]), tg.compile(step_of(models[1]))
    for n in (900, 800, 801):
        before = len(planned)
        x = tg.tensor(RNG.normal(size=(n, 6)).astype(np.float32))
        near(eager(x), compiled(x))
        for a, b in zip(models[0].parameters(), models[1].parameters(), strict=True):
            near(a.grad, b.grad)
        assert compiled._latest().has_grads and not compiled._latest().runner.is_short
        assert len(planned) == before + 1


def test_gradients_of_arguments_are_added_to_those_that_are_there() -> None:
    def plain(x: tg.Tensor) -> None:
        (x**2).sum().backward()

    def cleared(x: tg.Tensor) -> None:
        x.grad = None
        (x**2).sum().backward()

    def read(x: tg.Tensor) -> tg.Tensor:
        before = 0.0 if x.grad is None else x.grad.sum()
        (x**2).sum().backward()
        return x.detach() + before

    for function in (plain, cleared, read):
        seen: list[list[Any]] = []
        for step in (function, tg.compile(function)):
            x, found = tg.tensor(np.ones((2, 3), np.float32), requires_grad=True), []
            for k in range(5):
                result = step(x)
                found += [x.grad.numpy(), 0.0 if result is None else result.detach().numpy()]
                if k == 3:
                    x.grad = None
            seen.append(found)
        for expected, given in zip(*seen, strict=True):
            np.testing.assert_array_equal(given, expected)


def test_one_tensor_given_twice_has_both_gradients() -> None:
    """As two arguments, and as an argument and a tensor that the function holds."""
    held = tg.tensor(np.arange(3.0), requires_grad=True)

    def two(a: Any, b: Any) -> None:
        (a * b * b).sum().backward()

    def with_held(a: Any) -> None:
        (a * held * 2).sum().backward()

    for f, calls in ((two, [(held, None), (held, held), (None, held)]), (with_held, [(None,), (held,), (None,)])):
        compiled = tg.compile(f)
        for call in calls:
            found = []
            for run in (f, compiled):
                held.grad = None
                others = [tg.tensor(np.ones(3) + n, requires_grad=True) if a is None else a for n, a in enumerate(call)]
                run(*others)
                found.append([a.grad.numpy().tolist() for a in (*others, held) if a.grad is not None])
            assert found[0] == found[1]


def test_the_gradient_of_an_argument_goes_on_to_what_it_was_computed_from() -> None:
    def f(x: Any) -> None:
        (x**2).sum().backward()

    for run in (f, tg.compile(f)):
        for computed in (False, True, False):
            leaf = tg.tensor(np.ones(3), requires_grad=True)
            run(leaf * 2 if computed else leaf)
            assert leaf.grad is not None and leaf.grad.numpy().tolist() == [8.0 if computed else 2.0] * 3
