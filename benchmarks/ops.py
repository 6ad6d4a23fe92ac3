"""Single ops of the catalogue, forward and backward: inputs, and how much longer than PyTorch each may take."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from benchmarks.problems import Array, Prepared, digest

__all__ = ["OPS", "OpProblem", "function_of", "prepared"]


class OpProblem(NamedTuple):
    """One op.

    Attributes
    ----------
    inputs : callable
        Of a random generator, gives the arrays; those of floats are differentiated.
    limit : float
        The largest ratio to PyTorch's time that is wanted.
    """

    inputs: Callable[[np.random.Generator], list[Array]]
    limit: float


def _normal(*shapes: tuple[int, ...]) -> Callable[[np.random.Generator], list[Array]]:
    return lambda rng: [rng.standard_normal(shape).astype(np.float32) for shape in shapes]


def _indexed(shape: tuple[int, ...], ids: tuple[int, ...], below: int) -> Callable[[np.random.Generator], list[Array]]:
    return lambda rng: [rng.standard_normal(shape).astype(np.float32), rng.integers(0, below, ids)]


def _rows(count: int, columns: int) -> list[tuple[int, ...]]:
    return [(count, columns), (columns,), (columns,)]


def _gates(batch: int, length: int, width: int, hidden: int) -> list[tuple[int, ...]]:
    return [(batch, length, width), (width, 4 * hidden), (hidden, 4 * hidden), (4 * hidden,)]


OPS: dict[str, OpProblem] = {
    "layer_norm 64x512": OpProblem(_normal(*_rows(64, 512)), 1.0),
    "layer_norm 4096x256": OpProblem(_normal(*_rows(4096, 256)), 1.0),
    "gelu 1024x1024": OpProblem(_normal((1024, 1024)), 1.0),
    "embedding 10000x256, 64x128 of them": OpProblem(_indexed((10_000, 256), (64, 128), 10_000), 1.0),
    "gather along rows 1024x256": OpProblem(_indexed((1024, 256), (1024, 64), 256), 1.0),
    "scatter-add of 20000x64 into 1000": OpProblem(_indexed((20_000, 64), (20_000,), 1000), 1.0),
    "cumsum 1000x1000": OpProblem(_normal((1000, 1000)), 1.0),
    "einsum bij,bjk->bik 32x64x64": OpProblem(_normal((32, 64, 64), (32, 64, 64)), 1.0),
    "einsum bhqd,bhkd->bhqk 8x8x64x32": OpProblem(_normal((8, 8, 64, 32), (8, 8, 64, 32)), 1.0),
    "x[1:, ::2] 1000x1000": OpProblem(_normal((1000, 1000)), 1.3),
    "x[mask] 1000x1000": OpProblem(_normal((1000, 1000)), 1.3),
    "sort 1000x200": OpProblem(_normal((1000, 200)), 1.3),
    "max_pool2d 2 of 32x16x32x32": OpProblem(_normal((32, 16, 32, 32)), 1.3),
    "avg_pool2d 2 of 32x16x32x32": OpProblem(_normal((32, 16, 32, 32)), 1.3),
    "max_pool2d 2 of 64x16x8x8": OpProblem(_normal((64, 16, 8, 8)), 1.3),
    "batch_norm 32x64x28x28": OpProblem(_normal((32, 64, 28, 28), (64,), (64,)), 1.0),
    "conv2d 64x1x28x28, 6 of 5x5": OpProblem(_normal((64, 1, 28, 28), (6, 1, 5, 5)), 2.0),
    "conv2d 64x6x12x12, 16 of 5x5": OpProblem(_normal((64, 6, 12, 12), (16, 6, 5, 5)), 2.0),
    "conv2d 16x64x28x28, 64 of 3x3": OpProblem(_normal((16, 64, 28, 28), (64, 64, 3, 3)), 2.0),
    "strided conv2d 16x32x28x28, 64 of 3x3": OpProblem(_normal((16, 32, 28, 28), (64, 32, 3, 3)), 2.0),
    "depthwise conv2d 16x32x28x28, 3x3": OpProblem(_normal((16, 32, 28, 28), (32, 1, 3, 3)), 2.0),
    "conv_transpose2d 16x32x14x14, 16 of 4x4": OpProblem(_normal((16, 32, 14, 14), (32, 16, 4, 4)), 2.0),
    "attention 8x8x128x64": OpProblem(_normal(*[(8, 8, 128, 64)] * 3), 2.0),
    "causal attention 4x4x512x64": OpProblem(_normal(*[(4, 4, 512, 64)] * 3), 2.0),
    "lstm 32x50, 64 to 128": OpProblem(lambda rng: [0.1 * a for a in _normal(*_gates(32, 50, 64, 128))(rng)], 2.0),
}


def function_of(functions: dict[str, Callable[..., Any]], name: str) -> Callable[..., Any]:
    """A library's function by the first words of a problem's name."""
    return functions[max((key for key in functions if name.startswith(key)), key=len)]


def prepared(
    name: str,
    function: Callable[..., Any],
    leaf: Callable[[Array], Any],
    constant: Callable[[Array], Any],
    array: Callable[[Any], Array],
    turned: tuple[int, ...] = (),
) -> Prepared:
    """One library's side of an op: what its tensors are made by, and an array of one.

    The inputs `turned` are matrices that the library keeps transposed.
    """
    rng = np.random.default_rng(6)
    arrays = OPS[name].inputs(rng)
    own = [np.ascontiguousarray(a.T) if i in turned else a for i, a in enumerate(arrays)]
    inputs = [leaf(a) if a.dtype.kind == "f" else constant(a) for a in own]
    leaves = {i: t for i, (t, a) in enumerate(zip(inputs, own, strict=True)) if a.dtype.kind == "f"}
    g = constant(rng.standard_normal(array(function(*inputs)).shape).astype(np.float32))

    def run() -> Any:
        for t in leaves.values():
            t.grad = None
        y = function(*inputs)
        y.backward(g)
        return y

    def check() -> dict[str, Any]:
        y = array(run())
        grads = {i: array(t.grad) for i, t in leaves.items()}
        return {"y": digest(y)} | {f"d{i}": digest(g.T if i in turned else g) for i, g in grads.items()}

    return Prepared(run, check)
