"""Batching: the rule by which many calls of an op, one an example, are one call.

A rule is a function of a `BatchCall`: the inputs, of which some hold all examples (the batch axis is their first) and
the others are shared by all. It gives the outputs with the batch axis first, written with ops, so that it runs on
arrays and is recorded in a trace; it looks at shapes and never at numbers. `Op.batch` is an op's own rule, else its
kind has one: elementwise ops line their axes up, reductions shift their axes, draws take the states of all examples.
A fused op without either is batched as its reference, by `tensorgraph.passes.batching`, which batches whole graphs; a
rule that gives NotImplemented leaves a call to it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tensorgraph.engine import known, modes
from tensorgraph.engine.aval import Aval, canonical_axes, canonical_axis
from tensorgraph.engine.op import Kind, Op, creation, elementwise, random, reduction
from tensorgraph.engine.signature import REQUIRED

__all__ = ["BatchCall", "batch", "examples_first", "moved", "one_by_one", "outputs_of", "repeated", "reshaped",
           "rule_of", "shifted", "stacked", "unchanged", "widened"]  # fmt: skip

Rule = Callable[["BatchCall"], Any]


@dataclass(frozen=True, slots=True)
class BatchCall:
    """A batch of calls of one op.

    Attributes
    ----------
    op : Op
    size : int
        The number of examples.
    args : tuple
        One an input: an array or a Tensor, a Python scalar, None, or a list of these.
    on : tuple of bool, or of lists of bools
        Which inputs hold all examples, along their first axis.
    attrs : dict
        Of one example's call, all of them.
    body : callable
        ``body(graph, in_dims)`` gives the batched form of a graph that the attributes hold.
    """

    op: Op
    size: int
    args: tuple[Any, ...]
    on: tuple[Any, ...]
    attrs: dict[str, Any]
    body: Callable[..., Any] = field(default=lambda graph, in_dims: graph)

    def shape(self, i: int) -> tuple[int, ...]:
        """The shape of an input in one call."""
        return example_shape(self.args[i], self.on[i])

    def avals(self) -> tuple[Any, ...]:
        """What the shape rule of one call is given."""

        def one(value: Any, on: Any) -> Any:
            if isinstance(value, list):
                return [one(v, o) for v, o in zip(value, on, strict=True)]
            return Aval(example_shape(value, on), value.dtype) if hasattr(value, "shape") else value

        return tuple(one(value, on) for value, on in zip(self.args, self.on, strict=True))

    def whole(self, i: int) -> Any:
        """An input with the batch axis, repeated if it is shared; of a list each item."""
        value, on = self.args[i], self.on[i]
        if isinstance(value, list):
            return [repeated(v, self.size) if not o else v for v, o in zip(value, on, strict=True)]
        return value if on or not hasattr(value, "shape") else repeated(value, self.size)

    def run(self, *args: Any, **attrs: Any) -> Any:
        """The op on these inputs, with the attributes of the call but for those given."""
        return self.op(*args, **{**self.attrs, **attrs})

    def ones(self, shape: tuple[int, ...], dtype: Any) -> Any:
        """Ones for the op, as the other inputs are: an array, or recorded in a trace."""
        if modes.current().trace is None:
            return np.ones(shape, dtype)
        return known.ones.public(shape=shape, dtype=np.dtype(dtype).name)

    def each(self, function: Callable[[Any], Any], outputs: Any) -> Any:
        """The outputs of a call, each changed."""
        return tuple(map(function, outputs)) if isinstance(outputs, (tuple, list)) else function(outputs)


def example_shape(value: Any, on: bool) -> tuple[int, ...]:
    shape: tuple[int, ...] = getattr(value, "shape", ())
    return shape[1:] if on else shape


# what rules are written with ----------------------------------------------------------------------------------------


def reshaped(x: Any, *sizes: int) -> Any:
    return x if x.shape == sizes else known.reshape(x, shape=sizes)


def repeated(x: Any, size: int) -> Any:
    """A shared value with a batch axis."""
    return known.broadcast_to(x, shape=(size, *x.shape))


def moved(x: Any, source: int, target: int) -> Any:
    """An axis in another place, the others in their order."""
    order = [i for i in range(len(x.shape)) if i != source]
    order.insert(target, source)
    return x if order == sorted(order) else known.transpose(x, axes=tuple(order))


def widened(x: Any, ndim: int, on: bool) -> Any:
    """A value whose examples have `ndim` axes, those of size 1 put in front of each example's own."""
    shape = example_shape(x, on)
    ones = (1,) * (ndim - len(shape))
    return reshaped(x, *x.shape[:1], *ones, *shape) if on and ones else x


# rules --------------------------------------------------------------------------------------------------------------


def unchanged(call: BatchCall) -> Any:
    """For ops of one tensor that take any leading axes: the same call."""
    return call.run(*[call.whole(i) for i in range(len(call.args))])


def lined_up(call: BatchCall) -> Any:
    """For elementwise ops: examples have as many axes in every input, so that they broadcast as one does."""
    ndim = max(len(call.shape(i)) for i in range(len(call.args)))
    return call.run(*[widened(x, ndim, on) for x, on in zip(call.args, call.on, strict=True)])


