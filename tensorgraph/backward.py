"""The backward pass: reachable nodes by descending creation number, a table of cotangents, no recursion.

Rules run on plain arrays where nobody will differentiate the result (the fast pass), and on Tensors, recorded, where
somebody may.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from operator import attrgetter
from typing import Any, NoReturn

import numpy as np

from tensorgraph import modes
from tensorgraph.cells import release
from tensorgraph.op import CATALOGUE
from tensorgraph.tape import Leaf, Node, Projection, any_hooks, describe_node
from tensorgraph.tensor import Tensor, as_array, new, require_float, wrap
from tensorgraph.tree import flatten, unflatten

__all__ = ["backward", "gradients"]

ndarray = np.ndarray
_number = attrgetter("number")
_grad_lock = threading.Lock()


class Table(dict[Any, Any]):
    """Cotangents waiting at their nodes, and which of those arrays this pass made itself."""

    __slots__ = ("owned",)

    def __init__(self) -> None:
        super().__init__()
        self.owned: set[Any] = set()


def accumulate(table: Table, parent: Any, c: Any) -> None:
    """Add a further contribution; in place only into a sum that this pass made itself."""
    old = table[parent]
    if parent in table.owned:
        np.add(old, c, old)
    else:
        table[parent] = np.asarray(old + c)
        table.owned.add(parent)


def fit(c: Any, parent: Any) -> Any:
    """A contribution in its parent's shape and dtype: unbroadcasting happens here and nowhere else."""
    if type(c) is not ndarray:
        c = np.asarray(c)
    shape = parent.shape
    if c.shape != shape:
        extra = c.ndim - len(shape)
        if extra > 0:
            c = np.add.reduce(c, axis=tuple(range(extra)))
        axes = tuple(i for i, n in enumerate(shape) if n == 1 and c.shape[i] != 1) if c.ndim == len(shape) else ()
        if axes:
            c = np.add.reduce(c, axis=axes, keepdims=True)
        if np.shape(c) != shape:
            c = np.broadcast_to(c, shape)
        c = np.asarray(c)
    if c.dtype != parent.dtype:
        c = c.astype(parent.dtype)
    return c


def fit_tensor(c: Any, parent: Any) -> Tensor:
    """As `fit`, recorded."""
    if not isinstance(c, Tensor):
        c = wrap(as_array(c, parent.dtype))
    shape = parent.shape
    if c.shape != shape:
        extra = c.ndim - len(shape)
        if extra > 0:
            c = CATALOGUE["sum"](c, axis=tuple(range(extra)))
        axes = tuple(i for i, n in enumerate(shape) if n == 1 and c.shape[i] != 1) if c.ndim == len(shape) else ()
        if axes:
            c = CATALOGUE["sum"](c, axis=axes, keepdims=True)
        if c.shape != shape:
            c = CATALOGUE["broadcast_to"](c, shape=shape)
    if c.dtype != parent.dtype:
        c = CATALOGUE["astype"](c, dtype=parent.dtype.name)
    return c  # type: ignore[no-any-return]


def freed(node: Any) -> NoReturn:
    """Raise for a second backward through the same node."""
    raise RuntimeError(
        f"backward through {describe_node(node)} a second time: what it had saved was freed by the first pass. "
        "Pass retain_graph=True to the first backward, or compute the forward again"
    )


def pull_joint(node: Any, g: Any, table: Table, needed: Any) -> None:
    """The gradient on arrays of an op with a joint rule, list inputs or several outputs."""
    _pull(node, g, table, needed, recorded=False)


def pull_recorded(node: Any, g: Any, table: Table, needed: Any) -> None:
    """The gradient of any op, recorded."""
    _pull(node, g, table, needed, recorded=True)


def _pull(node: Any, g: Any, table: Table, needed: Any, recorded: bool) -> None:
    op = node.op
    if node.saved is None:
        freed(node)
    saved = dict(zip(op.calls["saves"], node.saved, strict=True))
    parents = dict(zip(op.inputs, node.parents, strict=True))

    def value(name: str) -> Any:
        if name in saved:
            item = saved[name]
            return _proxy(node, op, name, item, parents) if recorded else item
        if name == "want":
            return tuple(_wants(p, needed) for p in node.parents)
        if name == "g":
            return g
        if name.startswith("g_"):
            return g if op.signature.variadic else g[op.outputs.index(name[2:])]
        return node.attrs[name]

    if op.joint is not None:
        if op.joint.params == ("want", "*"):
            args = tuple(value(name) for name in op.inputs)
            several = g if isinstance(g, list) else [g]
            contributions = op.joint.function(value("want"), args, several, node.attrs)
        else:
            contributions = op.joint.function(**{name: value(name) for name in op.joint.params})
        if not isinstance(contributions, (tuple, list)):
            contributions = (contributions,)
        pairs = list(zip(node.parents, contributions, strict=True))
    else:
        pairs = []
        for name, parent in parents.items():
            rule = op.rules[name]
            if rule is not None and _wants(parent, needed):
                own = f"{name}_aval"
                given = {p: parent if p == own and p not in saved else value(p) for p in rule.params}
                pairs.append((parent, rule.function(**given)))
    for parent, contribution in pairs:
        if isinstance(parent, tuple):
            for q, c in zip(parent, contribution, strict=True):
                if c is not None and _wants(q, needed):
                    _deposit(table, q, c, recorded)
        elif contribution is not None and _wants(parent, needed):
            _deposit(table, parent, contribution, recorded)


