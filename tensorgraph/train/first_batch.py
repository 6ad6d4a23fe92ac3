"""The first step, linted before it is made: mistakes that a graph shows and a loss curve does not."""

from __future__ import annotations

from typing import Any

from tensorgraph.analysis.lint import Finding, lint
from tensorgraph.data.arrays import Array
from tensorgraph.engine.spec import spec
from tensorgraph.engine.tape import warn_user
from tensorgraph.graph.trace import trace
from tensorgraph.train.evaluate import targets_for
from tensorgraph.train.forward import Forward
from tensorgraph.train.running import in_mode, outputs_of

__all__ = ["warn_of_findings"]

# what is wasted and not wrong, what may be meant, and what the optimiser tells at its first step
LEFT_OUT = ("TG002", "TG006", "TG007", "TG008", "TG009", "TG010")
# a step is traced with its labels in it, which fit gives anew for every batch
OF_THE_TRACE = ("TG011",)
MOST = 5  # findings that the warning tells


def warn_of_findings(model: Any, forward: Forward | None, loss: Any, rows: Array, labels: Array, told: bool) -> None:
    """One warning of all that lint finds in forward and backward of a batch.

    Parameters
    ----------
    forward : Forward or None
        Of the model, where that is compiled.
    rows : array
        The batch.
    labels : array
        Its targets.
    told : bool
        Whether a loss over all pairs of outputs and targets was warned of already.
    """
    found = _findings(model, forward, loss, rows, labels, (*LEFT_OUT, *OF_THE_TRACE, *(("TG004",) if told else ())))
    if not found:
        return
    several = f"{len(found)} likely mistakes" if len(found) > 1 else "a likely mistake"
    shown = "\n".join(finding.text() for finding in found[:MOST])
    more = f"\nand {len(found) - MOST} more: tensorgraph.lint shows them" if len(found) > MOST else ""
    warn_user(f"fit: the first batch shows {several} (lint=False leaves this out):\n{shown}{more}")


def _findings(
    model: Any, forward: Forward | None, loss: Any, rows: Array, labels: Array, without: tuple[str, ...]
) -> list[Finding]:
    def step(x: Any) -> Any:
        output = outputs_of(model, x) if forward is None else forward.inlined(x)
        value = loss(output, targets_for(labels, output.dtype))
        value.backward()
        return value

    try:
        with in_mode(model, training=True):
            graph = trace(step, spec(rows.shape, rows.dtype))
    except Exception:  # a model that branches on numbers has no graph; what is wrong is told when the step runs
        return []
    return list(lint(graph, ignore=without))
