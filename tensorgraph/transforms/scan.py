"""`scan`: a loop whose steps hand a state on, as one equation that holds its body as a graph."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tensorgraph.arguments import Natural, checked
from tensorgraph.engine import modes
from tensorgraph.engine.aval import Aval
from tensorgraph.engine.batching import BatchCall, moved
from tensorgraph.engine.cells import Cell
from tensorgraph.engine.declare import op
from tensorgraph.engine.exits import ForeignError
from tensorgraph.engine.op import structural
from tensorgraph.engine.tensor import Tensor, TraceError, as_array, wrap
from tensorgraph.engine.tree import flatten, unflatten
from tensorgraph.ops.creation import zeros
from tensorgraph.ops.shape import astype, concatenate, reshape

__all__ = ["Body", "scan", "scan_op"]


# the equation: of constants, carry and xs the last carry, the stacked outputs, and the carries before each step -------


def _split(values: Sequence[Any], *sizes: int) -> list[list[Any]]:
    parts, at = [], 0
    for size in sizes:
        parts.append(list(values[at : at + size]))
        at += size
    return parts


def _infer(
    consts: Any, carry: Any, xs: Any, *, body: Any, length: int, reverse: bool, states: bool
) -> tuple[Aval, ...]:  # fmt: skip
    last, ys = _split([a.aval for a in body.outputs], len(carry), len(body.outputs) - len(carry))
    kept = [Aval((length, *a.shape), a.dtype) for a in carry] if states else []
    return (*last, *[Aval((length, *a.shape), a.dtype) for a in ys], *kept)


class Body:
    """A step as the loop's forward takes it: what it gives, and who computes that.

    Parameters
    ----------
    outputs : sequence of Var
    run : callable
        Of the arrays of constants, carry and xs: those of the outputs.
    """

    def __init__(self, outputs: Sequence[Any], run: Callable[[Sequence[Any]], list[Any]]) -> None:
        self.outputs, self.run, self.program = outputs, run, self


def _forward(consts: Any, carry: Any, xs: Any, *, body: Any, length: int, reverse: bool, states: bool) -> Any:
    run, count = body.program.run, len(carry)
    ys = [np.empty((length, *a.aval.shape), a.aval.dtype) for a in body.outputs[count:]]
    kept = [np.empty((length, *c.shape), c.dtype) for c in carry] if states else []
    consts, carry = list(consts), list(carry)
    for t in reversed(range(length)) if reverse else range(length):
        for stack, value in zip(kept, carry, strict=False):
            stack[t] = value
        outs = run([*consts, *carry, *[x[t, ...] for x in xs]])
        carry = outs[:count]
        for stack, value in zip(ys, outs[count:], strict=True):
            stack[t] = value
    return (*[np.array(c) for c in carry], *ys, *kept, kept)


def _floats(values: Sequence[Any]) -> list[int]:
    return [i for i, v in enumerate(values) if v.dtype.kind == "f"]


def _backward_body(body: Any, consts: int, carry: int, xs: int) -> Any:
    """One step of the way back as a graph: what flows to the state, to the constants so far, and to the inputs.

    Takes the constants; cotangents of the state and sums for the constants; the state before the step, the inputs,
    cotangents of the outputs, and what else flows to the state.
    """
    known = body._cache.get("scan backward")
    if known is not None:
        return known
    from tensorgraph.graph.inline import inline
    from tensorgraph.graph.trace import trace

    given = [v.aval for v in body.inputs]
    c_avals, s_avals, x_avals = _split(given, consts, carry, xs)
    y_avals = [a.aval for a in body.outputs[carry:]]
    of_c, of_s, of_x, of_y = map(_floats, (c_avals, s_avals, x_avals, y_avals))

    def step(*flat: Any) -> Any:
        sizes = (consts, len(of_s), len(of_c), carry, xs, len(of_y), len(of_s))
        cs, d_state, sums, state, inputs, d_out, more = _split(flat, *sizes)
        building = modes.current().trace
        assert building is not None
        cs, state, inputs = (
            [building.lift(v) if v.dtype.kind == "f" else v for v in group] for group in (cs, state, inputs)
        )
        outs, _ = inline(body, [*cs, *state, *inputs], [])
        ys = [outs[i] for i in of_s] + [outs[carry + i] for i in of_y]
        wanted = [state[i] for i in of_s] + [cs[i] for i in of_c] + [inputs[i] for i in of_x]
        grads = building.gradients(ys, wanted, [*d_state, *d_out], True) if ys and wanted else []
        to_state, to_consts, to_inputs = _split(grads, len(of_s), len(of_c), len(of_x))
        to_state = [a + b for a, b in zip(to_state, more, strict=True)]
        # constants gather from every step: in wide floats, so that long loops keep their digits
        total = [s + astype.public(g, dtype=s.dtype.name) for s, g in zip(sums, to_consts, strict=True)]
        return (*to_state, *total, *to_inputs)

    avals = [
        *c_avals, *[s_avals[i] for i in of_s], *[Aval(c_avals[i].shape, np.float64) for i in of_c], *s_avals, *x_avals,
        *[y_avals[i] for i in of_y], *[s_avals[i] for i in of_s],
    ]  # fmt: skip
    with modes.use(trace=None, quiet=True):
        graph = trace(step, *avals).differentiate()
    body._cache["scan backward"] = graph
    return graph


def _rule(
    want: Any, g_outs: Any, consts: Any, carry: Any, xs: Any, kept: Any, body: Any, length: int, reverse: bool,
    states: bool,
) -> Any:  # fmt: skip
    """A scan from the last step to the first."""
    recorded = any(isinstance(v, Tensor) for v in (*consts, *carry, *xs, *g_outs))

    def nothing(shape: tuple[int, ...], dtype: Any) -> Any:
        made = zeros.public(shape=shape, dtype=np.dtype(dtype).name) if recorded else np.zeros(shape, dtype)
        return made

    count, outputs = len(carry), len(body.outputs) - len(carry)
    of_c, of_s, of_x = _floats(consts), _floats(carry), _floats(xs)
    ys = [a.aval for a in body.outputs[count:]]
    of_y = _floats(ys)
    if recorded or not states:  # the states before each step with a history, or because they were not kept
        attrs = dict(body=body, length=length, reverse=reverse, states=True)
        kept = scan_op(list(consts), list(carry), list(xs), **attrs)[count + outputs :]
    flowing = [
        nothing(a.shape, a.dtype) if type(g) is float else g
        for g, a in zip(g_outs, _infer(consts, carry, xs, body=body, length=length, reverse=reverse, states=states),
                        strict=True)
    ]  # fmt: skip
    d_last, d_ys, d_kept = _split(flowing, count, outputs, count if states else 0)
    more = [d_kept[i] if states else nothing((length, *carry[i].shape), carry[i].dtype) for i in of_s]
    sums = [nothing(consts[i].shape, np.float64) for i in of_c]
    back = _backward_body(body, len(consts), count, len(xs))
    made = scan_op(
        list(consts), [*[d_last[i] for i in of_s], *sums], [*kept, *xs, *[d_ys[i] for i in of_y], *more], body=back,
        length=length, reverse=not reverse, states=recorded,
    )  # fmt: skip
    to_state, to_consts, to_inputs = _split(made, len(of_s), len(of_c), len(of_x))
    to_consts = [astype(g, dtype=consts[i].dtype.name) for g, i in zip(to_consts, of_c, strict=True)]

    def spread(values: Sequence[Any], grads: Sequence[Any], places: list[int]) -> list[Any]:
        found = dict(zip(places, grads, strict=True))
        return [found.get(i) for i in range(len(values))]

    return spread(consts, to_consts, of_c), spread(carry, to_state, of_s), spread(xs, to_inputs, of_x)


def _batch(call: BatchCall) -> Any:
    """The body for all examples at once: each has its own state."""
    consts, _, xs = call.args
    on_consts, _, on_xs = call.on
    count = len(call.args[1])
    own = [0 if on else None for on in (*on_consts, *[True] * count, *on_xs)]
    body = call.body(call.attrs["body"], own)
    steps = [moved(x, 0, 1) if on else x for x, on in zip(xs, on_xs, strict=True)]
    outs = call.run(consts, call.whole(1), steps, body=body)
    return tuple(o if i < count else moved(o, 1, 0) for i, o in enumerate(outs))


scan_op = op(
    "scan([consts], [carry], [xs], *, body, length, reverse=False, states=False) -> *outs", _forward, structural,
    infer_rule=_infer, residuals=("kept",), vjp=_rule, batch=_batch, traits=("higher order", "internal"),
    doc="A loop whose steps hand a state on: see `tensorgraph.scan`.",
)  # fmt: skip


# the function ---------------------------------------------------------------------------------------------------------


def _tensor(value: Any) -> Tensor:
    if isinstance(value, Cell):
        value = value.read()
    return value if isinstance(value, Tensor) else wrap(np.array(as_array(value)))


class _Body:
    """A step's function as a graph of flat lists, and what it uses from outside."""

    def __init__(self, function: Callable[..., Any], carry: list[Any], trees: Any, xs: list[Any]) -> None:
        self.function, self.carry, self.xs = function, carry, xs
        self.trees = trees
        self.y_tree: Any = None
        self.foreign: list[Any] = []
        self.graph, self.consts = self._made()

    def step(self, carry: Any, x: Any, *foreign: Any) -> Any:
        inner = modes.current().trace
        assert inner is not None
        inner.adopted.update((var, t._value) for var, t in zip(self.foreign, foreign, strict=True))
        result = self.function(carry, x)
        if not isinstance(result, tuple) or len(result) != 2:
            raise TypeError(f"scan: the function must give a pair (carry, output), got {type(result).__name__}")
        leaves, tree = flatten(result[0])
        if tree != self.trees[0]:
            raise TypeError(f"scan: the carry must keep its structure, {self.trees[0]}, got {tree}")
        ys, self.y_tree = flatten(result[1])
        return tuple(_tensor(v) for v in (*leaves, *ys))

    def _made(self) -> tuple[Any, list[Any]]:
        """The graph, and the constants that it takes first: cells, captured tensors, values of the trace around."""
        from tensorgraph.graph.graph import Graph
        from tensorgraph.graph.trace import trace

        def named(*args: Any) -> Any:
            return self.step(*args)

        functools.update_wrapper(named, self.function)  # its arguments are called what the user calls them
        outer = modes.current().trace
        while True:
            state = unflatten(self.trees[0], [t.aval for t in self.carry])
            x = unflatten(self.trees[1], [Aval(x.shape[1:], x.dtype) for x in self.xs])
            try:
                with modes.use(trace=None):
                    graph = trace(named, state, x, *[var.aval for var in self.foreign])
                break
            except ForeignError as error:
                if outer is None or error.value in self.foreign or not outer.knows(error.value):
                    raise  # to the trace around, which may know it
                self.foreign.append(error.value)
        if graph.writes:
            path = next(decl.path for decl in graph.cells if decl.var is graph.writes[0].cell)
            raise TraceError(
                f"scan: a step writes the cell {path or 'without a name'!r}, and steps hand on what the function gives "
                "alone: make it a part of the carry; draw random numbers before, for all steps, and pass them in xs"
            )
        made: list[Any] = [*graph.outputs]
        for i, given in enumerate(self.carry):
            got = made[i].aval
            if got != given.aval:
                raise TypeError(
                    f"scan: the carry must keep its types: part {i} was {given.aval} and became {got}; convert "
                    f"the first one, as in .astype('{got.dtype}'), or what the step gives"
                )
        captured = graph.provenance.captured
        cells = graph.provenance.cells(len(graph.cells))
        own = len(self.carry) + len(self.xs)
        held = [decl.var for decl in graph.cells]
        inputs = (*held, *captured, *graph.inputs[own:], *graph.inputs[:own])
        consts: list[Any] = list(cells)
        for var, node in captured.items():
            constant = wrap(graph.consts[var])
            constant._node = node
            consts.append(constant)
        consts += [outer.tensor(var) for var in self.foreign] if outer is not None else []
        body = Graph(
            inputs, (), {var: a for var, a in graph.consts.items() if var not in captured}, graph.equations, (),
            graph.outputs, flatten([0] * len(inputs))[1], graph.out_tree, name=graph.name,
        ).check()  # fmt: skip
        return body.differentiate() if any(eq.is_gradient for eq in body.equations) else body, consts


