"""``tensorgraph check``: what is wrong with graphs' texts that were written by hand."""

from __future__ import annotations

import argparse
from typing import Any

from tensorgraph.commands.errors import CommandError, one_line

__all__ = ["add_check"]


def add_check(commands: Any) -> None:
    """Add it to the grammar."""
    check = commands.add_parser(
        "check", help="read graphs' texts, and say what is wrong with them",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Reads each text, runs nothing, and prints what is wrong with file, line, column and remedy.\n"
        "Exit code: 0 all are well, 1 something is wrong, 2 a file cannot be read.",
        epilog="examples\n  tensorgraph check model.tg.py\n  tensorgraph check *.tg.py --quiet",
    )  # fmt: skip
    check.add_argument("files", nargs="+", metavar="FILE", help="a graph's text, model.tg.py")
    check.add_argument("-q", "--quiet", action="store_true", help="say nothing of those that are well")
    check.set_defaults(command=run_check)


def run_check(options: argparse.Namespace) -> int:
    """``tensorgraph check``: 0 all are well, 1 something is wrong."""
    from tensorgraph.files import FileFormatError
    from tensorgraph.text.checking import problems
    from tensorgraph.text.files import beside, numbers_of, read

    wrong = 0
    for path in options.files:
        try:
            text = read(path)
            target = beside(path)
            arrays = numbers_of(target, "array:") if target.exists() else {}
        except (OSError, ValueError, FileFormatError) as error:
            said = one_line(error)
            raise CommandError(said if path in said else f"{path}: {said}") from error
        graphs, errors = problems(text, arrays, file=path)
        for each in errors:
            print(each)
        wrong += len(errors)
        if not errors and not options.quiet:
            for graph in graphs.values():
                print(f"{path}: {graph!r}")
    if wrong:
        print(f"{wrong} error{'s' if wrong > 1 else ''}")
    return 1 if wrong else 0
