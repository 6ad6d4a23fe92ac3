"""Calls of a text that are no ops: gradients, captured arrays, functions with a derivative of their own."""

from __future__ import annotations

import ast
from typing import Any

from tensorgraph.engine.aval import Aval
from tensorgraph.engine.numbers import TracedNumber
from tensorgraph.engine.tensor import Tensor, as_array
from tensorgraph.engine.tree import flatten, unflatten
from tensorgraph.graph.graph import Graph, Var
from tensorgraph.ops.structure import alias
from tensorgraph.text.errors import nearest
from tensorgraph.text.literals import read_array
from tensorgraph.text.members import cells_below
from tensorgraph.text.numbers import named
from tensorgraph.text.scene import CellName, Instance, Scene, opened, show
from tensorgraph.transforms.custom import Result, custom_op
from tensorgraph.transforms.scan import scan_op

__all__ = [
    "aliased", "array_constant", "custom", "gradients", "length", "looped", "parameters", "written_out",
]  # fmt: skip


def _named(scene: Scene, node: ast.Call, names: tuple[str, ...], args: list[Any], kwargs: dict[str, Any]) -> list[Any]:
    """The arguments in the order of these names, None where one is not given."""
    if len(args) > len(names):
        scene.fail(node, f"{show(node.func)} takes {', '.join(names)}; got {len(args)} arguments")
    given = dict(zip(names, args, strict=False))
    for key, value in kwargs.items():
        if key not in names or key in given:
            place = next(k for k in node.keywords if k.arg == key)
            scene.fail(place, f"{show(node.func)} takes {', '.join(names)}; got {key!r}{nearest(key, names)}")
        given[key] = value
    return [given.get(name) for name in names]


def _tensors(scene: Scene, node: ast.Call, value: Any, what: str) -> list[Tensor]:
    items = value if isinstance(value, (list, tuple)) else [value]
    for item in items:
        if not isinstance(item, Tensor):
            scene.fail(node, f"gradients: {what} must be tensors, got {item!r}")
    return list(items)


def gradients(scene: Scene, node: ast.Call, args: list[Any], kwargs: dict[str, Any]) -> Any:
    """``gradients(loss, [w, b])``: one deferred equation."""
    names = ("ys", "xs", "grad_outputs", "create_graph", "retain_graph")
    ys, xs, gs, create_graph, retain_graph = _named(scene, node, names, args, kwargs)
    for flag in (create_graph, retain_graph):
        if flag not in (True, False, None):
            scene.fail(node, f"gradients: create_graph and retain_graph are True or False, got {flag!r}")
    leaves, structure = flatten(xs)
    y_list, x_list = _tensors(scene, node, flatten(ys)[0], "ys"), _tensors(scene, node, leaves, "xs")
    g_list = [] if gs is None else _tensors(scene, node, flatten(gs)[0], "grad_outputs")
    if not y_list or not x_list:
        scene.fail(node, "gradients: ys and xs hold at least one tensor")
    if g_list and [g.aval for g in g_list] != [y.aval for y in y_list]:
        scene.fail(
            node, f"gradients: grad_outputs must have the types of ys, {[y.aval for y in y_list]}, got "
            f"{[g.aval for g in g_list]}",
        )  # fmt: skip
    for y in y_list:
        if y.dtype.kind != "f":
            scene.fail(node, f"gradients: a y must be of floats, got {y.aval}")
        if not g_list and y.size != 1:
            scene.fail(node, f"gradients: a y of one element is needed, got {y.aval}; reduce it, or give grad_outputs")
    for x in x_list:
        if x.dtype.kind != "f":
            scene.fail(node, f"gradients: an x must be of floats, got {x.aval}")
    trace = scene.trace
    atoms = [tuple(trace.var(t) for t in group) for group in (y_list, x_list, g_list)]
    tensors = [trace.tensor(out) for out in trace.defer(atoms[0], atoms[1], atoms[2], bool(create_graph))]
    return unflatten(structure, tensors)


