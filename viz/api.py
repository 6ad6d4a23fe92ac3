"""`draw`: anything that has a graph to a `Drawing`."""

from __future__ import annotations

import inspect
from dataclasses import replace
from typing import Any

from tensorgraph.graph.from_tape import graph as tape_graph
from tensorgraph.graph.graph import Graph
from tensorgraph.graph.trace import trace
from tensorgraph.tensor import Tensor
from tensorgraph.viz.budget import MOST_BOXES, mend
from tensorgraph.viz.build import build, summary
from tensorgraph.viz.drawing import Drawing
from tensorgraph.viz.focus import focus_on
from tensorgraph.viz.labels import clean, count
from tensorgraph.viz.palette import THEMES
from tensorgraph.viz.view import by_module, by_op, depths, pack

__all__ = ["LEVELS", "draw", "mimebundle"]

LEVELS = ("auto", "summary", "module", "op")
READABLE = 40  # boxes that a reader takes in; "auto" draws more only where there are no modules to fold to
MOST_MODULES = 120  # boxes of the module level where the depth is not given
FEWEST = 4  # boxes below which a shallower depth is not worth taking
NOTEBOOK_TIMEOUT = 5.0


def draw(
    target: Any,
    *examples: Any,
    level: str = "auto",
    depth: int | None = None,
    focus: str | None = None,
    hops: int = 2,
    theme: str = "auto",
    timeout: float = 20.0,
) -> Drawing:
    """Draw a model, a function, a tensor's history or a graph. Nothing is computed and no state changes.

    Parameters
    ----------
    target : Graph, Tensor, Module or callable
        A module or a function is traced with `examples`.
    *examples : array, Tensor or spec
        Arguments of a module or function: arrays, or ``tensorgraph.spec((64, 784), "float32")``.
    level : {"auto", "summary", "module", "op"}
        ``"summary"``: one box. ``"module"``: one box a module. ``"op"``: every op. ``"auto"``: every op of a small
        graph, else the modules, as deep as stays readable.
    depth : int, optional
        For modules: 1 draws the outermost. Default: the innermost, less deep where these are many.
    focus : str, optional
        The path of a box or module (see `Drawing.nodes`): only what is within `hops` of it is drawn.
    hops : int
        Edges from `focus`.
    theme : {"auto", "light", "dark"}
        ``"auto"`` follows the reader's system, in SVG.
    timeout : float
        Seconds that a layout may take. A drawing that would take longer is simplified before; `Drawing.notes` says how.

    Returns
    -------
    Drawing

    Raises
    ------
    ValueError
        For an unknown level, theme or focus, or where examples are missing.
    TypeError
        For a target that has no graph.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> print(tg.draw(lambda x: tg.tanh(x).sum(), tg.spec((2, 3), "float32"), level="op").text())
    f: 2 ops
    <BLANKLINE>
    x     2x3 f32     input
    tanh  2x3 f32     <- x
    sum   scalar f32  <- tanh
    out   scalar f32  output <- sum
    <BLANKLINE>
    """
    _check(level, depth, focus, hops, theme, timeout)
    graph = _graph_of(target, examples)
    drawing = _drawn(graph, level, depth, focus, hops)
    return replace(drawing, theme=theme, timeout=float(timeout))


def mimebundle(target: Any) -> dict[str, Any]:
    """What a notebook shows of a graph, a tensor or a drawing: text, and SVG where there is a layout engine.

    Never raises: where a picture fails, the text says why.
    """
    try:
        drawing = target if isinstance(target, Drawing) else draw(target, timeout=NOTEBOOK_TIMEOUT)
        bundle = {"text/plain": drawing.text()}
    except Exception as error:  # a notebook shows what it can
        return {"text/plain": f"{_described(target)}\n(no drawing: {clean(error, 200)})"}
    try:
        bundle["image/svg+xml"] = drawing.svg()
    except Exception as error:
        bundle["text/plain"] += f"(no picture: {clean(error, 200)})\n"
    return bundle


def _described(target: Any) -> str:
    try:
        return clean(repr(target), 200)
    except Exception:
        return f"<{type(target).__name__}>"


