"""Small steps on three cells, for tests of plans: who reads what, and when it is written."""

from collections.abc import Callable
from typing import Any

import numpy as np

import tensorgraph as tg


class Cells:
    """Three cells, two of one type."""

    def __init__(self) -> None:
        self.a = tg.Buffer(np.arange(12, dtype="float32").reshape(3, 4), name="a")
        self.b = tg.Buffer(np.arange(12, dtype="float32").reshape(3, 4) - 20, name="b")
        self.n = tg.Buffer(np.int64(3), name="n")


def swap(c: Cells, x: Any) -> Any:
    a, b = c.a.read(), c.b.read()
    c.a.assign(b)
    c.b.assign(a)


def swap_of_sums(c: Cells, x: Any) -> Any:
    a, b = c.a + x, c.b * x
    c.a.assign(b)
    c.b.assign(a)


def same_twice(c: Cells, x: Any) -> Any:
    c.a.assign(c.a * c.a)
    return c.b + c.b


def view_returned(c: Cells, x: Any) -> Any:
    before = c.a.read()
    c.a.assign(c.a + x)
    return before[1:, ::2], before.T


def given_and_written(c: Cells, x: Any) -> Any:
    y = c.a + x
    c.a.assign(y)
    return y, y.T


def written_twice(c: Cells, x: Any) -> Any:
    y = c.a - x
    c.a.assign(y)
    c.b.assign(y)


def argument_returned(c: Cells, x: Any) -> Any:
    c.a.assign(x)
    return x, x[::-1], tg.zeros((3, 0)), 2.5


def own_transposition(c: Cells, x: Any) -> Any:
    c.a.assign(c.a.T.reshape(3, 4))
    c.b.assign(c.a[::-1])


def nothing(c: Cells, x: Any) -> Any:
    c.a.assign(c.a.read())
    c.n.assign(7)
    return c.n


def read_late(c: Cells, x: Any) -> Any:
    """What a cell held is read by what comes after the new value is computed."""
    a = c.a.read()
    y = a + x
    z = tg.exp(a * y)
    c.a.assign(y)
    c.n.assign(c.n + 1)
    return z * a


def chain(c: Cells, x: Any) -> Any:
    y = c.a * x
    for _ in range(5):
        y = y + c.b
        y = y * y
    c.a.assign(y - x)
    return (y + x).sum()


@tg.op("given_back_in_plans(x)", vjp=dict(x=None), infer_rule=lambda x: x)
def given_back(x):
    """An op on NumPy whose result is its input."""
    return x


tg.remove_op("given_back_in_plans")  # others go through the whole catalogue


def moved_on(c: Cells, x: Any) -> Any:
    c.b.assign(c.a)
    c.a.assign(c.a + x)


def kept_on_numpy(c: Cells, x: Any) -> Any:
    """NumPy keeps what lies in memory that kernels use again."""
    y = (c.a + x) * x
    kept = given_back(y)
    held = given_back(c.a.read())
    z = y * x + c.b
    for _ in range(3):
        z = z * z[::-1] - x
    c.a.assign(z)
    return kept, held, tg.exp(kept)


def with_itself(c: Cells, x: Any) -> Any:
    """A kernel reads one buffer twice, otherwise the second time: it cannot be written over."""
    y = c.a + x
    y = y * y[::-1]
    y = y + y[:, ::-1]
    c.a.assign(y - y[::-1])
    c.b.assign(c.b * c.b[::-1])


STEPS = [
    moved_on,
    kept_on_numpy,
    with_itself,
    swap,
    swap_of_sums,
    same_twice,
    view_returned,
    given_and_written,
    written_twice,
    argument_returned,
    own_transposition,
    nothing,
    read_late,
    chain,
]


def traced(step: Callable[..., Any], c: Cells) -> tuple[Any, list[Any]]:
    graph = tg.trace(lambda x: step(c, x), np.zeros((3, 4), "float32"))
    cells = {cell.path: cell for cell in vars(c).values()}
    return graph, [cells[decl.path] for decl in graph.cells]


def arguments() -> list[Any]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, 4)).astype("float32")
    wide = rng.normal(size=(3, 8)).astype("float32")
    raw = np.zeros(3 * 4 * 4 + 1, np.uint8)
    unaligned = raw[1:].view("float32").reshape(3, 4)
    unaligned[...] = x
    return [x, wide[:, ::2], x[::-1], np.asfortranarray(x), unaligned, x]
