"""The command ``tensorgraph``: demo, draw, diff, lint, train, tune, panda, predict, doctor, cache,
completion.

Exit codes: 0 done, 1 the answer is no (graphs that differ, findings, an installation that does not work), 2 it could
not be done or was not understood: standard error says why, in one line or with the place in a text.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Sequence
from importlib import metadata
from typing import NoReturn

from tensorgraph.arguments.near import near
from tensorgraph.commands.cache import add_cache
from tensorgraph.commands.check import add_check
from tensorgraph.commands.completion import add_completion
from tensorgraph.commands.errors import CommandError, one_line
from tensorgraph.commands.graphs import add_commands
from tensorgraph.commands.panda import add_panda
from tensorgraph.commands.train import add_train
from tensorgraph.commands.tune import add_tune
from tensorgraph.text.errors import ParseError

__all__ = ["main"]


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
        code = options.command(options)
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
        said = str(error) if isinstance(error, ParseError) else one_line(error)  # a text's place is shown as it stands
        print(f"tensorgraph: {said}", file=sys.stderr)
        return 2
    return code or 0


class Grammar(argparse.ArgumentParser):
    """A grammar that knows which word was meant."""

    def error(self, message: str) -> NoReturn:
        wrong = re.search(r"invalid choice: '([^']*)' \(choose from (.*)\)", message)
        meant = near(wrong[1], re.findall(r"[\w-]+", wrong[2])) if wrong else None
        super().error(f"{message}; did you mean {meant!r}?" if meant else message)


def parser() -> argparse.ArgumentParser:
    """The grammar of the command."""
    top = Grammar(
        prog="tensorgraph", description="The graph is a value.",
        epilog="Exit codes: 0 done; 1 the answer is no; 2 it could not be done or was not understood, standard error "
        "says why; 130 interrupted by Ctrl-C. COMMAND --help says what they mean there.",
    )  # fmt: skip
    top.add_argument("--version", action="version", version=f"tensorgraph {metadata.version('tensorgraph-engine')}")
    top.add_argument("--traceback", action="store_true", help="show where an error came from")
    commands = top.add_subparsers(title="commands", metavar="command", required=True)

    demo = commands.add_parser("demo", help="train on handwritten digits, draw the graph, save and use the model")
    demo.add_argument("-o", "--output", default="demo-output", metavar="FOLDER", help="where to write (%(default)s)")
    demo.add_argument("--seeds", default="0,1,2,3,4", help="splits, such as 0,1,2 (%(default)s)")
    demo.add_argument("--quick", action="store_true", help="a small network and three epochs")
    demo.set_defaults(command=run_demo)

    add_commands(commands)
    add_check(commands)
    add_train(commands)
    add_tune(commands)
    add_panda(commands)

    predict = commands.add_parser("predict", help="classify the samples of a file with a saved model")
    predict.add_argument("model", help="a file that tensorgraph.train.save wrote")
    predict.add_argument("data", help="an .npz file")
    predict.add_argument("-x", default="x", metavar="NAME", help="the samples' name in it (%(default)s)")
    predict.set_defaults(command=run_predict)

    doctor = commands.add_parser("doctor", help="what is installed, what is missing, and what to do about it")
    doctor.set_defaults(command=run_doctor)
    add_cache(commands)
    add_completion(commands, parser)
    return top


def run_demo(options: argparse.Namespace) -> None:
    """``tensorgraph demo``"""
    from tensorgraph.commands import demo

    try:
        seeds = [int(seed) for seed in options.seeds.split(",")]
    except ValueError:
        raise CommandError(
            f"--seeds takes whole numbers with commas between, such as 0,1,2; got {options.seeds!r}"
        ) from None
    demo.run(options.output, seeds=seeds, settings=demo.QUICK if options.quick else demo.FULL)


def run_predict(options: argparse.Namespace) -> None:
    """``tensorgraph predict``: label and probability of each sample, a line each."""
    from tensorgraph.data import read_npz
    from tensorgraph.train import load_model

    model = load_model(options.model)
    prediction = model.predict(read_npz(options.data, x=options.x, y=None).x)
    for label, share in zip(prediction.names, prediction.confidence):
        print(f"{label}\t{share:.4f}")


def run_doctor(options: argparse.Namespace) -> int:
    """``tensorgraph doctor``: 1 where something does not work."""
    from tensorgraph.commands.doctor import examine

    findings = examine()
    width = max(len(finding.what) for finding in findings)
    for finding in findings:
        print(f"{finding.sign} {finding.what.ljust(width)}  {finding.told}")
        if finding.remedy:
            print(f"  {' ' * width}  {finding.remedy}")
    wrong = [finding.what for finding in findings if finding.wrong]
    if wrong:
        sys.stdout.flush()
        print(f"tensorgraph: {', '.join(wrong)}: see above", file=sys.stderr)
    return 1 if wrong else 0
