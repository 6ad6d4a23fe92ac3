"""`checkpoint`: a function computed again in the backward pass instead of kept. (Chen et al., arXiv:1604.06174)"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from tensorgraph.arguments import checked
from tensorgraph.engine import modes
from tensorgraph.engine.aval import Aval
from tensorgraph.engine.cells import Cell, Recording, Replay
from tensorgraph.engine.declare import op
from tensorgraph.engine.exits import depends, watching
from tensorgraph.engine.op import structural
from tensorgraph.engine.tape import Leaf, next_number
from tensorgraph.engine.tensor import Tensor, as_array, wrap
from tensorgraph.engine.tree import flatten, unflatten
from tensorgraph.ops.structure import alias

__all__ = ["checkpoint"]


class Block:
    """One call of a checkpointed function: all that is needed to run it again as it ran."""

    __slots__ = ("avals", "entry", "function", "mode", "outside", "results", "statics", "treedef")

    def __init__(self, function: Callable[..., Any], treedef: Any) -> None:
        self.function = function
        self.treedef = treedef
        self.mode = modes.current()
        self.statics: dict[int, Any] = {}  # arguments that are not differentiated, by position
        self.entry: dict[Cell, Tensor] = {}  # the cells that it reads, as the first run found them
        self.outside: tuple[Any, ...] = ()  # the places on the tape that it uses besides its arguments
        self.avals: tuple[Aval, ...] = ()  # of the results
        self.results: list[Any] = []  # the first run's, handed over once: nobody here keeps them alive

    def call(self, lifted: list[Tensor], cells: Recording | Replay) -> tuple[list[Any], Any]:
        """The outputs for these arguments, cells read and written through `cells`."""
        chosen = iter(lifted)
        leaves = [self.statics[i] if i in self.statics else next(chosen) for i in range(self.treedef.size)]
        kept = {name: getattr(self.mode, name) for name in ("implementation", "scope")}
        with modes.use(grad=True, cells=cells, **kept):
            args, kwargs = unflatten(self.treedef, leaves)
            return flatten(self.function(*args, **kwargs))

    def again(self, args: Any) -> tuple[list[Any], list[Tensor]]:
        """The call once more, for looking at its tape: the names of the arguments there, and the results."""
        with modes.use(grad=True, quiet=True, watched=None):
            lifted = _lift(args)
            try:
                outs, _ = self.call(lifted, Replay(self.entry))
            finally:
                _close(lifted)
        return [t._node for t in lifted], [t.read() if isinstance(t, Cell) else t for t in outs]

    def take(self) -> tuple[Any, ...]:
        results, self.results = self.results, []
        return tuple(results)


def _lift(values: Any) -> list[Tensor]:
    """The arguments under names of their own, so that what flows to them by other ways is not counted here."""
    lifted = []
    for value in values:
        if isinstance(value, Tensor) and value._node is not None:
            lifted.append(alias.public(value))
            continue
        t = wrap(value._value if isinstance(value, Tensor) else value)
        t._node = Leaf(t.shape, t.dtype, user=False)
        lifted.append(t)
    return lifted


def _close(lifted: list[Tensor]) -> None:
    for t in lifted:
        if type(t._node) is Leaf:
            t._node.live = False


def _rule(want: Any, g_outs: Any, args: Any, block: Block) -> Any:
    from tensorgraph.engine.backward import pull_back

    recorded = any(isinstance(v, Tensor) for v in (*args, *g_outs))
    with modes.use(grad=True, quiet=True):
        with modes.use(trace=None):  # what ran on numbers does so again, also where its gradient is traced
            lifted = _lift(args)
        try:
            with modes.use(trace=None):
                outs, _ = block.call(lifted, Replay(block.entry))
            live = [(y, g) for y, g in zip(outs, g_outs, strict=True) if type(g) is not float]
            others = []
            for node in block.outside:
                t = wrap(np.broadcast_to(np.zeros((), node.dtype), node.shape))
                t._node = node
                others.append(t)
            found = pull_back(
                [y for y, _ in live], [*lifted, *others], [g if isinstance(g, Tensor) else wrap(g) for _, g in live],
                recorded, True, through=False,
            )  # fmt: skip
        finally:
            _close(lifted)
    grads = found if recorded else [g._value for g in found]
    return grads[: len(lifted)], grads[len(lifted) :]


checkpoint_op = op(
    "checkpoint([args], [outside], *, block) -> *outs",
    lambda args, outside, *, block: block.take(), structural, vjp=_rule,
    infer_rule=lambda args, outside, *, block: block.avals, traits=("higher order", "internal"),
    doc="A function computed again in the backward pass: see `checkpoint`.",
)  # fmt: skip


def _frontier(outs: list[Any], start: int, lifted: list[Tensor]) -> tuple[tuple[Any, ...], set[Any]]:
    """The places on the tape that are older than the call and that its outputs depend on, and those of arguments."""
    own = {t._node for t in lifted}
    found: dict[Any, None] = {}
    seen: set[Any] = set()
    stack = [t._node for t in outs if isinstance(t, Tensor) and t._node is not None]
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        if node in own:
            continue
        if node.number < start or (type(node) is Leaf and node.user):  # or a parameter made in the call
            found[node] = None
            continue
        for parent in node.parents:
            stack.extend(p for p in (parent if type(parent) is tuple else (parent,)) if p is not None)
    return tuple(sorted(found, key=lambda node: node.number)), seen & own


@checked
def checkpoint(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, keeping none of its intermediate values: the backward pass computes them again.

    Trades time for memory. Parameters and tensors that the function uses by closure get their gradients too. The second
    run finds parameters, buffers and random states as the first one found them, and what it writes is thrown away: a
    Dropout layer inside draws the same mask, and running averages move once. Whatever else it looks at, such as a
    module's ``training`` flag or an array that is not an argument, must not change before the backward pass.

    Raises
    ------
    TypeError
        At a call, where the function returns anything but tensors and numbers.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> layer = tg.checkpoint(lambda x: tg.tanh(x * x))
    >>> x = tg.tensor(0.5, requires_grad=True)
    >>> layer(x).backward()
    >>> round(float(x.grad), 4)
    0.94
    """
    # The plan of a call:
    # 1. arguments with a history become leaves of the call's own, all others are kept as they are;
    # 2. the function runs once, recording, while what it reads of cells is noted;
    # 3. what its outputs hang on besides is found on that tape (parameters, captured tensors), which is then let go of;
    # 4. one node stands for the call, its parents the arguments and what was found: its rule runs the function again.

    @functools.wraps(function)
    def again(*args: Any, **kwargs: Any) -> Any:
        mode = modes.current()
        # a graph keeps or computes again as its evaluation decides, and without gradients nothing is kept anyway
        if mode.trace is not None or not mode.grad:
            return function(*args, **kwargs)
        leaves, treedef = flatten([list(args), kwargs])
        block = Block(function, treedef)
        tensors = []
        places = []
        for i, leaf in enumerate(leaves):
            if isinstance(leaf, Tensor) and not isinstance(leaf, Cell) and leaf._node is not None:
                tensors.append(leaf)
                places.append(i)
            elif isinstance(leaf, np.ndarray):
                block.statics[i] = wrap(as_array(leaf).copy())  # the user may change it before the second run
            else:
                block.statics[i] = leaf
        start = next_number()
        recording = Recording(mode.cells)
        lifted = []
        for t in tensors:  # leaves, whatever the arguments hang on: the second run may need other names
            inner = wrap(t._value)
            inner._node = Leaf(t.shape, t.dtype, user=False)
            lifted.append(inner)
        watched = [inner for t, inner in zip(tensors, lifted, strict=True) if depends(t._node, mode.watched or ())]
        try:
            with watching(watched) if watched else contextlib.nullcontext():
                outs, out_tree = block.call(lifted, recording)
        finally:
            _close(lifted)
        block.entry = recording.entry
        block.outside, reached = _frontier(outs, start, lifted)
        for i, inner in zip(places, lifted, strict=True):  # what the results do not depend on is no parent of theirs
            if inner._node not in reached:
                block.statics[i] = wrap(inner._value)
        tensors = [t for t, inner in zip(tensors, lifted, strict=True) if inner._node in reached]
        used = any(isinstance(t, Tensor) and t._node is not None for t in outs)
        outs = [_output(t) for t in outs]
        if not used:
            return unflatten(out_tree, outs)
        outside = []
        for node in block.outside:
            t = wrap(np.zeros((0,), node.dtype))
            t._node = node
            outside.append(t)
        block.results = [t._value for t in outs]
        block.avals = tuple(t.aval for t in outs)
        del outs
        return unflatten(out_tree, checkpoint_op.public(tensors, outside, block=block))

    return again


def _output(value: Any) -> Tensor:
    if isinstance(value, Cell):
        value = value.read()
    if isinstance(value, Tensor):
        return wrap(value._value)
    return wrap(as_array(value))
