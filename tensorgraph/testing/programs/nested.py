"""Forms that hold other steps: blocks, functions inside functions and their derivatives, rules of one's own."""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgraph.engine.exits import DetachError
from tensorgraph.engine.op import CATALOGUE, Op, elementwise
from tensorgraph.ops.index import getitem
from tensorgraph.ops.shape import transpose
from tensorgraph.ops.structure import stop_gradient
from tensorgraph.testing.programs.choices import Choices, Options, show_array
from tensorgraph.testing.programs.steps import form
from tensorgraph.testing.programs.writer import Value, Writer
from tensorgraph.transforms.refusals import Unread

__all__: list[str] = []  # they register themselves

DEEPEST = 2


def _nested(options: Options) -> bool:
    return options.nested


def _everywhere(op: Op) -> bool:
    """Whether an op is a smooth function of one number, defined everywhere."""
    plain = op.kind is elementwise and len(op.inputs) == 1 and not op.attrs and op.infix is None
    return plain and op.domain is None and "analytic" in op.traits and op.differentiable


def _cuts(options: Options) -> bool:
    return not options.smooth


# blocks ------------------------------------------------------------------------------------------------------------


@form()
def scope(w: Writer, choices: Choices) -> None:
    name = choices.one(["layer", "block.0", "head"])
    with w.block(f"tg.scope({name!r})"):
        w.steps(choices.one([1, 2, 3]))


@form(_cuts)
def no_grad(w: Writer, choices: Choices) -> None:
    with w.block("tg.no_grad()"):
        w.steps(choices.one([1, 2, 3]))


@form()
def composed(w: Writer, choices: Choices) -> None:
    with w.block(f"tg.implementation({choices.one(['composed', 'fused'])!r})"):
        w.steps(choices.one([1, 2]))


# spellings of ops that have no name of their own ---------------------------------------------------------------------


@form(_cuts)
def detach(w: Writer, choices: Choices) -> Any:
    value = w.pick(choices, lambda v: not v.array)
    return w.let(f"{value.name}.detach()") if value and w.options.allows(stop_gradient.name) else None


@form(lambda options: options.allows(getitem.name))
def unpack(w: Writer, choices: Choices) -> Any:
    """A tensor unpacked along its first axis."""
    value = w.pick(choices, lambda v: v.ndim > 0 and 0 < v.shape[0] < 4 and not v.array)
    return w.let(f"tuple({value.name})") if value else None


@form(lambda options: options.allows(transpose.name))
def transposed(w: Writer, choices: Choices) -> Any:
    value = w.pick(choices, lambda v: v.ndim > 1 and not v.array)
    return w.let(f"{value.name}.{choices.one(['T', 'mT'])}") if value else None


# functions inside functions ------------------------------------------------------------------------------------------


def argument(w: Writer, choices: Choices, most: int = 12) -> Value | None:
    """Something to differentiate by."""
    return w.pick(choices, lambda v: v.kind == "f" and not v.array and v.size <= most)


def inner_of(w: Writer, choices: Choices, arguments: list[Value], finish: Any, **how: Any) -> str | None:
    """Write a function of its own and give its name; its line stands before what calls it."""
    if w.depth >= DEEPEST:
        return None
    name, lines = w.function(arguments, choices.one([1, 2, 3]), finish, **how)
    w.lines += lines
    return name


def called(w: Writer, name: str | None, expression: str) -> list[Value]:
    """Assign what came of a call of an inner function; its definition goes too where that will not do."""
    if name is None:
        return []
    return w.let(expression, refusals=(DetachError, Unread))


@form(_nested)
def function(w: Writer, choices: Choices) -> Any:
    """A function called twice."""
    value = w.pick(choices, lambda v: not v.array)
    if value is None:
        return
    name = inner_of(w, choices, [value], lambda inner: inner.values[-1].name, lifted=False)
    if called(w, name, f"{name}({value.name})") and choices.often():
        other = w.pick(choices, lambda v: v.aval == value.aval and not v.array and w.sure(v) == w.sure(value))
        called(w, name, f"{name}({(other or value).name})")


@form(_nested)
def grad(w: Writer, choices: Choices) -> Any:
    value = argument(w, choices)
    if value is None:
        return
    second = argument(w, choices) if choices.rarely(3) else None
    arguments = [value] if second is None else [value, second]
    if second is None and choices.rarely():
        return with_more(w, choices, value)
    name = inner_of(w, choices, arguments, lambda inner: inner.scalar(choices))
    given = ", ".join(v.name for v in arguments)
    transform = "grad" if second else choices.one(["grad", "value_and_grad"])
    return called(w, name, f"tg.{transform}({name}{', (0, 1)' if second else ''})({given})")


def with_more(w: Writer, choices: Choices, value: Value) -> Any:
    """A function that gives something besides, or one of a dict."""
    if choices.often():
        name = inner_of(w, choices, [value], lambda inner: f"({inner.scalar(choices)}, {inner.values[-1].name})")
        return called(w, name, f"tg.grad({name}, has_aux=True)({value.name})")
    name = inner_of(w, choices, [value], lambda inner: inner.scalar(choices))
    tree = f"{{'a': {value.name}, 'b': [{value.name}]}}"
    return called(w, name, f"tuple(tg.grad(lambda p: {name}(p['a']) + {name}(p['b'][0]))({tree})['b'])")


