"""Updates of state as pure ops, old values in and new values out: optimisers' steps and running averages.

Every number that may change while running is an input, so nothing is baked into a graph. The forward copies and then
runs the in-place kernel, which an optimiser's eager step runs on the cells themselves: both give the same bits. Many
networks side by side, along leading axes of the arrays, may have settings of their own: arrays of those axes.
Only the composed implementation has derivatives.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from tensorgraph.engine import modes
from tensorgraph.engine.aval import Aval
from tensorgraph.engine.batching import BatchCall, outputs_of, repeated, reshaped, unchanged, widened
from tensorgraph.engine.declare import op
from tensorgraph.engine.op import Op, TypeCheck, fused, opaque
from tensorgraph.engine.tape import warn_user
from tensorgraph.ops.arithmetic import sqrt
from tensorgraph.ops.creation import canonical_size
from tensorgraph.ops.kernels.optimizer import (
    adam_,
    adam_lanes,
    lanes_,
    momentum_,
    momentum_lanes,
    rmsprop_,
    rmsprop_lanes,
    sgd_,
    sgd_lanes,
)
from tensorgraph.ops.shape import astype, broadcast_to

__all__ = ["adam_update", "momentum_update", "rmsprop_update", "running_average", "sgd_update",
           "update_lanes"]  # fmt: skip


def state_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype of an optimiser's averages for a parameter: its own, but at least float32."""
    return np.dtype(np.float32) if dtype == np.float16 else dtype


# shape rules -------------------------------------------------------------------------------------------------------


def _infer(states: int) -> Callable[..., Any]:
    """The rule of an update: the gradient and the averages have the parameter's shape, settings are numbers, or of
    many networks side by side arrays of the leading axes."""

    def infer(p: Aval, g: Aval, *rest: Aval, **attrs: Any) -> Any:
        if p.dtype.kind != "f":
            raise TypeError(f"a parameter is float, got {p}")
        if g != p:
            raise ValueError(f"a gradient must have its parameter's shape and dtype {p}, got {g}")
        wanted = Aval(p.shape, state_dtype(p.dtype))
        for state in rest[:states]:
            if state != wanted:
                raise ValueError(f"an average kept for a parameter {p} must be {wanted}, got {state}")
        lead = _lead(rest[states:])
        for setting in rest[states:]:
            if setting.shape not in ((), lead) or p.shape[: len(lead)] != lead:
                raise ValueError(
                    f"a setting such as the learning rate is one number, or one for each of the networks along the "
                    f"first axes of the parameter {p}, got {setting}"
                )
        return (p, *rest[:states]) if states else p

    return infer


def _adam_infer(p: Aval, g: Aval, m: Aval, v: Aval, t: Aval, *settings: Aval, decoupled: bool) -> Any:
    _infer(2)(p, g, m, v, t, *settings)
    if t.dtype.kind not in "iu":
        raise TypeError(f"the step count t is an integer, got {t}")
    if t.shape != _lead((t, *settings)):
        raise ValueError(f"networks with settings of their own have step counts t of their own, got {t}")
    return p, m, v, t


def _lead(settings: Iterable[Any]) -> tuple[int, ...]:
    """The axes of networks side by side that have settings of their own; none of a single one."""
    return max((s.shape for s in settings), key=len, default=())


# forwards: copy, then the in-place kernel --------------------------------------------------------------------------


def _work(p: Any, g: Any) -> tuple[Any, Any]:
    """A copy of the parameter to write in, and the gradient in its dtype: at least float32."""
    dtype = state_dtype(p.dtype)
    return np.array(p, dtype, order="C"), np.asarray(g, dtype)


def _sgd(p: Any, g: Any, lr: Any, weight_decay: Any) -> Any:
    if np.ndim(lr) or np.ndim(weight_decay):
        return _side_by_side(sgd_update, p, g, (), (lr, weight_decay))[0]
    new, grad = _work(p, g)
    sgd_(new, grad, float(lr), float(weight_decay))
    return new.astype(p.dtype, copy=False)


def _momentum(p: Any, g: Any, v: Any, lr: Any, beta: Any, weight_decay: Any, *, nesterov: bool = False) -> Any:
    if np.ndim(lr) or np.ndim(beta) or np.ndim(weight_decay):
        return _side_by_side(momentum_update, p, g, (v,), (lr, beta, weight_decay), nesterov=nesterov)
    new, grad = _work(p, g)
    velocity = np.array(v, order="C")
    momentum_(new, velocity, grad, float(lr), float(beta), nesterov, float(weight_decay))
    return new.astype(p.dtype, copy=False), velocity


