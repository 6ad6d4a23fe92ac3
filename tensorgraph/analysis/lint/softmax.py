"""Lint: softmax, log-softmax, cross-entropy, sigmoid, and exponentials that overflow."""

from __future__ import annotations

from collections.abc import Iterator

from tensorgraph.analysis.lint.findings import Finding, Report, Rewrite, rule
from tensorgraph.analysis.lint.forms import SOFTMAX_BY_HAND, bounded_above, picked, rows_of, softmax_of
from tensorgraph.analysis.lint.patterns import Match, Pattern
from tensorgraph.analysis.lint.view import Steps, View, replacing
from tensorgraph.graph.graph import Equation, Var
from tensorgraph.ops.arithmetic import negative
from tensorgraph.ops.cross_entropy import softmax_cross_entropy
from tensorgraph.ops.exponential import log1p, sigmoid, softplus
from tensorgraph.ops.reduction import logsumexp
from tensorgraph.ops.softmax import log_softmax, softmax

__all__: list[str] = []

OF_LOGITS = Pattern("softmax_cross_entropy(x)", "log_softmax(x)", "softmax(x)")
LOG, ANY_LOG = Pattern("log(p)"), Pattern("log(p)", "log1p(p)")
LOG_SUM_EXP, LOG_MEAN_EXP = Pattern("log(t := sum(e := exp(z)))"), Pattern("log(t := mean(exp(z)))")
SIGMOID, COMPLEMENT, MINUS_SIGMOID = Pattern("sigmoid(x)"), Pattern("1 - sigmoid(x)"), Pattern("-sigmoid(x)")
SIGMOID_BY_HAND = Pattern("reciprocal(1 + exp(z := -x))", "(e := exp(z := x)) / (1 + e)")
SOFTPLUS_BY_HAND = Pattern("log(1 + exp(z))", "log1p(exp(z))")


@rule("TG001", "softmax-before-cross-entropy")
def softmax_twice(view: View, report: Report) -> Iterator[Finding]:
    """Probabilities where logits are expected: cross-entropy, softmax and log-softmax take the softmax themselves."""
    for eq, match in OF_LOGITS.each(view):
        logits, axis = match["x"], eq.attrs["axis"]
        x = rows_of(view, logits, axis)
        found = softmax_of(view, x)
        if found is None:
            continue
        axis = axis % logits.aval.ndim - logits.aval.ndim + x.aval.ndim  # reshapes keep it the last one
        if eq.op is not softmax_cross_entropy and axis != found.axis:
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
    for eq, match in LOG.each(view):
        x = match["p"]
        direct = softmax_of(view, x)
        source, changed = (x, False) if direct else picked(view, x)
        found = direct or softmax_of(view, source)
        if found is None:
            continue
        rewrite = None
        if not changed and found.x.aval.dtype == eq.outputs[0].aval.dtype:
            rewrite = replacing("TG003 log-of-softmax", eq, [(log_softmax, (found.x,), {"axis": found.axis})])
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
    for pattern, more in ((LOG_SUM_EXP, ""), (LOG_MEAN_EXP, ", minus the logarithm of how many there are")):
        for eq, match in pattern.each(view):
            if bounded_above(view, match["z"]):
                continue
            total = match.equations["t"]
            yield report(
                eq,
                f"log({total.op.name}(exp(x))) overflows to inf from x = 89 in float32, and is -inf where every "
                "exponential is rounded to 0",
                f"use logsumexp, which subtracts the maximum first{more}",
                None if more else _as_logsumexp(eq, match),
            )


def _as_logsumexp(eq: Equation, match: Match) -> Rewrite | None:
    """The rewrite of a logarithm of a sum, where no cast stands between."""
    total, z = match.equations["t"], match["z"]
    exact = total.attrs["dtype"] is None and total.inputs[0] is match.equations["e"].outputs[0]
    if not exact or z.aval.dtype != eq.outputs[0].aval.dtype:
        return None
    attrs = {"axis": total.attrs["axis"], "keepdims": total.attrs["keepdims"]}
    return replacing("TG013 log-of-sum-of-exp", eq, [(logsumexp, (z,), attrs)])


@rule("TG014", "softmax-can-overflow")
def softmax_by_hand(view: View, report: Report) -> Iterator[Finding]:
    """exp(x) / sum(exp(x)) without a shift by the maximum overflows to NaN."""
    for eq, _ in SOFTMAX_BY_HAND.each(view):
        found = softmax_of(view, eq.outputs[0])
        if found is None or found.shifted:
            continue
        rewrite = None
        if found.x.aval == eq.outputs[0].aval:
            rewrite = replacing("TG014 softmax-can-overflow", eq, [(softmax, (found.x,), {"axis": found.axis})])
        yield report(
            eq,
            "exponentials over their sum without a shift: from x = 89 in float32 both are inf, and inf/inf is NaN",
            f"use softmax(x, axis={found.axis}), which subtracts the maximum first",
            rewrite,
        )


@rule("TG015", "log-of-sigmoid")
def log_of_sigmoid(view: View, report: Report) -> Iterator[Finding]:
    """log(sigmoid(x)) and log(1 - sigmoid(x)) are -inf where the sigmoid is rounded to 0 or 1."""
    for eq, match in ANY_LOG.each(view):
        source, changed = match["p"], False
        found = _sigmoid_in(view, eq, source)
        if found is None:
            source, changed = picked(view, source)
            found = _sigmoid_in(view, eq, source) if changed else None
        if found is None:
            continue
        x, complement = found
        rewrite = None
        if not changed and x.aval == eq.outputs[0].aval:
            steps: Steps = [(softplus, (x if complement else None,), {}), (negative, (None,), {})]
            steps = steps if complement else [(negative, (x,), {}), *steps]
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
    forms = ((MINUS_SIGMOID, True),) if eq.op is log1p else ((SIGMOID, False), (COMPLEMENT, True))
    for pattern, complement in forms:
        if (match := pattern.match(view, atom)) is not None:
            return match["x"], complement
    return None


@rule("TG021", "softmax-over-one-class")
def softmax_over_one(view: View, report: Report) -> Iterator[Finding]:
    """A softmax over an axis of size 1 is 1 whatever comes in."""
    # more axes than examples and classes: attention that sees one position, which is as it should be
    for eq, match in OF_LOGITS.each(view):
        x = match["x"]
        if x.aval.ndim > 2 and eq.op is not softmax_cross_entropy:
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
    for eq, match in SOFTPLUS_BY_HAND.each(view):
        z = match["z"]
        if bounded_above(view, z):
            continue
        rewrite = None
        if z.aval == eq.outputs[0].aval:
            rewrite = replacing("TG022 softplus-by-hand", eq, [(softplus, (z,), {})])
        yield report(
            eq,
            "log(1 + exp(x)) overflows to inf from x = 89 in float32",
            "use softplus(x), which is the same and does not",
            rewrite,
        )


@rule("TG023", "sigmoid-by-hand")
def sigmoid_by_hand(view: View, report: Report) -> Iterator[Finding]:
    """1 / (1 + exp(-x)) overflows for negative x, and its gradient is NaN there."""
    for eq, match in SIGMOID_BY_HAND.each(view):
        if bounded_above(view, match["z"]):
            continue
        rewrite = None
        if match["x"].aval == eq.outputs[0].aval:
            rewrite = replacing("TG023 sigmoid-by-hand", eq, [(sigmoid, (match["x"],), {})])
        yield report(
            eq,
            "the exponential in this sigmoid overflows from |x| = 89 in float32, and the gradient is NaN there",
            "use sigmoid(x), which is the same and does not overflow",
            rewrite,
        )
