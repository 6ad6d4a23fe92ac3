"""``tensorgraph cache``: the machine code of kernels that is kept on disk."""

from __future__ import annotations

import argparse
from typing import Any

__all__ = ["add_cache"]


def add_cache(commands: Any) -> None:
    """Add the command to a grammar's commands."""
    top = commands.add_parser(
        "cache", help="the machine code that is kept on disk",
        description="Kernels are compiled once and kept in the folder that TENSORGRAPH_CACHE names (off: nowhere), or "
        "in the user's cache folder. All of it can be made again.",
    )  # fmt: skip
    actions = top.add_subparsers(title="actions", metavar="action", required=True)
    show = actions.add_parser("show", help="where it is, how many entries it has, and how large it is")
    show.set_defaults(command=run_show)
    clear = actions.add_parser("clear", help="remove all entries")
    clear.set_defaults(command=run_clear)


def run_show(options: argparse.Namespace) -> None:
    """``tensorgraph cache show``"""
    from tensorgraph.native.cache import contents

    found = contents()
    if found.path is None:
        print(f"nothing is kept: {found.refusal}")
        return
    size = f"{found.nbytes / 1e6:.1f} MB" if found.nbytes >= 1e5 else f"{found.nbytes / 1e3:.1f} kB"
    print(f"{found.path}: {found.entries} entries, {size}")
    if found.refusal:
        print(f"not used: {found.refusal}")


def run_clear(options: argparse.Namespace) -> None:
    """``tensorgraph cache clear``"""
    from tensorgraph.native.cache import clear

    print(f"{clear()} entries removed")
