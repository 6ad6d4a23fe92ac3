"""The command ``tensorgraph``: demo, draw, predict, doctor.

Exit codes: 0 done, 1 it could not be done (one line on standard error says why), 2 the command was not understood.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import os
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from tensorgraph.spec import spec

__all__ = ["main"]


class CommandError(Exception):
    """What was asked for cannot be done; the message is one line for the user."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; gives the exit code.

    Parameters
    ----------
    arguments : sequence of str, optional
        The words after ``tensorgraph``; the process's own unless given.

    Examples
    --------
    >>> main(["--version"])
    Traceback (most recent call last):
    SystemExit: 0
    """
    options = parser().parse_args(arguments)
    try:
        options.command(options)
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("tensorgraph: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output has gone; nobody is left to tell
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if options.traceback:
            raise
        print(f"tensorgraph: {one_line(error)}", file=sys.stderr)
        return 1
    return 0


def one_line(error: BaseException) -> str:
    """An error as one line; one that is not meant for users keeps its kind."""
    text = " ".join(str(error.args[0] if isinstance(error, KeyError) and error.args else error).split())
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.strerror}: {str(error.filename)!r}"
    expected = CommandError | ValueError | TypeError | OSError | ImportError | RuntimeError
    return text if isinstance(error, expected) and text else f"{type(error).__name__}: {text}".removesuffix(": ")


def parser() -> argparse.ArgumentParser:
    """The grammar of the command."""
    top = argparse.ArgumentParser(prog="tensorgraph", description="The graph is a value.")
    top.add_argument("--version", action="version", version=f"tensorgraph {metadata.version('tensorgraph-engine')}")
    top.add_argument("--traceback", action="store_true", help="show where an error came from")
    commands = top.add_subparsers(title="commands", metavar="command", required=True)

    demo = commands.add_parser("demo", help="train on handwritten digits, draw the graph, save and use the model")
    demo.add_argument("-o", "--output", default="demo-output", metavar="FOLDER", help="where to write (%(default)s)")
    demo.add_argument("--seeds", default="0,1,2,3,4", help="splits, such as 0,1,2 (%(default)s)")
    demo.add_argument("--quick", action="store_true", help="a small network and three epochs")
    demo.set_defaults(command=run_demo)

    draw = commands.add_parser(
        "draw",
        help="draw a model or a function",
        epilog="example: tensorgraph draw mymodels:make_net -i 64x784 -o net.svg --level op",
    )
    draw.add_argument("target", help="module:name of a model, graph, function or maker of one; or a saved model's file")
    draw.add_argument(
        "-i", "--input", action="append", default=[], metavar="SHAPE[:DTYPE]", type=example, help="such as 64x784:f32"
    )
    draw.add_argument("-o", "--output", metavar="FILE", help="svg, png, pdf, dot, txt or json; text is printed without")
    draw.add_argument("--level", default="auto", choices=("auto", "summary", "module", "op"))
    draw.add_argument("--depth", type=int, help="how deep modules are opened")
    draw.add_argument("--theme", default="auto", choices=("auto", "light", "dark"))
    draw.set_defaults(command=run_draw)

    predict = commands.add_parser("predict", help="classify the samples of a file with a saved model")
    predict.add_argument("model", help="a file that tensorgraph.train.save wrote")
    predict.add_argument("data", help="an .npz file")
    predict.add_argument("-x", default="x", metavar="NAME", help="the samples' name in it (%(default)s)")
    predict.set_defaults(command=run_predict)

    doctor = commands.add_parser("doctor", help="what is installed, what is missing, and what to do about it")
    doctor.set_defaults(command=run_doctor)
    return top


def example(text: str) -> Any:
    """A type from the command line: ``64x784``, ``64x784:f64``, ``64:i64``, or ``()`` for a single number."""
    sizes, _, dtype = text.partition(":")
    known = {f"f{n}": f"float{n}" for n in (16, 32, 64)} | {f"i{n}": f"int{n}" for n in (8, 16, 32, 64)}
    try:
        shape = () if sizes in ("()", "") else tuple(int(n) for n in sizes.replace(",", "x").split("x"))
        return spec(shape, known.get(dtype, dtype) or None)
    except (ValueError, TypeError):
        raise argparse.ArgumentTypeError(f"{text!r} is no type; write sizes and a dtype, such as 64x784:f32") from None


def run_demo(options: argparse.Namespace) -> None:
    """``tensorgraph demo``"""
    from tensorgraph import demo

    try:
        seeds = [int(seed) for seed in options.seeds.split(",")]
    except ValueError:
        raise CommandError(
            f"--seeds takes whole numbers with commas between, such as 0,1,2; got {options.seeds!r}"
        ) from None
    demo.run(options.output, seeds=seeds, settings=demo.QUICK if options.quick else demo.FULL)


def run_draw(options: argparse.Namespace) -> None:
    """``tensorgraph draw``"""
    from tensorgraph.viz import draw

    target, examples = resolve(options.target, tuple(options.input))
    drawing = draw(target, *examples, level=options.level, depth=options.depth, theme=options.theme)
    if options.output is None:
        print(drawing.text(), end="")
    else:
        drawing.save(options.output)
        print(f"{drawing.title}: written to {options.output}")
    for note in drawing.notes:
        print(f"note: {note}", file=sys.stderr)


def resolve(name: str, examples: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
    """What to draw, and the types of its arguments."""
    if name.endswith(".safetensors") or (":" not in name and Path(name).is_file()):
        from tensorgraph.train import load_model

        model = load_model(name).model
        return model, examples or first_input(model, name)
    place, _, attribute = name.partition(":")
    if not attribute:
        raise CommandError(f"{name!r} is neither a file nor module:name; write for example mymodels:make_net")
    sys.path.insert(0, os.getcwd())
    try:
        target = importlib.import_module(place)
    except ImportError as error:
        raise CommandError(f"cannot import {place!r} ({one_line(error)}); run it from the folder it lies in") from error
    finally:
        sys.path.remove(os.getcwd())
    for part in attribute.split("."):
        if not hasattr(target, part):
            raise CommandError(f"{place!r} has no {attribute!r}")
        target = getattr(target, part)
    if isinstance(target, type) or (inspect.isfunction(target) and not inspect.signature(target).parameters):
        target = target()  # a maker
    if isinstance(target, tuple) and target and not examples:
        target, examples = target[0], target[1:]  # a model with its examples
    return target, examples


def first_input(model: Any, name: str) -> tuple[Any, ...]:
    """A batch for a saved model, from its first linear layer."""
    for module in model.modules():
        if hasattr(module, "inputs"):
            return (spec((32, module.inputs), module.weight.dtype),)
    raise CommandError(f"give the type of the input of {name}, such as --input 32x64")


def run_predict(options: argparse.Namespace) -> None:
    """``tensorgraph predict``: label and probability of each sample, a line each."""
    from tensorgraph.data import read_npz
    from tensorgraph.train import load_model

    model = load_model(options.model)
    prediction = model.predict(read_npz(options.data, x=options.x, y=None).x)
    for label, share in zip(prediction.names, prediction.confidence):
        print(f"{label}\t{share:.4f}")


def run_doctor(options: argparse.Namespace) -> None:
    """``tensorgraph doctor``"""
    from tensorgraph.doctor import examine

    findings = examine()
    width = max(len(finding.what) for finding in findings)
    for finding in findings:
        print(f"{finding.sign} {finding.what.ljust(width)}  {finding.told}")
        if finding.remedy:
            print(f"  {' ' * width}  {finding.remedy}")
    wrong = [finding.what for finding in findings if finding.wrong]
    if wrong:
        raise CommandError(f"{', '.join(wrong)}: see above")
