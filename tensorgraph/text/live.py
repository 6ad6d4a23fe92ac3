"""A text as plain Python: the cells and instances that its functions are called with.

With ``from __future__ import annotations`` and ``from tensorgraph.dsl import *`` at its head a text runs as it stands.
What stands behind a ``*`` is read from the annotations, by the reader of texts, and made for real.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Iterator, Mapping
from types import FunctionType
from typing import Annotated, Any

import numpy as np

from tensorgraph.arguments import Natural, checked, shown
from tensorgraph.engine import init, modes, random
from tensorgraph.engine.aval import Extent
from tensorgraph.engine.cells import Buffer, Cell, Parameter
from tensorgraph.engine.tensor import Tensor
from tensorgraph.graph.building import Trace
from tensorgraph.graph.calls import nest
from tensorgraph.graph.graph import CellDecl, Var
from tensorgraph.text.definitions import Definition, Definitions, library
from tensorgraph.text.expressions import expression, reference
from tensorgraph.text.inlining import call, scope_of
from tensorgraph.text.members import members_of, one_a_value
from tensorgraph.text.namespace import namespace
from tensorgraph.text.scene import CellName, Instance, PerValue, Reading, Scene, opened

__all__ = ["Live", "cells", "numbers_at_start", "parameters"]

Array = np.ndarray[Any, Any]


class Live:
    """A function of a text with members of its own, which is called as one: what an instance is in plain Python.

    Its members are attributes. Made by `cells`.
    """

    def __init__(self, function: FunctionType, instance: Instance, members: Mapping[str, Any]) -> None:
        self.function = function
        self.instance = instance
        self.members = dict(members)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        given = {}
        handed = inspect.signature(self.function).bind_partial(*args, **kwargs).arguments
        for name, value in self.members.items():
            given[name] = value.of(handed[value.per.argument]) if isinstance(value, PerCell) else value
        definition = self.instance.definition
        mode, scope = modes.current(), scope_of(self.instance)
        if mode.trace is None:
            with modes.use(scope=scope):
                return self.function(*args, **kwargs, **given)
        kind = "optimizer" if definition.updates else "module"
        record = mode.trace.enter(kind, definition.kind, scope, self.function)
        with modes.use(call=record):
            result = self.function(*args, **kwargs, **given)
        seen = mode.trace.seen
        record.complete(nest(handed, seen), nest(result, seen) if kind == "module" else None)
        return result

    def __getattr__(self, name: str) -> Any:
        members = self.__dict__.get("members", {})
        if name in members:
            value = members[name]
            return [*value.made.values()] if isinstance(value, PerCell) else value
        raise AttributeError(f"{self!r} has no {name!r}; it has {', '.join(members) or 'no members'}")

    def __repr__(self) -> str:
        return f"<{self.instance.definition.name} {self.instance.path!r}>"


class PerCell:
    """One cell for each that the instance is handed: ``m: [Buffer[like(p)] for p in params]``."""

    def __init__(self, maker: Maker, scene: Scene, per: PerValue) -> None:
        self.maker = maker
        self.scene = scene
        self.per = per
        self.made: dict[str, Cell] = {}

    def of(self, handed: Any) -> list[Cell]:
        """The cells for these."""
        found = []
        for cell in handed:
            if not isinstance(cell, Cell):
                raise TypeError(f"{self.per.path}: one cell is kept for each cell of {self.per.argument}, got {cell!r}")
            if cell.path not in self.made:
                asked = CellName(Var(cell.aval), cell.path, "parameter", True, None)
                self.scene.names[self.per.argument] = [asked]
                self.made[cell.path] = self.maker.live(opened(one_a_value(self.scene, self.per))[0])
            found.append(self.made[cell.path])
        return found


class LiveDefinitions(Definitions):
    """The functions that a function sees as Python has them: those of its module, and the library's."""

    def __init__(self, function: FunctionType) -> None:
        self.function = function
        super().__init__([_head(function)], [], function.__code__.co_filename)

    def sees(self, definition: Definition, name: str) -> Definition | None:
        value = self.function.__globals__.get(name)
        if isinstance(value, FunctionType):
            return LiveDefinitions(value).every[0]
        return library().named.get(name)


def _head(function: FunctionType) -> ast.FunctionDef:
    """The head of a function as its text has it, as far as members go."""
    code = function.__code__
    plain, own = code.co_varnames[: code.co_argcount], code.co_varnames[code.co_argcount :][: code.co_kwonlyargcount]
    starts = function.__kwdefaults__ or {}

    def said(name: str) -> ast.expr | None:
        text = function.__annotations__.get(name)
        if text is not None and not isinstance(text, str):
            raise TypeError(
                f"{function.__name__}: the annotation of {name} was evaluated: at the head of the text write "
                "from __future__ import annotations"
            )
        return None if text is None else ast.parse(text, mode="eval").body

    args = ast.arguments(
        posonlyargs=[], args=[ast.arg(name, said(name), lineno=1, col_offset=0) for name in plain],
        kwonlyargs=[ast.arg(name, said(name), lineno=1, col_offset=0) for name in own],
        kw_defaults=[ast.parse(repr(starts[name]), mode="eval").body if name in starts else None for name in own],
        defaults=[],
    )  # fmt: skip
    return ast.FunctionDef(function.__name__, args, [ast.Pass(lineno=1, col_offset=0)], [], lineno=1, col_offset=0)


