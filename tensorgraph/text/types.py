"""Types in a text: ``f32[64, 10]``, containers of types, sizes with names, and whether a value is of a type."""

from __future__ import annotations

import ast
import dataclasses
from collections import OrderedDict
from collections.abc import Collection
from typing import Any

from tensorgraph.engine import init
from tensorgraph.engine.aval import Aval, Number
from tensorgraph.engine.tensor import Tensor
from tensorgraph.engine.tree import build, field_names, is_container, is_dataclass
from tensorgraph.graph.graph import ANYTHING
from tensorgraph.text.definitions import CELLS, DTYPES, parts_of
from tensorgraph.text.errors import nearest
from tensorgraph.text.numbers import integer, is_static, literal, named, table
from tensorgraph.text.scene import CellName, Scene, opened, said_of, show

__all__ = ["NUMBERS", "Sizes", "argument", "aval", "called", "initialiser", "initialisers", "value"]

NUMBERS = {kind.__name__: Number(kind) for kind in (float, int, bool)}
FORM = "a type such as f32[64, 10], or f32 for a value without axes"


def aval(scene: Scene, node: ast.expr) -> Aval:
    """A type: ``f32[64, 10]``, ``f32[N, 10]``, ``f32``."""
    if isinstance(node, ast.Call):
        return _like(scene, node)
    name, inside = parts_of(node)
    if name in NUMBERS and inside is None:
        scene.fail(node, f"a Python {name} is an argument, and here stands {FORM}")
    if name not in DTYPES:
        close = nearest(str(name or ""), DTYPES)
        scene.fail(node, f"expected {FORM}, got {show(node)}{close}")
    if inside is None:
        return Aval((), DTYPES[name])
    sizes = inside.elts if isinstance(inside, ast.Tuple) else [inside]
    shape = []
    for size in sizes:
        n = integer(scene, size)
        if n < 0:
            scene.fail(size, f"a size is not negative, got {n}")
        shape.append(n)
    return scene.bounded(node, Aval(tuple(shape), DTYPES[name]))


def value(scene: Scene, node: ast.expr) -> Aval:
    """The type of a value: of a tensor, or a Python number's."""
    name, inside = parts_of(node)
    return NUMBERS[name] if name in NUMBERS and inside is None else aval(scene, node)


class Static:
    """An argument that is not a tensor."""

    def __init__(self, value: Any) -> None:
        self.value = value


def argument(scene: Scene, node: ast.expr) -> Any:
    """The type of an argument: an `Aval`, a `Static`, or containers of them."""
    if isinstance(node, ast.Constant) and node.value is None:
        return None
    if isinstance(node, ast.List):
        return [argument(scene, item) for item in node.elts]
    if isinstance(node, ast.Tuple):
        return tuple(argument(scene, item) for item in node.elts)
    if isinstance(node, ast.Dict):
        return table(scene, node, argument)
    if isinstance(node, ast.Call):
        return called(scene, node, argument)
    name, inside = parts_of(node)
    if name == "Literal" and inside is not None:
        return Static(literal(scene, inside))
    if name == "object" and inside is None:
        return Static(ANYTHING)
    if name in NUMBERS and inside is None:
        return NUMBERS[name]
    if name in CELLS:
        scene.fail(node, f"a cell stands behind the * in the arguments: {show(node)}")
    return aval(scene, node)


def called(scene: Scene, node: ast.Call, inner: Any) -> Any:
    """``Point(x=..., y=...)`` or ``OrderedDict({...})``: containers with a name."""
    name = node.func.id if isinstance(node.func, ast.Name) else ""
    if name == "OrderedDict" and len(node.args) == 1 and isinstance(node.args[0], ast.Dict) and not node.keywords:
        return OrderedDict(inner(scene, node.args[0]))
    kinds = [kind for kind in scene.types.get(name, ()) if field_names(kind) is not None]
    if not kinds:
        scene.fail(
            node, f"{name or show(node)} is no type that is known here; pass named tuples and dataclasses as "
            "parse(text, types=[...])",
        )  # fmt: skip
    given = named(scene, node.keywords)
    kind, fields = _meant(scene, node, kinds, given)
    parts = {key: inner(scene, value) for key, value in given.items()}
    if not is_dataclass(kind):
        return build(kind, fields, [parts[f] for f in fields])
    fixed = {f.name for f in dataclasses.fields(kind) if f.metadata.get("static")}
    values = [v.value if f in fixed and isinstance(v, Static) else v for f, v in parts.items()]
    return build(kind, tuple(parts), values)