def _rmsprop(p: Any, g: Any, s: Any, lr: Any, decay: Any, eps: Any, weight_decay: Any) -> Any:
    if np.ndim(lr) or np.ndim(decay) or np.ndim(eps) or np.ndim(weight_decay):
        return _side_by_side(rmsprop_update, p, g, (s,), (lr, decay, eps, weight_decay))
    new, grad = _work(p, g)
    square = np.array(s, order="C")
    rmsprop_(new, square, grad, float(lr), float(decay), float(eps), float(weight_decay))
    return new.astype(p.dtype, copy=False), square


def bias_corrections(t: int, beta1: float, beta2: float) -> tuple[float, float]:
    """What Adam divides its averages by at step t = 1, 2, ..."""
    return 1.0 - beta1**t, 1.0 - beta2**t


def _adam(
    p: Any, g: Any, m: Any, v: Any, t: Any, lr: Any, beta1: Any, beta2: Any, eps: Any, weight_decay: Any, *,
    decoupled: bool = False,
) -> Any:  # fmt: skip
    if t.ndim:
        settings = (t + 1, lr, beta1, beta2, eps, weight_decay)
        return *_side_by_side(adam_update, p, g, (m, v), settings, decoupled=decoupled), t + np.ones((), t.dtype)
    new, grad = _work(p, g)
    first, second = np.array(m, order="C"), np.array(v, order="C")
    b1, b2, steps = float(beta1), float(beta2), int(t) + 1
    c1, c2 = bias_corrections(steps, b1, b2)
    adam_(new, first, second, grad, float(lr), b1, b2, float(eps), c1, c2, float(weight_decay), decoupled)
    return new.astype(p.dtype, copy=False), first, second, np.asarray(steps, t.dtype)


# networks side by side: the numbers of each, a row, as the kernels take them


def _sgd_numbers(lr: Any, weight_decay: Any) -> Any:
    return _rows(lr, weight_decay)


def _momentum_numbers(lr: Any, beta: Any, weight_decay: Any, *, nesterov: bool = False) -> Any:
    return _rows(lr, beta, np.float64(nesterov), weight_decay)


def _rmsprop_numbers(lr: Any, decay: Any, eps: Any, weight_decay: Any) -> Any:
    return _rows(lr, decay, eps, weight_decay)


def _adam_numbers(
    t: Any, lr: Any, beta1: Any, beta2: Any, eps: Any, weight_decay: Any, *, decoupled: bool = False
) -> Any:
    nothing = np.float64(0.0)
    decays = (nothing, weight_decay) if decoupled else (weight_decay, nothing)
    return _rows(lr, beta1, beta2, eps, 1.0 - beta1**t, 1.0 - beta2**t, *decays)


def _rows(*numbers: Any) -> Any:
    columns = np.broadcast_arrays(*numbers)
    return np.stack([np.asarray(column, np.float64).reshape(-1) for column in columns], axis=-1)


def _side_by_side(of: Op, p: Any, g: Any, states: tuple[Any, ...], settings: tuple[Any, ...], **attrs: Any) -> Any:
    """Copies of the parameter and its averages after a step of every network."""
    new, grad = _work(p, g)
    cells = (new, *[np.array(state, order="C") for state in states])
    kernel, numbers_of = update_lanes[of]
    settings = tuple(map(np.asarray, settings))
    numbers = numbers_of(*settings, **attrs)
    lead = _lead(settings)
    apart = (len(numbers), *p.shape[len(lead) :])
    lanes_(kernel, tuple([cell.reshape(apart) for cell in cells]), grad.reshape(apart), numbers,
           np.ones(len(numbers), np.bool_))  # fmt: skip
    return new.astype(p.dtype, copy=False), *cells[1:]


# references, composed of ops ---------------------------------------------------------------------------------------


def _cast(a: Any, dtype: np.dtype[Any]) -> Any:
    return a if a.dtype == dtype else astype.public(a, dtype=dtype.name)


