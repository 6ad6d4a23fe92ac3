"""`draw`: anything that has a graph to a `Drawing`."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal, TypeAlias, get_args

from tensorgraph.analysis.difference import Difference
from tensorgraph.analysis.fault_report import Faults
from tensorgraph.analysis.profile import Profile, duration
from tensorgraph.arguments import Natural, Positive, Range, checked, refuse_keyword
from tensorgraph.compile import Compiled
from tensorgraph.engine.tensor import Tensor
from tensorgraph.graph.from_tape import graph as tape_graph
from tensorgraph.graph.graph import Graph
from tensorgraph.graph.keywords import called_by_name, refuse_strangers
from tensorgraph.graph.trace import trace
from tensorgraph.passes.rewriting import Region
from tensorgraph.text.template import Template
from tensorgraph.viz.model.compare import compare
from tensorgraph.viz.model.compiled import compiled_drawing
from tensorgraph.viz.model.drawing import Direction, Drawing
from tensorgraph.viz.model.expansion import expanded
from tensorgraph.viz.model.fault import draw_fault
from tensorgraph.viz.model.labels import clean
from tensorgraph.viz.model.levels import Plan, drawn

__all__ = ["LEVELS", "draw", "mimebundle", "picture"]

Depth: TypeAlias = Annotated[int, Range(1, word="a positive integer (level='summary' draws one box)")]

Side: TypeAlias = Annotated[int, Range(100, 100_000)]
Level: TypeAlias = Literal["auto", "summary", "module", "op", "training", "compiled"]
LEVELS = get_args(Level)
NOTEBOOK = 900, 640  # pixels
NOTEBOOK_TIMEOUT = 5.0


@checked
def draw(
    target: Any,
    /,
    *examples: Any,
    level: Level = "auto",
    depth: Depth | Literal["op"] | None = None,
    expand: str | Iterable[str] | bool | None = None,
    focus: str | Region | None = None,
    hops: Natural = 2,
    overlay: Any = None,
    theme: Literal["auto", "light", "dark"] = "auto",
    direction: Direction = "auto",
    size: tuple[Side, Side] | None = None,
    timeout: Positive = 20.0,
    **keywords: Any,
) -> Drawing:
    """Draw a model, a function, a tensor's history or a graph. Nothing is computed and no state changes.

    Parameters
    ----------
    target : Graph, Tensor, Module or callable
        A module or a function is traced with `examples`; a compiled function that was called is drawn without any.
    *examples : array, Tensor or spec
        Arguments of a module or function: arrays, or ``tensorgraph.spec((64, 784), "float32")``.
    level : {"auto", "summary", "module", "op", "training", "compiled"}
        ``"summary"``: one box. ``"module"``: one box a module. ``"op"``: every op. ``"training"``: the mirrored step,
        forward down the left and its gradient up the right, with what is kept between them, where gradients stop and
        what is written; of a graph that takes no gradient, the one it would have. ``"compiled"``: one box a kernel of
        what `tensorgraph.compile` makes of it, with its ops, your lines, bytes and where results lie, and why
        neighbours are two kernels, many in the order in which they run, those of one module or in a row together where
        they could not be read one by one; ``overlay="time"`` measures each. ``"auto"``:
        the training level of a graph that takes gradients, every op of another small one, else the modules, as deep as
        can be read on a screen of 1920 by 1080; ops of no module are joined before modules are closed.
    depth : int or "op", optional
        For modules: 1 draws the outermost. Default: the innermost, less deep where these are many. ``"op"`` goes down
        to the ops, and of what is compiled to the kernels.
    expand : str, iterable of str or bool, optional
        What is drawn in full. Three or more equal siblings in a row are drawn once, ``"blocks.0 ... blocks.11 x12"``:
        a path opens those around it, True all of them. The path of a module opens it to its ops, that of a fused op
        (``"layers.1/batch_norm"``) to its composed reference; of what is compiled, a number (``"k07"``) or a module
        its kernels, and True every one.
    focus : str or Region, optional
        The path of a box or module (see `Drawing.nodes`), or a part of the graph, ``graph["h"]`` or its name: only what
        is within `hops` of it is drawn.
    hops : int
        Edges from `focus`.
    overlay : str or mapping, optional
        Figures on the boxes: see `tensorgraph.viz.overlay`.
    theme : {"auto", "light", "dark"}
        ``"auto"`` follows the reader's system, in SVG.
    direction : {"auto", "down", "right"}
        Which way values flow: down, a long chain in several columns where its words stay larger so (``"auto"``) or in
        one; or to the right, as slides are wide.
    size : tuple of int, optional
        Width and height in pixels, ``(1280, 640)``, in which all of the drawing is to be read: where nothing is said of
        how much is drawn, so many boxes that words stay about ten pixels high. Default: a screen of 1920 by 1080.
    timeout : float
        Seconds that a layout may take. A drawing that would take longer is simplified before; `Drawing.notes` says how.
    **keywords
        Examples of arguments that the function takes by name; one that is called as an option of draw is given by
        `functools.partial`.

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
    paths = _paths(expand)
    sizes: dict[str, int] = {}
    if isinstance(target, Compiled) and not examples and not keywords:
        if level == "compiled":
            drawing = compiled_drawing(target, (), Plan(level, depth, paths, focus, hops, size=size), overlay)
            return replace(drawing, theme=theme, direction=direction, timeout=float(timeout))
        target = target.graph
    if isinstance(target, Template) and not examples and not keywords:
        graph, sizes = target.symbolic()
    else:
        graph = _graph_of(target, examples, keywords)
        if isinstance(graph, Template):
            graph, sizes = graph.symbolic()
    if isinstance(paths, tuple) and level != "compiled":
        graph, paths = expanded(graph, paths)
    given = tuple(value for _, value in called_by_name(target, examples, keywords)) if keywords else examples
    if level == "compiled":
        drawing = compiled_drawing(graph, given, Plan(level, depth, paths, focus, hops, size=size), overlay)
    else:
        drawing = drawn(graph, Plan(level, depth, paths, focus, hops, size=size))
        if overlay is not None:
            from tensorgraph.viz.model.overlay import apply

            drawing = apply(drawing, graph, overlay, given)
    if sizes:
        told = ", ".join(f"{name} = {size}" for name, size in sizes.items())
        drawing = replace(drawing, notes=(*drawing.notes, f"a template: counts, bytes and figures are those of {told}"))
    return replace(drawing, theme=theme, direction=direction, timeout=float(timeout))


