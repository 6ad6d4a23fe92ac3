"""Functions generated from declarations: the public call, and the array form that rules use.

An eager operation pays for nothing but itself: its call knows the arity, what to save and whom to ask. Each is made at
first use.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from tensorgraph.engine import modes
from tensorgraph.engine.aval import aval_of
from tensorgraph.engine.calling import (
    F32,
    F64,
    bind,
    call,
    composed,
    float_result,
    given,
    otherwise,
    plain,
    require_outputs,
    short_error,
)
from tensorgraph.engine.cells import Parameter
from tensorgraph.engine.direct import LARGE, can_fuse
from tensorgraph.engine.exits import lose
from tensorgraph.engine.op import Op, elementwise, rule_names, structural
from tensorgraph.engine.operands import (
    NUMBERS,
    SCALARS,
    apart,
    attribute,
    dtype_of,
    instant,
    lend,
    lend_copy,
    lend_items,
    numbers_of,
    owned,
)
from tensorgraph.engine.signature import REQUIRED, call_signature
from tensorgraph.engine.source import define
from tensorgraph.engine.tape import INTERNAL, Node, connect, getframe, numbering
from tensorgraph.engine.tensor import Tensor, blank, wrap
from tensorgraph.jit import available, reason

__all__ = ["attach", "aval_or_scalar", "differentiated", "make_apply", "make_public", "saved_entries"]

ndarray = np.ndarray


def make_apply(declared: Op) -> Callable[..., Any]:
    """Generate what rules call: on plain arrays the forward, on anything with a Tensor the public function."""
    sig, names = declared.signature, declared.inputs
    scope: dict[str, Any] = {
        "_op": declared, "_forward": declared.calls["forward"], "_public": declared.public, "_traced": _holds_tensor,
        "_ndarray": ndarray, "_F32": F32, "_float_result": float_result,
    }  # fmt: skip
    params = [f"{n}=None" if n in sig.optional else n for n in names]
    params += ["*"] if sig.optional and sig.required else []
    for attr in sig.order[len(names) :]:
        scope[f"_default_{attr}"] = sig.attrs[attr]
        params.append(attr if attr in sig.required else f"{attr}=_default_{attr}")
    if declared.reference is not None:
        params += [*(["*"] if "*" not in params else []), "impl=None"]
    attrs = [f"{a}={a}" for a in sig.attrs]
    passed = ", ".join([*names, *attrs])
    tests = [f"(type({n}) is not _ndarray and _traced({n}))" for n in names]
    impl = ", impl=impl" if declared.reference is not None else ""
    body = [f"if {' or '.join(tests)}: return _public({passed}{impl})"] if names else []
    if declared.reference is not None:  # without Numba rules compute what the op is composed of
        scope |= {"_available": can_fuse if declared.direct else available, "_without_kernels": _without_kernels}
        body += [
            f"if not _available(): return _without_kernels(_public, [{', '.join(names)}], dict({', '.join(attrs)}))"
        ]
    body += [f"_out = _forward({passed})"]
    strip = len(declared.residuals)
    if strip:
        body += ["_out = _out[0]" if declared.single else f"_out = _out[:-{strip}]"]
    if declared.kind is elementwise and declared.dtype not in ("bool", "cast"):
        known = " or ".join([f"(type({n}) is _ndarray and {n}.dtype is _F32)" for n in names])
        known = f" and ({known})" if declared.dtype == "float" else ""
        body += [f"if type(_out) is _ndarray and _out.dtype is _F32{known}: return _out"]
        given = f"[{', '.join(names)}], {{{', '.join(f'{a!r}: {a}' for a in sig.attrs)}}}"
        body += [f"return _float_result(_op, _out, {given})"]
    else:
        body += ["return _out"]
    return define(sig.name, "array form", ", ".join(params), body, scope)


def _without_kernels(public: Callable[..., Any], arrays: list[Any], attrs: dict[str, Any]) -> Any:
    """What a fused op gives on arrays, composed of other ops."""
    with modes.use(trace=None, grad=False, cells=None):
        result = public(*arrays, **attrs, impl="composed")
    return tuple([t._value for t in result]) if isinstance(result, tuple) else result._value


def _holds_tensor(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return any(isinstance(item, Tensor) for item in value)
    return isinstance(value, Tensor)


def make_public(declared: Op, counted: bool = True, reflected: bool = False) -> Callable[..., Any]:
    """Generate the function that users call: the short path, with a way out to the general one.

    Its body, in the order in which it runs: leave where a mode asks for more than computing; attributes as literals;
    of each input the array ``_v0`` and the node ``_p0``, or leave; check and forward, errors explained; tensors ``_t0``
    around the outputs; a node where an input has one. An underscore keeps clear of the op's own names.

    Arguments are `counted` on the general way, which says in words what is wrong with them; an operator has just its
    own, and no dict is made for others.
    """
    sig, names = declared.signature, declared.inputs
    required = sig.required
    if (sig.optional and required) or (sig.variadic and (declared.kind is structural or declared.residuals)):
        return _general_public(declared)
    view = "view" in declared.traits
    scope: dict[str, Any] = {
        "_op": declared, "_call": call, "_mode": modes.current, "_Tensor": Tensor, "_Parameter": Parameter,
        "_forward": declared.calls["forward"], "_check": declared.check, "_ndarray": ndarray, "_asarray": np.asarray,
        "_plain": plain,
        "_blank": blank, "_Node": Node, "_connect": connect, "_numbering": numbering, "_frame": getframe,
        "_internal": INTERNAL, "_F64": F64, "_F32": F32, "_float_result": float_result, "_error": short_error,
        "_attribute": attribute, "_require": require_outputs, "_none": {}, "_last": None, "_aval": aval_or_scalar,
        "_avals": _avals, "_numbers": NUMBERS, "_required": REQUIRED,
        "_lend": lend_copy if view else lend, "_items": lend_items, "_view": view,
        "_lose": lose,
        "_dtype_of": dtype_of, "_apart": apart, "_owned": owned, "_wrap": wrap, "_scalars": SCALARS,
    }  # fmt: skip
    said = [f"{n}=None" if n in sig.optional else f"{n}=_required" if counted else n for n in names]
    params = said[::-1] if reflected else said
    for attr, default in sig.attrs.items():
        scope[f"_default_{attr}"] = default
    params += [f"{a}=_default_{a}" for a in sig.order[len(names) :]]
    params += ["*_rest"] * counted
    passed = "".join(f", {a}={a}" for a in sig.attrs)
    attrs = ", ".join(f"{a!r}: {a}" for a in sig.attrs)
    inputs = f"({', '.join(names)},)" if names else "()"
    guard, others = "", ", **_others" if sig.attrs or counted else ""
    if declared.reference is not None:
        scope["_general"] = _general_public(declared)
        scope["_available"] = can_fuse if declared.direct else available
        params += ["impl=None"]
        guard = " or impl is not None or _m.implementation != 'fused' or not _available()"
        fallback = f"return _general({', '.join(names)}{passed}, impl=impl{others})"
    else:
        fallback = f"return _call(_op, {inputs}, {{{(attrs + others).removeprefix(', ')}}})"
    if others:  # an unknown keyword is answered on the general way
        params, guard = [*params, "**_others"], f" or _others{guard}"
    if counted:
        every = ", ".join([*names, *sig.order[len(names) :], "*_rest"])
        body = ["_m = _mode()", f"if not _m.plain or _rest{guard}:"]
        body += [f"    if _rest: return _call(_op, ({every},), {{}})", f"    {fallback}"]
    else:
        body = ["_m = _mode()", f"if not _m.plain{guard}: {fallback}"]
    if numbers := numbers_of(declared):  # NumPy's scalars keep their dtype where something is made of them
        body += [f"if dtype is None: dtype = _dtype_of(({', '.join(numbers)},))"]
    for a in sig.attrs:
        scope[f"_types_{a}"] = types = instant(declared, a)
        if declared.otherwise is not None:  # what may be another's is asked
            scope[f"_types_{a}"] = (types - {tuple, type(None)}) | {type(sig.attrs[a])}
        given = "" if a in required else f"{a} is not _default_{a} and "
        body += [f"if {given}type({a}) not in _types_{a}:"]
        if declared.otherwise is not None:
            body += [f"    if type({a}) not in _numbers: {fallback}"]
        body += [f"    _t = {a}.item() if type({a}) in _numbers else None"]  # NumPy's number as Python's
        body += [f"    {a} = _t if type(_t) in _types_{a} and _t is not None else _attribute(_op, {a!r}, {a})"]
    body += _unwrap(declared, inputs, fallback)
    values = ", ".join(f"_v{i}" for i in range(len(names)))
    body += ["try:"]
    if declared.check is not None:
        body += [f"    _check({values}{passed})"]
    made = "_o0" if len(sig.outputs) + len(declared.residuals) == 1 and not sig.variadic else "_out"
    body += [f"    {made} = _forward({values}{passed})".replace("(, ", "(")]
    if declared.direct and declared.kind.large and len(names) == 1:  # looked at here, which is a call less
        scope["_small"] = declared.forward
        body[-1] = f"    {made} = _small({values}{passed}) if _v0.size < {LARGE} else _forward({values}{passed})"
    body += ["    " + line for line in _outputs(declared, values, attrs)]
    body += [f"except Exception as _e: _error(_op, {inputs}, {{{attrs}}}, _e)"]
    body += _tensors(declared, inputs)
    if declared.differentiable:
        body = ["global _last", *body, *_record(declared, attrs)]
    if declared.unruled:
        lost = [f"_p{i}" for i, n in enumerate(names) if n in declared.unruled]
        outs = "_ts" if sig.variadic else f"({', '.join(f'_t{j}' for j in range(len(sig.outputs)))},)"
        body += [f"if {' or '.join(f'{p} is not None' for p in lost)}: _lose(_op, ({', '.join(lost)},), {outs})"]
    results = ", ".join(f"_t{j}" for j in range(len(sig.outputs)))
    body += ["return _ts" if sig.variadic else f"return {results}" if declared.single else f"return ({results},)"]
    return dress(
        define(
            sig.name, "op" if counted else "reflected op" if reflected else "operator", ", ".join(params), body, scope
        ),
        declared,
        reflected,
    )


def _unwrap(declared: Op, inputs: str, fallback: str) -> list[str]:
    """Each input's array and node, and whether an array was given that is not ours."""
    names = declared.inputs
    weak = declared.kind is elementwise
    body = ["_lent = False"] if _asks_who_lends(declared) else []
    for i, n in enumerate(names):
        if n in declared.signature.lists:
            body += [f"_t = _items({n}, _view)", f"if _t is None: {fallback}"]
            body += [f"_v{i}, _p{i}, _t = _t", "if _t: _lent = True"]
            continue
        body += [f"_t = type({n})", "if _t is _Tensor or _t is _Parameter:"]
        body += [f"    _v{i} = {n}._value; _p{i} = {n}._node"]
        if weak and i > 0:  # a weak number beside a tensor
            body += ["elif (_t is float or _t is int) and type(_v0) is _ndarray:", f"    _v{i} = {n}; _p{i} = None"]
        elif weak and len(names) == 2:
            other = f"(type({names[1]}) is _Tensor or type({names[1]}) is _Parameter)"
            body += [f"elif (_t is float or _t is int) and {other}:", f"    _v{i} = {n}; _p{i} = None"]
        if n in declared.signature.optional:
            body += [f"elif {n} is None: _v{i} = _p{i} = None"]
        body += ["else:", f"    _v{i} = _lend({n}, {inputs}, {weak})", f"    if _v{i} is None: {fallback}"]
        body += [f"    _p{i} = None; _lent = True" if _asks_who_lends(declared) else f"    _p{i} = None"]
    # NumPy's arithmetic refuses a value that escaped its trace; what compares, and other forwards, may take it for data
    single = [i for i, n in enumerate(names) if n not in declared.signature.lists]
    if single and (not isinstance(declared.forward, np.ufunc) or declared.dtype == "bool"):
        absent = {i: f"_v{i} is not None and " if names[i] in declared.signature.optional else "" for i in single}
        number = {i: f" and type(_v{i}) not in _scalars" if weak and len(names) > 1 else "" for i in single}
        tests = [f"{absent[i]}type(_v{i}) is not _ndarray{number[i]}" for i in single]
        body += [f"if {' or '.join(tests)}: {fallback}"]
    return body