def _beside(p: Any, *settings: Any) -> list[Any]:
    """Settings of networks side by side, with axes of size 1 for all that a network has."""
    return [reshaped(s, *s.shape, *[1] * (p.ndim - s.ndim)) if s.ndim else s for s in settings]


def _sgd_reference(p: Any, g: Any, lr: Any, weight_decay: Any) -> Any:
    lr, weight_decay = _beside(p, lr, weight_decay)
    kind = state_dtype(p.dtype)
    d = _cast(g, kind) + _cast(weight_decay, kind) * _cast(p, kind)
    return _cast(_cast(p, kind) - _cast(lr, kind) * d, p.dtype)


def _momentum_reference(
    p: Any, g: Any, v: Any, lr: Any, beta: Any, weight_decay: Any, *, nesterov: bool = False
) -> Any:
    lr, beta, weight_decay = _beside(p, lr, beta, weight_decay)
    kind = v.dtype
    keep, take = _cast(beta, kind), _cast(1.0 - beta, kind)
    d = _cast(g, kind) + _cast(weight_decay, kind) * _cast(p, kind)
    v1 = keep * v + take * d
    along = keep * v1 + take * d if nesterov else v1
    return _cast(_cast(p, kind) - _cast(lr, kind) * along, p.dtype), v1


def _rmsprop_reference(p: Any, g: Any, s: Any, lr: Any, decay: Any, eps: Any, weight_decay: Any) -> Any:
    lr, decay, eps, weight_decay = _beside(p, lr, decay, eps, weight_decay)
    kind = s.dtype
    d = _cast(g, kind) + _cast(weight_decay, kind) * _cast(p, kind)
    s1 = _cast(decay, kind) * s + _cast(1.0 - decay, kind) * d * d
    return _cast(_cast(p, kind) - _cast(lr, kind) * d / (sqrt.public(s1) + _cast(eps, kind)), p.dtype), s1


def _adam_reference(
    p: Any, g: Any, m: Any, v: Any, t: Any, lr: Any, beta1: Any, beta2: Any, eps: Any, weight_decay: Any, *,
    decoupled: bool = False,
) -> Any:  # fmt: skip
    kind = m.dtype
    t1 = t + 1
    steps, lr, beta1, beta2, eps, weight_decay = _beside(
        p, astype.public(t1, dtype="float64"), lr, beta1, beta2, eps, weight_decay
    )
    step = lr / (1.0 - beta1**steps)
    root = 1.0 / sqrt.public(1.0 - beta2**steps)
    old, d = _cast(p, kind), _cast(g, kind)
    if decoupled:
        old = old * _cast(1.0 - lr * weight_decay, kind)
    else:
        d = d + _cast(weight_decay, kind) * old
    m1 = _cast(beta1, kind) * m + _cast(1.0 - beta1, kind) * d
    v1 = _cast(beta2, kind) * v + _cast(1.0 - beta2, kind) * d * d
    new = old - _cast(step, kind) * m1 / (sqrt.public(v1) * _cast(root, kind) + _cast(eps, kind))
    return _cast(new, p.dtype), m1, v1, t1


# declarations ------------------------------------------------------------------------------------------------------


def _number(value: float) -> Any:
    return np.array(value, np.float64)


def _numbers(*values: float) -> Any:
    return np.array(values, np.float64)


_P = np.linspace(-1.0, 1.0, 6).reshape(2, 3)
_G = np.cos(np.arange(6.0)).reshape(2, 3)
_S = np.full((2, 3), 0.25)
_T = np.array(3, np.int64)


def _of_each(call: BatchCall, arrays: int, own: bool) -> list[Any]:
    """Settings and counts of a batch: of each example, or one of all where it may stay so."""
    if not own:
        return [*call.args[arrays:]]
    lead = max((call.shape(i) for i in range(arrays, len(call.args))), key=len)  # of a batch inside this one
    counts = arrays + (len(call.op.outputs) - (arrays - 1))
    given = []
    for i in range(arrays, len(call.args)):
        value, shape = call.args[i], call.shape(i)
        if not (call.on[i] or shape or i < counts):
            given.append(value)  # one number for all
            continue
        whole = call.whole(i)
        given.append(
            whole if shape == lead else broadcast_to(widened(whole, len(lead), True), shape=(call.size, *lead))
        )
    return given


