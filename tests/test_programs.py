"""Random whole programs: run, traced, evaluated and bound, they give the same to the last bit, derivatives included."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from effort import examples
from hypothesis import assume, given
from hypothesis import strategies as st

import tensorgraph as tg
from tensorgraph.engine.declare import op
from tensorgraph.engine.op import creation, index, listing, shape
from tensorgraph.engine.tree import flatten
from tensorgraph.graph import Graph
from tensorgraph.graph.graph import Literal, Var
from tensorgraph.testing import Program, assert_close, assert_same, programs, random_program
from tensorgraph.testing.programs.program import Made, drawable, quiet

STEPS = 4
# there are a hundred ops and forms, so a few programs say little
MANY = examples(80)


def arrays(tree: Any) -> list[np.ndarray]:
    return [leaf.numpy() if isinstance(leaf, tg.Tensor) else np.asarray(leaf) for leaf in flatten(tree)[0]]


def assert_trees_same(got: Any, expected: Any, what: str) -> None:
    """The same numbers, dtypes, shapes and structure."""
    assert flatten(got)[1] == flatten(expected)[1], f"{what}: {flatten(got)[1]}, expected {flatten(expected)[1]}"
    for g, e in zip(arrays(got), arrays(expected), strict=True):
        assert_same(g, e, what)


def assert_gradients_same(got: Any, expected: Any, program: Program, what: str) -> None:
    """The same, but for last digits where a checkpoint adds up what a graph, which has it inlined, adds in turn."""
    if "checkpoint(" not in program.text:
        assert_trees_same(got, expected, what)
        return
    assert flatten(got)[1] == flatten(expected)[1], what
    for g, e in zip(arrays(got), arrays(expected), strict=True):
        assert_close(g, e, ulps=16, reason="contributions are added up in another order", what=what)


def states(made: Made) -> dict[str, tg.Tensor]:
    return {path: tg.tensor(a) for path, a in made.state().items()}


# results -----------------------------------------------------------------------------------------------------------


@given(programs() | programs(wild=True))
@MANY
def test_a_program_traced_is_the_program(program: Program) -> None:
    graph = program.graph().check()
    with quiet():
        eager, found = program.function(*program.tensors()), graph(*program.tensors())
        assert_trees_same(found, eager, "the traced program")
    assert [v.aval for v in graph.inputs] == flatten(list(program.specs))[0]
    assert tg.trace(program.function, *program.tensors()) == graph


@given(programs())
def test_numbers_stay_finite(program: Program) -> None:
    for array in arrays(program()):
        assert np.isfinite(array).all()


# derivatives -------------------------------------------------------------------------------------------------------


@given(programs(differentiable=True) | programs(differentiable=True, wild=True))
@MANY
def test_the_gradient_traced_is_the_gradient(program: Program) -> None:
    gradient = tg.value_and_grad(program.function, program.floats)
    with quiet():
        eager = gradient(*program.tensors())
        graph = tg.trace(gradient, *program.specs).check()
        assert_trees_same(graph(*program.tensors()), eager, "the traced gradient")
        # the gradient through an evaluated graph is the function's own
        through = tg.value_and_grad(program.graph(), program.floats)(*program.tensors())
        assert_gradients_same(through, eager, program, "the gradient through the graph")
    for number, g in zip(program.floats, eager[1], strict=True):
        shapes = [(a.shape, a.dtype) for a in flatten(program.examples[number])[0]]
        assert [(a.shape, a.dtype) for a in arrays(g)] == shapes


# sixth-order central differences of a function of one number
STENCIL = ((-3, -1 / 60), (-2, 3 / 20), (-1, -3 / 4), (1, 3 / 4), (2, -3 / 20), (3, 1 / 60))


def difference(function: Callable[[float], float], step: float) -> float:
    return sum(weight * function(multiple * step) for multiple, weight in STENCIL) / step


@given(programs(smooth=True), st.integers(0, 2**16))
@MANY
def test_the_gradient_is_the_derivative(program: Program, seed: int) -> None:
    """Along a random direction, in float64, wherever two step widths agree on what the derivative is."""
    rng = np.random.default_rng(seed)
    with quiet():
        tensors = program.tensors()
        grads = tg.grad(program.function, program.floats)(*tensors)
        flat = [(n, a) for n in program.floats for a in flatten(program.examples[n])[0]]
        ways = [rng.normal(size=a.shape) for _, a in flat]
        slope = sum(float((w * g).sum()) for w, g in zip(ways, arrays(grads), strict=True))

        def along(t: float) -> float:
            moved = iter([a + t * w for (_, a), w in zip(flat, ways, strict=True)])
            args = list(program.examples)
            for n in program.floats:
                args[n] = tg.tree_map(lambda a: tg.tensor(next(moved)), args[n])
            return float(program.function(*[tg.tree_map(tg.tensor, a) for a in args]))

        coarse, fine = difference(along, 1e-4), difference(along, 2.5e-5)
    assert np.isfinite([slope, coarse, fine]).all()
    noise = abs(coarse - fine)
    scale = 1.0 + abs(slope)
    assume(noise <= 1e-6 * scale)  # else a kink lies between the points
    assert abs(slope - fine) <= 1e-7 * scale + 10 * noise, f"{slope}, by differences {fine} and {coarse}"


# state -------------------------------------------------------------------------------------------------------------


def play(run: Callable[..., Any], made: Made, program: Program) -> list[tuple[Any, dict[str, np.ndarray]]]:
    """What each step gives, and the cells after it."""
    history = []
    for number in range(STEPS):
        out = run(*program.tensors(number))
        history.append((out, made.state()))
    return history


@given(programs(state=True) | programs(state=True, wild=True))
def test_steps_on_live_cells_on_a_state_and_bound(program: Program) -> None:
    with quiet():
        made = program.make()
        eager = play(made.function, made, program)

        made = program.make()
        before = made.state()
        graph = tg.trace(made.function, *program.specs).check()
        assert_trees_same(made.state(), before, "a cell after tracing")
        bound = play(graph.bind(), made, program)
        assert_trees_same(bound, eager, "the bound graph")

        paths = {decl.path for decl in graph.cells}
        state = {path: value for path, value in states(program.make()).items() if path in paths}
        for number, (out, after) in enumerate(eager):
            found = graph(*program.tensors(number), state=state)
            if not graph.cells:
                found = found, {}
            assert_trees_same(found[0], out, f"step {number} on a state")
            state = found[1]
            assert_trees_same(state, {path: after[path] for path in state}, f"the state after step {number}")


class Interrupted(Exception):
    """Raised by a program on purpose."""


@given(programs(state=True), st.integers(0, 10**6))
def test_an_exception_while_tracing_leaves_cells_and_gradients(program: Program, place: int) -> None:
    lines = program.source().splitlines(keepends=True)
    start = next(i for i, line in enumerate(lines) if line.startswith("def program"))
    tops = [i for i in range(start + 1, len(lines)) if line_is_a_statement(lines[i])]
    at = tops[place % len(tops)]
    broken = replace(program, text="".join([*lines[:at], "    raise Interrupted\n", *lines[at:]]))
    with quiet():
        made = broken.make()
        made.function.__globals__["Interrupted"] = Interrupted
        before = made.state()
        for cell in made.cells.values():
            if cell.requires_grad:
                cell.grad = tg.full(shape=cell.shape, value=0.5, dtype=cell.dtype.name)
        with pytest.raises(Interrupted):
            tg.trace(made.function, *broken.specs)
        assert not tg.is_tracing() and tg.is_grad_enabled()
        assert_trees_same(made.state(), before, "a cell after an exception")
        for path, cell in made.cells.items():
            if cell.requires_grad:
                assert cell.grad is not None and (cell.grad.numpy() == 0.5).all(), path


def line_is_a_statement(line: str) -> bool:
    """Whether a line begins a statement of the function itself, which nothing decorates."""
    return line.startswith("    ") and line[4] not in " @" and not line.startswith("    def ")


# equality ----------------------------------------------------------------------------------------------------------


def mutations(graph: Graph) -> Iterator[tuple[str, Graph]]:
    """Graphs that are not this one, each changed in one place."""

    def put(number: int, **fields: Any) -> Graph:
        equations = list(graph.equations)
        equations[number] = replace(equations[number], **fields)
        return graph.replace(equations=tuple(equations))

    other = {"add": "subtract", "tanh": "sigmoid", "multiply": "divide"}
    seen: list[Var] = [*graph.inputs]
    for number, eq in enumerate(graph.equations):
        if eq.op.name in other:
            yield f"op {number}", put(number, op=tg.CATALOGUE[other[eq.op.name]])
        for key, value in eq.attrs.items():
            changed: Any = {int: float, float: int, bool: int, tuple: list}.get(type(value))
            if changed is not None:
                yield f"type of {key} {number}", put(number, attrs={**eq.attrs, key: changed(value)})
            if isinstance(value, (bool, int, float)):
                yield f"{key} {number}", put(number, attrs={**eq.attrs, key: not value if value in (0, 1) else -value})
            yield f"without {key} {number}", put(number, attrs={k: v for k, v in eq.attrs.items() if k != key})
        for place, atom in enumerate(eq.inputs):
            rest = list(eq.inputs)
            if isinstance(atom, Literal) and isinstance(atom.value, (int, float)) and np.isfinite(atom.value):
                rest[place] = Literal(-2.0 * atom.value if type(atom.value) is float else float(atom.value))
                yield f"literal {number}", put(number, inputs=tuple(rest))
            elif isinstance(atom, Var):
                swapped = next((v for v in seen if v is not atom), None)
                if swapped is not None:
                    rest[place] = swapped
                    yield f"wiring {number}", put(number, inputs=tuple(rest))
        seen += eq.outputs
        out = eq.outputs[0] if eq.outputs else None
        if out is not None:
            aval = tg.Aval((*out.aval.shape, 1), out.aval.dtype)
            yield f"shape {number}", substitute(graph, out, Var(aval))
            dtype = np.float16 if out.aval.dtype != np.float16 else np.float32
            yield f"dtype {number}", substitute(graph, out, Var(tg.Aval(out.aval.shape, dtype)))
    for var, array in graph.consts.items():
        if array.size:
            changed = array.copy()
            changed.flat[0] = ~changed.flat[0] if array.dtype.kind == "b" else changed.flat[0] + 1
            yield "constant", graph.replace(consts={**graph.consts, var: changed})
    if len(graph.outputs) > 1 and graph.outputs[0] is not graph.outputs[-1]:
        yield "outputs", graph.replace(outputs=graph.outputs[::-1])
    for number, decl in enumerate(graph.cells):
        cells = list(graph.cells)
        cells[number] = replace(decl, path=decl.path + "x")
        yield "path", graph.replace(cells=tuple(cells))
    if graph.writes:
        yield "writes", graph.replace(writes=graph.writes[1:])


def substitute(graph: Graph, old: Var, new: Var) -> Graph:
    """The graph with a variable in another's place."""

    def atom(a: Any) -> Any:
        return tuple(atom(b) for b in a) if isinstance(a, tuple) else new if a is old else a

    equations = tuple(replace(eq, inputs=atom(eq.inputs), outputs=atom(eq.outputs)) for eq in graph.equations)
    writes = tuple(replace(w, value=atom(w.value)) for w in graph.writes)
    return graph.replace(equations=equations, writes=writes, outputs=atom(graph.outputs))


