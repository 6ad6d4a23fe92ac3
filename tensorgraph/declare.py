"""Declaring an op: `op`, `fused_op`, and how what they declare is called.

A declaration becomes three things made on first use and kept in ``op.calls``: `public` (what users call: always gives
Tensors, records while a trace is active), `apply` (what rules call: arrays give arrays) and `pull` (its gradient on
plain arrays). The public call and `pull` are generated from the signature, so that an eager operation pays for
nothing but itself.
"""

from __future__ import annotations

import inspect
import keyword
import threading
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import numpy as np

from tensorgraph import modes, op as rooms
from tensorgraph.aval import Aval
from tensorgraph.op import CATALOGUE, REQUIRED, Kind, Op, Rule, parse_signature
from tensorgraph.tape import INTERNAL, Node, Projection, describe_source, getframe, next_number, user_source
from tensorgraph.tensor import Parameter, Tensor, TraceError, as_array, new, wrap

__all__ = ["fused_op", "op"]

ndarray = np.ndarray
F64 = np.dtype(np.float64)
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


# declaring ---------------------------------------------------------------------------------------------------------


def op(
    signature: str,
    forward: Callable[..., Any],
    kind: Kind = rooms.opaque,
    *,
    vjp: Mapping[str, Callable[..., Any] | None] | Callable[..., Any] | None = None,
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
        One rule per input (None: not differentiable in it), or one joint rule for all that is told which gradients
        are wanted by a parameter ``want``. A rule names what it needs: ``g`` (``g_y``, ... for several outputs),
        inputs, outputs, ``x_aval``, attributes, residuals. It is written with operators and ops, once. Omitted: the op
        is not differentiable.
    **fields
        Further fields of `tensorgraph.op.Op`: ``infer_rule``, ``infix``, ``method``, ``residuals``, ``domain``,
        ``doc``, ``check``, ...

    Raises
    ------
    ValueError
        Where an input has neither a rule nor None, a rule names something unknown, or the name is taken.

    Examples
    --------
    >>> import numpy as np, tensorgraph as tg
    >>> from tensorgraph.op import elementwise
    >>> cube = tg.op("cube(x)", lambda x: x * x * x, elementwise, vjp=dict(x=lambda g, x: g * 3 * x * x))
    >>> x = tg.tensor(2.0, requires_grad=True)
    >>> cube.public(x).backward(); float(x.grad)
    12.0
    >>> tg.tensor(2.0); del tg.CATALOGUE["cube"]
    tensor(2., f32)
    """
    sig = parse_signature(signature)
    if sig.name in CATALOGUE:
        raise ValueError(f"op {sig.name!r} is declared twice; choose another name")
    residuals = tuple(fields.pop("residuals", ()))
    known = {"want", *sig.inputs, *sig.attrs, *residuals, *sig.outputs}
    known |= {"g"} if len(sig.outputs) == 1 and not sig.variadic else {f"g_{o}" for o in sig.outputs}
    known |= {f"{i}_aval" for i in sig.inputs}

    def rule(function: Callable[..., Any], what: str) -> Rule:
        params = tuple(inspect.signature(function).parameters)
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
        rules = {i: None if vjp[i] is None else rule(vjp[i], i) for i in sig.inputs}  # type: ignore[arg-type]
    else:
        rules = dict.fromkeys(sig.inputs)
    holder: list[Op] = []
    calls = Calls(
        {
            "public": lambda: _make_public(holder[0]),
            "reflected": lambda: _make_public(holder[0], reflected=True),
            "apply": lambda: _make_apply(holder[0]),
            "saves": lambda: _saves(holder[0]),
            "pull": lambda: _make_pull(holder[0]),
        }
    )
    declared = Op(sig, forward, kind, rules, joint, residuals, calls=calls, **fields)
    holder.append(declared)
    CATALOGUE[sig.name] = declared
    _attach(declared)
    return declared


def fused_op(
    signature: str,
    *,
    reference: Callable[..., Any],
    forward: Callable[..., Any],
    backward: Callable[..., Any],
    residuals: tuple[str, ...] = (),
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

    Notes
    -----
    Every further derivative is that of the reference, so all orders are right. See `tensorgraph.ops.batch_norm`.
    """
    sig = parse_signature(signature)
    n_in, n_out = len(sig.inputs), len(sig.outputs)
    cotangents = tuple(f"ct_{o}" for o in sig.outputs)
    kept = (*sig.outputs, *residuals)

    def vjp_forward(*args: Any, want: tuple[bool, ...], **attrs: Any) -> Any:
        inputs, rest = args[:n_in], args[n_in:]
        grads = backward(want, *rest[len(kept) :], *inputs, *rest[: len(kept)], **attrs)
        return tuple(g for g, w in zip(grads, want, strict=True) if w)

    def vjp_rule(want: tuple[bool, ...], args: tuple[Any, ...], cts: tuple[Any, ...], attrs: dict[str, Any]) -> Any:
        from tensorgraph.backward import vjp_of_vjp

        return vjp_of_vjp(reference, n_in, len(kept), args, cts, want, attrs)

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
        signature, forward, rooms.fused, vjp=rule_body, residuals=residuals, reference=reference, **fields
    )
    outer.append(declared)
    outer.append(_declare_vjp(declared, cotangents, kept, vjp_forward, vjp_rule))
    return declared