def _update(
    signature: str, arrays: int, forward: Any, reference: Any, infer: Any, examples: Any, doc: str, flops: Any,
    native: str,
) -> Op:  # fmt: skip
    """The first so many inputs are arrays of one shape, the others settings and counts."""

    def side_by_side(call: BatchCall) -> Any:
        """The step of one array, whose leading axes are the examples where these have settings of their own."""
        own = any(call.on[i] or call.shape(i) for i in range(arrays, len(call.args)))
        outs = outputs_of(call.run(*[call.whole(i) for i in range(arrays)], *_of_each(call, arrays, own)))
        return (*outs[: arrays - 1], *[t if own else repeated(t, call.size) for t in outs[arrays - 1 :]])

    return op(
        signature, forward, fused, reference=reference, infer_rule=infer, check=TypeCheck(infer), examples=examples,
        doc=doc, flops=flops, traits=("update", "refuses"), batch=side_by_side, native=native,
        direct=True,
    )  # fmt: skip


sgd_update = _update(
    "sgd_update(p, g, lr, weight_decay) -> p1", 2, _sgd, _sgd_reference, _infer(0),
    (((_P, _G, _number(0.1), _number(0.01)), {}), ((_P, _G, _numbers(0.1, 0.3), _number(0.01)), {})),
    "One step of gradient descent: ``p - lr d`` with ``d = g + weight_decay p``.",
    4, "updates:sgd",
)  # fmt: skip
momentum_update = _update(
    "momentum_update(p, g, v, lr, beta, weight_decay, *, nesterov=False) -> p1, v1", 3, _momentum, _momentum_reference,
    _infer(1), tuple(
        ((_P, _G, _S, lr, beta, _number(0.01)), dict(nesterov=n))
        for n in (False, True)
        for lr, beta in ((_number(0.1), _number(0.9)), (_numbers(0.1, 0.3), _numbers(0.9, 0.5)))
    ),
    """One step along the average of gradients: ``v1 = beta v + (1 - beta) d``, ``p1 = p - lr v1``.

    ``d = g + weight_decay p``; with `nesterov` the step is along ``beta v1 + (1 - beta) d``.
    """,
    lambda p, *rest, nesterov: (10 if nesterov else 7) * p.size, "updates:momentum",
)  # fmt: skip
rmsprop_update = _update(
    "rmsprop_update(p, g, s, lr, decay, eps, weight_decay) -> p1, s1", 3, _rmsprop, _rmsprop_reference, _infer(1),
    (
        ((_P, _G, _S, _number(0.1), _number(0.99), _number(1e-8), _number(0.01)), {}),
        ((_P, _G, _S, _number(0.1), _numbers(0.99, 0.9), _number(1e-8), _numbers(0.01, 0.0)), {}),
    ),
    "One step of RMSprop: ``s1 = decay s + (1 - decay) d^2``, ``p1 = p - lr d / (sqrt(s1) + eps)``.",
    11, "updates:rmsprop",
)  # fmt: skip
adam_update = _update(
    "adam_update(p, g, m, v, t, lr, beta1, beta2, eps, weight_decay, *, decoupled=False) -> p1, m1, v1, t1",
    4, _adam, _adam_reference, _adam_infer, tuple(
        (
            (_P, _G, _G, _S, t, lr, _number(0.9), beta2, _number(1e-8), _number(0.01)),
            dict(decoupled=d),
        )
        for d in (False, True)
        for t, lr, beta2 in (
            (_T, _number(0.1), _number(0.999)), (np.array([3, 0]), _numbers(0.1, 0.3), _numbers(0.999, 0.99))
        )
    ),
    """One step of Adam (Kingma & Ba 2015); with `decoupled` weight decay AdamW (Loshchilov & Hutter 2019).

    `t` is the number of steps this parameter has had before.
    """,
    lambda p, *rest, decoupled: (14 if decoupled else 15) * p.size, "updates:adam",
)  # fmt: skip


update_lanes: dict[Op, Any] = {
    sgd_update: (sgd_lanes, _sgd_numbers), momentum_update: (momentum_lanes, _momentum_numbers),
    rmsprop_update: (rmsprop_lanes, _rmsprop_numbers), adam_update: (adam_lanes, _adam_numbers),
}  # fmt: skip
"""Of an update: the kernel that does it in place for networks side by side, and what makes the numbers it takes."""


# running averages of batch norm ------------------------------------------------------------------------------------


