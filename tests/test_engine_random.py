"""Random draws: reproducible, independent of each other, in range, of the right distribution."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import tensorgraph as tg


def test_a_seed_gives_the_same_numbers_and_draws_differ() -> None:
    a, b = tg.random.Generator(7), tg.random.Generator(7)
    first = [a.normal((3,)).tolist(), a.uniform((3,)).tolist(), a.permutation(5).tolist()]
    assert first == [b.normal((3,)).tolist(), b.uniform((3,)).tolist(), b.permutation(5).tolist()]
    assert a.normal((3,)).tolist() != first[0]
    assert tg.random.Generator(8).normal((3,)).tolist() != first[0]
    tg.random.seed(0)
    one = tg.random.uniform((2,)).tolist()
    tg.random.seed(0)
    assert tg.random.uniform((2,)).tolist() == one


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_ranges_and_moments(dtype: Any) -> None:
    g = tg.random.Generator(1)
    u = g.uniform((100_000,), dtype).numpy()
    assert u.dtype == dtype and (u >= 0).all() and (u < 1).all()
    assert abs(u.astype(np.float64).mean() - 0.5) < 0.01 and abs(u.astype(np.float64).var() - 1 / 12) < 0.005
    z = g.normal((100_000,), dtype).numpy().astype(np.float64)
    assert np.isfinite(z).all() and abs(z.mean()) < 0.02 and abs(z.std() - 1) < 0.02
    assert abs(np.corrcoef(z[:-1], z[1:])[0, 1]) < 0.02


def test_permutations() -> None:
    g = tg.random.Generator(2)
    assert sorted(g.permutation(100).tolist()) == list(range(100))
    assert g.permutation(0).tolist() == [] and g.permutation(1).tolist() == [0]


def test_draws_do_not_overlap() -> None:
    g = tg.random.Generator(3)
    draws = np.concatenate([g.uniform((1000,), "float64").numpy() for _ in range(20)])
    assert len(set(draws.tolist())) == len(draws)


def test_a_draw_is_pure() -> None:
    state = tg.random.key(5)
    u, after = tg.CATALOGUE["uniform"].public(state, shape=(3,))
    again, _ = tg.CATALOGUE["uniform"].public(state, shape=(3,))
    assert u.tolist() == again.tolist() and not np.array_equal(after.numpy(), state) and not u.requires_grad


def test_refusals() -> None:
    for seed in (-1, 1.5, True, "a", None):
        with pytest.raises((ValueError, TypeError), match="seed"):
            tg.random.seed(seed)
    for shape in ((-1,), (1.5,), "a", (True,)):
        with pytest.raises((ValueError, TypeError)):
            tg.random.uniform(shape)
    for dtype in ("int64", "bool", "complex64"):
        with pytest.raises((ValueError, TypeError)):
            tg.random.uniform((3,), dtype)
    for n in (-1, 1.5, None):
        with pytest.raises((ValueError, TypeError)):
            tg.random.permutation(n)
    with pytest.raises((ValueError, TypeError), match="random state"):
        tg.CATALOGUE["uniform"].public(np.zeros(3), shape=(2,))


def test_a_refused_draw_does_not_advance() -> None:
    g = tg.random.Generator(4)
    before = g.state.tolist()
    with pytest.raises((ValueError, TypeError)):
        g.uniform((-1,))
    assert g.state.tolist() == before


def test_the_seed_that_is_written_down_is_numpys() -> None:
    words = np.random.SeedSequence(0).generate_state(2, np.uint64)
    assert tg.random.key(0).tolist() == [*words.tolist(), 0]


def test_a_draw_is_that_of_a_new_generator() -> None:
    """Whatever was drawn before, in other shapes and dtypes, and in other threads."""
    uniform, permutation = tg.CATALOGUE["uniform"].public, tg.CATALOGUE["permutation"].public

    def same(_: int = 0) -> bool:
        for n in (0, 1, 2**40):
            state = np.array([5, 7, n], np.uint64)
            for dtype in ("float32", "float64"):
                new = np.random.Generator(np.random.Philox(key=state[:2], counter=[0, 0, n, 0]))
                u, after = uniform(state, shape=(3,), dtype=dtype)
                if u.numpy().tobytes() != new.random(3, np.dtype(dtype).type).tobytes() or after.tolist()[2] != n + 1:
                    return False
            new = np.random.Generator(np.random.Philox(key=state[:2], counter=[0, 0, n, 0]))
            if permutation(state, n=7)[0].tolist() != new.permutation(7).tolist():
                return False
        return True

    assert same()
    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(same, range(40)))


def test_many_states_draw_at_once_what_each_draws_alone():
    states = np.stack([[tg.random.key(i + 2 * j) for i in range(2)] for j in range(3)])
    for draw in (
        lambda s: tg.uniform(s, shape=(4,)), lambda s: tg.normal(s, shape=(2, 3), dtype="float64"),
        lambda s: tg.uniform(s, shape=(), dtype="float16"), lambda s: tg.permutation(s, n=5),
    ):  # fmt: skip
        together, after = draw(states)
        for place in np.ndindex(3, 2):
            alone, then = draw(states[place])
            assert together.dtype == alone.dtype
            np.testing.assert_array_equal(together.numpy()[place], alone.numpy())
            np.testing.assert_array_equal(after.numpy()[place], then.numpy())
        assert draw(states[:0])[0].shape[:2] == (0, 2)


def test_turns_are_the_states_of_a_loop():
    state, found = tg.random.key(5), []
    for _ in range(4):
        found.append(state)
        for _ in range(3):
            _, state = tg.uniform(state, shape=())
    states, after = tg.turns(tg.random.key(5), size=4, draws=3)
    np.testing.assert_array_equal(states.numpy(), np.stack([np.asarray(s) for s in found]))
    np.testing.assert_array_equal(after.numpy(), np.asarray(state))
    with pytest.raises(ValueError, match=r"a random state is u64\[3\]"):
        tg.turns(np.zeros(3), size=1, draws=1)
