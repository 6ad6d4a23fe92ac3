"""Expressions of a text, taken through the ops themselves in a trace: nothing is computed, every type is checked.

What may stand in a text is listed here; whatever else Python has is refused with its line and the remedy.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable
from typing import Any, NoReturn

from tensorgraph.engine.aval import Aval
from tensorgraph.engine.calling import given
from tensorgraph.engine.functions import call_of, function_named
from tensorgraph.engine.numbers import TracedNumber, is_number
from tensorgraph.engine.op import CATALOGUE, Op, op_named, usual_want
from tensorgraph.engine.tensor import Tensor
from tensorgraph.engine.tree import field_names, flatten, is_container
from tensorgraph.graph.graph import Var
from tensorgraph.ops.structure import alias
from tensorgraph.text.calls import aliased, array_constant, custom, gradients, length, looped, parameters, written_out
from tensorgraph.text.definitions import DTYPES, Definition
from tensorgraph.text.errors import nearest
from tensorgraph.text.literals import literal_text, written_key
from tensorgraph.text.numbers import arithmetic, named, table
from tensorgraph.text.repeating import repeated
from tensorgraph.text.scene import CellName, Container, Instance, PerValue, Scene, Unknown, opened, said_of, show
from tensorgraph.text.sequences import comprehension
from tensorgraph.text.signs import op_of_sign
from tensorgraph.text.totals import RunningSum, begun
from tensorgraph.text.types import called
from tensorgraph.transforms.scan import scan_op

__all__ = ["callee", "expression", "reference", "with_residuals"]

SPECIAL: dict[str, Callable[..., Any]] = {"gradients": gradients, "tensor": written_out}
WRITTEN_SO: dict[str, Callable[..., Any]] = {  # whose arguments are no plain values
    "array": array_constant, scan_op.name: looped, "parameters": parameters, "len": length, alias.name: aliased,
    "Sum": begun,
}  # fmt: skip
METHODS = frozenset({"reshape", "transpose"})  # besides those that ops declare
SUBSCRIPT = "[]"
VIEWS = ("T", "mT")  # attributes that are ops
FACTS: dict[str, Callable[[Aval], Any]] = {  # and those that are known of a type
    "shape": lambda aval: aval.shape, "ndim": lambda aval: aval.ndim, "size": lambda aval: aval.size,
    "dtype": lambda aval: aval.dtype.name,
}  # fmt: skip
WRITTEN = {  # constants of other libraries
    "inf": 'float("inf")', "nan": 'float("nan")', "newaxis": "None", "pi": repr(math.pi), "e": repr(math.e),
}  # fmt: skip
REMEDIES: dict[type[ast.AST], str] = {
    ast.IfExp: "use where(condition, a, b)", ast.BoolOp: "use logical_and(a, b) or logical_or(a, b)",
    ast.Lambda: "write the expression where it is used", ast.GeneratorExp: "use a list, [e for x in xs]",
    ast.SetComp: "use a list, [e for x in xs]", ast.JoinedStr: "write the string out",
    ast.NamedExpr: "assign on a line of its own", ast.Starred: "write the elements out",
}  # fmt: skip


def expression(scene: Scene, node: ast.expr) -> Any:
    """The value of an expression: a traced tensor, a literal, or a container of them."""
    value = reference(scene, node)
    if type(value) is CellName:
        return scene.read(node, value)
    if type(value) is Instance or type(value) is PerValue:
        scene.fail(node, f"{show(node)} is no tensor: it is {said_of(value)}")
    return value


def reference(scene: Scene, node: ast.expr) -> Any:
    """What an expression means: its value, or the cell, the instance or the list of them that it is."""
    match node:
        case ast.Constant():
            if type(node.value) in (int, float, bool, str, type(None), type(...)):
                return node.value
            scene.fail(node, f"a literal is a number, a string, None or a tuple of them, got {show(node)}")
        case ast.Name():
            return _name(scene, node)
        case ast.BinOp():
            return _binary(scene, node)
        case ast.Compare():
            op = op_of_sign(node.ops[0]) if len(node.ops) == 1 else None
            if op is None:
                scene.fail(node, f"one comparison at a time, by == != < <= > >=, got {show(node)}")
            return _operator(scene, node, op, expression(scene, node.left), expression(scene, node.comparators[0]))
        case ast.UnaryOp():
            return _unary(scene, node)
        case ast.Tuple():
            return tuple(_items(scene, node))
        case ast.List():
            return _items(scene, node)
        case ast.Dict():
            return scene.sized(node, table(scene, node, reference))
        case ast.ListComp() | ast.DictComp():
            return scene.sized(node, comprehension(scene, node, reference))
        case ast.Call():
            return _called(scene, node)
        case ast.Subscript():
            return _subscript(scene, node)
        case ast.Attribute():
            return _attribute(scene, node)
    remedy = REMEDIES.get(type(node))
    said = f"; {remedy}" if remedy else ""
    scene.fail(node, f"{show(node)} ({type(node).__name__}) is not part of the language{said}")


def _items(scene: Scene, node: ast.List | ast.Tuple) -> list[Any]:
    """What stands in a list, or a tuple: ``*xs`` brings all that xs holds."""
    items: list[Any] = []
    for item in node.elts:
        if isinstance(item, ast.Starred):
            more = opened(reference(scene, item.value))
            if not isinstance(more, (list, tuple)):
                scene.fail(item, f"* is for a list, and {show(item.value)} is none")
            scene.charge(item, len(more))
            items += more
        else:
            items.append(reference(scene, item))
    scene.sized(node, items)
    return items


def _name(scene: Scene, node: ast.Name) -> Any:
    found = scene.names.get(node.id)
    if type(found) is Unknown:
        error = scene.error(node, f"{node.id!r} is not known, as its statement is wrong")
        error.follows = True
        raise error
    if found is not None:
        return found
    if node.id in scene.names:
        return None
    if node.id in scene.dims:
        return scene.dims[node.id]
    if scene.definition.sees(node.id) is not None:
        scene.fail(node, f"{node.id} is a function: call it, {node.id}(...)")
    if op_named(node.id) is not None:
        scene.fail(node, f"{node.id} is an op: call it, {node.id}(...)")
    known = [*scene.names, *scene.dims, *CATALOGUE, *scene.definition.seen()]
    scene.fail(node, f"{node.id!r} is not known here{nearest(node.id, known)}")


def _refuse_module(scene: Scene, node: ast.Attribute) -> None:
    """Where ``np.sum`` or ``torch.nn.functional.relu`` stands, say how the text writes it."""
    root: ast.expr = node
    while isinstance(root, ast.Attribute):
        root = root.value
    if not isinstance(root, ast.Name) or root.id in scene.names or root.id in scene.dims or op_named(root.id):
        return
    if nearest(root.id, scene.names):
        return
    name, remedy = node.attr, "ops are called by their names alone, such as sum(x)"
    if name in WRITTEN:
        remedy = f"write {WRITTEN[name]}"
    elif name in DTYPES.values() or name in ("bool", "bool_"):
        remedy = f'write "{name.rstrip("_")}"'
    elif op_named(name) is not None:
        remedy = f"write {name}(...)"
    scene.fail(root, f"{root.id!r} is not known here; {remedy}")


def _binary(scene: Scene, node: ast.BinOp) -> Any:
    # a + b + c + ... leans to the left: walked, not recursed
    spine: list[ast.BinOp] = []
    left: ast.expr = node
    while isinstance(left, ast.BinOp):
        spine.append(left)
        left = left.left
    value = expression(scene, left)
    for one in reversed(spine):
        other = expression(scene, one.right)
        op = op_of_sign(one.op)
        if op is None:
            scene.fail(one, f"the operator in {show(one)} is not part of the language")
        if RunningSum in (type(value), type(other)):
            value = _grown(scene, one, value, other)
        elif type(value) in (int, float) and type(other) in (int, float):
            value = arithmetic(scene, one, value, other)
        else:
            value = _operator(scene, one, op, value, other)
    return value


def _grown(scene: Scene, node: ast.BinOp, total: Any, value: Any) -> RunningSum:
    """``total + x``, of a sum that grows."""
    if not isinstance(node.op, ast.Add) or type(total) is not RunningSum:
        scene.fail(node, f"a Sum grows by total + x, got {show(node)}; total.total() is the tensor to compute with")
    made: RunningSum = scene.run(node, lambda: total + value)
    return made


def _unary(scene: Scene, node: ast.UnaryOp) -> Any:
    value = expression(scene, node.operand)
    if type(value) in (int, float) and isinstance(node.op, (ast.USub, ast.UAdd)):
        return -value if isinstance(node.op, ast.USub) else value
    op = op_of_sign(node.op)
    if op is None:
        remedy = "use logical_not(x)" if isinstance(node.op, ast.Not) else "leave it out"
        scene.fail(node, f"the operator in {show(node)} is not part of the language; {remedy}")
    return _operator(scene, node, op, value)


def _operator(scene: Scene, node: ast.AST, op: Op, *operands: Any) -> Any:
    """An operator: Python's own among numbers, else the op."""
    if any(type(v) is TracedNumber for v in operands) and all(map(is_number, operands)):
        return scene.run(node, scene.trace.arithmetic, op, operands)
    return _call(scene, node, op, operands, {})


