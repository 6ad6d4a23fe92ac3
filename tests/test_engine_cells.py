"""Cells are copy-on-write: what was read before an update keeps its numbers; in place only where nobody else looks."""

import copy
import pickle
import re
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tensorgraph as tg

HOLDERS: dict[str, Callable[[Any], Any]] = {
    "read": lambda w: w.read(),
    "detach": lambda w: w.detach(),
    "numpy": lambda w: w.numpy(),
    "asarray": np.asarray,
    "view of numpy": lambda w: w.numpy()[::2],
    "memoryview": lambda w: memoryview(w.numpy()),
    "reshape": lambda w: w.reshape(2, 2),
    "transpose": lambda w: w.reshape(2, 2).T,
    "getitem": lambda w: w[1:],
    "broadcast": lambda w: tg.broadcast_to(w, shape=(3, 4)),
    "split": lambda w: tg.split(w, sizes=(2, 2)),
    "alias": lambda w: tg.alias(w),
    "expand_dims": lambda w: tg.expand_dims(w, axis=0),
    "flip": lambda w: tg.flip(w),
    "dlpack": lambda w: np.from_dlpack(w),
    "copy": lambda w: copy.copy(w),
    "deepcopy": lambda w: copy.deepcopy(w),
    "tensor": lambda w: tg.tensor(w),
    "tensor without copy": lambda w: tg.tensor(w.numpy(), copy=False),
    "another cell": lambda w: tg.Buffer(w),
    "gradient": lambda w: tg.gradients((w * 1.0).sum(), w) if w.requires_grad else w.read(),
    "iteration": list,
}


def numbers(held: Any) -> Any:
    if isinstance(held, (tuple, list)):
        return [numbers(h) for h in held]
    return np.array(held.numpy() if isinstance(held, tg.Tensor) else held).tolist()


@pytest.mark.parametrize("cell", [tg.Parameter, tg.Buffer])
@pytest.mark.parametrize("name", list(HOLDERS))
def test_what_was_read_keeps_its_numbers(name: str, cell: Any) -> None:
    w = cell(np.arange(4.0))
    held = HOLDERS[name](w)
    before = numbers(held)
    for step in range(3):
        w.assign(w.numpy() + 10.0)
        assert numbers(held) == before, f"after assign {step + 1}"
    assert w.tolist() == [30.0, 31.0, 32.0, 33.0]
    kept = w.read()
    w.exclusive()[...] = -1.0  # an update kernel's way in
    assert numbers(held) == before and kept.tolist() == [30.0, 31.0, 32.0, 33.0]
    assert w.tolist() == [-1.0] * 4


def test_saved_values_survive_an_update() -> None:
    w = tg.Parameter([2.0, 3.0])
    for wrap in (lambda t: t, lambda t: t.read(), lambda t: t.reshape(2, 1).reshape(2)):
        w.assign([2.0, 3.0])
        w.zero_grad()
        loss = (wrap(w) * w * w).sum()
        w.assign([100.0, 100.0])
        w.assign([200.0, 200.0])
        loss.backward()
        assert w.grad.tolist() == [12.0, 27.0]


def test_a_buffer_as_an_operand_survives_too() -> None:
    x = tg.tensor([1.0, 1.0], requires_grad=True)
    b = tg.Buffer([2.0, 3.0])
    loss = (x * b).sum()
    b.assign([0.0, 0.0])
    loss.backward()
    assert x.grad.tolist() == [2.0, 3.0]


def test_written_in_place_only_when_unshared() -> None:
    w = tg.Parameter(np.zeros(4))
    own = weakref.ref(w._value)
    w.assign(np.ones(4))
    assert own() is w._value, "an unshared cell is written in place"
    held = w.numpy()
    w.assign(np.full(4, 2.0))
    assert own() is not w._value and held.tolist() == [1.0] * 4
    del held
    now = weakref.ref(w._value)
    w.assign(np.full(4, 3.0))
    assert now() is w._value


def test_training_steps_write_in_place() -> None:
    """A forward, a backward and an update leave nobody holding the old array."""
    w = tg.Parameter(np.ones(4))
    own = weakref.ref(w._value)
    for _ in range(3):
        w.zero_grad()
        (w * w).sum().backward()
        w.assign(w.numpy() - 0.1 * w.grad.numpy())
    assert own() is w._value


def test_assigning_what_overlaps() -> None:
    w = tg.Parameter(np.arange(4.0))
    w.assign(w.numpy()[::-1])
    assert w.tolist() == [3.0, 2.0, 1.0, 0.0]
    w.assign(tg.flip(w))
    assert w.tolist() == [0.0, 1.0, 2.0, 3.0]
    w.assign(w)
    w.assign(w.read())
    assert w.tolist() == [0.0, 1.0, 2.0, 3.0]