def _asks_who_lends(declared: Op) -> bool:
    """Whether it matters if an array was given that is not ours: a result may lie in it, or it may be saved."""
    return len(declared.inputs) > 1 or not isinstance(declared.forward, np.ufunc) or bool(declared.signature.lists)


def _keeps_type(declared: Op) -> bool:
    """Whether floats of one type, or one beside a number, give as many of it: so do NumPy's functions that have loops
    for these."""
    forward, n = declared.forward, len(declared.inputs)
    loops = {f"{kind * n}->{kind}" for kind in "efd"}
    return _is_pointwise(declared) and n < 3 and isinstance(forward, np.ufunc) and loops <= {*forward.types}


def _is_pointwise(declared: Op) -> bool:
    return declared.kind is elementwise and declared.dtype not in ("bool", "cast")


def _outputs(declared: Op, values: str, attrs: str) -> list[str]:
    """Arrays ``_o0, ...`` and residuals ``_r0, ...``; a list ``_os`` where there may be any number."""
    if declared.signature.variadic:
        every = "(_out if type(_out) is tuple else (_out,))"
        array = "_asarray(_o) if type(_o) is not _Tensor else _plain(_op, _o)"
        return [f"_os = [_o if type(_o) is _ndarray else {array} for _o in {every}]"]
    outs = [f"_o{j}" for j in range(len(declared.outputs))]
    rest = [f"_r{k}" for k in range(len(declared.residuals))]
    count = len(outs + rest)
    several = count > 1
    body = [f"if type(_out) is not tuple or len(_out) != {count}: _require(_op, _out)"] if several else []
    body += [f"{', '.join(outs + rest)} = _out"] if several else []
    for o in outs:
        value = o if several else f"_require(_op, {o})"
        array = f"_asarray({value}) if type({o}) is not _Tensor else _plain(_op, {o})"
        body += [f"if type({o}) is not _ndarray: {o} = {array}"]
    if _is_pointwise(declared):
        given = values.split(", ")
        wide = [f"(type({v}) is not _ndarray or {v}.dtype is not _F64)" for v in given]
        odd = "_d is not _F32"
        if declared.dtype == "float":  # of small integers NumPy gives float32, whatever the default is
            narrow = [
                f"_p{i} is None and (type({v}) is not _ndarray or {v}.dtype is not _F32)" for i, v in enumerate(given)
            ]
            odd = f"({odd} or ({' and '.join(narrow)}))"
        body += [
            "_d = _o0.dtype",
            f"if {odd} and (_d is not _F64 or ({' and '.join(wide)})):",
            f"    _o0 = _float_result(_op, _o0, [{values}], {{{attrs}}}); _d = _o0.dtype",
        ]
    if not _keeps_type(declared):
        return body
    # a parent knows of which type the result is, and an array makes a new tuple whenever it is asked for its shape
    if len(declared.inputs) == 1:
        return ["if _p0 is not None and _p0.shape: _d = _p0.dtype", "else:", *("    " + line for line in body)]
    same = "(_p0.shape is _p1.shape and _p0.dtype is _p1.dtype) if _p1 is not None else (_t is float or _t is int)"
    return [
        f"if _p0 is not None and ({same}) and _p0.shape: _d = _p0.dtype; _s = _p0.shape",
        "else:",
        *("    " + line for line in body),
        "    _s = None",
    ]


