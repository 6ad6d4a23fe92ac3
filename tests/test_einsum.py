"""einsum beside NumPy's: random subscripts, every form of writing them, orders, what is refused."""

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies

import tensorgraph as tg
from tensorgraph.ops.kernels.contraction import plan
from tensorgraph.ops.paths import path_of
from tests.effort import examples


def random_call(rng: np.random.Generator, most: int = 3) -> tuple[str, list[np.ndarray[Any, Any]]]:
    """Subscripts and operands: repeated letters, axes of size 1, ellipses, letters summed alone, any order."""
    letters = list("abcdE")
    sizes = dict(zip(letters, rng.integers(2, 5, len(letters)), strict=True))
    terms, arrays = [], []
    dots = rng.random() < 0.3
    widest = 0
    for _ in range(rng.integers(1, most + 1)):
        chosen = [letters[i] for i in rng.integers(0, len(letters), rng.integers(0, 4))]
        own = {c: 1 if rng.random() < 0.1 else sizes[c] for c in chosen}
        shape, term = [own[c] for c in chosen], "".join(chosen)
        if dots and rng.random() < 0.7:
            width = int(rng.integers(0, 3))
            widest = max(widest, width)
            at = int(rng.integers(0, len(chosen) + 1))
            shape[at:at] = [1 if rng.random() < 0.2 else n for n in (3, 2)[2 - width :]]
            term = f"{term[:at]}...{term[at:]}"
        terms.append(term)
        arrays.append(rng.standard_normal(shape))
    text = ",".join(terms)
    if rng.random() < 0.7:
        present = sorted({c for t in terms for c in t if c != "."})
        rng.shuffle(present)
        output = "".join(present[: rng.integers(0, len(present) + 1)])
        text += "->" + ("..." if widest else "") + output
    return text, arrays


@examples(60)
@given(seed=strategies.integers(0, 10_000))
def test_numpys_values_gradients_of_two_orders_traces_and_batches(seed: int) -> None:
    rng = np.random.default_rng(seed)
    text, arrays = random_call(rng)
    expected = np.einsum(text, *arrays)
    out = tg.einsum(text, *arrays)
    assert out.shape == expected.shape
    assert np.allclose(out.numpy(), expected, rtol=1e-13, atol=1e-12), text
    weights = rng.standard_normal(expected.shape)

    def loss(*xs: Any) -> Any:
        return (tg.einsum(text, *xs) * weights).sum()

    places = tuple(range(len(arrays)))
    found = tg.grad(loss, places)(*arrays)
    directions = [rng.standard_normal(a.shape) for a in arrays]
    for i, g in enumerate(found):  # linear in each operand
        moved = [a + directions[i] if k == i else a for k, a in enumerate(arrays)]
        change = float(loss(*moved)) - float(loss(*arrays))
        assert abs(float((g.numpy() * directions[i]).sum()) - change) < 1e-10, (text, i)

    def slope(*xs: Any) -> Any:
        return sum((tg.grad(loss, places)(*xs)[i] * directions[i]).sum() for i in places)

    second = tg.grad(slope, places)(*arrays)
    for i, g in enumerate(second):
        moved = [a + directions[i] if k == i else a for k, a in enumerate(arrays)]
        change = float(slope(*moved)) - float(slope(*arrays))
        assert abs(float((g.numpy() * directions[i]).sum()) - change) < 1e-9, (text, i)
    graph = tg.trace(lambda *xs: tg.einsum(text, *xs), *arrays)
    assert tg.parse(str(graph)) == graph
    assert np.array_equal(graph(*arrays).numpy(), out.numpy())
    on = [int(rng.integers(0, 2)) for _ in arrays]
    on[0] = 1
    many = [np.stack([a, 2 * a]) if o else a for a, o in zip(arrays, on, strict=True)]
    batch = tg.vmap(lambda *xs: tg.einsum(text, *xs), tuple(0 if o else None for o in on))(*many)
    loop = [np.einsum(text, *[m[k] if o else m for m, o in zip(many, on, strict=True)]) for k in range(2)]
    assert np.allclose(batch.numpy(), np.stack(loop), rtol=1e-13, atol=1e-12), text


