"""What one step of a random program may be: a call of a catalogue op, or one of the forms that register themselves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tensorgraph.engine.op import CATALOGUE
from tensorgraph.testing.programs.calls import call
from tensorgraph.testing.programs.choices import Choices, Options
from tensorgraph.testing.programs.writer import Writer

__all__ = ["EXCLUDED", "FORMS", "Form", "drawable", "form", "step"]


@dataclass(frozen=True)
class Form:
    """A form of a step, and of which programs it may be a part."""

    write: Callable[[Writer, Choices], Any]
    allowed: Callable[[Options], bool]


FORMS: dict[str, Form] = {}

# ops that a program does not call by name, each with its reason
EXCLUDED: dict[str, str] = {
    "gradients": "written as tg.gradients, tg.grad and backward()",
    "custom_vjp": "written as a function with defvjp",
    "checkpoint": "written as tg.checkpoint; a trace records what is inside",
    "mean_divisor": "a part of the composed cross-entropy",
    "class_weights": "a part of the composed cross-entropy",
    "class_targets": "a part of the composed cross-entropy",
    "running_average": "written by the layer BatchNorm, in programs with state",
    "uniform": "drawn from a generator, in programs with state, whose next state is not thrown away",
    "normal": "drawn from a generator, in programs with state",
    "permutation": "drawn from a generator, in programs with state",
}


def drawable() -> list[str]:
    """Names of the ops that programs call, simplest first."""
    found = [n for n, op in CATALOGUE.items() if n not in EXCLUDED and op.primal is None]
    first = ["add", "multiply", "tanh", "sum"]
    return first + [n for n in found if n not in first]


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
