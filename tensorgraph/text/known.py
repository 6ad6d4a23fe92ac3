"""The text of a graph without the functions that the library has too: ``graph.text(library=False)``.

1. A definition of the outline may be left out where the library has a function of its name, whose sizes follow from its
   cells: they stand in the brackets of each instance.
2. A number that a cell starts from and the library's does not stands behind: ``Adam(lr=0.01)``.
3. Whether the library's does the same is asked of the reader: the text without it must be read as the same graph.
4. What an initialiser says must stay. Of a cell of which the graph knows none, the library's own is taken.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping

from tensorgraph.engine import init
from tensorgraph.graph.graph import CellDecl, Graph
from tensorgraph.graph.outline import Outline
from tensorgraph.graph.statements import Definition, Instance
from tensorgraph.text.definitions import CELLS, library, parts_of
from tensorgraph.text.functions import folded, plain
from tensorgraph.text.heads import Given
from tensorgraph.text.sure import printed, read_again, sure_text, typed_text

__all__ = ["without_library"]

Known = Mapping[Definition, Mapping[Instance, Given]]


def without_library(graph: Graph, types: bool = False) -> str:
    """The text that leaves out every function which the library has too.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> from tensorgraph import nn
    >>> print(without_library(tg.trace(nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2)), tg.f32[8, 4])))
    def Sequential(x: f32[8, 4], *, layers: At["", [Linear[4, 3], Linear[3, 2]]]) -> f32[8, 2]:
        return layers[1](layers[0](x))
    """

    def kept(known: Known) -> str | None:
        text = folded(own, types, known)
        return text if _is_read(graph, text) else None

    whole = typed_text(graph) if types else sure_text(graph)
    own = printed(graph)
    every = {} if graph.outline.reason else _candidates(own.outline)
    text = kept(every) if every else whole
    if text is None:
        some = {definition: sizes for definition, sizes in every.items() if kept({definition: sizes}) is not None}
        text = kept(some) if some else whole
    return whole if text is None else text


def _candidates(outline: Outline) -> dict[Definition, dict[Instance, Given]]:
    """The definitions with the name and the cells of a function of the library, and the sizes of their instances."""
    cells = {decl.path: decl for decl in outline.graph.cells}
    found = {}
    for definition in outline.definitions[:-1]:
        own = library().named.get(plain(definition))
        instances = [about.instance for about in outline.calls.get(definition, ())]
        if own is None or not instances or None in instances:
            continue
        sizes = {i: _sizes(own.node, own.sizes(), i.path, cells) for i in instances if i is not None}
        if None not in sizes.values():
            found[definition] = {
                instance: Given(row, _starts(own.node, instance.path, cells))
                for instance, row in sizes.items() if row is not None
            }  # fmt: skip
    return found


def _sizes(
    node: ast.FunctionDef, names: tuple[str, ...], path: str, cells: Mapping[str, CellDecl]
) -> tuple[int, ...] | None:
    """What the open sizes of a function are, from the cells of an instance; None where they are of another form."""
    known: dict[str, int] = {}
    for arg in node.args.kwonlyargs:
        kind, inside = (None, None) if arg.annotation is None else parts_of(arg.annotation)
        if kind not in CELLS or inside is None:
            continue
        decl = cells.get(f"{path}.{arg.arg}" if path else arg.arg)
        _, dims = parts_of(inside)
        said = [] if dims is None else dims.elts if isinstance(dims, ast.Tuple) else [dims]
        if decl is None or len(said) != decl.aval.ndim:
            return None
        for dim, size in zip(said, decl.aval.shape, strict=True):
            if isinstance(dim, ast.Name):
                known[dim.id] = size
    return tuple(known[name] for name in names) if all(name in known for name in names) else None


def _starts(node: ast.FunctionDef, path: str, cells: Mapping[str, CellDecl]) -> str:
    """The numbers that cells of an instance start from and those of the library's function do not: ``lr=0.01``."""
    found = []
    for arg, start in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True):
        decl = cells.get(f"{path}.{arg.arg}" if path else arg.arg)
        if decl is None or decl.initialiser is None or decl.aval.ndim or decl.aval.dtype.kind != "f":
            continue
        number = init.number_of(decl.initialiser)
        if number is not None and (start is None or ast.unparse(start) != decl.initialiser):
            found.append(f"{arg.arg}={number!r}")
    return ", ".join(found)


def _is_read(graph: Graph, text: str) -> bool:
    """Whether a text is read as this graph, from the same first numbers as far as these are known."""
    again = read_again(graph, text)
    if again is None:
        return False
    found = {decl.path: decl for decl in again.cells}
    return all(decl.initialiser in (None, found[decl.path].initialiser) for decl in graph.cells)
