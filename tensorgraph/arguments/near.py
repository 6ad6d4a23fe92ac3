"""Which known name a misspelled one is near to: by the number of letters that differ."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["near"]

LONGEST = 60  # letters of a name that are looked at


def near(name: str, known: Iterable[str]) -> str | None:
    """The known name that differs least: by a letter, by two of eight or more; or that begins so, up to twice as long.

    Examples
    --------
    >>> near("rleu", ["relu", "sum"]), near("keep", ["axis", "keepdims"])
    ('relu', 'keepdims')
    >>> near("foo", ["floor"]), near("bar", ["var"]), near("a", ["at"])
    (None, None, None)
    """
    name = name[:LONGEST]
    if len(name) < 2:  # one letter is near to everything
        return next((word for word in known if len(word) == 1 and word.lower() == name.lower()), None)
    most = 0 if len(name) < 3 else 1 if len(name) < 8 else 2
    letters = set(name.lower())
    candidates: list[tuple[int, int, str]] = []  # how far, how much of the beginning differs
    for word in known:
        if len(word) < 2:
            continue
        if len(name) < len(word) <= 2 * len(name) and word.startswith(name):
            away = 0
        elif abs(len(word) - len(name)) > most or (len(name) < 5 and word[0].lower() != name[0].lower()):
            continue
        elif len(letters.symmetric_difference(word.lower())) > 2 * most:  # a change takes one letter and brings another
            continue  # who asks hasattr of a module waits for this, so most words are not compared
        else:
            away = _differences(name.lower(), word.lower())
        if away <= most:
            same = next((i for i, (x, y) in enumerate(zip(name, word, strict=False)) if x != y), len(name))
            candidates.append((away, -same, word))
    return min(candidates, key=lambda c: c[:2])[2] if candidates else None


def _differences(a: str, b: str) -> int:
    """How many letters to put in, leave out, change, or exchange with the next to make one word the other."""
    before: list[int] = []
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        before, last, row = row, before, [i]
        for j, y in enumerate(b, 1):
            least = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (x != y))
            if i > 1 and j > 1 and x == b[j - 2] and a[i - 2] == y:
                least = min(least, last[j - 2] + 1)
            row.append(least)
    return row[-1]
