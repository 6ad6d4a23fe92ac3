"""What the words of a picture look like: names, shapes, numbers, attributes.

Every string from outside passes `clean` on its way into a `Drawing`; escaping for a format is that format's renderer's.
"""

from __future__ import annotations

import math
import unicodedata
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from tensorgraph.engine.aval import Aval, Number, short_dtype

__all__ = [
    "SIGNS",
    "attributes",
    "binary",
    "clean",
    "count",
    "cut",
    "shape",
    "times",
    "turns_said",
    "type_text",
    "value_text",
]

SIGNS = {
    "added": "+",
    "removed": "-",
    "changed": "~",
    "moved": ">",
    "fault": "!",
}  # before the title of a box of this status
LONGEST = 60  # characters of a name; longer ones are cut in the middle
_DROPPED = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})  # controls, bidi marks, surrogates, unassigned


def clean(text: object, longest: int = LONGEST) -> str:
    """One printable line of at most `longest` characters, never empty."""
    raw = str(text)
    if len(raw) > 4 * longest:  # a hostile megabyte is cut before it is looked at
        raw = raw[: 2 * longest] + raw[-2 * longest :]
        longest = min(longest, LONGEST)
    kept = raw if raw.isascii() and raw.isprintable() else "".join(_printable(c) for c in raw)
    return cut(" ".join(kept.split()), longest) or "_"


def _printable(character: str) -> str:
    category = unicodedata.category(character)
    if category in _DROPPED:
        return " " if character in "\t\n\r\v\f\u2028\u2029" else ""
    return character


def cut(text: str, longest: int = LONGEST) -> str:
    """`text`, its middle replaced by three dots where it is longer than `longest`."""
    if len(text) <= longest:
        return text
    kept = longest - 3
    return f"{text[: (kept + 1) // 2]}...{text[len(text) - kept // 2 :]}"


def shape(aval: Aval) -> str:
    """``64x784``, of a template ``Nx(2*M)``; a 0-d value is a ``scalar``."""
    if len(aval.shape) < 2:
        return str(*aval.shape) or "scalar"
    return "x".join(text if text.isalnum() else f"({text})" for text in map(str, aval.shape))


def type_text(aval: Aval) -> str:
    """``64x784 f32``."""
    if type(aval) is Number:
        return f"Python {aval}"
    return f"{shape(aval)} {short_dtype(aval.dtype)}"


def count(number: int, noun: str) -> str:
    """``1 op``, ``1,250 ops``."""
    if number == 1:
        return f"1 {noun}"
    return f"{number:,} {noun}es" if noun.endswith(("x", "s")) else f"{number:,} {noun}s"


def times(each: str, repeats: int, total: str = "") -> str:
    """A figure of one repeat and of all of them: ``72 params x10 = 720``; what there is only once stays as it is."""
    if repeats < 2:
        return each
    return f"{each} x{repeats}{f' = {total}' if total else ''}"


def turns_said(turns: Collection[tuple[int, ...]], counts: Sequence[int]) -> str:
    """Which repeats of a template (within others: outermost first) a line leaves; nothing for the last.

    Examples
    --------
    >>> [turns_said(turns, (4,)) for turns in ([(0,), (1,), (2,), (3,)], [(0,)], [(2,)], [(0,), (2,)], [(3,)])]
    ['all 4', 'the first', 'the 3rd', '2 of 4', '']
    >>> turns_said([(0, 2), (1, 2)], (2, 3)), turns_said([(1, 0)], (2, 3))
    ('all 2', 'the last, there the first')
    """
    last = tuple(size - 1 for size in counts)
    if len(counts) > 1 and all(turn[1:] == last[1:] for turn in turns):
        return turns_said({turn[:1] for turn in turns}, counts[:1])
    if len(turns) > 1:
        every = math.prod(counts)
        return f"all {every}" if len(turns) == every else f"{len(turns)} of {every}"
    (turn,) = turns
    names = [ordinal(n, size) for n, size in zip(turn, counts, strict=True)]
    return "" if turn == last else f"the {', there the '.join(names)}"


