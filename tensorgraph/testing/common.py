"""What the properties share: cotangents, gradients of a case, the float dtypes that an op takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from tensorgraph.engine.backward import gradients
from tensorgraph.engine.tensor import Tensor
from tensorgraph.testing.cases import Case, differentiable_places

Array = np.ndarray[Any, Any]
FLOATS = (np.float16, np.float32, np.float64)


def float_outputs(outputs: Sequence[Tensor]) -> list[Tensor]:
    return [t for t in outputs if t.dtype.kind == "f"]


def casts(case: Case, dtypes: Sequence[Any] = FLOATS) -> Iterator[Case]:
    """The case in every float dtype; one that the shape rule refuses must be refused by the op too."""
    for dtype in dtypes:
        cast = case.cast(dtype)
        try:
            case.op.infer(cast.avals(), cast.full_attrs())
        except (TypeError, ValueError):
            try:
                cast()
            except (TypeError, ValueError):
                continue
            raise AssertionError(f"{cast}: the shape rule refuses what the op takes") from None
        yield cast


def cotangents_of(outputs: Sequence[Tensor], seed: int) -> list[Array]:
    """Random cotangents of the float outputs, of their dtypes."""
    rng = np.random.default_rng(seed)
    return [np.asarray(rng.uniform(0.5, 1.5, t.shape) * rng.choice([-1, 1], t.shape), t.dtype) for t in outputs]


def wanting(case: Case) -> tuple[tuple[Any, ...], list[Tensor], list[Tensor]]:
    """Inputs, those that want gradients, and the float outputs that depend on them."""
    inputs, leaves = case.tensors(differentiable_places(case))
    return inputs, leaves, [t for t in float_outputs(case(inputs)) if t.requires_grad]


def pull(case: Case, seed: int = 1, create_graph: bool = False) -> list[Tensor]:
    """Gradients of the outputs, weighted by random cotangents, at every differentiable place."""
    _, leaves, outputs = wanting(case)
    return gradients(outputs, leaves, cotangents_of(outputs, seed), create_graph=create_graph)  # type: ignore[no-any-return]


def has_gradient(case: Case) -> bool:
    return case.op.differentiable and bool(differentiable_places(case)) and bool(wanting(case)[2])


def narrows(case: Case) -> bool:
    """Whether it rounds float64 away, so that numbers cannot say what its derivative is."""
    return any(t.dtype.itemsize < 8 for t in float_outputs(case()))


def largest(arrays: Sequence[Any]) -> float:
    """The largest finite absolute value."""
    return max((float(np.abs(a[np.isfinite(a)]).max(initial=0)) for a in arrays), default=0.0)
