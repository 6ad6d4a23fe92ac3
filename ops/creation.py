"""Tensors from nothing. While a trace is active these record too."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tensorgraph.arguments.depth import DEEP, is_deep
from tensorgraph.engine.aval import Aval, canonical_axis, canonical_dtype, default_dtype
from tensorgraph.engine.declare import op
from tensorgraph.engine.op import Op, creation, require_fit
from tensorgraph.engine.tensor import Tensor


def integers(values: Any, what: str) -> tuple[int, ...]:
    """One integer or a sequence of them as a tuple; 2.0 and True are none."""
    items = values if isinstance(values, (tuple, list)) else (values,)
    if any(type(n) is not int and (isinstance(n, bool) or not isinstance(n, (int, np.integer))) for n in items):
        if is_deep(values):
            raise TypeError(f"{what} is {DEEP}")
        raise TypeError(f"{what} must be an integer or a tuple of integers, got {values!r}")
    return tuple(int(n) for n in items)


def canonical_shape(shape: Any) -> tuple[int, ...]:
    """A shape as a tuple of non-negative integers."""
    sizes = integers(shape, "a shape")
    if any(n < 0 for n in sizes):
        raise ValueError(f"a shape holds non-negative integers, got {shape!r}")
    return sizes


def canonical_size(n: Any, what: str) -> int:
    """A number of things: a non-negative integer."""
    if isinstance(n, bool) or not isinstance(n, (int, np.integer)):
        raise TypeError(f"{what} must be an integer, got {n!r}")
    if n < 0:
        raise ValueError(f"{what} must not be negative, got {n}")
    return int(n)


def number(value: Any, what: str) -> Any:
    """A Python number, as an attribute must be that is one."""
    if not isinstance(value, (int, float, np.number)):
        raise TypeError(f"{what} must be a number, got {value!r}")
    return value


def beside(x: Any, made: Op, **attrs: Any) -> Any:
    """What an op of this module makes: an array beside an array, a tensor beside a tensor.

    So a rule that needs ``arange(n)`` captures none in a graph, where n may be a name.
    """
    return made.public(**attrs) if isinstance(x, Tensor) else made(**attrs)


def _dtype(dtype: Any) -> np.dtype[Any]:
    return default_dtype() if dtype is None else canonical_dtype(dtype)


def _full_dtype(value: Any, dtype: Any) -> np.dtype[Any]:
    if dtype is not None:
        return canonical_dtype(dtype)
    return default_dtype() if isinstance(value, float) else np.asarray(value).dtype


def _full(*, shape: Any, value: Any, dtype: Any = None) -> Any:
    kind = _full_dtype(value, dtype)
    require_fit(kind, (value,))  # NumPy 2.0 would wrap it round
    return np.full(canonical_shape(shape), number(value, "the value"), kind)


def _full_infer(*, shape: Any, value: Any, dtype: Any) -> Aval:
    return Aval(canonical_shape(shape), _full(shape=(), value=value, dtype=dtype).dtype)  # does the value fit?


zeros = op(
    "zeros(*, shape, dtype=None)", lambda *, shape, dtype=None: np.zeros(canonical_shape(shape), _dtype(dtype)),
    creation,
    also=("empty",), infer_rule=lambda *, shape, dtype: Aval(canonical_shape(shape), _dtype(dtype)),
    examples=(((), dict(shape=(2, 3))),),
    doc="Zeros of a shape, of the default dtype unless said. `empty` is the same: tensors are never filled later.",
)  # fmt: skip
ones = op(
    "ones(*, shape, dtype=None)", lambda *, shape, dtype=None: np.ones(canonical_shape(shape), _dtype(dtype)),
    creation,
    infer_rule=lambda *, shape, dtype: Aval(canonical_shape(shape), _dtype(dtype)), examples=(((), dict(shape=())),),
    doc="Ones of a shape, of the default dtype unless said.",
)  # fmt: skip
full = op(
    "full(*, shape, value: float, dtype=None)", _full, creation, infer_rule=_full_infer,
    synonyms={"fill_value": "value"},
    examples=(((), dict(shape=(2,), value=0.5)), ((), dict(shape=(), value=2)), ((), dict(shape=(2, 1), value=True))),
    doc="One value over a shape.",
)  # fmt: skip


def _eye(*, n: Any, m: Any = None, k: Any = 0, dtype: Any = None) -> Any:
    rows, columns = _eye_shape(n, m, k)
    return np.eye(rows, columns, max(min(int(k), columns), -rows), _dtype(dtype))  # NumPy's k is no longer than C's


def _eye_shape(n: Any, m: Any, k: Any) -> tuple[int, int]:
    if len(integers(k, "k")) != 1 or isinstance(k, (tuple, list)):
        raise TypeError(f"k must be an integer, got {k!r}")
    rows = canonical_size(n, "n")
    return rows, rows if m is None else canonical_size(m, "m")


eye = op(
    "eye(*, n: int, m: int | None = None, k: int = 0, dtype=None)", _eye, creation, also=("identity",),
    infer_rule=lambda *, n, m, k, dtype: Aval(_eye_shape(n, m, k), _dtype(dtype)),
    examples=(((), dict(n=3)), ((), dict(n=2, m=4, k=1))),
    doc="""Ones on a diagonal, zeros elsewhere: the identity matrix of n rows, or n rows and m columns with diagonal k.

    >>> import tensorgraph as tg
    >>> tg.eye(2, 3, k=1)
    tensor([[0., 1., 0.],
            [0., 0., 1.]], f32)
    """,
)  # fmt: skip


def _arange(*, start: Any, stop: Any = None, step: Any = 1, dtype: Any = None, computed: bool = True) -> Any:
    kind: Any = dtype
    if stop is None:
        start, stop = 0, start
    for name, value in (("start", start), ("stop", stop), ("step", step)):
        number(value, name)
    if step == 0:
        raise ValueError("step must not be 0")
    if not all(map(math.isfinite, (start, stop, step))):
        raise ValueError(f"arange takes finite numbers, got {start!r}, {stop!r}, {step!r}")
    if kind is None and any(isinstance(v, float) for v in (start, stop, step)):
        kind = default_dtype()
    wanted: Any = None if kind is None else canonical_dtype(kind)
    length = max(math.ceil((stop - start) / step), 0)  # as NumPy counts them
    if wanted is not None and wanted.kind == "b" and length > 2:
        raise TypeError(f"arange of booleans has at most two of them, and this would have {length}")
    if not computed:
        return Aval((length,), np.arange(start, start + step, step, wanted).dtype)  # type: ignore[call-overload]
    return np.arange(start, stop, step, wanted)  # type: ignore[call-overload]


arange = op(
    "arange(*, start: float, stop: float | None = None, step: float = 1, dtype=None)", _arange, creation,
    infer_rule=lambda **attrs: _arange(**attrs, computed=False),
    examples=(((), dict(start=5)), ((), dict(start=1, stop=2, step=0.25)), ((), dict(start=2.0, stop=0, step=-0.5))),
    doc="""Evenly spaced numbers, as NumPy: arange(stop) or arange(start, stop, step).

    >>> import tensorgraph as tg
    >>> tg.arange(3)
    tensor([0, 1, 2], i64)
    """,
)  # fmt: skip


def _spaced(function: Any) -> Any:
    """NumPy's function of this spacing, computed in float64 and given in the wanted dtype."""

    def forward(*, start: Any, stop: Any, num: Any = 50, endpoint: Any = True, dtype: Any = None, **others: Any) -> Any:
        kind = default_dtype() if dtype is None else canonical_dtype(dtype)
        _spaced_infer(start=start, stop=stop, num=num, endpoint=endpoint, dtype=dtype, **others)
        with np.errstate(all="ignore"):  # what is not finite makes NaN
            return function(start, stop, canonical_size(num, "num"), bool(endpoint), dtype=kind, **others)

    return forward


