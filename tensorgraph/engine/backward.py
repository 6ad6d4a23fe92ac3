"""The backward pass: reachable nodes by descending creation number, a table of cotangents, no recursion."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from itertools import repeat
from operator import attrgetter
from typing import Any

import numpy as np

from tensorgraph.arguments import brief, checked
from tensorgraph.engine import known, modes
from tensorgraph.engine.cells import release
from tensorgraph.engine.exits import caller, leave, unwatched, wants, warn_of
from tensorgraph.engine.pull import deposit, pull_recorded
from tensorgraph.engine.table import Table, Total, run_of, whole
from tensorgraph.engine.tape import Leaf, Node, Projection, any_hooks, describe_node, getframe
from tensorgraph.engine.tensor import Tensor, as_array, require_float, wrap
from tensorgraph.engine.tree import flatten, unflatten

__all__ = ["backward", "gradients", "leading_to", "reachable", "unproject"]

ndarray = np.ndarray
_number = attrgetter("number")
_grad_lock = threading.Lock()


def reachable(roots: list[Any], ends: Any = ()) -> list[Any]:
    """Every node that the roots depend on, newest first; `ends` too, not looking behind them."""
    seen: set[Any] = {*roots, *ends}
    found = [node for node in dict.fromkeys(roots) if node not in ends]
    push, add = found.append, seen.add
    for node in found:  # which grows: nearly newest first, so that sorting takes little
        for parent in node.parents:
            if parent is not None and parent not in seen:
                if type(parent) is not tuple:
                    add(parent)
                    push(parent)
                else:
                    for p in parent:
                        if p is not None and p not in seen:
                            add(p)
                            push(p)
    found += dict.fromkeys(ends)
    found.sort(key=_number, reverse=True)
    return found


def wanted_outside(tensors: Sequence[Tensor], own: Sequence[Tensor]) -> bool:
    """Whether these tensors depend on anything but `own` that somebody may want a gradient of."""
    mine = {t._node for t in own}
    roots = [t._node for t in tensors if t._node is not None]
    return modes.current().grad and any(
        type(node) is Leaf and wants(node) and node not in mine for node in reachable(roots)
    )


def wanted_leaves(nodes: list[Any]) -> list[Leaf]:
    """The leaves of the user's behind these places, of which gradients may still be asked for."""
    return [node for node in reachable(nodes) if type(node) is Leaf and node.user and wants(node)]


def leading_to(order: list[Any], targets: set[Any]) -> set[Any]:
    """Those of the nodes from which a target is reached."""
    needed: set[Any] = set()
    for node in reversed(order):
        if node in targets:
            needed.add(node)
            continue
        for parent in node.parents:
            if parent in needed if type(parent) is not tuple else any(p in needed for p in parent):
                needed.add(node)
                break
    return needed


def run(
    roots: list[tuple[Any, Any]],
    targets: set[Any] | None,
    *,
    create_graph: bool | None,
    retain: bool,
    through: bool = True,
) -> dict[Any, Any]:
    """Cotangents (arrays or, with `create_graph`, Tensors) at the targets; None: at every leaf.

    ``create_graph=None`` records exactly where something besides the targets wants a gradient. Without `through`, the
    pass ends at a target: what one target owes to another is left to whoever goes on from there.
    """
    # The plan:
    # 1. with targets, which of the nodes behind the roots lead there;
    # 2. the roots' cotangents go into a table, by node; who has something there waits, and the newest is next: whoever
    #    else may add to it is newer;
    # 3. each node takes its own out: a target keeps it, a node's rules turn it into contributions to its parents, added
    #    up in the table, a projection hands it to its slot; leaves come last;
    # 4. what was saved is let go of on the way, unless the pass is recorded or kept.
    mode = modes.current()
    if targets is None and not (create_graph or mode.debug_nans or any_hooks()):
        return _run_plain(roots, retain)
    ends = () if through or targets is None else targets
    needed = None
    if targets is not None:
        order = reachable([node for node, _ in roots], ends)
        needed = leading_to(order, targets)
        if create_graph is None:
            given = any(isinstance(g, Tensor) and g._node is not None for _, g in roots)
            outside = any(type(node) is Leaf and wants(node) and node not in targets for node in order)
            # a hook may use what a transform around this pass differentiates
            hooks = bool(mode.watched) and any_hooks() and any(getattr(node, "hooks", None) for node in order)
            create_graph = mode.grad and (given or outside or hooks)
    retain = retain or bool(create_graph)  # a recorded pass leads back through the same nodes
    table = Table()
    result: dict[Any, Any] = {}
    debug, hooked, recorded = mode.debug_nans, any_hooks(), bool(create_graph)
    # a rule that runs a function again, as a checkpoint's, may take derivatives in it: they are wanted on the way here
    closed = [node for node in targets or () if type(node) is Leaf and not node.live]
    with modes.use(grad=recorded, pulled=(*mode.pulled, *closed) if closed else mode.pulled):
        for node, g in roots:
            if needed is not None and node not in needed:
                continue
            if recorded:
                g = g if isinstance(g, Tensor) else wrap(g)
            elif isinstance(g, Tensor):
                g = g._value
            deposit(table, node, g, recorded)
        waiting = table.waiting
        while table:
            if not waiting:  # leaves are left
                waiting += sorted(table, key=_number)
            node = waiting.pop()
            g = whole(table.pop(node), recorded)
            if node in ends:  # its hooks see the whole gradient where the pass goes on
                result[node] = g
                continue
            if hooked and getattr(node, "hooks", None):
                g = _run_hooks(node, g, recorded)
            kind = type(node)
            if targets is not None and node in targets:
                result[node] = g
            if kind is Node:
                if recorded:
                    pull_recorded(node, g, table, needed)
                else:
                    node.op.pull(node, g, table, needed)
                if not retain:
                    node.saved = None
                if debug:
                    _check_finite(node, g, table)
            elif kind is Projection:
                unproject(node, g, table, recorded)
            elif targets is None:
                result[node] = g
    return result


