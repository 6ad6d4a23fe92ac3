"""Attention: every query's mean of the values, weighted by how its key answers it. (Vaswani et al. 2017)"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from tensorgraph.engine.aval import Aval, broadcast_shapes
from tensorgraph.engine.batching import BatchCall, reshaped, widened
from tensorgraph.engine.declare import fused_op
from tensorgraph.engine.op import float_dtype, settle
from tensorgraph.ops.creation import arange, number
from tensorgraph.ops.kernels import attention as kernels
from tensorgraph.ops.kernels.rows import work_dtype
from tensorgraph.ops.logic import logical_and, not_equal, where
from tensorgraph.ops.random import EXAMPLE, part_of_uniform, uniform
from tensorgraph.ops.reduction import any as any_of
from tensorgraph.ops.shape import astype, reshape, swap_last
from tensorgraph.ops.softmax import softmax

__all__ = ["scaled_dot_product_attention"]


def _heads(q: Any, k: Any, v: Any) -> tuple[int, int]:
    """Heads of the queries, and of the keys and values, of which each serves as many heads of queries."""
    own, *shared = [a.shape[-3] if a.ndim > 2 else 1 for a in (q, k, v)]
    (common,) = broadcast_shapes(*[(n,) for n in shared])
    return (common if own == 1 else own), common


def _infer(
    q: Aval, k: Aval, v: Aval, mask: Aval | None, key_mask: Aval | None, state: Aval | None, *, causal: bool,
    scale: float | None, dropout: float,
) -> Aval:  # fmt: skip
    for name, a in (("q", q), ("k", k), ("v", v)):
        if not isinstance(a, Aval) or a.ndim < 2:
            raise ValueError(f"attention takes {name} of shape (..., heads, length, dim), got {a}")
    if q.shape[-1] != k.shape[-1] or k.shape[-2] != v.shape[-2]:
        raise ValueError(
            "queries and keys must have one dim, keys and values one length: expected q (..., L, D), k (..., S, D) and "
            f"v (..., S, E), got {q.shape}, {k.shape} and {v.shape}"
        )
    if not isinstance(causal, bool):
        raise TypeError(f"causal must be True or False, got {causal!r}")
    if scale is not None:
        number(scale, "scale")
    heads, shared = _heads(q, k, v)
    if heads != shared and (not shared or heads % shared):
        raise ValueError(
            f"{heads} heads of queries cannot share {shared} of keys and values: the one must be a multiple of the "
            f"other; got q {q.shape} and k {k.shape}, v {v.shape}"
        )
    batch = broadcast_shapes(q.shape[:-3], k.shape[:-3], v.shape[:-3])
    ndim = max(q.ndim, k.ndim, v.ndim)
    whole = (*batch, *((heads,) if ndim > 2 else ()), q.shape[-2])
    scores = (*whole, k.shape[-2])
    if mask is not None:
        if mask.dtype.kind not in "bf":
            raise TypeError(
                f"mask must be booleans (True: takes part) or floats, which are added to the scores, got {mask}; write "
                "mask.astype('bool') for ones and zeros"
            )
        if not _fits(mask.shape, scores):
            raise ValueError(f"mask must broadcast to the scores' shape {scores}, got {mask.shape}")
    if key_mask is not None:
        if key_mask.dtype.kind != "b":
            raise TypeError(f"key_mask must be booleans, True for keys that take part, got {key_mask}")
        if not _fits(key_mask.shape, (*batch, k.shape[-2])) or not key_mask.ndim:
            raise ValueError(f"key_mask must broadcast to (batch, keys), {(*batch, k.shape[-2])}, got {key_mask.shape}")
    if not isinstance(dropout, (int, float)) or not 0 <= dropout < 1:
        raise ValueError(f"dropout must be a probability, at least 0 and below 1, got {dropout!r}")
    if dropout and state is None:
        raise ValueError("dropout needs a random state: state=tg.random.key(seed), another one for each call")
    if state is not None and (state.dtype != np.uint64 or state.shape != (*batch[: state.ndim - 1], 3)):
        raise ValueError(
            f"state must be a random state, u64[3] (tensorgraph.random.key(seed)), or one for each of the first axes "
            f"of {whole}, got {state}"
        )
    return Aval((*whole, v.shape[-1]), _dtype(q, k, v))


def _fits(shape: tuple[int, ...], to: tuple[int, ...]) -> bool:
    return len(shape) <= len(to) and all(a in (1, b) for a, b in zip(shape[::-1], to[::-1], strict=False))


def _dtype(*inputs: Any) -> np.dtype[Any]:
    dtypes = [a.dtype for a in inputs]
    return float_dtype(settle(np.result_type(*dtypes), dtypes))


def _scale(q: Any, scale: float | None) -> float:
    return 1.0 / math.sqrt(q.shape[-1] or 1) if scale is None else float(scale)


def attention_reference(
    q: Any, k: Any, v: Any, mask: Any = None, key_mask: Any = None, state: Any = None, *, causal: bool = False,
    scale: float | None = None, dropout: float = 0.0,
) -> Any:  # fmt: skip
    """dropout(softmax(q k^T scale + mask)) v; 0 where nothing takes part."""
    kind = _dtype(q, k, v)
    wide = work_dtype(kind)
    heads, shared = _heads(q, k, v)
    ndim = max(q.ndim, k.ndim, v.ndim)
    batch = broadcast_shapes(q.shape[:-3], k.shape[:-3], v.shape[:-3])
    q, k, v = (a if a.dtype == wide else astype.public(a, dtype=wide.name) for a in (q, k, v))
    grouped = 1 < shared < heads
    if grouped:  # heads of queries as (heads of keys, group); what keys and values have is shared by a group
        q = reshape.public(q, shape=(*q.shape[:-3], shared, heads // shared, *q.shape[-2:]))
        k, v = (
            reshape.public(a, shape=(*a.shape[:-3], a.shape[-3] if a.ndim > 2 else 1, 1, *a.shape[-2:])) for a in (k, v)
        )
    length, keys = q.shape[-2], k.shape[-2]
    scores = (q * _scale(q, scale)) @ swap_last(k)
    if grouped:
        scores = reshape.public(scores, shape=(*scores.shape[:-4], heads, length, keys))
    barring = []  # which pairs take part, by each of the masks
    if mask is not None and mask.dtype.kind == "f":
        scores = scores + (mask if mask.dtype == wide else astype.public(mask, dtype=wide.name))
        barring.append(not_equal.public(mask, -math.inf))
    elif mask is not None:
        barring.append(mask)
    if key_mask is not None:
        inner = (1, 1) if ndim > 2 else (1,)
        barring.append(reshape.public(key_mask, shape=(*key_mask.shape[:-1], *inner, key_mask.shape[-1])))
    if causal:
        barring.append(reshape.public(arange.public(length), shape=(length, 1)) >= arange.public(keys))
    if keys and not barring:
        weights = softmax.public(scores, axis=-1)
    elif keys:
        allowed = functools.reduce(logical_and.public, barring)
        something = any_of.public(allowed, axis=-1, keepdims=True)  # what no key takes part in gives 0, and no gradient
        scores = where.public(something, where.public(allowed, scores, -math.inf), 0.0)
        weights = where.public(allowed, softmax.public(scores, axis=-1), 0.0)
    else:
        weights = scores
    if dropout:
        whole = (*batch, *((heads,) if ndim > 2 else ()), length, keys)
        u, _ = uniform.public(state, shape=whole[state.ndim - 1 :], dtype="float32")
        weights = where.public(u >= dropout, weights * (1.0 / (1.0 - dropout)), 0.0)
    if grouped:
        weights = reshape.public(weights, shape=(*weights.shape[:-3], shared, heads // shared, length, keys))
    out = weights @ v
    if grouped:
        out = reshape.public(out, shape=(*out.shape[:-4], heads, length, v.shape[-1]))
    return out if out.dtype == kind else astype.public(out, dtype=kind.name)


def _oracle(
    q: Any, k: Any, v: Any, mask: Any = None, key_mask: Any = None, state: Any = None, *, causal: bool = False,
    scale: float | None = None, dropout: float = 0.0,
) -> Any:  # fmt: skip
    """Query by query, with every head's keys and values of its own."""
    heads = _heads(q, k, v)[0]
    k, v = (a if a.ndim < 3 or a.shape[-3] == heads else np.repeat(a, heads // a.shape[-3], -3) for a in (k, v))
    scores = np.einsum("...ld,...sd->...ls", q, k) * q.dtype.type(_scale(q, scale))
    allowed = np.ones(scores.shape, bool)
    if mask is not None and mask.dtype.kind == "f":
        scores, allowed = scores + mask, allowed & (mask != -np.inf)
    elif mask is not None:
        allowed &= mask
    if key_mask is not None:
        allowed &= key_mask[..., None, None, :] if scores.ndim > 2 else key_mask
    if causal:
        allowed &= np.tri(*scores.shape[-2:], dtype=np.bool_)
    e = np.where(allowed, np.exp(scores - np.max(scores, -1, keepdims=True, where=allowed, initial=-np.inf)), 0)
    p = e / np.maximum(e.sum(-1, keepdims=True), np.finfo(e.dtype).tiny)
    if dropout:
        each = np.float32(part_of_uniform(state, 0, p.size)).reshape(p.shape) >= np.float32(dropout)
        p = np.where(each, p / (1 - p.dtype.type(dropout)), 0)
    return np.einsum("...ls,...se->...le", p, v)


def _layout(
    q: Any, k: Any, v: Any, mask: Any, key_mask: Any, state: Any, causal: bool, scale: float | None, dropout: float
) -> kernels.Layout:
    wide = work_dtype(_dtype(q, k, v))
    q, k, v = (a.astype(wide, copy=False) for a in (q, k, v))
    layout = kernels.Layout(q, k, v, mask, key_mask, causal, _scale(q, scale))
    if dropout:
        states = state.reshape(-1, 3)
        layout.dropout = dropout, lambda n, begin, count: part_of_uniform(states[n], begin, count), len(states)
    return layout


def _forward(
    q: Any, k: Any, v: Any, mask: Any = None, key_mask: Any = None, state: Any = None, *, causal: bool = False,
    scale: float | None = None, dropout: float = 0.0,
) -> Any:  # fmt: skip
    given = [None if a is None else Aval(a.shape, a.dtype) for a in (q, k, v, mask, key_mask, state)]
    result = _infer(*given, causal=causal, scale=scale, dropout=dropout)  # type: ignore[arg-type]
    with np.errstate(all="ignore"):
        layout = _layout(q, k, v, mask, key_mask, state, causal, scale, dropout)
        out, peaks, totals = kernels.attention_forward(layout)
    return out.reshape(result.shape).astype(result.dtype, copy=False), peaks, totals


def _backward(
    want: Any, g: Any, q: Any, k: Any, v: Any, mask: Any, key_mask: Any, state: Any, out: Any, peaks: Any,
    totals: Any, *, causal: bool = False, scale: float | None = None, dropout: float = 0.0,
) -> Any:  # fmt: skip
    layout = _layout(q, k, v, mask, key_mask, state, causal, scale, dropout)
    with np.errstate(all="ignore"):
        dq, dk, dv, dmask = kernels.attention_backward(want, g, out, layout, peaks, totals)
        if dmask is not None:
            dmask = kernels.reduced(dmask.reshape(*layout.compact[0], *dmask.shape[-2:]), mask.shape)
    return dq, dk, dv, dmask, None, None


def _residual_types(q: Aval, k: Aval, v: Aval, *rest: Any, **attrs: Any) -> tuple[Aval, ...]:
    heads, shared = _heads(q, k, v)
    batch = broadcast_shapes(q.shape[:-3], k.shape[:-3], v.shape[:-3])
    shape = (math.prod(batch) * shared, heads // shared if shared else 0, q.shape[-2])
    return Aval(shape, work_dtype(_dtype(q, k, v))), Aval(shape, np.float64)


def _scores(q: Aval, k: Aval, v: Aval) -> int:
    batch = broadcast_shapes(q.shape[:-3], k.shape[:-3], v.shape[:-3])
    return math.prod(batch) * _heads(q, k, v)[0] * q.shape[-2] * k.shape[-2]


def _flops(
    q: Aval, k: Aval, v: Aval, mask: Any = None, key_mask: Any = None, state: Any = None, **attrs: Any
) -> int:  # fmt: skip
    """Two products, the softmax (5), what is masked (1 a mask) or dropped (3), and the scaled queries."""
    masks = (mask is not None) + (key_mask is not None) + bool(attrs.get("causal")) + 3 * bool(attrs.get("dropout"))
    return _scores(q, k, v) * (2 * q.shape[-1] + 2 * v.shape[-1] + 5 + masks) + q.size


def _backward_flops(q: Aval, k: Aval, v: Aval, *rest: Any, want: Any, **attrs: Any) -> int:
    """The scores again, and four products; the gradient of the softmax (4)."""
    return _scores(q, k, v) * (6 * q.shape[-1] + 4 * v.shape[-1] + 9) + 2 * q.size


def _scratch(q: Aval, k: Aval, v: Aval, *rest: Any, **attrs: Any) -> int:
    tile = max(kernels.TILE, min(kernels.QUERIES, q.shape[-2]) * min(kernels.KEYS, k.shape[-2]))
    return (tile + q.size) * work_dtype(_dtype(q, k, v)).itemsize


def _backward_scratch(q: Aval, k: Aval, v: Aval, *rest: Any, **attrs: Any) -> int:
    return 3 * _scratch(q, k, v)


def _batch(call: BatchCall) -> Any:
    """Examples' leading axes line up; a batch axis is never one of heads."""
    (q, k, v, mask, key_mask, state), on = call.args, call.on
    shapes = [call.shape(i) for i in range(3)]
    single = max(len(s) for s in shapes) == 2
    if state is not None and call.attrs["dropout"]:
        state = call.whole(5)  # examples that share a state draw alike
    if not any(on[:3]):
        q, on = call.whole(0), (True, *on[1:])
    ndim = max(3, *[len(s) for s in shapes])
    q, k, v = (widened(a, ndim, o) for a, o in zip((q, k, v), on[:3], strict=True))
    if mask is not None:
        mask = widened(mask, ndim, on[3])
    if key_mask is not None:
        key_mask = widened(key_mask, ndim - 2, on[4])
    out = call.run(q, k, v, mask, key_mask, state)
    return reshaped(out, *out.shape[:1], *out.shape[-2:]) if single else out


_PAIRS = np.array([[True, False, True, True], [False, False, False, False], [True, True, True, False]])
_KEYS = np.array([[True, True, False, True], [False, True, True, True]])
_ADDED = np.array([[0.5, -0.75, 0.0, 1.0], [0.0, 0.25, -1.0, 2.0], [-0.5, 0.0, 0.0, -2.0]])

scaled_dot_product_attention = fused_op(
    "scaled_dot_product_attention(q, k, v, mask=None, key_mask=None, state=None, *, causal=False, "
    "scale: float | None = None, dropout: float = 0.0)",
    reference=attention_reference,
    forward=_forward,
    backward=_backward,
    residuals=("peaks", "totals"),
    residual_types=_residual_types,
    infer_rule=_infer,
    batch=_batch,
    also=("attention",),
    oracle=_oracle,
    flops=_flops,
    scratch=_scratch,
    backward_flops=_backward_flops,
    backward_scratch=_backward_scratch,
    traits=("exponential", "reduces"),
    native="attention:attention",
    direct=True,
    native_vjp="attention:attention_vjp",
    examples=(
        (((2, 3, 4), (2, 5, 4), (2, 5, 3)), {}),
        (((3, 4), (4, 4), (4, 2), _PAIRS), {}),
        (((2, 2, 3, 4), (2, 2, 4, 4), (2, 2, 4, 5), _ADDED, _KEYS), dict(scale=0.5)),
        (((2, 3, 4), (2, 4, 4), (2, 4, 3)), dict(causal=True)),
        (((4, 3, 2), (2, 4, 2), (2, 4, 3), _ADDED), dict(causal=True)),
        (((2, 4, 3, 2), (1, 4, 2), (1, 1, 4, 3), _PAIRS, _KEYS), {}),
        (((2, 2, 3, 4), (2, 2, 4, 4), (2, 2, 4, 5), _ADDED, _KEYS, EXAMPLE), dict(dropout=0.5)),
        (((2, 4, 3, 2), (1, 4, 2), (1, 1, 4, 3), _PAIRS, _KEYS, EXAMPLE), dict(dropout=0.3, causal=True)),
    ),
    doc="""Each query's mean of the values, weighted by the softmax of its products with the keys times `scale`.

    `q` (..., heads, L, D), `k` (..., heads, S, D) and `v` (..., heads, S, E) give (..., heads, L, E); two axes are one
    head. Leading axes broadcast. Where keys and values have fewer heads, each serves as many heads of queries, one
    after the other (grouped and multi-query attention). `scale` is 1/sqrt(D) unless given.

    `mask` broadcasts to (..., heads, L, S): booleans, True where the pair **takes part**, or floats that are added to
    the scores and may be -inf. `key_mask`, booleans (..., S) without the axis of heads, says which keys take part, as
    for sequences that were padded: ``tg.arange(S) < lengths[:, None]``. PyTorch's function of this name says True as
    here; its `MultiheadAttention` says True for what is left out: write ``~mask``. With ``causal=True`` query i looks
    at the keys 0 to i, also where the lengths differ, as in PyTorch; for queries that stand at the end of the keys give
    ``mask=tg.tril(tg.ones((L, S), dtype="bool"), k=S - L)``. A query for which nothing takes part gives 0, and no
    gradient. What values hold where nothing takes part must be finite: 0 times NaN is NaN.

    What a mask bars, -inf in one that is added too, weighs nothing, whatever its score is. Of scores beyond the dtype
    -inf weighs nothing beside a number; with inf, NaN, or -inf alone the query gets NaN, and so do the gradients of
    what took part. Which of these a product gives whose terms leave the dtype depends on the order of its sum.

    With a random `state` (`tg.random.key`) weights are zeroed with probability `dropout` and the rest divided by
    ``1 - dropout``: by the float32 numbers of `tg.uniform` of this state and the scores' shape. Backward draws them
    again, and the same state draws the same.

    Memory grows with L and S, not with their product (Dao et al. 2022, arXiv 2205.14135); ``impl="composed"`` makes
    the whole matrix.

    >>> import tensorgraph as tg
    >>> x = tg.tensor([[1.0, 0.0], [0.0, 1.0]])
    >>> tg.scaled_dot_product_attention(x, x, x, causal=True).numpy().round(3).tolist()
    [[1.0, 0.0], [0.33000001311302185, 0.6700000166893005]]
    """,
)
