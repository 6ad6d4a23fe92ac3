"""What one step of a random program may be: a call of a catalogue op, from its declaration, or one of the forms here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tensorgraph.aval import Aval
from tensorgraph.op import CATALOGUE, REQUIRED, Op, elementwise, reduction
from tensorgraph.testing.programs_index import key_of
from tensorgraph.testing.programs_writer import Choices, Options, Value, Writer, show_number

__all__ = ["EXCLUDED", "FORMS", "call", "drawable", "form", "step"]


@dataclass(frozen=True)
class Form:
    """A form of a step, and of which programs it may be a part."""

    write: Callable[[Writer, Choices], Any]
    allowed: Callable[[Options], bool]


FORMS: dict[str, Form] = {}

# ops that a program does not call by name, each with its reason
EXCLUDED: dict[str, str] = {
    "gradients": "written as tg.gradients, tg.grad and backward()",
    "custom_vjp": "written as a function with defvjp",
    "checkpoint": "written as tg.checkpoint; a trace records what is inside",
    "residuals": "written by the derivatives of other ops",
    "mean_divisor": "a part of the composed cross-entropy",
    "class_weights": "a part of the composed cross-entropy",
    "class_targets": "a part of the composed cross-entropy",
    "running_average": "written by the layer BatchNorm, in programs with state",
    "uniform": "drawn from a generator, in programs with state, whose next state is not thrown away",
    "normal": "drawn from a generator, in programs with state",
    "permutation": "drawn from a generator, in programs with state",
}

# where a derivative by differences agrees with having no rule: constant between their jumps
FLAT = frozenset({"sign", "floor_divide", "hardmax"})
# numbers, not types, decide whether these take their input
BY_NUMBERS: dict[str, tuple[type[Exception], ...]] = {"power": (ValueError,)}

DTYPES = ("float32", "float64", "int64", "int32", "bool")
SIZES = (2, 3, 1, 4, 0)
SCALARS: tuple[Any, ...] = (2.0, 2, 0.5, -1, 1.5, -0.25, 3, True)


def drawable() -> list[str]:
    """Names of the ops that programs call, simplest first."""
    rules = {f"{n}_vjp" for n in CATALOGUE}  # kernels of a derivative, which no person calls
    found = [n for n in CATALOGUE if n not in EXCLUDED and n not in rules]
    first = ["add", "multiply", "tanh", "sum"]
    return first + [n for n in found if n not in first]


def form(allowed: Callable[[Options], bool] = lambda options: True) -> Callable[[Any], Any]:
    """Register a form of a step under its function's name."""

    def register(write: Any) -> Any:
        FORMS[write.__name__] = Form(write, allowed)
        return write

    return register


def step(w: Writer, name: str, numbers: Sequence[int]) -> None:
    """Write one step, if there is one with the values at hand."""
    choices = Choices(numbers)
    if name in FORMS:
        FORMS[name].write(w, choices)
    else:
        call(w, CATALOGUE[name], choices)


# how a call is spelled ---------------------------------------------------------------------------------------------


def spell(op: Op, args: Sequence[str], attrs: Mapping[str, Any], choices: Choices, method: bool, ufunc: bool) -> str:
    """One of the spellings of a call: operator, method, NumPy's function, the function."""
    given = [f"{k}={show_number(v)}" for k, v in attrs.items()]
    way = choices.below(4)
    if op.infix is not None and not attrs and way != 1:
        if op.infix.startswith("u"):
            return f"{op.infix[1:]}{args[0]}"
        return f"{args[0]} {op.infix} {args[1]}"
    if ufunc and way == 2 and op.numpy and set(attrs) <= {"axis", "keepdims"} and len(args) == 1:
        return f"np.{op.numpy[0].__name__}({', '.join([*args, *given])})"
    if method and way in (0, 3) and op.method and not op.method.startswith("_"):
        return f"{args[0]}.{op.method}({', '.join([*args[1:], *given])})"
    if ufunc and way == 2 and isinstance(op.forward, np.ufunc) and not attrs:
        return f"np.{op.forward.__name__}({', '.join(args)})"
    return f"tg.{op.name}({', '.join([*args, *given])})"


