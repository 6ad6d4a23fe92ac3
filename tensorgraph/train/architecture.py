"""The structure of a model as JSON, and back: a list of this library's own layers, and nothing that could run code.

Only the classes in `LAYERS` are ever built, with the arguments listed there and no others, and none larger than the
numbers that come with it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from tensorgraph import nn

__all__ = ["LAYERS", "build", "describe"]

DEPTH = 50  # of nested Sequentials; a file that nests deeper was not written by `describe`
Describe = Callable[[Any], dict[str, Any]]

# A layer's constructor arguments, read from the layer. What is drawn at random is not among them: it is loaded.
LAYERS: dict[str, Describe] = {
    "Linear": lambda layer: {
        "inputs": layer.inputs, "outputs": layer.outputs, "bias": layer.bias is not None,
        "dtype": layer.weight.dtype.name,
    },
    "BatchNorm": lambda layer: {
        "features": layer.features, "axis": layer.axis, "eps": layer.eps, "decay": layer.decay, "debias": layer.debias,
        "unbiased": layer.unbiased, "degenerate": layer.degenerate, "dtype": layer.gamma.dtype.name,
    },
    "Dropout": lambda layer: {"rate": layer.rate},
    "Flatten": lambda layer: {"keep": layer.keep},
    "Identity": lambda layer: {},
    "ReLU": lambda layer: {},
    "LeakyReLU": lambda layer: {"slope": layer.slope},
    "Tanh": lambda layer: {},
    "Sigmoid": lambda layer: {},
    "Softmax": lambda layer: {"axis": layer.axis},
    "LogSoftmax": lambda layer: {"axis": layer.axis},
    "GraphModule": lambda layer: {"source": layer.text, "sizes": layer.sizes},
}  # fmt: skip
ARGUMENTS = {
    "Linear": ("inputs", "outputs", "bias", "dtype"),
    "BatchNorm": ("features", "axis", "eps", "decay", "debias", "unbiased", "degenerate", "dtype"),
    "Dropout": ("rate",), "Flatten": ("keep",), "Identity": (), "ReLU": (), "LeakyReLU": ("slope",), "Tanh": (),
    "Sigmoid": (), "Softmax": ("axis",), "LogSoftmax": ("axis",), "GraphModule": ("source", "sizes"),
}  # fmt: skip
# Arguments that keep a new layer from drawing random numbers, which are loaded over it anyway.
UNDRAWN: dict[str, dict[str, Any]] = {"Linear": {"weight_init": "zeros"}, "Dropout": {"seed": 0}}


def describe(model: Any) -> dict[str, Any] | None:
    """A model as JSON, or None where it holds anything but this library's layers in Sequentials.

    Examples
    --------
    >>> from tensorgraph import nn
    >>> describe(nn.Sequential(nn.Flatten(), nn.ReLU()))["layers"]
    [{'layer': 'Flatten', 'arguments': {'keep': 1}}, {'layer': 'ReLU', 'arguments': {}}]
    """
    kind = type(model).__name__
    if type(model) is nn.Sequential:
        layers = [describe(layer) for layer in model]
        shared = len({id(module) for module in model.modules()}) != 1 + sum(count_layers(layer) for layer in layers)
        return None if shared or None in layers else {"layer": "Sequential", "layers": layers}
    if kind not in LAYERS or type(model) is not getattr(nn, kind):
        return None
    if kind == "GraphModule" and model.arrays:  # captured arrays are not in the text
        return None
    return {"layer": kind, "arguments": LAYERS[kind](model)}


def count_layers(described: dict[str, Any] | None) -> int:
    """How many modules a description stands for."""
    return 1 + sum(map(count_layers, described.get("layers", ()))) if described else 1


def build(described: Any, arrays: Mapping[str, Any]) -> Any:
    """A new model from `describe`'s JSON, its numbers still to be loaded.

    Parameters
    ----------
    described : dict
        Of any origin: it is checked, and names no code.
    arrays : mapping of path to array
        The numbers that will be loaded; a layer larger than these is refused before memory is taken.

    Raises
    ------
    ValueError
        Saying what is not a description.
    """
    return _build(described, arrays, "", 0)


def _build(described: Any, arrays: Mapping[str, Any], path: str, depth: int) -> Any:
    if not isinstance(described, dict) or not isinstance(described.get("layer"), str) or depth > DEPTH:
        raise ValueError(f"{path or 'the model'} is not described as a layer")
    kind, below = described["layer"], f"{path}." if path else ""
    if kind == "Sequential":
        layers = described.get("layers")
        if not isinstance(layers, list):
            raise ValueError(f"{path or 'the model'} is a Sequential without a list of layers")
        return nn.Sequential(*[_build(layer, arrays, f"{below}{i}", depth + 1) for i, layer in enumerate(layers)])
    arguments = described.get("arguments")
    if kind not in LAYERS:
        raise ValueError(
            f"{path or 'the model'} is a {kind!r}, known are Sequential, {', '.join(LAYERS)}; a newer tensorgraph may "
            "know it"
        )
    if not isinstance(arguments, dict) or sorted(arguments) != sorted(ARGUMENTS[kind]):
        raise ValueError(f"{path or kind} has other arguments than {kind} takes ({', '.join(ARGUMENTS[kind])})")
    _check_size(kind, arguments, arrays, below)
    if kind == "GraphModule":
        return _graph_module(arguments, arrays, below)
    return getattr(nn, kind)(**arguments, **UNDRAWN.get(kind, {}))


def _graph_module(arguments: dict[str, Any], arrays: Mapping[str, Any], below: str) -> Any:
    """A model from its text, which is read and never executed."""
    source, sizes = arguments["source"], arguments["sizes"]
    if not isinstance(source, str) or not isinstance(sizes, dict):
        raise ValueError(f"{below or 'the model'} is a GraphModule without a text")
    return nn.GraphModule(source, sizes=sizes, numbers={k.removeprefix(below): v for k, v in arrays.items()})


def _check_size(kind: str, arguments: dict[str, Any], arrays: Mapping[str, Any], below: str) -> None:
    """Refuse a layer whose numbers are not in the file."""
    wanted = {"Linear": ("weight", ("inputs", "outputs")), "BatchNorm": ("gamma", ("features",))}.get(kind)
    if wanted is None:
        return
    name, sizes = wanted
    shape = tuple(arguments[size] for size in sizes)
    found = arrays.get(f"{below}{name}")
    if any(type(n) is not int or n < 1 for n in shape) or found is None or found.size != math.prod(shape):
        came = "nothing" if found is None else f"{found.shape}"
        raise ValueError(f"{below}{name} should be of shape {shape}, and the file holds {came}")
