"""Windows that slide over the last axes of a tensor: what convolutions and pools are told of them, read once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tensorgraph.engine.op import float_dtype, settle

__all__ = [
    "Windows", "convolution_windows", "edges", "per_axis", "require_bias", "result_dtype", "summing_dtype",
    "transposed_windows", "weight_windows", "windows",
]  # fmt: skip

Sizes = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Windows:
    """Where windows lie, one number an axis.

    Attributes
    ----------
    sizes : tuple of int
        Of the tensor along these axes.
    kernel, stride, dilation : tuple of int
        Elements of a window, steps from one window to the next, steps from one element of a window to the next.
    edges : tuple of (int, int)
        Elements that are put in before and after.
    outputs : tuple of int
        The number of windows.
    """

    sizes: Sizes
    kernel: Sizes
    stride: Sizes
    edges: tuple[tuple[int, int], ...]
    dilation: Sizes
    outputs: Sizes


def per_axis(value: Any, count: int, what: str, least: int) -> Sizes:
    """An attribute that is one integer for all axes, or one an axis.

    Raises
    ------
    ValueError, TypeError
    """
    items = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    for item in items:
        if isinstance(item, bool) or not isinstance(item, (int, np.integer)):
            raise TypeError(f"{what} must be an integer or one for each of {count} axes, got {value!r}")
        if item < least:
            raise ValueError(f"{what} must be at least {least}, got {value!r}")
    if len(items) == 1:
        items *= count
    if len(items) != count:
        raise ValueError(f"{what} must be one integer or {count}, one an axis, got {value!r}")
    return tuple(int(item) for item in items)


def edges(
    padding: Any, sizes: Sequence[int], kernel: Sizes, stride: Sizes, dilation: Sizes
) -> tuple[tuple[int, int], ...]:
    """How many elements are put in before and after each axis."""
    count = len(sizes)
    if isinstance(padding, str):
        if padding not in ("same", "valid"):
            raise ValueError(f"padding in words is 'same' or 'valid', got {padding!r}")
        if padding == "valid":
            return ((0, 0),) * count
        missing = [
            max((-(-n // s) - 1) * s + d * (k - 1) + 1 - n, 0)
            for n, k, s, d in zip(sizes, kernel, stride, dilation, strict=True)
        ]
        return tuple((m // 2, m - m // 2) for m in missing)
    if isinstance(padding, (tuple, list)) and any(isinstance(p, (tuple, list)) for p in padding):
        if len(padding) != count or not all(isinstance(p, (tuple, list)) and len(p) == 2 for p in padding):
            raise ValueError(
                f"padding by pairs (before, after) must have {count} of them, one an axis, got {padding!r}"
            )
        before, after = (per_axis(tuple(p[side] for p in padding), count, "padding", 0) for side in (0, 1))
        return tuple(zip(before, after, strict=True))
    return tuple((p, p) for p in per_axis(padding, count, "padding", 0))


def windows(sizes: Sequence[int], kernel: Any, stride: Any, padding: Any, dilation: Any) -> Windows:
    """Read what an op was told of its windows.

    Parameters
    ----------
    sizes : sequence of int
        Of the axes that windows slide over.
    kernel, stride, dilation : int or sequence of int
    padding : int, sequence of int or of pairs, "same" or "valid"
        "same" gives ``ceil(size / stride)`` windows; what is put in is shared by both sides, an odd one goes to the
        end.

    Returns
    -------
    Windows

    Raises
    ------
    ValueError, TypeError
        Also where no window fits.

    Examples
    --------
    >>> from tensorgraph.ops.windows import windows
    >>> windows((28, 28), 5, 1, "same", 1).edges
    ((2, 2), (2, 2))
    >>> windows((28,), 3, 2, 0, 1).outputs
    (13,)
    """
    count = len(sizes)
    k, s, d = (
        per_axis(v, count, what, 1)
        for v, what in ((kernel, "the kernel's size"), (stride, "stride"), (dilation, "dilation"))
    )
    pairs = edges(padding, sizes, k, s, d)
    outputs = []
    for axis, (n, (lo, hi)) in enumerate(zip(sizes, pairs, strict=True)):
        whole, span = n + lo + hi, d[axis] * (k[axis] - 1) + 1
        if span > whole:
            with_padding = f", {whole} with its padding" if whole > n else ""
            raise ValueError(
                f"a window spans {span} elements, and axis {axis - count} has {n}{with_padding}: give padding=, or a "
                "smaller kernel"
            )
        outputs.append((whole - span) // s[axis] + 1)
    return Windows(tuple(sizes), k, s, pairs, d, tuple(outputs))


# of convolutions ----------------------------------------------------------------------------------------------------


def result_dtype(*values: Any) -> np.dtype[Any]:
    dtypes = [v.dtype for v in values if v is not None]
    for dtype in dtypes:
        if dtype.kind == "b":
            raise TypeError("convolution takes numbers, got booleans; convert with .astype('float32')")
    return float_dtype(settle(np.result_type(*dtypes), dtypes))


def summing_dtype(kind: np.dtype[Any]) -> np.dtype[Any]:
    return np.dtype(np.float32) if kind == np.float16 else kind


def _axes(x: Any, what: str = "x") -> int:
    """The number of axes that windows slide over."""
    if not isinstance(getattr(x, "shape", None), tuple) or len(x.shape) < 3:
        raise ValueError(
            f"{what} must have axes (examples, channels, positions...), got shape {getattr(x, 'shape', ())}; one "
            "example gets its first axis by x[None]"
        )
    return len(x.shape) - 2


def _require_groups(groups: Any, channels: int, what: str) -> None:
    if isinstance(groups, bool) or not isinstance(groups, (int, np.integer)):
        raise TypeError(f"groups must be an integer, got {groups!r}")
    if groups < 1 or channels % groups:
        raise ValueError(f"groups must divide the {what}, {channels}, got {groups}")


def require_bias(b: Any, channels: int) -> None:
    if b is not None and b.shape != (channels,):
        raise ValueError(f"the bias must have shape ({channels},), one number a channel of the output, got {b.shape}")


def _weight(w: Any, count: int) -> None:
    if not isinstance(getattr(w, "shape", None), tuple) or len(w.shape) != count + 2:
        raise ValueError(
            f"the weight must have {count + 2} axes, those of two kinds of channels and the kernel's {count}, got "
            f"shape {getattr(w, 'shape', ())}"
        )


def convolution_windows(x: Any, w: Any, stride: Any, padding: Any, dilation: Any, groups: Any) -> Windows:
    """What the arguments of a convolution say, checked against each other."""
    count = _axes(x)
    _weight(w, count)
    _require_groups(groups, w.shape[0], "channels of the output")
    if x.shape[1] != w.shape[1] * groups:
        of = f"{groups} groups of {w.shape[1]}" if groups > 1 else f"{w.shape[1]}"
        hint = "; are the channels last? move them: tg.moveaxis(x, -1, 1)" if x.shape[-1] == w.shape[1] * groups else ""
        raise ValueError(f"x has {x.shape[1]} channels on axis 1, and the weight, of shape {w.shape}, takes {of}{hint}")
    return windows(x.shape[2:], w.shape[2:], stride, padding, dilation)


def transposed_windows(
    y: Any, w: Any, stride: Any, padding: Any, dilation: Any, groups: Any, output_padding: Any
) -> Windows:
    count = _axes(y, "x")
    _weight(w, count)
    _require_groups(groups, w.shape[0], "channels of x")
    if y.shape[1] != w.shape[0]:
        raise ValueError(
            f"x has {y.shape[1]} channels on axis 1, and the weight, of shape {w.shape}, takes {w.shape[0]}"
        )
    if isinstance(padding, str):
        raise ValueError(f"a transposed convolution takes its padding in numbers, got {padding!r}")
    kernel = per_axis(w.shape[2:], count, "the kernel's size", 1)
    s, d = per_axis(stride, count, "stride", 1), per_axis(dilation, count, "dilation", 1)
    extra = per_axis(output_padding, count, "output_padding", 0)
    if any(e >= n for e, n in zip(extra, s, strict=True)):
        raise ValueError(f"output_padding must be less than the stride, {stride}, got {output_padding}; pad the result")
    if 0 in y.shape[2:]:
        raise ValueError(f"x must have a position along each axis, got shape {y.shape}")
    pairs = edges(padding, y.shape[2:], kernel, s, d)
    sizes = tuple(
        (n - 1) * s[a] + d[a] * (kernel[a] - 1) + 1 + extra[a] - lo - hi
        for a, (n, (lo, hi)) in enumerate(zip(y.shape[2:], pairs, strict=True))
    )
    if any(n < 0 for n in sizes):
        raise ValueError(f"the padding {padding!r} cuts more away than there is: sizes {sizes} would remain")
    return Windows(sizes, kernel, s, pairs, d, tuple(y.shape[2:]))


def weight_windows(x: Any, y: Any, sizes: Any, stride: Any, padding: Any, dilation: Any, groups: Any) -> Windows:
    count = _axes(x)
    if len(y.shape) != count + 2 or y.shape[0] != x.shape[0]:
        raise ValueError(f"x and y must have the same axes and as many examples, got shapes {x.shape} and {y.shape}")
    _require_groups(groups, x.shape[1], "channels of x")
    _require_groups(groups, y.shape[1], "channels of y")
    win = windows(x.shape[2:], sizes, stride, padding, dilation)
    if win.outputs != tuple(y.shape[2:]):
        raise ValueError(f"windows of {win.kernel} stand at {win.outputs} places, and y has {tuple(y.shape[2:])}")
    return win
