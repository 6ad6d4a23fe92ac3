"""Lint: every rule finds its fault however it is written, lets pass what only looks like it, and repairs exactly."""

import json

import lint_cases
import lint_steps
import numpy as np
import pytest
from effort import examples
from hypothesis import given
from lint_cases import BETA, BIAS, CASES, FIXED, GAMMA, LABELS, NEGATIVE, POSITIVE, RNG, F, X
from lint_steps import parameter

import tensorgraph as tg
from tensorgraph import nn
from tensorgraph.analysis.lint import RULES, Findings, lint
from tensorgraph.testing.programs.program import programs, quiet


def named(value):
    return str(value) if isinstance(value, (str, int)) else ""


def test_every_rule_is_tested_both_ways():
    assert sorted(CASES) == sorted(RULES)
    assert all(len(positive) >= 2 and len(negative) >= 2 for positive, negative in CASES.values())
    assert len({rule.name for rule in RULES.values()}) == len(RULES)
    assert all(rule.doc.endswith(".") for rule in RULES.values())


@pytest.mark.parametrize(("id", "n", "case"), POSITIVE, ids=named)
def test_a_fault_is_found_at_its_line(id, n, case):
    function, *examples = case
    found = [finding for finding in lint(function, *examples) if finding.id == id]
    assert found
    for finding in found:
        assert finding.name == RULES[id].name
        assert finding.message and finding.remedy
        if not isinstance(function, (nn.Sequential, tg.Graph)):
            assert finding.source is not None and finding.source.file in (lint_cases.__file__, lint_steps.__file__)
    assert id not in lint(function, *examples, ignore=(id,)).ids


@pytest.mark.parametrize(("id", "n", "case"), NEGATIVE, ids=named)
def test_what_only_looks_like_it_is_let_pass(id, n, case):
    function, *examples = case
    assert [str(finding) for finding in lint(function, *examples) if finding.id == id] == []


def numbers(aval):
    if aval.dtype.kind == "f":
        return tg.tensor(RNG.normal(size=aval.shape).astype(aval.dtype))
    return tg.tensor(RNG.integers(0, 3, aval.shape).astype(aval.dtype))


SUMMED = 22  # where the cases of TG024 begin that choose after a sum, of which the first three are mended, or by a mask
EXACT = ("TG002", "TG003", "TG013", "TG014", "TG015", "TG022", "TG023", "TG024")


