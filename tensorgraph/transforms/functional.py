"""`functional`: a model as a pure function of its parameters, which are a tree like any other argument."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np

from tensorgraph.arguments import checked
from tensorgraph.engine import modes, random
from tensorgraph.engine.cells import Cell, Stead
from tensorgraph.engine.tensor import Tensor, as_array, weak_cast, wrap
from tensorgraph.engine.tree import flatten, leaf_paths, tree_map, unflatten

__all__ = ["functional"]

SHOWN = 8


@checked
def functional(model: Any, *, state: bool = False) -> Any:
    """A model as a pure function of its parameters: ``f, parameters = functional(model)``.

    ``f(parameters, x)`` is what ``model(x)`` would be with these parameters: it reads nothing else that is trained and
    changes nothing, so that `grad`, `jvp`, `jacobian`, `vmap` and the rest apply to it, in any nesting. The live model
    stays as it is. ``model.load(parameters)`` puts a tree back.

    Parameters
    ----------
    model : Module
    state : bool
        Take and give what the model itself changes as well, running averages and random states:
        ``f, parameters, state = functional(model, state=True)``, and ``y, state = f(parameters, state, x)``.

    Returns
    -------
    f : callable
        Takes the model's own arguments after the trees. It trains or predicts as `model` does when `f` is called
        (``model.train()``, ``model.eval()``).
    parameters : dict of str to Tensor
        By path, such as ``layers.0.weight``. Parameters that are shared are one leaf; those that are not trained
        (``requires_grad_(False)``) are constants of `f`, as a frozen layer's averages are (``freeze()``): nobody
        differentiates them, and `f` reads them from the model when it is called. In a graph they are its cells.
    state : dict of str to Tensor
        Every Buffer by path. A model that draws from `tensorgraph.random` needs ``state["random.state"]`` besides,
        such as ``tg.random.key(0)``.

    Raises
    ------
    RuntimeError
        When `f` is called, where the model changes something that is no part of `state`, such as running averages or
        the state of Dropout in training.
    ValueError
        When `f` is called, where names or shapes of a tree are not the model's.
    TypeError
        Where a dtype is not the model's.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> model = tg.nn.Linear(2, 1, seed=0)
    >>> f, parameters = tg.functional(model)
    >>> list(parameters)
    ['weight', 'bias']
    >>> loss = lambda p, x: (f(p, x) ** 2).sum()
    >>> g = tg.grad(loss)(parameters, tg.ones((3, 2)))
    >>> g["bias"].shape
    (1,)
    >>> model.load(tg.tree_map(lambda p, g: p - 0.1 * g, parameters, g))
    """
    if isinstance(model, type) or not hasattr(model, "named_cells"):
        came = f"the class {model.__name__}: make one first" if isinstance(model, type) else type(model).__name__
        raise TypeError(f"functional takes a Module, got {came}")
    trained = {path: cell for path, cell in model.named_parameters() if cell._node is not None}
    buffers = dict(model.named_buffers())
    parameters = {path: cell.read().detach() for path, cell in trained.items()}
    label = f"functional({model.label})"

    def call(given: dict[Cell, Tensor], writable: dict[str, Cell], args: Any, kwargs: Any) -> Any:
        def refusal(cell: Cell) -> Exception:
            return _refusal(cell, label, buffers.values(), state)

        def look(cell: Cell) -> None:
            if _is_part(cell, model):
                raise RuntimeError(
                    f"{label}: the model has a {cell._label()} that was not there, or not trained, when functional was "
                    "called, so that it is no part of the tree: call tensorgraph.functional(model) again"
                )

        stead = Stead(given, frozenset(writable.values()), modes.current().cells, refusal, look)
        with modes.use(cells=stead):
            return tree_map(lambda leaf: leaf.read() if isinstance(leaf, Cell) else leaf, model(*args, **kwargs))

    @functools.wraps(model.forward, updated=())
    def of_parameters(parameters: Any, *args: Any, **kwargs: Any) -> Any:
        return call(_values(trained, parameters, f"{label}: parameters"), {}, args, kwargs)

    @functools.wraps(model.forward, updated=())
    def of_state(parameters: Any, state: Any, *args: Any, **kwargs: Any) -> Any:
        given = _values(trained, parameters, f"{label}: parameters")
        cells: dict[str, Cell] = dict(buffers)
        process = random.state()
        if isinstance(state, Mapping) and process.path in state and process.path not in cells:
            cells[process.path] = process
        given |= _values(cells, state, f"{label}: state")
        y = call(given, cells, args, kwargs)
        after = flatten(state)[1]  # nested as it came
        return y, unflatten(after, [given[cells[path]] for path in leaf_paths(after)])

    function = of_state if state else of_parameters
    del function.__wrapped__  # its arguments are its own
    if not state:
        return function, parameters
    return function, parameters, {path: cell.read() for path, cell in buffers.items()}


def _is_part(cell: Cell, model: Any) -> bool:
    place = cell.owner
    while place is not None and (module := place[0]()) is not None:
        if module is model:
            return True
        place = module._place
    return False


def _values(cells: Mapping[str, Cell], tree: Any, what: str) -> dict[Cell, Tensor]:
    """What stands for each cell, by the paths of a tree."""
    if not isinstance(tree, Mapping):
        raise TypeError(f"{what} must be a dict by path, as functional gives it, got {type(tree).__name__}")
    leaves, treedef = flatten(tree)
    named = dict(zip(leaf_paths(treedef), leaves, strict=True))
    problems = [
        f"{kind}: {', '.join(paths[:SHOWN])}{f' and {len(paths) - SHOWN} more' if len(paths) > SHOWN else ''}"
        for kind, paths in (
            ("missing", [path for path in cells if path not in named]),
            ("unknown", [path for path in named if path not in cells]),
        )
        if paths
    ]
    if problems:
        raise ValueError(f"{what} do not fit the model's: {'; '.join(problems)}")
    return {cell: _value(cell, named[path], f"{what}: {path}") for path, cell in cells.items()}


def _value(cell: Cell, given: Any, what: str) -> Tensor:
    own, value = cell._value, given
    if not isinstance(value, Tensor):
        # an array is copied: the user may change it while a gradient is waited for
        arrays = isinstance(value, (np.ndarray, np.generic))
        value = wrap(np.array(as_array(value) if arrays else weak_cast(value, own.dtype, what)))
    if isinstance(value, Cell):
        value = value.read()
    if value.shape != own.shape:
        raise ValueError(f"{what} has the shape {own.shape} in the model, got {value.shape}; use vmap for many at once")
    if value.dtype != own.dtype:
        raise TypeError(f"{what} is {own.dtype} in the model, got {value.dtype}; convert with .astype('{own.dtype}')")
    t: Tensor = value
    return t


def _refusal(cell: Cell, label: str, buffers: Any, state: bool) -> RuntimeError:
    said = f"{label}: the model writes the {cell._label()}, and a pure function changes nothing"
    if cell is random.state():
        how = f"give its state as well: state[{cell.path!r}] = tensorgraph.random.key(0)"
        return RuntimeError(f"{said}; {how if state else f'use tensorgraph.functional(model, state=True) and {how}'}")
    if any(cell is buffer for buffer in buffers):
        return RuntimeError(
            f"{said}: use `f, parameters, state = tensorgraph.functional(model, state=True)`, which takes and gives "
            "running averages and random states, or model.eval()"
        )
    return RuntimeError(f"{said}: only a Buffer that is a part of the model may be written, with state=True")
