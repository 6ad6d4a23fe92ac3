"""What a command works on: a model or a function by name, a saved model, or a graph's text.

A name such as ``mymodels:make_net`` imports the user's module: that is their wish, and runs their code. The text of a
graph (``model.tg.py``) is read and never executed.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import inspect
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from tensorgraph.commands.errors import CommandError, one_line
from tensorgraph.engine.spec import spec

__all__ = ["FORMS", "add_target_options", "example", "resolve", "size"]

FORMS = """\
a target is one of
  mymodels:make_net     a model, a function, or a maker of one, of a module in this folder or installed;
                        a maker may return (model, example, ...); the module is imported, and so runs
  nets.py:make_net      the same, of a file
  model.tg.py           a graph as text; it is read, never executed; --at gives the sizes of named dimensions
  model.safetensors     a model that tensorgraph.train.save wrote
"""
_TYPED = re.compile(r"^\s*(bool|bool_|[fiu]\d+|float\d+|u?int\d+)\s*\[([\d\s,]*)\]\s*$")


def add_target_options(parser: argparse.ArgumentParser) -> None:
    """The options that say of which types a target's arguments are."""
    parser.add_argument(
        "-i", "--example", "--input", action="append", default=[], metavar="TYPE", type=example, dest="examples",
        help="an argument's type, such as f32[64,784] or 64x784:f32; once for each argument",
    )  # fmt: skip
    parser.add_argument(
        "--at", action="append", default=[], metavar="N=32", type=size, help="the size of a dimension that a text names"
    )


def example(text: str) -> Any:
    """A type from the command line: ``f32[64,784]``, ``64x784``, ``64x784:f64``, ``i64[8]``, ``()`` for one number."""
    wrong = argparse.ArgumentTypeError(
        f"{text!r} is no type; write a dtype and sizes, such as f32[64,784] or 64x784:f32"
    )
    typed = _TYPED.match(text)
    if typed:
        dtype, sizes = typed[1].removesuffix("_"), typed[2].strip()
        shape_text = sizes.replace(",", "x").removesuffix("x").replace(" ", "") or "()"
    else:
        shape_text, _, dtype = text.partition(":")
        shape_text = shape_text.replace(",", "x")
    try:
        shape = () if shape_text in ("()", "") else tuple(int(n) for n in shape_text.split("x"))
        return spec(shape, dtype or None)
    except (ValueError, TypeError):
        raise wrong from None


def size(text: str) -> tuple[str, int]:
    """A dimension and its size from the command line: ``N=32``."""
    name, _, number = text.partition("=")
    if not name.isidentifier() or not number.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is no size of a dimension; write for example N=32")
    return name, int(number)


def resolve(
    name: str, examples: Sequence[Any] = (), at: Sequence[tuple[str, int]] = (), whole: bool = False
) -> tuple[Any, tuple[Any, ...]]:
    """A target, and the types of its arguments; a template is an instance of it, but as a `whole` where `at` is empty.

    Raises
    ------
    CommandError
        Where there is no such thing, saying what can be written.
    """
    place, _, attribute = name.rpartition(":")
    if name.endswith(".tg.py") or (place.endswith(".tg.py") and attribute.isidentifier()):
        return _text(name if name.endswith(".tg.py") else place, attribute if place else None, at, whole), ()
    if name.endswith(".safetensors") or (not place and Path(name).is_file() and not name.endswith(".py")):
        from tensorgraph.train import load_model

        model = load_model(name).model
        return model, tuple(examples) or _first_input(model, name)
    if name.endswith(".py"):
        raise CommandError(f"say what of {name!r} is meant: {name}:make_net")
    if not place or not attribute:
        raise CommandError(f"{name!r} is neither a file nor module:name; write for example mymodels:make_net")
    target: Any = _module(place)
    for part in attribute.split("."):
        if not hasattr(target, part):
            raise CommandError(f"{place!r} has no {attribute!r}")
        target = getattr(target, part)
    if isinstance(target, type) or (inspect.isfunction(target) and not inspect.signature(target).parameters):
        target = target()  # a maker
    if isinstance(target, tuple) and target:  # a model with its examples
        target, given = target[0], target[1:]
        if len(given) == 1 and isinstance(given[0], (list, tuple)):
            given = tuple(given[0])
        examples = examples or given
    return _instance(target, at, whole), tuple(examples)


def _text(path: str, name: str | None, at: Sequence[tuple[str, int]], whole: bool) -> Any:
    """A graph read from text."""
    from tensorgraph.text import load

    return _instance(load(path, name=name), at, whole)


def _instance(target: Any, at: Sequence[tuple[str, int]], whole: bool) -> Any:
    """The graph of a template for the sizes that are given, and some for the others; anything else as it is."""
    dims = getattr(target, "dims", None)
    if dims is None or not hasattr(target, "at") or (whole and not at):
        return target
    sizes = {name: number for name, number in at if name in dims}
    missing = [dim for dim in dims if dim not in sizes]
    if missing:
        sizes = target.fitting(**sizes)
        said = ", ".join(f"{dim}={sizes[dim]}" for dim in missing)
        print(f"note: {target.name} is looked at with {said}; --at {missing[0]}=64 takes another size", file=sys.stderr)
    return target.at(**sizes)


@contextmanager
def _found_first(folder: str) -> Iterator[None]:
    """A folder that imports look in first."""
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        if folder in sys.path:
            sys.path.remove(folder)


def _module(place: str) -> ModuleType:
    if place.endswith(".py"):
        path = Path(place)
        if not path.is_file():
            raise CommandError(f"there is no file {place!r}")
        found = importlib.util.spec_from_file_location(path.stem, path)
        if found is None or found.loader is None:
            raise CommandError(f"{place!r} is not a file of Python")
        module = importlib.util.module_from_spec(found)
        before = sys.modules.get(path.stem)
        sys.modules[path.stem] = module  # dataclasses and pickle look there
        with _found_first(str(path.resolve().parent)):
            try:
                found.loader.exec_module(module)
            except BaseException:
                sys.modules.pop(path.stem, None)
                if before is not None:
                    sys.modules[path.stem] = before
                raise
        return module
    with _found_first(os.getcwd()):
        try:
            return importlib.import_module(place)
        except ImportError as error:
            raise CommandError(
                f"cannot import {place!r} ({one_line(error)}); run it from the folder it lies in"
            ) from error


def _first_input(model: Any, name: str) -> tuple[Any, ...]:
    """A batch for a saved model, from its first linear layer."""
    for module in model.modules():
        if hasattr(module, "inputs"):
            return (spec((32, module.inputs), module.weight.dtype),)
    raise CommandError(f"give the type of the input of {name}, such as --example f32[32,64]")