@checked
def scan(
    f: Callable[..., Any],
    init: Any,
    xs: Any = None,
    length: Natural | None = None,
    *,
    reverse: bool = False,
    checkpoint: bool = False,
) -> Any:
    """A loop over the first axis: ``carry, y = f(carry, x)`` a step; gives the last carry and the ys, stacked.

    Parameters
    ----------
    f : callable
        Of the carry and one x. The carry keeps its structure, shapes and dtypes. It is run once, on values without
        numbers; parameters and tensors that it uses by closure get their gradients.
    init : tree of tensors
        The first carry: a tensor, or lists, tuples and dicts of them.
    xs : tree of tensors, optional
        What the steps see, along the first axis of each.
    length : int, optional
        The number of steps, where there are no xs.
    reverse : bool
        From the last x to the first; a y stands where its x does.
    checkpoint : bool
        Of a gradient: keep some √n of the n carries, and run the steps between them again. Otherwise all n are kept.
        In both cases what a step computes inside is computed again on the way back, and never kept.

    Returns
    -------
    carry, ys
        In the structures that `f` gives.

    Raises
    ------
    TypeError
        Where the carry changes, or `f` gives no pair.
    TraceError
        Where a step needs the numbers of a value, or writes a parameter, a buffer or a random state.

    Notes
    -----
    In a graph it is one equation that holds the step as a function, however long it is, and so is its gradient: the
    loop from its end. Differentiable to any order. As `jax.lax.scan`.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> last, ys = tg.scan(lambda total, x: (total + x, total * x), 0.0, tg.tensor([1.0, 2.0, 3.0]))
    >>> float(last), ys.tolist()
    (6.0, [0.0, 2.0, 9.0])
    >>> tg.grad(lambda a: tg.scan(lambda h, _: (h * a, None), 1.0, length=5)[0])(2.0)
    tensor(80., f32)
    """
    carry, carry_tree = flatten(init)
    steps, x_tree = flatten(xs)
    carry, steps = [_tensor(c) for c in carry], [_tensor(x) for x in steps]
    n = _length(steps, length)
    if checkpoint and n > 3:
        return _in_blocks(f, unflatten(carry_tree, carry), unflatten(x_tree, steps), n, reverse)
    body = _Body(f, carry, (carry_tree, x_tree), steps)
    mode, count = modes.current(), len(carry)
    recorded = mode.trace is not None or (
        mode.grad and any(t._node is not None for t in (*body.consts, *carry, *steps))
    )
    outs = scan_op.public(
        body.consts, carry, steps, body=body.graph, length=n, reverse=reverse, states=recorded and not checkpoint
    )
    last, ys = _split(outs, count, len(body.graph.outputs) - count)
    return unflatten(carry_tree, last), unflatten(body.y_tree, ys)