def shifted(name: str = "axis") -> Rule:
    """For ops of tensors whose axes an attribute names, one or several: each is one further."""

    def rule(call: BatchCall) -> Any:
        first = call.shape(0) if not isinstance(call.args[0], list) else example_shape(call.args[0][0], call.on[0][0])
        axes = call.attrs[name]
        if isinstance(axes, (tuple, list)) or axes is None:
            shift: Any = tuple(a + 1 for a in canonical_axes(axes, len(first)))
        else:
            shift = canonical_axis(axes, len(first)) + 1
        return call.run(*[call.whole(i) for i in range(len(call.args))], **{name: shift})

    return rule


def reduced(call: BatchCall) -> Any:
    """For reductions: over the examples' own axes; over all of them where `axis` is None."""
    if "axis" not in call.attrs or len(call.args) != 1:
        raise no_rule(call.op)
    shape = call.shape(0)
    if call.attrs["axis"] is not None and shape:
        return shifted()(call)
    keeps = {"keepdims": False} if "keepdims" in call.attrs else {}
    out = call.run(reshaped(call.args[0], call.size, math.prod(shape)), axis=1, **keeps)
    ones = (1,) * len(shape) if call.attrs.get("keepdims") else ()
    return call.each(lambda y: reshaped(y, call.size, *ones), out)


def one_by_one(call: BatchCall) -> Any:
    """For ops that have no other way: a call an example, and the results stacked."""
    made = []
    for i in range(call.size):
        picked = [of_example(x, on, i) for x, on in zip(call.args, call.on, strict=True)]
        made.append(call.run(*picked))
    if not made:
        avals = call.op.infer(call.avals(), call.attrs)
        outputs = tuple(np.zeros((0, *a.shape), a.dtype) for a in avals)
        return outputs[0] if call.op.single else outputs
    return stacked(made) if call.op.single else tuple(map(stacked, zip(*made, strict=True)))


def of_example(x: Any, on: Any, i: int) -> Any:
    if isinstance(x, list):
        return [of_example(item, o, i) for item, o in zip(x, on, strict=True)]
    return known.getitem(x, [], key=(i,)) if on else x


def stacked(values: Sequence[Any]) -> Any:
    """Values side by side along a new first axis."""
    return known.stack([*values], axis=0)


def made_once(call: BatchCall) -> Any:
    """For creation from tensors: a kind that says nothing of its inputs."""
    raise no_rule(call.op)


KINDS: dict[Kind, Rule] = {elementwise: lined_up, reduction: reduced, random: unchanged, creation: made_once}


def rule_of(op: Op) -> Rule | None:
    """An op's own rule, or its kind's; None where there is neither."""
    return op.batch or KINDS.get(op.kind)


def no_rule(op: Op) -> NotImplementedError:
    return NotImplementedError(
        f"{op.name} has no batching rule, so it cannot be called for a batch at once: declare the op with batch=, a "
        "function of a tensorgraph.engine.batching.BatchCall, or have it called for one example after the other, "
        'tensorgraph.vmap(f, fallback="loop")'
    )


# calls --------------------------------------------------------------------------------------------------------------


def examples_first(value: Any, dim: int | None) -> Any:
    """A value with its batch axis brought to the front."""
    return value if dim is None else moved(value, canonical_axis(dim, len(value.shape), "a batch axis"), 0)


def batch(
    op: Op, args: Sequence[Any], dims: Sequence[Any], attrs: Mapping[str, Any] | None = None, size: int | None = None
) -> tuple[Any, ...]:
    """A batch of calls of an op as one.

    Parameters
    ----------
    op : Op
    args : sequence
        The inputs: arrays, Tensors or traced values, Python scalars, None, lists.
    dims : sequence of int or None, or of lists of these
        The batch axis of each input; None where it is the same for all examples.
    attrs : mapping, optional
        Of one example's call.
    size : int, optional
        The number of examples, where no input says it.

    Returns
    -------
    tuple
        The outputs, with the batch axis first.

    Raises
    ------
    NotImplementedError
        Where there is no rule, naming the op and ``batch=``.

    Examples
    --------
    >>> import numpy as np, tensorgraph as tg
    >>> from tensorgraph.engine.batching import batch
    >>> (out,) = batch(tg.sum.op, [np.ones((3, 5))], [1])  # five columns of three
    >>> out.tolist()
    [3.0, 3.0, 3.0, 3.0, 3.0]
    """
    full = {name: value for name, value in op.attrs.items() if value is not REQUIRED} | dict(attrs or {})
    given: list[Any] = []
    on: list[Any] = []
    sizes = set() if size is None else {size}
    for value, dim in zip(args, dims, strict=True):
        if isinstance(value, list):
            given.append([examples_first(v, d) for v, d in zip(value, dim, strict=True)])
            on.append([d is not None for d in dim])
            sizes |= {v.shape[0] for v, d in zip(given[-1], dim, strict=True) if d is not None}
        else:
            given.append(examples_first(value, dim))
            on.append(dim is not None)
            sizes |= {given[-1].shape[0]} if dim is not None else set()
    if len(sizes) != 1:
        came = f"sizes {sorted(sizes)}" if sizes else "no batch axis and no size="
        raise ValueError(f"{op.name}: a batch has one number of examples, got {came}")
    rule = rule_of(op)
    if rule is None:
        raise no_rule(op)
    return outputs_of(rule(BatchCall(op, sizes.pop(), tuple(given), tuple(on), full)))


def outputs_of(made: Any) -> tuple[Any, ...]:
    """What a rule gave, as a tuple."""
    return tuple(made) if isinstance(made, (tuple, list)) else (made,)