def _call(scene: Scene, node: ast.AST, op: Op, args: Any, kwargs: dict[str, Any]) -> Any:
    """An op on values: checked by the op itself, recorded."""

    def call(*args: Any, **kwargs: Any) -> Any:
        return _checked_call(scene, node, op, args, kwargs)

    if scene.unrolled and any(type(value) is list for value in args):
        scene.charge(node, sum(len(value) for value in args if type(value) is list))
    return repeated(scene, node, op, call, tuple(args), kwargs)


def _checked_call(scene: Scene, node: ast.AST, op: Op, args: Any, kwargs: dict[str, Any]) -> Any:
    if op.residuals:  # for Python, which cannot see whether anybody takes them
        kwargs.pop("residuals", None)
    if op.primal is not None and "want" not in kwargs and len(args) <= len(op.inputs):
        kwargs["want"] = usual_want(op, [v.aval if isinstance(v, Tensor) else None for v in args])
    _bound(scene, node, op, args, kwargs)
    for name, value in (*zip(op.inputs, args, strict=False), *kwargs.items()):
        if name in op.signature.lists and isinstance(value, Tensor):
            _refuse_tensor(scene, node, op.name)
        elif name in op.inputs and name not in op.signature.lists:
            _refuse_several(scene, node, op.name, value)
    return op.public(*args, **kwargs)


