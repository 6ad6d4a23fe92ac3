"""Pictures of graphs: as text, DOT, SVG, one page of HTML and more, drawn from the graph alone."""

if __name__ != "tensorgraph.viz":
    raise ImportError("the folder viz/ is the package tensorgraph.viz: write `import tensorgraph.viz`")

from tensorgraph.viz.api import draw, mimebundle, picture
from tensorgraph.viz.model.drawing import Drawing, Edge, Group, LegendEntry, Node, Port, Row
from tensorgraph.viz.render.json import drawing_from_json

__all__ = [
    "Drawing", "Edge", "Group", "LegendEntry", "Node", "Port", "Row", "draw", "drawing_from_json", "mimebundle",
    "picture",
]  # fmt: skip
