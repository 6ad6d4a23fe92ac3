"""Properties on calls that hypothesis draws: shapes that broadcast, 0-d and empty ones, axes of every form."""

from effort import examples
from hypothesis import given

import tensorgraph as tg
from tensorgraph import testing
from tensorgraph.testing.strategies import calls


@given(calls())
@examples(60)
def test_types_and_forms(case: testing.Case) -> None:
    for name in ("shape_rule", "gradient_types", "forms_agree", "linear_in_cotangent"):
        testing.PROPERTIES[name](case)


@given(calls())
@examples(60)
def test_memory(case: testing.Case) -> None:
    for name in ("unmutated", "sharing", "layouts"):
        testing.PROPERTIES[name](case)


@given(calls())
@examples(40)
def test_derivatives(case: testing.Case) -> None:
    for name in ("jacobian", "second_order", "forward_mode"):
        testing.PROPERTIES[name](case)


@given(calls())
@examples(60)
def test_traced_and_reparsed_types(case: testing.Case) -> None:
    testing.PROPERTIES["traced"](case)


@given(calls())
@examples(60)
def test_the_tape_shows_the_call(case: testing.Case) -> None:
    """`tensorgraph.graph` of a result is a well-formed graph that names the op."""
    inputs, leaves = case.tensors(testing.differentiable_places(case))
    outputs = [t for t in case(inputs) if t.requires_grad]
    if outputs:
        graph = tg.graph(outputs).check()
        assert [eq.op.name for eq in graph.equations] == [case.op.name]
        assert graph.equations[0].source is not None