def _bound(scene: Scene, node: ast.AST, op: Op, args: Any, kwargs: dict[str, Any]) -> None:
    """Refuse arguments that an op has not, at the argument, and calls that lack one."""
    names = (*op.inputs, *op.attrs)
    places = {keyword.arg: keyword for keyword in getattr(node, "keywords", ())}
    for key in kwargs:
        if key not in names and key != "impl" and key not in op.synonyms:
            free = [name for name in names[len(args) :] if name not in kwargs]  # what is given already is no hint
            said = f"it takes {', '.join(names)}"
            scene.fail(places.get(key, node), f"{op.name} has no argument {key!r}{nearest(key, free)}; {said}")
    with scene.at(node):
        given(op, args, {key: value for key, value in kwargs.items() if key != "impl"})


def with_residuals(scene: Scene, node: ast.Call) -> Any:
    """What a call gives, and last, as a list, what its op keeps for its derivative: ``y, [order] = sort(x)``."""
    if callee(scene, node.func) is not None:  # of a function of the text the list is one that it returns
        return reference(scene, node)
    value = expression(scene, node)
    values = [*opened(value)] if isinstance(opened(value), (tuple, list)) else [value]
    made = values[0]._value if values and isinstance(values[0], Tensor) else None
    eq = scene.trace.producer.get(made) if isinstance(made, Var) else None
    residuals = [] if eq is None or not eq.op.residuals else scene.trace.residuals(values[0])
    if not residuals:
        scene.fail(node, f"{show(node.func)} keeps nothing for its derivative: leave the names in brackets out")
    return [*values, residuals]


