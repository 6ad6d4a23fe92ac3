"""Declaring an op: `op`, and `fused_op` for an optimisation of a composition.

A declaration becomes functions made on first use and kept in ``op.calls``: `public` (what users call: always gives
Tensors, records while a trace is active), `apply` (what rules call: arrays give arrays) and `pull` (the gradient on
plain arrays).
"""

from __future__ import annotations

import inspect
import threading
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from tensorgraph.engine import modes
from tensorgraph.engine.aval import Aval
from tensorgraph.engine.direct import direct_forward
from tensorgraph.engine.generate import attach, make_apply, make_public
from tensorgraph.engine.op import ALIASES, CATALOGUE, Kind, Op, Rule, fused, op_named, opaque, saved_layout
from tensorgraph.engine.pull import make_pull
from tensorgraph.engine.recognition import Recognition
from tensorgraph.engine.signature import REQUIRED, parse_signature
from tensorgraph.engine.traits import with_implied
from tensorgraph.jit import require_formula

__all__ = ["fused_op", "op"]

_lock = threading.RLock()


class Calls(dict[str, Any]):
    """An op's generated functions, made on first use: 0.3 ms each, not paid at import."""

    def __init__(self, make: Mapping[str, Callable[[], Any]]) -> None:
        super().__init__()
        self.make = make

    def __missing__(self, key: str) -> Any:
        with _lock:
            if not dict.__contains__(self, key):
                self[key] = self.make[key]()
        return self[key]


def op(
    signature: str,
    forward: Callable[..., Any],
    kind: Kind = opaque,
    *,
    vjp: Mapping[str, Callable[..., Any] | Literal[0] | None] | Callable[..., Any] | None = None,
    traits: Iterable[str] = (),
    **fields: Any,
) -> Op:
    """Declare an operation: one call, in one place.

    Parameters
    ----------
    signature : str
        ``"name(a, b, *, axis=None) -> y"``: inputs, then attributes after ``*``, then outputs.
    forward : callable
        On plain arrays. Gives an array, or a tuple: outputs, then what `residuals` names.
    kind : Kind
        The family: decides the shape rule; an op of no family is inferred by running it on ones.
    vjp : mapping or callable, optional
        One rule per input (None: not differentiable in it; 0: the derivative is zero wherever there is one, or none is
        meant to flow), or one joint rule for all that is told which gradients are wanted by a parameter ``want``. A
        rule names what it needs: ``g`` (``g_y``, ... for several outputs), inputs, outputs, ``x_aval``, attributes,
        residuals. It is written with operators and ops, once. Omitted: the op is not differentiable.
    traits : iterable of str
        What is true of every call, in the words of `tensorgraph.engine.traits`. What the kind says, and what follows
        from another trait, need not be said.
    **fields
        Further fields of `tensorgraph.engine.op.Op`: ``infer_rule``, ``infix``, ``methods``, ``residuals``, ``domain``,
        ``doc``, ``check``, ...

    Raises
    ------
    ValueError
        Where an input has neither a rule nor None, a rule names something unknown, a trait is unknown, or the name is
        taken.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> from tensorgraph.engine.declare import op
    >>> from tensorgraph.engine.op import elementwise
    >>> cube = op("cube(x)", lambda x: x * x * x, elementwise, vjp=dict(x=lambda g, x: g * 3 * x * x))
    >>> x = tg.tensor(2.0, requires_grad=True)
    >>> cube.public(x).backward(); float(x.grad)
    12.0
    >>> tg.remove_op("cube")
    """
    sig = parse_signature(signature)
    if fields.get("further") is not None:
        sig = replace(sig, further=fields["further"][1])
    for name in (sig.name, *fields.get("also", ())):
        if op_named(name) is not None:
            raise ValueError(f"op {name!r} is declared twice; choose another name")
    residuals = tuple(fields.pop("residuals", ()))
    known = {"want", *sig.inputs, *sig.attrs, *residuals, *sig.outputs}
    known |= {"g"} if len(sig.outputs) == 1 and not sig.variadic else {f"g_{o}" for o in sig.outputs}
    known |= {f"{i}_aval" for i in sig.inputs}

    def rule(function: Callable[..., Any], what: str) -> Rule:
        params = _parameters(function)
        unknown = [p for p in params if p not in known]
        if unknown:
            raise ValueError(
                f"{sig.name}: the rule of {what} names {unknown[0]!r}; it may name {', '.join(sorted(known))}"
            )
        return Rule(function, params)

    joint = None
    rules: dict[str, Rule | None] = {}
    if callable(vjp):
        joint = rule(vjp, "all inputs")
    elif vjp is not None:
        missing = [i for i in sig.inputs if i not in vjp]
        if missing:
            raise ValueError(f"{sig.name}: input {missing[0]!r} needs a derivative rule, or None: not differentiable")
        strange = [i for i in vjp if i not in sig.inputs]
        if strange:
            inputs = ", ".join(sig.inputs) or "none"
            raise ValueError(f"{sig.name}: there is a derivative rule for {strange[0]!r}, but its inputs are {inputs}")
        rules = {i: rule(function, i) if callable(function := vjp[i]) else None for i in sig.inputs}
    else:
        rules = dict.fromkeys(sig.inputs)
    holder: list[Op] = []
    calls = Calls(
        {
            "forward": lambda: direct_forward(holder[0]) if holder[0].direct else holder[0].forward,
            "public": lambda: make_public(holder[0]),
            "operator": lambda: make_public(holder[0], counted=False),
            "reflected": lambda: make_public(holder[0], counted=False, reflected=True),
            "apply": lambda: make_apply(holder[0]),
            "saves": lambda: saved_layout(holder[0]),
        }
    )
    if fields.get("scalar") is not None:
        require_formula(fields["scalar"], sig.name)
    every = kind.traits | with_implied(traits, sig.name)
    zero = isinstance(vjp, Mapping) and [i for i in sig.inputs if vjp[i] is not None and not callable(vjp[i])]
    flat = sig.inputs if "flat" in every else tuple(zero or ())
    declared = Op(sig, forward, kind, rules, joint, flat, residuals, traits=every, calls=calls, **fields)
    if declared.dtype not in ("bool", "int") and "higher order" not in every:
        unruled = tuple(i for i, known in rules.items() if known is None and i not in flat)
        object.__setattr__(declared, "unruled", unruled)
    holder.append(declared)
    object.__setattr__(declared, "pull", lambda *args: _first_pull(declared, *args))
    CATALOGUE[sig.name] = declared
    ALIASES.update(dict.fromkeys(declared.also, declared))
    attach(declared)
    return declared