@given(programs(state=True) | programs())
def test_traced_twice_the_graphs_are_equal_and_changed_they_are_not(program: Program) -> None:
    graph, again = program.graph(), program.graph()
    assert graph == again and hash(graph) == hash(again)
    with quiet():
        elsewhere = program.make()
        fresh = tg.trace(elsewhere.function, *program.specs)
    assert graph == fresh and hash(graph) == hash(fresh)
    for what, changed in mutations(graph):
        if what == "outputs" and changed.outputs == graph.outputs:
            continue
        assert changed != graph, f"changed in {what}, yet equal"
        assert changed == changed.replace(name="other"), what


# what is drawn -----------------------------------------------------------------------------------------------------


def equations(graph: Graph) -> Iterator[str]:
    """Names of the ops of a graph, those in its rules included."""
    stack = [graph]
    while stack:
        for eq in stack.pop().equations:
            yield eq.op.name
            stack += [value for value in eq.attrs.values() if isinstance(value, Graph)]


def test_every_op_is_drawn_and_does_in_a_graph_what_it_does() -> None:
    """What is drawable comes, in programs for results as in those with state."""
    internal = {name for name, op in tg.CATALOGUE.items() if "internal" in op.traits}
    drawn = {name for name, op in tg.CATALOGUE.items() if op.kind.name == "random"}
    assert set(tg.CATALOGUE) - set(drawable()) == internal | drawn
    wanted = {*drawable(), "gradients", "custom_vjp"}
    for seed in range(500):
        program = random_program(seed, 12)
        graph = program.graph()
        with quiet():
            assert_trees_same(graph(*program.tensors()), program(), f"program {seed}")
        wanted -= set(equations(graph))
        if not wanted:
            break
    assert not wanted
    wanted = {"uniform", "normal", "permutation", "running_average", *(n for n in tg.CATALOGUE if "_update" in n)}
    for seed in range(500):
        wanted -= set(equations(random_program(seed, 12, state=True).graph()))
        if not wanted:
            break
    assert not wanted


