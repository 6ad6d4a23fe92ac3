"""Pools: maxima and sums over windows of the last axes, whatever stands before them.

Each is one op, and what its gradient does, giving to the elements of the windows, is another, whose own gradient
gathers again.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tensorgraph.engine.aval import Aval
from tensorgraph.engine.batching import unchanged
from tensorgraph.engine.declare import op
from tensorgraph.engine.op import Op, opaque
from tensorgraph.engine.sums import total
from tensorgraph.ops.kernels import pooling as kernels
from tensorgraph.ops.windows import Windows, windows

# what is asked of all -----------------------------------------------------------------------------------------------


def _windows(x: Any, sizes: Any, stride: Any = 1, padding: Any = 0, dilation: Any = 1) -> Windows:
    if not isinstance(sizes, (tuple, list)) or not sizes:
        raise TypeError(f"sizes must be a tuple of the windows' sizes, one an axis, got {sizes!r}")
    shape = getattr(x, "shape", ())
    if len(shape) < len(sizes):
        raise ValueError(f"windows of {len(sizes)} axes need a tensor of as many, got shape {shape}")
    if x.dtype.kind == "b":
        raise TypeError("pools take numbers, got booleans; convert with .astype('float32')")
    return windows(shape[len(shape) - len(sizes) :], tuple(sizes), stride, padding, dilation)


def _outputs(x: Any, win: Windows) -> tuple[int, ...]:
    return (*x.shape[: len(x.shape) - len(win.sizes)], *win.outputs)


def _same(what: str, value: Any, shape: tuple[int, ...]) -> None:
    if tuple(value.shape) != shape:
        raise ValueError(f"{what} must have shape {shape}, got {tuple(value.shape)}")


def _in_float(function: Any, *arrays: Any) -> Any:
    """float16 in float32."""
    kind = arrays[0].dtype
    with np.errstate(all="ignore"):
        if kind != np.float16:
            return function(*arrays)
        return function(*(a.astype(np.float32) for a in arrays)).astype(kind)


_ATTRIBUTES = (
    "sizes: Sequence[int], stride: int | Sequence[int] = 1, "
    "padding: int | str | Sequence[int] | Sequence[tuple[int, int]] = 0, dilation: int | Sequence[int] = 1"
)
_EXAMPLES: tuple[dict[str, Any], ...] = (
    dict(sizes=(2, 2), stride=2), dict(sizes=(3, 2), stride=(2, 1), padding=1, dilation=(1, 2)),
    dict(sizes=(3,), padding=((1, 0),)),
)  # fmt: skip

# maxima -------------------------------------------------------------------------------------------------------------


def _max(x: Any, **attrs: Any) -> Any:
    return kernels.max_pool(x, _windows(x, **attrs))


def _max_infer(x: Aval, **attrs: Any) -> Aval:
    return Aval(_outputs(x, _windows(x, **attrs)), x.dtype)


def _spread(values: Any, x: Any, y: Any, **attrs: Any) -> Any:
    win = _windows(x, **attrs)
    return _in_float(lambda g, x, y: kernels.max_spread(g, x, y, win), values, x, y)


def _gather(values: Any, x: Any, y: Any, **attrs: Any) -> Any:
    win = _windows(x, **attrs)
    return _in_float(lambda h, x, y: kernels.max_gather(h, x, y, win), values, x, y)


def _spread_infer(values: Aval, x: Aval, y: Aval, **attrs: Any) -> Aval:
    outputs = _outputs(x, _windows(x, **attrs))
    _same("values", values, outputs)
    _same("y", y, outputs)
    return Aval(x.shape, values.dtype)


def _gather_infer(values: Aval, x: Aval, y: Aval, **attrs: Any) -> Aval:
    outputs = _outputs(x, _windows(x, **attrs))
    _same("values", values, x.shape)
    _same("y", y, outputs)
    return Aval(outputs, values.dtype)


def _taps(x: Any, win: Windows, value: Any) -> Any:
    """What windows see, along a new first axis."""
    lead = x.shape[: x.ndim - len(win.sizes)]
    padded: Any = np.full(
        (*lead, *(lo + n + hi for n, (lo, hi) in zip(win.sizes, win.edges, strict=True))), value, x.dtype
    )
    padded[(..., *(slice(lo, lo + n) for n, (lo, _) in zip(win.sizes, win.edges, strict=True)))] = x
    steps: Any = tuple(
        tuple(slice(i * d, i * d + s * (o - 1) + 1, s) for i, d, s, o in zip(at, win.dilation, win.stride, win.outputs))
        for at in np.ndindex(win.kernel)
    )
    return np.stack([padded[(..., *step)] for step in steps])


def _max_oracle(x: Any, **attrs: Any) -> Any:
    return np.max(_taps(x, _windows(x, **attrs), kernels.lowest(x.dtype)), axis=0)


def _examples(of: str) -> Any:
    """Arguments of the two ops that take a pool's input and output besides: `of` says of which shape the values are."""
    cases = []
    for shape, attrs in zip(((2, 4, 6), (1, 5, 4), (2, 5)), _EXAMPLES, strict=True):
        x = (np.arange(math.prod(shape)) * 5 % 7 - 3.0).reshape(shape)  # with ties
        y = _max_oracle(x, **attrs)
        cases.append(((y.shape if of == "y" else shape, x, y), attrs))
    return tuple(cases)


