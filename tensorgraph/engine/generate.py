"""Functions generated from declarations: the public call, the array form that rules use, the gradient on arrays.

An eager operation pays for nothing but itself: its call knows the arity, what to save and whom to ask. Each is made at
first use.
"""

from __future__ import annotations

import inspect
import keyword
from collections.abc import Callable
from typing import Any

import numpy as np

from tensorgraph.engine import modes
from tensorgraph.engine.aval import Aval
from tensorgraph.engine.calling import F32, F64, bind, call, composed, float_result, require_outputs, short_error
from tensorgraph.engine.cells import Parameter
from tensorgraph.engine.op import REQUIRED, Op, elementwise, rule_names
from tensorgraph.engine.pull import accumulate, fit, freed, pull_joint
from tensorgraph.engine.tape import INTERNAL, Node, Projection, getframe, next_number, projection
from tensorgraph.engine.tensor import Tensor, blank

__all__ = ["attach", "make_apply", "make_public", "make_pull"]

ndarray = np.ndarray
LITERAL = frozenset({int, float, bool, str, tuple, type(None)})


def make_apply(declared: Op) -> Callable[..., Any]:
    """What rules call: on plain arrays the forward, on anything with a Tensor the public function."""
    n = len(declared.inputs)
    forward, public = declared.forward, declared.public
    attrs = tuple(declared.attrs)
    defaults = {k: v for k, v in declared.attrs.items() if v is not REQUIRED}
    strip = len(declared.residuals)
    single = declared.single
    floats = declared.kind is elementwise and declared.dtype not in ("bool", "cast")

    def apply(*args: Any, **kwargs: Any) -> Any:
        for a in args:
            if type(a) is ndarray:
                continue
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
            out = float_result(declared, out, list(args), {**defaults, **kwargs})
        return out

    apply.__name__ = declared.name
    return apply


def make_public(declared: Op, reflected: bool = False) -> Callable[..., Any]:
    """Generate the function that users call: the short path, with a way out to the general one."""
    sig = declared.signature
    if sig.lists or sig.variadic or not sig.inputs or declared.dtype == "cast":
        return _general_public(declared)
    fused = declared.reference is not None
    names = sig.inputs
    scope: dict[str, Any] = {
        "_op": declared, "_call": call, "_mode": modes.current, "_Tensor": Tensor, "_Parameter": Parameter,
        "_forward": declared.forward, "_check": declared.check, "_ndarray": ndarray, "_asarray": np.asarray,
        "_blank": blank, "_Node": Node, "_project": project, "_number": next_number, "_frame": getframe,
        "_internal": INTERNAL, "_F64": F64, "_F32": F32, "_float_result": float_result, "_error": short_error,
        "_literal": LITERAL, "_require": require_outputs, "_none": {}, "_last": [None], "_aval": _aval_or_scalar,
        "__package__": "tensorgraph",
    }  # fmt: skip
    params = [f"{n}=None" if n in sig.optional else n for n in (names[::-1] if reflected else names)]
    required = [a for a, default in sig.attrs.items() if default is REQUIRED]
    for attr, default in sig.attrs.items():
        scope[f"_default_{attr}"] = default
    optional = [f"{a}=_default_{a}" for a in sig.attrs if a not in required]
    if sig.optional and required:
        return _general_public(declared)
    params += required + optional
    passed = "".join(f", {a}={a}" for a in sig.attrs)
    attrs = ", ".join(f"{a!r}: {a}" for a in sig.attrs)
    inputs = f"({', '.join(names)},)"
    guard = "".join(f" or type({a}) not in _literal" for a in sig.attrs)
    if fused:
        from tensorgraph import jit

        scope["_general"], scope["_available"] = _general_public(declared), jit.available
        params.append("impl=None")
        guard += " or impl is not None or _m.implementation != 'fused' or not _available()"
        fallback = f"return _general({', '.join(names)}{passed}, impl=impl)"
    else:
        fallback = f"return _call(_op, {inputs}, {{{attrs}}})"
    body = ["_m = _mode()", f"if not _m.plain{guard}: {fallback}"]
    body += _unwrap(declared, fallback)
    values = ", ".join(f"_v{i}" for i in range(len(names)))
    body += ["try:"]
    if declared.check is not None:
        body += [f"    _check({values}{passed})"]
    body += [f"    _out = _forward({values}{passed})"]
    body += [f"except Exception as _e: _error(_op, {inputs}, {{{attrs}}}, _e)"]
    body += _outputs(declared, values, attrs)
    if declared.differentiable:
        body += _record(declared, attrs)
    results = [f"_t{j}" for j in range(len(sig.outputs))]
    body += [f"return {results[0] if declared.single else '(' + ', '.join(results) + ',)'}"]
    source = f"def {_safe(sig.name)}({', '.join(params)}):\n" + "\n".join("    " + line for line in body)
    exec(compile(source, f"<tensorgraph op {sig.name}>", "exec"), scope)
    return dress(scope[_safe(sig.name)], declared)


