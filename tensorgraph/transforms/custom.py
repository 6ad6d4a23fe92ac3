"""`custom_vjp`: functions whose derivative the user writes."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import numpy as np

from tensorgraph.arguments import checked
from tensorgraph.engine import modes
from tensorgraph.engine.aval import Aval
from tensorgraph.engine.backward import wanted_leaves
from tensorgraph.engine.batching import BatchCall
from tensorgraph.engine.declare import op
from tensorgraph.engine.exits import DetachError, ForeignError, caller, depends, unwatched, warn_of
from tensorgraph.engine.op import structural
from tensorgraph.engine.tape import Leaf, describe_node, getframe, next_number
from tensorgraph.engine.tensor import Tensor, TraceError, as_array, wrap
from tensorgraph.engine.tree import flatten, tree_map, unflatten
from tensorgraph.ops.creation import zeros
from tensorgraph.ops.structure import alias, stop_gradient

__all__ = ["custom_vjp"]


def _tensors(values: Any) -> list[Tensor]:
    return [v if isinstance(v, Tensor) else wrap(np.asarray(v)) for v in values]


def _arrays(tree: Any) -> list[Any]:
    return [t._value if isinstance(t, Tensor) else as_array(t) for t in flatten(tree)[0]]


def nothing(shape: Any, dtype: Any) -> Tensor:
    """Zeros; while a function is traced they are made by the op, whose equation says their shape."""
    if modes.current().trace is None:
        return wrap(np.zeros(shape, dtype))
    made: Tensor = zeros.public(shape=shape, dtype=np.dtype(dtype).name)
    return made


def _whole(gs: Any, result: Result) -> list[Tensor | None]:
    """Cotangents as Tensors, zeros for those that did not arrive, or None."""
    return [
        (nothing(a.shape, a.dtype) if result.whole else None) if type(g) is float
        else g if isinstance(g, Tensor) else wrap(g)
        for g, a in zip(gs, result.avals, strict=True)
    ]  # fmt: skip


def _same_kind(result: Any, recorded: bool) -> Any:
    return result if recorded else [r._value if isinstance(r, Tensor) else r for r in result]


class Result:
    """Types and structure of a function's results: known when it has run, or from its graph.

    `whole`: whether its rule is given zeros for a result that no gradient reaches, rather than None.
    """

    __slots__ = ("avals", "captured", "treedef", "whole")

    def __init__(self) -> None:
        self.avals: tuple[Aval, ...] = ()
        self.treedef: Any = None
        self.whole = True
        self.captured: Any = None  # a place on the tape that forward uses and was not given

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Result) and (self.avals, self.treedef) == (other.avals, other.treedef)

    def __hash__(self) -> int:
        return hash((self.avals, self.treedef))


def _pair(result: Any) -> Any:
    if not isinstance(result, tuple) or len(result) != 2:
        raise TypeError(f"custom_vjp: forward must give a pair (output, residuals), got {type(result).__name__}")
    return result


def _custom_forward(args: Any, *, forward: Any, backward: Any, result: Result) -> Any:
    known = result.treedef is not None  # a graph, whose trace has seen what it uses
    start = next_number()
    # the arguments have no history here: what has one nevertheless comes from outside
    with modes.use(grad=modes.current().grad and not known):
        outs, kept = _pair(forward(*_tensors(args)))
    leaves, result.treedef = flatten(outs)
    if not known:
        result.captured = _older([*leaves, *flatten(kept)[0]], start)
    arrays = _arrays(leaves)
    result.avals = tuple(Aval(a.shape, a.dtype) for a in arrays)
    return (*arrays, tree_map(lambda v: v.copy() if isinstance(v, np.ndarray) else v, kept))


def _older(values: Sequence[Any], start: int) -> Any:
    """A place on the tape that these depend on and that was there at the start, or None."""
    stack = [v._node for v in values if isinstance(v, Tensor) and v._node is not None]
    seen: set[Any] = set()
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        if node.number < start:
            return node
        seen.add(node)
        for parent in node.parents:
            stack += parent if type(parent) is tuple else (parent,)
    return None


def _with_history(function: Any) -> Any:
    """A function, or a graph run through the ops so that its results can be differentiated."""
    from tensorgraph.graph.evaluate import replay
    from tensorgraph.graph.graph import Graph

    return (lambda *args: replay(function, args)) if isinstance(function, Graph) else function


def _told(run: Callable[[], Any], given: Sequence[Tensor], which: str, loses: Callable[[Any], bool]) -> Any:
    """What a function of the user's gives where its derivative may be asked for, which it loses by computing with plain
    numbers: inside a transform that differentiates it that raises; where a leaf of the user's is behind it, it is told.
    """
    # The plan:
    # 1. it runs with every exit refused that somebody may mind; mostly there is none;
    # 2. else it runs again with all of them free, and if its result does not lose anything, they are no matter;
    # 3. else it runs with those refused that a transform minds, which raises, or it is told.
    mode = modes.current()
    nodes = [t._node for t in given if t._node is not None]
    leaves = [] if mode.watched is None or not nodes else wanted_leaves(nodes)
    if not leaves and not any(depends(node, mode.watched or ()) for node in nodes):
        with unwatched():
            return run()
    try:
        with modes.use(watched=(*(mode.watched or ()), *leaves)):
            return run()
    except DetachError:
        with unwatched():
            result = run()
    if loses(result):
        run()
        message = (
            f"custom_vjp: {which} computes with plain numbers, so that a derivative of this gradient would miss them: "
            "compute with tensorgraph's functions, or write x.detach() where no derivative is meant to flow"
        )
        warn_of(caller(getframe(1)), message)
    return result


def _unconnected(kept: Any) -> bool:
    """Whether there are floats among residuals that do not depend on anything."""
    return any(
        v._node is None and v.dtype.kind == "f" if isinstance(v, Tensor) else np.asarray(v).dtype.kind == "f"
        for v in flatten(kept)[0]
    )


def _custom_rule(want: Any, g_outs: Any, args: Any, kept: Any, forward: Any, backward: Any, result: Result) -> Any:
    recorded = any(isinstance(v, Tensor) for v in (*args, *g_outs))
    gs = _whole(g_outs, result)
    with modes.use(grad=recorded):
        if recorded:  # the residuals depend on the arguments: make them again, so that their derivative is right
            tensors = _tensors(args)
            numbers = all(type(t._value) is np.ndarray for t in tensors)
            with modes.use(trace=None) if numbers else contextlib.nullcontext():
                kept = _told(lambda: _pair(_with_history(forward)(*tensors))[1], tensors, "forward", _unconnected)
            rule = _with_history(backward)
            grads = _told(
                lambda: rule(kept, gs[0] if len(gs) == 1 else tuple(gs)),
                [*tensors, *[g for g in gs if g is not None]],
                "backward",
                lambda _: True,
            )
        else:
            grads = backward(kept, gs[0] if len(gs) == 1 else tuple(gs))
    grads = grads if isinstance(grads, (tuple, list)) else (grads,)
    if len(grads) != len(args):
        raise ValueError(f"custom_vjp: backward must give one gradient an argument, {len(args)}, got {len(grads)}")
    for i, (grad, a) in enumerate(zip(grads, args, strict=True)):
        if grad is not None and np.shape(grad) != np.shape(a):
            raise ValueError(
                f"custom_vjp: backward's gradient {i} must have the shape of its argument, {np.shape(a)}, got "
                f"{np.shape(grad)}"
            )
    whole = [nothing(a.shape, a.dtype) if g is None else g for g, a in zip(grads, args, strict=True)]
    return (_same_kind([t if isinstance(t, Tensor) else wrap(as_array(t)) for t in whole], recorded),)


def _batch(call: BatchCall) -> Any:
    """The forward and the rule for all examples at once; what they share is repeated, so that gradients fit it."""
    result = Result()
    result.avals = tuple(Aval((call.size, *a.shape), a.dtype) for a in call.attrs["result"].avals)
    result.treedef = call.attrs["result"].treedef
    forward, backward = call.attrs["forward"], call.attrs["backward"]
    kept = forward.outputs[len(result.avals) :]
    statics = dict(backward.statics)
    # a plain number among the residuals is the same for all examples
    dims = [0 if i >= len(kept) or hasattr(kept[i], "aval") else None for i in range(backward.in_tree.size)]
    backward = call.body(backward, [dim for i, dim in enumerate(dims) if i not in statics])
    return call.run(call.whole(0), forward=call.body(forward, 0), backward=backward, result=result)


custom_op = op(
    "custom_vjp([args], *, forward, backward, result) -> *outs", _custom_forward, structural, residuals=("kept",),
    infer_rule=lambda args, *, forward, backward, result: result.avals, vjp=_custom_rule, batch=_batch,
    traits=("higher order", "internal"),
    doc="A function with a derivative rule of its own: see `custom_vjp`.",
)  # fmt: skip


def _by_position(function: Any, name: str, args: Any, kwargs: dict[str, Any]) -> Any:
    """The arguments of a call in order: a rule gives one gradient an argument, by position."""
    try:
        bound = inspect.signature(function).bind(*args, **kwargs)
    except (TypeError, ValueError) as error:
        raise TypeError(f"custom_vjp: {name}: {error}") from None
    if bound.kwargs:
        raise TypeError(
            f"custom_vjp: {name} takes {next(iter(bound.kwargs))!r} by its name alone, and a rule gives gradients by "
            "position: let it be given by position too"
        )
    return bound.args


class custom_vjp:
    """A function of tensors whose derivative rule you write.

    ``f.defvjp(forward, backward)``: ``forward(*args)`` gives ``(output, residuals)``, ``backward(residuals, g)`` gives
    one gradient an argument (None: zero). Higher orders differentiate the rule itself.

    Parameters
    ----------
    function : callable
        Of tensors; gives a tensor or a tuple of tensors.
    forward, backward : callable, optional
        The rule at once: ``custom_vjp(forward=f, backward=b)``.

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

    @checked
    def __init__(
        self,
        function: Callable[..., Any] | None = None,
        *,
        forward: Callable[..., Any] | None = None,
        backward: Callable[..., Any] | None = None,
    ) -> None:
        if function is None and forward is None:
            raise TypeError("custom_vjp takes a function, or forward= and backward=")
        self.function = forward if function is None else function
        self.forward = forward
        self.backward = backward
        functools.update_wrapper(self, self.function)  # type: ignore[arg-type]

    @checked
    def defvjp(self, forward: Callable[..., Any], backward: Callable[..., Any]) -> None:
        """Set the rule."""
        self.forward, self.backward = forward, backward

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        name = getattr(self.function, "__name__", "f")
        if kwargs:
            args = _by_position(self.function, name, args, kwargs)
        if self.forward is None or self.backward is None:
            raise TypeError(f"{name} has no derivative rule yet: call {name}.defvjp(forward, backward)")
        tensors = [a if isinstance(a, Tensor) else wrap(np.array(as_array(a))) for a in args]  # a copy: it is kept
        forward, backward, result = self.forward, self.backward, Result()
        if modes.current().trace is not None:  # the equation holds both functions as graphs
            forward, backward, detached = self._graphs(tensors, result)
            tensors = [*tensors, *detached]
        outs = custom_op.public(tensors, forward=forward, backward=backward, result=result)
        if result.captured is not None:
            self._refuse(_describe(result.captured))
        return unflatten(result.treedef, outs)

    def _graphs(self, tensors: list[Tensor], result: Result) -> tuple[Any, Any, list[Tensor]]:
        """Both functions as graphs, and values around them that they use detached: further arguments, without a
        gradient, which reach the rule as residuals."""
        outer = modes.current().trace
        assert outer is not None
        foreign: list[Any] = []  # found one by one
        while True:
            try:
                with modes.use(trace=None):
                    forward, backward = self._traced(tensors, result, foreign)
                break
            except ForeignError as error:
                if error.value in foreign or not outer.knows(error.value):
                    self._refuse("a traced value")
                foreign.append(error.value)
        count = len(foreign)
        for graph, inputs in ((forward, forward.inputs[len(tensors) :]), (backward, backward.inputs[:count])):
            here = [outer.var(outer.tensor(of)) for of in foreign]
            own = {var for var, of in zip(inputs, here, strict=True) if of in outer.varying}
            if any(eq.op is not stop_gradient and not own.isdisjoint(eq.variables()) for eq in graph.equations):
                self._refuse("a traced value")
        cells = [decl for graph in (forward, backward) for decl in graph.cells]
        for decl in cells:
            if decl.requires_grad:
                self._refuse(f"the parameter {decl.path or 'without a name'!r}")
        if cells:
            raise TraceError(
                f"custom_vjp: {getattr(self.function, '__name__', 'f')} reads the cell {cells[0].path!r}, and state "
                "inside it cannot be traced: read or draw it outside and pass it as an argument"
            )
        return forward, backward, [stop_gradient.public(outer.tensor(var)) for var in foreign]

    def _traced(self, tensors: list[Tensor], result: Result, foreign: list[Any]) -> tuple[Any, Any]:
        """The graphs, in which the last inputs stand for foreign values."""
        from tensorgraph.graph.trace import trace

        assert self.forward is not None and self.backward is not None
        first, rule = self.forward, self.backward
        if foreign:
            first, rule = _adopting_forward(first, len(tensors), foreign), _adopting_rule(rule, foreign)
        forward = trace(first, *[t.aval for t in tensors], *[var.aval for var in foreign])
        captured = [node for node in forward.provenance.captured.values() if node is not None]
        if captured:
            self._refuse(_describe(captured[0]))
        avals = [a.aval if hasattr(a, "aval") else a.value for a in forward.outputs]
        outs, kept = unflatten(forward.out_tree, avals)
        leaves, result.treedef = flatten(outs)
        result.avals = tuple(leaves)
        return forward, trace(rule, kept, leaves[0] if len(leaves) == 1 else tuple(leaves))

    def _refuse(self, what: str) -> NoReturn:
        name = getattr(self.function, "__name__", "f")
        raise TypeError(
            f"custom_vjp: {name} uses {what} by closure, where your rule cannot give its gradient: pass it as an "
            "argument, or write detach() where no gradient is meant to flow"
        )


