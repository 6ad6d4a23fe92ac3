"""Calling an op, the general way: bind, convert, then record into a trace, or compute and put on the tape.

The generated short path (`generate.py`) does the same for the common case and comes here for every other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NoReturn

import numpy as np

from tensorgraph.arguments.checks import begin_by
from tensorgraph.arguments.depth import DEEP, is_deep
from tensorgraph.arguments.foreign import keyword_hint
from tensorgraph.arguments.kinds import AxisError, brief
from tensorgraph.engine import modes
from tensorgraph.engine.aval import Aval, Number, default_dtype
from tensorgraph.engine.cells import Cell
from tensorgraph.engine.exits import Array, DetachError, lose
from tensorgraph.engine.op import Op, elementwise, saved_names, settle
from tensorgraph.engine.operands import Borrowed, attribute, converted, dtype_of, numbers_of, weigh
from tensorgraph.engine.signature import REQUIRED
from tensorgraph.engine.tape import INTERNAL, Node, describe_source, getframe, next_number, projection, user_source
from tensorgraph.engine.tensor import Tensor, TraceError, new, wrap

__all__ = ["call", "composed", "explain", "run"]

ndarray = np.ndarray
F32 = np.dtype(np.float32)
F64 = np.dtype(np.float64)


def bind(declared: Op, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """Inputs in order and attributes by name, or a TypeError that shows the signature."""
    return split(declared, given(declared, args, kwargs))


def given(declared: Op, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """What was given by name, as it came."""
    sig = declared.signature
    names = sig.order
    if len(args) > len(names):
        many = f"{len(names)} argument{'s' * (len(names) != 1)}"
        raise TypeError(f"{sig.name} takes {many} ({', '.join(names)}), got {len(args)}{_as_one(declared, args)}")
    values = {name: value for name, value in zip(names, args, strict=False) if value is not REQUIRED}
    for key, value in kwargs.items():
        if value is REQUIRED:  # the default of what was not given
            continue
        if key in declared.synonyms:
            if value is None:
                continue
            key = declared.synonyms[key]
        if key not in names:
            hint = keyword_hint(key, names) or f"it takes {', '.join((*names, *sig.further))}"
            raise TypeError(f"{sig.name} has no argument {key!r}; {hint}")
        # where a synonym is given, what the attribute itself holds may be its default
        free = key in declared.synonyms.values() and values.get(key) in (None, sig.attrs[key])
        if key in values and not free:
            raise TypeError(f"{sig.name} got two values for {key!r}")
        values[key] = value
    for name in sig.inputs:
        if name not in values:
            if name not in sig.optional:
                raise TypeError(f"{sig.name} is missing its input {name!r}; it takes {', '.join(names)}")
            values[name] = None
    return values


def _as_one(declared: Op, args: tuple[Any, ...]) -> str:
    """Where what was given one by one is one argument, how to write it."""
    sig = declared.signature
    if sig.lists and all(isinstance(v, Tensor | ndarray) for v in args):
        return f"; the tensors are given as one list: {sig.name}([a, b])"
    rest, first = args[len(sig.inputs) :], next(iter(sig.order[len(sig.inputs) :]), "")
    if "Sequence[int]" in sig.types.get(first, "") and len(rest) < 33 and all(type(v) is int for v in rest):
        return f"; write {sig.name}({', '.join([*sig.inputs, str(rest)])})"
    return ""


def otherwise(declared: Op, values: dict[str, Any]) -> Any:
    """What a call gives whose arguments are none of the op's own, or NotImplemented; errors name the op."""
    assert declared.otherwise is not None
    return _composed_call(declared, declared.otherwise, values)


def _composed_call(declared: Op, function: Any, values: Mapping[str, Any]) -> Any:
    try:
        return function(**values)
    except (TraceError, DetachError):
        raise
    except (TypeError, ValueError) as error:
        if hasattr(error, "explained"):
            raise
        kind: Any = next(k for k in (TypeError, AxisError, ValueError) if isinstance(error, k))
        result = kind(f"{declared.name}{describe_source(user_source())}: {error}")
        result.explained = declared.name, str(error)
    raise result


