"""What an op is tested with: cases generated for elementwise ops and reductions, from its examples for others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias

import numpy as np

from tensorgraph.arguments import Kind, Natural, checked
from tensorgraph.engine.aval import Aval
from tensorgraph.engine.op import CATALOGUE, Op, elementwise, reduction
from tensorgraph.engine.signature import REQUIRED
from tensorgraph.engine.tensor import Tensor, tensor

__all__ = ["Case", "differentiable_places", "draw", "examples_of", "op_of"]

Array = np.ndarray[Any, Any]
Place = tuple[int, ...]  # (input,) or (input, position in a list)

DOMAIN = (-2.0, 2.0)
FROM_A_KINK = 0.02  # how near a kink test numbers come, in parts of the domain

UNARY: tuple[tuple[tuple[int, ...], ...], ...] = (((3, 4),), ((),), ((0, 3),))
BINARY: tuple[tuple[tuple[int, ...], ...], ...] = (
    ((2, 3), (2, 3)), ((2, 3), (3,)), ((2, 1), (1, 3)), ((), (2,)), ((), ()), ((0, 3), (1, 3)),
)  # fmt: skip
REDUCED: tuple[tuple[tuple[int, ...], dict[str, Any]], ...] = (
    ((3, 4), {}), ((3, 4), dict(axis=0)), ((3, 4), dict(axis=-1, keepdims=True)), ((2, 3, 2), dict(axis=1)),
    ((2, 3, 2), dict(axis=(0, 2))), ((), {}), ((3, 4), dict(keepdims=True)), ((0, 3), dict(axis=1)),
)  # fmt: skip


def _op(value: Any, kind: Kind) -> Op:
    if isinstance(value, str) and value in CATALOGUE:
        return CATALOGUE[value]
    declared = value if isinstance(value, Op) else getattr(value, "op", None)
    return declared if isinstance(declared, Op) else kind.refuse(value)


AnOp: TypeAlias = Annotated[Any, Kind("an op, the function of an op or its name", _op)]


def op_of(op: Any) -> Op:
    """The declaration of an op given as itself, as the function that users call, or by name."""
    if isinstance(op, str):
        return CATALOGUE[op]
    declared = op if isinstance(op, Op) else getattr(op, "op", None)
    if not isinstance(declared, Op):
        raise TypeError(f"expected an op, the function of an op or its name, got {op!r}")
    return declared


@dataclass(frozen=True)
class Case:
    """One call of an op: inputs as arrays (floats in float64), lists of arrays, numbers or None, and attributes."""

    op: Op
    inputs: tuple[Any, ...]
    attrs: Mapping[str, Any]

    def __str__(self) -> str:
        def show(item: Any) -> str:
            if isinstance(item, list):
                return f"[{', '.join(show(i) for i in item)}]"
            return repr(Aval(item.shape, item.dtype)) if isinstance(item, np.ndarray) else repr(item)

        attrs = [f"{k}={v!r}" for k, v in self.attrs.items()]
        return f"{self.op.name}({', '.join([show(i) for i in self.inputs] + attrs)})"

    def places(self) -> Iterator[tuple[Place, Array]]:
        """Every array and where it stands."""
        for i, item in enumerate(self.inputs):
            if isinstance(item, list):
                for j, array in enumerate(item):
                    yield (i, j), array
            elif isinstance(item, np.ndarray):
                yield (i,), item

    def floats(self) -> list[Place]:
        """Where the float arrays stand."""
        return [place for place, array in self.places() if array.dtype.kind == "f"]

    def at(self, place: Place) -> Any:
        """The array at a place."""
        item = self.inputs[place[0]]
        return item[place[1]] if len(place) == 2 else item

    def map(self, function: Callable[[Place, Array], Any]) -> Case:
        """The case with every array replaced."""
        inputs: list[Any] = [list(i) if isinstance(i, list) else i for i in self.inputs]
        for place, array in self.places():
            if len(place) == 2:
                inputs[place[0]][place[1]] = function(place, array)
            else:
                inputs[place[0]] = function(place, array)
        return Case(self.op, tuple(inputs), self.attrs)

    def put(self, values: Mapping[Place, Array]) -> Case:
        """The case with some arrays replaced."""
        return self.map(lambda place, array: values.get(place, array))

    def cast(self, dtype: Any) -> Case:
        """The case with its floats in another dtype; fresh arrays."""
        return self.map(lambda _, a: np.array(a, dtype if a.dtype.kind == "f" else a.dtype))

    def avals(self) -> tuple[Any, ...]:
        """What the shape rule is given."""
        return tuple(
            [Aval(a.shape, a.dtype) for a in i] if isinstance(i, list)
            else Aval(i.shape, i.dtype) if isinstance(i, np.ndarray) else i
            for i in self.inputs
        )  # fmt: skip

    def full_attrs(self) -> dict[str, Any]:
        """Attributes with the defaults filled in."""
        return {k: self.attrs.get(k, v) for k, v in self.op.attrs.items()}

    def tensors(self, wanting: list[Place] = [], copy: bool = True) -> tuple[tuple[Any, ...], list[Tensor]]:  # noqa: B006
        """The inputs as tensors, and those among them that want gradients, in order."""
        made: dict[Place, Tensor] = {
            place: tensor(array, requires_grad=place in wanting, copy=copy) for place, array in self.places()
        }
        return self.map(lambda place, _: made[place]).inputs, [made[place] for place in wanting]

    def __call__(self, inputs: tuple[Any, ...] | None = None, **options: Any) -> tuple[Any, ...]:
        """The op's outputs for these inputs (the case's own unless given), always as a tuple."""
        given = self.tensors()[0] if inputs is None else inputs
        result = self.op.public(*given, **self.attrs, **options)
        return result if isinstance(result, tuple) else (result,)


@checked
def differentiable_places(case: Case) -> list[Place]:
    """Float inputs that have a derivative rule."""
    op = case.op
    return [p for p in case.floats() if op.joint is not None or op.rules[op.inputs[p[0]]] is not None]


@checked
def draw(op: Op, shapes: Sequence[tuple[str, Sequence[int]]], rng: np.random.Generator) -> list[Array]:
    """Numbers for the named inputs: from the op's domain, away from its kinks, no two of them near each other.

    Distinct numbers keep maxima, sorting and comparisons away from their ties.
    """
    sizes = [int(np.prod(shape)) for _, shape in shapes]
    total = sum(sizes)
    places = rng.permutation(total) + rng.uniform(0.3, 0.7, total)  # one a stratum
    arrays, start = [], 0
    for (name, shape), size in zip(shapes, sizes, strict=True):
        domain = op.domain
        low, high = (domain.get(name, DOMAIN) if isinstance(domain, Mapping) else domain) or DOMAIN
        values = low + (high - low) * places[start : start + size] / max(total, 1)
        for kink in op.kinks:
            margin = FROM_A_KINK * (high - low)
            off = values - kink
            values = np.where(np.abs(off) < margin, kink + np.copysign(margin + np.abs(off), off), values)
        arrays.append(values.reshape(shape))
        start += size
    return arrays


def _filled(op: Op, inputs: tuple[Any, ...], rng: np.random.Generator) -> tuple[Any, ...]:
    """An example's inputs with its shapes filled in."""
    wanted: list[tuple[str, tuple[int, ...]]] = []
    for name, item in zip(op.inputs, inputs, strict=False):
        for part in item if isinstance(item, list) else [item]:
            if isinstance(part, tuple):
                wanted.append((name, part))
    numbers = iter(draw(op, wanted, rng))

    def fill(part: Any) -> Any:
        if isinstance(part, tuple):
            return next(numbers)
        if isinstance(part, np.ndarray):
            return np.array(part, np.float64 if part.dtype.kind == "f" else part.dtype)
        return part

    given = (*inputs, *[None] * (len(op.inputs) - len(inputs)))  # optional inputs may be left out
    return tuple([fill(p) for p in item] if isinstance(item, list) else fill(item) for item in given)


