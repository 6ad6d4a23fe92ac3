"""The gradient of one recorded node: what its rules give, in its parents' shapes and dtypes, added up in a table.

Rules run on plain arrays where nobody will differentiate the result (the fast pass, a function generated for each op at
its first use), and on Tensors, recorded, where somebody may.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np

from tensorgraph.engine import known, modes
from tensorgraph.engine.direct import LARGE, direct_rule
from tensorgraph.engine.inlining import written_out
from tensorgraph.engine.op import Op, Rule, elementwise
from tensorgraph.engine.source import define
from tensorgraph.engine.sums import total
from tensorgraph.engine.table import RUN, Table, Total, insert
from tensorgraph.engine.tape import INTERNAL, Leaf, describe_node, projection
from tensorgraph.engine.tensor import Tensor, as_array, new, wrap

__all__ = [
    "contributions",
    "deposit",
    "fit",
    "fit_tensor",
    "freed",
    "is_ours",
    "make_pull",
    "pull_joint",
    "pull_recorded",
]

ndarray = np.ndarray


def fit(c: Any, parent: Any) -> Any:
    """A contribution in its parent's shape and dtype: unbroadcasting happens here and nowhere else."""
    if type(c) is not ndarray:
        c = np.asarray(c)
    shape = parent.shape
    if c.shape != shape:
        extra = c.ndim - len(shape)
        if extra > 0:
            c = total(c, tuple(range(extra)))
        axes = tuple(i for i, n in enumerate(shape) if n == 1 and c.shape[i] != 1) if c.ndim == len(shape) else ()
        if axes:
            c = total(c, axes, True)
        if np.shape(c) != shape:
            try:
                c = np.broadcast_to(c, shape)
            except ValueError:
                raise ValueError(
                    f"a derivative rule gave a gradient of shape {np.shape(c)} for an input of shape {shape}"
                ) from None
        c = np.asarray(c)
    if c.dtype is not parent.dtype and c.dtype != parent.dtype:
        c = c.astype(parent.dtype)
    return c


def fit_tensor(c: Any, parent: Any) -> Tensor:
    """As `fit`, recorded."""
    if not isinstance(c, Tensor):
        c = wrap(as_array(c, parent.dtype))
    shape = parent.shape
    if c.ndim != len(shape) or c.shape != shape:  # an open size is compared where there is one to compare it with
        extra = c.ndim - len(shape)
        if extra > 0:
            c = known.sum(c, axis=tuple(range(extra)))
        axes = tuple(i for i, n in enumerate(shape) if n == 1 and c.shape[i] != 1) if c.ndim == len(shape) else ()
        if axes:
            c = known.sum(c, axis=axes, keepdims=True)
        if c.shape != shape:
            c = known.broadcast_to(c, shape=shape)
    if c.dtype != parent.dtype:
        c = known.astype(c, dtype=parent.dtype.name)
    return c  # type: ignore[no-any-return]


def freed(node: Any, what: str = "backward through") -> NoReturn:
    """Raise for a second backward through the same node, or another look at what the first one let go of."""
    raise RuntimeError(
        f"{what} {describe_node(node)} a second time: what it had saved was freed by the first pass. "
        "Pass retain_graph=True to the first backward, or compute the forward again"
    )


def pull_joint(node: Any, g: Any, table: Table, needed: Any) -> None:
    """The gradient on arrays of an op with a joint rule, list inputs or several outputs."""
    _pull(node, g, table, needed, recorded=False)


def pull_recorded(node: Any, g: Any, table: Table, needed: Any) -> None:
    """The gradient of any op, recorded."""
    _pull(node, g, table, needed, recorded=True)


def _pull(node: Any, g: Any, table: Table, needed: Any, recorded: bool) -> None:
    for _, parent, contribution in contributions(node, g, needed, recorded):
        deposit(table, parent, contribution, recorded)