def _adopt(foreign: list[Any], inputs: Sequence[Tensor]) -> None:
    inner = modes.current().trace
    assert inner is not None
    inner.adopted.update((var, t._value) for var, t in zip(foreign, inputs, strict=True))


def _adopting_forward(forward: Any, count: int, foreign: list[Any]) -> Any:
    def with_foreign(*args: Any) -> Any:
        _adopt(foreign, args[count:])
        outs, kept = _pair(forward(*args[:count]))
        return outs, (args[count:], kept)

    return with_foreign


def _adopting_rule(backward: Any, foreign: list[Any]) -> Any:
    def with_foreign(residuals: Any, g: Any) -> Any:
        _adopt(foreign, residuals[0])
        grads = backward(residuals[1], g)
        none = [zeros.public(shape=var.aval.shape, dtype=var.aval.dtype.name) for var in foreign]
        return (*(grads if isinstance(grads, (tuple, list)) else (grads,)), *none)

    return with_foreign


def _describe(node: Any) -> str:
    owner = node.owner() if type(node) is Leaf and node.owner is not None else None
    if owner is not None:
        return f"the parameter {owner.path or 'without a name'!r}"
    if node.op is None or node.op is alias:
        return "a tensor that is differentiated"
    return f"a tensor with a history, of {describe_node(node)},"
