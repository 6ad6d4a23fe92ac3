"""NumPy speaks tensorgraph: `np.exp(t)`, `np.sum(t)` and the rest record, or raise with the remedy (NEP 13 and 18)."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from tensorgraph.engine.aval import canonical_dtype
from tensorgraph.engine.exits import package
from tensorgraph.engine.functions import FUNCTIONS
from tensorgraph.engine.op import CATALOGUE, Op, elementwise, op_named
from tensorgraph.engine.tape import getframe
from tensorgraph.engine.tensor import Tensor
from tensorgraph.ops import shape

__all__: list[str] = []

MASK = "where"  # the argument of NumPy's ufuncs that says where they write
ELSEWHERE = "what is elsewhere has to be said: tensorgraph.where(mask, f(t), other)"

_table: dict[Any, Op] = {}
_calls: dict[Any, Callable[..., Any]] = {}  # of ufuncs that were called: the op's own function
_size = 0
_functions = 0
_asked: set[Any] = set()  # whether the array namespace has a form of its own


def _composed(function: Any) -> Callable[..., Any] | None:
    """What stands for a NumPy function that is no op: a composition of ops, or the array namespace's own."""
    global _functions
    if _functions != len(FUNCTIONS):  # they too may be declared at any time
        for declared in FUNCTIONS.values():
            for f in declared.numpy:
                if f is not None:
                    _COMPOSED.setdefault(f, declared.call)
        _functions = len(FUNCTIONS)
    name = getattr(function, "__name__", "")
    if function not in _asked:
        from tensorgraph.numpy.forms import LINALG
        from tensorgraph.numpy.names import own

        _asked.add(function)
        mine = LINALG.get(function) or own().get(name)
        if callable(mine) and (function in LINALG or getattr(np, name, None) is function):
            _COMPOSED[function] = mine
    return _COMPOSED.get(function)


def _standard(function: Any) -> Callable[..., Any] | None:
    """The array API standard's function that NumPy's is, where ours says nothing of NumPy."""
    from tensorgraph.numpy.names import lookup
    from tensorgraph.numpy.standard import signatures

    name = getattr(function, "__name__", "")
    return lookup(name) if name in signatures() and getattr(np, name, None) is function else None


def _instead(name: str) -> str:
    """What to write for a NumPy function that is not recorded."""
    from tensorgraph.arguments.foreign import answer
    from tensorgraph.numpy.names import names

    last = name.rpartition(".")[2]
    known = answer("tensorgraph", last)
    if not known and last in names() and name.count(".") < 2:
        known = f"tensorgraph.numpy.{last} is called otherwise, and takes no tensors where it is given numbers"
    if not known and ".fft." in name:
        known = f"it needs complex numbers, which are not supported; without a derivative, NumPy's is {name}(t.numpy())"
    if not known and name:
        known = f"there is no such function here; without a derivative, NumPy's is {name}(t.numpy())"
    return known or "use tensorgraph's own functions, or t.numpy() to leave gradients behind"


def _lookup(function: Callable[..., Any]) -> Op | None:
    """The op that stands for a NumPy function."""
    global _size
    if _size != len(CATALOGUE):  # ops may be declared at any time
        _table.clear()
        _calls.clear()
        for declared in CATALOGUE.values():
            if isinstance(declared.forward, np.ufunc):
                _table[declared.forward] = declared
            for f in declared.numpy:
                _table[f] = declared
            for other in declared.also:  # NumPy has some ufuncs twice, as radians and deg2rad
                if isinstance(theirs := getattr(np, other, None), np.ufunc):
                    _table.setdefault(theirs, declared)
        _size = len(CATALOGUE)
    return _table.get(function)


def _scipys(ufunc: np.ufunc) -> Op | None:
    """The op that a function of `scipy.special` is: one elementwise function of that name is there and here."""
    room = sys.modules.get("scipy.special")
    if room is None or getattr(room, ufunc.__name__, None) is not ufunc:
        return None
    declared = op_named(ufunc.__name__)
    return (
        declared
        if declared is not None and declared.kind is elementwise and len(declared.inputs) == ufunc.nin
        else None
    )


