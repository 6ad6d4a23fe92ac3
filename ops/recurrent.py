"""Recurrent layers over whole sequences: LSTM, GRU, and the plain one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from tensorgraph.engine.aval import Aval
from tensorgraph.engine.batching import BatchCall, repeated, reshaped
from tensorgraph.engine.declare import fused_op
from tensorgraph.engine.op import settle
from tensorgraph.ops.creation import zeros
from tensorgraph.ops.exponential import relu, sigmoid, tanh
from tensorgraph.ops.kernels import recurrent as kernels
from tensorgraph.ops.kernels.rows import work_dtype
from tensorgraph.ops.logic import where
from tensorgraph.ops.shape import astype, reshape, stack

__all__ = ["gru", "lstm", "rnn"]

Activation = Literal["tanh", "relu"]
ACTIVATIONS: tuple[Activation, ...] = ("tanh", "relu")


def _dtype(*inputs: Any) -> np.dtype[Any]:
    dtypes = [a.dtype for a in inputs if a is not None]
    return settle(np.result_type(*dtypes), dtypes)


def _check(
    name: str, gates: int, x: Aval, weight: Aval, recurrent: Aval, biases: dict[str, Any], states: dict[str, Any],
    lengths: Any, reverse: Any,
) -> tuple[Aval, Aval]:  # fmt: skip
    """The types of the outputs and of a state; what does not fit is refused."""
    given = {"x": x, "weight": weight, "recurrent": recurrent, **biases, **states}
    for what, a in given.items():
        if a is not None and (not isinstance(a, Aval) or a.dtype.kind != "f"):
            raise TypeError(f"{name} takes {what} of floats, got {a}; convert it with .astype('float32')")
    if x.ndim != 3:
        raise ValueError(
            f"{name} takes x of shape (batch, time, inputs), got {x.shape}; where time comes first take "
            "x.swapaxes(0, 1)"
        )
    batch, time, inputs = x.shape
    if recurrent.ndim != 2 or recurrent.shape[1] != gates * recurrent.shape[0]:
        expected = "(units, units)" if gates == 1 else f"(units, {gates} units)"
        raise ValueError(f"{name} takes recurrent weights of shape {expected}, got {recurrent.shape}")
    units, width = recurrent.shape
    if weight.shape != (inputs, width):
        hint = "; PyTorch's weight_ih is the transpose" if weight.shape == (width, inputs) else ""
        raise ValueError(
            f"{name} takes weight of shape (inputs, {width}) for {inputs} inputs, got {weight.shape}{hint}"
        )
    for what, a in biases.items():
        if a is not None and a.shape != (width,):
            raise ValueError(f"{name} takes {what} of shape {(width,)}, got {a.shape}")
    for what, a in states.items():
        if a is not None and a.shape != (batch, units):
            raise ValueError(f"{name} takes the state {what} of shape (batch, units), {(batch, units)}, got {a.shape}")
    if lengths is not None and (lengths.dtype.kind not in "iu" or lengths.shape != (batch,)):
        raise ValueError(f"{name} takes lengths as integers of shape {(batch,)}, one a sequence, got {lengths}")
    if not isinstance(reverse, bool):
        raise TypeError(f"{name}: reverse must be True or False, got {reverse!r}")
    kind = _dtype(*given.values())
    return Aval((batch, time, units), kind), Aval((batch, units), kind)


def _lstm_infer(
    x: Aval, weight: Aval, recurrent: Aval, bias: Any, h: Any, c: Any, lengths: Any, *, reverse: bool
) -> tuple[Aval, ...]:  # fmt: skip
    y, state = _check("lstm", 4, x, weight, recurrent, {"bias": bias}, {"h": h, "c": c}, lengths, reverse)
    return y, state, state


def _gru_infer(
    x: Aval, weight: Aval, recurrent: Aval, bias: Any, recurrent_bias: Any, h: Any, lengths: Any, *, reverse: bool
) -> tuple[Aval, ...]:  # fmt: skip
    biases = {"bias": bias, "recurrent_bias": recurrent_bias}
    return _check("gru", 3, x, weight, recurrent, biases, {"h": h}, lengths, reverse)


def _rnn_infer(
    x: Aval, weight: Aval, recurrent: Aval, bias: Any, h: Any, lengths: Any, *, activation: str, reverse: bool
) -> tuple[Aval, ...]:  # fmt: skip
    if activation not in ACTIVATIONS:
        raise ValueError(f"rnn: activation must be one of {', '.join(ACTIVATIONS)}, got {activation!r}")
    return _check("rnn", 1, x, weight, recurrent, {"bias": bias}, {"h": h}, lengths, reverse)


# the meaning, step by step --------------------------------------------------------------------------------------------


def _unrolled(
    step: Callable[..., Any], x: Any, weight: Any, recurrent: Any, bias: Any, states: list[Any], lengths: Any,
    reverse: bool, kind: np.dtype[Any],
) -> tuple[Any, ...]:  # fmt: skip
    """The composition: ``step(a, *states)``, `a` being the input's product at one time, gives the new states."""
    wide = work_dtype(kind)
    batch, time, units = x.shape[0], x.shape[1], recurrent.shape[0]

    def widened(value: Any) -> Any:
        if value is None or value.dtype == wide:
            return value
        return astype.public(value, dtype=wide.name)

    states = [zeros.public(shape=(batch, units), dtype=wide.name) if s is None else widened(s) for s in states]
    sums = widened(x) @ widened(weight)
    if bias is not None:
        sums = sums + widened(bias)
    outputs: list[Any] = [None] * time
    for t in reversed(range(time)) if reverse else range(time):
        new = step(sums[:, t], *states)
        if lengths is not None:
            alive = reshape.public(lengths > t, shape=(batch, 1))
            new = [where.public(alive, a, old) for a, old in zip(new, states, strict=True)]
        states = new
        outputs[t] = where.public(alive, states[0], 0.0) if lengths is not None else states[0]
    y = stack.public(outputs, axis=1) if time else sums[:, :, :units]
    return tuple(v if v.dtype == kind else astype.public(v, dtype=kind.name) for v in (y, *states))


