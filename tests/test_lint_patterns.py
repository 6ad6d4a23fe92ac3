"""Patterns of lint: what they find, what they do not, and that other spellings of an op mean the op."""

import re
from typing import Any

import numpy as np
import pytest

import tensorgraph as tg
from tensorgraph.analysis.lint.patterns import SPELLINGS, Match, Pattern
from tensorgraph.analysis.lint.view import View

X = tg.f64[3, 4]
NAMES = {name: op.public for name, op in tg.CATALOGUE.items()}
OTHERS = [(name, *spelled) for name, (names, forms) in SPELLINGS.items() for spelled in [(names, f) for f in forms]]


def found(pattern: str | Pattern, function: Any, *examples: Any) -> list[Match]:
    """Where a pattern is found in a function's graph."""
    pattern = Pattern(pattern) if isinstance(pattern, str) else pattern
    return [match for _, match in pattern.each(View(tg.trace(function, *(examples or (X,)))))]


@pytest.mark.parametrize(("name", "parameters", "form"), OTHERS)
def test_another_spelling_is_the_op(name: str, parameters: str, form: str) -> None:
    numbers = {p: tg.tensor(np.linspace(0.1, 3.0, 7)) for p in parameters}
    spelled = eval(form, NAMES | numbers)
    np.testing.assert_allclose(spelled.numpy(), NAMES[name](*numbers.values()).numpy(), rtol=1e-14)
    call = f"{name}({', '.join(parameters)})"
    assert len(found(call, lambda x: eval(form, dict(NAMES), {parameters: x}))) == 1
    assert len(found(f"exp({call})", lambda x: tg.exp(eval(form, dict(NAMES), {parameters: x})))) == 1


def test_operands_change_places_where_the_op_commutes() -> None:
    for one, other in (
        ("x + C", lambda x: 2.0 + x),
        ("x * C", lambda x: 2.0 * x),
        ("maximum(x, C)", lambda x: 2.0 + x),
    ):
        assert [match["C"] for match in found(one, other)] == ([] if "maximum" in one else [2.0])
    assert found("x - C", lambda x: x - 2.0) and not found("x - C", lambda x: 2.0 - x)
    assert found("C - x", lambda x: 2.0 - x) and not found("C / x", lambda x: x / 2.0)


def test_a_name_is_one_value() -> None:
    assert found("x * x", lambda x: x * x) and not found("x * x", lambda x, y: x * y, X, X)
    assert found("(e := exp(x)) / (1 + e)", lambda x: (e := tg.exp(x)) / (e + 1.0))
    assert not found("(e := exp(x)) / (1 + e)", lambda x, y: tg.exp(x) / (tg.exp(y) + 1.0), X, X)
    # the same computed twice is two values
    assert not found("(e := exp(x)) / (1 + e)", lambda x: tg.exp(x) / (tg.exp(x) + 1.0))


def test_what_only_passes_a_value_on_is_looked_through() -> None:
    (match,) = found("log(p := exp(x))", lambda x: tg.log(tg.stop_gradient(tg.exp(x)).astype("float32")))
    assert match.equations["p"].op.name == "exp" and match["x"].name == "x"
    assert not found("log(exp(x))", lambda x: tg.log(tg.exp(x).reshape(-1)))
    assert found("log(shaped(exp(x)))", lambda x: tg.log(tg.exp(x).reshape(-1)[:, None]))
    assert found("log(shaped(exp(x)))", lambda x: tg.log(tg.exp(x)))


def test_shapes_and_attributes_are_free() -> None:
    assert found("exp(x) / shaped(sum(_))", lambda x: tg.exp(x) / x.sum(axis=1, keepdims=True))
    assert found("x[...]", lambda x: x[1:, ::-1]) and found("take_along_axis(x)", lambda x: tg.take_along_axis(
        x, tg.argmax(x, axis=1, keepdims=True), axis=1
    ))  # fmt: skip


def test_only_what_a_user_wrote_is_found() -> None:
    """The equation is the last of the form, and none of a derivative."""
    graph = tg.trace(lambda x: tg.grad(lambda x: tg.exp(x).sum())(x) * 2.0, X).differentiate()
    kept = [eq for eq, _ in Pattern("x * C", "exp(x)").each(View(graph))]
    assert [eq.op.name for eq in kept] == ["exp", "multiply"] and all(eq.origin is None for eq in kept)
    view = View(tg.trace(lambda x: tg.stop_gradient(tg.exp(x)), X))
    assert [eq.op.name for eq, _ in Pattern("exp(x)").each(view)] == ["exp"]


@pytest.mark.parametrize("form", ["expp(x)", "x if x else x", "not x"])
def test_what_is_no_pattern_is_refused(form: str) -> None:
    with pytest.raises(ValueError, match=f"expected a pattern of ops, got {re.escape(form)}"):
        Pattern(form)
