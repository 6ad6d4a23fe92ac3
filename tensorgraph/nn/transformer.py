"""The encoder of a transformer, layer by layer. (Vaswani et al. 2017, arXiv 1706.03762)"""

from __future__ import annotations

from typing import Any

from tensorgraph.arguments import Count, Fraction, Natural, NonNegative, checked
from tensorgraph.engine.aval import FloatDType
from tensorgraph.engine.op import elementwise, op_named
from tensorgraph.nn.attention import MultiHeadAttention
from tensorgraph.nn.dropout import Dropout
from tensorgraph.nn.linear import Linear
from tensorgraph.nn.module import Module
from tensorgraph.nn.names import input_of
from tensorgraph.nn.row_norms import LayerNorm
from tensorgraph.ops.exponential import relu

__all__ = ["TransformerEncoder", "TransformerEncoderLayer"]

_PARAMETERS = """dim : int
        Of what comes and goes, a multiple of `heads`.
    heads : int
    hidden : int
        Of the two products after the attention."""
_OPTIONS = """dropout : float
        Of the weights of the attention, of both branches and between the two products; 0.1 in PyTorch.
    activation : str
        The name of an elementwise function: "relu", "gelu", "silu", ...
    norm_first : bool
        Normalise what goes into a branch, and not the sum that comes out (Xiong et al. 2020, arXiv 2002.04745).
    bias : bool
    eps : float
    seed : int, optional
    dtype : dtype-like, optional"""


class TransformerEncoderLayer(Module):
    __doc__ = f"""Attention of a sequence to itself, then two products a place; each added to what came in.

    ``y = layer(x, mask=None, key_mask=None, causal=False)``, of (batch, length, dim); masks as in `MultiHeadAttention`:
    True takes part.

    Parameters
    ----------
    {_PARAMETERS}
    {_OPTIONS}

    Examples
    --------
    >>> import tensorgraph as tg
    >>> layer = tg.nn.TransformerEncoderLayer(8, 2, 16, norm_first=True, seed=0)
    >>> layer(tg.ones((3, 5, 8)), causal=True).shape
    (3, 5, 8)
    """

    @checked
    def __init__(
        self,
        dim: Count,
        heads: Count,
        hidden: Count,
        *,
        dropout: Fraction = 0.0,
        activation: str = relu.name,
        norm_first: bool = False,
        bias: bool = True,
        eps: NonNegative = 1e-5,
        seed: Natural | None = None,
        dtype: FloatDType | None = None,
    ) -> None:
        function = op_named(activation)
        if function is None or function.kind is not elementwise or len(function.inputs) != 1:
            raise ValueError(
                f"activation must be the name of an elementwise function of one tensor, as {relu.name!r} is, got "
                f"{activation!r}"
            )
        seeds = [None if seed is None else seed + 10 * i for i in range(4)]
        self.activation, self.norm_first = activation, norm_first
        self.self_attn = MultiHeadAttention(dim, heads, bias=bias, dropout=dropout, seed=seeds[0], dtype=dtype)
        self.linear1 = Linear(dim, hidden, bias, seed=seeds[1], dtype=dtype)
        self.linear2 = Linear(hidden, dim, bias, seed=seeds[2], dtype=dtype)
        self.norm1, self.norm2 = (LayerNorm(dim, eps=eps, bias=bias, dtype=dtype) for _ in range(2))
        self.dropouts = [Dropout(dropout, seed=None if seed is None else seed + i) for i in range(3)] if dropout else []

    def forward(self, x: Any, *, mask: Any = None, key_mask: Any = None, causal: bool = False) -> Any:
        x = input_of(self, x)
        before, after = (self.norm1, None) if self.norm_first else (None, self.norm1)
        h = x if before is None else before(x)
        x = x + self._dropped(0, self.self_attn(h, mask=mask, key_mask=key_mask, causal=causal))
        x = x if after is None else after(x)
        h = self.norm2(x) if self.norm_first else x
        bent = op_named(self.activation)
        assert bent is not None
        x = x + self._dropped(2, self.linear2(self._dropped(1, bent.public(self.linear1(h)))))
        return x if self.norm_first else self.norm2(x)

    def _dropped(self, i: int, x: Any) -> Any:
        return self.dropouts[i](x) if self.dropouts else x

    def config(self) -> dict[str, Any]:
        own = self.self_attn.config()
        return dict(
            dim=own["dim"], heads=own["heads"], hidden=self.linear1.outputs, dropout=own["dropout"],
            activation=self.activation, norm_first=self.norm_first, bias=own["bias"], eps=self.norm1.eps,
            dtype=own["dtype"],
        )  # fmt: skip

    def extra_repr(self) -> str:
        return f"{self.self_attn.dim}, {self.self_attn.heads}, {self.linear1.outputs}"


class TransformerEncoder(Module):
    __doc__ = f"""Layers of `TransformerEncoderLayer` above each other; with `norm_first` a normalisation comes last.

    Parameters
    ----------
    {_PARAMETERS}
    count : int
        The number of layers.
    {_OPTIONS}

    Examples
    --------
    >>> import tensorgraph as tg
    >>> encoder = tg.nn.TransformerEncoder(8, 2, 16, 3, seed=0)
    >>> encoder(tg.ones((2, 5, 8)), key_mask=tg.arange(5) < tg.tensor([[5], [3]])).shape
    (2, 5, 8)
    """

    @checked
    def __init__(
        self,
        dim: Count,
        heads: Count,
        hidden: Count,
        count: Count,
        *,
        dropout: Fraction = 0.0,
        activation: str = relu.name,
        norm_first: bool = False,
        bias: bool = True,
        eps: NonNegative = 1e-5,
        seed: Natural | None = None,
        dtype: FloatDType | None = None,
    ) -> None:
        self.layers = [
            TransformerEncoderLayer(
                dim, heads, hidden, dropout=dropout, activation=activation, norm_first=norm_first, bias=bias, eps=eps,
                seed=None if seed is None else seed + 100 * i, dtype=dtype,
            )
            for i in range(count)
        ]  # fmt: skip
        self.norm = LayerNorm(dim, eps=eps, bias=bias, dtype=dtype) if norm_first else None

    def forward(self, x: Any, *, mask: Any = None, key_mask: Any = None, causal: bool = False) -> Any:
        for layer in self.layers:
            x = layer(x, mask=mask, key_mask=key_mask, causal=causal)
        return x if self.norm is None else self.norm(x)

    def config(self) -> dict[str, Any]:
        return {**self.layers[0].config(), "count": len(self.layers)}