def _parameters(function: Any) -> tuple[str, ...]:
    """The names of what a function takes; of a plain one from its code, which is there already."""
    if type(function) is not types.FunctionType or function.__dict__:
        return tuple(inspect.signature(function).parameters)
    code = function.__code__
    if code.co_flags & (inspect.CO_VARARGS | inspect.CO_VARKEYWORDS):
        return tuple(inspect.signature(function).parameters)
    return code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]


def _first_pull(declared: Op, *args: Any) -> None:
    """Generate the gradient on arrays, put it in its place, and do what was asked."""
    object.__setattr__(declared, "pull", make_pull(declared))
    declared.pull(*args)


def fused_op(
    signature: str,
    *,
    reference: Callable[..., Any],
    forward: Callable[..., Any],
    backward: Callable[..., Any],
    residuals: tuple[str, ...] = (),
    backward_flops: Callable[..., float] | float | None = None,
    backward_scratch: Callable[..., float] | float = 0.0,
    native_vjp: Callable[..., bool] | str | None = None,
    recognise: Recognition | None = None,
    **fields: Any,
) -> Op:
    """Declare an optimisation of a composition: two ops, ``name`` and ``name_vjp``.

    Parameters
    ----------
    signature : str
    reference : callable
        The meaning, composed of ops: same arguments, attributes as keywords, gives the outputs.
    forward : callable
        The kernel: same arguments, plain arrays; gives outputs, then residuals.
    backward : callable
        ``backward(want, *cotangents, *inputs, *outputs, *residuals, **attrs)``: one gradient an input, None where
        unwanted. A cotangent that did not arrive is None.
    residuals : tuple of str
        What `forward` returns besides its outputs, hidden from users.
    backward_flops, backward_scratch : callable or float, optional
        As `Op.flops` and `Op.scratch`, of ``name_vjp``; by default twice the count of the forward, and nothing.
    native_vjp : callable or str, optional
        As `Op.native`, of ``name_vjp``.
    recognise : Recognition, optional
        What is needed to find the op however it is written; without it, only its reference is found.

    Notes
    -----
    Every further derivative is that of the reference, so all orders are right. See `tensorgraph.ops.batch_norm`.
    """
    sig = parse_signature(signature)
    if recognise is not None:
        recognise.check(sig.name, sig.inputs, sig.lists, sig.attrs)
    n_in, n_out = len(sig.inputs), len(sig.outputs)
    cotangents = tuple(f"ct_{o}" for o in sig.outputs)
    kept = (*sig.outputs, *residuals)

    def vjp_forward(*args: Any, want: tuple[bool, ...], **attrs: Any) -> Any:
        inputs, given, gs = args[:n_in], args[n_in : n_in + len(kept)], args[n_in + len(kept) :]
        if any(value is None for value in given):  # a graph has no residuals: the forward, which has warned, makes them
            with modes.use(quiet=True), np.errstate(all="ignore"):
                made = forward(*inputs, **attrs)
            made = made if isinstance(made, tuple) else (made,)
            given = tuple(m if value is None else value for value, m in zip(given, made, strict=True))
        grads = backward(want, *gs, *inputs, *given, **attrs)
        return tuple(
            # a kernel works in one dtype, and each gradient has that of its own input
            g if g.dtype == x.dtype else g.astype(x.dtype)
            for g, x, w in zip(grads, inputs, want, strict=True)
            if w
        )

    def vjp_rule(want: tuple[bool, ...], args: tuple[Any, ...], cts: tuple[Any, ...], attrs: dict[str, Any]) -> Any:
        from tensorgraph.engine.second_order import vjp_of_vjp

        return vjp_of_vjp(reference, n_in, len(kept), args, cts, want, attrs)

    def vjp_reference(*args: Any, want: tuple[bool, ...], **attrs: Any) -> Any:
        from tensorgraph.engine.second_order import vjp_of_reference

        return vjp_of_reference(reference, n_in, len(kept), args, want, attrs)

    outer: list[Op] = []

    def rule_body(**given: Any) -> Any:
        want = given["want"]
        gs = tuple(None if type(given[g]) is float else given[g] for g in gnames)
        rest = tuple(given[name] for name in (*sig.inputs, *kept))
        grads = outer[1](*rest, *gs, want=want, **{name: given[name] for name in sig.attrs})
        grads = iter(grads if isinstance(grads, tuple) else (grads,))
        return tuple(next(grads) if w else None for w in want)

    gnames = ("g",) if n_out == 1 else tuple(f"g_{o}" for o in sig.outputs)
    params = ("want", *gnames, *sig.inputs, *kept, *sig.attrs)
    rule_body.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter(p, inspect.Parameter.KEYWORD_ONLY) for p in params]
    )
    declared = op(
        signature, forward, fused, vjp=rule_body, residuals=residuals, reference=reference,
        backward=backward, recognise=recognise, **fields,
    )  # fmt: skip
    outer.append(declared)
    cost = {"flops": backward_flops, "scratch": backward_scratch, "native": native_vjp, "direct": declared.direct}
    outer.append(_declare_vjp(declared, cotangents, kept, vjp_forward, vjp_rule, vjp_reference, cost))
    object.__setattr__(declared, "gradient", outer[1])
    object.__setattr__(outer[1], "primal", declared)
    return declared


