"""Functions whose derivative, or whose memory, the user decides: `custom_vjp` and `checkpoint`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from tensorgraph import modes
from tensorgraph.aval import Aval
from tensorgraph.declare import op
from tensorgraph.op import structural
from tensorgraph.tape import Leaf
from tensorgraph.tensor import Tensor, as_array, wrap
from tensorgraph.tree import flatten, unflatten

__all__ = ["checkpoint", "custom_vjp"]


def _tensors(values: Any) -> list[Tensor]:
    return [v if isinstance(v, Tensor) else wrap(np.asarray(v)) for v in values]


def _arrays(tree: Any) -> list[Any]:
    return [t._value if isinstance(t, Tensor) else as_array(t) for t in flatten(tree)[0]]


def _whole(gs: Any, like: Any) -> list[Tensor]:
    """Cotangents as Tensors, zeros for those that did not arrive."""
    return [
        wrap(np.zeros(a.shape, a.dtype)) if type(g) is float else g if isinstance(g, Tensor) else wrap(g)
        for g, a in zip(gs, like, strict=True)
    ]


def _same_kind(result: Any, recorded: bool) -> Any:
    return result if recorded else [r._value if isinstance(r, Tensor) else r for r in result]


# custom_vjp: the user gives the rule ---------------------------------------------------------------------------------


class Result:
    """Types and structure of a function's results: known when it has run, or from its graph."""

    __slots__ = ("avals", "treedef")

    def __init__(self) -> None:
        self.avals: tuple[Aval, ...] = ()
        self.treedef: Any = None


def _custom_forward(args: Any, *, forward: Any, backward: Any, result: Result) -> Any:
    with modes.use(grad=False):
        outs, kept = forward(*_tensors(args))
    leaves, result.treedef = flatten(outs)
    arrays = _arrays(leaves)
    result.avals = tuple(Aval(a.shape, a.dtype) for a in arrays)
    return (*arrays, kept)


def _with_history(function: Any) -> Any:
    """A function, or a graph run through the ops so that its results can be differentiated."""
    from tensorgraph.graph.evaluate import replay
    from tensorgraph.graph.graph import Graph

    return (lambda *args: replay(function, args)) if isinstance(function, Graph) else function


def _custom_rule(want: Any, g_outs: Any, args: Any, kept: Any, forward: Any, backward: Any, result: Result) -> Any:
    recorded = any(isinstance(v, Tensor) for v in (*args, *g_outs))
    gs = _whole(g_outs, result.avals)
    with modes.use(grad=recorded):
        if recorded:  # the residuals depend on the arguments: make them again, so that their derivative is right
            _, kept = _with_history(forward)(*_tensors(args))
            backward = _with_history(backward)
        grads = backward(kept, gs[0] if len(gs) == 1 else tuple(gs))
    grads = grads if isinstance(grads, (tuple, list)) else (grads,)
    if len(grads) != len(args):
        raise ValueError(f"custom_vjp: backward must give one gradient an argument, {len(args)}, got {len(grads)}")
    zeros = [wrap(np.zeros(np.shape(a), a.dtype)) if g is None else g for g, a in zip(grads, args, strict=True)]
    return (_same_kind([t if isinstance(t, Tensor) else wrap(as_array(t)) for t in zeros], recorded),)


custom_op = op(
    "custom_vjp([args], *, forward, backward, result) -> *outs", _custom_forward, structural, residuals=("kept",),
    infer_rule=lambda args, *, forward, backward, result: result.avals, vjp=_custom_rule,
    doc="A function with a derivative rule of its own: see `custom_vjp`.",
)  # fmt: skip