def aliased(scene: Scene, node: ast.Call) -> Any:
    """``alias(x)``, or of all that a list or a dict holds."""
    if len(node.args) != 1 or node.keywords:
        scene.fail(node, f"expected alias(x), got {show(node)}")
    leaves, structure = flatten(scene.values(node.args[0], scene.reference(node.args[0])))
    for leaf in leaves:
        if not isinstance(leaf, Tensor):
            scene.fail(node, f"alias is of tensors, got {leaf!r}")
    return unflatten(structure, [scene.run(node, alias.public, leaf) for leaf in leaves])


def parameters(scene: Scene, node: ast.Call) -> list[CellName]:
    """``parameters(model)``: what is trained of an instance, in the order of the heads."""
    if len(node.args) != 1 or node.keywords:
        scene.fail(node, f"expected parameters(instance), got {show(node)}")
    value = opened(scene.reference(node.args[0]))
    if not isinstance(value, (Instance, CellName, list, tuple, dict)):
        scene.fail(node, f"parameters(instance) gives what an instance trains, and {show(node.args[0])} is none")
    every = [cell for cell in dict.fromkeys(cells_below(value)) if cell.requires_grad]
    scene.charge(node, len(every))
    return every


def length(scene: Scene, node: ast.Call) -> int:
    """``len(blocks)``: how much a list or a dict holds."""
    value = opened(scene.reference(node.args[0])) if len(node.args) == 1 and not node.keywords else None
    if not isinstance(value, (list, tuple, dict)):
        scene.fail(node, "len(x) is of a list, a tuple or a dict; the sizes of a tensor are x.shape")
    return len(value)


def _constant(scene: Scene, array: Any, key: Any) -> Tensor:
    """A captured array; in all calls of a function it is one."""
    reading = scene.reading
    var = reading.constants.get(key)
    if var is None:
        kept = array.copy()
        kept.flags.writeable = False
        var = reading.constants[key] = Var(Aval(kept.shape, kept.dtype))
        reading.consts[var] = kept
        scene.trace.known.add(var)
    return scene.trace.tensor(var)


def written_out(scene: Scene, node: ast.Call, args: list[Any], kwargs: dict[str, Any]) -> Tensor:
    """``tensor([0, 1, 2], "int64")``: a small captured array."""
    data, dtype = _named(scene, node, ("data", "dtype"), args, kwargs)
    strange = type(data) is not TracedNumber and any(isinstance(v, (Tensor, str, type(None))) for v in flatten(data)[0])
    if strange or data is None:
        scene.fail(node, f"tensor takes nested lists of numbers; got {show(node)}")
    if type(data) is TracedNumber:
        made: Tensor = scene.trace.strong(data, dtype)
        return made
    array = as_array(data) if dtype is None else read_array(data, dtype)
    return _constant(scene, array, (node, array.dtype, array.tobytes()))


def array_constant(scene: Scene, node: ast.Call) -> Tensor:
    """``array("129d7c8430eea69d", f32[64, 10])``: a captured array, by its digest."""
    from tensorgraph.text.types import aval

    named = node.args[0] if len(node.args) == 2 and not node.keywords else None
    if not isinstance(named, ast.Constant) or not isinstance(named.value, str):
        scene.fail(node, f'expected array("digest", f32[64, 10]), got {show(node)}')
    expected = aval(scene, node.args[1])
    found = scene.reading.arrays.get(named.value)
    if found is None:
        scene.fail(
            node, f"the captured array {named.value} ({expected}) is not in the text: pass it as "
            "parse(text, arrays=[...]); tensorgraph.text.arrays_of(graph) gives a graph's own",
        )  # fmt: skip
    if (found.shape, found.dtype) != (expected.shape, expected.dtype):
        scene.fail(node, f"the array {named.value} should be {expected}, got {Aval(found.shape, found.dtype)}")
    return _constant(scene, found, named.value if scene.depth or scene.unrolled else node)


