"""What the tests of recognition share: random arguments, results with gradients, and how near they must be."""

from __future__ import annotations

from typing import Any

import numpy as np

import tensorgraph as tg
from tensorgraph.graph.graph import Graph
from tensorgraph.testing import assert_close

Array = np.ndarray[Any, Any]


def numbers(specs: tuple[Any, ...], seed: int = 0, dtype: str = "float32") -> list[Array]:
    """Random arguments of these types; labels that every axis holds."""
    rng = np.random.default_rng(seed)
    made: list[Array] = []
    for spec in specs:
        if spec.dtype.kind == "f":
            made.append(rng.normal(0.3, 1.0, spec.shape).astype(dtype))
        else:
            made.append(rng.integers(0, 4, spec.shape))
    if len(specs) > 1 and specs[0] == specs[1]:  # probabilities
        made[1] = np.abs(made[1]) / np.abs(made[1]).sum(-1, keepdims=True)
    return made


def names(graph: Graph) -> list[str]:
    return [eq.op.name for eq in graph.equations]


def results(graph: Graph, arrays: list[Array]) -> tuple[list[Array], list[Array]]:
    """Outputs, and their gradients with respect to every float argument, weighted by fixed cotangents."""
    args = [tg.tensor(a, requires_grad=a.dtype.kind == "f") for a in arrays]
    outs = graph(*args)
    outs = list(outs) if isinstance(outs, tuple) else [outs]
    rng = np.random.default_rng(1)
    cotangents = [rng.normal(size=o.shape).astype(o.dtype) for o in outs]
    leaves = [a for a in args if a.dtype.kind == "f"]
    grads = tg.gradients(outs, leaves, cotangents)
    return [o.numpy() for o in outs], [g.numpy() for g in grads]


def assert_agree(graph: Graph, other: Graph, truth: Graph, specs: tuple[Any, ...]) -> None:
    """What recognition made is as near to the float64 composition as an op may be, or as the composition was."""
    arrays = numbers(specs)
    wide = [a.astype("float64") if a.dtype.kind == "f" else a for a in arrays]
    exact, plain, fused = results(truth, wide), results(graph, arrays), results(other, arrays)
    unit = float(np.finfo("float32").eps)
    for order, ulps in ((0, 16), (1, 64)):
        for got, was, wanted in zip(fused[order], plain[order], exact[order], strict=True):
            assert np.isfinite(got).all()
            scale = max(float(np.abs(wanted).max(initial=0.0)), 0.1)
            error = float(np.abs(was - wanted).max(initial=0.0)) / (scale * unit)
            reason = "the affine parts and reshapes around the op round too"
            assert_close(got, wanted.astype("float32"), scale=scale, ulps=max(ulps, 2 * error), reason=reason)