@form(_nested)
def vjp(w: Writer, choices: Choices) -> Any:
    value = argument(w, choices)
    if value is None:
        return
    name = inner_of(w, choices, [value], lambda inner: inner.result(choices))
    if name is None:
        return
    try:
        out = w.evaluate(f"tg.vjp({name}, {value.name})[0]")
    except (DetachError, Unread):
        called(w, name, f"tg.vjp({name}, {value.name})[0]")  # is refused, and the definition goes too
        return
    g = w.constant(np.asarray(w.new(out.shape, out.dtype, choices)), choices)
    called(w, name, f"tg.vjp({name}, {value.name})[1]({g.name})[0]")


@form(_nested)
def jvp(w: Writer, choices: Choices) -> Any:
    value = argument(w, choices)
    if value is None:
        return
    other = w.pick(choices, lambda v: v.aval == value.aval and not v.array) or value
    if choices.often():
        name = inner_of(w, choices, [value], lambda inner: inner.result(choices))
        called(w, name, f"tg.jvp({name}, ({value.name},), ({other.name},))")
    else:
        name = inner_of(w, choices, [value], lambda inner: inner.scalar(choices))
        called(w, name, f"tg.hvp({name}, ({value.name},), ({other.name},))[1][0]")


@form(_nested)
def jacobian(w: Writer, choices: Choices) -> Any:
    value = argument(w, choices, 4)
    if value is None:
        return
    before = len(w.lines)
    name = inner_of(w, choices, [value], lambda inner: inner.result(choices))
    # rows that are pulled back together are one batch of a recurrent op, which BLAS multiplies as one larger matrix:
    # such programs are compared by tolerance, never to the last bit (tests/test_jacobians.py has the ops by themselves)
    body = "\n".join(w.lines[before:])
    recurrent = any(f".{op.name}(" in body for op in CATALOGUE.values() if "recurrent" in op.inputs)
    if recurrent and not w.options.smooth:
        return
    if name is not None and w.evaluate(f"tg.vjp({name}, {value.name})[0]").size <= 4:
        called(w, name, f"tg.jacobian({name})({value.name})")


@form(_nested)
def gradients(w: Writer, choices: Choices) -> Any:
    """``tg.gradients`` by something computed inside: a function's own argument, a parameter, what follows from them."""
    y = w.pick(choices, lambda v: v.kind == "f" and not v.array and w.sure(v) and not w.stale(v))
    x = w.pick(choices, lambda v: v.kind == "f" and not v.array and w.sure(v) and not w.stale(v))
    if y is None or x is None:
        return []
    created = w.options.smooth or choices.often()
    how = "create_graph=True" if created else "retain_graph=True"
    if y.ndim and choices.often():
        g = w.constant(np.asarray(w.new(y.shape, y.dtype, choices)), choices)
        return w.let(f"tg.gradients({y.name}, {x.name}, {g.name}, {how})")
    shown = f"tg.sum({y.name})" if y.ndim else y.name
    if choices.rarely():
        return w.let(f"tg.gradients({{'loss': {shown}}}, [{x.name}, {x.name}], {how})")
    return w.let(f"tg.gradients({shown}, {x.name}, {how})")


def _to_rounding(options: Options) -> bool:
    """Programs that are not compared to the last bit where derivatives are taken."""
    return options.nested and not options.state and (options.smooth or not options.differentiable)


@form(_to_rounding)
def checkpoint(w: Writer, choices: Choices) -> Any:
    """A function computed again in the backward pass.

    It adds up what flows to a value inside before that meets what flows to it outside. In a trace there is no inside,
    so the two derivatives agree to rounding only.
    """
    value = argument(w, choices)
    if value is None or (w.depth and not w.options.smooth):
        return
    name = inner_of(w, choices, [value], lambda inner: inner.result(choices), lifted=False)
    called(w, name, f"tg.checkpoint({name})({value.name})")


@form(_nested)
def custom(w: Writer, choices: Choices) -> Any:
    """A rule of one's own: right for an elementwise op, or, where no numbers are to agree, another."""
    value = argument(w, choices)
    if value is None:
        return
    op = choices.one([op for op in CATALOGUE.values() if _everywhere(op)])
    if not w.options.allows(op.name):
        return
    name, scale = w.fresh("f"), show_array(np.asarray(0.5, value.dtype))
    pad = "    " * w.indent
    right = f"tg.vjp(tg.{op.name}, kept)[1](g)[0]"
    rule = choices.one([right, right, *([] if w.options.smooth else [f"{scale} * g * kept", "g"])])
    lines = ["@tg.custom_vjp", f"def {name}(t):", f"    return tg.{op.name}(t)",
             f"{name}.defvjp(lambda t: (tg.{op.name}(t), t), lambda kept, g: ({rule},))"]  # fmt: skip
    w.define(lines)
    w.lines += [pad + line for line in lines]
    inside = w.inside(value.name, None)
    if inside is not None:
        w.let(f"{name}({inside})")