def fused(choices: Choices) -> str:
    """The choice of an implementation, as a last argument."""
    return choices.one(["", ", impl='composed'", ", impl='fused'"])  # type: ignore[no-any-return]


# calls of ops ------------------------------------------------------------------------------------------------------


def domain_of(op: Op, name: str) -> tuple[float, float] | None:
    found = op.domain.get(name) if isinstance(op.domain, Mapping) else op.domain
    return found  # type: ignore[no-any-return]


def finish(
    w: Writer, op: Op, operands: Sequence[Any], attrs: Mapping[str, Any], choices: Choices
) -> list[Value]:
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
    if w.options.smooth and not op.differentiable and op.name not in FLAT:
        if any(isinstance(i, (Value, str)) and w.evaluate(expression(i)).dtype.kind == "f" for i in flat):
            kinds = {a.dtype.kind for a in infer(w, op, operands, attrs) or ()}
            if "f" in kinds:
                return []
    tensors = [i for i in flat if isinstance(i, Value) and not i.array]
    shown = spell(
        op, args, attrs, choices, method=bool(args) and isinstance(operands[0], Value) and not operands[0].array
        and args[0] == operands[0].name, ufunc=bool(tensors),
    )  # fmt: skip
    if not tensors and any(s in shown for s in (" ", "-", "~")) and not shown.startswith("tg."):
        shown = f"tg.{op.name}({', '.join(args)})"
    if shown.startswith(f"tg.{op.name}(") and op.reference is not None:
        shown = shown[:-1] + fused(choices) + ")"
    refusals = BY_NUMBERS.get(op.name, ())
    if op.check is not None and (w.options.wild or op.kind.name == "structural"):
        refusals += (ValueError,)
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
    special = SPECIAL.get(op.name)
    if special is not None:
        return (by_example if op.examples and choices.rarely(5) else special)(w, op, choices) or []
    simple = not op.signature.lists and REQUIRED not in op.attrs.values() and op.inputs
    if simple and (op.kind in (elementwise, reduction) or (len(op.inputs) == 1 and choices.often())):
        for _ in range(3):
            operands = pick_operands(w, op, choices)
            attrs = pick_attrs(op, operands, choices)
            if operands and infer(w, op, operands, attrs) is not None:
                return finish(w, op, operands, attrs, choices)
    return by_example(w, op, choices)


def pick_operands(w: Writer, op: Op, choices: Choices) -> list[Any]:
    """Values that the op's inputs may be, the later ones broadcasting with the first, or a Python number."""
    first = w.pick(choices, lambda v: suits(op, v, 0))
    if first is None:
        return []
    if len(op.inputs) == 1:
        return [first]
    rest: list[Any] = []
    number = op.kind is elementwise and choices.rarely()
    for place in range(1, len(op.inputs) - len(op.signature.optional)):
        if number and place == len(op.inputs) - 1:
            rest.append(choices.one(SCALARS))
            continue
        other = w.pick(choices, lambda v, place=place: suits(op, v, place) and joins(first, v))  # type: ignore[misc]
        rest.append(other or first)
    operands = [first, *rest]
    if number and len(operands) == 2 and choices.often():
        operands.reverse()
    return operands


def suits(op: Op, value: Value, place: int) -> bool:
    """Whether the type will do in this place, as far as one can say before the shape rule is asked."""
    if op.name == "where":
        return (value.kind == "b") == (place == 0)
    if op.name in ("bitwise_and", "bitwise_or", "bitwise_xor", "invert"):
        return value.kind in "biu"
    if op.name in ("max", "min", "argmax", "argmin") and value.shape.count(0) > 1:
        return False  # the shape rule takes what the op refuses, a known fault: see tests/test_programs.py
    return not (value.kind == "b" and op.kind is elementwise and op.dtype == "promote")


def joins(a: Value, b: Value) -> bool:
    try:
        return int(np.prod(np.broadcast_shapes(a.shape, b.shape))) <= 256
    except ValueError:
        return False