def _refuse_several(scene: Scene, node: ast.AST, name: str, value: Any) -> None:
    """Where an op takes one tensor, a tuple of them, as another op may give."""
    value = opened(value)
    if is_container(value) and any(isinstance(leaf, Tensor) for leaf in flatten(value)[0]):
        remedy = "give each a name, as in a, b = ..., or take one by its index"
        scene.fail(node, f"{name} takes a tensor here and got {len(flatten(value)[0])} values: {remedy}")


def _refuse_tensor(scene: Scene, node: ast.AST, name: str) -> NoReturn:
    # taken apart it would be an equation for each of its parts, however many there are
    scene.fail(node, f"{name} takes a list of tensors, {name}([a, b]), got one tensor")


def _arguments(scene: Scene, node: ast.Call) -> tuple[list[Any], dict[str, Any]]:
    args = []
    for arg in node.args:
        if isinstance(arg, ast.Starred):
            scene.fail(arg, "* is not understood here: write the arguments out")
        args.append(scene.values(arg, reference(scene, arg)))
    given = named(scene, node.keywords).items()
    return args, {name: scene.values(value, reference(scene, value)) for name, value in given}


def callee(scene: Scene, node: ast.expr) -> Definition | Instance | None:
    """The function of the text, or the instance of one, that is called; None for ops and all else."""
    if isinstance(node, ast.Name):
        value = scene.names.get(node.id)
        if value is None and node.id not in scene.names:
            own = scene.definition.text.named.get(node.id)
            if own is not None and own.number >= scene.definition.number:
                what = "itself" if own is scene.definition else "a function that stands below it"
                scene.fail(node, f"{scene.definition.name} calls {what}: a function sees those above it")
            return own if own is not None or op_named(node.id) is not None else scene.definition.sees(node.id)
        return value if isinstance(value, Instance) else None
    if isinstance(node, (ast.Attribute, ast.Subscript)):
        root: ast.expr = node
        while isinstance(root, (ast.Attribute, ast.Subscript)):
            root = root.value
        if isinstance(root, ast.Name) and isinstance(scene.names.get(root.id), (Instance, Container)):
            value = _member(scene, node)
            return value if isinstance(value, Instance) else None
    return None


def _member(scene: Scene, node: ast.expr) -> Any:
    """What is reached from a name by ``.member`` and ``[integer]``; None where that is nothing of this kind."""
    if isinstance(node, ast.Attribute):
        owner = _member(scene, node.value)
        return owner.members.get(node.attr) if isinstance(owner, Instance) else None
    if isinstance(node, ast.Subscript):
        owner = opened(_member(scene, node.value))
        return reference(scene, node) if isinstance(owner, (list, tuple, dict)) else None
    return scene.names.get(node.id) if isinstance(node, ast.Name) else None


def _called(scene: Scene, node: ast.Call) -> Any:
    function = node.func
    if isinstance(function, ast.Attribute) and _is_tg(scene, function.value):
        function = ast.copy_location(ast.Name(function.attr), function)
    target = callee(scene, function)
    if target is not None:
        return scene.reading.call(scene, node, target)
    if isinstance(function, ast.Name):
        return _by_name(scene, node, function.id)
    if isinstance(function, ast.Attribute):
        _refuse_module(scene, function)
        return _method(scene, node, function)
    if isinstance(function, ast.Call) and isinstance(function.func, ast.Name) and function.func.id == "custom_vjp":
        return custom(scene, node, function, _arguments(scene, node))
    scene.fail(node, f"{show(function)} cannot be called; ops are called by name, relu(x), or as methods, x.sum()")


