"""The names that a text uses, as Python objects: so that it runs as ordinary Python too.

``from tensorgraph.dsl import *`` at the head of a text is all it needs.
"""

from __future__ import annotations
import __future__

import ast
import functools
from collections import OrderedDict
from collections.abc import Mapping
from types import CodeType
from typing import Any, Literal

import numpy as np

from tensorgraph.arguments import checked
from tensorgraph.engine import init
from tensorgraph.engine.aval import Aval
from tensorgraph.engine.backward import gradients
from tensorgraph.engine.calling import call
from tensorgraph.engine.direct import is_fused
from tensorgraph.engine.modes import current, enable_grad, scope, use
from tensorgraph.engine.op import ALIASES, CATALOGUE, Op
from tensorgraph.engine.running import Sum
from tensorgraph.engine.spec import bool_, f16, f32, f64, i8, i16, i32, i64, u8, u16, u32, u64
from tensorgraph.engine.tape import Leaf
from tensorgraph.engine.tensor import Tensor, tensor, wrap
from tensorgraph.engine.tree import flatten, is_container, unflatten
from tensorgraph.graph.trace import trace
from tensorgraph.ops.structure import alias
from tensorgraph.text.definitions import library
from tensorgraph.text.literals import written_key
from tensorgraph.transforms.custom import custom_vjp
from tensorgraph.transforms.scan import scan_op

__all__ = ["namespace"]


class CellType:
    """``Parameter["0.weight", f32[784, 10]]``: what a cell of a text is."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def __getitem__(self, what: Any) -> tuple[str, Any]:
        return self.kind, what


class Start:
    """What a cell starts from, in the place of a default value: ``he_normal()``."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


class Keys:
    """``s_[:, 3]``: a NumPy key as ops have it for an attribute."""

    def __getitem__(self, key: Any) -> tuple[Any, ...]:
        return written_key(key)


def _alias(x: Any) -> Any:
    """The same value under a name of its own, with respect to which a gradient can be taken; of all in a container."""
    if is_container(x):
        leaves, tree = flatten(x)
        return unflatten(tree, [_alias(leaf) for leaf in leaves])
    t: Tensor = alias.public(x)
    if t._node is None and t.dtype.kind == "f" and current().grad and current().trace is None:
        t._node = Leaf(t.shape, t.dtype, user=False)
        t._node.live = False  # nobody outside asks for this gradient
    return t


def _gradients(ys: Any, xs: Any, grad_outputs: Any = None, create_graph: bool = False) -> Any:
    """As `tensorgraph.gradients`; what was computed stays, for the gradients of the lines below."""
    leaves, tree = flatten(xs)
    asked = leaves if is_container(xs) else xs
    given = gradients(ys, asked, grad_outputs, create_graph=create_graph, retain_graph=True)
    return unflatten(tree, list(given)) if is_container(xs) else given


def _custom_vjp(*, forward: Any, backward: Any) -> Any:
    """As `tensorgraph.custom_vjp`; gradients inside the functions are taken as a graph takes them, whoever calls."""

    def recording(function: Any) -> Any:
        def call(*args: Any) -> Any:
            with enable_grad():
                return function(*args)

        return call

    return custom_vjp(forward=recording(forward), backward=recording(backward))


def _scan(
    consts: Any, carry: Any, xs: Any, *, body: Any, length: int, reverse: bool = False, states: bool = False
) -> Any:
    """The equation of `tensorgraph.scan`, whose body is a function of this text."""
    avals = [*[t.aval for t in (*consts, *carry)], *[Aval(x.shape[1:], x.dtype) for x in xs]]
    with use(trace=None):
        graph = trace(body, *avals)
    return scan_op.public(consts, carry, xs, body=graph, length=length, reverse=reverse, states=states)


def _with_residuals(op: Op) -> Any:
    """The op's function, which gives what the op keeps for its derivative too where ``residuals=True`` asks for it."""

    def function(*args: Any, residuals: bool = False, **options: Any) -> Any:
        if not residuals:
            return op.public(*args, **options)
        if op.reference is not None and not is_fused(op.direct):
            result, kept = op.public(*args, **options), [None] * len(op.residuals)  # and the gradient is a reference's
        else:
            kept = []
            result = call(op, args, options, kept)
            kept = [wrap(r) if isinstance(r, np.ndarray) else r for r in kept]
        return (*result, kept) if isinstance(result, tuple) else (result, kept)

    return function


def _initialiser(name: str, op: Any = None) -> Any:
    def start(*args: Any, **options: Any) -> Any:
        if op is not None and (args or "shape" in options):  # zeros((3,)) is the op, zeros() the initialiser
            return op(*args, **options)
        return Start(f"{name}({', '.join(f'{k}={v!r}' for k, v in options.items())})")

    return start


def _cells(function: Any, **options: Any) -> dict[str, Any]:
    """As `tensorgraph.text.cells`."""
    from tensorgraph.text.live import cells

    return cells(function, **options)


def _parameters(value: Any) -> list[Any]:
    """What is trained of an instance, in the order of the heads."""
    from tensorgraph.text.live import parameters

    return parameters(value)


@functools.cache
def _code() -> CodeType:
    """The library's functions, compiled; their annotations are not evaluated."""
    module = ast.Module([definition.node for definition in library().every], [])
    flags = __future__.annotations.compiler_flag
    code: CodeType = compile(module, library().file, "exec", flags, dont_inherit=True)
    return code


def _library(names: Mapping[str, Any]) -> dict[str, Any]:
    """The layers and optimisers that every text knows, as functions of Python."""
    space = dict(names)
    exec(_code(), space)
    return {name: space[name] for name in library().named}


@checked
def namespace(arrays: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Every name that a text may use: for ``exec(text, namespace())``.

    Parameters
    ----------
    arrays : mapping of str to array, optional
        Captured arrays by their digest, as `tensorgraph.text.arrays_of` gives them.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> names = tg.text.namespace()
    >>> exec(str(tg.trace(lambda x: tg.tanh(x) * 2.0, tg.f32[3])), names)
    >>> names["f"](tg.tensor([0.0, 1.0, 2.0])).tolist()[0]
    0.0
    """
    given = dict(arrays or {})

    def array(digest: str, aval: Aval) -> Any:
        if digest not in given:
            raise KeyError(f"the array {digest} ({aval}) was captured: pass it in namespace(arrays={{digest: array}})")
        return tensor(given[digest])

    every = {**ALIASES, **CATALOGUE}
    found: dict[str, Any] = {name: _with_residuals(op) if op.residuals else op.public for name, op in every.items()}
    for name in init.__all__:
        if isinstance(getattr(init, name), init.Initialiser):
            found[name] = _initialiser(name, found.get(name))
    found["alias"] = _alias
    found["key"] = _initialiser("key")
    found |= {
        "Parameter": CellType("parameter"), "Frozen": CellType("frozen"), "Buffer": CellType("buffer"),
        "Literal": Literal, "OrderedDict": OrderedDict, "array": array, "custom_vjp": _custom_vjp,
        "gradients": _gradients, scan_op.name: _scan, "scope": scope, "tensor": tensor,
        "bool_": bool_, "f16": f16, "f32": f32, "f64": f64, "i8": i8, "i16": i16, "i32": i32, "i64": i64, "u8": u8,
        "u16": u16, "u32": u32, "u64": u64, "cells": _cells, "parameters": _parameters,
        "Sum": Sum, "s_": Keys(),
    }  # fmt: skip
    return found | _library(found)
