"""``tensorgraph draw``, ``diff`` and ``lint``."""

from __future__ import annotations

import argparse
import inspect
import sys
import tempfile
from pathlib import Path
from typing import Any

from tensorgraph.commands.errors import CommandError
from tensorgraph.commands.targets import FORMS, add_target_options, resolve
from tensorgraph.engine.tensor import Tensor
from tensorgraph.graph.graph import Graph
from tensorgraph.graph.trace import trace
from tensorgraph.text.template import Template

__all__ = ["FORMATS", "LEVELS", "add_commands"]

LEVELS = ("auto", "summary", "module", "op", "training", "compiled")
FORMATS = ("svg", "html", "png", "pdf", "dot", "mmd", "txt", "json")


def add_commands(commands: Any) -> None:
    """Add them to the grammar."""
    raw = argparse.RawDescriptionHelpFormatter
    draw = commands.add_parser(
        "draw", help="draw a model, a function or a graph's text", formatter_class=raw,
        epilog=f"{FORMS}\nexamples\n"
        "  tensorgraph draw mymodels:make_net -i f32[64,784] -o net.html --level training\n"
        "  tensorgraph draw model.tg.py --at N=32 -o net.svg\n"
        "  tensorgraph draw nets.py:make_net --overlay flops -o - --format dot",
    )  # fmt: skip
    draw.add_argument("target", help="what to draw: see below")
    add_target_options(draw)
    _add_output(draw, "text is printed without")
    draw.add_argument("--level", default="auto", choices=LEVELS, help="how much is drawn (%(default)s)")
    draw.add_argument("--depth", type=int, help="how deep modules are opened")
    draw.add_argument("--expand", action="append", metavar="PATH", help="draw in full what is folded at this path")
    draw.add_argument("--focus", metavar="PATH", help="only what is around this box or module")
    draw.add_argument("--hops", type=int, default=2, help="how far around it (%(default)s)")
    draw.add_argument("--overlay", metavar="FIGURE", help="time, bytes, flops, grad_norm or max on each box")
    draw.add_argument(
        "--direction", default="auto", choices=("auto", "down", "right"), help="which way values flow (%(default)s)"
    )
    draw.add_argument(
        "--size", type=_size, metavar="WIDTHxHEIGHT", help="the pixels in which all is to be read (1920x1080)"
    )
    draw.add_argument(
        "--animate", action="store_true", help="a page of HTML that goes through the drawing step by step, with numbers"
    )
    draw.set_defaults(command=run_draw)

    diff = commands.add_parser(
        "diff", help="what differs between two graphs", formatter_class=raw,
        description="Prints what differs, as text. Exit code: 0 the same, 1 different, 2 error.",
        epilog=f"{FORMS}\nexamples\n"
        "  tensorgraph diff old.tg.py new.tg.py\n"
        "  tensorgraph diff nets:small nets:large -i f32[64,784] -o difference.svg",
    )  # fmt: skip
    diff.add_argument("before", help="a target: see below")
    diff.add_argument("after", help="another one")
    add_target_options(diff)
    _add_output(diff, "a picture besides the text")
    diff.add_argument("-q", "--quiet", action="store_true", help="print nothing: the exit code tells")
    diff.set_defaults(command=run_diff)

    lint = commands.add_parser(
        "lint", help="look for mistakes in a model, a loss or a training step", formatter_class=raw,
        description="Prints each finding with its line and remedy. Exit code: 0 nothing found, 1 findings, 2 error.",
        epilog=f"{FORMS}\nexamples\n  tensorgraph lint mymodels:loss -i f32[64,784] -i i64[64] --ignore TG003",
    )  # fmt: skip
    lint.add_argument("target", help="what to look at: see below")
    add_target_options(lint)
    lint.add_argument("--ignore", action="append", default=[], metavar="RULE", help="an id or a name, such as TG003")
    lint.add_argument("--format", default="text", choices=("text", "json"), help="(%(default)s)")
    lint.set_defaults(command=run_lint)


def _add_output(parser: argparse.ArgumentParser, otherwise: str) -> None:
    parser.add_argument(
        "-o", "--output", metavar="FILE",
        help=f"a file ending in {', '.join(FORMATS[:-1])} or {FORMATS[-1]}, or - for standard output; {otherwise}",
    )  # fmt: skip
    parser.add_argument("--format", choices=FORMATS, help="in place of the file's ending (svg for -)")
    parser.add_argument("--theme", default="auto", choices=("auto", "light", "dark"), help="(%(default)s)")