def _tensors(declared: Op, inputs: str) -> list[str]:
    """The outputs as tensors, none of them in memory that is not ours."""
    fresh = isinstance(declared.forward, np.ufunc) or "view" in declared.traits or not declared.inputs
    if declared.signature.variadic:
        body = [] if fresh else [f"if _lent: _os = [_owned(_o, {inputs}) for _o in _os]"]
        return [*body, "_ts = tuple([_wrap(_o) for _o in _os])"]
    outs = range(len(declared.outputs))
    body = []
    for j in () if fresh else outs:
        lists = declared.signature.lists
        itself = [f"_o{j} is {n}" for n in declared.inputs if n not in lists]
        mine = " or ".join([f"_o{j}.base is not None", *itself])
        if lists:  # loops cost a fourth of any([...])
            body += ["if _lent:", f"    _t = {mine}"]
            for i, n in enumerate(declared.inputs):
                body += ["    for _v in " + f"_v{i}:", f"        if _v is _o{j}: _t = True"] if n in lists else []
            body += [f"    if _t: _o{j} = _owned(_o{j}, {inputs})"]
        else:
            body += [f"if _lent and ({mine}): _o{j} = _owned(_o{j}, {inputs})"]
    for j in outs:
        body += [f"_t{j} = _blank()", f"_t{j}._value = _o{j}"]
        if not declared.differentiable:
            body += [f"_t{j}._node = None"]
    return body