@pytest.mark.parametrize("dtype", ["f16", "f32", "i32", "u8", "bool"])
@pytest.mark.parametrize("text", ["ij,jk->ik", "ij,ij->i", "ij,jk,kl", "ii", "ij->j", "i,j->ij", "ij,ij->j"])
def test_dtypes_are_numpys(dtype: str, text: str) -> None:
    rng = np.random.default_rng(0)
    tensors = [tg.tensor(rng.integers(0, 3, (3, 3)[: len(t)]), dtype) for t in text.split("->")[0].split(",")]
    expected = np.einsum(text, *[x.numpy() for x in tensors])
    out = tg.einsum(text, *tensors)
    assert out.dtype == expected.dtype and np.array_equal(out.numpy(), expected)


def test_every_way_of_writing_it() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 3)), rng.standard_normal((3, 4))
    for call in (
        ("ij,jk->ik", a, b), (" i j , j k -> i k ", a, b), ("ij,jk", a, b), (a, [0, 1], b, [1, 2], [0, 2]),
        (a, [0, 1], b, [1, 2]), (a, [0, 51], b, [51, np.int64(2)], [0, 2]), ("...j,jk->...k", a, b),
        (a, [Ellipsis, 1], b, [1, 2], [Ellipsis, 2]), ("zA,AB->zB", a, b), ("BA,AC", a, b),
    ):  # fmt: skip
        assert np.allclose(tg.einsum(*call).numpy(), np.einsum(*call), atol=1e-14)
        recorded = np.einsum(*[tg.tensor(x) if isinstance(x, np.ndarray) else x for x in call])
        assert isinstance(recorded, tg.Tensor) and np.array_equal(recorded.numpy(), tg.einsum(*call).numpy())
    assert np.array_equal(tg.einsum("ij->ij", a).numpy(), a)
    assert float(tg.einsum(",", 2.0, 3.0)) == 6.0 and float(tg.einsum("", 2.0)) == 2.0


def test_what_it_is_recorded_as() -> None:
    spec = tg.spec((3, 3))

    def ops(text: str, *types: Any) -> list[str]:
        return [eq.op.name for eq in tg.trace(lambda *xs: tg.einsum(text, *xs), *types).equations]

    assert ops("ij,jk", spec, spec) == ["matmul"]
    assert ops("ij->ji", spec) == ["transpose"]
    assert ops("ij->", spec) == ["sum"]
    assert ops("ii", spec) == ["reindex"]
    assert ops("ij,kj->ik", spec, spec) == ["contract_axes"]
    assert ops("ij,jk,k->i", spec, spec, tg.spec((3,))) == ["contract_axes", "contract_axes"]


@pytest.mark.parametrize("optimize", [False, True, "greedy", "optimal", ("greedy", 10**6), [(0, 1, 2, 3)],
                                      ["einsum_path", (2, 3), (0, 1), (0, 1)], [(1,), (0, 3, 2), (0, 1)]])  # fmt: skip
def test_orders_give_one_result(optimize: Any) -> None:
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(s) for s in ((2, 3), (3, 4), (4, 5), (5, 3))]
    text = "ij,jk,kl,lj->i"
    out = tg.einsum(text, *arrays, optimize=optimize)
    assert np.allclose(out.numpy(), np.einsum(text, *arrays), rtol=1e-12)


def test_numpys_own_paths_are_taken() -> None:
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(s) for s in ((2, 3), (3, 4), (4, 5), (5, 3))]
    path, _ = np.einsum_path("ij,jk,kl,lm->im", *arrays, optimize="optimal")
    out = tg.einsum("ij,jk,kl,lm->im", *arrays, optimize=path)
    assert np.allclose(out.numpy(), np.linalg.multi_dot(arrays))


def cost(path: Any, operands: tuple[str, ...], output: str, sizes: dict[str, int]) -> int:
    left, total = [set(t) for t in operands], 0
    for i, j in path:
        both = left[i] | left[j]
        total += int(np.prod([sizes[c] for c in both]))
        left = [t for k, t in enumerate(left) if k not in (i, j)]
        left.append(both & {*output}.union(*left))
    return total