def lstm_reference(
    x: Any, weight: Any, recurrent: Any, bias: Any = None, h: Any = None, c: Any = None, lengths: Any = None, *,
    reverse: bool = False,
) -> Any:  # fmt: skip
    """Gates i, f, g and o a step; c = f c + i g, h = o tanh(c)."""
    n, kind = recurrent.shape[0], _dtype(x, weight, recurrent, bias, h, c)
    wide = work_dtype(kind)
    own = recurrent if recurrent.dtype == wide else astype.public(recurrent, dtype=wide.name)

    def step(a: Any, h: Any, c: Any) -> list[Any]:
        a = a + h @ own
        i, f, o = (sigmoid.public(a[:, k * n : (k + 1) * n]) for k in (0, 1, 3))
        c = f * c + i * tanh.public(a[:, 2 * n : 3 * n])
        return [o * tanh.public(c), c]

    return _unrolled(step, x, weight, recurrent, bias, [h, c], lengths, reverse, kind)


def gru_reference(
    x: Any, weight: Any, recurrent: Any, bias: Any = None, recurrent_bias: Any = None, h: Any = None,
    lengths: Any = None, *, reverse: bool = False,
) -> Any:  # fmt: skip
    """Gates r and z a step; n = tanh(x's part + r times h's part), h = n + z (h - n)."""
    n, kind = recurrent.shape[0], _dtype(x, weight, recurrent, bias, recurrent_bias, h)
    wide = work_dtype(kind)
    own, added = (
        a if a is None or a.dtype == wide else astype.public(a, dtype=wide.name) for a in (recurrent, recurrent_bias)
    )

    def step(a: Any, h: Any) -> list[Any]:
        u = h @ own
        u = u if added is None else u + added
        r, z = (sigmoid.public(a[:, k * n : (k + 1) * n] + u[:, k * n : (k + 1) * n]) for k in (0, 1))
        new = tanh.public(a[:, 2 * n :] + r * u[:, 2 * n :])
        return [new + z * (h - new)]

    return _unrolled(step, x, weight, recurrent, bias, [h], lengths, reverse, kind)


