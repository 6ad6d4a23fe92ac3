"""Lines of a text: broken where they grow too long, their types in a column behind them."""

from __future__ import annotations

__all__ = ["COLUMN", "WIDTH", "broken", "typed"]

WIDTH = 100
COLUMN = 52  # types stand here, or two blanks behind a longer line


def broken(head: str, parts: list[str], tail: str, indent: int) -> list[str]:
    """``head`` + parts + ``tail`` in as few lines of at most `WIDTH` as it takes, broken between parts."""
    one = head + ", ".join(parts) + tail
    if len(one) <= WIDTH or len(parts) < 2:
        return [one]
    lines, pad = [head], " " * (indent + 4)
    held = ""
    for part in parts:
        longer = f"{held} {part}," if held else f"{pad}{part},"
        if held and len(longer) > WIDTH:
            lines.append(held)
            longer = f"{pad}{part},"
        held = longer
    return [*lines, held, " " * indent + tail]


def typed(lines: list[str], types: str) -> list[str]:
    """The lines with a comment that says their type, behind the last one that has room."""
    return [*lines[:-1], f"{lines[-1]:<{COLUMN}}  # {types}"]
