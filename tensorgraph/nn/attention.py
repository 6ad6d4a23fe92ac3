"""Multi-head attention as a layer, and the places of a sequence as waves. (Vaswani et al. 2017, arXiv 1706.03762)"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from tensorgraph.arguments import Count, Fraction, Natural, checked
from tensorgraph.engine.aval import FloatDType, canonical_dtype, default_dtype
from tensorgraph.engine.tensor import Tensor, wrap
from tensorgraph.nn.dropout import Dropout
from tensorgraph.nn.linear import Linear
from tensorgraph.nn.module import Module
from tensorgraph.nn.names import input_of
from tensorgraph.nn.torch_names import From, itself, transposed, turned
from tensorgraph.ops.attention import scaled_dot_product_attention
from tensorgraph.ops.shape import reshape, transpose

__all__ = ["MultiHeadAttention", "positional_encoding"]


class MultiHeadAttention(Module):
    """Attention of several heads at once: ``y = layer(query, key=query, value=key, mask=None, key_mask=None)``.

    Parameters
    ----------
    dim : int
        Of queries and of what comes out: a multiple of `heads`.
    heads : int
    bias : bool
        Of all four products.
    key_dim, value_dim : int, optional
        Of keys and values where they are not of `dim`.
    key_heads : int, optional
        Heads of keys and values, a divisor of `heads`; each then serves several heads of queries (Ainslie et al. 2023,
        arXiv 2305.13245).
    dropout : float
        In training, the rate at which weights are dropped.
    seed : int, optional
    dtype : dtype-like, optional

    Attributes
    ----------
    query, key, value, out : Linear
        PyTorch's ``in_proj_weight`` is the transposes of the first three, one below the other.

    Notes
    -----
    Inputs are (batch, length, dim), or (length, dim). In `mask`, which broadcasts to (batch, heads, L, S), and in
    `key_mask`, (batch, S), True means **takes part**; in PyTorch's ``attn_mask`` and ``key_padding_mask`` of this layer
    it means the opposite: write ``~mask``. A float mask is added to the scores. ``causal=True``: no query looks at what
    comes after it. ``weights=True`` gives the weights too, (batch, heads, L, S); PyTorch gives their mean over the
    heads. They are not kept otherwise, unless some are dropped: memory grows with the lengths, not with their product.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> layer = tg.nn.MultiHeadAttention(8, 2, seed=0)
    >>> layer(tg.ones((3, 5, 8)), causal=True).shape
    (3, 5, 8)
    >>> y, weights = layer(tg.ones((3, 5, 8)), tg.ones((3, 7, 8)), weights=True)
    >>> weights.shape
    (3, 2, 5, 7)
    """

    @checked
    def __init__(
        self,
        dim: Count,
        heads: Count,
        *,
        bias: bool = True,
        key_dim: Count | None = None,
        value_dim: Count | None = None,
        key_heads: Count | None = None,
        dropout: Fraction = 0.0,
        seed: Natural | None = None,
        dtype: FloatDType | None = None,
    ) -> None:
        if dim % heads:
            raise ValueError(f"dim must be a multiple of heads, got dim={dim}, heads={heads}")
        shared = heads if key_heads is None else key_heads
        if heads % shared:
            raise ValueError(f"heads must be a multiple of key_heads, got heads={heads}, key_heads={key_heads}")
        self.dim, self.heads, self.key_heads = dim, heads, shared
        size = dim // heads
        widths = [(dim, dim), (key_dim or dim, size * shared), (value_dim or key_dim or dim, size * shared), (dim, dim)]
        self.query, self.key, self.value, self.out = (
            Linear(a, b, bias, weight_init="xavier_uniform", seed=None if seed is None else seed + i, dtype=dtype)
            for i, (a, b) in enumerate(widths)
        )
        self.dropout = Dropout(dropout, seed=seed) if dropout else None
        packed = widths[0][0] == widths[1][0] == widths[2][0]
        for i, (name, part) in enumerate((("q", self.query), ("k", self.key), ("v", self.value))):
            own = partial(_rows, dim * i, dim * (i + 1))
            weight = From("^in_proj_weight", own, back=turned) if packed else transposed(f"^{name}_proj_weight")
            vars(part)["torch_state"] = {"weight": weight, "bias": From("^in_proj_bias", own, back=itself)}
        vars(self.out)["torch_state"] = {"weight": transposed("^out_proj.weight"), "bias": "^out_proj.bias"}

    def forward(
        self,
        query: Any,
        key: Any = None,
        value: Any = None,
        *,
        mask: Any = None,
        key_mask: Any = None,
        causal: bool = False,
        weights: bool = False,
    ) -> Any:
        query = input_of(self, query)
        key = query if key is None else key
        value = key if value is None else value
        if query.ndim not in (2, 3):
            raise ValueError(f"{self.label} takes queries of shape (batch, length, {self.dim}), got {query.shape}")
        q = self._heads(self.query(query), self.heads)
        k, v = self._heads(self.key(key), self.key_heads), self._heads(self.value(value), self.key_heads)
        attend = scaled_dot_product_attention.public
        given = None
        dropout = self.dropout if self.dropout is not None and self.dropout.drops else None
        if weights or (dropout is not None and dropout.ranks is not None):
            # the weights themselves are what values that are one in a place each come to
            keys = k.shape[-2]
            given = attend(q, k, wrap(np.eye(keys, dtype=k.dtype)), mask, key_mask, causal=causal)
            kept = given if self.dropout is None else self.dropout(given)
            if self.key_heads != self.heads:
                groups = (self.key_heads, self.heads // self.key_heads)
                kept = reshape.public(kept, shape=kept.shape[:-3] + groups + kept.shape[-2:])
                v = reshape.public(v, shape=v.shape[:-2] + (1,) + v.shape[-2:])
            y = kept @ v
            if self.key_heads != self.heads:
                y = reshape.public(y, shape=y.shape[:-4] + (self.heads,) + y.shape[-2:])
        elif dropout is not None:
            y = attend(q, k, v, mask, key_mask, dropout.next_state(), causal=causal, dropout=dropout.rate)
        else:
            y = attend(q, k, v, mask, key_mask, causal=causal)
        order = (0, 2, 1, 3) if y.ndim == 4 else (1, 0, 2)
        y = transpose.public(y, axes=order)
        y = self.out(reshape.public(y, shape=y.shape[:-2] + (self.dim,)))
        return (y, given) if weights else y

    def _heads(self, x: Tensor, heads: int) -> Any:
        """(..., length, dim) as (..., heads, length, dim of a head)."""
        split = reshape.public(x, shape=x.shape[:-1] + (heads, x.shape[-1] // heads))
        return transpose.public(split, axes=(0, 2, 1, 3) if split.ndim == 4 else (1, 0, 2))

    def config(self) -> dict[str, Any]:
        return dict(
            dim=self.dim, heads=self.heads, bias=self.out.bias is not None, key_dim=self.key.inputs,
            value_dim=self.value.inputs, key_heads=self.key_heads,
            dropout=0.0 if self.dropout is None else self.dropout.rate, dtype=self.out.weight.dtype.name,
        )  # fmt: skip

    def extra_repr(self) -> str:
        return f"{self.dim}, {self.heads}"


def _rows(start: int, stop: int, array: Any) -> Any:
    """A part of what lies there packed, (outputs, inputs), the other way round."""
    return array[start:stop].T


@checked
def positional_encoding(
    length: Natural, dim: Count, *, base: float = 10000.0, dtype: FloatDType | None = None
) -> Tensor:
    """The places 0 to length - 1 as sines and cosines of falling frequency, (length, dim).

    ``sin(place / base^(2i / dim))`` in the columns 2i, the cosine in 2i + 1. (Vaswani et al. 2017, section 3.5)

    Examples
    --------
    >>> import tensorgraph as tg
    >>> tg.nn.positional_encoding(2, 4).numpy().round(2).tolist()
    [[0.0, 1.0, 0.0, 1.0], [0.8399999737739563, 0.5400000214576721, 0.009999999776482582, 1.0]]
    """
    kind = default_dtype() if dtype is None else canonical_dtype(dtype)
    columns = np.arange(dim)
    angles = np.arange(length)[:, None] / float(base) ** ((columns - columns % 2) / dim)
    return wrap(np.where(columns % 2, np.cos(angles), np.sin(angles)).astype(kind))