def _spaced_infer(*, start: Any, stop: Any, num: Any, endpoint: Any, dtype: Any, **others: Any) -> Aval:
    for name, value in {"start": start, "stop": stop, **others}.items():
        number(value, name)
    return Aval((canonical_size(num, "num"),), _dtype(dtype))


linspace = op(
    "linspace(*, start: float, stop: float, num=50, endpoint=True, dtype=None)", _spaced(np.linspace), creation,
    infer_rule=_spaced_infer, synonyms={"steps": "num"},
    examples=(
        ((), dict(start=0, stop=1, num=5)), ((), dict(start=2.0, stop=-1.0, num=4, endpoint=False)),
        ((), dict(start=0.5, stop=1.5, num=1, dtype="float64")), ((), dict(start=0.0, stop=1.0, num=0)),
    ),
    doc="""`num` numbers evenly from `start` to `stop`, which is the last unless ``endpoint=False``.

    >>> import tensorgraph as tg
    >>> tg.linspace(0, 1, 5)
    tensor([0.  , 0.25, 0.5 , 0.75, 1.  ], f32)
    """,
)  # fmt: skip
logspace = op(
    "logspace(*, start: float, stop: float, num=50, endpoint=True, base=10.0, dtype=None)", _spaced(np.logspace),
    creation, infer_rule=_spaced_infer, synonyms={"steps": "num"},
    examples=(((), dict(start=0, stop=2, num=3)), ((), dict(start=1.0, stop=3.0, num=4, base=2.0, endpoint=False))),
    doc="Powers of `base` with exponents evenly from `start` to `stop`: as ``base ** linspace(start, stop, num)``.",
)  # fmt: skip
geomspace = op(
    "geomspace(*, start: float, stop: float, num=50, endpoint=True, dtype=None)", _spaced(np.geomspace), creation,
    infer_rule=_spaced_infer,
    examples=(((), dict(start=1, stop=1000, num=4)), ((), dict(start=4.0, stop=1.0, num=5, endpoint=False))),
    doc="`num` numbers from `start` to `stop` of which each is the same multiple of the one before.",
)  # fmt: skip


