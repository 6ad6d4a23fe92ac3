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

from tensorgraph import modes
from tensorgraph.aval import Aval
from tensorgraph.calling import F64, bind, call, composed, float_result, short_error
from tensorgraph.cells import Parameter
from tensorgraph.op import REQUIRED, Op, elementwise, rule_names
from tensorgraph.tape import INTERNAL, Node, getframe, next_number
from tensorgraph.tensor import Tensor, new

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
    floats = declared.kind is elementwise

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


def make_public(declared: Op, reflected: bool = False) -> Callable[..., Any]:
    """Generate the function that users call."""
    sig = declared.signature
    if sig.lists or sig.optional or len(sig.inputs) == 0 or not declared.single or declared.joint is not None \
            or declared.residuals or len(sig.inputs) > 2 or declared.check is not None or declared.dtype == "cast":
        return _general_public(declared)
    names = sig.inputs
    pointwise = declared.kind is elementwise
    scope: dict[str, Any] = {
        "_op": declared, "_call": call, "_mode": modes.current, "_Tensor": Tensor, "_Parameter": Parameter,
        "_forward": declared.forward, "_ndarray": ndarray, "_asarray": np.asarray, "_new": new, "_Node": Node,
        "_number": next_number, "_frame": getframe, "_internal": INTERNAL, "_F64": F64,
        "_float_result": float_result, "_error": short_error, "_literal": LITERAL,
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
    guard = "".join(f" or type({a}) not in _literal" for a in sig.attrs)
    body = ["m = _mode()", f"if not m.plain{guard}: {fallback}"]
    for i, n in enumerate(names):
        body += [f"t = type({n})", "if t is _Tensor or t is _Parameter:", f"    v{i} = {n}._value; p{i} = {n}._node"]
        if pointwise and len(names) == 2:
            other = "t is float or t is int"
            guard = f" and type({names[1]}) is _Tensor" if i == 0 else " and type(v0) is _ndarray"
            body += [f"elif ({other}){guard}:", f"    v{i} = {n}; p{i} = None"]
        body += [f"else: {fallback}"]
    values = ", ".join(f"v{i}" for i in range(len(names)))
    dtype = "out.dtype"
    body += [
        f"try: out = _forward({values}{passed})",
        f"except Exception as e: _error(_op, ({', '.join(names)},), {{{attrs}}}, e)",
        "if type(out) is not _ndarray: out = _asarray(out)",
    ]
    if pointwise and declared.dtype != "bool":
        body += ["d = out.dtype", f"if d is _F64: out = _float_result(_op, out, [{values}], None); d = out.dtype"]
        dtype = "d"
    one_to_one = pointwise and len(names) == 1  # the output has its input's shape
    body += ["r = _new(_Tensor)", "r._value = out"]
    if declared.differentiable:
        live = [i for i, n in enumerate(names) if declared.rules[n] is not None]
        test = " or ".join(f"p{i} is not None" for i in live)
        saves = declared.calls["saves"]
        entries = []
        for name in saves:
            needing = [i for i in live if name in rule_names(declared, declared.rules[names[i]])]  # type: ignore[arg-type]
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
        # ufuncs give floats for floats; others may be asked for integers, which have no gradient
        floating = "" if isinstance(declared.forward, np.ufunc) else " and out.dtype.kind == 'f'"
        parents = ", ".join(f"p{i}" if i in live else "None" for i in range(len(names)))
        body += [
            f"if m.grad and ({test}){floating}:" if len(live) > 1 else f"if {test} and m.grad{floating}:",
            "    n = _Node()",
            "    n.op = _op",
            f"    n.parents = ({parents},)",
            f"    n.saved = ({', '.join(entries)}{',' if entries else ''})",
            f"    n.attrs = {{{attrs}}}" if attrs else "    n.attrs = _none",
            "    n.number = _number()",
            "    n.shape = p0.shape" if one_to_one else "    n.shape = out.shape",
            f"    n.dtype = {dtype}",
            "    n.scope = m.scope",
            "    f = _frame(1)",
            "    c = f.f_code",
            "    if c is not _last[0]:",  # a loop calls from the same code again: known to be the user's
            "        while f is not None and f.f_globals.get('__package__') in _internal: f = f.f_back",
            "        if f is None: c = None",
            "        elif c is f.f_code: _last[0] = c",
            "        else: c = f.f_code",
            "    n.code = c",
            "    n.lasti = f.f_lasti if c is not None else -1",
            "    r._node = n",
            "else: r._node = None",
        ]
        scope["_none"] = {}
        scope["_last"] = [None]
    else:
        body += ["r._node = None"]
    body += ["return r"]
    source = f"def {_safe(sig.name)}({', '.join(params)}):\n" + "\n".join("    " + line for line in body)
    code = compile(source, f"<tensorgraph op {sig.name}>", "exec")
    scope["__package__"] = "tensorgraph"
    exec(code, scope)
    function = scope[_safe(sig.name)]
    return dress(function, declared)


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
    from tensorgraph.backward import accumulate, fit, freed, pull_joint

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
            "    if p in table:",
            "        if p in table.owned: q = table[p]; _add(q, c, q)",
            "        else: _accumulate(table, p, c)",
            "    else: table[p] = c",
        ]
    source = "def pull(node, g, table, needed):\n" + "\n".join("    " + line for line in body)
    exec(compile(source, f"<tensorgraph vjp {sig.name}>", "exec"), scope)
    return scope["pull"]  # type: ignore[no-any-return]


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