def rnn_reference(
    x: Any, weight: Any, recurrent: Any, bias: Any = None, h: Any = None, lengths: Any = None, *,
    activation: str = "tanh", reverse: bool = False,
) -> Any:  # fmt: skip
    """h = activation(x's product + h's product) a step."""
    kind = _dtype(x, weight, recurrent, bias, h)
    wide = work_dtype(kind)
    own = recurrent if recurrent.dtype == wide else astype.public(recurrent, dtype=wide.name)
    bent = tanh.public if activation == "tanh" else relu.public
    return _unrolled(lambda a, h: [bent(a + h @ own)], x, weight, recurrent, bias, [h], lengths, reverse, kind)


# kernels --------------------------------------------------------------------------------------------------------------


def _run(cell: str, kind: np.dtype[Any], args: Any, lengths: Any, reverse: bool) -> kernels.Run:
    x, weight, recurrent = (a.astype(work_dtype(kind), copy=False) for a in args)
    return kernels.Run(cell, x, weight, recurrent, lengths, reverse)


def _forwards(cell: str, infer: Any, args: Any, names: dict[str, Any], lengths: Any, attrs: dict[str, Any]) -> Any:
    """Outputs, states in `names` only, and residuals."""
    types = infer(*[None if a is None else Aval(a.shape, a.dtype) for a in args], **attrs)
    if lengths is not None and lengths.size and not (lengths.min() >= 0 and lengths.max() <= args[0].shape[1]):
        raise ValueError(
            f"lengths must be from 0 to the {args[0].shape[1]} steps that x has, got {lengths.min()} to {lengths.max()}"
        )
    kind = types[0].dtype
    run = _run(cell, kind, args[:3], lengths, attrs["reverse"])
    given = {name: a if a is None else a.astype(run.x.dtype, copy=False) for name, a in names.items()}
    with np.errstate(all="ignore"):
        y, h, c, *kept = kernels.recurrent_forward(
            run, given.get("bias"), given.get("recurrent_bias"), given.get("h"), given.get("c")
        )
    results = (y, h, c) if cell == "lstm" else (y, h)
    return (*[a.astype(kind, copy=False) for a in results], *kept)


def _backwards(
    cell: str, order: tuple[str, ...], args: Any, gs: Any, kept: Any, reverse: bool, lengths: Any
) -> tuple[Any, ...]:  # fmt: skip
    run = _run(cell, kept[0].dtype, args, lengths, reverse)
    with np.errstate(all="ignore"):
        made = kernels.recurrent_backward(run, *gs, *kept)
    return tuple(made.get(name) for name in order)


def _lstm(
    x: Any, weight: Any, recurrent: Any, bias: Any = None, h: Any = None, c: Any = None, lengths: Any = None, *,
    reverse: bool = False,
) -> Any:  # fmt: skip
    args = (x, weight, recurrent, bias, h, c, lengths)
    return _forwards("lstm", _lstm_infer, args, {"bias": bias, "h": h, "c": c}, lengths, {"reverse": reverse})


def _gru(
    x: Any, weight: Any, recurrent: Any, bias: Any = None, recurrent_bias: Any = None, h: Any = None,
    lengths: Any = None, *, reverse: bool = False,
) -> Any:  # fmt: skip
    args = (x, weight, recurrent, bias, recurrent_bias, h, lengths)
    names = {"bias": bias, "recurrent_bias": recurrent_bias, "h": h}
    return _forwards("gru", _gru_infer, args, names, lengths, {"reverse": reverse})


def _rnn(
    x: Any, weight: Any, recurrent: Any, bias: Any = None, h: Any = None, lengths: Any = None, *,
    activation: str = "tanh", reverse: bool = False,
) -> Any:  # fmt: skip
    args = (x, weight, recurrent, bias, h, lengths)
    attrs = {"activation": activation, "reverse": reverse}
    return _forwards(activation, _rnn_infer, args, {"bias": bias, "h": h}, lengths, attrs)


def _lstm_backward(
    want: Any, g_y: Any, g_h: Any, g_c: Any, x: Any, weight: Any, recurrent: Any, bias: Any, h: Any, c: Any,
    lengths: Any, y: Any, last_h: Any, last_c: Any, *kept: Any, reverse: bool = False,
) -> Any:  # fmt: skip
    order = ("x", "weight", "recurrent", "bias", "h", "c", "lengths")
    return _backwards("lstm", order, (x, weight, recurrent), (g_y, g_h, g_c), kept, reverse, lengths)