def _run_plain(roots: list[tuple[Any, Any]], retain: bool) -> dict[Any, Any]:
    """The usual pass, to every leaf on plain arrays, with nothing to look out for: the loop that must be fast."""
    table = Table()
    for node, g in roots:
        deposit(table, node, g, False)
    waiting, pop = table.waiting, table.pop
    while waiting:
        node = waiting.pop()
        g = pop(node)
        if type(g) is Total:
            g = g.whole(False)
        if type(node) is Node:
            pull = node.op.pull
            pull(node, g, table, None)
            if not retain:
                node.saved = None
        else:
            unproject(node, g, table, False)
    for node, g in table.items():
        if type(g) is Total:
            table[node] = g.whole(False)
    return table


def unproject(node: Any, g: Any, table: Table, recorded: bool) -> None:
    """Pass one output's gradient on to its slot."""
    parent = node.parents[0]
    slots = table.get(parent)
    if slots is None:
        slots = table[parent] = [0.0] * len(parent.shape)
        table.wait(parent)
    old = slots[node.index]
    slots[node.index] = g if type(old) is float else _plus(old, g, recorded)


def _plus(a: Any, b: Any, recorded: bool) -> Any:
    return known.add(a, b) if recorded else np.asarray(a + b)


ARRAY = (
    "a gradient hook gives an array, so that a derivative of this gradient would miss it: let it compute with "
    "tensorgraph's functions, or give a tensor where no derivative is meant to flow"
)


def _run_hooks(node: Any, g: Any, recorded: bool) -> Any:
    if isinstance(g, list):
        return g
    for entry in list(node.hooks):
        if not entry:  # removed
            continue
        with unwatched():
            changed = entry[0](g if isinstance(g, Tensor) else wrap(g))
        if changed is not None:
            if recorded and not isinstance(changed, Tensor) and g._node is not None:
                leave(g, "an array from a gradient hook in place")
                if wanted_leaves([g._node]):
                    warn_of(caller(getframe(1)), ARRAY)
            changed = changed if isinstance(changed, Tensor) else wrap(np.array(as_array(changed)))
            if changed.shape != tuple(node.shape):
                raise ValueError(f"a gradient hook returned shape {changed.shape}, expected {tuple(node.shape)}")
            if changed.dtype != node.dtype:
                changed = known.astype.public(changed, dtype=node.dtype.name)
            g = changed if recorded else changed._value
    return g


def _check_finite(node: Any, g: Any, table: Table) -> None:
    if not _finite(g):
        return
    for parent in node.parents:
        for p in parent if isinstance(parent, tuple) else (parent,):
            if p is not None and p in table and not _finite(run_of(table[p])):
                raise FloatingPointError(f"the gradient of {describe_node(node)} is not finite though what came was")


def _finite(v: Any) -> bool:
    if isinstance(v, list):
        return all(_finite(i) for i in v)
    v = v._value if isinstance(v, Tensor) else v
    return type(v) is not ndarray or bool(np.isfinite(v).all())


def cotangent(y: Tensor, g: Any, what: str) -> Any:
    """A cotangent for `y`: as given, or 1 where `y` has one element."""
    own = y._value
    if g is None:
        if own.__class__ is ndarray and own.size == 1:
            one = np.empty(own.shape, own.dtype)
            one.fill(1)
            return one
        if y.size != 1:
            raise ValueError(
                f"{what}: a tensor of one element is needed, got {y.aval}; reduce it with .sum() or .mean(), "
                "or pass the cotangent"
            )
        return np.ones(y.shape, y.dtype)
    if type(g) is Tensor and g._value.__class__ is ndarray:
        value = g._value
        if own.__class__ is ndarray and value.shape == own.shape and value.dtype is own.dtype:
            return g
    if not isinstance(g, Tensor):
        g = wrap(np.array(as_array(g, y.dtype)))  # a copy: a recorded pass keeps it
    if g.shape != y.shape:
        raise ValueError(f"{what}: the cotangent must have the output's shape {y.shape}, got {g.shape}")
    return g if g.dtype == y.dtype else known.astype(g, dtype=y.dtype.name)


