"""What puts arrays into places of others, takes rows and adds rows, compared with the ops' forwards."""

import numpy as np
import pytest
from regions_running import run_rule

import tensorgraph as tg
from tensorgraph.graph.forms import array_function
from tensorgraph.graph.graph import Var
from tensorgraph.native import machine

WAYS = [64, 32, *([0] if machine.available() else [])]
RNG = np.random.default_rng(0)
TABLE = RNG.normal(size=(9, 21))
IDS = np.array([[0, 8, 3], [3, 3, 1]])

MOVES = [
    lambda x: tg.concatenate([x, x * 2, x[:, :0]], axis=1),
    lambda x: tg.concatenate([x, x[:3]], axis=0),
    lambda x: tg.stack([x, x + x], axis=0),
    lambda x: tg.stack([x, x + x, x], axis=-1),
    lambda x: tg.stack([x, x + x], axis=1),
    lambda x: tg.stack([x[0, 0], x[1, 1]]),
    lambda x: tg.concatenate([x.T, x.T[::-1]], axis=1),
    lambda x: tg.concatenate([tg.reshape(x, (1, 3, 3, 7, 3))] * 2, axis=3),
    lambda x: tg.pad(x, ((1, 0), (2, 17))),
    lambda x: tg.pad(x, ((0, 0), (0, 0)), value=1.0),
    lambda x: tg.pad(x[::-1, ::2], 3, value=1.0),
    lambda x: tg.pad(x[:0], ((1, 0), (0, 0)), value=1.0),
    lambda x: x.at[2:5, ::3].set(x[2:5, ::3]),
    lambda x: x.at[..., -1].set(x[0, 0]),
    lambda x: x.at[None, 3].set(x[:1]),
]  # fmt: skip


def last_of(function, *args):
    """The equation that makes the result, what it reads, and what its forward gives."""
    graph = tg.trace(function, *args)
    values = {**dict(zip(graph.inputs, args, strict=True)), **graph.consts}

    def value(atom):
        if isinstance(atom, tuple):
            return [value(one) for one in atom]
        return values[atom] if isinstance(atom, Var) else atom.value

    for eq in graph.equations:
        inputs = [value(atom) for atom in eq.inputs]
        found = array_function(eq)(*inputs)
        values.update(zip(eq.outputs, found if isinstance(found, tuple) else (found,), strict=False))
    return graph.equations[-1], values, np.asarray(values[graph.outputs[0]])


@pytest.mark.parametrize("width", WAYS)
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "bool"])
@pytest.mark.parametrize("move", MOVES)
def test_moves(move, dtype, width):
    x = (TABLE * 3).astype(dtype)
    if dtype == "bool" and move in MOVES[:3]:
        move = lambda x: tg.concatenate([x, x], axis=1)
    eq, values, expected = last_of(move, x)
    for blocks in (None, 3):
        (found,) = run_rule(eq, values, width, blocks)
        np.testing.assert_array_equal(found, expected, strict=True)


@pytest.mark.parametrize("width", WAYS)
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
def test_rows_of_a_table(dtype, width):
    x = (TABLE * 3).astype(dtype)
    functions = [
        lambda x, i: x[i],
        lambda x, i: x[i[:, 1:]],
        lambda x, i: x[i.T],
        lambda x, i: x[:, 0][i],
        lambda x, i: x.T[::-1].T[i - 9 * (i > 5)],
        tg.embedding,
    ]
    for function in functions if dtype != "int64" else functions[:-1]:
        eq, values, expected = last_of(function, x, IDS)
        found = run_rule(eq, values, width)
        if found is None:
            assert not values[eq.inputs[0]].flags.c_contiguous
            continue
        np.testing.assert_array_equal(found[0], expected, strict=True)


