"""Pictures of graphs: as text, DOT and SVG, drawn from the graph alone."""

if __name__ != "tensorgraph.viz":
    raise ImportError("the folder viz/ is the package tensorgraph.viz: write `import tensorgraph.viz`")

from tensorgraph.viz.api import draw, mimebundle
from tensorgraph.viz.drawing import Drawing, Edge, Group, LegendEntry, Node, Port, Row

__all__ = ["Drawing", "Edge", "Group", "LegendEntry", "Node", "Port", "Row", "draw", "mimebundle"]
