"""Numbers that inexact algebra gets wrong, and what the tests of `simplify` ask of graphs."""

from typing import Any

import numpy as np

import tensorgraph as tg
from tensorgraph.engine.tree import flatten
from tensorgraph.graph import Graph
from tensorgraph.testing import assert_same

Array = np.ndarray[Any, Any]
FLOATS = ("float16", "float32", "float64")
INTEGERS = ("int8", "int32", "int64", "uint8")
ANY = (*FLOATS, *INTEGERS, "bool")


def hostile(dtype: str) -> Array:
    """Numbers that inexact algebra gets wrong, in eight columns."""
    kind = np.dtype(dtype)
    if kind.kind == "b":
        return np.arange(24).reshape(3, 8) % 3 == 0
    if kind.kind in "iu":
        info = np.iinfo(kind)
        few = [0, 1, 2, 3, info.min, info.min + 1, info.max, info.max - 1, 7, 11, 100, 64]
        return np.array([*few, *few[::-1]], kind).reshape(3, 8)
    f = np.finfo(kind)
    few = [
        0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, f.smallest_subnormal, -f.smallest_subnormal, f.tiny, f.max,
        f.min, f.eps, 1 + f.eps, 1 / 3, -2.7, 5.5, 1e-3, -0.0, 0.0, 0.1, 3.0, -7.0, f.smallest_subnormal * 3,
    ]  # fmt: skip
    return np.array(few, kind).reshape(3, 8)


def other(x: Array) -> Array:
    """The same numbers in other places, so that two operands meet in many pairs."""
    return np.roll(x, 5)


def ops_of(graph: Graph) -> list[str]:
    return [eq.op.name for eq in graph.equations]


def applied(graph: Graph) -> set[str]:
    return {change.rule for change in graph.changes if change.step == "simplify"}


def leaves(tree: Any) -> list[Array]:
    return [leaf.numpy() if isinstance(leaf, tg.Tensor) else np.asarray(leaf) for leaf in flatten(tree)[0]]


def assert_trees_same(got: Any, expected: Any, what: str) -> None:
    for g, e in zip(leaves(got), leaves(expected), strict=True):
        assert_same(g, e, what)


def t(array: Array, requires_grad: bool = False) -> tg.Tensor:
    return tg.tensor(array, requires_grad=requires_grad)