def _declare_vjp(fused: Op, cotangents: Any, kept: Any, forward: Any, rule: Any) -> Op:
    """The op ``name_vjp``: inputs, then outputs and residuals, then cotangents; its outputs are the wanted gradients."""
    sig = fused.signature
    inputs = [f"{i}=None" for i in (*sig.inputs, *(f"{k}_" for k in kept), *cotangents)]
    attrs = ["want", *(a if d is REQUIRED else f"{a}={d!r}" for a, d in sig.attrs.items())]
    text = f"{sig.name}_vjp({', '.join(inputs)}, *, {', '.join(attrs)}) -> *gradients"

    def infer(*avals: Any, want: tuple[bool, ...], **attrs: Any) -> tuple[Aval, ...]:
        return tuple(a for a, w in zip(avals, want, strict=False) if w)

    declared = op(text, forward, rooms.fused, infer_rule=infer, doc=f"The gradient of `{sig.name}`.")
    object.__setattr__(declared, "joint", Rule(rule, ("want", "*")))
    return declared


# calling: the general way --------------------------------------------------------------------------------------------


def bind(declared: Op, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """Inputs in order and attributes by name, or a TypeError that shows the signature."""
    sig = declared.signature
    names = (*sig.inputs, *sig.attrs)
    if len(args) > len(names):
        raise TypeError(f"{sig.name} takes {len(names)} arguments ({', '.join(names)}), got {len(args)}")
    values = dict(zip(names, args, strict=False))
    for key, value in kwargs.items():
        if key not in names:
            raise TypeError(f"{sig.name} has no argument {key!r}; it takes {', '.join(names)}")
        if key in values:
            raise TypeError(f"{sig.name} got two values for {key!r}")
        values[key] = value
    for name in sig.inputs:
        if name not in values:
            if name not in sig.optional:
                raise TypeError(f"{sig.name} is missing its input {name!r}; it takes {', '.join(names)}")
            values[name] = None
    attrs = {}
    for name, default in sig.attrs.items():
        value = values.get(name, default)
        if value is REQUIRED:
            raise TypeError(f"{sig.name} needs the attribute {name!r}; it takes {', '.join(names)}")
        attrs[name] = _static(value)
    return [values[n] for n in sig.inputs], attrs


def _static(value: Any) -> Any:
    """An attribute as a hashable literal: tuples for lists, Python scalars for NumPy's, names for dtypes."""
    if type(value) in (int, float, bool, str, type(None)):
        return value
    if isinstance(value, (list, tuple)):
        return tuple(_static(v) for v in value)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Tensor):
        return int(value)
    if isinstance(value, np.dtype) or (isinstance(value, type) and issubclass(value, np.generic)):
        return np.dtype(value).name
    if isinstance(value, ndarray) and value.ndim == 0:
        return value.item()
    return value


SCALARS = (int, float, bool)


def convert(value: Any, what: Callable[[], str]) -> Any:
    """An op's input: a Tensor, a weak Python scalar, or None."""
    if isinstance(value, Tensor) or type(value) in SCALARS or value is None:
        return value
    try:
        return wrap(as_array(value))
    except TypeError as error:
        raise TypeError(f"{what()}: {error}") from None