def _check(level: str, depth: int | None, focus: str | None, hops: int, theme: str, timeout: float) -> None:
    if level not in LEVELS:
        raise ValueError(f"level must be one of {', '.join(map(repr, LEVELS))}, got {level!r}")
    if theme not in THEMES:
        raise ValueError(f"theme must be one of {', '.join(map(repr, THEMES))}, got {theme!r}")
    if depth is not None and (isinstance(depth, bool) or not isinstance(depth, int) or depth < 1):
        raise ValueError(f"depth must be a positive integer or None, got {depth!r}; level='summary' draws one box")
    if isinstance(hops, bool) or not isinstance(hops, int) or hops < 0:
        raise ValueError(f"hops must be an integer of at least 0, got {hops!r}")
    if focus is not None and not isinstance(focus, str):
        raise TypeError(f"focus is the path of a box or module, got {focus!r}; Drawing.nodes lists them")
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not timeout > 0:
        raise ValueError(f"timeout must be a positive number of seconds, got {timeout!r}")


def _graph_of(target: Any, examples: tuple[Any, ...]) -> Graph:
    """The graph of a target."""
    if isinstance(target, Graph):
        if examples:
            raise ValueError("a graph is drawn as it is: leave the examples out")
        return target
    if isinstance(target, Tensor):
        if examples:
            raise ValueError("a tensor's history is drawn as it is: leave the examples out")
        return tape_graph(target)
    if not callable(target):
        raise TypeError(f"expected a model, a function, a tensor or a graph to draw, got {type(target).__name__}")
    try:
        inspect.signature(target).bind(*examples)
    except ValueError:  # no signature to be had: tracing will tell
        pass
    except TypeError as error:
        name = clean(getattr(target, "__name__", type(target).__name__))
        raise ValueError(
            f"to draw {name}, examples of its arguments are needed ({error}): draw({name}, x) with an array, or with "
            "tensorgraph.spec((64, 784), 'float32')"
        ) from None
    return trace(target, *examples)


def _drawn(graph: Graph, level: str, depth: int | None, focus: str | None, hops: int) -> Drawing:
    if level == "summary":
        return summary(graph)
    ops, modules = len(graph.equations), depths(graph)
    if level == "auto":
        if depth is not None:
            level = "module"
        else:
            level = "op" if focus is not None or ops <= READABLE or (not modules and ops <= MOST_BOXES) else "module"
        limit = READABLE
    else:
        limit = MOST_MODULES
    if level == "op" and (focus is not None or ops <= MOST_BOXES):
        drawing = build(graph, by_op(graph), "op")
        if focus is not None:
            drawing = focus_on(drawing, focus, hops)
        if len(drawing.nodes) <= MOST_BOXES + len(graph.inputs) + len(graph.outputs):
            return mend(drawing)
    if level == "op":
        drawing = mend(_by_module(graph, depth, MOST_MODULES))
        note = f"{count(ops, 'op')} are more than a layout takes: drawn by module; focus= draws the ops around one"
        return replace(drawing, notes=(*drawing.notes, note))
    drawing = _by_module(graph, depth, limit)
    if focus is not None:
        drawing = focus_on(drawing, focus, hops)
    return mend(drawing)


def _by_module(graph: Graph, depth: int | None, limit: int) -> Drawing:
    """Modules at `depth`; without one, the deepest that gives at most `limit` boxes, neighbours joined if none does."""
    boxes = by_module(graph, depth)
    most = limit if depth is None else MOST_BOXES
    if depth is None:
        for shallower in range(depths(graph) - 1, 0, -1):
            if len(boxes) <= limit:
                break
            coarser = by_module(graph, shallower)
            if len(coarser) < FEWEST:  # one container around everything says less than its content joined
                break
            boxes = coarser
    notes: tuple[str, ...] = ()
    if len(boxes) > most:
        notes = (f"{count(len(boxes), 'box')} joined to stay readable: depth= and focus= show more",)
        boxes = pack(graph, boxes, most)
    drawing = build(graph, boxes, "module")
    return replace(drawing, notes=(*drawing.notes, *notes))
