"""Derivatives far from 0, element by element: where a rule made from a saturated output would give nothing or noise."""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgraph.engine.backward import gradients
from tensorgraph.engine.op import elementwise
from tensorgraph.engine.tensor import Tensor, tensor
from tensorgraph.testing.cases import Case, differentiable_places
from tensorgraph.testing.common import has_gradient
from tensorgraph.testing.compare import ULPS
from tensorgraph.testing.hostile import silent

Array = np.ndarray[Any, Any]

SIZES = (1e-20, 1e-6, 1e-3, 0.1, 0.5, 1.0, 2.0, 5.0, 9.0, 18.0, 35.0, 60.0, 85.0, 300.0, 1e4, 1e20)


def far_out(case: Case) -> None:
    """First and second derivatives in float32 agree with float64's, each element relative to itself.

    Beside an element of ordinary size, an error of the small ones would be within any tolerance of the whole.
    """
    places = differentiable_places(case)
    arrays = [a for _, a in case.places()]
    shapes = {a.shape for a in arrays}
    if case.op.kind is not elementwise or not has_gradient(case) or len(shapes) > 1 or not case()[0].ndim:
        return
    if not arrays[0].size or len(places) != len(case.inputs):  # once an op; conditions choose, they do not compute
        return
    grids = np.meshgrid(*[_points(case, k) for k in range(len(places))])
    points = [g.reshape(-1).astype(np.float32) for g in grids]
    with silent():
        found, expected = (_derivatives(case, [p.astype(dtype) for p in points]) for dtype in (np.float32, np.float64))
    info = np.finfo(np.float32)
    for (what, order, got), (_, _, e) in zip(found, expected, strict=True):
        # what float32 cannot hold with all its digits proves nothing
        sizes = np.abs(e)
        fits = (sizes > 4 * info.tiny) & (sizes < info.max / 4)
        with silent():
            error = np.abs(got - e) / (sizes * info.eps)
        bad = fits & ~(error <= ULPS[order])
        if bad.any():
            k = int(np.argmax(np.where(bad, np.nan_to_num(error, nan=np.inf, posinf=np.inf), -1.0)))
            at = ", ".join(f"{float(p[k]):.9g}" for p in points)
            raise AssertionError(
                f"{case.op.name}({at}): {what} is {got[k]!r} in float32, in float64 {e[k]!r}: off by {error[k]:.3g} "
                f"units in its own last place, allowed {ULPS[order]}; make it of what is small, not of 1 minus that"
            )


def _points(case: Case, number: int) -> Array:
    """Numbers of all sizes and both signs, as far as the op's domain allows; no two inputs have the same."""
    domain = case.op.domain
    name = case.op.inputs[number]
    low, _ = (domain.get(name) if isinstance(domain, dict) else domain) or (-np.inf, np.inf)
    sizes = np.array(SIZES if len(case.inputs) == 1 else SIZES[1::2]) * (1.0123, 0.9871, 1.0457)[number]
    both = np.concatenate([-sizes[::-1], sizes])
    away = [np.abs(both - kink) > 1e-9 for kink in case.op.kinks]
    return both[np.logical_and.reduce([both > (0.0 if low >= 0 else low), *away])]


def _derivatives(case: Case, points: list[Array]) -> list[tuple[str, int, Array]]:
    """All first and second derivatives of the first output: what it is, its order, its values."""
    leaves = [tensor(p, requires_grad=True) for p in points]
    out: Tensor = case(tuple(leaves))[0]
    ones = [np.ones(out.shape, out.dtype)]
    every = []
    for name, g in zip(case.op.inputs, gradients([out], leaves, ones, create_graph=True), strict=True):
        every.append((f"the derivative by {name}", 1, g.numpy()))
        if g.requires_grad:
            for other, h in zip(case.op.inputs, gradients([g], leaves, ones, retain_graph=True), strict=True):
                every.append((f"the derivative by {name} and {other}", 2, h.numpy()))
    return every
