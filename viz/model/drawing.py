"""`Drawing`: a picture as a value, before any format.

Everything a picture means is here and typed: boxes, groups, edges, their roles, the rows of their labels, title, notes
and legend. Levels make it, renderers print it, tests assert on it; so every format agrees.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from tensorgraph.arguments import PathLike, Range, checked
from tensorgraph.arguments.foreign import put_absent

if TYPE_CHECKING:
    from tensorgraph.graph.graph import Graph

__all__ = ["Direction", "Drawing", "Edge", "Group", "LegendEntry", "Node", "Port", "Row"]

Theme: TypeAlias = Literal["auto", "light", "dark"]
Direction: TypeAlias = Literal["auto", "down", "right"]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a label.

    `style` says what the line is and so how it looks: ``"title"``, ``"type"`` (a shape and dtype), ``"detail"``,
    ``"operand"``, ``"parameter"``, ``"buffer"``, ``"constant"``, ``"attribute"``, ``"write"``, ``"saved"`` (a value
    kept for the gradient, and its bytes), ``"stop"`` (where a gradient ends, and why), ``"stub"`` (the end of an edge
    that is not drawn as a line), ``"repeats"`` (of an edge: which repeats of a template it joins) or ``"warning"`` (a
    change of dtype). `text` stands on the left, `value` on
    the right.
    """

    style: str
    text: str
    value: str = ""


@dataclass(frozen=True, slots=True)
class Port:
    """A named operand of a box at which edges end, where the order of operands matters."""

    id: str
    text: str


@dataclass(frozen=True, slots=True)
class Node:
    """A box.

    Attributes
    ----------
    id : str
        Generated (``"n12"``); the only name that reaches a layout engine.
    path : str
        Stable and readable: ``blocks.3.attn/matmul#1``. The same model gives the same paths in every process.
    role : str
        ``"input"``, ``"output"``, ``"module"``, ``"op"``, ``"ops"`` (a fold of ops without a module), ``"gradient"``,
        ``"update"``, ``"write"``, ``"kernel"``, ``"kernels"`` (several), ``"summary"`` or ``"entry"`` (the point at
        which a value enters a template: from outside for the first repeat, then from the repeat before).
    rows : tuple of Row
    ports : tuple of Port
    group : str or None
        The id of the innermost group.
    members : tuple of int
        Positions in ``graph.equations`` of what the box stands for.
    types : tuple of str
        Of what leaves the box, ``"64x10 f32"``, with ``!`` where an op changed the dtype.
    tip : str
        More than fits on the box; hover text and accessible description.
    status : str
        In a comparison of two graphs: ``"added"``, ``"removed"``, ``"changed"`` or empty.
    heat : float or None
        In an overlay: the place on the ramp from 0 to 1, NaN where there is no figure; None without an overlay.
    metric : str
        The figure itself, as printed on the box: ``"1.2 ms"``.
    twin : str or None
        In a mirrored drawing, of a gradient, an update or an input on the way: the id of the box that it stands beside.
    """

    id: str
    path: str
    role: str
    rows: tuple[Row, ...]
    ports: tuple[Port, ...] = ()
    group: str | None = None
    members: tuple[int, ...] = ()
    types: tuple[str, ...] = ()
    tip: str = ""
    status: str = ""
    heat: float | None = None
    metric: str = ""
    twin: str | None = None

    @property
    def title(self) -> str:
        return self.rows[0].text if self.rows else self.path


@dataclass(frozen=True, slots=True)
class Group:
    """A frame around boxes: one call of a module, or a template that stands for `count` equal ones."""

    id: str
    path: str
    rows: tuple[Row, ...]
    parent: str | None = None
    count: int = 1


@dataclass(frozen=True, slots=True)
class Edge:
    """Values that flow from one box to another.

    `role` is ``"data"``, ``"residual"``, ``"gradient"``, ``"saved"`` (from a box to its gradient) or ``"carried"``
    (within a template, from one repeat to where the next begins); `rows` its label, empty where the shape does not
    change; `values` the distinct values carried, each as ``"name: f32[64, 10]"``. A `cut` edge is part of the meaning
    but not drawn as a line: a stub row at its ends says where it goes. `status` is as of a box.
    """

    tail: str
    head: str
    role: str = "data"
    rows: tuple[Row, ...] = ()
    port: str | None = None
    values: tuple[str, ...] = ()
    cut: bool = False
    status: str = ""


@dataclass(frozen=True, slots=True)
class LegendEntry:
    """A sign that occurs in the drawing and what it stands for."""

    role: str
    text: str


