"""Types in a text: ``f32[64, 10]``, cells, containers of types, dimensions with names."""

from __future__ import annotations

import ast
import dataclasses
from collections import OrderedDict
from collections.abc import Collection
from typing import Any

from tensorgraph.engine import init
from tensorgraph.engine.aval import LONG, Aval, Number
from tensorgraph.engine.tree import build, field_names, is_dataclass
from tensorgraph.graph.graph import ANYTHING, Var
from tensorgraph.text.errors import nearest
from tensorgraph.text.numbers import integer, literal, named, table
from tensorgraph.text.scene import CellName, Scene, show

__all__ = ["DTYPES", "NUMBERS", "argument", "aval", "cell"]

DTYPES = {("bool_" if short == "bool" else short): long for short, long in LONG.items()}
NUMBERS = {kind.__name__: Number(kind) for kind in (float, int, bool)}
CELLS = ("Parameter", "Frozen", "Buffer")
FORM = "a type such as f32[64, 10], or f32 for a value without axes"


def aval(scene: Scene, node: ast.expr) -> Aval:
    """A type: ``f32[64, 10]``, ``f32[N, 10]``, ``f32``."""
    name, inside = _parts(node)
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


def _parts(node: ast.expr) -> tuple[str | None, ast.expr | None]:
    """``name`` or ``name[inside]``; a prefix ``tg.`` may stand before it."""
    inside = None
    if isinstance(node, ast.Subscript):
        inside, node = node.slice, node.value
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "tg":
        return node.attr, inside
    return (node.id if isinstance(node, ast.Name) else None), inside


def value(scene: Scene, node: ast.expr) -> Aval:
    """The type of a value: of a tensor, or a Python number's."""
    name, inside = _parts(node)
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
    name, inside = _parts(node)
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


def cell(scene: Scene, name: str, node: ast.expr | None, default: ast.expr | None, place: ast.AST) -> CellName:
    """``weight: Parameter["0.weight", f32[784, 10]] = he_normal()``."""
    form = f'{name}: Parameter[f32[784, 10]] = he_normal(), or Buffer["path", f32] = zeros()'
    kind, inside = (None, None) if node is None else _parts(node)
    if node is None or kind not in CELLS or inside is None:
        close = nearest(str(kind or ""), CELLS)
        scene.fail(node or place, f"behind the * stand cells, such as {form}{close}")
    path = name
    if isinstance(inside, ast.Tuple):
        if len(inside.elts) != 2 or not isinstance(inside.elts[0], ast.Constant):
            scene.fail(inside, f"a cell is declared as {form}")
        given = inside.elts[0].value
        if not isinstance(given, str) or not given or len(given) > 500:
            scene.fail(inside, "a cell's path is a string that is not empty")
        path = given
        inside = inside.elts[1]
    if path in scene.paths:
        scene.fail(node, f"two cells have the path {path!r}")
    scene.paths.add(path)
    kind_ = "buffer" if kind == "Buffer" else "parameter"
    type_ = aval(scene, inside)
    if kind == "Parameter" and type_.dtype.kind != "f":
        scene.fail(node, f"a Parameter is trained and so of floats, got {type_}; declare a Buffer or Frozen")
    return CellName(Var(type_, name), path, kind_, kind == "Parameter", initialiser(scene, default))


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
