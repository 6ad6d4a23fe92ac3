"""The colours of pictures, light and dark, and the measures that they must meet.

A role's border is told from every other's by normal, protan, deutan and tritan eyes (the least difference is tested),
and never by colour alone: line style, thickness and words say the same. Words are readable: contrast at least 4.5.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

__all__ = ["DARK", "HEATS", "LIGHT", "THEMES", "Palette", "contrast", "heated", "ink_on"]


@dataclass(frozen=True, slots=True)
class Palette:
    """Colours by what they are for, as ``#RRGGBB``, each distinct so that a stylesheet can name it."""

    # borders, by role
    io: str
    param: str
    grad: str
    module: str
    op: str
    # surfaces
    page: str
    box: str
    group: str
    inner: str  # a group within a group
    frame: str  # a group's border and the rules between rows
    # words
    ink: str
    muted: str
    alarm: str
    # the ramp of an overlay, of one hue, and black or white on each of its steps (a shade off, to be told by name)
    heat0: str
    heat1: str
    heat2: str
    heat3: str
    heat4: str
    heat5: str
    on0: str
    on1: str
    on2: str
    on3: str
    on4: str
    on5: str


LIGHT = Palette(
    io="#0D8BE5", param="#AA7922", grad="#600501", module="#35015F", op="#6B6B6B",
    page="#FEFEFE", box="#FFFFFF", group="#F5F6F8", inner="#ECEEF2", frame="#C9CED6",
    ink="#1B1F24", muted="#59616B", alarm="#B00020",
    heat0="#E3F3F0", heat1="#B5DFD8", heat2="#80C6BB", heat3="#45A699", heat4="#147D71", heat5="#00534A",
    on0="#000001", on1="#000002", on2="#000003", on3="#000004", on4="#FFFFF9", on5="#FFFFFA",
)  # fmt: skip
DARK = Palette(
    io="#31A0D5", param="#FCD475", grad="#E44440", module="#B91DF8", op="#9A9A9A",
    page="#14161A", box="#1B1E23", group="#20242A", inner="#282D34", frame="#464D57",
    ink="#E8EAED", muted="#A9B0BA", alarm="#FF8F8F",
    heat0="#20302E", heat1="#1E4F49", heat2="#1B7368", heat3="#2B9A8C", heat4="#58C4B5", heat5="#A6F0E4",
    on0="#FFFFF9", on1="#FFFFFA", on2="#FFFFFB", on3="#000001", on4="#000002", on5="#000003",
)  # fmt: skip
THEMES = {
    "light": LIGHT,
    "dark": DARK,
    "auto": LIGHT,
}  # "auto" is light, and dark where the reader's system asks for it
NAMES = tuple(f.name for f in fields(Palette))
HEATS = 6  # steps of the ramp


def heated(colours: Palette, heat: float) -> Palette:
    """The palette on a box of this heat, from 0 to 1: its surface is a step of the ramp, its words black or white."""
    step = min(int(heat * HEATS), HEATS - 1)
    ink = getattr(colours, f"on{step}")
    return replace(colours, box=getattr(colours, f"heat{step}"), ink=ink, muted=ink, alarm=ink, param=ink)


def _luminance(colour: str) -> float:
    channels = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    r, g, b = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def contrast(a: str, b: str) -> float:
    """WCAG 2 contrast ratio of two ``#RRGGBB`` colours, 1 to 21."""
    low, high = sorted((_luminance(a), _luminance(b)))
    return (high + 0.05) / (low + 0.05)


def ink_on(background: str) -> str:
    """Black or white, whichever reads better on this background."""
    return max("#000000", "#FFFFFF", key=lambda ink: contrast(ink, background))