def _unwrap(declared: Op, fallback: str) -> list[str]:
    """Each input's array and node: ``_v0, _p0, ...``; an underscore keeps clear of the op's own names."""
    names = declared.inputs
    body = []
    for i, n in enumerate(names):
        body += [f"_t = type({n})", "if _t is _Tensor or _t is _Parameter:"]
        body += [f"    _v{i} = {n}._value; _p{i} = {n}._node"]
        if declared.kind is elementwise and len(names) > 1:  # a weak scalar beside a tensor
            if i > 0:
                body += ["elif (_t is float or _t is int) and type(_v0) is _ndarray:", f"    _v{i} = {n}; _p{i} = None"]
            elif len(names) == 2:
                other = f"type({names[1]}) is _Tensor"
                body += [f"elif (_t is float or _t is int) and {other}:", f"    _v{i} = {n}; _p{i} = None"]
        if n in declared.signature.optional:
            body += [f"elif {n} is None: _v{i} = _p{i} = None"]
        body += [f"else: {fallback}"]
    # NumPy's arithmetic refuses a value that escaped its trace; what compares, and other forwards, may take it for data
    if not isinstance(declared.forward, np.ufunc) or declared.dtype == "bool":
        absent = [f"_v{i} is not None and " if n in declared.signature.optional else "" for i, n in enumerate(names)]
        scalars = [f"type(_v{i}) is not float and type(_v{i}) is not int and " for i in range(len(names))]
        weak = declared.kind is elementwise and len(names) > 1
        tests = [f"{absent[i]}{scalars[i] if weak else ''}type(_v{i}) is not _ndarray" for i in range(len(names))]
        body += [f"if {' or '.join(tests)}: {fallback}"]
    return body


def _outputs(declared: Op, values: str, attrs: str) -> list[str]:
    """Arrays ``_o0, ...``, residuals ``_r0, ...`` and tensors ``_t0, ...``."""
    outs = [f"_o{j}" for j in range(len(declared.outputs))]
    rest = [f"_r{k}" for k in range(len(declared.residuals))]
    count = len(outs + rest)
    several = count > 1
    body = [f"if type(_out) is not tuple or len(_out) != {count}: _require(_op, _out)"] if several else []
    body += [f"{', '.join(outs + rest)} = _out"]
    for o in outs:
        single = "" if several else f"_require(_op, {o})"
        body += [f"if type({o}) is not _ndarray: {o} = _asarray({single or o})"]
    if declared.kind is elementwise and declared.dtype != "bool":
        body += [
            "_d = _o0.dtype",
            "if _d is not _F32 and (_d is not _F64 or type(_v0) is not _ndarray or _v0.dtype is not _F64):",
            f"    _o0 = _float_result(_op, _o0, [{values}], {{{attrs}}}); _d = _o0.dtype",
        ]
    for j, o in enumerate(outs):
        body += [f"_t{j} = _blank()", f"_t{j}._value = {o}"]
        if not declared.differentiable:
            body += [f"_t{j}._node = None"]
    return body