def pick_attrs(op: Op, operands: Sequence[Any], choices: Choices) -> dict[str, Any]:
    """Attributes other than the defaults: axes of the operand, values that the op's examples show."""
    attrs: dict[str, Any] = {}
    ndim = operands[0].ndim if operands and isinstance(operands[0], Value) else 0
    for name, default in op.attrs.items():
        if name == "axis":
            axes: list[Any] = [default, *range(ndim), *range(-ndim, 0)]
            if default is None and op.dtype != "int" and ndim > 1:
                axes += [(0, 1), (-1, 0), ()]
            value = choices.one(axes)
        elif type(default) is bool:
            value = choices.rarely(3)
        elif name == "dtype":
            value = choices.one([default, default, *DTYPES[:3]])
        else:
            value = choices.one([default, *[a[name] for _, a in op.examples if name in a]])
        if value is not REQUIRED and not (type(value) is type(default) and value == default):
            attrs[name] = value
    return attrs


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
            shape = tuple(sizes.get(n, n) for n in item)
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
                if value is not None and not item.ndim == 0 and choices.rarely():
                    return w.conform(value, item.shape, kind)
                item = item.astype(kind) if item.ndim else item
            return w.constant(item, choices)
        return item

    operands = [operand(item) for item in inputs]
    if infer(w, op, operands, attrs) is None:
        return []
    return finish(w, op, operands, attrs, choices)


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
        return Aval(tuple(sizes.get(n, n) for n in item), np.float64) if isinstance(item, tuple) else item

    given = [aval(i) for i in inputs]
    try:
        op.infer(tuple(given + [None] * (len(op.inputs) - len(given))), {**defaults(op), **attrs})
    except (TypeError, ValueError, IndexError):
        return {}
    return sizes


# ops whose attributes say something of their operand's shape -------------------------------------------------------

Special = Callable[[Writer, Op, Choices], Any]
SPECIAL: dict[str, Special] = {}


def special(name: str) -> Callable[[Special], Special]:
    def register(function: Special) -> Special:
        SPECIAL[name] = function
        return function

    return register


def on_one(attrs_of: Callable[[Value, Choices], dict[str, Any] | None], least: int = 0) -> Special:
    """A call on one value whose attributes follow from it."""

    def write(w: Writer, op: Op, choices: Choices) -> Any:
        value = w.pick(choices, lambda v: v.ndim >= least and not v.array)
        attrs = None if value is None else attrs_of(value, choices)
        if attrs is None or infer(w, op, [value], attrs) is None:
            return []
        return finish(w, op, [value], attrs, choices)

    return write


