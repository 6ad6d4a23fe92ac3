"""A graph of what was already computed, read from the tape: for looking."""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgraph.arguments import checked
from tensorgraph.engine.aval import Aval
from tensorgraph.engine.backward import reachable
from tensorgraph.engine.cells import Cell
from tensorgraph.engine.pull import freed
from tensorgraph.engine.tape import Leaf, Node, Projection, source_of
from tensorgraph.engine.tensor import Tensor
from tensorgraph.engine.tree import flatten
from tensorgraph.graph.calls import scoped
from tensorgraph.graph.graph import CellDecl, Equation, Graph, Literal, Source, Var

__all__ = ["graph"]


@checked
def graph(tensors: Any) -> Graph:
    """The recorded computation that led to a tensor, or to a tree of tensors.

    Leaves made with ``requires_grad=True`` are inputs, parameters are cells. Operands that need no gradient and that no
    rule kept are shown as ``...``: the tape does not hold them. A function under `checkpoint` is computed again for it.

    Raises
    ------
    RuntimeError
        Where a backward pass has let go of the tape: pass it ``retain_graph=True``, or look before.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> x = tg.tensor([1.0, 2.0], requires_grad=True)
    >>> print(tg.graph((x * x).sum()))
    def f(x0: f32[2]) -> f32:
        return sum(x0 * x0)
    """
    leaves, out_tree = flatten(tensors)
    for t in leaves:
        if not isinstance(t, Tensor):
            raise TypeError(f"graph takes tensors, got {type(t).__name__}; to trace a function use tensorgraph.trace")
    order = reachable([t._node for t in leaves if t._node is not None])[::-1]
    inputs: list[Var] = []
    cells: list[CellDecl] = []
    consts: dict[Var, np.ndarray[Any, Any]] = {}
    by_id: dict[int, Var] = {}
    kept: list[Any] = []
    equations: list[Equation] = []
    value: dict[Any, Var] = {}

    def constant(array: np.ndarray[Any, Any]) -> Var:
        if id(array) not in by_id:
            by_id[id(array)] = Var(Aval(array.shape, array.dtype))
            kept.append(array)
            view = array.view()
            view.flags.writeable = False
            consts[by_id[id(array)]] = view
        return by_id[id(array)]

    def again(node: Any, block: Any) -> None:
        """What a node stands for, in its place."""
        names, results = block.again(dict(zip(node.op.calls["saves"], node.saved, strict=True))["args"])
        value.update(zip(names, [value[parent] for parent in node.parents[0]], strict=True))
        visit(reachable([t._node for t in results if t._node is not None])[::-1])
        for i, t in enumerate(results):
            value[node, i] = constant(t._value) if t._node is None else value[t._node]

    def visit(order: list[Any]) -> None:
        for node in order:
            if node not in value:
                enter(node)

    def enter(node: Any) -> None:
        if type(node) is Leaf:
            var = value[node] = Var(Aval(node.shape, node.dtype), node.name)
            cell = node.owner() if node.owner is not None else None
            if isinstance(cell, Cell):
                path = cell.path or f"parameter{len(cells)}"
                if any(c.path == path for c in cells):
                    path = f"{path}_{len(cells)}"
                cells.append(CellDecl(path, var, "parameter", cell.initialiser, True))
            else:
                inputs.append(var)
        elif type(node) is Projection:
            value[node] = value[node.parents[0], node.index]
        elif node.saved is None:
            freed(node, "graph of")
        elif (block := next((a for a in node.attrs.values() if hasattr(a, "again")), None)) is not None:
            again(node, block)
        else:
            equations.append(_equation(node, value, constant))

    visit(order)
    outputs = [constant(t._value) if t._node is None else value[t._node] for t in leaves]
    in_tree = flatten([0] * len(inputs))[1]
    return Graph(tuple(inputs), tuple(cells), consts, tuple(equations), (), tuple(outputs), in_tree, out_tree).check()


def _equation(node: Node, value: dict[Any, Var], constant: Any) -> Equation:
    op = node.op
    assert node.saved is not None
    saved = dict(zip(op.calls["saves"], node.saved, strict=True))

    def atom(parent: Any, item: Any) -> Var | Literal:
        if parent is not None:
            return value[parent]
        if type(item) is np.ndarray:
            return constant(item)  # type: ignore[no-any-return]
        return Literal(Ellipsis if item is None else item)

    atoms: list[Any] = []
    for name, parent in zip(op.inputs, node.parents, strict=True):
        item = saved.get(name)
        if name in op.signature.lists:
            items = item if isinstance(item, list) else [None] * len(parent or ())
            parents = parent or (None,) * len(items)
            atoms.append(tuple(atom(p, i) for p, i in zip(parents, items, strict=True)))
        else:
            atoms.append(atom(parent, item))
    outputs: tuple[Var, ...]
    if op.single:
        outputs = (Var(Aval(node.shape, node.dtype)),)
        value[node] = outputs[0]
    else:
        outputs = tuple(Var(Aval(s, d)) for s, d in zip(node.shape, node.dtype, strict=True))
        for i, out in enumerate(outputs):
            value[node, i] = out
    where = source_of(node.code, node.lasti)
    call = scoped(node.scope) if node.scope else None
    return Equation(op, tuple(atoms), dict(node.attrs), outputs, call, None if where is None else Source(*where))