def test_an_op_of_ones_own_is_drawn() -> None:
    tg.op("cube(x)", lambda x: x * x * x, kind="elementwise", vjp=dict(x=lambda g, x: g * (3 * x * x)), doc="x³")
    try:
        found = [random_program(seed, 4, ops=["cube", "add"], smooth=True) for seed in range(20)]
        assert sum("cube" in program.source() for program in found) > 5
        for program in found:
            assert set(equations(program.graph())) >= {"tanh"}  # the loss
            assert np.isfinite(program().numpy()).all()
    finally:
        tg.remove_op("cube")


def test_new_ops_of_other_families_are_drawn() -> None:
    """Attributes and inputs follow from the declarations: a list of pieces, a shape, a size, an axis, labels."""

    def joined(arrays: Any, *, axis: int = 0) -> Any:
        return np.concatenate(arrays, axis)[..., ::-1].copy()

    def spread(x: Any, *, shape: Any) -> Any:
        return np.ascontiguousarray(np.broadcast_to(x, shape))

    def ramp(*, n: int, dtype: Any = None) -> Any:
        return np.arange(n, dtype=dtype or "float32")

    def largest(x: Any, *, axis: Any = None) -> Any:
        return np.asarray(np.abs(x).max(axis, initial=0))

    own = [
        op("joined([arrays], *, axis=0)", joined, listing, vjp=dict(arrays=0)),
        op("spread(x, *, shape)", spread, shape, vjp=dict(x=0)),
        op("ramp(*, n, dtype=None)", ramp, creation, examples=(((), dict(n=4)),)),
        op("largest(x, *, axis=None)", largest, index, vjp=dict(x=0)),
        op("next_label(labels)", lambda labels: labels + 1, index, traits=("labels",)),
    ]
    names = {declared.name for declared in own}
    try:
        missing = set(names)
        for seed in range(100):
            program = random_program(seed, 6, ops=[*names, "add", "astype"])
            with quiet():
                graph = program.graph()
                assert_trees_same(graph(*program.tensors()), program(), f"program {seed}")
            missing -= set(equations(graph))
            if not missing:
                break
        assert not missing
    finally:
        for name in names:
            tg.remove_op(name)


# known faults, which programs go round ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["max", "min", "argmax", "argmin"])
def test_the_extremum_over_no_elements_of_an_empty_result(name: str) -> None:
    with pytest.raises(ValueError):
        tg.trace(lambda x: getattr(tg, name)(x, axis=0), tg.f32[0, 0])


def test_a_learning_rate_set_in_a_trace_leaves_the_schedule() -> None:
    optimizer = tg.optim.SGD([tg.Parameter(np.ones(2))], lr=tg.optim.exponential(0.1, 0.9))

    def step(x: Any) -> Any:
        optimizer.lr = 0.05
        return x

    with pytest.raises(tg.TraceError, match="follows a schedule"):
        tg.trace(step, tg.f32[2])
    assert optimizer.schedule is not None
