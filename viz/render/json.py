"""`Drawing` to JSON, everything it holds, and back: for tools."""

from __future__ import annotations

import json
import math
import re
import types
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from typing import Any, Union, get_args, get_origin, get_type_hints

from tensorgraph.arguments import checked
from tensorgraph.viz.model.drawing import Drawing

__all__ = ["VERSION", "drawing_from_json", "to_json"]

VERSION = 1  # of the layout of this JSON
PRESENTATION = ("theme", "timeout", "direction", "size", "source", "painter")  # of a drawing, but not of what it says
MARK = "tensorgraph_drawing"
NAN = "nan"  # JSON has no such number


def to_json(drawing: Drawing, indent: int | None = 2) -> str:
    content = {f.name: _plain(getattr(drawing, f.name)) for f in fields(drawing) if f.name not in PRESENTATION}
    return json.dumps({MARK: VERSION, **content}, indent=indent, ensure_ascii=True, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
    return NAN if isinstance(value, float) and math.isnan(value) else value


@checked
def drawing_from_json(text: str | bytes) -> Drawing:
    """Read back what `Drawing.json` wrote.

    Parameters
    ----------
    text : str or bytes

    Returns
    -------
    Drawing
        Equal to the one that was written. It does not know its graph, so its page shows one drawing.

    Raises
    ------
    ValueError
        For what is no drawing, naming the first place that is wrong.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> from tensorgraph.viz import drawing_from_json
    >>> drawing = tg.draw(lambda x: tg.tanh(x), tg.spec((3,), "float32"))
    >>> drawing_from_json(drawing.json()) == drawing
    True
    """
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"a drawing is expected as JSON, and this is none: {error}") from None
    version = content.pop(MARK, None) if isinstance(content, dict) else None
    if version != VERSION:
        said = "it does not say" if version is None else f"this is {version!r}"
        raise ValueError(f"expected a drawing's JSON, {MARK!r}: {VERSION}; {said}")
    drawing: Drawing = _made(content, Drawing, "drawing")
    ids = _generated([node.id for node in drawing.nodes], "n")
    frames = _generated([group.id for group in drawing.groups], "g")
    for node in drawing.nodes:
        _generated([port.id for port in node.ports], "p")
    for i, edge in enumerate(drawing.edges):
        for end in (edge.tail, edge.head):
            if end not in ids:
                raise ValueError(f"drawing.edges[{i}] ends at {end!r}, which is no node's id")
    around = [(node.path, node.group) for node in drawing.nodes] + [(g.path, g.parent) for g in drawing.groups]
    for path, frame in around:
        if frame is not None and frame not in frames:
            raise ValueError(f"{path!r:.80} stands in {frame!r:.40}, which is no group's id")
    _outer_first(drawing)
    return drawing


def _outer_first(drawing: Drawing) -> None:
    """Groups stand after the one around them: so none is around itself."""
    seen: set[str | None] = {None}
    for group in drawing.groups:
        if group.parent not in seen:
            raise ValueError(f"group {group.id!r} comes before {group.parent!r}, in which it stands")
        seen.add(group.id)


def _generated(ids: list[str], letter: str) -> set[str]:
    """Ids reach layout engines as they are, so they may only look as ours do."""
    for id in ids:
        if re.fullmatch(rf"{letter}[0-9]{{1,9}}", id) is None:
            raise ValueError(f"the id {id!r:.40} is not one that a drawing generates, such as {letter + '0'!r}")
    if len(set(ids)) != len(ids):
        raise ValueError(f"two ids are equal: {max(ids, key=ids.count)!r}")
    return set(ids)


@cache
def _hints(kind: type) -> dict[str, Any]:
    skipped = PRESENTATION if kind is Drawing else ()
    known = {f.name for f in fields(kind)} - set(skipped)
    hints = get_type_hints(kind, localns={"Graph": object})
    return {name: hint for name, hint in hints.items() if name in known}


def _made(content: Any, kind: type, where: str) -> Any:
    """A dataclass from a JSON object with its fields."""
    if not isinstance(content, dict):
        raise ValueError(f"{where}: expected an object, got {type(content).__name__}")
    hints = _hints(kind)
    unknown = sorted(set(content) - set(hints))
    if unknown:
        raise ValueError(f"{where}: unknown field {unknown[0]!r}; known are {', '.join(hints)}")
    for f in fields(kind):
        required = f.default is MISSING and f.default_factory is MISSING
        if required and f.name not in content:
            raise ValueError(f"{where}: field {f.name!r} is missing")
    return kind(**{name: _read(value, hints[name], f"{where}.{name}") for name, value in content.items()})


def _read(value: Any, hint: Any, where: str) -> Any:
    """A JSON value as the type that a field declares."""
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in get_args(hint):
            return None
        (hint,) = (part for part in get_args(hint) if part is not type(None))
        return _read(value, hint, where)
    if origin is tuple:
        if not isinstance(value, list):
            raise ValueError(f"{where}: expected a list, got {type(value).__name__}")
        parts = get_args(hint)
        if len(parts) == 2 and parts[1] is Ellipsis:
            return tuple([_read(item, parts[0], f"{where}[{i}]") for i, item in enumerate(value)])
        if len(parts) != len(value):
            raise ValueError(f"{where}: expected {len(parts)} items, got {len(value)}")
        return tuple([_read(item, part, f"{where}[{i}]") for i, (item, part) in enumerate(zip(value, parts))])
    if is_dataclass(hint):
        return _made(value, hint, where)  # type: ignore[arg-type]
    if hint is float:
        if value == NAN:
            return math.nan
        if type(value) in (int, float):
            return float(value)
    elif type(value) is hint:
        return value
    raise ValueError(f"{where}: expected {getattr(hint, '__name__', hint)}, got {value!r:.60}")
