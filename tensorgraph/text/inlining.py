"""Calls of the text's functions and instances: a call stands for the statements of the function.

Each call is a scene of its own in the same trace. Its record says where it stands, as a module's call does when a
function is traced: an instance opens the scope of its path, a function stands in its caller's.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any

from tensorgraph.engine import modes
from tensorgraph.engine.tensor import Tensor
from tensorgraph.engine.tree import is_container
from tensorgraph.graph.calls import Call, Place, nest
from tensorgraph.graph.graph import ANYTHING, Var
from tensorgraph.text.binding import note
from tensorgraph.text.copying import copied, kept, signature
from tensorgraph.text.definitions import Definition
from tensorgraph.text.errors import nearest
from tensorgraph.text.members import joined, one_a_value
from tensorgraph.text.numbers import literal, named
from tensorgraph.text.scene import MOST_CALLS, CellName, Container, Instance, PerValue, Scene, opened
from tensorgraph.text.statements import run
from tensorgraph.text.totals import RunningSum
from tensorgraph.text.types import Sizes

__all__ = ["call", "scope_of"]


def call(scene: Scene, node: ast.Call, target: Definition | Instance) -> Any:
    """What a function of the text, or an instance of one, gives for these arguments."""
    definition = target if isinstance(target, Definition) else target.definition
    if scene.depth >= MOST_CALLS:
        scene.fail(node, f"calls are nested more than {MOST_CALLS} deep")
    scene.charge(node, 1)
    given, members = _given(scene, node, definition, target if isinstance(target, Instance) else None)
    outer = modes.current().call
    through = _own_instance(definition, given) if isinstance(target, Definition) else target
    if through is None:
        record = Call("function", definition.kind, "", outer)
    else:
        record = Call("optimizer" if definition.updates else "module", definition.kind, scope_of(through), outer)
    dims = {} if isinstance(target, Definition) else dict(target.dims)
    inner = Scene(scene.reading, definition, dims, record, scene.depth + 1, unrolled=1)
    sizes = Sizes(scene, node, inner)
    for arg in definition.arguments:
        value = opened(given[arg.arg])
        inner.names[arg.arg] = Container(value) if is_container(value) else value
        if arg.annotation is not None:
            sizes.fit(arg.arg, arg.annotation, value)
        if isinstance(value, Tensor) and isinstance(value._value, Var):
            note(inner, arg.arg, value._value)
    sizes.settle()
    for name, value in members.items():
        inner.names[name] = one_a_value(inner, value) if isinstance(value, PerValue) else value
        inner.members.add(name)
    parts = signature(scene, target, given if isinstance(target, Instance) else {**given, **members})
    if parts is not None and (stretch := scene.reading.stretches.get(tuple(parts.key))) is not None:
        return copied(scene, node, stretch, parts, record)
    first, steps = len(scene.trace.equations), scene.reading.steps
    with scene.told(node), modes.use(call=record):
        run(inner, definition.body)
        _returned(inner)
    result = inner.result
    said = {name: nest(_plain(value), lambda part: seen(scene, part)) for name, value in given.items()}
    record.complete(said, nest(_plain(result), lambda part: seen(scene, part)))
    if parts is not None:
        kept(scene, parts, record, first, steps, result)
    return result


def _own_instance(definition: Definition, given: Mapping[str, Any]) -> Instance | None:
    """The instance of which a function is another way to call it, ``Block_2(block, x)``; None where it is none."""
    first = opened(next(iter(given.values()), None))
    return first if isinstance(first, Instance) and first.definition.kind == definition.kind else None


def _plain(value: Any) -> Any:
    """A value with its containers as themselves, also those that were appended to a list."""
    return opened(value, lambda part: part)


def seen(scene: Scene, value: Any) -> Any:
    """How a record says a value: a variable, a number as a literal."""
    if isinstance(value, CellName):
        return value.var
    if isinstance(value, Instance):
        return Place(value.path, value.definition.kind)
    if isinstance(value, RunningSum):
        return value.record
    return ANYTHING if isinstance(value, PerValue) else scene.trace.seen(value)


def scope_of(target: Instance) -> str:
    """The scope that an instance's call opens: its place below the one that holds it, as a module's does."""
    outer, base = modes.current().scope, target.owner
    if outer and f"{target.path}.".startswith(f"{outer}."):
        return target.path
    name = target.path[len(base) + 1 :] if base else target.path
    inside = not base or outer == base or outer.endswith(f".{base}")
    return joined(outer if inside else base, name)


def _given(
    scene: Scene, node: ast.Call, definition: Definition, instance: Instance | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The arguments by name, in the order of the head, and the members."""
    args = definition.node.args
    names = [arg.arg for arg in definition.arguments]
    own = [arg.arg for arg in args.kwonlyargs]
    for rest in (args.vararg, args.kwarg):
        if rest is not None:
            scene.fail(node, f"{definition.name} takes any number of arguments, *{rest.arg}, which no text can")
    given: dict[str, Any] = {}
    for name, arg in zip(names, node.args, strict=False):
        if isinstance(arg, ast.Starred):
            scene.fail(arg, "* is not understood here: write the arguments out")
        given[name] = scene.reference(arg)
    if len(node.args) > len(names):
        scene.fail(
            node, f"{definition.name} takes {', '.join(names) or 'no arguments'}; got {len(node.args)} arguments"
        )
    members: dict[str, Any] = {} if instance is None else dict(instance.members)
    for name, value in named(scene, node.keywords).items():
        place = next(keyword for keyword in node.keywords if keyword.arg == name)
        if name in own and instance is None:
            members[name] = scene.reference(value)
        elif name in own:
            scene.fail(place, f"{name} is a member of the instance, and is not handed to it")
        elif name in given:
            scene.fail(place, f"{definition.name}: the argument {name!r} is given twice")
        elif name not in names:
            known = names if instance is not None else [*names, *own]
            said = f"it takes {', '.join(known) or 'none'}{nearest(name, known)}"
            scene.fail(place, f"{definition.name} has no argument {name!r}; {said}")
        else:
            given[name] = scene.reference(value)
    for name, default in zip(reversed(names), reversed(args.defaults), strict=False):
        if name not in given:
            head = Scene(scene.reading, definition, {}, scene.call, scene.depth + 1)
            given[name] = literal(head, default)
    missing = [name for name in names if name not in given]
    if missing:
        scene.fail(node, f"{definition.name} is missing its argument {missing[0]!r}; it takes {', '.join(names)}")
    missing = [name for name in own if name not in members]
    if missing:
        scene.fail(
            node, f"{definition.name} has the member {missing[0]!r}: call an instance of it, declared behind a * as "
            f"layer: {definition.name}, or hand the member over, {missing[0]}=...",
        )  # fmt: skip
    return {name: given[name] for name in names}, {name: _boxed(members[name]) for name in own}


def _boxed(value: Any) -> Any:
    value = opened(value)
    return Container(value) if is_container(value) else value


def _returned(inner: Scene) -> None:
    """Hold the result against what is declared of it."""
    returns = inner.definition.node.returns
    if returns is not None:
        sizes = Sizes(inner, returns, inner)
        sizes.fit("the result", returns, inner.result)
        sizes.settle()