def call(declared: Op, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """Run or record an op: every case that the generated short path leaves out."""
    mode = modes.current()
    raw, attrs = bind(declared, args, kwargs)
    inputs: list[Any] = []
    for name, value in zip(declared.inputs, raw, strict=True):

        def what(name: str = name) -> str:
            return f"{declared.name}: input {name!r}{describe_source(user_source())}"

        if name in declared.signature.lists:
            if not isinstance(value, (list, tuple)) and not (isinstance(value, (Tensor, ndarray)) and value.ndim):
                raise TypeError(f"{what()}: expected a list of tensors, got {type(value).__name__}")
            items = [convert(v, what) for v in value]
            inputs.append([wrap(as_array(v)) if type(v) in SCALARS else v for v in items])
        else:
            if value is None and name not in declared.signature.optional:
                raise TypeError(f"{what()}: expected a tensor, got None")
            inputs.append(convert(value, what))
    if not any(isinstance(i, (Tensor, list)) for i in inputs):  # only scalars: the first gives the dtype
        inputs = [wrap(as_array(i)) if type(i) in SCALARS else i for i in inputs]
    elif declared.kind is not rooms.elementwise:
        inputs = [wrap(as_array(i)) if type(i) in SCALARS else i for i in inputs]
    if mode.trace is not None:
        return mode.trace.emit(declared, inputs, attrs)
    return run(declared, inputs, attrs, mode)


def _unpack(item: Any) -> Any:
    if isinstance(item, list):
        return [_unpack(i) for i in item]
    if isinstance(item, Tensor):
        value = item._value
        if type(value) is not ndarray:
            raise TraceError(
                f"this value was traced and is used outside its trace (its type was {value.aval}); return it from the "
                "traced function, or assign it to a Parameter or Buffer, to get it out"
            )
        return value
    return item


def run(declared: Op, inputs: list[Any], attrs: dict[str, Any], mode: modes.Mode) -> Any:
    """Compute eagerly and record. `inputs` are converted, `attrs` complete."""
    values = [_unpack(i) for i in inputs]
    try:
        if declared.check is not None:
            declared.check(*values, **attrs)
        out = declared.forward(*values, **attrs)
        if declared.kind is rooms.elementwise:
            out = float_result(declared, out, values, attrs)
    except Exception as error:
        explain(declared, inputs, attrs, error)
    outs = out[: len(out) - len(declared.residuals)] if isinstance(out, tuple) else (out,)
    outs = tuple(o if type(o) is ndarray else np.asarray(o) for o in outs)
    residuals = out[len(outs) :] if isinstance(out, tuple) else ()
    if mode.debug_nans:
        _check_finite(declared, values, outs)
    tensors = [wrap(o) for o in outs]
    parents: tuple[Any, ...] = ()
    if mode.grad and declared.differentiable:
        parents = tuple(
            tuple(_node(t) for t in i) if isinstance(i, list) else _node(i) for i in inputs
        )
        wanted = tuple(
            any(q is not None for q in p) if isinstance(p, tuple) else p is not None for p in parents
        )
        if declared.joint is None:
            wanted = tuple(w and declared.rules[n] is not None for w, n in zip(wanted, declared.inputs, strict=True))
            if not all(wanted):  # an input without a derivative is not a parent
                parents = tuple(p if w else None for p, w in zip(parents, wanted, strict=True))
        if any(wanted):
            _record(declared, inputs, values, attrs, mode, parents, wanted, tensors, residuals)
    return tensors[0] if declared.single else tuple(tensors)


def _node(item: Any) -> Any:
    return item._node if isinstance(item, Tensor) else None


def _record(
    declared: Op, inputs: Any, values: Any, attrs: Any, mode: Any, parents: Any, wanted: Any, tensors: Any, residuals: Any
) -> None:
    """Put a node on the tape and connect the outputs that can have gradients."""
    names = saved_names(declared, wanted)
    outputs = dict(zip(declared.outputs, [t._value for t in tensors], strict=False))
    extra = dict(zip(declared.residuals, residuals, strict=True))
    given = dict(zip(declared.inputs, values, strict=True))
    saved: list[Any] = []
    for name in declared.calls["saves"]:
        if name not in names:
            saved.append(None)
        elif name in given:
            value = given[name]
            position = declared.inputs.index(name)
            if type(value) is ndarray and inputs[position]._node is None and value.base is not None:
                value = value.copy()  # may be the user's own memory, seen through asarray
            saved.append(value)
        elif name in outputs:
            saved.append(outputs[name])
        elif name in extra:
            saved.append(extra[name])
        else:  # x_aval
            value = given[name[: -len("_aval")]]
            saved.append(
                [Aval(v.shape, v.dtype) for v in value]
                if isinstance(value, list)
                else (Aval(value.shape, value.dtype) if type(value) is ndarray else value)
            )
    node = new(Node)
    node.op = declared
    node.parents = parents
    node.saved = tuple(saved)
    node.attrs = attrs
    node.number = next_number()
    node.scope = mode.scope
    frame = getframe(2)
    while frame is not None and frame.f_globals.get("__package__") in INTERNAL:
        frame = frame.f_back
    node.code, node.lasti = (frame.f_code, frame.f_lasti) if frame is not None else (None, -1)
    if declared.single:
        node.shape, node.dtype = tensors[0]._value.shape, tensors[0]._value.dtype
        if node.dtype.kind == "f":
            tensors[0]._node = node
        return
    node.shape = tuple(t._value.shape for t in tensors)
    node.dtype = tuple(t._value.dtype for t in tensors)
    for i, t in enumerate(tensors):
        if t._value.dtype.kind == "f":
            t._node = Projection(node, i)


def float_result(declared: Op, out: Any, values: list[Any], attrs: dict[str, Any]) -> Any:
    """float64 comes only from float64: see `tensorgraph.op.settle`."""
    if getattr(out, "dtype", None) == F64:
        given = [v.dtype for v in values if type(v) is ndarray]
        if F64 not in given:
            return np.asarray(out, rooms.settle(F64, given))
    return out


def explain(declared: Op, inputs: list[Any], attrs: Mapping[str, Any], error: Exception) -> NoReturn:
    """Raise the error again with the op, the types that came and the user's line."""
    if isinstance(error, (TraceError, FloatingPointError, RecursionError, MemoryError)):
        raise error
    reason: Exception = error
    try:
        avals = tuple(abstract(i) for i in inputs)
        declared.infer(avals, attrs)
    except Exception as better:
        reason = better
    if getattr(reason, "explained", False):
        raise reason
    types = ", ".join(f"{n}: {_describe(i)}" for n, i in zip(declared.inputs, inputs, strict=True))
    kind: Any = type(reason) if type(reason) in (ValueError, TypeError, IndexError, ZeroDivisionError) else ValueError
    message = f"{declared.name}({types}){describe_source(user_source())}: {reason}"
    result = kind(message)
    result.explained = True
    raise result from (None if reason is not error or isinstance(error, (ValueError, TypeError, IndexError)) else error)


def abstract(item: Any) -> Any:
    """The aval of a converted input, scalars as they are."""
    if isinstance(item, list):
        return [abstract(i) for i in item]
    return item.aval if isinstance(item, Tensor) else item


def _describe(item: Any) -> str:
    if isinstance(item, list):
        return f"[{', '.join(_describe(i) for i in item)}]"
    return str(item.aval) if isinstance(item, Tensor) else repr(item)


def _check_finite(declared: Op, values: list[Any], outs: tuple[Any, ...]) -> None:
    def finite(v: Any) -> bool:
        if isinstance(v, list):
            return all(finite(i) for i in v)
        return not (type(v) is ndarray and v.dtype.kind == "f") or bool(np.isfinite(v).all())

    for out in outs:
        if not finite(out) and all(finite(v) for v in values):
            bad = out[~np.isfinite(out)]
            raise FloatingPointError(
                f"{declared.name} gave {bad.flat[0]} from finite inputs ({bad.size} of {out.size} values)"
                f"{describe_source(user_source())}"
            )


# what rules need -------------------------------------------------------------------------------------------------


def _rule_names(declared: Op, rule: Rule) -> set[str]:
    if rule.params == ("want", "*"):
        return set(declared.inputs)
    gs = {"g", "want", *(f"g_{o}" for o in declared.outputs)}
    # a parent knows its own shape and dtype, so an input's own aval is not kept; lists hold items without a parent
    lists = declared.signature.lists
    own = next((f"{n}_aval" for n, r in declared.rules.items() if r is rule and n not in lists), None)
    return {p for p in rule.params if p not in gs and p not in declared.attrs and p != own}


def _saves(declared: Op) -> tuple[str, ...]:
    """Names of everything that some rule needs, in a fixed order: the layout of ``node.saved``."""
    every = [r for r in (declared.joint, *declared.rules.values()) if r is not None]
    needed: set[str] = set().union(*[_rule_names(declared, r) for r in every])
    order = (*declared.inputs, *declared.outputs, *declared.residuals, *(f"{i}_aval" for i in declared.inputs))
    return tuple(n for n in order if n in needed)


def saved_names(declared: Op, wanted: tuple[bool, ...]) -> set[str]:
    """What the rules of the wanted inputs need."""
    if declared.joint is not None:
        return _rule_names(declared, declared.joint)
    names: set[str] = set()
    for name, want in zip(declared.inputs, wanted, strict=True):
        rule = declared.rules[name]
        if want and rule is not None:
            names |= _rule_names(declared, rule)
    return names


# generated functions ---------------------------------------------------------------------------------------------


def _make_apply(declared: Op) -> Callable[..., Any]:
    """What rules call: on plain arrays the forward, on anything with a Tensor the public function."""
    n = len(declared.inputs)
    forward, public = declared.forward, declared.public
    attrs = tuple(declared.attrs)
    defaults = {k: v for k, v in declared.attrs.items() if v is not REQUIRED}
    strip = len(declared.residuals)
    single = declared.single
    floats = declared.kind is rooms.elementwise

    def apply(*args: Any, **kwargs: Any) -> Any:
        for a in args:
            if isinstance(a, Tensor) or (isinstance(a, (list, tuple)) and any(isinstance(b, Tensor) for b in a)):
                return public(*args, **kwargs)
        if len(args) > n:
            kwargs.update(zip(attrs, args[n:], strict=False))
        elif len(args) < n:
            args = (*args, *(None,) * (n - len(args)))
        out = forward(*args[:n], **{**defaults, **kwargs})
        if strip:
            out = out[:-strip]
            if single:
                out = out[0]
        if floats:
            out = float_result(declared, out, list(args), kwargs)
        return out

    apply.__name__ = declared.name
    return apply


def _make_public(declared: Op, reflected: bool = False) -> Callable[..., Any]:
    """Generate the function that users call."""
    sig = declared.signature
    if sig.lists or sig.optional or len(sig.inputs) == 0 or not declared.single or declared.joint is not None \
            or declared.residuals or len(sig.inputs) > 2 or declared.check is not None or declared.dtype == "cast":
        return _general_public(declared)
    names = sig.inputs
    elementwise = declared.kind is rooms.elementwise
    scope: dict[str, Any] = {
        "_op": declared, "_call": call, "_mode": modes.current, "_Tensor": Tensor, "_Parameter": Parameter,
        "_forward": declared.forward, "_ndarray": ndarray, "_asarray": np.asarray, "_new": new, "_Node": Node,
        "_number": next_number, "_frame": getframe, "_internal": INTERNAL, "_explain": explain, "_F64": F64,
        "_float_result": float_result, "_error": _short_error,
    }  # fmt: skip
    params = list(names[::-1] if reflected else names)
    for attr, default in sig.attrs.items():
        if default is REQUIRED:
            params.append(attr)
        else:
            scope[f"_default_{attr}"] = default
            params.append(f"{attr}=_default_{attr}")
    attrs = ", ".join(f"{a!r}: {a}" for a in sig.attrs)
    passed = "".join(f", {a}={a}" for a in sig.attrs)
    fallback = f"return _call(_op, ({', '.join(names)},), {{{attrs}}})"
    body = ["m = _mode()", f"if not m.plain: {fallback}"]
    for i, n in enumerate(names):
        body += [f"t = type({n})", "if t is _Tensor or t is _Parameter:", f"    v{i} = {n}._value; p{i} = {n}._node"]
        if elementwise and len(names) == 2:
            other = "t is float or t is int"
            guard = f" and type({names[1]}) is _Tensor" if i == 0 else " and type(v0) is _ndarray"
            body += [f"elif ({other}){guard}:", f"    v{i} = {n}; p{i} = None"]
        body += [f"else: {fallback}"]
    values = ", ".join(f"v{i}" for i in range(len(names)))
    body += [
        f"try: out = _forward({values}{passed})",
        f"except Exception as e: _error(_op, ({', '.join(names)},), {{{attrs}}}, e)",
        "if type(out) is not _ndarray: out = _asarray(out)",
    ]
    if elementwise and declared.dtype != "bool":
        body += [f"if out.dtype is _F64: out = _float_result(_op, out, [{values}], None)"]
    body += ["r = _new(_Tensor)", "r._value = out"]
    if declared.differentiable:
        live = [i for i, n in enumerate(names) if declared.rules[n] is not None]
        test = " or ".join(f"p{i} is not None" for i in live)
        saves = declared.calls["saves"]
        entries = []
        for name in saves:
            needing = [i for i in live if name in _rule_names(declared, declared.rules[names[i]])]  # type: ignore[arg-type]
            if name in names:
                value = f"v{names.index(name)}"
            elif name in sig.outputs:
                value = "out"
            else:
                of = names.index(name[: -len("_aval")])
                scope["_aval"] = _aval_or_scalar
                value = f"_aval(v{of})"
            if len(needing) == len(live):
                entries.append(value)
            else:
                entries.append(f"({value} if {' or '.join(f'p{i} is not None' for i in needing)} else None)")
        parents = ", ".join(f"p{i}" if i in live else "None" for i in range(len(names)))
        body += [
            f"if m.grad and ({test}):" if len(live) > 1 else f"if {test} and m.grad:",
            "    n = _new(_Node)",
            "    n.op = _op",
            f"    n.parents = ({parents},)",
            f"    n.saved = ({', '.join(entries)}{',' if entries else ''})",
            f"    n.attrs = {{{attrs}}}" if attrs else "    n.attrs = _none",
            "    n.number = _number()",
            "    n.shape = out.shape",
            "    n.dtype = out.dtype",
            "    n.scope = m.scope",
            "    f = _frame(1)",
            "    while f is not None and f.f_globals.get('__package__') in _internal: f = f.f_back",
            "    if f is None: n.code = None; n.lasti = -1",
            "    else: n.code = f.f_code; n.lasti = f.f_lasti",
            "    r._node = n",
            "else: r._node = None",
        ]
        scope["_none"] = {}
    else:
        body += ["r._node = None"]
    body += ["return r"]
    source = f"def {_safe(sig.name)}({', '.join(params)}):\n" + "\n".join("    " + line for line in body)
    code = compile(source, f"<tensorgraph op {sig.name}>", "exec")
    scope["__package__"] = "tensorgraph"
    exec(code, scope)
    function = scope[_safe(sig.name)]
    return _dress(function, declared)


def _safe(name: str) -> str:
    return f"{name}_" if keyword.iskeyword(name) else name


def _aval_or_scalar(value: Any) -> Any:
    return Aval(value.shape, value.dtype) if type(value) is ndarray else value


def _short_error(declared: Op, inputs: tuple[Any, ...], attrs: dict[str, Any], error: Exception) -> NoReturn:
    """An error on the short path: where a value had escaped its trace say that, else explain."""
    for item in inputs:
        _unpack(item)
    explain(declared, list(inputs), {k: _static(v) for k, v in attrs.items()}, error)


def _general_public(declared: Op) -> Callable[..., Any]:
    reference = declared.reference
    if reference is None:

        def public(*args: Any, **kwargs: Any) -> Any:
            return call(declared, args, kwargs)

    else:

        def public(*args: Any, impl: str | None = None, **kwargs: Any) -> Any:
            chosen = impl or modes.current().implementation
            if chosen == "fused":
                from tensorgraph import jit

                if jit.available():
                    return call(declared, args, kwargs)
                if impl == "fused":
                    raise RuntimeError(f"{declared.name}: impl='fused' needs Numba: {jit.reason()}")
            elif chosen != "composed":
                raise ValueError(f"{declared.name}: impl must be 'fused' or 'composed', got {chosen!r}")
            inputs, attrs = bind(declared, args, kwargs)
            return composed(declared, inputs, attrs)

    return _dress(public, declared)


def composed(declared: Op, inputs: list[Any], attrs: dict[str, Any]) -> Any:
    """A fused op's meaning, run through its reference."""
    tensors = [i if i is None or isinstance(i, Tensor) else wrap(as_array(i)) for i in inputs]
    if declared.check is not None and modes.current().trace is None:
        try:
            declared.check(*[_unpack(t) for t in tensors], **attrs)
        except Exception as error:
            explain(declared, tensors, attrs, error)
    try:
        declared.infer(tuple(abstract(t) for t in tensors), attrs)
    except Exception as error:
        explain(declared, tensors, attrs, error)
    assert declared.reference is not None
    return declared.reference(*tensors, **attrs)


def _dress(function: Any, declared: Op) -> Any:
    sig = declared.signature
    parameters = []
    for name in sig.inputs:
        default = None if name in sig.optional else REQUIRED
        parameters.append(inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default))
    for name, default in sig.attrs.items():
        kind = inspect.Parameter.KEYWORD_ONLY if default is REQUIRED else inspect.Parameter.POSITIONAL_OR_KEYWORD
        if any(p.default is not REQUIRED for p in parameters) or default is not REQUIRED:
            kind = inspect.Parameter.KEYWORD_ONLY
        parameters.append(inspect.Parameter(name, kind, default=default))
    if declared.reference is not None:
        parameters.append(inspect.Parameter("impl", inspect.Parameter.KEYWORD_ONLY, default=None))
    function.__signature__ = inspect.Signature(parameters)
    function.__name__ = function.__qualname__ = declared.name
    function.__module__ = "tensorgraph"
    function.__doc__ = inspect.cleandoc(declared.doc) if declared.doc else f"The op ``{declared.name}``."
    function.op = declared
    return function