def _shares(x: Any, y: Any, attrs: Any) -> tuple[Any, Any, Windows]:
    """How much of each window's value each of its elements takes, and which element each is."""
    win = _windows(x, **attrs)
    count = math.prod(win.sizes)
    numbers = _taps(np.arange(count).reshape(win.sizes), win, count)
    seen = _taps(np.asarray(x, np.result_type(x, np.float64)), win, np.nan)
    ties = ((seen == y) | (np.isnan(seen) & np.isnan(y))) & (numbers < count).reshape(
        len(numbers), *(1,) * (y.ndim - len(win.sizes)), *win.outputs
    )
    return ties / np.maximum(ties.sum(axis=0), 1), numbers, win


def _spread_oracle(values: Any, x: Any, y: Any, **attrs: Any) -> Any:
    shares, numbers, win = _shares(x, y, attrs)
    lead = x.shape[: x.ndim - len(win.sizes)]
    out = np.zeros((*lead, math.prod(win.sizes) + 1), np.result_type(values, x))
    for share, number in zip(shares, numbers, strict=True):
        part = (share * values).reshape(*lead, -1)
        for k, place in enumerate(number.ravel()):
            out[..., place] += part[..., k]
    return out[..., :-1].reshape(x.shape)


def _gather_oracle(values: Any, x: Any, y: Any, **attrs: Any) -> Any:
    shares, _, win = _shares(x, y, attrs)
    return total(shares * _taps(values, win, 0), 0)


def _max_x(g: Any, x: Any, out: Any, sizes: Any, stride: Any, padding: Any, dilation: Any) -> Any:
    return max_pool_spread(g, x, out, sizes=sizes, stride=stride, padding=padding, dilation=dilation)


def _flops(x: Aval, **attrs: Any) -> int:
    win = _windows(x, **attrs)
    return math.prod(_outputs(x, win)) * math.prod(win.kernel)


def _flops_of_ties(values: Aval, x: Aval, y: Aval, **attrs: Any) -> int:
    return 2 * _flops(x, **attrs)


max_pool: Op = op(
    f"max_pool(x, *, {_ATTRIBUTES})", _max, opaque, infer_rule=_max_infer, vjp=dict(x=_max_x), batch=unchanged,
    oracle=_max_oracle, flops=_flops, traits=("extremum", "keeps order"), native="pooling:max_pool", direct=True,
    examples=tuple(zip((((2, 4, 6),), ((1, 5, 4),), ((2, 5),)), _EXAMPLES, strict=True)),
    doc="""The maximum of each window over the last axes, as many as `sizes` has.

    The border that padding puts in is less than every number, and NaN wins. The gradient is shared equally among ties,
    where PyTorch gives it to the first.

    >>> import tensorgraph as tg
    >>> tg.max_pool([1.0, 3.0, 2.0, 0.0], (2,), stride=2).tolist()
    [3.0, 2.0]
    """,
)  # fmt: skip
max_pool_spread: Op = op(
    f"max_pool_spread(values, x, y, *, {_ATTRIBUTES})", _spread, opaque, infer_rule=_spread_infer,
    vjp=dict(
        values=lambda g, x, y, sizes, stride, padding, dilation: max_pool_gather(
            g, x, y, sizes=sizes, stride=stride, padding=padding, dilation=dilation
        ),
        x=0, y=0,
    ),
    batch=unchanged, flops=_flops_of_ties, traits=("internal", "keeps order"), examples=_examples("y"),
    oracle=_spread_oracle, native="pooling:max_pool_spread", direct=True,
    doc="Each window's value in equal shares to those of its elements of x that are its maximum y.",
)  # fmt: skip
max_pool_gather: Op = op(
    f"max_pool_gather(values, x, y, *, {_ATTRIBUTES})", _gather, opaque, infer_rule=_gather_infer,
    vjp=dict(
        values=lambda g, x, y, sizes, stride, padding, dilation: max_pool_spread(
            g, x, y, sizes=sizes, stride=stride, padding=padding, dilation=dilation
        ),
        x=0, y=0,
    ),
    batch=unchanged, flops=_flops_of_ties, traits=("internal", "keeps order"), examples=_examples("x"),
    oracle=_gather_oracle,
    on_numpy="it belongs to second derivatives of maxima over windows, and takes places by NumPy",
    doc="Of each window the mean of the values at those elements of x that are its maximum y.",
)  # fmt: skip