def contributions(
    node: Any, g: Any, needed: Any, recorded: bool, before: Callable[[str], None] | None = None
) -> list[tuple[str, Any, Any]]:
    """What the rules of a node give its wanted parents: input, parent, gradient, in the order in which they are added.

    `before` is told whose gradient the next rule makes: the input's name, or the names of all for a joint rule.
    """
    # The plan:
    # 1. what the rules name is looked up: saved, an attribute, the cotangent, or which gradients are wanted; where the
    #    pass is recorded a saved array stands for the tensor that it was (`_proxy`);
    # 2. a joint rule gives all gradients, else each wanted input's rule its own;
    # 3. lists are taken apart, and what nobody wants is dropped.
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
        if not any(_wants(p, needed) for p in node.parents):  # the gradient by its own result was asked for
            return []
        if before is not None:
            before(", ".join(n for n, p in parents.items() if _wants(p, needed)))
        if op.joint.params == ("want", "*"):
            inputs = tuple(value(name) for name in op.inputs)
            several = g if isinstance(g, list) else [g]
            given = op.joint.function(value("want"), inputs, several, node.attrs)
        else:
            given = op.joint.function(**{name: value(name) for name in op.joint.params})
        if not isinstance(given, (tuple, list)):
            given = (given,)
        made = list(zip(op.inputs, node.parents, given, strict=True))
    else:
        made = []
        for name, parent in parents.items():
            rule = op.rules[name]
            if rule is not None and _wants(parent, needed):
                if before is not None:
                    before(name)
                own = f"{name}_aval"
                args = {p: parent if p == own and p not in saved else value(p) for p in rule.params}
                made.append((name, parent, rule.function(**args)))
    wanted = []
    for name, parent, c in made:
        if isinstance(parent, tuple):
            wanted += [(name, q, d) for q, d in zip(parent, c, strict=True) if d is not None and _wants(q, needed)]
        elif c is not None and _wants(parent, needed):
            wanted.append((name, parent, c))
    return wanted


# functions of their own rather than closures that name themselves: such a closure is a cycle, which keeps what it sees


def _wants(p: Any, needed: Any) -> bool:
    if isinstance(p, tuple):
        return any(_wants(q, needed) for q in p)
    return p is not None and (needed is None or p in needed)


def deposit(table: Table, parent: Any, c: Any, recorded: bool) -> None:
    if recorded:
        c = fit_tensor(c, parent)
    else:
        c = fit(c._value if isinstance(c, Tensor) else c, parent)
    if parent in table:
        table.accumulate(parent, c, recorded)
    else:
        table[parent] = c
        table.wait(parent)


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
        return _place(item, node if op.single else projection(node, op.outputs.index(name)))
    return wrap(item)


def _place(item: Any, node: Any) -> Any:
    if type(item) is not ndarray:
        return item
    t = new(Tensor)
    t._value = item
    t._node = node
    return t


@functools.lru_cache(maxsize=4096)
def is_ours(op: Op) -> bool:
    """Whether the rules of an op follow from what they are given: those that users write may read what they like."""
    rules = [rule.function for rule in (op.joint, *op.rules.values()) if rule is not None]
    return "higher order" not in op.traits and all(
        getattr(rule, "__globals__", {}).get("__package__") in INTERNAL for rule in [op.forward, op.backward, *rules]
        if rule is not None and not isinstance(rule, (np.ufunc, Op))
    )  # fmt: skip


def make_pull(declared: Op) -> Callable[..., None]:
    """Generate the gradient of one node on plain arrays: one call a wanted input, into the table."""
    made = _pull_of(declared)
    return made if is_ours(declared) else _unrecorded(made)


NO_GRAD = modes.Mode(grad=False)


def _unrecorded(made: Callable[..., None]) -> Callable[..., None]:
    """A gradient on plain arrays whose rules may compute with anything, of which nothing is put on the tape."""

    def pull(node: Any, g: Any, table: Table, needed: Any) -> None:
        mode = modes.current()
        if not mode.grad:
            made(node, g, table, needed)
            return
        usual = mode.plain and mode.implementation == "fused" and not (mode.scope or mode.quiet)
        try:
            modes.MODE.set(NO_GRAD if usual else mode.replace(grad=False))
            made(node, g, table, needed)
        finally:
            modes.MODE.set(mode)

    return pull


