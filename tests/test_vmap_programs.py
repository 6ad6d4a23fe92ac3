"""`tg.vmap` of random programs: values, states and gradients of a loop over them, whatever is mapped and how."""

import numpy as np
from effort import examples
from hypothesis import assume, given
from hypothesis import strategies as st

import tensorgraph as tg
from tensorgraph.engine.tree import flatten, unflatten
from tensorgraph.testing import Program, programs
from tensorgraph.testing.programs.program import quiet


def near(array, rng):
    """Other numbers, not far away, so that all are inside the domain."""
    return array if array.dtype.kind != "f" else array * (1 + 1e-3 * rng.normal(size=array.shape))


def draw_arguments(program, data):
    """Rows of leaves, the axis of each or None, and the arguments with all rows side by side."""
    rng = np.random.default_rng(0)
    one = [np.asarray(t.numpy()) for t in flatten(program.tensors())[0]]
    size = data.draw(st.integers(1, 3), label="size")
    axes = [data.draw(st.sampled_from([0, None, -1, a.ndim]), label="axis") for a in one]
    assume(any(axis is not None for axis in axes))
    rows = [[a if axis is None else near(a, rng) for a, axis in zip(one, axes, strict=True)] for _ in range(size)]
    columns = list(zip(*rows, strict=True))
    many = [c[0] if k is None else np.stack(c, k) for c, k in zip(columns, axes, strict=True)]
    return rows, axes, many


def assert_near(found, turns, ends=0):
    leaves, tree = flatten(found)
    ends = [ends] * len(leaves) if isinstance(ends, int) else ends
    rows = [flatten(turn)[0] for turn in turns]
    assert all(flatten(turn)[1] == tree for turn in turns)
    for i, (got, end) in enumerate(zip(leaves, ends, strict=True)):
        expected = np.stack(
            [np.asarray(row[i].numpy() if isinstance(row[i], tg.Tensor) else row[i]) for row in rows], end
        )
        assert got.shape == expected.shape
        scale = 1.0 + np.abs(expected.astype(np.float64)).max(initial=0)
        np.testing.assert_allclose(got.numpy(), expected, rtol=1e-8, atol=1e-9 * scale)


@examples(60)
@given(programs(smooth=True), st.data())
def test_a_mapped_program_is_a_loop(program: Program, data):
    rows, axes, many = draw_arguments(program, data)
    tree = flatten(list(program.examples))[1]

    def nest(leaves):
        return unflatten(tree, [tg.tensor(a) for a in leaves])

    in_axes = unflatten(tree, axes)
    looped, mapped, traced = program.make(), program.make(), program.make()
    graph = program.graph()
    random = {c.path for c in graph.cells if c.aval == tg.u64[3]}
    names = {decl.var: decl.path for decl in graph.cells}
    assume({names[write.cell] for write in graph.writes} <= random)
    with quiet():
        turns = [looped.function(*nest(row)) for row in rows]
        results = flatten(turns[0])[0]
        ends = [data.draw(st.sampled_from([0, -1]), label="end") for _ in results]
        out_axes = unflatten(flatten(turns[0])[1], ends)
        try:
            found = tg.vmap(mapped.function, in_axes, out_axes)(*nest(many))
        except tg.TraceError as error:
            assume("backward() inside vmap" not in str(error))
            raise
        assert_near(found, turns, ends)
        for path, cell in looped.cells.items():
            np.testing.assert_array_equal(cell.numpy(), mapped.cells[path].numpy())
        whole = tg.trace(tg.vmap(traced.function, in_axes, out_axes), *nest(many))
        assert tg.parse(str(whole), arrays=list(whole.consts.values())) == whole if not whole.consts else True
        state = traced.state()
        again = (
            whole(*nest(many), state={decl.path: state[decl.path] for decl in whole.cells})
            if whole.cells
            else whole(*nest(many))
        )
        assert_near(again[0] if whole.cells else again, turns, ends)


@examples(40)
@given(programs(smooth=True), st.data())
def test_gradients_of_a_mapped_program_are_those_of_a_loop(program: Program, data):
    rows, axes, many = draw_arguments(program, data)
    tree = flatten(list(program.examples))[1]
    floats = program.floats
    assume(floats)
    graph = program.graph()
    random = {c.path for c in graph.cells if c.aval == tg.u64[3]}
    names = {decl.var: decl.path for decl in graph.cells}
    assume({names[write.cell] for write in graph.writes} <= random)

    def nest(leaves):
        return unflatten(tree, [tg.tensor(a) for a in leaves])

    def total(function):
        def loss(*args):
            leaves = [t for t in flatten(function(*args))[0] if isinstance(t, tg.Tensor) and t.dtype.kind == "f"]
            return sum((tg.sin(t).sum().astype("float64") for t in leaves), tg.zeros((), dtype="float64"))

        return loss

    in_axes = unflatten(tree, axes)
    looped, mapped, outside = program.make(), program.make(), program.make()
    with quiet():
        one = tg.grad(total(looped.function), floats)
        turns = [one(*nest(row)) for row in rows]
        try:
            found = tg.vmap(tg.grad(total(mapped.function), floats), in_axes)(*nest(many))
        except tg.TraceError as error:
            assume("backward() inside vmap" not in str(error))
            raise
        assert_near(found, turns)
        # and the gradient through the loop: what is the same for all adds up
        all_of = tg.grad(lambda *args: tg.vmap(total(outside.function), in_axes)(*args).sum(), floats)(*nest(many))
    for got, each, axis in zip(
        flatten(all_of)[0],
        zip(*[flatten(turn)[0] for turn in turns], strict=True),
        [axis for i in floats for axis in flatten_axes(in_axes[i], program.examples[i])],
        strict=True,
    ):
        arrays = [t.numpy() for t in each]
        expected = np.sum(arrays, 0) if axis is None else np.stack(arrays, axis)
        scale = 1.0 + np.abs(expected).max(initial=0)
        np.testing.assert_allclose(got.numpy(), expected, rtol=1e-7, atol=1e-8 * scale)


def flatten_axes(axes, example):
    """The axis of each leaf; None is a container of nothing elsewhere."""
    if isinstance(axes, (list, tuple)):
        return [axis for a, e in zip(axes, example, strict=True) for axis in flatten_axes(a, e)]
    if isinstance(axes, dict):
        return [axis for key, a in axes.items() for axis in flatten_axes(a, example[key])]
    return [axes]
