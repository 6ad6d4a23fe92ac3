"""What one step of a random program may be: a call of a catalogue op, or one of the forms that register themselves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tensorgraph.engine.op import CATALOGUE, random
from tensorgraph.ops.arithmetic import add, multiply
from tensorgraph.ops.exponential import tanh
from tensorgraph.ops.reduction import sum as sum_
from tensorgraph.testing.programs.calls import call
from tensorgraph.testing.programs.choices import Choices, Options
from tensorgraph.testing.programs.writer import Writer

__all__ = ["FORMS", "Form", "drawable", "form", "step"]


@dataclass(frozen=True)
class Form:
    """A form of a step, and of which programs it may be a part."""

    write: Callable[[Writer, Choices], Any]
    allowed: Callable[[Options], bool]


FORMS: dict[str, Form] = {}

SIMPLEST = (add, multiply, tanh, sum_)


def drawable() -> list[str]:
    """Names of the ops that programs call, simplest first.

    What is internal is recorded by what a program calls; random numbers are drawn from generators, in programs with
    state, where the next state is kept.
    """
    found = [op for op in CATALOGUE.values() if "internal" not in op.traits and op.kind is not random]
    return [op.name for op in (*SIMPLEST, *(op for op in found if op not in SIMPLEST))]


def form(allowed: Callable[[Options], bool] = lambda options: True) -> Callable[[Any], Any]:
    """Register a form of a step under its function's name."""

    def register(write: Any) -> Any:
        FORMS[write.__name__] = Form(write, allowed)
        return write

    return register


def step(w: Writer, name: str, numbers: Sequence[int]) -> None:
    """Write one step, if there is one with the values at hand."""
    choices = Choices(numbers)
    if name in FORMS:
        FORMS[name].write(w, choices)
    else:
        call(w, CATALOGUE[name], choices)