def backward(t: Tensor, grad_output: Any, retain_graph: bool, create_graph: bool) -> None:
    """See `Tensor.backward`."""
    trace = modes.current().trace
    if trace is not None:
        trace.backward(t, grad_output, create_graph)
        return
    if t._node is None:
        raise RuntimeError(
            "backward: this tensor does not depend on anything that requires a gradient. Make inputs with "
            "requires_grad=True or use Parameters, and compute outside no_grad"
        )
    g = cotangent(t, grad_output, "backward")
    found = run([(t._node, g)], None, create_graph=create_graph, retain=retain_graph or create_graph)
    with _grad_lock:
        leaves: list[Leaf] = []
        grads: list[Tensor] = []
        while found:
            leaf, grad = found.popitem()
            if not leaf.user:
                continue
            leaves.append(leaf)
            old = leaf.grad
            history = grad._node if create_graph else None
            holder = grad if old is not None and create_graph else wrap(grad._value if create_graph else grad)
            del grad
            if old is None:
                release(holder)._node = history
                grads.append(holder)
            elif create_graph or old._node is not None:  # an earlier pass was recorded: its history stays
                grads.append(old + holder)
            else:
                grads.append(wrap(np.asarray(old._value + holder._value)))
        if len(leaves) == 1:
            leaves[0].grad = grads[0]
        else:  # one call of C, which Ctrl-C does not cut in two
            deque(map(setattr, leaves, repeat("grad"), grads), maxlen=0)


Tensor._backward = backward


@checked
def gradients(
    ys: Any, xs: Any, grad_outputs: Any = None, *, create_graph: bool = False, retain_graph: bool | None = None
) -> Any:
    """Gradients of the sum of `ys` (weighted by `grad_outputs`) with respect to `xs`.

    Parameters
    ----------
    ys : Tensor or tree of Tensors
    xs : Tensor or tree of Tensors
        Leaves or intermediate tensors, each requiring a gradient.
    grad_outputs : like `ys`, optional
        Cotangents; 1 for each output of one element.
    create_graph : bool
        Record the pass, so that the result can be differentiated.
    retain_graph : bool, optional
        Allow a second pass; follows `create_graph` unless given.

    Returns
    -------
    like `xs`
        Zeros where `ys` do not depend on an x.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> x = tg.tensor(3.0, requires_grad=True)
    >>> dx = tg.gradients(x ** 3, x, create_graph=True)
    >>> float(dx), float(tg.gradients(dx, x))
    (27.0, 18.0)
    """
    y_leaves, y_tree = flatten(ys)
    x_leaves, x_tree = flatten(xs)
    if grad_outputs is None:
        g_leaves: Sequence[Any] = [None] * len(y_leaves)
    else:
        g_leaves, g_tree = flatten(grad_outputs, y_tree)
        if g_tree != y_tree:
            raise ValueError(f"gradients: grad_outputs must be structured like ys, {y_tree}, got {brief(str(g_tree))}")
    for y in y_leaves:
        if not isinstance(y, Tensor):
            raise TypeError(f"gradients: ys must be Tensors, got {type(y).__name__}")
    for x in x_leaves:
        if not isinstance(x, Tensor):
            raise TypeError(f"gradients: xs must be Tensors, got {type(x).__name__}")
        require_float(x.dtype, "gradients with respect to an x")
    trace = modes.current().trace
    if trace is not None:
        return unflatten(x_tree, trace.gradients(y_leaves, x_leaves, g_leaves, create_graph))
    for i, x in enumerate(x_leaves):
        if x._node is None:
            raise RuntimeError(
                f"gradients: xs[{i}] ({x.aval}) does not require a gradient; make it with requires_grad=True"
            )
    retain = create_graph if retain_graph is None else retain_graph
    return unflatten(x_tree, pull_back(y_leaves, x_leaves, g_leaves, create_graph, retain))


def pull_back(
    ys: Sequence[Tensor],
    xs: Sequence[Tensor],
    gs: Sequence[Any],
    create_graph: bool | None,
    retain: bool,
    through: bool = True,
) -> list[Tensor]:
    """Gradients as a list of Tensors, zeros where nothing arrives. For `through` see `run`."""
    roots = []
    for y, g in zip(ys, gs, strict=True):
        if y._node is None:
            continue
        roots.append((y._node, cotangent(y, g, "gradients")))
    targets = {x._node for x in xs}
    found = run(roots, targets, create_graph=create_graph, retain=retain, through=through) if roots else {}
    done: dict[Any, Tensor] = {}
    for x in xs:
        node = x._node
        if node in done:
            continue
        if node not in found:
            done[node] = wrap(np.zeros(x.shape, x.dtype))
        elif isinstance(found[node], Tensor):
            done[node] = found[node]
        else:
            done[node] = release(wrap(found.pop(node)))
    return [done[x._node] for x in xs]
