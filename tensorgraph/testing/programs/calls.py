"""Calls of catalogue ops in random programs, made from the ops' declarations: kind, shape rule, examples, domain.

An op is called with values at hand that its shape rule takes, else as one of its examples, with values at hand brought
to the example's shapes. So an op is drawn from the day of its declaration.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tensorgraph.engine.aval import Aval
from tensorgraph.engine.op import Op, creation, elementwise, listing, reduction
from tensorgraph.engine.op import shape as shaping
from tensorgraph.engine.signature import REQUIRED
from tensorgraph.testing.programs.attributes import SIZES, attributes
from tensorgraph.testing.programs.choices import Choices, show_number
from tensorgraph.testing.programs.writer import Value, Writer

__all__ = ["SPECIAL", "by_example", "call", "finish", "infer", "special"]

PLAIN = (elementwise, reduction, shaping, listing, creation)  # families whose calls a value and attributes make
SCALARS: tuple[Any, ...] = (2.0, 2, 0.5, -1, 1.5, -0.25, 3, True)

Special = Callable[[Writer, Op, Choices], Any]
SPECIAL: list[tuple[Callable[[Op], bool], Special]] = []


def special(fits: Callable[[Op], bool]) -> Callable[[Special], Special]:
    """Register a way to write calls of the ops that a condition on their declaration holds of."""

    def register(function: Special) -> Special:
        SPECIAL.append((fits, function))
        return function

    return register


# how a call is spelled ---------------------------------------------------------------------------------------------


def spell(
    op: Op, function: str, args: Sequence[str], attrs: Mapping[str, Any], choices: Choices, method: bool, ufunc: bool
) -> str:
    """One of the spellings of a call: operator, method, NumPy's function, the function."""
    given = [f"{k}={show_number(v)}" for k, v in attrs.items()]
    way = choices.below(4)
    if op.infix is not None and not attrs and way != 1:
        if op.infix.startswith("u"):
            return f"{op.infix[1:]}{args[0]}"
        return f"{args[0]} {op.infix} {args[1]}"
    if ufunc and way == 2 and op.numpy and set(attrs) <= {"axis", "keepdims"} and len(args) == 1:
        name = op.numpy[0].__name__
        room = "np" if getattr(np, name, None) is op.numpy[0] else "np.linalg"
        return f"{room}.{name}({', '.join([*args, *given])})"
    if method and way in (0, 3) and op.methods and not op.methods[0].startswith("_"):
        return f"{args[0]}.{op.methods[0]}({', '.join([*args[1:], *given])})"
    if ufunc and way == 2 and isinstance(op.forward, np.ufunc) and not attrs:
        return f"np.{op.forward.__name__}({', '.join(args)})"
    return f"{function}({', '.join([*args, *given])})"


def place(op: Op, tg: Any) -> str:
    """Where an op's function stands: at the top, or in `tensorgraph.numpy` where that name is a tool of graphs."""
    elsewhere = getattr(tg, op.name, None) is not op.public and hasattr(tg.numpy, op.name)
    return f"tg.numpy.{op.name}" if elsewhere else f"tg.{op.name}"


def fused(choices: Choices) -> str:
    """The choice of an implementation, as a last argument."""
    return choices.one(["", ", impl='composed'", ", impl='fused'"])  # type: ignore[no-any-return]


# calls of ops ------------------------------------------------------------------------------------------------------


def domain_of(op: Op, name: str) -> tuple[float, float] | None:
    found = op.domain.get(name) if isinstance(op.domain, Mapping) else op.domain
    return found