# functions of their own rather than closures that name themselves: such a closure is a cycle, which keeps what it sees


def _wants(p: Any, needed: Any) -> bool:
    if isinstance(p, tuple):
        return any(_wants(q, needed) for q in p)
    return p is not None and (needed is None or p in needed)


def _deposit(table: Table, parent: Any, c: Any, recorded: bool) -> None:
    if recorded:
        c = fit_tensor(c, parent)
        table[parent] = CATALOGUE["add"](table[parent], c) if parent in table else c
        return
    if isinstance(c, Tensor):
        c = c._value
    c = fit(c, parent)
    if parent in table:
        accumulate(table, parent, c)
    else:
        table[parent] = c


def _proxy(node: Any, op: Any, name: str, item: Any, parents: Any) -> Any:
    """A saved value as a Tensor in its old place in the graph."""
    if isinstance(item, list):
        if name not in parents:  # avals
            return item
        nodes = parents[name] or (None,) * len(item)
        return [_place(i, p) for i, p in zip(item, nodes, strict=True)]
    if type(item) is not ndarray:
        return item
    if name in parents:
        return _place(item, parents[name])
    if name in op.outputs and item.dtype.kind == "f":
        # a fresh projection of a several-output op: a kept one would make a cycle
        return _place(item, node if op.single else Projection(node, op.outputs.index(name)))
    return wrap(item)


def _place(item: Any, node: Any) -> Any:
    if type(item) is not ndarray:
        return item
    t = new(Tensor)
    t._value = item
    t._node = node
    return t


def reachable(roots: list[Any], ends: Any = ()) -> list[Any]:
    """Every node that the roots depend on, newest first; `ends` too, not looking behind them."""
    seen: set[Any] = {*roots, *ends}
    stack = [node for node in roots if node not in ends]
    pop, push, add = stack.pop, stack.append, seen.add
    while stack:
        for parent in pop().parents:
            if parent is not None and parent not in seen:
                if type(parent) is not tuple:
                    add(parent)
                    push(parent)
                else:
                    for p in parent:
                        if p is not None and p not in seen:
                            add(p)
                            push(p)
    return sorted(seen, key=_number, reverse=True)


def wanted_outside(tensors: Sequence[Tensor], own: Sequence[Tensor]) -> bool:
    """Whether these tensors depend on anything but `own` that somebody may want a gradient of."""
    mine = {t._node for t in own}
    roots = [t._node for t in tensors if t._node is not None]
    return modes.current().grad and any(
        type(node) is Leaf and node.live and node not in mine for node in reachable(roots)
    )


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
    ends = () if through or targets is None else targets
    order = reachable([node for node, _ in roots], ends)
    needed = None if targets is None else leading_to(order, targets)
    if create_graph is None:
        assert targets is not None
        given = any(isinstance(g, Tensor) and g._node is not None for _, g in roots)
        outside = any(type(node) is Leaf and node.live and node not in targets for node in order)
        create_graph = modes.current().grad and (given or outside)
    retain = retain or create_graph  # a recorded pass leads back through the same nodes
    table = Table()
    result: dict[Any, Any] = {}
    debug = modes.current().debug_nans
    if not (create_graph or debug or any_hooks()) and needed is None:
        _run_plain(roots, order, table, result, retain)
        return result
    with modes.use(grad=True) if create_graph else modes.use(grad=False):
        for node, g in roots:
            if needed is not None and node not in needed:
                continue
            if create_graph:
                g = g if isinstance(g, Tensor) else wrap(g)
            elif isinstance(g, Tensor):
                g = g._value
            _deposit(table, node, g, create_graph)
        pop = table.pop
        hooked = any_hooks()
        for node in order:
            g = pop(node, None)
            if g is None:
                continue
            if node in ends:  # its hooks see the whole gradient where the pass goes on
                result[node] = g
                continue
            if hooked and getattr(node, "hooks", None):
                g = _run_hooks(node, g, create_graph)
            kind = type(node)
            if targets is not None and node in targets:
                result[node] = g
            if kind is Node:
                if create_graph:
                    pull_recorded(node, g, table, needed)
                else:
                    node.op.pull(node, g, table, needed)
                if not retain:
                    node.saved = None
                if debug:
                    _check_finite(node, g, table)
            elif kind is Projection:
                _unproject(node, g, table, create_graph)
            elif targets is None:
                result[node] = g
    return result