@dataclass(frozen=True, slots=True)
class Drawing:
    """A picture of a graph, made by `tensorgraph.draw`.

    Attributes
    ----------
    title : str
        Such as ``"net: 291 ops drawn as 9 boxes"``.
    level : str
    nodes, groups, edges, legend : tuple
    notes : tuple of str
        What was left out or changed to keep the drawing readable and its layout fast.
    in_order : bool
        Whether boxes stand one below another, in their order: lines lead from neighbour to neighbour alone.
    theme : {"auto", "light", "dark"}
    timeout : float
        Seconds a layout may take.
    direction : {"auto", "down", "right"}
        Which way values flow.
    size : tuple of int or None
        Pixels, width and height, in which all of the drawing is to be read; None for a screen and a page.
    source : Graph or None
        The graph whose equations `Node.members` counts, where there is one: `html` draws what is inside a box from it.
    painter : callable or None
        Of a drawing with an overlay: puts the figures on a drawing of some of its equations too.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> drawing = tg.draw(lambda x: tg.tanh(x * 2.0), tg.spec((3,), "float32"))
    >>> [node.path for node in drawing.nodes]
    ['inputs/x', 'multiply', 'tanh', 'outputs/out']
    """

    title: str
    level: str
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...] = ()
    groups: tuple[Group, ...] = ()
    legend: tuple[LegendEntry, ...] = ()
    notes: tuple[str, ...] = ()
    in_order: bool = False
    theme: str = field(default="auto", compare=False)
    timeout: float = field(default=20.0, compare=False)
    direction: Direction = field(default="auto", compare=False)
    size: tuple[int, int] | None = field(default=None, compare=False)
    source: Graph | None = field(default=None, compare=False, repr=False)
    painter: Any = field(default=None, compare=False, repr=False)

    @property
    def points(self) -> frozenset[str]:
        """The boxes, by id, that are points: where values enter a template, and their gradients leave it."""
        entries = {node.id for node in self.nodes if node.role == "entry"}
        return frozenset(n.id for n in self.nodes if n.id in entries or (n.role == "gradient" and n.twin in entries))

    @property
    def repeats(self) -> dict[str | None, int]:
        """How many equal parts a box in each frame stands for, by the frame's id: more than one in templates."""
        found: dict[str | None, int] = {None: 1}
        for group in self.groups:  # outer ones come first
            found[group.id] = found[group.parent] * group.count
        return found

    def text(self) -> str:
        """The drawing as plain text, one typed line a box; needs no layout engine."""
        from tensorgraph.viz.render.text import to_text

        return to_text(self)

    @checked
    def dot(self, theme: Theme | None = None) -> str:
        """The drawing in Graphviz's language; the same graph gives the same bytes in every process."""
        from tensorgraph.viz.render.dot import to_dot

        return to_dot(self, theme or self.theme)

    @checked
    def svg(self, theme: Theme | None = None) -> str:
        """The drawing as SVG; without a layout engine, the text drawing and one line on how to get one."""
        from tensorgraph.viz.render.svg import to_svg

        return to_svg(self, theme or self.theme)

    def html(self) -> str:
        """The drawing and what is inside each of its modules and fused ops as one page that needs nothing else.

        Click or Enter opens a box marked ``+``, ``/`` searches names, ops, shapes and source lines, ``?`` lists the
        keys. No request ever leaves the page. Without a layout engine, boxes are listed instead of drawn.
        """
        from tensorgraph.viz.html import to_html

        return to_html(self)

    @checked
    def animate(self, *args: Any) -> str:
        """The way of the values through the drawing, and of the gradients back, step by step, as one page of HTML.

        Parameters
        ----------
        *args : array, Tensor or spec
            The graph's arguments: it is run once, nothing that it writes is kept, and every step shows the numbers that
            leave its box, or their gradient: mean, spread, norm and histogram. Random numbers stand for specs. Without
            arguments the steps are shown without numbers.

        Returns
        -------
        str
            A page that needs nothing else and makes no request. Space plays it, the arrow keys step.

        Raises
        ------
        ValueError
            For a drawing that does not know its graph, and for arguments that do not fit it.
        RuntimeError
            Where there is no layout engine.

        Examples
        --------
        >>> import tensorgraph as tg
        >>> w = tg.Parameter([1.0, 2.0])
        >>> def loss(x):
        ...     return ((w * x) ** 2).sum()
        >>> drawing = tg.draw(loss, tg.f32[2], level="training")
        >>> page = drawing.animate(tg.tensor([3.0, 4.0]))
        >>> "backward" in page and "http-equiv" in page
        True
        """
        from tensorgraph.viz.animation import animated

        return animated(self, args)

    @checked
    def mermaid(self, theme: Theme | None = None) -> str:
        """The drawing as a Mermaid flowchart, which Markdown on many sites shows as a picture."""
        from tensorgraph.viz.render.mermaid import to_mermaid

        return to_mermaid(self, theme or self.theme)

    @checked
    def json(self, indent: Annotated[int, Range(0, 100)] | None = 2) -> str:
        """Everything the drawing holds, as JSON; `tensorgraph.viz.drawing_from_json` reads it."""
        from tensorgraph.viz.render.json import to_json

        return to_json(self, indent)

    def graphviz(self) -> Any:
        """The drawing as a ``graphviz.Source``, for those who go on with that package."""
        import graphviz

        return graphviz.Source(self.dot())

    @checked
    def save(self, path: PathLike) -> Drawing:
        """Write a file, its format by the suffix: svg, html, png, pdf, dot, mmd, txt or json. Whole or not at all.

        Raises
        ------
        ValueError
            For an unknown suffix, or where a PNG would be too large to read.
        RuntimeError
            Where png or pdf needs a layout engine that is not there, or its layout takes longer than the timeout.
        """
        from tensorgraph.viz.render.save import save

        save(self, path)
        return self

    def __str__(self) -> str:
        return self.text()

    def __repr__(self) -> str:
        return f"<Drawing {self.title}; {len(self.nodes)} boxes, {len(self.edges)} edges, {self.level} level>"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        from tensorgraph.viz.api import mimebundle

        return mimebundle(self)


put_absent(Drawing)