def _finite(mu: Any, sigma2: Any) -> bool:
    # one product sees every NaN and infinity, as 0 times infinity is NaN; finite numbers may overflow, so only a finite
    # result decides at once
    with np.errstate(all="ignore"):
        product = np.dot(mu.ravel(), sigma2.ravel())
    return math.isfinite(product) or bool(np.isfinite(mu).all() and np.isfinite(sigma2).all())


def _running_average(
    mean: Any, var: Any, weight: Any, count: Any, mu: Any, sigma2: Any, decay: Any, *, size: int, unbiased: bool = False
) -> Any:
    finite = _finite(mu, sigma2)
    if not finite:
        warn_not_finite()
        if not weight.ndim:
            return mean.copy(), var.copy(), weight.copy(), count.copy()
    if mu.dtype != mean.dtype:
        mu, sigma2 = mu.astype(mean.dtype), sigma2.astype(mean.dtype)
    d: Any = decay.astype("f8") if weight.ndim else float(decay)
    w: Any = weight.astype("f8") if weight.ndim else float(weight)
    total: Any = 1.0 - d * (1.0 - w)
    keep, take = d * w / total, (1.0 - d) / total
    batch_var = take * (size / max(size - 1, 1)) if unbiased else take
    if weight.ndim:  # many averages side by side
        each = (*weight.shape, *[1] * (mean.ndim - weight.ndim))
        keep, take, batch_var = (a.astype(mean.dtype).reshape(each) for a in (keep, take, batch_var))
    # never old + take (new - old): it loses a first variance that is small beside the initial 1
    mean1, var1 = keep * mean, keep * var
    mean1 += take * mu
    var1 += batch_var * sigma2
    total, counted = np.asarray(total, weight.dtype), np.asarray(count + 1, count.dtype)
    if not finite:
        axes = tuple(range(weight.ndim, mean.ndim))
        good = (np.isfinite(mu) & np.isfinite(sigma2)).all(axes)
        mean1, var1 = (np.where(good.reshape(each), a, b) for a, b in ((mean1, mean), (var1, var)))
        total, counted = np.where(good, total, weight), np.where(good, counted, count)
    return mean1, var1, total, counted


def warn_not_finite() -> None:
    """Say at the user's line that a batch did not move the running averages."""
    if modes.current().quiet:
        return
    scope = modes.current().scope
    warn_user(
        f"batch norm{f' {scope!r}' if scope else ''}: the batch has a NaN or an infinity, so the running averages keep "
        "their values; look for its origin with tensorgraph.debug_nans()"
    )


def _running_infer(
    mean: Aval, var: Aval, weight: Aval, count: Aval, mu: Aval, sigma2: Aval, decay: Aval, *, size: int, unbiased: bool
) -> Any:
    for a in (var, mu, sigma2):
        if a.shape != mean.shape:
            raise ValueError(f"a running average of {mean} needs batch moments of shape {mean.shape}, got {a}")
    if canonical_size(size, "size") < 1:
        raise ValueError("an empty batch has no moments")
    each = weight.shape  # of one average or, along leading axes, of many
    if count.dtype.kind not in "iu" or mean.shape[: len(each)] != each or not count.shape == decay.shape == each:
        raise ValueError(f"the weight, the count and the decay are one number each, got {weight}, {count} and {decay}")
    return mean, var, weight, count


running_average = op(
    "running_average(mean, var, weight, count, mu, sigma2, decay, *, size: int, unbiased=False) "
    "-> mean1, var1, weight1, count1",
    _running_average, opaque, infer_rule=_running_infer, check=TypeCheck(_running_infer), flops=6, scratch=0.5,
    traits=("internal",), batch=unchanged, native="running:running_average",
    examples=tuple(
        (
            (np.array([0.5, 1.0]), np.array([1.0, 2.0]), _number(0.19), np.array(2, np.int64), np.array([0.25, 0.0]),
             np.array([0.5, 3.0]), _number(0.9)),
            dict(size=8, unbiased=u),
        )
        for u in (False, True)
    ),
    doc="""Exponentially weighted averages of a batch's mean and variance, corrected for their start.

    `weight` is what all batches so far weigh together, 1 - the product of the decays: from 0 the first batch is taken
    whole, from 1 this is the plain average. If any moment is not finite nothing changes and a warning says so.
    """,
)  # fmt: skip