def _gru_backward(
    want: Any, g_y: Any, g_h: Any, x: Any, weight: Any, recurrent: Any, bias: Any, recurrent_bias: Any, h: Any,
    lengths: Any, y: Any, last: Any, *kept: Any, reverse: bool = False,
) -> Any:  # fmt: skip
    order = ("x", "weight", "recurrent", "bias", "recurrent_bias", "h", "lengths")
    return _backwards("gru", order, (x, weight, recurrent), (g_y, g_h, None), kept, reverse, lengths)


def _rnn_backward(
    want: Any, g_y: Any, g_h: Any, x: Any, weight: Any, recurrent: Any, bias: Any, h: Any, lengths: Any, y: Any,
    last: Any, *kept: Any, activation: str = "tanh", reverse: bool = False,
) -> Any:  # fmt: skip
    order = ("x", "weight", "recurrent", "bias", "h", "lengths")
    return _backwards(activation, order, (x, weight, recurrent), (g_y, g_h, None), kept, reverse, lengths)


def _residual_types(cell: str) -> Callable[..., tuple[Aval, ...]]:
    def types(x: Aval, weight: Aval, recurrent: Aval, *rest: Any, **attrs: Any) -> tuple[Aval, ...]:
        (batch, time, _), units, own = x.shape, recurrent.shape[0], attrs.get("activation", cell)
        floats = [a for a in (x, weight, recurrent, *rest) if a is not None and a.dtype.kind == "f"]
        wide = work_dtype(_dtype(*floats))
        cells = (time + 1, batch, units) if own == "lstm" else (2, 1, 1)
        kept = (time, batch, kernels.KEPT[own] * units)
        return tuple(Aval(shape, wide) for shape in ((time + 1, batch, units), cells, kept))

    return types


def _flops(gates: int, each: int) -> Callable[..., int]:
    """Two products, and what a unit's gates cost."""

    def flops(x: Aval, weight: Aval, recurrent: Aval, *rest: Any, **attrs: Any) -> int:
        (batch, time, inputs), units = x.shape, recurrent.shape[0]
        width = gates * units
        return batch * time * (2 * inputs * width + 2 * units * width + 2 * width + each * units)

    return flops


def _backward_flops(gates: int, each: int) -> Callable[..., int]:
    """The states' slopes, a product for each of the gradients that somebody reads, and what a unit's gates cost."""

    def flops(x: Aval, weight: Aval, recurrent: Aval, *rest: Any, want: Any, **attrs: Any) -> int:
        (batch, time, inputs), units = x.shape, recurrent.shape[0]
        width = gates * units
        products = (want[0] + want[1]) * inputs + (1 + want[2]) * units
        return int(batch * time * (2 * products * width + any(want[3:]) * width + each * units))

    return flops


def _scratch(x: Aval, weight: Aval, recurrent: Aval, *rest: Any, **attrs: Any) -> int:
    return x.nbytes + x.shape[0] * x.shape[1] * recurrent.shape[1] * x.dtype.itemsize


def _backward_scratch(x: Aval, weight: Aval, recurrent: Aval, *rest: Any, **attrs: Any) -> int:
    return 2 * _scratch(x, weight, recurrent)


def _batch(call: BatchCall) -> Any:
    """Sequences of all examples are one batch, where the weights are shared."""
    names = call.op.inputs
    data = [name in ("x", "h", "c", "lengths") for name in names]
    if any(on and not ours for on, ours in zip(call.on, data, strict=True)):
        return NotImplemented
    count = call.shape(0)[0]

    def side_by_side(value: Any, on: bool) -> Any:
        value = value if on else repeated(value, call.size)
        return reshaped(value, call.size * count, *value.shape[2:])

    args = [
        side_by_side(a, on) if ours and a is not None else a
        for a, on, ours in zip(call.args, call.on, data, strict=True)
    ]
    return call.each(lambda y: reshaped(y, call.size, count, *y.shape[1:]), call.run(*args))