@pytest.mark.parametrize(("id", "n", "case"), [case for case in POSITIVE if case[0] in EXACT], ids=named)
def test_an_exact_rewrite_keeps_the_values_and_takes_the_fault_away(id, n, case):
    function, *examples = case
    graph = tg.trace(function, *examples)
    found = [finding for finding in lint(graph) if finding.id == id]
    rewrites = [finding.rewrite for finding in found if finding.rewrite is not None]
    if not rewrites:
        assert (id, n) in {("TG002", 1), ("TG002", 2), ("TG002", 4), ("TG003", 2), ("TG003", 3), ("TG003", 4),
                           ("TG003", 5), ("TG013", 2), ("TG015", 4),
                           *(("TG024", n) for n in range(SUMMED + 3, len(CASES["TG024"][0])))}  # fmt: skip
        return
    changed = graph
    for rewrite in rewrites:
        changed = rewrite(changed)
    assert changed.changes and changed.changes[-1].step == "lint"
    assert id not in lint(changed).ids
    args = [numbers(aval) for aval in examples]
    run, again = (g.bind() if g.cells else g for g in (graph, changed))
    with np.errstate(all="ignore"):  # what is not chosen may be no number
        before, after = run(*args), again(*args)
    assert np.isfinite(before.numpy()).all()
    np.testing.assert_allclose(after.numpy(), before.numpy(), rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("n", range(SUMMED - 1))
def test_the_double_where_mends_the_gradient(n):
    """At 0, at 1, at negative numbers and where exponentials overflow, all but what is infinite on its own side."""
    function, *examples = CASES["TG024"][0][n]
    graph = tg.trace(function, *examples)
    changed = graph
    for finding in lint(graph):
        assert finding.id == "TG024" and "where(c, " in finding.remedy
        changed = finding.rewrite(changed)
    hostile = np.tile(np.array([0.0, 2.0, 0.5, -3.0, 200.0], F), (8, 1))
    hostile[1] = 0.0
    args = [tg.tensor(np.resize(hostile, aval.shape)) for aval in examples]
    with np.errstate(all="ignore"):
        broken, mended = (
            tg.grad(lambda *xs, g=g: g(*xs).sum(), argnums=len(args) - 1)(*args).numpy() for g in (graph, changed)
        )
        assert np.array_equal(graph(*args).numpy(), changed(*args).numpy())
    assert np.isnan(broken).any() and np.isfinite(mended).all()


@pytest.mark.parametrize("n", range(SUMMED, SUMMED + 3))
def test_a_choice_after_a_sum_is_mended_before_it(n):
    function, *examples = CASES["TG024"][0][n]
    graph = tg.trace(function, *examples)
    (finding,) = lint(graph)
    changed = finding.rewrite(graph)
    zeros = tg.zeros((8, 5))
    with np.errstate(all="ignore"):
        broken, mended = (tg.grad(lambda x, g=g: g(x))(zeros).numpy() for g in (graph, changed))
        assert np.array_equal(graph(zeros).numpy(), changed(zeros).numpy())
    assert np.isnan(broken).any() and np.isfinite(mended).all()


@pytest.mark.parametrize("n", range(SUMMED, len(CASES["TG024"][0])))
def test_what_is_found_behind_sums_and_masks_makes_a_gradient_of_nan(n):
    function, *examples = CASES["TG024"][0][n]
    zeros = [tg.zeros(aval.shape) for aval in examples]
    with np.errstate(all="ignore"):
        assert np.isnan(tg.grad(lambda *xs: function(*xs).sum(), argnums=len(zeros) - 1)(*zeros).numpy()).any()


def test_rewrites_of_one_graph_follow_each_other_and_refuse_another_graph():
    graph = tg.trace(lambda x: tg.log(tg.softmax(x)).sum() + tg.log(tg.exp(x).sum()), X)
    first, second = lint(graph)
    assert (first.id, second.id) == ("TG003", "TG013")
    assert [eq.op.name for eq in second.rewrite(first.rewrite(graph)).equations] == [
        "log_softmax", "sum", "logsumexp", "add",
    ]  # fmt: skip
    other = tg.trace(lambda x: tg.log(tg.softmax(x)), X)
    with pytest.raises(ValueError, match="not in this graph"):
        first.rewrite(other)


def test_a_bias_is_found_in_a_step_whose_gradients_are_written_out():
    def loss(x):
        return (tg.batch_norm(x + BIAS, GAMMA, BETA)[0] ** 3).sum()

    (finding,) = lint(tg.trace(tg.grad(loss), X).differentiate())
    assert finding.id == "TG002"
    assert finding.rewrite is None  # the derivative reads what the bias was added to


def test_a_rewrite_keeps_what_others_read():
    graph = tg.trace(lambda x: (p := tg.softmax(x), tg.log(p)), X)
    (finding,) = lint(graph)
    assert [eq.op.name for eq in finding.rewrite(graph).equations] == ["softmax", "log_softmax"]


def test_a_rewritten_training_step_trains_on():
    w = parameter(5, 3)

    def step(x, y):
        loss = -(tg.log(tg.softmax(x @ w)) * y).sum(axis=1).mean()
        w.assign(w - 0.5 * tg.gradients(loss, w))
        return loss

    graph = tg.trace(step, X, tg.spec((8, 3)))
    (finding,) = lint(graph)
    x, y = numbers(X), tg.tensor(np.eye(3, dtype=F)[FIXED % 3])
    state = {graph.cells[0].path: w.numpy().copy()}
    (a, new_a), (b, new_b) = graph(x, y, state=state), finding.rewrite(graph)(x, y, state=state)
    np.testing.assert_allclose(b.numpy(), a.numpy(), rtol=1e-5)
    np.testing.assert_allclose(*(list(s.values())[0].numpy() for s in (new_b, new_a)), rtol=1e-4, atol=1e-6)


# how findings read ---------------------------------------------------------------------------------------------------


def test_findings_read_like_a_compilers():
    found = lint(lambda x, y: tg.softmax_cross_entropy(tg.softmax(x), y), X, LABELS)
    (finding,) = found
    lines = found.text().splitlines()
    assert lines[0].startswith(f"{__file__}:{finding.source.line}: TG001 softmax-before-cross-entropy: ")
    assert lines[1].startswith("    ") and lines[-1] == "1 finding"
    assert str(found) == found.text() and repr(found) == "Findings(TG001)"
    (plain,) = json.loads(found.json())
    assert plain["id"] == "TG001" and plain["line"] == finding.source.line and plain["rewrite"] is False
    assert bool(found) and found[:1] == found and found.ids == ("TG001",)
    with pytest.raises(TypeError):
        hash(found)


def test_nothing_found_is_false_and_says_so():
    found = lint(tg.log_softmax, X)
    assert not found and found == Findings() and found.text() == "no findings" and json.loads(found.json()) == []


def test_findings_come_in_the_order_of_the_lines():
    def two(x):
        a = tg.log(1.0 + tg.exp(x))
        b = tg.log(tg.softmax(x))
        return a + b

    assert lint(two, X).ids == ("TG022", "TG003")


def test_hostile_names_stay_on_their_line():
    def scoped(x):
        with tg.scope("a\nb\x1b[31m"):
            return tg.log(tg.softmax(x))

    text = lint(scoped, X).text()
    assert "\x1b" not in text and len(text.splitlines()) == 3


def test_what_lint_does_not_take():
    with pytest.raises(TypeError, match="target must be a Graph, a Template or callable"):
        lint(3)
    with pytest.raises(TypeError, match="no examples"):
        lint(tg.trace(tg.exp, X), X)
    with pytest.raises(ValueError, match="did you mean 'log-of-softmax'"):
        lint(tg.exp, X, ignore=("log-softmax",))
    assert lint(lambda x: tg.log(tg.softmax(x)), X, ignore="log-of-softmax") == []


# whatever graph ------------------------------------------------------------------------------------------------------


@examples(40)
@given(programs())
def test_random_programs_are_looked_at_and_counted(program):
    graph = program.graph()
    found = lint(graph)
    assert json.loads(found.json()) is not None and found.text()
    with quiet():
        for finding in found:
            if finding.rewrite is not None:
                finding.rewrite(graph)
        cost = graph.cost()
    whole, ops = cost.by_scope()[0], cost.by_op()
    for field in ("flops", "bytes_read", "bytes_written"):
        total = getattr(cost, field)
        assert total == getattr(whole, field) == sum(getattr(row, field) for row in ops)
        assert total == sum(getattr(eq, field) for eq in cost.equations) >= 0
        top = [row for row in cost.by_scope()[1:] if "." not in row.scope]
        outside = sum(getattr(eq, field) for eq in cost.equations if not eq.scope)
        assert total == outside + sum(getattr(row, field) for row in top)
    assert cost.peak.bytes == max((eq.during for eq in cost.equations), default=0)
    assert sum(held.nbytes for held in cost.peak.held) + cost.peak.scratch == cost.peak.bytes
    assert str(cost) and str(cost.peak)


def test_thousands_of_equations_are_read_without_recursion():
    def chain(x):
        for _ in range(450):
            x = tg.log(tg.exp(tg.stop_gradient(x) * 0.5) + 1.5) - x.mean(axis=0)
        return x

    graph = tg.trace(chain, X)
    assert len(graph.equations) > 3_000
    assert not lint(graph)
    assert graph.cost().flops > 0
