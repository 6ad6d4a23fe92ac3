"""The derivative of a fused op's gradient: that of its reference's, so every order is right.

Both functions run on tensors, and inside a trace, where the gradients that they take are equations.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tensorgraph.engine import known, modes
from tensorgraph.engine.backward import pull_back
from tensorgraph.engine.tape import Leaf
from tensorgraph.engine.tensor import Tensor, wrap

__all__ = ["vjp_of_reference", "vjp_of_vjp"]


def _lift(a: Any) -> Any:
    """A float under a name of its own: a partial derivative stops here, where one input may depend on another."""
    if a is None:
        return None
    t = a if isinstance(a, Tensor) else wrap(a)
    if t.dtype.kind != "f":
        return t
    trace = modes.current().trace
    if trace is not None:
        return trace.lift(t)
    if t._node is not None:
        return known.alias.public(t)
    t = wrap(t._value)
    t._node = Leaf(t.shape, t.dtype, user=False)
    t._node.live = False
    return t


def _pull(ys: Sequence[Tensor], xs: Sequence[Tensor], gs: Sequence[Any], recorded: bool | None, retain: bool) -> Any:
    trace = modes.current().trace
    if trace is not None:
        return trace.gradients(ys, xs, gs, True)
    return pull_back(ys, xs, gs, recorded, retain)


def _differentiable(t: Any) -> bool:
    return t is not None and t.dtype.kind == "f" and (modes.current().trace is not None or t._node is not None)


def vjp_of_reference(
    reference: Any, n_in: int, n_kept: int, args: Any, want: tuple[bool, ...], attrs: dict[str, Any]
) -> tuple[Tensor, ...]:
    """What a fused op's VJP means, composed: the VJP of its reference.

    `args` are the inputs, the kept outputs and residuals, which are not looked at, and the cotangents.
    """
    recorded = modes.current().grad
    inputs, gs = args[:n_in], args[n_in + n_kept :]
    if not recorded:
        inputs, gs = _bare(inputs), _bare(gs)
    with modes.use(grad=True, quiet=True):  # the forward pass has warned already
        xs = [_lift(a) for a in inputs]
        ys = reference(*xs, **attrs)
        ys = ys if isinstance(ys, tuple) else (ys,)
        pairs = [(y, g) for y, g in zip(ys, gs, strict=True) if g is not None]
        inner = [x for x, w in zip(xs, want, strict=True) if w]
        return tuple(_pull([y for y, _ in pairs], inner, [g for _, g in pairs], None, False))


def _bare(values: Sequence[Any]) -> list[Any]:
    return [wrap(v._value) if isinstance(v, Tensor) else v for v in values]


def vjp_of_vjp(
    reference: Any, n_in: int, n_kept: int, args: Any, cts: Any, want: tuple[bool, ...], attrs: dict[str, Any]
) -> tuple[Any, ...]:
    """The derivative of a fused op's VJP: that of its reference's VJP, of every order.

    `args` are the inputs, the kept outputs and residuals (functions of the inputs, so no gradient goes there) and the
    cotangents; `cts` the cotangents of the gradients that the VJP gave.
    """
    recorded = any(isinstance(a, Tensor) for a in (*args, *cts))
    options = {k: v for k, v in attrs.items() if k != "want"}
    given = attrs["want"]
    with modes.use(grad=True, quiet=True):  # the forward pass has warned already
        xs = [_lift(a) for a in args[:n_in]]
        gs = [_lift(a) for a in args[n_in + n_kept :]]
        ys = reference(*xs, **options)
        ys = ys if isinstance(ys, tuple) else (ys,)
        pairs = [(y, g) for y, g in zip(ys, gs, strict=True) if g is not None]
        inner = [x for x, w in zip(xs, given, strict=True) if w]
        dxs = _pull([y for y, _ in pairs], inner, [g for _, g in pairs], True, True)
        live = [(d, h) for d, h in zip(dxs, cts, strict=True) if type(h) is not float]
        every = (*xs, *[None] * n_kept, *gs)
        places = [i for i, (v, w) in enumerate(zip(every, want, strict=True)) if w and _differentiable(v)]
        second = _pull(
            [d for d, _ in live], [every[i] for i in places],
            [h if isinstance(h, Tensor) else wrap(h) for _, h in live], recorded, False,
        )  # fmt: skip
    result: list[Any] = [None] * len(every)
    for i, g in zip(places, second, strict=True):
        result[i] = g if recorded else g._value
    return tuple(result)
