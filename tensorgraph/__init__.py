"""tensorgraph: the graph is a value.

What you compute with tensors is a graph that you can look at, differentiate, print, check and draw,
without leaving NumPy.
"""

from importlib import import_module as _import_module
from importlib.util import find_spec as _find_spec
from importlib.util import module_from_spec as _module_from_spec
from sys import modules as _modules
from threading import RLock as _RLock
from types import ModuleType as _ModuleType
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

if _find_spec("tensorgraph.ops") is None:
    raise ImportError(
        "this is the source folder tensorgraph/, which hides an installed tensorgraph and has no tensorgraph.ops: "
        "run `pip install -e .` in the repository root, or start Python from another folder"
    )

from tensorgraph import ops as _ops  # noqa: F401  (fills the catalogue)
from tensorgraph.arguments.foreign import put_absent as _put_absent
from tensorgraph.arguments.foreign import put_functions as _put_functions
from tensorgraph.engine.aval import Aval, default_dtype, set_default_dtype
from tensorgraph.engine.backward import gradients
from tensorgraph.engine.cells import Buffer, Cell, Parameter
from tensorgraph.engine.exits import DetachError, DetachWarning
from tensorgraph.engine.extend import fused_op, op, remove_op
from tensorgraph.engine.functions import FUNCTIONS as _FUNCTIONS
from tensorgraph.engine.functions import call_of as _call_of
from tensorgraph.engine.functions import function_named as _function_named
from tensorgraph.engine.modes import (
    debug_nans,
    enable_grad,
    implementation,
    is_grad_enabled,
    is_tracing,
    no_grad,
    scope,
)
from tensorgraph.engine.op import ALIASES as _ALIASES
from tensorgraph.engine.op import CATALOGUE
from tensorgraph.engine.op import op_named as _op_named
from tensorgraph.engine.recognition import Recognition
from tensorgraph.engine.spec import (
    bool_,
    f16,
    f32,
    f64,
    float16,
    float32,
    float64,
    i8,
    i16,
    i32,
    i64,
    int8,
    int16,
    int32,
    int64,
    spec,
    u8,
    u16,
    u32,
    u64,
    uint8,
    uint16,
    uint32,
    uint64,
)
from tensorgraph.engine.tensor import Tensor, TraceError, tensor
from tensorgraph.engine.tree import tree_map

if _TYPE_CHECKING:
    from tensorgraph import analysis, data, dist, nn, numpy, optim, passes, random, testing, text, train, tune, viz  # noqa: F401  # noqa: F401
    from tensorgraph.analysis.diff import diff
    from tensorgraph.analysis.explain_gradient import explain_gradient
    from tensorgraph.analysis.fault import find_faults
    from tensorgraph.analysis.lint import lint
    from tensorgraph.analysis.profile import profile
    from tensorgraph.compile import compile
    from tensorgraph.engine.spec import bool_ as bool  # noqa: F401
    from tensorgraph.functions import *  # noqa: F403
    from tensorgraph.graph import Graph, graph, trace
    from tensorgraph.jit import set_num_threads
    from tensorgraph.numpy import linalg  # noqa: F401
    from tensorgraph.testing import check
    from tensorgraph.text import ParseError, Template, parse
    from tensorgraph.text import load as load_graph
    from tensorgraph.train import load, load_model, save
    from tensorgraph.transforms import (
        checkpoint,
        custom_vjp,
        functional,
        grad,
        hessian,
        hvp,
        jacfwd,
        jacobian,
        jacrev,
        jvp,
        linearize,
        scan,
        value_and_grad,
        vjp,
        vmap,
    )
    from tensorgraph.viz import draw

__version__ = "0.1.0"

# the catalogue's functions (tensorgraph.exp, ...) and the rooms nn, optim, data, train, tune and viz are found besides
__all__ = [
    "CATALOGUE", "Aval", "Buffer", "Cell", "DetachError", "DetachWarning", "Graph", "Parameter", "ParseError",
    "Recognition", "Template", "Tensor", "TraceError", "bool_", "check", "checkpoint", "compile", "custom_vjp",
    "debug_nans", "default_dtype", "diff", "draw", "enable_grad", "explain_gradient", "f16", "f32", "f64",
    "find_faults", "float16", "float32", "float64", "functional", "fused_op", "grad", "gradients", "graph", "hessian",
    "hvp", "i8", "i16", "i32", "i64", "int8", "int16", "int32", "int64", "implementation", "is_grad_enabled",
    "is_tracing", "jacfwd", "jacobian", "jacrev", "jvp", "linearize", "lint", "load", "load_graph", "load_model",
    "no_grad", "op", "parse", "profile", "random", "remove_op", "save", "scan", "scope", "set_default_dtype",
    "set_num_threads", "spec", "tensor", "trace", "tree_map", "u8", "u16", "u32", "u64", "uint8", "uint16", "uint32",
    "uint64", "value_and_grad", "vjp", "vmap",
]  # fmt: skip

_put_absent(Tensor)
_put_functions(Tensor, [*CATALOGUE, *_ALIASES, *_FUNCTIONS], _call_of)

