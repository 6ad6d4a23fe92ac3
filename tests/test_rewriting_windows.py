"""Windows of random programs replaced by what is equal: numbers stay, and names mean the same values or it is told."""

import dataclasses
import re

import numpy as np
import pytest

import tensorgraph as tg
from tensorgraph.engine.tree import flatten, listed
from tensorgraph.graph.graph import Literal, Var
from tensorgraph.passes.recognise.view import View
from tensorgraph.passes.rewrite import UNCHANGED
from tensorgraph.testing.programs.program import quiet, random_program

EQUALS = (
    tg.alias, lambda x: x * 1.0, lambda x: tg.negative(-x), lambda x: x / 1.0, lambda x: x.reshape(x.shape),
    lambda x: tg.where(True, x, x),
)  # fmt: skip


def function(count, called):
    """A function of so many named arguments."""
    names = [f"a{i}" for i in range(count)]
    made = {"called": called}
    exec(f"def window({', '.join(names)}): return called({', '.join(names)})", made)
    return made["window"]


def window(graph, rng):
    """Some equations as a function of what they read, some of their numbers arguments too; None where they are none."""
    start, length = rng.integers(len(graph.equations)), rng.integers(1, 7)
    view, results = View(graph), set(graph.results())
    given = [
        out for eq in graph.equations[start : start + length] for out in eq.outputs
        if view.live[graph.index.position[out]]
        and (out in results or any(view.live[u] for u in graph.index.users.get(out, ())))
    ]  # fmt: skip
    if not given:
        return None
    roots = [given[-1]] + ([given[rng.integers(len(given) - 1)]] if len(given) > 1 and rng.random() < 0.4 else [])
    needed, inside = set(roots), []
    for eq in reversed(graph.equations[start : start + length]):
        if not needed.isdisjoint(eq.outputs):
            needed.update(eq.variables())
            inside.insert(0, eq)
    made = {out for eq in inside for out in eq.outputs}
    asked = {var for eq in graph.equations if eq.is_gradient for var in eq.group(1)}
    if not asked.isdisjoint(made) or any(eq.bodies() or eq.is_gradient for eq in inside):
        return None
    read = list(dict.fromkeys(var for eq in inside for var in eq.variables() if var not in made))
    literals = [a for eq in inside for a in eq.atoms() if isinstance(a, Literal) and type(a.value) in (int, float)]
    free = [a for a in literals if rng.random() < 0.3]

    def run(*values):
        env = dict(zip([*read, *free], values, strict=True))

        def use(atom):
            if isinstance(atom, tuple):
                return [use(a) for a in atom]
            return env[atom] if type(atom) is Var or atom in env else atom.value

        for eq in inside:
            result = eq.op.public(*map(use, eq.inputs), **eq.attrs)
            env.update(zip(eq.outputs, result if isinstance(result, tuple) else (result,), strict=False))
        return tuple(env[out] for out in roots)

    return len(read) + len(free), run


def equal(run, choices):
    """The same function, each result by way of something that changes nothing."""

    def other(*values):
        results = [tg.tensor(value) if not isinstance(value, tg.Tensor) else value for value in run(*values)]
        return tuple(
            choice(x) if x.dtype.kind == "f" else tg.alias(x) for choice, x in zip(choices, results, strict=False)
        )

    return other