def _pull_of(declared: Op) -> Callable[..., None]:
    # The plan of the text: what was saved, or an error that it is gone; then, for each input that has a rule, if its
    # parent wants it, the rule called with just what it names, from where this op keeps it; what comes is brought to
    # the parent's shape and dtype unless it has them, and added to what has arrived there. Inputs that are lists do so
    # for each item.
    if declared.backward is not None:
        return _make_fused_pull(declared)
    if declared.joint is not None or not declared.single:
        return lambda node, g, table, needed: pull_joint(node, g, table, needed)
    sig = declared.signature
    saves = declared.calls["saves"]
    scope: dict[str, Any] = {**_USED, "_wants": _wants}
    body = ["s = node.saved", "if s is None: _freed(node)", "parents = node.parents", "waiting = table.waiting"]
    for i, name in enumerate(sig.inputs):
        rule = declared.rules[name]
        if rule is None:
            continue
        # what the rule of an elementwise op of ours makes of g has the output's shape, which is that of an only input,
        # and of any whose tuple the node took over; what a user's makes is looked at
        differs = "c.shape != p.shape or "
        if declared.kind is elementwise and (rule.function.__module__ or "").partition(".")[0] == "tensorgraph":
            differs = "" if len(sig.inputs) == 1 else "(p.shape is not node.shape and c.shape != p.shape) or "
        arguments = []
        for p in rule.params:
            if p == "g":
                arguments.append("g")
            elif p in saves:
                arguments.append(f"s[{saves.index(p)}]")
            elif p == f"{name}_aval" and name not in sig.lists:  # the parent knows its own shape and dtype
                arguments.append("p")
            else:
                arguments.append(f"node.attrs[{p!r}]")
        if name in sig.lists:
            scope[f"_rule{i}"] = rule.function
            body += [
                f"if _wants(parents[{i}], needed):",
                f"    for p, c in zip(parents[{i}], _rule{i}({', '.join(arguments)}), strict=True):",
                "        if p is None or c is None or (needed is not None and p not in needed): continue",
                "        if type(c) is not _ndarray or c.shape != p.shape or c.dtype is not p.dtype: c = _fit(c, p)",
                *("    " + line for line in _DEPOSIT),
            ]
            continue
        body += [
            f"p = parents[{i}]",
            "if p is not None and (needed is None or p in needed):",
            *_one_rule(declared, rule, i, arguments, scope),
            f"    if type(c) is not _ndarray or {differs}c.dtype is not p.dtype: c = _fit(c, p)",
            *_DEPOSIT,
        ]
    return define(sig.name, "vjp", "node, g, table, needed", body, scope)


def _one_rule(declared: Op, rule: Rule, i: int, arguments: list[str], scope: dict[str, Any]) -> list[str]:
    """The lines that call a rule, or its kernel where that runs."""
    given = ", ".join(arguments)
    own = written_out(rule.function, arguments, f"_rule{i}", scope)
    if own is None:
        scope[f"_rule{i}"] = rule.function
        own = f"_rule{i}({given})"
    large = direct_rule(declared, rule)
    if large is None:
        return [f"    c = {own}"]
    scope[f"_large{i}"] = large
    return [f"    if g.size < {LARGE} or (c := _large{i}({given})) is None: c = {own}"]


# as `deposit`, what it calls among it
_DEPOSIT = (
    "    own = table.get(p)",
    "    if own is None:",
    "        table[p] = c",
    "        if type(p) is not _Leaf:",
    "            if not waiting or waiting[-1].number < p.number: waiting.append(p)",
    "            else: _insert(waiting, p)",
    f"    elif type(own) is _Total and 1 < own.count < {RUN}: own.count += 1; _add(own.run, c, own.run)",
    "    else: table.accumulate(p, c)",
)
_USED: dict[str, Any] = {
    "_add": np.add, "_fit": fit, "_freed": freed, "_insert": insert, "_Leaf": Leaf, "_ndarray": ndarray,
    "_Total": Total,
}  # fmt: skip


def _make_fused_pull(declared: Op) -> Callable[..., None]:
    """Generate the gradient of a fused op on plain arrays: one call of its backward."""
    sig = declared.signature
    inputs = range(len(sig.inputs))
    place = {name: f"s[{k}]" for k, name in enumerate(declared.calls["saves"])}
    kept = ", ".join(place[n] for n in (*sig.inputs, *sig.outputs, *declared.residuals))
    several = ", ".join(f"None if type(g[{j}]) is float else g[{j}]" for j in range(len(sig.outputs)))
    attrs = "".join(f", {a}=at[{a!r}]" for a in sig.attrs)
    body = ["s = node.saved", "if s is None: _freed(node)", "at = node.attrs", "waiting = table.waiting"]
    body += [f"{', '.join(f'p{i}' for i in inputs)}, = node.parents"]
    body += [f"w{i} = p{i} is not None and (needed is None or p{i} in needed)" for i in inputs]
    cotangents = "g" if declared.single else several
    wants = f"({', '.join(f'w{i}' for i in inputs)},)"
    body += [f"grads = _backward({wants}, {cotangents}, {kept}{attrs})"]
    function: Any = declared.backward
    if declared.direct:  # its kernels are the gradient's, which gives what is wanted alone
        assert declared.gradient is not None
        function = declared.gradient.calls["forward"]
        body[-1] = f"grads = list(_backward({kept}, {cotangents}, want={wants}{attrs}))"
        body += [f"if not w{i}: grads.insert({i}, None)" for i in inputs]
    for i in inputs:
        body += [f"if w{i} and grads[{i}] is not None:", f"    p = p{i}; c = grads[{i}]"]
        body += ["    if type(c) is not _ndarray or c.shape != p.shape or c.dtype is not p.dtype: c = _fit(c, p)"]
        body += _DEPOSIT
    scope: dict[str, Any] = {**_USED, "_backward": function}
    return define(sig.name, "vjp", "node, g, table, needed", body, scope)