def _length(xs: list[Any], length: int | None) -> int:
    if not all(x.shape for x in xs):
        raise ValueError("scan: every part of xs needs a first axis, along which the steps go")
    sizes: set[int] = {x.shape[0] for x in xs} | ({length} if length is not None else set())
    if len(sizes) != 1:
        came = f"lengths {sorted(sizes)}" if sizes else "neither xs nor length="
        raise ValueError(f"scan: xs and length= must give one number of steps, got {came}")
    return sizes.pop()


def _in_blocks(f: Callable[..., Any], carry: Any, xs: Any, n: int, reverse: bool) -> Any:
    """A scan of scans, each of about √n steps, whose own states are made again on the way back."""
    size = math.isqrt(n)
    blocks = n // size
    leaves, tree = flatten(xs)
    whole = size * blocks
    # what is left over comes first or last, as a shorter block
    inner = [x[n - whole :] if reverse else x[:whole] for x in leaves]
    rest = [x[: n - whole] if reverse else x[whole:] for x in leaves]
    cut = [reshape.public(x, shape=(blocks, size, *x.shape[1:])) for x in inner]

    def block(carry: Any, part: Any) -> Any:
        return scan(f, carry, unflatten(tree, part), size, reverse=reverse)

    carry, ys = scan(block, carry, cut, blocks, reverse=reverse)
    parts, y_tree = flatten(ys)
    parts = [reshape.public(y, shape=(whole, *y.shape[2:])) for y in parts]
    if whole == n:
        return carry, unflatten(y_tree, parts)
    carry, more = scan(f, carry, unflatten(tree, rest), n - whole, reverse=reverse)
    pairs = zip(parts, flatten(more)[0], strict=True)
    joined = [concatenate.public([b, a] if reverse else [a, b], axis=0) for a, b in pairs]
    return carry, unflatten(y_tree, joined)