@pytest.mark.parametrize("width", WAYS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_labels_become_rows(dtype, width):
    for ids in (IDS, IDS[0, 0], np.zeros((0,), int)):
        for classes in (9, 40):
            eq, values, expected = last_of(lambda i, n=classes: tg.one_hot(i, n, dtype=dtype), np.asarray(ids))
            (found,) = run_rule(eq, values, width)
            np.testing.assert_array_equal(found, expected, strict=True)
    eq, _, _ = last_of(lambda i: tg.one_hot(i, 9), IDS)
    with pytest.raises(ValueError, match="no class"):
        run_rule(eq, {eq.inputs[0]: IDS + 1}, width)


@pytest.mark.parametrize("width", WAYS)
def test_numbers_of_no_row_are_found_first(width):
    x = TABLE.astype("float32")
    for function, wrong in [(lambda x, i: x[i], 9), (lambda x, i: x[i], -10), (tg.embedding, -1), (tg.embedding, 9)]:
        ids = IDS.copy()
        eq, values, _ = last_of(function, x, ids)
        ids[1, 1] = wrong
        with pytest.raises(ValueError, match="out of bounds"):
            run_rule(eq, values, width)


@pytest.mark.parametrize("width", WAYS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("count", [0, 3, 64, 65, 500])
def test_rows_added_at_places(count, dtype, width):
    ids = np.random.default_rng(1).integers(-9, 9, count)
    g = (np.random.default_rng(2).normal(size=(count, 21)) + 100).astype(dtype)
    x = TABLE.astype(dtype)
    graph = tg.trace(tg.grad(lambda x, ids, g: (x[ids] * g).sum()), x, ids, g).transform()
    (eq,) = [eq for eq in graph.equations if eq.op.name == "scatter_add"]
    values = {eq.inputs[0]: g, **dict.fromkeys(eq.inputs[1], ids)}
    found = run_rule(eq, values, width)
    if not count:
        assert found is None
        return
    expected, scale = np.zeros((9, 21), np.longdouble), np.zeros((9, 21), np.longdouble)
    np.add.at(expected, ids, g.astype(np.longdouble))
    np.add.at(scale, ids, np.abs(g).astype(np.longdouble))
    assert (np.abs(found[0] - expected) <= 4 * np.finfo(dtype).eps * scale).all()


@pytest.mark.parametrize("width", WAYS)
def test_what_is_not_finite_is_added_where_it_belongs(width):
    for dtype in ("float32", "float64"):
        g = np.ones((70, 5), dtype)
        g[3, 1], g[4, 2], g[69, 2] = np.inf, np.nan, -np.inf
        ids = np.arange(70) % 7
        x = TABLE[:, :5].astype(dtype)
        graph = tg.trace(tg.grad(lambda x, ids, g: (x[ids] * g).sum()), x, ids, g).transform()
        (eq,) = [eq for eq in graph.equations if eq.op.name == "scatter_add"]
        (found,) = run_rule(eq, {eq.inputs[0]: g, **dict.fromkeys(eq.inputs[1], ids)}, width)
        expected = np.zeros((9, 5), dtype)
        np.add.at(expected, ids, g)
        np.testing.assert_array_equal(found, expected)


@pytest.mark.skipif(not machine.available(), reason=str(machine.reason()))
def test_slices_lead_back_to_zeros_with_what_came():
    x = TABLE.astype("float32")
    graph = tg.trace(tg.grad(lambda x: (x[1:7:2, 3:] * x[1:7:2, 3:]).sum()), x).transform()
    (eq,) = [eq for eq in graph.equations if eq.op.name == "scatter_add"]
    g = np.ones((3, 18), "float32")
    (found,) = run_rule(eq, {eq.inputs[0]: g})
    expected = np.zeros_like(x)
    expected[1:7:2, 3:] = 1
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("width", WAYS)
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
def test_a_reshape_that_is_no_view_is_a_copy(dtype, width):
    x = RNG.normal(size=(3, 4, 18)).astype(dtype)
    for move in (
        lambda x: tg.reshape(x.transpose(1, 0, 2), (4, 54)),
        lambda x: tg.reshape(x.transpose(2, 0, 1), (-1,)),
        lambda x: tg.reshape(x[::-1, ::2], (6, 18)),
        lambda x: tg.reshape(x[:, :, ::-1], (12, 18)),
        lambda x: tg.reshape(x.transpose(0, 2, 1)[:, 1:], (17, 12)),
        lambda x: tg.reshape(x[:0].transpose(1, 0, 2), (0, 9)),
    ):
        eq, values, expected = last_of(move, x)
        assert eq.op.name == "reshape"
        for blocks in (None, 3):
            (found,) = run_rule(eq, values, width, blocks)
            np.testing.assert_array_equal(found, expected, strict=True)
