"""Lines of a text: broken where they grow too long, their types in a column behind them."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["COLUMN", "WIDTH", "broken", "folded_line", "typed", "wrapped"]

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


def wrapped(head: str, parts: Iterable[str], tail: str, width: int, pad: str = "    ") -> list[str]:
    """``head`` + parts + ``tail`` on one line, or broken between parts into lines of at most `width`."""
    parts = list(parts)
    one = f"{head}{', '.join(parts)}{tail}"
    if len(one) <= width or not parts:
        return [one]
    lines, held = [head], ""
    for part in parts:
        longer = f"{held} {part}," if held else f"{pad}{part},"
        if len(longer) > width and held:
            lines.append(held)
            longer = f"{pad}{part},"
        if len(longer) > width:
            lines += [pad + line for line in folded_line(f"{part},", width - len(pad))]
            longer = ""
        held = longer
    return [*lines, *([held] if held else []), tail]


def folded_line(text: str, width: int) -> list[str]:
    """A line that is too long, broken inside its longest brackets, between the items that stand there.

    Examples
    --------
    >>> folded_line("y = f(alpha, [beta, gamma])", 20)
    ['y = f(', '    alpha,', '    [beta, gamma],', ')']
    """
    if len(text) <= width:
        return [text]
    start, stop = _longest(text)
    parts = _items(text[start + 1 : stop])
    if not parts:
        return [text]
    if len(parts) == 1:  # no comma behind it, which would make a tuple of a sum in brackets, but for that of a tuple
        comma = "," if text[start + 1 : stop].rstrip().endswith(",") else ""
        inner = folded_line(parts[0] + comma, width - 4)
        return [text[: start + 1], *[f"    {line}" for line in inner], text[stop:]]
    return wrapped(text[: start + 1], parts, text[stop:], width)


def _longest(text: str) -> tuple[int, int]:
    """Where the longest brackets open and close that stand in no others."""
    found, opened, depth = (0, 0), 0, 0
    for place, sign in _signs(text):
        if sign in "([{":
            opened = place if depth == 0 else opened
            depth += 1
        elif sign in ")]}":
            depth -= 1
            if depth == 0 and place - opened > found[1] - found[0]:
                found = opened, place
    return found


def _items(text: str) -> list[str]:
    """What stands between the commas that are in no brackets; as one where it is a comprehension."""
    found, depth, start = [], 0, 0
    for place, sign in _signs(text):
        depth += (sign in "([{") - (sign in ")]}")
        if sign == "," and depth == 0:
            found.append(text[start:place].strip())
            start = place + 1
        elif depth == 0 and text.startswith(" for ", place):
            return [text]
    return [*found, text[start:].strip()] if text[start:].strip() else found


def _signs(text: str) -> Iterable[tuple[int, str]]:
    """The signs of a line that stand in no string."""
    quote, escaped = "", False
    for place, sign in enumerate(text):
        if quote:
            if escaped:
                escaped = False
            elif sign == "\\":
                escaped = True
            elif sign == quote:
                quote = ""
        elif sign in "\"'":
            quote = sign
        else:
            yield place, sign
