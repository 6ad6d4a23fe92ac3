"""Gradients that a function leaves, as cells: a run writes them into the arrays that are there already."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from tensorgraph.compile.tracing import Traced, name_of_leaf
from tensorgraph.engine.aval import Aval
from tensorgraph.engine.tape import Leaf
from tensorgraph.engine.tensor import Tensor, wrap
from tensorgraph.engine.tree import flatten
from tensorgraph.graph.equation import CellDecl, Var, is_number
from tensorgraph.graph.graph import Graph, Write

__all__ = ["Gradient", "gradient_cells", "leave"]

SMALL = 1 << 21  # bytes of cells and arguments, beyond which a call is no matter of microseconds


class Gradient:
    """The place for a leaf's gradient, which a runner takes for a cell.

    Attributes
    ----------
    leaf : Leaf
    aval : Aval
        Of the gradient.
    path : str
        What it is called.
    is_read : bool
        Whether the function finds a gradient there and reads it.
    """

    __slots__ = ("aval", "is_read", "leaf", "path")

    def __init__(self, leaf: Leaf, aval: Aval, path: str, is_read: bool) -> None:
        self.leaf, self.aval, self.path, self.is_read = leaf, aval, path, is_read

    @property
    def _value(self) -> Any:
        """The present gradient; where there is none, zeros."""
        tensor = self.leaf.grad
        return np.zeros(self.aval.shape, self.aval.dtype) if tensor is None else tensor._value

    def fresh(self) -> Tensor:
        """A tensor with memory of its own for the next gradient, with the present one in it if that is read."""
        array = np.empty(self.aval.shape, self.aval.dtype)
        if self.is_read:
            array[...] = self._value
        return wrap(array)


def gradient_cells(graph: Graph, traced: Traced) -> tuple[Graph, list[Gradient]] | None:
    """The graph of a trace, gradients of leaves among its results made cells that it writes, and these.

    None where there are none, or so much else that copies are no matter.
    """
    left = [place for place, has in traced.left if has]
    if sum(var.aval.nbytes for var in (*graph.inputs, *(decl.var for decl in graph.cells))) > SMALL:
        return None
    if not any(type(place) is Leaf for place in left):
        return None
    size = len(graph.outputs) - len(left)
    if any(type(value) is not Var or is_number(value) for value in graph.outputs[size:]):
        return None
    known = dict(zip(traced.found, graph.inputs, strict=False))
    outputs, cells, writes, gradients = list(graph.outputs[:size]), [*graph.cells], [*graph.writes], list[Gradient]()
    for place, value in zip(left, graph.outputs[size:], strict=True):
        if type(place) is not Leaf:
            outputs.append(value)
            continue
        path = _path(name_of_leaf(place), {decl.path for decl in cells})
        var = known.get(place)
        assert type(value) is Var
        gradients.append(Gradient(place, value.aval, path, var is not None))
        cells.append(CellDecl(path, Var(value.aval) if var is None else var, "buffer"))
        writes.append(Write(cells[-1].var, value))
    mine = {decl.var for decl in cells}
    inputs = tuple(var for var in graph.inputs if var not in mine)
    replaced = graph.replace(
        inputs=inputs, cells=tuple(cells), writes=tuple(writes), outputs=tuple(outputs),
        in_tree=flatten([*inputs])[1], out_tree=flatten(tuple(outputs))[1], statics=(), arguments=(),
    )  # fmt: skip
    return replaced, gradients


def _path(name: str, taken: Collection[str]) -> str:
    """The path of a leaf's gradient: two models may have parameters of one name."""
    path, n = f"{name}.grad", 1
    while path in taken:
        n += 1
        path = f"{name}_{n}.grad"
    return path


def leave(gradients: Sequence[Gradient], tensors: Sequence[Tensor]) -> None:
    """Make tensors the gradients."""
    for gradient, tensor in zip(gradients, tensors, strict=True):
        gradient.leaf.grad = tensor