def _record(declared: Op, attrs: str) -> list[str]:
    """Put a node on the tape where an input has one, and connect the outputs."""
    sig, names = declared.signature, declared.inputs
    joint = declared.joint
    live = [i for i, n in enumerate(names) if joint is not None or declared.rules[n] is not None]
    places = {n: f"_v{i}" for i, n in enumerate(names)}
    places |= {n: f"_o{j}" for j, n in enumerate(sig.outputs)} | {n: f"_r{k}" for k, n in enumerate(declared.residuals)}
    places |= {f"{n}_aval": f"_aval(_v{i})" for i, n in enumerate(names)}
    entries = []
    for name in declared.calls["saves"]:
        needing = live
        if joint is None:
            rules = {i: declared.rules[names[i]] for i in live}
            needing = [i for i, rule in rules.items() if rule is not None and name in rule_names(declared, rule)]
        wanted = " or ".join(f"_p{i} is not None" for i in needing)
        entries.append(places[name] if len(needing) == len(live) else f"({places[name]} if {wanted} else None)")
    test = " or ".join(f"_p{i} is not None" for i in live)
    # ufuncs give floats for floats; others may be asked for integers, which have no gradient
    floating = "" if isinstance(declared.forward, np.ufunc) or not declared.single else " and _o0.dtype.kind == 'f'"
    parents = ", ".join(f"_p{i}" if i in live else "None" for i in range(len(names)))
    pointwise = declared.kind is elementwise
    body = [
        f"if _m.grad and ({test}){floating}:",
        "    _n = _Node()",
        "    _n.op = _op",
        f"    _n.parents = ({parents},)",
        f"    _n.saved = ({', '.join(entries)}{',' if entries else ''})",
        f"    _n.attrs = {{{attrs}}}" if attrs else "    _n.attrs = _none",
        "    _n.number = _number()",
        "    _n.scope = _m.scope",
        "    _f = _frame(1)",
        "    _c = _f.f_code",
        "    if _c is not _last[0]:",  # a loop calls from the same code again: known to be the user's
        "        while _f is not None and _f.f_globals.get('__package__') in _internal: _f = _f.f_back",
        "        if _f is None: _c = None",
        "        elif _c is _f.f_code: _last[0] = _c",
        "        else: _c = _f.f_code",
        "    _n.code = _c",
        "    _n.lasti = _f.f_lasti if _c is not None else -1",
    ]
    if declared.single:
        # an array makes a new tuple whenever it is asked for its shape: a parent's is taken where that is the same
        shape = "_o0.shape"
        if pointwise and len(names) == 1:
            shape = "_p0.shape"
        elif pointwise and len(names) == 2 and len(live) == 2:
            shape = "_p0.shape if _p0 is not None and _p1 is not None and _p0.shape is _p1.shape else _o0.shape"
        body += [f"    _n.shape = {shape}"]
        body += ["    _n.dtype = _d" if pointwise and declared.dtype != "bool" else "    _n.dtype = _o0.dtype"]
        body += ["    _t0._node = _n", "else: _t0._node = None"]
        return body
    outs = range(len(sig.outputs))
    body += [f"    _n.shape = ({', '.join(f'_o{j}.shape' for j in outs)},)"]
    body += [f"    _n.dtype = ({', '.join(f'_o{j}.dtype' for j in outs)},)"]
    body += [f"    _t{j}._node = _project(_n, {j})" for j in outs]
    body += [f"else: {' = '.join(f'_t{j}._node' for j in outs)} = None"]
    return body


def project(node: Node, index: int) -> Projection | None:
    """The place of one output of several on the tape, where it can have a gradient."""
    return projection(node, index) if node.dtype[index].kind == "f" else None


def _safe(name: str) -> str:
    return f"{name}_" if keyword.iskeyword(name) else name


def _aval_or_scalar(value: Any) -> Any:
    return Aval(value.shape, value.dtype) if type(value) is ndarray else value


def _general_public(declared: Op) -> Callable[..., Any]:
    reference = declared.reference
    if reference is None:

        def plain(*args: Any, **kwargs: Any) -> Any:
            return call(declared, args, kwargs)

        return dress(plain, declared)

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

    return dress(public, declared)