def _array_ufunc(self: Tensor, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
    if not kwargs and method == "__call__" and _size == len(CATALOGUE):
        short = _calls.get(ufunc)
        if short is not None:  # the usual case
            return short(*inputs)
    name = f"numpy.{ufunc.__name__}" + ("" if method == "__call__" else f".{method}")
    if kwargs.get("out") is not None:
        raise TypeError(
            f"{name} cannot write a tensor's result into an array (out=, or an in-place operator such as a += t): "
            "tensors record their operations. Use a = a + t, or a += t.numpy() to leave gradients behind"
        )
    declared = _lookup(ufunc)
    reduced = _lookup(getattr(ufunc, method)) if method in ("reduce", "accumulate") else None
    extra = {k: v for k, v in kwargs.items() if k != "out" and not (k == MASK and v is True)}
    if method == "outer" and not kwargs:
        a, b = inputs
        return ufunc(np.reshape(a, np.shape(a) + (1,) * np.ndim(b)), b)
    if reduced is not None:
        extra.setdefault("axis", 0)
        extra = {k: v for k, v in extra.items() if v is not None or k == "axis"}
        return reduced.public(*inputs, **extra)
    if declared is None and not extra and method == "__call__" and (declared := _scipys(ufunc)) is not None:
        return declared.public(*inputs)
    composed = _composed(ufunc) if method == "__call__" and declared is None else None
    ours = declared.public if declared is not None else composed
    if ours is not None and method == "__call__" and extra.keys() == {"dtype"}:
        return _in_dtype(name, ours, declared is not None and declared.dtype == "bool", inputs, extra["dtype"])
    if composed is not None:
        return composed(*inputs, **extra)
    if method != "__call__" or declared is None or extra:
        what = f"with {', '.join(extra)}" if declared is not None and method == "__call__" else "on a tensor"
        remedy = _instead(name if declared is None and not extra and method == "__call__" else "")
        raise TypeError(f"{name} {what} is not supported by tensorgraph; {ELSEWHERE if MASK in extra else remedy}")
    public = _calls[ufunc] = declared.calls["operator"]  # NumPy has counted the arguments
    return public(*inputs)


def _in_dtype(name: str, ours: Callable[..., Any], compares: bool, inputs: tuple[Any, ...], dtype: Any) -> Any:
    """What a ufunc gives that is told the dtype to compute in: tensors and arrays are converted to it first."""
    wanted = canonical_dtype(dtype)
    if compares:  # in the operands' own dtypes
        if wanted != np.bool_:
            raise TypeError(f"{name} gives booleans, and dtype={wanted} was asked for; convert the result by astype")
        return ours(*inputs)
    for i, x in enumerate(inputs):
        if isinstance(x, (Tensor, np.ndarray)) and not np.can_cast(x.dtype, wanted, "same_kind"):
            raise TypeError(f"{name}: input {i} of dtype {x.dtype} is no {wanted}; convert it first, x.astype(dtype)")
    given = [shape.astype.public(x, wanted) if isinstance(x, (Tensor, np.ndarray)) else x for x in inputs]
    return shape.astype.public(ours(*given), wanted)


# NumPy functions that tell of a tensor; compositions of ops, and the array namespace's own, are added as they come
_COMPOSED: dict[Any, Callable[..., Any]] = {
    np.shape: lambda x: x.shape,
    np.array_repr: lambda x, *a, **k: repr(x),
    np.array_str: lambda x, *a, **k: str(x.detach().numpy()),
    np.array2string: lambda x, *a, **k: np.array2string(x.detach().numpy(), *a, **k),
}


def _array_function(self: Tensor, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
    module = getattr(function, "__module__", None) or "numpy"
    name = f"{module}.{getattr(function, '__name__', function)}"
    from tensorgraph.numpy.calls import by_name, numpys_call, refuse_out, signature

    options = {k: v for k, v in kwargs.items() if v is not np._NoValue}
    refuse_out(name, options.pop("out", None))
    composed = _composed(function)
    if composed is not None and not (function in CONVERTING and _outside(getframe(1))):
        args, options, dtype = numpys_call(function, composed, args, options, name)
        try:
            signature(composed).bind(*args, **options)
        except TypeError:
            given = ", ".join(["..."] * len(args) + [f"{k}=..." for k in options])
            raise TypeError(f"{name}({given}) is not recorded by tensorgraph: leave away what is not needed") from None
        result = composed(*args, **options)
        return result if dtype is None else shape.astype.public(result, dtype=dtype)
    declared = _lookup(function)
    if declared is None and (standard := _standard(function)) is not None:
        return standard(*args, **options)
    if declared is None and _outside(getframe(1)):
        return function(*_plain(args), **_plain(kwargs))
    if declared is None:
        raise TypeError(f"{name} is not recorded by tensorgraph; {_instead(name)}")
    inputs, options = by_name(function, len(declared.inputs), args, options)
    refuse_out(name, options.pop("out", None))
    if "dtype" in options and "dtype" not in declared.signature.attrs:  # what NumPy computes in
        dtype = options.pop("dtype")
        inputs = (shape.astype.public(inputs[0], dtype=dtype), *inputs[1:])
        return shape.astype.public(declared.public(*inputs, **options), dtype=dtype)
    return declared.public(*inputs, **options)


# NumPy's functions by which packages make arrays of what they are handed
CONVERTING = {np.atleast_1d, np.atleast_2d, np.atleast_3d, np.copy}


def _outside(frame: Any) -> bool:
    """Whether SciPy calls, which computes on plain arrays: it is handed them, as by `numpy.asarray`."""
    return package(frame) == "scipy"


def _plain(value: Any) -> Any:
    if isinstance(value, Tensor):
        return np.asarray(value)
    if type(value) in (list, tuple):
        return type(value)([_plain(item) for item in value])
    return {key: _plain(item) for key, item in value.items()} if type(value) is dict else value


def _array_namespace(self: Tensor, /, *, api_version: str | None = None) -> Any:
    """`tensorgraph.numpy`, where the standard's functions are."""
    import tensorgraph.numpy as namespace
    from tensorgraph.numpy.standard import VERSIONS

    if api_version is not None and api_version not in VERSIONS:
        raise ValueError(f"__array_namespace__: api_version must be one of {', '.join(VERSIONS)}, got {api_version!r}")
    return namespace


_PROTOCOLS = {
    "__array_ufunc__": _array_ufunc, "__array_function__": _array_function, "__array_namespace__": _array_namespace,
}  # fmt: skip
for _name, _protocol in _PROTOCOLS.items():
    setattr(Tensor, _name, _protocol)
