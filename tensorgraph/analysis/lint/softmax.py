"""Lint: softmax, log-softmax, cross-entropy, sigmoid, and exponentials that overflow."""

from __future__ import annotations

from collections.abc import Iterator

from tensorgraph.analysis.lint.findings import Finding, Report, rule
from tensorgraph.analysis.lint.forms import (
    bounded_above,
    one_plus_exp,
    picked,
    rows_of,
    sigmoid_of,
    softmax_of,
)
from tensorgraph.analysis.lint.view import Steps, View, replacing
from tensorgraph.graph.graph import Equation, Var

__all__: list[str] = []


@rule("TG001", "softmax-before-cross-entropy")
def softmax_twice(view: View, report: Report) -> Iterator[Finding]:
    """Probabilities where logits are expected: cross-entropy, softmax and log-softmax take the softmax themselves."""
    for eq in view.equations:
        if eq.op.name not in ("softmax_cross_entropy", "log_softmax", "softmax"):
            continue
        logits, axis = eq.inputs[0], eq.attrs["axis"]
        if not isinstance(logits, Var):
            continue
        x = rows_of(view, logits, axis)
        found = softmax_of(view, x)
        if found is None:
            continue
        axis = axis % logits.aval.ndim - logits.aval.ndim + x.aval.ndim  # reshapes keep it the last one
        if eq.op.name != "softmax_cross_entropy" and axis != found.axis:
            continue
        yield report(
            eq,
            f"{eq.op.name} takes logits and applies softmax itself, but what it gets is a softmax already: the result "
            "is nearly flat, and the gradient small",
            f"pass what goes into the softmax straight to {eq.op.name}; keep softmax for showing probabilities",
        )


@rule("TG003", "log-of-softmax")
def log_of_softmax(view: View, report: Report) -> Iterator[Finding]:
    """The logarithm of a softmax is -inf where a probability is too small for a float."""
    for eq in view.equations:
        if eq.op.name != "log":
            continue
        x = eq.inputs[0]
        direct = softmax_of(view, x)
        source, changed = (x, False) if direct else picked(view, x)
        found = direct or softmax_of(view, source)
        if found is None:
            continue
        rewrite = None
        if not changed and found.x.aval.dtype == eq.outputs[0].aval.dtype:
            rewrite = replacing("TG003 log-of-softmax", eq, [("log_softmax", (found.x,), {"axis": found.axis})])
        yield report(
            eq,
            "the logarithm of a softmax loses accuracy, and is -inf with a NaN gradient where a probability is rounded "
            "to 0",
            "use log_softmax" + (", and pick from its result" if changed else "") + ", or softmax_cross_entropy",
            rewrite,
        )


@rule("TG013", "log-of-sum-of-exp")
def log_of_sum_of_exp(view: View, report: Report) -> Iterator[Finding]:
    """log(sum(exp(x))) without a shift by the maximum overflows."""
    for eq in view.equations:
        if eq.op.name != "log":
            continue
        total = view.made_by(eq.inputs[0], "sum", "mean")
        exp = None if total is None else view.made_by(total.inputs[0], "exp")
        if exp is None or total is None or bounded_above(view, exp.inputs[0]):
            continue
        z = exp.inputs[0]
        rewrite = None
        exact = total.op.name == "sum" and total.attrs["dtype"] is None and total.inputs[0] is exp.outputs[0]
        if exact and isinstance(z, Var) and z.aval.dtype == eq.outputs[0].aval.dtype:
            attrs = {"axis": total.attrs["axis"], "keepdims": total.attrs["keepdims"]}
            rewrite = replacing("TG013 log-of-sum-of-exp", eq, [("logsumexp", (z,), attrs)])
        yield report(
            eq,
            f"log({total.op.name}(exp(x))) overflows to inf from x = 89 in float32, and is -inf where every "
            "exponential is rounded to 0",
            "use logsumexp, which subtracts the maximum first"
            + (", minus the logarithm of how many there are" if total.op.name == "mean" else ""),
            rewrite,
        )


@rule("TG014", "softmax-can-overflow")
def softmax_by_hand(view: View, report: Report) -> Iterator[Finding]:
    """exp(x) / sum(exp(x)) without a shift by the maximum overflows to NaN."""
    for eq in view.equations:
        if eq.op.name not in ("divide", "multiply"):
            continue
        found = softmax_of(view, eq.outputs[0])
        if found is None or found.equation is not eq or found.shifted:
            continue
        rewrite = None
        if found.x.aval == eq.outputs[0].aval:
            rewrite = replacing("TG014 softmax-can-overflow", eq, [("softmax", (found.x,), {"axis": found.axis})])
        yield report(
            eq,
            "exponentials over their sum without a shift: from x = 89 in float32 both are inf, and inf/inf is NaN",
            f"use softmax(x, axis={found.axis}), which subtracts the maximum first",
            rewrite,
        )