def factored(value: Value, choices: Choices) -> dict[str, Any]:
    """A shape of as many elements."""
    n = value.size
    ways: list[tuple[int, ...]] = [(-1,), (n,), (1, n), (n, 1)]
    ways += [(d, n // d) for d in (2, 3, 4) if n and n % d == 0] + [(2, -1) for _ in range(1) if n and n % 2 == 0]
    return {"shape": choices.one([(0, 2), (3, 0)] if n == 0 else [*ways, ()] if n == 1 else ways)}


def wider(value: Value, choices: Choices) -> dict[str, Any]:
    """A shape that the value broadcasts to."""
    shape = tuple(choices.one(SIZES) if n == 1 else n for n in value.shape)
    return {"shape": (choices.one(SIZES), *shape) if choices.often() and len(shape) < 4 else shape}


def squeezed(value: Value, choices: Choices) -> dict[str, Any] | None:
    ones = [i for i, n in enumerate(value.shape) if n == 1]
    if not ones:
        return {} if choices.rarely() else None
    return choices.one([{}, {"axis": ones[0]}, {"axis": tuple(ones)}, {"axis": ones[-1] - value.ndim}])  # type: ignore[no-any-return]


def parts(value: Value, choices: Choices) -> dict[str, Any]:
    axis = choices.below(value.ndim)
    n = value.shape[axis]
    first = choices.below(n + 1)
    sizes = choices.one([(first, n - first), (n,), (first, 0, n - first), (1,) * n or (0,)])
    attrs: dict[str, Any] = {"sizes": sizes}
    return attrs | ({"axis": axis if choices.often() else axis - value.ndim} if axis else {})


def border(value: Value, choices: Choices) -> dict[str, Any]:
    attrs: dict[str, Any] = {"widths": tuple((choices.below(3), choices.below(2)) for _ in value.shape)}
    return attrs | ({"value": 1.0} if choices.rarely() else {})


def order(value: Value, choices: Choices) -> dict[str, Any]:
    axes = list(range(value.ndim))
    if choices.often() or not axes:
        return {}
    first = axes.pop(choices.below(len(axes)))
    return {"axes": (first, *(axes if choices.often() else axes[::-1]))}


def other_dtype(value: Value, choices: Choices) -> dict[str, Any] | None:
    wanted = choices.one([d for d in DTYPES if d != value.dtype.name])
    if value.kind == "f" and np.dtype(wanted).kind != "f" and not np.isfinite(value.numbers).all():
        return None
    return {"dtype": wanted}


SPECIAL |= {
    "reshape": on_one(factored),
    "broadcast_to": on_one(wider),
    "squeeze": on_one(squeezed),
    "expand_dims": on_one(lambda v, c: {"axis": c.one([0, -1, v.ndim, (0, -1)])} if v.ndim < 3 else None),
    "transpose": on_one(order),
    "flip": on_one(lambda v, c: {"axis": c.one([None, *range(v.ndim)])}),
    "split": on_one(parts, least=1),
    "pad": on_one(border, least=1),
    "astype": on_one(other_dtype),
    "one_hot": on_one(lambda v, c: {"classes": c.one([3, 2, 1])} if v.kind in "iu" and v.ndim < 3 else None),
    "clip": on_one(lambda v, c: c.one([{"a_min": -1, "a_max": 1}, {"a_min": 0}, {"a_max": 1.5}])),
}


@special("concatenate")
def join(w: Writer, op: Op, choices: Choices) -> Any:
    first = w.pick(choices, lambda v: v.ndim > 0 and not v.array)
    if first is None:
        return []
    axis = choices.below(first.ndim)
    fits = lambda v: v.ndim == first.ndim and all(
        m == n or i == axis for i, (m, n) in enumerate(zip(v.shape, first.shape, strict=True))
    )
    others = [w.pick(choices, fits) or first for _ in range(choices.one([1, 2, 0]))]
    attrs = {"axis": axis if choices.often() else axis - first.ndim} if axis else {}
    operands = [[first, *others]]
    return finish(w, op, operands, attrs, choices) if infer(w, op, operands, attrs) else []


@special("softmax_cross_entropy")
def cross_entropy(w: Writer, op: Op, choices: Choices) -> Any:
    """Of logits at hand; labels are integers at hand brought into range, or probabilities."""
    logits = w.pick(choices, lambda v: v.kind == "f" and v.ndim > 0 and v.shape[-1] > 0 and not v.array)
    if logits is None:
        return []
    axis = choices.below(logits.ndim) if choices.rarely() and 0 not in logits.shape else logits.ndim - 1
    classes = logits.shape[axis]
    rest = tuple(n for i, n in enumerate(logits.shape) if i != axis)
    labels = w.pick(choices, lambda v: v.kind in "iu" and not v.array)
    soft = w.pick(choices, lambda v: v.aval == logits.aval and not v.array)
    target: str | Value
    if labels is not None and choices.often():
        target = f"{w.conform(labels, rest)} % {classes}"
    elif soft is not None and choices.often():
        target = f"tg.softmax({soft.name}, axis={axis})"
    else:
        target = w.constant(np.random.default_rng(choices.below(256)).integers(0, classes, rest), choices)
    attrs: dict[str, Any] = choices.one(
        [{}, {"reduction": "sum"}, {"reduction": "none"}, {"label_smoothing": 0.1}, {"reduction": "batchmean"}]
    )
    if axis != logits.ndim - 1:
        attrs = {"axis": axis, **attrs}
    return finish(w, op, [logits, target], attrs, choices) if infer(w, op, [logits, target], attrs) else []


@special("batch_norm")
@special("batch_norm_relu")
def normalised(w: Writer, op: Op, choices: Choices) -> Any:
    """Of a value at hand, by scales and shifts that are at hand or captured."""
    x = w.pick(choices, lambda v: v.kind == "f" and v.ndim > 1 and v.size > 1 and not v.array)
    if x is None:
        return by_example(w, op, choices)
    axis = choices.one([1, x.ndim - 1, 0])
    fits = lambda v: v.shape == (x.shape[axis],) and v.dtype == x.dtype and not v.array
    pair = [w.pick(choices, fits) or w.constant(w.new((x.shape[axis],), x.dtype, choices), choices) for _ in range(2)]
    attrs: dict[str, Any] = ({"axis": axis} if axis != 1 else {}) | choices.one([{}, {"eps": 0.001}])
    return finish(w, op, [x, *pair], attrs, choices) if infer(w, op, [x, *pair], attrs) else by_example(w, op, choices)


def creating(attrs_of: Callable[[Choices], dict[str, Any]]) -> Special:
    def write(w: Writer, op: Op, choices: Choices) -> Any:
        kinds = ("float64",) if w.options.smooth else ("", *DTYPES[:-1])
        kind = choices.one(kinds)
        attrs = attrs_of(choices) | ({"dtype": kind} if kind else {})
        return finish(w, op, [], attrs, choices) if infer(w, op, [], attrs) else []

    return write


SHAPES = ((3,), (2, 3), (), (0, 3), (1,))
SPECIAL |= {
    "zeros": creating(lambda c: {"shape": c.one(SHAPES)}),
    "ones": creating(lambda c: {"shape": c.one(SHAPES)}),
    "full": creating(lambda c: {"shape": c.one(SHAPES), "value": c.one([1.0, 2, 0.25, True])}),
    "eye": creating(lambda c: {"n": c.one([3, 2, 1, 0])}),
    "arange": creating(lambda c: c.one([{"start": 3}, {"start": 1, "stop": 4}, {"start": 2.0, "stop": 0, "step": -0.5}])),
}


@special("matmul")
def product(w: Writer, op: Op, choices: Choices) -> Any:
    """Of two values that fit, or of one with itself or a constant."""
    numbers = lambda v: v.ndim > 0 and v.kind in "fiu"
    a = w.pick(choices, numbers)
    if a is None:
        return []
    b = w.pick(choices, lambda v: numbers(v) and infer(w, op, [a, v], {}))
    if b is None or choices.rarely():
        shape = (a.shape[-1], *choices.one([(2,), (), (1,), (3,)]))
        b = w.constant(w.new(shape, a.dtype if a.kind == "f" else "float64", choices), choices)
    return finish(w, op, [a, b], {}, choices) if infer(w, op, [a, b], {}) else []


@special("getitem")
def read(w: Writer, op: Op, choices: Choices) -> Any:
    value = w.pick(choices, lambda v: not v.array and (v.ndim > 0 or choices.rarely()))
    return [] if value is None else w.let(f"{value.name}[{key_of(w, value, choices)}]")


def update(w: Writer, choices: Choices, ways: Sequence[str]) -> Any:
    """``x.at[key].set(v)`` and its like."""
    value = w.pick(choices, lambda v: not v.array and v.ndim > 0 and v.kind != "b")
    if value is None:
        return []
    key = key_of(w, value, choices)
    chosen = w.evaluate(f"{value.name}[{key}]")
    other = w.pick(choices, lambda v: v.kind == value.kind and np.can_cast(v.dtype, value.dtype, "same_kind"))
    new = choices.one([2, 1, -1]) if value.kind in "iu" else choices.one([0.5, -1.5, 2.0])
    if value.kind == "u":
        new = abs(new)
    shown = show_number(new)
    if other is not None and choices.often():
        shown = w.conform(other, chosen.shape, value.dtype)
    return w.let(f"{value.name}.at[{key}].{choices.one(ways)}({shown})")


@special("put")
def put(w: Writer, op: Op, choices: Choices) -> Any:
    return update(w, choices, ("set", "multiply"))


@special("scatter_add")
def scatter(w: Writer, op: Op, choices: Choices) -> Any:
    return update(w, choices, ("add",))


@special("take_along_axis")
def along(w: Writer, op: Op, choices: Choices) -> Any:
    value = w.pick(choices, lambda v: v.ndim > 0 and v.size > 0 and not v.array)
    if value is None:
        return []
    axis = choices.below(value.ndim)
    found = f"tg.{choices.one(['argmax', 'argmin'])}({value.name}, axis={axis}, keepdims=True)"
    return w.let(f"tg.take_along_axis({value.name}, {found}, axis={axis})")