def _is_tg(scene: Scene, node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id in ("tg", "tensorgraph") and node.id not in scene.names


def _by_name(scene: Scene, node: ast.Call, name: str) -> Any:
    if name == "float":
        return _float(scene, node)
    if name in scene.types or name == "OrderedDict":
        return called(scene, node, expression)
    if name in scene.names:
        scene.fail(node, f"{name} is a value here, not an op; give the value another name to call the op")
    if name in WRITTEN_SO:
        return WRITTEN_SO[name](scene, node)
    args, kwargs = _arguments(scene, node)
    if name in SPECIAL:
        return scene.run(node, SPECIAL[name], scene, node, args, kwargs)
    op = op_named(name)
    if op is None or "higher order" in op.traits:
        known = [*(name for name, op in CATALOGUE.items() if "higher order" not in op.traits), *SPECIAL, *WRITTEN_SO]
        known += scene.definition.seen()
        made = f": {call_of(name)} is made of ops, and its text when traced shows which" if function_named(name) else ""
        scene.fail(node.func, f"no op is called {name!r}{made}{nearest(name, known)}")
    return _call(scene, node, op, args, kwargs)


def _float(scene: Scene, node: ast.Call) -> float:
    match node:
        case ast.Call(args=[ast.Constant(value=str(text))], keywords=[]) if text in ("inf", "-inf", "nan"):
            return float(text)
    scene.fail(node, f'expected float("inf"), float("-inf") or float("nan"), got {show(node)}')


def _method(scene: Scene, node: ast.Call, function: ast.Attribute) -> Any:
    at = function.value
    if isinstance(at, ast.Subscript) and isinstance(at.value, ast.Attribute) and at.value.attr == "at":
        return _at(scene, node, function.attr, at)
    value = reference(scene, at)
    if isinstance(value, CellName) and function.attr == "read":
        if node.args or node.keywords:
            scene.fail(node, "read() takes no arguments")
        return scene.read(at, value)
    if isinstance(value, Instance):
        members = value.members
        near = nearest(function.attr, members)
        scene.fail(node, f"{show(function)} is no instance that could be called; it has {', '.join(members)}{near}")
    if type(value) is RunningSum:
        if function.attr != "total" or node.args or node.keywords:
            scene.fail(node, f"a Sum has total(), got {show(node)}")
        return scene.run(node, value.total)
    tree = opened(value)
    if isinstance(tree, dict) and function.attr in ("items", "keys", "values") and not (node.args or node.keywords):
        return [*map(list if function.attr == "items" else opened, getattr(tree, function.attr)())]
    value = scene.read(at, value) if isinstance(value, CellName) else value
    if not isinstance(value, Tensor) or type(value) is TracedNumber:
        scene.fail(node, f"{show(at)} is no tensor and has no methods here")
    known = _methods()
    if function.attr == "at":
        scene.fail(function, f"write {show(at)}.at[key].set(value), .add(value) or .multiply(value)")
    if function.attr not in known:
        scene.fail(function, f"a tensor has no method {function.attr!r} here{nearest(function.attr, known)}")
    args, kwargs = _arguments(scene, node)
    name = function.attr
    method = getattr(value, name)
    op = getattr(method, "op", None)
    if op is not None and function.attr not in METHODS:  # which take sizes one by one
        _bound(scene, node, op, (value, *args), kwargs)
    return repeated(
        scene, node, name, lambda x, *rest, **named: getattr(x, name)(*rest, **named), (value, *args), kwargs
    )


def _at(scene: Scene, node: ast.Call, what: str, place: ast.Subscript) -> Any:
    """``x.at[key].set(v)``."""
    if what not in ("set", "add", "multiply"):
        scene.fail(node, f"expected x.at[key].set(v), .add(v) or .multiply(v), got .{what}")
    assert isinstance(place.value, ast.Attribute)
    x = expression(scene, place.value.value)
    if not isinstance(x, Tensor):
        scene.fail(place, f"{show(place.value.value)} is no tensor")
    key = _key(scene, place.slice)
    args, kwargs = _arguments(scene, node)
    return scene.run(node, lambda: getattr(x.at[key], what)(*args, **kwargs))


def _key(scene: Scene, node: ast.expr) -> Any:
    if isinstance(node, ast.Tuple):
        return tuple(_key(scene, item) for item in node.elts)
    if isinstance(node, ast.Slice):
        bounds = [None if b is None else expression(scene, b) for b in (node.lower, node.upper, node.step)]
        if any(b is not None and type(b) is not int for b in bounds):
            scene.fail(node, f"the bounds of a slice are integers, got {show(node)}")
        return slice(*bounds)
    return expression(scene, node)


def _subscript(scene: Scene, node: ast.Subscript) -> Any:
    if isinstance(node.value, ast.Name) and node.value.id == "s_" and "s_" not in scene.names:
        return scene.run(node, written_key, _key(scene, node.slice))
    value = reference(scene, node.value)
    key = _key(scene, node.slice)
    if isinstance(value, PerValue):
        value = [*value.cells.values()]
    value = scene.read(node.value, value) if isinstance(value, CellName) else value
    if isinstance(value, Container) or is_container(value):
        return _item(scene, node, value if isinstance(value, Container) else Container(value), key)
    if not isinstance(value, Tensor) or type(value) is TracedNumber:
        scene.fail(node, f"{show(node.value)} is no tensor and cannot be indexed")
    return repeated(scene, node, SUBSCRIPT, lambda x, key: x[key], (value, key), {})


def _item(scene: Scene, node: ast.expr, container: Container, key: Any) -> Any:
    """A part of an argument that holds others."""
    tree = container.tree
    try:
        found = tree[key]
    except (LookupError, TypeError):
        names = field_names(type(tree))
        keys = list(tree) if isinstance(tree, dict) else [*names] if names else list(range(len(tree)))
        scene.fail(node, f"{show(node)}: there is no {key!r}; expected one of {', '.join(map(repr, keys[:20]))}")
    return Container(found) if is_container(found) else found


def _attribute(scene: Scene, node: ast.Attribute) -> Any:
    _refuse_module(scene, node)
    value = reference(scene, node.value)
    if isinstance(value, Instance):
        if node.attr not in value.members:
            said = f"it has {', '.join(value.members) or 'no members'}{nearest(node.attr, value.members)}"
            scene.fail(node, f"{show(node.value)} is {said_of(value)}, and has no {node.attr!r}: {said}")
        return value.members[node.attr]
    if isinstance(value, CellName) and node.attr in FACTS:
        return FACTS[node.attr](value.var.aval)
    value = scene.read(node.value, value) if isinstance(value, CellName) else value
    if type(value) is TracedNumber:
        scene.fail(node, f"{show(node.value)} is a Python number, {value.aval}, and has no {node.attr}")
    tree = value.tree if isinstance(value, Container) else None
    fields = field_names(type(tree))
    if fields and node.attr in fields and hasattr(tree, node.attr):
        part = getattr(tree, node.attr)
        return Container(part) if is_container(part) else part
    if isinstance(value, Tensor) and node.attr in VIEWS:
        return repeated(scene, node, node.attr, lambda x: getattr(x, node.attr), (value,), {})
    if isinstance(value, Tensor) and node.attr in FACTS:
        return FACTS[node.attr](value.aval)
    if isinstance(value, Container) or not isinstance(value, Tensor):
        tree = opened(value)
        keys = [*tree] if isinstance(tree, dict) else []
        parts = [f"{show(node.value)}[{literal_text(key)}]" for key in keys[:20]] or [
            f"{show(node.value)}.{name}" for name in fields or ()
        ]
        said = f"; it has {', '.join(parts)}" if parts else "; take a part by its index" if is_container(tree) else ""
        what = "holds others and " if is_container(tree) else ""
        scene.fail(node, f"{show(node.value)} {what}is no tensor: it has no attribute {node.attr!r}{said}")
    known = [*VIEWS, *FACTS, "at", *_methods()]
    scene.fail(
        node,
        f"{show(node)} is not part of the language{nearest(node.attr, known)}; a tensor has .T, .mT, .shape, .ndim, "
        ".size, .dtype, .at[key] and methods such as .sum()",
    )


def _methods() -> list[str]:
    """What may be called on a tensor."""
    return [name for name in {name for op in CATALOGUE.values() for name in op.methods} | METHODS if name[0] != "_"]
