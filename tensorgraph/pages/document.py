"""One file with its style, its script and its data, and a policy that forbids everything else.

What a user named reaches a page as text only: escaped, or in the data, where the script puts it into the document as
text. The policy names style and script by their hashes, so nothing else runs.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from dataclasses import astuple
from functools import cache
from importlib.resources import files

from tensorgraph.pages.palette import DARK, LIGHT, NAMES

__all__ = ["assets", "coloured", "document", "embedded", "escaped", "policy", "scripted", "themed"]

_FORBIDDEN = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")  # in XML, whatever the spelling


def escaped(text: str) -> str:
    """Text for an element or an attribute, of HTML or SVG.

    Examples
    --------
    >>> escaped('<b title="x">')
    '&lt;b title=&quot;x&quot;&gt;'
    """
    return html.escape(_FORBIDDEN.sub("", text))


def embedded(data: object) -> str:
    """JSON that can neither end the script element it stands in nor begin another.

    Examples
    --------
    >>> embedded({"name": "</script>"})
    '{"name":"<\\\\/script>"}'
    """
    text = json.dumps(data, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    text = text.replace("</", "<\\/").replace("<!", "\\u003c!")
    return re.sub(r"<(?=script)", r"\\u003c", text, flags=re.IGNORECASE)


@cache
def themed() -> str:
    """Both themes' colours as variables of CSS, ``var(--ink)``: light, and dark where the reader's system asks for it
    or the page's ``data-theme`` says so."""
    light, dark = _variables(LIGHT), _variables(DARK)
    return (
        f":root{{color-scheme:light;{light}}}\n"
        f"@media screen and (prefers-color-scheme:dark){{:root:not([data-theme=light]){{color-scheme:dark;{dark}}}}}\n"
        f"@media screen{{:root[data-theme=dark]{{color-scheme:dark;{dark}}}}}\n"
    )


@cache
def coloured() -> str:
    """Both themes' colours, and the classes of drawings that use them: ``f-ink`` fills, ``s-ink`` draws lines."""
    return themed() + "".join(f".f-{name}{{fill:var(--{name})}}.s-{name}{{stroke:var(--{name})}}" for name in NAMES)


@cache
def assets(package: str, *names: str) -> str:
    """Files of a package, one after the other."""
    folder = files(package)
    return "\n".join(folder.joinpath(name).read_text("utf-8").strip() for name in names)


def scripted(text: str) -> str:
    """A script whose names are its own."""
    return f'"use strict";\n(() => {{\n{text}\n}})();'


def _variables(palette: object) -> str:
    return "".join(f"--{name}:{colour};" for name, colour in zip(NAMES, astuple(palette), strict=True))  # type: ignore[call-overload]


def policy(style: str, script: str, *more: str) -> str:
    """The content security policy of a page with this style and this script, and further directives."""
    return "; ".join((
        "default-src 'none'", f"style-src '{_hash(style)}'", f"script-src '{_hash(script)}'", "img-src data:",
        "base-uri 'none'", "form-action 'none'", *more,
    ))  # fmt: skip


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def document(
    title: str,
    body: str,
    *,
    style: str,
    script: str,
    data: object = None,
    theme: str = "auto",
    more: tuple[str, ...] = (),
) -> str:
    """A whole page.

    Parameters
    ----------
    title : str
        As plain text.
    body : str
        HTML, in which every text is `escaped`.
    style, script : str
        Neither may hold what ends its element.
    data : object, optional
        What JSON can say, for the script, in the element ``#data``.
    theme : str
        "light", "dark" or "auto", which follows the reader's system.
    more : tuple of str
        Further directives of the policy.
    """
    chosen = f' data-theme="{theme}"' if theme in ("light", "dark") else ""
    return (
        f'<!DOCTYPE html>\n<html lang="en"{chosen}>\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy(style, script, *more)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n<link rel="icon" href="data:,">\n'
        f"<title>{escaped(title)}</title>\n<style>{style}</style>\n</head>\n<body>\n{body}\n"
        f'<script type="application/json" id="data">{embedded(data)}</script>\n<script>{script}</script>\n'
        "</body>\n</html>\n"
    )