def saved_entries(declared: Op) -> tuple[list[str], list[str]]:
    """What a node saves, in order, as expressions of the values and nodes; the second where an array was given."""
    sig, names = declared.signature, declared.inputs
    joint = declared.joint
    live = differentiated(declared)
    places = {n: f"_v{i}" for i, n in enumerate(names)}
    places |= {n: f"_o{j}" for j, n in enumerate(sig.outputs)} | {n: f"_r{k}" for k, n in enumerate(declared.residuals)}
    places |= {f"{n}_aval": f"_avals(_v{i}, _p{i})" if n in sig.lists else f"_aval(_v{i})" for i, n in enumerate(names)}
    entries: list[str] = []
    lent: list[str] = []
    for name in declared.calls["saves"]:
        needing = live
        if joint is None:
            rules = {i: declared.rules[names[i]] for i in live}
            needing = [i for i, rule in rules.items() if rule is not None and name in rule_names(declared, rule)]
        wanted = " or ".join(f"_p{i} is not None" for i in needing)
        condition = "" if len(needing) == len(live) else f" if {wanted} else None"
        entries.append(f"({places[name]}{condition})" if condition else places[name])
        if name in names and "view" not in declared.traits:  # an array that was given may be changed by its owner
            own = "_apart({0}, {1})" if name in sig.lists else "({0}.copy() if type({1}) is _ndarray else {0})"
            lent.append(f"({own.format(places[name], name)}{condition})")
        else:
            lent.append(entries[-1])
    return entries, lent


