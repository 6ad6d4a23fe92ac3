"""`Drawing` to SVG: laid out by an engine, then given a theme, readable names and prefixed ids.

Colours stay in the file as attributes, which every rasteriser understands; a stylesheet of CSS variables inside
``@media screen`` changes them in a browser. Text carries its length, so that it fits its box in any font.
"""

from __future__ import annotations

import hashlib
import html
import re
import textwrap
from dataclasses import astuple

from tensorgraph.pages import escaped
from tensorgraph.pages.palette import DARK, LIGHT, NAMES, THEMES
from tensorgraph.viz.model.drawing import Drawing
from tensorgraph.viz.render.engine import REMEDY, EngineError, run_engine
from tensorgraph.viz.render.metrics import text_width
from tensorgraph.viz.render.sheet import layout
from tensorgraph.viz.render.svg_lines import Lines, name_of
from tensorgraph.viz.render.svg_text import centred, lifted
from tensorgraph.viz.render.whole import whole

__all__ = ["PART", "SURFACES", "to_svg", "with_text"]

FAMILY = "Arial, Helvetica, 'Liberation Sans', Arimo, sans-serif"
MONO = "Menlo, Consolas, 'Liberation Mono', 'DejaVu Sans Mono', monospace"
PART = re.compile(r"(?<=\d)p\d+$")  # of a frame that goes on in several parts
LINE = 100  # characters in which the reason is broken where there is no picture, unless the text is wider
SURFACES = ("page", "box", "group", "inner", "frame")  # words in such a colour stand on a colour that stays


def to_svg(drawing: Drawing, theme: str = "auto") -> str:
    """The drawing as SVG; where no engine can lay it out, the text drawing as SVG, with the reason."""
    try:
        dot, how = layout(drawing, theme, drawing.timeout)
        raw = run_engine(dot, "svg", drawing.timeout, *how).decode("utf-8", "replace")
    except EngineError as error:
        reason = str(error)
        return with_text(drawing, theme, reason if REMEDY in reason else f"shown as text: {reason}")
    return polish(drawing, raw, theme)


def polish(drawing: Drawing, raw: str, theme: str) -> str:
    """An engine's SVG made ours."""
    body = raw[raw.index("<svg") :]
    prefix = "tg" + hashlib.sha256(raw.encode()).hexdigest()[:8]
    body = whole(lifted(centred(re.sub(r"<!--.*?-->\n?", "", body, flags=re.S))))
    body = re.sub(r"<title>(.*?)</title>", _Tips(drawing, body).title, body, flags=re.S)
    body = re.sub(r'(<g id="(?!n\d)[^"]*" )class="node"', r'\1class="exit"', body)
    body = re.sub(r'\bid="([^"]+)"', lambda m: f'id="{prefix}-{m[1]}"', body)
    body = re.sub(r'font-family="[^"]*"', f'font-family="{FAMILY}"', body)
    body = body.replace(' xml:space="preserve"', "")
    body = re.sub(r"<text ([^>]*)>([^<]*)</text>", _fitted, body)
    body = _themed(body, theme)
    start = body.index(">") + 1
    opening = body[:start]
    label = escaped(drawing.title)
    opening = opening[:-1].replace(' xmlns:xlink="http://www.w3.org/1999/xlink"', "")
    opening = f'{opening} id="{prefix}" class="tensorgraph" role="img" aria-label="{label}">'
    return opening + "\n" + _style(prefix, theme) + body[start:].rstrip() + "\n"


class _Tips:
    """Hover text in the place of the generated names that an engine puts there."""

    def __init__(self, drawing: Drawing, svg: str) -> None:
        self.default = drawing.title
        self.lines = Lines(drawing, svg)
        self.tips = {node.id: f"{node.path}\n{node.tip}" for node in drawing.nodes}
        self.tips |= {f"cluster_{group.id}": group.path for group in drawing.groups}

    def title(self, match: re.Match[str]) -> str:
        name = name_of(match[1])
        if isinstance(name, tuple):
            tip = self.lines.tip(*name)
        else:
            frame = self.lines.frame(name)
            tip = self.lines.frames[frame] if frame is not None else self.tips.get(PART.sub("", name), "")
        return f"<title>{escaped(tip or self.default)}</title>"