def test_the_assigned_array_stays_the_callers() -> None:
    w = tg.Parameter(np.zeros(2))
    keep = w.read()  # shared, so that assign replaces
    array = np.array([1.0, 2.0])
    w.assign(array)
    array[:] = 9
    assert w.tolist() == [1.0, 2.0] and keep.tolist() == [0.0, 0.0]
    w.assign(np.array([5.0, 6.0]))
    assert array.tolist() == [9.0, 9.0]
    other = tg.Parameter(np.zeros(2))
    hold = other.read()
    other.assign(w)
    w.assign([7.0, 7.0])
    assert other.tolist() == [5.0, 6.0] and hold.tolist() == [0.0, 0.0]


def test_gradients_arrive_at_the_cell_whatever_was_assigned() -> None:
    w = tg.Parameter(2.0)
    before = w * w
    w.assign(5.0)
    (before + w * 3).backward()
    assert float(w.grad) == 7.0


@pytest.mark.parametrize("make", [tg.Parameter, tg.Buffer])
def test_assign_refuses_what_does_not_fit(make: Any) -> None:
    w = make(np.zeros(2, np.float32))
    with pytest.raises(ValueError, match=r"shape \(3,\)"):
        w.assign(np.zeros(3, np.float32))
    with pytest.raises(TypeError, match=r"float64.*astype"):
        w.assign(np.zeros(2))
    with pytest.raises((TypeError, ValueError)):
        w.assign("1.5")
    with pytest.raises((TypeError, ValueError)):
        w.assign([1j, 2j])
    assert w.tolist() == [0.0, 0.0]
    w.assign([1.5, 2.5])
    assert w.dtype == np.float32 and w.tolist() == [1.5, 2.5]


def test_assign_never_wraps_or_truncates() -> None:
    for start, value in ((np.uint8(1), 300), (np.uint8(1), -1), (np.int64(1), 2.7), (np.True_, 2), (np.int8(0), 200)):
        cell = tg.Buffer(start)
        with pytest.raises((TypeError, ValueError, OverflowError)):
            cell.assign(value)
        assert cell.item() == start.item()
    cell = tg.Buffer(np.uint8(1))
    cell.assign(255)
    assert cell.item() == 255


def test_integers_and_flags_of_cells() -> None:
    with pytest.raises(TypeError, match="only float tensors"):
        tg.Parameter([1, 2])
    with pytest.raises(TypeError, match="Buffer is never differentiated"):
        tg.Buffer([1.0]).requires_grad_()
    w = tg.Parameter([1.0])
    w.requires_grad_(False)
    assert not (w * 2).requires_grad
    w.requires_grad_()
    (w * 2).sum().backward()
    assert w.grad.tolist() == [2.0]


@pytest.mark.parametrize("how", [copy.copy, copy.deepcopy, lambda c: pickle.loads(pickle.dumps(c))])
def test_copies_of_cells(how: Callable[[Any], Any]) -> None:
    for cell in (
        tg.Parameter([1.0, 2.0], name="w"),
        tg.Parameter([1.0], requires_grad=False),
        tg.Buffer([3], name="b"),
    ):
        other = how(cell)
        assert type(other) is type(cell) and other.tolist() == cell.tolist() and other.dtype == cell.dtype
        assert other.name == cell.name and other.requires_grad == cell.requires_grad
        other.assign(other.numpy() * 0)
        assert other.tolist() != cell.tolist()


def test_cells_do_not_take_traced_values() -> None:
    with pytest.raises(tg.TraceError, match="before tracing"):
        tg.trace(lambda x: tg.Parameter(x) * 2, tg.f32[2])


@pytest.mark.parametrize("symbol", ["+", "-", "*", "/", "//", "%", "**", "@", "&", "|", "^", "<<", ">>"])
@pytest.mark.parametrize("make", [tg.Parameter, tg.Buffer])
def test_an_operator_in_place_of_a_cell_is_refused(symbol: str, make: Any) -> None:
    cell = make([1.0, 2.0], name="w")
    held = [cell]
    layer = tg.nn.Linear(2, 2)
    for statement in (f"p {symbol}= 1.0", f"held[0] {symbol}= 1.0", f"layer.weight {symbol}= 1.0"):
        for context in (tg.no_grad, tg.enable_grad):
            with context(), pytest.raises(TypeError, match=rf"p\.assign\(p {re.escape(symbol)} "):
                exec(statement, {"p": cell, "held": held, "layer": layer})
    with pytest.raises(TypeError, match=r"p\.assign"):
        tg.trace(lambda: exec(f"p {symbol}= 1.0", {"p": cell}))
    assert held[0] is cell and cell.tolist() == [1.0, 2.0]


def test_an_operator_in_place_of_a_tensor_gives_the_name_to_a_new_one() -> None:
    x = first = tg.tensor([1.0, 2.0], requires_grad=True)
    x += 1
    x *= 2
    x.sum().backward()
    assert x.tolist() == [4.0, 6.0] and first.tolist() == [1.0, 2.0] and first.grad.tolist() == [2.0, 2.0]
    layer = tg.nn.BatchNorm(2)
    layer.decay *= 0.5
    assert layer.decay == 0.45