def dress(function: Any, declared: Op) -> Callable[..., Any]:
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
    dressed: Callable[..., Any] = function
    return dressed


def make_pull(declared: Op) -> Callable[..., None]:
    """Generate the gradient of one node on plain arrays: one call a wanted input, into the table."""
    if declared.backward is not None:
        return _make_fused_pull(declared)
    if declared.joint is not None or declared.signature.lists or not declared.single:
        return lambda node, g, table, needed: pull_joint(node, g, table, needed)
    sig = declared.signature
    saves = declared.calls["saves"]
    scope: dict[str, Any] = {
        "_accumulate": accumulate, "_fit": fit, "_freed": freed, "_ndarray": ndarray, "_add": np.add,
    }  # fmt: skip
    # an elementwise op of one input has its output's shape, and so has what its rule makes of g
    differs = "" if declared.kind is elementwise and len(sig.inputs) == 1 else "c.shape != p.shape or "
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
            f"    if type(c) is not _ndarray or {differs}c.dtype is not p.dtype: c = _fit(c, p)",
            *_DEPOSIT,
        ]
    source = "def pull(node, g, table, needed):\n" + "\n".join("    " + line for line in body)
    exec(compile(source, f"<tensorgraph vjp {sig.name}>", "exec"), scope)
    return scope["pull"]  # type: ignore[no-any-return]


_DEPOSIT = (
    "    if p in table:",
    "        if p in table.owned: q = table[p]; _add(q, c, q)",
    "        else: _accumulate(table, p, c)",
    "    else: table[p] = c",
)


def _make_fused_pull(declared: Op) -> Callable[..., None]:
    """Generate the gradient of a fused op on plain arrays: one call of its backward kernel."""
    sig = declared.signature
    inputs = range(len(sig.inputs))
    place = {name: f"s[{k}]" for k, name in enumerate(declared.calls["saves"])}
    kept = ", ".join(place[n] for n in (*sig.inputs, *sig.outputs, *declared.residuals))
    several = ", ".join(f"None if type(g[{j}]) is float else g[{j}]" for j in range(len(sig.outputs)))
    attrs = "".join(f", {a}=at[{a!r}]" for a in sig.attrs)
    body = ["s = node.saved", "if s is None: _freed(node)", "at = node.attrs"]
    body += [f"{', '.join(f'p{i}' for i in inputs)}, = node.parents"]
    body += [f"w{i} = p{i} is not None and (needed is None or p{i} in needed)" for i in inputs]
    cotangents = "g" if declared.single else several
    body += [f"grads = _backward(({', '.join(f'w{i}' for i in inputs)},), {cotangents}, {kept}{attrs})"]
    for i in inputs:
        body += [f"if w{i} and grads[{i}] is not None:", f"    p = p{i}; c = grads[{i}]"]
        body += ["    if type(c) is not _ndarray or c.shape != p.shape or c.dtype is not p.dtype: c = _fit(c, p)"]
        body += _DEPOSIT
    scope: dict[str, Any] = {
        "_accumulate": accumulate, "_fit": fit, "_freed": freed, "_ndarray": ndarray, "_add": np.add,
        "_backward": declared.backward,
    }  # fmt: skip
    source = "def pull(node, g, table, needed):\n" + "\n".join("    " + line for line in body)
    exec(compile(source, f"<tensorgraph vjp {sig.name}>", "exec"), scope)
    pull: Callable[..., None] = scope["pull"]
    return pull


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


def attach(declared: Op) -> None:
    """Give Tensor the operator and the method that the declaration names."""
    if declared.infix is not None:
        name = OPERATORS[declared.infix]
        setattr(Tensor, f"__{name}__", Lazy(declared, "public", f"__{name}__"))
        if len(declared.inputs) == 2 and declared.infix not in COMPARISONS:
            setattr(Tensor, f"__r{name}__", Lazy(declared, "reflected", f"__r{name}__"))
    if declared.method is not None:
        setattr(Tensor, declared.method, Lazy(declared, "public", declared.method))
