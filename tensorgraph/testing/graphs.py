"""Properties of an op's graph: traced it is the eager call, and it prints, reads back and is drawn."""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgraph.engine.backward import gradients
from tensorgraph.graph.graph import Graph
from tensorgraph.graph.trace import trace
from tensorgraph.testing.cases import Case, Place, differentiable_places
from tensorgraph.testing.common import casts, cotangents_of, float_outputs, has_gradient
from tensorgraph.testing.compare import assert_same
from tensorgraph.text.sure import arrays_of
from tensorgraph.text.template import parse


def step_of(case: Case) -> tuple[Any, tuple[Any, ...]]:
    """A function of the case's inputs that gives outputs and gradients, and the inputs as tensors."""
    places: list[Place] = differentiable_places(case) if has_gradient(case) else []

    def step(*inputs: Any) -> Any:
        outputs = case(inputs)
        xs = [inputs[p[0]][p[1]] if len(p) == 2 else inputs[p[0]] for p in places]
        ys = [t for t in float_outputs(outputs) if t.requires_grad]
        return outputs, gradients(ys, xs, cotangents_of(ys, 1)) if ys and xs else []

    return step, case.tensors(places)[0]


def traced(case: Case) -> None:
    """A traced call, its gradients included, gives what the eager call gives, to the last bit."""
    for cast in casts(case, (np.float32, np.float64)):
        step, inputs = step_of(cast)
        graph = trace(step, *inputs).check()
        again = trace(step, *inputs)
        assert graph == again and hash(graph) == hash(again), f"{cast}: two traces of one call differ"
        eager, found = step(*inputs), graph(*inputs)
        for part in (0, 1):
            for got, expected in zip(found[part], eager[part], strict=True):
                assert_same(got, expected, f"{cast}: {('output', 'gradient')[part]} of the traced call")


def _graph(case: Case) -> Graph:
    step, inputs = step_of(case.cast(np.float32))
    return trace(step, *inputs)


def printed(case: Case) -> None:
    """The text of a call and its gradient reads back as the same graph, and names the op."""
    graph = _graph(case)
    for one in (graph, graph.differentiate()):
        text = str(one)
        assert parse(text, arrays_of(one)) == one, f"{case}: another graph is read from\n{text}"
    op = case.op
    said = op.name in str(graph) or op.infix or op.reference is not None or "key" in op.attrs
    assert said, f"{case}: not in the text"  # but for x[...] and x.at[...].set(v)


def drawn(case: Case) -> None:
    """A drawing shows the call."""
    graph = _graph(case)
    drawing = graph.draw(level="op")
    own = [eq for eq in graph.equations if not eq.is_gradient]
    assert len(drawing.nodes) >= len(own), f"{case}: {len(drawing.nodes)} boxes for {len(own)} equations"
    assert drawing.text().strip() and drawing.dot(), f"{case}: nothing is drawn"