def finish(w: Writer, op: Op, operands: Sequence[Any], attrs: Mapping[str, Any], choices: Choices) -> list[Value]:
    """Write a call whose operands are values, expressions, Python numbers, None or lists of values and expressions."""
    if not w.options.allows(op.name):
        return []
    args: list[str] = []
    flat: list[Any] = []
    for name, item in zip(op.inputs, operands, strict=False):
        if isinstance(item, list):
            parts = [w.inside(e, domain_of(op, name), op.kinks) for e in map(expression, item)]
            if None in parts:
                return []
            args.append(f"[{', '.join(str(p) for p in parts)}]")
            flat += item
            continue
        flat.append(item)
        if isinstance(item, (Value, str)):
            inside = w.inside(expression(item), domain_of(op, name), op.kinks)
            if inside is None:
                return []
            args.append(inside)
        else:
            args.append(show_number(item))
    while args and args[-1] == "None":
        args.pop()
    if w.options.differentiable and not op.differentiable and "flat" not in op.traits:
        read = {w.evaluate(expression(i)).dtype.kind for i in flat if isinstance(i, (Value, str))}
        if "f" in read and "f" in {a.dtype.kind for a in infer(w, op, operands, attrs) or ()}:
            return []  # floats made of floats without a derivative
    tensors = [i for i in flat if isinstance(i, Value) and not i.array]
    function = place(op, w.env["tg"])
    first = operands[0] if args else None
    method = isinstance(first, Value) and not first.array and args[0] == first.name
    attrs = {name: w.named(value) for name, value in attrs.items()} if w.options.sized else attrs
    shown = spell(op, function, args, attrs, choices, method=method, ufunc=bool(tensors))
    if not tensors and any(s in shown for s in (" ", "-", "~")) and not shown.startswith("tg."):
        shown = f"{function}({', '.join(args)})"
    if shown.startswith(f"tg.{op.name}(") and op.reference is not None:
        shown = shown[:-1] + fused(choices) + ")"
    refusals: tuple[type[Exception], ...] = ()
    if "root" in op.traits and not any(isinstance(i, Value) and i.kind == "f" for i in flat):
        refusals += (ValueError,)  # numbers decide whether integers are taken, as for a negative power
    if op.check is not None and (w.options.wild or op.kind.name == "structural"):
        refusals += (ValueError,)
    if op.kind.name == "linear algebra":
        refusals += (np.linalg.LinAlgError,)  # numbers decide whether a matrix is singular
    return w.let(shown, refusals=refusals)


def expression(item: Any) -> str:
    return item.name if isinstance(item, Value) else str(item)


def infer(w: Writer, op: Op, operands: Sequence[Any], attrs: Mapping[str, Any]) -> Any:
    """What the shape rule gives for these, or None where it refuses them."""

    def aval(item: Any) -> Any:
        if isinstance(item, list):
            return [aval(i) for i in item]
        if isinstance(item, str):
            numbers = w.evaluate(item)
            return Aval(numbers.shape, numbers.dtype)
        return item.aval if isinstance(item, Value) else item

    given = [aval(i) for i in operands]
    try:
        found = op.infer(tuple(given + [None] * (len(op.inputs) - len(given))), {**defaults(op), **attrs})
    except (TypeError, ValueError, IndexError):
        return None
    return found if all(a.size <= 256 for a in found) else None


def defaults(op: Op) -> dict[str, Any]:
    return {k: v for k, v in op.attrs.items() if v is not REQUIRED}


def call(w: Writer, op: Op, choices: Choices) -> list[Value]:
    """Write a call of an op with the values at hand, or with values brought to the shapes of one of its examples."""
    if not w.options.allows(op.name):
        return []
    special = next((write for fits, write in SPECIAL if fits(op)), None)
    if special is not None:
        return (by_example if op.examples and choices.rarely(5) else special)(w, op, choices) or []
    plain = op.kind in PLAIN or (len(op.inputs) == 1 and choices.often())
    if plain and not op.signature.lists and not (op.kind is not elementwise and op.examples and choices.rarely(5)):
        for _ in range(3):
            operands = pick_operands(w, op, choices)
            first = operands[0] if operands and isinstance(operands[0], Value) else None
            attrs = None if operands is None else attributes(w, op, first, choices)
            if operands is not None and attrs is not None and infer(w, op, operands, attrs) is not None:
                return finish(w, op, operands, attrs, choices)
    return by_example(w, op, choices)


