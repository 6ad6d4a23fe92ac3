"""Convolution over any number of axes, and the two products that are its gradients.

All three are one sum, ``x[n, i, p·stride + k·dilation - edge]·w[o, i, k]·y[n, o, p]``, linear in each of the three
tensors: `convolution` leaves y open, `transposed_convolution` x and `convolution_weight` w. So the derivative of each
is among the others, to any order.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from tensorgraph.engine.aval import Aval
from tensorgraph.engine.batching import BatchCall, moved, one_by_one, reshaped, widened
from tensorgraph.engine.declare import op
from tensorgraph.engine.op import Op, contraction
from tensorgraph.jit import uniform
from tensorgraph.ops.convolution_forms import (
    oracle,
    reference,
    transposed_oracle,
    transposed_reference,
    weight_oracle,
    weight_reference,
)
from tensorgraph.ops.kernels.convolution import convolve, convolve_back, convolve_weight
from tensorgraph.ops.reduction import sum
from tensorgraph.ops.windows import (
    convolution_windows,
    require_bias,
    result_dtype,
    summing_dtype,
    transposed_windows,
    weight_windows,
    windows,
)


@functools.lru_cache(maxsize=1024)
def _given(sizes: Any, kernel: Any, stride: Any, padding: Any, dilation: Any) -> tuple[dict[str, Any], Any]:
    """The attributes of windows that are right, said in numbers, and how much of x lies behind the last one."""
    win = windows(sizes, kernel, stride, padding, dilation)
    left = tuple(
        n + lo + hi - d * (k - 1) - 1 - s * (o - 1)
        for n, (lo, hi), d, k, s, o in zip(
            win.sizes, win.edges, win.dilation, win.kernel, win.stride, win.outputs, strict=True
        )
    )
    return dict(stride=win.stride, padding=win.edges, dilation=win.dilation), left


def _cast(kind: np.dtype[Any], a: Any, b: Any) -> tuple[Any, Any]:
    work = summing_dtype(kind)
    return uniform(a, work), uniform(b, work)


# the sums on arrays -------------------------------------------------------------------------------------------------


def _forward(x: Any, w: Any, b: Any, *, stride: Any, padding: Any, dilation: Any, groups: Any) -> Any:
    win, kind = convolution_windows(x, w, stride, padding, dilation, groups), result_dtype(x, w, b)
    require_bias(b, w.shape[0])
    with np.errstate(all="ignore"):
        y = convolve(*_cast(kind, x, w), win, groups)
        if b is not None:
            y += b.astype(y.dtype, copy=False).reshape(-1, *(1,) * len(win.sizes))
        return y.astype(kind, copy=False)


def _transposed(
    y: Any, w: Any, b: Any, *, stride: Any, padding: Any, dilation: Any, groups: Any, output_padding: Any
) -> Any:
    win, kind = transposed_windows(y, w, stride, padding, dilation, groups, output_padding), result_dtype(y, w, b)
    require_bias(b, w.shape[1] * groups)
    with np.errstate(all="ignore"):
        x = convolve_back(*_cast(kind, y, w), win, groups)
        if b is not None:
            x += b.astype(x.dtype, copy=False).reshape(-1, *(1,) * len(win.sizes))
        return x.astype(kind, copy=False)


def _of_weight(x: Any, y: Any, *, sizes: Any, stride: Any, padding: Any, dilation: Any, groups: Any) -> Any:
    win, kind = weight_windows(x, y, sizes, stride, padding, dilation, groups), result_dtype(x, y)
    with np.errstate(all="ignore"):
        return convolve_weight(*_cast(kind, x, y), win, groups).astype(kind, copy=False)


# their shapes -------------------------------------------------------------------------------------------------------


def _infer(x: Aval, w: Aval, b: Aval | None, *, stride: Any, padding: Any, dilation: Any, groups: Any) -> Aval:
    win = convolution_windows(x, w, stride, padding, dilation, groups)
    require_bias(b, w.shape[0])
    return Aval((x.shape[0], w.shape[0], *win.outputs), result_dtype(x, w, b))


def _transposed_infer(
    y: Aval, w: Aval, b: Aval | None, *, stride: Any, padding: Any, dilation: Any, groups: Any, output_padding: Any
) -> Aval:
    win = transposed_windows(y, w, stride, padding, dilation, groups, output_padding)
    require_bias(b, w.shape[1] * groups)
    return Aval((y.shape[0], w.shape[1] * groups, *win.sizes), result_dtype(y, w, b))


def _weight_infer(x: Aval, y: Aval, *, sizes: Any, stride: Any, padding: Any, dilation: Any, groups: Any) -> Aval:
    win = weight_windows(x, y, sizes, stride, padding, dilation, groups)
    return Aval((y.shape[1], x.shape[1] // groups, *win.kernel), result_dtype(x, y))


# derivatives --------------------------------------------------------------------------------------------------------


def _x(g: Any, x_aval: Any, weight: Any, stride: Any, padding: Any, dilation: Any, groups: Any) -> Any:
    given, left = _given(x_aval.shape[2:], weight.shape[2:], stride, padding, dilation)
    return transposed_convolution(g, weight, None, **given, groups=groups, output_padding=left)


def _weight_of(g: Any, x: Any, weight_aval: Any, stride: Any, padding: Any, dilation: Any, groups: Any) -> Any:
    given, _ = _given(x.shape[2:], weight_aval.shape[2:], stride, padding, dilation)
    return convolution_weight(x, g, sizes=tuple(weight_aval.shape[2:]), **given, groups=groups)


def _bias_of(g: Any, bias_aval: Any) -> Any:
    return sum(g, axis=(0, *range(2, len(g.shape))))


def _transposed_x(g: Any, weight: Any, stride: Any, padding: Any, dilation: Any, groups: Any) -> Any:
    return convolution(g, weight, None, stride=stride, padding=padding, dilation=dilation, groups=groups)


def _transposed_weight(g: Any, x: Any, weight_aval: Any, stride: Any, padding: Any, dilation: Any, groups: Any) -> Any:
    return convolution_weight(
        g, x, sizes=tuple(weight_aval.shape[2:]), stride=stride, padding=padding, dilation=dilation, groups=groups
    )


# batches ------------------------------------------------------------------------------------------------------------


def _joined(x: Any, on: bool, size: int, axis: int) -> Any:
    """All examples along an axis of one example, one after the other; a shared tensor as it is."""
    if not on:
        return x
    x = moved(x, 0, axis)
    return reshaped(x, *x.shape[:axis], size * x.shape[axis + 1], *x.shape[axis + 2 :])


def _apart(x: Any, size: int, axis: int) -> Any:
    """What `_joined` undoes: the examples along the first axis again."""
    x = reshaped(x, *x.shape[:axis], size, x.shape[axis] // size, *x.shape[axis + 1 :])
    return moved(x, axis, 0)


def _batch(call: BatchCall) -> Any:
    """Examples of images alone are more images; those of weights are more groups, or more channels of the output."""
    (x, w, b), (on_x, on_w, on_b) = call.args, call.on
    groups, size = call.attrs["groups"], call.size
    if not size:
        return one_by_one(call)
    if not on_w:
        y = (
            _apart(call.run(_joined(x, on_x, size, 0), w, None if on_b else b), size, 0)
            if on_x
            else call.run(x, w, None)
        )
    elif not on_x and groups == 1 and call.op is convolution:
        y = _apart(call.run(x, _joined(w, True, size, 0), None), size, 1)
    elif not on_x and groups == 1:
        y = _apart(call.run(x, _joined(w, True, size, 1), None), size, 1)
    else:
        own = _joined(call.whole(0), True, size, 1), _joined(w, True, size, 0)
        y = _apart(call.run(*own, None, groups=groups * size), size, 1)
    if b is None or (not on_w and on_x and not on_b):
        return y
    b = reshaped(b, *b.shape, *(1,) * (len(call.shape(0)) - 2))
    return y + (widened(b, len(call.shape(0)), True) if on_b else b)


def _weight_batch(call: BatchCall) -> Any:
    (x, y), (on_x, on_y) = call.args, call.on
    groups, size = call.attrs["groups"], call.size
    if not size:
        return one_by_one(call)
    if groups == 1 and not (on_x and on_y):
        w = call.run(_joined(x, on_x, size, 1), _joined(y, on_y, size, 1))
        return _apart(w, size, 1 if on_x else 0)
    w = call.run(*(_joined(call.whole(i), True, size, 1) for i in (0, 1)), groups=groups * size)
    return _apart(w, size, 0)


# their cost ---------------------------------------------------------------------------------------------------------


def _flops(x: Aval, w: Aval, b: Aval | None, **attrs: Any) -> int:
    y = _infer(x, w, b, **attrs)
    return 2 * y.size * math.prod(w.shape[1:]) + (0 if b is None else y.size)


def _transposed_flops(y: Aval, w: Aval, b: Aval | None, **attrs: Any) -> int:
    return 2 * y.size * math.prod(w.shape[1:]) + (0 if b is None else _transposed_infer(y, w, b, **attrs).size)


def _weight_flops(x: Aval, y: Aval, *, groups: int, sizes: Any, **attrs: Any) -> int:
    win = weight_windows(x, y, sizes, groups=groups, **attrs)
    return 2 * y.size * (x.shape[1] // groups) * math.prod(win.kernel)


# declarations -------------------------------------------------------------------------------------------------------

_STRIDE, _DILATION = "stride: int | Sequence[int] = 1", "dilation: int | Sequence[int] = 1"
_PADDING = "padding: int | str | Sequence[int] | Sequence[tuple[int, int]] = 0"
_ATTRIBUTES = f"{_STRIDE}, {_PADDING}, {_DILATION}, groups: int = 1"

convolution: Op = op(
    f"convolution(x, weight, bias=None, *, {_ATTRIBUTES})", _forward, contraction, infer_rule=_infer,
    reference=reference, batch=_batch, flops=_flops, oracle=oracle, native="convolution:convolution", direct=True,
    vjp=dict(x=_x, weight=_weight_of, bias=_bias_of), traits=("analytic",),
    examples=(
        (((2, 3, 7), (4, 3, 3), (4,)), {}),
        (((2, 4, 6, 5), (6, 2, 3, 2), None), dict(stride=(2, 1), padding=1, groups=2)),
        (((2, 2, 5, 6), (3, 2, 2, 3), (3,)), dict(padding="same", dilation=(1, 2))),
        (((3, 2, 4, 4), (5, 2, 1, 1), None), {}),
        (((2, 3, 7, 7), (6, 1, 3, 3), (6,)), dict(padding=((1, 0), (2, 1)), groups=3)),
        (((1, 2, 3, 4, 5), (2, 2, 2, 2, 3), (2,)), dict(stride=2, padding=(1, 0, 1))),
        (((0, 2, 5), (3, 2, 2), (3,)), {}),
    ),
    doc="""Products of windows of x with a weight, summed: convolution as in networks, without turning the kernel round.

    ``y[n, o, p] = bias[o] + sum of x[n, i, p·stride + k·dilation - padding]·weight[o, i, k]`` over the channels i of
    o's group and the positions k of the kernel, over any number of axes. x is (examples, channels, positions...), the
    weight (channels of the output, channels of x / groups, positions of the kernel...); y has
    ``(positions + padding - dilation·(kernel - 1) - 1) // stride + 1`` positions along each axis. Padding is a number
    for all sides, one an axis, a pair (before, after) an axis, "valid" or "same", which gives ceil(positions / stride)
    of them with the odd one of what is put in at the end. float16 is summed in float32.

    >>> import tensorgraph as tg
    >>> tg.convolution([[[1.0, 2.0, 4.0]]], [[[1.0, 1.0]]]).tolist()
    [[[3.0, 6.0]]]
    """,
)  # fmt: skip
transposed_convolution: Op = op(
    f"transposed_convolution(x, weight, bias=None, *, {_ATTRIBUTES}, output_padding: int | Sequence[int] = 0)",
    _transposed, contraction, infer_rule=_transposed_infer,
    reference=transposed_reference, batch=_batch, flops=_transposed_flops, oracle=transposed_oracle,
    native="convolution:transposed_convolution", direct=True,
    vjp=dict(x=_transposed_x, weight=_transposed_weight, bias=_bias_of), traits=("analytic",),
    examples=(
        (((2, 3, 5), (3, 2, 3), (2,)), {}),
        (((2, 4, 3, 4), (4, 3, 3, 2), None), dict(stride=(2, 1), padding=(1, 0), groups=2, output_padding=(1, 0))),
        (((2, 2, 3, 3), (2, 3, 2, 2), (3,)), dict(stride=2, dilation=2, padding=((1, 0), (0, 2)))),
        (((1, 2, 2, 3, 2), (2, 2, 2, 2, 3), None), dict(stride=2)),
    ),
    doc="""The gradient of `convolution` in its x as a layer: each element of x adds a weighted kernel to the result.

    x is (examples, channels, positions...) and the weight (channels of x, channels of the result / groups, positions of
    the kernel...), as it stands in the convolution whose gradient this is. The result has ``(positions - 1)·stride +
    dilation·(kernel - 1) + 1 - padding + output_padding`` positions along each axis. (Zeiler et al. 2010)

    >>> import tensorgraph as tg
    >>> tg.transposed_convolution([[[1.0, 2.0]]], [[[1.0, 10.0]]], stride=2).tolist()
    [[[1.0, 10.0, 2.0, 20.0]]]
    """,
)  # fmt: skip
convolution_weight: Op = op(
    f"convolution_weight(x, y, *, sizes: Sequence[int], {_ATTRIBUTES})", _of_weight, contraction,
    infer_rule=_weight_infer, reference=weight_reference, batch=_weight_batch, flops=_weight_flops,
    oracle=weight_oracle, traits=("analytic", "internal"), native="convolution:convolution_weight", direct=True,
    vjp=dict(
        x=lambda g, x_aval, y, stride, padding, dilation, groups: _x(y, x_aval, g, stride, padding, dilation, groups),
        y=lambda g, x, stride, padding, dilation, groups: convolution(
            x, g, None, stride=stride, padding=padding, dilation=dilation, groups=groups
        ),
    ),
    examples=(
        (((2, 3, 7), (2, 4, 5)), dict(sizes=(3,))),
        (((2, 4, 6, 5), (2, 6, 3, 6)), dict(sizes=(3, 2), stride=(2, 1), padding=1, groups=2)),
        (((2, 2, 5, 6), (2, 3, 4, 2)), dict(sizes=(2, 3), dilation=(1, 2))),
    ),
    doc="""The gradient of `convolution` in its weight, for y in the place of its output's cotangent.

    >>> import tensorgraph as tg
    >>> tg.convolution_weight([[[1.0, 2.0, 4.0]]], [[[1.0, 1.0]]], sizes=(2,)).tolist()
    [[[3.0, 6.0]]]
    """,
)  # fmt: skip
