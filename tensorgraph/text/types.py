"""Types in a text: ``f32[64, 10]``, cells, containers of types, dimensions with names."""

from __future__ import annotations

import ast
import dataclasses
from collections import OrderedDict
from typing import Any

from tensorgraph.engine import init
from tensorgraph.engine.aval import LONG, Aval, Number
from tensorgraph.engine.tree import build, field_names, is_dataclass
from tensorgraph.graph.graph import ANYTHING, Var
from tensorgraph.text.errors import nearest
from tensorgraph.text.numbers import integer, literal
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


def argument(scene: Scene, node: ast.expr, depth: int = 0) -> Any:
    """The type of an argument: an `Aval`, a `Static`, or containers of them."""
    if isinstance(node, ast.Constant) and node.value is None:
        return None
    if isinstance(node, ast.List):
        return [argument(scene, item) for item in node.elts]
    if isinstance(node, ast.Tuple):
        return tuple(argument(scene, item) for item in node.elts)
    if isinstance(node, ast.Dict):
        return {
            literal(scene, key) if key is not None else scene.fail(node, "** is not understood here"):
            argument(scene, value) for key, value in zip(node.keys, node.values, strict=True)
        }  # fmt: skip
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
    kind = scene.types.get(name)
    fields = field_names(kind)
    if kind is None or fields is None:
        scene.fail(
            node, f"{name or show(node)} is no type that is known here; pass named tuples and dataclasses as "
            "parse(text, types=[...])",
        )  # fmt: skip
    given = [str(k.arg) for k in node.keywords]
    fits = set(given) <= set(fields) if is_dataclass(kind) else sorted(given) == sorted(fields)
    if node.args or not fits or len(set(given)) < len(given):
        scene.fail(node, f"{name} takes {', '.join(f'{f}=' for f in fields)}")
    parts = {str(k.arg): inner(scene, k.value) for k in node.keywords}
    if not is_dataclass(kind):
        return build(kind, fields, [parts[f] for f in fields])
    fixed = {f.name for f in dataclasses.fields(kind) if f.metadata.get("static")}
    values = [v.value if f in fixed and isinstance(v, Static) else v for f, v in parts.items()]
    return build(kind, tuple(parts), values)


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
    for option in node.keywords:
        if option.arg is None:
            scene.fail(node, "** is not understood here")
        value = literal(scene, option.value)
        if type(value) not in (int, float, bool, str, type(None)):
            scene.fail(option.value, f"an initialiser's option is a number or a string, got {show(option.value)}")
        options.append(f"{option.arg}={value!r}")
    return f"{node.func.id}({', '.join(options)})"