@pytest.mark.parametrize("seed", [3, 24, 34, 51, 54, 60, 92, 146, 290])
def test_a_window_is_replaced_by_what_is_equal(seed):
    rng = np.random.default_rng(seed)
    program = random_program(seed, differentiable=seed % 3 == 0)
    # names of values that are none of those that a text gives
    program = dataclasses.replace(program, text=re.sub(r"\b([vt])(\d+)\b", r"\1\2w", program.text))
    args = program.tensors()
    with quiet():
        graph = program.graph()
        if seed % 2:
            graph = graph.differentiate()
        state = program.made().state() if graph.cells else None

        def numbers(graph, outputs=None):
            if outputs is not None:
                graph = graph.replace(outputs=outputs, out_tree=listed(len(outputs)), writes=())
            return flatten(graph(*args, state=state))[0] if graph.cells else flatten(graph(*args))[0]

        def same(got, wanted):
            for one, other in zip(got, wanted, strict=True):
                one, other = (tg.stop_gradient(x) if isinstance(x, tg.Tensor) else x for x in (one, other))
                np.testing.assert_allclose(np.asarray(one), np.asarray(other), rtol=1e-4, atol=1e-5)

        parts = {}
        for name in dict.fromkeys(var.name for var in graph.variables()):
            if name and name.endswith("w") and sum(var.name == name for var in graph.variables()) == 1:
                parts[name] = numbers(graph, graph[name].outputs)
        wanted, replaced = numbers(graph), 0
        for how in ({}, {"equal": False}, {"exact": True}):
            count, run = next(filter(None, (window(graph, rng) for _ in range(50))))
            other = equal(run, [EQUALS[rng.integers(len(EQUALS))] for _ in range(2)])
            after = graph.rewrite(function(count, run), function(count, other), **how)
            made = [change for change in after.changes[len(graph.changes) :] if change.after != UNCHANGED]
            assert made or "after stands there already" in str(after.explain()), after.explain()
            replaced += len(made)
            same(numbers(after), wanted)
            for name, values in parts.items():
                try:
                    part = after[name]
                except KeyError as error:
                    assert "any more" in str(error) or "not what they were" in str(error), error
                else:
                    same(numbers(after, part.outputs), values)
        assert replaced


def test_two_results_that_are_one_value():
    graph = tg.trace(lambda x: (tg.tanh(x) * tg.tanh(x), tg.tanh(x)), tg.f32[3])
    both = lambda x: (tg.tanh(x), tg.tanh(x))
    after = graph.rewrite(both, lambda x: (tg.alias(tg.tanh(x)), tg.tanh(x) * 1.0)).check()
    assert {"alias", "multiply"} <= {eq.op.name for eq in after.equations}
    one = tg.trace(lambda x: tg.tanh(x) * 2.0, tg.f32[3])
    assert one.rewrite(both, lambda x: (tg.alias(tg.tanh(x)), tg.tanh(x))) == one


def test_what_nothing_reads_stays_with_what_it_reads_or_it_is_told():
    def f(x):
        h = tg.exp(x)
        seen = h * 2.0
        inner = tg.sin(x)
        lost = inner * 3.0
        return tg.cos(inner) + h, (seen, lost)[:0]

    graph = tg.trace(f, tg.f32[3])
    assert graph["seen"] and graph["lost"]
    after = graph.rewrite(tg.exp, lambda x: tg.exp(x) * 1.0).rewrite(
        lambda x: tg.cos(tg.sin(x)), lambda x: tg.cos(tg.sin(tg.negative(-x)))
    )
    assert [eq.op.name for eq in after["seen"].equations] == ["multiply"]
    with pytest.raises(KeyError, match=r"'lost' is no part of f any more: rewrite \(nothing reads it\)"):
        after["lost"]


def test_other_names_of_a_value_stay_one_part_with_it():
    def f(x):
        def inner(t):
            return tg.sin(t)

        return tg.jacobian(inner)(x)

    def named(v):
        again = tg.alias(v)
        return tg.cos(again), again

    graph = tg.trace(f, tg.f32[3])  # in which the derivative has a name of its own for t
    after = graph.rewrite(named, lambda v: (tg.cos(tg.alias(v)), tg.alias(tg.alias(v))))
    assert after["t"] == graph["t"] and after != graph


@pytest.mark.parametrize("shape", [(), (1,)])
def test_integers_beside_one_number_are_no_evidence(shape):
    def f(a, x, i):
        return a + tg.tanh(tg.segment_sum(tg.broadcast_to(x[:0].sum(), (5,)), i, 4)).sum()

    def wrong(a, i, x):  # is it where every label is 0
        return a + tg.tanh(i).sum() + 0.0 * x.sum()

    graph = tg.trace(f, tg.spec(shape, "float64"), tg.f64[3], tg.i64[5])
    assert graph.rewrite(wrong, lambda a, i, x: tg.alias(wrong(a, i, x))) == graph