class Maker:
    """Makes what was read of heads: cells with their first numbers, instances that can be called."""

    def __init__(self, seed: int | None, state: Mapping[str, Any]) -> None:
        self.state = state
        self.numbers = np.random.default_rng(init.fresh_seed() if seed is None else seed)

    def live(self, value: Any, scene: Scene | None = None) -> Any:
        """A member for real."""
        value = opened(value)
        if isinstance(value, CellName):
            return self.cell(value)
        if isinstance(value, Instance):
            inner = Scene(value.scene.reading, value.definition, dict(value.dims), value.scene.call)
            members = {name: self.live(part, inner) for name, part in value.members.items()}
            text = value.definition.text
            function = text.function if isinstance(text, LiveDefinitions) else namespace()[value.definition.name]
            return Live(function, value, members)
        if isinstance(value, PerValue):
            assert scene is not None
            return PerCell(self, scene, value)
        if isinstance(value, dict):
            return {key: self.live(item, scene) for key, item in value.items()}
        return [self.live(item, scene) for item in value]

    def cell(self, known: CellName) -> Cell:
        decl = CellDecl(known.path, known.var, known.kind, known.initialiser, known.requires_grad)
        value = numbers_at_start(decl, self.state, self.numbers)
        own: Cell
        if known.kind == "parameter":
            own = Parameter(value, name=known.path, requires_grad=known.requires_grad)
        else:
            own = Buffer(value, name=known.path)
        own.initialiser = known.initialiser
        return own


@checked
def cells(
    function: Annotated[Callable[..., Any], "a function of a text that was run as Python"],
    *,
    sizes: Mapping[str, Extent] | None = None,
    seed: Natural | None = None,
    state: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """What a function of a text takes behind its ``*``, made for real, to call it with as plain Python.

    Parameters
    ----------
    function : callable
        Of a text with ``from __future__ import annotations`` at its head.
    sizes : mapping of str to int, optional
        Of named dimensions that the members have.
    seed : int, optional
        For the first numbers; else the process-wide generator is drawn from.
    state : mapping of cell path to array, optional
        Numbers that cells begin with in place of their initialisers.

    Returns
    -------
    dict
        By name: parameters, buffers, instances that are called, lists and dicts of them.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> names = tg.text.namespace()
    >>> exec('''
    ... from __future__ import annotations
    ... def net(x: f32[N, 2], *, first: Linear[2, 3], last: Linear[3, 1]):
    ...     return last(relu(first(x)))
    ... ''', names)
    >>> members = tg.text.cells(names["net"], seed=0)
    >>> members["last"].weight.shape, names["net"](tg.ones((4, 2)), **members).shape
    ((3, 1), (4, 1))
    """
    if not isinstance(function, FunctionType):
        raise TypeError(f"cells is of a function of a text, got {shown(function)}")
    definition = LiveDefinitions(function).every[0]
    trace = Trace(definition.name)
    reading = Reading(trace, {}, {}, {}, expression, reference, call)
    scene = Scene(reading, definition, dict(sizes or {}), trace.top)
    maker = Maker(seed, state or {})
    return {name: maker.live(value, scene) for name, value in members_of(scene, "").items()}


def parameters(value: Any) -> list[Parameter]:
    """What is trained of an instance, or of lists and dicts of them, in the order of the heads."""
    return [cell for cell in dict.fromkeys(_below(value)) if isinstance(cell, Parameter) and cell._node is not None]


def _below(value: Any) -> Iterator[Cell]:
    if isinstance(value, Cell):
        yield value
    elif isinstance(value, (Live, dict)):
        for part in (value.members if isinstance(value, Live) else value).values():
            yield from _below(part)
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from _below(part)


def numbers_at_start(decl: CellDecl, state: Mapping[str, Any], numbers: np.random.Generator) -> Array:
    """What a cell starts from: its numbers in the state, or else by its initialiser."""
    if decl.path not in state:
        return first_numbers(decl, numbers)
    value, aval = state[decl.path], decl.aval
    value = value.numpy() if isinstance(value, Tensor) else np.asarray(value, aval.dtype)
    if (value.shape, value.dtype) != (aval.shape, aval.dtype):
        raise ValueError(f"the cell {decl.path} is {aval}, its state {value.dtype}{value.shape}")
    return np.array(value)


def first_numbers(decl: CellDecl, numbers: np.random.Generator) -> Array:
    """What a cell starts from, by its initialiser.

    Raises
    ------
    ValueError
        Where it has none, or one that is not known.
    """
    if init.reserve(decl.aval.shape):
        return np.asarray(np.zeros(decl.aval.shape), decl.aval.dtype)
    if decl.initialiser is None:
        raise ValueError(
            f"the cell {decl.path} has no initialiser: give it one in the text, such as = zeros(), or its numbers, "
            f'state={{"{decl.path}": ...}}'
        )
    call = ast.parse(decl.initialiser, mode="eval").body
    assert isinstance(call, ast.Call) and isinstance(call.func, ast.Name)
    options = {str(k.arg): ast.literal_eval(k.value) for k in call.keywords}
    name, aval = call.func.id, decl.aval
    if name == "key":
        return random.key(int(options["seed"]) if "seed" in options else int(numbers.integers(2**53)))
    try:
        if name in ("zeros", "ones", "constant") and aval.dtype.kind != "f":
            value = {"zeros": 0, "ones": 1}.get(name, options.get("value", 0))
            return np.full(aval.shape, value, aval.dtype)
        drawn = init.named(name)(aval.shape, aval.dtype, generator=numbers, **options)
    except (TypeError, ValueError) as error:
        raise ValueError(f"the cell {decl.path} cannot start from {decl.initialiser}: {error}") from error
    return np.asarray(drawn, aval.dtype)