def _examples(gates: int, biases: int, states: int) -> tuple[Any, ...]:
    """Inputs of a cell: all there are, the fewest, sequences of several lengths from the end."""
    width = gates * 2
    whole = ((2, 3, 4), (4, width), (2, width), *[(width,)] * biases, *[(2, 2)] * states)
    return (
        (whole, {}),
        (((2, 2, 3), (3, width), (2, width)), dict(reverse=True)),
        ((*whole, np.array([3, 1])), {}),
        ((*whole, np.array([0, 2])), dict(reverse=True)),
    )


def _one(v: Any) -> Any:
    return 1 / (1 + np.exp(-v))


def _sequences(cell: Callable[..., Any], x: Any, states: list[Any], lengths: Any, units: int, reverse: bool) -> Any:
    """Each sequence by itself, without its padding."""
    y = np.zeros((*x.shape[:2], units), x.dtype)
    last = [np.zeros((len(x), units), x.dtype) if s is None else s.astype(x.dtype) for s in states]
    for b in range(len(x)):
        size = x.shape[1] if lengths is None else int(lengths[b])
        own = [s[b] for s in last]
        for t in list(range(size))[:: -1 if reverse else 1]:
            own = cell(x[b, t], *own)
            y[b, t] = own[0]
        for s, value in zip(last, own, strict=True):
            s[b] = value
    return (y, *last)


def _lstm_oracle(
    x: Any, weight: Any, recurrent: Any, bias: Any = None, h: Any = None, c: Any = None, lengths: Any = None, *,
    reverse: bool = False,
) -> Any:  # fmt: skip
    def cell(a: Any, h: Any, c: Any) -> list[Any]:
        s = a @ weight + h @ recurrent + (0 if bias is None else bias)
        i, f, g, o = np.split(s, 4)
        c = _one(f) * c + _one(i) * np.tanh(g)
        return [_one(o) * np.tanh(c), c]

    return _sequences(cell, x, [h, c], lengths, len(recurrent), reverse)


def _gru_oracle(
    x: Any, weight: Any, recurrent: Any, bias: Any = None, recurrent_bias: Any = None, h: Any = None,
    lengths: Any = None, *, reverse: bool = False,
) -> Any:  # fmt: skip
    def cell(a: Any, h: Any) -> list[Any]:
        first = np.split(a @ weight + (0 if bias is None else bias), 3)
        second = np.split(h @ recurrent + (0 if recurrent_bias is None else recurrent_bias), 3)
        r, z = _one(first[0] + second[0]), _one(first[1] + second[1])
        return [(1 - z) * np.tanh(first[2] + r * second[2]) + z * h]

    return _sequences(cell, x, [h], lengths, len(recurrent), reverse)


def _rnn_oracle(
    x: Any, weight: Any, recurrent: Any, bias: Any = None, h: Any = None, lengths: Any = None, *,
    activation: str = "tanh", reverse: bool = False,
) -> Any:  # fmt: skip
    def cell(a: Any, h: Any) -> list[Any]:
        s = a @ weight + h @ recurrent + (0 if bias is None else bias)
        return [np.tanh(s) if activation == "tanh" else np.maximum(s, 0)]

    return _sequences(cell, x, [h], lengths, len(recurrent), reverse)


_SHAPES = """`x` is (batch, time, inputs), as PyTorch's with ``batch_first=True``; `weight` (inputs, {gates}units) and
    `recurrent` (units, {gates}units) are the transposes of PyTorch's.
    {states}
    `lengths`, one integer a sequence, says how many of its steps count: at the others the output is 0 and the state
    stays. With ``reverse=True`` each sequence is read from its last step that counts to its first."""

