"""Equality of graphs: what they compute, in whichever order cells, writes and constants are listed."""

from dataclasses import replace
from typing import Any

import numpy as np

import tensorgraph as tg
from tensorgraph import nn, optim


def test_equality_ignores_the_order_of_cells_writes_and_constants() -> None:
    model = nn.Sequential(nn.Linear(3, 4, seed=0), nn.BatchNorm(4), nn.Linear(4, 2, seed=1))
    optimizer = optim.Momentum(model, 0.1)
    left, right = np.arange(6.0, dtype="f4").reshape(2, 3), np.full((2, 3), 2.0, "f4")

    def step(x: Any) -> Any:
        loss = (model(x * tg.tensor(left) + tg.tensor(right)) ** 2).mean()
        optimizer.minimize(loss)
        return loss

    graph = tg.trace(step, tg.f32[2, 3])
    assert len(graph.cells) > 10 and len(graph.writes) > 5 and len(graph.consts) == 2
    assert len({decl.aval for decl in graph.cells}) < len(graph.cells)  # some could be taken for each other
    rng = np.random.default_rng(0)
    for _ in range(5):
        cells = [graph.cells[i] for i in rng.permutation(len(graph.cells))]
        writes = [graph.writes[i] for i in rng.permutation(len(graph.writes))]
        other = graph.replace(
            cells=tuple(cells), writes=tuple(writes), consts=dict(reversed(list(graph.consts.items())))
        ).check()
        assert other == graph and hash(other) == hash(graph)
        assert str(other).partition(") ->")[0] == str(graph).partition(") ->")[0]  # files list cells by path
        assert tg.parse(str(other), arrays=[left, right]) == graph

    first, second, *rest = graph.writes
    alike = next(w for w in rest if w.cell.aval == first.cell.aval)
    crossed = (replace(first, value=alike.value), replace(alike, value=first.value))
    assert graph.replace(writes=(*crossed, second, *[w for w in rest if w is not alike])).check() != graph
    a, b = graph.consts.items()
    assert graph.replace(consts={a[0]: b[1], b[0]: a[1]}).check() != graph
    weight, other = (decl for decl in graph.cells if decl.path in ("optimizer.lr", "optimizer.beta"))
    renamed = {weight.path: replace(weight, path=other.path), other.path: replace(other, path=weight.path)}
    assert graph.replace(cells=tuple(renamed.get(decl.path, decl) for decl in graph.cells)).check() != graph


def test_equal_constants_are_one() -> None:
    ones = [np.ones(3, "f4") for _ in range(2)]
    one = tg.trace(lambda x: x * tg.tensor(ones[0]) + tg.tensor(ones[1]), tg.f32[3])
    shared = tg.tensor(ones[0])
    assert len(one.consts) == 2 and one == tg.trace(lambda x: x * shared + shared, tg.f32[3])
    assert one != tg.trace(lambda x: x * shared + tg.tensor(2 * ones[0]), tg.f32[3])

    # but what a gradient is asked about is itself
    p, q = (tg.tensor(ones[0], requires_grad=True) for _ in range(2))
    apart = tg.trace(lambda: tg.gradients((p * q).sum(), [p]))
    assert apart == tg.trace(lambda: tg.gradients((p * shared).sum(), [p]))
    assert apart != tg.trace(lambda: tg.gradients((p * p).sum(), [p]))
    both = tg.trace(lambda: tg.gradients((p * q * q).sum(), [p, q]))
    assert both == tg.trace(lambda: tg.gradients((q * p * p).sum(), [q, p]))
    assert both != tg.trace(lambda: tg.gradients((p * q * q).sum(), [q, p]))
