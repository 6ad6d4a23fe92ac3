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
from tensorgraph.nn.convolution import Conv1d, Conv2d, Conv3d, ConvTranspose1d, ConvTranspose2d, ConvTranspose3d
from tensorgraph.nn.dropout import Dropout, Dropout1d, Dropout2d, Dropout3d
from tensorgraph.nn.embedding import Embedding
from tensorgraph.nn.graph_module import GraphModule
from tensorgraph.nn.linear import Linear
from tensorgraph.nn.module import Module
from tensorgraph.nn.normalization import BatchNorm
from tensorgraph.nn.pooling import (
    AdaptiveAvgPool1d,
    AdaptiveAvgPool2d,
    AdaptiveAvgPool3d,
    AdaptiveMaxPool1d,
    AdaptiveMaxPool2d,
    AdaptiveMaxPool3d,
    AvgPool1d,
    AvgPool2d,
    AvgPool3d,
    MaxPool1d,
    MaxPool2d,
    MaxPool3d,
)
from tensorgraph.nn.recurrent import GRU, LSTM, RNN, GRUCell, LSTMCell, RNNCell
from tensorgraph.nn.resampling import PixelShuffle, PixelUnshuffle, Upsample
from tensorgraph.nn.row_norms import GroupNorm, InstanceNorm, LayerNorm, RMSNorm
from tensorgraph.nn.torch_state import from_torch_state, to_torch_state
from tensorgraph.nn.transformer import TransformerEncoder, TransformerEncoderLayer

__all__ = [
    "AdaptiveAvgPool1d", "AdaptiveAvgPool2d", "AdaptiveAvgPool3d", "AdaptiveMaxPool1d", "AdaptiveMaxPool2d",
    "AdaptiveMaxPool3d", "AvgPool1d", "AvgPool2d", "AvgPool3d", "BatchNorm", "CELU", "Conv1d", "Conv2d", "Conv3d",
    "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d", "Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "ELU",
    "Embedding", "Flatten", "GELU", "GRU", "GRUCell", "GraphModule", "GroupNorm", "Hardsigmoid", "Hardswish",
    "Hardtanh", "Identity", "InstanceNorm", "LSTM", "LSTMCell", "Lambda", "LayerNorm", "LeakyReLU", "Linear",
    "LogSigmoid", "LogSoftmax", "MaxPool1d", "MaxPool2d", "MaxPool3d", "Mish", "Module", "ModuleDict", "ModuleList",
    "MultiHeadAttention", "PReLU", "PixelShuffle", "PixelUnshuffle", "RMSNorm", "RNN", "RNNCell", "ReLU", "ReLU6",
    "SELU", "Sequential", "SiLU", "Sigmoid", "Softmax", "Softplus", "Softsign", "Tanh", "TransformerEncoder",
    "TransformerEncoderLayer", "Upsample", "from_torch_state", "init", "positional_encoding",
    "to_torch_state",
]  # fmt: skip

__getattr__ = _getter(__name__, __all__)