def looped(scene: Scene, node: ast.Call) -> Any:
    """``scan([w], [h], [xs], body=f, length=5)``: a function that stands above in the text, step by step."""
    given = named(scene, node.keywords)
    body = given.pop("body", None)
    name = body.id if isinstance(body, ast.Name) else ""
    if name not in scene.reading.graphs:
        scene.fail(node, f"scan takes body=, a function that stands above it{nearest(name, scene.reading.graphs)}")
    graph = scene.reading.graphs[name]
    lists = [scene.values(a, scene.reference(a)) for a in node.args]
    options = {key: scene.expression(value) for key, value in given.items()}
    kinds = {"length": int, "reverse": bool, "states": bool}
    if len(lists) != 3 or any(type(value) is not kinds.get(key) for key, value in options.items()):
        scene.fail(node, "expected scan([constants], [carry], [xs], body=f, length=5, reverse=False, states=False)")
    consts, carry, xs = (_tensors(scene, node, group, "the values of scan") for group in lists)
    length = options.get("length", -1)
    if length < 0 or any(x.shape[:1] != (length,) for x in xs):
        scene.fail(node, f"scan: length= must be the first size of all xs, got {length} for {[x.aval for x in xs]}")
    avals = [*[t.aval for t in (*consts, *carry)], *[Aval(x.shape[1:], x.dtype) for x in xs]]
    if [v.aval for v in graph.inputs] != avals or graph.cells:
        wanted = ", ".join(str(v.aval) for v in graph.inputs)
        scene.fail(node, f"{graph.name} takes {wanted}, got {', '.join(map(str, avals))}")
    outputs = [getattr(a, "aval", None) for a in graph.outputs]
    if outputs[: len(carry)] != [t.aval for t in carry] or None in outputs:
        scene.fail(node, f"{graph.name} must return the carry, of the types that it takes, then the outputs")
    with scene.at(node):
        return scan_op.public(consts, carry, xs, body=graph, **options)


def custom(scene: Scene, node: ast.Call, inner: ast.Call, given: tuple[list[Any], dict[str, Any]]) -> Any:
    """``custom_vjp(forward=f, backward=b)(x)``: functions that stand above in the text."""
    args, kwargs = given
    rules: dict[str, Graph] = {}
    for key, rule in named(scene, inner.keywords).items():
        name = rule.id if isinstance(rule, ast.Name) else ""
        if key not in ("forward", "backward") or name not in scene.reading.graphs:
            known = nearest(name, scene.reading.graphs)
            scene.fail(inner, f"custom_vjp takes forward= and backward=, functions that stand above it{known}")
        rules[key] = scene.reading.graphs[name]
    if len(rules) != 2 or inner.args or kwargs:
        scene.fail(inner, "expected custom_vjp(forward=f, backward=b)(x, ...)")
    tensors = _tensors(scene, node, args, "the arguments of custom_vjp")
    forward, backward = rules["forward"], rules["backward"]
    if [v.aval for v in forward.inputs] != [t.aval for t in tensors]:
        wanted = ", ".join(str(v.aval) for v in forward.inputs)
        scene.fail(node, f"{forward.name} takes {wanted}, got {', '.join(str(t.aval) for t in tensors)}")
    pair = unflatten(forward.out_tree, [a.aval if isinstance(a, Var) else a.value for a in forward.outputs])
    if not isinstance(pair, tuple) or len(pair) != 2:
        scene.fail(node, f"{forward.name} must return a pair (output, residuals)")
    leaves, treedef = flatten(pair[0])
    if not leaves or not all(isinstance(leaf, Aval) for leaf in leaves):
        scene.fail(node, f"{forward.name} must return tensors, and what the backward needs")
    if len(backward.outputs) != len(tensors) and backward.out_tree.size != len(tensors):
        scene.fail(node, f"{backward.name} must return one gradient an argument, {len(tensors)}")
    result = Result()
    result.avals, result.treedef = tuple(leaves), treedef
    with scene.at(node):
        outs = custom_op.public(tensors, forward=forward, backward=backward, result=result)
    return unflatten(treedef, list(outs))