def _size(text: str) -> tuple[int, int]:
    sides = text.split("x")
    if len(sides) != 2 or not all(side.isdecimal() for side in sides):
        raise argparse.ArgumentTypeError(f"expected a width and a height in pixels, such as 1280x640; got {text!r}")
    return int(sides[0]), int(sides[1])


def run_draw(options: argparse.Namespace) -> int:
    """``tensorgraph draw``"""
    from tensorgraph.viz import draw

    target, examples = _complete(options.target, options, whole=True)
    more = {"expand": options.expand} if options.expand else {}
    drawing = draw(
        target, *examples, level=options.level, depth=options.depth, focus=options.focus, hops=options.hops,
        overlay=options.overlay, theme=options.theme, direction=options.direction, size=options.size, **more,
    )  # fmt: skip
    if options.animate:
        _write_page(drawing, options)
    elif options.output is None and options.format is None:
        print(drawing.text(), end="")
    else:
        _write(drawing, options)
    for note in drawing.notes:
        print(f"note: {note}", file=sys.stderr)
    return 0


def run_diff(options: argparse.Namespace) -> int:
    """``tensorgraph diff``: 0 the same, 1 different."""
    from tensorgraph.analysis.diff import diff

    before = _graph(options.before, options)
    found = diff(before, _graph(options.after, options))
    to_stdout = options.output == "-" or (options.output is None and options.format is not None)
    if not options.quiet and found:
        print(found.text(), file=sys.stderr if to_stdout else sys.stdout)
    if options.output is not None or options.format is not None:
        _write(found.draw(theme=options.theme), options, quiet=options.quiet)
    return 1 if found else 0


def run_lint(options: argparse.Namespace) -> int:
    """``tensorgraph lint``: 0 nothing found, 1 findings."""
    from tensorgraph.analysis.lint import lint

    target, examples = _complete(options.target, options)
    found = lint(target, *examples, ignore=options.ignore)
    print(found.json(indent=2) if options.format == "json" else found.text())
    return 1 if found else 0


def _graph(name: str, options: argparse.Namespace) -> Graph:
    """The graph of a target."""
    target, examples = _complete(name, options)
    if isinstance(target, Graph):
        return target
    if not callable(target):
        raise CommandError(f"{name} is no graph, model or function but {type(target).__name__}")
    return trace(target, *examples)


def _complete(name: str, options: argparse.Namespace, whole: bool = False) -> tuple[Any, tuple[Any, ...]]:
    """A target with the types of all its arguments; a template as a `whole` where no sizes are asked for."""
    target, examples = resolve(name, options.examples, options.at, whole)
    if isinstance(target, (Graph, Tensor, Template)) or not callable(target):
        return target, examples
    try:
        inspect.signature(target).bind(*examples)
    except ValueError:  # no signature to be had: tracing will tell
        pass
    except TypeError as error:
        raise CommandError(
            f"{name}: the types of its arguments are needed ({error}): add for each one such as -i f32[64,784]"
        ) from None
    return target, examples


def _write_page(drawing: Any, options: argparse.Namespace) -> None:
    """The page that goes through a drawing, on random numbers."""
    from tensorgraph.engine.spec import spec
    from tensorgraph.files import atomic_write

    ending = options.format or ("html" if options.output in (None, "-") else Path(options.output).suffix.lstrip("."))
    if ending != "html":
        raise ValueError(f"--animate writes a page of HTML, got the format {ending!r}: end the file's name in .html")
    page = drawing.animate(*(spec(var.aval.shape, var.aval.dtype) for var in drawing.source.inputs))
    if options.output in (None, "-"):
        print(page, end="")
        return
    atomic_write(options.output, page.encode("utf-8"))
    print(f"{drawing.title}: written to {options.output}")


def _write(drawing: Any, options: argparse.Namespace, quiet: bool = False) -> None:
    """A drawing to a file, or to standard output."""
    from tensorgraph.files import atomic_write

    if options.output not in (None, "-") and options.format is None:
        drawing.save(options.output)
    else:
        with tempfile.TemporaryDirectory() as folder:
            made = Path(folder, f"drawing.{options.format or 'svg'}")
            drawing.save(made)
            data = made.read_bytes()
        if options.output in (None, "-"):
            sys.stdout.flush()
            sys.stdout.buffer.write(data)
            return
        atomic_write(options.output, data)
    if not quiet:
        print(f"{drawing.title}: written to {options.output}")