def _meant(scene: Scene, node: ast.Call, kinds: list[Any], given: Collection[str]) -> tuple[Any, tuple[str, ...]]:
    """Of the classes of this name the one with these fields, of which a dataclass may lack some."""
    name = kinds[0].__name__
    known = [(kind, tuple(field_names(kind) or ())) for kind in kinds]
    fits = [(kind, fields) for kind, fields in known if set(fields) == set(given)]
    fits = fits or [(kind, fields) for kind, fields in known if is_dataclass(kind) and set(fields) >= set(given)]
    if node.args or not fits:
        said = " or ".join(", ".join(f"{field}=" for field in fields) for _, fields in known)
        unknown = next((k for k in node.keywords if not any(k.arg in fields for _, fields in known)), node)
        scene.fail(unknown, f"{name} takes {said}")
    if len(fits) > 1:
        scene.fail(node, f"{len(fits)} of the given types are called {name} and have these fields: pass the one meant")
    return fits[0]


def _like(scene: Scene, node: ast.Call) -> Aval:
    """``like(p)``: the type of a value."""
    match node:
        case ast.Call(func=ast.Name(id="like"), args=[ast.Name(id=name)], keywords=[]):
            value = scene.names.get(name)
            if isinstance(value, CellName):
                return value.var.aval
            if isinstance(value, Tensor):
                return value.aval
            scene.fail(node, f"like({name}) is the type of a value, and {name} is none here")
    scene.fail(node, f"expected {FORM}, got {show(node)}")


def initialisers() -> tuple[str, ...]:
    """What a text may start a cell by."""
    return (*init.NAMES, "key")


def initialiser(scene: Scene, node: ast.expr | None) -> str | None:
    """``he_normal(gain=1.4)``, kept as text."""
    if node is None:
        return None
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or node.args:
        scene.fail(node, f"a cell starts from an initialiser such as zeros() or normal(std=0.01), got {show(node)}")
    name, known = node.func.id, initialisers()
    if name not in known:
        scene.fail(node, f"no initialiser is called {name!r}; there are {', '.join(known)}{nearest(name, known)}")
    options = []
    places = {keyword.arg: keyword for keyword in node.keywords}
    for key, option in named(scene, node.keywords, "options").items():
        value = literal(scene, option)
        if type(value) not in (int, float, bool, str, type(None)):
            scene.fail(option, f"an initialiser's option is a number or a string, got {show(option)}")
        try:
            init.check_option(name, key, value)
        except (TypeError, ValueError) as error:
            scene.fail(places[key], str(error))
        options.append(f"{key}={value!r}")
    return f"{name}({', '.join(options)})"


