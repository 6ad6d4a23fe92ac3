"""Models: `Module`, layers, and initialisers for their weights."""

from tensorgraph.arguments.foreign import getter as _getter
from tensorgraph.engine import init
from tensorgraph.nn.activations import (
    CELU,
    ELU,
    GELU,
    SELU,
    Hardsigmoid,
    Hardswish,
    Hardtanh,
    LeakyReLU,
    LogSigmoid,
    LogSoftmax,
    Mish,
    PReLU,
    ReLU,
    ReLU6,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Softsign,
    Tanh,
)
from tensorgraph.nn.attention import MultiHeadAttention, positional_encoding
from tensorgraph.nn.containers import Flatten, Identity, Lambda, ModuleDict, ModuleList, Sequential
from tensorgraph.nn.dropout import Dropout
from tensorgraph.nn.embedding import Embedding
from tensorgraph.nn.graph_module import GraphModule
from tensorgraph.nn.linear import Linear
from tensorgraph.nn.module import Module
from tensorgraph.nn.normalization import BatchNorm
from tensorgraph.nn.recurrent import GRU, LSTM, RNN, GRUCell, LSTMCell, RNNCell
from tensorgraph.nn.row_norms import GroupNorm, InstanceNorm, LayerNorm, RMSNorm
from tensorgraph.nn.torch_state import from_torch_state
from tensorgraph.nn.transformer import TransformerEncoder, TransformerEncoderLayer

__all__ = [
    "GRU", "LSTM", "RNN", "GRUCell", "LSTMCell", "MultiHeadAttention", "RNNCell", "TransformerEncoder",
    "TransformerEncoderLayer", "positional_encoding",
    "CELU", "ELU", "GELU", "SELU", "BatchNorm", "Dropout", "Embedding", "Flatten", "GraphModule", "GroupNorm",
    "Hardsigmoid", "Hardswish", "Hardtanh", "Identity", "InstanceNorm", "Lambda", "LayerNorm", "LeakyReLU", "Linear",
    "LogSigmoid", "LogSoftmax", "Mish", "Module", "ModuleDict", "ModuleList", "PReLU", "RMSNorm", "ReLU", "ReLU6",
    "Sequential", "SiLU", "Sigmoid", "Softmax", "Softplus", "Softsign", "Tanh", "from_torch_state", "init",
]  # fmt: skip

__getattr__ = _getter(__name__, __all__)