lstm = fused_op(
    "lstm(x, weight, recurrent, bias=None, h=None, c=None, lengths=None, *, reverse: bool = False) "
    "-> y, last_h, last_c",
    reference=lstm_reference, forward=_lstm, backward=_lstm_backward, residuals=("states", "cells", "kept"),
    residual_types=_residual_types("lstm"), infer_rule=_lstm_infer, oracle=_lstm_oracle, batch=_batch,
    flops=_flops(4, 7), backward_flops=_backward_flops(4, 30), scratch=_scratch, backward_scratch=_backward_scratch,
    traits=("exponential", "refuses integers"), examples=_examples(4, 1, 2), native="recurrent:lstm",
    native_vjp="recurrent:lstm_vjp", direct=True,
    doc=f"""Long short-term memory over whole sequences. (Hochreiter & Schmidhuber 1997; Gers et al. 2000)

    ``c = f c + i g`` and ``h = o tanh(c)``, with the gates i, f, g, o in PyTorch's order: the logistic functions, of g
    the tanh, of ``x weight + h recurrent + bias``. Gives the outputs h of every step, and the last h and c.

    {_SHAPES.format(gates="4 ", states="`bias` is one for both. `h` and `c`, (batch, units), are 0 unless given.")}

    >>> import tensorgraph as tg
    >>> y, h, c = tg.lstm(tg.ones((2, 3, 5)), tg.ones((5, 16)), tg.ones((4, 16)), lengths=tg.tensor([3, 1]))
    >>> y.shape, h.shape, bool((y[1, 0] == h[1]).all()), float(y[1, 1:].sum())
    ((2, 3, 4), (2, 4), True, 0.0)
    """,
)  # fmt: skip
gru = fused_op(
    "gru(x, weight, recurrent, bias=None, recurrent_bias=None, h=None, lengths=None, *, reverse: bool = False) "
    "-> y, last_h",
    reference=gru_reference, forward=_gru, backward=_gru_backward, residuals=("states", "cells", "kept"),
    residual_types=_residual_types("gru"), infer_rule=_gru_infer, oracle=_gru_oracle, batch=_batch,
    flops=_flops(3, 7), backward_flops=_backward_flops(3, 24), scratch=_scratch, backward_scratch=_backward_scratch,
    traits=("exponential", "refuses integers"), examples=_examples(3, 2, 1), native="recurrent:gru",
    native_vjp="recurrent:gru_vjp", direct=True,
    doc=f"""Gated recurrent units over whole sequences. (Cho et al. 2014, arXiv 1406.1078)

    ``h = (1 - z) n + z h`` with the gates r, z, n in PyTorch's order and form, ``n = tanh(x's part + r times h's)``,
    each part with its own bias, `bias` and `recurrent_bias`. Gives the outputs h of every step, and the last.

    {_SHAPES.format(gates="3 ", states="`h`, (batch, units), is 0 unless given.")}

    >>> import tensorgraph as tg
    >>> y, h = tg.gru(tg.ones((2, 3, 5)), tg.ones((5, 12)), tg.ones((4, 12)))
    >>> y.shape, h.shape
    ((2, 3, 4), (2, 4))
    """,
)  # fmt: skip
rnn = fused_op(
    "rnn(x, weight, recurrent, bias=None, h=None, lengths=None, *, activation: Literal['tanh', 'relu'] = 'tanh', "
    "reverse: bool = False) -> y, last_h",
    reference=rnn_reference, forward=_rnn, backward=_rnn_backward, residuals=("states", "cells", "kept"),
    residual_types=_residual_types("tanh"), infer_rule=_rnn_infer, oracle=_rnn_oracle, batch=_batch,
    flops=_flops(1, 0), backward_flops=_backward_flops(1, 4), scratch=_scratch, backward_scratch=_backward_scratch,
    traits=("exponential", "refuses integers"), native="recurrent:rnn", native_vjp="recurrent:rnn_vjp", direct=True,
    examples=(*_examples(1, 1, 1), (((2, 2, 3), (3, 2), (2, 2)), dict(activation="relu"))),
    doc=f"""The plain recurrent layer over whole sequences: ``h = activation(x weight + h recurrent + bias)``.

    `activation` is "tanh" or "relu". Gives the outputs h of every step, and the last. (Elman 1990)

    {_SHAPES.format(gates="", states="`bias` is PyTorch's two added. `h`, (batch, units), is 0 unless given.")}

    >>> import tensorgraph as tg
    >>> y, h = tg.rnn(tg.ones((1, 3, 1)), tg.ones((1, 1)), tg.ones((1, 1)), activation="relu")
    >>> y.flatten().tolist(), h.tolist()
    ([1.0, 2.0, 3.0], [[3.0]])
    """,
)  # fmt: skip
