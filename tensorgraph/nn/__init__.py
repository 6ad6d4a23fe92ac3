"""Models: `Module`, layers, and initialisers for their weights."""

from tensorgraph.arguments.foreign import getter as _getter
from tensorgraph.engine import init
from tensorgraph.nn.activations import LeakyReLU, LogSoftmax, ReLU, Sigmoid, Softmax, Tanh
from tensorgraph.nn.containers import Flatten, Identity, Lambda, Sequential
from tensorgraph.nn.dropout import Dropout
from tensorgraph.nn.graph_module import GraphModule
from tensorgraph.nn.linear import Linear
from tensorgraph.nn.module import Module
from tensorgraph.nn.normalization import BatchNorm

__all__ = [
    "BatchNorm", "Dropout", "Flatten", "GraphModule", "Identity", "Lambda", "LeakyReLU", "Linear", "LogSoftmax",
    "Module", "ReLU", "Sequential", "Sigmoid", "Softmax", "Tanh", "init",
]  # fmt: skip

__getattr__ = _getter(__name__, __all__)
