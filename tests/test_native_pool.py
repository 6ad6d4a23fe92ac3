"""Pools of arrays: memory that comes back is given again, and to nobody who does not ask; arrays are arrays."""

import contextvars
import gc
import os
import pickle
import threading
from pathlib import Path

import numpy as np
import pytest
from child import python
from hypothesis import given
from hypothesis import strategies as st

import tensorgraph as tg
from tensorgraph import nn, optim
from tensorgraph.native import pool as pools
from tensorgraph.native.pool import MOST, Pool

pytestmark = pytest.mark.skipif(not pools.possible(), reason="no pools here")
F4, F8 = np.dtype("float32"), np.dtype("float64")
SPECS = [((100, 100), F4), ((100, 100), F4), ((5000,), F8), ((), F4), ((3, 0), F8)]


def handler_of(array: np.ndarray) -> str:
    core = np._core if hasattr(np, "_core") else np.core
    return str(core.multiarray.get_handler_name(array))


def address(array: np.ndarray) -> int:
    return int(array.__array_interface__["data"][0])


def test_memory_comes_back_and_no_two_arrays_share_it() -> None:
    pool = Pool(SPECS)
    first = pool.arrays()
    assert [(a.shape, a.dtype) for a in first] == SPECS
    assert all(a.flags.owndata and a.flags.writeable and a.flags.c_contiguous and a.base is None for a in first)
    places = sorted(address(a) for a in first if a.nbytes > 8)
    second = pool.arrays()
    assert not {address(a) for a in second if a.size} & {address(a) for a in first if a.size}
    assert pool.kept == 0
    del second
    assert pool.kept == 2 * 40_000 + 40_000 + 4
    del first  # a second set of blocks is given back to NumPy
    assert pool.kept == 2 * 40_000 + 40_000 + 4
    third, fourth = pool.arrays(), pool.arrays()
    assert pool.kept == 0
    assert len({address(a) for a in (*third, *fourth) if a.size}) == 8
    del third, fourth
    assert len(places) == 3


def test_what_is_put_into_an_array_stays_there() -> None:
    pool = Pool(SPECS)
    held = []
    for n in range(20):
        arrays = pool.arrays()
        for array in arrays:
            array[...] = n
        held.append((n, arrays[n % 5]))
    for n, array in held:
        assert np.all(array == n)


@given(st.lists(st.tuples(st.sampled_from(["make", "drop", "resize", "pickle", "view", "turn"]), st.integers(0, 50))))
def test_any_sequence_of_uses_keeps_every_number(actions: list[tuple[str, int]]) -> None:
    pool = Pool([((50,), F8), ((50,), F8), ((20, 3), F4)])
    held: list[tuple[int, np.ndarray]] = []
    for step, (action, which) in enumerate(actions):
        if action == "make":
            for array in pool.arrays():
                array[...] = step
                held.append((step, array))
        elif held:
            number, array = held.pop(which % len(held))
            if action == "resize" and array.base is None:
                size = array.size
                array.resize(size + which * 7, refcheck=False)
                array[size:] = number
            elif action == "pickle":
                array = pickle.loads(pickle.dumps(array))
                assert handler_of(array) == "default_allocator"
            elif action == "view":
                array = array[1:]
            elif action == "turn":
                array = array.reshape(-1)
            if action != "drop":
                held.append((number, array))
        for number, array in held:
            assert np.all(array == number)


def test_arrays_of_the_user_stay_ordinary() -> None:
    pool = Pool(SPECS)
    arrays = pool.arrays()
    assert handler_of(arrays[0]) == "tensorgraph"
    for other in (np.ones(3), arrays[0].copy(), np.negative(arrays[0]), np.empty((100, 100), F4)):
        assert handler_of(other) == "default_allocator"
    core = np._core if hasattr(np, "_core") else np.core
    assert core.multiarray.get_handler_name() == "default_allocator"


def test_a_handler_of_the_users_own_is_asked_first() -> None:
    mine, other = Pool(SPECS), Pool([((100, 100), F4)])
    (array,) = other.arrays()
    del array
    assert other.kept == 40_000 and other._context is not None
    arrays = other._context.run(mine.arrays)  # as it is where somebody has set a handler
    assert other.kept == 0
    del arrays
    assert (mine.kept, other.kept) == (0, 40_000)


def test_a_context_that_is_entered_already_is_left_alone() -> None:
    pool = Pool(SPECS)
    assert pool._context is not None
    arrays = pool._context.run(contextvars.copy_context().run, pool.arrays)
    assert [a.shape for a in arrays] == [shape for shape, _ in SPECS]


def test_arrays_outlive_their_pool_and_it_keeps_nothing_then() -> None:
    pool = Pool(SPECS)
    arrays, more = pool.arrays(), pool.arrays()
    arrays[0][...] = 7
    kept = arrays[0]
    del more
    del pool
    del arrays
    gc.collect()
    assert np.all(kept == 7)
    kept.resize((300, 300), refcheck=False)
    assert np.all(kept[:33] == 7)