@rule("TG015", "log-of-sigmoid")
def log_of_sigmoid(view: View, report: Report) -> Iterator[Finding]:
    """log(sigmoid(x)) and log(1 - sigmoid(x)) are -inf where the sigmoid is rounded to 0 or 1."""
    for eq in view.equations:
        if eq.op.name not in ("log", "log1p"):
            continue
        source, changed = eq.inputs[0], False
        found = _sigmoid_in(view, eq, source)
        if found is None:
            source, changed = picked(view, source)
            found = _sigmoid_in(view, eq, source) if changed else None
        if found is None:
            continue
        x, complement = found
        rewrite = None
        if not changed and x.aval == eq.outputs[0].aval:
            steps: Steps = [("softplus", (x if complement else None,), {}), ("negative", (None,), {})]
            steps = steps if complement else [("negative", (x,), {}), *steps]
            rewrite = replacing("TG015 log-of-sigmoid", eq, steps)
        form, better = ("log(1 - sigmoid(x))", "-softplus(x)") if complement else ("log(sigmoid(x))", "-softplus(-x)")
        yield report(
            eq,
            f"{form} is -inf with a NaN or vanishing gradient where the sigmoid is rounded to {int(complement)}",
            f"use {better}, which is the same and stays finite",
            rewrite,
        )


def _sigmoid_in(view: View, eq: Equation, atom: object) -> tuple[Var, bool] | None:
    """The x of a sigmoid whose logarithm is taken, and whether it is that of the complement 1 - sigmoid."""
    if eq.op.name == "log1p":  # of minus a sigmoid
        minus = view.made_by(atom, "negative")
        found = None if minus is None else sigmoid_of(view, minus.inputs[0])
        return None if found is None else (found[0], True)
    found = sigmoid_of(view, atom)
    if found is not None:
        return found[0], False
    rest = view.made_by(atom, "subtract")
    if rest is not None and view.constant(rest.inputs[0]) == 1.0:
        found = sigmoid_of(view, rest.inputs[1])
    return None if found is None else (found[0], True)


@rule("TG021", "softmax-over-one-class")
def softmax_over_one(view: View, report: Report) -> Iterator[Finding]:
    """A softmax over an axis of size 1 is 1 whatever comes in."""
    # more axes than examples and classes: attention that sees one position, which is as it should be
    for eq in view.equations:
        if eq.op.name not in ("softmax", "log_softmax", "softmax_cross_entropy"):
            continue
        x = eq.inputs[0]
        if not isinstance(x, Var) or (x.aval.ndim > 2 and eq.op.name != "softmax_cross_entropy"):
            continue
        if x.aval.shape[eq.attrs["axis"]] == 1 and x.aval.size > 1:
            yield report(
                eq,
                f"{eq.op.name} goes over axis {eq.attrs['axis']} of {x.aval}, which has size 1: the result is the same "
                "whatever comes in, and the gradient 0",
                "use sigmoid for a single output (as a loss: softplus(x) - y * x), or check the axis",
            )


@rule("TG022", "softplus-by-hand")
def softplus_by_hand(view: View, report: Report) -> Iterator[Finding]:
    """log(1 + exp(x)) overflows."""
    for eq in view.equations:
        if eq.op.name == "log":
            exp = one_plus_exp(view, eq.inputs[0])
        elif eq.op.name == "log1p":
            exp = view.made_by(eq.inputs[0], "exp")
        else:
            continue
        if exp is None or bounded_above(view, exp.inputs[0]):
            continue
        z = exp.inputs[0]
        rewrite = None
        if isinstance(z, Var) and z.aval == eq.outputs[0].aval:
            rewrite = replacing("TG022 softplus-by-hand", eq, [("softplus", (z,), {})])
        yield report(
            eq,
            "log(1 + exp(x)) overflows to inf from x = 89 in float32",
            "use softplus(x), which is the same and does not",
            rewrite,
        )


@rule("TG023", "sigmoid-by-hand")
def sigmoid_by_hand(view: View, report: Report) -> Iterator[Finding]:
    """1 / (1 + exp(-x)) overflows for negative x, and its gradient is NaN there."""
    for eq in view.equations:
        if eq.op.name not in ("divide", "reciprocal"):
            continue
        found = sigmoid_of(view, eq.outputs[0])
        if found is None or found[1] is not eq:
            continue
        exp = one_plus_exp(view, eq.inputs[-1])
        if exp is None or bounded_above(view, exp.inputs[0]):
            continue
        rewrite = None
        if found[0].aval == eq.outputs[0].aval:
            rewrite = replacing("TG023 sigmoid-by-hand", eq, [("sigmoid", (found[0],), {})])
        yield report(
            eq,
            "the exponential in this sigmoid overflows from |x| = 89 in float32, and the gradient is NaN there",
            "use sigmoid(x), which is the same and does not overflow",
            rewrite,
        )
