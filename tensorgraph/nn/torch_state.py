"""State dicts of PyTorch in models of this library, by the names that layers declare (`torch_names`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tensorgraph.arguments import checked
from tensorgraph.nn.module import Module
from tensorgraph.nn.state import load_cells
from tensorgraph.nn.torch_names import From, itself, key_of, unsaid

__all__ = ["from_torch_state", "to_torch_state"]


@checked
def from_torch_state(module: Module, state: Mapping[str, Any]) -> Module:
    """Take the parameters and buffers of a model from a state dict of PyTorch: all of it, or nothing.

    Parameters
    ----------
    module : Module
        Built as the model there: parts have the same names, and lists stand for ``ModuleList`` and ``Sequential``.
    state : mapping of str to array-like
        What ``model.state_dict()`` gives there, of tensors or of arrays.

    Returns
    -------
    Module
        The same module.

    Raises
    ------
    ValueError
        Naming every key that is missing, is not used, or has another shape. Nothing is changed then.

    Notes
    -----
    ============================  =========================================  ===================================
    here                          there                                      what is done
    ============================  =========================================  ===================================
    ``Conv*`` weight, bias        the same: (outputs, inputs / groups, ...)  taken as it is
    ``ConvTranspose*`` weight     the same: (inputs, outputs / groups, ...)  taken as it is
    ``Linear.weight``             weight                                     transposed to (inputs, outputs)
    ``Embedding`` weight          the same                                   taken as it is
    gamma, beta of a norm         weight, bias                               taken as they are
    ``BatchNorm.count``           num_batches_tracked                        may be missing
    ``RNN``, ``GRU``, ``LSTM``    weight_ih_l0, weight_hh_l0, bias_ih_l0,    transposed; the gates keep the order: i, f,
                                  bias_hh_l0, ..._reverse, ..._l1            g, o of an LSTM and r, z, n of a GRU
    ``MultiHeadAttention``        in_proj_weight, in_proj_bias               taken apart: query, key, value
    ``PReLU.slope``               weight                                     taken as it is
    ============================  =========================================  ===================================

    A state dict says neither eps nor a batch norm's momentum. Make the layer with ``BatchNorm(features,
    preset="torch")``, which has PyTorch's usual numbers, or with your own: ``eps=``, and ``decay=1 - momentum``.

    Examples
    --------
    >>> import numpy as np
    >>> from tensorgraph import nn
    >>> state = {"weight": np.ones((3, 2)), "bias": np.zeros(3)}
    >>> nn.from_torch_state(nn.Linear(2, 3), state).weight.shape
    (2, 3)
    """
    cells = dict(module.named_cells())
    paths = {id(cell): path for path, cell in cells.items()}
    used: set[str] = set()
    missing, shapes = [], []
    ready: dict[str, Any] = {}
    for prefix, part in module.named_modules():
        for name, cell, source in _sources(part):
            if paths.get(id(cell)) is None:
                continue
            keys = _keys(prefix, source)
            absent = [key for key in keys if key not in state]
            used.update(keys)
            elsewhere = paths[id(cell)] != (f"{prefix}.{name}" if prefix else name)  # it is tied, and has a first name
            if absent or elsewhere:
                missing += [] if source.optional or elsewhere else absent
                continue
            arrays = [_array(key, state[key]) for key in keys]
            array = np.asarray(source.turned(*arrays))
            if array.shape != cell.shape:
                was = " and ".join(str(a.shape) for a in arrays)
                shapes.append(f"{' and '.join(keys)} of shape {was}, for {paths[id(cell)]} of shape {cell.shape}")
            ready[paths[id(cell)]] = array.astype(cell.dtype) if array.dtype.kind in "iu" else array
    unused = [str(key) for key in state if key not in used]
    said = [("missing", missing), ("not used", unused), ("of another shape", shapes)]
    problems = [f"{what}: {', '.join(dict.fromkeys(which))}" for what, which in said if which]
    if problems:
        raise ValueError(
            f"from_torch_state: the state does not fit {module.label} and nothing was loaded; {'; '.join(problems)}"
        )
    load_cells({path: cell for path, cell in cells.items() if path in ready}, ready, True, "from_torch_state")
    return module


@checked
def to_torch_state(module: Module) -> dict[str, np.ndarray[Any, Any]]:
    """The parameters and buffers of a model as a state dict of PyTorch: the way back of `from_torch_state`.

    Parameters
    ----------
    module : Module

    Returns
    -------
    dict of str to array
        By PyTorch's names and in its layouts; the arrays are copies. There
        ``model.load_state_dict({k: torch.from_numpy(v) for k, v in state.items()})`` takes it.

    Raises
    ------
    TypeError
        Where a layer of one's own says how its numbers come from PyTorch and not how they go back.

    Examples
    --------
    >>> from tensorgraph import nn
    >>> {name: array.shape for name, array in nn.to_torch_state(nn.Linear(2, 3, seed=0)).items()}
    {'weight': (3, 2), 'bias': (3,)}
    """
    parts: dict[str, list[np.ndarray[Any, Any]]] = {}
    for prefix, part in module.named_modules():
        for name, cell, source in _sources(part):
            back = itself if source.back is unsaid and source.turned is itself else source.back
            if back is None:
                continue
            keys = _keys(prefix, source)
            try:
                arrays = [back(np.array(cell.numpy()))] if len(keys) == 1 else list(back(np.array(cell.numpy())))
            except TypeError as error:
                raise TypeError(f"{part.label}.{name} has no place in a state of PyTorch: {error}") from None
            for key, array in zip(keys, arrays, strict=True):
                parts.setdefault(key, []).append(np.ascontiguousarray(array).reshape(array.shape))
    return {key: found[0] if len(found) == 1 else np.concatenate(found) for key, found in parts.items()}


def _sources(part: Module) -> list[tuple[str, Any, From]]:
    """Of each cell that a layer has itself: its name, the cell, and where PyTorch keeps it, if it does."""
    own = getattr(part, "torch_state", {})
    own = own() if callable(own) else own
    said = [(name, cell, own.get(name, name)) for name, cell in _own_cells(part)]
    return [(name, cell, From(s) if isinstance(s, str) else s) for name, cell, s in said if s is not None]


def _keys(prefix: str, source: From) -> list[str]:
    names = (source.names,) if isinstance(source.names, str) else source.names
    return [key_of(prefix, name) for name in names]


def _own_cells(part: Module) -> list[tuple[str, Any]]:
    return [(name, item) for name, item in part._items() if not isinstance(item, Module)]


def _array(key: str, value: Any) -> Any:
    """A tensor of PyTorch, or what else is an array."""
    if hasattr(value, "detach") and hasattr(value, "cpu"):
        value = value.detach().cpu().numpy()
    array = np.asarray(value)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"from_torch_state: {key} must be an array of numbers, got {type(value).__name__}")
    return array