def split(declared: Op, values: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """Inputs in order and attributes by name, these as literals."""
    sig = declared.signature
    numbers = numbers_of(declared)
    if numbers and values.get("dtype") is None:
        values["dtype"] = dtype_of([values.get(n, sig.attrs[n]) for n in numbers])
    attrs = {}
    for name, default in sig.attrs.items():
        value = values.get(name, default)
        attrs[name] = attribute(declared, name, value)
    return [values[n] for n in sig.inputs], attrs


def call(declared: Op, args: tuple[Any, ...], kwargs: Mapping[str, Any], extra: list[Any] | None = None) -> Any:
    """Run or record an op: every case that the generated short path leaves out. For `extra` see `run`."""
    mode = modes.current()
    if declared.further is not None and not kwargs.keys().isdisjoint(declared.further[1]):
        function, names = declared.further
        more = {k: v for k, v in kwargs.items() if k in names and v is not None and v is not True}
        values = given(declared, args, {k: v for k, v in kwargs.items() if k not in names})
        complete = {k: values.get(k, declared.attrs.get(k)) for k in declared.signature.order}
        return _composed_call(declared, function, complete | more) if more else declared.public(**values)
    values = given(declared, args, kwargs)
    if not declared.synonyms.keys().isdisjoint(kwargs):
        return declared.public(**values)
    if declared.otherwise is not None:
        result = otherwise(declared, values)
        if result is not NotImplemented:
            return result
    raw, attrs = split(declared, values)
    inputs = converted(declared, raw, "view" in declared.traits)
    if mode.cells is not None:
        inputs = [_present(i, mode.cells) for i in inputs]
    inputs = weigh(declared, inputs)
    if mode.trace is not None:
        result = mode.trace.emit(declared, inputs, attrs)
        if extra is not None:
            extra += mode.trace.residuals(result)
        return result
    result = run(declared, inputs, attrs, mode, extra)
    if declared.unruled:
        tell_lost(declared, inputs, result)
    return result


def tell_lost(declared: Op, inputs: Sequence[Any], result: Any) -> None:
    """Look for a history among the inputs that have no derivative rule."""
    items = [item for name, item in zip(declared.inputs, inputs, strict=True) if name in declared.unruled]
    nodes = [_node(one) for item in items for one in (item if isinstance(item, list) else (item,))]
    if any(node is not None for node in nodes):
        lose(declared, nodes, result if isinstance(result, tuple) else (result,))


def _present(item: Any, cells: Any) -> Any:
    """An input, cells read from where the mode keeps them."""
    if isinstance(item, list):
        return [_present(i, cells) for i in item]
    return cells.read(item) if isinstance(item, Cell) else item


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


def run(
    declared: Op, inputs: list[Any], attrs: dict[str, Any], mode: modes.Mode, extra: list[Any] | None = None
) -> Any:
    """Compute eagerly and record. `inputs` are converted, `attrs` complete; `extra` takes the residuals, if given."""
    values = [_unpack(i) for i in inputs]
    try:
        if declared.check is not None:
            declared.check(*values, **attrs)
        out = declared.calls["forward"](*values, **attrs)
        if declared.kind is elementwise and declared.dtype not in ("bool", "cast"):
            out = float_result(declared, out, values, attrs)
    except Exception as error:
        explain(declared, inputs, attrs, error)
    if not declared.signature.variadic:
        out = require_outputs(declared, out)
    outs = out[: len(out) - len(declared.residuals)] if isinstance(out, tuple) else (out,)
    outs = tuple(o if type(o) is ndarray else plain(declared, o) for o in outs)
    lent = [i._value for i in inputs if type(i) is Borrowed]
    if lent:  # a result that lies in the user's memory would change with it
        outs = tuple(o.copy("K") if any(np.may_share_memory(o, v) for v in lent) else o for o in outs)
    residuals = out[len(outs) :] if isinstance(out, tuple) else ()
    if extra is not None:
        extra += residuals
    if mode.debug_nans:
        _check_finite(declared, values, outs)
    tensors = [wrap(o) for o in outs]
    parents: tuple[Any, ...] = ()
    if mode.grad and declared.differentiable:
        parents = tuple(tuple(_node(t) for t in i) if isinstance(i, list) else _node(i) for i in inputs)
        wanted = tuple(any(q is not None for q in p) if isinstance(p, tuple) else p is not None for p in parents)
        if declared.joint is None:
            wanted = tuple(w and declared.rules[n] is not None for w, n in zip(wanted, declared.inputs, strict=True))
            if not all(wanted):  # an input without a derivative is not a parent
                parents = tuple(p if w else None for p, w in zip(parents, wanted, strict=True))
        if any(wanted):
            _record(declared, inputs, values, attrs, mode, parents, wanted, tensors, residuals)
    return tensors[0] if declared.single else tuple(tensors)


def require_outputs(declared: Op, out: Any) -> Any:
    """What a forward returned, if it is one value or a tuple as the declaration says."""
    expected = len(declared.outputs) + len(declared.residuals)
    got = len(out) if type(out) is tuple else 1
    if got != expected or (expected > 1 and type(out) is not tuple):
        names = ", ".join((*declared.outputs, *declared.residuals))
        raise TypeError(f"{declared.name}: the forward must return {names}, got {got} value{'s' if got > 1 else ''}")
    return out


def plain(declared: Op, out: Any) -> Array:
    """What a forward returned, as an array, where it is none."""
    if not isinstance(out, Tensor):
        return np.asarray(out)
    if out._node is not None or type(out._value) is not ndarray:
        raise TypeError(
            f"{declared.name}: the forward gives a tensor with a history: it uses one by closure, where the op's rules "
            "cannot give its gradient. Make it an input of the op, or write detach() where no gradient is meant to flow"
        )
    return out._value


def _node(item: Any) -> Any:
    return item._node if isinstance(item, Tensor) else None


def _record(
    declared: Op,
    inputs: Any,
    values: Any,
    attrs: Any,
    mode: Any,
    parents: Any,
    wanted: Any,
    tensors: Any,
    residuals: Any,
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
            item = inputs[position]
            if type(item) is Borrowed:
                value = value.copy()
            elif type(item) is list:
                value = [v.copy() if type(i) is Borrowed else v for i, v in zip(item, value, strict=True)]
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
    frame: Any = getframe(2)
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
            t._node = projection(node, i)


def float_result(declared: Op, out: Any, values: list[Any], attrs: Mapping[str, Any]) -> Any:
    """An elementwise result in the dtype that the shape rule promises, where NumPy's differs.

    A float function of integers gives the default dtype (NumPy: float64, or float16 for small ones), and float64 comes
    only from float64: see `tensorgraph.engine.op.settle`.
    """
    given = [v.dtype for v in values if isinstance(v, (ndarray, np.generic))]
    if declared.dtype == "float" and not any(d.kind == "f" for d in given):
        kind = default_dtype()
        wide = [v.astype(kind) if isinstance(v, (ndarray, np.generic)) else v for v in values]
        return np.asarray(declared.forward(*wide, **attrs), kind)
    if getattr(out, "dtype", None) == F64 and F64 not in given:
        return np.asarray(out, settle(F64, given))
    return out


def explain(declared: Op, inputs: list[Any], attrs: Mapping[str, Any], error: Exception) -> NoReturn:
    """Raise the error again with the op, the types that came and the user's line."""
    if type(error).__base__ is MemoryError:  # NumPy's, which has no room for a name
        raise MemoryError(f"{declared.name}: {error}") from None
    if isinstance(error, (TraceError, DetachError, FloatingPointError, MemoryError, Warning)):
        raise error
    if isinstance(error, RecursionError):
        if not any(map(is_deep, attrs.values())):
            raise error
        error = ValueError(f"an argument is {DEEP}")
    reason: Exception = error
    try:
        avals = tuple(abstract(i) for i in inputs)
        if declared.has_shape_rule:
            declared.infer(avals, attrs)
    except Exception as better:
        reason = error if isinstance(better, (TraceError, DetachError, RecursionError)) else better
    if hasattr(reason, "explained"):
        raise reason
    types = ", ".join(f"{n}: {_describe(i)}" for n, i in zip(declared.inputs, inputs, strict=True))
    kept = (ValueError, TypeError, IndexError, ZeroDivisionError, np.linalg.LinAlgError, AxisError)
    kind: Any = type(reason) if type(reason) in kept else ValueError
    call, why = f"{declared.name}({types})", brief(str(reason))
    result = kind(f"{call}{describe_source(user_source())}: {why}")
    result.explained = call, why
    known = reason is not error or isinstance(error, (ValueError, TypeError, IndexError))
    try:
        raise result from (None if known else error)
    finally:  # else this frame and the errors would keep each other, and the inputs, alive
        del result, reason, error


def relocate(error: Any, file: str, line: int, within: Iterable[str]) -> None:
    """Have an error that names the line of whoever runs a graph name the line that was traced, and the functions of
    ours that this runs, as it would there."""
    if not hasattr(error, "explained"):
        return
    if not hasattr(error, "relocated"):  # not by the graph that runs this one in a loop
        call, why = error.explained
        error.args, error.relocated = (f"{call} ({file}:{line}): {why}",), True
    for label in within:
        begin_by(error, label)


def abstract(item: Any) -> Any:
    """The aval of a converted input, scalars as they are."""
    if isinstance(item, list):
        return [abstract(i) for i in item]
    if not isinstance(item, Tensor):
        return item
    aval = item.aval
    return aval.sample if type(aval) is Number else aval


def _describe(item: Any) -> str:
    if isinstance(item, list):
        return f"[{', '.join(_describe(i) for i in item)}]"
    return str(item.aval) if isinstance(item, Tensor) else repr(item)


def _check_finite(declared: Op, values: list[Any], outs: tuple[Any, ...]) -> None:
    for out in outs:
        if not _finite(out) and all(_finite(v) for v in values):
            bad = out[~np.isfinite(out)]
            what = f"{declared.name} gave {bad.flat[0]} from finite inputs ({bad.size} of {out.size} values)"
            error: Any = FloatingPointError(f"{what}{describe_source(user_source())}")
            error.what = what  # for those who know the line better, as a graph that was traced elsewhere
            raise error


def _finite(v: Any) -> bool:
    if isinstance(v, list):
        return all(_finite(i) for i in v)
    return not (type(v) is ndarray and v.dtype.kind == "f") or bool(np.isfinite(v).all())


def short_error(declared: Op, inputs: tuple[Any, ...], attrs: dict[str, Any], error: Exception) -> NoReturn:
    """An error on the short path: where a value had escaped its trace say that, else explain."""
    for item in inputs:
        for one in item if isinstance(item, (list, tuple)) else (item,):
            _unpack(one)
    explain(declared, weigh(declared, converted(declared, inputs, False)), attrs, error)


def composed(declared: Op, inputs: list[Any], attrs: dict[str, Any]) -> Any:
    """A fused op's meaning, run through its reference."""
    mode = modes.current()
    # the reference may keep them anywhere, so what is the user's is copied
    tensors = weigh(declared, converted(declared, inputs, True))
    if mode.cells is not None:
        tensors = [_present(t, mode.cells) for t in tensors]
    if declared.check is not None and mode.trace is None:
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
