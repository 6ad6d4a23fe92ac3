"""Lint: what is there and not used, and parameters that do not learn."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tensorgraph.analysis.lint.findings import Finding, Report, rule
from tensorgraph.analysis.lint.view import View, flows
from tensorgraph.engine.op import creation, random
from tensorgraph.engine.random import state
from tensorgraph.graph.graph import CellDecl, Equation, Source, Var
from tensorgraph.ops.structure import stop_gradient

__all__: list[str] = []

FAR = 1000  # values behind a parameter among which the end of its gradient is looked for


def _parameters(view: View) -> list[CellDecl]:
    return [decl for decl in view.graph.cells if decl.kind == "parameter" and decl.requires_grad]


@rule("TG006", "unused-parameter")
def unused_parameter(view: View, report: Report) -> Iterator[Finding]:
    """A parameter that nothing reads, or of which nothing that comes out depends."""
    for decl in _parameters(view):
        read = [u for u in view.readers(decl.var) if "update" not in u.op.traits]
        if view.is_result(decl.var) or any(u.is_gradient for u in read) or any(map(view.is_live, read)):
            continue
        how = "is read, but nothing that comes out depends on it" if read else "is never read"
        yield report(read[0] if read else None, f"parameter {decl.path} {how}", _UNUSED, source=view.place)
    owned = getattr(view.owner, "named_parameters", None)
    if owned is None:
        return
    known = {reference() for reference in view.graph.provenance.live}
    for name, parameter in dict(owned()).items():
        if parameter not in known and parameter._node is not None:
            message = f"parameter {parameter.path or name} is never read by the forward pass"
            yield report(None, message, _UNUSED, source=view.place)


_UNUSED = "use it, remove it, or freeze it (requires_grad_(False)); an optimiser would only carry it along"


@rule("TG027", "cell-outside-the-model")
def outside_model(view: View, report: Report) -> Iterator[Finding]:
    """A model reads a parameter or a buffer that is not its own: nobody trains it with the model, or saves it."""
    if not hasattr(view.owner, "named_parameters") or not hasattr(view.owner, "root"):
        return
    owned = {cell for _, cell in view.owner.root.named_cells()} | {cell for _, cell in view.owner.named_cells()}
    owned.add(state())
    for decl, reference in zip(view.graph.cells, view.graph.provenance.live, strict=False):
        if reference() in owned:
            continue
        read = view.readers(decl.var)
        yield report(
            read[0] if read else None,
            f"{decl.kind} {decl.path} is used by {view.owner.label} and is no part of it: no optimiser of its "
            "parameters trains it, and state_dict() leaves it out",
            "assign what it belongs to to an attribute of the model, on its own or in a list, a tuple or a dict; a "
            "function's variables and other objects are not looked into",
            source=view.place,
        )


@rule("TG007", "parameter-without-gradient")
def without_gradient(view: View, report: Report) -> Iterator[Finding]:
    """The loss depends on a parameter only by ways that no gradient takes: it does not learn."""
    if not view.deferred:
        return
    ys = [a for eq in view.deferred for a in eq.group(0) if isinstance(a, Var)]
    behind = view.before(ys)
    # stop_gradient is said on purpose
    reached = view.before(ys, lambda eq, i: flows(eq, i) or eq.op is stop_gradient)
    for decl in _parameters(view):
        if decl.var in behind and decl.var not in reached:
            cut = _cut(view, decl.var, behind)
            yield report(
                cut,
                f"the loss depends on parameter {decl.path} only through {cut.op.name}, which has no derivative: its "
                "gradient is always 0",
                "use a differentiable form (softmax for argmax, sigmoid for a comparison), or freeze the parameter",
            )


def _cut(view: View, start: Var, behind: set[Var]) -> Equation:
    """An equation near a parameter at which its gradient ends."""
    todo, seen = [start], {start}
    readers = [eq for eq in view.readers(start) if any(out in behind for out in eq.outputs)]
    while todo and len(seen) < FAR:
        var = todo.pop()
        for eq in view.readers(var):
            if not any(out in behind for out in eq.outputs):
                continue
            if not all(flows(eq, i) for i in range(len(eq.inputs)) if var in eq.group(i)):
                return eq
            todo += [out for out in eq.outputs if out not in seen]
            seen.update(eq.outputs)
    return readers[0]


@rule("TG008", "parameter-not-updated")
def not_updated(view: View, report: Report) -> Iterator[Finding]:
    """A gradient is computed for a parameter that no update writes, though others are written."""
    written = {write.cell for write in view.graph.writes}
    for eq in view.deferred:
        pairs = list(zip(eq.group(1), eq.outputs, strict=True))
        parameters = [(x, g) for x, g in pairs if x in view.cells and view.cells[x].kind == "parameter"]
        if not any(x in written for x, _ in parameters):
            continue
        for x, g in parameters:
            if x not in written and not view.readers(g) and not view.is_result(g):
                assert isinstance(x, Var)
                yield report(
                    eq,
                    f"the gradient of parameter {view.cells[x].path} is computed, but nothing updates it, though other "
                    "parameters are updated",
                    "give it to the optimiser, or freeze it (requires_grad_(False)), which saves its gradient",
                )


@rule("TG026", "captured-gradient")
def captured_gradient(view: View, report: Report) -> Iterator[Finding]:
    """A tensor that requires a gradient is captured: the graph keeps its numbers, whatever becomes of the tensor."""
    for var in view.graph.provenance.captured:
        cut = view.readers(var) and all(eq.op is stop_gradient for eq in view.readers(var))  # detached: meant
        readers = [eq for eq in view.readers(var) if view.is_live(eq)]
        if cut or not (readers or view.is_result(var)):
            continue
        yield report(
            readers[0] if readers else None,
            f"a tensor that requires a gradient, {var.aval}, is captured: the graph keeps the numbers that it had, "
            "and no update of it is seen",
            "pass it as an argument, or make it a Parameter of a module; detach() it where a constant is meant",
            source=view.place,
        )


@rule("TG009", "unused-input")
def unused_input(view: View, report: Report) -> Iterator[Finding]:
    """An argument that nothing reads."""
    if any(eq.origin is not None for eq in view.graph.equations) or not view.graph.equations:
        return  # a derivative need not depend on all arguments
    for i, var in enumerate(view.graph.inputs):
        if not view.readers(var) and not view.is_result(var):
            yield report(
                None,
                f"argument {var.name or i} ({var.aval}) of {view.graph.name} is not used",
                "use it or leave it out",
                source=view.place,
            )


@rule("TG010", "unused-computation")
def unused_computation(view: View, report: Report) -> Iterator[Finding]:
    """Something is computed that no output and no write depends on."""
    lines = {_line(eq.source) for eq in view.graph.equations if view.is_live(eq)}
    told: set[Any] = set()
    for eq in view.equations:
        if view.is_live(eq) or any(view.readers(out) for out in eq.outputs) or eq.op.kind in (creation, random):
            continue
        place = _line(eq.source)
        if "view" in eq.op.traits or place is None or place in lines or place in told:
            continue
        told.add(place)
        if eq.is_gradient:
            message = "gradients are computed, and nothing in the graph uses them: .grad of a trace ends with the trace"
            remedy = "update the parameters in the same function (optimizer.step()), or return the gradients"
        else:
            message = f"the result of {eq.op.name} ({eq.outputs[0].aval}) is not used"
            remedy = "return it, write it into a cell, or remove the line"
        yield report(eq, message, remedy)


def _line(source: Source | None) -> Any:
    return None if source is None else (source.file, source.line)
