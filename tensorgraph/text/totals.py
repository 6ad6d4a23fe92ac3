"""Sums that grow, in a text: ``total = Sum()``, ``total = total + x``, ``total.total()``."""

from __future__ import annotations

import ast
from typing import Any

from tensorgraph.engine.running import Sum
from tensorgraph.graph.calls import Grown
from tensorgraph.text.scene import Scene, show

__all__ = ["RunningSum", "begun"]


class RunningSum(Sum):
    """A sum while a text is read: it knows what was added to it."""

    __slots__ = ("record",)

    def __init__(self, plus: Any = None) -> None:
        super().__init__(plus)
        self.record = Grown([], 0)  # how a call's record says it

    def __add__(self, value: Any) -> RunningSum:
        more = super().__add__(value)
        assert type(more) is RunningSum
        known = self.record
        more.record = Grown(known.values, known.count + 1)
        if len(known.values) == known.count:
            known.values.append(value._value)
        return more


def begun(scene: Scene, node: ast.Call) -> RunningSum:
    """``Sum()``: the beginning of one."""
    if node.args or node.keywords:
        scene.fail(node, f"a Sum begins empty, Sum(), and grows by +: got {show(node)}")
    scene.reading.sums.append(len(scene.trace.equations))
    return RunningSum()
