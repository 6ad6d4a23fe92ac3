"""Graphs made by hand for the tests of pictures, so that these depend on the graph value alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np

from tensorgraph.engine.aval import Aval
from tensorgraph.engine.op import CATALOGUE, Rule
from tensorgraph.engine.tree import flatten
from tensorgraph.graph.calls import scoped
from tensorgraph.graph.graph import CellDecl, Equation, Graph, Literal, Source, Var, Write

INFIX = {"add": "+", "subtract": "-", "multiply": "*", "divide": "/", "matmul": "@"}
BINARY = {"add", "subtract", "multiply", "divide", "matmul", "maximum"}


@dataclass(frozen=True)
class HandOp:
    """What a picture reads of an op."""

    name: str
    kind: str = "elementwise"
    inputs: tuple[str, ...] = ("x",)
    attrs: dict[str, Any] = field(default_factory=dict)
    infix: str | None = None
    outputs: tuple[str, ...] = ("out",)
    rules: dict[str, Any] = field(default_factory=dict)
    joint: Any = None
    single: bool = True
    residuals: tuple[str, ...] = ()
    reference: Any = None
    signature: Any = field(default_factory=lambda: SimpleNamespace(lists=frozenset(), variadic=False))

    def __hash__(self) -> int:
        return hash(self.name)

    @property
    def traits(self) -> frozenset[str]:
        """As the catalogue's op of that name has them."""
        return CATALOGUE[self.name].traits if self.name in CATALOGUE else frozenset()

    @property
    def differentiable(self) -> bool:
        return self.joint is not None or any(rule is not None for rule in self.rules.values())


class Maker:
    """Builds a graph equation by equation."""

    def __init__(self, name: str = "net") -> None:
        self.name = name
        self.inputs: list[Var] = []
        self.cells: list[CellDecl] = []
        self.consts: dict[Var, np.ndarray] = {}
        self.equations: list[Equation] = []
        self.writes: list[Write] = []

    def input(self, shape, dtype="float32", name="x"):
        self.inputs.append(Var(Aval(shape, dtype), name))
        return self.inputs[-1]

    def cell(self, path, shape, kind="parameter", dtype="float32", requires_grad=True):
        var = Var(Aval(shape, dtype), path.rpartition(".")[2])
        self.cells.append(CellDecl(path, var, kind, None, requires_grad))
        return var

    def const(self, array):
        array = np.asarray(array)
        var = Var(Aval(array.shape, array.dtype))
        self.consts[var] = array
        return var

    def op(self, name, *inputs, shape=None, dtype=None, scope="", kind="elementwise", outs=1, defaults=None, **attrs):
        first = next((i for i in inputs if isinstance(i, Var)), None)
        shape = shape if shape is not None else first.aval.shape
        dtype = dtype or (first.aval.dtype if first is not None else "float32")
        atoms = tuple(i if isinstance(i, Var | Literal | tuple) else Literal(i) for i in inputs)
        names = ("a", "b") if name in BINARY else tuple("xyzuvw"[: len(atoms)])
        if name == "gradients":
            kind, names = "gradients", ("ys", "xs")
        given = zip(names, atoms, strict=False)
        rules = {n: None if kind == "gradients" or a is None else Rule(print, ("g", n)) for n, a in given}
        names_out = ("out",) if outs == 1 else tuple(f"out{i}" for i in range(outs))
        op = HandOp(name, kind, names, defaults or {}, INFIX.get(name), names_out, rules)
        shapes = shape if outs > 1 and isinstance(shape, list) else [shape] * outs
        outputs = tuple(Var(Aval(s, dtype)) for s in shapes)
        source = Source("/models/net.py", 12, "forward")
        self.equations.append(Equation(op, atoms, attrs, outputs, scoped(scope) if scope else None, source))
        return outputs[0] if outs == 1 else outputs

    def write(self, cell, value):
        self.writes.append(Write(cell, value if isinstance(value, Var) else Literal(value)))

    def graph(self, *outputs):
        _, in_tree = flatten(tuple(self.inputs))
        _, out_tree = flatten(outputs[0] if len(outputs) == 1 else tuple(outputs))
        return Graph(
            tuple(self.inputs), tuple(self.cells), self.consts, tuple(self.equations), tuple(self.writes),
            tuple(outputs), in_tree, out_tree, name=self.name,
        )  # fmt: skip

    # ---- layers

    def linear(self, x, units, scope, bias=True):
        weight = self.cell(f"{scope}.weight", (x.aval.shape[-1], units))
        y = self.op("matmul", x, weight, shape=(*x.aval.shape[:-1], units), scope=scope, kind="contraction")
        return self.op("add", y, self.cell(f"{scope}.bias", (units,)), scope=scope) if bias else y

    def batch_norm(self, x, scope):
        n = x.aval.shape[-1:]
        gamma, beta = self.cell(f"{scope}.gamma", n), self.cell(f"{scope}.beta", n)
        means = self.cell(f"{scope}.running_mean", n, "buffer", requires_grad=False)
        variances = self.cell(f"{scope}.running_var", n, "buffer", requires_grad=False)
        defaults = {"axis": 1, "eps": 1e-5}
        y, mu, var = self.op(
            "batch_norm", x, gamma, beta, shape=[x.aval.shape, n, n], outs=3, scope=scope, kind="fused",
            defaults=defaults, axis=1, eps=1e-3,
        )  # fmt: skip
        for running, value in ((means, mu), (variances, var)):
            old = self.op("multiply", running, 0.9, scope=scope)
            new = self.op("multiply", value, 0.1, scope=scope)
            self.write(running, self.op("add", old, new, scope=scope))
        return y


