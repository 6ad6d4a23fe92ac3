"""State in random programs: cells read, assigned and read again, random draws, layers, whole training steps."""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgraph.engine import modes
from tensorgraph.engine.cells import Cell, Parameter
from tensorgraph.engine.tape import next_number
from tensorgraph.testing.programs.choices import Choices, Options, show_array
from tensorgraph.testing.programs.steps import form
from tensorgraph.testing.programs.writer import Value, Writer

__all__ = ["declare"]

OPTIMIZERS = (
    "tg.optim.SGD({}, lr=0.1)", "tg.optim.Momentum({}, lr=0.1)", "tg.optim.Adam({}, lr=0.01)",
    "tg.optim.RMSprop({}, lr=0.01, weight_decay=0.1)", "tg.optim.AdamW({}, lr=0.01, weight_decay=0.1)",
    "tg.optim.Momentum({}, lr=0.1, nesterov=True, clip_norm=0.5)",
    "tg.optim.SGD({}, lr=tg.optim.exponential(0.1, 0.9))",
)  # fmt: skip

MODELS = (
    "tg.nn.Sequential(tg.nn.Linear(3, 2, seed=1), tg.nn.Tanh())",
    "tg.nn.Sequential(tg.nn.Linear(3, 4, bias=False, seed=1), tg.nn.BatchNorm(4), tg.nn.ReLU(), "
    "tg.nn.Linear(4, 2, seed=2))",
    "tg.nn.Sequential(tg.nn.Linear(3, 4, seed=1), tg.nn.Dropout(0.5, seed=3), tg.nn.Sigmoid())",
)


def _state(options: Options) -> bool:
    return options.state


def declare(w: Writer, choices: Choices) -> None:
    """Parameters, buffers, a generator and an optimiser, before the function."""
    dtype = choices.one(["float32", "float64"])
    shapes: list[tuple[int, ...]] = [(3,), (2, 3), (), (3, 2), (1, 3), (0,)]
    parameters = []
    for _ in range(choices.one([1, 2])):
        parameters.append(cell(w, "p", "Parameter", w.new(choices.one(shapes), dtype, choices)))
    cell(w, "b", "Buffer", w.new(choices.one(shapes), dtype, choices))
    if choices.often():
        cell(w, "b", "Buffer", np.asarray(choices.below(3), np.int64))
    statement(w, f"generator = tg.random.Generator({choices.below(8)}, name='generator')")
    listed = f"[{', '.join(v.name for v in parameters)}]"
    if choices.rarely(2):
        statement(w, f"model = {choices.one(MODELS)}")
        groups = f"[{{'parameters': {listed}, 'lr': 0.05}}, {{'parameters': model.parameters()}}]"
        listed = choices.one([f"{listed} + model.parameters()", groups])
        w.leaves.update(p._node for p in w.env["model"].parameters())
    statement(w, f"optimizer = {choices.one(OPTIMIZERS).format(listed)}")
    layers(w, choices)


def statement(w: Writer, line: str) -> None:
    """A line before the function."""
    w.preamble.append(line)
    exec(line, w.env)


def cell(w: Writer, letter: str, kind: str, array: Any) -> Value:
    name = w.fresh(letter)
    statement(w, f"{name} = tg.{kind}({show_array(array)}, name={name!r})")
    made = w.env[name]
    w.cells[name] = made
    if isinstance(made, Parameter):
        w.leaves.add(made._node)
    value = Value(name, made)
    w.values.append(value)
    return value


def floats(v: Value) -> bool:
    return v.kind == "f" and not v.array


@form(_state)
def assign(w: Writer, choices: Choices) -> Any:
    """A write, of a value brought to the cell's type and size; what follows reads it."""
    if not w.effects:
        return
    name = choices.one(list(w.cells))
    target = w.cells[name]
    if target.dtype.kind == "f":
        value = w.pick(choices, floats)
        if value is None:
            return
        made = w.conform(value, target.shape, target.dtype)
        shown = f"{name} - 0.1 * tg.tanh({made})" if choices.often() else f"tg.tanh({made})"
    else:
        shown = choices.one([f"{name} + 1", f"{name} * 2 % 7", "5"])
    do(w, f"{name}.assign({shown})")
    if isinstance(target, Parameter):
        w.written = next_number()


@form(_state)
def draw(w: Writer, choices: Choices) -> Any:
    """Numbers from the generator."""
    shape = choices.one([(3,), (2, 3), (), (1, 3), (0, 3)])
    dtype = choices.one(["", ", 'float64'", ", 'float32'"])
    way = choices.one([f"generator.uniform({shape}{dtype})", f"generator.normal({shape}{dtype})",
                       f"generator.permutation({choices.one([3, 2, 1])})"])  # fmt: skip
    w.let(way)


@form(_state)
def layers(w: Writer, choices: Choices) -> Any:
    """A call of the model."""
    if not w.effects or "model" not in w.env:
        return
    value = w.pick(choices, floats)
    if value is not None:
        rows = value.shape[0] if value.ndim == 2 and value.shape[0] > 1 else 2
        inside = w.inside(w.conform(value, (rows, 3), "float32"), None)
        w.let(f"model({inside})")


def loss(w: Writer, choices: Choices) -> str:
    """A number that depends on every parameter, as an optimiser wants it."""
    value = w.pick(choices, lambda v: floats(v) and w.sure(v) and not isinstance(v.live, Cell) and not w.stale(v))
    terms = [f"tg.sum(tg.square({n}))" for n, c in w.cells.items() if isinstance(c, Parameter)]
    if value is not None:
        terms.insert(0, choices.one(["tg.sum(tg.tanh({}))", "tg.sum(tg.sin({}))"]).format(value.name))
    return " + ".join(terms)


def do(w: Writer, line: str) -> None:
    """A statement for its effect."""
    w.run(line)
    w.write(line)


def forget(w: Writer) -> None:
    """The function begins without gradients, whatever an earlier call has left."""
    line = "optimizer.zero_grad()"
    if line not in w.opening:
        w.opening.append(line)
        w.run(line)


@form(_state)
def backward(w: Writer, choices: Choices) -> Any:
    """``loss.backward()``, and a gradient read."""
    if not w.effects or not modes.current().grad:
        return
    forget(w)
    made = w.let(loss(w, choices), letter="loss")
    if not made:
        return
    created = choices.rarely()
    do(w, f"{made[0].name}.backward({'create_graph=True' if created else 'retain_graph=True'})")
    name = choices.one([n for n, c in w.cells.items() if isinstance(c, Parameter)])
    w.let(f"{name}.grad * 1.0")
    if choices.rarely():
        do(w, f"{name}.zero_grad()")


@form(_state)
def optimise(w: Writer, choices: Choices) -> Any:
    """A whole step of the optimiser."""
    if not w.effects or not modes.current().grad:
        return
    forget(w)
    made = w.let(loss(w, choices), letter="loss")
    if not made:
        return
    name = made[0].name
    lines = choices.one([
        ["optimizer.zero_grad()", f"{name}.backward(retain_graph=True)", "optimizer.step()"],
        [f"{name}.backward(retain_graph=True)", "optimizer.step()", "optimizer.zero_grad()"],
    ])  # fmt: skip
    if choices.rarely(6) and w.env["optimizer"].schedule is None:
        lines = [*lines, "optimizer.lr = 0.05"]
    for line in lines:
        do(w, line)
    w.written = next_number()