def _require_labels(labels: Any) -> Any:
    if labels.dtype.kind not in "iub":
        raise TypeError(f"labels must be integers, got {labels.dtype}; convert them with .astype('int64')")
    return labels


def _one_hot_shape(labels: Any, classes: Any, axis: Any) -> tuple[int, ...]:
    n, shape = canonical_size(classes, "classes"), _require_labels(labels).shape
    k = canonical_axis(axis, len(shape) + 1)
    return (*shape[:k], n, *shape[k:])


def _one_hot(labels: Any, *, classes: int, dtype: Any = None, axis: int = -1) -> Any:
    shape = _one_hot_shape(labels, classes, axis)
    k = canonical_axis(axis, len(shape))
    if labels.size and labels.dtype.kind != "b" and (labels.min() < 0 or labels.max() >= classes):
        outside = (labels < 0) | (labels >= classes)
        where = tuple(int(i) for i in np.argwhere(outside)[0])
        place = f" at {where if len(where) != 1 else where[0]}" if where else ""
        raise ValueError(f"label {labels[where]}{place} is outside [0, {classes})")
    every = np.arange(shape[k]).reshape(-1, *(1,) * (len(shape) - 1 - k))
    return (np.expand_dims(labels, k) == every).astype(_dtype(dtype))


one_hot = op(
    "one_hot(labels, *, classes: int, dtype=None, axis: int = -1)", _one_hot, creation, vjp=dict(labels=None), flops=1,
    native="gather:native_one_hot",
    scratch=0.25, batch=lambda call: call.run(
        call.whole(0), axis=canonical_axis(call.attrs["axis"], len(call.shape(0)) + 1) + 1
    ),
    infer_rule=lambda labels, *, classes, dtype, axis: Aval(_one_hot_shape(labels, classes, axis), _dtype(dtype)),
    traits=("labels", "bounded above", "bounded below", "checks"), synonyms={"num_classes": "classes"},
    examples=(((np.array([0, 2, 1]),), dict(classes=3)), ((np.array([[0, 2, 1]]),), dict(classes=4, axis=1))),
    doc="""A new axis of `classes` zeros with a one at each label; a label outside raises, with its position.

    >>> import tensorgraph as tg
    >>> tg.one_hot([0, 2], 3)
    tensor([[1., 0., 0.],
            [0., 0., 1.]], f32)
    """,
)  # fmt: skip