@checked
def picture(target: Any, *args: Any, **options: Any) -> Drawing:
    """The picture of what has one: a graph, a `Difference`, a `Profile`, a fault among `Faults` by its number."""
    if isinstance(target, Difference):
        return compare(target, *args, **options)
    if isinstance(target, Faults):
        return draw_fault(target, *args, **options)
    if isinstance(target, Profile):
        return draw_profile(target, *args, **options)
    if isinstance(target, Region):
        target = target.graph
    return draw(target, *args, **options)


def draw_profile(profile: Profile, **options: Any) -> Drawing:
    """The graph of a profile, each box as dark as it is slow."""
    from tensorgraph.viz.model.overlay import by_equation

    note = f"median of {profile.repeats} runs, {duration(profile.total)} in all"
    return by_equation(draw(profile.graph, **options), "time", profile.seconds, note)


def mimebundle(target: Any) -> dict[str, Any]:
    """What a notebook shows of what has a picture: text, and SVG where there is a layout engine.

    Never raises: where a picture fails, the text says why.
    """
    try:
        drawing = target if isinstance(target, Drawing) else _in_notebook(target)
        bundle = {"text/plain": drawing.text()}
    except Exception as error:  # a notebook shows what it can
        return {"text/plain": f"{_described(target)}\n(no drawing: {clean(error, 1_200)})"}
    try:
        bundle["image/svg+xml"] = drawing.svg()
    except Exception as error:
        bundle["text/plain"] += f"(no picture: {clean(error, 1_200)})\n"
    return bundle


def _in_notebook(target: Any) -> Drawing:
    sized = {} if isinstance(target, (Difference, Faults)) else {"size": NOTEBOOK}
    return picture(target, timeout=NOTEBOOK_TIMEOUT, **sized)


def _described(target: Any) -> str:
    try:
        return clean(repr(target), 200)
    except Exception:
        return f"<{type(target).__name__}>"


def _paths(expand: Any) -> tuple[str, ...] | bool:
    if expand is None or isinstance(expand, bool):
        return bool(expand)
    paths = (expand,) if isinstance(expand, str) else tuple(expand) if isinstance(expand, Iterable) else (expand,)
    for path in paths:
        if not isinstance(path, str) or not path:
            raise TypeError(f"expand is a path of Drawing.nodes, several of them, or True; got {path!r}")
    return paths


OPTIONS = ("level", "depth", "expand", "focus", "hops", "overlay", "theme", "direction", "size", "timeout")


def _graph_of(target: Any, examples: tuple[Any, ...], keywords: Mapping[str, Any]) -> Any:
    """The graph of a target; a template, where examples have names for sizes."""
    if keywords and (isinstance(target, (Graph, Template, Tensor)) or not callable(target)):
        refuse_keyword(keywords, [*OPTIONS], "draw", None)
    if isinstance(target, Graph):
        if examples:
            raise ValueError("a graph is drawn as it is: leave the examples out")
        return target
    if isinstance(target, Template):
        return target.instance(*examples)
    if isinstance(target, Tensor):
        if examples:
            raise ValueError("a tensor's history is drawn as it is: leave the examples out")
        return tape_graph(target)
    if not callable(target):
        raise TypeError(f"expected a model, a function, a tensor or a graph to draw, got {type(target).__name__}")
    refuse_strangers("draw", target, keywords, OPTIONS)
    try:
        inspect.signature(target).bind(*examples, **keywords)
    except ValueError:  # no signature to be had: tracing will tell
        pass
    except TypeError as error:
        name = clean(getattr(target, "__name__", type(target).__name__))
        raise ValueError(
            f"to draw {name}, examples of its arguments are needed ({error}): draw({name}, x) with an array, or with "
            "tensorgraph.spec((64, 784), 'float32')"
        ) from None
    return trace(target, *examples, **keywords)