def test_a_pool_is_bounded() -> None:
    pool = Pool([((MOST // 4,), F4), ((1000,), F4)])
    large, small = pool.arrays()
    assert (handler_of(large), handler_of(small)) == ("tensorgraph", "tensorgraph")
    del large, small
    assert pool.kept == MOST  # the small one had no room
    assert Pool([((MOST,), F4)])._context is None


def test_a_block_is_zero_where_zeros_are_asked_for() -> None:
    pool = Pool([((1000,), F8)])
    (array,) = pool.arrays()
    array[...] = 5
    del array
    assert pool._context is not None
    assert not np.any(pool._context.run(np.zeros, 1000))


def test_many_threads_make_and_drop_arrays_of_many_pools() -> None:
    made = [Pool(SPECS) for _ in range(3)]
    wrong: list[object] = []

    def work(seed: int) -> None:
        rng = np.random.default_rng(seed)
        held: list[tuple[int, np.ndarray]] = []
        for n in range(300):
            for array in made[rng.integers(3)].arrays():
                array[...] = seed * 1000 + n
                held.append((seed * 1000 + n, array))
            while len(held) > 20:
                number, array = held.pop(rng.integers(len(held)))
                if not np.all(array == number):
                    wrong.append((seed, n))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_process_ends_well_with_arrays_alive(tmp_path: Path) -> None:
    code = """
import numpy as np
from tensorgraph.native.pool import Pool
pool = Pool([((1000, 100), np.dtype("float32"))])
first, second = pool.arrays(), pool.arrays()
del second
class Late:
    def __del__(self, held=pool.arrays()):
        held = None
late = Late()
late.itself = late
print("end")
"""
    assert python("-c", code, cwd=tmp_path).stdout.strip() == "end"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_child_has_a_pool_of_its_own(tmp_path: Path) -> None:
    code = """
import os
import numpy as np
from tensorgraph.native.pool import Pool
pool = Pool([((1000, 100), np.dtype("float32"))])
(a,) = pool.arrays()
a[...] = 1
child = os.fork()
if not child:
    (b,) = pool.arrays()
    b[...] = 2
    ok = np.all(a == 1)
    del a
    (c,) = pool.arrays()
    c[...] = 3
    os._exit(0 if ok and np.all(b == 2) else 1)
_, status = os.waitpid(child, 0)
(b,) = pool.arrays()
print(status, np.all(a == 1))
"""
    assert python("-c", code, cwd=tmp_path).stdout.split() == ["0", "True"]


def training(compiled: bool) -> tuple[nn.Module, optim.Optimizer, object]:
    model = nn.Sequential(nn.Linear(300, 200, seed=0), nn.ReLU(), nn.Linear(200, 100, seed=1))
    adam = optim.Adam(model, lr=0.01)

    def step(x: tg.Tensor, y: tg.Tensor) -> tg.Tensor:
        loss = tg.mse(model(x), y)
        adam.zero_grad()
        loss.backward()
        adam.step()
        return loss

    return model, adam, tg.compile(step) if compiled else step


def test_gradients_that_a_long_step_leaves_are_of_a_pool_and_stay_what_they_are() -> None:
    rng = np.random.default_rng(0)
    data = [(rng.normal(size=(500, 300)).astype("f4"), rng.normal(size=(500, 100)).astype("f4")) for _ in range(4)]
    (model, _, step), (other, _, eager) = training(True), training(False)
    kept = []
    for x, y in data:
        loss, expected = step(x, y), eager(x, y)  # type: ignore[operator]
        np.testing.assert_allclose(loss.item(), expected.item(), rtol=1e-5)
        for mine, theirs in zip(model.parameters(), other.parameters(), strict=True):
            assert mine.grad is not None and theirs.grad is not None
            kept.append((mine.grad, mine.grad.numpy().copy()))
            scale = np.abs(theirs.grad.numpy()).max()
            np.testing.assert_allclose(mine.grad.numpy(), theirs.grad.numpy(), atol=1e-4 * scale)
    assert handler_of(model.parameters()[0].grad._value) == "tensorgraph"  # type: ignore[union-attr]
    for tensor, copied in kept:
        np.testing.assert_array_equal(tensor.numpy(), copied)


def test_the_gradients_of_a_long_step_are_computed_where_they_are_given() -> None:
    model, _, step = training(True)
    step(np.ones((500, 300), "f4"), np.ones((500, 100), "f4"))  # type: ignore[operator]
    runner = step._latest().runner  # type: ignore[attr-defined]
    weights = {tuple(var.aval.shape) for var in runner.plan.fresh.values()}
    assert weights == {(300, 200), (200, 100)}
    assert isinstance(model, nn.Module)