# heavier rooms open when first used
_LATE = {
    "analysis", "data", "dist", "linalg", "nn", "numpy", "optim", "passes", "random", "testing", "text", "train",
    "transforms", "tune", "viz",
}  # fmt: skip
_OF_ROOMS = {
    "tensorgraph.compile": "compile",
    "tensorgraph.graph": "Graph graph trace",
    "tensorgraph.jit": "set_num_threads",
    "tensorgraph.transforms": "checkpoint custom_vjp functional grad hessian hvp jacfwd jacobian jacrev jvp linearize "
    "scan value_and_grad vjp vmap",
}
_LATE_NAMES = {
    **{name: room for room, names in _OF_ROOMS.items() for name in names.split()},
    "ParseError": "tensorgraph.text",
    "Template": "tensorgraph.text",
    "check": "tensorgraph.testing",
    "diff": "tensorgraph.analysis.diff",
    "draw": "tensorgraph.viz",
    "explain_gradient": "tensorgraph.analysis.explain_gradient",
    "find_faults": "tensorgraph.analysis.fault",
    "lint": "tensorgraph.analysis.lint",
    "load": "tensorgraph.train",
    "load_graph": "tensorgraph.text",
    "load_model": "tensorgraph.train",
    "parse": "tensorgraph.text",
    "profile": "tensorgraph.analysis.profile",
    "save": "tensorgraph.train",
}
_INSIDE = {"linalg": "numpy.linalg"}  # rooms in rooms
# where the room calls it otherwise
_ELSEWHERE = {"load_graph": "load"}
_OWN = frozenset({*CATALOGUE, *_ALIASES})  # no op of the user's, which may be removed again


class _Waiting(_ModuleType):
    """A package with a function of its name, as `tensorgraph.graph`; it runs when something of it is first asked for.

    It is among the modules from the beginning, since whoever imports it later would put it here in the place of the
    function.
    """

    def __getattribute__(self, name: str) -> _Any:
        get = _ModuleType.__getattribute__
        if not name.startswith("__"):  # which importing asks of every package
            with _opening:
                own = get(self, "__dict__")
                if get(self, "__class__") is _Waiting and not own.get("__opened__"):
                    own["__opened__"] = True
                    try:
                        get(self, "__spec__").loader.exec_module(self)
                    except BaseException:
                        own["__opened__"] = False
                        raise
                    self.__class__ = _Room  # type: ignore[assignment]
                    for path, module in [*_modules.items()]:
                        self.offer(path, module)
        return get(self, name)


class _Room(_ModuleType):
    """A package whose function has its modules too: ``import tensorgraph.graph.trace as t`` looks for them there."""

    def __setattr__(self, name: str, value: _Any) -> None:
        super().__setattr__(name, value)
        if isinstance(value, _ModuleType):
            self.offer(f"{self.__name__}.{name}", value)

    def offer(self, path: str, module: _Any) -> None:
        """Give the function a module of this package."""
        package, _, name = path.rpartition(".")
        if package == self.__name__:
            setattr(self.__dict__[package.rpartition(".")[2]], name, module)


_opening = _RLock()
for _name in ("tensorgraph.compile", "tensorgraph.graph"):
    _spec = _find_spec(_name)
    assert _spec is not None
    _modules[_name] = _module_from_spec(_spec)
    _modules[_name].__class__ = _Waiting


class _Later:
    """A method of tensors that a module further up puts in this one's place, when it is first looked for."""

    def __init__(self, name: str, module: str) -> None:
        self.name, self.module = name, module

    def __get__(self, instance: _Any, owner: _Any = None) -> _Any:
        _import_module(self.module)
        return getattr(owner if instance is None else instance, self.name)


for _name in ("__array_ufunc__", "__array_function__", "__array_namespace__"):
    setattr(Tensor, _name, _Later(_name, "tensorgraph.transforms.interop"))
Tensor._repr_mimebundle_ = _Later("_repr_mimebundle_", "tensorgraph.graph.drawable")  # type: ignore[assignment, method-assign]


def __getattr__(name: str) -> _Any:
    """Catalogue ops as functions, and rooms that load when first used."""
    declared = _op_named(name) if name not in _LATE_NAMES else None
    if declared is not None:
        if name in _OWN:  # found at once from now on
            globals()[name] = declared.public
        return declared.public
    if name == "bool":  # the standard's name; no global, which would hide Python's from the examples in docstrings
        return bool_
    function = _function_named(name)
    if function is not None:
        globals()[name] = function.call
        return function.call
    if name in _LATE or name in _LATE_NAMES:
        if name in _LATE:
            return _import_module(f"tensorgraph.{_INSIDE.get(name, name)}")
        value = getattr(_import_module(_LATE_NAMES[name]), _ELSEWHERE.get(name, name))
        globals()[name] = value
        return value
    from tensorgraph.arguments.foreign import absent

    raise absent("module 'tensorgraph'", "tensorgraph", name, [*__all__, *CATALOGUE, *_LATE])


def __dir__() -> list[str]:
    return sorted({*globals(), *CATALOGUE, *_ALIASES, *_FUNCTIONS, *_LATE, *_LATE_NAMES})