class Sizes:
    """The types that a called function declares, held against the values that it is given: the sizes follow."""

    def __init__(self, scene: Scene, place: ast.AST, inner: Scene) -> None:
        self.scene = scene  # of the call
        self.place = place
        self.inner = inner  # of the function that is called: its sizes are said there
        self.waiting: list[tuple[str, ast.expr, ast.expr, Aval]] = []  # sizes that are computed from others
        self.known = dict(inner.dims)

    def fit(self, name: str, node: ast.expr, value: Any) -> None:
        """Hold one argument against what is declared of it."""
        self._fit(name, node, node, opened(value))

    def settle(self) -> None:
        """Hold the computed sizes against what came, once all names are known."""
        for name, node, declared, got in self.waiting:
            inside = parts_of(declared)[1]
            assert inside is not None
            sizes = inside.elts if isinstance(inside, ast.Tuple) else [inside]
            for size, n in zip(reversed(sizes), reversed(got.shape), strict=False):
                if not (isinstance(size, ast.Constant) and size.value is ...) and integer(self.inner, size) != n:
                    self._refuse(name, node, str(got))

    def _refuse(self, name: str, node: ast.expr, got: str) -> Any:
        inner = self.inner
        used = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)} | self.known.keys()
        said = ", ".join(f"{dim}={size}" for dim, size in inner.dims.items() if dim in used)
        where = f" with {said}" if said else ""
        self.scene.fail(
            self.place, f"{inner.definition.name}: {name} is declared {show(node)}{where}, got {got}"
        )  # fmt: skip

    def _fit(self, name: str, node: ast.expr, whole: ast.expr, value: Any) -> None:
        match node:
            case ast.Constant(value=None):
                if value is not None:
                    self._refuse(name, whole, _said(value))
                return
            case ast.List() | ast.Tuple():
                kind = list if isinstance(node, ast.List) else tuple
                if not isinstance(value, kind) or len(value) != len(node.elts):
                    self._refuse(name, whole, _said(value))
                for i, (item, part) in enumerate(zip(node.elts, value, strict=True)):
                    self._fit(f"{name}[{i}]", item, item, part)
                return
            case ast.Dict():
                keys = [key.value if isinstance(key, ast.Constant) else None for key in node.keys]
                if not isinstance(value, dict) or [*value] != keys:
                    self._refuse(name, whole, _said(value))
                for key, item in zip(keys, node.values, strict=True):
                    self._fit(f"{name}[{key!r}]", item, item, value[key])
                return
            case ast.Call():
                if not is_container(value):
                    self._refuse(name, whole, _said(value))
                return
        name_, inside = parts_of(node)
        if name_ == "object" and inside is None:
            return
        if name_ == "Literal" and inside is not None:
            wanted = literal(self.inner, inside)
            if not is_static(value) or (type(wanted), wanted) != (type(value), value):
                self._refuse(name, whole, _said(value))
            return
        if name_ in NUMBERS and inside is None:
            aval_ = getattr(value, "aval", None)
            own = aval_.kind if isinstance(aval_, Number) else type(value)
            if own is not NUMBERS[name_].kind and not (name_ == "float" and own is int):
                self._refuse(name, whole, _said(value))
            return
        if name_ not in DTYPES:
            self.inner.fail(node, f"expected {FORM}, got {show(node)}{nearest(str(name_ or ''), DTYPES)}")
        got = value.var.aval if isinstance(value, CellName) else getattr(value, "aval", None)
        if isinstance(got, Aval) and not isinstance(got, Number):
            self._shape(name, whole, node, got)
        else:
            self._refuse(name, whole, _said(value))

    def _shape(self, name: str, whole: ast.expr, node: ast.expr, got: Aval) -> None:
        kind, inside = parts_of(node)
        sizes = [] if inside is None else inside.elts if isinstance(inside, ast.Tuple) else [inside]
        if sizes and isinstance(sizes[0], ast.Constant) and sizes[0].value is ...:
            sizes, shape = sizes[1:], got.shape[max(0, len(got.shape) - len(sizes) + 1) :]
        else:
            shape = got.shape
        if DTYPES[str(kind)] != got.dtype.name or len(sizes) != len(shape):
            self._refuse(name, whole, str(got))
        dims, computed = self.inner.dims, False
        for size, n in zip(sizes, shape, strict=True):
            if isinstance(size, ast.Name):
                if dims.setdefault(size.id, n) != n:
                    self._refuse(name, whole, str(got))
            elif isinstance(size, ast.Constant):
                if size.value != n:
                    self._refuse(name, whole, str(got))
            else:
                computed = True
        if computed:
            self.waiting.append((name, whole, node, got))


def _said(value: Any) -> str:
    if isinstance(value, Tensor):
        return str(value.aval)
    if is_container(value):
        return f"{type(value).__name__} of {len(value) if hasattr(value, '__len__') else 'others'}"
    return said_of(value)