def _make_pull(declared: Op) -> Callable[..., None]:
    """Generate the gradient of one node on plain arrays: one call a wanted input, into the table."""
    from tensorgraph.backward import accumulate, fit, freed, pull_joint

    if declared.joint is not None or declared.signature.lists or not declared.single:
        return lambda node, g, table, needed: pull_joint(node, g, table, needed)
    sig = declared.signature
    saves = declared.calls["saves"]
    scope: dict[str, Any] = {"_accumulate": accumulate, "_fit": fit, "_freed": freed, "_ndarray": ndarray}
    body = ["s = node.saved", "if s is None: _freed(node)", "parents = node.parents"]
    for i, name in enumerate(sig.inputs):
        rule = declared.rules[name]
        if rule is None:
            continue
        scope[f"_rule{i}"] = rule.function
        arguments = []
        for p in rule.params:
            if p == "g":
                arguments.append("g")
            elif p in saves:
                arguments.append(f"s[{saves.index(p)}]")
            elif p == f"{name}_aval":  # the parent knows its own shape and dtype
                arguments.append("p")
            else:
                arguments.append(f"node.attrs[{p!r}]")
        body += [
            f"p = parents[{i}]",
            "if p is not None and (needed is None or p in needed):",
            f"    c = _rule{i}({', '.join(arguments)})",
            "    if type(c) is not _ndarray or c.shape != p.shape or c.dtype is not p.dtype: c = _fit(c, p)",
            "    if p in table: _accumulate(table, p, c)",
            "    else: table[p] = c",
        ]
    source = "def pull(node, g, table, needed):\n" + "\n".join("    " + line for line in body)
    exec(compile(source, f"<tensorgraph vjp {sig.name}>", "exec"), scope)
    return scope["pull"]  # type: ignore[no-any-return]


