"""The graph as a value: the type, tracing, evaluation, checking, text."""

from tensorgraph.arguments.foreign import put_absent
from tensorgraph.graph.from_tape import graph
from tensorgraph.graph.graph import CellDecl, Equation, Graph, Literal, Source, Var, Write
from tensorgraph.graph.trace import trace

__all__ = ["CellDecl", "Equation", "Graph", "Literal", "Source", "Var", "Write", "graph", "trace"]

put_absent(Graph)
