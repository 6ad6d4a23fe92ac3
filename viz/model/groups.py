"""Frames around boxes: one a call of a module, from the order of the boxes; frames that say nothing are left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from tensorgraph.viz.model.view import Box, Fold

__all__ = ["Frame", "frames"]


@dataclass(slots=True, eq=False)
class Frame:
    """One call of a module, or a template: its scope, which call it is, and the positions of the boxes directly in
    it."""

    scope: str
    parent: Frame | None
    fold: Fold | None = None
    call: int = 0
    boxes: list[int] = field(default_factory=list)
    children: list[Frame] = field(default_factory=list)
    total: int = 0
    id: str = ""
    path: str = ""


def frames(boxes: Sequence[Box], level: str) -> tuple[list[Frame], list[Frame | None]]:
    """The frames worth drawing, outer before inner, and the innermost frame of each box.

    A module left and entered again is two frames. Dropped are frames of a single box, frames that hold only one other
    frame or only frames, and at module level a frame around every module, such as the one container of a model.
    """
    # The plan:
    # 1. a stack of open frames follows the boxes: what two neighbours share stays open, the rest closes and opens;
    # 2. from the inside out, how many boxes and how many modules each frame holds;
    # 3. outer before inner, a frame that says something is numbered, any other hands its place to the one above it;
    # 4. each box gets the innermost that is left.
    root = Frame("", None)
    stack = [root]
    inner: list[Frame] = []
    for b, box in enumerate(boxes):
        inside = box.keys
        depth = 0
        while depth < len(inside) and depth + 1 < len(stack):
            top = stack[depth + 1]
            if (top.scope if top.fold is None else top.fold) != inside[depth] or top.call != box.call_of(inside[depth]):
                break
            depth += 1
        del stack[depth + 1 :]
        for i in range(depth, len(inside)):
            key = inside[i]
            scope, fold = (key, None) if isinstance(key, str) else (key.scope, key)
            frame = Frame(scope, stack[-1], fold, box.call_of(key))
            stack[-1].children.append(frame)
            stack.append(frame)
        stack[-1].boxes.append(b)
        inner.append(stack[-1])

    everything: list[Frame] = []
    pending = [root]
    while pending:
        frame = pending.pop()
        everything.append(frame)
        pending.extend(reversed(frame.children))
    for frame in reversed(everything):
        frame.total = len(frame.boxes) + sum(child.total for child in frame.children)
    modules = sum(box.kind in ("module", "modules") for box in boxes)
    within: dict[int, int] = {}
    for frame in reversed(everything):
        own = sum(boxes[b].kind in ("module", "modules") for b in frame.boxes)
        within[id(frame)] = own + sum(within[id(child)] for child in frame.children)

    def kept(frame: Frame) -> bool:
        if frame.fold is not None:
            return True
        if frame is root or frame.total < 2 or not frame.boxes:
            return False
        return not (level == "module" and within[id(frame)] == modules and frame.total <= within[id(frame)])

    drawn: dict[int, Frame | None] = {id(root): None}
    result: list[Frame] = []
    calls: dict[str, int] = {}
    for frame in everything:
        if frame is root:
            continue
        above = drawn[id(frame.parent)]
        if kept(frame):
            frame.parent, frame.id = above, f"g{len(result)}"
            path = frame.scope if frame.fold is None else frame.fold.path
            n = calls.get(path, 0)
            calls[path] = n + 1
            frame.path = f"{path}#{n}" if n else path
            result.append(frame)
            drawn[id(frame)] = frame
        else:
            drawn[id(frame)] = above
    return result, [drawn[id(frame)] for frame in inner]