def differentiated(declared: Op) -> list[int]:
    """The inputs that have a derivative."""
    return [i for i, n in enumerate(declared.inputs) if declared.joint is not None or declared.rules[n] is not None]


def _record(declared: Op, attrs: str) -> list[str]:
    """Put a node on the tape where an input has one, and connect the outputs."""
    sig, names = declared.signature, declared.inputs
    live = differentiated(declared)
    entries, lent = saved_entries(declared)
    test = " or ".join(f"_p{i} is not None" for i in live)
    # ufuncs give floats for floats; others may be asked for integers, which have no gradient
    floating = "" if isinstance(declared.forward, np.ufunc) or not declared.single else " and _o0.dtype.kind == 'f'"
    parents = ", ".join(f"_p{i}" if i in live else "None" for i in range(len(names)))
    pointwise = _is_pointwise(declared)
    body = [
        f"if _m.grad and ({test}){floating}:",
        "    _n = _Node()",
        "    _n.op = _op",
        f"    _n.parents = ({parents},)",
        f"    _n.saved = ({', '.join(entries)}{',' if entries else ''})",
    ]
    if lent != entries and (len(names) > 1 or sig.lists):  # an only input that is recorded is a tensor
        body += [f"    if _lent: _n.saved = ({', '.join(lent)},)"]
    body += [
        f"    _n.attrs = {{{attrs}}}" if attrs else "    _n.attrs = _none",
        "    _n.number = next(_numbering)",
        "    _n.scope = _m.scope",
        "    _f = _frame(1)",
        "    _c = _f.f_code",
        "    if _c is _last: _n.code = _c; _n.lasti = _f.f_lasti",  # a loop calls from the user's same code again
        "    else:",
        "        while _f is not None and _f.f_globals.get('__package__') in _internal: _f = _f.f_back",
        "        if _f is None: _c = None",
        "        elif _c is _f.f_code: _last = _c",
        "        else: _c = _f.f_code",
        "        _n.code = _c",
        "        _n.lasti = _f.f_lasti if _c is not None else -1",
    ]
    if declared.single:
        shape = "_o0.shape"
        if pointwise and len(names) == 1:
            shape = "_p0.shape"
        elif _keeps_type(declared):
            shape = "_s or _o0.shape"
        elif pointwise and len(names) == 2 and len(live) == 2:
            shape = "_p0.shape if _p0 is not None and _p1 is not None and _p0.shape is _p1.shape else _o0.shape"
        body += [f"    _n.shape = {shape}", f"    _n.dtype = {'_d' if pointwise else '_o0.dtype'}"]
        body += ["    _t0._node = _n", "else: _t0._node = None"]
        return body
    if sig.variadic:
        body += ["    _n.shape = tuple([_o.shape for _o in _os])", "    _n.dtype = tuple([_o.dtype for _o in _os])"]
        body += ["    _connect(_n, _ts)"]
        return body
    outs = range(len(sig.outputs))
    body += [f"    _n.shape = ({', '.join(f'_o{j}.shape' for j in outs)},)"]
    body += [f"    _n.dtype = ({', '.join(f'_o{j}.dtype' for j in outs)},)"]
    body += [f"    _connect(_n, ({', '.join(f'_t{j}' for j in outs)},))"]
    body += [f"else: {' = '.join(f'_t{j}._node' for j in outs)} = None"]
    return body