def _require_gradient(of: Op, avals: tuple[Any, ...], want: Any, attrs: dict[str, Any]) -> None:
    """Refuse what is no gradient of a fused op: a text may call it with anything, and kernels look at no shapes."""
    sig = of.signature
    n_in, n_out = len(sig.inputs), len(sig.outputs)
    if not isinstance(want, (tuple, list)) or len(want) != n_in or not all(isinstance(w, bool) for w in want):
        raise TypeError(f"want says of each of {', '.join(sig.inputs)} whether its gradient is wanted, got {want!r}")
    for name, aval, w in zip(sig.inputs, avals, want, strict=False):
        if aval is None and name not in sig.optional:
            raise TypeError(f"{name} is missing")
        if w and not (isinstance(aval, Aval) and aval.dtype.kind == "f"):
            raise TypeError(f"want asks for the gradient of {name}, which is {'no float' if aval else 'not given'}")
    if not any(want):
        raise TypeError("want asks for no gradient")
    made = of.infer(avals[:n_in], attrs)
    kept = avals[n_in : len(avals) - n_out]
    hidden = of.residual_types(*avals[:n_in], **attrs) if of.residual_types and any(kept[n_out:]) else ()
    hidden = hidden if isinstance(hidden, tuple) else (hidden,)
    cotangents = avals[len(avals) - n_out :]
    if not any(cotangent is not None for cotangent in cotangents):
        raise TypeError(f"it has no cotangent: one of {', '.join(f'ct_{name}' for name in sig.outputs)} is needed")
    for what, given, expected in (
        *zip([f"{name}_" for name in (*sig.outputs, *of.residuals)], kept, (*made, *hidden), strict=False),
        *zip([f"ct_{name}" for name in sig.outputs], cotangents, made, strict=True),
    ):
        a_number = what.startswith("ct_") and given is not None and given.shape == expected.shape == ()
        if a_number and given.dtype.kind in "iuf":
            continue  # as texts begin a pass: d_loss = 1
        if given is not None and given != expected:
            raise ValueError(f"{what} must be {expected}, as {of.name} gives it, got {given}")


def _declare_vjp(
    of: Op, cotangents: Any, kept: Any, forward: Any, rule: Any, reference: Any, cost: dict[str, Any]
) -> Op:
    """The op ``name_vjp``: inputs, outputs and residuals, cotangents; its outputs are the wanted gradients.

    A residual that is None is made again from the inputs.
    """
    sig = of.signature
    inputs = [f"{i}=None" for i in (*sig.inputs, *(f"{k}_" for k in kept), *cotangents)]
    attrs = ["want", *(a if d is REQUIRED else f"{a}={d!r}" for a, d in sig.attrs.items())]
    text = f"{sig.name}_vjp({', '.join(inputs)}, *, {', '.join(attrs)}) -> *gradients"

    def infer(*avals: Any, want: tuple[bool, ...], **attrs: Any) -> tuple[Aval, ...]:
        _require_gradient(of, avals, want, attrs)
        return tuple(a for a, w in zip(avals, want, strict=False) if w)

    declared = op(
        text, forward, fused, infer_rule=infer, reference=reference, traits=("internal",),
        doc=f"The gradient of `{sig.name}`.", **cost,
    )  # fmt: skip
    object.__setattr__(declared, "joint", Rule(rule, ("want", "*")))
    object.__setattr__(declared, "unruled", ())
    return declared
