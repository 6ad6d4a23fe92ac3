"""Graphs as files: the text, and beside it the arrays that the text names, as safetensors. Nothing is ever executed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tensorgraph.arguments import PathLike, checked
from tensorgraph.engine.tensor import Tensor
from tensorgraph.files import FileFormatError, atomic_write, load_tensors, save_tensors
from tensorgraph.graph.graph import Graph, digest
from tensorgraph.text.reading import MOST_CHARACTERS
from tensorgraph.text.sure import arrays_of, sure_text
from tensorgraph.text.template import Template, parse

__all__ = ["load", "load_state", "numbers_of", "read", "save", "write"]

FORMAT, VERSION = "tensorgraph.graph", 1
HEAD = "from tensorgraph.dsl import *\n"
PLAIN = "from __future__ import annotations\n"  # so that Python evaluates no annotation
Arrays = dict[str, np.ndarray[Any, Any]]


def beside(path: PathLike) -> Path:
    """The file of a text's arrays: ``model.tg.safetensors`` of ``model.tg.py``."""
    path = Path(path)
    if path.suffix != ".py":
        raise ValueError(f"a graph's text is a Python file such as model.tg.py, got {path.name!r}")
    return path.with_suffix(".safetensors")


@checked
def save(graph: Graph | Template, path: PathLike, state: Mapping[str, Any] | None = None) -> None:
    """Write a graph as text, and its arrays beside it. Each file whole or not at all.

    Parameters
    ----------
    graph : Graph or Template
    path : path-like
        The text, by custom ``*.tg.py``; the arrays go to ``*.tg.safetensors``.
    state : mapping of cell path to array, optional
        Trained numbers of the cells, for `load_state`.

    Examples
    --------
    >>> import tempfile, tensorgraph as tg
    >>> g = tg.trace(lambda x: tg.relu(x), tg.f32[3])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     g.save(f"{folder}/net.tg.py")
    ...     tg.load_graph(f"{folder}/net.tg.py") == g
    True
    """
    text = sure_text(graph) if isinstance(graph, Graph) else str(graph)
    write(text, arrays_of(graph) if isinstance(graph, Graph) else graph.arrays, path, state or {})


def write(text: str, arrays: Mapping[Any, Any], path: PathLike, state: Mapping[str, Any]) -> None:
    """A text, its captured arrays and its cells' numbers, as `save` does."""
    target = beside(path)
    numbers = {f"array:{digest(array)}": array for array in map(np.asarray, arrays.values())}
    for cell, value in state.items():
        numbers[f"cell:{cell}"] = value.numpy() if isinstance(value, Tensor) else np.asarray(value)
    if HEAD.strip() not in text:
        text = f"{PLAIN}{HEAD}\n\n{text.lstrip()}"
    if numbers or target.exists():  # the text names these by digest: whichever file is older is found out
        save_tensors(target, numbers, format=FORMAT, version=VERSION)
    atomic_write(path, (text.rstrip() + "\n").encode())


@checked
def load(path: PathLike, *, name: str | None = None, types: Iterable[type] = ()) -> Any:
    """Read a graph, or a template, from a file written by hand or by `save`. The file is never executed.

    Raises
    ------
    ParseError
        Where the text is no graph, with line, column and what was expected.
    FileFormatError
        Where the arrays beside it are damaged.
    """
    target = beside(path)
    arrays = numbers_of(target, "array:") if target.exists() else {}
    return parse(read(path), arrays, name=name, types=types, file=str(path))


def read(path: PathLike) -> str:
    """The text of a file."""
    beside(path)
    size = Path(path).stat().st_size
    if size > MOST_CHARACTERS:
        raise FileFormatError(f"{path}: a graph's text has at most {MOST_CHARACTERS:,} bytes, this has {size:,}")
    try:
        return Path(path).read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FileFormatError(f"{path}: a graph's text is UTF-8, and this is not: {error}") from None


@checked
def load_state(path: PathLike) -> Arrays:
    """The cells' numbers that were saved beside a text, by path; empty where there are none."""
    target = beside(path)
    return numbers_of(target, "cell:") if target.exists() else {}


def numbers_of(target: Path, kind: str) -> Arrays:
    """The arrays of one kind beside a text, ``"array:"`` or ``"cell:"``."""
    arrays, _ = load_tensors(target, format=FORMAT, version=VERSION)
    return {key.removeprefix(kind): array for key, array in arrays.items() if key.startswith(kind)}
