"""A user's own ops, through the door that the library's own come by: `op` and `fused_op`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

from tensorgraph.arguments import checked
from tensorgraph.engine import declare
from tensorgraph.engine.op import ALIASES, CATALOGUE, Kind, elementwise, opaque, reduction
from tensorgraph.engine.recognition import Recognition
from tensorgraph.engine.signature import parse_signature

__all__ = ["fused_op", "op", "remove_op"]

KINDS: dict[str, Kind] = {"elementwise": elementwise, "reduction": reduction, "opaque": opaque}

VJP = Mapping[str, Callable[..., Any] | Literal[0] | None] | Callable[..., Any] | None


@checked
def op(
    signature: str,
    forward: Callable[..., Any] | None = None,
    *,
    kind: Literal["opaque", "elementwise", "reduction"] = "opaque",
    vjp: VJP = None,
    traits: Iterable[str] = (),
    **fields: Any,
) -> Callable[..., Any]:
    """Declare an operation: one call, in one place. Also a decorator of the forward.

    Parameters
    ----------
    signature : str
        ``"name(a, b, *, axis=None) -> y"``: inputs, attributes after ``*``, outputs after ``->``.
    forward : callable
        On plain arrays: one array, or a tuple of outputs followed by what ``residuals`` names.
    kind : {"opaque", "elementwise", "reduction"}
        The family decides the shape rule. An opaque op says it by ``infer_rule``, from the types of the inputs:
        ``infer_rule=lambda a: tensorgraph.spec(a.shape, a.dtype)``. Without it a graph, a picture and a text run the
        forward on arrays of ones to see, which a forward that refuses ones (a factorisation) or is slow cannot take.
    vjp : mapping or callable, optional
        One rule per input, None for an input without rule, or 0 for one in which the derivative is zero wherever there
        is one; or one joint rule. A rule names what it needs:
        ``g``, inputs, outputs, ``x_aval``, attributes, residuals. It is written with operators and tensorgraph
        functions, is linear in ``g``, and serves every order of derivative. Without it the op is not differentiable:
        transforms refuse a value that they differentiate as its input, and on the tape a `DetachWarning` tells of it.
    traits : iterable of str
        What is true of every call: ``("analytic", "bounded above")``. Passes, analyses and pictures treat the op by
        them as they treat the library's own; `tensorgraph.engine.traits.TRAITS` has every word with its meaning.
        `tensorgraph.testing.check` tries those that can be tried. Say none that is not certain.
    **fields
        Further fields of `tensorgraph.engine.op.Op`: ``residuals``, ``infer_rule``, ``domain``, ``doc``, ...

    Returns
    -------
    callable
        The function to call; it gives Tensors, and stands in the catalogue under its name.

    Raises
    ------
    ValueError
        Where an input has neither rule nor None, a rule names something unknown, a trait is unknown, or the name is
        taken.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> @tg.op("cube(x)", kind="elementwise", vjp=dict(x=lambda g, x: g * 3 * x * x))
    ... def cube(x):
    ...     return x * x * x
    >>> x = tg.tensor(2.0, requires_grad=True)
    >>> cube(x).backward(); float(x.grad)
    12.0
    >>> tg.remove_op("cube")
    """
    if vjp is not None:
        _refuse_names(signature)

    def finish(forward: Callable[..., Any]) -> Callable[..., Any]:
        fields.setdefault("doc", forward.__doc__ or "")
        may = () if "scalar" in fields else ("refuses",)  # nobody knows
        return declare.op(signature, forward, KINDS[kind], vjp=vjp, traits=(*traits, *may), **fields).public

    return finish if forward is None else finish(forward)


@checked
def fused_op(
    signature: str,
    *,
    reference: Callable[..., Any],
    forward: Callable[..., Any],
    backward: Callable[..., Any],
    residuals: Sequence[str] = (),
    recognise: Recognition | None = None,
    **fields: Any,
) -> Callable[..., Any]:
    """Declare an optimisation of a composition; see the notes of `tensorgraph.engine.declare.fused_op`.

    Parameters
    ----------
    signature : str
    reference : callable
        The meaning: the same arguments as Tensors, composed of tensorgraph functions.
    forward, backward : callable
        The kernels, on plain arrays. ``backward(want, *cotangents, *inputs, *outputs, *residuals, **attrs)`` gives one
        gradient an input.
    residuals : tuple of str
        What `forward` returns besides its outputs.
    recognise : Recognition, optional
        What `Graph.recognise` needs to find the op in anybody's spelling; see `tensorgraph.Recognition`. Without it the
        op is found only where a graph has its reference equation by equation.
    **fields
        As those of `op`, ``traits`` among them.

    Examples
    --------
    >>> import numpy as np, tensorgraph as tg
    >>> norm2 = tg.fused_op(
    ...     "norm2(x) -> y",
    ...     reference=lambda x: (x * x).sum(),
    ...     forward=lambda x: np.vdot(x, x),
    ...     backward=lambda want, g, x, y: (2 * g * x,),
    ...     infer_rule=lambda x: tg.spec((), x.dtype),
    ... )
    >>> float(tg.hessian(norm2)(tg.tensor(3.0)))
    2.0
    >>> tg.remove_op("norm2")
    """
    _refuse_names(signature)
    fields["traits"] = (*fields.get("traits", ()), "refuses")  # nobody knows
    declared = declare.fused_op(
        signature, reference=reference, forward=forward, backward=backward, residuals=tuple(residuals),
        recognise=recognise, **fields,
    )  # fmt: skip
    return declared.public


def _refuse_names(signature: str) -> None:
    """An input called ``g`` would be taken for the cotangent in every rule."""
    sig = parse_signature(signature)
    taken = {"g", "want"} & {*sig.inputs, *sig.attrs}
    if taken:
        raise ValueError(f"{sig.name}: in a derivative rule {taken.pop()!r} means something else; choose another name")


@checked
def remove_op(name: str) -> None:
    """Take an op of your own out of the catalogue, with its gradient if it was fused."""
    if name not in CATALOGUE:
        raise KeyError(f"remove_op: no op is called {name!r}")
    removed = CATALOGUE.pop(name)
    for other in removed.also:
        del ALIASES[other]
    gradient = removed.gradient
    if gradient is not None:
        CATALOGUE.pop(gradient.name, None)
