"""Tensors from nothing. While a trace is active these record too."""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgraph.aval import Aval, canonical_dtype, default_dtype
from tensorgraph.declare import op
from tensorgraph.op import creation


def _shape(shape: Any) -> tuple[int, ...]:
    sizes = (shape,) if isinstance(shape, (int, np.integer)) else tuple(shape)
    if any(isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 0 for n in sizes):
        raise ValueError(f"a shape holds non-negative integers, got {shape!r}")
    return tuple(int(n) for n in sizes)


def _dtype(dtype: Any) -> np.dtype[Any]:
    return default_dtype() if dtype is None else canonical_dtype(dtype)


def _full_dtype(value: Any, dtype: Any) -> np.dtype[Any]:
    if dtype is not None:
        return canonical_dtype(dtype)
    return default_dtype() if isinstance(value, float) else np.asarray(value).dtype


zeros = op(
    "zeros(*, shape, dtype=None)", lambda *, shape, dtype=None: np.zeros(_shape(shape), _dtype(dtype)), creation,
    infer_rule=lambda *, shape, dtype: Aval(_shape(shape), _dtype(dtype)), examples=(((), dict(shape=(2, 3))),),
    doc="Zeros of a shape, of the default dtype unless said.",
)  # fmt: skip
ones = op(
    "ones(*, shape, dtype=None)", lambda *, shape, dtype=None: np.ones(_shape(shape), _dtype(dtype)), creation,
    infer_rule=lambda *, shape, dtype: Aval(_shape(shape), _dtype(dtype)), examples=(((), dict(shape=())),),
    doc="Ones of a shape, of the default dtype unless said.",
)  # fmt: skip
full = op(
    "full(*, shape, value, dtype=None)",
    lambda *, shape, value, dtype=None: np.full(_shape(shape), value, _full_dtype(value, dtype)), creation,
    infer_rule=lambda *, shape, value, dtype: Aval(_shape(shape), _full_dtype(value, dtype)),
    examples=(((), dict(shape=(2,), value=0.5)),),
    doc="One value over a shape.",
)  # fmt: skip
eye = op(
    "eye(*, n, dtype=None)", lambda *, n, dtype=None: np.eye(n, dtype=_dtype(dtype)), creation,
    infer_rule=lambda *, n, dtype: Aval((n, n), _dtype(dtype)), examples=(((), dict(n=3)),),
    doc="The identity matrix of n rows.",
)  # fmt: skip


def _arange(*, start: Any, stop: Any = None, step: Any = 1, dtype: Any = None) -> Any:
    kind: Any = dtype
    if stop is None:
        start, stop = 0, start
    if kind is None and any(isinstance(v, float) for v in (start, stop, step)):
        kind = default_dtype()
    wanted: Any = None if kind is None else canonical_dtype(kind)
    return np.arange(start, stop, step, wanted)


arange = op(
    "arange(*, start, stop=None, step=1, dtype=None)", _arange, creation,
    infer_rule=lambda **attrs: Aval(_arange(**attrs).shape, _arange(**attrs).dtype),
    examples=(((), dict(start=5)), ((), dict(start=1, stop=2, step=0.25))),
    doc="""Evenly spaced numbers, as NumPy: arange(stop) or arange(start, stop, step).

    >>> import tensorgraph as tg
    >>> tg.arange(3)
    tensor([0, 1, 2], i64)
    """,
)  # fmt: skip


def _one_hot(labels: Any, *, classes: int, dtype: Any = None) -> Any:
    return (labels[..., None] == np.arange(classes)).astype(_dtype(dtype))


one_hot = op(
    "one_hot(labels, *, classes, dtype=None)", _one_hot, creation, vjp=dict(labels=None),
    infer_rule=lambda labels, *, classes, dtype: Aval((*labels.shape, classes), _dtype(dtype)),
    examples=(((np.array([0, 2, 1]),), dict(classes=3)),),
    doc="A new last axis of `classes` zeros with a one at each label; a label outside gives zeros only.",
)  # fmt: skip