NO_GRAD = modes.Mode(grad=False)


def _run_plain(
    roots: list[tuple[Any, Any]], order: list[Any], table: Table, result: dict[Any, Any], retain: bool
) -> None:
    """The usual pass, to every leaf on plain arrays, with nothing to look out for: the loop that must be fast."""
    token = modes.MODE.set(NO_GRAD)
    try:
        for node, g in roots:
            _deposit(table, node, g, False)
        pop = table.pop
        for node in order:
            g = pop(node, None)
            if g is None:
                continue
            kind = type(node)
            if kind is Node:
                node.op.pull(node, g, table, None)
                if not retain:
                    node.saved = None
            elif kind is Leaf:
                result[node] = g
            else:
                _unproject(node, g, table, False)
    finally:
        modes.MODE.reset(token)


def _unproject(node: Any, g: Any, table: Table, recorded: bool) -> None:
    """Pass one output's gradient on to its slot."""
    parent = node.parents[0]
    slots = table.get(parent)
    if slots is None:
        slots = table[parent] = [0.0] * len(parent.shape)
    old = slots[node.index]
    slots[node.index] = g if type(old) is float else _plus(old, g, recorded)


def _plus(a: Any, b: Any, recorded: bool) -> Any:
    return CATALOGUE["add"](a, b) if recorded else np.asarray(a + b)


def _run_hooks(node: Any, g: Any, recorded: bool) -> Any:
    if isinstance(g, list):
        return g
    for entry in list(node.hooks):
        if not entry:  # removed
            continue
        changed = entry[0](g if isinstance(g, Tensor) else wrap(g))
        if changed is not None:
            changed = changed if isinstance(changed, Tensor) else wrap(as_array(changed))
            if changed.shape != tuple(node.shape):
                raise ValueError(f"a gradient hook returned shape {changed.shape}, expected {tuple(node.shape)}")
            g = changed if recorded else changed._value
    return g


def _check_finite(node: Any, g: Any, table: Table) -> None:
    if not _finite(g):
        return
    for parent in node.parents:
        for p in parent if isinstance(parent, tuple) else (parent,):
            if p is not None and p in table and not _finite(table[p]):
                raise FloatingPointError(f"the gradient of {describe_node(node)} is not finite though what came was")


def _finite(v: Any) -> bool:
    if isinstance(v, list):
        return all(_finite(i) for i in v)
    v = v._value if isinstance(v, Tensor) else v
    return type(v) is not ndarray or bool(np.isfinite(v).all())


def cotangent(y: Tensor, g: Any, what: str) -> Any:
    """A cotangent for `y`: as given, or 1 where `y` has one element."""
    if g is None:
        if y.size != 1:
            raise ValueError(
                f"{what}: a tensor of one element is needed, got {y.aval}; reduce it with .sum() or .mean(), "
                "or pass the cotangent"
            )
        return np.ones(y.shape, y.dtype)
    if not isinstance(g, Tensor):
        g = wrap(as_array(g, y.dtype))
    if g.shape != y.shape:
        raise ValueError(f"{what}: the cotangent must have the output's shape {y.shape}, got {g.shape}")
    return g if g.dtype == y.dtype else CATALOGUE["astype"](g, dtype=y.dtype.name)


def backward(t: Tensor, grad_output: Any = None, *, retain_graph: bool = False, create_graph: bool = False) -> None:
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
        while found:
            leaf, grad = found.popitem()
            if not leaf.user:
                continue
            if create_graph:
                history = grad._node
                grad = release(wrap(grad._value)) if leaf.grad is None else leaf.grad + grad
                if leaf.grad is None:
                    grad._node = history
                leaf.grad = grad
                continue
            holder = wrap(grad)
            del grad
            if leaf.grad is None:
                leaf.grad = release(holder)
            else:
                leaf.grad = wrap(np.asarray(leaf.grad._value + holder._value))


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
        g_leaves, g_tree = flatten(grad_outputs)
        if g_tree != y_tree:
            raise ValueError(f"gradients: grad_outputs must be structured like ys, {y_tree}, got {g_tree}")
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