# operators, methods and NumPy functions ----------------------------------------------------------------------------

OPERATORS = {
    "+": "add", "-": "sub", "*": "mul", "/": "truediv", "//": "floordiv", "%": "mod", "**": "pow", "@": "matmul",
    "==": "eq", "!=": "ne", "<": "lt", "<=": "le", ">": "gt", ">=": "ge", "&": "and", "|": "or", "^": "xor",
    "u-": "neg", "u~": "invert",
}  # fmt: skip
COMPARISONS = frozenset({"==", "!=", "<", "<=", ">", ">="})


class Lazy:
    """A method made at its first use, which then takes this descriptor's place."""

    def __init__(self, declared: Op, key: str, name: str) -> None:
        self.declared, self.key, self.name = declared, key, name

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        function = self.declared.calls[self.key]
        setattr(Tensor, self.name, function)
        return function if instance is None else function.__get__(instance, owner)


def _attach(declared: Op) -> None:
    """Give Tensor the operator and the method that the declaration names."""
    if declared.infix is not None:
        name = OPERATORS[declared.infix]
        setattr(Tensor, f"__{name}__", Lazy(declared, "public", f"__{name}__"))
        if len(declared.inputs) == 2 and declared.infix not in COMPARISONS:
            setattr(Tensor, f"__r{name}__", Lazy(declared, "reflected", f"__r{name}__"))
    if declared.method is not None:
        setattr(Tensor, declared.method, Lazy(declared, "public", declared.method))