def _takes_floats(op: Op, shapes: tuple[tuple[int, ...], ...]) -> bool:
    try:
        op.infer(tuple(Aval(s, np.float64) for s in shapes), dict(op.attrs))
    except (TypeError, ValueError):
        return False
    return True


@checked
def examples_of(op: AnOp, seed: Natural = 0) -> list[Case]:
    """The cases that an op is tested with.

    Parameters
    ----------
    op : Op, function of an op, or name
    seed : int

    Raises
    ------
    AssertionError
        Where there is none: the op needs ``examples=``.

    Examples
    --------
    >>> from tensorgraph.testing import examples_of
    >>> print(examples_of("tanh")[0])
    tanh(f64[3, 4])
    """
    declared = op_of(op)
    rng = np.random.default_rng(seed)
    cases = [Case(declared, _filled(declared, tuple(inputs), rng), dict(attrs)) for inputs, attrs in declared.examples]
    sig = declared.signature
    simple = not sig.lists and not sig.optional and REQUIRED not in declared.attrs.values()
    if declared.kind is elementwise and simple and declared.check is None and len(declared.inputs) in (1, 2):
        for shapes in UNARY if len(declared.inputs) == 1 else BINARY:
            numbers = draw(declared, list(zip(declared.inputs, shapes, strict=True)), rng)
            if not _takes_floats(declared, shapes):
                numbers = [np.asarray(np.rint(3 * n), np.int64) for n in numbers]
            cases.append(Case(declared, tuple(numbers), {}))
    if declared.kind is reduction and simple and not declared.examples and len(declared.inputs) == 1:
        for shape, attrs in REDUCED:
            if set(attrs) <= set(declared.attrs) and (
                declared.dtype != "int" or not isinstance(attrs.get("axis"), tuple)
            ):
                cases.append(Case(declared, tuple(draw(declared, [(declared.inputs[0], shape)], rng)), attrs))
    if not cases:
        raise AssertionError(
            f"op {declared.name!r} has no cases to be tested with: declare it with examples=(((shape, ...), attrs),)"
        )
    return cases
