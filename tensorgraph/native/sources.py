"""What functions of kernels are made of: their syntax, read when they are lowered, and digests of their code.

A digest is of the code that Python compiled, so no source is read where machine code is found in the cache. What is
lowered is the source, read later: it is held to that code, since a file may have been edited meanwhile.
"""

from __future__ import annotations

import ast
import dis
import functools
import inspect
import itertools
import sys
import textwrap
import types
from collections.abc import Iterator
from typing import Any

import numpy as np

from tensorgraph.jit.compiling import Helper

__all__ = ["KernelError", "assigned", "changed", "functions_of", "parts_of", "tree_of"]


CONTINUED = " \t\n)]}"  # what the lines of a statement after its first one begin with


class KernelError(TypeError):
    """A kernel that is not of the subset, with the line."""


# syntax --------------------------------------------------------------------------------------------------------------


@functools.cache
def tree_of(function: types.FunctionType) -> ast.FunctionDef:
    """The syntax of a function or lambda; its lines are those of the file.

    Raises
    ------
    KernelError
        Where the source is not found, or is no longer what was imported.
    """
    where = f"{function.__code__.co_filename}:{function.__code__.co_firstlineno}"
    try:
        for text, first in _pieces(function):
            for node in _functions(text, first):
                if _says(node, function.__code__):
                    return node
    except OSError as error:
        raise KernelError(
            f"{where}: the source of {function.__qualname__} cannot be read ({error}); a kernel is lowered from its "
            "source: define it in a file, or make it by tensorgraph.native.kernel.from_text"
        ) from None
    raise KernelError(
        f"{where}: the source of {function.__qualname__} there is another than what was imported; start Python anew "
        "where the file has been edited, and define the function at the level of its module"
    )


def _pieces(function: types.FunctionType) -> Iterator[tuple[str, int]]:
    """Texts in which a function may be, with the numbers of their first lines."""
    text: str | None = getattr(function, "__kernel_text__", None)
    if text is not None:
        yield text, 1
        return
    at = function.__code__.co_firstlineno
    if function.__name__ != "<lambda>":
        yield textwrap.dedent(inspect.getsource(function)), at
        return
    # of a lambda Python knows the line: the statement around it, or, where that is not found so, the whole file
    lines: list[str] = inspect.findsource(function)[0]
    start, end = at - 1, at
    while start and lines[start][:1] in CONTINUED:
        start -= 1
    while end < len(lines) and lines[end][:1] in CONTINUED:
        end += 1
    yield "".join(lines[start:end]), start + 1
    yield "".join(lines), 1


@functools.lru_cache(8)
def _functions(text: str, first: int) -> list[ast.FunctionDef]:
    """The functions of a text, lambdas too; `first` is the number of its first line."""
    found: list[ast.FunctionDef] = []
    try:
        module = ast.parse(text)
    except SyntaxError:  # of a piece that is not whole statements
        return found
    ast.increment_lineno(module, first - 1)
    for node in ast.walk(module):
        if isinstance(node, ast.FunctionDef):
            found.append(node)
        elif isinstance(node, ast.Lambda):
            made = _function("<lambda>", node.args, [ast.copy_location(ast.Return(node.body), node.body)])
            found.append(ast.fix_missing_locations(ast.copy_location(made, node)))
    return found


def _function(name: str, args: ast.arguments, body: list[ast.stmt]) -> ast.FunctionDef:
    node = ast.parse("def function(): pass").body[0]  # with whatever fields this Python's nodes have
    assert isinstance(node, ast.FunctionDef)
    node.name, node.args, node.body = name, args, body
    return node


def _says(node: ast.FunctionDef, code: types.CodeType) -> bool:
    """Whether a function of the syntax is that of the code."""
    if node.name != code.co_name:
        return False
    given = node.args  # defaults, decorators and annotations are of the code around it
    one, two, three = ([ast.arg(arg.arg) for arg in part] for part in (given.posonlyargs, given.args, given.kwonlyargs))
    bare = _function("kernel", ast.arguments(one, two, None, three, [None for _ in three], None, []), node.body)
    module = ast.fix_missing_locations(ast.Module([ast.copy_location(bare, node)], []))
    made = next(c for c in compile(module, code.co_filename, "exec").co_consts if isinstance(c, types.CodeType))
    return _steps(made) == _steps(code)


