"""Lint: what is normalised away, and normalising over nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tensorgraph.analysis.lint.findings import Finding, Report, Rewrite, rule
from tensorgraph.analysis.lint.patterns import Pattern
from tensorgraph.analysis.lint.view import View, axes_of, same, without_unread
from tensorgraph.graph.graph import Equation, Graph, Var
from tensorgraph.ops.arithmetic import subtract
from tensorgraph.ops.batch_norm import batch_norm, batch_norm_relu
from tensorgraph.ops.reduction import var as variance
from tensorgraph.ops.shape import astype
from tensorgraph.passes.rewrite import Log, derived

__all__: list[str] = []

BATCH_NORMS = (batch_norm, batch_norm_relu)
MEAN = Pattern("shaped(t := mean(x))", "shaped(shaped(t := sum(x)) / C)", "shaped(shaped(t := sum(x)) * C)")
CENTRED, SHIFTED = Pattern("x - m"), Pattern("_ + _", "_ - _")
LAYER_NORM, VARIANCE = Pattern("layer_norm(x)"), Pattern("var(x)")


def mean_of(view: View, atom: Any) -> Equation | None:
    """The reduction behind a mean that broadcasts against what it is of: the op, or a sum over a number."""
    match = MEAN.match(view, atom)
    if match is None:
        return None
    eq, of = match.equations["t"], match["x"].aval
    axes = axes_of(eq, of.ndim)
    kept = tuple(1 if i in axes else n for i, n in enumerate(of.shape))
    return eq if atom.aval.shape in (of.shape, kept, kept[_leading_ones(kept) :]) else None


def _leading_ones(shape: tuple[int, ...]) -> int:
    return next((i for i, n in enumerate(shape) if n != 1), len(shape))


def _constant_over(atom: Any, shape: tuple[int, ...], axes: tuple[int, ...]) -> bool:
    """Whether an operand is the same along these axes of the shape that it broadcasts to."""
    if not isinstance(atom, Var) or atom.aval.shape == shape:
        return False
    own = (1,) * (len(shape) - atom.aval.ndim) + atom.aval.shape
    return all(own[axis] == 1 and shape[axis] != 1 for axis in axes)


def _bias_in(add: Equation | None, axes: tuple[int, ...]) -> tuple[Any, Var] | None:
    """Of an addition with one side that is constant over the axes: that side, and what it is added to."""
    if add is None or not axes:
        return None
    shape = add.outputs[0].aval.shape
    sides = [(add.inputs[1], add.inputs[0])]
    if "commutative" in add.op.traits:
        sides.append((add.inputs[0], add.inputs[1]))
    for bias, rest in sides:
        if isinstance(rest, Var) and rest.aval.shape == shape and _constant_over(bias, shape, axes):
            return bias, rest
    return None


def _normalisations(view: View) -> Iterator[tuple[Equation, Any, tuple[int, ...], Equation | None]]:
    """Where a mean is subtracted: the equation, of what, over which axes, and the equation of the mean if by hand."""
    for eq in view.equations:
        if eq.op in BATCH_NORMS and isinstance(eq.inputs[0], Var):
            ndim = eq.inputs[0].aval.ndim
            axis = eq.attrs["axis"] % ndim
            yield eq, eq.inputs[0], tuple(i for i in range(ndim) if i != axis), None
    for eq, match in CENTRED.each(view):
        found = mean_of(view, match["m"])
        if found is not None and view.follow(found.inputs[0]) is view.follow(match["x"]):
            yield eq, match["x"], axes_of(found, eq.outputs[0].aval.ndim), found


@rule("TG002", "bias-before-batch-norm")
def bias_before_batch_norm(view: View, report: Report) -> Iterator[Finding]:
    """A bias added right before a normalisation that subtracts the mean over the batch: it has no effect."""
    for eq, y, axes, mean in _normalisations(view):
        add = view.made(y) if SHIFTED.match(view, y) else None
        found = _bias_in(add, axes)
        if found is None or add is None or _is_read_elsewhere(view, add.outputs[0], eq, mean):
            continue
        bias, x = found
        name = view.cells[bias].path if bias in view.cells else "what is added"
        rewrite = None
        if eq.op in BATCH_NORMS and y is add.outputs[0] and x.aval == y.aval:
            mu = eq.outputs[1]
            written_out = any(reader.origin is not None for reader in view.readers(y))  # its gradient reads y too
            if not view.readers(mu) and not view.is_result(mu) and not written_out:
                rewrite = _without_bias(eq, x)
        yield report(
            eq,
            f"{name} is added right before a normalisation over the batch, which subtracts the mean and the bias with "
            "it: it has no effect and no gradient",
            "leave it out (nn.Linear(..., bias=False)); the normalisation's own beta is the bias",
            rewrite,
        )


def _is_read_elsewhere(view: View, y: Var, eq: Equation, mean: Equation | None) -> bool:
    """Whether anything sees a shift of a value: not its normalisation, the mean that this takes, and variances."""
    todo = [y]
    while todo:
        var = todo.pop()
        if view.is_result(var):
            return True
        for reader in view.readers(var):
            if reader is eq or reader is mean or reader.op is variance:
                continue
            if reader.origin is not None or reader.is_gradient:
                continue  # what a derivative reads was read for the forward pass
            if mean is not None and reader.op is subtract and view.made(reader.inputs[1]) is mean:
                continue  # centred once more, as for the variance
            if not same(reader.op) and reader.op is not astype:
                return True
            todo.append(reader.outputs[0])
    return False


def _without_bias(eq: Equation, x: Var) -> Rewrite:
    def rewrite(graph: Graph) -> Graph:
        if not any(e is eq for e in graph.equations):
            raise ValueError("TG002: the equation to rewrite is not in this graph; lint the graph itself again")
        changed = derived(eq, eq.op, (x, *eq.inputs[1:]), eq.attrs)
        log = Log(graph, "lint")
        log.note("TG002 bias-before-batch-norm", eq, f"{eq.op.name} without the bias", eq.source)
        body = tuple(changed if e is eq else e for e in graph.equations)
        result = graph.replace(equations=body, changes=(*graph.changes, *log.changes))
        return without_unread(result, eq).check()

    return rewrite


@rule("TG005", "normalised-over-one-value")
def normalised_over_one(view: View, report: Report) -> Iterator[Finding]:
    """Normalising over a single value: the value minus itself."""
    for eq, y, axes, mean in _normalisations(view):
        if not y.aval.size or not axes or any(y.aval.shape[axis] != 1 for axis in axes):
            continue
        if mean is None:
            yield report(
                eq,
                f"{eq.op.name} of {y.aval} has one value per channel: it minus its mean is 0, and the output is beta "
                "whatever comes in",
                "merge or drop a short last batch (data.Loader(last='merge')), or check the axis",
            )
        else:
            yield report(
                eq,
                f"the mean of {y.aval} over axes {axes} is over one value: that minus its mean is always 0",
                "check the axis of the mean, or the size of the batch",
            )
    for eq, match in LAYER_NORM.each(view):
        x = match["x"]
        if x.aval.size == eq.outputs[1].aval.size > 0:
            yield report(
                eq,
                f"layer_norm of {x.aval} from axis {eq.attrs['axis']} on is over one value: that minus its mean is 0, "
                "and the output is beta whatever comes in",
                "check the axis",
            )
    for eq, match in VARIANCE.each(view):
        x = match["x"]
        if x.aval.size:
            count = x.aval.size // eq.outputs[0].aval.size
            correction = eq.attrs["correction"]
            if count <= max(1, correction):
                yield report(
                    eq,
                    f"the variance of {x.aval} over axis {eq.attrs['axis']}, with correction={correction}, is over "
                    f"{count} value{'s' if count > 1 else ''}: it is always {'NaN' if count <= correction else '0'}",
                    "check the axis of the variance, or the size of the batch",
                )
