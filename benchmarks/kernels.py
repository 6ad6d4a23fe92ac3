"""``python -m benchmarks kernels``: which ops a compiled plan runs as machine code, and why NumPy runs the others.

Each example of each op of the catalogue is traced with its gradients, transformed and planned; nothing is run.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

import tensorgraph as tg
from tensorgraph.compile.plan import plan
from tensorgraph.engine.op import Op, elementwise, reduction
from tensorgraph.testing import Case, examples_of
from tensorgraph.testing.graphs import step_of

__all__ = ["Left", "left_of", "measure", "table"]


class Left(NamedTuple):
    """What a plan of one example leaves to NumPy, each with the reason: of the call, and of its gradients."""

    call: str
    forward: tuple[str, ...]
    backward: tuple[str, ...]


def reasons(function: Callable[..., Any], arguments: Sequence[Any]) -> tuple[str, ...]:
    """Why NumPy runs steps of a function that is compiled."""
    steps = plan(tg.trace(function, *arguments).transform(), exact=True).steps
    hosts = [(step.equations[0].op.name, step.why) for step in steps if step.on_host]
    return tuple(dict.fromkeys(why if name in why else f"{name}: {why}" for name, why in hosts))


def left_of(case: Case) -> Left:
    """What is left to NumPy of an example."""
    step, inputs = step_of(case)
    forward = reasons(lambda *inputs: case(inputs), inputs)
    return Left(str(case), forward, tuple(why for why in reasons(step, inputs) if why not in forward))


def measure(words: Sequence[str] = (), told: Callable[[str], None] = print) -> dict[str, list[Left]]:
    """What is left of every example in float32, by the names of the ops: of those that have one of some words."""
    results: dict[str, list[Left]] = {}
    for name, op in tg.CATALOGUE.items():
        if not words or any(word in name for word in words):
            told(name)
            if calls := list(_left(op)):
                results[name] = calls
    return results


def _left(op: Op) -> Iterator[Left]:
    if not op.examples and op.kind not in (elementwise, reduction):
        return  # what other ops are differentiated with
    for case in examples_of(op):
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            cast = case.cast(np.float32)
            try:
                yield left_of(cast)
            except (TypeError, ValueError) as error:  # settings of updates stay float64
                yield Left(str(cast), (f"no graph is made of it: {str(error).splitlines()[0]}",), ())


def table(results: dict[str, list[Left]]) -> str:
    """For each op of which something is left: how many of its examples are machine code, and the reasons."""
    lines = []
    for name, calls in results.items():
        counts = [sum(not part for part in parts) for parts in zip(*[(c.forward, c.backward) for c in calls])]
        if counts != [len(calls)] * 2:
            lines.append(f"{name}: {counts[0]} of {len(calls)} calls, {counts[1]} of their gradients")
            for part in ("forward", "backward"):
                lines += [f"    {part:8}  {why}" for why in dict.fromkeys(w for c in calls for w in getattr(c, part))]
    whole = len(results) - sum(line[0] != " " for line in lines)
    return "\n".join([f"{whole} of {len(results)} ops are machine code in every example, their gradients too", *lines])
