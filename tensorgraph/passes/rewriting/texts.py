"""Sides of a rewriting that are texts: with types a graph or a template; without, a function of values of any type."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from tensorgraph.engine.tensor import Tensor
from tensorgraph.graph.graph import Graph
from tensorgraph.text.definitions import definitions
from tensorgraph.text.template import Template, parse

__all__ = ["Untyped", "written"]

FILE = "<text>"


def written(text: str) -> Graph | Template | Untyped:
    """What a text is: ``def before(z): return relu(z)`` is a function of values of any type."""
    main = definitions(text, FILE).main()
    if main.node.args.kwonlyargs or all(arg.annotation is not None for arg in main.arguments):
        found: Graph | Template = parse(text)
        return found
    return Untyped(text)


class Untyped:
    """The last function of a text, read for the types of what it is called with."""

    def __init__(self, text: str) -> None:
        main = definitions(text, FILE).main()
        self.text = text
        self.open = {n: arg for n, arg in enumerate(main.arguments) if arg.annotation is None}
        self.__name__ = main.name
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        self.__signature__ = inspect.Signature([inspect.Parameter(arg.arg, kind) for arg in main.arguments])
        self.known: dict[tuple[str, ...], Any] = {}

    def __call__(self, *arguments: Any) -> Any:
        types = tuple(_said(arguments[n]) for n in self.open)
        if types not in self.known:
            self.known[types] = parse(self.typed(types))
        return self.known[types](*arguments)

    def typed(self, types: Sequence[str]) -> str:
        """The text with these types where it has none."""
        lines = self.text.encode().split(b"\n")
        for arg, said in reversed([*zip(self.open.values(), types, strict=True)]):
            line, column = (arg.end_lineno or 1) - 1, arg.end_col_offset
            lines[line] = lines[line][:column] + f": {said}".encode() + lines[line][column:]
        return b"\n".join(lines).decode()


def _said(value: Any) -> str:
    if not isinstance(value, Tensor):
        return type(value).__name__
    return str(value.aval).removesuffix("[]").replace("bool", "bool_")