def pick_operands(w: Writer, op: Op, choices: Choices) -> list[Any] | None:
    """Values that the op's inputs may be, the later ones broadcasting with the first, or a Python number."""
    if not op.inputs:
        return []
    first = w.pick(choices, lambda v: suits(op, v, 0))
    if first is None:
        return None
    if len(op.inputs) == 1:
        return [first]
    rest: list[Any] = []
    number = op.kind is elementwise and choices.rarely()
    for place in range(1, len(op.inputs) - len(op.signature.optional)):
        if number and place == len(op.inputs) - 1:
            rest.append(choices.one([s for s in SCALARS if takes(op, place, s)]))
            continue
        other = w.pick(choices, lambda v, place=place: suits(op, v, place) and joins(first, v))  # type: ignore[misc]
        rest.append(other or first)
    operands = [first, *rest]
    if number and len(operands) == 2 and choices.often():
        operands.reverse()
    return operands


def takes(op: Op, place: int, number: Any) -> bool:
    """Whether a number may be given in this place: an op whose domain has integer bounds raises beyond them."""
    domain = domain_of(op, op.inputs[place])
    return domain is None or type(domain[0]) is not int or bool(domain[0] <= number <= domain[1])


def suits(op: Op, value: Value, place: int) -> bool:
    """Whether the type will do in this place, as far as one can say before the shape rule is asked."""
    if "bits" in op.traits:
        return value.kind in "biu"
    if "labels" in op.traits:
        return value.kind in "iu"
    if op.kind is elementwise and op.differentiable and op.rules.get(op.inputs[place], op) is None:  # a condition
        return value.kind == "b"
    return not (value.kind == "b" and op.kind is elementwise and op.dtype == "promote")


def joins(a: Value, b: Value) -> bool:
    try:
        return int(np.prod(np.broadcast_shapes(a.shape, b.shape))) <= 256
    except ValueError:
        return False


def by_example(w: Writer, op: Op, choices: Choices) -> list[Value]:
    """Write a call as an example of the op's declaration shows it, its float inputs made of values at hand."""
    if not op.examples:
        return []
    inputs, attrs = choices.one(op.examples)
    kind = choices.one(["float32", "float64"]) if not w.options.smooth else "float64"
    sizes = resized(op, inputs, attrs, choices)

    def operand(item: Any) -> Any:
        if isinstance(item, list):
            return [operand(i) for i in item]
        if isinstance(item, tuple):
            shape = renamed(item, sizes)
            same = w.pick(choices, lambda v: v.shape == shape and v.kind == "f" and not v.array)
            if same is not None:
                kind_of = same.dtype if len(inputs) == 1 else np.dtype(kind)
                return same if same.dtype == kind_of else w.conform(same, shape, kind)
            value = w.pick(choices, lambda v: v.kind == "f" and not v.array)
            if value is not None and choices.often():
                return w.conform(value, shape, kind)
            return w.constant(w.new(shape, kind, choices), choices)
        if isinstance(item, np.ndarray):
            if item.dtype.kind == "f":
                value = w.pick(choices, lambda v: v.shape == item.shape and v.kind == "f" and not v.array)
                if value is not None and item.ndim and choices.rarely():
                    return w.conform(value, item.shape, kind)
                item = item.astype(kind) if item.ndim else item
            return w.constant(item, choices)
        return item

    operands = [operand(item) for item in inputs]
    if infer(w, op, operands, attrs) is None:
        return []
    return finish(w, op, operands, attrs, choices)


def renamed(shape: Sequence[int], sizes: Mapping[int, int]) -> tuple[int, ...]:
    """A shape with other sizes for some."""
    return tuple(sizes.get(n, n) for n in shape)


def resized(op: Op, inputs: Any, attrs: Mapping[str, Any], choices: Choices) -> dict[int, int]:
    """Other sizes for the axes of an example whose inputs are all shapes, the same for the same."""
    parts = [p for item in inputs for p in (item if isinstance(item, list) else [item])]
    if any(isinstance(p, np.ndarray) and p.ndim for p in parts):
        return {}
    every = sorted({n for p in parts if isinstance(p, tuple) for n in p})
    sizes = {n: choices.one((n, *SIZES)) for n in every} if choices.rarely(3) else {}

    def aval(item: Any) -> Any:
        if isinstance(item, list):
            return [aval(i) for i in item]
        return Aval(renamed(item, sizes), np.float64) if isinstance(item, tuple) else item

    given = [aval(i) for i in inputs]
    try:
        op.infer(tuple(given + [None] * (len(op.inputs) - len(given))), {**defaults(op), **attrs})
    except (TypeError, ValueError, IndexError):
        return {}
    return sizes