class custom_vjp:
    """A function of tensors whose derivative rule you write.

    ``f.defvjp(forward, backward)``: ``forward(*args)`` gives ``(output, residuals)``, ``backward(residuals, g)`` gives
    one gradient an argument (None: zero). Higher orders differentiate the rule itself.

    Parameters
    ----------
    function : callable
        Of tensors; gives a tensor or a tuple of tensors.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> @tg.custom_vjp
    ... def straight_through_sign(x):
    ...     return tg.sign(x)
    >>> straight_through_sign.defvjp(lambda x: (tg.sign(x), None), lambda residuals, g: (g,))
    >>> float(tg.grad(straight_through_sign)(-3.0))
    1.0
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.forward: Callable[..., Any] | None = None
        self.backward: Callable[..., Any] | None = None
        functools.update_wrapper(self, function)

    def defvjp(self, forward: Callable[..., Any], backward: Callable[..., Any]) -> None:
        """Set the rule."""
        self.forward, self.backward = forward, backward

    def __call__(self, *args: Any) -> Any:
        if self.forward is None or self.backward is None:
            name = getattr(self.function, "__name__", "f")
            raise TypeError(f"{name} has no derivative rule yet: call {name}.defvjp(forward, backward)")
        tensors = [a if isinstance(a, Tensor) else wrap(as_array(a)) for a in args]
        forward, backward, result = self.forward, self.backward, Result()
        if modes.current().trace is not None:  # the equation holds both functions as graphs
            forward, backward = self._graphs(tensors, result)
        outs = custom_op.public(tensors, forward=forward, backward=backward, result=result)
        return unflatten(result.treedef, outs)

    def _graphs(self, tensors: list[Tensor], result: Result) -> tuple[Any, Any]:
        from tensorgraph.graph.trace import trace

        assert self.forward is not None and self.backward is not None
        with modes.use(trace=None):
            forward = trace(self.forward, *[t.aval for t in tensors])
            avals = [a.aval if hasattr(a, "aval") else a.value for a in forward.outputs]
            outs, kept = unflatten(forward.out_tree, avals)
            leaves, result.treedef = flatten(outs)
            result.avals = tuple(leaves)
            backward = trace(self.backward, kept, leaves[0] if len(leaves) == 1 else tuple(leaves))
        return forward, backward


# checkpoint: compute again instead of keeping ------------------------------------------------------------------------


class Computed:
    """Arrays handed over once: the first run's results, which the node must not keep alive."""

    __slots__ = ("arrays",)

    def __init__(self, arrays: list[Any]) -> None:
        self.arrays = arrays

    def take(self) -> tuple[Any, ...]:
        arrays, self.arrays = self.arrays, []
        return tuple(arrays)


def _checkpoint_rule(want: Any, g_outs: Any, args: Any, function: Any, treedef: Any, leaves: Any) -> Any:
    from tensorgraph.backward import pull_back

    recorded = any(isinstance(v, Tensor) for v in (*args, *g_outs))
    with modes.use(grad=True):
        inside = []
        for a in args:
            t = a if isinstance(a, Tensor) else wrap(a)
            if t.dtype.kind == "f" and t._node is None:
                t = wrap(t._value)
                t._node = Leaf(t.shape, t.dtype, user=False)
                t._node.live = False
            inside.append(t)
        outs = flatten(function(*unflatten(treedef, inside)))[0]
        gs = _whole(g_outs, outs)
        pairs = [(y, g) for y, g in zip(outs, gs, strict=True) if y.dtype.kind == "f"]
        targets = [t for t in inside if t._node is not None]
        leaf_tensors = []
        for leaf in leaves:
            t = wrap(np.broadcast_to(np.zeros((), leaf.dtype), leaf.shape))
            t._node = leaf
            leaf_tensors.append(t)
        found = pull_back([y for y, _ in pairs], [*targets, *leaf_tensors], [g for _, g in pairs], recorded, True)
    by_node = dict(zip([t._node for t in targets], found, strict=False))
    grads = [None if t._node is None else by_node[t._node] for t in inside]
    others = found[len(targets) :]
    return _same_kind(grads, recorded), _same_kind(others, recorded)


checkpoint_op = op(
    "checkpoint([args], [outside], *, function, treedef, leaves, computed) -> *outs",
    lambda args, outside, *, function, treedef, leaves, computed: computed.take(), structural, vjp=_checkpoint_rule,
    doc="A function computed again in the backward pass: see `checkpoint`.",
)  # fmt: skip


def checkpoint(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, keeping none of its intermediate values: the backward pass computes them again.

    Trades time for memory. Parameters that the function uses by closure get their gradients too. The function must give
    the same result each time: draw random numbers outside and pass them in.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> layer = tg.checkpoint(lambda x: tg.tanh(x * x))
    >>> x = tg.tensor(0.5, requires_grad=True)
    >>> layer(x).backward()
    >>> round(float(x.grad), 4)
    0.94
    """

    @functools.wraps(function)
    def again(*args: Any) -> Any:
        mode = modes.current()
        if mode.trace is not None:  # a graph keeps or recomputes as its evaluation decides
            return function(*args)
        from tensorgraph.backward import reachable

        leaves, treedef = flatten(list(args))
        tensors = [a if isinstance(a, Tensor) else wrap(as_array(a)) for a in leaves]
        outs, out_tree = flatten(function(*unflatten(treedef, tensors)))
        given = {t._node for t in tensors}
        order = reachable([t._node for t in outs if isinstance(t, Tensor) and t._node is not None])
        behind = {node for t in tensors if t._node is not None for node in reachable([t._node])}
        free = [node for node in order if type(node) is Leaf and node not in behind and node not in given]
        if not order:
            return unflatten(out_tree, outs)
        outside = []
        for leaf in free:
            t = wrap(np.zeros((0,), leaf.dtype))
            t._node = leaf
            outside.append(t)
        computed = Computed([t._value for t in outs])
        del outs, order
        result = checkpoint_op.public(
            tensors, outside, function=function, treedef=treedef, leaves=tuple(free), computed=computed
        )
        return unflatten(out_tree, result)

    return again
