"""The derivative of a fused op's gradient: that of its reference's, so every order is right."""

from __future__ import annotations

from typing import Any

from tensorgraph import modes
from tensorgraph.backward import pull_back
from tensorgraph.op import CATALOGUE
from tensorgraph.tape import Leaf
from tensorgraph.tensor import Tensor, wrap

__all__ = ["vjp_of_vjp"]


def vjp_of_vjp(
    reference: Any, n_in: int, n_kept: int, args: Any, cts: Any, want: tuple[bool, ...], attrs: dict[str, Any]
) -> tuple[Any, ...]:
    """The derivative of a fused op's VJP: that of its reference's VJP, of every order.

    `args` are the inputs, the kept outputs and residuals (functions of the inputs, so no gradient goes there) and the
    cotangents; `cts` the cotangents of the gradients that the VJP gave.
    """
    alias = CATALOGUE["alias"]
    recorded = any(isinstance(a, Tensor) for a in (*args, *cts))
    options = {k: v for k, v in attrs.items() if k != "want"}
    given = attrs["want"]

    def lift(a: Any) -> Any:
        if a is None:
            return None
        t = a if isinstance(a, Tensor) else wrap(a)
        if t.dtype.kind != "f":
            return t
        if t._node is not None:  # a partial derivative stops here, where one input may depend on another
            return alias.public(t)
        t = wrap(t._value)
        t._node = Leaf(t.shape, t.dtype, user=False)
        t._node.live = False
        return t

    with modes.use(grad=True, quiet=True):  # the forward pass has warned already
        xs = [lift(a) for a in args[:n_in]]
        gs = [lift(a) for a in args[n_in + n_kept :]]
        ys = reference(*xs, **options)
        ys = ys if isinstance(ys, tuple) else (ys,)
        pairs = [(y, g) for y, g in zip(ys, gs, strict=True) if g is not None]
        inner = [x for x, w in zip(xs, given, strict=True) if w]
        dxs = pull_back([y for y, _ in pairs], inner, [g for _, g in pairs], True, True)
        live = [(d, h) for d, h in zip(dxs, cts, strict=True) if type(h) is not float]
        wanted = [
            v for v, w in zip((*xs, *[None] * n_kept, *gs), want, strict=True) if w and v is not None
            and v._node is not None
        ]  # fmt: skip
        second = pull_back(
            [d for d, _ in live], wanted, [h if isinstance(h, Tensor) else wrap(h) for _, h in live],
            recorded, False,
        )  # fmt: skip
    by_node = {v._node: g for v, g in zip(wanted, second, strict=True)}
    result = []
    for v, w in zip((*xs, *[None] * n_kept, *gs), want, strict=True):
        g = by_node.get(v._node) if w and v is not None and v._node is not None else None
        result.append(g if g is None or recorded else g._value)
    return tuple(result)