def test_the_order_is_the_cheapest() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        sizes = {c: int(rng.integers(1, 20)) for c in "abcdef"}
        operands = tuple("".join(rng.choice(list("abcdef"), 2, replace=False)) for _ in range(4))
        output = operands[0][0]
        key = tuple(sizes.items())
        best = cost(path_of(operands, output, key, "auto"), operands, output, sizes)

        def every(left: int) -> Any:
            if left == 1:
                yield ()
                return
            for j in range(left):
                for i in range(j):
                    for rest in every(left - 1):
                        yield ((i, j), *rest)

        assert best == min(cost(p, operands, output, sizes) for p in every(4))
        assert cost(path_of(operands, output, key, "greedy"), operands, output, sizes) >= best


def test_many_operands_and_a_plan_found_once() -> None:
    chain = [tg.ones((2, 2)) for _ in range(20)]
    letters = "abcdefghijklmnopqrstuvwxyz"
    text = ",".join(letters[i : i + 2] for i in range(20))
    assert float(tg.einsum(text + "->", *chain)) == 2.0**21
    before = plan.cache_info().misses
    tg.einsum(text + "->", *chain)
    assert plan.cache_info().misses == before


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (("ij,jk", (2, 2), (3, 4)), "einsum('ij,jk') of shapes (2, 2), (3, 4): 'j' has size 2 in operand 0 and 3 in"),
        (("i", (2, 3)), "operand 0, 'i', has letters for 1 axes, and its shape (2, 3) has 2; '...' stands for"),
        (("ijk", (2, 3)), "operand 0, 'ijk', has letters for 3 axes, and its shape (2, 3) has 2"),
        (("ii", (2, 3)), "'i' names two axes of operand 0, of sizes 2 and 3"),
        (("ij->ik", (2, 3)), "the output has 'k', which no operand has"),
        (("ij->ii", (2, 3)), "the output has 'i' twice"),
        (("i,j", (2,)), "the subscripts are for 2 operands, 1 came"),
        (("i..j", (2, 3)), "has a '.' that is no part of one ellipsis"),
        (("i1", (2, 3)), "has '1'; an axis is a letter"),
        (("...i->i", (2, 3)), "the output says nothing of the axes that '...' stands for; write '->...i'"),
        (((2, 3), [0, 60]), "an axis of operand 0 is 60, which is not between 0 and 51"),
        (((2, 3), [0, "a"]), "an axis of operand 0 is an integer or Ellipsis, got 'a'"),
        (((2, 3), 5), "the axes of operand 0 are a list of integers, got int"),
        (("...,...", (2, 3), (4,)), "has size 3 in operand 0 and 4 in operand 1"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_quoted(call: Any, words: str) -> None:
    args = [np.ones(v) if isinstance(v, tuple) else v for v in call]
    with pytest.raises((ValueError, TypeError), match=re.escape(words)):
        tg.einsum(*args)


def test_orders_that_are_none() -> None:
    x = tg.ones((2, 2))
    for optimize, words in (
        ("best", "optimize must be"),
        ([(0, 1)], "leaves 2"),
        ([(0, 7)], "step"),
        ([0, 1], "a step"),
    ):
        with pytest.raises((ValueError, TypeError), match=words):
            tg.einsum("ij,jk,kl", x, x, x, optimize=optimize)
    with pytest.raises(ValueError, match="no operand"):
        tg.einsum("ij")


def test_long_sums_keep_their_digits() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.random((40_000, 3), np.float32), rng.random((40_000, 3), np.float32)
    for text in ("ij,ij->j", "ij,ij->", "ij->j", "ij,i->j"):
        arrays = [a, b[:, 0] if text == "ij,i->j" else b][: text.count(",") + 1]
        exact = np.einsum(text, *[x.astype(np.float64) for x in arrays])
        assert np.allclose(tg.einsum(text, *arrays).numpy(), exact, rtol=8 * 2**-23), text