def _steps(code: types.CodeType) -> list[Any]:
    """What a function's code does, but for how it reaches attributes and names: that hangs on what is around it."""
    jumps, made = {*dis.hasjrel, *dis.hasjabs}, []
    for step in dis.get_instructions(code):
        if step.opname in ("PUSH_NULL", "CACHE", "EXTENDED_ARG", "COPY_FREE_VARS"):
            continue
        value = _steps(step.argval) if isinstance(step.argval, types.CodeType) else repr(step.argval)
        name = {"LOAD_METHOD": "LOAD_ATTR", "LOAD_DEREF": "LOAD_GLOBAL"}.get(step.opname, step.opname)
        made.append((name, None if step.opcode in jumps else value))
    return made


def _said(code: types.CodeType) -> tuple[Any, ...]:
    """All of a function's code that says what it computes."""
    inner = [_said(c) if isinstance(c, types.CodeType) else (type(c).__name__, repr(c)) for c in code.co_consts]
    return code.co_code, code.co_names, code.co_varnames, code.co_freevars, code.co_argcount, inner


@functools.cache
def assigned(function: types.FunctionType) -> dict[str, int]:
    """How often each name of a function is assigned."""
    counts: dict[str, int] = {}
    for node in ast.walk(tree_of(function)):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            counts[node.id] = counts.get(node.id, 0) + 1
        if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
            counts[node.target.id] = counts.get(node.target.id, 0) + 1
    return counts


@functools.cache
def changed(function: types.FunctionType) -> frozenset[str]:
    """The names of lists of which a function assigns places."""
    names = set()
    for node in ast.walk(tree_of(function)):
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store):
            root: ast.expr = node
            while isinstance(root, ast.Subscript):
                root = root.value
            if isinstance(root, ast.Name):
                names.add(root.id)
    return frozenset(names)


# digests -------------------------------------------------------------------------------------------------------------


def parts_of(function: types.FunctionType, seen: set[Any] | None = None) -> Iterator[str]:
    """What says all of a function's code, and of the functions, helpers and numbers that it reads."""
    seen = set() if seen is None else seen
    if function in seen:
        return
    seen.add(function)
    yield f"{sys.implementation.cache_tag} {_said(function.__code__)!r}"
    yield repr((function.__defaults__, sorted((function.__kwdefaults__ or {}).items())))
    for name in sorted(_names(function.__code__)):
        yield from _part(name, function.__globals__.get(name), function.__code__, seen)


def _part(name: str, value: Any, code: types.CodeType, seen: set[Any]) -> Iterator[str]:
    if isinstance(value, types.FunctionType):
        yield f"{name}: a function"
        yield from parts_of(value, seen)
    elif isinstance(value, Helper):
        yield f"{name}: {value.digest()}"
    elif isinstance(value, (bool, int, float, str, tuple, list, np.generic)):
        yield f"{name} = {type(value).__name__} {value!r}"
    elif isinstance(value, types.ModuleType) and value.__name__.partition(".")[0] != "numpy":
        for inner in sorted(_names(code)):
            yield from _part(f"{name}.{inner}", vars(value).get(inner), code, seen)


def functions_of(function: types.FunctionType, seen: set[Any] | None = None) -> list[types.FunctionType]:
    """A function and those of the subset that it calls, each once."""
    seen = set() if seen is None else seen
    if function in seen:
        return []
    seen.add(function)
    read = [function.__globals__.get(name) for name in sorted(_names(function.__code__))]
    called = [functions_of(value, seen) for value in read if isinstance(value, types.FunctionType)]
    return [function, *itertools.chain.from_iterable(called)]


def _names(code: types.CodeType) -> set[str]:
    """The names that a function reads, those of comprehensions inside it too."""
    found = set(code.co_names)
    for const in code.co_consts:
        if isinstance(const, types.CodeType):
            found |= _names(const)
    return found