def aval_or_scalar(value: Any) -> Any:
    return aval_of(value) if type(value) is ndarray else value


def _avals(values: list[Any], nodes: tuple[Any, ...] | None) -> list[Any]:
    """The shapes and dtypes of a list input; a node knows its own."""
    if nodes is None:
        return [aval_of(v) for v in values]
    return [aval_of(v) if node is None else node for v, node in zip(values, nodes, strict=True)]


def _general_public(declared: Op) -> Callable[..., Any]:
    reference = declared.reference
    if reference is None:

        def plain(*args: Any, **kwargs: Any) -> Any:
            return call(declared, args, kwargs)

        return dress(plain, declared)

    def public(*args: Any, impl: str | None = None, **kwargs: Any) -> Any:
        if declared.otherwise is not None:
            with modes.use(implementation=impl) if impl is not None else contextlib.nullcontext():
                result = otherwise(declared, given(declared, args, kwargs))
            if result is not NotImplemented:
                return result
        chosen = impl or modes.current().implementation
        if chosen == "fused":
            # a graph is the same whether Numba is there or not: it is asked for, and loaded, where the graph runs
            if modes.current().trace is not None or (can_fuse() if declared.direct else available()):
                return call(declared, args, kwargs)
            if impl == "fused":
                raise RuntimeError(f"{declared.name}: impl='fused' needs Numba: {reason()}")
        elif chosen != "composed":
            raise ValueError(f"{declared.name}: impl must be 'fused' or 'composed', got {chosen!r}")
        inputs, attrs = bind(declared, args, kwargs)
        return composed(declared, inputs, attrs)

    return dress(public, declared)


def dress(function: Any, declared: Op, reflected: bool = False) -> Callable[..., Any]:
    function.__signature__ = call_signature(declared.signature, declared.reference is not None, reflected)
    function.__name__ = function.__qualname__ = declared.name
    function.__module__ = "tensorgraph"
    function.__doc__ = inspect.cleandoc(declared.doc) if declared.doc else f"The op ``{declared.name}``."
    function.op = declared
    dressed: Callable[..., Any] = function
    return dressed


OPERATORS = {
    "+": "add", "-": "sub", "*": "mul", "/": "truediv", "//": "floordiv", "%": "mod", "**": "pow", "@": "matmul",
    "==": "eq", "!=": "ne", "<": "lt", "<=": "le", ">": "gt", ">=": "ge", "&": "and", "|": "or", "^": "xor",
    "<<": "lshift", ">>": "rshift",
    "u-": "neg", "u~": "invert",
}  # fmt: skip


class Lazy:
    """A method made at its first use, which then takes this descriptor's place."""

    def __init__(self, declared: Op, key: str, name: str) -> None:
        self.declared, self.key, self.name = declared, key, name

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        function = self.declared.calls[self.key]
        setattr(Tensor, self.name, function)
        return function if instance is None else function.__get__(instance, owner)


def attach(declared: Op) -> None:
    """Give Tensor the operator and the methods that the declaration names."""
    if declared.infix is not None:
        name = OPERATORS[declared.infix]
        setattr(Tensor, f"__{name}__", Lazy(declared, "operator", f"__{name}__"))
        if len(declared.inputs) == 2 and "comparison" not in declared.traits:
            setattr(Tensor, f"__r{name}__", Lazy(declared, "reflected", f"__r{name}__"))
    for name in declared.methods:
        setattr(Tensor, name, Lazy(declared, "public", name))