def _fitted(match: re.Match[str]) -> str:
    """A text with its length in our font's metrics: another font is squeezed instead of leaving its box."""
    attributes, text = match[1], html.unescape(match[2])
    size = re.search(r'font-size="([\d.]+)"', attributes)
    width = text_width(text, float(size[1]) if size else 14.0, bold='font-weight="bold"' in attributes)
    length = f' textLength="{width:.2f}" lengthAdjust="spacingAndGlyphs"' if width else ""
    return f"<text {attributes}{length}>{match[2]}</text>"


def _themed(body: str, theme: str) -> str:
    """A class beside every colour, so that a stylesheet can replace it."""
    if theme != "auto":
        return body
    names = {colour.lower(): name for name, colour in zip(NAMES, astuple(LIGHT), strict=True)}

    def classes(match: re.Match[str]) -> str:
        found = [
            f"{kind[0]}-{names[colour.lower()]}"
            for kind, colour in re.findall(r'\b(fill|stroke)="(#[0-9a-fA-F]{6})"', match[0])
            if colour.lower() in names and not (match[1] == "<text" and names[colour.lower()] in SURFACES)
        ]
        return f'{match[1]} class="{" ".join(found)}"{match[2]}' if found else match[0]

    body = re.sub(r"(<text)((?![^>]*\bfill=)[^>]*>)", r'\1 fill="#000000"\2', body)
    body = body.replace('fill="white"', f'fill="{LIGHT.box.lower()}"')
    return re.sub(r"(<(?:path|polygon|polyline|ellipse|text))(\s[^>]*>)", classes, body)


def _style(prefix: str, theme: str) -> str:
    if theme != "auto":
        return ""

    def variables(palette: object) -> str:
        return "".join(f"--{name}:{colour};" for name, colour in zip(NAMES, astuple(palette), strict=True))  # type: ignore[call-overload]

    rules = "".join(f"#{prefix} .f-{n}{{fill:var(--{n})}}#{prefix} .s-{n}{{stroke:var(--{n})}}" for n in NAMES)
    return (
        f"<style>@media screen{{#{prefix}{{{variables(LIGHT)}}}{rules}}}"
        f"@media screen and (prefers-color-scheme:dark){{#{prefix}{{{variables(DARK)}}}}}</style>"
    )


def with_text(drawing: Drawing, theme: str, reason: str) -> str:
    """The text drawing as SVG, for where no layout is to be had."""
    lines = drawing.text().rstrip().split("\n")
    shown = lines if len(lines) <= 400 else [*lines[:397], f"... {len(lines) - 397:,} more lines"]
    shown = [*shown, "", *textwrap.wrap(reason, max(LINE, *map(len, shown)))]
    colours = THEMES[theme]
    width, height = 6.7 * max(map(len, shown)) + 24, 15 * len(shown) + 24
    prefix = "tg" + hashlib.sha256("\n".join(shown).encode()).hexdigest()[:8]

    def spaced(line: str) -> str:
        return escaped(line).replace(" ", "\u00a0")  # or columns collapse

    rows = "".join(
        f'<text x="12" y="{15 * i + 24}" fill="{colours.ink}">{spaced(line)}</text>\n' for i, line in enumerate(shown)
    )
    body = (
        f'<rect width="{width:.0f}" height="{height}" fill="{colours.page}"/>\n'
        f'<g font-family="{MONO}" font-size="11">\n{rows}</g>\n</svg>\n'
    )
    if theme == "auto":
        body = body.replace(f'fill="{LIGHT.ink}"', f'class="f-ink" fill="{LIGHT.ink}"')
        body = body.replace(f'fill="{LIGHT.page}"', f'class="f-page" fill="{LIGHT.page}"')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height}" '
        f'viewBox="0 0 {width:.0f} {height}" id="{prefix}" class="tensorgraph" role="img" '
        f'aria-label="{escaped(drawing.title)}">\n{_style(prefix, theme)}{body}'
    )
