"""The passes in order, by name, switched off by name, and what is said of them."""

from typing import Any

import numpy as np
import pytest

import tensorgraph as tg
from tensorgraph.graph import Graph
from tensorgraph.graph.check import GraphError
from tensorgraph.passes import pipeline
from tensorgraph.passes.pipeline import PASSES, Explanation, Pass
from tensorgraph.testing import assert_close, assert_same


def loss(x: tg.Tensor) -> tg.Tensor:
    y = x * 1.0
    return tg.log_softmax(y).sum() + tg.exp(x).sum() * tg.exp(x).sum()


def graph() -> Graph:
    return tg.trace(tg.value_and_grad(loss), tg.f32[2, 3])


def ops_of(graph: Graph) -> list[str]:
    return [eq.op.name for eq in graph.equations]


def test_passes_are_listed_in_order() -> None:
    assert [step.name for step in PASSES] == ["expand", "recognise", "differentiate", "simplify"]
    assert [step.name for step in PASSES if step.default] == ["recognise", "differentiate", "simplify"]
    plain = tg.trace(lambda x: x + 1.0, tg.f32[3])
    for step in PASSES:
        assert step.keeps and step.doc
        assert step(plain) == plain and step.function(plain) == plain
    assert {step.name: bool(step.rules) for step in PASSES}["simplify"]


def test_all_passes_in_order() -> None:
    g = graph()
    done = g.transform()
    steps = list(dict.fromkeys(change.step for change in done.changes))
    assert steps == [name for name in ("recognise", "differentiate", "simplify") if name in steps]
    assert "gradients" not in ops_of(done) and steps[-1] == "simplify"
    x = np.array([[1.0, 2.0, 0.5], [0.0, -1.0, 3.0]], np.float32)
    for got, expected in zip(done(x), g(x), strict=True):
        assert_close(got, expected, order=1)
    assert done.transform() == done


def test_named_passes_run_in_the_order_given() -> None:
    g = graph()
    assert g.transform("simplify") == g.simplify()
    assert g.transform("differentiate", "simplify") == g.differentiate().simplify()
    assert g.transform("simplify", "differentiate") == g.simplify().differentiate()
    assert "log_softmax" not in ops_of(g.transform("expand")) and "gradients" in ops_of(g.transform("expand"))


def test_passes_and_rules_are_switched_off() -> None:
    g = graph()
    assert "gradients" in ops_of(g.transform(without="differentiate"))
    assert g.transform(without=("recognise", "simplify")) == g.differentiate()
    rules = {c.rule for c in g.transform("differentiate", "simplify").changes}
    assert {"algebra.multiply_by_one", "common.subexpression"} <= rules
    without = {c.rule for c in g.transform("differentiate", "simplify", without="simplify.algebra").changes}
    assert not any(rule.startswith("algebra") for rule in without) and "common.subexpression" in without
    one = g.transform("differentiate", "simplify", without=["simplify.algebra.multiply_by_one"]).changes
    assert "algebra.multiply_by_one" not in {c.rule for c in one} and "algebra.name_only" in {c.rule for c in one}
    # a rule of a pass that does not run may be named too
    assert g.transform("differentiate", without="simplify.algebra") == g.differentiate()


@pytest.mark.parametrize(
    ("steps", "without", "message"),
    [
        (("simplfy",), (), "there is no pass 'simplfy'; did you mean 'simplify'. The passes are expand, recognise, "),
        ((), "simplfy", "there is no pass 'simplfy'"),
        ((), "dance.rule", "there is no pass 'dance'. The passes are"),
        ((), "simplify.algebr", "the pass simplify has no rule 'algebr'; did you mean"),
        ((), ["differentiate.chain"], "the pass differentiate has no rule 'chain'.*none to leave out"),
        (("simplify",), "simplify", "'simplify' is both asked for and left out"),
    ],
)
def test_unknown_names_are_refused(steps: tuple[str, ...], without: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        graph().transform(*steps, without=without)


def test_each_result_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(graph: Graph) -> Graph:
        return graph.replace(equations=graph.equations[1:])

    class Broken(Pass):
        __slots__ = ()
        function = property(lambda self: broken)

    monkeypatch.setattr(pipeline, "PASSES", (Broken("broken", "bits", "loses an equation"),))
    with pytest.raises(GraphError, match="used before it is assigned"):
        graph().transform()


def test_what_changed_is_told_by_pass_rule_and_line() -> None:
    g = graph()
    assert str(g.explain()).endswith(": no pass has changed it") and not g.explain().counts()
    done = g.transform("differentiate", "simplify")
    told = done.explain()
    assert isinstance(told, Explanation) and told.changes == done.changes and len(told) == len(done.changes)
    assert sum(told.counts().values()) == len(told)
    text = str(told)
    assert text == repr(told)
    assert f"{len(told)} changes" in text.splitlines()[0]
    (line,) = [line for line in text.splitlines() if "x * 1.0" in line or "* 1.0  →" in line]
    assert "→" in line and "test_passes_pipeline.py:" in line
    assert "a product with 1 is not rounded" in text
    assert text.index("differentiate:") < text.index("simplify:")


def test_long_lists_are_cut_with_a_count() -> None:
    def f(x: tg.Tensor) -> tg.Tensor:
        for _ in range(30):
            x = tg.exp(x * 1.0)
        return x

    told = tg.trace(f, tg.f32[3]).simplify().explain()
    cut = str(told).splitlines()
    full = told.text(full=True).splitlines()
    assert sum("* 1.0" in line for line in cut) == pipeline.SHOWN and "    and 18 more" in cut
    assert sum("* 1.0" in line for line in full) == 30 and not any("more" in line for line in full)
    wide = Explanation("f", (type(told.changes[0])("simplify", "r", "x" * 500, "y\n  z"),))
    assert max(map(len, str(wide).splitlines())) < 2 * pipeline.WIDTH + 20 and "y z" in str(wide)
    assert "x" * 500 in wide.text(full=True)


def test_changes_add_up_and_are_no_part_of_the_value() -> None:
    g = graph()
    once = g.simplify()
    twice = once.differentiate().simplify()
    assert twice.changes[: len(once.changes)] == once.changes and len(twice.changes) > len(once.changes)
    assert once == g.simplify() and hash(once) == hash(once.replace(changes=()))
    x = np.array([[1.0, 2.0, 0.5], [0.0, -1.0, 3.0]], np.float32)
    for got, expected in zip(once(x), g(x), strict=True):
        assert_same(got, expected)
