"""Lint: losses that are not what they look like."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tensorgraph.analysis.lint.findings import Finding, Report, rule
from tensorgraph.analysis.lint.patterns import Pattern
from tensorgraph.analysis.lint.view import View, axes_of, same
from tensorgraph.engine.op import elementwise, reduction
from tensorgraph.graph.graph import Equation, Var
from tensorgraph.ops.index import getitem

__all__: list[str] = []

FAR = 200  # values between a comparison and the mean of it
PAIR = Pattern("a - b", "a * b")
CROSS_ENTROPY, COMPARED = Pattern("softmax_cross_entropy(a, b)"), Pattern("a - b", "a == b", "a != b")


def _is_pattern(array: np.ndarray[Any, Any]) -> bool:
    """Whether an array is made, not measured: one number, equal steps, an identity matrix, and of integers each once
    in any order (the pairs of a batch), or as many of each class in turn (the episodes of few-shot learning)."""
    flat = array.reshape(-1)
    if array.dtype.kind not in "f":
        flat = flat.astype(np.int64)
    if flat.size < 2 or (flat == flat[0]).all() or (np.diff(flat) == flat[1] - flat[0]).all():
        return True
    if array.dtype.kind in "iu" and int(flat.max()) - int(flat.min()) < flat.size:
        classes = np.arange(flat.min(), flat.max() + 1)
        each, rest = divmod(flat.size, classes.size)
        if rest == 0 and each == 1 and (np.sort(flat) == classes).all():
            return True
        if rest == 0 and any((flat == order).all() for order in (np.repeat(classes, each), np.tile(classes, each))):
            return True
    return array.ndim == 2 and array.shape[0] == array.shape[1] and bool((array == np.eye(len(array))).all())


def _is_averaged(view: View, value: Var) -> bool:
    """Whether a value ends in a sum or a mean over all its axes at once, elementwise ops between."""
    todo, seen = [value], {value}
    while todo and len(seen) < FAR:
        var = todo.pop()
        for eq in view.readers(var):
            summed = eq.op.kind is reduction and "linear" in eq.op.traits
            if summed and len(axes_of(eq, var.aval.ndim)) == var.aval.ndim:
                return True
            passes = eq.op.kind is elementwise or same(eq.op)
            if passes and eq.outputs[0].aval.shape == value.aval.shape and eq.outputs[0] not in seen:
                seen.add(eq.outputs[0])
                todo.append(eq.outputs[0])
    return False


@rule("TG004", "outer-product-in-loss")
def outer_product(view: View, report: Report) -> Iterator[Finding]:
    """(N, 1) and (N,) broadcast to (N, N): every prediction is compared with every label."""
    for eq in view.equations:
        if not _pairs(view, eq):
            continue
        column, row = sorted(eq.inputs, key=lambda a: -a.aval.ndim)  # type: ignore[union-attr]
        assert isinstance(column, Var) and isinstance(row, Var)
        n = row.aval.size
        if row.aval.shape != (n,) or column.aval.shape != (n, 1) or n < 2:
            continue
        if _is_column(view, column) or not all(_is_data(view, v) for v in (column, row)):
            continue
        if _is_averaged(view, eq.outputs[0]):
            yield report(
                eq,
                f"{eq.op.name} of shapes {column.aval.shape} and {row.aval.shape} broadcasts to "
                f"{eq.outputs[0].aval.shape}, an outer product, and all of it goes into the loss",
                "bring both to one shape: pred.reshape(-1), or pred[:, 0]; write y[:, None] where all pairs are meant",
            )


def _pairs(view: View, eq: Equation) -> bool:
    """Whether two variables are compared, element by element."""
    if len(eq.inputs) != 2 or eq.op.kind is not elementwise or not all(isinstance(a, Var) for a in eq.inputs):
        return False
    return not eq.op.traits.isdisjoint(("comparison", "extremum")) or PAIR.at(view, eq) is not None


def _is_column(view: View, var: Var) -> bool:
    """Whether a value was made a column on purpose."""
    eq = view.made(var)
    return eq is not None and ("reshapes" in eq.op.traits or eq.op is getitem)


def _is_data(view: View, var: Var) -> bool:
    """Whether a value has the examples of a batch on its first axis: it comes from arguments, or was captured."""
    return var in view.from_inputs or var in view.graph.consts


@rule("TG011", "captured-labels")
def captured_labels(view: View, report: Report) -> Iterator[Finding]:
    """Labels that the function captured are part of the graph: every batch is compared with the same ones."""
    told: set[Var] = set()
    for eq in view.equations:
        found = _labels(view, eq)
        if found is None or found in told or found not in view.graph.consts:
            continue
        batch = found.aval.shape[0] if found.aval.ndim else 0
        if batch < 2 or not any(v.aval.ndim and v.aval.shape[0] == batch for v in view.graph.inputs):
            continue
        if _is_pattern(view.graph.consts[found]):
            continue
        told.add(found)
        yield report(
            eq,
            f"a captured array {found.aval} with the batch's size is compared with what comes from the arguments: the "
            "graph holds its numbers, and goes on using them for every other batch",
            "pass the labels as an argument",
        )


def _picks(view: View, eq: Equation) -> Var | None:
    """The classes of ``log_p[np.arange(n), classes]``, one of each row of what was computed with parameters."""
    scores, indices = eq.inputs
    consts = view.graph.consts
    if not isinstance(scores, Var) or scores not in view.from_inputs or scores not in view.from_parameters:
        return None
    if scores.aval.ndim != 2 or not isinstance(indices, tuple) or len(indices) != 2:
        return None
    rows, classes = (view.follow(i) for i in indices)
    if rows not in consts or classes not in consts or consts[rows].dtype.kind not in "iu":
        return None
    every = consts[rows].shape == scores.aval.shape[:1] and (consts[rows] == np.arange(scores.aval.shape[0])).all()
    chosen: Var | None = classes if every and consts[classes].shape == consts[rows].shape else None
    return chosen


def _labels(view: View, eq: Equation) -> Var | None:
    """What an equation compares predictions with, if it is a loss."""
    if (match := CROSS_ENTROPY.at(view, eq)) is not None:
        logits, labels = view.follow(match["a"]), view.follow(match["b"])
        return labels if isinstance(labels, Var) and logits in view.from_inputs else None
    if eq.op is getitem:
        return _picks(view, eq)
    if COMPARED.at(view, eq) is None:
        return None
    for a, b in (eq.inputs, eq.inputs[::-1]):
        target: Any = view.follow(b)
        if a not in view.from_inputs or not isinstance(a, Var) or not isinstance(target, Var):
            continue
        # the batch is the first axis of both
        aligned = target.aval.ndim > 0 and target.aval.shape[:1] == a.aval.shape[:1]
        aligned = aligned and target.aval.ndim == a.aval.ndim
        learned = a in view.from_parameters or "comparison" in eq.op.traits
        if target in view.graph.consts and aligned and learned and _is_averaged(view, eq.outputs[0]):
            return target
    return None