# sums ---------------------------------------------------------------------------------------------------------------


def _sum(x: Any, **attrs: Any) -> Any:
    win = _windows(x, **attrs)
    return _in_float(lambda x: kernels.sum_pool(x, win), x)


def _sum_oracle(x: Any, **attrs: Any) -> Any:
    return total(_taps(x, _windows(x, **attrs), 0), 0)


def _sum_back(y: Any, *, extents: Any, **attrs: Any) -> Any:
    win = _extended(y, extents, **attrs)
    return _in_float(lambda y: kernels.sum_spread(y, win), y)


def _extended(y: Any, extents: Any, sizes: Any, stride: Any = 1, padding: Any = 0, dilation: Any = 1) -> Windows:
    if not isinstance(extents, (tuple, list)) or not isinstance(sizes, (tuple, list)) or len(extents) != len(sizes):
        raise ValueError(f"extents and sizes must have one number an axis, got {extents!r} and {sizes!r}")
    win = windows(extents, tuple(sizes), stride, padding, dilation)
    if len(y.shape) < len(sizes) or tuple(y.shape[len(y.shape) - len(sizes) :]) != win.outputs:
        raise ValueError(f"windows stand at {win.outputs} places, and y has shape {tuple(y.shape)}")
    return win


def _sum_back_infer(y: Aval, *, extents: Any, **attrs: Any) -> Aval:
    win = _extended(y, extents, **attrs)
    return Aval((*y.shape[: y.ndim - len(win.sizes)], *win.sizes), y.dtype)


def _sum_back_oracle(y: Any, *, extents: Any, **attrs: Any) -> Any:
    win = _extended(y, extents, **attrs)
    count = math.prod(win.sizes)
    ones = np.eye(count, dtype=y.dtype).reshape(count, *win.sizes)
    seen = total(_taps(ones, win, 0), 0).reshape(count, -1)  # how often each window sees each element
    lead = y.shape[: y.ndim - len(win.sizes)]
    return (y.reshape(*lead, -1) @ seen.T).reshape(*lead, *win.sizes)


sum_pool: Op = op(
    f"sum_pool(x, *, {_ATTRIBUTES})", _sum, opaque, infer_rule=_max_infer, batch=unchanged, flops=_flops,
    vjp=dict(
        x=lambda g, x_aval, sizes, stride, padding, dilation: sum_pool_spread(
            g, extents=tuple(x_aval.shape[len(x_aval.shape) - len(sizes) :]), sizes=sizes, stride=stride,
            padding=padding, dilation=dilation,
        )
    ),
    oracle=_sum_oracle, traits=("linear", "keeps order"), native="pooling:sum_pool", direct=True,
    examples=tuple(zip((((2, 4, 6),), ((1, 5, 4),), ((2, 5),)), _EXAMPLES, strict=True)),
    doc="""The sum of each window over the last axes, as many as `sizes` has; padding puts in zeros.

    >>> import tensorgraph as tg
    >>> tg.sum_pool([1.0, 3.0, 2.0, 0.0], (2,), stride=2).tolist()
    [4.0, 2.0]
    """,
)  # fmt: skip
sum_pool_spread: Op = op(
    f"sum_pool_spread(y, *, extents: Sequence[int], {_ATTRIBUTES})", _sum_back, opaque, infer_rule=_sum_back_infer,
    vjp=dict(
        y=lambda g, sizes, stride, padding, dilation: sum_pool(
            g, sizes=sizes, stride=stride, padding=padding, dilation=dilation
        )
    ),
    batch=unchanged, oracle=_sum_back_oracle, traits=("linear", "internal", "keeps order"),
    native="pooling:sum_pool_spread", direct=True,
    flops=lambda y, *, extents, sizes, **attrs: y.size * math.prod(sizes),
    examples=(
        (((2, 2, 3),), dict(extents=(4, 6), **_EXAMPLES[0])), (((1, 3, 4),), dict(extents=(5, 4), **_EXAMPLES[1])),
        (((2, 4),), dict(extents=(5,), **_EXAMPLES[2])),
    ),
    doc="Each window's number added to all elements that it sees, of a tensor that has `extents` along its last axes.",
)  # fmt: skip