def mlp(batch=64):
    m = Maker("classifier")
    x = m.input((batch, 64))
    h = x
    for i, units in enumerate((128, 64)):
        h = m.linear(h, units, f"layers.{3 * i}", bias=False)
        h = m.batch_norm(h, f"layers.{3 * i + 1}")
        h = m.op("relu", h, scope=f"layers.{3 * i + 2}")
    return m.graph(m.linear(h, 10, "layers.6"))


def residual(blocks=3):
    m = Maker("resnet")
    x = m.input((32, 64))
    h = m.linear(x, 128, "stem")
    for i in range(blocks):
        y = m.op("relu", m.linear(h, 128, f"blocks.{i}.fc1"), scope=f"blocks.{i}.act")
        y = m.linear(y, 128, f"blocks.{i}.fc2")
        h = m.op("add", h, y, scope=f"blocks.{i}")
    return m.graph(m.linear(h, 10, "head"))


def step():
    """A training step: forward, loss, one deferred gradient, fused updates with writes."""
    m = Maker("step")
    x, y = m.input((64, 64)), m.input((64,), "int64", "y")
    h = x
    for i, units in enumerate((128, 64)):
        h = m.linear(h, units, f"layers.{3 * i}", bias=False)
        h = m.batch_norm(h, f"layers.{3 * i + 1}")
        h = m.op("relu", h, scope=f"layers.{3 * i + 2}")
    logits = m.linear(h, 10, "layers.6")
    loss = m.op("softmax_cross_entropy", logits, y, shape=(), kind="fused", defaults={"axis": -1}, axis=-1)
    loss.name = "loss"
    parameters = [c.var for c in m.cells if c.kind == "parameter"]
    count = m.cell("optimizer.count", (), "buffer", "int64", False)
    grads = m.op(
        "gradients", (loss,), tuple(parameters), shape=[p.aval.shape for p in parameters], outs=len(parameters)
    )
    new = m.op("add", count, 1)
    m.write(count, new)
    rate = m.cell("optimizer.lr", (), "buffer", requires_grad=False)
    for p, g in zip(parameters, grads):
        first = m.cell(f"optimizer.m.{p.name}{len(m.cells)}", p.aval.shape, "buffer", requires_grad=False)
        p1, m1 = m.op(
            "adam_update", p, g, first, rate, new, shape=[p.aval.shape] * 2, outs=2, kind="fused", scope="optimizer"
        )
        m.write(p, p1)
        m.write(first, m1)
    return m.graph(loss)


def chain(ops, modules=0):
    m = Maker("chain")
    h = m.input((8,))
    for i in range(ops):
        h = m.op("tanh" if i % 2 else "exp", h, scope=f"layers.{i * modules // ops}" if modules else "")
    return m.graph(h)


def joined(drawing):
    """The pairs of boxes that an edge joins, straight or through the points at which values enter templates."""
    after = {}
    for edge in drawing.edges:
        after.setdefault(edge.tail, set()).add(edge.head)
    found = set()
    for tail in after.keys() - drawing.points:
        pending, seen = list(after[tail]), set()
        while pending:
            head = pending.pop()
            if head in drawing.points and head not in seen:
                seen.add(head)
                pending += after.get(head, ())
            elif head not in drawing.points:
                found.add((tail, head))
    return found