def own_said(pairs: Collection[tuple[tuple[int, ...], tuple[int, ...]]]) -> str:
    """That each of several repeats reads its own of what others made, or parts of one value: these are pairs of a
    reader's repeat and of a maker's.

    Examples
    --------
    >>> own_said([((0,), (2,)), ((1,), (1,)), ((2,), (0,))]), own_said([])
    ('one each, last first', 'one each')
    """
    each = max(Counter(reader for reader, _ in pairs).values(), default=1)
    makers = [made for _, made in sorted(pairs)]
    back = each == 1 and len(makers) > 1 and all(later < before for before, later in pairwise(makers))
    return f"{'one' if each == 1 else each} each{', last first' if back else ''}"


def ordinal(number: int, of: int) -> str:
    """``first``, ``2nd``, ``3rd``, ... ``last``, of a number that begins with 0."""
    if number in (0, of - 1):
        return "last" if number else "first"
    number += 1
    return f"{number}{'th' if number % 100 in (11, 12, 13) else {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th')}"


def binary(nbytes: float) -> str:
    """A number of bytes in binary units: ``1.5 MiB``."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if nbytes < 1024:
            return f"{nbytes:.0f} {unit}" if unit == "B" else f"{nbytes:.1f} {unit}"
        nbytes /= 1024
    return f"{nbytes:.1f} TiB"


def value_text(value: Any) -> str:
    """A literal or an attribute's value, short."""
    if isinstance(value, np.ndarray):
        if value.size > 4:
            return f"const {type_text(Aval(value.shape, value.dtype))}"
        return value_text(value.tolist())
    if isinstance(value, (bool, np.bool_)) or value is None:
        return str(value)
    if value is Ellipsis:  # a number that a tape did not keep
        return "..."
    if isinstance(value, (float, np.floating)):
        return f"{float(value):.6g}" if float(f"{float(value):.6g}") == float(value) else repr(float(value))
    if isinstance(value, np.dtype):
        return short_dtype(value)
    if isinstance(value, np.generic):
        return str(value.item())
    if isinstance(value, tuple) and any(_is_slice(item) for item in value):
        return f"[{', '.join(_slice_text(item) if _is_slice(item) else value_text(item) for item in value[:8])}]"
    if isinstance(value, (tuple, list)) and not hasattr(value, "_fields"):
        inside = ", ".join(value_text(item) for item in value[:8]) + (", ..." if len(value) > 8 else "")
        if isinstance(value, list):
            return f"[{inside}]"
        return f"({inside},)" if len(value) == 1 else f"({inside})"
    if hasattr(value, "equations"):
        return f"graph of {count(len(value.equations), 'op')}"
    if callable(value):
        return str(getattr(value, "__name__", type(value).__name__))
    return type(value).__name__ if opaque(value) else repr(value)


def opaque(value: Any) -> bool:
    """Whether an object prints as its address, which says nothing and is another in every process."""
    own: object = type(value).__repr__
    return own is object.__repr__


def _is_slice(value: Any) -> bool:
    """Whether this is part of an index as ops keep it: a slice written as a tuple."""
    return isinstance(value, tuple) and len(value) == 4 and value[0] == "slice"


def _slice_text(value: tuple[Any, ...]) -> str:
    start, stop, step = ("" if part is None else str(part) for part in value[1:])
    return f"{start}:{stop}" + (f":{step}" if step else "")


def attributes(given: Mapping[str, Any], defaults: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Name and text of the attributes that differ from their defaults."""
    return [
        (clean(name), clean(value_text(value)))
        for name, value in given.items()
        if not (name in defaults and _same(value, defaults[name])) and (callable(value) or not opaque(value))
    ]


def _same(a: Any, b: Any) -> bool:
    if a is b:
        return True
    if type(a) is not type(b):
        return False
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and bool(np.array_equal(a, b))
    try:
        return bool(a == b)
    except Exception:  # an attribute may be anything; what cannot be compared is shown
        return False


def listed(names: Sequence[str], most: int = 3) -> str:
    """``a, b, c and 4 more``."""
    if len(names) <= most:
        return ", ".join(names)
    return f"{', '.join(names[:most])} and {len(names) - most} more"
