"""Modules and optimisers that are changed past ``__setattr__``: compiled functions see that as they see all else."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tensorgraph as tg
from tensorgraph import nn, optim
from tensorgraph.compile.attribute_words import AttributeWords, compare_words
from tensorgraph.native import machine
from tensorgraph.native.kernel import kernel

X = np.linspace(-1, 1, 8, dtype=np.float32).reshape(2, 4)


class Scaled(nn.Module):
    def __init__(self) -> None:
        self.inner = nn.Linear(4, 3, seed=0)
        self.factor = 2.0
        self.powers = [1.0, 2.0]

    def forward(self, x: Any) -> Any:
        return self.inner(x) * self.factor + sum(self.powers)


class Shifted(Scaled):
    def forward(self, x: Any) -> Any:
        return self.inner(x) + self.factor


def _set(holder: Any, **attributes: Any) -> None:
    for name, value in attributes.items():
        object.__setattr__(holder, name, value)


def _put_back(holder: Any, **attributes: Any) -> None:
    own = {**vars(holder), **attributes}
    vars(holder).clear()
    vars(holder).update(own)


CHANGES: dict[str, Callable[[Scaled], Any]] = {
    "an item of vars": lambda m: vars(m).__setitem__("factor", -3.0),
    "update": lambda m: m.__dict__.update(factor=0.25),
    "object.__setattr__": lambda m: _set(m, factor=7.0),
    "another forward": lambda m: m.__dict__.update(forward=lambda x: tg.exp(x)),
    "it is taken away": lambda m: m.__dict__.pop("forward"),
    "of a child": lambda m: vars(m.inner).update(weight=tg.Parameter(np.full((4, 3), 0.5, np.float32))),
    "no bias": lambda m: vars(m.inner).update(bias=None),
    "another child": lambda m: vars(m).update(inner=nn.Linear(4, 3, seed=5)),
    "another list": lambda m: vars(m).update(powers=[5.0]),
    "another class": lambda m: setattr(m, "__class__", Shifted),
    "the class past __setattr__": lambda m: _set(m, __class__=Scaled),
    "another dict": lambda m: _set(m, __dict__={**vars(m), "factor": 11.0}),
    "all is gone and there again": lambda m: _put_back(m, factor=4.0),
}  # fmt: skip


@pytest.mark.parametrize("frozen", [False, True], ids=["recorded", "no_grad"])
def test_what_is_set_past_setattr_is_seen(frozen: bool) -> None:
    model = Scaled()
    compiled, other = tg.compile(lambda x: model(x)), tg.compile(lambda x: model(x) * 2.0)
    with tg.no_grad() if frozen else tg.enable_grad():
        for what, change in {"nothing": lambda m: None, **CHANGES}.items():
            change(model)
            for _ in range(2):  # the short way too
                expected = model(X).detach().numpy()
                np.testing.assert_allclose(compiled(X).detach().numpy(), expected, rtol=1e-6, err_msg=what)
                np.testing.assert_allclose(other(X).detach().numpy(), 2 * expected, rtol=1e-6, err_msg=what)


def test_an_equal_value_and_what_calls_keep_are_no_change() -> None:
    model = Scaled()
    compiled = tg.compile(lambda x: model(x))
    for k in range(3):
        compiled(X)
        model(X)  # which keeps a thing or two
        vars(model)["factor"] = float(f"2.{k * 0}")
    model.eval()
    compiled(X)
    model.train()
    assert not compiled.stats.retraces


def test_an_optimiser_is_seen_too() -> None:
    def trained(compiled: bool) -> list[Any]:
        model = nn.Linear(4, 3, seed=0)
        adam = optim.Adam(model, lr=0.1)

        def step(x: Any) -> Any:
            adam.minimize((model(x) ** 2).sum())

        run = tg.compile(step) if compiled else step
        found = []
        for k in range(4):
            if k == 2:
                vars(adam)["schedule"] = optim.schedules.constant(0.01)
            run(X)
            found.append(model.weight.numpy())
        return found

    for expected, found in zip(trained(False), trained(True), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


class Plain:
    """An object with some attributes."""

    def __init__(self) -> None:
        self.a, self.b, self.c, self.passing = 1, "text", None, 0


def test_memory_says_what_python_sees() -> None:
    """Each change of a dict, one after the other: words and Python agree on whether there is one."""

    calm: list[Callable[[dict[str, Any]], Any]] = [
        lambda own: own.update(a=own["a"]), lambda own: own.update(passing=own["passing"] + 1),
    ]  # fmt: skip
    changes: list[Callable[[dict[str, Any]], Any]] = [
        *calm, lambda own: own.update(a=2), lambda own: own.pop("b", None), lambda own: own.update(more=[]),
        lambda own: own.update(c=own.pop("c")), dict.clear,
        lambda own: own.update({f"k{n}": n for n in range(60)}), lambda own: own.setdefault("a", 5),
        lambda own: own.update(c=own.get("a")), lambda own: own.update({3: "no text"}),
    ]  # fmt: skip
    seen = set()
    for first, second in itertools.product(changes, changes):
        objects = [Plain(), Plain()]
        for change in (first, second):
            words = AttributeWords(objects, {"passing"})
            try:
                change(vars(objects[1]))
            except KeyError:
                break
            seen.add(words.differ != words._look)
            assert words.differ(None) or not words._look(None)  # where it lies elsewhere, words have to be read again
            assert not words.differ(None) or change not in calm
    assert (True in seen) == (machine.reason() is None)


def test_a_kernel_reads_no_further_than_the_first_word_that_differs() -> None:
    there = np.array([5, 6], np.int64)
    at = there.ctypes.data
    for expected, pairs in {
        0: [(at, 5), (at + 8, 6)],
        1: [(at, 5), (at + 8, 7), (8, 0)],  # nobody may read at 8
    }.items():
        table, status = np.array(pairs, np.int64), np.array([-1])
        words = np.array([table.ctypes.data, len(pairs), status.ctypes.data])
        kernel(compare_words, "float64").emulate(words, [there, table, status])
        assert status[0] == expected
        if machine.reason() is None:
            status[0] = -1
            kernel(compare_words, "float64").run(words)
            assert status[0] == expected


def test_copies_of_a_model_are_their_own() -> None:
    model = Scaled()
    compiled = model.compile()
    other = copy.deepcopy(model)
    compiled(X)
    vars(other)["factor"] = 9.0
    compiled(X)
    assert compiled.stats.traces == 1
