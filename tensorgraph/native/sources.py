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
import linecache
import sys
import textwrap
import types
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import numpy as np

from tensorgraph.jit.compiling import Helper

__all__ = [
    "KernelError", "assigned", "functions_of", "is_routine", "names_of", "names_within", "parts_of", "routine",
    "tree_of",
]  # fmt: skip


Function = TypeVar("Function", bound=Callable[..., None])
CONTINUED = " \t\n)]}"  # what the lines of a statement after its first one begin with


class KernelError(TypeError):
    """A kernel that is not of the subset, with the line."""


def routine(function: Function) -> Function:
    """A function of kernels with machine code of its own: it is called where others are put in place.

    So what many kernels do is compiled once for all of them. It takes integers and truth values, and gives nothing.
    """
    function.__kernel_routine__ = True  # type: ignore[attr-defined]
    return function


def is_routine(function: Any) -> bool:
    return hasattr(function, "__kernel_routine__")


# syntax --------------------------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=256)
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
            found = _found(function, text, first)
            if found is not None:
                return found
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
    """Texts in which a function may be, with the numbers of their first lines: the cheapest first."""
    text: str | None = getattr(function, "__kernel_text__", None)
    if text is not None:
        yield text, 1
        return
    code, given = function.__code__, function.__globals__
    linecache.checkcache(code.co_filename)
    lines = linecache.getlines(code.co_filename, given)
    at = code.co_firstlineno - 1
    if at < len(lines):
        start, end = at, at + 1
        while start and lines[start][:1] in CONTINUED:  # a lambda in a statement
            start -= 1
        while end < len(lines) and (lines[end][:1] in CONTINUED or lines[end - 1][:1] == "@"):
            end += 1
        yield "".join(lines[start:end]), start + 1
    if function.__name__ == "<lambda>":
        yield "".join(inspect.findsource(function)[0]), 1
    else:
        yield textwrap.dedent(inspect.getsource(function)), code.co_firstlineno


def _found(function: types.FunctionType, text: str, first: int) -> ast.FunctionDef | None:
    """The function in a text, if its code is what the text says."""
    own, lines = function.__code__, "\n" * (first - 1)
    if first > 1:  # how an attribute is reached hangs on whether its owner was imported
        modules = [n for n in own.co_names if isinstance(function.__globals__.get(n), types.ModuleType)]
        lines = "".join(f"import {name}; " for name in modules) + lines
    try:
        codes = _codes(compile(lines + text, own.co_filename, "exec", dont_inherit=True))
    except SyntaxError:  # of a piece that is not whole statements
        return None
    said, done = _said(own), None
    like = [code for code in codes if code.co_name == own.co_name]
    right = [code for code in like if _said(code) == said]
    if not right:
        done = _steps(own)
        right = [code for code in like if _steps(code) == done]
    places = {code.co_firstlineno for code in right}
    for node in ast.walk(ast.parse(lines + text)) if right else ():
        if isinstance(node, ast.FunctionDef) and node.name == own.co_name:
            if (node.decorator_list[0] if node.decorator_list else node).lineno in places:
                return node
        elif isinstance(node, ast.Lambda) and own.co_name == "<lambda>":
            made = _function("<lambda>", node.args, [ast.copy_location(ast.Return(node.body), node.body)])
            body = next(c for c in compile(ast.Expression(node), "", "eval").co_consts if isinstance(c, types.CodeType))
            if _said(body) == said or _steps(body) == (done or _steps(own)):
                return ast.fix_missing_locations(ast.copy_location(made, node))
    return None


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    for const in code.co_consts:
        if isinstance(const, types.CodeType):
            yield const
            yield from _codes(const)


def _function(name: str, args: ast.arguments, body: list[ast.stmt]) -> ast.FunctionDef:
    node = ast.parse("def function(): pass").body[0]  # with whatever fields this Python's nodes have
    assert isinstance(node, ast.FunctionDef)
    node.name, node.args, node.body = name, args, body
    return node


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


@functools.lru_cache(maxsize=256)
def assigned(function: types.FunctionType) -> tuple[dict[str, int], frozenset[str]]:
    """How often each name of a function is assigned, and the names of lists of which it assigns places."""
    counts: dict[str, int] = {}
    changed = set()
    for node in ast.walk(tree_of(function)):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            counts[node.id] = counts.get(node.id, 0) + 1
        elif isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
            counts[node.target.id] = counts.get(node.target.id, 0) + 1
        elif isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store):
            root: ast.expr = node
            while isinstance(root, ast.Subscript):
                root = root.value
            if isinstance(root, ast.Name):
                changed.add(root.id)
    return counts, frozenset(changed)


# digests -------------------------------------------------------------------------------------------------------------


def parts_of(function: types.FunctionType, seen: set[Any] | None = None) -> Iterator[str]:
    """What says all of a function's code, and of the functions, helpers and numbers that it reads."""
    seen = set() if seen is None else seen
    if function in seen:
        return
    seen.add(function)
    yield f"{sys.implementation.cache_tag} {_said(function.__code__)!r}"
    yield repr((function.__defaults__, sorted((function.__kwdefaults__ or {}).items())))
    for name in sorted(names_of(function.__code__)):
        yield from _part(name, function.__globals__.get(name), function.__code__, seen)


def _part(name: str, value: Any, code: types.CodeType, seen: set[Any]) -> Iterator[str]:
    if isinstance(value, types.FunctionType):
        yield f"{name}: a function"
        yield from parts_of(value, seen)
    elif isinstance(value, Helper):
        yield from _parts_of_helper(name, value, seen)
    elif isinstance(value, (bool, int, float, str, tuple, list, np.generic)):
        yield f"{name} = {type(value).__name__} {value!r}"
    elif isinstance(value, types.ModuleType) and value.__name__.partition(".")[0] != "numpy":
        for inner in sorted(names_of(code)):
            yield from _part(f"{name}.{inner}", vars(value).get(inner), code, seen)


def _parts_of_helper(name: str, helper: Helper, seen: set[Any]) -> Iterator[str]:
    if helper.word is None and helper.pair is None and helper.body is None:
        yield f"{name}: {helper.digest()}"
        return
    yield f"{name}: {helper.word} {sorted(helper.flags)}"
    for one in helper.pair or ():
        yield from _parts_of_helper(f"{name} of a type", one, seen)
    if helper.body is not None:
        yield from parts_of(helper.body, seen)


def functions_of(function: types.FunctionType, seen: set[Any] | None = None) -> list[types.FunctionType]:
    """A function and those of the subset that it calls, each once."""
    seen = set() if seen is None else seen
    if function in seen:
        return []
    seen.add(function)
    read = [function.__globals__.get(name) for name in sorted(names_of(function.__code__))]
    called = [functions_of(value, seen) for value in read if isinstance(value, types.FunctionType)]
    return [function, *itertools.chain.from_iterable(called)]


@functools.lru_cache(maxsize=256)
def names_within(function: types.FunctionType) -> set[str]:
    """The names that a function reads, and all that it calls."""
    seen: set[Any] = set()
    for _ in parts_of(function, seen):
        pass
    return set().union(*(names_of(one.__code__) for one in seen))


def names_of(code: types.CodeType) -> set[str]:
    """The names that a function reads, those of comprehensions inside it too."""
    found = set(code.co_names)
    for const in code.co_consts:
        if isinstance(const, types.CodeType):
            found |= names_of(const)
    return found
