"""Rules that are written out where they are called compute what they compute; what is more than an expression, and what
users may change, is called.
"""

import functools
from collections.abc import Callable, Iterator
from contextvars import Context, copy_context
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import tensorgraph as tg
from tensorgraph.engine import modes
from tensorgraph.engine.inlining import written_out
from tensorgraph.engine.op import CATALOGUE, Op, elementwise
from tensorgraph.engine.pull import is_ours
from tensorgraph.ops import activations, logic

SETTINGS = SimpleNamespace(scale=2.0)
scale = 2.0


def of_ours(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function as if it stood beside the activations."""
    ours = type(function)(function.__code__, vars(activations) | {"scale": scale}, closure=function.__closure__)
    ours.__module__ = activations.__name__
    return ours


@pytest.mark.parametrize(
    "function, text",
    [
        (lambda g: g, "g"),
        (lambda g, x: g * 2.0 - x, "((g * 2.0) - x)"),
        (lambda g, x: -((3 - g) ** 2) / x % 1.5 // g, "((((-((3 - g) ** 2)) / x) % 1.5) // g)"),
        (lambda g, x: (g > x) + (x >= 0), "((g > x) + (x >= 0))"),
    ],
)
def test_an_expression_of_arguments(function: Callable[..., Any], text: str) -> None:
    scope: dict[str, Any] = {}
    assert written_out(function, ["g", "x"][: function.__code__.co_argcount], "r", scope) == text
    assert not scope


def test_what_is_called_in_ours_is_found_again() -> None:
    scope: dict[str, Any] = {}
    rule = of_ours(lambda g, x: where(x > 0, scale * g, dtype_is(x, kind="f")))  # noqa: F821
    rule.__globals__["dtype_is"] = max
    text = written_out(rule, ["g", "s[0]"], "r", scope)
    assert text == "r_where((s[0] > 0), (r_scale * g), r_dtype_is(s[0], kind='f'))"
    assert scope == {"r_where": logic.where.calls["apply"], "r_scale": 2.0, "r_dtype_is": max}


def local(g: Any, x: Any) -> Any:
    twice = x + x
    return g * twice * twice


CALLED = {
    "a branch": lambda g, x: g if x else x,
    "and": lambda g, x: g and x,
    "a chain of comparisons": lambda g, x: 0 < g < x,
    "is": lambda g, x: g * (x is None),
    "not": lambda g, x: g * (not x),
    "in": lambda g, x: g * (x in (1, 2)),
    "a value read twice": local,
    "a value read twice in an expression": lambda g, x: (t := g + x) * t,
    "an attribute": lambda g, x: g * x.ndim,
    "a method": lambda g, x: g.reshape(x),
    "an item": lambda g, x: g[x],
    "a tuple": lambda g, x: (g, x),
    "a constant": lambda g, x: 1.0,
    "an infinity": lambda g, x: g * 1e999,
    "any number of arguments": lambda *args: args[0],
    "a loop": lambda g, x: [g * i for i in x],
    "a closure": (lambda power: lambda g, x: g * x**power)(2),
    "a builtin": lambda g, x: abs(g),
    "no function": functools.partial(lambda g, x: g * x),
    "no function of Python": np.multiply,
}


@pytest.mark.parametrize("kind", CALLED)
def test_more_than_an_expression_is_called(kind: str) -> None:
    function = CALLED[kind]
    scope: dict[str, Any] = {}
    for one in (function, of_ours(function)) if hasattr(function, "__code__") else (function,):
        assert written_out(one, ["g", "x"], "r", scope) is None and not scope


def rules() -> Iterator[Any]:
    """Those of elementwise ops that read arrays alone."""
    for op in CATALOGUE.values():
        for name, rule in op.rules.items():
            if rule is not None and op.kind is elementwise and {*rule.params} <= {"g", *op.inputs, *op.outputs}:
                yield pytest.param(op, rule, id=f"{op.name}-{name}")


@pytest.mark.parametrize("op, rule", [*rules()])
def test_a_rule_written_out_gives_the_same_bits(op: Op, rule: Any) -> None:
    scope: dict[str, Any] = {}
    text = written_out(rule.function, rule.params, "rule", scope)
    rng = np.random.default_rng(3)
    for shape in ((5,), ()):
        given = {name: rng.uniform(0.3, 0.9, shape).astype(np.float32) for name in rule.params}
        with np.errstate(all="ignore"):
            made = rule.function(**given)
            again = made if text is None else eval(text, scope, given)
        assert type(again) is type(made) and again.dtype == made.dtype and again.tobytes() == made.tobytes()


def test_most_rules_are_written_out() -> None:
    every = [rule.values[1] for rule in rules()]
    assert sum(written_out(rule.function, rule.params, "r", {}) is not None for rule in every) > 0.6 * len(every)


@pytest.fixture
def declared() -> Iterator[Callable[..., Any]]:
    names: list[str] = []

    def declare(rule: Any) -> Any:
        names.append(f"mine{len(names)}")
        return tg.op(f"{names[-1]}(x)", lambda x: 2.0 * x, kind="elementwise", vjp=dict(x=rule))

    yield declare
    for name in names:
        tg.remove_op(name)


def gradient(op: Any, x: Any = 1.0) -> float:
    leaf = tg.tensor(x, requires_grad=True)
    op(leaf).backward()
    return float(leaf.grad)


def test_what_a_users_rule_reads_may_change(declared: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    by_global, by_attribute = declared(lambda g: g * scale), declared(lambda g: g * SETTINGS.scale)
    assert gradient(by_global) == gradient(by_attribute) == 2.0
    monkeypatch.setitem(globals(), "scale", 5.0)
    monkeypatch.setattr(SETTINGS, "scale", 7.0)
    assert (gradient(by_global), gradient(by_attribute)) == (5.0, 7.0)


def test_a_users_rule_runs_where_nothing_is_recorded(declared: Any) -> None:
    w = tg.tensor(3.0, requires_grad=True)
    seen = []

    def rule(g: Any, x: Any) -> Any:
        seen.append((tg.is_grad_enabled(), (w * 2.0).requires_grad, modes.current().scope))
        if len(seen) > 2:
            raise KeyError("x")
        return g * w

    op = declared(rule)
    assert gradient(op) == 3.0 and tg.is_grad_enabled()
    with tg.scope("part"):
        assert gradient(op) == 3.0 and tg.is_grad_enabled()
    with pytest.raises(KeyError):
        gradient(op)
    assert tg.is_grad_enabled() and seen == [(False, False, ""), (False, False, "part"), (False, False, "")]


def test_ops_of_ours_are_told_from_those_of_users(declared: Any) -> None:
    mine = declared(lambda g: g * 2.0)
    assert not is_ours(mine.op)
    assert all(is_ours(op) for op in CATALOGUE.values() if op is not mine.op and "higher order" not in op.traits)


def test_a_pass_through_rules_of_ours_leaves_the_context_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """NumPy looks its error state up in it at each call, which takes longer where there is something in it."""
    monkeypatch.setattr("tensorgraph.engine.tape._hooked", False)

    def run() -> bool:
        gradient(lambda x: tg.tanh(x * x).sum())
        return modes.MODE in copy_context()

    assert not Context().run(run)
